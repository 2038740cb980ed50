/* cases_kill.c: SIGKILL anywhere, and system calls that fail. */
#include "cases.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void note_strike(const outcome *o) {
    for (size_t i = 0; i < CALL_NAMES; i++)
        if (strncmp(o->fault, call_names[i], strlen(call_names[i])) == 0)
            g_tally->struck[i]++;
}

/* Starts, to be killed; what is left must be whole. `*over`: it finished before. */
static const char *be_killed(bench *b, const start *s, bool *over) {
    outcome o;
    lab_run(b, s, &o);
    *over = o.status == 0;
    if (!*over && o.status != 128 + SIGKILL)
        return lab_because("neither finished nor killed", &o);
    g_tally->ended += !*over;
    note_strike(&o);
    const char *wrong = lab_inspect(b, s->plan, *over);
    return wrong ? lab_because(wrong, &o) : NULL;
}

/* ---- SIGKILL ---- */

/* At random moments, several times in one training. */
const char *kill_at_moments(bench *b, long i) {
    (void)i;
    const uint64_t kills = 1 + lab_random(b, 6);
    const char *wrong = NULL;
    bool over = false;
    lab_remove(b->folder);
    for (uint64_t k = 0; k < kills && !wrong && !over; k++) {
        const double moment = lab_random_real(b) * g_moments.seconds + 1e-4;
        wrong = be_killed(b,
                          &(start){.plan = &g_moments,
                                   .resume = k > 0,
                                   .vary = true,
                                   .alarm = moment,
                                   .signal = SIGKILL},
                          &over);
    }
    return wrong || over ? wrong : lab_finish(b, &g_moments, lab_random(b, 8) != 0);
}

/* Before or after each system call in turn; now and then over the same run finished before, whose files
 * must not vouch for this one, and once more while it resumes. */
const char *kill_at_calls(bench *b, long i) {
    char fault[64];
    bool over = false;
    const long turn = i / g_calls.calls, n = i % g_calls.calls + 1;
    lab_remove(b->folder);
    if (lab_random(b, 4) == 0) {
        outcome o;
        lab_run(b, &(start){.plan = &g_calls, .vary = true}, &o);
        if (o.status != 0)
            return lab_because("does not run in peace", &o);
    }
    snprintf(fault, sizeof fault, "%s:%ld", (turn + n) % 2 ? "kill-after" : "kill-before", n);
    const char *wrong =
        be_killed(b, &(start){.plan = &g_calls, .vary = turn > 1, .fault = fault}, &over);
    if (!wrong && !over && turn > 0 && lab_random(b, 3) == 0) {
        snprintf(fault, sizeof fault, "kill-after:%d",
                 1 + (int)lab_random(b, (uint64_t)g_calls.calls / 2));
        wrong = be_killed(
            b, &(start){.plan = &g_calls, .vary = true, .resume = true, .fault = fault}, &over);
    }
    return wrong || over ? wrong : lab_finish(b, &g_calls, true);
}

/* ---- calls that fail ---- */

typedef struct variant {
    const char *kind;
    int count; /* calls that fail in a row */
    bool stop; /* on_save_error = stop */
} variant;
enum { FOR_GOOD = 1000000 };
static const variant variants[] = {
    {"ENOSPC", 1, false}, {"EIO", 1, true},           {"short", 1, false},
    {"EINTR", 1, true},   {"ENOSPC", FOR_GOOD, true}, {"EIO", FOR_GOOD, false},
    {"EIO", 1, false},    {"ENOSPC", 1, true},        {"ENOSPC", 2, false},
    {"EIO", 3, false},    {"EIO", FOR_GOOD, true},    {"ENOSPC", FOR_GOOD, false}};
enum { VARIANTS = sizeof variants / sizeof *variants };

long count_faults(void) {
    return VARIANTS * g_calls.calls;
}

/* Judges how a run took a fault that must be told. */
static const char *judge_failure(const bench *b, const variant *v, const outcome *o) {
    const char *reason = strcmp(v->kind, "EIO") == 0 ? "Input/output error" : "No space left";
    const bool once = v->count == 1,
               in_save = strstr(o->fault, "/checkpoint-") || strstr(o->fault, "/best");
    if (o->status != 0 && o->status != 1)
        return lab_because("unexpected exit status", o);
    if (o->status == 0 && strncmp(o->fault, "close ", 6) == 0 && !in_save &&
        (once || strstr(o->fault, ".csv")))
        return NULL; /* of a folder, or of a file after its fsync: nothing is lost */
    if (o->status == 0 && !o->err[0] && strncmp(o->fault, "close ", 6) == 0 &&
        strncmp(o->fault + 6, b->folder, strlen(b->folder)) == 0 &&
        !strchr(o->fault + 6 + strlen(b->folder), '/'))
        return NULL; /* the last call of all: of the folder, whose lock ends with the process anyway */
    if (!strstr(o->err, reason) || !strstr(o->err, b->folder))
        return lab_because("does not say what happened", o);
    if (o->status == 0 && !strstr(o->err, "ptrain: warning: "))
        return lab_because("no warning", o);
    if (o->status == 0 && v->stop && in_save)
        return lab_because("goes on, though on_save_error = stop", o);
    if (o->status != 0 && once && !v->stop && in_save)
        return lab_because("stops, though on_save_error = continue", o);
    if (o->status == 0 && strstr(o->fault, "/model.safetensors"))
        return lab_because("ends well without a model", o);
    return NULL;
}

