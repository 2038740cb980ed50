/* onednn.c: the matmul primitive by the C API, its functions by dlsym; forward and gradient to the
 * inputs only, since a gradient to weights has none that could be prepared.
 */
#include "bench/onednn.h"

#if __has_include(<oneapi/dnnl/dnnl.h>)
#include <oneapi/dnnl/dnnl.h>
#endif

#if defined(DNNL_VERSION_MAJOR) && DNNL_VERSION_MAJOR == 2
#include "0_base/memory.h"
#include "bench/measure.h"

#include <dlfcn.h>
#include <string.h>

#define FUNCTIONS(X)                                                                               \
    X(dnnl_version)                                                                                \
    X(dnnl_engine_create)                                                                          \
    X(dnnl_stream_create)                                                                          \
    X(dnnl_stream_wait)                                                                            \
    X(dnnl_memory_desc_init_by_strides)                                                            \
    X(dnnl_memory_desc_init_by_tag)                                                                \
    X(dnnl_memory_desc_get_size)                                                                   \
    X(dnnl_memory_create)                                                                          \
    X(dnnl_memory_set_data_handle)                                                                 \
    X(dnnl_memory_destroy)                                                                         \
    X(dnnl_matmul_desc_init)                                                                       \
    X(dnnl_primitive_desc_create)                                                                  \
    X(dnnl_primitive_desc_query_md)                                                                \
    X(dnnl_primitive_desc_destroy)                                                                 \
    X(dnnl_reorder_primitive_desc_create)                                                          \
    X(dnnl_primitive_create)                                                                       \
    X(dnnl_primitive_execute)                                                                      \
    X(dnnl_primitive_destroy)

#define MEMBER(name) __typeof__(&(name)) name;
typedef struct state {
    FUNCTIONS(MEMBER)
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t matmul;
    dnnl_memory_t src, weights, dst;
    char *packed; /* sets of weights */
    size_t packed_size;
} state;

static state the; /* one library in a process */

static void finish(bench_peer *peer) {
    (void)peer;
    if (the.matmul)
        the.dnnl_primitive_destroy(the.matmul);
    dnnl_memory_t *const memory[] = {&the.src, &the.weights, &the.dst};
    for (size_t i = 0; i < 3; i++) {
        if (*memory[i])
            the.dnnl_memory_destroy(*memory[i]);
        *memory[i] = NULL;
    }
    pt_free(the.packed);
    the.packed = NULL;
    the.matmul = NULL;
}

/* Packs every set's weights. */
static bool pack(const dnnl_memory_desc_t *plain, const dnnl_memory_desc_t *wanted, const float *b,
                 size_t sets, size_t b_size) {
    dnnl_primitive_desc_t description = NULL;
    dnnl_primitive_t reorder = NULL;
    dnnl_memory_t from = NULL;
    bool ok = the.dnnl_reorder_primitive_desc_create(&description, plain, the.engine, wanted,
                                                     the.engine, NULL) == dnnl_success &&
              the.dnnl_primitive_create(&reorder, description) == dnnl_success &&
              the.dnnl_memory_create(&from, plain, the.engine, DNNL_MEMORY_NONE) == dnnl_success;
    the.packed_size = (the.dnnl_memory_desc_get_size(wanted) + 63) / 64 * 64;
    the.packed = bench_new(sets, the.packed_size);
    for (size_t s = 0; ok && s < sets; s++) {
        float *source = bench_new(b_size, sizeof *source); /* the API takes no const */
        memcpy(source, b + s * b_size, b_size * sizeof *source);
        the.dnnl_memory_set_data_handle(from, source);
        the.dnnl_memory_set_data_handle(the.weights, the.packed + s * the.packed_size);
        const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, the.weights}};
        ok = the.dnnl_primitive_execute(reorder, the.stream, 2, arguments) == dnnl_success &&
             the.dnnl_stream_wait(the.stream) == dnnl_success;
        pt_free(source);
    }
    if (from)
        the.dnnl_memory_destroy(from);
    if (reorder)
        the.dnnl_primitive_destroy(reorder);
    if (description)
        the.dnnl_primitive_desc_destroy(description);
    return ok;
}

