/* test_bad_input.c: what is wrong with a config, a data file, a disk or a folder gives one clear
 * line, the right exit status, and nothing half-written. Through the program, as a user meets it.
 */
#include "toys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HIDDEN                                                                                     \
    "[layer.fc]\ntype = affine\nunits = 9\ninit = normal(0.1)\n[layer.act]\ntype = relu\n"

/* Runs `text` as a config and checks that it is refused with "NAME.ini:LINE: " (line 0: without)
 * and `words`, with exit status 2, and that no folder was made. */
static void check_config(const char *text, int line, const char *words) {
    const char *path = pt_path_in(pt_temp_folder(), "wrong.ini");
    pt_write_text(path, text);
    pt_run_result run = pt_run_ptrain(path, "-o", pt_path_in(pt_temp_folder(), "run"), NULL);
    CHECK_ONE_LINE_ERROR(run, 2, words);
    if (line)
        CHECK_CONTAINS(run.err, pt_textf("wrong.ini:%d: ", line).s);
    CHECK(!pt_file_exists(pt_path_in(pt_temp_folder(), "run")));
}

/* The same for a file of the data of toy.ini (exit status 1), which is named. */
static void check_data(const char *file, const char *words) {
    pt_run_result run = pt_run_ptrain(pt_path_in(pt_temp_folder(), "toy.ini"), NULL);
    CHECK_ONE_LINE_ERROR(run, 1, words);
    CHECK_CONTAINS(run.err, file);
    CHECK(!pt_file_exists(pt_path_in(pt_temp_folder(), "run")));
}

/* ---- configs ---- */

TEST(bad_input, unknown_names) {
    check_config("[data]\ndataset = none\n[trian]\n", 3, "did you mean");
    check_config("[train]\nbatchsize = 3\n", 2, "did you mean batch_size?");
    check_config("[train]\nsampling = randon\n", 2, "did you mean random?");
    check_config("[data]\ndataset = none\n[layer.v]\ntype = varable\nvalue = 1\n", 4,
                 "did you mean 'variable'?");
    check_config("[data]\ndataset = none\n[layer.v]\ntype = variable\nvalue = 1\n"
                 "[loss]\ntype = ouput\n",
                 7, "did you mean 'output'?");
    check_config("[data]\ndataset = none\n[layer.v]\ntype = variable\nvalue = 1\n"
                 "[loss]\ntype = output\n[optimizer]\ntype = adaam\n",
                 9, "did you mean 'adam'?");
    check_config("[data]\ndataset = none\n[layer.v]\ntype = variable\nvalue = 1\n"
                 "[layer.w]\ntype = relu\ninput = vv\n",
                 8, "input 'vv' is not a layer");
}

TEST(bad_input, values_out_of_range) {
    check_config("[train]\nbatch_size = 0\n", 2, "batch_size = 0");
    check_config("[train]\niterations = -5\n", 2, "iterations = -5");
    check_config("[train]\niterations = 1e3\n", 2, "iterations = 1e3");
    check_config("[optimizer]\nlearning_rate = 1001\n", 2, "0 to 1000");
    check_config("[optimizer]\nlearning_rate = nan\n", 2, "learning_rate = nan");
    check_config("[optimizer]\nlearning_rate = 0,1\n", 2, "learning_rate = 0,1");
    check_config("[parallel]\nshards = 257\n", 2, "1 to 256");
    check_config("[data]\nnormalize = yes\n", 2, "normalize = yes");
    check_config("[layer.a]\ntype = affine\nunits = 3\ninit = gauss(1)\n", 4, "gauss(1)");
}

TEST(bad_input, doubled_names) {
    check_config("[train]\nseed = 1\nseed = 2\n", 3, "seed");
    check_config("[layer.a]\ntype = relu\n[layer.b]\ntype = relu\n[layer.a]\n", 5,
                 "the layer a is already on line 1");
}

TEST(bad_input, files_that_are_no_config) {
    char line[400] = "[train]\n; ";
    memset(line + 10, 'x', 300);
    strcpy(line + 310, "\n");
    check_config(line, 2, "199");
    check_config("", 0, "wrong.ini: [data] train_images is missing");
    check_config("\x7f"
                 "ELF\x02\x01\x01",
                 1, "");
    check_config("[train]\nseed = 1\xff\n", 2, "");
    check_config("just words\n", 1, "");
    pt_run_result run = pt_run_ptrain(pt_temp_folder(), NULL);
    CHECK_ONE_LINE_ERROR(run, 1, pt_temp_folder()); /* a folder */
    run = pt_run_ptrain("/nowhere/net.ini", NULL);
    CHECK_ONE_LINE_ERROR(run, 1, "/nowhere/net.ini");
    run = pt_run_ptrain("/dev/zero", NULL);
    CHECK(run.status == 1 || run.status == 2);
}

