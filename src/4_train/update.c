/* update.c: gradients to the parameters, their sum over the mini-batch, and the optimizer.
 *
 *   per_thread   each worker has formed the gradients of its own shards; the tree over the workers'
 *                buffers and the optimizer run over slices of the parameter block
 *   others       each worker forms the gradient of its own part of every parameter over all shards
 *                and applies it while it is in registers (plain gradient descent) or in cache
 *
 * Which part is a worker's own: rows of the parameters, cut where its share of all work begins and
 * ends (pace.c); where the walk has given it columns or inputs, those.
 */
#include "4_train/region.h"

static size_t units_of(size_t n, size_t granule) {
    return (n + granule - 1) / granule;
}

static size_t clamped(size_t at, size_t n) {
    return at < n ? at : n;
}

void pt_partition(size_t n, size_t granule, size_t worker, size_t workers, size_t *begin,
                  size_t *end) {
    const size_t units = units_of(n, granule);
    *begin = clamped(units * worker / workers * granule, n);
    *end = clamped(units * (worker + 1) / workers * granule, n);
}

void pt_seat_share(const pt_seat *seat, size_t n, size_t granule, size_t *begin, size_t *end) {
    const double units = (double)units_of(n, granule);
    *begin = clamped((size_t)(units * seat->share_begin + 0.5) * granule, n);
    *end = clamped((size_t)(units * seat->share_end + 0.5) * granule, n);
}

void pt_trainer_update(pt_trainer *t, uint64_t step, size_t offset, size_t n,
                       const float *gradient) {
    float *state[PT_OPTIMIZER_MAX_STATE];
    for (size_t i = 0; i < PT_OPTIMIZER_MAX_STATE; i++)
        state[i] = t->state[i] ? t->state[i] + offset : NULL;
    t->optimizer->update(t->config, t->kernels, step + 1, n, gradient, state, t->params + offset);
}

size_t pt_slice_rows(const pt_param *param) {
    const size_t rows = SLICE_FLOATS / param->ld;
    return rows < 1 ? 1 : rows < param->rows ? rows : param->rows;
}

/* --- whose part is what --- */

/* Work per row of a parameter, in floats: where most inputs are zero, most of it is skipped. */
static double row_work(const pt_trainer *t, const pt_param *param) {
    const double sparse_share = 0.45; /* measured: sparse beside dense gradient of MNIST's pixels */
    const bool sparse = param->rows > 1 && pt_reads_lists(t, &t->graph->nodes[param->node]);
    return (double)param->ld * (sparse ? sparse_share : 1);
}

static double work_of(const pt_trainer *t, const pt_param *param) {
    return row_work(t, param) * (double)param->rows;
}

/* A worker's part of a parameter that the walk has given it, by columns, rows or inputs; false: the
 * schedule gives none.
 *
 * Columns: of a layer without backward, such as one that reads lists, and of biases. Other weights go by
 * those of their rows that backward had as columns of its result, or would have but for being narrow: to
 * update half of every row, what prefetches along rows would take the other half from the worker that
 * writes it. */
static bool part_of_walk(const pt_seat *seat, const pt_param *param, pt_gradient_part *part) {
    const pt_trainer *t = seat->region->trainer;
    const pt_node *node = &t->graph->nodes[param->node];
    *part = (pt_gradient_part){.row_end = param->rows, .col_end = param->cols};
    if (seat->region->schedule == PT_SCHEDULE_COLUMNS) {
        const size_t backward_cols = pt_graph_backward_cols(t->graph, param->node);
        if (param->cols == node->cols && (param->rows == 1 || backward_cols == 0))
            return pt_own_columns(seat, node, node->cols, &part->col_begin, &part->col_end);
        return param->rows > 1 && param->rows == backward_cols &&
               pt_own_columns(seat, node, param->rows, &part->row_begin, &part->row_end);
    }
    if (seat->region->schedule == PT_SCHEDULE_RELAY && pt_reads_lists(t, node)) {
        if (param->rows == t->graph->nodes[0].cols) {
            part->row_begin = seat->in_begin;
            part->row_end = seat->in_end;
        } else if (seat->worker > 0) { /* a bias: where the first worker starts the chains */
            part->row_end = 0;
        }
        return true;
    }
    return false;
}

