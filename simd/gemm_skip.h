/* gemm_skip.h: matrix products that skip the zeros of their left factor: what ReLU leaves of
 * activations and gradients, and pixels (gemm_skip_body.h). The same bits as the products that do
 * not, for a finite B.
 */
#ifndef PT_SIMD_GEMM_SKIP_H
#define PT_SIMD_GEMM_SKIP_H

#include "simd/kernels.h"

#include <stdbool.h>

/* nn, or nt where `transposed`: the arguments of sgemm_nn or sgemm_nt, or (a NULL) of sparse_nn. */
typedef struct pt_skip_rows {
    bool transposed;
    size_t m, n, k;
    size_t begin, end; /* of k, of bytes; 0 and k of floats */
    const float *a;
    size_t lda;
    const pt_sparse_row *row;
    const float *byte_value;
    const pt_sparse_row *ahead;
    const float *b;
    size_t ldb;
    const float *bias;
    float *c;
    size_t ldc;
} pt_skip_rows;

/* Of each instruction set: whether a product of this shape can take these functions (tn: those of
 * sgemm_tn); whether enough of a matrix of floats is zero, by a sample of its rows; the products; and
 * bytes of scratch. */
#define PT_DECLARE_SKIP(isa)                                                                       \
    bool pt_skip_rows_fits_##isa(size_t m, size_t n, size_t k);                                    \
    bool pt_skip_columns_fits_##isa(size_t m, size_t n, const pt_shards *shards);                  \
    bool pt_skip_pays_##isa(size_t rows, size_t columns, const float *a, size_t lda);              \
    void pt_skip_rows_##isa(const pt_skip_rows *product, void *scratch);                           \
    void pt_skip_columns_##isa(size_t m, size_t n, const pt_shards *shards, const float *a,        \
                               size_t lda, const float *b, size_t ldb, const float *rate,          \
                               float *c, size_t ldc, void *scratch);                               \
    size_t pt_skip_scratch_##isa(pt_gemm_form form, size_t m, size_t n, size_t k);
PT_DECLARE_SKIP(avx2)
PT_DECLARE_SKIP(avx512)
#undef PT_DECLARE_SKIP

#endif
