/* main.c: the ptrain program: finds the command and exits with its status. */
#include "8_cli/options.h"
#include "ptrain/version.h"

#include <stdio.h>

const pt_command pt_commands[] = {
    {"train", "CONFIG", "trains the network; `ptrain CONFIG` is short for it", pt_train_command},
    {"gradcheck", "CONFIG", "compares backpropagation with numerical differentiation",
     pt_gradcheck_command},
    {"verify", "CONFIG", "trains on every setting that must not matter and compares the models",
     pt_verify_command},
    {"graph", "CONFIG", "prints the computational graph as Graphviz DOT", pt_graph_command},
    {"reference", "", "prints the reference of every config key", pt_reference_command},
    {0},
};

int main(int argc, char **argv) {
    pt_options options;
    pt_error err;
    int status = 0;
    if (pt_options_parse(argc, argv, &options, &err) != PT_OK)
        status = pt_report(&err);
    else if (options.help)
        pt_print_help();
    else if (options.version)
        printf("ptrain %s\n", PTRAIN_VERSION);
    else
        status = options.command->run(&options);
    pt_options_destroy(&options);
    return pt_finish_stdout(status);
}
