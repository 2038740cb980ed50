/* gemm_skip_columns_body.h: gradients to the weights (tn) that skip the zeros of their left factor;
 * how and why, and what is included before: gemm_skip_body.h.
 *
 * Here a row of C is a sum of rows of B for the nonzero elements of a column of A, so it is columns
 * that are listed, a block of rows of B (a group) at a time. A group ends where a shard ends or
 * within one; what of the tree is not summed by then, the sums of some shards and a chain that will
 * go on, is kept for each row of C until the next group. Where a group can be 1, 2 or 4 whole shards
 * whose tree is balanced, as it is of 2^n shards, it is walked by straight-line code: to look up where
 * shards end and how they add up cost a tenth of the time.
 */
enum {
    COLUMNS_LEAST = 64,         /* of A: fewer don't pay for packing B */
    COLUMNS_LEAST_STEPS = 32,   /* rows of A */
    COLUMNS_LEAST_SHARD = 16,   /* rows of a shard on average: fewer don't pay for its end */
    COLUMNS_MAX_STEPS = 1024,   /* rows of A */
    COLUMNS_TOGETHER = 32,      /* columns of A whose lists are made together, at least */
    COLUMNS_ENTRIES = 48 << 10, /* of lists that are made together, if more columns fit */
    COLUMNS_MOST = 256,         /* and not more columns than this */
    COLUMNS_VECTORS = 12,       /* widest panel */
    GROUP_SEGMENTS = 16,        /* shards or parts of shards in a group, at most */
    MAX_GROUPS = 32, /* twice the 16 that 64 rows each, the fewest, of COLUMNS_MAX_STEPS make */
    LEVELS = PT_MAX_SHARD_DEPTH, /* sums kept, and a chain */
    WHOLE_LEVELS = 2,            /* of the tree of 4 shards */
};

static bool skip_columns_fit(size_t m, size_t n, const pt_shards *shards) {
    const size_t k = shards->row[shards->count] - shards->row[0];
    return m >= COLUMNS_LEAST && n >= PT_SKIP_LEAST_COLUMNS && COLUMNS_LEAST_STEPS <= k &&
           k <= COLUMNS_MAX_STEPS && k >= COLUMNS_LEAST_SHARD * shards->count;
}

/* Part of a shard: rows up to `end` of its group. */
typedef struct group_segment {
    uint16_t end;
    bool closes;    /* the shard ends here .. */
    uint8_t merges; /* .. and so many sums are added */
} group_segment;

typedef struct row_group {
    size_t row, rows, segments;
    group_segment segment[GROUP_SEGMENTS];
    size_t depth;  /* sums kept from the groups before */
    bool open;     /* and a chain that goes on */
    size_t whole;  /* its segments if they are 1, 2 or 4 whole shards in a balanced tree, else 0 */
    size_t merges; /* of that tree's sum with those kept */
} row_group;

/* Shards in a group, so that it has at most `most` rows and ends where a shard does; not so few that
 * there are twice as many groups, and else as many as a group may hold parts of. */
static size_t group_shards(const pt_shards *shards, size_t most) {
    const size_t k = shards->row[shards->count] - shards->row[0];
    size_t longest = 0, count = 1u << WHOLE_LEVELS;
    for (size_t s = 0; s < shards->count; s++)
        longest = max_size(longest, shards->row[s + 1] - shards->row[s]);
    while (count > 0 && count * longest > most)
        count /= 2;
    const bool many = count == 0 || divide_up(shards->count, count) > 2 * divide_up(k, most);
    return many || k <= most ? GROUP_SEGMENTS : count;
}

/* Sets `whole` and `merges`. */
static void find_whole(row_group *g) {
    if (g->open || (g->segments & (g->segments - 1)) != 0 || g->segments > 1u << WHOLE_LEVELS)
        return;
    size_t extra = 0;
    for (size_t s = 0; s < g->segments; s++) {
        size_t merges = 0; /* of a balanced tree after leaf s: the ones at the end of s */
        for (size_t bits = s; bits % 2 == 1; bits /= 2)
            merges++;
        if (!g->segment[s].closes || g->segment[s].merges < merges)
            return;
        extra = g->segment[s].merges - merges;
        if (extra > 0 && s + 1 < g->segments)
            return;
    }
    g->whole = g->segments;
    g->merges = extra;
}

