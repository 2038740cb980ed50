/* test_layers.c: every layer of PT_LAYERS and every loss of PT_LOSSES: backpropagation against
 * numerical differentiation on every instruction set, the loss against its float64 reference, and
 * outputs against plain formulas.
 *
 * The lists are walked, so a new layer or loss fails here until it has an entry in the tables
 * below.
 */
#include "3_graph/layer.h"
#include "4_train/numerical.h"
#include "4_train/trainer.h"
#include "7_check/gradcheck.h"
#include "toys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* A part of a graph that uses the layer where gradients pass through it: `data` has 5 columns, and
 * an affine layer with 3 units follows. */
static const struct layer_check {
    const char *type, *layers;
} layer_checks[] = {
    {"affine", "[layer.a]\ntype = affine\nunits = 19\ninit = normal(0.5)\n"
               "[layer.b]\ntype = affine\nunits = 6\ninit = xavier\nbias_init = normal(1)\n"
               "[layer.c]\ntype = affine\nunits = 17\ninit = he\nbias = false\n"},
    {"relu", "[layer.a]\ntype = affine\nunits = 33\ninit = normal(0.5)\n[layer.b]\ntype = relu\n"},
    {"sigmoid", "[layer.a]\ntype = affine\nunits = 18\ninit = normal(1)\n"
                "[layer.b]\ntype = sigmoid\n"},
    {"tanh", "[layer.a]\ntype = affine\nunits = 18\ninit = normal(1)\n[layer.b]\ntype = tanh\n"},
    {"gelu", "[layer.a]\ntype = affine\nunits = 18\ninit = normal(1)\n[layer.b]\ntype = gelu\n"},
    {"silu", "[layer.a]\ntype = affine\nunits = 18\ninit = normal(1)\n[layer.b]\ntype = silu\n"},
    {"identity", "[layer.a]\ntype = affine\nunits = 7\ninit = normal(0.5)\n"
                 "[layer.b]\ntype = identity\n"},
    {"softmax", "[layer.a]\ntype = affine\nunits = 18\ninit = normal(1)\n"
                "[layer.b]\ntype = softmax\n"},
    {"add", "[layer.a]\ntype = affine\nunits = 18\ninit = normal(0.5)\n"
            "[layer.b]\ntype = affine\nunits = 18\ninput = data\ninit = normal(0.5)\n"
            "[layer.c]\ntype = tanh\ninput = a\n"
            "[layer.sum]\ntype = add\ninput = a, b, c, a\n"},
    {"mul", "[layer.a]\ntype = affine\nunits = 18\ninit = normal(0.5)\n"
            "[layer.b]\ntype = affine\nunits = 18\ninput = data\ninit = normal(0.5)\n"
            "[layer.ab]\ntype = mul\ninput = a, b\n"
            "[layer.aa]\ntype = mul\ninput = a, a\n"
            "[layer.sum]\ntype = mul\ninput = ab, aa\n"},
    {"flatten", "[layer.a]\ntype = affine\nunits = 7\ninit = normal(0.5)\n"
                "[layer.b]\ntype = flatten\n"},
    {"variable", "[layer.v]\ntype = variable\nunits = 18\ninit = normal(1)\n"
                 "[layer.w]\ntype = variable\nvalue = 1, -2, 3, 4, 5, -6, 7, 8, 9, 1, 2, 3, 4, 5, "
                 "6, 7, 8, 9\n"
                 "[layer.a]\ntype = affine\nunits = 18\ninput = data\ninit = normal(0.5)\n"
                 "[layer.b]\ntype = mul\ninput = a, v\n[layer.c]\ntype = mul\ninput = b, w\n"
                 "[layer.d]\ntype = tanh\n"},
};

static const struct loss_check {
    const char *type;
    bool values; /* needs target values; otherwise runs on labels */
} loss_checks[] = {
    {"softmax_cross_entropy", false},
    {"mean_squared_error", false}, /* one-hot */
    {"mean_squared_error", true},
    {"output", false},
    {"output", true},
};

