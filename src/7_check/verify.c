/* verify.c: the same run on every setting that must not matter. */
#include "7_check/verify.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "4_train/trainer.h"
#include "5_results/atomic_file.h"
#include "5_results/checkpoint.h"
#include "6_run/saver.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct verification {
    const pt_config *config;
    const pt_dataset *dataset;
    void (*report)(void *context, const pt_verify_row *row);
    void *context;
    pt_verify_result *result;
    char folder[256];
    char first[PT_SHA256_TEXT_SIZE]; /* hash of the first row */
} verification;

typedef struct setting {
    pt_isa isa;
    size_t threads;
    pt_schedule schedule;
    pt_switch loader;
} setting;

static pt_config with(verification *v, setting s) {
    pt_config config = *v->config; /* a shallow copy: only numbers and a borrowed path change */
    config.parallel.isa = (int)s.isa;
    config.parallel.threads = s.threads;
    config.parallel.schedule = s.schedule;
    config.parallel.loader = s.loader;
    config.train.iterations = v->result->iterations;
    config.output.dir = v->folder;
    return config;
}

/* Trains up to iteration `stop` and writes a checkpoint there. */
static pt_status train_and_checkpoint(verification *v, setting s, uint64_t stop, pt_error *err) {
    pt_config config = with(v, s);
    pt_trainer *trainer = NULL;
    pt_metrics *metrics = NULL;
    pt_saver *saver = NULL;
    pt_status status = pt_trainer_create(&config, v->dataset, &trainer, err);
    if (status == PT_OK)
        status = pt_trainer_run(trainer, stop, err);
    if (status == PT_OK)
        status = pt_metrics_open(v->folder, 0, 0, &metrics, err);
    if (status == PT_OK)
        status = pt_saver_start(&config, trainer, metrics, &saver, err);
    if (status == PT_OK) {
        pt_checkpoint position = {.step = stop, .seed = config.train.seed};
        pt_saver_save(saver, PT_SAVE_CHECKPOINT, &position);
        status = pt_saver_wait(saver, err);
    }
    pt_saver_stop(saver);
    pt_metrics_close(metrics, NULL);
    pt_trainer_free(trainer);
    return status;
}

/* One row: trains the whole run, or the rest of it from a checkpoint, and hashes the model file. */
static pt_status verify_setting(verification *v, setting s, uint64_t resumed_at, pt_error *err) {
    pt_config config = with(v, s);
    pt_trainer *trainer = NULL;
    pt_checkpoint_file *file = NULL;
    char *path = pt_format("%s/model.safetensors", v->folder);
    pt_verify_row row = {.isa = pt_isa_name(s.isa),
                         .schedule = pt_schedule_name(s.schedule),
                         .loader = pt_switch_name(s.loader),
                         .threads = s.threads,
                         .resumed_at = resumed_at};
    pt_status status = path ? pt_trainer_create(&config, v->dataset, &trainer, err)
                            : pt_fail_memory(err, "a path", sizeof v->folder);
    if (status == PT_OK && resumed_at) {
        status = pt_checkpoint_newest(v->folder, NULL, NULL, &file, err);
        if (status == PT_OK && (!file || file->checkpoint.step != resumed_at))
            status = pt_fail(err, PT_ERR_CHECK, "%s: no good checkpoint of iteration %llu",
                             v->folder, (unsigned long long)resumed_at);
        if (status == PT_OK)
            status = pt_restore_checkpoint(trainer, &file->checkpoint, v->folder, err);
    }
    if (status == PT_OK)
        status =
            pt_trainer_run(trainer, config.train.iterations - pt_trainer_iteration(trainer), err);
    if (status == PT_OK)
        status = pt_trainer_save(trainer, path, row.sha256, err);
    if (status == PT_OK) {
        if (v->result->rows++ == 0)
            memcpy(v->first, row.sha256, sizeof v->first);
        row.same = strcmp(v->first, row.sha256) == 0;
        v->result->different += !row.same;
        if (v->report)
            v->report(v->context, &row);
    }
    pt_checkpoint_free(file);
    pt_trainer_free(trainer);
    pt_free(path);
    return status;
}

