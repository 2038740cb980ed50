/* json.h: what our writers and readers of JSON share.
 *
 * We write JSON by Jansson. We read the headers of safetensors files by the scanner below: a
 * hostile header of N bytes costs Jansson 78 N bytes of memory (measured on `[{},{},...`), while
 * the fixed grammar of these headers can be read without any tree, with the exact offset of every
 * fault.
 */
#ifndef PT_RESULTS_JSON_H
#define PT_RESULTS_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes Jansson allocate by pt_malloc. Call before any use of it; any number of times and threads.
 */
void pt_json_init(void);

/* Whether the bytes are UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
bool pt_utf8_valid(const char *text, size_t size);

/* A scanner over JSON text. It never allocates, recurses or reads beyond `size`. A function that
 * returns false has set `reason` (static text) and left `at` on the fault. */
typedef struct pt_json_scan {
    const char *text;
    size_t size, at;
    const char *reason;
} pt_json_scan;

/* Skips blanks; consumes `wanted` if it comes next. pt_json_take sets no reason. */
bool pt_json_take(pt_json_scan *scan, char wanted);
bool pt_json_expect(pt_json_scan *scan, char wanted);
/* Skips blanks; whether the text ends there. */
bool pt_json_end(pt_json_scan *scan);
/* A string, decoded as NUL-terminated UTF-8 into `out` (as many bytes as the token, quotes
 * included, always suffice; NULL: checked only). U+0000 is refused. `*length` is that of the
 * decoded text. */
bool pt_json_string(pt_json_scan *scan, char *out, size_t *length);
/* An integer 0 .. 2^64 - 1 without fraction or exponent. */
bool pt_json_u64(pt_json_scan *scan, uint64_t *value);

#endif
