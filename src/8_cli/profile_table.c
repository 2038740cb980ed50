/* profile_table.c: a profile as tables: by phase, by layer, by thread. */
#include "8_cli/profile_table.h"

#include <stdio.h>

static void print_row(const pt_profile_row *row, const char *layer) {
    printf("%-10s %-16s %10.4f %6.1f", pt_phase_name(row->phase), layer, row->seconds,
           row->share * 100);
    if (row->flops > 0)
        printf(" %9.1f %7.1f%%\n", row->gflops, row->peak_share * 100);
    else
        printf(" %9s %8s\n", "-", "-");
}

static void print_threads(const pt_profile_report *r) {
    printf("\nthread");
    for (int phase = 0; phase < PT_PHASE_COUNT; phase++)
        printf(" %9s", pt_phase_name((pt_phase)phase));
    printf(" %9s\n", "idle");
    for (size_t w = 0; w < r->threads; w++) {
        printf("%6zu", w);
        for (int phase = 0; phase < PT_PHASE_COUNT; phase++)
            printf(" %9.4f", r->thread[w].seconds[phase]);
        printf(" %9.4f\n", r->thread[w].idle);
    }
}

void pt_print_profile(const pt_profile_report *r) {
    printf(
        "\nprofile of %llu iterations in %.3f s on %zu thread%s of %s: %.1f GFLOP/s, %.1f%% of the "
        "FMA peak\n\n",
        (unsigned long long)r->iterations, r->wall_seconds, r->threads, r->threads == 1 ? "" : "s",
        r->cpu, r->gflops, r->peak_share * 100);
    printf("%-10s %-16s %10s %6s %9s %8s\n", "phase", "layer", "thread-s", "%", "GFLOP/s",
           "of peak");
    for (int phase = 0; phase < PT_PHASE_COUNT; phase++) {
        if (r->phase[phase].seconds > 0)
            print_row(&r->phase[phase], "all");
        for (size_t i = 0; i < r->layer_rows; i++)
            if ((int)r->layer[i].phase == phase && r->layer[i].layer)
                print_row(&r->layer[i], r->layer[i].layer);
    }
    print_threads(r);
    printf("\nSeconds of all threads; GFLOP/s of one thread beside its measured FMA peak, %.1f "
           "GFLOP/s "
           "(%s).\nOperations count as if no zero were skipped, so skipping may exceed 100%%.\n",
           r->fma_peak * 1e-9, r->isa);
}
