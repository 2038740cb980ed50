/* gemm_tile_errands.h: what a tile that reads a packed panel does for the tiles after it, besides: rows of
 * the next panel are copied, its own C and the next one's asked for, and lines of transposed B.
 *
 * It does so a little between every few steps of k, where the load and store ports are idle. A line asked
 * for occupies one of a core's few fill buffers (10 to 16 in Intel's; Intel 64 and IA-32 Architectures
 * Optimization Reference Manual) until it comes, for one from beyond L2 hundreds of cycles, and
 * the tile's own panel comes from L2 through the same buffers: a whole C asked for at once, or a row of
 * B at every turn until all were copied, had it wait. Spread evenly, products of 512^3 and more are 1.04
 * to 1.09 times as fast (AVX-512).
 *
 * Included by gemm_tile_body.h.
 */
#ifndef PT_SIMD_GEMM_TILE_ERRANDS_H
#define PT_SIMD_GEMM_TILE_ERRANDS_H

#include "simd/gemm_blocked.h"
#include "simd/lane_rows.h"
#include "simd/loops.h"

#include <stdint.h>

enum {
    STEPS = PT_GEMM_STEPS, /* of k, unrolled: fewer instructions that are not FMAs or loads */
    AHEAD = 12,            /* rows of B that are asked for before they are packed or copied */
};

/* One row of B in registers, from the panel, or from where it lies if whole vectors may be read there. */
static ALWAYS_INLINE void load_full_row(size_t vectors, const float *row, vec b[]) {
    UNROLL for (size_t v = 0; v < vectors; v++) {
        b[v] = vec_load(row + v * LANES);
    }
}

/* And into the panel, for the tiles that follow. */
static ALWAYS_INLINE void store_panel_row(size_t vectors, const vec b[], float *panel) {
    UNROLL for (size_t v = 0; v < vectors; v++) {
        vec_store(panel + v * LANES, b[v]);
    }
}

/* A tile's C, on its way to the cache: its rows lie in different pages, where no hardware foresees
 * them. */
static ALWAYS_INLINE void prefetch_c(const float *row, size_t ldc, size_t rows, size_t vectors) {
    UNROLL for (size_t i = 0; i < rows; i++) {
        UNROLL for (size_t v = 0; v < vectors * LANES; v += PT_GEMM_LINE) {
            __builtin_prefetch(row + v, 1, 3);
        }
        row += ldc;
    }
}

/* The copying of the next panel, of which every tile of a run does a part: a row between a few steps of k
 * costs nothing, since the ports it needs are idle there. With each row two are asked for, into L2 (in
 * L1 rows a multiple of 4 KB apart would crowd one set): the same row of the panel after this one,
 * which has the time of a whole panel to come from memory, and, for the first panels, of which nobody
 * has asked, one a few rows on. */
typedef struct panel_copy {
    const float *from;
    float *to;
    size_t left; /* rows that the run has still to copy */
    size_t rows; /* of which this tile */
    size_t ldb;
    vec_mask last;
} panel_copy;

static ALWAYS_INLINE panel_copy start_copy(const pt_gemm_tile *run, size_t vectors) {
    if (run->next_rows == 0)
        return (panel_copy){0};
    return (panel_copy){.from = run->next_b,
                        .to = run->next_panel,
                        .left = run->next_rows,
                        .ldb = run->ldb,
                        .last = vec_first(run->next_columns - (vectors - 1) * LANES)};
}

static ALWAYS_INLINE void share_copy(panel_copy *copy, size_t share) {
    copy->rows = min_size(share, copy->left);
    copy->left -= copy->rows;
}

/* With a row of a panel of B come: a row that is needed soon, and the same row of the next panel. */
static ALWAYS_INLINE void prefetch_b(const float *b, size_t ldb, size_t vectors) {
    const float *soon = b + AHEAD * ldb, *later = b + vectors * LANES;
    UNROLL for (size_t v = 0; v < vectors * LANES; v += PT_GEMM_LINE) {
        __builtin_prefetch(soon + v, 0, 2);
        __builtin_prefetch(later + v, 0, 2);
    }
}

static ALWAYS_INLINE void copy_row(panel_copy *copy, size_t vectors) {
    vec row[PT_GEMM_MAX_VECTORS];
    prefetch_b(copy->from, copy->ldb, vectors);
    load_row(vectors, copy->last, copy->from, row);
    store_panel_row(vectors, row, copy->to);
    copy->from += copy->ldb;
    copy->to += vectors * LANES;
    copy->rows--;
}

/* Of a tile's own C a part, before each shard. */
static ALWAYS_INLINE void prefetch_part_of_c(const float *c, size_t ldc, size_t rows,
                                             size_t vectors, const pt_shards *shards, size_t s) {
    const uint32_t count = (uint32_t)shards->count; /* narrow: fast divisions */
    const size_t end = (uint32_t)(rows * (s + 1)) / count;
    for (size_t i = (uint32_t)(rows * s) / count; i < end; i++)
        prefetch_c(c + i * ldc, ldc, 1, vectors);
}

/* The errands of a tile of nn and nt, spread over its k. */
typedef struct tile_errands {
    panel_copy copy;
    const float *c; /* rows of C that the next tile starts from, or stores to */
    size_t c_rows;
    const float *b; /* rows of transposed B */
    size_t left;    /* errands, of this tile */
    /* Rounds of STEPS between two errands, and to the next one; SIZE_MAX: there is none. */
    size_t every, wait;
} tile_errands;

enum { ROWS_AN_ERRAND = 4 }; /* of transposed B */

/* Those of a tile with `rows` rows. */
static ALWAYS_INLINE void plan_errands(tile_errands *x, const pt_gemm_tile *run,
                                       const float *next_c, size_t rows) {
    share_copy(&x->copy, run->next_share);
    x->c = next_c;
    x->c_rows = next_c ? rows : 0;
    x->b = run->prefetch;
    const size_t b_errands = divide_up(run->prefetch_rows, ROWS_AN_ERRAND);
    x->left = max_size(max_size(x->copy.rows, x->c_rows), b_errands);
    x->every = x->left > 0 ? max_size(run->k / STEPS / x->left, 1) : 0;
    x->wait = x->left > 0 ? 1 : SIZE_MAX;
}

/* C comes with the last ones: in L1 the panel soon drives it out again. */
static ALWAYS_INLINE void run_errand(tile_errands *x, const pt_gemm_tile *run, size_t vectors) {
    if (x->copy.rows > 0)
        copy_row(&x->copy, vectors);
    if (x->c_rows >= x->left) {
        prefetch_c(x->c, run->ldc, 1, vectors);
        x->c += run->ldc;
        x->c_rows--;
    }
    if (run->prefetch_rows > 0) {
        UNROLL for (size_t i = 0; i < ROWS_AN_ERRAND; i++) {
            __builtin_prefetch(x->b, 0, 2);
            __builtin_prefetch(x->b + run->prefetch_second, 0, 2);
            x->b += run->ldb;
        }
    }
    x->left--;
    x->wait = x->left > 0 ? x->every : SIZE_MAX;
}

#endif
