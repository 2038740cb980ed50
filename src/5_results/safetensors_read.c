/* safetensors_read.c: reading files that may be damaged or hostile. */
#include "5_results/safetensors.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "5_results/json.h"

#include <errno.h>
#include <fcntl.h>
#include <sha256.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One walk over the header. The first walk counts (file->tensors is NULL), the second fills. */
typedef struct walk {
    pt_safetensors *file;
    const char *name; /* of the file, for messages */
    pt_json_scan scan;
    size_t data_size;
    size_t tensor_count, metadata_count;
    char *next_string;
    bool has_metadata;
    size_t digits; /* where the checksum's digits stand in the file; 0: none */
    pt_error *err;
} walk;

static pt_status refuse(const walk *w, size_t at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static pt_status refuse(const walk *w, size_t at, const char *format, ...) {
    char reason[256];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return pt_fail(w->err, PT_ERR_DATA, "%s: byte %zu: %s", w->name, at, reason);
}

/* What the scanner met, at its place in the file. */
static pt_status refuse_here(const walk *w) {
    return refuse(w, PT_SAFETENSORS_PREFIX + w->scan.at, "%s", w->scan.reason);
}

/* A hostile name as something that fits on one line. */
static const char *printable(const char *name, char buffer[48]) {
    size_t i = 0;
    for (; i < 40 && name[i]; i++)
        buffer[i] = name[i] >= ' ' && name[i] != 0x7F ? name[i] : '?';
    strcpy(buffer + i, name[i] ? "..." : "");
    return buffer;
}

/* A string of the header, kept in file->strings on the second walk (else "", static). */
static bool keep_string(walk *w, char **text, size_t *length) {
    static char none[1];
    *text = w->next_string ? w->next_string : none;
    if (!pt_json_string(&w->scan, w->next_string, length))
        return false;
    if (w->next_string)
        w->next_string += *length + 1;
    return true;
}

/* A short string that is compared and forgotten; longer ones become "". */
static bool short_string(walk *w, char word[32]) {
    pt_json_scan ahead = w->scan;
    size_t length;
    bool ok = pt_json_string(&ahead, NULL, &length);
    word[0] = '\0';
    if (ok && length < 32)
        (void)pt_json_string(&w->scan, word, &length);
    w->scan = ahead;
    return ok;
}

/* [number, number, ...] of at most `most` numbers. */
static pt_status read_numbers(walk *w, size_t *numbers, size_t most, size_t *count,
                              const char *what) {
    *count = 0;
    if (!pt_json_expect(&w->scan, '['))
        return refuse_here(w);
    if (pt_json_take(&w->scan, ']'))
        return PT_OK;
    do {
        uint64_t value;
        if (*count == most)
            return refuse(w, PT_SAFETENSORS_PREFIX + w->scan.at, "%s has more than %zu numbers",
                          what, most);
        if (!pt_json_u64(&w->scan, &value))
            return refuse_here(w);
        numbers[(*count)++] = value;
    } while (pt_json_take(&w->scan, ','));
    return pt_json_expect(&w->scan, ']') ? PT_OK : refuse_here(w);
}

/* Judges one tensor's shape against its place in the data. */
static pt_status place_tensor(walk *w, pt_tensor *tensor, const size_t offsets[2], size_t at) {
    size_t elements;
    if (!pt_tensor_elements(tensor, &elements))
        return refuse(w, at, "the product of the shape overflows");
    if (offsets[0] > offsets[1])
        return refuse(w, at, "data_offsets end before they begin");
    if (offsets[1] > w->data_size)
        return refuse(w, at, "data_offsets end at %zu, but the file has %zu bytes of data",
                      offsets[1], w->data_size);
    if (offsets[1] - offsets[0] != elements * sizeof(float))
        return refuse(w, at, "the shape wants %zu bytes, data_offsets give %zu",
                      elements * sizeof(float), offsets[1] - offsets[0]);
    if (offsets[0] % sizeof(float) != 0)
        return refuse(w, at, "data_offsets begin at %zu, which is no multiple of 4", offsets[0]);
    const char *data = w->file->bytes + (w->file->size - w->data_size) + offsets[0];
    tensor->data = (const float *)(const void *)data;
    return PT_OK;
}

/* {"dtype":"F32","shape":[...],"data_offsets":[begin,end]} in any order. */
static pt_status read_tensor(walk *w, char *name) {
    static const char *const keys[] = {"dtype", "shape", "data_offsets"};
    enum { DTYPE, SHAPE, OFFSETS, KEYS };
    pt_tensor tensor = {.name = name};
    size_t offsets[2], count = 0, start = PT_SAFETENSORS_PREFIX + w->scan.at;
    unsigned seen = 0;
    if (!pt_json_expect(&w->scan, '{'))
        return refuse_here(w);
    do {
        char word[32];
        size_t key = 0, at = PT_SAFETENSORS_PREFIX + w->scan.at;
        if (!short_string(w, word))
            return refuse_here(w);
        while (key < KEYS && strcmp(word, keys[key]) != 0)
            key++;
        if (key == KEYS)
            return refuse(w, at, "a tensor has the keys dtype, shape, data_offsets and no other");
        if (seen & (1U << key))
            return refuse(w, at, "duplicate key %s", word);
        seen |= 1U << key;
        if (!pt_json_expect(&w->scan, ':'))
            return refuse_here(w);
        at = PT_SAFETENSORS_PREFIX + w->scan.at;
        pt_status status = PT_OK;
        if (key == DTYPE) {
            if (!short_string(w, word))
                return refuse_here(w);
            char shown[48];
            if (strcmp(word, "F32") != 0)
                return refuse(w, at, "dtype is %s, only F32 is read",
                              *word ? printable(word, shown) : "unknown");
        } else if (key == SHAPE) {
            status = read_numbers(w, tensor.shape, PT_SAFETENSORS_MAX_RANK, &tensor.rank, "shape");
        } else {
            status = read_numbers(w, offsets, 2, &count, "data_offsets");
            if (status == PT_OK && count != 2)
                status = refuse(w, at, "data_offsets has %zu numbers, not 2", count);
        }
        if (status != PT_OK)
            return status;
    } while (pt_json_take(&w->scan, ','));
    if (!pt_json_expect(&w->scan, '}'))
        return refuse_here(w);
    for (size_t key = 0; key < KEYS; key++)
        if (!(seen & (1U << key)))
            return refuse(w, start, "a tensor without %s", keys[key]);
    pt_status status = place_tensor(w, &tensor, offsets, start);
    if (status == PT_OK && w->file->tensors)
        w->file->tensors[w->tensor_count] = tensor;
    w->tensor_count++;
    return status;
}

/* {"key":"value",...} of strings. */
static pt_status read_metadata(walk *w) {
    if (w->has_metadata)
        return refuse(w, PT_SAFETENSORS_PREFIX + w->scan.at, "duplicate key __metadata__");
    w->has_metadata = true;
    if (!pt_json_expect(&w->scan, '{'))
        return refuse_here(w);
    if (pt_json_take(&w->scan, '}'))
        return PT_OK;
    do {
        char *key, *value;
        size_t length;
        if (!keep_string(w, &key, &length) || !pt_json_expect(&w->scan, ':') ||
            !keep_string(w, &value, &length))
            return refuse_here(w);
        /* Written without escapes, the digits end one byte before the scanner. */
        if (strcmp(key, "checksum") == 0 && length == PT_CHECKSUM_DIGITS)
            w->digits = PT_SAFETENSORS_PREFIX + w->scan.at - 1 - PT_CHECKSUM_DIGITS;
        if (w->file->metadata)
            w->file->metadata[w->metadata_count] = (pt_metadata){key, value};
        w->metadata_count++;
    } while (pt_json_take(&w->scan, ','));
    return pt_json_expect(&w->scan, '}') ? PT_OK : refuse_here(w);
}

static pt_status walk_header(walk *w) {
    if (w->scan.size == 0 || w->scan.text[0] != '{')
        return refuse(w, PT_SAFETENSORS_PREFIX, "the header does not start with '{'");
    w->scan.at = 1;
    if (!pt_json_take(&w->scan, '}')) {
        do {
            pt_json_scan ahead = w->scan;
            char *name, word[32];
            size_t length;
            if (!short_string(w, word))
                return refuse_here(w);
            bool is_metadata = strcmp(word, "__metadata__") == 0;
            if (!is_metadata) {
                w->scan = ahead;
                if (!keep_string(w, &name, &length))
                    return refuse_here(w);
            }
            if (!pt_json_expect(&w->scan, ':'))
                return refuse_here(w);
            pt_status status = is_metadata ? read_metadata(w) : read_tensor(w, name);
            if (status != PT_OK)
                return status;
        } while (pt_json_take(&w->scan, ','));
        if (!pt_json_expect(&w->scan, '}'))
            return refuse_here(w);
    }
    return pt_json_end(&w->scan) ? PT_OK : refuse_here(w);
}

static int by_place(const void *a, const void *b) {
    const pt_tensor *x = a, *y = b;
    size_t p = 0, q = 0;
    if (x->data != y->data)
        return x->data < y->data ? -1 : 1;
    (void)pt_tensor_elements(x, &p); /* empty tensors first */
    (void)pt_tensor_elements(y, &q);
    return (p > q) - (p < q);
}

static int by_name(const void *a, const void *b) {
    const pt_tensor *x = a, *y = b;
    return strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b) {
    const pt_metadata *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* No holes, no overlaps, nothing after the last tensor, no name twice. Leaves all sorted. */
static pt_status judge_whole(walk *w) {
    pt_safetensors *file = w->file;
    char shown[48];
    if (file->tensor_count > 0)
        qsort(file->tensors, file->tensor_count, sizeof *file->tensors, by_place);
    size_t start = file->size - w->data_size, end = start;
    for (size_t i = 0; i < file->tensor_count; i++) {
        size_t elements = 0;
        size_t begin = (size_t)((const char *)file->tensors[i].data - file->bytes);
        (void)pt_tensor_elements(&file->tensors[i], &elements);
        if (begin != end)
            return refuse(w, begin < end ? begin : end, "%s before tensor %s",
                          begin < end ? "overlapping data" : "a hole",
                          printable(file->tensors[i].name, shown));
        end += elements * sizeof(float);
    }
    if (end != file->size)
        return refuse(w, end, "%zu bytes follow the last tensor", file->size - end);

    if (file->tensor_count > 0)
        qsort(file->tensors, file->tensor_count, sizeof *file->tensors, by_name);
    for (size_t i = 1; i < file->tensor_count; i++)
        if (strcmp(file->tensors[i - 1].name, file->tensors[i].name) == 0)
            return refuse(w, PT_SAFETENSORS_PREFIX, "two tensors are named %s",
                          printable(file->tensors[i].name, shown));
    if (file->metadata_count > 0)
        qsort(file->metadata, file->metadata_count, sizeof *file->metadata, by_key);
    for (size_t i = 1; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i - 1].key, file->metadata[i].key) == 0)
            return refuse(w, PT_SAFETENSORS_PREFIX, "duplicate metadata key %s",
                          printable(file->metadata[i].key, shown));
    return PT_OK;
}

