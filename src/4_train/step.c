/* step.c: the training step, as every worker runs it.
 *
 *   fetch rows -> forward -> loss -> backward          (walk.c)
 *   per-thread schedule: gradients of own shards into the worker's own buffer
 *   -- barrier --
 *   loss finite? else every worker leaves before the weights are touched
 *   gradients, their sum over the mini-batch, optimizer, of the worker's part (update.c)
 *   -- barrier --
 *
 * The book's four steps (mini-batch, gradient, update, repeat; Saito, section 5.7.4) are these, and
 * which worker does what never changes a bit: see shards.h.
 */
#include "0_base/clock.h"
#include "4_train/region.h"

#include <assert.h>
#include <math.h>

void pt_tape_read_batch(pt_tape *tape, const pt_batch *batch) {
    tape->data = batch->x;
    tape->sparse = batch->sparse;
    tape->byte_value = batch->lists ? batch->lists->value : NULL;
}

/* The first input (column of the data) that a worker of the relay owns, given the share of work in
 * front of it; 1: the end, where inputs without work belong to the last worker. */
static size_t first_input(const pt_trainer *t, double share) {
    const size_t inputs = t->graph->nodes[0].cols;
    const size_t units = (inputs + PT_ROW_ALIGN - 1) / PT_ROW_ALIGN;
    size_t unit = 0;
    while (unit < units && t->input_work[unit] < share * t->input_work[units])
        unit++;
    return share == 1 || unit == units ? inputs : unit * PT_ROW_ALIGN;
}

static void take_seat(pt_seat *seat, pt_region *region, size_t worker, size_t workers) {
    pt_trainer *t = region->trainer;
    pt_worker *self = &t->workers[worker];
    *seat = (pt_seat){
        .region = region,
        .self = self,
        .worker = worker,
        .workers = workers,
        .share_begin = pt_pace_before(t, worker, workers),
        .share_end = pt_pace_before(t, worker + 1, workers),
        .in_end = t->graph->nodes[0].cols,
        .tape = t->tape,
    };
    if (region->schedule == PT_SCHEDULE_RELAY && workers > 1) {
        seat->in_begin = first_input(t, seat->share_begin);
        seat->in_end = first_input(t, seat->share_end);
    }
    seat->tape.profile = self->profile.ticks ? &self->profile : NULL;
    if (region->schedule ==
        PT_SCHEDULE_PER_THREAD) { /* rows follow shards, whole subtrees of them */
        const size_t total = t->config->parallel.shards;
        size_t lo, hi;
        pt_shard_owner(total, worker, workers, &lo, &hi);
        pt_shard_range_init(&self->shards, t->batch.rows, total, lo, hi);
        seat->row_begin = self->shards.row[0];
        seat->row_end = self->shards.row[hi - lo];
    } else {
        pt_seat_share(seat, t->batch.rows, 1, &seat->row_begin, &seat->row_end);
    }
}

/* Rows as lists are drawn three iterations ahead and found two ahead: at each barrier those of the
 * next are known to all, and forward prefetches them while it computes. In the first iteration of a
 * region nothing is known yet. */
static void read_drawn_rows(pt_seat *seat, uint64_t step) {
    pt_trainer *t = seat->region->trainer;
    pt_batch *batch = &t->batch;
    const size_t begin = seat->row_begin, end = seat->row_end;
    const bool first = step == seat->region->first;
    for (uint64_t ahead = 0; ahead < 3 && first; ahead++)
        pt_batch_draw(batch, t->dataset, &t->sampler, step + ahead, begin, end);
    for (uint64_t ahead = 0; ahead < 2 && first; ahead++)
        pt_batch_find(batch, step + ahead, begin, end);
    pt_batch_draw(batch, t->dataset, &t->sampler, step + 3, begin, end);
    pt_batch_find(batch, step + 2, begin, end);
    pt_batch_take(batch, t->dataset, step, begin, end);
    pt_tape_read_batch(&seat->tape, batch);
    seat->tape.sparse = pt_batch_found(batch, step);
    seat->tape.ahead = first ? NULL : pt_batch_found(batch, step + 1);
}

/* The mini-batch of iteration `step`, of which at least this worker's rows are there. */
static const pt_batch *fetch(pt_seat *seat, uint64_t step) {
    pt_region *r = seat->region;
    pt_trainer *t = r->trainer;
    const uint64_t time = pt_profile_start(seat->tape.profile);
    const pt_batch *batch = r->loader ? pt_loader_wait(r->loader, step) : &t->batch;
    if (!r->loader && t->sparse) {
        read_drawn_rows(seat, step);
    } else {
        if (!r->loader)
            pt_batch_fill(&t->batch, t->dataset, t->kernels, &t->sampler, step, seat->row_begin,
                          seat->row_end);
        pt_tape_read_batch(&seat->tape, batch);
    }
    pt_profile_add(seat->tape.profile, PT_PHASE_DATA, 0, time);
    return batch;
}

