/* kernel_list.h: every kernel but the matrix products, one line each.
 *
 * PT_KERNEL_LIST(X) expands X(CLASS, name) for every kernel. The class names a signature below; the
 * list feeds the prototypes (kernels_internal.h), the tables of each instruction set, the tests and
 * the benchmark. A new kernel of a known class is a member in kernels.h, a function in
 * kernels_scalar.c, one in a *_body.h, and a line here: it is then tested against the scalar
 * reference and timed with no further work.
 */
#ifndef PT_SIMD_KERNEL_LIST_H
#define PT_SIMD_KERNEL_LIST_H

#define PT_KERNEL_LIST(X)                                                                          \
    X(UNARY, relu_forward)                                                                         \
    X(UNARY, sigmoid_forward)                                                                      \
    X(UNARY, tanh_forward)                                                                         \
    X(UNARY, gelu_forward)                                                                         \
    X(UNARY, silu_forward)                                                                         \
    X(UNARY, exp_forward)                                                                          \
    X(UNARY, log_forward)                                                                          \
    X(BACKWARD, relu_backward)                                                                     \
    X(BACKWARD, sigmoid_backward)                                                                  \
    X(BACKWARD, tanh_backward)                                                                     \
    X(BACKWARD, gelu_backward)                                                                     \
    X(BACKWARD, silu_backward)                                                                     \
    X(BINARY, add)                                                                                 \
    X(BINARY, multiply)                                                                            \
    X(BYTES, u8_to_float)                                                                          \
    X(ROWS, softmax_forward)                                                                       \
    X(ROWS_BACKWARD, softmax_backward)                                                             \
    X(ROWS_LABEL, softmax_cross_entropy)                                                           \
    X(ROWS_TARGET, squared_error)                                                                  \
    X(ROWS_INDEX, argmax)                                                                          \
    X(UPDATE_SGD, sgd_update)                                                                      \
    X(UPDATE_MOMENTUM, momentum_update)                                                            \
    X(UPDATE_ADAM, adam_update)

/* The signature of each class. */
#define PT_SIGNATURE_UNARY    (size_t n, const float *x, float *y)
#define PT_SIGNATURE_BACKWARD (size_t n, const float *y, const float *dy, float *dx)
#define PT_SIGNATURE_BINARY   (size_t n, const float *a, const float *b, float *y)
#define PT_SIGNATURE_BYTES    (size_t n, const uint8_t *x, float scale, float offset, float *y)
#define PT_SIGNATURE_ROWS     (size_t rows, size_t n, const float *x, size_t ldx, float *y, size_t ldy)
#define PT_SIGNATURE_ROWS_BACKWARD                                                                 \
    (size_t rows, size_t n, const float *y, size_t ldy, const float *dy, size_t lddy, float *dx,   \
     size_t lddx)
#define PT_SIGNATURE_ROWS_LABEL                                                                    \
    (size_t rows, size_t n, const float *x, size_t ldx, const int32_t *label, float factor,        \
     float *dx, size_t lddx, float *loss)
#define PT_SIGNATURE_ROWS_TARGET                                                                   \
    (size_t rows, size_t n, const float *x, size_t ldx, const float *target, size_t ldt,           \
     float factor, float *dx, size_t lddx, float *loss)
#define PT_SIGNATURE_ROWS_INDEX (size_t rows, size_t n, const float *x, size_t ldx, int32_t *index)
#define PT_SIGNATURE_UPDATE_SGD (size_t n, float learning_rate, const float *g, float *w)
#define PT_SIGNATURE_UPDATE_MOMENTUM                                                               \
    (size_t n, float learning_rate, float momentum, const float *g, float *v, float *w)
#define PT_SIGNATURE_UPDATE_ADAM                                                                   \
    (size_t n, float step_size, float beta1, float beta2, float epsilon, const float *g, float *m, \
     float *v, float *w)

#endif
