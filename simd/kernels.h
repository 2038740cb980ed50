/* kernels.h: the table of compute kernels, and the arithmetic each of them promises.
 *
 * The numeric contract. What a kernel computes is fixed to the bit; only its speed depends on the
 * instruction set. Every variant gives the same bits as the scalar reference in kernels_scalar.c:
 *   - a matrix product's element is one chain of fused multiply-adds in ascending k, starting from a
 *     bias or +0, and the finished element has +0.0f added once, which turns -0 into +0 and so makes
 *     skipping exact zeros invisible;
 *   - a reduction along a row uses 16 interleaved partial sums (element j goes to lane j % 16, lanes
 *     start at +0), then one tree: lane l += lane l+8, += l+4, += l+2, += l+1;
 *   - elementwise functions are fixed sequences of IEEE-exact operations (+, *, fma, /, sqrt, min,
 *     max, compare, convert), see the formulas in simd/math_*; a NaN is a NaN, of any sign and payload.
 * Kernels must be called with flush-to-zero set (pt_float_environment_enter), so that denormals
 * neither cost time nor depend on the instruction set.
 *
 * Kernels never allocate, never start threads, never fail; shapes are asserted. Pointers need no
 * alignment beyond that of their type, though 64-byte aligned rows are fastest. Unless a comment
 * says "in place allowed", outputs must not overlap inputs. Kernels write the n (or rows x cols)
 * elements they are asked for and nothing else: padding between rows stays untouched. Matrix products
 * may read it, in whole vectors, between a matrix's first and last element, and use none of it. All are
 * thread-safe: they share no state.
 *
 * Strides (lda, ldb, ldx, ...) count floats between the starts of consecutive rows.
 */
#ifndef PT_SIMD_KERNELS_H
#define PT_SIMD_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PT_MAX_SHARDS = 256, PT_REDUCTION_LANES = 16 };

/* A contiguous range of shards of a mini-batch, and the tree that sums them. Shard s covers the rows
 * row[s] .. row[s+1]-1. The tree is described by its leaves from left to right: after shard s has
 * been added to a stack of partial sums, the two topmost are added (the lower one first) merges[s]
 * times. After the last shard exactly one sum is left. */
typedef struct pt_shards {
    size_t count;          /* number of shards, 1 .. PT_MAX_SHARDS */
    const uint32_t *row;   /* count + 1 row offsets, ascending; an empty shard sums to +0 */
    const uint8_t *merges; /* count entries */
} pt_shards;

enum { PT_MAX_SHARD_DEPTH = 10 }; /* the stack is never deeper: ceil(log2(PT_MAX_SHARDS)) + 2 */

/* One row of bytes, most of them zero, as those that are not, made once by sparse_list. */
typedef struct pt_sparse_row {
    const uint64_t *bitmap; /* bit c % 64 of word c / 64: whether column c is not zero */
    const uint16_t *column; /* those columns, ascending */
    const uint8_t *byte;    /* and their bytes; PT_SPARSE_SLACK bytes behind them can be read */
} pt_sparse_row;

enum {
    PT_SPARSE_MAX_COLUMNS = 1 << 16,
    PT_SPARSE_SLACK = 64,
};

/* Which product a scratch size is asked for. */
typedef enum pt_gemm_form { PT_GEMM_NN, PT_GEMM_NT, PT_GEMM_TN } pt_gemm_form;

