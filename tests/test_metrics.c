/* test_metrics.c: metrics.csv, losses.csv and summary.json. */
#include "harness.h"

#include "0_base/memory.h"
#include "5_results/io.h"
#include "5_results/metrics.h"

#include <errno.h>
#include <jansson.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *csv(const char *name) {
    return pt_path_in(pt_temp_folder(), name);
}

static const char *text_of(const char *name) {
    return pt_read_file(csv(name), NULL);
}

/* A run of iterations first .. last: loss 1 / iteration, an evaluation every three iterations. Ends
 * with the first iteration in which something failed. */
static pt_status run(pt_metrics *metrics, uint64_t first, uint64_t last, pt_error *err) {
    pt_status status = PT_OK;
    for (uint64_t i = first; i <= last && status == PT_OK; i++) {
        double loss = 1 / (double)i;
        status = pt_metrics_losses(metrics, i, &loss, 1, err);
        if (status == PT_ERR_MEMORY || i % 3 != 0)
            continue;
        pt_metrics_row row = {.epoch = i / 3,
                              .iteration = i,
                              .loss = loss,
                              .has_train = true,
                              .has_test = i % 2 == 0,
                              .train_accuracy = 0.25,
                              .test_accuracy = 1};
        pt_status epoch = pt_metrics_epoch(metrics, &row, status == PT_OK ? err : NULL);
        status = status == PT_OK ? epoch : status;
    }
    return status;
}

static const char LOSSES_7[] = "iteration,loss\n1,1\n2,0.5\n3,0.3333333333333333\n4,0.25\n5,0.2\n"
                               "6,0.16666666666666666\n7,0.14285714285714285\n";
static const char METRICS_7[] = "epoch,iteration,loss,train_accuracy,test_accuracy\n"
                                "1,3,0.3333333333333333,0.25,\n2,6,0.16666666666666666,0.25,1\n";

static void run_whole(uint64_t keep, uint64_t last) {
    pt_error err;
    pt_metrics *metrics = NULL;
    REQUIRE_OK(pt_metrics_open(pt_temp_folder(), keep, keep / 3 * 3, &metrics, &err), err);
    REQUIRE_OK(run(metrics, keep + 1, last, &err), err);
    REQUIRE_OK(pt_metrics_close(metrics, &err), err);
}

TEST(metrics, the_bytes) {
    run_whole(0, 7);
    CHECK_STR(text_of("losses.csv"), LOSSES_7);
    CHECK_STR(text_of("metrics.csv"), METRICS_7);
    run_whole(0, 7); /* anew, not appended */
    CHECK_STR(text_of("losses.csv"), LOSSES_7);
    CHECK_STR(text_of("metrics.csv"), METRICS_7);
    CHECK_INT(pt_metrics_close(NULL, NULL), PT_OK);
}

TEST(metrics, the_bytes_in_a_comma_locale) {
    if (!setlocale(LC_ALL, "de_DE.UTF-8"))
        fprintf(stderr, "skipped in part: no locale de_DE.UTF-8\n");
    run_whole(0, 7);
    setlocale(LC_ALL, "C");
    CHECK_STR(text_of("losses.csv"), LOSSES_7);
    CHECK_STR(text_of("metrics.csv"), METRICS_7);
}

TEST(metrics, odd_numbers_and_many_at_once) {
    const double losses[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, -0.0, 5e-324, 1e300};
    pt_error err;
    pt_metrics *metrics = NULL;
    REQUIRE_OK(pt_metrics_open(pt_temp_folder(), 0, 0, &metrics, &err), err);
    REQUIRE_OK(pt_metrics_losses(metrics, 1, losses, 6, &err), err);
    CHECK(pt_metrics_losses(metrics, 6, losses, 1, &err) == PT_ERR_USAGE); /* a row twice */
    CHECK_CONTAINS(err.message, "losses.csv: losses of iteration 6 do not follow 6");
    CHECK(pt_metrics_losses(metrics, 8, losses, 1, &err) == PT_ERR_USAGE); /* a gap */
    pt_metrics_row row = {.epoch = UINT64_MAX, .iteration = UINT64_MAX, .loss = -1.0 / 3e-300};
    row.has_train = row.has_test = true;
    row.train_accuracy = row.test_accuracy = -1.2345678901234567e-300;
    REQUIRE_OK(pt_metrics_epoch(metrics, &row, &err), err);
    CHECK(pt_metrics_epoch(metrics, &row, &err) == PT_ERR_USAGE);
    REQUIRE_OK(pt_metrics_close(metrics, &err), err);
    CHECK_STR(text_of("losses.csv"),
              "iteration,loss\n1,nan\n2,inf\n3,-inf\n4,-0\n5,5e-324\n6,1e300\n");
}

