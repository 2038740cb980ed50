/* train_command.c: `ptrain train CONFIG`: one line an epoch, a bar, a closing summary; Ctrl-C. */
#include "0_base/memory.h"
#include "1_config/config.h"
#include "4_train/trainer.h"
#include "6_run/run.h"
#include "8_cli/options.h"
#include "8_cli/profile_table.h"
#include "8_cli/progress.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* For the signal handler, which any thread may run: the trainer to stop, and the signal that asked. */
static pt_trainer *_Atomic g_trainer;
static atomic_int g_signal;

static void on_signal(int number) {
    pt_trainer *trainer = atomic_load(&g_trainer);
    if (!trainer || atomic_exchange(&g_signal, number) != 0)
        _exit(EXIT_SIGNAL_BASE + number); /* the second one: at once; nothing is half-written */
    pt_trainer_request_stop(trainer);
}

/* A signal that is ignored when the program starts (nohup, a job in the background) stays so. */
static void heed(int number) {
    /* Writes to a pipe that is full go on; otherwise rows of the table would be lost. */
    const struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct sigaction before;
    if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

/* A word as a shell takes it. */
static void print_word(const char *word) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "%+,-./:=@_";
    if (*word && strspn(word, plain) == strlen(word)) {
        fputs(word, stderr);
        return;
    }
    fputc('\'', stderr);
    for (; *word; word++) {
        if (*word == '\'')
            fputs("'\\'", stderr);
        fputc(*word, stderr);
    }
    fputc('\'', stderr);
}

/* The command that goes on with a run that was stopped. */
static void print_resumption(const pt_options *options, const char *message) {
    fprintf(stderr, "ptrain: %s; go on with: ptrain ", message);
    print_word(options->config_path);
    for (size_t i = 0; i < options->override_count; i++) {
        fputs(" --set ", stderr);
        print_word(options->override[i]);
    }
    fprintf(stderr, "%s%s --resume\n", pt_is_given(options, PT_OPTION_PROFILE) ? " --profile" : "",
            pt_is_given(options, PT_OPTION_QUIET) ? " --quiet" : "");
}

/* A loss in few characters, whatever its size. */
static const char *loss_cell(double loss, char buffer[16]) {
    const bool plain = loss == 0 || (fabs(loss) >= 0.001 && fabs(loss) < 10000) || !isfinite(loss);
    snprintf(buffer, 16, plain ? "%.4f" : "%.2e", loss);
    return buffer;
}

typedef struct screen {
    const pt_config *config;
    bool quiet;
    bool header_printed;
    pt_progress_bar *progress;
} screen;

static void started(void *context, pt_trainer *trainer) {
    screen *s = context;
    atomic_store(&g_trainer, trainer);
    bool bar = s->config->output.progress == PT_SWITCH_ON ||
               (s->config->output.progress == PT_SWITCH_AUTO && pt_progress_bar_possible());
    if (!s->quiet) {
        const bool tuned = trainer->tuner.count > 1 && s->config->parallel.threads == 0;
        fprintf(stderr, "ptrain: %zu parameters, %s%zu thread%s, %s kernels\n",
                pt_trainer_parameters(trainer), tuned ? "up to " : "", trainer->threads,
                trainer->threads == 1 ? "" : "s", pt_trainer_isa(trainer));
        if (bar)
            s->progress = pt_progress_bar_start(trainer, s->config->train.iterations);
    }
}

/* A cell of the table: a fraction, or a dash where there is none. */
static const char *cell(bool has, double value, char buffer[16]) {
    snprintf(buffer, 16, has ? "%.4f" : "-", value);
    return buffer;
}

