/* workers.h: the one place where threads of training are made: an OpenMP parallel region.
 *
 * The rest of training sees a worker number and a barrier. The barrier is our own: OpenMP's either
 * spins for milliseconds, which is a disaster when another process holds one of the cores, or
 * sleeps at once, which costs more than a training step of a small network. Ours spins for about
 * 100 microseconds, twice what a virtual machine takes to wake a thread, and then sleeps.
 */
#ifndef PT_TRAIN_WORKERS_H
#define PT_TRAIN_WORKERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Calls work(context, worker, workers) on `workers` threads at once and returns when all are done.
 * Fewer threads than asked for (OMP_THREAD_LIMIT, OMP_DYNAMIC) are not an error: `workers` is then
 * smaller in every call. A thread that the operating system refuses ends the process: OpenMP's runtimes
 * know no other way. */
void pt_workers_run(size_t workers, void (*work)(void *context, size_t worker, size_t workers),
                    void *context);

/* Shares out 0 .. total-1 among workers that may be unequally fast: who is free takes the next `block`
 * of them, [*begin, *end). `next` starts at 0. False: none is left. */
static inline bool pt_take_block(atomic_size_t *next, size_t block, size_t total, size_t *begin,
                                 size_t *end) {
    *begin = atomic_fetch_add_explicit(next, block, memory_order_relaxed);
    if (*begin >= total)
        return false;
    *end = total - *begin < block ? total : *begin + block;
    return true;
}

/* A count that only grows, by one worker at a time, and that others wait for. */
typedef struct pt_progress {
    _Alignas(64) atomic_uint count;
    atomic_uint sleepers;
} pt_progress;

/* Sets the count; what was written before is seen by who waits for it. */
void pt_progress_reach(pt_progress *progress, unsigned count);
/* Waits until the count is `count` or more; sleeps after spinning for so many ticks of the time-stamp
 * counter, for which a barrier's spin_ticks is right. Returns the ticks waited, 0 if the count was there
 * already. */
uint64_t pt_progress_wait(pt_progress *progress, unsigned count, uint64_t spin_ticks);

/* Made before its region, for the workers of one region at a time. */
typedef struct pt_barrier {
    _Alignas(64) atomic_uint arrived;
    pt_progress generation; /* counts barriers */
    uint64_t spin_ticks;
} pt_barrier;

/* For up to `workers` workers. */
void pt_barrier_init(pt_barrier *barrier, size_t workers);

/* Waits until all `workers` of the region have come here. What a worker wrote before is seen by all
 * after. Calls the operating system only after a long wait. Returns the ticks waited, 0 to the last to
 * come. */
uint64_t pt_barrier_wait(pt_barrier *barrier, size_t workers);

#endif
