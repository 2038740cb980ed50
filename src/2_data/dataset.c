/* dataset.c: which loader reads the rows, what callers may ask of them, and freeing them. */
#include "2_data/dataset.h"

#include "0_base/fail.h"
#include "0_base/memory.h"

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
