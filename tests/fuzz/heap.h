/* heap.h: how much memory a reader has asked for, as the sanitizer's allocator counts it. */
#ifndef PT_TESTS_FUZZ_HEAP_H
#define PT_TESTS_FUZZ_HEAP_H

#include <sanitizer/allocator_interface.h>
#include <stddef.h>

static size_t g_heap_asked;

static void heap_count(const volatile void *block, size_t size) {
    (void)block;
    g_heap_asked += size;
}

static void heap_ignore(const volatile void *block) {
    (void)block;
}

/* Starts counting anew. The sum of all allocations bounds the memory in use at any moment. */
static inline void heap_watch(void) {
    static int installed;
    if (!installed)
        installed = __sanitizer_install_malloc_and_free_hooks(heap_count, heap_ignore);
    g_heap_asked = 0;
}

#endif
