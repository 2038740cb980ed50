/* vector_avx2.h: 16 floats as two AVX2 registers, and the few operations the kernels need.
 *
 * The same names as vector_avx512.h; see there. Two registers a step also hide half of the latency
 * of fma (4 cycles, two a cycle). A mask is a vector of all-ones and all-zeros lanes.
 */
#ifndef PT_SIMD_VECTOR_AVX2_H
#define PT_SIMD_VECTOR_AVX2_H

#include "simd/lanes_avx2.h"
#include "simd/math_constants.h"

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define V16_INLINE static inline __attribute__((always_inline))

typedef struct v16 {
    __m256 low, high; /* lanes 0-7, 8-15 */
} v16;

typedef struct v16_mask {
    __m256i low, high;
} v16_mask;

V16_INLINE v16 v16_set1(float x) {
    __m256 all = _mm256_set1_ps(x);
    return (v16){all, all};
}

/* ---- memory ---- */

/* Lanes 0 .. count-1, count <= 16: a window on 16 ones followed by 16 zeros. */
V16_INLINE v16_mask v16_first(size_t count) {
    static const int32_t window[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                       -1, -1, -1, -1, -1, 0,  0,  0,  0,  0,  0,
                                       0,  0,  0,  0,  0,  0,  0,  0,  0,  0};
    const int32_t *start = window + 16 - count;
    return (v16_mask){_mm256_loadu_si256((const __m256i *)(const void *)start),
                      _mm256_loadu_si256((const __m256i *)(const void *)(start + 8))};
}

V16_INLINE v16 v16_load(const float *p) {
    return (v16){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

V16_INLINE void v16_store(float *p, v16 x) {
    _mm256_storeu_ps(p, x.low);
    _mm256_storeu_ps(p + 8, x.high);
}

V16_INLINE v16 v16_load_first(const float *p, v16_mask first) {
    return (v16){_mm256_maskload_ps(p, first.low), _mm256_maskload_ps(p + 8, first.high)};
}

V16_INLINE void v16_store_first(float *p, v16_mask first, v16 x) {
    vec_store_masked(first.low, p, x.low);
    vec_store_masked(first.high, p + 8, x.high);
}

V16_INLINE v16 v16_load_u8(const uint8_t *p) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return (v16){_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)),
                 _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_srli_si128(bytes, 8)))};
}

V16_INLINE v16 v16_load_u8_first(const uint8_t *p, size_t count) {
    uint8_t bytes[16] = {0}; /* AVX2 has no masked load of bytes */
    memcpy(bytes, p, count);
    return v16_load_u8(bytes);
}

/* ---- arithmetic ---- */

