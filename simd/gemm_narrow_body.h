/* gemm_narrow_body.h: products with a few columns, written once for every vector width.
 *
 * With one to four columns most of a vector along a row of C would be empty. So the rows of C lie
 * along the vectors: a block of LANES x LANES floats of A is transposed in registers, and then each
 * step of k is one FMA a column, of LANES rows. One chain an element, as everywhere.
 *
 * Included by gemm_avx2.c and gemm_avx512.c, which have defined
 *   load_transposed(a, lda, rows, columns, t)   t[l] = column l of `rows` rows, zeros below
 */

/* `steps` steps of k for LANES rows: acc[j] += A[rows][l] * b[l * b_step + j * b_next]. */
static ALWAYS_INLINE void narrow_block(size_t n, size_t rows, size_t steps, const float *a,
                                       size_t lda, const float *b, size_t b_step, size_t b_next,
                                       vec acc[]) {
    vec t[LANES];
    load_transposed(a, lda, rows, vec_first(steps), t);
    UNROLL for (size_t l = 0; l < LANES; l++) if (l < steps) {
        UNROLL for (size_t j = 0; j < n; j++) {
            vec_fma_broadcast(&acc[j], b + l * b_step + j * b_next, t[l]);
        }
    }
}

/* So many blocks of steps share a cache line of a row: each asks for every TURNS-th of the next rows. */
enum { TURNS = PT_GEMM_LINE / LANES };

static ALWAYS_INLINE void narrow_prefetch(size_t count, const float *a, size_t lda) {
    UNROLL for (size_t i = 0; i < count; i++) {
        __builtin_prefetch(a + i * TURNS * lda, 0, 2);
    }
}

/* LANES * groups rows from a, of which `rows` exist; `more`: as many follow, and are prefetched. */
static ALWAYS_INLINE void narrow_groups(size_t n, size_t groups, size_t rows, bool more,
                                        const pt_gemm_narrow *x, const float *a, float *c) {
    vec acc[2 * PT_GEMM_NARROW];
    UNROLL for (size_t g = 0; g < groups; g++) UNROLL for (size_t j = 0; j < n; j++) {
        acc[g * n + j] = x->bias ? vec_broadcast(x->bias + j) : vec_zero();
    }
    const float *b = x->b;
    size_t k = x->k;
    for (size_t turn = 0; k >= LANES; k -= LANES, turn = (turn + 1) % TURNS) {
        if (more)
            narrow_prefetch(groups * LANES / TURNS, a + (groups * LANES + turn) * x->lda, x->lda);
        UNROLL for (size_t g = 0; g < groups; g++) {
            narrow_block(n, groups > 1 ? LANES : rows, LANES, a + g * LANES * x->lda, x->lda, b,
                         x->b_step, x->b_next, acc + g * n);
        }
        a += LANES;
        b += LANES * x->b_step;
    }
    if (k > 0) {
        UNROLL for (size_t g = 0; g < groups; g++) {
            narrow_block(n, groups > 1 ? LANES : rows, k, a + g * LANES * x->lda, x->lda, b,
                         x->b_step, x->b_next, acc + g * n);
        }
    }
    float column[2 * LANES];
    UNROLL for (size_t j = 0; j < n; j++) {
        UNROLL for (size_t g = 0; g < groups; g++) {
            const vec sum = vec_add(acc[g * n + j], vec_zero());
            vec_store(column + g * LANES, x->finish.relu ? vec_relu(sum) : sum);
        }
        for (size_t i = 0; i < rows; i++) {
            float *to = &c[i * x->ldc + j];
            *to = !x->finish.gate || *pt_gate_of(to, x->finish.gate) > 0 ? column[i] : 0;
        }
    }
}

static ALWAYS_INLINE void narrow_rows(size_t n, const pt_gemm_narrow *x) {
    const float *a = x->a;
    float *c = x->c;
    size_t m = x->m;
    for (; m >= 2 * LANES; m -= 2 * LANES) { /* two at a time: a group is few chains */
        narrow_groups(n, 2, 2 * LANES, m >= 4 * LANES, x, a, c);
        a += 2 * LANES * x->lda;
        c += 2 * LANES * x->ldc;
    }
    for (; m >= LANES; m -= LANES) {
        narrow_groups(n, 1, LANES, false, x, a, c);
        a += LANES * x->lda;
        c += LANES * x->ldc;
    }
    if (m > 0)
        narrow_groups(n, 1, m, false, x, a, c);
}

/* --- tn: sums that were computed across rows --- */

static void apply_turned(size_t n, size_t m, const float *sums, size_t ld, const float *rate,
                         float *c, size_t ldc) {
    const vec_mask columns = vec_first(n);
    for (size_t x = 0; x < m; x += LANES) {
        vec row[LANES];
        load_transposed(sums + x, ld, n, vec_first(LANES), row);
        UNROLL for (size_t i = 0; i < LANES; i++) if (i < m - x) {
            if (rate)
                row[i] = vec_fma(vec_broadcast(rate), row[i], vec_load_masked(columns, c));
            vec_store_masked(columns, c, row[i]);
            c += ldc;
        }
    }
}

#define DEFINE_NARROW(n)                                                                           \
    static void narrow_rows_##n(const pt_gemm_narrow *x) {                                         \
        narrow_rows(n, x);                                                                         \
    }
DEFINE_NARROW(1)
DEFINE_NARROW(2)
DEFINE_NARROW(3)
DEFINE_NARROW(4)