TEST(bad_input, graphs_that_are_none) {
    static const char head[] = "[data]\ndataset = none\n[loss]\ntype = output\n"
                               "[layer.v]\ntype = variable\nvalue = 1, 2\n"
                               "[layer.w]\ntype = variable\nvalue = 1, 2, 3\n";
    check_config(
        pt_textf("%s[layer.a]\ntype = add\ninput = v, b\n[layer.b]\ntype = relu\n", head).s, 13,
        "cycle");
    check_config(pt_textf("%s[layer.a]\ntype = add\ninput = v, w\n", head).s, 11,
                 "the first is 2 and the 2. is 3");
    check_config(pt_textf("%s[layer.a]\ntype = relu\n", head).s, 5, "layer 'v': leads nowhere");
    check_config(pt_textf("%s[layer.a]\ntype = mul\ninput = v, nobody\n", head).s, 13,
                 "input 'nobody' is not a layer");
    check_config("[data]\ndataset = none\n[layer.a]\ntype = affine\nunits = 1\n", 3,
                 "`dataset = none` has no columns");
    /* Of images that stay images: say what to put there. */
    pt_text text = pt_toy_images_text("[layer.fc]\ntype = affine\nunits = 9\n");
    const char *path = pt_path_in(pt_temp_folder(), "toy.ini");
    pt_write_text(path, text.s);
    pt_run_result run = pt_run_ptrain(path, "-s", "data.flatten=false", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "put a flatten layer before it");
    run = pt_run_ptrain(path, "-s", "layer.out.units=9", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "9 outputs but the data has 4 classes; use `units = 4`");
    run = pt_run_ptrain(path, "-s", "train.sampling=shuffle", "-s", "train.batch_size=201", NULL);
    CHECK_ONE_LINE_ERROR(run, 2, "only 200 training rows");
    CHECK(!pt_file_exists(pt_path_in(pt_temp_folder(), "run")));
}

/* ---- data files ---- */

static const char *data_file(const char *name) {
    pt_text text = pt_toy_images_text(HIDDEN); /* which writes the data */
    pt_write_text(pt_path_in(pt_temp_folder(), "toy.ini"), text.s);
    return pt_path_in(pt_temp_folder(), name);
}

/* Changes a file by a line of sh in which $F is its path, checks, and puts it back. */
static void check_damaged(const char *name, const char *damage, const char *words) {
    const char *path = data_file(name);
    pt_run_result run = pt_run_shell("F=%s; cp $F $F.kept; %s", path, damage);
    CHECK_MSG(run.status == 0, "%s: %s", damage, run.err);
    check_data(path, words);
    pt_run_shell("rm -rf %s && mv %s.kept %s", path, path, path);
}

TEST(bad_input, damaged_idx_files) {
    check_damaged("train-images", "rm $F", "No such file");
    check_damaged("train-images", "printf '\\1' | dd of=$F conv=notrunc bs=1 2>/dev/null",
                  "offset 0");
    check_damaged("train-images", "truncate -s -1 $F", "offset");
    check_damaged("train-images", "printf x >> $F", "offset");
    check_damaged("train-images", "printf '\\377' | dd of=$F conv=notrunc bs=1 seek=4 2>/dev/null",
                  "offset");
    check_damaged("train-images", "truncate -s 0 $F", "empty");
    check_damaged("train-images", "gzip -c $F > $F.z && mv $F.z $F", "gz");
    check_damaged("test-labels", "truncate -s -1 $F", "offset");
    check_damaged("test-labels", "printf '\\77' | dd of=$F conv=notrunc bs=1 seek=20 2>/dev/null",
                  "label");
    /* Fewer labels than images, both files whole. */
    check_damaged("train-labels", "printf '\\0\\0\\10\\1\\0\\0\\0\\3\\0\\1\\2' > $F", "3");
    check_damaged("test-images", "rm $F && mkdir $F", "test-images");
    /* And whole again: the damage was the reason. */
    CHECK_INT(pt_run_ptrain(pt_path_in(pt_temp_folder(), "toy.ini"), "-q", NULL).status, 0);
}

TEST(bad_input, gzip_cut_short) {
    const char *path = data_file("train-images"), *folder = pt_temp_folder();
    pt_run_shell("gzip -c %s > %s.gz && truncate -s -20 %s.gz", path, path, path);
    pt_run_result run = pt_run_ptrain(pt_path_in(folder, "toy.ini"), "-s",
                                      pt_textf("data.train_images=%s.gz", path).s, NULL);
    CHECK_ONE_LINE_ERROR(run, 1, "train-images.gz");
    CHECK(!pt_file_exists(pt_path_in(folder, "run")));
}

