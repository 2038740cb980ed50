/* run.c: the book's program around the trainer. */
#include "6_run/run.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "1_config/config.h"
#include "4_train/trainer.h"
#include "5_results/run_folder.h"
#include "ptrain/version.h"

#include <string.h>
#include <time.h>

typedef struct run {
    const pt_config *config;
    const pt_run_listener *listener;
    pt_dataset *dataset;
    pt_trainer *trainer;
    pt_metrics *metrics;
    char *model_path;
    char sha256[PT_SHA256_TEXT_SIZE];
    double started, train_seconds, eval_seconds;
    /* Since the last metrics row: */
    double loss_sum, segment_seconds;
    uint64_t loss_count;
    uint64_t last_row; /* iteration of that row */
    pt_metrics_row row;
} run;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static uint64_t iterations_per_epoch(const run *r) {
    return r->trainer->sampler.steps_per_epoch;
}

static pt_status evaluate_split(run *r, pt_split_name name, bool *has, double *accuracy,
                                pt_error *err) {
    const pt_split *split = name == PT_SPLIT_TRAIN ? &r->dataset->train : &r->dataset->test;
    *has = r->config->train.evaluate && split->rows > 0 && split->labels;
    return *has ? pt_trainer_evaluate(r->trainer, name, accuracy, err) : PT_OK;
}

/* Writes and reports one metrics row for the current iteration. */
static pt_status evaluate(run *r, pt_error *err) {
    const uint64_t iteration = pt_trainer_iteration(r->trainer), epoch = iterations_per_epoch(r);
    double start = now();
    r->row.iteration = iteration;
    /* The row after the first iteration is the book's epoch 0; a last, partial epoch counts as one.
     */
    r->row.epoch = iteration ? (iteration - 1 + epoch - 1) / epoch : 0;
    if (r->loss_count)
        r->row.loss = r->loss_sum / (double)r->loss_count;
    pt_status status =
        evaluate_split(r, PT_SPLIT_TRAIN, &r->row.has_train, &r->row.train_accuracy, err);
    if (status == PT_OK)
        status = evaluate_split(r, PT_SPLIT_TEST, &r->row.has_test, &r->row.test_accuracy, err);
    if (status == PT_OK)
        status = pt_metrics_epoch(r->metrics, &r->row, err);
    r->eval_seconds += now() - start;
    if (status != PT_OK)
        return status;
    pt_run_row report = {.metrics = r->row};
    if (r->segment_seconds > 0)
        report.samples_per_second =
            (double)(r->loss_count * r->config->train.batch_size) / r->segment_seconds;
    if (r->listener->evaluated)
        r->listener->evaluated(r->listener->context, &report);
    r->loss_sum = r->segment_seconds = 0;
    r->loss_count = 0;
    r->last_row = iteration;
    pt_trainer_keep(r->trainer);
    return PT_OK;
}

/* The next iteration after `done` at which parameters are evaluated: 1, 1 + E, 1 + 2E, ... */
static uint64_t next_evaluation(const run *r, uint64_t done) {
    uint64_t every =
        r->config->train.evaluate_every ? r->config->train.evaluate_every : iterations_per_epoch(r);
    return done == 0 ? 1 : done + every - (done - 1) % every;
}

static pt_status train(run *r, pt_error *err) {
    const uint64_t last = r->config->train.iterations;
    for (uint64_t done = pt_trainer_iteration(r->trainer); done < last;) {
        uint64_t until = next_evaluation(r, done);
        const bool evaluates = until <= last;
        if (until > last)
            until = last;
        if (until - done > LOSS_CAPACITY)
            until = done + LOSS_CAPACITY;
        const double start = now();
        pt_status status = pt_trainer_run(r->trainer, until - done, err);
        const double seconds = now() - start;
        r->train_seconds += seconds;
        r->segment_seconds += seconds;
        size_t count;
        const double *losses = pt_trainer_losses(r->trainer, &count);
        for (size_t i = 0; i < count; i++)
            r->loss_sum += losses[i];
        r->loss_count += count;
        pt_error unused;
        pt_status wrote =
            pt_metrics_losses(r->metrics, done + 1, losses, count, status == PT_OK ? err : &unused);
        if (status != PT_OK || (status = wrote) != PT_OK)
            return status;
        done += count;
        if (evaluates && done == next_evaluation(r, done - 1) &&
            (status = evaluate(r, err)) != PT_OK)
            return status;
    }
    return r->last_row == last ? PT_OK : evaluate(r, err);
}

