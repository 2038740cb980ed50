/* torture.c: whatever happens to a training, the files in the end are those of one left in peace.
 *
 * Usage: torture PTRAIN SHIM [SECTION]...
 * Environment: KILLS (default 2000), JOBS (2), SEED (1), TORTURE_DIR (/dev/shm, else /tmp)
 *
 * Trains two small networks (Adam; momentum) once in peace. Then, many times over: kills the
 * process at random moments and at every system call that changes a file, lets those calls fail,
 * interrupts, damages checkpoints, asks for what must be refused; looks at what is left; resumes
 * with other threads, instruction sets and schedules; and compares every file byte for byte.
 * Prints a line per section and `N passed, N failed`; exits 1 if anything failed.
 */
#include "lab.h"

#include "5_results/safetensors.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What is counted by all workers together. */
enum { CALL_NAMES = 8, MAX_SHOWN = 20 };
static const char *const call_names[CALL_NAMES] = {"mkdir", "open",   "write",  "fsync",
                                                   "close", "rename", "unlink", "ftruncate"};
typedef struct tally {
    atomic_long next, passed, failed, kills, struck[CALL_NAMES];
} tally;

static tally *g_tally; /* shared by the workers, of the section under way */
static plan g_calls = {.last = 125, .every = 25}, g_moments = {.last = 5000, .every = 200};
static long g_kills;
static char g_other_data[LAB_PATH]; /* a copy of the training data under another name */

static char g_text[LAB_TEXT + 2 * 1024 + LAB_PATH];
static const char *because(const char *what, const outcome *o) {
    snprintf(g_text, sizeof g_text, "%s (status %d%s%s)\n%s", what, o->status,
             o->fault[0] ? ", fault at " : "", o->fault, o->err);
    return g_text;
}

/* ---- steps that cases are made of ---- */

/* Lets the training finish; everything must then be as in the reference. */
static const char *finish(bench *b, const plan *p, bool resume) {
    outcome o;
    lab_run(b, &(start){.plan = p, .resume = resume, .vary = true}, &o);
    if (o.status != 0)
        return because(resume ? "does not resume" : "does not start anew", &o);
    const char *wrong = lab_inspect(b, p, true);
    return wrong ? because(wrong, &o) : NULL;
}

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
        return because("neither finished nor killed", &o);
    g_tally->kills += !*over;
    note_strike(&o);
    const char *wrong = lab_inspect(b, s->plan, *over);
    return wrong ? because(wrong, &o) : NULL;
}

/* The state of a training of plan g_calls that was killed after iteration 100. */
static void prepare_half(const bench *b) {
    static const char *const files[] = {"config.ini",
                                        "metrics.csv",
                                        "losses.csv",
                                        "best.safetensors",
                                        NULL,
                                        "checkpoint-0000000050.safetensors",
                                        "checkpoint-0000000075.safetensors",
                                        "checkpoint-0000000100.safetensors"};
    lab_remove(b->folder);
    if (mkdir(b->folder, 0777) != 0)
        lab_die(b->folder, strerror(errno));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[LAB_PATH + 64], to[LAB_PATH + 64];
        if (!files[i])
            continue;
        snprintf(from, sizeof from, "%s/%s", g_calls.reference, files[i]);
        snprintf(to, sizeof to, "%s/%s", b->folder, files[i]);
        lab_copy(from, to);
    }
}

/* ---- SIGKILL ---- */

/* At random moments, several times in one training. */
static const char *kill_at_moments(bench *b, long i) {
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
    return wrong || over ? wrong : finish(b, &g_moments, lab_random(b, 8) != 0);
}

