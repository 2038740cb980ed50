/* toys.h: small networks and data for tests of training, and a shell for tests of the program. */
#ifndef PT_TESTS_TOYS_H
#define PT_TESTS_TOYS_H

#include "harness.h"
#include "ptrain/ptrain.h"

/* printf into a value. */
typedef struct pt_text {
    char s[6000];
} pt_text;
pt_text pt_textf(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum { PT_TOY_CLASSES = 4 };

/* A config of `text` (named "toy.ini") with overrides, NULL-terminated; ends the test on failure.
 */
pt_config *pt_toy_config(const char *text, ...) __attribute__((sentinel));

/* The text of a config on toy images (written to the test's folder by the first call: 200 rows to
 * train on, 50 to test on, 12 x 12, 4 classes): [data], the given layers, an affine layer `out`
 * with 4 units behind the last of them, softmax cross-entropy, 20 iterations of 32. */
pt_text pt_toy_images_text(const char *layers);

/* A config, its data, and a trainer in it. */
typedef struct pt_toy {
    pt_config *config;
    pt_dataset *dataset;
    pt_trainer *trainer;
} pt_toy;
/* Takes the config over; ends the test on failure. */
pt_toy pt_toy_make(pt_config *config);
void pt_toy_free(pt_toy *toy);

/* The first `size` bytes of two blocks; says where they differ first. */
bool pt_same_bytes(const void *a, const void *b, size_t size);

/* Runs a line of sh from the project's top folder, with the ptrain of this build in $PT. */
pt_run_result pt_run_shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Checks that a run of the program failed with `status`, printed nothing to stdout, and to stderr
 * one line that starts with "ptrain: " and holds `words`. */
void pt_check_one_line_error(const pt_run_result *run, int status, const char *words,
                             const char *file, int line);
#define CHECK_ONE_LINE_ERROR(run, status, words)                                                   \
    pt_check_one_line_error(&(run), (status), (words), __FILE__, __LINE__)

#endif
