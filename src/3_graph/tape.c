/* tape.c: buffers of a mini-batch, and the forward, backward and gradient walks. */
#include "3_graph/tape.h"

#include "0_base/fail.h"
#include "0_base/memory.h"

#include <string.h>

/* Whether a node's values and gradient may lie where those of its input do. */
static bool in_place(const pt_graph *graph, size_t index) {
    const pt_node *node = &graph->nodes[index];
    if (!node->ops->in_place || node->input[0] == 0)
        return false;
    const pt_node *from = &graph->nodes[node->input[0]];
    return from->consumers == 1 && from->ops->forgets_output;
}

/* Hands out the block's memory, or with no block counts its floats. */
static size_t place_buffers(pt_tape *tape, const pt_graph *graph, pt_tape_use use) {
    size_t used = 0;
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_node *node = &graph->nodes[i];
        const bool shares = use != PT_TAPE_APART && in_place(graph, i);
        const bool turns =
            use == PT_TAPE_OVERLAPPING && node->input_count == 1 && node->input[0] == 0;
        const bool has_gradient = use != PT_TAPE_INFERENCE && node->needs_gradient;
        const size_t floats = shares ? 0 : tape->rows * node->ld;
        if (tape->block) {
            float *const buffer = tape->block + used;
            tape->value[i] = shares ? tape->value[node->input[0]] : buffer;
            if (tape->other_value)
                tape->other_value[i] =
                    shares ? tape->other_value[node->input[0]] : buffer + turns * floats;
            if (has_gradient)
                tape->gradient[i] =
                    shares ? tape->gradient[node->input[0]] : buffer + (turns + 1u) * floats;
        }
        used += (1u + turns + has_gradient) * floats;
    }
    return used;
}

pt_status pt_tape_init(pt_tape *tape, const pt_graph *graph, size_t rows, pt_tape_use use,
                       pt_error *err) {
    *tape = (pt_tape){.rows = rows, .folds = use != PT_TAPE_APART};
    bool fans_out = false;
    for (size_t i = 1; i < graph->node_count; i++)
        fans_out = fans_out || (use != PT_TAPE_INFERENCE && graph->nodes[i].consumers > 1);
    const size_t floats = place_buffers(tape, graph, use);
    const size_t fan_out_floats = fans_out ? rows * graph->widest_ld : 0;
    tape->value = pt_calloc(graph->node_count, sizeof *tape->value);
    if (use == PT_TAPE_OVERLAPPING)
        tape->other_value = pt_calloc(graph->node_count, sizeof *tape->other_value);
    if (use != PT_TAPE_INFERENCE)
        tape->gradient = pt_calloc(graph->node_count, sizeof *tape->gradient);
    tape->block = pt_calloc_aligned(floats + fan_out_floats, sizeof *tape->block);
    if (!tape->value || (use == PT_TAPE_OVERLAPPING && !tape->other_value) ||
        (use != PT_TAPE_INFERENCE && !tape->gradient) || !tape->block) {
        pt_tape_destroy(tape);
        return pt_fail_memory(err, "the activations of a mini-batch",
                              (floats + fan_out_floats) * sizeof(float));
    }
    place_buffers(tape, graph, use);
    tape->fan_out = fans_out ? tape->block + floats : NULL;
    return PT_OK;
}

void pt_tape_destroy(pt_tape *tape) {
    pt_free(tape->value);
    pt_free(tape->other_value);
    pt_free(tape->gradient);
    pt_free(tape->block);
    *tape = (pt_tape){0};
}

void pt_tape_turn(pt_tape *tape) {
    float **value = tape->value;
    if (!tape->other_value)
        return;
    tape->value = tape->other_value;
    tape->other_value = value;
}

bool pt_tape_skips_forward(const pt_tape *tape, const pt_node *node) {
    return tape->folds && node->folds_forward;
}

bool pt_tape_skips_backward(const pt_tape *tape, const pt_node *node) {
    return tape->folds && node->folds_backward;
}

const float *pt_tape_value(const pt_tape *tape, size_t index) {
    return index == 0 ? tape->data : tape->value[index];
}

