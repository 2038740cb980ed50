/* lab.h: runs ptrain, kills it or makes its system calls fail, and looks at what it left behind.
 *
 * A `bench` is one worker's place: a folder for the run, files for what ptrain and the shim say.
 * Everything a healthy run makes is known beforehand from one that nobody touched, the reference,
 * which keeps all its checkpoints; so whatever a killed run leaves can be compared byte for byte.
 */
#ifndef PT_TESTS_TORTURE_LAB_H
#define PT_TESTS_TORTURE_LAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LAB_PATH = 512, LAB_TEXT = 8192 };

/* A training that is tortured. */
typedef struct plan {
    char config[LAB_PATH];    /* its INI file */
    char reference[LAB_PATH]; /* folder of the run that nobody touched */
    double seconds;           /* which that took */
    long calls;               /* system calls that change its folder */
    uint64_t last, every;     /* iterations, and those between checkpoints */
} plan;

typedef struct bench {
    const char *ptrain, *shim; /* paths; programs under test */
    char pool[LAB_PATH];       /* collects the different safetensors files that were seen */
    char folder[LAB_PATH];     /* of the run */
    char err[LAB_PATH], log[LAB_PATH];
    uint64_t random; /* state */
} bench;

/* What one start of ptrain came to. */
typedef struct outcome {
    int status;           /* exit status, or 128 + signal */
    bool killed;          /* by the alarm given to lab_run */
    double seconds;       /* that it ran */
    char err[LAB_TEXT];   /* what it said on stderr */
    char fault[LAB_PATH]; /* "CALL PATH" that the shim's fault struck; "" if none was */
} outcome;

typedef struct start {
    const plan *plan;
    bool resume;
    bool vary;          /* other threads, instruction set, schedule, loader: chosen at random */
    const char *fault;  /* PT_FAULT for the shim, or NULL */
    const char *set[4]; /* --set options, NULL-terminated if fewer */
    double alarm;       /* seconds until `signal` is sent; 0: never */
    int signal;
    double second_alarm; /* seconds from the first signal to further ones; 0: none */
} start;

uint64_t lab_random(bench *b, uint64_t below);
double lab_random_real(bench *b); /* in [0, 1) */

/* Runs ptrain. Ends the whole program with a message when it cannot be started or hangs. */
void lab_run(bench *b, const start *s, outcome *result);

/* Looks at the run's folder, which must hold nothing half-written: returns NULL or what is wrong,
 * in static storage. With `finished` it must equal the reference, and hold nothing else. */
const char *lab_inspect(const bench *b, const plan *p, bool finished);

/* Resumes, or starts anew, and lets the training finish: NULL, or what is then not as in the
 * reference. */
const char *lab_finish(bench *b, const plan *p, bool resume);
/* `what`, with the status, the fault and what ptrain said; in static storage. */
const char *lab_because(const char *what, const outcome *o);

/* Files. All end the program on errors that have nothing to do with ptrain. */
void lab_remove(const char *folder); /* with all that is in it; need not exist */
void lab_copy(const char *from, const char *to);
void lab_write(const char *path, const void *bytes, size_t size);
char *lab_read(const char *path, size_t *size); /* NULL when missing; freed by the caller */
_Noreturn void lab_die(const char *what, const char *why);

#endif
