/* rows_body.h: the row kernels of one vector instruction set: softmax, losses, argmax.
 *
 * Included once by kernels_avx2.c and kernels_avx512.c, after elementwise_body.h. Lane l of an
 * accumulator is partial sum l of the contract; under a mask the lanes beyond the row keep theirs.
 * A row of up to 16 elements, such as ten classes, stays in one v16 from load to store.
 */
#include <assert.h>

/* ---- pieces ---- */

/* The largest element; NaN is passed over (v16_max gives its second operand for NaN). */
V16_INLINE float row_max(size_t n, const float *x) {
    v16 lowest = v16_set1(-INFINITY), max = lowest;
    size_t j = 0;
    for (; j + 16 <= n; j += 16)
        max = v16_max(v16_load(x + j), max);
    if (j < n) {
        v16_mask rest = v16_first(n - j);
        max = v16_max(v16_select(rest, v16_load_first(x + j, rest), lowest), max);
    }
    return v16_max_lanes(max);
}

/* exp(x_j - max) into e (unless NULL); returns their sum. */
V16_INLINE float row_exp_sum(size_t n, const float *x, float max, float *e) {
    v16 maxima = v16_set1(max), sum = v16_set1(0.0f);
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        v16 value = v16_exp(v16_sub(v16_load(x + j), maxima));
        sum = v16_add(sum, value);
        if (e)
            v16_store(e + j, value);
    }
    if (j < n) {
        v16_mask rest = v16_first(n - j);
        v16 value = v16_exp(v16_sub(v16_load_first(x + j, rest), maxima));
        sum = v16_select(rest, v16_add(sum, value), sum);
        if (e)
            v16_store_first(e + j, rest, value);
    }
    return v16_sum_lanes(sum);
}

/* A row of n <= 16 elements, `all` being v16_first(n): its exp(x - max), maximum and sum. */
V16_INLINE v16 short_row_exp(v16_mask all, const float *x, float *max, float *sum) {
    v16 row = v16_load_first(x, all);
    *max = v16_max_lanes(v16_max(v16_select(all, row, v16_set1(-INFINITY)), v16_set1(-INFINITY)));
    v16 e = v16_select(all, v16_exp(v16_sub(row, v16_set1(*max))), v16_set1(0.0f));
    *sum = v16_sum_lanes(e);
    return e;
}

/* ---- softmax ---- */

V16_INLINE v16 divide(v16 a, float b) {
    return v16_div(a, v16_set1(b));
}

static void softmax_short_rows(size_t rows, size_t n, const float *x, size_t ldx, float *y,
                               size_t ldy) {
    v16_mask all = v16_first(n);
    for (size_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        float max, sum;
        v16 e = short_row_exp(all, x, &max, &sum);
        v16_store_first(y, all, divide(e, sum));
    }
}

void KERNEL(softmax_forward)(size_t rows, size_t n, const float *x, size_t ldx, float *y,
                             size_t ldy) {
    if (n <= 16) {
        softmax_short_rows(rows, n, x, ldx, y, ldy);
        return;
    }
    for (size_t i = 0; i < rows; i++, x += ldx, y += ldy) {
        float sum = row_exp_sum(n, x, row_max(n, x), y);
        size_t j = 0;
        for (; j + 16 <= n; j += 16)
            v16_store(y + j, divide(v16_load(y + j), sum));
        if (j < n) {
            v16_mask rest = v16_first(n - j);
            v16_store_first(y + j, rest, divide(v16_load_first(y + j, rest), sum));
        }
    }
}

V16_INLINE v16 softmax_gradient(v16 y, v16 dy, v16 dot) {
    return v16_mul(y, v16_sub(dy, dot));
}

void KERNEL(softmax_backward)(size_t rows, size_t n, const float *y, size_t ldy, const float *dy,
                              size_t lddy, float *dx, size_t lddx) {
    v16_mask rest = v16_first(n % 16);
    for (size_t i = 0; i < rows; i++, y += ldy, dy += lddy, dx += lddx) {
        v16 sum = v16_set1(0.0f);
        size_t j = 0;
        for (; j + 16 <= n; j += 16)
            sum = v16_fma(v16_load(dy + j), v16_load(y + j), sum);
        if (j < n) {
            v16 longer = v16_fma(v16_load_first(dy + j, rest), v16_load_first(y + j, rest), sum);
            sum = v16_select(rest, longer, sum);
        }
        v16 dot = v16_set1(v16_sum_lanes(sum));
        for (j = 0; j + 16 <= n; j += 16)
            v16_store(dx + j, softmax_gradient(v16_load(y + j), v16_load(dy + j), dot));
        if (j < n) {
            v16 last =
                softmax_gradient(v16_load_first(y + j, rest), v16_load_first(dy + j, rest), dot);
            v16_store_first(dx + j, rest, last);
        }
    }
}

/* ---- losses ---- */

