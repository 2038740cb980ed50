/* summary.c: summary.json. */
#include "5_results/metrics.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "5_results/atomic_file.h"
#include "5_results/json.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

/* Jansson escapes the texts; the numbers are ours, since it would print 0.9741 with 17 digits. */
typedef struct writer {
    FILE *stream;
    const char *separator;
    bool out_of_memory;
} writer;

static void raw(writer *w, const char *key, const char *value) {
    fprintf(w->stream, "%s\n  \"%s\": %s", w->separator, key, value);
    w->separator = ",";
}

static void real(writer *w, const char *key, bool present, double value) {
    char text[32];
    raw(w, key, present && isfinite(value) ? pt_print_double(value, text) : "null");
}

static void integer(writer *w, const char *key, uint64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    raw(w, key, text);
}

static void string(writer *w, const char *key, const char *value) {
    /* What is not UTF-8 has no JSON text, and becomes null as well. */
    if (!value || !pt_utf8_valid(value, strlen(value))) {
        raw(w, key, "null");
        return;
    }
    json_t *tree = json_string(value);
    char *text = tree ? json_dumps(tree, JSON_ENCODE_ANY) : NULL;
    json_decref(tree);
    if (text)
        raw(w, key, text);
    else
        w->out_of_memory = true;
    pt_free(text);
}

static void write_all(writer *w, const pt_summary *s) {
    fputc('{', w->stream);
    real(w, "train_loss", true, s->train_loss);
    real(w, "train_accuracy", s->has_train, s->train_accuracy);
    real(w, "test_accuracy", s->has_test, s->test_accuracy);
    integer(w, "iterations", s->iterations);
    integer(w, "samples", s->samples);
    real(w, "train_seconds", true, s->train_seconds);
    real(w, "eval_seconds", true, s->eval_seconds);
    real(w, "total_seconds", true, s->total_seconds);
    real(w, "samples_per_second", true, s->samples_per_second);
    integer(w, "threads", s->threads);
    string(w, "isa", s->isa);
    string(w, "model_sha256", s->model_sha256);
    string(w, "status", s->status);
    string(w, "schedule", s->schedule);
    integer(w, "shards", s->shards);
    integer(w, "parameters", s->parameters);
    integer(w, "batch_size", s->batch_size);
    integer(w, "seed", s->seed);
    string(w, "version", s->version);
    fputs("\n}\n", w->stream);
}

pt_status pt_summary_write(const char *folder, const pt_summary *summary, pt_error *err) {
    pt_json_init();
    char *path = pt_format("%s/summary.json", folder);
    if (!path)
        return pt_fail_memory(err, "summary.json", 0);
    pt_atomic_file *file = NULL;
    pt_status status = pt_atomic_open(path, &file, err);
    if (status == PT_OK) {
        writer w = {.stream = pt_atomic_stream(file), .separator = ""};
        write_all(&w, summary);
        if (w.out_of_memory) {
            pt_atomic_abort(file);
            status = pt_fail_memory(err, path, 0);
        } else {
            status = pt_atomic_commit(file, err);
        }
    }
    pt_free(path);
    return status;
}
