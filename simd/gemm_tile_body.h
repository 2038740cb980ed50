/* gemm_tile_body.h: the register tiles of the matrix products, written once for every vector width.
 *
 * Included by gemm_avx2.c and gemm_avx512.c after lanes_avx2.h or lanes_avx512.h, and after they have
 * defined TILE_LIST(X): X(rows, columns) for every tile shape.
 *
 * A tile holds rows x vectors accumulators in registers and makes one step of k at a time: load one
 * row of B into `vectors` registers, and for each row broadcast one element of A and do `vectors`
 * FMAs. All accumulators are independent chains, and there are enough of them (latency 4 x 2 ports
 * = 8 or more) to keep both FMA ports busy; every load of B serves `rows` FMAs and every broadcast
 * `vectors`, so that the two load ports are not the limit. This is the micro-kernel of Goto and van
 * de Geijn ("Anatomy of high-performance matrix multiplication", TOMS 2008), with B in rows.
 *
 * `rows` and `vectors` are constants in each instance: the functions here are always inlined, their
 * inner loops fully unrolled, and the accumulators' array becomes registers (multiply_row in
 * lane_rows.h keeps them there).
 */
#include "simd/gemm_blocked.h"
#include "simd/gemm_tile_errands.h"
#include "simd/lane_rows.h"

#include <assert.h>

enum { MAX_ACCUMULATORS = 28 };

static ALWAYS_INLINE void store_c(float *c, size_t ldc, size_t rows, size_t vectors, vec_mask last,
                                  const vec acc[]) {
    UNROLL for (size_t i = 0; i < rows; i++) {
        store_row(vectors, last, acc + i * vectors, c);
        c += ldc;
    }
}

/* --- rows form (nn, nt): one block of k, A read along its rows, or packed --- */

/* Rows are addressed from every third: (base), (base + stride), (base + 2 stride) are addressing
 * modes. Packed, the rows' elements of a step lie side by side from base[0] on. */
typedef struct a_rows {
    const float *base[(PT_GEMM_MAX_ROWS + 2) / 3];
    size_t stride;
} a_rows;

static ALWAYS_INLINE a_rows start_rows(const float *a, size_t stride, size_t rows) {
    a_rows x = {.stride = stride};
    UNROLL for (size_t i = 0; i < (rows + 2) / 3; i++) {
        x.base[i] = a + 3 * i * stride;
    }
    return x;
}

/* Hides where a pointer came from: otherwise compilers make one pointer of every row and step. */
#define OPAQUE(pointer) __asm__("" : "+r"(pointer))

static ALWAYS_INLINE void advance_rows(a_rows *a, size_t rows, bool packed, size_t steps) {
    if (packed) {
        a->base[0] += steps * rows;
        return;
    }
    UNROLL for (size_t i = 0; i < (rows + 2) / 3; i++) {
        a->base[i] += steps;
        OPAQUE(a->base[i]);
    }
}

static ALWAYS_INLINE void step_rows(const a_rows *a, size_t rows, bool packed, size_t vectors,
                                    size_t u, const vec b[], vec acc[]) {
    UNROLL for (size_t i = 0; i < rows; i++) {
        const float *x =
            packed ? a->base[0] + u * rows + i : a->base[i / 3] + i % 3 * a->stride + u;
        multiply_row(vectors, x, b, acc + i * vectors);
    }
}

static ALWAYS_INLINE void steps_of_panel(a_rows *a, size_t rows, bool packed, size_t vectors,
                                         size_t steps, const float **panel, vec acc[]) {
    UNROLL for (size_t u = 0; u < steps; u++) {
        vec bv[PT_GEMM_MAX_VECTORS];
        load_full_row(vectors, *panel + u * vectors * LANES, bv);
        step_rows(a, rows, packed, vectors, u, bv, acc);
    }
    *panel += steps * vectors * LANES;
    advance_rows(a, rows, packed, steps);
}

/* Where B lies in rows of its own, a full last vector reads into the next row: what it finds there comes
 * into no element of C, and a masked load costs an FMA's slot besides. How many rows, the last ones of
 * B, keep the mask, since this would read beyond B's end: one; or all, if rows are that short (a number
 * to which STEPS can be added). */
