/* text.c: numbers from and to text, nearest names, UTF-8, growable strings. */
#include "0_base/text.h"

#include "0_base/memory.h"

#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

static locale_t g_c_locale;
static pthread_once_t g_c_locale_once = PTHREAD_ONCE_INIT;

static void make_c_locale(void) {
    g_c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* lives as long as the process */
}

static locale_t c_locale(void) {
    pthread_once(&g_c_locale_once, make_c_locale);
    return g_c_locale;
}

static const char *skip_digits(const char *text) {
    while (*text >= '0' && *text <= '9')
        text++;
    return text;
}

bool pt_parse_u64(const char *text, uint64_t *value) {
    if (*text == '\0' || *skip_digits(text) != '\0')
        return false;
    uint64_t sum = 0;
    for (; *text; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (__builtin_mul_overflow(sum, 10, &sum) || __builtin_add_overflow(sum, digit, &sum))
            return false;
    }
    *value = sum;
    return true;
}

/* [+-] digits [. digits] [e [+-] digits], at least one digit around the point. strtod alone would
 * also take blanks, hexadecimal, "inf" and "nan". */
static bool is_decimal(const char *text) {
    text += *text == '+' || *text == '-';
    const char *whole = text;
    text = skip_digits(text);
    long digits = text - whole;
    if (*text == '.') {
        const char *fraction = ++text;
        text = skip_digits(text);
        digits += text - fraction;
    }
    if (digits == 0)
        return false;
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '+' || *text == '-';
        const char *exponent = text;
        text = skip_digits(text);
        if (text == exponent)
            return false;
    }
    return *text == '\0';
}

bool pt_parse_double(const char *text, double *value) {
    if (!is_decimal(text) || !c_locale())
        return false;
    errno = 0;
    double parsed = strtod_l(text, NULL, c_locale());
    if (!isfinite(parsed) || (errno == ERANGE && parsed == 0.0))
        return false;
    *value = parsed;
    return true;
}

bool pt_parse_float(const char *text, float *value) {
    if (!is_decimal(text) || !c_locale())
        return false;
    errno = 0;
    float parsed = strtof_l(text, NULL, c_locale());
    if (!isfinite(parsed) || (errno == ERANGE && parsed == 0.0f))
        return false;
    *value = parsed;
    return true;
}

/* "-d.ddde+xx" as printf's %e gives it, laid out for people: no exponent where the plain number is
 * short, no padding in the exponent. */
static const char *lay_out(const char *scientific, char buffer[32]) {
    char digits[24] = {0};
    int count = 0, exponent = 0;
    bool negative = *scientific == '-';
    for (const char *c = scientific + negative; *c; c++) {
        if (*c == 'e') {
            exponent = (int)strtol(c + 1, NULL, 10);
            break;
        }
        if (*c != '.')
            digits[count++] = *c;
    }
    while (count > 1 && digits[count - 1] == '0')
        count--;
    char *out = buffer;
    if (negative)
        *out++ = '-';
    bool plain = exponent >= -5 && exponent <= 15;
    int point = plain ? exponent + 1 : 1; /* digits before the point */
    if (point <= 0) {
        out = stpcpy(out, "0.");
        for (int i = point; i < 0; i++)
            *out++ = '0';
    }
    for (int i = 0; i < count || i < point; i++) {
        if (i == point && i > 0)
            *out++ = '.';
        if (i < count)
            *out++ = digits[i];
        else
            *out++ = '0';
    }
    *out = '\0';
    if (!plain)
        sprintf(out, "e%d", exponent);
    return buffer;
}

static const char *print_not_finite(double value, char buffer[32]) {
    return strcpy(buffer, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
}

static bool reads_back_double(const char *text, double value) {
    return strtod(text, NULL) == value;
}

/* Also right for a reader that goes through double and so rounds twice. */
static bool reads_back_float(const char *text, double value) {
    return (double)strtof(text, NULL) == value && (double)(float)strtod(text, NULL) == value;
}

/* With `most` digits every value reads back, with `sure` every text of so many: a normal value that has
 * a shorter text is that text when rounded to `sure` digits, with zeros behind it. So few counts need
 * trying, where a loss is printed for every mini-batch. */
static const char *print_shortest(double value, bool normal, int sure, int most,
                                  bool (*reads_back)(const char *, double), char buffer[32]) {
    if (!isfinite(value))
        return print_not_finite(value, buffer);
    char text[40];
    locale_t before = uselocale(c_locale());
    for (int digits = normal ? sure : 1; digits <= most; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        if (digits == most || reads_back(text, value))
            break;
    }
    uselocale(before);
    return lay_out(text, buffer);
}

const char *pt_print_double(double value, char buffer[32]) {
    return print_shortest(value, fabs(value) >= DBL_MIN, DBL_DIG, DBL_DECIMAL_DIG,
                          reads_back_double, buffer);
}

const char *pt_print_float(float value, char buffer[32]) {
    return print_shortest((double)value, fabsf(value) >= FLT_MIN, FLT_DIG, FLT_DECIMAL_DIG,
                          reads_back_float, buffer);
}

/* ---- names ---- */

enum { NAME_LIMIT = 64 }; /* longer names get no suggestion */

static int lower(char c) {
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c;
}

/* Optimal string alignment distance by its recurrence, three rows of the table at a time. */
static int distance(const char *a, const char *b) {
    int rows[3][NAME_LIMIT + 1];
    int *before = rows[0], *above = rows[1], *row = rows[2];
    int columns = (int)strlen(b);
    for (int j = 0; j <= columns; j++)
        above[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        row[0] = i;
        for (int j = 1; j <= columns; j++) {
            bool same = lower(a[i - 1]) == lower(b[j - 1]);
            int best = above[j - 1] + !same;
            if (above[j] + 1 < best)
                best = above[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]) && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            row[j] = best;
        }
        int *free_row = before;
        before = above;
        above = row;
        row = free_row;
    }
    return above[columns];
}

