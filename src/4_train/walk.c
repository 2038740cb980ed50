/* walk.c: forward, loss and backward of a mini-batch, shared out among the workers by the schedule.
 *
 *   per_thread, slices   each worker walks its own rows through the whole graph
 *   columns              node by node; of wide layers each worker has its columns, for every row
 *   relay                the layer that reads the data as lists is handed from worker to worker: each
 *                        adds its own inputs (pixels) to a block of rows and passes the block on;
 *                        finished blocks are walked through the rest of the graph, by the same workers
 *                        in every step, whose caches hold these rows, unless another is free earlier
 *
 * In the last two, weights of the first layer stay with one worker, from forward to update, and only
 * activations cross cores; in `columns` those of other wide layers stay with one from backward to update.
 * A chain of fused multiply-adds over the inputs goes on where the worker before has left it, so the
 * bits are those of one worker.
 */
#include "4_train/region.h"

void pt_seat_wait_for_all(pt_seat *seat) {
    const uint64_t time = pt_profile_start(seat->tape.profile);
    seat->waited += pt_barrier_wait(&seat->region->barrier, seat->workers);
    pt_profile_add(seat->tape.profile, PT_PHASE_BARRIER, 0, time);
}

/* Loss and its gradient of rows [begin, end). */
static void evaluate_loss(pt_trainer *t, const pt_batch *batch, const pt_tape *tape, size_t begin,
                          size_t end) {
    const pt_graph *graph = t->graph;
    const pt_node *output = &graph->nodes[graph->output_node];
    const uint64_t time = pt_profile_start(tape->profile);
    pt_loss_call call = {.kernels = t->kernels,
                         .rows = end - begin,
                         .cols = output->cols,
                         .x = tape->value[graph->output_node] + begin * output->ld,
                         .ld = output->ld,
                         .label = batch->label ? batch->label + begin : NULL,
                         .target =
                             batch->target ? batch->target + begin * batch->target_cols : NULL,
                         .target_ld = batch->target_cols,
                         .factor = 1.0f / (float)batch->rows,
                         .d_x = tape->gradient[graph->output_node] + begin * output->ld,
                         .row_loss = t->row_loss + begin};
    graph->loss->evaluate(&call);
    pt_profile_add(tape->profile, PT_PHASE_LOSS, 0, time);
}

/* Many rows go in pieces, so that what one layer writes is in cache when the next reads it, but not
 * so small that reading the weights again would cost more. */
void pt_walk_rows(pt_trainer *t, const pt_batch *batch, const pt_tape *tape, size_t begin,
                  size_t end, void *scratch) {
    enum { PIECE = 256 };
    const size_t pieces = (end - begin + PIECE - 1) / PIECE;
    for (size_t i = 0; i < pieces; i++) {
        const size_t from = begin + (end - begin) * i / pieces;
        const size_t to = begin + (end - begin) * (i + 1) / pieces;
        pt_graph_forward(t->graph, t->kernels, t->params, tape, from, to, scratch);
        evaluate_loss(t, batch, tape, from, to);
        pt_graph_backward(t->graph, t->kernels, t->params, tape, from, to, scratch);
    }
}

/* --- columns --- */

/* Whether the columns of a node's values, or of its gradients to inputs, are shared out. */
static bool shares_columns(const pt_node *node, size_t cols, size_t workers) {
    return node->ops->splits_columns && cols >= PT_COLUMNS_EACH * workers;
}

bool pt_own_columns(const pt_seat *seat, const pt_node *node, size_t cols, size_t *begin,
                    size_t *end) {
    if (!shares_columns(node, cols, seat->workers))
        return false;
    pt_seat_share(seat, cols, 2 * PT_ROW_ALIGN, begin, end);
    return true;
}

/* The node whose backward alone writes the gradient of node i; 0: there are several, or it is the loss. */
static size_t only_writer(const pt_graph *graph, size_t i) {
    if (graph->nodes[i].consumers != 1 || i == graph->output_node)
        return 0;
    for (size_t r = i + 1; r < graph->node_count; r++)
        for (size_t k = 0; k < graph->nodes[r].input_count; k++)
            if (graph->nodes[r].input[k] == i)
                return graph->nodes[r].folds_backward ? only_writer(graph, r) : r;
    return 0;
}

static bool goes_back_by_rows(const pt_graph *graph, size_t i, size_t workers);

/* Whether each worker has written its rows of the gradient of node i. */
static bool comes_back_by_rows(const pt_graph *graph, size_t i, size_t workers) {
    const size_t writer = only_writer(graph, i);
    return writer > 0 ? goes_back_by_rows(graph, writer, workers)
                      : i == graph->output_node && graph->nodes[i].consumers == 1;
}

/* Rows where there are not enough columns of gradients to inputs; and if the layer itself is narrow and
 * its gradient has come by rows, since there is nothing to wait for then. */
