/* test_sparse.c: the products with sparse rows of bytes against the dense products of the scalar
 * reference on the same matrix in floats, bit for bit, on every instruction set: all densities and
 * tails, strides, alignments, shard trees and pieces; nothing read past an end, nothing written
 * outside. The lists of rows against a plain loop.
 */
#include "harness.h"
#include "reference.h"

#include "0_base/philox.h"
#include "simd/kernels_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* --- memory: every operand ends close to a page that may not be touched --- */

enum { REGIONS = 8, REGION_BYTES = 20 << 20, MARGIN = 256, CANARY = 0x7f };
enum { BYTES, ENTRIES, DENSE, B, BIAS, EXPECTED, RESULT, SCRATCH };

typedef struct region {
    unsigned char *start, *end; /* the forbidden page starts at `end` */
    unsigned char *data;
    size_t bytes;
} region;

static region regions[REGIONS];

/* `bytes` bytes that end `gap` bytes before the forbidden page, canaries around them. */
static void *place(int which, size_t bytes, size_t gap) {
    region *r = &regions[which];
    if (!r->start) {
        const size_t page = (size_t)sysconf(_SC_PAGESIZE);
        void *map = mmap(NULL, REGION_BYTES + page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        REQUIRE(map != MAP_FAILED);
        r->start = map;
        r->end = r->start + REGION_BYTES;
        REQUIRE(mprotect(r->end, page, PROT_NONE) == 0);
    }
    REQUIRE(bytes + gap + MARGIN <= REGION_BYTES);
    r->data = r->end - gap - bytes;
    r->bytes = bytes;
    memset(r->data - MARGIN, CANARY, (size_t)(r->end - r->data) + MARGIN);
    return r->data;
}

static bool all_canary(const unsigned char *from, const unsigned char *to) {
    for (; from < to; from++)
        if (*from != CANARY)
            return false;
    return true;
}

/* Nothing around the operand has changed. */
static bool around_intact(int which) {
    const region *r = &regions[which];
    return all_canary(r->data - MARGIN, r->data) && all_canary(r->data + r->bytes, r->end);
}

/* Nor between its rows of n floats with stride ld. */
static bool between_intact(int which, size_t rows, size_t n, size_t ld) {
    const unsigned char *data = regions[which].data;
    for (size_t i = 0; i + 1 < rows; i++)
        if (!all_canary(data + (i * ld + n) * sizeof(float), data + (i + 1) * ld * sizeof(float)))
            return false;
    return true;
}

/* --- random operands --- */

static uint64_t next_index;

static uint32_t random_bits(void) {
    return pt_random_u32(11, PT_STREAM_CHECK, 0, next_index++);
}

static size_t random_below(size_t bound) {
    return (size_t)((uint64_t)random_bits() * bound >> 32);
}

/* For operands whose products are about the smallest number: their sums underflow, to -0 too. */
static bool tiny_floats;

/* Of many sizes, so that sums round and products of the smallest underflow; zeros of both signs. */
static float random_float(void) {
    static const float size[8] = {1.0f, 0.5f, 0.25f, 1e-3f, 1e3f, 1.0f, 0.125f, 1e-25f};
    const uint32_t bits = random_bits();
    if (bits % 16 == 0)
        return bits & 256 ? -0.0f : 0.0f;
    const float factor = tiny_floats ? 2e-19f : size[bits >> 4 & 7];
    return ((float)(bits >> 9) - 4194304.0f) * 0x1p-22f * factor;
}

static void fill(float *x, size_t rows, size_t n, size_t ld) {
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < n; j++)
            x[i * ld + j] = random_float();
}

/* --- shards: see test_gemm.c --- */

typedef struct shard_plan {
    uint32_t row[PT_MAX_SHARDS + 1];
    uint8_t merges[PT_MAX_SHARDS];
    pt_shards shards;
} shard_plan;

static void build_tree(shard_plan *plan, size_t lo, size_t hi) {
    if (hi - lo == 1)
        return;
    const size_t mid = lo + (hi - lo) / 2;
    build_tree(plan, lo, mid);
    build_tree(plan, mid, hi);
    plan->merges[hi - 1]++;
}

