/* elementwise.c: every kernel of kernel_list.h: elementwise ones on arrays, row kernels on rows.
 *
 * Bytes that must be moved, a second, beside a loop that only loads and stores the same arrays; a
 * new kernel of a known class is timed by its line in the list. Functions that mathematical
 * libraries have too are timed beside theirs, in the same loops and threads, with the largest error
 * of each.
 */
#include "0_base/memory.h"
#include "4_train/trainer.h"
#include "bench/math_peers.h"
#include "bench/measure.h"
#include "simd/kernel_list.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct operands { /* of one call */
    size_t rows, n, ld;   /* elementwise kernels take one row */
    float *a, *b, *c, *d;
    int32_t *label, *index; /* of each row */
} operands;

/* How a kernel of each class is called; then for the plain loop how many arrays it reads and writes,
 * whether in place, and the bytes it must move per element. */
#define CALL_UNARY(kernel)         kernel(o->n, o->a, o->d)
#define CALL_BACKWARD(kernel)      kernel(o->n, o->a, o->b, o->d)
#define CALL_BINARY(kernel)        kernel(o->n, o->a, o->b, o->d)
#define CALL_BYTES(kernel)         kernel(o->n, (const uint8_t *)o->a, 0.004f, 0.0f, o->d)
#define CALL_ROWS(kernel)          kernel(o->rows, o->n, o->a, o->ld, o->d, o->ld)
#define CALL_ROWS_BACKWARD(kernel) kernel(o->rows, o->n, o->a, o->ld, o->b, o->ld, o->d, o->ld)
#define CALL_ROWS_LABEL(kernel)                                                                    \
    kernel(o->rows, o->n, o->a, o->ld, o->label, 0.01f, o->d, o->ld, o->c)
#define CALL_ROWS_TARGET(kernel)                                                                   \
    kernel(o->rows, o->n, o->a, o->ld, o->b, o->ld, 0.01f, o->d, o->ld, o->c)
#define CALL_ROWS_INDEX(kernel)      kernel(o->rows, o->n, o->a, o->ld, o->index)
#define CALL_UPDATE_SGD(kernel)      kernel(o->n, 1e-6f, o->a, o->d)
#define CALL_UPDATE_MOMENTUM(kernel) kernel(o->n, 1e-6f, 0.9f, o->a, o->b, o->d)
#define CALL_UPDATE_ADAM(kernel)     kernel(o->n, 1e-6f, 0.9f, 0.999f, 1e-8f, o->a, o->b, o->c, o->d)

#define STREAMS_UNARY           1, 1, 0, 8
#define STREAMS_BACKWARD        2, 1, 0, 12
#define STREAMS_BINARY          2, 1, 0, 12
#define STREAMS_BYTES           1, 1, 0, 5
#define STREAMS_ROWS            1, 1, 0, 8
#define STREAMS_ROWS_BACKWARD   2, 1, 0, 12
#define STREAMS_ROWS_LABEL      1, 1, 0, 8
#define STREAMS_ROWS_TARGET     2, 1, 0, 12
#define STREAMS_ROWS_INDEX      1, 0, 0, 4
#define STREAMS_UPDATE_SGD      2, 1, 1, 12
#define STREAMS_UPDATE_MOMENTUM 3, 2, 1, 20
#define STREAMS_UPDATE_ADAM     4, 3, 1, 28

#define DEFINE_CALL(class, name)                                                                   \
    static void call_##name(const pt_kernels *kernels, const operands *o) {                        \
        CALL_##class(kernels->name);                                                               \
    }
PT_KERNEL_LIST(DEFINE_CALL)

typedef struct kernel {
    const char *name, *class;
    void (*call)(const pt_kernels *kernels, const operands *o);
    size_t reads, writes;
    bool in_place; /* an optimizer: what is written is among what is read */
    size_t bytes;
} kernel;

#define LIST_KERNEL(class, name) {#name, #class, call_##name, STREAMS_##class},
static const kernel kernels_listed[] = {PT_KERNEL_LIST(LIST_KERNEL)};

static bool is_rows(const kernel *k) {
    return strncmp(k->class, "ROWS", 4) == 0;
}

static bool from_bytes(const kernel *k) {
    return strcmp(k->class, "BYTES") == 0;
}

static bool parse_shape(const char *text, bool rows, size_t *r, size_t *n) {
    int used = 0;
    *r = 1;
    if (!*text || strspn(text, "0123456789x") != strlen(text) ||
        (rows ? sscanf(text, "%7zux%7zu%n", r, n, &used) != 2
              : sscanf(text, "%8zu%n", n, &used) != 1))
        return false;
    return !text[used] && *r && *n && *r * *n <= 20000000;
}

