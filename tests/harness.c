/* harness.c: the checks, the helpers and the plain driver's registry. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long g_checks, g_failures;
static jmp_buf g_abandon;
static char *g_owned[4096];
static size_t g_owned_count;
static char g_folder[256];

static void *own(void *block) {
    if (!block || g_owned_count == sizeof g_owned / sizeof *g_owned)
        abort();
    g_owned[g_owned_count++] = block;
    return block;
}

bool pt_check(bool ok, const char *file, int line, const char *format, ...) {
    g_checks++;
    if (ok)
        return true;
    g_failures++;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: check failed: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    return false;
}

void pt_abandon_test(void) {
    longjmp(g_abandon, 1);
}

bool pt_check_int(long long actual, long long expected, const char *what, const char *file,
                  int line) {
    return pt_check(actual == expected, file, line, "%s is %lld, expected %lld", what, actual,
                    expected);
}

bool pt_check_string(const char *actual, const char *expected, const char *what, const char *file,
                     int line) {
    return pt_check(actual && strcmp(actual, expected) == 0, file, line,
                    "%s is\n  \"%s\"\nexpected\n  \"%s\"", what, actual ? actual : "(null)",
                    expected);
}

bool pt_check_contains(const char *text, const char *part, const char *what, const char *file,
                       int line) {
    return pt_check(text && strstr(text, part), file, line, "%s is\n  \"%s\"\nand lacks\n  \"%s\"",
                    what, text ? text : "(null)", part);
}

static void remove_tree(const char *path) {
    DIR *dir = opendir(path);
    if (dir) {
        for (struct dirent *entry; (entry = readdir(dir));) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                continue;
            char child[4096];
            snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
            struct stat info;
            if (lstat(child, &info) == 0 && S_ISDIR(info.st_mode))
                remove_tree(child);
            else
                unlink(child);
        }
        closedir(dir);
    }
    rmdir(path);
}

bool pt_run_test(const char *suite, const char *name, void (*check)(void)) {
    g_checks = g_failures = 0;
    if (setjmp(g_abandon) == 0)
        check();
    if (g_checks == 0) {
        fprintf(stderr, "%s.%s made no check\n", suite, name);
        g_failures++;
    }
    while (g_owned_count)
        free(g_owned[--g_owned_count]);
    if (g_folder[0])
        remove_tree(g_folder);
    g_folder[0] = '\0';
#ifdef PT_CRITERION
    cr_assert(g_failures == 0, "%ld of %ld checks failed", g_failures, g_checks);
#endif
    return g_failures == 0;
}

static bool is_set_to_one(const char *variable) {
    const char *value = getenv(variable);
    return value && strcmp(value, "1") == 0;
}

bool pt_test_quick(void) {
    return is_set_to_one("PT_TEST_QUICK");
}

const char *pt_temp_folder(void) {
    if (!g_folder[0]) {
        const char *base = getenv("TMPDIR");
        snprintf(g_folder, sizeof g_folder, "%s/ptrain-test-XXXXXX", base && *base ? base : "/tmp");
        if (!mkdtemp(g_folder)) {
            perror(g_folder);
            abort();
        }
    }
    return g_folder;
}

const char *pt_path_in(const char *folder, const char *name) {
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = own(malloc(size));
    snprintf(path, size, "%s/%s", folder, name);
    return path;
}

void pt_write_file(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0) {
        perror(path);
        abort();
    }
}

void pt_write_text(const char *path, const char *text) {
    pt_write_file(path, text, strlen(text));
}

char *pt_read_file(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!pt_check(file != NULL, __FILE__, __LINE__, "%s: %s", path, strerror(errno)))
        return NULL;
    size_t room = 1 << 16, used = 0;
    char *bytes = malloc(room + 1);
    for (size_t got; bytes && (got = fread(bytes + used, 1, room - used, file)) > 0;) {
        used += got;
        if (used == room)
            bytes = realloc(bytes, (room *= 2) + 1);
    }
    fclose(file);
    own(bytes);
    bytes[used] = '\0';
    if (size)
        *size = used;
    return bytes;
}

bool pt_file_exists(const char *path) {
    return access(path, F_OK) == 0;
}

pt_run_result pt_run_program(const char *binary, char *const argv[]) {
    char name[2][64] = {"/tmp/ptrain-out-XXXXXX", "/tmp/ptrain-err-XXXXXX"};
    int fd[2] = {mkstemp(name[0]), mkstemp(name[1])};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_adddup2(&actions, fd[0], 1);
    posix_spawn_file_actions_adddup2(&actions, fd[1], 2);
    pid_t child = -1;
    int status = 0;
    int failed = posix_spawn(&child, binary, &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (!pt_check(failed == 0, __FILE__, __LINE__, "cannot run %s: %s", binary, strerror(failed)))
        pt_abandon_test();
    waitpid(child, &status, 0);
    close(fd[0]);
    close(fd[1]);
    pt_run_result result = {.status =
                                WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status)};
    result.out = pt_read_file(name[0], NULL);
    result.err = pt_read_file(name[1], NULL);
    unlink(name[0]);
    unlink(name[1]);
    return result;
}

pt_run_result pt_run_ptrain(const char *first_argument, ...) {
    const char *binary = getenv("PT_BINARY");
    if (!binary)
        binary = "./ptrain";
    char *argv[64] = {(char *)(uintptr_t)binary, (char *)(uintptr_t)first_argument};
    size_t count = first_argument ? 2 : 1;
    va_list args;
    va_start(args, first_argument);
    while (first_argument && count < 63) {
        argv[count] = va_arg(args, char *);
        if (!argv[count])
            break;
        count++;
    }
    va_end(args);
    argv[count] = NULL;

    return pt_run_program(binary, argv);
}

static void write_idx(const char *path, size_t rows, size_t height, size_t width,
                      const uint8_t *bytes) {
    const uint8_t dims = height ? 3 : 1;
    const size_t shape[3] = {rows, height, width};
    uint8_t head[16] = {0, 0, 8, dims};
    for (size_t d = 0; d < dims; d++)
        for (size_t b = 0; b < 4; b++)
            head[4 + 4 * d + b] = (uint8_t)(shape[d] >> (24 - 8 * b));
    size_t size = height ? rows * height * width : rows, head_size = 4 + 4 * (size_t)dims;
    uint8_t *all = malloc(head_size + size);
    if (!all)
        abort();
    memcpy(all, head, head_size);
    memcpy(all + head_size, bytes, size);
    pt_write_file(path, all, head_size + size);
    free(all);
}

void pt_write_toy_images(const char *folder, size_t train_rows, size_t test_rows, size_t height,
                         size_t width, int classes) {
    uint32_t state = 12345;
    for (int split = 0; split < 2; split++) {
        size_t rows = split ? test_rows : train_rows, size = height * width;
        uint8_t *pixels = calloc(rows * size + 1, 1), *labels = calloc(rows + 1, 1);
        if (!pixels || !labels)
            abort();
        for (size_t r = 0; r < rows; r++) {
            state = state * 1664525u + 1013904223u;
            labels[r] = (uint8_t)((state >> 16) % (unsigned)classes);
            for (size_t i = 0; i < size; i++) {
                state = state * 1664525u + 1013904223u;
                /* A class lights its own fifth of the pixels, with noise in brightness. */
                bool lit = (i * 7 + labels[r] * 3) % (size_t)(classes + 1) == labels[r];
                if (lit && (state >> 28) != 0)
                    pixels[r * size + i] = (uint8_t)(100 + (state >> 25));
            }
        }
        write_idx(pt_path_in(folder, split ? "test-images" : "train-images"), rows, height, width,
                  pixels);
        write_idx(pt_path_in(folder, split ? "test-labels" : "train-labels"), rows, 0, 0, labels);
        free(pixels);
        free(labels);
    }
}

