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
 *   - The first panel is packed by the first tile that uses it, which has each row of B in registers
 *     anyway; every later one is copied by the tiles of the panel before it, a row between two steps
 *     of theirs, where the load and store ports are idle. So packing has no pass of its own. B
 *     transposed (nt) is packed ahead, by transposes in registers.
 *   - nn and nt do not pack A: a tile reads `rows` streams from it. Only where A's rows lie a
 *     multiple of 2 KB apart, so that the streams would fall into the same few sets of L1, is the
 *     block copied to rows of another stride. tn packs A in the order of the tiles if there are
 *     enough panels to use it: each step of a tile would be in another page.
 *   - One to four columns beyond full vectors are computed with the rows of C along the vectors
 *     (gemm_narrow_body.h; for tn, the same tiles with A and B exchanged).
 *   - Rows are dealt evenly to tiles, so that no sliver is left: 100 rows at up to 9 a tile are
 *     four tiles of 9 and eight of 8, not eleven of 9 and one of 1. Likewise k to blocks.
 *   - The numeric contract wants one chain of FMAs an element: a later block of k loads C into the
 *     accumulators and goes on, where BLIS adds at the end.
 *   - The gradient of the weights (tn) has no blocks of k: a tile walks all shards of its rows and
 *     merges them in registers. Its k is a mini-batch, so that the panel still fits L1 or L2.
 *
 * While a tile computes, it prefetches its share of the next panel of transposed B, and the next
 * tile's C if C is big: the hardware does not when every row is in another page.
 */
#include "simd/gemm_blocked.h"

#include <string.h>

enum {
    A_BLOCK_FLOATS = 128 * 1024, /* a block of A: 512 KB, half of a 1 MB L2 */
    A_BLOCK_ROWS = 512,          /* nn, nt: and no more rows than this */
    A_SET_STRIDE = 512,          /* floats: rows of A a multiple of this apart share L1 sets */
    PACK_ROWS = 8,               /* tn: rows of A that are packed together */
    BIG_C_FLOATS = 1024 * 1024,  /* nn, nt: a C so big (4 MB) is prefetched */
    PACK_PANELS = 6,             /* ... where more panels than this use them */
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

/* How many last columns, too few for a vector, are better computed across the rows. In nn and nt
 * that means transposing A in registers, which wants whole blocks of it. */
static size_t narrow_rest(const pt_gemm_tiles *tiles, size_t m, size_t n) {
    const size_t rest = n % tiles->lanes;
    return rest <= PT_GEMM_NARROW && m >= tiles->lanes ? rest : 0;
}

static size_t narrow_rest_transposed(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k) {
    if (n > PT_GEMM_NARROW && (m < 2 * tiles->lanes || k < tiles->lanes))
        return 0;
    return narrow_rest(tiles, m, n);
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
        return (2 * rows * width + min_size(rows * m, A_BLOCK_FLOATS)) * sizeof(float);
    }
    /* Blocks of k are longest for panels of one vector; A is only copied for several panels, which
     * have two vectors or more. */
    size_t longest = tiles->panel_floats / tiles->lanes * 5 / 4;
    size_t panel = min_size(min_size(k, longest) * width, max_panel_floats(tiles));
    size_t copy = min_size(min_size(m, A_BLOCK_ROWS) * (min_size(k, longest / 2) + PT_GEMM_LINE),
                           A_BLOCK_FLOATS + A_BLOCK_ROWS * PT_GEMM_LINE);
    return (2 * panel + copy) * sizeof(float);
}

/* --- the tiles of one panel, from the top of a block of A down --- */

typedef struct panel_walk {
    const pt_gemm_tiles *tiles;
    const pt_gemm_tile_function *functions; /* [rows] */
    size_t m, count;                        /* rows, and tiles they are dealt to */
    size_t vectors;
    const float *next_c; /* top of the next panel's C */

    size_t next_rows; /* of the next panel, that the tiles shall copy together */

    /* rows form: the next panel of transposed B where it lies, to be prefetched: rows of so many
     * cache lines (0: none) */
    const float *next_b;
    size_t ldb, lines;

    /* columns form */
    size_t k;
    const float *a_packed; /* A in the order of the tiles, or NULL */
} panel_walk;

