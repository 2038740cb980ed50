/* gradcheck.c: backpropagation against central differences. */
#include "7_check/gradcheck.h"
#include "0_base/cores.h"

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

/* Largest 2-norm of a column and of a row of a parameter. */
static void largest_norms(const pt_param *param, const float *w, double *column, double *row) {
    *column = *row = 0;
    for (size_t c = 0; c < param->cols; c++) {
        double sum = 0;
        for (size_t r = 0; r < param->rows; r++)
            sum += (double)w[r * param->ld + c] * (double)w[r * param->ld + c];
        *column = fmax(*column, sqrt(sum));
    }
    for (size_t r = 0; r < param->rows; r++) {
        double sum = 0;
        for (size_t c = 0; c < param->cols; c++)
            sum += (double)w[r * param->ld + c] * (double)w[r * param->ld + c];
        *row = fmax(*row, sqrt(sum));
    }
}

/* Carried through the graph, one per node: how large its numbers are, and how wrong they may be in
 * units of 4 u sqrt(D). */
typedef struct norms {
    double value, value_error; /* of the output, largest absolute */
    double slope, slope_error; /* of the loss's gradient to it */
} norms;

static void weight_norms(const pt_trainer *t, const pt_node *node, double *column, double *row) {
    const pt_param *weight = &t->graph->params[node->first_param];
    largest_norms(weight, t->params + weight->offset, column, row);
}

/* The steepest slope of a layer without weights. */
static double steepest(const pt_node *node) {
    return node->ops == &pt_layer_gelu ? 1.129 : node->ops == &pt_layer_silu ? 1.1 : 1;
}

/* Forward: what a node's own roundings add, and what it makes of its inputs' errors. */
static double forward_error(const pt_trainer *t, const norms *n, const pt_node *node,
                            double value) {
    double error = 0, column, row;
    if (node->param_count && !node->input_count)
        return 0; /* a variable is what it is */
    const norms *in = &n[node->input[0]];
    if (node->param_count) { /* affine: each partial sum is rounded, each input is a little wrong */
        weight_norms(t, node, &column, &row);
        return column * (in->value + in->value_error) + value;
    }
    if (node->ops == &pt_layer_mul) {
        const norms *other = &n[node->input[1]];
        return in->value_error * other->value + other->value_error * in->value + value;
    }
    for (size_t k = 0; k < node->input_count; k++)
        error += steepest(node) * n[node->input[k]].value_error;
    return error + value;
}

/* Backward: adds the error of the gradient that `node` hands to its input `k`. */
static void add_slope_error(const pt_trainer *t, norms *n, const pt_node *node, const norms *own,
                            size_t k) {
    double gain = steepest(node), gain_error = 0, column;
    if (node->ops == &pt_layer_mul) {
        gain = n[node->input[1 - k]].value;
        gain_error = n[node->input[1 - k]].value_error;
    } else if (node->param_count) {
        weight_norms(t, node, &column, &gain);
    } else if (node->ops != &pt_layer_add && node->ops != &pt_layer_identity &&
               node->ops != &pt_layer_flatten) {
        gain_error = own->value_error; /* curvature of activations is at most one */
    }
    n[node->input[k]].slope_error +=
        gain * (own->slope_error + own->slope) + gain_error * own->slope;
}

/* Fills the norms; returns D without the rows of the gradient. */
static double carry_norms(const pt_trainer *t, norms *n) {
    const pt_graph *graph = t->graph;
    const size_t rows = t->batch.rows;
    double length = 16; /* roundings of an elementwise function, there and back */
    n[0].value = largest_in_rows(t->batch.x, rows, graph->nodes[0].cols, graph->nodes[0].ld);
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_node *node = &graph->nodes[i];
        n[i].value = largest_in_rows(t->tape.value[i], rows, node->cols, node->ld);
        n[i].value_error = forward_error(t, n, node, n[i].value);
        n[i].slope = largest_in_rows(t->tape.gradient[i], rows, node->cols, node->ld);
        length += 16;
        if (node->param_count)
            length += (double)(graph->params[node->first_param].rows +
                               graph->params[node->first_param].cols);
    }
    /* The losses' slopes change with their inputs at most twice as fast, over the rows. */
    norms *output = &n[graph->output_node];
    output->slope_error = output->slope;
    if (graph->loss != &pt_loss_output)
        output->slope_error += 2 * output->value_error / (double)rows;
    for (size_t i = graph->node_count; i-- > 1;)
        for (size_t k = 0; k < graph->nodes[i].input_count; k++)
            add_slope_error(t, n, &graph->nodes[i], &n[i], k);
    return length;
}

