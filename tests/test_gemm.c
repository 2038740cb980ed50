/* test_gemm.c: the matrix products and column sums of every instruction set against the scalar
 * reference, bit for bit: all tails, strides, alignments, shard trees; nothing written or used
 * outside of what is asked for. The reference itself is checked against products in double
 * precision and the shard tree against its recursive definition.
 */
#include "harness.h"
#include "kernel_buffers.h"
#include "reference.h"

#include "0_base/philox.h"
#include "simd/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 64 };                       /* floats before and after each buffer */
static const uint32_t CANARY = 0x7fc0dead; /* a NaN: whoever computes with it, shows */

/* --- buffers: guarded, misaligned on request, freed at the end of a case --- */

typedef struct matrix {
    float *block, *data; /* data = block + GUARD + misalignment; an input has no block */
    size_t rows, columns, stride, size;
} matrix;

static uint64_t next_index;

static uint32_t random_bits(void) {
    return pt_random_u32(7, PT_STREAM_CHECK, 0, next_index++);
}

static size_t random_below(size_t bound) {
    return (size_t)((uint64_t)random_bits() * bound >> 32);
}

static matrix matrix_new(size_t rows, size_t columns, size_t stride, size_t misalignment) {
    matrix x = {.rows = rows, .columns = columns, .stride = stride};
    x.size = GUARD + misalignment + rows * stride + GUARD;
    void *block = NULL;
    REQUIRE(posix_memalign(&block, 64, x.size * sizeof(float)) == 0);
    x.block = block;
    for (size_t i = 0; i < x.size; i++)
        memcpy(&x.block[i], &CANARY, sizeof CANARY);
    x.data = x.block + GUARD + misalignment;
    return x;
}

/* An input: its last element lies before a page that may not be touched (sanitizers do not see what
 * inline assembly reads), `gap` floats before. A later one of the same number takes its place. */
enum { INPUT_A, INPUT_B, INPUT_BIAS, INPUT_GATE };
static matrix matrix_new_input(int number, size_t rows, size_t columns, size_t stride, size_t gap) {
    const size_t size = rows > 0 ? (rows - 1) * stride + columns : 0;
    return (matrix){.rows = rows,
                    .columns = columns,
                    .stride = stride,
                    .size = size,
                    .data = pt_guarded(number, size, gap)};
}

/* Normal-range values of mixed sizes, with exact zeros of both signs in `zeros` of 8 places. */
static void matrix_fill(matrix *x, size_t zeros) {
    for (size_t i = 0; i < x->rows; i++) {
        for (size_t j = 0; j < x->columns; j++) {
            uint32_t bits = random_bits();
            float value = ldexpf((float)(bits >> 8) - 8388608.0f, -23 - (int)(bits & 7));
            if ((bits >> 3) % 8 < zeros)
                value = bits & 1 ? -0.0f : 0.0f;
            x->data[i * x->stride + j] = value;
        }
    }
}

static void matrix_free(matrix *x) {
    free(x->block);
}

/* Every float outside of the rows x columns still holds the canary. */
static bool guards_intact(const matrix *x) {
    const size_t start = (size_t)(x->data - x->block);
    for (size_t i = 0; i < x->size; i++) {
        bool inside = i >= start && i < start + x->rows * x->stride &&
                      (i - start) % (x->stride ? x->stride : 1) < x->columns;
        if (!inside && memcmp(&x->block[i], &CANARY, sizeof CANARY) != 0)
            return false;
    }
    return true;
}

static bool same_bits(const matrix *x, const matrix *y) {
    for (size_t i = 0; i < x->rows; i++)
        if (memcmp(x->data + i * x->stride, y->data + i * y->stride, x->columns * sizeof(float)))
            return false;
    return true;
}

/* --- shards --- */

typedef struct shard_plan {
    uint32_t row[PT_MAX_SHARDS + 1];
    uint8_t merges[PT_MAX_SHARDS];
    pt_shards shards;
} shard_plan;

/* The tree by its definition: the sum of shards lo .. hi - 1 is the shard itself, or the sum of its
 * lower half plus the sum of its upper half. Walking it left to right, a node is merged right after
 * its last leaf. */
static void build_tree(shard_plan *plan, size_t lo, size_t hi) {
    if (hi - lo == 1)
        return;
    size_t mid = lo + (hi - lo) / 2;
    build_tree(plan, lo, mid);
    build_tree(plan, mid, hi);
    plan->merges[hi - 1]++;
}

static void plan_init(shard_plan *plan, size_t count) {
    memset(plan, 0, sizeof *plan);
    build_tree(plan, 0, count);
    plan->shards = (pt_shards){count, plan->row, plan->merges};
}

/* `rows` cut as evenly as they go, starting at row `first`. */
static void plan_even(shard_plan *plan, size_t count, size_t first, size_t rows) {
    plan_init(plan, count);
    for (size_t s = 0; s <= count; s++)
        plan->row[s] = (uint32_t)(first + s * rows / count);
}

