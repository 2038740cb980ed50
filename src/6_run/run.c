/* run.c: the book's program around the trainer. */
#include "6_run/run.h"

#include "0_base/clock.h"
#include "0_base/fail.h"
#include "0_base/memory.h"
#include "1_config/config.h"
#include "4_train/trainer.h"
#include "5_results/checkpoint.h"
#include "5_results/run_folder.h"
#include "6_run/saver.h"
#include "ptrain/version.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct run {
    const pt_config *config;
    pt_run_options options;
    const pt_run_listener *listener;
    pt_dataset *dataset;
    pt_trainer *trainer;
    pt_metrics *metrics;
    pt_saver *saver;                           /* NULL until a checkpoint is wanted */
    uint64_t evaluate_every, checkpoint_every; /* iterations; the latter 0: never */
    char *model_path;
    char sha256[PT_SHA256_TEXT_SIZE];
    double started, train_seconds, eval_seconds;
    uint64_t trained; /* iterations of this process */
    /* Since the last metrics row: */
    double loss_sum, segment_seconds;
    uint64_t loss_count, segment_iterations;
    uint64_t last_row; /* iteration of that row */
    pt_metrics_row row;
    bool has_best;
    double best_accuracy;
    uint64_t best_step;
    uint64_t data; /* their fingerprint, once it is wanted */
    bool unsaved;  /* some file could not be saved at some time */
    bool told_end;
    bool nothing_to_do; /* the folder holds the finished run */
    int lock;           /* of the folder */
} run;

static uint64_t iterations_per_epoch(const run *r) {
    return r->trainer->sampler.steps_per_epoch;
}

static pt_status evaluate_split(run *r, pt_split_name name, bool *has, double *accuracy,
                                pt_error *err) {
    const pt_split *split = name == PT_SPLIT_TRAIN ? &r->dataset->train : &r->dataset->test;
    *has = r->config->train.evaluate && split->rows > 0 && split->labels;
    return *has ? pt_trainer_evaluate(r->trainer, name, accuracy, err) : PT_OK;
}

static void warn(const run *r, const char *message) {
    if (r->listener->warned)
        r->listener->warned(r->listener->context, message);
}

/* NULL: without a model. The first word counts. */
static void tell_end(run *r, const pt_summary *summary) {
    if (r->listener->ended && !r->told_end)
        r->listener->ended(r->listener->context, summary);
    r->told_end = true;
}

static uint64_t data_fingerprint(run *r) {
    if (r->data == 0)
        r->data = pt_dataset_fingerprint(r->dataset);
    return r->data;
}

/* What a checkpoint holds besides the trainer's own state. */
static pt_checkpoint position(run *r) {
    const uint64_t iteration = pt_trainer_iteration(r->trainer);
    return (pt_checkpoint){.step = iteration,
                           .epoch = iteration / iterations_per_epoch(r),
                           .seed = r->config->train.seed,
                           .data = data_fingerprint(r),
                           .last_row = r->last_row,
                           .loss_sum = r->loss_sum,
                           .loss_count = r->loss_count,
                           .has_best = r->has_best,
                           .best_accuracy = r->best_accuracy,
                           .best_step = r->best_step};
}

/* A file of the run that could not be written: training goes on with a warning, or ends, as the
 * config says. Nothing saved before is lost, and metrics rows stay in memory until the disk takes
 * them. */
static pt_status heed_save_error(run *r, pt_status status, pt_error *err) {
    r->unsaved = r->unsaved || status != PT_OK;
    if (status != PT_ERR_IO || r->config->output.on_save_error == PT_SAVE_ERROR_STOP)
        return status;
    warn(r, err->message);
    return PT_OK;
}

static pt_status save(run *r, pt_save_kind kind, pt_error *err) {
    /* A checkpoint must not be newer than its rows; nothing goes on from a best one. */
    pt_status status = kind == PT_SAVE_CHECKPOINT ? pt_metrics_flush(r->metrics, err) : PT_OK;
    if (status != PT_OK)
        return heed_save_error(r, status, err);
    pt_checkpoint now_at = position(r);
    pt_saver_save(r->saver, kind, &now_at);
    return PT_OK;
}

