/* gemm.c: the matrix products, beside the FMA peak of the same cores and other libraries.
 *
 * Every round times every variant once, one after the other, in bursts long enough for the clock,
 * with the peak right before each, so that a change of the processor's frequency or a busy
 * neighbour meets all alike; medians are reported. Hot: operands stay where they are from call to
 * call. Cold: calls go round so many operands that none is left in the last-level cache. Rows are
 * padded to 64 bytes, as ptrain stores them. On several threads ours is split as training splits
 * it, by a team that is held over a burst; peers split as they like. Each peer's result is compared
 * with ours before it is timed.
 */
#include "0_base/clock.h"
#include "0_base/memory.h"
#include "4_train/shards.h"
#include "4_train/trainer.h"
#include "4_train/workers.h"
#include "bench/bench.h"
#include "bench/peers.h"
#include "simd/fma_peak.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SHARDS = 4, LEAST_ROUNDS = 3 };

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

static bool parse_shape(const char *text, bench_product *p) {
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
    return parse_shape(text, &p);
}

/* --- operands: `sets` of each, one behind the other --- */

typedef struct operands {
    bench_product p;
    size_t sets, a_size, b_size, c_size; /* floats of a set */
    float *a, *b, *c;
    void *scratch[MAX_THREADS];
    pt_shard_range shards;
} operands;

static void *must(void *block) {
    if (!block) {
        fprintf(stderr, "bench: out of memory\n");
        exit(1);
    }
    return block;
}

static float *new_matrices(size_t floats) {
    float *x = must(pt_calloc_aligned(floats, sizeof *x));
    for (size_t i = 0; i < floats; i++)
        x[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    return x;
}

static size_t padded(size_t n) {
    return (n + PT_ROW_ALIGN - 1) / PT_ROW_ALIGN * PT_ROW_ALIGN;
}

static size_t last_level_cache(void) {
    const long bytes = sysconf(_SC_LEVEL3_CACHE_SIZE), most = 256L << 20;
    return (size_t)(bytes <= 0 ? 32L << 20 : bytes < most ? bytes : most);
}

static void make_operands(operands *o, const pt_kernels *kernels, size_t threads, bool cold) {
    bench_product *p = &o->p;
    p->lda = padded(p->form == PT_GEMM_TN ? p->m : p->k);
    p->ldb = padded(p->form == PT_GEMM_NT ? p->k : p->n);
    p->ldc = padded(p->n);
    o->a_size = p->lda * (p->form == PT_GEMM_TN ? p->k : p->m);
    o->b_size = p->ldb * (p->form == PT_GEMM_NT ? p->n : p->k);
    o->c_size = p->ldc * p->m;
    const size_t set = (o->a_size + o->b_size + o->c_size) * sizeof(float);
    o->sets = cold ? 2 + 2 * last_level_cache() / set : 1;
    o->a = new_matrices(o->sets * o->a_size);
    o->b = new_matrices(o->sets * o->b_size);
    o->c = new_matrices(o->sets * o->c_size);
    for (size_t t = 0; t < threads; t++)
        o->scratch[t] =
            must(pt_calloc_aligned(kernels->sgemm_scratch(p->form, p->m, p->n, p->k) + 64, 1));
    pt_shard_range_init(&o->shards, p->k, SHARDS, 0, SHARDS);
}

static void free_operands(operands *o, size_t threads) {
    pt_free(o->a);
    pt_free(o->b);
    pt_free(o->c);
    for (size_t t = 0; t < threads; t++)
        pt_free(o->scratch[t]);
}

/* --- ours --- */

typedef struct team {
    const pt_kernels *kernels;
    const operands *o;
    pt_isa isa;
    size_t calls, set;
    pt_barrier barrier;
    double seconds;
} team;

static void own_part(const team *t, size_t set, size_t worker, size_t workers) {
    const operands *o = t->o;
    const bench_product *p = &o->p;
    const float *a = o->a + set * o->a_size, *b = o->b + set * o->b_size;
    float *c = o->c + set * o->c_size;
    void *scratch = o->scratch[worker];
    const pt_kernels *kernels = t->kernels;
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
                          NULL, c, p->ldc, scratch);
    else if (p->form == PT_GEMM_NT)
        kernels->sgemm_nt(end - row, col_end - col, p->k, a + row * p->lda, p->lda,
                          b + col * p->ldb, p->ldb, c, p->ldc, scratch);
    else
        kernels->sgemm_tn(end - row, p->n, &o->shards.shards, a + row, p->lda, b, p->ldb, NULL, c,
                          p->ldc, scratch);
}

