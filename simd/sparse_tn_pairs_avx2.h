/* sparse_tn_pairs_avx2.h: the gradient to the weights for mini-batches of 13 to 256 rows and 25 units
 * or more, in pairs of columns of A. Included by sparse_avx2.c after sparse_tn_body.h, whose tiles
 * take the others.
 *
 * A tile is two columns of A by up to six vectors of B, and the one to four columns of B behind
 * them: a vector holds those of both. That is 13 accumulators, and with two factors and one vector
 * of B all 16 registers; each load of B serves two FMAs. Of pairs of MNIST's pixels 23% are not both
 * zero, of the tiles' groups of four 28%, of single pixels 19%; and a row of the gradient up to 52
 * wide is summed at once. What then costs most is the end of each shard's loop, which is guessed
 * wrong, so the fewer (pair, shard, panel) there are the better.
 *
 * Which rows to visit is a mask for each (pair, 64 rows of a shard), read off the bitmaps by
 * transposing them. Bytes are spread out to whole rows of columns.
 */
enum {
    PAIR = 2,
    PAIR_VECTORS = 6,                    /* widest panel, and a tail */
    PAIR_TAIL = 4,                       /* columns at most */
    PAIR_SUMS = PAIR * PAIR_VECTORS + 1, /* accumulators */
    PAIR_LEAST_COLUMNS = 25,             /* of B: for fewer, tiles are taller */
    PAIR_LEAST_ROWS = 13,                /* of the mini-batch; for fewer see sparse_tn_few_body.h */
    PAIR_MAX_ROWS = 256,                 /* and its bytes and B in cache */
    PAIR_SHARDS = 4,                     /* a balanced tree of these is known when compiling */
    PAIR_MAX_WORDS = 16, /* masks of a pair: a shard has one for each WORD rows begun */
    PAIR_BLOCK = 512,    /* columns of A spread out at a time */
    PLANE = 8,           /* columns whose bits are one byte of a bitmap */
    BITMAP = 64,         /* columns whose bits are one word of it */
};

/* Columns of B and C in a panel: full vectors, the last of which may be partly used, and a tail. */
typedef struct pair_panel {
    size_t vectors, tail, columns; /* columns: in all */
} pair_panel;

typedef struct pair_tiles {
    pair_panel panel;
    const pt_shards *shards;
    bool balanced;          /* PAIR_SHARDS shards, in a balanced tree */
    size_t rows, start;     /* rows of the mini-batch; start: the first column that is spread out */
    size_t words;           /* masks of a pair */
    const uint64_t *masks;  /* [pairs][words] */
    const uint8_t *chunks;  /* [chunks][rows][CHUNK] */
    const float *value, *b; /* b: packed, the tail twice */
    const float *rate;      /* as sparse_tn */
    float *c;
    size_t ldc;
    bool wide; /* C is wider than a panel: its rows may each lie in another page */
} pair_tiles;

/* --- spreading out --- */

/* plane[j * WORD + i] = byte j of the word of row i's bitmap, for 8 rows, of which `count` are there. */
static ALWAYS_INLINE void split_planes(const pt_sparse_row *a, size_t count, size_t word,
                                       uint8_t *plane) {
    __m128i row[8];
    UNROLL
    for (size_t i = 0; i < 8; i++)
        row[i] =
            i < count ? _mm_loadl_epi64((const void *)&a[i].bitmap[word]) : _mm_setzero_si128();
    __m128i two[4], four[4];
    UNROLL
    for (size_t i = 0; i < 4; i++)
        two[i] = _mm_unpacklo_epi8(row[2 * i], row[2 * i + 1]);
    UNROLL
    for (size_t i = 0; i < 2; i++) {
        four[i] = _mm_unpacklo_epi16(two[2 * i], two[2 * i + 1]);
        four[2 + i] = _mm_unpackhi_epi16(two[2 * i], two[2 * i + 1]);
    }
    UNROLL
    for (size_t i = 0; i < 4; i++) {
        const __m128i low = four[i / 2 * 2], high = four[i / 2 * 2 + 1];
        const __m128i eight = i % 2 ? _mm_unpackhi_epi32(low, high) : _mm_unpacklo_epi32(low, high);
        _mm_storel_epi64((void *)(plane + 2 * i * WORD), eight);
        _mm_storeh_pd((void *)(plane + (2 * i + 1) * WORD), _mm_castsi128_pd(eight));
    }
}

