/* test_run_folder.c: a run's folder is taken over only by the same run. */
#include "toys.h"

#include "0_base/memory.h"
#include "1_config/config.h"
#include "5_results/io.h"
#include "5_results/run_folder.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static const char TEXT[] = "[data]\ndataset = none\n"
                           "[layer.fc]\ntype = affine\nunits = 2\ninit = constant(1)\n"
                           "[loss]\ntype = mean_squared_error\n"
                           "[train]\nseed = 1\n";

static pt_config *config_with(const char *override) {
    pt_config *config = NULL;
    pt_error err;
    const char *const overrides[] = {override};
    REQUIRE_OK(pt_config_parse(TEXT, "test", overrides, override ? 1 : 0, &config, &err), err);
    return config;
}

/* Opens the folder with one more setting. */
static pt_status open_as(const char *folder, const pt_config *config, pt_run_start start,
                         pt_error *err) {
    int lock;
    bool finished;
    pt_status status = pt_run_folder_lock(folder, &lock, err);
    if (status == PT_OK)
        status = pt_run_folder_open(folder, config, start, &finished, err);
    close(lock);
    return status;
}

static pt_status open_with(const char *folder, const char *override, pt_error *err) {
    pt_config *config = config_with(override);
    pt_status status = open_as(folder, config, PT_START_ANEW, err);
    pt_config_free(config);
    return status;
}

TEST(run_folder, one_at_a_time) {
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    pt_error err;
    int first = -1, second = -1;
    REQUIRE_OK(pt_run_folder_lock(folder, &first, &err), err);
    CHECK(pt_run_folder_lock(folder, &second, &err) == PT_ERR_IO && second == -1);
    CHECK_CONTAINS(err.message, "another ptrain is at work in this folder");
    close(first);
    REQUIRE_OK(pt_run_folder_lock(folder, &second, &err), err);
    close(second);
}

/* Somebody's config in the very folder that the run goes to. */
TEST(run_folder, leaves_the_config_that_was_read_alone) {
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "config.ini");
    pt_error err;
    pt_text text = pt_textf("; dear to me\n%s", TEXT);
    pt_write_text(path, text.s);
    pt_config *config = NULL;
    REQUIRE_OK(pt_config_load(path, NULL, 0, &config, &err), err);
    REQUIRE_OK(open_as(folder, config, PT_START_ANEW, &err), err);
    CHECK_STR(pt_read_file(path, NULL), text.s);
    config->train.iterations++; /* and does not become untrue */
    CHECK(open_as(folder, config, PT_START_FROM_CHECKPOINT, &err) == PT_ERR_USAGE);
    CHECK_CONTAINS(err.message, "instead of overriding it");
    pt_config_free(config);
}

TEST(run_folder, is_made_and_taken_over_by_the_same_run) {
    const char *folder = pt_path_in(pt_temp_folder(), "runs/one");
    const char *path = pt_path_in(folder, "config.ini");
    pt_error err;
    REQUIRE_OK(open_with(folder, NULL, &err), err);
    CHECK_CONTAINS(pt_read_file(path, NULL), "seed = 1\n");
    REQUIRE_OK(open_with(folder, NULL, &err), err);
    /* What never changes a number may differ, and is then written anew. */
    REQUIRE_OK(open_with(folder, "parallel.threads=7", &err), err);
    CHECK_CONTAINS(pt_read_file(path, NULL), "threads = 7\n");
    REQUIRE_OK(open_with(folder, "output.dir=elsewhere", &err), err);
    /* Leftovers of a killed process go. */
    char leftover[64];
    snprintf(leftover, sizeof leftover, "config.ini.tmp-%ld", (long)getpid());
    pt_write_text(pt_path_in(folder, leftover), "[da");
    REQUIRE_OK(open_with(folder, NULL, &err), err);
    CHECK(!pt_file_exists(pt_path_in(folder, leftover)));
}

