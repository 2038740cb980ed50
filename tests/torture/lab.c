/* lab.c: processes, faults and folders for the torture test. */
#include "lab.h"

#include "5_results/atomic_file.h"
#include "5_results/checkpoint.h"
#include "ptrain/config.h"
#include "simd/kernels.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { HANGS_AFTER = 120 }; /* seconds */

_Noreturn void lab_die(const char *what, const char *why) {
    fprintf(stderr, "torture: %s: %s\n", what, why);
    exit(2);
}

/* splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t next_random(bench *b) {
    uint64_t z = b->random += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t lab_random(bench *b, uint64_t below) {
    return next_random(b) % below;
}

double lab_random_real(bench *b) {
    return (double)(next_random(b) >> 11) * 0x1p-53;
}

/* ---- files ---- */

static char *join(char path[LAB_PATH], const char *folder, const char *name) {
    if (snprintf(path, LAB_PATH, "%s/%s", folder, name) >= LAB_PATH)
        lab_die(folder, "path too long");
    return path;
}

void lab_remove(const char *folder) {
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[LAB_PATH];
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        join(path, folder, entry->d_name);
        if (lstat(path, &info) == 0 && S_ISDIR(info.st_mode))
            lab_remove(path);
        else if (unlink(path) != 0)
            lab_die(path, strerror(errno));
    }
    closedir(dir);
    if (rmdir(folder) != 0)
        lab_die(folder, strerror(errno));
}

char *lab_read(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file)
        return NULL;
    struct stat info;
    char *bytes = fstat(fileno(file), &info) == 0 ? malloc((size_t)info.st_size + 1) : NULL;
    if (!bytes)
        lab_die(path, strerror(errno));
    *size = fread(bytes, 1, (size_t)info.st_size, file);
    bytes[*size] = '\0';
    fclose(file);
    return bytes;
}

void lab_write(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
        lab_die(path, strerror(errno));
}

void lab_copy(const char *from, const char *to) {
    size_t size;
    char *bytes = lab_read(from, &size);
    if (!bytes)
        lab_die(from, strerror(errno));
    lab_write(to, bytes, size);
    free(bytes);
}

static void read_text(const char *path, char *text, size_t room) {
    size_t size = 0;
    char *bytes = lab_read(path, &size);
    snprintf(text, room, "%s", bytes ? bytes : "");
    free(bytes);
}

/* ---- processes ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Waits for the end of a process, so many seconds at most. */
static bool ends_within(int pidfd, double seconds) {
    struct pollfd wait = {.fd = pidfd, .events = POLLIN};
    struct timespec t = {.tv_sec = (time_t)seconds};
    t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
    int ready;
    while ((ready = ppoll(&wait, 1, &t, NULL)) < 0 && errno == EINTR)
        ;
    return ready > 0;
}

/* Arguments of a choice that must not matter. */
static size_t vary(bench *b, const char **argv, size_t at) {
    static const char *const threads[] = {"1", "2", "3", "4", "auto"};
    static const char *const schedules[] = {"parallel.schedule=per_thread",
                                            "parallel.schedule=slices", "parallel.schedule=auto"};
    static const char *const loaders[] = {"parallel.loader=on", "parallel.loader=off"};
    argv[at++] = "--threads";
    argv[at++] = threads[lab_random(b, 5)];
    argv[at++] = "--isa";
    argv[at++] = pt_isa_name((pt_isa)(PT_ISA_SCALAR + lab_random(b, pt_isa_best())));
    argv[at++] = "--set";
    argv[at++] = schedules[lab_random(b, 3)];
    argv[at++] = "--set";
    argv[at++] = loaders[lab_random(b, 2)];
    return at;
}

