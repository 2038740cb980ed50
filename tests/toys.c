/* toys.c: small networks and data for tests of training, and a shell for tests of the program. */
#include "toys.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

pt_text pt_textf(const char *format, ...) {
    pt_text text;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text.s, sizeof text.s, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof text.s)
        abort();
    return text;
}

pt_config *pt_toy_config(const char *text, ...) {
    const char *overrides[32];
    size_t count = 0;
    va_list args;
    va_start(args, text);
    for (const char *next; (next = va_arg(args, const char *)) && count < 32;)
        overrides[count++] = next;
    va_end(args);
    pt_error err = {0};
    pt_config *config = NULL;
    REQUIRE_OK(pt_config_parse(text, "toy.ini", overrides, count, &config, &err), err);
    return config;
}

pt_text pt_toy_images_text(const char *layers) {
    const char *folder = pt_temp_folder();
    if (!pt_file_exists(pt_path_in(folder, "train-images")))
        pt_write_toy_images(folder, 200, 50, 12, 12, PT_TOY_CLASSES);
    return pt_textf("[data]\ntrain_images = %s/train-images\ntrain_labels = %s/train-labels\n"
                    "test_images = %s/test-images\ntest_labels = %s/test-labels\n"
                    "%s"
                    "[layer.out]\ntype = affine\nunits = 4\ninit = normal(0.1)\n"
                    "[train]\niterations = 20\nbatch_size = 32\n"
                    "[output]\ndir = %s/run\n",
                    folder, folder, folder, folder, layers, folder);
}

pt_toy pt_toy_make(pt_config *config) {
    pt_toy toy = {.config = config};
    pt_error err = {0};
    REQUIRE_OK(pt_dataset_load(config, &toy.dataset, &err), err);
    REQUIRE_OK(pt_trainer_create(config, toy.dataset, &toy.trainer, &err), err);
    return toy;
}

void pt_toy_free(pt_toy *toy) {
    pt_trainer_free(toy->trainer);
    pt_dataset_free(toy->dataset);
    pt_config_free(toy->config);
    *toy = (pt_toy){0};
}

bool pt_same_bytes(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (size_t i = 0; i < size; i++)
        if (x[i] != y[i])
            return pt_check(false, __FILE__, __LINE__, "byte %zu of %zu differs", i, size);
    return true;
}

pt_run_result pt_run_shell(const char *format, ...) {
    char command[6000];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(command, sizeof command, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof command)
        abort();
    const char *binary = getenv("PT_BINARY");
    setenv("PT", binary ? binary : "./ptrain", 1);
    char *argv[] = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", command, NULL};
    return pt_run_program("/bin/sh", argv);
}

void pt_check_one_line_error(const pt_run_result *run, int status, const char *words,
                             const char *file, int line) {
    pt_check(run->status == status, file, line, "exit status %d, expected %d; stderr: %s",
             run->status, status, run->err);
    pt_check(*run->out == '\0', file, line, "stdout should be empty but is: %s", run->out);
    pt_check(strncmp(run->err, "ptrain: ", 8) == 0, file, line, "no 'ptrain: ' before: %s",
             run->err);
    const char *newline = strchr(run->err, '\n');
    pt_check(newline && newline[1] == '\0', file, line, "not one line: %s", run->err);
    pt_check_contains(run->err, words, "stderr", file, line);
}
