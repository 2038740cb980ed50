/* test_profile.c: the profile adds up to the time that training took, names what ran, and changes
 * nothing. */
#include "4_train/trainer.h"
#include "6_run/machine.h"
#include "6_run/profile_report.h"
#include "6_run/run.h"
#include "simd/fma_peak.h"
#include "toys.h"

#include <jansson.h>
#include <math.h>
#include <string.h>
#include <time.h>

#define HIDDEN                                                                                     \
    "[layer.fc]\ntype = affine\nunits = 37\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Trains `iterations` under a profile and reports. */
static pt_profile_report *profile_of(pt_toy *toy, uint64_t iterations) {
    pt_error err = {0};
    pt_profile_report *report = NULL;
    REQUIRE_OK(pt_trainer_profile(toy->trainer, &err), err);
    const double start = now();
    REQUIRE_OK(pt_trainer_run(toy->trainer, iterations, &err), err);
    const double seconds = now() - start;
    REQUIRE_OK(pt_profile_report_make(toy->trainer, iterations, seconds, &report, &err), err);
    return report;
}

static const pt_profile_row *layer_row(const pt_profile_report *r, pt_phase phase,
                                       const char *layer) {
    for (size_t i = 0; i < r->layer_rows; i++)
        if (r->layer[i].phase == phase && r->layer[i].layer &&
            strcmp(r->layer[i].layer, layer) == 0)
            return &r->layer[i];
    return NULL;
}

TEST(profile, adds_up_to_the_time_of_training) {
    const char *const schedules[] = {"slices", "per_thread", "columns", "relay"};
    for (size_t threads = 1; threads <= 2; threads++)
        for (size_t s = 0; s < 4; s++) {
            pt_toy toy = pt_toy_make(pt_toy_config(
                pt_toy_images_text(HIDDEN).s, pt_textf("parallel.threads=%zu", threads).s,
                pt_textf("parallel.schedule=%s", schedules[s]).s, NULL));
            pt_profile_report *r = profile_of(&toy, 3000);
            double phases = 0, layers = 0;
            for (int phase = 0; phase < PT_PHASE_COUNT; phase++)
                phases += r->phase[phase].seconds;
            for (size_t i = 0; i < r->layer_rows; i++)
                layers += r->layer[i].seconds;
            CHECK(fabs(layers - phases) < 1e-9 + 1e-6 * phases);
            CHECK_INT(r->threads, threads);
            for (size_t w = 0; w < threads; w++) {
                double booked = 0;
                for (int phase = 0; phase < PT_PHASE_COUNT; phase++)
                    booked += r->thread[w].seconds[phase];
                phases -= booked;
                /* What is not booked is the loop itself and the waking of threads, which on a busy
                 * machine may take long. */
                const double least = w == 0 ? 0.5 : 0.01;
                CHECK_MSG(booked < 1.02 * r->wall_seconds && booked > least * r->wall_seconds,
                          "%s: thread %zu booked %g s of %g s", schedules[s], w, booked,
                          r->wall_seconds);
                CHECK(fabs(booked + r->thread[w].idle - r->wall_seconds) < 0.02 * r->wall_seconds);
            }
            CHECK(fabs(phases) < 1e-6);
            CHECK((r->phase[PT_PHASE_REDUCE].seconds > 0) == (s == 1));
            CHECK(r->fma_peak > 0 && isfinite(r->gflops) && r->gflops > 0);
            pt_profile_report_free(r);
            pt_toy_free(&toy);
        }
}