const char *fail_at_calls(bench *b, long i) {
    char fault[64];
    outcome o;
    const long turn = i / g_calls.calls, n = i % g_calls.calls + 1;
    const variant *v = &variants[(turn + n) % VARIANTS];
    const bool harmless = strcmp(v->kind, "EINTR") == 0 || strcmp(v->kind, "short") == 0;
    lab_remove(b->folder);
    snprintf(fault, sizeof fault, "%s:%ld:%d", v->kind, n, v->count);
    lab_run(b,
            &(start){.plan = &g_calls,
                     .fault = fault,
                     .set = {v->stop ? "output.on_save_error=stop" : NULL}},
            &o);
    note_strike(&o);
    const char *wrong = lab_inspect(b, &g_calls, o.status == 0 && harmless);
    if (wrong)
        return lab_because(wrong, &o);
    if (harmless || !o.fault[0])
        wrong =
            o.status != 0 || o.err[0] ? lab_because("does not take it in its stride", &o) : NULL;
    else
        wrong = judge_failure(b, v, &o);
    return wrong ? wrong : lab_finish(b, &g_calls, lab_random(b, 4) != 0);
}

/* ---- the order of calls ---- */

/* Whether the log of a run in peace, up to `end`, has CALL and a path with this name (or ending in
 * it) after `from`. */
static const char *find_call(const char *from, const char *end, const char *call,
                             const char *name) {
    char wanted[LAB_PATH + 32];
    snprintf(wanted, sizeof wanted, "%s %s", call, name);
    for (const char *line = from; line < end; line = strchr(line, '\n') + 1)
        if (strncmp(line, wanted, strlen(wanted)) == 0)
            return line;
    return NULL;
}

/* An old checkpoint goes only when there are three newer ones in place (keep = 3). */
static bool removes_in_time(const bench *b, const char *log) {
    char name[2 * LAB_PATH];
    const int length = snprintf(name, sizeof name, "%s/checkpoint-", b->folder);
    long there = 0;
    bool ok = true;
    for (const char *line = log; *line; line = strchr(line, '\n') + 1) {
        if (strncmp(line, "rename ", 7) == 0)
            there += strncmp(line + 7, name, (size_t)length) == 0;
        else if (strncmp(line, "unlink ", 7) == 0 && strncmp(line + 7, name, (size_t)length) == 0)
            ok = ok && there-- > 3;
    }
    return ok;
}

/* SIGKILL cannot show a missing fsync, only a power failure could. So look at the calls: a file is
 * synced before its rename, and the folder after it; between two checkpoints, the rows are synced.
 */
const char *keep_order(bench *b, long i) {
    const plan *p = i % 2 ? &g_moments : &g_calls;
    outcome o;
    lab_remove(b->folder);
    lab_run(b, &(start){.plan = p, .fault = "trace", .vary = true}, &o);
    size_t size;
    char *log = lab_read(b->log, &size), name[2 * LAB_PATH];
    if (o.status != 0 || !log)
        return lab_because("fails", &o);
    const char *wrong = NULL, *checkpoint = log, *end = log + size;
    long renames = 0;
    for (char *line = log; !wrong && (line = strstr(line, "rename ")); line++, renames++) {
        const char *path = line + strlen("rename ");
        const int length = (int)strcspn(path, "\n");
        snprintf(name, sizeof name, "%.*s.tmp-", length, path);
        const char *opened = NULL, *synced, *written = NULL, *found;
        for (const char *at = log; (found = find_call(at, line, "open", name)); at = found + 1)
            opened = found;
        for (const char *at = opened; at && (found = find_call(at, line, "write", name));
             at = found + 1)
            written = found;
        synced = opened ? find_call(written ? written : opened, line, "fsync", name) : NULL;
        snprintf(name, sizeof name, "%s\n", b->folder);
        if (!synced)
            wrong = "a file is renamed before its fsync";
        else if (!find_call(line, end, "fsync", name))
            wrong = "a folder has no fsync after a rename";
        if (strncmp(path + strlen(b->folder), "/checkpoint-", 12) != 0)
            continue;
        for (int k = 0; k < 2 && !wrong; k++) {
            snprintf(name, sizeof name, "%s/%s\n", b->folder, k ? "metrics.csv" : "losses.csv");
            if (!find_call(checkpoint, line, "fsync", name))
                wrong = "a checkpoint is saved before the rows that it builds on";
        }
        checkpoint = strchr(line, '\n') + 1;
    }
    if (!wrong && !removes_in_time(b, log))
        wrong = "a checkpoint is removed too early";
    free(log);
    /* config, metrics, losses, best, a checkpoint, model, summary */
    if (!wrong && renames < 7)
        wrong = "too few renames";
    return wrong ? lab_because(wrong, &o) : NULL;
}