/* Notes whether the row just made is the best so far, and saves it if that is wanted. */
static pt_status heed_best(run *r, pt_error *err) {
    if (!r->row.has_test && !r->row.has_train)
        return PT_OK;
    const double accuracy = r->row.has_test ? r->row.test_accuracy : r->row.train_accuracy;
    if (r->has_best && accuracy <= r->best_accuracy)
        return PT_OK;
    r->has_best = true;
    r->best_accuracy = accuracy;
    r->best_step = r->row.iteration;
    return r->config->output.best ? save(r, PT_SAVE_BEST, err) : PT_OK;
}

/* Writes and reports one metrics row for the current iteration. */
static pt_status evaluate(run *r, pt_error *err) {
    const uint64_t iteration = pt_trainer_iteration(r->trainer), epoch = iterations_per_epoch(r);
    double start = pt_now();
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
        status = heed_save_error(r, pt_metrics_epoch(r->metrics, &r->row, err), err);
    r->eval_seconds += pt_now() - start;
    if (status != PT_OK)
        return status;
    pt_run_row report = {.metrics = r->row};
    if (r->segment_seconds > 0)
        report.samples_per_second =
            (double)(r->segment_iterations * r->config->train.batch_size) / r->segment_seconds;
    if (r->listener->evaluated)
        r->listener->evaluated(r->listener->context, &report);
    r->loss_sum = r->segment_seconds = 0;
    r->loss_count = r->segment_iterations = 0;
    r->last_row = iteration;
    pt_trainer_keep(r->trainer);
    return heed_best(r, err);
}

/* Whether the parameters after `done` iterations are evaluated: after 1, 1 + E, 1 + 2E, ... and at
 * the end; and the next such point after `done`. */
static bool evaluation_due(const run *r, uint64_t done) {
    const uint64_t every = r->evaluate_every;
    return done == r->config->train.iterations || (done > 0 && (done - 1) % every == 0);
}

static uint64_t next_evaluation(const run *r, uint64_t done) {
    const uint64_t next = done == 0 ? 1 : done + r->evaluate_every - (done - 1) % r->evaluate_every;
    return next < r->config->train.iterations ? next : r->config->train.iterations;
}

static uint64_t next_checkpoint(const run *r, uint64_t done) {
    return r->checkpoint_every ? done + r->checkpoint_every - done % r->checkpoint_every
                               : UINT64_MAX;
}

/* Trains up to iteration `until` and takes down the losses. */
static pt_status train_until(run *r, uint64_t until, pt_error *err) {
    const uint64_t done = pt_trainer_iteration(r->trainer);
    const double start = pt_now();
    pt_status status = pt_trainer_run(r->trainer, until - done, err);
    const double seconds = pt_now() - start;
    size_t count;
    const double *losses = pt_trainer_losses(r->trainer, &count);
    for (size_t i = 0; i < count; i++)
        r->loss_sum += losses[i];
    r->loss_count += count;
    r->segment_iterations += count;
    r->trained += count;
    r->train_seconds += seconds;
    r->segment_seconds += seconds;
    pt_error later;
    pt_status wrote = pt_metrics_losses(r->metrics, done + 1, losses, count, &later);
    wrote = heed_save_error(r, wrote, &later);
    return status != PT_OK || wrote == PT_OK ? status : pt_fail(err, wrote, "%s", later.message);
}

/* A checkpoint is taken before the evaluation of the same iteration, so that a resumed run makes
 * that row anew, whatever became of it. */
static pt_status train(run *r, pt_error *err) {
    const uint64_t last = r->config->train.iterations;
    for (;;) {
        const uint64_t done = pt_trainer_iteration(r->trainer);
        pt_status status = PT_OK;
        if (evaluation_due(r, done) && r->last_row != done)
            status = evaluate(r, err);
        if (status == PT_OK && done == last)
            return PT_OK; /* what became of the last checkpoints is told when the model is saved */
        if (status == PT_OK)
            status = r->saver ? pt_saver_failure(r->saver, err) : PT_OK;
        if (status != PT_OK)
            status = heed_save_error(r, status, err);
        if (status != PT_OK)
            return status;
        uint64_t until = next_evaluation(r, done), checkpoint = next_checkpoint(r, done);
        until = checkpoint < until ? checkpoint : until;
        if (until - done > PT_MAX_RUN_ITERATIONS)
            until = done + PT_MAX_RUN_ITERATIONS;
        status = train_until(r, until, err);
        if (status == PT_OK && until == checkpoint)
            status = save(r, PT_SAVE_CHECKPOINT, err);
        if (status != PT_OK)
            return status;
    }
}

