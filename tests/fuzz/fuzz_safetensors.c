/* fuzz_safetensors.c: safetensors files; what is accepted keeps the format's every promise.
 *
 * Input: a file.
 */
#include "fuzz.h"

#include "5_results/json.h"
#include "5_results/safetensors.h"
#include "heap.h"

static size_t header_size(const uint8_t *data, size_t size) {
    uint64_t length = 0;
    for (size_t i = 8; i > 0 && size >= 8; i--)
        length = length << 8 | data[i - 1];
    return length < size ? (size_t)length : size;
}

static void check(const pt_safetensors *file, size_t data_size) {
    size_t bytes = 0;
    volatile float sum = 0;
    for (size_t i = 0; i < file->tensor_count; i++) {
        const pt_tensor *tensor = &file->tensors[i];
        size_t elements;
        PROMISE(pt_tensor_elements(tensor, &elements));
        PROMISE(tensor->rank <= PT_SAFETENSORS_MAX_RANK && tensor->stride == 0);
        PROMISE(pt_utf8_valid(tensor->name, strlen(tensor->name)));
        PROMISE(pt_safetensors_find(file, tensor->name) == tensor);
        PROMISE(i == 0 || strcmp(file->tensors[i - 1].name, tensor->name) < 0);
        for (size_t e = 0; e < elements; e++)
            sum = sum + tensor->data[e];
        bytes += elements * sizeof(float);
    }
    PROMISE(bytes <= data_size && file->size - bytes <= data_size);
    for (size_t i = 0; i < file->metadata_count; i++)
        PROMISE(pt_safetensors_metadata(file, file->metadata[i].key) == file->metadata[i].value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    pt_error err = {0};
    pt_safetensors *file = NULL;
    heap_watch();
    pt_status status = pt_safetensors_parse(data, size, "fuzz", &file, &err);
    PROMISE(g_heap_asked <= size + 6 * header_size(data, size) + 1024);
    PROMISE((status == PT_OK) == (file != NULL));
    if (status == PT_OK)
        check(file, size);
    else
        PROMISE(status == PT_ERR_DATA && err.message[0] && !strchr(err.message, '\n'));
    pt_safetensors_free(file);
    return 0;
}
