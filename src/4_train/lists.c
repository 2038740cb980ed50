/* lists.c: listing the nonzero features of the data when a trainer is made, on all its workers. */
#include "0_base/memory.h"
#include "4_train/trainer.h"
#include "4_train/workers.h"

#include <stdatomic.h>

enum { LISTED_TOGETHER = 1024 /* rows */ };

/* One pass over the rows of a split, shared out among workers: one that is done takes the next block,
 * since cores may not be equally fast, nor rows equally full. */
typedef struct listing {
    pt_trainer *trainer;
    const pt_split *split;
    pt_sparse_lists *lists;
    atomic_size_t next; /* row that nobody has taken yet */
    void (*pass)(pt_sparse_lists *lists, const pt_dataset *dataset, const pt_split *split,
                 const pt_kernels *kernels, size_t begin, size_t end);
} listing;

static void list_rows(void *context, size_t worker, size_t workers) {
    listing *l = context;
    (void)worker, (void)workers;
    for (size_t begin, end; pt_take_block(&l->next, LISTED_TOGETHER, l->split->rows, &begin, &end);)
        l->pass(l->lists, l->trainer->dataset, l->split, l->trainer->kernels, begin, end);
}

/* Counts the nonzero features of some rows, by input. */
static pt_status weigh_inputs(pt_trainer *t) {
    enum { SAMPLED = 1000 };
    const size_t columns = t->dataset->columns, rows = t->dataset->train.rows;
    const size_t units = (columns + PT_ROW_ALIGN - 1) / PT_ROW_ALIGN;
    const size_t sampled = rows < SAMPLED ? rows : SAMPLED;
    t->input_work = pt_calloc(units + 1, sizeof *t->input_work);
    if (!t->input_work)
        return PT_ERR_MEMORY;
    for (size_t i = 0; i < sampled; i++) {
        const pt_sparse_row row = pt_sparse_row_of(&t->lists.train, i * rows / sampled);
        for (size_t c = 0; c < columns; c++)
            t->input_work[c / PT_ROW_ALIGN + 1] += (uint32_t)(row.bitmap[c / 64] >> c % 64 & 1);
    }
    for (size_t u = 0; u < units; u++)
        t->input_work[u + 1] += t->input_work[u];
    return PT_OK;
}

void pt_trainer_make_lists(pt_trainer *t) {
    if (!pt_graph_takes_sparse(t->graph) || !pt_sparse_worthwhile(t->dataset, t->kernels))
        return;
    pt_status status = pt_sparse_init(&t->lists, t->dataset, NULL);
    for (int split = 0; split < 2 && status == PT_OK; split++) {
        listing l = {.trainer = t,
                     .split = split ? &t->dataset->test : &t->dataset->train,
                     .lists = split ? &t->lists.test : &t->lists.train,
                     .pass = pt_sparse_count_rows};
        pt_workers_run(t->threads, list_rows, &l);
        status = pt_sparse_allocate(l.lists, l.split, NULL);
        l.pass = pt_sparse_list_rows;
        atomic_store(&l.next, 0);
        if (status == PT_OK)
            pt_workers_run(t->threads, list_rows, &l);
    }
    if (status == PT_OK)
        status = weigh_inputs(t);
    t->sparse = status == PT_OK;
    if (!t->sparse) {
        pt_sparse_destroy(&t->lists);
        pt_free(t->input_work);
        t->input_work = NULL;
    }
}
