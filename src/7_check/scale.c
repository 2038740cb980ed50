/* scale.c: measuring rows of threads and schedules, and the phases that calibrate the model. */
#include "7_check/scale.h"

#include "0_base/clock.h"
#include "0_base/cores.h"
#include "0_base/fail.h"
#include "0_base/memory.h"
#include "4_train/trainer.h"
#include "5_results/atomic_file.h"
#include "6_run/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WARM_UP = 3, MIN_ITERATIONS = 4 };

/* What the rounds measured of one row. */
typedef struct samples {
    double seconds[PT_SCALE_MAX_ROUNDS]; /* of a step */
    double peak[PT_SCALE_MAX_ROUNDS];
    pt_scale_phases phases[PT_SCALE_MAX_ROUNDS];
} samples;

typedef struct scaling {
    const pt_config *config;
    const pt_dataset *dataset;
    pt_scale_result *result;
    samples *sample; /* one per row */
    pt_isa isa;
    double ticks_per_second;
    double flops; /* of a step */
    char folder[256];
} scaling;

static int compare(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(const double *values, size_t count) {
    double sorted[PT_SCALE_MAX_ROUNDS];
    memcpy(sorted, values, count * sizeof *values);
    qsort(sorted, count, sizeof *sorted, compare);
    return count % 2 ? sorted[count / 2] : (sorted[count / 2 - 1] + sorted[count / 2]) / 2;
}

/* ---- one row, one round ---- */

static double phase_seconds(const scaling *s, const pt_trainer *t, pt_phase phase) {
    const size_t nodes = t->graph->node_count;
    uint64_t ticks = 0;
    for (size_t w = 0; w < t->threads; w++)
        for (size_t node = 0; node < nodes; node++)
            ticks += t->workers[w].profile.ticks[(size_t)phase * nodes + node];
    return (double)ticks / s->ticks_per_second / (double)t->threads;
}

/* Phases of some more iterations, in seconds of a step and averaged over the threads. */
static pt_status measure_phases(scaling *s, pt_trainer *t, samples *sample, size_t round,
                                pt_error *err) {
    const uint64_t iterations = (s->result->iterations + 1) / 2;
    pt_status status = pt_trainer_profile(t, err);
    if (status == PT_OK)
        status = pt_trainer_run(t, iterations, err);
    if (status != PT_OK)
        return status;
    const double steps = (double)iterations;
    sample->phases[round] = (pt_scale_phases){
        .rows = (phase_seconds(s, t, PT_PHASE_DATA) + phase_seconds(s, t, PT_PHASE_FORWARD) +
                 phase_seconds(s, t, PT_PHASE_LOSS) + phase_seconds(s, t, PT_PHASE_BACKWARD)) /
                steps,
        .params =
            (phase_seconds(s, t, PT_PHASE_GRADIENT) + phase_seconds(s, t, PT_PHASE_UPDATE)) / steps,
        .reduction = phase_seconds(s, t, PT_PHASE_REDUCE) / steps,
        .wait = phase_seconds(s, t, PT_PHASE_BARRIER) / steps};
    return PT_OK;
}

static pt_status hash_model(const scaling *s, const pt_trainer *t, pt_scale_row *row,
                            pt_error *err) {
    char *path = pt_format("%s/model.safetensors", s->folder);
    if (!path)
        return pt_fail_memory(err, "a path", sizeof s->folder);
    const pt_status status = pt_trainer_save(t, path, row->sha256, err);
    (void)unlink(path);
    pt_free(path);
    return status;
}

static pt_config config_of(const scaling *s, const pt_scale_row *row) {
    pt_config config = *s->config; /* a shallow copy: only numbers change */
    config.parallel.threads = row->threads;
    config.parallel.schedule = row->schedule;
    if (config.parallel.loader == PT_SWITCH_AUTO) /* one thread means one, not one and a loader */
        config.parallel.loader = PT_SWITCH_OFF;
    return config;
}

static pt_status measure(scaling *s, size_t index, size_t round, pt_error *err) {
    pt_scale_row *row = &s->result->row[index];
    samples *sample = &s->sample[index];
    const pt_config config = config_of(s, row);
    pt_trainer *t = NULL;
    pt_status status = pt_trainer_create(&config, s->dataset, &t, err);
    if (status != PT_OK)
        return status;
    sample->peak[round] = pt_machine_fma_peak(s->isa, row->threads, 5e-3) * 1e-9;
    status = pt_trainer_run(t, WARM_UP, err);
    if (status == PT_OK) {
        const double start = pt_now();
        status = pt_trainer_run(t, s->result->iterations, err);
        sample->seconds[round] = (pt_now() - start) / (double)s->result->iterations;
    }
    if (status == PT_OK && round == 0)
        status = hash_model(s, t, row, err);
    if (status == PT_OK && (row->threads == 1 || row->threads == s->result->model.threads))
        status = measure_phases(s, t, sample, round, err);
    pt_trainer_free(t);
    return status;
}

/* ---- which rows, how many iterations ---- */

static int compare_sizes(const void *x, const void *y) {
    const size_t a = *(const size_t *)x, b = *(const size_t *)y;
    return (a > b) - (a < b);
}

/* The counts asked for and 1, ascending, each once. */
static pt_status choose_counts(const pt_scale_options *options, size_t cores,
                               size_t counts[PT_SCALE_MAX_COUNTS + 1], size_t *count,
                               pt_error *err) {
    size_t n = 0;
    counts[n++] = 1;
    for (size_t i = 0; i < options->count && i < PT_SCALE_MAX_COUNTS; i++)
        counts[n++] = options->threads[i];
    if (options->count == 0) {
        for (size_t threads = 2; threads < cores; threads *= 2)
            counts[n++] = threads;
        counts[n++] = cores;
        counts[n++] = 2 * cores < PT_MAX_THREADS ? 2 * cores : PT_MAX_THREADS;
    }
    qsort(counts, n, sizeof *counts, compare_sizes);
    *count = 0;
    for (size_t i = 0; i < n; i++) {
        if (counts[i] < 1 || counts[i] > PT_MAX_THREADS)
            return pt_fail(err, PT_ERR_USAGE, "%zu threads: use 1 to %d", counts[i],
                           PT_MAX_THREADS);
        if (*count == 0 || counts[*count - 1] != counts[i])
            counts[(*count)++] = counts[i];
    }
    return PT_OK;
}

static pt_status make_rows(scaling *s, const pt_scale_options *options, pt_error *err) {
    size_t counts[PT_SCALE_MAX_COUNTS + 1], count;
    pt_scale_result *r = s->result;
    pt_status status = choose_counts(options, r->cores, counts, &count, err);
    if (status != PT_OK)
        return status;
    const size_t rows = count * (PT_SCHEDULES - 1);
    r->row = pt_calloc(rows, sizeof *r->row);
    s->sample = pt_calloc(rows, sizeof *s->sample);
    if (!r->row || !s->sample)
        return pt_fail_memory(err, "the rows", rows * (sizeof *r->row + sizeof *s->sample));
    for (size_t i = 0; i < count; i++) {
        if (counts[i] > 1 && counts[i] <= r->cores)
            r->model.threads = counts[i];
        for (int schedule = PT_SCHEDULE_PER_THREAD; schedule < PT_SCHEDULES; schedule++)
            r->row[r->rows++] =
                (pt_scale_row){.threads = counts[i], .schedule = (pt_schedule)schedule};
    }
    return PT_OK;
}

/* As many iterations as one thread does in a row's share of a round. */
static pt_status choose_iterations(scaling *s, double seconds, pt_error *err) {
    const pt_config config =
        config_of(s, &(pt_scale_row){.threads = 1, .schedule = PT_SCHEDULE_SLICES});
    pt_trainer *t = NULL;
    pt_status status = pt_trainer_create(&config, s->dataset, &t, err);
    double spent = 0;
    uint64_t done = 0;
    if (status == PT_OK)
        status = pt_trainer_run(t, WARM_UP, err);
    while (status == PT_OK && spent < seconds / 4 && done < PT_MAX_RUN_ITERATIONS / 2) {
        const uint64_t some = done ? done : 1;
        const double start = pt_now();
        status = pt_trainer_run(t, some, err);
        spent += pt_now() - start;
        done += some;
    }
    if (status == PT_OK) {
        const double fit = spent > 0 ? seconds / spent * (double)done : 0;
        s->result->iterations = fit < MIN_ITERATIONS          ? MIN_ITERATIONS
                                : fit > PT_MAX_RUN_ITERATIONS ? PT_MAX_RUN_ITERATIONS
                                                              : (uint64_t)fit;
    }
    pt_trainer_free(t);
    return status;
}

/* ---- from samples to the result ---- */

static void summarize_row(const scaling *s, size_t index, size_t base) {
    const pt_scale_result *r = s->result;
    pt_scale_row *row = &r->row[index];
    const samples *own = &s->sample[index];
    double ratio[PT_SCALE_MAX_ROUNDS], share[PT_SCALE_MAX_ROUNDS];
    row->least = row->most = own->seconds[0];
    for (size_t i = 0; i < r->rounds; i++) {
        row->least = own->seconds[i] < row->least ? own->seconds[i] : row->least;
        row->most = own->seconds[i] > row->most ? own->seconds[i] : row->most;
        ratio[i] = s->sample[base].seconds[i] / own->seconds[i];
        share[i] = s->flops * 1e-9 / own->seconds[i] / own->peak[i];
    }
    row->seconds = median(own->seconds, r->rounds);
    row->samples_per_second = (double)s->config->train.batch_size / row->seconds;
    row->speed_up = median(ratio, r->rounds);
    row->efficiency = row->speed_up / (double)row->threads;
    row->gflops = s->flops / row->seconds * 1e-9;
    row->peak = median(own->peak, r->rounds);
    row->peak_share = median(share, r->rounds);
    row->same = strcmp(row->sha256, r->row[0].sha256) == 0;
}

static void summarize(scaling *s) {
    pt_scale_result *r = s->result;
    size_t base = 0;
    for (size_t i = 0; i < r->rows && r->row[i].threads == 1; i++)
        if (median(s->sample[i].seconds, r->rounds) < median(s->sample[base].seconds, r->rounds))
            base = i;
    for (size_t i = 0; i < r->rows; i++) {
        summarize_row(s, i, base);
        r->different += !r->row[i].same;
    }
}

/* The phases of the round that was disturbed least: they belong together, and the model is of a
 * machine that does nothing else. */
static pt_scale_phases phases_of(const scaling *s, size_t threads, pt_schedule schedule) {
    const pt_scale_result *r = s->result;
    pt_scale_phases best = {0};
    double least = 0;
    for (size_t i = 0; i < r->rows; i++) {
        if (r->row[i].threads != threads || r->row[i].schedule != schedule)
            continue;
        for (size_t round = 0; round < r->rounds; round++) {
            const pt_scale_phases *now_at = &s->sample[i].phases[round];
            const double total = now_at->rows + now_at->params + now_at->reduction + now_at->wait;
            if (round > 0 && total >= least)
                continue;
            least = total;
            best = *now_at;
        }
    }
    return best;
}

/* What the model knows of the network: how finely its work can be cut. */
static void describe_network(scaling *s, const pt_graph *graph) {
    enum { SLICE_ROWS = 16 }; /* update.c cuts parameters into multiples of so many rows */
    pt_scale_model *m = &s->result->model;
    size_t widest = 1;
    m->batch_size = s->config->train.batch_size;
    m->shards = s->config->parallel.shards;
    for (size_t p = 0; p < graph->param_count; p++)
        widest = graph->params[p].ld > widest ? graph->params[p].ld : widest;
    m->slices = graph->block_size / (widest * SLICE_ROWS);
    m->slices = m->slices ? m->slices : 1;
    size_t cols = 0;
    for (size_t i = 1; i < graph->node_count; i++)
        cols = graph->nodes[i].cols > cols ? graph->nodes[i].cols : cols;
    m->most_columns = cols / PT_COLUMNS_EACH;
    m->relay_blocks = PT_RELAY_BLOCKS;
    m->terms[PT_SCHEDULE_PER_THREAD].barriers = m->terms[PT_SCHEDULE_SLICES].barriers = 2;
    m->terms[PT_SCHEDULE_RELAY].barriers = 1;
    /* Those of the walk, as many as with two threads, and before and after the update. */
    m->terms[PT_SCHEDULE_COLUMNS].barriers = (double)(2 + pt_columns_barriers(graph, 2));
}

static void calibrate(scaling *s) {
    pt_scale_model *m = &s->result->model;
    if (m->threads == 0)
        return;
    m->barrier = pt_machine_barrier(m->threads) / (double)(m->threads - 1);
    for (int i = PT_SCHEDULE_PER_THREAD; i < PT_SCHEDULES; i++) {
        const pt_schedule schedule = (pt_schedule)i;
        const pt_scale_phases one = phases_of(s, 1, schedule),
                              many = phases_of(s, m->threads, schedule);
        pt_scale_calibrate(m, schedule, &one, &many);
    }
}

/* ---- the whole ---- */

static pt_status prepare(scaling *s, const pt_scale_options *options, pt_error *err) {
    pt_scale_result *r = s->result;
    const pt_kernels *kernels = pt_kernels_get((pt_isa)s->config->parallel.isa);
    if (s->config->train.gradient == PT_GRADIENT_NUMERICAL)
        return pt_fail(
            err, PT_ERR_USAGE,
            "scaling is of backpropagation; this config trains with `gradient = numerical`");
    if (!kernels)
        return pt_fail(err, PT_ERR_USAGE, "this machine cannot run the %s kernels",
                       pt_isa_name((pt_isa)s->config->parallel.isa));
    r->isa = kernels->isa;
    (void)pt_isa_parse(kernels->isa, &s->isa);
    r->cores = pt_cores_available();
    r->rounds = options->rounds ? options->rounds : 5;
    if (r->rounds > PT_SCALE_MAX_ROUNDS)
        r->rounds = PT_SCALE_MAX_ROUNDS;
    pt_cpu_name(r->cpu);
    s->ticks_per_second = pt_ticks_per_second();
    pt_graph *graph = NULL;
    pt_status status = make_rows(s, options, err);
    if (status == PT_OK)
        status = pt_graph_build(s->config, s->dataset, &graph, err);
    if (status == PT_OK) {
        s->flops = pt_graph_flops_training(graph) * (double)s->config->train.batch_size;
        describe_network(s, graph);
        const double seconds = options->seconds > 0 ? options->seconds : 1;
        status = choose_iterations(s, seconds / (double)r->rounds, err);
    }
    pt_graph_free(graph);
    return status;
}

static pt_status run_rounds(scaling *s, const pt_scale_options *options, pt_error *err) {
    pt_status status = PT_OK;
    for (size_t round = 0; round < s->result->rounds && status == PT_OK; round++) {
        for (size_t i = 0; i < s->result->rows && status == PT_OK; i++)
            status = measure(s, i, round, err);
        if (status == PT_OK && options->progress)
            options->progress(options->context, round + 1, s->result->rounds);
    }
    return status;
}

pt_status pt_scale(const pt_config *config, const pt_dataset *dataset,
                   const pt_scale_options *options, pt_scale_result *result, pt_error *err) {
    scaling s = {.config = config, .dataset = dataset, .result = result};
    *result = (pt_scale_result){0};
    pt_status status = pt_make_temporary_folder("scale", s.folder, sizeof s.folder, err);
    if (status != PT_OK)
        return status;
    status = prepare(&s, options, err);
    if (status == PT_OK)
        status = run_rounds(&s, options, err);
    if (status == PT_OK) {
        summarize(&s);
        calibrate(&s);
        if (result->different)
            status = pt_fail(err, PT_ERR_CHECK,
                             "%zu of %zu rows gave another model: the promise is broken on this "
                             "machine",
                             result->different, result->rows);
    }
    (void)rmdir(s.folder);
    pt_free(s.sample);
    if (status != PT_OK && status != PT_ERR_CHECK)
        pt_scale_result_destroy(result);
    return status;
}

void pt_scale_result_destroy(pt_scale_result *result) {
    pt_free(result->row);
    *result = (pt_scale_result){0};
}
