/* atomic_file.c: write beside, fsync, rename, fsync the folder. */
#include "5_results/atomic_file.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "5_results/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sha256.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER_SIZE = 1 << 16 };

struct pt_atomic_file {
    char *path, *temp, *folder;
    FILE *stream;
    char *buffer; /* of `stream` */
    int fd;
    int error; /* errno of the first write that failed: stdio itself only remembers that one did */
    uint64_t written;
};

static ssize_t write_from_stream(void *cookie, const char *bytes, size_t size) {
    pt_atomic_file *file = cookie;
    if (!file->error)
        file->error = pt_io_write(file->fd, bytes, size);
    if (file->error)
        return 0; /* how fopencookie wants an error told */
    file->written += size;
    return (ssize_t)size;
}

/* Frees everything; with `remove` the temporary file goes too. */
static void destroy(pt_atomic_file *file, bool remove) {
    if (file->stream) {
        if (!file->error)
            file->error = ECANCELED; /* what is still buffered must not be written */
        fclose(file->stream);
    }
    if (file->fd >= 0)
        close(file->fd);
    if (remove)
        (void)pt_io_unlink(file->temp);
    pt_free(file->buffer);
    pt_free(file->path);
    pt_free(file->temp);
    pt_free(file->folder);
    pt_free(file);
}

