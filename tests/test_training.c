/* test_training.c: the training step. Threads, schedule, instruction set and loader never change a
 * bit, for every layer, every optimizer and every odd batch size; padding stays zero; the numbers
 * of the book's examples come out. */
#include "0_base/cores.h"
#include "4_train/trainer.h"
#include "4_train/workers.h"
#include "6_run/run.h"
#include "toys.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HIDDEN                                                                                     \
    "[layer.fc]\ntype = affine\nunits = 37\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"

/* Every layer type in one graph, with fan-out and a node that is multiplied by itself. */
#define EVERY_LAYER(N)                                                                             \
    "[layer.small]\ntype = identity\n[layer.flat]\ntype = flatten\n"                               \
    "[layer.fc]\ntype = affine\nunits = " N "\ninit = xavier\n"                                    \
    "[layer.r]\ntype = relu\ninput = fc\n[layer.s]\ntype = sigmoid\ninput = fc\n"                  \
    "[layer.t]\ntype = tanh\ninput = fc\n[layer.p]\ntype = softmax\ninput = fc\n"                  \
    "[layer.g]\ntype = gelu\ninput = fc\n[layer.si]\ntype = silu\ninput = fc\n"                    \
    "[layer.v]\ntype = variable\nunits = " N "\ninit = normal(1)\n"                                \
    "[layer.square]\ntype = mul\ninput = t, t\n[layer.gate]\ntype = mul\ninput = s, v\n"           \
    "[layer.sum]\ntype = add\ninput = r, s, t, p, g, si, square, gate\n"                           \
    "[layer.more]\ntype = affine\nunits = 16\nbias = false\ninit = he\n"

typedef struct setting {
    size_t threads;
    pt_schedule schedule;
    pt_isa isa;
    pt_switch loader;
} setting;

static void apply(pt_config *config, const setting *s) {
    config->parallel.threads = s->threads;
    config->parallel.schedule = s->schedule;
    config->parallel.isa = (int)s->isa;
    config->parallel.loader = s->loader;
}

static const char *const schedule_names[] = {"auto", "per_thread", "slices", "columns", "relay"};

static pt_text describe(const setting *s) {
    return pt_textf("%zu threads, %s, %s, loader %s", s->threads, schedule_names[s->schedule],
                    pt_isa_name(s->isa), s->loader == PT_SWITCH_ON ? "on" : "off");
}

/* The i-th of the settings to compare, the first being the plainest; false: no more. `many`: of
 * more thread counts, with a loader in every other setting instead of in each once more. */
static bool nth_setting(size_t i, bool many, setting *s) {
    static const size_t many_threads[] = {1, 2, 3, 4, 5, 7, 8, 16}, few_threads[] = {1, 2, 3, 8};
    static const pt_schedule schedules[] = {PT_SCHEDULE_SLICES, PT_SCHEDULE_PER_THREAD,
                                            PT_SCHEDULE_COLUMNS, PT_SCHEDULE_RELAY,
                                            PT_SCHEDULE_AUTO};
    enum { SCHEDULES = sizeof schedules / sizeof *schedules };
    const size_t thread_counts = many ? 8 : 4;
    pt_isa isas[PT_ISA_COUNT];
    size_t isa_count = 0;
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++)
        if (pt_kernels_get((pt_isa)isa))
            isas[isa_count++] = (pt_isa)isa;
    size_t loader = many ? 0 : i % 2, rest = many ? i : i / 2;
    const size_t isa = rest % isa_count, schedule = rest / isa_count % SCHEDULES;
    const size_t threads = rest / isa_count / SCHEDULES;
    if (threads >= thread_counts)
        return false;
    loader += many ? (isa + schedule + threads) % 2 : 0;
    *s = (setting){.threads = (many ? many_threads : few_threads)[threads],
                   .schedule = schedules[schedule],
                   .isa = isas[isa],
                   .loader = loader ? PT_SWITCH_ON : PT_SWITCH_OFF};
    return true;
}

/* ---- through files ---- */

