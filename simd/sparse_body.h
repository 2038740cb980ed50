/* sparse_body.h: products whose left factor is rows of bytes, most of them zero; written once for
 * every vector width.
 *
 * Included by sparse_avx2.c and sparse_avx512.c after they have defined
 *   vec, vec_mask                      a vector of LANES floats, a mask of lanes
 *   vec_zero vec_set vec_load vec_store vec_load_masked vec_store_masked vec_first vec_fma vec_add
 *                                      (vec_set(x): x in every lane; vec_first(n): the first n
 * lanes) TILE_VECTORS, TILE_LIST(X)         widest gradient tile, X(vectors) up to it: it takes
 *                                      (GROUP + 1) * vectors + 1 registers
 *   CHUNK, group_bits                  columns looked at at a time, and an integer of CHUNK / GROUP
 *                                      bits
 *   chunk_groups                       the groups of a chunk that are not all zero; copies it
 *   transpose_groups                   64 rows' group_bits to one mask of rows per group
 *
 * Forward. A row of C is a sum of rows of B, one for each entry of the row's list. The row of C
 * stays in registers, B's rows come from L1 or L2: per entry one load of the entry, one broadcast
 * of its value and one load per vector. An FMA waits 4 cycles for the one before it in the same
 * chain, so up to 4 vectors wide two rows are walked side by side. B's rows are walked in blocks,
 * over all rows of C; where a block ends in a list is found by comparing entries (a list ends with
 * a number larger than any entry). Each (row, block) costs a mispredicted loop end, so blocks are
 * larger than L1: their often used rows still fit. Panels of a B so wide that its rows would share
 * few sets of L1 are copied block by block, the next block prefetched meanwhile.
 *
 * Gradient. A tile of GROUP columns of A by up to TILE_VECTORS vectors of B is summed in registers
 * over those rows that are not zero in all of these columns. Neighbouring pixels are zero together:
 * of MNIST's pixels 19% are not zero, of groups of 4 pixels 28%, so that a tile does a third more
 * FMAs than needed and everything else only once for four pixels. Which rows to visit is a mask of
 * 64 rows for each (group, 64 rows of a shard): rows are compared 64 or 32 columns at a time, and
 * the matrix of bits is transposed. The bytes are copied on the way, so that tiles read them from a
 * few pages instead of as many as there are rows.
 */
#include "simd/kernels_internal.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

enum {
    GROUP = 4,              /* columns of a gradient tile */
    WORD = 64,              /* rows of a mask */
    LINE = 16,              /* floats in a cache line */
    LIST_VECTORS = 8,       /* widest panel of the forward product */
    LIST_ROWS = 256,        /* rows of C walked block by block */
    LIST_BLOCK = 112 << 10, /* bytes of B in such a block, at most */
    PACK_STRIDE = 128, /* floats: rows of B a multiple of this apart share too few sets of L1 */
    PACK_ROWS = 16,    /* from so many rows of C on, copying B to rows of another stride pays */
    COPY_BYTES = 256 << 10, /* of A copied at a time (a chunk of columns at the least) */
};

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t divide_up(size_t a, size_t b) {
    return (a + b - 1) / b;
}

/* Vectors of the next panel, n columns from the end: panels are as even as they go. */
static size_t panel_vectors(size_t n, size_t widest) {
    size_t vectors = divide_up(n, LANES);
    return divide_up(vectors, divide_up(vectors, widest));
}

static ALWAYS_INLINE void load_row(size_t vectors, vec_mask last, const float *row, vec x[]) {
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        x[v] = vec_load(row + v * LANES);
    x[vectors - 1] = vec_load_masked(last, row + (vectors - 1) * LANES);
}

static ALWAYS_INLINE void store_row(size_t vectors, vec_mask last, const vec x[], float *row) {
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        vec_store(row + v * LANES, x[v]);
    vec_store_masked(last, row + (vectors - 1) * LANES, x[vectors - 1]);
}

/* Rows of a panel, contiguous and full vectors wide. */
static void pack_panel(size_t rows, size_t columns, const float *b, size_t ldb, float *panel,
                       size_t width) {
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < columns; j += LANES)
            vec_store(panel + j, vec_load_masked(vec_first(min_size(columns - j, LANES)), b + j));
        b += ldb;
        panel += width;
    }
}

