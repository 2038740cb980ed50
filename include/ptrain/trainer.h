/* trainer.h: a network in training: parameters, optimizer, worker threads.
 *
 * The result of training is a pure function of the config's numbers and the data: threads,
 * instruction set, schedule and loader never change a bit of it. (With `gradient = numerical`, meant
 * for study, it also depends on the C library's exp, log, tanh and erfc.)
 *
 * Ownership: pt_trainer_create makes a trainer that the caller frees with pt_trainer_free (NULL
 * allowed); the config and the dataset must outlive it. Thread-safety: one thread at a time may call
 * these functions, except pt_trainer_request_stop (any thread, or a signal handler) and
 * pt_trainer_iteration (any thread).
 */
#ifndef PTRAIN_TRAINER_H
#define PTRAIN_TRAINER_H

#include "ptrain/config.h"
#include "ptrain/dataset.h"
#include "ptrain/error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pt_trainer pt_trainer;

enum { PT_SHA256_TEXT_SIZE = 65 }; /* 64 hexadecimal digits and a NUL */

/* Builds the graph and draws the initial parameters. Errors: PT_ERR_CONFIG, PT_ERR_MEMORY, and
 * PT_ERR_USAGE where this machine cannot run the instruction set that the config asks for; *trainer is
 * then NULL. */
pt_status pt_trainer_create(const pt_config *config, const pt_dataset *dataset,
                            pt_trainer **trainer, pt_error *err);
void pt_trainer_free(pt_trainer *trainer);

enum { PT_MAX_RUN_ITERATIONS = 65536 };

/* Trains for `iterations` mini-batches, at most PT_MAX_RUN_ITERATIONS (else PT_ERR_USAGE).
 * PT_ERR_DIVERGED: the loss of the next mini-batch is not finite; the parameters are those before
 * it. PT_ERR_INTERRUPTED: a stop was requested; the iteration under way was finished, and the next
 * call goes on. PT_ERR_MEMORY: nothing was trained (by numerical gradients: no more than
 * some iterations). */
pt_status pt_trainer_run(pt_trainer *trainer, uint64_t iterations, pt_error *err);

/* Iterations done so far. */
uint64_t pt_trainer_iteration(const pt_trainer *trainer);
/* Losses of the mini-batches of the last pt_trainer_run, in order; valid until the next run. */
const double *pt_trainer_losses(const pt_trainer *trainer, size_t *count);
/* Makes pt_trainer_run return after the iteration under way; asked for outside of a run, or in its last
 * iteration, the next one, before it trains. Async-signal-safe. */
void pt_trainer_request_stop(pt_trainer *trainer);

typedef enum pt_split_name { PT_SPLIT_TRAIN, PT_SPLIT_TEST } pt_split_name;

/* Share of the rows of a split (the first [train] evaluate_rows of them, if set) whose largest output
 * is their label, in 0..1. PT_ERR_USAGE when the data has no labels or the split is empty. */
pt_status pt_trainer_evaluate(pt_trainer *trainer, pt_split_name split, double *accuracy,
                              pt_error *err);

/* Outputs [rows x pt_trainer_outputs] of the network for features [rows x pt_dataset_columns] (as
 * numbers, after normalisation), both contiguous. PT_ERR_MEMORY. */
pt_status pt_trainer_predict(pt_trainer *trainer, const float *features, size_t rows,
                             float *outputs, pt_error *err);
size_t pt_trainer_outputs(const pt_trainer *trainer);
/* Trainable numbers of the network. */
size_t pt_trainer_parameters(const pt_trainer *trainer);
/* Worker threads and instruction set in use. */
size_t pt_trainer_threads(const pt_trainer *trainer);
const char *pt_trainer_isa(const pt_trainer *trainer);

/* Writes the parameters as a safetensors file, atomically; `sha256` (NULL allowed) receives the
 * file's checksum. PT_ERR_IO, PT_ERR_MEMORY: a file that was there before is untouched. */
pt_status pt_trainer_save(const pt_trainer *trainer, const char *path,
                          char sha256[PT_SHA256_TEXT_SIZE], pt_error *err);
/* Replaces the parameters by those of a file written by pt_trainer_save for the same graph; the iteration
 * and the optimizer's state stay. On failure (PT_ERR_IO; PT_ERR_DATA: damaged, or of another graph;
 * PT_ERR_MEMORY) nothing has changed. */
pt_status pt_trainer_load(pt_trainer *trainer, const char *path, pt_error *err);

#ifdef __cplusplus
}
#endif

#endif
