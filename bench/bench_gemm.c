/* bench_gemm.c: GFLOP/s of the matrix products on one thread, beside the FMA peak of the same core
 * and beside OpenBLAS and BLIS where the machine has them.
 *
 *     bench_gemm [--isa avx2|avx512|scalar] [--shape MxNxK[nn|nt|tn]]... [--rounds N] [--shards S]
 *                [--no-peers]
 *
 * Every round times every variant once, one after the other, in bursts long enough for the clock,
 * so that a change of the processor's frequency or a busy neighbour meets all alike; medians are
 * reported. The peak is that of a loop of register-only FMAs of the same vector width. Operands
 * stay where they are from call to call (in cache if they fit). Rows are padded to 64 bytes, as
 * ptrain stores them. Peers compute the same product without shards.
 */
#include "simd/fma_peak.h"
#include "simd/kernels.h"

#include <dlfcn.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_SHAPES = 128, MAX_ROUNDS = 1001, MAX_VARIANTS = 4 };

typedef struct shape {
    size_t m, n, k;
    pt_gemm_form form;
} shape;

static const char *const form_names[] = {"nn", "nt", "tn"};

static const char *const default_shapes[] = {
    "100x50x784nn",   "784x50x100tn",   "100x10x50nn",      "100x50x10nt",      "50x10x100tn",
    "128x1024x784nn", "784x1024x128tn", "128x1024x1024nn",  "128x1024x1024nt",  "1024x1024x128tn",
    "256x256x256nn",  "512x512x512nn",  "1024x1024x1024nn", "2048x2048x2048nn", "50x50x784nn",
    "392x50x100tn",   "64x1024x784nn",  "784x512x128tn",    "64x1024x1024nn",   "64x1024x1024nt",
    "128x512x1024nn", "128x512x1024nt", "1024x512x128tn",   "1x50x784nn",       "8x50x784nn",
    "7x7x7nn",        "17x17x17nn",     "63x63x63nn",       "65x65x65nn",       "127x127x127nn",
    "65x127x17nn",    "127x17x63nt",    "17x63x127tn",      "127x65x65tn",      "1x127x127nn",
    "127x1x127nn",    "127x127x1nn",
};

/* --- time and peak --- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double measure_peak(pt_isa isa) {
    double start = now(), work = pt_fma_loop(isa, 5000);
    return work / (now() - start) * 1e-9;
}

/* --- variants --- */

typedef void (*cblas_sgemm_function)(int order, int trans_a, int trans_b, int m, int n, int k,
                                     float alpha, const float *a, int lda, const float *b, int ldb,
                                     float beta, float *c, int ldc);

typedef struct variant {
    const char *name;
    const pt_kernels *kernels; /* ours, or NULL */
    cblas_sgemm_function peer; /* or a peer's */
} variant;

typedef struct operands {
    shape s;
    float *a, *b, *c;
    size_t lda, ldb, ldc;
    void *scratch;
    pt_shards shards;
} operands;

static void call(const variant *v, const operands *o) {
    const shape *s = &o->s;
    if (v->peer) {
        enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
        v->peer(ROW_MAJOR, s->form == PT_GEMM_TN ? TRANS : NO_TRANS,
                s->form == PT_GEMM_NT ? TRANS : NO_TRANS, (int)s->m, (int)s->n, (int)s->k, 1.0f,
                o->a, (int)o->lda, o->b, (int)o->ldb, 0.0f, o->c, (int)o->ldc);
    } else if (s->form == PT_GEMM_NN) {
        v->kernels->sgemm_nn(s->m, s->n, s->k, o->a, o->lda, o->b, o->ldb, NULL, o->c, o->ldc,
                             o->scratch);
    } else if (s->form == PT_GEMM_NT) {
        v->kernels->sgemm_nt(s->m, s->n, s->k, o->a, o->lda, o->b, o->ldb, o->c, o->ldc,
                             o->scratch);
    } else {
        v->kernels->sgemm_tn(s->m, s->n, &o->shards, o->a, o->lda, o->b, o->ldb, NULL, o->c, o->ldc,
                             o->scratch);
    }
}

static double burst(const variant *v, const operands *o, size_t calls) {
    double start = now();
    for (size_t i = 0; i < calls; i++)
        call(v, o);
    return (now() - start) / (double)calls;
}

