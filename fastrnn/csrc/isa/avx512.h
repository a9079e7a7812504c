/* x86-64 with AVX-512 (F, DQ, VL): 32 registers of 64 bytes. */
#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>

#include "../system.h" /* before the target changes */

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#endif

#define ISA avx512
#define VBYTES 64
#define MAX_TILE 8

/* The compiler's vectors have no such operations of their own. */
#define VECTOR_ALL_ZERO(bits) (_mm512_test_epi32_mask((__m512i)(bits), (__m512i)(bits)) == 0)
#if REAL_BITS == 32
#define VECTOR_MIN(a, b) ((vec)_mm512_min_ps(a, b))
#define VECTOR_MAX(a, b) ((vec)_mm512_max_ps(a, b))
#define VECTOR_STREAM(p, a) _mm512_stream_ps(p, a)
#define VECTOR_REPEAT(p) ((vec)_mm512_broadcast_f32x4(_mm_loadu_ps(p)))
#define VECTOR_PICK(a, i) ((vec)_mm512_permute_ps(a, (i) * 0x55))
#else
#define VECTOR_MIN(a, b) ((vec)_mm512_min_pd(a, b))
#define VECTOR_MAX(a, b) ((vec)_mm512_max_pd(a, b))
#define VECTOR_STREAM(p, a) _mm512_stream_pd(p, a)
#define VECTOR_REPEAT(p) ((vec)_mm512_broadcast_f64x2(_mm_loadu_pd(p)))
#define VECTOR_PICK(a, i) ((vec)_mm512_permute_pd(a, (i) * 0xff))
#endif

#include "../kernels.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
