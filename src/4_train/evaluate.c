/* evaluate.c: accuracy of a split. Who is free takes the next rows: cores are rarely equally fast.
 *
 * Counts are integers, so who counts which rows cannot matter.
 */
#include "4_train/trainer.h"
#include "4_train/workers.h"

typedef struct evaluation {
    pt_trainer *trainer;
    const pt_split *split;
    size_t rows;
    atomic_size_t next; /* row that nobody has taken yet */
} evaluation;

static void evaluate(void *context, size_t worker, size_t workers) {
    evaluation *e = context;
    pt_trainer *t = e->trainer;
    pt_worker *self = &t->workers[worker];
    const pt_graph *graph = t->graph;
    const pt_node *output = &graph->nodes[graph->output_node];
    const unsigned previous = pt_float_environment_enter();
    (void)workers;
    self->correct = 0;
    for (size_t row, end; pt_take_block(&e->next, self->tape.rows, e->rows, &row, &end);) {
        const size_t count = end - row;
        pt_batch_fill_from(&self->batch, t->dataset, e->split, t->kernels, row, count);
        pt_tape_read_batch(&self->tape, &self->batch);
        pt_graph_forward(graph, t->kernels, t->params, &self->tape, 0, count, self->scratch);
        t->kernels->argmax(count, output->cols, pt_tape_value(&self->tape, graph->output_node),
                           output->ld, self->predicted);
        for (size_t i = 0; i < count; i++)
            self->correct += self->predicted[i] == self->batch.label[i];
    }
    pt_float_environment_leave(previous);
}

uint64_t pt_evaluate_region(pt_trainer *trainer, const pt_split *split, size_t rows) {
    evaluation e = {.trainer = trainer, .split = split, .rows = rows};
    uint64_t correct = 0;
    for (size_t w = 0; w < trainer->threads; w++)
        trainer->workers[w].correct = 0;
    pt_workers_run(pt_trainer_threads(trainer), evaluate, &e);
    for (size_t w = 0; w < trainer->threads; w++)
        correct += trainer->workers[w].correct;
    return correct;
}
