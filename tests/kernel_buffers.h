/* kernel_buffers.h: memory and numbers for the kernel tests.
 *
 * A guarded buffer ends at a page that may not be touched, and is filled with a NaN pattern around
 * the elements in use: a kernel that reads past the end is killed or poisons its result, and one
 * that writes outside is found by pt_guarded_intact.
 */
#ifndef PT_TESTS_KERNEL_BUFFERS_H
#define PT_TESTS_KERNEL_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Elements are 4 bytes: float, int32_t, or 4 pixels. One buffer per argument of a kernel. */
enum { PT_GUARDED_BUFFERS = 5, PT_GUARDED_CAPACITY = 5 << 20 /* floats */ };

/* `count` elements that end `gap` elements before the forbidden page (so that gap = 1 .. 15 gives
 * every misalignment), everything around them filled with the pattern. Maps the buffer on first
 * use; ends the test when it cannot. */
float *pt_guarded(int buffer, size_t count, size_t gap);
/* True when nothing outside data[0 .. count-1] has changed since pt_guarded placed it. */
bool pt_guarded_intact(int buffer, const float *data, size_t count);
/* True when rows of n elements with stride ld left the padding between them alone. */
bool pt_padding_intact(const float *data, size_t rows, size_t n, size_t ld);

/* What the numbers of a test case are like. */
typedef enum pt_numbers {
    PT_NUMBERS_ORDINARY, /* uniform in -8 .. 8 */
    PT_NUMBERS_ANY_BITS, /* any bit pattern: huge, tiny, denormal, inf, NaN */
    PT_NUMBERS_SPECIAL,  /* zeros of both signs, denormals, inf, NaN, edges of exp's range */
    PT_NUMBERS_EQUAL,    /* all the same */
    PT_NUMBERS_TIES,     /* small integers */
    PT_NUMBERS_COUNT
} pt_numbers;

/* Deterministic in (numbers, seed). */
void pt_fill_numbers(float *x, size_t n, pt_numbers numbers, uint64_t seed);

uint32_t pt_float_bits(float x);
/* Equal bits, or both NaN (whose payload is free). */
bool pt_same_float(float a, float b);
/* The first index where a and b differ by pt_same_float, or n. */
size_t pt_first_difference(const float *a, const float *b, size_t n);

#endif
