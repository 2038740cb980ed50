/* gemm_blocked.h: the seam between the blocked matrix product (gemm_blocked.c, the same for every
 * instruction set) and the register tiles (gemm_tile_body.h, compiled once per instruction set).
 *
 * A tile is a small block of C that lives in registers while it is computed: `rows` x
 * `vectors * lanes` accumulators. The tile functions know registers, masks and the numeric
 * contract; the blocked loops know caches. Words used throughout:
 *
 *     panel    all of B's rows (or a block of them) for the columns of one tile, packed so that a
 *              row of it is contiguous: [k][vectors * lanes], zeros beyond the last column
 *     block    a range of k, or of rows of A, chosen to fit a cache
 *     run      tiles of the same shape, one below the other or side by side, that one call
 *              computes
 */
#ifndef PT_SIMD_GEMM_BLOCKED_H
#define PT_SIMD_GEMM_BLOCKED_H

#include "simd/gemm_skip.h"
#include "simd/kernels.h"

#include <stdbool.h>

enum {
    PT_GEMM_MAX_VECTORS = 4, /* widest tile, in vectors */
    PT_GEMM_MAX_ROWS = 20,   /* tallest tile */
    PT_GEMM_LINE = 16,       /* floats in a cache line */
    PT_GEMM_NARROW = 4,  /* the most columns beyond full vectors that are computed across rows */
    PT_GEMM_STEPS = 4,   /* steps of k in the unrolled loop of a tile */
    PT_GEMM_SHALLOW = 4, /* the most steps of k that are computed without tiles */
};

/* A run: what is said of a tile is of its first; the others lie below or beside it. */
typedef struct pt_gemm_tile {
    size_t tiles;
    size_t a_step, panel_step, c_step; /* floats from one tile's to the next one's */
    size_t columns; /* valid columns: (vectors - 1) * lanes + 1 .. vectors * lanes */
    const float *a; /* rows form: element (i, l) at a[i * lda + l]; columns form: a[l * lda + i] */
    size_t lda;
    /* NULL, or A in the order of the tiles: element (i, l) at a_packed[l * rows + i]. Used where B is
     * packed. */
    const float *a_packed;
    float *c;
    size_t ldc;

    /* B's rows where they lie, those before the last in whole vectors; or NULL: read the packed panel */
    const float *b;
    size_t ldb;
    float *panel; /* written while b is read if not NULL; read if b is NULL */

    /* While they compute, tiles that read a packed panel copy rows of the next panel, of as many
     * vectors, from next_b (with stride ldb) to next_panel: one every PT_GEMM_STEPS of k at most. */
    const float *next_b;
    float *next_panel;
    size_t next_rows, next_share; /* of the whole run; of a tile, at most */
    size_t next_columns;

    /* rows form only: the C of the tile after this run. NULL: prefetch no tile's C. */
    const float *next_c;

    /* rows form only: of about so many rows of the next panel of transposed B, two lines are
     * prefetched: at `prefetch`, with stride ldb, and prefetch_second floats after that. */
    const float *prefetch;
    size_t prefetch_rows, prefetch_second;

    /* rows form only: this block of k */
    size_t k;
    const float *bias; /* where the chain starts unless resume is set; NULL: +0 */
    bool resume;       /* go on from C, as an earlier block of k left it */
    bool ends;         /* the chain does, with this block: add +0.0f, and finish */
    pt_gemm_finish finish;

    /* columns form only: all of k, in shards; a and b point at the first shard's first row */
    const pt_shards *shards;
    const float *rate; /* NULL: C = sum; else C = fma(*rate, sum, C) */
} pt_gemm_tile;

/* A product with 1 .. PT_GEMM_NARROW columns; element (l, j) of B is b[l * b_step + j * b_next]. */
typedef struct pt_gemm_narrow {
    size_t m, k;
    const float *a;
    size_t lda;
    const float *b;
    size_t b_step, b_next;
    const float *bias;
    pt_gemm_finish finish;
    float *c;
    size_t ldc;
} pt_gemm_narrow;

/* A product of 1 .. PT_GEMM_SHALLOW steps of k, with n >= lanes. */
typedef struct pt_gemm_shallow {
    size_t m, n;
    const float *a;
    size_t lda;
    const float *b;
    size_t ldb;
    const float *bias;
    bool relu;
    float *c;
    size_t ldc;
} pt_gemm_shallow;

typedef void (*pt_gemm_tile_function)(const pt_gemm_tile *run);

