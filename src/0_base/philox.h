/* philox.h: counter-based random numbers, addressed by (seed, stream, step, index).
 *
 * Philox4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011. There is no state: the value at an address is a pure function of the address, so the
 * order of work and the number of threads cannot matter, and a resumed run needs no saved
 * generator.
 */
#ifndef PT_BASE_PHILOX_H
#define PT_BASE_PHILOX_H

#include <stddef.h>
#include <stdint.h>

/* Which use a number is for; never renumber, a saved run resumes by these. */
typedef enum pt_stream {
    PT_STREAM_INIT = 1,    /* step: index of the parameter tensor */
    PT_STREAM_SAMPLE = 2,  /* step: the iteration; index: the row of the mini-batch */
    PT_STREAM_SHUFFLE = 3, /* step: the epoch; index 0: the key of its permutation */
    PT_STREAM_CHECK = 4,   /* tests */
} pt_stream;

/* The raw bijection: ten rounds on a 128-bit counter with a 64-bit key. */
void pt_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

/* 32 uniform bits at an address. */
uint32_t pt_random_u32(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index);

/* Uniform integer below `bound` (bound >= 1) by multiply-shift of 64 bits; its bias is below
 * bound / 2^64. */
uint64_t pt_random_below(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index,
                         uint64_t bound);

/* Uniform in [0, 1) on a grid of 2^-24, so exact in float. */
float pt_random_uniform(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index);

/* Standard normal deviate by Box-Muller in double on our own log, sqrt and cosine, rounded to
 * float: the same bits on every machine, which libm does not promise. */
float pt_random_normal(uint64_t seed, pt_stream stream, uint64_t step, uint64_t index);

/* Where element `i` of 0..n-1 goes in the permutation (seed, epoch): a generalised Feistel cipher
 * on a grid of about n places, with cycle walking (Black and Rogaway, "Ciphers with arbitrary
 * finite domains", CT-RSA 2002), so that any position of any epoch is found without a shuffled
 * array. 1 <= n <= 2^53. About 30 ns. */
uint64_t pt_permute(uint64_t seed, uint64_t epoch, uint64_t n, uint64_t i);

#endif
