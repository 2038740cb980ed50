/* test_run.c: a whole run: when it evaluates, what it writes, how it ends; and the public API. */
#include "6_run/run.h"

#include "4_train/trainer.h"
#include "5_results/safetensors.h"
#include "ptrain/ptrain.h"
#include "toys.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HIDDEN                                                                                     \
    "[layer.fc]\ntype = affine\nunits = 9\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"

/* What a listener saw. */
typedef struct witness {
    int started, ended, warned;
    size_t rows;
    pt_metrics_row row[64];
    double last_speed;
    bool finished; /* with a summary */
    pt_summary summary;
    pt_trainer *trainer;
    size_t stop_at_row; /* from 1; 0: never */
} witness;

static void started(void *context, pt_trainer *trainer) {
    witness *w = context;
    w->started++;
    w->trainer = trainer;
    CHECK_INT(w->ended, 0);
}

static void evaluated(void *context, const pt_run_row *row) {
    witness *w = context;
    if (w->rows < sizeof w->row / sizeof *w->row)
        w->row[w->rows] = row->metrics;
    w->rows++;
    w->last_speed = row->samples_per_second;
    if (w->rows == w->stop_at_row)
        pt_trainer_request_stop(w->trainer);
}

static void warned(void *context, const char *message) {
    witness *w = context;
    w->warned++;
    CHECK(message && *message);
}

static void ended(void *context, const pt_summary *summary) {
    witness *w = context;
    w->ended++;
    w->finished = summary != NULL;
    if (summary)
        w->summary = *summary;
    w->summary.model_sha256 = w->summary.isa = NULL; /* gone after the call */
}

static pt_status run(pt_config *config, witness *w, pt_error *err) {
    const pt_run_listener listener = {
        .context = w, .started = started, .evaluated = evaluated, .warned = warned, .ended = ended};
    *err = (pt_error){0};
    return pt_run(config, NULL, &listener, err);
}

static size_t count_lines(const char *text) {
    size_t lines = 0;
    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

static char *read_in(const pt_config *config, const char *name) {
    char *text = pt_read_file(pt_path_in(config->output.dir, name), NULL);
    REQUIRE(text != NULL);
    return text;
}

/* summary.json; the caller frees it. */
static json_t *read_summary(const pt_config *config) {
    json_error_t problem;
    json_t *json = json_loads(read_in(config, "summary.json"), JSON_REJECT_DUPLICATES, &problem);
    REQUIRE(json_is_object(json));
    return json;
}

static void check_iterations(const witness *w, const uint64_t *iterations, size_t count) {
    CHECK_INT(w->rows, count);
    for (size_t i = 0; i < count && i < w->rows; i++)
        CHECK_INT(w->row[i].iteration, iterations[i]);
}

TEST(run, evaluates_after_the_first_iteration_then_every_epoch_and_at_the_end) {
    /* 200 rows in batches of 32: 6 iterations are an epoch. */
    pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL);
    witness w = {0};
    pt_error err;
    REQUIRE_OK(run(config, &w, &err), err);
    CHECK_INT(w.started, 1);
    CHECK_INT(w.ended, 1);
    CHECK_INT(w.warned, 0);
    CHECK(w.finished);
    check_iterations(&w, (const uint64_t[]){1, 7, 13, 19, 20}, 5);
    const uint64_t epochs[] = {0, 1, 2, 3, 4};
    for (size_t i = 0; i < 5; i++) {
        CHECK_INT(w.row[i].epoch, epochs[i]);
        CHECK(w.row[i].has_train && w.row[i].has_test);
        CHECK(w.row[i].train_accuracy >= 0 && w.row[i].train_accuracy <= 1);
    }
    char *metrics = read_in(config, "metrics.csv");
    CHECK(strncmp(metrics, "epoch,iteration,loss,train_accuracy,test_accuracy\n0,1,", 54) == 0);
    CHECK_INT(count_lines(metrics), 6);
    CHECK_CONTAINS(metrics, "\n3,19,");
    CHECK_CONTAINS(metrics, "\n4,20,");
    char *losses = read_in(config, "losses.csv");
    CHECK(strncmp(losses, "iteration,loss\n1,", 17) == 0);
    CHECK_INT(count_lines(losses), 21);
    CHECK_CONTAINS(losses, "\n20,");

    /* A row's loss is the mean of the losses since the row before. */
    double mean = 0;
    const char *at = losses;
    for (int i = 1; i <= 7; i++) {
        at = strchr(at, '\n') + 1;
        if (i > 1)
            mean += strtod(strchr(at, ',') + 1, NULL) / 6;
        else
            CHECK(fabs(strtod(strchr(at, ',') + 1, NULL) - w.row[0].loss) < 1e-15);
    }
    CHECK_MSG(fabs(mean - w.row[1].loss) < 1e-14, "%.17g and %.17g", mean, w.row[1].loss);
    pt_config_free(config);
}