/* `rows` rows from row `first` on, cut evenly, or at random so that some shards are empty. */
static void plan_shards(shard_plan *plan, size_t count, size_t first, size_t rows, bool even) {
    memset(plan, 0, sizeof *plan);
    build_tree(plan, 0, count);
    plan->row[0] = (uint32_t)first;
    for (size_t s = 1; s <= count; s++) {
        const size_t left = first + rows - plan->row[s - 1];
        const size_t take = s == count ? left : random_below(left + 1) * random_below(2);
        plan->row[s] =
            even ? (uint32_t)(first + s * rows / count) : plan->row[s - 1] + (uint32_t)take;
    }
    plan->shards = (pt_shards){count, plan->row, plan->merges};
}

/* The tables of the instruction sets, and one more: AVX-512 without VBMI2. */
static const pt_kernels *variant(int isa) {
    static pt_kernels without_vbmi2;
    if (isa < PT_ISA_COUNT)
        return pt_kernels_get((pt_isa)isa);
    if (!pt_kernels_get(PT_ISA_AVX512))
        return NULL;
    without_vbmi2 = *pt_kernels_get(PT_ISA_AVX512);
    pt_sparse_init_avx512(&without_vbmi2);
    return &without_vbmi2;
}

/* --- one case --- */

typedef struct sparse_case {
    size_t m, n, k;
    size_t percent;               /* of bytes that are not zero */
    size_t padding, misalignment; /* in floats */
    bool bias, relu, page_strides;
    size_t first, shards, begin, end; /* gradient: first row, shards, columns */
    bool even;
    bool chain;      /* each shard is added to the sum of those before it: no balanced tree */
    size_t parts;    /* forward: calls that add only some of the columns, before the last */
    bool descend;    /* gradient: C += rate * gradient */
    size_t distinct; /* rows in the data, of which the m rows of A are drawn; 0: m */
    bool tiny;       /* operands whose sums underflow */
} sparse_case;

typedef struct operands {
    pt_sparse_row *a;
    float value[256];
    float *dense, *b, *bias;
    size_t ld_dense, ldb, ldc;
} operands;

static size_t stride_of(const sparse_case *s, size_t n) {
    return s->page_strides ? (n + 127) / 128 * 128 : n + s->padding;
}

static size_t count_set(const uint8_t *bytes, size_t n) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += bytes[i] != 0;
    return count;
}

static void list_row(const uint8_t *bytes, size_t n, uint64_t *bitmap, uint16_t *column,
                     uint8_t *byte) {
    memset(bitmap, 0, (n + 63) / 64 * sizeof *bitmap);
    for (size_t i = 0; i < n; i++) {
        if (bytes[i]) {
            bitmap[i / 64] |= UINT64_C(1) << i % 64;
            *column++ = (uint16_t)i;
            *byte++ = bytes[i];
        }
    }
}

