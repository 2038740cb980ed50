/* clock.h: the monotonic clock, for measuring how long things take. */
#ifndef PT_BASE_CLOCK_H
#define PT_BASE_CLOCK_H

/* Seconds since some fixed moment; never goes back. Thread-safe. */
double pt_now(void);

#endif
