/* idx.c: images and labels of IDX files as a dataset. */
#include "0_base/fail.h"
#include "0_base/memory.h"
#include "2_data/dataset.h"
#include "2_data/idx_file.h"

#include <string.h>

/* What the [data] section says of one split. */
typedef struct split_source {
    const char *images, *labels;         /* paths; "" = not given */
    const char *images_key, *labels_key; /* the keys that name them */
} split_source;

/* Copies the labels of the first `rows` rows as class indices. The labels of every row of the file
 * are checked, whatever the limit, so that a limit does not change the number of classes. */
static pt_status take_labels(const char *path, const pt_idx_file *file, size_t rows,
                             size_t configured_classes, size_t *classes, pt_split *split,
                             pt_error *err) {
    uint8_t largest = 0;
    for (size_t r = 0; r < file->dims[0]; r++)
        largest = file->data[r] > largest ? file->data[r] : largest;
    if (*classes == 0)
        *classes = configured_classes ? configured_classes : (size_t)largest + 1;
    if (largest >= *classes) {
        size_t r = 0;
        while (file->data[r] < *classes)
            r++;
        if (configured_classes)
            return pt_fail(err, PT_ERR_DATA,
                           "%s: offset %zu: label %d of row %zu is not one of 0..%zu "
                           "([data] classes = %zu)",
                           path, file->data_offset + r, file->data[r], r, *classes - 1, *classes);
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset %zu: label %d of row %zu is larger than every training label "
                       "(%zu); set [data] classes if that is right",
                       path, file->data_offset + r, file->data[r], r, *classes - 1);
    }
    split->labels = pt_malloc(rows * sizeof *split->labels);
    if (!split->labels)
        return pt_fail_memory(err, path, rows * sizeof *split->labels);
    for (size_t r = 0; r < rows; r++)
        split->labels[r] = file->data[r];
    return PT_OK;
}

/* The shape of a row, from the first file read; later files must agree. */
static pt_status take_shape(const pt_config *config, const split_source *source,
                            const pt_idx_file *images, pt_dataset *dataset, pt_error *err) {
    size_t dims[PT_MAX_DATA_DIMS] = {0}, dim_count = 1;
    if (config->data.flatten) {
        dims[0] = images->row_bytes;
    } else {
        dim_count = images->dim_count - 1;
        memcpy(dims, images->dims + 1, dim_count * sizeof *dims);
    }
    if (dataset->dim_count == 0) {
        memcpy(dataset->dims, dims, sizeof dims);
        dataset->dim_count = dim_count;
        dataset->columns = images->row_bytes;
    } else if (dim_count != dataset->dim_count || memcmp(dims, dataset->dims, sizeof dims) != 0) {
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset 8: images of %zu bytes of another shape than those of %s "
                       "(%zu bytes)",
                       source->images, images->row_bytes, config->data.train_images,
                       dataset->columns);
    }
    return PT_OK;
}

static pt_status load_split(const pt_config *config, const split_source *source,
                            pt_dataset *dataset, pt_split *split, struct pt_backing *backing,
                            pt_error *err) {
    pt_idx_file images = {0}, labels = {0};
    pt_status status =
        pt_idx_read(source->images, source->images_key, 2, PT_IDX_MAX_DIMS, &images, err);
    if (status == PT_OK)
        status = pt_idx_read(source->labels, source->labels_key, 1, 1, &labels, err);
    if (status == PT_OK && images.dims[0] != labels.dims[0])
        status = pt_fail(err, PT_ERR_DATA,
                         "%s: offset 4: %zu labels, but %s holds %zu images; name files that "
                         "belong together",
                         source->labels, labels.dims[0], source->images, images.dims[0]);
    if (status == PT_OK)
        status = take_shape(config, source, &images, dataset, err);
    if (status == PT_OK) {
        const size_t limit = config->data.limit;
        const size_t rows = limit && limit < images.dims[0] ? limit : images.dims[0];
        status = take_labels(source->labels, &labels, rows, config->data.classes, &dataset->classes,
                             split, err);
        if (status == PT_OK) {
            split->rows = rows;
            split->features = images.data;
            *backing = images.backing;
            images.backing = (struct pt_backing){0};
        }
    }
    pt_idx_free(&images);
    pt_idx_free(&labels);
    return status;
}

/* NULL, as in a config made by hand, is as good as "". */
static const char *or_empty(const char *text) {
    return text ? text : "";
}

pt_status pt_dataset_load_idx(const pt_config *config, pt_dataset *dataset, pt_error *err) {
    const split_source sources[2] = {
        {or_empty(config->data.train_images), or_empty(config->data.train_labels), "train_images",
         "train_labels"},
        {or_empty(config->data.test_images), or_empty(config->data.test_labels), "test_images",
         "test_labels"}};
    dataset->element = PT_ELEMENT_U8;
    dataset->scale = config->data.normalize ? 1.0f / 255 : 1;
    pt_split *splits[2] = {&dataset->train, &dataset->test};
    for (size_t s = 0; s < 2; s++) {
        const bool has_images = *sources[s].images, has_labels = *sources[s].labels;
        if (s == 1 && !has_images && !has_labels)
            break; /* no test split */
        if (!has_images || !has_labels) {
            const char *missing = has_images ? sources[s].labels_key : sources[s].images_key;
            return pt_fail(err, PT_ERR_CONFIG,
                           "%s: [data] %s is missing: name the file with the %s%s",
                           config->path ? config->path : "config", missing,
                           has_images ? "labels of these images" : "images",
                           has_images || has_labels ? "" : ", or write `dataset = csv` or none");
        }
        pt_status status =
            load_split(config, &sources[s], dataset, splits[s], &dataset->backing[s], err);
        if (status != PT_OK)
            return status;
    }
    return PT_OK;
}
