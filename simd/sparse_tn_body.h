/* sparse_tn_body.h: gradient to the weights where the left factor is rows of bytes, most of them
 * zero; written once for every vector width. Included after lanes_avx2.h or lanes_avx512.h and
 *   TILE_VECTORS, TILE_LIST(X)         widest tile, X(vectors) up to it: it takes
 *                                      (GROUP + 1) * vectors + 1 registers
 *   CHUNK, group_bits                  columns looked at at a time, and an integer of CHUNK / GROUP
 *                                      bits
 *   expand_chunk(bits, byte, chunk)    spreads the bytes of CHUNK columns, of which `bits` tells
 *                                      those that are not zero; returns the groups that are not all
 *                                      zero
 *   transpose_groups                   64 rows' group_bits to one mask of rows per group
 *
 * A tile of GROUP columns of A by up to TILE_VECTORS vectors of B is summed in registers over those
 * rows that are not zero in all of these columns. Neighbouring pixels are zero together: of MNIST's
 * pixels 19% are not zero, of groups of 4 pixels 28%, so that a tile does a third more FMAs than
 * needed and everything else only once for four pixels. Which rows to visit is a mask of 64 rows for
 * each (group, 64 rows of a shard): rows are spread out CHUNK columns at a time, and the matrix of
 * bits is transposed. Tiles read the bytes from these chunks, a few pages in cache.
 */
#include "simd/kernels_internal.h"
#include "simd/lane_rows.h"
#include "simd/sparse_bits.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum {
    GROUP = 4,          /* columns of a tile */
    WORD = 64,          /* rows of a mask */
    FEW_ROWS = 4,       /* to look which of so few are zero costs more than it saves */
    TN_BYTES = 4 << 20, /* of A spread out at a time (a chunk of columns at the least) */
    MASK_ALIGNMENT = 64,
};

/* One row of tiles: the same columns of B, all groups. */
typedef struct tile_row {
    size_t columns; /* of B and C; <= TILE_VECTORS * LANES */
    const pt_shards *shards;
    size_t words;           /* masks of a group: for each shard, one for each WORD rows begun */
    const uint64_t *masks;  /* [groups][words] */
    const uint8_t *chunks;  /* [chunks][rows][CHUNK] */
    const float *value, *b; /* b: row 0 is the first shard's first */
    size_t ldb;
    const float *rate; /* as sparse_tn */
    float *c;
    size_t ldc;
} tile_row;

/* Row r of a shard: its bytes in these columns, each times row r of b. `first`: the chains start with
 * it, from +0 (of which a product that is -0 makes +0; that is left to who adds +0 later). */
static ALWAYS_INLINE void add_row(const tile_row *t, size_t columns, size_t vectors, vec_mask last,
                                  bool first, size_t r, const uint8_t *bytes, const float *b,
                                  vec acc[]) {
    vec bv[TILE_VECTORS];
    load_row(vectors, last, b + r * t->ldb, bv);
    UNROLL
    for (size_t i = 0; i < columns; i++) {
        const float *x = &t->value[bytes[r * CHUNK + i]];
        if (!first)
            multiply_row(vectors, x, bv, acc + i * vectors);
        UNROLL
        for (size_t v = 0; first && v < vectors; v++)
            acc[i * vectors + v] = vec_mul(vec_broadcast(x), bv[v]);
    }
}

/* The chains of one shard of one row or more. Moves masks, bytes and b behind it. */
static ALWAYS_INLINE void sum_shard(const tile_row *t, size_t columns, size_t vectors,
                                    vec_mask last, size_t shard_rows, const uint64_t **masks,
                                    const uint8_t **bytes, const float **b, vec acc[]) {
    if (shard_rows <= FEW_ROWS) {
        add_row(t, columns, vectors, last, true, 0, *bytes, *b, acc);
        for (size_t r = 1; r < shard_rows; r++)
            add_row(t, columns, vectors, last, false, r, *bytes, *b, acc);
        *masks += 1;
        *bytes += shard_rows * CHUNK;
        *b += shard_rows * t->ldb;
        return;
    }
    UNROLL
    for (size_t x = 0; x < columns * vectors; x++)
        acc[x] = vec_zero();
    for (size_t left = shard_rows; left > 0;) {
        const size_t rows = min_size(left, WORD);
        for (uint64_t mask = *(*masks)++; mask; mask &= mask - 1)
            add_row(t, columns, vectors, last, false, (unsigned)__builtin_ctzll(mask), *bytes, *b,
                    acc);
        *bytes += rows * CHUNK;
        *b += rows * t->ldb;
        left -= rows;
    }
}