/* Before or after each system call in turn; now and then once more while it resumes. */
static const char *kill_at_calls(bench *b, long i) {
    char fault[64];
    bool over = false;
    const long turn = i / g_calls.calls, n = i % g_calls.calls + 1;
    lab_remove(b->folder);
    snprintf(fault, sizeof fault, "%s:%ld", (turn + n) % 2 ? "kill-after" : "kill-before", n);
    const char *wrong =
        be_killed(b, &(start){.plan = &g_calls, .vary = turn > 1, .fault = fault}, &over);
    if (!wrong && !over && turn > 0 && lab_random(b, 3) == 0) {
        snprintf(fault, sizeof fault, "kill-after:%d",
                 1 + (int)lab_random(b, (uint64_t)g_calls.calls / 2));
        wrong = be_killed(
            b, &(start){.plan = &g_calls, .vary = true, .resume = true, .fault = fault}, &over);
    }
    return wrong || over ? wrong : finish(b, &g_calls, true);
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

/* Judges how a run took a fault that must be told. */
static const char *judge_failure(const bench *b, const variant *v, const outcome *o) {
    const char *reason = strcmp(v->kind, "EIO") == 0 ? "Input/output error" : "No space left";
    const bool once = v->count == 1,
               in_save = strstr(o->fault, "/checkpoint-") || strstr(o->fault, "/best");
    if (o->status != 0 && o->status != 1)
        return because("unexpected exit status", o);
    if (o->status == 0 && strncmp(o->fault, "close ", 6) == 0 && !in_save &&
        (once || strstr(o->fault, ".csv")))
        return NULL; /* of a folder, or of a file after its fsync: nothing is lost */
    if (!strstr(o->err, reason) || !strstr(o->err, b->folder))
        return because("does not say what happened", o);
    if (o->status == 0 && !strstr(o->err, "ptrain: warning: "))
        return because("no warning", o);
    if (o->status == 0 && v->stop && in_save)
        return because("goes on, though on_save_error = stop", o);
    if (o->status != 0 && once && !v->stop && in_save)
        return because("stops, though on_save_error = continue", o);
    if (o->status == 0 && strstr(o->fault, "/model.safetensors"))
        return because("ends well without a model", o);
    /* The checkpoint before the one that failed must still be there: lab_inspect has read it. */
    const char *name = strstr(o->fault, "checkpoint-");
    const uint64_t step = name ? strtoull(name + strlen("checkpoint-"), NULL, 10) : 0;
    if (once && v->stop && step > g_calls.every) {
        char before[LAB_PATH + 64];
        snprintf(before, sizeof before, "%s/checkpoint-%010llu.safetensors", b->folder,
                 (unsigned long long)(step - g_calls.every));
        if (strncmp(o->fault, "unlink", 6) != 0 && access(before, F_OK) != 0)
            return because("the checkpoint before is gone", o);
    }
    return NULL;
}

static const char *fail_at_calls(bench *b, long i) {
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
        return because(wrong, &o);
    if (harmless || !o.fault[0])
        wrong = o.status != 0 || o.err[0] ? because("does not take it in its stride", &o) : NULL;
    else
        wrong = judge_failure(b, v, &o);
    return wrong ? wrong : finish(b, &g_calls, lab_random(b, 4) != 0);
}

/* ---- signals ---- */

/* Ctrl-C or SIGTERM at a random moment: the work is saved, and the user told how to go on. */
static const char *interrupt(bench *b, long i) {
    outcome o;
    const int signal = i % 2 ? SIGTERM : SIGINT;
    lab_remove(b->folder);
    lab_run(b,
            &(start){.plan = &g_moments,
                     .vary = true,
                     .alarm = lab_random_real(b) * g_moments.seconds + 1e-4,
                     .signal = signal},
            &o);
    /* Before ptrain has set up its handler, the signal itself ends it: the same status here. */
    if (o.status != 0 && o.status != 128 + signal)
        return because("unexpected exit status", &o);
    g_tally->kills += o.status != 0;
    const char *wrong = lab_inspect(b, &g_moments, o.status == 0);
    if (wrong)
        return because(wrong, &o);
    const char *told = strstr(o.err, "stopped after iteration ");
    if (told) {
        const uint64_t step = strtoull(told + strlen("stopped after iteration "), NULL, 10);
        char path[LAB_PATH + 64], advice[LAB_PATH + 64];
        snprintf(path, sizeof path, "%s/checkpoint-%010llu.safetensors", b->folder,
                 (unsigned long long)step);
        snprintf(advice, sizeof advice, "ptrain %s --resume", g_moments.config);
        if (step > 0 && access(path, F_OK) != 0)
            return because("the last iteration was not saved", &o);
        if (!strstr(o.err, advice))
            return because("does not say how to go on", &o);
    }
    return finish(b, &g_moments, true);
}

/* Every call that changes a file takes two seconds from the n-th on, so the second Ctrl-C finds the
 * process in the middle of a save. It must end at once and lose nothing. */
static const char *interrupt_twice(bench *b, long i) {
    char fault[64];
    outcome o;
    snprintf(fault, sizeof fault, "stall:%ld:1000", 60 + 7 * i);
    lab_remove(b->folder);
    lab_run(b,
            &(start){.plan = &g_calls,
                     .fault = fault,
                     .alarm = 0.5,
                     .signal = i % 2 ? SIGTERM : SIGINT,
                     .second_alarm = 0.3},
            &o);
    if (o.status != (i % 2 ? 128 + SIGTERM : 128 + SIGINT))
        return because("unexpected exit status", &o);
    if (o.seconds > 1.9)
        return because("does not end at once", &o);
    g_tally->kills++;
    const char *wrong = lab_inspect(b, &g_calls, false);
    return wrong ? because(wrong, &o) : finish(b, &g_calls, true);
}

/* ---- damaged checkpoints ---- */

static const char *const newest_name = "checkpoint-0000000100.safetensors";

static void damage(bench *b, const char *name) {
    char path[LAB_PATH + 64], other[LAB_PATH + 64];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", b->folder, name);
    snprintf(other, sizeof other, "%s/checkpoint-0000000025.safetensors", g_calls.reference);
    char *bytes = lab_read(path, &size);
    if (!bytes)
        lab_die(path, strerror(errno));
    switch (lab_random(b, 5)) {
    case 0: /* the good checkpoint of another iteration */
        lab_copy(other, path);
        break;
    case 1: /* cut short, maybe to nothing */
        lab_write(path, bytes, lab_random(b, 4) ? lab_random(b, size) : 0);
        break;
    case 2: /* a page of zeros, as a power failure may leave */
        memset(bytes + lab_random(b, size - 512), 0, 512);
        lab_write(path, bytes, size);
        break;
    default: {
        const uint64_t bit = lab_random(b, 8 * size);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        lab_write(path, bytes, size);
    }
    }
    free(bytes);
}

/* The newest checkpoint, or the newest two or three: they are named and the one before is used. */
static const char *resume_from_damaged(bench *b, long i) {
    static const char *const names[] = {"checkpoint-0000000100.safetensors",
                                        "checkpoint-0000000075.safetensors",
                                        "checkpoint-0000000050.safetensors"};
    const size_t count = i % 8 == 6 ? 2 : i % 8 == 7 ? 3 : 1;
    outcome o;
    prepare_half(b);
    for (size_t n = 0; n < count; n++)
        damage(b, names[n]);
    lab_run(b, &(start){.plan = &g_calls, .resume = true, .vary = true}, &o);
    if (o.status != 0)
        return because("does not resume", &o);
    for (size_t n = 0; n < 3; n++)
        if ((strstr(o.err, names[n]) != NULL) != (n < count))
            return because("names the wrong checkpoints", &o);
    if ((strstr(o.err, "no checkpoint to resume from") != NULL) != (count == 3))
        return because("does not say where it starts", &o);
    const char *wrong = lab_inspect(b, &g_calls, true);
    return wrong ? because(wrong, &o) : NULL;
}

/* Each bit of one byte of a checkpoint: none may flip unnoticed. */
static const char *flip_bits(bench *b, long i) {
    char path[LAB_PATH + 64];
    size_t size;
    (void)b;
    snprintf(path, sizeof path, "%s/%s", g_calls.reference, newest_name);
    char *bytes = lab_read(path, &size);
    const char *wrong = bytes ? NULL : "no checkpoint";
    for (int bit = 0; bit < 8 && !wrong && (size_t)i < size; bit++) {
        pt_safetensors *file = NULL;
        pt_error err;
        bytes[i] = (char)(bytes[i] ^ (1 << bit));
        if (pt_safetensors_parse(bytes, size, path, &file, &err) == PT_OK)
            wrong = "a flipped bit passes";
        bytes[i] = (char)(bytes[i] ^ (1 << bit));
        pt_safetensors_free(file);
    }
    free(bytes);
    return wrong;
}

/* ---- what may differ between two halves of a run, and what not ---- */

static const char *const changing[] = {
    "train.seed=8",          "train.iterations=126",         "train.batch_size=13",
    "train.sampling=random", "train.evaluate_every=31",      "train.evaluate_rows=50",
    "train.evaluate=false",  "optimizer.type=sgd",           "optimizer.learning_rate=0.011",
    "optimizer.beta1=0.8",   "optimizer.epsilon=1e-7",       "parallel.shards=3",
    "layer.hidden.units=17", "layer.hidden.init=normal(1)",  "layer.answer.bias=false",
    "layer.tanh.type=relu",  "loss.type=mean_squared_error", "data.limit=50",
    "data.train_file=",      "optimizer.beta2=0.99"};
static const char *const harmless[] = {
    "parallel.threads=3",        "parallel.isa=scalar", "parallel.schedule=slices",
    "parallel.loader=on",        "output.progress=off", "output.keep=2",
    "output.checkpoint_every=5", "output.best=false",   "output.on_save_error=stop"};
enum {
    CHANGING = sizeof changing / sizeof *changing,
    HARMLESS = sizeof harmless / sizeof *harmless
};

static const char *resume_with_changes(bench *b, long i) {
    const bool refused = i < CHANGING;
    const char *set = refused ? changing[i] : harmless[i - CHANGING];
    char key[64], data[LAB_PATH + 32];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(set, "="), set);
    if (strcmp(set, "data.train_file=") == 0) {
        snprintf(data, sizeof data, "%s%s", set, g_other_data);
        set = data;
    }
    outcome o;
    prepare_half(b);
    lab_run(b, &(start){.plan = &g_calls, .resume = true, .set = {set}}, &o);
    if (o.status != (refused ? 2 : 0))
        return because(set, &o);
    if (refused && !strstr(o.err, key))
        return because("does not name the key", &o);
    const char *wrong = lab_inspect(b, &g_calls, !refused);
    if (wrong)
        return because(wrong, &o);
    return refused ? finish(b, &g_calls, true) : NULL;
}

