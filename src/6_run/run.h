/* run.h: one whole run: folder, training, evaluation every epoch, metrics, model, summary.
 *
 * This is the book's program (Saito, section 5.7.4) around the trainer: the parameters are
 * evaluated after the first iteration and then once an epoch, as its loop does, and once more at
 * the end.
 */
#ifndef PT_RUN_RUN_H
#define PT_RUN_RUN_H

#include "5_results/metrics.h"
#include "ptrain/trainer.h"

typedef struct pt_run_row {
    pt_metrics_row metrics;
    double samples_per_second; /* of the training since the row before; evaluation not counted */
} pt_run_row;

/* What a run tells its caller, from the thread that called pt_run; any member may be NULL. */
typedef struct pt_run_listener {
    void *context;
    /* Training is about to start; `trainer` lives until `ended`. */
    void (*started)(void *context, pt_trainer *trainer);
    void (*evaluated)(void *context, const pt_run_row *row);
    /* `summary` is NULL when the run failed. */
    void (*ended)(void *context, const pt_summary *summary);
} pt_run_listener;

/* Runs the whole job of a config. PT_ERR_INTERRUPTED and PT_ERR_DIVERGED leave a saved model and a
 * summary: of the last finished iteration, and of the last evaluation before the loss went wrong.
 */
pt_status pt_run(const pt_config *config, const pt_run_listener *listener, pt_error *err);

#endif
