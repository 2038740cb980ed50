/* shards.h: how a mini-batch is cut into shards, and the one tree that sums them.
 *
 * Shard s of S covers rows floor(s rows / S) .. floor((s+1) rows / S) - 1. The sum over shards
 * [lo, hi) is that of [lo, mid) plus that of [mid, hi), mid = lo + (hi - lo) / 2 (rounded down): a
 * pure function of (rows, S). Any worker that owns a whole subtree may sum it on its own, so the
 * number of workers never shows in the result.
 */
#ifndef PT_TRAIN_SHARDS_H
#define PT_TRAIN_SHARDS_H

#include "simd/kernels.h"

typedef struct pt_shard_range {
    uint32_t row[PT_MAX_SHARDS + 1];
    uint8_t merges[PT_MAX_SHARDS];
    pt_shards shards; /* points into the arrays above: do not copy the struct */
} pt_shard_range;

/* Shards [lo, hi) of `total` shards of a mini-batch of `rows` rows; [lo, hi) must be a subtree.
 * An empty range gives count 0. */
void pt_shard_range_init(pt_shard_range *range, size_t rows, size_t total, size_t lo, size_t hi);

/* The subtree that worker `worker` of `workers` owns: the tree is cut from its root, at each node
 * half of the workers go left (rounded down) and the rest right, until one worker or one shard is
 * left. Workers beyond the shards get lo == hi. */
void pt_shard_owner(size_t total, size_t worker, size_t workers, size_t *lo, size_t *hi);

/* The same tree over the workers' sums, in place: calls add(context, a, b) for "sum of worker a +=
 * sum of worker b", children before parents, left operand first. Worker 0 ends up with the total.
 */
void pt_shard_tree(size_t total, size_t workers, void (*add)(void *context, size_t a, size_t b),
                   void *context);

/* Sum of row losses in double: rows in order within a shard from +0, shards by the tree. */
double pt_shard_sum(const pt_shards *shards, const float *row_value);

#endif
