/* gemm_shallow_body.h: products of very few steps of k (nn), written once for every vector width.
 *
 * With one to four steps a register tile is over before it has begun: what it costs to start one is
 * more than its arithmetic. So two or four rows of C are walked from left to right, their elements of
 * A held in registers, and each vector of C is done at once. One chain an element, as everywhere. If
 * the last columns don't fill a vector, the one that ends with them computes some a second time.
 */

/* A vector of columns of `rows` rows. */
static ALWAYS_INLINE void shallow_vectors(size_t rows, size_t k, const float *b, size_t ldb,
                                          const float *bias, bool relu, const vec a[], float *c,
                                          size_t ldc) {
    vec acc[4];
    UNROLL for (size_t i = 0; i < rows; i++) {
        acc[i] = bias ? vec_load(bias) : vec_zero();
    }
    UNROLL for (size_t l = 0; l < k; l++) {
        const vec x = vec_load(b + l * ldb);
        UNROLL for (size_t i = 0; i < rows; i++) {
            acc[i] = vec_fma(a[i * k + l], x, acc[i]);
        }
    }
    UNROLL for (size_t i = 0; i < rows; i++) {
        const vec sum = vec_add(acc[i], vec_zero());
        vec_store(c + i * ldc, relu ? vec_relu(sum) : sum);
    }
}

static ALWAYS_INLINE void shallow_rows(size_t rows, size_t k, bool biased, bool relu,
                                       const pt_gemm_shallow *x, size_t i) {
    const size_t ldb = x->ldb, ldc = x->ldc, last = x->n - LANES;
    const float *b = x->b, *bias = x->bias;
    float *c = x->c + i * ldc;
    vec a[8];
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t l = 0; l < k; l++) {
            a[r * k + l] = vec_broadcast(x->a + (i + r) * x->lda + l);
        }
    }
    for (size_t j = 0; j < last; j += LANES)
        shallow_vectors(rows, k, b + j, ldb, biased ? bias + j : NULL, relu, a, c + j, ldc);
    shallow_vectors(rows, k, b + last, ldb, biased ? bias + last : NULL, relu, a, c + last, ldc);
}

static ALWAYS_INLINE void shallow(size_t k, bool biased, bool relu, const pt_gemm_shallow *x) {
    const size_t rows = k <= 2 ? 4 : 2; /* elements of A in 8 registers */
    size_t i = 0;
    for (; i + rows <= x->m; i += rows)
        shallow_rows(rows, k, biased, relu, x, i);
    for (; i < x->m; i++)
        shallow_rows(1, k, biased, relu, x, i);
}

static ALWAYS_INLINE void shallow_biased(size_t k, bool relu, const pt_gemm_shallow *x) {
    if (x->bias)
        shallow(k, true, relu, x);
    else
        shallow(k, false, relu, x);
}

#define DEFINE_SHALLOW(k)                                                                          \
    static void shallow_##k(const pt_gemm_shallow *x) {                                            \
        if (x->relu)                                                                               \
            shallow_biased(k, true, x);                                                            \
        else                                                                                       \
            shallow_biased(k, false, x);                                                           \
    }
DEFINE_SHALLOW(1)
DEFINE_SHALLOW(2)
DEFINE_SHALLOW(3)
DEFINE_SHALLOW(4)