/* Groups of at most `most` rows; returns their number. */
static size_t make_groups(const pt_shards *shards, size_t most, row_group *group) {
    const size_t segments = group_shards(shards, most);
    size_t count = 0, depth = 0;
    row_group *g = group;
    *g = (row_group){0};
    for (size_t s = 0; s < shards->count; s++) {
        size_t left = shards->row[s + 1] - shards->row[s];
        bool closes = false;
        while (!closes) {
            if (g->segments == segments || (g->rows == most && left > 0)) {
                const bool open = g->segments > 0 && !g->segment[g->segments - 1].closes;
                const size_t row = g->row + g->rows;
                count++;
                assert(count < MAX_GROUPS);
                *++g = (row_group){.row = row, .depth = depth, .open = open};
            }
            const size_t take = min_size(left, most - g->rows);
            g->rows += take;
            left -= take;
            closes = left == 0;
            g->segment[g->segments++] = (group_segment){
                .end = (uint16_t)g->rows, .closes = closes, .merges = shards->merges[s]};
        }
        depth = depth + 1 - shards->merges[s];
        assert(depth < PT_MAX_SHARD_DEPTH);
    }
    count++;
    for (size_t i = 0; i < count; i++)
        find_whole(&group[i]);
    return count;
}

/* Rows of C by one group of a panel of B. */
typedef struct columns_block {
    size_t rows, columns;
    const row_group *group;
    bool last_group;
    skip_list list;
    size_t apart;         /* entries from one row's list to the next */
    const uint16_t *size; /* [rows][GROUP_SEGMENTS]: entries up to each segment's end */
    const float *panel;
    float *kept; /* [LEVELS][kept_rows][width]: sums, then the chain that goes on */
    size_t kept_rows, width;
    const float *rate; /* as sgemm_tn */
    float *c;
    size_t ldc;
} columns_block;

static ALWAYS_INLINE float *kept_row(const columns_block *w, size_t level, size_t i) {
    return w->kept + (level * w->kept_rows + i) * w->width;
}

static ALWAYS_INLINE void walk_columns_row(const columns_block *w, size_t i, size_t vectors,
                                           vec_mask last) {
    vec stack[LEVELS][COLUMNS_VECTORS], acc[COLUMNS_VECTORS];
    const vec_mask all = vec_first(LANES);
    const row_group *g = w->group;
    const uint16_t *size = w->size + i * GROUP_SEGMENTS;
    size_t depth = 0, from = i * w->apart;
    for (; depth < g->depth; depth++)
        load_row(vectors, all, kept_row(w, depth, i), stack[depth]);
    bool open = g->open;
    if (open)
        load_row(vectors, all, kept_row(w, depth, i), acc);
    for (size_t s = 0; s < g->segments; s++) {
        const size_t to = i * w->apart + size[s];
        if (!open) {
            UNROLL
            for (size_t v = 0; v < vectors; v++)
                acc[v] = vec_zero();
        }
        add_entries(&w->list, from, to, w->panel, vectors, acc);
        from = to;
        open = !g->segment[s].closes;
        if (open)
            break;
        add_zero(vectors, acc);
        for (size_t merges = g->segment[s].merges; merges > 0; merges--)
            add_sums(vectors, stack[--depth], acc);
        if (w->last_group && s + 1 == g->segments) {
            apply_row(w->rate, vectors, last, acc, w->c + i * w->ldc);
            return;
        }
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            stack[depth][v] = acc[v];
        depth++;
    }
    for (size_t level = 0; level < depth; level++)
        store_row(vectors, all, stack[level], kept_row(w, level, i));
    if (open)
        store_row(vectors, all, acc, kept_row(w, depth, i));
}

