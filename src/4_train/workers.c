/* workers.c: OpenMP, and only here. */
#include "4_train/workers.h"

#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <omp.h>
#include <stdbool.h>
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

static uint64_t spin_ticks_of(size_t workers) {
    /* About 100 microseconds: several times what it takes to wake a sleeping thread (a virtual
     * machine may take 50), so that one late worker does not send the others to sleep and they, late
     * in their turn, send it; and much shorter than a scheduler's time slice. */
    enum { SPIN_TICKS = 300000 };
    /* With more workers than processors we would spin on the very one that is waited for. */
    return (size_t)omp_get_num_procs() >= workers ? SPIN_TICKS : 0;
}

void pt_progress_reach(pt_progress *progress, unsigned count) {
    /* Sequentially consistent, as is the sleeper's side: either it sees the new count, or we see the
     * sleeper. */
    atomic_store(&progress->count, count);
    if (atomic_load(&progress->sleepers))
        syscall(SYS_futex, &progress->count, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* The count may wrap around. */
static bool reached(unsigned now, unsigned count) {
    return (int)(now - count) >= 0;
}

uint64_t pt_progress_wait(pt_progress *progress, unsigned count, uint64_t spin_ticks) {
    if (reached(atomic_load_explicit(&progress->count, memory_order_acquire), count))
        return 0;
    const uint64_t start = __rdtsc();
    while (__rdtsc() - start < spin_ticks) {
        if (reached(atomic_load_explicit(&progress->count, memory_order_acquire), count))
            return __rdtsc() - start;
        _mm_pause();
    }
    atomic_fetch_add(&progress->sleepers, 1);
    for (unsigned now; !reached(now = atomic_load(&progress->count), count);)
        syscall(SYS_futex, &progress->count, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
    atomic_fetch_sub(&progress->sleepers, 1);
    return __rdtsc() - start;
}

void pt_barrier_init(pt_barrier *barrier, size_t workers) {
    *barrier = (pt_barrier){.spin_ticks = spin_ticks_of(workers)};
}

uint64_t pt_barrier_wait(pt_barrier *barrier, size_t workers) {
    if (workers <= 1)
        return 0;
    const unsigned next =
        atomic_load_explicit(&barrier->generation.count, memory_order_relaxed) + 1;
    if (atomic_fetch_add_explicit(&barrier->arrived, 1, memory_order_acq_rel) + 1 < workers)
        return pt_progress_wait(&barrier->generation, next, barrier->spin_ticks);
    atomic_store_explicit(&barrier->arrived, 0, memory_order_relaxed);
    pt_progress_reach(&barrier->generation, next);
    return 0;
}