static ALWAYS_INLINE size_t masked_rows(const pt_gemm_tile *run, size_t vectors) {
    const size_t beyond = vectors * LANES - run->columns;
    return beyond == 0 ? 0 : beyond <= run->ldb ? 1 : SIZE_MAX - STEPS;
}

/* B where it lies, and copied to the panel on the way if `pack`. */
static ALWAYS_INLINE void unpacked_rows(const pt_gemm_tile *run, a_rows a, size_t rows,
                                        size_t vectors, vec_mask last, bool pack, vec acc[]) {
    const float *b = run->b;
    const size_t ldb = run->ldb;
    float *panel = run->panel;
    size_t k = run->k;
    const size_t masked = masked_rows(run, vectors);
    for (; !pack && k >= STEPS + masked; k -= STEPS) {
        UNROLL for (size_t u = 0; u < STEPS; u++) {
            vec bv[PT_GEMM_MAX_VECTORS];
            load_full_row(vectors, b, bv);
            b += ldb;
            step_rows(&a, rows, false, vectors, u, bv, acc);
        }
        advance_rows(&a, rows, false, STEPS);
    }
    for (; k > 0; k--) {
        vec bv[PT_GEMM_MAX_VECTORS];
        if (pack)
            prefetch_b(b, ldb, vectors);
        load_row(vectors, last, b, bv);
        b += ldb;
        if (pack) {
            store_panel_row(vectors, bv, panel);
            panel += vectors * LANES;
        }
        step_rows(&a, rows, false, vectors, 0, bv, acc);
        advance_rows(&a, rows, false, 1);
    }
}

/* B from the panel; A too is packed, or not. One loop, errands and all: of two or three compilers make
 * as many ways to number the accumulators, and moves between them. */
static ALWAYS_INLINE void panel_rows(const pt_gemm_tile *run, const float *panel,
                                     tile_errands *errands, a_rows a, size_t rows, bool packed,
                                     size_t vectors, vec acc[]) {
    size_t k = run->k;
    for (; k >= STEPS; k -= STEPS) {
        if (--errands->wait == 0)
            run_errand(errands, run, vectors);
        steps_of_panel(&a, rows, packed, vectors, STEPS, &panel, acc);
    }
    for (; k > 0; k--)
        steps_of_panel(&a, rows, packed, vectors, 1, &panel, acc);
}

static ALWAYS_INLINE void start_chains(const pt_gemm_tile *run, const float *c, size_t rows,
                                       size_t vectors, vec_mask last, vec acc[]) {
    if (run->resume) {
        UNROLL for (size_t i = 0; i < rows; i++) {
            load_row(vectors, last, c + i * run->ldc, acc + i * vectors);
        }
    } else if (run->bias) {
        vec bias[PT_GEMM_MAX_VECTORS];
        load_row(vectors, last, run->bias, bias);
        UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t v = 0; v < vectors; v++) {
            acc[i * vectors + v] = bias[v];
        }
    } else {
        UNROLL for (size_t x = 0; x < rows * vectors; x++) {
            acc[x] = vec_zero();
        }
    }
}