/* 4 u sqrt(D) times how wrong a sum over the rows of input times slope may be. */
static double bound_of(const pt_trainer *t, size_t p, const norms *n, double length) {
    const pt_param *param = &t->graph->params[p];
    const pt_node *node = &t->graph->nodes[param->node];
    const norms *own = &n[param->node];
    const double rows = (double)t->batch.rows;
    double input = 1, input_error = 0; /* of a bias or a variable */
    if (node->input_count && param == &t->graph->params[node->first_param]) {
        input = n[node->input[0]].value;
        input_error = n[node->input[0]].value_error;
    }
    return 4 * 0x1p-24 * sqrt(length + rows) * rows *
           (input * (own->slope + own->slope_error) + input_error * own->slope);
}

/* Elements of each tensor that are differentiated: each costs two forward passes of doubles, or more
 * beside a kink. */
static size_t most_elements(const pt_trainer *t) {
    const double budget = 3e11; /* FLOP: half a minute of one core */
    const double each = 2 * (double)t->batch.rows * pt_graph_flops_forward(t->graph) + 1;
    return 1 + (size_t)(budget / each / (double)(t->graph->param_count + 1));
}

/* Beside the bound on roundings, which in deep graphs is far from what they are: no difference may be more
 * than RELATIVE of the tensor's largest gradient, unless the bound divided by twice the number of nodes is.
 * Of correct gradients, differences are less than a hundredth of the former, or a tenth of the latter. */
#define RELATIVE 1e-4

static bool check_tensor(const pt_trainer *t, size_t p, const float *gradient,
                         const double *expected, double loss, double rounding,
                         pt_gradcheck_row *row) {
    const pt_param *param = &t->graph->params[p];
    const size_t apart = pt_numerical_apart(param, most_elements(t));
    double sum = 0;
    row->tensor = param->name;
    row->elements = param->rows * param->cols;
    row->checked = 0;
    row->largest_difference = row->largest_gradient = 0;
    for (size_t e = 0; e < row->elements; e += apart) {
        const size_t r = e / param->cols, c = e % param->cols;
        const double g = (double)gradient[param->offset + r * param->ld + c];
        const double want = expected[e], difference = fabs(g - want);
        sum += difference;
        if (!(difference <= row->largest_difference) && !isnan(row->largest_difference))
            row->largest_difference = difference; /* takes a NaN, and keeps it */
        row->largest_gradient = fmax(row->largest_gradient, fabs(want));
        row->checked++;
    }
    row->mean_difference = sum / (double)row->checked;
    /* Rounding of two losses divided by 2h, and its truncation. */
    double differentiation =
        fabs(loss) * 64 * DBL_EPSILON / PT_NUMERICAL_STEP + 1e-9 * (row->largest_gradient + 1e-3);
    row->bound = fmin(rounding, fmax(rounding / (2 * (double)t->graph->node_count),
                                     RELATIVE * row->largest_gradient)) +
                 differentiation;
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
    float *again = pt_calloc_aligned(t->graph->block_size, sizeof *again);
    if (!gradient || !again)
        status = pt_fail_memory(err, "a gradient", t->graph->block_size * sizeof *gradient);
    if (status == PT_OK) {
        pt_trainer_gradients(t, 0, gradient);
        status = pt_trainer_keep_apart(t, err);
    }
    if (status == PT_OK) /* for the norms of every node's values */
        pt_trainer_gradients(t, 0, again);
    if (status == PT_OK && !*expected) { /* once: it does not depend on the kernels */
        *expected = pt_calloc(t->graph->param_total, sizeof **expected);
        status = *expected
                     ? pt_numerical_gradient(t->graph, t->params, &t->batch, t->batch.rows,
                                             pt_cores_available(), most_elements(t), *expected,
                                             loss, err)
                     : pt_fail_memory(err, "a gradient", t->graph->param_total * sizeof **expected);
    }
    norms *n = pt_calloc(t->graph->node_count, sizeof *n);
    if (!n && status == PT_OK)
        status = pt_fail_memory(err, "norms", t->graph->node_count * sizeof *n);
    const double length = status == PT_OK ? carry_norms(t, n) : 0;
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
    pt_free(again);
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
