/* kernels_scalar.c: the readable reference of every kernel but the matrix products.
 *
 * Plain loops over the formulas of math_scalar.h. The vector kernels must give the same bits, and
 * the tests hold them to it.
 */
#include "simd/kernels_internal.h"
#include "simd/math_scalar.h"

#include <assert.h>

enum { LANES = PT_REDUCTION_LANES };

/* ---- elementwise ---- */

void pt_relu_forward_scalar(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = x[i] <= 0.0f ? 0.0f : x[i]; /* asked this way round, NaN stays */
}

void pt_relu_backward_scalar(size_t n, const float *y, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++)
        dx[i] = y[i] > 0.0f ? dy[i] : 0.0f;
}

void pt_sigmoid_forward_scalar(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = pt_sigmoid(x[i]);
}

void pt_sigmoid_backward_scalar(size_t n, const float *y, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * (y[i] * (1.0f - y[i]));
}

void pt_tanh_forward_scalar(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = pt_tanh(x[i]);
}

void pt_tanh_backward_scalar(size_t n, const float *y, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * fmaf(pt_negate(y[i]), y[i], 1.0f);
}

void pt_gelu_forward_scalar(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = pt_gelu(x[i]);
}

void pt_gelu_backward_scalar(size_t n, const float *x, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * pt_gelu_slope(x[i]);
}

void pt_silu_forward_scalar(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = pt_silu(x[i]);
}

void pt_silu_backward_scalar(size_t n, const float *x, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++)
        dx[i] = dy[i] * pt_silu_slope(x[i]);
}

void pt_exp_forward_scalar(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = pt_exp(x[i]);
}

void pt_log_forward_scalar(size_t n, const float *x, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = pt_log(x[i]);
}

void pt_add_scalar(size_t n, const float *a, const float *b, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] + b[i];
}

void pt_multiply_scalar(size_t n, const float *a, const float *b, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = a[i] * b[i];
}

void pt_u8_to_float_scalar(size_t n, const uint8_t *x, float scale, float offset, float *y) {
    for (size_t i = 0; i < n; i++)
        y[i] = fmaf((float)x[i], scale, offset);
}

/* ---- rows ---- */

/* The fixed tree of a row reduction: lane l += lane l+8, += l+4, += l+2, += l+1. */
static float sum_lanes(float lane[LANES]) {
    for (size_t width = LANES / 2; width > 0; width /= 2)
        for (size_t l = 0; l < width; l++)
            lane[l] += lane[l + width];
    return lane[0];
}

/* The largest element; NaN is passed over, and comes back through exp(NaN - max). Which zero wins
 * cannot matter: x - max differs by the sign of a zero at most, and exp(+0) is exp(-0). */
static float row_max(size_t n, const float *x) {
    float max = -INFINITY;
    for (size_t j = 0; j < n; j++)
        max = pt_max(x[j], max);
    return max;
}

/* exp(x_j - max) into e (unless NULL); returns their sum. */
static float row_exp_sum(size_t n, const float *x, float max, float *e) {
    float lane[LANES] = {0};
    for (size_t j = 0; j < n; j++) {
        float value = pt_exp(x[j] - max);
        lane[j % LANES] += value;
        if (e)
            e[j] = value;
    }
    return sum_lanes(lane);
}

void pt_softmax_forward_scalar(size_t rows, size_t n, const float *x, size_t ldx, float *y,
                               size_t ldy) {
    for (size_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        float sum = row_exp_sum(n, x, row_max(n, x), y);
        for (size_t j = 0; j < n; j++)
            y[j] /= sum;
    }
}

void pt_softmax_backward_scalar(size_t rows, size_t n, const float *y, size_t ldy, const float *dy,
                                size_t lddy, float *dx, size_t lddx) {
    for (size_t i = 0; i < rows; i++, y += ldy, dy += lddy, dx += lddx) {
        float lane[LANES] = {0};
        for (size_t j = 0; j < n; j++)
            lane[j % LANES] = fmaf(dy[j], y[j], lane[j % LANES]);
        float dot = sum_lanes(lane);
        for (size_t j = 0; j < n; j++)
            dx[j] = y[j] * (dy[j] - dot);
    }
}

void pt_softmax_cross_entropy_scalar(size_t rows, size_t n, const float *x, size_t ldx,
                                     const int32_t *label, float factor, float *dx, size_t lddx,
                                     float *loss) {
    for (size_t i = 0; i < rows; i++, x += ldx) {
        assert(label[i] >= 0 && (size_t)label[i] < n);
        size_t hot = (size_t)label[i];
        float max = row_max(n, x);
        float x_label = x[hot] - max; /* before dx overwrites it */
        float sum = row_exp_sum(n, x, max, dx);
        loss[i] = pt_log(sum) - x_label;
        if (dx) {
            for (size_t j = 0; j < n; j++)
                dx[j] = (dx[j] / sum - (j == hot ? 1.0f : 0.0f)) * factor;
            dx += lddx;
        }
    }
}

void pt_squared_error_scalar(size_t rows, size_t n, const float *x, size_t ldx, const float *target,
                             size_t ldt, float factor, float *dx, size_t lddx, float *loss) {
    for (size_t i = 0; i < rows; i++, x += ldx, target += ldt) {
        float lane[LANES] = {0};
        for (size_t j = 0; j < n; j++) {
            float difference = x[j] - target[j];
            lane[j % LANES] = fmaf(difference, difference, lane[j % LANES]);
            if (dx)
                dx[j] = difference * factor;
        }
        loss[i] = 0.5f * sum_lanes(lane);
        if (dx)
            dx += lddx;
    }
}

void pt_argmax_scalar(size_t rows, size_t n, const float *x, size_t ldx, int32_t *index) {
    assert(n <= INT32_MAX);
    for (size_t i = 0; i < rows; i++, x += ldx) {
        float best = -INFINITY;
        index[i] = 0;
        for (size_t j = 0; j < n; j++) {
            if (x[j] > best) {
                best = x[j];
                index[i] = (int32_t)j;
            }
        }
    }
}

/* ---- optimizers ---- */

void pt_sgd_update_scalar(size_t n, float learning_rate, const float *g, float *w) {
    float minus_rate = pt_negate(learning_rate);
    for (size_t i = 0; i < n; i++)
        w[i] = fmaf(minus_rate, g[i], w[i]);
}

void pt_momentum_update_scalar(size_t n, float learning_rate, float momentum, const float *g,
                               float *v, float *w) {
    float minus_rate = pt_negate(learning_rate);
    for (size_t i = 0; i < n; i++) {
        v[i] = fmaf(momentum, v[i], minus_rate * g[i]);
        w[i] = w[i] + v[i];
    }
}

void pt_adam_update_scalar(size_t n, float step_size, float beta1, float beta2, float epsilon,
                           const float *g, float *m, float *v, float *w) {
    float rest1 = 1.0f - beta1, rest2 = 1.0f - beta2;
    for (size_t i = 0; i < n; i++) {
        m[i] = fmaf(rest1, g[i] - m[i], m[i]);
        v[i] = fmaf(rest2, fmaf(g[i], g[i], pt_negate(v[i])), v[i]);
        w[i] = w[i] - step_size * m[i] / (sqrtf(v[i]) + epsilon);
    }
}
