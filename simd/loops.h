/* loops.h: what the loops of all matrix products, dense and sparse, are written with. */
#ifndef PT_SIMD_LOOPS_H
#define PT_SIMD_LOOPS_H

#include <stddef.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

static inline size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static inline size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

static inline size_t divide_up(size_t a, size_t b) {
    return (a + b - 1) / b;
}

#endif