/* See safetensors.h for what the checksum sums. */
static pt_status verify(walk *w) {
    pt_safetensors *file = w->file;
    SHA256_CTX hash;
    SHA256_Init(&hash);
    SHA256_Update(&hash, (const uint8_t *)file->bytes, file->size);
    SHA256_End(&hash, file->sha256);

    const char *checksum = pt_safetensors_metadata(file, "checksum");
    const char *writer = pt_safetensors_metadata(file, "writer");
    bool ours = writer && strcmp(writer, "ptrain") == 0;
    if (checksum && strspn(checksum, "0123456789abcdef") == PT_CHECKSUM_DIGITS &&
        strlen(checksum) == PT_CHECKSUM_DIGITS &&
        memcmp(file->bytes + w->digits, checksum, PT_CHECKSUM_DIGITS) == 0) {
        char zeros[PT_CHECKSUM_DIGITS], hex[65];
        memset(zeros, '0', sizeof zeros);
        SHA256_Init(&hash);
        SHA256_Update(&hash, (const uint8_t *)file->bytes, w->digits);
        SHA256_Update(&hash, (const uint8_t *)zeros, sizeof zeros);
        size_t rest = w->digits + PT_CHECKSUM_DIGITS;
        SHA256_Update(&hash, (const uint8_t *)file->bytes + rest, file->size - rest);
        SHA256_End(&hash, hex);
        if (strcmp(hex, checksum) != 0)
            return refuse(w, w->digits, "the checksum does not match: the file is damaged");
        file->has_checksum = true;
    } else if (ours) {
        return refuse(w, w->digits ? w->digits : PT_SAFETENSORS_PREFIX,
                      "the checksum is missing or unreadable: the file is damaged");
    }
    return PT_OK;
}