TEST(metrics, buffered_rows_leave_whole) {
    pt_error err;
    pt_metrics *metrics = NULL;
    REQUIRE_OK(pt_metrics_open(pt_temp_folder(), 0, 0, &metrics, &err), err);
    pt_io_fail_at(0, 0, false);
    REQUIRE_OK(run(metrics, 1, 20000, &err), err);
    /* Nothing was flushed by us, so the file lags behind, and ends with a whole row. */
    long writes = pt_io_count();
    CHECK_MSG(writes >= 7 && writes <= 14, "%ld writes for about 500 KB", writes);
    size_t size;
    const char *bytes = pt_read_file(csv("losses.csv"), &size);
    CHECK(size > 300000 && bytes[size - 1] == '\n');
    REQUIRE_OK(pt_metrics_flush(metrics, &err), err);
    REQUIRE_OK(pt_metrics_sync(metrics, &err), err);
    CHECK_CONTAINS(text_of("losses.csv"), "\n20000,0.00005\n");
    CHECK_CONTAINS(text_of("metrics.csv"), "\n6666,19998,");
    REQUIRE_OK(pt_metrics_close(metrics, &err), err);
}

TEST(metrics, a_resumed_run_ends_as_one_in_one_go) {
    for (uint64_t keep = 1; keep <= 7; keep++)
        for (uint64_t reached = keep; reached <= 9; reached++) {
            run_whole(0, reached); /* went further than the checkpoint it is resumed from */
            run_whole(keep, 7);
            CHECK_STR(text_of("losses.csv"), LOSSES_7);
            CHECK_STR(text_of("metrics.csv"), METRICS_7);
        }
    /* A run of 7 iterations evaluates at its end; one of 9 that goes on from it does not there. */
    pt_error err;
    pt_metrics *metrics = NULL;
    run_whole(0, 7);
    REQUIRE_OK(pt_metrics_open(pt_temp_folder(), 7, 3, &metrics, &err), err);
    REQUIRE_OK(pt_metrics_close(metrics, &err), err);
    CHECK_STR(text_of("losses.csv"), LOSSES_7);
    CHECK(strlen(text_of("metrics.csv")) == (size_t)(strstr(METRICS_7, "2,6") - METRICS_7));
    size_t kept = (size_t)(strstr(LOSSES_7, "\n6,") + 1 - LOSSES_7);
    /* A power failure may leave anything behind what was synced. */
    static const char rest[] = "\0\0\0\n6,0.1,,\n\xff\n";
    char damaged[sizeof LOSSES_7 + sizeof rest];
    memcpy(damaged, LOSSES_7, kept);
    memcpy(damaged + kept, rest, sizeof rest);
    pt_write_file(csv("losses.csv"), damaged, kept + sizeof rest);
    pt_write_text(csv("metrics.csv"), METRICS_7);
    run_whole(5, 7);
    CHECK_STR(text_of("losses.csv"), LOSSES_7);
    CHECK_STR(text_of("metrics.csv"), METRICS_7);
    /* Killed while it wrote: cut anywhere behind row 5. */
    for (size_t size = kept; size < sizeof LOSSES_7; size++) {
        pt_write_file(csv("losses.csv"), LOSSES_7, size);
        pt_write_text(csv("metrics.csv"), METRICS_7);
        run_whole(5, 7);
        CHECK_STR(text_of("losses.csv"), LOSSES_7);
        CHECK_STR(text_of("metrics.csv"), METRICS_7);
    }
}

