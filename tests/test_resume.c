/* test_resume.c: runs that stop, fail and go on, in one process. (tests/torture kills them.) */
#include "5_results/checkpoint.h"
#include "5_results/io.h"
#include "6_run/run.h"

#include "0_base/memory.h"
#include "1_config/config.h"
#include "toys.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pt_text resume_text(void) {
    return pt_textf("%s[optimizer]\ntype = momentum\n",
                    pt_toy_images_text("[layer.h]\ntype = affine\nunits = 8\n").s);
}

/* A run into FOLDER/`name`; `stop_after_row` 0: to the end. */
typedef struct witness {
    pt_trainer *trainer;
    int rows, stop_after_row, warnings;
    char warning[PT_ERROR_MESSAGE_SIZE];
    const char *absent; /* a file that must not be there while it trains */
    const char *block;  /* where the first row makes a folder, so that no file can be saved there */
} witness;

static void on_start(void *context, pt_trainer *trainer) {
    ((witness *)context)->trainer = trainer;
}

static void on_row(void *context, const pt_run_row *row) {
    witness *w = context;
    (void)row;
    CHECK(!w->absent || !pt_file_exists(w->absent));
    if (w->block && w->rows == 0)
        CHECK(mkdir(w->block, 0777) == 0);
    if (++w->rows == w->stop_after_row)
        pt_trainer_request_stop(w->trainer);
}

static void on_warning(void *context, const char *message) {
    witness *w = context;
    w->warnings++;
    snprintf(w->warning, sizeof w->warning, "%s", message);
}

static pt_status run_into(const char *folder, const char *on_save_error, bool resume, witness *w,
                          pt_error *err) {
    const pt_run_listener listener = {
        .context = w, .started = on_start, .evaluated = on_row, .warned = on_warning};
    const pt_run_options options = {.resume = resume};
    pt_text dir = pt_textf("output.dir=%s", folder);
    pt_text on_error = pt_textf("output.on_save_error=%s", on_save_error);
    pt_config *config =
        pt_toy_config(resume_text().s, dir.s, on_error.s, "output.checkpoint_every=4",
                      "output.best=true", "train.evaluate_every=6", "parallel.threads=2",
                      "optimizer.learning_rate=0.05", (const char *)NULL);
    pt_status status = pt_run(config, &options, &listener, err);
    pt_config_free(config);
    return status;
}

/* Checks that two run folders hold the same results. */
static void check_same(const char *a, const char *b, const char *when) {
    static const char *const files[] = {"model.safetensors", "metrics.csv", "losses.csv",
                                        "best.safetensors", "checkpoint-0000000020.safetensors"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        size_t size[2];
        char *bytes[2] = {pt_read_file(pt_path_in(a, files[i]), &size[0]),
                          pt_read_file(pt_path_in(b, files[i]), &size[1])};
        REQUIRE(bytes[0] && bytes[1]);
        CHECK_MSG(size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0, "%s: %s differs",
                  when, files[i]);
    }
}

TEST(resume, ends_as_a_run_in_one_go) {
    const char *whole = pt_path_in(pt_temp_folder(), "whole");
    const char *parts = pt_path_in(pt_temp_folder(), "parts");
    pt_error err = {0};
    witness w = {0};
    REQUIRE_OK(run_into(whole, "continue", false, &w, &err), err);
    for (int stop = 1; stop < w.rows; stop++) {
        witness first = {.stop_after_row = stop}, second = {0};
        REQUIRE(run_into(parts, "continue", false, &first, &err) == PT_ERR_INTERRUPTED);
        CHECK_CONTAINS(err.message, "stopped after iteration ");
        REQUIRE_OK(run_into(parts, "continue", true, &second, &err), err);
        CHECK_INT(first.warnings + second.warnings, 0);
        CHECK_INT(first.rows + second.rows, w.rows);
        check_same(whole, parts, "stopped");
    }
}

TEST(resume, of_a_finished_run_changes_nothing) {
    const char *whole = pt_path_in(pt_temp_folder(), "whole");
    const char *again = pt_path_in(pt_temp_folder(), "again");
    pt_error err = {0};
    witness w = {0};
    REQUIRE_OK(run_into(whole, "continue", false, &w, &err), err);
    REQUIRE_OK(run_into(again, "continue", false, &w, &err), err);
    REQUIRE_OK(run_into(again, "continue", true, &w, &err), err);
    check_same(whole, again, "resumed");
}

