/* test_checkpoint.c: what a run saves is what it goes on from, or the save before. */
#include "harness.h"

#include "0_base/memory.h"
#include "5_results/atomic_file.h"
#include "5_results/checkpoint.h"
#include "5_results/io.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const float VALUES[] = {1, 2, 3, 4, 5, 6};
static const pt_tensor TENSORS[] = {
    {.name = (char *)(uintptr_t) "param.fc1.weight", .shape = {2, 3}, .rank = 2, .data = VALUES},
    {.name = (char *)(uintptr_t) "state.velocity.fc1.weight",
     .shape = {2, 2},
     .rank = 2,
     .data = VALUES,
     .stride = 3},
};

static pt_checkpoint checkpoint_of(uint64_t step) {
    return (pt_checkpoint){.step = step,
                           .epoch = step / 600,
                           .seed = UINT64_MAX,
                           .last_row = step - 1,
                           .loss_sum = 1.0 / 3,
                           .loss_count = 1,
                           .has_best = true,
                           .best_accuracy = -0.0,
                           .best_step = 1,
                           .config = "[train]\nseed = 1\n",
                           .tensors = TENSORS,
                           .tensor_count = 2};
}

static const char *path_of(uint64_t step) {
    char name[64];
    snprintf(name, sizeof name, "checkpoint-%010llu.safetensors", (unsigned long long)step);
    return pt_path_in(pt_temp_folder(), name);
}

static void save(uint64_t step, size_t keep) {
    pt_error err;
    pt_checkpoint c = checkpoint_of(step);
    REQUIRE_OK(pt_checkpoint_save(pt_temp_folder(), &c, keep, &err), err);
}

/* The steps in the folder as "3 2 1". */
static const char *listed(void) {
    static char text[256];
    pt_error err;
    uint64_t *steps;
    size_t count, used = 0;
    REQUIRE_OK(pt_checkpoint_list(pt_temp_folder(), &steps, &count, &err), err);
    text[0] = '\0';
    for (size_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%llu", i ? " " : "",
                                 (unsigned long long)steps[i]);
    pt_free(steps);
    return text;
}

/* Flips one bit in the middle of a file. */
static void damage(const char *path) {
    size_t size;
    char *bytes = pt_read_file(path, &size);
    bytes[size / 2] ^= 4;
    pt_write_file(path, bytes, size);
}

TEST(checkpoint, reads_back_to_the_last_bit) {
    pt_error err;
    pt_checkpoint_file *file = NULL;
    save(600, 1);
    REQUIRE_OK(pt_checkpoint_read(path_of(600), &file, &err), err);
    pt_checkpoint c = file->checkpoint, expected = checkpoint_of(600);
    CHECK(memcmp(&c, &expected, offsetof(pt_checkpoint, has_best)) == 0);
    CHECK(memcmp(&c.best_accuracy, &expected.best_accuracy, 16) == 0);
    CHECK(c.has_best);
    CHECK_STR(c.config, expected.config);
    CHECK_INT(c.tensor_count, 2);
    const pt_tensor *state = pt_safetensors_find(file->file, "state.velocity.fc1.weight");
    REQUIRE(state);
    static const float packed[] = {1, 2, 4, 5};
    CHECK(memcmp(state->data, packed, sizeof packed) == 0);
    pt_checkpoint_free(file);
    pt_checkpoint_free(NULL);
}

