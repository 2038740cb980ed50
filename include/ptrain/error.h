/* error.h: status codes and error messages.
 *
 * Every fallible function of the library returns a pt_status and takes a `pt_error *` last. On
 * failure the error (if the caller passed one; NULL is allowed) holds the status and one line that
 * says what is wrong and what to do. On success it is left alone. The library never prints and never
 * exits the process; OpenMP's runtime does both if the operating system refuses it a thread.
 * Thread-safety: an error belongs to the caller that passed it.
 */
#ifndef PTRAIN_ERROR_H
#define PTRAIN_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pt_status {
    PT_OK = 0,
    PT_ERR_USAGE,       /* the caller's arguments make no sense */
    PT_ERR_CONFIG,      /* the config is wrong; the message starts with file:line */
    PT_ERR_DATA,        /* a data or model file is damaged or not what the config says */
    PT_ERR_IO,          /* the operating system refused a read or a write */
    PT_ERR_MEMORY,      /* an allocation failed */
    PT_ERR_DIVERGED,    /* the loss became NaN or infinite */
    PT_ERR_INTERRUPTED, /* a stop was requested; the work so far is saved */
    PT_ERR_CHECK,       /* a check (gradcheck, verify) found a difference */
} pt_status;

enum { PT_ERROR_MESSAGE_SIZE = 1024 };

typedef struct pt_error {
    pt_status status;
    char message[PT_ERROR_MESSAGE_SIZE]; /* NUL-terminated, no newline */
} pt_error;

#ifdef __cplusplus
}
#endif

#endif
