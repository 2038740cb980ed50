/* math_vector.h: exp, log, sigmoid and tanh of 16 floats.
 *
 * The formulas, bounds and errors are those of math_scalar.h, operation by operation. Needs the v16
 * of vector_avx2.h or vector_avx512.h, included first.
 */
#ifndef PT_SIMD_MATH_VECTOR_H
#define PT_SIMD_MATH_VECTOR_H

#include "simd/math_constants.h"

#include <math.h>

V16_INLINE v16 v16_reduce_exp(v16 x, v16 *r) {
    v16 magic = v16_set1(PT_ROUND_MAGIC);
    v16 shifted = v16_fma(x, v16_set1(PT_LOG2_E), magic);
    v16 n = v16_sub(shifted, magic);
    *r = v16_fma(n, v16_set1(-PT_LN2_LOW), v16_fma(n, v16_set1(-PT_LN2_HIGH), x));
    return shifted;
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

V16_INLINE v16 v16_sigmoid(v16 x) {
    v16 z = v16_max(v16_set1(PT_SIGMOID_LOWEST), v16_negate(x));
    z = v16_min(v16_set1(PT_SIGMOID_HIGHEST), z);
    v16 r, one = v16_set1(1.0f);
    v16 n = v16_reduce_exp(z, &r);
    v16 exp_r = v16_fma(v16_fma(v16_exp_polynomial(r), r, one), r, one);
    return v16_div(one, v16_fma(exp_r, v16_power_of_2(n), one));
}

V16_INLINE v16 v16_tanh(v16 x) {
    v16 z = v16_max(v16_set1(PT_TANH_LOWEST), v16_mul(v16_set1(-2.0f), v16_abs(x)));
    v16 r;
    v16 n = v16_reduce_exp(z, &r);
    v16 exp_r_minus_1 = v16_fma(v16_mul(v16_exp_polynomial(r), r), r, r);
    v16 power = v16_power_of_2(n);
    v16 u = v16_fma(power, exp_r_minus_1, v16_sub(power, v16_set1(1.0f)));
    return v16_copy_sign(v16_div(u, v16_add(u, v16_set1(2.0f))), x);
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
