/* workers.c: OpenMP, and only here. */
#include "4_train/workers.h"

#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <omp.h>
#include <sys/syscall.h>
#include <unistd.h>

void pt_workers_run(size_t workers, void (*work)(void *context, size_t worker, size_t workers),
                    void *context) {
    if (workers <= 1) { /* no team, no wake-up: one thread is a plain call */
        work(context, 0, 1);
        return;
    }
#pragma omp parallel num_threads((int)workers) default(none) shared(work, context)
    work(context, (size_t)omp_get_thread_num(), (size_t)omp_get_num_threads());
}

void pt_barrier_init(pt_barrier *barrier, size_t workers) {
    /* About 100 microseconds: several times what it takes to wake a sleeping thread (a virtual
     * machine may take 50), so that one late worker does not send the others to sleep and they, late
     * in their turn, send it; and much shorter than a scheduler's time slice. */
    enum { SPIN_TICKS = 300000 };
    *barrier = (pt_barrier){0};
    /* With more workers than processors we would spin on the very one that is waited for. */
    barrier->spin_ticks = (size_t)omp_get_num_procs() >= workers ? SPIN_TICKS : 0;
}

void pt_barrier_wait(pt_barrier *barrier, size_t workers) {
    if (workers <= 1)
        return;
    const unsigned generation = atomic_load_explicit(&barrier->generation, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) + 1 == workers) {
        atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
        /* Sequentially consistent, as is the sleeper's side: either it sees the new generation, or
         * we see the sleeper. */
        atomic_store(&barrier->generation, generation + 1);
        if (atomic_load(&barrier->sleepers))
            syscall(SYS_futex, &barrier->generation, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
        return;
    }
    for (const uint64_t start = __rdtsc(); __rdtsc() - start < barrier->spin_ticks;) {
        if (atomic_load_explicit(&barrier->generation, memory_order_acquire) != generation)
            return;
        _mm_pause();
    }
    atomic_fetch_add(&barrier->sleepers, 1);
    while (atomic_load(&barrier->generation) == generation)
        syscall(SYS_futex, &barrier->generation, FUTEX_WAIT_PRIVATE, generation, NULL, NULL, 0);
    atomic_fetch_sub(&barrier->sleepers, 1);
}
