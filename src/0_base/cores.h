/* cores.h: how many cores this process may really use. */
#ifndef PT_BASE_CORES_H
#define PT_BASE_CORES_H

#include <stddef.h>

/* How many threads may compute at once: the affinity mask, less SMT siblings, capped by the
 * cgroup's CPU quota (rounded up). At least 1. */
size_t pt_cores_available(void);

#endif
