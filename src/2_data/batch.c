/* batch.c: gathering rows of a dataset into a mini-batch of floats. */
#include "2_data/batch.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/prefetch.h"

#include <string.h>

pt_status pt_batch_init(pt_batch *batch, const pt_dataset *dataset, size_t rows, size_t ld,
                        bool one_hot, const pt_sparse_data *lists, pt_error *err) {
    *batch = (pt_batch){.rows = rows, .cols = dataset->columns, .ld = ld, .lists = lists};
    batch->target_cols = one_hot ? dataset->classes : dataset->target_columns;
    batch->x = pt_calloc_aligned(rows * ld, sizeof *batch->x);
    if (dataset->classes)
        batch->label = pt_calloc_aligned(rows, sizeof *batch->label);
    if (batch->target_cols)
        batch->target = pt_calloc_aligned(rows * batch->target_cols, sizeof *batch->target);
    if (lists) {
        batch->sparse = pt_calloc(PT_BATCH_SLOTS * rows, sizeof *batch->sparse);
        batch->drawn = pt_calloc(PT_BATCH_SLOTS * rows, sizeof *batch->drawn);
    }
    if (batch->x && ((batch->sparse && batch->drawn) || !lists) &&
        (batch->label || !dataset->classes) && (batch->target || !batch->target_cols))
        return PT_OK;
    pt_batch_destroy(batch);
    return pt_fail_memory(err, "a mini-batch",
                          rows * (ld + batch->target_cols + 1) * sizeof(float));
}

void pt_batch_destroy(pt_batch *batch) {
    pt_free(batch->x);
    pt_free(batch->label);
    pt_free(batch->target);
    pt_free(batch->sparse);
    pt_free(batch->drawn);
    *batch = (pt_batch){0};
}

static const void *features_of(const pt_dataset *dataset, const pt_split *split, size_t row) {
    size_t bytes = dataset->element == PT_ELEMENT_U8 ? 1 : sizeof(float);
    return (const char *)split->features + row * dataset->columns * bytes;
}

static const pt_sparse_lists *lists_of(const pt_batch *batch, const pt_dataset *dataset,
                                       const pt_split *split) {
    return split == &dataset->train ? &batch->lists->train : &batch->lists->test;
}

static PT_ONLY_PREFETCHES void prefetch_row(const pt_batch *batch, const pt_dataset *dataset,
                                            const pt_split *split, size_t row) {
    if (batch->lists) {
        const pt_sparse_row list = pt_sparse_row_of(lists_of(batch, dataset, split), row);
        pt_prefetch(list.bitmap, (size_t)(list.byte + pt_sparse_row_count(&list) -
                                          (const uint8_t *)list.bitmap));
    } else {
        pt_prefetch(features_of(dataset, split, row),
                    dataset->columns * (dataset->element == PT_ELEMENT_U8 ? 1 : sizeof(float)));
    }
}

static void fetch_target(pt_batch *batch, size_t i, const pt_split *split, size_t row) {
    if (batch->label)
        batch->label[i] = split->labels[row];
    if (!batch->target)
        return;
    float *target = batch->target + i * batch->target_cols;
    if (split->targets) {
        memcpy(target, split->targets + row * batch->target_cols,
               batch->target_cols * sizeof *target);
    } else {
        memset(target, 0, batch->target_cols * sizeof *target);
        target[split->labels[row]] = 1;
    }
}

static void fetch_row(pt_batch *batch, size_t i, const pt_dataset *dataset, const pt_split *split,
                      const pt_kernels *kernels, size_t row) {
    float *x = batch->x + i * batch->ld;
    const void *from = features_of(dataset, split, row);
    if (batch->sparse)
        batch->sparse[i] = pt_sparse_row_of(lists_of(batch, dataset, split), row);
    else if (dataset->columns == 0)
        ; /* a graph of variables only reads no data */
    else if (dataset->element == PT_ELEMENT_U8)
        kernels->u8_to_float(dataset->columns, from, dataset->scale, dataset->offset, x);
    else
        memcpy(x, from, dataset->columns * sizeof *x);
    fetch_target(batch, i, split, row);
}

void pt_batch_fill(pt_batch *batch, const pt_dataset *dataset, const pt_kernels *kernels,
                   const pt_sampler *sampler, uint64_t step, size_t begin, size_t end) {
    /* Random rows come from memory, not from a cache: their lines are asked for some rows ahead. */
    enum { AHEAD = 8 };
    size_t ahead[AHEAD];
    for (size_t i = begin; i < end + AHEAD; i++) {
        if (i >= begin + AHEAD)
            fetch_row(batch, i - AHEAD, dataset, &dataset->train, kernels, ahead[i % AHEAD]);
        if (i >= end)
            continue;
        ahead[i % AHEAD] = pt_sampler_row(sampler, step, i);
        prefetch_row(batch, dataset, &dataset->train, ahead[i % AHEAD]);
    }
}

void pt_batch_fill_from(pt_batch *batch, const pt_dataset *dataset, const pt_split *split,
                        const pt_kernels *kernels, size_t first, size_t count) {
    for (size_t i = 0; i < count; i++)
        fetch_row(batch, i, dataset, split, kernels, first + i);
}

void pt_batch_draw(pt_batch *batch, const pt_dataset *dataset, const pt_sampler *sampler,
                   uint64_t step, size_t begin, size_t end) {
    size_t *drawn = batch->drawn + step % PT_BATCH_SLOTS * batch->rows;
    for (size_t i = begin; i < end; i++) {
        drawn[i] = pt_sampler_row(sampler, step, i);
        __builtin_prefetch(batch->lists->train.place + drawn[i]);
        if (batch->label)
            __builtin_prefetch(dataset->train.labels + drawn[i]);
    }
}

void pt_batch_find(pt_batch *batch, uint64_t step, size_t begin, size_t end) {
    const size_t slot = step % PT_BATCH_SLOTS * batch->rows;
    for (size_t i = begin; i < end; i++)
        batch->sparse[slot + i] = pt_sparse_row_of(&batch->lists->train, batch->drawn[slot + i]);
}

void pt_batch_take(pt_batch *batch, const pt_dataset *dataset, uint64_t step, size_t begin,
                   size_t end) {
    const size_t *drawn = batch->drawn + step % PT_BATCH_SLOTS * batch->rows;
    for (size_t i = begin; i < end; i++)
        fetch_target(batch, i, &dataset->train, drawn[i]);
}

const pt_sparse_row *pt_batch_found(const pt_batch *batch, uint64_t step) {
    return batch->sparse + step % PT_BATCH_SLOTS * batch->rows;
}

void pt_batch_make_dense(pt_batch *batch) {
    for (size_t i = 0; batch->sparse && i < batch->rows; i++) {
        float *x = batch->x + i * batch->ld;
        const pt_sparse_row row = batch->sparse[i];
        const size_t entries = pt_sparse_row_count(&row);
        memset(x, 0, batch->cols * sizeof *x);
        for (size_t e = 0; e < entries; e++)
            x[row.column[e]] = batch->lists->value[row.byte[e]];
    }
}
