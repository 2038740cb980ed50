/* lanes_avx512.h: one 512-bit vector of floats, by the names that the bodies of the matrix products
 * use (gemm_tile_body.h, sparse_nn_body.h, sparse_tn_body.h). */
#ifndef PT_SIMD_LANES_AVX512_H
#define PT_SIMD_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>

enum { LANES = 16 };
typedef __m512 vec;
typedef __mmask16 vec_mask;

static inline vec vec_zero(void) {
    return _mm512_setzero_ps();
}
static inline vec vec_set(float x) {
    return _mm512_set1_ps(x);
}
static inline vec vec_broadcast(const float *x) {
    return _mm512_set1_ps(*x);
}
static inline vec vec_load(const float *x) {
    return _mm512_loadu_ps(x);
}
static inline void vec_store(float *x, vec v) {
    _mm512_storeu_ps(x, v);
}
static inline vec vec_load_masked(vec_mask mask, const float *x) {
    return _mm512_maskz_loadu_ps(mask, x);
}
static inline void vec_store_masked(vec_mask mask, float *x, vec v) {
    _mm512_mask_storeu_ps(x, mask, v);
}
/* The first n <= LANES lanes. */
static inline vec_mask vec_first(size_t n) {
    return (vec_mask)((1u << n) - 1u);
}
static inline vec vec_fma(vec a, vec b, vec c) {
    return _mm512_fmadd_ps(a, b, c);
}
/* *c += *x * b, added into the register where c is */
static inline void vec_fma_broadcast(vec *c, const float *x, vec b) {
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(*c) : "v"(b), "m"(*x));
}
static inline vec vec_mul(vec a, vec b) {
    return _mm512_mul_ps(a, b);
}
static inline vec vec_add(vec a, vec b) {
    return _mm512_add_ps(a, b);
}
/* relu_forward of x, which is not -0: of a NaN and a number vmaxps gives the second. */
static inline vec vec_relu(vec x) {
    return _mm512_max_ps(_mm512_setzero_ps(), x);
}
/* relu_backward */
static inline vec vec_gate(vec y, vec dy) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_GT_OQ), dy);
}

#endif
