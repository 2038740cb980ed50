/* test_atomic_file.c: old or new, never half, whatever fails and whenever the process dies. */
#include "harness.h"

#include "0_base/memory.h"
#include "5_results/atomic_file.h"
#include "5_results/io.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Entries of a folder but for . and .. */
static int entries(const char *folder) {
    int count = 0;
    DIR *dir = opendir(folder);
    REQUIRE(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

/* Writes `size` bytes of `fill`, in pieces that straddle the buffer. */
static pt_status save(const char *path, char fill, size_t size, pt_error *err) {
    pt_atomic_file *file = NULL;
    pt_status status = pt_atomic_open(path, &file, err);
    if (status != PT_OK)
        return status;
    char piece[1000];
    memset(piece, fill, sizeof piece);
    for (size_t left = size; left > 0;) {
        size_t now = left < sizeof piece ? left : sizeof piece;
        fwrite(piece, 1, now, pt_atomic_stream(file));
        left -= now;
    }
    return pt_atomic_commit(file, err);
}

/* 'a' or 'b' when the file is `size` bytes of just that, else '?'. */
static char content(const char *path, size_t size) {
    size_t got;
    const char *bytes = pt_read_file(path, &got);
    if (!bytes || got != size)
        return '?';
    for (size_t i = 1; i < size; i++)
        if (bytes[i] != bytes[0])
            return '?';
    return bytes[0];
}

enum { SIZE = 150000 }; /* three writes of the 64 KiB buffer */

TEST(atomic_file, commit_replaces_and_abort_keeps) {
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "file");
    pt_error err;
    pt_atomic_file *file = NULL;
    REQUIRE_OK(pt_atomic_open(path, &file, &err), err);
    fputs("old", pt_atomic_stream(file));
    CHECK(!pt_file_exists(path));
    CHECK_INT(entries(folder), 1);
    CHECK_INT(pt_atomic_written(file), 0); /* still in the buffer */
    fflush(pt_atomic_stream(file));
    CHECK_INT(pt_atomic_written(file), 3);
    REQUIRE_OK(pt_atomic_commit(file, &err), err);
    CHECK_STR(pt_read_file(path, NULL), "old");
    CHECK_INT(entries(folder), 1);

    REQUIRE_OK(pt_atomic_open(path, &file, &err), err);
    fputs("new", pt_atomic_stream(file));
    pt_atomic_abort(file);
    CHECK_STR(pt_read_file(path, NULL), "old");
    REQUIRE_OK(pt_atomic_open(path, &file, &err), err);
    fputs("newer", pt_atomic_stream(file));
    REQUIRE_OK(pt_atomic_commit(file, &err), err);
    CHECK_STR(pt_read_file(path, NULL), "newer");
    CHECK_INT(entries(folder), 1);
    pt_atomic_abort(NULL);
}

TEST(atomic_file, two_at_once_and_leftovers_do_not_collide) {
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "file");
    pt_error err;
    pt_atomic_file *one = NULL, *two = NULL;
    char name[600];
    snprintf(name, sizeof name, "%s.tmp-%ld", path, (long)getpid());
    pt_write_text(name, "of a killed process that had our id");
    REQUIRE_OK(pt_atomic_open(path, &one, &err), err);
    REQUIRE_OK(pt_atomic_open(path, &two, &err), err);
    fputs("one", pt_atomic_stream(one));
    fputs("two", pt_atomic_stream(two));
    REQUIRE_OK(pt_atomic_commit(two, &err), err);
    CHECK_STR(pt_read_file(path, NULL), "two");
    REQUIRE_OK(pt_atomic_commit(one, &err), err);
    CHECK_STR(pt_read_file(path, NULL), "one");
    CHECK_INT(entries(folder), 2);
}

TEST(atomic_file, leftovers_of_the_dead_are_removed) {
    const char *folder = pt_temp_folder();
    char ours[64], alive[64];
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    REQUIRE(child > 0);
    waitpid(child, NULL, 0); /* its id is now of no process */
    char dead[64];
    snprintf(dead, sizeof dead, "a.csv.tmp-%ld-12", (long)child);
    snprintf(ours, sizeof ours, "model.tmp-%ld", (long)getpid());
    snprintf(alive, sizeof alive, "model.tmp-%ld", (long)getppid());
    const char *const gone[] = {dead, ours};
    const char *const kept[] = {alive,         "model.tmp-",     "x.tmp-12x",  "x.tmp-0",
                                ".tmp-99999x", "x.tmp-9999999-", "config.ini", "x.tmp-1-y"};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        pt_write_text(pt_path_in(folder, gone[i]), "");
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        pt_write_text(pt_path_in(folder, kept[i]), "");
    pt_atomic_clean(folder);
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++)
        CHECK_MSG(!pt_file_exists(pt_path_in(folder, gone[i])), "%s stayed", gone[i]);
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        CHECK_MSG(pt_file_exists(pt_path_in(folder, kept[i])), "%s went", kept[i]);
    pt_atomic_clean(pt_path_in(folder, "no such folder"));
}

