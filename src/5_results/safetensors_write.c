/* safetensors_write.c: equal tensors in, equal bytes out. */
#include "5_results/safetensors.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "5_results/atomic_file.h"
#include "5_results/json.h"

#include <jansson.h>
#include <sha256.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "float bytes are written as they lie");

enum { PREFIX = 8, DATA_ALIGNMENT = 64, MAX_HEADER = 100 * 1000 * 1000, CHECKSUM_DIGITS = 64 };

static const char CHECKSUM_MARK[] = "\"checksum\":\""; /* quotes within strings are escaped, so
                                                          this occurs nowhere else */

bool pt_tensor_elements(const pt_tensor *tensor, size_t *elements) {
    size_t product = 1, bytes;
    for (size_t d = 0; d < tensor->rank; d++)
        if (__builtin_mul_overflow(product, tensor->shape[d], &product))
            return false;
    *elements = product;
    return !__builtin_mul_overflow(product, sizeof(float), &bytes) && bytes <= INT64_MAX;
}

/* Where bytes go: into a hash, a file, or both. */
typedef struct sink {
    SHA256_CTX *hash;
    FILE *stream;
} sink;

/* Whether writing still goes well; the stream's owner knows the reason. */
static bool put(const sink *to, const void *bytes, size_t size) {
    if (to->hash)
        SHA256_Update(to->hash, bytes, size);
    return !to->stream || fwrite(bytes, 1, size, to->stream) == size;
}

static bool put_tensor(const sink *to, const pt_tensor *tensor) {
    size_t elements = 0;
    if (!pt_tensor_elements(tensor, &elements) || elements == 0)
        return true;
    size_t row = tensor->rank > 0 ? tensor->shape[tensor->rank - 1] : 1;
    if (tensor->stride == 0 || tensor->stride == row)
        row = elements;
    for (size_t r = 0; r < elements / row; r++)
        if (!put(to, tensor->data + r * tensor->stride, row * sizeof(float)))
            return false;
    return true;
}

/* The header's length prefix and text, then every tensor. */
static bool put_all(const sink *to, const char *header, size_t header_size,
                    const pt_tensor *const *order, size_t count) {
    unsigned char prefix[PREFIX];
    for (size_t i = 0; i < PREFIX; i++)
        prefix[i] = (unsigned char)((uint64_t)header_size >> (8 * i));
    bool ok = put(to, prefix, PREFIX) && put(to, header, header_size);
    for (size_t i = 0; ok && i < count; i++)
        ok = put_tensor(to, order[i]);
    return ok;
}

