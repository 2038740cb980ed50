/* test_scale.c: `ptrain scale`: the model behaves as a model must, the table is complete, the files
 * can be read. */
#include "7_check/scale_report.h"
#include "toys.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define HIDDEN                                                                                     \
    "[layer.fc]\ntype = affine\nunits = 37\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"

/* A machine on which everything costs something. */
static pt_scale_model some_model(void) {
    pt_scale_model m = {.threads = 2,
                        .batch_size = 128,
                        .shards = 16,
                        .slices = 100,
                        .relay_blocks = 4,
                        .most_columns = 8,
                        .barrier = 1e-7};
    for (int s = PT_SCHEDULE_PER_THREAD; s < PT_SCHEDULES; s++)
        m.terms[s] = (pt_scale_terms){.rows = 60e-6,
                                      .params = 40e-6,
                                      .memory = s == PT_SCHEDULE_SLICES ? 20e-6 : 5e-6,
                                      .reduction = s == PT_SCHEDULE_PER_THREAD ? 4e-6 : 0,
                                      .imbalance = 0.01,
                                      .barriers = 2};
    return m;
}

TEST(scale, model_is_monotone_where_it_must_be) {
    const pt_scale_model m = some_model();
    for (int s = PT_SCHEDULE_PER_THREAD; s < PT_SCHEDULES; s++) {
        pt_scale_step last, step;
        REQUIRE(pt_scale_predict(&m, (pt_schedule)s, 1, &last));
        CHECK(fabs(last.compute - 100e-6) < 1e-12);
        CHECK(last.memory == 0 && last.reduction == 0 && last.barrier == 0);
        for (size_t threads = 2; threads <= 128; threads++) {
            if (!pt_scale_predict(&m, (pt_schedule)s, threads, &step)) {
                CHECK_INT(s, PT_SCHEDULE_COLUMNS);
                CHECK(threads > m.most_columns);
                break;
            }
            CHECK(step.compute <= last.compute);
            CHECK(step.compute >= 100e-6 / (double)threads - 1e-12);
            CHECK(step.memory >= last.memory && step.memory < m.terms[s].memory);
            CHECK(step.reduction <= m.terms[s].reduction);
            /* More threads queue longer, whatever the imbalance, which falls with the work. */
            const double work = step.compute + step.memory + step.reduction;
            const double least = 2 * m.barrier * (double)(threads - 1);
            CHECK(fabs(step.barrier - least - 0.01 * work) < 1e-12);
            CHECK(fabs(step.total - work - step.barrier) < 1e-12);
            last = step;
        }
    }
    /* Shards bound per-thread gradients, rows and slices the others. */
    pt_scale_step few, many;
    REQUIRE(pt_scale_predict(&m, PT_SCHEDULE_PER_THREAD, 16, &few));
    REQUIRE(pt_scale_predict(&m, PT_SCHEDULE_PER_THREAD, 64, &many));
    CHECK(fabs(few.compute - many.compute) < 1e-15);
    const pt_scale_model more = pt_scale_enough_shards(&m);
    REQUIRE(pt_scale_predict(&more, PT_SCHEDULE_PER_THREAD, 64, &many));
    CHECK(many.compute < few.compute);
}

TEST(scale, model_gives_back_what_it_was_calibrated_on) {
    pt_scale_model m = some_model();
    m.threads = 4;
    const pt_scale_phases one = {.rows = 60e-6, .params = 40e-6, .wait = 1e-7};
    const pt_scale_phases many = {.rows = 18e-6, .params = 12e-6, .reduction = 3e-6, .wait = 5e-6};
    pt_scale_calibrate(&m, PT_SCHEDULE_PER_THREAD, &one, &many);
    pt_scale_step step;
    REQUIRE(pt_scale_predict(&m, PT_SCHEDULE_PER_THREAD, 4, &step));
    CHECK(fabs(step.compute - 25e-6) < 1e-12);
    CHECK(fabs(step.memory - 5e-6) < 1e-12);
    CHECK(fabs(step.reduction - 3e-6) < 1e-12);
    CHECK(fabs(step.total - 38e-6) < 1e-12);
    /* Faster than perfect is noise, not negative memory. */
    const pt_scale_phases fast = {.rows = 1e-6, .params = 1e-6};
    pt_scale_calibrate(&m, PT_SCHEDULE_SLICES, &one, &fast);
    REQUIRE(pt_scale_predict(&m, PT_SCHEDULE_SLICES, 4, &step));
    CHECK(step.memory == 0 && step.total >= 25e-6);
}

