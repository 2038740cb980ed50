/* peers.c: OpenBLAS and BLIS by their CBLAS, oneDNN by dnnl_sgemm and by onednn.c, libxsmm by
 * peers/xsmm.c. */
#include "bench/peers.h"
#include "bench/onednn.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void cblas_sgemm_function(int order, int trans_a, int trans_b, int m, int n, int k,
                                  float alpha, const float *a, int lda, const float *b, int ldb,
                                  float beta, float *c, int ldc);
typedef int dnnl_sgemm_function(char trans_a, char trans_b, int64_t m, int64_t n, int64_t k,
                                float alpha, const float *a, int64_t lda, const float *b,
                                int64_t ldb, float beta, float *c, int64_t ldc);
typedef void set_int_function(int threads);
typedef void set_long_function(int64_t threads);

/* ISO C has no cast from data to function. */
#define FUNCTION(type, name, symbol)                                                               \
    type *name;                                                                                    \
    memcpy(&(name), &(symbol), sizeof(name))

static void run_cblas(const bench_peer *peer, const bench_product *p, size_t set, const float *a,
                      const float *b, float *c) {
    (void)set;
    enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112 };
    FUNCTION(cblas_sgemm_function, multiply, peer->multiply);
    multiply(ROW_MAJOR, p->form == PT_GEMM_TN ? TRANS : NO_TRANS,
             p->form == PT_GEMM_NT ? TRANS : NO_TRANS, (int)p->m, (int)p->n, (int)p->k, 1.0f, a,
             (int)p->lda, b, (int)p->ldb, 0.0f, c, (int)p->ldc);
}

static void run_dnnl(const bench_peer *peer, const bench_product *p, size_t set, const float *a,
                     const float *b, float *c) {
    (void)set;
    FUNCTION(dnnl_sgemm_function, multiply, peer->multiply);
    multiply(p->form == PT_GEMM_TN ? 'T' : 'N', p->form == PT_GEMM_NT ? 'T' : 'N', (int64_t)p->m,
             (int64_t)p->n, (int64_t)p->k, 1.0f, a, (int64_t)p->lda, b, (int64_t)p->ldb, 0.0f, c,
             (int64_t)p->ldc);
}

static void threads_int(const bench_peer *peer, size_t threads) {
    FUNCTION(set_int_function, set, peer->threads);
    set((int)threads);
}

static void threads_long(const bench_peer *peer, size_t threads) {
    FUNCTION(set_long_function, set, peer->threads);
    set((int64_t)threads);
}

/* --- libxsmm: its kernel for a product, from the shared object beside the program --- */

typedef void *xsmm_dispatch_function(int m, int n, int k, int lda, int ldb, int ldc,
                                     int a_transposed, int b_transposed);
typedef void xsmm_kernel(const float *a, const float *b, float *c, ...);

static void run_xsmm(const bench_peer *peer, const bench_product *p, size_t set, const float *a,
                     const float *b, float *c) {
    (void)p, (void)set;
    FUNCTION(xsmm_kernel, kernel, peer->state);
    kernel(b, a, c);
}

static bool prepare_xsmm(bench_peer *peer, const bench_product *p, size_t threads, const float *b,
                         size_t sets, size_t b_size) {
    (void)b, (void)sets, (void)b_size;
    if (threads > 1 || p->m * p->n * p->k > 160 * 160 * 160) /* meant for small ones */
        return false;
    FUNCTION(xsmm_dispatch_function, dispatch, peer->multiply);
    peer->state = dispatch((int)p->m, (int)p->n, (int)p->k, (int)p->lda, (int)p->ldb, (int)p->ldc,
                           p->form == PT_GEMM_TN, p->form == PT_GEMM_NT);
    return peer->state;
}

static bool open_xsmm(bench_peer *peer) {
    char path[4096];
    const ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof "-xsmm.so");
    if (length <= 0)
        return false;
    strcpy(path + length, "-xsmm.so");
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return false;
    *peer = (bench_peer){.name = "libxsmm",
                         .run = run_xsmm,
                         .prepare = prepare_xsmm,
                         .multiply = dlsym(library, "bench_xsmm_dispatch")};
    return peer->multiply;
}

size_t bench_open_peers(pt_isa isa, bench_peer peers[BENCH_MAX_PEERS]) {
    static const char *const unwanted[] = {"OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS",
                                           "GOTO_NUM_THREADS", "BLIS_NUM_THREADS"};
    static const struct {
        const char *name, *package, *file[3], *multiply, *threads;
        void (*run)(const bench_peer *, const bench_product *, size_t, const float *, const float *,
                    float *);
        void (*set_threads)(const bench_peer *, size_t);
    } known[] = {
        /* The OpenMP build first: the other's threads fight with those of an OpenMP program. */
        {"OpenBLAS",
         "libopenblas0-openmp",
         {"/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0", "libopenblas.so.0"},
         "cblas_sgemm",
         "openblas_set_num_threads",
         run_cblas,
         threads_int},
        {"BLIS",
         "libblis4-openmp",
         {"/usr/lib/x86_64-linux-gnu/blis-openmp/libblis.so.4", "libblis.so.4"},
         "cblas_sgemm",
         "bli_thread_set_num_threads",
         run_cblas,
         threads_long},
        /* Takes OpenMP's number of threads; its libgomp is the process's own. */
        {"oneDNN",
         "libdnnl2",
         {"libdnnl.so.3", "libdnnl.so.2"},
         "dnnl_sgemm",
         "omp_set_num_threads",
         run_dnnl,
         threads_int},
    };
    for (size_t i = 0; i < sizeof unwanted / sizeof *unwanted; i++)
        unsetenv(unwanted[i]);
    setenv("OPENBLAS_CORETYPE", isa == PT_ISA_AVX512 ? "SkylakeX" : "Haswell", 1);
    /* BLIS 0.9 wants the number of an architecture, 0 skx or 3 haswell, and reads any name as 0. */
    setenv("BLIS_ARCH_TYPE", isa == PT_ISA_AVX512 ? "0" : "3", 1);
    setenv("ONEDNN_MAX_CPU_ISA", isa == PT_ISA_AVX512 ? "ALL" : "AVX2", 1);
    setenv("LIBXSMM_TARGET", isa == PT_ISA_AVX512 ? "skx" : "hsw", 1);
    size_t count = 0;
    void *library = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        library = NULL;
        for (size_t f = 0; !library && known[i].file[f]; f++)
            library = dlopen(known[i].file[f], RTLD_NOW | RTLD_LOCAL);
        bench_peer peer = {
            .name = known[i].name, .run = known[i].run, .set_threads = known[i].set_threads};
        if (library) {
            peer.multiply = dlsym(library, known[i].multiply);
            peer.threads = dlsym(library, known[i].threads);
        }
        if (peer.multiply && peer.threads)
            peers[count++] = peer;
        else
            fprintf(stderr, "bench: no %s for %s (Debian: apt-get install %s)\n", known[i].name,
                    pt_isa_name(isa), known[i].package);
    }
    /* oneDNN was the last. */
    if (library && bench_onednn_open(library, &peers[count])) {
        peers[count].set_threads = peers[count - 1].set_threads;
        peers[count].threads = peers[count - 1].threads;
        count++;
    }
    if (open_xsmm(&peers[count]))
        count++;
    else
        fprintf(stderr, "bench: no libxsmm for %s (Debian: apt-get install libxsmm-dev)\n",
                pt_isa_name(isa));
    return count;
}
