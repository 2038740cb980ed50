/* workers.h: the one place where threads of training are made: an OpenMP parallel region.
 *
 * The rest of training sees a worker number and a barrier.
 */
#ifndef PT_TRAIN_WORKERS_H
#define PT_TRAIN_WORKERS_H

#include <stddef.h>

/* Calls work(context, worker, workers) on `workers` threads at once and returns when all are done.
 * Fewer threads than asked for (an operating system limit) is not an error: `workers` is then
 * smaller in every call. */
void pt_workers_run(size_t workers, void (*work)(void *context, size_t worker, size_t workers),
                    void *context);

/* Waits until every worker of the region has come here. What a worker wrote before is seen by all
 * after. */
void pt_workers_barrier(void);

/* How many threads may compute at once: the affinity mask, less SMT siblings, capped by the
 * cgroup's CPU quota (rounded up). At least 1. */
size_t pt_cores_available(void);

#endif
