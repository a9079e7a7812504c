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
enum { TEAM_MOST = 16, TEAM_PIECES = 4 }; /* members, and pieces of a phase for each of them */

typedef struct {
    task_fn run; /* what the phase does, with its context */
    const void *context;
    int members, over;
    struct {
        int64_t number;
        char apart[56]; /* on cache lines of their own: */
    } phase, piece[TEAM_MOST * TEAM_PIECES]; /* twice the phase in which it was finished, less 1 while under way */
    /* The leader's: times in nanoseconds, when it began or last waited for long, and when it was done; pieces since
     * then, and how many of them were other members'. */
    int64_t since, ended, pieces, others;
    int led;
} team_t;

/* How many members a team of at most `most` may have now. */
int fastrnn_team_size(int64_t most);

/* Run `lead(context)` on this thread while others stand by for the phases that it calls; `team` is all zeros. */
void fastrnn_lead(team_t *team, int members, void (*lead)(const void *context), const void *context);

static inline int64_t fastrnn_pieces(const team_t *team) { return team->members * TEAM_PIECES; }

/* A phase, for the leader to call: run(context, piece, member) for all pieces, member 0 being the leader itself. */
void fastrnn_together(team_t *team, task_fn run, const void *context);

void fastrnn_pool_set_threads(int threads);
int fastrnn_pool_threads(void);

/* Flush denormals to zero; returns the setting to hand to restore. */
uint64_t fastrnn_flush_denormals(void);
void fastrnn_restore_denormals(uint64_t setting);

#endif
