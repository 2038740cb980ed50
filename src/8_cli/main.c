/* main.c: the ptrain program: finds the command and exits with its status. */
#include "8_cli/options.h"
#include "ptrain/version.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define BIT(option) (1u << PT_OPTION_##option)
const pt_command pt_commands[] = {
    {"train", "CONFIG", "trains the network; `ptrain CONFIG` is short for it", pt_train_command,
     BIT(THREADS) | BIT(ISA) | BIT(SET) | BIT(OUT) | BIT(QUIET) | BIT(RESUME) | BIT(PRINT_CONFIG) |
         BIT(PROFILE)},
    {"gradcheck", "CONFIG", "compares backpropagation with numerical differentiation",
     pt_gradcheck_command, BIT(ISA) | BIT(SET)},
    {"verify", "CONFIG",
     "makes short runs on every setting that must not matter, compares the models",
     pt_verify_command, BIT(SET)},
    {"scale", "CONFIG", "trains on 1, 2, 4, ... threads by every schedule, and predicts for more",
     pt_scale_command,
     BIT(THREADS) | BIT(ISA) | BIT(SET) | BIT(OUT) | BIT(QUIET) | BIT(ROUNDS) | BIT(SECONDS)},
    {"graph", "CONFIG", "prints the computational graph as Graphviz DOT", pt_graph_command,
     BIT(SET) | BIT(VALUES)},
    {"reference", "", "prints the reference of every config key", pt_reference_command, 0},
    {0},
};

/* A standard descriptor that the caller has closed would go to the first file that is opened, and
 * the table of results into metrics.csv. What stands there instead fails every use, as a closed
 * one does. */
static void fill_closed_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) == -1)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int main(int argc, char **argv) {
    fill_closed_descriptors();
    pt_options options;
    pt_error err;
    int status = 0;
    if (pt_options_parse(argc, argv, &options, &err) != PT_OK)
        status = pt_report(&err);
    else if (pt_is_given(&options, PT_OPTION_HELP))
        pt_print_help();
    else if (pt_is_given(&options, PT_OPTION_VERSION))
        printf("ptrain %s\n", PTRAIN_VERSION);
    else
        status = options.command->run(&options);
    pt_options_destroy(&options);
    return pt_finish_stdout(status);
}
