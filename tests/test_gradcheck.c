/* test_gradcheck.c: the gradient check finds what is broken, passes what is not, and says so by its
 * exit status. */
#include "7_check/gradcheck.h"

#include "toys.h"

#include <math.h>
#include <string.h>

/* ---- kernels that are a little wrong: what they return is 2% too large ---- */

static const pt_kernels *right; /* what the wrong ones are made of */

static void enlarge(size_t rows, size_t cols, float *x, size_t ld) {
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++)
            x[r * ld + c] *= 1.02f;
}

#define WRONG_BACKWARD(NAME)                                                                       \
    static void wrong_##NAME(size_t n, const float *y, const float *dy, float *dx) {               \
        right->NAME(n, y, dy, dx);                                                                 \
        enlarge(1, n, dx, n);                                                                      \
    }
WRONG_BACKWARD(relu_backward)
WRONG_BACKWARD(sigmoid_backward)
WRONG_BACKWARD(tanh_backward)
WRONG_BACKWARD(gelu_backward)
WRONG_BACKWARD(silu_backward)

/* Of the kinds of slips a person makes: */
static void relu_without_mask(size_t n, const float *y, const float *dy, float *dx) {
    (void)y;
    memmove(dx, dy, n * sizeof *dx);
}

static void tanh_of_sigmoid(size_t n, const float *y, const float *dy, float *dx) {
    right->sigmoid_backward(n, y, dy, dx);
}

/* gelu and silu differentiate at x, not at y. */
static void gelu_of_silu(size_t n, const float *x, const float *dy, float *dx) {
    right->silu_backward(n, x, dy, dx);
}

static void silu_without_product(size_t n, const float *x, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++) { /* sigmoid(x), and the product rule's other half forgotten */
        float y;
        right->sigmoid_forward(1, x + i, &y);
        dx[i] = y * dy[i];
    }
}

static void gelu_at_output(size_t n, const float *x, const float *dy, float *dx) {
    for (size_t i = 0; i < n; i++) {
        float y;
        right->gelu_forward(1, x + i, &y);
        right->gelu_backward(1, &y, dy + i, dx + i);
    }
}

static void wrong_sgemm_nt(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                           size_t ldb, const float *gate, float *c, size_t ldc, void *scratch) {
    right->sgemm_nt(m, n, k, a, lda, b, ldb, gate, c, ldc, scratch);
    enlarge(m, n, c, ldc);
}

static void short_sgemm_nt(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                           size_t ldb, const float *gate, float *c, size_t ldc, void *scratch) {
    right->sgemm_nt(m, n, k - 1, a, lda, b, ldb, gate, c, ldc, scratch); /* forgets the last unit */
}

static void deaf_sparse_nn(size_t m, size_t n, size_t k, size_t begin, size_t end,
                           const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                           const float *bias, bool relu, float *c, size_t ldc,
                           const pt_sparse_row *ahead, void *scratch) {
    (void)relu;
    right->sparse_nn(m, n, k, begin, end, a, value, b, ldb, bias, false, c, ldc, ahead, scratch);
}

static void open_sgemm_nt(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                          size_t ldb, const float *gate, float *c, size_t ldc, void *scratch) {
    (void)gate;
    right->sgemm_nt(m, n, k, a, lda, b, ldb, NULL, c, ldc, scratch);
}

static void wrong_sgemm_tn(size_t m, size_t n, const pt_shards *shards, const float *a, size_t lda,
                           const float *b, size_t ldb, const float *rate, float *c, size_t ldc,
                           void *scratch) {
    right->sgemm_tn(m, n, shards, a, lda, b, ldb, rate, c, ldc, scratch);
    enlarge(m, n, c, ldc);
}

static void sgemm_tn_of_one_shard_less(size_t m, size_t n, const pt_shards *shards, const float *a,
                                       size_t lda, const float *b, size_t ldb, const float *rate,
                                       float *c, size_t ldc, void *scratch) {
    uint32_t row[PT_MAX_SHARDS + 1];
    memcpy(row, shards->row, (shards->count + 1) * sizeof *row);
    row[shards->count] = row[shards->count - 1];
    const pt_shards less = {.count = shards->count, .row = row, .merges = shards->merges};
    right->sgemm_tn(m, n, &less, a, lda, b, ldb, rate, c, ldc, scratch);
}

static void wrong_sparse_tn(size_t begin, size_t end, size_t n, const pt_shards *shards,
                            const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                            const float *rate, float *c, size_t ldc, void *scratch) {
    right->sparse_tn(begin, end, n, shards, a, value, b, ldb, rate, c, ldc, scratch);
    enlarge(end - begin, n, c, ldc);
}

static void wrong_column_sum(size_t n, const pt_shards *shards, const float *x, size_t ldx,
                             const float *rate, float *out) {
    right->column_sum(n, shards, x, ldx, rate, out);
    enlarge(1, n, out, n);
}

