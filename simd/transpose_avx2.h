/* transpose_avx2.h: squares of floats transposed in registers; after lanes_avx2.h and loops.h. */
#ifndef PT_SIMD_TRANSPOSE_AVX2_H
#define PT_SIMD_TRANSPOSE_AVX2_H

/* t[l][j] = b[j][l] for 8 x 8 floats in registers: rows i and i + 4 share a register, so that
 * what remains is a 4 x 4 transpose within each half. */
static ALWAYS_INLINE void load_transposed(const float *b, size_t ldb, size_t n, vec_mask columns,
                                          vec t[]) {
    vec r[8], s[8];
    UNROLL for (size_t i = 0; i < 8; i++) r[i] =
        i < n ? vec_load_masked(columns, b + i * ldb) : vec_zero();
    UNROLL for (size_t i = 0; i < 4; i++) {
        s[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);     /* columns 0-3 */
        s[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31); /* columns 4-7 */
    }
    UNROLL for (size_t h = 0; h < 8; h += 4) {
        __m256d low01 = _mm256_castps_pd(_mm256_unpacklo_ps(s[h], s[h + 1]));
        __m256d low23 = _mm256_castps_pd(_mm256_unpacklo_ps(s[h + 2], s[h + 3]));
        __m256d high01 = _mm256_castps_pd(_mm256_unpackhi_ps(s[h], s[h + 1]));
        __m256d high23 = _mm256_castps_pd(_mm256_unpackhi_ps(s[h + 2], s[h + 3]));
        t[h] = _mm256_castpd_ps(_mm256_unpacklo_pd(low01, low23));
        t[h + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low01, low23));
        t[h + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(high01, high23));
        t[h + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(high01, high23));
    }
}

#include "simd/pack_transposed.h"

#endif