static void evaluated(void *context, const pt_run_row *row) {
    screen *s = context;
    if (s->quiet)
        return;
    char loss[16], train[16], test[16];
    pt_progress_bar_hide(s->progress);
    if (!s->header_printed)
        printf("epoch  iteration      loss  train acc  test acc   samples/s\n");
    s->header_printed = true;
    printf("%5llu  %9llu  %8s  %9s  %8s  %10.0f\n", (unsigned long long)row->metrics.epoch,
           (unsigned long long)row->metrics.iteration, loss_cell(row->metrics.loss, loss),
           cell(row->metrics.has_train, row->metrics.train_accuracy, train),
           cell(row->metrics.has_test, row->metrics.test_accuracy, test), row->samples_per_second);
    fflush(stdout);
    pt_progress_bar_show(s->progress);
}

static void warned(void *context, const char *message) {
    screen *s = context;
    pt_progress_bar_hide(s->progress);
    fprintf(stderr, "ptrain: warning: %s\n", message);
    pt_progress_bar_show(s->progress);
}

static void ended(void *context, const pt_summary *summary) {
    screen *s = context;
    atomic_store(&g_trainer, NULL);
    pt_progress_bar_stop(s->progress);
    s->progress = NULL;
    if (!summary || s->quiet)
        return;
    char loss[16], train[16], test[16], when[48] = "";
    printf("\n%s after %llu iterations of %zu", summary->status,
           (unsigned long long)summary->iterations, summary->batch_size);
    if (summary->evaluated_iteration != summary->iterations)
        snprintf(when, sizeof when, "at iteration %llu ",
                 (unsigned long long)summary->evaluated_iteration);
    if (summary->evaluated_iteration >
        0) /* by this process, which may have gone on from another's */
        printf(": %sloss %s, train accuracy %s, test accuracy %s", when,
               loss_cell(summary->train_loss, loss),
               cell(summary->has_train, summary->train_accuracy, train),
               cell(summary->has_test, summary->test_accuracy, test));
    printf("\n");
    printf("training %.3f s (%.0f samples/s), evaluation %.3f s, total %.3f s; %zu thread%s, %s\n",
           summary->train_seconds, summary->samples_per_second, summary->eval_seconds,
           summary->total_seconds, summary->threads, summary->threads == 1 ? "" : "s",
           summary->isa);
    printf("model  %s/model.safetensors\nsha256 %s\n", s->config->output.dir,
           summary->model_sha256);
}

static void profiled(void *context, const pt_profile_report *report) {
    const screen *s = context;
    if (!s->quiet)
        pt_print_profile(report);
}

int pt_train_command(const pt_options *options) {
    pt_error err;
    pt_config *config;
    if (pt_load_config(options, NULL, 0, &config, &err) != PT_OK)
        return pt_report(&err);
    if (pt_is_given(options, PT_OPTION_PRINT_CONFIG)) {
        int status = pt_config_write(config, stdout, &err) == PT_OK ? 0 : pt_report(&err);
        pt_config_free(config);
        return status;
    }
    heed(SIGINT);
    heed(SIGTERM);
    heed(SIGHUP);
    signal(SIGXFSZ, SIG_IGN); /* a file too large is then an error of the write, told like others */
    /* A reader of the table that goes away (`| head`) must not end the training. */
    sigaction(SIGPIPE, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);

    screen s = {.config = config, .quiet = pt_is_given(options, PT_OPTION_QUIET)};
    const pt_run_options run_options = {.resume = pt_is_given(options, PT_OPTION_RESUME),
                                        .profile = pt_is_given(options, PT_OPTION_PROFILE)};
    const pt_run_listener listener = {.context = &s,
                                      .started = started,
                                      .evaluated = evaluated,
                                      .warned = warned,
                                      .ended = ended,
                                      .profiled = profiled};
    pt_status status = pt_run(config, &run_options, &listener, &err);
    int exit_status = 0;
    if (status == PT_ERR_INTERRUPTED) {
        print_resumption(options, err.message);
        const int number = atomic_load(&g_signal);
        exit_status = EXIT_SIGNAL_BASE + (number ? number : SIGINT);
    } else if (status != PT_OK) {
        exit_status = pt_report(&err);
    }
    pt_config_free(config);
    return exit_status;
}
