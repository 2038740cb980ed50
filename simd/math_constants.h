/* math_constants.h: the numbers of our exp, log, tanh, sigmoid and gelu, shared by every instruction
 * set.
 *
 * Written in hexadecimal so that no decimal conversion can differ. The polynomials are our own
 * minimax fits (Remez exchange in 200-bit arithmetic; coefficients rounded to float one at a time
 * from the lowest order up, the rest refitted after each). Formulas: math_scalar.h.
 */
#ifndef PT_SIMD_MATH_CONSTANTS_H
#define PT_SIMD_MATH_CONSTANTS_H

/* log(2) in two parts: n * PT_LN2_HIGH is exact in float for |n| < 256 (Cody and Waite). */
#define PT_LN2_HIGH 0x1.62e430p-1f
#define PT_LN2_LOW  (-0x1.05c610p-29f)
#define PT_LOG2_E   0x1.715476p+0f

/* 1.5 * 2^23: adding it rounds to an integer, which then sits in the low bits of the sum. */
#define PT_ROUND_MAGIC 0x1.8p+23f

#define PT_FLOAT_ONE_BITS  0x3f800000u /* 1.0f */
#define PT_FLOAT_SIGN_BIT  0x80000000u
#define PT_MANTISSA_BITS   23
#define PT_MANTISSA_MASK   0x007fffffu
#define PT_SQRT_HALF_BITS  0x3f3504f3u /* sqrt(1/2), where log's reduced range starts */
#define PT_SMALLEST_NORMAL 0x1p-126f

/* exp(r) = 1 + r + r^2 (E0 + E1 r + ... + E4 r^4) for |r| <= log(2) / 2, relative error 3.2e-9. */
#define PT_EXP_0 0x1.fffffcp-2f
#define PT_EXP_1 0x1.55548cp-3f
#define PT_EXP_2 0x1.555858p-5f
#define PT_EXP_3 0x1.123de0p-7f
#define PT_EXP_4 0x1.6ac6b2p-10f

/* The largest x with a finite exp(x), and the smallest with a normal one. */
#define PT_EXP_LARGEST  0x1.62e42ep+6f
#define PT_EXP_SMALLEST (-0x1.5d589ep+6f)

/* Beyond these, sigmoid is constant in float, and silu is x or taken as 0. */
#define PT_SIGMOID_LOWEST  (-87.0f) /* of -x: 1 / (1 + exp(-87)) is 1 */
#define PT_SIGMOID_HIGHEST 88.0f    /* of -x: 2^n is finite, and sigmoid below the normal numbers */

/* gelu. From 13.24 on, exp(-x^2 / 2) is below the normal numbers. The Mills ratio over sqrt(2 pi),
 * Phi(-a) exp(a^2 / 2) = (P0 + ... + P4 a^4) / (1 + Q1 a + ... + Q5 a^5), relative error 1.8e-8. */
#define PT_GELU_HIGHEST    0x1.a7ae14p+3f
#define PT_1_OVER_SQRT_2PI 0x1.988454p-2f
#define PT_MILLS_P0        0x1.000000p-1f
#define PT_MILLS_P1        0x1.be05bap-2f
#define PT_MILLS_P2        0x1.732366p-3f
#define PT_MILLS_P3        0x1.474f9ap-5f
#define PT_MILLS_P4        0x1.072f04p-8f
#define PT_MILLS_Q1        0x1.ab450cp+0f
#define PT_MILLS_Q2        0x1.31b208p+0f
#define PT_MILLS_Q3        0x1.db4a66p-2f
#define PT_MILLS_Q4        0x1.9a40f8p-4f
#define PT_MILLS_Q5        0x1.49d8dcp-7f

/* tanh by intervals. The upper ends of the eight are 0.815, 1.13, 1.63, 2.26, 3.26, 4.52, 6.52 and
 * 9.04: half octaves, so that the number of an interval is the upper bits of the distance in bit
 * patterns from FIRST. In the first, tanh a = a + a v (T2 + T3 v + ... + T7 v^5) with v = a^2; in the
 * others tanh a = T0 + t (T1 + T2 t + ... + T7 t^6) with t = a - center. Relative error below 2^-27
 * in each. The centers are those floats near the middle whose tanh is a float to 2^-36 at least
 * (2^-27 in the last; Gal and Bachelis, ACM TOMS 17, 1991), so T0 costs no accuracy. */
