/* shards.c: the tree over shards. */
#include "4_train/shards.h"

#include <assert.h>

/* merges[s] = how many inner nodes of the tree over [lo, hi) have s as their last leaf. */
static void count_merges(uint8_t *merges, size_t lo, size_t hi) {
    if (hi - lo < 2)
        return;
    size_t mid = lo + (hi - lo) / 2;
    count_merges(merges, lo, mid);
    count_merges(merges, mid, hi);
    merges[hi - 1]++;
}

void pt_shard_range_init(pt_shard_range *range, size_t rows, size_t total, size_t lo, size_t hi) {
    *range = (pt_shard_range){0};
    for (size_t s = lo; s <= hi; s++)
        range->row[s - lo] = (uint32_t)(s * rows / total);
    count_merges(range->merges, 0, hi - lo);
    range->shards = (pt_shards){.count = hi - lo, .row = range->row, .merges = range->merges};
}

void pt_shard_owner(size_t total, size_t worker, size_t workers, size_t *lo, size_t *hi) {
    size_t first_worker = 0;
    *lo = 0;
    *hi = total;
    while (workers > 1 && *hi - *lo > 1) {
        size_t mid = *lo + (*hi - *lo) / 2, left = workers / 2;
        if (worker < first_worker + left) {
            *hi = mid;
            workers = left;
        } else {
            *lo = mid;
            first_worker += left;
            workers -= left;
        }
    }
    if (worker != first_worker) /* a single shard with several workers: the first one has it */
        *lo = *hi;
}

static void tree(size_t lo, size_t hi, size_t first_worker, size_t workers,
                 void (*add)(void *context, size_t a, size_t b), void *context) {
    if (workers < 2 || hi - lo < 2)
        return;
    size_t mid = lo + (hi - lo) / 2, left = workers / 2;
    tree(lo, mid, first_worker, left, add, context);
    tree(mid, hi, first_worker + left, workers - left, add, context);
    add(context, first_worker, first_worker + left);
}

void pt_shard_tree(size_t total, size_t workers, void (*add)(void *context, size_t a, size_t b),
                   void *context) {
    tree(0, total, 0, workers, add, context);
}

double pt_shard_sum(const pt_shards *shards, const float *row_value) {
    double stack[PT_MAX_SHARD_DEPTH];
    size_t depth = 0;
    for (size_t s = 0; s < shards->count; s++) {
        double sum = 0;
        for (size_t r = shards->row[s]; r < shards->row[s + 1]; r++)
            sum += (double)row_value[r];
        stack[depth++] = sum;
        for (size_t m = shards->merges[s]; m > 0; m--, depth--) {
            assert(depth >= 2);
            stack[depth - 2] += stack[depth - 1];
        }
    }
    return shards->count ? stack[0] : 0;
}
