/* layer_types.h: THE list of layer types, by the names that configs give them. What each is stands in
 * src/3_graph/layer_NAME.c.
 */
#ifndef PT_CONFIG_LAYER_TYPES_H
#define PT_CONFIG_LAYER_TYPES_H

#define PT_LAYERS(X)                                                                               \
    X(affine)                                                                                      \
    X(relu)                                                                                        \
    X(sigmoid)                                                                                     \
    X(tanh)                                                                                        \
    X(gelu)                                                                                        \
    X(silu)                                                                                        \
    X(identity)                                                                                    \
    X(softmax)                                                                                     \
    X(add)                                                                                         \
    X(mul)                                                                                         \
    X(flatten)                                                                                     \
    X(variable)

#endif