TEST(run, evaluate_every_and_the_end_of_an_epoch_may_coincide) {
    static const struct {
        const char *iterations, *every;
        uint64_t rows[8];
        size_t count;
    } cases[] = {{"train.iterations=1", "train.evaluate_every=0", {1}, 1},
                 {"train.iterations=9", "train.evaluate_every=4", {1, 5, 9}, 3},
                 {"train.iterations=8", "train.evaluate_every=4", {1, 5, 8}, 3},
                 {"train.iterations=3", "train.evaluate_every=1", {1, 2, 3}, 3},
                 {"train.iterations=5", "train.evaluate_every=1000000000000", {1, 5}, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pt_config *config =
            pt_toy_config(pt_toy_images_text(HIDDEN).s, cases[i].iterations, cases[i].every,
                          pt_textf("output.dir=%s/every%zu", pt_temp_folder(), i).s, NULL);
        witness w = {0};
        pt_error err;
        REQUIRE_OK(run(config, &w, &err), err);
        check_iterations(&w, cases[i].rows, cases[i].count);
        CHECK_INT(count_lines(read_in(config, "metrics.csv")), cases[i].count + 1);
        pt_config_free(config);
    }
}

TEST(run, without_evaluation_has_losses_only) {
    pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, "train.evaluate=false", NULL);
    witness w = {0};
    pt_error err;
    REQUIRE_OK(run(config, &w, &err), err);
    CHECK(w.rows > 0);
    for (size_t i = 0; i < w.rows; i++)
        CHECK(!w.row[i].has_train && !w.row[i].has_test && w.row[i].loss > 0);
    json_t *json = read_summary(config);
    CHECK(json_is_null(json_object_get(json, "train_accuracy")));
    CHECK(json_is_null(json_object_get(json, "test_accuracy")));
    CHECK(json_real_value(json_object_get(json, "train_loss")) > 0);
    json_decref(json);
    pt_config_free(config);
}

