/* layer.h: what a layer is: one operations struct per type, one line in 1_config/layer_types.h.
 *
 * A layer sees rows and buffers, never threads. Its forward and backward work on any block of rows;
 * its parameter gradient works on any slice of a parameter's rows and any range of shards.
 * Splitting the gradient to the inputs (backward) from the gradient to the parameters (gradient) is
 * what leaves the schedule free: who computes what never changes a bit.
 *
 * To add a layer: write layer_NAME.c with `const pt_layer_ops pt_layer_NAME`, add one line to
 * 1_config/layer_types.h. The tests then demand its gradient check, and the list feeds the config's
 * reference and did-you-mean.
 */
#ifndef PT_GRAPH_LAYER_H
#define PT_GRAPH_LAYER_H

#include "1_config/config.h"
#include "1_config/layer_types.h"
#include "simd/kernels.h"

#include <stdbool.h>
#include <stddef.h>

enum { PT_MAX_RANK = 4, PT_NODE_MAX_PARAMS = 2, PT_ROW_ALIGN = 16 /* floats: one cache line */ };

/* Shape of one row (without the batch dimension). */
typedef struct pt_shape {
    size_t rank, dim[PT_MAX_RANK];
} pt_shape;

/* A trainable tensor: rows x cols floats with row stride ld in the graph's one parameter block. The
 * padding between cols and ld is zero and stays zero. */
typedef struct pt_param {
    char *name; /* "fc1.weight" */
    size_t rows, cols, ld;
    size_t offset; /* floats from the start of the block */
    size_t rank;   /* 1: saved as [cols], 2: saved as [rows, cols] */
    size_t fan_in; /* for initialisers that scale by it */
    pt_init init;
    const float *value; /* not NULL: initial values (cols of them), owned by the config */
    size_t node;
} pt_param;

typedef struct pt_layer_ops pt_layer_ops;

typedef struct pt_node {
    const pt_layer_ops *ops;       /* NULL for node 0, the data */
    const pt_layer_config *config; /* NULL for node 0 */
    const char *name;
    size_t input[PT_MAX_INPUTS]; /* indices of earlier nodes */
    size_t input_count;
    pt_shape shape;
    size_t cols, ld; /* floats in a row, and between rows in memory */
    size_t first_param, param_count;
    size_t consumers;    /* how many inputs of later nodes (or the loss) this node feeds */
    bool needs_gradient; /* a parameter lies here or upstream */
    /* Whether this node's gradient to input i is the first contribution to that node's gradient, in
     * the fixed order of the backward walk; later contributions are added. */
    bool first_contribution[PT_MAX_INPUTS];
    /* A ReLU beside matrix products need not be walked: they apply it to what they compute while it is
     * in registers. Which of this node's walks that spares; and whether this node's forward applies the
     * ReLU that reads it. A tape may do without, see tape.h. */
    bool folds_forward, folds_backward, applies_relu;
} pt_node;

/* The buffers of one call; every row pointer is that of the first row of the call. */
typedef struct pt_call {
    const pt_kernels *kernels;
    size_t rows;
    /* The columns to compute: of out in forward, of d_in in backward. All of them, unless the layer
     * says splits_columns. */
    size_t col_begin, col_end;
    const float *in[PT_MAX_INPUTS]; /* rows x in_ld[i] */
    size_t in_ld[PT_MAX_INPUTS], in_cols[PT_MAX_INPUTS];
    /* The rows of input 0 as sparse bytes instead of in[0], where the layer says takes_sparse; with
     * the number each byte stands for. NULL: dense. */
    const pt_sparse_row *sparse_in;
    const float *byte_value;
    size_t in_begin, in_end;    /* forward adds these columns of sparse_in; see sparse_nn */
    const pt_sparse_row *ahead; /* as many rows to prefetch; NULL: none */
    float *out;                 /* rows x node->ld: written by forward, read by backward */
    bool relu;                  /* forward: out = relu of it, where the layer says takes_relu */
    const float *gate;  /* backward, likewise: d_in[0] = relu_backward(gate, it), if not NULL */
    const float *d_out; /* gradient of the loss to out */
    float *d_in[PT_MAX_INPUTS]; /* gradients to the inputs, with in_ld; NULL: not wanted */
    const float *param[PT_NODE_MAX_PARAMS]; /* row 0 of each parameter, stride of its pt_param */
    size_t param_ld[PT_NODE_MAX_PARAMS];
    void *scratch; /* ops->scratch bytes, this thread's own */
} pt_call;

