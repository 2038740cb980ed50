/* summary.c: summary.json. */
#include "5_results/metrics.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "5_results/atomic_file.h"
#include "5_results/json.h"

#include <math.h>
#include <string.h>

static void key(pt_string *out, const char *name) {
    pt_string_add(out, "%s\n  \"%s\": ", out->length > 1 ? "," : "", name);
}

static void real(pt_string *out, const char *name, bool present, double value) {
    key(out, name);
    pt_json_number(out, present ? value : (double)NAN);
}

static void integer(pt_string *out, const char *name, uint64_t value) {
    key(out, name);
    pt_string_add(out, "%llu", (unsigned long long)value);
}

static void string(pt_string *out, const char *name, const char *value) {
    key(out, name);
    if (value && pt_utf8_valid(value, strlen(value)))
        pt_json_quote(out, value);
    else
        pt_string_add(out, "null"); /* what is not UTF-8 has no JSON text */
}

static void write_all(pt_string *w, const pt_summary *s) {
    pt_string_add(w, "{");
    real(w, "train_loss", true, s->train_loss);
    real(w, "train_accuracy", s->has_train, s->train_accuracy);
    real(w, "test_accuracy", s->has_test, s->test_accuracy);
    real(w, "evaluated_iteration", s->evaluated_iteration > 0, (double)s->evaluated_iteration);
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
    key(w, "all_saved");
    pt_string_add(w, "%s", s->all_saved ? "true" : "false");
    string(w, "schedule", s->schedule);
    integer(w, "shards", s->shards);
    integer(w, "parameters", s->parameters);
    integer(w, "batch_size", s->batch_size);
    integer(w, "seed", s->seed);
    string(w, "version", s->version);
    pt_string_add(w, "\n}\n");
}

pt_status pt_summary_write(const char *folder, const pt_summary *summary, pt_error *err) {
    pt_string text = {0};
    char *path = pt_format("%s/summary.json", folder);
    write_all(&text, summary);
    pt_status status = !path || text.failed ? pt_fail_memory(err, "summary.json", text.length)
                                            : pt_atomic_write(path, text.text, err);
    pt_string_free(&text);
    pt_free(path);
    return status;
}
