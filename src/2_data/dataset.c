/* dataset.c: which loader reads the rows, what callers may ask of them, and freeing them. */
#include "2_data/dataset.h"

#include "0_base/fail.h"
#include "0_base/memory.h"

#include <zlib.h>

/* One row without features, for graphs whose only leaves are `variable` layers. */
static void load_none(pt_dataset *dataset) {
    dataset->element = PT_ELEMENT_F32;
    dataset->scale = 1;
    dataset->train.rows = 1;
}

pt_status pt_dataset_load(const pt_config *config, pt_dataset **dataset, pt_error *err) {
    *dataset = NULL;
    pt_dataset *loaded = pt_calloc(1, sizeof *loaded);
    if (!loaded)
        return pt_fail_memory(err, "the dataset", sizeof *loaded);
    pt_status status = PT_OK;
    switch (config->data.dataset) {
    case PT_DATASET_IDX:
        status = pt_dataset_load_idx(config, loaded, err);
        break;
    case PT_DATASET_CSV:
        status = pt_dataset_load_csv(config, loaded, err);
        break;
    case PT_DATASET_NONE:
        load_none(loaded);
        break;
    }
    if (status != PT_OK) {
        pt_dataset_free(loaded);
        return status;
    }
    *dataset = loaded;
    return PT_OK;
}

void pt_dataset_free(pt_dataset *dataset) {
    if (!dataset)
        return;
    pt_split *splits[2] = {&dataset->train, &dataset->test};
    for (size_t s = 0; s < 2; s++) {
        pt_backing_free(&dataset->backing[s]); /* the features */
        pt_free(splits[s]->labels);
        pt_free(splits[s]->targets);
    }
    pt_free(dataset);
}

/* zlib's CRC-32, continued; bytes of any number. */
static uLong add_bytes(uLong crc, const void *bytes, size_t size) {
    return bytes ? crc32_z(crc, bytes, size) : crc;
}

static uLong add_split(uLong crc, const pt_dataset *dataset, const pt_split *split) {
    enum { SAMPLED = 1024 };
    const size_t element = dataset->element == PT_ELEMENT_U8 ? sizeof(uint8_t) : sizeof(float);
    const size_t row = dataset->columns * element;
    const size_t sampled = split->rows < SAMPLED ? split->rows : SAMPLED;
    crc = add_bytes(crc, &split->rows, sizeof split->rows);
    if (split->labels)
        crc = add_bytes(crc, split->labels, split->rows * sizeof *split->labels);
    if (split->targets)
        crc = add_bytes(crc, split->targets,
                        split->rows * dataset->target_columns * sizeof *split->targets);
    for (size_t i = 0; i < sampled && split->features; i++)
        crc = add_bytes(crc, (const char *)split->features + i * split->rows / sampled * row, row);
    return crc;
}

uint64_t pt_dataset_fingerprint(const pt_dataset *dataset) {
    uLong crc = add_bytes(crc32_z(0, NULL, 0), dataset->dims, sizeof dataset->dims);
    crc = add_split(crc, dataset, &dataset->train);
    return add_split(crc, dataset, &dataset->test);
}

size_t pt_dataset_train_rows(const pt_dataset *dataset) {
    return dataset->train.rows;
}

size_t pt_dataset_test_rows(const pt_dataset *dataset) {
    return dataset->test.rows;
}

size_t pt_dataset_columns(const pt_dataset *dataset) {
    return dataset->columns;
}

size_t pt_dataset_classes(const pt_dataset *dataset) {
    return dataset->classes;
}
