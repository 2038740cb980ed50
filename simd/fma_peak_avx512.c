/* fma_peak_avx512.c: the FMA loop on 16 floats. */
#include <immintrin.h>

#define PEAK_NAME         pt_fma_loop_avx512
#define PEAK_TYPE         __m512
#define PEAK_LANES        16
#define PEAK_SET1(x)      _mm512_set1_ps(x)
#define PEAK_FMA(a, b, c) _mm512_fmadd_ps(a, b, c)
#include "simd/fma_peak_body.h"