bool bench_elementwise_shape(const char *text) {
    size_t r, n;
    return parse_shape(text, false, &r, &n);
}

bool bench_rows_shape(const char *text) {
    size_t r, n;
    return parse_shape(text, true, &r, &n);
}

/* --- calls --- */

typedef struct context {
    const pt_kernels *kernels;
    const kernel *k;
    const bench_vector *vector;
    const bench_math *math;
    operands all; /* `sets` of each array, `size` floats apart */
    size_t size, variants;
} context;

/* The arrays that this part of a call touches, for the plain loop. */
static void plain(const context *x, const operands *o) {
    float *const every[] = {o->a, o->b, o->c, o->d};
    bench_streams s = {.reads = x->k->reads, .writes = x->k->writes};
    for (size_t i = 0; i < s.reads; i++) /* an optimizer's last is d */
        s.in[i] = x->k->in_place && i + 1 == s.reads ? o->d : every[i];
    for (size_t i = 0; i < s.writes; i++)
        s.out[i] = i + 1 == s.writes ? o->d : every[s.reads - s.writes + i];
    s.from_bytes = from_bytes(x->k);
    x->vector->stream(&s, o->rows > 1 ? o->rows * o->ld : o->n); /* the same cache lines */
}

static void run_part(void *context_, size_t variant, size_t set, size_t worker, size_t workers) {
    const context *x = context_;
    operands o = x->all;
    size_t begin = 0, end = is_rows(x->k) ? o.rows : o.n;
    if (workers > 1)
        pt_partition(end, is_rows(x->k) ? 1 : 16, worker, workers, &begin, &end);
    if (begin == end)
        return;
    const size_t skip = set * x->size + begin * (is_rows(x->k) ? o.ld : 1);
    o.a = from_bytes(x->k) ? o.a + set * x->size + begin / 4 : o.a + skip;
    o.b += skip;
    o.d += skip;
    if (is_rows(x->k)) {
        o.c += begin; /* a row's loss */
        o.label += begin;
        o.index += begin;
        o.rows = end - begin;
    } else {
        o.c += skip;
        o.n = end - begin;
    }
    if (variant == 0)
        x->k->call(x->kernels, &o);
    else if (variant == x->variants)
        plain(x, &o);
    else
        x->vector->apply(x->math->formula, x->math->function[variant - 1], o.rows, o.n, o.ld, o.a,
                         o.d);
}

/* --- errors --- */

typedef struct sweep {
    const context *x;
    size_t variant;
} sweep;

static void run_sweep(void *context_, size_t n, const float *in, float *out) {
    const sweep *s = context_;
    operands o = {.rows = 1, .n = n};
    if (s->variant > 0) {
        s->x->vector->apply(s->x->math->formula, s->x->math->function[s->variant - 1], 1, n, n, in,
                            out);
        return;
    }
    o.a = bench_new(n, sizeof *o.a);
    memcpy(o.a, in, n * sizeof *in);
    o.d = out;
    s->x->k->call(s->x->kernels, &o);
    pt_free(o.a);
}

static double find_error(bench_work *work, size_t variant) {
    context *x = work->context;
    sweep s = {x, variant};
    if (x->math->exact)
        return bench_math_error(x->math, run_sweep, &s);
    work->next_set = 0;
    bench_burst(work, variant, 1);
    return bench_softmax_error(x->all.rows, x->all.n, x->all.ld, x->all.a, x->all.d);
}

/* --- a row of the report --- */

static void make_operands(context *x, size_t sets) {
    operands *o = &x->all;
    const size_t total = sets * x->size;
    float **const every[] = {&o->a, &o->b, &o->c, &o->d};
    for (size_t i = 0; i < 4; i++)
        *every[i] = bench_new(total, sizeof(float));
    o->label = bench_new(o->rows, sizeof *o->label);
    o->index = bench_new(o->rows, sizeof *o->index);
    for (size_t i = 0; i < o->rows; i++)
        o->label[i] = (int32_t)(i * 7 % o->n);
    for (size_t i = 0; i < total; i++) {
        o->a[i] = (float)(i * 2654435761u % 8192) * 0x1p-10f - 4.0f; /* -4 .. 4 */
        o->b[i] = (float)(i * 40503u % 8192) * 0x1p-10f - 4.0f;
        o->c[i] = o->d[i] = 1.0f;
        if (strcmp(x->k->name, "log_forward") == 0)
            o->a[i] += 4.01f;
        /* Libraries' softmax takes whole vectors: of what adds nothing to a sum, and is no number that
         * they call a slower function for, as they do for infinity. */
        if (is_rows(x->k) && i % o->ld >= o->n)
            o->a[i] = -80.0f;
    }
}

