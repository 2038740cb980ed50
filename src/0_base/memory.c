/* memory.c: allocation with a hook for failure injection. */
#include "0_base/memory.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static atomic_long g_asked;
static atomic_long g_fail_at;
static atomic_int g_sticky;

void pt_memory_fail_at(long n, int sticky) {
    atomic_store(&g_fail_at, n);
    atomic_store(&g_sticky, sticky);
    atomic_store(&g_asked, 0);
}

long pt_memory_count(void) {
    return atomic_load(&g_asked);
}

static int must_fail(void) {
    long asked = atomic_fetch_add(&g_asked, 1) + 1;
    long fail_at = atomic_load_explicit(&g_fail_at, memory_order_relaxed);
    if (fail_at == 0)
        return 0;
    return asked == fail_at || (asked > fail_at && atomic_load(&g_sticky));
}

/* Whether so many bytes are there. Linux promises more memory than it has, and ends the process
 * when it cannot keep that; a large block that does not fit is refused here instead. (Limits of a
 * cgroup are not seen.) */
static bool is_available(size_t bytes) {
    enum { WORTH_ASKING = 64 << 20, LINE = 128 };
    char line[LINE];
    unsigned long long part, kilobytes = 0;
    FILE *file = bytes < WORTH_ASKING ? NULL : fopen("/proc/meminfo", "re");
    if (!file)
        return true;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %llu kB", &part) == 1 || /* NOLINT(cert-err34-c) */
            sscanf(line, "SwapFree: %llu kB", &part) == 1)       /* NOLINT(cert-err34-c) */
            kilobytes += part;
    (void)fclose(file);
    return kilobytes == 0 || bytes / 1024 < kilobytes;
}

static bool is_refused(size_t bytes) {
    return must_fail() || !is_available(bytes);
}

void *pt_malloc(size_t bytes) {
    return is_refused(bytes) ? NULL : malloc(bytes ? bytes : 1);
}

void *pt_calloc(size_t count, size_t bytes_each) {
    size_t bytes;
    if (__builtin_mul_overflow(count, bytes_each, &bytes) || is_refused(bytes))
        return NULL;
    return calloc(count ? count : 1, bytes_each ? bytes_each : 1);
}

void *pt_realloc(void *block, size_t bytes) {
    return is_refused(bytes) ? NULL : realloc(block, bytes ? bytes : 1);
}

char *pt_strndup(const char *text, size_t length) {
    char *copy = pt_malloc(length + 1);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *pt_strdup(const char *text) {
    return pt_strndup(text, strlen(text));
}

char *pt_format(const char *format, ...) {
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = length < 0 ? NULL : pt_malloc((size_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

static void *allocate_aligned(size_t count, size_t bytes_each, size_t *bytes) {
    enum { HUGE_PAGE = 2 << 20 };
    if (__builtin_mul_overflow(count, bytes_each, bytes) || *bytes > SIZE_MAX - HUGE_PAGE)
        return NULL;
    /* A large block sits on huge pages: a row-by-row walk of a wide weight matrix, or random rows of a
     * data set, would otherwise miss the TLB at every step. */
    size_t alignment = *bytes >= HUGE_PAGE ? (size_t)HUGE_PAGE : (size_t)PT_ALIGNMENT;
    *bytes = (*bytes + alignment - 1) / alignment * alignment;
    if (*bytes == 0)
        *bytes = alignment;
    if (is_refused(*bytes))
        return NULL;
    void *block = aligned_alloc(alignment, *bytes);
    if (block && alignment == HUGE_PAGE)
        (void)madvise(block, *bytes, MADV_HUGEPAGE); /* advice only: a refusal costs speed */
    return block;
}

void *pt_malloc_aligned(size_t count, size_t bytes_each) {
    size_t bytes;
    return allocate_aligned(count, bytes_each, &bytes);
}

void *pt_calloc_aligned(size_t count, size_t bytes_each) {
    size_t bytes;
    void *block = allocate_aligned(count, bytes_each, &bytes);
    if (block)
        memset(block, 0, bytes);
    return block;
}

void pt_free(void *block) {
    free(block);
}
