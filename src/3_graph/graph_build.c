/* graph_build.c: from the config's layers to a checked graph: resolve names, sort, pass shapes. */
#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "1_config/schema.h"
#include "3_graph/graph.h"

#include <string.h>

typedef struct builder {
    const pt_config *config;
    const pt_dataset *dataset;
    pt_graph *graph;
    size_t *position; /* of layer i of the config: its node's index */
    pt_error *err;
} builder;

static pt_status fail_at(const builder *b, pt_place place, const pt_layer_config *layer,
                         const char *problem) {
    char text[512];
    return pt_fail(b->err, PT_ERR_CONFIG, "%slayer '%s': %s",
                   pt_place_text(place, text, sizeof text), layer->name, problem);
}

static const char *nth_layer_type(const void *context, size_t i) {
    (void)context;
    return pt_layer_list[i] ? pt_layer_list[i]->type : NULL;
}

static const char *nth_loss_type(const void *context, size_t i) {
    (void)context;
    return pt_loss_list[i] ? pt_loss_list[i]->type : NULL;
}

static pt_status check_type_and_keys(const builder *b, const pt_layer_config *layer) {
    char problem[400], hint[300];
    if (!layer->type || !*layer->type)
        return fail_at(b, layer->place, layer, "has no type; write `type = affine` or another");
    const pt_layer_ops *ops = pt_layer_find(layer->type);
    if (!ops) {
        snprintf(problem, sizeof problem, "unknown type '%s'; %s", layer->type,
                 pt_suggest(layer->type, nth_layer_type, NULL, hint, sizeof hint));
        return fail_at(b, layer->type_place, layer, problem);
    }
    for (const pt_key *key = pt_keys; key < pt_keys + pt_key_count; key++) {
        if ((layer->keys_set & key->bit) && !(ops->keys & key->bit)) {
            snprintf(problem, sizeof problem, "a layer of type %s takes no '%s'; remove the key",
                     ops->type, key->name);
            return fail_at(b, pt_key_place(key, layer), layer, problem);
        }
        if (!(layer->keys_set & key->bit) && (ops->required_keys & key->bit)) {
            snprintf(problem, sizeof problem, "a layer of type %s wants '%s = ...'", ops->type,
                     key->name);
            return fail_at(b, layer->place, layer, problem);
        }
    }
    if ((ops->required_keys & PT_LAYER_KEY_UNITS) && layer->units == 0)
        return fail_at(b, layer->key_place[0], layer, "`units` must be at least 1");
    return PT_OK;
}

enum { INPUT_IS_DATA = 0 /* config layer i is written as i + 1 while nodes are not sorted yet */ };

/* Resolves the input names of config layer `i` into `input` (0: the data, j + 1: config layer j).
 */
static pt_status resolve_inputs(const builder *b, size_t i, size_t input[PT_MAX_INPUTS],
                                size_t *count) {
    const pt_layer_config *layer = &b->config->layers[i];
    const pt_layer_ops *ops = pt_layer_find(layer->type);
    char problem[400], hint[300];
    *count = layer->input_count;
    if (*count == 0 && ops->max_inputs > 0) { /* default: the layer before */
        input[0] = i;
        *count = 1;
    }
    if (*count < ops->min_inputs || *count > ops->max_inputs) {
        if (ops->max_inputs == 0)
            snprintf(problem, sizeof problem, "a layer of type %s takes no input", ops->type);
        else if (ops->min_inputs == ops->max_inputs)
            snprintf(problem, sizeof problem, "a layer of type %s wants %zu input%s, not %zu",
                     ops->type, ops->min_inputs, ops->min_inputs == 1 ? "" : "s: `input = a, b`",
                     *count);
        else
            snprintf(problem, sizeof problem, "a layer of type %s wants %zu to %zu inputs, not %zu",
                     ops->type, ops->min_inputs, ops->max_inputs, *count);
        return fail_at(b, layer->input_count ? layer->input_place : layer->place, layer, problem);
    }
    for (size_t k = 0; k < layer->input_count; k++) {
        const char *name = layer->inputs[k];
        if (strcmp(name, "data") == 0) {
            input[k] = INPUT_IS_DATA;
            continue;
        }
        const pt_layer_config *found = pt_config_find_layer(b->config, name);
        if (!found) {
            snprintf(problem, sizeof problem, "input '%s' is not a layer; %s", name,
                     pt_suggest(name, pt_config_layer_name, b->config, hint, sizeof hint));
            return fail_at(b, layer->input_place, layer, problem);
        }
        input[k] = (size_t)(found - b->config->layers) + 1;
    }
    for (size_t k = 0; k < *count; k++)
        if (input[k] == INPUT_IS_DATA && b->dataset->columns == 0)
            return fail_at(b, layer->input_count ? layer->input_place : layer->place, layer,
                           "reads the data, but `dataset = none` has no columns; name an input");
    return PT_OK;
}

