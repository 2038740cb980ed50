/* fma_peak_body.h: the loop of fma_peak.h, written once; who includes it gives
 *
 *   PEAK_NAME  the function's name
 *   PEAK_TYPE  a register of PEAK_LANES floats
 *   PEAK_SET1(x), PEAK_FMA(a, b, c)   all lanes x; a b + c
 *
 * Twelve chains: two units of four to five cycles' latency want ten, and with two operands that is
 * still within sixteen registers. Every chain tends to 1, so no number overflows or vanishes.
 */
#include "simd/fma_peak_internal.h"

double PEAK_NAME(size_t steps) {
    const PEAK_TYPE x = PEAK_SET1(0.999f), y = PEAK_SET1(1e-3f);
    PEAK_TYPE a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x, i = x, j = x, k = x, l = x;
    for (size_t s = 0; s < steps; s++) {
        a = PEAK_FMA(a, x, y), b = PEAK_FMA(b, x, y), c = PEAK_FMA(c, x, y);
        d = PEAK_FMA(d, x, y), e = PEAK_FMA(e, x, y), f = PEAK_FMA(f, x, y);
        g = PEAK_FMA(g, x, y), h = PEAK_FMA(h, x, y), i = PEAK_FMA(i, x, y);
        j = PEAK_FMA(j, x, y), k = PEAK_FMA(k, x, y), l = PEAK_FMA(l, x, y);
        /* The twelve chains are alike: without this the compiler would compute one of them. */
        __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f));
        __asm__ volatile("" : "+x"(g), "+x"(h), "+x"(i), "+x"(j), "+x"(k), "+x"(l));
    }
    return (double)steps * 12 * 2 * PEAK_LANES;
}

#undef PEAK_NAME
#undef PEAK_TYPE
#undef PEAK_LANES
#undef PEAK_SET1
#undef PEAK_FMA
