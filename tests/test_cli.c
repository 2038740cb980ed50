/* test_cli.c: the program from outside: options, what goes to stdout and what to stderr, exit
 * statuses, signals, a run folder that belongs to another run. */
#include "5_results/safetensors.h"
#include "simd/kernels.h"
#include "toys.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

#define HIDDEN                                                                                     \
    "[layer.fc]\ntype = affine\nunits = 9\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"

/* A toy config in a file, whose run goes to FOLDER/run. */
static const char *toy_file(void) {
    const char *path = pt_path_in(pt_temp_folder(), "toy.ini");
    pt_text text = pt_toy_images_text(HIDDEN);
    pt_write_text(path, text.s);
    return path;
}

static const char *in_run(const char *name) {
    return pt_path_in(pt_path_in(pt_temp_folder(), "run"), name);
}

static size_t count_lines(const char *text) {
    size_t lines = 0;
    for (; (text = strchr(text, '\n')); text++)
        lines++;
    return lines;
}

/* ---- words that are no run ---- */

TEST(cli, help_and_version) {
    pt_run_result run = pt_run_ptrain("--help", NULL);
    CHECK_INT(run.status, 0);
    CHECK_STR(run.err, "");
    CHECK_CONTAINS(run.out, "Usage: ptrain [COMMAND] CONFIG [OPTION]...");
    static const char *const words[] = {
        "train ",       "gradcheck", "graph",     "reference",  "--threads",
        "--isa",        "--set",     "--out",     "--quiet",    "--print-config",
        "--values",     "--help",    "--version", "PTRAIN_ISA", "-t,",
        "-s,",          "-o,",       "-q,",       "-h,",        "-V,",
        "Exit status:", "130"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        CHECK_CONTAINS(run.out, words[i]);
    CHECK_STR(pt_run_ptrain("-h", NULL).out, run.out);
    CHECK_STR(pt_run_ptrain("--version", NULL).out, "ptrain " PTRAIN_VERSION "\n");
    CHECK_STR(pt_run_ptrain("-V", NULL).out, "ptrain " PTRAIN_VERSION "\n");
    for (const char *line = run.out; *line; line = strchr(line, '\n') + 1)
        CHECK(strcspn(line, "\n") <= 100);
}

TEST(cli, reference_is_the_file_of_the_repository) {
    pt_run_result run = pt_run_ptrain("reference", NULL);
    CHECK_INT(run.status, 0);
    CHECK_STR(run.err, "");
    CHECK_MSG(strcmp(run.out, pt_read_file("configs/reference.ini", NULL)) == 0,
              "configs/reference.ini is old: ptrain reference > configs/reference.ini");
}

TEST(cli, usage_errors) {
    pt_run_result run = pt_run_ptrain(NULL, NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "which config? usage: ptrain train CONFIG");
    run = pt_run_ptrain("graph", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "usage: ptrain graph CONFIG");
    run = pt_run_ptrain("--thread-count=2", "configs/xor.ini", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "unknown option '--thread-count=2'; see ptrain --help");
    run = pt_run_ptrain("configs/xor.ini", "-x", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "unknown option '-x'");
    run = pt_run_ptrain("configs/xor.ini", "-qx", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "unknown option '-x'");
    run = pt_run_ptrain("-xq", "configs/xor.ini", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "unknown option '-x'");
    run = pt_run_ptrain("configs/xor.ini", "--quiet=yes", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "--quiet=yes");
    run = pt_run_ptrain("configs/xor.ini", "--set", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "option '--set' wants a value");
    run = pt_run_ptrain("configs/xor.ini", "-t", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "option '-t' wants a value");
    run = pt_run_ptrain("configs/xor.ini", "configs/apple.ini", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "one config at a time: unexpected 'configs/apple.ini'");
    run = pt_run_ptrain("trian", "configs/xor.ini", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "unknown command 'trian'; did you mean 'train'?");
    run = pt_run_ptrain("reference", "configs/xor.ini", "more", NULL);
    CHECK_INT(run.status, 2);
}

TEST(cli, wrong_values_of_options) {
    static const char *const cases[][3] = {{"-t", "0.5", "threads"},
                                           {"--threads", "none", "threads"},
                                           {"-t", "-1", "threads"},
                                           {"--isa", "sse2", "isa"},
                                           {"-s", "train.seed", "train.seed"},
                                           {"-s", "train.sead=1", "seed"},
                                           {"-s", "layer.nothing.units=3", "nothing"},
                                           {"-s", "=", "="},
                                           {"-s", "train.iterations=1000000000001", "iterations"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pt_run_result run = pt_run_ptrain("configs/xor.ini", cases[i][0], cases[i][1], NULL);
        CHECK_ONE_LINE_ERROR(run, 2, cases[i][2]);
    }
    /* More of them than there is room for is an error, too, not an overflow. */
    pt_run_result run =
        pt_run_shell("\"$PT\" configs/xor.ini $(yes ' -s train.seed=2' | head -200)");
    CHECK_ONE_LINE_ERROR(run, 2, "--set");
}

/* ---- a run ---- */

TEST(cli, results_go_to_stdout_and_the_rest_to_stderr) {
    pt_run_result run = pt_run_ptrain(toy_file(), "-t", "2", NULL);
    CHECK_INT(run.status, 0);
    CHECK(strncmp(run.out, "epoch  iteration      loss  train acc  test acc   samples/s\n", 60) ==
          0);
    CHECK_CONTAINS(run.out, "\n    0          1    ");
    CHECK_CONTAINS(run.out, "\n    4         20    ");
    CHECK_CONTAINS(run.out, "finished after 20 iterations of 32: loss ");
    CHECK_CONTAINS(run.out, "; 2 threads, ");
    CHECK_CONTAINS(run.out,
                   pt_textf("model  %s/run/model.safetensors\nsha256 ", pt_temp_folder()).s);
    CHECK(!strchr(run.out, '\r') && !strchr(run.out, '\033')); /* no terminal, no bar */
    CHECK(!strchr(run.err, '\r') && !strchr(run.err, '\033'));
    CHECK_CONTAINS(run.err, "ptrain: 1345 parameters, 2 threads, ");
    CHECK_INT(count_lines(run.err), 1);
    static const char *const files[] = {"metrics.csv", "losses.csv", "summary.json", "config.ini",
                                        "model.safetensors"};
    for (size_t i = 0; i < 5; i++)
        CHECK(pt_file_exists(in_run(files[i])));
    pt_run_result list = pt_run_shell("ls -A %s/run | wc -l", pt_temp_folder());
    CHECK_INT(strtol(list.out, NULL, 10), 5); /* and no other */
}

TEST(cli, train_is_the_default_command_and_quiet_says_nothing) {
    const char *toy = toy_file();
    pt_run_result run = pt_run_ptrain("-q", toy, "-o", pt_path_in(pt_temp_folder(), "a"), NULL);
    CHECK_INT(run.status, 0);
    CHECK_STR(run.out, "");
    CHECK_STR(run.err, "");
    run = pt_run_ptrain("train", toy, "--quiet", "--out", pt_path_in(pt_temp_folder(), "b"), NULL);
    CHECK_INT(run.status, 0);
    CHECK_STR(run.out, "");
    CHECK_STR(run.err, "");
    run = pt_run_shell("cd %s && cmp a/model.safetensors b/model.safetensors && "
                       "cmp a/metrics.csv b/metrics.csv",
                       pt_temp_folder());
    CHECK_INT(run.status, 0);
    CHECK(!pt_file_exists(in_run("config.ini"))); /* --out won */
}

TEST(cli, a_bar_when_asked_for) {
    pt_run_result run =
        pt_run_ptrain(toy_file(), "-s", "output.progress=on", "-s", "train.iterations=30000", NULL);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.err, "ETA");
    CHECK(!strchr(run.out, '\r'));
}

TEST(cli, options_set_keys) {
    const char *toy = toy_file();
    pt_run_result run =
        pt_run_ptrain(toy, "--threads", "3", "--isa", "scalar", "--set", "train.seed=5", "-s",
                      "train.iterations=7", "-s", "layer.fc.units=11", "-q", NULL);
    CHECK_INT(run.status, 0);
    char *config = pt_read_file(in_run("config.ini"), NULL);
    static const char *const lines[] = {"\nthreads = 3\n", "\nisa = scalar\n", "\nseed = 5\n",
                                        "\niterations = 7\n", "\nunits = 11\n"};
    for (size_t i = 0; i < 5; i++)
        CHECK_CONTAINS(config, lines[i]);
    char *summary = pt_read_file(in_run("summary.json"), NULL);
    CHECK_CONTAINS(summary, "\"isa\": \"scalar\"");
    CHECK_CONTAINS(summary, "\"threads\": 3");
    CHECK_CONTAINS(summary, "\"iterations\": 7");
}

TEST(cli, the_last_override_wins) {
    pt_run_result run = pt_run_ptrain(toy_file(), "--print-config", "-s", "train.seed=5", "-s",
                                      "train.seed=6", "-t", "2", "-s", "parallel.threads=3", NULL);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.out, "\nseed = 6\n");
    CHECK_CONTAINS(run.out, "\nthreads = 3\n");
}