/* --- forward --- */

typedef struct list_panel {
    size_t rows, columns;   /* of C; columns <= LIST_VECTORS * LANES */
    const uint32_t **entry; /* where each row's walk stands */
    uint32_t limit;         /* the first entry behind this block */
    const float *value, *b;
    size_t ldb;
    const float *bias; /* where the chains start unless resume is set; NULL: +0 */
    float *c;
    size_t ldc;
    bool resume, finish; /* go on from C; add +0.0f at the end */
    const float *next;   /* rows of B that will be packed next, to be in L2 by then */
    size_t next_rows, next_ldb;
    const pt_sparse_row *ahead; /* rows whose lists to prefetch, or NULL */
} list_panel;

/* Row i of C prefetches its share of the next block. */
static ALWAYS_INLINE void prefetch_next(const list_panel *p, size_t vectors, size_t i) {
    const size_t share = divide_up(p->next_rows, p->rows);
    const size_t end = min_size((i + 1) * share, p->next_rows);
    for (size_t r = i * share; r < end; r++) {
        UNROLL
        for (size_t v = 0; v < vectors * LANES; v += LINE)
            __builtin_prefetch(p->next + r * p->next_ldb + v, 0, 2);
    }
}

static ALWAYS_INLINE void prefetch_list(const uint32_t *entry) {
    enum { LIST_LINES = 10 }; /* of 150 entries, as MNIST's rows have */
    for (size_t line = 0; line < LIST_LINES; line++)
        __builtin_prefetch(entry + line * LINE, 0, 2);
}

static ALWAYS_INLINE void add_entry(const list_panel *p, size_t vectors, vec_mask last,
                                    uint32_t entry, vec acc[]) {
    const float *row = p->b + (size_t)(entry >> 8) * p->ldb;
    const vec x = vec_set(p->value[entry & 255]);
    UNROLL
    for (size_t v = 0; v + 1 < vectors; v++)
        acc[v] = vec_fma(x, vec_load(row + v * LANES), acc[v]);
    acc[vectors - 1] =
        vec_fma(x, vec_load_masked(last, row + (vectors - 1) * LANES), acc[vectors - 1]);
}

static ALWAYS_INLINE void start_row(const list_panel *p, size_t vectors, vec_mask last, size_t i,
                                    vec acc[]) {
    if (p->resume) {
        load_row(vectors, last, p->c + i * p->ldc, acc);
    } else if (p->bias) {
        load_row(vectors, last, p->bias, acc);
    } else {
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            acc[v] = vec_zero();
    }
}

static ALWAYS_INLINE void finish_row(const list_panel *p, size_t vectors, vec_mask last, size_t i,
                                     const uint32_t *entry, vec acc[]) {
    if (p->next_rows)
        prefetch_next(p, vectors, i);
    if (p->ahead)
        prefetch_list(p->ahead[i].entry);
    const uint32_t limit = p->limit;
    uint32_t e = *entry;
    while (e < limit) {
        const uint32_t now = e;
        e = *++entry;
        add_entry(p, vectors, last, now, acc);
    }
    p->entry[i] = entry;
    if (p->finish) {
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            acc[v] = vec_add(acc[v], vec_zero());
    }
    store_row(vectors, last, acc, p->c + i * p->ldc);
}

