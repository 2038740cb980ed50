/* test_graph.c: from layers of a config to a checked graph: order, inputs, shapes, parameters, and
 * what is refused with which words. */
#include "0_base/philox.h"
#include "3_graph/graph.h"
#include "toys.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Data by hand: the graph looks only at shapes and kinds. */
static const pt_dataset flat_data = {.element = PT_ELEMENT_F32,
                                     .columns = 4,
                                     .dims = {4},
                                     .dim_count = 1,
                                     .classes = 2,
                                     .train = {.rows = 4}};
static const pt_dataset image_data = {.element = PT_ELEMENT_U8,
                                      .columns = 15,
                                      .dims = {3, 5},
                                      .dim_count = 2,
                                      .classes = 2,
                                      .train = {.rows = 4}};
static const pt_dataset value_data = {.element = PT_ELEMENT_F32,
                                      .columns = 4,
                                      .dims = {4},
                                      .dim_count = 1,
                                      .target_columns = 3,
                                      .train = {.rows = 4}};
static const pt_dataset no_data = {.element = PT_ELEMENT_F32, .train = {.rows = 1}};

typedef struct built {
    pt_config *config;
    pt_graph *graph;
} built;

/* The graph of `text`, behind two lines of header. */
static pt_status build(const char *text, const pt_dataset *data, built *b, pt_error *err) {
    pt_text all = pt_textf("[data]\ndataset = none\n%s", text);
    *b = (built){0};
    pt_status status = pt_config_parse(all.s, "g.ini", NULL, 0, &b->config, err);
    return status == PT_OK ? pt_graph_build(b->config, data, &b->graph, err) : status;
}

static void destroy(built *b) {
    pt_graph_free(b->graph);
    pt_config_free(b->config);
}

static built make(const char *text, const pt_dataset *data) {
    built b;
    pt_error err = {0};
    REQUIRE_OK(build(text, data, &b, &err), err);
    return b;
}

/* `text` is refused; the message starts with "g.ini:`line`: " (line 0: without a line) and holds
 * `words`. Line 3 is the first of `text`. */
static void check_refused(const pt_dataset *data, const char *text, int line, const char *words) {
    built b;
    pt_error err = {0};
    pt_status status = build(text, data, &b, &err);
    CHECK_MSG(status == PT_ERR_CONFIG, "status %d for\n%s", status, text);
    CHECK(b.graph == NULL);
    pt_text place = line ? pt_textf("g.ini:%d: ", line) : pt_textf("%s", "");
    CHECK_MSG(strncmp(err.message, place.s, strlen(place.s)) == 0, "place %s wanted in: %s",
              place.s, err.message);
    CHECK_CONTAINS(err.message, words);
    CHECK_MSG(!strchr(err.message, '\n'), "one line: %s", err.message);
    destroy(&b);
}

static size_t node_of(const pt_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->node_count; i++)
        if (strcmp(graph->nodes[i].name, name) == 0)
            return i;
    CHECK_MSG(false, "no node %s", name);
    pt_abandon_test();
}

static const char OUT[] = "[layer.out]\ntype = affine\nunits = 2\n";

/* ---- order and inputs ---- */

TEST(graph, default_inputs_are_the_layer_before_and_the_data) {
    built b = make("[layer.a]\ntype = affine\nunits = 3\n[layer.b]\ntype = relu\n"
                   "[layer.c]\ntype = affine\nunits = 2\nbias = false\n",
                   &flat_data);
    const pt_graph *g = b.graph;
    REQUIRE(g->node_count == 4);
    CHECK_STR(g->nodes[0].name, "data");
    CHECK_STR(g->nodes[1].name, "a");
    CHECK_STR(g->nodes[2].name, "b");
    CHECK_STR(g->nodes[3].name, "c");
    for (size_t i = 1; i < 4; i++) {
        CHECK_INT(g->nodes[i].input_count, 1);
        CHECK_INT(g->nodes[i].input[0], i - 1);
    }
    CHECK_INT(g->output_node, 3);
    CHECK_STR(g->loss->type, "softmax_cross_entropy");
    CHECK_INT(g->param_count, 3);
    CHECK_INT(g->param_total, 4 * 3 + 3 + 3 * 2);
    CHECK(!g->nodes[0].needs_gradient);
    CHECK(g->nodes[1].needs_gradient && g->nodes[2].needs_gradient && g->nodes[3].needs_gradient);
    destroy(&b);
}

