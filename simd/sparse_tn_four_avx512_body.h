/* sparse_tn_four_avx512_body.h: the gradient to the weights for four shards of up to 32 rows, as
 * mini-batches of up to 128 rows have; included by sparse_tn_avx512_body.h after sparse_tn_body.h, whose
 * tiles take the others.
 *
 * A tile is a pair of columns of A by up to four vectors of B, summed for two shards side by side, then for
 * the two others. In each step a shard adds its next row whose two bytes are not both zero; one that has none
 * left adds a multiple of a row of zeros. So all four take as many steps as the fullest of them has rows, and
 * pairs of equal numbers of steps are done one after the other: where a loop ends is rarely guessed wrong,
 * while tiles of four columns are wrong at the end of most shards. The tree stays in registers: 16 sums, 8 of
 * the first two shards, 4 of B and two factors.
 */
enum {
    FOUR = 4,       /* shards */
    FOUR_ROWS = 32, /* of a shard, at most */
    FOUR_LEAST = 5, /* rows of all: for fewer see sparse_tn_few_body.h */
    FOUR_LOG = 6,
    FOUR_STRIDE = 1 << FOUR_LOG, /* bytes of A, floats of B in a row */
    /* A shard's rows and one more: in B it holds zeros, in A whatever was there. */
    FOUR_SHARD = (FOUR_ROWS + 1) * FOUR_STRIDE,
    FOUR_PAIRS = FOUR_STRIDE / 2,
    FOUR_VECTORS = FOUR_STRIDE / LANES, /* widest panel of B */
    FOUR_CHUNKS = 16,                   /* spread out at a time */
    FOUR_PLANE = 16,                    /* pairs whose bits are transposed together */
};

_Static_assert(FOUR_ROWS == 32 && FOUR_PAIRS == 32, "masks and steps are as wide");

/* FOUR_STRIDE columns of A. */
typedef struct four_chunk {
    uint8_t bytes[FOUR * FOUR_SHARD];
    uint32_t rows[FOUR_PAIRS][FOUR];          /* of each shard, that are not zero in a pair */
    uint8_t steps[FOUR_PAIRS];                /* the most of them in a shard */
    uint8_t unused[FOUR_STRIDE - FOUR_PAIRS]; /* so that what follows begins a cache line */
} four_chunk;

typedef struct four_tiles {
    const float *value, *panel; /* panel: of B, FOUR_SHARD floats a shard */
    const float *rate;          /* as sparse_tn */
    size_t ldc;
} four_tiles;

/* --- spreading out --- */

/* Up to FOUR_STRIDE columns from `from` on of one shard. plane[][at] and on: for FOUR_PLANE pairs each, the
 * bits of its rows. Moves the rows' bytes on. */
static ALWAYS_INLINE void four_spread(const pt_sparse_row *a, size_t rows, size_t from,
                                      size_t columns, const uint8_t **byte, uint8_t *spread,
                                      uint16_t (*plane)[2 * FOUR_ROWS], size_t at,
                                      rows_ahead *ahead) {
    for (size_t r = 0; r < rows; r++) {
        if (ahead->columns > 0) {
            for (size_t j = 0; j < ahead->columns; j += LINE_FLOATS)
                __builtin_prefetch(ahead->b + j);
            ahead->b += ahead->ldb;
        }
        const uint64_t set = take_bits(a[r].bitmap, from, columns);
        _mm512_storeu_si512(spread + r * FOUR_STRIDE, expand_bytes(set, byte[r]));
        byte[r] += __builtin_popcountll(set);
        const uint64_t even = 0x5555555555555555, pairs = _pext_u64(set | set >> 1, even);
        UNROLL
        for (size_t i = 0; i < FOUR_PAIRS / FOUR_PLANE; i++)
            plane[i][at + r] = (uint16_t)(pairs >> i * FOUR_PLANE);
    }
    UNROLL
    for (size_t i = 0; i < FOUR_PAIRS / FOUR_PLANE; i++)
        memset(plane[i] + at + rows, 0, (FOUR_ROWS - rows) * sizeof **plane);
}

/* rows[pair][s] and [s + 1]: bits of these shards' rows, read off as the signs while they move up. */
static ALWAYS_INLINE void four_transpose(const uint16_t *plane, size_t s, uint32_t (*rows)[FOUR]) {
    __m512i lower = _mm512_loadu_si512(plane), upper = _mm512_loadu_si512(plane + FOUR_ROWS);
    UNROLL
    for (size_t i = FOUR_PLANE; i-- > 0;) {
        rows[i][s] = _mm512_movepi16_mask(lower);
        rows[i][s + 1] = _mm512_movepi16_mask(upper);
        lower = _mm512_add_epi16(lower, lower);
        upper = _mm512_add_epi16(upper, upper);
    }
}

