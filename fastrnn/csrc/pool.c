#define _GNU_SOURCE /* sched_getcpu */
#include "pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

typedef struct job {
    task_fn run;
    const void *context;
    int64_t tasks;
    atomic_llong next;     /* the next task to take */
    atomic_int slots;      /* scratch slots handed out; slot 0 is the caller's */
    int max_slots;
    atomic_int working;    /* workers inside; the job may be gone once there are none */
    struct job *following; /* in the list of open jobs */
} job_t;

/* How long a worker looks out for the next job before it sleeps.  A training step is a handful of jobs
 * with ten to a hundred microseconds between them, and waking a sleeping thread costs as much again; while it
 * looks out it yields to whoever else wants the processor, and an idle program is left alone at once. */
enum { LOOKOUT_NANOSECONDS = 200000 };

/* Held for a few instructions at a time, so whoever finds it taken should try again before it sleeps. */
#if defined(PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP)
#define LOCK_INITIALIZER PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP
#else
#define LOCK_INITIALIZER PTHREAD_MUTEX_INITIALIZER
#endif
static pthread_mutex_t lock = LOCK_INITIALIZER;
static pthread_cond_t posted = PTHREAD_COND_INITIALIZER;
static pthread_cond_t finished = PTHREAD_COND_INITIALIZER;
static job_t *open_jobs;
static atomic_int posts; /* jobs posted so far, for workers that look out */
static pthread_t threads[POOL_MAX_THREADS];
static int workers, sleeping; /* workers in all, and those asleep until a job is posted */
static int waiting;           /* callers asleep until their jobs are finished */
static int avoided = -1; /* the processor that workers keep away from */
static atomic_int thread_count = 1;
static pthread_once_t fork_handler = PTHREAD_ONCE_INIT;

uint64_t fastrnn_flush_denormals(void) {
#if defined(__SSE2__)
    const unsigned setting = _mm_getcsr();
    _mm_setcsr(setting | 0x8040u); /* flush to zero, denormals are zero */
    return setting;
#elif defined(__aarch64__)
    uint64_t setting;
    __asm__ volatile("mrs %0, fpcr" : "=r"(setting));
    __asm__ volatile("msr fpcr, %0" ::"r"(setting | ((uint64_t)1 << 24)));
    return setting;
#else
    return 0;
#endif
}

void fastrnn_restore_denormals(uint64_t setting) {
#if defined(__SSE2__)
    _mm_setcsr((unsigned)setting);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" ::"r"(setting));
#else
    (void)setting;
#endif
}

static void work_on(job_t *job, int slot) {
    const uint64_t setting = fastrnn_flush_denormals();
    int64_t task;
    while ((task = atomic_fetch_add_explicit(&job->next, 1, memory_order_relaxed)) < job->tasks)
        job->run(job->context, task, slot);
    fastrnn_restore_denormals(setting);
}

static void unlink_job(job_t *job) {
    for (job_t **p = &open_jobs; *p; p = &(*p)->following)
        if (*p == job) {
            *p = job->following;
            return;
        }
}

/* An open job with a slot to spare, or NULL.  Called with the lock held. */
static job_t *find_job(int *slot) {
    for (job_t *job = open_jobs; job; job = job->following)
        if (atomic_load(&job->next) < job->tasks && atomic_load(&job->slots) < job->max_slots) {
            *slot = atomic_fetch_add(&job->slots, 1);
            return job;
        }
    return NULL;
}

static int64_t nanoseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void pause_once(void) {
#if defined(__SSE2__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void pause_briefly(void) {
    for (int i = 0; i < 16; i++) pause_once();
}

void fastrnn_report(int64_t *progress, int64_t done) {
    __atomic_store_n(progress, done, __ATOMIC_RELEASE);
}

void fastrnn_wait_for(const int64_t *progress, int64_t least) {
    for (int tries = 0; __atomic_load_n(progress, __ATOMIC_ACQUIRE) < least; tries++) {
        pause_briefly();
        if (tries > 64) sched_yield(); /* the other thread may need this processor */
    }
}

/* Whether `number` became `value` (or, with `other`, anything else) within a short while. */
static int look_out(atomic_int *number, int value, int other) {
    const int64_t until = nanoseconds() + LOOKOUT_NANOSECONDS;
    for (int tries = 0;; tries++) {
        if ((atomic_load_explicit(number, memory_order_acquire) == value) != other) return 1;
        pause_briefly();
        if (tries < 16) continue;
        if (nanoseconds() > until) return 0;
        sched_yield(); /* to whoever else wants the processor */
    }
}

static void *worker(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    for (;;) {
        int slot;
        job_t *job = find_job(&slot);
        if (!job) {
            const int seen = atomic_load(&posts);
            pthread_mutex_unlock(&lock);
            const int more = look_out(&posts, seen, 1);
            pthread_mutex_lock(&lock);
            job = find_job(&slot); /* it may be linked and not yet counted */
            if (!job && !more) {
                sleeping++;
                pthread_cond_wait(&posted, &lock);
                sleeping--;
            }
            if (!job) continue;
        }
        atomic_fetch_add(&job->working, 1);
        pthread_mutex_unlock(&lock);
        work_on(job, slot);
        atomic_fetch_sub(&job->working, 1);
        pthread_mutex_lock(&lock);
        if (waiting) pthread_cond_broadcast(&finished);
    }
    return NULL;
}

