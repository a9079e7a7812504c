/* A small thread pool.
 *
 * The calling thread does its share of the work itself, so that a call never waits for workers that are
 * busy elsewhere, and several threads may call at the same time.  Workers look out for the next job for
 * a fraction of a millisecond, yielding to others, and then sleep.  After a
 * fork the child starts with no workers and makes its own when it needs them.
 *
 * Denormals are flushed to zero while tasks run, on every thread that runs them, and the caller's setting
 * is restored afterwards: gradients that vanish over hundreds of steps would otherwise slow the
 * arithmetic a hundredfold.
 */
#ifndef FASTRNN_POOL_H
#define FASTRNN_POOL_H

#include <stdint.h>

enum { POOL_MAX_THREADS = 256 };

/* `task` is the number of the piece of work, `slot` < slots that of the thread's scratch. */
typedef void (*task_fn)(const void *context, int64_t task, int slot);

/* Run all tasks on at most `slots` threads, the caller's among them; returns when every one is done. */
void fastrnn_parallel(int64_t tasks, int slots, task_fn run, const void *context);

/* A running task reports how far it has come; others return from waiting once it is `least` or more. */
void fastrnn_report(int64_t *progress, int64_t done);
void fastrnn_wait_for(const int64_t *progress, int64_t least);

/* A team: threads that share many short phases of one job, each cut into the same number of pieces.  A fork and a
 * join of `fastrnn_parallel` take ten microseconds and more, those of a phase a fraction of one, for all members look
 * out for the next phase all the time.  Nobody waits for a member that claimed nothing, so one that comes late is not
 * missed.  Where a member was long away, because others want its processor, the team dissolves, and for a while
 * no new one forms. */
enum { TEAM_MOST = 16, TEAM_PIECES = 4 }; /* members, and pieces of a phase for each of them at most */

/* On a cache line of its own, which moves to another core when that core writes or reads it. */
#define APART _Alignas(64)

typedef struct {
    /* What the leader writes for some phases, together: */
    APART struct {
        int64_t number; /* how many there were before, their own number, and the pieces for each member, see `plan_of` */
        task_fn run; /* what they do, with its context */
        const void *context;
        int members, over;
    } phase;
    struct {
        APART int64_t state; /* twice the count of the last phase that it was a piece of, less 1 while under way */
    } piece[TEAM_MOST * TEAM_PIECES];
    /* The leader's: times in nanoseconds, when it began or last waited for long, and when it was done; pieces since
     * then, and how many of them were other members'. */
    APART int64_t since;
    int64_t ended, pieces, others;
    int led;
} team_t;

/* How many members a team of at most `most` may have now. */
int fastrnn_team_size(int64_t most);

/* Run `lead(context)` on this thread while others stand by for the phases that it calls; `team` is all zeros. */
void fastrnn_lead(team_t *team, int members, void (*lead)(const void *context), const void *context);

/* Pieces for each member of work that can be cut into `most` at most; there may be some for nobody. */
static inline int fastrnn_each(const team_t *team, int64_t most) {
    const int64_t each = (most + team->phase.members - 1) / team->phase.members;
    return each < TEAM_PIECES ? (int)each : TEAM_PIECES;
}

/* `phases` phases one after the other, for the leader to call: run(context, task, member) for the pieces of each, and
 * those of the next once all of them are done; task = phase * pieces + piece.  There are `each` pieces, at most
 * TEAM_PIECES, for each member, which takes its own first, if it comes in time: member m has those from m * each on.
 * Member 0 is the leader.  From phase to phase of one call all members go by themselves, which spares the leader's word
 * and what lines of memory take to move from core to core for it. */
enum { MOST_PHASES = (1 << 16) - 1 };
void fastrnn_together(team_t *team, int each, int phases, task_fn run, const void *context);

void fastrnn_pool_set_threads(int threads);
int fastrnn_pool_threads(void);

/* Flush denormals to zero; returns the setting to hand to restore. */
uint64_t fastrnn_flush_denormals(void);
void fastrnn_restore_denormals(uint64_t setting);

#endif