TEST(training, files_are_the_same_on_every_setting) {
    static const char *const names[] = {"model.safetensors", "losses.csv", "metrics.csv"};
    enum { FILES = 3 };
    pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL);
    const char *path[FILES];
    char *first[FILES] = {0};
    size_t size[FILES], compared = 0;
    for (size_t f = 0; f < FILES; f++)
        path[f] = pt_path_in(config->output.dir, names[f]);
    setting s;
    for (size_t i = 0; nth_setting(i, !pt_test_quick(), &s); i++) {
        apply(config, &s);
        const pt_run_listener nobody = {0};
        pt_error err = {0};
        REQUIRE_OK(pt_run(config, NULL, &nobody, &err), err);
        for (size_t f = 0; f < FILES; f++) {
            size_t got;
            char *bytes = pt_read_file(path[f], &got);
            REQUIRE(bytes != NULL && got > 0);
            if (!first[f]) {
                first[f] = bytes;
                size[f] = got;
                continue;
            }
            CHECK_MSG(got == size[f] && memcmp(bytes, first[f], got) == 0, "%s differs with %s",
                      names[f], describe(&s).s);
            compared++;
        }
        for (size_t f = 0; f < FILES; f++) /* so that the next run surely writes them */
            REQUIRE(unlink(path[f]) == 0);
    }
    CHECK(compared >= 2 * FILES);
    pt_config_free(config);
}

/* ---- in memory ---- */

/* Parameters (with padding), optimizer state and losses after some iterations. */
typedef struct outcome {
    size_t floats, losses;
    float *params, *state[PT_OPTIMIZER_MAX_STATE];
    double *loss;
} outcome;

static void *copy(const void *from, size_t bytes) {
    void *to = from ? malloc(bytes) : NULL;
    if (to)
        memcpy(to, from, bytes);
    return to;
}

static void free_outcome(outcome *o) {
    free(o->params);
    for (size_t i = 0; i < PT_OPTIMIZER_MAX_STATE; i++)
        free(o->state[i]);
    free(o->loss);
    *o = (outcome){0};
}

/* Numbers in the padding behind the columns of parameters and state that are not zero. */
static long padding_in_use(const pt_trainer *t) {
    long used = 0;
    const float *blocks[1 + PT_OPTIMIZER_MAX_STATE] = {t->params, t->state[0], t->state[1]};
    for (size_t b = 0; b < 1 + PT_OPTIMIZER_MAX_STATE; b++)
        for (size_t p = 0; blocks[b] && p < t->graph->param_count; p++)
            for (size_t r = 0; r < t->graph->params[p].rows; r++)
                for (size_t c = t->graph->params[p].cols; c < t->graph->params[p].ld; c++) {
                    const pt_param *param = &t->graph->params[p];
                    used += blocks[b][param->offset + r * param->ld + c] != 0;
                }
    return used;
}

static outcome train(const pt_config *config, const pt_dataset *dataset, uint64_t iterations) {
    pt_trainer *t;
    pt_error err = {0};
    REQUIRE_OK(pt_trainer_create(config, dataset, &t, &err), err);
    const size_t bytes = t->graph->block_size * sizeof(float);
    /* In two runs: a run must go on where the last one stopped. */
    double *losses = calloc(iterations, sizeof *losses);
    REQUIRE(losses != NULL);
    const uint64_t parts[2] = {iterations / 3, iterations - iterations / 3};
    outcome o = {.floats = t->graph->block_size, .loss = losses};
    for (size_t i = 0; i < 2; i++) {
        REQUIRE_OK(pt_trainer_run(t, parts[i], &err), err);
        size_t count;
        const double *some = pt_trainer_losses(t, &count);
        CHECK_INT(count, parts[i]);
        memcpy(losses + o.losses, some, count * sizeof *losses);
        o.losses += count;
    }
    CHECK_INT(pt_trainer_iteration(t), iterations);
    CHECK_INT(padding_in_use(t), 0);
    o.params = copy(t->params, bytes);
    for (size_t i = 0; i < PT_OPTIMIZER_MAX_STATE; i++)
        o.state[i] = copy(t->state[i], bytes);
    pt_trainer_free(t);
    return o;
}

static bool same(const outcome *a, const outcome *b) {
    const size_t bytes = a->floats * sizeof(float);
    bool ok = a->floats == b->floats && a->losses == b->losses &&
              memcmp(a->params, b->params, bytes) == 0 &&
              memcmp(a->loss, b->loss, a->losses * sizeof *a->loss) == 0;
    for (size_t i = 0; i < PT_OPTIMIZER_MAX_STATE; i++)
        ok = ok && !a->state[i] == !b->state[i] &&
             (!a->state[i] || memcmp(a->state[i], b->state[i], bytes) == 0);
    return ok;
}

/* Trains a config on some settings and compares. */
static void check_same_everywhere(pt_config *config, uint64_t iterations, const char *what) {
    pt_dataset *dataset;
    pt_error err = {0};
    REQUIRE_OK(pt_dataset_load(config, &dataset, &err), err);
    outcome first = {0};
    setting s;
    size_t compared = 0;
    for (size_t i = 0; nth_setting(i, false, &s); i++) {
        if (pt_test_quick() && i > 0 && s.threads != 3)
            continue;
        apply(config, &s);
        outcome now = train(config, dataset, iterations);
        if (!first.params) {
            first = now;
            for (size_t k = 0; k < first.losses; k++)
                CHECK(isfinite(first.loss[k]));
            continue;
        }
        CHECK_MSG(same(&first, &now), "%s: another result with %s", what, describe(&s).s);
        compared++;
        free_outcome(&now);
    }
    CHECK(compared > 0);
    free_outcome(&first);
    pt_dataset_free(dataset);
    pt_config_free(config);
}

