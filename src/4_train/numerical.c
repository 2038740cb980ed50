/* numerical.c: central differences over the float64 reference graph. */
#include "4_train/numerical.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "3_graph/tape.h"
#include "4_train/workers.h"

#include <math.h>

/* One worker's own copy of the network: its parameters are nudged one at a time. */
typedef struct replica {
    double *params; /* param_total */
    double **values;
    double *block;
} replica;

typedef struct job {
    const pt_graph *graph;
    const pt_batch *batch;
    size_t rows;
    replica *replicas;
    size_t most; /* elements of a parameter, 0: all */
    double *gradient;
} job;

static double loss_from(const job *j, const replica *r, size_t node) {
    return pt_graph_loss_f64(j->graph, j->rows, r->params, r->values, j->batch->label,
                             j->batch->target, node);
}

/* dL/dw of parameter `index`, whose node is `node`; `base` is the loss where it stands. */
static double slope(const job *j, const replica *r, size_t index, size_t node, double base) {
    const double kept = r->params[index];
    double above, below, h = PT_NUMERICAL_STEP;
    for (int attempt = 0; attempt < 3; attempt++, h /= 32) {
        r->params[index] = kept + h;
        above = loss_from(j, r, node);
        r->params[index] = kept - h;
        below = loss_from(j, r, node);
        if (fabs(above + below - 2 * base) <= 0.01 * fabs(above - below) + 1e-13 * fabs(base))
            break; /* smooth: both halves agree */
    }
    r->params[index] = kept;
    return (above - below) / (2 * h);
}

static bool share_a_divisor(size_t a, size_t b) {
    while (b) {
        const size_t rest = a % b;
        a = b;
        b = rest;
    }
    return a > 1;
}

size_t pt_numerical_apart(const pt_param *param, size_t most) {
    const size_t count = param->rows * param->cols;
    if (most == 0 || count <= most)
        return 1;
    size_t apart = (count - 1) / most + 1;
    while (share_a_divisor(apart, param->cols))
        apart++;
    return apart;
}

static void differentiate(void *context, size_t worker, size_t workers) {
    const job *j = context;
    replica *r = &j->replicas[worker];
    size_t index = 0;
    const double base = loss_from(j, r, 1);
    for (size_t p = 0; p < j->graph->param_count; p++) {
        const pt_param *param = &j->graph->params[p];
        const size_t count = param->rows * param->cols, apart = pt_numerical_apart(param, j->most);
        /* Nodes before the parameter's own do not change. */
        for (size_t e = worker * apart; e < count; e += workers * apart)
            j->gradient[index + e] = slope(j, r, index + e, param->node, base);
        index += count;
        loss_from(j, r, param->node); /* restore the values behind it */
    }
}

static bool make_replica(replica *r, const job *j, const float *params) {
    const pt_graph *graph = j->graph;
    size_t total = 0, at = 0;
    for (size_t i = 0; i < graph->node_count; i++)
        total += j->rows * graph->nodes[i].cols;
    r->params = pt_calloc(graph->param_total, sizeof *r->params);
    r->values = pt_calloc(graph->node_count, sizeof *r->values);
    r->block = pt_calloc(total, sizeof *r->block);
    if (!r->params || !r->values || !r->block)
        return false;
    for (size_t p = 0; p < graph->param_count; p++) {
        const pt_param *param = &graph->params[p];
        for (size_t row = 0; row < param->rows; row++)
            for (size_t c = 0; c < param->cols; c++)
                r->params[at++] = (double)params[param->offset + row * param->ld + c];
    }
    total = 0;
    for (size_t i = 0; i < graph->node_count; i++) {
        r->values[i] = r->block + total;
        total += j->rows * graph->nodes[i].cols;
    }
    for (size_t row = 0; row < j->rows; row++)
        for (size_t c = 0; c < j->batch->cols; c++)
            r->values[0][row * j->batch->cols + c] = (double)j->batch->x[row * j->batch->ld + c];
    return true;
}

pt_status pt_numerical_gradient(const pt_graph *graph, const float *params, const pt_batch *batch,
                                size_t rows, size_t workers, size_t most, double *gradient,
                                double *loss, pt_error *err) {
    job j = {graph, batch, rows, pt_calloc(workers, sizeof *j.replicas), most, gradient};
    bool ok = j.replicas != NULL;
    for (size_t w = 0; w < workers && ok; w++)
        ok = make_replica(&j.replicas[w], &j, params);
    if (ok) {
        pt_workers_run(workers, differentiate, &j);
        *loss = loss_from(&j, &j.replicas[0], 1);
    }
    for (size_t w = 0; j.replicas && w < workers; w++) {
        pt_free(j.replicas[w].params);
        pt_free(j.replicas[w].values);
        pt_free(j.replicas[w].block);
    }
    pt_free(j.replicas);
    return ok ? PT_OK
              : pt_fail_memory(err, "the numerical gradient",
                               workers * graph->param_total * sizeof(double));
}
