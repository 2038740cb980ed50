/* tuner.h: `threads = auto` and `schedule = auto`: measured while training.
 *
 * Since neither changes a bit of the result, training itself is the benchmark: short windows of
 * iterations run on each candidate in turn, the fastest goes on, and now and then it is asked
 * again, because a neighbour process may have come or gone. What counts is the median of a few
 * windows: one that a neighbour's time slice hit, or missed, decides nothing. A candidate that falls
 * far behind is cut short and left out of the rest of the trial, so that a trial costs little where
 * threads cannot run side by side. Windows are still blind to what happens less often than they last,
 * such as a quota that is used up. So the one that goes on is rechecked, and another may take over
 * where it turns out slower than that one was in the trial. Nothing is measured before or beside
 * training.
 */
#ifndef PT_TRAIN_TUNER_H
#define PT_TRAIN_TUNER_H

#include "1_config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PT_MAX_CANDIDATES = 48, PT_TRIAL_ROUNDS = 3 };

typedef struct pt_candidate {
    size_t threads;
    pt_schedule schedule; /* never AUTO */
    double seconds;   /* of an iteration: the median window of the last trial; the only candidate's:
                       of the last run */
    double sustained; /* of an iteration, when last it went on; 0: not yet */
    double window[PT_TRIAL_ROUNDS]; /* of this trial: seconds of an iteration in each window */
    int windows;
    bool eliminated; /* from this trial: too far behind */
} pt_candidate;

typedef struct pt_tuner {
    pt_candidate candidate[PT_MAX_CANDIDATES]; /* ascending threads */
    size_t count;
    size_t current;       /* runs now, or is on trial */
    size_t settled;       /* won the last trial */
    uint64_t window;      /* iterations of a trial window; 0: not calibrated yet */
    int round;            /* of a trial: 0 .. PT_TRIAL_ROUNDS - 1; PT_TRIAL_ROUNDS: settled */
    bool warmed_up;       /* the next window is timed; else it only wakes the threads */
    double trial_seconds; /* since the last trial began */
    double since_trial;   /* seconds trained since the last trial */
    double patience;      /* seconds until the next */
    double since_recheck; /* and since the one that goes on was last rechecked, .. */
    uint64_t rechecked;   /* .. in so many iterations */
} pt_tuner;

/* Candidates from what the config fixes: 1, 2, 4, ... up to `most` threads for auto, and for a
 * schedule of auto slices and, on several threads, whichever others have their bit (1 << schedule)
 * in `worth_trying`. */
void pt_tuner_init(pt_tuner *tuner, const pt_config *config, size_t most, unsigned worth_trying);

/* Whether no trial is running. */
bool pt_tuner_settled(const pt_tuner *tuner);

/* How many of the `left` iterations to run next, on tuner->candidate[tuner->current]. */
uint64_t pt_tuner_next(const pt_tuner *tuner, uint64_t left);
/* Seconds after which that many need not be run to the end: they are known to be slow; 0: no limit. */
double pt_tuner_limit(const pt_tuner *tuner);
/* Those, or the part of them that was run, took `seconds`. */
void pt_tuner_note(pt_tuner *tuner, uint64_t iterations, double seconds);

#endif