/* `columns` columns of A, whose first byte in the first row is *bytes.
 *
 * Shards without rows sum to +0, which is not formed: `present` tells the sums that are. To add +0 to
 * a sum changes it only if it is -0; so where the tree wants that, it is noted (`pending`), and
 * done once, or not at all where the sum is next added to one to which it has been done (`settled`):
 * x + y and x + (y + 0) are the same unless x is -0. */
static ALWAYS_INLINE void sum_tile(const tile_row *t, size_t columns, size_t vectors, vec_mask last,
                                   const uint64_t *masks, const uint8_t *bytes, float *c) {
    vec stack[PT_MAX_SHARD_DEPTH][GROUP * TILE_VECTORS], acc[GROUP * TILE_VECTORS];
    const pt_shards *shards = t->shards;
    const float *b = t->b;
    const size_t accumulators = columns * vectors;
    unsigned present = 0, settled = 0; /* bits: of the sums on the stack */
    size_t depth = 0;
    bool pending;
    UNROLL
    for (size_t x = 0; x < accumulators; x++)
        acc[x] = vec_zero(); /* of no rows at all */
    UNROLL
    for (size_t i = 0; i < columns; i++) {
        UNROLL
        for (size_t v = 0; v < vectors * LANES; v += LINE_FLOATS)
            __builtin_prefetch(c + i * t->ldc + v, 1, 3);
    }
    for (size_t s = 0;; s++) {
        const size_t rows = shards->row[s + 1] - shards->row[s];
        bool here = rows > 0;
        if (here)
            sum_shard(t, columns, vectors, last, rows, &masks, &bytes, &b, acc);
        pending = here;
        for (size_t merges = shards->merges[s]; merges > 0; merges--) {
            assert(depth > 0);
            depth--;
            const bool lower = present >> depth & 1;
            if (lower && here) {
                if (pending && !(settled >> depth & 1))
                    add_zero(accumulators, acc);
                UNROLL
                for (size_t x = 0; x < accumulators; x++)
                    acc[x] = vec_add(stack[depth][x], acc[x]);
                pending = false;
            } else if (lower) { /* stack + 0 */
                UNROLL
                for (size_t x = 0; x < accumulators; x++)
                    acc[x] = stack[depth][x];
                here = pending = true;
            } else { /* 0 + acc */
                pending = here;
            }
        }
        if (s + 1 == shards->count)
            break;
        assert(depth + 1 < PT_MAX_SHARD_DEPTH);
        present &= ~(1u << depth);
        settled &= ~(1u << depth);
        if (here) {
            if (pending)
                add_zero(accumulators, acc);
            UNROLL
            for (size_t x = 0; x < accumulators; x++)
                stack[depth][x] = acc[x];
            present |= 1u << depth;
            settled |= (unsigned)pending << depth;
        }
        depth++;
    }
    assert(depth == 0);
    if (pending)
        add_zero(accumulators, acc);
    UNROLL
    for (size_t i = 0; i < columns; i++)
        apply_row(t->rate, vectors, last, acc + i * vectors, c + i * t->ldc);
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
        const uint8_t *bytes = t->chunks + (x - from) / CHUNK * rows * CHUNK + (x - from) % CHUNK;
        float *c = t->c + (x - from) * t->ldc;
        if (all_zero(masks, t->words)) {
            vec zero[TILE_VECTORS];
            UNROLL
            for (size_t v = 0; v < vectors; v++)
                zero[v] = vec_zero();
            for (size_t i = 0; i < columns && !t->rate; i++) /* rate * 0 would change nothing */
                store_row(vectors, last, zero, c + i * t->ldc);
        } else if (columns == GROUP) {
            sum_tile(t, GROUP, vectors, last, masks, bytes, c);
        } else {
            for (size_t i = 0; i < columns; i++)
                sum_tile(t, 1, vectors, last, masks, bytes + i, c + i * t->ldc);
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

/* Rows of B, to be asked for one by one beside other work: other cores have written many of them. */
typedef struct rows_ahead {
    const float *b;
    size_t ldb, columns; /* 0: none */
} rows_ahead;

/* Columns from .. to-1 of `count` <= WORD rows: into `chunks`, `rows` rows a chunk, and their
 * group_bits[chunk][WORD]. */
static void spread_rows(const pt_sparse_row *a, size_t count, size_t from, size_t to, size_t rows,
                        uint8_t *chunks, group_bits *bits, rows_ahead *ahead) {
    for (size_t r = 0; r < count; r++) {
        for (size_t j = 0; j < ahead->columns; j += LINE_FLOATS)
            __builtin_prefetch(ahead->b + j);
        ahead->b += ahead->ldb;
        const uint64_t *bitmap = a[r].bitmap;
        const uint8_t *byte = a[r].byte + count_bits(bitmap, 0, from);
        uint8_t *chunk = chunks + r * CHUNK;
        for (size_t x = from, c = 0; x < to; x += CHUNK, c++) {
            const uint64_t set = take_bits(bitmap, x, min_size(to - x, CHUNK));
            bits[c * WORD + r] = expand_chunk(set, byte, chunk);
            byte += __builtin_popcountll(set);
            chunk += rows * CHUNK;
        }
    }
    for (size_t x = from, c = 0; x < to; x += CHUNK, c++)
        memset(bits + c * WORD + count, 0, (WORD - count) * sizeof *bits);
}

/* All rows of all shards: chunks and masks. */
static void prepare_tiles(const pt_shards *shards, const pt_sparse_row *a, size_t from, size_t to,
                          size_t words, uint8_t *chunks, uint64_t *masks, group_bits *bits,
                          rows_ahead ahead) {
    const size_t first = shards->row[0], rows = shards->row[shards->count] - first;
    size_t w = 0;
    for (size_t s = 0; s < shards->count; s++) {
        for (size_t row = shards->row[s]; row < shards->row[s + 1]; row += WORD) {
            const size_t count = min_size(shards->row[s + 1] - row, WORD);
            spread_rows(a + row, count, from, to, rows, chunks + (row - first) * CHUNK, bits,
                        &ahead);
            for (size_t x = from, c = 0; x < to; x += CHUNK, c++)
                transpose_groups(bits + c * WORD, count, divide_up(min_size(to - x, CHUNK), GROUP),
                                 masks + c * (CHUNK / GROUP) * words + w, words);
            w++;
        }
    }
}

#include "simd/sparse_tn_few_body.h"

static size_t align_up(size_t bytes) {
    return divide_up(bytes, MASK_ALIGNMENT) * MASK_ALIGNMENT;
}

/* Columns of A spread out at a time. */
static size_t spread_columns(size_t rows, size_t columns) {
    const size_t chunks = TN_BYTES / CHUNK / (rows + 1);
    return min_size(divide_up(columns, CHUNK), chunks > 0 ? chunks : 1) * CHUNK;
}

static void sparse_tn(size_t begin, size_t end, size_t n, const pt_shards *shards,
                      const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                      const float *rate, float *c, size_t ldc, void *scratch) {
    if (begin == end || n == 0)
        return;
    const size_t first = shards->row[0], rows = shards->row[shards->count] - first;
    if (1 <= rows && rows <= FEW_MAX_ROWS) {
        sparse_tn_few(begin, end, n, shards, a, value, b, ldb, rate, c, ldc);
        return;
    }
    const size_t words = count_words(shards), block = spread_columns(rows, end - begin);
    uint8_t *chunks = scratch;
    uint64_t *masks = (uint64_t *)(void *)(chunks + rows * block);
    char *const behind = (char *)masks + align_up(block / GROUP * words * sizeof *masks);
    group_bits *bits = (group_bits *)(void *)behind;
    float *panel = (float *)(void *)(behind + align_up(block / CHUNK * WORD * sizeof *bits));
    const bool pack = n > TILE_VECTORS * LANES && ldb % PACK_STRIDE == 0;
    b += first * ldb;
    for (size_t from = begin; from < end; from += block) {
        const size_t to = min_size(from + block, end);
        /* The first tile would ask for all of B, one wait after the other. */
        const bool ask = n <= TILE_VECTORS * LANES && from == begin;
        prepare_tiles(shards, a, from, to, words, chunks, masks, bits,
                      (rows_ahead){b, ldb, ask ? n : 0});
        size_t width;
        for (size_t j = 0; j < n; j += width) {
            const size_t vectors = even_panel_vectors(n - j, LANES, TILE_VECTORS);
            width = vectors * LANES;
            tile_row t = {.columns = min_size(n - j, width),
                          .shards = shards,
                          .words = words,
                          .masks = masks,
                          .chunks = chunks,
                          .value = value,
                          .b = b + j,
                          .ldb = ldb,
                          .rate = rate,
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

/* Bytes of scratch for so many rows, columns of B and columns of A. A shard begins a word, so there
 * may be PT_MAX_SHARDS words more than rows fill. */
static inline size_t sparse_tn_scratch(size_t rows, size_t n, size_t columns) {
    const size_t words = divide_up(rows, WORD) + min_size(rows, PT_MAX_SHARDS);
    const size_t block = divide_up(columns, CHUNK) * CHUNK;
    const size_t most = rows * CHUNK > TN_BYTES ? rows * CHUNK : TN_BYTES;
    const size_t masks = align_up(block / GROUP * words * sizeof(uint64_t));
    const size_t bits = align_up(block / CHUNK * WORD * sizeof(group_bits));
    const size_t panel = rows * min_size(divide_up(n, LANES), TILE_VECTORS) * LANES * sizeof(float);
    return min_size(rows * block, most) + masks + bits + panel;
}