TEST(cli, print_config_reads_back_as_itself) {
    static const char *const configs[] = {"configs/mnist.ini", "configs/xor.ini",
                                          "configs/apple.ini", "configs/mnist-wide.ini"};
    for (size_t i = 0; i < 4; i++) {
        pt_run_result first =
            pt_run_ptrain("--print-config", configs[i], "-s", "train.seed=9", NULL);
        CHECK_INT(first.status, 0);
        CHECK_STR(first.err, "");
        const char *path = pt_path_in(pt_temp_folder(), "again.ini");
        pt_write_text(path, first.out);
        pt_run_result second = pt_run_ptrain(path, "--print-config", NULL);
        CHECK_INT(second.status, 0);
        CHECK_STR(second.out, first.out);
    }
    CHECK(!pt_file_exists(in_run("config.ini")));
}

TEST(cli, a_run_folder_of_another_config_is_refused_untouched) {
    const char *toy = toy_file();
    CHECK_INT(pt_run_ptrain(toy, "-q", NULL).status, 0);
    pt_run_result before =
        pt_run_shell("cd %s/run && sha256sum * && ls -lA --full-time", pt_temp_folder());
    pt_run_result run = pt_run_ptrain(toy, "-s", "train.seed=2", "-q", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "holds another run");
    CHECK_CONTAINS(run.err, "seed");
    CHECK_CONTAINS(run.err, "--out");
    run = pt_run_ptrain(toy, "-s", "layer.fc.units=10", "-q", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "units");
    pt_run_result after =
        pt_run_shell("cd %s/run && sha256sum * && ls -lA --full-time", pt_temp_folder());
    CHECK_STR(after.out, before.out);
    /* What never changes a number is no other run. */
    run = pt_run_ptrain(toy, "-t", "3", "--isa", "scalar", "-q", NULL);
    CHECK_INT(run.status, 0);
    run = pt_run_shell("cd %s/run && sha256sum model.safetensors metrics.csv losses.csv",
                       pt_temp_folder());
    for (const char *line = run.out; *line; line = strchr(line, '\n') + 1)
        CHECK_CONTAINS(before.out, pt_textf("%.64s", line).s);
}

