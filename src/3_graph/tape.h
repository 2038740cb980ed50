/* tape.h: the buffers of one mini-batch on its way through the graph, and the two walks over them.
 *
 * Every node has value[rows x ld] and, for training, gradient[rows x ld] of the loss to that value. An
 * activation behind an affine layer may have both in the memory of its input, which it overwrites: half
 * of the memory is half of the traffic. A ReLU beside an affine layer has no walk of its own: the
 * product applies it to what it writes.
 * Rows are padded to whole cache lines, so workers that own different rows never share one. The
 * walks touch only the rows they are given: workers may walk disjoint rows of one tape at the same
 * time.
 */
#ifndef PT_GRAPH_TAPE_H
#define PT_GRAPH_TAPE_H

#include "3_graph/graph.h"
#include "3_graph/profile.h"

typedef struct pt_tape {
    size_t rows;                 /* capacity */
    const float *data;           /* node 0's values, rows x its ld, lent by a mini-batch */
    const pt_sparse_row *sparse; /* the same as lists of bytes instead; NULL: dense */
    const float *byte_value;     /* what a byte of those stands for */
    const pt_sparse_row *ahead;  /* the next mini-batch, to be prefetched; or NULL */
    float **value;               /* node_count pointers; value[0] stays NULL */
    float **other_value;         /* PT_TAPE_OVERLAPPING: those of the next step; or NULL */
    float **gradient;    /* node_count pointers, NULL where none is wanted; NULL: inference only */
    float *fan_out;      /* one more gradient, for nodes that feed several others; or NULL */
    float *block;        /* what backs them */
    pt_profile *profile; /* of the worker that walks; NULL: not measured */
    bool folds;          /* the walks leave out ReLUs that products apply; see pt_node */
} pt_tape;

typedef enum pt_tape_use {
    PT_TAPE_INFERENCE, /* no gradients */
    PT_TAPE_TRAINING,
    PT_TAPE_OVERLAPPING, /* training, with two buffers for values that are formed from the data */
    PT_TAPE_APART,       /* training: every node's own values and gradients are there at the end */
} pt_tape_use;

pt_status pt_tape_init(pt_tape *tape, const pt_graph *graph, size_t rows, pt_tape_use use,
                       pt_error *err);
void pt_tape_destroy(pt_tape *tape);

/* PT_TAPE_OVERLAPPING: takes the other buffers of values that are formed from the data, so that they can
 * be while gradients of the step before still read the last ones. Other tapes: nothing. */
void pt_tape_turn(pt_tape *tape);

/* Whether the forward, or the backward, of a node is done by a neighbour. */
bool pt_tape_skips_forward(const pt_tape *tape, const pt_node *node);
bool pt_tape_skips_backward(const pt_tape *tape, const pt_node *node);

/* Values of node `index`, from row 0. */
const float *pt_tape_value(const pt_tape *tape, size_t index);

/* Bytes of scratch a worker needs for walks over at most `rows` rows. */
size_t pt_graph_scratch(const pt_graph *graph, const pt_kernels *kernels, size_t rows);

/* A part of a node's work: rows, and columns of its values (forward) or of the gradients to its
 * inputs (backward). */
typedef struct pt_tile {
    size_t row_begin, row_end, col_begin, col_end;
} pt_tile;

/* One node's values, where the tile lies, from its inputs' values; nothing if a neighbour forms them. */
void pt_graph_forward_node(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                           const pt_tape *tape, size_t index, const pt_tile *tile, void *scratch);
/* The same of a node that reads the data as lists, adding only inputs [in_begin, in_end): see
 * sparse_nn. */
void pt_graph_forward_inputs(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                             const pt_tape *tape, size_t index, const pt_tile *tile,
                             size_t in_begin, size_t in_end, void *scratch);
/* The gradients to one node's inputs, where the tile lies, from its own gradient: likewise. */
void pt_graph_backward_node(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                            const pt_tape *tape, size_t index, const pt_tile *tile, void *scratch);
/* How many columns the gradients to a node's inputs have; 0: no input wants one. */
size_t pt_graph_backward_cols(const pt_graph *graph, size_t index);

/* Values of all nodes for rows [begin, end), from data. */
void pt_graph_forward(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                      const pt_tape *tape, size_t begin, size_t end, void *scratch);

/* Gradients of all nodes for rows [begin, end), from gradient[output_node], which the loss wrote.
 */
void pt_graph_backward(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                       const pt_tape *tape, size_t begin, size_t end, void *scratch);

/* The gradient of parameter `param` of the graph; needs the values and gradients of all rows of the
 * part's shards. */
void pt_graph_gradient(const pt_graph *graph, const pt_kernels *kernels, const pt_tape *tape,
                       size_t param, const pt_gradient_part *part, void *scratch);

/* The float64 reference: the mean loss of `rows` rows. `params` holds every parameter contiguously
 * (rows x cols), one after the other; `values` holds node_count buffers of rows x cols, values[0]
 * filled. Nodes before `first_node` are taken as they are. */
double pt_graph_loss_f64(const pt_graph *graph, size_t rows, const double *params,
                         double *const *values, const int32_t *labels, const float *targets,
                         size_t first_node);

#endif
