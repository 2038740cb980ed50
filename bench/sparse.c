/* sparse.c: the products with sparse rows of bytes, on MNIST's images where they are there.
 *
 * Forward (nn) and gradient (tn) of a first layer. What counts is the arithmetic that zeros leave,
 * for the dense products too, ptrain's own and the other libraries', which do all of it. Without
 * the images, rows are made up: blobs that cover 19%. Ours is split as training splits it: forward
 * by rows, the gradient by columns of the images.
 */
#include "0_base/memory.h"
#include "4_train/shards.h"
#include "4_train/trainer.h"
#include "bench/measure.h"
#include "bench/peers.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_THREADS = 256, MAX_COLUMNS = 8192, IMAGE = 784, IMAGES = 60000, BLOCKED = 64 };

static const char *const default_shapes[] = {"100x50x784nn",   "784x50x100tn", "128x1024x784nn",
                                             "784x1024x128tn", "17x127x784nn", "784x127x17tn",
                                             "1x50x784nn",     "100x10x784nn"};

bool bench_sparse_shape(const char *text) {
    bench_product p;
    return bench_parse_product(text, &p) && p.form != PT_GEMM_NT &&
           (p.form == PT_GEMM_NN ? p.k : p.m) <= MAX_COLUMNS;
}

typedef struct sparse {
    const pt_kernels *kernels;
    bench_product p;
    size_t rows, units, columns, ld, dense_ld, sets, threads;
    pt_shard_range shards;
    float value[256];
    uint8_t *bytes;                                   /* sets x rows x columns */
    uint64_t *lists;                                  /* where the rows' lists lie */
    pt_sparse_row *a;                                 /* sets x rows */
    float *dense, *weight, *bias, *hidden, *gradient; /* sets of each */
    size_t dense_size, weight_size, hidden_size;      /* floats of a set */
    void *scratch[MAX_THREADS];
    bench_peer peer[BENCH_MAX_PEERS];
    size_t peers;
} sparse;

/* --- rows --- */

static uint32_t random_below(uint32_t bound) { /* an LCG of Knuth's */
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 32) * bound >> 32);
}

static void make_up(sparse *x, size_t rows) {
    for (size_t i = 0; i < rows * x->columns / 100; i++) { /* runs of 20 cover some 19% */
        const size_t at = random_below((uint32_t)(rows * x->columns));
        for (size_t j = at; j < at + 20 && j < rows * x->columns; j++)
            x->bytes[j] = (uint8_t)(1 + random_below(255));
    }
}

/* MNIST's images, again and again if more are wanted. */
static bool load(sparse *x, size_t rows) {
    FILE *file = x->columns == IMAGE ? fopen("data/mnist/train-images-idx3-ubyte", "rb") : NULL;
    const size_t images = rows < IMAGES ? rows : IMAGES;
    const bool ok = file && fseek(file, 16, SEEK_SET) == 0 &&
                    fread(x->bytes, x->columns, images, file) == images;
    if (file)
        fclose(file);
    for (size_t i = images; i < rows && ok; i++)
        memcpy(x->bytes + i * x->columns, x->bytes + (i - images) * x->columns, x->columns);
    return ok;
}

/* Lists of all rows; returns how many entries they have. */
static size_t list_rows(sparse *x, size_t rows) {
    const size_t words = (x->columns + 63) / 64;
    const size_t entries = x->kernels->count_nonzero(rows * x->columns, x->bytes);
    x->lists = bench_new(rows * (words + 1) + entries * 3 / 8 + PT_SPARSE_SLACK, sizeof(uint64_t));
    uint64_t *at = x->lists;
    for (size_t i = 0; i < rows; i++) {
        const uint8_t *bytes = x->bytes + i * x->columns;
        const size_t count = x->kernels->count_nonzero(x->columns, bytes);
        uint16_t *column = (uint16_t *)(at + words);
        uint8_t *byte = (uint8_t *)(column + count);
        x->kernels->sparse_list(x->columns, bytes, at, column, byte);
        x->a[i] = (pt_sparse_row){at, column, byte};
        at += words + (count * 3 + 7) / 8;
    }
    return entries;
}

/* --- operands --- */

static float *small_numbers(size_t floats) {
    float *x = bench_new(floats, sizeof *x);
    for (size_t i = 0; i < floats; i++)
        x[i] = ((float)random_below(2001) - 1000.0f) * 1e-4f;
    return x;
}