static ALWAYS_INLINE void tile_rows(const pt_gemm_tile *run, size_t rows, size_t vectors) {
    const vec_mask last = vec_first(run->columns - (vectors - 1) * LANES);
    const bool packed = !run->b && run->a_packed;
    const float *a = packed ? run->a_packed : run->a, *panel = run->panel;
    float *c = run->c;
    tile_errands errands = {.copy = start_copy(run, vectors), .wait = SIZE_MAX};
    /* C all at once if there are no errands, or no steps to spread them over. */
    const bool c_at_once = run->b || run->k < 2 * rows * STEPS;
    const bool busy = run->next_rows > 0 || run->prefetch_rows > 0 || !c_at_once;
    for (size_t left = run->tiles;;) {
        vec acc[MAX_ACCUMULATORS];
        start_chains(run, c, rows, vectors, last, acc);
        const float *next_c = run->next_c && left > 1 ? c + run->c_step : run->next_c;
        if (c_at_once && next_c)
            prefetch_c(next_c, run->ldc, rows, vectors);
        if (busy)
            plan_errands(&errands, run, c_at_once ? NULL : next_c, rows);
        if (packed)
            panel_rows(run, panel, &errands, start_rows(a, 0, 1), rows, true, vectors, acc);
        else if (!run->b)
            panel_rows(run, panel, &errands, start_rows(a, run->lda, rows), rows, false, vectors,
                       acc);
        else if (panel)
            unpacked_rows(run, start_rows(a, run->lda, rows), rows, vectors, last, true, acc);
        else
            unpacked_rows(run, start_rows(a, run->lda, rows), rows, vectors, last, false, acc);
        if (run->ends)
            finish_rows(rows, vectors, last, run->finish, c, run->ldc, acc);
        store_c(c, run->ldc, rows, vectors, last, acc);
        if (--left == 0)
            return;
        a += run->a_step;
        if (panel)
            panel += run->panel_step;
        c += run->c_step;
    }
}

/* --- columns form (tn): all shards, A read along its columns' neighbours --- */

typedef struct columns_walk {
    const float *a, *b; /* the next step's rows; b: NULL if packed */
    size_t lda, ldb, a_ahead;
    float *panel; /* of the next step; NULL if not packing */
    panel_copy copy;
} columns_walk;

static ALWAYS_INLINE void step_columns(columns_walk *walk, size_t rows, size_t vectors,
                                       const vec b[], vec acc[]) {
    UNROLL for (size_t i = 0; i < rows; i++) {
        multiply_row(vectors, walk->a + i, b, acc + i * vectors);
    }
    walk->a += walk->lda;
}

static ALWAYS_INLINE void packed_columns(columns_walk *walk, size_t rows, size_t vectors,
                                         size_t steps, vec acc[]) {
    UNROLL for (size_t u = 0; u < steps; u++) {
        vec bv[PT_GEMM_MAX_VECTORS];
        load_full_row(vectors, walk->panel + u * vectors * LANES, bv);
        __builtin_prefetch(walk->a + walk->a_ahead);
        step_columns(walk, rows, vectors, bv, acc);
    }
    walk->panel += steps * vectors * LANES;
}

/* One shard of k rows, from +0; of the last `masked` ones, B is loaded under a mask. */
static ALWAYS_INLINE void shard_columns(columns_walk *walk, size_t rows, size_t vectors,
                                        vec_mask last, size_t k, size_t masked, vec acc[]) {
    UNROLL for (size_t x = 0; x < rows * vectors; x++) {
        acc[x] = vec_zero();
    }
    if (walk->b) {
        for (; !walk->panel && k >= STEPS + masked; k -= STEPS) {
            UNROLL for (size_t u = 0; u < STEPS; u++) {
                vec bv[PT_GEMM_MAX_VECTORS];
                load_full_row(vectors, walk->b, bv);
                walk->b += walk->ldb;
                step_columns(walk, rows, vectors, bv, acc);
            }
        }
        for (; k > 0; k--) {
            vec bv[PT_GEMM_MAX_VECTORS];
            load_row(vectors, last, walk->b, bv);
            walk->b += walk->ldb;
            if (walk->panel) {
                store_panel_row(vectors, bv, walk->panel);
                walk->panel += vectors * LANES;
            }
            step_columns(walk, rows, vectors, bv, acc);
        }
        return;
    }
    for (; k >= STEPS && walk->copy.rows > 0; k -= STEPS) {
        copy_row(&walk->copy, vectors);
        packed_columns(walk, rows, vectors, STEPS, acc);
    }
    for (; k >= STEPS; k -= STEPS)
        packed_columns(walk, rows, vectors, STEPS, acc);
    for (; k > 0; k--)
        packed_columns(walk, rows, vectors, 1, acc);
}