/* Cut at random places, so that some shards are empty. */
static void plan_uneven(shard_plan *plan, size_t count, size_t first, size_t rows) {
    plan_init(plan, count);
    plan->row[0] = (uint32_t)first;
    for (size_t s = 1; s <= count; s++) {
        size_t left = first + rows - plan->row[s - 1];
        size_t take = s == count ? left : random_below(left + 1) * random_below(2);
        plan->row[s] = plan->row[s - 1] + (uint32_t)take;
    }
}

/* Even, but each shard is added to the sum of those before it: no balanced tree. */
static void plan_chain(shard_plan *plan, size_t count, size_t first, size_t rows) {
    plan_even(plan, count, first, rows);
    for (size_t s = 0; s < count; s++)
        plan->merges[s] = s > 0;
}

/* --- one case: shape and circumstances --- */

typedef struct gemm_case {
    pt_gemm_form form;
    size_t m, n, k;
    size_t padding;      /* of every row, in floats */
    size_t misalignment; /* of every pointer, in floats */
    size_t zeros;        /* eighths of A that are zeros */
    bool bias;
    bool finish;             /* nn: with ReLU; nt: with a gate */
    const pt_shards *shards; /* tn */
    bool descend;            /* tn: C += rate * gradient */
    bool page_strides;       /* rows a multiple of a page apart, instead of padding */
    bool tiny;               /* operands whose sums underflow, to -0 too */
} gemm_case;

static void matrix_scale(matrix *m, float factor) {
    for (size_t i = 0; i < m->rows; i++)
        for (size_t j = 0; j < m->columns; j++)
            m->data[i * m->stride + j] *= factor;
}

static size_t stride_of(const gemm_case *g, size_t columns) {
    return g->page_strides ? (columns + 1023) / 1024 * 1024 : columns + g->padding;
}

static const float descent_rate = -0.37f;

static void run(const pt_kernels *kernels, const gemm_case *g, const matrix *a, const matrix *b,
                const float *bias, const matrix *gate, const matrix *c, void *scratch) {
    switch (g->form) {
    case PT_GEMM_NN:
        kernels->sgemm_nn(g->m, g->n, g->k, a->data, a->stride, b->data, b->stride, bias, g->finish,
                          c->data, c->stride, scratch);
        break;
    case PT_GEMM_NT:
        kernels->sgemm_nt(g->m, g->n, g->k, a->data, a->stride, b->data, b->stride,
                          g->finish ? gate->data : NULL, c->data, c->stride, scratch);
        break;
    case PT_GEMM_TN:
        kernels->sgemm_tn(g->m, g->n, g->shards, a->data, a->stride, b->data, b->stride,
                          g->descend ? &descent_rate : NULL, c->data, c->stride, scratch);
        break;
    }
}

/* The same with as much scratch as the kernels ask for; whether they kept to it. */
static bool run_with_scratch(const pt_kernels *kernels, const gemm_case *g, const matrix *a,
                             const matrix *b, const float *bias, const matrix *gate,
                             const matrix *c) {
    const size_t bytes = kernels->sgemm_scratch(g->form, g->m, g->n, g->k);
    matrix scratch = matrix_new(1, bytes / sizeof(float), bytes / sizeof(float), 0);
    run(kernels, g, a, b, bias, gate, c, scratch.data);
    const bool kept = bytes % sizeof(float) == 0 && guards_intact(&scratch);
    matrix_free(&scratch);
    return kept;
}

static const char *const form_names[] = {"nn", "nt", "tn"};

/* Runs the case on the reference and on every variant, and compares. */
static void check_case_as_is(const gemm_case *g) {
    const size_t first = g->form == PT_GEMM_TN ? g->shards->row[0] : 0;
    const size_t a_rows = g->form == PT_GEMM_TN ? first + g->k : g->m;
    const size_t a_columns = g->form == PT_GEMM_TN ? g->m : g->k;
    const size_t b_rows = g->form == PT_GEMM_NT ? g->n : first + g->k;
    const size_t b_columns = g->form == PT_GEMM_NT ? g->k : g->n;
    matrix a =
        matrix_new_input(INPUT_A, a_rows, a_columns, stride_of(g, a_columns), g->misalignment);
    matrix b =
        matrix_new_input(INPUT_B, b_rows, b_columns, stride_of(g, b_columns), g->misalignment);
    matrix bias = matrix_new_input(INPUT_BIAS, 1, g->n, g->n, g->misalignment);
    matrix expected = matrix_new(g->m, g->n, stride_of(g, g->n), 0);
    matrix_fill(&a, g->zeros);
    matrix_fill(&b, 1);
    matrix_fill(&bias, 2);
    matrix gate = matrix_new_input(INPUT_GATE, g->m, g->n, stride_of(g, g->n), g->misalignment);
    matrix_fill(&gate, 2);
    if (g->m > 1 && g->n > 1)
        gate.data[gate.stride + 1] = NAN;
    if (g->tiny) {
        matrix_scale(&a, 2e-19f);
        matrix_scale(&b, 2e-19f);
    }
    gemm_case plain = *g;
    plain.descend = false;
    const pt_isa reference = reference_isa(g->m * g->n * g->k);
    run_with_scratch(pt_kernels_get(reference), &plain, &a, &b, g->bias ? bias.data : NULL, &gate,
                     &expected);
    CHECK(guards_intact(&expected));
    matrix before = matrix_new(g->m, g->n, stride_of(g, g->n), 0);
    if (g->descend) {
        matrix_fill(&before, 1);
        for (size_t i = 0; i < g->m; i++)
            for (size_t j = 0; j < g->n; j++) {
                float *gradient = &expected.data[i * expected.stride + j];
                *gradient = fmaf(descent_rate, *gradient, before.data[i * before.stride + j]);
            }
    }

    for (int isa = g->descend ? (int)reference : PT_ISA_AVX2; isa < PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        if (!kernels)
            continue;
        matrix c = matrix_new(g->m, g->n, stride_of(g, g->n), g->misalignment);
        for (size_t i = 0; i < g->m && g->descend; i++)
            memcpy(c.data + i * c.stride, before.data + i * before.stride, g->n * sizeof *c.data);
        const bool kept_to_scratch =
            run_with_scratch(kernels, g, &a, &b, g->bias ? bias.data : NULL, &gate, &c);
        CHECK_MSG(same_bits(&c, &expected) && guards_intact(&c) && kept_to_scratch,
                  "%s %s %zu x %zu x %zu padding %zu misalignment %zu zeros %zu bias %d finish "
                  "%d shards %zu: %s",
                  kernels->isa, form_names[g->form], g->m, g->n, g->k, g->padding, g->misalignment,
                  g->zeros, g->bias, g->finish, g->shards ? g->shards->count : 0,
                  !same_bits(&c, &expected) ? "bits differ"
                  : !guards_intact(&c)      ? "wrote outside of C"
                                            : "wrote outside of the scratch");
        matrix_free(&c);
    }
    matrix_free(&a);
    matrix_free(&b);
    matrix_free(&bias);
    matrix_free(&gate);
    matrix_free(&before);
    matrix_free(&expected);
}