static void four_prepare(const pt_shards *shards, const pt_sparse_row *a, size_t from,
                         size_t columns, const uint8_t **byte, four_chunk *chunk,
                         rows_ahead *ahead) {
    uint16_t plane[FOUR_PAIRS / FOUR_PLANE][2 * FOUR_ROWS];
    for (size_t s = 0; s < FOUR; s++) {
        const size_t begin = shards->row[s] - shards->row[0];
        four_spread(a + begin, shards->row[s + 1] - shards->row[s], from, columns, byte + begin,
                    chunk->bytes + s * FOUR_SHARD, plane, s % 2 * FOUR_ROWS, ahead);
        for (size_t i = 0; i < FOUR_PAIRS / FOUR_PLANE && s % 2 == 1; i++)
            four_transpose(plane[i], s - 1, chunk->rows + i * FOUR_PLANE);
    }
    for (size_t x = 0; x < FOUR_PAIRS; x++) {
        unsigned steps = 0;
        UNROLL
        for (size_t s = 0; s < FOUR; s++) {
            const unsigned count = (unsigned)_mm_popcnt_u32(chunk->rows[x][s]);
            steps = count > steps ? count : steps;
        }
        chunk->steps[x] = (uint8_t)steps;
    }
}

/* Columns of B, each shard's rows with one of zeros behind the most there may be. */
static void four_pack(const pt_shards *shards, size_t columns, const float *b, size_t ldb,
                      float *panel) {
    for (size_t s = 0; s < FOUR; s++) {
        const size_t rows = shards->row[s + 1] - shards->row[s];
        pack_panel(rows, columns, b, ldb, panel, FOUR_STRIDE);
        memset(panel + FOUR_ROWS * FOUR_STRIDE, 0, FOUR_STRIDE * sizeof *panel);
        b += rows * ldb;
        panel += FOUR_SHARD;
    }
}

/* --- one pair --- */

/* four_half in assembly, since gcc 12 copies half of the sums twice in every step. For vector v of the
 * panel p and q are the lower shard's sums of the two columns, zmm r and s the upper one's, zmm b is that
 * vector of the row of B, of each shard in turn. The number of the lowest bit of none is FOUR_ROWS, which is
 * where the zeros are. */
#define FOUR_EACH_1(M) M(0, 16, 20, 24)
#define FOUR_EACH_2(M) FOUR_EACH_1(M) M(1, 17, 21, 25)
#define FOUR_EACH_3(M) FOUR_EACH_2(M) M(2, 18, 22, 26)
#define FOUR_EACH_4(M) FOUR_EACH_3(M) M(3, 19, 23, 27)

