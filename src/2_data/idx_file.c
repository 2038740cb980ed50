/* idx_file.c: the header of an IDX file, and its bytes by map (raw) or by zlib (.gz). */
#include "2_data/idx_file.h"

#include "0_base/fail.h"
#include "0_base/memory.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum {
    HEADER_START = 4, /* bytes of magic number before the dimensions */
    HEADER_MAX = HEADER_START + 4 * PT_IDX_MAX_DIMS,
    TYPE_U8 = 0x08,
    DEFLATE_MAX_RATIO = 1032 /* deflate: 258 bytes from a 1-bit length and a 1-bit distance */
};

/* ---- the header ---- */

/* What a file that does not start like IDX probably is, or NULL. */
static const char *looks_like(const uint8_t *bytes, size_t size) {
    static const struct {
        const char *start, *name;
    } known[] = {{"\x1f\x8b", "a gzip file"},         {"PK", "a zip file"},
                 {"\3757zX", "an xz file"},           {"BZh", "a bzip2 file"},
                 {"\x28\xb5\x2f\xfd", "a zstd file"}, {"\x89PNG", "a PNG image"},
                 {"\x93NUM", "a NumPy file"},         {"<", "an HTML or XML page"}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        size_t length = strlen(known[k].start);
        if (size >= length && memcmp(bytes, known[k].start, length) == 0)
            return known[k].name;
    }
    for (size_t i = 0; i < size; i++)
        if ((bytes[i] < ' ' || bytes[i] > '~') && (bytes[i] == '\0' || !strchr("\t\r\n", bytes[i])))
            return NULL;
    return "a text file";
}

static const char *type_name(uint8_t code) {
    switch (code) {
    case 0x09:
        return "signed bytes";
    case 0x0B:
        return "16-bit integers";
    case 0x0C:
        return "32-bit integers";
    case 0x0D:
        return "32-bit floats";
    case 0x0E:
        return "64-bit floats";
    default:
        return "no type that IDX knows";
    }
}

/* Checks the first 4 bytes; `size` may be less. */
static pt_status check_magic(const char *path, const uint8_t *bytes, size_t size, size_t min_dims,
                             size_t max_dims, pt_error *err) {
    if (size < HEADER_START || bytes[0] != 0 || bytes[1] != 0) {
        const char *guess = looks_like(bytes, size);
        if (size < HEADER_START && !guess)
            return pt_fail(err, PT_ERR_DATA, "%s: offset %zu: the file ends inside the IDX header",
                           path, size);
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset 0: not an IDX file: it must start with two zero bytes%s%s", path,
                       guess ? "; this looks like " : "", guess ? guess : "");
    }
    if (bytes[2] != TYPE_U8)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset 2: type code 0x%02X (%s); only unsigned bytes (0x08) are read",
                       path, bytes[2], type_name(bytes[2]));
    if (bytes[3] < min_dims || bytes[3] > max_dims) {
        if (max_dims == 1)
            return pt_fail(err, PT_ERR_DATA, "%s: offset 3: %d dimensions where labels have 1%s",
                           path, bytes[3], bytes[3] == 3 ? "; is this the file of images?" : "");
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset 3: %d dimension%s where images have %zu to %zu%s", path,
                       bytes[3], bytes[3] == 1 ? "" : "s", min_dims, max_dims,
                       bytes[3] == 1 ? "; is this the file of labels?" : "");
    }
    return PT_OK;
}

/* Reads the dimensions that follow the checked magic number. `size` is how much of the header there
 * is; *data_bytes becomes how much data it promises. */
