/* progress.h: a progress bar with ETA on a terminal, drawn by a thread of its own ten times a
 * second, so that training never waits for a terminal.
 */
#ifndef PT_CLI_PROGRESS_H
#define PT_CLI_PROGRESS_H

#include "ptrain/trainer.h"

#include <stdbool.h>

typedef struct pt_progress_bar pt_progress_bar;

/* Whether a bar is wanted: stderr is a terminal that can move its cursor. */
bool pt_progress_bar_possible(void);
/* NULL when the thread cannot be started: a run goes on without a bar. */
pt_progress_bar *pt_progress_bar_start(const pt_trainer *trainer, uint64_t iterations);
/* Between these two nothing is drawn and the bar is wiped: print lines there. NULL allowed. */
void pt_progress_bar_hide(pt_progress_bar *progress);
void pt_progress_bar_show(pt_progress_bar *progress);
void pt_progress_bar_stop(pt_progress_bar *progress); /* wipes the bar and frees; NULL allowed */

#endif
