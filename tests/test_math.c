/* test_math.c: accuracy, limits and monotony of exp, log, sigmoid, tanh, gelu and silu, on every
 * instruction set.
 *
 * Errors are counted in units in the last place of the exact result, against long double libm,
 * which the floating-point environment of the kernels does not touch. Arguments below the normal
 * numbers count as zero and results below them are zero, so both are left out of the error.
 */
#include "harness.h"
#include "kernel_buffers.h"

#include "simd/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    BLOCK = 4096,
    STRIDE =
        1021, /* of float bit patterns; prime, so that all low bits occur: 4.2 million floats */
};

static float float_from(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

typedef void (*unary)(size_t n, const float *x, float *y);

typedef struct function {
    const char *name;
    size_t member; /* offset of the kernel in pt_kernels */
    long double (*exact)(long double x);
    double largest_error; /* ulp, as math_scalar.h states it */
    float lowest;         /* the error counts from here on */
} function;

static long double exact_sigmoid(long double x) {
    return 1 / (1 + expl(-x));
}

static long double exact_gelu(long double x) {
    return 0.5L * x * erfcl(-x * 0.707106781186547524400844362104849039L);
}

static long double exact_silu(long double x) {
    return x / (1 + expl(-x));
}

static const function functions[] = {
    {"exp", offsetof(pt_kernels, exp_forward), expl, 0.90, -INFINITY},
    {"log", offsetof(pt_kernels, log_forward), logl, 0.82, -INFINITY},
    {"sigmoid", offsetof(pt_kernels, sigmoid_forward), exact_sigmoid, 1.97, -INFINITY},
    {"tanh", offsetof(pt_kernels, tanh_forward), tanhl, 0.84, -INFINITY},
    {"gelu", offsetof(pt_kernels, gelu_forward), exact_gelu, 6.20, -INFINITY},
    {"silu", offsetof(pt_kernels, silu_forward), exact_silu, 1.99,
     -0x1.5ffffep+6f}, /* 0 from -88 down */
};

enum { EXP, LOG, SIGMOID, TANH, GELU, SILU, FUNCTIONS };

static unary kernel_of(const pt_kernels *kernels, const function *f) {
    unary kernel;
    memcpy(&kernel, (const char *)kernels + f->member, sizeof kernel);
    return kernel;
}

static float value_of(const pt_kernels *kernels, int which, float x) {
    float y;
    kernel_of(kernels, &functions[which])(1, &x, &y);
    return y;
}

/* |got - exact| in ulp of the exact value; 0 where both overflow, or lie below the normal numbers.
 */
static double error_in_ulp(float got, long double exact) {
    if (isnan(exact))
        return isnan(got) ? 0 : HUGE_VAL;
    long double size = fabsl(exact);
    if (size >
        (long double)FLT_MAX) /* including inf; the last half ulp below may round either way */
        return got == (exact > 0 ? INFINITY : -INFINITY) ? 0 : HUGE_VAL;
    if (size < (long double)FLT_MIN)
        return fabsf(got) <= FLT_MIN ? 0 : HUGE_VAL;
    int exponent;
    frexpl(size, &exponent);
    return (double)(fabsl((long double)got - exact) / ldexpl(1.0L, exponent - FLT_MANT_DIG));
}

static void check_accuracy(const pt_kernels *kernels, const function *f) {
    static float x[BLOCK], y[BLOCK];
    unary kernel = kernel_of(kernels, f);
    double worst = 0;
    float worst_at = 0;
    uint64_t bits = 0, cases = 0;
    while (bits < UINT64_C(1) << 32) {
        size_t n = 0;
        for (; n < BLOCK && bits < UINT64_C(1) << 32; bits += STRIDE) {
            float value = float_from((uint32_t)bits);
            if (!(fabsf(value) < FLT_MIN || value < f->lowest)) /* NaN stays */
                x[n++] = value;
        }
        unsigned previous = pt_float_environment_enter();
        kernel(n, x, y);
        pt_float_environment_leave(previous);
        for (size_t i = 0; i < n; i++) {
            double error = error_in_ulp(y[i], f->exact((long double)x[i]));
            if (error > worst) {
                worst = error;
                worst_at = x[i];
            }
        }
        cases += n;
    }
    CHECK(cases > (isinf(f->lowest) ? 4000000 : 3000000));
    CHECK_MSG(worst <= f->largest_error, "%s on %s is off by %.3f ulp at %a", f->name, kernels->isa,
              worst, (double)worst_at);
    CHECK_MSG(worst > 0.5, "%s: an error of %.3f ulp is too good to be measured", f->name, worst);
}

/* On the best instruction set; test_kernels.c has the others equal. */
TEST(math, exp_accuracy) {
    check_accuracy(pt_kernels_get(PT_ISA_AUTO), &functions[EXP]);
}

TEST(math, log_accuracy) {
    check_accuracy(pt_kernels_get(PT_ISA_AUTO), &functions[LOG]);
}

TEST(math, sigmoid_accuracy) {
    check_accuracy(pt_kernels_get(PT_ISA_AUTO), &functions[SIGMOID]);
}

TEST(math, tanh_accuracy) {
    check_accuracy(pt_kernels_get(PT_ISA_AUTO), &functions[TANH]);
}

TEST(math, gelu_accuracy) {
    check_accuracy(pt_kernels_get(PT_ISA_AUTO), &functions[GELU]);
}

TEST(math, silu_accuracy) {
    check_accuracy(pt_kernels_get(PT_ISA_AUTO), &functions[SILU]);
}

/* The derivatives, which cross zero, in units of 2^-24, the last place just below 1. */
TEST(math, derivatives_of_gelu_and_silu) {
    const pt_kernels *kernels = pt_kernels_get(PT_ISA_AUTO);
    double worst_gelu = 0, worst_silu = 0;
    unsigned previous = pt_float_environment_enter();
    for (int i = -100000; i <= 100000; i++) {
        const float x = (float)i * 1.1e-3f, dy = 1;
        const double z = (double)x, s = 1 / (1 + exp(-z));
        float gelu, silu;
        kernels->gelu_backward(1, &x, &dy, &gelu);
        kernels->silu_backward(1, &x, &dy, &silu);
        double exact = 0.5 * erfc(-z * sqrt(0.5)) + z * exp(-0.5 * z * z) * 0.39894228040143267794;
        worst_gelu = fmax(worst_gelu, fabs((double)gelu - exact) * 0x1p24);
        worst_silu = fmax(worst_silu, fabs((double)silu - s * (1 + z / (1 + exp(z)))) * 0x1p24);
    }
    pt_float_environment_leave(previous);
    CHECK_MSG(worst_gelu > 0.5 && worst_gelu <= 4, "gelu: %.3f", worst_gelu);
    CHECK_MSG(worst_silu > 0.5 && worst_silu <= 4, "silu: %.3f", worst_silu);
}

/* The same bits on every instruction set over the same stride of all floats. */
TEST(math, same_bits_everywhere) {
    static float x[BLOCK], y[BLOCK], reference[BLOCK];
    const pt_kernels *scalar = pt_kernels_get(PT_ISA_SCALAR);
    const uint64_t stride = pt_test_quick() ? 31 * STRIDE : STRIDE;
    unsigned previous = pt_float_environment_enter();
    for (int isa = PT_ISA_SCALAR + 1; isa <= (int)pt_isa_best(); isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        for (int which = 0; which < FUNCTIONS; which++) {
            const function *f = &functions[which];
            for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
                size_t n = 0;
                for (; n < BLOCK && bits < UINT64_C(1) << 32; bits += stride)
                    x[n++] = float_from((uint32_t)bits);
                kernel_of(scalar, f)(n, x, reference);
                kernel_of(kernels, f)(n, x, y);
                size_t i = pt_first_difference(y, reference, n);
                if (i < n) {
                    CHECK_MSG(false, "%s(%a) on %s is %a, scalar %a", f->name, (double)x[i],
                              kernels->isa, (double)y[i], (double)reference[i]);
                    break;
                }
            }
        }
    }
    pt_float_environment_leave(previous);
    CHECK(true);
}

