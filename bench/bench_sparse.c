/* bench_sparse.c: the products with sparse rows of bytes beside the dense ones, on MNIST's images.
 *
 *     bench_sparse [--isa scalar|avx2|avx512] [--units N]... [--rows N] [--shards N] [--columns N]
 *                  [--cold] [--images FILE]
 *
 * One thread. For each instruction set and number of units: forward and gradient of a first layer
 * for mini-batches of random rows; time a sample, its cycles, and the work that a dense product
 * would have done as a share of the FMA peak: zeros skipped push it beyond 100%. Each figure is the
 * mean over BATCHES mini-batches of the fastest of some repeats. Rows are brought to L2 before the
 * clock starts, as training does by prefetching the next mini-batch (--cold: they are not). Cycles
 * are those of a core with two FMA units that reaches its peak. --columns cuts the gradient into
 * pieces of so many columns. Without the file, rows are made up: blobs that cover 19%.
 */
#include "0_base/memory.h"
#include "simd/fma_peak.h"
#include "simd/kernels.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 48, REPEATS = 15, COLUMNS = 784, MAX_IMAGES = 60000, MAX_UNITS = 16 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *allocate(size_t count, size_t bytes_each) {
    void *block = pt_calloc_aligned(count + 1, bytes_each);
    if (!block) {
        fprintf(stderr, "bench_sparse: out of memory\n");
        exit(1);
    }
    return block;
}

static uint32_t random_below(uint32_t bound) {
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 32) * bound >> 32);
}

/* --- rows --- */

typedef struct images {
    size_t count;
    uint8_t *bytes;
    pt_sparse_row *row;
    size_t entries;
} images;

static void make_up(images *x) {
    x->count = 10000;
    for (size_t i = 0; i < x->count; i++) {
        for (int blob = 0; blob < 12; blob++) {
            uint32_t row = 4 + random_below(18), column = 4 + random_below(18);
            for (uint32_t p = 0; p < 20; p++)
                x->bytes[i * COLUMNS + (row + p / 5) * 28 + column + p % 5] =
                    (uint8_t)(1 + random_below(255));
        }
    }
}

static void load(images *x, const char *path) {
    x->bytes = allocate(MAX_IMAGES, COLUMNS);
    FILE *file = fopen(path, "rb");
    if (file && fseek(file, 16, SEEK_SET) == 0)
        x->count = fread(x->bytes, COLUMNS, MAX_IMAGES, file);
    if (file)
        fclose(file);
    printf("rows: %s\n", x->count ? path : "made up");
    if (!x->count)
        make_up(x);
}

/* Lists of all rows by the kernels of `isa`, timed. */
static void list_rows(images *x, const pt_kernels *kernels) {
    enum { WORDS = (COLUMNS + 63) / 64 };
    x->entries = kernels->count_nonzero(x->count * COLUMNS, x->bytes);
    uint64_t *record =
        allocate(x->count * (WORDS + 1) + x->entries * 3 / 8 + PT_SPARSE_SLACK, sizeof *record);
    uint32_t *counts = allocate(x->count, sizeof *counts);
    x->row = allocate(x->count, sizeof *x->row);
    double counting = (double)INFINITY, listing = (double)INFINITY, first = 0;
    for (int repeat = 0; repeat < 5; repeat++) {
        double start = now();
        for (size_t i = 0; i < x->count; i++)
            counts[i] = (uint32_t)kernels->count_nonzero(COLUMNS, x->bytes + i * COLUMNS);
        counting = fmin(counting, now() - start);
        uint64_t *at = record;
        start = now();
        for (size_t i = 0; i < x->count; i++) {
            uint16_t *column = (uint16_t *)(at + WORDS);
            uint8_t *byte = (uint8_t *)(column + counts[i]);
            kernels->sparse_list(COLUMNS, x->bytes + i * COLUMNS, at, column, byte);
            x->row[i] = (pt_sparse_row){at, column, byte};
            at += WORDS + (counts[i] * 3 + 7) / 8;
        }
        const double seconds = now() - start;
        listing = fmin(listing, seconds);
        if (repeat == 0)
            first = seconds;
    }
    printf("%-6s %zu rows, %.1f%% not zero: counted in %.1f ms, listed in %.1f ms (%.1f ms the "
           "first time, which touches new memory)\n",
           kernels->isa, x->count, 100.0 * (double)x->entries / (double)x->count / COLUMNS,
           counting * 1e3, listing * 1e3, first * 1e3);
}

/* --- products --- */

typedef struct operands {
    size_t rows, units, ld, piece;
    pt_shards shards;
    float value[256];
    pt_sparse_row *a; /* BATCHES x rows */
    float *dense;     /* rows x COLUMNS of one mini-batch */
    float *weight, *bias, *out, *d_out, *gradient;
    void *scratch;
} operands;

