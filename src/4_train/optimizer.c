/* optimizer.c: the optimizers.
 *
 *   sgd       w <- w - lr g                                             (Saito, section 6.1.2)
 *   momentum  v <- momentum v - lr g;  w <- w + v                       (Saito, section 6.1.4)
 *   adam      m, v: moving averages of g and g^2; w <- w - lr m^ / (sqrt(v^) + epsilon)
 *             (Kingma and Ba, ICLR 2015, algorithm 1, in the order of its section 2)
 */
#include "4_train/optimizer.h"

#include "0_base/fail.h"
#include "0_base/text.h"

#include <math.h>
#include <string.h>

static void sgd(const pt_config *config, const pt_kernels *kernels, uint64_t step, size_t n,
                const float *g, float *const state[PT_OPTIMIZER_MAX_STATE], float *w) {
    (void)step;
    (void)state;
    kernels->sgd_update(n, config->optimizer.learning_rate, g, w);
}

static float sgd_rate(const pt_config *config) {
    return -config->optimizer.learning_rate;
}

static void momentum(const pt_config *config, const pt_kernels *kernels, uint64_t step, size_t n,
                     const float *g, float *const state[PT_OPTIMIZER_MAX_STATE], float *w) {
    (void)step;
    kernels->momentum_update(n, config->optimizer.learning_rate, config->optimizer.momentum, g,
                             state[0], w);
}

/* base^exponent by squaring: the same bits everywhere, which pow does not promise. */
static double power(double base, uint64_t exponent) {
    double result = 1;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1)
            result *= base;
    return result;
}

static void adam(const pt_config *config, const pt_kernels *kernels, uint64_t step, size_t n,
                 const float *g, float *const state[PT_OPTIMIZER_MAX_STATE], float *w) {
    double beta1 = (double)config->optimizer.beta1, beta2 = (double)config->optimizer.beta2;
    double root = sqrt(1 - power(beta2, step)); /* IEEE-exact */
    double step_size = (double)config->optimizer.learning_rate * root / (1 - power(beta1, step));
    kernels->adam_update(n, (float)step_size, config->optimizer.beta1, config->optimizer.beta2,
                         (float)((double)config->optimizer.epsilon * root), g, state[0], state[1],
                         w);
}

static const pt_optimizer_ops optimizers[] = {
    {.type = "sgd", .update = sgd, .rate = sgd_rate},
    {.type = "momentum", .state_count = 1, .state_name = {"velocity"}, .update = momentum},
    {.type = "adam", .state_count = 2, .state_name = {"mean", "square"}, .update = adam},
};

enum { OPTIMIZER_COUNT = sizeof optimizers / sizeof *optimizers };

static const char *nth_type(const void *context, size_t i) {
    (void)context;
    return i < OPTIMIZER_COUNT ? optimizers[i].type : NULL;
}

const pt_optimizer_ops *pt_optimizer_find(const pt_config *config, pt_error *err) {
    for (size_t i = 0; i < OPTIMIZER_COUNT; i++)
        if (strcmp(optimizers[i].type, config->optimizer.type) == 0)
            return &optimizers[i];
    char place[512], hint[128];
    pt_fail(err, PT_ERR_CONFIG, "%sunknown optimizer type '%s'; %s",
            pt_place_text(config->optimizer.type_place, place, sizeof place),
            config->optimizer.type,
            pt_suggest(config->optimizer.type, nth_type, NULL, hint, sizeof hint));
    return NULL;
}