static void wrong_softmax_backward(size_t rows, size_t n, const float *y, size_t ldy,
                                   const float *dy, size_t lddy, float *dx, size_t lddx) {
    right->softmax_backward(rows, n, y, ldy, dy, lddy, dx, lddx);
    enlarge(rows, n, dx, lddx);
}

static void softmax_without_sum(size_t rows, size_t n, const float *y, size_t ldy, const float *dy,
                                size_t lddy, float *dx, size_t lddx) {
    for (size_t r = 0; r < rows; r++)
        right->multiply(n, y + r * ldy, dy + r * lddy, dx + r * lddx);
}

static void wrong_cross_entropy(size_t rows, size_t n, const float *x, size_t ldx,
                                const int32_t *label, float factor, float *dx, size_t lddx,
                                float *loss) {
    right->softmax_cross_entropy(rows, n, x, ldx, label, factor, dx, lddx, loss);
    enlarge(rows, n, dx, lddx);
}

static void wrong_squared_error(size_t rows, size_t n, const float *x, size_t ldx,
                                const float *target, size_t ldt, float factor, float *dx,
                                size_t lddx, float *loss) {
    right->squared_error(rows, n, x, ldx, target, ldt, factor, dx, lddx, loss);
    enlarge(rows, n, dx, lddx);
}

static void wrong_multiply(size_t n, const float *a, const float *b, float *y) {
    right->multiply(n, a, b, y);
    enlarge(1, n, y, n);
}

static void sum_for_product(size_t n, const float *a, const float *b, float *y) {
    right->add(n, a, b, y);
}

static void wrong_add(size_t n, const float *a, const float *b, float *y) {
    right->add(n, a, b, y);
    enlarge(1, n, y, n);
}

static void add_forgets(size_t n, const float *a, const float *b, float *y) {
    (void)b;
    memmove(y, a, n * sizeof *y);
}

static void not_a_number(size_t n, const float *y, const float *dy, float *dx) {
    right->relu_backward(n, y, dy, dx);
    dx[0] = __builtin_nanf("");
}

/* ---- what is checked with them ---- */

#define HIDDEN(TYPE) "[layer.a]\ntype = affine\nunits = 8\n[layer.b]\ntype = " TYPE "\n"

static const char LAYERS_RELU[] = HIDDEN("relu");
/* No product applies the backward of this one. */
static const char LAYERS_LONE_RELU[] = HIDDEN("relu") "[layer.i]\ntype = identity\n";
static const char LAYERS_SIGMOID[] = HIDDEN("sigmoid");
static const char LAYERS_TANH[] = HIDDEN("tanh");
static const char LAYERS_GELU[] = HIDDEN("gelu");
static const char LAYERS_SILU[] = HIDDEN("silu");
static const char LAYERS_SOFTMAX[] = HIDDEN("softmax");
static const char LAYERS_MUL[] = "[layer.a]\ntype = affine\nunits = 8\ninit = normal(0.1)\n"
                                 "[layer.b]\ntype = mul\ninput = a, a\n";
static const char LAYERS_ADD[] = "[layer.a]\ntype = affine\nunits = 8\ninit = normal(0.1)\n"
                                 "[layer.b]\ntype = relu\n"
                                 "[layer.c]\ntype = add\ninput = a, b\n";

/* Four rows of a small config, quick to differentiate. */
static pt_toy make_toy(const char *layers, const char *loss) {
    pt_text text = pt_toy_images_text(layers);
    return pt_toy_make(pt_toy_config(text.s, "train.batch_size=4", "layer.a.init=normal(0.1)",
                                     "parallel.shards=3", pt_textf("loss.type=%s", loss).s, NULL));
}

typedef struct seen {
    size_t rows, wrong;
    double largest_mean;
    char tensors[400]; /* the wrong ones, with a blank after each */
} seen;

static void see(void *context, const pt_gradcheck_row *row) {
    seen *s = context;
    s->rows++;
    s->wrong += !row->ok;
    s->largest_mean = fmax(s->largest_mean, row->mean_difference);
    if (!row->ok && strlen(s->tensors) + strlen(row->tensor) + 2 < sizeof s->tensors) {
        strcat(s->tensors, row->tensor);
        strcat(s->tensors, " ");
    }
}

