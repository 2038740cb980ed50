/* kernels_internal.h: what the files of simd/ share with each other and with nobody else.
 *
 * kernels.c builds the tables; each pt_*_init_ISA overwrites the pointers that its file implements.
 * The functions of an instruction set may only be called where pt_isa_best() reaches it.
 */
#ifndef PT_SIMD_KERNELS_INTERNAL_H
#define PT_SIMD_KERNELS_INTERNAL_H

#include "simd/kernel_list.h"
#include "simd/kernels.h"

#include <stdbool.h>

/* Matrix products and column sums: gemm_*.c. */
void pt_gemm_init_scalar(pt_kernels *kernels);
void pt_gemm_init_avx2(pt_kernels *kernels);
void pt_gemm_init_avx512(pt_kernels *kernels);

/* Products with sparse rows of bytes: sparse_*.c. */
void pt_sparse_init_scalar(pt_kernels *kernels);
void pt_sparse_init_avx2(pt_kernels *kernels);
void pt_sparse_init_avx512(pt_kernels *kernels);
void pt_sparse_init_avx512_vbmi2(pt_kernels *kernels);
/* Whether the processor has AVX-512 VBMI2 too: cpu.c. */
bool pt_cpu_has_vbmi2(void);

/* Everything in kernel_list.h: kernels_scalar.c, kernels_avx2.c, kernels_avx512.c. */
#define PT_DECLARE_KERNEL(class, name)                                                             \
    void pt_##name##_scalar PT_SIGNATURE_##class;                                                  \
    void pt_##name##_avx2 PT_SIGNATURE_##class;                                                    \
    void pt_##name##_avx512 PT_SIGNATURE_##class;
PT_KERNEL_LIST(PT_DECLARE_KERNEL)
#undef PT_DECLARE_KERNEL

#endif
