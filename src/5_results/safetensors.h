/* safetensors.h: reading and writing the safetensors format.
 *
 * File: 8 bytes little-endian header length N, N bytes of JSON (padded with spaces so that the data
 * starts at a multiple of 64), then the tensors' bytes without holes, float32 little-endian, row-major.
 * Source: the format description of the huggingface/safetensors repository. We write tensors in the
 * order of their names and keys sorted, so that equal models are equal files.
 */
#ifndef PT_RESULTS_SAFETENSORS_H
#define PT_RESULTS_SAFETENSORS_H

#include "ptrain/error.h"

#include <stddef.h>
#include <stdint.h>

enum { PT_SAFETENSORS_MAX_RANK = 8 };

typedef struct pt_tensor {
    char *name;
    size_t shape[PT_SAFETENSORS_MAX_RANK];
    size_t rank;
    const float *data; /* row-major, contiguous, or rows with a stride: */
    size_t stride;     /* floats between the starts of consecutive rows; 0: contiguous. Rows are the
                          last dimension. */
} pt_tensor;

typedef struct pt_metadata {
    const char *key, *value;
} pt_metadata;

/* Writes atomically (temporary file, fsync, rename, fsync of the folder). `sha256` (65 bytes, NULL
 * allowed) receives the file's hexadecimal SHA-256. PT_ERR_IO names the path and the reason; the old
 * file, if any, is then still whole and no temporary file is left. */
pt_status pt_safetensors_write(const char *path, const pt_tensor *tensors, size_t tensor_count,
                               const pt_metadata *metadata, size_t metadata_count, char *sha256,
                               pt_error *err);

typedef struct pt_safetensors {
    pt_tensor *tensors; /* sorted by name; data points into `bytes` */
    size_t tensor_count;
    pt_metadata *metadata; /* sorted by key */
    size_t metadata_count;
    char *bytes; /* the whole file, 64-byte aligned */
    size_t size;
    char sha256[65];
} pt_safetensors;

/* Reads and checks a whole file; hostile files are refused with PT_ERR_DATA
 * `file: offset: reason`, and no allocation is larger than a small multiple of the file's size. Only
 * dtype F32 is accepted. */
pt_status pt_safetensors_read(const char *path, pt_safetensors **file, pt_error *err);
/* The same from memory (copied); `name` stands in messages for the path. */
pt_status pt_safetensors_parse(const void *bytes, size_t size, const char *name,
                               pt_safetensors **file, pt_error *err);
void pt_safetensors_free(pt_safetensors *file);
/* NULL when absent. */
const pt_tensor *pt_safetensors_find(const pt_safetensors *file, const char *name);
const char *pt_safetensors_metadata(const pt_safetensors *file, const char *key);

#endif
