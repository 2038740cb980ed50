/* saver.c: snapshots, and the pthread that writes them. */
#include "6_run/saver.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "0_base/thread.h"
#include "5_results/model_file.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef enum slot_state { FREE, PENDING, WRITING } slot_state;

typedef struct snapshot {
    slot_state state;
    bool failed; /* PENDING, but waits for the next save after a failure */
    pt_save_kind kind;
    pt_checkpoint checkpoint;
    float *block; /* the parts, one after the other */
    pt_tensor *tensors;
} snapshot;

/* One being written and one pending of each kind: a free one is always found. */
enum { SLOTS = 1 + PT_SAVE_KINDS };

struct pt_saver {
    const pt_config *config;
    const pt_trainer *trainer;
    pt_metrics *metrics;
    char *config_text;
    char **names; /* of the tensors, part by part */
    size_t tensor_count;
    snapshot slots[SLOTS];
    pthread_t thread;
    bool started, stop;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pt_error failure; /* status PT_OK: none */
};

static pt_status write_slot(pt_saver *s, const snapshot *slot, pt_error *err) {
    if (slot->kind == PT_SAVE_BEST)
        return pt_checkpoint_save_best(s->config->output.dir, &slot->checkpoint, err);
    /* First the rows a checkpoint builds on, then the checkpoint. */
    pt_status status = pt_metrics_sync(s->metrics, err);
    if (status != PT_OK)
        return status;
    return pt_checkpoint_save(s->config->output.dir, &slot->checkpoint, s->config->output.keep,
                              err);
}

/* The oldest pending snapshot; NULL when there is none, or when it has failed and waits. */
static snapshot *next_pending(pt_saver *s) {
    snapshot *next = NULL;
    for (size_t i = 0; i < SLOTS; i++)
        if (s->slots[i].state == PENDING &&
            (!next || s->slots[i].checkpoint.step < next->checkpoint.step))
            next = &s->slots[i];
    return next && !next->failed ? next : NULL;
}

/* Makes what has failed ready for another try. */
static void try_again(pt_saver *s) {
    for (size_t i = 0; i < SLOTS; i++)
        s->slots[i].failed = false;
    pthread_cond_broadcast(&s->changed);
}

/* Whether a newer snapshot of the same kind waits. */
static bool is_superseded(const pt_saver *s, const snapshot *slot) {
    bool superseded = false;
    for (size_t i = 0; i < SLOTS; i++)
        superseded = superseded || (&s->slots[i] != slot && s->slots[i].state == PENDING &&
                                    s->slots[i].kind == slot->kind);
    return superseded;
}