size_t pt_graph_scratch(const pt_graph *graph, const pt_kernels *kernels, size_t rows) {
    size_t most = 0;
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_node *node = &graph->nodes[i];
        pt_shape inputs[PT_MAX_INPUTS];
        for (size_t k = 0; k < node->input_count; k++)
            inputs[k] = graph->nodes[node->input[k]].shape;
        size_t bytes = node->ops->scratch ? node->ops->scratch(node, inputs, kernels, rows) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* As many rows as the tile's to prefetch while it is computed: those of the next mini-batch or, of a
 * mini-batch whose lists would not stay in L2 for so long, those that come soon. */
static const pt_sparse_row *rows_ahead(const pt_tape *tape, const pt_tile *tile) {
    enum { SOON = 256 };
    if (tape->rows <= 2 * SOON || !tape->ahead)
        return tape->ahead ? tape->ahead + tile->row_begin : NULL;
    if (tile->row_end + SOON <= tape->rows)
        return tape->sparse + tile->row_begin + SOON;
    return tape->ahead; /* the first of the next */
}

static pt_call make_call(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                         const pt_tape *tape, size_t index, const pt_tile *tile, void *scratch) {
    const pt_node *node = &graph->nodes[index];
    const size_t begin = tile->row_begin;
    pt_call call = {.kernels = kernels,
                    .rows = tile->row_end - begin,
                    .col_begin = tile->col_begin,
                    .col_end = tile->col_end,
                    .scratch = scratch};
    for (size_t k = 0; k < node->input_count; k++) {
        const pt_node *from = &graph->nodes[node->input[k]];
        const float *values = pt_tape_value(tape, node->input[k]);
        call.in[k] = values ? values + begin * from->ld : NULL;
        call.in_ld[k] = from->ld;
        call.in_cols[k] = from->cols;
        if (node->input[k] == 0 && tape->sparse) {
            call.sparse_in = tape->sparse + begin;
            call.byte_value = tape->byte_value;
            call.ahead = rows_ahead(tape, tile);
        }
    }
    call.out = tape->value[index] + begin * node->ld;
    if (tape->gradient && tape->gradient[index])
        call.d_out = tape->gradient[index] + begin * node->ld;
    for (size_t p = 0; params && p < node->param_count; p++) {
        const pt_param *param = &graph->params[node->first_param + p];
        call.param[p] = params + param->offset;
        call.param_ld[p] = param->ld;
    }
    return call;
}

void pt_graph_forward_node(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                           const pt_tape *tape, size_t index, const pt_tile *tile, void *scratch) {
    const size_t first = graph->nodes[index].input_count ? graph->nodes[index].input[0] : 0;
    pt_graph_forward_inputs(graph, kernels, params, tape, index, tile, 0, graph->nodes[first].cols,
                            scratch);
}

void pt_graph_forward_inputs(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                             const pt_tape *tape, size_t index, const pt_tile *tile,
                             size_t in_begin, size_t in_end, void *scratch) {
    if (pt_tape_skips_forward(tape, &graph->nodes[index]))
        return;
    const uint64_t time = pt_profile_start(tape->profile);
    pt_call call = make_call(graph, kernels, params, tape, index, tile, scratch);
    call.in_begin = in_begin;
    call.in_end = in_end;
    call.relu = tape->folds && graph->nodes[index].applies_relu;
    graph->nodes[index].ops->forward(&graph->nodes[index], &call);
    pt_profile_add(tape->profile, PT_PHASE_FORWARD, index, time);
}

void pt_graph_forward(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                      const pt_tape *tape, size_t begin, size_t end, void *scratch) {
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_tile tile = {begin, end, 0, graph->nodes[i].cols};
        pt_graph_forward_node(graph, kernels, params, tape, i, &tile, scratch);
    }
}

/* Backward of a node one of whose inputs already has a gradient: that part goes to the fan-out
 * buffer and is added. The order of additions is the walk's, so it is fixed. */
