/* layer_copies.c: layers that hand their input on: identity, and flatten, which makes a row of any
 * shape flat. Backward hands the gradient back.
 */
#include "3_graph/layer.h"

#include <string.h>

static bool identity_shape(pt_node *node, pt_shape_pass *pass) {
    node->shape = pass->in[0];
    return true;
}

static bool flatten_shape(pt_node *node, pt_shape_pass *pass) {
    node->shape = (pt_shape){.rank = 1, .dim = {pt_shape_count(&pass->in[0])}};
    return true;
}

static void copy_forward(const pt_node *node, const pt_call *call) {
    pt_rows_copy(call, call->in[0], call->in_ld[0], call->out, node->ld);
}

static void copy_backward(const pt_node *node, const pt_call *call) {
    pt_rows_copy(call, call->d_out, node->ld, call->d_in[0], call->in_ld[0]);
}

static void copy_forward_f64(const pt_node *node, const pt_call_f64 *call) {
    memcpy(call->out, call->in[0], call->rows * node->cols * sizeof *call->out);
}

static double copy_flops(const pt_node *node, const pt_shape *inputs) {
    (void)node;
    (void)inputs;
    return 0;
}

const pt_layer_ops pt_layer_identity = {
    .type = "identity",
    .min_inputs = 1,
    .max_inputs = 1,
    .splits_columns = true,
    .shape = identity_shape,
    .forward = copy_forward,
    .backward = copy_backward,
    .forward_f64 = copy_forward_f64,
    .flops = copy_flops,
};

const pt_layer_ops pt_layer_flatten = {
    .type = "flatten",
    .min_inputs = 1,
    .max_inputs = 1,
    .splits_columns = true,
    .shape = flatten_shape,
    .forward = copy_forward,
    .backward = copy_backward,
    .forward_f64 = copy_forward_f64,
    .flops = copy_flops,
};
