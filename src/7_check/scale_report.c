/* scale_report.c: JSON by hand, the chart by gnuplot. */
#include "7_check/scale_report.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "4_train/tuner.h"
#include "5_results/atomic_file.h"
#include "5_results/json.h"

#include <fcntl.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_PREDICTED = 128 };

const size_t pt_scale_predicted[] = {4, 8, 16, 32, 64, MOST_PREDICTED, 0};

pt_scale_model pt_scale_enough_shards(const pt_scale_model *model) {
    pt_scale_model more = *model;
    more.shards = MOST_PREDICTED;
    return more;
}

size_t pt_scale_crossovers(const pt_scale_model *model, pt_scale_crossover *crossover,
                           size_t most) {
    size_t count = 0;
    pt_schedule last = PT_SCHEDULE_AUTO;
    for (size_t threads = 1; threads <= MOST_PREDICTED; threads++) {
        const pt_schedule fastest = pt_scale_fastest(model, threads);
        if (fastest == last)
            continue;
        if (count < most)
            crossover[count] = (pt_scale_crossover){threads, fastest};
        count++;
        last = fastest;
    }
    return count;
}

/* ---- JSON ---- */

static void write_row(pt_string *out, const pt_scale_row *row) {
    pt_string_add(out, "{\"threads\": %zu, \"schedule\": \"%s\"", row->threads,
                  pt_schedule_name(row->schedule));
    pt_json_member(out, "step_seconds", row->seconds);
    pt_json_member(out, "step_seconds_min", row->least);
    pt_json_member(out, "step_seconds_max", row->most);
    pt_json_member(out, "samples_per_second", row->samples_per_second);
    pt_json_member(out, "speed_up", row->speed_up);
    pt_json_member(out, "efficiency", row->efficiency);
    pt_json_member(out, "gflops", row->gflops);
    pt_json_member(out, "fma_peak_gflops", row->peak);
    pt_json_member(out, "peak_share", row->peak_share);
    pt_string_add(out, ", \"model_sha256\": \"%s\"}", row->sha256);
}

static void write_model(pt_string *out, const pt_scale_model *m) {
    pt_string_add(out,
                  "{\"calibrated_on_threads\": %zu, \"batch_size\": %zu, \"shards\": %zu, "
                  "\"parameter_slices\": %zu, \"most_columns_threads\": %zu",
                  m->threads, m->batch_size, m->shards, m->slices, m->most_columns);
    pt_json_member(out, "barrier_seconds", m->barrier);
    for (int s = PT_SCHEDULE_PER_THREAD; s < PT_SCHEDULES; s++) {
        const pt_scale_terms *t = &m->terms[s];
        pt_string_add(out, ",\n    \"%s\": {\"barriers\": ", pt_schedule_name((pt_schedule)s));
        pt_json_number(out, t->barriers);
        pt_json_member(out, "rows_seconds", t->rows);
        pt_json_member(out, "params_seconds", t->params);
        pt_json_member(out, "memory_seconds", t->memory);
        pt_json_member(out, "reduction_seconds", t->reduction);
        pt_json_member(out, "imbalance", t->imbalance);
        pt_string_add(out, "}");
    }
    pt_string_add(out, "}");
}

static void write_predictions(pt_string *out, const pt_scale_model *m) {
    const char *separator = "";
    pt_string_add(out, "[");
    for (const size_t *threads = pt_scale_predicted; *threads; threads++)
        for (int s = PT_SCHEDULE_PER_THREAD; s < PT_SCHEDULES; s++) {
            pt_scale_step step;
            if (!pt_scale_predict(m, (pt_schedule)s, *threads, &step))
                continue;
            pt_string_add(out,
                          "%s\n    {\"predicted\": true, \"threads\": %zu, \"schedule\": \"%s\"",
                          separator, *threads, pt_schedule_name((pt_schedule)s));
            pt_json_member(out, "compute_seconds", step.compute);
            pt_json_member(out, "memory_seconds", step.memory);
            pt_json_member(out, "reduction_seconds", step.reduction);
            pt_json_member(out, "barrier_seconds", step.barrier);
            pt_json_member(out, "step_seconds", step.total);
            pt_json_member(out, "samples_per_second", (double)m->batch_size / step.total);
            pt_string_add(out, "}");
            separator = ",";
        }
    pt_string_add(out, "\n  ]");
}

