/* gemm_blocked.c: the cache-blocked loops around the register tiles, for every instruction set.
 *
 * The structure is that of GotoBLAS and BLIS (Goto and van de Geijn, "Anatomy of high-performance
 * matrix multiplication", TOMS 2008; Van Zee and van de Geijn, "BLIS", TOMS 2015), with the roles
 * of A and B exchanged because our matrices lie in rows:
 *
 *     for each block of k              a panel of B with so many rows fits L1
 *       for each block of rows of A    so many rows of A fit L2
 *         for each panel of B          columns of one tile; packed, stays in L1
 *           for each tile              rows of A stream from L2, C stays in registers
 *
 * Differences, each for a reason:
 *   - Panels are packed by the first tile that uses them, which has each row of B in registers
 *     anyway: packing costs a store a vector and no pass of its own. B transposed (nt) is packed
 *     ahead, by transposes in registers.
 *   - A is not packed: a tile reads `rows` streams from it. Only where A's rows lie a multiple of
 *     2 KB apart, so that the streams would fall into the same few sets of L1, is the block copied
 *     to rows of another stride.
 *   - Rows are dealt evenly to tiles, so that no sliver is left: 100 rows at up to 9 a tile are
 *     four tiles of 9 and eight of 8, not eleven of 9 and one of 1. Likewise k to blocks.
 *   - The numeric contract wants one chain of FMAs an element: a later block of k loads C into the
 *     accumulators and goes on, where BLIS adds at the end.
 *   - The gradient of the weights (tn) has no blocks of k: a tile walks all shards of its rows and
 *     merges them in registers. Its k is a mini-batch, so that the panel still fits L1 or L2.
 *
 * While a tile computes, it prefetches its share of the next panel, which the hardware does not
 * when every row of it is in another page.
 */
#include "simd/gemm_blocked.h"

#include <string.h>

enum {
    A_BLOCK_FLOATS = 256 * 1024, /* a block of A: 1 MB, half of a 2 MB L2 */
    A_BLOCK_ROWS = 512,          /* and no more rows than this */
    A_SET_STRIDE = 512,          /* floats: rows of A a multiple of this apart share L1 sets */
    MAX_SHARD_PANEL_ROWS = 4096, /* tn: longer panels (over 512 KB) are not packed */
};

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

static size_t divide_up(size_t a, size_t b) {
    return (a + b - 1) / b;
}

/* How many vectors wide the next panel is, with `left` vectors to go: wide tiles where there are
 * few rows (to have enough independent chains), otherwise the usual, and never a lone last vector.
 */
static size_t panel_vectors(const pt_gemm_tiles *tiles, size_t m, size_t left) {
    const size_t usual = tiles->usual_vectors;
    size_t wide = m <= tiles->max_rows[4] ? 4 : m <= tiles->max_rows[3] ? 3 : usual;
    if (left == wide + 1) /* one more, or two halves if so one tile still takes all rows */
        return left <= PT_GEMM_MAX_VECTORS && m > tiles->max_rows[wide] ? left : (left + 1) / 2;
    return min_size(left, wide);
}

/* Panels of one k block are at most panel_floats + 1/4 (a longer k is cut into even blocks). */
static size_t choose_k_block(const pt_gemm_tiles *tiles, size_t width, size_t k) {
    size_t limit = tiles->panel_floats / width;
    if (k <= limit + limit / 4)
        return k;
    size_t even = divide_up(k, divide_up(k, limit));
    return divide_up(even, 8) * 8;
}

/* A panel of the rows form never has more floats: the limit and a quarter, for the odd last panel
 * of 3 vectors among panels of 2, and a few for rounding k up. */
static size_t max_panel_floats(const pt_gemm_tiles *tiles) {
    return tiles->panel_floats * 2 + 8 * PT_GEMM_MAX_VECTORS * tiles->lanes;
}

static bool shares_sets(size_t lda) {
    return lda % A_SET_STRIDE == 0;
}

static void copy_rows(size_t rows, size_t n, const float *from, size_t from_stride, float *to,
                      size_t to_stride) {
    for (size_t i = 0; i < rows; i++)
        memcpy(to + i * to_stride, from + i * from_stride, n * sizeof *to);
}