typedef enum product { SPARSE_FORWARD, DENSE_FORWARD, SPARSE_GRADIENT, DENSE_GRADIENT } product;

static void run(product what, const pt_kernels *kernels, const operands *o,
                const pt_sparse_row *a) {
    if (what == SPARSE_FORWARD) {
        kernels->sparse_nn(o->rows, o->units, COLUMNS, 0, COLUMNS, a, o->value, o->weight, o->ld,
                           o->bias, o->out, o->ld, NULL, o->scratch);
    } else if (what == DENSE_FORWARD) {
        kernels->sgemm_nn(o->rows, o->units, COLUMNS, o->dense, COLUMNS, o->weight, o->ld, o->bias,
                          o->out, o->ld, o->scratch);
    } else {
        for (size_t begin = 0; begin < COLUMNS; begin += o->piece) {
            const size_t end = begin + o->piece < COLUMNS ? begin + o->piece : COLUMNS;
            float *c = o->gradient + begin * o->ld;
            if (what == SPARSE_GRADIENT)
                kernels->sparse_tn(begin, end, o->units, &o->shards, a, o->value, o->d_out, o->ld,
                                   NULL, c, o->ld, o->scratch);
            else
                kernels->sgemm_tn(end - begin, o->units, &o->shards, o->dense + begin, COLUMNS,
                                  o->d_out, o->ld, NULL, c, o->ld, o->scratch);
        }
    }
}

static volatile unsigned sink;

/* Brings the rows of a mini-batch into the caches, and makes the dense matrix. */
static void warm(const operands *o, const pt_sparse_row *a) {
    unsigned sum = 0;
    for (size_t i = 0; i < o->rows; i++) {
        memset(o->dense + i * COLUMNS, 0, COLUMNS * sizeof *o->dense);
        const size_t count = (size_t)(a[i].byte - (const uint8_t *)a[i].column) / 2;
        for (size_t e = 0; e < count; e++) {
            o->dense[i * COLUMNS + a[i].column[e]] = o->value[a[i].byte[e]];
            sum += a[i].byte[e];
        }
        sum += (unsigned)a[i].bitmap[0];
    }
    sink = sum;
}

/* Seconds a sample. */
static double measure(product what, const pt_kernels *kernels, const operands *o, bool cold) {
    static double fastest[BATCHES];
    const bool dense = what == DENSE_FORWARD || what == DENSE_GRADIENT;
    double sum = 0;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        for (size_t i = 0; i < BATCHES; i++) {
            const pt_sparse_row *a = o->a + i * o->rows;
            if (dense || !cold)
                warm(o, a);
            const double start = now();
            run(what, kernels, o, a);
            const double seconds = now() - start;
            fastest[i] = repeat == 0 ? seconds : fmin(fastest[i], seconds);
        }
    }
    for (size_t i = 0; i < BATCHES; i++)
        sum += fastest[i];
    return sum / BATCHES / (double)o->rows;
}

/* The highest so far: a busy neighbour can only slow the loop down. */
static double best_peak(pt_isa isa) {
    static double best[PT_ISA_COUNT];
    best[isa] = fmax(best[isa], pt_fma_peak(isa, 0.1));
    return best[isa];
}

