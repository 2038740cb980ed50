/* tuner.c: choosing the number of threads and the schedule while training. */
#include "4_train/tuner.h"

enum { FIRST_WINDOW = 4 };
#define WINDOW_SECONDS                                                                             \
    2e-3 /* of one trial window on one thread: far longer than waking a thread \
                              */
/* Seconds between trials, doubled when nothing has changed; and so many times as long as a trial
 * took, of which a part is lost. */
#define LEAST_PATIENCE  1.0
#define MOST_PATIENCE   8.0
#define PATIENCE_TRIALS 20.0
/* After which the one that goes on is rechecked: longer than a quota's period, 0.1 s; at first
 * sooner, several time slices of a neighbour. */
#define RECHECK_SECONDS       0.15
#define FIRST_RECHECK_SECONDS 0.03
#define WORTH_IT              0.97 /* more threads must be this much faster to be taken */
/* Times the seconds of the best: out of the trial; less where windows are long, so that one
 * interruption cannot make the difference. */
#define FAR_BEHIND      1.5
#define FAR_BEHIND_LONG 1.2
#define LONG_WINDOW     8e-3
#define FARTHEST        2.5 /* times: no need to go on with the window */

static void add(pt_tuner *tuner, size_t threads, pt_schedule schedule) {
    if (tuner->count < PT_MAX_CANDIDATES)
        tuner->candidate[tuner->count++] = (pt_candidate){.threads = threads, .schedule = schedule};
}

void pt_tuner_init(pt_tuner *tuner, const pt_config *config, size_t most, unsigned worth_trying) {
    const pt_schedule fixed = config->parallel.schedule;
    *tuner = (pt_tuner){0};
    for (size_t threads = config->parallel.threads ? most : 1;;) {
        if (fixed != PT_SCHEDULE_AUTO) {
            add(tuner, threads, fixed);
        } else {
            add(tuner, threads, PT_SCHEDULE_SLICES);
            for (int s = PT_SCHEDULE_PER_THREAD; s <= PT_SCHEDULE_RELAY; s++)
                if (threads > 1 && s != PT_SCHEDULE_SLICES && worth_trying >> s & 1)
                    add(tuner, threads, (pt_schedule)s);
        }
        if (threads == most)
            break;
        threads = threads * 2 < most ? threads * 2 : most;
    }
    if (tuner->count == 1)
        tuner->round = PT_TRIAL_ROUNDS;
}

/* The least seconds of any candidate in this trial; 0: none yet. */
static double best_of_trial(const pt_tuner *tuner) {
    double best = 0;
    for (size_t i = 0; i < tuner->count; i++) {
        const pt_candidate *c = &tuner->candidate[i];
        if (c->windows > 0 && (best == 0 || c->seconds < best))
            best = c->seconds;
    }
    return best;
}

static double recheck_seconds(const pt_tuner *tuner) {
    const bool first = tuner->count > 1 && tuner->since_trial < RECHECK_SECONDS;
    return first ? FIRST_RECHECK_SECONDS : RECHECK_SECONDS;
}

bool pt_tuner_settled(const pt_tuner *tuner) {
    return tuner->count == 1 || (tuner->window > 0 && tuner->round == PT_TRIAL_ROUNDS);
}

uint64_t pt_tuner_next(const pt_tuner *tuner, uint64_t left) {
    uint64_t next = left;
    const pt_candidate *first = &tuner->candidate[0];
    if (tuner->count == 1 && (first->threads == 1 || first->schedule == PT_SCHEDULE_PER_THREAD))
        return left; /* no choice, no paces */
    if (tuner->window == 0 && first->seconds == 0)
        next = FIRST_WINDOW;
    else if (tuner->round < PT_TRIAL_ROUNDS)
        next = tuner->warmed_up ? tuner->window : 1;
    else if (tuner->candidate[tuner->settled].seconds > 0)
        next = (uint64_t)(recheck_seconds(tuner) / tuner->candidate[tuner->settled].seconds) + 1;
    return next < left ? next : left;
}

double pt_tuner_limit(const pt_tuner *tuner) {
    if (tuner->count == 1 || tuner->window == 0 || tuner->round == PT_TRIAL_ROUNDS ||
        !tuner->warmed_up)
        return 0;
    return best_of_trial(tuner) * FARTHEST * (double)tuner->window;
}

/* What to expect of a candidate that goes on: what it showed in the trial, or less well what it
 * kept to. */
static double expected(const pt_candidate *candidate) {
    return candidate->sustained > candidate->seconds ? candidate->sustained : candidate->seconds;
}

/* The fastest goes on. */
static void settle(pt_tuner *tuner) {
    tuner->settled = 0;
    for (size_t i = 1; i < tuner->count; i++) {
        const pt_candidate *best = &tuner->candidate[tuner->settled], *c = &tuner->candidate[i];
        if (expected(c) < expected(best) * (c->threads > best->threads ? WORTH_IT : 1))
            tuner->settled = i;
    }
    tuner->current = tuner->settled;
    tuner->round = PT_TRIAL_ROUNDS;
    tuner->since_recheck = 0;
    tuner->rechecked = 0;
}