/* Stopped after every sixth of the run on one setting, resumed on another. */
static pt_status verify_resumed(verification *v, pt_error *err) {
    const uint64_t iterations = v->result->iterations;
    pt_status status = PT_OK;
    for (uint64_t sixth = 1; sixth < 6 && status == PT_OK; sixth++) {
        uint64_t stop = iterations * sixth / 6;
        if (stop == 0)
            continue;
        setting before = {pt_isa_best(), sixth, PT_SCHEDULE_SLICES, PT_SWITCH_OFF};
        setting after = {sixth % 2 && pt_kernels_get(PT_ISA_AVX2) ? PT_ISA_AVX2 : pt_isa_best(),
                         6 - sixth, PT_SCHEDULE_PER_THREAD, PT_SWITCH_OFF};
        status = pt_checkpoint_discard_after(v->folder, 0, err);
        if (status == PT_OK)
            status = train_and_checkpoint(v, before, stop, err);
        if (status == PT_OK)
            status = verify_setting(v, after, stop, err);
    }
    return status;
}

/* Every instruction set, count of threads and schedule; the loader on in every other run, so that each
 * schedule meets it. */
static pt_status verify_all(verification *v, pt_error *err) {
    static const size_t threads[] = {1, 2, 3, 4, 5, 7, 8, 16, 0};
    pt_status status = PT_OK;
    size_t run = 0;
    for (int isa = PT_ISA_COUNT - 1; isa >= PT_ISA_SCALAR; isa--) {
        if (!pt_kernels_get((pt_isa)isa))
            continue;
        for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
            for (int schedule = PT_SCHEDULE_AUTO; schedule <= PT_SCHEDULE_RELAY && status == PT_OK;
                 schedule++, run++)
                status = verify_setting(v,
                                        (setting){(pt_isa)isa, threads[i], (pt_schedule)schedule,
                                                  run % 2 ? PT_SWITCH_ON : PT_SWITCH_OFF},
                                        0, err);
    }
    return status == PT_OK ? verify_resumed(v, err) : status;
}

static void remove_folder(const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        (void)unlinkat(dirfd(dir), entry->d_name, 0); /* holds plain files only */
    closedir(dir);
    (void)rmdir(folder);
}

/* As many iterations as take the scalar kernels some tenths of a second (0.3 GFLOP), at least 3. */
static pt_status choose_iterations(verification *v, pt_error *err) {
    pt_graph *graph;
    pt_status status = pt_graph_build(v->config, v->dataset, &graph, err);
    if (status != PT_OK)
        return status;
    double work = pt_graph_flops_training(graph) * (double)v->config->train.batch_size + 1e4;
    uint64_t iterations = (uint64_t)(3e8 / work);
    iterations = iterations < 3 ? 3 : iterations > 300 ? 300 : iterations;
    v->result->iterations =
        iterations < v->config->train.iterations ? iterations : v->config->train.iterations;
    pt_graph_free(graph);
    return PT_OK;
}

pt_status pt_verify(const pt_config *config, const pt_dataset *dataset,
                    void (*report)(void *context, const pt_verify_row *row), void *context,
                    pt_verify_result *result, pt_error *err) {
    verification v = {config, dataset, report, context, result, {0}, {0}};
    *result = (pt_verify_result){0};
    pt_status status = choose_iterations(&v, err);
    if (status != PT_OK)
        return status;
    status = pt_make_temporary_folder("verify", v.folder, sizeof v.folder, err);
    if (status != PT_OK)
        return status;
    status = verify_all(&v, err);
    remove_folder(v.folder);
    if (status == PT_OK && result->different)
        status =
            pt_fail(err, PT_ERR_CHECK,
                    "%zu of %zu runs gave another model: the promise is broken on this machine",
                    result->different, result->rows);
    return status;
}
