/* kernels_internal.h: how the kernel files of simd/ fill the table, one function per family and
 * instruction set. Each sets the pointers it has and leaves the others alone, so that calling them
 * from scalar upwards climbs to the best. Not for use outside simd/ (and its tests).
 */
#ifndef PT_SIMD_KERNELS_INTERNAL_H
#define PT_SIMD_KERNELS_INTERNAL_H

#include "simd/kernels.h"

/* Matrix products: sgemm_scratch, sgemm_nn, sgemm_nt, sgemm_tn, column_sum. */
void pt_gemm_init_scalar(pt_kernels *table);
void pt_gemm_init_avx2(pt_kernels *table);
void pt_gemm_init_avx512(pt_kernels *table);

#endif