/* (e / sum - 1 at lane `hot`, if it is one of these 16) * factor */
V16_INLINE v16 cross_entropy_gradient(v16 e, float sum, size_t hot, float factor) {
    v16 p = divide(e, sum);
    p = v16_select(v16_only(hot), v16_sub(p, v16_set1(1.0f)), p);
    return v16_mul(p, v16_set1(factor));
}

/* One row of more than 16 elements; returns the sum of exp(x - max). */
static float cross_entropy_long_row(size_t n, const float *x, size_t hot, float factor, float max,
                                    float *dx) {
    float sum = row_exp_sum(n, x, max, dx);
    if (dx == NULL)
        return sum;
    size_t j = 0; /* hot - j wraps to a huge number, no lane, once j has passed it */
    for (; j + 16 <= n; j += 16)
        v16_store(dx + j, cross_entropy_gradient(v16_load(dx + j), sum, hot - j, factor));
    if (j < n) {
        v16_mask rest = v16_first(n - j);
        v16 last = cross_entropy_gradient(v16_load_first(dx + j, rest), sum, hot - j, factor);
        v16_store_first(dx + j, rest, last);
    }
    return sum;
}

/* Up to 16 rows: their log(sum) are taken together at the end, 16 lanes in one go. */
V16_INLINE void cross_entropy_block(size_t rows, size_t n, const float *x, size_t ldx,
                                    const int32_t *label, float factor, float *dx, size_t lddx,
                                    float *loss) {
    float sum[16], x_label[16];
    v16_mask all = v16_first(n <= 16 ? n : 0);
    for (size_t i = 0; i < rows; i++, x += ldx, dx = dx ? dx + lddx : NULL) {
        assert(label[i] >= 0 && (size_t)label[i] < n);
        size_t hot = (size_t)label[i];
        float label_value = x[hot], max; /* read before dx overwrites it */
        if (n <= 16) {
            v16 e = short_row_exp(all, x, &max, &sum[i]);
            if (dx)
                v16_store_first(dx, all, cross_entropy_gradient(e, sum[i], hot, factor));
        } else {
            max = row_max(n, x);
            sum[i] = cross_entropy_long_row(n, x, hot, factor, max, dx);
        }
        x_label[i] = label_value - max;
    }
    v16_mask block = v16_first(rows);
    v16 losses = v16_sub(v16_log(v16_load_first(sum, block)), v16_load_first(x_label, block));
    v16_store_first(loss, block, losses);
}

void KERNEL(softmax_cross_entropy)(size_t rows, size_t n, const float *x, size_t ldx,
                                   const int32_t *label, float factor, float *dx, size_t lddx,
                                   float *loss) {
    for (size_t i = 0; i < rows; i += 16) {
        size_t count = rows - i < 16 ? rows - i : 16;
        cross_entropy_block(count, n, x + i * ldx, ldx, label + i, factor,
                            dx ? dx + i * lddx : NULL, lddx, loss + i);
    }
}

void KERNEL(squared_error)(size_t rows, size_t n, const float *x, size_t ldx, const float *target,
                           size_t ldt, float factor, float *dx, size_t lddx, float *loss) {
    v16 factors = v16_set1(factor);
    v16_mask rest = v16_first(n % 16);
    for (size_t i = 0; i < rows; i++, x += ldx, target += ldt, dx = dx ? dx + lddx : NULL) {
        v16 sum = v16_set1(0.0f);
        size_t j = 0;
        for (; j + 16 <= n; j += 16) {
            v16 difference = v16_sub(v16_load(x + j), v16_load(target + j));
            sum = v16_fma(difference, difference, sum);
            if (dx)
                v16_store(dx + j, v16_mul(difference, factors));
        }
        if (j < n) {
            v16 difference = v16_sub(v16_load_first(x + j, rest), v16_load_first(target + j, rest));
            sum = v16_select(rest, v16_fma(difference, difference, sum), sum);
            if (dx)
                v16_store_first(dx + j, rest, v16_mul(difference, factors));
        }
        loss[i] = 0.5f * v16_sum_lanes(sum);
    }
}

/* ---- argmax: the row's maximum, then the first element equal to it ---- */

V16_INLINE int32_t row_argmax(size_t n, const float *x) {
    float max = row_max(n, x);
    if (max == -INFINITY) /* also when all are NaN */
        return 0;
    v16 maxima = v16_set1(max);
    size_t j = 0;
    for (; j + 16 <= n; j += 16) {
        unsigned equal = v16_mask_bits(v16_equal(v16_load(x + j), maxima));
        if (equal)
            return (int32_t)j + __builtin_ctz(equal);
    }
    /* The row's last lanes: the maximum must be there; lanes beyond come after it. */
    v16 last = v16_load_first(x + j, v16_first(n - j));
    return (int32_t)j + __builtin_ctz(v16_mask_bits(v16_equal(last, maxima)));
}

void KERNEL(argmax)(size_t rows, size_t n, const float *x, size_t ldx, int32_t *index) {
    assert(n <= INT32_MAX);
    for (size_t i = 0; i < rows; i++, x += ldx)
        index[i] = row_argmax(n, x);
}