static bool starts_with(const char *text, const char *start) {
    for (; *start; text++, start++)
        if (lower(*text) != lower(*start))
            return false;
    return true;
}

const char *pt_nearest(const char *name, const char *(*next)(const void *context, size_t i),
                       const void *context) {
    size_t length = strlen(name);
    if (length == 0 || length > NAME_LIMIT)
        return NULL;
    /* One slip in a short name, about one in three letters in a longer one. */
    int limit = length < 4 ? 1 : (int)(length + 2) / 3;
    const char *nearest = NULL, *longer = NULL;
    const char *candidate;
    for (size_t i = 0; (candidate = next(context, i)); i++) {
        if (strlen(candidate) > NAME_LIMIT)
            continue;
        int found = distance(name, candidate);
        /* Sharing nothing is no slip, however short the names. */
        if (found <= limit && found < (int)length) {
            nearest = candidate;
            limit = found - 1;
        }
        if (!longer && length >= 3 && starts_with(candidate, name))
            longer = candidate;
    }
    return nearest ? nearest : longer;
}

const char *pt_suggest(const char *name, const char *(*next)(const void *, size_t),
                       const void *context, char *buffer, size_t size) {
    const char *nearest = pt_nearest(name, next, context), *candidate;
    if (nearest) {
        snprintf(buffer, size, "did you mean '%s'?", nearest);
        return buffer;
    }
    size_t used = (size_t)snprintf(buffer, size, "known are");
    for (size_t i = 0; (candidate = next(context, i)) && used < size; i++)
        used += (size_t)snprintf(buffer + used, size - used, "%s %s", i ? "," : "", candidate);
    return buffer;
}

typedef struct array {
    const char *const *strings;
    size_t count;
} array;

static const char *next_of_array(const void *context, size_t i) {
    const array *a = context;
    return i < a->count ? a->strings[i] : NULL;
}

const char *pt_nearest_of(const char *name, const char *const *candidates, size_t count) {
    return pt_nearest(name, next_of_array, &(array){candidates, count});
}

/* ---- UTF-8 ---- */

/* Unicode standard, table 3-7: only the second byte's range depends on the first. */
size_t pt_utf8_length(const char *bytes, size_t size) {
    const unsigned char *s = (const unsigned char *)bytes;
    unsigned char low = 0x80, high = 0xBF;
    size_t length;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xC2 && s[0] <= 0xDF)
        length = 2;
    else if ((s[0] & 0xF0) == 0xE0)
        length = 3;
    else if (s[0] >= 0xF0 && s[0] <= 0xF4)
        length = 4;
    else
        return 0;
    if (s[0] == 0xE0) /* no overlong forms, no surrogates, nothing above U+10FFFF */
        low = 0xA0;
    else if (s[0] == 0xED)
        high = 0x9F;
    else if (s[0] == 0xF0)
        low = 0x90;
    else if (s[0] == 0xF4)
        high = 0x8F;
    if (size < length || s[1] < low || s[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

bool pt_is_text(const char *bytes, size_t size, size_t *at) {
    const unsigned char *s = (const unsigned char *)bytes;
    for (size_t i = 0; i < size;) {
        size_t length = pt_utf8_length(bytes + i, size - i);
        if (length == 0 || (s[i] < 0x20 && s[i] != '\t') || s[i] == 0x7F) {
            *at = i;
            return false;
        }
        i += length;
    }
    return true;
}

/* ---- growable strings ---- */

static bool reserve(pt_string *string, size_t room) {
    if (room <= string->room)
        return true;
    size_t wanted = string->room ? string->room * 2 : 256;
    if (wanted < room)
        wanted = room;
    char *text = pt_realloc(string->text, wanted);
    if (!text) {
        string->failed = true;
        return false;
    }
    string->text = text;
    string->room = wanted;
    return true;
}

void pt_string_add(pt_string *string, const char *format, ...) {
    if (string->failed)
        return;
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0) {
        string->failed = true;
        return;
    }
    if (!reserve(string, string->length + (size_t)length + 1))
        return;
    va_start(args, format);
    vsnprintf(string->text + string->length, (size_t)length + 1, format, args);
    va_end(args);
    string->length += (size_t)length;
}

void pt_string_free(pt_string *string) {
    pt_free(string->text);
    *string = (pt_string){0};
}
