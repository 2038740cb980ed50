/* test_pace.c: parts of the work that follow the speed of the cores: they cover everything once, move
 * the right way, and never change a bit. */
#include "4_train/region.h"
#include "toys.h"

#include <math.h>
#include <string.h>

#define NET                                                                                        \
    "[layer.fc]\ntype = affine\nunits = 700\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"       \
    "[layer.more]\ntype = affine\nunits = 37\ninit = he\n[layer.again]\ntype = tanh\n"

static pt_toy toy_of(size_t threads, pt_schedule schedule, size_t batch) {
    pt_config *config = pt_toy_config(pt_toy_images_text(NET).s, NULL);
    config->train.batch_size = batch;
    config->parallel.threads = threads;
    config->parallel.schedule = schedule;
    return pt_toy_make(config);
}

/* Every worker's clock of a region: total ticks, and those of them that it waited. */
static void set_clocks(pt_trainer *t, size_t workers, const double *ticks, const double *waited) {
    for (size_t w = 0; w < workers; w++) {
        t->workers[w].ticks = (uint64_t)(ticks[w] * (1 << 30));
        t->workers[w].waited = (uint64_t)(waited[w] * (1 << 30));
    }
}

static void leave_end_without_work(pt_trainer *t) {
    const size_t units = (t->graph->nodes[0].cols + PT_ROW_ALIGN - 1) / PT_ROW_ALIGN;
    for (size_t unit = units / 2; unit < units; unit++)
        t->input_work[unit] = t->input_work[units];
}

/* In batches of 32, and of 5, of which some workers get nothing. */
TEST(pace, never_changes_a_bit) {
    static const double paces[][5] = {
        {0.25, 4, 1, 0.5, 2}, {4, 0.25, 0.25, 0.25, 0.25}, {0.3, 0.31, 3.7, 0.29, 0.4}};
    static const size_t threads[] = {2, 3, 5}, batches[] = {32, 5};
    enum { PACES = sizeof paces / sizeof *paces, ITERATIONS = 6 };
    const size_t pace_count = pt_test_quick() ? 1 : PACES;
    pt_error err = {0};
    size_t compared = 0;
    for (size_t b = 0; b < 2; b++) {
        pt_toy first = toy_of(1, PT_SCHEDULE_SLICES, batches[b]);
        CHECK(first.trainer->sparse); /* or no relay runs */
        REQUIRE_OK(pt_trainer_run(first.trainer, ITERATIONS, &err), err);
        const size_t size = first.trainer->graph->block_size * sizeof(float);
        for (size_t p = 0; p < pace_count; p++)
            for (size_t n = 0; n < 3; n++)
                for (int s = PT_SCHEDULE_PER_THREAD; s <= PT_SCHEDULE_RELAY; s++) {
                    pt_toy toy = toy_of(threads[n], (pt_schedule)s, batches[b]);
                    for (size_t w = 0; w < threads[n]; w++)
                        toy.trainer->workers[w].pace = paces[p][w];
                    toy.trainer->paced = threads[n];
                    if (p == 0) /* the rows that were counted had nothing in the last inputs */
                        leave_end_without_work(toy.trainer);
                    REQUIRE_OK(pt_trainer_run(toy.trainer, ITERATIONS, &err), err);
                    CHECK_MSG(memcmp(toy.trainer->params, first.trainer->params, size) == 0 &&
                                  memcmp(toy.trainer->losses, first.trainer->losses,
                                         ITERATIONS * sizeof(double)) == 0,
                              "paces %zu, %zu threads, %s, batches of %zu", p, threads[n],
                              pt_schedule_name((pt_schedule)s), batches[b]);
                    compared++;
                    pt_toy_free(&toy);
                }
        pt_toy_free(&first);
    }
    CHECK_INT(compared, pace_count * 3 * 4 * 2);
}

/* Worker 0 was half as fast and so was waited for. */
TEST(pace, the_slow_get_less) {
    pt_toy toy = toy_of(3, PT_SCHEDULE_SLICES, 32);
    pt_trainer *t = toy.trainer;
    for (int region = 0; region < 20; region++) {
        double busy[3], longest = 0, waited[3], ticks[3];
        for (size_t w = 0; w < 3; w++) {
            const double share = pt_pace_before(t, w + 1, 3) - pt_pace_before(t, w, 3);
            busy[w] = share * (w == 0 ? 2 : 1);
            longest = fmax(longest, busy[w]);
        }
        for (size_t w = 0; w < 3; w++) {
            ticks[w] = longest;
            waited[w] = longest - busy[w];
        }
        set_clocks(t, 3, ticks, waited);
        pt_pace_note(t, 3);
    }
    const double share = pt_pace_before(t, 1, 3);
    CHECK_MSG(fabs(share - 0.2) < 0.01, "%g of the work", share);
    CHECK_MSG(fabs(pt_pace_before(t, 2, 3) - 0.6) < 0.01, "%g", pt_pace_before(t, 2, 3));
    CHECK(pt_pace_before(t, 3, 3) == 1 && pt_pace_before(t, 0, 3) == 0);
    pt_toy_free(&toy);
}