static void backward_fan_out(const pt_graph *graph, const pt_tape *tape, size_t index,
                             const pt_call *call, size_t begin) {
    const pt_node *node = &graph->nodes[index];
    for (size_t k = 0; k < node->input_count; k++) {
        const pt_node *from = &graph->nodes[node->input[k]];
        if (!from->needs_gradient)
            continue;
        pt_call one = *call;
        float *target = tape->gradient[node->input[k]] + begin * from->ld;
        for (size_t other = 0; other < node->input_count; other++)
            one.d_in[other] = NULL;
        /* Rows of the fan-out buffer are packed with the input's stride. */
        one.d_in[k] =
            node->first_contribution[k] ? target : tape->fan_out + begin * graph->widest_ld;
        node->ops->backward(node, &one);
        if (!node->first_contribution[k])
            pt_rows_binary(call->kernels->add, call, target, from->ld, one.d_in[k], from->ld,
                           target, from->ld);
    }
}

size_t pt_graph_backward_cols(const pt_graph *graph, size_t index) {
    const pt_node *node = &graph->nodes[index];
    size_t cols = 0;
    for (size_t k = 0; k < node->input_count; k++)
        if (graph->nodes[node->input[k]].needs_gradient)
            cols = graph->nodes[node->input[k]].cols;
    return cols;
}

void pt_graph_backward_node(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                            const pt_tape *tape, size_t index, const pt_tile *tile, void *scratch) {
    const pt_node *node = &graph->nodes[index];
    if (pt_tape_skips_backward(tape, node))
        return;
    const uint64_t time = pt_profile_start(tape->profile);
    pt_call call = make_call(graph, kernels, params, tape, index, tile, scratch);
    bool all_first = true;
    for (size_t k = 0; k < node->input_count; k++) {
        const pt_node *from = &graph->nodes[node->input[k]];
        if (!from->needs_gradient)
            continue;
        size_t to = node->input[k];
        if (pt_tape_skips_backward(tape, from)) { /* through the ReLU, to what that reads */
            call.gate = call.in[k];
            to = from->input[0];
        }
        call.d_in[k] = tape->gradient[to] + tile->row_begin * from->ld;
        all_first = all_first && node->first_contribution[k];
    }
    if (all_first)
        node->ops->backward(node, &call);
    else
        backward_fan_out(graph, tape, index, &call, tile->row_begin);
    pt_profile_add(tape->profile, PT_PHASE_BACKWARD, index, time);
}

void pt_graph_backward(const pt_graph *graph, const pt_kernels *kernels, const float *params,
                       const pt_tape *tape, size_t begin, size_t end, void *scratch) {
    for (size_t i = graph->node_count; i-- > 1;) {
        const pt_tile tile = {begin, end, 0, pt_graph_backward_cols(graph, i)};
        if (tile.col_end)
            pt_graph_backward_node(graph, kernels, params, tape, i, &tile, scratch);
    }
}

void pt_graph_gradient(const pt_graph *graph, const pt_kernels *kernels, const pt_tape *tape,
                       size_t param, const pt_gradient_part *part, void *scratch) {
    uint64_t time = pt_profile_start(tape->profile);
    size_t index = graph->params[param].node;
    const pt_node *node = &graph->nodes[index];
    const pt_tile all = {0, tape->rows, 0, node->cols};
    pt_call call = make_call(graph, kernels, NULL, tape, index, &all, scratch);
    node->ops->gradient(node, &call, param - node->first_param, part);
    pt_profile_add(tape->profile, PT_PHASE_GRADIENT, index, time);
}

double pt_graph_loss_f64(const pt_graph *graph, size_t rows, const double *params,
                         double *const *values, const int32_t *labels, const float *targets,
                         size_t first_node) {
    size_t offset = 0;
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_node *node = &graph->nodes[i];
        pt_call_f64 call = {.rows = rows, .out = values[i]};
        for (size_t p = 0; p < node->param_count; p++) {
            const pt_param *param = &graph->params[node->first_param + p];
            call.param[p] = params + offset;
            offset += param->rows * param->cols;
        }
        for (size_t k = 0; k < node->input_count; k++) {
            call.in[k] = values[node->input[k]];
            call.in_cols[k] = graph->nodes[node->input[k]].cols;
        }
        if (i >= first_node)
            node->ops->forward_f64(node, &call);
    }
    const pt_node *output = &graph->nodes[graph->output_node];
    double sum = 0;
    for (size_t r = 0; r < rows; r++)
        sum += graph->loss->row_f64(output->cols, values[graph->output_node] + r * output->cols,
                                    labels ? labels[r] : 0,
                                    targets ? targets + r * output->cols : NULL);
    return sum / (double)rows;
}
