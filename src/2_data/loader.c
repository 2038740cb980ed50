/* loader.c: the prefetching pthread. */
#include "2_data/loader.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/thread.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

enum { DEPTH = 2, SPINS_BEFORE_SLEEP = 4000 };

struct pt_loader {
    pthread_t thread;
    const pt_dataset *dataset;
    const pt_kernels *kernels;
    pt_sampler sampler;
    uint64_t first;
    pt_batch batch[DEPTH];
    /* On lines of their own: each is written by one side and read by the other. */
    _Alignas(PT_ALIGNMENT) _Atomic uint64_t filled;   /* iterations below this are ready */
    _Alignas(PT_ALIGNMENT) _Atomic uint64_t released; /* iterations below this are done with */
    atomic_bool stop;
};

static void *load(void *context) {
    pt_loader *loader = context;
    unsigned previous = pt_float_environment_enter();
    for (uint64_t step = loader->first;; step++) {
        for (int spins = 0;
             step >= atomic_load_explicit(&loader->released, memory_order_acquire) + DEPTH;
             spins++) {
            if (atomic_load_explicit(&loader->stop, memory_order_relaxed)) {
                pt_float_environment_leave(previous);
                return NULL;
            }
            if (spins < SPINS_BEFORE_SLEEP)
                _mm_pause();
            else /* training is paused, or its steps are long: do not heat the core */
                nanosleep(&(struct timespec){.tv_nsec = 20000}, NULL);
        }
        pt_batch *batch = &loader->batch[step % DEPTH];
        pt_batch_fill(batch, loader->dataset, loader->kernels, &loader->sampler, step, 0,
                      batch->rows);
        atomic_store_explicit(&loader->filled, step + 1, memory_order_release);
    }
}

pt_status pt_loader_start(pt_loader **loader, const pt_dataset *dataset, const pt_kernels *kernels,
                          const pt_sampler *sampler, uint64_t first, size_t ld, bool one_hot,
                          const pt_sparse_data *lists, pt_error *err) {
    pt_loader *made = pt_calloc_aligned(1, sizeof *made);
    *loader = NULL;
    if (!made)
        return pt_fail_memory(err, "the loader", sizeof *made);
    made->dataset = dataset;
    made->kernels = kernels;
    made->sampler = *sampler;
    made->first = first;
    atomic_init(&made->filled, first);
    atomic_init(&made->released, first);
    pt_status status = PT_OK;
    for (int i = 0; i < DEPTH && status == PT_OK; i++)
        status =
            pt_batch_init(&made->batch[i], dataset, sampler->batch_size, ld, one_hot, lists, err);
    if (status == PT_OK) {
        const int failed = pt_thread_start(&made->thread, load, made);
        if (failed)
            status =
                pt_fail(err, PT_ERR_MEMORY, "cannot start the loader thread: %s", strerror(failed));
    }
    if (status == PT_OK) {
        *loader = made;
        return PT_OK;
    }
    for (int i = 0; i < DEPTH; i++)
        pt_batch_destroy(&made->batch[i]);
    pt_free(made);
    return status;
}

const pt_batch *pt_loader_wait(pt_loader *loader, uint64_t step) {
    for (int spins = 0; atomic_load_explicit(&loader->filled, memory_order_acquire) <= step;
         spins++) {
        if (spins < SPINS_BEFORE_SLEEP)
            _mm_pause();
        else /* fewer free cores than threads: let the loader have this one */
            sched_yield();
    }
    return &loader->batch[step % DEPTH];
}

void pt_loader_release(pt_loader *loader, uint64_t step) {
    atomic_store_explicit(&loader->released, step + 1, memory_order_release);
}

void pt_loader_stop(pt_loader *loader) {
    if (!loader)
        return;
    atomic_store_explicit(&loader->stop, true, memory_order_relaxed);
    pthread_join(loader->thread, NULL);
    for (int i = 0; i < DEPTH; i++)
        pt_batch_destroy(&loader->batch[i]);
    pt_free(loader);
}