static void new_operands(const sparse_case *s, size_t b_rows, operands *o) {
    const size_t distinct = s->distinct ? s->distinct : s->m;
    uint8_t *bytes = place(BYTES, distinct * s->k, 0);
    for (size_t i = 0; i < distinct * s->k; i++)
        bytes[i] = random_below(100) < s->percent ? (uint8_t)(1 + random_below(255)) : 0;
    tiny_floats = s->tiny;
    o->value[0] = random_bits() & 1 ? -0.0f : 0.0f;
    for (size_t i = 1; i < 256; i++)
        o->value[i] = random_float();

    const size_t words = (s->k + 63) / 64;
    size_t bytes_of_lists = PT_SPARSE_SLACK;
    for (size_t i = 0; i < distinct; i++)
        bytes_of_lists += words * 8 + (count_set(bytes + i * s->k, s->k) * 3 + 7) / 8 * 8;
    char *record = place(ENTRIES, bytes_of_lists, 0);
    pt_sparse_row rows[1024];
    REQUIRE(distinct <= 1024);
    for (size_t i = 0; i < distinct; i++) {
        uint64_t *bitmap = (uint64_t *)(void *)record;
        const size_t count = count_set(bytes + i * s->k, s->k);
        uint16_t *column = (uint16_t *)(void *)(bitmap + words);
        uint8_t *byte = (uint8_t *)(column + count);
        rows[i] = (pt_sparse_row){bitmap, column, byte};
        list_row(bytes + i * s->k, s->k, bitmap, column, byte);
        record += words * 8 + (count * 3 + 7) / 8 * 8;
    }
    o->a = calloc(s->m + 1, sizeof *o->a);
    REQUIRE(o->a != NULL);
    o->ld_dense = s->k + 1;
    o->dense = place(DENSE, s->m * o->ld_dense * sizeof(float), 0);
    for (size_t i = 0; i < s->m; i++) {
        const size_t row = s->distinct ? random_below(distinct) : i;
        o->a[i] = rows[row];
        for (size_t j = 0; j < s->k; j++)
            o->dense[i * o->ld_dense + j] = o->value[bytes[row * s->k + j]];
    }

    const size_t gap = s->misalignment * sizeof(float);
    o->ldb = stride_of(s, s->n);
    o->ldc = stride_of(s, s->n);
    const size_t b_floats = b_rows ? (b_rows - 1) * o->ldb + s->n : 0;
    o->b = place(B, b_floats * sizeof(float), gap);
    fill(o->b, b_rows, s->n, o->ldb);
    o->bias = place(BIAS, s->n * sizeof(float), gap);
    fill(o->bias, 1, s->n, s->n);
    tiny_floats = false;
}

/* C by `kernels` against the expected one; `rows` of C. */
static void check_result(const sparse_case *s, const pt_kernels *kernels, const char *product,
                         size_t rows, const float *expected, const float *result, size_t ldc) {
    bool same = true;
    for (size_t i = 0; i < rows; i++)
        same &= memcmp(expected + i * ldc, result + i * ldc, s->n * sizeof(float)) == 0;
    const bool intact = around_intact(RESULT) && between_intact(RESULT, rows, s->n, ldc) &&
                        around_intact(SCRATCH) && around_intact(B) && around_intact(BIAS);
    CHECK_MSG(same && intact,
              "%s %s%s m %zu n %zu k %zu, %zu%% set, padding %zu, misaligned %zu, columns %zu-%zu, "
              "%zu shards: %s",
              kernels->isa, product, s->relu ? " relu" : "", s->m, s->n, s->k, s->percent,
              s->padding, s->misalignment, s->begin, s->end, s->shards,
              same ? "wrote outside" : "other bits");
}

/* Full of NaNs, so that what is read before it is written shows. */
static void *new_scratch(const pt_kernels *kernels, const sparse_case *s) {
    const size_t bytes = (kernels->sparse_scratch(s->m, s->n, s->k) + 63) / 64 * 64;
    return memset(place(SCRATCH, bytes, 0), 0xff, bytes);
}

static void *new_dense_scratch(const pt_kernels *kernels, pt_gemm_form form, size_t m, size_t n,
                               size_t k) {
    return place(SCRATCH, (kernels->sgemm_scratch(form, m, n, k) + 63) / 64 * 64, 0);
}

static void check_forward_of(const sparse_case *s) {
    operands o;
    new_operands(s, s->k, &o);
    const float *bias = s->bias ? o.bias : NULL;
    const size_t floats = s->m ? (s->m - 1) * o.ldc + s->n : 0;
    float *expected = place(EXPECTED, floats * sizeof(float), 0);
    const pt_isa reference = reference_isa(s->m * s->n * s->k);
    const pt_kernels *dense = pt_kernels_get(reference);
    void *dense_scratch = new_dense_scratch(dense, PT_GEMM_NN, s->m, s->n, s->k);
    dense->sgemm_nn(s->m, s->n, s->k, o.dense, o.ld_dense, o.b, o.ldb, bias, s->relu, expected,
                    o.ldc, dense_scratch);
    for (int isa = (int)reference; isa <= PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = variant(isa);
        if (!kernels)
            continue;
        float *c = place(RESULT, floats * sizeof(float), s->misalignment * sizeof(float));
        void *scratch = new_scratch(kernels, s);
        size_t at = 0;
        for (size_t part = 0; part <= s->parts; part++) { /* handed on, some parts empty */
            const size_t end = part == s->parts ? s->k : at + random_below(s->k - at + 1);
            kernels->sparse_nn(s->m, s->n, s->k, at, end, o.a, o.value, o.b, o.ldb, bias, s->relu,
                               c, o.ldc, bias ? o.a : NULL, /* prefetching must not show */
                               scratch);
            at = end;
        }
        check_result(s, kernels, "forward", s->m, expected, c, o.ldc);
    }
    free(o.a);
}

