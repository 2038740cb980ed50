/* profile_report.h: where the time of a run went, by phase, layer and thread.
 *
 * Made from the ticks that every worker booked (3_graph/profile.h). Time is thread-seconds: two
 * threads that compute for one second take two. What a thread did not book is idle: it had no part
 * in training while the tuner ran fewer threads, or it was between two parallel regions.
 *
 * Floating-point operations are those of the dense mathematics (pt_layer_ops.flops): the gradient
 * to the inputs and that to the parameters cost as much as forward, where they are computed at all.
 * A kernel that skips zeros, as of dark pixels, does fewer, and may so reach more than 100% of the
 * peak. Optimizer, reduction, loss and data are not counted as operations, only as time.
 */
#ifndef PT_RUN_PROFILE_REPORT_H
#define PT_RUN_PROFILE_REPORT_H

#include "3_graph/profile.h"
#include "ptrain/error.h"
#include "ptrain/trainer.h"

/* The name of a phase, as in reports. */
const char *pt_phase_name(pt_phase phase);

typedef struct pt_profile_row {
    pt_phase phase;
    const char *layer; /* NULL: what belongs to no layer; the config's */
    double seconds;    /* of all threads */
    double share;      /* of the time of all threads, 0..1 */
    double flops;      /* of the whole run; 0: not counted */
    double gflops;     /* per second of one thread */
    double peak_share; /* of that thread's FMA peak */
} pt_profile_row;

typedef struct pt_profile_thread {
    double seconds[PT_PHASE_COUNT];
    double idle;
} pt_profile_thread;

typedef struct pt_profile_report {
    char cpu[128];
    const char *isa;
    uint64_t iterations; /* that were profiled */
    size_t batch_size;
    double wall_seconds; /* of training: evaluation is not profiled */
    double fma_peak;     /* operations a second of one thread, with all threads at work */
    double gflops;       /* of all threads over the wall time */
    double peak_share;
    size_t threads; /* the most there were */
    pt_profile_thread *thread;
    pt_profile_row phase[PT_PHASE_COUNT]; /* sums over layers */
    pt_profile_row *layer;                /* one row per phase and layer that took time */
    size_t layer_rows;
} pt_profile_report;

/* From a trainer whose profile was on (pt_trainer_profile) for `iterations` iterations that took
 * `wall_seconds`. Measures the FMA peak and the clock, on as many threads: about 50 ms. */
pt_status pt_profile_report_make(const pt_trainer *trainer, uint64_t iterations,
                                 double wall_seconds, pt_profile_report **report, pt_error *err);
void pt_profile_report_free(pt_profile_report *report); /* NULL allowed */

/* Writes FOLDER/profile.json atomically. */
pt_status pt_profile_report_write(const pt_profile_report *report, const char *folder,
                                  pt_error *err);

#endif
