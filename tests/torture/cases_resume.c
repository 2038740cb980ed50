/* cases_resume.c: signals, damaged checkpoints, and what may change between two halves of a run. */
#include "cases.h"

#include "5_results/safetensors.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- signals ---- */

/* Ctrl-C or SIGTERM at a random moment: the work is saved, and the user told how to go on. */
const char *interrupt(bench *b, long i) {
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
        return lab_because("unexpected exit status", &o);
    g_tally->ended += o.status != 0;
    const char *wrong = lab_inspect(b, &g_moments, o.status == 0);
    if (wrong)
        return lab_because(wrong, &o);
    const char *told = strstr(o.err, "stopped after iteration ");
    if (told) {
        const uint64_t step = strtoull(told + strlen("stopped after iteration "), NULL, 10);
        char path[LAB_PATH + 64], advice[LAB_PATH + 64];
        snprintf(path, sizeof path, "%s/checkpoint-%010llu.safetensors", b->folder,
                 (unsigned long long)step);
        snprintf(advice, sizeof advice, "; go on with: ptrain %s --set ", g_moments.config);
        if (step > 0 && access(path, F_OK) != 0)
            return lab_because("the last iteration was not saved", &o);
        if (!strstr(o.err, advice) || !strstr(o.err, " --resume\n"))
            return lab_because("does not say how to go on", &o);
    }
    return lab_finish(b, &g_moments, true);
}

/* Every call that changes a file takes two seconds from the n-th on, so the second Ctrl-C finds the
 * process in the middle of a save. It must end at once and lose nothing. */
const char *interrupt_twice(bench *b, long i) {
    char fault[64];
    outcome o;
    snprintf(fault, sizeof fault, "stall:%ld:1000", 35 + 4 * i);
    lab_remove(b->folder);
    lab_run(b,
            &(start){.plan = &g_calls,
                     .fault = fault,
                     .alarm = 0.5,
                     .signal = i % 2 ? SIGTERM : SIGINT,
                     .second_alarm = 0.3},
            &o);
    if (o.status != (i % 2 ? 128 + SIGTERM : 128 + SIGINT))
        return lab_because("unexpected exit status", &o);
    if (o.seconds > 8) /* a save that is finished takes some 30 */
        return lab_because("does not end at once", &o);
    g_tally->ended++;
    const char *wrong = lab_inspect(b, &g_calls, false);
    return wrong ? lab_because(wrong, &o) : lab_finish(b, &g_calls, true);
}

/* ---- damaged checkpoints ---- */

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
const char *resume_from_damaged(bench *b, long i) {
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
        return lab_because("does not resume", &o);
    for (size_t n = 0; n < 3; n++)
        if ((strstr(o.err, names[n]) != NULL) != (n < count))
            return lab_because("names the wrong checkpoints", &o);
    if ((strstr(o.err, "no checkpoint to resume from") != NULL) != (count == 3))
        return lab_because("does not say where it starts", &o);
    const char *wrong = lab_inspect(b, &g_calls, true);
    return wrong ? lab_because(wrong, &o) : NULL;
}

long count_bytes(void) {
    char path[LAB_PATH + 64];
    size_t size;
    snprintf(path, sizeof path, "%s/%s", g_calls.reference, newest_name);
    free(lab_read(path, &size));
    return (long)size;
}

/* Each bit of one byte of a checkpoint: none may flip unnoticed. */
const char *flip_bits(bench *b, long i) {
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
    "train.seed=8",          "train.iterations=99",          "train.batch_size=13",
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

long count_changes(void) {
    return CHANGING + HARMLESS;
}

const char *resume_with_changes(bench *b, long i) {
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
        return lab_because(set, &o);
    if (refused && !strstr(o.err, key))
        return lab_because("does not name the key", &o);
    const char *wrong = lab_inspect(b, &g_calls, !refused);
    if (wrong)
        return lab_because(wrong, &o);
    return refused ? lab_finish(b, &g_calls, true) : NULL;
}
