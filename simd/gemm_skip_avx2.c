/* gemm_skip_avx2.c: matrix products that skip zeros, in 256-bit vectors: gemm_skip_body.h. */
#include "simd/gemm_skip.h"
#include "simd/lanes_avx2.h"
#include "simd/loops.h"
#include "simd/transpose_avx2.h"

#include <stdint.h>

static inline unsigned nonzero_lanes(vec x) {
    return (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(x, vec_zero(), _CMP_NEQ_UQ));
}

static inline size_t count_nonzero_lanes(vec x) {
    return (size_t)_mm_popcnt_u32(nonzero_lanes(x));
}

/* The numbers of the lanes wanted, a byte each, are picked from a word that holds all (BMI2). */
static inline size_t append_nonzero(vec x, size_t offset, size_t step, float *value,
                                    uint16_t *place) {
    const unsigned lanes = nonzero_lanes(x);
    const uint64_t bytes = _pdep_u64(lanes, UINT64_C(0x0101010101010101)) * 255;
    const uint64_t picked = _pext_u64(UINT64_C(0x0706050403020100), bytes);
    const __m128i lane = _mm_cvtsi64_si128((long long)picked);
    vec_store(value, _mm256_permutevar8x32_ps(x, _mm256_cvtepu8_epi32(lane)));
    const __m128i places = _mm_mullo_epi16(_mm_cvtepu8_epi16(lane), _mm_set1_epi16((short)step));
    _mm_storeu_si128((void *)place, _mm_add_epi16(places, _mm_set1_epi16((short)offset)));
    return (size_t)_mm_popcnt_u32(lanes);
}

/* L1 has 32 KB. Lists of pixels are shorter than those of activations, so that their blocks are
 * longer, even if not all of L1 is there for them. A block of columns is a mini-batch of 128. */
static const pt_skip_blocking FLOAT_ROWS = {.vectors = 12, .bytes = 24 << 10},
                              BYTE_ROWS = {.vectors = 8, .bytes = 48 << 10},
                              COLUMNS = {.vectors = 8, .bytes = 32 << 10};
#define ROWS_WIDTHS(X)    X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#define COLUMNS_WIDTHS(X) X(6) X(7) X(8)

#include "simd/gemm_skip_body.h"

#include "simd/gemm_skip_columns_body.h"

const pt_skip pt_skip_avx2 = {.rows_fit = skip_rows_fit,
                              .columns_fit = skip_columns_fit,
                              .pays = skip_pays,
                              .rows = skip_rows,
                              .columns = skip_columns,
                              .scratch = skip_scratch};
