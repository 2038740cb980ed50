/* gemm.c: the matrix products, beside the FMA peak of the same cores and other libraries.
 *
 * Rows are padded to 64 bytes, as ptrain stores them. On several threads ours is split as training
 * splits it, by a team that is held over a burst; peers split as they like. Each peer's result is
 * compared with ours before it is timed.
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

enum { MAX_THREADS = 256 };

static const char *const form_names[] = {"nn", "nt", "tn"};

static const char *const default_shapes[] = {
    "100x50x784nn",     "784x50x100tn",     "100x10x50nn",     "100x50x10nt",     "50x10x100tn",
    "128x1024x784nn",   "784x1024x128tn",   "128x1024x1024nn", "128x1024x1024nt", "1024x1024x128tn",
    "128x10x1024nn",    "128x1024x10nt",    "1024x10x128tn",   "256x256x256nn",   "512x512x512nn",
    "1024x1024x1024nn", "2048x2048x2048nn", "50x50x784nn",     "392x50x100tn",    "64x1024x784nn",
    "784x512x128tn",    "64x1024x1024nn",   "64x1024x1024nt",  "128x512x1024nn",  "128x512x1024nt",
    "1024x512x128tn",   "1x50x784nn",       "8x50x784nn",      "7x7x7nn",         "17x17x17nn",
    "63x63x63nn",       "65x65x65nn",       "127x127x127nn",   "65x127x17nn",     "127x17x63nt",
    "17x63x127tn",      "127x65x65tn",      "1x127x127nn",     "127x1x127nn",     "127x127x1nn",
};

bool bench_parse_product(const char *text, bench_product *p) {
    char form[3] = "nn";
    int used = 0;
    *p = (bench_product){0};
    if (strspn(text, "0123456789x") < 5 || strchr(text, '-') ||
        sscanf(text, "%5zux%5zux%5zu%n", &p->m, &p->n, &p->k, &used) < 3 || !p->m || !p->n || !p->k)
        return false;
    if (text[used] && (sscanf(text + used, "%2s", form) != 1 || strlen(text + used) != 2))
        return false;
    for (int f = PT_GEMM_NN; f <= PT_GEMM_TN; f++) {
        if (strcmp(form, form_names[f]) == 0) {
            p->form = (pt_gemm_form)f;
            return true;
        }
    }
    return false;
}

bool bench_gemm_shape(const char *text) {
    bench_product p;
    return bench_parse_product(text, &p);
}

/* --- operands: `sets` of each, one behind the other --- */

typedef struct gemm {
    const pt_kernels *kernels;
    bench_product p;
    size_t a_size, b_size, c_size; /* floats of a set */
    float *a, *b, *c;
    void *scratch[MAX_THREADS];
    pt_shard_range shards;
    bench_peer peer[BENCH_MAX_PEERS];
    size_t peers, threads;
    size_t zeros; /* percent of A */
} gemm;

