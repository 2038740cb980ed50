/* gemm_rows_wide.c: products by a transposed matrix (nt) with few steps of k and many columns, such as the
 * gradient of a last layer's input (k: its 10 units), for every instruction set: all of B is packed
 * ahead, and the tiles walk along the rows of C.
 *
 * C is most of what such a product moves. Down the panels (gemm_blocked.c) a tile's rows of C lie in as
 * many pages as it has rows, and the next one's in others; along them, each row is one stream.
 */
#include "simd/gemm_panels.h"

static size_t panel_width(const pt_gemm_tiles *tiles) {
    return tiles->usual_vectors * tiles->lanes;
}

static size_t packed_floats(const pt_gemm_tiles *tiles, size_t n, size_t k) {
    return divide_up(n, tiles->lanes) * tiles->lanes * k;
}

static size_t most_packed(const pt_gemm_tiles *tiles) {
    return tiles->block_floats / 2;
}

bool pt_gemm_is_wide_rows(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k) {
    return PT_GEMM_SHALLOW < k && k <= WIDE_STEPS && n > WIDE_PANELS * panel_width(tiles) &&
           m > tiles->max_rows[tiles->usual_vectors] &&
           packed_floats(tiles, n, k) <= most_packed(tiles);
}

/* Of the shapes that are not wide too, so that it never shrinks. */
size_t pt_gemm_wide_rows_scratch(const pt_gemm_tiles *tiles, size_t n, size_t k) {
    return min_size(packed_floats(tiles, n, min_size(k, WIDE_STEPS)), most_packed(tiles)) *
           sizeof(float);
}

static void pack_b(const pt_gemm_tiles *tiles, size_t n, size_t k, const float *b, size_t ldb,
                   float *packed) {
    const size_t lanes = tiles->lanes, width = panel_width(tiles);
    for (size_t j = 0; j < n; j += width) {
        const size_t columns = min_size(width, n - j);
        tiles->pack_transposed(columns, k, b + j * ldb, ldb, packed + j * k,
                               divide_up(columns, lanes) * lanes);
    }
}

void pt_gemm_wide_rows(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k, const float *a,
                       size_t lda, const float *b, size_t ldb, pt_gemm_finish finish, float *c,
                       size_t ldc, float *scratch) {
    const size_t vectors = tiles->usual_vectors, width = panel_width(tiles);
    const size_t count = divide_up(m, tiles->max_rows[vectors]);
    const size_t base = m / count, taller = m % count;
    pack_b(tiles, n, k, b, ldb, scratch);
    pt_gemm_tile run = {
        .a = a,
        .lda = lda,
        .c = c,
        .ldc = ldc,
        .panel = scratch,
        .k = k,
        .ends = true,
        .finish = finish,
    };
    for (size_t t = 0; t < count; t++) {
        const size_t rows = base + (t < taller);
        const size_t down = t + 1 < count ? rows * ldc : 0;
        run.next_c = run.c + (n % width > 0 ? n / width * width : down);
        sweep_row(tiles, tiles->rows, vectors, rows, n, k, run);
        run.a += rows * lda;
        run.c += rows * ldc;
    }
}
