/* gradcheck.c: backpropagation against central differences. */
#include "7_check/gradcheck.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "4_train/numerical.h"
#include "4_train/trainer.h"
#include "4_train/workers.h"

#include <float.h>
#include <math.h>

static double largest_in_rows(const float *x, size_t rows, size_t cols, size_t ld) {
    double most = 0;
    for (size_t r = 0; x && r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            most = fmax(most, fabs((double)x[r * ld + c]));
    return most;
}

/* Largest column sum (over rows) and row sum (over columns) of a weight matrix's absolute values.
 */
static void absolute_sums(const pt_param *param, const float *w, double *column, double *row) {
    *column = *row = 0;
    for (size_t c = 0; c < param->cols; c++) {
        double sum = 0;
        for (size_t r = 0; r < param->rows; r++)
            sum += fabs((double)w[r * param->ld + c]);
        *column = fmax(*column, sum);
    }
    for (size_t r = 0; r < param->rows; r++) {
        double sum = 0;
        for (size_t c = 0; c < param->cols; c++)
            sum += fabs((double)w[r * param->ld + c]);
        *row = fmax(*row, sum);
    }
}

/* Bounds for one parameter: u sqrt(D) 4 (1 + 2 F) G, where F bounds the sums of absolute values on
 * the forward way (an error there shifts the slope of what follows by at most twice as much), and G
 * those of the gradient itself. */
static double bound_of(const pt_trainer *t, size_t p) {
    const pt_graph *graph = t->graph;
    const pt_param *param = &graph->params[p];
    double length = (double)t->batch.rows, forward = 1, backward = 1;
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_node *node = &graph->nodes[i];
        double in = 0;
        for (size_t k = 0; k < node->input_count; k++) {
            const pt_node *from = &graph->nodes[node->input[k]];
            const float *x = node->input[k] ? t->tape.value[node->input[k]] : t->batch.x;
            in = fmax(in, largest_in_rows(x, t->batch.rows, from->cols, from->ld));
        }
        length += 16; /* elementwise functions: a few roundings each way */
        forward =
            fmax(forward,
                 fmax(in, largest_in_rows(t->tape.value[i], t->batch.rows, node->cols, node->ld)));
        for (size_t q = node->first_param; q < node->first_param + node->param_count; q++) {
            double column, row;
            absolute_sums(&graph->params[q], t->params + graph->params[q].offset, &column, &row);
            length += (double)(graph->params[q].rows + graph->params[q].cols);
            forward = fmax(forward, in * column);
            if (node->input_count && i > param->node && graph->params[q].rows > 1)
                backward = fmax(backward, row);
        }
    }
    const pt_node *node = &graph->nodes[param->node];
    double input = 1;
    if (node->input_count) {
        const pt_node *from = &graph->nodes[node->input[0]];
        const float *x = node->input[0] ? t->tape.value[node->input[0]] : t->batch.x;
        input = param->rows > 1 ? largest_in_rows(x, t->batch.rows, from->cols, from->ld) : 1;
    }
    double d_out =
        largest_in_rows(t->tape.gradient[param->node], t->batch.rows, node->cols, node->ld);
    double sums = (double)t->batch.rows * input * fmax(d_out, DBL_MIN) * backward;
    return 4 * 0x1p-24 * sqrt(length) * (1 + 2 * forward) * sums;
}

