/* kernel_buffers.c: guarded buffers and test numbers. */
#include "kernel_buffers.h"

#include "harness.h"

#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MARGIN = 64 }; /* elements of pattern before the data; after it, `gap` of them */

#define PATTERN 0x7fabcdefu /* a NaN */

static uint32_t *buffer_end[PT_GUARDED_BUFFERS]; /* where the forbidden page starts */

static void map_buffer(int buffer) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t bytes = (PT_GUARDED_CAPACITY * sizeof(uint32_t) + page - 1) / page * page;
    char *start =
        mmap(NULL, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(start != MAP_FAILED);
    REQUIRE(mprotect(start + bytes, page, PROT_NONE) == 0);
    buffer_end[buffer] = (uint32_t *)(void *)(start + bytes);
}

float *pt_guarded(int buffer, size_t count, size_t gap) {
    REQUIRE(buffer >= 0 && buffer < PT_GUARDED_BUFFERS);
    REQUIRE(count + gap + MARGIN <= PT_GUARDED_CAPACITY);
    if (!buffer_end[buffer])
        map_buffer(buffer);
    uint32_t *data = buffer_end[buffer] - gap - count;
    for (uint32_t *p = data - MARGIN; p < buffer_end[buffer]; p++)
        *p = PATTERN;
    return (float *)data;
}

static bool all_pattern(const uint32_t *from, const uint32_t *to) {
    for (; from < to; from++) {
        if (*from != PATTERN)
            return false;
    }
    return true;
}

bool pt_guarded_intact(int buffer, const float *data, size_t count) {
    const uint32_t *words = (const uint32_t *)data;
    return all_pattern(words - MARGIN, words) && all_pattern(words + count, buffer_end[buffer]);
}

bool pt_padding_intact(const float *data, size_t rows, size_t n, size_t ld) {
    const uint32_t *words = (const uint32_t *)data;
    for (size_t i = 0; i + 1 < rows; i++) {
        if (!all_pattern(words + i * ld + n, words + (i + 1) * ld))
            return false;
    }
    return true;
}

uint32_t pt_float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

bool pt_same_float(float a, float b) {
    return pt_float_bits(a) == pt_float_bits(b) || (isnan(a) && isnan(b));
}

size_t pt_first_difference(const float *a, const float *b, size_t n) {
    size_t i = 0;
    while (i < n && pt_same_float(a[i], b[i]))
        i++;
    return i;
}

/* SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection of 64 bits that looks random. */
static uint32_t random_bits(uint64_t seed, uint64_t i) {
    uint64_t z = (seed << 32) + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

static const float special[] = {0.0f,
                                -0.0f,
                                1.0f,
                                -1.0f,
                                INFINITY,
                                -INFINITY,
                                NAN,
                                0x1p-149f,
                                -0x1p-149f,
                                0x1p-126f,
                                -0x1p-126f,
                                0x1.fffffcp-127f,
                                0x1.fffffep127f,
                                -0x1.fffffep127f,
                                88.7f,
                                88.8f,
                                -87.3f,
                                -87.4f,
                                0.5f,
                                -0.5f,
                                0x1p-64f,
                                0x1p64f,
                                -0x1p64f,
                                1e-30f,
                                16.6f,
                                -17.4f,
                                9.01f,
                                -9.02f,
                                0x1.6a09e6p-1f,
                                0x1.6a09e8p-1f};

void pt_fill_numbers(float *x, size_t n, pt_numbers numbers, uint64_t seed) {
    enum { SPECIALS = sizeof special / sizeof *special };
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = random_bits(seed, i);
        switch (numbers) {
        case PT_NUMBERS_ANY_BITS:
            memcpy(&x[i], &bits, sizeof bits);
            break;
        case PT_NUMBERS_SPECIAL:
            x[i] = special[bits % SPECIALS];
            break;
        case PT_NUMBERS_EQUAL:
            x[i] = (float)(seed % 7) - 3.25f;
            break;
        case PT_NUMBERS_TIES:
            x[i] = (float)(bits % 3);
            break;
        default:
            x[i] = (float)(bits >> 8) * 0x1p-20f - 8.0f;
        }
    }
}
