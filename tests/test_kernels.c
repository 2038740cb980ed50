/* test_kernels.c: every kernel of kernel_list.h on every instruction set, bit for bit against the
 * scalar reference: all tails, misaligned, in place, padded rows, guarded memory, special values.
 *
 * One checker per class of signature (CHECK_CLASS below maps them); a kernel added to the list is
 * tested here with no further work. A checker stops at its first failure and returns how many cases
 * it ran. The scalar kernels go through it too, for their memory behaviour.
 */
#include "harness.h"
#include "kernel_buffers.h"

#include "simd/kernel_list.h"
#include "simd/kernels.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

enum { MAX_ELEMENTS = 40000 };

/* The kernel being tested, for messages. */
typedef struct subject {
    const char *name, *isa;
} subject;

/* ---- shapes of the cases ---- */

static const size_t long_lengths[] = {100, 127, 128, 255, 1000, 1029};

/* 0 .. 67, then the longer ones; SIZE_MAX at the end. */
static size_t length_at(size_t i) {
    if (i <= 67)
        return i;
    i -= 68;
    return i < sizeof long_lengths / sizeof *long_lengths ? long_lengths[i] : SIZE_MAX;
}

/* Every misalignment for short arrays, some for longer. */
static size_t gap_step(size_t n) {
    return n <= 34 ? 1 : 5;
}

#define FOR_EACH_ARRAY_CASE(n, numbers, gap)                                                       \
    for (size_t case_ = 0, n; (n = length_at(case_)) != SIZE_MAX; case_++)                         \
        for (pt_numbers numbers = 0; numbers < PT_NUMBERS_COUNT; numbers++)                        \
            for (size_t gap = 0; gap < 16; gap += gap_step(n))

/* Shapes of rows: `pad` floats lie between the end of a row and the start of the next. */
static const size_t row_counts[] = {0, 1, 2, 15, 16, 17, 33};
static const size_t row_lengths[] = {1,  2,  3,  4,  5,  7,  8,  9,   10,  11,
                                     12, 13, 14, 15, 16, 17, 18, 20,  24,  25,
                                     31, 32, 33, 40, 47, 48, 49, 100, 255, 1000};
static const size_t row_pads[] = {0, 1, 6, 16};

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define FOR_EACH_ROWS_CASE(rows, n, pad, numbers)                                                  \
    for (size_t r_ = 0, rows = 0; r_ < COUNT(row_counts) && (rows = row_counts[r_], true); r_++)   \
        for (size_t n_ = 0, n = 1; n_ < COUNT(row_lengths) && (n = row_lengths[n_], true); n_++)   \
            for (size_t p_ = 0, pad = 0; p_ < COUNT(row_pads) && (pad = row_pads[p_], true); p_++) \
                for (pt_numbers numbers = 0; numbers < PT_NUMBERS_COUNT; numbers++)

static size_t rows_extent(size_t rows, size_t n, size_t ld) {
    return rows == 0 ? 0 : (rows - 1) * ld + n;
}

/* ---- comparing ---- */

static bool same_floats(subject s, const char *what, const float *actual, const float *expected,
                        size_t n) {
    size_t i = pt_first_difference(actual, expected, n);
    if (i == n)
        return true;
    return CHECK_MSG(false, "%s_%s: n %zu, %s[%zu] is %a, the reference says %a", s.name, s.isa, n,
                     what, i, (double)actual[i], (double)expected[i]);
}

static bool intact(subject s, const char *what, int buffer, const float *data, size_t n) {
    return pt_guarded_intact(buffer, data, n) ||
           CHECK_MSG(false, "%s_%s: n %zu, wrote outside %s", s.name, s.isa, n, what);
}

static bool same_rows(subject s, const char *what, const float *actual, const float *expected,
                      size_t rows, size_t n, size_t ld) {
    for (size_t i = 0; i < rows; i++) {
        if (!same_floats(s, what, actual + i * ld, expected + i * ld, n))
            return CHECK_MSG(false, "... in row %zu of %zu, stride %zu", i, rows, ld);
    }
    return pt_padding_intact(actual, rows, n, ld) ||
           CHECK_MSG(false, "%s_%s: %zu x %zu, wrote between rows of %s", s.name, s.isa, rows, n,
                     what);
}

