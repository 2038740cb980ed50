/* layer_activations.c: the elementwise activations. Their backward needs their output, or their
 * input.
 *
 *   relu     y = max(x, 0)            dx = dy where y > 0, else 0     (Saito, section 5.5.1)
 *   sigmoid  y = 1 / (1 + exp(-x))    dx = dy y (1 - y)               (Saito, section 5.5.2)
 *   tanh     y = tanh(x)              dx = dy (1 - y^2)
 *   gelu     y = x Phi(x)             dx = dy (Phi(x) + x phi(x))
 *   silu     y = x sigmoid(x)         dx = dy sigmoid(x) (1 + x sigmoid(-x))
 *
 * Phi and phi: distribution and density of the standard normal law (Hendrycks and Gimpel, "Gaussian
 * Error Linear Units", 2016, which names both of the last two).
 *
 * A further one is a line at the end of this file, its kernel pair in simd/, and a line in
 * 1_config/layer_types.h.
 */
#include "3_graph/layer.h"

#include <math.h>

static bool same_shape(pt_node *node, pt_shape_pass *pass) {
    node->shape = pass->in[0];
    return true;
}

/* NAME also names the kernels NAME_forward and NAME_backward; REFERENCE is the function of double
 * x; FLOPS the operations of one element; OF is what NAME_backward takes: OUTPUT or INPUT; IS_RELU
 * whether it is the one that matrix products can apply. */
#define BACKWARD_OUTPUT call->out, node->ld
#define BACKWARD_INPUT  call->in[0], call->in_ld[0]
#define IN_PLACE_OUTPUT true
#define IN_PLACE_INPUT  false
#define ACTIVATION(NAME, REFERENCE, FLOPS, OF, IS_RELU)                                            \
    static void NAME##_forward(const pt_node *node, const pt_call *call) {                         \
        pt_rows_unary(call->kernels->NAME##_forward, call, call->in[0], call->in_ld[0], call->out, \
                      node->ld);                                                                   \
    }                                                                                              \
    static void NAME##_backward(const pt_node *node, const pt_call *call) {                        \
        pt_rows_binary(call->kernels->NAME##_backward, call, BACKWARD_##OF, call->d_out, node->ld, \
                       call->d_in[0], call->in_ld[0]);                                             \
    }                                                                                              \
    static void NAME##_forward_f64(const pt_node *node, const pt_call_f64 *call) {                 \
        for (size_t i = 0; i < call->rows * node->cols; i++) {                                     \
            const double x = call->in[0][i];                                                       \
            call->out[i] = (REFERENCE);                                                            \
        }                                                                                          \
    }                                                                                              \
    static double NAME##_flops(const pt_node *node, const pt_shape *inputs) {                      \
        (void)inputs;                                                                              \
        return FLOPS * (double)node->cols;                                                         \
    }                                                                                              \
    const pt_layer_ops pt_layer_##NAME = {                                                         \
        .type = #NAME,                                                                             \
        .min_inputs = 1,                                                                           \
        .max_inputs = 1,                                                                           \
        .splits_columns = true,                                                                    \
        .in_place = IN_PLACE_##OF,                                                                 \
        .is_relu = IS_RELU,                                                                        \
        .shape = same_shape,                                                                       \
        .forward = NAME##_forward,                                                                 \
        .backward = NAME##_backward,                                                               \
        .forward_f64 = NAME##_forward_f64,                                                         \
        .flops = NAME##_flops,                                                                     \
    };

ACTIVATION(relu, x > 0 ? x : 0, 1, OUTPUT, true)
ACTIVATION(sigmoid, 1 / (1 + exp(-x)), 20, OUTPUT, false)
ACTIVATION(tanh, tanh(x), 20, OUTPUT, false)
ACTIVATION(gelu, 0.5 * x * erfc(-x * sqrt(0.5)), 40, INPUT, false)
ACTIVATION(silu, x / (1 + exp(-x)), 20, INPUT, false)
