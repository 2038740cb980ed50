/* config.c: a config's life: defaults, one key set after another, where each was set, the end. */
#include "1_config/config.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "1_config/schema.h"

#include <stdio.h>
#include <string.h>

/* ---- making and freeing ---- */

static pt_status set_defaults(bool of_layer, void *base, pt_error *err) {
    for (size_t i = 0; i < pt_key_count; i++) {
        const pt_key *key = &pt_keys[i];
        if (pt_key_is_of_layer(key) != of_layer)
            continue;
        if (key->initial[0] == '\0' && key->kind == PT_KEY_SIZE)
            continue; /* not given: 0, out of reach of what can be written */
        pt_status status = pt_key_read(key, base, key->initial, key->name, err);
        if (status)
            return status;
    }
    return PT_OK;
}

pt_status pt_config_new(const char *path, pt_config **config, pt_error *err) {
    pt_config *c = pt_calloc(1, sizeof *c);
    if (!c)
        return pt_fail_memory(err, "a config", sizeof *c);
    pt_status status;
    if (!(c->path = pt_strdup(path)) || !(c->places = pt_calloc(pt_key_count, sizeof *c->places)))
        status = pt_fail_memory(err, "a config", pt_key_count * sizeof *c->places);
    else
        status = set_defaults(false, c, err);
    if (status) {
        pt_config_free(c);
        return status;
    }
    *config = c;
    return PT_OK;
}

static void free_layer(pt_layer_config *layer) {
    pt_free(layer->type);
    for (size_t i = 0; i < layer->input_count; i++)
        pt_free(layer->inputs[i]);
    pt_free(layer->value);
}

/* What a key of a plain section owns. */
static void free_value(const pt_key *key, pt_config *config) {
    if (key->kind == PT_KEY_STRING || key->kind == PT_KEY_TYPE || key->kind == PT_KEY_NAME) {
        void *field = (char *)config + key->offset;
        pt_free(*(char **)field);
    }
}

void pt_config_free(pt_config *config) {
    if (!config)
        return;
    for (size_t i = 0; i < pt_key_count; i++)
        if (!pt_key_is_of_layer(&pt_keys[i]))
            free_value(&pt_keys[i], config);
    for (size_t i = 0; i < config->layer_count; i++)
        free_layer(&config->layers[i]);
    pt_free(config->layers);
    pt_free(config->places);
    pt_free(config->path);
    pt_free(config);
}

/* ---- layers ---- */

pt_layer_config *pt_config_find_layer(const pt_config *config, const char *name) {
    for (size_t i = 0; i < config->layer_count; i++)
        if (strcmp(config->layers[i].name, name) == 0)
            return &config->layers[i];
    return NULL;
}

pt_status pt_config_add_layer(pt_config *config, const char *name, pt_place place, pt_error *err) {
    char prefix[512];
    pt_place_text(place, prefix, sizeof prefix);
    if (!pt_is_layer_name(name))
        return pt_fail(
            err, PT_ERR_CONFIG,
            "%s[layer.%.80s] has no name that can be used; write letters, digits, _ . or -, "
            "at most %d, a letter or _ first",
            prefix, name, PT_NAME_MAX);
    if (strcmp(name, "data") == 0)
        return pt_fail(err, PT_ERR_CONFIG,
                       "%s[layer.data]: the name data stands for the dataset; write another one",
                       prefix);
    const pt_layer_config *first = pt_config_find_layer(config, name);
    if (first)
        return pt_fail(
            err, PT_ERR_CONFIG,
            "%sthe layer %s is already on line %d; write another name, or its keys there", prefix,
            name, first->place.line);
    if (config->layer_count == PT_MAX_LAYERS)
        return pt_fail(err, PT_ERR_CONFIG, "%stoo many layers; write at most %d", prefix,
                       PT_MAX_LAYERS);
    size_t count = config->layer_count;
    if ((count & (count - 1)) == 0) { /* full at each power of two */
        size_t bytes = (count ? 2 * count : 1) * sizeof *config->layers;
        pt_layer_config *layers = pt_realloc(config->layers, bytes);
        if (!layers)
            return pt_fail_memory(err, "the layers of a config", bytes);
        config->layers = layers;
    }
    pt_layer_config *layer = &config->layers[config->layer_count++];
    *layer = (pt_layer_config){.place = place};
    strcpy(layer->name, name);
    return set_defaults(true, layer, err);
}

/* ---- places ---- */

