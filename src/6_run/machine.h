/* machine.h: what this machine is and what it can do, measured: the yardsticks of the profile and
 * of the scaling report. Nothing here is used by training.
 */
#ifndef PT_RUN_MACHINE_H
#define PT_RUN_MACHINE_H

#include "simd/kernels.h"

#include <stddef.h>

/* "Intel(R) Xeon(R) Processor" as the operating system calls it, or "unknown"; into the buffer. */
const char *pt_cpu_name(char buffer[128]);

/* Ticks of the profile's clock (3_graph/profile.h) in a second; takes about 20 ms. */
double pt_ticks_per_second(void);

/* Floating-point operations a second of `threads` threads at once, all of them together, in the
 * FMA loop of simd/fma_peak.h; takes about `seconds`. Threads beyond the cores add nothing: the
 * peak is then that of the cores. */
double pt_machine_fma_peak(pt_isa isa, size_t threads, double seconds);

/* Seconds that `threads` threads take for one barrier when all arrive at about the same time. */
double pt_machine_barrier(size_t threads);

#endif