#define CHECK_VALUE(which, x, expected)                                                            \
    CHECK_MSG(pt_same_float(value_of(kernels, which, x), expected), "%s %s(%a) is %a, not %a",     \
              kernels->isa, functions[which].name, (double)(x),                                    \
              (double)value_of(kernels, which, x), (double)(expected))

TEST(math, limits_and_special_values) {
    unsigned previous = pt_float_environment_enter();
    for (int isa = PT_ISA_SCALAR; isa <= (int)pt_isa_best(); isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        float denormal = float_from(1);
        for (int which = 0; which < FUNCTIONS; which++) {
            CHECK_VALUE(which, NAN, NAN);
            CHECK_VALUE(which, -NAN, NAN);
            CHECK_VALUE(which, float_from(0x7f800001u), NAN); /* a signalling one */
            CHECK_VALUE(which, float_from(0xffffffffu), NAN);
        }
        CHECK_VALUE(EXP, 0.0f, 1.0f);
        CHECK_VALUE(EXP, -0.0f, 1.0f);
        CHECK_VALUE(EXP, denormal, 1.0f);
        CHECK_VALUE(EXP, INFINITY, INFINITY);
        CHECK_VALUE(EXP, -INFINITY, 0.0f);
        CHECK_VALUE(EXP, 0x1.62e430p+6f, INFINITY); /* the first float above log(FLT_MAX) */
        CHECK(isfinite(value_of(kernels, EXP, 0x1.62e42ep+6f)));
        CHECK_VALUE(EXP, -0x1.5d58a0p+6f, 0.0f); /* the first below log(FLT_MIN) */
        CHECK(value_of(kernels, EXP, -0x1.5d589ep+6f) >= FLT_MIN);
        CHECK_VALUE(EXP, FLT_MAX, INFINITY);
        CHECK_VALUE(EXP, -FLT_MAX, 0.0f);

        CHECK_VALUE(LOG, 1.0f, 0.0f);
        CHECK_VALUE(LOG, 0.0f, -INFINITY);
        CHECK_VALUE(LOG, -0.0f, -INFINITY);
        CHECK_VALUE(LOG, denormal, -INFINITY);
        CHECK_VALUE(LOG, -denormal, -INFINITY);
        CHECK_VALUE(LOG, -FLT_MIN, NAN);
        CHECK_VALUE(LOG, -1.0f, NAN);
        CHECK_VALUE(LOG, -INFINITY, NAN);
        CHECK_VALUE(LOG, INFINITY, INFINITY);

        CHECK_VALUE(SIGMOID, 0.0f, 0.5f);
        CHECK_VALUE(SIGMOID, -0.0f, 0.5f);
        CHECK_VALUE(SIGMOID, INFINITY, 1.0f);
        CHECK_VALUE(SIGMOID, -INFINITY, 0.0f);
        CHECK_VALUE(SIGMOID, FLT_MAX, 1.0f);
        CHECK_VALUE(SIGMOID, -FLT_MAX, 0.0f);

        CHECK_VALUE(TANH, 0.0f, 0.0f);
        CHECK_VALUE(TANH, -0.0f, -0.0f);
        CHECK(pt_float_bits(value_of(kernels, TANH, denormal)) <= 1); /* valgrind does not flush */
        CHECK_VALUE(TANH, FLT_MIN, FLT_MIN);
        CHECK_VALUE(TANH, 1e-20f, 1e-20f);
        CHECK_VALUE(TANH, INFINITY, 1.0f);
        CHECK_VALUE(TANH, -INFINITY, -1.0f);
        CHECK_VALUE(TANH, FLT_MAX, 1.0f);
        CHECK_VALUE(TANH, -FLT_MAX, -1.0f);

        for (int which = GELU; which <= SILU; which++) {
            CHECK_VALUE(which, INFINITY, INFINITY);
            CHECK_VALUE(which, FLT_MAX, FLT_MAX);
            CHECK_VALUE(which, 100.0f, 100.0f);
            static const float nothing[] = {-INFINITY, -FLT_MAX, -100.0f, -0.0f, 0.0f};
            for (size_t i = 0; i < 5; i++) /* valgrind does not flush */
                CHECK(fabsf(value_of(kernels, which, nothing[i])) <= FLT_MIN);
            CHECK(fabsf(value_of(kernels, which, denormal)) <= FLT_MIN);
        }
        const float far[] = {INFINITY, FLT_MAX, -INFINITY, -FLT_MAX, NAN, 0.0f, denormal};
        const float dy[] = {3, 3, 3, 3, 3, 3, 3}, slope[] = {3, 3, 0, 0, NAN, 1.5f, 1.5f};
        float dx[7];
        kernels->gelu_backward(7, far, dy, dx);
        for (size_t i = 0; i < 7; i++)
            CHECK(pt_same_float(dx[i], slope[i]) || fabsf(dx[i] - slope[i]) <= FLT_MIN);
        kernels->silu_backward(7, far, dy, dx);
        for (size_t i = 0; i < 7; i++)
            CHECK(pt_same_float(dx[i], slope[i]) || fabsf(dx[i] - slope[i]) <= FLT_MIN);
    }
    pt_float_environment_leave(previous);
}

