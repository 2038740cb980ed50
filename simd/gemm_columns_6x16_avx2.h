/* gemm_columns_6x16_avx2.h: the main tile of the gradient of the weights (tn), where A and B are packed:
 * its loops over a shard's rows in assembly.
 *
 * A shard of 32 rows keeps the FMA units busy for 192 cycles; adding its sums to the tree of shards
 * took 30 more. The numbers are few (12 stores, 24 additions), but in a row of their own nothing else
 * can start. So they are spread over the first step of the next shard: a chain's sum is added to +0
 * and stored, and its register at once begins the next chain, with a product instead of an FMA onto
 * +0 (the two differ in the sign of a zero, which the +0 at the end of the chain makes the same).
 * Wide products became 5 to 10 % faster (Zen 3). No compiler keeps this order, nor the 16 registers;
 * hence assembly.
 *
 * After lanes_avx2.h and gemm_tile_body.h, which has the same for all other tiles.
 */
#ifndef PT_SIMD_GEMM_COLUMNS_6X16_AVX2_H
#define PT_SIMD_GEMM_COLUMNS_6X16_AVX2_H

enum { MAIN_ACCUMULATORS = 12 }; /* row i in 2i and 2i + 1 */

typedef struct main_walk {
    const float *a, *b; /* of the next step: A[l][6], B[l][16] */
    panel_copy copy;
} main_walk;

/* Step u of k from %[a] and %[b]: row i of the tile adds A[u][i] * B[u]. B[u] is in ymm14 and ymm15. */
#define MAIN_B(u)                                                                                  \
    "vmovups 64*" #u "(%[b]), %%ymm14\n\t"                                                         \
    "vmovups 64*" #u "+32(%[b]), %%ymm15\n\t"
#define MAIN_ROW(u, i, left, right)                                                                \
    "vbroadcastss 24*" #u "+4*" #i "(%[a]), %%ymm13\n\t"                                           \
    "vfmadd231ps %%ymm14, %%ymm13, %[" #left "]\n\t"                                               \
    "vfmadd231ps %%ymm15, %%ymm13, %[" #right "]\n\t"
#define MAIN_STEP(u)                                                                               \
    MAIN_B(u)                                                                                      \
    MAIN_ROW(u, 0, c0, c1)                                                                         \
    MAIN_ROW(u, 1, c2, c3)                                                                         \
    MAIN_ROW(u, 2, c4, c5)                                                                         \
    MAIN_ROW(u, 3, c6, c7)                                                                         \
    MAIN_ROW(u, 4, c8, c9)                                                                         \
    MAIN_ROW(u, 5, c10, c11)
#define MAIN_SUMS(acc)                                                                             \
    [c0] "+x"(acc[0]), [c1] "+x"(acc[1]), [c2] "+x"(acc[2]), [c3] "+x"(acc[3]), [c4] "+x"(acc[4]), \
        [c5] "+x"(acc[5]), [c6] "+x"(acc[6]), [c7] "+x"(acc[7]), [c8] "+x"(acc[8]),                \
        [c9] "+x"(acc[9]), [c10] "+x"(acc[10]), [c11] "+x"(acc[11])
#define MAIN_CLOBBERS "memory", "xmm13", "xmm14", "xmm15"

/* The first step of a shard. The sums of the one before go to `before`. */
#define MAIN_SAVE(i, b, c, offset)                                                                 \
    "vaddps %[zero], %[" #c "], %[" #c "]\n\t"                                                     \
    "vmovaps %[" #c "], " #offset "(%[before])\n\t"                                                \
    "vmulps %%" #b ", %%ymm13, %[" #c "]\n\t"
#define MAIN_FIRST_ROW(i, left, right)                                                             \
    "vbroadcastss 4*" #i "(%[a]), %%ymm13\n\t" MAIN_SAVE(i, ymm14, left, 64 * i)                   \
        MAIN_SAVE(i, ymm15, right, 64 * i + 32)
static ALWAYS_INLINE void main_first_step(main_walk *walk, vec before[], vec acc[]) {
    __asm__ volatile(
        MAIN_B(0) MAIN_FIRST_ROW(0, c0, c1) MAIN_FIRST_ROW(1, c2, c3) MAIN_FIRST_ROW(2, c4, c5)
            MAIN_FIRST_ROW(3, c6, c7) MAIN_FIRST_ROW(4, c8, c9) MAIN_FIRST_ROW(5, c10, c11)
        : MAIN_SUMS(acc)
        : [zero] "x"(vec_zero()), [before] "r"(before), [a] "r"(walk->a), [b] "r"(walk->b)
        : MAIN_CLOBBERS);
    walk->a += 6;
    walk->b += 16;
}

