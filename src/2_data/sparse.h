/* sparse.h: rows of bytes as lists of their nonzero elements, made once when training starts.
 *
 * Of MNIST's pixels 81% are zero, and adding zero times a weight changes nothing, so the first
 * layer reads lists and skips them (kernels sparse_nn and sparse_tn; the same bits as the dense
 * product). Lists are made in two passes, count and list, each on any ranges of rows by any
 * threads; ranges begin at multiples of PT_SPARSE_BLOCK.
 */
#ifndef PT_DATA_SPARSE_H
#define PT_DATA_SPARSE_H

#include "2_data/dataset.h"
#include "simd/kernels.h"

enum { PT_SPARSE_BLOCK = 1024 /* rows */ };

typedef struct pt_sparse_lists {
    uint32_t *entry; /* all lists, each ended as sparse_list says */
    size_t *start;   /* rows + 1: where each row's list begins */
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
pt_sparse_row pt_sparse_row_of(const pt_sparse_lists *lists, const pt_dataset *dataset,
                               const pt_split *split, size_t row);

#endif
