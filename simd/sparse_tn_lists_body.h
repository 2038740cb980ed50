/* sparse_tn_lists_body.h: the gradient to the weights of a layer so narrow that a row of C fits the
 * registers: 33 to 64 units in vectors of 8 (a tile of vectors of 16 is that wide). Included by
 * sparse_tn_body.h.
 *
 * A tile there is three vectors wide, so such a row takes three of them, each of which visits the
 * same rows of A, and at the end of each shard waits for a guess that was wrong: with a few rows of
 * a shard not zero, the waits are longer than the arithmetic. Here the rows that are not zero are
 * listed for each column of A, and each column's row of C is summed at once, from a B that L1 holds.
 * No product with zero is formed, where a tile forms those of four columns.
 */
enum {
    LISTS_LANES = 8,         /* vectors that the rest is chosen for */
    LISTS_COLUMNS = 128,     /* of A, listed at a time: words of the bitmap */
    LISTS_LEAST_ROWS = 13,   /* of the mini-batch; for fewer see sparse_tn_few_body.h */
    LISTS_MAX_ROWS = 128,    /* so that lists stay in L1; larger mini-batches fill the tiles */
    LISTS_MAX_SHARDS = 16,   /* as many sizes are kept for each list */
    LISTS_LEAST_VECTORS = 5, /* of B: as wide as two tiles, which win from .. */
    LISTS_TWO_TILES = 6,
    LISTS_TWO_TILES_ROWS = 32, /* .. more rows than this */
    LISTS_MAX_VECTORS = 8,
    LISTS_B_BYTES = 32 << 10, /* L1 */
    LISTS_APART = 16,         /* entries between two lists, or all would begin in the same sets */
    LISTS_BYTE_BITS = 8,      /* an entry: the byte, and above it the row */
};

typedef struct column_lists {
    uint16_t entry[LISTS_COLUMNS][LISTS_MAX_ROWS + LISTS_APART]; /* in the order of rows */
    uint16_t size[LISTS_MAX_SHARDS + 1][LISTS_COLUMNS];          /* before shard s; last: in all */
} column_lists;

/* What the lists are of, and what is done with them. */
typedef struct listed_columns {
    const column_lists *lists;
    const pt_shards *shards;
    const float *value, *b; /* b: row 0 is the first shard's first */
    size_t n, ldb;
    const float *rate; /* as sparse_tn */
} listed_columns;

/* Columns from .. to-1; seen: how many of each row's bytes come before. */
static void list_columns(const pt_shards *shards, const pt_sparse_row *a, size_t from, size_t to,
                         size_t *seen, column_lists *lists) {
    uint16_t size[LISTS_COLUMNS] = {0};
    a += shards->row[0];
    for (size_t s = 0, r = 0; s < shards->count; s++) {
        memcpy(lists->size[s], size, sizeof size);
        for (; r < shards->row[s + 1] - shards->row[0]; r++) {
            const size_t end = seen[r] + count_bits(a[r].bitmap, from, to);
            for (size_t i = seen[r]; i < end; i++) {
                const size_t x = a[r].column[i] - from;
                lists->entry[x][size[x]++] = (uint16_t)(r << LISTS_BYTE_BITS | a[r].byte[i]);
            }
            seen[r] = end;
        }
    }
    memcpy(lists->size[shards->count], size, sizeof size);
}

/* The chains of the rows entry .. end-1 of a shard, and +0. */
static ALWAYS_INLINE void sum_listed_rows(const listed_columns *l, size_t vectors, vec_mask last,
                                          const uint16_t *entry, const uint16_t *end, vec acc[]) {
    UNROLL
    for (size_t v = 0; v < vectors; v++)
        acc[v] = vec_zero();
    for (; entry < end; entry++) {
        const float *row = l->b + (size_t)(*entry >> LISTS_BYTE_BITS) * l->ldb;
        const vec x = vec_broadcast(&l->value[*entry & ((1 << LISTS_BYTE_BITS) - 1)]);
        UNROLL
        for (size_t v = 0; v + 1 < vectors; v++)
            acc[v] = vec_fma(x, vec_load(row + v * LANES), acc[v]);
        acc[vectors - 1] =
            vec_fma(x, vec_load_masked(last, row + (vectors - 1) * LANES), acc[vectors - 1]);
    }
    add_zero(vectors, acc);
}