/* The model of the last evaluation, although the checkpoint it goes on from is newer. */
TEST(resume, of_a_run_that_diverges_ends_with_the_same_model) {
    pt_error err = {0};
    pt_text layers = pt_textf("[layer.fc]\ntype = affine\nunits = 8\ninit = normal(30)\n");
    pt_config *config =
        pt_toy_config(pt_toy_images_text(layers.s).s, "optimizer.learning_rate=1000",
                      "loss.type=mean_squared_error", "train.iterations=400",
                      "train.evaluate_every=100", "output.checkpoint_every=1", NULL);
    const char *model = pt_path_in(config->output.dir, "model.safetensors");
    size_t size[2];
    char *bytes[2];
    for (int resumed = 0; resumed < 2; resumed++) {
        const pt_run_options options = {.resume = resumed};
        const pt_run_listener none = {0};
        REQUIRE(pt_run(config, &options, &none, &err) == PT_ERR_DIVERGED);
        bytes[resumed] = pt_read_file(model, &size[resumed]);
        REQUIRE(bytes[resumed]);
    }
    CHECK(size[0] == size[1] && memcmp(bytes[0], bytes[1], size[0]) == 0);
    pt_safetensors *kept = NULL;
    REQUIRE_OK(pt_safetensors_read(model, &kept, &err), err);
    pt_checkpoint_file *newest = NULL;
    REQUIRE_OK(pt_checkpoint_newest(config->output.dir, NULL, NULL, &newest, &err), err);
    REQUIRE(newest);
    CHECK_STR(pt_safetensors_metadata(kept, "iteration"), "1");
    CHECK(newest->checkpoint.step > 1);
    pt_checkpoint_free(newest);
    pt_safetensors_free(kept);
    pt_config_free(config);
}

TEST(resume, refuses_a_checkpoint_beyond_the_end) {
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    pt_error err = {0};
    witness w = {0};
    REQUIRE_OK(run_into(folder, "continue", false, &w, &err), err);
    pt_checkpoint_file *file = NULL;
    REQUIRE_OK(pt_checkpoint_newest(folder, NULL, NULL, &file, &err), err);
    for (int i = 0; i < 2; i++) {
        pt_checkpoint wrong = file->checkpoint;
        *(i ? &wrong.last_row : &wrong.step) = 21;
        char *path = pt_checkpoint_path(folder, wrong.step);
        REQUIRE_OK(pt_checkpoint_write(path, &wrong, &err), err);
        CHECK(run_into(folder, "continue", true, &w, &err) == (i ? PT_ERR_DATA : PT_ERR_USAGE));
        CHECK_CONTAINS(err.message,
                       i ? "claims iteration 20 and the row of 21"
                         : "train.iterations = 20, but its newest checkpoint is of iteration 21");
        if (i == 0)
            remove(path);
        pt_free(path);
    }
    pt_checkpoint_free(file);
}

/* It fails, or warns, but costs nobody the model; and then the run is not called finished. */
TEST(resume, a_last_checkpoint_that_cannot_be_saved) {
    pt_error err = {0};
    const char *whole = pt_path_in(pt_temp_folder(), "whole");
    witness all = {0};
    REQUIRE_OK(run_into(whole, "continue", false, &all, &err), err);
    for (int stop = 0; stop < 2; stop++) {
        const char *folder = pt_path_in(pt_temp_folder(), stop ? "stopping" : "going-on");
        witness w = {.block = pt_path_in(folder, "checkpoint-0000000020.safetensors")};
        const pt_status status = run_into(folder, stop ? "stop" : "continue", false, &w, &err);
        CHECK_INT(status, stop ? PT_ERR_IO : PT_OK);
        CHECK_CONTAINS(stop ? err.message : w.warning, "checkpoint-0000000020.safetensors: ");
        CHECK_CONTAINS(pt_read_file(pt_path_in(folder, "summary.json"), NULL),
                       "\"all_saved\": false");
        CHECK_STR(pt_read_file(pt_path_in(folder, "losses.csv"), NULL),
                  pt_read_file(pt_path_in(whole, "losses.csv"), NULL));
        CHECK(pt_file_exists(pt_path_in(folder, "model.safetensors")));
        REQUIRE(rmdir(w.block) == 0);
        w = (witness){0};
        REQUIRE_OK(run_into(folder, "continue", true, &w, &err), err);
        check_same(whole, folder, "once it can be saved");
    }
}

