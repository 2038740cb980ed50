/* transpose_avx512.h: squares of floats transposed in registers; after lanes_avx512.h and loops.h. */
#ifndef PT_SIMD_TRANSPOSE_AVX512_H
#define PT_SIMD_TRANSPOSE_AVX512_H

/* t[l][j] = b[j][l] for 16 x 16 floats in registers: pairs of rows are interleaved by floats,
 * then by pairs of floats, then 128-bit quarters are exchanged twice. */
static ALWAYS_INLINE void load_transposed(const float *b, size_t ldb, size_t n, vec_mask columns,
                                          vec t[]) {
    vec r[16];
    UNROLL for (size_t i = 0; i < 16; i++) r[i] =
        i < n ? _mm512_maskz_loadu_ps(columns, b + i * ldb) : vec_zero();
    UNROLL for (size_t i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    UNROLL for (size_t i = 0; i < 16; i += 4) {
        /* r[i + q]: in quarter p, column 4 p + q of rows i .. i + 3 */
        for (size_t h = 0; h < 2; h++) {
            __m512d low = _mm512_castps_pd(t[i + h]), high = _mm512_castps_pd(t[i + h + 2]);
            r[i + 2 * h] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
            r[i + 2 * h + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
        }
    }
    UNROLL for (size_t q = 0; q < 4; q++) {
        vec low_even = _mm512_shuffle_f32x4(r[q], r[q + 4], 0x88); /* columns q, q + 8; rows 0-7 */
        vec low_odd = _mm512_shuffle_f32x4(r[q], r[q + 4], 0xdd);  /* columns q + 4, q + 12 */
        vec high_even = _mm512_shuffle_f32x4(r[q + 8], r[q + 12], 0x88); /* rows 8-15 */
        vec high_odd = _mm512_shuffle_f32x4(r[q + 8], r[q + 12], 0xdd);
        t[q] = _mm512_shuffle_f32x4(low_even, high_even, 0x88);
        t[q + 4] = _mm512_shuffle_f32x4(low_odd, high_odd, 0x88);
        t[q + 8] = _mm512_shuffle_f32x4(low_even, high_even, 0xdd);
        t[q + 12] = _mm512_shuffle_f32x4(low_odd, high_odd, 0xdd);
    }
}

#include "simd/pack_transposed.h"

#endif