/* The same where the group is `count` whole shards, known when compiling as their tree is. */
static ALWAYS_INLINE void walk_whole_row(const columns_block *w, size_t i, size_t count,
                                         size_t vectors, vec_mask last) {
    const vec_mask all = vec_first(LANES);
    vec stack[WHOLE_LEVELS][COLUMNS_VECTORS], acc[COLUMNS_VECTORS];
    const uint16_t *size = w->size + i * GROUP_SEGMENTS;
    const size_t start = i * w->apart;
    size_t from = start, depth = 0;
    UNROLL
    for (size_t s = 0; s < count; s++) {
        const size_t to = start + size[s];
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            acc[v] = vec_zero();
        add_entries(&w->list, from, to, w->panel, vectors, acc);
        from = to;
        add_zero(vectors, acc);
        UNROLL
        for (size_t bits = s; bits % 2 == 1; bits /= 2)
            add_sums(vectors, stack[--depth], acc);
        if (s + 1 == count)
            break;
        UNROLL
        for (size_t v = 0; v < vectors; v++)
            stack[depth][v] = acc[v];
        depth++;
    }
    size_t level = w->group->depth;
    for (size_t merges = w->group->merges; merges > 0; merges--) {
        load_row(vectors, all, kept_row(w, --level, i), stack[0]);
        add_sums(vectors, stack[0], acc);
    }
    if (w->last_group)
        apply_row(w->rate, vectors, last, acc, w->c + i * w->ldc);
    else
        store_row(vectors, all, acc, kept_row(w, level, i));
}

static ALWAYS_INLINE void walk_columns_rows(const columns_block *w, size_t whole, size_t vectors) {
    const vec_mask last = vec_first(w->columns - (vectors - 1) * LANES);
    for (size_t i = 0; i < w->rows; i++) {
        if (w->last_group && i + 1 < w->rows) {
            for (size_t x = 0; x < w->columns; x += 64 / sizeof(float))
                __builtin_prefetch(w->c + (i + 1) * w->ldc + x, 1, 3);
        }
        if (whole > 0)
            walk_whole_row(w, i, whole, vectors, last);
        else
            walk_columns_row(w, i, vectors, last);
    }
}

static ALWAYS_INLINE void walk_columns_block(const columns_block *w, size_t vectors) {
    switch (w->group->whole) {
    case 1:
        walk_columns_rows(w, 1, vectors);
        break;
    case 2:
        walk_columns_rows(w, 2, vectors);
        break;
    case 4:
        walk_columns_rows(w, 4, vectors);
        break;
    default:
        walk_columns_rows(w, 0, vectors);
        break;
    }
}

typedef void (*walk_columns_function)(const columns_block *w);
#define DEFINE_WALK_COLUMNS(v)                                                                     \
    static void walk_columns_block_##v(const columns_block *w) {                                   \
        walk_columns_block(w, v);                                                                  \
    }
COLUMNS_WIDTHS(DEFINE_WALK_COLUMNS)
#define WALK_COLUMNS_ENTRY(v) [v] = walk_columns_block_##v,
static const walk_columns_function walk_columns_functions[COLUMNS_VECTORS + 1] = {
    COLUMNS_WIDTHS(WALK_COLUMNS_ENTRY)};

/* `count` columns, from a on, of a group. */
static void list_columns(const float *a, size_t lda, const row_group *g, size_t count, size_t width,
                         const skip_list *list, size_t apart, uint16_t *size) {
    for (size_t x = 0; x < count; x += LANES) {
        const size_t columns = min_size(LANES, count - x);
        size_t at[LANES];
        for (size_t i = 0; i < columns; i++)
            at[i] = (x + i) * apart;
        for (size_t s = 0, r = 0; s < g->segments; s++) {
            for (size_t rows; r < g->segment[s].end; r += rows) {
                vec column[LANES];
                rows = min_size(LANES, g->segment[s].end - r);
                load_transposed(a + r * lda + x, lda, rows, vec_first(columns), column);
                for (size_t i = 0; i < columns; i++)
                    at[i] += append_nonzero(column[i], r * width, width, list->value + at[i],
                                            list->place + at[i]);
            }
            for (size_t i = 0; i < columns; i++)
                size[(x + i) * GROUP_SEGMENTS + s] = (uint16_t)(at[i] - (x + i) * apart);
        }
    }
}

/* Columns of A whose lists are made together, for so many groups. */
static size_t columns_together(size_t m, size_t groups, size_t apart) {
    const size_t fit = COLUMNS_ENTRIES / (groups * apart) / LANES * LANES;
    const size_t most = min_size(max_size(fit, COLUMNS_TOGETHER), COLUMNS_MOST);
    return divide_up(divide_up(m, divide_up(m, most)), LANES) * LANES;
}