static void check_forward(const sparse_case *s) {
    static unsigned count;
    sparse_case with_relu = *s;
    with_relu.relu = true;
    const bool turn = __builtin_parity(count++);
    if (turn || !pt_test_quick()) /* in a hurry by turns */
        check_forward_of(s);
    if (!turn || !pt_test_quick())
        check_forward_of(&with_relu);
}

static void check_gradient(const sparse_case *s) {
    operands o;
    new_operands(s, s->m, &o);
    shard_plan plan;
    plan_shards(&plan, s->shards, s->first, s->m - s->first, s->even);
    for (size_t i = 0; i < s->shards && s->chain; i++)
        plan.merges[i] = i > 0;
    const size_t rows = s->end - s->begin;
    const size_t floats = rows ? (rows - 1) * o.ldc + s->n : 0;
    float *expected = place(EXPECTED, floats * sizeof(float), 0);
    const pt_isa reference = reference_isa(s->m * s->n * rows);
    const pt_kernels *dense = pt_kernels_get(reference);
    void *dense_scratch = new_dense_scratch(dense, PT_GEMM_TN, rows, s->n, s->m);
    dense->sgemm_tn(rows, s->n, &plan.shards, o.dense + s->begin, o.ld_dense, o.b, o.ldb, NULL,
                    expected, o.ldc, dense_scratch);
    const float rate = -0.37f;
    float *before = calloc(floats + 1, sizeof *before);
    REQUIRE(before != NULL);
    for (size_t i = 0; i < rows && s->descend; i++)
        for (size_t j = 0; j < s->n; j++) {
            before[i * o.ldc + j] = random_float();
            expected[i * o.ldc + j] = fmaf(rate, expected[i * o.ldc + j], before[i * o.ldc + j]);
        }
    for (int isa = (int)reference; isa <= PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = variant(isa);
        if (!kernels)
            continue;
        float *c = place(RESULT, floats * sizeof(float), s->misalignment * sizeof(float));
        for (size_t i = 0; i < rows && s->descend; i++)
            memcpy(c + i * o.ldc, before + i * o.ldc, s->n * sizeof *c);
        kernels->sparse_tn(s->begin, s->end, s->n, &plan.shards, o.a, o.value, o.b, o.ldb,
                           s->descend ? &rate : NULL, c, o.ldc, new_scratch(kernels, s));
        check_result(s, kernels, "gradient", rows, expected, c, o.ldc);
    }
    free(before);
    free(o.a);
}

static const size_t percents[] = {0, 1, 19, 50, 100};
enum { PERCENTS = sizeof percents / sizeof *percents };

/* --- tests --- */

TEST(sparse, forward_every_width_and_density) {
    const unsigned previous = pt_float_environment_enter();
    for (size_t n = 1; n <= 150; n++)
        for (size_t p = 0; p < PERCENTS; p++)
            check_forward(&(sparse_case){.m = 1 + random_below(12),
                                         .n = n,
                                         .k = 1 + random_below(100),
                                         .percent = percents[p],
                                         .padding = random_below(20),
                                         .misalignment = random_below(16),
                                         .parts = random_below(4),
                                         .bias = p % 2 == 0});
    pt_float_environment_leave(previous);
}