TEST(cli, the_environment_chooses_the_isa) {
    const char *toy = toy_file();
    pt_run_result run = pt_run_shell("PTRAIN_ISA=scalar \"$PT\" %s", toy);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.err, "scalar kernels");
    run = pt_run_shell("PTRAIN_ISA= \"$PT\" %s", toy); /* empty is unset */
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.err, pt_textf("%s kernels", pt_isa_name(pt_isa_best())).s);
    run = pt_run_shell("PTRAIN_ISA=sse \"$PT\" %s", toy);
    CHECK_ONE_LINE_ERROR(run, 2, "PTRAIN_ISA 'sse': write auto, scalar, avx2 or avx512");
    run = pt_run_shell("PTRAIN_ISA=sse \"$PT\" %s --isa scalar", toy); /* which wins */
    CHECK_INT(run.status, 0);
    run = pt_run_shell("PTRAIN_ISA=sse \"$PT\" --version && PTRAIN_ISA=sse \"$PT\" reference");
    CHECK_INT(run.status, 0);
    for (int isa = PT_ISA_SCALAR; isa < PT_ISA_COUNT; isa++) {
        const char *name = pt_isa_name((pt_isa)isa);
        run = pt_run_shell("PTRAIN_ISA=scalar \"$PT\" %s --isa %s", toy, name);
        if (pt_kernels_get((pt_isa)isa)) {
            CHECK_INT(run.status, 0);
            CHECK_CONTAINS(run.err, pt_textf("%s kernels", name).s);
        } else {
            CHECK_ONE_LINE_ERROR(run, 2, "this machine cannot run");
        }
    }
}

