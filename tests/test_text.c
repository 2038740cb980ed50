/* test_text.c: numbers from and to text, nearest names, UTF-8, growable strings. */
#include "harness.h"

#include "0_base/memory.h"
#include "0_base/philox.h"
#include "0_base/text.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

TEST(text, whole_numbers) {
    static const struct {
        const char *text;
        uint64_t value;
    } good[] = {{"0", 0}, {"7", 7}, {"007", 7}, {"18446744073709551615", UINT64_MAX}};
    for (size_t i = 0; i < COUNT(good); i++) {
        uint64_t value = 99;
        CHECK_MSG(pt_parse_u64(good[i].text, &value) && value == good[i].value, "%s", good[i].text);
    }
    static const char *const bad[] = {"",
                                      " ",
                                      "-1",
                                      "+1",
                                      "1 ",
                                      " 1",
                                      "1.0",
                                      "1e3",
                                      "0x1",
                                      "1_",
                                      "a",
                                      "1,0",
                                      "18446744073709551616",
                                      "99999999999999999999999"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint64_t value = 99;
        CHECK_MSG(!pt_parse_u64(bad[i], &value) && value == 99, "'%s'", bad[i]);
    }
}

TEST(text, real_numbers) {
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},     {"-1.5", -1.5},       {"+2", 2},        {".5", 0.5},
                {"5.", 5},    {"1e3", 1000},        {"1E-2", 0.01},   {"2.5e+1", 25},
                {"0.1", 0.1}, {"4.9e-324", 5e-324}, {"0e-999999", 0}, {"1e308", 1e308},
                {"0.000", 0}};
    for (size_t i = 0; i < COUNT(good); i++) {
        double value = 99;
        CHECK_MSG(pt_parse_double(good[i].text, &value) && value == good[i].value, "%s",
                  good[i].text);
    }
    static const char *const bad[] = {
        "",     " ",  ".",  "-",  "e5",  "1e",   "1e+",  "1,5",   "0x10",   "inf",    "nan",
        "-inf", "1 ", " 1", "1f", "--1", "1..0", "1e5.", "1e999", "-1e999", "1e-400", "infinity"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        double value = 99;
        CHECK_MSG(!pt_parse_double(bad[i], &value) && value == 99, "'%s'", bad[i]);
        float single = 99;
        CHECK_MSG(!pt_parse_float(bad[i], &single) && single == 99, "'%s'", bad[i]);
    }
    float single = 99;
    CHECK(!pt_parse_float("1e39", &single) && !pt_parse_float("1e-60", &single) && single == 99);
    CHECK(pt_parse_float("0.1", &single) && single == 0.1f);
    /* Just above the middle of 1 and its neighbour: by way of double it would round down. */
    CHECK(pt_parse_float("1.00000005960464477540", &single) && single == 1.0f + FLT_EPSILON);
}

TEST(text, prints_numbers_for_people) {
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {-0.0, "-0"},
                 {1, "1"},
                 {100, "100"},
                 {0.01, "0.01"},
                 {1.5e-5, "0.000015"},
                 {1e-8, "1e-8"},
                 {-2.5e20, "-2.5e20"},
                 {1e15, "1000000000000000"},
                 {1e16, "1e16"},
                 {123456.789, "123456.789"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {DBL_MAX, "1.7976931348623157e308"},
                 {-DBL_MIN, "-2.2250738585072014e-308"},
                 {5e-324, "5e-324"},
                 {HUGE_VAL, "inf"},
                 {-HUGE_VAL, "-inf"}};
    char buffer[32];
    for (size_t i = 0; i < COUNT(cases); i++)
        CHECK_STR(pt_print_double(cases[i].value, buffer), cases[i].text);
    CHECK_STR(pt_print_double((double)NAN, buffer), "nan");
    CHECK_STR(pt_print_float(0.1f, buffer), "0.1");
    CHECK_STR(pt_print_float(FLT_MAX, buffer), "3.4028235e38");
    CHECK_STR(pt_print_float(16777216.0f, buffer), "16777216");
}