TEST(run, summary_says_what_happened) {
    pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, "parallel.threads=2",
                                      "parallel.isa=scalar", "parallel.shards=8", NULL);
    witness w = {0};
    pt_error err;
    REQUIRE_OK(run(config, &w, &err), err);
    json_t *json = read_summary(config);
    static const char *const reals[] = {"train_loss",        "train_accuracy", "test_accuracy",
                                        "train_seconds",     "eval_seconds",   "total_seconds",
                                        "samples_per_second"};
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++)
        CHECK_MSG(json_is_number(json_object_get(json, reals[i])), "no number %s", reals[i]);
    const struct {
        const char *key;
        long long value;
    } integers[] = {{"iterations", 20},
                    {"samples", 20 * 32},
                    {"threads", 2},
                    {"shards", 8},
                    {"batch_size", 32},
                    {"seed", 1},
                    {"parameters", 145 * 9 + 10 * 4}};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        CHECK_MSG(json_is_integer(json_object_get(json, integers[i].key)), "no %s",
                  integers[i].key);
        CHECK_INT(json_integer_value(json_object_get(json, integers[i].key)), integers[i].value);
    }
    CHECK_STR(json_string_value(json_object_get(json, "isa")), "scalar");
    CHECK_STR(json_string_value(json_object_get(json, "status")), "finished");
    CHECK_STR(json_string_value(json_object_get(json, "version")), PTRAIN_VERSION);
    CHECK(json_number_value(json_object_get(json, "train_accuracy")) == w.row[4].train_accuracy);
    CHECK(json_number_value(json_object_get(json, "test_accuracy")) == w.row[4].test_accuracy);
    CHECK(json_number_value(json_object_get(json, "total_seconds")) >=
          json_number_value(json_object_get(json, "train_seconds")));
    CHECK(json_number_value(json_object_get(json, "train_seconds")) > 0);
    pt_run_result sum =
        pt_run_shell("sha256sum %s/model.safetensors | cut -c1-64", config->output.dir);
    CHECK_STR(pt_textf("%s\n", json_string_value(json_object_get(json, "model_sha256"))).s,
              sum.out);
    json_decref(json);
    pt_config_free(config);
}

TEST(run, config_ini_runs_again_to_the_same_model) {
    pt_config *config =
        pt_toy_config(pt_toy_images_text(HIDDEN).s, "train.seed=77", "optimizer.type=adam",
                      "optimizer.learning_rate=0.0123", "train.sampling=shuffle", NULL);
    witness w = {0};
    pt_error err;
    REQUIRE_OK(run(config, &w, &err), err);
    size_t size, again_size;
    char *model = pt_read_file(pt_path_in(config->output.dir, "model.safetensors"), &size);
    pt_text dir = pt_textf("output.dir=%s/again", pt_temp_folder());
    const char *const override = dir.s;
    pt_config *again = NULL;
    REQUIRE_OK(
        pt_config_load(pt_path_in(config->output.dir, "config.ini"), &override, 1, &again, &err),
        err);
    w = (witness){0};
    REQUIRE_OK(run(again, &w, &err), err);
    char *other = pt_read_file(pt_path_in(again->output.dir, "model.safetensors"), &again_size);
    REQUIRE(model && other);
    CHECK_INT(size, again_size);
    CHECK(size == again_size && pt_same_bytes(model, other, size));
    pt_config_free(config);
    pt_config_free(again);
}

/* ---- other ends ---- */

/* The tensors of the run's model, all of finite numbers. */
static pt_safetensors *read_model(const pt_config *config) {
    pt_safetensors *file = NULL;
    pt_error err = {0};
    REQUIRE_OK(
        pt_safetensors_read(pt_path_in(config->output.dir, "model.safetensors"), &file, &err), err);
    long wrong = 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        size_t elements = 0;
        CHECK(pt_tensor_elements(&file->tensors[i], &elements));
        for (size_t k = 0; k < elements; k++)
            wrong += !isfinite(file->tensors[i].data[k]);
    }
    CHECK_INT(wrong, 0);
    return file;
}

static void check_summary_status(const pt_config *config, const char *status,
                                 long long iterations) {
    json_t *json = read_summary(config);
    CHECK_STR(json_string_value(json_object_get(json, "status")), status);
    CHECK_INT(json_integer_value(json_object_get(json, "iterations")), iterations);
    json_decref(json);
}

