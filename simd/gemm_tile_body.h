/* gemm_tile_body.h: the register tiles of the matrix products, written once for every vector width.
 *
 * Included by gemm_avx2.c and gemm_avx512.c after they have defined
 *   vec, vec_mask                      a vector of LANES floats, a mask of lanes
 *   vec_zero vec_broadcast vec_load vec_store vec_load_masked vec_store_masked vec_first
 *   vec_fma vec_add                    (vec_first(n): the mask of the first n lanes)
 *   TILE_LIST(X)                       X(rows, columns) for every tile shape
 *
 * A tile holds rows x vectors accumulators in registers and makes one step of k at a time: load one
 * row of B into `vectors` registers, and for each row broadcast one element of A and do `vectors`
 * FMAs. All accumulators are independent chains, and there are enough of them (latency 4 x 2 ports
 * = 8 or more) to keep both FMA ports busy; every load of B serves `rows` FMAs and every broadcast
 * `vectors`, so that the two load ports are not the limit. This is the micro-kernel of Goto and van
 * de Geijn ("Anatomy of high-performance matrix multiplication", TOMS 2008), with B in rows.
 *
 * `rows` and `vectors` are constants in each instance: the functions here are always inlined, their
 * inner loops fully unrolled, and the accumulators' array becomes registers.
 */
#include "simd/gemm_blocked.h"

#include <assert.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

enum {
    MAX_ACCUMULATORS = 28,
    STEPS = PT_GEMM_STEPS, /* of k, unrolled: fewer instructions that are not FMAs or loads */
};

/* Two lines of the next panel, on their way to L2. */
static ALWAYS_INLINE void prefetch_panel(const float *line, size_t second) {
    __builtin_prefetch(line, 0, 2);
    __builtin_prefetch(line + second, 0, 2);
}

/* One row of B in registers: from the panel, or from where it lies, and then into the panel for the
 * tiles that follow. */
static ALWAYS_INLINE void load_panel_row(size_t vectors, const float *panel, vec b[]) {
    UNROLL for (size_t v = 0; v < vectors; v++) {
        b[v] = vec_load(panel + v * LANES);
    }
}

static ALWAYS_INLINE void load_row(size_t vectors, vec_mask last, const float *row, vec b[]) {
    UNROLL for (size_t v = 0; v + 1 < vectors; v++) {
        b[v] = vec_load(row + v * LANES);
    }
    b[vectors - 1] = vec_load_masked(last, row + (vectors - 1) * LANES);
}

static ALWAYS_INLINE void store_panel_row(size_t vectors, const vec b[], float *panel) {
    UNROLL for (size_t v = 0; v < vectors; v++) {
        vec_store(panel + v * LANES, b[v]);
    }
}

static ALWAYS_INLINE void store_c(const pt_gemm_tile *tile, size_t rows, size_t vectors,
                                  vec_mask last, const vec acc[]) {
    float *row = tile->c;
    const size_t ldc =
        tile->ldc; /* the stores might change tile->ldc, for all the compiler knows */
    UNROLL for (size_t i = 0; i < rows; i++) {
        UNROLL for (size_t v = 0; v + 1 < vectors; v++) {
            vec_store(row + v * LANES, acc[i * vectors + v]);
        }
        vec_store_masked(last, row + (vectors - 1) * LANES, acc[i * vectors + vectors - 1]);
        row += ldc;
    }
}

/* acc[i][v] += a[i] * b[v], for one row's `x` broadcast. */
static ALWAYS_INLINE void multiply_row(size_t vectors, vec x, const vec b[], vec acc[]) {
    UNROLL for (size_t v = 0; v < vectors; v++) {
        acc[v] = vec_fma(x, b[v], acc[v]);
    }
}

/* --- rows form (nn, nt): one block of k, A read along its rows --- */