/* Columns start .. end-1, start a multiple of 64: chunks and masks; moves each row's byte on. */
static void prepare_pairs(const pt_shards *shards, const pt_sparse_row *a, size_t start, size_t end,
                          size_t words, const uint8_t **byte, uint8_t *chunks, uint64_t *masks) {
    uint8_t planes[PAIR_BLOCK / PLANE * WORD] __attribute__((aligned(MASK_ALIGNMENT)));
    const size_t first = shards->row[0], rows = shards->row[shards->count] - first;
    for (size_t r = 0; r < rows; r++) {
        uint8_t *chunk = chunks + r * CHUNK;
        for (size_t x = start; x < end; x += CHUNK) {
            byte[r] = spread_chunk(a[first + r].bitmap[x / BITMAP] >> x % BITMAP, byte[r], chunk);
            chunk += rows * CHUNK;
        }
    }
    size_t w = 0;
    for (size_t s = 0; s < shards->count; s++) {
        for (size_t row = shards->row[s]; row < shards->row[s + 1]; row += WORD, w++) {
            const size_t count = min_size(shards->row[s + 1] - row, WORD);
            const size_t half_or_all = count > WORD / 2 ? WORD : WORD / 2;
            for (size_t x = start; x < end; x += BITMAP)
                for (size_t r = 0; r < half_or_all; r += 8)
                    split_planes(a + row + min_size(r, count), r < count ? count - r : 0,
                                 x / BITMAP, planes + (x - start) / PLANE * WORD + r);
            for (size_t x = start, i = 0; x < end; x += PLANE, i++)
                transpose_bits(planes + i * WORD, count, PAIR, PLANE / PAIR,
                               masks + i * (PLANE / PAIR) * words + w, words);
        }
    }
}

/* --- tiles --- */

/* acc: both columns' vectors, and the tail's. */
static ALWAYS_INLINE void add_pair(size_t vectors, bool tail, const float *x, const float *y,
                                   const float *b, vec acc[]) {
    const vec xv = vec_broadcast(x), yv = vec_broadcast(y);
    UNROLL
    for (size_t v = 0; v < vectors; v++) {
        const vec bv = vec_load(b + v * LANES);
        __asm__("vfmadd231ps %[b], %[x], %[p]\n\t"
                "vfmadd231ps %[b], %[y], %[q]"
                : [p] "+&x"(acc[v]), [q] "+x"(acc[vectors + v])
                : [b] "x"(bv), [x] "x"(xv), [y] "x"(yv));
    }
    if (tail) /* PAIR_TAIL lanes of each */
        acc[PAIR * vectors] = vec_fma(_mm256_blend_ps(xv, yv, 0xf0), vec_load(b + vectors * LANES),
                                      acc[PAIR * vectors]);
}

/* As apply_row, and the tail. */
static ALWAYS_INLINE void apply_pair_row(const pair_tiles *t, size_t vectors, bool tail,
                                         vec_mask last, const vec sum[], __m128 tail_sum,
                                         float *c) {
    apply_row(t->rate, vectors, last, sum, c);
    if (!tail)
        return;
    const int lanes = (1 << t->panel.tail) - 1;
    c += vectors * LANES;
    if (t->rate) {
        const __m128i first = _mm256_castsi256_si128(vec_first(t->panel.tail));
        tail_sum = _mm_fmadd_ps(_mm_set1_ps(*t->rate), tail_sum, _mm_maskload_ps(c, first));
    }
    store_quarter(lanes, c, tail_sum);
}

/* The chains of one shard. Moves masks, bytes and b behind it. */
static ALWAYS_INLINE void sum_pair_shard(const pair_tiles *t, size_t vectors, bool tail,
                                         size_t rows, const uint64_t **masks, const uint8_t **bytes,
                                         const float **b, vec acc[]) {
    const size_t stride = (vectors + tail) * LANES, sums = PAIR * vectors + tail;
    UNROLL
    for (size_t i = 0; i < sums; i++)
        acc[i] = vec_zero();
    for (size_t left = rows; left > 0;) {
        for (uint64_t mask = *(*masks)++; mask; mask &= mask - 1) {
            const size_t r = (unsigned)__builtin_ctzll(mask);
            const uint8_t *byte = *bytes + r * CHUNK;
            add_pair(vectors, tail, &t->value[byte[0]], &t->value[byte[1]], *b + r * stride, acc);
        }
        const size_t here = min_size(left, WORD);
        *bytes += here * CHUNK;
        *b += here * stride;
        left -= here;
    }
}

