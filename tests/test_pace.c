/* test_pace.c: parts of the work that follow the speed of the cores: they cover everything once, move
 * the right way, and never change a bit. */
#include "4_train/region.h"
#include "toys.h"

#include <math.h>
#include <string.h>

#define NET                                                                                        \
    "[layer.fc]\ntype = affine\nunits = 300\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"       \
    "[layer.more]\ntype = affine\nunits = 37\ninit = he\n[layer.again]\ntype = tanh\n"

static pt_toy toy_of(size_t threads, pt_schedule schedule) {
    pt_config *config = pt_toy_config(pt_toy_images_text(NET).s, NULL);
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

TEST(pace, never_changes_a_bit) {
    static const double paces[][5] = {{1, 1, 1, 1, 1},
                                      {0.25, 4, 1, 0.5, 2},
                                      {4, 0.25, 0.25, 0.25, 0.25},
                                      {0.3, 0.31, 3.7, 0.29, 0.4}};
    static const size_t threads[] = {1, 2, 3, 5};
    enum { PACES = sizeof paces / sizeof *paces, ITERATIONS = 20 };
    pt_toy first = toy_of(1, PT_SCHEDULE_SLICES);
    pt_error err = {0};
    REQUIRE_OK(pt_trainer_run(first.trainer, ITERATIONS, &err), err);
    CHECK(first.trainer->sparse); /* or no relay runs */
    const size_t size = first.trainer->graph->block_size * sizeof(float);
    size_t compared = 0;
    for (size_t p = 0; p < PACES; p++)
        for (size_t n = 0; n < 4; n++)
            for (int schedule = PT_SCHEDULE_PER_THREAD; schedule <= PT_SCHEDULE_RELAY; schedule++) {
                pt_toy toy = toy_of(threads[n], (pt_schedule)schedule);
                for (size_t w = 0; w < threads[n]; w++)
                    toy.trainer->workers[w].pace = paces[p][w];
                REQUIRE_OK(pt_trainer_run(toy.trainer, ITERATIONS, &err), err);
                CHECK_MSG(memcmp(toy.trainer->params, first.trainer->params, size) == 0 &&
                              memcmp(toy.trainer->losses, first.trainer->losses,
                                     ITERATIONS * sizeof(double)) == 0,
                          "paces %zu, %zu threads, %s", p, threads[n],
                          pt_schedule_name((pt_schedule)schedule));
                compared++;
                pt_toy_free(&toy);
            }
    CHECK_INT(compared, PACES * 4 * 4);
    pt_toy_free(&first);
}

/* Worker 0 was half as fast and so was waited for. */
TEST(pace, the_slow_get_less) {
    pt_toy toy = toy_of(3, PT_SCHEDULE_SLICES);
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
        pt_pace_note(t, 3, 100);
    }
    const double share = pt_pace_before(t, 1, 3);
    CHECK_MSG(fabs(share - 0.2) < 0.01, "%g of the work", share);
    CHECK_MSG(fabs(pt_pace_before(t, 2, 3) - 0.6) < 0.01, "%g", pt_pace_before(t, 2, 3));
    CHECK(pt_pace_before(t, 3, 3) == 1 && pt_pace_before(t, 0, 3) == 0);
    pt_toy_free(&toy);
}

TEST(pace, chance_moves_nothing) {
    static const double ticks[] = {1, 1}, waited[] = {0.5, 0}, all[] = {1, 0}, none[] = {0, 0};
    pt_toy toy = toy_of(2, PT_SCHEDULE_SLICES);
    pt_trainer *t = toy.trainer;
    set_clocks(t, 2, ticks, waited);
    pt_pace_note(t, 2, 3); /* few steps */
    CHECK(pt_pace_before(t, 1, 2) == 0.5);
    set_clocks(t, 2, ticks, all); /* nothing but waited */
    pt_pace_note(t, 2, 100);
    CHECK(pt_pace_before(t, 1, 2) == 0.5);
    set_clocks(t, 2, none, none); /* a thread that did not come */
    pt_pace_note(t, 2, 100);
    CHECK(pt_pace_before(t, 1, 2) == 0.5);
    t->workers[0].ticks = t->workers[1].ticks = 1 << 20; /* short */
    t->workers[0].waited = 1 << 19;
    pt_pace_note(t, 2, 100);
    CHECK(pt_pace_before(t, 1, 2) == 0.5);
    set_clocks(t, 2, ticks, waited);
    pt_pace_note(t, 2, 100);
    CHECK(pt_pace_before(t, 1, 2) > 0.5);
    pt_toy_free(&toy);
}

/* However often one is waited for, it keeps some work, and who gets most no more than its bound. */
TEST(pace, is_bounded) {
    static const double ticks[] = {1, 1, 1}, waited[] = {0.9, 0, 0.9};
    pt_toy toy = toy_of(3, PT_SCHEDULE_SLICES);
    for (int region = 0; region < 50; region++) {
        set_clocks(toy.trainer, 3, ticks, waited);
        pt_pace_note(toy.trainer, 3, 100);
    }
    for (size_t w = 0; w < 3; w++)
        CHECK_MSG(0.25 <= toy.trainer->workers[w].pace && toy.trainer->workers[w].pace <= 4, "%g",
                  toy.trainer->workers[w].pace);
    CHECK(toy.trainer->workers[1].pace < 0.3);
    pt_toy_free(&toy);
}

TEST(pace, shares_cover_everything_once) {
    pt_toy toy = toy_of(7, PT_SCHEDULE_SLICES);
    pt_trainer *t = toy.trainer;
    long wrong = 0, uneven = 0;
    for (size_t round = 0; round < 40; round++) {
        for (size_t w = 0; w < 7; w++)
            t->workers[w].pace = 0.25 + (double)((w * 7 + round * 13) % 16) / 4;
        for (size_t workers = 1; workers <= 7; workers++)
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
    CHECK_INT(wrong, 0);
    CHECK(uneven > 0);
    pt_toy_free(&toy);
}