static int by_name(const void *a, const void *b) {
    const pt_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static pt_status check_tensor(const char *path, const pt_tensor *tensor, pt_error *err) {
    size_t elements;
    if (!pt_utf8_valid(tensor->name, strlen(tensor->name)))
        return pt_fail(err, PT_ERR_USAGE, "%s: a tensor's name is not UTF-8", path);
    if (strcmp(tensor->name, "__metadata__") == 0)
        return pt_fail(err, PT_ERR_USAGE, "%s: a tensor cannot be named __metadata__", path);
    if (tensor->rank > PT_SAFETENSORS_MAX_RANK)
        return pt_fail(err, PT_ERR_USAGE, "%s: tensor %s has %zu dimensions, at most %d go", path,
                       tensor->name, tensor->rank, PT_SAFETENSORS_MAX_RANK);
    if (!pt_tensor_elements(tensor, &elements))
        return pt_fail(err, PT_ERR_USAGE, "%s: the shape of tensor %s overflows", path,
                       tensor->name);
    if (tensor->rank > 0 && tensor->stride != 0 && tensor->stride < tensor->shape[tensor->rank - 1])
        return pt_fail(err, PT_ERR_USAGE, "%s: tensor %s has a stride below its row's length", path,
                       tensor->name);
    return PT_OK;
}

static pt_status check_metadata(const char *path, const pt_metadata *metadata, size_t count,
                                pt_error *err) {
    for (size_t i = 0; i < count; i++) {
        const char *key = metadata[i].key;
        if (!pt_utf8_valid(key, strlen(key)))
            return pt_fail(err, PT_ERR_USAGE, "%s: a metadata key is not UTF-8", path);
        if (!pt_utf8_valid(metadata[i].value, strlen(metadata[i].value)))
            return pt_fail(err, PT_ERR_USAGE, "%s: metadata entry %s is not UTF-8", path, key);
        if (strcmp(key, "checksum") == 0 || strcmp(key, "writer") == 0)
            return pt_fail(err, PT_ERR_USAGE, "%s: metadata key %s is reserved", path, key);
        for (size_t j = 0; j < i; j++)
            if (strcmp(key, metadata[j].key) == 0)
                return pt_fail(err, PT_ERR_USAGE, "%s: metadata key %s is given twice", path, key);
    }
    return PT_OK;
}

/* The tensors in the order of their names, all of them valid. */
static pt_status make_order(const char *path, const pt_tensor *tensors, size_t count,
                            const pt_tensor ***result, pt_error *err) {
    const pt_tensor **order = pt_calloc(count, sizeof(pt_tensor *));
    if (!order)
        return pt_fail_memory(err, path, count * sizeof(pt_tensor *));
    pt_status status = PT_OK;
    size_t total = 0, elements;
    for (size_t i = 0; i < count && status == PT_OK; i++) {
        order[i] = &tensors[i];
        status = check_tensor(path, &tensors[i], err);
        if (status == PT_OK && (!pt_tensor_elements(&tensors[i], &elements) ||
                                __builtin_add_overflow(total, elements * sizeof(float), &total)))
            status = pt_fail(err, PT_ERR_USAGE, "%s: the sum of all tensors overflows", path);
    }
    if (status == PT_OK && count > 0)
        qsort(order, count, sizeof(pt_tensor *), by_name);
    for (size_t i = 1; i < count && status == PT_OK; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            status =
                pt_fail(err, PT_ERR_USAGE, "%s: two tensors are named %s", path, order[i]->name);
    if (status == PT_OK)
        *result = order;
    else
        pt_free(order);
    return status;
}

/* {"data_offsets":[begin,end],"dtype":"F32","shape":[...]}; NULL: out of memory. Jansson's setters
 * take a NULL value as failure and own the value even when they fail. */
static json_t *tensor_entry(const pt_tensor *tensor, size_t begin, size_t end) {
    json_t *shape = json_array();
    for (size_t d = 0; d < tensor->rank; d++)
        if (json_array_append_new(shape, json_integer((json_int_t)tensor->shape[d])) != 0) {
            json_decref(shape);
            return NULL;
        }
    return json_pack("{s:[I,I],s:s,s:o}", "data_offsets", (json_int_t)begin, (json_int_t)end,
                     "dtype", "F32", "shape", shape);
}

/* The header's tree, with a checksum of zeros; NULL: out of memory. */
static json_t *make_tree(const pt_tensor *const *order, size_t count, const pt_metadata *metadata,
                         size_t metadata_count) {
    char zeros[CHECKSUM_DIGITS + 1] = {0};
    memset(zeros, '0', CHECKSUM_DIGITS);
    json_t *tree = json_object();
    json_t *about = json_pack("{s:s,s:s}", "checksum", zeros, "writer", "ptrain");
    bool ok = about;
    for (size_t i = 0; ok && i < metadata_count; i++)
        ok = json_object_set_new(about, metadata[i].key, json_string(metadata[i].value)) == 0;
    ok = json_object_set_new(tree, "__metadata__", about) == 0 && ok;
    size_t begin = 0;
    for (size_t i = 0; ok && i < count; i++) {
        size_t elements = 0;
        (void)pt_tensor_elements(order[i], &elements);
        size_t end = begin + elements * sizeof(float);
        ok = json_object_set_new(tree, order[i]->name, tensor_entry(order[i], begin, end)) == 0;
        begin = end;
    }
    if (ok)
        return tree;
    json_decref(tree);
    return NULL;
}

/* The header's text, padded; `*digits` is where the checksum belongs. Freed by the caller. */
static pt_status make_header(const char *path, const pt_tensor *const *order, size_t count,
                             const pt_metadata *metadata, size_t metadata_count, char **header,
                             size_t *size, char **digits, pt_error *err) {
    pt_json_init();
    json_t *tree = make_tree(order, count, metadata, metadata_count);
    char *text = tree ? json_dumps(tree, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(tree);
    if (!text)
        return pt_fail_memory(err, path, 0);
    size_t length = strlen(text);
    *size = (PREFIX + length + DATA_ALIGNMENT - 1) / DATA_ALIGNMENT * DATA_ALIGNMENT - PREFIX;
    char *padded = *size > MAX_HEADER ? NULL : pt_realloc(text, *size + 1);
    if (!padded) {
        pt_free(text);
        return *size > MAX_HEADER
                   ? pt_fail(err, PT_ERR_USAGE, "%s: names and metadata exceed %d bytes", path,
                             MAX_HEADER)
                   : pt_fail_memory(err, path, *size + 1);
    }
    memset(padded + length, ' ', *size - length);
    padded[*size] = '\0';
    *header = padded;
    *digits = strstr(padded, CHECKSUM_MARK) + strlen(CHECKSUM_MARK);
    return PT_OK;
}

pt_status pt_safetensors_write(const char *path, const pt_tensor *tensors, size_t tensor_count,
                               const pt_metadata *metadata, size_t metadata_count, char *sha256,
                               pt_error *err) {
    const pt_tensor **order = NULL;
    char *header = NULL, *digits = NULL;
    size_t header_size = 0;
    pt_atomic_file *file = NULL;
    pt_status status = check_metadata(path, metadata, metadata_count, err);
    if (status == PT_OK)
        status = make_order(path, tensors, tensor_count, &order, err);
    if (status == PT_OK)
        status = make_header(path, order, tensor_count, metadata, metadata_count, &header,
                             &header_size, &digits, err);
    if (status == PT_OK)
        status = pt_atomic_open(path, &file, err);
    if (status == PT_OK) {
        /* Two passes over the data: the checksum stands before what it sums. */
        SHA256_CTX hash;
        char hex[65];
        SHA256_Init(&hash);
        put_all(&(sink){&hash, NULL}, header, header_size, order, tensor_count);
        SHA256_End(&hash, hex);
        memcpy(digits, hex, CHECKSUM_DIGITS);
        SHA256_Init(&hash);
        put_all(&(sink){sha256 ? &hash : NULL, pt_atomic_stream(file)}, header, header_size, order,
                tensor_count);
        status = pt_atomic_commit(file, err); /* reports what put_all met */
        if (status == PT_OK && sha256)
            SHA256_End(&hash, sha256);
    }
    pt_free(header);
    pt_free(order);
    return status;
}