TEST(run, divergence_keeps_the_last_good_model) {
    pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, "optimizer.learning_rate=1000",
                                      "loss.type=mean_squared_error", "train.evaluate_every=2",
                                      "train.iterations=400", "layer.fc.init=normal(30)", NULL);
    witness w = {0};
    pt_error err;
    CHECK_INT(run(config, &w, &err), PT_ERR_DIVERGED);
    CHECK_CONTAINS(err.message, "the loss is not finite at iteration ");
    REQUIRE(w.ended == 1 && w.finished && w.rows > 0);
    CHECK_STR(w.summary.status, "diverged");
    /* The model is that of the last evaluation: its iteration is in the file. */
    pt_safetensors *model = read_model(config);
    const uint64_t kept = w.row[w.rows - 1].iteration;
    CHECK_STR(pt_safetensors_metadata(model, "iteration"),
              pt_textf("%llu", (unsigned long long)kept).s);
    pt_safetensors_free(model);
    check_summary_status(config, "diverged", (long long)kept);
    /* Every finite loss is on record, and no other. */
    char *losses = read_in(config, "losses.csv");
    CHECK(!strstr(losses, "nan") && !strstr(losses, "inf"));
    unsigned long long named = strtoull(strstr(err.message, "iteration ") + 10, NULL, 10);
    CHECK_INT(count_lines(losses), named); /* a header, and all before */
    CHECK(named > kept);
    pt_config_free(config);
}

TEST(run, divergence_at_once_keeps_the_initial_model) {
    pt_config *config =
        pt_toy_config(pt_toy_images_text(HIDDEN).s, "layer.out.init=normal(1000000)",
                      "layer.fc.init=normal(1000000)", "loss.type=mean_squared_error",
                      "layer.out.bias_init=constant(1000000)", NULL);
    /* 1e6 in the config, but larger numbers can be set from here. */
    config->layers[0].init.scale = 1e25;
    config->layers[2].init.scale = 1e25;
    witness w = {0};
    pt_error err;
    CHECK_INT(run(config, &w, &err), PT_ERR_DIVERGED);
    CHECK_CONTAINS(err.message, "not finite at iteration 1;");
    CHECK_INT(w.rows, 0);
    pt_safetensors *model = read_model(config);
    CHECK_STR(pt_safetensors_metadata(model, "iteration"), "0");
    pt_safetensors_free(model);
    json_t *json = read_summary(config);
    CHECK_INT(json_integer_value(json_object_get(json, "iterations")), 0);
    CHECK(json_is_null(json_object_get(json, "train_loss"))); /* there was none */
    json_decref(json);
    pt_config_free(config);
}

TEST(run, a_stop_saves_what_there_is) {
    pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, "train.iterations=1000000",
                                      "parallel.threads=2", NULL);
    witness w = {.stop_at_row = 3};
    pt_error err;
    CHECK_INT(run(config, &w, &err), PT_ERR_INTERRUPTED);
    REQUIRE(w.ended == 1 && w.finished);
    CHECK_STR(w.summary.status, "interrupted");
    /* Asked to stop after iteration 13, while no iteration was under way: at most one more. */
    CHECK(w.summary.iterations == 13 || w.summary.iterations == 14);
    pt_safetensors *model = read_model(config);
    CHECK_STR(pt_safetensors_metadata(model, "iteration"),
              pt_textf("%llu", (unsigned long long)w.summary.iterations).s);
    pt_safetensors_free(model);
    check_summary_status(config, "interrupted", (long long)w.summary.iterations);
    CHECK_INT(count_lines(read_in(config, "losses.csv")), w.summary.iterations + 1);
    pt_config_free(config);
}

TEST(run, a_failure_before_training_makes_no_folder) {
    const char *const overrides[] = {"data.train_images=/nowhere/images", "layer.out.units=7",
                                     "optimizer.type=none"};
    for (size_t i = 0; i < 3; i++) {
        pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, overrides[i], NULL);
        witness w = {0};
        pt_error err;
        pt_status status = run(config, &w, &err);
        CHECK(status == PT_ERR_IO || status == PT_ERR_CONFIG);
        CHECK_INT(w.started, 0);
        CHECK_INT(w.ended, 0);
        CHECK(!pt_file_exists(config->output.dir));
        pt_config_free(config);
    }
}

