/* What this machine can do at most: multiply and add (FMA) floats, by instruction set; read bytes, and
 * stream them through a triad, by the level of memory that they lie in; on one thread and on all.
 *
 *   cc -O2 -pthread peak.c -o peak && ./peak
 *
 * prints a line each: what, where, threads, and GFLOP/s or GB/s.  Each is the best of many short turns,
 * for others on the machine slow some of them, and none goes faster than the machine.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { TURNS = 25, MAX_THREADS = 256, BLOCK = 64 /* floats that a loop over memory takes at a time */ };
static const double TURN_SECONDS = 8e-3;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One thread's work: `run` goes `repeats` times over arrays of n floats. */
typedef struct job {
    void (*run)(const struct job *);
    int64_t repeats, n;
    float *a, *b, *c;
    double start, stop;
} job_t;

/* -- loops, for each instruction set --------------------------------------------------------------- */

typedef struct {
    const char *name;
    int supported;
    double flops; /* a repeat of fma */
    void (*fma)(const job_t *), (*read)(const job_t *), (*triad)(const job_t *);
} isa_t;

/* An FMA loop has as many sums as there are registers, so that none waits for itself; they are variables,
 * not an array, which the compiler would keep in memory.  It is made to believe that everything changes or
 * is used: else it would leave the loops out. */
#define SUMS_12(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)
#define SUMS_24(DO) \
    SUMS_12(DO) DO(12) DO(13) DO(14) DO(15) DO(16) DO(17) DO(18) DO(19) DO(20) DO(21) DO(22) DO(23)
#define START(i) __auto_type s##i = x;
#define ADD(i) s##i += x * y;
#define KEEP(i) __asm__ volatile("" : "+" REGISTER(s##i));

#define LOOPS(isa, TARGET, BYTES, SUMS)                                                              \
    typedef float isa##_vec __attribute__((vector_size(BYTES)));                                     \
    enum { isa##_flops = 2 * SUMS * (BYTES) / 4, isa##_vecs = BLOCK * 4 / (BYTES) };                 \
    TARGET static void isa##_fma(const job_t *job) {                                                 \
        isa##_vec x = {0}, y = {0};                                                                  \
        SUMS_##SUMS(START) for (int64_t k = 0; k < job->repeats; k++) {                              \
            __asm__ volatile("" : "+" REGISTER(x), "+" REGISTER(y));                                 \
            SUMS_##SUMS(ADD) SUMS_##SUMS(KEEP)                                                       \
        }                                                                                            \
    }                                                                                                \
    TARGET static void isa##_read(const job_t *job) {                                                \
        for (int64_t k = 0; k < job->repeats; k++)                                                   \
            for (int64_t i = 0; i < job->n; i += BLOCK) {                                            \
                const isa##_vec *a = (const isa##_vec *)(job->a + i);                                \
                _Pragma("GCC unroll 32") for (int j = 0; j < isa##_vecs; j++) {                      \
                    const isa##_vec v = a[j];                                                        \
                    __asm__ volatile("" : : REGISTER(v));                                            \
                }                                                                                    \
            }                                                                                        \
    }                                                                                                \
    TARGET static void isa##_triad(const job_t *job) {                                               \
        for (int64_t k = 0; k < job->repeats; k++)                                                   \
            for (int64_t i = 0; i < job->n; i += BLOCK) {                                            \
                isa##_vec *a = (isa##_vec *)(job->a + i);                                            \
                const isa##_vec *b = (isa##_vec *)(job->b + i), *c = (isa##_vec *)(job->c + i);      \
                _Pragma("GCC unroll 32") for (int j = 0; j < isa##_vecs; j++) a[j] = b[j] + 3 * c[j]; \
                __asm__ volatile("" : : : "memory");                                                 \
            }                                                                                        \
    }
#define ISA(isa, supported) {#isa, supported, isa##_flops, isa##_fma, isa##_read, isa##_triad}

#if defined(__x86_64__)
#define REGISTER "v"
LOOPS(baseline, , 16, 12)
LOOPS(avx2, __attribute__((target("avx2,fma"))), 32, 12)
LOOPS(avx512, __attribute__((target("avx512f"))), 64, 24)
enum { ISAS = 3 };
static void find_isas(isa_t *isas) {
    const int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    isas[0] = (isa_t)ISA(baseline, 1);
    isas[1] = (isa_t)ISA(avx2, avx2);
    isas[2] = (isa_t)ISA(avx512, avx2 && __builtin_cpu_supports("avx512f"));
}
#elif defined(__aarch64__)
#define REGISTER "w"
LOOPS(neon, , 16, 24)
enum { ISAS = 1 };
static void find_isas(isa_t *isas) { isas[0] = (isa_t)ISA(neon, 1); }
#else
#error "There are loops for x86-64 and 64-bit Arm alone."
#endif

/* -- turns ----------------------------------------------------------------------------------------- */

static pthread_barrier_t gate;