enum { ROWS = 13, COLUMNS = 5, CLASSES = 3 };

/* A config on 13 rows of 5 features between -1 and 1, and a label below 3 or 3 target values. */
static pt_text config_text(const char *layers, const char *loss, bool values) {
    pt_text csv = {.s = ""};
    size_t used = 0;
    unsigned state = 1;
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t c = 0; c < COLUMNS + (values ? CLASSES : 0); c++) {
            state = state * 1664525u + 1013904223u;
            used += (size_t)snprintf(csv.s + used, sizeof csv.s - used, "%s%.3f", c ? "," : "",
                                     (double)(state >> 16) / 32768 - 1);
        }
        used +=
            (size_t)(values ? snprintf(csv.s + used, sizeof csv.s - used, "\n")
                            : snprintf(csv.s + used, sizeof csv.s - used, ",%zu\n", r % CLASSES));
    }
    const char *path = pt_path_in(pt_temp_folder(), "rows.csv");
    pt_write_text(path, csv.s);
    return pt_textf("[data]\ndataset = csv\ntrain_file = %s\ntarget = %s\n%s%s"
                    "[layer.out]\ntype = affine\nunits = 3\ninit = normal(0.5)\n"
                    "[loss]\ntype = %s\n"
                    "[train]\nbatch_size = %d\nsampling = sequential\n[parallel]\nshards = 3\n",
                    path, values ? "values" : "label", values ? "target_columns = 3\n" : "", layers,
                    loss, ROWS);
}

typedef struct tally {
    size_t rows, isas;
    const char *isa;
} tally;

static void count_row(void *context, const pt_gradcheck_row *row) {
    tally *t = context;
    t->isas += !t->isa || strcmp(t->isa, row->isa) != 0;
    t->isa = row->isa;
    t->rows++;
    CHECK_MSG(row->ok, "%s %s: largest difference %g, bound %g", row->isa, row->tensor,
              row->largest_difference, row->bound);
    /* The bound holds for every graph of such sizes; on these small ones a right gradient is off by
     * a few roundings only. */
    CHECK_MSG(row->largest_difference <= 1e-6 * (1 + row->largest_gradient),
              "%s %s: largest difference %g for gradients up to %g", row->isa, row->tensor,
              row->largest_difference, row->largest_gradient);
}

static size_t isas_here(void) {
    size_t count = 0;
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++)
        count += pt_kernels_get((pt_isa)isa) != NULL;
    return count;
}

/* The same gradients with memory of its own for every node, whose pointers must differ. */
static void check_apart(pt_toy *toy, const float *gradient, double loss) {
    static float again[1 << 15];
    const pt_graph *graph = toy->trainer->graph;
    pt_error err = {0};
    REQUIRE_OK(pt_trainer_keep_apart(toy->trainer, &err), err);
    memset(again, 0, sizeof again);
    CHECK(pt_trainer_gradients(toy->trainer, 0, again) == loss);
    CHECK(pt_same_bytes(again, gradient, graph->block_size * sizeof *again));
    CHECK(!toy->trainer->tape.folds);
    for (size_t i = 2; i < graph->node_count; i++)
        for (size_t k = 1; k < i; k++)
            CHECK(toy->trainer->tape.value[i] != toy->trainer->tape.value[k]);
}

