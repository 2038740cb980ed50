/* checkpoint.c: saving a run, finding the newest good save, forgetting old ones. */
#include "5_results/checkpoint.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "5_results/io.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char FORMAT[] = "ptrain-checkpoint-3", ANY_FORMAT[] = "ptrain-checkpoint-";
static const char PREFIX[] = "checkpoint-", SUFFIX[] = ".safetensors";

char *pt_checkpoint_path(const char *folder, uint64_t step) {
    return pt_format("%s/%s%010llu%s", folder, PREFIX, (unsigned long long)step, SUFFIX);
}

/* ---- what stands in the metadata ---- */

typedef struct field {
    const char *key;
    bool real;
    size_t offset; /* in pt_checkpoint, of a uint64_t or a double */
} field;

static const field fields[] = {
    {"step", false, offsetof(pt_checkpoint, step)},
    {"epoch", false, offsetof(pt_checkpoint, epoch)},
    {"seed", false, offsetof(pt_checkpoint, seed)},
    {"data", false, offsetof(pt_checkpoint, data)},
    {"last_row", false, offsetof(pt_checkpoint, last_row)},
    {"loss_sum", true, offsetof(pt_checkpoint, loss_sum)},
    {"loss_count", false, offsetof(pt_checkpoint, loss_count)},
    {"best_accuracy", true, offsetof(pt_checkpoint, best_accuracy)},
    {"best_step", false, offsetof(pt_checkpoint, best_step)},
};
enum { FIELDS = sizeof fields / sizeof *fields, ALL_KEYS = FIELDS + 3 };

/* Both kinds of fields are 64 bits; a real's bits are its value to the last. */
static uint64_t get_bits(const pt_checkpoint *c, const field *f) {
    uint64_t bits;
    memcpy(&bits, (const char *)c + f->offset, sizeof bits);
    return bits;
}

static bool parse_bits(const char *text, uint64_t *bits) {
    if (strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16)
        return false;
    *bits = strtoull(text, NULL, 16);
    return true;
}

pt_status pt_checkpoint_write(const char *path, const pt_checkpoint *c, pt_error *err) {
    char texts[FIELDS][24];
    pt_metadata metadata[ALL_KEYS];
    for (size_t i = 0; i < FIELDS; i++) {
        snprintf(texts[i], sizeof texts[i], fields[i].real ? "%016llx" : "%llu",
                 (unsigned long long)get_bits(c, &fields[i]));
        metadata[i] = (pt_metadata){fields[i].key, texts[i]};
    }
    metadata[FIELDS] = (pt_metadata){"format", FORMAT};
    metadata[FIELDS + 1] = (pt_metadata){"has_best", c->has_best ? "true" : "false"};
    metadata[FIELDS + 2] = (pt_metadata){"config", c->config};
    return pt_safetensors_write(path, c->tensors, c->tensor_count, metadata, ALL_KEYS, NULL, err);
}

/* Fills the checkpoint from the file's metadata. */
static pt_status read_metadata(const char *path, const pt_safetensors *file, pt_checkpoint *c,
                               pt_error *err) {
    const char *format = pt_safetensors_metadata(file, "format");
    if (format && strcmp(format, FORMAT) != 0 &&
        strncmp(format, ANY_FORMAT, strlen(ANY_FORMAT)) == 0)
        return pt_fail(
            err, PT_ERR_USAGE,
            "%s: was written by another version of ptrain (this one reads %s); go on with "
            "that one, or choose another folder with --out",
            path, FORMAT);
    if (!format || strcmp(format, FORMAT) != 0)
        return pt_fail(err, PT_ERR_DATA, "%s: is no checkpoint (%s)", path, FORMAT);
    if (!file->has_checksum)
        return pt_fail(err, PT_ERR_DATA, "%s: has no checksum", path);
    for (size_t i = 0; i < FIELDS; i++) {
        const char *text = pt_safetensors_metadata(file, fields[i].key);
        uint64_t bits = 0;
        if (!text || !(fields[i].real ? parse_bits : pt_parse_u64)(text, &bits))
            return pt_fail(err, PT_ERR_DATA, "%s: metadata entry %s is %s", path, fields[i].key,
                           text ? "no number" : "missing");
        memcpy((char *)c + fields[i].offset, &bits, sizeof bits);
    }
    const char *has_best = pt_safetensors_metadata(file, "has_best");
    c->has_best = has_best && strcmp(has_best, "true") == 0;
    c->config = pt_safetensors_metadata(file, "config");
    if (!has_best || !c->config)
        return pt_fail(err, PT_ERR_DATA, "%s: metadata entry %s is missing", path,
                       has_best ? "config" : "has_best");
    c->tensors = file->tensors;
    c->tensor_count = file->tensor_count;
    return PT_OK;
}