TEST(graph, sorts_layers_that_stand_in_any_order) {
    built b = make("[layer.last]\ntype = affine\nunits = 2\ninput = sum\n"
                   "[layer.sum]\ntype = add\ninput = right, left\n"
                   "[layer.left]\ntype = affine\nunits = 3\ninput = data\n"
                   "[layer.right]\ntype = affine\nunits = 3\ninput = data\n"
                   "[loss]\ninput = last\n",
                   &flat_data);
    const pt_graph *g = b.graph;
    /* Of the layers that are ready, the first of the file comes first. */
    const char *const order[] = {"data", "left", "right", "sum", "last"};
    REQUIRE(g->node_count == 5);
    for (size_t i = 0; i < 5; i++)
        CHECK_STR(g->nodes[i].name, order[i]);
    CHECK_INT(g->nodes[3].input[0], 2); /* the order of `input = right, left` stays */
    CHECK_INT(g->nodes[3].input[1], 1);
    CHECK_INT(g->output_node, 4);
    CHECK_STR(g->params[0].name, "left.weight");
    CHECK_STR(g->params[1].name, "left.bias");
    CHECK_STR(g->params[2].name, "right.weight");
    CHECK_STR(g->params[5].name, "last.bias");
    destroy(&b);
}

TEST(graph, keeps_the_order_of_a_sorted_file) {
    built b = make("[layer.z]\ntype = affine\nunits = 3\n"
                   "[layer.a]\ntype = affine\nunits = 3\ninput = data\n"
                   "[layer.m]\ntype = mul\ninput = a, z\n"
                   "[layer.b]\ntype = affine\nunits = 2\n",
                   &flat_data);
    const char *const order[] = {"data", "z", "a", "m", "b"};
    for (size_t i = 0; i < 5; i++)
        CHECK_STR(b.graph->nodes[i].name, order[i]);
    destroy(&b);
}

TEST(graph, fan_out_counts_consumers_and_orders_contributions) {
    built b = make("[layer.x]\ntype = affine\nunits = 2\n"
                   "[layer.square]\ntype = mul\ninput = x, x\n"
                   "[layer.tanh]\ntype = tanh\ninput = x\n"
                   "[layer.sum]\ntype = add\ninput = square, tanh, x\n",
                   &flat_data);
    const pt_graph *g = b.graph;
    CHECK_INT(g->nodes[node_of(g, "x")].consumers, 4);
    CHECK_INT(g->nodes[node_of(g, "square")].consumers, 1);
    CHECK_INT(g->nodes[node_of(g, "sum")].consumers, 1); /* the loss */
    /* The backward walk comes from the last node: `sum` contributes first everywhere. */
    const pt_node *sum = &g->nodes[node_of(g, "sum")], *square = &g->nodes[node_of(g, "square")];
    CHECK(sum->first_contribution[0] && sum->first_contribution[1] && sum->first_contribution[2]);
    CHECK(!square->first_contribution[0] && !square->first_contribution[1]);
    CHECK(!g->nodes[node_of(g, "tanh")].first_contribution[0]);
    destroy(&b);
}

TEST(graph, same_node_twice_into_mul_contributes_twice) {
    built b = make("[layer.x]\ntype = affine\nunits = 2\n"
                   "[layer.square]\ntype = mul\ninput = x, x\n",
                   &flat_data);
    const pt_node *square = &b.graph->nodes[2];
    CHECK(square->first_contribution[0]);
    CHECK(!square->first_contribution[1]);
    CHECK_INT(b.graph->nodes[1].consumers, 2);
    destroy(&b);
}

TEST(graph, loss_input_names_the_output) {
    built b = make("[layer.b]\ntype = relu\ninput = a\n"
                   "[layer.a]\ntype = affine\nunits = 2\ninput = data\n"
                   "[loss]\ninput = b\n",
                   &flat_data);
    CHECK_STR(b.graph->nodes[b.graph->output_node].name, "b");
    destroy(&b);
}

