/* loss.h: what a loss is: one operations struct per type, one line in the list below.
 *
 * The loss of a mini-batch is the mean of its rows' losses. Row losses are floats computed by
 * kernels; their sum is taken in double by the shard tree.
 */
#ifndef PT_GRAPH_LOSS_H
#define PT_GRAPH_LOSS_H

#include "simd/kernels.h"

#include <stddef.h>
#include <stdint.h>

#define PT_LOSSES(X)                                                                               \
    X(softmax_cross_entropy)                                                                       \
    X(mean_squared_error)                                                                          \
    X(output)

typedef enum pt_target_kind {
    PT_TARGET_NONE,
    PT_TARGET_LABEL, /* one class index per row */
    PT_TARGET_VALUES /* a row of floats; labels become one-hot rows */
} pt_target_kind;

typedef struct pt_loss_call {
    const pt_kernels *kernels;
    size_t rows, cols;
    const float *x; /* the network's output, rows x ld */
    size_t ld;
    const int32_t *label;
    const float *target; /* rows x target_ld */
    size_t target_ld;
    float factor;    /* 1 / batch size */
    float *d_x;      /* gradient to x, stride ld; NULL: not wanted */
    float *row_loss; /* rows */
} pt_loss_call;

typedef struct pt_loss_ops {
    const char *type;
    pt_target_kind target;
    void (*evaluate)(const pt_loss_call *call);
    /* The float64 reference: loss of one row. */
    double (*row_f64)(size_t cols, const double *x, int32_t label, const float *target);
} pt_loss_ops;

#define PT_DECLARE_LOSS(name) extern const pt_loss_ops pt_loss_##name;
PT_LOSSES(PT_DECLARE_LOSS)
#undef PT_DECLARE_LOSS

extern const pt_loss_ops *const pt_loss_list[]; /* NULL-terminated */
const pt_loss_ops *pt_loss_find(const char *type);

#endif
