/* peers.h: other libraries' matrix products, found by dlopen at run time, at their best settings. */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "simd/kernels.h"

#include <stdbool.h>

enum { BENCH_MAX_PEERS = 6 };

/* Row-major C[m x n] = op(A) op(B). */
typedef struct bench_product {
    size_t m, n, k;
    pt_gemm_form form;
    size_t lda, ldb, ldc;
} bench_product;

/* "64x50x784" or with nn, nt or tn behind it; strides are left 0. */
bool bench_parse_product(const char *text, bench_product *p);

typedef struct bench_peer {
    const char *name;
    void (*run)(const struct bench_peer *peer, const bench_product *p, size_t set, const float *a,
                const float *b, float *c);
    void (*set_threads)(const struct bench_peer *peer, size_t threads);
    /* Where a library prepares a product beforehand (else NULL): false when it does not have it.
     * B's `sets` lie `b_size` floats apart. After each, also after false, finish. */
    bool (*prepare)(struct bench_peer *peer, const bench_product *p, size_t threads, const float *b,
                    size_t sets, size_t b_size);
    void (*finish)(struct bench_peer *peer);
    void *multiply, *threads; /* the library's symbols */
    void *state;
} bench_peer;

/* Opens what there is, once in a process: its environment is set for this instruction set, which
 * the libraries read when they are loaded. Says on stderr what is missing. Returns how many. */
size_t bench_open_peers(pt_isa isa, bench_peer peers[BENCH_MAX_PEERS]);

#endif
