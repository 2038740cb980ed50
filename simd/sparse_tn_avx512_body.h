/* sparse_tn_avx512_body.h: the gradient's tiles in 512-bit vectors; sparse_avx512.c includes it with
 * AVX-512's first instructions, sparse_avx512_vbmi2.c with those that move bytes. Before it,
 * expand_bytes(bits, byte): a vector of 64 bytes, the next of `byte` where `bits` is set, else 0.
 *
 * Four shards of up to 32 rows are summed as sparse_tn_four_avx512_body.h says, and sparse_tn_avx512
 * chooses. The others in tiles of 4 columns x 64: 16 accumulators, 4 registers of B, 1 broadcast.
 */
enum { TILE_VECTORS = 4, CHUNK = 64 };
typedef uint16_t group_bits;
#define TILE_LIST(X) X(1) X(2) X(3) X(4)

static inline group_bits expand_chunk(uint64_t bits, const uint8_t *byte, uint8_t *chunk) {
    const __m512i bytes = expand_bytes(bits, byte);
    _mm512_storeu_si512(chunk, bytes);
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

#include "simd/sparse_tn_body.h"
#include "simd/sparse_tn_four_avx512_body.h"

static void sparse_tn_avx512(size_t begin, size_t end, size_t n, const pt_shards *shards,
                             const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                             const float *rate, float *c, size_t ldc, void *scratch) {
    if (begin < end && takes_four(shards))
        sparse_tn_four(begin, end, n, shards, a, value, b, ldb, rate, c, ldc, scratch);
    else
        sparse_tn(begin, end, n, shards, a, value, b, ldb, rate, c, ldc, scratch);
}
