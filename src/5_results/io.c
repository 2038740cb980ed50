/* io.c: the system calls that change files, with a hook for failure injection. */
#include "5_results/io.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long g_asked;
static atomic_long g_fail_at;
static atomic_int g_error;
static atomic_bool g_sticky;

void pt_io_fail_at(long n, int error, bool sticky) {
    atomic_store(&g_fail_at, n);
    atomic_store(&g_error, error);
    atomic_store(&g_sticky, sticky);
    atomic_store(&g_asked, 0);
}

long pt_io_count(void) {
    return atomic_load(&g_asked);
}

/* The fault that the next call must suffer: 0, an errno value, PT_IO_SHORT or PT_IO_KILL. */
static int next_fault(void) {
    long asked = atomic_fetch_add(&g_asked, 1) + 1;
    long fail_at = atomic_load(&g_fail_at);
    if (fail_at == 0 || asked < fail_at || (asked > fail_at && !atomic_load(&g_sticky)))
        return 0;
    return atomic_load(&g_error);
}

/* next_fault for a call that is not a write. True when the call must fail, with errno set. */
static bool must_fail(void) {
    int fault = next_fault();
    if (fault == PT_IO_KILL)
        raise(SIGKILL);
    if (fault <= 0)
        return false;
    errno = fault;
    return true;
}

/* The same for a call that tidies up. */
static void maybe_die(void) {
    if (next_fault() == PT_IO_KILL)
        raise(SIGKILL);
}

static int open_retrying(const char *path, int flags, int *fd) {
    do {
        *fd = must_fail() ? -1 : open(path, flags | O_CLOEXEC, 0666);
    } while (*fd < 0 && errno == EINTR);
    return *fd < 0 ? errno : 0;
}

int pt_io_create(const char *path, int *fd) {
    return open_retrying(path, O_WRONLY | O_CREAT | O_EXCL, fd);
}

int pt_io_open_append(const char *path, int *fd) {
    return open_retrying(path, O_WRONLY | O_APPEND, fd);
}

static ssize_t write_once(int fd, const void *bytes, size_t size) {
    int fault = next_fault();
    if (fault == 0)
        return write(fd, bytes, size);
    if (fault == EINTR) {
        errno = EINTR;
        return -1;
    }
    ssize_t written = write(fd, bytes, size > 1 ? size / 2 : size);
    if (fault == PT_IO_KILL)
        raise(SIGKILL);
    if (fault == PT_IO_SHORT)
        return written;
    errno = fault;
    return -1;
}

int pt_io_write(int fd, const void *bytes, size_t size) {
    const char *from = bytes;
    while (size > 0) {
        ssize_t written = write_once(fd, from, size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return errno;
        if (written == 0)
            return EIO; /* POSIX leaves this open for regular files; never loop on it */
        from += written;
        size -= (size_t)written;
    }
    return 0;
}

int pt_io_sync(int fd) {
    int result;
    do {
        result = must_fail() ? -1 : fsync(fd);
    } while (result != 0 && errno == EINTR);
    return result ? errno : 0;
}

int pt_io_close(int fd) {
    bool failed = must_fail();
    int reason = failed ? errno : 0;
    if (close(fd) != 0 && !failed)
        reason = errno;
    /* Linux has closed the descriptor even then, and a retry might close somebody else's. */
    return reason == EINTR ? 0 : reason;
}

int pt_io_rename(const char *from, const char *to) {
    int result;
    do {
        result = must_fail() ? -1 : rename(from, to);
    } while (result != 0 && errno == EINTR);
    return result ? errno : 0;
}

int pt_io_sync_folder(const char *folder) {
    int fd = -1;
    int reason = open_retrying(folder, O_RDONLY | O_DIRECTORY, &fd);
    if (reason)
        return reason;
    reason = pt_io_sync(fd);
    close(fd);
    return reason == EINVAL || reason == ENOTSUP ? 0 : reason;
}

int pt_io_unlink(const char *path) {
    int result;
    maybe_die();
    do {
        result = unlink(path);
    } while (result != 0 && errno == EINTR);
    return result ? errno : 0;
}

int pt_io_truncate(int fd, size_t size) {
    int result;
    maybe_die();
    do {
        result = ftruncate(fd, (off_t)size);
    } while (result != 0 && errno == EINTR);
    return result ? errno : 0;
}
