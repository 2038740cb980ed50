/* gemm_skip.h: matrix products that skip the zeros of their left factor: what ReLU leaves of
 * activations and gradients, and pixels (gemm_skip_body.h). The same bits as the products that do
 * not, for a finite B.
 */
#ifndef PT_SIMD_GEMM_SKIP_H
#define PT_SIMD_GEMM_SKIP_H

#include "simd/gemm_finish.h"
#include "simd/kernels.h"

#include <stdbool.h>

enum { PT_SKIP_LEAST_COLUMNS = 192 }; /* of B and C: fewer don't pay for listing A */

/* nn, or nt where `transposed`: the arguments of sgemm_nn or sgemm_nt, or (a NULL) of sparse_nn. */
typedef struct pt_skip_product {
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
    pt_gemm_finish finish;
    float *c;
    size_t ldc;
} pt_skip_product;

/* How a form is cut for L1: vectors in the widest panel of B, bytes in a block of its rows. */
typedef struct pt_skip_blocking {
    size_t vectors, bytes;
} pt_skip_blocking;

/* Those of an instruction set. */
typedef struct pt_skip {
    /* Whether a product of this shape can be taken. */
    bool (*rows_fit)(size_t m, size_t n, size_t k);
    bool (*columns_fit)(size_t m, size_t n, const pt_shards *shards);
    /* Whether enough of A [rows x columns] is zero, by a sample of its rows. */
    bool (*pays)(size_t rows, size_t columns, const float *a, size_t lda);
    void (*rows)(const pt_skip_product *product, void *scratch);
    /* As sgemm_tn. */
    void (*columns)(size_t m, size_t n, const pt_shards *shards, const float *a, size_t lda,
                    const float *b, size_t ldb, const float *rate, float *c, size_t ldc,
                    void *scratch);
    size_t (*scratch)(pt_gemm_form form, size_t m, size_t n, size_t k); /* bytes */
} pt_skip;

extern const pt_skip pt_skip_avx2, pt_skip_avx512;

#endif
