/* math_peers.c: the libraries' functions by name, and errors against double precision. */
#include "bench/math_peers.h"

#include "0_base/memory.h"
#include "bench/measure.h"

#include <dlfcn.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const char *const bench_math_peer_names[BENCH_MATH_PEERS] = {"SLEEF u10", "SLEEF u35", "libmvec"};

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double silu(double x) {
    return x / (1 + exp(-x));
}

static double gelu(double x) {
    return x * 0.5 * erfc(-x * 0.70710678118654752440);
}

enum { BASE_NONE, BASE_EXP, BASE_LOG, BASE_TANH, BASE_ERF };

static bench_math functions[] = {
    {"exp_forward", BENCH_PLAIN, exp, -87, 88, {NULL}},
    {"log_forward", BENCH_PLAIN, log, 1.2e-38, 3.4e38, {NULL}},
    {"tanh_forward", BENCH_PLAIN, tanh, -100, 100, {NULL}},
    {"sigmoid_forward", BENCH_SIGMOID, sigmoid, -87, 88, {NULL}},
    {"silu_forward", BENCH_SILU, silu, -87, 88, {NULL}},
    {"gelu_forward", BENCH_GELU, gelu, -12, 88, {NULL}},
    {"softmax_forward", BENCH_SOFTMAX, NULL, 0, 0, {NULL}},
};
static const int base_of[] = {BASE_EXP, BASE_LOG, BASE_TANH, BASE_EXP,
                              BASE_EXP, BASE_ERF, BASE_EXP};

static void open_libraries(pt_isa isa) {
    static const struct {
        const char *file, *package, *format[2]; /* AVX2, AVX-512 */
    } known[BENCH_MATH_PEERS] = {
        {"libsleef.so.3", "libsleef3", {"Sleef_%sf8_u10avx2", "Sleef_%sf16_u10avx512f"}},
        {"libsleef.so.3", NULL, {"Sleef_%sf8_u35avx2", "Sleef_%sf16_u35avx512f"}},
        {"libmvec.so.1", "libc6", {"_ZGVdN8v_%sf", "_ZGVeN16v_%sf"}},
    };
    static const char *const base_names[] = {"", "exp", "log", "tanh", "erf"};
    for (size_t p = 0; p < BENCH_MATH_PEERS; p++) {
        void *library = dlopen(known[p].file, RTLD_NOW | RTLD_LOCAL);
        if (!library && known[p].package)
            fprintf(stderr, "bench: no %s for %s (Debian: apt-get install %s)\n", known[p].file,
                    pt_isa_name(isa), known[p].package);
        for (size_t i = 0; library && i < sizeof functions / sizeof *functions; i++) {
            char symbol[64];
            const char *base = base_names[base_of[i]];
            const char *format = known[p].format[isa == PT_ISA_AVX512];
            const char *gap = strstr(format, "%s");
            snprintf(symbol, sizeof symbol, "%.*s%s%s", (int)(gap - format), format, base, gap + 2);
            functions[i].function[p] = dlsym(library, symbol);
        }
    }
}

const bench_math *bench_math_find(const char *kernel, pt_isa isa, int peers) {
    static int opened;
    if (peers && !opened)
        open_libraries(isa);
    opened |= peers;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(kernel, functions[i].kernel) == 0)
            return &functions[i];
    return NULL;
}

static double error_of(float got, double exact) {
    int exponent;
    if (!(fabs(exact) <= (double)FLT_MAX && fabs(exact) >= (double)FLT_MIN))
        return 0;
    frexp(exact, &exponent);
    const double error = fabs((double)got - exact) / ldexp(1, exponent - 24);
    return error <= 1e30 ? error : 1e30; /* also a NaN */
}

double bench_math_error(const bench_math *math,
                        void (*run)(void *context, size_t n, const float *x, float *y),
                        void *context) {
    enum { BLOCK = 4096, STEP = 5003 }; /* every 5003rd of all floats: 430,000 without the range */
    float *x = bench_new(BLOCK, sizeof *x), *y = bench_new(BLOCK, sizeof *y);
    double worst = 0;
    for (uint64_t bits = 0; bits < UINT64_C(1) << 32;) {
        size_t n = 0;
        for (; n < BLOCK && bits < UINT64_C(1) << 32; bits += STEP) {
            const uint32_t low = (uint32_t)bits;
            memcpy(&x[n], &low, sizeof low);
            n += fabsf(x[n]) >= FLT_MIN && (double)x[n] >= math->from && (double)x[n] <= math->to;
        }
        const unsigned previous = pt_float_environment_enter();
        run(context, n, x, y);
        pt_float_environment_leave(previous);
        for (size_t i = 0; i < n; i++)
            worst = fmax(worst, error_of(y[i], math->exact((double)x[i])));
    }
    pt_free(x);
    pt_free(y);
    return worst;
}

double bench_softmax_error(size_t rows, size_t n, size_t ld, const float *x, const float *y) {
    double worst = 0;
    for (size_t r = 0; r < rows; r++, x += ld, y += ld) {
        double top = -DBL_MAX, sum = 0;
        for (size_t j = 0; j < n; j++)
            top = fmax(top, (double)x[j]);
        for (size_t j = 0; j < n; j++)
            sum += exp((double)x[j] - top);
        for (size_t j = 0; j < n; j++)
            worst = fmax(worst, error_of(y[j], exp((double)x[j] - top) / sum));
    }
    return worst;
}