TEST(training, every_layer_is_the_same_on_every_setting) {
    for (size_t i = 0; pt_layer_list[i]; i++) {
        pt_text line = pt_textf("type = %s\n", pt_layer_list[i]->type);
        CHECK_MSG(strstr(EVERY_LAYER("1"), line.s), "%s is not in EVERY_LAYER: add it there",
                  pt_layer_list[i]->type);
    }
    pt_config *config = pt_toy_config(pt_toy_images_text(EVERY_LAYER("21")).s, "data.flatten=false",
                                      "train.batch_size=29", "optimizer.learning_rate=0.02", NULL);
    check_same_everywhere(config, 12, "every layer");
    /* Wide enough for workers to share out columns. */
    config = pt_toy_config(pt_toy_images_text(EVERY_LAYER("390")).s, "data.flatten=false",
                           "train.batch_size=29", "optimizer.learning_rate=0.02", NULL);
    check_same_everywhere(config, 4, "every layer, wide");
}

enum { WIDE_STEPS = 3 };

/* Layers of which some are wide enough for three workers to share out their columns. */
static void check_wide(const char *layers, const char *what) {
    pt_config *config = pt_toy_config(pt_toy_images_text(layers).s, "train.batch_size=21",
                                      "optimizer.learning_rate=0.02", NULL);
    check_same_everywhere(config, WIDE_STEPS, what);
}

/* Activations in place, and columns that go from node to node without a barrier. */
TEST(training, a_wide_chain_is_the_same_on_every_setting) {
    static const char layers[] =
        "[layer.fc]\ntype = affine\nunits = 390\ninit = he\n[layer.r]\ntype = relu\n"
        "[layer.fc2]\ntype = affine\nunits = 400\ninit = xavier\n[layer.t]\ntype = tanh\n"
        "[layer.i]\ntype = identity\n[layer.g]\ntype = gelu\n[layer.s]\ntype = sigmoid\n";
    check_wide(layers, "a wide chain");
    /* Weights by rows beside biases by columns, through a slice. */
    static const char wide[] = "[layer.fc]\ntype = affine\nunits = 390\ninit = he\n"
                               "[layer.r]\ntype = relu\n"
                               "[layer.fc2]\ntype = affine\nunits = 390\ninit = xavier\n";
    pt_config *config = pt_toy_config(pt_toy_images_text(wide).s, "train.batch_size=21",
                                      "optimizer.type=adam", "optimizer.learning_rate=0.01", NULL);
    check_same_everywhere(config, WIDE_STEPS, "a wide chain, adam");
    /* What goes back alone adds to what another node has left. */
    static const char forked[] =
        "[layer.a]\ntype = affine\nunits = 390\ninit = he\n[layer.r]\ntype = relu\ninput = a\n"
        "[layer.t]\ntype = tanh\ninput = r\n[layer.s]\ntype = sigmoid\ninput = a\n"
        "[layer.sum]\ntype = add\ninput = t, s\n";
    check_wide(forked, "a wide fork");
}

/* Narrow layers go by rows, back too if their gradient has come so; wide ones between them by columns. */
TEST(training, narrow_between_wide_is_the_same_on_every_setting) {
    static const char mixed[] =
        "[layer.fc]\ntype = affine\nunits = 390\ninit = he\n[layer.s]\ntype = sigmoid\n"
        "[layer.r]\ntype = relu\n[layer.n]\ntype = affine\nunits = 20\ninit = he\n"
        "[layer.q]\ntype = relu\n[layer.w]\ntype = affine\nunits = 400\ninit = he\n"
        "[layer.t]\ntype = tanh\n[layer.m]\ntype = affine\nunits = 18\ninit = xavier\n"
        "[layer.g]\ntype = gelu\n";
    check_wide(mixed, "narrow between wide");
    /* Two narrow ones that read the same wide one add their gradients: not by rows. */
    static const char forked[] =
        "[layer.fc]\ntype = affine\nunits = 390\ninit = he\n[layer.r]\ntype = relu\n"
        "[layer.n]\ntype = affine\nunits = 20\ninit = he\n"
        "[layer.m]\ntype = affine\nunits = 20\ninit = he\ninput = r\n"
        "[layer.sum]\ntype = add\ninput = n, m\n";
    check_wide(forked, "narrow fork");
}