/* A guarded array of numbers. */
static float *numbers_in(int buffer, size_t n, size_t gap, pt_numbers numbers, uint64_t seed) {
    float *x = pt_guarded(buffer, n, gap);
    pt_fill_numbers(x, n, numbers, seed);
    return x;
}

/* Guarded rows of numbers; the padding keeps the pattern, a NaN. */
static float *rows_in(int buffer, size_t rows, size_t n, size_t ld, pt_numbers numbers,
                      uint64_t seed) {
    float *x = pt_guarded(buffer, rows_extent(rows, n, ld), (rows + n) % 16);
    for (size_t i = 0; i < rows; i++)
        pt_fill_numbers(x + i * ld, n, numbers, seed * 64 + i);
    return x;
}

static float expected[MAX_ELEMENTS], expected2[MAX_ELEMENTS], expected3[MAX_ELEMENTS];
static float expected_loss[64];

static void copy_floats(float *to, const float *from, size_t n) {
    if (n > 0)
        memcpy(to, from, n * sizeof *to);
}

/* ---- elementwise ---- */

static long check_unary(subject s, void(*reference) PT_SIGNATURE_UNARY,
                        void(*tested) PT_SIGNATURE_UNARY) {
    long cases = 0;
    FOR_EACH_ARRAY_CASE(n, numbers, gap) {
        float *x = numbers_in(0, n, gap, numbers, n), *y = pt_guarded(1, n, (gap * 7) % 16);
        reference(n, x, expected);
        tested(n, x, y);
        if (!same_floats(s, "y", y, expected, n) || !intact(s, "y", 1, y, n))
            return cases;
        tested(n, x, x);
        if (!same_floats(s, "y in place", x, expected, n) || !intact(s, "x", 0, x, n))
            return cases;
        cases++;
    }
    return cases;
}

static long check_binary(subject s, void(*reference) PT_SIGNATURE_BINARY,
                         void(*tested) PT_SIGNATURE_BINARY) {
    long cases = 0;
    FOR_EACH_ARRAY_CASE(n, numbers, gap) {
        float *a = numbers_in(0, n, gap, numbers, n), *y = pt_guarded(2, n, (gap * 3) % 16);
        float *b = numbers_in(1, n, (gap * 7) % 16, numbers, n + 5000);
        reference(n, a, b, expected);
        tested(n, a, b, y);
        if (!same_floats(s, "y", y, expected, n) || !intact(s, "y", 2, y, n))
            return cases;
        copy_floats(y, b, n);
        tested(n, a, y, y);
        if (!same_floats(s, "y == b", y, expected, n) || !intact(s, "b", 2, y, n))
            return cases;
        tested(n, a, b, a);
        if (!same_floats(s, "y == a", a, expected, n) || !intact(s, "a", 0, a, n))
            return cases;
        cases++;
    }
    return cases;
}

static long check_bytes(subject s, void(*reference) PT_SIGNATURE_BYTES,
                        void(*tested) PT_SIGNATURE_BYTES) {
    long cases = 0;
    FOR_EACH_ARRAY_CASE(n, numbers, gap) {
        /* The bytes end right at the forbidden page. */
        size_t words = (n + 3) / 4;
        float *block = numbers_in(0, words, 0, PT_NUMBERS_ANY_BITS, n + (uint64_t)numbers);
        const uint8_t *x = (const uint8_t *)block + (words * 4 - n);
        float *y = pt_guarded(1, n, gap);
        float scale = numbers == PT_NUMBERS_EQUAL ? 1.0f / 255.0f : 0.013f;
        float offset = (float)numbers * -0.25f;
        reference(n, x, scale, offset, expected);
        tested(n, x, scale, offset, y);
        if (!same_floats(s, "y", y, expected, n) || !intact(s, "y", 1, y, n))
            return cases;
        cases++;
    }
    return cases;
}

/* ---- rows ---- */

