/* fma_peak.h: how fast this core multiplies and adds when nothing else holds it up.
 *
 * The loops do nothing but fused multiply-adds between registers, in enough independent chains to
 * keep every FMA unit busy, with the vectors of one instruction set. What a kernel reaches of that
 * speed, measured at about the same time on the same core, is its share of the peak.
 */
#ifndef PT_SIMD_FMA_PEAK_H
#define PT_SIMD_FMA_PEAK_H

#include "simd/kernels.h"

/* Runs `steps` steps of the loop of an instruction set that this machine has (PT_ISA_AUTO: the
 * best) on the calling thread; returns the floating-point operations done (an FMA counts two). A
 * step takes about six cycles. */
double pt_fma_loop(pt_isa isa, size_t steps);

/* Floating-point operations a second of the calling thread: the fastest of short bursts over about
 * `seconds`. */
double pt_fma_peak(pt_isa isa, double seconds);

#endif
