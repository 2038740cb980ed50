/* config.h: every choice of a run, typed, with where each came from.
 *
 * Filled by reading an INI file and overrides through the one table of keys in schema.c. Strings
 * are owned by the config. After pt_config_load every value lies within its documented range; what
 * needs more than one key to judge (shapes, layer types, which keys a layer type takes) is judged
 * by the graph, which uses the recorded places for its messages.
 */
#ifndef PT_CONFIG_CONFIG_H
#define PT_CONFIG_CONFIG_H

#include "ptrain/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a value was written: a line of a file, the command line ("--set", line 0), or nowhere: a
 * default (NULL). `file` is the config's path or static text; it lives as long as the config. */
typedef struct pt_place {
    const char *file;
    int line; /* from 1 */
} pt_place;

typedef enum pt_dataset_kind { PT_DATASET_IDX, PT_DATASET_CSV, PT_DATASET_NONE } pt_dataset_kind;
typedef enum pt_sampling {
    PT_SAMPLING_RANDOM,
    PT_SAMPLING_SHUFFLE,
    PT_SAMPLING_SEQUENTIAL
} pt_sampling;
typedef enum pt_gradient_mode { PT_GRADIENT_BACKPROP, PT_GRADIENT_NUMERICAL } pt_gradient_mode;
typedef enum pt_schedule {
    PT_SCHEDULE_AUTO,       /* measured choice */
    PT_SCHEDULE_PER_THREAD, /* per-thread gradients over shards, then reduction */
    PT_SCHEDULE_SLICES,     /* threads own slices of the parameters and walk every shard */
    PT_SCHEDULE_COLUMNS,    /* the same, but a wide layer's columns, from forward to update */
    PT_SCHEDULE_RELAY       /* the same, but the first layer's inputs, from forward to update */
} pt_schedule;
typedef enum pt_csv_target { PT_CSV_LABEL, PT_CSV_VALUES } pt_csv_target;
typedef enum pt_interval { PT_INTERVAL_ITERATIONS, PT_INTERVAL_EPOCHS } pt_interval;
typedef enum pt_save_error { PT_SAVE_ERROR_CONTINUE, PT_SAVE_ERROR_STOP } pt_save_error;
typedef enum pt_switch { PT_SWITCH_AUTO, PT_SWITCH_ON, PT_SWITCH_OFF } pt_switch;

/* By the names that a config gives them: "slices", "on" and so on. */
const char *pt_schedule_name(pt_schedule schedule);
const char *pt_switch_name(pt_switch position);

typedef enum pt_init_kind {
    PT_INIT_NORMAL,   /* N(0, scale^2) */
    PT_INIT_UNIFORM,  /* U[-scale, scale) */
    PT_INIT_CONSTANT, /* every element = scale */
    PT_INIT_XAVIER,   /* N(0, 1 / fan_in) (the book's section 6.2.2; Glorot and Bengio 2010) */
    PT_INIT_HE        /* N(0, 2 / fan_in) (He et al. 2015) */
} pt_init_kind;
typedef struct pt_init {
    pt_init_kind kind;
    double scale;
} pt_init;

enum {
    PT_MAX_INPUTS = 8,
    PT_NAME_MAX = 40, /* bytes of a layer's name */
    PT_MAX_LAYERS = 4096,
    PT_MAX_CLASSES = 1000000,
    PT_MAX_THREADS = 1024,
    PT_CONFIG_LINE_MAX = 199,     /* bytes of a line without its end: inih splits longer ones */
    PT_CONFIG_FILE_MAX = 1 << 20, /* bytes of a file */
};

/* Keys of a [layer.NAME] section, as bits: which ones a layer type takes, which ones were written.
 */
enum {
    PT_LAYER_KEY_UNITS = 1 << 0,
    PT_LAYER_KEY_INIT = 1 << 1,
    PT_LAYER_KEY_BIAS_INIT = 1 << 2,
    PT_LAYER_KEY_BIAS = 1 << 3,
    PT_LAYER_KEY_VALUE = 1 << 4
};