#define FOUR_CLEAR(x)        "vpxord " x ", " x ", " x "\n\t"
#define FOUR_FMA(b, x, sum)  "vfmadd231ps %%zmm" #b ", %%zmm" #x ", " sum "\n\t"
#define FOUR_SUM(x, sum)     "vaddps " x ", " sum ", " sum "\n\t"
#define FOUR_OUT(v, r, s, b) , [p##v] "=&v"(first[v]), [q##v] "=&v"(second[v])
#define FOUR_ZERO(v, r, s, b)                                                                      \
    FOUR_CLEAR("%[p" #v "]")                                                                       \
    FOUR_CLEAR("%[q" #v "]") FOUR_CLEAR("%%zmm" #r) FOUR_CLEAR("%%zmm" #s)
#define FOUR_LOAD_LOWER(v, r, s, b) "vmovups 64*" #v "(%[panel],%[at],4), %%zmm" #b "\n\t"
#define FOUR_LOAD_UPPER(v, r, s, b)                                                                \
    "vmovups 4*%c[shard]+64*" #v "(%[panel],%[at],4), %%zmm" #b "\n\t"
#define FOUR_ADD_P(v, r, s, b) FOUR_FMA(b, 28, "%[p" #v "]")
#define FOUR_ADD_Q(v, r, s, b) FOUR_FMA(b, 29, "%[q" #v "]")
#define FOUR_ADD_R(v, r, s, b) FOUR_FMA(b, 28, "%%zmm" #r)
#define FOUR_ADD_S(v, r, s, b) FOUR_FMA(b, 29, "%%zmm" #s)
#define FOUR_MERGE(v, r, s, b)                                                                     \
    FOUR_SUM("%%zmm28", "%[p" #v "]")                                                              \
    FOUR_SUM("%%zmm28", "%[q" #v "]")                                                              \
    FOUR_SUM("%%zmm" #r, "%[p" #v "]") FOUR_SUM("%%zmm" #s, "%[q" #v "]")

/* The next row of a shard: its number from `left`, its bytes at `offset` from those of the lower one. */
#define FOUR_NEXT(left, offset)                                                                    \
    "tzcntl %k[" left "], %k[at]\n\t"                                                              \
    "blsrl %k[" left "], %k[" left "]\n\t"                                                         \
    "shlq %[log], %[at]\n\t"                                                                       \
    "movzbl " offset "(%[bytes],%[at]), %k[x]\n\t"                                                 \
    "vbroadcastss (%[value],%[x],4), %%zmm28\n\t"                                                  \
    "movzbl " offset "+1(%[bytes],%[at]), %k[x]\n\t"                                               \
    "vbroadcastss (%[value],%[x],4), %%zmm29\n\t"

#define FOUR_LOWER(EACH)                                                                           \
    FOUR_NEXT("lower", "0") EACH(FOUR_LOAD_LOWER) EACH(FOUR_ADD_P) EACH(FOUR_ADD_Q)
#define FOUR_UPPER(EACH)                                                                           \
    FOUR_NEXT("upper", "%c[shard]") EACH(FOUR_LOAD_UPPER) EACH(FOUR_ADD_R) EACH(FOUR_ADD_S)

#define FOUR_BEGIN        "1:\n\t"
#define FOUR_AGAIN        "decq %[steps]\n\tjnz 1b\n\t"
#define FOUR_SETTLE(EACH) FOUR_CLEAR("%%zmm28") EACH(FOUR_MERGE)
#define FOUR_HALF(EACH)                                                                            \
    __asm__(EACH(FOUR_ZERO) FOUR_BEGIN FOUR_LOWER(EACH) FOUR_UPPER(EACH)                           \
                FOUR_AGAIN FOUR_SETTLE(EACH)                                                       \
            : [lower] "+&r"(lower), [upper] "+&r"(upper), [steps] "+&r"(steps), [at] "=&r"(at),    \
              [x] "=&r"(x)EACH(FOUR_OUT)                                                           \
            : [panel] "r"(panel), [bytes] "r"(bytes), [value] "r"(value), [shard] "n"(FOUR_SHARD), \
              [log] "n"(FOUR_LOG)                                                                  \
            : "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24",     \
              "zmm25", "zmm26", "zmm27", "zmm28", "zmm29", "cc", "memory")

/* first, second: the pair's sums over the lower of two shards, with +0.0f at the end, and the upper one,
 * without: x + y and x + (y + 0) are the same unless x is -0. `bytes`: the pair's in the lower shard's first
 * row; `panel`: that shard's B. */
static ALWAYS_INLINE void four_half(const float *value, const float *panel, size_t vectors,
                                    const uint32_t rows[2], size_t steps, const uint8_t *bytes,
                                    vec first[], vec second[]) {
    uint32_t lower = rows[0], upper = rows[1];
    size_t at, x;
    if (vectors == 1)
        FOUR_HALF(FOUR_EACH_1);
    else if (vectors == 2)
        FOUR_HALF(FOUR_EACH_2);
    else if (vectors == 3)
        FOUR_HALF(FOUR_EACH_3);
    else
        FOUR_HALF(FOUR_EACH_4);
}

/* `columns`: to the end; of 1 only the first of the pair is there. */
static ALWAYS_INLINE void four_pair(const four_tiles *t, size_t vectors, vec_mask last,
                                    const uint32_t rows[FOUR], size_t steps, const uint8_t *bytes,
                                    float *c, size_t columns) {
    vec first[FOUR_VECTORS], second[FOUR_VECTORS], third[FOUR_VECTORS], fourth[FOUR_VECTORS];
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
        __builtin_prefetch(c + v * LANES, 1, 3);
        if (columns >= 2)
            __builtin_prefetch(c + t->ldc + v * LANES, 1, 3);
    }
    four_half(t->value, t->panel, vectors, rows, steps, bytes, first, second);
    four_half(t->value, t->panel + 2 * FOUR_SHARD, vectors, rows + 2, steps, bytes + 2 * FOUR_SHARD,
              third, fourth);
    add_sums(vectors, third, first);
    add_sums(vectors, fourth, second);
    apply_row(t->rate, vectors, last, first, c);
    if (columns >= 2)
        apply_row(t->rate, vectors, last, second, c + t->ldc);
}

static ALWAYS_INLINE void four_columns(const four_tiles *t, size_t vectors, vec_mask last,
                                       const four_chunk *chunk, size_t columns, float *c) {
    const __m256i steps = _mm256_loadu_si256((const void *)chunk->steps);
    uint32_t left = _mm256_test_epi8_mask(steps, steps);
    for (char count = 1; left; count++) {
        uint32_t here = _mm256_cmpeq_epi8_mask(steps, _mm256_set1_epi8(count));
        left &= ~here;
        for (; here; here &= here - 1) {
            const size_t x = (size_t)__builtin_ctz(here);
            four_pair(t, vectors, last, chunk->rows[x], (size_t)count, chunk->bytes + 2 * x,
                      c + 2 * x * t->ldc, columns - 2 * x);
        }
    }
}

static void four_panel(const four_tiles *t, size_t n, const four_chunk *chunk, size_t columns,
                       float *c) {
    const size_t vectors = divide_up(n, LANES);
    const vec_mask last = vec_first(n - (vectors - 1) * LANES);
    switch (vectors) {
    case 1:
        four_columns(t, 1, last, chunk, columns, c);
        break;
    case 2:
        four_columns(t, 2, last, chunk, columns, c);
        break;
    case 3:
        four_columns(t, 3, last, chunk, columns, c);
        break;
    default:
        four_columns(t, 4, last, chunk, columns, c);
        break;
    }
}

/* --- all of it --- */

static bool takes_four(const pt_shards *shards) {
    if (shards->row[shards->count] - shards->row[0] < FOUR_LEAST)
        return false;
    for (size_t s = 0; s < shards->count; s++)
        if (shards->row[s + 1] - shards->row[s] > FOUR_ROWS)
            return false;
    return is_four(shards);
}

/* As sparse_tn, for what takes_four. */
static void sparse_tn_four(size_t begin, size_t end, size_t n, const pt_shards *shards,
                           const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                           const float *rate, float *c, size_t ldc, void *scratch) {
    const size_t first = shards->row[0], rows = shards->row[FOUR] - first;
    four_chunk *chunks = scratch;
    float *panel =
        (float *)(void *)(chunks + min_size(divide_up(end - begin, FOUR_STRIDE), FOUR_CHUNKS));
    const uint8_t *byte[FOUR * FOUR_ROWS];
    a += first;
    b += first * ldb;
    for (size_t r = 0; r < rows; r++)
        byte[r] = a[r].byte + count_bits(a[r].bitmap, 0, begin);
    for (size_t from = begin; from < end;) {
        const size_t to = min_size(from + FOUR_CHUNKS * FOUR_STRIDE, end);
        rows_ahead ahead = {b, ldb, from == begin ? min_size(n, FOUR_STRIDE) : 0};
        for (size_t x = from, i = 0; x < to; x += FOUR_STRIDE, i++) {
            four_prepare(shards, a, x, min_size(to - x, FOUR_STRIDE), byte, &chunks[i], &ahead);
            ahead.columns = 0;
        }
        size_t width;
        for (size_t j = 0; j < n; j += width) {
            width = min_size(n - j, FOUR_STRIDE);
            if (from == begin || width < n) /* else it is there */
                four_pack(shards, width, b + j, ldb, panel);
            const four_tiles t = {value, panel, rate, ldc};
            for (size_t x = from, i = 0; x < to; x += FOUR_STRIDE, i++) {
                const size_t columns = min_size(to - x, FOUR_STRIDE);
                float *const into = c + (x - begin) * ldc + j;
                for (size_t y = 0; y < columns && !rate; y++)
                    if (chunks[i].steps[y / 2] == 0)
                        memset(into + y * ldc, 0, width * sizeof *c);
                four_panel(&t, width, &chunks[i], columns, into);
            }
        }
        from = to;
    }
}

/* Bytes of scratch for so many columns of A. */
static inline size_t sparse_tn_four_scratch(size_t columns) {
    const size_t chunks = min_size(divide_up(columns, FOUR_STRIDE), FOUR_CHUNKS);
    return chunks * sizeof(four_chunk) + FOUR * FOUR_SHARD * sizeof(float);
}
