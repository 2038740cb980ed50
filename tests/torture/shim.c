/* shim.c: a library for LD_PRELOAD that makes the n-th system call of a process fail, or its last.
 *
 * It stands before every call of libc by which ptrain changes files, and counts those that concern
 * the folder PT_FAULT_FOLDER. PT_FAULT is KIND:N[:COUNT], N counted from 1, and KIND one of
 *   kill-before, kill-after   SIGKILL; after half of the bytes where the call is a write
 *   ENOSPC, EIO               the call fails; a write has written half of its bytes
 *   EINTR                     the call fails so once
 *   short                     a write writes half and says so
 *   stall                     the call takes two seconds
 * COUNT calls in a row suffer it (default 1). The first is noted in the file PT_FAULT_LOG as
 * "CALL PATH"; with PT_FAULT=trace every call is, and none fails.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FD = 256, PATH_SIZE = 512 };

typedef enum kind { NONE, TRACE, KILL_BEFORE, KILL_AFTER, FAIL, SHORT, STALL } kind;

static kind g_kind;
static int g_errno;        /* of FAIL */
static long g_at, g_count; /* the first call struck, and how many are */
static atomic_long g_calls;
static int g_log = -1;
static char g_folder[PATH_SIZE];
/* The files that the process has open for writing (or a folder, for fsync), by descriptor. */
static char g_open[MAX_FD][PATH_SIZE];

__attribute__((constructor)) static void read_environment(void) {
    static const struct {
        const char *name;
        kind kind;
        int error;
    } kinds[] = {{"kill-before", KILL_BEFORE, 0},
                 {"kill-after", KILL_AFTER, 0},
                 {"ENOSPC", FAIL, ENOSPC},
                 {"EIO", FAIL, EIO},
                 {"EINTR", FAIL, EINTR},
                 {"short", SHORT, 0},
                 {"stall", STALL, 0},
                 {"trace", TRACE, 0}};
    const char *fault = getenv("PT_FAULT"), *folder = getenv("PT_FAULT_FOLDER");
    const char *log = getenv("PT_FAULT_LOG");
    if (!fault || !folder || !log)
        return;
    snprintf(g_folder, sizeof g_folder, "%s", folder);
    const size_t length = strcspn(fault, ":");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == length && strncmp(fault, kinds[i].name, length) == 0) {
            g_kind = kinds[i].kind;
            g_errno = kinds[i].error;
        }
    if (g_kind == NONE)
        abort();
    char *end = NULL;
    g_at = fault[length] ? strtol(fault + length + 1, &end, 10) : 0;
    g_count = end && *end == ':' ? strtol(end + 1, NULL, 10) : 1;
    g_log =
        (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
}

/* The path is the folder or within it. */
static bool concerns(const char *path) {
    const size_t length = strlen(g_folder);
    return g_kind != NONE && strncmp(path, g_folder, length) == 0 &&
           (path[length] == '/' || path[length] == '\0');
}

static const char *path_of(int fd) {
    return fd >= 0 && fd < MAX_FD && g_open[fd][0] ? g_open[fd] : NULL;
}

/* Counts a call; the fault that it must suffer. */
static kind count(const char *call, const char *path) {
    const long calls = atomic_fetch_add(&g_calls, 1) + 1;
    const bool hit = calls >= g_at && calls - g_at < g_count;
    if (g_kind == NONE || (!hit && g_kind != TRACE))
        return NONE;
    char line[PATH_SIZE + 32];
    const int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    if (calls == g_at || g_kind == TRACE)
        syscall(SYS_write, g_log, line, (size_t)length);
    if (g_kind == KILL_BEFORE)
        raise(SIGKILL);
    if (g_kind == STALL)
        nanosleep(&(struct timespec){.tv_sec = 2}, NULL);
    return g_kind == TRACE ? NONE : g_kind;
}