static ALWAYS_INLINE void tile_rows(const pt_gemm_tile *tile, size_t rows, size_t vectors) {
    const vec_mask last = vec_first(tile->columns - (vectors - 1) * LANES);
    vec acc[MAX_ACCUMULATORS];
    if (tile->resume) {
        UNROLL for (size_t i = 0; i < rows; i++) {
            load_row(vectors, last, tile->c + i * tile->ldc, acc + i * vectors);
        }
    } else if (tile->bias) {
        vec bias[PT_GEMM_MAX_VECTORS];
        load_row(vectors, last, tile->bias, bias);
        UNROLL for (size_t i = 0; i < rows; i++) UNROLL for (size_t v = 0; v < vectors; v++) {
            acc[i * vectors + v] = bias[v];
        }
    } else {
        UNROLL for (size_t x = 0; x < rows * vectors; x++) {
            acc[x] = vec_zero();
        }
    }

    const float *a[PT_GEMM_MAX_ROWS];
    UNROLL for (size_t i = 0; i < rows; i++) {
        a[i] = tile->a + i * tile->lda;
    }
    const size_t k = tile->k;
    const float *b = tile->b;
    float *panel = tile->panel;
    size_t l = 0;
    if (b) {
        for (; l < k; l++) {
            vec bv[PT_GEMM_MAX_VECTORS];
            load_row(vectors, last, b, bv);
            b += tile->ldb;
            if (panel) {
                store_panel_row(vectors, bv, panel);
                panel += vectors * LANES;
            }
            UNROLL for (size_t i = 0; i < rows; i++) {
                multiply_row(vectors, vec_broadcast(a[i] + l), bv, acc + i * vectors);
            }
        }
    } else {
        const float *prefetch = tile->prefetch;
        for (; l + STEPS <= k; l += STEPS) {
            prefetch_panel(prefetch, tile->prefetch_second);
            prefetch += tile->prefetch_stride;
            UNROLL for (size_t u = 0; u < STEPS; u++) {
                vec bv[PT_GEMM_MAX_VECTORS];
                load_panel_row(vectors, panel + u * vectors * LANES, bv);
                UNROLL for (size_t i = 0; i < rows; i++) {
                    multiply_row(vectors, vec_broadcast(a[i] + l + u), bv, acc + i * vectors);
                }
            }
            panel += STEPS * vectors * LANES;
        }
        for (; l < k; l++) {
            vec bv[PT_GEMM_MAX_VECTORS];
            load_panel_row(vectors, panel, bv);
            panel += vectors * LANES;
            UNROLL for (size_t i = 0; i < rows; i++) {
                multiply_row(vectors, vec_broadcast(a[i] + l), bv, acc + i * vectors);
            }
        }
    }

    if (tile->finish) {
        UNROLL for (size_t x = 0; x < rows * vectors; x++) {
            acc[x] = vec_add(acc[x], vec_zero());
        }
    }
    store_c(tile, rows, vectors, last, acc);
}

/* --- columns form (tn): all shards, A read along its columns' neighbours --- */

/* The shard tree in registers. A finished shard's tile is merged with those waiting on a small
 * stack (in L1: two or three tiles in use) and only the root goes to C, so a gradient is written
 * once.
 *
 * Of a pair of shards that are merged with each other, only the lower gets its +0.0f: with x
 * canonical, x + y and x + (y + 0) are the same (they could differ only for x = y = -0). */
static ALWAYS_INLINE void tile_columns(const pt_gemm_tile *tile, size_t rows, size_t vectors) {
    const vec_mask last = vec_first(tile->columns - (vectors - 1) * LANES);
    vec stack[PT_MAX_SHARD_DEPTH][MAX_ACCUMULATORS];
    size_t depth = 0;
    vec acc[MAX_ACCUMULATORS];

    const float *a = tile->a, *b = tile->b;
    float *panel = tile->panel;
    const float *prefetch = tile->prefetch;
    const size_t lda = tile->lda;
    const size_t shards = tile->shards->count;
    bool lower_is_shard = false;
    for (size_t s = 0;; s++) {
        size_t k = tile->shards->row[s + 1] - tile->shards->row[s];
        size_t merges = tile->shards->merges[s];
        UNROLL for (size_t x = 0; x < rows * vectors; x++) {
            acc[x] = vec_zero();
        }
        if (b) {
            for (; k > 0; k--) {
                vec bv[PT_GEMM_MAX_VECTORS];
                load_row(vectors, last, b, bv);
                b += tile->ldb;
                if (panel) {
                    store_panel_row(vectors, bv, panel);
                    panel += vectors * LANES;
                }
                UNROLL for (size_t i = 0; i < rows; i++) {
                    multiply_row(vectors, vec_broadcast(a + i), bv, acc + i * vectors);
                }
                a += lda;
            }
        } else {
            for (; k >= STEPS; k -= STEPS) {
                prefetch_panel(prefetch, tile->prefetch_second);
                prefetch += tile->prefetch_stride;
                UNROLL for (size_t u = 0; u < STEPS; u++) {
                    vec bv[PT_GEMM_MAX_VECTORS];
                    load_panel_row(vectors, panel + u * vectors * LANES, bv);
                    __builtin_prefetch(a + 2 * rows - 1); /* for the next tile */
                    UNROLL for (size_t i = 0; i < rows; i++) {
                        multiply_row(vectors, vec_broadcast(a + i), bv, acc + i * vectors);
                    }
                    a += lda;
                }
                panel += STEPS * vectors * LANES;
            }
            for (; k > 0; k--) {
                vec bv[PT_GEMM_MAX_VECTORS];
                load_panel_row(vectors, panel, bv);
                panel += vectors * LANES;
                UNROLL for (size_t i = 0; i < rows; i++) {
                    multiply_row(vectors, vec_broadcast(a + i), bv, acc + i * vectors);
                }
                a += lda;
            }
        }
        if (merges == 0 || !lower_is_shard) {
            UNROLL for (size_t x = 0; x < rows * vectors; x++) {
                acc[x] = vec_add(acc[x], vec_zero());
            }
        }
        lower_is_shard = merges == 0;
        assert(depth >= merges);
        for (; merges > 0; merges--) {
            depth--;
            UNROLL for (size_t x = 0; x < rows * vectors; x++) acc[x] =
                vec_add(stack[depth][x], acc[x]);
        }
        if (s + 1 == shards)
            break;
        assert(depth + 1 < PT_MAX_SHARD_DEPTH);
        UNROLL for (size_t x = 0; x < rows * vectors; x++) {
            stack[depth][x] = acc[x];
        }
        depth++;
    }
    assert(depth == 0);
    if (tile->rate) {
        const vec rate = vec_broadcast(tile->rate);
        UNROLL for (size_t i = 0; i < rows; i++) {
            vec c[PT_GEMM_MAX_VECTORS];
            load_row(vectors, last, tile->c + i * tile->ldc, c);
            UNROLL for (size_t v = 0; v < vectors; v++) {
                acc[i * vectors + v] = vec_fma(rate, acc[i * vectors + v], c[v]);
            }
        }
    }
    store_c(tile, rows, vectors, last, acc);
}