/* A relay forms these values of the next step while gradients still read those of this one: of layers
 * that read the data, and what lies in their memory. */
TEST(training, what_a_relay_forms_early_is_the_same_on_every_setting) {
    static const char *const layers[] = {
        "[layer.a]\ntype = affine\nunits = 37\ninit = he\n"
        "[layer.b]\ntype = affine\nunits = 21\ninit = he\n",
        "[layer.a]\ntype = affine\nunits = 37\ninit = he\n[layer.s]\ntype = sigmoid\n"
        "[layer.b]\ntype = affine\nunits = 21\ninit = he\ninput = s\n",
        "[layer.a]\ntype = affine\nunits = 37\ninit = he\n[layer.r]\ntype = relu\n"
        "[layer.b]\ntype = affine\nunits = 37\ninit = he\ninput = data\n"
        "[layer.g]\ntype = gelu\n[layer.p]\ntype = mul\ninput = r, g\n",
    };
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        pt_config *config = pt_toy_config(pt_toy_images_text(layers[i]).s, "train.batch_size=29",
                                          "optimizer.learning_rate=0.02", NULL);
        check_same_everywhere(config, 9, layers[i]);
    }
}

TEST(training, every_optimizer_is_the_same_on_every_setting) {
    static const char *const optimizers[] = {"sgd", "momentum", "adam"};
    for (size_t i = 0; i < 3; i++) {
        pt_config *config =
            pt_toy_config(pt_toy_images_text(HIDDEN).s, "optimizer.learning_rate=0.01",
                          pt_textf("optimizer.type=%s", optimizers[i]).s, NULL);
        check_same_everywhere(config, 9, optimizers[i]);
    }
}

TEST(training, odd_batches_are_the_same_on_every_setting) {
    static const struct {
        size_t batch, shards;
    } cases[] = {{1, 1}, {1, 4}, {3, 8}, {17, 5}, {33, 16}, {7, 256}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pt_text batch = pt_textf("train.batch_size=%zu", cases[i].batch);
        pt_text shards = pt_textf("parallel.shards=%zu", cases[i].shards);
        pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, batch.s, shards.s, NULL);
        check_same_everywhere(config, 6, pt_textf("%s, %s", batch.s, shards.s).s);
    }
}

TEST(training, every_loss_and_sampling_is_the_same_on_every_setting) {
    pt_config *config =
        pt_toy_config(pt_toy_images_text(HIDDEN).s, "loss.type=mean_squared_error",
                      "train.sampling=shuffle", "optimizer.learning_rate=0.01", NULL);
    check_same_everywhere(config, 9, "mean_squared_error");
    config = pt_toy_config(pt_toy_images_text(HIDDEN).s, "loss.type=output",
                           "train.sampling=sequential", NULL);
    check_same_everywhere(config, 9, "output");
}

/* Images as bytes may be trained on by their nonzero bytes alone; the same numbers from a CSV file
 * are floats. Neither may change a bit. */
TEST(training, bytes_and_floats_are_the_same) {
    pt_text text = pt_toy_images_text(HIDDEN);
    pt_toy bytes = pt_toy_make(pt_toy_config(text.s, NULL));
    const pt_split *rows = &bytes.dataset->train;
    const char *path = pt_path_in(pt_temp_folder(), "rows.csv");
    FILE *csv = fopen(path, "w");
    REQUIRE(csv != NULL);
    for (size_t r = 0; r < rows->rows; r++) {
        for (size_t c = 0; c < 144; c++) {
            const float x = (float)((const uint8_t *)rows->features)[r * 144 + c] * (1.0f / 255);
            fprintf(csv, "%.9g,", (double)x);
        }
        fprintf(csv, "%d\n", (int)rows->labels[r]);
    }
    REQUIRE(fclose(csv) == 0);
    pt_toy floats = pt_toy_make(pt_toy_config(
        text.s, "data.dataset=csv", "data.train_images=", "data.train_labels=", "data.test_images=",
        "data.test_labels=", pt_textf("data.train_file=%s", path).s, NULL));
    CHECK(bytes.dataset->element == PT_ELEMENT_U8 && floats.dataset->element == PT_ELEMENT_F32);
    outcome first = train(bytes.config, bytes.dataset, 9), other;
    setting s;
    for (size_t i = 0; nth_setting(i, false, &s); i++) {
        if (s.threads > 2)
            continue;
        apply(floats.config, &s);
        other = train(floats.config, floats.dataset, 9);
        CHECK_MSG(same(&first, &other), "floats differ from bytes with %s", describe(&s).s);
        free_outcome(&other);
    }
    free_outcome(&first);
    pt_toy_free(&bytes);
    pt_toy_free(&floats);
}

