/* dataset.h: training and test rows in memory.
 *
 * Ownership: pt_dataset_load makes a dataset that the caller frees with pt_dataset_free (NULL
 * allowed). Thread-safety: a loaded dataset is never changed, so any number of threads may read it.
 */
#ifndef PTRAIN_DATASET_H
#define PTRAIN_DATASET_H

#include "ptrain/config.h"
#include "ptrain/error.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pt_dataset pt_dataset;

/* Loads what the [data] section names. Errors: PT_ERR_IO (a missing or unreadable file), PT_ERR_DATA
 * (`file: offset or line: what is wrong`), PT_ERR_CONFIG, PT_ERR_MEMORY; *dataset is then NULL. IDX files
 * that are not compressed stay mapped: replaced (by rename) they may be, but who changes them in place
 * changes the training, and who cuts them short ends the process by SIGBUS. */
pt_status pt_dataset_load(const pt_config *config, pt_dataset **dataset, pt_error *err);
void pt_dataset_free(pt_dataset *dataset);

size_t pt_dataset_train_rows(const pt_dataset *dataset);
size_t pt_dataset_test_rows(const pt_dataset *dataset);
size_t pt_dataset_columns(const pt_dataset *dataset); /* features of one row */
size_t pt_dataset_classes(const pt_dataset *dataset); /* 0 where the targets are values */

#ifdef __cplusplus
}
#endif

#endif
