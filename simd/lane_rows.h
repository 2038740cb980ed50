/* lane_rows.h: loading, storing and packing rows of vectors, for all matrix products; after
 * lanes_avx2.h or lanes_avx512.h. */
#ifndef PT_SIMD_LANE_ROWS_H
#define PT_SIMD_LANE_ROWS_H

#include "simd/loops.h"

static ALWAYS_INLINE void load_row(size_t vectors, vec_mask last, const float *row, vec x[]) {
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        x[v] = vec_load(row + v * LANES);
    x[vectors - 1] = vec_load_masked(last, row + (vectors - 1) * LANES);
}

static ALWAYS_INLINE void store_row(size_t vectors, vec_mask last, const vec x[], float *row) {
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        vec_store(row + v * LANES, x[v]);
    vec_store_masked(last, row + (vectors - 1) * LANES, x[vectors - 1]);
}

/* Rows of a panel, contiguous and full vectors wide. */
static inline void pack_panel(size_t rows, size_t columns, const float *b, size_t ldb, float *panel,
                              size_t width) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j += LANES)
            vec_store(panel + j, vec_load_masked(vec_first(min_size(columns - j, LANES)), b + j));
        b += ldb;
        panel += width;
    }
}

#endif
