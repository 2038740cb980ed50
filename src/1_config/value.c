/* value.c: reading, writing and describing one value of each kind of key. */
#include "1_config/schema.h"

#include "0_base/fail.h"
#include "0_base/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const init_names[] = {"normal", "uniform", "constant", "xavier", "he"};
enum { INIT_NAMES = sizeof init_names / sizeof *init_names };
_Static_assert(PT_INIT_HE + 1 == INIT_NAMES, "one name an initialisation");

/* What a reader of one value works on. */
typedef struct reading {
    const pt_key *key;
    void *base;  /* pt_config or pt_layer_config */
    void *field; /* in base */
    const char *text;
    const char *where;
    pt_error *err;
} reading;

_Static_assert(PT_MAX_INPUTS == 8 && PT_NAME_MAX == 40, "as pt_key_expects says");

enum { SHOWN = 60, EXPECTS_SIZE = 256 }; /* bytes of a wrong value that a message shows */

static const char *dots(const char *text) {
    return strlen(text) > SHOWN ? "..." : "";
}

/* "WHERE = TEXT PROBLEM; write EXPECTED". */
static pt_status refuse(const reading *r, const char *problem) {
    char expects[EXPECTS_SIZE];
    return pt_fail(r->err, PT_ERR_CONFIG, "%s = %.*s%s %s; write %s", r->where, SHOWN, r->text,
                   dots(r->text), problem, pt_key_expects(r->key, expects, sizeof expects));
}

static pt_status no_memory(const reading *r) {
    return pt_fail_memory(r->err, r->key->name, strlen(r->text) + 1);
}

static pt_status unknown_word(const reading *r, const char *word, const char *const *words,
                              size_t count) {
    const char *near = pt_nearest_of(word, words, count);
    if (!near)
        return refuse(r, "is not known");
    return pt_fail(r->err, PT_ERR_CONFIG, "%s = %.*s%s is not known; did you mean %s?", r->where,
                   SHOWN, r->text, dots(r->text), near);
}

/* ---- one reader a kind ---- */

static bool find_word(const char *text, const char *const *words, size_t count, size_t *index) {
    for (*index = 0; *index < count; ++*index)
        if (strcmp(words[*index], text) == 0)
            return true;
    return false;
}

static pt_status read_choice(const reading *r) {
    size_t index;
    if (!find_word(r->text, r->key->choices, r->key->choice_count, &index))
        return unknown_word(r, r->text, r->key->choices, r->key->choice_count);
    if (r->key->kind == PT_KEY_BOOL) {
        memcpy(r->field, &(bool){index == 1}, sizeof(bool));
    } else {
        /* An enum, whose type is the compiler's choice: int or unsigned, of the same size. */
        memcpy(r->field, &(int){(int)index}, sizeof(int));
    }
    return PT_OK;
}

static pt_status read_whole(const reading *r) {
    uint64_t value = 0;
    size_t index;
    bool word = find_word(r->text, r->key->choices, r->key->choice_count, &index);
    if (!word) {
        if (!pt_parse_u64(r->text, &value)) {
            bool digits = r->text[strspn(r->text, "0123456789")] == '\0';
            return refuse(r, digits ? "is out of range" : "is not a whole number");
        }
        if (value < r->key->least || value > r->key->most)
            return refuse(r, "is out of range");
    }
    if (r->key->kind == PT_KEY_U64)
        *(uint64_t *)r->field = value;
    else
        *(size_t *)r->field = value;
    return PT_OK;
}

static pt_status read_real(const reading *r) {
    double exact; /* the range is judged before rounding to float */
    float value;
    if (!pt_parse_double(r->text, &exact))
        return refuse(r, "is not a number");
    if (exact < r->key->low || exact > r->key->high)
        return refuse(r, "is out of range");
    if (!pt_parse_float(r->text, &value))
        return refuse(r, "is too small for a float");
    *(float *)r->field = value;
    return PT_OK;
}

/* A text must survive being written to a file and read again, where " ;" starts a comment. " #"
 * does not, but surely was meant to. */
static pt_status read_string(const reading *r) {
    for (const char *c = r->text; *c; c++)
        if ((*c == ';' || *c == '#') && (c == r->text || c[-1] == ' ' || c[-1] == '\t'))
            return refuse(r, *c == ';' ? "has a ';' that would start a comment"
                                       : "has a '#' that looks like a comment, which takes a ';'");
    char *copy = pt_strdup(r->text);
    if (!copy)
        return no_memory(r);
    char **field = r->field;
    pt_free(*field);
    *field = copy;
    return PT_OK;
}

static pt_status read_name(const reading *r) {
    if (*r->text && !pt_is_layer_name(r->text))
        return refuse(r, "is not a name");
    return read_string(r);
}

