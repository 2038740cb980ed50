/* sparse_nn_body.h: forward product whose left factor is rows of bytes, most of them zero; written
 * once for every vector width. Included after lanes_avx2.h or lanes_avx512.h.
 *
 * A row of C is a sum of rows of B, one for each nonzero byte of the row of A. The row of C stays in
 * registers, B's rows come from L1 or L2: per byte one load of its column, one of itself, one
 * broadcast of its value and one load per vector. An FMA waits 4 cycles for the one before it in the
 * same chain, so up to 4 vectors wide two rows are walked side by side. B's rows are walked in
 * blocks, over all rows of C; the bitmap tells how many bytes of a row lie in a block. Each (row,
 * block) costs a mispredicted loop end, so blocks are larger than L1: their often used rows still
 * fit. Panels of a B so wide that its rows would share few sets of L1 are copied block by block, the
 * next block prefetched meanwhile.
 */
#include "simd/kernels_internal.h"
#include "simd/lane_rows.h"
#include "simd/sparse_bits.h"

#include <assert.h>
#include <stdbool.h>

enum {
    LIST_VECTORS = 8,       /* widest panel */
    LIST_ROWS = 256,        /* rows of C walked block by block */
    LIST_BLOCK = 112 << 10, /* bytes of B in such a block, at most */
    ROWS_AHEAD = 3,         /* C that goes on is asked for so many rows before it is read */
    PACK_ROWS = 16, /* from so many rows of C on, copying B to rows of another stride pays */
};

/* Where the walk of a row stands. */
typedef struct row_cursor {
    const uint16_t *column;
    const uint8_t *byte;
} row_cursor;

typedef struct list_panel {
    size_t rows, columns; /* of C; columns <= LIST_VECTORS * LANES */
    const pt_sparse_row *a;
    size_t begin, end; /* columns of A in this block */
    row_cursor *at;    /* of each row */
    const float *value, *b;
    size_t ldb;
    const float *bias; /* where the chains start unless resume is set; NULL: +0 */
    float *c;
    size_t ldc;
    bool resume, ends; /* go on from C; the chains end here */
    bool relu;         /* with ReLU */
    const float *next; /* rows of B that will be packed next, to be in L2 by then */
    size_t next_rows, next_ldb;
    const pt_sparse_row *ahead; /* rows whose lists to prefetch, or NULL */
} list_panel;

/* Row i of C prefetches its share of the next block. */
static ALWAYS_INLINE void prefetch_next(const list_panel *p, size_t vectors, size_t i) {
    const size_t share = divide_up(p->next_rows, p->rows);
    const size_t end = min_size((i + 1) * share, p->next_rows);
    for (size_t r = i * share; r < end; r++) {
        UNROLL
        for (size_t v = 0; v < vectors * LANES; v += LINE_FLOATS)
            __builtin_prefetch(p->next + r * p->next_ldb + v, 0, 2);
    }
}

/* A row of C on its way: which, where the walk of its list stands, and its bytes left in the block. */
typedef struct row_walk {
    size_t i;
    row_cursor at;
    size_t left;
} row_walk;

/* Row i of C, which another core may have written. */
static ALWAYS_INLINE void prefetch_sums(const list_panel *p, size_t vectors, size_t i) {
    UNROLL
    for (size_t v = 0; v < vectors * LANES; v += LINE_FLOATS)
        __builtin_prefetch(p->c + i * p->ldc + v, 1);
}

static ALWAYS_INLINE row_walk start_row(const list_panel *p, size_t vectors, vec_mask last,
                                        size_t i, vec acc[]) {
    if (p->resume) {
        if (i + ROWS_AHEAD < p->rows)
            prefetch_sums(p, vectors, i + ROWS_AHEAD);
        load_row(vectors, last, p->c + i * p->ldc, acc);
    } else if (p->bias) {
        load_row(vectors, last, p->bias, acc);
    } else {
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            acc[v] = vec_zero();
    }
    if (p->next_rows)
        prefetch_next(p, vectors, i);
    if (p->ahead)
        prefetch_list(&p->ahead[i]);
    return (row_walk){i, p->at[i], count_bits(p->a[i].bitmap, p->begin, p->end)};
}

static ALWAYS_INLINE void finish_row(const list_panel *p, size_t vectors, vec_mask last,
                                     const row_walk *row, vec acc[]) {
    p->at[row->i] = row->at;
    if (p->ends)
        finish_rows(1, vectors, last, (pt_gemm_finish){.relu = p->relu}, NULL, 0, acc);
    store_row(vectors, last, acc, p->c + row->i * p->ldc);
}

static ALWAYS_INLINE void add_byte(const list_panel *p, size_t vectors, vec_mask last,
                                   row_walk *row, vec acc[]) {
    const float *b = p->b + (size_t)*row->at.column++ * p->ldb;
    const vec x = vec_set(p->value[*row->at.byte++]);
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        acc[v] = vec_fma(x, vec_load(b + v * LANES), acc[v]);
    acc[vectors - 1] =
        vec_fma(x, vec_load_masked(last, b + (vectors - 1) * LANES), acc[vectors - 1]);
}

/* One row after the other. */
static ALWAYS_INLINE void walk_one(const list_panel *p, size_t vectors, vec_mask last, row_walk row,
                                   vec acc[], size_t next) {
    for (;;) {
        for (; row.left > 0; row.left--)
            add_byte(p, vectors, last, &row, acc);
        finish_row(p, vectors, last, &row, acc);
        if (next == p->rows)
            return;
        row = start_row(p, vectors, last, next++, acc);
    }
}