static void write_crossovers(pt_string *out, const pt_scale_model *m) {
    pt_scale_crossover at[MOST_PREDICTED];
    const size_t count = pt_scale_crossovers(m, at, MOST_PREDICTED);
    pt_string_add(out, "[");
    for (size_t i = 0; m->threads && i < count; i++)
        pt_string_add(out, "%s{\"from_threads\": %zu, \"schedule\": \"%s\"}", i ? ", " : "",
                      at[i].threads, pt_schedule_name(at[i].schedule));
    pt_string_add(out, "]");
}

static void write_json(pt_string *out, const pt_scale_result *r, const char *name) {
    const pt_scale_model more = pt_scale_enough_shards(&r->model);
    pt_string_add(out, "{\n  \"config\": ");
    pt_json_quote(out, pt_utf8_valid(name, strlen(name)) ? name : "");
    pt_string_add(out, ",\n  \"cpu\": ");
    pt_json_quote(out, pt_utf8_valid(r->cpu, strlen(r->cpu)) ? r->cpu : "unknown");
    pt_string_add(out,
                  ",\n  \"isa\": \"%s\",\n  \"cores\": %zu,\n  \"rounds\": %zu,\n"
                  "  \"iterations_per_round\": %llu,\n  \"one_model\": %s,\n  \"rows\": [",
                  r->isa, r->cores, r->rounds, (unsigned long long)r->iterations,
                  r->different ? "false" : "true");
    for (size_t i = 0; i < r->rows; i++) {
        pt_string_add(out, "%s\n    ", i ? "," : "");
        write_row(out, &r->row[i]);
    }
    pt_string_add(out, "\n  ],\n  \"model\": ");
    write_model(out, &r->model);
    pt_string_add(out, ",\n  \"predictions\": ");
    write_predictions(out, &r->model);
    pt_string_add(out, ",\n  \"predictions_with_128_shards\": ");
    write_predictions(out, &more);
    pt_string_add(out, ",\n  \"fastest\": ");
    write_crossovers(out, &r->model);
    pt_string_add(out, ",\n  \"fastest_with_128_shards\": ");
    write_crossovers(out, &more);
    pt_string_add(out, "\n}\n");
}

/* ---- the chart ---- */

/* A text for gnuplot's single quotes. */
static void quote(pt_string *out, const char *text) {
    pt_string_add(out, "'");
    for (; *text; text++)
        pt_string_add(out, *text == '\'' ? "''" : "%c", *text);
    pt_string_add(out, "'");
}

static void measured_points(pt_string *out, const pt_scale_result *r, int schedule) {
    pt_string_add(out, "$measured%d << EOD\n", schedule);
    for (size_t i = 0; i < r->rows; i++)
        if ((int)r->row[i].schedule == schedule) {
            const double batch = (double)r->model.batch_size;
            pt_string_add(out, "%zu %.6g %.6g %.6g\n", r->row[i].threads,
                          r->row[i].samples_per_second, batch / r->row[i].most,
                          batch / r->row[i].least);
        }
    pt_string_add(out, "EOD\n");
}

/* False when there are none. */
static bool predicted_points(pt_string *out, const pt_scale_model *m, int schedule,
                             const char *block) {
    bool any = false;
    pt_string_add(out, "$%s%d << EOD\n", block, schedule);
    for (size_t threads = 1; threads <= MOST_PREDICTED; threads++) {
        pt_scale_step step;
        if (!pt_scale_predict(m, (pt_schedule)schedule, threads, &step))
            continue;
        pt_string_add(out, "%zu %.6g\n", threads, (double)m->batch_size / step.total);
        any = true;
    }
    pt_string_add(out, "EOD\n");
    return any;
}