/* Kahn's algorithm that always takes the first ready layer of the file, so that the order of the
 * nodes (and of the parameters) is the file's wherever the file is already sorted. */
static pt_status sort_layers(const builder *b, const size_t (*inputs)[PT_MAX_INPUTS],
                             const size_t *input_counts) {
    const size_t n = b->config->layer_count;
    size_t placed = 0;
    for (size_t i = 0; i < n; i++)
        b->position[i] = SIZE_MAX;
    while (placed < n) {
        size_t ready = SIZE_MAX;
        for (size_t i = 0; i < n && ready == SIZE_MAX; i++) {
            bool all_placed = b->position[i] == SIZE_MAX;
            for (size_t k = 0; k < input_counts[i] && all_placed; k++)
                all_placed =
                    inputs[i][k] == INPUT_IS_DATA || b->position[inputs[i][k] - 1] != SIZE_MAX;
            if (all_placed)
                ready = i;
        }
        if (ready == SIZE_MAX)
            break;
        b->position[ready] = ++placed; /* node 0 is the data */
    }
    if (placed == n)
        return PT_OK;
    /* Every layer left has an input that is left: following those must run into a cycle. */
    size_t at = 0;
    while (b->position[at] != SIZE_MAX)
        at++;
    char path[300] = "";
    size_t used = 0, first = 0;
    for (size_t step = 0; step < 2 * n + 2; step++) {
        size_t next = SIZE_MAX;
        for (size_t k = 0; k < input_counts[at] && next == SIZE_MAX; k++)
            if (inputs[at][k] != INPUT_IS_DATA && b->position[inputs[at][k] - 1] == SIZE_MAX)
                next = inputs[at][k] - 1;
        if (step == n) /* now surely inside the cycle */
            first = at;
        if (step >= n && used < sizeof path)
            used += (size_t)snprintf(path + used, sizeof path - used, "%s%s", used ? " <- " : "",
                                     b->config->layers[at].name);
        if (step > n && at == first)
            break;
        at = next;
    }
    const pt_layer_config *layer = &b->config->layers[first];
    char problem[400];
    snprintf(problem, sizeof problem, "its inputs form a cycle: %s; a graph must lead one way",
             path);
    return fail_at(b, layer->input_count ? layer->input_place : layer->place, layer, problem);
}

static size_t padded(size_t cols) {
    return (cols + PT_ROW_ALIGN - 1) / PT_ROW_ALIGN * PT_ROW_ALIGN;
}

static pt_status add_params(const builder *b, size_t node_index, const pt_shape_pass *pass) {
    pt_graph *graph = b->graph;
    pt_node *node = &graph->nodes[node_index];
    node->first_param = graph->param_count;
    node->param_count = pass->param_count;
    for (size_t i = 0; i < pass->param_count; i++) {
        const pt_param_request *request = &pass->param[i];
        pt_param *param = &graph->params[graph->param_count];
        *param = (pt_param){.rows = request->rows,
                            .cols = request->cols,
                            .ld = padded(request->cols),
                            .offset = graph->block_size,
                            .rank = request->rank,
                            .fan_in = request->fan_in,
                            .init = request->init,
                            .value = request->value,
                            .node = node_index};
        size_t floats;
        if (__builtin_mul_overflow(param->rows, param->ld, &floats) ||
            __builtin_add_overflow(graph->block_size, floats, &graph->block_size) ||
            graph->block_size > SIZE_MAX / 64)
            return fail_at(b, node->config->place, node->config,
                           "its parameters do not fit the address space; use fewer units");
        param->name = pt_format("%s.%s", node->name, request->suffix);
        if (!param->name)
            return pt_fail_memory(b->err, "a parameter's name", sizeof "name");
        graph->param_count++;
        graph->param_total += param->rows * param->cols;
    }
    return PT_OK;
}

/* Shapes, parameters and the flags of the backward walk, in topological order. */
static pt_status pass_shapes(const builder *b) {
    pt_graph *graph = b->graph;
    for (size_t i = 1; i < graph->node_count; i++) {
        pt_node *node = &graph->nodes[i];
        pt_shape_pass pass = {0};
        for (size_t k = 0; k < node->input_count; k++) {
            pt_node *from = &graph->nodes[node->input[k]];
            pass.in[k] = from->shape;
            from->consumers++;
            node->needs_gradient = node->needs_gradient || from->needs_gradient;
        }
        if (!node->ops->shape(node, &pass))
            return fail_at(b, node->config->place, node->config, pass.problem);
        node->cols = pt_shape_count(&node->shape);
        node->ld = padded(node->cols);
        graph->widest_ld = node->ld > graph->widest_ld ? node->ld : graph->widest_ld;
        pt_status status = add_params(b, i, &pass);
        if (status != PT_OK)
            return status;
        node->needs_gradient = node->needs_gradient || node->param_count > 0;
    }
    return PT_OK;
}

