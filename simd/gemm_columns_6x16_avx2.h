/* gemm_columns_6x16_avx2.h: the main tile of the gradient of the weights (tn), where A and B are packed:
 * its loops over a shard's rows in assembly.
 *
 * A shard of 32 rows keeps the FMA units busy for 192 cycles; adding its sums to the tree of shards
 * took 30 more. The numbers are few, but in a row of their own nothing else can start, and 12 stores one
 * after the other hold up the FMAs, more so while the core's other half is busy. So they are spread over
 * the first step of the next shard: a chain's sum is added to the one it is merged with, or to +0, and
 * stored, and its register at once begins the next chain, with a product instead of an FMA onto +0 (the
 * two differ in the sign of a zero, which the +0 at the end of the chain, or of the one it is merged
 * with, makes the same). No compiler keeps this order, nor the 16 registers; hence assembly.
 *
 * The end of a tile is left to the compiler: its sums, saved like a shard's, came out 3 % slower.
 *
 * After lanes_avx2.h and gemm_tile_body.h, which has the same for all other tiles.
 */
#ifndef PT_SIMD_GEMM_COLUMNS_6X16_AVX2_H
#define PT_SIMD_GEMM_COLUMNS_6X16_AVX2_H

enum { MAIN_ACCUMULATORS = 12 }; /* row i in 2i and 2i + 1 */

typedef struct main_walk {
    const float *a, *b; /* of the next step: A[l][6], B[l][16] */
    size_t a_step;      /* strided: bytes from one row of A to the next */
    panel_copy copy;
} main_walk;

/* A is packed, or lies in rows of the matrix (strided). Then the next tile's part of a row is asked for
 * on the way. MAIN_A: A[u][i]; MAIN_A_ROW: after each step; MAIN_A_ROWS: after so many. */
#define MAIN_A_packed(u, i)       "24*" #u "+4*" #i "(%[a])"
#define MAIN_A_ROW_packed         ""
#define MAIN_A_ROWS_packed(steps) "add $24*" #steps ", %[a]\n\t"
#define MAIN_A_strided(u, i)      "4*" #i "(%[a])"
#define MAIN_A_ROW_strided                                                                         \
    "prefetcht0 44(%[a])\n\t"                                                                      \
    "add %[a_step], %[a]\n\t"
#define MAIN_A_ROWS_strided(steps) ""

/* Step u of k from %[a] and %[b]: row i of the tile adds A[u][i] * B[u]. B[u] is in ymm14 and ymm15. */
#define MAIN_B(u)                                                                                  \
    "vmovups 64*" #u "(%[b]), %%ymm14\n\t"                                                         \
    "vmovups 64*" #u "+32(%[b]), %%ymm15\n\t"
#define MAIN_ROW(form, u, i, left, right)                                                          \
    "vbroadcastss " MAIN_A_##form(u, i) ", %%ymm13\n\t"                                            \
                                        "vfmadd231ps %%ymm14, %%ymm13, %[" #left "]\n\t"           \
                                        "vfmadd231ps %%ymm15, %%ymm13, %[" #right "]\n\t"
#define MAIN_STEP(form, u)                                                                         \
    MAIN_B(u)                                                                                      \
    MAIN_ROW(form, u, 0, c0, c1)                                                                   \
    MAIN_ROW(form, u, 1, c2, c3)                                                                   \
    MAIN_ROW(form, u, 2, c4, c5)                                                                   \
    MAIN_ROW(form, u, 3, c6, c7)                                                                   \
    MAIN_ROW(form, u, 4, c8, c9)                                                                   \
    MAIN_ROW(form, u, 5, c10, c11) MAIN_A_ROW_##form
#define MAIN_STEPS_1(form) MAIN_STEP(form, 0)
#define MAIN_STEPS_3(form) MAIN_STEP(form, 0) MAIN_STEP(form, 1) MAIN_STEP(form, 2)
#define MAIN_STEPS_4(form) MAIN_STEPS_3(form) MAIN_STEP(form, 3)
/* The first step of a tile, and of a later shard: the sums of the one before are added to what waits for
 * them at `lower`, and go to `sum`. */
#define MAIN_BEGIN(b, c, offset) "vmulps %%" #b ", %%ymm13, %[" #c "]\n\t"
#define MAIN_SAVE(b, c, offset)                                                                    \
    "vaddps " #offset "(%[lower]), %[" #c "], %[" #c "]\n\t"                                       \
    "vmovaps %[" #c "], " #offset "(%[sum])\n\t" MAIN_BEGIN(b, c, offset)
