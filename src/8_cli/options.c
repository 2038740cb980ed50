/* options.c: parsing the command line, and the help. */
#include "8_cli/options.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "1_config/config.h"
#include "3_graph/graph.h"
#include "7_check/scale.h"
#include "simd/kernels.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *nth_command(const void *context, size_t i) {
    (void)context;
    return pt_commands[i].name;
}

static pt_status add_override(pt_options *o, const char *text, pt_error *err) {
    if (o->override_count == MAX_OVERRIDES)
        return pt_fail(err, PT_ERR_USAGE, "more than %d --set options; put them into the config",
                       MAX_OVERRIDES);
    o->override[o->override_count++] = text;
    return PT_OK;
}

/* `--threads 4` is short for `--set parallel.threads=4`, and so on. */
static pt_status add_short(pt_options *o, const char *key, const char *value, pt_error *err) {
    char *text = pt_format("%s=%s", key, value);
    if (!text)
        return pt_fail_memory(err, "an option", strlen(value));
    if (o->owned_count == MAX_OVERRIDES) {
        pt_free(text);
        return pt_fail(err, PT_ERR_USAGE, "too many options");
    }
    o->owned[o->owned_count++] = text;
    return add_override(o, text, err);
}

/* Of --isa, or of the environment variable that is the same. */
static pt_status add_isa(pt_options *o, const char *origin, const char *name, pt_error *err) {
    pt_isa isa;
    if (pt_isa_parse(name, &isa) != 0)
        return pt_fail(err, PT_ERR_USAGE, "%s '%s': write auto, scalar, avx2 or avx512", origin,
                       name);
    return add_short(o, "parallel.isa", name, err);
}

/* --rounds and --seconds of scale. */
static pt_status add_number(pt_options *o, bool rounds, const char *text, pt_error *err) {
    double number = 0;
    const bool ok = pt_parse_double(text, &number) && number > 0;
    if (rounds && (!ok || number > PT_SCALE_MAX_ROUNDS || number != (double)(size_t)number))
        return pt_fail(err, PT_ERR_USAGE, "--rounds '%s': write a whole number from 1 to %d", text,
                       PT_SCALE_MAX_ROUNDS);
    if (!rounds && (!ok || number > 3600))
        return pt_fail(err, PT_ERR_USAGE,
                       "--seconds '%s': write how long each row is trained, up to 3600", text);
    if (rounds)
        o->rounds = (size_t)number;
    else
        o->seconds = number;
    return PT_OK;
}

enum {
    LONG_ONLY = 256,  /* no letter has this number */
    TAKERS_SIZE = 80, /* of the names of all commands */
};

static const struct option option_table[] = {
    [PT_OPTION_THREADS] = {"threads", required_argument, NULL, 't'},
    [PT_OPTION_ISA] = {"isa", required_argument, NULL, LONG_ONLY + PT_OPTION_ISA},
    [PT_OPTION_SET] = {"set", required_argument, NULL, 's'},
    [PT_OPTION_OUT] = {"out", required_argument, NULL, 'o'},
    [PT_OPTION_QUIET] = {"quiet", no_argument, NULL, 'q'},
    [PT_OPTION_RESUME] = {"resume", no_argument, NULL, LONG_ONLY + PT_OPTION_RESUME},
    [PT_OPTION_PRINT_CONFIG] = {"print-config", no_argument, NULL,
                                LONG_ONLY + PT_OPTION_PRINT_CONFIG},
    [PT_OPTION_VALUES] = {"values", no_argument, NULL, LONG_ONLY + PT_OPTION_VALUES},
    [PT_OPTION_PROFILE] = {"profile", no_argument, NULL, LONG_ONLY + PT_OPTION_PROFILE},
    [PT_OPTION_ROUNDS] = {"rounds", required_argument, NULL, LONG_ONLY + PT_OPTION_ROUNDS},
    [PT_OPTION_SECONDS] = {"seconds", required_argument, NULL, LONG_ONLY + PT_OPTION_SECONDS},
    [PT_OPTION_HELP] = {"help", no_argument, NULL, 'h'},
    [PT_OPTION_VERSION] = {"version", no_argument, NULL, 'V'},
    {0}};

/* The one for which getopt_long has returned `val`. */
static pt_option option_of(int val) {
    int option = 0;
    while (option_table[option].name && option_table[option].val != val)
        option++;
    return (pt_option)option;
}

static pt_status take_option(pt_options *o, pt_option option, pt_error *err) {
    o->given |= 1u << option;
    switch (option) {
    case PT_OPTION_THREADS:
        o->threads = optarg;
        return add_short(o, "parallel.threads", optarg, err);
    case PT_OPTION_ISA:
        return add_isa(o, "--isa", optarg, err);
    case PT_OPTION_OUT:
        o->out = optarg;
        return add_short(o, "output.dir", optarg, err);
    case PT_OPTION_SET:
        return add_override(o, optarg, err);
    case PT_OPTION_ROUNDS:
    case PT_OPTION_SECONDS:
        return add_number(o, option == PT_OPTION_ROUNDS, optarg, err);
    default: /* that it is given says all */
        return PT_OK;
    }
}

