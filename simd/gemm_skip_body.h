/* gemm_skip_body.h: matrix products that list the nonzero elements of their left factor and skip the
 * others; written once for every vector width. Included after lanes_avx2.h or lanes_avx512.h and
 *   load_transposed, pack_transposed   transpose_avx2.h, transpose_avx512.h
 *   FLOAT_ROWS, BYTE_ROWS, COLUMNS     how nn and nt of floats, nn of bytes, and tn are blocked
 *   ROWS_WIDTHS(X), COLUMNS_WIDTHS(X)  the vectors of panels there can be of PT_SKIP_LEAST_COLUMNS
 *                                      columns or more; of bytes, of as many as lists_pay asks for
 *   count_nonzero_lanes(x)
 *   add_in_fours(value, place, count, panel, vectors, acc)   the products of as many of `count`
 *                                      entries as are added four at a time; their number is returned
 *   append_nonzero(x, offset, step, value, place)   of each lane i of x that is not zero: x[i] and
 *                                      offset + i * step, in order; LANES places are written, the
 *                                      number that count is returned
 *
 * A row of C is a sum of rows of B, one for each nonzero element of the row of A. A dense tile uses
 * each load of B for several rows of C, which have their zeros in different places; here each FMA
 * loads its own B, so B must come from L1. As many rows of a panel of B as fit it are packed, and
 * all rows of C walk that block: a chain a vector hides the 4 cycles of an FMA, and for each nonzero
 * element as many FMAs wait for as many loads of B and two of its list (for each four, where that is
 * faster). Where half of A is zero that is half the arithmetic at nearly the rate of tiles.
 *
 * Lists are made once for all panels of B: for each block of B and each row of C, the values, and
 * how far into the packed block their rows of B lie.
 */
#include "simd/gemm_skip.h"
#include "simd/lane_rows.h"
#include "simd/sparse_bits.h"

#include <assert.h>

enum {
    SKIP_VECTORS = 12,           /* widest panel of all */
    SKIP_PANEL_BYTES = 48 << 10, /* largest block of all */
    SKIP_SAMPLE = 16,            /* rows of A that are looked at, at most */
    SKIP_DENSITY = 60,           /* percent of A at most; else tiles are faster */
};

/* Nonzero elements, and the floats from the start of the packed block of B to their rows. */
typedef struct skip_list {
    float *value;
    uint16_t *place;
} skip_list;

static size_t align_up(size_t bytes) {
    return divide_up(bytes, 64) * 64;
}

static skip_list take_list(char **scratch, size_t entries) {
    skip_list list = {.value = (float *)(void *)*scratch};
    *scratch += align_up(entries * sizeof *list.value);
    list.place = (uint16_t *)(void *)*scratch;
    *scratch += align_up(entries * sizeof *list.place);
    return list;
}

static skip_list list_from(const skip_list *list, size_t entry) {
    return (skip_list){list->value + entry, list->place + entry};
}

static size_t list_bytes(size_t entries) {
    return align_up(entries * sizeof(float)) + align_up(entries * sizeof(uint16_t));
}

/* The widest panel of n columns, in floats; and rows of B in a block of such panels. */
static size_t skip_width(const pt_skip_blocking *blocking, size_t n) {
    return even_panel_vectors(n, LANES, blocking->vectors) * LANES;
}

static size_t skip_block_rows(const pt_skip_blocking *blocking, size_t width) {
    assert(blocking->bytes <= SKIP_PANEL_BYTES);
    return blocking->bytes / (width * sizeof(float)) / LANES * LANES;
}

/* acc += the products of entries from .. to-1. */
static ALWAYS_INLINE void add_entries(const skip_list *list, size_t from, size_t to,
                                      const float *panel, size_t vectors, vec acc[]) {
    from += add_in_fours(list->value + from, list->place + from, to - from, panel, vectors, acc);
    for (; from < to; from++)
        add_product(vec_broadcast(&list->value[from]), panel + list->place[from], vectors, acc);
}

/* The same of a row's many, in a loop that is aligned: its 80 bytes of code in three lines instead of two
 * cost 3%. For few entries that, and asking before it, would cost 2% instead. */