#define MAIN_FIRST_ROW(form, chain, i, left, right)                                                \
    "vbroadcastss " MAIN_A_##form(0, i) ", %%ymm13\n\t" chain(ymm14, left, 64 * i)                 \
        chain(ymm15, right, 64 * i + 32)
#define MAIN_FIRST(form, chain)                                                                    \
    MAIN_B(0)                                                                                      \
    MAIN_FIRST_ROW(form, chain, 0, c0, c1)                                                         \
    MAIN_FIRST_ROW(form, chain, 1, c2, c3)                                                         \
    MAIN_FIRST_ROW(form, chain, 2, c4, c5)                                                         \
    MAIN_FIRST_ROW(form, chain, 3, c6, c7)                                                         \
    MAIN_FIRST_ROW(form, chain, 4, c8, c9)                                                         \
    MAIN_FIRST_ROW(form, chain, 5, c10, c11) MAIN_A_ROW_##form

#define MAIN_SUMS(acc)                                                                             \
    [c0] "+&x"(acc[0]), [c1] "+&x"(acc[1]), [c2] "+&x"(acc[2]), [c3] "+&x"(acc[3]),                \
        [c4] "+&x"(acc[4]), [c5] "+&x"(acc[5]), [c6] "+&x"(acc[6]), [c7] "+&x"(acc[7]),            \
        [c8] "+&x"(acc[8]), [c9] "+&x"(acc[9]), [c10] "+&x"(acc[10]), [c11] "+&x"(acc[11])
#define MAIN_CLOBBERS "memory", "cc", "xmm13", "xmm14", "xmm15"

/* One step, the first of a shard; three, so that of shards of 4n rows none is left over; four, beside
 * which a row of the next panel is copied; `count` >= 1 times four or one. (An asm has at most 30
 * operands, the sums count twice.) */
#define DEFINE_MAIN(form)                                                                          \
    static ALWAYS_INLINE void main_begin_##form(main_walk *walk, vec acc[]) {                      \
        __asm__ volatile(MAIN_FIRST(form, MAIN_BEGIN) MAIN_A_ROWS_##form(1)                        \
                         : MAIN_SUMS(acc), [a] "+&r"(walk->a)                                      \
                         : [b] "r"(walk->b), [a_step] "r"(walk->a_step)                            \
                         : MAIN_CLOBBERS);                                                         \
        walk->b += 16;                                                                             \
    }                                                                                              \
    static ALWAYS_INLINE void main_first_##form(main_walk *walk, const vec lower[], vec sum[],     \
                                                vec acc[]) {                                       \
        __asm__ volatile(                                                                          \
            MAIN_FIRST(form, MAIN_SAVE) MAIN_A_ROWS_##form(1)                                      \
            : MAIN_SUMS(acc), [a] "+&r"(walk->a)                                                   \
            : [b] "r"(walk->b), [a_step] "r"(walk->a_step), [lower] "r"(lower), [sum] "r"(sum)     \
            : MAIN_CLOBBERS);                                                                      \
        walk->b += 16;                                                                             \
    }                                                                                              \
    DEFINE_MAIN_STEPS(form, 3)                                                                     \
    DEFINE_MAIN_STEPS(form, 4)                                                                     \
    DEFINE_MAIN_LOOP(form, 4)                                                                      \
    DEFINE_MAIN_LOOP(form, 1)
#define DEFINE_MAIN_STEPS(form, steps)                                                             \
    static ALWAYS_INLINE void main_##steps##_##form(main_walk *walk, vec acc[]) {                  \
        __asm__ volatile(MAIN_STEPS_##steps(form) MAIN_A_ROWS_##form(steps)                        \
                         : MAIN_SUMS(acc), [a] "+&r"(walk->a)                                      \
                         : [b] "r"(walk->b), [a_step] "r"(walk->a_step)                            \
                         : MAIN_CLOBBERS);                                                         \
        walk->b += (steps)*16;                                                                     \
    }
#define DEFINE_MAIN_LOOP(form, steps)                                                              \
    static ALWAYS_INLINE void main_by_##steps##_##form(main_walk *walk, size_t count, vec acc[]) { \
        __asm__ volatile(".p2align 5\n"                                                            \
                         "1:\n\t" MAIN_STEPS_##steps(form)                                         \
                             MAIN_A_ROWS_##form(steps) "add $64*" #steps ", %[b]\n\t"              \
                                                       "cmp %[end], %[b]\n\t"                      \
                                                       "jne 1b"                                    \
                         : MAIN_SUMS(acc), [a] "+&r"(walk->a), [b] "+&r"(walk->b)                  \
                         : [end] "r"(walk->b + (steps)*16 * count), [a_step] "r"(walk->a_step)     \
                         : MAIN_CLOBBERS);                                                         \
    }