static void damaged(void *context, const char *message) {
    char *text = pt_format("%s; passed over", message);
    warn(context, text ? text : message);
    pt_free(text);
}

/* Takes over a checkpoint, if its config gives the same numbers. */
static pt_status take_over(run *r, const pt_checkpoint *from, pt_error *err) {
    pt_config *config;
    char difference[512];
    pt_status status = pt_config_parse(from->config, "checkpoint", NULL, 0, &config, err);
    if (status != PT_OK)
        return status;
    config->train.iterations = r->config->train.iterations; /* not of the checkpoint's numbers */
    status = pt_config_same_run(config, r->config, difference, sizeof difference);
    pt_config_free(config);
    if (status == PT_ERR_MEMORY)
        return pt_fail_memory(err, "the comparison of configs", sizeof difference);
    if (status != PT_OK)
        return pt_fail(
            err, PT_ERR_USAGE,
            "cannot resume %s: in the checkpoint and in this config %s; restore these keys, "
            "or start anew with --out another folder",
            r->config->output.dir, difference);
    if (from->data != data_fingerprint(r))
        return pt_fail(
            err, PT_ERR_USAGE,
            "cannot resume %s: its checkpoint is of a training on other data than [data] "
            "names now; restore them, or start anew with --out another folder",
            r->config->output.dir);
    if (from->step > r->config->train.iterations)
        return pt_fail(err, PT_ERR_USAGE,
                       "cannot resume %s: train.iterations = %llu, but its newest checkpoint is of "
                       "iteration %llu; write at least that",
                       r->config->output.dir, (unsigned long long)r->config->train.iterations,
                       (unsigned long long)from->step);
    if (from->last_row > from->step)
        return pt_fail(err, PT_ERR_DATA,
                       "cannot resume %s: its checkpoint claims iteration %llu and the row of %llu",
                       r->config->output.dir, (unsigned long long)from->step,
                       (unsigned long long)from->last_row);
    status = pt_restore_checkpoint(r->trainer, from, r->config->output.dir, err);
    r->last_row = from->last_row;
    r->loss_sum = from->loss_sum;
    r->loss_count = from->loss_count;
    r->has_best = from->has_best;
    r->best_accuracy = from->best_accuracy;
    r->best_step = from->best_step;
    return status;
}

/* Takes over the newest checkpoint, if there is one. */
static pt_status resume(run *r, pt_run_start *start, pt_error *err) {
    pt_checkpoint_file *file = NULL;
    pt_status status = pt_checkpoint_newest(r->config->output.dir, damaged, r, &file, err);
    *start = file ? PT_START_FROM_CHECKPOINT : PT_START_WITHOUT;
    if (status == PT_OK && file)
        status = take_over(r, &file->checkpoint, err);
    pt_checkpoint_free(file);
    return status;
}

static pt_status open_folder(run *r, pt_error *err) {
    const char *folder = r->config->output.dir;
    pt_run_start start = PT_START_ANEW;
    pt_status status = pt_run_folder_lock(folder, &r->lock, err);
    if (status == PT_OK && r->options.resume)
        status = resume(r, &start, err);
    if (status != PT_OK)
        return status;
    const uint64_t done = pt_trainer_iteration(r->trainer);
    status = pt_run_folder_open(folder, r->config, start, &r->nothing_to_do, err);
    if (status == PT_ERR_USAGE && start == PT_START_WITHOUT) {
        pt_error why = *err;
        status = pt_fail(err, status,
                         "no checkpoint to resume from (output.checkpoint_every makes them, and "
                         "Ctrl-C), and %s",
                         why.message);
    }
    if (status != PT_OK || r->nothing_to_do)
        return status;
    if (start == PT_START_WITHOUT)
        warn(r, "no checkpoint to resume from: starting at the first iteration");
    status = pt_checkpoint_discard_after(folder, done, err);
    if (status == PT_OK)
        status = pt_metrics_open(folder, done, r->last_row, &r->metrics, err);
    return status;
}

