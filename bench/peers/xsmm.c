/* xsmm.c: libxsmm, which Debian has as a static library only, as a shared object that the benchmark
 * can do without: the kernel that it generates for a small product on one thread.
 */
#include <libxsmm.h>

void *bench_xsmm_dispatch(int m, int n, int k, int lda, int ldb, int ldc, int a_transposed,
                          int b_transposed);

/* Row-major C[m x n] = op(A) op(B) is column-major C^T = op(B)^T op(A)^T: a kernel to be called
 * with (B, A, C), or NULL where it generates none. */
void *bench_xsmm_dispatch(int m, int n, int k, int lda, int ldb, int ldc, int a_transposed,
                          int b_transposed) {
    const float one = 1.0f, zero = 0.0f;
    const int flags = (b_transposed ? LIBXSMM_GEMM_FLAG_TRANS_A : 0) |
                      (a_transposed ? LIBXSMM_GEMM_FLAG_TRANS_B : 0);
    const libxsmm_smmfunction kernel =
        libxsmm_smmdispatch(n, m, k, &ldb, &lda, &ldc, &one, &zero, &flags, NULL);
    void *address;
    __builtin_memcpy(&address, &kernel, sizeof address);
    return address;
}
