/* test_kernel_values.c: that the kernels compute what kernels.h says, against plain formulas
 * written here: first in the exact order of the contract, bit for bit; then in double, to see that
 * the contract itself makes sense. */
#include "harness.h"
#include "kernel_buffers.h"

#include "simd/kernels.h"

#include <math.h>
#include <string.h>

enum { LONGEST = 1000 };

static const size_t lengths[] = {1, 2, 7, 10, 15, 16, 17, 31, 32, 33, 100, 257, LONGEST};
enum { LENGTHS = sizeof lengths / sizeof *lengths };

#define FOR_EACH_ISA(kernels)                                                                      \
    for (int isa_ = PT_ISA_SCALAR; isa_ <= (int)pt_isa_best(); isa_++)                             \
        for (const pt_kernels *kernels = pt_kernels_get((pt_isa)isa_); kernels; kernels = NULL)

/* The row reduction of kernels.h, with its tree written out. */
static float sum_16_lanes(const float *terms, size_t n) {
    float s[16] = {0};
    for (size_t j = 0; j < n; j++)
        s[j % 16] += terms[j];
    for (int l = 0; l < 8; l++)
        s[l] = s[l] + s[l + 8];
    for (int l = 0; l < 4; l++)
        s[l] = s[l] + s[l + 4];
    return ((s[0] + s[2]) + (s[1] + s[3]));
}

/* The same with each lane a chain of fma(a, b, lane). */
static float dot_16_lanes(const float *a, const float *b, size_t n) {
    float s[16] = {0};
    for (size_t j = 0; j < n; j++)
        s[j % 16] = fmaf(a[j], b[j], s[j % 16]);
    for (int width = 8; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            s[l] = s[l] + s[l + width];
    return s[0];
}

static void check_same(const pt_kernels *kernels, const char *what, const float *actual,
                       const float *expected, size_t n) {
    size_t i = pt_first_difference(actual, expected, n);
    if (i < n)
        CHECK_MSG(false, "%s %s: n %zu, [%zu] is %a, expected %a", kernels->isa, what, n, i,
                  (double)actual[i], (double)expected[i]);
    else
        CHECK(i == n);
}

static float x[LONGEST], t[LONGEST], e[LONGEST], y[LONGEST], expected[LONGEST];

/* e = exp(x - max) by the table's own exp; returns max. */
static float exponentials(const pt_kernels *kernels, size_t n) {
    float max = x[0];
    for (size_t j = 1; j < n; j++)
        max = x[j] > max ? x[j] : max;
    for (size_t j = 0; j < n; j++)
        e[j] = x[j] - max;
    kernels->exp_forward(n, e, e);
    return max;
}

TEST(kernel_values, softmax_sums_in_16_lanes) {
    unsigned previous = pt_float_environment_enter();
    bool order_matters = false;
    FOR_EACH_ISA(kernels) {
        for (size_t l = 0; l < LENGTHS; l++) {
            size_t n = lengths[l];
            pt_fill_numbers(x, n, PT_NUMBERS_ORDINARY, l);
            exponentials(kernels, n);
            float sum = sum_16_lanes(e, n), in_order = 0;
            for (size_t j = 0; j < n; j++) {
                expected[j] = e[j] / sum;
                in_order += e[j];
            }
            order_matters |= in_order != sum;
            kernels->softmax_forward(1, n, x, n, y, n);
            check_same(kernels, "softmax_forward", y, expected, n);
        }
    }
    CHECK(order_matters); /* else this test shows nothing */
    pt_float_environment_leave(previous);
}

TEST(kernel_values, softmax_backward_sums_in_16_lanes) {
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        for (size_t l = 0; l < LENGTHS; l++) {
            size_t n = lengths[l];
            pt_fill_numbers(x, n, PT_NUMBERS_ORDINARY, l);
            pt_fill_numbers(t, n, PT_NUMBERS_ORDINARY, l + 100);
            float dot = dot_16_lanes(t, x, n);
            for (size_t j = 0; j < n; j++)
                expected[j] = x[j] * (t[j] - dot);
            kernels->softmax_backward(1, n, x, n, t, n, y, n);
            check_same(kernels, "softmax_backward", y, expected, n);
        }
    }
    pt_float_environment_leave(previous);
}

/* Lanes beyond a row's end are left alone, not added +0, which would turn their -0 into +0. Here
 * all products underflow to -0, and so does every lane; only dx[0] = y (-0 - -0) shows it. */
TEST(kernel_values, lanes_beyond_the_row_keep_their_zero) {
    enum { N = 20 };
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        for (size_t j = 0; j < N; j++) {
            x[j] = 0x1p-100f;
            t[j] = j == 0 ? -0.0f : -0x1p-100f;
        }
        kernels->softmax_backward(1, N, x, N, t, N, y, N);
        CHECK_INT(pt_float_bits(y[0]), 0);
    }
    pt_float_environment_leave(previous);
}