static float *new_matrices(size_t floats) {
    float *x = bench_new(floats, sizeof *x);
    for (size_t i = 0; i < floats; i++)
        x[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    return x;
}

/* That percentage of x, at places that look random. */
static void set_zeros(float *x, size_t floats, size_t percent) {
    uint32_t state = 1;
    for (size_t i = 0; i < floats; i++) {
        state = state * 1664525u + 1013904223u; /* Knuth, TAOCP volume 2, 3.3.4 */
        if ((state >> 8) % 100 < percent)
            x[i] = 0;
    }
}

static size_t make_operands(gemm *o, bool cold) {
    bench_product *p = &o->p;
    p->lda = bench_padded(p->form == PT_GEMM_TN ? p->m : p->k);
    p->ldb = bench_padded(p->form == PT_GEMM_NT ? p->k : p->n);
    p->ldc = bench_padded(p->n);
    o->a_size = p->lda * (p->form == PT_GEMM_TN ? p->k : p->m);
    o->b_size = p->ldb * (p->form == PT_GEMM_NT ? p->n : p->k);
    o->c_size = p->ldc * p->m;
    const size_t sets = bench_sets((o->a_size + o->b_size + o->c_size) * sizeof(float), cold);
    o->a = new_matrices(sets * o->a_size);
    set_zeros(o->a, sets * o->a_size, o->zeros);
    o->b = new_matrices(sets * o->b_size);
    o->c = new_matrices(sets * o->c_size);
    for (size_t t = 0; t < o->threads; t++)
        o->scratch[t] = bench_new(o->kernels->sgemm_scratch(p->form, p->m, p->n, p->k), 1);
    pt_shard_range_init(&o->shards, p->k, BENCH_SHARDS, 0, BENCH_SHARDS);
    return sets;
}

static void free_operands(gemm *o) {
    pt_free(o->a);
    pt_free(o->b);
    pt_free(o->c);
    for (size_t t = 0; t < o->threads; t++)
        pt_free(o->scratch[t]);
}

static void run_part(void *context, size_t variant, size_t set, size_t worker, size_t workers) {
    const gemm *o = context;
    const bench_product *p = &o->p;
    const float *a = o->a + set * o->a_size, *b = o->b + set * o->b_size;
    float *c = o->c + set * o->c_size;
    if (variant > 0) {
        const bench_peer *peer = &o->peer[variant - 1];
        peer->run(peer, p, set, a, b, c);
        return;
    }
    void *scratch = o->scratch[worker];
    const pt_kernels *kernels = o->kernels;
    size_t row = 0, end = p->m, col = 0, col_end = p->n;
    if (workers == 1) /* no divisions: they would count in the smallest products */
        ;
    else if (p->form == PT_GEMM_TN)
        pt_partition(p->m, PT_ROW_ALIGN, worker, workers, &row, &end);
    else if (p->n >= PT_COLUMNS_EACH * workers)
        pt_partition(p->n, 2 * PT_ROW_ALIGN, worker, workers, &col, &col_end);
    else
        pt_partition(p->m, 1, worker, workers, &row, &end);
    if (row == end || col == col_end)
        return;
    c += row * p->ldc + col;
    if (p->form == PT_GEMM_NN)
        kernels->sgemm_nn(end - row, col_end - col, p->k, a + row * p->lda, p->lda, b + col, p->ldb,
                          NULL, false, c, p->ldc, scratch);
    else if (p->form == PT_GEMM_NT)
        kernels->sgemm_nt(end - row, col_end - col, p->k, a + row * p->lda, p->lda,
                          b + col * p->ldb, p->ldb, NULL, c, p->ldc, scratch);
    else
        kernels->sgemm_tn(end - row, p->n, &o->shards.shards, a + row, p->lda, b, p->ldb, NULL, c,
                          p->ldc, scratch);
}

/* A peer that computes something else must not be called faster or slower. */
static void compare_results(bench_work *x, const gemm *o) {
    float *ours = bench_new(o->c_size, sizeof *ours);
    x->next_set = 0;
    bench_burst(x, 0, 1);
    memcpy(ours, o->c, o->c_size * sizeof *ours);
    for (size_t v = 1; v < x->variants; v++) {
        if (x->absent[v])
            continue;
        memset(o->c, 0x7f, o->c_size * sizeof *o->c);
        x->next_set = 0;
        bench_burst(x, v, 1);
        for (size_t i = 0; i < o->p.m; i++)
            for (size_t j = 0; j < o->p.n; j++) {
                const size_t at = i * o->p.ldc + j;
                if (fabsf(ours[at] - o->c[at]) <= 1e-5f * (float)o->p.k + 1e-5f)
                    continue;
                fprintf(stderr, "bench: %s computes another product\n", o->peer[v - 1].name);
                exit(1);
            }
    }
    pt_free(ours);
}

static void bench_shape(gemm *o, const bench_options *options, pt_isa isa, bool cold,
                        void (*emit)(const bench_row *)) {
    const bench_product *p = &o->p;
    bench_work x = {.isa = isa,
                    .threads = o->threads,
                    .variants = o->peers + 1,
                    .amount = 2.0 * (double)p->m * (double)p->n * (double)p->k,
                    .part = run_part,
                    .context = o};
    bench_row row = {
        .family = "gemm", .unit = "GFLOP/s", .threads = o->threads, .cells = o->peers + 1};
    snprintf(row.isa, sizeof row.isa, "%s", o->kernels->isa);
    snprintf(row.buffers, sizeof row.buffers, "%s", cold ? "cold" : "hot");
    snprintf(row.shape, sizeof row.shape, "%zux%zux%zu%s", p->m, p->n, p->k, form_names[p->form]);
    if (o->zeros > 0) {
        const size_t length = strlen(row.shape);
        snprintf(row.shape + length, sizeof row.shape - length, " %zu%% 0", o->zeros);
    }
    snprintf(row.cell[0].name, sizeof row.cell[0].name, "ptrain");
    x.sets = make_operands(o, cold);
    for (size_t v = 1; v < x.variants; v++) {
        bench_peer *peer = &o->peer[v - 1];
        snprintf(row.cell[v].name, sizeof row.cell[v].name, "%s", peer->name);
        x.own_threads[v] = true;
        x.absent[v] = peer->prepare && !peer->prepare(peer, p, o->threads, o->b, x.sets, o->b_size);
        if (!x.absent[v] && peer->set_threads)
            peer->set_threads(peer, o->threads);
    }
    compare_results(&x, o);
    bench_measure(&x, options, &row);
    for (size_t v = 1; v < x.variants; v++)
        if (o->peer[v - 1].finish)
            o->peer[v - 1].finish(&o->peer[v - 1]);
    free_operands(o);
    emit(&row);
}

void bench_gemm(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *)) {
    const size_t defaults = sizeof default_shapes / sizeof *default_shapes;
    const bool own = options->shapes == 0;
    static gemm x;
    x.kernels = pt_kernels_get(isa);
    x.zeros = options->zeros;
    if (options->peers && isa != PT_ISA_SCALAR)
        x.peers = bench_open_peers(isa, x.peer);
    for (size_t t = 0; t < options->counts; t++)
        for (int cold = 0; cold < 2; cold++)
            for (size_t i = 0; i < (own ? defaults : options->shapes); i++) {
                if (!(cold ? options->cold : options->hot) ||
                    !bench_parse_product(own ? default_shapes[i] : options->shape[i], &x.p))
                    continue;
                /* Scalar takes seconds for large ones, and caches do not matter to them. */
                const double work = 2.0 * (double)x.p.m * (double)x.p.n * (double)x.p.k;
                if (own && ((isa == PT_ISA_SCALAR && work > 2e7) || (cold && work > 1e9)))
                    continue;
                x.threads = options->threads[t];
                bench_shape(&x, options, isa, cold, emit);
            }
}
