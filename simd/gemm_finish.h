/* gemm_finish.h: what forward and backward products do with an element when its chain has ended, while
 * it is in a register: ReLU, or the gate that is ReLU's backward. That saves a pass over C.
 */
#ifndef PT_SIMD_GEMM_FINISH_H
#define PT_SIMD_GEMM_FINISH_H

#include <stdbool.h>
#include <stdint.h>

typedef struct pt_gemm_finish {
    bool relu;      /* relu_forward of it */
    uintptr_t gate; /* not 0: relu_backward of a gate, which lies so many bytes after C, and it */
} pt_gemm_finish;

/* The gate of an element of C. */
static inline const float *pt_gate_of(const float *c, uintptr_t gate) {
    return (const float *)((uintptr_t)c + gate);
}

static inline pt_gemm_finish pt_gated(const float *c, const float *gate) {
    return (pt_gemm_finish){.gate = gate ? (uintptr_t)gate - (uintptr_t)c : 0};
}

#endif