/* A peer at its best: told to use the instruction set that it is compared on, and one thread. */
static void add_peers(pt_isa isa, variant *variants, size_t *count) {
    setenv("OPENBLAS_NUM_THREADS", "1", 1);
    setenv("OMP_NUM_THREADS", "1", 1);
    setenv("BLIS_NUM_THREADS", "1", 1);
    setenv("OPENBLAS_CORETYPE", isa == PT_ISA_AVX512 ? "SkylakeX" : "Haswell", 1);
    /* BLIS 0.9 wants the number of an architecture, 0 skx or 3 haswell, and reads any name as 0. */
    setenv("BLIS_ARCH_TYPE", isa == PT_ISA_AVX512 ? "0" : "3", 1);
    static const char *const names[] = {"OpenBLAS", "BLIS"};
    static const char *const files[] = {"libopenblas.so.0", "libblis.so.4"};
    for (size_t i = 0; i < 2; i++) {
        void *library = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        if (!library)
            continue;
        variant peer = {.name = names[i]};
        void *symbol = dlsym(library, "cblas_sgemm");
        if (!symbol)
            continue;
        memcpy(&peer.peer, &symbol, sizeof symbol); /* ISO C has no cast from data to function */
        variants[(*count)++] = peer;
    }
}

/* --- operands --- */

static float *new_matrix(size_t rows, size_t stride) {
    float *x = aligned_alloc(64, rows * stride * sizeof *x);
    if (!x) {
        fprintf(stderr, "bench_gemm: out of memory\n");
        exit(1);
    }
    for (size_t i = 0; i < rows * stride; i++)
        x[i] = (float)(i * 2654435761u % 1000) * 1e-3f - 0.5f;
    return x;
}

static size_t padded(size_t n) {
    return (n + 15) / 16 * 16;
}

static void split_even(size_t lo, size_t hi, uint8_t *merges) {
    if (hi - lo == 1)
        return;
    split_even(lo, lo + (hi - lo) / 2, merges);
    split_even(lo + (hi - lo) / 2, hi, merges);
    merges[hi - 1]++;
}

static int compare(const void *x, const void *y) {
    double a = *(const double *)x, b = *(const double *)y;
    return (a > b) - (a < b);
}

static double median(double *x, size_t n) {
    qsort(x, n, sizeof *x, compare);
    return x[n / 2];
}

/* One line of the table; returns ours over the best peer, or 0 without peers. */
static double bench_shape(const shape *s, pt_isa isa, const variant *variants, size_t count,
                          size_t rounds, size_t shard_count) {
    static double gflops[MAX_VARIANTS][MAX_ROUNDS], shares[MAX_VARIANTS][MAX_ROUNDS];
    static double peaks[MAX_ROUNDS], ratios[MAX_ROUNDS];
    static uint32_t row[PT_MAX_SHARDS + 1];
    static uint8_t merges[PT_MAX_SHARDS];
    operands o = {.s = *s,
                  .lda = padded(s->form == PT_GEMM_TN ? s->m : s->k),
                  .ldb = padded(s->form == PT_GEMM_NT ? s->k : s->n),
                  .ldc = padded(s->n)};
    o.a = new_matrix(s->form == PT_GEMM_TN ? s->k : s->m, o.lda);
    o.b = new_matrix(s->form == PT_GEMM_NT ? s->n : s->k, o.ldb);
    o.c = new_matrix(s->m, o.ldc);
    o.scratch = new_matrix(
        1, padded(variants[0].kernels->sgemm_scratch(s->form, s->m, s->n, s->k) / 4 + 16));
    memset(merges, 0, sizeof merges);
    split_even(0, shard_count, merges);
    for (size_t i = 0; i <= shard_count; i++)
        row[i] = (uint32_t)(i * s->k / shard_count);
    o.shards = (pt_shards){shard_count, row, merges};

    const double work = 2.0 * (double)s->m * (double)s->n * (double)s->k;
    size_t calls[MAX_VARIANTS];
    for (size_t v = 0; v < count; v++) {
        double once = fmin(burst(&variants[v], &o, 1), burst(&variants[v], &o, 3));
        calls[v] = 1 + (size_t)(100e-6 / once);
    }
    /* The peak is measured right before each variant and the ratios are taken within a round: the
     * processor's frequency differs between rounds by more than the variants do. */
    for (size_t r = 0; r < rounds; r++) {
        double best = 0;
        for (size_t v = 0; v < count; v++) {
            peaks[r] = measure_peak(isa);
            gflops[v][r] = work / burst(&variants[v], &o, calls[v]) * 1e-9;
            shares[v][r] = gflops[v][r] / peaks[r];
            if (v > 0)
                best = fmax(best, shares[v][r]);
        }
        ratios[r] = best > 0 ? shares[0][r] / best : 0;
    }
    printf("%5zu x %4zu x %4zu %s %8.1f", s->m, s->n, s->k, form_names[s->form],
           median(peaks, rounds));
    for (size_t v = 0; v < count; v++)
        printf(" %9.1f %4.1f%%", median(gflops[v], rounds), 100 * median(shares[v], rounds));
    double ratio = median(ratios, rounds);
    if (count > 1)
        printf(" %7.2f", ratio);
    printf("\n");
    fflush(stdout);
    free(o.a);
    free(o.b);
    free(o.c);
    free(o.scratch);
    return ratio;
}