TEST(atomic_file, permissions_follow_the_umask) {
    const char *path = pt_path_in(pt_temp_folder(), "file");
    pt_error err;
    struct stat info;
    mode_t before = umask(027);
    REQUIRE_OK(save(path, 'a', 10, &err), err);
    umask(before);
    REQUIRE(stat(path, &info) == 0);
    CHECK_INT(info.st_mode & 07777, 0640);
}

TEST(atomic_file, a_name_without_a_folder_is_of_the_current_one) {
    char before[4096];
    REQUIRE(getcwd(before, sizeof before));
    REQUIRE(chdir(pt_temp_folder()) == 0);
    pt_error err;
    pt_status status = save("plain", 'a', 10, &err);
    bool there = content("plain", 10) == 'a';
    REQUIRE(chdir(before) == 0);
    CHECK(status == PT_OK && there);
}

TEST(atomic_file, impossible_targets) {
    const char *folder = pt_temp_folder();
    pt_error err;
    CHECK(save(folder, 'a', 10, &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "is a folder");
    CHECK(save("/dev/null", 'a', 10, &err) == PT_ERR_IO); /* a rename would replace the device */
    CHECK_CONTAINS(err.message, "/dev/null: cannot write: is not a regular file");
    CHECK(save(pt_path_in(folder, "none/file"), 'a', 10, &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "none/file: cannot write: No such file or directory");
    CHECK(save("", 'a', 10, NULL) == PT_ERR_IO);
    CHECK_INT(entries(folder), 0);
}

/* Runs save() with every fault at every call; the old file or the new one must be there, whole. */
TEST(atomic_file, every_fault_at_every_call) {
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "file");
    pt_error err;
    REQUIRE_OK(save(path, 'a', SIZE, &err), err);
    pt_io_fail_at(0, 0, false);
    REQUIRE_OK(save(path, 'a', SIZE, &err), err);
    long calls = pt_io_count();
    CHECK_MSG(calls >= 9, "only %ld calls", calls); /* create, 3 writes, fsync, close, rename, 2 */
    static const int faults[] = {ENOSPC, EIO, EDQUOT, EROFS};
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++)
        for (int sticky = 0; sticky < 2; sticky++)
            for (long n = 1; n <= calls; n++) {
                REQUIRE_OK(save(path, 'a', SIZE, &err), err);
                pt_io_fail_at(n, faults[f], sticky);
                pt_status status = save(path, 'b', SIZE, &err);
                pt_io_fail_at(0, 0, false);
                CHECK_INT(status, PT_ERR_IO);
                CHECK_CONTAINS(err.message, path);
                CHECK_CONTAINS(err.message, strerror(faults[f]));
                /* The last two calls belong to the fsync of the folder, after the rename. */
                CHECK_INT(content(path, SIZE), n <= calls - 2 ? 'a' : 'b');
                CHECK_INT(entries(folder), 1);
            }
    static const int harmless[] = {PT_IO_SHORT, EINTR};
    for (size_t f = 0; f < 2; f++)
        for (long n = 1; n <= calls; n++) {
            REQUIRE_OK(save(path, 'a', SIZE, &err), err);
            pt_io_fail_at(n, harmless[f], false);
            CHECK_INT(save(path, 'b', SIZE, &err), PT_OK);
            pt_io_fail_at(0, 0, false);
            CHECK_INT(content(path, SIZE), 'b');
        }
    /* Short writes without end still write everything. */
    pt_io_fail_at(1, PT_IO_SHORT, true);
    CHECK_INT(save(path, 'a', SIZE, &err), PT_OK);
    pt_io_fail_at(0, 0, false);
    CHECK_INT(content(path, SIZE), 'a');
}

