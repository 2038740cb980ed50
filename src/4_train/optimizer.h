/* optimizer.h: how a gradient changes the parameters: one operations struct per type, one line in
 * the list. Updates are elementwise, so any slice of the parameters may be updated by any worker.
 */
#ifndef PT_TRAIN_OPTIMIZER_H
#define PT_TRAIN_OPTIMIZER_H

#include "1_config/config.h"
#include "ptrain/error.h"
#include "simd/kernels.h"

enum { PT_OPTIMIZER_MAX_STATE = 2 };

typedef struct pt_optimizer_ops {
    const char *type;
    size_t state_count;
    const char *state_name[PT_OPTIMIZER_MAX_STATE]; /* in checkpoints */
    /* Updates n parameters w from gradient g; `step` counts from 1; state[i] is aligned with w. */
    void (*update)(const pt_config *config, const pt_kernels *kernels, uint64_t step, size_t n,
                   const float *g, float *const state[PT_OPTIMIZER_MAX_STATE], float *w);
    /* Where the update is w = fma(rate, g, w) and nothing else: the rate, so that a gradient can be
     * applied while it is in registers. NULL: it is not. */
    float (*rate)(const pt_config *config);
} pt_optimizer_ops;

/* NULL and PT_ERR_CONFIG with a did-you-mean for an unknown type. */
const pt_optimizer_ops *pt_optimizer_find(const pt_config *config, pt_error *err);

#endif
