/* schema.c: THE table of every section and key. A new key is one entry here and one field in
 * config.h (of a layer, also a bit and a key_place there); reading, overriding, writing, the reference and
 * the comparison of runs follow.
 */
#include "1_config/schema.h"

#include "1_config/layer_types.h"
#include "simd/kernels.h"

#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Names of an enum's values in the order of its declaration. */
static const char *const booleans[] = {"false", "true"};
static const char *const datasets[] = {"idx", "csv", "none"};
static const char *const targets[] = {"label", "values"};
static const char *const samplings[] = {"random", "shuffle", "sequential"};
static const char *const gradients[] = {"backprop", "numerical"};
static const char *const schedules[] = {"auto", "per_thread", "slices", "columns", "relay"};
static const char *const switches[] = {"auto", "on", "off"};
static const char *const intervals[] = {"iterations", "epochs"};
static const char *const save_errors[] = {"continue", "stop"};
static const char *const automatic[] = {"auto"};

_Static_assert(PT_DATASET_NONE + 1 == COUNT(datasets), "one name a dataset kind");
_Static_assert(PT_CSV_VALUES + 1 == COUNT(targets), "one name a kind of target");
_Static_assert(PT_SAMPLING_SEQUENTIAL + 1 == COUNT(samplings), "one name a sampling");
_Static_assert(PT_GRADIENT_NUMERICAL + 1 == COUNT(gradients), "one name a gradient mode");
_Static_assert(PT_SCHEDULE_RELAY + 1 == COUNT(schedules), "one name a schedule");
_Static_assert(PT_INTERVAL_EPOCHS + 1 == COUNT(intervals), "one name an interval");
_Static_assert(PT_SAVE_ERROR_STOP + 1 == COUNT(save_errors), "one name a reaction");
_Static_assert(PT_SWITCH_OFF + 1 == COUNT(switches), "one name a switch position");

/* Entries. KEY is a key of a plain section, LAYER one of [layer.NAME]. */
#define FIELD(type, field) .offset = offsetof(type, field), .bytes = sizeof(((type *)0)->field)
#define KEY(section_, key) .section = #section_, .name = #key, FIELD(pt_config, section_.key)
#define NO_NUMBERS         .same_numbers = true
#define LAYER(key, field, place_, bit_)                                                            \
    .section = "layer", .name = #key, FIELD(pt_layer_config, field),                               \
    .place = offsetof(pt_layer_config, place_), .bit = (bit_)

#define BOOL           .kind = PT_KEY_BOOL, .choices = booleans, .choice_count = COUNT(booleans)
#define CHOICE(names)  .kind = PT_KEY_CHOICE, .choices = (names), .choice_count = COUNT(names)
#define SIZE(min, max) .kind = PT_KEY_SIZE, .least = (min), .most = (max)
#define U64(min, max)  .kind = PT_KEY_U64, .least = (min), .most = (max)
#define REAL(min, max) .kind = PT_KEY_FLOAT, .low = (min), .high = (max)
#define PATH(what)     .kind = PT_KEY_STRING, .expects = (what)
#define NAME           .kind = PT_KEY_NAME
#define TYPE(list)     .kind = PT_KEY_TYPE, .expects = (list)
#define INIT           .kind = PT_KEY_INIT

#define COMMA_NAME(name) ", " #name

#define TRILLION UINT64_C(1000000000000)
#define MNIST    "data/mnist/"

const pt_section pt_sections[PT_SECTION_COUNT] = {
    {"data", "Where the rows to train and test on come from."},
    {"layer",
     "One section [layer.NAME] per layer of the network, in any order. The type decides which "
     "of these keys a layer takes."},
    {"loss", "What training makes small: the loss, or just the output of the graph."},
    {"train", "How long, on which rows, and how often to look at the accuracy."},
    {"optimizer", "How a gradient changes the parameters."},
    {"parallel", "How the work is spread over the processor. Only `shards` changes the numbers of "
                 "a run; threads, isa, schedule and loader never do, not by one bit."},
    {"output", "What is written where."},
};

