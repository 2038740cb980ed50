/* cases.h: what the torture test does to a training, one function per kind of harm.
 *
 * Each function does the i-th harm of its kind on a bench, and returns NULL when all is well in the
 * end, or else what went wrong, in static storage.
 */
#ifndef PT_TESTS_TORTURE_CASES_H
#define PT_TESTS_TORTURE_CASES_H

#include "lab.h"

#include <stdatomic.h>

/* What all workers count together, in one section of the test. */
enum { CALL_NAMES = 8 };
extern const char *const call_names[CALL_NAMES];
typedef struct tally {
    atomic_long next, passed, failed;
    atomic_long ended;              /* processes that a signal ended */
    atomic_long struck[CALL_NAMES]; /* faults by system call */
} tally;
extern tally *g_tally;

extern plan g_calls, g_moments;     /* a short training with Adam; a longer one with momentum */
extern char g_other_data[LAB_PATH]; /* the training data under another name */

/* How many cases there are where that does not depend on the time to be spent. */
long count_faults(void);
long count_bytes(void);
long count_changes(void);

const char *kill_at_moments(bench *b, long i);
const char *kill_at_calls(bench *b, long i);
const char *fail_at_calls(bench *b, long i);
const char *keep_order(bench *b, long i);
const char *interrupt(bench *b, long i);
const char *interrupt_twice(bench *b, long i);
const char *resume_from_damaged(bench *b, long i);
const char *flip_bits(bench *b, long i);
const char *resume_with_changes(bench *b, long i);

#endif
