/* text.h: strict parsing of numbers, shortest printing, name suggestions, growable strings.
 *
 * Nothing here depends on the locale. Thread-safe; a pt_string belongs to one thread.
 */
#ifndef PT_BASE_TEXT_H
#define PT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole text must be one number: digits with an optional sign, point and exponent (no blanks,
 * no hexadecimal, no inf or nan, no locale's decimal comma); for pt_parse_u64 digits alone.
 * Correctly rounded. False when it is anything else, overflows, or is not zero and underflows to
 * zero; *value is then left alone. pt_parse_float rounds once, straight to float. */
bool pt_parse_u64(const char *text, uint64_t *value);
bool pt_parse_double(const char *text, double *value);
bool pt_parse_float(const char *text, float *value);

/* The fewest significant digits that read back as exactly `value`, as 0.01, 100, 1e-8 or -2.5e20;
 * "inf", "-inf" and "nan" for what is no number (JSON writers must catch those before). Returns
 * `buffer`. */
const char *pt_print_double(double value, char buffer[32]);
const char *pt_print_float(float value, char buffer[32]);

/* The candidate nearest to `name`, or NULL when none is near enough to be a slip of the fingers.
 * Nearness is the optimal string alignment distance (insert, delete, replace, swap two neighbours),
 * letters of either case being equal; failing that, a candidate that starts with `name`.
 * `next(context, i)` gives the i-th candidate, NULL at the end. */
const char *pt_nearest(const char *name, const char *(*next)(const void *context, size_t i),
                       const void *context);
/* "did you mean 'x'?", or "known are a, b, c" where none is near, as much of it as fits. Returns
 * `buffer`. */
const char *pt_suggest(const char *name, const char *(*next)(const void *context, size_t i),
                       const void *context, char *buffer, size_t size);
/* pt_nearest over an array of strings. */
const char *pt_nearest_of(const char *name, const char *const *candidates, size_t count);

/* Bytes of the UTF-8 sequence that `bytes`, of which there is one at least, begin with; 0: none is well
 * formed (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF). */
size_t pt_utf8_length(const char *bytes, size_t size);
/* Whether all bytes are UTF-8 text without control characters other than tab; otherwise *at is the
 * offset of the first byte that is not. */
bool pt_is_text(const char *bytes, size_t size, size_t *at);

/* A string that grows as it is written. Zero-initialise; after a failed allocation `failed` stays
 * set and further writing does nothing, so that one check at the end is enough. */
typedef struct pt_string {
    char *text; /* NUL-terminated; NULL while nothing was written */
    size_t length, room;
    bool failed;
} pt_string;

void pt_string_add(pt_string *string, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void pt_string_free(pt_string *string);

#endif
