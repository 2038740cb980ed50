/* sparse_nn_wide_body.h: the forward product of sparse_nn_body.h, taken where C is wide by the products
 * that skip zeros (gemm_skip.h): they list the nonzero elements once for all panels of B, and copy
 * B into blocks that L1 holds. Included after sparse_nn_body.h and
 *   SKIP                          pt_skip_avx2 or pt_skip_avx512
 *   lists_pay(m, n, steps, ldb)   whether that is the faster way
 */
#include "simd/gemm_skip.h"

static void sparse_nn_any_width(size_t m, size_t n, size_t k, size_t begin, size_t end,
                                const pt_sparse_row *a, const float *value, const float *b,
                                size_t ldb, const float *bias, bool relu, float *c, size_t ldc,
                                const pt_sparse_row *ahead, void *scratch) {
    assert(begin <= end && end <= k);
    if (!lists_pay(m, n, end - begin, ldb) || !SKIP.rows_fit(m, n, k)) {
        sparse_nn(m, n, k, begin, end, a, value, b, ldb, bias, relu, c, ldc, ahead, scratch);
        return;
    }
    const pt_skip_product product = {.m = m,
                                     .n = n,
                                     .k = k,
                                     .begin = begin,
                                     .end = end,
                                     .row = a,
                                     .byte_value = value,
                                     .ahead = ahead,
                                     .b = b,
                                     .ldb = ldb,
                                     .bias = bias,
                                     .finish = {.relu = relu},
                                     .c = c,
                                     .ldc = ldc};
    SKIP.rows(&product, scratch);
}

/* Bytes of scratch; rows and columns of A. */
static size_t sparse_nn_any_width_scratch(size_t rows, size_t n, size_t columns) {
    return max_size(sparse_nn_scratch(n, columns), SKIP.scratch(PT_GEMM_NN, rows, n, columns));
}
