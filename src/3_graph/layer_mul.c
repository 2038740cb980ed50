/* layer_mul.c: y = a b, elementwise over two inputs of one shape.
 *
 * Backward: da = dy b, db = dy a (Saito, section 5.4.1).
 */
#include "3_graph/layer.h"

#include <stdio.h>

static bool mul_shape(pt_node *node, pt_shape_pass *pass) {
    node->shape = pass->in[0];
    if (pt_shape_equal(&pass->in[0], &pass->in[1]))
        return true;
    char a[96], b[96];
    snprintf(pass->problem, sizeof pass->problem,
             "mul wants inputs of one shape but they are %s and %s", pt_shape_text(&pass->in[0], a),
             pt_shape_text(&pass->in[1], b));
    return false;
}

static void mul_forward(const pt_node *node, const pt_call *call) {
    pt_rows_binary(call->kernels->multiply, call, call->in[0], call->in_ld[0], call->in[1],
                   call->in_ld[1], call->out, node->ld);
}

static void mul_backward(const pt_node *node, const pt_call *call) {
    for (size_t i = 0; i < 2; i++)
        if (call->d_in[i])
            pt_rows_binary(call->kernels->multiply, call, call->d_out, node->ld, call->in[1 - i],
                           call->in_ld[1 - i], call->d_in[i], call->in_ld[i]);
}

static void mul_forward_f64(const pt_node *node, const pt_call_f64 *call) {
    for (size_t e = 0; e < call->rows * node->cols; e++)
        call->out[e] = call->in[0][e] * call->in[1][e];
}

static double mul_flops(const pt_node *node, const pt_shape *inputs) {
    (void)inputs;
    return (double)node->cols;
}

const pt_layer_ops pt_layer_mul = {
    .type = "mul",
    .min_inputs = 2,
    .max_inputs = 2,
    .splits_columns = true,
    .forgets_output = true,
    .shape = mul_shape,
    .forward = mul_forward,
    .backward = mul_backward,
    .forward_f64 = mul_forward_f64,
    .flops = mul_flops,
};
