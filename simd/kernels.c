/* kernels.c: builds one table of kernels per instruction set that this machine can run.
 *
 * Every pointer starts as the scalar reference; then each instruction set overwrites what it has,
 * climbing from the oldest to the best.
 */
#include "simd/kernels.h"

#include "simd/kernels_internal.h"

#include <pthread.h>

static pt_kernels tables[PT_ISA_COUNT];
static pt_isa best_isa;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* One function per instruction set that points the table at its variant of every listed kernel. */
#define SET_SCALAR(class, name) kernels->name = pt_##name##_scalar;
#define SET_AVX2(class, name)   kernels->name = pt_##name##_avx2;
#define SET_AVX512(class, name) kernels->name = pt_##name##_avx512;

static void init_scalar(pt_kernels *kernels) {
    kernels->isa = pt_isa_name(PT_ISA_SCALAR);
    PT_KERNEL_LIST(SET_SCALAR)
    pt_gemm_init_scalar(kernels);
    pt_sparse_init_scalar(kernels);
}

static void init_avx2(pt_kernels *kernels) {
    kernels->isa = pt_isa_name(PT_ISA_AVX2);
    PT_KERNEL_LIST(SET_AVX2)
    pt_gemm_init_avx2(kernels);
    pt_sparse_init_avx2(kernels);
}

static void init_avx512(pt_kernels *kernels) {
    kernels->isa = pt_isa_name(PT_ISA_AVX512);
    PT_KERNEL_LIST(SET_AVX512)
    pt_gemm_init_avx512(kernels);
    pt_sparse_init_avx512(kernels);
    if (pt_cpu_has_vbmi2())
        pt_sparse_init_avx512_vbmi2(kernels);
}

static void fill_tables(void) {
    best_isa = pt_isa_best();

    init_scalar(&tables[PT_ISA_SCALAR]);
    if (best_isa == PT_ISA_SCALAR)
        return;

    tables[PT_ISA_AVX2] = tables[PT_ISA_SCALAR];
    init_avx2(&tables[PT_ISA_AVX2]);
    if (best_isa == PT_ISA_AVX2)
        return;

    tables[PT_ISA_AVX512] = tables[PT_ISA_AVX2];
    init_avx512(&tables[PT_ISA_AVX512]);
}

const pt_kernels *pt_kernels_get(pt_isa isa) {
    pthread_once(&once, fill_tables);
    if (isa == PT_ISA_AUTO)
        isa = best_isa;
    if ((unsigned)isa >= PT_ISA_COUNT || isa > best_isa)
        return NULL;
    return &tables[isa];
}
