/* sparse.c: making the lists of nonzero bytes. */
#include "2_data/sparse.h"

#include "0_base/fail.h"
#include "0_base/memory.h"

#include <math.h>

static const uint8_t *bytes_of(const pt_dataset *dataset, const pt_split *split, size_t row) {
    return (const uint8_t *)split->features + row * dataset->columns;
}

bool pt_sparse_worthwhile(const pt_dataset *dataset, const pt_kernels *kernels) {
    enum { SAMPLED = 256 };
    if (dataset->element != PT_ELEMENT_U8 || dataset->offset != 0 || dataset->columns == 0 ||
        dataset->columns > PT_SPARSE_MAX_COLUMNS)
        return false;
    size_t rows = dataset->train.rows < SAMPLED ? dataset->train.rows : SAMPLED, nonzero = 0;
    for (size_t i = 0; i < rows; i++)
        nonzero += kernels->count_nonzero(
            dataset->columns, bytes_of(dataset, &dataset->train, i * dataset->train.rows / rows));
    return nonzero * 5 < rows * dataset->columns * 2; /* fewer than two in five */
}

pt_status pt_sparse_init(pt_sparse_data *data, const pt_dataset *dataset, pt_error *err) {
    *data = (pt_sparse_data){0};
    for (int byte = 0; byte < 256; byte++) /* as the u8_to_float kernel does */
        data->value[byte] = fmaf((float)byte, dataset->scale, dataset->offset);
    data->train.start = pt_malloc((dataset->train.rows + 1) * sizeof *data->train.start);
    data->test.start = pt_malloc((dataset->test.rows + 1) * sizeof *data->test.start);
    if (data->train.start && data->test.start)
        return PT_OK;
    pt_sparse_destroy(data);
    return pt_fail_memory(err, "the lists of nonzero features",
                          (dataset->train.rows + dataset->test.rows) * sizeof(size_t));
}

void pt_sparse_destroy(pt_sparse_data *data) {
    pt_free(data->train.entry);
    pt_free(data->train.start);
    pt_free(data->test.entry);
    pt_free(data->test.start);
    *data = (pt_sparse_data){0};
}

void pt_sparse_count_rows(pt_sparse_lists *lists, const pt_dataset *dataset, const pt_split *split,
                          const pt_kernels *kernels, size_t begin, size_t end) {
    for (size_t row = begin; row < end; row++)
        lists->start[row] = kernels->count_nonzero(dataset->columns, bytes_of(dataset, split, row));
}

pt_status pt_sparse_allocate(pt_sparse_lists *lists, const pt_split *split, pt_error *err) {
    size_t total = 0;
    for (size_t row = 0; row < split->rows; row++) {
        const size_t count = lists->start[row] + 1; /* and the end mark */
        /* A row may write a little behind its list, which the next row then overwrites; the next
         * block may be another thread's and already written. */
        if (row % PT_SPARSE_BLOCK == 0)
            total += PT_SPARSE_SLACK;
        lists->start[row] = total;
        total += count;
    }
    lists->start[split->rows] = total;
    lists->entry = pt_malloc_aligned(total + PT_SPARSE_SLACK, sizeof *lists->entry);
    return lists->entry ? PT_OK
                        : pt_fail_memory(err, "the lists of nonzero features",
                                         (total + PT_SPARSE_SLACK) * sizeof *lists->entry);
}

void pt_sparse_list_rows(pt_sparse_lists *lists, const pt_dataset *dataset, const pt_split *split,
                         const pt_kernels *kernels, size_t begin, size_t end) {
    for (size_t row = begin; row < end; row++)
        kernels->sparse_list(dataset->columns, bytes_of(dataset, split, row),
                             lists->entry + lists->start[row]);
}

pt_sparse_row pt_sparse_row_of(const pt_sparse_lists *lists, const pt_dataset *dataset,
                               const pt_split *split, size_t row) {
    return (pt_sparse_row){.bytes = bytes_of(dataset, split, row),
                           .entry = lists->entry + lists->start[row]};
}
