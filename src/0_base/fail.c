/* fail.c: filling pt_error. */
#include "0_base/fail.h"

#include <stdarg.h>
#include <stdio.h>

#undef pt_fail /* macros for the static analyser */
#undef pt_fail_memory

pt_status pt_fail(pt_error *err, pt_status status, const char *format, ...) {
    if (err) {
        va_list args;
        va_start(args, format);
        err->status = status;
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
    }
    return status;
}

pt_status pt_fail_memory(pt_error *err, const char *what, unsigned long long bytes) {
    return pt_fail(err, PT_ERR_MEMORY, "out of memory: %s wants %llu bytes", what, bytes);
}
