/* Vectors of REAL, VBYTES wide, in the compiler's own terms; for one ISA.
 *
 * With VBYTES == 0 a "vector" is one element: plain C for compilers without the extensions. */

#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)

enum { LINE = 64 / sizeof(REAL) }; /* elements of a cache line */

#if VBYTES == 0
enum { VL = 1 };
typedef REAL vec;
typedef INTEGER ivec;
#else
enum { VL = VBYTES / (int)sizeof(REAL) };
typedef REAL vec __attribute__((vector_size(VBYTES)));
typedef INTEGER ivec __attribute__((vector_size(VBYTES)));
#endif


INLINE vec vload(const REAL *p) {
    vec v;
    __builtin_memcpy(&v, p, sizeof v);
    return v;
}

INLINE void vstore(REAL *p, vec v) { __builtin_memcpy(p, &v, sizeof v); }

/* A store past the caches to a whole vector's address, for what is not read soon; `stream_fence` ends such
 * stores, before another thread may read. */
#ifdef VECTOR_STREAM
INLINE void vstream(REAL *p, vec v) { VECTOR_STREAM(p, v); }
INLINE void stream_fence(void) { _mm_sfence(); }
#else
INLINE void vstream(REAL *p, vec v) { vstore(p, v); }
INLINE void stream_fence(void) {}
#endif

/* The first n elements, the rest zero. */
INLINE vec vload_n(const REAL *p, int64_t n) {
    REAL a[VL] = {0};
    for (int64_t i = 0; i < n; i++) a[i] = p[i];
    return vload(a);
}

INLINE void vstore_n(REAL *p, vec v, int64_t n) {
    REAL a[VL];
    vstore(a, v);
    for (int64_t i = 0; i < n; i++) p[i] = a[i];
}

INLINE ivec vbits(vec v) {
    ivec i;
    __builtin_memcpy(&i, &v, sizeof i);
    return i;
}

INLINE vec vreal(ivec i) {
    vec v;
    __builtin_memcpy(&v, &i, sizeof v);
    return v;
}

INLINE vec vset(REAL x) {
#if VBYTES == 0
    return x;
#else
    return x - (vec){0}; /* unlike 0 + x this is x for every x, and so a mere broadcast */
#endif
}

/* REPEATED elements from p on, again and again, and number i of them, a constant, in all places: the same as to set a
 * vector to p[i], for fewer loads. */
#ifdef VECTOR_REPEAT
enum { REPEATED = 16 / (int)sizeof(REAL) };
#define vrepeat(p) VECTOR_REPEAT(p)
#define vpick(a, i) VECTOR_PICK(a, i)
#else
enum { REPEATED = 1 };
#define vrepeat(p) vset(*(p))
#define vpick(a, i) (a)
#endif

/* a and b element by element in turn: the first halves, and the second. */
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector) && VBYTES != 0
#define HAS_TRANSPOSE 1
#if VBYTES * 8 / REAL_BITS == 16
#define IN_TURN(n) n, n + 16, n + 1, n + 17, n + 2, n + 18, n + 3, n + 19, n + 4, n + 20, n + 5, n + 21, \
                   n + 6, n + 22, n + 7, n + 23
#elif VBYTES * 8 / REAL_BITS == 8
#define IN_TURN(n) n, n + 8, n + 1, n + 9, n + 2, n + 10, n + 3, n + 11
#elif VBYTES * 8 / REAL_BITS == 4
#define IN_TURN(n) n, n + 4, n + 1, n + 5
#else
#define IN_TURN(n) n, n + 2
#endif
INLINE vec vlow_in_turn(vec a, vec b) { return __builtin_shufflevector(a, b, IN_TURN(0)); }
INLINE vec vhigh_in_turn(vec a, vec b) { return __builtin_shufflevector(a, b, IN_TURN(VBYTES * 4 / REAL_BITS)); }

/* to[i][j] = from[j][i] for VL rows of VL elements: the rows' elements taken in turn, those of the first half of the
 * rows with those of the second, log2 VL times over. */
INLINE void transpose(const REAL *from, ptrdiff_t from_m, REAL *to, ptrdiff_t to_m) {
    vec rows[VL], mixed[VL];
    UNROLL for (int i = 0; i < VL; i++) rows[i] = vload(from + i * from_m);
    UNROLL for (int n = 1; n < VL; n *= 2) {
        UNROLL for (int i = 0; i < VL / 2; i++) {
            mixed[2 * i] = vlow_in_turn(rows[i], rows[i + VL / 2]);
            mixed[2 * i + 1] = vhigh_in_turn(rows[i], rows[i + VL / 2]);
        }
        UNROLL for (int i = 0; i < VL; i++) rows[i] = mixed[i];
    }
    UNROLL for (int i = 0; i < VL; i++) vstore(to + i * to_m, rows[i]);
}
#endif
#endif