/* Forward and backward products also with what they may do to finished elements; in a hurry by turns. */
static void check_case(const gemm_case *g) {
    static unsigned count;
    gemm_case finished = *g;
    finished.finish = g->form != PT_GEMM_TN;
    const bool turn = __builtin_parity(count++); /* in no step with the forms */
    if (turn || !finished.finish || !pt_test_quick())
        check_case_as_is(g);
    if (finished.finish && (!turn || !pt_test_quick()))
        check_case_as_is(&finished);
}

/* The case in all three forms; strides, alignment, zeros, bias and shards vary from call to call.
 */
static void check_shape(size_t m, size_t n, size_t k) {
    for (int form = PT_GEMM_NN; form <= PT_GEMM_TN; form++) {
        shard_plan plan;
        size_t count = 1 + random_below(5);
        if (random_below(2))
            plan_even(&plan, count, random_below(3), k);
        else
            plan_uneven(&plan, count, random_below(3), k);
        gemm_case g = {
            .form = (pt_gemm_form)form,
            .m = m,
            .n = n,
            .k = k,
            .padding = random_below(2) * random_below(20),
            .misalignment = random_below(2),
            .zeros = random_below(8),
            .bias = random_below(2),
            .shards = form == PT_GEMM_TN ? &plan.shards : NULL,
            .tiny = random_below(4) == 0,
        };
        check_case(&g);
        g.descend = form == PT_GEMM_TN;
        if (g.descend)
            check_case(&g);
    }
}

static unsigned enter(void) {
    next_index = 0;
    return pt_float_environment_enter();
}

/* Every tile shape and one more in each direction: rows up to 21, columns up to 65. */
TEST(gemm, every_tile_tail) {
    unsigned previous = enter();
    static const size_t depths[] = {0, 1, 2, 3, 4, 7, 16, 33};
    for (size_t m = 1; m <= 21; m++)
        for (size_t n = 1; n <= 65; n++)
            check_shape(m, n, depths[random_below(8)]);
    for (size_t n = 1; n <= 65; n++)
        for (size_t d = 0; d < 8; d++)
            check_shape(29, n, depths[d]);
    pt_float_environment_leave(previous);
}

/* Odd sizes in each dimension, crossing the blocks of rows, columns and k of both vector widths. */
TEST(gemm, odd_shapes) {
    unsigned previous = enter();
    static const size_t odd[] = {1, 7, 17, 63, 65, 127};
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 6; j++)
            for (size_t l = 0; l < 6; l++)
                check_shape(odd[i], odd[j], odd[l]);
    static const size_t shapes[][3] = {
        {100, 50, 784}, {784, 50, 100}, {100, 10, 50}, {100, 50, 10},  {513, 33, 5},
        {1030, 17, 9},  {3, 1100, 40},  {65, 81, 257}, {29, 96, 320},  {29, 96, 321},
        {31, 16, 641},  {12, 8, 1025},  {20, 49, 161}, {20, 64, 1000}, {5, 200, 300},
        {2, 130, 700},  {1, 300, 513},  {40, 24, 430}, {130, 31, 511}, {9, 47, 214},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(shapes[i][0], shapes[i][1], shapes[i][2]);
    pt_float_environment_leave(previous);
}

/* One to four columns beyond full vectors, which run across rows: groups and tails of rows, blocks
 * and tails of k. */