pt_status pt_checkpoint_read(const char *path, pt_checkpoint_file **result, pt_error *err) {
    *result = NULL;
    pt_checkpoint_file *file = pt_calloc(1, sizeof *file);
    if (!file)
        return pt_fail_memory(err, path, sizeof *file);
    pt_status status = pt_safetensors_read(path, &file->file, err);
    if (status == PT_OK)
        status = read_metadata(path, file->file, &file->checkpoint, err);
    if (status == PT_OK)
        *result = file;
    else
        pt_checkpoint_free(file);
    return status;
}

void pt_checkpoint_free(pt_checkpoint_file *file) {
    if (!file)
        return;
    pt_safetensors_free(file->file);
    pt_free(file);
}

/* ---- the folder ---- */

/* The step of a file's name: exactly what pt_checkpoint_path makes of it. */
static bool step_of(const char *name, uint64_t *step) {
    char digits[24], again[64];
    size_t length = strlen(name), around = strlen(PREFIX) + strlen(SUFFIX);
    if (length <= around || length - around >= sizeof digits)
        return false;
    memcpy(digits, name + strlen(PREFIX), length - around);
    digits[length - around] = '\0';
    if (!pt_parse_u64(digits, step))
        return false;
    snprintf(again, sizeof again, "%s%010llu%s", PREFIX, (unsigned long long)*step, SUFFIX);
    return strcmp(again, name) == 0;
}

static int newest_first(const void *a, const void *b) {
    const uint64_t *x = a, *y = b;
    return (*x < *y) - (*x > *y);
}

static pt_status list_open(DIR *dir, const char *folder, uint64_t **steps, size_t *count,
                           pt_error *err) {
    size_t room = 0;
    uint64_t step;
    for (struct dirent *entry; (errno = 0, entry = readdir(dir));) {
        if (!step_of(entry->d_name, &step))
            continue;
        if (*count == room) {
            room = room ? 2 * room : 16;
            uint64_t *larger = pt_realloc(*steps, room * sizeof **steps);
            if (!larger)
                return pt_fail_memory(err, "the list of checkpoints", room * sizeof **steps);
            *steps = larger;
        }
        (*steps)[(*count)++] = step;
    }
    if (errno != 0)
        return pt_fail(err, PT_ERR_IO, "%s: cannot read the folder: %s", folder, strerror(errno));
    if (*count > 0)
        qsort(*steps, *count, sizeof **steps, newest_first);
    return PT_OK;
}

pt_status pt_checkpoint_list(const char *folder, uint64_t **steps, size_t *count, pt_error *err) {
    *steps = NULL;
    *count = 0;
    DIR *dir = opendir(folder);
    if (!dir)
        return errno == ENOENT ? PT_OK
                               : pt_fail(err, PT_ERR_IO, "%s: cannot read the folder: %s", folder,
                                         strerror(errno));
    pt_status status = list_open(dir, folder, steps, count, err);
    closedir(dir);
    if (status != PT_OK) {
        pt_free(*steps);
        *steps = NULL;
        *count = 0;
    }
    return status;
}

