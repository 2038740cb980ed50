/* writer.c: a config as an INI file, and the reference of every key. */
#include "1_config/config.h"

#include "0_base/fail.h"
#include "1_config/schema.h"

#include <errno.h>
#include <string.h>

/* Hands a finished text to the stream and frees it. */
static pt_status deliver(pt_string *text, FILE *stream, pt_error *err) {
    pt_status status = PT_OK;
    if (text->failed) {
        status = pt_fail_memory(err, "the text of a config", text->room * 2);
    } else if (fwrite(text->text, 1, text->length, stream) != text->length || fflush(stream) != 0) {
        status = pt_fail(err, PT_ERR_IO, "cannot write the config: %s", strerror(errno));
    }
    pt_string_free(text);
    return status;
}

/* "key = value"; an empty one as "key =", or not at all. */
static void write_line(const pt_key *key, const void *base, bool even_empty, pt_string *out) {
    pt_string value = {0};
    pt_key_write(key, base, &value);
    if (value.length)
        pt_string_add(out, "%s = %s\n", key->name, value.text);
    else if (even_empty)
        pt_string_add(out, "%s =\n", key->name);
    out->failed = out->failed || value.failed;
    pt_string_free(&value);
}

static void start_section(const char *name, const char *layer, pt_string *out) {
    pt_string_add(out, "%s[%s%s%s]\n", out->length ? "\n" : "", name, layer ? "." : "",
                  layer ? layer : "");
}

/* `numbers`: only keys that decide the numbers of a run; a section without any is left out. */
static void write_section(const pt_config *config, const char *section, bool numbers,
                          pt_string *out) {
    bool started = false;
    for (size_t i = 0; i < pt_key_count; i++) {
        if (strcmp(pt_keys[i].section, section) != 0 ||
            (numbers && (pt_keys[i].same_numbers || pt_keys[i].changes_length)))
            continue;
        if (!started)
            start_section(section, NULL, out);
        started = true;
        write_line(&pt_keys[i], config, true, out);
    }
}

/* A layer's type decides which keys it takes, and it refuses the others; so those are written that
 * were given, or that the graph has said the type takes. */
static void write_layer(const pt_layer_config *layer, pt_string *out) {
    start_section("layer", layer->name, out);
    for (size_t i = 0; i < pt_key_count; i++) {
        const pt_key *key = &pt_keys[i];
        bool shown = key->bit == 0 || ((layer->keys_set | layer->keys_taken) & key->bit) != 0;
        if (pt_key_is_of_layer(key) && shown)
            write_line(key, layer, false, out);
    }
}

static pt_status write_config(const pt_config *config, bool numbers, FILE *stream, pt_error *err) {
    pt_string out = {0};
    for (size_t s = 0; s < PT_SECTION_COUNT; s++) {
        const char *section = pt_sections[s].name;
        if (strcmp(section, "layer") != 0) {
            write_section(config, section, numbers, &out);
            continue;
        }
        for (size_t i = 0; i < config->layer_count; i++)
            write_layer(&config->layers[i], &out);
    }
    return deliver(&out, stream, err);
}

pt_status pt_config_write(const pt_config *config, FILE *stream, pt_error *err) {
    return write_config(config, false, stream, err);
}

pt_status pt_config_write_numbers(const pt_config *config, FILE *stream, pt_error *err) {
    return write_config(config, true, stream, err);
}

/* ---- the reference ---- */

/* Text as comment lines, broken at blanks. */
static void write_comment(const char *text, pt_string *out) {
    enum { WIDTH = 96 };
    while (*text) {
        size_t length = strlen(text);
        if (length > WIDTH) {
            length = WIDTH;
            while (length > 1 && text[length] != ' ')
                length--;
        }
        pt_string_add(out, "# %.*s\n", (int)length, text);
        text += length;
        text += strspn(text, " ");
    }
}

static void write_reference_key(const pt_key *key, pt_string *out) {
    char expects[256];
    pt_string facts = {0};
    pt_string_add(out, "\n");
    write_comment(key->help, out);
    pt_string_add(&facts, "Write %s. ", pt_key_expects(key, expects, sizeof expects));
    if (key->needed)
        pt_string_add(&facts, "A layer needs one.");
    else
        pt_string_add(&facts, "Default: %s.", key->initial[0] ? key->initial : "none");
    if (facts.text)
        write_comment(facts.text, out);
    out->failed = out->failed || facts.failed;
    pt_string_free(&facts);

    const char *value = key->example ? key->example : key->initial;
    bool commented = strncmp(value, "; ", 2) == 0;
    value += commented ? 2 : 0;
    pt_string_add(out, "%s%s =%s%s\n", commented ? "; " : "", key->name, *value ? " " : "", value);
}

pt_status pt_config_write_reference(FILE *stream, pt_error *err) {
    pt_string out = {0};
    write_comment(
        "Every section and key of a ptrain config, with what may be written and the default. "
        "This file is itself a config: one affine layer on MNIST. It is made from the table "
        "in src/1_config/schema.c: make changes there.",
        &out);
    pt_string_add(&out, "#\n");
    write_comment(
        "A line is `key = value`. A comment starts with ; or # at the start of a line, or with "
        "; after a blank. A key or section that is missing takes its default; one that is "
        "unknown is an error. Lines have at most 199 bytes. Any key can be set on the command "
        "line: --set train.seed=2, --set layer.fc1.units=20.",
        &out);
    for (size_t s = 0; s < PT_SECTION_COUNT; s++) {
        const char *section = pt_sections[s].name;
        pt_string_add(&out, "\n");
        write_comment(pt_sections[s].help, &out);
        pt_string_add(&out, "[%s%s]\n", section, strcmp(section, "layer") == 0 ? ".fc1" : "");
        for (size_t i = 0; i < pt_key_count; i++)
            if (strcmp(pt_keys[i].section, section) == 0)
                write_reference_key(&pt_keys[i], &out);
    }
    return deliver(&out, stream, err);
}
