/* run_folder.h: the folder of one run, which is never silently overwritten with another config. */
#ifndef PT_RESULTS_RUN_FOLDER_H
#define PT_RESULTS_RUN_FOLDER_H

#include "ptrain/config.h"
#include "ptrain/error.h"

#include <stdbool.h>

/* Makes `folder` and writes `config.ini` into it atomically. A folder that already holds a
 * config.ini is taken over only when that config gives the same run by pt_config_same_run: equal
 * but for keys that never change a number ([parallel] threads, isa, schedule, loader and the whole
 * of [output]). Otherwise PT_ERR_USAGE names the first keys that differ, with both values, and what
 * to do (--out another folder, or remove this one). A folder that holds a model.safetensors but no
 * config.ini is refused too, and so is one whose config.ini cannot be read as a config. Temporary
 * files that a killed run has left in the folder are removed. A run that goes on (`resumed`) may have
 * more train.iterations. */
pt_status pt_run_folder_open(const char *folder, const pt_config *config, bool resumed,
                             pt_error *err);

#endif