#ifndef PT_CRITERION
static struct {
    const char *suite, *name;
    void (*check)(void);
} g_tests[2048];
static size_t g_test_count;

void pt_register_test(const char *suite, const char *name, void (*check)(void)) {
    if (g_test_count == sizeof g_tests / sizeof *g_tests)
        abort();
    g_tests[g_test_count].suite = suite;
    g_tests[g_test_count].name = name;
    g_tests[g_test_count++].check = check;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Usage: driver [SUITE|SUITE.NAME]... ; runs all without arguments. Environment PT_TEST_PART=K/N:
 * only every N-th test, from the K-th (of 0 .. N-1) on, so that N processes share them;
 * PT_TEST_TIMES=1: says how long each took. */
int main(int argc, char **argv) {
    long passed = 0, failed = 0;
    unsigned part = 0, parts = 1;
    const bool times = is_set_to_one("PT_TEST_TIMES");
    const char *share = getenv("PT_TEST_PART");
    if (share && (sscanf(share, "%u/%u", &part, &parts) != 2 || part >= parts)) {
        fprintf(stderr, "PT_TEST_PART is '%s', not like 0/2\n", share);
        return 2;
    }
    for (size_t t = part; t < g_test_count; t += parts) {
        char full[256];
        snprintf(full, sizeof full, "%s.%s", g_tests[t].suite, g_tests[t].name);
        bool wanted = argc < 2;
        for (int a = 1; a < argc; a++)
            wanted = wanted || !strcmp(argv[a], full) || !strcmp(argv[a], g_tests[t].suite);
        if (!wanted)
            continue;
        const double began = seconds();
        bool ok = pt_run_test(g_tests[t].suite, g_tests[t].name, g_tests[t].check);
        if (times)
            fprintf(stderr, "%7.2f s %s\n", seconds() - began, full);
        if (!ok)
            fprintf(stderr, "FAILED %s\n", full);
        passed += ok;
        failed += !ok;
    }
    printf("%ld passed, %ld failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
#endif