/* --- column sums --- */

enum { SUM_VECTORS = 8 }; /* independent chains, to hide the latency of the additions */

static ALWAYS_INLINE void sum_columns(size_t vectors, size_t columns, const pt_shards *shards,
                                      const float *x, size_t ldx, const float *rate, float *out) {
    const vec_mask last = vec_first(columns - (vectors - 1) * LANES);
    vec stack[PT_MAX_SHARD_DEPTH][SUM_VECTORS];
    size_t depth = 0;
    vec acc[SUM_VECTORS];
    for (size_t s = 0;; s++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            acc[v] = vec_zero();
        }
        for (size_t row = shards->row[s]; row < shards->row[s + 1]; row++) {
            vec xv[SUM_VECTORS];
            load_row(vectors, last, x + row * ldx, xv);
            UNROLL for (size_t v = 0; v < vectors; v++) {
                acc[v] = vec_add(acc[v], xv[v]);
            }
        }
        assert(depth >= shards->merges[s]);
        for (size_t t = 0; t < shards->merges[s]; t++) {
            depth--;
            UNROLL for (size_t v = 0; v < vectors; v++) {
                acc[v] = vec_add(stack[depth][v], acc[v]);
            }
        }
        if (s + 1 == shards->count)
            break;
        assert(depth + 1 < PT_MAX_SHARD_DEPTH);
        UNROLL for (size_t v = 0; v < vectors; v++) {
            stack[depth][v] = acc[v];
        }
        depth++;
    }
    assert(depth == 0);
    if (rate) {
        vec old[SUM_VECTORS];
        load_row(vectors, last, out, old);
        UNROLL for (size_t v = 0; v < vectors; v++) {
            acc[v] = vec_fma(vec_broadcast(rate), acc[v], old[v]);
        }
    }
    UNROLL for (size_t v = 0; v + 1 < vectors; v++) {
        vec_store(out + v * LANES, acc[v]);
    }
    vec_store_masked(last, out + (vectors - 1) * LANES, acc[vectors - 1]);
}

static void sum_all_columns(size_t n, const pt_shards *shards, const float *x, size_t ldx,
                            const float *rate, float *out) {
    while (n > 0) {
        size_t columns = n < SUM_VECTORS * LANES ? n : SUM_VECTORS * LANES;
        if (columns > 4 * LANES && columns <= 7 * LANES)
            columns = 4 * LANES; /* then a narrower rest */
        switch ((columns + LANES - 1) / LANES) {
        case 1:
            sum_columns(1, columns, shards, x, ldx, rate, out);
            break;
        case 2:
            sum_columns(2, columns, shards, x, ldx, rate, out);
            break;
        case 3:
            sum_columns(3, columns, shards, x, ldx, rate, out);
            break;
        case 4:
            sum_columns(4, columns, shards, x, ldx, rate, out);
            break;
        default:
            sum_columns(8, columns, shards, x, ldx, rate, out);
            break;
        }
        n -= columns;
        x += columns;
        out += columns;
    }
}