static char *folder_of(const char *path) {
    const char *slash = strrchr(path, '/');
    if (!slash)
        return pt_strdup(".");
    return pt_strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

/* A name that no other file of this process or of a killed one with the same id has. */
static int create_temp(pt_atomic_file *file, bool *out_of_memory) {
    int reason = EEXIST;
    for (int attempt = 0; reason == EEXIST && attempt < 1000; attempt++) {
        pt_free(file->temp);
        file->temp = attempt == 0 ? pt_format("%s.tmp-%ld", file->path, (long)getpid())
                                  : pt_format("%s.tmp-%ld-%d", file->path, (long)getpid(), attempt);
        if (!file->temp) {
            *out_of_memory = true;
            return ENOMEM;
        }
        reason = pt_io_create(file->temp, &file->fd);
    }
    return reason;
}

pt_status pt_atomic_open(const char *path, pt_atomic_file **result, pt_error *err) {
    *result = NULL;
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return pt_fail(err, PT_ERR_IO, "%s: cannot write: %s", path,
                       S_ISDIR(info.st_mode) ? "is a folder" : "is not a regular file");

    pt_atomic_file *file = pt_calloc(1, sizeof *file);
    if (!file)
        return pt_fail_memory(err, path, sizeof *file);
    file->fd = -1;
    file->path = pt_strdup(path);
    file->folder = folder_of(path);
    file->buffer = pt_malloc(BUFFER_SIZE);
    bool out_of_memory = !file->path || !file->folder || !file->buffer;
    int reason = out_of_memory ? ENOMEM : create_temp(file, &out_of_memory);
    if (reason) {
        destroy(file, false);
        if (out_of_memory)
            return pt_fail_memory(err, path, BUFFER_SIZE);
        return pt_fail(err, PT_ERR_IO, "%s: cannot write: %s", path, strerror(reason));
    }
    file->stream = fopencookie(file, "wb", (cookie_io_functions_t){.write = write_from_stream});
    if (!file->stream) {
        destroy(file, true);
        return pt_fail_memory(err, path, sizeof(FILE));
    }
    setvbuf(file->stream, file->buffer, _IOFBF, BUFFER_SIZE);
    *result = file;
    return PT_OK;
}

FILE *pt_atomic_stream(pt_atomic_file *file) {
    return file->stream;
}

uint64_t pt_atomic_written(const pt_atomic_file *file) {
    return file->written;
}

/* Everything up to and including the rename; errno of the step that failed. */
static int put_in_place(pt_atomic_file *file) {
    errno = 0;
    if (fflush(file->stream) != 0 || ferror(file->stream) || file->error)
        return file->error ? file->error : errno ? errno : EIO;
    int reason = pt_io_sync(file->fd);
    if (reason)
        return reason;
    reason = pt_io_close(file->fd);
    file->fd = -1;
    return reason ? reason : pt_io_rename(file->temp, file->path);
}

pt_status pt_atomic_commit(pt_atomic_file *file, pt_error *err) {
    int reason = put_in_place(file);
    if (reason) {
        pt_status status =
            pt_fail(err, PT_ERR_IO, "%s: cannot save: %s", file->path, strerror(reason));
        destroy(file, true);
        return status;
    }
    pt_status status = PT_OK;
    reason = pt_io_sync_folder(file->folder);
    if (reason)
        status =
            pt_fail(err, PT_ERR_IO,
                    "%s: saved, but it may not outlast a power failure: fsync of folder %s: %s",
                    file->path, file->folder, strerror(reason));
    destroy(file, false);
    return status;
}

void pt_atomic_abort(pt_atomic_file *file) {
    if (file)
        destroy(file, true);
}

pt_status pt_atomic_write(const char *path, const char *text, pt_error *err) {
    pt_atomic_file *file;
    pt_status status = pt_atomic_open(path, &file, err);
    if (status != PT_OK)
        return status;
    fputs(text, pt_atomic_stream(file));
    return pt_atomic_commit(file, err); /* reports what fputs met */
}

/* Whether a name is PATH.tmp-PID or PATH.tmp-PID-N of a process that does not live. Our own id
 * counts as dead: before we have written, such a file is of an earlier process. */
static bool is_stale(const char *name) {
    const char *mark = NULL;
    for (const char *at = name; (at = strstr(at, ".tmp-")); at++)
        mark = at;
    if (!mark || mark == name)
        return false;
    const char *digits = mark + strlen(".tmp-");
    size_t id_length = strspn(digits, "0123456789");
    const char *rest = digits + id_length;
    if (id_length == 0 || id_length > 18)
        return false;
    if (*rest == '-' && rest[1])
        rest += 1 + strspn(rest + 1, "0123456789");
    if (*rest)
        return false;
    pid_t process = (pid_t)strtol(digits, NULL, 10);
    return process == getpid() || (kill(process, 0) != 0 && errno == ESRCH);
}

void pt_atomic_clean(const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (is_stale(entry->d_name))
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    closedir(dir);
}

/* Makes a new folder last: what is saved in it does only if it does. */
static pt_status sync_parent(const char *path, pt_error *err) {
    char *parent = folder_of(path);
    if (!parent)
        return pt_fail_memory(err, path, strlen(path) + 1);
    const int reason = pt_io_sync_folder(parent);
    pt_free(parent);
    /* A parent may be for entering only. */
    return reason && reason != EACCES
               ? pt_fail(err, PT_ERR_IO, "%s: cannot make the folder: fsync: %s", path,
                         strerror(reason))
               : PT_OK;
}

/* Makes one folder of the chain unless it is there. */
static pt_status make_one(const char *path, pt_error *err) {
    int result;
    do {
        result = mkdir(path, 0777);
    } while (result != 0 && errno == EINTR);
    if (result == 0)
        return sync_parent(path, err);
    int reason = errno;
    struct stat info;
    if (stat(path, &info) == 0) {
        if (S_ISDIR(info.st_mode))
            return PT_OK;
        reason = ENOTDIR;
    }
    return pt_fail(err, PT_ERR_IO, "%s: cannot make the folder: %s", path, strerror(reason));
}

pt_status pt_make_folder(const char *path, pt_error *err) {
    if (!*path)
        return pt_fail(err, PT_ERR_USAGE, "the name of the folder is empty");
    char *part = pt_strdup(path);
    if (!part)
        return pt_fail_memory(err, path, strlen(path) + 1);
    pt_status status = PT_OK;
    for (char *at = part + 1; status == PT_OK; at++) {
        if (*at != '/' && *at != '\0')
            continue;
        char end = *at;
        *at = '\0';
        status = make_one(part, err);
        *at = end;
        if (end == '\0')
            break;
    }
    pt_free(part);
    return status;
}

pt_status pt_make_temporary_folder(const char *purpose, char *folder, size_t size, pt_error *err) {
    const char *base = getenv("TMPDIR");
    const int length =
        snprintf(folder, size, "%s/ptrain-%s-XXXXXX", base && *base ? base : "/tmp", purpose);
    if (length < 0 || (size_t)length >= size)
        return pt_fail(err, PT_ERR_IO, "%s: the name is too long for a temporary folder", base);
    return mkdtemp(folder) ? PT_OK
                           : pt_fail(err, PT_ERR_IO, "%s: cannot make a temporary folder: %s",
                                     folder, strerror(errno));
}

pt_status pt_sha256_file(const char *path, char hex[65], pt_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return pt_fail(err, PT_ERR_IO, "%s: cannot read: %s", path, strerror(errno));
    SHA256_CTX hash;
    SHA256_Init(&hash);
    uint8_t bytes[1 << 14];
    ssize_t got;
    while ((got = read(fd, bytes, sizeof bytes)) > 0 || (got < 0 && errno == EINTR))
        if (got > 0)
            SHA256_Update(&hash, bytes, (size_t)got);
    int reason = errno;
    close(fd);
    if (got < 0)
        return pt_fail(err, PT_ERR_IO, "%s: cannot read: %s", path, strerror(reason));
    SHA256_End(&hash, hex);
    return PT_OK;
}
