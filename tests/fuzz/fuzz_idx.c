/* fuzz_idx.c: IDX files of images and labels, raw and gzip; every row that is accepted is read.
 *
 * Input: a byte of choices, two bytes with the size of the labels' file, that file, the images'.
 */
#include "fuzz.h"

#include "1_config/config.h"
#include "2_data/dataset.h"

#include <zlib.h>

enum { NORMALIZE = 1, GZIP = 2, DEFLATE = 4, FLATTEN = 8, LIMIT = 16 };

/* Puts a file into memory, compressed for the fuzzer if asked for: it cannot guess a CRC. */
static void put(const fuzz_file *file, unsigned choices, const uint8_t *data, size_t size) {
    if (!(choices & DEFLATE)) {
        fuzz_file_fill(file, data, size);
        return;
    }
    z_stream stream = {.next_in = (z_const Bytef *)(uintptr_t)data, .avail_in = (uInt)size};
    PROMISE(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    uLong room = deflateBound(&stream, size);
    uint8_t *packed = malloc(room);
    PROMISE(packed);
    stream.next_out = packed;
    stream.avail_out = (uInt)room;
    PROMISE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    fuzz_file_fill(file, packed, stream.total_out);
    deflateEnd(&stream);
    free(packed);
}

static void read_all(const pt_dataset *dataset, bool limited) {
    const uint8_t *bytes = dataset->train.features;
    volatile unsigned sum = 0;
    PROMISE(dataset->train.rows > 0 && dataset->columns > 0 && dataset->classes > 0);
    PROMISE(!limited || dataset->train.rows <= 3);
    for (size_t i = 0; i < dataset->train.rows * dataset->columns; i++)
        sum = sum + bytes[i];
    for (size_t r = 0; r < dataset->train.rows; r++)
        PROMISE(dataset->train.labels[r] >= 0 &&
                (size_t)dataset->train.labels[r] < dataset->classes);
    size_t product = 1;
    for (size_t d = 0; d < dataset->dim_count; d++)
        product *= dataset->dims[d];
    PROMISE(product == dataset->columns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static fuzz_file raw[2], packed[2];
    if (!raw[0].path[0])
        for (int i = 0; i < 2; i++) {
            raw[i] = fuzz_file_make("");
            packed[i] = fuzz_file_make(".gz");
        }
    const unsigned choices = fuzz_byte(&data, &size);
    size_t label_size = fuzz_byte(&data, &size);
    label_size += 256 * (size_t)fuzz_byte(&data, &size);
    label_size = label_size < size ? label_size : size;

    fuzz_file *files = choices & (GZIP | DEFLATE) ? packed : raw;
    put(&files[0], choices, data + label_size, size - label_size);
    put(&files[1], choices, data, label_size);
    pt_config config = {.path = NULL,
                        .data = {.dataset = PT_DATASET_IDX,
                                 .train_images = files[0].path,
                                 .train_labels = files[1].path,
                                 .normalize = choices & NORMALIZE,
                                 .flatten = choices & FLATTEN,
                                 .limit = choices & LIMIT ? 3 : 0}};
    pt_error err = {0};
    pt_dataset *dataset = NULL;
    pt_status status = pt_dataset_load(&config, &dataset, &err);
    PROMISE((status == PT_OK) == (dataset != NULL));
    if (status == PT_OK)
        read_all(dataset, choices & LIMIT);
    else
        PROMISE((status == PT_ERR_DATA || status == PT_ERR_CONFIG) && err.message[0] &&
                !strchr(err.message, '\n'));
    pt_dataset_free(dataset);
    return 0;
}