TEST(cli, scale_takes_rounds_and_seconds) {
    const char *toy = toy_file(), *folder = pt_temp_folder();
    pt_run_result run =
        pt_run_shell("\"$PT\" scale %s -q -t 1 --rounds 2 --seconds 0.02 -o %s/scale", toy, folder);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.out, " 2 rounds of ");
    static const char *const wrong[] = {"--rounds 0",  "--rounds 1.5", "--rounds 33", "--rounds x",
                                        "--seconds 0", "--seconds -1", "--seconds x"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        run = pt_run_shell("\"$PT\" scale %s %s", toy, wrong[i]);
        CHECK_ONE_LINE_ERROR(run, 2, ": write ");
    }
}

TEST(cli, options_that_would_do_nothing_are_refused) {
    static const char *const wrong[][2] = {
        {"gradcheck configs/xor.ini --resume",
         "--resume does nothing with gradcheck, only with train"},
        {"verify configs/xor.ini -t 2",
         "--threads does nothing with verify, only with train, scale"},
        {"graph configs/xor.ini --print-config", "--print-config does nothing with graph"},
        {"configs/xor.ini --values", "--values does nothing with train, only with graph"},
        {"configs/xor.ini --rounds 3", "--rounds does nothing with train, only with scale"},
        {"reference configs/xor.ini", "reference takes no config"},
        {"configs/xor.ini -t 0", "--threads '0': write a number from 1 on, or auto"},
        {"configs/xor.ini -t -1", "--threads '-1'"},
        {"configs/xor.ini --isa sse", "--isa 'sse': write auto, scalar, avx2 or avx512"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        pt_run_result run = pt_run_shell("\"$PT\" %s", wrong[i][0]);
        CHECK_ONE_LINE_ERROR(run, 2, wrong[i][1]);
    }
}

TEST(cli, the_last_list_of_threads_counts) {
    pt_run_result run =
        pt_run_shell("\"$PT\" scale %s -q -t 1,2 -t 1 --rounds 1 --seconds 0.01 -o %s/scale",
                     toy_file(), pt_temp_folder());
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.out, "\n      1  slices");
    CHECK(!strstr(run.out, "\n      2  slices"));
}

/* ---- going on ---- */