/* Gradients and loss of the training path against the float64 reference. */
static void check_graph(const char *text) {
    pt_toy toy = pt_toy_make(pt_toy_config(text, NULL));
    pt_error err = {0};
    tally t = {0};
    REQUIRE_OK(pt_gradcheck(toy.config, toy.dataset, count_row, &t, &err), err);
    const pt_graph *graph = toy.trainer->graph;
    CHECK_INT(t.isas, isas_here());
    CHECK_INT(t.rows, isas_here() * graph->param_count);

    static float gradient[1 << 15];
    static double expected[1 << 14];
    REQUIRE(graph->block_size <= 1 << 15 && graph->param_total <= 1 << 14);
    memset(gradient, 0, sizeof gradient);
    double loss = pt_trainer_gradients(toy.trainer, 0, gradient), reference;
    REQUIRE_OK(pt_numerical_gradient(graph, toy.trainer->params, &toy.trainer->batch, ROWS, 1, 0,
                                     expected, &reference, &err),
               err);
    CHECK_MSG(fabs(loss - reference) <= 2e-6 * fmax(1, fabs(reference)), "loss %.9g, float64 %.9g",
              loss, reference);
    check_apart(&toy, gradient, loss);
    pt_toy_free(&toy);
}

/* As the gradient check of a large network takes it. */
TEST(layers, a_sample_of_the_numerical_gradient_is_part_of_it) {
    enum { MOST = 50, LEFT = -7 };
    pt_toy toy = pt_toy_make(pt_toy_config(pt_toy_images_text("").s, NULL));
    pt_error err = {0};
    const pt_graph *graph = toy.trainer->graph;
    static float gradient[1 << 15];
    static double whole[1 << 14], sample[1 << 14];
    REQUIRE(graph->block_size <= 1 << 15 && graph->param_total <= 1 << 14);
    pt_trainer_gradients(toy.trainer, 0, gradient); /* fetches the rows */
    pt_batch_make_dense(&toy.trainer->batch);
    for (size_t i = 0; i < graph->param_total; i++)
        sample[i] = LEFT;
    for (size_t most = 0; most <= MOST; most += MOST) {
        double loss;
        REQUIRE_OK(pt_numerical_gradient(graph, toy.trainer->params, &toy.trainer->batch, 3, 2,
                                         most, most ? sample : whole, &loss, &err),
                   err);
    }
    size_t at = 0;
    for (size_t p = 0; p < graph->param_count; p++) {
        const size_t count = graph->params[p].rows * graph->params[p].cols;
        const size_t apart = pt_numerical_apart(&graph->params[p], MOST);
        size_t taken = 0, columns = 0; /* a bit each */
        for (size_t e = 0; e < count; e++, at++) {
            taken += e % apart == 0;
            columns |= (size_t)(e % apart == 0) << e % graph->params[p].cols;
            CHECK(sample[at] == (e % apart ? LEFT : whole[at]));
        }
        CHECK(taken <= MOST && (taken == count || taken > MOST / 3));
        CHECK_INT(__builtin_popcountll(columns), graph->params[p].cols);
    }
    pt_toy_free(&toy);
}

TEST(layers, every_layer_has_a_right_gradient_on_every_isa) {
    size_t checked = 0;
    for (size_t i = 0; pt_layer_list[i]; i++) {
        const struct layer_check *check = NULL;
        for (size_t k = 0; k < sizeof layer_checks / sizeof *layer_checks; k++)
            if (strcmp(layer_checks[k].type, pt_layer_list[i]->type) == 0)
                check = &layer_checks[k];
        CHECK_MSG(check != NULL,
                  "layer type %s has no gradient check: add a graph that uses it to layer_checks",
                  pt_layer_list[i]->type);
        if (!check)
            continue;
        pt_text wanted = pt_textf("type = %s\n", check->type);
        CHECK_MSG(strstr(check->layers, wanted.s), "the graph for %s does not use it", check->type);
        check_graph(config_text(check->layers, "softmax_cross_entropy", false).s);
        check_graph(config_text(check->layers, "mean_squared_error", true).s);
        checked++;
    }
    CHECK(checked >= 10);
}

#define AFFINE(NAME, INPUT)                                                                        \
    "[layer." NAME "]\ntype = affine\nunits = 18\ninit = normal(1)\ninput = " INPUT "\n"
#define SUM(INPUTS) "[layer.sum]\ntype = add\ninput = " INPUTS "\n"

/* Values are written over only where nobody reads them any more; and a ReLU is left to the products
 * beside it only where they see all that it reads, or all that reads it. */
