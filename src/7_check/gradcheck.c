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

/* Largest column sum (over rows) and row sum (over columns) of a parameter's absolute values. */
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

/* Norms carried through the graph, one per node. */
typedef struct norms {
    double forward;  /* bounds the sums of absolute values behind the node's output */
    double backward; /* the same for the gradient of the loss to that output */
    double largest;  /* absolute value of the output itself */
} norms;

static bool is_linear(const pt_node *node) {
    return node->param_count || node->ops == &pt_layer_add || node->ops == &pt_layer_mul ||
           node->ops == &pt_layer_identity || node->ops == &pt_layer_flatten;
}

/* Fills the norms; returns D without the rows of the gradient. */
static double carry_norms(const pt_trainer *t, norms *n) {
    const pt_graph *graph = t->graph;
    const pt_node *output = &graph->nodes[graph->output_node];
    const size_t rows = t->batch.rows;
    double length = 16,
           curvature = 0; /* 16: roundings of an elementwise function, there and back */
    n[0].largest = largest_in_rows(t->batch.x, rows, graph->nodes[0].cols, graph->nodes[0].ld);
    n[0].forward = n[0].largest;
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_node *node = &graph->nodes[i];
        double sum = 0, product = 1, most = 0;
        for (size_t k = 0; k < node->input_count; k++) {
            sum += n[node->input[k]].forward;
            product *= n[node->input[k]].forward;
            most = fmax(most, n[node->input[k]].forward);
        }
        n[i].largest = largest_in_rows(t->tape.value[i], rows, node->cols, node->ld);
        n[i].forward = node->ops == &pt_layer_add   ? sum
                       : node->ops == &pt_layer_mul ? product
                                                    : most;
        if (node->param_count) {
            const pt_param *weight = &graph->params[node->first_param];
            double column, row;
            absolute_sums(weight, t->params + weight->offset, &column, &row);
            n[i].forward = node->input_count ? most * column + n[i].largest : column;
            length += (double)(weight->rows + weight->cols);
        }
        length += 16;
        if (!is_linear(node))
            curvature = fmax(curvature, most);
    }
    if (graph->loss != &pt_loss_output)
        curvature = fmax(curvature, n[graph->output_node].forward);
    /* The slope at the output: what it is, and how far an error of the values shifts it. */
    n[graph->output_node].backward =
        largest_in_rows(t->tape.gradient[graph->output_node], rows, output->cols, output->ld) +
        2 * curvature / (double)rows;
    for (size_t i = graph->node_count; i-- > 1;) {
        const pt_node *node = &graph->nodes[i];
        for (size_t k = 0; k < node->input_count; k++) {
            double gain = 1; /* of activations, sums and softmax: at most one */
            if (node->ops == &pt_layer_mul) {
                gain = n[node->input[1 - k]].largest;
            } else if (node->param_count) {
                const pt_param *weight = &graph->params[node->first_param];
                double column;
                absolute_sums(weight, t->params + weight->offset, &column, &gain);
            }
            n[node->input[k]].backward += n[i].backward * gain;
        }
    }
    return length;
}

/* 4 u sqrt(D) times the sum of absolute values of a parameter's gradient. */
static double bound_of(const pt_trainer *t, size_t p, const norms *n, double length) {
    const pt_param *param = &t->graph->params[p];
    const pt_node *node = &t->graph->nodes[param->node];
    const double rows = (double)t->batch.rows;
    /* A weight's gradient sums input times slope; a bias's, the slope. */
    const double input = node->input_count && param == &t->graph->params[node->first_param]
                             ? n[node->input[0]].forward
                             : 1;
    return 4 * 0x1p-24 * sqrt(length + rows) * rows * input * n[param->node].backward;
}

static bool check_tensor(const pt_trainer *t, size_t p, const float *gradient,
                         const double *expected, double loss, double rounding,
                         pt_gradcheck_row *row) {
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
            if (!(difference <= row->largest_difference) && !isnan(row->largest_difference))
                row->largest_difference = difference; /* takes a NaN, and keeps it */
            row->largest_gradient = fmax(row->largest_gradient, fabs(want));
        }
    row->mean_difference = sum / (double)row->elements;
    /* Rounding of two losses divided by 2h, and its truncation. */
    double differentiation =
        fabs(loss) * 64 * DBL_EPSILON / PT_NUMERICAL_STEP + 1e-9 * (row->largest_gradient + 1e-3);
    row->bound = rounding + differentiation;
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
    norms *n = pt_calloc(t->graph->node_count, sizeof *n);
    if (!n && status == PT_OK)
        status = pt_fail_memory(err, "norms", t->graph->node_count * sizeof *n);
    const double length = n ? carry_norms(t, n) : 0;
    size_t at = 0;
    for (size_t p = 0; status == PT_OK && p < t->graph->param_count; p++) {
        pt_gradcheck_row row = {.isa = t->kernels->isa};
        *all_ok =
            check_tensor(t, p, gradient, *expected + at, *loss, bound_of(t, p, n, length), &row) &&
            *all_ok;
        at += row.elements;
        if (report)
            report(context, &row);
    }
    pt_free(n);
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