static pt_status choose_loss(const builder *b) {
    const pt_config *config = b->config;
    pt_graph *graph = b->graph;
    char hint[300], place[512];
    graph->loss = pt_loss_find(config->loss.type);
    /* A default was written nowhere: then the file alone has to do. */
    const pt_place type_place =
        config->loss.type_place.file ? config->loss.type_place : (pt_place){config->path, 0};
    if (!graph->loss)
        return pt_fail(b->err, PT_ERR_CONFIG, "%sunknown loss type '%s'; %s",
                       pt_place_text(type_place, place, sizeof place), config->loss.type,
                       pt_suggest(config->loss.type, nth_loss_type, NULL, hint, sizeof hint));
    const pt_layer_config *layer = &config->layers[config->layer_count - 1];
    if (*config->loss.input) {
        layer = pt_config_find_layer(config, config->loss.input);
        if (!layer)
            return pt_fail(
                b->err, PT_ERR_CONFIG, "%sloss input '%s' is not a layer; %s",
                pt_place_text(config->loss.input_place, place, sizeof place), config->loss.input,
                pt_suggest(config->loss.input, pt_config_layer_name, config, hint, sizeof hint));
    }
    graph->output_node = b->position[layer - config->layers];
    pt_node *output = &graph->nodes[graph->output_node];
    output->consumers++;

    const pt_dataset *data = b->dataset;
    size_t wanted = data->classes ? data->classes : data->target_columns;
    char problem[300];
    if (output->shape.rank != 1)
        return fail_at(b, output->config->place, output->config,
                       "feeds the loss but its rows are not flat; put a flatten layer after it");
    if (graph->loss->target == PT_TARGET_NONE)
        return PT_OK;
    if (graph->loss->target == PT_TARGET_LABEL && data->classes == 0) {
        return pt_fail(b->err, PT_ERR_CONFIG,
                       "%sloss %s wants class labels but the data has none; use "
                       "mean_squared_error or label data",
                       pt_place_text(type_place, place, sizeof place), graph->loss->type);
    }
    if (wanted == 0)
        return pt_fail(b->err, PT_ERR_CONFIG,
                       "%sloss %s wants targets but the data has none; use `type = output`",
                       pt_place_text(type_place, place, sizeof place), graph->loss->type);
    if (output->cols != wanted) {
        snprintf(problem, sizeof problem,
                 "feeds the loss with %zu outputs but the data has %zu %s; use `units = %zu`%s",
                 output->cols, wanted, data->classes ? "classes" : "target columns", wanted,
                 output->ops->keys & PT_LAYER_KEY_UNITS ? "" : " in the affine layer before it");
        return fail_at(b, output->config->place, output->config, problem);
    }
    return PT_OK;
}

static pt_status check_use(const builder *b) {
    pt_graph *graph = b->graph;
    for (size_t i = 1; i < graph->node_count; i++)
        if (graph->nodes[i].consumers == 0)
            return fail_at(
                b, graph->nodes[i].config->place, graph->nodes[i].config,
                "leads nowhere: no layer and not the loss reads it; remove it or name it "
                "as an input");
    if (graph->param_count == 0)
        return pt_fail(
            b->err, PT_ERR_CONFIG,
            "%s: there is nothing to train: no layer has parameters; add an affine layer",
            b->config->path);
    /* The backward walk visits nodes from last to first and inputs from first to last. */
    bool *seen = pt_calloc(graph->node_count, sizeof *seen);
    if (!seen)
        return pt_fail_memory(b->err, "the graph", graph->node_count);
    seen[graph->output_node] = true; /* the loss writes the first contribution */
    for (size_t i = graph->node_count; i-- > 1;)
        for (size_t k = 0; k < graph->nodes[i].input_count; k++) {
            size_t from = graph->nodes[i].input[k];
            graph->nodes[i].first_contribution[k] = !seen[from];
            seen[from] = true;
        }
    pt_free(seen);
    return PT_OK;
}

/* Which ReLUs the products beside them apply: in forward, one that alone reads a product's output; in
 * backward, one that alone is read by a product, whose gradient then goes where the ReLU's would. */