static pt_status open_run(run *r, pt_error *err) {
    const pt_config *config = r->config;
    pt_status status = pt_dataset_load(config, &r->dataset, err);
    if (status == PT_OK)
        status = pt_trainer_create(config, r->dataset, &r->trainer, err);
    if (status != PT_OK)
        return status;
    r->evaluate_every =
        config->train.evaluate_every ? config->train.evaluate_every : iterations_per_epoch(r);
    const uint64_t unit =
        config->output.checkpoint_unit == PT_INTERVAL_EPOCHS ? iterations_per_epoch(r) : 1;
    if (__builtin_mul_overflow(config->output.checkpoint_every, unit, &r->checkpoint_every))
        r->checkpoint_every = 0; /* later than any training ends */
    if (r->options.profile && config->train.gradient == PT_GRADIENT_NUMERICAL)
        return pt_fail(err, PT_ERR_USAGE,
                       "a profile is of backpropagation; this config trains with "
                       "`gradient = numerical`");
    if (r->options.profile && (status = pt_trainer_profile(r->trainer, err)) != PT_OK)
        return status;
    const bool labels = r->dataset->train.labels || r->dataset->test.labels;
    if (config->output.best && !(config->train.evaluate && labels)) {
        char place[512];
        return pt_fail(
            err, PT_ERR_CONFIG,
            "%sbest = true, but no accuracy is measured, by which a model is best: that wants "
            "labels and train.evaluate = true; remove this key",
            pt_place_text(pt_config_place(config, "output", "best"), place, sizeof place));
    }
    if (config->train.evaluate && r->dataset->test.rows > 0 && !r->dataset->test.labels)
        warn(r, "the test data has no labels, so no accuracy is measured on it");
    status = open_folder(r, err);
    if (status != PT_OK || r->nothing_to_do)
        return status;
    if (!(r->model_path = pt_format("%s/model.safetensors", config->output.dir)))
        status = pt_fail_memory(err, "the model's path", strlen(config->output.dir));
    if (status == PT_OK && (r->checkpoint_every || config->output.best))
        status = pt_saver_start(config, r->trainer, r->metrics, &r->saver, err);
    return status;
}

static pt_summary summarize(const run *r, const char *status) {
    const pt_config *config = r->config;
    const uint64_t iterations = pt_trainer_iteration(r->trainer);
    pt_summary s = {.status = status,
                    .all_saved = !r->unsaved,
                    .train_loss = r->row.loss,
                    .has_train = r->row.has_train,
                    .has_test = r->row.has_test,
                    .train_accuracy = r->row.train_accuracy,
                    .test_accuracy = r->row.test_accuracy,
                    .evaluated_iteration = r->row.iteration,
                    .iterations = iterations,
                    .samples = iterations * config->train.batch_size,
                    .train_seconds = r->train_seconds,
                    .eval_seconds = r->eval_seconds,
                    .total_seconds = pt_now() - r->started,
                    .threads = pt_trainer_threads(r->trainer),
                    .isa = pt_trainer_isa(r->trainer),
                    .schedule = pt_schedule_name(pt_trainer_choice(r->trainer)->schedule),
                    .shards = config->parallel.shards,
                    .parameters = pt_trainer_parameters(r->trainer),
                    .batch_size = config->train.batch_size,
                    .seed = config->train.seed,
                    .model_sha256 = r->sha256,
                    .version = PTRAIN_VERSION};
    if (r->train_seconds > 0)
        s.samples_per_second = (double)(r->trained * config->train.batch_size) / r->train_seconds;
    return s;
}

/* An interrupted run is saved whatever the config says of checkpoints. */
static pt_status save_interrupted(run *r, pt_error *err) {
    pt_status status = PT_OK;
    if (!r->saver)
        status = pt_saver_start(r->config, r->trainer, r->metrics, &r->saver, err);
    if (status == PT_OK)
        status = pt_metrics_flush(r->metrics, err);
    if (status != PT_OK)
        return status;
    pt_checkpoint now_at = position(r);
    if (now_at.step == 0) /* nothing to go on from */
        return PT_OK;
    pt_saver_save(r->saver, PT_SAVE_CHECKPOINT, &now_at);
    return pt_saver_wait(r->saver, err);
}

/* Waits for the last checkpoints, and says what became of them. An interrupted run has the one it goes on
 * from, whatever became of others. */
