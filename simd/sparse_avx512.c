/* sparse_avx512.c: products with rows of bytes, most of them zero, in 512-bit vectors, on every
 * processor with AVX-512. How they work: sparse_nn_body.h, sparse_nn_wide_body.h, sparse_tn_body.h.
 */
#include "simd/kernels_internal.h"
#include "simd/lanes_avx512.h"
#include "simd/sparse_nn_body.h"

/* Measured on a Xeon: 1.25 to 1.4 times as fast where rows of B share few sets of L1, so that they
 * would be copied anyway; elsewhere 1.0 to 1.1 from so many rows on, slower below. */
static inline bool lists_pay(size_t m, size_t n, size_t steps, size_t ldb) {
    const bool crowded = ldb % PACK_STRIDE == 0;
    return n >= (crowded ? 256 : 512) && m >= (crowded ? 32 : 128) && steps >= 64;
}
#define SKIP pt_skip_avx512
#include "simd/sparse_nn_wide_body.h"

/* 16 bytes at a time, as integers of 32 bits. */
static inline __m512i expand_bytes(uint64_t bits, const uint8_t *byte) {
    __m128i quarter[4];
    for (size_t q = 0; q < 4; q++) {
        const __mmask16 mask = (__mmask16)(bits >> q * 16);
        const __m512i packed = _mm512_cvtepu8_epi32(_mm_loadu_si128((const void *)byte));
        quarter[q] = _mm512_cvtepi32_epi8(_mm512_maskz_expand_epi32(mask, packed));
        byte += _mm_popcnt_u32(mask);
    }
    __m512i bytes = _mm512_castsi128_si512(quarter[0]);
    bytes = _mm512_inserti32x4(bytes, quarter[1], 1);
    bytes = _mm512_inserti32x4(bytes, quarter[2], 2);
    return _mm512_inserti32x4(bytes, quarter[3], 3);
}

#include "simd/sparse_tn_avx512_body.h"

static size_t count_nonzero_avx512(size_t n, const uint8_t *x) {
    size_t count = 0;
    for (size_t i = 0; i < n; i += 64) {
        const __m512i bytes = _mm512_maskz_loadu_epi8(low_bits(min_size(n - i, 64)), x + i);
        count += (size_t)_mm_popcnt_u64(_mm512_test_epi8_mask(bytes, bytes));
    }
    return count;
}

static size_t sparse_scratch_avx512(size_t rows, size_t n, size_t columns) {
    const size_t tn =
        max_size(sparse_tn_scratch(rows, n, columns), sparse_tn_four_scratch(columns));
    return max_size(sparse_nn_any_width_scratch(rows, n, columns), tn);
}

void pt_sparse_init_avx512(pt_kernels *kernels) {
    kernels->count_nonzero = count_nonzero_avx512;
    kernels->sparse_scratch = sparse_scratch_avx512;
    kernels->sparse_nn = sparse_nn_any_width;
    kernels->sparse_tn = sparse_tn_avx512;
}