TEST(run, best_wants_a_measure) {
    pt_config *config = pt_toy_config(pt_toy_images_text("[layer.h]\ntype = affine\nunits = 4\n").s,
                                      "output.best=true", "train.evaluate=false", NULL);
    const pt_run_listener nobody = {0};
    pt_error err = {0};
    CHECK(pt_run(config, NULL, &nobody, &err) == PT_ERR_CONFIG);
    CHECK_CONTAINS(err.message, "best = true, but no accuracy is measured");
    pt_config_free(config);
}

TEST(run, a_listener_may_be_empty) {
    pt_config *config = pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL);
    const pt_run_listener nobody = {0};
    pt_error err = {0};
    REQUIRE_OK(pt_run(config, NULL, &nobody, &err), err);
    pt_config_free(config);
}

/* ---- the public API, as a program would use it ---- */

TEST(api, train_evaluate_predict_save_and_load) {
    pt_error err = {0};
    pt_text text = pt_toy_images_text(HIDDEN);
    const char *path = pt_path_in(pt_temp_folder(), "net.ini");
    const char *model = pt_path_in(pt_temp_folder(), "net.safetensors");
    pt_write_text(path, text.s);
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    pt_trainer *trained = NULL, *fresh = NULL;
    REQUIRE_OK(pt_config_load(path, NULL, 0, &config, &err), err);
    REQUIRE_OK(pt_dataset_load(config, &dataset, &err), err);
    CHECK_INT(pt_dataset_train_rows(dataset), 200);
    CHECK_INT(pt_dataset_test_rows(dataset), 50);
    CHECK_INT(pt_dataset_columns(dataset), 144);
    CHECK_INT(pt_dataset_classes(dataset), PT_TOY_CLASSES);
    REQUIRE_OK(pt_trainer_create(config, dataset, &trained, &err), err);
    REQUIRE_OK(pt_trainer_create(config, dataset, &fresh, &err), err);
    CHECK_INT(pt_trainer_parameters(trained), 145 * 9 + 10 * 4);
    CHECK_INT(pt_trainer_outputs(trained), 4);
    CHECK(pt_trainer_threads(trained) >= 1);
    REQUIRE_OK(pt_trainer_run(trained, 60, &err), err);
    CHECK_INT(pt_trainer_iteration(trained), 60);
    double accuracy, again;
    REQUIRE_OK(pt_trainer_evaluate(trained, PT_SPLIT_TEST, &accuracy, &err), err);
    CHECK(accuracy > 0.5);
    char sha256[PT_SHA256_TEXT_SIZE] = "";
    REQUIRE_OK(pt_trainer_save(trained, model, sha256, &err), err);
    CHECK_INT(strlen(sha256), 64);

    enum { ROWS = 130 }; /* more than one block of an evaluation */
    static float x[ROWS * 144], before[ROWS * 4], after[ROWS * 4];
    for (size_t i = 0; i < ROWS * 144; i++)
        x[i] = (float)(i * 31 % 97) / 97;
    REQUIRE_OK(pt_trainer_predict(trained, x, ROWS, before, &err), err);
    REQUIRE_OK(pt_trainer_predict(fresh, x, ROWS, after, &err), err);
    CHECK(memcmp(before, after, sizeof before) != 0);
    REQUIRE_OK(pt_trainer_load(fresh, model, &err), err);
    REQUIRE_OK(pt_trainer_predict(fresh, x, ROWS, after, &err), err);
    CHECK(pt_same_bytes(before, after, sizeof before));
    REQUIRE_OK(pt_trainer_evaluate(fresh, PT_SPLIT_TEST, &again, &err), err);
    CHECK(accuracy == again);
    /* Row by row, too: a row's output does not depend on its neighbours. */
    for (size_t r = 0; r < ROWS; r += 43) {
        REQUIRE_OK(pt_trainer_predict(fresh, x + r * 144, 1, after, &err), err);
        CHECK(pt_same_bytes(before + r * 4, after, 4 * sizeof(float)));
    }
    pt_trainer_free(trained);
    pt_trainer_free(fresh);
    pt_dataset_free(dataset);
    pt_config_free(config);
}

