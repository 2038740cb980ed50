/* vector_body.h: the loops of vector.h for vectors of LANES floats. The includer defines LANES and,
 * where there are libraries, VECTOR, LOAD, STORE, SET, ADD, SUB, MUL, DIV, MAX, REDUCE_ADD,
 * REDUCE_MAX. */
#include "bench/vector.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

typedef float lanes __attribute__((vector_size(LANES * 4), aligned(4), may_alias));

#define INLINE static inline __attribute__((always_inline))

/* Loaded, whether stored or not. Spelled out, since arrays of vectors would go through memory. */
INLINE lanes load(const float *from) {
    lanes v = *(const lanes *)from;
    __asm__ volatile("" : "+x"(v));
    return v;
}

INLINE void step(size_t reads, size_t writes, const bench_streams *s, size_t i) {
    lanes v0 = load(s->in[0] + i), v1 = v0, v2 = v0, v3 = v0;
    if (reads > 1)
        v1 = load(s->in[1] + i);
    if (reads > 2)
        v2 = load(s->in[2] + i);
    if (reads > 3)
        v3 = load(s->in[3] + i);
    if (writes > 0)
        *(lanes *)(s->out[0] + i) = reads == 1 ? v0 : v1;
    if (writes > 1)
        *(lanes *)(s->out[1] + i) = v2;
    if (writes > 2)
        *(lanes *)(s->out[2] + i) = v3;
}

INLINE void stream_of(size_t reads, size_t writes, const bench_streams *streams, size_t n) {
    const bench_streams s = *streams; /* a copy that no store can change */
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        step(reads, writes, &s, i);
        step(reads, writes, &s, i + LANES);
        step(reads, writes, &s, i + 2 * LANES);
        step(reads, writes, &s, i + 3 * LANES);
    }
    for (; i < n; i += LANES)
        step(reads, writes, &s, i);
}

INLINE void stream_bytes(const bench_streams *s, size_t n) {
    const float *in = s->in[0];
    float *out = s->out[0];
    size_t i = 0;
    for (; i + 4 * LANES <= n; i += 4 * LANES) {
        const lanes v = load(in + i / 4);
        *(lanes *)(out + i) = v;
        *(lanes *)(out + i + LANES) = v;
        *(lanes *)(out + i + 2 * LANES) = v;
        *(lanes *)(out + i + 3 * LANES) = v;
    }
    for (; i < n; i += LANES)
        *(lanes *)(out + i) = load(in + i / 4 / LANES * LANES);
}

static void stream(const bench_streams *s, size_t n) {
    if (s->from_bytes)
        stream_bytes(s, n);
    else if (s->writes == 0)
        stream_of(1, 0, s, n);
    else if (s->reads == 1)
        stream_of(1, 1, s, n);
    else if (s->reads == 2)
        stream_of(2, 1, s, n);
    else if (s->reads == 3)
        stream_of(3, 2, s, n);
    else
        stream_of(4, 3, s, n);
}

#ifdef VECTOR
typedef VECTOR (*vector_function)(VECTOR);

static void softmax_row(vector_function f, size_t n, const float *x, float *y) {
    VECTOR top = LOAD(x), sum = SET(0.0f);
    for (size_t j = LANES; j < n; j += LANES)
        top = MAX(top, LOAD(x + j));
    top = SET(REDUCE_MAX(top));
    for (size_t j = 0; j < n; j += LANES) {
        const VECTOR e = f(SUB(LOAD(x + j), top));
        sum = ADD(sum, e);
        STORE(y + j, e);
    }
    sum = SET(REDUCE_ADD(sum));
    for (size_t j = 0; j < n; j += LANES)
        STORE(y + j, DIV(LOAD(y + j), sum));
}

static void apply(bench_formula formula, void *function, size_t rows, size_t n, size_t ld,
                  const float *x, float *y) {
    vector_function f;
    const VECTOR one = SET(1.0f), zero = SET(0.0f), half = SET(0.5f), root = SET(0.70710678f);
    memcpy(&f, &function, sizeof f);
    if (formula == BENCH_SOFTMAX) {
        for (size_t r = 0; r < rows; r++)
            softmax_row(f, n, x + r * ld, y + r * ld);
        return;
    }
    if (formula == BENCH_PLAIN) {
        for (size_t i = 0; i < n; i += LANES)
            STORE(y + i, f(LOAD(x + i)));
    } else if (formula == BENCH_GELU) {
        for (size_t i = 0; i < n; i += LANES) {
            const VECTOR v = LOAD(x + i);
            STORE(y + i, MUL(MUL(half, v), ADD(one, f(MUL(v, root)))));
        }
    } else {
        for (size_t i = 0; i < n; i += LANES) {
            const VECTOR v = LOAD(x + i), e = ADD(one, f(SUB(zero, v)));
            STORE(y + i, DIV(formula == BENCH_SILU ? LOAD(x + i) : one, e));
        }
    }
}
#endif
