/* gemm_blocked.c: the cache-blocked loops around the register tiles, for every instruction set; and
 * the choice of gemm_skip.h where enough of A is zero.
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
 *   - A is packed in the order of the tiles only if enough panels use it. Else a tile of nn and nt
 *     reads `rows` streams from it, fewer if they lie a multiple of 4 KB apart and so fall into the
 *     same sets of L1.
 *   - One to four columns beyond full vectors are computed with the rows of C along the vectors
 *     (gemm_narrow_body.h; for tn, the same tiles with A and B exchanged, also where C has no more columns
 *     than `turned_columns`).
 *   - Rows are dealt evenly to tiles, so that no sliver is left: 100 rows at up to 9 a tile are
 *     four tiles of 9 and eight of 8, not eleven of 9 and one of 1. Likewise k to blocks.
 *   - The numeric contract wants one chain of FMAs an element: a later block of k loads C into the
 *     accumulators and goes on, where BLIS adds at the end.
 *   - A B that fits L1 is read where it lies. Few steps of k by a transposed B go along the rows of C
 *     (gemm_rows_wide.c).
 *   - The gradient of the weights (tn) has no blocks of k: a tile walks all shards of its rows and
 *     merges them in registers. Its k is a mini-batch, so that the panel still fits L1 or L2. Wide
 *     ones are computed in BLIS's own order (gemm_columns_wide.c).
 *
 * While a tile computes, it prefetches its share of the next panel of transposed B, and the next
 * tile's C unless C is small; who packs or copies a panel asks for rows further down, and for the panel
 * beside it: the hardware does not when every row is in another page.
 */
#include "simd/gemm_panels.h"

/* The longest k that is not cut into blocks of `limit` or less. */
static size_t longest_whole(size_t limit) {
    return limit + limit / 3;
}

/* Panels of one k block are at most panel_floats + 1/3 (a longer k is cut into even blocks). */
static size_t choose_k_block(const pt_gemm_tiles *tiles, size_t width, size_t k) {
    size_t limit = tiles->panel_floats / width;
    if (k <= longest_whole(limit))
        return k;
    size_t even = divide_up(k, divide_up(k, limit));
    return divide_up(even, 8) * 8;
}

/* A panel of the rows form never has more floats: the limit and a third, for the odd last panel
 * of 3 vectors among panels of 2, and a few for rounding k up. */
static size_t max_panel_floats(const pt_gemm_tiles *tiles) {
    return tiles->panel_floats * 2 + 8 * PT_GEMM_MAX_VECTORS * tiles->lanes;
}

static size_t narrow_rest_transposed(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k) {
    const size_t rest = narrow_rest(tiles, m, n);
    if (n <= PT_GEMM_NARROW)
        return rest;
    const bool worth_it = m >= 2 * tiles->lanes && k >= tiles->lanes &&
                          rest <= tiles->narrow_rest && n >= tiles->narrow_from;
    return worth_it ? rest : 0;
}

/* m rows and k columns of A in the order of `count` tiles. */
static void pack_a(const pt_gemm_tiles *tiles, size_t m, size_t count, size_t k, const float *a,
                   size_t lda, float *packed) {
    const size_t base = m / count, taller = m % count;
    for (size_t t = 0; t < count; t++) {
        const size_t rows = base + (t < taller);
        assert(rows <= tiles->lanes);
        if (t + 1 < count)
            prefetch_rows(base + (t + 1 < taller), k, a + rows * lda, lda);
        tiles->pack_transposed(rows, k, a, lda, packed, rows);
        a += rows * lda;
        packed += rows * k;
    }
}

static size_t tiles_scratch(const pt_gemm_tiles *tiles, pt_gemm_form form, size_t m, size_t n,
                            size_t k) {
    size_t widest = PT_GEMM_MAX_VECTORS * tiles->lanes;
    size_t width = min_size(divide_up(n, tiles->lanes) * tiles->lanes, widest);
    if (form == PT_GEMM_TN)
        return max_size(2 * min_size(k, MAX_SHARD_PANEL_ROWS) * width * sizeof(float),
                        pt_gemm_wide_columns_scratch(tiles, m, n, k));
    /* Blocks of k are longest for panels of one vector; A is only packed for several panels, which
     * have two vectors or more. */
    size_t longest = longest_whole(tiles->panel_floats / tiles->lanes);
    size_t panel = min_size(min_size(k, longest) * width, max_panel_floats(tiles));
    size_t a = min_size(min_size(m, A_BLOCK_ROWS) * min_size(k, longest / 2), tiles->block_floats);
    const size_t blocked = (2 * panel + a + PT_GEMM_LINE) * sizeof(float);
    return form == PT_GEMM_NT ? max_size(blocked, pt_gemm_wide_rows_scratch(tiles, n, k)) : blocked;
}

