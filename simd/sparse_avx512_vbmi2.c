/* sparse_avx512_vbmi2.c: what AVX-512 VBMI2 (Ice Lake and Zen 4 on) does better: it expands and
 * compresses bytes, 64 at a time. The same scratch as sparse_avx512.c's.
 */
#include "simd/kernels_internal.h"
#include "simd/lanes_avx512.h"
#include "simd/sparse_bits.h"

static inline __m512i expand_bytes(uint64_t bits, const uint8_t *byte) {
    return _mm512_maskz_expand_epi8(bits, _mm512_loadu_si512(byte));
}

#include "simd/sparse_tn_avx512_body.h"

static void sparse_list_vbmi2(size_t n, const uint8_t *x, uint64_t *bitmap, uint16_t *column,
                              uint8_t *byte) {
    assert(n <= PT_SPARSE_MAX_COLUMNS);
    uint16_t number[32];
    for (uint16_t i = 0; i < 32; i++)
        number[i] = i;
    __m512i columns = _mm512_loadu_si512(number);
    for (size_t i = 0; i < n; i += 64) {
        const __m512i bytes = _mm512_maskz_loadu_epi8(low_bits(min_size(n - i, 64)), x + i);
        const uint64_t bits = _mm512_test_epi8_mask(bytes, bytes);
        bitmap[i / 64] = bits;
        for (size_t half = 0; half < 2; half++) {
            const __mmask32 mask = (__mmask32)(bits >> half * 32);
            const size_t count = (size_t)_mm_popcnt_u32(mask);
            _mm512_mask_storeu_epi16(column, (__mmask32)low_bits(count),
                                     _mm512_maskz_compress_epi16(mask, columns));
            columns = _mm512_add_epi16(columns, _mm512_set1_epi16(32));
            column += count;
        }
        const size_t count = (size_t)_mm_popcnt_u64(bits);
        _mm512_mask_storeu_epi8(byte, low_bits(count), _mm512_maskz_compress_epi8(bits, bytes));
        byte += count;
    }
}

void pt_sparse_init_avx512_vbmi2(pt_kernels *kernels) {
    kernels->sparse_list = sparse_list_vbmi2;
    kernels->sparse_tn = sparse_tn_avx512;
}
