/* sampler.h: which rows of the training split a mini-batch holds: a pure function of
 * (seed, step, position), so that batches can be prepared in any order by any thread.
 */
#ifndef PT_DATA_SAMPLER_H
#define PT_DATA_SAMPLER_H

#include "1_config/config.h"

#include <stddef.h>
#include <stdint.h>

typedef struct pt_sampler {
    pt_sampling sampling;
    uint64_t seed;
    size_t rows;              /* of the training split */
    size_t batch_size;        /* at most `rows` unless sampling is random (with replacement) */
    uint64_t steps_per_epoch; /* max(rows / batch_size, 1); the last partial batch is left out */
} pt_sampler;

pt_sampler pt_sampler_make(pt_sampling sampling, uint64_t seed, size_t rows, size_t batch_size);
/* Row of position `i` of the mini-batch of iteration `step` (from 0). */
size_t pt_sampler_row(const pt_sampler *sampler, uint64_t step, size_t i);

#endif