TEST(graph, data_may_be_named_and_used_twice) {
    built b = make("[layer.skip]\ntype = identity\n"
                   "[layer.a]\ntype = affine\nunits = 4\ninput = data\n"
                   "[layer.sum]\ntype = add\ninput = a, data, skip\n"
                   "[layer.out]\ntype = affine\nunits = 2\n",
                   &flat_data);
    const pt_graph *g = b.graph;
    CHECK_INT(g->nodes[node_of(g, "sum")].input[1], 0);
    CHECK(!g->nodes[node_of(g, "skip")].needs_gradient);
    CHECK(g->nodes[node_of(g, "sum")].needs_gradient);
    destroy(&b);
}

TEST(graph, flatten_makes_images_rows) {
    built b = make("[layer.act]\ntype = tanh\n[layer.flat]\ntype = flatten\n"
                   "[layer.out]\ntype = affine\nunits = 2\n",
                   &image_data);
    const pt_graph *g = b.graph;
    CHECK_INT(g->nodes[0].shape.rank, 2);
    CHECK_INT(g->nodes[1].shape.rank, 2); /* elementwise layers take any shape */
    CHECK_INT(g->nodes[2].shape.rank, 1);
    CHECK_INT(g->nodes[2].shape.dim[0], 15);
    CHECK_INT(g->params[0].rows, 15);
    destroy(&b);
}

/* ---- parameters ---- */

static const char WIDE[] = "[layer.a]\ntype = affine\nunits = 17\ninit = normal(0.5)\n"
                           "[layer.b]\ntype = affine\nunits = 16\ninit = he\n"
                           "[layer.c]\ntype = affine\nunits = 33\ninit = xavier\n"
                           "bias_init = uniform(0.25)\n"
                           "[layer.d]\ntype = affine\nunits = 2\ninit = constant(0.125)\n";

TEST(graph, parameters_are_aligned_and_do_not_overlap) {
    built b = make(WIDE, &flat_data);
    const pt_graph *g = b.graph;
    size_t end = 0, total = 0;
    for (size_t p = 0; p < g->param_count; p++) {
        const pt_param *param = &g->params[p];
        CHECK_INT(param->offset % PT_ROW_ALIGN, 0);
        CHECK_INT(param->ld % PT_ROW_ALIGN, 0);
        CHECK(param->ld >= param->cols && param->ld < param->cols + PT_ROW_ALIGN);
        CHECK_INT(param->offset, end);
        end = param->offset + param->rows * param->ld;
        total += param->rows * param->cols;
        CHECK_INT(g->nodes[param->node].first_param, p - (p % 2));
    }
    CHECK_INT(g->block_size, end);
    CHECK_INT(g->param_total, total);
    CHECK_INT(g->params[0].rank, 2);
    CHECK_INT(g->params[1].rank, 1);
    CHECK_INT(g->params[1].rows, 1);
    CHECK_INT(g->params[2].fan_in, 17);
    CHECK_INT(g->widest_ld, 48);
    destroy(&b);
}

/* Initial parameters of a graph; the caller frees them. */
static float *initial(const pt_graph *graph, uint64_t seed) {
    float *block = calloc(graph->block_size, sizeof *block);
    REQUIRE(block != NULL);
    pt_graph_initialize(graph, seed, block);
    return block;
}

/* Kernels may skip them or not. */
TEST(graph, no_initial_value_is_denormal) {
    built b = make("[layer.a]\ntype = affine\nunits = 17\ninit = uniform(3e-38)\n"
                   "bias_init = constant(-1e-39)\n"
                   "[layer.b]\ntype = affine\nunits = 2\n",
                   &flat_data);
    const pt_param *weight = &b.graph->params[0], *bias = &b.graph->params[1];
    float *block = initial(b.graph, 7);
    size_t zero = 0, denormal = 0;
    for (size_t i = 0; i < b.graph->block_size; i++)
        denormal += fpclassify(block[i]) == FP_SUBNORMAL;
    for (size_t c = 0; c < weight->cols; c++) {
        zero += block[weight->offset + c] == 0;
        CHECK(block[bias->offset + c] == 0 && signbit(block[bias->offset + c]));
    }
    CHECK_INT((long long)denormal, 0);
    CHECK(zero > 0 && zero < weight->cols);
    free(block);
    destroy(&b);
}

