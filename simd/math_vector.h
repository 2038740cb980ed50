/* math_vector.h: exp, log, sigmoid, silu, gelu and tanh of 16 floats.
 *
 * The formulas, bounds and errors are those of math_scalar.h, operation by operation. Needs the v16
 * of vector_avx2.h or vector_avx512.h, included first.
 */
#ifndef PT_SIMD_MATH_VECTOR_H
#define PT_SIMD_MATH_VECTOR_H

#include "simd/loops.h"
#include "simd/math_constants.h"

#include <math.h>

/* Of -x with `minus`, where the negation goes into a constant and into an fma. */
V16_INLINE v16 v16_reduce_exp_signed(v16 x, int minus, v16 *r) {
    v16 magic = v16_set1(PT_ROUND_MAGIC);
    v16 shifted = v16_fma(x, v16_set1(minus ? -PT_LOG2_E : PT_LOG2_E), magic);
    v16 n = v16_sub(shifted, magic);
    v16 high = v16_fma(n, v16_set1(-PT_LN2_HIGH), minus ? v16_negate(x) : x);
    *r = v16_fma(n, v16_set1(-PT_LN2_LOW), high);
    return shifted;
}

V16_INLINE v16 v16_reduce_exp(v16 x, v16 *r) {
    return v16_reduce_exp_signed(x, 0, r);
}

V16_INLINE v16 v16_exp_polynomial(v16 r) {
    v16 q = v16_fma(v16_set1(PT_EXP_4), r, v16_set1(PT_EXP_3));
    q = v16_fma(q, r, v16_set1(PT_EXP_2));
    q = v16_fma(q, r, v16_set1(PT_EXP_1));
    return v16_fma(q, r, v16_set1(PT_EXP_0));
}

V16_INLINE v16 v16_exp(v16 x) {
    v16 r, one = v16_set1(1.0f);
    v16 n = v16_reduce_exp(x, &r);
    v16 exp_r = v16_fma(v16_fma(v16_exp_polynomial(r), r, one), r, one);
    v16 y = v16_add_exponent(exp_r, n);
    y = v16_select(v16_less_equal(v16_set1(PT_EXP_SMALLEST), x), y, v16_set1(0.0f));
    return v16_select(v16_less_equal(x, v16_set1(PT_EXP_LARGEST)), y,
                      v16_add(x, v16_set1(INFINITY)));
}

V16_INLINE v16 v16_one_plus_exp_minus(v16 x) {
    v16 r, one = v16_set1(1.0f);
    v16 power = v16_power_of_2(v16_reduce_exp_signed(x, 1, &r));
    v16 p = v16_fma(v16_exp_polynomial(r), r, one);
    v16 sum = v16_add(one, power), low = v16_sub(power, v16_sub(sum, one));
    return v16_add(sum, v16_fma(p, v16_mul(power, r), low));
}

V16_INLINE v16 v16_sigmoid(v16 x) {
    v16 cut = v16_min(v16_set1(-PT_SIGMOID_LOWEST), v16_max(v16_set1(-PT_SIGMOID_HIGHEST), x));
    return v16_div(v16_set1(1.0f), v16_one_plus_exp_minus(cut));
}

V16_INLINE v16 v16_silu(v16 x) {
    v16 factor = v16_keep(v16_not_less_equal(x, v16_set1(-PT_SIGMOID_HIGHEST)), x);
    v16 cut = v16_min(v16_set1(-PT_SIGMOID_LOWEST), factor);
    return v16_div(factor, v16_one_plus_exp_minus(cut));
}

V16_INLINE v16 v16_silu_slope(v16 x) {
    v16 z = v16_max(v16_set1(PT_SIGMOID_LOWEST), v16_negate(x));
    z = v16_min(v16_set1(PT_SIGMOID_HIGHEST), z);
    v16 r, one = v16_set1(1.0f);
    v16 n = v16_reduce_exp(z, &r);
    v16 exp_r = v16_fma(v16_fma(v16_exp_polynomial(r), r, one), r, one);
    v16 e = v16_mul(exp_r, v16_power_of_2(n));
    v16 s = v16_div(one, v16_add(one, e));
    return v16_mul(s, v16_fma(v16_negate(z), v16_mul(e, s), one));
}

