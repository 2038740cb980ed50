/* vector_avx512.h: 16 floats as one AVX-512 register, and the few operations the kernels need.
 *
 * vector_avx2.h offers the same names; the kernels are written once on top (math_vector.h and the
 * *_body.h files). Every operation is exact IEEE-754 or a bit operation, so both give the same
 * bits. A v16_mask says which lanes; loads "of the first lanes" put +0 in the others and, like the
 * stores, touch no memory beyond.
 */
#ifndef PT_SIMD_VECTOR_AVX512_H
#define PT_SIMD_VECTOR_AVX512_H

#include "simd/math_constants.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define V16_INLINE static inline __attribute__((always_inline))

typedef __m512 v16;
typedef __mmask16 v16_mask;

V16_INLINE v16 v16_set1(float x) {
    return _mm512_set1_ps(x);
}

/* ---- memory ---- */

/* Lanes 0 .. count-1, count <= 16. */
V16_INLINE v16_mask v16_first(size_t count) {
    return (v16_mask)((1u << count) - 1);
}

V16_INLINE v16 v16_load(const float *p) {
    return _mm512_loadu_ps(p);
}

V16_INLINE void v16_store(float *p, v16 x) {
    _mm512_storeu_ps(p, x);
}

V16_INLINE v16 v16_load_first(const float *p, v16_mask first) {
    return _mm512_maskz_loadu_ps(first, p);
}

V16_INLINE void v16_store_first(float *p, v16_mask first, v16 x) {
    _mm512_mask_storeu_ps(p, first, x);
}

V16_INLINE v16 v16_load_u8(const uint8_t *p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p)));
}

V16_INLINE v16 v16_load_u8_first(const uint8_t *p, size_t count) {
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(v16_first(count), p)));
}

/* ---- arithmetic ---- */

V16_INLINE v16 v16_add(v16 a, v16 b) {
    return _mm512_add_ps(a, b);
}

V16_INLINE v16 v16_sub(v16 a, v16 b) {
    return _mm512_sub_ps(a, b);
}

V16_INLINE v16 v16_mul(v16 a, v16 b) {
    return _mm512_mul_ps(a, b);
}

V16_INLINE v16 v16_div(v16 a, v16 b) {
    return _mm512_div_ps(a, b);
}

/* a b + c, rounded once */
V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    return _mm512_fmadd_ps(a, b, c);
}

V16_INLINE v16 v16_sqrt(v16 x) {
    return _mm512_sqrt_ps(x);
}

/* a > b ? a : b, so b when either is NaN */
V16_INLINE v16 v16_max(v16 a, v16 b) {
    return _mm512_max_ps(a, b);
}

/* a < b ? a : b, so b when either is NaN */
V16_INLINE v16 v16_min(v16 a, v16 b) {
    return _mm512_min_ps(a, b);
}

/* ---- comparison: false for NaN, but where said ---- */

V16_INLINE v16_mask v16_less(v16 a, v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}

V16_INLINE v16_mask v16_less_equal(v16 a, v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}

/* !(a <= b), so true for NaN */
V16_INLINE v16_mask v16_not_less_equal(v16 a, v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ);
}

V16_INLINE v16_mask v16_equal(v16 a, v16 b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}

/* mask ? a : b */
V16_INLINE v16 v16_select(v16_mask mask, v16 a, v16 b) {
    return _mm512_mask_blend_ps(mask, b, a);
}

/* mask ? x : +0 */
V16_INLINE v16 v16_keep(v16_mask mask, v16 x) {
    return _mm512_maskz_mov_ps(mask, x);
}

/* Only lane `index`, none when index >= 16. */
V16_INLINE v16_mask v16_only(size_t index) {
    return (v16_mask)(index < 16 ? 1u << index : 0);
}

V16_INLINE unsigned v16_mask_bits(v16_mask mask) {
    return mask;
}

/* ---- bits ---- */

V16_INLINE v16 v16_negate(v16 x) {
    return -x; /* which becomes part of an fma that follows */
}

V16_INLINE v16 v16_abs(v16 x) {
    return _mm512_andnot_ps(_mm512_set1_ps(-0.0f), x);
}

/* |magnitude| with the sign of `sign` */
V16_INLINE v16 v16_copy_sign(v16 magnitude, v16 sign) {
    return _mm512_or_ps(v16_abs(magnitude), _mm512_and_ps(sign, _mm512_set1_ps(-0.0f)));
}

/* The low bits of n, moved up to the exponent field. */
V16_INLINE __m512i v16_exponent_field(v16 n) {
    return _mm512_slli_epi32(_mm512_castps_si512(n), PT_MANTISSA_BITS);
}

