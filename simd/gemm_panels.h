/* gemm_panels.h: what the loops of the matrix products share (gemm_blocked.c, gemm_rows_wide.c, gemm_columns*.c): how
 * columns are cut into panels, and the walk over the tiles of one panel.
 */
#ifndef PT_SIMD_GEMM_PANELS_H
#define PT_SIMD_GEMM_PANELS_H

#include "simd/gemm_blocked.h"
#include "simd/loops.h"

#include <assert.h>

enum {
    A_BLOCK_ROWS = 512,       /* nn, nt: a block of A has no more rows than this */
    A_SET_STRIDE = 1024,      /* floats: rows of A a multiple of this apart share an L1 set */
    PREFETCH_C_FLOATS = 4096, /* nn, nt: a C of more (16 KB) may not be in L1 */
    PREFETCH_FIRST = 64,      /* nt: steps of the first panel; then the hardware knows */
    FEW_TILES = 8,     /* nn: so many are walked without the loops for more; tn: read B in place */
    PACK_ROWS = 8,     /* tn: rows of A that are packed together */
    WIDE_PANELS = 6,   /* tn, nt: C of no more panels than this is not swept, */
    WIDE_TILES = 16,   /* nor of fewer rows of tiles */
    WIDE_A_BLOCKS = 4, /* tn: so many block_floats of A are packed, if it is swept */
    WIDE_STEPS = 24,   /* nt: of no more steps is C walked along its rows */
    MAX_SHARD_PANEL_ROWS = 4096, /* tn: longer panels (over 512 KB) are not packed */
};

/* Into L2, before they are packed: several rows read side by side, a few lines of each, are nothing that
 * the hardware foresees. */
static inline void prefetch_rows(size_t rows, size_t columns, const float *x, size_t ld) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < columns; j += PT_GEMM_LINE)
            __builtin_prefetch(x + i * ld + j, 0, 2);
}

/* How many vectors wide the next panel is, with `left` vectors to go: wide tiles where there are
 * few rows (to have enough independent chains), otherwise the usual, and never a lone last vector.
 */
static inline size_t panel_vectors(const pt_gemm_tiles *tiles, size_t m, size_t left) {
    const size_t usual = tiles->usual_vectors;
    size_t wide = m <= tiles->max_rows[4] ? 4 : m <= tiles->max_rows[3] ? 3 : usual;
    if (left == wide + 1) /* one more, or two halves if so one tile still takes all rows */
        return left <= PT_GEMM_MAX_VECTORS && m > tiles->max_rows[wide] ? left : (left + 1) / 2;
    return min_size(left, wide);
}

/* How many last columns, too few for a vector, are better computed across the rows. In nn and nt
 * that means transposing A in registers, which wants whole blocks of it. */
static inline size_t narrow_rest(const pt_gemm_tiles *tiles, size_t m, size_t n) {
    const size_t rest = n & (tiles->lanes - 1); /* a power of two */
    return rest <= PT_GEMM_NARROW && m >= tiles->lanes ? rest : 0;
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
     * cache lines (0: none), next_columns of them */
    const float *next_b;
    size_t next_columns, lines;

    const float *a_packed; /* rows form: A in the order of the tiles, k steps of each, or NULL */
    size_t k;
} panel_walk;

/* Tile t's share of prefetching a panel of transposed B: one line of every row, or two. */
static inline void share_prefetch(const panel_walk *walk, size_t t, pt_gemm_tile *tile) {
    tile->prefetch_rows = 0;
    if (t < walk->lines) {
        tile->prefetch = walk->next_b + t * PT_GEMM_LINE;
        tile->prefetch_rows = walk->next_columns;
        tile->prefetch_second = t + walk->count < walk->lines ? walk->count * PT_GEMM_LINE : 0;
    }
}

/* `a_row`: floats from one row of the tile's A to the next. */
static inline void walk_panel(const panel_walk *walk, size_t a_row, pt_gemm_tile *run) {
    assert(walk->count > 0);
    const size_t base = walk->m / walk->count, taller = walk->m % walk->count;
    const size_t width = walk->vectors * walk->tiles->lanes;
    /* The first tile copies nothing if it packs its own panel. */
    const bool packs = run->b && run->panel;
    const size_t share =
        walk->next_rows > 0 ? divide_up(walk->next_rows, walk->count - (run->b ? 1 : 0)) : 0;
    size_t left = walk->next_rows;
    run->a_packed = walk->a_packed;
    for (size_t t = 0; t < walk->count; t += run->tiles) {
        const size_t rows = base + (t < taller);
        const bool alone = (t == 0 && packs) || t < walk->lines;
        run->tiles = alone ? 1 : (t < taller ? taller : walk->count) - t;
        const size_t all = run->tiles * rows;
        run->a_step = rows * (run->a_packed && !run->b ? walk->k : a_row);
        run->c_step = rows * run->ldc;
        run->next_share = run->b ? 0 : share;
        run->next_rows = run->b ? 0 : min_size(share * run->tiles, left);
        if (walk->next_c)
            run->next_c = t + run->tiles < walk->count ? run->c + all * run->ldc : walk->next_c;
        share_prefetch(walk, t, run);
        walk->functions[rows](run);
        if (run->panel)
            run->b = NULL; /* packed by now */
        run->a += all * a_row;
        if (run->a_packed)
            run->a_packed += all * walk->k;
        run->c += all * run->ldc;
        if (run->next_rows > 0) {
            run->next_b += run->next_rows * run->ldb;
            run->next_panel += run->next_rows * width;
            left -= run->next_rows;
        }
    }
}

/* --- the tiles of one row of tiles, from left to right --- */

/* B is packed, a panel of `vectors` after the other from run->panel on, k steps of each; `functions` are
 * those of the form, [vectors][rows]. The run's own extent is set here. */
static inline void sweep_row(const pt_gemm_tiles *tiles,
                             const pt_gemm_tile_function functions[][PT_GEMM_MAX_ROWS + 1],
                             size_t vectors, size_t rows, size_t n, size_t k, pt_gemm_tile run) {
    const size_t width = vectors * tiles->lanes, full = n / width, last = n % width;
    run.panel_step = k * width;
    run.c_step = width;
    if (full > 0) {
        run.tiles = full;
        run.columns = width;
        functions[vectors][rows](&run);
    }
    if (last > 0) {
        run.tiles = 1;
        run.columns = last;
        run.panel += full * run.panel_step;
        run.c += full * width;
        run.next_c = NULL;
        functions[divide_up(last, tiles->lanes)][rows](&run);
    }
}

#endif
