/* report.h: what a benchmark has measured, as rows; printed as a table, written as JSON and SVG. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "ptrain/error.h"

#include <stddef.h>

enum { BENCH_CELLS = 8 };

/* Cell 0 is ours. A value of 0: this library does not do this. */
typedef struct bench_cell {
    char name[16];
    double value, share; /* in the row's unit; of the row's peak */
    double error;        /* the largest, in units of the last place; 0: not measured */
} bench_cell;

/* Plain data: rows come from child processes through a pipe. */
typedef struct bench_row {
    char family[16], shape[32], isa[8], buffers[8], unit[12];
    size_t threads, cells;
    double peak, ratio; /* ours over the best peer; 0: no peer */
    bench_cell cell[BENCH_CELLS];
} bench_row;

/* A row below the last one, with a new heading where isa, threads or buffers change. */
void bench_print_row(const bench_row *row, const bench_row *last);
/* Geometric means and the rows below 1, for each isa, number of threads and kind of buffers. */
void bench_print_summary(const bench_row *row, size_t count);
/* FOLDER/bench.json and FOLDER/bench.svg. */
pt_status bench_write(const char *folder, const char *cpu, const bench_row *row, size_t count,
                      pt_error *err);

#endif