static bool prepare(bench_peer *peer, const bench_product *p, size_t threads, const float *b,
                    size_t sets, size_t b_size) {
    if (p->form == PT_GEMM_TN)
        return false;
    peer->set_threads(peer, threads); /* a primitive is made for a number of threads */
    const int64_t m = (int64_t)p->m, n = (int64_t)p->n, k = (int64_t)p->k;
    const dnnl_dims_t a_dims = {m, k}, b_dims = {k, n}, c_dims = {m, n};
    const dnnl_dims_t a_strides = {(int64_t)p->lda, 1}, c_strides = {(int64_t)p->ldc, 1};
    dnnl_dims_t b_strides = {(int64_t)p->ldb, 1};
    dnnl_memory_desc_t src, plain, any, dst;
    dnnl_matmul_desc_t matmul;
    dnnl_primitive_desc_t description = NULL;
    if (p->form == PT_GEMM_NT) {
        b_strides[0] = 1;
        b_strides[1] = (int64_t)p->ldb;
    }
    if (the.dnnl_memory_desc_init_by_strides(&src, 2, a_dims, dnnl_f32, a_strides) ||
        the.dnnl_memory_desc_init_by_strides(&plain, 2, b_dims, dnnl_f32, b_strides) ||
        the.dnnl_memory_desc_init_by_strides(&dst, 2, c_dims, dnnl_f32, c_strides) ||
        the.dnnl_memory_desc_init_by_tag(&any, 2, b_dims, dnnl_f32, dnnl_format_tag_any) ||
        the.dnnl_matmul_desc_init(&matmul, &src, &any, NULL, &dst) ||
        the.dnnl_primitive_desc_create(&description, &matmul, NULL, the.engine, NULL))
        return false;
    const dnnl_memory_desc_t wanted =
        *the.dnnl_primitive_desc_query_md(description, dnnl_query_weights_md, 0);
    const bool ok =
        the.dnnl_primitive_create(&the.matmul, description) == dnnl_success &&
        the.dnnl_memory_create(&the.src, &src, the.engine, DNNL_MEMORY_NONE) == dnnl_success &&
        the.dnnl_memory_create(&the.weights, &wanted, the.engine, DNNL_MEMORY_NONE) ==
            dnnl_success &&
        the.dnnl_memory_create(&the.dst, &dst, the.engine, DNNL_MEMORY_NONE) == dnnl_success &&
        pack(&plain, &wanted, b, sets, b_size);
    the.dnnl_primitive_desc_destroy(description);
    return ok;
}

static void run(const bench_peer *peer, const bench_product *p, size_t set, const float *a,
                const float *b, float *c) {
    (void)peer, (void)p, (void)b;
    void *source; /* the API takes no const */
    memcpy(&source, &a, sizeof source);
    the.dnnl_memory_set_data_handle(the.src, source);
    the.dnnl_memory_set_data_handle(the.weights, the.packed + set * the.packed_size);
    the.dnnl_memory_set_data_handle(the.dst, c);
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, the.src}, {DNNL_ARG_WEIGHTS, the.weights}, {DNNL_ARG_DST, the.dst}};
    the.dnnl_primitive_execute(the.matmul, the.stream, 3, arguments);
    the.dnnl_stream_wait(the.stream);
}

#define FIND(name)                                                                                 \
    symbol = dlsym(library, #name);                                                                \
    memcpy(&the.name, &symbol, sizeof symbol);                                                     \
    found = found && symbol;

bool bench_onednn_open(void *library, bench_peer *peer) {
    bool found = true;
    void *symbol;
    FUNCTIONS(FIND)
    if (!found || the.dnnl_version()->major != DNNL_VERSION_MAJOR ||
        the.dnnl_engine_create(&the.engine, dnnl_cpu, 0) != dnnl_success ||
        the.dnnl_stream_create(&the.stream, the.engine, dnnl_stream_default_flags) != dnnl_success)
        return false;
    peer->name = "oneDNN pack";
    peer->run = run;
    peer->prepare = prepare;
    peer->finish = finish;
    return true;
}

#else
bool bench_onednn_open(void *library, bench_peer *peer) {
    (void)library, (void)peer;
    return false;
}
#endif