static void *write_pending(void *context) {
    pt_saver *s = context;
    pthread_mutex_lock(&s->lock);
    for (;;) {
        snapshot *slot = next_pending(s);
        if (!slot && s->stop)
            break;
        if (!slot) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        slot->state = WRITING;
        pthread_mutex_unlock(&s->lock);
        pt_error err = {0};
        pt_status status = write_slot(s, slot, &err);
        pthread_mutex_lock(&s->lock);
        if (status != PT_OK && s->failure.status == PT_OK)
            s->failure = err;
        slot->failed = status != PT_OK;
        slot->state = status == PT_OK || is_superseded(s, slot) ? FREE : PENDING;
        pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* What a checkpoint holds of a trainer, each a block of graph->block_size floats. */
enum { PART_PARAMS, PART_KEPT, PART_STATE }; /* and those behind it: state by state */

static size_t part_count(const pt_trainer *t) {
    return PART_STATE + t->optimizer->state_count;
}

static float *part_block(const pt_trainer *t, size_t part) {
    return part == PART_PARAMS ? t->params
           : part == PART_KEPT ? t->kept_params
                               : t->state[part - PART_STATE];
}

static size_t tensor_count(const pt_trainer *t) {
    return part_count(t) * t->graph->param_count;
}

/* Which parameter, and which part, tensor `i` is. */
static const pt_param *tensor_param(const pt_trainer *t, size_t i, size_t *part) {
    *part = i / t->graph->param_count;
    return &t->graph->params[i % t->graph->param_count];
}

static char *tensor_name(const pt_trainer *t, size_t i) {
    size_t part;
    const char *name = tensor_param(t, i, &part)->name;
    return part == PART_PARAMS ? pt_format("param.%s", name)
           : part == PART_KEPT
               ? pt_format("kept.%s", name)
               : pt_format("state.%s.%s", t->optimizer->state_name[part - PART_STATE], name);
}

static pt_status make_slot(const pt_saver *s, snapshot *slot, pt_error *err) {
    const pt_trainer *t = s->trainer;
    const size_t size = t->graph->block_size;
    slot->block = pt_calloc_aligned(part_count(t) * size, sizeof *slot->block);
    slot->tensors = pt_calloc(s->tensor_count, sizeof *slot->tensors);
    if (!slot->block || !slot->tensors)
        return pt_fail_memory(err, "a snapshot for checkpoints",
                              part_count(t) * size * sizeof *slot->block);
    for (size_t i = 0; i < s->tensor_count; i++) {
        size_t part;
        const pt_param *param = tensor_param(t, i, &part);
        slot->tensors[i] = pt_param_tensor(param, s->names[i], slot->block + part * size);
    }
    return PT_OK;
}

/* The keys that decide the numbers, as text. */
static pt_status describe_config(pt_saver *s, pt_error *err) {
    char *text = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&text, &size);
    if (!stream)
        return pt_fail_memory(err, "the config's text", BUFSIZ);
    pt_status status = pt_config_write_numbers(s->config, stream, err);
    if (fclose(stream) != 0 && status == PT_OK)
        status = pt_fail_memory(err, "the config's text", size);
    if (status == PT_OK && !(s->config_text = pt_strndup(text, size)))
        status = pt_fail_memory(err, "the config's text", size);
    free(text); /* open_memstream's own malloc */
    return status;
}

static pt_status start_thread(pt_saver *s, pt_error *err) {
    const int failed = pt_thread_start(&s->thread, write_pending, s);
    s->started = !failed;
    return failed ? pt_fail(err, PT_ERR_MEMORY, "cannot start the checkpoint thread: %s",
                            strerror(failed))
                  : PT_OK;
}

pt_status pt_saver_start(const pt_config *config, const pt_trainer *trainer, pt_metrics *metrics,
                         pt_saver **saver, pt_error *err) {
    *saver = NULL;
    pt_saver *s = pt_calloc(1, sizeof *s);
    if (!s)
        return pt_fail_memory(err, "the saver", sizeof *s);
    s->config = config;
    s->trainer = trainer;
    s->metrics = metrics;
    s->tensor_count = tensor_count(trainer);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    pt_status status = describe_config(s, err);
    if (status == PT_OK && !(s->names = pt_calloc(s->tensor_count, sizeof *s->names)))
        status = pt_fail_memory(err, "tensor names", s->tensor_count * sizeof *s->names);
    for (size_t i = 0; i < s->tensor_count && status == PT_OK; i++)
        if (!(s->names[i] = tensor_name(trainer, i)))
            status = pt_fail_memory(err, "a tensor's name", sizeof "param.");
    for (size_t i = 0; i < SLOTS && status == PT_OK; i++)
        status = make_slot(s, &s->slots[i], err);
    if (status == PT_OK)
        status = start_thread(s, err);
    if (status == PT_OK)
        *saver = s;
    else
        pt_saver_stop(s);
    return status;
}

void pt_saver_save(pt_saver *s, pt_save_kind kind, const pt_checkpoint *position) {
    const pt_trainer *t = s->trainer;
    const size_t size = t->graph->block_size;
    pthread_mutex_lock(&s->lock);
    snapshot *slot = NULL;
    for (size_t i = 0; i < SLOTS; i++) /* a pending one of this kind is out of date now */
        if (s->slots[i].state == PENDING && s->slots[i].kind == kind)
            slot = &s->slots[i];
    for (size_t i = 0; i < SLOTS && !slot; i++)
        if (s->slots[i].state == FREE)
            slot = &s->slots[i];
    if (slot) {
        for (size_t part = 0; part < part_count(t); part++)
            memcpy(slot->block + part * size, part_block(t, part), size * sizeof(float));
        slot->kind = kind;
        slot->checkpoint = *position;
        slot->checkpoint.config = s->config_text;
        slot->checkpoint.tensors = slot->tensors;
        slot->checkpoint.tensor_count = s->tensor_count;
        slot->state = PENDING;
        try_again(s);
    }
    pthread_mutex_unlock(&s->lock);
}

static bool is_writing(const pt_saver *s) {
    bool writing = false;
    for (size_t i = 0; i < SLOTS; i++)
        writing = writing || s->slots[i].state == WRITING;
    return writing;
}

pt_status pt_saver_wait(pt_saver *s, pt_error *err) {
    bool unsaved = false;
    pthread_mutex_lock(&s->lock);
    while (is_writing(s)) /* whose failure deserves another try too */
        pthread_cond_wait(&s->changed, &s->lock);
    try_again(s);
    while (is_writing(s) || next_pending(s))
        pthread_cond_wait(&s->changed, &s->lock);
    for (size_t i = 0; i < SLOTS; i++) {
        unsaved = unsaved || s->slots[i].state == PENDING;
        s->slots[i].state = FREE;
    }
    pthread_mutex_unlock(&s->lock);
    return unsaved ? pt_saver_failure(s, err) : PT_OK;
}

pt_status pt_saver_failure(pt_saver *s, pt_error *err) {
    pthread_mutex_lock(&s->lock);
    pt_error failure = s->failure;
    s->failure.status = PT_OK;
    pthread_mutex_unlock(&s->lock);
    return failure.status == PT_OK ? PT_OK : pt_fail(err, failure.status, "%s", failure.message);
}

void pt_saver_stop(pt_saver *s) {
    if (!s)
        return;
    if (s->started) {
        pthread_mutex_lock(&s->lock);
        s->stop = true;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        pt_free(s->slots[i].block);
        pt_free(s->slots[i].tensors);
    }
    for (size_t i = 0; s->names && i < s->tensor_count; i++)
        pt_free(s->names[i]);
    pt_free(s->names);
    pt_free(s->config_text);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->changed);
    pt_free(s);
}

