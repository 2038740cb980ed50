/* test_shards.c: the cut of a mini-batch into shards, the tree that sums them, and its cut among
 * workers. Sums are of numbers for which every other order gives another result. */
#include "4_train/shards.h"
#include "harness.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WORKERS = 40, MAX_TOTAL = 64, MAX_ROWS = 200 };

/* Numbers of very different sizes and both signs. */
static void fill(float *x, size_t n) {
    uint32_t state = 99;
    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        float value = (float)(state >> 8) / 16777216.0f + 0.5f;
        for (unsigned e = (state >> 3) % 30; e > 0; e--)
            value *= 2;
        x[i] = state & 1 ? value : -value;
    }
}

/* The tree of shards.h, straight from its definition. */
static double tree_sum(const float *x, size_t rows, size_t total, size_t lo, size_t hi) {
    if (hi - lo == 1) {
        double sum = 0;
        for (size_t r = lo * rows / total; r < hi * rows / total; r++)
            sum += (double)x[r];
        return sum;
    }
    size_t mid = lo + (hi - lo) / 2;
    double left = tree_sum(x, rows, total, lo, mid), right = tree_sum(x, rows, total, mid, hi);
    return left + right;
}

static float tree_sum_float(const float *x, size_t rows, size_t total, size_t lo, size_t hi) {
    if (hi - lo == 1) {
        float sum = 0;
        for (size_t r = lo * rows / total; r < hi * rows / total; r++)
            sum += x[r];
        return sum;
    }
    size_t mid = lo + (hi - lo) / 2;
    float left = tree_sum_float(x, rows, total, lo, mid);
    return left + tree_sum_float(x, rows, total, mid, hi);
}

/* Whether [lo, hi) is a node of the tree over [0, total). */
static bool is_subtree(size_t total, size_t lo, size_t hi) {
    size_t a = 0, b = total;
    while (b - a > 1 && !(a == lo && b == hi)) {
        size_t mid = a + (b - a) / 2;
        if (lo < mid)
            b = mid;
        else
            a = mid;
    }
    return a == lo && b == hi;
}

TEST(shards, rows_are_cut_by_one_function) {
    pt_shard_range range;
    pt_shard_range_init(&range, 10, 4, 0, 4);
    const uint32_t ten_by_four[] = {0, 2, 5, 7, 10};
    CHECK_INT(range.shards.count, 4);
    CHECK(memcmp(range.row, ten_by_four, sizeof ten_by_four) == 0);
    CHECK(range.shards.row == range.row && range.shards.merges == range.merges);
    const uint8_t merges[] = {0, 1, 0, 2};
    CHECK(memcmp(range.merges, merges, sizeof merges) == 0);

    pt_shard_range_init(&range, 3, 8, 0, 8); /* fewer rows than shards: some are empty */
    const uint32_t three_by_eight[] = {0, 0, 0, 1, 1, 1, 2, 2, 3};
    CHECK(memcmp(range.row, three_by_eight, sizeof three_by_eight) == 0);

    pt_shard_range_init(&range, 10, 4, 2, 2);
    CHECK_INT(range.shards.count, 0);

    /* The largest there are. */
    pt_shard_range_init(&range, 1 << 20, PT_MAX_SHARDS, 0, PT_MAX_SHARDS);
    CHECK_INT(range.row[PT_MAX_SHARDS], 1 << 20);
    CHECK_INT(range.row[1], 1 << 12);
    CHECK_INT(range.merges[PT_MAX_SHARDS - 1], 8);
}

TEST(shards, a_part_has_the_rows_of_the_whole) {
    long wrong = 0;
    for (size_t total = 1; total <= MAX_TOTAL; total++)
        for (size_t rows = 1; rows <= MAX_ROWS; rows += 13) {
            pt_shard_range whole, part;
            pt_shard_range_init(&whole, rows, total, 0, total);
            CHECK_INT(whole.row[0], 0);
            CHECK_INT(whole.row[total], rows);
            size_t mid = total / 2;
            pt_shard_range_init(&part, rows, total, mid, total);
            for (size_t s = mid; s <= total; s++)
                wrong += part.row[s - mid] != whole.row[s];
        }
    CHECK_INT(wrong, 0);
}

