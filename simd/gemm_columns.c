/* gemm_columns.c: the gradient of the weights (tn), for every instruction set: the loops around the
 * tiles of the columns form, down one panel of B after the other. What they have in common with nn and
 * nt, and why, is in gemm_blocked.c; wide gradients go along the rows of C (gemm_columns_wide.c).
 */
#include "simd/gemm_panels.h"

/* How many rows of the next panel a tile can copy: one beside each four steps but the first four of a
 * shard (gemm_columns_6x16_avx2.h has other things to do there). */
static size_t copying_steps(const pt_shards *shards) {
    size_t steps = 0;
    for (size_t s = 0; s < shards->count; s++) {
        const size_t rows = shards->row[s + 1] - shards->row[s];
        steps += rows / PT_GEMM_STEPS - (rows >= PT_GEMM_STEPS);
    }
    return steps;
}

/* Few columns, all or the last: the tile is turned around, with the rows of C along its vectors, and
 * its sums turned back on their way to C. */
static void turned_columns(const pt_gemm_tiles *tiles, size_t m, size_t n, const pt_shards *shards,
                           const float *a, size_t lda, const float *b, size_t ldb,
                           const float *rate, float *c, size_t ldc) {
    enum { BLOCK = PT_GEMM_MAX_VECTORS * PT_GEMM_LINE };
    float block[PT_GEMM_MAX_ROWS * BLOCK];
    assert(tiles->lanes > 0 && n <= tiles->turned_columns);
    size_t widest = PT_GEMM_MAX_VECTORS;
    while (tiles->max_rows[widest] < n)
        widest--;
    for (size_t i = 0; i < m; i += widest * tiles->lanes) {
        const size_t rows = min_size(widest * tiles->lanes, m - i);
        const pt_gemm_tile tile = {
            .tiles = 1,
            .columns = rows,
            .a = b,
            .lda = ldb,
            .b = a + i,
            .ldb = lda,
            .c = block,
            .ldc = BLOCK,
            .shards = shards,
        };
        tiles->columns[divide_up(rows, tiles->lanes)][n](&tile);
        tiles->apply_turned(n, rows, block, BLOCK, rate, c + i * ldc, ldc);
    }
}

/* Down one panel of B after the other: n > 0; a and b from the first shard's first row on. */
static void blocked_columns(const pt_gemm_tiles *tiles, size_t m, size_t n, const pt_shards *shards,
                            const float *a, size_t lda, const float *b, size_t ldb,
                            const float *rate, float *c, size_t ldc, void *scratch) {
    assert(m > 0 && n > 0);
    const size_t k = shards->row[shards->count] - shards->row[0];
    const size_t lanes = tiles->lanes;
    const size_t vectors_in_n = divide_up(n, lanes);
    /* Only tiles that read a packed panel ask for the next one's A, without which many tiles of an A in
     * memory take twice as long. */
    const bool in_place = k * ldb <= tiles->in_place_floats &&
                          m <= FEW_TILES * tiles->max_rows[panel_vectors(tiles, m, vectors_in_n)];
    const bool pack = k <= MAX_SHARD_PANEL_ROWS && !in_place;
    const size_t m_limit = max_size(tiles->block_floats / max_size(k, 1), 4 * PT_GEMM_MAX_ROWS);
    const size_t m_block = divide_up(m, divide_up(m, m_limit));
    const size_t panel_size = k * min_size(vectors_in_n, PT_GEMM_MAX_VECTORS) * lanes;
    float *panel = scratch, *other_panel = panel + panel_size;
    const size_t steps = copying_steps(shards);
    for (size_t i = 0; i < m; i += m_block) {
        const size_t mb = min_size(m_block, m - i);
        size_t vectors = panel_vectors(tiles, m, vectors_in_n), next_vectors;
        bool packed = false, copy;
        for (size_t j = 0; j < n; j += vectors * lanes, vectors = next_vectors, packed = copy) {
            const size_t columns = min_size(vectors * lanes, n - j), next = j + columns;
            panel_walk walk = {
                .tiles = tiles,
                .functions = tiles->columns[vectors],
                .m = mb,
                .count = divide_up(mb, tiles->max_rows[vectors]),
                .vectors = vectors,
            };
            pt_gemm_tile tile = {
                .columns = columns,
                .a = a + i,
                .lda = lda,
                .c = c + i * ldc + j,
                .ldc = ldc,
                .b = packed ? NULL : b + j,
                .ldb = ldb,
                .panel = packed || (pack && walk.count > 1) ? panel : NULL,
                .shards = shards,
                .rate = rate,
            };
            next_vectors = next < n ? panel_vectors(tiles, m, divide_up(n - next, lanes)) : 0;
            const size_t copying = walk.count - (packed ? 0 : 1);
            copy = pack && next_vectors == vectors && copying * steps >= k;
            if (copy) {
                walk.next_rows = k;
                tile.next_b = b + next;
                tile.next_panel = other_panel;
                tile.next_columns = min_size(vectors * lanes, n - next);
                other_panel = panel;
                panel = tile.next_panel;
            }
            walk_panel(&walk, 1, &tile);
        }
    }
}

void pt_gemm_blocked_columns(const pt_gemm_tiles *tiles, size_t m, size_t n,
                             const pt_shards *shards, const float *a, size_t lda, const float *b,
                             size_t ldb, const float *rate, float *c, size_t ldc, void *scratch) {
    if (m == 0 || n == 0)
        return;
    const size_t first = shards->row[0], k = shards->row[shards->count] - first;
    if (n >= PT_SKIP_LEAST_COLUMNS && tiles->skip->columns_fit(m, n, shards) &&
        tiles->skip->pays(k, m, a + first * lda, lda)) {
        tiles->skip->columns(m, n, shards, a, lda, b, ldb, rate, c, ldc, scratch);
        return;
    }
    a += first * lda;
    b += first * ldb;
    const bool all = n <= tiles->turned_columns && m >= tiles->turned_rows;
    const size_t turned = all ? n : narrow_rest(tiles, m, n);
    n -= turned;
    if (n > 0 && pt_gemm_is_wide_columns(tiles, m, n, k))
        pt_gemm_wide_columns(tiles, m, n, shards, a, lda, b, ldb, rate, c, ldc, scratch);
    else if (n > 0)
        blocked_columns(tiles, m, n, shards, a, lda, b, ldb, rate, c, ldc, scratch);
    if (turned > 0) /* last: A is in cache then */
        turned_columns(tiles, m, turned, shards, a, lda, b + n, ldb, rate, c + n, ldc);
}
