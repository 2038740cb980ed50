/* scale_report.h: a scaling result as files: NAME.json, NAME.svg and the gnuplot script NAME.gp
 * that draws it.
 */
#ifndef PT_CHECK_SCALE_REPORT_H
#define PT_CHECK_SCALE_REPORT_H

#include "7_check/scale.h"

/* The counts that are predicted, ending with 0. */
extern const size_t pt_scale_predicted[];

/* The model with as many shards as threads can use: what per_thread could do in another config. */
pt_scale_model pt_scale_enough_shards(const pt_scale_model *model);

/* A switch of the fastest schedule on the way from 1 to 128 threads. */
typedef struct pt_scale_crossover {
    size_t threads; /* from here on */
    pt_schedule schedule;
} pt_scale_crossover;
/* Fills up to `most` of them, the first being at 1 thread; returns how many there are. */
size_t pt_scale_crossovers(const pt_scale_model *model, pt_scale_crossover *crossover, size_t most);

/* Writes the files into `folder` (made if missing); `name` is that of the config. A chart needs
 * gnuplot: without it, *drawn is false and the other two files are there. */
pt_status pt_scale_write(const pt_scale_result *result, const char *folder, const char *name,
                         bool *drawn, pt_error *err);

#endif