/* The tree of all shards. Of two that are added to each other only the lower needs its +0.0f: x + y and
 * x + (y + 0) are the same unless x is -0. */
static ALWAYS_INLINE void sum_pair(const pair_tiles *t, size_t vectors, bool tail,
                                   const uint64_t *masks, const uint8_t *bytes, vec acc[]) {
    const size_t sums = PAIR * vectors + tail;
    const pt_shards *shards = t->shards;
    const float *b = t->b;
    vec stack[PT_MAX_SHARD_DEPTH][PAIR_SUMS];
    if (t->balanced) { /* the same, known when compiling: branches on it would be guessed wrong */
        UNROLL
        for (size_t s = 0, depth = 0; s < PAIR_SHARDS; s++) {
            sum_pair_shard(t, vectors, tail, shards->row[s + 1] - shards->row[s], &masks, &bytes,
                           &b, acc);
            if (s % 2 == 0)
                add_zero(sums, acc);
            UNROLL
            for (size_t bits = s; bits % 2 == 1; bits /= 2)
                add_sums(sums, stack[--depth], acc);
            if (s + 1 == PAIR_SHARDS)
                return;
            UNROLL
            for (size_t i = 0; i < sums; i++)
                stack[depth][i] = acc[i];
            depth++;
        }
    }
    for (size_t s = 0, depth = 0;; s++) {
        sum_pair_shard(t, vectors, tail, shards->row[s + 1] - shards->row[s], &masks, &bytes, &b,
                       acc);
        if (s == 0 || shards->merges[s] == 0 || shards->merges[s - 1] > 0)
            add_zero(sums, acc);
        for (size_t merges = shards->merges[s]; merges > 0; merges--)
            add_sums(sums, stack[--depth], acc);
        if (s + 1 == shards->count)
            break;
        assert(depth + 1 < PT_MAX_SHARD_DEPTH);
        UNROLL
        for (size_t i = 0; i < sums; i++)
            stack[depth][i] = acc[i];
        depth++;
    }
}

/* Asks for two rows of C: no hardware does, if each lies in another page. */
static ALWAYS_INLINE void prefetch_pair(const float *c, size_t ldc, size_t columns) {
    for (size_t j = 0; j < columns; j += LINE_FLOATS) {
        __builtin_prefetch(c + j, 1, 3);
        __builtin_prefetch(c + ldc + j, 1, 3);
    }
}

/* Columns begin .. end-1 of A; c: of the first of them. */
static ALWAYS_INLINE void sum_pairs(const pair_tiles *t, size_t begin, size_t end, size_t vectors,
                                    bool tail) {
    const size_t in_last = t->panel.columns - t->panel.tail - (vectors - 1) * LANES;
    const vec_mask last = vec_first(in_last);
    float *c = t->c;
    for (size_t x = begin / PAIR * PAIR; x < end; x += PAIR) {
        const size_t at = x - t->start;
        const uint64_t *masks = t->masks + at / PAIR * t->words;
        const size_t rows = min_size(x + PAIR, end) - max_size(x, begin);
        const bool zero = all_zero(masks, t->words);
        if (zero && t->rate) { /* rate * 0 would change nothing */
            c += rows * t->ldc;
            continue;
        }
        vec acc[PAIR_SUMS];
        if (zero) {
            UNROLL
            for (size_t i = 0; i < PAIR * vectors + tail; i++)
                acc[i] = vec_zero();
        } else {
            if (t->wide && rows == PAIR)
                prefetch_pair(c, t->ldc, t->panel.columns);
            sum_pair(t, vectors, tail, masks, t->chunks + at / CHUNK * t->rows * CHUNK + at % CHUNK,
                     acc);
        }
        const vec tails = tail ? acc[PAIR * vectors] : vec_zero();
        if (x >= begin) {
            apply_pair_row(t, vectors, tail, last, acc, _mm256_castps256_ps128(tails), c);
            c += t->ldc;
        }
        if (x + 1 < end) {
            apply_pair_row(t, vectors, tail, last, acc + vectors, _mm256_extractf128_ps(tails, 1),
                           c);
            c += t->ldc;
        }
    }
}

typedef void (*pairs_function)(const pair_tiles *t, size_t begin, size_t end);
/* Of 25 columns and more, panels are never narrower than three vectors. */
#define PAIRS_LIST(X) X(3) X(4) X(5) X(6)
#define DEFINE_PAIRS(v)                                                                            \
    static void sum_pairs_##v(const pair_tiles *t, size_t begin, size_t end) {                     \
        sum_pairs(t, begin, end, v, false);                                                        \
    }                                                                                              \
    static void sum_pairs_tail_##v(const pair_tiles *t, size_t begin, size_t end) {                \
        sum_pairs(t, begin, end, v, true);                                                         \
    }