/* Tile t's share of prefetching a panel of transposed B: one line of every row, or two. */
static void share_prefetch(const panel_walk *walk, size_t t, pt_gemm_tile *tile) {
    tile->prefetch = tile->a; /* something that is there anyway */
    tile->prefetch_stride = tile->prefetch_second = 0;
    if (t < walk->lines) {
        tile->prefetch = walk->next_b + t * PT_GEMM_LINE;
        tile->prefetch_stride = walk->ldb;
        tile->prefetch_second = t + walk->count < walk->lines ? walk->count * PT_GEMM_LINE : 0;
    }
}

/* `a_step`: floats from one row of the tile's A to the next. */
static void walk_panel(const panel_walk *walk, size_t a_step, pt_gemm_tile tile) {
    const size_t base = walk->m / walk->count, taller = walk->m % walk->count;
    const size_t width = walk->vectors * walk->tiles->lanes;
    /* The first tile copies nothing if it packs its own panel. */
    const size_t copying = walk->count - (tile.b ? 1 : 0);
    const size_t share = walk->next_rows > 0 ? divide_up(walk->next_rows, copying) : 0;
    size_t left = walk->next_rows;
    const float *a = tile.a;
    const float *a_packed = walk->a_packed;
    for (size_t t = 0; t < walk->count; t++) {
        const size_t rows = base + (t < taller);
        tile.a = a;
        if (a_packed) {
            tile.a = a_packed;
            tile.lda = rows;
            a_packed += rows * walk->k;
        }
        tile.a_ahead = a_packed ? 0 : 2 * rows - 1;
        a += rows * a_step;
        tile.next_rows = tile.b ? 0 : min_size(share, left);
        if (walk->next_c)
            tile.next_c = t + 1 < walk->count ? tile.c + rows * tile.ldc : walk->next_c;
        share_prefetch(walk, t, &tile);
        walk->functions[rows](&tile);
        if (tile.panel)
            tile.b = NULL; /* packed by now */
        tile.c += rows * tile.ldc;
        if (tile.next_rows > 0) {
            tile.next_b += tile.next_rows * tile.ldb;
            tile.next_panel += tile.next_rows * width;
            left -= tile.next_rows;
        }
    }
}

/* --- nn, nt --- */

typedef struct rows_product {
    const pt_gemm_tiles *tiles;
    size_t m, n, k;
    size_t m_block, k_block;
} rows_product;

/* A panel of B and the block of A that it meets. */
typedef struct rows_panel {
    size_t l, i, j;       /* where it begins, in k, m and n */
    size_t k, m, columns; /* its extent */
    size_t vectors;       /* of a row */
} rows_panel;

static void set_extent(const rows_product *p, rows_panel *x) {
    const size_t lanes = p->tiles->lanes;
    x->k = min_size(p->k_block, p->k - x->l);
    x->m = min_size(p->m_block, p->m - x->i);
    x->vectors = panel_vectors(p->tiles, p->m, divide_up(p->n - x->j, lanes));
    x->columns = min_size(x->vectors * lanes, p->n - x->j);
}

/* The next panel in the order of the loops: across n, then down m, then along k. */
static bool next_panel(const rows_product *p, rows_panel *x) {
    x->j += x->columns;
    if (x->j == p->n) {
        x->j = 0;
        x->i += x->m;
    }
    if (x->i == p->m) {
        x->i = 0;
        x->l += x->k;
        if (x->l == p->k)
            return false;
    }
    set_extent(p, x);
    return true;
}

/* The vectors of the one tile that is the whole product, or 0. Small products spend their time
 * around the arithmetic: here is no division and no panel. */
static size_t single_tile_vectors(const pt_gemm_tiles *tiles, size_t m, size_t n) {
    for (size_t v = 1; v <= PT_GEMM_MAX_VECTORS; v++)
        if (n <= v * tiles->lanes)
            return m <= tiles->max_rows[v] ? v : 0;
    return 0;
}