/* ---- setting up ---- */

/* Three classes, not quite separable. */
static void write_data(const char *path, size_t rows, uint64_t seed) {
    bench b = {.random = seed};
    FILE *file = fopen(path, "w");
    if (!file)
        lab_die(path, strerror(errno));
    for (size_t r = 0; r < rows; r++) {
        int x[6];
        for (size_t c = 0; c < 6; c++)
            fprintf(file, "0.%03d,", x[c] = (int)lab_random(&b, 1000));
        fprintf(file, "%d\n", (3 * x[0] + x[1] + (int)lab_random(&b, 300)) / 1000 % 3);
    }
    if (fclose(file) != 0)
        lab_die(path, strerror(errno));
}

static void write_config(plan *p, const char *root, const char *name, const char *optimizer,
                         int evaluate_every) {
    snprintf(p->config, sizeof p->config, "%.*s/%s.ini", LAB_PATH - 64, root, name);
    snprintf(p->reference, sizeof p->reference, "%.*s/%s", LAB_PATH - 64, root, name);
    FILE *file = fopen(p->config, "w");
    if (!file)
        lab_die(p->config, strerror(errno));
    fprintf(file,
            "[data]\ndataset = csv\ntrain_file = %s/train.csv\ntest_file = %s/test.csv\n"
            "[layer.hidden]\ntype = affine\nunits = 12\ninit = normal(0.5)\n"
            "[layer.tanh]\ntype = tanh\n"
            "[layer.answer]\ntype = affine\nunits = 3\ninit = normal(0.5)\n"
            "[loss]\ntype = softmax_cross_entropy\n"
            "[train]\niterations = %llu\nbatch_size = 12\nsampling = shuffle\n"
            "evaluate_every = %d\nseed = 7\n"
            "[optimizer]\n%s\n"
            "[output]\ncheckpoint_every = %llu\nkeep = 3\nbest = true\n",
            root, root, (unsigned long long)p->last, evaluate_every, optimizer,
            (unsigned long long)p->every);
    if (fclose(file) != 0)
        lab_die(p->config, strerror(errno));
}