static bool parse_shape(const char *text, shape *s) {
    char form[3] = "nn";
    int fields = sscanf(text, "%zux%zux%zu%2s", &s->m, &s->n, &s->k, form);
    if (fields < 3 || s->m == 0 || s->n == 0 || s->k == 0)
        return false;
    for (int f = PT_GEMM_NN; f <= PT_GEMM_TN; f++) {
        if (strcmp(form, form_names[f]) == 0) {
            s->form = (pt_gemm_form)f;
            return true;
        }
    }
    return false;
}

static int usage(void) {
    fprintf(stderr, "usage: bench_gemm [--isa scalar|avx2|avx512] [--shape MxNxK[nn|nt|tn]]... "
                    "[--rounds N] [--shards S] [--no-peers]\n");
    return 2;
}

int main(int argc, char **argv) {
    pt_isa isa = pt_isa_best();
    shape shapes[MAX_SHAPES];
    size_t shape_count = 0, rounds = 101, shard_count = 4;
    bool peers = true;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--no-peers") == 0) {
            peers = false;
            continue;
        }
        i++;
        if (strcmp(argv[i - 1], "--isa") == 0) {
            if (pt_isa_parse(value, &isa) != 0)
                return usage();
            isa = isa == PT_ISA_AUTO ? pt_isa_best() : isa;
        } else if (strcmp(argv[i - 1], "--shape") == 0) {
            if (shape_count == MAX_SHAPES || !parse_shape(value, &shapes[shape_count++]))
                return usage();
        } else if (strcmp(argv[i - 1], "--rounds") == 0) {
            rounds = strtoul(value, NULL, 10);
        } else if (strcmp(argv[i - 1], "--shards") == 0) {
            shard_count = strtoul(value, NULL, 10);
        } else {
            return usage();
        }
    }
    if (rounds < 1 || rounds > MAX_ROUNDS || shard_count < 1 || shard_count > PT_MAX_SHARDS)
        return usage();
    if (shape_count == 0) {
        for (size_t i = 0; i < sizeof default_shapes / sizeof *default_shapes; i++)
            parse_shape(default_shapes[i], &shapes[shape_count++]);
    }
    variant variants[MAX_VARIANTS] = {{.name = pt_isa_name(isa), .kernels = pt_kernels_get(isa)}};
    if (!variants[0].kernels) {
        fprintf(stderr, "bench_gemm: this machine cannot run %s\n", pt_isa_name(isa));
        return 1;
    }
    size_t count = 1;
    if (peers)
        add_peers(isa, variants, &count);

    pt_float_environment_enter();
    printf("GFLOP/s on one thread, share of the FMA peak; tn in %zu shards\n", shard_count);
    printf("    m      n      k    %8s", "peak");
    for (size_t v = 0; v < count; v++)
        printf(" %15s", variants[v].name);
    printf("%s\n", count > 1 ? "  ours/best" : "");
    double log_sum = 0;
    for (size_t i = 0; i < shape_count; i++) {
        double ratio = bench_shape(&shapes[i], isa, variants, count, rounds, shard_count);
        log_sum += ratio > 0 ? log(ratio) : 0;
    }
    if (count > 1)
        printf("geometric mean of ours over the best peer: %.2f\n",
               exp(log_sum / (double)shape_count));
    return 0;
}