TEST(shards, merges_describe_the_tree) {
    float x[MAX_ROWS];
    fill(x, MAX_ROWS);
    long wrong = 0, differs_from_a_chain = 0, deepest = 0;
    for (size_t total = 1; total <= PT_MAX_SHARDS; total++)
        for (size_t rows = 1; rows <= MAX_ROWS; rows += 33) {
            pt_shard_range range;
            pt_shard_range_init(&range, rows, total, 0, total);
            long depth = 0;
            for (size_t s = 0; s < total; s++) {
                depth++;
                deepest = depth > deepest ? depth : deepest;
                depth -= range.merges[s];
                wrong += depth < 1;
            }
            wrong += depth != 1;
            double want = tree_sum(x, rows, total, 0, total);
            wrong += pt_shard_sum(&range.shards, x) != want;
            differs_from_a_chain += tree_sum(x, rows, 1, 0, 1) != want;
        }
    CHECK_INT(wrong, 0);
    CHECK(deepest <= PT_MAX_SHARD_DEPTH);
    CHECK(differs_from_a_chain > 100); /* or these numbers could not tell trees apart */
}

TEST(shards, kernels_follow_the_same_tree) {
    float x[MAX_ROWS];
    fill(x, MAX_ROWS);
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        long wrong = 0;
        for (size_t total = 1; kernels && total <= PT_MAX_SHARDS; total++) {
            pt_shard_range range;
            pt_shard_range_init(&range, MAX_ROWS, total, 0, total);
            float sum;
            kernels->column_sum(1, &range.shards, x, 1, NULL, &sum);
            wrong += sum != tree_sum_float(x, MAX_ROWS, total, 0, total);
        }
        CHECK_MSG(wrong == 0, "%s: %ld sums differ", pt_isa_name((pt_isa)isa), wrong);
    }
}

TEST(shards, every_shard_has_one_owner_and_owners_have_subtrees) {
    long wrong = 0, idle = 0;
    for (size_t total = 1; total <= MAX_TOTAL; total++)
        for (size_t workers = 1; workers <= MAX_WORKERS; workers++) {
            size_t next = 0, with_work = 0;
            for (size_t w = 0; w < workers; w++) {
                size_t lo, hi;
                pt_shard_owner(total, w, workers, &lo, &hi);
                if (lo == hi) {
                    idle++;
                    continue;
                }
                wrong += lo != next || hi <= lo || hi > total || !is_subtree(total, lo, hi);
                next = hi;
                with_work++;
            }
            wrong += next != total;
            wrong += with_work > total || with_work > workers;
            if (workers <= total && total % workers == 0 && (workers & (workers - 1)) == 0)
                wrong += with_work != workers;
        }
    CHECK_INT(wrong, 0);
    CHECK(idle > 0);
    size_t lo, hi; /* the fair cases */
    pt_shard_owner(4, 1, 2, &lo, &hi);
    CHECK(lo == 2 && hi == 4);
    pt_shard_owner(4, 0, 1, &lo, &hi);
    CHECK(lo == 0 && hi == 4);
}

static void add_doubles(void *context, size_t a, size_t b) {
    double *sums = context;
    sums[a] += sums[b];
}

TEST(shards, workers_sums_make_the_same_tree) {
    float x[MAX_ROWS];
    fill(x, MAX_ROWS);
    long wrong = 0;
    for (size_t total = 1; total <= MAX_TOTAL; total++) {
        const double want = tree_sum(x, MAX_ROWS, total, 0, total);
        for (size_t workers = 1; workers <= MAX_WORKERS; workers++) {
            double sums[MAX_WORKERS];
            for (size_t w = 0; w < workers; w++) {
                size_t lo, hi;
                pt_shard_range range;
                pt_shard_owner(total, w, workers, &lo, &hi);
                pt_shard_range_init(&range, MAX_ROWS, total, lo, hi);
                /* Whoever owns nothing must not be asked: its sum would spoil the total. */
                sums[w] = lo == hi ? (double)__builtin_nanf("") : pt_shard_sum(&range.shards, x);
            }
            pt_shard_tree(total, workers, add_doubles, sums);
            wrong += sums[0] != want;
        }
    }
    CHECK_INT(wrong, 0);
}
