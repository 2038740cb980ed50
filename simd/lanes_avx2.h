/* lanes_avx2.h: one 256-bit vector of floats, by the names that the bodies of the matrix products
 * use (gemm_tile_body.h, sparse_nn_body.h, sparse_tn_body.h). */
#ifndef PT_SIMD_LANES_AVX2_H
#define PT_SIMD_LANES_AVX2_H

#include <immintrin.h>
#include <stddef.h>

enum { LANES = 8 };
typedef __m256 vec;
typedef __m256i vec_mask;

static inline vec vec_zero(void) {
    return _mm256_setzero_ps();
}
static inline vec vec_set(float x) {
    return _mm256_set1_ps(x);
}
static inline vec vec_broadcast(const float *x) {
    return _mm256_set1_ps(*x);
}
static inline vec vec_load(const float *x) {
    return _mm256_loadu_ps(x);
}
static inline void vec_store(float *x, vec v) {
    _mm256_storeu_ps(x, v);
}
static inline vec vec_load_masked(vec_mask mask, const float *x) {
    return _mm256_maskload_ps(x, mask);
}
/* Stores the first 0 to 4 lanes, of which `lanes` is the mask: 0, 1, 3, 7 or 15. */
static inline void store_quarter(int lanes, float *x, __m128 v) {
    if (lanes == 0xf) {
        _mm_storeu_ps(x, v);
        return;
    }
    if (lanes & 2) {
        _mm_storel_pi((__m64 *)(void *)x, v);
        v = _mm_movehl_ps(v, v);
        x += 2;
        lanes >>= 2;
    }
    if (lanes & 1)
        _mm_store_ss(x, v);
}
/* The mask is of the first lanes. Not by vmaskmovps: as a store it takes 12 cycles and 40 operations
 * on processors of AMD before Zen 4; branches that always go the same way cost next to nothing. */
static inline void vec_store_masked(vec_mask mask, float *x, vec v) {
    const int first = _mm256_movemask_ps(_mm256_castsi256_ps(mask));
    if (first == 0xff) {
        _mm256_storeu_ps(x, v);
        return;
    }
    store_quarter(first & 0xf, x, _mm256_castps256_ps128(v));
    if (first > 0xf)
        store_quarter(first >> 4, x + 4, _mm256_extractf128_ps(v, 1));
}
/* The first n <= LANES lanes. */
static inline vec_mask vec_first(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
static inline vec vec_fma(vec a, vec b, vec c) {
    return _mm256_fmadd_ps(a, b, c);
}
/* *c += *x * b, added into the register where c is */
static inline void vec_fma_broadcast(vec *c, const float *x, vec b) {
    vec xv;
    __asm__("vbroadcastss %2, %1\n\t"
            "vfmadd231ps %3, %1, %0"
            : "+x"(*c), "=&x"(xv)
            : "m"(*x), "x"(b));
}
static inline vec vec_mul(vec a, vec b) {
    return _mm256_mul_ps(a, b);
}
static inline vec vec_add(vec a, vec b) {
    return _mm256_add_ps(a, b);
}
/* relu_forward of x, which is not -0: of a NaN and a number vmaxps gives the second. */
static inline vec vec_relu(vec x) {
    return _mm256_max_ps(_mm256_setzero_ps(), x);
}
/* relu_backward */
static inline vec vec_gate(vec y, vec dy) {
    return _mm256_and_ps(_mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_GT_OQ), dy);
}

#endif
