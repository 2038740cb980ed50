/* trainer.c: building a trainer, running it, and what it offers besides training. */
#include "4_train/trainer.h"

#include "0_base/clock.h"
#include "0_base/cores.h"
#include "0_base/fail.h"
#include "0_base/memory.h"
#include "4_train/numerical.h"
#include "4_train/region.h"
#include "4_train/workers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Workers there may be: `threads`, or the cores there are. */
static size_t most_threads(const pt_config *config) {
    if (config->train.gradient == PT_GRADIENT_NUMERICAL)
        return 1;
    return config->parallel.threads ? config->parallel.threads : pt_cores_available();
}

/* Whether `schedule = auto` may try per-thread gradients: not where they would fill the memory. */
static bool affords_per_thread(const pt_graph *graph, size_t threads) {
    const size_t most_bytes = (size_t)256 << 20;
    return graph->block_size < most_bytes / sizeof(float) / threads;
}

static size_t widest_layer(const pt_graph *graph) {
    size_t widest = 0;
    for (size_t i = 1; i < graph->node_count; i++)
        widest = graph->nodes[i].cols > widest ? graph->nodes[i].cols : widest;
    return widest;
}

/* Whether most of the parameters belong to layers that read the data as lists: a relay shares only
 * these out in a way of its own. */
static bool mostly_reads_lists(const pt_trainer *t) {
    size_t floats = 0;
    for (size_t p = 0; p < t->graph->param_count; p++) {
        const pt_param *param = &t->graph->params[p];
        if (pt_reads_lists(t, &t->graph->nodes[param->node]))
            floats += param->rows * param->ld;
    }
    return floats * 2 > t->graph->block_size;
}

/* The schedules that the tuner may try on several threads, as bits. */
static unsigned schedules_worth_trying(const pt_trainer *t) {
    unsigned set = 0;
    if (widest_layer(t->graph) >= PT_COLUMNS_EACH * 2)
        set |= 1u << PT_SCHEDULE_COLUMNS;
    if (mostly_reads_lists(t))
        set |= 1u << PT_SCHEDULE_RELAY;
    /* Shards are per-thread gradients' unit of work. */
    if (affords_per_thread(t->graph, t->threads) && t->config->parallel.shards > 1)
        set |= 1u << PT_SCHEDULE_PER_THREAD;
    return set;
}

static bool may_run(const pt_tuner *tuner, pt_schedule schedule) {
    for (size_t i = 0; i < tuner->count; i++)
        if (tuner->candidate[i].schedule == schedule)
            return true;
    return false;
}

static const pt_sparse_data *lists_of(const pt_trainer *t) {
    return t->sparse ? &t->lists : NULL;
}

static size_t evaluation_rows(const pt_graph *graph) {
    size_t floats = 1; /* of a row */
    for (size_t i = 0; i < graph->node_count; i++)
        floats += graph->nodes[i].ld;
    const size_t fit = EVALUATION_FLOATS / floats;
    return fit < 1 ? 1 : fit < EVALUATION_ROWS ? fit : EVALUATION_ROWS;
}

static pt_status make_worker(pt_trainer *t, pt_worker *worker, bool one_hot, pt_error *err) {
    worker->pace = 1;
    const pt_graph *graph = t->graph;
    const size_t trained = t->config->train.batch_size, evaluated = evaluation_rows(graph);
    const size_t rows = trained > evaluated ? trained : evaluated;
    size_t scratch = pt_graph_scratch(graph, t->kernels, rows), slice = 0;
    for (size_t p = 0; p < graph->param_count; p++)
        slice += pt_slice_rows(&graph->params[p]) * graph->params[p].ld;
    const bool own_gradient = may_run(&t->tuner, PT_SCHEDULE_PER_THREAD);
    worker->scratch = pt_calloc_aligned(scratch, 1);
    worker->slice = pt_calloc_aligned(slice, sizeof(float));
    if (own_gradient)
        worker->gradient = pt_calloc_aligned(graph->block_size, sizeof(float));
    worker->predicted = pt_calloc(evaluated, sizeof *worker->predicted);
    if (!worker->scratch || !worker->slice || !worker->predicted ||
        (own_gradient && !worker->gradient))
        return pt_fail_memory(err, "a worker's buffers",
                              scratch + (slice + graph->block_size) * sizeof(float));
    pt_status status = pt_batch_init(&worker->batch, t->dataset, evaluated, graph->nodes[0].ld,
                                     one_hot, lists_of(t), err);
    return status != PT_OK ? status
                           : pt_tape_init(&worker->tape, graph, evaluated, PT_TAPE_INFERENCE, err);
}