TEST(gemm, few_columns) {
    unsigned previous = enter();
    static const size_t rows[] = {8, 15, 16, 17, 31, 32, 33, 47, 65, 130};
    static const size_t columns[] = {1, 2, 3, 4, 5, 9, 12, 17, 18, 19, 20, 33, 52, 65, 68};
    static const size_t depths[] = {0, 1, 7, 8, 9, 15, 16, 17, 33, 70};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
            for (size_t l = 0; l < sizeof depths / sizeof *depths; l++)
                check_shape(rows[i], columns[j], depths[l]);
    pt_float_environment_leave(previous);
}

/* Several blocks of k and of rows, panels copied ahead within and across them, A packed, big C; few steps
 * of k, along the rows of C (nt). */
TEST(gemm, blocks) {
    unsigned previous = enter();
    static const size_t shapes[][3] = {
        {40, 100, 1400},  {29, 144, 1300}, {150, 130, 1111}, {300, 96, 700},  {270, 150, 530},
        {40, 400, 33},    {90, 700, 20},   {1025, 350, 17},  {1025, 1030, 9}, {10, 70, 2600},
        {27, 230, 640},   {45, 31, 2000},  {37, 96, 12},     {64, 480, 128},  {140, 340, 700},
        {300, 330, 1030}, {30, 1990, 700}, {11, 333, 24},    {20, 1000, 5},   {37, 640, 25},
        {40, 307, 20},    {20, 336, 10},   {20, 1400, 24},   {20, 2800, 24},  {20, 2048, 16},
        {20, 4096, 16},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check_shape(shapes[i][0], shapes[i][1], shapes[i][2]);
    /* B where it lies, over several blocks of k; its rows are shorter than a vector */
    check_case(&(gemm_case){.form = PT_GEMM_NN, .m = 170, .n = 5, .k = 1600, .zeros = 1});
    pt_float_environment_leave(previous);
}

/* Rows a multiple of a page apart, where tiles have fewer rows. */
TEST(gemm, page_strides) {
    unsigned previous = enter();
    static const size_t shapes[][3] = {{1, 70, 30},    {14, 64, 256}, {40, 100, 300},
                                       {33, 65, 530},  {520, 70, 20}, {60, 110, 1500},
                                       {300, 100, 600}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (int form = PT_GEMM_NN; form <= PT_GEMM_TN; form++) {
            shard_plan plan;
            plan_even(&plan, 3, 0, shapes[i][2]);
            gemm_case g = {.form = (pt_gemm_form)form,
                           .m = shapes[i][0],
                           .n = shapes[i][1],
                           .k = shapes[i][2],
                           .bias = true,
                           .shards = form == PT_GEMM_TN ? &plan.shards : NULL,
                           .page_strides = true};
            check_case(&g);
        }
    }
    pt_float_environment_leave(previous);
}

/* Shards of any number, even, uneven and empty, up to the deepest tree. */
TEST(gemm, shard_trees) {
    unsigned previous = enter();
    static const size_t counts[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 64, 255, 256};
    static const size_t sizes[] = {0, 1, 5, 100, 300};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            shard_plan even, uneven;
            plan_even(&even, counts[i], 0, sizes[j]);
            plan_uneven(&uneven, counts[i], 2, sizes[j]);
            gemm_case g = {.form = PT_GEMM_TN, .m = 17, .n = 35, .k = sizes[j], .zeros = 4};
            g.shards = &even.shards;
            check_case(&g);
            g.shards = &uneven.shards;
            check_case(&g);
        }
    }
    shard_plan plan; /* more rows than are packed */
    plan_even(&plan, 4, 0, 4100);
    check_case(
        &(gemm_case){.form = PT_GEMM_TN, .m = 16, .n = 9, .k = 4100, .shards = &plan.shards});
    /* B's last row, which alone may not be read in whole vectors, lies before empty shards */
    static const uint32_t rows[][5] = {{0, 8, 16, 16, 16}, {2, 2, 10, 18, 18}, {3, 3, 3, 19, 19}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        plan_init(&plan, 4);
        memcpy(plan.row, rows[i], sizeof rows[i]);
        for (size_t m = 5; m <= 33; m += 7)
            for (size_t n = 5; n <= 33; n += 7)
                check_case(&(gemm_case){
                    .form = PT_GEMM_TN, .m = m, .n = n, .k = 16, .shards = &plan.shards});
    }
    pt_float_environment_leave(previous);
}

/* Gradients so wide and high that A and blocks of B are packed and the tiles walk along C: every tree,
 * blocks of A and B, and any number of vectors behind the last full panel, of either vector width. */
