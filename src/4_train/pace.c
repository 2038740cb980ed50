/* pace.c: how much of the work each worker gets.
 *
 * Cores are rarely equally fast: a neighbour on a core's other half, another process, a lower clock.
 * With equal parts all wait for the slowest at every barrier. So the time that each worker of a region
 * did not wait is measured, and its part of the next region's work is made as much larger or smaller as
 * it was faster or slower than the others. As with threads and schedules, who does what never changes a
 * bit.
 */
#include "4_train/trainer.h"

#include <math.h>

#define LEAST_TICKS 20e6 /* 5 to 10 milliseconds: a shorter region is a matter of chance */
#define GAIN        0.5 /* of what would make up for the last region: it may have been hit by chance */
#define LEAST       0.25 /* times the mean: less, or more, is no difference of cores */
#define MOST        4.0

void pt_pace_note(pt_trainer *t, size_t workers) {
    if (workers != t->paced) { /* what is known of other teams says nothing of this one */
        for (size_t w = 0; w < t->threads; w++)
            t->workers[w].pace = 1;
        t->paced = workers;
    }
    double busy = 0, sum = 0;
    for (size_t w = 0; w < workers; w++) {
        const pt_worker *self = &t->workers[w];
        if ((double)self->ticks < LEAST_TICKS || self->waited >= self->ticks)
            return;
        busy += (double)(self->ticks - self->waited) / (double)workers;
    }
    for (size_t w = 0; w < workers; w++) {
        pt_worker *self = &t->workers[w];
        self->pace *= pow(busy / (double)(self->ticks - self->waited), GAIN);
        sum += self->pace;
    }
    for (size_t w = 0; w < workers; w++) {
        const double pace = t->workers[w].pace / sum * (double)workers;
        t->workers[w].pace = pace < LEAST ? LEAST : pace > MOST ? MOST : pace;
    }
}

double pt_pace_before(const pt_trainer *t, size_t worker, size_t workers) {
    if (workers != t->paced)
        return (double)worker / (double)workers;
    double before = 0, all = 0;
    for (size_t w = 0; w < workers; w++) {
        before += w < worker ? t->workers[w].pace : 0;
        all += t->workers[w].pace;
    }
    return worker == workers ? 1 : before / all;
}