/* WORD or WORD(NUMBER). */
static pt_status read_init(const reading *r) {
    char word[16] = "", number[64] = "";
    const char *open = strchr(r->text, '(');
    size_t letters = open ? (size_t)(open - r->text) : strlen(r->text);
    while (letters && (r->text[letters - 1] == ' ' || r->text[letters - 1] == '\t'))
        letters--;
    if (letters < sizeof word)
        memcpy(word, r->text, letters);
    size_t index;
    if (!find_word(word, init_names, INIT_NAMES, &index))
        return unknown_word(r, word, init_names, INIT_NAMES);
    pt_init init = {(pt_init_kind)index, 0.0};
    bool takes_number = init.kind != PT_INIT_XAVIER && init.kind != PT_INIT_HE;
    if (!takes_number) {
        if (open)
            return refuse(r, "takes no number");
        *(pt_init *)r->field = init;
        return PT_OK;
    }
    if (!open)
        return refuse(r, "lacks its number");
    const char *start = open + 1 + strspn(open + 1, " \t");
    size_t length = strcspn(start, " \t)");
    if (length < sizeof number)
        memcpy(number, start, length);
    const char *close = start + length + strspn(start + length, " \t");
    if (strcmp(close, ")") != 0 || !pt_parse_double(number, &init.scale))
        return refuse(r, "is not a number in brackets");
    bool negative_scale = init.scale < 0 && init.kind != PT_INIT_CONSTANT;
    if (negative_scale || fabs(init.scale) > 1e6)
        return refuse(r, "is out of range");
    *(pt_init *)r->field = init;
    return PT_OK;
}

/* The next part of a comma list, trimmed, into `part`; NULL when it is too long for it. The list is
 * over when *rest is NULL. */
static const char *next_part(const char **rest, char *part, size_t size) {
    const char *start = *rest + strspn(*rest, " \t");
    size_t length = strcspn(start, ",");
    *rest = start[length] ? start + length + 1 : NULL;
    while (length && (start[length - 1] == ' ' || start[length - 1] == '\t'))
        length--;
    if (length >= size)
        return NULL;
    memcpy(part, start, length);
    part[length] = '\0';
    return part;
}

static pt_status read_names(const reading *r) {
    pt_layer_config *layer = r->base;
    char *inputs[PT_MAX_INPUTS] = {0};
    size_t count = 0;
    pt_status status = PT_OK;
    for (const char *rest = *r->text ? r->text : NULL; rest && !status;) {
        char part[PT_NAME_MAX + 1];
        if (!next_part(&rest, part, sizeof part) || !pt_is_layer_name(part))
            status = refuse(r, "is not a list of names");
        else if (count == PT_MAX_INPUTS)
            status = refuse(r, "names too many layers");
        else if (!(inputs[count] = pt_strdup(part)))
            status = no_memory(r);
        else
            count++;
    }
    char **discard = status ? inputs : layer->inputs;
    for (size_t i = 0; i < PT_MAX_INPUTS; i++)
        pt_free(discard[i]);
    if (status)
        return status;
    memcpy(layer->inputs, inputs, sizeof inputs);
    layer->input_count = count;
    return PT_OK;
}

static pt_status read_numbers(const reading *r) {
    pt_layer_config *layer = r->base;
    size_t count = 0;
    if (*r->text) {
        count = 1;
        for (const char *c = r->text; *c; c++)
            count += *c == ',';
    }
    float *values = NULL;
    if (count && !(values = pt_calloc(count, sizeof *values)))
        return pt_fail_memory(r->err, r->key->name, count * sizeof *values);
    const char *rest = r->text;
    for (size_t i = 0; i < count; i++) {
        char part[64];
        if (!next_part(&rest, part, sizeof part) || !pt_parse_float(part, &values[i])) {
            pt_free(values);
            return refuse(r, count == 1 ? "is not a number" : "is not a list of numbers");
        }
    }
    pt_free(layer->value);
    layer->value = values;
    layer->value_count = count;
    return PT_OK;
}

pt_status pt_key_read(const pt_key *key, void *base, const char *text, const char *where,
                      pt_error *err) {
    reading r = {key, base, (char *)base + key->offset, text, where, err};
    switch (key->kind) {
    case PT_KEY_BOOL:
    case PT_KEY_CHOICE:
        return read_choice(&r);
    case PT_KEY_SIZE:
    case PT_KEY_U64:
        return read_whole(&r);
    case PT_KEY_FLOAT:
        return read_real(&r);
    case PT_KEY_STRING:
    case PT_KEY_TYPE:
        return read_string(&r);
    case PT_KEY_NAME:
        return read_name(&r);
    case PT_KEY_INIT:
        return read_init(&r);
    case PT_KEY_NAMES:
        return read_names(&r);
    case PT_KEY_NUMBERS:
        return read_numbers(&r);
    }
    return refuse(&r, "is of no known kind");
}

