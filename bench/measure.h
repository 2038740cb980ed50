/* measure.h: the one way in which every family is timed.
 *
 * Every round times every variant once, one after the other, in bursts long enough for the clock,
 * with the yardstick right before each, so that a change of the processor's frequency or a busy
 * neighbour meets all alike; medians are reported. Hot: operands stay where they are from call to
 * call. Cold: calls go round so many operands that none is left in the last-level cache.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "bench/bench.h"

typedef struct bench_work {
    pt_isa isa;
    size_t threads, sets, variants; /* sets of operands; variant 0 is ours, then the peers */
    double amount;                  /* floating-point operations or bytes of a call */
    bool own_threads[BENCH_CELLS];  /* of a variant: a library that makes its own, called once */
    bool absent[BENCH_CELLS];       /* this library does not do this */
    /* A worker's part of a call. Variant number `variants` is the yardstick, if `yardstick` says so;
     * else that is the FMA peak. */
    void (*part)(void *context, size_t variant, size_t set, size_t worker, size_t workers);
    bool yardstick;
    void *context;
    size_t next_set;
} bench_work;

/* Seconds of a call. Sets go on from burst to burst, so that cold ones stay cold. */
double bench_burst(bench_work *work, size_t variant, size_t calls);
/* Fills the row's figures: peak, cells (their names are the caller's), ratio. */
void bench_measure(bench_work *work, const bench_options *options, bench_row *row);

/* Never NULL: says so and exits. */
void *bench_must(void *block);
/* Zeroed, aligned, with a cache line to spare. */
void *bench_new(size_t count, size_t bytes_each);
/* Sets that make `bytes` each go round beyond the last-level cache; 1 for hot ones. */
size_t bench_sets(size_t bytes, bool cold);
/* Columns of a row as ptrain stores it. */
size_t bench_padded(size_t n);
/* The shards of a mini-batch, as training cuts it. */
enum { BENCH_SHARDS = 4 };

#endif
