/* schema.h: the table of sections and keys, and what every kind of value can do: be read, be
 * written, say what it expects. Reader, overrides, writer, reference and comparison all work from
 * it.
 */
#ifndef PT_CONFIG_SCHEMA_H
#define PT_CONFIG_SCHEMA_H

#include "0_base/text.h"
#include "1_config/config.h"

/* The kind of a value, with the C type of its field. */
typedef enum pt_key_kind {
    PT_KEY_BOOL,    /* bool: true or false */
    PT_KEY_CHOICE,  /* an enum or int: the index into `choices` */
    PT_KEY_SIZE,    /* size_t; with `choices`, {"auto"} stands for 0 */
    PT_KEY_U64,     /* uint64_t */
    PT_KEY_FLOAT,   /* float */
    PT_KEY_STRING,  /* char *: any text */
    PT_KEY_NAME,    /* char *: the name of a layer */
    PT_KEY_TYPE,    /* char *: a word that the graph judges */
    PT_KEY_INIT,    /* pt_init */
    PT_KEY_NAMES,   /* inputs and input_count of a pt_layer_config */
    PT_KEY_NUMBERS, /* value and value_count of a pt_layer_config */
} pt_key_kind;

typedef struct pt_key {
    const char *section; /* "layer" for the keys of every [layer.NAME] */
    const char *name;
    pt_key_kind kind;
    size_t offset; /* of the field in pt_config, or in pt_layer_config */
    size_t bytes;  /* of the field, which a test holds against the kind */
    const char *const *choices;
    size_t choice_count;
    uint64_t least, most; /* range of a PT_KEY_SIZE or PT_KEY_U64 */
    double low, high;     /* range of a PT_KEY_FLOAT */
    const char *unit;     /* or NULL */
    const char *expects;  /* what may be written, where the kind does not say it; or NULL */
    const char *initial;  /* the default as it would be written; "" = not given */
    const char *example; /* for the reference, instead of the default: a value, or "; value" to show
                            the key as a comment */
    bool needed;         /* a layer must have it; it has no default */
    bool same_numbers;   /* another value gives the same numbers, to the bit */
    bool changes_length; /* another value gives more of them, or fewer */
    size_t place;        /* layer keys: offset of the pt_place in pt_layer_config */
    unsigned bit;        /* layer keys: PT_LAYER_KEY_*, or 0 for type and input */
    const char *help;    /* what it means, in whole sentences */
} pt_key;

extern const pt_key pt_keys[];
extern const size_t pt_key_count;

typedef struct pt_section {
    const char *name;
    const char *help;
} pt_section;

enum { PT_SECTION_COUNT = 7 };

/* In the order in which files are written; "layer" stands for all [layer.NAME] sections. */
extern const pt_section pt_sections[PT_SECTION_COUNT];

/* NULL when there is none. */
const pt_key *pt_key_find(const char *section, const char *name);
bool pt_key_is_of_layer(const pt_key *key);
/* Where a layer's key was written; no file: nowhere. */
pt_place pt_key_place(const pt_key *key, const pt_layer_config *layer);
/* A layer's name: [A-Za-z_][A-Za-z0-9_.-]*, at most PT_NAME_MAX bytes. */
bool pt_is_layer_name(const char *name);

/* Sets the field of `key` in `base` (a pt_config or pt_layer_config) from `text`. `where` starts
 * the message of an error: "file:12: train.seed". What the field owned is freed once the new value
 * is there; on failure it stays. `text` is changed neither. */
pt_status pt_key_read(const pt_key *key, void *base, const char *text, const char *where,
                      pt_error *err);
/* Writes the field as pt_key_read takes it; nothing for a value that was not given. */
void pt_key_write(const pt_key *key, const void *base, pt_string *out);
/* What may be written: "1 to 1048576 rows", "random, shuffle or sequential". Returns `buffer`. */
const char *pt_key_expects(const pt_key *key, char *buffer, size_t size);

/* A config and a layer with every default; what they own is freed by pt_config_free. */
pt_status pt_config_new(const char *path, pt_config **config, pt_error *err);
pt_status pt_config_add_layer(pt_config *config, const char *name, pt_place place, pt_error *err);
pt_layer_config *pt_config_find_layer(const pt_config *config, const char *name);
/* The i-th layer's name, NULL at the end, of a pt_config: for pt_nearest and pt_suggest. */
const char *pt_config_layer_name(const void *config, size_t i);

/* Sets one key from a file or an override: finds it in the section (for a layer's section `layer`
 * is the layer), reads the value and notes the place. Errors start with the place. */
pt_status pt_config_set(pt_config *config, const char *section, pt_layer_config *layer,
                        const char *name, const char *value, pt_place place, pt_error *err);
/* Applies "section.key=value". */
pt_status pt_config_override(pt_config *config, const char *text, pt_error *err);
/* Reads a file's text into a config of defaults. */
pt_status pt_config_read_text(pt_config *config, const char *text, size_t size, pt_error *err);

/* Refuses an unknown section name, with the nearest known one. */
pt_status pt_unknown_section(const char *name, pt_place place, pt_error *err);

#endif