V16_INLINE v16 v16_gaussian(v16 a, v16 *mills) {
    v16 one = v16_set1(1.0f), half = v16_set1(-0.5f), r;
    v16 square = v16_mul(a, a);
    v16 square_low = v16_fma(a, a, v16_negate(square));
    v16 n = v16_reduce_exp(v16_mul(half, square), &r);
    r = v16_fma(half, square_low, r);
    v16 exp_r = v16_fma(v16_fma(v16_exp_polynomial(r), r, one), r, one);
    v16 p = v16_fma(v16_set1(PT_MILLS_P4), a, v16_set1(PT_MILLS_P3));
    p = v16_fma(p, a, v16_set1(PT_MILLS_P2));
    p = v16_fma(p, a, v16_set1(PT_MILLS_P1));
    p = v16_fma(p, a, v16_set1(PT_MILLS_P0));
    v16 q = v16_fma(v16_set1(PT_MILLS_Q5), a, v16_set1(PT_MILLS_Q4));
    q = v16_fma(q, a, v16_set1(PT_MILLS_Q3));
    q = v16_fma(q, a, v16_set1(PT_MILLS_Q2));
    q = v16_fma(q, a, v16_set1(PT_MILLS_Q1));
    q = v16_fma(q, a, one);
    *mills = v16_div(p, q);
    return v16_mul(exp_r, v16_power_of_2(n));
}

V16_INLINE v16 v16_gelu(v16 x) {
    v16 mills, a = v16_min(v16_set1(PT_GELU_HIGHEST), v16_abs(x));
    v16 e = v16_gaussian(a, &mills);
    return v16_fma(v16_negate(v16_mul(a, e)), mills, v16_max(x, v16_set1(0.0f)));
}

V16_INLINE v16 v16_gelu_slope(v16 x) {
    v16 mills, a = v16_min(v16_set1(PT_GELU_HIGHEST), v16_abs(x));
    v16 e = v16_gaussian(a, &mills);
    v16 w = v16_fma(v16_set1(-PT_1_OVER_SQRT_2PI), a, mills);
    return v16_select(v16_less(v16_set1(0.0f), x), v16_fma(v16_negate(e), w, v16_set1(1.0f)),
                      v16_mul(e, w));
}

V16_INLINE v16 v16_tanh(v16 x) {
    v16 a = v16_min(v16_set1(PT_TANH_HIGHEST), v16_abs(x));
    v16_mask first = v16_less(a, v16_set1(PT_TANH_SECOND));
    v16_index i = v16_tanh_interval(a, first);
    v16 t = v16_sub(a, v16_lookup(pt_tanh_center, i));
    v16 v = v16_select(first, v16_mul(t, t), t);
    v16 p = v16_lookup(pt_tanh_table[PT_TANH_DEGREE], i);
    UNROLL /* so that the tables stay in registers */
        for (int k = PT_TANH_DEGREE - 1; k > 0; k--) p =
            v16_fma(p, v, v16_lookup(pt_tanh_table[k], i));
    v16 y = v16_fma(t, p, v16_lookup_or(first, a, pt_tanh_table[0], i));
    return v16_copy_sign(y, x);
}

V16_INLINE v16 v16_log(v16 x) {
    v16 m;
    v16 k = v16_split(x, &m);
    v16 f = v16_sub(m, v16_set1(1.0f));
    v16 p = v16_fma(v16_set1(PT_LOG_8), f, v16_set1(PT_LOG_7));
    p = v16_fma(p, f, v16_set1(PT_LOG_6));
    p = v16_fma(p, f, v16_set1(PT_LOG_5));
    p = v16_fma(p, f, v16_set1(PT_LOG_4));
    p = v16_fma(p, f, v16_set1(PT_LOG_3));
    p = v16_fma(p, f, v16_set1(PT_LOG_2));
    p = v16_fma(p, f, v16_set1(PT_LOG_1));
    p = v16_fma(p, f, v16_set1(PT_LOG_0));
    v16 square = v16_mul(f, f);
    v16 y = v16_fma(k, v16_set1(PT_LN2_LOW), v16_mul(v16_mul(square, f), p));
    y = v16_add(f, v16_fma(v16_set1(-0.5f), square, y));
    y = v16_fma(k, v16_set1(PT_LN2_HIGH), y);
    y = v16_select(v16_less(x, v16_set1(PT_SMALLEST_NORMAL)), v16_set1(-INFINITY), y);
    y = v16_select(v16_less_equal(x, v16_set1(-PT_SMALLEST_NORMAL)), v16_set1(NAN), y);
    return v16_select(v16_less(x, v16_set1(INFINITY)), y, v16_add(x, x));
}

#endif
