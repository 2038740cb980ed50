/* safetensors_write.c: equal tensors in, equal bytes out. */
#include "5_results/safetensors.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "5_results/atomic_file.h"
#include "5_results/json.h"

#include <sha256.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "float bytes are written as they lie");

enum { DATA_ALIGNMENT = 64 };

/* The entries we add; the digits are filled in once the rest of the file is known. */
static const pt_metadata CHECKSUM = {"checksum", "0000000000000000000000000000000000000000"
                                                 "000000000000000000000000"};
static const pt_metadata WRITER = {"writer", "ptrain"};
enum { OUR_METADATA = 2 };

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
static bool put_all(const sink *to, const pt_string *header, const pt_tensor *const *order,
                    size_t count) {
    unsigned char prefix[PT_SAFETENSORS_PREFIX];
    for (size_t i = 0; i < PT_SAFETENSORS_PREFIX; i++)
        prefix[i] = (unsigned char)((uint64_t)header->length >> (8 * i));
    bool ok = put(to, prefix, PT_SAFETENSORS_PREFIX) && put(to, header->text, header->length);
    for (size_t i = 0; ok && i < count; i++)
        ok = put_tensor(to, order[i]);
    return ok;
}

static int by_name(const void *a, const void *b) {
    const pt_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int by_key(const void *a, const void *b) {
    const pt_metadata *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
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

/* The tensors in the order of their names, all of them valid. */
static pt_status order_tensors(const char *path, const pt_tensor *tensors, size_t count,
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

static pt_status check_metadata(const char *path, const pt_metadata *entry, pt_error *err) {
    if (!pt_utf8_valid(entry->key, strlen(entry->key)))
        return pt_fail(err, PT_ERR_USAGE, "%s: a metadata key is not UTF-8", path);
    if (!pt_utf8_valid(entry->value, strlen(entry->value)))
        return pt_fail(err, PT_ERR_USAGE, "%s: metadata entry %s is not UTF-8", path, entry->key);
    if (strcmp(entry->key, CHECKSUM.key) == 0 || strcmp(entry->key, WRITER.key) == 0)
        return pt_fail(err, PT_ERR_USAGE, "%s: metadata key %s is reserved", path, entry->key);
    return PT_OK;
}

/* The metadata and our own two entries in the order of their keys, all of them valid. */
static pt_status order_metadata(const char *path, const pt_metadata *metadata, size_t count,
                                const pt_metadata ***result, pt_error *err) {
    const pt_metadata **order = pt_calloc(count + OUR_METADATA, sizeof(pt_metadata *));
    if (!order)
        return pt_fail_memory(err, path, count * sizeof(pt_metadata *));
    pt_status status = PT_OK;
    for (size_t i = 0; i < count && status == PT_OK; i++) {
        order[i] = &metadata[i];
        status = check_metadata(path, &metadata[i], err);
    }
    order[count++] = &CHECKSUM;
    order[count++] = &WRITER;
    if (status == PT_OK)
        qsort(order, count, sizeof(pt_metadata *), by_key);
    for (size_t i = 1; i < count && status == PT_OK; i++)
        if (strcmp(order[i - 1]->key, order[i]->key) == 0)
            status = pt_fail(err, PT_ERR_USAGE, "%s: metadata key %s is given twice", path,
                             order[i]->key);
    if (status == PT_OK)
        *result = order;
    else
        pt_free(order);
    return status;
}

static void add_tensor(pt_string *out, const pt_tensor *tensor, size_t begin, size_t end) {
    pt_json_quote(out, tensor->name);
    pt_string_add(out, ":{\"data_offsets\":[%zu,%zu],\"dtype\":\"F32\",\"shape\":[", begin, end);
    for (size_t d = 0; d < tensor->rank; d++)
        pt_string_add(out, "%s%zu", d ? "," : "", tensor->shape[d]);
    pt_string_add(out, "]}");
}

/* The header's text, padded, with zeros for a checksum, which belongs at `*digits`. */
static pt_status make_header(const char *path, const pt_tensor *const *order, size_t count,
                             const pt_metadata *const *about, size_t about_count, pt_string *header,
                             size_t *digits, pt_error *err) {
    *digits = 0;
    pt_string_add(header, "{\"__metadata__\":{");
    for (size_t i = 0; i < about_count; i++) {
        if (i > 0)
            pt_string_add(header, ",");
        pt_json_quote(header, about[i]->key);
        pt_string_add(header, ":");
        if (about[i] == &CHECKSUM)
            *digits = header->length + 1;
        pt_json_quote(header, about[i]->value);
    }
    pt_string_add(header, "}");
    for (size_t i = 0, begin = 0; i < count; i++) {
        size_t elements = 0;
        (void)pt_tensor_elements(order[i], &elements);
        pt_string_add(header, ",");
        add_tensor(header, order[i], begin, begin + elements * sizeof(float));
        begin += elements * sizeof(float);
    }
    pt_string_add(header, "}");
    size_t over = (PT_SAFETENSORS_PREFIX + header->length) % DATA_ALIGNMENT;
    pt_string_add(header, "%*s", over ? (int)(DATA_ALIGNMENT - over) : 0, "");
    if (header->failed)
        return pt_fail_memory(err, path, header->length);
    if (header->length > PT_SAFETENSORS_MAX_HEADER)
        return pt_fail(err, PT_ERR_USAGE, "%s: names and metadata exceed %d bytes", path,
                       PT_SAFETENSORS_MAX_HEADER);
    return PT_OK;
}

/* Writes the file, all of whose parts are ready but for the checksum within `header`. */
static pt_status write_file(const char *path, pt_string *header, size_t digits,
                            const pt_tensor *const *order, size_t count, char *sha256,
                            pt_error *err) {
    pt_atomic_file *file = NULL;
    pt_status status = pt_atomic_open(path, &file, err);
    if (status != PT_OK)
        return status;
    /* Two passes over the data: the checksum stands before what it sums. */
    SHA256_CTX hash;
    char hex[PT_CHECKSUM_DIGITS + 1];
    SHA256_Init(&hash);
    put_all(&(sink){&hash, NULL}, header, order, count);
    SHA256_End(&hash, hex);
    memcpy(header->text + digits, hex, PT_CHECKSUM_DIGITS);
    SHA256_Init(&hash);
    put_all(&(sink){sha256 ? &hash : NULL, pt_atomic_stream(file)}, header, order, count);
    status = pt_atomic_commit(file, err); /* reports what put_all met */
    if (status == PT_OK && sha256)
        SHA256_End(&hash, sha256);
    return status;
}

pt_status pt_safetensors_write(const char *path, const pt_tensor *tensors, size_t tensor_count,
                               const pt_metadata *metadata, size_t metadata_count, char *sha256,
                               pt_error *err) {
    const pt_tensor **order = NULL;
    const pt_metadata **about = NULL;
    pt_string header = {0};
    size_t digits = 0;
    pt_status status = order_tensors(path, tensors, tensor_count, &order, err);
    if (status == PT_OK)
        status = order_metadata(path, metadata, metadata_count, &about, err);
    if (status == PT_OK)
        status = make_header(path, order, tensor_count, about, metadata_count + OUR_METADATA,
                             &header, &digits, err);
    if (status == PT_OK)
        status = write_file(path, &header, digits, order, tensor_count, sha256, err);
    pt_string_free(&header);
    pt_free(about);
    pt_free(order);
    return status;
}
