/* step.c: the training step, as every worker runs it.
 *
 *   fetch own rows -> forward -> loss -> backward      (no other worker's rows are touched)
 *   per-thread schedule: gradients of own shards into the worker's own buffer
 *   -- barrier --
 *   loss finite? else every worker leaves before the weights are touched
 *   per-thread schedule: tree over the workers' buffers, then optimizer, on own slice of the block
 *   slices schedule: gradient over all shards, then optimizer, on own rows of each parameter
 *   -- barrier --
 *
 * The columns schedule is the slices schedule with another forward and backward: see walk_columns.
 *
 * The book's four steps (mini-batch, gradient, update, repeat; Saito, section 5.7.4) are these, and
 * which worker does what never changes a bit: see shards.h.
 */
#include "4_train/trainer.h"
#include "4_train/workers.h"

#include <math.h>

void pt_partition(size_t n, size_t granule, size_t worker, size_t workers, size_t *begin,
                  size_t *end) {
    size_t units = (n + granule - 1) / granule;
    *begin = units * worker / workers * granule;
    *end = units * (worker + 1) / workers * granule;
    if (*begin > n)
        *begin = n;
    if (*end > n)
        *end = n;
}

/* The first row of `param` that starts at or behind `floats` of the block, in steps that keep
 * register tiles whole. Neighbouring workers ask with the same number and get the same row. */