TEST(resume, a_finished_run_is_left_alone) {
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    pt_error err = {0};
    witness w = {0};
    REQUIRE_OK(run_into(folder, "continue", false, &w, &err), err);
    const char *summary = pt_read_file(pt_path_in(folder, "summary.json"), NULL);
    w = (witness){0};
    REQUIRE_OK(run_into(folder, "continue", true, &w, &err), err);
    CHECK_CONTAINS(w.warning, "holds this run, finished: nothing to do");
    CHECK_INT(w.rows, 0);
    CHECK_STR(pt_read_file(pt_path_in(folder, "summary.json"), NULL), summary);
    /* without its model it is not */
    remove(pt_path_in(folder, "model.safetensors"));
    w = (witness){0};
    REQUIRE_OK(run_into(folder, "continue", true, &w, &err), err);
    CHECK(w.warnings == 0 && pt_file_exists(pt_path_in(folder, "model.safetensors")));
    /* anew, that is the same again; the old summary vouches for nothing meanwhile */
    w = (witness){.absent = pt_path_in(folder, "summary.json")};
    REQUIRE_OK(run_into(folder, "continue", false, &w, &err), err);
    CHECK(w.rows > 0);
    const char *config = pt_read_file(pt_path_in(folder, "config.ini"), NULL);
    const char *model = pt_path_in(folder, "checkpoint-0000000020.safetensors");
    remove(model); /* nor does it need its checkpoints */
    w = (witness){0};
    REQUIRE_OK(run_into(folder, "stop", true, &w, &err), err);
    CHECK_CONTAINS(w.warning, "nothing to do");
    CHECK_STR(pt_read_file(pt_path_in(folder, "config.ini"), NULL), config);
}

/* Told from the data by one label that has changed. */
TEST(resume, other_data_are_refused) {
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    pt_error err = {0};
    witness w = {.stop_after_row = 2};
    REQUIRE(run_into(folder, "continue", false, &w, &err) == PT_ERR_INTERRUPTED);
    const char *labels = pt_path_in(pt_temp_folder(), "train-labels");
    size_t size;
    char *bytes = pt_read_file(labels, &size);
    REQUIRE(bytes);
    bytes[size - 1] ^= 1;
    pt_write_file(labels, bytes, size);
    w = (witness){0};
    CHECK(run_into(folder, "continue", true, &w, &err) == PT_ERR_USAGE);
    CHECK_CONTAINS(err.message, "is of a training on other data");
    bytes[size - 1] ^= 1;
    pt_write_file(labels, bytes, size);
    REQUIRE_OK(run_into(folder, "continue", true, &w, &err), err);
}

/* To begin anew would remove its checkpoints. */
TEST(resume, an_unfinished_run_is_not_begun_anew) {
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    pt_error err = {0};
    witness w = {.stop_after_row = 2};
    REQUIRE(run_into(folder, "continue", false, &w, &err) == PT_ERR_INTERRUPTED);
    w = (witness){0};
    CHECK(run_into(folder, "continue", false, &w, &err) == PT_ERR_USAGE);
    CHECK_CONTAINS(err.message, "holds this run unfinished, with a checkpoint of iteration ");
    CHECK_CONTAINS(err.message, "--resume");
    REQUIRE_OK(run_into(folder, "continue", true, &w, &err), err);
}