TEST(sparse, forward_every_count_of_rows_and_columns) {
    const unsigned previous = pt_float_environment_enter();
    for (size_t m = 0; m <= 40; m++)
        check_forward(&(sparse_case){.m = m, .n = 50, .k = 37, .percent = 19, .bias = true});
    for (size_t k = 0; k <= 80; k++)
        check_forward(&(sparse_case){.m = 5, .n = 33, .k = k, .percent = 40, .bias = k % 2});
    check_forward(&(sparse_case){.m = 3, .n = 0, .k = 5, .percent = 40});
    pt_float_environment_leave(previous);
}

/* Wider than L1 in several blocks, with and without copying panels, more rows than go at a time. */
TEST(sparse, forward_in_blocks) {
    const unsigned previous = pt_float_environment_enter();
    static const size_t columns[] = {1, 10, 50, 64, 100, 128, 250};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        for (size_t p = 0; p < PERCENTS; p++) {
            sparse_case s = {.m = 30,
                             .n = columns[i],
                             .k = 784,
                             .percent = percents[p],
                             .padding = 3,
                             .bias = true};
            check_forward(&s);
            s.parts = 1 + random_below(5);
            check_forward(&s);
            s.page_strides = true;
            s.m = 17;
            check_forward(&s);
        }
    }
    check_forward(&(sparse_case){
        .m = 20, .n = 1024, .k = 500, .percent = 19, .bias = true, .page_strides = true});
    for (size_t parts = 0; parts <= 2; parts++) /* so wide that rows are listed block by block */
        for (size_t p = 0; p < PERCENTS; p++)
            check_forward(&(sparse_case){.m = 64 + random_below(60),
                                         .n = 512 + random_below(40),
                                         .k = 64 + random_below(800),
                                         .percent = percents[p],
                                         .padding = random_below(2),
                                         .misalignment = random_below(16),
                                         .parts = parts,
                                         .bias = p % 2 == 0,
                                         .page_strides = parts == 2});
    for (size_t parts = 0; parts <= 2; parts++) /* the least that are, and panels of every width */
        for (size_t n = 256; n <= 464; n += 52)
            check_forward(&(sparse_case){.m = 32 + random_below(20),
                                         .n = n,
                                         .k = 64 + random_below(300),
                                         .percent = 19,
                                         .parts = parts,
                                         .bias = true,
                                         .page_strides = true});
    for (size_t parts = 0; parts <= 2; parts++)
        check_forward(&(sparse_case){.m = 128, .n = 530, .k = 200, .percent = 30, .parts = parts});
    for (size_t parts = 0; parts <= 2; parts += 2) /* more rows than are listed together */
        check_forward(&(sparse_case){
            .m = 263, .n = 520, .k = 860, .percent = 19, .parts = parts, .bias = true});
    check_forward(
        &(sparse_case){.m = 1000, .n = 50, .k = 784, .percent = 19, .bias = true, .distinct = 100});
    check_forward(&(sparse_case){.m = 9, .n = 3, .k = 5000, .percent = 30});
    pt_float_environment_leave(previous);
}

TEST(sparse, gradient_every_width_and_density) {
    const unsigned previous = pt_float_environment_enter();
    for (size_t n = 1; n <= 150; n++) {
        for (size_t p = 0; p < PERCENTS; p++) {
            const size_t k = 1 + random_below(100), begin = random_below(k);
            const size_t m = 1 + random_below(30);
            check_gradient(&(sparse_case){.m = m,
                                          .n = n,
                                          .k = k,
                                          .percent = percents[p],
                                          .padding = random_below(20),
                                          .misalignment = random_below(16),
                                          .first = random_below(m),
                                          .shards = 1 + random_below(6),
                                          .begin = begin,
                                          .end = begin + 1 + random_below(k - begin),
                                          .descend = random_below(2),
                                          .even = random_below(2)});
        }
    }
    pt_float_environment_leave(previous);
}

