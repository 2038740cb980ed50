/* workers.c: OpenMP, and only here. */
#include "4_train/workers.h"

#include <omp.h>

void pt_workers_run(size_t workers, void (*work)(void *context, size_t worker, size_t workers),
                    void *context) {
    if (workers <= 1) { /* no team, no wake-up: one thread is a plain call */
        work(context, 0, 1);
        return;
    }
#pragma omp parallel num_threads((int)workers) default(none) shared(work, context)
    work(context, (size_t)omp_get_thread_num(), (size_t)omp_get_num_threads());
}

void pt_workers_barrier(void) {
#pragma omp barrier
}
