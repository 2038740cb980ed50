/* sparse_avx512.c: products with rows of bytes, most of them zero, in 512-bit vectors.
 *
 * Gradient tiles of 4 columns x 64: 16 accumulators, 4 registers of B, 1 broadcast.
 * How the products work: sparse_body.h.
 */
#include "simd/kernels_internal.h"

#include <immintrin.h>

enum { LANES = 16, TILE_VECTORS = 4, CHUNK = 64 };
typedef __m512 vec;
typedef __mmask16 vec_mask;
typedef uint16_t group_bits;
#define TILE_LIST(X) X(1) X(2) X(3) X(4)

static inline vec vec_zero(void) {
    return _mm512_setzero_ps();
}
static inline vec vec_set(float x) {
    return _mm512_set1_ps(x);
}
static inline vec vec_load(const float *x) {
    return _mm512_loadu_ps(x);
}
static inline void vec_store(float *x, vec v) {
    _mm512_storeu_ps(x, v);
}
static inline vec vec_load_masked(vec_mask mask, const float *x) {
    return _mm512_maskz_loadu_ps(mask, x);
}
static inline void vec_store_masked(vec_mask mask, float *x, vec v) {
    _mm512_mask_storeu_ps(x, mask, v);
}
static inline vec_mask vec_first(size_t n) {
    return (vec_mask)((1u << n) - 1u);
}
static inline vec vec_fma(vec a, vec b, vec c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline vec vec_add(vec a, vec b) {
    return _mm512_add_ps(a, b);
}

static inline group_bits chunk_groups(const uint8_t *x, size_t columns, uint8_t *copy) {
    const __mmask64 valid = ~(__mmask64)0 >> (64 - columns);
    const __m512i bytes = _mm512_maskz_loadu_epi8(valid, x);
    _mm512_storeu_si512(copy, bytes);
    return _mm512_test_epi32_mask(bytes, bytes);
}

/* masks[g * stride]: bit r is bit g of bits[r], read off as the sign while the bits move up. */
static inline void transpose_groups(const group_bits bits[64], size_t rows, size_t groups,
                                    uint64_t *masks, size_t stride) {
    __m512i low = _mm512_loadu_si512(bits);
    __m512i high = rows > 32 ? _mm512_loadu_si512(bits + 32) : _mm512_setzero_si512();
    for (size_t g = CHUNK / 4; g-- > 0;) {
        if (g < groups)
            masks[g * stride] =
                (uint64_t)_mm512_movepi16_mask(high) << 32 | _mm512_movepi16_mask(low);
        low = _mm512_add_epi16(low, low);
        high = _mm512_add_epi16(high, high);
    }
}

#include "simd/sparse_body.h"

static size_t count_nonzero_avx512(size_t n, const uint8_t *x) {
    size_t count = 0;
    for (size_t i = 0; i < n; i += 64) {
        const size_t left = n - i < 64 ? n - i : 64;
        const __m512i bytes = _mm512_maskz_loadu_epi8(~(__mmask64)0 >> (64 - left), x + i);
        count += (size_t)_mm_popcnt_u64(_mm512_test_epi8_mask(bytes, bytes));
    }
    return count;
}

static size_t sparse_list_avx512(size_t n, const uint8_t *x, uint32_t *entry) {
    assert(n <= PT_SPARSE_MAX_COLUMNS);
    uint32_t *const start = entry;
    __m512i column = _mm512_slli_epi32(
        _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), 8);
    for (size_t i = 0; i < n; i += LANES) {
        const __mmask16 valid = vec_first(min_size(n - i, LANES));
        const __m512i bytes = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(valid, x + i));
        const __mmask16 nonzero = _mm512_test_epi32_mask(bytes, bytes);
        _mm512_storeu_si512(entry,
                            _mm512_maskz_compress_epi32(nonzero, _mm512_or_si512(bytes, column)));
        entry += _mm_popcnt_u32(nonzero);
        column = _mm512_add_epi32(column, _mm512_set1_epi32(LANES << 8));
    }
    *entry = UINT32_MAX;
    return (size_t)(entry - start);
}

void pt_sparse_init_avx512(pt_kernels *kernels) {
    kernels->count_nonzero = count_nonzero_avx512;
    kernels->sparse_list = sparse_list_avx512;
    kernels->sparse_scratch = sparse_scratch;
    kernels->sparse_nn = sparse_nn;
    kernels->sparse_tn = sparse_tn;
}
