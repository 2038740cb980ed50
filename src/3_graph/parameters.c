/* parameters.c: the initial values of a graph's parameters. */
#include "0_base/philox.h"
#include "3_graph/graph.h"

#include <math.h>

static float initial_value(const pt_param *param, uint64_t seed, size_t index, size_t element) {
    const float scale = (float)param->init.scale;
    switch (param->init.kind) {
    case PT_INIT_NORMAL:
        return scale * pt_random_normal(seed, PT_STREAM_INIT, index, element);
    case PT_INIT_UNIFORM:
        return scale * (2 * pt_random_uniform(seed, PT_STREAM_INIT, index, element) - 1);
    case PT_INIT_XAVIER:
    case PT_INIT_HE: {
        const double gain = param->init.kind == PT_INIT_HE ? 2 : 1;
        const float deviation = (float)sqrt(gain / (double)param->fan_in); /* IEEE-exact */
        return deviation * pt_random_normal(seed, PT_STREAM_INIT, index, element);
    }
    case PT_INIT_CONSTANT:
        break;
    }
    return scale;
}

void pt_graph_initialize(const pt_graph *graph, uint64_t seed, float *block) {
    for (size_t p = 0; p < graph->param_count; p++) {
        const pt_param *param = &graph->params[p];
        for (size_t r = 0; r < param->rows; r++) {
            float *row = block + param->offset + r * param->ld;
            for (size_t c = 0; c < param->cols; c++)
                row[c] = param->value ? param->value[c]
                                      : initial_value(param, seed, p, r * param->cols + c);
            pt_flush_denormals(param->cols, row);
        }
    }
}