static pt_status make_buffers(pt_trainer *t, pt_error *err) {
    const pt_graph *graph = t->graph;
    const size_t rows = t->config->train.batch_size;
    const bool one_hot = graph->loss->target == PT_TARGET_VALUES && t->dataset->classes > 0;
    t->params = pt_calloc_aligned(graph->block_size, sizeof(float));
    t->kept_params = pt_calloc_aligned(graph->block_size, sizeof(float));
    t->workers = pt_calloc_aligned(t->threads, sizeof *t->workers);
    t->row_loss = pt_calloc_aligned(rows, sizeof(float));
    t->losses = pt_calloc(PT_MAX_RUN_ITERATIONS, sizeof *t->losses);
    t->relay = pt_calloc_aligned(t->threads * PT_RELAY_BLOCKS, sizeof *t->relay);
    bool ok = t->params && t->kept_params && t->workers && t->relay && t->row_loss && t->losses;
    for (size_t i = 0; i < t->optimizer->state_count && ok; i++)
        ok = (t->state[i] = pt_calloc_aligned(graph->block_size, sizeof(float))) != NULL;
    if (!ok)
        return pt_fail_memory(err, "the parameters", graph->block_size * sizeof(float));
    const pt_tape_use use =
        may_run(&t->tuner, PT_SCHEDULE_RELAY) ? PT_TAPE_OVERLAPPING : PT_TAPE_TRAINING;
    pt_status status = pt_tape_init(&t->tape, graph, rows, use, err);
    if (status == PT_OK)
        status = pt_batch_init(&t->batch, t->dataset, rows, graph->nodes[0].ld, one_hot,
                               lists_of(t), err);
    for (size_t w = 0; w < t->threads && status == PT_OK; w++)
        status = make_worker(t, &t->workers[w], one_hot, err);
    return status;
}

static pt_status check_batch(const pt_config *config, const pt_dataset *dataset, pt_error *err) {
    char place[512];
    if (config->train.sampling != PT_SAMPLING_RANDOM &&
        config->train.batch_size > dataset->train.rows)
        return pt_fail(
            err, PT_ERR_CONFIG,
            "%sbatch_size = %zu but there are only %zu training rows; use at most that, or "
            "`sampling = random`, which draws with replacement",
            pt_place_text(pt_config_place(config, "train", "batch_size"), place, sizeof place),
            config->train.batch_size, dataset->train.rows);
    return PT_OK;
}

static pt_status build(pt_trainer *t, pt_error *err) {
    const pt_config *config = t->config;
    pt_status status = check_batch(config, t->dataset, err);
    if (status != PT_OK || (status = pt_graph_build(config, t->dataset, &t->graph, err)) != PT_OK)
        return status;
    t->optimizer = pt_optimizer_find(config, err);
    if (!t->optimizer)
        return PT_ERR_CONFIG;
    t->kernels = pt_kernels_get((pt_isa)config->parallel.isa);
    if (!t->kernels)
        return pt_fail(err, PT_ERR_USAGE,
                       "this machine cannot run the %s kernels; use `isa = auto` (here: %s)",
                       pt_isa_name((pt_isa)config->parallel.isa), pt_isa_name(pt_isa_best()));
    t->threads = most_threads(config);
    t->sampler = pt_sampler_make(config->train.sampling, config->train.seed, t->dataset->train.rows,
                                 config->train.batch_size);
    pt_shard_range_init(&t->shards, config->train.batch_size, config->parallel.shards, 0,
                        config->parallel.shards);
    pt_trainer_make_lists(t);
    pt_tuner_init(&t->tuner, config, t->threads, schedules_worth_trying(t));
    /* A loader wins where a core is left over, and where fetching is work: lists are only drawn, and
     * a small mini-batch is fetched sooner than handed over. */
    const size_t floats = config->train.batch_size * t->dataset->columns;
    t->use_loader =
        config->parallel.loader == PT_SWITCH_ON ||
        (config->parallel.loader == PT_SWITCH_AUTO && config->parallel.threads &&
         config->parallel.threads < pt_cores_available() && floats >= LOADER_FLOATS && !t->sparse);
    if ((status = make_buffers(t, err)) != PT_OK)
        return status;
    pt_graph_initialize(t->graph, config->train.seed, t->params);
    pt_trainer_keep(t);
    return PT_OK;
}

pt_status pt_trainer_create(const pt_config *config, const pt_dataset *dataset,
                            pt_trainer **trainer, pt_error *err) {
    pt_trainer *t = pt_calloc(1, sizeof *t);
    *trainer = NULL;
    if (!t)
        return pt_fail_memory(err, "the trainer", sizeof *t);
    t->config = config;
    t->dataset = dataset;
    pt_status status = build(t, err);
    if (status == PT_OK)
        *trainer = t;
    else
        pt_trainer_free(t);
    return status;
}