/* Numbers that should change the result, so that the comparisons above can fail. */
TEST(training, seed_and_shards_do_change_the_result) {
    static const char *const others[] = {"train.seed=2", "parallel.shards=5", "train.batch_size=31",
                                         "train.sampling=shuffle"};
    pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL));
    outcome base = train(toy.config, toy.dataset, 9), again = train(toy.config, toy.dataset, 9);
    CHECK(same(&base, &again));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, others[i], NULL);
        outcome other = train(config, toy.dataset, 9);
        CHECK_MSG(!same(&base, &other), "%s changes nothing", others[i]);
        free_outcome(&other);
        pt_config_free(config);
    }
    free_outcome(&base);
    free_outcome(&again);
    pt_toy_free(&toy);
}

/* ---- the arithmetic ---- */

/* One SGD step is w = fma(-rate, gradient, w) with the gradient that pt_trainer_gradients tells. */
TEST(training, a_step_applies_the_gradient) {
    pt_toy toy = pt_toy_make(pt_toy_config(
        pt_toy_images_text(HIDDEN).s, "optimizer.learning_rate=0.05", "parallel.threads=2", NULL));
    const size_t n = toy.trainer->graph->block_size;
    float *gradient = calloc(n, sizeof *gradient), *want = calloc(n, sizeof *want);
    REQUIRE(gradient && want);
    pt_error err = {0};
    for (uint64_t step = 0; step < 5; step++) {
        memset(gradient, 0, n * sizeof *gradient);
        memcpy(want, toy.trainer->params, n * sizeof *want);
        double loss = pt_trainer_gradients(toy.trainer, step, gradient);
        CHECK(memcmp(want, toy.trainer->params, n * sizeof *want) == 0); /* only looked */
        for (size_t i = 0; i < n; i++)
            want[i] = fmaf(-0.05f, gradient[i], want[i]);
        REQUIRE_OK(pt_trainer_run(toy.trainer, 1, &err), err);
        CHECK(pt_same_bytes(want, toy.trainer->params, n * sizeof *want));
        size_t count;
        CHECK(pt_trainer_losses(toy.trainer, &count)[0] == loss && count == 1);
    }
    free(gradient);
    free(want);
    pt_toy_free(&toy);
}

/* The gradients of the book's shop: how much the total rises with each number (section 5.1). */
TEST(training, the_books_shop) {
    pt_error err = {0};
    pt_config *config = NULL;
    REQUIRE_OK(pt_config_load("configs/apple.ini", NULL, 0, &config, &err), err);
    pt_toy toy = pt_toy_make(config);
    const pt_graph *graph = toy.trainer->graph;
    static const struct {
        const char *tensor;
        double value, gradient;
    } leaves[] = {{"apple_price.value", 100, 2.2},
                  {"apple_count.value", 2, 110},
                  {"orange_price.value", 150, 3.3},
                  {"orange_count.value", 3, 165},
                  {"tax.value", 1.1, 650}};
    float gradient[16 * 5];
    REQUIRE(graph->param_count == 5 && graph->block_size == 16 * 5);
    memset(gradient, 0, sizeof gradient);
    double total = pt_trainer_gradients(toy.trainer, 0, gradient);
    CHECK_MSG(fabs(total - 715) < 1e-4, "total %g", total);
    for (size_t p = 0; p < 5; p++) {
        CHECK_STR(graph->params[p].name, leaves[p].tensor);
        double x = (double)toy.trainer->params[graph->params[p].offset];
        double g = (double)gradient[graph->params[p].offset];
        CHECK_MSG(fabs(x - leaves[p].value) < 1e-6, "%s is %g", leaves[p].tensor, x);
        CHECK_MSG(fabs(g - leaves[p].gradient) < 1e-6 * leaves[p].gradient, "%s: gradient %.9g",
                  leaves[p].tensor, g);
    }
    pt_toy_free(&toy);
}

TEST(training, xor_is_learned) {
    pt_error err = {0};
    pt_config *config = NULL;
    REQUIRE_OK(pt_config_load("configs/xor.ini", NULL, 0, &config, &err), err);
    pt_toy toy = pt_toy_make(config);
    double before, after;
    REQUIRE_OK(pt_trainer_run(toy.trainer, config->train.iterations, &err), err);
    size_t count;
    const double *losses = pt_trainer_losses(toy.trainer, &count);
    before = losses[0];
    CHECK(losses[count - 1] < 0.01 * before);
    REQUIRE_OK(pt_trainer_evaluate(toy.trainer, PT_SPLIT_TRAIN, &after, &err), err);
    CHECK(after == 1);
    const float corners[] = {0, 0, 0, 1, 1, 0, 1, 1};
    float y[8];
    REQUIRE_OK(pt_trainer_predict(toy.trainer, corners, 4, y, &err), err);
    for (size_t i = 0; i < 4; i++)
        CHECK((y[2 * i + 1] > y[2 * i]) == (corners[2 * i] != corners[2 * i + 1]));
    pt_toy_free(&toy);
}