/* C = sum, or C += rate * sum. */
static ALWAYS_INLINE void finish_columns(const float *rate, float *c, size_t ldc, size_t rows,
                                         size_t vectors, vec_mask last, vec acc[]) {
    if (rate) {
        const vec factor = vec_broadcast(rate);
        UNROLL for (size_t i = 0; i < rows; i++) {
            vec old[PT_GEMM_MAX_VECTORS];
            load_row(vectors, last, c + i * ldc, old);
            UNROLL for (size_t v = 0; v < vectors; v++) {
                acc[i * vectors + v] = vec_fma(factor, acc[i * vectors + v], old[v]);
            }
        }
    }
    store_c(c, ldc, rows, vectors, last, acc);
}

/* The shard tree in registers. A finished shard's tile is merged with those waiting on a small
 * stack (in L1: two or three tiles in use) and only the root goes to C, so a gradient is written
 * once.
 *
 * Of a pair of shards that are merged with each other, only the lower gets its +0.0f: with x
 * canonical, x + y and x + (y + 0) are the same (they could differ only for x = y = -0).
 *
 * B's rows before `full_rows` may be read in full vectors. */
static ALWAYS_INLINE void all_shards(const pt_shards *shards, columns_walk *walk, size_t rows,
                                     size_t vectors, vec_mask last, size_t full_rows,
                                     const float *c, size_t ldc, vec acc[]) {
    vec stack[PT_MAX_SHARD_DEPTH][MAX_ACCUMULATORS];
    size_t depth = 0;
    bool lower_is_shard = false;
    for (size_t s = 0;; s++) {
        size_t merges = shards->merges[s];
        prefetch_part_of_c(c, ldc, rows, vectors, shards, s);
        const size_t begin = shards->row[s], end = shards->row[s + 1];
        shard_columns(walk, rows, vectors, last, end - begin,
                      end > full_rows ? end - max_size(begin, full_rows) : 0, acc);
        if (merges == 0 || !lower_is_shard)
            add_zero(rows * vectors, acc);
        lower_is_shard = merges == 0;
        assert(depth >= merges);
        for (; merges > 0; merges--) {
            depth--;
            add_sums(rows * vectors, stack[depth], acc);
        }
        if (s + 1 == shards->count)
            break;
        assert(depth + 1 < PT_MAX_SHARD_DEPTH);
        UNROLL for (size_t x = 0; x < rows * vectors; x++) {
            stack[depth][x] = acc[x];
        }
        depth++;
    }
    assert(depth == 0);
}

static ALWAYS_INLINE void tile_columns(const pt_gemm_tile *run, size_t rows, size_t vectors) {
    assert(!run->b || !run->a_packed);
    const vec_mask last = vec_first(run->columns - (vectors - 1) * LANES);
    const size_t all = run->shards->row[run->shards->count];
    const size_t full_rows = all - min_size(all, masked_rows(run, vectors));
    const float *a = run->a_packed ? run->a_packed : run->a;
    float *panel = run->panel, *c = run->c;
    columns_walk walk = {.lda = run->a_packed ? rows : run->lda,
                         .ldb = run->ldb,
                         .a_ahead = run->a_packed ? 0 : 2 * rows - 1,
                         .copy = start_copy(run, vectors)};
    for (size_t left = run->tiles;;) {
        vec acc[MAX_ACCUMULATORS];
        walk.a = a;
        walk.b = run->b;
        walk.panel = panel;
        share_copy(&walk.copy, run->next_share);
        all_shards(run->shards, &walk, rows, vectors, last, full_rows, c, run->ldc, acc);
        finish_columns(run->rate, c, run->ldc, rows, vectors, last, acc);
        if (--left == 0)
            return;
        a += run->a_step;
        if (panel)
            panel += run->panel_step;
        c += run->c_step;
    }
}

/* The rows of a columns-form tile of A side by side: out[l][rows] = a[l][rows]. */
static void pack_columns(size_t rows, size_t k, const float *a, size_t lda, float *out) {
    const vec_mask first = vec_first(rows < LANES ? rows : LANES);
    const vec_mask second = vec_first(rows < LANES ? 0 : rows - LANES);
    for (; k > 0; k--) {
        vec_store_masked(first, out, vec_load_masked(first, a));
        if (rows > LANES)
            vec_store_masked(second, out + LANES, vec_load_masked(second, a + LANES));
        a += lda;
        out += rows;
    }
}