/* Not damage, and nothing of it is lost. */
TEST(resume, refuses_a_checkpoint_of_another_version) {
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    pt_error err = {0};
    witness w = {0};
    REQUIRE_OK(run_into(folder, "continue", false, &w, &err), err);
    char *path = pt_checkpoint_path(folder, 20);
    size_t size;
    char *bytes = pt_read_file(path, &size);
    REQUIRE(bytes);
    char *format = memmem(bytes, size, "ptrain-checkpoint-3", 19);
    char *checksum = memmem(bytes, size, "\"checksum\"", 10);
    char *writer = memmem(bytes, size, "\"writer\":\"ptrain\"", 17);
    REQUIRE(format && checksum && writer);
    format[18] = '1';
    memcpy(checksum, "\"checkSum\"", 10); /* a file of ours without one is refused, so: not ours */
    memcpy(writer, "\"writer\":\"pTrain\"", 17);
    pt_write_file(path, bytes, size);
    CHECK(run_into(folder, "continue", true, &w, &err) == PT_ERR_USAGE);
    CHECK_CONTAINS(err.message,
                   "was written by another version of ptrain (this one reads ptrain-checkpoint-3)");
    CHECK(pt_file_exists(path));
    pt_free(path);
}

/* Every call that changes a file fails once; the run says so, and nothing is lost for good. */
TEST(resume, heals_every_failing_write) {
    const char *whole = pt_path_in(pt_temp_folder(), "whole");
    pt_error err = {0};
    witness w = {0};
    pt_io_fail_at(0, 0, false);
    REQUIRE_OK(run_into(whole, "continue", false, &w, &err), err);
    const long calls = pt_io_count(), step = pt_test_quick() ? 7 : 1;
    for (long n = 1; n <= calls; n += step) {
        const bool stop = n % 2;
        const char *folder = pt_path_in(pt_temp_folder(), pt_textf("failing-%ld", n).s);
        witness failing = {0}, healed = {0};
        pt_io_fail_at(n, ENOSPC, false);
        pt_status status = run_into(folder, stop ? "stop" : "continue", false, &failing, &err);
        pt_io_fail_at(0, 0, false);
        CHECK_MSG(status == PT_OK || status == PT_ERR_IO, "call %ld: %s", n, err.message);
        CHECK_CONTAINS(status == PT_OK ? pt_textf("%s No space left", failing.warning).s
                                       : err.message,
                       "No space left");
        REQUIRE_OK(run_into(folder, "continue", true, &healed, &err), err);
        check_same(whole, folder, pt_textf("call %ld", n).s);
    }
}

/* Or done without, and then the run is the same. */
TEST(resume, every_failing_allocation_is_told) {
    const char *whole = pt_path_in(pt_temp_folder(), "whole");
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    pt_error err = {0};
    witness w = {.stop_after_row = 2};
    REQUIRE(run_into(folder, "continue", false, &w, &err) == PT_ERR_INTERRUPTED);
    w = (witness){0};
    REQUIRE_OK(run_into(whole, "continue", false, &w, &err), err);
    pt_text dir = pt_textf("output.dir=%s", folder);
    pt_config *config =
        pt_toy_config(resume_text().s, dir.s, "output.checkpoint_every=4", "output.best=true",
                      "train.evaluate_every=6", "parallel.threads=2",
                      "optimizer.learning_rate=0.05", (const char *)NULL);
    const pt_run_listener listener = {0};
    const pt_run_options options = {.resume = true};
    const char *start = pt_path_in(pt_temp_folder(), "start");
    REQUIRE(pt_run_shell("cp -a %s %s", folder, start).status == 0);
    const long step = pt_test_quick() ? 11 : 1;
    long n = 1, done_without = 0;
    for (bool failed = true; failed; n += step) {
        pt_memory_fail_at(n, 0);
        const pt_status status = pt_run(config, &options, &listener, &err);
        failed = pt_memory_count() >= n;
        pt_memory_fail_at(0, 0);
        CHECK_MSG(status == PT_OK || status == PT_ERR_MEMORY, "allocation %ld: %s", n, err.message);
        CHECK_MSG(failed || status == PT_OK, "without a failure: %s", err.message);
        if (failed && status == PT_OK) {
            done_without++;
            check_same(whole, folder, "without some memory");
            REQUIRE(pt_run_shell("rm -rf %s && cp -a %s %s", folder, start, folder).status == 0);
        }
    }
    CHECK(n > 100);
    CHECK(done_without > 0 || step > 1);
    pt_config_free(config);
    witness last = {0};
    REQUIRE_OK(run_into(folder, "continue", true, &last, &err), err);
    check_same(whole, folder, "after failing allocations");
}