static double sum_loss(const pt_seat *seat) {
    const pt_trainer *t = seat->region->trainer;
    const uint64_t time = pt_profile_start(seat->tape.profile);
    const double loss = pt_shard_sum(&t->shards.shards, t->row_loss) / (double)t->batch.rows;
    pt_profile_add(seat->tape.profile, PT_PHASE_LOSS, 0, time);
    return loss;
}

static void train(void *context, size_t worker, size_t workers) {
    pt_region *r = context;
    pt_trainer *t = r->trainer;
    const unsigned previous = pt_float_environment_enter();
    const uint64_t start = __rdtsc();
    pt_seat seat;
    take_seat(&seat, r, worker, workers);
    for (uint64_t step = r->first; step < r->last; step++) {
        if (r->overlap)
            pt_tape_turn(&seat.tape);
        pt_walk(&seat, fetch(&seat, step), step);
        if (r->schedule == PT_SCHEDULE_PER_THREAD)
            pt_gradient_of_own_shards(&seat);
        if (worker == 0)
            r->stop[step % 2] = atomic_load_explicit(&t->stop, memory_order_relaxed) ||
                                (r->deadline > 0 && pt_now() > r->deadline);
        pt_seat_wait_for_all(&seat);

        const bool stop = r->stop[step % 2];
        const double loss = sum_loss(&seat);
        if (!isfinite(loss)) { /* every worker computes the same loss, so all leave together */
            if (worker == 0)
                t->diverged = true;
            break;
        }
        pt_update(&seat, step);
        if (worker == 0) {
            t->losses[t->loss_count++] = loss;
            atomic_store_explicit(&t->iteration, step + 1, memory_order_relaxed);
        }
        if (!r->overlap)
            pt_seat_wait_for_all(&seat);
        if (worker == 0 && r->loader) /* also of the last step: another region may follow */
            pt_loader_release(r->loader, step);
        if (stop)
            break;
    }
    seat.self->waited = seat.waited;
    seat.self->ticks = __rdtsc() - start;
    pt_float_environment_leave(previous);
}

void pt_train_region(pt_trainer *trainer, uint64_t last, pt_loader *loader) {
    assert(trainer->tape.folds); /* see pt_trainer_keep_apart */
    const pt_candidate *candidate = &trainer->tuner.candidate[trainer->tuner.current];
    const size_t threads = candidate->threads, most = threads * PT_RELAY_BLOCKS;
    pt_region r = {.trainer = trainer,
                   .loader = loader,
                   .schedule = candidate->schedule,
                   .first = atomic_load(&trainer->iteration),
                   .last = last};
    const double limit = pt_tuner_limit(&trainer->tuner);
    if (limit > 0)
        r.deadline = pt_now() + limit;
    if (r.schedule == PT_SCHEDULE_RELAY && (!trainer->sparse || threads == 1))
        r.schedule = PT_SCHEDULE_SLICES;
    r.overlap = r.schedule == PT_SCHEDULE_RELAY && !loader && trainer->tape.other_value;
    r.blocks = trainer->batch.rows < most ? trainer->batch.rows : most;
    for (size_t b = 0; b < r.blocks; b++)
        trainer->relay[b] = (pt_progress){0};
    for (size_t w = 0; w < threads; w++)
        atomic_store_explicit(&trainer->workers[w].walked, 0, memory_order_relaxed);
    pt_barrier_init(&r.barrier, threads);
    for (size_t w = 0; w < threads; w++)
        trainer->workers[w].ticks = 0; /* a thread that does not come is not judged by old ones */
    pt_workers_run(threads, train, &r);
    /* Trial windows are too short to tell; the parts of per_thread are whole shards. */
    if (pt_tuner_settled(&trainer->tuner) && r.schedule != PT_SCHEDULE_PER_THREAD)
        pt_pace_note(trainer, threads);
}

double pt_trainer_gradients(pt_trainer *t, uint64_t step, float *gradient) {
    const unsigned previous = pt_float_environment_enter();
    pt_tape tape = t->tape;
    pt_tape_read_batch(&tape, &t->batch);
    pt_batch_fill(&t->batch, t->dataset, t->kernels, &t->sampler, step, 0, t->batch.rows);
    pt_walk_rows(t, &t->batch, &tape, 0, t->batch.rows, t->workers[0].scratch);
    for (size_t p = 0; p < t->graph->param_count; p++) {
        const pt_param *param = &t->graph->params[p];
        const pt_gradient_part part = {.row_end = param->rows,
                                       .col_end = param->cols,
                                       .shards = &t->shards.shards,
                                       .out = gradient + param->offset,
                                       .out_ld = param->ld};
        pt_graph_gradient(t->graph, t->kernels, &tape, p, &part, t->workers[0].scratch);
    }
    double loss = pt_shard_sum(&t->shards.shards, t->row_loss) / (double)t->batch.rows;
    pt_batch_make_dense(&t->batch); /* for who compares */
    pt_float_environment_leave(previous);
    return loss;
}
