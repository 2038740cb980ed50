/* progress.h: a progress bar with ETA on a terminal, drawn by a thread of its own ten times a
 * second, so that training never waits for a terminal.
 */
#ifndef PT_CLI_PROGRESS_H
#define PT_CLI_PROGRESS_H

#include "ptrain/trainer.h"

#include <stdbool.h>

typedef struct pt_progress pt_progress;

/* Whether a bar is wanted: stderr is a terminal that can move its cursor. */
bool pt_progress_possible(void);
/* NULL when the thread cannot be started: a run goes on without a bar. */
pt_progress *pt_progress_start(const pt_trainer *trainer, uint64_t iterations);
/* Between these two nothing is drawn and the bar is wiped: print lines there. NULL allowed. */
void pt_progress_hide(pt_progress *progress);
void pt_progress_show(pt_progress *progress);
void pt_progress_stop(pt_progress *progress); /* wipes the bar and frees; NULL allowed */

#endif