static void run_ours(void *context, size_t worker, size_t workers) {
    team *t = context;
    const unsigned previous = pt_float_environment_enter();
    pt_barrier_wait(&t->barrier, workers);
    const double start = pt_now();
    for (size_t i = 0; i < t->calls; i++) {
        own_part(t, (t->set + i) % t->o->sets, worker, workers);
        pt_barrier_wait(&t->barrier, workers);
    }
    if (worker == 0)
        t->seconds = pt_now() - start;
    pt_float_environment_leave(previous);
}

static void run_peak(void *context, size_t worker, size_t workers) {
    team *t = context;
    pt_barrier_wait(&t->barrier, workers);
    const double start = pt_now(), work = pt_fma_loop(t->isa, 5000);
    pt_barrier_wait(&t->barrier, workers);
    if (worker == 0)
        t->seconds = (pt_now() - start) / (work * (double)workers);
}

/* --- timing --- */

typedef struct bench {
    team team;
    size_t threads, count, next_set; /* variants: ours, then the peers */
    bench_peer peer[BENCH_MAX_PEERS];
} bench;

/* Seconds of a call. Sets go on from burst to burst, so that cold ones stay cold. */
static double burst(bench *x, size_t variant, size_t calls) {
    team *t = &x->team;
    const operands *o = t->o;
    t->calls = calls;
    t->set = x->next_set;
    x->next_set = (x->next_set + calls) % o->sets;
    if (variant == 0) {
        pt_workers_run(x->threads, run_ours, t);
        return t->seconds / (double)calls;
    }
    const bench_peer *peer = &x->peer[variant - 1];
    peer->set_threads(peer, x->threads);
    const double start = pt_now();
    for (size_t i = 0; i < calls; i++) {
        const size_t set = (t->set + i) % o->sets;
        peer->run(peer, &o->p, o->a + set * o->a_size, o->b + set * o->b_size,
                  o->c + set * o->c_size);
    }
    return (pt_now() - start) / (double)calls;
}

static double measure_peak(bench *x) {
    pt_workers_run(x->threads, run_peak, &x->team);
    return 1e-9 / x->team.seconds;
}

/* A peer that computes something else must not be called faster or slower. */
static void compare_results(bench *x, const operands *o) {
    float *ours = must(pt_calloc_aligned(o->c_size, sizeof *ours));
    x->next_set = 0;
    burst(x, 0, 1);
    memcpy(ours, o->c, o->c_size * sizeof *ours);
    for (size_t v = 1; v < x->count; v++) {
        memset(o->c, 0x7f, o->c_size * sizeof *o->c);
        x->next_set = 0;
        burst(x, v, 1);
        for (size_t i = 0; i < o->p.m; i++)
            for (size_t j = 0; j < o->p.n; j++) {
                const size_t at = i * o->p.ldc + j;
                if (fabsf(ours[at] - o->c[at]) <= 1e-5f * (float)o->p.k + 1e-5f)
                    continue;
                fprintf(stderr, "bench: %s computes another product\n", x->peer[v - 1].name);
                exit(1);
            }
    }
    pt_free(ours);
}

static int ascending(const void *x, const void *y) {
    const double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, ascending);
    return x[n / 2];
}

