/* gemm_skip_avx2.c: matrix products that skip zeros, in 256-bit vectors: gemm_skip_body.h. */
#include "simd/gemm_skip.h"
#include "simd/lanes_avx2.h"
#include "simd/loops.h"
#include "simd/transpose_avx2.h"

#include "simd/lane_rows.h"

#include <stdint.h>
#include <string.h>

static inline unsigned nonzero_lanes(vec x) {
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x, vec_zero(), _CMP_NEQ_UQ));
}

static inline size_t count_nonzero_lanes(vec x) {
    return (size_t)_mm_popcnt_u32(nonzero_lanes(x));
}

/* Four lanes. (Not by pext: Zen 1 and 2 take over a hundred cycles for it.) */
static inline size_t append_half(__m128 x, unsigned lanes, size_t offset, size_t step, float *value,
                                 uint16_t *place) {
    static const uint32_t numbers[16] = {/* of the bits set, a byte each */
                                         0x00,   0x00,     0x01,     0x0100,    0x02,   0x0200,
                                         0x0201, 0x020100, 0x03,     0x0300,    0x0301, 0x030100,
                                         0x0302, 0x030200, 0x030201, 0x03020100};
    const __m128i lane = _mm_cvtsi32_si128((int)numbers[lanes]);
    _mm_storeu_ps(value, _mm_permutevar_ps(x, _mm_cvtepu8_epi32(lane)));
    const __m128i places = _mm_mullo_epi16(_mm_cvtepu8_epi16(lane), _mm_set1_epi16((short)step));
    _mm_storel_epi64((void *)place, _mm_add_epi16(places, _mm_set1_epi16((short)offset)));
    return (size_t)_mm_popcnt_u32(lanes);
}

static inline size_t append_nonzero(vec x, size_t offset, size_t step, float *value,
                                    uint16_t *place) {
    const unsigned lanes = nonzero_lanes(x);
    const size_t low =
        append_half(_mm256_castps256_ps128(x), lanes & 15, offset, step, value, place);
    return low + append_half(_mm256_extractf128_ps(x, 1), lanes >> 4, offset + 4 * step, step,
                             value + low, place + low);
}

/* Loads are what limits a walk (two a cycle, as many as FMAs), so four values and four places are each
 * read by one, and the values broadcast in registers. */
static ALWAYS_INLINE size_t add_in_fours(const float *value, const uint16_t *place, size_t count,
                                         const float *panel, size_t vectors, vec acc[]) {
    const size_t end = count / 4 * 4;
    for (size_t e = 0; e < end; e += 4) {
        const vec four = _mm256_broadcast_ps((const void *)(value + e));
        uint64_t places;
        memcpy(&places, place + e, sizeof places);
        add_product(_mm256_permute_ps(four, 0x00), panel + (uint16_t)places, vectors, acc);
        add_product(_mm256_permute_ps(four, 0x55), panel + (uint16_t)(places >> 16), vectors, acc);
        add_product(_mm256_permute_ps(four, 0xaa), panel + (uint16_t)(places >> 32), vectors, acc);
        add_product(_mm256_permute_ps(four, 0xff), panel + (places >> 48), vectors, acc);
    }
    return end;
}

/* L1 has 32 KB. Lists of pixels are shorter than those of activations, so that their blocks are
 * longer, even if not all of L1 is there for them. */
static const pt_skip_blocking FLOAT_ROWS = {.vectors = 12, .bytes = 24 << 10},
                              BYTE_ROWS = {.vectors = 8, .bytes = 48 << 10},
                              COLUMNS = {.vectors = 12, .bytes = 24 << 10};
#define ROWS_WIDTHS(X)    X(7) X(8) X(9) X(10) X(11) X(12)
#define COLUMNS_WIDTHS(X) X(7) X(8) X(9) X(10) X(11) X(12)

#include "simd/gemm_skip_body.h"

#include "simd/gemm_skip_columns_body.h"

const pt_skip pt_skip_avx2 = {.rows_fit = skip_rows_fit,
                              .columns_fit = skip_columns_fit,
                              .pays = skip_pays,
                              .rows = skip_rows,
                              .columns = skip_columns,
                              .scratch = skip_scratch};
