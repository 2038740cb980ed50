/* io.h: the system calls of this room that change a file, so that tests can make the n-th fail. (Not mkdir,
 * nor what removes a killed process's leftovers.)
 *
 * All functions return 0 or an errno value, retry after EINTR, and are thread-safe.
 */
#ifndef PT_RESULTS_IO_H
#define PT_RESULTS_IO_H

#include <stdbool.h>
#include <stddef.h>

/* Creates a file that must not exist yet (mode 0666 less the umask). */
int pt_io_create(const char *path, int *fd);
/* Opens an existing file for writing at its end. */
int pt_io_open_append(const char *path, int *fd);
/* Writes all of it, however many calls that takes. */
int pt_io_write(int fd, const void *bytes, size_t size);
int pt_io_sync(int fd);
int pt_io_close(int fd);
int pt_io_rename(const char *from, const char *to);
/* Makes renames and removals in a folder last; a file system without that notion is no error. */
int pt_io_sync_folder(const char *folder);
int pt_io_unlink(const char *path);
/* Cuts a file opened for writing. */
int pt_io_truncate(int fd, size_t size);

/* Tests only. The n-th of these calls from now (1 = the next; 0 switches off), and every later one
 * while `sticky`, fails with errno value `error`. A failing write has written half of its bytes, as
 * on a disk that fills up. Three faults are special: PT_IO_SHORT writes half and reports so,
 * EINTR fails only once even when the call is retried, and PT_IO_KILL ends the process by SIGKILL
 * (after half of a write). unlink and truncate tidy up after failures: only PT_IO_KILL hits them.
 */
enum { PT_IO_SHORT = -1, PT_IO_KILL = -2 };
void pt_io_fail_at(long n, int error, bool sticky);
/* Calls since the last pt_io_fail_at. */
long pt_io_count(void);

#endif
