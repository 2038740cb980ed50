/* metrics.h: the record of a run: metrics.csv, losses.csv, summary.json.
 *
 * metrics.csv: one row per evaluation: epoch,iteration,loss,train_accuracy,test_accuracy.
 * losses.csv: one row per iteration: iteration,loss. Numbers are printed by pt_print_double
 * (accuracies as fractions of 1; "nan", "inf", "-inf" where a number is none), so the bytes do not
 * depend on locale, and nothing in these two files depends on time, threads or machine. (Speed and
 * time go to summary.json only.)
 *
 * Both are kept open and appended to; rows gather in memory and are written whole, when 64 KiB of
 * them have come together or by flush. A write that fails (a full disk) leaves no half row behind,
 * and its rows stay in memory until a later flush gets them through, so a run that goes on leaves
 * no gap. Thread-safety: one thread at a time; pt_metrics_sync alone may run beside the others.
 */
#ifndef PT_RESULTS_METRICS_H
#define PT_RESULTS_METRICS_H

#include "ptrain/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct pt_metrics pt_metrics;

typedef struct pt_metrics_row {
    uint64_t epoch, iteration; /* iteration: number of updates done so far */
    double loss;               /* mean mini-batch loss since the row before */
    bool has_train, has_test;  /* false: the cell stays empty */
    double train_accuracy, test_accuracy;
} pt_metrics_row;

/* Starts both files in `folder` anew, or, with `keep_iterations` > 0, keeps the losses up to and
 * including that iteration and the rows up to and including the row of iteration `keep_row` (0:
 * none), and goes on after them (PT_ERR_DATA `file:line: reason` when they are damaged or do not
 * reach that far). What a killed run wrote behind them is dropped. */
pt_status pt_metrics_open(const char *folder, uint64_t keep_iterations, uint64_t keep_row,
                          pt_metrics **metrics, pt_error *err);
/* Appends losses of iterations first .. first + count - 1 (counted from 1). */
pt_status pt_metrics_losses(pt_metrics *metrics, uint64_t first, const double *losses, size_t count,
                            pt_error *err);
pt_status pt_metrics_epoch(pt_metrics *metrics, const pt_metrics_row *row, pt_error *err);
pt_status pt_metrics_flush(pt_metrics *metrics, pt_error *err);
/* Makes what was flushed outlast a power failure (fsync). Call flush and this before a checkpoint
 * is saved, so that the rows it builds on are never younger than it. May take milliseconds. */
pt_status pt_metrics_sync(pt_metrics *metrics, pt_error *err);
/* Flushes and syncs. */
pt_status pt_metrics_close(pt_metrics *metrics, pt_error *err); /* frees; NULL allowed */

typedef struct pt_summary {
    double train_loss;
    bool has_train, has_test;
    double train_accuracy, test_accuracy; /* absent: null */
    uint64_t evaluated_iteration; /* of these; after Ctrl-C it is not the last; 0: none (null) */
    uint64_t iterations, samples;
    double train_seconds, eval_seconds, total_seconds, samples_per_second;
    size_t threads;
    const char *isa;
    const char *model_sha256;
    const char *status;   /* "finished", "interrupted", "diverged" */
    bool all_saved;       /* no file failed to be saved, at any time */
    const char *schedule; /* what ran */
    size_t shards, parameters, batch_size;
    uint64_t seed;
    const char *version;
} pt_summary;

/* Writes summary.json atomically: one object, keys in the order of pt_summary; numbers that are not
 * finite and texts that are NULL become null. */
pt_status pt_summary_write(const char *folder, const pt_summary *summary, pt_error *err);

#endif
