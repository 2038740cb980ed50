/* run.h: one whole run: folder, training, evaluation every epoch, metrics, model, summary.
 *
 * This is the book's program (Saito, section 5.7.4) around the trainer: the parameters are
 * evaluated after the first iteration and then once an epoch, as its loop does, and once more at
 * the end.
 */
#ifndef PT_RUN_RUN_H
#define PT_RUN_RUN_H

#include "5_results/metrics.h"
#include "6_run/profile_report.h"
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
    /* Something the user should know that does not end the run: a damaged checkpoint that was
     * passed over, one that could not be saved. */
    void (*warned)(void *context, const char *message);
    /* `summary` is NULL when the run failed. */
    void (*ended)(void *context, const pt_summary *summary);
    /* After `ended`, when a profile was asked for. */
    void (*profiled)(void *context, const pt_profile_report *report);
} pt_run_listener;

/* NULL stands for none of these. */
typedef struct pt_run_options {
    bool resume;  /* go on from a checkpoint */
    bool profile; /* measure phases, and write profile.json into the run's folder */
} pt_run_options;

/* Runs the whole job of a config. With `resume` it goes on from the newest good checkpoint in the
 * run's folder (from the start where there is none) and refuses, with PT_ERR_USAGE and the keys
 * that differ, a config that would change the numbers. The files at the end are byte for byte those
 * of a run that was never stopped.
 *
 * PT_ERR_INTERRUPTED leaves a checkpoint and a model of the last finished iteration;
 * PT_ERR_DIVERGED the model of the last evaluation before the loss went wrong; both a summary. */
pt_status pt_run(const pt_config *config, const pt_run_options *options,
                 const pt_run_listener *listener, pt_error *err);

#endif
