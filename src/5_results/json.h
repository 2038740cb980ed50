/* json.h: the little JSON that our files need.
 *
 * Not a JSON library, and on purpose none beneath: the header of a hostile safetensors file costs
 * Jansson 78 times its size in memory (measured on `[{},{},...`, a tree of empty objects), and its
 * printer leaves texts out without a word when an allocation fails (akheron/jansson issue 655). The
 * fixed grammar of these headers needs no tree, and the scanner knows the offset of every fault.
 */
#ifndef PT_RESULTS_JSON_H
#define PT_RESULTS_JSON_H

#include "0_base/text.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether the bytes are UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
bool pt_utf8_valid(const char *text, size_t size);

/* Adds UTF-8 text as a JSON string, quotes included. */
void pt_json_quote(pt_string *out, const char *text);
/* Adds a number by pt_print_double, or null for one that is not finite. */
void pt_json_number(pt_string *out, double value);

/* Adds a member of an object that has one already: `, "NAME": VALUE`. */
void pt_json_member(pt_string *out, const char *name, double value);

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
