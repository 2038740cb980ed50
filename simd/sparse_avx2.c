/* sparse_avx2.c: products with rows of bytes, most of them zero, in 256-bit vectors.
 *
 * Gradient tiles of 4 columns x 24: 12 accumulators, 3 registers of B, 1 broadcast.
 * How the products work: sparse_nn_body.h, sparse_nn_wide_body.h, sparse_tn_body.h,
 * sparse_tn_pairs_avx2.h.
 */
#include "simd/kernels_internal.h"
#include "simd/lanes_avx2.h"
#include "simd/sparse_nn_body.h"

#include <string.h>

/* Measured on Zen 3. */
static inline bool lists_pay(size_t m, size_t n, size_t steps, size_t ldb) {
    (void)ldb;
    return n >= 512 && m >= 64 && steps >= 64;
}
#define SKIP pt_skip_avx2
#include "simd/sparse_nn_wide_body.h"

enum { TILE_VECTORS = 3, CHUNK = 32 };
typedef uint8_t group_bits;
#define TILE_LIST(X) X(1) X(2) X(3)

/* For 8 columns of which `bits` are not zero: where the byte of each is among theirs, or 128, for
 * which a shuffle gives zero. */
static uint64_t spread_index[256 + 1]; /* 16 bytes are read at the last one too */

static void fill_spread_index(void) {
    for (unsigned bits = 0; bits < 256; bits++) {
        uint8_t index[8], next = 0;
        for (unsigned i = 0; i < 8; i++)
            index[i] = bits >> i & 1 ? next++ : 128;
        memcpy(&spread_index[bits], index, sizeof index);
    }
}

/* Eight columns at a time. Returns the byte behind those of the chunk. */
static inline const uint8_t *spread_chunk(uint64_t bits, const uint8_t *byte, uint8_t *chunk) {
    UNROLL
    for (size_t i = 0; i < CHUNK; i += 8) {
        const unsigned eight = bits >> i & 255;
        const __m128i index = _mm_loadu_si128((const void *)&spread_index[eight]);
        const __m128i packed = _mm_loadl_epi64((const void *)byte);
        _mm_storel_epi64((void *)(chunk + i), _mm_shuffle_epi8(packed, index));
        byte += _mm_popcnt_u32(eight);
    }
    return byte;
}

static inline group_bits expand_chunk(uint64_t bits, const uint8_t *byte, uint8_t *chunk) {
    spread_chunk(bits, byte, chunk);
    /* Not from the bytes: a load of what has just been stored in pieces waits. */
    bits |= bits >> 1;
    bits |= bits >> 2;
    return (group_bits)_pext_u64(bits, 0x11111111);
}

/* masks[i * stride], i < count: bit r is whether any of `each` (1 or 2) bits of bits[r] is set, the i-th
 * ones; read off as the sign while the bits move up. */
static ALWAYS_INLINE void transpose_bits(const uint8_t bits[64], size_t rows, size_t each,
                                         size_t count, uint64_t *masks, size_t stride) {
    __m256i low = _mm256_loadu_si256((const void *)bits);
    __m256i high =
        rows > 32 ? _mm256_loadu_si256((const void *)(bits + 32)) : _mm256_setzero_si256();
    if (each == 2) { /* into the upper bit of two */
        low = _mm256_or_si256(low, _mm256_add_epi8(low, low));
        high = _mm256_or_si256(high, _mm256_add_epi8(high, high));
    }
    UNROLL
    for (size_t i = 8 / each; i-- > 0;) {
        if (i < count)
            masks[i * stride] = (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32 |
                                (uint32_t)_mm256_movemask_epi8(low);
        low = _mm256_slli_epi16(low, (int)each);
        high = _mm256_slli_epi16(high, (int)each);
    }
}

static inline void transpose_groups(const group_bits bits[64], size_t rows, size_t groups,
                                    uint64_t *masks, size_t stride) {
    transpose_bits(bits, rows, 1, groups, masks, stride);
}

#include "simd/sparse_tn_body.h"
#include "simd/sparse_tn_pairs_avx2.h"

/* The first n <= 32 bytes of x, then zeros. */
static inline __m256i load_bytes(size_t n, const uint8_t *x) {
    if (n == 32)
        return _mm256_loadu_si256((const void *)x);
    uint8_t bytes[32] = {0};
    memcpy(bytes, x, n);
    return _mm256_loadu_si256((const void *)bytes);
}

static uint32_t nonzero_bits(size_t n, const uint8_t *x) {
    const __m256i zero = _mm256_cmpeq_epi8(load_bytes(n, x), _mm256_setzero_si256());
    return ~(uint32_t)_mm256_movemask_epi8(zero);
}

static size_t count_nonzero_avx2(size_t n, const uint8_t *x) {
    size_t count = 0;
    for (size_t i = 0; i < n; i += 32)
        count += (size_t)_mm_popcnt_u32(nonzero_bits(min_size(n - i, 32), x + i));
    return count;
}

static void sparse_list_avx2(size_t n, const uint8_t *x, uint64_t *bitmap, uint16_t *column,
                             uint8_t *byte) {
    assert(n <= PT_SPARSE_MAX_COLUMNS);
    for (size_t i = 0; i < n; i += 64) {
        uint64_t bits = nonzero_bits(min_size(n - i, 32), x + i);
        if (n - i > 32)
            bits |= (uint64_t)nonzero_bits(min_size(n - i - 32, 32), x + i + 32) << 32;
        bitmap[i / 64] = bits;
        for (; bits; bits &= bits - 1) {
            const size_t at = i + (size_t)__builtin_ctzll(bits);
            *column++ = (uint16_t)at;
            *byte++ = x[at];
        }
    }
}

static size_t sparse_scratch_avx2(size_t rows, size_t n, size_t columns) {
    const size_t tn = max_size(sparse_tn_scratch(rows, n, columns), sparse_tn_pairs_scratch(rows));
    return max_size(sparse_nn_any_width_scratch(rows, n, columns), tn);
}

static void sparse_tn_avx2(size_t begin, size_t end, size_t n, const pt_shards *shards,
                           const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                           const float *rate, float *c, size_t ldc, void *scratch) {
    if (begin < end && takes_pairs(n, shards))
        sparse_tn_pairs(begin, end, n, shards, a, value, b, ldb, rate, c, ldc, scratch);
    else
        sparse_tn(begin, end, n, shards, a, value, b, ldb, rate, c, ldc, scratch);
}

void pt_sparse_init_avx2(pt_kernels *kernels) {
    fill_spread_index();
    kernels->count_nonzero = count_nonzero_avx2;
    kernels->sparse_list = sparse_list_avx2;
    kernels->sparse_scratch = sparse_scratch_avx2;
    kernels->sparse_nn = sparse_nn_any_width;
    kernels->sparse_tn = sparse_tn_avx2;
}