static bool check_tensor(const pt_trainer *t, size_t p, const float *gradient,
                         const double *expected, double loss, pt_gradcheck_row *row) {
    const pt_param *param = &t->graph->params[p];
    double sum = 0;
    row->tensor = param->name;
    row->elements = param->rows * param->cols;
    row->largest_difference = row->largest_gradient = 0;
    for (size_t r = 0; r < param->rows; r++)
        for (size_t c = 0; c < param->cols; c++) {
            double g = (double)gradient[param->offset + r * param->ld + c];
            double want = expected[r * param->cols + c], difference = fabs(g - want);
            sum += difference;
            if (!(difference <= row->largest_difference)) /* also takes a NaN */
                row->largest_difference = difference;
            row->largest_gradient = fmax(row->largest_gradient, fabs(want));
        }
    row->mean_difference = sum / (double)row->elements;
    /* Rounding of two losses divided by 2h, and its truncation. */
    double differentiation =
        fabs(loss) * 64 * DBL_EPSILON / PT_NUMERICAL_STEP + 1e-9 * (row->largest_gradient + 1e-3);
    row->bound = bound_of(t, p) + differentiation;
    row->ok = row->largest_difference <= row->bound;
    return row->ok;
}

static pt_status check(const pt_config *config, const pt_dataset *dataset,
                       const pt_kernels *kernels, double **expected, double *loss,
                       void (*report)(void *context, const pt_gradcheck_row *row), void *context,
                       bool *all_ok, pt_error *err) {
    pt_trainer *t;
    pt_status status = pt_trainer_create(config, dataset, &t, err);
    if (status != PT_OK)
        return status;
    if (kernels)
        t->kernels = kernels;
    float *gradient = pt_calloc_aligned(t->graph->block_size, sizeof *gradient);
    if (!gradient)
        status = pt_fail_memory(err, "a gradient", t->graph->block_size * sizeof *gradient);
    else
        pt_trainer_gradients(t, 0, gradient);
    if (status == PT_OK && !*expected) { /* once: it does not depend on the kernels */
        *expected = pt_calloc(t->graph->param_total, sizeof **expected);
        status = *expected
                     ? pt_numerical_gradient(t->graph, t->params, &t->batch, t->batch.rows,
                                             pt_cores_available(), *expected, loss, err)
                     : pt_fail_memory(err, "a gradient", t->graph->param_total * sizeof **expected);
    }
    size_t at = 0;
    for (size_t p = 0; status == PT_OK && p < t->graph->param_count; p++) {
        pt_gradcheck_row row = {.isa = t->kernels->isa};
        *all_ok = check_tensor(t, p, gradient, *expected + at, *loss, &row) && *all_ok;
        at += row.elements;
        if (report)
            report(context, &row);
    }
    pt_free(gradient);
    pt_trainer_free(t);
    return status;
}

static pt_status verdict(pt_status status, bool all_ok, pt_error *err) {
    if (status != PT_OK || all_ok)
        return status;
    return pt_fail(err, PT_ERR_CHECK,
                   "a gradient differs from numerical differentiation by more than its bound: the "
                   "layer that owns the tensor, or one after it, has a wrong backward");
}

pt_status pt_gradcheck(const pt_config *config, const pt_dataset *dataset,
                       void (*report)(void *context, const pt_gradcheck_row *row), void *context,
                       pt_error *err) {
    double *expected = NULL, loss = 0;
    bool all_ok = true;
    pt_status status = PT_OK;
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT && status == PT_OK; isa++) {
        pt_config one = *config; /* a shallow copy: only a number changes */
        if (config->parallel.isa != PT_ISA_AUTO && config->parallel.isa != isa)
            continue;
        if (config->parallel.isa == PT_ISA_AUTO && !pt_kernels_get((pt_isa)isa))
            continue;
        one.parallel.isa = isa;
        status = check(&one, dataset, NULL, &expected, &loss, report, context, &all_ok, err);
    }
    pt_free(expected);
    return verdict(status, all_ok, err);
}

pt_status pt_gradcheck_kernels(const pt_config *config, const pt_dataset *dataset,
                               const pt_kernels *kernels,
                               void (*report)(void *context, const pt_gradcheck_row *row),
                               void *context, pt_error *err) {
    double *expected = NULL, loss = 0;
    bool all_ok = true;
    pt_status status =
        check(config, dataset, kernels, &expected, &loss, report, context, &all_ok, err);
    pt_free(expected);
    return verdict(status, all_ok, err);
}