TEST(gemm, wide_gradients) {
    unsigned previous = enter();
    static const size_t counts[] = {1, 2, 3, 4, 7, 16, 65};
    static const size_t shapes[][3] = {
        {144, 293, 1},  {150, 300, 7},   {161, 337, 32}, {97, 111, 64},   {145, 352, 130},
        {96, 101, 20},  {190, 320, 515}, {144, 390, 96}, {96, 1000, 128}, {203, 305, 12},
        {151, 384, 40}, {144, 328, 33},  {144, 315, 40}, {158, 301, 36},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (size_t j = 0; j < 2; j++) {
            const size_t count = counts[(2 * i + j) % (sizeof counts / sizeof *counts)];
            const size_t k = shapes[i][2];
            shard_plan even, uneven;
            plan_even(&even, count, 3, k);
            plan_uneven(&uneven, count, 0, k);
            gemm_case g = {.form = PT_GEMM_TN,
                           .m = shapes[i][0],
                           .n = shapes[i][1],
                           .k = k,
                           .padding = i % 2 * 5,
                           .misalignment = i % 3 == 0,
                           .descend = j == 1,
                           .shards = &even.shards};
            check_case(&g);
            g.shards = &uneven.shards;
            g.zeros = 1; /* not so many that they are skipped */
            check_case(&g);
            plan_chain(&even, count, 0, k);
            g.shards = &even.shards;
            g.tiny = true;
            check_case(&g);
        }
    shard_plan plan; /* more rows of C than the packed A of one block, of AVX-512, too */
    plan_even(&plan, 4, 0, 1400);
    check_case(
        &(gemm_case){.form = PT_GEMM_TN, .m = 400, .n = 300, .k = 1400, .shards = &plan.shards});
    pt_float_environment_leave(previous);
}

/* ReLU and gates on what has become NaN: ways of their own are taken by one tile, few steps of k, few
 * columns, panels, rows of C, and zeros that are skipped. */
TEST(gemm, nan_stays_nan) {
    unsigned previous = enter();
    static const size_t shapes[][3] = {{5, 5, 5},      {30, 80, 2},   {32, 3, 20},
                                       {60, 100, 100}, {40, 400, 10}, {64, 256, 128}};
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes && kernels; s++) {
            const size_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            for (int form = PT_GEMM_NN; form <= PT_GEMM_NT; form++) {
                gemm_case g = {.form = (pt_gemm_form)form, .m = m, .n = n, .k = k, .finish = true};
                matrix a = matrix_new(m, k, k, 0), c = matrix_new(m, n, n, 0);
                matrix b = form == PT_GEMM_NN ? matrix_new(k, n, n, 0) : matrix_new(n, k, k, 0);
                matrix gate = matrix_new(m, n, n, 0);
                const size_t size = kernels->sgemm_scratch(g.form, m, n, k) / sizeof(float);
                matrix scratch = matrix_new(1, size, size, 0);
                matrix_fill(&a, 6);
                matrix_fill(&b, 1);
                matrix_fill(&gate, 2);
                a.data[(m - 1) * k + k - 1] = NAN;
                run(kernels, &g, &a, &b, NULL, &gate, &c, scratch.data);
                for (size_t j = 0; j < n; j++) {
                    const float y = c.data[(m - 1) * n + j];
                    const bool open = form == PT_GEMM_NN || gate.data[(m - 1) * n + j] > 0;
                    CHECK_MSG(open ? isnan(y) : y == 0, "%s %s %zu x %zu x %zu: %g", kernels->isa,
                              form_names[form], m, n, k, (double)y);
                }
                matrix_free(&a);
                matrix_free(&b);
                matrix_free(&c);
                matrix_free(&gate);
                matrix_free(&scratch);
            }
        }
    }
    pt_float_environment_leave(previous);
}

/* Sums that end in -0: all products are -0, so is the bias, or the last one is flushed to -0. */
TEST(gemm, negative_zeros) {
    unsigned previous = enter();
    const float tiny = 0x1p-80f;
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        if (!kernels)
            continue;
        for (size_t side = 6; side <= 192; side += 186) { /* all, and half of them skipped */
            const size_t count = side * side;
            matrix a = matrix_new(side, side, side, 0), b = matrix_new(side, side, side, 0);
            matrix c = matrix_new(side, side, side, 0), bias = matrix_new(1, side, side, 0);
            matrix expected = matrix_new(side, side, side, 0);
            for (size_t i = 0; i < count; i++) {
                a.data[i] = (i + i / side) % 2 ? -tiny : -0.0f;
                b.data[i] = i % 3 ? tiny : 0.0f;
                expected.data[i] = 0.0f;
                bias.data[i % side] = -0.0f;
            }
            matrix scratch = matrix_new(1, 1 << 20, 1 << 20, 0);
            shard_plan plan;
            for (size_t shards = 1; shards <= 6; shards++) {
                plan_even(&plan, shards, 0, side);
                for (int form = PT_GEMM_NN; form <= PT_GEMM_TN; form++) {
                    gemm_case g = {.form = (pt_gemm_form)form,
                                   .m = side,
                                   .n = side,
                                   .k = side,
                                   .shards = &plan.shards};
                    run(kernels, &g, &a, &b, bias.data, NULL, &c, scratch.data);
                    CHECK_MSG(same_bits(&c, &expected), "%s %s", kernels->isa, form_names[form]);
                }
            }
            matrix_free(&a);
            matrix_free(&b);
            matrix_free(&c);
            matrix_free(&bias);
            matrix_free(&expected);
            matrix_free(&scratch);
        }
    }
    /* Four shards: two of them cancel to below the normal range, which flushes to -0; the other two
     * are sums of -0. Were those not turned into +0 before they are added, the root would be -0. */
    shard_plan plan;
    static const float factor[2][4] = {{0x1.8p-63f, -0x1.cp-63f, -0x1p-80f, -0x1p-80f},
                                       {-0x1p-80f, -0x1p-80f, 0x1.8p-63f, -0x1.cp-63f}};
    /* A and B where they lie, and packed; rows of zeros after the first of each shard */
    static const size_t shapes[][3] = {{1, 1, 1}, {24, 160, 1}, {64, 192, 16}};
    enum { SHAPES = sizeof shapes / sizeof *shapes };
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        for (size_t s = 0; s < 2 * SHAPES && kernels; s++) {
            const size_t *const shape = shapes[s % SHAPES];
            const size_t m = shape[0], n = shape[1], rows = shape[2], k = 4 * rows;
            plan_even(&plan, 4, 0, k);
            const gemm_case g = {
                .form = PT_GEMM_TN, .m = m, .n = n, .k = k, .shards = &plan.shards};
            const size_t size = kernels->sgemm_scratch(PT_GEMM_TN, m, n, k) / sizeof(float) + 1;
            matrix a = matrix_new(k, m, m, 0), b = matrix_new(k, n, n, 0),
                   c = matrix_new(m, n, n, 0);
            matrix expected = matrix_new(m, n, n, 0), scratch = matrix_new(1, size, size, 0);
            for (size_t l = 0; l < k; l++) {
                for (size_t i = 0; i < m; i++)
                    a.data[l * m + i] = l % rows ? 0 : factor[s / SHAPES][l / rows];
                for (size_t j = 0; j < n; j++)
                    b.data[l * n + j] = 0x1p-63f;
            }
            for (size_t x = 0; x < m * n; x++)
                expected.data[x] = 0.0f;
            run(kernels, &g, &a, &b, NULL, NULL, &c, scratch.data);
            CHECK_MSG(same_bits(&c, &expected), "%s %zu x %zu", kernels->isa, m, n);
            matrix_free(&a);
            matrix_free(&b);
            matrix_free(&c);
            matrix_free(&expected);
            matrix_free(&scratch);
        }
    }
    pt_float_environment_leave(previous);
}