/* So wide that an evaluation takes fewer rows at a time. */
TEST(api, a_wide_network_is_evaluated_as_it_predicts) {
    enum { ROWS = 150, COLUMNS = 2, CLASSES = 3, UNITS = 70000 };
    const char *csv = pt_path_in(pt_temp_folder(), "rows.csv");
    static char text[ROWS * 16];
    static float x[ROWS * COLUMNS], outputs[ROWS * CLASSES];
    size_t length = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const int a = (int)(i * 31 % 97), b = (int)(i * 57 % 89);
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%d,%d,%zu\n", a, b, i % CLASSES);
        x[i * COLUMNS] = (float)a;
        x[i * COLUMNS + 1] = (float)b;
    }
    pt_write_text(csv, text);
    pt_text config = pt_textf("[data]\ndataset = csv\ntrain_file = %s\n[layer.a]\ntype = affine\n"
                              "units = %d\n[layer.r]\ntype = relu\n[layer.b]\ntype = affine\n"
                              "units = %d\n[train]\nbatch_size = 2\n[parallel]\nthreads = 2\n",
                              csv, UNITS, CLASSES);
    pt_toy toy = pt_toy_make(pt_toy_config(config.s, NULL));
    CHECK(toy.trainer->workers[0].tape.rows < EVALUATION_ROWS);
    pt_error err = {0};
    double accuracy;
    REQUIRE_OK(pt_trainer_evaluate(toy.trainer, PT_SPLIT_TRAIN, &accuracy, &err), err);
    REQUIRE_OK(pt_trainer_predict(toy.trainer, x, ROWS, outputs, &err), err);
    size_t correct = 0;
    for (size_t i = 0; i < ROWS; i++) {
        size_t best = 0;
        for (size_t c = 1; c < CLASSES; c++)
            if (outputs[i * CLASSES + c] > outputs[i * CLASSES + best])
                best = c;
        correct += best == i % CLASSES;
    }
    CHECK(accuracy == (double)correct / ROWS);
    pt_toy_free(&toy);
}

TEST(api, a_model_of_another_network_changes_nothing) {
    pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL));
    pt_toy wide =
        pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, "layer.fc.units=10", NULL));
    pt_toy named = pt_toy_make(pt_toy_config(
        pt_toy_images_text("[layer.fd]\ntype = affine\nunits = 9\n[layer.act]\ntype = relu\n").s,
        NULL));
    pt_toy small = pt_toy_make(pt_toy_config(pt_toy_images_text("").s, NULL));
    const char *path = pt_path_in(pt_temp_folder(), "model");
    pt_error err = {0};
    REQUIRE_OK(pt_trainer_save(toy.trainer, path, NULL, &err), err);
    const struct {
        pt_trainer *trainer;
        const char *words;
    } others[] = {{wide.trainer, "has another shape"},
                  {named.trainer, "has no tensor 'fd."},
                  {small.trainer, "holds 4 tensors, but the network has 2"}};
    for (size_t i = 0; i < 3; i++) {
        pt_trainer *t = others[i].trainer;
        const size_t bytes = t->graph->block_size * sizeof(float);
        float *before = malloc(bytes);
        REQUIRE(before != NULL);
        memcpy(before, t->params, bytes);
        CHECK_INT(pt_trainer_load(t, path, &err), PT_ERR_DATA);
        CHECK_CONTAINS(err.message, path);
        CHECK_CONTAINS(err.message, others[i].words);
        CHECK(memcmp(before, t->params, bytes) == 0);
        free(before);
    }
    CHECK_INT(pt_trainer_load(toy.trainer, "/nowhere/model", &err), PT_ERR_IO);
    pt_toy_free(&toy);
    pt_toy_free(&wide);
    pt_toy_free(&named);
    pt_toy_free(&small);
}

TEST(api, free_takes_null) {
    pt_trainer_free(NULL);
    pt_dataset_free(NULL);
    pt_config_free(NULL);
    CHECK(true);
}
