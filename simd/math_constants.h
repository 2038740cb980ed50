/* math_constants.h: the numbers of our exp, log, tanh and sigmoid, shared by every instruction set.
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

/* Beyond these, sigmoid and tanh are constant in float. */
#define PT_SIGMOID_LOWEST  (-87.0f) /* of -x: 1 / (1 + exp(-87)) is 1 */
#define PT_SIGMOID_HIGHEST 89.0f    /* of -x: n = 128, 2^n is inf and 1 / inf is 0 */
#define PT_TANH_LOWEST     (-32.0f) /* of -2|x|: exp(-32) - 1 is -1 */

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
