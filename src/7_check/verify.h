/* verify.h: does this machine keep the promise: one seed, one model?
 *
 * Trains the same short run on every instruction set that the machine has, 1 to 16 threads, every
 * schedule and with or without the loader, and resumed from checkpoints on other settings, and
 * compares the model files.
 */
#ifndef PT_CHECK_VERIFY_H
#define PT_CHECK_VERIFY_H

#include "1_config/config.h"
#include "ptrain/dataset.h"
#include "ptrain/trainer.h"

#include <stdbool.h>

typedef struct pt_verify_row {
    const char *isa, *schedule, *loader;
    size_t threads;      /* 0: auto */
    uint64_t resumed_at; /* 0: in one go; else stopped there and resumed with these settings */
    char sha256[PT_SHA256_TEXT_SIZE];
    bool same; /* as the first row */
} pt_verify_row;

typedef struct pt_verify_result {
    uint64_t iterations; /* of each run */
    size_t rows, different;
} pt_verify_result;

/* Runs the whole matrix; `report` is called once per row. Each run has as many iterations as take
 * the scalar kernels some tenths of a second, at most the config's. Temporary files go to $TMPDIR (or /tmp)
 * and are removed. PT_ERR_CHECK when any row differs. */
pt_status pt_verify(const pt_config *config, const pt_dataset *dataset,
                    void (*report)(void *context, const pt_verify_row *row), void *context,
                    pt_verify_result *result, pt_error *err);

#endif