size_t pt_gemm_blocked_scratch(const pt_gemm_tiles *tiles, pt_gemm_form form, size_t m, size_t n,
                               size_t k) {
    return max_size(tiles_scratch(tiles, form, m, n, k), tiles->skip->scratch(form, m, n, k));
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

/* The vectors of a row of C, or 0 if there are more than a tile has. Small products spend their time
 * around the arithmetic: on their way is no division, and no panel. */
static size_t vectors_of_row(const pt_gemm_tiles *tiles, size_t n) {
    for (size_t v = 1; v <= PT_GEMM_MAX_VECTORS; v++)
        if (n <= v * tiles->lanes)
            return v;
    return 0;
}

/* Whether a few tiles below each other are the whole product, and find B in L1 where it lies. */
static bool few_tiles(const pt_gemm_tiles *tiles, size_t vectors, size_t m, size_t n, size_t k,
                      size_t ldb) {
    return m <= FEW_TILES * tiles->max_rows[vectors] && k * ldb <= tiles->in_place_floats &&
           panel_vectors(tiles, m, vectors) == vectors &&
           narrow_rest_transposed(tiles, m, n, k) == 0;
}

/* Those tiles; rows are dealt evenly. */
static void column_of_tiles(const pt_gemm_tiles *tiles, size_t vectors, size_t m,
                            pt_gemm_tile *run) {
    size_t count = 1;
    while (count * tiles->max_rows[vectors] < m)
        count++;
    for (size_t left = count; left > 0; left -= run->tiles) {
        const size_t rows = (uint32_t)(m + left - 1) / (uint32_t)left; /* narrow: a fast division */
        run->tiles = m - (rows - 1) * left;
        run->a_step = rows * run->lda;
        run->c_step = rows * run->ldc;
        tiles->rows[vectors][rows](run);
        run->a += run->tiles * run->a_step;
        run->c += run->tiles * run->c_step;
        m -= run->tiles * rows;
    }
}

/* nn that needs no panel: one tile, or a few that find B in L1; or few steps of k. */
static bool small_product(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k, const float *a,
                          size_t lda, const float *b, size_t ldb, const float *bias,
                          pt_gemm_finish finish, float *c, size_t ldc) {
    const size_t vectors = vectors_of_row(tiles, n);
    const bool single = vectors > 0 && m <= tiles->max_rows[vectors];
    if (single || (vectors > 0 && few_tiles(tiles, vectors, m, n, k, ldb))) {
        pt_gemm_tile tile = {
            .tiles = 1,
            .columns = n,
            .a = a,
            .lda = lda,
            .b = b,
            .ldb = ldb,
            .c = c,
            .ldc = ldc,
            .k = k,
            .bias = bias,
            .ends = true,
            .finish = finish,
        };
        if (single)
            tiles->rows[vectors][m](&tile);
        else
            column_of_tiles(tiles, vectors, m, &tile);
        return true;
    }
    if (1 <= k && k <= PT_GEMM_SHALLOW && n > tiles->lanes) {
        const pt_gemm_shallow product = {
            .m = m,
            .n = n,
            .a = a,
            .lda = lda,
            .b = b,
            .ldb = ldb,
            .bias = bias,
            .relu = finish.relu,
            .c = c,
            .ldc = ldc,
        };
        tiles->shallow[k](&product);
        return true;
    }
    return false;
}

/* All but the narrow columns: n > 0. */
static void blocked_rows(const pt_gemm_tiles *tiles, bool transposed, size_t m, size_t n, size_t k,
                         const float *a, size_t lda, const float *b, size_t ldb, const float *bias,
                         pt_gemm_finish finish, float *c, size_t ldc, void *scratch) {
    const size_t lanes = tiles->lanes, vectors_in_n = divide_up(n, lanes);
    const size_t widest = panel_vectors(tiles, m, vectors_in_n);
    const size_t k_block = max_size(choose_k_block(tiles, widest * lanes, k), 1);
    const size_t m_limit = min_size(max_size(tiles->block_floats / k_block, 1), A_BLOCK_ROWS);
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
    float *panel = scratch, *other_panel = panel + panel_size;
    const bool in_place = !transposed && k * ldb <= tiles->in_place_floats;
    const bool packs_a = vectors_in_n > tiles->pack_panels * widest && !in_place;
    float *a_packed = packs_a ? panel + 2 * panel_size : NULL;
    /* Rows of A that lie 4 KB apart all share the sets of L1. */
    const bool crowded = lda % A_SET_STRIDE == 0 && !a_packed;
    const size_t row_limit = crowded ? tiles->crowded_rows : PT_GEMM_MAX_ROWS;
    size_t a_count = 0; /* tiles that A is packed for */

    rows_panel x = {0}, next;
    set_extent(&product, &x);
    bool packed = false, more;
    do {
        next = x;
        more = next_panel(&product, &next);
        panel_walk walk = {
            .tiles = tiles,
            .functions = tiles->rows[x.vectors],
            .m = x.m,
            .count = divide_up(x.m, min_size(tiles->max_rows[x.vectors], row_limit)),
            .vectors = x.vectors,
            .next_c = m * n > PREFETCH_C_FLOATS ? c + next.i * ldc + next.j : NULL,
            .next_columns = next.columns,
            .k = x.k,
            .a_packed = a_packed,
        };
        if (a_packed && (x.j == 0 || a_count != walk.count))
            pack_a(tiles, x.m, walk.count, x.k, a + x.i * lda + x.l, lda, a_packed);
        a_count = walk.count;
        pt_gemm_tile tile = {
            .columns = x.columns,
            .a = a + x.i * lda + x.l,
            .lda = lda,
            .c = c + x.i * ldc + x.j,
            .ldc = ldc,
            .ldb = ldb,
            .k = x.k,
            .bias = bias ? bias + x.j : NULL,
            .resume = x.l > 0,
            .ends = x.l + x.k == k,
            .finish = finish,
        };
        bool copy = false;
        if (transposed) {
            if (x.j == 0 && x.i == 0 && x.l == 0) /* nobody has asked for it */
                prefetch_rows(x.columns, min_size(x.k, PREFETCH_FIRST), b, ldb);
            tiles->pack_transposed(x.columns, x.k, b + x.j * ldb + x.l, ldb, panel,
                                   x.vectors * lanes);
            tile.panel = panel;
            walk.next_b = b + next.j * ldb + next.l;
            walk.lines = more ? divide_up(next.k, PT_GEMM_LINE) : 0;
        } else {
            tile.panel = packed || (walk.count > 1 && !in_place) ? panel : NULL;
            if (!packed)
                tile.b = b + x.l * ldb + x.j;
            const size_t copying = walk.count - (packed ? 0 : 1);
            copy = more && !in_place && next.vectors == x.vectors &&
                   copying * (x.k / PT_GEMM_STEPS) >= next.k;
            if (copy) {
                walk.next_rows = next.k;
                tile.next_b = b + next.l * ldb + next.j;
                tile.next_panel = other_panel;
                tile.next_columns = next.columns;
                other_panel = panel;
                panel = tile.next_panel;
            }
        }
        walk_panel(&walk, lda, &tile);
        packed = copy;
        x = next;
    } while (more);
}

void pt_gemm_blocked_rows(const pt_gemm_tiles *tiles, bool transposed, size_t m, size_t n, size_t k,
                          const float *a, size_t lda, const float *b, size_t ldb, const float *bias,
                          pt_gemm_finish finish, float *c, size_t ldc, void *scratch) {
    if (m == 0 || n == 0)
        return;
    if (!transposed && small_product(tiles, m, n, k, a, lda, b, ldb, bias, finish, c, ldc))
        return;
    if (n >= PT_SKIP_LEAST_COLUMNS && tiles->skip->rows_fit(m, n, k) &&
        tiles->skip->pays(m, k, a, lda)) {
        const pt_skip_product product = {
            .transposed = transposed,
            .m = m,
            .n = n,
            .k = k,
            .end = k,
            .a = a,
            .lda = lda,
            .b = b,
            .ldb = ldb,
            .bias = bias,
            .finish = finish,
            .c = c,
            .ldc = ldc,
        };
        tiles->skip->rows(&product, scratch);
        return;
    }
    const size_t narrow = narrow_rest_transposed(tiles, m, n, k);
    n -= narrow;
    if (transposed && pt_gemm_is_wide_rows(tiles, m, n, k))
        pt_gemm_wide_rows(tiles, m, n, k, a, lda, b, ldb, finish, c, ldc, scratch);
    else if (n > 0)
        blocked_rows(tiles, transposed, m, n, k, a, lda, b, ldb, bias, finish, c, ldc, scratch);
    if (narrow > 0) { /* last: a column of A and C at a time is a poor way to fetch them */
        const pt_gemm_narrow product = {
            .m = m,
            .k = k,
            .a = a,
            .lda = lda,
            .b = transposed ? b + n * ldb : b + n,
            .b_step = transposed ? 1 : ldb,
            .b_next = transposed ? ldb : 1,
            .bias = bias ? bias + n : NULL,
            .finish = finish,
            .c = c + n,
            .ldc = ldc,
        };
        tiles->narrow_rows[narrow](&product);
    }
}
