/* scale_model.c: the arithmetic of scale_model.h. */
#include "7_check/scale_model.h"

/* The part that the busiest of `threads` has of `pieces` equal pieces. */
static double share(size_t pieces, size_t threads) {
    if (pieces == 0)
        return 1;
    const size_t most = (pieces + threads - 1) / threads;
    return (double)most / (double)pieces;
}

static double compute(const pt_scale_model *m, pt_schedule schedule, size_t threads) {
    const pt_scale_terms *t = &m->terms[schedule];
    switch (schedule) {
    case PT_SCHEDULE_PER_THREAD: /* the optimizer, a small part of params, is shared out finer */
        return (t->rows + t->params) * share(m->shards, threads);
    case PT_SCHEDULE_COLUMNS:
        return t->rows / (double)threads + t->params * share(m->slices, threads);
    case PT_SCHEDULE_RELAY: {
        const double p = (double)threads, fill = (p - 1) / (p * (double)m->relay_blocks);
        return t->rows / p * (1 + fill) + t->params * share(m->slices, threads);
    }
    default:
        return t->rows * share(m->batch_size, threads) + t->params * share(m->slices, threads);
    }
}

bool pt_scale_predict(const pt_scale_model *m, pt_schedule schedule, size_t threads,
                      pt_scale_step *step) {
    const pt_scale_terms *t = &m->terms[schedule];
    const double p = (double)threads;
    *step = (pt_scale_step){0};
    if (m->threads == 0 || schedule == PT_SCHEDULE_AUTO ||
        (schedule == PT_SCHEDULE_COLUMNS && threads > m->most_columns))
        return false;
    step->compute = compute(m, schedule, threads);
    step->memory = t->memory * (p - 1) / p;
    if (schedule == PT_SCHEDULE_PER_THREAD) {
        const size_t buffers = threads < m->shards ? threads : m->shards;
        step->reduction = t->reduction * (double)(buffers - 1) / p;
    }
    if (threads > 1)
        step->barrier = t->barriers * m->barrier * (p - 1) +
                        t->imbalance * (step->compute + step->memory + step->reduction);
    step->total = step->compute + step->memory + step->reduction + step->barrier;
    return true;
}

pt_schedule pt_scale_fastest(const pt_scale_model *model, size_t threads) {
    pt_schedule fastest = PT_SCHEDULE_AUTO;
    double least = 0;
    for (int s = PT_SCHEDULE_PER_THREAD; s < PT_SCHEDULES; s++) {
        pt_scale_step step;
        if (pt_scale_predict(model, (pt_schedule)s, threads, &step) &&
            (fastest == PT_SCHEDULE_AUTO || step.total < least)) {
            fastest = (pt_schedule)s;
            least = step.total;
        }
    }
    return fastest;
}

static double at_least_zero(double x) {
    return x > 0 ? x : 0;
}

void pt_scale_calibrate(pt_scale_model *m, pt_schedule schedule, const pt_scale_phases *one,
                        const pt_scale_phases *many) {
    pt_scale_terms *t = &m->terms[schedule];
    const double p = (double)m->threads;
    const size_t buffers = m->threads < m->shards ? m->threads : m->shards;
    const double busy = many->rows + many->params + many->reduction;
    t->rows = one->rows;
    t->params = one->params;
    /* The measured phases are means over the workers, so their share of the work is 1 / p; that the
     * busiest has more shows as waiting, and is taken off the imbalance. */
    const double even = (one->rows + one->params) / p;
    t->memory = at_least_zero(many->rows + many->params - even) * p / (p - 1);
    t->reduction = buffers > 1 ? many->reduction * p / (double)(buffers - 1) : 0;
    const double uneven = at_least_zero(compute(m, schedule, m->threads) - even);
    const double waited = many->wait - t->barriers * m->barrier * (p - 1) - uneven;
    t->imbalance = busy > 0 ? at_least_zero(waited) / (busy + uneven) : 0;
}