static void measure(bench *x, const bench_options *options, double work, bench_row *row) {
    static double gflops[BENCH_CELLS][BENCH_MAX_ROUNDS], shares[BENCH_CELLS][BENCH_MAX_ROUNDS];
    static double peaks[BENCH_MAX_ROUNDS], ratios[BENCH_MAX_ROUNDS];
    size_t calls[BENCH_CELLS], rounds = 0;
    const double start = pt_now();
    for (size_t v = 0; v < x->count; v++)
        calls[v] = 1 + (size_t)(100e-6 / fmin(burst(x, v, 1), burst(x, v, 3)));
    /* Ratios are taken within a round: the processor's frequency differs between rounds by more
     * than the variants do. */
    while (rounds < options->rounds &&
           (rounds < LEAST_ROUNDS || pt_now() - start < options->seconds)) {
        double best = 0;
        for (size_t v = 0; v < x->count; v++) {
            peaks[rounds] = measure_peak(x);
            gflops[v][rounds] = work / burst(x, v, calls[v]) * 1e-9;
            shares[v][rounds] = gflops[v][rounds] / peaks[rounds];
            if (v > 0)
                best = fmax(best, shares[v][rounds]);
        }
        ratios[rounds] = best > 0 ? shares[0][rounds] / best : 0;
        rounds++;
    }
    row->peak = median(peaks, rounds);
    row->ratio = median(ratios, rounds);
    for (size_t v = 0; v < x->count; v++) {
        row->cell[v].value = median(gflops[v], rounds);
        row->cell[v].share = median(shares[v], rounds);
    }
}

static void bench_shape(bench *x, const bench_options *options, const bench_product *p, bool cold,
                        void (*emit)(const bench_row *)) {
    operands o = {.p = *p};
    const double work = 2.0 * (double)p->m * (double)p->n * (double)p->k;
    bench_row row = {.family = "gemm", .unit = "GFLOP/s", .threads = x->threads, .cells = x->count};
    snprintf(row.isa, sizeof row.isa, "%s", x->team.kernels->isa);
    snprintf(row.buffers, sizeof row.buffers, "%s", cold ? "cold" : "hot");
    snprintf(row.shape, sizeof row.shape, "%zux%zux%zu%s", p->m, p->n, p->k, form_names[p->form]);
    snprintf(row.cell[0].name, sizeof row.cell[0].name, "ptrain");
    for (size_t v = 1; v < x->count; v++)
        snprintf(row.cell[v].name, sizeof row.cell[v].name, "%s", x->peer[v - 1].name);
    make_operands(&o, x->team.kernels, x->threads, cold);
    x->team.o = &o;
    pt_barrier_init(&x->team.barrier, x->threads);
    compare_results(x, &o);
    measure(x, options, work, &row);
    free_operands(&o, x->threads);
    emit(&row);
}

void bench_gemm(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *)) {
    const size_t defaults = sizeof default_shapes / sizeof *default_shapes;
    const bool own = options->shapes == 0;
    bench x = {.team = {.kernels = pt_kernels_get(isa), .isa = isa}, .count = 1};
    if (options->peers && isa != PT_ISA_SCALAR)
        x.count += bench_open_peers(isa, x.peer);
    pt_float_environment_enter();
    for (size_t t = 0; t < options->counts; t++)
        for (int cold = 0; cold < 2; cold++)
            for (size_t i = 0; i < (own ? defaults : options->shapes); i++) {
                bench_product p;
                if (!(cold ? options->cold : options->hot) ||
                    !parse_shape(own ? default_shapes[i] : options->shape[i], &p))
                    continue;
                /* Scalar takes seconds for large ones, and caches do not matter to them. */
                const double work = 2.0 * (double)p.m * (double)p.n * (double)p.k;
                if (own && ((isa == PT_ISA_SCALAR && work > 2e7) || (cold && work > 1e9)))
                    continue;
                x.threads = options->threads[t];
                bench_shape(&x, options, &p, cold, emit);
            }
}