static ALWAYS_INLINE void add_many_entries(const skip_list *list, size_t from, size_t to,
                                           const float *panel, size_t vectors, vec acc[]) {
    from += add_in_fours(list->value + from, list->place + from, to - from, panel, vectors, acc);
    if (from == to)
        return;
    __asm__ volatile(".p2align 5");
    do
        add_product(vec_broadcast(&list->value[from]), panel + list->place[from], vectors, acc);
    while (++from < to);
}

static bool skip_pays(size_t rows, size_t columns, const float *a, size_t lda) {
    const size_t step = divide_up(rows, SKIP_SAMPLE);
    size_t looked = 0, nonzero = 0;
    for (size_t r = 0; r < rows; r += step) {
        for (size_t c = 0; c < columns; c += LANES)
            nonzero += count_nonzero_lanes(
                vec_load_masked(vec_first(min_size(columns - c, LANES)), a + r * lda + c));
        looked += columns;
    }
    return nonzero * 100 <= looked * SKIP_DENSITY;
}

/* --- nn and nt --- */

enum {
    ROWS_LEAST = 32,          /* of C: fewer don't pay for packing B */
    ROWS_LEAST_STEPS = 64,    /* of k */
    ROWS_MAX_STEPS = 4096,    /* of k, so that lists of ROWS_LEAST rows fit .. */
    ROWS_ENTRIES = 128 << 10, /* .. the entries there is room for */
    LIST_AHEAD = 2, /* rows of A, which another core may have written: asked for so much ahead */
};

static bool skip_rows_fit(size_t m, size_t n, size_t k) {
    return m >= ROWS_LEAST && n >= PT_SKIP_LEAST_COLUMNS && ROWS_LEAST_STEPS <= k &&
           k <= ROWS_MAX_STEPS;
}

/* Rows of C by one block of a panel of B. */
typedef struct rows_block {
    size_t rows, columns;
    const skip_list *list;
    const uint32_t *start; /* where the entries of each row begin, and of one row more */
    const float *panel;
    const float *bias; /* where the chains start unless resume is set; NULL: +0 */
    const float *from; /* sums so far, if resume is set */
    float *to;         /* where they go */
    size_t from_ld, to_ld;
    bool resume, ends; /* go on from sums; the chains end here, in C */
    pt_gemm_finish finish;
    const float *next; /* the next block of B where it lies, to be in L2 by the time it is packed */
    size_t next_rows, next_columns, next_ldb;
    const pt_sparse_row *ahead; /* rows whose lists to prefetch, or NULL */
} rows_block;

/* The next block of B, asked for in parts of PART_LINES lines: for each row of C the same number. */
enum { PART_LINES = 4, PART_FLOATS = PART_LINES * 64 / (int)sizeof(float) };
typedef struct next_parts {
    const float *row, *part;
    size_t ldb, columns;
    size_t left, share; /* parts in all, and for a row of C */
} next_parts;

static next_parts start_parts(const rows_block *w) {
    const size_t left = w->next_rows * divide_up(w->next_columns, PART_FLOATS);
    return (next_parts){.row = w->next,
                        .part = w->next,
                        .ldb = w->next_ldb,
                        .columns = w->next_columns,
                        .left = left,
                        .share = divide_up(left, w->rows)};
}

static ALWAYS_INLINE void prefetch_parts(next_parts *x) {
    const size_t count = min_size(x->share, x->left);
    x->left -= count;
    for (size_t p = 0; p < count; p++) {
        UNROLL
        for (size_t line = 0; line < PART_LINES; line++)
            __builtin_prefetch(x->part + line * 64 / sizeof(float), 0, 2);
        x->part += PART_FLOATS;
        if (x->part >= x->row + x->columns)
            x->part = x->row += x->ldb;
    }
}