/* One key, one paragraph. */
const pt_key pt_keys[] = {
    {KEY(data, dataset), CHOICE(datasets), .initial = "idx",
     .help =
         "The kind of data: idx (the format of MNIST, raw or .gz), csv, or none for a graph that "
         "reads no data."},
    {KEY(data, train_images), PATH("the path of a file"), .initial = "",
     .example = MNIST "train-images-idx3-ubyte", .help = "IDX file of the images to train on."},
    {KEY(data, train_labels), PATH("the path of a file"), .initial = "",
     .example = MNIST "train-labels-idx1-ubyte",
     .help = "IDX file of their labels, one byte a row."},
    {KEY(data, test_images), PATH("the path of a file"), .initial = "",
     .example = MNIST "t10k-images-idx3-ubyte",
     .help = "IDX file of the images to test on; empty: no test."},
    {KEY(data, test_labels), PATH("the path of a file"), .initial = "",
     .example = MNIST "t10k-labels-idx1-ubyte", .help = "IDX file of their labels."},
    {KEY(data, train_file), PATH("the path of a file"), .initial = "",
     .example = "; configs/xor.csv",
     .help = "CSV file to train on: numbers only, one row a line, the target in the last column or "
             "columns."},
    {KEY(data, test_file), PATH("the path of a file"), .initial = "",
     .example = "; configs/xor.csv", .help = "CSV file to test on; empty: no test."},
    {KEY(data, target), CHOICE(targets), .initial = "label",
     .help =
         "What the last columns of a CSV file hold: label, one column with the class (0, 1, ...), "
         "or values, `target_columns` columns of real numbers."},
    {KEY(data, target_columns), SIZE(1, 65536), .unit = "columns", .initial = "1",
     .help = "How many target columns a CSV file has, with target = values."},
    {KEY(data, header), BOOL, .initial = "false",
     .help = "Whether the first line of a CSV file names the columns."},
    {KEY(data, normalize), BOOL, .initial = "true",
     .help = "Turns the bytes 0 to 255 of images into 0 to 1."},
    {KEY(data, flatten), BOOL, .initial = "true",
     .help = "Makes each image one vector (784 numbers for 28 x 28); false keeps its dimensions."},
    {KEY(data, classes), SIZE(0, PT_MAX_CLASSES), .unit = "classes", .initial = "0",
     .help = "How many classes the labels count; 0: one more than the largest training label."},
    {KEY(data, limit), SIZE(0, TRILLION), .unit = "rows", .initial = "0",
     .help = "Uses at most this many rows of the training data and of the test data, from their "
             "starts; 0: all."},

    {LAYER(type, type, type_place, 0), TYPE(&(PT_LAYERS(COMMA_NAME))[sizeof ", " - 1]),
     .initial = "", .needed = true, .example = "affine", .help = "What the layer computes."},
    {LAYER(input, inputs, input_place, 0), .kind = PT_KEY_NAMES, .initial = "", .example = "; data",
     .help = "The layers this one reads, as `a, b`; `data` is the dataset. Empty: the layer of the "
             "section before, or the data for the first one."},
    {LAYER(units, units, key_place[0], PT_LAYER_KEY_UNITS), SIZE(1, 16777216), .unit = "units",
     .initial = "", .example = "10",
     .help = "affine: how many numbers come out of it for each row. variable: how many it holds, "
             "if `value` does not say."},
    {LAYER(init, init, key_place[1], PT_LAYER_KEY_INIT), INIT, .initial = "normal(0.01)",
     .help =
         "affine, variable: the first weights. normal(S): normal with standard deviation S; "
         "uniform(S): "
         "evenly from -S to S; constant(C); xavier: normal with variance 1 / inputs; he: normal "
         "with variance 2 / inputs."},
    {LAYER(bias_init, bias_init, key_place[2], PT_LAYER_KEY_BIAS_INIT), INIT,
     .initial = "constant(0)", .help = "affine: the first biases, in the same forms."},
    {LAYER(bias, bias, key_place[3], PT_LAYER_KEY_BIAS), BOOL, .initial = "true",
     .help = "affine: whether the layer adds a bias."},
    {LAYER(value, value, key_place[4], PT_LAYER_KEY_VALUE), .kind = PT_KEY_NUMBERS, .initial = "",
     .example = "; 0.5, -1.5",
     .help = "variable: the number it starts from, or several with commas between them, instead of "
             "`units` and `init`."},

    {KEY(loss, type), TYPE("softmax_cross_entropy, mean_squared_error or output"),
     .initial = "softmax_cross_entropy",
     .help = "softmax_cross_entropy: of class labels; the softmax is part of it, so that no layer "
             "of that "
             "type belongs before it. mean_squared_error: half the sum of squares, "
             "against values or one-hot labels. output: the graph's output itself. Each is "
             "averaged over the rows of the mini-batch."},
    {KEY(loss, input), NAME, .initial = "",
     .help = "The layer whose output the loss takes; empty: the last one."},

    {KEY(train, iterations), U64(1, TRILLION), .unit = "iterations", .initial = "10000",
     .changes_length = true,
     .help = "How many mini-batches to train on. A run that goes on (--resume) may be given "
             "more."},
    {KEY(train, batch_size), SIZE(1, 1048576), .unit = "rows", .initial = "100",
     .help = "How many rows a mini-batch has."},
    {KEY(train, sampling), CHOICE(samplings), .initial = "random",
     .help = "Which rows a mini-batch takes: random (any row, with replacement), shuffle (each row "
             "once an epoch, in a new order each time) or sequential (as in the file)."},
    {KEY(train, seed), U64(0, UINT64_MAX), .initial = "1",
     .help =
         "One seed, one model: the first weights and the rows of every mini-batch follow from it."},
    {KEY(train, evaluate_every), U64(0, TRILLION), .unit = "iterations", .initial = "0",
     .help =
         "How often to measure the accuracy; 0: once an epoch. It is always measured at the end."},
    {KEY(train, evaluate_rows), SIZE(0, TRILLION), .unit = "rows", .initial = "0",
     .help = "Measures on this many rows of the training data and of the test data; 0: on all."},
    {KEY(train, evaluate), BOOL, .initial = "true",
     .help = "false: never measures the accuracy, and only trains."},
    {KEY(train, gradient), CHOICE(gradients), .initial = "backprop",
     .help =
         "backprop, or numerical: gradients by central differences, thousands of times slower, to "
         "see for yourself that they are the same. For toy sizes."},

    {KEY(optimizer, type), TYPE("sgd, momentum or adam"), .initial = "sgd",
     .help = "The rule that turns a gradient into a step."},
    {KEY(optimizer, learning_rate), REAL(0, 1000), .initial = "0.1",
     .help = "How far one step goes down the gradient."},
    {KEY(optimizer, momentum), REAL(0, 0.999999), .initial = "0.9",
     .help = "momentum: how much of the last step goes on in the next one."},
    {KEY(optimizer, beta1), REAL(0, 0.999999), .initial = "0.9",
     .help = "adam: decay of the running mean of the gradients."},
    {KEY(optimizer, beta2), REAL(0, 0.999999), .initial = "0.999",
     .help = "adam: decay of the running mean of their squares."},
    {KEY(optimizer, epsilon), REAL(1e-30, 1), .initial = "1e-8",
     .help = "adam: keeps the division away from zero."},

    {KEY(parallel, threads), NO_NUMBERS, SIZE(1, PT_MAX_THREADS), .choices = automatic,
     .choice_count = 1, .unit = "threads", .initial = "auto",
     .help = "How many cores compute; auto: as many as help. Never changes the numbers."},
    {KEY(parallel, shards), SIZE(1, PT_MAX_SHARDS), .unit = "shards", .initial = "4",
     .help = "Into how many parts a mini-batch is cut; their gradients are summed in a fixed tree. "
             "CHANGES THE ROUNDING OF THESE SUMS AND SO THE NUMBERS of a run, slightly, unlike "
             "threads, isa, schedule and loader, which never change a bit."},
    {KEY(parallel, isa), NO_NUMBERS, CHOICE(pt_isa_names), .initial = "auto",
     .help =
         "The instruction set of the kernels; auto: the widest this processor has. Never changes "
         "the numbers."},
    {KEY(parallel, schedule), NO_NUMBERS, CHOICE(schedules), .initial = "auto",
     .help =
         "Who computes the gradients: per_thread (each thread those of its shards, then a "
         "reduction), slices (each thread its slice of the parameters, over all shards), columns "
         "(each thread its units of wide layers: all rows of some columns), relay (each "
         "thread "
         "its inputs of the first layer, from forward to update; the layer is handed from thread "
         "to "
         "thread) or auto, the fastest by measurement. Never changes the numbers."},
    {KEY(parallel, loader), NO_NUMBERS, CHOICE(switches), .initial = "auto",
     .help =
         "on: a thread of its own prepares the next mini-batch; off: the computing threads fetch "
         "their rows themselves; auto: whichever suits the processor. Never changes the numbers."},

    {KEY(output, dir), NO_NUMBERS, PATH("the path of a folder"), .initial = "",
     .example = "; runs/reference",
     .help = "The folder of the run; empty: runs/NAME, where NAME.ini is this file."},
    {KEY(output, progress), NO_NUMBERS, CHOICE(switches), .initial = "auto",
     .help = "Whether to draw a progress bar; auto: when the output is a terminal."},
    {KEY(output, checkpoint_every), NO_NUMBERS, U64(0, TRILLION), .initial = "0",
     .help = "Save a checkpoint, from which --resume goes on, after so many iterations or epochs; "
             "0: only when the run is interrupted."},
    {KEY(output, checkpoint_unit), NO_NUMBERS, CHOICE(intervals), .initial = "iterations",
     .help = "What checkpoint_every counts."},
    {KEY(output, keep), NO_NUMBERS, SIZE(1, 1000000), .unit = "checkpoints", .initial = "2",
     .help = "How many of the newest checkpoints stay in the folder."},
    {KEY(output, best), NO_NUMBERS, BOOL, .initial = "false",
     .help = "Save best.safetensors, a checkpoint of the highest test accuracy so far (training "
             "accuracy where there is no test data), at each evaluation that reaches it."},
    {KEY(output, on_save_error), NO_NUMBERS, CHOICE(save_errors), .initial = "continue",
     .help = "When a checkpoint cannot be saved (a full disk, say): continue training, keeping the "
             "checkpoint before, or stop."},
};
const size_t pt_key_count = COUNT(pt_keys);

const pt_key *pt_key_find(const char *section, const char *name) {
    for (size_t i = 0; i < pt_key_count; i++)
        if (strcmp(pt_keys[i].section, section) == 0 && strcmp(pt_keys[i].name, name) == 0)
            return &pt_keys[i];
    return NULL;
}

pt_place pt_key_place(const pt_key *key, const pt_layer_config *layer) {
    pt_place place;
    memcpy(&place, (const char *)layer + key->place, sizeof place);
    return place;
}

bool pt_key_is_of_layer(const pt_key *key) {
    return strcmp(key->section, "layer") == 0;
}

bool pt_is_layer_name(const char *name) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
    static const char others[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789.-";
    size_t length = strlen(name);
    return length >= 1 && length <= PT_NAME_MAX && strchr(letters, name[0]) != NULL &&
           strspn(name, others) == length;
}

const char *pt_schedule_name(pt_schedule schedule) {
    return schedules[schedule];
}

const char *pt_switch_name(pt_switch position) {
    return switches[position];
}