V16_INLINE v16 v16_add(v16 a, v16 b) {
    return (v16){_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}

V16_INLINE v16 v16_sub(v16 a, v16 b) {
    return (v16){_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}

V16_INLINE v16 v16_mul(v16 a, v16 b) {
    return (v16){_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}

V16_INLINE v16 v16_div(v16 a, v16 b) {
    return (v16){_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}

V16_INLINE v16 v16_fma(v16 a, v16 b, v16 c) {
    return (v16){_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

V16_INLINE v16 v16_sqrt(v16 x) {
    return (v16){_mm256_sqrt_ps(x.low), _mm256_sqrt_ps(x.high)};
}

V16_INLINE v16 v16_max(v16 a, v16 b) {
    return (v16){_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}

V16_INLINE v16 v16_min(v16 a, v16 b) {
    return (v16){_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}

/* ---- comparison: false for NaN, but where said ---- */

#define V16_COMPARE(a, b, predicate)                                                               \
    ((v16_mask){_mm256_castps_si256(_mm256_cmp_ps((a).low, (b).low, predicate)),                   \
                _mm256_castps_si256(_mm256_cmp_ps((a).high, (b).high, predicate))})

V16_INLINE v16_mask v16_less(v16 a, v16 b) {
    return V16_COMPARE(a, b, _CMP_LT_OQ);
}

V16_INLINE v16_mask v16_less_equal(v16 a, v16 b) {
    return V16_COMPARE(a, b, _CMP_LE_OQ);
}

V16_INLINE v16_mask v16_not_less_equal(v16 a, v16 b) {
    return V16_COMPARE(a, b, _CMP_NLE_UQ);
}

V16_INLINE v16_mask v16_equal(v16 a, v16 b) {
    return V16_COMPARE(a, b, _CMP_EQ_OQ);
}

V16_INLINE v16 v16_select(v16_mask mask, v16 a, v16 b) {
    return (v16){_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(mask.low)),
                 _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(mask.high))};
}

V16_INLINE v16 v16_keep(v16_mask mask, v16 x) {
    return (v16){_mm256_and_ps(_mm256_castsi256_ps(mask.low), x.low),
                 _mm256_and_ps(_mm256_castsi256_ps(mask.high), x.high)};
}

V16_INLINE v16_mask v16_only(size_t index) {
    __m256i wanted = _mm256_set1_epi32((int)(index < 16 ? index : 16));
    return (v16_mask){_mm256_cmpeq_epi32(wanted, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
                      _mm256_cmpeq_epi32(wanted, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15))};
}

V16_INLINE unsigned v16_mask_bits(v16_mask mask) {
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(mask.low)) |
           (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(mask.high)) << 8;
}

/* ---- bits ---- */

V16_INLINE v16 v16_negate(v16 x) {
    return (v16){-x.low, -x.high}; /* which becomes part of an fma that follows */
}

V16_INLINE v16 v16_abs(v16 x) {
    __m256 sign = _mm256_set1_ps(-0.0f);
    return (v16){_mm256_andnot_ps(sign, x.low), _mm256_andnot_ps(sign, x.high)};
}

V16_INLINE v16 v16_copy_sign(v16 magnitude, v16 sign) {
    __m256 bit = _mm256_set1_ps(-0.0f);
    v16 m = v16_abs(magnitude);
    return (v16){_mm256_or_ps(m.low, _mm256_and_ps(sign.low, bit)),
                 _mm256_or_ps(m.high, _mm256_and_ps(sign.high, bit))};
}

V16_INLINE __m256 v16_half_add_exponent(__m256 x, __m256 n) {
    __m256i field = _mm256_slli_epi32(_mm256_castps_si256(n), PT_MANTISSA_BITS);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), field));
}

V16_INLINE v16 v16_add_exponent(v16 x, v16 n) {
    return (v16){v16_half_add_exponent(x.low, n.low), v16_half_add_exponent(x.high, n.high)};
}

V16_INLINE v16 v16_power_of_2(v16 n) {
    return v16_add_exponent(v16_set1(1.0f), n);
}

V16_INLINE __m256 v16_half_split(__m256 x, __m256 *m) {
    __m256i lowest = _mm256_set1_epi32((int)PT_SQRT_HALF_BITS);
    __m256i offset = _mm256_sub_epi32(_mm256_castps_si256(x), lowest);
    __m256i mantissa = _mm256_and_si256(offset, _mm256_set1_epi32((int)PT_MANTISSA_MASK));
    *m = _mm256_castsi256_ps(_mm256_add_epi32(mantissa, lowest));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(offset, PT_MANTISSA_BITS));
}

V16_INLINE v16 v16_split(v16 x, v16 *m) {
    return (v16){v16_half_split(x.low, &m->low), v16_half_split(x.high, &m->high)};
}

/* ---- tables of eight ---- */

typedef struct v16_index {
    __m256i low, high;
} v16_index;

V16_INLINE __m256i v16_half_tanh_interval(__m256 a, __m256i first) {
    __m256i start = _mm256_set1_epi32((int)PT_TANH_FIRST_BITS);
    __m256i distance = _mm256_sub_epi32(_mm256_castps_si256(a), start);
    return _mm256_andnot_si256(first, _mm256_srli_epi32(distance, PT_TANH_INTERVAL_SHIFT));
}

V16_INLINE v16_index v16_tanh_interval(v16 a, v16_mask first) {
    return (v16_index){v16_half_tanh_interval(a.low, first.low),
                       v16_half_tanh_interval(a.high, first.high)};
}

V16_INLINE v16 v16_lookup(const float table[8], v16_index i) {
    __m256 entries = _mm256_loadu_ps(table);
    return (v16){_mm256_permutevar8x32_ps(entries, i.low),
                 _mm256_permutevar8x32_ps(entries, i.high)};
}

V16_INLINE v16 v16_lookup_or(v16_mask mask, v16 x, const float table[8], v16_index i) {
    return v16_select(mask, x, v16_lookup(table, i));
}

/* ---- across lanes ---- */

V16_INLINE float v16_sum_lanes(v16 x) {
    __m256 s8 = _mm256_add_ps(x.low, x.high);
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

V16_INLINE float v16_max_lanes(v16 x) {
    __m256 m8 = _mm256_max_ps(x.low, x.high);
    __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
}

/* ---- across the lanes of 16 vectors at once: each step of the tree halves their number ---- */

typedef __m256 v16_half_operation(__m256, __m256);

V16_INLINE __m256 v16_half_add(__m256 a, __m256 b) {
    return _mm256_add_ps(a, b);
}

V16_INLINE __m256 v16_half_max(__m256 a, __m256 b) {
    return _mm256_max_ps(a, b);
}

/* Rows a and a + 4, a half each, with four partial results each. */
V16_INLINE __m256 v16_reduce_4(const float *rows, size_t a, v16_half_operation op) {
    v16 row = v16_load(rows + 16 * a), other = v16_load(rows + 16 * (a + 4));
    __m256 left = op(row.low, row.high), right = op(other.low, other.high);
    return op(_mm256_permute2f128_ps(left, right, 0x20), _mm256_permute2f128_ps(left, right, 0x31));
}

/* And rows a + 1, a + 5, with two partial results each. */
V16_INLINE __m256 v16_reduce_2(const float *rows, size_t a, v16_half_operation op) {
    __m256d left = _mm256_castps_pd(v16_reduce_4(rows, a, op));
    __m256d right = _mm256_castps_pd(v16_reduce_4(rows, a + 1, op));
    return op(_mm256_castpd_ps(_mm256_unpacklo_pd(left, right)),
              _mm256_castpd_ps(_mm256_unpackhi_pd(left, right)));
}

V16_INLINE __m256 v16_reduce_half(const float *rows, v16_half_operation op) {
    __m256 left = v16_reduce_2(rows, 0, op), right = v16_reduce_2(rows, 2, op);
    return op(_mm256_shuffle_ps(left, right, 0x88), _mm256_shuffle_ps(left, right, 0xdd));
}

V16_INLINE v16 v16_sum_rows(const float *rows) {
    return (v16){v16_reduce_half(rows, v16_half_add), v16_reduce_half(rows + 128, v16_half_add)};
}

V16_INLINE v16 v16_max_rows(const float *rows) {
    return (v16){v16_reduce_half(rows, v16_half_max), v16_reduce_half(rows + 128, v16_half_max)};
}

#endif