/* Comparisons of vectors give all ones or zero; one of scalars gives 1 or 0. */
#if VBYTES == 0
#define MASK(condition) (-(INTEGER)(condition))
#else
#define MASK(condition) ((ivec)(condition))
#endif

INLINE vec vselect(ivec mask, vec a, vec b) {
    return vreal((mask & vbits(a)) | (~mask & vbits(b)));
}

/* NaN in the first argument passes through both; the x86 instructions return their second operand then. */
#ifdef VECTOR_MIN
INLINE vec vmin(vec a, vec b) { return VECTOR_MIN(b, a); }
INLINE vec vmax(vec a, vec b) { return VECTOR_MAX(b, a); }
#else
INLINE vec vmin(vec a, vec b) { return vselect(MASK(a > b), b, a); }
INLINE vec vmax(vec a, vec b) { return vselect(MASK(a < b), b, a); }
#endif
INLINE vec vabs(vec a) { return vreal(vbits(a) & ~SIGN_BIT); }

INLINE vec vsqrt(vec a) {
#if VBYTES == 0
    return SQRT(a);
#else
    for (int i = 0; i < VL; i++) a[i] = SQRT(a[i]);
    return a;
#endif
}

/* Whether every element is +0 or -0. */
INLINE int vzero(vec a) {
#if VBYTES == 0
    return a == 0;
#else
    const ivec bits = vbits(a) & ~SIGN_BIT;
#ifdef VECTOR_ALL_ZERO
    return VECTOR_ALL_ZERO(bits);
#else
    INTEGER any = 0;
    for (int i = 0; i < VL; i++) any |= bits[i];
    return any == 0;
#endif
#endif
}

/* 2^n and r for x = n log 2 + r with |r| <= log(2) / 2, LOWEST_EXP <= x <= HIGHEST_EXP; outside, those of the
 * nearer end.  log 2 in two parts, the first exact in few bits, so that n LN2_HIGH is exact (Cody and Waite, 1980);
 * 2^n through the exponent. */
INLINE vec split_exp(vec x, vec *r) {
    x = vmin(vmax(x, vset(LOWEST_EXP)), vset(HIGHEST_EXP));
    const vec shifted = x * vset((REAL)1.4426950408889634074) + vset(ROUND_MAGIC);
    const vec n = shifted - vset(ROUND_MAGIC);
    *r = (x - n * vset(LN2_HIGH)) - n * vset(LN2_LOW);
    return vreal((vbits(shifted) << MANTISSA_BITS) + ONE_BITS);
}

static const REAL exp_taylor[] = EXP_TAYLOR;
enum { EXP_DEGREE = sizeof exp_taylor / sizeof exp_taylor[0] - 1 };

/* exp(x) = 2^n exp(r), exp(r) by its Taylor series. */
INLINE vec vexp(vec x) {
    vec r, y = vset(exp_taylor[EXP_DEGREE]);
    const vec power = split_exp(x, &r);
    for (int k = EXP_DEGREE - 1; k >= 0; k--) y = y * r + vset(exp_taylor[k]);
    return y * power; /* a product, not a sum of exponents, so that NaN stays NaN */
}

/* exp(x) - 1 = (2^n - 1) + 2^n (exp(r) - 1), which keeps the digits of small x. */
INLINE vec vexpm1(vec x) {
    vec r, y = vset(exp_taylor[EXP_DEGREE]);
    const vec power = split_exp(x, &r);
    for (int k = EXP_DEGREE - 1; k > 0; k--) y = y * r + vset(exp_taylor[k]);
    return (power - vset(1)) + power * (y * r);
}

/* log(1 + x) for 0 <= x <= 1: 2 artanh(s), s = x / (2 + x) <= 1/3, by its Taylor series. */
INLINE vec vlog1p(vec x) {
    const vec s = x / (vset(2) + x), square = s * s;
    vec y = vset((REAL)1 / (2 * ARTANH_DEGREE + 1));
    for (int k = ARTANH_DEGREE - 1; k >= 0; k--) y = y * square + vset((REAL)1 / (2 * k + 1));
    return vset(2) * s * y;
}

/* sigmoid(x) = 1 / (1 + exp(-x)); where exp(-x) ends, the quotient is denormal and flushed to zero. */
INLINE vec vsigmoid(vec x) { return vset(1) / (vset(1) + vexp(-x)); }