/* Half of A zero and B wide enough for kernels that skip zeros (gemm_skip_body.h): tails of rows,
 * columns and steps, blocks of k and of rows, A in lists of several lengths. */
TEST(gemm, zeros_are_skipped) {
    unsigned previous = enter();
    static const size_t shapes[][3] = {
        {32, 192, 64},  {33, 193, 65},    {64, 200, 100}, {100, 255, 129}, {70, 303, 257},
        {35, 391, 700}, {300, 210, 1030}, {40, 260, 200}, {129, 600, 90},  {33, 192, 4096},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (size_t zeros = 4 + i % 2; zeros <= 8; zeros += 3) {
            gemm_case g = {.m = shapes[i][0],
                           .n = shapes[i][1],
                           .k = shapes[i][2],
                           .padding = random_below(20),
                           .misalignment = random_below(16),
                           .zeros = zeros,
                           .bias = zeros % 2,
                           .page_strides = i % 3 == 0};
            check_case(&g);
            g.form = PT_GEMM_NT;
            check_case(&g);
        }
    }
    pt_float_environment_leave(previous);
}

/* The same of the gradient: shards that end within a block of rows, at its end and beyond it, so many
 * that blocks hold as many as they can, some without rows; blocks that are whole subtrees of shards, and
 * blocks that would be were the tree balanced; several blocks of columns of A. */
TEST(gemm, zeros_of_the_gradient_are_skipped) {
    unsigned previous = enter();
    static const struct {
        size_t m, n, k, shards;
    } shapes[] = {{64, 192, 32, 1},    {65, 193, 33, 2},   {100, 200, 100, 4}, {77, 303, 128, 4},
                  {300, 200, 128, 3},  {64, 390, 257, 1},  {70, 200, 600, 2},  {64, 193, 700, 40},
                  {80, 260, 1024, 64}, {257, 260, 128, 4}, {64, 192, 1040, 4}, {90, 200, 128, 8},
                  {65, 400, 256, 16},  {66, 210, 640, 20}, {64, 250, 250, 6},  {64, 192, 1023, 31},
                  {64, 384, 1008, 63}, {64, 384, 64, 2}};
    void (*const plans[])(shard_plan *, size_t, size_t, size_t) = {plan_even, plan_uneven,
                                                                   plan_chain};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        for (size_t zeros = 4 + i % 2; zeros <= 8; zeros += 3) {
            for (size_t p = 0; p < sizeof plans / sizeof *plans; p++) {
                shard_plan plan;
                plans[p](&plan, shapes[i].shards, random_below(3), shapes[i].k);
                gemm_case g = {.form = PT_GEMM_TN,
                               .m = shapes[i].m,
                               .n = shapes[i].n,
                               .k = shapes[i].k,
                               .padding = random_below(20),
                               .misalignment = random_below(16),
                               .zeros = zeros,
                               .shards = &plan.shards,
                               .descend = (zeros + p) % 2,
                               .page_strides = i % 3 == 0};
                check_case(&g);
            }
        }
    }
    pt_float_environment_leave(previous);
}