/* Rows and columns of a parameter whose gradient is wanted; all columns, unless the layer says
 * splits_columns. */
typedef struct pt_gradient_part {
    size_t row_begin, row_end, col_begin, col_end;
    const pt_shards
        *shards;       /* summed over these; their row offsets index in and d_out of the call */
    const float *rate; /* NULL: out = gradient; else out += *rate * gradient, see sgemm_tn */
    float *out;        /* of (row_begin, col_begin) */
    size_t out_ld;
} pt_gradient_part;

/* The float64 reference of a layer: naive loops, contiguous rows. */
typedef struct pt_call_f64 {
    size_t rows;
    const double *in[PT_MAX_INPUTS];
    size_t in_cols[PT_MAX_INPUTS];
    double *out;
    const double *param[PT_NODE_MAX_PARAMS]; /* contiguous rows x cols */
} pt_call_f64;

/* What the shape pass may ask for, collected by the graph. */
typedef struct pt_param_request {
    const char *suffix; /* "weight" */
    size_t rows, cols, rank, fan_in;
    pt_init init;
    const float *value;
} pt_param_request;

typedef struct pt_shape_pass {
    pt_shape in[PT_MAX_INPUTS];
    pt_param_request param[PT_NODE_MAX_PARAMS];
    size_t param_count;
    char problem[256]; /* why the shapes do not fit; the graph adds place and layer name */
} pt_shape_pass;

struct pt_layer_ops {
    const char *type;
    size_t min_inputs, max_inputs;
    /* Its columns can be computed apart: forward by output columns, backward by input columns (all
     * inputs then have equally many), gradients by the parameter's columns. Rows can always be. */
    bool splits_columns;
    bool takes_sparse; /* input 0 may come as sparse_in */
    bool is_relu;
    /* Applies a ReLU before and after itself: relu and gate of its calls. Has one input and says
     * forgets_output. */
    bool takes_relu;
    /* May lie in the memory of its one input, if that says forgets_output: forward may have out ==
     * in[0], and backward then d_in[0] == d_out too. */
    bool in_place;
    bool forgets_output; /* neither backward nor gradient reads the node's output */
    unsigned keys;       /* PT_LAYER_KEY_* it takes */
    unsigned required_keys;
    /* Checks the input shapes, sets node->shape and the requests. False: pass->problem says why. */
    bool (*shape)(pt_node *node, pt_shape_pass *pass);
    void (*forward)(const pt_node *node, const pt_call *call);
    void (*backward)(const pt_node *node, const pt_call *call);
    /* The gradient of the node's parameter `param`. NULL for layers without parameters. */
    void (*gradient)(const pt_node *node, const pt_call *call, size_t param,
                     const pt_gradient_part *part);
    void (*forward_f64)(const pt_node *node, const pt_call_f64 *call);
    /* Floating-point operations of forward per row (a fused multiply-add counts two). */
    double (*flops)(const pt_node *node, const pt_shape *inputs);
    /* Bytes of scratch for calls of at most `rows` rows; NULL: none. */
    size_t (*scratch)(const pt_node *node, const pt_shape *inputs, const pt_kernels *kernels,
                      size_t rows);
};

#define PT_DECLARE_LAYER(name) extern const pt_layer_ops pt_layer_##name;
PT_LAYERS(PT_DECLARE_LAYER)
#undef PT_DECLARE_LAYER

/* The list as an array, NULL-terminated; and the layer of a type name, or NULL. */
extern const pt_layer_ops *const pt_layer_list[];
const pt_layer_ops *pt_layer_find(const char *type);

size_t pt_shape_count(const pt_shape *shape);
bool pt_shape_equal(const pt_shape *a, const pt_shape *b);
/* "28 x 28" into a caller's buffer of 96 bytes. */
const char *pt_shape_text(const pt_shape *shape, char buffer[96]);

/* Applies an elementwise kernel to the call's rows and columns: y = f(a), y = f(a, b); one kernel
 * call where rows have no padding. */
void pt_rows_unary(void (*kernel)(size_t, const float *, float *), const pt_call *call,
                   const float *a, size_t lda, float *y, size_t ldy);
void pt_rows_binary(void (*kernel)(size_t, const float *, const float *, float *),
                    const pt_call *call, const float *a, size_t lda, const float *b, size_t ldb,
                    float *y, size_t ldy);
void pt_rows_copy(const pt_call *call, const float *a, size_t lda, float *y, size_t ldy);

#endif
