/* Which instruction sets were compiled, and which of them this processor has. */
#include "rnn.h"

#define DECLARE(isa) extern const kernels_t fastrnn_kernels_f32_##isa, fastrnn_kernels_f64_##isa;
DECLARE(scalar)
DECLARE(baseline)
DECLARE(avx2)
DECLARE(avx512)

static int always(void) { return 1; }

#if defined(__GNUC__) && defined(__x86_64__)
/* These ask the operating system too whether it saves the wide registers. */
static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}
#endif

#define ENTRY(name, supported, isa) {name, supported, &fastrnn_kernels_f32_##isa, &fastrnn_kernels_f64_##isa}

const isa_t fastrnn_isas[] = {
    ENTRY("scalar", always, scalar),
#if defined(__GNUC__) && defined(__x86_64__)
    ENTRY("baseline", always, baseline),
    ENTRY("avx2", has_avx2, avx2),
    ENTRY("avx512", has_avx512, avx512),
#elif defined(__GNUC__) && defined(__aarch64__)
    ENTRY("neon", always, baseline),
#endif
    {0},
};