static pt_status remove_one(const char *folder, uint64_t step, pt_error *err) {
    char *path = pt_checkpoint_path(folder, step);
    if (!path)
        return pt_fail_memory(err, "the path of a checkpoint", strlen(folder));
    int reason = pt_io_unlink(path);
    pt_status status = PT_OK;
    if (reason && reason != ENOENT)
        status = pt_fail(err, PT_ERR_IO, "%s: cannot remove: %s", path, strerror(reason));
    pt_free(path);
    return status;
}

/* Removes the checkpoints of steps first .. last, but for the newest `keep` of them. The oldest
 * goes first, so that a process that dies meanwhile leaves the newest ones. */
static pt_status remove_range(const char *folder, uint64_t first, uint64_t last, size_t keep,
                              pt_error *err) {
    uint64_t *steps;
    size_t count, begin = 0, end = 0;
    pt_status status = pt_checkpoint_list(folder, &steps, &count, err);
    if (status != PT_OK)
        return status;
    while (begin < count && steps[begin] > last)
        begin++;
    for (end = begin; end < count && steps[end] >= first;)
        end++;
    begin += keep;
    while (status == PT_OK && end > begin)
        status = remove_one(folder, steps[--end], err);
    pt_free(steps);
    return status;
}

pt_status pt_checkpoint_save(const char *folder, const pt_checkpoint *checkpoint, size_t keep,
                             pt_error *err) {
    char *path = pt_checkpoint_path(folder, checkpoint->step);
    if (!path)
        return pt_fail_memory(err, "the path of a checkpoint", strlen(folder));
    pt_status status = pt_checkpoint_write(path, checkpoint, err);
    pt_free(path);
    if (status == PT_OK)
        status = remove_range(folder, 0, checkpoint->step, keep ? keep : 1, err);
    return status;
}

pt_status pt_checkpoint_save_best(const char *folder, const pt_checkpoint *checkpoint,
                                  pt_error *err) {
    char *path = pt_format("%s/best%s", folder, SUFFIX);
    if (!path)
        return pt_fail_memory(err, "the path of a checkpoint", strlen(folder));
    pt_status status = pt_checkpoint_write(path, checkpoint, err);
    pt_free(path);
    return status;
}

pt_status pt_checkpoint_discard_after(const char *folder, uint64_t step, pt_error *err) {
    return step == UINT64_MAX ? PT_OK : remove_range(folder, step + 1, UINT64_MAX, 0, err);
}

/* Reads the checkpoint of one step, whose content must be of that step. */
static pt_status read_step(const char *folder, uint64_t step, pt_checkpoint_file **result,
                           pt_error *err) {
    char *path = pt_checkpoint_path(folder, step);
    if (!path)
        return pt_fail_memory(err, "the path of a checkpoint", strlen(folder));
    pt_status status = pt_checkpoint_read(path, result, err);
    if (status == PT_OK && (*result)->checkpoint.step != step) {
        status = pt_fail(err, PT_ERR_DATA, "%s: is of step %llu, which its name is not", path,
                         (unsigned long long)(*result)->checkpoint.step);
        pt_checkpoint_free(*result);
        *result = NULL;
    }
    pt_free(path);
    return status;
}

pt_status pt_checkpoint_newest(const char *folder,
                               void (*damaged)(void *context, const char *message), void *context,
                               pt_checkpoint_file **result, pt_error *err) {
    *result = NULL;
    uint64_t *steps;
    size_t count;
    pt_status status = pt_checkpoint_list(folder, &steps, &count, err);
    for (size_t i = 0; i < count && status == PT_OK && !*result; i++) {
        pt_error why;
        status = read_step(folder, steps[i], result, &why);
        if (status == PT_ERR_MEMORY || status == PT_ERR_USAGE || status == PT_ERR_IO) {
            /* One that cannot be read now may be whole: it must not be passed over, and then removed. */
            status = pt_fail(err, status, "%s%s", why.message,
                             status == PT_ERR_IO ? "; remove it to go on from the one before" : "");
        } else if (status != PT_OK) {
            if (damaged)
                damaged(context, why.message);
            status = PT_OK;
        }
    }
    pt_free(steps);
    return status;
}
