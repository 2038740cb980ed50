/* rows_body.h: the row kernels of one vector instruction set: softmax, losses, argmax.
 *
 * Included once by kernels_avx2.c and kernels_avx512.c, after elementwise_body.h. Lane l of an
 * accumulator is partial sum l of the contract; under a mask the lanes beyond the row keep theirs.
 * Rows of up to 16 elements, such as ten classes, go through softmax sixteen at a time: the same tree,
 * but every step of it reduces several rows.
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

/* Up to 16 rows of n <= 16 elements, `all` being v16_first(n). */
typedef struct short_rows {
    _Alignas(64) float e[16 * 16]; /* exp(x - max), +0 in lanes n .. 15 */
    _Alignas(64) float max[16];
    _Alignas(64) float sum[16];
} short_rows;

/* A row's elements without NaN, as row_max takes them; -inf in the lanes beyond. */
V16_INLINE v16 short_row(v16_mask all, const float *x) {
    v16 lowest = v16_set1(-INFINITY);
    return v16_max(v16_select(all, v16_load_first(x, all), lowest), lowest);
}

V16_INLINE v16 short_row_exp(v16_mask all, const float *x, float max) {
    v16 e = v16_exp(v16_sub(v16_load_first(x, all), v16_set1(max)));
    return v16_keep(all, e);
}

V16_INLINE void short_rows_exp(size_t rows, v16_mask all, const float *x, size_t ldx,
                               short_rows *s) {
    if (rows < 8) { /* too few for the common tree to be quicker */
        for (size_t i = 0; i < rows; i++) {
            s->max[i] = v16_max_lanes(short_row(all, x + i * ldx));
            v16 e = short_row_exp(all, x + i * ldx, s->max[i]);
            v16_store(s->e + 16 * i, e);
            s->sum[i] = v16_sum_lanes(e);
        }
        return;
    }
    for (size_t i = 0; i < rows; i++)
        v16_store(s->e + 16 * i, short_row(all, x + i * ldx));
    for (size_t i = rows; i < 16; i++)
        v16_store(s->e + 16 * i, v16_set1(0.0f));
    v16_store(s->max, v16_max_rows(s->e));
    for (size_t i = 0; i < rows; i++)
        v16_store(s->e + 16 * i, short_row_exp(all, x + i * ldx, s->max[i]));
    v16_store(s->sum, v16_sum_rows(s->e));
}

/* ---- softmax ---- */

V16_INLINE v16 divide(v16 a, float b) {
    return v16_div(a, v16_set1(b));
}

static void softmax_short_rows(size_t rows, size_t n, const float *x, size_t ldx, float *y,
                               size_t ldy) {
    v16_mask all = v16_first(n);
    short_rows s;
    for (size_t i = 0; i < rows; i += 16, x += 16 * ldx, y += 16 * ldy) {
        size_t count = rows - i < 16 ? rows - i : 16;
        short_rows_exp(count, all, x, ldx, &s);
        for (size_t k = 0; k < count; k++)
            v16_store_first(y + k * ldy, all, divide(v16_load(s.e + 16 * k), s.sum[k]));
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

/* log(sum) - (x_label - max) of up to 16 rows in one go */
V16_INLINE void cross_entropy_losses(size_t rows, const float *x_label, const float *max,
                                     const float *sum, float *loss) {
    v16_mask block = v16_first(rows);
    v16 x = v16_sub(v16_load_first(x_label, block), v16_load_first(max, block));
    v16_store_first(loss, block, v16_sub(v16_log(v16_load_first(sum, block)), x));
}

/* Up to 16 rows of n <= 16 elements. */
static void cross_entropy_short_rows(size_t rows, size_t n, const float *x, size_t ldx,
                                     const int32_t *label, float factor, float *dx, size_t lddx,
                                     float *loss) {
    v16_mask all = v16_first(n);
    float x_label[16];
    short_rows s;
    for (size_t i = 0; i < rows; i++) {
        assert(label[i] >= 0 && (size_t)label[i] < n);
        x_label[i] = x[i * ldx + (size_t)label[i]]; /* read before dx overwrites it */
    }
    short_rows_exp(rows, all, x, ldx, &s);
    for (size_t i = 0; dx && i < rows; i++) {
        v16 e = v16_load(s.e + 16 * i);
        v16_store_first(dx + i * lddx, all,
                        cross_entropy_gradient(e, s.sum[i], (size_t)label[i], factor));
    }
    cross_entropy_losses(rows, x_label, s.max, s.sum, loss);
}

/* Up to 16 rows of more than 16 elements. */
static void cross_entropy_long_rows(size_t rows, size_t n, const float *x, size_t ldx,
                                    const int32_t *label, float factor, float *dx, size_t lddx,
                                    float *loss) {
    float sum[16], max[16], x_label[16];
    for (size_t i = 0; i < rows; i++, x += ldx, dx = dx ? dx + lddx : NULL) {
        assert(label[i] >= 0 && (size_t)label[i] < n);
        size_t hot = (size_t)label[i];
        x_label[i] = x[hot]; /* read before dx overwrites it */
        max[i] = row_max(n, x);
        sum[i] = cross_entropy_long_row(n, x, hot, factor, max[i], dx);
    }
    cross_entropy_losses(rows, x_label, max, sum, loss);
}

void KERNEL(softmax_cross_entropy)(size_t rows, size_t n, const float *x, size_t ldx,
                                   const int32_t *label, float factor, float *dx, size_t lddx,
                                   float *loss) {
    for (size_t i = 0; i < rows; i += 16) {
        size_t count = rows - i < 16 ? rows - i : 16;
        (n <= 16 ? cross_entropy_short_rows
                 : cross_entropy_long_rows)(count, n, x + i * ldx, ldx, label + i, factor,
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