size_t pt_gemm_blocked_scratch(const pt_gemm_tiles *tiles, pt_gemm_form form, size_t m, size_t n,
                               size_t k) {
    size_t widest = PT_GEMM_MAX_VECTORS * tiles->lanes;
    size_t width = min_size(divide_up(n, tiles->lanes) * tiles->lanes, widest);
    if (form == PT_GEMM_TN) {
        size_t rows = min_size(k, MAX_SHARD_PANEL_ROWS);
        return (rows * width + min_size(rows * m, A_BLOCK_FLOATS) + rows * PT_GEMM_LINE) *
               sizeof(float);
    }
    /* Blocks of k are longest for panels of one vector; A is only copied for several panels, which
     * have two vectors or more. */
    size_t longest = tiles->panel_floats / tiles->lanes * 5 / 4;
    size_t panel = min_size(min_size(k, longest) * width, max_panel_floats(tiles));
    size_t copy = min_size(m, A_BLOCK_ROWS) * (min_size(k, longest / 2) + PT_GEMM_LINE);
    return (panel + copy) * sizeof(float);
}

/* The tiles of one panel, from the top of a block of A down. */
typedef struct panel_walk {
    const pt_gemm_tile_function *functions; /* [rows] */
    size_t m, tiles;
    size_t a_step; /* floats from one row of the tile's A to the next */
    /* The next panel where it lies in B, to be prefetched: rows of `lines` cache lines (0: none).
     */
    const float *next_b;
    size_t ldb, rows, lines;
    bool transposed;
} panel_walk;

/* Tile t's share of prefetching the next panel, so that the requests are spread evenly over the
 * time that this panel takes. A tile makes k / PT_GEMM_STEPS pairs of requests. */
static void share_prefetch(const panel_walk *walk, size_t t, pt_gemm_tile *tile) {
    const size_t lines = walk->lines, parts = lines ? walk->tiles / lines : 0;
    tile->prefetch = tile->a; /* something that is there anyway */
    tile->prefetch_stride = tile->prefetch_second = 0;
    if (walk->transposed && t < lines) {
        /* Few rows of many lines: one line of every row, or two. */
        tile->prefetch = walk->next_b + t * PT_GEMM_LINE;
        tile->prefetch_stride = walk->ldb;
        tile->prefetch_second = t + walk->tiles < lines ? walk->tiles * PT_GEMM_LINE : 0;
    } else if (!walk->transposed && parts > 0 && t / lines < parts) {
        /* Many rows of few lines: one line of a part of the rows; enough if there are twice as many
         * tiles as lines. */
        const size_t rows = walk->rows / parts;
        tile->prefetch = walk->next_b + t / lines * rows * walk->ldb + t % lines * PT_GEMM_LINE;
        tile->prefetch_stride = walk->ldb;
        tile->prefetch_second = parts >= PT_GEMM_STEPS ? 0 : rows / 2 * walk->ldb;
    }
}

static void walk_panel(const panel_walk *walk, pt_gemm_tile tile) {
    const size_t base = walk->m / walk->tiles, taller = walk->m % walk->tiles;
    for (size_t t = 0; t < walk->tiles; t++) {
        const size_t rows = base + (t < taller);
        share_prefetch(walk, t, &tile);
        walk->functions[rows](&tile);
        if (tile.panel)
            tile.b = NULL; /* packed by now */
        tile.a += rows * walk->a_step;
        tile.c += rows * tile.ldc;
    }
}