static void bench_kernel(context *x, const bench_options *options, pt_isa isa, size_t threads,
                         bool cold, void (*emit)(const bench_row *)) {
    /* Errors do not depend on shape and threads: once in a process. */
    static double errors[sizeof kernels_listed / sizeof *kernels_listed][BENCH_MATH_PEERS + 1];
    double *error = errors[x->k - kernels_listed];
    operands *o = &x->all;
    bench_work work = {.isa = isa,
                       .threads = threads,
                       .variants = 1 + (x->vector->apply && options->peers ? BENCH_MATH_PEERS : 0),
                       .amount = (double)(o->rows * o->n * x->k->bytes),
                       .part = run_part,
                       .yardstick = true,
                       .context = x};
    bench_row row = {.unit = "GB/s", .threads = threads, .cells = work.variants};
    snprintf(row.family, sizeof row.family, "%s", is_rows(x->k) ? "rows" : "elementwise");
    snprintf(row.isa, sizeof row.isa, "%s", x->kernels->isa);
    snprintf(row.buffers, sizeof row.buffers, "%s", cold ? "cold" : "hot");
    if (is_rows(x->k))
        snprintf(row.shape, sizeof row.shape, "%s %zux%zu", x->k->name, o->rows, o->n);
    else
        snprintf(row.shape, sizeof row.shape, "%s %zu", x->k->name, o->n);
    o->ld = bench_padded(o->n);
    x->size = o->rows * o->ld;
    x->variants = work.variants;
    x->math = bench_math_find(x->k->name, isa, work.variants > 1);
    work.sets = bench_sets(x->size * x->k->bytes, cold);
    make_operands(x, work.sets);
    for (size_t v = 0; v < work.variants; v++) {
        snprintf(row.cell[v].name, sizeof row.cell[v].name, "%s",
                 v ? bench_math_peer_names[v - 1] : "ptrain");
        work.absent[v] = v > 0 && (!x->math || !x->math->function[v - 1]);
        if (x->math && !work.absent[v] && (error[v] == 0 || !x->math->exact))
            error[v] = find_error(&work, v);
        row.cell[v].error = work.absent[v] ? 0 : error[v];
    }
    bench_measure(&work, options, &row);
    pt_free(o->a);
    pt_free(o->b);
    pt_free(o->c);
    pt_free(o->d);
    pt_free(o->label);
    pt_free(o->index);
    emit(&row);
}

static void bench_list(const bench_options *options, pt_isa isa, bool rows,
                       void (*emit)(const bench_row *)) {
    /* Hidden layers' activations and a first layer's weights; mini-batches of scores. */
    static const char *const arrays[] = {"5000", "131071"}, *const scores[] = {"100x10",
                                                                               "127x1000"};
    context x = {.kernels = pt_kernels_get(isa),
                 .vector = isa == PT_ISA_AVX512 ? &bench_vector_avx512
                           : isa == PT_ISA_AVX2 ? &bench_vector_avx2
                                                : &bench_vector_scalar};
    const size_t shapes = options->shapes ? options->shapes : 2;
    for (size_t t = 0; t < options->counts; t++)
        for (int cold = 0; cold < 2; cold++)
            for (size_t i = 0; i < sizeof kernels_listed / sizeof *kernels_listed; i++)
                for (size_t s = 0; s < shapes; s++) {
                    x.k = &kernels_listed[i];
                    const char *text = options->shapes ? options->shape[s]
                                       : rows          ? scores[s]
                                                       : arrays[s];
                    if ((options->shapes || isa != PT_ISA_SCALAR ||
                         (!cold && options->threads[t] == 1)) &&
                        (cold ? options->cold : options->hot) && is_rows(x.k) == rows &&
                        (!options->kernel || strstr(x.k->name, options->kernel)) &&
                        parse_shape(text, rows, &x.all.rows, &x.all.n))
                        bench_kernel(&x, options, isa, options->threads[t], cold, emit);
                }
}

void bench_elementwise(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *)) {
    bench_list(options, isa, false, emit);
}

void bench_rows(const bench_options *options, pt_isa isa, void (*emit)(const bench_row *)) {
    bench_list(options, isa, true, emit);
}