TEST(layers, activations_lie_in_place_and_fold_where_they_may) {
    static const struct {
        const char *layers;
        size_t in_place; /* nodes that share memory with the one before */
        size_t folded_forward, folded_backward;
    } cases[] = {
        {"[layer.b]\ntype = relu\n", 1, 1, 1},
        {"[layer.b]\ntype = sigmoid\n", 1, 0, 0},
        {"[layer.b]\ntype = tanh\n", 1, 0, 0},
        {"[layer.b]\ntype = gelu\n", 0, 0, 0}, /* reads its input in backward */
        {"[layer.b]\ntype = silu\n", 0, 0, 0},
        {"[layer.b]\ntype = softmax\n", 0, 0, 0},
        {"[layer.b]\ntype = sigmoid\n[layer.c]\ntype = tanh\n", 1, 0,
         0}, /* sigmoid reads its output */
        {"[layer.b]\ntype = softmax\n[layer.c]\ntype = relu\n", 0, 0, 1},
        {"[layer.b]\ntype = gelu\n[layer.c]\ntype = relu\n", 0, 0, 1},
        {"[layer.b]\ntype = relu\n[layer.c]\ntype = add\ninput = a, b\n", 0, 0,
         0}, /* a is read twice */
        {"[layer.b]\ntype = add\ninput = a, a\n[layer.c]\ntype = relu\n", 1, 0, 1},
        {"[layer.b]\ntype = mul\ninput = a, a\n[layer.c]\ntype = tanh\n", 1, 0, 0},
        {"[layer.b]\ntype = relu\ninput = data\n[layer.c]\ntype = affine\nunits = 18\n"
         "init = normal(1)\n[layer.d]\ntype = add\ninput = a, c\n",
         0, 0, 0}, /* the data are lent */
        {"[layer.b]\ntype = relu\n[layer.c]\ntype = relu\n", 1, 1, 1},
        {"[layer.b]\ntype = relu\n" AFFINE("c", "b") AFFINE("d", "b") SUM("c, d"), 1, 1, 0},
        {"[layer.s]\ntype = sigmoid\n[layer.b]\ntype = relu\ninput = a\n" AFFINE("c", "b")
             SUM("s, c"),
         0, 0, 1}, /* a's gradient: first that through the ReLU, then the other is added */
        {"[layer.b]\ntype = relu\n" AFFINE("c", "b") SUM("a, c"), 0, 0,
         0}, /* the other way round */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const pt_text layers =
            pt_textf("[layer.a]\ntype = affine\nunits = 18\ninit = normal(1)\n%s", cases[i].layers);
        const pt_text text = config_text(layers.s, "softmax_cross_entropy", false);
        pt_toy toy = pt_toy_make(pt_toy_config(text.s, NULL));
        const pt_tape *tape = &toy.trainer->tape;
        size_t shared = 0, forward = 0, backward = 0;
        for (size_t n = 2; n < toy.trainer->graph->node_count; n++) {
            const bool values = tape->value[n] == tape->value[n - 1];
            CHECK(values == (tape->gradient[n] == tape->gradient[n - 1]));
            shared += values;
            forward += pt_tape_skips_forward(tape, &toy.trainer->graph->nodes[n]);
            backward += pt_tape_skips_backward(tape, &toy.trainer->graph->nodes[n]);
        }
        CHECK_MSG(shared == cases[i].in_place, "%s: %zu nodes in place, not %zu", cases[i].layers,
                  shared, cases[i].in_place);
        CHECK_MSG(forward == cases[i].folded_forward && backward == cases[i].folded_backward,
                  "%s: %zu and %zu folded", cases[i].layers, forward, backward);
        pt_toy_free(&toy);
        check_graph(text.s);
    }
}