TEST(metrics, damaged_records_are_refused) {
    static const struct {
        const char *losses, *metrics; /* NULL: as they should be */
        const char *reason;
    } bad[] = {
        {"iteration,loss\n1,1\n2,0.5\n", NULL, "losses.csv:3: ends at iteration 2, wanted are 3"},
        {"iteration,loss\n1,1\n2,0.5\n3,0.", NULL, "losses.csv:4: damaged row"},
        {"iteration,loss\n1,1\n3,0.5\n", NULL, "losses.csv:3: the iterations are out of order"},
        {"iteration,loss\n1,1\n1,1\n", NULL, "losses.csv:3: the iterations are out of order"},
        {"iteration,loss\n1,1\n\n2,1\n", NULL, "losses.csv:3: damaged row"},
        {"iteration,loss\n1,1\n2,1,1\n3,1\n", NULL, "losses.csv:3: damaged row"},
        {"iteration,loss\nx,1\n", NULL, "losses.csv:2: damaged row"},
        {"iteration,loss\n-1,1\n", NULL, "losses.csv:2: damaged row"},
        {"iteration,loss\n99999999999999999999999999,1\n", NULL, "losses.csv:2: damaged row"},
        {"loss\n", NULL, "losses.csv:1: not the heading"},
        {"", NULL, "losses.csv:1: not the heading"},
        {NULL, "", "metrics.csv:1: not the heading"},
        {NULL, "epoch,iteration,loss,train_accuracy,test_accuracy\n",
         "metrics.csv:1: ends at iteration 0, wanted are 3"},
        {NULL, "epoch,iteration,loss,train_accuracy,test_accuracy\n0,1,1,,\n1,3,",
         "metrics.csv:3: damaged row"},
        {NULL, "epoch,iteration,loss,train_accuracy,test_accuracy\n1,2,3\n",
         "metrics.csv:2: damaged"},
        {NULL, "epoch,iteration,loss,train_accuracy,test_accuracy\n1,2,1,,\n1,2,1,,\n",
         "metrics.csv:3: the iterations are out of order"},
    };
    pt_error err;
    pt_metrics *metrics = NULL;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *losses = bad[i].losses ? bad[i].losses : LOSSES_7;
        pt_write_text(csv("losses.csv"), losses);
        pt_write_text(csv("metrics.csv"), bad[i].metrics ? bad[i].metrics : METRICS_7);
        CHECK(pt_metrics_open(pt_temp_folder(), 3, 3, &metrics, &err) == PT_ERR_DATA && !metrics);
        CHECK_CONTAINS(err.message, bad[i].reason);
        CHECK_STR(text_of("losses.csv"), losses); /* the evidence stays */
    }
    char row[400];
    memset(row, '1', sizeof row - 1);
    row[sizeof row - 1] = '\0';
    memcpy(row, "iteration,loss\n", 15);
    pt_write_text(csv("metrics.csv"), METRICS_7);
    pt_write_text(csv("losses.csv"), row);
    CHECK(pt_metrics_open(pt_temp_folder(), 3, 3, &metrics, &err) == PT_ERR_DATA);
    unlink(csv("losses.csv"));
    CHECK(pt_metrics_open(pt_temp_folder(), 3, 3, &metrics, &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "losses.csv: cannot read: No such file");
    CHECK(pt_metrics_open("/proc/none", 0, 0, &metrics, &err) == PT_ERR_IO);
}

/* A disk that is full for a while: told, no half row, and no gap once there is room again. */
TEST(metrics, a_disk_full_for_a_while) {
    pt_error err;
    run_whole(0, 20000);
    size_t size;
    const char *whole = pt_read_file(csv("losses.csv"), &size);
    pt_metrics *metrics = NULL;
    REQUIRE_OK(pt_metrics_open(pt_temp_folder(), 0, 0, &metrics, &err), err);
    REQUIRE_OK(run(metrics, 1, 100, &err), err);
    REQUIRE_OK(pt_metrics_flush(metrics, &err), err);
    const char *before = text_of("losses.csv");
    pt_io_fail_at(1, ENOSPC, true);
    int told = 0;
    for (uint64_t i = 101; i <= 15000; i++) {
        pt_status status = run(metrics, i, i, &err);
        CHECK(status == PT_OK || status == PT_ERR_IO);
        told += status == PT_ERR_IO && strstr(err.message, ".csv: cannot write: No space");
    }
    CHECK(told >= 2);
    CHECK(pt_metrics_flush(metrics, &err) == PT_ERR_IO);
    CHECK_STR(text_of("losses.csv"), before);
    pt_io_fail_at(0, 0, false);
    REQUIRE_OK(run(metrics, 15001, 20000, &err), err);
    REQUIRE_OK(pt_metrics_close(metrics, &err), err);
    size_t again_size;
    const char *again = pt_read_file(csv("losses.csv"), &again_size);
    CHECK(again_size == size && memcmp(again, whole, size) == 0);

    REQUIRE_OK(pt_metrics_open(pt_temp_folder(), 0, 0, &metrics, &err), err);
    REQUIRE_OK(run(metrics, 1, 3, &err), err);
    pt_io_fail_at(1, ENOSPC, true);
    CHECK(pt_metrics_close(metrics, &err) == PT_ERR_IO);
    pt_io_fail_at(0, 0, false);
}

