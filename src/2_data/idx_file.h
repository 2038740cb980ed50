/* idx_file.h: reading one IDX file, raw or gzip-compressed.
 *
 * Format (LeCun, Cortes and Burges, "The MNIST database of handwritten digits"): two zero bytes, a
 * type code (8: unsigned byte), the number of dimensions, each dimension as a big-endian 32-bit
 * number, then the elements in row-major order. Only unsigned bytes are read.
 */
#ifndef PT_DATA_IDX_FILE_H
#define PT_DATA_IDX_FILE_H

#include "2_data/map_file.h"
#include "ptrain/error.h"

#include <stddef.h>
#include <stdint.h>

enum { PT_IDX_MAX_DIMS = 4 };

typedef struct pt_idx_file {
    size_t dims[PT_IDX_MAX_DIMS]; /* dims[0] counts the rows; all at least 1 */
    size_t dim_count;
    size_t row_bytes;    /* product of the other dims */
    size_t data_offset;  /* of `data` in the (uncompressed) file */
    const uint8_t *data; /* dims[0] x row_bytes, inside `backing` */
    struct pt_backing backing;
} pt_idx_file;

/* Reads and checks a file of min_dims..max_dims dimensions. A raw file is mapped, not copied; one
 * named .gz must be gzip and is inflated, and no other may be. The file must hold exactly the bytes
 * that its header promises; memory is asked for only when the promise can be true. `key` as in
 * pt_map_file. On failure `file` holds nothing. Errors: PT_ERR_IO, PT_ERR_DATA
 * (`file: offset N: reason`), PT_ERR_MEMORY. */
pt_status pt_idx_read(const char *path, const char *key, size_t min_dims, size_t max_dims,
                      pt_idx_file *file, pt_error *err);
void pt_idx_free(pt_idx_file *file);

#endif