/* So that a relay may form them while gradients of the step before read the others. */
TEST(layers, values_of_what_reads_the_data_have_two_buffers) {
    const pt_text text =
        config_text("[layer.a]\ntype = affine\nunits = 18\n[layer.b]\ntype = relu\n",
                    "softmax_cross_entropy", false);
    pt_toy toy = pt_toy_make(pt_toy_config(text.s, NULL));
    pt_tape tape;
    pt_error err = {0};
    REQUIRE_OK(pt_tape_init(&tape, toy.trainer->graph, ROWS, PT_TAPE_OVERLAPPING, &err), err);
    float *const first[] = {tape.value[1], tape.other_value[1]}, *const out = tape.value[3];
    CHECK_INT(toy.trainer->graph->node_count, 4);
    CHECK((size_t)(first[1] - first[0]) >= ROWS * toy.trainer->graph->nodes[1].ld);
    for (size_t step = 0; step < 3; step++, pt_tape_turn(&tape)) {
        CHECK(tape.value[1] == first[step % 2] && tape.value[2] == first[step % 2]);
        CHECK(tape.value[3] == out && tape.other_value[3] == out);
    }
    pt_tape_destroy(&tape);
    pt_toy_free(&toy);
}

TEST(layers, every_loss_has_a_right_gradient_on_every_isa) {
    static const char layers[] = "[layer.a]\ntype = affine\nunits = 18\ninit = normal(0.5)\n"
                                 "[layer.b]\ntype = tanh\n";
    size_t checked = 0;
    for (size_t i = 0; pt_loss_list[i]; i++) {
        size_t found = 0;
        for (size_t k = 0; k < sizeof loss_checks / sizeof *loss_checks; k++)
            if (strcmp(loss_checks[k].type, pt_loss_list[i]->type) == 0) {
                check_graph(config_text(layers, loss_checks[k].type, loss_checks[k].values).s);
                found++;
            }
        CHECK_MSG(found > 0, "loss %s has no gradient check: add it to loss_checks",
                  pt_loss_list[i]->type);
        checked += found;
    }
    CHECK(checked >= 5);
}

TEST(layers, all_operations_are_there) {
    for (size_t i = 0; pt_layer_list[i]; i++) {
        const pt_layer_ops *ops = pt_layer_list[i];
        CHECK(ops->type && ops->shape && ops->forward && ops->backward);
        CHECK(ops->forward_f64 && ops->flops);
        CHECK(ops->min_inputs <= ops->max_inputs && ops->max_inputs <= PT_MAX_INPUTS);
        CHECK_INT(ops->required_keys & ~ops->keys, 0);
        CHECK(!ops->takes_relu || ops->forgets_output); /* ReLU is applied where it would lie */
        CHECK(pt_layer_find(ops->type) == ops);
        for (size_t k = 0; k < i; k++)
            CHECK(strcmp(pt_layer_list[k]->type, ops->type) != 0);
    }
    CHECK(pt_layer_find("nothing") == NULL);
    for (size_t i = 0; pt_loss_list[i]; i++)
        CHECK(pt_loss_find(pt_loss_list[i]->type) == pt_loss_list[i]);
    CHECK(pt_loss_find("nothing") == NULL);
}

TEST(layers, shapes_as_text) {
    char text[96];
    CHECK_STR(pt_shape_text(&(pt_shape){.rank = 2, .dim = {28, 28}}, text), "28 x 28");
    CHECK_STR(pt_shape_text(&(pt_shape){.rank = 1, .dim = {10}}, text), "10");
    const size_t huge = SIZE_MAX;
    CHECK(strlen(pt_shape_text(&(pt_shape){.rank = 4, .dim = {huge, huge, huge, huge}}, text)) <
          96);
    CHECK_INT(pt_shape_count(&(pt_shape){.rank = 3, .dim = {2, 3, 4}}), 24);
    CHECK(
        pt_shape_equal(&(pt_shape){.rank = 1, .dim = {2}}, &(pt_shape){.rank = 1, .dim = {2, 9}}));
    CHECK(
        !pt_shape_equal(&(pt_shape){.rank = 1, .dim = {2}}, &(pt_shape){.rank = 2, .dim = {2, 1}}));
}