static ALWAYS_INLINE void walk_rows_block(const rows_block *w, size_t vectors) {
    const vec_mask last = vec_first(w->columns - (vectors - 1) * LANES);
    const skip_list list = *w->list;
    next_parts next = start_parts(w);
    const float *sums = w->from;
    float *c = w->to;
    for (size_t i = 0; i < w->rows; i++, sums += w->from_ld, c += w->to_ld) {
        prefetch_parts(&next);
        if (w->ahead)
            prefetch_list(&w->ahead[i]);
        const size_t from = w->start[i], to = w->start[i + 1];
        if (from == to && w->resume && sums == c && !w->ends)
            continue;
        vec acc[SKIP_VECTORS];
        if (w->resume) {
            load_row(vectors, last, sums, acc);
        } else if (w->bias) {
            load_row(vectors, last, w->bias, acc);
        } else {
            UNROLL
            for (size_t v = 0; v < vectors; v++)
                acc[v] = vec_zero();
        }
        add_many_entries(&list, from, to, w->panel, vectors, acc);
        if (w->ends)
            finish_rows(1, vectors, last, w->finish, c, 0, acc);
        store_row(vectors, last, acc, c);
    }
}

typedef void (*walk_rows_function)(const rows_block *w);
#define DEFINE_WALK_ROWS(v)                                                                        \
    static void walk_rows_block_##v(const rows_block *w) {                                         \
        walk_rows_block(w, v);                                                                     \
    }
ROWS_WIDTHS(DEFINE_WALK_ROWS)
#define WALK_ROWS_ENTRY(v) [v] = walk_rows_block_##v,
static const walk_rows_function walk_rows_functions[SKIP_VECTORS + 1] = {
    ROWS_WIDTHS(WALK_ROWS_ENTRY)};

/* Rows i .. i+rows-1, steps l .. l+steps-1 of floats. Returns the end of the list. */
static size_t list_float_rows(const pt_skip_product *p, size_t i, size_t rows, size_t l,
                              size_t steps, size_t width, const skip_list *list, uint32_t *start,
                              size_t size) {
    for (size_t r = 0; r < rows; r++) {
        const float *a = p->a + (i + r) * p->lda + l;
        start[r] = (uint32_t)size;
        for (size_t x = 0; x < steps; x += LANES) {
            __builtin_prefetch(a + LIST_AHEAD * p->lda + x);
            size += append_nonzero(vec_load_masked(vec_first(min_size(steps - x, LANES)), a + x),
                                   x * width, width, list->value + size, list->place + size);
        }
    }
    start[rows] = (uint32_t)size;
    return size;
}

/* The same of bytes; seen: how many of each row's bytes come before l. */
static size_t list_byte_rows(const pt_skip_product *p, size_t i, size_t rows, size_t l,
                             size_t steps, size_t width, const skip_list *list, uint32_t *start,
                             size_t size, uint32_t *seen) {
    for (size_t r = 0; r < rows; r++) {
        const pt_sparse_row *row = &p->row[i + r];
        const size_t count = count_bits(row->bitmap, l, l + steps);
        start[r] = (uint32_t)size;
        for (size_t e = seen[r]; e < seen[r] + count; e++, size++) {
            list->value[size] = p->byte_value[row->byte[e]];
            list->place[size] = (uint16_t)((row->column[e] - l) * width);
        }
        seen[r] += (uint32_t)count;
    }
    start[rows] = (uint32_t)size;
    return size;
}

/* Rows i .. i+rows-1: the list of each block of `steps` of k; those of block x start at
 * start[x * (rows + 1)]. */
static void list_rows(const pt_skip_product *p, size_t i, size_t rows, size_t steps, size_t width,
                      const skip_list *list, uint32_t *start, uint32_t *seen) {
    size_t size = 0;
    if (!p->a) {
        for (size_t r = 0; r < rows; r++)
            seen[r] = (uint32_t)count_bits(p->row[i + r].bitmap, 0, p->begin);
    }
    for (size_t l = p->begin; l < p->end; l += steps, start += rows + 1) {
        const size_t here = min_size(steps, p->end - l);
        size = p->a ? list_float_rows(p, i, rows, l, here, width, list, start, size)
                    : list_byte_rows(p, i, rows, l, here, width, list, start, size, seen);
    }
}

/* Rows of C whose lists are made together. */
static size_t rows_together(size_t m, size_t k) {
    return divide_up(m, divide_up(m, min_size(m, ROWS_ENTRIES / k)));
}

/* There are blocks * (rows together + 1) starts: at most k / least + 1 blocks of so many steps or more,
 * and rows * k <= entries. Parts of k (bytes) and panels less wide have fewer blocks. */
