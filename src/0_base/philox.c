/* philox.c: Philox4x32-10 and what is drawn from it. */
#include "0_base/philox.h"

#include <math.h>

void pt_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
    const uint64_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u; /* the paper's multipliers */
    const uint32_t w0 = 0x9E3779B9u, w1 = 0xBB67AE85u; /* and Weyl constants */
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = m0 * c0, p1 = m1 * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)p1;
        c2 = n2;
        c3 = (uint32_t)p0;
        k0 += w0;
        k1 += w1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void random_block(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index,
                         uint32_t out[4]) {
    /* The stream sits in the top byte of the index word: 2^56 indices for each of 256 streams. */
    uint64_t high = (index & ((UINT64_C(1) << 56) - 1)) | (uint64_t)stream << 56;
    const uint32_t counter[4] = {(uint32_t)step, (uint32_t)(step >> 32), (uint32_t)high,
                                 (uint32_t)(high >> 32)};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    pt_philox4x32(counter, key, out);
}

/* The top half of the 128-bit product: a uniform 64-bit word times a bound is uniform below it. */
static uint64_t multiply_high(uint64_t a, uint64_t b) {
    __extension__ typedef unsigned __int128 u128;
    return (uint64_t)((u128)a * b >> 64);
}

uint32_t pt_random_u32(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index) {
    uint32_t block[4];
    random_block(seed, stream, step, index, block);
    return block[0];
}

uint64_t pt_random_below(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index,
                         uint64_t bound) {
    uint32_t block[4];
    random_block(seed, stream, step, index, block);
    return multiply_high((uint64_t)block[1] << 32 | block[0], bound);
}

float pt_random_uniform(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index) {
    return (float)(pt_random_u32(seed, stream, step, index) >> 8) * 0x1p-24f;
}

/* ln(x) for a normal x > 0: x = 2^e m with m in [sqrt(1/2), sqrt(2)), ln m = 2 atanh(s) with
 * s = (m-1)/(m+1); the odd series to s^23 leaves less than 1e-16. */
static double log_exact_steps(double x) {
    int exponent;
    double m = frexp(x, &exponent); /* exact */
    if (m < 0.70710678118654752) {
        m *= 2;
        exponent--;
    }
    double s = (m - 1) / (m + 1), s2 = s * s, sum = 0;
    for (int k = 23; k >= 1; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return 2 * s * sum + exponent * 0.69314718055994531;
}

/* cos(2 pi u) for u in [0, 1): folded to an eighth of a turn, then the Taylor series. */
static double cos_turns(double u) {
    double sign = 1;
    if (u >= 0.5)
        u = 1 - u; /* cos is even about half a turn */
    if (u > 0.25) {
        u = 0.5 - u;
        sign = -1;
    }
    int use_sine = u > 0.125;
    double x = 6.28318530717958648 * (use_sine ? 0.25 - u : u), x2 = x * x, sum = 0;
    if (use_sine) {
        for (int k = 17; k >= 3; k -= 2)
            sum = (1 + sum) * (-x2 / (k * (k - 1)));
        return sign * x * (1 + sum);
    }
    for (int k = 16; k >= 2; k -= 2)
        sum = (1 + sum) * (-x2 / (k * (k - 1)));
    return sign * (1 + sum);
}

float pt_random_normal(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index) {
    uint32_t block[4];
    random_block(seed, stream, step, index, block);
    /* 53-bit uniforms; the first in (0, 1] so that its logarithm is finite. */
    uint64_t bits1 = ((uint64_t)block[1] << 32 | block[0]) >> 11;
    uint64_t bits2 = ((uint64_t)block[3] << 32 | block[2]) >> 11;
    double u1 = ((double)bits1 + 1) * 0x1p-53, u2 = (double)bits2 * 0x1p-53;
    return (float)(sqrt(-2 * log_exact_steps(u1)) * cos_turns(u2));
}

/* A keyed hash of `x` onto 0..bound-1: two rounds of multiplication, whose constants are those of
 * SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), then the top of a third. */
static uint64_t hash_below(uint64_t x, uint64_t key, uint64_t bound) {
    uint64_t z = (x ^ key) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 32) * UINT64_C(0x94D049BB133111EB);
    return multiply_high(z, bound);
}

uint64_t pt_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t i) {
    /* i = right * width + left on a grid barely larger than n, so that few walks are needed. An
     * even width lets a round be an odd permutation; on an odd one only half of all orders would
     * occur. */
    uint64_t width = (uint64_t)sqrt((double)n);
    while (width * width < n || width % 2 != 0)
        width++;
    const uint64_t height = (n + width - 1) / width;
    /* Philox is for the key of the epoch alone: at one call a round it would cost more than the
     * rest of fetching a row. Few rows need more rounds until all their orders are equally likely.
     */
    const int rounds = n < 256 ? 20 : 8;
    uint32_t block[4];
    random_block(seed, PT_STREAM_SHUFFLE, epoch, 0, block);
    const uint64_t key0 = (uint64_t)block[1] << 32 | block[0];
    const uint64_t key1 = (uint64_t)block[3] << 32 | block[2];
    do {
        uint64_t left = i % width, right = i / width, weyl = 0;
        for (int round = 0; round < rounds; round += 2) {
            left += hash_below(right, key0 + weyl, width);
            left -= left >= width ? width : 0;
            right += hash_below(left, key1 + weyl, height);
            right -= right >= height ? height : 0;
            weyl += UINT64_C(0x9E3779B97F4A7C15);
        }
        i = right * width + left;
    } while (i >= n); /* walk the cycle until it comes back below n */
    return i;
}
