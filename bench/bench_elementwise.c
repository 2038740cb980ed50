/* bench_elementwise.c: the speed of every kernel of kernel_list.h, on every instruction set.
 *
 * usage: bench_elementwise [part-of-a-kernel's-name]
 * One line per kernel and instruction set: nanoseconds per element and the bytes moved per second,
 * with the operands in the first-level cache, in the second, and in memory. Row kernels run on rows
 * of 10 and of 1000. Each figure is the fastest of many short repeats, on one thread.
 */
#include "0_base/memory.h"
#include "simd/kernel_list.h"
#include "simd/kernels.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Elements per array; a kernel touches up to four arrays. */
static const struct {
    const char *name;
    size_t elements;
} places[] = {{"L1", 2000}, {"L2", 40000}, {"RAM", 16000000}};

enum { PLACES = sizeof places / sizeof *places, LARGEST = 16000000 };

typedef struct operands {
    size_t rows, n; /* elementwise kernels take rows * n elements */
    float *a, *b, *c, *d;
    int32_t *label; /* one per row, below n */
    int32_t *index; /* one per row */
} operands;

/* How a kernel of each class is called, and the bytes it must move per element. */
#define CALL_UNARY(kernel)         kernel(o->rows * o->n, o->a, o->d)
#define CALL_BACKWARD(kernel)      kernel(o->rows * o->n, o->a, o->b, o->d)
#define CALL_BINARY(kernel)        kernel(o->rows * o->n, o->a, o->b, o->d)
#define CALL_SCALED(kernel)        kernel(o->rows * o->n, 0.5f, o->a, o->d)
#define CALL_BYTES(kernel)         kernel(o->rows * o->n, (uint8_t *)o->a, 0.004f, 0.0f, o->d)
#define CALL_ROWS(kernel)          kernel(o->rows, o->n, o->a, o->n, o->d, o->n)
#define CALL_ROWS_BACKWARD(kernel) kernel(o->rows, o->n, o->a, o->n, o->b, o->n, o->d, o->n)
#define CALL_ROWS_LABEL(kernel)    kernel(o->rows, o->n, o->a, o->n, o->label, 0.01f, o->d, o->n, o->c)
#define CALL_ROWS_TARGET(kernel)                                                                   \
    kernel(o->rows, o->n, o->a, o->n, o->b, o->n, 0.01f, o->d, o->n, o->c)
#define CALL_ROWS_INDEX(kernel)      kernel(o->rows, o->n, o->a, o->n, o->index)
#define CALL_UPDATE_SGD(kernel)      kernel(o->rows * o->n, 1e-6f, o->a, o->d)
#define CALL_UPDATE_MOMENTUM(kernel) kernel(o->rows * o->n, 1e-6f, 0.9f, o->a, o->b, o->d)
#define CALL_UPDATE_ADAM(kernel)                                                                   \
    kernel(o->rows * o->n, 1e-6f, 0.9f, 0.999f, 1e-8f, o->a, o->b, o->c, o->d)

enum {
    BYTES_UNARY = 8,
    BYTES_BACKWARD = 12,
    BYTES_BINARY = 12,
    BYTES_SCALED = 8,
    BYTES_BYTES = 5,
    BYTES_ROWS = 8,
    BYTES_ROWS_BACKWARD = 12,
    BYTES_ROWS_LABEL = 8,
    BYTES_ROWS_TARGET = 12,
    BYTES_ROWS_INDEX = 4,
    BYTES_UPDATE_SGD = 12,
    BYTES_UPDATE_MOMENTUM = 20,
    BYTES_UPDATE_ADAM = 28,
};

typedef void (*call)(const pt_kernels *kernels, const operands *o);

#define DEFINE_CALL(class, name)                                                                   \
    static void call_##name(const pt_kernels *kernels, const operands *o) {                        \
        CALL_##class(kernels->name);                                                               \
    }
PT_KERNEL_LIST(DEFINE_CALL)

typedef struct benchmark {
    const char *name, *class;
    call call;
    int bytes;
} benchmark;