static void fold_relus(pt_graph *graph) {
    for (size_t i = 1; i < graph->node_count; i++) {
        pt_node *node = &graph->nodes[i];
        pt_node *from = node->input_count > 0 ? &graph->nodes[node->input[0]] : NULL;
        if (!from || !from->ops)
            continue;
        if (node->ops->is_relu && from->ops->takes_relu && from->consumers == 1)
            node->folds_forward = from->applies_relu = true;
        if (node->ops->takes_relu && from->ops->is_relu && from->consumers == 1 &&
            graph->nodes[from->input[0]].needs_gradient && from->first_contribution[0])
            from->folds_backward = true;
    }
}

static void fill_data_node(const builder *b) {
    pt_node *data = &b->graph->nodes[0];
    data->name = "data";
    data->shape.rank = b->dataset->dim_count;
    for (size_t i = 0; i < b->dataset->dim_count; i++)
        data->shape.dim[i] = b->dataset->dims[i];
    data->cols = b->dataset->columns;
    data->ld = padded(data->cols);
    b->graph->widest_ld = data->ld;
}

static pt_status build(builder *b, size_t (*inputs)[PT_MAX_INPUTS], size_t *input_counts) {
    const pt_config *config = b->config;
    pt_status status = PT_OK;
    for (size_t i = 0; i < config->layer_count && status == PT_OK; i++)
        status = check_type_and_keys(b, &config->layers[i]);
    for (size_t i = 0; i < config->layer_count && status == PT_OK; i++)
        status = resolve_inputs(b, i, inputs[i], &input_counts[i]);
    if (status == PT_OK)
        status = sort_layers(b, (const size_t(*)[PT_MAX_INPUTS])inputs, input_counts);
    if (status != PT_OK)
        return status;
    fill_data_node(b);
    for (size_t i = 0; i < config->layer_count; i++) {
        pt_node *node = &b->graph->nodes[b->position[i]];
        node->config = &config->layers[i];
        node->ops = pt_layer_find(node->config->type);
        node->name = node->config->name;
        node->input_count = input_counts[i];
        for (size_t k = 0; k < input_counts[i]; k++)
            node->input[k] = inputs[i][k] == INPUT_IS_DATA ? 0 : b->position[inputs[i][k] - 1];
    }
    if ((status = pass_shapes(b)) != PT_OK || (status = choose_loss(b)) != PT_OK)
        return status;
    if ((status = check_use(b)) == PT_OK)
        fold_relus(b->graph);
    return status;
}

pt_status pt_graph_build(const pt_config *config, const pt_dataset *dataset, pt_graph **graph,
                         pt_error *err) {
    const size_t n = config->layer_count;
    *graph = NULL;
    if (n == 0)
        return pt_fail(err, PT_ERR_CONFIG, "%s: no layers; add at least one [layer.NAME] section",
                       config->path);
    builder b = {.config = config, .dataset = dataset, .err = err};
    size_t(*inputs)[PT_MAX_INPUTS] = pt_calloc(n, sizeof *inputs);
    size_t *input_counts = pt_calloc(n, sizeof *input_counts);
    b.position = pt_calloc(n, sizeof *b.position);
    b.graph = pt_calloc(1, sizeof *b.graph);
    pt_status status = PT_ERR_MEMORY;
    if (b.graph) {
        b.graph->node_count = n + 1;
        b.graph->nodes = pt_calloc(n + 1, sizeof *b.graph->nodes);
        b.graph->params = pt_calloc(n * PT_NODE_MAX_PARAMS, sizeof *b.graph->params);
    }
    if (!inputs || !input_counts || !b.position || !b.graph || !b.graph->nodes || !b.graph->params)
        status = pt_fail_memory(err, "the graph", n * (sizeof(pt_node) + 2 * sizeof(pt_param)));
    else
        status = build(&b, inputs, input_counts);
    pt_free(inputs);
    pt_free(input_counts);
    pt_free(b.position);
    if (status == PT_OK)
        *graph = b.graph;
    else
        pt_graph_free(b.graph);
    return status;
}

bool pt_graph_takes_sparse(const pt_graph *graph) {
    for (size_t i = 1; i < graph->node_count; i++)
        for (size_t k = 0; k < graph->nodes[i].input_count; k++)
            if (graph->nodes[i].input[k] == 0 && !(k == 0 && graph->nodes[i].ops->takes_sparse))
                return false;
    return graph->nodes[0].consumers > 0;
}

void pt_graph_note_keys(pt_config *config) {
    for (size_t i = 0; i < config->layer_count; i++) {
        const pt_layer_ops *ops = pt_layer_find(config->layers[i].type);
        config->layers[i].keys_taken = ops ? ops->keys : 0;
    }
}

void pt_graph_free(pt_graph *graph) {
    if (!graph)
        return;
    for (size_t i = 0; i < graph->param_count; i++)
        pt_free(graph->params[i].name);
    pt_free(graph->params);
    pt_free(graph->nodes);
    pt_free(graph);
}