TEST(metrics, killed_at_every_call_resumes) {
    pt_error err;
    int killed = 0;
    for (long n = 1; n <= 40; n++) {
        run_whole(0, 4);
        pid_t child = fork();
        if (child == 0) { /* resumes from 4, flushing at every iteration */
            pt_metrics *metrics = NULL;
            pt_io_fail_at(n, PT_IO_KILL, false);
            bool ok = pt_metrics_open(pt_temp_folder(), 4, 3, &metrics, NULL) == PT_OK;
            for (uint64_t i = 5; ok && i <= 7; i++)
                ok = run(metrics, i, i, NULL) == PT_OK && pt_metrics_flush(metrics, NULL) == PT_OK;
            _exit(!ok || pt_metrics_close(metrics, NULL) != PT_OK);
        }
        int status = 0;
        REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
        killed += WIFSIGNALED(status);
        CHECK(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
        pt_metrics *metrics = NULL;
        REQUIRE_OK(pt_metrics_open(pt_temp_folder(), 4, 3, &metrics, &err), err);
        REQUIRE_OK(run(metrics, 5, 7, &err), err);
        REQUIRE_OK(pt_metrics_close(metrics, &err), err);
        CHECK_STR(text_of("losses.csv"), LOSSES_7);
        CHECK_STR(text_of("metrics.csv"), METRICS_7);
    }
    CHECK_MSG(killed >= 15 && killed < 40, "%d killed", killed);
}

TEST(metrics, every_failing_allocation_is_told) {
    pt_error err;
    run_whole(0, 7);
    pt_metrics *metrics = NULL;
    pt_status status = PT_ERR_MEMORY;
    long n = 0;
    while (status == PT_ERR_MEMORY && n < 100) {
        pt_memory_fail_at(++n, 0);
        status = pt_metrics_open(pt_temp_folder(), 5, 3, &metrics, &err);
        pt_memory_fail_at(0, 0);
        /* The files are as they were, or already cut to what is kept. */
        CHECK_CONTAINS(text_of("losses.csv"), "\n5,0.2\n");
    }
    CHECK_INT(status, PT_OK);
    CHECK(n > 8);
    REQUIRE_OK(pt_metrics_close(metrics, &err), err);

    /* The only allocation of a running record: the buffer that must grow while the disk is full. */
    REQUIRE_OK(pt_metrics_open(pt_temp_folder(), 0, 0, &metrics, &err), err);
    pt_io_fail_at(1, ENOSPC, true);
    pt_memory_fail_at(1, 1);
    uint64_t i = 0;
    do
        status = run(metrics, i + 1, i + 1, &err);
    while (status != PT_ERR_MEMORY && i++ < 20000);
    pt_memory_fail_at(0, 0);
    pt_io_fail_at(0, 0, false);
    CHECK_INT(status, PT_ERR_MEMORY);
    /* The row that was refused can be given again. */
    REQUIRE_OK(run(metrics, i + 1, i + 5, &err), err);
    REQUIRE_OK(pt_metrics_close(metrics, &err), err);
    run_whole(i + 5, i + 6);
}

static const pt_summary SUMMARY = {.train_loss = 0.1,
                                   .has_test = true,
                                   .test_accuracy = 0.9741,
                                   .evaluated_iteration = 9601,
                                   .iterations = UINT64_MAX,
                                   .samples = 1000000,
                                   .train_seconds = 1.5,
                                   .eval_seconds = (double)INFINITY,
                                   .total_seconds = (double)NAN,
                                   .samples_per_second = 1e6,
                                   .threads = 4,
                                   .isa = "avx2",
                                   .model_sha256 = NULL,
                                   .status = "finished \"\\\x01\n\xC3\xA9",
                                   .all_saved = true,
                                   .schedule = "\xFF",
                                   .shards = 8,
                                   .parameters = 39760,
                                   .batch_size = 100,
                                   .seed = 1,
                                   .version = "0.1.0"};

TEST(summary, the_bytes) {
    pt_error err;
    REQUIRE_OK(pt_summary_write(pt_temp_folder(), &SUMMARY, &err), err);
    CHECK_STR(text_of("summary.json"), "{\n"
                                       "  \"train_loss\": 0.1,\n"
                                       "  \"train_accuracy\": null,\n"
                                       "  \"test_accuracy\": 0.9741,\n"
                                       "  \"evaluated_iteration\": 9601,\n"
                                       "  \"iterations\": 18446744073709551615,\n"
                                       "  \"samples\": 1000000,\n"
                                       "  \"train_seconds\": 1.5,\n"
                                       "  \"eval_seconds\": null,\n"
                                       "  \"total_seconds\": null,\n"
                                       "  \"samples_per_second\": 1000000,\n"
                                       "  \"threads\": 4,\n"
                                       "  \"isa\": \"avx2\",\n"
                                       "  \"model_sha256\": null,\n"
                                       "  \"status\": \"finished \\\"\\\\\\u0001\\n\xC3\xA9\",\n"
                                       "  \"all_saved\": true,\n"
                                       "  \"schedule\": null,\n"
                                       "  \"shards\": 8,\n"
                                       "  \"parameters\": 39760,\n"
                                       "  \"batch_size\": 100,\n"
                                       "  \"seed\": 1,\n"
                                       "  \"version\": \"0.1.0\"\n"
                                       "}\n");
}

TEST(summary, a_json_library_reads_it) {
    pt_error err;
    pt_summary summary = SUMMARY;
    summary.iterations = 10000;
    REQUIRE_OK(pt_summary_write(pt_temp_folder(), &summary, &err), err);
    json_error_t why;
    json_t *tree = json_load_file(csv("summary.json"), JSON_REJECT_DUPLICATES, &why);
    if (CHECK_MSG(tree != NULL, "%s", why.text)) {
        CHECK_INT(json_object_size(tree), 21);
        CHECK(json_number_value(json_object_get(tree, "test_accuracy")) == 0.9741);
        CHECK_INT(json_integer_value(json_object_get(tree, "iterations")), 10000);
        CHECK_STR(json_string_value(json_object_get(tree, "status")), SUMMARY.status);
        CHECK(json_is_null(json_object_get(tree, "schedule")));
    }
    json_decref(tree);
}

TEST(summary, every_failure_is_told) {
    pt_error err;
    REQUIRE_OK(pt_summary_write(pt_temp_folder(), &SUMMARY, &err), err);
    const char *before = text_of("summary.json");
    pt_summary other = {.train_loss = 7};
    pt_status status = PT_ERR_MEMORY;
    for (long n = 1; status == PT_ERR_MEMORY && n < 100; n++) {
        CHECK_STR(text_of("summary.json"), before);
        pt_memory_fail_at(n, 0);
        status = pt_summary_write(pt_temp_folder(), &other, &err);
        pt_memory_fail_at(0, 0);
    }
    CHECK_INT(status, PT_OK);
    pt_io_fail_at(2, ENOSPC, false);
    CHECK(pt_summary_write(pt_temp_folder(), &SUMMARY, &err) == PT_ERR_IO);
    pt_io_fail_at(0, 0, false);
    CHECK_CONTAINS(err.message, "summary.json: cannot save: No space left");
    CHECK_CONTAINS(text_of("summary.json"), "\"train_loss\": 7,");
    CHECK(pt_summary_write("/proc/none", &SUMMARY, &err) == PT_ERR_IO);
}