enum { PT_TANH_INTERVALS = 8, PT_TANH_DEGREE = 7, PT_TANH_INTERVAL_SHIFT = 22 };
#define PT_TANH_FIRST_BITS 0x3f10a3d7u
#define PT_TANH_FIRST      0x1.2147aep-1f /* 0.565, the float of these bits */
#define PT_TANH_SECOND     0x1.a147aep-1f /* 0.815, where the second interval begins */
#define PT_TANH_HIGHEST    0x1.20f5c2p+3f /* 9.03: tanh is 1 in float */

static const float pt_tanh_center[PT_TANH_INTERVALS] = {
    0x0.0p+0f,      0x1.f1f146p-1f, 0x1.613d5cp+0f, 0x1.f1e624p+0f,
    0x1.614f42p+1f, 0x1.f1e732p+1f, 0x1.614e46p+2f, 0x1.f18de2p+2f};
static const float pt_tanh_table[PT_TANH_DEGREE + 1][PT_TANH_INTERVALS] = {
    {0x0.0p+0f, 0x1.7fe86ap-1f, 0x1.c3076cp-1f, 0x1.eb7aeap-1f, 0x1.fbea90p-1f, 0x1.ff9270p-1f,
     0x1.fffbccp-1f, 0x1.fffff4p-1f},
    {0x0.0p+0f, 0x1.c046c0p-2f, 0x1.cab9b2p-3f, 0x1.41bd1ep-4f, 0x1.04512cp-6f, 0x1.b6110ap-10f,
     0x1.0cfc74p-14f, 0x1.7b8652p-21f},
    {-0x1.555538p-2f, -0x1.50206ap-2f, -0x1.941938p-3f, -0x1.34d800p-4f, -0x1.023da6p-6f,
     -0x1.b5b718p-10f, -0x1.0d284ap-14f, -0x1.63414ep-21f},
    {0x1.110a3cp-3f, 0x1.9a6ef4p-4f, 0x1.96237ap-4f, 0x1.7a7052p-5f, 0x1.52d0c6p-7f,
     0x1.235244p-10f, 0x1.66de2ap-15f, 0x1.faa2d4p-22f},
    {-0x1.b90902p-5f, 0x1.18dbdcp-5f, -0x1.6183a6p-6f, -0x1.3ad8dep-6f, -0x1.47e6f8p-8f,
     -0x1.21e4b8p-11f, -0x1.627bd8p-16f, -0x1.4a609cp-22f},
    {0x1.5c30fap-6f, -0x1.942c38p-5f, -0x1.2999f2p-7f, 0x1.3a15dep-8f, 0x1.ea740cp-10f,
     0x1.ccd458p-13f, 0x1.1b9996p-17f, 0x1.8dc430p-24f},
    {-0x1.e078e0p-8f, 0x1.26df6ep-6f, 0x1.635200p-7f, 0x1.e48912p-13f, -0x1.1a59cap-11f,
     -0x1.3edcd0p-14f, -0x1.b5ad20p-19f, -0x1.80ff1cp-28f},
    {0x1.93dc96p-10f, 0x1.ba35dep-9f, -0x1.2bf5f6p-8f, -0x1.de4372p-11f, 0x1.a7f49ap-14f,
     0x1.6048f4p-16f, 0x1.f228bcp-21f, 0x1.6d9482p-27f},
};

/* log(1 + f) = f - f^2/2 + f^3 (L0 + L1 f + ... + L8 f^8) for sqrt(1/2) <= 1 + f < sqrt(2),
 * relative error 1.6e-9. */
#define PT_LOG_0 0x1.555548p-2f
#define PT_LOG_1 (-0x1.000070p-2f)
#define PT_LOG_2 0x1.99a540p-3f
#define PT_LOG_3 (-0x1.552f18p-3f)
#define PT_LOG_4 0x1.23036ep-3f
#define PT_LOG_5 (-0x1.0103e2p-3f)
#define PT_LOG_6 0x1.eff05cp-4f
#define PT_LOG_7 (-0x1.bf2a58p-4f)
#define PT_LOG_8 0x1.b5b056p-5f

#endif