/* tanh. Coefficients: tools/fit_tanh.py. */
#if REAL_BITS == 32
/* scale tanh(scale x), where powers of the scale are powers of two: folded into the coefficients it costs
 * nothing and changes no rounding.  x P(x^2) / Q(x^2) on the range where tanh(x) is not yet 1, relative error
 * 2e-8; beyond it x times the quotient at its end, which is more than 1. */
INLINE vec scaled_tanh(vec x, REAL scale) {
    const REAL k2 = scale * scale, k4 = k2 * k2, k6 = k4 * k2, k8 = k4 * k4, k10 = k8 * k2;
    const vec s = vmin(x * x, vset(9.02f * 9.02f / k2));
    vec p = vset(1.3319194361574265e-8f * k10);
    p = p * s + vset(2.0583652080135155e-5f * k8);
    p = p * s + vset(3.4940486420389822e-3f * k6);
    p = p * s + vset(0.13379731051455965f * k4);
    p = p * s + vset(0.99999997872602723f * k2);
    vec q = vset(7.7620936874536122e-7f * k8);
    q = q * s + vset(3.2831132411796178e-4f * k6);
    q = q * s + vset(2.5871130676799778e-2f * k4);
    q = q * s + vset(0.46713046315511063f * k2);
    q = q * s + vset(1.0f);
    const vec y = x * p / q;
    return vmin(vmax(y, vset(-scale)), vset(scale));
}

INLINE vec vtanh(vec x) { return scaled_tanh(x, 1); }
#else
INLINE vec vtanh(vec x) {
    /* |x| < 0.625: x + x s P(s) / Q(s), s = x^2, relative error 2e-17; beyond: 1 - 2 e / (1 + e),
     * e = exp(-2 |x|). */
    const vec a = vabs(x), s = x * x;
    vec p = vset(-0.00019918313315403267);
    p = p * s + vset(-0.020498914628976997);
    p = p * s + vset(-0.33333333333333333);
    vec q = vset(0.00020653918831513141);
    q = q * s + vset(0.023291485049571549);
    q = q * s + vset(0.46149674388692775);
    q = q * s + vset(1.0);
    const vec small = x + x * s * (p / q);
    const vec e = vexp(a * vset(-2.0));
    const vec large = vset(1.0) - vset(2.0) * e / (vset(1.0) + e);
    const vec signed_large = vreal(vbits(large) | (vbits(x) & SIGN_BIT));
    return vselect(MASK(a < vset(0.625)), small, signed_large);
}
#endif

/* -- activations ----------------------------------------------------------------------------------- */

/* As in fastrnn/constants.py. */
#define LEAK ((REAL)0.2)
#define SELU_SCALE ((REAL)1.0507009873554805)
#define SELU_ALPHA ((REAL)1.6732632423543772)

/* The probability that a standard normal lies below z; erfc is the C library's, number by number. */
static vec normal_below(vec z) {
    REAL numbers[VL];
    vstore(numbers, z * vset((REAL)-0.70710678118654752));
    for (int i = 0; i < VL; i++) numbers[i] = ERFC(numbers[i]);
    return vset((REAL)0.5) * vload(numbers);
}

/* Those that few nets use have no copy of their own in every loop. */
static NOINLINE vec apply_rare(int32_t activation, vec z) {
    switch (activation) {
        case ACT_RELU6: return vmin(vmax(z, vset(0)), vset(6));
        case ACT_LEAKY_RELU: return vmax(z, vset(LEAK) * z);
        case ACT_ELU: return vselect(MASK(z > vset(0)), z, vexpm1(vmin(z, vset(0))));
        case ACT_SELU:
            return vset(SELU_SCALE) *
                   vselect(MASK(z > vset(0)), z, vset(SELU_ALPHA) * vexpm1(vmin(z, vset(0))));
        case ACT_EXPONENTIAL: { /* the square of a root: infinite, or 0, where it should be */
            const vec root = vexp(vset((REAL)0.5) * z);
            return root * root;
        }
        case ACT_SOFTPLUS: return vmax(z, vset(0)) + vlog1p(vexp(-vabs(z)));
        case ACT_SOFTSIGN: return z / (vset(1) + vabs(z));
        case ACT_SILU: return z * vsigmoid(z);
        default: return z * normal_below(z); /* ACT_GELU */
    }
}