TEST(cli, a_run_that_goes_on_may_become_longer) {
    const char *toy = toy_file(), *folder = pt_temp_folder();
    static const char more[] = "-s train.iterations=45 -s train.evaluate_every=4";
    pt_run_result run = pt_run_shell("\"$PT\" %s -q %s -o %s/whole && "
                                     "\"$PT\" %s -q %s -s train.iterations=20 -o %s/parts "
                                     "-s output.checkpoint_every=10",
                                     toy, more, folder, toy, more, folder);
    CHECK_MSG(run.status == 0, "%s", run.err);
    run = pt_run_shell("\"$PT\" %s -q %s -o %s/parts", toy, more, folder);
    CHECK_ONE_LINE_ERROR(run, 2, "train.iterations is 20 and 45");
    run = pt_run_shell(
        "\"$PT\" %s -q -s train.iterations=15 -s train.evaluate_every=4 -o %s/parts --resume", toy,
        folder);
    CHECK_ONE_LINE_ERROR(run, 2,
                         "train.iterations = 15, but its newest checkpoint is of iteration 20");
    run = pt_run_shell("\"$PT\" %s -q %s -o %s/parts --resume && cd %s && "
                       "for f in model.safetensors metrics.csv losses.csv; do "
                       "cmp whole/$f parts/$f || exit 1; done",
                       toy, more, folder, folder);
    CHECK_MSG(run.status == 0, "%s%s", run.out, run.err);
}

TEST(cli, signals_ignored_at_the_start_stay_ignored) {
    const char *rows = pt_path_in(pt_temp_folder(), "rows");
    pt_run_result run = pt_run_shell(
        "trap '' HUP INT; : >%s; \"$PT\" %s -t 1 -s train.iterations=1000000000 "
        "-s train.evaluate_every=50000 >%s 2>/dev/null & p=$!; "
        "while [ \"$(wc -l <%s)\" -lt 2 ]; do sleep 0.01; done; "
        "for i in 1 2 3; do kill -HUP $p; kill -INT $p; sleep 0.02; done; kill -TERM $p; wait $p",
        rows, toy_file(), rows, rows);
    CHECK_INT(run.status, 128 + SIGTERM);
}

TEST(cli, fewer_threads_than_asked_for_change_nothing) {
    const char *toy = toy_file(), *folder = pt_temp_folder();
    pt_run_result run = pt_run_shell(
        "for s in slices per_thread columns relay; do "
        "OMP_THREAD_LIMIT=2 \"$PT\" %s -q -t 5 -s parallel.schedule=$s -o %s/limit-$s && "
        "\"$PT\" %s -q -t 5 -s parallel.schedule=$s -o %s/full-$s && "
        "cmp %s/limit-$s/model.safetensors %s/full-$s/model.safetensors || exit 1; done",
        toy, folder, toy, folder, folder, folder);
    CHECK_MSG(run.status == 0, "%s%s", run.out, run.err);
}

TEST(cli, the_locale_changes_no_byte) {
    const char *toy = toy_file(), *folder = pt_temp_folder();
    static const char *const locales[] = {"C", "de_DE.UTF-8", "tr_TR.UTF-8", "C.UTF-8"};
    for (size_t i = 0; i < 4; i++) {
        pt_run_result run =
            pt_run_shell("LC_ALL=%s \"$PT\" %s -q -o %s/%zu", locales[i], toy, folder, i);
        CHECK_INT(run.status, 0);
        run =
            pt_run_shell("cd %s && for f in model.safetensors metrics.csv losses.csv; do "
                         "cmp 0/$f %zu/$f || exit 1; done; "
                         "grep -v ^dir 0/config.ini > 0/c; grep -v ^dir %zu/config.ini | cmp - 0/c",
                         folder, i, i);
        CHECK_MSG(run.status == 0, "%s: %s%s", locales[i], run.out, run.err);
    }
}

