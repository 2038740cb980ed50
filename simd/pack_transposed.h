/* pack_transposed.h: a panel of a transposed matrix, for all vector widths; after load_transposed of
 * transpose_avx2.h or transpose_avx512.h. */
#ifndef PT_SIMD_PACK_TRANSPOSED_H
#define PT_SIMD_PACK_TRANSPOSED_H

/* panel[l * width + j] = b[j * ldb + l] for j < n, l < k; zeros up to whole vectors of n. */
static void pack_transposed(size_t n, size_t k, const float *b, size_t ldb, float *panel,
                            size_t width) {
    for (size_t j = 0; j < n; j += LANES) {
        size_t rows = n - j < LANES ? n - j : LANES;
        for (size_t l = 0; l < k; l += LANES) {
            size_t columns = k - l < LANES ? k - l : LANES;
            vec block[LANES];
            load_transposed(b + j * ldb + l, ldb, rows, vec_first(columns), block);
            UNROLL for (size_t u = 0; u < LANES; u++) if (u < columns)
                vec_store(panel + (l + u) * width + j, block[u]);
        }
    }
}

#endif