static pt_status read_dims(const char *path, const uint8_t *bytes, size_t size, pt_idx_file *file,
                           size_t *data_bytes, pt_error *err) {
    file->dim_count = bytes[3];
    file->data_offset = HEADER_START + 4 * file->dim_count;
    if (size < file->data_offset)
        return pt_fail(err, PT_ERR_DATA, "%s: offset %zu: the file ends inside the IDX header",
                       path, size);
    bool overflow = false;
    file->row_bytes = 1;
    for (size_t d = 0; d < file->dim_count; d++) {
        const uint8_t *at = bytes + HEADER_START + 4 * d;
        file->dims[d] = (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
        if (file->dims[d] == 0)
            return pt_fail(err, PT_ERR_DATA, "%s: offset %zu: %s", path, HEADER_START + 4 * d,
                           d == 0 ? "the header says 0 rows" : "the header says a dimension is 0");
        if (d > 0)
            overflow |= __builtin_mul_overflow(file->row_bytes, file->dims[d], &file->row_bytes);
    }
    overflow |= __builtin_mul_overflow(file->dims[0], file->row_bytes, data_bytes);
    if (overflow || *data_bytes > SIZE_MAX / 2)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset %d: the dimensions promise more data than any file holds", path,
                       HEADER_START);
    return PT_OK;
}

/* ---- raw files ---- */

static pt_status read_raw(const char *path, size_t min_dims, size_t max_dims, pt_idx_file *file,
                          pt_error *err) {
    const uint8_t *bytes = file->backing.block;
    const size_t size = file->backing.mapped_bytes;
    if (size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset 0: a gzip file named as a raw one; add .gz to its name, or "
                       "gunzip it",
                       path);
    size_t data_bytes = 0;
    pt_status status = check_magic(path, bytes, size < HEADER_START ? size : HEADER_START, min_dims,
                                   max_dims, err);
    if (status == PT_OK)
        status = read_dims(path, bytes, size, file, &data_bytes, err);
    if (status != PT_OK)
        return status;
    const size_t there = size - file->data_offset;
    if (there < data_bytes)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset %zu: the file ends after %zu bytes of data where the header "
                       "promises %zu",
                       path, size, there, data_bytes);
    if (there > data_bytes)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset %zu: %zu bytes too many after the last row that the header "
                       "promises",
                       path, file->data_offset + data_bytes, there - data_bytes);
    file->data = bytes + file->data_offset;
    return PT_OK;
}

/* ---- gzip files ---- */

typedef struct gunzip {
    const char *path;
    z_stream stream;
    const uint8_t *bytes; /* the compressed file */
    size_t size, used;    /* used: handed to zlib and eaten */
    bool ended;           /* the stream ended with its checksum right */
} gunzip;

static voidpf zlib_alloc(voidpf opaque, uInt count, uInt bytes_each) {
    (void)opaque;
    return pt_calloc(count, bytes_each);
}

static void zlib_free(voidpf opaque, voidpf block) {
    (void)opaque;
    pt_free(block);
}

/* Inflates until `want` bytes are out or the stream ends; *got tells how many came. */
static pt_status inflate_some(gunzip *in, uint8_t *out, size_t want, size_t *got, pt_error *err) {
    *got = 0;
    while (*got < want && !in->ended) {
        /* zlib counts in unsigned int. */
        const size_t left = in->size - in->used, room = want - *got;
        const uInt in_now = left > UINT_MAX ? UINT_MAX : (uInt)left;
        const uInt out_now = room > UINT_MAX ? UINT_MAX : (uInt)room;
        in->stream.next_in = (z_const Bytef *)(uintptr_t)(in->bytes + in->used);
        in->stream.avail_in = in_now;
        in->stream.next_out = out + *got;
        in->stream.avail_out = out_now;
        const int result = inflate(&in->stream, Z_NO_FLUSH);
        in->used += in_now - in->stream.avail_in;
        *got += out_now - in->stream.avail_out;
        if (result == Z_STREAM_END)
            in->ended = true;
        else if (result == Z_MEM_ERROR)
            return pt_fail(err, PT_ERR_MEMORY, "%s: out of memory while inflating", in->path);
        else if (result == Z_BUF_ERROR && in->used == in->size)
            return pt_fail(err, PT_ERR_DATA,
                           "%s: offset %zu: the gzip file is cut short; fetch it again", in->path,
                           in->size);
        else if (result != Z_OK)
            return pt_fail(err, PT_ERR_DATA,
                           "%s: offset %zu: damaged gzip data (%s); fetch it again", in->path,
                           in->used, in->stream.msg ? in->stream.msg : "unknown method");
    }
    return PT_OK;
}

