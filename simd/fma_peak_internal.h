/* fma_peak_internal.h: the loops, for fma_peak.c alone. */
#ifndef PT_SIMD_FMA_PEAK_INTERNAL_H
#define PT_SIMD_FMA_PEAK_INTERNAL_H

#include <stddef.h>

double pt_fma_loop_libm(size_t steps);   /* any processor */
double pt_fma_loop_single(size_t steps); /* AVX2 and FMA, one float at a time */
double pt_fma_loop_avx2(size_t steps);
double pt_fma_loop_avx512(size_t steps);

#endif
