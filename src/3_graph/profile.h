/* profile.h: where a worker's time goes: processor ticks per phase and node.
 *
 * A profile belongs to one worker. Walks take a NULL profile as "do not measure", which costs one
 * predictable branch per node and phase. Ticks are those of the time-stamp counter, which all cores
 * of the processors we run on share; pt_ticks_per_second calibrates it against the system's clock.
 */
#ifndef PT_GRAPH_PROFILE_H
#define PT_GRAPH_PROFILE_H

#include <stddef.h>
#include <stdint.h>
#include <x86intrin.h>

typedef enum pt_phase {
    PT_PHASE_DATA, /* fetching rows, or waiting for the loader */
    PT_PHASE_FORWARD,
    PT_PHASE_LOSS,
    PT_PHASE_BACKWARD, /* gradients to inputs */
    PT_PHASE_GRADIENT, /* gradients to parameters */
    PT_PHASE_REDUCE,   /* per-thread schedule: the tree over workers */
    PT_PHASE_UPDATE,   /* optimizer */
    PT_PHASE_BARRIER,  /* waiting for other workers */
    PT_PHASE_COUNT
} pt_phase;

typedef struct pt_profile {
    size_t nodes;
    uint64_t *ticks; /* [PT_PHASE_COUNT][nodes]; phases that belong to no node use node 0 */
} pt_profile;

static inline uint64_t pt_profile_start(const pt_profile *profile) {
    return profile ? __rdtsc() : 0;
}

/* Books the time since `start` and returns the time now, the start of what follows. */
static inline uint64_t pt_profile_add(pt_profile *profile, pt_phase phase, size_t node,
                                      uint64_t start) {
    if (!profile)
        return 0;
    uint64_t now = __rdtsc();
    profile->ticks[(size_t)phase * profile->nodes + node] += now - start;
    return now;
}

#endif
