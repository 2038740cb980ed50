/* test_tuner.c: `threads = auto` on simulated machines: an iteration takes the seconds that a function
 * of the candidate and the time says. What auto trains in a second or two is compared with the best
 * fixed candidate on the same machine.
 */
#include "harness.h"

#include "4_train/tuner.h"

#include <math.h>

/* A machine: when an iteration that a candidate begins at `now` ends. */
typedef double (*machine)(const pt_candidate *candidate, double now);

static pt_config automatic(void) {
    pt_config config = {0};
    config.parallel.threads = 0;
    config.parallel.schedule = PT_SCHEDULE_AUTO;
    return config;
}

/* Runs for `seconds` from `*now` on, as the trainer does; returns the iterations. */
static uint64_t run_auto(pt_tuner *tuner, machine ends, double *now, double seconds) {
    const double until = *now + seconds;
    uint64_t total = 0;
    while (*now < until) {
        const uint64_t next = pt_tuner_next(tuner, 1u << 30);
        const double limit = pt_tuner_limit(tuner), start = *now;
        uint64_t done = 0;
        while (done < next && *now < until && (limit == 0 || *now - start < limit)) {
            *now = ends(&tuner->candidate[tuner->current], *now);
            done++;
        }
        pt_tuner_note(tuner, done, *now - start);
        total += done;
    }
    return total;
}

static uint64_t run_fixed(const pt_candidate *candidate, machine ends, double seconds) {
    uint64_t total = 0;
    for (double now = 0; now < seconds; total++)
        now = ends(candidate, now);
    return total;
}

/* What auto reaches of the best fixed candidate in so many seconds. */
static double reached(machine ends, size_t most, double seconds) {
    const pt_config config = automatic();
    pt_tuner tuner;
    pt_tuner_init(&tuner, &config, most, 1u << PT_SCHEDULE_RELAY);
    uint64_t best = 0;
    for (size_t i = 0; i < tuner.count; i++) {
        const uint64_t fixed = run_fixed(&tuner.candidate[i], ends, seconds);
        if (fixed > best)
            best = fixed;
    }
    double now = 0;
    return (double)run_auto(&tuner, ends, &now, seconds) / (double)best;
}

/* 40 us an iteration on one thread; `efficiency` of every further one. */
static double iteration(const pt_candidate *c, double efficiency) {
    return 40e-6 / (1 + efficiency * (double)(c->threads - 1));
}

static double scales(const pt_candidate *c, double now) {
    return now + iteration(c, c->schedule == PT_SCHEDULE_RELAY ? 0.9 : 0.6);
}

static double hinders(const pt_candidate *c, double now) {
    return now + iteration(c, -0.4 / (double)c->threads);
}

TEST(tuner, free_machine) {
    CHECK(reached(scales, 2, 1) > 0.95);
    CHECK(reached(scales, 16, 2) > 0.95);
    CHECK(reached(hinders, 2, 1) > 0.95);
}

/* A wide network: 12 ms an iteration, of which a trial must not waste many. */
static double wide(const pt_candidate *c, double now) {
    return now + 300 * iteration(c, c->schedule == PT_SCHEDULE_RELAY ? 0.8 : 0.7);
}

TEST(tuner, long_iterations) {
    CHECK(reached(wide, 2, 5) > 0.97);
    CHECK(reached(wide, 16, 30) > 0.97);
}

TEST(tuner, settles_on_the_fastest) {
    const pt_config config = automatic();
    pt_tuner tuner;
    double now = 0;
    pt_tuner_init(&tuner, &config, 8, 1u << PT_SCHEDULE_RELAY);
    run_auto(&tuner, scales, &now, 0.2);
    CHECK_INT(tuner.round, PT_TRIAL_ROUNDS);
    CHECK_INT((int)tuner.candidate[tuner.settled].threads, 8);
    CHECK_INT((int)tuner.candidate[tuner.settled].schedule, PT_SCHEDULE_RELAY);
    pt_tuner_init(&tuner, &config, 8, 0);
    now = 0;
    run_auto(&tuner, hinders, &now, 0.2);
    CHECK_INT((int)tuner.candidate[tuner.settled].threads, 1);
}

/* Threads beyond the first work only in every other slice of 3 ms, when a neighbour lets them; the
 * others wait for them. */
static double beside_neighbour(const pt_candidate *c, double now) {
    enum { SLICES_PER_SECOND = 333 };
    const double slice = floor(now * SLICES_PER_SECOND);
    if (c->threads > 1 && fmod(slice, 2) == 1)
        now = (slice + 1) / SLICES_PER_SECOND;
    return now + iteration(c, 0.8);
}

