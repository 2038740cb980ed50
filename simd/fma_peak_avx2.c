/* fma_peak_avx2.c: the FMA loop on 8 floats, and on single floats by the same instructions. */
#include <immintrin.h>

#define PEAK_NAME         pt_fma_loop_avx2
#define PEAK_TYPE         __m256
#define PEAK_LANES        8
#define PEAK_SET1(x)      _mm256_set1_ps(x)
#define PEAK_FMA(a, b, c) _mm256_fmadd_ps(a, b, c)
#include "simd/fma_peak_body.h"

#define PEAK_NAME         pt_fma_loop_single
#define PEAK_TYPE         __m128
#define PEAK_LANES        1
#define PEAK_SET1(x)      _mm_set1_ps(x)
#define PEAK_FMA(a, b, c) _mm_fmadd_ss(a, b, c)
#include "simd/fma_peak_body.h"
