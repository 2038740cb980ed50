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
/* The first step of a shard. The sums of the one before go to `before`. */
#define MAIN_SAVE(b, c, offset)                                                                    \
    "vaddps %[zero], %[" #c "], %[" #c "]\n\t"                                                     \
    "vmovaps %[" #c "], " #offset "(%[before])\n\t"                                                \
    "vmulps %%" #b ", %%ymm13, %[" #c "]\n\t"
#define MAIN_FIRST_ROW(form, i, left, right)                                                       \
    "vbroadcastss " MAIN_A_##form(0, i) ", %%ymm13\n\t" MAIN_SAVE(ymm14, left, 64 * i)             \
        MAIN_SAVE(ymm15, right, 64 * i + 32)
#define MAIN_FIRST(form)                                                                           \
    MAIN_B(0)                                                                                      \
    MAIN_FIRST_ROW(form, 0, c0, c1)                                                                \
    MAIN_FIRST_ROW(form, 1, c2, c3)                                                                \
    MAIN_FIRST_ROW(form, 2, c4, c5)                                                                \
    MAIN_FIRST_ROW(form, 3, c6, c7)                                                                \
    MAIN_FIRST_ROW(form, 4, c8, c9)                                                                \
    MAIN_FIRST_ROW(form, 5, c10, c11) MAIN_A_ROW_##form

#define MAIN_SUMS(acc)                                                                             \
    [c0] "+&x"(acc[0]), [c1] "+&x"(acc[1]), [c2] "+&x"(acc[2]), [c3] "+&x"(acc[3]),                \
        [c4] "+&x"(acc[4]), [c5] "+&x"(acc[5]), [c6] "+&x"(acc[6]), [c7] "+&x"(acc[7]),            \
        [c8] "+&x"(acc[8]), [c9] "+&x"(acc[9]), [c10] "+&x"(acc[10]), [c11] "+&x"(acc[11])
#define MAIN_CLOBBERS "memory", "cc", "xmm13", "xmm14", "xmm15"

/* One step, the first of a shard; three, so that of shards of 4n rows none is left over; four, beside
 * which a row of the next panel is copied; `count` >= 1 times four or one. (An asm has at most 30
 * operands, the sums count twice.) */
#define DEFINE_MAIN(form)                                                                          \
    static ALWAYS_INLINE void main_first_##form(main_walk *walk, vec before[], vec acc[]) {        \
        __asm__ volatile(MAIN_FIRST(form) MAIN_A_ROWS_##form(1)                                    \
                         : MAIN_SUMS(acc), [a] "+&r"(walk->a)                                      \
                         : [b] "r"(walk->b), [a_step] "r"(walk->a_step), [zero] "x"(vec_zero()),   \
                           [before] "r"(before)                                                    \
                         : MAIN_CLOBBERS);                                                         \
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

/* All shards and their tree, as all_shards does it. */
static ALWAYS_INLINE void main_all_shards(const pt_shards *shards, main_walk *walk, bool packed,
                                          const float *c, size_t ldc, vec acc[]) {
    vec stack[PT_MAX_SHARD_DEPTH][MAIN_ACCUMULATORS];
    size_t depth = 0; /* sums that wait on the stack */
    UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
        acc[x] = vec_zero();
    }
    for (size_t s = 0; s < shards->count; s++) {
        const size_t k = shards->row[s + 1] - shards->row[s];
        assert(depth < PT_MAX_SHARD_DEPTH);
        if (s == prefetch_c_at(shards))
            prefetch_c(c, ldc, 6, 2);
        if (k > 0) {
            MAIN(first, packed, walk, stack[depth], acc);
        } else {
            UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
                stack[depth][x] = vec_add(acc[x], vec_zero());
                acc[x] = vec_zero();
            }
        }
        if (s > 0) { /* the sums of the one before are there now */
            for (size_t merges = shards->merges[s - 1]; merges > 0; merges--, depth--) {
                vec *lower = stack[depth - 1];
                for (size_t x = 0; x < MAIN_ACCUMULATORS; x++)
                    lower[x] = vec_add(lower[x], lower[MAIN_ACCUMULATORS + x]);
            }
            depth++;
        }
        if (k > 1)
            main_more_steps(walk, packed, k - 1, acc);
    }
    UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
        acc[x] = vec_add(acc[x], vec_zero());
    }
    for (size_t d = depth; d > 0; d--) {
        UNROLL for (size_t x = 0; x < MAIN_ACCUMULATORS; x++) {
            acc[x] = vec_add(stack[d - 1][x], acc[x]);
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