void pt_gemm_blocked_rows(const pt_gemm_tiles *tiles, bool transposed, size_t m, size_t n, size_t k,
                          const float *a, size_t lda, const float *b, size_t ldb, const float *bias,
                          float *c, size_t ldc, void *scratch) {
    if (m == 0 || n == 0)
        return;
    const size_t single = transposed ? 0 : single_tile_vectors(tiles, m, n);
    if (single > 0) {
        const pt_gemm_tile tile = {
            .columns = n,
            .a = a,
            .lda = lda,
            .b = b,
            .ldb = ldb,
            .c = c,
            .ldc = ldc,
            .k = k,
            .bias = bias,
            .finish = true,
        };
        tiles->rows[single][m](&tile);
        return;
    }
    const size_t narrow = narrow_rest_transposed(tiles, m, n, k);
    n -= narrow;
    if (narrow > 0) {
        const pt_gemm_narrow product = {
            .m = m,
            .k = k,
            .a = a,
            .lda = lda,
            .b = transposed ? b + n * ldb : b + n,
            .b_step = transposed ? 1 : ldb,
            .b_next = transposed ? ldb : 1,
            .bias = bias ? bias + n : NULL,
            .c = c + n,
            .ldc = ldc,
        };
        tiles->narrow_rows[narrow](&product);
        if (n == 0)
            return;
    }
    const size_t lanes = tiles->lanes, vectors_in_n = divide_up(n, lanes);
    const size_t widest = panel_vectors(tiles, m, vectors_in_n);
    const size_t k_block = max_size(choose_k_block(tiles, widest * lanes, k), 1);
    const size_t m_limit = min_size(max_size(A_BLOCK_FLOATS / k_block, 1), A_BLOCK_ROWS);
    const rows_product product = {
        .tiles = tiles,
        .m = m,
        .n = n,
        .k = k,
        .k_block = k_block,
        .m_block = vectors_in_n > widest ? divide_up(m, divide_up(m, m_limit)) : m,
    };
    const size_t widest_later = min_size(min_size(widest + 1, vectors_in_n), PT_GEMM_MAX_VECTORS);
    const size_t panel_size = min_size(k_block * widest_later * lanes, max_panel_floats(tiles));
    float *panel = scratch, *other_panel = panel + panel_size, *a_copy = panel + 2 * panel_size;
    const bool copy_a = shares_sets(lda) && vectors_in_n > widest;
    const size_t a_stride = copy_a ? k_block + PT_GEMM_LINE : lda;

    rows_panel x = {0}, next;
    set_extent(&product, &x);
    bool packed = false, more;
    do {
        next = x;
        more = next_panel(&product, &next);
        if (copy_a && x.j == 0)
            copy_rows(x.m, x.k, a + x.i * lda + x.l, lda, a_copy, a_stride);
        panel_walk walk = {
            .tiles = tiles,
            .functions = tiles->rows[x.vectors],
            .m = x.m,
            .count = divide_up(x.m, tiles->max_rows[x.vectors]),
            .vectors = x.vectors,
            .next_c = m * n > BIG_C_FLOATS ? c + next.i * ldc + next.j : NULL,
            .ldb = ldb,
        };
        pt_gemm_tile tile = {
            .columns = x.columns,
            .a = copy_a ? a_copy : a + x.i * lda + x.l,
            .lda = a_stride,
            .c = c + x.i * ldc + x.j,
            .ldc = ldc,
            .ldb = ldb,
            .k = x.k,
            .bias = bias ? bias + x.j : NULL,
            .resume = x.l > 0,
            .finish = x.l + x.k == k,
        };
        bool copy = false;
        if (transposed) {
            tiles->pack_transposed(x.columns, x.k, b + x.j * ldb + x.l, ldb, panel,
                                   x.vectors * lanes);
            tile.panel = panel;
            walk.next_b = b + next.j * ldb + next.l;
            walk.lines = more ? divide_up(next.k, PT_GEMM_LINE) : 0;
        } else {
            tile.panel = packed || walk.count > 1 ? panel : NULL;
            if (!packed)
                tile.b = b + x.l * ldb + x.j;
            const size_t copying = walk.count - (packed ? 0 : 1);
            copy = more && next.vectors == x.vectors && copying * (x.k / PT_GEMM_STEPS) >= next.k;
            if (copy) {
                walk.next_rows = next.k;
                tile.next_b = b + next.l * ldb + next.j;
                tile.next_panel = other_panel;
                tile.next_columns = next.columns;
                other_panel = panel;
                panel = tile.next_panel;
            }
        }
        walk_panel(&walk, a_stride, tile);
        packed = copy;
        x = next;
    } while (more);
}

/* --- tn --- */

/* How many rows of the next panel a tile can copy. */
static size_t unrolled_steps(const pt_shards *shards) {
    size_t steps = 0;
    for (size_t s = 0; s < shards->count; s++)
        steps += (shards->row[s + 1] - shards->row[s]) / PT_GEMM_STEPS;
    return steps;
}

/* A in the order of the tiles. A few of its rows at a time, so that they are read along. */
static void pack_a(const pt_gemm_tiles *tiles, size_t m, size_t count, size_t k, const float *a,
                   size_t lda, float *packed) {
    const size_t base = m / count, taller = m % count;
    for (size_t l = 0; l < k; l += PACK_ROWS) {
        const size_t steps = min_size(PACK_ROWS, k - l);
        const float *from = a + l * lda;
        float *to = packed;
        for (size_t t = 0; t < count; t++) {
            const size_t rows = base + (t < taller);
            tiles->pack_columns(rows, steps, from, lda, to + l * rows);
            from += rows;
            to += rows * k;
        }
    }
}