TEST(training, toy_images_are_learned) {
    pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL));
    pt_error err = {0};
    double train_accuracy, test_accuracy;
    REQUIRE_OK(pt_trainer_run(toy.trainer, 300, &err), err);
    REQUIRE_OK(pt_trainer_evaluate(toy.trainer, PT_SPLIT_TRAIN, &train_accuracy, &err), err);
    REQUIRE_OK(pt_trainer_evaluate(toy.trainer, PT_SPLIT_TEST, &test_accuracy, &err), err);
    CHECK_MSG(train_accuracy > 0.95, "training accuracy %g", train_accuracy);
    CHECK_MSG(test_accuracy > 0.9, "test accuracy %g", test_accuracy);
    pt_toy_free(&toy);
}

TEST(training, numerical_gradients_train_alike) {
    pt_text text = pt_toy_images_text("[layer.fc]\ntype = affine\nunits = 3\ninit = normal(0.1)\n"
                                      "[layer.act]\ntype = sigmoid\n");
    enum { STEPS = 6 };
    double loss[2][STEPS];
    for (int numerical = 0; numerical < 2; numerical++) {
        pt_toy toy = pt_toy_make(pt_toy_config(
            text.s, "train.batch_size=8", "optimizer.type=momentum",
            numerical ? "train.gradient=numerical" : "train.gradient=backprop", NULL));
        pt_error err = {0};
        size_t count;
        REQUIRE_OK(pt_trainer_run(toy.trainer, STEPS, &err), err);
        const double *losses = pt_trainer_losses(toy.trainer, &count);
        REQUIRE(count == STEPS);
        memcpy(loss[numerical], losses, sizeof loss[0]);
        CHECK_INT(padding_in_use(toy.trainer), 0);
        pt_toy_free(&toy);
    }
    CHECK(loss[0][STEPS - 1] != loss[0][0]);
    for (size_t i = 0; i < STEPS; i++)
        CHECK_MSG(fabs(loss[0][i] - loss[1][i]) < 1e-5, "step %zu: backprop %.9g, numerical %.9g",
                  i, loss[0][i], loss[1][i]);
}

TEST(training, evaluation_counts_rows_on_every_setting) {
    pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL));
    setting s;
    double first[2] = {-1, -1};
    pt_error err = {0};
    /* By hand: the largest output of a row is its label. 200 and 50 rows do not fill blocks of 120
     * evenly. */
    static float x[200 * 144];
    static float y[200 * PT_TOY_CLASSES];
    REQUIRE_OK(pt_trainer_run(toy.trainer, 20, &err), err);
    for (int split = 0; split < 2; split++) {
        const pt_split *rows = split ? &toy.dataset->test : &toy.dataset->train;
        for (size_t i = 0; i < rows->rows * 144; i++)
            x[i] = (float)((const uint8_t *)rows->features)[i] * (1.0f / 255);
        REQUIRE_OK(pt_trainer_predict(toy.trainer, x, rows->rows, y, &err), err);
        size_t right = 0;
        for (size_t r = 0; r < rows->rows; r++) {
            int32_t best = 0;
            for (int32_t c = 1; c < PT_TOY_CLASSES; c++)
                best = y[r * PT_TOY_CLASSES + (size_t)c] > y[r * PT_TOY_CLASSES + (size_t)best]
                           ? c
                           : best;
            right += best == rows->labels[r];
        }
        first[split] = (double)right / (double)rows->rows;
    }
    for (size_t i = 0; nth_setting(i, false, &s); i++) {
        if (s.loader == PT_SWITCH_ON)
            continue;
        apply(toy.config, &s);
        pt_trainer *t;
        REQUIRE_OK(pt_trainer_create(toy.config, toy.dataset, &t, &err), err);
        REQUIRE_OK(pt_trainer_run(t, 20, &err), err);
        for (int split = 0; split < 2; split++) {
            double accuracy;
            REQUIRE_OK(
                pt_trainer_evaluate(t, split ? PT_SPLIT_TEST : PT_SPLIT_TRAIN, &accuracy, &err),
                err);
            CHECK_MSG(accuracy == first[split], "split %d: %g and %g with %s", split, first[split],
                      accuracy, describe(&s).s);
        }
        pt_trainer_free(t);
    }
    pt_toy_free(&toy);
}