/* In the child: becomes ptrain. */
static _Noreturn void become_ptrain(const bench *b, const start *s, const char *const *argv) {
    int null = open("/dev/null", O_RDWR);
    int err = open(b->err, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (null < 0 || err < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(err, 2) < 0)
        _exit(126);
    unsetenv("PTRAIN_ISA");
    signal(SIGINT, SIG_DFL); /* ptrain leaves alone what is ignored, by nohup or a shell's & */
    signal(SIGHUP, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (s->fault) {
        setenv("PT_FAULT", s->fault, 1);
        setenv("PT_FAULT_FOLDER", b->folder, 1);
        setenv("PT_FAULT_LOG", b->log, 1);
        setenv("LD_PRELOAD", b->shim, 1);
    }
    execv(b->ptrain, (char *const *)(uintptr_t)argv);
    _exit(127);
}

/* Sends the signals that are due, and waits for the end. */
static void watch(pid_t child, int pidfd, const start *s, outcome *result) {
    bool ended = false;
    if (s->alarm > 0 && !(ended = ends_within(pidfd, s->alarm))) {
        result->killed = kill(child, s->signal) == 0;
        /* Again and again: to a process that is not given a core meanwhile, two are one. */
        for (int i = 0; s->second_alarm > 0 && !ended && i < 20; i++)
            if (!(ended = ends_within(pidfd, s->second_alarm)))
                kill(child, s->signal);
    }
    if (!ended && !ends_within(pidfd, HANGS_AFTER)) {
        kill(child, SIGKILL);
        lab_die("ptrain hangs", s->fault ? s->fault : "");
    }
}

void lab_run(bench *b, const start *s, outcome *result) {
    const char *argv[32] = {b->ptrain, s->plan->config, "--out", b->folder, "--quiet"};
    size_t at = 5;
    if (s->resume)
        argv[at++] = "--resume";
    for (size_t i = 0; i < 4 && s->set[i]; i++) {
        argv[at++] = "--set";
        argv[at++] = s->set[i];
    }
    if (s->vary)
        at = vary(b, argv, at);
    argv[at] = NULL;
    *result = (outcome){0};
    if (s->fault)
        unlink(b->log);
    const double started = now();
    pid_t child = fork();
    if (child == 0)
        become_ptrain(b, s, argv);
    int pidfd = child > 0 ? (int)syscall(SYS_pidfd_open, child, 0) : -1;
    if (pidfd < 0)
        lab_die("cannot start ptrain", strerror(errno));
    watch(child, pidfd, s, result);
    close(pidfd);
    int status;
    waitpid(child, &status, 0);
    result->seconds = now() - started;
    result->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    if (result->status == 126 || result->status == 127)
        lab_die(b->ptrain, "cannot be started");
    read_text(b->err, result->err, sizeof result->err);
    if (s->fault)
        read_text(b->log, result->fault, sizeof result->fault);
}

/* ---- what a run has left ---- */

static const char *complain(const char *name, const char *what) {
    static char text[LAB_PATH + 1200];
    snprintf(text, sizeof text, "%s: %s", name, what);
    return text;
}

static bool ends_with(const char *name, const char *end) {
    return strlen(name) >= strlen(end) && strcmp(name + strlen(name) - strlen(end), end) == 0;
}

/* Compares with the file of the reference: equal, or (with `prefix`) how that one begins. Sets
 * `known` to whether the reference has such a file. */
static bool agrees(const char *path, const char *reference, const char *name, bool prefix,
                   bool *known) {
    char other[LAB_PATH];
    size_t size = 0, reference_size = 0;
    char *bytes = lab_read(path, &size);
    char *wanted = lab_read(join(other, reference, name), &reference_size);
    *known = wanted != NULL;
    bool ok = bytes && wanted && (prefix ? size <= reference_size : size == reference_size) &&
              memcmp(bytes, wanted, size) == 0;
    free(bytes);
    free(wanted);
    return ok;
}

/* A safetensors file must be whole. */
static const char *inspect_tensors(const bench *b, const char *path, const char *name) {
    pt_error err = {0};
    pt_status status;
    if (strcmp(name, "model.safetensors") == 0) {
        pt_safetensors *file = NULL;
        status = pt_safetensors_read(path, &file, &err);
        if (status == PT_OK && !file->has_checksum)
            return complain(name, "has no checksum");
        pt_safetensors_free(file);
    } else {
        pt_checkpoint_file *file = NULL;
        status = pt_checkpoint_read(path, &file, &err);
        pt_checkpoint_free(file);
    }
    char hash[65], pooled[LAB_PATH];
    if (status == PT_OK)
        status = pt_sha256_file(path, hash, &err);
    if (status != PT_OK)
        return complain(name, err.message);
    if (link(path, join(pooled, b->pool, hash)) != 0 && errno != EEXIST)
        lab_die(pooled, strerror(errno));
    return NULL;
}

static const char *inspect_config(const char *path, const char *name) {
    pt_error err;
    pt_config *config = NULL;
    const char *wrong = NULL;
    if (pt_config_load(path, NULL, 0, &config, &err) != PT_OK)
        wrong = complain(name, err.message);
    pt_config_free(config);
    return wrong;
}

static const char *inspect_summary(const char *path, const char *name, bool finished) {
    char text[LAB_TEXT];
    read_text(path, text, sizeof text);
    if (text[0] != '{' || !ends_with(text, "}\n"))
        return complain(name, "is cut short");
    return finished && !strstr(text, "\"finished\"") ? complain(name, "the run is not finished")
                                                     : NULL;
}

static const char *inspect_file(const bench *b, const plan *p, const char *name, bool finished) {
    char path[LAB_PATH];
    bool known;
    join(path, b->folder, name);
    if (strstr(name, ".tmp-"))
        return finished ? complain(name, "a temporary file is left") : NULL;
    if (strcmp(name, "metrics.csv") == 0 || strcmp(name, "losses.csv") == 0)
        return agrees(path, p->reference, name, !finished, &known)
                   ? NULL
                   : complain(name, "differs from that of the uninterrupted run");
    if (strcmp(name, "config.ini") == 0)
        return inspect_config(path, name);
    if (strcmp(name, "summary.json") == 0)
        return inspect_summary(path, name, finished);
    if (!ends_with(name, ".safetensors"))
        return complain(name, "has no business here");
    const char *wrong = inspect_tensors(b, path, name);
    const bool same = agrees(path, p->reference, name, false, &known);
    const bool must_agree = finished || strncmp(name, "checkpoint-", 11) == 0;
    /* A checkpoint of an interrupted iteration has none to be compared with. */
    if (!wrong && must_agree && known && !same)
        wrong = complain(name, "differs from that of the uninterrupted run");
    return wrong;
}

const char *lab_inspect(const bench *b, const plan *p, bool finished) {
    const char *wrong = NULL;
    char path[LAB_PATH], newest[64];
    DIR *dir = opendir(b->folder);
    if (!dir)
        return finished ? complain(b->folder, "is missing") : NULL;
    size_t checkpoints = 0;
    for (struct dirent *entry; !wrong && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        checkpoints += strncmp(entry->d_name, "checkpoint-", 11) == 0;
        wrong = inspect_file(b, p, entry->d_name, finished);
    }
    closedir(dir);
    if (wrong || !finished)
        return wrong;
    if (checkpoints > 4) /* keep = 3, and one that could not be removed when it was due */
        return complain(b->folder, "holds more than the checkpoints to be kept");
    snprintf(newest, sizeof newest, "checkpoint-%010llu.safetensors", (unsigned long long)p->last);
    const char *const files[] = {
        "config.ini",   "metrics.csv",      "losses.csv", "model.safetensors",
        "summary.json", "best.safetensors", newest};
    for (size_t i = 0; i < sizeof files / sizeof *files && !wrong; i++)
        if (access(join(path, b->folder, files[i]), F_OK) != 0)
            wrong = complain(files[i], "is missing");
    return wrong;
}

const char *lab_because(const char *what, const outcome *o) {
    static char text[LAB_TEXT + 2 * 1024 + LAB_PATH];
    snprintf(text, sizeof text, "%s (status %d%s%s)\n%s", what, o->status,
             o->fault[0] ? ", fault at " : "", o->fault, o->err);
    return text;
}

const char *lab_finish(bench *b, const plan *p, bool resume) {
    outcome o;
    lab_run(b, &(start){.plan = p, .resume = resume, .vary = true}, &o);
    if (!resume && o.status == 2 && strstr(o.err, "holds this run unfinished")) {
        resume = true; /* whose checkpoints are not to be lost */
        lab_run(b, &(start){.plan = p, .resume = resume, .vary = true}, &o);
    }
    if (o.status != 0)
        return lab_because(resume ? "does not resume" : "does not start anew", &o);
    const char *wrong = lab_inspect(b, p, true);
    return wrong ? lab_because(wrong, &o) : NULL;
}