static bool goes_back_by_rows(const pt_graph *graph, size_t i, size_t workers) {
    const pt_node *node = &graph->nodes[i];
    return !shares_columns(node, pt_graph_backward_cols(graph, i), workers) ||
           (!shares_columns(node, node->cols, workers) && node->input_count == 1 &&
            graph->nodes[node->input[0]].consumers == 1 && comes_back_by_rows(graph, i, workers));
}

/* A worker's part of one node: its columns of so many, or its rows. */
static pt_tile own_tile(const pt_seat *seat, const pt_node *node, size_t cols, bool by_rows) {
    const size_t rows = seat->region->trainer->batch.rows;
    pt_tile tile = {0, rows, 0, cols};
    if (by_rows || !pt_own_columns(seat, node, cols, &tile.col_begin, &tile.col_end))
        pt_seat_share(seat, rows, 1, &tile.row_begin, &tile.row_end);
    return tile;
}

/* Whether a worker's columns of a node need only the same columns of what it reads. */
static bool is_columnwise(const pt_node *node) {
    return node->ops->splits_columns && node->param_count == 0 && node->input_count == 1;
}

/* Whether what node i reads in forward was written by the worker that reads it: the same columns, or
 * the same rows, of which it has fetched the data too. */
static bool follows_alone(const pt_graph *graph, size_t i, size_t workers) {
    const pt_node *node = &graph->nodes[i];
    if (shares_columns(node, node->cols, workers))
        return is_columnwise(node) && node->input[0] > 0 &&
               graph->nodes[node->input[0]].ops->splits_columns;
    for (size_t k = 0; k < node->input_count; k++) {
        const pt_node *from = &graph->nodes[node->input[k]];
        if (from->ops && shares_columns(from, from->cols, workers))
            return false;
    }
    return true;
}

/* The same in backward, of a gradient with one writer. In columns, that must be the node just before in
 * this walk: what others have added to gradients earlier lies behind its barrier. By rows, nobody else
 * writes what this node does. */
static bool goes_back_alone(const pt_graph *graph, size_t i, size_t workers) {
    const pt_node *node = &graph->nodes[i];
    if (goes_back_by_rows(graph, i, workers))
        return comes_back_by_rows(graph, i, workers) && node->input_count == 1 &&
               graph->nodes[node->input[0]].consumers == 1;
    const size_t writer = only_writer(graph, i);
    return is_columnwise(node) && writer > 0 && writer == i + 1 + node[1].folds_backward &&
           shares_columns(node, node->cols, workers) &&
           !goes_back_by_rows(graph, writer, workers) && graph->nodes[writer].input_count == 1 &&
           graph->nodes[writer].ops->splits_columns;
}

/* Whether the workers that evaluate the loss of their rows have written the rows of what it reads. */
static bool loss_follows_alone(const pt_graph *graph, size_t workers) {
    const pt_node *output = &graph->nodes[graph->output_node];
    return !shares_columns(output, output->cols, workers);
}

size_t pt_columns_barriers(const pt_graph *graph, size_t workers) {
    size_t count = !loss_follows_alone(graph, workers);
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_node *node = &graph->nodes[i];
        count += !node->folds_forward && !follows_alone(graph, i, workers);
        count += !node->folds_backward && pt_graph_backward_cols(graph, i) > 0 &&
                 !goes_back_alone(graph, i, workers);
    }
    return count;
}

/* Before a node, a barrier, unless what it reads is there without. */
static void walk_columns(pt_seat *seat, const pt_batch *batch) {
    pt_trainer *t = seat->region->trainer;
    const pt_graph *graph = t->graph;
    void *scratch = seat->self->scratch;
    for (size_t i = 1; i < graph->node_count; i++) {
        if (pt_tape_skips_forward(&seat->tape, &graph->nodes[i]))
            continue;
        if (!follows_alone(graph, i, seat->workers))
            pt_seat_wait_for_all(seat);
        const pt_tile tile = own_tile(seat, &graph->nodes[i], graph->nodes[i].cols, false);
        if (tile.row_begin < tile.row_end && tile.col_begin < tile.col_end)
            pt_graph_forward_node(graph, t->kernels, t->params, &seat->tape, i, &tile, scratch);
    }
    if (!loss_follows_alone(graph, seat->workers))
        pt_seat_wait_for_all(seat);
    size_t begin, end;
    pt_seat_share(seat, t->batch.rows, 1, &begin, &end);
    if (begin < end)
        evaluate_loss(t, batch, &seat->tape, begin, end);
    for (size_t i = graph->node_count; i-- > 1;) {
        const size_t cols = pt_graph_backward_cols(graph, i);
        if (cols == 0 || pt_tape_skips_backward(&seat->tape, &graph->nodes[i]))
            continue;
        if (!goes_back_alone(graph, i, seat->workers))
            pt_seat_wait_for_all(seat);
        const pt_tile tile =
            own_tile(seat, &graph->nodes[i], cols, goes_back_by_rows(graph, i, seat->workers));
        if (tile.row_begin < tile.row_end && tile.col_begin < tile.col_end)
            pt_graph_backward_node(graph, t->kernels, t->params, &seat->tape, i, &tile, scratch);
    }
}