/* Parses file->bytes, which are all there. */
static pt_status parse(pt_safetensors *file, const char *name, size_t header_size, pt_error *err) {
    const walk start = {.file = file,
                        .name = name,
                        .scan = {.text = file->bytes + PT_SAFETENSORS_PREFIX, .size = header_size},
                        .data_size = file->size - PT_SAFETENSORS_PREFIX - header_size,
                        .err = err};
    walk w = start;
    pt_status status = walk_header(&w);
    if (status != PT_OK)
        return status;
    file->tensor_count = w.tensor_count;
    file->metadata_count = w.metadata_count;
    file->tensors = pt_calloc(w.tensor_count, sizeof *file->tensors);
    file->metadata = pt_calloc(w.metadata_count, sizeof *file->metadata);
    file->strings = pt_malloc(header_size);
    if (!file->tensors || !file->metadata || !file->strings)
        return pt_fail_memory(err, name, header_size);
    w = start;
    w.next_string = file->strings;
    status = walk_header(&w);
    if (status == PT_OK)
        status = judge_whole(&w);
    return status == PT_OK ? verify(&w) : status;
}

/* Checks the length prefix of a file of `size` bytes. */
static pt_status header_length(const unsigned char prefix[PT_SAFETENSORS_PREFIX], size_t size,
                               const char *name, size_t *length, pt_error *err) {
    uint64_t value = 0;
    for (size_t i = PT_SAFETENSORS_PREFIX; i > 0; i--)
        value = value << 8 | prefix[i - 1];
    if (value > size - PT_SAFETENSORS_PREFIX)
        return pt_fail(err, PT_ERR_DATA,
                       "%s: byte 0: a header of %llu bytes in a file of %zu bytes", name,
                       (unsigned long long)value, size);
    if (value > PT_SAFETENSORS_MAX_HEADER)
        return pt_fail(err, PT_ERR_DATA, "%s: byte 0: a header of %llu bytes, at most %d are read",
                       name, (unsigned long long)value, PT_SAFETENSORS_MAX_HEADER);
    *length = (size_t)value;
    return PT_OK;
}

