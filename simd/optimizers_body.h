/* optimizers_body.h: the parameter updates of one vector instruction set.
 *
 * Included once by kernels_avx2.c and kernels_avx512.c. Each update is written once, on 16 lanes
 * (`momentum_step` and so on change the state in registers); the loop runs it along the arrays, the
 * last n % 16 elements under a mask.
 */

void KERNEL(sgd_update)(size_t n, float learning_rate, const float *g, float *w) {
    v16 minus_rate = v16_negate(v16_set1(learning_rate));
    size_t i = 0;
    for (; i + 16 <= n; i += 16)
        v16_store(w + i, v16_fma(minus_rate, v16_load(g + i), v16_load(w + i)));
    if (i < n) {
        v16_mask rest = v16_first(n - i);
        v16 last = v16_fma(minus_rate, v16_load_first(g + i, rest), v16_load_first(w + i, rest));
        v16_store_first(w + i, rest, last);
    }
}

V16_INLINE void momentum_step(v16 minus_rate, v16 momentum, v16 g, v16 *v, v16 *w) {
    *v = v16_fma(momentum, *v, v16_mul(minus_rate, g));
    *w = v16_add(*w, *v);
}

void KERNEL(momentum_update)(size_t n, float learning_rate, float momentum, const float *g,
                             float *v, float *w) {
    v16 minus_rate = v16_negate(v16_set1(learning_rate)), momenta = v16_set1(momentum);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 vi = v16_load(v + i), wi = v16_load(w + i);
        momentum_step(minus_rate, momenta, v16_load(g + i), &vi, &wi);
        v16_store(v + i, vi);
        v16_store(w + i, wi);
    }
    if (i < n) {
        v16_mask rest = v16_first(n - i);
        v16 vi = v16_load_first(v + i, rest), wi = v16_load_first(w + i, rest);
        momentum_step(minus_rate, momenta, v16_load_first(g + i, rest), &vi, &wi);
        v16_store_first(v + i, rest, vi);
        v16_store_first(w + i, rest, wi);
    }
}

typedef struct adam_factors {
    v16 step_size, rest1, rest2, epsilon;
} adam_factors;

V16_INLINE void adam_step(adam_factors f, v16 g, v16 *m, v16 *v, v16 *w) {
    *m = v16_fma(f.rest1, v16_sub(g, *m), *m);
    *v = v16_fma(f.rest2, v16_fma(g, g, v16_negate(*v)), *v);
    v16 step = v16_div(v16_mul(f.step_size, *m), v16_add(v16_sqrt(*v), f.epsilon));
    *w = v16_sub(*w, step);
}

void KERNEL(adam_update)(size_t n, float step_size, float beta1, float beta2, float epsilon,
                         const float *g, float *m, float *v, float *w) {
    adam_factors f = {v16_set1(step_size), v16_set1(1.0f - beta1), v16_set1(1.0f - beta2),
                      v16_set1(epsilon)};
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        v16 mi = v16_load(m + i), vi = v16_load(v + i), wi = v16_load(w + i);
        adam_step(f, v16_load(g + i), &mi, &vi, &wi);
        v16_store(m + i, mi);
        v16_store(v + i, vi);
        v16_store(w + i, wi);
    }
    if (i < n) {
        v16_mask rest = v16_first(n - i);
        v16 mi = v16_load_first(m + i, rest), vi = v16_load_first(v + i, rest);
        v16 wi = v16_load_first(w + i, rest);
        adam_step(f, v16_load_first(g + i, rest), &mi, &vi, &wi);
        v16_store_first(m + i, rest, mi);
        v16_store_first(v + i, rest, vi);
        v16_store_first(w + i, rest, wi);
    }
}
