/* trainer.h: what a trainer holds, and the two loops that run inside a parallel region.
 *
 * Everything they need is allocated by pt_trainer_create: within a region nothing allocates or locks,
 * and who waits for others calls the operating system only after spinning for a while.
 */
#ifndef PT_TRAIN_TRAINER_H
#define PT_TRAIN_TRAINER_H

#include "2_data/batch.h"
#include "2_data/loader.h"
#include "3_graph/tape.h"
#include "4_train/optimizer.h"
#include "4_train/shards.h"
#include "4_train/tuner.h"
#include "4_train/workers.h"
#include "ptrain/trainer.h"

#include <stdatomic.h>

enum {
    EVALUATION_ROWS = 120,       /* rows of one forward pass of an evaluation, at most .. */
    EVALUATION_FLOATS = 1 << 22, /* .. and its values, if that leaves a row */
    PT_COLUMNS_EACH = 128,       /* of a layer, to be worth splitting by columns, per worker */
    PT_RELAY_BLOCKS = 3,         /* of rows, per worker, in the relay schedule */
    SLICE_FLOATS = 256 * 1024,   /* of a gradient before it is applied: 1 MiB, within L2 */
    LOADER_FLOATS = 16 * 1024    /* of a mini-batch, from which on loader = auto may use one */
};

/* What belongs to one worker: no other thread writes here while a region runs, but for `walked`. */
typedef struct pt_worker {
    _Alignas(64) atomic_size_t walked; /* relay: blocks of rows that are its to walk on, taken */
    float *gradient;                   /* per-thread schedule: block_size floats; else NULL */
    float *slice;   /* slices schedule: a piece of each gradient on its way to the optimizer */
    void *scratch;  /* for kernels */
    pt_tape tape;   /* evaluation: equally many rows for all workers */
    pt_batch batch; /* evaluation */
    int32_t *predicted;
    uint64_t correct;
    pt_shard_range shards; /* that this worker owns (per-thread schedule) */
    double pace;           /* its part of the work is its pace by the sum of all: pace.c */
    uint64_t ticks;        /* of the last region; 0: it took no part */
    uint64_t waited;       /* of these, for others */
    pt_profile profile;    /* ticks NULL: off */
} pt_worker;

struct pt_trainer {
    const pt_config *config;
    const pt_dataset *dataset;
    pt_graph *graph;
    const pt_kernels *kernels;
    const pt_optimizer_ops *optimizer;
    pt_sampler sampler;

    float *params;                        /* graph->block_size floats */
    float *state[PT_OPTIMIZER_MAX_STATE]; /* the same, or NULL */

    size_t threads; /* the most there may be */
    pt_worker *workers;
    size_t paced;          /* how many of them the paces are for */
    pt_progress *relay;    /* relay schedule: stages that each block of rows has passed */
    pt_tuner tuner;        /* how many of them run, and by which schedule */
    pt_tape tape;          /* of the mini-batch, shared: workers own rows */
    pt_batch batch;        /* filled by the workers; unused while a loader runs */
    float *row_loss;       /* of the mini-batch */
    pt_shard_range shards; /* the whole mini-batch */
    bool use_loader;
    pt_sparse_data lists; /* of the data, where they pay */
    bool sparse;          /* they do */
    uint32_t *input_work; /* then: nonzero features of some rows before each PT_ROW_ALIGN inputs */

    double *losses; /* of the last region */
    size_t loss_count;
    _Atomic uint64_t iteration;
    atomic_bool stop;
    bool diverged;

    float *kept_params; /* what pt_trainer_keep put aside */
    uint64_t kept_iteration;
};

/* Rows, or units of any kind, of worker `worker`: [*begin, *end) of n, in multiples of `granule`.
 */
void pt_partition(size_t n, size_t granule, size_t worker, size_t workers, size_t *begin,
                  size_t *end);

/* How often the columns schedule waits for all of so many workers in forward, loss and backward. */
size_t pt_columns_barriers(const pt_graph *graph, size_t workers);

/* Sets the paces of `workers` workers by the ticks and waits of the last region, which was theirs. */
void pt_pace_note(pt_trainer *trainer, size_t workers);
/* The part of all work, from 0 to 1, that the workers before `worker` have; exactly 1 only if worker is
 * workers: all of it. */
double pt_pace_before(const pt_trainer *trainer, size_t worker, size_t workers);

/* Lists the nonzero features of both splits, where that pays and there is memory for it: without lists
 * the same numbers take longer. Part of pt_trainer_create. */
void pt_trainer_make_lists(pt_trainer *trainer);

/* The threads and the schedule that the tuner has settled on. */
const pt_candidate *pt_trainer_choice(const pt_trainer *trainer);

/* Switches the profile of every worker on, from zero. */
pt_status pt_trainer_profile(pt_trainer *trainer, pt_error *err);

/* Lends a mini-batch to a tape: the walks read it. */
void pt_tape_read_batch(pt_tape *tape, const pt_batch *batch);

/* Applies iteration `step`'s gradient to the n parameters from `offset` of the block on. */
void pt_trainer_update(pt_trainer *trainer, uint64_t step, size_t offset, size_t n,
                       const float *gradient);

/* Rows of a parameter in one piece of the slices schedule. */
size_t pt_slice_rows(const pt_param *param);

/* Trains iterations until `last` (exclusive), or a stop or divergence, in one parallel region, as
 * the tuner's current candidate says. */
void pt_train_region(pt_trainer *trainer, uint64_t last, pt_loader *loader);
/* Counts the correctly classified rows of a split. */
uint64_t pt_evaluate_region(pt_trainer *trainer, const pt_split *split, size_t rows);

/* Copies the parameters aside, and back together with the iteration they belong to: the last good
 * model, for when the loss goes wrong. The initial parameters are kept from the start. */
void pt_trainer_keep(pt_trainer *trainer);
void pt_trainer_restore_kept(pt_trainer *trainer);

/* From now on every node has values and gradients of its own, none in the memory of its input: for who
 * wants to look at them after pt_trainer_gradients. Such a trainer must not train. */
pt_status pt_trainer_keep_apart(pt_trainer *trainer, pt_error *err);
/* Mean gradients of the mini-batch of iteration `step`, by the same walks as training, into a
 * zeroed block of graph->block_size floats; returns the loss. The parameters stay as they are. */
double pt_trainer_gradients(pt_trainer *trainer, uint64_t step, float *gradient);

#endif