static long check_rows(subject s, void(*reference) PT_SIGNATURE_ROWS,
                       void(*tested) PT_SIGNATURE_ROWS) {
    long cases = 0;
    FOR_EACH_ROWS_CASE(rows, n, pad, numbers) {
        size_t ldx = n + pad, ldy = n + (pad * 5) % 7, extent = rows_extent(rows, n, ldy);
        float *x = rows_in(0, rows, n, ldx, numbers, n), *y = pt_guarded(1, extent, pad % 16);
        reference(rows, n, x, ldx, expected, ldy);
        tested(rows, n, x, ldx, y, ldy);
        if (!same_rows(s, "y", y, expected, rows, n, ldy) || !intact(s, "y", 1, y, extent))
            return cases;
        reference(rows, n, x, ldx, expected, ldx);
        tested(rows, n, x, ldx, x, ldx);
        if (!same_rows(s, "y in place", x, expected, rows, n, ldx))
            return cases;
        cases++;
    }
    return cases;
}

static long check_rows_backward(subject s, void(*reference) PT_SIGNATURE_ROWS_BACKWARD,
                                void(*tested) PT_SIGNATURE_ROWS_BACKWARD) {
    long cases = 0;
    FOR_EACH_ROWS_CASE(rows, n, pad, numbers) {
        size_t ldy = n + pad, lddy = n + (pad * 3) % 5, lddx = n + (pad * 5) % 7;
        size_t extent = rows_extent(rows, n, lddx);
        float *y = rows_in(0, rows, n, ldy, numbers, n);
        float *dy = rows_in(1, rows, n, lddy, numbers, n + 5000);
        float *dx = pt_guarded(2, extent, pad % 16);
        reference(rows, n, y, ldy, dy, lddy, expected, lddx);
        tested(rows, n, y, ldy, dy, lddy, dx, lddx);
        if (!same_rows(s, "dx", dx, expected, rows, n, lddx) || !intact(s, "dx", 2, dx, extent))
            return cases;
        reference(rows, n, y, ldy, dy, lddy, expected, lddy);
        tested(rows, n, y, ldy, dy, lddy, dy, lddy);
        if (!same_rows(s, "dx in place", dy, expected, rows, n, lddy))
            return cases;
        cases++;
    }
    return cases;
}

static long check_rows_label(subject s, void(*reference) PT_SIGNATURE_ROWS_LABEL,
                             void(*tested) PT_SIGNATURE_ROWS_LABEL) {
    long cases = 0;
    FOR_EACH_ROWS_CASE(rows, n, pad, numbers) {
        size_t ldx = n + pad, lddx = n + (pad * 5) % 7, extent = rows_extent(rows, n, lddx);
        float *x = rows_in(0, rows, n, ldx, numbers, n), *dx = pt_guarded(1, extent, pad % 16);
        float *loss = pt_guarded(2, rows, n % 16);
        int32_t label[64];
        for (size_t i = 0; i < rows; i++) /* both ends and all between */
            label[i] = (int32_t)(i % 3 == 0 ? 0 : i % 3 == 1 ? n - 1 : (i * 13) % n);
        float factor = 1.0f / (float)(rows + 1);
        reference(rows, n, x, ldx, label, factor, expected, lddx, expected_loss);
        tested(rows, n, x, ldx, label, factor, dx, lddx, loss);
        if (!same_rows(s, "dx", dx, expected, rows, n, lddx) ||
            !same_floats(s, "loss", loss, expected_loss, rows) || !intact(s, "dx", 1, dx, extent) ||
            !intact(s, "loss", 2, loss, rows))
            return cases;
        tested(rows, n, x, ldx, label, factor, NULL, 0, loss);
        if (!same_floats(s, "loss without dx", loss, expected_loss, rows))
            return cases;
        reference(rows, n, x, ldx, label, factor, NULL, 0, loss);
        if (!same_floats(s, "the reference's loss without dx", loss, expected_loss, rows))
            return cases;
        reference(rows, n, x, ldx, label, factor, expected, ldx, expected_loss);
        tested(rows, n, x, ldx, label, factor, x, ldx, loss);
        if (!same_rows(s, "dx in place", x, expected, rows, n, ldx) ||
            !same_floats(s, "loss in place", loss, expected_loss, rows))
            return cases;
        cases++;
    }
    return cases;
}