pt_status pt_trainer_keep_apart(pt_trainer *t, pt_error *err) {
    pt_tape_destroy(&t->tape);
    return pt_tape_init(&t->tape, t->graph, t->config->train.batch_size, PT_TAPE_APART, err);
}

void pt_trainer_free(pt_trainer *t) {
    if (!t)
        return;
    for (size_t w = 0; t->workers && w < t->threads; w++) {
        pt_free(t->workers[w].gradient);
        pt_free(t->workers[w].slice);
        pt_free(t->workers[w].scratch);
        pt_free(t->workers[w].predicted);
        pt_free(t->workers[w].profile.ticks);
        pt_batch_destroy(&t->workers[w].batch);
        pt_tape_destroy(&t->workers[w].tape);
    }
    pt_free(t->workers);
    pt_free(t->relay);
    pt_free(t->input_work);
    for (size_t i = 0; i < PT_OPTIMIZER_MAX_STATE; i++)
        pt_free(t->state[i]);
    pt_tape_destroy(&t->tape);
    pt_batch_destroy(&t->batch);
    pt_sparse_destroy(&t->lists);
    pt_free(t->params);
    pt_free(t->kept_params);
    pt_free(t->row_loss);
    pt_free(t->losses);
    pt_graph_free(t->graph);
    pt_free(t);
}

/* `gradient = numerical`: the book's commented-out line, on one thread. */
static pt_status run_numerical(pt_trainer *t, uint64_t last, pt_error *err) {
    const pt_graph *graph = t->graph;
    double *gradient = pt_calloc(graph->param_total, sizeof *gradient);
    float *row = pt_calloc(graph->widest_ld + PT_ROW_ALIGN, sizeof *row);
    pt_status status = gradient && row ? PT_OK
                                       : pt_fail_memory(err, "the numerical gradient",
                                                        graph->param_total * sizeof *gradient);
    t->loss_count = 0;
    t->diverged = false;
    while (status == PT_OK && t->iteration < last && !atomic_load(&t->stop)) {
        double loss;
        unsigned previous = pt_float_environment_enter();
        pt_batch_fill(&t->batch, t->dataset, t->kernels, &t->sampler, t->iteration, 0,
                      t->batch.rows);
        pt_batch_make_dense(&t->batch);
        status = pt_numerical_gradient(graph, t->params, &t->batch, t->batch.rows, 1, 0, gradient,
                                       &loss, err);
        if (status == PT_OK && !isfinite(loss))
            t->diverged = true;
        size_t at = 0;
        for (size_t p = 0; status == PT_OK && !t->diverged && p < graph->param_count; p++) {
            const pt_param *param = &graph->params[p];
            for (size_t r = 0; r < param->rows; r++) {
                for (size_t c = 0; c < param->cols; c++)
                    row[c] = (float)gradient[at++];
                pt_trainer_update(t, t->iteration, param->offset + r * param->ld, param->cols, row);
            }
        }
        pt_float_environment_leave(previous);
        if (t->diverged)
            break;
        if (status == PT_OK) {
            t->losses[t->loss_count++] = loss;
            atomic_fetch_add(&t->iteration, 1);
        }
    }
    pt_free(gradient);
    pt_free(row);
    return status;
}

/* Windows of iterations on the threads and the schedule that the tuner says. */
static pt_status run_backprop(pt_trainer *t, uint64_t last, pt_error *err) {
    pt_loader *loader = NULL;
    if (t->use_loader) {
        pt_status status =
            pt_loader_start(&loader, t->dataset, t->kernels, &t->sampler, t->iteration, t->batch.ld,
                            t->batch.target && t->dataset->classes, lists_of(t), err);
        if (status != PT_OK)
            return status;
    }
    t->loss_count = 0;
    t->diverged = false;
    while (t->iteration < last && !t->diverged && !atomic_load(&t->stop)) {
        const uint64_t first = t->iteration;
        const double start = pt_now();
        pt_train_region(t, first + pt_tuner_next(&t->tuner, last - first), loader);
        pt_tuner_note(&t->tuner, t->iteration - first, pt_now() - start);
    }
    pt_loader_stop(loader);
    return PT_OK;
}

