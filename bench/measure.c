/* measure.c: bursts of calls by a team of threads or by a library's own, rounds, and medians. */
#include "bench/measure.h"

#include "0_base/clock.h"
#include "0_base/memory.h"
#include "4_train/workers.h"
#include "simd/fma_peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LEAST_ROUNDS = 3 };

void *bench_must(void *block) {
    if (!block) {
        fprintf(stderr, "bench: out of memory\n");
        exit(1);
    }
    return block;
}

void *bench_new(size_t count, size_t bytes_each) {
    return bench_must(pt_calloc_aligned(count + 64, bytes_each));
}

size_t bench_sets(size_t bytes, bool cold) {
    const long known = sysconf(_SC_LEVEL3_CACHE_SIZE), most = 256L << 20;
    const size_t cache = (size_t)(known <= 0 ? 32L << 20 : known < most ? known : most);
    return cold ? 2 + 2 * cache / bytes : 1;
}

size_t bench_padded(size_t n) {
    return (n + 15) / 16 * 16;
}

typedef struct team {
    const bench_work *work;
    size_t variant, calls;
    pt_barrier barrier;
    double seconds;
} team;

static void run_team(void *context, size_t worker, size_t workers) {
    team *t = context;
    const bench_work *work = t->work;
    const unsigned previous = pt_float_environment_enter();
    size_t set = work->next_set;
    pt_barrier_wait(&t->barrier, workers);
    const double start = pt_now();
    for (size_t i = 0; i < t->calls; i++) {
        work->part(work->context, t->variant, set, worker, workers);
        set = set + 1 < work->sets ? set + 1 : 0;
        pt_barrier_wait(&t->barrier, workers);
    }
    if (worker == 0)
        t->seconds = pt_now() - start;
    pt_float_environment_leave(previous);
}

static void run_peak(void *context, size_t worker, size_t workers) {
    enum { STEPS = 50000 }; /* 80 microseconds: a core may take 10 to power up its widest units */
    team *t = context;
    pt_barrier_wait(&t->barrier, workers);
    const double start = pt_now(), operations = pt_fma_loop(t->work->isa, STEPS);
    pt_barrier_wait(&t->barrier, workers);
    if (worker == 0)
        t->seconds = (pt_now() - start) / (operations * (double)workers);
}

double bench_burst(bench_work *work, size_t variant, size_t calls) {
    team t = {.work = work, .variant = variant, .calls = calls};
    if (variant < work->variants && work->own_threads[variant]) {
        const double start = pt_now();
        for (size_t i = 0; i < calls; i++)
            work->part(work->context, variant, (work->next_set + i) % work->sets, 0, 1);
        t.seconds = pt_now() - start;
    } else {
        pt_barrier_init(&t.barrier, work->threads);
        pt_workers_run(work->threads, run_team, &t);
    }
    work->next_set = (work->next_set + calls) % work->sets;
    return t.seconds / (double)calls;
}

/* In units of 1e9 a second. */
static double measure_peak(bench_work *work, size_t calls) {
    if (work->yardstick)
        return work->amount / bench_burst(work, work->variants, calls) * 1e-9;
    team t = {.work = work};
    pt_barrier_init(&t.barrier, work->threads);
    pt_workers_run(work->threads, run_peak, &t);
    return 1e-9 / t.seconds;
}

static int ascending(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, ascending);
    return x[n / 2];
}

void bench_measure(bench_work *work, const bench_options *options, bench_row *row) {
    static double speeds[BENCH_CELLS][BENCH_MAX_ROUNDS], shares[BENCH_CELLS][BENCH_MAX_ROUNDS];
    static double peaks[BENCH_MAX_ROUNDS], ratios[BENCH_MAX_ROUNDS];
    size_t calls[BENCH_CELLS + 1] = {0}, rounds = 0;
    static size_t last_threads;
    double start = pt_now();
    /* New threads share a core until the operating system moves them. */
    while (work->threads != last_threads && pt_now() - start < 0.05)
        measure_peak(work, 1);
    last_threads = work->threads;
    start = pt_now();
    for (size_t v = 0; v < work->variants + work->yardstick; v++)
        if (v == work->variants || !work->absent[v])
            calls[v] =
                1 + (size_t)(100e-6 / fmin(bench_burst(work, v, 1), bench_burst(work, v, 3)));
    /* Ratios are taken within a round: the processor's frequency differs between rounds by more
     * than the variants do. */
    while (rounds < options->rounds &&
           (rounds < LEAST_ROUNDS || pt_now() - start < options->seconds)) {
        double best = 0;
        for (size_t v = 0; v < work->variants; v++) {
            if (work->absent[v])
                continue;
            peaks[rounds] = measure_peak(work, calls[work->variants]);
            speeds[v][rounds] = work->amount / bench_burst(work, v, calls[v]) * 1e-9;
            shares[v][rounds] = speeds[v][rounds] / peaks[rounds];
            if (v > 0)
                best = fmax(best, shares[v][rounds]);
        }
        ratios[rounds] = best > 0 ? shares[0][rounds] / best : 0;
        rounds++;
    }
    row->peak = median(peaks, rounds);
    row->ratio = median(ratios, rounds);
    for (size_t v = 0; v < work->variants; v++) {
        if (work->absent[v])
            continue;
        row->cell[v].value = median(speeds[v], rounds);
        row->cell[v].share = median(shares[v], rounds);
    }
}