static pt_status find_all(const pt_trainer *t, const pt_checkpoint *checkpoint, const char *name,
                          const pt_tensor **found, size_t count, pt_error *err) {
    pt_status status = PT_OK;
    for (size_t i = 0; i < count && status == PT_OK; i++) {
        size_t part;
        const pt_param *param = tensor_param(t, i, &part);
        char *wanted = tensor_name(t, i);
        if (!wanted)
            return pt_fail_memory(err, "a tensor's name", sizeof "param.");
        found[i] = pt_tensor_find(checkpoint->tensors, checkpoint->tensor_count, wanted);
        if (!found[i] || !pt_param_fits(param, found[i]))
            status = pt_fail(err, PT_ERR_DATA, "%s: tensor '%s' is missing or has another shape",
                             name, wanted);
        pt_free(wanted);
    }
    return status;
}

pt_status pt_restore_checkpoint(pt_trainer *t, const pt_checkpoint *checkpoint, const char *name,
                                pt_error *err) {
    const size_t count = tensor_count(t);
    const pt_tensor **found = pt_calloc(count, sizeof *found);
    if (!found)
        return pt_fail_memory(err, "the list of tensors", count * sizeof *found);
    pt_status status = find_all(t, checkpoint, name, found, count, err);
    for (size_t i = 0; i < count && status == PT_OK; i++) {
        size_t part;
        const pt_param *param = tensor_param(t, i, &part);
        pt_param_read(param, found[i], part_block(t, part));
    }
    pt_free(found);
    if (status != PT_OK)
        return status;
    atomic_store(&t->iteration, checkpoint->step);
    t->kept_iteration = checkpoint->last_row;
    return PT_OK;
}
