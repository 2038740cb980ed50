/* progress.c: the bar on stderr. */
#include "8_cli/progress.h"

#include "0_base/clock.h"
#include "0_base/memory.h"
#include "0_base/thread.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct pt_progress_bar {
    const pt_trainer *trainer;
    uint64_t first, last;
    double start;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop, drawn;
};

bool pt_progress_bar_possible(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && !(term && strcmp(term, "dumb") == 0);
}

static void wipe(pt_progress_bar *p) {
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
    fflush(stderr);
}

static void draw(pt_progress_bar *p) {
    enum { WIDTH = 30 };
    static const char full[] = "##############################";
    static const char empty[] = "..............................";
    const double seconds = pt_now() - p->start;
    uint64_t done = pt_trainer_iteration(p->trainer);
    double share = p->last ? (double)done / (double)p->last : 1;
    double left =
        done > p->first ? seconds * (double)(p->last - done) / (double)(done - p->first) : 0;
    int filled = (int)(share * WIDTH);
    fprintf(stderr, "\r[%.*s%.*s] %3.0f%%  iteration %llu of %llu  ETA %ld:%02ld\033[K", filled,
            full, WIDTH - filled, empty, share * 100, (unsigned long long)done,
            (unsigned long long)p->last, (long)left / 60, (long)left % 60);
    fflush(stderr);
    p->drawn = true;
}

static void *run(void *context) {
    pt_progress_bar *p = context;
    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 100 * 1000 * 1000;
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
        pthread_cond_timedwait(&p->wake, &p->lock, &until);
        if (!p->stop)
            draw(p);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

pt_progress_bar *pt_progress_bar_start(const pt_trainer *trainer, uint64_t iterations) {
    pt_progress_bar *p = pt_calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->trainer = trainer;
    p->first = pt_trainer_iteration(trainer);
    p->last = iterations;
    p->start = pt_now();
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    if (pt_thread_start(&p->thread, run, p) == 0)
        return p;
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    pt_free(p);
    return NULL;
}

void pt_progress_bar_hide(pt_progress_bar *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    wipe(p);
}

void pt_progress_bar_show(pt_progress_bar *p) {
    if (p)
        pthread_mutex_unlock(&p->lock);
}

void pt_progress_bar_stop(pt_progress_bar *p) {
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    wipe(p);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->wake);
    pt_free(p);
}