/* The run in peace, which keeps all its checkpoints; and the number of calls of such a run. */
static void make_reference(bench *b, plan *p) {
    outcome o;
    snprintf(b->folder, sizeof b->folder, "%s", p->reference);
    lab_run(b, &(start){.plan = p, .set = {"output.keep=1000000"}}, &o);
    if (o.status != 0)
        lab_die("the run in peace fails", o.err);
    snprintf(b->folder, sizeof b->folder, "%.*s-again", LAB_PATH - 16, p->reference);
    for (int i = 0; i < 3; i++) {
        lab_remove(b->folder);
        lab_run(b, &(start){.plan = p, .fault = "trace"}, &o);
        const char *wrong = lab_inspect(b, p, true);
        if (o.status != 0 || wrong)
            lab_die("a second run in peace differs", wrong ? wrong : o.err);
        p->seconds = o.seconds;
        size_t size;
        char *log = lab_read(b->log, &size);
        if (!log || size == 0)
            lab_die(b->shim, "does not see any system call");
        long calls = 0;
        for (const char *c = log; *c; c++)
            calls += *c == '\n';
        p->calls = calls > p->calls ? calls : p->calls;
        free(log);
    }
}

/* ---- running the sections ---- */

typedef struct section {
    const char *name, *what;
    const char *(*check)(bench *b, long i); /* NULL, or what went wrong */
    bool all_calls;                         /* every kind of call must have been struck */
    long cases, kills; /* so many cases, or (not 0) as many as come to so many kills */
} section;

