/* test_philox.c: the generator against known answers, and what is drawn from it against statistics.
 *
 * Every sample is fixed by its address, so a statistical bound that holds once holds for ever; the
 * bounds are those that a fair generator misses once in ten thousand or less.
 */
#include "0_base/philox.h"
#include "harness.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEED = 7 };

/* kat_vectors of the Random123 distribution, philox4x32 with 10 rounds. */
TEST(philox, known_answers) {
    static const struct {
        uint32_t counter[4], key[2], expected[4];
    } cases[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff},
         {0xffffffff, 0xffffffff},
         {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
         {0xa4093822, 0x299f31d0},
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        uint32_t out[4];
        pt_philox4x32(cases[c].counter, cases[c].key, out);
        CHECK(memcmp(out, cases[c].expected, sizeof out) == 0);
    }
}

/* A change in any part of the address changes the value: no two of these 4 x 4 x 64 x 64 agree more
 * often than chance. */
TEST(philox, addresses_do_not_collide) {
    enum { COUNT = 4 * 4 * 64 * 64 };
    uint32_t *values = malloc(COUNT * sizeof *values);
    REQUIRE(values != NULL);
    size_t n = 0;
    for (uint64_t seed = 0; seed < 4; seed++)
        for (int stream = PT_STREAM_INIT; stream <= PT_STREAM_CHECK; stream++)
            for (uint64_t step = 0; step < 64; step++)
                for (uint64_t index = 0; index < 64; index++)
                    values[n++] = pt_random_u32(seed, (pt_stream)stream, step, index);
    /* Equal values by hashing into 2^20 bits: chance expects about 65536^2 / 2^21 = 2048 pairs. */
    uint8_t *seen = calloc(1 << 17, 1);
    size_t hits = 0;
    for (size_t i = 0; seen && i < n; i++) {
        const uint32_t bit = values[i] >> 12;
        hits += (seen[bit / 8] >> bit % 8) & 1;
        seen[bit / 8] |= (uint8_t)(1 << bit % 8);
    }
    CHECK_MSG(hits > 1820 && hits < 2190, "%zu hits", hits);
    CHECK(pt_random_u32(1, PT_STREAM_CHECK, UINT64_C(1) << 40, 0) !=
          pt_random_u32(1, PT_STREAM_CHECK, 0, 0));
    CHECK(pt_random_u32(UINT64_C(1) << 40, PT_STREAM_CHECK, 0, 0) !=
          pt_random_u32(0, PT_STREAM_CHECK, 0, 0));
    CHECK(pt_random_u32(1, PT_STREAM_CHECK, 0, UINT64_C(1) << 40) !=
          pt_random_u32(1, PT_STREAM_CHECK, 0, 0));
    free(seen);
    free(values);
}

TEST(philox, uniform_and_below_are_even) {
    enum { DRAWS = 100000, BINS = 100 };
    long uniform[BINS] = {0}, below[BINS] = {0};
    bool in_range = true;
    for (uint64_t i = 0; i < DRAWS; i++) {
        const float u = pt_random_uniform(SEED, PT_STREAM_CHECK, 1, i);
        const uint64_t b = pt_random_below(SEED, PT_STREAM_CHECK, 2, i, BINS);
        in_range = in_range && u >= 0 && u < 1 && b < BINS;
        if (!in_range)
            break;
        uniform[(int)(u * BINS)]++;
        below[b]++;
    }
    REQUIRE(in_range);
    double chi2[2] = {0, 0};
    for (int b = 0; b < BINS; b++) {
        const double expected = (double)DRAWS / BINS;
        chi2[0] += pow((double)uniform[b] - expected, 2) / expected;
        chi2[1] += pow((double)below[b] - expected, 2) / expected;
    }
    /* chi-squared with 99 degrees: mean 99, deviation 14 */
    CHECK_MSG(chi2[0] < 155 && chi2[0] > 55, "uniform: chi2 %g", chi2[0]);
    CHECK_MSG(chi2[1] < 155 && chi2[1] > 55, "below: chi2 %g", chi2[1]);
    for (uint64_t i = 0; i < 100; i++)
        CHECK_INT(pt_random_below(SEED, PT_STREAM_CHECK, 3, i, 1), 0);
    bool large = false;
    for (uint64_t i = 0; i < 100; i++)
        large = large || pt_random_below(SEED, PT_STREAM_CHECK, 4, i, UINT64_MAX) >> 63;
    CHECK(large);
}