/* A worker's share of all work that is cut by rows: from .. to, of `total`. */
typedef struct work_share {
    double from, to, total;
} work_share;

/* In the relay each worker begins the next step by a block's time after the one before it: so little
 * of other work is all the last one's. */
static work_share shared_out(const pt_seat *seat) {
    const double little = 0.125; /* of a worker's relayed work */
    const pt_trainer *t = seat->region->trainer;
    work_share share = {.from = seat->share_begin, .to = seat->share_end};
    double relayed = 0;
    for (size_t p = 0; p < t->graph->param_count; p++) {
        const pt_param *param = &t->graph->params[p];
        pt_gradient_part part;
        if (!part_of_walk(seat, param, &part))
            share.total += work_of(t, param);
        else if (seat->region->schedule == PT_SCHEDULE_RELAY)
            relayed += work_of(t, param);
    }
    if (share.total * (double)seat->workers < little * relayed) {
        share.from = seat->worker + 1 == seat->workers ? 0 : 1;
        share.to = 1;
    }
    return share;
}

/* The row of `param` behind `share` of all work, `before` units of work of `total` lying in front of the
 * parameter; in steps that keep register tiles whole. A parameter of fewer than half a step, such as a
 * bias, is not cut: the worker has it whose part ends last. */
static size_t row_at(const pt_trainer *t, const pt_param *param, double before, double total,
                     double share) {
    enum { GRANULE = 16 };
    if (share == 1)
        return param->rows;
    const double begin = total * share - before;
    if (begin <= 0)
        return 0;
    const double row = begin / row_work(t, param);
    const size_t whole = row < (double)param->rows ? (size_t)row : param->rows;
    const size_t rounded = (whole + GRANULE / 2) / GRANULE * GRANULE;
    return rounded < param->rows ? rounded : param->rows;
}

/* A worker's part of a parameter that is cut by rows, anywhere; `before` as in row_at. */
static pt_gradient_part part_of_share(const pt_trainer *t, const pt_param *param,
                                      const work_share *share, double before) {
    return (pt_gradient_part){.row_begin = row_at(t, param, before, share->total, share->from),
                              .row_end = row_at(t, param, before, share->total, share->to),
                              .col_end = param->cols};
}

/* --- gradient and update of one's own part --- */

/* Piece by piece through `slice`, whose rows are as wide as the parameter's. */
static void update_in_pieces(pt_seat *seat, uint64_t step, size_t p, pt_gradient_part part,
                             float *slice) {
    pt_trainer *t = seat->region->trainer;
    const pt_param *param = &t->graph->params[p];
    const size_t end = part.row_end, piece = pt_slice_rows(param);
    const bool whole_rows = part.col_begin == 0 && part.col_end == param->cols;
    const size_t cols = part.col_end - part.col_begin;
    part.out = slice;
    part.out_ld = param->ld;
    for (; part.row_begin < end; part.row_begin = part.row_end) {
        part.row_end = end - part.row_begin < piece ? end : part.row_begin + piece;
        pt_graph_gradient(t->graph, t->kernels, &seat->tape, p, &part, seat->self->scratch);
        const uint64_t time = pt_profile_start(seat->tape.profile);
        const size_t rows = part.row_end - part.row_begin;
        const size_t offset = param->offset + part.row_begin * param->ld + part.col_begin;
        if (whole_rows)
            pt_trainer_update(t, step, offset, rows * param->ld, slice);
        for (size_t row = 0; row < rows && !whole_rows; row++)
            pt_trainer_update(t, step, offset + row * param->ld, cols, slice + row * param->ld);
        pt_profile_add(seat->tape.profile, PT_PHASE_UPDATE, param->node, time);
    }
}