TEST(training, evaluate_rows_limits_both_splits) {
    pt_toy toy =
        pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, "train.evaluate_rows=7", NULL));
    pt_error err = {0};
    for (int split = PT_SPLIT_TRAIN; split <= PT_SPLIT_TEST; split++) {
        double accuracy;
        REQUIRE_OK(pt_trainer_evaluate(toy.trainer, (pt_split_name)split, &accuracy, &err), err);
        CHECK_MSG(fabs(accuracy * 7 - round(accuracy * 7)) < 1e-12, "split %d: %g", split,
                  accuracy);
    }
    pt_toy_free(&toy);
}

/* ---- what is refused, and what stops ---- */

TEST(training, refuses_too_many_iterations_at_once_and_unlabelled_accuracy) {
    pt_error err = {0};
    pt_config *config = NULL;
    REQUIRE_OK(pt_config_load("configs/apple.ini", NULL, 0, &config, &err), err);
    pt_toy toy = pt_toy_make(config);
    double accuracy;
    CHECK_INT(pt_trainer_evaluate(toy.trainer, PT_SPLIT_TRAIN, &accuracy, &err), PT_ERR_USAGE);
    CHECK_CONTAINS(err.message, "no labelled rows");
    CHECK_INT(pt_trainer_run(toy.trainer, (uint64_t)PT_MAX_RUN_ITERATIONS + 1, &err), PT_ERR_USAGE);
    CHECK_INT(pt_trainer_iteration(toy.trainer), 0);
    pt_toy_free(&toy);
}

TEST(training, refuses_a_batch_larger_than_the_data) {
    static const char *const samplings[] = {"train.sampling=shuffle", "train.sampling=sequential"};
    for (size_t i = 0; i < 2; i++) {
        pt_config *config =
            pt_toy_config(pt_toy_images_text(HIDDEN).s, "train.batch_size=201", samplings[i], NULL);
        pt_dataset *dataset;
        pt_trainer *trainer;
        pt_error err = {0};
        REQUIRE_OK(pt_dataset_load(config, &dataset, &err), err);
        CHECK_INT(pt_trainer_create(config, dataset, &trainer, &err), PT_ERR_CONFIG);
        CHECK(trainer == NULL);
        CHECK_CONTAINS(err.message, "batch_size = 201 but there are only 200 training rows");
        pt_dataset_free(dataset);
        pt_config_free(config);
    }
    pt_toy toy =
        pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, "train.batch_size=201", NULL));
    pt_error err = {0};
    REQUIRE_OK(pt_trainer_run(toy.trainer, 2, &err), err); /* random draws with replacement */
    pt_toy_free(&toy);
}

TEST(training, divergence_leaves_the_weights_alone) {
    for (int per_thread = 0; per_thread < 2; per_thread++)
        for (int loader = 0; loader < 2; loader++) {
            pt_toy toy = pt_toy_make(pt_toy_config(
                pt_toy_images_text(HIDDEN).s, "optimizer.learning_rate=1000",
                "layer.fc.init=normal(1000)", "parallel.threads=3",
                per_thread ? "parallel.schedule=per_thread" : "parallel.schedule=slices",
                loader ? "parallel.loader=on" : "parallel.loader=off",
                "loss.type=mean_squared_error", NULL));
            pt_error err = {0};
            pt_status status = pt_trainer_run(toy.trainer, 200, &err);
            REQUIRE(status == PT_ERR_DIVERGED);
            const uint64_t good = pt_trainer_iteration(toy.trainer);
            CHECK(good < 200);
            CHECK_CONTAINS(
                err.message,
                pt_textf("not finite at iteration %llu", (unsigned long long)good + 1).s);
            size_t count;
            pt_trainer_losses(toy.trainer, &count);
            CHECK_INT(count, good);
            /* The same again: nothing has been touched, so the loss is as bad as before. */
            const size_t n = toy.trainer->graph->block_size;
            float *params = copy(toy.trainer->params, n * sizeof *params);
            REQUIRE(params != NULL);
            CHECK_INT(pt_trainer_run(toy.trainer, 1, &err), PT_ERR_DIVERGED);
            CHECK(memcmp(params, toy.trainer->params, n * sizeof *params) == 0);
            free(params);
            pt_toy_free(&toy);
        }
}