typedef struct pt_layer_config {
    char name[PT_NAME_MAX + 1];
    pt_place place; /* of the section line */
    char *type;
    pt_place type_place;
    char *inputs[PT_MAX_INPUTS]; /* empty: the layer before, or the data for the first layer */
    size_t input_count;
    pt_place input_place;
    size_t units;
    pt_init init, bias_init;
    bool bias;
    float *value; /* of a `variable` layer: value_count numbers */
    size_t value_count;
    unsigned keys_set;   /* PT_LAYER_KEY_*: what was written in the file or by an override */
    unsigned keys_taken; /* PT_LAYER_KEY_*: what the layer's type takes, once the graph has said so
                            (0 until then); pt_config_write then writes those even if defaulted */
    pt_place key_place[5]; /* by bit number */
} pt_layer_config;

typedef struct pt_config {
    char *path; /* as given to pt_config_load */

    struct {
        pt_dataset_kind dataset;
        char *train_images, *train_labels, *test_images, *test_labels; /* idx; "" = not given */
        char *train_file, *test_file;                                  /* csv; "" = not given */
        pt_csv_target target;  /* csv: the last column is a class label / the last columns values */
        size_t target_columns; /* csv with target = values */
        bool header;           /* csv: the first line names the columns */
        bool normalize;        /* bytes 0..255 become 0..1 */
        bool flatten;          /* one vector a row instead of the file's dimensions */
        size_t classes;        /* 0: one more than the largest training label */
        size_t limit;          /* use at most this many rows of each split; 0: all */
    } data;

    pt_layer_config *layers;
    size_t layer_count;

    struct {
        char *type;
        char *input; /* "" = the last layer */
        pt_place type_place, input_place;
    } loss;

    struct {
        uint64_t iterations;
        size_t batch_size;
        pt_sampling sampling;
        uint64_t seed;
        uint64_t evaluate_every; /* iterations; 0: once an epoch (and always at the end) */
        size_t evaluate_rows;    /* of each split, from its start; 0: all */
        bool evaluate;
        pt_gradient_mode gradient;
    } train;

    struct {
        char *type; /* "sgd", "momentum", "adam" */
        pt_place type_place;
        float learning_rate, momentum, beta1, beta2, epsilon;
    } optimizer;

    struct {
        size_t threads; /* 0: auto */
        size_t shards;
        int isa; /* pt_isa of simd/kernels.h */
        pt_schedule schedule;
        pt_switch loader;
    } parallel;

    struct {
        char *dir;
        pt_switch progress;
        uint64_t checkpoint_every; /* 0: only when interrupted */
        pt_interval checkpoint_unit;
        size_t keep; /* checkpoints */
        bool best;
        pt_save_error on_save_error;
    } output;

    /* Places of the keys above, by index into the table of schema.c. */
    pt_place *places;
} pt_config;

/* Writes only the keys that decide the numbers of a run, as an INI text that reads back: equal runs
 * give equal texts. Errors as pt_config_write. */
pt_status pt_config_write_numbers(const pt_config *config, FILE *stream, pt_error *err);

/* "FILE:LINE: ", "--set: " or "" as a prefix for a message, into a caller's buffer. */
const char *pt_place_text(pt_place place, char *buffer, size_t size);
/* Where `section.key` was set; a layer's key is ("layer.NAME", key). {NULL, 0}: a default, or no
 * such key. */
pt_place pt_config_place(const pt_config *config, const char *section, const char *key);

/* Whether two configs give the same numbers: PT_OK, or PT_ERR_CONFIG with the first few keys that
 * differ in `difference`, as "train.seed is 1 and 2; ..." (a's value first). Every key that can
 * change a number counts, by its effective value whether written or default; a data file counts by
 * its path. [output] and the threads, isa, schedule and loader of [parallel] never change a number
 * and do not count. PT_ERR_MEMORY when the comparison itself ran out of memory. */
pt_status pt_config_same_run(const pt_config *a, const pt_config *b, char *difference, size_t size);

#endif
