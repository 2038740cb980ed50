/* thread.c: threads that receive no signals. */
#include "0_base/thread.h"

#include <signal.h>

int pt_thread_start(pthread_t *thread, void *(*run)(void *context), void *context) {
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* inherited by the new one */
    const int failed = pthread_create(thread, NULL, run, context);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return failed;
}
