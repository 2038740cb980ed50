/* scale.h: the same training on more and more threads, by every schedule: what does each bring, and
 * what would more cores bring?
 */
#ifndef PT_CHECK_SCALE_H
#define PT_CHECK_SCALE_H

#include "7_check/scale_model.h"
#include "ptrain/dataset.h"
#include "ptrain/error.h"
#include "ptrain/trainer.h"

#include <stdbool.h>
#include <stddef.h>

enum { PT_SCALE_MAX_COUNTS = 32, PT_SCALE_MAX_ROUNDS = 32 };

typedef struct pt_scale_options {
    size_t threads[PT_SCALE_MAX_COUNTS]; /* one is always measured, listed or not */
    size_t count;   /* 0: 1, 2, 4, ... up to the cores there are, and twice those */
    size_t rounds;  /* 0: 5 */
    double seconds; /* of one row, over all rounds; 0: 1 */
    /* Called after each round, or NULL. */
    void (*progress)(void *context, size_t round, size_t rounds);
    void *context;
} pt_scale_options;

typedef struct pt_scale_row {
    size_t threads;
    pt_schedule schedule;
    double seconds, least, most; /* of a step: median, minimum, maximum of the rounds */
    double samples_per_second;
    double speed_up;   /* over the fastest schedule on one thread: median of the rounds' ratios */
    double efficiency; /* speed-up over threads */
    double gflops;
    double peak;       /* GFLOP/s of as many threads (or cores, where those are fewer) */
    double peak_share; /* median of the rounds' ratios */
    char sha256[PT_SHA256_TEXT_SIZE]; /* of the model after the row's training */
    bool same;                        /* as the first row's */
} pt_scale_row;

typedef struct pt_scale_result {
    char cpu[128];
    const char *isa;
    size_t cores, rounds;
    uint64_t iterations; /* of each row in each round */
    pt_scale_row *row;   /* ascending threads, then by schedule */
    size_t rows, different;
    pt_scale_model model;
} pt_scale_result;

/* Trains each row's few iterations from the start in every round, one row after the other, so that
 * a noisy neighbour or a change of the processor's frequency meets all alike. Phases for the model
 * are measured in the same rounds, after the timed iterations. PT_ERR_USAGE for a thread count
 * beyond PT_MAX_THREADS; PT_ERR_CHECK, with a whole result, when models differ. */
pt_status pt_scale(const pt_config *config, const pt_dataset *dataset,
                   const pt_scale_options *options, pt_scale_result *result, pt_error *err);
void pt_scale_result_destroy(pt_scale_result *result);

#endif