/* The same, and more: being woken again and again, two threads are ten times slower than one. */
static double beside_neighbour_tiny(const pt_candidate *c, double now) {
    return now + (c->threads > 1 ? 12e-6 : 1.2e-6);
}

TEST(tuner, busy_neighbour) {
    CHECK(reached(beside_neighbour, 2, 1) > 0.95);
    CHECK(reached(beside_neighbour, 4, 1) > 0.93);
    CHECK(reached(beside_neighbour_tiny, 2, 0.4) > 0.95);
}

/* One processor's worth of time in each 0.1 s: two threads use it up in half of that. */
static double used, period;
static double with_quota(const pt_candidate *c, double now) {
    if (floor(now * 10) > period) {
        period = floor(now * 10);
        used = 0;
    }
    if (used >= 0.1 - 1e-9) {
        now = (period + 1) / 10;
        period += 1;
        used = 0;
    }
    const double seconds = iteration(c, 0.8);
    used += seconds * (double)c->threads;
    return now + seconds;
}

static double quota_of_one(const pt_candidate *c, double now) {
    if (now == 0)
        used = period = 0;
    return with_quota(c, now);
}

TEST(tuner, quota) {
    CHECK(reached(quota_of_one, 2, 2) > 0.93);
}

/* A neighbour comes after a second and goes after two more; what threads could not keep to is forgotten
 * in steps. */
static double neighbour_comes_and_goes(const pt_candidate *c, double now) {
    return now < 1 || now > 3 ? scales(c, now) : beside_neighbour_tiny(c, now) + 38.8e-6;
}

TEST(tuner, follows_changes) {
    const pt_config config = automatic();
    pt_tuner tuner;
    double now = 0;
    pt_tuner_init(&tuner, &config, 2, 1u << PT_SCHEDULE_RELAY);
    run_auto(&tuner, neighbour_comes_and_goes, &now, 0.9);
    CHECK_INT((int)tuner.candidate[tuner.settled].threads, 2);
    run_auto(&tuner, neighbour_comes_and_goes, &now, 0.6);
    CHECK_INT((int)tuner.candidate[tuner.settled].threads, 1);
    run_auto(&tuner, neighbour_comes_and_goes, &now, 15);
    CHECK_INT((int)tuner.candidate[tuner.settled].threads, 2);
}

/* Another 0.8 ms, once, in the first window of two threads. */
static int hiccups;
static double one_hiccup(const pt_candidate *c, double now) {
    if (c->threads == 2 && c->schedule == PT_SCHEDULE_RELAY && hiccups > 0) {
        hiccups--;
        now += 0.8e-3;
    }
    return scales(c, now);
}

TEST(tuner, one_hiccup_decides_nothing) {
    const pt_config config = automatic();
    pt_tuner tuner;
    double now = 0;
    hiccups = 1;
    pt_tuner_init(&tuner, &config, 2, 1u << PT_SCHEDULE_RELAY);
    run_auto(&tuner, one_hiccup, &now, 0.2);
    CHECK_INT((int)tuner.candidate[tuner.settled].threads, 2);
    CHECK_INT((int)tuner.candidate[tuner.settled].schedule, PT_SCHEDULE_RELAY);
}

/* A fixed number of threads and schedule leave nothing to choose, but windows in which the workers'
 * paces are measured; one thread has not even that. */
TEST(tuner, nothing_to_choose) {
    pt_config config = automatic();
    config.parallel.threads = 3;
    config.parallel.schedule = PT_SCHEDULE_SLICES;
    pt_tuner tuner;
    pt_tuner_init(&tuner, &config, 3, 0);
    CHECK_INT((int)tuner.count, 1);
    CHECK_INT((int)tuner.candidate[0].threads, 3);
    const uint64_t first = pt_tuner_next(&tuner, 100000);
    CHECK(0 < first && first < 100);
    pt_tuner_note(&tuner, first, 1e-3 * (double)first);
    const uint64_t next = pt_tuner_next(&tuner, 100000);
    CHECK_MSG(50 < next && next < 1000, "%llu iterations of 1 ms", (unsigned long long)next);
    CHECK(pt_tuner_next(&tuner, 3) == 3);
    CHECK(pt_tuner_limit(&tuner) == 0);
    config.parallel.threads = 1;
    pt_tuner_init(&tuner, &config, 1, 0);
    CHECK(pt_tuner_next(&tuner, 100000) == 100000);
}