/* ---- writing ---- */

static void write_init(pt_init init, pt_string *out) {
    char number[32];
    if (init.kind == PT_INIT_XAVIER || init.kind == PT_INIT_HE)
        pt_string_add(out, "%s", init_names[init.kind]);
    else
        pt_string_add(out, "%s(%s)", init_names[init.kind], pt_print_double(init.scale, number));
}

static void write_whole(const pt_key *key, uint64_t value, pt_string *out) {
    if (value == 0 && key->choice_count)
        pt_string_add(out, "%s", key->choices[0]);
    else if (value > 0 || key->initial[0]) /* else not given: written as nothing */
        pt_string_add(out, "%llu", (unsigned long long)value);
}

void pt_key_write(const pt_key *key, const void *base, pt_string *out) {
    const void *field = (const char *)base + key->offset;
    const pt_layer_config *layer = base; /* of the kinds that only layers have */
    char number[32];
    int choice;
    switch (key->kind) {
    case PT_KEY_BOOL:
        pt_string_add(out, "%s", key->choices[*(const bool *)field ? 1 : 0]);
        return;
    case PT_KEY_CHOICE:
        memcpy(&choice, field, sizeof choice);
        pt_string_add(out, "%s", key->choices[choice]);
        return;
    case PT_KEY_SIZE:
        write_whole(key, *(const size_t *)field, out);
        return;
    case PT_KEY_U64:
        write_whole(key, *(const uint64_t *)field, out);
        return;
    case PT_KEY_FLOAT:
        pt_string_add(out, "%s", pt_print_float(*(const float *)field, number));
        return;
    case PT_KEY_STRING:
    case PT_KEY_TYPE:
    case PT_KEY_NAME:
        pt_string_add(out, "%s", *(char *const *)field);
        return;
    case PT_KEY_INIT:
        write_init(*(const pt_init *)field, out);
        return;
    case PT_KEY_NAMES:
        for (size_t i = 0; i < layer->input_count; i++)
            pt_string_add(out, "%s%s", i ? ", " : "", layer->inputs[i]);
        return;
    case PT_KEY_NUMBERS:
        for (size_t i = 0; i < layer->value_count; i++)
            pt_string_add(out, "%s%s", i ? ", " : "", pt_print_float(layer->value[i], number));
        return;
    }
}

/* ---- describing ---- */

/* "a, b or c" into buffer[used..]. */
static void list_choices(const pt_key *key, char *buffer, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < key->choice_count && used < size; i++) {
        const char *before = i == 0 ? "" : i + 1 == key->choice_count ? " or " : ", ";
        used += (size_t)snprintf(buffer + used, size - used, "%s%s", before, key->choices[i]);
    }
}

const char *pt_key_expects(const pt_key *key, char *buffer, size_t size) {
    const char *blank = key->unit ? " " : "", *unit = key->unit ? key->unit : "";
    char low[32], high[32];
    const char *text = "";
    switch (key->kind) {
    case PT_KEY_BOOL:
    case PT_KEY_CHOICE:
        list_choices(key, buffer, size);
        return buffer;
    case PT_KEY_SIZE:
    case PT_KEY_U64:
        snprintf(buffer, size, "%s%s%llu to %llu%s%s", key->choice_count ? key->choices[0] : "",
                 key->choice_count ? " or " : "", (unsigned long long)key->least,
                 (unsigned long long)key->most, blank, unit);
        return buffer;
    case PT_KEY_FLOAT:
        snprintf(buffer, size, "a number from %s to %s%s%s", pt_print_double(key->low, low),
                 pt_print_double(key->high, high), blank, unit);
        return buffer;
    case PT_KEY_INIT:
        text =
            "normal(S), uniform(S), constant(C), xavier or he, with S from 0 to 1000000 and C from "
            "-1000000 to 1000000";
        break;
    case PT_KEY_NAME:
        text = "the name of a layer (letters, digits, _ . -, at most 40, a letter or _ first)";
        break;
    case PT_KEY_NAMES:
        text = "up to 8 names of layers (letters, digits, _ . -, at most 40, a letter or _ first) "
               "with commas between them";
        break;
    case PT_KEY_NUMBERS:
        text = "a number, or several with commas between them";
        break;
    case PT_KEY_STRING:
    case PT_KEY_TYPE:
        text = key->expects;
        break;
    }
    snprintf(buffer, size, "%s", text);
    return buffer;
}