TEST(sparse, gradient_every_shard_tree) {
    const unsigned previous = pt_float_environment_enter();
    for (size_t shards = 2; shards <= 5; shards++)
        for (int even = 0; even < 2; even++)
            check_gradient(&(sparse_case){.m = 100,
                                          .n = 50,
                                          .k = 70,
                                          .percent = 19,
                                          .shards = shards,
                                          .end = 70,
                                          .even = even,
                                          .chain = true,
                                          .descend = even});
    for (size_t shards = 1; shards <= PT_MAX_SHARDS; shards += shards < 40 ? 1 : 27)
        for (int even = 0; even < 2; even++)
            check_gradient(&(sparse_case){.m = 5 + random_below(300),
                                          .n = shards % 3 ? 50 : 7,
                                          .k = 70,
                                          .percent = 19,
                                          .first = random_below(5),
                                          .shards = shards,
                                          .end = 70,
                                          .even = even,
                                          .tiny = shards < 40});
    check_gradient(&(sparse_case){.m = 3,
                                  .n = 5,
                                  .k = 9,
                                  .percent = 30,
                                  .first = 3,
                                  .shards = 4,
                                  .end = 9,
                                  .even = true}); /* no rows at all */
    pt_float_environment_leave(previous);
}

TEST(sparse, gradient_every_count_of_rows) {
    const unsigned previous = pt_float_environment_enter();
    for (size_t m = 0; m <= 330; m += m < 70 ? 1 : 13)
        for (size_t shards = 1; shards <= 4; shards += 3)
            check_gradient(&(sparse_case){.m = m,
                                          .n = m % 2 ? 50 : 97,
                                          .k = 40,
                                          .percent = 19,
                                          .shards = shards,
                                          .end = 40,
                                          .even = true});
    static const size_t shards[] = {4, 16, 17, 32};
    for (size_t m = 255; m <= 257; m++)
        for (size_t i = 0; i < 4; i++)
            check_gradient(&(sparse_case){.m = m,
                                          .n = i % 2 ? 50 : 97,
                                          .k = 600,
                                          .percent = 19,
                                          .shards = shards[i],
                                          .end = 600,
                                          .even = true});
    for (size_t m = 124; m <= 132; m++) /* shards of 31, 32 and 33 rows */
        for (size_t p = 0; p < PERCENTS; p++)
            check_gradient(&(sparse_case){.m = m,
                                          .n = p % 2 ? 50 : 97,
                                          .k = 70,
                                          .percent = percents[p],
                                          .shards = 4,
                                          .end = 70,
                                          .even = true,
                                          .tiny = m % 2 == 0});
    for (size_t n = 25; n <= 60; n++)
        check_gradient(&(sparse_case){.m = n - 12,
                                      .n = n,
                                      .k = 50,
                                      .percent = 50,
                                      .shards = 4,
                                      .end = 50,
                                      .descend = n % 3 == 0,
                                      .even = true,
                                      .tiny = n % 4 == 0});
    check_gradient(&(sparse_case){
        .m = 4, .n = 5, .k = 9, .percent = 30, .shards = 2, .begin = 4, .end = 4, .even = true});
    check_gradient(
        &(sparse_case){.m = 4, .n = 0, .k = 9, .percent = 30, .shards = 2, .end = 9, .even = true});
    pt_float_environment_leave(previous);
}

TEST(sparse, gradient_in_pieces_and_panels) {
    const unsigned previous = pt_float_environment_enter();
    static const size_t pieces[] = {1, 13, 56, 64, 112, 196, 392, 359, 784};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
        for (size_t begin = 0; begin < 784; begin += pieces[i] < 56 ? 97 : pieces[i])
            check_gradient(&(sparse_case){.m = i % 3 == 0 ? 11 : 40,
                                          .n = 50,
                                          .k = 784,
                                          .percent = 19,
                                          .padding = 14,
                                          .shards = 4,
                                          .begin = begin,
                                          .end = begin + pieces[i] < 784 ? begin + pieces[i] : 784,
                                          .descend = i % 2 == 0,
                                          .even = true,
                                          .distinct = 30});
    for (size_t p = 0; p < PERCENTS; p++)
        check_gradient(&(sparse_case){.m = 128,
                                      .n = 1024,
                                      .k = 90,
                                      .percent = percents[p],
                                      .shards = 8,
                                      .end = 90,
                                      .descend = p % 2 == 0,
                                      .even = true,
                                      .page_strides = true});
    /* blocks of columns, from anywhere to anywhere; panels one after the other in each */
    static const size_t wide[] = {50, 53, 60, 130}, begins[] = {0, 37, 97};
    for (size_t i = 0; i < 4; i++)
        for (size_t b = 0; b < 3; b++)
            for (size_t e = 0; e < 3; e++)
                check_gradient(&(sparse_case){.m = 40,
                                              .n = wide[i],
                                              .k = 1200,
                                              .percent = 19,
                                              .shards = 4,
                                              .begin = begins[b],
                                              .end = e == 0   ? begins[b] + 1
                                                     : e == 1 ? 1001
                                                              : 1200,
                                              .descend = e == 1,
                                              .even = true,
                                              .distinct = 30});
    /* more than is spread out at once: some chunks of columns after the others */
    check_gradient(&(sparse_case){.m = 3000,
                                  .n = 6,
                                  .k = 1500,
                                  .percent = 19,
                                  .shards = 3,
                                  .end = 1500,
                                  .even = true,
                                  .distinct = 500});
    pt_float_environment_leave(previous);
}

