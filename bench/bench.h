/* bench.h: what the options ask for, and the families that can be timed. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "bench/report.h"
#include "simd/kernels.h"

#include <stdbool.h>

enum { BENCH_MAX_SHAPES = 128, BENCH_MAX_ROUNDS = 1001, BENCH_MAX_COUNTS = 8 };

typedef struct bench_options {
    const char *shape[BENCH_MAX_SHAPES]; /* none: the family's own */
    size_t shapes, threads[BENCH_MAX_COUNTS], counts, rounds;
    double seconds; /* for a row, at most (but three rounds) */
    bool hot, cold, peers;
} bench_options;

/* The matrix products (gemm.c): whether a shape is one; and all rows of an instruction set. */
bool bench_gemm_shape(const char *text);
void bench_gemm(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *row));

#endif
