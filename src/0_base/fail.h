/* fail.h: the one way a function of the library reports failure: `return pt_fail(err, ...)`. */
#ifndef PT_BASE_FAIL_H
#define PT_BASE_FAIL_H

#include "ptrain/error.h"

#include <stdbool.h>

/* Fills `err` (NULL allowed) with `status` and the formatted message, and returns `status`. */
pt_status pt_fail(pt_error *err, pt_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Shorthand for a failed allocation: "out of memory: NAME wants N bytes". */
pt_status pt_fail_memory(pt_error *err, const char *what, unsigned long long bytes);

#ifdef __clang_analyzer__ /* it cannot see into fail.c: neither returns PT_OK */
#define pt_fail(err, status, ...)        (pt_fail(err, status, __VA_ARGS__), (status))
#define pt_fail_memory(err, what, bytes) (pt_fail_memory(err, what, bytes), PT_ERR_MEMORY)
#endif

#endif