PAIRS_LIST(DEFINE_PAIRS)
#define PAIRS_ENTRY(v) [v] = {sum_pairs_##v, sum_pairs_tail_##v},
static const pairs_function pairs_functions[PAIR_VECTORS + 1][2] = {PAIRS_LIST(PAIRS_ENTRY)};

/* --- panels --- */

/* The next panel, n columns from the end. */
static pair_panel next_pair_panel(size_t n) {
    const size_t rest = n % LANES, tail = rest <= PAIR_TAIL ? rest : 0;
    const size_t full = divide_up(n - tail, LANES), panels = divide_up(full, PAIR_VECTORS);
    pair_panel panel = {.vectors = divide_up(full, panels)};
    panel.tail = panels == 1 ? tail : 0;
    panel.columns = panels == 1 ? n : panel.vectors * LANES;
    return panel;
}

static void pack_pair_panel(const pair_panel *panel, size_t rows, const float *b, size_t ldb,
                            float *packed) {
    const size_t columns = panel->columns - panel->tail;
    const size_t stride = (panel->vectors + (panel->tail > 0)) * LANES;
    pack_panel(rows, columns, b, ldb, packed, stride);
    const __m128i first = _mm256_castsi256_si128(vec_first(panel->tail));
    for (size_t r = 0; r < rows && panel->tail > 0; r++) {
        const __m128 tail = _mm_maskload_ps(b + r * ldb + columns, first);
        vec_store(packed + r * stride + columns, _mm256_set_m128(tail, tail));
    }
}

static bool takes_pairs(size_t n, const pt_shards *shards) {
    const size_t rows = shards->row[shards->count] - shards->row[0];
    return n >= PAIR_LEAST_COLUMNS && PAIR_LEAST_ROWS <= rows && rows <= PAIR_MAX_ROWS &&
           count_words(shards) <= PAIR_MAX_WORDS;
}

/* As sparse_tn, for what takes_pairs. */
static void sparse_tn_pairs(size_t begin, size_t end, size_t n, const pt_shards *shards,
                            const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                            const float *rate, float *c, size_t ldc, void *scratch) {
    const size_t first = shards->row[0], rows = shards->row[shards->count] - first;
    const size_t words = count_words(shards);
    const uint8_t *byte[PAIR_MAX_ROWS];
    uint64_t *masks = scratch;
    float *packed = (float *)(void *)(masks + PAIR_BLOCK / PAIR * PAIR_MAX_WORDS);
    uint8_t *chunks = (uint8_t *)(packed + rows * (PAIR_VECTORS + 1) * LANES);
    for (size_t r = 0; r < rows; r++)
        byte[r] = a[first + r].byte + count_bits(a[first + r].bitmap, 0, begin / BITMAP * BITMAP);
    for (size_t from = begin; from < end;) {
        const size_t start = from / BITMAP * BITMAP, to = min_size(start + PAIR_BLOCK, end);
        prepare_pairs(shards, a, start, to, words, byte, chunks, masks);
        pair_tiles t = {.shards = shards,
                        .balanced = is_four(shards),
                        .rows = rows,
                        .start = start,
                        .words = words,
                        .masks = masks,
                        .chunks = chunks,
                        .value = value,
                        .b = packed,
                        .rate = rate,
                        .ldc = ldc,
                        .wide = n > PAIR_VECTORS * LANES + PAIR_TAIL};
        for (size_t j = 0; j < n; j += t.panel.columns) {
            t.panel = next_pair_panel(n - j);
            t.c = c + j;
            if (from == begin || t.panel.columns < n) /* else it is there */
                pack_pair_panel(&t.panel, rows, b + first * ldb + j, ldb, packed);
            pairs_functions[t.panel.vectors][t.panel.tail > 0](&t, from, to);
        }
        c += (to - from) * ldc;
        from = to;
    }
}

/* Bytes of scratch for so many rows. */
static inline size_t sparse_tn_pairs_scratch(size_t rows) {
    const size_t each = (PAIR_VECTORS + 1) * LANES * sizeof(float) + PAIR_BLOCK;
    return PAIR_BLOCK / PAIR * PAIR_MAX_WORDS * sizeof(uint64_t) +
           min_size(rows, PAIR_MAX_ROWS) * each;
}
