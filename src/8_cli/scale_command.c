/* scale_command.c: `ptrain scale CONFIG`: a table of threads and schedules, predictions, and files
 * in build/scaling/ or --out.
 */
#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "1_config/config.h"
#include "4_train/tuner.h"
#include "5_results/atomic_file.h"
#include "7_check/scale_report.h"
#include "8_cli/options.h"
#include "8_cli/progress.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "1,2,4" */
static pt_status parse_list(const char *list, pt_scale_options *options, pt_error *err) {
    for (const char *at = list;; at++) {
        const size_t length = strcspn(at, ",");
        char *number = pt_strndup(at, length);
        uint64_t value = 0;
        const bool ok = number && pt_parse_u64(number, &value);
        pt_free(number);
        if (!ok || value < 1 || value > PT_MAX_THREADS || options->count == PT_SCALE_MAX_COUNTS)
            return pt_fail(err, PT_ERR_USAGE,
                           "--threads %s: scale wants numbers of threads, 1 to %d, as 1,2,4 (at "
                           "most %d of them)",
                           list, PT_MAX_THREADS, PT_SCALE_MAX_COUNTS);
        options->threads[options->count++] = (size_t)value;
        at += length;
        if (!*at)
            return PT_OK;
    }
}

/* "mnist" of "configs/mnist.ini" */
static char *name_of(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".ini") == 0)
        length -= 4;
    return pt_strndup(name, length);
}

static void print_row(const pt_scale_row *row) {
    printf("%7zu  %-10s  %10.2f  %10.0f  %8.2f  %10.0f%%  %8.1f  %6.1f%%  %.16s  %s\n",
           row->threads, pt_schedule_name(row->schedule), row->seconds * 1e6,
           row->samples_per_second, row->speed_up, row->efficiency * 100, row->gflops,
           row->peak_share * 100, row->sha256, row->same ? "same" : "DIFFERENT");
}

static void print_crossovers(const pt_scale_model *model, const char *with) {
    pt_scale_crossover at[8];
    const size_t count = pt_scale_crossovers(model, at, 8);
    printf("predicted fastest%s:", with);
    for (size_t i = 0; i < count && i < 8; i++)
        printf("%s %s from %zu", i ? "," : "", pt_schedule_name(at[i].schedule), at[i].threads);
    printf("%s\n", count > 8 ? ", ..." : "");
}

static void print_predictions(const pt_scale_model *model) {
    if (model->threads == 0) {
        printf("\nno prediction: it wants a measurement on two threads or more, each on a core\n");
        return;
    }
    const pt_scale_model more = pt_scale_enough_shards(model);
    printf(
        "\nPREDICTED, not measured: microseconds of a step on as many cores like these, from the "
        "phases\non 1 and %zu threads (src/7_check/scale_model.h says how, and what it "
        "assumes)\n\n",
        model->threads);
    printf("%7s  %-12s  %10s  %8s  %8s  %9s  %8s  %10s\n", "threads", "schedule", "step", "compute",
           "memory", "reduction", "barrier", "samples/s");
    for (const size_t *threads = pt_scale_predicted; *threads; threads++)
        for (int s = PT_SCHEDULE_PER_THREAD; s <= PT_SCHEDULES; s++) {
            const bool shards = s == PT_SCHEDULES; /* an extra row: per_thread with more of them */
            const pt_schedule schedule = shards ? PT_SCHEDULE_PER_THREAD : (pt_schedule)s;
            pt_scale_step step;
            if ((shards && *threads <= model->shards) ||
                !pt_scale_predict(shards ? &more : model, schedule, *threads, &step))
                continue;
            printf("%7zu  %-12s  %10.2f  %8.2f  %8.2f  %9.2f  %8.2f  %10.0f\n", *threads,
                   shards ? "per_thread*" : pt_schedule_name(schedule), step.total * 1e6,
                   step.compute * 1e6, step.memory * 1e6, step.reduction * 1e6, step.barrier * 1e6,
                   (double)model->batch_size / step.total);
        }
    printf("\n* with shards = 128, which is another model: this config has shards = %zu\n",
           model->shards);
    print_crossovers(model, "");
    print_crossovers(&more, " with 128 shards");
}

static void print_result(const pt_scale_result *r) {
    printf("%s, %s, %zu core%s; %zu round%s of %llu iterations of %zu, medians\n\n", r->cpu, r->isa,
           r->cores, r->cores == 1 ? "" : "s", r->rounds, r->rounds == 1 ? "" : "s",
           (unsigned long long)r->iterations, r->model.batch_size);
    printf("%7s  %-10s  %10s  %10s  %8s  %10s  %8s  %7s  %s\n", "threads", "schedule", "step in us",
           "samples/s", "speed-up", "efficiency", "GFLOP/s", "of peak", "model sha256");
    for (size_t i = 0; i < r->rows; i++)
        print_row(&r->row[i]);
    print_predictions(&r->model);
}

static void progress(void *context, size_t round, size_t rounds) {
    (void)context;
    fprintf(stderr, "\rround %zu of %zu%s", round, rounds, round < rounds ? "" : "\r\033[K");
    fflush(stderr);
}

static const char *report_folder(const pt_options *o) {
    return o->out ? o->out : "build/scaling";
}

/* Before the minutes of measurement, not after. */
static pt_status check_folder(const char *folder, pt_error *err) {
    const pt_status status = pt_make_folder(folder, err);
    if (status != PT_OK || access(folder, W_OK) == 0)
        return status;
    return pt_fail(err, PT_ERR_IO, "%s: cannot write into this folder: %s", folder,
                   strerror(errno));
}

static pt_status write_files(const pt_options *o, const pt_scale_result *result, pt_error *err) {
    const char *folder = report_folder(o);
    char *name = name_of(o->config_path);
    bool drawn = false;
    pt_status status = name ? pt_scale_write(result, folder, name, &drawn, err)
                            : pt_fail_memory(err, "a name", strlen(o->config_path));
    if (status == PT_OK)
        printf("\nwritten: %s/%s.json, .gp%s\n", folder, name, drawn ? ", .svg" : "");
    if (status == PT_OK && !drawn)
        fprintf(
            stderr,
            "ptrain: no chart: gnuplot is missing (Debian: gnuplot-nox) or failed; later: gnuplot "
            "%s/%s.gp\n",
            folder, name);
    pt_free(name);
    return status;
}

int pt_scale_command(const pt_options *options) {
    pt_error err;
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    pt_scale_result result = {0};
    pt_scale_options scale = {
        .rounds = options->rounds,
        .seconds = options->seconds,
        .progress =
            !pt_is_given(options, PT_OPTION_QUIET) && pt_progress_bar_possible() ? progress : NULL};
    pt_status status = options->threads ? parse_list(options->threads, &scale, &err) : PT_OK;
    if (status == PT_OK)
        status = pt_load_config(options, NULL, 0, &config, &err);
    if (status == PT_OK)
        status = pt_dataset_load(config, &dataset, &err);
    if (status == PT_OK)
        status = check_folder(report_folder(options), &err);
    if (status == PT_OK)
        status = pt_scale(config, dataset, &scale, &result, &err);
    if (status == PT_OK || status == PT_ERR_CHECK) {
        print_result(&result);
        pt_error later;
        pt_status wrote = write_files(options, &result, &later);
        if (status == PT_OK && wrote != PT_OK)
            status = pt_fail(&err, wrote, "%s", later.message);
    }
    pt_scale_result_destroy(&result);
    pt_dataset_free(dataset);
    pt_config_free(config);
    return status == PT_OK ? 0 : pt_report(&err);
}
