/* harness.h: one way to write a check, two ways to run it.
 *
 * TEST(suite, name) { ... } is a plain function. Compiled with -DPT_CRITERION it is wrapped for
 * Criterion, which runs every test in a process of its own; otherwise it registers itself with the
 * small driver in harness.c, which TSan, valgrind and qemu can run. A test that makes no CHECK
 * fails, and so does a run that ran no test.
 */
#ifndef PT_TESTS_HARNESS_H
#define PT_TESTS_HARNESS_H

#include "ptrain/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Records one check. Returns `ok`. On failure prints file:line and the message. */
bool pt_check(bool ok, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Ends the running test at once. */
_Noreturn void pt_abandon_test(void);

#define CHECK(condition)          pt_check((condition), __FILE__, __LINE__, "%s", #condition)
#define CHECK_MSG(condition, ...) pt_check((condition), __FILE__, __LINE__, __VA_ARGS__)
/* Ends the test when it fails: for what later lines build on. */
#define REQUIRE(condition)                                                                         \
    do {                                                                                           \
        if (!pt_check((condition), __FILE__, __LINE__, "%s", #condition))                          \
            pt_abandon_test();                                                                     \
    } while (0)
#define REQUIRE_OK(call, err)                                                                      \
    do {                                                                                           \
        if (!pt_check((call) == PT_OK, __FILE__, __LINE__, "%s: %s", #call, (err).message))        \
            pt_abandon_test();                                                                     \
    } while (0)
#define CHECK_INT(actual, expected)                                                                \
    pt_check_int((long long)(actual), (long long)(expected), #actual, __FILE__, __LINE__)
#define CHECK_STR(actual, expected)                                                                \
    pt_check_string((actual), (expected), #actual, __FILE__, __LINE__)
#define CHECK_CONTAINS(text, part) pt_check_contains((text), (part), #text, __FILE__, __LINE__)
bool pt_check_int(long long actual, long long expected, const char *what, const char *file,
                  int line);
bool pt_check_string(const char *actual, const char *expected, const char *what, const char *file,
                     int line);
bool pt_check_contains(const char *text, const char *part, const char *what, const char *file,
                       int line);

#ifdef PT_CRITERION
#include <criterion/criterion.h>
#define TEST(suite, name)                                                                          \
    static void suite##_##name##_check(void);                                                      \
    Test(suite, name) {                                                                            \
        pt_run_test(#suite, #name, suite##_##name##_check);                                        \
    }                                                                                              \
    static void suite##_##name##_check(void)
#else
#define TEST(suite, name)                                                                          \
    static void suite##_##name##_check(void);                                                      \
    __attribute__((constructor)) static void suite##_##name##_register(void) {                     \
        pt_register_test(#suite, #name, suite##_##name##_check);                                   \
    }                                                                                              \
    static void suite##_##name##_check(void)
#endif

void pt_register_test(const char *suite, const char *name, void (*check)(void));
/* Runs one test in this process and reports it to the framework that drives it. */
bool pt_run_test(const char *suite, const char *name, void (*check)(void));

/* Whether to try fewer cases where a test has very many: environment PT_TEST_QUICK=1, which runs
 * under sanitizers set. */
bool pt_test_quick(void);

/* --- helpers for tests of files and of the command line --- */

/* A fresh folder, removed with everything in it when the test ends. */
const char *pt_temp_folder(void);
/* "FOLDER/NAME" in static storage that lasts for the test. */
const char *pt_path_in(const char *folder, const char *name);
void pt_write_file(const char *path, const void *bytes, size_t size);
void pt_write_text(const char *path, const char *text);
/* The whole file, NUL-terminated, freed when the test ends; NULL (and a failed check) if missing. */
char *pt_read_file(const char *path, size_t *size);
bool pt_file_exists(const char *path);

typedef struct pt_run_result {
    int status;      /* exit status, or 128 + signal */
    char *out, *err; /* what it printed; freed when the test ends */
} pt_run_result;
/* Runs a program with its arguments (argv[0] included, NULL-terminated) and empty standard input. */
pt_run_result pt_run_program(const char *binary, char *const argv[]);
/* Runs the ptrain binary of this build (environment PT_BINARY, else ./ptrain) with the given
 * arguments, NULL-terminated, from the project's top folder. */
pt_run_result pt_run_ptrain(const char *first_argument, ...) __attribute__((sentinel));

/* A small IDX image set for training tests: writes train/test images and labels as
 * FOLDER/train-images etc. (raw idx) of rows x (height x width) bytes, about 80% zeros, with labels
 * in 0..classes-1 that depend on the pixels, so that a network can learn them. Deterministic. */
void pt_write_toy_images(const char *folder, size_t train_rows, size_t test_rows, size_t height,
                         size_t width, int classes);

#endif