static void after_fork_in_child(void) {
    /* Only the forking thread lives on here, and it held no job. */
    lock = (pthread_mutex_t)LOCK_INITIALIZER;
    pthread_cond_init(&posted, NULL);
    pthread_cond_init(&finished, NULL);
    open_jobs = NULL;
    workers = sleeping = waiting = 0;
    avoided = -1;
}

static void install_fork_handler(void) { pthread_atfork(NULL, NULL, after_fork_in_child); }

/* Called with the lock held. */
static void make_workers(int wanted) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    while (workers < wanted && workers < POOL_MAX_THREADS) {
        if (pthread_create(&threads[workers], &attributes, worker, NULL)) break; /* fewer will do */
        workers++;
        avoided = -1;
    }
    pthread_attr_destroy(&attributes);
}

/* Keep the workers off the caller's processor.  The scheduler likes to wake a thread where the one that
 * woke it runs; there it would wait until the caller has done the job alone, and it may be tens of
 * milliseconds before it is moved.  Called with the lock held. */
static void make_way(void) {
#if defined(__linux__)
    const int processor = sched_getcpu();
    cpu_set_t allowed;
    if (processor < 0 || processor == avoided) return;
    avoided = processor;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return;
    if (CPU_COUNT(&allowed) > 1) CPU_CLR(processor, &allowed);
    for (int i = 0; i < workers; i++) pthread_setaffinity_np(threads[i], sizeof allowed, &allowed);
#endif
}

int fastrnn_pool_threads(void) { return atomic_load(&thread_count); }

void fastrnn_parallel(int64_t tasks, int slots, task_fn run, const void *context) {
    job_t job = {.run = run, .context = context, .tasks = tasks, .max_slots = slots};
    atomic_init(&job.next, 0);
    atomic_init(&job.slots, 1);
    atomic_init(&job.working, 0);
    if (slots < 2 || tasks < 2) {
        work_on(&job, 0);
        return;
    }
    pthread_once(&fork_handler, install_fork_handler);
    pthread_mutex_lock(&lock);
    make_workers(slots - 1);
    if (sleeping) make_way();
    job.following = open_jobs;
    open_jobs = &job;
    const int64_t helpers = tasks < slots ? tasks - 1 : slots - 1;
    for (int64_t i = 0; i < helpers && i < sleeping; i++) pthread_cond_signal(&posted);
    pthread_mutex_unlock(&lock);
    atomic_fetch_add_explicit(&posts, 1, memory_order_release); /* now the lock is free for them */

    work_on(&job, 0);

    look_out(&job.working, 0, 0);
    pthread_mutex_lock(&lock);
    unlink_job(&job); /* from here on nobody else comes in */
    waiting++;
    while (atomic_load(&job.working)) pthread_cond_wait(&finished, &lock);
    waiting--;
    pthread_mutex_unlock(&lock);
}

/* -- teams ---------------------------------------------------------------------------------------------- */

/* A member that is away for so long has lost its processor to others: a scheduler's time slice is some milliseconds.
 * Now and then that does not matter.  But where members did not do WORTH times as much work as their leader then waited
 * for them, no team forms for a while, each time for longer. */
enum { LONG_WAIT_NANOSECONDS = 200000, WORTH = 2, LONGEST = 7 };
static atomic_llong alone_until, helped; /* nanoseconds that members worked since teams last waited for long */
static atomic_int failures;              /* one after the other */

void fastrnn_pool_set_threads(int threads) {
    atomic_store(&thread_count, threads);
    atomic_store(&alone_until, 0); /* a new setting, a new judgement */
    atomic_store(&failures, 0);
}

int fastrnn_team_size(int64_t most) {
    if (most < 2 || nanoseconds() < atomic_load_explicit(&alone_until, memory_order_relaxed)) return 1;
    return most < TEAM_MOST ? (int)most : TEAM_MOST;
}

/* How long members have worked for this team's leader, about, until then. */
static int64_t help_until(const team_t *team, int64_t then) {
    return then > team->since && team->pieces ? (then - team->since) * team->others / team->pieces : 0;
}

/* The leader has waited since then. */
static void judge(team_t *team, int64_t since) {
    const int64_t now = nanoseconds(), waited = now - since;
    if (waited < LONG_WAIT_NANOSECONDS) return;
    const int64_t help = atomic_exchange(&helped, 0) + help_until(team, since);
    const int before = atomic_load(&failures), n = help >= WORTH * waited ? 0 : before < LONGEST ? before + 1 : LONGEST;
    atomic_store(&failures, n);
    team->since = now, team->pieces = team->others = 0;
    if (!n) return;
    __atomic_store_n(&team->phase.over, 1, __ATOMIC_RELEASE);
    atomic_store(&alone_until, now + waited * (1 << n));
}