/* The significant digits of a printed number, and the fewest that read back, found one by one. */
static int digits_of(const char *text) {
    char digits[32] = "";
    size_t count = 0;
    for (const char *c = text; *c && *c != 'e'; c++)
        if (*c >= '0' && *c <= '9' && (count > 0 || *c != '0'))
            digits[count++] = *c;
    while (count > 1 && digits[count - 1] == '0')
        count--;
    return count > 0 ? (int)count : 1;
}

static int fewest_digits(double value, bool single) {
    char text[40];
    for (int digits = 1;; digits++) {
        snprintf(text, sizeof text, "%.*e", digits - 1, value);
        const double back = strtod(text, NULL);
        if (single ? (double)strtof(text, NULL) == value && (double)(float)back == value
                   : back == value)
            return digits;
    }
}

/* Short numbers, long ones, powers of two, whose neighbours are not equally far, and denormals. */
TEST(text, printed_numbers_are_shortest) {
    size_t shorter_than_sure = 0;
    for (uint64_t i = 0; i < 6000; i++) {
        const uint32_t low = pt_random_u32(1, PT_STREAM_CHECK, 1, 2 * i);
        const uint32_t high = pt_random_u32(1, PT_STREAM_CHECK, 1, 2 * i + 1);
        const uint64_t bits = (uint64_t)high << 32 | low;
        double value;
        memcpy(&value, &bits, sizeof value);
        if (i % 3 == 0)
            value = (double)(low % 100000) * pow(10, (int)(high % 40) - 20);
        else if (i % 3 == 1)
            value = ldexp(low % 8 < 4 ? 1.0 : 1.0 + DBL_EPSILON, (int)(high % 2140) - 1072);
        const float single = (float)value;
        char buffer[32];
        if (isfinite(value) && value != 0) {
            const int fewest = fewest_digits(value, false);
            shorter_than_sure += fewest < DBL_DIG;
            CHECK_MSG(digits_of(pt_print_double(value, buffer)) == fewest, "%a printed as %s",
                      value, buffer);
        }
        if (isfinite(single) && single != 0)
            CHECK_MSG(digits_of(pt_print_float(single, buffer)) ==
                          fewest_digits((double)single, true),
                      "%a printed as %s", (double)single, buffer);
    }
    CHECK(shorter_than_sure > 1000);
}

/* Every kind of bit pattern prints to text that reads back as the same bits, in at most 9 and 17
 * digits. */
TEST(text, printed_numbers_read_back) {
    for (uint64_t i = 0; i < 20000; i++) {
        uint32_t low = pt_random_u32(1, PT_STREAM_CHECK, 0, 2 * i);
        uint32_t high = pt_random_u32(1, PT_STREAM_CHECK, 0, 2 * i + 1);
        uint64_t bits = (uint64_t)high << 32 | low;
        char buffer[32];
        double value, back = 0;
        memcpy(&value, &bits, sizeof value);
        if (isfinite(value) && !(pt_parse_double(pt_print_double(value, buffer), &back) &&
                                 memcmp(&back, &value, sizeof value) == 0))
            CHECK_MSG(false, "%a printed as %s", value, buffer);
        float single, single_back = 0;
        memcpy(&single, &low, sizeof single);
        if (isfinite(single) && !(pt_parse_float(pt_print_float(single, buffer), &single_back) &&
                                  memcmp(&single_back, &single, sizeof single) == 0))
            CHECK_MSG(false, "%a printed as %s", (double)single, buffer);
        if (isfinite(single) &&
            !(pt_parse_double(buffer, &back) && (float)back == single)) /* rounding twice */
            CHECK_MSG(false, "%a printed as %s", (double)single, buffer);
    }
    CHECK(true);
}