TEST(training, a_stop_ends_the_run_after_an_iteration) {
    pt_toy toy =
        pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, "parallel.threads=2", NULL));
    pt_error err = {0};
    pt_trainer_request_stop(toy.trainer);
    CHECK_INT(pt_trainer_run(toy.trainer, 100, &err), PT_ERR_INTERRUPTED);
    CHECK(pt_trainer_iteration(toy.trainer) <= 1);
    CHECK_CONTAINS(err.message, "stopped after iteration");
    pt_toy_free(&toy);
}

static void *stop_soon(void *trainer) {
    static unsigned waited;
    usleep(waited++ * 37 % 500);
    pt_trainer_request_stop(trainer);
    return NULL;
}

/* All workers must leave after the same iteration, or those that stay wait for ever: even if a worker
 * that got no row runs ahead of one that has not yet looked whether to stop. */
TEST(training, a_stop_reaches_workers_without_rows) {
    const int stops = pt_test_quick() ? 50 : 1000;
    pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, "train.batch_size=1",
                                           "parallel.threads=3", "parallel.schedule=relay", NULL));
    CHECK(toy.trainer->sparse); /* or no relay runs */
    int interrupted = 0;
    alarm(60); /* a run that does not end ends all, rather than hold them up */
    for (int i = 0; i < stops; i++) {
        pthread_t thread;
        pt_error err = {0};
        if (!CHECK(pthread_create(&thread, NULL, stop_soon, toy.trainer) == 0))
            break;
        const pt_status status = pt_trainer_run(toy.trainer, 300, &err);
        CHECK(status == PT_OK || status == PT_ERR_INTERRUPTED);
        interrupted += status == PT_ERR_INTERRUPTED;
        pthread_join(thread, NULL);
    }
    alarm(0);
    CHECK(interrupted > stops / 10);
    pt_toy_free(&toy);
}

/* Windows of the tuner that are cut short, one iteration after the other: the next region goes on, with
 * a loader too, which may wait for no mini-batch that nobody gives back. */
TEST(training, a_window_cut_short_ends_no_run) {
    for (int loader = 0; loader < 2; loader++) {
        pt_toy toy = pt_toy_make(pt_toy_config(
            pt_toy_images_text(HIDDEN).s, "parallel.threads=2", "parallel.schedule=auto",
            loader ? "parallel.loader=on" : "parallel.loader=off", NULL));
        pt_tuner *tuner = &toy.trainer->tuner;
        pt_error err = {0};
        REQUIRE(tuner->count > 1);
        REQUIRE_OK(pt_trainer_run(toy.trainer, 20, &err), err); /* calibrates the window */
        for (uint64_t run = 1; run <= 10; run++) {
            tuner->current = 1;
            tuner->round = 0;
            tuner->warmed_up = true;
            tuner->window = 1; /* no iteration to warm up between them */
            for (size_t i = 0; i < tuner->count; i++)
                tuner->candidate[i] = (pt_candidate){.threads = tuner->candidate[i].threads,
                                                     .schedule = tuner->candidate[i].schedule,
                                                     .windows = i == 0,
                                                     .seconds = 1e-12};
            CHECK(pt_tuner_limit(tuner) > 0);
            REQUIRE_OK(pt_trainer_run(toy.trainer, 20, &err), err);
            CHECK_INT(pt_trainer_iteration(toy.trainer), 20 + 20 * run);
        }
        pt_toy_free(&toy);
    }
}

/* ---- partition and workers ---- */

TEST(training, partitions_cover_everything_once) {
    long wrong = 0;
    for (size_t n = 0; n < 200; n += 7)
        for (size_t granule = 1; granule <= 120; granule += 17)
            for (size_t workers = 1; workers <= 20; workers++) {
                size_t next = 0, most = 0, begin, end;
                for (size_t w = 0; w < workers; w++) {
                    pt_partition(n, granule, w, workers, &begin, &end);
                    wrong += begin != next || end < begin;
                    wrong += begin % granule != 0 && begin != n;
                    most = end - begin > most ? end - begin : most;
                    next = end;
                }
                wrong += next != n;
                size_t units = (n + granule - 1) / granule;
                wrong += most > (units + workers - 1) / workers * granule;
            }
    CHECK_INT(wrong, 0);
}

static void count_worker(void *context, size_t worker, size_t workers) {
    int *counts = context;
    counts[worker]++; /* its own */
    if (worker == 0)
        counts[15] = (int)workers;
}

TEST(training, workers_run_once_each) {
    for (size_t workers = 1; workers <= 9; workers++) {
        int counts[16] = {0};
        pt_workers_run(workers, count_worker, counts);
        const size_t got = (size_t)counts[15];
        CHECK(got >= 1 && got <= workers);
        for (size_t w = 0; w < 15; w++)
            CHECK_INT(counts[w], w < got);
    }
    CHECK(pt_cores_available() >= 1);
}
