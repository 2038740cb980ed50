/* fuzz.h: what the fuzz targets share.
 *
 * Each target is one file fuzz_NAME.c with one entry point, LLVMFuzzerTestOneInput, that libFuzzer
 * calls with inputs it grows out of tests/fuzz/corpus/NAME. A target aborts when a promise of the
 * reader under test is broken; crashes, leaks and undefined behaviour are found by the sanitizers.
 */
#ifndef PT_TESTS_FUZZ_H
#define PT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROMISE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition);        \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* A file in memory; its path, which ends in .gz where asked for, works as any other. */
typedef struct fuzz_file {
    int fd;
    char path[64];
} fuzz_file;

static char fuzz_links[4][64];

static inline void fuzz_remove_links(void) {
    for (size_t i = 0; i < sizeof fuzz_links / sizeof *fuzz_links && fuzz_links[i][0]; i++)
        unlink(fuzz_links[i]);
}

static inline fuzz_file fuzz_file_make(const char *end) {
    fuzz_file file = {.fd = memfd_create("fuzz", 0)};
    PROMISE(file.fd >= 0);
    snprintf(file.path, sizeof file.path, "/proc/self/fd/%d", file.fd);
    if (*end) { /* a name with the wanted end that leads there */
        char target[64];
        memcpy(target, file.path, sizeof target);
        snprintf(file.path, sizeof file.path, "/tmp/ptrain-fuzz-%ld-%d%s", (long)getpid(), file.fd,
                 end);
        unlink(file.path);
        PROMISE(symlink(target, file.path) == 0);
        size_t i = 0;
        while (fuzz_links[i][0])
            i++;
        memcpy(fuzz_links[i], file.path, sizeof file.path);
        if (i == 0)
            atexit(fuzz_remove_links);
    }
    return file;
}

static inline void fuzz_file_fill(const fuzz_file *file, const uint8_t *data, size_t size) {
    PROMISE(ftruncate(file->fd, 0) == 0);
    PROMISE(pwrite(file->fd, data, size, 0) == (ssize_t)size);
}

/* The input from a fuzzer, taken apart from its start. */
static inline uint8_t fuzz_byte(const uint8_t **data, size_t *size) {
    if (*size == 0)
        return 0;
    (*size)--;
    return *(*data)++;
}

#endif
