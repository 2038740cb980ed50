/* sparse_bits.h: what both sparse products ask of a row's bitmap, and their panels. */
#ifndef PT_SIMD_SPARSE_BITS_H
#define PT_SIMD_SPARSE_BITS_H

#include "simd/kernels.h"
#include "simd/loops.h"

#include <stdint.h>

/* The lowest n <= 64 bits. */
static inline uint64_t low_bits(size_t n) {
    return n < 64 ? ((uint64_t)1 << n) - 1 : ~(uint64_t)0;
}

/* How many of the columns begin .. end-1 are not zero. */
static inline size_t count_bits(const uint64_t *bitmap, size_t begin, size_t end) {
    if (begin >= end)
        return 0;
    size_t word = begin / 64;
    const size_t last = (end - 1) / 64;
    uint64_t bits = bitmap[word] & ~low_bits(begin % 64);
    size_t count = 0;
    for (; word < last; bits = bitmap[++word])
        count += (size_t)__builtin_popcountll(bits);
    return count + (size_t)__builtin_popcountll(bits & low_bits((end - 1) % 64 + 1));
}

/* The bits of the n <= 64 columns from `column` on. */
static inline uint64_t take_bits(const uint64_t *bitmap, size_t column, size_t n) {
    const size_t word = column / 64, shift = column % 64;
    uint64_t bits = bitmap[word] >> shift;
    if (shift + n > 64)
        bits |= bitmap[word + 1] << (64 - shift);
    return bits & low_bits(n);
}

/* The lists of a row of MNIST's (784 bits, 220 columns and bytes are nine in ten of them) into L2. */
static ALWAYS_INLINE void prefetch_list(const pt_sparse_row *row) {
    enum { LIST_LINES = 12 };
    UNROLL
    for (size_t line = 0; line < LIST_LINES; line++)
        __builtin_prefetch((const char *)row->bitmap + line * 64, 0, 2);
}

enum {
    LINE_FLOATS = 16,  /* in a cache line */
    PACK_STRIDE = 128, /* floats: rows of B a multiple of this apart share too few sets of L1 */
};

/* Vectors of `lanes` floats in the next panel, n columns from the end: panels are as even as they
 * go. */
static inline size_t even_panel_vectors(size_t n, size_t lanes, size_t widest) {
    const size_t vectors = divide_up(n, lanes);
    return divide_up(vectors, divide_up(vectors, widest));
}

#endif