static pt_status parse_options(int argc, char **argv, pt_options *o, pt_error *err) {
    pt_status status = PT_OK;
    opterr = 0;
    for (int c; status == PT_OK &&
                (c = getopt_long(argc, argv, ":t:s:o:qhV", option_table, NULL)) != -1;) {
        if (c == ':')
            return pt_fail(err, PT_ERR_USAGE, "option '%s' wants a value; see ptrain --help",
                           argv[optind - 1]);
        if (c == '?') { /* of letters written together, optind does not yet say which */
            const char letter[] = {'-', (char)optopt, '\0'};
            bool is_word = optind > 1 && strncmp(argv[optind - 1], "--", 2) == 0;
            return pt_fail(err, PT_ERR_USAGE, "unknown option '%s'; see ptrain --help",
                           is_word || optopt == 0 ? argv[optind - 1] : letter);
        }
        status = take_option(o, option_of(c), err);
    }
    return status;
}

static bool takes(const pt_command *command, pt_option option) {
    return command->options >> option & 1;
}

/* "train, scale": the commands that take an option. */
static const char *takers(pt_option option, char text[TAKERS_SIZE]) {
    size_t length = 0;
    text[0] = '\0';
    for (size_t c = 0; pt_commands[c].name && length < TAKERS_SIZE; c++)
        if (takes(&pt_commands[c], option))
            length += (size_t)snprintf(text + length, TAKERS_SIZE - length, "%s%s",
                                       length ? ", " : "", pt_commands[c].name);
    return text;
}

/* Refuses what would do nothing. */
static pt_status check_given(const pt_options *o, pt_error *err) {
    char text[TAKERS_SIZE];
    for (int i = 0; option_table[i].name; i++)
        if (pt_is_given(o, (pt_option)i) && !takes(o->command, (pt_option)i))
            return pt_fail(err, PT_ERR_USAGE, "--%s does nothing with %s, only with %s",
                           option_table[i].name, o->command->name, takers((pt_option)i, text));
    return PT_OK;
}

/* PTRAIN_ISA, in front of what the command line says. */
static pt_status heed_environment(pt_options *o, pt_error *err) {
    const char *isa = getenv("PTRAIN_ISA");
    if (!isa || !*isa || pt_is_given(o, PT_OPTION_ISA) || !takes(o->command, PT_OPTION_ISA))
        return PT_OK;
    const pt_status status = add_isa(o, "PTRAIN_ISA", isa, err);
    if (status != PT_OK)
        return status;
    const char *first = o->override[o->override_count - 1];
    memmove(&o->override[1], &o->override[0], (o->override_count - 1) * sizeof *o->override);
    o->override[0] = first;
    return PT_OK;
}

static pt_status check_threads(const char *text, pt_error *err) {
    uint64_t threads;
    if (strcmp(text, "auto") == 0 || (pt_parse_u64(text, &threads) && threads >= 1))
        return PT_OK; /* the config knows the most */
    return pt_fail(err, PT_ERR_USAGE, "--threads '%s': write a number from 1 on, or auto", text);
}

/* For scale, --threads is a list, which is no key's value. */
static void drop_threads(pt_options *o) {
    static const char key[] = "parallel.threads=";
    size_t kept = 0;
    for (size_t i = 0; i < o->override_count; i++) {
        bool short_form = false;
        for (size_t k = 0; k < o->owned_count; k++)
            short_form = short_form || o->override[i] == o->owned[k];
        if (!short_form || strncmp(o->override[i], key, sizeof key - 1) != 0)
            o->override[kept++] = o->override[i];
    }
    o->override_count = kept;
}

pt_status pt_options_parse(int argc, char **argv, pt_options *o, pt_error *err) {
    *o = (pt_options){.command = &pt_commands[0]};
    pt_status status = parse_options(argc, argv, o, err);
    if (status != PT_OK || pt_is_given(o, PT_OPTION_HELP) || pt_is_given(o, PT_OPTION_VERSION))
        return status;

    int at = optind;
    for (size_t i = 0; at < argc && pt_commands[i].name; i++)
        if (strcmp(argv[at], pt_commands[i].name) == 0) {
            o->command = &pt_commands[i];
            at++;
            break;
        }
    if ((status = check_given(o, err)) != PT_OK || (status = heed_environment(o, err)) != PT_OK)
        return status;
    if (o->command->run == pt_scale_command)
        drop_threads(o);
    else if (o->threads && (status = check_threads(o->threads, err)) != PT_OK)
        return status;
    if (o->command->run == pt_reference_command)
        return at == argc ? PT_OK
                          : pt_fail(err, PT_ERR_USAGE, "reference takes no config: unexpected '%s'",
                                    argv[at]);
    if (at == argc)
        return pt_fail(err, PT_ERR_USAGE,
                       "which config? usage: ptrain %s CONFIG, for example configs/mnist.ini",
                       o->command->name);
    o->config_path = argv[at++];
    /* What is neither a command nor a file is probably a mistyped command, and `help` wants --help. */
    const char *nearest = pt_nearest(o->config_path, nth_command, NULL);
    const bool is_file = access(o->config_path, F_OK) == 0;
    if (!is_file && o->command == &pt_commands[0] && at == argc) {
        if (strcmp(o->config_path, "help") == 0)
            nearest = "--help";
        if (nearest)
            return pt_fail(err, PT_ERR_USAGE,
                           "'%s' is neither a command nor a file; did you mean '%s'?",
                           o->config_path, nearest);
    }
    if (at < argc) {
        /* Two words of which the first is not a command. */
        return nearest && o->command == &pt_commands[0]
                   ? pt_fail(err, PT_ERR_USAGE, "unknown command '%s'; did you mean '%s'?",
                             o->config_path, nearest)
                   : pt_fail(err, PT_ERR_USAGE, "one config at a time: unexpected '%s'", argv[at]);
    }
    return PT_OK;
}

