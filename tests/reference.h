/* reference.h: the kernels that products of a test are compared with. */
#ifndef PT_TESTS_REFERENCE_H
#define PT_TESTS_REFERENCE_H

#include "harness.h"
#include "simd/kernels.h"

/* The scalar ones; in a hurry, of more than a million multiplications, AVX2's: scalar ones take minutes
 * under sanitizers, which look for other things than wrong bits. */
static inline pt_isa reference_isa(size_t multiplications) {
    const bool hurry = pt_test_quick() && multiplications > 1000000;
    return hurry && pt_kernels_get(PT_ISA_AVX2) ? PT_ISA_AVX2 : PT_ISA_SCALAR;
}

#endif