TEST(pace, chance_moves_nothing) {
    static const double ticks[] = {1, 1}, waited[] = {0.5, 0}, all[] = {1, 0}, none[] = {0, 0};
    pt_toy toy = toy_of(2, PT_SCHEDULE_SLICES, 32);
    pt_trainer *t = toy.trainer;
    set_clocks(t, 2, ticks, all); /* nothing but waited */
    pt_pace_note(t, 2);
    CHECK(pt_pace_before(t, 1, 2) == 0.5);
    set_clocks(t, 2, none, none); /* a thread that did not come */
    pt_pace_note(t, 2);
    CHECK(pt_pace_before(t, 1, 2) == 0.5);
    t->workers[0].ticks = t->workers[1].ticks = 1 << 20; /* short */
    t->workers[0].waited = 1 << 19;
    pt_pace_note(t, 2);
    CHECK(pt_pace_before(t, 1, 2) == 0.5);
    set_clocks(t, 2, ticks, waited);
    pt_pace_note(t, 2);
    CHECK(pt_pace_before(t, 1, 2) > 0.5);
    pt_toy_free(&toy);
}

/* However often one is waited for, it keeps some work, and who gets most no more than its bound. */
TEST(pace, is_bounded) {
    static const double ticks[] = {1, 1, 1, 1, 1, 1, 1}, waited[] = {0.9, 0, 0, 0, 0, 0, 0};
    pt_toy toy = toy_of(7, PT_SCHEDULE_SLICES, 32);
    for (int region = 0; region < 50; region++) {
        set_clocks(toy.trainer, 7, ticks, waited);
        pt_pace_note(toy.trainer, 7);
    }
    CHECK(toy.trainer->workers[0].pace == 4);
    for (size_t w = 1; w < 7; w++)
        CHECK(toy.trainer->workers[w].pace == 0.25);
    pt_toy_free(&toy);
}

/* What was learned of one team says nothing of another, and is forgotten when another goes on. */
TEST(pace, is_of_one_team) {
    static const double ticks[] = {1, 1, 1}, waited[] = {0.5, 0, 0}, none[] = {0, 0, 0};
    pt_toy toy = toy_of(3, PT_SCHEDULE_SLICES, 32);
    pt_trainer *t = toy.trainer;
    set_clocks(t, 3, ticks, waited);
    pt_pace_note(t, 3);
    CHECK(pt_pace_before(t, 1, 3) > 0.35 && pt_pace_before(t, 1, 2) == 0.5);
    set_clocks(t, 1, ticks, none);
    pt_pace_note(t, 1);
    CHECK(pt_pace_before(t, 1, 2) == 0.5 && pt_pace_before(t, 1, 3) == 1.0 / 3);
    pt_toy_free(&toy);
}

/* Training measures: after some windows of a settled team there are paces for it. */
TEST(pace, training_measures) {
    pt_toy toy = toy_of(2, PT_SCHEDULE_SLICES, 32);
    pt_error err = {0};
    for (uint64_t n = 50; n < 60000 && toy.trainer->workers[0].pace == 1; n *= 2)
        REQUIRE_OK(pt_trainer_run(toy.trainer, n, &err), err);
    CHECK(toy.trainer->paced == 2);
    CHECK(toy.trainer->workers[0].pace != 1 && toy.trainer->workers[0].ticks > 0);
    pt_toy_free(&toy);
}

TEST(pace, shares_cover_everything_once) {
    pt_toy toy = toy_of(7, PT_SCHEDULE_SLICES, 32);
    pt_trainer *t = toy.trainer;
    long wrong = 0, uneven = 0;
    for (size_t round = 0; round < 40; round++) {
        for (size_t w = 0; w < 7; w++)
            t->workers[w].pace = 0.25 + (double)((w * 7 + round * 13) % 16) / 4;
        for (size_t workers = 1; workers <= 7; workers++) {
            t->paced = workers;
            for (size_t n = 0; n < 300; n += 19)
                for (size_t granule = 1; granule <= 64; granule *= 4) {
                    size_t next = 0, begin, end;
                    for (size_t w = 0; w < workers; w++) {
                        const pt_seat seat = {.share_begin = pt_pace_before(t, w, workers),
                                              .share_end = pt_pace_before(t, w + 1, workers)};
                        pt_seat_share(&seat, n, granule, &begin, &end);
                        wrong += begin != next || end < begin || (begin % granule && begin != n);
                        uneven += granule == 1 && n > 100 && workers == 2 && w == 0 &&
                                  (end < n / 3 || end > 2 * n / 3);
                        next = end;
                    }
                    wrong += next != n;
                }
        }
    }
    CHECK_INT(wrong, 0);
    CHECK(uneven > 0);
    pt_toy_free(&toy);
}