static pt_status too_short(const char *name, size_t size, pt_error *err) {
    return pt_fail(err, PT_ERR_DATA, "%s: byte %zu: the file ends before its header's length", name,
                   size);
}

/* An object with room for the file's bytes, placed so that the data after the header are aligned.
 */
static pt_status make_file(size_t size, size_t header_size, const char *name,
                           pt_safetensors **result, pt_error *err) {
    pt_safetensors *file = pt_calloc(1, sizeof *file);
    if (!file)
        return pt_fail_memory(err, name, sizeof *file);
    size_t shift =
        (PT_ALIGNMENT - (PT_SAFETENSORS_PREFIX + header_size) % PT_ALIGNMENT) % PT_ALIGNMENT;
    file->size = size;
    file->block = pt_calloc_aligned(shift + size, 1);
    if (!file->block) {
        pt_safetensors_free(file);
        return pt_fail_memory(err, name, shift + size);
    }
    file->bytes = file->block + shift;
    *result = file;
    return PT_OK;
}

static pt_status finish(pt_safetensors *file, const char *name, size_t header_size,
                        pt_safetensors **result, pt_error *err) {
    pt_status status = parse(file, name, header_size, err);
    if (status == PT_OK)
        *result = file;
    else
        pt_safetensors_free(file);
    return status;
}