/* A number tells of some phases all at once, so that nobody takes the pieces of one for those of another. */
enum { EACH_BITS = 3, PHASES_BITS = 16 };
_Static_assert(TEAM_PIECES < 1 << EACH_BITS, "pieces for each member must fit");
_Static_assert(MOST_PHASES < 1 << PHASES_BITS, "phases must fit");

typedef struct {
    int64_t before; /* the count of the phase before them */
    int phases, each;
} plan_t;

static int64_t number_of(plan_t plan) {
    return (plan.before << PHASES_BITS | plan.phases) << EACH_BITS | plan.each;
}

static plan_t plan_of(int64_t number) {
    const int64_t counts = number >> EACH_BITS;
    return (plan_t){counts >> PHASES_BITS, counts & MOST_PHASES, number & ((1 << EACH_BITS) - 1)};
}

/* Claim pieces of a plan's phase and run them, a member's own first, which its cache knows, then what others left. */
static int take_pieces(team_t *team, plan_t plan, int phase, int member) {
    const int64_t count = plan.before + 1 + phase;
    const int pieces = team->phase.members * plan.each;
    int taken = 0;
    for (int i = 0, p = member * plan.each; i < pieces; i++, p = p + 1 < pieces ? p + 1 : 0) {
        int64_t *state = &team->piece[p].state, before = __atomic_load_n(state, __ATOMIC_RELAXED);
        if (before >= 2 * count - 1) continue; /* claimed, and the phase perhaps over */
        if (!__atomic_compare_exchange_n(state, &before, 2 * count - 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            continue; /* and else the phase lasts until this piece is finished */
        team->phase.run(team->phase.context, (int64_t)phase * pieces + p, member);
        __atomic_store_n(state, 2 * count, __ATOMIC_RELEASE);
        taken++;
    }
    return taken;
}

/* Wait a little.  Who waits for many tries is told since when, about. */
static void wait_in_team(int *tries, int64_t *since) {
    enum { BRIEF = 1 << 8, IMPATIENT = 1 << 10 };
    pause_once();
    if (++*tries == BRIEF) *since = nanoseconds();
    if (*tries > IMPATIENT) sched_yield(); /* who is waited for may need this processor */
}

/* Wait until all pieces of a plan's phase are done; returns since when, if that was long ago, else 0. */
static int64_t wait_for_phase(team_t *team, plan_t plan, int phase) {
    const int64_t count = plan.before + 1 + phase;
    const int pieces = team->phase.members * plan.each;
    int tries = 0;
    int64_t since = 0;
    for (int p = 0; p < pieces; p++)
        while (__atomic_load_n(&team->piece[p].state, __ATOMIC_ACQUIRE) < 2 * count) wait_in_team(&tries, &since);
    return since;
}

void fastrnn_together(team_t *team, int each, int phases, task_fn run, const void *context) {
    const plan_t last = plan_of(team->phase.number), plan = {last.before + last.phases, phases, each};
    const int pieces = team->phase.members * each;
    team->phase.run = run, team->phase.context = context;
    __atomic_store_n(&team->phase.number, number_of(plan), __ATOMIC_RELEASE);
    for (int phase = 0; phase < phases; phase++) {
        team->pieces += pieces;
        team->others += pieces - take_pieces(team, plan, phase, 0);
        const int64_t since = wait_for_phase(team, plan, phase);
        if (since) judge(team, since);
    }
}

/* Whether the team has dissolved. */
static int is_over(const team_t *team) { return __atomic_load_n(&team->phase.over, __ATOMIC_ACQUIRE); }

/* What a member that is not the leader does of a plan.  One that comes late finds phases over, or all of them. */
static void take_part(team_t *team, plan_t plan, int member) {
    for (int phase = 0; phase < plan.phases && !is_over(team); phase++) {
        if (phase) wait_for_phase(team, plan, phase - 1);
        take_pieces(team, plan, phase, member);
    }
}

static void stand_by(team_t *team, int member) {
    int64_t seen = 0, since = 0;
    for (int tries = 0; !is_over(team);) {
        const int64_t number = __atomic_load_n(&team->phase.number, __ATOMIC_ACQUIRE);
        if (number == seen) {
            wait_in_team(&tries, &since);
            continue;
        }
        take_part(team, plan_of(seen = number), member);
        tries = 0;
    }
}

typedef struct {
    team_t *team;
    void (*lead)(const void *context);
    const void *context;
} led_t;

/* As many tasks as threads, and nobody but the leader ends one before the leader has: so it surely gets one. */
static void member_task(const void *context, int64_t task, int slot) {
    const led_t *led = context;
    team_t *team = led->team;
    (void)task;
    if (slot) {
        stand_by(team, slot);
    } else if (!team->led) {
        team->led = 1;
        led->lead(led->context);
        __atomic_store_n(&team->phase.over, 1, __ATOMIC_RELEASE);
        team->ended = nanoseconds();
    }
}

void fastrnn_lead(team_t *team, int members, void (*lead)(const void *context), const void *context) {
    const led_t led = {team, lead, context};
    team->phase.members = members;
    team->since = nanoseconds();
    fastrnn_parallel(members, members, member_task, &led);
    judge(team, team->ended);
    atomic_fetch_add(&helped, help_until(team, team->ended));
}