/* Lists and counts of rows of every length; nothing behind them is touched. */
TEST(sparse, lists) {
    for (int isa = PT_ISA_SCALAR; isa <= PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = variant(isa);
        if (!kernels)
            continue;
        for (size_t k = 0; k <= 300; k++) {
            for (size_t p = 0; p < PERCENTS; p++) {
                uint8_t *bytes = place(BYTES, k, 0);
                for (size_t j = 0; j < k; j++)
                    bytes[j] =
                        random_below(100) < percents[p] ? (uint8_t)(1 + random_below(255)) : 0;
                const size_t count = count_set(bytes, k), words = (k + 63) / 64;
                uint64_t expected_bitmap[5];
                uint16_t expected_column[300];
                uint8_t expected_byte[300];
                list_row(bytes, k, expected_bitmap, expected_column, expected_byte);
                uint64_t *bitmap = place(ENTRIES, words * sizeof *bitmap, 0);
                uint16_t *column = place(EXPECTED, count * sizeof *column, 0);
                uint8_t *byte = place(RESULT, count, 0);
                kernels->sparse_list(k, bytes, bitmap, column, byte);
                const bool same = kernels->count_nonzero(k, bytes) == count &&
                                  memcmp(bitmap, expected_bitmap, words * sizeof *bitmap) == 0 &&
                                  memcmp(column, expected_column, count * sizeof *column) == 0 &&
                                  memcmp(byte, expected_byte, count) == 0;
                CHECK_MSG(same && around_intact(ENTRIES) && around_intact(EXPECTED) &&
                              around_intact(RESULT),
                          "%s %zu bytes, %zu%% set", kernels->isa, k, percents[p]);
            }
        }
    }
}

TEST(sparse, scratch_is_monotone_and_bounded) {
    static const size_t sizes[] = {0,   1,   7,   16,  17,  31,  32,  63,   64,   65,
                                   127, 191, 192, 256, 511, 512, 784, 1024, 4096, 5000};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    for (int isa = PT_ISA_SCALAR; isa <= PT_ISA_COUNT; isa++) {
        const pt_kernels *kernels = variant(isa);
        if (!kernels)
            continue;
        bool monotone = true;
        for (size_t x = 0; x < SIZES * SIZES; x++) {
            const size_t p = sizes[x / SIZES], q = sizes[x % SIZES];
            for (size_t i = 0; i + 1 < SIZES; i++) {
                const size_t r = sizes[i], s = sizes[i + 1];
                monotone &= kernels->sparse_scratch(r, p, q) <= kernels->sparse_scratch(s, p, q);
                monotone &= kernels->sparse_scratch(p, r, q) <= kernels->sparse_scratch(p, s, q);
                monotone &= kernels->sparse_scratch(p, q, r) <= kernels->sparse_scratch(p, q, s);
            }
        }
        CHECK_MSG(monotone, "%s", kernels->isa);
        CHECK(kernels->sparse_scratch(128, 1024, 784) <= 1u << 20);
    }
}
