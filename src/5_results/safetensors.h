/* safetensors.h: reading and writing the safetensors format.
 *
 * File: 8 bytes little-endian header length N, N bytes of JSON (padded with spaces so that the data
 * starts at a multiple of 64), then the tensors' bytes without holes, float32 little-endian,
 * row-major. Source: the format description of the huggingface/safetensors repository. We write
 * tensors in the order of their names and keys sorted, so that equal models are equal files.
 *
 * Checksum. Two entries of `__metadata__` are ours in every file we write:
 *   "checksum": 64 lower-case hexadecimal digits: the SHA-256 of the whole file, from its first
 * byte to its last, with these 64 digits themselves replaced by 64 characters '0'; "writer":
 * "ptrain". The reader verifies the checksum when there is one, and refuses a file that says it is
 * ours but has none, so that no flipped bit passes, not even one within the word "checksum".
 *
 * Thread-safety: a file that was read is never changed, so any number of threads may read it;
 * writing only reads its arguments.
 */
#ifndef PT_RESULTS_SAFETENSORS_H
#define PT_RESULTS_SAFETENSORS_H

#include "ptrain/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PT_SAFETENSORS_MAX_RANK = 8,
    PT_SAFETENSORS_PREFIX = 8,                     /* bytes before the header: its length */
    PT_SAFETENSORS_MAX_HEADER = 100 * 1000 * 1000, /* bytes */
    PT_CHECKSUM_DIGITS = 64
};

typedef struct pt_tensor {
    char *name;
    size_t shape[PT_SAFETENSORS_MAX_RANK];
    size_t rank;       /* 0: one number */
    const float *data; /* row-major, contiguous, or rows with a stride: */
    size_t stride;     /* floats between the starts of consecutive rows; 0: contiguous. Rows are the
                          last dimension. */
} pt_tensor;

typedef struct pt_metadata {
    const char *key, *value;
} pt_metadata;

/* Product of the shape, or false when it or its size in bytes overflows. */
bool pt_tensor_elements(const pt_tensor *tensor, size_t *elements);

/* Writes atomically (temporary file, fsync, rename, fsync of the folder). `sha256` (65 bytes, NULL
 * allowed) receives the file's hexadecimal SHA-256. PT_ERR_IO names the path and the reason; the
 * old file, if any, is then still whole and no temporary file is left. PT_ERR_USAGE: names or keys
 * that are doubled, reserved ("__metadata__", "checksum", "writer") or not UTF-8, or an impossible
 * shape. */
pt_status pt_safetensors_write(const char *path, const pt_tensor *tensors, size_t tensor_count,
                               const pt_metadata *metadata, size_t metadata_count, char *sha256,
                               pt_error *err);

typedef struct pt_safetensors {
    pt_tensor *tensors; /* sorted by name; data points into `bytes`, stride 0 */
    size_t tensor_count;
    pt_metadata *metadata; /* sorted by key, "checksum" and "writer" included */
    size_t metadata_count;
    char *bytes; /* the whole file, placed so that the tensors' data start 64-byte aligned */
    size_t size;
    char sha256[65];       /* of the whole file */
    bool has_checksum;     /* and it was right */
    char *block, *strings; /* what bytes, names, keys and values live in */
} pt_safetensors;

/* Reads and checks a whole file; hostile files are refused with PT_ERR_DATA
 * `file: byte OFFSET: reason`. Besides the file's bytes themselves, names, metadata and tensors
 * take at most six times the header's size, and nothing is allocated before the sizes are known to
 * fit the file. Only dtype F32 is accepted. */
pt_status pt_safetensors_read(const char *path, pt_safetensors **file, pt_error *err);
/* The same from memory (copied); `name` stands in messages for the path. */
pt_status pt_safetensors_parse(const void *bytes, size_t size, const char *name,
                               pt_safetensors **file, pt_error *err);
void pt_safetensors_free(pt_safetensors *file);
/* NULL when absent. `tensors` are those of a file that was read, which are sorted by their names. */
const pt_tensor *pt_tensor_find(const pt_tensor *tensors, size_t count, const char *name);
const pt_tensor *pt_safetensors_find(const pt_safetensors *file, const char *name);
const char *pt_safetensors_metadata(const pt_safetensors *file, const char *key);

#endif
