/* x86-64 with AVX2 and FMA: 16 registers of 32 bytes. */
#if defined(__GNUC__) && defined(__x86_64__)
#include "../system.h" /* before the target changes */

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif

#define ISA avx2
#define VBYTES 32
#define MAX_TILE 6

#include "../kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