TEST(scale, model_finds_the_crossover) {
    pt_scale_model m = some_model();
    m.most_columns = 0; /* two schedules are enough */
    m.terms[PT_SCHEDULE_RELAY].rows = 1;
    m.terms[PT_SCHEDULE_PER_THREAD].memory = 0;
    m.terms[PT_SCHEDULE_PER_THREAD].reduction = 0.5e-6;
    m.terms[PT_SCHEDULE_SLICES].memory = 2e-6;
    pt_scale_crossover at[64];
    const size_t count = pt_scale_crossovers(&m, at, 64);
    REQUIRE(count >= 2 && count <= 64);
    pt_scale_crossover first;
    CHECK_INT(pt_scale_crossovers(&m, &first, 1), count);
    CHECK_INT(first.schedule, at[0].schedule);
    CHECK_INT(at[0].threads, 1);
    /* Few threads: no gradients through memory; many: only 16 shards. */
    CHECK_INT(pt_scale_fastest(&m, 2), PT_SCHEDULE_PER_THREAD);
    CHECK_INT(pt_scale_fastest(&m, 128), PT_SCHEDULE_SLICES);
    CHECK_INT(at[count - 1].schedule, PT_SCHEDULE_SLICES);
    for (size_t i = 0; i < count; i++)
        CHECK_INT(pt_scale_fastest(&m, at[i].threads), at[i].schedule);
    m.threads = 0; /* not calibrated: nothing is said */
    pt_scale_step step;
    CHECK(!pt_scale_predict(&m, PT_SCHEDULE_SLICES, 4, &step));
    CHECK_INT(pt_scale_fastest(&m, 4), PT_SCHEDULE_AUTO);
    CHECK_INT(pt_scale_crossovers(&m, at, 8), 0);
}

static void count_rounds(void *context, size_t round, size_t rounds) {
    size_t *calls = context;
    CHECK_INT(round, ++*calls);
    CHECK_INT(rounds, 3);
}

TEST(scale, table_is_complete_and_of_one_model) {
    pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL));
    pt_error err = {0};
    size_t calls = 0;
    pt_scale_result r;
    const pt_scale_options options = {.threads = {2, 3, 2},
                                      .count = 3,
                                      .rounds = 3,
                                      .seconds = 0.02,
                                      .progress = count_rounds,
                                      .context = &calls};
    REQUIRE_OK(pt_scale(toy.config, toy.dataset, &options, &r, &err), err);
    CHECK_INT(calls, 3);
    REQUIRE(r.rows == 3 * (PT_SCHEDULES - 1));
    CHECK(r.iterations >= 4);
    CHECK_INT(r.different, 0);
    double best = 0;
    for (size_t i = 0; i < r.rows; i++) {
        const pt_scale_row *row = &r.row[i];
        CHECK_INT(row->threads, i / (PT_SCHEDULES - 1) + 1);
        CHECK_INT(row->schedule, i % (PT_SCHEDULES - 1) + 1);
        CHECK(row->least > 0 && row->least <= row->seconds && row->seconds <= row->most);
        CHECK(row->samples_per_second > 0 && row->gflops > 0 && row->peak > 0);
        CHECK(row->peak_share > 0 && row->speed_up > 0);
        CHECK(fabs(row->efficiency * (double)row->threads - row->speed_up) < 1e-9);
        CHECK_INT(strlen(row->sha256), 64);
        CHECK_STR(row->sha256, r.row[0].sha256);
        CHECK(row->same);
        if (row->threads == 1 && row->speed_up > best)
            best = row->speed_up;
    }
    CHECK(best >= 1); /* the base itself */

    bool drawn;
    const char *folder = pt_path_in(pt_temp_folder(), "a/b");
    REQUIRE_OK(pt_scale_write(&r, folder, "it's", &drawn, &err), err);
    CHECK(pt_file_exists(pt_path_in(folder, "it's.gp")));
    CHECK_INT(drawn, pt_file_exists(pt_path_in(folder, "it's.svg")));
    json_error_t fault;
    json_t *root = json_load_file(pt_path_in(folder, "it's.json"), JSON_REJECT_DUPLICATES, &fault);
    CHECK_MSG(root != NULL, "%s:%d: %s", fault.source, fault.line, fault.text);
    CHECK_INT(json_array_size(json_object_get(root, "rows")), r.rows);
    CHECK(json_is_true(json_object_get(root, "one_model")));
    /* Predictions are there when two threads had a core each, and say that they are. */
    json_t *predictions = json_object_get(root, "predictions");
    CHECK((json_array_size(predictions) > 0) == (r.model.threads > 0));
    size_t i;
    json_t *value;
    json_array_foreach(predictions, i, value)
        CHECK(json_is_true(json_object_get(value, "predicted")));
    json_decref(root);
    pt_scale_result_destroy(&r);
    pt_toy_free(&toy);
}

TEST(scale, wrong_options_are_refused) {
    const char *config = pt_path_in(pt_temp_folder(), "toy.ini");
    pt_write_text(config, pt_toy_images_text(HIDDEN).s);
    static const char *const lists[] = {"", "0", "1,", "2,x", "1025", "auto", "1 2"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        pt_run_result run = pt_run_ptrain("scale", config, "-t", lists[i], NULL);
        CHECK_ONE_LINE_ERROR(run, 2, "scale wants numbers of threads");
    }
    pt_run_result run = pt_run_ptrain("train", config, "-t", "1,2", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "threads");
    run = pt_run_ptrain("scale", config, "-s", "train.gradient=numerical", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "gradient = numerical");
}

TEST(scale, goes_on_without_gnuplot) {
    const char *folder = pt_temp_folder(), *config = pt_path_in(folder, "toy.ini");
    pt_write_text(config, pt_toy_images_text(HIDDEN).s);
    pt_run_result run =
        pt_run_shell("PATH=/nowhere $PT scale %s -q -t 1 -o %s/out", config, folder);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.err, "no chart: gnuplot is missing");
    CHECK_CONTAINS(run.out, "per_thread");
    CHECK_CONTAINS(run.out, "model sha256");
    CHECK(pt_file_exists(pt_path_in(folder, "out/toy.json")));
    CHECK(!pt_file_exists(pt_path_in(folder, "out/toy.svg")));
}
