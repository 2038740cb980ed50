/* loader.h: a thread that prepares the mini-batches of the next iterations while the cores compute.
 *
 * Two batches take turns. Where every core computes, no loader runs and the workers fetch their own
 * rows; the bits are the same either way. Workers only read and write two counters: no lock, and
 * a system call (sched_yield) only after spinning. One consumer group: pt_loader_wait may be called
 * by every worker, pt_loader_release by one, after all are done with the batch.
 */
#ifndef PT_DATA_LOADER_H
#define PT_DATA_LOADER_H

#include "2_data/batch.h"

typedef struct pt_loader pt_loader;

/* Starts the thread, which fills iterations `first`, first + 1, ... without end. The dataset, the
 * sampler's contents and the kernels must outlive it. */
pt_status pt_loader_start(pt_loader **loader, const pt_dataset *dataset, const pt_kernels *kernels,
                          const pt_sampler *sampler, uint64_t first, size_t ld, bool one_hot,
                          const pt_sparse_data *lists, pt_error *err);
/* The batch of iteration `step`; waits (spinning) until it is filled. */
const pt_batch *pt_loader_wait(pt_loader *loader, uint64_t step);
/* Iteration `step` is done with; its batch may be filled anew. */
void pt_loader_release(pt_loader *loader, uint64_t step);
void pt_loader_stop(pt_loader *loader); /* joins and frees; NULL allowed */

#endif
