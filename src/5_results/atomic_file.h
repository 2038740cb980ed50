/* atomic_file.h: files that are either the old one or the new one, never half of one.
 *
 * open writes to `PATH.tmp-PID` (beside PATH, so that the rename stays within one file system);
 * commit flushes, fsyncs, renames over PATH and fsyncs the folder; abort removes the temporary
 * file. Exactly one of commit and abort ends a file that was opened; a failed commit has aborted.
 * Every error (including one hidden in a buffered write) is reported with the path and the reason,
 * leaves the old file whole and no temporary file. One exception: when the last step alone fails
 * (fsync of the folder), the new file is in place, whole, but may not outlast a power failure.
 *
 * A symbolic link at PATH is replaced by the file; anything there but a regular file is refused.
 * Thread-safety: each file belongs to one thread at a time; different files are independent.
 */
#ifndef PT_RESULTS_ATOMIC_FILE_H
#define PT_RESULTS_ATOMIC_FILE_H

#include "ptrain/error.h"

#include <stdint.h>
#include <stdio.h>

typedef struct pt_atomic_file pt_atomic_file;

pt_status pt_atomic_open(const char *path, pt_atomic_file **file, pt_error *err);
FILE *pt_atomic_stream(pt_atomic_file *file);           /* fully buffered; write to it with stdio */
uint64_t pt_atomic_written(const pt_atomic_file *file); /* bytes that have left the buffer */
pt_status pt_atomic_commit(pt_atomic_file *file, pt_error *err); /* frees `file` */
void pt_atomic_abort(pt_atomic_file *file);                      /* frees `file`; NULL allowed */
/* All of these for a file that is one text. */
pt_status pt_atomic_write(const char *path, const char *text, pt_error *err);

/* Removes the temporary files that killed processes have left in a folder: those whose process no
 * longer lives. Call it before this process writes there. */
void pt_atomic_clean(const char *folder);

/* Makes a folder and its parents (like mkdir -p); an error names the component at fault. */
pt_status pt_make_folder(const char *path, pt_error *err);
/* A folder with a new name for passing files, in TMPDIR or /tmp; `purpose` is in its name. */
pt_status pt_make_temporary_folder(const char *purpose, char *folder, size_t size, pt_error *err);
/* Lower-case hexadecimal SHA-256 of a file. */
pt_status pt_sha256_file(const char *path, char hex[65], pt_error *err);

#endif