static NOINLINE vec slope_rare(int32_t activation, vec y) {
    switch (activation) {
        case ACT_RELU6: return vselect(MASK(y > vset(0)) & MASK(y < vset(6)), vset(1), vset(0));
        case ACT_LEAKY_RELU: return vselect(MASK(y > vset(0)), vset(1), vset(LEAK));
        case ACT_ELU: return vselect(MASK(y > vset(0)), vset(1), y + vset(1));
        case ACT_SELU:
            return vselect(MASK(y > vset(0)), vset(SELU_SCALE), y + vset(SELU_SCALE * SELU_ALPHA));
        case ACT_EXPONENTIAL: return y;
        case ACT_SOFTPLUS: return -vexpm1(-y); /* y = log(1 + exp(z)): sigmoid(z) = 1 - exp(-y) */
        case ACT_SOFTSIGN: {
            const vec rest = vset(1) - vabs(y);
            return rest * rest;
        }
        case ACT_SILU: {
            const vec s = vsigmoid(y); /* of z, as below */
            return s * (vset(1) + y * (vset(1) - s));
        }
        default: { /* ACT_GELU */
            const vec density = vexp(y * y * vset((REAL)-0.5)) * vset((REAL)0.39894228040143268);
            return normal_below(y) + y * density;
        }
    }
}

INLINE vec apply(int32_t activation, vec z) {
    switch (activation) {
        case ACT_LINEAR: return z;
        case ACT_RELU: return vmax(z, vset(0));
        case ACT_TANH: return vtanh(z);
        case ACT_SIGMOID: return vsigmoid(z);
        case ACT_HARD_SIGMOID:
            return vmin(vmax(z * vset((REAL)1 / 6) + vset((REAL)0.5), vset(0)), vset(1));
        default: return apply_rare(activation, z);
    }
}

/* The same for a gate, of which only the absolute error counts: sigmoid(z) = (1 + tanh(z / 2)) / 2 then
 * serves in single precision, and costs a third less. */
INLINE vec apply_gate(int32_t activation, vec z) {
#if REAL_BITS == 32
    if (activation == ACT_SIGMOID) return vset(0.5f) + scaled_tanh(z, 0.5f);
#endif
    return apply(activation, z);
}

/* f'(z) as a function of y = f(z); for silu and gelu y is z. */
INLINE vec slope(int32_t activation, vec y) {
    switch (activation) {
        case ACT_LINEAR: return vset(1);
        case ACT_RELU: return vselect(MASK(y > vset(0)), vset(1), vset(0));
        case ACT_TANH: return vset(1) - y * y;
        case ACT_SIGMOID: return y * (vset(1) - y);
        case ACT_HARD_SIGMOID:
            return vselect(MASK(y > vset(0)) & MASK(y < vset(1)), vset((REAL)1 / 6), vset(0));
        default: return slope_rare(activation, y);
    }
}

/* EACH_ACTIVATION(body): the body compiled for each one, so that no loop asks which it is; but for the rare ones. */
#define EACH_ACTIVATION(activation, BODY)                     \
    switch (activation) {                                     \
        case ACT_LINEAR: BODY(ACT_LINEAR); break;             \
        case ACT_RELU: BODY(ACT_RELU); break;                 \
        case ACT_TANH: BODY(ACT_TANH); break;                 \
        case ACT_SIGMOID: BODY(ACT_SIGMOID); break;           \
        case ACT_HARD_SIGMOID: BODY(ACT_HARD_SIGMOID); break; \
        default: BODY(activation);                            \
    }

/* -- rows of any length ------------------------------------------------------------------------------ */

/* Copy n elements and fill up with zeros to whole vectors. */
INLINE void copy_padded(REAL *to, const REAL *from, int64_t n) {
    int64_t j = 0;
    for (; j + VL <= n; j += VL) vstore(to + j, vload(from + j));
    if (j < n) vstore(to + j, vload_n(from + j, n - j));
}

INLINE void copy_row(REAL *to, const REAL *from, int64_t n) {
    int64_t j = 0;
    for (; j + VL <= n; j += VL) vstore(to + j, vload(from + j));
    for (; j < n; j++) to[j] = from[j];
}

INLINE void add_row(REAL *to, const REAL *from, int64_t n) {
    int64_t j = 0;
    for (; j + VL <= n; j += VL) vstore(to + j, vload(to + j) + vload(from + j));
    for (; j < n; j++) to[j] += from[j];
}

/* to = a + b for whole vectors. */
INLINE void sum_rows(REAL *to, const REAL *a, const REAL *b, int64_t n) {
    for (int64_t j = 0; j < n; j += VL) vstore(to + j, vload(a + j) + vload(b + j));
}

INLINE void clear_row(REAL *to, int64_t n) {
    for (int64_t j = 0; j < n; j++) to[j] = 0;
}
