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

void fastrnn_pool_set_threads(int threads);
int fastrnn_pool_threads(void);

/* Flush denormals to zero; returns the setting to hand to restore. */
uint64_t fastrnn_flush_denormals(void);
void fastrnn_restore_denormals(uint64_t setting);

#endif