static pt_status open_run(run *r, pt_error *err) {
    pt_status status = pt_dataset_load(r->config, &r->dataset, err);
    if (status == PT_OK)
        status = pt_trainer_create(r->config, r->dataset, &r->trainer, err);
    if (status == PT_OK)
        status = pt_run_folder_open(r->config->output.dir, r->config, err);
    if (status == PT_OK)
        status = pt_metrics_open(r->config->output.dir, 0, &r->metrics, err);
    if (status == PT_OK &&
        !(r->model_path = pt_format("%s/model.safetensors", r->config->output.dir)))
        status = pt_fail_memory(err, "the model's path", strlen(r->config->output.dir));
    return status;
}

static pt_summary summarize(const run *r, const char *status) {
    const pt_config *config = r->config;
    const uint64_t iterations = pt_trainer_iteration(r->trainer);
    pt_summary s = {.status = status,
                    .train_loss = r->row.loss,
                    .has_train = r->row.has_train,
                    .has_test = r->row.has_test,
                    .train_accuracy = r->row.train_accuracy,
                    .test_accuracy = r->row.test_accuracy,
                    .iterations = iterations,
                    .samples = iterations * config->train.batch_size,
                    .train_seconds = r->train_seconds,
                    .eval_seconds = r->eval_seconds,
                    .total_seconds = now() - r->started,
                    .threads = pt_trainer_threads(r->trainer),
                    .isa = pt_trainer_isa(r->trainer),
                    .schedule =
                        r->trainer->schedule == PT_SCHEDULE_SLICES ? "slices" : "per_thread",
                    .shards = config->parallel.shards,
                    .parameters = pt_trainer_parameters(r->trainer),
                    .batch_size = config->train.batch_size,
                    .seed = config->train.seed,
                    .model_sha256 = r->sha256,
                    .version = PTRAIN_VERSION};
    if (r->train_seconds > 0)
        s.samples_per_second = (double)s.samples / r->train_seconds;
    return s;
}

/* Saves the model and the summary after training ended with `outcome`. */
static pt_status finish(run *r, pt_status outcome, pt_error *err) {
    const char *word = "finished";
    if (outcome == PT_ERR_DIVERGED) {
        pt_trainer_restore_kept(r->trainer);
        word = "diverged";
    } else if (outcome == PT_ERR_INTERRUPTED) {
        word = "interrupted";
    }
    pt_status status = pt_trainer_save(r->trainer, r->model_path, r->sha256, err);
    if (status != PT_OK)
        return status;
    pt_summary summary = summarize(r, word);
    if (r->listener->ended)
        r->listener->ended(r->listener->context, &summary);
    return pt_summary_write(r->config->output.dir, &summary, err);
}

pt_status pt_run(const pt_config *config, const pt_run_listener *listener, pt_error *err) {
    run r = {.config = config, .listener = listener, .started = now()};
    pt_status status = open_run(&r, err);
    if (status == PT_OK) {
        if (listener->started)
            listener->started(listener->context, r.trainer);
        status = train(&r, err);
        if (status == PT_OK || status == PT_ERR_INTERRUPTED || status == PT_ERR_DIVERGED) {
            pt_error later;
            pt_status saved = finish(&r, status, &later);
            if (saved != PT_OK)
                status = pt_fail(err, saved, "%s", later.message);
        } else if (listener->ended) {
            listener->ended(listener->context, NULL);
        }
    }
    pt_error closing;
    if (pt_metrics_close(r.metrics, &closing) != PT_OK && status == PT_OK)
        status = pt_fail(err, closing.status, "%s", closing.message);
    pt_free(r.model_path);
    pt_trainer_free(r.trainer);
    pt_dataset_free(r.dataset);
    return status;
}
