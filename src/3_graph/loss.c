/* loss.c: the losses.
 *
 *   softmax_cross_entropy  L = log sum_j exp(x_j) - x_label      dx = softmax(x) - onehot(label)
 *                          (Saito, section 5.6.3: "y - t")
 *   mean_squared_error     L = 1/2 sum_j (x_j - t_j)^2           dx = x - t
 *                          (Saito, section 4.2.1)
 *   output                 L = sum_j x_j                         dx = 1
 *                          the graph's own output is the loss, as in the book's shop (section 5.1)
 *
 * Each dx is multiplied by `factor`, one over the batch size.
 */
#include "3_graph/loss.h"

#include <math.h>
#include <string.h>

static void softmax_cross_entropy(const pt_loss_call *call) {
    call->kernels->softmax_cross_entropy(call->rows, call->cols, call->x, call->ld, call->label,
                                         call->factor, call->d_x, call->ld, call->row_loss);
}

static double softmax_cross_entropy_f64(size_t cols, const double *x, int32_t label,
                                        const float *target) {
    (void)target;
    double most = x[0], sum = 0;
    for (size_t j = 1; j < cols; j++)
        most = x[j] > most ? x[j] : most;
    for (size_t j = 0; j < cols; j++)
        sum += exp(x[j] - most);
    return log(sum) - (x[label] - most);
}

static void mean_squared_error(const pt_loss_call *call) {
    call->kernels->squared_error(call->rows, call->cols, call->x, call->ld, call->target,
                                 call->target_ld, call->factor, call->d_x, call->ld,
                                 call->row_loss);
}

static double mean_squared_error_f64(size_t cols, const double *x, int32_t label,
                                     const float *target) {
    (void)label;
    double sum = 0;
    for (size_t j = 0; j < cols; j++)
        sum += (x[j] - (double)target[j]) * (x[j] - (double)target[j]);
    return sum / 2;
}

static void output(const pt_loss_call *call) {
    for (size_t r = 0; r < call->rows; r++) {
        float sum = 0;
        for (size_t j = 0; j < call->cols; j++) {
            sum += call->x[r * call->ld + j];
            if (call->d_x)
                call->d_x[r * call->ld + j] = call->factor;
        }
        call->row_loss[r] = sum;
    }
}

static double output_f64(size_t cols, const double *x, int32_t label, const float *target) {
    (void)label;
    (void)target;
    double sum = 0;
    for (size_t j = 0; j < cols; j++)
        sum += x[j];
    return sum;
}

#define LOSS(NAME, TARGET)                                                                         \
    const pt_loss_ops pt_loss_##NAME = {                                                           \
        .type = #NAME, .target = TARGET, .evaluate = NAME, .row_f64 = NAME##_f64};

LOSS(softmax_cross_entropy, PT_TARGET_LABEL)
LOSS(mean_squared_error, PT_TARGET_VALUES)
LOSS(output, PT_TARGET_NONE)

#define PT_LIST_LOSS(name) &pt_loss_##name,
const pt_loss_ops *const pt_loss_list[] = {PT_LOSSES(PT_LIST_LOSS) NULL};

const pt_loss_ops *pt_loss_find(const char *type) {
    for (size_t i = 0; pt_loss_list[i]; i++)
        if (strcmp(pt_loss_list[i]->type, type) == 0)
            return pt_loss_list[i];
    return NULL;
}
