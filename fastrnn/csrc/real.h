/* The constants of a float type: REAL_BITS is 32 or 64. */
#if REAL_BITS == 32
#define REAL float
#define REAL_NAME f32
#define INTEGER int32_t
#define SIGN_BIT ((int32_t)0x80000000u)
#define ONE_BITS 0x3f800000
#define MANTISSA_BITS 23
#define ROUND_MAGIC 12582912.0f /* 1.5 * 2^23: adding it rounds to whole numbers */
#define LN2_HIGH 0.693359375f
#define LN2_LOW -2.12194440e-4f
#define LOWEST_EXP -87.336544f /* below, exp(x) is denormal */
#define HIGHEST_EXP 88.3f      /* above, 2^n overflows before exp(x) does */
#define EXP_TAYLOR {1.0f, 1.0f, 1.0f / 2, 1.0f / 6, 1.0f / 24, 1.0f / 120, 1.0f / 720, 1.0f / 5040}
#define ARTANH_DEGREE 7 /* of square, at most 1/9: the next term is 3e-9 */
#define SQRT sqrtf
#define FABS fabsf
#define EXP expf
#define LOG logf
#define LOG1P log1pf
#define ERFC erfcf
#define SINE sinf
#define COSINE cosf
#else
#define REAL double
#define REAL_NAME f64
#define INTEGER int64_t
#define SIGN_BIT ((int64_t)0x8000000000000000u)
#define ONE_BITS 0x3ff0000000000000
#define MANTISSA_BITS 52
#define ROUND_MAGIC 6755399441055744.0 /* 1.5 * 2^52 */
#define LN2_HIGH 6.93145751953125e-1
#define LN2_LOW 1.42860682030941723212e-6
#define LOWEST_EXP -708.39641853226408
#define HIGHEST_EXP 709.4
#define EXP_TAYLOR                                                                                 \
    {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120, 1.0 / 720, 1.0 / 5040, 1.0 / 40320,          \
     1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800}
#define ARTANH_DEGREE 16 /* the next term is 5e-18 */
#define SQRT sqrt
#define FABS fabs
#define EXP exp
#define LOG log
#define LOG1P log1p
#define ERFC erfc
#define SINE sin
#define COSINE cos
#endif