static void bench(pt_isa isa, const images *x, operands *o, size_t units, bool cold) {
    const pt_kernels *kernels = pt_kernels_get(isa);
    o->units = units;
    o->ld = (units + 15) / 16 * 16;
    o->weight = allocate(COLUMNS * o->ld, sizeof(float));
    o->gradient = allocate(COLUMNS * o->ld, sizeof(float));
    o->bias = allocate(o->ld, sizeof(float));
    o->out = allocate(o->rows * o->ld, sizeof(float));
    o->d_out = allocate(o->rows * o->ld, sizeof(float));
    o->dense = allocate(o->rows * COLUMNS, sizeof(float));
    o->a = allocate(BATCHES * o->rows, sizeof *o->a);
    size_t scratch = kernels->sparse_scratch(o->rows, units, COLUMNS);
    const size_t other[] = {kernels->sgemm_scratch(PT_GEMM_NN, o->rows, units, COLUMNS),
                            kernels->sgemm_scratch(PT_GEMM_TN, COLUMNS, units, o->rows)};
    for (size_t i = 0; i < 2; i++)
        scratch = scratch > other[i] ? scratch : other[i];
    o->scratch = allocate(scratch, 1);
    for (size_t i = 0; i < COLUMNS * o->ld; i++)
        o->weight[i] = ((float)random_below(2001) - 1000.0f) * 1e-4f;
    for (size_t i = 0; i < o->rows * o->ld; i++)
        o->d_out[i] = ((float)random_below(2001) - 1000.0f) * 1e-5f;
    for (size_t i = 0; i < BATCHES * o->rows; i++) {
        const size_t row = random_below((uint32_t)x->count);
        o->a[i] = x->row[row];
    }

    const double peak = best_peak(isa);
    const double lanes = isa == PT_ISA_AVX512 ? 16 : isa == PT_ISA_AVX2 ? 8 : 1;
    const double hertz = peak / (2 * 2 * lanes), work = 2.0 * COLUMNS * (double)units;
    static const char *const names[] = {"forward", "", "gradient", ""};
    for (product what = SPARSE_FORWARD; what <= DENSE_GRADIENT; what += 2) {
        const double sparse = measure(what, kernels, o, cold);
        const double dense = measure(what + 1, kernels, o, cold);
        printf("%-6s %5zu units %-8s  sparse %8.0f ns %7.0f cycles %4.0f%%   dense %8.0f ns %7.0f "
               "cycles %4.0f%%   %.2f x\n",
               kernels->isa, units, names[what], sparse * 1e9, sparse * hertz,
               100 * work / sparse / peak, dense * 1e9, dense * hertz, 100 * work / dense / peak,
               dense / sparse);
        fflush(stdout);
    }
    pt_free(o->weight);
    pt_free(o->gradient);
    pt_free(o->bias);
    pt_free(o->out);
    pt_free(o->d_out);
    pt_free(o->dense);
    pt_free(o->a);
    pt_free(o->scratch);
}

static int usage(void) {
    fprintf(stderr, "usage: bench_sparse [--isa scalar|avx2|avx512] [--units N]... [--rows N] "
                    "[--shards N] [--columns N] [--cold] [--images FILE]\n");
    return 2;
}

static void split_even(size_t lo, size_t hi, uint8_t *merges) {
    if (hi - lo == 1)
        return;
    split_even(lo, lo + (hi - lo) / 2, merges);
    split_even(lo + (hi - lo) / 2, hi, merges);
    merges[hi - 1]++;
}

int main(int argc, char **argv) {
    const char *path = "data/mnist/train-images-idx3-ubyte";
    pt_isa only = PT_ISA_AUTO;
    size_t units[MAX_UNITS], unit_count = 0, shards = 4;
    operands o = {.rows = 100, .piece = COLUMNS};
    bool cold = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--cold") == 0) {
            cold = true;
            continue;
        }
        const char *option = argv[i], *text = i + 1 < argc ? argv[++i] : "";
        const size_t number = strtoul(text, NULL, 10);
        if (strcmp(option, "--isa") == 0 && pt_isa_parse(text, &only) == 0)
            continue;
        if (strcmp(option, "--images") == 0 && *text)
            path = text;
        else if (strcmp(option, "--units") == 0 && number > 0 && unit_count < MAX_UNITS)
            units[unit_count++] = number;
        else if (strcmp(option, "--rows") == 0 && number > 0)
            o.rows = number;
        else if (strcmp(option, "--shards") == 0 && number > 0 && number <= PT_MAX_SHARDS)
            shards = number;
        else if (strcmp(option, "--columns") == 0 && number > 0)
            o.piece = number;
        else
            return usage();
    }
    if (unit_count == 0) {
        units[unit_count++] = 50;
        units[unit_count++] = 1024;
    }

    static uint32_t row[PT_MAX_SHARDS + 1];
    static uint8_t merges[PT_MAX_SHARDS];
    for (size_t s = 0; s <= shards; s++)
        row[s] = (uint32_t)(s * o.rows / shards);
    split_even(0, shards, merges);
    o.shards = (pt_shards){shards, row, merges};
    for (size_t i = 1; i < 256; i++)
        o.value[i] = (float)i / 255.0f;

    const unsigned previous = pt_float_environment_enter();
    images x = {0};
    load(&x, path);
    printf(
        "%zu rows a mini-batch in %zu shards, %d columns, gradient in pieces of %zu; share of the "
        "FMA peak as if dense\n",
        o.rows, shards, COLUMNS, o.piece);
    for (pt_isa isa = PT_ISA_AVX512; isa >= PT_ISA_SCALAR; isa--) {
        const pt_kernels *kernels = pt_kernels_get(isa);
        if (!kernels || (only != PT_ISA_AUTO && isa != only))
            continue;
        list_rows(&x, kernels);
        for (size_t u = 0; u < unit_count; u++)
            if (isa != PT_ISA_SCALAR || only == isa || units[u] <= 100) /* takes minutes */
                bench(isa, &x, &o, units[u], cold);
    }
    pt_float_environment_leave(previous);
    return 0;
}