TEST(kernel_values, cross_entropy_is_its_formula) {
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        for (size_t l = 0; l < LENGTHS; l++) {
            size_t n = lengths[l], hot = (n * 5) / 7;
            pt_fill_numbers(x, n, PT_NUMBERS_ORDINARY, l);
            float max = exponentials(kernels, n), sum = sum_16_lanes(e, n);
            float log_sum = 0, loss = -1;
            kernels->log_forward(1, &sum, &log_sum);
            for (size_t j = 0; j < n; j++)
                expected[j] = (e[j] / sum - (j == hot ? 1.0f : 0.0f)) * 0.01f;
            float expected_loss = log_sum - (x[hot] - max);
            int32_t label = (int32_t)hot;
            kernels->softmax_cross_entropy(1, n, x, n, &label, 0.01f, y, n, &loss);
            check_same(kernels, "gradient", y, expected, n);
            check_same(kernels, "loss", &loss, &expected_loss, 1);
        }
    }
    pt_float_environment_leave(previous);
}

TEST(kernel_values, squared_error_sums_in_16_lanes) {
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        for (size_t l = 0; l < LENGTHS; l++) {
            size_t n = lengths[l];
            pt_fill_numbers(x, n, PT_NUMBERS_ORDINARY, l);
            pt_fill_numbers(t, n, PT_NUMBERS_ORDINARY, l + 100);
            for (size_t j = 0; j < n; j++)
                e[j] = x[j] - t[j];
            float expected_loss = 0.5f * dot_16_lanes(e, e, n), loss = -1;
            for (size_t j = 0; j < n; j++)
                expected[j] = e[j] * 0.25f;
            kernels->squared_error(1, n, x, n, t, n, 0.25f, y, n, &loss);
            check_same(kernels, "gradient", y, expected, n);
            check_same(kernels, "loss", &loss, &expected_loss, 1);
        }
    }
    pt_float_environment_leave(previous);
}

TEST(kernel_values, cross_entropy_agrees_with_double) {
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        for (size_t l = 0; l < LENGTHS; l++) {
            size_t n = lengths[l];
            pt_fill_numbers(x, n, PT_NUMBERS_ORDINARY, l + 7);
            double sum = 0, gradient_sum = 0;
            for (size_t j = 0; j < n; j++)
                sum += exp((double)x[j]);
            int32_t label = (int32_t)(n - 1);
            float loss;
            kernels->softmax_cross_entropy(1, n, x, n, &label, 1.0f, y, n, &loss);
            CHECK(fabs((double)loss - (log(sum) - (double)x[n - 1])) < 4e-6);
            for (size_t j = 0; j < n; j++) {
                double exact = exp((double)x[j]) / sum - (j == n - 1);
                CHECK(fabs((double)y[j] - exact) < 1e-6);
                gradient_sum += (double)y[j];
            }
            CHECK(fabs(gradient_sum) < 1e-5);
        }
    }
    pt_float_environment_leave(previous);
}

TEST(kernel_values, softmax_of_one_and_of_equals) {
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        float one = -123.5f, p = 0, loss = -1, dx = -1, eight[8];
        int32_t label = 0;
        kernels->softmax_forward(1, 1, &one, 1, &p, 1);
        CHECK(p == 1.0f);
        kernels->softmax_cross_entropy(1, 1, &one, 1, &label, 1.0f, &dx, 1, &loss);
        CHECK(loss == 0.0f && dx == 0.0f);
        pt_fill_numbers(eight, 8, PT_NUMBERS_EQUAL, 3);
        kernels->softmax_forward(1, 8, eight, 8, eight, 8);
        for (int j = 0; j < 8; j++)
            CHECK(eight[j] == 0.125f);
    }
    pt_float_environment_leave(previous);
}

/* A broken number anywhere in a row must reach the loss, or training could not notice it. */
TEST(kernel_values, nan_and_infinity_reach_the_loss) {
    static const float broken[] = {NAN, INFINITY};
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        for (size_t l = 0; l < LENGTHS; l++) {
            size_t n = lengths[l];
            for (size_t b = 0; b < 2; b++) {
                pt_fill_numbers(x, n, PT_NUMBERS_ORDINARY, l);
                x[n / 2] = broken[b];
                float loss = 0;
                int32_t label = 0;
                kernels->softmax_cross_entropy(1, n, x, n, &label, 1.0f, NULL, 0, &loss);
                CHECK(isnan(loss));
                kernels->softmax_forward(1, n, x, n, y, n);
                for (size_t j = 0; j < n; j++)
                    CHECK(isnan(y[j]));
            }
        }
        /* A logit of -inf is a class of probability 0, not an error. */
        float row[3] = {0.0f, -INFINITY, 0.0f}, loss;
        int32_t label = 1;
        kernels->softmax_forward(1, 3, row, 3, y, 3);
        CHECK(y[0] == 0.5f && y[1] == 0.0f && y[2] == 0.5f);
        kernels->softmax_cross_entropy(1, 3, row, 3, &label, 1.0f, NULL, 0, &loss);
        CHECK(loss == INFINITY);
    }
    pt_float_environment_leave(previous);
}

