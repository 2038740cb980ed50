/* gemm_avx512.c: matrix products in 512-bit vectors.
 *
 * 32 registers of 16 floats. The main tile is 9 x 48: 27 accumulators, 3 registers of B, 1
 * broadcast of A; 27 FMAs for 12 loads, so that two FMA ports are busy every cycle while the two
 * load ports are half idle. (14 x 32 has one accumulator more, but 16 loads, and 14 rows of C a
 * page apart do not fit the 12 ways of an L1 set; in nn and nt it measured slower by up to a tenth.)
 * 6 x 64 is for matrices of few rows or just four vectors, x 32 for wide gradients, whose B comes from
 * L2, and like x 16 for those of few columns.
 * In the x 16 tiles the broadcast is part of the FMA (an embedded broadcast), since it serves only
 * one. The last vector of a row is masked, where it is stored and where a full one would read too far.
 *
 * Loop structure: gemm_blocked.c; register tiles: gemm_tile_body.h.
 */
#include "simd/kernels_internal.h"
#include "simd/lanes_avx512.h"

/* A row per width. */
/* clang-format off */
#define TILE_LIST(X)                                                                              \
    X(1, 16) X(2, 16) X(3, 16) X(4, 16) X(5, 16) X(6, 16) X(7, 16) X(8, 16) X(9, 16) X(10, 16)    \
    X(11, 16) X(12, 16) X(13, 16) X(14, 16) X(15, 16) X(16, 16) X(17, 16) X(18, 16) X(19, 16)     \
    X(20, 16)                                                                                     \
    X(1, 32) X(2, 32) X(3, 32) X(4, 32) X(5, 32) X(6, 32) X(7, 32) X(8, 32) X(9, 32) X(10, 32)    \
    X(11, 32) X(12, 32) X(13, 32) X(14, 32)                                                       \
    X(1, 48) X(2, 48) X(3, 48) X(4, 48) X(5, 48) X(6, 48) X(7, 48) X(8, 48) X(9, 48)              \
    X(1, 64) X(2, 64) X(3, 64) X(4, 64) X(5, 64) X(6, 64)
/* clang-format on */

#include "simd/gemm_tile_body.h"

#include "simd/gemm_column_sum_body.h"

#define DEFINE_TILE(r, c)                                                                          \
    static void pt_sgemm_rows_##r##x##c##_avx512(const pt_gemm_tile *run) {                        \
        tile_rows(run, r, c / LANES);                                                              \
    }                                                                                              \
    static void pt_sgemm_columns_##r##x##c##_avx512(const pt_gemm_tile *run) {                     \
        tile_columns(run, r, c / LANES);                                                           \
    }
TILE_LIST(DEFINE_TILE)

#include "simd/transpose_avx512.h"

#include "simd/gemm_narrow_body.h"
#include "simd/gemm_shallow_body.h"

#define ROWS_TILE(r, c)    .rows[c / LANES][r] = pt_sgemm_rows_##r##x##c##_avx512,
#define COLUMNS_TILE(r, c) .columns[c / LANES][r] = pt_sgemm_columns_##r##x##c##_avx512,
static const pt_gemm_tiles tiles_avx512 = {
    .lanes = LANES,
    .max_rows = {0, 20, 14, 9, 6},
    .usual_vectors = 3,
    .swept_vectors = 2, /* 14 rows by 2 take a third less of B than 9 by 3: 2%, for longer k 4% */
    /* 72 KB, in L2: 384 rows of 48. On Zen 5 192 KB were as good, but with an Intel core (2 MB of
     * L2) rows of B that lie 4 KB apart drive each other out on their way into so long panels. */
    .panel_floats = 18432,
    /* 32 KB, of an L1 of 32 to 48: 12x64x128tn is 1.3 times as fast as with a panel. */
    .in_place_floats = 8192,
    .block_floats = 128 * 1024, /* 512 KB, half of an L2 of 1 MB */
    .pack_panels = 40,          /* that saves 1 to 2%, packing costs as much as half a panel */
    .crowded_rows = 9,          /* of 12 ways (Skylake-X: 8) */
    .narrow_rest = PT_GEMM_NARROW,
    .turned_columns = 14,
    .turned_rows = 2 * LANES,
    .narrow_rows = {NULL, narrow_rows_1, narrow_rows_2, narrow_rows_3, narrow_rows_4},
    .shallow = {NULL, shallow_1, shallow_2, shallow_3, shallow_4},
    .pack_transposed = pack_transposed,
    .pack_rows = pack_panel,
    .pack_columns = pack_columns,
    .apply_turned = apply_turned,
    .skip = &pt_skip_avx512,
    TILE_LIST(ROWS_TILE) TILE_LIST(COLUMNS_TILE)};

static size_t sgemm_scratch_avx512(pt_gemm_form form, size_t m, size_t n, size_t k) {
    return pt_gemm_blocked_scratch(&tiles_avx512, form, m, n, k);
}

static void pt_sgemm_nn_avx512(size_t m, size_t n, size_t k, const float *a, size_t lda,
                               const float *b, size_t ldb, const float *bias, bool relu, float *c,
                               size_t ldc, void *scratch) {
    pt_gemm_blocked_rows(&tiles_avx512, false, m, n, k, a, lda, b, ldb, bias,
                         (pt_gemm_finish){.relu = relu}, c, ldc, scratch);
}

static void pt_sgemm_nt_avx512(size_t m, size_t n, size_t k, const float *a, size_t lda,
                               const float *b, size_t ldb, const float *gate, float *c, size_t ldc,
                               void *scratch) {
    pt_gemm_blocked_rows(&tiles_avx512, true, m, n, k, a, lda, b, ldb, NULL, pt_gated(c, gate), c,
                         ldc, scratch);
}

static void pt_sgemm_tn_avx512(size_t m, size_t n, const pt_shards *shards, const float *a,
                               size_t lda, const float *b, size_t ldb, const float *rate, float *c,
                               size_t ldc, void *scratch) {
    pt_gemm_blocked_columns(&tiles_avx512, m, n, shards, a, lda, b, ldb, rate, c, ldc, scratch);
}

static void pt_column_sum_avx512(size_t n, const pt_shards *shards, const float *x, size_t ldx,
                                 const float *rate, float *c) {
    sum_all_columns(n, shards, x, ldx, rate, c);
}

void pt_gemm_init_avx512(pt_kernels *kernels) {
    kernels->sgemm_scratch = sgemm_scratch_avx512;
    kernels->sgemm_nn = pt_sgemm_nn_avx512;
    kernels->sgemm_nt = pt_sgemm_nt_avx512;
    kernels->sgemm_tn = pt_sgemm_tn_avx512;
    kernels->column_sum = pt_column_sum_avx512;
}