TEST(cli, test_data_without_labels_is_said_to_be_of_no_use) {
    const char *folder = pt_temp_folder();
    pt_write_text(pt_path_in(folder, "rows.csv"), "1,2,0.5\n2,3,0.75\n3,1,0.25\n");
    pt_write_text(pt_path_in(folder, "values.ini"),
                  pt_textf("[data]\ndataset = csv\ntarget = values\ntrain_file = %s/rows.csv\n"
                           "test_file = %s/rows.csv\n[layer.a]\ntype = affine\nunits = 1\n"
                           "[loss]\ntype = mean_squared_error\n[train]\niterations = 5\n"
                           "batch_size = 3\n",
                           folder, folder)
                      .s);
    pt_run_result run = pt_run_shell("\"$PT\" %s/values.ini -o %s/values", folder, folder);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.err, "warning: the test data has no labels");
    run =
        pt_run_shell("\"$PT\" %s/values.ini -o %s/values -s train.evaluate=false", folder, folder);
    CHECK(!strstr(run.err, "no labels"));
}

/* ---- the graph ---- */

TEST(cli, graph_draws_the_books_shop_with_its_numbers) {
    pt_run_result run = pt_run_ptrain("graph", "configs/apple.ini", "--values", NULL);
    CHECK_INT(run.status, 0);
    CHECK_STR(run.err, "");
    CHECK_CONTAINS(run.out, "digraph ptrain {");
    static const char *const nodes[] = {
        "apple_price\\nvariable\\n1\\n1 parameters\\nvalue 100\\ngradient 2.2\"",
        "apple_count\\nvariable\\n1\\n1 parameters\\nvalue 2\\ngradient 110\"",
        "orange_price\\nvariable\\n1\\n1 parameters\\nvalue 150\\ngradient 3.3\"",
        "orange_count\\nvariable\\n1\\n1 parameters\\nvalue 3\\ngradient 165\"",
        "tax\\nvariable\\n1\\n1 parameters\\nvalue 1.1\\ngradient 650\"",
        "apples\\nmul\\n1\\n1 FLOPs\\nvalue 200\\ngradient 1.1\"",
        "oranges\\nmul\\n1\\n1 FLOPs\\nvalue 450\\ngradient 1.1\"",
        "fruit\\nadd\\n1\\n1 FLOPs\\nvalue 650\\ngradient 1.1\"",
        "total\\nmul\\n1\\n1 FLOPs\\nvalue 715\\ngradient 1\""};
    for (size_t i = 0; i < 9; i++)
        CHECK_CONTAINS(run.out, nodes[i]);
    const char *folder = pt_path_in(pt_temp_folder(), "run");
    pt_run_result bare = pt_run_ptrain("graph", "configs/apple.ini", "--set",
                                       pt_textf("output.dir=%s", folder).s, NULL);
    CHECK_INT(bare.status, 0);
    CHECK(!strstr(bare.out, "value 100"));
    CHECK(!pt_file_exists(folder)); /* and draws only */
}

TEST(cli, graph_of_a_network_has_shapes_parameters_and_operations) {
    pt_run_result run = pt_run_ptrain("graph", toy_file(), NULL);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.out, "n0 [label=\"data\\n144\", shape=box]");
    CHECK_CONTAINS(run.out, "fc\\naffine\\n9\\n1305 parameters\\n2601 FLOPs");
    CHECK_CONTAINS(run.out, "loss\\nsoftmax_cross_entropy");
    CHECK(!pt_file_exists(in_run("config.ini")));
    run = pt_run_ptrain("graph", toy_file(), "--values", NULL);
    CHECK_INT(run.status, 0);
    CHECK_CONTAINS(run.out, "value ");
}

/* ---- a stdout that takes nothing ---- */

TEST(cli, a_full_or_closed_stdout_is_a_failure) {
    const char *toy = toy_file();
    static const char *const commands[] = {"--help", "reference", "graph configs/apple.ini",
                                           "configs/xor.ini --print-config"};
    for (size_t i = 0; i < 4; i++) {
        pt_run_result run = pt_run_shell("\"$PT\" %s > /dev/full", commands[i]);
        CHECK_MSG(run.status == 1, "%s > /dev/full: exit status %d", commands[i], run.status);
        CHECK_CONTAINS(run.err, "ptrain: ");
        CHECK_CONTAINS(run.err, "No space left on device");
        CHECK_INT(count_lines(run.err), 1);
        run = pt_run_shell("\"$PT\" %s >&-", commands[i]);
        CHECK_MSG(run.status == 1, "%s >&-: exit status %d", commands[i], run.status);
        CHECK_INT(count_lines(run.err), 1);
    }
    pt_run_result run = pt_run_shell("\"$PT\" %s > /dev/full", toy);
    CHECK_INT(run.status, 1);
    CHECK_CONTAINS(run.err, "No space left on device");
    CHECK(pt_file_exists(in_run("model.safetensors"))); /* the run itself is whole */
}

