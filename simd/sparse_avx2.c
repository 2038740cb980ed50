/* sparse_avx2.c: products with rows of bytes, most of them zero, in 256-bit vectors.
 *
 * Gradient tiles of 4 columns x 24: 12 accumulators, 3 registers of B, 1 broadcast.
 * How the products work: sparse_body.h.
 */
#include "simd/kernels_internal.h"

#include <immintrin.h>
#include <string.h>

enum { LANES = 8, TILE_VECTORS = 3, CHUNK = 32 };
typedef __m256 vec;
typedef __m256i vec_mask;
typedef uint8_t group_bits;
#define TILE_LIST(X) X(1) X(2) X(3)

static inline vec vec_zero(void) {
    return _mm256_setzero_ps();
}
static inline vec vec_set(float x) {
    return _mm256_set1_ps(x);
}
static inline vec vec_load(const float *x) {
    return _mm256_loadu_ps(x);
}
static inline void vec_store(float *x, vec v) {
    _mm256_storeu_ps(x, v);
}
static inline vec vec_load_masked(vec_mask mask, const float *x) {
    return _mm256_maskload_ps(x, mask);
}
static inline void vec_store_masked(vec_mask mask, float *x, vec v) {
    _mm256_maskstore_ps(x, mask, v);
}
static inline vec_mask vec_first(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
static inline vec vec_fma(vec a, vec b, vec c) {
    return _mm256_fmadd_ps(a, b, c);
}
static inline vec vec_add(vec a, vec b) {
    return _mm256_add_ps(a, b);
}

/* The first n <= 32 bytes of x, then zeros. */
static inline __m256i load_bytes(size_t n, const uint8_t *x) {
    if (n == 32)
        return _mm256_loadu_si256((const void *)x);
    uint8_t bytes[32] = {0};
    memcpy(bytes, x, n);
    return _mm256_loadu_si256((const void *)bytes);
}

static inline group_bits chunk_groups(const uint8_t *x, size_t columns, uint8_t *copy) {
    const __m256i bytes = load_bytes(columns, x);
    _mm256_storeu_si256((void *)copy, bytes);
    const __m256i zero = _mm256_cmpeq_epi32(bytes, _mm256_setzero_si256());
    return (group_bits)~_mm256_movemask_ps(_mm256_castsi256_ps(zero));
}

/* masks[g * stride]: bit r is bit g of bits[r], read off as the sign while the bits move up. */
static inline void transpose_groups(const group_bits bits[64], size_t rows, size_t groups,
                                    uint64_t *masks, size_t stride) {
    __m256i low = _mm256_loadu_si256((const void *)bits);
    __m256i high =
        rows > 32 ? _mm256_loadu_si256((const void *)(bits + 32)) : _mm256_setzero_si256();
    for (size_t g = CHUNK / 4; g-- > 0;) {
        if (g < groups)
            masks[g * stride] = (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32 |
                                (uint32_t)_mm256_movemask_epi8(low);
        low = _mm256_add_epi8(low, low);
        high = _mm256_add_epi8(high, high);
    }
}

#include "simd/sparse_body.h"

static size_t count_nonzero_avx2(size_t n, const uint8_t *x) {
    size_t zeros = 0;
    for (size_t i = 0; i < n; i += 32) {
        const __m256i bytes = load_bytes(min_size(n - i, 32), x + i);
        const __m256i zero = _mm256_cmpeq_epi8(bytes, _mm256_setzero_si256());
        zeros += (size_t)_mm_popcnt_u32((uint32_t)_mm256_movemask_epi8(zero));
    }
    return divide_up(n, 32) * 32 - zeros;
}

/* Shuffles that move the chosen ones of 4 numbers to the front: [mask][byte]. */
#define NUMBER(i) 4 * (i), 4 * (i) + 1, 4 * (i) + 2, 4 * (i) + 3
static const uint8_t front[16][16] = {
    {0},
    {NUMBER(0)},
    {NUMBER(1)},
    {NUMBER(0), NUMBER(1)},
    {NUMBER(2)},
    {NUMBER(0), NUMBER(2)},
    {NUMBER(1), NUMBER(2)},
    {NUMBER(0), NUMBER(1), NUMBER(2)},
    {NUMBER(3)},
    {NUMBER(0), NUMBER(3)},
    {NUMBER(1), NUMBER(3)},
    {NUMBER(0), NUMBER(1), NUMBER(3)},
    {NUMBER(2), NUMBER(3)},
    {NUMBER(0), NUMBER(2), NUMBER(3)},
    {NUMBER(1), NUMBER(2), NUMBER(3)},
    {NUMBER(0), NUMBER(1), NUMBER(2), NUMBER(3)},
};

static size_t sparse_list_avx2(size_t n, const uint8_t *x, uint32_t *entry) {
    assert(n <= PT_SPARSE_MAX_COLUMNS);
    uint32_t *const start = entry;
    __m128i column = _mm_slli_epi32(_mm_setr_epi32(0, 1, 2, 3), 8);
    for (size_t i = 0; i < n; i += 4) {
        uint32_t four = 0;
        if (n - i >= 4)
            memcpy(&four, x + i, 4);
        else
            memcpy(&four, x + i, n - i);
        const __m128i bytes = _mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)four));
        const __m128i zero = _mm_cmpeq_epi32(bytes, _mm_setzero_si128());
        const unsigned nonzero = ~(unsigned)_mm_movemask_ps(_mm_castsi128_ps(zero)) & 15;
        const __m128i order = _mm_loadu_si128((const void *)front[nonzero]);
        _mm_storeu_si128((void *)entry, _mm_shuffle_epi8(_mm_or_si128(bytes, column), order));
        entry += _mm_popcnt_u32(nonzero);
        column = _mm_add_epi32(column, _mm_set1_epi32(4 << 8));
    }
    *entry = UINT32_MAX;
    return (size_t)(entry - start);
}

void pt_sparse_init_avx2(pt_kernels *kernels) {
    kernels->count_nonzero = count_nonzero_avx2;
    kernels->sparse_list = sparse_list_avx2;
    kernels->sparse_scratch = sparse_scratch;
    kernels->sparse_nn = sparse_nn;
    kernels->sparse_tn = sparse_tn;
}