/* The deviate by libm from the same bits, for comparison. */
static float normal_by_libm(uint64_t step, uint64_t index) {
    const uint64_t high = index | (uint64_t)PT_STREAM_CHECK << 56;
    const uint32_t counter[4] = {(uint32_t)step, (uint32_t)(step >> 32), (uint32_t)high,
                                 (uint32_t)(high >> 32)};
    const uint32_t key[2] = {SEED, 0};
    uint32_t out[4];
    pt_philox4x32(counter, key, out);
    const double u1 = ((double)(((uint64_t)out[1] << 32 | out[0]) >> 11) + 1) * 0x1p-53;
    const double u2 = (double)(((uint64_t)out[3] << 32 | out[2]) >> 11) * 0x1p-53;
    return (float)(sqrt(-2 * log(u1)) * cos(6.28318530717958647692 * u2));
}

TEST(philox, normal_deviates_agree_with_libm) {
    float worst = 0;
    for (uint64_t i = 0; i < 200000; i++) {
        const float ours = pt_random_normal(SEED, PT_STREAM_CHECK, 9, i);
        const float theirs = normal_by_libm(9, i);
        /* Near the cosine's zeros the angle's rounding counts: an absolute floor of 2^-50. */
        const float unit = fmaxf(nextafterf(fabsf(theirs), INFINITY) - fabsf(theirs), 0x1p-50f);
        worst = fmaxf(worst, fabsf(ours - theirs) / unit);
    }
    CHECK_MSG(worst <= 1, "%g units in the last place", (double)worst);
}

TEST(philox, normal_deviates_are_normal) {
    enum { DRAWS = 1000000 };
    double sum = 0, sum2 = 0, sum3 = 0, sum4 = 0, serial = 0, before = 0;
    long beyond[5] = {0};
    for (uint64_t i = 0; i < DRAWS; i++) {
        const double x = (double)pt_random_normal(SEED, PT_STREAM_CHECK, 10, i);
        sum += x;
        sum2 += x * x;
        sum3 += x * x * x;
        sum4 += x * x * x * x;
        serial += x * before;
        before = x;
        for (int t = 1; t < 5; t++)
            beyond[t] += fabs(x) > t;
    }
    /* Four standard errors: of the mean 1e-3, of the moments sqrt(2), sqrt(15), sqrt(96) times it.
     */
    CHECK_MSG(fabs(sum / DRAWS) < 4e-3, "mean %g", sum / DRAWS);
    CHECK_MSG(fabs(sum2 / DRAWS - 1) < 4e-3 * 1.42, "variance %g", sum2 / DRAWS);
    CHECK_MSG(fabs(sum3 / DRAWS) < 4e-3 * 3.9, "third moment %g", sum3 / DRAWS);
    CHECK_MSG(fabs(sum4 / DRAWS - 3) < 4e-3 * 9.8, "fourth moment %g", sum4 / DRAWS);
    CHECK_MSG(fabs(serial / DRAWS) < 4e-3, "serial correlation %g", serial / DRAWS);
    for (int t = 1; t < 5; t++) {
        const double share = erfc(t / sqrt(2)), error = sqrt(share * (1 - share) / DRAWS);
        CHECK_MSG(fabs((double)beyond[t] / DRAWS - share) < 4 * error, "beyond %d: %ld, not %g", t,
                  beyond[t], share * DRAWS);
    }
}