typedef struct pt_kernels {
    const char *isa; /* "scalar", "avx2", "avx512" */

    /* Bytes of scratch (64-byte aligned, one per thread) that a product of this form and shape
     * wants; may be 0. Never shrinks when a dimension grows. */
    size_t (*sgemm_scratch)(pt_gemm_form form, size_t m, size_t n, size_t k);

    /* In the three products zeros of A may be skipped (they are where many are zero and B is wide):
     * B must be finite, or a 0 * inf may show or not. */

    /* Affine forward. C[m x n] = bias + A[m x k] B[k x n]; chain over k ascending, starting from
     * bias[j] (bias NULL: from +0). With `relu`, C = relu_forward of that. */
    void (*sgemm_nn)(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                     size_t ldb, const float *bias, bool relu, float *c, size_t ldc, void *scratch);

    /* Gradient to the inputs. C[m x n] = A[m x k] B[n x k]^T; chain over k ascending from +0. With a
     * gate [m x n], of stride ldc and not C itself, C = relu_backward(gate, that); NULL: without. */
    void (*sgemm_nt)(size_t m, size_t n, size_t k, const float *a, size_t lda, const float *b,
                     size_t ldb, const float *gate, float *c, size_t ldc, void *scratch);

    /* Gradient to the weights. G[m x n] = the shard tree of A[rows x m]^T B[rows x n]: within a shard
     * one chain over its rows ascending from +0; the shards' sums are added along shards->merges.
     * Row offsets index A and B. +0.0f is added to each shard's sum (not after the tree: a sum of
     * two canonical zeros is +0). Here and in the other gradients, C = G where `rate` is NULL; else
     * C = fma(*rate, G, C): gradient descent in place, which is what sgd_update does with G. There
     * *rate must not be positive, nor C hold denormals: where G is zero C may be left alone. */
    void (*sgemm_tn)(size_t m, size_t n, const pt_shards *shards, const float *a, size_t lda,
                     const float *b, size_t ldb, const float *rate, float *c, size_t ldc,
                     void *scratch);

    /* Gradient to a bias. G[n] = the shard tree of column sums of X[rows x n]; within a shard the
     * rows are added in order, starting from +0. */
    void (*column_sum)(size_t n, const pt_shards *shards, const float *x, size_t ldx,
                       const float *rate, float *c);

    /* Products whose left factor is the sparse matrix A[r][column] = value[byte of row r]; value is
     * a table of 256 finite numbers with value[0] == 0, and B (and, with a rate, C) must be finite.
     * Bit for bit what sgemm_nn and sgemm_tn give for A in floats. */

    /* Bytes of scratch (64-byte aligned, one per thread) that either product wants for so many rows
     * of A, columns of B and columns of A, in any shards. Never shrinks when one of them grows. */
    size_t (*sparse_scratch)(size_t rows, size_t n, size_t columns);

    /* C[m x n] = bias + A[m x k] B[k x n] (bias NULL: from +0), or a part of it: only columns begin
     * .. end-1 of A are added, the chains start if begin is 0 (else go on from C) and finish if end
     * is k (`relu`: as in sgemm_nn), so that calls for 0 .. e, e .. f, f .. k are one for 0 .. k.
     * `ahead` (NULL: nothing) are m rows whose lists to prefetch meanwhile: random rows of a data set
     * come from memory, and asking for one between two rows' arithmetic costs little, while asking for
     * all at once would wait for them. */
    void (*sparse_nn)(size_t m, size_t n, size_t k, size_t begin, size_t end,
                      const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                      const float *bias, bool relu, float *c, size_t ldc,
                      const pt_sparse_row *ahead, void *scratch);

    /* Rows begin .. end-1 of the gradient: G[(end-begin) x n] = the shard tree of columns begin ..
     * end-1 of A, transposed, times B[rows x n]; into C as sgemm_tn says. Row offsets index a and B.
     * Pieces that begin at multiples of 64 are fastest. */
    void (*sparse_tn)(size_t begin, size_t end, size_t n, const pt_shards *shards,
                      const pt_sparse_row *a, const float *value, const float *b, size_t ldb,
                      const float *rate, float *c, size_t ldc, void *scratch);

    /* How many of n bytes are not zero. */
    size_t (*count_nonzero)(size_t n, const uint8_t *x);
    /* Lists a row of n <= PT_SPARSE_MAX_COLUMNS bytes: n / 64 words of the bitmap, rounded up (bits
     * beyond n are 0), then as many columns and bytes as there are not zero. */
    void (*sparse_list)(size_t n, const uint8_t *x, uint64_t *bitmap, uint16_t *column,
                        uint8_t *byte);

    /* Elementwise, n contiguous floats, in place allowed (y == x, dx == dy). */
    void (*relu_forward)(size_t n, const float *x, float *y); /* y = x > 0 ? x : +0 (NaN: NaN) */
    void (*relu_backward)(size_t n, const float *y, const float *dy, float *dx); /* y>0 ? dy : +0 */
    void (*sigmoid_forward)(size_t n, const float *x, float *y); /* 1 / (1 + exp(-x)) */
    /* dy (y (1 - y)) */
    void (*sigmoid_backward)(size_t n, const float *y, const float *dy, float *dx);
    void (*tanh_forward)(size_t n, const float *x, float *y);
    /* dy fma(-y, y, 1) */
    void (*tanh_backward)(size_t n, const float *y, const float *dy, float *dx);
    void (*gelu_forward)(size_t n, const float *x, float *y); /* x Phi(x), Phi of the normal law */
    /* dy (Phi(x) + x phi(x)): of the input x, not of y */
    void (*gelu_backward)(size_t n, const float *x, const float *dy, float *dx);
    /* x sigmoid(x); +0 from x = -88 down, where it is between -5.4e-37 and -0 */
    void (*silu_forward)(size_t n, const float *x, float *y);
    /* dy sigmoid(x) (1 + x sigmoid(-x)): of the input x, not of y */
    void (*silu_backward)(size_t n, const float *x, const float *dy, float *dx);
    /* The parts of others, by themselves for tests and benchmarks: */
    void (*exp_forward)(size_t n, const float *x, float *y); /* 0 below -87.3, inf above 88.7 */
    void (*log_forward)(size_t n, const float *x, float *y); /* x <= 0: -inf for 0, NaN below */
    void (*add)(size_t n, const float *a, const float *b, float *y);      /* y = a + b */
    void (*multiply)(size_t n, const float *a, const float *b, float *y); /* y = a * b */

    /* Pixels to numbers: y = fma((float)x, scale, offset). */
    void (*u8_to_float)(size_t n, const uint8_t *x, float scale, float offset, float *y);

    /* Row kernels on rows x n with strides; in place allowed (y == x with equal strides).
     * m = the row's maximum, e_j = exp(x_j - m), s = the row reduction of e. */
    void (*softmax_forward)(size_t rows, size_t n, const float *x, size_t ldx, float *y,
                            size_t ldy); /* y_j = e_j / s */
    void (*softmax_backward)(size_t rows, size_t n, const float *y, size_t ldy, const float *dy,
                             size_t lddy, float *dx, size_t lddx);
    /* dx_j = y_j (dy_j - sum_i dy_i y_i), the sum a row reduction of fused products */

    /* Softmax with cross-entropy. loss[row] = log(s) - (x_label - m); dx_j = (e_j / s - [j == label])
     * * factor, where factor is usually 1 / batch. dx may be x (in place), or NULL: loss only.
     * Labels are within 0 .. n-1. */
    void (*softmax_cross_entropy)(size_t rows, size_t n, const float *x, size_t ldx,
                                  const int32_t *label, float factor, float *dx, size_t lddx,
                                  float *loss);

    /* The book's sum of squares. loss[row] = 1/2 sum_j (x_j - t_j)^2 (a row reduction of fma chains
     * per lane), dx_j = (x_j - t_j) * factor. dx may be x, or NULL. */
    void (*squared_error)(size_t rows, size_t n, const float *x, size_t ldx, const float *target,
                          size_t ldt, float factor, float *dx, size_t lddx, float *loss);

    /* Index of each row's largest element, the lowest index of equals; NaN never wins. */
    void (*argmax)(size_t rows, size_t n, const float *x, size_t ldx, int32_t *index);

    /* Optimizers, elementwise on n contiguous floats. w (and state) in place; g is read only. */
    void (*sgd_update)(size_t n, float learning_rate, const float *g, float *w);
    /* w = fma(-learning_rate, g, w) */
    void (*momentum_update)(size_t n, float learning_rate, float momentum, const float *g, float *v,
                            float *w);
    /* v = fma(momentum, v, -learning_rate * g); w = w + v */
    void (*adam_update)(size_t n, float step_size, float beta1, float beta2, float epsilon,
                        const float *g, float *m, float *v, float *w);
    /* m = fma(1-beta1, g - m, m); v = fma(1-beta2, fma(g, g, -v), v), which is never negative;
     * w = w - (step_size * m) / (sqrt(v) + epsilon); step_size carries the bias correction:
     * learning_rate * sqrt(1 - beta2^t) / (1 - beta1^t), epsilon the matching scaled epsilon */
} pt_kernels;

typedef enum pt_isa { PT_ISA_AUTO, PT_ISA_SCALAR, PT_ISA_AVX2, PT_ISA_AVX512, PT_ISA_COUNT } pt_isa;

/* What the processor and the operating system can run: the best of the list. Never PT_ISA_AUTO. */
pt_isa pt_isa_best(void);
/* "auto", "scalar", "avx2", "avx512"; pt_isa_parse gives 0 on success, -1 for an unknown name. */
extern const char *const pt_isa_names[PT_ISA_COUNT];
const char *pt_isa_name(pt_isa isa);
int pt_isa_parse(const char *name, pt_isa *isa);
/* The kernel table of an instruction set (PT_ISA_AUTO: the best), or NULL where this machine cannot
 * run it. Tables are static and constant. */
const pt_kernels *pt_kernels_get(pt_isa isa);

/* Sets flush-to-zero and denormals-are-zero on the calling thread and round-to-nearest; returns the
 * previous state for pt_float_environment_leave. */
unsigned pt_float_environment_enter(void);
void pt_float_environment_leave(unsigned previous);
/* Makes denormals zeros of their sign, as those settings do with results: for numbers that come from
 * outside, such as initial weights, before kernels see them. */
void pt_flush_denormals(size_t n, float *x);

#endif