static void work(bench *b, const section *s, uint64_t seed) {
    for (long i; (i = g_tally->next++) < s->cases;) {
        if (s->kills && g_tally->kills >= s->kills)
            break;
        b->random = (seed << 40) + ((uint64_t)(unsigned char)s->name[0] << 32) + (uint64_t)i;
        const char *wrong = s->check(b, i);
        if (!wrong)
            g_tally->passed++;
        else if (g_tally->failed++ < MAX_SHOWN)
            fprintf(stderr, "FAILED %s, case %ld (seed %llu): %s\n", s->name, i,
                    (unsigned long long)seed, wrong);
    }
}

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Runs a section with `jobs` workers. */
static bool run_section(const section *s, const bench *first, const char *root, long jobs,
                        uint64_t seed) {
    memset(g_tally, 0, sizeof *g_tally);
    const double began = seconds_now();
    bool died = false;
    for (long j = 0; j < jobs; j++) {
        if (fork() != 0)
            continue;
        bench b = *first;
        snprintf(b.folder, sizeof b.folder, "%.*s/worker%ld", LAB_PATH - 64, root, j);
        snprintf(b.err, sizeof b.err, "%.*s/worker%ld.err", LAB_PATH - 64, root, j);
        snprintf(b.log, sizeof b.log, "%.*s/worker%ld.log", LAB_PATH - 64, root, j);
        work(&b, s, seed);
        _exit(0);
    }
    for (int status; wait(&status) > 0;)
        died = died || status != 0;
    for (size_t i = 0; s->all_calls && i < CALL_NAMES; i++)
        if (g_tally->struck[i] == 0 && strcmp(call_names[i], "ftruncate") != 0) {
            fprintf(stderr, "FAILED %s: no %s was struck\n", s->name, call_names[i]);
            g_tally->failed++;
        }
    if (died || (s->kills && g_tally->kills < s->kills) || g_tally->passed == 0) {
        fprintf(stderr, "FAILED %s: not all was done\n", s->name);
        g_tally->failed++;
    }
    printf("%-10s %5ld passed, %ld failed, %5.1f s: %s", s->name, (long)g_tally->passed,
           (long)g_tally->failed, seconds_now() - began, s->what);
    if (g_tally->kills)
        printf("; %ld ended", (long)g_tally->kills);
    for (size_t i = 0; i < CALL_NAMES; i++)
        if (g_tally->struck[i])
            printf("%s %ld %s", i ? "," : ";", (long)g_tally->struck[i], call_names[i]);
    printf("\n");
    fflush(stdout);
    return g_tally->failed == 0;
}

/* All safetensors files seen, by a reader that shares no code with ours. */
static bool check_pool(const char *root) {
    char command[3 * LAB_PATH];
    if (system("command -v python3 >/dev/null") != 0) {
        printf("python     skipped: no python3\n");
        return true;
    }
    snprintf(command, sizeof command,
             "find '%s/pool' '%s/calls' '%s/moments' -type f \\( -path '*/pool/*' -o -name "
             "'*.safetensors' \\) -print0 | xargs -0 -n 500 python3 tests/check_safetensors.py "
             ">/dev/null",
             root, root, root);
    bool ok = system(command) == 0;
    printf("python     %s: every safetensors file seen, by tests/check_safetensors.py\n",
           ok ? "passed" : "FAILED");
    return ok;
}