static void write_script(pt_string *out, const pt_scale_result *r, const char *name,
                         const char *svg) {
    static const char *const colour[] = {"", "#c0392b", "#2471a3", "#1e8449", "#7d3c98"};
    _Static_assert(sizeof colour / sizeof *colour == PT_SCHEDULES, "one colour a schedule");
    const pt_scale_model more = pt_scale_enough_shards(&r->model);
    bool predicted[PT_SCHEDULES];
    for (int s = PT_SCHEDULE_PER_THREAD; s < PT_SCHEDULES; s++) {
        measured_points(out, r, s);
        predicted[s] = predicted_points(out, &r->model, s, "predicted");
    }
    const bool with_shards = predicted_points(out, &more, PT_SCHEDULE_PER_THREAD, "shards");
    pt_string_add(out, "set terminal svg size 960,640 noenhanced font 'sans-serif,14' "
                       "background '#ffffff'\nset output ");
    quote(out, svg);
    pt_string_add(out, "\nset title ");
    pt_string title = {0};
    pt_string_add(&title, "%s: training on %s (%s, %zu core%s)", name, r->cpu, r->isa, r->cores,
                  r->cores == 1 ? "" : "s");
    quote(out, title.text ? title.text : "");
    pt_string_free(&title);
    pt_string_add(out, "\nset xlabel 'threads'\nset ylabel 'samples per second'\n"
                       "set logscale x 2\nset logscale y\nset format y '%%.0s%%c'\n"
                       "set grid\nset key outside below maxcols 3\nplot ");
    const char *separator = "";
    for (int s = PT_SCHEDULE_PER_THREAD; s < PT_SCHEDULES; s++) {
        pt_string_add(out,
                      "%s$measured%d using 1:2:3:4 with yerrorbars pt 7 lc rgb '%s' "
                      "title '%s, measured'",
                      separator, s, colour[s], pt_schedule_name((pt_schedule)s));
        if (predicted[s])
            pt_string_add(out, ", $predicted%d with lines dt 2 lc rgb '%s' title '%s, predicted'",
                          s, colour[s], pt_schedule_name((pt_schedule)s));
        separator = ", ";
    }
    if (with_shards)
        pt_string_add(out,
                      ", $shards%d with lines dt 3 lc rgb '%s' title 'per_thread with 128 shards, "
                      "predicted'",
                      PT_SCHEDULE_PER_THREAD, colour[PT_SCHEDULE_PER_THREAD]);
    pt_string_add(out, "\n");
}

/* Whether gnuplot is there and has drawn the script. */
static bool draw(const char *script) {
    char *argv[] = {(char *)(uintptr_t) "gnuplot", (char *)(uintptr_t)script, NULL};
    posix_spawn_file_actions_t quiet;
    pid_t child;
    int status = 0;
    if (posix_spawn_file_actions_init(&quiet) != 0)
        return false;
    posix_spawn_file_actions_addopen(&quiet, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    const int failed = posix_spawnp(&child, "gnuplot", &quiet, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&quiet);
    return !failed && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

pt_status pt_scale_write(const pt_scale_result *result, const char *folder, const char *name,
                         bool *drawn, pt_error *err) {
    pt_string json = {0}, script = {0};
    char *json_path = pt_format("%s/%s.json", folder, name);
    char *script_path = pt_format("%s/%s.gp", folder, name);
    char *svg_path = pt_format("%s/%s.svg", folder, name);
    write_json(&json, result, name);
    if (svg_path)
        write_script(&script, result, name, svg_path);
    const bool ok = json_path && script_path && svg_path && !json.failed && !script.failed;
    pt_status status = ok ? pt_make_folder(folder, err) : pt_fail_memory(err, "the report", 0);
    *drawn = false;
    if (status == PT_OK)
        status = pt_atomic_write(json_path, json.text, err);
    if (status == PT_OK)
        status = pt_atomic_write(script_path, script.text, err);
    if (status == PT_OK)
        *drawn = draw(script_path);
    pt_string_free(&json);
    pt_string_free(&script);
    pt_free(json_path);
    pt_free(script_path);
    pt_free(svg_path);
    return status;
}
