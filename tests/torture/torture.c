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
#include "cases.h"

#include "5_results/checkpoint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_SHOWN = 20 }; /* failures of a section */

const char *const call_names[CALL_NAMES] = {"mkdir", "open",   "write",  "fsync",
                                            "close", "rename", "unlink", "ftruncate"};
tally *g_tally;
plan g_calls = {.last = 125, .every = 25}, g_moments = {.last = 5000, .every = 200};
char g_other_data[LAB_PATH];

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
            "evaluate_every = %d\nseed = 11\n"
            "[optimizer]\n%s\n"
            "[output]\ncheckpoint_every = %llu\nkeep = 3\nbest = true\n",
            root, root, (unsigned long long)p->last, evaluate_every, optimizer,
            (unsigned long long)p->every);
    if (fclose(file) != 0)
        lab_die(p->config, strerror(errno));
}

/* Takes over the checkpoints that the reference lacks; whether it has all of them now. */
static bool collect_checkpoints(const bench *b, const plan *p) {
    bool all = true;
    for (uint64_t step = p->every; step <= p->last; step += p->every) {
        char from[LAB_PATH + 64], to[LAB_PATH + 64];
        const unsigned long long number = step;
        snprintf(from, sizeof from, "%s/checkpoint-%010llu.safetensors", b->folder, number);
        snprintf(to, sizeof to, "%s/checkpoint-%010llu.safetensors", p->reference, number);
        if (access(to, F_OK) != 0 && access(from, F_OK) == 0)
            lab_copy(from, to);
        all = all && access(to, F_OK) == 0;
    }
    return all;
}

/* The run in peace, with all its checkpoints; and the number of calls of such a run. */
static void make_reference(bench *b, plan *p) {
    outcome o;
    const start keep_all = {.plan = p, .set = {"output.keep=1000000"}};
    snprintf(b->folder, sizeof b->folder, "%s", p->reference);
    lab_run(b, &keep_all, &o);
    if (o.status != 0)
        lab_die("the run in peace fails", o.err);
    snprintf(b->folder, sizeof b->folder, "%.*s-again", LAB_PATH - 16, p->reference);
    /* A checkpoint may be missing: when the next came due before it could be written. */
    for (int i = 0; !collect_checkpoints(b, p); i++) {
        if (i == 1000)
            lab_die(p->reference, "some checkpoint is never saved");
        lab_remove(b->folder);
        lab_run(b, &keep_all, &o);
    }
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

/* The best accuracy must come long before the end, or a lost best.safetensors would be made good
 * unnoticed. */
static void check_best(const plan *p) {
    char path[LAB_PATH + 64];
    pt_checkpoint_file *best = NULL;
    pt_error err = {0};
    snprintf(path, sizeof path, "%s/best.safetensors", p->reference);
    if (pt_checkpoint_read(path, &best, &err) != PT_OK)
        lab_die(path, err.message);
    const uint64_t step = best->checkpoint.best_step;
    pt_checkpoint_free(best);
    if (step < p->every || step + p->every > p->last)
        lab_die(path, "is of an iteration that tests nothing; choose another seed");
}

/* ---- running the sections ---- */

typedef struct section {
    const char *name, *what;
    const char *(*check)(bench *b, long i); /* NULL, or what went wrong */
    size_t sure_calls;                      /* the first of call_names, which faults must strike */
    long cases, kills; /* so many cases, or (not 0) as many as come to so many kills */
} section;

static void work(bench *b, const section *s, uint64_t seed) {
    for (long i; (i = g_tally->next++) < s->cases;) {
        if (s->kills && g_tally->ended >= s->kills)
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
    for (size_t i = 0; i < s->sure_calls; i++)
        if (g_tally->struck[i] == 0) {
            fprintf(stderr, "FAILED %s: no %s was struck\n", s->name, call_names[i]);
            g_tally->failed++;
        }
    if (died || (s->kills && g_tally->ended < s->kills) || g_tally->passed == 0) {
        fprintf(stderr, "FAILED %s: not all was done\n", s->name);
        g_tally->failed++;
    }
    printf("%-10s %5ld passed, %ld failed, %5.1f s: %s", s->name, (long)g_tally->passed,
           (long)g_tally->failed, seconds_now() - began, s->what);
    if (g_tally->ended)
        printf("; %ld ended", (long)g_tally->ended);
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
    const long kills = from_environment("KILLS", 2000);
    const long jobs = from_environment("JOBS", 2);
    const uint64_t seed = (uint64_t)from_environment("SEED", 1);
    const bool full = kills >= 1000;

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
    write_config(&g_calls, root, "calls", "type = adam\nlearning_rate = 0.05", 30);
    write_config(&g_moments, root, "moments", "type = momentum\nlearning_rate = 0.01", 250);
    make_reference(&b, &g_calls);
    make_reference(&b, &g_moments);
    check_best(&g_calls);
    printf("runs in peace: %.0f ms and %ld system calls; %.0f ms and %ld\n", g_calls.seconds * 1e3,
           g_calls.calls, g_moments.seconds * 1e3, g_moments.calls);

    g_tally =
        mmap(NULL, sizeof *g_tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g_tally == MAP_FAILED)
        lab_die("mmap", strerror(errno));
    /* Half of the kills at system calls, or more where each call's turn asks for them. */
    const long half = kills / 2, most = kills - kills / 5;
    const long at_calls = half > g_calls.calls ? half : g_calls.calls < most ? g_calls.calls : most;
    /* Of the rarer calls, a few kills may miss all. */
    const size_t sure = full ? CALL_NAMES - 1 : CALL_NAMES - 2;
    const section sections[] = {
        {"moments", "SIGKILL at random moments", kill_at_moments, 0, 100 * kills, kills - at_calls},
        {"calls", "SIGKILL at each system call", kill_at_calls, sure, 100 * kills, at_calls},
        {"errors", "ENOSPC, EIO, EINTR, short writes at each system call", fail_at_calls, sure,
         full ? count_faults() : 2 * g_calls.calls, 0},
        {"order", "fsync before rename", keep_order, 0, full ? 20 : 4, 0},
        {"signals", "SIGINT and SIGTERM", interrupt, 0, full ? 200 : 24, 0},
        {"twice", "a second Ctrl-C", interrupt_twice, 0, full ? 8 : 2, 0},
        {"damage", "damaged checkpoints", resume_from_damaged, 0, full ? 400 : 40, 0},
        {"bits", "every bit of a checkpoint", flip_bits, 0, count_bytes(), 0},
        {"changes", "configs that may and may not resume", resume_with_changes, 0, count_changes(),
         0},
    };
    long passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof sections / sizeof *sections; i++) {
        const section *s = &sections[i];
        bool wanted = argc == 3;
        for (int a = 3; a < argc; a++)
            wanted = wanted || strcmp(argv[a], s->name) == 0;
        if (!wanted)
            continue;
        (void)run_section(s, &b, root, jobs, seed);
        passed += g_tally->passed;
        failed += g_tally->failed;
    }
    failed += !check_pool(root);
    lab_remove(root);
    printf("%ld passed, %ld failed\n", passed, failed);
    return failed > 0 || passed == 0;
}