DEFINE_MAIN(packed)
DEFINE_MAIN(strided)

#define MAIN(steps, packed, ...)                                                                   \
    ((packed) ? main_##steps##_packed(__VA_ARGS__) : main_##steps##_strided(__VA_ARGS__))

/* k more rows of a shard. */
static ALWAYS_INLINE void main_more_steps(main_walk *walk, bool packed, size_t k, vec acc[]) {
    if (k >= 3) {
        MAIN(3, packed, walk, acc);
        k -= 3;
    }
    for (; k >= 4 && walk->copy.rows > 0; k -= 4) {
        copy_row(&walk->copy, 2);
        MAIN(4, packed, walk, acc);
    }
    if (k >= 4)
        MAIN(by_4, packed, walk, k / 4, acc);
    if (k % 4 > 0)
        MAIN(by_1, packed, walk, k % 4, acc);
}

/* Sums that wait for those they are to be added to, as in all_shards. */
typedef struct main_tree {
    vec sum[PT_MAX_SHARD_DEPTH][MAIN_ACCUMULATORS];
    size_t depth;
    bool ends_in_sum; /* the last one is of several shards */
} main_tree;

/* The sums of a shard go on the tree, merged so many times; meanwhile the next shard begins, if it has
 * rows. */
static ALWAYS_INLINE void main_next_shard(main_tree *tree, size_t merges, main_walk *walk,
                                          bool packed, bool has_rows, vec acc[]) {
    static const vec zeros[MAIN_ACCUMULATORS];
    /* Underflow may have made -0 of it, and -0 and a shard's -0, which got no +0, would stay so. (In a
     * balanced tree a lone shard is not added to a sum of several.) */
    if (merges > 0 && tree->ends_in_sum)
        add_zero(MAIN_ACCUMULATORS, tree->sum[tree->depth - 1]);
    tree->ends_in_sum = merges > 0;
    const vec *lower = merges > 0 ? tree->sum[--tree->depth] : zeros;
    assert(tree->depth < PT_MAX_SHARD_DEPTH);
    vec *sum = tree->sum[tree->depth++];
    if (has_rows) {
        MAIN(first, packed, walk, lower, sum, acc);
    } else {
        UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
            sum[x] = vec_add(lower[x], acc[x]);
            acc[x] = vec_zero();
        }
    }
    for (; merges > 1; merges--, tree->depth--) {
        vec *left = tree->sum[tree->depth - 2];
        for (size_t x = 0; x < MAIN_ACCUMULATORS; x++)
            left[x] = vec_add(left[x], left[MAIN_ACCUMULATORS + x]);
    }
}

/* All shards and their tree. */
static ALWAYS_INLINE void main_all_shards(const pt_shards *shards, main_walk *walk, bool packed,
                                          const float *c, size_t ldc, vec acc[]) {
    main_tree tree;
    tree.depth = 0;
    tree.ends_in_sum = false;
    UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
        acc[x] = vec_zero();
    }
    for (size_t s = 0; s < shards->count; s++) {
        const size_t k = shards->row[s + 1] - shards->row[s];
        if (s == shards->count / 2) /* not while the stores of the tile before wait */
            prefetch_c(c, ldc, 6, 2);
        if (s > 0)
            main_next_shard(&tree, shards->merges[s - 1], walk, packed, k > 0, acc);
        else if (k > 0)
            MAIN(begin, packed, walk, acc);
        if (k > 1)
            main_more_steps(walk, packed, k - 1, acc);
    }
    UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
        acc[x] = vec_add(acc[x], vec_zero());
    }
    for (size_t d = tree.depth; d > 0; d--) {
        UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
            acc[x] = vec_add(tree.sum[d - 1][x], acc[x]);
        }
    }
}

static ALWAYS_INLINE void main_tile_columns(const pt_gemm_tile *run, bool packed) {
    const vec_mask last = vec_first(run->columns - LANES);
    const float *a = packed ? run->a_packed : run->a, *panel = run->panel;
    float *c = run->c;
    main_walk walk = {.a_step = run->lda * sizeof(float), .copy = start_copy(run, 2)};
    for (size_t left = run->tiles; left > 0; left--) {
        vec acc[MAIN_ACCUMULATORS];
        walk.a = a;
        walk.b = panel;
        share_copy(&walk.copy, run->next_share);
        main_all_shards(run->shards, &walk, packed, c, run->ldc, acc);
        finish_columns(run->rate, c, run->ldc, 6, 2, last, acc);
        a += run->a_step;
        panel += run->panel_step;
        c += run->c_step;
    }
}

#endif
