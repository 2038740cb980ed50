/* sparse.h: rows of bytes as lists of their nonzero elements, made once when training starts.
 *
 * Of MNIST's pixels 81% are zero, and adding zero times a weight changes nothing, so the first
 * layer reads lists and skips them (kernels sparse_nn and sparse_tn; the same bits as the dense
 * product). Lists are made in two passes, count and list, each on any ranges of rows by any
 * threads.
 */
#ifndef PT_DATA_SPARSE_H
#define PT_DATA_SPARSE_H

#include "2_data/dataset.h"
#include "simd/kernels.h"

/* Where a row's record lies, and how many bytes of the row are not zero. */
typedef struct pt_sparse_place {
    uint32_t word, count;
} pt_sparse_place;

typedef struct pt_sparse_lists {
    uint64_t *record;       /* of each row: bitmap, columns, bytes; in words of 8 bytes */
    pt_sparse_place *place; /* of each row */
    size_t bitmap_words;
} pt_sparse_lists;

typedef struct pt_sparse_data {
    pt_sparse_lists train, test;
    float value[256]; /* what a byte becomes as a feature */
} pt_sparse_data;

/* Whether lists pay: bytes, zero stays zero, and few of a sample of rows are not. */
bool pt_sparse_worthwhile(const pt_dataset *dataset, const pt_kernels *kernels);

pt_status pt_sparse_init(pt_sparse_data *data, const pt_dataset *dataset, pt_error *err);
void pt_sparse_destroy(pt_sparse_data *data);

/* First pass, then room for the lists, then second pass. */
void pt_sparse_count_rows(pt_sparse_lists *lists, const pt_dataset *dataset, const pt_split *split,
                          const pt_kernels *kernels, size_t begin, size_t end);
pt_status pt_sparse_allocate(pt_sparse_lists *lists, const pt_split *split, pt_error *err);
void pt_sparse_list_rows(pt_sparse_lists *lists, const pt_dataset *dataset, const pt_split *split,
                         const pt_kernels *kernels, size_t begin, size_t end);

/* A row for the kernels. */
static inline pt_sparse_row pt_sparse_row_of(const pt_sparse_lists *lists, size_t row) {
    const pt_sparse_place place = lists->place[row];
    const uint64_t *bitmap = lists->record + place.word;
    const uint16_t *column = (const uint16_t *)(bitmap + lists->bitmap_words);
    return (pt_sparse_row){bitmap, column, (const uint8_t *)(column + place.count)};
}

/* How many bytes of a row are not zero: its columns lie in front of its bytes. */
static inline size_t pt_sparse_row_count(const pt_sparse_row *row) {
    return (size_t)(row->byte - (const uint8_t *)row->column) / sizeof *row->column;
}

#endif