/* Whether column l of A (tn: row l) is skipped: it is all zeros, and what it meets is infinite. */
static bool skips(const pt_kernels *kernels, pt_gemm_form form, size_t zeros) {
    enum { M = 80, N = 200, K = 120, SKIPPED = 70 };
    shard_plan plan;
    plan_even(&plan, 2, 0, K);
    const gemm_case g = {.form = form, .m = M, .n = N, .k = K, .shards = &plan.shards};
    const bool tn = form == PT_GEMM_TN, nt = form == PT_GEMM_NT;
    matrix a = matrix_new(tn ? K : M, tn ? M : K, tn ? M : K, 0);
    matrix b = matrix_new(nt ? N : K, nt ? K : N, nt ? K : N, 0), c = matrix_new(M, N, N, 0);
    const size_t size = kernels->sgemm_scratch(form, M, N, K) / sizeof(float) + 1;
    matrix scratch = matrix_new(1, size, size, 0);
    matrix_fill(&a, zeros);
    matrix_fill(&b, 1);
    for (size_t i = 0; i < M; i++)
        a.data[tn ? SKIPPED * M + i : i * K + SKIPPED] = 0;
    for (size_t j = 0; j < N; j++)
        b.data[nt ? j * K + SKIPPED : SKIPPED * N + j] = INFINITY;
    run(kernels, &g, &a, &b, NULL, NULL, &c, scratch.data);
    bool finite = true;
    for (size_t x = 0; x < (size_t)M * N; x++)
        finite &= isfinite(c.data[x]);
    matrix_free(&a);
    matrix_free(&b);
    matrix_free(&c);
    matrix_free(&scratch);
    return finite;
}

/* Who has few zeros is not slowed down by lists, who has many is not multiplied by them. */
TEST(gemm, zeros_decide) {
    unsigned previous = enter();
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        const size_t least = isa == PT_ISA_SCALAR ? 0 : 4; /* the reference skips every zero */
        for (int form = PT_GEMM_NN; form <= PT_GEMM_TN && kernels; form++)
            for (size_t zeros = 1; zeros <= 8; zeros++)
                CHECK_MSG(skips(kernels, (pt_gemm_form)form, zeros) == (zeros >= least),
                          "%s %s, %zu eighths", kernels->isa, form_names[form], zeros);
    }
    pt_float_environment_leave(previous);
}

TEST(gemm, column_sums) {
    unsigned previous = enter();
    static const size_t counts[] = {1, 2, 3, 4, 7, 9, 64};
    for (size_t n = 1; n <= 300; n += n < 140 ? 1 : 37) {
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            shard_plan plan;
            size_t rows = random_below(120), first = random_below(3);
            if (random_below(2))
                plan_even(&plan, counts[i], first, rows);
            else
                plan_uneven(&plan, counts[i], first, rows);
            matrix x = matrix_new_input(INPUT_A, first + rows, n, n + random_below(2) * 5,
                                        random_below(2));
            matrix expected = matrix_new(1, n, n, 0);
            matrix_fill(&x, 1);
            pt_kernels_get(PT_ISA_SCALAR)
                ->column_sum(n, &plan.shards, x.data, x.stride, NULL, expected.data);
            for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
                const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
                if (!kernels)
                    continue;
                matrix out = matrix_new(1, n, n, random_below(2));
                kernels->column_sum(n, &plan.shards, x.data, x.stride, NULL, out.data);
                CHECK_MSG(same_bits(&out, &expected) && guards_intact(&out),
                          "%s n %zu shards %zu rows %zu", kernels->isa, n, counts[i], rows);
                for (size_t j = 0; j < n; j++)
                    out.data[j] = (float)j;
                kernels->column_sum(n, &plan.shards, x.data, x.stride, &descent_rate, out.data);
                bool same = guards_intact(&out);
                for (size_t j = 0; j < n; j++)
                    same &= out.data[j] == fmaf(descent_rate, expected.data[j], (float)j);
                CHECK_MSG(same, "%s n %zu descends wrongly", kernels->isa, n);
                matrix_free(&out);
            }
            matrix_free(&x);
            matrix_free(&expected);
        }
    }
    pt_float_environment_leave(previous);
}

/* --- the reference itself --- */

static double element(const gemm_case *g, const matrix *a, const matrix *b, size_t i, size_t j,
                      size_t l) {
    double x =
        (double)(g->form == PT_GEMM_TN ? a->data[l * a->stride + i] : a->data[i * a->stride + l]);
    double y =
        (double)(g->form == PT_GEMM_NT ? b->data[j * b->stride + l] : b->data[l * b->stride + j]);
    return x * y;
}

/* |error| of a chain of k roundings is at most k u (sum of |products|) (1 + small); Higham,
 * "Accuracy and Stability of Numerical Algorithms", 3.1. */
