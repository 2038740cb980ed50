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

/* front[mask]: which of 8 numbers to take so that those in the mask come first, in order. */
static uint8_t front[256][8];

static void fill_front(void) {
    for (unsigned mask = 0; mask < 256; mask++) {
        size_t count = 0;
        for (uint8_t i = 0; i < 8; i++)
            if (mask >> i & 1)
                front[mask][count++] = i;
    }
}

static size_t sparse_list_avx2(size_t n, const uint8_t *x, uint32_t *entry) {
    assert(n <= PT_SPARSE_MAX_COLUMNS);
    uint32_t *const start = entry;
    __m256i column = _mm256_slli_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), 8);
    for (size_t i = 0; i < n; i += 8) {
        uint8_t tail[8] = {0};
        const void *from = x + i;
        if (n - i < 8)
            from = memcpy(tail, from, n - i);
        const __m256i bytes = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from));
        const __m256i zero = _mm256_cmpeq_epi32(bytes, _mm256_setzero_si256());
        const unsigned nonzero = ~(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(zero)) & 255;
        const __m256i order = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)front[nonzero]));
        _mm256_storeu_si256((void *)entry,
                            _mm256_permutevar8x32_epi32(_mm256_or_si256(bytes, column), order));
        entry += _mm_popcnt_u32(nonzero);
        column = _mm256_add_epi32(column, _mm256_set1_epi32(8 << 8));
    }
    *entry = UINT32_MAX;
    return (size_t)(entry - start);
}

void pt_sparse_init_avx2(pt_kernels *kernels) {
    fill_front();
    kernels->count_nonzero = count_nonzero_avx2;
    kernels->sparse_list = sparse_list_avx2;
    kernels->sparse_scratch = sparse_scratch;
    kernels->sparse_nn = sparse_nn;
    kernels->sparse_tn = sparse_tn;
}
