/* checkpoint.h: everything a run needs to go on as if it had never stopped.
 *
 * A checkpoint is a safetensors file (with its checksum) `checkpoint-SSSSSSSSSS.safetensors` in the
 * run's folder, S being the step; `best.safetensors` has the same form. Tensors are named
 * `param.NAME`, `kept.NAME` (the parameters of step `last_row`, which a run that diverges falls back
 * to) and `state.STATE.NAME` (STATE: the optimizer's name for it). `__metadata__` holds the rest:
 * whole numbers as decimals, reals as the 16 hexadecimal digits of their bits, so that nothing is
 * rounded; the config as its text. No clock, no machine: equal training, equal bytes.
 *
 * Sampling needs no position of its own: rows are drawn at Philox addresses made of seed and step.
 *
 * Thread-safety: these functions only read their arguments and share no state, so a thread of its
 * own can save a snapshot while training goes on. One thread at a time per folder.
 */
#ifndef PT_RESULTS_CHECKPOINT_H
#define PT_RESULTS_CHECKPOINT_H

#include "5_results/safetensors.h"
#include "ptrain/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pt_checkpoint {
    uint64_t step; /* updates done */
    uint64_t epoch, seed;
    uint64_t data;     /* pt_dataset_fingerprint */
    uint64_t last_row; /* step of the newest row of metrics.csv, 0: none; and since that row: */
    double loss_sum;
    uint64_t loss_count;
    bool has_best; /* the best accuracy so far, and its step */
    double best_accuracy;
    uint64_t best_step;
    const char *config; /* text of the effective config */
    const pt_tensor *tensors;
    size_t tensor_count;
} pt_checkpoint;

/* "FOLDER/checkpoint-SSSSSSSSSS.safetensors"; NULL: out of memory. Freed by the caller. */
char *pt_checkpoint_path(const char *folder, uint64_t step);

/* Writes one file, atomically. */
pt_status pt_checkpoint_write(const char *path, const pt_checkpoint *checkpoint, pt_error *err);

/* Writes `folder`'s checkpoint of that step, and once it is safe removes older ones, so that the
 * newest `keep` (at least 1) stay. PT_ERR_IO leaves all older ones. */
pt_status pt_checkpoint_save(const char *folder, const pt_checkpoint *checkpoint, size_t keep,
                             pt_error *err);
/* Writes `folder`/best.safetensors. */
pt_status pt_checkpoint_save_best(const char *folder, const pt_checkpoint *checkpoint,
                                  pt_error *err);

/* Steps of the checkpoints in a folder, newest first, damaged ones included; `*steps` is freed by
 * the caller with pt_free. A folder that does not exist has none. */
pt_status pt_checkpoint_list(const char *folder, uint64_t **steps, size_t *count, pt_error *err);

/* Removes the checkpoints beyond `step`. A run that starts anew calls it with 0 before it touches
 * anything else; a resumed one with the step it goes on from, which clears damaged newer ones. */
pt_status pt_checkpoint_discard_after(const char *folder, uint64_t step, pt_error *err);

typedef struct pt_checkpoint_file {
    pt_checkpoint checkpoint; /* points into `file` */
    pt_safetensors *file;
} pt_checkpoint_file;

/* PT_ERR_DATA: damaged, hostile, no checkpoint, or something is missing; PT_ERR_USAGE: of another
 * version. */
pt_status pt_checkpoint_read(const char *path, pt_checkpoint_file **result, pt_error *err);
void pt_checkpoint_free(pt_checkpoint_file *file); /* NULL allowed */

/* Reads the newest checkpoint that is good, and tells `damaged` (NULL allowed) of each newer one
 * that is not: the message names the file. PT_OK with *result = NULL when there is none. One of
 * another version is not passed over: PT_ERR_USAGE. */
pt_status pt_checkpoint_newest(const char *folder,
                               void (*damaged)(void *context, const char *message), void *context,
                               pt_checkpoint_file **result, pt_error *err);

#endif
