/* test_config.c: reading configs: what they mean, every refusal with its place, writing, comparing.
 */
#include "harness.h"

#include "0_base/memory.h"
#include "0_base/philox.h"
#include "1_config/schema.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* CHECK_INT would call twice. */
#define CHECK_STATUS(call, expected)                                                               \
    do {                                                                                           \
        pt_status status_ = (call);                                                                \
        CHECK_INT(status_, expected);                                                              \
    } while (0)

/* Parses with at most one override; NULL and a failed check when it is refused. */
static pt_config *parse_with(const char *text, const char *override) {
    pt_config *config = NULL;
    pt_error err;
    pt_status status = pt_config_parse(text, "t.ini", &override, override ? 1 : 0, &config, &err);
    if (status)
        CHECK_MSG(false, "refused: %s", err.message);
    return config;
}

static pt_config *parse(const char *text) {
    return parse_with(text, NULL);
}

/* What a stream function wrote, freed by the caller. */
static char *written(const pt_config *config) {
    char *text = NULL;
    size_t size = 0;
    pt_error err;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        abort();
    pt_status status =
        config ? pt_config_write(config, stream, &err) : pt_config_write_reference(stream, &err);
    CHECK_INT(status, PT_OK);
    fclose(stream);
    return text;
}

/* ---- what is read ---- */

TEST(config, defaults) {
    pt_config *c = parse("[layer.fc1]\ntype = affine\n");
    REQUIRE(c);
    CHECK_STR(c->path, "t.ini");
    CHECK_INT(c->data.dataset, PT_DATASET_IDX);
    CHECK_STR(c->data.train_images, "");
    CHECK_INT(c->data.target, PT_CSV_LABEL);
    CHECK_INT(c->data.target_columns, 1);
    CHECK(!c->data.header && c->data.normalize && c->data.flatten);
    CHECK_INT(c->data.classes, 0);
    CHECK_INT(c->data.limit, 0);
    REQUIRE(c->layer_count == 1);
    const pt_layer_config *layer = &c->layers[0];
    CHECK_STR(layer->name, "fc1");
    CHECK_STR(layer->type, "affine");
    CHECK_INT(layer->input_count, 0);
    CHECK_INT(layer->units, 0);
    CHECK(layer->init.kind == PT_INIT_NORMAL && layer->init.scale == 0.01);
    CHECK(layer->bias_init.kind == PT_INIT_CONSTANT && layer->bias_init.scale == 0);
    CHECK(layer->bias && !layer->value && layer->value_count == 0 && layer->keys_set == 0);
    CHECK_INT(layer->place.line, 1);
    CHECK_INT(layer->type_place.line, 2);
    CHECK_STR(c->loss.type, "softmax_cross_entropy");
    CHECK_STR(c->loss.input, "");
    CHECK_INT(c->train.iterations, 10000);
    CHECK_INT(c->train.batch_size, 100);
    CHECK_INT(c->train.sampling, PT_SAMPLING_RANDOM);
    CHECK_INT(c->train.seed, 1);
    CHECK_INT(c->train.evaluate_every, 0);
    CHECK_INT(c->train.evaluate_rows, 0);
    CHECK(c->train.evaluate);
    CHECK_INT(c->train.gradient, PT_GRADIENT_BACKPROP);
    CHECK_STR(c->optimizer.type, "sgd");
    CHECK(c->optimizer.learning_rate == 0.1f && c->optimizer.momentum == 0.9f);
    CHECK(c->optimizer.beta1 == 0.9f && c->optimizer.beta2 == 0.999f);
    CHECK(c->optimizer.epsilon == 1e-8f);
    CHECK_INT(c->parallel.threads, 0);
    CHECK_INT(c->parallel.shards, 4);
    CHECK_INT(c->parallel.isa, 0);
    CHECK_INT(c->parallel.schedule, PT_SCHEDULE_AUTO);
    CHECK_INT(c->parallel.loader, PT_SWITCH_AUTO);
    CHECK_STR(c->output.dir, "runs/t");
    CHECK_INT(c->output.progress, PT_SWITCH_AUTO);
    pt_place place = pt_config_place(c, "train", "seed");
    CHECK(!place.file && place.line == 0);
    pt_config_free(c);
    pt_config_free(NULL);
}

