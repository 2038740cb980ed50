/* test_memory.c: out of memory at every allocation in turn, on the way from a config to a saved
 * model: an error each time, never a crash, and nothing left behind (AddressSanitizer's leak check
 * sees to that). */
#include "0_base/memory.h"
#include "4_train/trainer.h"
#include "6_run/run.h"
#include "7_check/gradcheck.h"
#include "toys.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HIDDEN                                                                                     \
    "[layer.fc]\ntype = affine\nunits = 9\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"

typedef struct job {
    const char *config, *model; /* paths */
    const char *const *overrides;
    size_t override_count;
} job;

/* Fails the n-th allocation (and all later ones while `sticky`) of `work`, for n = 1, 2, ... until
 * it gets through; checks every failure; gives the number of allocations. */
static long fail_in_turn(pt_status (*work)(const job *, pt_error *), const job *j, int sticky) {
    enum { MOST = 5000 };
    for (long n = 1; n < MOST; n++) {
        pt_error err = {0};
        pt_memory_fail_at(n, sticky);
        pt_status status = work(j, &err);
        long count = pt_memory_count();
        pt_memory_fail_at(0, 0);
        if (status == PT_OK) {
            /* Some failures can be done without; but a run that asked for fewer than n had none. */
            if (count < n)
                return n;
            continue;
        }
        if (!CHECK_MSG(status == PT_ERR_MEMORY, "allocation %ld: status %d: %s", n, status,
                       err.message))
            return n;
        CHECK_MSG(err.status == status && *err.message && !strchr(err.message, '\n'),
                  "allocation %ld: message '%s'", n, err.message);
    }
    CHECK_MSG(false, "more than %d allocations", MOST);
    return MOST;
}

static pt_status train_and_save(const job *j, pt_error *err) {
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    pt_trainer *trainer = NULL;
    double accuracy;
    static float x[3 * 144], y[3 * PT_TOY_CLASSES];
    pt_status status = pt_config_load(j->config, j->overrides, j->override_count, &config, err);
    if (status == PT_OK)
        status = pt_dataset_load(config, &dataset, err);
    if (status == PT_OK)
        status = pt_trainer_create(config, dataset, &trainer, err);
    if (status == PT_OK)
        status = pt_trainer_run(trainer, 2, err);
    if (status == PT_OK)
        status = pt_trainer_evaluate(trainer, PT_SPLIT_TEST, &accuracy, err);
    if (status == PT_OK)
        status = pt_trainer_predict(trainer, x, 3, y, err);
    if (status == PT_OK)
        status = pt_trainer_save(trainer, j->model, NULL, err);
    if (status == PT_OK)
        status = pt_trainer_load(trainer, j->model, err);
    pt_trainer_free(trainer);
    pt_dataset_free(dataset);
    pt_config_free(config);
    return status;
}

static pt_status whole_run(const job *j, pt_error *err) {
    pt_config *config = NULL;
    const pt_run_listener nobody = {0};
    pt_status status = pt_config_load(j->config, j->overrides, j->override_count, &config, err);
    if (status == PT_OK) { /* what an unfinished run has left is not overwritten */
        CHECK(pt_run_shell("rm -rf %s", config->output.dir).status == 0);
        status = pt_run(config, NULL, &nobody, err);
    }
    pt_config_free(config);
    return status;
}

static pt_status check_gradients(const job *j, pt_error *err) {
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    pt_status status = pt_config_load(j->config, j->overrides, j->override_count, &config, err);
    if (status == PT_OK)
        status = pt_dataset_load(config, &dataset, err);
    if (status == PT_OK)
        status = pt_gradcheck(config, dataset, NULL, NULL, err);
    pt_dataset_free(dataset);
    pt_config_free(config);
    return status;
}

static job make_job(void) {
    job j = {.config = pt_path_in(pt_temp_folder(), "toy.ini"),
             .model = pt_path_in(pt_temp_folder(), "model")};
    pt_text text = pt_toy_images_text(HIDDEN);
    pt_write_text(j.config, text.s);
    return j;
}

static void no_temporary_files(void) {
    pt_run_result list = pt_run_shell("find %s -name '*tmp-*'", pt_temp_folder());
    CHECK_STR(list.out, "");
}

/* Linux would promise it, and end the process later. */
TEST(memory, more_than_there_is_is_refused) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), pages = (size_t)sysconf(_SC_PHYS_PAGES);
    CHECK(pt_malloc_aligned(pages - 1, page) == NULL);
    CHECK(pt_calloc_aligned(SIZE_MAX / 4, 8) == NULL);
    void *block = pt_malloc_aligned(1, 65 << 20);
    CHECK(block != NULL);
    pt_free(block);
}

TEST(memory, fails_at_every_allocation_of_training) {
    static const char *const settings[][5] = {
        {"parallel.threads=2", "parallel.schedule=per_thread", "parallel.loader=on",
         "optimizer.type=adam", "train.batch_size=8"},
        {"parallel.threads=2", "parallel.schedule=slices", "parallel.loader=off",
         "optimizer.type=momentum", "loss.type=mean_squared_error"},
        {"parallel.threads=1", "train.gradient=numerical", "layer.fc.units=2", "train.batch_size=2",
         "parallel.isa=scalar"},
        {"parallel.threads=auto", "parallel.schedule=auto", "parallel.loader=auto",
         "train.batch_size=8", "optimizer.type=sgd"},
        {"parallel.threads=3", "parallel.schedule=relay", "parallel.loader=off",
         "train.batch_size=8", "optimizer.type=adam"}};
    job j = make_job();
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        j.overrides = settings[i];
        j.override_count = 5;
        long count = fail_in_turn(train_and_save, &j, 0);
        CHECK_MSG(count > 40, "only %ld allocations", count);
        no_temporary_files();
        if (i == 0 && !pt_test_quick())
            fail_in_turn(train_and_save, &j, 1);
    }
}

TEST(memory, fails_at_every_allocation_of_a_run) {
    static const char *const settings[] = {"train.iterations=3", "train.evaluate_every=2",
                                           "parallel.threads=2", "output.checkpoint_every=2",
                                           "output.best=true"};
    job j = make_job();
    j.overrides = settings;
    j.override_count = 5;
    long count = fail_in_turn(whole_run, &j, 0);
    CHECK_MSG(count > 60, "only %ld allocations", count);
    no_temporary_files();
    /* It got through in the end: the folder is that of a good run. */
    pt_run_result good =
        pt_run_shell("\"$PT\" %s -q -s train.iterations=3 -s train.evaluate_every=2 "
                     "-o %s/good && cd %s && cmp run/model.safetensors "
                     "good/model.safetensors && cmp run/metrics.csv good/metrics.csv",
                     j.config, pt_temp_folder(), pt_temp_folder());
    CHECK_MSG(good.status == 0, "%s%s", good.out, good.err);
}

TEST(memory, fails_at_every_allocation_of_the_gradient_check) {
    static const char *const settings[] = {"train.batch_size=2", "layer.fc.units=2",
                                           "parallel.isa=scalar"};
    job j = make_job();
    j.overrides = settings;
    j.override_count = 3;
    long count = fail_in_turn(check_gradients, &j, 0);
    CHECK_MSG(count > 40, "only %ld allocations", count);
}