/* Never down while x goes up through every float of the range. */
static void check_monotone(int which, float from, float to) {
    static float x[BLOCK], y[BLOCK];
    const function *f = &functions[which];
    unary kernel = kernel_of(pt_kernels_get(PT_ISA_AUTO), f);
    float before = -INFINITY;
    unsigned previous = pt_float_environment_enter();
    while (from < to) {
        for (size_t i = 0; i < BLOCK; i++) {
            x[i] = from;
            from = nextafterf(from, INFINITY);
        }
        kernel(BLOCK, x, y);
        for (size_t i = 0; i < BLOCK; i++) {
            if (y[i] < before) {
                CHECK_MSG(false, "%s falls to %a at %a", f->name, (double)y[i], (double)x[i]);
                from = to;
                break;
            }
            before = y[i];
        }
    }
    CHECK(before <= 1.0f);
    pt_float_environment_leave(previous);
}

TEST(math, saturation_is_monotone) {
    check_monotone(SIGMOID, 13.0f, 18.0f);
    check_monotone(SIGMOID, -89.0f, -80.0f);
    check_monotone(TANH, 7.0f, 10.0f);
    check_monotone(TANH, -10.0f, -7.0f);
}

TEST(math, tanh_is_odd) {
    const pt_kernels *kernels = pt_kernels_get(PT_ISA_AUTO);
    for (uint32_t bits = 0x30000000u; bits < 0x41400000u; bits += 99991) { /* 4.7e-10 .. 12 */
        float x = float_from(bits);
        CHECK_VALUE(TANH, -x, -value_of(kernels, TANH, x));
    }
}
