/* sparse_scalar.c: products with rows of bytes, most of them zero, as plain loops: the reference.
 *
 * The bits are those of pt_sgemm_nn_scalar and pt_sgemm_tn_scalar (gemm_scalar.c) on the matrix
 * value[byte], which skip zeros as well.
 */
#include "simd/kernels_internal.h"
#include "simd/sparse_bits.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { COLUMNS = 64 }; /* columns whose shard sums are held at once */

static size_t count_nonzero_scalar(size_t n, const uint8_t *x) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += x[i] != 0;
    return count;
}

static void sparse_list_scalar(size_t n, const uint8_t *x, uint64_t *bitmap, uint16_t *column,
                               uint8_t *byte) {
    assert(n <= PT_SPARSE_MAX_COLUMNS);
    memset(bitmap, 0, divide_up(n, 64) * sizeof *bitmap);
    for (size_t i = 0; i < n; i++) {
        if (x[i] != 0) {
            bitmap[i / 64] |= (uint64_t)1 << i % 64;
            *column++ = (uint16_t)i;
            *byte++ = x[i];
        }
    }
}

static size_t sparse_scratch_scalar(size_t rows, size_t n, size_t columns) {
    (void)rows;
    (void)n;
    (void)columns;
    return 0;
}

/* sum[j] = fma(a, b[j], sum[j]) */
static void add_scaled_row(size_t n, float a, const float *b, float *sum) {
    for (size_t j = 0; j < n; j++)
        sum[j] = fmaf(a, b[j], sum[j]);
}

static void sparse_nn_scalar(size_t m, size_t n, size_t k, size_t begin, size_t end,
                             const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                             const float *bias, bool relu, float *c, size_t ldc,
                             const pt_sparse_row *ahead, void *scratch) {
    assert(begin <= end && end <= k && k <= PT_SPARSE_MAX_COLUMNS);
    (void)ahead;
    (void)scratch;
    for (size_t i = 0; i < m; i++) {
        float *row = c + i * ldc;
        const size_t first = count_bits(a[i].bitmap, 0, begin);
        const size_t last = first + count_bits(a[i].bitmap, begin, end);
        for (size_t j = 0; j < n && begin == 0; j++)
            row[j] = bias ? bias[j] : 0.0f;
        for (size_t e = first; e < last; e++)
            add_scaled_row(n, value[a[i].byte[e]], b + a[i].column[e] * ldb, row);
        for (size_t j = 0; j < n && end == k; j++)
            row[j] += 0.0f;
        if (relu && end == k)
            pt_relu_forward_scalar(n, row, row);
    }
}

static void sparse_tn_scalar(size_t begin, size_t end, size_t n, const pt_shards *shards,
                             const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                             const float *rate, float *c, size_t ldc, void *scratch) {
    (void)scratch;
    float stack[PT_MAX_SHARD_DEPTH][COLUMNS];
    for (size_t i = begin; i < end; i++) {
        for (size_t j0 = 0; j0 < n; j0 += COLUMNS) {
            const size_t width = n - j0 < COLUMNS ? n - j0 : COLUMNS;
            size_t depth = 0;
            for (size_t s = 0; s < shards->count; s++) {
                assert(depth < PT_MAX_SHARD_DEPTH);
                float *sum = stack[depth++];
                memset(sum, 0, width * sizeof *sum);
                for (size_t row = shards->row[s]; row < shards->row[s + 1]; row++)
                    if (take_bits(a[row].bitmap, i, 1) != 0) {
                        const uint8_t byte = a[row].byte[count_bits(a[row].bitmap, 0, i)];
                        add_scaled_row(width, value[byte], b + row * ldb + j0, sum);
                    }
                for (size_t j = 0; j < width; j++)
                    sum[j] += 0.0f;
                for (size_t t = 0; t < shards->merges[s]; t++) {
                    assert(depth >= 2);
                    depth--;
                    for (size_t j = 0; j < width; j++)
                        stack[depth - 1][j] += stack[depth][j];
                }
            }
            assert(depth == 1);
            float *row = c + (i - begin) * ldc + j0;
            for (size_t j = 0; j < width; j++)
                row[j] = rate ? fmaf(*rate, stack[0][j], row[j]) : stack[0][j];
        }
    }
}

void pt_sparse_init_scalar(pt_kernels *kernels) {
    kernels->count_nonzero = count_nonzero_scalar;
    kernels->sparse_list = sparse_list_scalar;
    kernels->sparse_scratch = sparse_scratch_scalar;
    kernels->sparse_nn = sparse_nn_scalar;
    kernels->sparse_tn = sparse_tn_scalar;
}