TEST(atomic_file, killed_at_every_call) {
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "file");
    pt_error err;
    int killed = 0, renamed = 0;
    for (long n = 1; n <= 12; n++) {
        REQUIRE_OK(save(path, 'a', SIZE, &err), err);
        pid_t child = fork();
        if (child == 0) {
            pt_io_fail_at(n, PT_IO_KILL, false);
            _exit(save(path, 'b', SIZE, NULL) != PT_OK);
        }
        int status = 0;
        REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
        bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
        killed += was_killed;
        char now = content(path, SIZE);
        CHECK(now == 'a' || now == 'b');
        CHECK(was_killed || now == 'b');
        renamed += was_killed && now == 'b';
        pt_atomic_clean(folder);
        CHECK_INT(entries(folder), 1);
    }
    CHECK_INT(renamed, 2);
    CHECK_MSG(killed >= 9 && killed < 12, "%d killed", killed);
}

TEST(atomic_file, a_file_size_limit) {
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "file");
    pt_error err;
    REQUIRE_OK(save(path, 'a', 100, &err), err);
    struct rlimit before, limit;
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    limit = before;
    limit.rlim_cur = 100000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    pt_status status = save(path, 'b', SIZE, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, handler);
    CHECK_INT(status, PT_ERR_IO);
    CHECK_CONTAINS(err.message, "cannot save: File too large");
    CHECK_INT(content(path, 100), 'a');
    CHECK_INT(entries(folder), 1);
}

TEST(atomic_file, a_full_disk) {
    const char *disk = pt_path_in(pt_temp_folder(), "disk");
    REQUIRE(mkdir(disk, 0777) == 0);
    if (mount("tmpfs", disk, "tmpfs", 0, "size=100k") != 0) {
        CHECK_MSG(true, "skipped");
        fprintf(stderr, "skipped: a full disk needs the right to mount\n");
        return;
    }
    const char *path = pt_path_in(disk, "file");
    pt_error err;
    pt_status first = save(path, 'a', 1000, &err), second = save(path, 'b', SIZE, &err);
    char left = content(path, 1000);
    int count = entries(disk);
    umount(disk);
    CHECK_INT(first, PT_OK);
    CHECK_INT(second, PT_ERR_IO);
    CHECK_CONTAINS(err.message, "cannot save: No space left on device");
    CHECK_INT(left, 'a');
    CHECK_INT(count, 1);
}

TEST(atomic_file, every_failing_allocation_is_told) {
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "file");
    pt_error err;
    pt_status status = PT_ERR_MEMORY;
    long n = 0;
    while (status == PT_ERR_MEMORY && n < 100) {
        CHECK_INT(entries(folder), 0);
        pt_memory_fail_at(++n, 0);
        status = save(path, 'a', 10, &err);
        pt_memory_fail_at(0, 0);
    }
    CHECK_INT(status, PT_OK);
    CHECK(n > 4);
    pt_memory_fail_at(1, 0);
    CHECK(pt_make_folder(pt_path_in(folder, "x/y"), &err) == PT_ERR_MEMORY);
    pt_memory_fail_at(0, 0);
}

TEST(atomic_file, make_folder) {
    const char *folder = pt_temp_folder();
    pt_error err;
    REQUIRE_OK(pt_make_folder(pt_path_in(folder, "a/b//c/"), &err), err);
    CHECK(pt_file_exists(pt_path_in(folder, "a/b/c")));
    REQUIRE_OK(pt_make_folder(pt_path_in(folder, "a/b/c"), &err), err); /* there already */
    REQUIRE_OK(pt_make_folder("/", &err), err);
    REQUIRE_OK(pt_make_folder(".", &err), err);
    pt_write_text(pt_path_in(folder, "a/file"), "");
    CHECK(pt_make_folder(pt_path_in(folder, "a/file/x/y"), &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "a/file: cannot make the folder: Not a directory");
    CHECK(pt_make_folder("", &err) == PT_ERR_USAGE);
    CHECK(pt_make_folder("/proc/none/x", &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "/proc/none: cannot make the folder: ");
}

TEST(atomic_file, sha256_of_a_file) {
    const char *path = pt_path_in(pt_temp_folder(), "file");
    char hex[65];
    pt_error err;
    pt_write_text(path, "abc"); /* FIPS 180-2, appendix B.1 */
    REQUIRE_OK(pt_sha256_file(path, hex, &err), err);
    CHECK_STR(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    char *million = malloc(1000000); /* B.3 */
    REQUIRE(million);
    memset(million, 'a', 1000000);
    pt_write_file(path, million, 1000000);
    free(million);
    REQUIRE_OK(pt_sha256_file(path, hex, &err), err);
    CHECK_STR(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    CHECK(pt_sha256_file(pt_path_in(pt_temp_folder(), "none"), hex, &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "none: cannot read: No such file");
    CHECK(pt_sha256_file(pt_temp_folder(), hex, &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "Is a directory");
}
