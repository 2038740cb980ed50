/* layer_variable.c: a trainable leaf: the same vector for every row, with no input.
 *
 * With `value = 100` it is a leaf of the book's shop graph (Saito, section 5.1); with `units` and
 * `init`, a learned constant. Gradient: the sum of dy over the rows.
 */
#include "3_graph/layer.h"

#include <stdio.h>
#include <string.h>

static bool variable_shape(pt_node *node, pt_shape_pass *pass) {
    const pt_layer_config *config = node->config;
    size_t count = config->value_count ? config->value_count : config->units;
    if (count == 0) {
        snprintf(pass->problem, sizeof pass->problem,
                 "a variable wants `value = NUMBER, ...` or `units = N` with an init");
        return false;
    }
    if (config->value_count && (config->keys_set & PT_LAYER_KEY_UNITS) &&
        config->units != config->value_count) {
        snprintf(pass->problem, sizeof pass->problem, "`units = %zu` but `value` lists %zu numbers",
                 config->units, config->value_count);
        return false;
    }
    node->shape = (pt_shape){.rank = 1, .dim = {count}};
    pass->param[0] = (pt_param_request){.suffix = "value",
                                        .rows = 1,
                                        .cols = count,
                                        .rank = 1,
                                        .fan_in = 1,
                                        .init = config->init,
                                        .value = config->value_count ? config->value : NULL};
    pass->param_count = 1;
    return true;
}

static void variable_forward(const pt_node *node, const pt_call *call) {
    for (size_t r = 0; r < call->rows; r++)
        memcpy(call->out + r * node->ld, call->param[0], node->cols * sizeof(float));
}

static void variable_backward(const pt_node *node, const pt_call *call) {
    (void)node; /* no inputs */
    (void)call;
}

static void variable_gradient(const pt_node *node, const pt_call *call, size_t param,
                              const pt_gradient_part *part) {
    (void)param;
    call->kernels->column_sum(node->cols, part->shards, call->d_out, node->ld, part->rate,
                              part->out);
}

static void variable_forward_f64(const pt_node *node, const pt_call_f64 *call) {
    for (size_t r = 0; r < call->rows; r++)
        memcpy(call->out + r * node->cols, call->param[0], node->cols * sizeof(double));
}

static double variable_flops(const pt_node *node, const pt_shape *inputs) {
    (void)node;
    (void)inputs;
    return 0;
}

const pt_layer_ops pt_layer_variable = {
    .type = "variable",
    .min_inputs = 0,
    .max_inputs = 0,
    .keys = PT_LAYER_KEY_VALUE | PT_LAYER_KEY_UNITS | PT_LAYER_KEY_INIT,
    .shape = variable_shape,
    .forward = variable_forward,
    .backward = variable_backward,
    .gradient = variable_gradient,
    .forward_f64 = variable_forward_f64,
    .flops = variable_flops,
};
