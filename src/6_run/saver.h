/* saver.h: a thread that writes checkpoints while training goes on.
 *
 * Training waits for nothing longer than a copy of the parameters, those kept for a run that
 * diverges, and the optimizer's state. Should a checkpoint come due while an older one still waits
 * for the disk, the newer takes its place. What could not be written is tried again with the next
 * save and in the end; nothing newer is written before it, so that no checkpoint speaks of a
 * best.safetensors that is not on the disk.
 */
#ifndef PT_RUN_SAVER_H
#define PT_RUN_SAVER_H

#include "1_config/config.h"
#include "4_train/trainer.h"
#include "5_results/checkpoint.h"
#include "5_results/metrics.h"

typedef struct pt_saver pt_saver;

typedef enum pt_save_kind { PT_SAVE_CHECKPOINT, PT_SAVE_BEST, PT_SAVE_KINDS } pt_save_kind;

/* The config, the trainer and the metrics must outlive the saver. */
pt_status pt_saver_start(const pt_config *config, const pt_trainer *trainer, pt_metrics *metrics,
                         pt_saver **saver, pt_error *err);
/* Takes a snapshot of the trainer and hands it to the thread. `position` gives what is not in the
 * trainer; its config and tensors are ignored. For a checkpoint the metrics must have been flushed.
 */
void pt_saver_save(pt_saver *saver, pt_save_kind kind, const pt_checkpoint *position);
/* Waits until everything handed over is written, trying once more what had failed; the failure of
 * what is still not written, which is given up. */
pt_status pt_saver_wait(pt_saver *saver, pt_error *err);
/* The first failure since the last call, or PT_OK; a later try may have mended it. */
pt_status pt_saver_failure(pt_saver *saver, pt_error *err);
void pt_saver_stop(pt_saver *saver); /* writes what is pending, joins, frees; NULL allowed */

/* Puts the parameters, those kept, and the optimizer state of a checkpoint into a trainer of the same
 * config. PT_ERR_DATA when tensors are missing or have other shapes; nothing has changed then. */
pt_status pt_restore_checkpoint(pt_trainer *trainer, const pt_checkpoint *checkpoint,
                                const char *name, pt_error *err);

#endif