/* The tree of all shards of list x into its row of C. */
static ALWAYS_INLINE void sum_listed_column(const listed_columns *l, size_t x, size_t vectors,
                                            vec_mask last, float *c) {
    vec stack[PT_MAX_SHARD_DEPTH][LISTS_MAX_VECTORS], acc[LISTS_MAX_VECTORS];
    const uint16_t *entry = l->lists->entry[x];
    for (size_t s = 0, depth = 0;; s++) {
        sum_listed_rows(l, vectors, last, entry + l->lists->size[s][x],
                        entry + l->lists->size[s + 1][x], acc);
        for (size_t merges = l->shards->merges[s]; merges > 0; merges--)
            add_sums(vectors, stack[--depth], acc);
        if (s + 1 == l->shards->count)
            break;
        assert(depth + 1 < PT_MAX_SHARD_DEPTH);
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            stack[depth][v] = acc[v];
        depth++;
    }
    apply_row(l->rate, vectors, last, acc, c);
}

static ALWAYS_INLINE void sum_listed_columns(const listed_columns *l, size_t columns,
                                             size_t vectors, float *c, size_t ldc) {
    const vec_mask last = vec_first(l->n - (vectors - 1) * LANES);
    const uint16_t *size = l->lists->size[l->shards->count];
    for (size_t x = 0; x < columns; x++) {
        if (size[x] > 0)
            sum_listed_column(l, x, vectors, last, c + x * ldc);
        else if (!l->rate) /* rate * 0 would change nothing */
            memset(c + x * ldc, 0, l->n * sizeof *c);
    }
}

typedef void (*listed_function)(const listed_columns *l, size_t columns, float *c, size_t ldc);
#define LISTED_LIST(X) X(5) X(6) X(7) X(8)
#define DEFINE_LISTED(v)                                                                           \
    static void sum_listed_columns_##v(const listed_columns *l, size_t columns, float *c,          \
                                       size_t ldc) {                                               \
        sum_listed_columns(l, columns, v, c, ldc);                                                 \
    }
LISTED_LIST(DEFINE_LISTED)
#define LISTED_ENTRY(v) [v] = sum_listed_columns_##v,
static const listed_function listed_functions[LISTS_MAX_VECTORS + 1] = {LISTED_LIST(LISTED_ENTRY)};

static bool takes_lists(size_t rows, size_t n, const pt_shards *shards, size_t ldb) {
    const size_t vectors = divide_up(n, LANES);
    const size_t most = vectors <= LISTS_TWO_TILES ? LISTS_TWO_TILES_ROWS : LISTS_MAX_ROWS;
    return (size_t)LANES == LISTS_LANES && LISTS_LEAST_ROWS <= rows && rows <= most &&
           LISTS_LEAST_VECTORS <= vectors && vectors <= LISTS_MAX_VECTORS &&
           shards->count <= LISTS_MAX_SHARDS && rows * ldb * sizeof(float) <= LISTS_B_BYTES;
}

/* As sparse_tn, for what takes_lists. */
static void sparse_tn_lists(size_t begin, size_t end, size_t n, const pt_shards *shards,
                            const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                            const float *rate, float *c, size_t ldc) {
    const size_t first = shards->row[0], rows = shards->row[shards->count] - first;
    column_lists lists;
    const listed_columns l = {.lists = &lists,
                              .shards = shards,
                              .value = value,
                              .b = b + first * ldb,
                              .n = n,
                              .ldb = ldb,
                              .rate = rate};
    size_t seen[LISTS_MAX_ROWS];
    for (size_t r = 0; r < rows; r++)
        seen[r] = count_bits(a[first + r].bitmap, 0, begin);
    for (size_t from = begin; from < end;) {
        const size_t to = min_size(from / 64 * 64 + LISTS_COLUMNS, end);
        list_columns(shards, a, from, to, seen, &lists);
        listed_functions[divide_up(n, LANES)](&l, to - from, c, ldc);
        c += (to - from) * ldc;
        from = to;
    }
}