TEST(graph, initial_values_stand_at_their_addresses) {
    built b = make(WIDE, &flat_data);
    const pt_graph *g = b.graph;
    float *block = initial(g, 7);
    long wrong = 0, padding = 0;
    for (size_t p = 0; p < g->param_count; p++)
        for (size_t r = 0; r < g->params[p].rows; r++)
            for (size_t c = 0; c < g->params[p].ld; c++) {
                const pt_param *param = &g->params[p];
                const float x = block[param->offset + r * param->ld + c];
                if (c >= param->cols) {
                    padding += x != 0;
                    continue;
                }
                const size_t element = r * param->cols + c;
                float want = 0;
                if (strcmp(param->name, "a.weight") == 0)
                    want = 0.5f * pt_random_normal(7, PT_STREAM_INIT, p, element);
                else if (strcmp(param->name, "b.weight") == 0) /* sqrt(2 / 17) */
                    want = 0.34299717f * pt_random_normal(7, PT_STREAM_INIT, p, element);
                else if (strcmp(param->name, "c.weight") == 0) /* sqrt(1 / 16) */
                    want = 0.25f * pt_random_normal(7, PT_STREAM_INIT, p, element);
                else if (strcmp(param->name, "c.bias") == 0)
                    want = 0.25f * (2 * pt_random_uniform(7, PT_STREAM_INIT, p, element) - 1);
                else if (strcmp(param->name, "d.weight") == 0)
                    want = 0.125f;
                wrong += x != want;
            }
    CHECK_INT(wrong, 0);
    CHECK_INT(padding, 0);
    free(block);
    destroy(&b);
}

TEST(graph, a_new_layer_at_the_end_leaves_the_others_initial_values) {
    built small = make(WIDE, &flat_data);
    pt_text more = pt_textf("%s[layer.e]\ntype = affine\nunits = 2\n", WIDE);
    built large = make(more.s, &flat_data);
    float *a = initial(small.graph, 3), *b = initial(large.graph, 3),
          *other = initial(small.graph, 4);
    CHECK(large.graph->block_size > small.graph->block_size);
    CHECK(memcmp(a, b, small.graph->block_size * sizeof *a) == 0);
    CHECK(memcmp(a, other, small.graph->block_size * sizeof *a) != 0); /* the seed matters */
    free(a);
    free(b);
    free(other);
    destroy(&small);
    destroy(&large);
}

TEST(graph, operations_are_counted) {
    built b = make("[layer.a]\ntype = affine\nunits = 3\n[layer.b]\ntype = relu\n"
                   "[layer.c]\ntype = affine\nunits = 2\nbias = false\n",
                   &flat_data);
    /* a: (2 x 4 + 1) x 3 = 27, b: 3, c: 2 x 3 x 2 = 12; training adds the gradients: a's inputs are
     * the data, which want none. */
    CHECK(pt_graph_flops_forward(b.graph) == 27 + 3 + 12);
    CHECK(pt_graph_flops_training(b.graph) == 2 * 27 + 2 * 3 + 3 * 12);
    destroy(&b);
}

/* ---- what is refused ---- */

TEST(graph, refuses_unknown_names) {
    check_refused(&flat_data, "[layer.out]\ntype = afine\nunits = 2\n", 4,
                  "layer 'out': unknown type 'afine'; did you mean 'affine'?");
    check_refused(&flat_data, "[layer.out]\ntype = convolution\n", 4, "known are affine, relu");
    check_refused(&flat_data,
                  "[layer.hidden]\ntype = affine\nunits = 2\n[layer.out]\ntype = relu\n"
                  "input = hiden\n",
                  8, "input 'hiden' is not a layer; did you mean 'hidden'?");
    check_refused(&flat_data,
                  "[layer.out]\ntype = affine\nunits = 2\n[loss]\ntype = softmax_cross\n", 7,
                  "did you mean 'softmax_cross_entropy'?");
    check_refused(&flat_data, "[layer.out]\ntype = affine\nunits = 2\n[loss]\ninput = ot\n", 7,
                  "loss input 'ot' is not a layer; did you mean 'out'?");
}

