/* lane_rows.h: loading, storing and packing rows of vectors, for all matrix products; after
 * lanes_avx2.h or lanes_avx512.h. */
#ifndef PT_SIMD_LANE_ROWS_H
#define PT_SIMD_LANE_ROWS_H

#include "simd/gemm_finish.h"
#include "simd/loops.h"

static ALWAYS_INLINE void load_row(size_t vectors, vec_mask last, const float *row, vec x[]) {
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        x[v] = vec_load(row + v * LANES);
    x[vectors - 1] = vec_load_masked(last, row + (vectors - 1) * LANES);
}

static ALWAYS_INLINE void store_row(size_t vectors, vec_mask last, const vec x[], float *row) {
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        vec_store(row + v * LANES, x[v]);
    vec_store_masked(last, row + (vectors - 1) * LANES, x[vectors - 1]);
}

/* x[0 .. count-1] += +0, which turns -0 into +0. */
static ALWAYS_INLINE void add_zero(size_t count, vec acc[]) {
    UNROLL
    for (size_t x = 0; x < count; x++)
        acc[x] = vec_add(acc[x], vec_zero());
}

/* The end of the chains of `rows` rows of C, which go to c: +0.0f, then what is asked for besides. */
static ALWAYS_INLINE void finish_rows(size_t rows, size_t vectors, vec_mask last,
                                      pt_gemm_finish finish, const float *c, size_t ldc,
                                      vec acc[]) {
    add_zero(rows * vectors, acc);
    if (finish.relu) {
        UNROLL
        for (size_t x = 0; x < rows * vectors; x++)
            acc[x] = vec_relu(acc[x]);
    }
    if (finish.gate) {
        const float *gate = pt_gate_of(c, finish.gate);
        UNROLL
        for (size_t i = 0; i < rows; i++, gate += ldc) {
            UNROLL
            for (size_t v = 0; v + 1 < vectors; v++)
                acc[i * vectors + v] = vec_gate(vec_load(gate + v * LANES), acc[i * vectors + v]);
            vec *const end = &acc[(i + 1) * vectors - 1];
            *end = vec_gate(vec_load_masked(last, gate + (vectors - 1) * LANES), *end);
        }
    }
}

/* acc = lower + acc */
static ALWAYS_INLINE void add_sums(size_t vectors, const vec lower[], vec acc[]) {
    UNROLL
    for (size_t v = 0; v < vectors; v++)
        acc[v] = vec_add(lower[v], acc[v]);
}

/* acc += x times a row of B. */
static ALWAYS_INLINE void add_product(vec x, const float *b, size_t vectors, vec acc[]) {
    UNROLL
    for (size_t v = 0; v < vectors; v++)
        acc[v] = vec_fma(x, vec_load(b + v * LANES), acc[v]);
}

/* A row of C = sum, or C += rate * sum. */
static ALWAYS_INLINE void apply_row(const float *rate, size_t vectors, vec_mask last,
                                    const vec sum[], float *c) {
    if (!rate) {
        store_row(vectors, last, sum, c);
        return;
    }
    const vec factor = vec_set(*rate);
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        vec_store(c + v * LANES, vec_fma(factor, sum[v], vec_load(c + v * LANES)));
    float *const end = c + (vectors - 1) * LANES;
    vec_store_masked(last, end, vec_fma(factor, sum[vectors - 1], vec_load_masked(last, end)));
}

/* acc[v] += *x * b[v]. So that accumulators stay in the same registers from step to step, the FMAs are
 * of the one form that adds into its first operand; left to choose, gcc 12 takes forms that overwrite
 * a factor, and then copies and spills. */
static ALWAYS_INLINE void multiply_row(size_t vectors, const float *x, const vec b[], vec acc[]) {
    vec xv;
    if (vectors == 1)
        vec_fma_broadcast(&acc[0], x, b[0]);
    else if (vectors == 2)
        __asm__("vbroadcastss %[x], %[xv]\n\t"
                "vfmadd231ps %[b0], %[xv], %[c0]\n\t"
                "vfmadd231ps %[b1], %[xv], %[c1]"
                : [c0] "+v"(acc[0]), [c1] "+v"(acc[1]), [xv] "=&v"(xv)
                : [x] "m"(*x), [b0] "v"(b[0]), [b1] "v"(b[1]));
    else if (vectors == 3)
        __asm__("vbroadcastss %[x], %[xv]\n\t"
                "vfmadd231ps %[b0], %[xv], %[c0]\n\t"
                "vfmadd231ps %[b1], %[xv], %[c1]\n\t"
                "vfmadd231ps %[b2], %[xv], %[c2]"
                : [c0] "+v"(acc[0]), [c1] "+v"(acc[1]), [c2] "+v"(acc[2]), [xv] "=&v"(xv)
                : [x] "m"(*x), [b0] "v"(b[0]), [b1] "v"(b[1]), [b2] "v"(b[2]));
    else
        __asm__("vbroadcastss %[x], %[xv]\n\t"
                "vfmadd231ps %[b0], %[xv], %[c0]\n\t"
                "vfmadd231ps %[b1], %[xv], %[c1]\n\t"
                "vfmadd231ps %[b2], %[xv], %[c2]\n\t"
                "vfmadd231ps %[b3], %[xv], %[c3]"
                : [c0] "+v"(acc[0]), [c1] "+v"(acc[1]), [c2] "+v"(acc[2]), [c3] "+v"(acc[3]),
                  [xv] "=&v"(xv)
                : [x] "m"(*x), [b0] "v"(b[0]), [b1] "v"(b[1]), [b2] "v"(b[2]), [b3] "v"(b[3]));
}

/* Rows of a panel, contiguous and full vectors wide: columns > 0. */
static inline void pack_panel(size_t rows, size_t columns, const float *b, size_t ldb, float *panel,
                              size_t width) {
    const size_t full = (columns - 1) / LANES * LANES;
    const vec_mask last = vec_first(columns - full);
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < full; j += LANES)
            vec_store(panel + j, vec_load(b + j));
        vec_store(panel + full, vec_load_masked(last, b + full));
        b += ldb;
        panel += width;
    }
}

#endif