/* Every parameter has its own room in `slice`, whose padding so stays zero, as that of the parameters
 * must. */
static void update_own_parts(pt_seat *seat, uint64_t step) {
    pt_trainer *t = seat->region->trainer;
    const pt_graph *graph = t->graph;
    const float rate = t->optimizer->rate ? t->optimizer->rate(t->config) : 0;
    float *slice = seat->self->slice;
    const work_share share = shared_out(seat);
    double before = 0;
    for (size_t p = 0; p < graph->param_count; p++) {
        const pt_param *param = &graph->params[p];
        pt_gradient_part part;
        if (!part_of_walk(seat, param, &part)) {
            part = part_of_share(t, param, &share, before);
            before += work_of(t, param);
        }
        part.shards = &t->shards.shards;
        if (part.row_begin == part.row_end || part.col_begin == part.col_end) {
            ; /* nothing of this one */
        } else if (t->optimizer->rate) {
            part.rate = &rate;
            part.out = t->params + param->offset + part.row_begin * param->ld + part.col_begin;
            part.out_ld = param->ld;
            pt_graph_gradient(graph, t->kernels, &seat->tape, p, &part, seat->self->scratch);
        } else {
            update_in_pieces(seat, step, p, part, slice);
        }
        slice += pt_slice_rows(param) * param->ld;
    }
}

/* --- per-thread gradients --- */

void pt_gradient_of_own_shards(pt_seat *seat) {
    const pt_trainer *t = seat->region->trainer;
    pt_worker *self = seat->self;
    if (self->shards.shards.count == 0)
        return;
    for (size_t p = 0; p < t->graph->param_count; p++) {
        const pt_param *param = &t->graph->params[p];
        const pt_gradient_part part = {.row_end = param->rows,
                                       .col_end = param->cols,
                                       .shards = &self->shards.shards,
                                       .out = self->gradient + param->offset,
                                       .out_ld = param->ld};
        pt_graph_gradient(t->graph, t->kernels, &seat->tape, p, &part, self->scratch);
    }
}

typedef struct reduction {
    pt_trainer *trainer;
    size_t begin, count;
} reduction;

static void add_workers(void *context, size_t a, size_t b) {
    const reduction *piece = context;
    float *into = piece->trainer->workers[a].gradient + piece->begin;
    piece->trainer->kernels->add(piece->count, into,
                                 piece->trainer->workers[b].gradient + piece->begin, into);
}

/* The tree over the workers' buffers and the optimizer in one pass over this worker's slice of the
 * block, a piece that fits L1 at a time. */
static void reduce_and_update(pt_seat *seat, uint64_t step) {
    enum { PIECE = 1024 };
    pt_trainer *t = seat->region->trainer;
    pt_profile *profile = seat->tape.profile;
    size_t begin, end;
    pt_partition(t->graph->block_size, PT_ROW_ALIGN, seat->worker, seat->workers, &begin, &end);
    for (size_t at = begin; at < end; at += PIECE) {
        reduction piece = {t, at, end - at < PIECE ? end - at : PIECE};
        uint64_t time = pt_profile_start(profile);
        pt_shard_tree(t->config->parallel.shards, seat->workers, add_workers, &piece);
        time = pt_profile_add(profile, PT_PHASE_REDUCE, 0, time);
        pt_trainer_update(t, step, at, piece.count, t->workers[0].gradient + at);
        pt_profile_add(profile, PT_PHASE_UPDATE, 0, time);
    }
}

void pt_update(pt_seat *seat, uint64_t step) {
    if (seat->region->schedule == PT_SCHEDULE_PER_THREAD)
        reduce_and_update(seat, step);
    else
        update_own_parts(seat, step);
}
