/* map_file.h: a whole file as read-only bytes, without copying it.
 *
 * The bytes live until pt_backing_free. Like every map, they become unreadable (SIGBUS) when
 * another program cuts the file short meanwhile; a file that is replaced by rename stays whole.
 */
#ifndef PT_DATA_MAP_FILE_H
#define PT_DATA_MAP_FILE_H

#include "ptrain/error.h"

#include <stddef.h>

/* What holds some bytes: a map of a file or a heap block. {0} holds nothing. */
struct pt_backing {
    void *block;
    size_t mapped_bytes; /* 0: `block` is from pt_malloc, or NULL */
};

/* Maps the whole of `path`, which must be a regular file and not empty. `key` is the key of [data]
 * that names it, for messages. Errors: PT_ERR_IO (missing, unreadable, not a file), PT_ERR_DATA
 * (empty). */
pt_status pt_map_file(const char *path, const char *key, struct pt_backing *backing, pt_error *err);
void pt_backing_free(struct pt_backing *backing);

#endif
