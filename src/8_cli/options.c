/* options.c: parsing the command line, and the help. */
#include "8_cli/options.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "1_config/config.h"
#include "3_graph/graph.h"
#include "7_check/scale.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static pt_status parse_options(int argc, char **argv, pt_options *o, pt_error *err) {
    enum { PRINT_CONFIG = 256, VALUES, ISA, RESUME, PROFILE, ROUNDS, SECONDS };
    static const struct option names[] = {{"threads", required_argument, NULL, 't'},
                                          {"isa", required_argument, NULL, ISA},
                                          {"set", required_argument, NULL, 's'},
                                          {"out", required_argument, NULL, 'o'},
                                          {"quiet", no_argument, NULL, 'q'},
                                          {"resume", no_argument, NULL, RESUME},
                                          {"print-config", no_argument, NULL, PRINT_CONFIG},
                                          {"values", no_argument, NULL, VALUES},
                                          {"profile", no_argument, NULL, PROFILE},
                                          {"rounds", required_argument, NULL, ROUNDS},
                                          {"seconds", required_argument, NULL, SECONDS},
                                          {"help", no_argument, NULL, 'h'},
                                          {"version", no_argument, NULL, 'V'},
                                          {0}};
    pt_status status = PT_OK;
    opterr = 0;
    for (int c; status == PT_OK && (c = getopt_long(argc, argv, ":t:s:o:qhV", names, NULL)) != -1;)
        switch (c) {
        case 't':
            o->threads = optarg;
            o->threads_at = o->override_count;
            status = add_short(o, "parallel.threads", optarg, err);
            break;
        case ISA:
            status = add_short(o, "parallel.isa", optarg, err);
            break;
        case 'o':
            o->out = optarg;
            status = add_short(o, "output.dir", optarg, err);
            break;
        case 's':
            status = add_override(o, optarg, err);
            break;
        case 'q':
            o->quiet = true;
            break;
        case RESUME:
            o->resume = true;
            break;
        case PRINT_CONFIG:
            o->print_config = true;
            break;
        case VALUES:
            o->values = true;
            break;
        case PROFILE:
            o->profile = true;
            break;
        case ROUNDS:
        case SECONDS:
            status = add_number(o, c == ROUNDS, optarg, err);
            break;
        case 'h':
            o->help = true;
            break;
        case 'V':
            o->version = true;
            break;
        case ':':
            return pt_fail(err, PT_ERR_USAGE, "option '%s' wants a value; see ptrain --help",
                           argv[optind - 1]);
        default: { /* of letters written together, optind does not yet say which */
            const char letter[] = {'-', (char)optopt, '\0'};
            bool is_word = optind > 1 && strncmp(argv[optind - 1], "--", 2) == 0;
            return pt_fail(err, PT_ERR_USAGE, "unknown option '%s'; see ptrain --help",
                           is_word || optopt == 0 ? argv[optind - 1] : letter);
        }
        }
    return status;
}

pt_status pt_options_parse(int argc, char **argv, pt_options *o, pt_error *err) {
    *o = (pt_options){.command = &pt_commands[0]};
    /* The environment speaks first, so that --isa wins over it. */
    const char *isa = getenv("PTRAIN_ISA");
    pt_status status = PT_OK;
    if (isa && *isa)
        status = add_short(o, "parallel.isa", isa, err);
    if (status == PT_OK)
        status = parse_options(argc, argv, o, err);
    if (status != PT_OK || o->help || o->version)
        return status;

    int at = optind;
    for (size_t i = 0; at < argc && pt_commands[i].name; i++)
        if (strcmp(argv[at], pt_commands[i].name) == 0) {
            o->command = &pt_commands[i];
            at++;
            break;
        }
    if (o->command->run == pt_scale_command && o->threads) /* a list, which is no key's value */
        memmove(&o->override[o->threads_at], &o->override[o->threads_at + 1],
                (--o->override_count - o->threads_at) * sizeof *o->override);
    if (o->command->run == pt_reference_command && at == argc)
        return PT_OK;
    if (at == argc)
        return pt_fail(err, PT_ERR_USAGE,
                       "which config? usage: ptrain %s CONFIG, for example configs/mnist.ini",
                       o->command->name);
    o->config_path = argv[at++];
    if (at < argc) {
        /* Two words of which the first is not a command: probably a mistyped one. */
        const char *nearest = pt_nearest(o->config_path, nth_command, NULL);
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

void pt_print_help(void) {
    printf("ptrain trains neural networks on CPUs, from an INI file.\n\n"
           "Usage: ptrain [COMMAND] CONFIG [OPTION]...\n\n"
           "Commands:\n");
    for (size_t i = 0; pt_commands[i].name; i++)
        printf("  %-10s %-8s %s\n", pt_commands[i].name, pt_commands[i].arguments,
               pt_commands[i].summary);
    printf("\nOptions:\n"
           "  -t, --threads N|auto       worker threads (auto: the cores this process may use);\n"
           "                             scale: those to compare, as 1,2,4\n"
           "      --isa NAME             auto, scalar, avx2 or avx512 (also: PTRAIN_ISA)\n"
           "  -s, --set SECTION.KEY=VAL  overrides a key of the config; may be repeated\n"
           "  -o, --out DIR              the run's folder instead of [output] dir; scale: the\n"
           "                             report's instead of build/scaling\n"
           "      --resume               goes on from the newest checkpoint in the run's folder\n"
           "      --profile              train: where the time went, by phase, layer and thread\n"
           "      --rounds N             scale: how often each row is measured (default 5)\n"
           "      --seconds S            scale: how long each row is trained, all rounds (1)\n"
           "  -q, --quiet                no table, no progress bar\n"
           "      --print-config         prints every key with its value and exits\n"
           "      --values               graph: with values and gradients of the first mini-batch\n"
           "  -h, --help                 this text\n"
           "  -V, --version              the version\n\n"
           "Threads, instruction set and schedule never change a bit of the result.\n"
           "Exit status: 0 success, 1 run-time failure, 2 usage or config, 130 interrupted.\n");
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
