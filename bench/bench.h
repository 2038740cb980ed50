/* bench.h: what the options ask for, and the families that can be timed. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "bench/report.h"
#include "simd/kernels.h"

#include <stdbool.h>

enum { BENCH_MAX_SHAPES = 128, BENCH_MAX_ROUNDS = 1001, BENCH_MAX_COUNTS = 8 };

typedef struct bench_options {
    const char
        *shape[BENCH_MAX_SHAPES]; /* none: the family's own; a family takes those it can read */
    const char *kernel;           /* a part of the names of kernels, or NULL: all */
    size_t shapes, threads[BENCH_MAX_COUNTS], counts, rounds;
    double seconds; /* for a row, at most (but three rounds) */
    size_t zeros;   /* percent of A in a gemm, at random places */
    bool hot, cold, peers;
} bench_options;

/* A family of kernels: gemm.c, elementwise.c (two), sparse.c. */
typedef struct bench_family {
    const char *name;
    bool (*shape)(const char *text); /* whether a text is one */
    /* All rows of an instruction set. */
    void (*run)(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *row));
} bench_family;

bool bench_gemm_shape(const char *text);
bool bench_elementwise_shape(const char *text);
bool bench_rows_shape(const char *text);
bool bench_sparse_shape(const char *text);
void bench_gemm(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *row));
void bench_elementwise(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *));
void bench_rows(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *row));
void bench_sparse(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *row));

#endif