TEST(checkpoint, keeps_the_newest) {
    const char *folder = pt_temp_folder();
    static const char *const others[] = {"checkpoint-1.safetensors",
                                         "checkpoint-00000000001.safetensors",
                                         "checkpoint-000000000x.safetensors",
                                         "checkpoint-.safetensors",
                                         "checkpoint-0000000001.safetensors2",
                                         "best.safetensors",
                                         "checkpoint-99999999999999999999.safetensors"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        pt_write_text(pt_path_in(folder, others[i]), "");
    for (uint64_t step = 8; step <= 11; step++)
        save(step, 2);
    save(12345678901234, 3); /* more than ten digits */
    CHECK_STR(listed(), "12345678901234 11 10");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        CHECK(pt_file_exists(pt_path_in(folder, others[i])));
    pt_error err;
    REQUIRE_OK(pt_checkpoint_discard_after(folder, 10, &err), err);
    CHECK_STR(listed(), "10");
    REQUIRE_OK(pt_checkpoint_discard_after(folder, UINT64_MAX, &err), err);
    save(11, 0); /* at least one stays */
    CHECK_STR(listed(), "11");
    REQUIRE_OK(pt_checkpoint_discard_after(folder, 0, &err), err);
    CHECK_STR(listed(), "");
    pt_checkpoint c = checkpoint_of(3);
    REQUIRE_OK(pt_checkpoint_save_best(folder, &c, &err), err);
    pt_checkpoint_file *file = NULL;
    REQUIRE_OK(pt_checkpoint_read(pt_path_in(folder, "best.safetensors"), &file, &err), err);
    CHECK_INT(file->checkpoint.step, 3);
    pt_checkpoint_free(file);
    CHECK_STR(listed(), "");
}

typedef struct told {
    int count;
    char last[PT_ERROR_MESSAGE_SIZE];
} told;

static void note(void *context, const char *message) {
    told *t = context;
    t->count++;
    snprintf(t->last, sizeof t->last, "%s", message);
}

/* The step of the newest good one, -1: none; `*t` what was told. */
static long newest(told *t) {
    pt_error err;
    pt_checkpoint_file *file = NULL;
    *t = (told){0};
    REQUIRE_OK(pt_checkpoint_newest(pt_temp_folder(), note, t, &file, &err), err);
    long step = file ? (long)file->checkpoint.step : -1;
    pt_checkpoint_free(file);
    return step;
}

TEST(checkpoint, a_damaged_one_is_named_and_the_one_before_used) {
    told t;
    pt_error err;
    pt_checkpoint_file *file = NULL;
    CHECK_INT(newest(&t), -1);
    CHECK_INT(t.count, 0);
    REQUIRE_OK(pt_checkpoint_newest("/proc/none", NULL, NULL, &file, &err), err);
    CHECK(!file);
    for (uint64_t step = 1; step <= 4; step++)
        save(step, 9);
    CHECK_INT(newest(&t), 4);
    CHECK_INT(t.count, 0);
    damage(path_of(4));
    CHECK_INT(newest(&t), 3);
    CHECK_INT(t.count, 1);
    CHECK_CONTAINS(t.last, path_of(4));
    pt_write_text(path_of(3), "");
    CHECK_INT(newest(&t), 2);
    CHECK_INT(t.count, 2);
    REQUIRE(rename(path_of(1), path_of(2)) == 0); /* whole, but of another step */
    CHECK_INT(newest(&t), -1);
    CHECK_INT(t.count, 3);
    CHECK_CONTAINS(t.last, "is of step 1, which its name is not");
    REQUIRE_OK(pt_checkpoint_newest(pt_temp_folder(), NULL, NULL, &file, &err), err);
    CHECK(!file);
}

/* It may be whole: to pass it over would be to lose it. */
TEST(checkpoint, one_that_cannot_be_read_is_no_damaged_one) {
    told t = {0};
    pt_error err = {0};
    save(3, 9);
    REQUIRE(mkdir(path_of(4), 0777) == 0); /* reading it fails, for root as well */
    pt_checkpoint_file *file = NULL;
    CHECK(pt_checkpoint_newest(pt_temp_folder(), note, &t, &file, &err) == PT_ERR_IO && !file);
    CHECK_CONTAINS(err.message, "checkpoint-0000000004.safetensors: ");
    CHECK_INT(t.count, 0);
}

TEST(checkpoint, what_lacks_something_is_refused) {
    static const char *const keys[] = {"step",     "epoch",         "seed",      "last_row",
                                       "loss_sum", "best_accuracy", "best_step", "format",
                                       "data",     "loss_count",    "has_best",  "config"};
    enum { KEYS = sizeof keys / sizeof *keys };
    const char *path = pt_path_in(pt_temp_folder(), "file");
    pt_error err;
    pt_checkpoint_file *file = NULL;
    for (size_t missing = 0; missing < KEYS; missing++)
        for (int wrong = 0; wrong < 2; wrong++) {
            pt_metadata metadata[KEYS];
            size_t count = 0;
            for (size_t i = 0; i < KEYS; i++) {
                const char *value = strcmp(keys[i], "format") == 0 ? "ptrain-checkpoint-3"
                                    : i == 4 || i == 5             ? "3fd5555555555555"
                                                                   : "1";
                if (i == missing)
                    value = i == 4 ? "3FD5555555555555" : "1.5";
                if (i != missing || wrong)
                    metadata[count++] = (pt_metadata){keys[i], value};
            }
            REQUIRE_OK(pt_safetensors_write(path, NULL, 0, metadata, count, NULL, &err), err);
            bool any_text = missing >= KEYS - 2 && wrong; /* has_best and config take any */
            pt_status status = pt_checkpoint_read(path, &file, &err);
            CHECK_MSG(status == (any_text ? PT_OK : PT_ERR_DATA), "%s", keys[missing]);
            if (status != PT_OK)
                CHECK_CONTAINS(err.message, missing == 7 ? "no checkpoint" : keys[missing]);
            pt_checkpoint_free(file);
        }
}

TEST(checkpoint, every_fault_keeps_the_one_before) {
    told t;
    pt_error err;
    static const int faults[] = {ENOSPC, EIO, PT_IO_SHORT, EINTR};
    for (size_t f = 0; f < 4; f++)
        for (long n = 1; n <= 8; n++) {
            save(1, 9);
            pt_checkpoint c = checkpoint_of(2);
            pt_io_fail_at(n, faults[f], false);
            pt_status status = pt_checkpoint_save(pt_temp_folder(), &c, 1, &err);
            pt_io_fail_at(0, 0, false);
            long expected = faults[f] > 0 && faults[f] != EINTR && n <= 5 ? 1 : 2;
            CHECK_INT(newest(&t), expected);
            CHECK_INT(t.count, 0);
            CHECK(expected == 2 || status == PT_ERR_IO);
            REQUIRE_OK(pt_checkpoint_discard_after(pt_temp_folder(), 0, &err), err);
        }
}

TEST(checkpoint, killed_at_every_call) {
    told t;
    pt_error err;
    int killed = 0;
    for (long n = 1; n <= 12; n++) {
        save(1, 9);
        save(2, 9);
        pid_t child = fork();
        if (child == 0) {
            pt_checkpoint c = checkpoint_of(3);
            pt_io_fail_at(n, PT_IO_KILL, false);
            _exit(pt_checkpoint_save(pt_temp_folder(), &c, 1, NULL) != PT_OK);
        }
        int status = 0;
        REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
        killed += WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        CHECK_INT(newest(&t), n <= 5 ? 2 : 3);
        CHECK_INT(t.count, 0);
        REQUIRE_OK(pt_checkpoint_discard_after(pt_temp_folder(), 0, &err), err);
        pt_atomic_clean(pt_temp_folder());
    }
    CHECK_INT(killed,
              9); /* create, write, fsync, close, rename, folder's open and fsync, 2 removals */
}

TEST(checkpoint, every_failing_allocation_is_told) {
    pt_error err;
    for (int reading = 0; reading < 2; reading++) {
        pt_status status = PT_ERR_MEMORY;
        long n = 0;
        while (status == PT_ERR_MEMORY && n < 1000) {
            pt_checkpoint c = checkpoint_of(1);
            pt_checkpoint_file *file = NULL;
            pt_memory_fail_at(++n, 0);
            status = reading ? pt_checkpoint_newest(pt_temp_folder(), NULL, NULL, &file, &err)
                             : pt_checkpoint_save(pt_temp_folder(), &c, 1, &err);
            pt_memory_fail_at(0, 0);
            CHECK(!reading || (status == PT_OK) == (file != NULL));
            pt_checkpoint_free(file);
        }
        CHECK_INT(status, PT_OK);
        CHECK(n > 7);
    }
}