/* `count` >= 1 times so many more. */
#define DEFINE_MAIN_STEPS(name, steps, text)                                                       \
    static ALWAYS_INLINE void name(main_walk *walk, size_t count, vec acc[]) {                     \
        __asm__ volatile(                                                                          \
            ".p2align 5\n"                                                                         \
            "1:\n\t" text "add $24*" #steps ", %[a]\n\t"                                           \
            "add $64*" #steps ", %[b]\n\t"                                                         \
            "dec %[count]\n\t"                                                                     \
            "jne 1b"                                                                               \
            : MAIN_SUMS(acc), [a] "+r"(walk->a), [b] "+r"(walk->b), [count] "+r"(count)            \
            :                                                                                      \
            : MAIN_CLOBBERS, "cc");                                                                \
    }
DEFINE_MAIN_STEPS(main_steps_by_one, 1, MAIN_STEP(0))
DEFINE_MAIN_STEPS(main_steps_by_four, 4, MAIN_STEP(0) MAIN_STEP(1) MAIN_STEP(2) MAIN_STEP(3))

static ALWAYS_INLINE void main_three_steps(main_walk *walk, vec acc[]) {
    __asm__ volatile(MAIN_STEP(0) MAIN_STEP(1) MAIN_STEP(2)
                     : MAIN_SUMS(acc)
                     : [a] "r"(walk->a), [b] "r"(walk->b)
                     : MAIN_CLOBBERS);
    walk->a += 3 * 6;
    walk->b += 3 * 16;
}

/* Four more, beside which a row of the next panel is copied. */
static ALWAYS_INLINE void main_steps_and_copy(main_walk *walk, vec acc[]) {
    copy_row(&walk->copy, 2);
    __asm__ volatile(MAIN_STEP(0) MAIN_STEP(1) MAIN_STEP(2) MAIN_STEP(3)
                     : MAIN_SUMS(acc)
                     : [a] "r"(walk->a), [b] "r"(walk->b)
                     : MAIN_CLOBBERS);
    walk->a += 4 * 6;
    walk->b += 4 * 16;
}

/* k more rows of a shard. */
static ALWAYS_INLINE void main_more_steps(main_walk *walk, size_t k, vec acc[]) {
    if (k >= 3) { /* with the first, four: of shards of 4n rows none is left over */
        main_three_steps(walk, acc);
        k -= 3;
    }
    for (; k >= 4 && walk->copy.rows > 0; k -= 4)
        main_steps_and_copy(walk, acc);
    if (k >= 4)
        main_steps_by_four(walk, k / 4, acc);
    if (k % 4 > 0)
        main_steps_by_one(walk, k % 4, acc);
}

/* All shards and their tree, as tile_columns does it. */
static ALWAYS_INLINE void main_tile_columns(const pt_gemm_tile *tile) {
    vec stack[PT_MAX_SHARD_DEPTH][MAIN_ACCUMULATORS], acc[MAIN_ACCUMULATORS];
    size_t depth = 0; /* sums that wait on the stack */
    prefetch_c(tile, tile->c, 6, 2);
    main_walk walk = {.a = tile->a_packed, .b = tile->panel, .copy = start_copy(tile, 2)};
    UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
        acc[x] = vec_zero();
    }
    for (size_t s = 0; s < tile->shards->count; s++) {
        const size_t k = tile->shards->row[s + 1] - tile->shards->row[s];
        assert(depth < PT_MAX_SHARD_DEPTH);
        if (k > 0) {
            main_first_step(&walk, stack[depth], acc);
        } else {
            UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
                stack[depth][x] = vec_add(acc[x], vec_zero());
                acc[x] = vec_zero();
            }
        }
        if (s > 0) { /* the sums of the one before are there now */
            for (size_t merges = tile->shards->merges[s - 1]; merges > 0; merges--, depth--) {
                vec *lower = stack[depth - 1];
                for (size_t x = 0; x < MAIN_ACCUMULATORS; x++)
                    lower[x] = vec_add(lower[x], lower[MAIN_ACCUMULATORS + x]);
            }
            depth++;
        }
        if (k > 1)
            main_more_steps(&walk, k - 1, acc);
    }
    UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
        acc[x] = vec_add(acc[x], vec_zero());
    }
    for (size_t d = depth; d > 0; d--) {
        UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
            acc[x] = vec_add(stack[d - 1][x], acc[x]);
        }
    }
    finish_columns(tile, 6, 2, vec_first(tile->columns - LANES), acc);
}

#endif
