/* numerical.h: gradients by central differences in double precision: slow, and hard to get wrong.
 *
 * dL/dw = (L(w + h) - L(w - h)) / 2h (Saito, section 4.3.1). The truncation error is h^2/6 times
 * the third derivative, the rounding error about 1e-16 / h; h = 1e-5 keeps both below 1e-10 here.
 * Where a kink (of a ReLU) lies within h, the two halves of the difference disagree: then h is
 * shortened.
 */
#ifndef PT_TRAIN_NUMERICAL_H
#define PT_TRAIN_NUMERICAL_H

#include "2_data/batch.h"
#include "3_graph/graph.h"

#define PT_NUMERICAL_STEP 1e-5 /* h */

/* Gradients of the mean loss of the first `rows` rows of the batch with respect to the parameters:
 * param_total doubles, parameter after parameter, rows x cols contiguous. Of each parameter at most
 * `most` elements are differentiated (0: all), every pt_numerical_apart-th, and the others left as
 * they are. `loss` receives the loss itself. Works on `workers` threads; the result does not depend
 * on their number. */
pt_status pt_numerical_gradient(const pt_graph *graph, const float *params, const pt_batch *batch,
                                size_t rows, size_t workers, size_t most, double *gradient,
                                double *loss, pt_error *err);

/* Prime to the number of columns, so that a sample meets all of them. */
size_t pt_numerical_apart(const pt_param *param, size_t most);

#endif