TEST(run_folder, of_another_run_is_refused) {
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    const char *path = pt_path_in(folder, "config.ini");
    pt_error err;
    REQUIRE_OK(open_with(folder, NULL, &err), err);
    const char *before = pt_read_file(path, NULL);
    CHECK(open_with(folder, "train.seed=2", &err) == PT_ERR_USAGE);
    CHECK_CONTAINS(err.message, folder);
    CHECK_CONTAINS(err.message, "train.seed is 1 and 2");
    CHECK_CONTAINS(err.message, "--out");
    CHECK(open_with(folder, "layer.fc.units=3", &err) == PT_ERR_USAGE);
    CHECK_CONTAINS(err.message, "units");
    CHECK(open_with(folder, "parallel.shards=3", &err) == PT_ERR_USAGE);
    CHECK_STR(pt_read_file(path, NULL), before);
    pt_write_text(path, "[data]\nnonsense = 1\n");
    CHECK(open_with(folder, NULL, &err) == PT_ERR_USAGE);
    CHECK_CONTAINS(err.message, "cannot be read");
    CHECK_CONTAINS(err.message, "config.ini:2");
}

TEST(run_folder, with_a_model_of_unknown_origin_is_refused) {
    const char *folder = pt_temp_folder();
    pt_error err;
    pt_write_text(pt_path_in(folder, "model.safetensors"), "somebody's");
    CHECK(open_with(folder, NULL, &err) == PT_ERR_USAGE);
    CHECK_CONTAINS(err.message, "model.safetensors but no config.ini");
    CHECK(!pt_file_exists(pt_path_in(folder, "config.ini")));
    CHECK_STR(pt_read_file(pt_path_in(folder, "model.safetensors"), NULL), "somebody's");
    remove(pt_path_in(folder, "model.safetensors"));
    static const char *const others[] = {"losses.csv", "metrics.csv", "summary.json",
                                         "best.safetensors", "checkpoint-0000000007.safetensors"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        pt_write_text(pt_path_in(folder, others[i]), "somebody's");
        CHECK(open_with(folder, NULL, &err) == PT_ERR_USAGE);
        CHECK_CONTAINS(err.message, "but no config.ini");
        CHECK_STR(pt_read_file(pt_path_in(folder, others[i]), NULL), "somebody's");
        remove(pt_path_in(folder, others[i]));
    }
}

TEST(run_folder, every_failure_is_told) {
    const char *folder = pt_temp_folder();
    pt_error err;
    pt_write_text(pt_path_in(folder, "file"), "");
    CHECK(open_with(pt_path_in(folder, "file/run"), NULL, &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "file: cannot make the folder");

    folder = pt_path_in(folder, "run");
    pt_io_fail_at(1, ENOSPC, true);
    CHECK(open_with(folder, NULL, &err) == PT_ERR_IO);
    pt_io_fail_at(0, 0, false);
    CHECK_CONTAINS(err.message, "run: cannot make the folder: fsync: No space left on device");
    for (long n = 1; n <= 5; n++) {
        pt_io_fail_at(n, ENOSPC, true);
        CHECK(open_with(folder, NULL, &err) == PT_ERR_IO);
        pt_io_fail_at(0, 0, false);
        CHECK_CONTAINS(err.message, "config.ini: cannot ");
        CHECK_CONTAINS(err.message, "No space left on device");
        CHECK(!pt_file_exists(pt_path_in(folder, "config.ini")));
    }
    for (int there = 0; there < 2; there++) { /* a new folder, and one to compare with */
        pt_config *config = config_with(NULL);
        pt_status status = PT_ERR_MEMORY;
        long n = 0;
        while (status == PT_ERR_MEMORY && n < 10000) {
            pt_memory_fail_at(++n, 0);
            status = open_as(folder, config, PT_START_ANEW, &err);
            pt_memory_fail_at(0, 0);
        }
        pt_config_free(config);
        CHECK_MSG(status == PT_OK, "allocation %ld: %s", n, err.message);
        CHECK(n > 5);
    }
}
