/* graph_command.c: `ptrain graph CONFIG [--values]`: Graphviz DOT on stdout. */
#include "0_base/fail.h"
#include "0_base/memory.h"
#include "4_train/trainer.h"
#include "8_cli/options.h"

#include <stdio.h>

/* The graph with the values and gradients of the first mini-batch, as in the book's figures. */
static pt_status write_values(const pt_config *config, const pt_dataset *dataset, pt_error *err) {
    pt_trainer *trainer;
    pt_status status = pt_trainer_create(config, dataset, &trainer, err);
    if (status != PT_OK)
        return status;
    float *gradient = pt_calloc_aligned(trainer->graph->block_size, sizeof *gradient);
    status = pt_trainer_keep_apart(trainer, err);
    if (status == PT_OK && gradient) {
        pt_trainer_gradients(trainer, 0, gradient);
        pt_tape tape = trainer->tape;
        tape.data = trainer->batch.x;
        pt_graph_write_dot(trainer->graph, &tape, stdout);
    } else if (status == PT_OK) {
        status = pt_fail_memory(err, "a gradient", trainer->graph->block_size * sizeof *gradient);
    }
    pt_free(gradient);
    pt_trainer_free(trainer);
    return status;
}

int pt_graph_command(const pt_options *options) {
    pt_error err;
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    pt_graph *graph = NULL;
    pt_status status = pt_load_config(options, NULL, 0, &config, &err);
    if (status == PT_OK)
        status = pt_dataset_load(config, &dataset, &err);
    if (status == PT_OK && pt_is_given(options, PT_OPTION_VALUES)) {
        status = write_values(config, dataset, &err);
    } else if (status == PT_OK) {
        status = pt_graph_build(config, dataset, &graph, &err);
        if (status == PT_OK)
            pt_graph_write_dot(graph, NULL, stdout);
    }
    pt_graph_free(graph);
    pt_dataset_free(dataset);
    pt_config_free(config);
    return status == PT_OK ? 0 : pt_report(&err);
}

int pt_reference_command(const pt_options *options) {
    (void)options;
    pt_error err;
    return pt_config_write_reference(stdout, &err) == PT_OK ? 0 : pt_report(&err);
}