TEST(philox, permutation_is_a_bijection) {
    static const uint64_t sizes[] = {1,  2,  3,  4,   5,   6,   7,   8,    9,    10,    15,
                                     16, 17, 99, 100, 255, 256, 257, 1000, 4096, 10007, 60000};
    uint8_t *seen = malloc(60000);
    REQUIRE(seen != NULL);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            const uint64_t n = sizes[s];
            memset(seen, 0, n);
            bool below = true, once = true;
            for (uint64_t i = 0; i < n && below; i++) {
                const uint64_t to = pt_permute(SEED, epoch, n, i);
                below = to < n;
                once = once && below && !seen[to];
                if (below)
                    seen[to] = 1;
            }
            CHECK_MSG(below && once, "n = %llu, epoch %llu", (unsigned long long)n,
                      (unsigned long long)epoch);
        }
    free(seen);
    /* A large one by sample: different places for different elements, spread over the whole. */
    const uint64_t n = UINT64_C(1) << 53;
    uint64_t all = 0;
    for (uint64_t i = 0; i < 100; i++) {
        const uint64_t to = pt_permute(SEED, 0, n, i);
        CHECK(to < n);
        CHECK(to != pt_permute(SEED, 0, n, i + 1));
        all |= to;
    }
    CHECK(all >> 50 == 7);
}

/* The index of an order among all orders of n. */
static size_t order_index(size_t n, const uint64_t *order) {
    size_t index = 0;
    for (size_t i = 0; i < n; i++) {
        size_t smaller = 0;
        for (size_t j = i + 1; j < n; j++)
            smaller += order[j] < order[i];
        index = index * (n - i) + smaller;
    }
    return index;
}

TEST(philox, small_permutations_are_all_equally_likely) {
    enum { EACH = 200 };
    size_t orders = 1;
    for (size_t n = 2; n <= 6; n++) {
        orders *= n;
        long *count = calloc(orders, sizeof *count);
        REQUIRE(count != NULL);
        for (uint64_t epoch = 0; epoch < orders * EACH; epoch++) {
            uint64_t order[6];
            for (uint64_t i = 0; i < n; i++)
                order[i] = pt_permute(SEED, epoch, n, i);
            count[order_index(n, order)]++;
        }
        double chi2 = 0;
        for (size_t o = 0; o < orders; o++)
            chi2 += pow((double)count[o] - EACH, 2) / EACH;
        const double degrees = (double)orders - 1;
        CHECK_MSG(chi2 < degrees + 4 * sqrt(2 * degrees) + 8, "n = %zu: chi2 %g on %g degrees", n,
                  chi2, degrees);
        free(count);
    }
}

/* Of each epoch: where a row goes, and how far from it its neighbour goes, are both even. */
TEST(philox, permutations_spread_evenly) {
    static const size_t sizes[] = {10, 64, 256, 300};
    enum { EPOCHS = 5000, MOST = 300 };
    long *place = malloc((size_t)MOST * MOST * sizeof *place);
    REQUIRE(place != NULL);
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        const size_t n = sizes[s];
        long step[MOST] = {0};
        memset(place, 0, n * n * sizeof *place);
        for (uint64_t epoch = 0; epoch < EPOCHS; epoch++) {
            size_t before = 0;
            for (size_t i = 0; i < n; i++) {
                const size_t to = (size_t)pt_permute(SEED, epoch, n, i);
                place[i * n + to]++;
                if (i > 0)
                    step[(to + n - before) % n]++;
                before = to;
            }
        }
        double chi2_place = 0, chi2_step = 0;
        for (size_t p = 0; p < n * n; p++)
            chi2_place += pow((double)place[p] - (double)EPOCHS / (double)n, 2);
        for (size_t d = 1; d < n; d++) /* n - 1 steps of n - 1 sizes an epoch */
            chi2_step += pow((double)step[d] - EPOCHS, 2);
        chi2_place /= (double)EPOCHS / (double)n;
        chi2_step /= EPOCHS;
        const double degrees = (double)(n - 1) * (double)(n - 1), degrees_step = (double)n - 2;
        CHECK_MSG(fabs(chi2_place - degrees) < 4 * sqrt(2 * degrees), "n = %zu: place: %g on %g", n,
                  chi2_place, degrees);
        CHECK_MSG(fabs(chi2_step - degrees_step) < 4 * sqrt(2 * degrees_step) + 4,
                  "n = %zu: step: %g on %g", n, chi2_step, degrees_step);
    }
    free(place);
}
