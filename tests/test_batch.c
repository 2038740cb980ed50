/* test_batch.c: gathering rows into mini-batches, by hand and by the loader's thread. */
#include "2_data/batch.h"

#include "2_data/loader.h"
#include "toys.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 23, COLUMNS = 7, LD = 16, CLASSES = 3, TARGETS = 2 };

/* Rows whose numbers say which row they are. */
typedef struct rows {
    uint8_t bytes[ROWS * COLUMNS];
    float floats[ROWS * COLUMNS], targets[ROWS * TARGETS];
    int32_t labels[ROWS];
    pt_dataset dataset;
} rows;

static rows *make_rows(pt_element element, bool labelled) {
    static rows r;
    for (size_t i = 0; i < ROWS * COLUMNS; i++) {
        r.bytes[i] = (uint8_t)(i * 37 % 256);
        r.floats[i] = (float)i * 0.25f;
    }
    for (size_t i = 0; i < ROWS; i++)
        r.labels[i] = (int32_t)(i % CLASSES);
    for (size_t i = 0; i < ROWS * TARGETS; i++)
        r.targets[i] = -(float)i;
    r.dataset = (pt_dataset){.element = element,
                             .columns = COLUMNS,
                             .dims = {COLUMNS},
                             .dim_count = 1,
                             .classes = labelled ? CLASSES : 0,
                             .target_columns = labelled ? 0 : TARGETS,
                             .scale = 1.0f / 255};
    r.dataset.train = (pt_split){.rows = ROWS,
                                 .features = element == PT_ELEMENT_U8 ? (const void *)r.bytes
                                                                      : (const void *)r.floats,
                                 .labels = labelled ? r.labels : NULL,
                                 .targets = labelled ? NULL : r.targets};
    return &r;
}

static pt_batch make_batch(const rows *r, size_t count, bool one_hot) {
    pt_batch batch;
    pt_error err = {0};
    REQUIRE_OK(pt_batch_init(&batch, &r->dataset, count, LD, one_hot, NULL, &err), err);
    return batch;
}

/* Row `i` of the batch is row `row` of the training split. */
static bool holds_row(const pt_batch *batch, size_t i, const rows *r, size_t row) {
    bool same = true;
    for (size_t c = 0; c < COLUMNS; c++) {
        float want = r->dataset.element == PT_ELEMENT_U8
                         ? (float)r->bytes[row * COLUMNS + c] * (1.0f / 255)
                         : r->floats[row * COLUMNS + c];
        same = same && batch->x[i * LD + c] == want;
    }
    for (size_t c = COLUMNS; c < LD; c++) /* padding */
        same = same && batch->x[i * LD + c] == 0;
    if (batch->label)
        same = same && batch->label[i] == r->labels[row];
    for (size_t c = 0; batch->target && c < batch->target_cols; c++) {
        float want = r->dataset.target_columns ? r->targets[row * TARGETS + c]
                                               : (float)(r->labels[row] == (int32_t)c);
        same = same && batch->target[i * batch->target_cols + c] == want;
    }
    return same;
}

TEST(batch, holds_the_rows_that_the_sampler_draws) {
    const pt_sampling samplings[] = {PT_SAMPLING_RANDOM, PT_SAMPLING_SHUFFLE,
                                     PT_SAMPLING_SEQUENTIAL};
    for (int kind = 0; kind < 4; kind++) {
        const rows *r = make_rows(kind & 1 ? PT_ELEMENT_U8 : PT_ELEMENT_F32, kind & 2);
        for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
            const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
            for (size_t s = 0; kernels && s < 3; s++) {
                pt_sampler sampler = pt_sampler_make(samplings[s], 5, ROWS, 10);
                pt_batch batch = make_batch(r, 10, kind & 2);
                for (uint64_t step = 0; step < 7; step++) {
                    pt_batch_fill(&batch, &r->dataset, kernels, &sampler, step, 0, 10);
                    for (size_t i = 0; i < 10; i++)
                        CHECK(holds_row(&batch, i, r, pt_sampler_row(&sampler, step, i)));
                }
                pt_batch_destroy(&batch);
            }
        }
    }
}