const char *pt_place_text(pt_place place, char *buffer, size_t size) {
    if (!place.file)
        snprintf(buffer, size, "%s", "");
    else if (place.line)
        snprintf(buffer, size, "%s:%d: ", place.file, place.line);
    else
        snprintf(buffer, size, "%s: ", place.file);
    return buffer;
}

/* Where the place of a key is kept. */
static pt_place *place_of(const pt_config *config, pt_layer_config *layer, const pt_key *key) {
    if (!layer)
        return &config->places[key - pt_keys];
    void *place = (char *)layer + key->place;
    return place;
}

pt_place pt_config_place(const pt_config *config, const char *section, const char *key) {
    pt_layer_config *layer = NULL;
    if (strncmp(section, "layer.", 6) == 0) {
        layer = pt_config_find_layer(config, section + 6);
        section = layer ? "layer" : "";
    }
    const pt_key *found = pt_key_find(section, key);
    if (!found || (pt_key_is_of_layer(found) && !layer))
        return (pt_place){0};
    return *place_of(config, layer, found);
}

/* ---- setting one key ---- */

static const char *next_key_of(const void *section, size_t i) {
    for (size_t k = 0; k < pt_key_count; k++)
        if (strcmp(pt_keys[k].section, section) == 0 && i-- == 0)
            return pt_keys[k].name;
    return NULL;
}

static pt_status unknown_key(const char *section, const char *name, const char *prefix,
                             pt_error *err) {
    const char *near = pt_nearest(name, next_key_of, section);
    if (near)
        return pt_fail(err, PT_ERR_CONFIG, "%s[%s] has no key '%.60s'; did you mean %s?", prefix,
                       section, name, near);
    for (size_t i = 0; i < PT_SECTION_COUNT; i++)
        if (pt_key_find(pt_sections[i].name, name))
            return pt_fail(err, PT_ERR_CONFIG, "%s[%s] has no key '%.60s'; write it in [%s%s]",
                           prefix, section, name, pt_sections[i].name,
                           strcmp(pt_sections[i].name, "layer") == 0 ? ".NAME" : "");
    char known[PT_ERROR_MESSAGE_SIZE] = "";
    size_t used = 0;
    const char *key;
    for (size_t i = 0; (key = next_key_of(section, i)) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", key);
    return pt_fail(err, PT_ERR_CONFIG, "%s[%s] has no key '%.60s'; it knows %s", prefix, section,
                   name, known);
}

static bool may_be_empty(const pt_key *key) {
    return key->initial[0] == '\0' && !key->needed && key->kind != PT_KEY_SIZE;
}

/* Whether what was just set can be written on a line that the reader takes. */
static pt_status check_width(const pt_key *key, const void *base, const char *where,
                             pt_error *err) {
    pt_string text = {0};
    pt_key_write(key, base, &text);
    size_t width = strlen(key->name) + strlen(" = ") + text.length;
    bool failed = text.failed;
    pt_string_free(&text);
    if (failed)
        return pt_fail_memory(err, key->name, width);
    if (width > PT_CONFIG_LINE_MAX)
        return pt_fail(err, PT_ERR_CONFIG,
                       "%s would make a line of %zu bytes; write something shorter, at most %d",
                       where, width, PT_CONFIG_LINE_MAX);
    return PT_OK;
}

pt_status pt_config_set(pt_config *config, const char *section, pt_layer_config *layer,
                        const char *name, const char *value, pt_place place, pt_error *err) {
    char prefix[512], where[768], expects[256];
    pt_place_text(place, prefix, sizeof prefix);
    if (*name == '\0')
        return pt_fail(err, PT_ERR_CONFIG, "%sno key stands before the '='; write key = value",
                       prefix);
    const pt_key *key = pt_key_find(section, name);
    if (!key)
        return unknown_key(section, name, prefix, err);

    snprintf(where, sizeof where, "%s%s%s%s.%s", prefix, section, layer ? "." : "",
             layer ? layer->name : "", name);
    pt_place *known = place_of(config, layer, key);
    if (place.line && known->line)
        return pt_fail(err, PT_ERR_CONFIG, "%s is already set on line %d; write it once", where,
                       known->line);
    if (*value == '\0' && !may_be_empty(key))
        return pt_fail(err, PT_ERR_CONFIG, "%s has no value; write %s", where,
                       pt_key_expects(key, expects, sizeof expects));
    void *base = layer ? (void *)layer : (void *)config;
    pt_status status = pt_key_read(key, base, value, where, err);
    if (!status)
        status = check_width(key, base, where, err);
    if (status)
        return status;
    *known = place;
    if (layer)
        layer->keys_set |= key->bit;
    return PT_OK;
}

/* ---- sections and overrides by name ---- */

static const char *next_section(const void *context, size_t i) {
    (void)context;
    return i < PT_SECTION_COUNT ? pt_sections[i].name : NULL;
}

pt_status pt_unknown_section(const char *name, pt_place place, pt_error *err) {
    char prefix[512];
    pt_place_text(place, prefix, sizeof prefix);
    if (strcmp(name, "layer") == 0)
        return pt_fail(err, PT_ERR_CONFIG, "%s[layer] lacks the layer's name; write [layer.NAME]",
                       prefix);
    const char *near = pt_nearest(name, next_section, NULL);
    const char *dot = strchr(name, '.');
    bool layer_near = near && strcmp(near, "layer") == 0;
    if (dot && !near) { /* [layers.fc1] */
        char word[16];
        snprintf(word, sizeof word, "%.*s", (int)(dot - name), name);
        const char *const layer = "layer";
        layer_near = pt_nearest_of(word, &layer, 1) != NULL;
    }
    if (layer_near)
        return pt_fail(err, PT_ERR_CONFIG,
                       "%sthere is no section [%.60s]; did you mean [layer.%.60s]?", prefix, name,
                       dot ? dot + 1 : "NAME");
    if (near)
        return pt_fail(err, PT_ERR_CONFIG, "%sthere is no section [%.60s]; did you mean [%s]?",
                       prefix, name, near);
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < PT_SECTION_COUNT && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s[%s%s]", i ? ", " : "",
                                 pt_sections[i].name,
                                 strcmp(pt_sections[i].name, "layer") == 0 ? ".NAME" : "");
    return pt_fail(err, PT_ERR_CONFIG, "%sthere is no section [%.60s]; write one of %s", prefix,
                   name, known);
}

