/* gemm_avx2.c: matrix products in 256-bit vectors.
 *
 * 16 registers of 8 floats. The main tile is 6 x 16: 12 accumulators, 2 registers of B, the rest
 * for broadcasts of A; 12 FMAs for 8 loads. 4 x 24 takes an odd last vector or few rows, 2 x 32 the
 * fewest, x 8 few columns.
 *
 * Loop structure: gemm_blocked.c; register tiles: gemm_tile_body.h.
 */
#include "simd/kernels_internal.h"
#include "simd/lanes_avx2.h"

/* A row per width. */
/* clang-format off */
#define TILE_LIST(X)                                                                              \
    X(1, 8) X(2, 8) X(3, 8) X(4, 8) X(5, 8) X(6, 8) X(7, 8) X(8, 8) X(9, 8) X(10, 8) X(11, 8)     \
    X(12, 8)                                                                                      \
    X(1, 16) X(2, 16) X(3, 16) X(4, 16) X(5, 16) X(6, 16)                                         \
    X(1, 24) X(2, 24) X(3, 24) X(4, 24)                                                           \
    X(1, 32) X(2, 32)
/* clang-format on */

#include "simd/gemm_tile_body.h"

#include "simd/gemm_columns_6x16_avx2.h"

#include "simd/gemm_column_sum_body.h"

#define DEFINE_TILE(r, c)                                                                          \
    static void pt_sgemm_rows_##r##x##c##_avx2(const pt_gemm_tile *run) {                          \
        tile_rows(run, r, c / LANES);                                                              \
    }                                                                                              \
    static void pt_sgemm_columns_##r##x##c##_avx2(const pt_gemm_tile *run) {                       \
        if (r != 6 || c != 16 || run->b)                                                           \
            tile_columns(run, r, c / LANES);                                                       \
        else if (run->a_packed)                                                                    \
            main_tile_columns(run, true);                                                          \
        else                                                                                       \
            main_tile_columns(run, false);                                                         \
    }
TILE_LIST(DEFINE_TILE)

#include "simd/transpose_avx2.h"

#include "simd/gemm_narrow_body.h"
#include "simd/gemm_shallow_body.h"

#define ROWS_TILE(r, c)    .rows[c / LANES][r] = pt_sgemm_rows_##r##x##c##_avx2,
#define COLUMNS_TILE(r, c) .columns[c / LANES][r] = pt_sgemm_columns_##r##x##c##_avx2,
static const pt_gemm_tiles tiles_avx2 = {
    .lanes = LANES,
    .max_rows = {0, 12, 6, 4, 2},
    .usual_vectors = 2,
    .swept_vectors = 2,
    .panel_floats = 5120,      /* 20 KB of an L1 of 32 (Haswell to Zen 4): 320 rows of 16 */
    .in_place_floats = 4096,   /* 16 KB; of more, the main gradient tile wants panels */
    .block_floats = 64 * 1024, /* 256 KB, half of an L2 of 512 KB */
    .pack_panels = 6,
    .crowded_rows = 6, /* of 8 ways */
    .narrow_rest = 1,
    .narrow_from = 2 * LANES,
    .turned_columns = 6,
    .turned_rows = 2 * LANES,
    .narrow_rows = {NULL, narrow_rows_1, narrow_rows_2, narrow_rows_3, narrow_rows_4},
    .shallow = {NULL, shallow_1, shallow_2, shallow_3, shallow_4},
    .pack_transposed = pack_transposed,
    .pack_rows = pack_panel,
    .pack_columns = pack_columns,
    .apply_turned = apply_turned,
    .skip = &pt_skip_avx2,
    TILE_LIST(ROWS_TILE) TILE_LIST(COLUMNS_TILE)};

static size_t sgemm_scratch_avx2(pt_gemm_form form, size_t m, size_t n, size_t k) {
    return pt_gemm_blocked_scratch(&tiles_avx2, form, m, n, k);
}

static void pt_sgemm_nn_avx2(size_t m, size_t n, size_t k, const float *a, size_t lda,
                             const float *b, size_t ldb, const float *bias, bool relu, float *c,
                             size_t ldc, void *scratch) {
    pt_gemm_blocked_rows(&tiles_avx2, false, m, n, k, a, lda, b, ldb, bias,
                         (pt_gemm_finish){.relu = relu}, c, ldc, scratch);
}

static void pt_sgemm_nt_avx2(size_t m, size_t n, size_t k, const float *a, size_t lda,
                             const float *b, size_t ldb, const float *gate, float *c, size_t ldc,
                             void *scratch) {
    pt_gemm_blocked_rows(&tiles_avx2, true, m, n, k, a, lda, b, ldb, NULL, pt_gated(c, gate), c,
                         ldc, scratch);
}

static void pt_sgemm_tn_avx2(size_t m, size_t n, const pt_shards *shards, const float *a,
                             size_t lda, const float *b, size_t ldb, const float *rate, float *c,
                             size_t ldc, void *scratch) {
    pt_gemm_blocked_columns(&tiles_avx2, m, n, shards, a, lda, b, ldb, rate, c, ldc, scratch);
}

static void pt_column_sum_avx2(size_t n, const pt_shards *shards, const float *x, size_t ldx,
                               const float *rate, float *c) {
    sum_all_columns(n, shards, x, ldx, rate, c);
}

void pt_gemm_init_avx2(pt_kernels *kernels) {
    kernels->sgemm_scratch = sgemm_scratch_avx2;
    kernels->sgemm_nn = pt_sgemm_nn_avx2;
    kernels->sgemm_nt = pt_sgemm_nt_avx2;
    kernels->sgemm_tn = pt_sgemm_tn_avx2;
    kernels->column_sum = pt_column_sum_avx2;
}
