/* fuzz_csv.c: CSV files to train and to test on; every number that is accepted is read.
 *
 * Input: a byte of choices, the training file, and after a byte 0xFF the test file.
 */
#include "fuzz.h"

#include "1_config/config.h"
#include "2_data/dataset.h"

#include <math.h>

enum { HEADER = 1, VALUES = 2, TWO_TARGETS = 4, LIMIT = 8, CLASSES = 16 };

static void read_all(const pt_dataset *dataset, const pt_split *split) {
    const float *numbers = split->features;
    for (size_t i = 0; i < split->rows * dataset->columns; i++)
        PROMISE(isfinite(numbers[i]));
    for (size_t r = 0; r < split->rows && split->labels; r++)
        PROMISE(split->labels[r] >= 0 && (size_t)split->labels[r] < dataset->classes);
    for (size_t i = 0; i < split->rows * dataset->target_columns; i++)
        PROMISE(isfinite(split->targets[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static fuzz_file train, test;
    if (!train.path[0]) {
        train = fuzz_file_make("");
        test = fuzz_file_make("");
    }
    const unsigned choices = fuzz_byte(&data, &size);
    const uint8_t *second = size ? memchr(data, 0xFF, size) : NULL;
    const size_t first_size = second ? (size_t)(second - data) : size;
    fuzz_file_fill(&train, data, first_size);
    if (second)
        fuzz_file_fill(&test, second + 1, size - first_size - 1);
    pt_config config = {.path = NULL,
                        .data = {.dataset = PT_DATASET_CSV,
                                 .train_file = train.path,
                                 .test_file = second ? test.path : NULL,
                                 .target = choices & VALUES ? PT_CSV_VALUES : PT_CSV_LABEL,
                                 .target_columns = choices & TWO_TARGETS ? 2 : 1,
                                 .header = choices & HEADER,
                                 .limit = choices & LIMIT ? 2 : 0,
                                 .classes = choices & CLASSES ? 3 : 0}};
    pt_error err = {0};
    pt_dataset *dataset = NULL;
    pt_status status = pt_dataset_load(&config, &dataset, &err);
    PROMISE((status == PT_OK) == (dataset != NULL));
    if (status == PT_OK) {
        PROMISE(dataset->train.rows > 0 && dataset->columns > 0);
        PROMISE((choices & VALUES) ? dataset->train.targets != NULL
                                   : dataset->train.labels != NULL);
        read_all(dataset, &dataset->train);
        read_all(dataset, &dataset->test);
    } else {
        PROMISE(status == PT_ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
    }
    pt_dataset_free(dataset);
    return 0;
}
