/* sparse_tn_few_body.h: the gradient to the weights for mini-batches of few rows; written once for every
 * vector width. Included by sparse_tn_body.h.
 *
 * With few rows the tiles of sparse_tn_body.h are over before they have begun: what it costs to start
 * one and to merge its shards is far more than its arithmetic. Here each column of A that is not zero
 * in all rows is done by itself, over all rows: a row that is zero there adds x = 0, which changes no
 * bit, and without a decision to be guessed wrong. Nothing is spread out: columns come in order, so
 * the next byte of a row is always the one its cursor stands at. The tree of four shards, the usual
 * number, stays in registers.
 */
enum {
    FEW_VECTORS = 4, /* widest panel: three sums of it and a factor fit 16 registers */
    /* Of the mini-batch; beyond, tiles are as fast. AVX2 has pairs from 13 rows and 25 columns on,
     * AVX-512 pairs for four shards from 5 rows on. */
    FEW_MAX_ROWS = 20,
};

typedef struct few_columns {
    const pt_shards *shards;
    bool four; /* they are four, merged in pairs */
    const float *b;
    size_t ldb;
    const float *rate;
    size_t full, rest; /* columns of B in full panels, and vectors behind them */
    vec_mask all, last;
    float x[FEW_MAX_ROWS]; /* this column of A */
} few_columns;

/* The chains of one shard; `settle`: add +0.0f at the end. */
static ALWAYS_INLINE void few_shard(const few_columns *f, size_t s, size_t j, size_t vectors,
                                    vec_mask last, bool settle, vec acc[]) {
    const size_t first = f->shards->row[0];
    size_t r = f->shards->row[s] - first;
    const size_t end = f->shards->row[s + 1] - first;
    UNROLL
    for (size_t v = 0; v < vectors; v++)
        acc[v] = vec_zero();
    for (; r < end; r++) {
        vec b[FEW_VECTORS];
        load_row(vectors, last, f->b + r * f->ldb + j, b);
        multiply_row(vectors, &f->x[r], b, acc);
    }
    if (settle)
        add_zero(vectors, acc);
}

/* Columns j .. of B: the tree of all shards into a row of C. Of a pair only the lower sum needs its
 * +0.0f: x + y and x + (y + 0) are the same unless x is -0. */
static ALWAYS_INLINE void few_panel(const few_columns *f, size_t j, size_t vectors, vec_mask last,
                                    float *c) {
    vec acc[FEW_VECTORS];
    if (f->four) {
        vec left[FEW_VECTORS], right[FEW_VECTORS];
        few_shard(f, 0, j, vectors, last, true, left);
        few_shard(f, 1, j, vectors, last, false, acc);
        add_sums(vectors, acc, left);
        few_shard(f, 2, j, vectors, last, true, right);
        few_shard(f, 3, j, vectors, last, false, acc);
        add_sums(vectors, right, acc);
        add_sums(vectors, left, acc);
    } else {
        vec stack[PT_MAX_SHARD_DEPTH][FEW_VECTORS];
        for (size_t s = 0, depth = 0;; s++) {
            few_shard(f, s, j, vectors, last, true, acc);
            for (size_t merges = f->shards->merges[s]; merges > 0; merges--)
                add_sums(vectors, stack[--depth], acc);
            if (s + 1 == f->shards->count)
                break;
            assert(depth + 1 < PT_MAX_SHARD_DEPTH);
            UNROLL
            for (size_t v = 0; v < vectors; v++)
                stack[depth][v] = acc[v];
            depth++;
        }
    }
    apply_row(f->rate, vectors, last, acc, c + j);
}

/* A row of C: panels of FEW_VECTORS, all full, and one of the rest. */
static ALWAYS_INLINE void few_column(const few_columns *f, float *c) {
    size_t j = 0;
    for (; j < f->full; j += FEW_VECTORS * LANES)
        few_panel(f, j, FEW_VECTORS, f->all, c);
    switch (f->rest) {
    case 0:
        break;
    case 1:
        few_panel(f, j, 1, f->last, c);
        break;
    case 2:
        few_panel(f, j, 2, f->last, c);
        break;
    case 3:
        few_panel(f, j, 3, f->last, c);
        break;
    default:
        few_panel(f, j, 4, f->last, c);
        break;
    }
}

static bool is_four(const pt_shards *shards) {
    return shards->count == 4 && shards->merges[0] == 0 && shards->merges[1] == 1 &&
           shards->merges[2] == 0 && shards->merges[3] == 2;
}

/* As sparse_tn, for 1 .. FEW_MAX_ROWS rows. */
static void sparse_tn_few(size_t begin, size_t end, size_t n, const pt_shards *shards,
                          const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                          const float *rate, float *c, size_t ldc) {
    const size_t first = shards->row[0], rows = shards->row[shards->count] - first;
    const size_t vectors = divide_up(n, LANES), panels = n / (FEW_VECTORS * LANES);
    few_columns f = {.shards = shards,
                     .four = is_four(shards),
                     .b = b + first * ldb,
                     .ldb = ldb,
                     .rate = rate,
                     .full = panels * FEW_VECTORS * LANES,
                     .rest = vectors - panels * FEW_VECTORS,
                     .all = vec_first(LANES),
                     .last = vec_first(n - (vectors - 1) * LANES)};
    const uint8_t *byte[FEW_MAX_ROWS];
    a += first;
    for (size_t r = 0; r < rows; r++)
        byte[r] = a[r].byte + count_bits(a[r].bitmap, 0, begin);
    for (size_t from = begin; from < end;) {
        const size_t count = min_size(end, from / 64 * 64 + 64) - from;
        uint64_t bits[FEW_MAX_ROWS], any = 0;
        for (size_t r = 0; r < rows; r++)
            any |= bits[r] = a[r].bitmap[from / 64] >> from % 64 & low_bits(count);
        for (size_t i = 0; i < count && !rate; i++)
            if (!(any >> i & 1))
                memset(c + i * ldc, 0, n * sizeof *c);
        for (; any; any &= any - 1) {
            const unsigned i = (unsigned)__builtin_ctzll(any);
            for (size_t r = 0; r < rows; r++) {
                const uint64_t there = bits[r] >> i & 1;
                f.x[r] = value[*byte[r] & (0 - there)];
                byte[r] += there;
            }
            few_column(&f, c + i * ldc);
        }
        from += count;
        c += count * ldc;
    }
}
