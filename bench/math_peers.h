/* math_peers.h: exp, log, tanh and what is made of them by SLEEF and glibc's libmvec, found by
 * dlopen at run time, and how far from the truth a function is.
 */
#ifndef BENCH_MATH_PEERS_H
#define BENCH_MATH_PEERS_H

#include "bench/vector.h"
#include "simd/kernels.h"

enum { BENCH_MATH_PEERS = 3 };
/* Columns of the report: SLEEF's functions of 1.0 and 3.5 ulp are different ones. */
extern const char *const bench_math_peer_names[BENCH_MATH_PEERS];

typedef struct bench_math {
    const char *kernel;
    bench_formula formula;
    double (*exact)(double x);        /* NULL for rows */
    double from, to;                  /* inputs to sweep for the error */
    void *function[BENCH_MATH_PEERS]; /* NULL: this library does not have it */
} bench_math;

/* The function that a kernel computes, with what the libraries found have for it; NULL for other
 * kernels. With `peers` missing libraries are named on stderr, the first time. */
const bench_math *bench_math_find(const char *kernel, pt_isa isa, int peers);

/* The largest error over a sweep of the range in units of the last place of the exact result, by
 * double precision. Denormal and infinite results are left out. `run` computes n floats. */
double bench_math_error(const bench_math *math,
                        void (*run)(void *context, size_t n, const float *x, float *y),
                        void *context);
/* The error of softmax: of rows of x, stride ld. */
double bench_softmax_error(size_t rows, size_t n, size_t ld, const float *x, const float *y);

#endif
