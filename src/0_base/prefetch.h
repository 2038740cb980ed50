/* prefetch.h: asking for memory before it is needed; any address is harmless.
 *
 * Always inlined, as whatever calls these and does nothing else must be: gcc 12 takes a function that
 * only prefetches for one without effects, and drops its calls.
 */
#ifndef PT_BASE_PREFETCH_H
#define PT_BASE_PREFETCH_H

#include "0_base/memory.h"

#define PT_ONLY_PREFETCHES inline __attribute__((always_inline))

static PT_ONLY_PREFETCHES void pt_prefetch(const void *from, size_t bytes) {
    for (size_t offset = 0; offset < bytes; offset += PT_ALIGNMENT)
        __builtin_prefetch((const char *)from + offset);
}

#endif
