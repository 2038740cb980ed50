/* layer_softmax.c: y_j = exp(x_j - max x) / sum_i exp(x_i - max x), along each row.
 *
 * Backward: dx_j = y_j (dy_j - sum_i dy_i y_i). As the last layer before a cross-entropy, use the
 * loss softmax_cross_entropy instead, which needs no softmax layer and is exact where this
 * underflows.
 */
#include "3_graph/layer.h"

#include <math.h>
#include <stdio.h>

static bool softmax_shape(pt_node *node, pt_shape_pass *pass) {
    node->shape = pass->in[0];
    if (pass->in[0].rank == 1)
        return true;
    char text[96];
    snprintf(pass->problem, sizeof pass->problem,
             "softmax wants flat rows but its input is %s; put a flatten layer before it",
             pt_shape_text(&pass->in[0], text));
    return false;
}

static void softmax_forward(const pt_node *node, const pt_call *call) {
    call->kernels->softmax_forward(call->rows, node->cols, call->in[0], call->in_ld[0], call->out,
                                   node->ld);
}

static void softmax_backward(const pt_node *node, const pt_call *call) {
    call->kernels->softmax_backward(call->rows, node->cols, call->out, node->ld, call->d_out,
                                    node->ld, call->d_in[0], call->in_ld[0]);
}

static void softmax_forward_f64(const pt_node *node, const pt_call_f64 *call) {
    for (size_t r = 0; r < call->rows; r++) {
        const double *x = call->in[0] + r * node->cols;
        double *y = call->out + r * node->cols, most = x[0], sum = 0;
        for (size_t j = 1; j < node->cols; j++)
            most = x[j] > most ? x[j] : most;
        for (size_t j = 0; j < node->cols; j++)
            sum += y[j] = exp(x[j] - most);
        for (size_t j = 0; j < node->cols; j++)
            y[j] /= sum;
    }
}

static double softmax_flops(const pt_node *node, const pt_shape *inputs) {
    (void)inputs;
    return 20 * (double)node->cols;
}

const pt_layer_ops pt_layer_softmax = {
    .type = "softmax",
    .min_inputs = 1,
    .max_inputs = 1,
    .shape = softmax_shape,
    .forward = softmax_forward,
    .backward = softmax_backward,
    .forward_f64 = softmax_forward_f64,
    .flops = softmax_flops,
};