/* A few last columns: the tile is turned around, with the rows of C along its vectors. */
static void narrow_columns(const pt_gemm_tiles *tiles, size_t m, size_t n, const pt_shards *shards,
                           const float *a, size_t lda, const float *b, size_t ldb, float *c,
                           size_t ldc) {
    enum { BLOCK = PT_GEMM_MAX_VECTORS * PT_GEMM_LINE };
    float block[PT_GEMM_NARROW * BLOCK];
    size_t widest = PT_GEMM_MAX_VECTORS;
    while (tiles->max_rows_columns[widest] < n)
        widest--;
    for (size_t i = 0; i < m; i += widest * tiles->lanes) {
        const size_t rows = min_size(widest * tiles->lanes, m - i);
        const pt_gemm_tile tile = {
            .columns = rows,
            .next_columns = rows,
            .a = b,
            .lda = ldb,
            .b = a + i,
            .ldb = lda,
            .c = block,
            .ldc = BLOCK,
            .shards = shards,
        };
        tiles->columns[divide_up(rows, tiles->lanes)][n](&tile);
        for (size_t x = 0; x < rows; x++)
            for (size_t j = 0; j < n; j++)
                c[(i + x) * ldc + j] = block[j * BLOCK + x];
    }
}

void pt_gemm_blocked_columns(const pt_gemm_tiles *tiles, size_t m, size_t n,
                             const pt_shards *shards, const float *a, size_t lda, const float *b,
                             size_t ldb, float *c, size_t ldc, void *scratch) {
    if (m == 0 || n == 0)
        return;
    const size_t first = shards->row[0], k = shards->row[shards->count] - first;
    const size_t lanes = tiles->lanes;
    const bool pack = k <= MAX_SHARD_PANEL_ROWS;
    a += first * lda;
    b += first * ldb;
    const size_t narrow = narrow_rest(tiles, m, n);
    n -= narrow;
    if (narrow > 0)
        narrow_columns(tiles, m, narrow, shards, a, lda, b + n, ldb, c + n, ldc);
    if (n == 0)
        return;
    const size_t vectors_in_n = divide_up(n, lanes);
    const size_t m_limit = max_size(A_BLOCK_FLOATS / max_size(k, 1), 4 * PT_GEMM_MAX_ROWS);
    const size_t m_block = divide_up(m, divide_up(m, m_limit));
    const size_t widest = panel_vectors(tiles, m, vectors_in_n);
    const size_t panel_size = k * min_size(vectors_in_n, PT_GEMM_MAX_VECTORS) * lanes;
    float *panel = scratch, *other_panel = panel + panel_size;
    float *a_packed = pack && vectors_in_n > PACK_PANELS * widest && m_block * k <= A_BLOCK_FLOATS
                          ? panel + 2 * panel_size
                          : NULL;
    const size_t steps = unrolled_steps(shards);
    for (size_t i = 0; i < m; i += m_block) {
        const size_t mb = min_size(m_block, m - i);
        size_t vectors = panel_vectors(tiles, m, vectors_in_n), next_vectors, a_count = 0;
        bool packed = false, copy;
        for (size_t j = 0; j < n; j += vectors * lanes, vectors = next_vectors, packed = copy) {
            const size_t columns = min_size(vectors * lanes, n - j), next = j + columns;
            panel_walk walk = {
                .tiles = tiles,
                .functions = tiles->columns[vectors],
                .m = mb,
                .count = divide_up(mb, tiles->max_rows_columns[vectors]),
                .vectors = vectors,
                .k = k,
                .a_packed = a_packed,
            };
            if (a_packed && a_count != walk.count)
                pack_a(tiles, mb, walk.count, k, a + i, lda, a_packed);
            a_count = walk.count;
            pt_gemm_tile tile = {
                .columns = columns,
                .a = a + i,
                .lda = lda,
                .c = c + i * ldc + j,
                .ldc = ldc,
                .b = packed ? NULL : b + j,
                .ldb = ldb,
                .panel = packed || (pack && walk.count > 1) ? panel : NULL,
                .next_columns = columns,
                .shards = shards,
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
            walk_panel(&walk, 1, tile);
        }
    }
}
