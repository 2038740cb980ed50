/* gemm_shallow_body.h: products of very few steps of k (nn), written once for every vector width.
 *
 * With one to four steps a register tile is over before it has begun: what it costs to start one is
 * more than its arithmetic. So two rows of C are walked from left to right, their elements of A held
 * in registers, and each vector of C is done at once. One chain an element, as everywhere.
 */
static ALWAYS_INLINE void shallow_vectors(size_t rows, size_t k, const pt_gemm_shallow *x, size_t j,
                                          bool part, vec_mask last, const vec a[], float *c) {
    vec acc[2];
    UNROLL for (size_t i = 0; i < rows; i++) {
        acc[i] = !x->bias ? vec_zero()
                 : part   ? vec_load_masked(last, x->bias + j)
                          : vec_load(x->bias + j);
    }
    UNROLL for (size_t l = 0; l < k; l++) {
        const float *row = x->b + l * x->ldb + j;
        const vec b = part ? vec_load_masked(last, row) : vec_load(row);
        UNROLL for (size_t i = 0; i < rows; i++) {
            acc[i] = vec_fma(a[i * k + l], b, acc[i]);
        }
    }
    UNROLL for (size_t i = 0; i < rows; i++) {
        acc[i] = vec_add(acc[i], vec_zero());
        if (part)
            vec_store_masked(last, c + i * x->ldc + j, acc[i]);
        else
            vec_store(c + i * x->ldc + j, acc[i]);
    }
}

static ALWAYS_INLINE void shallow_rows_of(size_t rows, size_t k, const pt_gemm_shallow *x,
                                          size_t i) {
    const vec_mask last = vec_first(x->n % LANES);
    float *c = x->c + i * x->ldc;
    vec a[2 * PT_GEMM_SHALLOW];
    UNROLL for (size_t r = 0; r < rows; r++) {
        UNROLL for (size_t l = 0; l < k; l++) {
            a[r * k + l] = vec_broadcast(x->a + (i + r) * x->lda + l);
        }
    }
    size_t j = 0;
    for (; j + LANES <= x->n; j += LANES)
        shallow_vectors(rows, k, x, j, false, last, a, c);
    if (j < x->n)
        shallow_vectors(rows, k, x, j, true, last, a, c);
}

static ALWAYS_INLINE void shallow(size_t k, const pt_gemm_shallow *x) {
    size_t i = 0;
    for (; i + 2 <= x->m; i += 2)
        shallow_rows_of(2, k, x, i);
    if (i < x->m)
        shallow_rows_of(1, k, x, i);
}

#define DEFINE_SHALLOW(k)                                                                          \
    static void shallow_##k(const pt_gemm_shallow *x) {                                            \
        shallow(k, x);                                                                             \
    }
DEFINE_SHALLOW(1)
DEFINE_SHALLOW(2)
DEFINE_SHALLOW(3)
DEFINE_SHALLOW(4)
