/* math_scalar.h: our exp, log, sigmoid and tanh of one float: the reference of every instruction
 * set.
 *
 * Each is a fixed sequence of IEEE-exact operations, so the vector versions in math_vector.h, which
 * run the same sequence 16 floats at a time, give the same bits. Only fmaf fuses (it is exact, in
 * hardware or in libm). The reduction of exp is that of Cody and Waite, "Software Manual for the
 * Elementary Functions", 1980.
 *
 * Largest errors measured over every float (tests/test_math.c asserts them, over a stride):
 *   exp 0.90 ulp, log 0.82 ulp, sigmoid 2.49 ulp, tanh 2.50 ulp.
 * NaN gives NaN. Results below the normal numbers are 0 (the kernels run with flush-to-zero).
 */
#ifndef PT_SIMD_MATH_SCALAR_H
#define PT_SIMD_MATH_SCALAR_H

#include "simd/math_constants.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t pt_bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float pt_float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline float pt_negate(float x) {
    return pt_float_of(pt_bits_of(x) ^ PT_FLOAT_SIGN_BIT);
}

/* x86's maxps and minps: the second operand when either is NaN or both are zero. */
static inline float pt_max(float a, float b) {
    return a > b ? a : b;
}

static inline float pt_min(float a, float b) {
    return a < b ? a : b;
}

/* x = n log(2) + r with integer n, |r| <= log(2) / 2, for |x| < 128. n comes twice: in the low bits
 * of the return value (see PT_ROUND_MAGIC), where `<< 23` makes it an exponent, and inside r. */
static inline uint32_t pt_reduce_exp(float x, float *r) {
    float shifted = fmaf(x, PT_LOG2_E, PT_ROUND_MAGIC);
    float n = shifted - PT_ROUND_MAGIC;
    *r = fmaf(n, -PT_LN2_LOW, fmaf(n, -PT_LN2_HIGH, x));
    return pt_bits_of(shifted);
}

/* (exp(r) - 1 - r) / r^2 */
static inline float pt_exp_polynomial(float r) {
    float q = fmaf(PT_EXP_4, r, PT_EXP_3);
    q = fmaf(q, r, PT_EXP_2);
    q = fmaf(q, r, PT_EXP_1);
    return fmaf(q, r, PT_EXP_0);
}

/* exp(x) = 2^n exp(r). Adding n to the exponent of exp(r) is exact, and safe between the two bounds
 * even for n = 128 (there exp(r) < 1). */
static inline float pt_exp(float x) {
    float r;
    uint32_t n = pt_reduce_exp(x, &r);
    float exp_r = fmaf(fmaf(pt_exp_polynomial(r), r, 1.0f), r, 1.0f);
    float y = pt_float_of(pt_bits_of(exp_r) + (n << PT_MANTISSA_BITS));
    y = x >= PT_EXP_SMALLEST ? y : 0.0f;
    return x <= PT_EXP_LARGEST ? y : x + INFINITY; /* NaN stays NaN */
}

/* 1 / (1 + exp(-x)). The bounds make 2^n a normal number or inf, so that it can be a factor, which
 * unlike an addition to the exponent keeps NaN. (2^n is inf from -x = 88.4 on, where the result is
 * below the normal numbers.) */
static inline float pt_sigmoid(float x) {
    float z = pt_max(PT_SIGMOID_LOWEST, pt_negate(x));
    z = pt_min(PT_SIGMOID_HIGHEST, z);
    float r;
    uint32_t n = pt_reduce_exp(z, &r);
    float exp_r = fmaf(fmaf(pt_exp_polynomial(r), r, 1.0f), r, 1.0f);
    float power = pt_float_of((n << PT_MANTISSA_BITS) + PT_FLOAT_ONE_BITS);
    return 1.0f / fmaf(exp_r, power, 1.0f);
}

/* With u = exp(-2|x|) - 1, tanh |x| = -u / (u + 2). u = 2^n (exp(r) - 1) + (2^n - 1) keeps its
 * relative accuracy down to the smallest x, where n = 0; so no second formula is needed. */
static inline float pt_tanh(float x) {
    float magnitude = pt_float_of(pt_bits_of(x) & ~PT_FLOAT_SIGN_BIT);
    float z = pt_max(PT_TANH_LOWEST, -2.0f * magnitude);
    float r;
    uint32_t n = pt_reduce_exp(z, &r);
    float exp_r_minus_1 = fmaf(pt_exp_polynomial(r) * r, r, r);
    float power = pt_float_of((n << PT_MANTISSA_BITS) + PT_FLOAT_ONE_BITS);
    float u = fmaf(power, exp_r_minus_1, power - 1.0f);
    float y = u / (u + 2.0f);
    return pt_float_of((pt_bits_of(y) & ~PT_FLOAT_SIGN_BIT) | (pt_bits_of(x) & PT_FLOAT_SIGN_BIT));
}

/* x = 2^k (1 + f): log(x) = k log(2) + log(1 + f). Subtracting the bits of sqrt(1/2) leaves k in
 * the exponent field and the distance from sqrt(1/2) below it. */
static inline float pt_log(float x) {
    uint32_t offset = pt_bits_of(x) - PT_SQRT_HALF_BITS;
    float k = (float)((int32_t)offset >> PT_MANTISSA_BITS);
    float f = pt_float_of((offset & PT_MANTISSA_MASK) + PT_SQRT_HALF_BITS) - 1.0f;
    float p = fmaf(PT_LOG_8, f, PT_LOG_7);
    p = fmaf(p, f, PT_LOG_6);
    p = fmaf(p, f, PT_LOG_5);
    p = fmaf(p, f, PT_LOG_4);
    p = fmaf(p, f, PT_LOG_3);
    p = fmaf(p, f, PT_LOG_2);
    p = fmaf(p, f, PT_LOG_1);
    p = fmaf(p, f, PT_LOG_0);
    float square = f * f;
    float y = fmaf(k, PT_LN2_LOW, square * f * p);
    y = f + fmaf(-0.5f, square, y);
    y = fmaf(k, PT_LN2_HIGH, y);
    y = x < PT_SMALLEST_NORMAL ? -INFINITY : y; /* +-0, and denormals, which count as 0 */
    y = x <= -PT_SMALLEST_NORMAL ? NAN : y;
    return x < INFINITY ? y : x + x; /* inf stays inf, NaN stays NaN */
}

#endif
