/* layer_affine.c: y = x W + b, the fully connected layer.
 *
 * Shapes: x [rows, in], W [in, units], b [units], y [rows, units].
 * Gradients (Saito, section 5.6.2): dx = dy W^T, dW = x^T dy, db = column sums of dy.
 */
#include "3_graph/layer.h"

#include <stdio.h>

enum { WEIGHT, BIAS };

static bool affine_shape(pt_node *node, pt_shape_pass *pass) {
    const pt_layer_config *config = node->config;
    char text[96];
    if (pass->in[0].rank != 1) {
        snprintf(pass->problem, sizeof pass->problem,
                 "affine wants flat rows but its input is %s; put a flatten layer before it",
                 pt_shape_text(&pass->in[0], text));
        return false;
    }
    size_t in = pass->in[0].dim[0];
    node->shape = (pt_shape){.rank = 1, .dim = {config->units}};
    pass->param[WEIGHT] = (pt_param_request){.suffix = "weight",
                                             .rows = in,
                                             .cols = config->units,
                                             .rank = 2,
                                             .fan_in = in,
                                             .init = config->init};
    pass->param_count = 1;
    if (config->bias)
        pass->param[pass->param_count++] = (pt_param_request){.suffix = "bias",
                                                              .rows = 1,
                                                              .cols = config->units,
                                                              .rank = 1,
                                                              .fan_in = in,
                                                              .init = config->bias_init};
    return true;
}

static void affine_forward(const pt_node *node, const pt_call *call) {
    const size_t begin = call->col_begin, cols = call->col_end - begin;
    const float *weight = call->param[WEIGHT] + begin;
    const float *bias = node->param_count > BIAS ? call->param[BIAS] + begin : NULL;
    if (call->sparse_in)
        call->kernels->sparse_nn(call->rows, cols, call->in_cols[0], call->in_begin, call->in_end,
                                 call->sparse_in, call->byte_value, weight, call->param_ld[WEIGHT],
                                 bias, call->relu, call->out + begin, node->ld, call->ahead,
                                 call->scratch);
    else
        call->kernels->sgemm_nn(call->rows, cols, call->in_cols[0], call->in[0], call->in_ld[0],
                                weight, call->param_ld[WEIGHT], bias, call->relu, call->out + begin,
                                node->ld, call->scratch);
}

static void affine_backward(const pt_node *node, const pt_call *call) {
    const size_t begin = call->col_begin;
    call->kernels->sgemm_nt(call->rows, call->col_end - begin, node->cols, call->d_out, node->ld,
                            call->param[WEIGHT] + begin * call->param_ld[WEIGHT],
                            call->param_ld[WEIGHT], call->gate ? call->gate + begin : NULL,
                            call->d_in[0] + begin, call->in_ld[0], call->scratch);
}

static void affine_gradient(const pt_node *node, const pt_call *call, size_t param,
                            const pt_gradient_part *part) {
    const size_t begin = part->row_begin, end = part->row_end;
    const size_t cols = part->col_end - part->col_begin;
    const float *d_out = call->d_out + part->col_begin;
    if (param == WEIGHT && call->sparse_in)
        call->kernels->sparse_tn(begin, end, cols, part->shards, call->sparse_in, call->byte_value,
                                 d_out, node->ld, part->rate, part->out, part->out_ld,
                                 call->scratch);
    else if (param == WEIGHT)
        call->kernels->sgemm_tn(end - begin, cols, part->shards, call->in[0] + begin,
                                call->in_ld[0], d_out, node->ld, part->rate, part->out,
                                part->out_ld, call->scratch);
    else
        call->kernels->column_sum(cols, part->shards, d_out, node->ld, part->rate, part->out);
}

static void affine_forward_f64(const pt_node *node, const pt_call_f64 *call) {
    const double *w = call->param[WEIGHT];
    size_t in = call->in_cols[0], units = node->cols;
    for (size_t r = 0; r < call->rows; r++) {
        const double *x = call->in[0] + r * in;
        double *y = call->out + r * units;
        for (size_t j = 0; j < units; j++)
            y[j] = node->param_count > BIAS ? call->param[BIAS][j] : 0;
        for (size_t k = 0; k < in; k++)
            if (x[k] != 0) /* most pixels are zero */
                for (size_t j = 0; j < units; j++)
                    y[j] += x[k] * w[k * units + j];
    }
}

static double affine_flops(const pt_node *node, const pt_shape *inputs) {
    return (2.0 * (double)inputs[0].dim[0] + (node->param_count > BIAS)) * (double)node->cols;
}

static size_t affine_scratch(const pt_node *node, const pt_shape *inputs, const pt_kernels *kernels,
                             size_t rows) {
    size_t in = inputs[0].dim[0], units = node->cols, most = 0;
    const size_t bytes[] = {kernels->sparse_scratch(rows, units, in),
                            kernels->sgemm_scratch(PT_GEMM_NN, rows, units, in),
                            kernels->sgemm_scratch(PT_GEMM_NT, rows, in, units),
                            kernels->sgemm_scratch(PT_GEMM_TN, in, units, rows)};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        most = bytes[i] > most ? bytes[i] : most;
    return most;
}

const pt_layer_ops pt_layer_affine = {
    .type = "affine",
    .min_inputs = 1,
    .max_inputs = 1,
    .splits_columns = true,
    .forgets_output = true,
    .takes_sparse = true,
    .takes_relu = true,
    .keys = PT_LAYER_KEY_UNITS | PT_LAYER_KEY_INIT | PT_LAYER_KEY_BIAS_INIT | PT_LAYER_KEY_BIAS,
    .required_keys = PT_LAYER_KEY_UNITS,
    .shape = affine_shape,
    .forward = affine_forward,
    .backward = affine_backward,
    .gradient = affine_gradient,
    .forward_f64 = affine_forward_f64,
    .flops = affine_flops,
    .scratch = affine_scratch,
};