/* The tiles of one instruction set, and the sizes that suit it. */
typedef struct pt_gemm_tiles {
    size_t lanes; /* floats in a vector */
                  /* tallest tile of so many vectors, in both forms; at most PT_GEMM_MAX_ROWS */
    size_t max_rows[PT_GEMM_MAX_VECTORS + 1];
    size_t usual_vectors;   /* the main tile's */
    size_t swept_vectors;   /* wide tn's, whose B comes from L2 */
    size_t panel_floats;    /* a packed panel's size, for L1 */
    size_t block_floats;    /* a block of A, to stay in L2 */
    size_t in_place_floats; /* nn, tn: a B of no more is read where it lies, from L1 */
    /* A is packed where more panels than this use it; while it is not and its rows lie 4 KB apart, a
     * tile has at most so many of them. */
    size_t pack_panels, crowded_rows;
    /* nn, nt: at most so many columns beyond full vectors are computed across rows, from so many
     * columns on. */
    size_t narrow_rest, narrow_from;
    /* tn: no more columns than this are computed across rows, if C has so many rows; PT_GEMM_NARROW
     * to lanes */
    size_t turned_columns, turned_rows;
    /* [vectors][rows] */
    pt_gemm_tile_function rows[PT_GEMM_MAX_VECTORS + 1][PT_GEMM_MAX_ROWS + 1];
    pt_gemm_tile_function columns[PT_GEMM_MAX_VECTORS + 1][PT_GEMM_MAX_ROWS + 1];
    void (*narrow_rows[PT_GEMM_NARROW + 1])(const pt_gemm_narrow *product); /* [columns] */
    void (*shallow[PT_GEMM_SHALLOW + 1])(const pt_gemm_shallow *product);   /* [k] */
    /* panel[l * width + j] = b[j * ldb + l] for j < n, l < k; zeros for n <= j < width, and, if width
     * is no multiple of lanes, which wants n <= lanes, in less than a line behind the panel. */
    void (*pack_transposed)(size_t n, size_t k, const float *b, size_t ldb, float *panel,
                            size_t width);
    /* panel[l * width + j] = b[l * ldb + j] for j < n, then zeros; width: n rounded up to lanes */
    void (*pack_rows)(size_t k, size_t n, const float *b, size_t ldb, float *panel, size_t width);
    /* out[l * rows + i] = a[l * lda + i] for i < rows, l < k */
    void (*pack_columns)(size_t rows, size_t k, const float *a, size_t lda, float *out);
    /* Row x of C = fma(*rate, s, row x), or s if rate is NULL, for x < m: n <= lanes columns, element j
     * of s at sums[j * ld + x]; ld is m at least, rounded up to lanes. */
    void (*apply_turned)(size_t n, size_t m, const float *sums, size_t ld, const float *rate,
                         float *c, size_t ldc);
    const pt_skip *skip; /* where many elements of A are zero */
} pt_gemm_tiles;

/* The table's functions, given the tiles (see kernels.h). nn and nt are one loop nest: `transposed`
 * says that B is [n x k]. */
size_t pt_gemm_blocked_scratch(const pt_gemm_tiles *tiles, pt_gemm_form form, size_t m, size_t n,
                               size_t k);
void pt_gemm_blocked_rows(const pt_gemm_tiles *tiles, bool transposed, size_t m, size_t n, size_t k,
                          const float *a, size_t lda, const float *b, size_t ldb, const float *bias,
                          pt_gemm_finish finish, float *c, size_t ldc, void *scratch);
void pt_gemm_blocked_columns(const pt_gemm_tiles *tiles, size_t m, size_t n,
                             const pt_shards *shards, const float *a, size_t lda, const float *b,
                             size_t ldb, const float *rate, float *c, size_t ldc, void *scratch);

/* gemm_rows_wide.c: the transposed product, where it pays. */
bool pt_gemm_is_wide_rows(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k);
size_t pt_gemm_wide_rows_scratch(const pt_gemm_tiles *tiles, size_t n, size_t k);
void pt_gemm_wide_rows(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k, const float *a,
                       size_t lda, const float *b, size_t ldb, pt_gemm_finish finish, float *c,
                       size_t ldc, float *scratch);

/* gemm_columns_wide.c: the product without its leading rows and narrow columns, where it pays. */
bool pt_gemm_is_wide_columns(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k);
size_t pt_gemm_wide_columns_scratch(const pt_gemm_tiles *tiles, size_t m, size_t n, size_t k);
void pt_gemm_wide_columns(const pt_gemm_tiles *tiles, size_t m, size_t n, const pt_shards *shards,
                          const float *a, size_t lda, const float *b, size_t ldb, const float *rate,
                          float *c, size_t ldc, float *scratch);

#endif