#define LIST_BENCHMARK(class, name) {#name, #class, call_##name, BYTES_##class},
static const benchmark benchmarks[] = {PT_KERNEL_LIST(LIST_BENCHMARK)};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Seconds per call: the fastest of repeats of at least 50 microseconds, for 15 milliseconds or
 * three repeats, whichever is longer. */
static double seconds_per_call(const pt_kernels *kernels, const benchmark *b, const operands *o) {
    enum { LEAST_REPEATS = 3 };
    double best = 1e9, start = now();
    b->call(kernels, o); /* warm up */
    double once = now() - start;
    int calls = once < 50e-6 ? (int)(50e-6 / (once + 1e-9)) + 1 : 1;
    start = now();
    for (int repeat = 0; repeat < LEAST_REPEATS || now() - start < 0.015; repeat++) {
        double before = now();
        for (int i = 0; i < calls; i++)
            b->call(kernels, o);
        double each = (now() - before) / calls;
        best = each < best ? each : best;
    }
    return best;
}

static void fill(operands *o) {
    for (size_t i = 0; i < LARGEST; i++) {
        o->a[i] = (float)(i * 2654435761u % 8192) * 0x1p-10f - 4.0f; /* -4 .. 4 */
        o->b[i] = (float)(i * 40503u % 8192) * 0x1p-10f - 4.0f;
        o->c[i] = 1.0f;
        o->d[i] = 1.0f;
    }
}

static void run(const benchmark *b, operands *o, size_t row_length) {
    for (int isa = PT_ISA_SCALAR; isa <= (int)pt_isa_best(); isa++) {
        const pt_kernels *kernels = pt_kernels_get((pt_isa)isa);
        char name[64];
        if (row_length > 0)
            snprintf(name, sizeof name, "%s n=%zu", b->name, row_length);
        else
            snprintf(name, sizeof name, "%s", b->name);
        printf("%-28s %-7s", name, kernels->isa);
        for (int p = 0; p < PLACES; p++) {
            o->n = row_length > 0 ? row_length : 10;
            o->rows = places[p].elements / o->n;
            for (size_t i = 0; i < o->rows; i++)
                o->label[i] = (int32_t)(i * 7 % o->n);
            double ns = 1e9 * seconds_per_call(kernels, b, o) / (double)(o->rows * o->n);
            printf("  %8.4f %7.1f", ns, b->bytes / ns);
        }
        printf("\n");
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    operands o = {.a = pt_calloc_aligned(LARGEST, sizeof(float)),
                  .b = pt_calloc_aligned(LARGEST, sizeof(float)),
                  .c = pt_calloc_aligned(LARGEST, sizeof(float)),
                  .d = pt_calloc_aligned(LARGEST, sizeof(float)),
                  .label = pt_calloc_aligned(LARGEST / 10, sizeof(int32_t)),
                  .index = pt_calloc_aligned(LARGEST / 10, sizeof(int32_t))};
    int status = EXIT_FAILURE;
    if (!o.a || !o.b || !o.c || !o.d || !o.label || !o.index) {
        fprintf(stderr, "bench_elementwise: out of memory\n");
        goto done;
    }
    fill(&o);
    pt_float_environment_enter();
    printf("nanoseconds per element and bytes moved, operands in L1, L2 and memory\n");
    printf("%-28s %-7s", "kernel", "isa");
    for (int p = 0; p < PLACES; p++)
        printf("  %5s ns    GB/s", places[p].name);
    printf("\n");
    for (size_t i = 0; i < sizeof benchmarks / sizeof *benchmarks; i++) {
        const benchmark *b = &benchmarks[i];
        if (argc > 1 && !strstr(b->name, argv[1]))
            continue;
        if (strncmp(b->class, "ROWS", 4) == 0) {
            run(b, &o, 10);
            run(b, &o, 1000);
        } else {
            run(b, &o, 0);
        }
        status = EXIT_SUCCESS;
    }
    if (status != EXIT_SUCCESS)
        fprintf(stderr, "bench_elementwise: no kernel's name contains '%s'\n", argv[1]);
done:
    pt_free(o.a);
    pt_free(o.b);
    pt_free(o.c);
    pt_free(o.d);
    pt_free(o.label);
    pt_free(o.index);
    return status;
}
