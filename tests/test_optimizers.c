/* test_optimizers.c: each optimizer against its textbook formula in double, step by step. */
#include "4_train/optimizer.h"

#include "4_train/trainer.h"
#include "toys.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HIDDEN                                                                                     \
    "[layer.fc]\ntype = affine\nunits = 9\ninit = normal(0.1)\n[layer.act]\ntype = tanh\n"

/* One parameter's way by the book: gradient g at step t (from 1). */
typedef void (*textbook)(int t, double g, double *w, double *a, double *b);

static void sgd(int t, double g, double *w, double *a, double *b) {
    (void)t, (void)a, (void)b;
    *w -= 0.01 * g;
}

static void momentum(int t, double g, double *w, double *v, double *b) {
    (void)t, (void)b;
    *v = 0.8 * *v - 0.01 * g;
    *w += *v;
}

/* Kingma and Ba, algorithm 1, with epsilon after the correction, as written there. */
static void adam(int t, double g, double *w, double *m, double *v) {
    *m = 0.85 * *m + 0.15 * g;
    *v = 0.99 * *v + 0.01 * g * g;
    const double mean = *m / (1 - pow(0.85, t)), square = *v / (1 - pow(0.99, t));
    *w -= 0.01 * mean / (sqrt(square) + 1e-6);
}

static const struct optimizer_check {
    const char *type;
    size_t state_count;
    textbook step;
} checks[] = {{"sgd", 0, sgd}, {"momentum", 1, momentum}, {"adam", 2, adam}};

static pt_toy make_toy(const char *type, const char *threads) {
    return pt_toy_make(pt_toy_config(
        pt_toy_images_text(HIDDEN).s, pt_textf("optimizer.type=%s", type).s,
        "optimizer.learning_rate=0.01", "optimizer.momentum=0.8", "optimizer.beta1=0.85",
        "optimizer.beta2=0.99", "optimizer.epsilon=1e-6", threads, NULL));
}

TEST(optimizers, follow_their_formulas) {
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        pt_toy toy = make_toy(checks[i].type, "parallel.threads=2");
        pt_trainer *t = toy.trainer;
        const size_t n = t->graph->block_size;
        CHECK_INT(t->optimizer->state_count, checks[i].state_count);
        float *gradient = calloc(n, sizeof *gradient);
        double *before = calloc(n, sizeof *before), *w = calloc(n, sizeof *w),
               *a = calloc(n, sizeof *a), *b = calloc(n, sizeof *b);
        REQUIRE(gradient && before && w && a && b);
        for (size_t k = 0; k < n; k++)
            before[k] = w[k] = (double)t->params[k];
        for (int step = 1; step <= 12; step++) {
            pt_error err = {0};
            memset(gradient, 0, n * sizeof *gradient);
            pt_trainer_gradients(t, (uint64_t)step - 1, gradient);
            for (size_t k = 0; k < n; k++)
                checks[i].step(step, (double)gradient[k], &w[k], &a[k], &b[k]);
            REQUIRE_OK(pt_trainer_run(t, 1, &err), err);
            double worst = 0, moved = 0;
            for (size_t k = 0; k < n; k++) {
                worst = fmax(worst, fabs((double)t->params[k] - w[k]));
                moved = fmax(moved, fabs((double)t->params[k] - before[k]));
                before[k] = w[k] = (double)t->params[k]; /* one step at a time */
            }
            CHECK_MSG(worst <= 4e-7, "%s, step %d: off by %g", checks[i].type, step, worst);
            CHECK(moved > 0);
        }
        free(gradient);
        free(before);
        free(w);
        free(a);
        free(b);
        pt_toy_free(&toy);
    }
}

TEST(optimizers, all_of_them_learn) {
    static const char *const rates[] = {"0.5", "0.1", "0.02"};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        pt_toy toy = pt_toy_make(pt_toy_config(
            pt_toy_images_text(HIDDEN).s, pt_textf("optimizer.type=%s", checks[i].type).s,
            pt_textf("optimizer.learning_rate=%s", rates[i]).s, NULL));
        pt_error err = {0};
        REQUIRE_OK(pt_trainer_run(toy.trainer, 100, &err), err);
        size_t count;
        const double *losses = pt_trainer_losses(toy.trainer, &count);
        CHECK_MSG(losses[99] < 0.5 * losses[0], "%s: loss %g, then %g", checks[i].type, losses[0],
                  losses[99]);
        pt_toy_free(&toy);
    }
}

TEST(optimizers, a_rate_of_zero_moves_nothing) {
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s,
                                               pt_textf("optimizer.type=%s", checks[i].type).s,
                                               "optimizer.learning_rate=0", NULL));
        const size_t n = toy.trainer->graph->block_size;
        float *before = malloc(n * sizeof *before);
        REQUIRE(before != NULL);
        memcpy(before, toy.trainer->params, n * sizeof *before);
        pt_error err = {0};
        REQUIRE_OK(pt_trainer_run(toy.trainer, 5, &err), err);
        long moved = 0;
        for (size_t k = 0; k < n; k++)
            moved += before[k] != toy.trainer->params[k];
        CHECK_MSG(moved == 0, "%s moves %ld parameters", checks[i].type, moved);
        free(before);
        pt_toy_free(&toy);
    }
}

TEST(optimizers, unknown_ones_are_refused_with_the_nearest) {
    pt_config *config =
        pt_toy_config(pt_toy_images_text("[optimizer]\ntype = adem\n" HIDDEN).s, NULL);
    pt_dataset *dataset;
    pt_trainer *trainer;
    pt_error err = {0};
    REQUIRE_OK(pt_dataset_load(config, &dataset, &err), err);
    CHECK_INT(pt_trainer_create(config, dataset, &trainer, &err), PT_ERR_CONFIG);
    CHECK(trainer == NULL);
    CHECK_STR(err.message, "toy.ini:7: unknown optimizer type 'adem'; did you mean 'adam'?");
    pt_dataset_free(dataset);
    pt_config_free(config);
    config = pt_toy_config("[optimizer]\ntype = lbfgs\n", NULL);
    CHECK(pt_optimizer_find(config, &err) == NULL);
    CHECK_CONTAINS(err.message, "known are sgd, momentum, adam");
    pt_config_free(config);
}
