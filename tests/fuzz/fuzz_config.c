/* fuzz_config.c: INI texts and overrides; what is accepted must write, read back and build.
 *
 * Input: an INI text, then overrides (as of --set), each after a NUL byte.
 */
#include "fuzz.h"

#include "0_base/memory.h"
#include "1_config/config.h"
#include "2_data/dataset.h"
#include "3_graph/graph.h"

enum { MAX_OVERRIDES = 8 };

/* Rows of 3 x 2 numbers with one of three labels. */
static const float features[2 * 6] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
static int32_t labels[2] = {0, 2};
static float targets[2] = {0.5f, 1};

static void write_and_read(const pt_config *config) {
    char *text[2] = {NULL, NULL}, difference[256];
    size_t size[2];
    pt_error err = {0};
    pt_config *again = NULL;
    for (int i = 0; i < 2; i++) {
        FILE *stream = open_memstream(&text[i], &size[i]);
        PROMISE(stream);
        PROMISE(pt_config_write(i ? again : config, stream, &err) == PT_OK);
        PROMISE(fclose(stream) == 0);
        if (i == 0)
            PROMISE(pt_config_parse(text[0], "again", NULL, 0, &again, &err) == PT_OK);
    }
    PROMISE(size[0] == size[1] && memcmp(text[0], text[1], size[0]) == 0);
    PROMISE(pt_config_same_run(config, again, difference, sizeof difference) == PT_OK);
    pt_config_free(again);
    free(text[0]);
    free(text[1]);
}

/* What a checkpoint holds of a config must be the same run, but for its length. */
static void write_numbers(const pt_config *config) {
    char *text = NULL, difference[256];
    size_t size;
    pt_error err = {0};
    pt_config *again = NULL;
    FILE *stream = open_memstream(&text, &size);
    PROMISE(stream);
    PROMISE(pt_config_write_numbers(config, stream, &err) == PT_OK);
    PROMISE(fclose(stream) == 0);
    PROMISE(pt_config_parse(text, "numbers", NULL, 0, &again, &err) == PT_OK);
    again->train.iterations = config->train.iterations;
    PROMISE(pt_config_same_run(config, again, difference, sizeof difference) == PT_OK);
    pt_config_free(again);
    free(text);
}

static void build(pt_config *config) {
    struct pt_dataset dataset = {.element = PT_ELEMENT_F32,
                                 .columns = 6,
                                 .dims = {6},
                                 .dim_count = 1,
                                 .scale = 1,
                                 .train = {.rows = 2, .features = features}};
    if (!config->data.flatten) {
        dataset.dims[0] = 3;
        dataset.dims[1] = 2;
        dataset.dim_count = 2;
    }
    if (config->data.target == PT_CSV_VALUES) {
        dataset.target_columns = 1;
        dataset.train.targets = targets;
    } else {
        dataset.classes = 3;
        dataset.train.labels = labels;
    }
    if (config->data.dataset == PT_DATASET_NONE)
        dataset = (struct pt_dataset){.element = PT_ELEMENT_F32, .scale = 1, .train = {.rows = 1}};
    pt_error err = {0};
    pt_graph *graph = NULL;
    pt_status status = pt_graph_build(config, &dataset, &graph, &err);
    PROMISE((status == PT_OK) == (graph != NULL));
    if (status != PT_OK) {
        PROMISE(status == PT_ERR_CONFIG && err.message[0]);
        return;
    }
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    PROMISE(stream);
    pt_graph_write_dot(graph, NULL, stream);
    fclose(stream);
    free(text);
    if (graph->block_size < 1 << 16) {
        float *block = pt_calloc_aligned(graph->block_size + 1, sizeof *block);
        PROMISE(block);
        pt_graph_initialize(graph, config->train.seed, block);
        pt_free(block);
    }
    pt_graph_free(graph);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    PROMISE(text);
    memcpy(text, data, size);
    text[size] = '\0';
    const char *overrides[MAX_OVERRIDES];
    size_t count = 0;
    for (size_t at = strlen(text); at < size && count < MAX_OVERRIDES; at += strlen(text + at))
        overrides[count++] = text + ++at;
    pt_error err = {0};
    pt_config *config = NULL;
    pt_status status = pt_config_parse(text, "fuzz", overrides, count, &config, &err);
    PROMISE((status == PT_OK) == (config != NULL));
    if (status == PT_OK) {
        write_and_read(config);
        write_numbers(config);
        pt_graph_note_keys(config);
        write_and_read(config);
        build(config);
    } else {
        PROMISE(status == PT_ERR_CONFIG && err.message[0] && !strchr(err.message, '\n'));
    }
    pt_config_free(config);
    free(text);
    return 0;
}