/* --- relay --- */

bool pt_reads_lists(const pt_trainer *t, const pt_node *node) {
    return t->sparse && node->input_count == 1 && node->input[0] == 0;
}

static void wait_for_stage(pt_seat *seat, size_t block, unsigned stage) {
    const uint64_t time = pt_profile_start(seat->tape.profile);
    seat->waited += pt_progress_wait(&seat->region->trainer->relay[block], stage,
                                     seat->region->barrier.spin_ticks);
    pt_profile_add(seat->tape.profile, PT_PHASE_BARRIER, 0, time);
}

/* The first block that worker w walks on, unless another has time to; w == workers: the end. Earlier
 * workers get more: each is done with the relay by a block's time before the next. */
static size_t first_block(const pt_region *r, size_t w, size_t workers) {
    /* Half of a block's time in the relay by its time afterwards, measured. */
    const double relay = 1.7;
    const double blocks = (double)r->blocks + relay * (double)(workers - w);
    const size_t first = (size_t)((double)w / (double)workers * blocks + 0.5);
    return first < r->blocks ? first : r->blocks;
}

/* The next block that worker `owner` is to walk on in this step. False: none is left. Counts go on from
 * step to step, so that nobody needs to reset them. */
static bool take_home_block(pt_region *r, size_t owner, size_t workers, uint64_t step,
                            size_t *block) {
    const size_t begin = first_block(r, owner, workers);
    const size_t count = first_block(r, owner + 1, workers) - begin;
    const size_t before = (size_t)(step - r->first) * count;
    atomic_size_t *walked = &r->trainer->workers[owner].walked;
    size_t at = atomic_load_explicit(walked, memory_order_relaxed);
    while (at < before + count)
        if (atomic_compare_exchange_weak_explicit(walked, &at, at + 1, memory_order_relaxed,
                                                  memory_order_relaxed)) {
            *block = begin + at - before;
            return true;
        }
    return false;
}

/* All of the graph that is not relayed, for rows [begin, end). */
static void walk_on(pt_seat *seat, const pt_batch *batch, size_t begin, size_t end) {
    pt_trainer *t = seat->region->trainer;
    const pt_graph *graph = t->graph;
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_tile tile = {begin, end, 0, graph->nodes[i].cols};
        if (!pt_reads_lists(t, &graph->nodes[i]))
            pt_graph_forward_node(graph, t->kernels, t->params, &seat->tape, i, &tile,
                                  seat->self->scratch);
    }
    evaluate_loss(t, batch, &seat->tape, begin, end);
    pt_graph_backward(graph, t->kernels, t->params, &seat->tape, begin, end, seat->self->scratch);
}

static void walk_relay(pt_seat *seat, const pt_batch *batch, uint64_t step) {
    pt_region *r = seat->region;
    pt_trainer *t = r->trainer;
    const pt_graph *graph = t->graph;
    const unsigned stages = (unsigned)((step - r->first) * seat->workers);
    const unsigned mine = stages + (unsigned)seat->worker, all = stages + (unsigned)seat->workers;
    size_t b, begin, end;
    if (step == r->first) /* who else's rows have been drawn? */
        pt_seat_wait_for_all(seat);
    for (b = 0; b < r->blocks; b++) {
        pt_partition(t->batch.rows, 1, b, r->blocks, &begin, &end);
        wait_for_stage(seat, b, mine);
        for (size_t i = 1; i < graph->node_count; i++) {
            const pt_node *node = &graph->nodes[i];
            const pt_tile tile = {begin, end, 0, node->cols};
            if (pt_reads_lists(t, node))
                pt_graph_forward_inputs(graph, t->kernels, t->params, &seat->tape, i, &tile,
                                        seat->in_begin, seat->in_end, seat->self->scratch);
        }
        pt_progress_reach(&t->relay[b], mine + 1);
    }
    for (size_t w = 0; w < seat->workers; w++) { /* one's own, then what others have left */
        const size_t owner = (seat->worker + w) % seat->workers;
        while (take_home_block(r, owner, seat->workers, step, &b)) {
            pt_partition(t->batch.rows, 1, b, r->blocks, &begin, &end);
            wait_for_stage(seat, b, all);
            walk_on(seat, batch, begin, end);
        }
    }
}

void pt_walk(pt_seat *seat, const pt_batch *batch, uint64_t step) {
    switch (seat->region->schedule) {
    case PT_SCHEDULE_COLUMNS:
        walk_columns(seat, batch);
        break;
    case PT_SCHEDULE_RELAY:
        walk_relay(seat, batch, step);
        break;
    default:
        pt_walk_rows(seat->region->trainer, batch, &seat->tape, seat->row_begin, seat->row_end,
                     seat->self->scratch);
    }
}