void pt_gemm_blocked_rows(const pt_gemm_tiles *tiles, bool transposed, size_t m, size_t n, size_t k,
                          const float *a, size_t lda, const float *b, size_t ldb, const float *bias,
                          float *c, size_t ldc, void *scratch) {
    if (m == 0 || n == 0)
        return;
    const size_t lanes = tiles->lanes, vectors_in_n = divide_up(n, lanes);
    const size_t widest = panel_vectors(tiles, m, vectors_in_n);
    const size_t k_block = max_size(choose_k_block(tiles, widest * lanes, k), 1);
    const size_t m_blocks = divide_up(m, A_BLOCK_ROWS), m_block = divide_up(m, m_blocks);
    const size_t widest_later = min_size(min_size(widest + 1, vectors_in_n), PT_GEMM_MAX_VECTORS);
    float *panel = scratch;
    float *a_copy = panel + min_size(k_block * widest_later * lanes, max_panel_floats(tiles));

    size_t l = 0;
    do {
        const size_t kb = min_size(k_block, k - l);
        for (size_t i = 0; i < m; i += m_block) {
            const size_t mb = min_size(m_block, m - i);
            const float *a_block = a + i * lda + l;
            size_t a_stride = lda;
            if (shares_sets(lda) && vectors_in_n > widest) {
                a_stride = k_block + PT_GEMM_LINE;
                copy_rows(mb, kb, a_block, lda, a_copy, a_stride);
                a_block = a_copy;
            }
            size_t vectors;
            for (size_t j = 0; j < n; j += vectors * lanes) {
                vectors = panel_vectors(tiles, m, divide_up(n - j, lanes));
                const size_t columns = min_size(vectors * lanes, n - j);
                panel_walk walk = {
                    .functions = tiles->rows[vectors],
                    .m = mb,
                    .tiles = divide_up(mb, tiles->max_rows[vectors]),
                    .a_step = a_stride,
                };
                pt_gemm_tile tile = {
                    .columns = columns,
                    .a = a_block,
                    .lda = a_stride,
                    .c = c + i * ldc + j,
                    .ldc = ldc,
                    .k = kb,
                    .bias = bias ? bias + j : NULL,
                    .resume = l > 0,
                    .finish = l + kb == k,
                };
                const bool more = j + columns < n;
                walk.ldb = ldb;
                walk.transposed = transposed;
                if (transposed) {
                    const float *panel_b = b + j * ldb + l;
                    tiles->pack_transposed(columns, kb, panel_b, ldb, panel, vectors * lanes);
                    tile.panel = panel;
                    walk.next_b = more ? panel_b + columns * ldb : NULL;
                    walk.lines = more ? divide_up(kb, PT_GEMM_LINE) : 0;
                } else {
                    tile.b = b + l * ldb + j;
                    tile.ldb = ldb;
                    tile.panel = walk.tiles > 1 ? panel : NULL;
                    walk.next_b = more ? tile.b + columns : NULL;
                    walk.rows = kb;
                    walk.lines = more ? divide_up(vectors * lanes, PT_GEMM_LINE) : 0;
                }
                walk_panel(&walk, tile);
            }
        }
        l += kb;
    } while (l < k);
}

void pt_gemm_blocked_columns(const pt_gemm_tiles *tiles, size_t m, size_t n,
                             const pt_shards *shards, const float *a, size_t lda, const float *b,
                             size_t ldb, const float *rate, float *c, size_t ldc, void *scratch) {
    if (m == 0 || n == 0)
        return;
    const size_t first = shards->row[0], k = shards->row[shards->count] - first;
    const size_t lanes = tiles->lanes;
    const size_t vectors_in_n = divide_up(n, lanes);
    const bool pack = k <= MAX_SHARD_PANEL_ROWS;
    const bool copy = pack && shares_sets(lda) && vectors_in_n > PT_GEMM_MAX_VECTORS;
    float *a_copy = (float *)scratch + k * PT_GEMM_MAX_VECTORS * lanes;
    a += first * lda;
    b += first * ldb;
    const size_t m_limit = max_size(A_BLOCK_FLOATS / max_size(k, 1), 4 * PT_GEMM_MAX_ROWS);
    const size_t m_block = divide_up(m, divide_up(m, m_limit));
    for (size_t i = 0; i < m; i += m_block) {
        const size_t mb = min_size(m_block, m - i);
        const float *a_block = a + i;
        size_t a_stride = lda;
        if (copy && mb * k <= A_BLOCK_FLOATS) {
            a_stride = mb + PT_GEMM_LINE;
            copy_rows(k, mb, a_block, lda, a_copy, a_stride);
            a_block = a_copy;
        }
        size_t vectors;
        for (size_t j = 0; j < n; j += vectors * lanes) {
            vectors = panel_vectors(tiles, m, divide_up(n - j, lanes));
            const size_t columns = min_size(vectors * lanes, n - j);
            const panel_walk walk = {
                .functions = tiles->columns[vectors],
                .m = mb,
                .tiles = divide_up(mb, tiles->max_rows_columns[vectors]),
                .a_step = 1,
                .next_b = b + j + columns,
                .ldb = ldb,
                .rows = k,
                .lines = j + columns < n ? divide_up(vectors * lanes, PT_GEMM_LINE) : 0,
            };
            const pt_gemm_tile tile = {
                .columns = columns,
                .a = a_block,
                .lda = a_stride,
                .c = c + i * ldc + j,
                .ldc = ldc,
                .b = b + j,
                .ldb = ldb,
                .panel = pack && walk.tiles > 1 ? scratch : NULL,
                .shards = shards,
                .rate = rate,
            };
            walk_panel(&walk, tile);
        }
    }
}