static void *work(void *argument) {
    job_t *job = argument;
    pthread_barrier_wait(&gate);
    job->start = now();
    job->run(job);
    job->stop = now();
    return NULL;
}

/* Seconds from the first thread's start to the last one's end. */
static double turn(job_t *jobs, int threads) {
    pthread_t workers[MAX_THREADS];
    pthread_barrier_init(&gate, NULL, (unsigned)threads);
    for (int i = 1; i < threads; i++) pthread_create(&workers[i], NULL, work, &jobs[i]);
    work(&jobs[0]);
    for (int i = 1; i < threads; i++) pthread_join(workers[i], NULL);
    pthread_barrier_destroy(&gate);
    double start = jobs[0].start, stop = jobs[0].stop;
    for (int i = 1; i < threads; i++) {
        if (jobs[i].start < start) start = jobs[i].start;
        if (jobs[i].stop > stop) stop = jobs[i].stop;
    }
    return stop - start;
}

/* How often a second each thread repeats its job, at best. */
static double rate(job_t *jobs, int threads) {
    int64_t repeats = 1;
    double took = 0;
    for (; took < TURN_SECONDS; repeats *= 2) { /* warm, too */
        for (int i = 0; i < threads; i++) jobs[i].repeats = repeats;
        took = turn(jobs, threads);
    }
    const double done = (double)jobs[0].repeats;
    double best = done / took;
    for (int i = 0; i < TURNS; i++) {
        took = turn(jobs, threads);
        if (done / took > best) best = done / took;
    }
    return best;
}

/* -- what is measured ------------------------------------------------------------------------------ */

static int processors(void) {
    cpu_set_t set;
    const int n = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
    return n < MAX_THREADS ? n : MAX_THREADS;
}

static void measure_fma(const isa_t *isa, int threads) {
    job_t jobs[MAX_THREADS];
    for (int i = 0; i < threads; i++) jobs[i] = (job_t){.run = isa->fma};
    printf("fma %s %d %.1f GFLOP/s\n", isa->name, threads, 1e-9 * isa->flops * threads * rate(jobs, threads));
}

/* `arrays` of them make up `bytes` a thread. */
static void measure_memory(const char *what, const char *level, void (*run)(const job_t *), int arrays,
                           size_t bytes, int threads) {
    const size_t large_page = (size_t)2 << 20, n = bytes / (size_t)arrays / (4 * BLOCK) * BLOCK;
    /* A page lies between the arrays: were their addresses equal but for high bits, they would collide. */
    const size_t apart = 4 * n + 4096 + 256, room = ((size_t)arrays * apart / large_page + 1) * large_page;
    job_t jobs[MAX_THREADS];
    for (int i = 0; i < threads; i++) {
        char *memory = aligned_alloc(large_page, room);
        if (!memory) exit(1);
        madvise(memory, room, MADV_HUGEPAGE);
        for (size_t j = 0; j < room / 4; j++) ((float *)memory)[j] = 1;
        jobs[i] = (job_t){.run = run, .n = (int64_t)n, .a = (float *)memory};
        if (arrays > 1) jobs[i].b = (float *)(memory + apart), jobs[i].c = (float *)(memory + 2 * apart);
    }
    printf("%s %s %d %.1f GB/s\n", what, level, threads,
           1e-9 * 4 * (double)n * arrays * threads * rate(jobs, threads));
    for (int i = 0; i < threads; i++) free(jobs[i].a);
}

/* The size of a cache, or a usual one where the system does not tell. */
static size_t cache(int name, size_t usual) {
    const long size = sysconf(name);
    return size > 0 ? (size_t)size : usual;
}

int main(void) {
    isa_t isas[ISAS], *widest = isas;
    const int all = processors();
    const size_t l1 = cache(_SC_LEVEL1_DCACHE_SIZE, 32 << 10), l2 = cache(_SC_LEVEL2_CACHE_SIZE, 1 << 20);
    const size_t l3 = cache(_SC_LEVEL3_CACHE_SIZE, 32 << 20);
    find_isas(isas);
    for (int threads = 1; threads <= all; threads += all > 1 ? all - 1 : 1) {
        const size_t share = l3 / (size_t)threads; /* all share it, and the memory beyond */
        const struct {
            const char *name;
            size_t bytes;
        } levels[] = {{"L1", l1 / 2}, {"L2", l2 / 2}, {"L3", share < 8 * l2 ? share / 2 : 4 * l2},
                      {"DRAM", 4 * share}};
        for (int i = 0; i < ISAS; i++) {
            if (!isas[i].supported) continue;
            measure_fma(&isas[i], threads);
            widest = &isas[i];
        }
        for (int i = 0; i < 4; i++) {
            measure_memory("read", levels[i].name, widest->read, 1, levels[i].bytes, threads);
            measure_memory("triad", levels[i].name, widest->triad, 3, levels[i].bytes, threads);
        }
    }
    return 0;
}
