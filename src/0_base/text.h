/* text.h: strict parsing of numbers, name suggestions, growable strings. Locale-independent. */
#ifndef PT_BASE_TEXT_H
#define PT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The whole text must be one number (no surrounding blanks, no locale's decimal comma). False when
 * it is not, or out of range; *value is then left alone. Reals must be finite. */
bool pt_parse_u64(const char *text, uint64_t *value);
bool pt_parse_double(const char *text, double *value);

/* Shortest decimal text that reads back as exactly `value`, '.' as point; buffer of 32 bytes. */
const char *pt_print_double(double value, char buffer[32]);
/* The same for a float: shortest text that reads back as the same float. */
const char *pt_print_float(float value, char buffer[32]);

/* The candidate nearest to `name` by optimal string alignment distance, or NULL when none is near
 * enough to be a slip of the fingers. `next(context, i)` gives the i-th candidate, NULL at the end. */
const char *pt_nearest(const char *name, const char *(*next)(const void *context, size_t i),
                       const void *context);
/* The same over an array of strings. */
const char *pt_nearest_of(const char *name, const char *const *candidates, size_t count);

#endif
