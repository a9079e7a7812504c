/* x86-64 with AVX2 and FMA: 16 registers of 32 bytes. */
#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>

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

/* The compiler's vectors have no such operations of their own. */
#define VECTOR_ALL_ZERO(bits) _mm256_testz_si256((__m256i)(bits), (__m256i)(bits))
#if REAL_BITS == 32
#define VECTOR_MIN(a, b) ((vec)_mm256_min_ps(a, b))
#define VECTOR_MAX(a, b) ((vec)_mm256_max_ps(a, b))
#define VECTOR_STREAM(p, a) _mm256_stream_ps(p, a)
#define VECTOR_REPEAT(p) ((vec)_mm256_broadcast_ps((const __m128 *)(p)))
#define VECTOR_PICK(a, i) ((vec)_mm256_permute_ps(a, (i) * 0x55))
#else
#define VECTOR_MIN(a, b) ((vec)_mm256_min_pd(a, b))
#define VECTOR_MAX(a, b) ((vec)_mm256_max_pd(a, b))
#define VECTOR_STREAM(p, a) _mm256_stream_pd(p, a)
#define VECTOR_REPEAT(p) ((vec)_mm256_broadcast_pd((const __m128d *)(p)))
#define VECTOR_PICK(a, i) ((vec)_mm256_permute_pd(a, (i) * 0xf))
#endif

#include "../kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