static pt_status save_last(run *r, pt_status outcome, pt_error *err) {
    if (!r->saver)
        return PT_OK;
    pt_status status = pt_saver_wait(r->saver, err);
    if (status == PT_OK) {
        status = pt_saver_failure(r->saver, err);
        if (status != PT_OK && outcome == PT_ERR_INTERRUPTED) {
            r->unsaved = true;
            warn(r, err->message);
            return PT_OK;
        }
    }
    return status == PT_OK ? PT_OK : heed_save_error(r, status, err);
}

/* Saves the model and the summary after training ended with `outcome`, also if a checkpoint could not
 * be: that fails, but costs nobody the model. */
static pt_status finish(run *r, pt_status outcome, pt_error *err) {
    const char *word = "finished";
    pt_error unsaved;
    pt_status checkpoints = PT_OK;
    if (outcome == PT_ERR_DIVERGED) {
        pt_trainer_restore_kept(r->trainer);
        word = "diverged";
    } else if (outcome == PT_ERR_INTERRUPTED) {
        checkpoints = save_interrupted(r, &unsaved);
        word = "interrupted";
    }
    if (checkpoints == PT_OK)
        checkpoints = save_last(r, outcome, &unsaved);
    r->unsaved = r->unsaved || checkpoints != PT_OK;
    pt_status status = pt_trainer_save(r->trainer, r->model_path, r->sha256, err);
    if (status == PT_OK)
        status = pt_metrics_flush(r->metrics, err);
    if (status != PT_OK)
        return status;
    pt_summary summary = summarize(r, word);
    status = pt_summary_write(r->config->output.dir, &summary, err);
    if (status == PT_OK && checkpoints != PT_OK)
        status = pt_fail(err, checkpoints, "%s", unsaved.message);
    if (status == PT_OK)
        tell_end(r, &summary);
    return status;
}

static pt_status report_profile(const run *r, pt_error *err) {
    pt_profile_report *report;
    pt_status status =
        pt_profile_report_make(r->trainer, r->trained, r->train_seconds, &report, err);
    if (status == PT_OK)
        status = pt_profile_report_write(report, r->config->output.dir, err);
    if (status == PT_OK && r->listener->profiled)
        r->listener->profiled(r->listener->context, report);
    pt_profile_report_free(report);
    return status;
}

static pt_status say_what_is_kept(const run *r, pt_error *err) {
    pt_error why = *err;
    const uint64_t kept = pt_trainer_iteration(r->trainer);
    if (kept == 0)
        return pt_fail(err, PT_ERR_DIVERGED, "%s; saved are the initial parameters", why.message);
    return pt_fail(err, PT_ERR_DIVERGED,
                   "%s; saved is the model of iteration %llu, the last that was evaluated",
                   why.message, (unsigned long long)kept);
}

pt_status pt_run(const pt_config *config, const pt_run_options *options,
                 const pt_run_listener *listener, pt_error *err) {
    run r = {.config = config, .listener = listener, .started = pt_now(), .lock = -1};
    if (options)
        r.options = *options;
    r.row.loss = (double)NAN; /* until there is one */
    pt_status status = open_run(&r, err);
    if (r.nothing_to_do) {
        char *text = pt_format("%s holds this run, finished: nothing to do", config->output.dir);
        warn(&r, text ? text : "finished: nothing to do");
        pt_free(text);
    } else if (status == PT_OK) {
        if (listener->started)
            listener->started(listener->context, r.trainer);
        status = train(&r, err);
        pt_error later;
        pt_status saved = PT_OK;
        if (status == PT_OK || status == PT_ERR_INTERRUPTED || status == PT_ERR_DIVERGED)
            saved = finish(&r, status, &later);
        if (saved == PT_OK && r.options.profile)
            saved = report_profile(&r, &later);
        if (saved != PT_OK)
            status = pt_fail(err, saved, "%s", later.message);
        else if (status == PT_ERR_DIVERGED)
            status = say_what_is_kept(&r, err);
        tell_end(&r, NULL);
    }
    pt_saver_stop(r.saver);
    pt_error closing;
    if (pt_metrics_close(r.metrics, &closing) != PT_OK && status == PT_OK)
        status = pt_fail(err, closing.status, "%s", closing.message);
    if (r.lock >= 0)
        close(r.lock);
    pt_free(r.model_path);
    pt_trainer_free(r.trainer);
    pt_dataset_free(r.dataset);
    return status;
}