static long check_rows_target(subject s, void(*reference) PT_SIGNATURE_ROWS_TARGET,
                              void(*tested) PT_SIGNATURE_ROWS_TARGET) {
    long cases = 0;
    FOR_EACH_ROWS_CASE(rows, n, pad, numbers) {
        size_t ldx = n + pad, ldt = n + (pad * 3) % 5, lddx = n + (pad * 5) % 7;
        size_t extent = rows_extent(rows, n, lddx);
        float *x = rows_in(0, rows, n, ldx, numbers, n), *dx = pt_guarded(1, extent, pad % 16);
        float *target = rows_in(2, rows, n, ldt, numbers, n + 5000);
        float *loss = pt_guarded(3, rows, n % 16);
        float factor = 1.0f / (float)(rows + 1);
        reference(rows, n, x, ldx, target, ldt, factor, expected, lddx, expected_loss);
        tested(rows, n, x, ldx, target, ldt, factor, dx, lddx, loss);
        if (!same_rows(s, "dx", dx, expected, rows, n, lddx) ||
            !same_floats(s, "loss", loss, expected_loss, rows) || !intact(s, "dx", 1, dx, extent) ||
            !intact(s, "loss", 3, loss, rows))
            return cases;
        tested(rows, n, x, ldx, target, ldt, factor, NULL, 0, loss);
        if (!same_floats(s, "loss without dx", loss, expected_loss, rows))
            return cases;
        reference(rows, n, x, ldx, target, ldt, factor, expected, ldx, expected_loss);
        tested(rows, n, x, ldx, target, ldt, factor, x, ldx, loss);
        if (!same_rows(s, "dx in place", x, expected, rows, n, ldx) ||
            !same_floats(s, "loss in place", loss, expected_loss, rows))
            return cases;
        cases++;
    }
    return cases;
}

static long check_rows_index(subject s, void(*reference) PT_SIGNATURE_ROWS_INDEX,
                             void(*tested) PT_SIGNATURE_ROWS_INDEX) {
    long cases = 0;
    FOR_EACH_ROWS_CASE(rows, n, pad, numbers) {
        size_t ldx = n + pad;
        float *x = rows_in(0, rows, n, ldx, numbers, n), *place = pt_guarded(1, rows, n % 16);
        int32_t *index = (int32_t *)(void *)place;
        int32_t expected_index[64] = {0};
        reference(rows, n, x, ldx, expected_index);
        tested(rows, n, x, ldx, index);
        for (size_t i = 0; i < rows; i++) {
            if (index[i] != expected_index[i]) {
                CHECK_MSG(false, "%s_%s: %zu x %zu, row %zu: index %" PRId32 ", not %" PRId32,
                          s.name, s.isa, rows, n, i, index[i], expected_index[i]);
                return cases;
            }
        }
        if (!intact(s, "index", 1, place, rows))
            return cases;
        cases++;
    }
    return cases;
}

/* ---- optimizers ---- */

static long check_update_sgd(subject s, void(*reference) PT_SIGNATURE_UPDATE_SGD,
                             void(*tested) PT_SIGNATURE_UPDATE_SGD) {
    long cases = 0;
    FOR_EACH_ARRAY_CASE(n, numbers, gap) {
        float *g = numbers_in(0, n, gap, numbers, n);
        float *w = numbers_in(1, n, (gap * 7) % 16, numbers, n + 5000);
        copy_floats(expected, w, n);
        reference(n, 0.1f, g, expected);
        tested(n, 0.1f, g, w);
        if (!same_floats(s, "w", w, expected, n) || !intact(s, "w", 1, w, n))
            return cases;
        cases++;
    }
    return cases;
}