/* Whether the check finds the breakage, in `tensors` and no others (NULL: in any). */
static void check_found(const char *layers, const char *loss, const pt_kernels *broken,
                        const char *tensors, const char *what) {
    pt_toy toy = make_toy(layers, loss);
    pt_error err = {0};
    seen s = {0};
    REQUIRE_OK(pt_gradcheck_kernels(toy.config, toy.dataset, right, see, &s, &err), err);
    CHECK_INT(s.wrong, 0);
    s = (seen){0};
    pt_status status = pt_gradcheck_kernels(toy.config, toy.dataset, broken, see, &s, &err);
    CHECK_MSG(status == PT_ERR_CHECK, "%s (%s): status %d", what, right->isa, status);
    CHECK_MSG(!tensors || strcmp(s.tensors, tensors) == 0, "%s (%s): wrong are '%s', expected '%s'",
              what, right->isa, s.tensors, tensors ? tensors : "any");
    if (status == PT_ERR_CHECK)
        CHECK_CONTAINS(err.message, "a gradient differs");
    pt_toy_free(&toy);
}

#define BREAK(MEMBER, WRONG, LAYERS, LOSS, TENSORS)                                                \
    do {                                                                                           \
        pt_kernels broken = *right;                                                                \
        broken.MEMBER = (WRONG);                                                                   \
        check_found((LAYERS), LOSS, &broken, TENSORS, #MEMBER " = " #WRONG);                       \
    } while (0)

#define ENTROPY "softmax_cross_entropy"

static void break_each(void) {
    /* What lies before the broken step is wrong, and only that. */
    BREAK(relu_backward, wrong_relu_backward, LAYERS_LONE_RELU, ENTROPY, "a.weight a.bias ");
    BREAK(relu_backward, relu_without_mask, LAYERS_LONE_RELU, ENTROPY, "a.weight a.bias ");
    BREAK(relu_backward, not_a_number, LAYERS_LONE_RELU, ENTROPY, "a.weight a.bias ");
    BREAK(sigmoid_backward, wrong_sigmoid_backward, LAYERS_SIGMOID, ENTROPY, "a.weight a.bias ");
    BREAK(tanh_backward, wrong_tanh_backward, LAYERS_TANH, ENTROPY, "a.weight a.bias ");
    BREAK(tanh_backward, tanh_of_sigmoid, LAYERS_TANH, ENTROPY, "a.weight a.bias ");
    BREAK(gelu_backward, wrong_gelu_backward, LAYERS_GELU, ENTROPY, "a.weight a.bias ");
    BREAK(gelu_backward, gelu_of_silu, LAYERS_GELU, ENTROPY, "a.weight a.bias ");
    BREAK(gelu_backward, gelu_at_output, LAYERS_GELU, ENTROPY, "a.weight a.bias ");
    BREAK(silu_backward, wrong_silu_backward, LAYERS_SILU, ENTROPY, "a.weight a.bias ");
    BREAK(silu_backward, silu_without_product, LAYERS_SILU, ENTROPY, "a.weight a.bias ");
    BREAK(softmax_backward, wrong_softmax_backward, LAYERS_SOFTMAX, ENTROPY, "a.weight a.bias ");
    BREAK(softmax_backward, softmax_without_sum, LAYERS_SOFTMAX, ENTROPY, "a.weight a.bias ");
    BREAK(sgemm_nt, wrong_sgemm_nt, LAYERS_RELU, ENTROPY, "a.weight a.bias ");
    BREAK(sgemm_nt, short_sgemm_nt, LAYERS_RELU, ENTROPY, "a.weight a.bias ");
    BREAK(sgemm_nt, open_sgemm_nt, LAYERS_RELU, ENTROPY, "a.weight a.bias ");
    BREAK(sparse_nn, deaf_sparse_nn, LAYERS_RELU, ENTROPY, NULL);
    /* The images are sparse: the first layer's weights have kernels of their own. */
    BREAK(sgemm_tn, wrong_sgemm_tn, LAYERS_RELU, ENTROPY, "out.weight ");
    BREAK(sgemm_tn, sgemm_tn_of_one_shard_less, LAYERS_RELU, ENTROPY, "out.weight ");
    BREAK(sparse_tn, wrong_sparse_tn, LAYERS_RELU, ENTROPY, "a.weight ");
    BREAK(column_sum, wrong_column_sum, LAYERS_RELU, ENTROPY, "a.bias out.bias ");
    BREAK(softmax_cross_entropy, wrong_cross_entropy, LAYERS_RELU, ENTROPY,
          "a.weight a.bias out.weight out.bias ");
    BREAK(squared_error, wrong_squared_error, LAYERS_RELU, "mean_squared_error",
          "a.weight a.bias out.weight out.bias ");
}

TEST(gradcheck, finds_every_broken_kernel) {
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++)
        if ((right = pt_kernels_get((pt_isa)isa)))
            break_each();
}

/* These kernels also run forward, where being wrong changes what the gradient is of. */
TEST(gradcheck, finds_broken_products_and_sums) {
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        if (!(right = pt_kernels_get((pt_isa)isa)))
            continue;
        BREAK(multiply, wrong_multiply, LAYERS_MUL, ENTROPY, NULL);
        BREAK(multiply, sum_for_product, LAYERS_MUL, ENTROPY, NULL);
        BREAK(add, wrong_add, LAYERS_ADD, ENTROPY, NULL);
        BREAK(add, add_forgets, LAYERS_ADD, ENTROPY, NULL);
    }
}

