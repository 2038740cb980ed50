/* machine.c: the processor's name, its clock, and how fast it multiplies and waits. */
#include "6_run/machine.h"

#include "0_base/clock.h"
#include "0_base/cores.h"
#include "1_config/config.h"
#include "4_train/workers.h"
#include "simd/fma_peak.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <x86intrin.h>

const char *pt_cpu_name(char buffer[128]) {
    char line[256];
    snprintf(buffer, 128, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        colon += 1 + (colon[1] == ' ');
        snprintf(buffer, 128, "%.*s", (int)strcspn(colon, "\n"), colon);
        break;
    }
    if (file)
        fclose(file);
    return buffer;
}

/* Both clocks at one moment: of a few readings the one that took least, since a thread may be
 * stopped between the two. */
static void read_clocks(double *seconds, double *ticks) {
    uint64_t least = UINT64_MAX;
    *seconds = *ticks = 0;
    for (int i = 0; i < 10; i++) {
        const uint64_t before = __rdtsc();
        const double time = pt_now();
        const uint64_t took = __rdtsc() - before;
        if (took >= least)
            continue;
        least = took;
        *seconds = time;
        *ticks = (double)before + (double)took / 2;
    }
}

double pt_ticks_per_second(void) {
    double start = 0, first = 0, seconds = 0, ticks = 0;
    read_clocks(&start, &first);
    do
        read_clocks(&seconds, &ticks);
    while (seconds - start < 20e-3);
    return (ticks - first) / (seconds - start);
}

typedef struct peak {
    pt_isa isa;
    double seconds;
    double speed[PT_MAX_THREADS];
} peak;

static void measure_peak(void *context, size_t worker, size_t workers) {
    peak *p = context;
    (void)workers;
    const unsigned previous = pt_float_environment_enter();
    if (worker < PT_MAX_THREADS)
        p->speed[worker] = pt_fma_peak(p->isa, p->seconds);
    pt_float_environment_leave(previous);
}

double pt_machine_fma_peak(pt_isa isa, size_t threads, double seconds) {
    const size_t cores = pt_cores_available();
    peak p = {.isa = isa, .seconds = seconds};
    double sum = 0;
    threads = threads < cores ? threads : cores;
    pt_workers_run(threads, measure_peak, &p);
    for (size_t i = 0; i < threads && i < PT_MAX_THREADS; i++)
        sum += p.speed[i];
    return sum;
}

typedef struct waiting {
    pt_barrier barrier;
    double seconds; /* of one barrier */
} waiting;

static void measure_barrier(void *context, size_t worker, size_t workers) {
    enum { BURSTS = 20, WAITS = 100 };
    waiting *w = context;
    double best = 1;
    for (int burst = 0; burst < BURSTS; burst++) {
        const double start = pt_now();
        for (int i = 0; i < WAITS; i++)
            pt_barrier_wait(&w->barrier, workers);
        const double each = (pt_now() - start) / WAITS;
        best = each < best ? each : best; /* a neighbour on our core is not the barrier's fault */
    }
    if (worker == 0)
        w->seconds = best;
}

double pt_machine_barrier(size_t threads) {
    waiting w = {.seconds = 0};
    pt_barrier_init(&w.barrier, threads);
    pt_workers_run(threads, measure_barrier, &w);
    return w.seconds;
}