void pt_options_destroy(pt_options *o) {
    for (size_t i = 0; i < o->owned_count; i++)
        pt_free(o->owned[i]);
}

static const struct {
    const char *form, *meaning;
} option_help[] = {
    [PT_OPTION_THREADS] = {"-t, --threads N|auto", "worker threads; scale: a list, as 1,2,4"},
    [PT_OPTION_ISA] = {"    --isa NAME", "auto, scalar, avx2, avx512; or PTRAIN_ISA"},
    [PT_OPTION_SET] = {"-s, --set SECTION.KEY=VAL", "overrides a key"},
    [PT_OPTION_OUT] = {"-o, --out DIR", "the run's folder; scale: the report's"},
    [PT_OPTION_QUIET] = {"-q, --quiet", "errors and warnings only; scale: no progress"},
    [PT_OPTION_RESUME] = {"    --resume", "goes on from the newest checkpoint"},
    [PT_OPTION_PRINT_CONFIG] = {"    --print-config", "prints every key with its value"},
    [PT_OPTION_VALUES] = {"    --values", "the first mini-batch's values and gradients"},
    [PT_OPTION_PROFILE] = {"    --profile", "time by phase, layer and thread"},
    [PT_OPTION_ROUNDS] = {"    --rounds N", "how often each row is measured (5)"},
    [PT_OPTION_SECONDS] = {"    --seconds S", "how long each row is trained in all (1)"},
    [PT_OPTION_HELP] = {"-h, --help", "this text"},
    [PT_OPTION_VERSION] = {"-V, --version", "the version"},
};

void pt_print_help(void) {
    printf("ptrain trains neural networks on CPUs, from an INI file.\n\n"
           "Usage: ptrain [COMMAND] CONFIG [OPTION]...\n\n"
           "Commands:\n");
    for (size_t i = 0; pt_commands[i].name; i++)
        printf("  %-10s %-8s %s\n", pt_commands[i].name, pt_commands[i].arguments,
               pt_commands[i].summary);
    printf("\nOptions, and the commands that take them:\n");
    for (int i = 0; option_table[i].name; i++) {
        char text[TAKERS_SIZE];
        const char *commands = takers((pt_option)i, text);
        printf("  %-27s%s%s%s%s\n", option_help[i].form, option_help[i].meaning,
               *commands ? " (" : "", commands, *commands ? ")" : "");
    }
    printf("\n"
           "Threads, instruction set and schedule never change a bit of the result.\n"
           "Exit status: 0 success, 1 run-time failure, 2 usage or config; 130, 143 and 129 after\n"
           "Ctrl-C, SIGTERM and SIGHUP, the work so far saved.\n");
}

int pt_report(const pt_error *err) {
    fprintf(stderr, "ptrain: %s\n", err->message);
    return err->status == PT_ERR_CONFIG || err->status == PT_ERR_USAGE ? EXIT_USAGE : EXIT_RUN_TIME;
}

pt_status pt_load_config(const pt_options *o, const char *const *extra, size_t extra_count,
                         pt_config **config, pt_error *err) {
    const char *all[MAX_OVERRIDES + 8];
    size_t count = 0;
    for (size_t i = 0; i < extra_count && i < 8; i++)
        all[count++] = extra[i];
    for (size_t i = 0; i < o->override_count; i++)
        all[count++] = o->override[i];
    pt_status status = pt_config_load(o->config_path, all, count, config, err);
    if (status == PT_OK)
        pt_graph_note_keys(*config);
    return status;
}

int pt_finish_stdout(int status) {
    if ((fflush(stdout) == 0 && !ferror(stdout)) || status)
        return status; /* a failure has been reported: one line is enough */
    fprintf(stderr, "ptrain: cannot write to standard output: %s\n", strerror(errno));
    return EXIT_RUN_TIME;
}
