/* compare.c: whether two configs give the same numbers. */
#include "1_config/config.h"

#include "0_base/fail.h"
#include "1_config/schema.h"

#include <stdio.h>
#include <string.h>

enum { NAMED = 3 }; /* differences that are named; the others are counted */

typedef struct comparison {
    pt_string text;
    size_t differences;
    bool failed; /* out of memory */
} comparison;

static void note(comparison *c, const char *section, const char *layer, const char *key,
                 const char *a, const char *b) {
    if (c->differences++ < NAMED)
        pt_string_add(&c->text, "%s%s%s%s%s%s is %s and %s", c->differences > 1 ? "; " : "",
                      section, layer ? "." : "", layer ? layer : "", *key ? "." : "", key,
                      *a ? a : "(empty)", *b ? b : "(empty)");
}

static void compare_key(comparison *c, const pt_key *key, const char *layer, const void *a,
                        const void *b) {
    pt_string text_a = {0}, text_b = {0};
    pt_key_write(key, a, &text_a);
    pt_key_write(key, b, &text_b);
    const char *value_a = text_a.text ? text_a.text : "", *value_b = text_b.text ? text_b.text : "";
    if (text_a.failed || text_b.failed)
        c->failed = true;
    else if (strcmp(value_a, value_b) != 0)
        note(c, key->section, layer, key->name, value_a, value_b);
    pt_string_free(&text_a);
    pt_string_free(&text_b);
}

/* The input that a layer without one reads. */
static const char *default_input(const pt_config *config, size_t layer) {
    return layer ? config->layers[layer - 1].name : "data";
}

static bool same_inputs(const pt_config *a, const pt_config *b, size_t i) {
    const pt_layer_config *la = &a->layers[i], *lb = &b->layers[i];
    size_t count_a = la->input_count ? la->input_count : 1;
    size_t count_b = lb->input_count ? lb->input_count : 1;
    if (count_a != count_b)
        return false;
    for (size_t k = 0; k < count_a; k++) {
        const char *input_a = la->input_count ? la->inputs[k] : default_input(a, i);
        const char *input_b = lb->input_count ? lb->inputs[k] : default_input(b, i);
        if (strcmp(input_a, input_b) != 0)
            return false;
    }
    return true;
}

static void compare_layers(comparison *c, const pt_config *a, const pt_config *b) {
    char count_a[32], count_b[32];
    if (a->layer_count != b->layer_count) {
        snprintf(count_a, sizeof count_a, "%zu", a->layer_count);
        snprintf(count_b, sizeof count_b, "%zu", b->layer_count);
        note(c, "the number of layers", NULL, "", count_a, count_b);
        return;
    }
    for (size_t i = 0; i < a->layer_count; i++) {
        const pt_layer_config *la = &a->layers[i], *lb = &b->layers[i];
        if (strcmp(la->name, lb->name) != 0) {
            snprintf(count_a, sizeof count_a, "layer %zu", i + 1);
            note(c, count_a, NULL, "", la->name, lb->name);
            continue;
        }
        for (size_t k = 0; k < pt_key_count; k++) {
            const pt_key *key = &pt_keys[k];
            if (!pt_key_is_of_layer(key) || key->same_numbers)
                continue;
            if (key->kind != PT_KEY_NAMES || !same_inputs(a, b, i))
                compare_key(c, key, la->name, la, lb);
        }
    }
}

/* loss.input, empty for the last layer. */
static bool same_loss_input(const pt_config *a, const pt_config *b) {
    const char *last_a = a->layer_count ? a->layers[a->layer_count - 1].name : "";
    const char *last_b = b->layer_count ? b->layers[b->layer_count - 1].name : "";
    return strcmp(a->loss.input[0] ? a->loss.input : last_a,
                  b->loss.input[0] ? b->loss.input : last_b) == 0;
}

pt_status pt_config_same_run(const pt_config *a, const pt_config *b, char *difference,
                             size_t size) {
    comparison c = {0};
    bool loss_input = same_loss_input(a, b);
    for (size_t s = 0; s < PT_SECTION_COUNT; s++) {
        const char *section = pt_sections[s].name;
        if (strcmp(section, "layer") == 0) {
            compare_layers(&c, a, b);
            continue;
        }
        for (size_t i = 0; i < pt_key_count; i++) {
            const pt_key *key = &pt_keys[i];
            if (strcmp(key->section, section) == 0 && !key->same_numbers &&
                !(key->kind == PT_KEY_NAME && loss_input))
                compare_key(&c, key, NULL, a, b);
        }
    }
    if (c.differences > NAMED)
        pt_string_add(&c.text, "; and %zu more", c.differences - NAMED);
    pt_status status = c.failed || c.text.failed ? PT_ERR_MEMORY
                       : c.differences           ? PT_ERR_CONFIG
                                                 : PT_OK;
    if (size)
        snprintf(difference, size, "%s",
                 status == PT_ERR_MEMORY ? "out of memory"
                 : c.text.text           ? c.text.text
                                         : "");
    pt_string_free(&c.text);
    return status;
}