TEST(config, every_key) {
    pt_config *c = parse("\xEF\xBB\xBF; a comment\r\n"
                         "# another\r\n"
                         "[data]\r\n"
                         "dataset=csv\r\n"
                         "train_file = my data/a b.csv   ; inner blanks stay\r\n"
                         "  test_file\t=\tt.csv\r\n" /* leading blanks: no continuation */
                         "target = values\r\n"
                         "target_columns = 3\r\n"
                         "header = true\r\n"
                         "normalize = false\r\n"
                         "flatten = false\r\n"
                         "classes = 7\r\n"
                         "limit = 20\r\n"
                         "\r\n"
                         "[layer.a]   ; with a comment\r\n"
                         "type = affine\r\n"
                         "units = 12\r\n"
                         "init = uniform( 0.5 )\r\n"
                         "bias_init = normal (1e-3)\r\n"
                         "bias = false\r\n"
                         "[layer.b-2.x_]\r\n"
                         "type = concat\r\n" /* for the graph to judge */
                         "input = a ,data,  a\r\n"
                         "init = he\r\n"
                         "bias_init = xavier\r\n"
                         "[layer._v]\r\n"
                         "type = variable\r\n"
                         "value = 1, -2.5 ,1e3\r\n"
                         "[loss]\r\n"
                         "type = mean_squared_error\r\n"
                         "input = a\r\n"
                         "[train]\r\n"
                         "iterations = 1000000000000\r\n"
                         "batch_size = 1\r\n"
                         "sampling = shuffle\r\n"
                         "seed = 18446744073709551615\r\n"
                         "evaluate_every = 5\r\n"
                         "evaluate_rows = 6\r\n"
                         "evaluate = false\r\n"
                         "gradient = numerical\r\n"
                         "[optimizer]\r\n"
                         "type = adam\r\n"
                         "learning_rate = 1e-3\r\n"
                         "momentum = 0\r\n"
                         "beta1 = 0.5\r\n"
                         "beta2 = .25\r\n"
                         "epsilon = 1e-6\r\n"
                         "[parallel]\r\n"
                         "threads = 3\r\n"
                         "shards = 256\r\n"
                         "isa = avx512\r\n"
                         "schedule = slices\r\n"
                         "loader = off\r\n"
                         "[output]\r\n"
                         "dir = a/\xC3\xA9t\xC3\xA9;x\r\n" /* no blank before ;, no comment */
                         "progress = on");
    REQUIRE(c);
    CHECK_INT(c->data.dataset, PT_DATASET_CSV);
    CHECK_STR(c->data.train_file, "my data/a b.csv");
    CHECK_STR(c->data.test_file, "t.csv");
    CHECK_INT(c->data.target, PT_CSV_VALUES);
    CHECK_INT(c->data.target_columns, 3);
    CHECK(c->data.header && !c->data.normalize && !c->data.flatten);
    CHECK_INT(c->data.classes, 7);
    CHECK_INT(c->data.limit, 20);
    REQUIRE(c->layer_count == 3);
    const pt_layer_config *a = &c->layers[0], *b = &c->layers[1], *v = &c->layers[2];
    CHECK_STR(a->name, "a");
    CHECK_INT(a->units, 12);
    CHECK(a->init.kind == PT_INIT_UNIFORM && a->init.scale == 0.5);
    CHECK(a->bias_init.kind == PT_INIT_NORMAL && a->bias_init.scale == 1e-3);
    CHECK(!a->bias);
    CHECK_INT(a->keys_set,
              PT_LAYER_KEY_UNITS | PT_LAYER_KEY_INIT | PT_LAYER_KEY_BIAS_INIT | PT_LAYER_KEY_BIAS);
    CHECK_INT(a->key_place[0].line, 17);
    CHECK_INT(a->key_place[3].line, 20);
    CHECK_STR(b->name, "b-2.x_");
    CHECK_STR(b->type, "concat");
    REQUIRE(b->input_count == 3);
    CHECK_STR(b->inputs[0], "a");
    CHECK_STR(b->inputs[1], "data");
    CHECK_STR(b->inputs[2], "a");
    CHECK_INT(b->input_place.line, 23);
    CHECK_INT(b->init.kind, PT_INIT_HE);
    CHECK_INT(b->bias_init.kind, PT_INIT_XAVIER);
    REQUIRE(v->value_count == 3);
    CHECK(v->value[0] == 1.0f && v->value[1] == -2.5f && v->value[2] == 1000.0f);
    CHECK_INT(v->keys_set, PT_LAYER_KEY_VALUE);
    CHECK_INT(v->key_place[4].line, 28);
    CHECK_STR(c->loss.type, "mean_squared_error");
    CHECK_INT(c->loss.type_place.line, 30);
    CHECK_STR(c->loss.input, "a");
    CHECK_INT(c->loss.input_place.line, 31);
    CHECK_INT(c->train.iterations, 1000000000000);
    CHECK_INT(c->train.batch_size, 1);
    CHECK_INT(c->train.sampling, PT_SAMPLING_SHUFFLE);
    CHECK(c->train.seed == UINT64_MAX);
    CHECK_INT(c->train.evaluate_every, 5);
    CHECK_INT(c->train.evaluate_rows, 6);
    CHECK(!c->train.evaluate);
    CHECK_INT(c->train.gradient, PT_GRADIENT_NUMERICAL);
    CHECK_STR(c->optimizer.type, "adam");
    CHECK_INT(c->optimizer.type_place.line, 42);
    CHECK(c->optimizer.learning_rate == 1e-3f && c->optimizer.momentum == 0.0f);
    CHECK(c->optimizer.beta1 == 0.5f && c->optimizer.beta2 == 0.25f);
    CHECK(c->optimizer.epsilon == 1e-6f);
    CHECK_INT(c->parallel.threads, 3);
    CHECK_INT(c->parallel.shards, 256);
    CHECK_INT(c->parallel.isa, 3);
    CHECK_INT(c->parallel.schedule, PT_SCHEDULE_SLICES);
    CHECK_INT(c->parallel.loader, PT_SWITCH_OFF);
    CHECK_STR(c->output.dir, "a/\xC3\xA9t\xC3\xA9;x");
    CHECK_INT(c->output.progress, PT_SWITCH_ON);

    char buffer[64];
    CHECK_STR(pt_place_text(pt_config_place(c, "train", "seed"), buffer, sizeof buffer),
              "t.ini:36: ");
    CHECK_STR(pt_place_text(pt_config_place(c, "layer.a", "units"), buffer, sizeof buffer),
              "t.ini:17: ");
    CHECK_STR(pt_place_text(pt_config_place(c, "layer.a", "type"), buffer, sizeof buffer),
              "t.ini:16: ");
    CHECK(!pt_config_place(c, "layer.nobody", "units").file);
    CHECK(!pt_config_place(c, "layer", "units").file);
    CHECK(!pt_config_place(c, "train", "nothing").file);
    pt_config_free(c);
}