static long from_environment(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtol(text, NULL, 10) : otherwise;
}

int main(int argc, char **argv) {
    if (argc < 3)
        lab_die("usage", "torture PTRAIN SHIM [SECTION]...");
    g_kills = from_environment("KILLS", 2000);
    const long jobs = from_environment("JOBS", 2);
    const uint64_t seed = (uint64_t)from_environment("SEED", 1);
    const bool full = g_kills >= 1000;

    char root[LAB_PATH - 128], path[LAB_PATH];
    const char *base = getenv("TORTURE_DIR");
    if (!base || !*base)
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(root, sizeof root, "%s/ptrain-torture-XXXXXX", base);
    if (!mkdtemp(root))
        lab_die(root, strerror(errno));
    bench b = {.ptrain = argv[1], .shim = argv[2]};
    snprintf(b.pool, sizeof b.pool, "%s/pool", root);
    snprintf(b.err, sizeof b.err, "%s/err", root);
    snprintf(b.log, sizeof b.log, "%s/log", root);
    if (mkdir(b.pool, 0777) != 0)
        lab_die(b.pool, strerror(errno));
    snprintf(path, sizeof path, "%s/train.csv", root);
    write_data(path, 120, 1);
    snprintf(g_other_data, sizeof g_other_data, "%s/other.csv", root);
    write_data(g_other_data, 120, 1);
    snprintf(path, sizeof path, "%s/test.csv", root);
    write_data(path, 60, 2);
    write_config(&g_calls, root, "calls", "type = adam\nlearning_rate = 0.01", 30);
    write_config(&g_moments, root, "moments", "type = momentum\nlearning_rate = 0.01", 250);
    make_reference(&b, &g_calls);
    make_reference(&b, &g_moments);
    printf("runs in peace: %.0f ms and %ld system calls; %.0f ms and %ld\n", g_calls.seconds * 1e3,
           g_calls.calls, g_moments.seconds * 1e3, g_moments.calls);

    g_tally =
        mmap(NULL, sizeof *g_tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g_tally == MAP_FAILED)
        lab_die("mmap", strerror(errno));
    /* Half of the kills at system calls, or more where each call's turn asks for them. */
    const long half = g_kills / 2, most = g_kills - g_kills / 5;
    const long at_calls = half > g_calls.calls ? half : g_calls.calls < most ? g_calls.calls : most;
    const section sections[] = {
        {"moments", "SIGKILL at random moments", kill_at_moments, false, 100 * g_kills,
         g_kills - at_calls},
        {"calls", "SIGKILL at each system call", kill_at_calls, true, 100 * g_kills, at_calls},
        {"errors", "ENOSPC, EIO, EINTR, short writes at each system call", fail_at_calls, true,
         (full ? VARIANTS : 2) * g_calls.calls, 0},
        {"signals", "SIGINT and SIGTERM", interrupt, false, full ? 200 : 24, 0},
        {"twice", "a second Ctrl-C", interrupt_twice, false, full ? 8 : 2, 0},
        {"damage", "damaged checkpoints", resume_from_damaged, false, full ? 400 : 40, 0},
        {"bits", "every bit of a checkpoint", flip_bits, false, 0, 0},
        {"changes", "configs that may and may not resume", resume_with_changes, false,
         CHANGING + HARMLESS, 0},
    };
    long passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        section s = sections[i];
        bool wanted = argc == 3;
        for (int a = 3; a < argc; a++)
            wanted = wanted || strcmp(argv[a], s.name) == 0;
        if (!wanted)
            continue;
        if (s.check == flip_bits) { /* a case a byte */
            size_t size;
            snprintf(path, sizeof path, "%.*s/%s", LAB_PATH - 64, g_calls.reference, newest_name);
            free(lab_read(path, &size));
            s.cases = (long)size;
        }
        (void)run_section(&s, &b, root, jobs, seed);
        passed += g_tally->passed;
        failed += g_tally->failed;
    }
    failed += !check_pool(root);
    lab_remove(root);
    printf("%ld passed, %ld failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
