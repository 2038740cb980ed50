/* bench.c: `make bench`: what the options ask for, each instruction set in a process of its own
 * (peers choose theirs from the environment when they are loaded), one table, one JSON, one chart.
 */
#include "bench/bench.h"
#include "0_base/cores.h"
#include "0_base/text.h"
#include "6_run/machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ROWS = 4096 };

static const char usage_text[] =
    "usage: bench [--family all|gemm|elementwise|rows|sparse] [--isa scalar|avx2|avx512]\n"
    "             [--shape SHAPE]... [--kernel NAME] [--threads N,N...] [--buffers hot|cold|both]\n"
    "             [--zeros PERCENT] [--rounds N] [--seconds S] [--no-peers] [--out FOLDER]\n"
    "Shapes: gemm MxNxK[nn|nt|tn], sparse the same without nt, elementwise N, rows ROWSxN.\n"
    "--zeros are those of A in gemm: ReLU leaves about 50.\n"
    "--kernel takes a part of the name of elementwise and row kernels; --seconds are a row's.\n"
    "Default: everything this machine can run, on one thread and on all cores, hot and cold.\n";

static const bench_family families[] = {
    {"gemm", bench_gemm_shape, bench_gemm},
    {"sparse", bench_sparse_shape, bench_sparse},
    {"elementwise", bench_elementwise_shape, bench_elementwise},
    {"rows", bench_rows_shape, bench_rows},
};
enum { FAMILIES = sizeof families / sizeof *families };

static int child_pipe = -1;

static void emit(const bench_row *row) { /* shorter than PIPE_BUF: written whole */
    _Static_assert(sizeof *row <= 4096, "a row must fit PIPE_BUF");
    if (write(child_pipe, row, sizeof *row) != (ssize_t)sizeof *row)
        exit(1);
}

/* Runs an instruction set in a child and prints its rows as they come; false when it failed. */
static bool run_isa(const bench_options *options, const bench_family *family, pt_isa isa,
                    bench_row *rows, size_t *count) {
    int ends[2], status = 0;
    fflush(NULL);
    if (pipe(ends) != 0)
        return false;
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        child_pipe = ends[1];
        family->run(options, isa, emit);
        exit(0);
    }
    close(ends[1]);
    FILE *in = fdopen(ends[0], "rb");
    while (in && child > 0 && *count < MAX_ROWS && fread(&rows[*count], sizeof *rows, 1, in) == 1) {
        bench_print_row(&rows[*count], *count ? &rows[*count - 1] : NULL);
        ++*count;
    }
    if (in)
        fclose(in);
    return child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

static int bad(const char *option, const char *value) {
    fprintf(stderr, "bench: %s %s: unknown option or bad value (--help lists them)\n", option,
            value);
    return 2;
}

static bool parse_threads(const char *text, bench_options *o) {
    char copy[64], *rest = NULL;
    if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
        return false;
    o->counts = 0;
    for (char *item = strtok_r(copy, ",", &rest); item; item = strtok_r(NULL, ",", &rest)) {
        uint64_t n = 0;
        if (!pt_parse_u64(item, &n) || n < 1 || n > 256 || o->counts == BENCH_MAX_COUNTS)
            return false;
        o->threads[o->counts++] = n;
    }
    return o->counts > 0;
}

static bool parse_family(const char *text, const bench_family **only) {
    for (size_t f = 0; f < FAMILIES; f++)
        if (strcmp(text, families[f].name) == 0)
            *only = &families[f];
    return *only || strcmp(text, "all") == 0;
}

static bool parse_option(const char *name, const char *value, bench_options *o, pt_isa *isa,
                         const char **out) {
    uint64_t number = 0;
    if (strcmp(name, "--isa") == 0)
        return pt_isa_parse(value, isa) == 0;
    if (strcmp(name, "--threads") == 0)
        return parse_threads(value, o);
    if (strcmp(name, "--seconds") == 0)
        return pt_parse_double(value, &o->seconds) && o->seconds >= 0;
    if (strcmp(name, "--rounds") == 0) {
        const bool ok = pt_parse_u64(value, &number) && number >= 1 && number <= BENCH_MAX_ROUNDS;
        o->rounds = number;
        return ok;
    }
    if (strcmp(name, "--zeros") == 0) {
        const bool ok = pt_parse_u64(value, &number) && number <= 100;
        o->zeros = number;
        return ok;
    }
    if (strcmp(name, "--buffers") == 0) {
        o->hot = strcmp(value, "cold") != 0;
        o->cold = strcmp(value, "hot") != 0;
        return !(o->hot && o->cold) || strcmp(value, "both") == 0;
    }
    if (strcmp(name, "--shape") == 0) {
        if (o->shapes == BENCH_MAX_SHAPES || !*value)
            return false;
        o->shape[o->shapes++] = value;
        return true;
    }
    if (strcmp(name, "--kernel") == 0) {
        o->kernel = value;
        return *value;
    }
    *out = value;
    return strcmp(name, "--out") == 0 && *value;
}

static bool takes_shape(const char *text, const bench_family *only) {
    for (size_t f = 0; f < FAMILIES; f++)
        if ((!only || only == &families[f]) && families[f].shape(text))
            return true;
    return false;
}

int main(int argc, char **argv) {
    static bench_row rows[MAX_ROWS];
    bench_options options = {.threads = {1},
                             .counts = 1,
                             .rounds = 101,
                             .seconds = 0.03,
                             .hot = 1,
                             .cold = 1,
                             .peers = 1};
    const size_t cores = pt_cores_available();
    const char *out = "build/bench";
    pt_isa only = PT_ISA_AUTO;
    const bench_family *family = NULL;
    char cpu[128];
    size_t count = 0;
    if (cores > 1)
        options.threads[options.counts++] = cores < 256 ? cores : 256;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage_text, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--no-peers") == 0) {
            options.peers = false;
            continue;
        }
        const char *name = argv[i], *value = i + 1 < argc ? argv[++i] : "";
        if (strcmp(name, "--family") == 0 && parse_family(value, &family))
            continue;
        if (!parse_option(name, value, &options, &only, &out))
            return bad(name, value);
    }
    for (size_t i = 0; i < options.shapes; i++)
        if (!takes_shape(options.shape[i], family))
            return bad("--shape", options.shape[i]);
    if (only != PT_ISA_AUTO && !pt_kernels_get(only)) {
        fprintf(stderr, "bench: this machine cannot run %s\n", pt_isa_name(only));
        return 1;
    }
    printf("%s, %zu core%s\n", pt_cpu_name(cpu), cores, cores == 1 ? "" : "s");
    bool ok = true;
    for (size_t f = 0; f < FAMILIES; f++)
        for (pt_isa isa = PT_ISA_AVX512; isa >= PT_ISA_SCALAR; isa--)
            if (pt_kernels_get(isa) && (only == PT_ISA_AUTO || isa == only) &&
                (!family || family == &families[f]))
                ok = run_isa(&options, &families[f], isa, rows, &count) && ok;
    bench_print_summary(rows, count);
    pt_error err = {0};
    if (count > 0 && bench_write(out, cpu, rows, count, &err) != PT_OK) {
        fprintf(stderr, "bench: %s\n", err.message);
        return 1;
    }
    printf("\n%s/bench.json and %s/bench.svg hold these rows\n", out, out);
    return ok && count > 0 ? 0 : 1;
}