TEST(config, folder_of_a_run_is_named_after_the_file) {
    static const struct {
        const char *path, *dir;
    } cases[] = {
        {"configs/mnist.ini", "runs/mnist"},
        {"mnist", "runs/mnist"},
        {"a/b.c.ini", "runs/b.c"},
        {"a/.ini", "runs/.ini"},
        {"a/", "runs/run"},
        {"..ini", "runs/run"},
        {"x/..", "runs/run"},
        {"my net ;1.ini", "runs/my_net__1"},
        {"caf\xC3\xA9\xFF.ini", "runs/caf\xC3\xA9_"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        pt_config *c = NULL;
        pt_error err;
        REQUIRE_OK(pt_config_parse("[output]\ndir =\n", cases[i].path, NULL, 0, &c, &err), err);
        CHECK_STR(c->output.dir, cases[i].dir);
        pt_config_free(c);
    }
    char path[400];
    memset(path, 'n', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    pt_config *c = NULL;
    pt_error err;
    REQUIRE_OK(pt_config_parse("", path, NULL, 0, &c, &err), err);
    CHECK(strlen(c->output.dir) < PT_CONFIG_LINE_MAX - strlen("dir = "));
    pt_config_free(c);
}

TEST(config, locales_change_nothing) {
    static const char *const locales[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE", ""};
    for (size_t i = 0; i < COUNT(locales); i++)
        if (setlocale(LC_ALL, locales[i]))
            break;
    pt_config *c = parse("[optimizer]\nlearning_rate = 0.25\n");
    CHECK(c && c->optimizer.learning_rate == 0.25f);
    pt_config_free(c);
    setlocale(LC_ALL, "C");
}

/* ---- overrides ---- */

TEST(config, overrides) {
    static const char *const overrides[] = {
        "train.seed=2",          "train.seed = 3",
        "layer.fc.1.units=20",   " layer.fc.1.init = normal(2) ",
        "output.dir=a=b c",      "data.train_file=",
        "parallel.threads=auto", "layer.fc.1.input=data"};
    pt_config *c = NULL;
    pt_error err;
    REQUIRE_OK(pt_config_parse("[layer.fc.1]\ntype = affine\nunits = 10\n[train]\nseed = 9\n"
                               "[parallel]\nthreads = 2\n",
                               "t.ini", overrides, COUNT(overrides), &c, &err),
               err);
    CHECK_INT(c->train.seed, 3);
    CHECK_INT(c->layers[0].units, 20);
    CHECK(c->layers[0].init.scale == 2.0);
    CHECK_INT(c->layers[0].keys_set, PT_LAYER_KEY_UNITS | PT_LAYER_KEY_INIT);
    CHECK_STR(c->output.dir, "a=b c");
    CHECK_INT(c->parallel.threads, 0);
    CHECK_STR(c->layers[0].inputs[0], "data");
    char buffer[64];
    CHECK_STR(pt_place_text(pt_config_place(c, "train", "seed"), buffer, sizeof buffer), "--set: ");
    CHECK_STR(pt_place_text(c->layers[0].key_place[0], buffer, sizeof buffer), "--set: ");
    CHECK_STR(pt_place_text(pt_config_place(c, "train", "iterations"), buffer, sizeof buffer), "");
    pt_config_free(c);
}

TEST(config, refuses_overrides) {
    static const struct {
        const char *override, *message;
    } cases[] = {
        {"", "--set: '' is no override; write section.key=value"},
        {"train.seed", "--set: 'train.seed' is no override; write section.key=value"},
        {"seed=1", "--set: 'seed=1' is no override"},
        {".seed=1", "--set: '.seed=1' is no override"},
        {"train.=1", "--set: no key stands before the '='"},
        {"train.sed=1", "--set: [train] has no key 'sed'; did you mean seed?"},
        {"trian.seed=1", "--set: there is no section [trian]; did you mean [train]?"},
        {"layer.units=1", "--set: [layer] lacks the layer's name; write [layer.NAME]"},
        {"layer.fc2.units=1", "--set: there is no layer 'fc2'; did you mean fc1?"},
        {"layer.hidden.units=1", "--set: there is no layer 'hidden'; an override cannot make one"},
        {"layer.fc1.units=many", "--set: layer.fc1.units = many is not a whole number; write 1 to"},
        {"layer.fc1.type=", "--set: layer.fc1.type has no value; write affine, relu"},
        {"train.seed=", "--set: train.seed has no value; write 0 to 18446744073709551615"},
        {"train.batch_size=0",
         "--set: train.batch_size = 0 is out of range; write 1 to 1048576 rows"},
        {"output.dir=a ;b", "--set: output.dir = a ;b has a ';' that would start a comment"},
        {"output.dir=;b", "--set: output.dir = ;b has a ';' that would start a comment"},
        {"output.dir=a\nb", "--set: byte 13 is no text"},
        {"output.dir=\xFF", "--set: byte 12 is no text"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        pt_config *c = NULL;
        pt_error err = {0};
        pt_status status = pt_config_parse("[layer.fc1]\ntype = affine\n", "t.ini",
                                           &cases[i].override, 1, &c, &err);
        CHECK_MSG(status == PT_ERR_CONFIG && !c, "taken: %s", cases[i].override);
        CHECK_CONTAINS(err.message, cases[i].message);
        pt_config_free(c);
    }
    /* What could not be written on a line of a file. */
    static const char *const formats[] = {"output.dir=%s", "layer.fc1.value=%s",
                                          "layer.fc1.type=%s"};
    for (size_t i = 0; i < COUNT(formats); i++) {
        char ones[221], text[300];
        memset(ones, '1', sizeof ones - 1);
        for (size_t k = 1; k < sizeof ones; k += 2)
            ones[k] = i == 1 ? ',' : '1';
        ones[sizeof ones - 2] = '1';
        ones[sizeof ones - 1] = '\0';
        snprintf(text, sizeof text, formats[i], ones);
        const char *override = text;
        pt_config *c = NULL;
        pt_error err = {0};
        CHECK_STATUS(
            pt_config_parse("[layer.fc1]\ntype = affine\n", "t.ini", &override, 1, &c, &err),
            PT_ERR_CONFIG);
        CHECK_CONTAINS(err.message, "write something shorter, at most 199");
    }
}

/* ---- refusals ---- */

/* Each text is refused with this message (or its start). */
typedef struct refusal {
    const char *text, *message;
} refusal;

static void check_refusals(const refusal *cases, size_t count) {
    for (size_t i = 0; i < count; i++) {
        pt_config *c = NULL;
        pt_error err = {0};
        pt_status status = pt_config_parse(cases[i].text, "t.ini", NULL, 0, &c, &err);
        CHECK_MSG(status == PT_ERR_CONFIG && !c, "taken: %s", cases[i].text);
        CHECK_MSG(strncmp(err.message, cases[i].message, strlen(cases[i].message)) == 0,
                  "\"%s\"\ngives    \"%s\"\nexpected \"%s\"", cases[i].text, err.message,
                  cases[i].message);
        CHECK(!strchr(err.message, '\n') && err.status == status);
        pt_config_free(c);
    }
}

TEST(config, refuses_unknown_names) {
    static const refusal cases[] = {
        {"[trian]\n", "t.ini:1: there is no section [trian]; did you mean [train]?"},
        {"[Train]\n", "t.ini:1: there is no section [Train]; did you mean [train]?"},
        {"\n[foo]\n",
         "t.ini:2: there is no section [foo]; write one of [data], [layer.NAME], [loss], "
         "[train], [optimizer], [parallel], [output]"},
        {"[]\n", "t.ini:1: there is no section []; write one of"},
        {"[layer]\n", "t.ini:1: [layer] lacks the layer's name; write [layer.NAME]"},
        {"[layr.fc1]\n", "t.ini:1: there is no section [layr.fc1]; did you mean [layer.fc1]?"},
        {"[layers]\n", "t.ini:1: there is no section [layers]; did you mean [layer.NAME]?"},
        {"[train]\nbatchsize = 1\n",
         "t.ini:2: [train] has no key 'batchsize'; did you mean batch_size?"},
        {"[train]\nlearning_rate = 1\n",
         "t.ini:2: [train] has no key 'learning_rate'; write it in [optimizer]"},
        {"[train]\nunits = 1\n", "t.ini:2: [train] has no key 'units'; write it in [layer.NAME]"},
        {"[output]\nfoo = 1\n", "t.ini:2: [output] has no key 'foo'; it knows dir, progress"},
        {"[layer.a]\ntype = x\nunit = 1\n",
         "t.ini:3: [layer] has no key 'unit'; did you mean units?"},
        {"[train]\nsampling = randm\n",
         "t.ini:2: train.sampling = randm is not known; did you mean random?"},
        {"[train]\nsampling = foo\n",
         "t.ini:2: train.sampling = foo is not known; write random, shuffle or sequential"},
        {"[data]\nheader = yes\n", "t.ini:2: data.header = yes is not known; write false or true"},
        {"[data]\nheader = True\n", "t.ini:2: data.header = True is not known; did you mean true?"},
        {"[parallel]\nisa = avx\n", "t.ini:2: parallel.isa = avx is not known; did you mean avx2?"},
        {"[layer.a]\ninit = norml(1)\n",
         "t.ini:2: layer.a.init = norml(1) is not known; did you mean normal?"},
        {"[layer.a]\ninit = 0.01\n",
         "t.ini:2: layer.a.init = 0.01 is not known; write normal(S), uniform(S), constant(C), "},
    };
    check_refusals(cases, COUNT(cases));
}

TEST(config, refuses_values) {
    static const refusal cases[] = {
        {"[train]\nbatch_size = 0\n",
         "t.ini:2: train.batch_size = 0 is out of range; write 1 to 1048576 rows"},
        {"[train]\nbatch_size = 1048577\n", "t.ini:2: train.batch_size = 1048577 is out of range"},
        {"[train]\nbatch_size = -1\n", "t.ini:2: train.batch_size = -1 is not a whole number"},
        {"[train]\nbatch_size = 1.5\n", "t.ini:2: train.batch_size = 1.5 is not a whole number"},
        {"[train]\nseed = 18446744073709551616\n",
         "t.ini:2: train.seed = 18446744073709551616 is out of range"},
        {"[train]\nseed = 1 # mine\n", "t.ini:2: train.seed = 1 # mine is not a whole number"},
        {"[train]\nseed = auto\n", "t.ini:2: train.seed = auto is not a whole number"},
        {"[parallel]\nthreads = 0\n",
         "t.ini:2: parallel.threads = 0 is out of range; write auto or 1 to 1024 threads"},
        {"[parallel]\nthreads = all\n", "t.ini:2: parallel.threads = all is not a whole number"},
        {"[parallel]\nshards = 257\n",
         "t.ini:2: parallel.shards = 257 is out of range; write 1 to 256 shards"},
        {"[layer.a]\nunits = 0\n",
         "t.ini:2: layer.a.units = 0 is out of range; write 1 to 16777216"},
        {"[optimizer]\nlearning_rate = fast\n",
         "t.ini:2: optimizer.learning_rate = fast is not a number; write a number from 0 to 1000"},
        {"[optimizer]\nlearning_rate = 0,1\n",
         "t.ini:2: optimizer.learning_rate = 0,1 is not a number"},
        {"[optimizer]\nlearning_rate = nan\n",
         "t.ini:2: optimizer.learning_rate = nan is not a number"},
        {"[optimizer]\nlearning_rate = -1\n",
         "t.ini:2: optimizer.learning_rate = -1 is out of range"},
        {"[optimizer]\nlearning_rate = 1e-60\n",
         "t.ini:2: optimizer.learning_rate = 1e-60 is too small for a float"},
        {"[optimizer]\nmomentum = 1\n",
         "t.ini:2: optimizer.momentum = 1 is out of range; write a number from 0 to 0.999999"},
        {"[optimizer]\nepsilon = 0\n",
         "t.ini:2: optimizer.epsilon = 0 is out of range; write a number from 1e-30 to 1"},
        {"[train]\nseed =\n", "t.ini:2: train.seed has no value; write 0 to 18446744073709551615"},
        {"[train]\nseed = ; none\n", "t.ini:2: train.seed has no value"},
        {"[layer.a]\ntype =\n", "t.ini:2: layer.a.type has no value; write affine, relu"},
        {"[layer.a]\nunits =\n", "t.ini:2: layer.a.units has no value; write 1 to 16777216 units"},
        {"[layer.a]\ninit = normal\n", "t.ini:2: layer.a.init = normal lacks its number; write"},
        {"[layer.a]\ninit = normal()\n",
         "t.ini:2: layer.a.init = normal() is not a number in brackets"},
        {"[layer.a]\ninit = normal(1\n",
         "t.ini:2: layer.a.init = normal(1 is not a number in brackets"},
        {"[layer.a]\ninit = normal(1)x\n",
         "t.ini:2: layer.a.init = normal(1)x is not a number in brackets"},
        {"[layer.a]\ninit = normal(1 2)\n",
         "t.ini:2: layer.a.init = normal(1 2) is not a number in brackets"},
        {"[layer.a]\ninit = normal(-1)\n", "t.ini:2: layer.a.init = normal(-1) is out of range"},
        {"[layer.a]\ninit = constant(-2e6)\n",
         "t.ini:2: layer.a.init = constant(-2e6) is out of range"},
        {"[layer.a]\ninit = he(2)\n", "t.ini:2: layer.a.init = he(2) takes no number"},
        {"[layer.a]\nvalue = 1,,2\n", "t.ini:2: layer.a.value = 1,,2 is not a list of numbers"},
        {"[layer.a]\nvalue = 1,2,\n", "t.ini:2: layer.a.value = 1,2, is not a list of numbers"},
        {"[layer.a]\nvalue = x\n",
         "t.ini:2: layer.a.value = x is not a number; write a number, or"},
        {"[layer.a]\nvalue = 1e39\n", "t.ini:2: layer.a.value = 1e39 is not a number"},
        {"[layer.a]\ninput = b,\n", "t.ini:2: layer.a.input = b, is not a list of names"},
        {"[layer.a]\ninput = b c\n", "t.ini:2: layer.a.input = b c is not a list of names"},
        {"[layer.a]\ninput = 1b\n", "t.ini:2: layer.a.input = 1b is not a list of names"},
        {"[layer.a]\ninput = a,b,c,d,e,f,g,h,i\n",
         "t.ini:2: layer.a.input = a,b,c,d,e,f,g,h,i names too many layers; write up to 8 names"},
        {"[loss]\ninput = a, b\n", "t.ini:2: loss.input = a, b is not a name"},
        {"[output]\ndir=;x\n", "t.ini:2: output.dir = ;x has a ';' that would start a comment"},
        {"[output]\ndir = a # b\n",
         "t.ini:2: output.dir = a # b has a '#' that looks like a comment"},
    };
    check_refusals(cases, COUNT(cases));
}

TEST(config, refuses_lines) {
    static const refusal cases[] = {
        {"seed = 1\n",
         "t.ini:1: text before the first section; write a line such as [train] above it"},
        {"hello\n", "t.ini:1: text before the first section"},
        {"[train]\nseed\n", "t.ini:2: there is no '=' on this line; write key = value"},
        {"[train]\nseed\nsampling = shuffle\n", "t.ini:2: there is no '=' on this line"},
        {"[train]\nseed ; = 1\n", "t.ini:2: there is no '=' on this line"},
        {"[train]\nseed", "t.ini:2: there is no '=' on this line"},
        {"[train]\nseed = 2\n  sampling\n", "t.ini:3: there is no '=' on this line"},
        {"[train]\n= 2\n", "t.ini:2: no key stands before the '='; write key = value"},
        {"[train\nseed = 1\n", "t.ini:1: a section line without ']'; write [section]"},
        {"[train] seed = 1\n", "t.ini:1: 'seed = 1' stands behind a section name"},
        {"[train]\nseed = 1\n\nseed = 2\n", "t.ini:4: train.seed is already set on line 2"},
        {"[layer.a]\ntype = x\ntype = x\n", "t.ini:3: layer.a.type is already set on line 2"},
        {"[train]\n[data]\n[train]\n", "t.ini:3: [train] is already on line 1"},
        {"[layer.a]\ntype = x\n[layer.a]\n", "t.ini:3: the layer a is already on line 1"},
        {"[layer.data]\n", "t.ini:1: [layer.data]: the name data stands for the dataset"},
        {"[layer.]\n", "t.ini:1: [layer.] has no name that can be used; write letters"},
        {"[layer.1st]\n", "t.ini:1: [layer.1st] has no name that can be used"},
        {"[layer.a b]\n", "t.ini:1: [layer.a b] has no name that can be used"},
        {"[layer.a]\nunits = 1\n", "t.ini:1: [layer.a] has no type; write one, as type = affine"},
        {"[train]\nseed = \x01\n", "t.ini:2: byte 8 (0x01) is no text; write UTF-8"},
        {"[train]\n; caf\xE9\n", "t.ini:2: byte 6 (0xe9) is no text"},
        {"[train]\rseed = 1\r", "t.ini:1: byte 8 (0x0d) is no text"},
        {"\x7F"
         "ELF",
         "t.ini:1: byte 1 (0x7f) is no text"},
        {"[train]\nseed = 1\n\nsampling = x\nseed = 2\n",
         "t.ini:4: train.sampling = x"}, /* the first */
    };
    check_refusals(cases, COUNT(cases));
}

/* The limits themselves pass; one more byte does not. */
TEST(config, limits_of_lines_and_names) {
    char text[600], dir[200];
    for (size_t length = PT_CONFIG_LINE_MAX; length <= PT_CONFIG_LINE_MAX + 1; length++) {
        bool fits = length == PT_CONFIG_LINE_MAX;
        size_t bytes = length - strlen("dir = ");
        memset(dir, 'd', sizeof dir);
        snprintf(text, sizeof text, "[output]\r\ndir = %.*s\r\nprogress = on\n", (int)bytes, dir);
        pt_config *c = NULL;
        pt_error err = {0};
        pt_status status = pt_config_parse(text, "t.ini", NULL, 0, &c, &err);
        CHECK_INT(status, fits ? PT_OK : PT_ERR_CONFIG);
        if (c) {
            CHECK_INT(strlen(c->output.dir), bytes);
            CHECK_INT(c->output.progress, PT_SWITCH_ON); /* the next line is still a line */
        } else {
            CHECK_STR(err.message, "t.ini:2: a line of 200 bytes is too long; write at most 199");
        }
        pt_config_free(c);

        memset(dir, ' ', sizeof dir); /* a comment and blanks count too */
        snprintf(text, sizeof text, "[train]\n%.*s;\nseed = 2\n", (int)length - 1, dir);
        c = NULL;
        CHECK_STATUS(pt_config_parse(text, "t.ini", NULL, 0, &c, &err),
                     fits ? PT_OK : PT_ERR_CONFIG);
        pt_config_free(c);
    }
    for (int length = PT_NAME_MAX; length <= PT_NAME_MAX + 1; length++) {
        memset(dir, 'n', sizeof dir);
        snprintf(text, sizeof text, "[layer.%.*s]\ntype = x\n[layer.b]\ntype = x\ninput = %.*s\n",
                 length, dir, length, dir);
        pt_config *c = NULL;
        pt_error err;
        pt_status status = pt_config_parse(text, "t.ini", NULL, 0, &c, &err);
        CHECK_INT(status, length == PT_NAME_MAX ? PT_OK : PT_ERR_CONFIG);
        if (c)
            CHECK_STR(c->layers[1].inputs[0], c->layers[0].name);
        pt_config_free(c);
    }
}

TEST(config, limit_of_layers) {
    char *text = malloc((PT_MAX_LAYERS + 1) * 40);
    REQUIRE(text);
    size_t used = 0;
    for (int i = 0; i <= PT_MAX_LAYERS; i++)
        used += (size_t)sprintf(text + used, "[layer.l%d]\ntype = x\n", i);
    pt_config *c = NULL;
    pt_error err;
    CHECK_STATUS(pt_config_parse(text, "t.ini", NULL, 0, &c, &err), PT_ERR_CONFIG);
    CHECK_STR(err.message, "t.ini:8193: too many layers; write at most 4096");
    *strstr(text, "[layer.l4096]") = '\0';
    c = parse(text);
    CHECK(c && c->layer_count == PT_MAX_LAYERS);
    pt_config_free(c);
    free(text);
}

TEST(config, refuses_files) {
    pt_config *c = NULL;
    pt_error err;
    const char *folder = pt_temp_folder();
    CHECK_STATUS(pt_config_load(folder, NULL, 0, &c, &err), PT_ERR_IO);
    CHECK_CONTAINS(err.message, ": this is a folder; name a config file in it");
    const char *path = pt_path_in(folder, "missing.ini");
    CHECK_STATUS(pt_config_load(path, NULL, 0, &c, &err), PT_ERR_IO);
    CHECK_CONTAINS(err.message, "missing.ini: cannot be opened: No such file or directory");

    path = pt_path_in(folder, "net.ini");
    static const char nul[] = "[train]\nseed = 1\0\n";
    pt_write_file(path, nul, sizeof nul - 1);
    CHECK_STATUS(pt_config_load(path, NULL, 0, &c, &err), PT_ERR_CONFIG);
    CHECK_CONTAINS(err.message, "net.ini:2: byte 9 (0x00) is no text");
    static const char utf16[] = "\xFF\xFE[\0t\0r\0";
    pt_write_file(path, utf16, sizeof utf16);
    CHECK_STATUS(pt_config_load(path, NULL, 0, &c, &err), PT_ERR_CONFIG);
    CHECK_CONTAINS(err.message, "net.ini:1: byte 1 (0xff) is no text");

    size_t size = PT_CONFIG_FILE_MAX + 1;
    char *big = malloc(size);
    REQUIRE(big);
    memset(big, '\n', size);
    pt_write_file(path, big, size);
    CHECK_STATUS(pt_config_load(path, NULL, 0, &c, &err), PT_ERR_CONFIG);
    CHECK_CONTAINS(err.message, "net.ini: larger than 1048576 bytes");
    pt_write_file(path, big, size - 1);
    CHECK_STATUS(pt_config_load(path, NULL, 0, &c, &err), PT_OK);
    pt_config_free(c);
    free(big);

    c = NULL;
    pt_write_text(path, "[train]\nseed = 5");
    REQUIRE_OK(pt_config_load(path, NULL, 0, &c, &err), err);
    CHECK_INT(c->train.seed, 5);
    CHECK_STR(c->path, path);
    CHECK_STR(c->output.dir, "runs/net");
    pt_config_free(c);
    c = NULL;
    pt_write_text(path, "[train]\nsed = 5");
    CHECK_STATUS(pt_config_load(path, NULL, 0, &c, NULL), PT_ERR_CONFIG); /* no error wanted */
    if (geteuid() != 0) {
        chmod(path, 0);
        CHECK_STATUS(pt_config_load(path, NULL, 0, &c, &err), PT_ERR_IO);
        CHECK_CONTAINS(err.message, "cannot be opened: Permission denied");
    }
    CHECK(!c);
}

/* ---- writing ---- */

static const char full_text[] =
    "[train]\nseed = 7\n[layer.v]\ntype = variable\nvalue = 1,1e10,-0.1,1e-20\n[layer.a]\n"
    "type = affine\nunits = 3\ninit = uniform(0.30000000000000004)\ninput = v,data\n"
    "[layer.r]\ntype = relu\n[optimizer]\nlearning_rate = 0.000123456789\nmomentum = 0.999999\n"
    "[data]\ntrain_file = a b;c.csv\ndataset = csv\n[parallel]\nthreads = 2\nisa = scalar\n";

TEST(config, writes_what_it_reads) {
    pt_config *c = parse(full_text);
    REQUIRE(c);
    char *first = written(c);
    CHECK_CONTAINS(first, "[data]\ndataset = csv\ntrain_images =\n");
    CHECK_CONTAINS(first, "\ntrain_file = a b;c.csv\n");
    CHECK_CONTAINS(first,
                   "\n\n[layer.v]\ntype = variable\nvalue = 1, 10000000000, -0.1, 1e-20\n\n"
                   "[layer.a]\ntype = affine\ninput = v, data\nunits = 3\n"
                   "init = uniform(0.30000000000000004)\n\n[layer.r]\ntype = relu\n\n[loss]\n");
    CHECK_CONTAINS(first, "\nlearning_rate = 0.00012345679\nmomentum = 0.999999\nbeta1 = 0.9\n");
    CHECK_CONTAINS(first, "\nthreads = 2\nshards = 4\nisa = scalar\nschedule = auto\n");
    CHECK_CONTAINS(first, "\n[output]\ndir = runs/t\nprogress = auto\n");
    pt_config *back = parse(first);
    REQUIRE(back);
    char *second = written(back);
    CHECK_STR(second, first);
    char difference[200];
    CHECK_STATUS(pt_config_same_run(c, back, difference, sizeof difference), PT_OK);
    for (size_t i = 0; i < c->layer_count; i++)
        CHECK_INT(back->layers[i].keys_set, c->layers[i].keys_set);
    free(second);

    /* What the graph has found the types to take is written too, where it has a value. */
    unsigned all = PT_LAYER_KEY_UNITS | PT_LAYER_KEY_INIT | PT_LAYER_KEY_BIAS_INIT |
                   PT_LAYER_KEY_BIAS | PT_LAYER_KEY_VALUE;
    back->layers[1].keys_taken = all;
    second = written(back);
    CHECK_CONTAINS(second, "[layer.a]\ntype = affine\ninput = v, data\nunits = 3\n"
                           "init = uniform(0.30000000000000004)\nbias_init = constant(0)\n"
                           "bias = true\n\n[layer.r]");
    back->layers[0].keys_taken = PT_LAYER_KEY_UNITS | PT_LAYER_KEY_VALUE;
    free(second);
    second = written(back);
    CHECK_CONTAINS(second, "[layer.v]\ntype = variable\nvalue = 1, 10000000000, -0.1, 1e-20\n\n");
    pt_config *third = parse(second);
    CHECK(third && pt_config_same_run(c, third, difference, sizeof difference) == PT_OK);
    pt_config_free(third);
    free(second);
    free(first);
    pt_config_free(back);
    pt_config_free(c);
}

/* Damaged files are refused with a place, or read as something that is written and read back as
 * itself. */
TEST(config, damaged_files) {
    static const char scraps[] = "=;#[]., \t\n\r0-1e(x\xC3\xA9\x01\xFF";
    size_t size = strlen(full_text), taken = 0, refused = 0;
    char text[2 * sizeof full_text];
    for (uint64_t trial = 0; trial < 4000; trial++) {
        memcpy(text, full_text, size + 1);
        size_t length = size;
        for (uint64_t edit = 0; edit <= trial % 3; edit++) {
            uint32_t bits = pt_random_u32(2, PT_STREAM_CHECK, trial, 2 * edit);
            size_t at = pt_random_below(2, PT_STREAM_CHECK, trial, 2 * edit + 1, length);
            char scrap = scraps[(bits >> 8) % (sizeof scraps - 1)];
            if (bits % 3 == 0) {
                text[at] = scrap;
            } else if (bits % 3 == 1) {
                memmove(text + at, text + at + 1, length-- - at);
            } else {
                memmove(text + at + 1, text + at, ++length - at);
                text[at] = scrap;
            }
        }
        pt_config *c = NULL, *back = NULL;
        pt_error err = {0};
        if (pt_config_parse(text, "t.ini", NULL, 0, &c, &err)) {
            refused++;
            if (strncmp(err.message, "t.ini:", 6) != 0 || !strstr(err.message, "; "))
                CHECK_MSG(false, "%s", err.message);
            continue;
        }
        taken++;
        char *first = written(c), *second = NULL;
        if (pt_config_parse(first, "t.ini", NULL, 0, &back, &err))
            CHECK_MSG(false, "%s\nin\n%s", err.message, first);
        else
            CHECK_STR(second = written(back), first);
        free(first);
        free(second);
        pt_config_free(back);
        pt_config_free(c);
    }
    CHECK_MSG(taken > 200 && refused > 200, "%zu taken, %zu refused", taken, refused);
}

TEST(config, writing_to_a_full_disk_fails) {
    pt_config *c = parse("[layer.a]\ntype = x\n");
    REQUIRE(c);
    FILE *full = fopen("/dev/full", "w");
    REQUIRE(full);
    pt_error err;
    CHECK_STATUS(pt_config_write(c, full, &err), PT_ERR_IO);
    CHECK_CONTAINS(err.message, "cannot write the config: No space left on device");
    CHECK_STATUS(pt_config_write_reference(full, &err), PT_ERR_IO);
    fclose(full);
    pt_config_free(c);
}

/* Every default and both ends of every range can be written in a file, read and written again. */
TEST(config, ranges_hold_their_ends) {
    size_t checked = 0;
    for (size_t i = 0; i < pt_key_count; i++) {
        const pt_key *key = &pt_keys[i];
        char values[2][40];
        if (key->kind == PT_KEY_SIZE || key->kind == PT_KEY_U64) {
            snprintf(values[0], 40, "%llu", (unsigned long long)key->least);
            snprintf(values[1], 40, "%llu", (unsigned long long)key->most);
        } else if (key->kind == PT_KEY_FLOAT) {
            pt_print_double(key->low, values[0]);
            pt_print_double(key->high, values[1]);
        } else {
            continue;
        }
        for (size_t k = 0; k < 2; k++) {
            char text[200], line[100];
            bool layer = pt_key_is_of_layer(key);
            snprintf(line, sizeof line, "\n%s = %s\n", key->name, values[k]);
            snprintf(text, sizeof text, "[%s%s%s", key->section, layer ? ".x]\ntype = affine" : "]",
                     line);
            pt_config *c = parse(text);
            REQUIRE(c);
            char *out = written(c);
            CHECK_CONTAINS(out, line);
            free(out);
            pt_config_free(c);
            checked++;
        }
    }
    CHECK(checked >= 30);
}

/* ---- the table ---- */

TEST(config, table_fits_the_structs) {
    for (size_t i = 0; i < pt_key_count; i++) {
        const pt_key *key = &pt_keys[i];
        static const size_t bytes[] = {
            [PT_KEY_BOOL] = sizeof(bool),      [PT_KEY_CHOICE] = sizeof(int),
            [PT_KEY_SIZE] = sizeof(size_t),    [PT_KEY_U64] = sizeof(uint64_t),
            [PT_KEY_FLOAT] = sizeof(float),    [PT_KEY_STRING] = sizeof(char *),
            [PT_KEY_NAME] = sizeof(char *),    [PT_KEY_TYPE] = sizeof(char *),
            [PT_KEY_INIT] = sizeof(pt_init),   [PT_KEY_NAMES] = PT_MAX_INPUTS * sizeof(char *),
            [PT_KEY_NUMBERS] = sizeof(float *)};
        CHECK_MSG(key->bytes == bytes[key->kind], "%s.%s", key->section, key->name);
        CHECK_MSG(pt_key_find(key->section, key->name) == key, "%s.%s twice", key->section,
                  key->name);
        CHECK_MSG(key->help && key->help[0], "%s.%s has no help", key->section, key->name);
        CHECK_MSG(key->initial != NULL, "%s.%s has no default", key->section, key->name);
        char expects[256];
        pt_key_expects(key, expects, sizeof expects);
        CHECK_MSG(expects[0] && strlen(expects) < sizeof expects - 1, "%s.%s", key->section,
                  key->name);
        bool section = false;
        for (size_t s = 0; s < PT_SECTION_COUNT; s++)
            section = section || strcmp(pt_sections[s].name, key->section) == 0;
        CHECK_MSG(section, "%s.%s is in no section", key->section, key->name);
        for (size_t k = 0; k < i; k++)
            CHECK_MSG(pt_key_is_of_layer(&pt_keys[k]) != pt_key_is_of_layer(key) ||
                          pt_keys[k].offset != key->offset,
                      "%s.%s shares a field", key->section, key->name);
    }
    CHECK_CONTAINS(pt_key_find("parallel", "shards")->help, "CHANGES THE ROUNDING");
}

/* configs/reference.ini is what the table says; PT_UPDATE_REFERENCE=1 in the environment rewrites
 * it. */
TEST(config, reference) {
    char *text = written(NULL);
    pt_config *c = parse(text);
    REQUIRE(c);
    CHECK(c->layer_count == 1 && c->layers[0].units == 10);
    pt_config *plain = parse("");
    char difference[500];
    CHECK_STATUS(pt_config_same_run(plain, c, difference, sizeof difference), PT_ERR_CONFIG);
    CHECK_STR(difference,
              "data.train_images is (empty) and data/mnist/train-images-idx3-ubyte; "
              "data.train_labels is (empty) and data/mnist/train-labels-idx1-ubyte; "
              "data.test_images is (empty) and data/mnist/t10k-images-idx3-ubyte; "
              "and 2 more"); /* the labels to test on, and a layer: the rest are defaults */
    pt_config_free(plain);
    pt_config_free(c);
    for (size_t i = 0; i < pt_key_count; i++) {
        char line[80];
        snprintf(line, sizeof line, "\n%s =", pt_keys[i].name);
        char commented[80];
        snprintf(commented, sizeof commented, "\n; %s =", pt_keys[i].name);
        CHECK_MSG(strstr(text, line) || strstr(text, commented), "%s is not there",
                  pt_keys[i].name);
    }
    if (getenv("PT_UPDATE_REFERENCE"))
        pt_write_text("configs/reference.ini", text);
    const char *committed = pt_read_file("configs/reference.ini", NULL);
    CHECK_MSG(committed && strcmp(committed, text) == 0,
              "configs/reference.ini is not what the table of keys says: run the tests once with "
              "PT_UPDATE_REFERENCE=1 in the environment");
    free(text);
}

TEST(config, committed_configs) {
    static const struct {
        const char *path, *dir;
        size_t layers;
    } cases[] = {{"configs/mnist.ini", "runs/mnist", 3},
                 {"configs/mnist-wide.ini", "runs/mnist-wide", 5},
                 {"configs/fashion-mnist.ini", "runs/fashion-mnist", 3},
                 {"configs/xor.ini", "runs/xor", 3},
                 {"configs/apple.ini", "runs/apple", 9},
                 {"configs/reference.ini", "runs/reference", 1}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        pt_config *c = NULL;
        pt_error err;
        REQUIRE_OK(pt_config_load(cases[i].path, NULL, 0, &c, &err), err);
        CHECK_INT(c->layer_count, cases[i].layers);
        CHECK_STR(c->output.dir, cases[i].dir);
        pt_config_free(c);
    }
}

/* ---- comparing ---- */

TEST(config, same_run) {
    static const char base[] = "[layer.a]\ntype = affine\nunits = 3\n[layer.b]\ntype = relu\n";
    static const struct {
        const char *text, *override, *difference; /* "": the same run */
    } cases[] = {
        {base, NULL, ""},
        {base, "parallel.threads=7", ""},
        {base, "parallel.isa=scalar", ""},
        {base, "parallel.schedule=slices", ""},
        {base, "parallel.loader=off", ""},
        {base, "output.dir=elsewhere", ""},
        {base, "output.progress=off", ""},
        {base, "layer.a.init=normal(0.010)", ""}, /* the default, written out */
        {base, "layer.b.input=a", ""},
        {base, "layer.a.input=data", ""},
        {base, "loss.input=b", ""},
        {base, "loss.input=a", "loss.input is (empty) and a"},
        {base, "parallel.shards=5", "parallel.shards is 4 and 5"},
        {base, "train.seed=2", "train.seed is 1 and 2"},
        {base, "optimizer.learning_rate=0.2", "optimizer.learning_rate is 0.1 and 0.2"},
        {base, "data.train_images=./x", "data.train_images is (empty) and ./x"},
        {base, "layer.a.units=4", "layer.a.units is 3 and 4"},
        {base, "layer.a.init=he", "layer.a.init is normal(0.01) and he"},
        {base, "layer.b.type=tanh", "layer.b.type is relu and tanh"},
        {base, "layer.b.input=data", "layer.b.input is (empty) and data"},
        {base, "layer.b.input=a,a", "layer.b.input is (empty) and a, a"},
        {"[layer.a]\ntype = affine\nunits = 3\n[layer.c]\ntype = relu\n", NULL,
         "layer 2 is b and c"},
        {"[layer.a]\ntype = affine\nunits = 3\n", NULL, "the number of layers is 2 and 1"},
    };
    pt_config *a = parse(base);
    REQUIRE(a);
    char difference[400];
    for (size_t i = 0; i < COUNT(cases); i++) {
        pt_config *b = parse_with(cases[i].text, cases[i].override);
        REQUIRE(b);
        pt_status status = pt_config_same_run(a, b, difference, sizeof difference);
        CHECK_INT(status, cases[i].difference[0] ? PT_ERR_CONFIG : PT_OK);
        CHECK_STR(difference, cases[i].difference);
        pt_config_free(b);
    }
    pt_config *b = parse("[train]\nseed = 2\nbatch_size = 1\niterations = 3\nevaluate = false\n"
                         "[loss]\ntype = output\n");
    REQUIRE(b);
    CHECK_STATUS(pt_config_same_run(a, b, difference, sizeof difference), PT_ERR_CONFIG);
    CHECK_STR(difference, "the number of layers is 2 and 0; loss.type is softmax_cross_entropy and "
                          "output; train.iterations is 10000 and 3; and 3 more");
    CHECK_STATUS(pt_config_same_run(a, b, difference, 10), PT_ERR_CONFIG);
    CHECK_STR(difference, "the numbe");
    CHECK_STATUS(pt_config_same_run(a, b, NULL, 0), PT_ERR_CONFIG);
    pt_memory_fail_at(1, 0);
    CHECK_STATUS(pt_config_same_run(a, b, difference, sizeof difference), PT_ERR_MEMORY);
    pt_memory_fail_at(0, 0);
    pt_config_free(b);
    pt_config_free(a);
}

/* ---- running out of memory, at every allocation in turn ---- */

TEST(config, out_of_memory_while_reading) {
    static const char *const overrides[] = {"layer.a.input=data", "train.seed=3", "output.dir=x"};
    long failures = 0;
    for (long n = 1;; n++) {
        pt_config *c = NULL;
        pt_error err = {0};
        pt_memory_fail_at(n, 0);
        pt_status status =
            pt_config_parse(full_text, "t.ini", overrides, COUNT(overrides), &c, &err);
        long asked = pt_memory_count();
        pt_memory_fail_at(0, 0);
        if (status == PT_OK) {
            CHECK_MSG(asked < n, "allocation %ld of %ld failed unseen", n, asked);
            pt_config_free(c);
            break;
        }
        CHECK_INT(status, PT_ERR_MEMORY);
        CHECK_CONTAINS(err.message, "out of memory");
        CHECK(!c);
        failures++;
    }
    CHECK(failures > 30);
}

TEST(config, out_of_memory_while_loading_and_writing) {
    const char *path = pt_path_in(pt_temp_folder(), "net.ini");
    pt_write_text(path, full_text);
    pt_config *c = NULL;
    pt_error err;
    for (long n = 1; !c; n++) {
        pt_memory_fail_at(n, 0);
        pt_status status = pt_config_load(path, NULL, 0, &c, &err);
        pt_memory_fail_at(0, 0);
        CHECK_INT(status, c ? PT_OK : PT_ERR_MEMORY);
    }
    FILE *null = fopen("/dev/null", "w");
    REQUIRE(null);
    for (int reference = 0; reference < 2; reference++) {
        long failures = 0;
        for (pt_status status = PT_ERR_MEMORY; status; failures++) {
            pt_memory_fail_at(failures + 1, 0);
            status =
                reference ? pt_config_write_reference(null, &err) : pt_config_write(c, null, &err);
            pt_memory_fail_at(0, 0);
            CHECK(status == PT_OK || status == PT_ERR_MEMORY);
        }
        CHECK(failures > 5);
    }
    fclose(null);
    pt_config_free(c);
}
