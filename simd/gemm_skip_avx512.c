/* gemm_skip_avx512.c: matrix products that skip zeros, in 512-bit vectors: gemm_skip_body.h. */
#include "simd/gemm_skip.h"
#include "simd/lanes_avx512.h"
#include "simd/loops.h"
#include "simd/transpose_avx512.h"

#include <stdint.h>

static inline size_t count_lanes(__mmask16 lanes) {
    unsigned bits;
    /* Left to gcc 12, at -O1 the mask waits in 16 bits of memory, and 32 of them are counted. */
    __asm__("kmovw %1, %0" : "=r"(bits) : "k"(lanes));
    return (size_t)_mm_popcnt_u32(bits);
}

static inline size_t count_nonzero_lanes(vec x) {
    return count_lanes(_mm512_cmp_ps_mask(x, vec_zero(), _CMP_NEQ_UQ));
}

static inline size_t append_nonzero(vec x, size_t offset, size_t step, float *value,
                                    uint16_t *place) {
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __mmask16 lanes = _mm512_cmp_ps_mask(x, vec_zero(), _CMP_NEQ_UQ);
    vec_store(value, _mm512_maskz_compress_ps(lanes, x)); /* to memory it would be slow on Zen 4 */
    const __m512i places = _mm512_add_epi32(_mm512_mullo_epi32(lane, _mm512_set1_epi32((int)step)),
                                            _mm512_set1_epi32((int)offset));
    _mm256_storeu_si256((void *)place,
                        _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(lanes, places)));
    return count_lanes(lanes);
}

/* None: fours are faster with 256-bit vectors, and not measured with these. */
static ALWAYS_INLINE size_t add_in_fours(const float *value, const uint16_t *place, size_t count,
                                         const float *panel, size_t vectors, vec acc[]) {
    (void)value, (void)place, (void)count, (void)panel, (void)vectors, (void)acc;
    return 0;
}

/* L1 has 32 KB or 48. */
static const pt_skip_blocking FLOAT_ROWS = {.vectors = 8, .bytes = 32 << 10},
                              BYTE_ROWS = {.vectors = 8, .bytes = 32 << 10},
                              COLUMNS = {.vectors = 8, .bytes = 32 << 10};
#define ROWS_WIDTHS(X)    X(5) X(6) X(7) X(8)
#define COLUMNS_WIDTHS(X) X(5) X(6) X(7) X(8)

#include "simd/gemm_skip_body.h"

#include "simd/gemm_skip_columns_body.h"

const pt_skip pt_skip_avx512 = {.rows_fit = skip_rows_fit,
                                .columns_fit = skip_columns_fit,
                                .pays = skip_pays,
                                .rows = skip_rows,
                                .columns = skip_columns,
                                .scratch = skip_scratch};