TEST(batch, filling_a_range_touches_no_other_row) {
    const rows *r = make_rows(PT_ELEMENT_U8, true);
    const pt_kernels *kernels = pt_kernels_get(PT_ISA_AUTO);
    pt_sampler sampler = pt_sampler_make(PT_SAMPLING_RANDOM, 5, ROWS, 20);
    pt_batch whole = make_batch(r, 20, true), parts = make_batch(r, 20, true);
    pt_batch_fill(&whole, &r->dataset, kernels, &sampler, 3, 0, 20);
    /* Ranges of every length, last first; rows before are still empty. */
    const size_t cuts[] = {0, 0, 1, 3, 12, 20};
    for (size_t k = 5; k-- > 0;) {
        pt_batch_fill(&parts, &r->dataset, kernels, &sampler, 3, cuts[k], cuts[k + 1]);
        for (size_t i = 0; i < cuts[k] * LD; i++)
            CHECK(parts.x[i] == 0);
        for (size_t i = 0; i < cuts[k] * CLASSES; i++)
            CHECK(parts.target[i] == 0);
    }
    CHECK(pt_same_bytes(whole.x, parts.x, 20 * LD * sizeof(float)));
    CHECK(pt_same_bytes(whole.label, parts.label, 20 * sizeof(int32_t)));
    CHECK(pt_same_bytes(whole.target, parts.target, 20 * CLASSES * sizeof(float)));
    pt_batch_destroy(&whole);
    pt_batch_destroy(&parts);
}

TEST(batch, a_row_used_again_forgets_its_old_label) {
    const rows *r = make_rows(PT_ELEMENT_F32, true);
    const pt_kernels *kernels = pt_kernels_get(PT_ISA_SCALAR);
    pt_batch batch = make_batch(r, 4, true);
    for (size_t first = 0; first + 4 <= ROWS; first++) {
        pt_batch_fill_from(&batch, &r->dataset, &r->dataset.train, kernels, first, 4);
        for (size_t i = 0; i < 4; i++)
            CHECK(holds_row(&batch, i, r, first + i));
    }
    pt_batch_destroy(&batch);
}

TEST(batch, of_no_columns_has_no_numbers) {
    pt_dataset none = {.element = PT_ELEMENT_F32, .train = {.rows = 1}};
    pt_batch batch;
    pt_error err = {0};
    REQUIRE_OK(pt_batch_init(&batch, &none, 3, 0, false, NULL, &err), err);
    CHECK(batch.x && !batch.label && !batch.target);
    pt_sampler sampler = pt_sampler_make(PT_SAMPLING_RANDOM, 1, 1, 3);
    pt_batch_fill(&batch, &none, pt_kernels_get(PT_ISA_SCALAR), &sampler, 0, 0, 3);
    pt_batch_destroy(&batch);
    CHECK(batch.x == NULL);
}

/* ---- the loader ---- */

static pt_loader *start(const rows *r, const pt_sampler *sampler, uint64_t first) {
    pt_loader *loader;
    pt_error err = {0};
    REQUIRE_OK(pt_loader_start(&loader, &r->dataset, pt_kernels_get(PT_ISA_AUTO), sampler, first,
                               LD, true, NULL, &err),
               err);
    return loader;
}

TEST(loader, gives_the_batches_of_direct_filling) {
    const rows *r = make_rows(PT_ELEMENT_U8, true);
    pt_sampler sampler = pt_sampler_make(PT_SAMPLING_SHUFFLE, 8, ROWS, 6);
    pt_batch direct = make_batch(r, 6, true);
    for (uint64_t first = 0; first < 3; first++) { /* from any iteration */
        pt_loader *loader = start(r, &sampler, first * 7);
        for (uint64_t step = first * 7; step < first * 7 + 50; step++) {
            const pt_batch *batch = pt_loader_wait(loader, step);
            CHECK(pt_loader_wait(loader, step) == batch); /* every worker asks */
            pt_batch_fill(&direct, &r->dataset, pt_kernels_get(PT_ISA_AUTO), &sampler, step, 0, 6);
            CHECK(pt_same_bytes(batch->x, direct.x, 6 * LD * sizeof(float)));
            CHECK(pt_same_bytes(batch->label, direct.label, 6 * sizeof(int32_t)));
            CHECK(pt_same_bytes(batch->target, direct.target, 6 * CLASSES * sizeof(float)));
            if (step % 8 == 0) /* let it run ahead: it must not overwrite what is in use */
                nanosleep(&(struct timespec){.tv_nsec = 300000}, NULL);
            CHECK(pt_same_bytes(batch->x, direct.x, 6 * LD * sizeof(float)));
            pt_loader_release(loader, step);
        }
        pt_loader_stop(loader);
    }
    pt_batch_destroy(&direct);
}

TEST(loader, stops_at_any_time) {
    const rows *r = make_rows(PT_ELEMENT_F32, true);
    pt_sampler sampler = pt_sampler_make(PT_SAMPLING_RANDOM, 8, ROWS, 6);
    for (int round = 0; round < 60; round++) {
        pt_loader *loader = start(r, &sampler, 0);
        const uint64_t steps = (uint64_t)(round % 5);
        for (uint64_t step = 0; step < steps; step++) {
            CHECK(pt_loader_wait(loader, step) != NULL);
            if (step + 1 < steps || round % 2) /* sometimes in the middle of a batch */
                pt_loader_release(loader, step);
        }
        if (round % 3 == 0)
            sched_yield();
        pt_loader_stop(loader);
        CHECK(true);
    }
    pt_loader_stop(NULL);
}
