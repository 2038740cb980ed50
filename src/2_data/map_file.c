/* map_file.c: mapping a data file, and saying what to do when it is not there. */
#include "2_data/map_file.h"

#include "0_base/fail.h"
#include "0_base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* True for the four names under which MNIST and its lookalikes are published, plain or .gz. */
static bool is_mnist_name(const char *path) {
    static const char *const names[] = {"train-images-idx3-ubyte", "train-labels-idx1-ubyte",
                                        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"};
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        size_t length = strlen(names[n]);
        if (strncmp(name, names[n], length) == 0 &&
            (name[length] == '\0' || strcmp(name + length, ".gz") == 0))
            return true;
    }
    return false;
}

static pt_status fail_open(const char *path, const char *key, int error, pt_error *err) {
    if (error == ENOENT && is_mnist_name(path)) {
        if (strstr(path, "fashion"))
            return pt_fail(
                err, PT_ERR_IO,
                "%s: no such file; `apt-get install dataset-fashion-mnist` brings it, or "
                "name your own copy in [data] %s",
                path, key);
        return pt_fail(err, PT_ERR_IO,
                       "%s: no such file; `make mnist` fetches MNIST into data/mnist, or name your "
                       "own copy in [data] %s",
                       path, key);
    }
    return pt_fail(err, PT_ERR_IO,
                   "%s: %s ([data] %s; a relative path starts at the current folder)", path,
                   strerror(error), key);
}

pt_status pt_map_file(const char *path, const char *key, struct pt_backing *backing,
                      pt_error *err) {
    *backing = (struct pt_backing){0};
    /* O_NONBLOCK: opening a pipe must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return fail_open(path, key, errno, err);
    struct stat info;
    pt_status status = PT_OK;
    if (fstat(fd, &info) != 0)
        status = fail_open(path, key, errno, err);
    else if (S_ISDIR(info.st_mode))
        status = pt_fail(err, PT_ERR_IO, "%s: is a folder; name a file in [data] %s", path, key);
    else if (!S_ISREG(info.st_mode))
        status =
            pt_fail(err, PT_ERR_IO, "%s: not a regular file; copy the data into one first", path);
    else if (info.st_size == 0)
        status = pt_fail(err, PT_ERR_DATA, "%s: offset 0: the file is empty", path);
    else if ((uintmax_t)info.st_size > SIZE_MAX)
        status = pt_fail(err, PT_ERR_DATA, "%s: larger than the address space", path);
    if (status == PT_OK) {
        /* MAP_POPULATE maps pages that are in the page cache at once (1 ms for MNIST), which saves
         * training a page fault at every few rows of the first epoch. */
        size_t size = (size_t)info.st_size;
        void *block = mmap(NULL, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
        if (block == MAP_FAILED)
            status = pt_fail(err, errno == ENOMEM ? PT_ERR_MEMORY : PT_ERR_IO,
                             "%s: cannot map %zu bytes: %s", path, size, strerror(errno));
        else
            *backing = (struct pt_backing){.block = block, .mapped_bytes = size};
    }
    close(fd);
    return status;
}

void pt_backing_free(struct pt_backing *backing) {
    if (backing->mapped_bytes)
        munmap(backing->block, backing->mapped_bytes);
    else
        pt_free(backing->block);
    *backing = (struct pt_backing){0};
}