/* Of any shards of k rows. */
static size_t skip_columns_scratch(size_t k) {
    k = min_size(k, COLUMNS_MAX_STEPS);
    const size_t least = skip_block_rows(&COLUMNS, COLUMNS.vectors * LANES);
    const size_t most = skip_block_rows(&COLUMNS, divide_up(COLUMNS.vectors, 2) * LANES);
    const size_t groups =
        2 * divide_up(k, least) + divide_up(k, COLUMNS_LEAST_SHARD * GROUP_SEGMENTS);
    const size_t entries =
        max_size((groups + 2) * COLUMNS_TOGETHER * (most + LANES), COLUMNS_ENTRIES) + LANES;
    /* So few rows are one group, which keeps nothing. */
    const size_t kept =
        k <= least ? 0 : LEVELS * COLUMNS_MOST * COLUMNS.vectors * LANES * sizeof(float);
    return SKIP_PANEL_BYTES + list_bytes(entries) +
           align_up((groups + 2) * COLUMNS_MOST * GROUP_SEGMENTS * sizeof(uint16_t)) + kept;
}

static void skip_columns(size_t m, size_t n, const pt_shards *shards, const float *a, size_t lda,
                         const float *b, size_t ldb, const float *rate, float *c, size_t ldc,
                         void *scratch) {
    const size_t width = skip_width(&COLUMNS, n), most = skip_block_rows(&COLUMNS, width);
    const size_t apart = most + LANES;
    row_group group[MAX_GROUPS];
    const size_t groups = make_groups(shards, most, group);
    const size_t together = columns_together(m, groups, apart);
    char *room = scratch;
    float *panel = scratch;
    room += SKIP_PANEL_BYTES;
    const skip_list list = take_list(&room, groups * together * apart + LANES);
    uint16_t *size = (uint16_t *)(void *)room;
    room += align_up(groups * together * GROUP_SEGMENTS * sizeof *size);
    assert(room + (groups > 1 ? LEVELS * together * width * sizeof(float) : 0) <=
           (char *)scratch + skip_columns_scratch(group[groups - 1].row + group[groups - 1].rows));
    a += shards->row[0] * lda;
    b += shards->row[0] * ldb;
    for (size_t i = 0; i < m; i += together) {
        columns_block w = {.rows = min_size(together, m - i),
                           .apart = apart,
                           .panel = panel,
                           .kept = (float *)(void *)room,
                           .kept_rows = together,
                           .width = width,
                           .rate = rate,
                           .ldc = ldc};
        for (size_t g = 0; g < groups; g++) {
            const skip_list of_group = list_from(&list, g * together * apart);
            list_columns(a + group[g].row * lda + i, lda, &group[g], w.rows, width, &of_group,
                         apart, size + g * together * GROUP_SEGMENTS);
        }
        size_t vectors;
        for (size_t j = 0; j < n; j += vectors * LANES) {
            vectors = even_panel_vectors(n - j, LANES, COLUMNS.vectors);
            w.columns = min_size(vectors * LANES, n - j);
            w.c = c + i * ldc + j;
            for (size_t g = 0; g < groups; g++) {
                pack_panel(group[g].rows, w.columns, b + group[g].row * ldb + j, ldb, panel, width);
                w.group = &group[g];
                w.last_group = g + 1 == groups;
                w.list = list_from(&list, g * together * apart);
                w.size = size + g * together * GROUP_SEGMENTS;
                walk_columns_functions[vectors](&w);
            }
        }
    }
}

/* --- both forms --- */

/* Any shards of k rows. */
static size_t skip_scratch(pt_gemm_form form, size_t m, size_t n, size_t k) {
    if (n < PT_SKIP_LEAST_COLUMNS)
        return 0;
    if (form == PT_GEMM_TN)
        return m >= COLUMNS_LEAST && k >= COLUMNS_LEAST_STEPS ? skip_columns_scratch(k) : 0;
    return m >= ROWS_LEAST && k >= ROWS_LEAST_STEPS ? skip_rows_scratch(m, k) : 0;
}
