/* sampler.c: drawing the rows of mini-batches. */
#include "2_data/sampler.h"

#include "0_base/philox.h"

#include <assert.h>

pt_sampler pt_sampler_make(pt_sampling sampling, uint64_t seed, size_t rows, size_t batch_size) {
    assert(rows > 0 && batch_size > 0);
    assert(sampling == PT_SAMPLING_RANDOM || batch_size <= rows);
    uint64_t steps = rows / batch_size;
    return (pt_sampler){.sampling = sampling,
                        .seed = seed,
                        .rows = rows,
                        .batch_size = batch_size,
                        .steps_per_epoch = steps ? steps : 1};
}

size_t pt_sampler_row(const pt_sampler *sampler, uint64_t step, size_t i) {
    assert(i < sampler->batch_size);
    if (sampler->sampling == PT_SAMPLING_RANDOM)
        return (size_t)pt_random_below(sampler->seed, PT_STREAM_SAMPLE, step, i, sampler->rows);
    uint64_t epoch = step / sampler->steps_per_epoch;
    size_t position = (size_t)(step % sampler->steps_per_epoch) * sampler->batch_size + i;
    if (sampler->sampling == PT_SAMPLING_SEQUENTIAL)
        return position;
    return (size_t)pt_permute(sampler->seed, epoch, sampler->rows, position);
}