static size_t row_at(const pt_param *param, size_t floats) {
    enum { GRANULE = 16 };
    if (floats <= param->offset)
        return 0;
    size_t row = (floats - param->offset + param->ld - 1) / param->ld;
    row = (row + GRANULE / 2) / GRANULE * GRANULE;
    return row < param->rows ? row : param->rows;
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

/* Slices schedule: this worker's rows of every parameter: gradient piece by piece, each applied
 * while it is still in cache. Every parameter has its own room in `slice`, whose padding so stays
 * zero, as that of the parameters must. */
static void update_own_slices(pt_trainer *t, uint64_t step, const pt_tape *tape, pt_worker *self,
                              size_t worker, size_t workers) {
    const pt_graph *graph = t->graph;
    const size_t from = graph->block_size * worker / workers;
    const size_t to = graph->block_size * (worker + 1) / workers;
    float *slice = self->slice;
    for (size_t p = 0; p < graph->param_count; p++) {
        const pt_param *param = &graph->params[p];
        const size_t end = worker + 1 == workers ? param->rows : row_at(param, to);
        const size_t piece = pt_slice_rows(param);
        for (size_t row = row_at(param, from); row < end; row += piece) {
            const size_t rows = end - row < piece ? end - row : piece;
            pt_graph_gradient(graph, t->kernels, tape, p, row, row + rows, &t->shards.shards, slice,
                              param->ld, self->scratch);
            const uint64_t time = pt_profile_start(tape->profile);
            pt_trainer_update(t, step, param->offset + row * param->ld, rows * param->ld, slice);
            pt_profile_add(tape->profile, PT_PHASE_UPDATE, param->node, time);
        }
        slice += piece * param->ld;
    }
}

static void gradient_of_own_shards(pt_trainer *t, const pt_tape *tape, pt_worker *self) {
    if (self->shards.shards.count == 0)
        return;
    for (size_t p = 0; p < t->graph->param_count; p++) {
        const pt_param *param = &t->graph->params[p];
        pt_graph_gradient(t->graph, t->kernels, tape, p, 0, param->rows, &self->shards.shards,
                          self->gradient + param->offset, param->ld, self->scratch);
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

/* Per-thread schedule: the tree over the workers' buffers and the optimizer in one pass over this
 * worker's slice of the block, a piece that fits L1 at a time. */
static void reduce_and_update(pt_trainer *t, uint64_t step, pt_profile *profile, size_t worker,
                              size_t workers) {
    enum { PIECE = 1024 };
    size_t begin, end;
    pt_partition(t->graph->block_size, PT_ROW_ALIGN, worker, workers, &begin, &end);
    for (size_t at = begin; at < end; at += PIECE) {
        reduction piece = {t, at, end - at < PIECE ? end - at : PIECE};
        uint64_t time = pt_profile_start(profile);
        pt_shard_tree(t->config->parallel.shards, workers, add_workers, &piece);
        time = pt_profile_add(profile, PT_PHASE_REDUCE, 0, time);
        pt_trainer_update(t, step, at, piece.count, t->workers[0].gradient + at);
        pt_profile_add(profile, PT_PHASE_UPDATE, 0, time);
    }
}

void pt_tape_read_batch(pt_tape *tape, const pt_batch *batch) {
    tape->data = batch->x;
    tape->sparse = batch->sparse;
    tape->byte_value = batch->lists ? batch->lists->value : NULL;
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

/* Forward, loss and backward of rows [begin, end). */
static void walk_rows(pt_trainer *t, const pt_batch *batch, const pt_tape *tape, size_t begin,
                      size_t end, void *scratch) {
    pt_graph_forward(t->graph, t->kernels, t->params, tape, begin, end, scratch);
    evaluate_loss(t, batch, tape, begin, end);
    pt_graph_backward(t->graph, t->kernels, t->params, tape, begin, end, scratch);
}

typedef struct region {
    pt_trainer *trainer;
    pt_loader *loader;
    uint64_t last;
    pt_barrier barrier;
    bool stop; /* decided by worker 0 before a barrier, read by all after it */
} region;

static void wait_for_all(region *r, pt_profile *profile, size_t workers) {
    const uint64_t time = pt_profile_start(profile);
    pt_barrier_wait(&r->barrier, workers);
    pt_profile_add(profile, PT_PHASE_BARRIER, 0, time);
}

/* A worker's part of one node: columns where there are enough, else rows. */
static pt_tile own_tile(const pt_trainer *t, const pt_node *node, size_t cols, size_t worker,
                        size_t workers) {
    pt_tile tile = {0, t->batch.rows, 0, cols};
    if (node->ops->splits_columns && cols >= PT_COLUMNS_EACH * workers)
        pt_partition(cols, 2 * PT_ROW_ALIGN, worker, workers, &tile.col_begin, &tile.col_end);
    else
        pt_partition(t->batch.rows, 1, worker, workers, &tile.row_begin, &tile.row_end);
    return tile;
}

/* Columns schedule: every node's work is shared out anew, so that a wide layer's weights are read
 * by one worker each; only activations cross cores, and a barrier lies between nodes. */
static void walk_columns(region *r, const pt_batch *batch, const pt_tape *tape, void *scratch,
                         size_t worker, size_t workers) {
    pt_trainer *t = r->trainer;
    const pt_graph *graph = t->graph;
    size_t begin, end;
    wait_for_all(r, tape->profile, workers); /* the data are in place */
    for (size_t i = 1; i < graph->node_count; i++) {
        const pt_tile tile = own_tile(t, &graph->nodes[i], graph->nodes[i].cols, worker, workers);
        if (tile.row_begin < tile.row_end && tile.col_begin < tile.col_end)
            pt_graph_forward_node(graph, t->kernels, t->params, tape, i, &tile, scratch);
        wait_for_all(r, tape->profile, workers);
    }
    pt_partition(t->batch.rows, 1, worker, workers, &begin, &end);
    if (begin < end)
        evaluate_loss(t, batch, tape, begin, end);
    wait_for_all(r, tape->profile, workers);
    for (size_t i = graph->node_count; i-- > 1;) {
        const size_t cols = pt_graph_backward_cols(graph, i);
        if (cols == 0)
            continue;
        const pt_tile tile = own_tile(t, &graph->nodes[i], cols, worker, workers);
        if (tile.row_begin < tile.row_end && tile.col_begin < tile.col_end)
            pt_graph_backward_node(graph, t->kernels, t->params, tape, i, &tile, scratch);
        wait_for_all(r, tape->profile, workers);
    }
}

/* Rows of the mini-batch that a worker fetches and, but for the columns schedule, walks. */
static void own_rows(const pt_trainer *t, pt_schedule schedule, size_t worker, size_t workers,
                     size_t *begin, size_t *end) {
    pt_worker *self = &t->workers[worker];
    if (schedule == PT_SCHEDULE_PER_THREAD) { /* rows follow shards, whole subtrees of them */
        const size_t total = t->config->parallel.shards;
        size_t lo, hi;
        pt_shard_owner(total, worker, workers, &lo, &hi);
        pt_shard_range_init(&self->shards, t->batch.rows, total, lo, hi);
        *begin = self->shards.row[0];
        *end = self->shards.row[hi - lo];
    } else {
        pt_partition(t->batch.rows, 1, worker, workers, begin, end);
    }
}

/* Rows as lists are drawn two iterations ahead: at each barrier those of the next are known to all,
 * and forward prefetches them while it computes. In the first iteration of a region nothing is known
 * yet. */
static void read_drawn_rows(pt_trainer *t, pt_tape *tape, uint64_t step, bool first, size_t begin,
                            size_t end) {
    pt_batch *batch = &t->batch;
    if (first) {
        pt_batch_draw(batch, t->dataset, &t->sampler, step, begin, end);
        pt_batch_draw(batch, t->dataset, &t->sampler, step + 1, begin, end);
    }
    pt_batch_draw(batch, t->dataset, &t->sampler, step + 2, begin, end);
    pt_batch_take(batch, t->dataset, step, begin, end);
    pt_tape_read_batch(tape, batch);
    tape->sparse = pt_batch_drawn(batch, step);
    tape->ahead = first ? NULL : pt_batch_drawn(batch, step + 1);
}

static void train(void *context, size_t worker, size_t workers) {
    region *r = context;
    pt_trainer *t = r->trainer;
    pt_worker *self = &t->workers[worker];
    const pt_schedule schedule = t->tuner.candidate[t->tuner.current].schedule;
    const unsigned previous = pt_float_environment_enter();
    size_t begin, end;
    own_rows(t, schedule, worker, workers, &begin, &end);
    const uint64_t first = atomic_load(&t->iteration);
    pt_tape tape = t->tape; /* a worker's own view: which data, whose profile */
    tape.profile = self->profile.ticks ? &self->profile : NULL;
    for (uint64_t step = first; step < r->last; step++) {
        uint64_t time = pt_profile_start(tape.profile);
        const pt_batch *batch = r->loader ? pt_loader_wait(r->loader, step) : &t->batch;
        if (r->loader || !t->sparse) {
            if (!r->loader)
                pt_batch_fill(&t->batch, t->dataset, t->kernels, &t->sampler, step, begin, end);
            pt_tape_read_batch(&tape, batch);
        } else {
            read_drawn_rows(t, &tape, step, step == first, begin, end);
        }
        pt_profile_add(tape.profile, PT_PHASE_DATA, 0, time);
        if (schedule == PT_SCHEDULE_COLUMNS)
            walk_columns(r, batch, &tape, self->scratch, worker, workers);
        else
            walk_rows(t, batch, &tape, begin, end, self->scratch);
        if (schedule == PT_SCHEDULE_PER_THREAD)
            gradient_of_own_shards(t, &tape, self);
        if (schedule != PT_SCHEDULE_COLUMNS) /* there a barrier has just been */
            wait_for_all(r, tape.profile, workers);

        time = pt_profile_start(tape.profile);
        double loss = pt_shard_sum(&t->shards.shards, t->row_loss) / (double)t->batch.rows;
        pt_profile_add(tape.profile, PT_PHASE_LOSS, 0, time);
        if (!isfinite(loss)) { /* every worker computes the same loss, so all leave together */
            if (worker == 0)
                t->diverged = true;
            break;
        }
        if (schedule == PT_SCHEDULE_PER_THREAD)
            reduce_and_update(t, step, tape.profile, worker, workers);
        else
            update_own_slices(t, step, &tape, self, worker, workers);
        if (worker == 0) {
            t->losses[t->loss_count++] = loss;
            atomic_store_explicit(&t->iteration, step + 1, memory_order_relaxed);
            r->stop = atomic_load_explicit(&t->stop, memory_order_relaxed);
        }
        wait_for_all(r, tape.profile, workers);
        if (worker == 0 && r->loader)
            pt_loader_release(r->loader, step);
        if (r->stop)
            break;
    }
    pt_float_environment_leave(previous);
}

void pt_train_region(pt_trainer *trainer, uint64_t last, pt_loader *loader) {
    region r = {.trainer = trainer, .loader = loader, .last = last};
    const size_t threads = trainer->tuner.candidate[trainer->tuner.current].threads;
    pt_barrier_init(&r.barrier, threads);
    pt_workers_run(threads, train, &r);
}

double pt_trainer_gradients(pt_trainer *t, uint64_t step, float *gradient) {
    const unsigned previous = pt_float_environment_enter();
    pt_tape tape = t->tape;
    pt_tape_read_batch(&tape, &t->batch);
    pt_batch_fill(&t->batch, t->dataset, t->kernels, &t->sampler, step, 0, t->batch.rows);
    walk_rows(t, &t->batch, &tape, 0, t->batch.rows, t->workers[0].scratch);
    for (size_t p = 0; p < t->graph->param_count; p++) {
        const pt_param *param = &t->graph->params[p];
        pt_graph_gradient(t->graph, t->kernels, &tape, p, 0, param->rows, &t->shards.shards,
                          gradient + param->offset, param->ld, t->workers[0].scratch);
    }
    double loss = pt_shard_sum(&t->shards.shards, t->row_loss) / (double)t->batch.rows;
    pt_batch_make_dense(&t->batch, t->kernels); /* for who compares */
    pt_float_environment_leave(previous);
    return loss;
}