/* ---- outputs against plain formulas ---- */

/* What `layers` gives for one row of two features. */
static void predict(const char *layers, const float x[2], float *out, size_t count) {
    const char *csv = pt_path_in(pt_temp_folder(), "two.csv");
    pt_write_text(csv, "0,0,0\n1,1,1\n");
    pt_text text = pt_textf("[data]\ndataset = csv\ntrain_file = %s\ntarget = label\n%s"
                            "[loss]\ntype = output\n[train]\nbatch_size = 2\n",
                            csv, layers);
    pt_toy toy = pt_toy_make(pt_toy_config(text.s, NULL));
    pt_error err = {0};
    REQUIRE(pt_trainer_outputs(toy.trainer) == count);
    REQUIRE_OK(pt_trainer_predict(toy.trainer, x, 1, out, &err), err);
    pt_toy_free(&toy);
}

#define BIAS(N) "[layer.b]\ntype = variable\nvalue = " N "\n"
static const float X[2] = {0.5f, -2};

static void check_near(const char *layers, double first, double second) {
    float y[2];
    predict(layers, X, y, 2);
    CHECK_MSG(fabs((double)y[0] - first) < 1e-6 && fabs((double)y[1] - second) < 1e-6,
              "%s gives %g, %g, expected %g, %g", layers, (double)y[0], (double)y[1], first,
              second);
}

TEST(layers, outputs_are_those_of_the_formulas) {
    /* Each layer reads the data; a variable that is zero (or one) gives the graph a parameter. */
    check_near(BIAS("0, 0") "[layer.y]\ntype = relu\ninput = data\n"
                            "[layer.s]\ntype = add\ninput = y, b\n",
               0.5, 0);
    check_near(BIAS("0, 0") "[layer.y]\ntype = sigmoid\ninput = data\n"
                            "[layer.s]\ntype = add\ninput = y, b\n",
               1 / (1 + exp(-0.5)), 1 / (1 + exp(2)));
    check_near(BIAS("0, 0") "[layer.y]\ntype = tanh\ninput = data\n"
                            "[layer.s]\ntype = add\ninput = y, b\n",
               tanh(0.5), tanh(-2));
    check_near(BIAS("0, 0") "[layer.y]\ntype = gelu\ninput = data\n"
                            "[layer.s]\ntype = add\ninput = y, b\n",
               0.25 * erfc(-0.5 * sqrt(0.5)), -erfc(2 * sqrt(0.5)));
    check_near(BIAS("0, 0") "[layer.y]\ntype = silu\ninput = data\n"
                            "[layer.s]\ntype = add\ninput = y, b\n",
               0.5 / (1 + exp(-0.5)), -2 / (1 + exp(2)));
    check_near(BIAS("0, 0") "[layer.y]\ntype = identity\ninput = data\n"
                            "[layer.s]\ntype = add\ninput = y, b\n",
               0.5, -2);
    check_near(BIAS("0, 0") "[layer.y]\ntype = flatten\ninput = data\n"
                            "[layer.s]\ntype = add\ninput = y, b\n",
               0.5, -2);
    check_near(BIAS("0, 0") "[layer.y]\ntype = softmax\ninput = data\n"
                            "[layer.s]\ntype = add\ninput = y, b\n",
               1 / (1 + exp(-2.5)), exp(-2.5) / (1 + exp(-2.5)));
    check_near(BIAS("10, 20") "[layer.s]\ntype = add\ninput = data, b, data\n", 11, 16);
    check_near(BIAS("10, 20") "[layer.s]\ntype = mul\ninput = data, b\n", 5, -40);
    check_near("[layer.a]\ntype = affine\nunits = 2\ninit = constant(3)\nbias_init = constant(1)\n",
               -3.5, -3.5);
    check_near("[layer.a]\ntype = affine\nunits = 2\ninit = constant(3)\nbias = false\n", -4.5,
               -4.5);
}
