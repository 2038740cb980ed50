/* scale_model.h: a model of one training step on p threads, each on a core of its own.
 *
 * Four terms, each calibrated from phases measured on this machine (see scale.c):
 *
 *   compute    rows * share of the rows + params * share of the parameters
 *              What one thread takes for data, forward, loss and backward (rows) and for gradients
 *              and optimizer (params), times the part of the work that the busiest of p threads
 *              has: rows, shards and slices of parameters are not divisible at will. In a relay the
 *              last thread begins when a block of rows has been handed on p - 1 times.
 *   memory     memory * (p - 1) / p
 *              What working together costs beyond that: weights that every thread reads anew,
 *              activations and weights that another core wrote. A cost W that each thread pays
 *              whatever its share shows as W * (p - 1) / p beside compute, since one thread's time
 *              holds W too; and of what the others wrote, each reads the part (p - 1) / p.
 *   reduction  reduction * (q - 1) / p, q = min(p, shards): per-thread gradients only
 *              Each thread adds q - 1 buffers over its 1 / p of the parameters.
 *   barrier    barriers * barrier * (p - 1) + imbalance * (all of the above)
 *              Arriving is an atomic addition to one cache line, so p threads queue for it. The
 *              imbalance is the measured waiting beyond that, as a share of the time at work.
 *
 * What it assumes, and a bigger machine may not give: every core is as fast, and has as much cache
 * and memory bandwidth to itself, as each of the cores that were measured at once; the relative
 * imbalance stays; one socket. It therefore tells which term will stop the speed-up and roughly
 * where, not the speed of a machine nobody has measured.
 */
#ifndef PT_CHECK_SCALE_MODEL_H
#define PT_CHECK_SCALE_MODEL_H

#include "1_config/config.h"

#include <stdbool.h>
#include <stddef.h>

enum { PT_SCHEDULES = PT_SCHEDULE_RELAY + 1 }; /* arrays by pt_schedule; AUTO is not used */

/* One schedule: seconds of a step. */
typedef struct pt_scale_terms {
    double rows, params; /* on one thread */
    double memory, reduction;
    double imbalance; /* share of the time at work */
    double barriers;  /* in a step */
} pt_scale_terms;

typedef struct pt_scale_model {
    size_t
        threads; /* that it was calibrated on, besides one; 0: it was not, and predicts nothing */
    size_t batch_size, shards;
    size_t slices;       /* pieces into which the parameters can be cut, about equally large */
    size_t relay_blocks; /* of rows, per thread, that are handed on; 1 or more */
    size_t most_columns; /* threads among which columns are wide enough to be shared out */
    double barrier;      /* seconds of one more thread at a barrier */
    pt_scale_terms terms[PT_SCHEDULES];
} pt_scale_model;

/* Seconds of a step. */
typedef struct pt_scale_step {
    double compute, memory, reduction, barrier, total;
} pt_scale_step;

/* False where the model says nothing: it is not calibrated, or columns run out. threads >= 1. */
bool pt_scale_predict(const pt_scale_model *model, pt_schedule schedule, size_t threads,
                      pt_scale_step *step);

/* The schedule that is predicted to be fastest; PT_SCHEDULE_AUTO when the model is not calibrated.
 */
pt_schedule pt_scale_fastest(const pt_scale_model *model, size_t threads);

/* What one worker measured, in seconds of a step and averaged over the workers. */
typedef struct pt_scale_phases {
    double rows, params, reduction, wait;
} pt_scale_phases;

/* Fills the terms of a schedule from one thread's phases and those of model->threads threads; the
 * rest of the model must be filled in. */
void pt_scale_calibrate(pt_scale_model *model, pt_schedule schedule, const pt_scale_phases *one,
                        const pt_scale_phases *many);

#endif
