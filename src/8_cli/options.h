/* options.h: what the command line asks for. */
#ifndef PT_CLI_OPTIONS_H
#define PT_CLI_OPTIONS_H

#include "ptrain/config.h"
#include "ptrain/error.h"

#include <stdbool.h>
#include <stddef.h>

enum { MAX_OVERRIDES = 128 };

/* Exit statuses: the contract with scripts. */
enum { EXIT_RUN_TIME = 1, EXIT_USAGE = 2, EXIT_SIGNAL_BASE = 128 };

/* The options, in the order of their table in options.c. */
typedef enum pt_option {
    PT_OPTION_THREADS,
    PT_OPTION_ISA,
    PT_OPTION_SET,
    PT_OPTION_OUT,
    PT_OPTION_QUIET,
    PT_OPTION_RESUME,
    PT_OPTION_PRINT_CONFIG,
    PT_OPTION_VALUES,
    PT_OPTION_PROFILE,
    PT_OPTION_ROUNDS,
    PT_OPTION_SECONDS,
    PT_OPTION_HELP,
    PT_OPTION_VERSION,
} pt_option;

typedef struct pt_options {
    const struct pt_command *command;
    const char *config_path;
    const char *override[MAX_OVERRIDES]; /* "section.key=value", in order of the command line */
    size_t override_count;
    char *owned[MAX_OVERRIDES]; /* those made up here, to be freed */
    size_t owned_count;
    unsigned given;      /* bit set of pt_option */
    const char *threads; /* --threads as given, or NULL: for scale a list, else also an override */
    const char *out;     /* --out, which is also an override of output.dir */
    size_t rounds;       /* scale --rounds; 0: not given */
    double seconds;      /* scale --seconds; 0: not given */
} pt_options;

/* A subcommand: one line in the table of main.c. Returns the process's exit status. */
typedef struct pt_command {
    const char *name, *arguments, *summary;
    int (*run)(const pt_options *options);
    unsigned options; /* that do something: bit set of pt_option */
} pt_command;

extern const pt_command pt_commands[]; /* ends with a NULL name; the first is the default */

static inline bool pt_is_given(const pt_options *options, pt_option option) {
    return options->given >> option & 1;
}

pt_status pt_options_parse(int argc, char **argv, pt_options *options, pt_error *err);
void pt_options_destroy(pt_options *options);
void pt_print_help(void);

/* Prints "ptrain: MESSAGE" to stderr and returns the exit status that belongs to the error. */
int pt_report(const pt_error *err);
/* The config with the overrides of the command line, and `extra` ones before them. */
pt_status pt_load_config(const pt_options *options, const char *const *extra, size_t extra_count,
                         pt_config **config, pt_error *err);
/* Flushes stdout; a full disk or a closed pipe there is a run-time failure too. */
int pt_finish_stdout(int status);

int pt_train_command(const pt_options *options);
int pt_gradcheck_command(const pt_options *options);
int pt_graph_command(const pt_options *options);
int pt_verify_command(const pt_options *options);
int pt_scale_command(const pt_options *options);
int pt_reference_command(const pt_options *options);

#endif