/* x 2^n by adding to the exponent field; n in the low bits of a float (see PT_ROUND_MAGIC). */
V16_INLINE v16 v16_add_exponent(v16 x, v16 n) {
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), v16_exponent_field(n)));
}

/* 2^n, n in the low bits of a float. */
V16_INLINE v16 v16_power_of_2(v16 n) {
    return v16_add_exponent(_mm512_set1_ps(1.0f), n);
}

/* x = 2^k m with sqrt(1/2) <= m < sqrt(2), for positive normal x. Returns k; see pt_log. */
V16_INLINE v16 v16_split(v16 x, v16 *m) {
    __m512i lowest = _mm512_set1_epi32((int)PT_SQRT_HALF_BITS);
    __m512i offset = _mm512_sub_epi32(_mm512_castps_si512(x), lowest);
    __m512i mantissa = _mm512_and_si512(offset, _mm512_set1_epi32((int)PT_MANTISSA_MASK));
    *m = _mm512_castsi512_ps(_mm512_add_epi32(mantissa, lowest));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(offset, PT_MANTISSA_BITS));
}

/* ---- tables of eight ---- */

typedef __m512i v16_index;

/* The number of a's interval, 0 where the mask says so; see pt_tanh_table. */
V16_INLINE v16_index v16_tanh_interval(v16 a, v16_mask first) {
    __m512i start = _mm512_set1_epi32((int)PT_TANH_FIRST_BITS);
    return _mm512_maskz_srli_epi32(
        (v16_mask)~first, _mm512_sub_epi32(_mm512_castps_si512(a), start), PT_TANH_INTERVAL_SHIFT);
}

V16_INLINE v16 v16_table(const float table[8]) {
    return _mm512_broadcast_f32x8(_mm256_loadu_ps(table));
}

/* table[i % 8] */
V16_INLINE v16 v16_lookup(const float table[8], v16_index i) {
    return _mm512_permutexvar_ps(i, v16_table(table));
}

/* mask ? x : table[i % 8] */
V16_INLINE v16 v16_lookup_or(v16_mask mask, v16 x, const float table[8], v16_index i) {
    return _mm512_mask_permutexvar_ps(x, (v16_mask)~mask, i, v16_table(table));
}

/* ---- across lanes ---- */

/* The reduction tree of kernels.h: lane l += l+8, += l+4, += l+2, += l+1. */
V16_INLINE float v16_sum_lanes(v16 x) {
    __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

V16_INLINE float v16_max_lanes(v16 x) {
    __m256 m8 = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
}

/* ---- across the lanes of 16 vectors at once: each step of the tree halves their number ---- */

typedef __m512 v16_operation(__m512, __m512);

/* Quarters of 128 bits: a0 + a2, a1 + a3, b0 + b2, b1 + b3. */
V16_INLINE v16 v16_reduce_8(v16 a, v16 b, v16_operation op) {
    return op(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}

/* Rows a, a + 4, a + 8 and a + 12, a quarter each, with four partial results each. */
V16_INLINE v16 v16_reduce_4(const float *rows, size_t a, v16_operation op) {
    v16 left = v16_reduce_8(v16_load(rows + 16 * a), v16_load(rows + 16 * (a + 4)), op);
    v16 right = v16_reduce_8(v16_load(rows + 16 * (a + 8)), v16_load(rows + 16 * (a + 12)), op);
    return op(_mm512_shuffle_f32x4(left, right, 0x88), _mm512_shuffle_f32x4(left, right, 0xdd));
}

/* And rows a + 1, ..., with two partial results each. */
V16_INLINE v16 v16_reduce_2(const float *rows, size_t a, v16_operation op) {
    __m512d left = _mm512_castps_pd(v16_reduce_4(rows, a, op));
    __m512d right = _mm512_castps_pd(v16_reduce_4(rows, a + 1, op));
    return op(_mm512_castpd_ps(_mm512_unpacklo_pd(left, right)),
              _mm512_castpd_ps(_mm512_unpackhi_pd(left, right)));
}

V16_INLINE v16 v16_reduce_rows(const float *rows, v16_operation op) {
    v16 left = v16_reduce_2(rows, 0, op), right = v16_reduce_2(rows, 2, op);
    return op(_mm512_shuffle_ps(left, right, 0x88), _mm512_shuffle_ps(left, right, 0xdd));
}

/* Lane i is v16_sum_lanes, v16_max_lanes of row i, rows[16 i .. 16 i + 15]. */
V16_INLINE v16 v16_sum_rows(const float *rows) {
    return v16_reduce_rows(rows, v16_add);
}

V16_INLINE v16 v16_max_rows(const float *rows) {
    return v16_reduce_rows(rows, v16_max);
}

#endif
