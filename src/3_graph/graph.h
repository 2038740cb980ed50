/* graph.h: the computational graph: nodes in topological order, parameters in one block, one loss.
 *
 * Built once from a config and the shape of the data; constant afterwards, so any number of threads
 * may read it. Node 0 is the data. The walks (forward, backward) work on a block of rows of a tape.
 */
#ifndef PT_GRAPH_GRAPH_H
#define PT_GRAPH_GRAPH_H

#include "2_data/dataset.h"
#include "3_graph/layer.h"
#include "3_graph/loss.h"
#include "ptrain/error.h"

#include <stdio.h>

typedef struct pt_graph {
    pt_node *nodes; /* topological order */
    size_t node_count;
    pt_param *params; /* in the order of their nodes; offsets ascend */
    size_t param_count;
    size_t block_size;  /* floats in the parameter block, padding included */
    size_t param_total; /* trainable numbers, padding not included */
    const pt_loss_ops *loss;
    size_t output_node; /* what the loss reads */
    size_t widest_ld;   /* the largest ld of any node */
} pt_graph;

/* Errors (PT_ERR_CONFIG) name file and line: unknown layer or loss type, a key that a type does not
 * take or lacks, a missing input, a cycle, shapes that do not fit, a layer that leads nowhere. The
 * config must outlive the graph. */
pt_status pt_graph_build(const pt_config *config, const pt_dataset *dataset, pt_graph **graph,
                         pt_error *err);
/* Tells the config which keys each layer's type takes, so that pt_config_write shows their
 * defaults. */
void pt_graph_note_keys(pt_config *config);
void pt_graph_free(pt_graph *graph); /* NULL allowed */

/* Fills a zeroed parameter block with the initial values: element (r, c) of the p-th parameter is
 * drawn at Philox address (seed, PT_STREAM_INIT, p, r * cols + c). Denormals count as zero. */
void pt_graph_initialize(const pt_graph *graph, uint64_t seed, float *block);

/* Whether the data may come as lists: everything that reads node 0 takes them. */
bool pt_graph_takes_sparse(const pt_graph *graph);

/* Operations per row: forward; and forward + backward + gradients. */
double pt_graph_flops_forward(const pt_graph *graph);
double pt_graph_flops_training(const pt_graph *graph);

/* Graphviz DOT with shapes, parameter counts and FLOPs per node; with a `tape` that holds one
 * forward and backward pass, also the value and the gradient of the first row, as in the figures of
 * the book. `tape` NULL: structure only. */
struct pt_tape;
void pt_graph_write_dot(const pt_graph *graph, const struct pt_tape *tape, FILE *stream);

#endif
