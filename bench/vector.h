/* vector.h: what the elementwise kernels are held against, with the vectors of an instruction set:
 * a loop that only loads and stores, and the functions of vectors that mathematical libraries have.
 */
#ifndef BENCH_VECTOR_H
#define BENCH_VECTOR_H

#include <stddef.h>

enum { BENCH_MAX_STREAMS = 4 };

/* Arrays that are read and then written, n floats each. The last `writes` of the arrays read are
 * stored, as they are. From bytes: one array of n bytes, each of whose vectors is stored four
 * times. */
typedef struct bench_streams {
    size_t reads, writes;
    const float *in[BENCH_MAX_STREAMS];
    float *out[BENCH_MAX_STREAMS];
    int from_bytes;
} bench_streams;

/* What is made of a library's function f:
 *   f(x);  1 / (1 + f(-x));  x / (1 + f(-x));  x / 2 (1 + f(x / sqrt 2));
 *   along rows f(x - max) / sum, which is f's e^x too. */
typedef enum bench_formula {
    BENCH_PLAIN,
    BENCH_SIGMOID,
    BENCH_SILU,
    BENCH_GELU,
    BENCH_SOFTMAX
} bench_formula;

/* Arrays may be read and written up to the next multiple of 16 floats; softmax's rows are filled
 * up with -80. `function` is the address of a function from a vector to a vector. */
typedef struct bench_vector {
    void (*stream)(const bench_streams *streams, size_t n);
    void (*apply)(bench_formula formula, void *function, size_t rows, size_t n, size_t ld,
                  const float *x, float *y); /* NULL: no library has vectors of this length */
} bench_vector;

extern const bench_vector bench_vector_scalar; /* the 16 bytes that every x86-64 has */
extern const bench_vector bench_vector_avx2;
extern const bench_vector bench_vector_avx512;

#endif
