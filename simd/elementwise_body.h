/* elementwise_body.h: the elementwise kernels of one vector instruction set.
 *
 * Included once by kernels_avx2.c and kernels_avx512.c, which define KERNEL(name) and v16 first.
 * A kernel is one formula on 16 lanes; map_unary and map_binary, inlined together with it, run it
 * along the arrays, the last n % 16 elements under a mask.
 */
#include "simd/math_vector.h"

V16_INLINE void map_unary(size_t n, const float *x, float *y, v16 (*formula)(v16)) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(y + i, formula(v16_load(x + i)));
    if (i < n) {
        v16_mask rest = v16_first(n - i);
        v16_store_first(y + i, rest, formula(v16_load_first(x + i, rest)));
    }
}

V16_INLINE void map_binary(size_t n, const float *a, const float *b, float *y,
                           v16 (*formula)(v16, v16)) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(y + i, formula(v16_load(a + i), v16_load(b + i)));
    if (i < n) {
        v16_mask rest = v16_first(n - i);
        v16 last = formula(v16_load_first(a + i, rest), v16_load_first(b + i, rest));
        v16_store_first(y + i, rest, last);
    }
}

/* Formulas of an operation or two: what a loop itself costs shows as long as the data is in the first
 * level cache, so four steps are taken in one. */
V16_INLINE void map_unary_short(size_t n, const float *x, float *y, v16 (*formula)(v16)) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        v16 a = formula(v16_load(x + i)), b = formula(v16_load(x + i + 16));
        v16 c = formula(v16_load(x + i + 32)), d = formula(v16_load(x + i + 48));
        v16_store(y + i, a);
        v16_store(y + i + 16, b);
        v16_store(y + i + 32, c);
        v16_store(y + i + 48, d);
    }
    map_unary(n - i, x + i, y + i, formula);
}

V16_INLINE void map_binary_short(size_t n, const float *a, const float *b, float *y,
                                 v16 (*formula)(v16, v16)) {
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        v16 first = formula(v16_load(a + i), v16_load(b + i));
        v16 second = formula(v16_load(a + i + 16), v16_load(b + i + 16));
        v16 third = formula(v16_load(a + i + 32), v16_load(b + i + 32));
        v16 fourth = formula(v16_load(a + i + 48), v16_load(b + i + 48));
        v16_store(y + i, first);
        v16_store(y + i + 16, second);
        v16_store(y + i + 32, third);
        v16_store(y + i + 48, fourth);
    }
    map_binary(n - i, a + i, b + i, y + i, formula);
}

V16_INLINE v16 relu(v16 x) {
    return v16_keep(v16_not_less_equal(x, v16_set1(0.0f)), x);
}

V16_INLINE v16 relu_gradient(v16 y, v16 dy) {
    return v16_keep(v16_less(v16_set1(0.0f), y), dy);
}

V16_INLINE v16 sigmoid_gradient(v16 y, v16 dy) {
    return v16_mul(dy, v16_mul(y, v16_sub(v16_set1(1.0f), y)));
}

V16_INLINE v16 tanh_gradient(v16 y, v16 dy) {
    return v16_mul(dy, v16_fma(v16_negate(y), y, v16_set1(1.0f)));
}

void KERNEL(relu_forward)(size_t n, const float *x, float *y) {
    map_unary_short(n, x, y, relu);
}

void KERNEL(relu_backward)(size_t n, const float *y, const float *dy, float *dx) {
    map_binary_short(n, y, dy, dx, relu_gradient);
}

void KERNEL(sigmoid_forward)(size_t n, const float *x, float *y) {
    map_unary(n, x, y, v16_sigmoid);
}

void KERNEL(sigmoid_backward)(size_t n, const float *y, const float *dy, float *dx) {
    map_binary(n, y, dy, dx, sigmoid_gradient);
}

void KERNEL(tanh_forward)(size_t n, const float *x, float *y) {
    map_unary(n, x, y, v16_tanh);
}

void KERNEL(tanh_backward)(size_t n, const float *y, const float *dy, float *dx) {
    map_binary(n, y, dy, dx, tanh_gradient);
}

V16_INLINE v16 gelu_gradient(v16 x, v16 dy) {
    return v16_mul(dy, v16_gelu_slope(x));
}

V16_INLINE v16 silu_gradient(v16 x, v16 dy) {
    return v16_mul(dy, v16_silu_slope(x));
}

void KERNEL(gelu_forward)(size_t n, const float *x, float *y) {
    map_unary(n, x, y, v16_gelu);
}

void KERNEL(gelu_backward)(size_t n, const float *x, const float *dy, float *dx) {
    map_binary(n, x, dy, dx, gelu_gradient);
}

void KERNEL(silu_forward)(size_t n, const float *x, float *y) {
    map_unary(n, x, y, v16_silu);
}

void KERNEL(silu_backward)(size_t n, const float *x, const float *dy, float *dx) {
    map_binary(n, x, dy, dx, silu_gradient);
}

void KERNEL(exp_forward)(size_t n, const float *x, float *y) {
    map_unary(n, x, y, v16_exp);
}

void KERNEL(log_forward)(size_t n, const float *x, float *y) {
    map_unary(n, x, y, v16_log);
}

void KERNEL(add)(size_t n, const float *a, const float *b, float *y) {
    map_binary_short(n, a, b, y, v16_add);
}

void KERNEL(multiply)(size_t n, const float *a, const float *b, float *y) {
    map_binary_short(n, a, b, y, v16_mul);
}

void KERNEL(u8_to_float)(size_t n, const uint8_t *x, float scale, float offset, float *y) {
    v16 scales = v16_set1(scale), offsets = v16_set1(offset);
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(y + i, v16_fma(v16_load_u8(x + i), scales, offsets));
    if (i < n) {
        v16 last = v16_fma(v16_load_u8_first(x + i, n - i), scales, offsets);
        v16_store_first(y + i, v16_first(n - i), last);
    }
}