/* Returns the products of a call that are not with zero. */
static double make_operands(sparse *x, bool cold) {
    const bench_product *p = &x->p;
    const pt_kernels *kernels = x->kernels;
    const bool forward = p->form == PT_GEMM_NN;
    x->rows = forward ? p->m : p->k;
    x->columns = forward ? p->k : p->m;
    x->units = p->n;
    x->ld = bench_padded(x->units);
    x->dense_ld = bench_padded(x->columns);
    x->p.lda = x->dense_ld;
    x->p.ldb = x->p.ldc = x->ld;
    x->dense_size = x->rows * x->dense_ld;
    x->weight_size = x->columns * x->ld;
    x->hidden_size = x->rows * x->ld;
    x->sets = bench_sets((x->weight_size + x->hidden_size) * sizeof(float) + x->rows * 500, cold);
    const size_t rows = x->sets * x->rows;
    x->bytes = bench_new(rows, x->columns);
    x->a = bench_new(rows, sizeof *x->a);
    if (!load(x, rows)) {
        memset(x->bytes, 0, rows * x->columns);
        make_up(x, rows);
    }
    const size_t entries = list_rows(x, rows);
    x->dense = bench_new(rows * x->dense_ld, sizeof(float));
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < x->columns; j++)
            x->dense[i * x->dense_ld + j] = x->value[x->bytes[i * x->columns + j]];
    x->weight = small_numbers(x->sets * x->weight_size);
    x->gradient = small_numbers(forward ? 1 : x->sets * x->weight_size);
    x->hidden = small_numbers(x->sets * x->hidden_size);
    size_t scratch = kernels->sparse_scratch(x->rows, x->units, x->columns);
    const size_t dense = kernels->sgemm_scratch(p->form, p->m, p->n, p->k);
    for (size_t t = 0; t < x->threads; t++)
        x->scratch[t] = bench_new(scratch > dense ? scratch : dense, 1);
    pt_shard_range_init(&x->shards, x->rows, BENCH_SHARDS, 0, BENCH_SHARDS);
    return (double)entries / (double)x->sets * (double)x->units;
}

static void free_operands(sparse *x) {
    void *const all[] = {x->bytes, x->a, x->lists, x->dense, x->weight, x->gradient, x->hidden};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        pt_free(all[i]);
    for (size_t t = 0; t < x->threads; t++)
        pt_free(x->scratch[t]);
}

/* --- calls --- */

static void forward(const sparse *x, size_t variant, size_t set, size_t worker, size_t workers) {
    size_t begin, end;
    const float *weight = x->weight + set * x->weight_size;
    pt_partition(x->rows, 1, worker, workers, &begin, &end);
    float *c = x->hidden + set * x->hidden_size + begin * x->ld;
    if (begin == end)
        return;
    if (variant == 0)
        x->kernels->sparse_nn(end - begin, x->units, x->columns, 0, x->columns,
                              x->a + set * x->rows + begin, x->value, weight, x->ld, NULL, false, c,
                              x->ld, NULL, x->scratch[worker]);
    else
        x->kernels->sgemm_nn(end - begin, x->units, x->columns,
                             x->dense + set * x->dense_size + begin * x->dense_ld, x->dense_ld,
                             weight, x->ld, NULL, false, c, x->ld, x->scratch[worker]);
}

static void gradient(const sparse *x, size_t variant, size_t set, size_t worker, size_t workers) {
    size_t begin, end;
    const float *hidden = x->hidden + set * x->hidden_size;
    pt_partition(x->columns, BLOCKED, worker, workers, &begin, &end);
    float *c = x->gradient + set * x->weight_size + begin * x->ld;
    if (begin == end)
        return;
    if (variant == 0)
        x->kernels->sparse_tn(begin, end, x->units, &x->shards.shards, x->a + set * x->rows,
                              x->value, hidden, x->ld, NULL, c, x->ld, x->scratch[worker]);
    else
        x->kernels->sgemm_tn(end - begin, x->units, &x->shards.shards,
                             x->dense + set * x->dense_size + begin, x->dense_ld, hidden, x->ld,
                             NULL, c, x->ld, x->scratch[worker]);
}

