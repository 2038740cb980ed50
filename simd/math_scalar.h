/* math_scalar.h: our exp, log, sigmoid, silu, gelu and tanh of one float: the reference of every
 * instruction set.
 *
 * Each is a fixed sequence of IEEE-exact operations, so the vector versions in math_vector.h, which
 * run the same sequence 16 floats at a time, give the same bits. Only fmaf fuses (it is exact, in
 * hardware or in libm). The reduction of exp is that of Cody and Waite, "Software Manual for the
 * Elementary Functions", 1980.
 *
 * Largest errors measured over every float (tests/test_math.c asserts its bounds over a stride):
 *   exp 0.90 ulp, log 0.82 ulp, tanh 0.84 ulp.
 * Over every third: sigmoid 1.97 ulp, silu 1.99 ulp (0 from -88 down), both near -17; from -16 up
 * both 1.78. Over every seventh: gelu 6.2 ulp, in the left tail.
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

static inline float pt_power_of_2(uint32_t n) {
    return pt_float_of((n << PT_MANTISSA_BITS) + PT_FLOAT_ONE_BITS);
}

/* 1 + exp(-x) for x within -88 .. 87, where 2^n is a normal number. exp(-x) = 2^n + p (2^n r): 2^n r is
 * exact, and its product with p is rounded only together with `low`, which is what 1 + 2^n has lost: 0 for
 * |n| < 24, 2^n below, 1 for n = 24 (Dekker's sum); the 1 lost from n = 25 on is below half an ulp. NaN stays
 * NaN by r. */
static inline float pt_one_plus_exp_minus(float x) {
    float r;
    float power = pt_power_of_2(pt_reduce_exp(pt_negate(x), &r));
    float p = fmaf(pt_exp_polynomial(r), r, 1.0f);
    float sum = 1.0f + power, low = power - (sum - 1.0f);
    return sum + fmaf(p, power * r, low);
}

/* 1 / (1 + exp(-x)). Below the normal numbers, and so 0, from -x = 87.4 on. */
static inline float pt_sigmoid(float x) {
    float cut = pt_min(-PT_SIGMOID_LOWEST, pt_max(-PT_SIGMOID_HIGHEST, x));
    return 1.0f / pt_one_plus_exp_minus(cut);
}

/* x / (1 + exp(-x)); 0 from -88 down, where -x is too large for the sum. */
static inline float pt_silu(float x) {
    float factor = x <= -PT_SIGMOID_HIGHEST ? 0.0f : x; /* NaN stays */
    float cut = pt_min(-PT_SIGMOID_LOWEST, factor);
    return factor / pt_one_plus_exp_minus(cut);
}

/* The derivative of silu: with s = sigmoid(x), s (1 + x exp(-x) s). */
static inline float pt_silu_slope(float x) {
    float z = pt_max(PT_SIGMOID_LOWEST, pt_negate(x));
    z = pt_min(PT_SIGMOID_HIGHEST, z);
    float r;
    uint32_t n = pt_reduce_exp(z, &r);
    float exp_r = fmaf(fmaf(pt_exp_polynomial(r), r, 1.0f), r, 1.0f);
    float e = exp_r * pt_power_of_2(n);
    float s = 1.0f / (1.0f + e);
    return s * fmaf(pt_negate(z), e * s, 1.0f);
}

/* For a = |x|, up to PT_GELU_HIGHEST: exp(-a^2 / 2), and the Mills ratio over sqrt(2 pi), so that
 * Phi(-a) is their product. The rounding error of a^2 goes into the reduced argument. */
static inline float pt_gaussian(float a, float *mills) {
    float square = a * a, r;
    float square_low = fmaf(a, a, pt_negate(square));
    uint32_t n = pt_reduce_exp(-0.5f * square, &r);
    r = fmaf(-0.5f, square_low, r);
    float exp_r = fmaf(fmaf(pt_exp_polynomial(r), r, 1.0f), r, 1.0f);
    float p = fmaf(PT_MILLS_P4, a, PT_MILLS_P3);
    p = fmaf(p, a, PT_MILLS_P2);
    p = fmaf(p, a, PT_MILLS_P1);
    p = fmaf(p, a, PT_MILLS_P0);
    float q = fmaf(PT_MILLS_Q5, a, PT_MILLS_Q4);
    q = fmaf(q, a, PT_MILLS_Q3);
    q = fmaf(q, a, PT_MILLS_Q2);
    q = fmaf(q, a, PT_MILLS_Q1);
    q = fmaf(q, a, 1.0f);
    *mills = p / q;
    return exp_r * pt_power_of_2(n);
}

/* x Phi(x) = max(x, 0) - |x| Phi(-|x|): nothing cancels, so the left tail keeps its accuracy. */
static inline float pt_gelu(float x) {
    float mills, a = pt_min(PT_GELU_HIGHEST, pt_float_of(pt_bits_of(x) & ~PT_FLOAT_SIGN_BIT));
    float e = pt_gaussian(a, &mills);
    return fmaf(pt_negate(a * e), mills, pt_max(x, 0.0f));
}

/* Phi(x) + x phi(x). With w = Phi(-|x|) - |x| phi(x), that is w left of zero and 1 - w right of it.
 */
static inline float pt_gelu_slope(float x) {
    float mills, a = pt_min(PT_GELU_HIGHEST, pt_float_of(pt_bits_of(x) & ~PT_FLOAT_SIGN_BIT));
    float e = pt_gaussian(a, &mills);
    float w = fmaf(-PT_1_OVER_SQRT_2PI, a, mills);
    return x > 0.0f ? fmaf(pt_negate(e), w, 1.0f) : e * w;
}

/* A polynomial of the interval that |x| lies in; see pt_tanh_table. */
static inline float pt_tanh(float x) {
    float a = pt_min(PT_TANH_HIGHEST, pt_float_of(pt_bits_of(x) & ~PT_FLOAT_SIGN_BIT));
    uint32_t distance = pt_bits_of(pt_max(PT_TANH_FIRST, a)) - PT_TANH_FIRST_BITS;
    uint32_t i = (distance >> PT_TANH_INTERVAL_SHIFT) % PT_TANH_INTERVALS; /* NaN: any */
    int first = a < PT_TANH_SECOND;
    float t = a - pt_tanh_center[i];
    float v = first ? t * t : t;
    float p = pt_tanh_table[PT_TANH_DEGREE][i];
    for (int k = PT_TANH_DEGREE - 1; k > 0; k--)
        p = fmaf(p, v, pt_tanh_table[k][i]);
    float y = fmaf(t, p, first ? a : pt_tanh_table[0][i]);
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
