/* dot.c: the computational graph as Graphviz DOT. */
#include "3_graph/tape.h"

#include <stdio.h>

/* Forward operations of one row. */
static double node_flops(const pt_graph *graph, size_t index) {
    const pt_node *node = &graph->nodes[index];
    pt_shape inputs[PT_MAX_INPUTS];
    for (size_t k = 0; k < node->input_count; k++)
        inputs[k] = graph->nodes[node->input[k]].shape;
    return node->ops->flops(node, inputs);
}

/* Numbers of a row, a few of them: "715" or "0.5, 0.25, ..." */
static void write_values(FILE *stream, const char *label, const float *row, size_t cols) {
    enum { SHOWN = 4 };
    fprintf(stream, "\\n%s ", label);
    for (size_t i = 0; i < cols && i < SHOWN; i++)
        fprintf(stream, "%s%.6g", i ? ", " : "", (double)row[i]);
    if (cols > SHOWN)
        fputs(", ...", stream);
}

static void write_node(const pt_graph *graph, const pt_tape *tape, size_t index, FILE *stream) {
    const pt_node *node = &graph->nodes[index];
    char shape[96];
    fprintf(stream, "  n%zu [label=\"%s", index, node->name);
    if (node->ops)
        fprintf(stream, "\\n%s", node->ops->type);
    fprintf(stream, "\\n%s", pt_shape_text(&node->shape, shape));
    size_t parameters = 0;
    for (size_t p = 0; p < node->param_count; p++)
        parameters +=
            graph->params[node->first_param + p].rows * graph->params[node->first_param + p].cols;
    if (parameters)
        fprintf(stream, "\\n%zu parameters", parameters);
    if (node->ops) {
        double flops = node_flops(graph, index);
        if (flops > 0)
            fprintf(stream, "\\n%.0f FLOPs", flops);
    }
    if (tape && node->cols) {
        write_values(stream, "value", pt_tape_value(tape, index), node->cols);
        if (node->needs_gradient)
            write_values(stream, "gradient", tape->gradient[index], node->cols);
    }
    fprintf(stream, "\"%s];\n", index == 0 ? ", shape=box" : parameters ? ", style=filled" : "");
}

void pt_graph_write_dot(const pt_graph *graph, const pt_tape *tape, FILE *stream) {
    fprintf(stream,
            "digraph ptrain {\n"
            "  // one row: %.0f FLOPs forward, %.0f in training; %zu parameters\n"
            "  rankdir=LR;\n"
            "  node [shape=ellipse, fontname=\"sans-serif\", fillcolor=lightgrey];\n",
            pt_graph_flops_forward(graph), pt_graph_flops_training(graph), graph->param_total);
    for (size_t i = graph->nodes[0].cols ? 0 : 1; i < graph->node_count; i++)
        write_node(graph, tape, i, stream);
    fprintf(stream, "  loss [label=\"loss\\n%s\", shape=box];\n", graph->loss->type);
    for (size_t i = 1; i < graph->node_count; i++)
        for (size_t k = 0; k < graph->nodes[i].input_count; k++)
            fprintf(stream, "  n%zu -> n%zu;\n", graph->nodes[i].input[k], i);
    fprintf(stream, "  n%zu -> loss;\n}\n", graph->output_node);
}

double pt_graph_flops_forward(const pt_graph *graph) {
    double flops = 0;
    for (size_t i = 1; i < graph->node_count; i++)
        flops += node_flops(graph, i);
    return flops;
}

double pt_graph_flops_training(const pt_graph *graph) {
    /* The gradient to the inputs costs what forward does, where it is wanted; so does the gradient
     * to the parameters. */
    double flops = 0;
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_node *node = &graph->nodes[i];
        bool backward = false;
        for (size_t k = 0; k < node->input_count; k++)
            backward = backward || graph->nodes[node->input[k]].needs_gradient;
        flops += node_flops(graph, i) * (1 + backward + (node->param_count > 0));
    }
    return flops;
}