TEST(kernel_values, argmax_takes_the_first_of_equals_and_passes_over_nan) {
    static const struct {
        size_t n;
        float row[20];
        int32_t index;
    } cases[] = {
        {1, {5}, 0},
        {3, {1, 3, 3}, 1},
        {3, {-0.0f, 0.0f, 0.0f}, 0},
        {4, {NAN, 1, NAN, 2}, 3},
        {3, {NAN, NAN, NAN}, 0},
        {3, {NAN, -INFINITY, NAN}, 0},
        {3, {NAN, -INFINITY, -1e38f}, 2},
        {3, {1, INFINITY, INFINITY}, 1},
        {4, {-5, -4, -4, -6}, 1},
        {18, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 17, 17, 17}, 15},
        {18, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}, 17},
        {18, {[16] = -1, [17] = -1}, 0},
        {17, {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0}, 16},
    };
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            int32_t index = -1;
            kernels->argmax(1, cases[c].n, cases[c].row, cases[c].n, &index);
            CHECK_MSG(index == cases[c].index, "%s: case %zu gives %d", kernels->isa, c, index);
        }
    }
    pt_float_environment_leave(previous);
}

TEST(kernel_values, activations) {
    static const float in[] = {-2.0f, -0.0f, 0.0f, 0.5f, 3.0f, NAN, -INFINITY, INFINITY};
    static const float relu[] = {0.0f, 0.0f, 0.0f, 0.5f, 3.0f, NAN, 0.0f, INFINITY};
    static const float dy[] = {7, 7, 7, 7, 7, 7, 7, 7}, dx[] = {0, 0, 0, 7, 7, 0, 0, 7};
    static const float half[] = {0.5f, 0.25f}, ones[] = {8.0f, 16.0f};
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        kernels->relu_forward(8, in, y);
        check_same(kernels, "relu_forward", y, relu, 8);
        kernels->relu_backward(8, in, dy, y);
        check_same(kernels, "relu_backward", y, dx, 8);
        kernels->sigmoid_backward(2, half, ones, y);
        CHECK(y[0] == 2.0f && y[1] == 3.0f);
        kernels->tanh_backward(2, half, ones, y);
        CHECK(y[0] == 6.0f && y[1] == 15.0f);
    }
    pt_float_environment_leave(previous);
}

TEST(kernel_values, pixels) {
    uint8_t pixels[256];
    for (int i = 0; i < 256; i++)
        pixels[i] = (uint8_t)i;
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        kernels->u8_to_float(256, pixels, 1.0f / 255.0f, 0.0f, y);
        CHECK(y[0] == 0.0f && y[255] == 1.0f);
        for (int i = 0; i < 256; i++)
            CHECK(y[i] == (float)i * (1.0f / 255.0f));
        kernels->u8_to_float(256, pixels, 2.0f, -3.0f, y);
        for (int i = 0; i < 256; i++)
            CHECK(y[i] == (float)(2 * i - 3));
    }
    pt_float_environment_leave(previous);
}

TEST(kernel_values, optimizers) {
    unsigned previous = pt_float_environment_enter();
    FOR_EACH_ISA(kernels) {
        float g = 0.5f, w = 1.0f, v = 2.0f, m = 0.25f;
        kernels->sgd_update(1, 0.125f, &g, &w);
        CHECK(w == 0.9375f);

        w = 1.0f;
        kernels->momentum_update(1, 0.125f, 0.5f, &g, &v, &w); /* v = 1 - 1/16, w = 1 + v */
        CHECK(v == 0.9375f && w == 1.9375f);

        w = 1.0f;
        v = 2.0f;
        kernels->adam_update(1, 0.5f, 0.5f, 0.75f, 0.0f, &g, &m, &v, &w);
        CHECK(m == 0.375f);  /* 0.25 + (0.5 - 0.25) / 2 */
        CHECK(v == 1.5625f); /* 2 + (0.25 - 2) / 4 = 1.25^2 */
        CHECK(w == 1.0f - 0.1875f / 1.25f);

        /* Steps of a constant gradient approach the learning rate, whatever its size. */
        float gradient = 1e-3f, mean = 0, square = 0, weight = 0;
        for (int step = 1; step <= 50; step++) {
            double correction = sqrt(1 - pow(0.999, step)) / (1 - pow(0.9, step));
            float step_size = (float)(0.01 * correction);
            kernels->adam_update(1, step_size, 0.9f, 0.999f, 1e-12f, &gradient, &mean, &square,
                                 &weight);
        }
        CHECK(fabs((double)weight + 0.5) < 1e-3);
    }
    pt_float_environment_leave(previous);
}