/* A single iteration is so long that waking the threads does not count. */
static bool skips_warming(const pt_tuner *tuner) {
    return tuner->window == 1;
}

/* The next candidate on trial; after the last round the best one stays. */
static void advance(pt_tuner *tuner) {
    tuner->warmed_up = skips_warming(tuner);
    do {
        if (++tuner->current == tuner->count) {
            tuner->current = 0;
            tuner->round++;
        }
    } while (tuner->candidate[tuner->current].eliminated && tuner->round < PT_TRIAL_ROUNDS);
    if (tuner->round == PT_TRIAL_ROUNDS) {
        const size_t before = tuner->settled;
        settle(tuner);
        tuner->since_trial = 0;
        tuner->patience *= 2;
        if (tuner->settled != before || tuner->patience < LEAST_PATIENCE)
            tuner->patience = LEAST_PATIENCE;
        if (tuner->patience > MOST_PATIENCE)
            tuner->patience = MOST_PATIENCE;
        if (tuner->patience < tuner->trial_seconds * PATIENCE_TRIALS)
            tuner->patience = tuner->trial_seconds * PATIENCE_TRIALS;
    }
}

static void start_trial(pt_tuner *tuner) {
    tuner->current = 0;
    tuner->round = 0;
    tuner->warmed_up = skips_warming(tuner);
    tuner->trial_seconds = 0;
    for (size_t i = 0; i < tuner->count; i++) {
        pt_candidate *c = &tuner->candidate[i];
        if (i != tuner->settled) /* what it could not keep long ago, it may now */
            c->sustained = (c->sustained + c->seconds) / 2;
        c->seconds = 0;
        c->windows = 0;
        c->eliminated = false;
    }
}

static double median(const double *x, int n) {
    if (n < 3)
        return n == 1 || x[0] < x[1] ? x[0] : x[1]; /* of two the better */
    const double low = x[0] < x[1] ? x[0] : x[1], high = x[0] < x[1] ? x[1] : x[0];
    return x[2] < low ? low : x[2] > high ? high : x[2];
}

/* One more window of the current candidate: `each` seconds an iteration. */
static void note_window(pt_tuner *tuner, double each) {
    _Static_assert(PT_TRIAL_ROUNDS == 3, "median is of three");
    pt_candidate *candidate = &tuner->candidate[tuner->current];
    candidate->window[candidate->windows++] = each;
    candidate->seconds = median(candidate->window, candidate->windows);
    const double best = best_of_trial(tuner);
    const bool is_long = best * (double)tuner->window >= LONG_WINDOW;
    for (size_t i = 0; i < tuner->count; i++) {
        pt_candidate *c = &tuner->candidate[i];
        c->eliminated =
            c->windows > 0 && c->seconds > best * (is_long ? FAR_BEHIND_LONG : FAR_BEHIND);
    }
    advance(tuner);
}

/* The one that goes on has trained so much more. */
static void recheck(pt_tuner *tuner, uint64_t iterations, double seconds) {
    pt_candidate *settled = &tuner->candidate[tuner->settled];
    tuner->since_trial += seconds;
    tuner->since_recheck += seconds;
    tuner->rechecked += iterations;
    if (tuner->since_recheck >= recheck_seconds(tuner)) {
        settled->sustained = tuner->since_recheck / (double)tuner->rechecked;
        /* What it could not keep, for want of processors, others of so many threads cannot either. */
        const double broken = settled->sustained / settled->seconds;
        for (size_t i = 0; i < tuner->count; i++) {
            pt_candidate *c = &tuner->candidate[i];
            if (c->threads >= settled->threads && c->threads > 1 &&
                c->sustained < c->seconds * broken)
                c->sustained = c->seconds * broken;
        }
        settle(tuner);
    }
    if (tuner->since_trial >= tuner->patience)
        start_trial(tuner);
}

void pt_tuner_note(pt_tuner *tuner, uint64_t iterations, double seconds) {
    if (iterations == 0)
        return;
    const double each = seconds / (double)iterations;
    if (tuner->count == 1) { /* nothing to choose, but the workers' paces want windows */
        tuner->candidate[0].seconds = each;
        return;
    }
    tuner->trial_seconds += seconds;
    if (tuner->window == 0) { /* the first iterations, on the first candidate, set the window */
        const double fit = each > 0 ? WINDOW_SECONDS / each : 1e6;
        tuner->window = fit < 1 ? 1 : (uint64_t)fit;
        start_trial(tuner);
    } else if (tuner->round < PT_TRIAL_ROUNDS && !tuner->warmed_up) {
        tuner->warmed_up = true;
    } else if (tuner->round < PT_TRIAL_ROUNDS) {
        const double limit = pt_tuner_limit(tuner);
        const bool slow = limit > 0 && seconds >= limit;
        if (iterations < tuner->window && iterations < 4 && !slow)
            return; /* cut short by the end of a run: says nothing */
        note_window(tuner, each);
    } else {
        recheck(tuner, iterations, seconds);
    }
}
