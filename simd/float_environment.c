/* float_environment.c: the rounding and denormal settings that the kernels' bits depend on.
 *
 * MXCSR (Intel SDM vol. 1, 10.2.3) belongs to a thread: every worker sets its own. It rules SSE,
 * AVX and AVX-512 arithmetic alike, and so the scalar reference too.
 */
#include "simd/kernels.h"

#include <float.h>
#include <immintrin.h>
#include <math.h>

enum {
    MXCSR_DENORMALS_ARE_ZERO = 1u << 6,
    MXCSR_MASK_ALL_EXCEPTIONS = 0x3fu << 7,
    MXCSR_ROUND_TO_NEAREST = 0u << 13,
    MXCSR_FLUSH_TO_ZERO = 1u << 15,
};

unsigned pt_float_environment_enter(void) {
    unsigned previous = _mm_getcsr();
    _mm_setcsr(MXCSR_DENORMALS_ARE_ZERO | MXCSR_MASK_ALL_EXCEPTIONS | MXCSR_ROUND_TO_NEAREST |
               MXCSR_FLUSH_TO_ZERO);
    return previous;
}

void pt_float_environment_leave(unsigned previous) {
    _mm_setcsr(previous);
}

void pt_flush_denormals(size_t n, float *x) {
    for (size_t i = 0; i < n; i++)
        if (fabsf(x[i]) < FLT_MIN)
            x[i] = copysignf(0, x[i]);
}
