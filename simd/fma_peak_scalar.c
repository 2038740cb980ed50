/* fma_peak_scalar.c: the FMA loop on single floats for processors without such an instruction: libm
 * computes it.
 */
#include <math.h>

#define PEAK_NAME         pt_fma_loop_libm
#define PEAK_TYPE         float
#define PEAK_LANES        1
#define PEAK_SET1(x)      (x)
#define PEAK_FMA(a, b, c) fmaf(a, b, c)
#include "simd/fma_peak_body.h"
