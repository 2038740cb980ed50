/* layer_add.c: y = a + b + ..., elementwise over two or more inputs of one shape.
 *
 * Inputs are added from left to right. Backward: every input's gradient is dy (Saito,
 * section 5.3.1).
 */
#include "3_graph/layer.h"

#include <stdio.h>

static bool add_shape(pt_node *node, pt_shape_pass *pass) {
    node->shape = pass->in[0];
    for (size_t i = 1; i < node->input_count; i++)
        if (!pt_shape_equal(&pass->in[0], &pass->in[i])) {
            char a[96], b[96];
            snprintf(pass->problem, sizeof pass->problem,
                     "add wants inputs of one shape but the first is %s and the %zu. is %s",
                     pt_shape_text(&pass->in[0], a), i + 1, pt_shape_text(&pass->in[i], b));
            return false;
        }
    return true;
}

static void add_forward(const pt_node *node, const pt_call *call) {
    pt_rows_binary(call->kernels->add, call, call->in[0], call->in_ld[0], call->in[1],
                   call->in_ld[1], call->out, node->ld);
    for (size_t i = 2; i < node->input_count; i++)
        pt_rows_binary(call->kernels->add, call, call->out, node->ld, call->in[i], call->in_ld[i],
                       call->out, node->ld);
}

static void add_backward(const pt_node *node, const pt_call *call) {
    for (size_t i = 0; i < node->input_count; i++)
        if (call->d_in[i])
            pt_rows_copy(call, call->d_out, node->ld, call->d_in[i], call->in_ld[i]);
}

static void add_forward_f64(const pt_node *node, const pt_call_f64 *call) {
    for (size_t e = 0; e < call->rows * node->cols; e++) {
        double sum = call->in[0][e];
        for (size_t i = 1; i < node->input_count; i++)
            sum += call->in[i][e];
        call->out[e] = sum;
    }
}

static double add_flops(const pt_node *node, const pt_shape *inputs) {
    (void)inputs;
    return (double)((node->input_count - 1) * node->cols);
}

const pt_layer_ops pt_layer_add = {
    .type = "add",
    .min_inputs = 2,
    .max_inputs = PT_MAX_INPUTS,
    .splits_columns = true,
    .forgets_output = true,
    .shape = add_shape,
    .forward = add_forward,
    .backward = add_backward,
    .forward_f64 = add_forward_f64,
    .flops = add_flops,
};
