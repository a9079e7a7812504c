/* What every processor of the family has: SSE2 on x86-64, NEON on 64-bit Arm. */
#if defined(__GNUC__) && (defined(__SSE2__) || defined(__aarch64__))
#define ISA baseline
#define VBYTES 16
#if defined(__aarch64__)
#define MAX_TILE 8 /* 32 registers */
#else
#define MAX_TILE 6
#endif

#include "../kernels.h"
#endif