TEST(profile, counts_operations_where_they_are_done) {
    pt_toy toy =
        pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, "parallel.threads=1", NULL));
    pt_profile_report *r = profile_of(&toy, 10);
    const double rows = 10 * 32;
    const pt_profile_row *fc = layer_row(r, PT_PHASE_FORWARD, "fc");
    const pt_profile_row *gradient = layer_row(r, PT_PHASE_GRADIENT, "fc");
    const pt_profile_row *out = layer_row(r, PT_PHASE_BACKWARD, "out");
    REQUIRE(fc && gradient && out);
    CHECK(fc->flops == (2 * 144 + 1) * 37 * rows);
    CHECK(gradient->flops == fc->flops);
    CHECK(out->flops == (2 * 37 + 1) * 4 * rows);
    /* Nobody wants the gradient to the pixels. */
    const pt_profile_row *pixels = layer_row(r, PT_PHASE_BACKWARD, "fc");
    CHECK(!pixels || pixels->flops == 0);
    CHECK(fabs(fc->gflops * 1e9 * fc->seconds - fc->flops) < 1e-6 * fc->flops);
    CHECK(fabs(fc->peak_share * r->fma_peak - fc->gflops * 1e9) < 1e-6 * r->fma_peak);
    pt_profile_report_free(r);
    pt_toy_free(&toy);
}

TEST(profile, of_a_trainer_without_one_is_an_error) {
    pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text(HIDDEN).s, NULL));
    pt_error err = {0};
    pt_profile_report *report;
    CHECK_INT(pt_profile_report_make(toy.trainer, 1, 1, &report, &err), PT_ERR_USAGE);
    CHECK(report == NULL);
    pt_profile_report_free(NULL);
    pt_toy_free(&toy);
}

TEST(profile, of_a_run_is_printed_and_written_and_changes_nothing) {
    const char *folder = pt_temp_folder(), *config = pt_path_in(folder, "toy.ini");
    pt_write_text(config, pt_toy_images_text(HIDDEN).s);
    pt_run_result plain = pt_run_ptrain(config, "-q", NULL);
    CHECK_INT(plain.status, 0);
    size_t size[2];
    const char *model = pt_path_in(folder, "run/model.safetensors");
    char *before = pt_read_file(model, &size[0]);
    CHECK(!pt_file_exists(pt_path_in(folder, "run/profile.json")));
    pt_run_result run = pt_run_ptrain(config, "--profile", "-t", "2", NULL);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.out, "phase ");
    CHECK_CONTAINS(run.out, "gradient   fc");
    CHECK_CONTAINS(run.out, "barrier");
    CHECK_CONTAINS(run.out, "of peak");
    char *after = pt_read_file(model, &size[1]);
    REQUIRE(before && after);
    CHECK_INT(size[0], size[1]);
    CHECK(pt_same_bytes(before, after, size[0]));

    json_error_t fault;
    json_t *root =
        json_load_file(pt_path_in(folder, "run/profile.json"), JSON_REJECT_DUPLICATES, &fault);
    REQUIRE(root != NULL);
    CHECK_INT(json_integer_value(json_object_get(root, "iterations")), 20);
    CHECK_INT(json_array_size(json_object_get(root, "phases")), PT_PHASE_COUNT);
    CHECK_INT(json_array_size(json_object_get(root, "per_thread")), 2);
    CHECK(json_array_size(json_object_get(root, "layers")) >= 6);
    CHECK(json_number_value(json_object_get(root, "fma_peak_gflops_per_thread")) > 0);
    json_decref(root);
}

TEST(profile, of_numerical_gradients_is_refused) {
    const char *config = pt_path_in(pt_temp_folder(), "toy.ini");
    pt_write_text(config, pt_toy_images_text(HIDDEN).s);
    pt_run_result run = pt_run_ptrain(config, "--profile", "-s", "train.gradient=numerical", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "gradient = numerical");
}

TEST(profile, fma_loops_count_their_operations) {
    const double lanes[PT_ISA_COUNT] = {0, 1, 8, 16};
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++)
        if (pt_kernels_get((pt_isa)isa)) {
            CHECK(pt_fma_loop((pt_isa)isa, 100) == 100 * 12 * 2 * lanes[isa]);
            CHECK(pt_fma_peak((pt_isa)isa, 1e-3) > 1e8);
        }
    CHECK(pt_fma_loop(PT_ISA_AUTO, 0) == 0);
    /* More threads than cores have no more units. */
    CHECK(pt_machine_fma_peak(PT_ISA_AUTO, 3, 1e-3) > 0);
    char name[128];
    CHECK(strlen(pt_cpu_name(name)) > 0);
    CHECK(pt_machine_barrier(2) > 0);
}
