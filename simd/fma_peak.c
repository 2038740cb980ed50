/* fma_peak.c: choosing the loop, and timing it. */
#include "simd/fma_peak.h"

#include "simd/fma_peak_internal.h"

#include <time.h>

double pt_fma_loop(pt_isa isa, size_t steps) {
    const pt_isa best = pt_isa_best();
    if (isa == PT_ISA_AUTO)
        isa = best;
    if (isa == PT_ISA_AVX512)
        return pt_fma_loop_avx512(steps);
    if (isa == PT_ISA_AVX2)
        return pt_fma_loop_avx2(steps);
    return best == PT_ISA_SCALAR ? pt_fma_loop_libm(steps) : pt_fma_loop_single(steps);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double pt_fma_peak(pt_isa isa, double seconds) {
    enum { BURST = 20000 }; /* some 40 microseconds: much longer than reading the clock */
    const double end = now() + seconds;
    double best = 0, last;
    do {
        const double start = now(), work = pt_fma_loop(isa, BURST), speed = work / (now() - start);
        best = speed > best ? speed : best;
        last = now();
    } while (last < end);
    return best;
}
