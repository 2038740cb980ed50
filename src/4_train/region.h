/* region.h: what the workers of one parallel region of training share, and the parts of a training
 * step: the walks over the graph (walk.c) and the gradients with their update (update.c). The step
 * itself is step.c.
 */
#ifndef PT_TRAIN_REGION_H
#define PT_TRAIN_REGION_H

#include "4_train/trainer.h"
#include "4_train/workers.h"

typedef struct pt_region {
    pt_trainer *trainer;
    pt_loader *loader; /* or NULL */
    pt_schedule schedule;
    uint64_t first, last; /* iterations; last is exclusive */
    pt_barrier barrier;
    double deadline; /* a time of pt_now after which to stop, or 0 */
    bool stop[2];    /* decided by worker 0 before a barrier, read by all after it; for even and odd
                      * iterations: of the next it may decide before all have read this one's */
    /* Relay: a worker may begin the next step before the others have updated. The values of relayed nodes
     * have two buffers. All else that a next step writes is written only when a block has passed all
     * stages, and so every worker has finished this one. */
    bool overlap;
    size_t blocks; /* relay: of rows */
} pt_region;

/* One worker in a region. */
typedef struct pt_seat {
    pt_region *region;
    pt_worker *self;
    size_t worker, workers;
    double share_begin, share_end; /* of all work: what the workers before have, and this one too */
    uint64_t waited;               /* ticks */
    size_t row_begin,
        row_end;             /* of the mini-batch: those it fetches, and walks unless shared out */
    size_t in_begin, in_end; /* relay: its inputs */
    pt_tape tape;            /* its own view: which data, whose profile */
} pt_seat;

/* A worker's share of n rows, or units of any kind: [*begin, *end), in multiples of `granule`. */
void pt_seat_share(const pt_seat *seat, size_t n, size_t granule, size_t *begin, size_t *end);

/* Waits until every worker of the region is here. */
void pt_seat_wait_for_all(pt_seat *seat);

/* Forward, loss and backward of one iteration, as the region's schedule shares them out. Behind the
 * next barrier row_loss and all gradients to values are there that parameters' gradients read. */
void pt_walk(pt_seat *seat, const pt_batch *batch, uint64_t step);
/* The same for rows [begin, end) on one thread. */
void pt_walk_rows(pt_trainer *trainer, const pt_batch *batch, const pt_tape *tape, size_t begin,
                  size_t end, void *scratch);

/* Per-thread schedule: this worker's shards' gradients into its own buffer. */
void pt_gradient_of_own_shards(pt_seat *seat);
/* This worker's share of gradients, reduction and update, after a barrier behind the walk. */
void pt_update(pt_seat *seat, uint64_t step);

/* The columns of a layer that belong to a worker of the columns schedule; false: the layer is too
 * narrow and is shared out by rows. */
bool pt_own_columns(const pt_seat *seat, const pt_node *node, size_t cols, size_t *begin,
                    size_t *end);
/* Whether a node is handed from worker to worker in the relay schedule: it reads the data's lists. */
bool pt_reads_lists(const pt_trainer *trainer, const pt_node *node);

#endif
