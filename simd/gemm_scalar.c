/* gemm_scalar.c: matrix products as plain loops. This is the reference: what these loops compute,
 * bit for bit, is what every other variant must compute (see the numeric contract in kernels.h).
 *
 * fmaf is one correctly rounded multiply-add; on a processor with FMA instructions libm's fmaf is
 * that instruction. Rows of A that hold zeros (pixels, ReLU outputs) skip the multiplication: with
 * finite B, fma(0, b, sum) is sum, except that it may turn a sum of -0 into +0, which the +0.0f at
 * the end of the chain does anyway. So the skip cannot be seen in the result; it only saves time.
 */
#include "simd/kernels_internal.h"

#include <assert.h>
#include <math.h>

enum { COLUMNS = 64 }; /* columns whose shard sums are held at once */

static size_t sgemm_scratch_scalar(pt_gemm_form form, size_t m, size_t n, size_t k) {
    (void)form;
    (void)m;
    (void)n;
    (void)k;
    return 0;
}

/* sum[j] = fma(a, b[j], sum[j]) */
static void add_scaled_row(size_t n, float a, const float *b, float *sum) {
    if (a == 0.0f)
        return;
    for (size_t j = 0; j < n; j++)
        sum[j] = fmaf(a, b[j], sum[j]);
}

static void pt_sgemm_nn_scalar(size_t m, size_t n, size_t k, const float *a, size_t lda,
                               const float *b, size_t ldb, const float *bias, bool relu, float *c,
                               size_t ldc, void *scratch) {
    (void)scratch;
    for (size_t i = 0; i < m; i++) {
        float *row = c + i * ldc;
        for (size_t j = 0; j < n; j++)
            row[j] = bias ? bias[j] : 0.0f;
        for (size_t l = 0; l < k; l++)
            add_scaled_row(n, a[i * lda + l], b + l * ldb, row);
        for (size_t j = 0; j < n; j++)
            row[j] += 0.0f;
        if (relu)
            pt_relu_forward_scalar(n, row, row);
    }
}

static void pt_sgemm_nt_scalar(size_t m, size_t n, size_t k, const float *a, size_t lda,
                               const float *b, size_t ldb, const float *gate, float *c, size_t ldc,
                               void *scratch) {
    (void)scratch;
    for (size_t i = 0; i < m; i++) {
        for (size_t j = 0; j < n; j++) {
            float sum = 0.0f;
            for (size_t l = 0; l < k; l++)
                if (a[i * lda + l] != 0.0f)
                    sum = fmaf(a[i * lda + l], b[j * ldb + l], sum);
            c[i * ldc + j] = sum + 0.0f;
        }
        if (gate)
            pt_relu_backward_scalar(n, gate + i * ldc, c + i * ldc, c + i * ldc);
    }
}

/* Adds the topmost partial sum into the one below it. */
static void merge(size_t n, float stack[][COLUMNS], size_t *depth) {
    assert(*depth >= 2);
    *depth -= 1;
    for (size_t j = 0; j < n; j++)
        stack[*depth - 1][j] += stack[*depth][j];
}

/* c = sum, or c += *rate * sum. */
static void apply(size_t n, const float *rate, const float *sum, float *c) {
    for (size_t j = 0; j < n; j++)
        c[j] = rate ? fmaf(*rate, sum[j], c[j]) : sum[j];
}

static void pt_sgemm_tn_scalar(size_t m, size_t n, const pt_shards *shards, const float *a,
                               size_t lda, const float *b, size_t ldb, const float *rate, float *c,
                               size_t ldc, void *scratch) {
    (void)scratch;
    float stack[PT_MAX_SHARD_DEPTH][COLUMNS];
    for (size_t i = 0; i < m; i++) {
        for (size_t j0 = 0; j0 < n; j0 += COLUMNS) {
            size_t width = n - j0 < COLUMNS ? n - j0 : COLUMNS;
            size_t depth = 0;
            for (size_t s = 0; s < shards->count; s++) {
                assert(depth < PT_MAX_SHARD_DEPTH);
                float *sum = stack[depth++];
                for (size_t j = 0; j < width; j++)
                    sum[j] = 0.0f;
                for (size_t row = shards->row[s]; row < shards->row[s + 1]; row++)
                    add_scaled_row(width, a[row * lda + i], b + row * ldb + j0, sum);
                for (size_t j = 0; j < width; j++)
                    sum[j] += 0.0f;
                for (size_t t = 0; t < shards->merges[s]; t++)
                    merge(width, stack, &depth);
            }
            assert(depth == 1);
            apply(width, rate, stack[0], c + i * ldc + j0);
        }
    }
}

static void pt_column_sum_scalar(size_t n, const pt_shards *shards, const float *x, size_t ldx,
                                 const float *rate, float *c) {
    float stack[PT_MAX_SHARD_DEPTH][COLUMNS];
    for (size_t j0 = 0; j0 < n; j0 += COLUMNS) {
        size_t width = n - j0 < COLUMNS ? n - j0 : COLUMNS;
        size_t depth = 0;
        for (size_t s = 0; s < shards->count; s++) {
            assert(depth < PT_MAX_SHARD_DEPTH);
            float *sum = stack[depth++];
            for (size_t j = 0; j < width; j++)
                sum[j] = 0.0f;
            for (size_t row = shards->row[s]; row < shards->row[s + 1]; row++)
                for (size_t j = 0; j < width; j++)
                    sum[j] += x[row * ldx + j0 + j];
            for (size_t t = 0; t < shards->merges[s]; t++)
                merge(width, stack, &depth);
        }
        assert(depth == 1);
        apply(width, rate, stack[0], c + j0);
    }
}

void pt_gemm_init_scalar(pt_kernels *table) {
    table->sgemm_scratch = sgemm_scratch_scalar;
    table->sgemm_nn = pt_sgemm_nn_scalar;
    table->sgemm_nt = pt_sgemm_nt_scalar;
    table->sgemm_tn = pt_sgemm_tn_scalar;
    table->column_sum = pt_column_sum_scalar;
}
