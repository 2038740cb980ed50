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
    data->train.place = pt_malloc(dataset->train.rows * sizeof *data->train.place);
    data->test.place = pt_malloc(dataset->test.rows * sizeof *data->test.place);
    data->train.bitmap_words = data->test.bitmap_words = (dataset->columns + 63) / 64;
    if (data->train.place && data->test.place)
        return PT_OK;
    pt_sparse_destroy(data);
    return pt_fail_memory(err, "the lists of nonzero features",
                          (dataset->train.rows + dataset->test.rows) * sizeof(pt_sparse_place));
}

void pt_sparse_destroy(pt_sparse_data *data) {
    pt_free(data->train.record);
    pt_free(data->train.place);
    pt_free(data->test.record);
    pt_free(data->test.place);
    *data = (pt_sparse_data){0};
}

void pt_sparse_count_rows(pt_sparse_lists *lists, const pt_dataset *dataset, const pt_split *split,
                          const pt_kernels *kernels, size_t begin, size_t end) {
    for (size_t row = begin; row < end; row++)
        lists->place[row].count =
            (uint32_t)kernels->count_nonzero(dataset->columns, bytes_of(dataset, split, row));
}

pt_status pt_sparse_allocate(pt_sparse_lists *lists, const pt_split *split, pt_error *err) {
    const size_t word = sizeof *lists->record, entry = sizeof(uint16_t) + sizeof(uint8_t);
    uint64_t words = 0;
    for (size_t row = 0; row < split->rows && words <= UINT32_MAX; row++) {
        pt_sparse_place *place = &lists->place[row];
        place->word = (uint32_t)words;
        words += lists->bitmap_words + (place->count * entry + word - 1) / word;
    }
    if (words <= UINT32_MAX) /* else 32 GiB are not enough */
        lists->record = pt_malloc_aligned(words + PT_SPARSE_SLACK / word, word);
    return lists->record ? PT_OK
                         : pt_fail_memory(err, "the lists of nonzero features", words * word);
}

void pt_sparse_list_rows(pt_sparse_lists *lists, const pt_dataset *dataset, const pt_split *split,
                         const pt_kernels *kernels, size_t begin, size_t end) {
    for (size_t row = begin; row < end; row++) {
        const pt_sparse_place place = lists->place[row];
        uint64_t *bitmap = lists->record + place.word;
        uint16_t *column = (uint16_t *)(bitmap + lists->bitmap_words);
        kernels->sparse_list(dataset->columns, bytes_of(dataset, split, row), bitmap, column,
                             (uint8_t *)(column + place.count));
    }
}
