/* run_folder.h: the folder of one run, which is never silently overwritten with another config. */
#ifndef PT_RESULTS_RUN_FOLDER_H
#define PT_RESULTS_RUN_FOLDER_H

#include "ptrain/config.h"
#include "ptrain/error.h"

#include <stdbool.h>

/* Makes `folder`, and keeps other processes that do the same out of it until *lock is closed (-1: where
 * the file system has no locks; nothing to close). PT_ERR_IO names a folder that is taken. */
pt_status pt_run_folder_lock(const char *folder, int *lock, pt_error *err);

typedef enum pt_run_start {
    PT_START_ANEW,
    PT_START_WITHOUT,        /* to resume was asked for, but no checkpoint is whole */
    PT_START_FROM_CHECKPOINT /* may have more train.iterations */
} pt_run_start;

/* Takes over the locked folder: removes the summary of an earlier time and temporary files that a killed
 * run has left, and writes `config.ini` atomically. A folder that already holds a
 * config.ini is taken over only when that config gives the same run by pt_config_same_run: equal
 * but for keys that never change a number ([parallel] threads, isa, schedule, loader and the whole
 * of [output]). Otherwise PT_ERR_USAGE names the first keys that differ, with both values, and what
 * to do (--out another folder, or remove this one). Refused too are a folder that holds files of a run
 * but no config.ini, unless one of them is the checkpoint to go on from; one whose config.ini cannot be read
 * as a config; and, to a start anew, one with a checkpoint of a run that is not finished, which would be
 * lost. A config.ini that is the very file this config was read from is left as it is.
 *
 * *finished (but not to a start anew): the folder holds all that this run leaves; nothing has been
 * changed. Its summary says so, of the very model that is there, which is of train.iterations. */
pt_status pt_run_folder_open(const char *folder, const pt_config *config, pt_run_start start,
                             bool *finished, pt_error *err);

#endif
