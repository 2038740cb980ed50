/* gemm_columns_wide.c: the gradient of the weights (tn) of wide layers, for every instruction set:
 * A and blocks of B are packed ahead, and the tiles walk along the rows of C.
 *
 *     for each block of rows of C        its part of A packed in the order of the tiles; read from
 *                                        wherever it is, but once for a block of B
 *       for each block of columns        so many panels of B fit L2; packed
 *         for each row of tiles          its A stays in L1
 *           for each panel of B          streams from L2; C stays in registers
 *
 * The other order (gemm_columns.c), down a panel that stays in L1, moves fewer bytes from L2. But it
 * visits C, and B where that is packed from, in columns, and rows a multiple of 4 KB apart, as those of
 * layers of 1024 units are, share 16 sets of L2: to add to a matrix of 784 x 1024 took 0.54 ms in
 * columns and 0.09 in rows (Zen 3), the whole product for it 2.9. In nn and nt, but for few steps
 * of k (gemm_rows_wide.c), it was the slower one: they have few rows of C to a block of B, so that packing
 * B on its own tells.
 */
#include "simd/gemm_panels.h"

static size_t panel_width(const pt_gemm_tiles *tiles) {
    return tiles->swept_vectors * tiles->lanes;
}

static size_t tallest_tile(const pt_gemm_tiles *tiles) {
    return tiles->max_rows[tiles->swept_vectors];
}

/* Wide enough for packing A to pay, and high enough for packing B ahead; by the tiles that it would be
 * otherwise. */
bool pt_gemm_is_wide_columns(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k) {
    const size_t usual = tiles->usual_vectors;
    return n > WIDE_PANELS * usual * tiles->lanes && m >= WIDE_TILES * tiles->max_rows[usual] &&
           k > 0 && k <= MAX_SHARD_PANEL_ROWS;
}

/* The most floats of A, and of B, that are packed at a time; of B one panel at least. */
static size_t most_a(const pt_gemm_tiles *tiles) {
    return WIDE_A_BLOCKS * tiles->block_floats;
}

static size_t most_b(const pt_gemm_tiles *tiles, size_t k) {
    return max_size(tiles->block_floats / 2, k * panel_width(tiles));
}

size_t pt_gemm_wide_columns_scratch(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k) {
    k = min_size(k, MAX_SHARD_PANEL_ROWS);
    if (!pt_gemm_is_wide_columns(tiles, m, n, k))
        return 0;
    const size_t columns = divide_up(n, tiles->lanes) * tiles->lanes;
    return (min_size(m * k, most_a(tiles)) + PT_GEMM_LINE +
            min_size(columns * k, most_b(tiles, k))) *
           sizeof(float);
}

/* A in the order of the tiles. A few of its rows at a time, so that they are read along. */
static void pack_a(const pt_gemm_tiles *tiles, size_t m, size_t count, size_t k, const float *a,
                   size_t lda, float *packed) {
    const size_t base = m / count, taller = m % count;
    for (size_t l = 0; l < k; l += PACK_ROWS) {
        const size_t steps = min_size(PACK_ROWS, k - l);
        const size_t next = min_size(PACK_ROWS, k - l - steps);
        const float *from = a + l * lda;
        float *to = packed;
        for (size_t t = 0; t < count; t++) {
            const size_t rows = base + (t < taller);
            prefetch_rows(next, rows, from + steps * lda, lda);
            tiles->pack_columns(rows, steps, from, lda, to + l * rows);
            from += rows;
            to += rows * k;
        }
    }
}

/* n columns of B, a panel after the other; the last one is as many vectors wide as it needs. */
static void pack_b(const pt_gemm_tiles *tiles, size_t n, size_t k, const float *b, size_t ldb,
                   float *packed) {
    const size_t lanes = tiles->lanes, width = panel_width(tiles);
    for (size_t l = 0; l < k; l += PACK_ROWS) {
        const size_t steps = min_size(PACK_ROWS, k - l), next = min_size(PACK_ROWS, k - l - steps);
        for (size_t j = 0; j < n; j += width) {
            const size_t columns = min_size(width, n - j);
            const size_t own_width = divide_up(columns, lanes) * lanes;
            prefetch_rows(next, columns, b + (l + steps) * ldb + j, ldb);
            tiles->pack_rows(steps, columns, b + l * ldb + j, ldb, packed + j * k + l * own_width,
                             own_width);
        }
    }
}

/* A block of m rows, in `count` tiles, and n columns; `run` is its first tile. */
static void sweep(const pt_gemm_tiles *tiles, size_t m, size_t count, size_t n, size_t k,
                  pt_gemm_tile run) {
    const size_t base = m / count, taller = m % count;
    for (size_t t = 0; t < count; t++) {
        const size_t rows = base + (t < taller);
        sweep_row(tiles, tiles->columns, tiles->swept_vectors, rows, n, k, run);
        run.a_packed += rows * k;
        run.c += rows * run.ldc;
    }
}

void pt_gemm_wide_columns(const pt_gemm_tiles *tiles, size_t m, size_t n, const pt_shards *shards,
                          const float *a, size_t lda, const float *b, size_t ldb, const float *rate,
                          float *c, size_t ldc, float *scratch) {
    const size_t k = shards->row[shards->count] - shards->row[0], width = panel_width(tiles);
    const size_t m_block = divide_up(m, divide_up(m, most_a(tiles) / k));
    const size_t n_block = most_b(tiles, k) / (k * width) * width;
    float *a_packed = scratch;
    float *b_packed = scratch + divide_up(m_block * k, PT_GEMM_LINE) * PT_GEMM_LINE;
    for (size_t i = 0; i < m; i += m_block) {
        const size_t rows = min_size(m_block, m - i), count = divide_up(rows, tallest_tile(tiles));
        pack_a(tiles, rows, count, k, a + i, lda, a_packed);
        for (size_t j = 0; j < n; j += n_block) {
            const size_t columns = min_size(n_block, n - j);
            pack_b(tiles, columns, k, b + j, ldb, b_packed);
            const pt_gemm_tile first = {
                .a_packed = a_packed,
                .panel = b_packed,
                .c = c + i * ldc + j,
                .ldc = ldc,
                .shards = shards,
                .rate = rate,
            };
            sweep(tiles, rows, count, columns, k, first);
        }
    }
}