TEST(gemm, reference_is_a_product) {
    unsigned previous = enter();
    for (int form = PT_GEMM_NN; form <= PT_GEMM_TN; form++) {
        shard_plan plan;
        gemm_case g = {.form = (pt_gemm_form)form, .m = 13, .n = 70, .k = 45, .zeros = 3};
        plan_even(&plan, 5, 0, g.k);
        g.shards = &plan.shards;
        bool tn = form == PT_GEMM_TN, nt = form == PT_GEMM_NT;
        matrix a = matrix_new(tn ? g.k : g.m, tn ? g.m : g.k, tn ? g.m : g.k, 0);
        matrix b = matrix_new(nt ? g.n : g.k, nt ? g.k : g.n, nt ? g.k : g.n, 0);
        matrix bias = matrix_new(1, g.n, g.n, 0), c = matrix_new(g.m, g.n, g.n, 0);
        matrix_fill(&a, 3);
        matrix_fill(&b, 1);
        matrix_fill(&bias, 1);
        run(pt_kernels_get(PT_ISA_SCALAR), &g, &a, &b, bias.data, NULL, &c, NULL);
        for (size_t i = 0; i < g.m; i++) {
            for (size_t j = 0; j < g.n; j++) {
                double sum = form == PT_GEMM_NN ? (double)bias.data[j] : 0, magnitude = fabs(sum);
                for (size_t l = 0; l < g.k; l++) {
                    sum += element(&g, &a, &b, i, j, l);
                    magnitude += fabs(element(&g, &a, &b, i, j, l));
                }
                double error = fabs(sum - (double)c.data[i * c.stride + j]);
                CHECK_MSG(error <= (double)(g.k + 1) * 0x1p-24 * magnitude * 1.001,
                          "%s (%zu, %zu): error %g of %g", form_names[form], i, j, error,
                          magnitude);
            }
        }
        matrix_free(&a);
        matrix_free(&b);
        matrix_free(&bias);
        matrix_free(&c);
    }
    pt_float_environment_leave(previous);
}

/* The sum of shards lo .. hi - 1 of column j of A (one row wide), by the definition of the tree. */
static float tree_sum(const pt_shards *shards, const float *a, const float *b, size_t lo,
                      size_t hi) {
    if (hi - lo == 1) {
        float sum = 0;
        for (size_t row = shards->row[lo]; row < shards->row[hi]; row++)
            sum = fmaf(a[row], b[row], sum);
        return sum + 0.0f;
    }
    size_t mid = lo + (hi - lo) / 2;
    float lower = tree_sum(shards, a, b, lo, mid);
    return lower + tree_sum(shards, a, b, mid, hi);
}

TEST(gemm, reference_follows_the_tree) {
    unsigned previous = enter();
    bool order_matters = false;
    for (size_t count = 1; count <= 64; count++) {
        shard_plan plan;
        plan_uneven(&plan, count, 0, 200);
        matrix a = matrix_new(200, 1, 1, 0), b = matrix_new(200, 1, 1, 0);
        matrix_fill(&a, 1);
        matrix_fill(&b, 1);
        float c, expected = tree_sum(&plan.shards, a.data, b.data, 0, count), flat = 0, sum;
        pt_kernels_get(PT_ISA_SCALAR)
            ->sgemm_tn(1, 1, &plan.shards, a.data, 1, b.data, 1, NULL, &c, 1, NULL);
        CHECK_MSG(memcmp(&c, &expected, sizeof c) == 0, "%zu shards: %a, expected %a", count,
                  (double)c, (double)expected);
        for (size_t i = 0; i < 200; i++)
            flat = fmaf(a.data[i], b.data[i], flat);
        order_matters |= flat != c;

        plan_even(&plan, count, 0, count);
        for (size_t i = 0; i < count; i++)
            b.data[i] = 1.0f;
        expected = tree_sum(&plan.shards, a.data, b.data, 0, count);
        pt_kernels_get(PT_ISA_SCALAR)->column_sum(1, &plan.shards, a.data, 1, NULL, &sum);
        CHECK(memcmp(&sum, &expected, sizeof sum) == 0);
        matrix_free(&a);
        matrix_free(&b);
    }
    CHECK(order_matters); /* else this test could not tell a tree from a chain */
    pt_float_environment_leave(previous);
}

/* Asking for more never gives less, and big matrices do not ask for their own size. */
TEST(gemm, scratch_is_monotone_and_bounded) {
    static const size_t sizes[] = {0,  1,   7,   16,  17,  31,  32,  63,   64,
                                   65, 127, 191, 192, 256, 511, 784, 1024, 5000};
    const size_t count = sizeof sizes / sizeof *sizes;
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        if (!kernels)
            continue;
        for (int form = PT_GEMM_NN; form <= PT_GEMM_TN; form++) {
            const pt_gemm_form f = (pt_gemm_form)form;
            bool monotone = true;
            for (size_t x = 0; x < count * count; x++) {
                for (size_t i = 0; i + 1 < count; i++) {
                    size_t p = sizes[x / count], q = sizes[x % count];
                    size_t (*scratch)(pt_gemm_form, size_t, size_t, size_t) =
                        kernels->sgemm_scratch;
                    monotone &= scratch(f, sizes[i], p, q) <= scratch(f, sizes[i + 1], p, q);
                    monotone &= scratch(f, p, sizes[i], q) <= scratch(f, p, sizes[i + 1], q);
                    monotone &= scratch(f, p, q, sizes[i]) <= scratch(f, p, q, sizes[i + 1]);
                }
            }
            CHECK_MSG(monotone, "%s %s", kernels->isa, form_names[form]);
            CHECK(kernels->sgemm_scratch(f, 100000, 100000, 100000) <= 3u << 20);
        }
    }
}