static ALWAYS_INLINE void walk_lists(const list_panel *panel, size_t vectors) {
    const list_panel p = *panel;
    const vec_mask last = vec_first(p.columns - (vectors - 1) * LANES);
    size_t i = 0;
    if (vectors <= 4) {
        for (; i + 2 <= p.rows; i += 2) {
            vec x[4], y[4];
            start_row(&p, vectors, last, i, x);
            start_row(&p, vectors, last, i + 1, y);
            const uint32_t *in_x = p.entry[i], *in_y = p.entry[i + 1];
            uint32_t ex = *in_x, ey = *in_y;
            while (ex < p.limit && ey < p.limit) {
                const uint32_t now_x = ex, now_y = ey;
                ex = *++in_x;
                ey = *++in_y;
                add_entry(&p, vectors, last, now_x, x);
                add_entry(&p, vectors, last, now_y, y);
            }
            finish_row(&p, vectors, last, i, in_x, x);
            finish_row(&p, vectors, last, i + 1, in_y, y);
        }
    }
    for (; i < p.rows; i++) {
        vec x[LIST_VECTORS];
        start_row(&p, vectors, last, i, x);
        finish_row(&p, vectors, last, i, p.entry[i], x);
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

/* Rows of B in a block of the forward product. */
static size_t list_block(size_t vectors, size_t k) {
    const size_t limit = LIST_BLOCK / (vectors * LANES * sizeof(float));
    return k > limit ? divide_up(k, divide_up(k, limit)) : k;
}

static void sparse_nn(size_t m, size_t n, size_t k, const pt_sparse_row *a, const float *value,
                      const float *b, size_t ldb, const float *bias, float *c, size_t ldc,
                      const pt_sparse_row *ahead, void *scratch) {
    assert(k <= PT_SPARSE_MAX_COLUMNS);
    if (m == 0 || n == 0)
        return;
    const uint32_t *entry[LIST_ROWS];
    size_t width;
    for (size_t j = 0; j < n; j += width) {
        const size_t vectors = panel_vectors(n - j, LIST_VECTORS);
        width = vectors * LANES;
        const size_t block = list_block(vectors, k);
        const bool pack = m >= PACK_ROWS && n > width && ldb % PACK_STRIDE == 0;
        for (size_t i = 0; i < m; i += LIST_ROWS) {
            list_panel p = {.rows = min_size(m - i, LIST_ROWS),
                            .columns = min_size(n - j, width),
                            .entry = entry,
                            .value = value,
                            .bias = bias ? bias + j : NULL,
                            .c = c + i * ldc + j,
                            .ldc = ldc};
            for (size_t r = 0; r < p.rows; r++)
                entry[r] = a[i + r].entry;
            size_t l = 0;
            do {
                const size_t rows = min_size(k - l, block);
                p.limit = (uint32_t)(l + rows) << 8;
                p.resume = l > 0;
                p.ahead = ahead && l == 0 && j == 0 ? ahead + i : NULL;
                p.finish = l + rows == k;
                p.b = b + j;
                p.ldb = ldb;
                if (pack) {
                    const bool more = l + rows < k;
                    p.next = more ? b + (l + rows) * ldb + j : b + j + width;
                    p.next_rows = more || j + width < n ? min_size(block, k - l) : 0;
                    p.next_ldb = ldb;
                    pack_panel(rows, p.columns, b + l * ldb + j, ldb, scratch, width);
                    /* where row 0 would be */
                    p.b = (const float *)((uintptr_t)scratch - l * width * sizeof(float));
                    p.ldb = width;
                }
                walk_functions[vectors](&p);
                l += rows;
            } while (l < k);
        }
    }
}

/* --- gradient --- */

/* One row of tiles: the same columns of B, all groups. */
typedef struct tile_row {
    size_t columns; /* of B and C; <= TILE_VECTORS * LANES */
    const pt_shards *shards;
    size_t words;           /* masks of a group: for each shard, one for each WORD rows begun */
    const uint64_t *masks;  /* [groups][words] */
    const uint8_t *copy;    /* [chunks][rows][CHUNK] */
    const float *value, *b; /* b: row 0 is the first shard's first */
    size_t ldb;
    float *c;
    size_t ldc;
} tile_row;

/* `columns` columns of A, whose first byte in the first row is *copy. */
static ALWAYS_INLINE void sum_tile(const tile_row *t, size_t columns, size_t vectors, vec_mask last,
                                   const uint64_t *masks, const uint8_t *copy, float *c) {
    vec stack[PT_MAX_SHARD_DEPTH][GROUP * TILE_VECTORS], acc[GROUP * TILE_VECTORS];
    const pt_shards *shards = t->shards;
    const float *const value = t->value, *b = t->b;
    const size_t ldb = t->ldb, accumulators = columns * vectors;
    size_t depth = 0;
    bool lower_is_shard = false;
    UNROLL
    for (size_t i = 0; i < columns; i++) {
        UNROLL
        for (size_t v = 0; v < vectors * LANES; v += LINE)
            __builtin_prefetch(c + i * t->ldc + v, 1, 3);
    }
    for (size_t s = 0;; s++) {
        size_t merges = shards->merges[s];
        UNROLL
        for (size_t x = 0; x < accumulators; x++)
            acc[x] = vec_zero();
        for (size_t left = shards->row[s + 1] - shards->row[s]; left > 0;) {
            for (uint64_t mask = *masks++; mask; mask &= mask - 1) {
                const size_t r = (unsigned)__builtin_ctzll(mask);
                const uint8_t *const bytes = copy + r * CHUNK;
                vec bv[TILE_VECTORS];
                load_row(vectors, last, b + r * ldb, bv);
                UNROLL
                for (size_t i = 0; i < columns; i++) {
                    const vec x = vec_set(value[bytes[i]]);
                    UNROLL
                    for (size_t v = 0; v < vectors; v++)
                        acc[i * vectors + v] = vec_fma(x, bv[v], acc[i * vectors + v]);
                }
            }
            const size_t rows = min_size(left, WORD);
            copy += rows * CHUNK;
            b += rows * ldb;
            left -= rows;
        }
        /* As in gemm_tile_body.h: of two shards merged with each other, only the lower one needs
         * its +0.0f. */
        if (merges == 0 || !lower_is_shard) {
            UNROLL
            for (size_t x = 0; x < accumulators; x++)
                acc[x] = vec_add(acc[x], vec_zero());
        }
        lower_is_shard = merges == 0;
        assert(depth >= merges);
        for (; merges > 0; merges--) {
            depth--;
            UNROLL
            for (size_t x = 0; x < accumulators; x++)
                acc[x] = vec_add(stack[depth][x], acc[x]);
        }
        if (s + 1 == shards->count)
            break;
        assert(depth + 1 < PT_MAX_SHARD_DEPTH);
        UNROLL
        for (size_t x = 0; x < accumulators; x++)
            stack[depth][x] = acc[x];
        depth++;
    }
    assert(depth == 0);
    UNROLL
    for (size_t i = 0; i < columns; i++)
        store_row(vectors, last, acc + i * vectors, c + i * t->ldc);
}

static bool all_zero(const uint64_t *masks, size_t words) {
    uint64_t any = 0;
    for (size_t w = 0; w < words; w++)
        any |= masks[w];
    return any == 0;
}

static ALWAYS_INLINE void sum_tiles(const tile_row *t, size_t from, size_t to, size_t vectors) {
    const vec_mask last = vec_first(t->columns - (vectors - 1) * LANES);
    const size_t rows = t->shards->row[t->shards->count] - t->shards->row[0];
    const uint64_t *masks = t->masks;
    for (size_t x = from; x < to; x += GROUP) {
        const size_t columns = min_size(to - x, GROUP);
        const uint8_t *copy = t->copy + (x - from) / CHUNK * rows * CHUNK + (x - from) % CHUNK;
        float *c = t->c + (x - from) * t->ldc;
        if (all_zero(masks, t->words)) {
            vec zero[TILE_VECTORS];
            UNROLL
            for (size_t v = 0; v < vectors; v++)
                zero[v] = vec_zero();
            for (size_t i = 0; i < columns; i++)
                store_row(vectors, last, zero, c + i * t->ldc);
        } else if (columns == GROUP) {
            sum_tile(t, GROUP, vectors, last, masks, copy, c);
        } else {
            for (size_t i = 0; i < columns; i++)
                sum_tile(t, 1, vectors, last, masks, copy + i, c + i * t->ldc);
        }
        masks += t->words;
    }
}

typedef void (*tiles_function)(const tile_row *t, size_t from, size_t to);
#define DEFINE_TILES(v)                                                                            \
    static void sum_tiles_##v(const tile_row *t, size_t from, size_t to) {                         \
        sum_tiles(t, from, to, v);                                                                 \
    }
TILE_LIST(DEFINE_TILES)
#define TILES_ENTRY(v) sum_tiles_##v,
static const tiles_function tiles_functions[TILE_VECTORS + 1] = {NULL, TILE_LIST(TILES_ENTRY)};

/* Masks of a group. */
static size_t count_words(const pt_shards *shards) {
    size_t words = 0;
    for (size_t s = 0; s < shards->count; s++)
        words += divide_up(shards->row[s + 1] - shards->row[s], WORD);
    return words;
}

/* Columns from .. to-1 of A's rows: copied chunk by chunk, and the masks of their groups. */
static void prepare_tiles(const pt_shards *shards, const pt_sparse_row *a, size_t from, size_t to,
                          size_t words, uint8_t *copy, uint64_t *masks) {
    for (size_t x = from; x < to; x += CHUNK) {
        const size_t columns = min_size(to - x, CHUNK), groups = divide_up(columns, GROUP);
        size_t w = 0;
        for (size_t s = 0; s < shards->count; s++) {
            for (size_t row = shards->row[s]; row < shards->row[s + 1]; row += WORD) {
                const size_t rows = min_size(shards->row[s + 1] - row, WORD);
                group_bits bits[WORD];
                for (size_t r = 0; r < rows; r++) {
                    bits[r] = chunk_groups(a[row + r].bytes + x, columns, copy);
                    copy += CHUNK;
                }
                for (size_t r = rows; r < WORD; r++)
                    bits[r] = 0;
                transpose_groups(bits, rows, groups, masks + w, words);
                w++;
            }
        }
        masks += groups * words;
    }
}

static size_t align_up(size_t bytes) {
    return divide_up(bytes, 64) * 64;
}

/* Columns of A prepared at a time. */
static size_t copy_columns(size_t rows, size_t columns) {
    size_t chunks = COPY_BYTES / CHUNK / (rows + 1);
    return min_size(divide_up(columns, CHUNK), chunks > 0 ? chunks : 1) * CHUNK;
}

static void sparse_tn(size_t begin, size_t end, size_t n, const pt_shards *shards,
                      const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                      float *c, size_t ldc, void *scratch) {
    if (begin == end || n == 0)
        return;
    const size_t first = shards->row[0], rows = shards->row[shards->count] - first;
    const size_t words = count_words(shards), block = copy_columns(rows, end - begin);
    uint8_t *copy = scratch;
    uint64_t *masks = (uint64_t *)(void *)(copy + rows * block);
    float *panel =
        (float *)(void *)((char *)masks + align_up(block / GROUP * words * sizeof *masks));
    const bool pack = n > TILE_VECTORS * LANES && ldb % PACK_STRIDE == 0;
    b += first * ldb;
    for (size_t from = begin; from < end; from += block) {
        const size_t to = min_size(from + block, end);
        prepare_tiles(shards, a, from, to, words, copy, masks);
        size_t width;
        for (size_t j = 0; j < n; j += width) {
            const size_t vectors = panel_vectors(n - j, TILE_VECTORS);
            width = vectors * LANES;
            tile_row t = {.columns = min_size(n - j, width),
                          .shards = shards,
                          .words = words,
                          .masks = masks,
                          .copy = copy,
                          .value = value,
                          .b = b + j,
                          .ldb = ldb,
                          .c = c + (from - begin) * ldc + j,
                          .ldc = ldc};
            if (pack) {
                pack_panel(rows, t.columns, b + j, ldb, panel, width);
                t.b = panel;
                t.ldb = width;
            }
            tiles_functions[vectors](&t, from, to);
        }
    }
}

/* For both products. A shard begins a word, so there may be PT_MAX_SHARDS words more than rows
 * fill. */
static size_t sparse_scratch(size_t rows, size_t n, size_t columns) {
    const size_t list_width = min_size(divide_up(n, LANES), LIST_VECTORS) * LANES;
    const size_t nn = min_size(columns * list_width * sizeof(float), LIST_BLOCK + 1024);
    const size_t words = divide_up(rows, WORD) + min_size(rows, PT_MAX_SHARDS);
    const size_t block = divide_up(columns, CHUNK) * CHUNK;
    const size_t most = rows * CHUNK > COPY_BYTES ? rows * CHUNK : COPY_BYTES;
    const size_t masks = align_up(block / GROUP * words * sizeof(uint64_t));
    const size_t panel = rows * min_size(divide_up(n, LANES), TILE_VECTORS) * LANES * sizeof(float);
    const size_t tn = min_size(rows * block, most) + masks + panel;
    return nn > tn ? nn : tn;
}