/* A reader that goes away does not end the training. */
TEST(cli, a_broken_pipe_does_not_end_the_training) {
    const int every = pt_test_quick() ? 500 : 5000; /* long enough for head to end before */
    pt_run_result run = pt_run_shell("(\"$PT\" %s -s train.iterations=%d -s "
                                     "train.evaluate_every=%d; echo $? > %s/status) | head -c 1",
                                     toy_file(), 40 * every, every, pt_temp_folder());
    char iterations[64];
    snprintf(iterations, sizeof iterations, "\"iterations\": %d,", 40 * every);
    CHECK_STR(pt_read_file(pt_path_in(pt_temp_folder(), "status"), NULL), "1\n");
    CHECK_CONTAINS(run.err, "ptrain: cannot write to standard output: Broken pipe\n");
    CHECK_CONTAINS(pt_read_file(in_run("summary.json"), NULL), iterations);
}

/* With descriptor 1 closed, the first file a program opens becomes its stdout. */
TEST(cli, closed_descriptors_do_not_leak_into_files) {
    const char *toy = toy_file(), *folder = pt_temp_folder();
    CHECK_INT(pt_run_ptrain(toy, "-q", NULL).status, 0);
    static const char *const closings[] = {">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"};
    for (size_t i = 0; i < 5; i++) {
        pt_run_shell("\"$PT\" %s -o %s/closed%zu %s", toy, folder, i, closings[i]);
        pt_run_result run = pt_run_shell(
            "cd %s && for f in model.safetensors metrics.csv losses.csv; do "
            "cmp run/$f closed%zu/$f || exit 1; done; "
            "grep -v ^dir closed%zu/config.ini > c && grep -v ^dir run/config.ini | cmp - c",
            folder, i, i);
        CHECK_MSG(run.status == 0, "%s: %s%s", closings[i], run.out, run.err);
    }
}

/* ---- signals ---- */