static void run_part(void *context, size_t variant, size_t set, size_t worker, size_t workers) {
    const sparse *x = context;
    const bool is_forward = x->p.form == PT_GEMM_NN;
    if (variant < 2) {
        (is_forward ? forward : gradient)(x, variant, set, worker, workers);
        return;
    }
    const bench_peer *peer = &x->peer[variant - 2];
    const float *a = x->dense + set * x->dense_size;
    float *hidden = x->hidden + set * x->hidden_size;
    if (is_forward)
        peer->run(peer, &x->p, set, a, x->weight + set * x->weight_size, hidden);
    else
        peer->run(peer, &x->p, set, a, hidden, x->gradient + set * x->weight_size);
}

/* A variant that computes something else must not be called faster or slower. */
static void compare_results(bench_work *work, const sparse *x) {
    const bool is_forward = x->p.form == PT_GEMM_NN;
    const size_t rows = is_forward ? x->rows : x->columns, size = rows * x->ld;
    float *result = is_forward ? x->hidden : x->gradient, *ours = bench_new(size, sizeof *ours);
    for (size_t v = 0; v < work->variants; v++) {
        if (work->absent[v])
            continue;
        memset(result, 0x7f, size * sizeof *result);
        work->next_set = 0;
        bench_burst(work, v, 1);
        if (v == 0)
            memcpy(ours, result, size * sizeof *ours);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < x->units; j++)
                if (!(fabsf(ours[i * x->ld + j] - result[i * x->ld + j]) <=
                      1e-5f * (float)x->p.k + 1e-5f)) {
                    fprintf(stderr, "bench: variant %zu computes another product\n", v);
                    exit(1);
                }
    }
    pt_free(ours);
}

static void bench_shape(sparse *x, const bench_options *options, pt_isa isa, bool cold,
                        void (*emit)(const bench_row *)) {
    bench_work work = {.isa = isa,
                       .threads = x->threads,
                       .variants = x->peers + 2,
                       .part = run_part,
                       .context = x};
    bench_row row = {
        .family = "sparse", .unit = "GFLOP/s", .threads = x->threads, .cells = x->peers + 2};
    const bench_product *p = &x->p;
    snprintf(row.isa, sizeof row.isa, "%s", x->kernels->isa);
    snprintf(row.buffers, sizeof row.buffers, "%s", cold ? "cold" : "hot");
    snprintf(row.shape, sizeof row.shape, "%zux%zux%zu%s", p->m, p->n, p->k,
             p->form == PT_GEMM_NN ? "nn" : "tn");
    snprintf(row.cell[0].name, sizeof row.cell[0].name, "ptrain");
    snprintf(row.cell[1].name, sizeof row.cell[1].name, "ptrain dense");
    work.amount = 2 * make_operands(x, cold);
    work.sets = x->sets;
    for (size_t v = 2; v < work.variants; v++) {
        bench_peer *peer = &x->peer[v - 2];
        snprintf(row.cell[v].name, sizeof row.cell[v].name, "%s", peer->name);
        work.own_threads[v] = true;
        work.absent[v] =
            peer->prepare &&
            !peer->prepare(peer, p, x->threads, p->form == PT_GEMM_NN ? x->weight : x->hidden,
                           x->sets, p->form == PT_GEMM_NN ? x->weight_size : x->hidden_size);
        if (!work.absent[v] && peer->set_threads)
            peer->set_threads(peer, x->threads);
    }
    compare_results(&work, x);
    bench_measure(&work, options, &row);
    for (size_t i = 0; i < x->peers; i++)
        if (x->peer[i].finish)
            x->peer[i].finish(&x->peer[i]);
    free_operands(x);
    emit(&row);
}

void bench_sparse(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *)) {
    static sparse x;
    const size_t defaults = sizeof default_shapes / sizeof *default_shapes;
    const size_t shapes = options->shapes ? options->shapes : defaults;
    x.kernels = pt_kernels_get(isa);
    for (size_t i = 1; i < 256; i++)
        x.value[i] = (float)i / 255.0f;
    if (options->peers && isa != PT_ISA_SCALAR)
        x.peers = bench_open_peers(isa, x.peer);
    for (size_t t = 0; t < options->counts; t++)
        for (int cold = 0; cold < 2; cold++)
            for (size_t i = 0; i < shapes; i++) {
                const char *text = options->shapes ? options->shape[i] : default_shapes[i];
                if (!(cold ? options->cold : options->hot) || !bench_sparse_shape(text) ||
                    !bench_parse_product(text, &x.p))
                    continue;
                if (!options->shapes && isa == PT_ISA_SCALAR && x.p.n > 127)
                    continue; /* takes seconds */
                x.threads = options->threads[t];
                bench_shape(&x, options, isa, cold, emit);
            }
}