TEST(graph, refuses_keys_a_type_does_not_take_or_lacks) {
    check_refused(&flat_data, "[layer.out]\ntype = relu\nunits = 2\n", 5,
                  "a layer of type relu takes no 'units'");
    check_refused(&flat_data, "[layer.out]\ntype = affine\nunits = 2\nvalue = 1\n", 6,
                  "takes no 'value'");
    check_refused(&flat_data, "[layer.out]\nunits = 2\nbias = false\ntype = variable\n", 5,
                  "takes no 'bias'");
    check_refused(&flat_data, "[layer.out]\ntype = affine\n", 3, "wants 'units = ...'");
    check_refused(&flat_data, "[layer.out]\nunits = 2\n", 3, "type");
    check_refused(&no_data, "[layer.v]\ntype = variable\n[loss]\ntype = output\n", 3,
                  "`value = NUMBER, ...` or `units = N`");
    check_refused(&no_data, "[layer.v]\ntype = variable\nunits = 3\nvalue = 1, 2\n", 3,
                  "`units = 3` but `value` lists 2 numbers");
}

TEST(graph, refuses_the_wrong_number_of_inputs) {
    check_refused(&flat_data, "[layer.a]\ntype = add\n", 3, "wants 2 to 8 inputs, not 1");
    check_refused(&flat_data, "[layer.a]\ntype = mul\ninput = data, data, data\n", 5,
                  "wants 2 inputs: `input = a, b`, not 3");
    check_refused(&flat_data, "[layer.a]\ntype = affine\nunits = 2\ninput = data, data\n", 6,
                  "wants 1 input, not 2");
    check_refused(&flat_data, "[layer.v]\ntype = variable\nvalue = 1\ninput = data\n", 6,
                  "takes no input");
    check_refused(&no_data, "[layer.a]\ntype = relu\n", 3, "`dataset = none` has no columns");
    check_refused(&no_data,
                  "[layer.v]\ntype = variable\nvalue = 1\n"
                  "[layer.a]\ntype = add\ninput = v, data\n",
                  8, "`dataset = none` has no columns");
}

TEST(graph, refuses_cycles_and_names_them) {
    check_refused(&flat_data, "[layer.me]\ntype = relu\ninput = me\n", 5, "me <- me");
    check_refused(&flat_data,
                  "[layer.a]\ntype = relu\ninput = c\n[layer.b]\ntype = relu\n"
                  "[layer.c]\ntype = relu\n",
                  5, "cycle: a <- c <- b <- a");
    /* A tail behind the cycle is not named. */
    built b;
    pt_error err = {0};
    CHECK_INT(build("[layer.tail]\ntype = relu\ninput = x\n"
                    "[layer.x]\ntype = add\ninput = data, y\n[layer.y]\ntype = relu\ninput = x\n"
                    "[loss]\ninput = tail\n",
                    &flat_data, &b, &err),
              PT_ERR_CONFIG);
    CHECK_CONTAINS(err.message, "cycle: ");
    CHECK_CONTAINS(err.message, "x <- y");
    CHECK(!strstr(err.message, "tail <-"));
    destroy(&b);
}

TEST(graph, a_long_cycle_is_one_line_too) {
    enum { LAYERS = 120 };
    static char text[LAYERS * 80];
    size_t used = 0;
    for (int i = 0; i < LAYERS; i++)
        used += (size_t)snprintf(text + used, sizeof text - used,
                                 "[layer.a_long_name_of_a_layer_number_%03d]\ntype = relu\n", i);
    static char all[sizeof text + 200];
    snprintf(all, sizeof all, "[data]\ndataset = none\n%s[layer.closing]\ntype = relu\n", text);
    pt_config *config =
        pt_toy_config(all, "layer.a_long_name_of_a_layer_number_000.input=closing", NULL);
    pt_graph *graph;
    pt_error err = {0};
    CHECK_INT(pt_graph_build(config, &flat_data, &graph, &err), PT_ERR_CONFIG);
    CHECK_CONTAINS(err.message, "cycle");
    CHECK(strlen(err.message) < PT_ERROR_MESSAGE_SIZE - 1);
    pt_config_free(config);
}