TEST(bad_input, damaged_csv_files) {
    static const char *const cases[][2] = {{"0,1,0\n1,1\n", ":2: "},
                                           {"0,1,0\n1,one,1\n", ":2: "},
                                           {"0,1,0\n1,1,1.5\n", ":2: "},
                                           {"", "empty"},
                                           {"0,1,0\n1,nan,1\n", ":2: "}};
    const char *csv = pt_path_in(pt_temp_folder(), "rows.csv");
    const char *path = pt_path_in(pt_temp_folder(), "csv.ini");
    pt_text text = pt_textf("[data]\ndataset = csv\ntrain_file = %s\n[layer.a]\ntype = affine\n"
                            "units = 2\n[train]\nbatch_size = 2\n[output]\ndir = %s/run\n",
                            csv, pt_temp_folder());
    pt_write_text(path, text.s);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pt_write_text(csv, cases[i][0]);
        pt_run_result run = pt_run_ptrain(path, NULL);
        CHECK_ONE_LINE_ERROR(run, 1, cases[i][1]);
        CHECK_CONTAINS(run.err, csv);
        CHECK(!pt_file_exists(pt_path_in(pt_temp_folder(), "run")));
    }
}

/* ---- disks and folders (tests may run as root, whom permission bits do not stop) ---- */

TEST(bad_input, folders_that_cannot_be_written) {
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "toy.ini");
    pt_text text = pt_toy_images_text(HIDDEN);
    pt_write_text(path, text.s);
    const char *const places[] = {pt_path_in(path, "under-a-file"), "/proc/run", "/dev/null/run"};
    for (size_t i = 0; i < 3; i++) {
        pt_run_result run = pt_run_ptrain(path, "-q", "-o", places[i], NULL);
        CHECK_ONE_LINE_ERROR(run, 1, "cannot");
    }
    /* Something that is no file where a file of the run should be. */
    static const char *const names[] = {"model.safetensors", "config.ini", "metrics.csv",
                                        "losses.csv", "summary.json"};
    for (size_t i = 0; i < 5; i++) {
        pt_run_shell("rm -rf %s/run && mkdir -p %s/run/%s", folder, folder, names[i]);
        pt_run_result run = pt_run_ptrain(path, "-q", NULL);
        CHECK_MSG(run.status == 1 || run.status == 2, "%s: exit status %d", names[i], run.status);
        CHECK_STR(run.out, "");
        CHECK_MSG(strchr(run.err, '\n') == run.err + strlen(run.err) - 1, "one line: %s", run.err);
        run = pt_run_shell("find %s/run -name '*tmp*'", folder);
        CHECK_STR(run.out, "");
    }
}

/* A file may grow to `limit` blocks of 512 bytes, as on a disk that fills up. */
TEST(bad_input, a_disk_that_fills_up_while_saving) {
    if (pt_test_quick()) { /* ThreadSanitizer writes larger files of its own */
        CHECK_MSG(true, "left out");
        return;
    }
    const char *folder = pt_temp_folder(), *path = pt_path_in(folder, "toy.ini");
    pt_text text = pt_toy_images_text(HIDDEN);
    pt_write_text(path, text.s);
    CHECK_INT(pt_run_ptrain(path, "-q", NULL).status, 0);
    pt_run_result sum = pt_run_shell("sha256sum < %s/run/model.safetensors", folder);
    /* The model of 5,4 kB does not fit; the other files do. The old model must stay whole. */
    pt_run_result run = pt_run_shell("trap '' XFSZ; ulimit -f 8; \"$PT\" %s -q", path);
    CHECK_ONE_LINE_ERROR(run, 1, "model.safetensors");
    CHECK_CONTAINS(run.err, "File too large");
    CHECK_STR(pt_run_shell("sha256sum < %s/run/model.safetensors", folder).out, sum.out);
    CHECK_STR(pt_run_shell("ls -A %s/run | grep tmp", folder).out, "");
    /* Nor does the first file of a fresh folder: nothing but the folder is made. (1 KiB is what
     * clang's OpenMP runtime itself writes.) */
    run = pt_run_shell("trap '' XFSZ; ulimit -f 2; \"$PT\" %s -q -o %s/fresh", path, folder);
    CHECK_ONE_LINE_ERROR(run, 1, "config.ini");
    CHECK_STR(pt_run_shell("ls -A %s/fresh", folder).out, "");
}

/* A network too large for any memory. */
TEST(bad_input, sizes_beyond_all_memory) {
    if (pt_test_quick()) { /* AddressSanitizer takes such a size for a finding */
        CHECK_MSG(true, "left out");
        return;
    }
    const char *path = pt_path_in(pt_temp_folder(), "toy.ini");
    pt_text text = pt_toy_images_text("[layer.fc]\ntype = affine\nunits = 9\n"
                                      "[layer.fd]\ntype = affine\nunits = 9\n");
    pt_write_text(path, text.s);
    pt_run_result run =
        pt_run_ptrain(path, "-s", "layer.fc.units=16777216", "-s", "layer.fd.units=16777216", NULL);
    CHECK_ONE_LINE_ERROR(run, 1, "out of memory");
    CHECK(!pt_file_exists(pt_path_in(pt_temp_folder(), "run")));
}