static void pause_ms(long ms) {
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* Starts an endless run, waits until it trains, sends `number`, and gives the exit status. */
static int stop_by(int number, const char *out, const char *err) {
    const char *binary = getenv("PT_BINARY"), *toy = toy_file();
    char *argv[] = {(char *)(uintptr_t)(binary ? binary : "./ptrain"),
                    (char *)(uintptr_t)toy,
                    (char *)(uintptr_t) "-s",
                    (char *)(uintptr_t) "train.iterations=1000000000",
                    (char *)(uintptr_t) "-s",
                    (char *)(uintptr_t) "train.evaluate_every=50000",
                    (char *)(uintptr_t) "-t",
                    (char *)(uintptr_t) "2",
                    NULL};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t child = -1;
    /* As from a terminal: tests themselves may run where signals are ignored. */
    posix_spawnattr_t attributes;
    sigset_t heeded;
    sigemptyset(&heeded);
    sigaddset(&heeded, SIGINT);
    sigaddset(&heeded, SIGTERM);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &heeded);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    int status = 0, failed = posix_spawn(&child, argv[0], &actions, &attributes, argv, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    REQUIRE(failed == 0);
    struct stat info;
    for (int i = 0; i < 2000; i++) { /* the row after the first iteration */
        if (stat(out, &info) == 0 && info.st_size > 70)
            break;
        pause_ms(10);
    }
    pause_ms(30);
    kill(child, number);
    bool over = false;
    for (int i = 0; i < 2000 && !(over = waitpid(child, &status, WNOHANG) == child); i++)
        pause_ms(10);
    if (!CHECK_MSG(over, "it did not stop")) {
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
    }
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(cli, signals_end_a_run_with_a_saved_model) {
    const int numbers[] = {SIGINT, SIGTERM};
    const char *out = pt_path_in(pt_temp_folder(), "out"),
               *err = pt_path_in(pt_temp_folder(), "err");
    for (size_t i = 0; i < 2; i++) {
        REQUIRE(pt_run_shell("rm -rf %s", in_run("")).status == 0); /* an unfinished one stays */
        CHECK_INT(stop_by(numbers[i], out, err), 128 + numbers[i]);
        char *said = pt_read_file(err, NULL);
        CHECK_CONTAINS(said, "ptrain: stopped after iteration ");
        CHECK_CONTAINS(said, "; go on with: ptrain ");
        CHECK_CONTAINS(said,
                       " --set train.evaluate_every=50000 --set parallel.threads=2 --resume\n");
        CHECK_CONTAINS(pt_read_file(out, NULL), "interrupted after ");
        CHECK_CONTAINS(pt_read_file(out, NULL), ": at iteration 1 loss ");
        pt_safetensors *model = NULL;
        pt_error problem = {0};
        REQUIRE_OK(pt_safetensors_read(in_run("model.safetensors"), &model, &problem), problem);
        CHECK_INT(model->tensor_count, 4);
        const char *iteration = pt_safetensors_metadata(model, "iteration");
        REQUIRE(iteration != NULL && strtoull(iteration, NULL, 10) > 0);
        CHECK_CONTAINS(said, pt_textf("stopped after iteration %s", iteration).s);
        char *summary = pt_read_file(in_run("summary.json"), NULL);
        CHECK_CONTAINS(summary, "\"status\": \"interrupted\"");
        CHECK_CONTAINS(summary, pt_textf("\"iterations\": %s,", iteration).s);
        size_t size;
        char *losses = pt_read_file(in_run("losses.csv"), &size);
        CHECK(losses[size - 1] == '\n'); /* a row for every iteration, the last one whole */
        CHECK_INT(count_lines(losses), strtoull(iteration, NULL, 10) + 1);
        pt_safetensors_free(model);
    }
    pt_run_result list = pt_run_shell("ls -A %s/run | grep tmp", pt_temp_folder());
    CHECK_STR(list.out, "");
}

/* Numbers that a training does not survive end it with the last good model. */
TEST(cli, divergence_is_a_failure_that_keeps_a_good_model) {
    pt_run_result run = pt_run_ptrain(
        toy_file(), "-s", "optimizer.learning_rate=1000", "-s", "loss.type=mean_squared_error",
        "-s", "layer.fc.init=normal(30)", "-s", "train.iterations=500", NULL);
    CHECK_INT(run.status, 1);
    CHECK_CONTAINS(run.err, "ptrain: the loss is not finite at iteration ");
    CHECK_CONTAINS(run.err, "learning_rate");
    CHECK_CONTAINS(run.err, "; saved is the model of iteration ");
    CHECK_CONTAINS(run.out, "diverged after ");
    CHECK_CONTAINS(pt_read_file(in_run("summary.json"), NULL), "\"status\": \"diverged\"");
    pt_safetensors *model = NULL;
    pt_error problem = {0};
    REQUIRE_OK(pt_safetensors_read(in_run("model.safetensors"), &model, &problem), problem);
    long wrong = 0;
    for (size_t i = 0; i < model->tensor_count; i++) {
        size_t elements = 0;
        pt_tensor_elements(&model->tensors[i], &elements);
        for (size_t k = 0; k < elements; k++)
            wrong += !(model->tensors[i].data[k] - model->tensors[i].data[k] == 0);
    }
    CHECK_INT(wrong, 0);
    pt_safetensors_free(model);
}
