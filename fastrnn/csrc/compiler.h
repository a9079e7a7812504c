/* What kernels ask of a compiler, and do without where it has nothing of the kind. */
#if defined(__GNUC__)
#define INLINE static inline __attribute__((always_inline, unused))
#define NOINLINE __attribute__((noinline))
#else
#define INLINE static inline
#define NOINLINE
#endif

/* Before a loop: write it out, wholly; or twice, with the loop's own instructions once. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define TWICE _Pragma("clang loop unroll_count(2)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 16")
#define TWICE _Pragma("GCC unroll 2")
#else
#define UNROLL
#define TWICE
#endif

#if defined(__GNUC__)
#define UNREACHABLE() __builtin_unreachable()
#else
#define UNREACHABLE() ((void)0)
#endif

/* What reads memory behind it is not moved before it. */
#if defined(__GNUC__)
#define IN_ORDER() __asm__ volatile("" ::: "memory")
#else
#define IN_ORDER() ((void)0)
#endif

/* Forget what is known of where a pointer came from, so that it gets a register of its own. */
#if defined(__GNUC__)
#define OPAQUE(p) __asm__("" : "+r"(p))
#else
#define OPAQUE(p) ((void)(p))
#endif

/* Bring the `bytes` from p on into the first cache, for what comes next, or into the second, for what comes a while
 * after: in the first it would push out what is worked with. */
#if defined(__GNUC__)
#define PREFETCH_TO(p, bytes, locality)                                          \
    for (size_t line_ = 0; line_ < (bytes); line_ += 64)                         \
        __builtin_prefetch((const char *)(p) + line_, 0, locality)
#else
#define PREFETCH_TO(p, bytes, locality) ((void)(p))
#endif
#define PREFETCH(p, bytes) PREFETCH_TO(p, bytes, 3)
#define PREFETCH_AHEAD(p, bytes) PREFETCH_TO(p, bytes, 2)