/* What a call that is no write has to do about its fault before and after it is made. */
static bool fails(kind fault) {
    if (fault == FAIL)
        errno = g_errno;
    return fault == FAIL;
}

static int after(kind fault, int result) {
    if (fault == KILL_AFTER)
        raise(SIGKILL);
    return result;
}

/* Puts libc's own function of that name into a pointer to a function. */
static void next(const char *name, void *function) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        abort();
    memcpy(function, &found, sizeof found);
}

int open(const char *path, int flags, ...) {
    int (*real)(const char *, int, ...);
    next("open", &real);
    va_list args;
    va_start(args, flags);
    const mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    const bool counts =
        concerns(path) && ((flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_DIRECTORY));
    if (!counts)
        return real(path, flags, mode);
    const kind fault = count("open", path);
    if (fails(fault))
        return -1;
    const int fd = real(path, flags, mode);
    if (fd >= 0 && fd < MAX_FD)
        snprintf(g_open[fd], PATH_SIZE, "%s", path);
    return after(fault, fd);
}

ssize_t write(int fd, const void *bytes, size_t size) {
    ssize_t (*real)(int, const void *, size_t);
    next("write", &real);
    const char *path = path_of(fd);
    const kind fault = path ? count("write", path) : NONE;
    if (fault == NONE)
        return real(fd, bytes, size);
    if (fault == FAIL && g_errno == EINTR) { /* as Linux does: nothing has been written */
        errno = EINTR;
        return -1;
    }
    const ssize_t written = real(fd, bytes, size > 1 ? size / 2 : size);
    if (fault == KILL_AFTER)
        raise(SIGKILL);
    if (fault == SHORT || fault == STALL)
        return written;
    errno = g_errno;
    return -1;
}

int fsync(int fd) {
    int (*real)(int);
    next("fsync", &real);
    const char *path = path_of(fd);
    const kind fault = path ? count("fsync", path) : NONE;
    return fails(fault) ? -1 : after(fault, real(fd));
}

int ftruncate(int fd, off_t size) {
    int (*real)(int, off_t);
    next("ftruncate", &real);
    const char *path = path_of(fd);
    const kind fault = path ? count("ftruncate", path) : NONE;
    return fails(fault) ? -1 : after(fault, real(fd, size));
}

/* As on Linux, the descriptor is gone even if close fails. */
int close(int fd) {
    int (*real)(int);
    next("close", &real);
    const char *path = path_of(fd);
    const kind fault = path ? count("close", path) : NONE;
    if (path)
        g_open[fd][0] = '\0';
    const int result = after(fault, real(fd));
    return fails(fault) ? -1 : result;
}

int rename(const char *from, const char *to) {
    int (*real)(const char *, const char *);
    next("rename", &real);
    const kind fault = concerns(to) ? count("rename", to) : NONE;
    return fails(fault) ? -1 : after(fault, real(from, to));
}

int unlink(const char *path) {
    int (*real)(const char *);
    next("unlink", &real);
    const kind fault = concerns(path) ? count("unlink", path) : NONE;
    return fails(fault) ? -1 : after(fault, real(path));
}

/* Its folder is given by a descriptor, which the path is asked of. */
int unlinkat(int folder, const char *name, int flags) {
    int (*real)(int, const char *, int);
    next("unlinkat", &real);
    char link[64], path[PATH_SIZE];
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    const kind fault = concerns(path) ? count("unlinkat", path) : NONE;
    return fails(fault) ? -1 : after(fault, real(folder, name, flags));
}

int rmdir(const char *path) {
    int (*real)(const char *);
    next("rmdir", &real);
    const kind fault = concerns(path) ? count("rmdir", path) : NONE;
    return fails(fault) ? -1 : after(fault, real(path));
}

int mkdir(const char *path, mode_t mode) {
    int (*real)(const char *, mode_t);
    next("mkdir", &real);
    const kind fault = concerns(path) ? count("mkdir", path) : NONE;
    return fails(fault) ? -1 : after(fault, real(path, mode));
}