/* Two rows side by side; as soon as one ends, the next begins in its place. */
static ALWAYS_INLINE void walk_two(const list_panel *p, size_t vectors, vec_mask last) {
    vec acc_x[4], acc_y[4];
    row_walk x = start_row(p, vectors, last, 0, acc_x);
    row_walk y = start_row(p, vectors, last, 1, acc_y);
    for (size_t next = 2;;) {
        const size_t both = min_size(x.left, y.left);
        for (size_t e = 0; e < both; e++) {
            add_byte(p, vectors, last, &x, acc_x);
            add_byte(p, vectors, last, &y, acc_y);
        }
        x.left -= both;
        y.left -= both;
        if (x.left == 0) {
            finish_row(p, vectors, last, &x, acc_x);
            if (next == p->rows) {
                walk_one(p, vectors, last, y, acc_y, next);
                return;
            }
            x = start_row(p, vectors, last, next++, acc_x);
        } else {
            finish_row(p, vectors, last, &y, acc_y);
            if (next == p->rows) {
                walk_one(p, vectors, last, x, acc_x, next);
                return;
            }
            y = start_row(p, vectors, last, next++, acc_y);
        }
    }
}

static ALWAYS_INLINE void walk_lists(const list_panel *panel, size_t vectors) {
    const list_panel p = *panel;
    const vec_mask last = vec_first(p.columns - (vectors - 1) * LANES);
    if (vectors <= 4 && p.rows >= 2) {
        walk_two(&p, vectors, last);
    } else {
        vec acc[LIST_VECTORS];
        const row_walk row = start_row(&p, vectors, last, 0, acc);
        walk_one(&p, vectors, last, row, acc, 1);
    }
}

typedef void (*walk_function)(const list_panel *panel);
#define DEFINE_WALK(v)                                                                             \
    static void walk_lists_##v(const list_panel *panel) {                                          \
        walk_lists(panel, v);                                                                      \
    }
DEFINE_WALK(1)
DEFINE_WALK(2)
DEFINE_WALK(3)
DEFINE_WALK(4)
DEFINE_WALK(5)
DEFINE_WALK(6)
DEFINE_WALK(7)
DEFINE_WALK(8)
static const walk_function walk_functions[LIST_VECTORS + 1] = {
    NULL,         walk_lists_1, walk_lists_2, walk_lists_3, walk_lists_4,
    walk_lists_5, walk_lists_6, walk_lists_7, walk_lists_8};

/* Rows of B in a block, of k. */
static size_t list_block(size_t vectors, size_t k) {
    const size_t limit = LIST_BLOCK / (vectors * LANES * sizeof(float));
    return k > limit ? divide_up(k, divide_up(k, limit)) : k;
}

static void sparse_nn(size_t m, size_t n, size_t k, size_t begin, size_t end,
                      const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                      const float *bias, bool relu, float *c, size_t ldc,
                      const pt_sparse_row *ahead, void *scratch) {
    assert(begin <= end && end <= k && k <= PT_SPARSE_MAX_COLUMNS);
    if (m == 0 || n == 0)
        return;
    row_cursor at[LIST_ROWS];
    size_t width;
    for (size_t j = 0; j < n; j += width) {
        const size_t vectors = even_panel_vectors(n - j, LANES, LIST_VECTORS);
        width = vectors * LANES;
        const size_t block = list_block(vectors, end - begin);
        const bool pack = m >= PACK_ROWS && n > width && ldb % PACK_STRIDE == 0;
        for (size_t i = 0; i < m; i += LIST_ROWS) {
            list_panel p = {.rows = min_size(m - i, LIST_ROWS),
                            .columns = min_size(n - j, width),
                            .a = a + i,
                            .at = at,
                            .value = value,
                            .bias = bias ? bias + j : NULL,
                            .relu = relu,
                            .c = c + i * ldc + j,
                            .ldc = ldc};
            for (size_t r = 0; r < p.rows; r++) {
                const size_t before = count_bits(p.a[r].bitmap, 0, begin);
                at[r] = (row_cursor){p.a[r].column + before, p.a[r].byte + before};
            }
            size_t l = begin;
            do {
                const size_t rows = min_size(end - l, block);
                p.begin = l;
                p.end = l + rows;
                p.resume = l > 0;
                p.ahead = ahead && l == begin && j == 0 ? ahead + i : NULL;
                p.ends = p.end == k;
                p.b = b + j;
                p.ldb = ldb;
                if (pack) {
                    const bool more = p.end < end;
                    p.next = more ? b + p.end * ldb + j : b + begin * ldb + j + width;
                    p.next_rows = more || j + width < n ? min_size(block, end - l) : 0;
                    p.next_ldb = ldb;
                    pack_panel(rows, p.columns, b + l * ldb + j, ldb, scratch, width);
                    /* where row 0 would be */
                    p.b = (const float *)((uintptr_t)scratch - l * width * sizeof(float));
                    p.ldb = width;
                }
                walk_functions[vectors](&p);
                l += rows;
            } while (l < end);
        }
    }
}

/* Bytes of scratch for so many columns of B and A. */
static size_t sparse_nn_scratch(size_t n, size_t columns) {
    const size_t width = min_size(divide_up(n, LANES), LIST_VECTORS) * LANES;
    return min_size(columns * width * sizeof(float), LIST_BLOCK + 1024);
}