/* Inflates the data behind the header and makes sure that nothing follows it. */
static pt_status inflate_data(gunzip *in, pt_idx_file *file, size_t data_bytes, pt_error *err) {
    if (data_bytes / DEFLATE_MAX_RATIO > in->size)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset %d (uncompressed): the header promises %zu bytes of data, more "
                       "than this gzip file of %zu bytes can hold",
                       in->path, HEADER_START, data_bytes, in->size);
    uint8_t *data = pt_malloc(data_bytes);
    if (!data)
        return pt_fail_memory(err, in->path, data_bytes);
    file->backing = (struct pt_backing){.block = data};
    file->data = data;
    size_t got, more;
    uint8_t extra;
    pt_status status = inflate_some(in, data, data_bytes, &got, err);
    if (status != PT_OK)
        return status;
    if (got < data_bytes)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset %zu (uncompressed): the data ends after %zu bytes where the "
                       "header promises %zu",
                       in->path, file->data_offset + got, got, data_bytes);
    /* One byte more: this also reads and checks the checksum. A bomb stops here. */
    status = inflate_some(in, &extra, 1, &more, err);
    if (status != PT_OK)
        return status;
    if (more)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: offset %zu (uncompressed): data goes on after the last row that the "
                       "header promises",
                       in->path, file->data_offset + data_bytes);
    if (in->used < in->size)
        return pt_fail(err, PT_ERR_DATA, "%s: offset %zu: %zu bytes after the end of the gzip data",
                       in->path, in->used, in->size - in->used);
    return PT_OK;
}

/* Takes over file->backing, the map of the compressed file. */
static pt_status read_gzip(const char *path, size_t min_dims, size_t max_dims, pt_idx_file *file,
                           pt_error *err) {
    struct pt_backing map = file->backing;
    file->backing = (struct pt_backing){0};
    gunzip in = {.path = path,
                 .stream = {.zalloc = zlib_alloc, .zfree = zlib_free},
                 .bytes = map.block,
                 .size = map.mapped_bytes};
    pt_status status = PT_OK;
    uint8_t header[HEADER_MAX];
    size_t got = 0, more = 0, data_bytes = 0;
    if (in.size < 2 || in.bytes[0] != 0x1f || in.bytes[1] != 0x8b) {
        const bool raw = in.size >= 3 && memcmp(in.bytes, "\0\0\x08", 3) == 0;
        const char *guess = raw ? "a raw IDX file; take .gz off its name"
                                : looks_like(in.bytes, in.size < 4 ? in.size : 4);
        status = pt_fail(err, PT_ERR_DATA, "%s: offset 0: named .gz but not gzip data%s%s", path,
                         guess ? "; this looks like " : "", guess ? guess : "");
        goto done_map;
    }
    /* 16: expect a gzip wrapper, and check its CRC. */
    if (inflateInit2(&in.stream, 16 + MAX_WBITS) != Z_OK) {
        status = pt_fail(err, PT_ERR_MEMORY, "%s: out of memory while inflating", path);
        goto done_map;
    }
    status = inflate_some(&in, header, HEADER_START, &got, err);
    if (status == PT_OK)
        status = check_magic(path, header, got, min_dims, max_dims, err);
    if (status == PT_OK)
        status = inflate_some(&in, header + got, 4 * (size_t)header[3], &more, err);
    if (status == PT_OK)
        status = read_dims(path, header, got + more, file, &data_bytes, err);
    if (status == PT_OK)
        status = inflate_data(&in, file, data_bytes, err);
    inflateEnd(&in.stream);
done_map:
    pt_backing_free(&map);
    return status;
}

pt_status pt_idx_read(const char *path, const char *key, size_t min_dims, size_t max_dims,
                      pt_idx_file *file, pt_error *err) {
    *file = (pt_idx_file){0};
    const size_t length = strlen(path);
    const bool is_gzip = length > 3 && strcmp(path + length - 3, ".gz") == 0;
    pt_status status = pt_map_file(path, key, &file->backing, err);
    if (status == PT_OK)
        status = is_gzip ? read_gzip(path, min_dims, max_dims, file, err)
                         : read_raw(path, min_dims, max_dims, file, err);
    if (status != PT_OK)
        pt_idx_free(file);
    return status;
}

void pt_idx_free(pt_idx_file *file) {
    pt_backing_free(&file->backing);
    *file = (pt_idx_file){0};
}