static long check_update_momentum(subject s, void(*reference) PT_SIGNATURE_UPDATE_MOMENTUM,
                                  void(*tested) PT_SIGNATURE_UPDATE_MOMENTUM) {
    long cases = 0;
    FOR_EACH_ARRAY_CASE(n, numbers, gap) {
        float *g = numbers_in(0, n, gap, numbers, n);
        float *v = numbers_in(1, n, (gap * 3) % 16, numbers, n + 5000);
        float *w = numbers_in(2, n, (gap * 7) % 16, numbers, n + 10000);
        copy_floats(expected, v, n);
        copy_floats(expected2, w, n);
        reference(n, 0.1f, 0.9f, g, expected, expected2);
        tested(n, 0.1f, 0.9f, g, v, w);
        if (!same_floats(s, "v", v, expected, n) || !same_floats(s, "w", w, expected2, n) ||
            !intact(s, "v", 1, v, n) || !intact(s, "w", 2, w, n))
            return cases;
        cases++;
    }
    return cases;
}

static long check_update_adam(subject s, void(*reference) PT_SIGNATURE_UPDATE_ADAM,
                              void(*tested) PT_SIGNATURE_UPDATE_ADAM) {
    long cases = 0;
    FOR_EACH_ARRAY_CASE(n, numbers, gap) {
        float *g = numbers_in(0, n, gap, numbers, n);
        float *m = numbers_in(1, n, (gap * 3) % 16, numbers, n + 5000);
        float *v = numbers_in(2, n, (gap * 5) % 16, numbers, n + 10000);
        float *w = numbers_in(3, n, (gap * 7) % 16, numbers, n + 15000);
        copy_floats(expected, m, n);
        copy_floats(expected2, v, n);
        copy_floats(expected3, w, n);
        reference(n, 0.01f, 0.9f, 0.999f, 1e-8f, g, expected, expected2, expected3);
        tested(n, 0.01f, 0.9f, 0.999f, 1e-8f, g, m, v, w);
        if (!same_floats(s, "m", m, expected, n) || !same_floats(s, "v", v, expected2, n) ||
            !same_floats(s, "w", w, expected3, n) || !intact(s, "m", 1, m, n) ||
            !intact(s, "v", 2, v, n) || !intact(s, "w", 3, w, n))
            return cases;
        cases++;
    }
    return cases;
}

/* ---- the tests: one per instruction set, over the whole list ---- */

#define CHECK_CLASS_UNARY           check_unary
#define CHECK_CLASS_BACKWARD        check_binary
#define CHECK_CLASS_BINARY          check_binary
#define CHECK_CLASS_BYTES           check_bytes
#define CHECK_CLASS_ROWS            check_rows
#define CHECK_CLASS_ROWS_BACKWARD   check_rows_backward
#define CHECK_CLASS_ROWS_LABEL      check_rows_label
#define CHECK_CLASS_ROWS_TARGET     check_rows_target
#define CHECK_CLASS_ROWS_INDEX      check_rows_index
#define CHECK_CLASS_UPDATE_SGD      check_update_sgd
#define CHECK_CLASS_UPDATE_MOMENTUM check_update_momentum
#define CHECK_CLASS_UPDATE_ADAM     check_update_adam

static void check_all(pt_isa isa) {
    const pt_kernels *scalar = pt_kernels_get(PT_ISA_SCALAR), *kernels = pt_kernels_get(isa);
    if (!kernels) {
        CHECK(isa > pt_isa_best()); /* test_cpu.c checks that this is the processor's word */
        return;
    }
    unsigned previous = pt_float_environment_enter();
#define CHECK_KERNEL(class, name)                                                                  \
    CHECK_MSG(CHECK_CLASS_##class((subject){#name, kernels->isa}, scalar->name, kernels->name) >   \
                  100,                                                                             \
              "%s_%s: too few cases ran", #name, kernels->isa);
    PT_KERNEL_LIST(CHECK_KERNEL)
    pt_float_environment_leave(previous);
}

TEST(kernels, scalar_keeps_to_its_memory) {
    check_all(PT_ISA_SCALAR);
}

TEST(kernels, avx2_equals_scalar) {
    check_all(PT_ISA_AVX2);
}

TEST(kernels, avx512_equals_scalar) {
    check_all(PT_ISA_AVX512);
}
