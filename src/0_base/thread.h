/* thread.h: threads beside the one that trains: a loader, a saver, a progress bar. */
#ifndef PT_BASE_THREAD_H
#define PT_BASE_THREAD_H

#include <pthread.h>

/* Starts a thread that receives no signals, which are for those that train. 0, or an errno value. */
int pt_thread_start(pthread_t *thread, void *(*run)(void *context), void *context);

#endif
