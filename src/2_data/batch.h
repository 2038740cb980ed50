/* batch.h: the rows of one mini-batch as floats: what the graph's data node reads.
 *
 * Filling rows [begin, end) touches only those rows, so workers may fill one batch together.
 */
#ifndef PT_DATA_BATCH_H
#define PT_DATA_BATCH_H

#include "2_data/dataset.h"
#include "2_data/sampler.h"
#include "2_data/sparse.h"
#include "simd/kernels.h"

typedef struct pt_batch {
    size_t rows, cols, ld; /* capacity; features of a row; floats between rows */
    float *x;              /* rows x ld */
    int32_t *label;        /* rows, or NULL */
    float *target;         /* rows x target_cols, contiguous, or NULL */
    size_t target_cols;
    /* With lists, `sparse` is filled instead of x. */
    const pt_sparse_data *lists; /* lent, or NULL */
    pt_sparse_row *sparse;       /* PT_BATCH_SLOTS x rows, of which fill uses the first; or NULL */
    size_t *drawn;               /* the same of row numbers */
} pt_batch;

enum { PT_BATCH_SLOTS = 4 };

/* `one_hot`: labels also become target rows of `classes` zeros and a one. `lists` (NULL: none) must
 * outlive the batch. */
pt_status pt_batch_init(pt_batch *batch, const pt_dataset *dataset, size_t rows, size_t ld,
                        bool one_hot, const pt_sparse_data *lists, pt_error *err);
void pt_batch_destroy(pt_batch *batch);

/* Rows begin .. end-1 of the mini-batch of iteration `step`. */
void pt_batch_fill(pt_batch *batch, const pt_dataset *dataset, const pt_kernels *kernels,
                   const pt_sampler *sampler, uint64_t step, size_t begin, size_t end);
/* Rows first .. first + count - 1 of a split, into rows 0 .. count-1. */
void pt_batch_fill_from(pt_batch *batch, const pt_dataset *dataset, const pt_split *split,
                        const pt_kernels *kernels, size_t first, size_t count);

/* With lists, rows can be drawn ahead of their iteration, so that nothing is waited for: `draw` notes
 * which are rows begin .. end-1 of iteration `step` and prefetches where their lists lie; `find`, an
 * iteration later, reads that, so that the lists can be prefetched; `take`, when their turn has come,
 * fetches their labels or targets. What is drawn and found is kept until step + PT_BATCH_SLOTS is. */
void pt_batch_draw(pt_batch *batch, const pt_dataset *dataset, const pt_sampler *sampler,
                   uint64_t step, size_t begin, size_t end);
void pt_batch_find(pt_batch *batch, uint64_t step, size_t begin, size_t end);
void pt_batch_take(pt_batch *batch, const pt_dataset *dataset, uint64_t step, size_t begin,
                   size_t end);
const pt_sparse_row *pt_batch_found(const pt_batch *batch, uint64_t step); /* all its rows */

/* Fills x from `sparse`, for who wants numbers (checks do, training does not). */
void pt_batch_make_dense(pt_batch *batch);

#endif