TEST(gradcheck, runs_on_the_isa_of_the_config_or_on_all) {
    pt_toy toy = make_toy(LAYERS_RELU, ENTROPY);
    pt_error err = {0};
    seen s = {0};
    size_t isas = 0;
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++)
        isas += pt_kernels_get((pt_isa)isa) != NULL;
    REQUIRE_OK(pt_gradcheck(toy.config, toy.dataset, see, &s, &err), err);
    CHECK_INT(s.rows, 4 * isas);
    toy.config->parallel.isa = PT_ISA_SCALAR;
    s = (seen){0};
    REQUIRE_OK(pt_gradcheck(toy.config, toy.dataset, see, &s, &err), err);
    CHECK_INT(s.rows, 4);
    REQUIRE_OK(pt_gradcheck(toy.config, toy.dataset, NULL, NULL, &err), err);
    pt_toy_free(&toy);
}

/* Where the bound on roundings alone would let all of these pass. */
TEST(gradcheck, finds_small_faults_in_a_deep_graph) {
    if (!pt_file_exists("data/mnist/train-images-idx3-ubyte")) {
        CHECK_MSG(true, "no MNIST here");
        return;
    }
    static const char *const overrides[] = {"train.batch_size=3", "train.sampling=sequential",
                                            "parallel.isa=scalar"};
    pt_error err = {0};
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    REQUIRE_OK(pt_config_load("configs/every-layer.ini", overrides, 3, &config, &err), err);
    REQUIRE_OK(pt_dataset_load(config, &dataset, &err), err);
    right = pt_kernels_get(PT_ISA_SCALAR);
    pt_kernels broken[] = {*right, *right, *right};
    enum { BROKEN = sizeof broken / sizeof *broken };
    broken[0].gelu_backward = wrong_gelu_backward;
    broken[1].silu_backward = wrong_silu_backward;
    broken[2].tanh_backward = wrong_tanh_backward;
    for (size_t i = 0; i < (pt_test_quick() ? 1 : BROKEN); i++) {
        seen s = {0};
        CHECK(pt_gradcheck_kernels(config, dataset, &broken[i], see, &s, &err) == PT_ERR_CHECK);
        CHECK_MSG(strcmp(s.tensors, "left.weight left.bias ") == 0, "%zu: wrong are '%s'", i,
                  s.tensors);
    }
    pt_dataset_free(dataset);
    pt_config_free(config);
}

/* The book's check on the book's network: below 1e-7 on average for every tensor. */
TEST(gradcheck, resolves_what_the_book_resolves_on_mnist) {
    if (!pt_file_exists("data/mnist/train-images-idx3-ubyte")) {
        CHECK_MSG(true, "no MNIST here");
        return;
    }
    static const char *const overrides[] = {"train.batch_size=3", "train.sampling=sequential"};
    pt_error err = {0};
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    REQUIRE_OK(pt_config_load("configs/mnist.ini", overrides, 2, &config, &err), err);
    REQUIRE_OK(pt_dataset_load(config, &dataset, &err), err);
    seen s = {0};
    REQUIRE_OK(pt_gradcheck(config, dataset, see, &s, &err), err);
    CHECK(s.rows >= 4);
    CHECK_MSG(s.largest_mean < 1e-7, "mean difference %g", s.largest_mean);
    pt_dataset_free(dataset);
    pt_config_free(config);
}

TEST(gradcheck, command_prints_a_line_per_tensor) {
    pt_run_result run = pt_run_ptrain("gradcheck", "configs/apple.ini", "--isa", "scalar", NULL);
    CHECK_INT(run.status, 0);
    CHECK_STR(run.err, "");
    CHECK_CONTAINS(run.out, "kernels  tensor");
    static const char *const tensors[] = {"apple_price.value", "apple_count.value",
                                          "orange_price.value", "orange_count.value", "tax.value"};
    for (size_t i = 0; i < 5; i++)
        CHECK_CONTAINS(run.out, pt_textf("scalar   %s", tensors[i]).s);
    CHECK(!strstr(run.out, "avx") && !strstr(run.out, "WRONG"));
    size_t lines = 0;
    for (const char *at = run.out; (at = strchr(at, '\n')); at++)
        lines++;
    CHECK_INT(lines, 6);
}

TEST(gradcheck, command_fails_cleanly) {
    pt_run_result run = pt_run_ptrain("gradcheck", "no-such.ini", NULL);
    CHECK_ONE_LINE_ERROR(run, 1, "no-such.ini");
    run = pt_run_ptrain("gradcheck", "configs/apple.ini", "-s", "layer.tax.type=mull", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "did you mean 'mul'");
}