TEST(graph, refuses_shapes_that_do_not_fit) {
    static const char two[] = "[layer.a]\ntype = affine\nunits = 3\n"
                              "[layer.b]\ntype = affine\nunits = 4\ninput = data\n";
    check_refused(&flat_data, pt_textf("%s[layer.c]\ntype = add\ninput = a, b\n", two).s, 10,
                  "layer 'c': add wants inputs of one shape but the first is 3 and the 2. is 4");
    check_refused(&flat_data, pt_textf("%s[layer.c]\ntype = mul\ninput = a, b\n", two).s, 10,
                  "layer 'c': mul wants inputs of one shape but they are 3 and 4");
    check_refused(&image_data, OUT, 3,
                  "affine wants flat rows but its input is 3 x 5; put a flatten layer before it");
    check_refused(&image_data, "[layer.a]\ntype = softmax\n", 3, "put a flatten layer before it");
    check_refused(&image_data,
                  "[layer.f]\ntype = flatten\n[layer.a]\ntype = add\ninput = f, data\n", 5,
                  "the first is 15 and the 2. is 3 x 5");
}

TEST(graph, refuses_what_leads_nowhere) {
    check_refused(&flat_data, pt_textf("[layer.lost]\ntype = relu\n%sinput = data\n", OUT).s, 3,
                  "layer 'lost': leads nowhere");
    check_refused(&flat_data, pt_textf("%s[layer.more]\ntype = relu\n[loss]\ninput = out\n", OUT).s,
                  6, "layer 'more': leads nowhere");
}

TEST(graph, refuses_losses_that_do_not_fit) {
    check_refused(&flat_data, "[layer.out]\ntype = affine\nunits = 3\n", 3,
                  "feeds the loss with 3 outputs but the data has 2 classes; use `units = 2`");
    check_refused(&value_data,
                  "[layer.out]\ntype = affine\nunits = 2\n[loss]\ntype = mean_squared_error\n", 3,
                  "the data has 3 target columns; use `units = 3`");
    check_refused(&value_data,
                  "[layer.out]\ntype = affine\nunits = 3\n"
                  "[loss]\ntype = softmax_cross_entropy\n",
                  7, "wants class labels but the data has none");
    check_refused(&no_data,
                  "[layer.v]\ntype = variable\nvalue = 1\n[loss]\ntype = mean_squared_error\n", 7,
                  "wants targets but the data has none");
    check_refused(&image_data, "[layer.a]\ntype = relu\n", 3, "put a flatten layer after it");
}

TEST(graph, refuses_nothing_to_train) {
    check_refused(&flat_data, "[layer.a]\ntype = relu\n[loss]\ntype = output\n", 0,
                  "g.ini: there is nothing to train");
    check_refused(&flat_data, "", 0, "g.ini: no layers");
}

TEST(graph, a_default_loss_that_does_not_fit_names_the_file) {
    check_refused(&value_data, "[layer.out]\ntype = affine\nunits = 3\n", 0, "g.ini");
}

/* ---- drawing ---- */

TEST(graph, dot_names_nodes_shapes_and_edges) {
    built b = make("[layer.flat]\ntype = flatten\n[layer.fc]\ntype = affine\nunits = 2\n"
                   "[layer.twice]\ntype = add\ninput = fc, fc\n",
                   &image_data);
    char *text = NULL;
    size_t size;
    FILE *stream = open_memstream(&text, &size);
    REQUIRE(stream != NULL);
    pt_graph_write_dot(b.graph, NULL, stream);
    REQUIRE(fclose(stream) == 0);
    CHECK_CONTAINS(text, "digraph ptrain {\n");
    CHECK_CONTAINS(text, "// one row: 64 FLOPs forward, 128 in training; 32 parameters\n");
    CHECK_CONTAINS(text, "n0 [label=\"data\\n3 x 5\", shape=box];\n");
    CHECK_CONTAINS(text, "n1 [label=\"flat\\nflatten\\n15\"];\n");
    CHECK_CONTAINS(text,
                   "n2 [label=\"fc\\naffine\\n2\\n32 parameters\\n62 FLOPs\", style=filled];\n");
    CHECK_CONTAINS(text, "loss [label=\"loss\\nsoftmax_cross_entropy\", shape=box];\n");
    CHECK_CONTAINS(text, "  n0 -> n1;\n  n1 -> n2;\n  n2 -> n3;\n  n2 -> n3;\n  n3 -> loss;\n}\n");
    free(text);
    destroy(&b);
}