pt_status pt_safetensors_parse(const void *bytes, size_t size, const char *name,
                               pt_safetensors **result, pt_error *err) {
    *result = NULL;
    if (size < PT_SAFETENSORS_PREFIX)
        return too_short(name, size, err);
    size_t header_size = 0;
    pt_safetensors *file = NULL;
    pt_status status = header_length(bytes, size, name, &header_size, err);
    if (status == PT_OK)
        status = make_file(size, header_size, name, &file, err);
    if (status != PT_OK)
        return status;
    memcpy(file->bytes, bytes, size);
    return finish(file, name, header_size, result, err);
}

/* Reads exactly `size` bytes; 0, an errno value, or -1 when the file ends before. */
static int read_all(int fd, void *bytes, size_t size) {
    char *to = bytes;
    while (size > 0) {
        ssize_t got = read(fd, to, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? errno : -1;
        to += got;
        size -= (size_t)got;
    }
    return 0;
}

static pt_status read_open(int fd, const char *path, pt_safetensors **result, pt_error *err) {
    struct stat info;
    unsigned char prefix[PT_SAFETENSORS_PREFIX];
    if (fstat(fd, &info) != 0)
        return pt_fail(err, PT_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    if (!S_ISREG(info.st_mode))
        return pt_fail(err, PT_ERR_IO, "%s: cannot read: not a regular file", path);
    size_t size = (size_t)info.st_size, header_size = 0;
    if (size < PT_SAFETENSORS_PREFIX)
        return too_short(path, size, err);
    pt_safetensors *file = NULL;
    int reason = read_all(fd, prefix, PT_SAFETENSORS_PREFIX);
    if (reason == 0) {
        pt_status status = header_length(prefix, size, path, &header_size, err);
        if (status == PT_OK)
            status = make_file(size, header_size, path, &file, err);
        if (status != PT_OK)
            return status;
        memcpy(file->bytes, prefix, PT_SAFETENSORS_PREFIX);
        reason = read_all(fd, file->bytes + PT_SAFETENSORS_PREFIX, size - PT_SAFETENSORS_PREFIX);
    }
    if (reason != 0) {
        pt_safetensors_free(file);
        return pt_fail(err, PT_ERR_IO, "%s: cannot read: %s", path,
                       reason < 0 ? "the file shrank meanwhile" : strerror(reason));
    }
    return finish(file, path, header_size, result, err);
}

pt_status pt_safetensors_read(const char *path, pt_safetensors **result, pt_error *err) {
    *result = NULL;
    /* O_NONBLOCK: a named pipe must not hang us before it is refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return pt_fail(err, PT_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    pt_status status = read_open(fd, path, result, err);
    close(fd);
    return status;
}

void pt_safetensors_free(pt_safetensors *file) {
    if (!file)
        return;
    pt_free(file->tensors);
    pt_free(file->metadata);
    pt_free(file->strings);
    pt_free(file->block);
    pt_free(file);
}

const pt_tensor *pt_tensor_find(const pt_tensor *tensors, size_t count, const char *name) {
    for (size_t low = 0, high = count; low < high;) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, tensors[middle].name);
        if (order == 0)
            return &tensors[middle];
        *(order < 0 ? &high : &low) = order < 0 ? middle : middle + 1;
    }
    return NULL;
}

const pt_tensor *pt_safetensors_find(const pt_safetensors *file, const char *name) {
    return pt_tensor_find(file->tensors, file->tensor_count, name);
}

const char *pt_safetensors_metadata(const pt_safetensors *file, const char *key) {
    for (size_t i = 0; i < file->metadata_count; i++)
        if (strcmp(file->metadata[i].key, key) == 0)
            return file->metadata[i].value;
    return NULL;
}