static size_t skip_rows_scratch(size_t m, size_t k) {
    k = min_size(k, ROWS_MAX_STEPS);
    const size_t entries = min_size(m * k, ROWS_ENTRIES);
    const size_t rows = min_size(m, ROWS_ENTRIES / ROWS_LEAST_STEPS);
    const size_t widest = max_size(FLOAT_ROWS.vectors, BYTE_ROWS.vectors) * LANES;
    const size_t least_steps = min_size(skip_block_rows(&FLOAT_ROWS, FLOAT_ROWS.vectors * LANES),
                                        skip_block_rows(&BYTE_ROWS, BYTE_ROWS.vectors * LANES));
    const size_t starts = entries / least_steps + k / least_steps + 2 * rows + 2;
    return SKIP_PANEL_BYTES + rows * widest * sizeof(float) + list_bytes(entries + LANES) +
           align_up((starts + rows) * sizeof(uint32_t));
}

static void skip_rows(const pt_skip_product *p, void *scratch) {
    const pt_skip_blocking *blocking = p->a ? &FLOAT_ROWS : &BYTE_ROWS;
    const size_t width = skip_width(blocking, p->n), k = p->end - p->begin;
    assert(p->begin < p->end && p->end <= p->k && skip_rows_fit(p->m, p->n, p->k));
    const size_t most = skip_block_rows(blocking, width);
    const size_t steps = divide_up(divide_up(k, divide_up(k, most)), LANES) * LANES;
    const size_t together = rows_together(p->m, p->k);
    char *room = scratch;
    float *panel = scratch;
    room += SKIP_PANEL_BYTES;
    float *kept = (float *)(void *)room;
    room += together * width * sizeof *kept;
    const skip_list list = take_list(&room, together * p->k + LANES);
    uint32_t *start = (uint32_t *)(void *)room;
    uint32_t *seen = start + divide_up(k, steps) * (together + 1);
    assert((char *)(seen + together) <= (char *)scratch + skip_rows_scratch(p->m, p->k));
    for (size_t i = 0; i < p->m; i += together) {
        const size_t rows = min_size(together, p->m - i);
        list_rows(p, i, rows, steps, width, &list, start, seen);
        size_t vectors;
        for (size_t j = 0; j < p->n; j += vectors * LANES) {
            vectors = even_panel_vectors(p->n - j, LANES, blocking->vectors);
            const size_t columns = min_size(vectors * LANES, p->n - j);
            rows_block w = {.rows = rows,
                            .columns = columns,
                            .list = &list,
                            .start = start,
                            .panel = panel,
                            .bias = p->bias ? p->bias + j : NULL,
                            .finish = p->finish,
                            .from = p->c + i * p->ldc + j,
                            .from_ld = p->ldc,
                            .next_ldb = p->ldb};
            for (size_t l = p->begin; l < p->end; l += steps, w.start += rows + 1) {
                const size_t here = min_size(steps, p->end - l), after = l + here;
                const size_t next_l = after < p->end ? after : p->begin;
                const size_t next_j = after < p->end ? j : j + vectors * LANES;
                const size_t next_steps = min_size(steps, p->end - next_l);
                const size_t next_width =
                    next_j < p->n ? min_size(vectors * LANES, p->n - next_j) : 0;
                if (p->transposed)
                    pack_transposed(columns, here, p->b + j * p->ldb + l, p->ldb, panel, width);
                else
                    pack_panel(here, columns, p->b + l * p->ldb + j, p->ldb, panel, width);
                w.next_rows = w.next_columns = 0;
                if (next_width > 0) {
                    const size_t row = p->transposed ? next_j : next_l;
                    const size_t column = p->transposed ? next_l : next_j;
                    w.next = p->b + row * p->ldb + column;
                    w.next_rows = p->transposed ? next_width : next_steps;
                    w.next_columns = p->transposed ? next_steps : next_width;
                }
                w.ahead = p->ahead && j == 0 && l == p->begin ? p->ahead + i : NULL;
                w.resume = l > 0;
                w.ends = after == p->k;
                const bool whole = after == p->end;
                w.to = whole ? p->c + i * p->ldc + j : kept;
                w.to_ld = whole ? p->ldc : width;
                assert(walk_rows_functions[vectors]);
                walk_rows_functions[vectors](&w);
                w.from = kept;
                w.from_ld = width;
            }
        }
    }
}