/* A comma locale that this machine may lack is stood in for by whichever it has. */
TEST(text, locales_change_nothing) {
    static const char *const locales[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", ""};
    for (size_t i = 0; i < COUNT(locales); i++)
        if (setlocale(LC_ALL, locales[i]))
            break;
    char buffer[32];
    double value = 0;
    CHECK_STR(pt_print_double(1.5, buffer), "1.5");
    CHECK_STR(pt_print_float(-0.25f, buffer), "-0.25");
    CHECK(pt_parse_double("2.5", &value) && value == 2.5);
    CHECK(!pt_parse_double("2,5", &value));
    setlocale(LC_ALL, "C");
}

TEST(text, nearest_names) {
    static const char *const keys[] = {"iterations", "batch_size", "seed", "evaluate_every",
                                       "evaluate"};
    static const struct {
        const char *name, *nearest;
    } cases[] = {
        {"iteration", "iterations"},
        {"itreations", "iterations"},
        {"sead", "seed"},
        {"esed", "seed"},
        {"Seed", "seed"},
        {"SEED", "seed"},
        {"batchsize", "batch_size"},
        {"batch-size", "batch_size"},
        {"batch", "batch_size"},
        {"evaluat", "evaluate"},
        {"evaluate", "evaluate"},
        {"xyz", NULL},
        {"", NULL},
        {"s", NULL},
        {"momentum", NULL},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        const char *nearest = pt_nearest_of(cases[i].name, keys, COUNT(keys));
        CHECK_MSG(cases[i].nearest ? nearest && strcmp(nearest, cases[i].nearest) == 0 : !nearest,
                  "'%s' gives %s", cases[i].name, nearest ? nearest : "nothing");
    }
    char longest[300];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    const char *const one[] = {longest, "b"};
    CHECK(!pt_nearest_of(longest, keys, COUNT(keys)));
    CHECK(!pt_nearest_of("a", one, 2));
    CHECK(!pt_nearest_of("a", NULL, 0));
}

TEST(text, utf8) {
    static const struct {
        const char *bytes;
        size_t size, at; /* at == size: all text */
    } cases[] = {
        {"", 0, 0},
        {"plain\ttext", 10, 10},
        {"\xC3\xA9\xE2\x82\xAC\xF0\x9F\x8D\x8E", 9, 9}, /* two, three, four bytes */
        {"a\0b", 3, 1},
        {"a\nb", 3, 1},
        {"\x7F", 1, 0},
        {"a\x1B", 2, 1},
        {"\xC0\xAF", 2, 0},         /* overlong */
        {"\xE0\x80\x80", 3, 0},     /* overlong */
        {"\xED\xA0\x80", 3, 0},     /* a surrogate */
        {"\xF4\x90\x80\x80", 4, 0}, /* above U+10FFFF */
        {"\xF5\x80\x80\x80", 4, 0},
        {"\xF0\x80\x80\x80", 4, 0},
        {"ok\xC3", 3, 2}, /* cut short */
        {"ok\xE2\x82", 4, 2},
        {"\xE2\x28\xA1", 3, 0},
        {"\xE2\x82\x28", 3, 0},
        {"\x80", 1, 0},
        {"\xEF\xBF\xBF", 3, 3},
        {"\xED\x9F\xBF", 3, 3},
        {"\xF4\x8F\xBF\xBF", 4, 4},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t at = cases[i].size;
        bool text = pt_is_text(cases[i].bytes, cases[i].size, &at);
        CHECK_MSG(text == (cases[i].at == cases[i].size) && at == cases[i].at, "case %zu: at %zu",
                  i, at);
    }
}

TEST(text, strings_grow) {
    pt_string s = {0};
    char expected[4000] = "";
    size_t used = 0;
    for (int i = 0; i < 800; i++) {
        pt_string_add(&s, "%d,", i);
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%d,", i);
    }
    CHECK(!s.failed);
    CHECK_INT(s.length, used);
    CHECK_STR(s.text, expected);
    pt_string_free(&s);
    CHECK(!s.text && s.length == 0);
    pt_string_free(&s);

    pt_string_add(&s, "kept");
    pt_memory_fail_at(1, 1);
    pt_string_add(&s, "%01000d", 1);
    pt_memory_fail_at(0, 0);
    CHECK(s.failed);
    pt_string_add(&s, "more");
    CHECK_STR(s.text, "kept");
    pt_string_free(&s);
}