pt_status pt_trainer_run(pt_trainer *t, uint64_t iterations, pt_error *err) {
    const uint64_t first = t->iteration;
    if (iterations > PT_MAX_RUN_ITERATIONS)
        return pt_fail(err, PT_ERR_USAGE, "at most %d iterations in one run, not %llu",
                       PT_MAX_RUN_ITERATIONS, (unsigned long long)iterations);
    const pt_status status = t->config->train.gradient == PT_GRADIENT_NUMERICAL
                                 ? run_numerical(t, first + iterations, err)
                                 : run_backprop(t, first + iterations, err);
    if (status != PT_OK)
        return status;
    if (t->diverged)
        return pt_fail(err, PT_ERR_DIVERGED,
                       "the loss is not finite at iteration %llu; try a smaller learning_rate",
                       (unsigned long long)t->iteration + 1);
    if (t->iteration < first + iterations && atomic_exchange(&t->stop, false))
        return pt_fail(err, PT_ERR_INTERRUPTED, "stopped after iteration %llu",
                       (unsigned long long)t->iteration);
    return PT_OK;
}

pt_status pt_trainer_profile(pt_trainer *t, pt_error *err) {
    const size_t count = PT_PHASE_COUNT * t->graph->node_count;
    for (size_t w = 0; w < t->threads; w++) {
        pt_profile *profile = &t->workers[w].profile;
        pt_free(profile->ticks);
        profile->nodes = t->graph->node_count;
        profile->ticks = pt_calloc(count, sizeof *profile->ticks);
        if (!profile->ticks)
            return pt_fail_memory(err, "the profile", count * sizeof *profile->ticks);
    }
    return PT_OK;
}

void pt_trainer_keep(pt_trainer *t) {
    memcpy(t->kept_params, t->params, t->graph->block_size * sizeof *t->params);
    t->kept_iteration = t->iteration;
}

void pt_trainer_restore_kept(pt_trainer *t) {
    memcpy(t->params, t->kept_params, t->graph->block_size * sizeof *t->params);
    t->iteration = t->kept_iteration;
}

uint64_t pt_trainer_iteration(const pt_trainer *t) {
    return atomic_load_explicit(&t->iteration, memory_order_relaxed);
}

const double *pt_trainer_losses(const pt_trainer *t, size_t *count) {
    *count = t->loss_count;
    return t->losses;
}

void pt_trainer_request_stop(pt_trainer *t) {
    atomic_store_explicit(&t->stop, true, memory_order_relaxed);
}

pt_status pt_trainer_evaluate(pt_trainer *t, pt_split_name name, double *accuracy, pt_error *err) {
    const pt_split *split = name == PT_SPLIT_TRAIN ? &t->dataset->train : &t->dataset->test;
    size_t rows = split->rows, limit = t->config->train.evaluate_rows;
    if (rows == 0 || !split->labels)
        return pt_fail(err, PT_ERR_USAGE, "no accuracy: the %s data has no labelled rows",
                       name == PT_SPLIT_TRAIN ? "training" : "test");
    if (limit && limit < rows)
        rows = limit;
    *accuracy = (double)pt_evaluate_region(t, split, rows) / (double)rows;
    return PT_OK;
}

pt_status pt_trainer_predict(pt_trainer *t, const float *features, size_t rows, float *outputs,
                             pt_error *err) {
    (void)err;
    const pt_node *data = &t->graph->nodes[0], *output = &t->graph->nodes[t->graph->output_node];
    pt_worker *self = &t->workers[0];
    const unsigned previous = pt_float_environment_enter();
    for (size_t row = 0, count; row < rows; row += count) {
        count = rows - row < self->tape.rows ? rows - row : self->tape.rows;
        for (size_t i = 0; i < count; i++)
            memcpy(self->batch.x + i * data->ld, features + (row + i) * data->cols,
                   data->cols * sizeof(float));
        self->tape.data = self->batch.x;
        self->tape.sparse = NULL;
        pt_graph_forward(t->graph, t->kernels, t->params, &self->tape, 0, count, self->scratch);
        for (size_t i = 0; i < count; i++)
            memcpy(outputs + (row + i) * output->cols,
                   pt_tape_value(&self->tape, t->graph->output_node) + i * output->ld,
                   output->cols * sizeof(float));
    }
    pt_float_environment_leave(previous);
    return PT_OK;
}

size_t pt_trainer_outputs(const pt_trainer *t) {
    return t->graph->nodes[t->graph->output_node].cols;
}

size_t pt_trainer_parameters(const pt_trainer *t) {
    return t->graph->param_total;
}

const pt_candidate *pt_trainer_choice(const pt_trainer *t) {
    const pt_tuner *tuner = &t->tuner;
    return &tuner->candidate[tuner->count > 1 ? tuner->settled : 0];
}

size_t pt_trainer_threads(const pt_trainer *t) {
    return pt_trainer_choice(t)->threads;
}

const char *pt_trainer_isa(const pt_trainer *t) {
    return t->kernels->isa;
}