const char *pt_config_layer_name(const void *context, size_t i) {
    const pt_config *config = context;
    return i < config->layer_count ? config->layers[i].name : NULL;
}

static pt_status unknown_layer(const pt_config *config, const char *name, pt_error *err) {
    const char *near = pt_nearest(name, pt_config_layer_name, config);
    if (near)
        return pt_fail(err, PT_ERR_CONFIG, "--set: there is no layer '%.60s'; did you mean %s?",
                       name, near);
    return pt_fail(err, PT_ERR_CONFIG,
                   "--set: there is no layer '%.60s'; an override cannot make one, write a section "
                   "[layer.NAME] in the file",
                   name);
}

static pt_status set_by_name(pt_config *config, const char *section, const char *name,
                             const char *value, pt_error *err) {
    const pt_place place = {"--set", 0};
    if (strncmp(section, "layer.", 6) == 0) {
        pt_layer_config *layer = pt_config_find_layer(config, section + 6);
        if (!layer)
            return unknown_layer(config, section + 6, err);
        return pt_config_set(config, "layer", layer, name, value, place, err);
    }
    bool known = false;
    for (size_t i = 0; i < PT_SECTION_COUNT; i++)
        known = known || strcmp(pt_sections[i].name, section) == 0;
    if (!known || strcmp(section, "layer") == 0)
        return pt_unknown_section(section, place, err);
    return pt_config_set(config, section, NULL, name, value, place, err);
}

/* Cuts blanks off both ends of a string that may be changed. */
static char *trim(char *text) {
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        length--;
    text[length] = '\0';
    return text;
}

pt_status pt_config_override(pt_config *config, const char *text, pt_error *err) {
    size_t at;
    if (!pt_is_text(text, strlen(text), &at))
        return pt_fail(
            err, PT_ERR_CONFIG,
            "--set: byte %zu is no text; write section.key=value in UTF-8 without control "
            "characters",
            at + 1);
    char *copy = pt_strdup(text);
    if (!copy)
        return pt_fail_memory(err, "--set", strlen(text) + 1);
    pt_status status;
    char *equals = strchr(copy, '=');
    if (equals)
        *equals = '\0';
    char *name = trim(copy), *dot = strrchr(name, '.');
    if (!equals || !dot || dot == name) {
        status =
            pt_fail(err, PT_ERR_CONFIG,
                    "--set: '%.60s' is no override; write section.key=value, as train.seed=2 or "
                    "layer.fc1.units=20",
                    text);
    } else {
        *dot = '\0';
        status = set_by_name(config, name, dot + 1, trim(equals + 1), err);
    }
    pt_free(copy);
    return status;
}
