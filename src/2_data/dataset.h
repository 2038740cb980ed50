/* dataset.h: what a loaded dataset looks like from inside.
 *
 * Features stay in the form of the file (bytes for images) and become floats when a batch is
 * fetched, which moves a quarter of the memory.
 */
#ifndef PT_DATA_DATASET_H
#define PT_DATA_DATASET_H

#include "1_config/config.h"
#include "2_data/map_file.h"
#include "ptrain/dataset.h"

#include <stddef.h>
#include <stdint.h>

typedef enum pt_element { PT_ELEMENT_U8, PT_ELEMENT_F32 } pt_element;

typedef struct pt_split {
    size_t rows;          /* 0: the split is absent */
    const void *features; /* rows x columns, contiguous; uint8_t or float by element */
    int32_t *labels;      /* rows class indices, or NULL */
    float *targets;       /* rows x target_columns values, or NULL */
} pt_split;

enum { PT_MAX_DATA_DIMS = 4 };

struct pt_dataset {
    pt_element element;
    size_t columns;                /* features of one row, the product of dims */
    size_t dims[PT_MAX_DATA_DIMS]; /* shape of one row; flattened: one dimension */
    size_t dim_count;
    size_t classes;        /* of the labels; 0 with targets */
    size_t target_columns; /* of the targets; 0 with labels */
    float scale, offset;   /* bytes: feature = fma(byte, scale, offset) */
    pt_split train, test;
    struct pt_backing backing[2]; /* private to the loaders: what holds `features`, by split */
};

/* A checksum of the data's shape, of all labels or targets, and of the features of rows that are spread
 * evenly over each split, of all rows where there are no more than 1024: other data are told from these
 * almost always, for a millisecond. */
uint64_t pt_dataset_fingerprint(const pt_dataset *dataset);

/* The loaders behind pt_dataset_load; `dataset` is zeroed and freed by the caller on failure. */
pt_status pt_dataset_load_idx(const pt_config *config, pt_dataset *dataset, pt_error *err);
pt_status pt_dataset_load_csv(const pt_config *config, pt_dataset *dataset, pt_error *err);

#endif
