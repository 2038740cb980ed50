/* test_csv.c: CSV files: what is read, and what is refused at which line with which words. */
#include "0_base/memory.h"
#include "2_data/dataset.h"
#include "harness.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pt_config make_config(const char *train_file, const char *test_file) {
    pt_config config = {.path = (char *)(uintptr_t) "test.ini"};
    config.data.dataset = PT_DATASET_CSV;
    config.data.train_file = (char *)(uintptr_t)train_file;
    config.data.test_file = (char *)(uintptr_t)test_file;
    config.data.target = PT_CSV_LABEL;
    config.data.target_columns = 1;
    return config;
}

static const char *save(const char *name, const char *text) {
    const char *path = pt_path_in(pt_temp_folder(), name);
    pt_write_text(path, text);
    return path;
}

static pt_dataset *load(const pt_config *config) {
    pt_error err = {0};
    pt_dataset *dataset = NULL;
    REQUIRE_OK(pt_dataset_load(config, &dataset, &err), err);
    return dataset;
}

static void check_load_fails(const pt_config *config, pt_status status, const char *words) {
    pt_error err = {0};
    pt_dataset *dataset = NULL;
    CHECK_INT(pt_dataset_load(config, &dataset, &err), status);
    CHECK(dataset == NULL);
    CHECK_CONTAINS(err.message, words);
    CHECK_MSG(!strchr(err.message, '\n'), "one line: %s", err.message);
    pt_dataset_free(dataset);
}

/* `text` as the training file, with target = label and no header, is refused with "x.csv:" + words.
 */
static void check_refused(const char *text, const char *words) {
    const pt_config config = make_config(save("x.csv", text), "");
    char expected[512];
    snprintf(expected, sizeof expected, "/x.csv:%s", words);
    check_load_fails(&config, PT_ERR_DATA, expected);
}

/* ---- what is read ---- */

TEST(csv, reads_labels) {
    const pt_config config =
        make_config(save("a", "0,0,0\n0,1,1\n1,0,1\n1,1,0\n"), save("b", "0.5,-2e-3,1\n"));
    pt_dataset *dataset = load(&config);
    CHECK_INT(pt_dataset_train_rows(dataset), 4);
    CHECK_INT(pt_dataset_test_rows(dataset), 1);
    CHECK_INT(pt_dataset_columns(dataset), 2);
    CHECK_INT(pt_dataset_classes(dataset), 2);
    CHECK_INT(dataset->element, PT_ELEMENT_F32);
    CHECK_INT(dataset->dim_count, 1);
    CHECK_INT(dataset->dims[0], 2);
    CHECK_INT(dataset->target_columns, 0);
    CHECK(dataset->scale == 1 && dataset->offset == 0);
    CHECK(dataset->train.targets == NULL);
    const float *features = dataset->train.features;
    for (int r = 0; r < 4; r++) {
        CHECK(features[2 * r] == (float)(r >> 1) && features[2 * r + 1] == (float)(r & 1));
        CHECK_INT(dataset->train.labels[r], (r >> 1) ^ (r & 1));
    }
    features = dataset->test.features;
    CHECK(features[0] == 0.5f && features[1] == -2e-3f);
    pt_dataset_free(dataset);
}

TEST(csv, reads_values) {
    pt_config config = make_config(save("a", "1,2,3,4\n5,6,7,8\n"), "");
    config.data.target = PT_CSV_VALUES;
    config.data.target_columns = 2;
    pt_dataset *dataset = load(&config);
    CHECK_INT(dataset->columns, 2);
    CHECK_INT(dataset->target_columns, 2);
    CHECK_INT(dataset->classes, 0);
    CHECK(dataset->train.labels == NULL);
    CHECK_INT(dataset->test.rows, 0);
    const float features[] = {1, 2, 5, 6}, targets[] = {3, 4, 7, 8};
    CHECK(memcmp(dataset->train.features, features, sizeof features) == 0);
    CHECK(memcmp(dataset->train.targets, targets, sizeof targets) == 0);
    pt_dataset_free(dataset);
}

/* Line ends, blanks, quotes, blank lines, a byte order mark, an unfinished last line: one table. */
TEST(csv, takes_any_layout_of_the_same_table) {
    static const char *const layouts[] = {
        "1,2,0\n3,4,1\n",
        "1,2,0\n3,4,1",
        "1,2,0\r\n3,4,1\r\n",
        "1,2,0\r3,4,1\r",
        "\n\n1,2,0\n\n  \t\n3,4,1\n\n",
        " 1 ,\t2, 0\n3 , 4,1 \n",
        "\"1\",\"2\",0\n3,4,\"1\"",
        "\"1\" , \"2\" ,0\n3,4,1\n",
        "\357\273\2771,2,0\n3,4,1\n",
        "1.0,2e0,0\n+3,.4e1,1.0\n",
    };
    for (size_t l = 0; l < sizeof layouts / sizeof *layouts; l++) {
        const pt_config config = make_config(save("a", layouts[l]), "");
        pt_dataset *dataset = load(&config);
        const float features[] = {1, 2, 3, 4};
        CHECK_INT(dataset->train.rows, 2);
        REQUIRE(dataset->columns == 2);
        CHECK_MSG(memcmp(dataset->train.features, features, sizeof features) == 0, "layout %zu", l);
        CHECK_INT(dataset->train.labels[0], 0);
        CHECK_INT(dataset->train.labels[1], 1);
        CHECK_INT(dataset->classes, 2);
        pt_dataset_free(dataset);
    }
}

TEST(csv, skips_a_header) {
    pt_config config = make_config(save("a", "x,\"y, \"\"quoted\"\"\",label\n1,2,1\n"), "");
    config.data.header = true;
    pt_dataset *dataset = load(&config);
    CHECK_INT(dataset->train.rows, 1);
    CHECK_INT(dataset->train.labels[0], 1);
    pt_dataset_free(dataset);
}

TEST(csv, many_rows_and_columns) {
    enum { ROWS = 1000, COLUMNS = 37 };
    const size_t room = (size_t)ROWS * (COLUMNS + 1) * 8 + 1;
    char *text = malloc(room), *at = text;
    REQUIRE(text != NULL);
    for (int r = 0; r < ROWS; r++) {
        for (int c = 0; c < COLUMNS; c++)
            at += snprintf(at, 8, "%d,", r * 7 - c);
        at += snprintf(at, 8, "%d\n", r % 10);
    }
    pt_config config = make_config(save("a", text), "");
    free(text);
    for (size_t limit = 0; limit <= 500; limit += 250) {
        config.data.limit = limit;
        pt_dataset *dataset = load(&config);
        const size_t rows = limit ? limit : ROWS;
        CHECK_INT(dataset->train.rows, rows);
        CHECK_INT(dataset->classes, 10);
        REQUIRE(dataset->columns == COLUMNS);
        const float *features = dataset->train.features;
        bool same = true;
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < COLUMNS; c++)
                same = same && features[r * COLUMNS + c] == (float)((int)r * 7 - (int)c);
        CHECK(same);
        CHECK_INT(dataset->train.labels[rows - 1], (rows - 1) % 10);
        pt_dataset_free(dataset);
    }
}

TEST(csv, numbers_do_not_follow_the_locale) {
    char *old = setlocale(LC_ALL, "de_DE.UTF-8"); /* decimal comma, where it is installed */
    const pt_config config = make_config(save("a", "0.5,0\n"), "");
    pt_dataset *dataset = load(&config);
    CHECK(*(const float *)dataset->train.features == 0.5f);
    pt_dataset_free(dataset);
    if (old)
        setlocale(LC_ALL, "C");
}

TEST(csv, a_limit_keeps_the_classes_and_the_checks) {
    pt_config config = make_config(save("a", "1,0\n1,1\n1,2\n1,4\n"), "");
    config.data.limit = 2;
    pt_dataset *dataset = load(&config);
    CHECK_INT(dataset->train.rows, 2);
    CHECK_INT(dataset->classes, 5);
    pt_dataset_free(dataset);
    config = make_config(save("x.csv", "1,0\n1,1\n1,2\n1,oops\n"), "");
    config.data.limit = 2;
    check_load_fails(&config, PT_ERR_DATA, "/x.csv:4: column 2 is \"oops\"");
}

/* ---- what is refused ---- */

TEST(csv, refuses_ragged_rows) {
    check_refused("1,2,0\n1,2,3,0\n", "2: 4 cells where the first row has 3");
    check_refused("1,2,0\n\n1,0\n", "3: 2 cells where the first row has 3");
    check_refused("1,2,0\n1,2,0\n1", "3: 1 cell where the first row has 3");
    pt_config config = make_config(save("x.csv", "a,b,c\n1,2,0\n1,0\n"), "");
    config.data.header = true;
    check_load_fails(&config, PT_ERR_DATA, "/x.csv:3: 2 cells where the header line has 3");
    config = make_config(save("x.csv", "a,b\n1,2,0\n"), "");
    config.data.header = true;
    check_load_fails(&config, PT_ERR_DATA, "/x.csv:2: 3 cells where the header line has 2");
}

TEST(csv, refuses_words) {
    check_refused("1,2,0\n1,two,0\n", "2: column 2 is \"two\", not a finite number");
    check_refused("x,y,label\n1,2,0\n",
                  "1: column 1 is \"x\", not a finite number; if this line names the columns, set "
                  "[data] header = true");
    check_refused("1,0\n0x10,0\n", "2: column 1 is \"0x10\"");
    check_refused("1,0\n1 2,0\n", "2: column 1 is \"1 2\"");
    check_refused("1,0\n1;2,0\n", "2: column 1 is \"1;2\"");
    check_refused("1,0\nab\acd,0\n", "2: column 1 is \"ab?cd\"");
    check_refused("1,0\n1234567890123456789012345678901234567890x,0\n",
                  "2: column 1 is \"1234567890123456789012345678901234567890...\"");
    pt_config config = make_config(save("x.csv", "x,size,label\n1,two,0\n"), "");
    config.data.header = true;
    check_load_fails(&config, PT_ERR_DATA,
                     "/x.csv:2: column 2 (size) is \"two\", not a finite number");
    static const char *const lines[] = {"nan,0\n", "inf,0\n", "-Infinity,0\n", "1e999,0\n",
                                        "1e39,0\n"};
    for (size_t l = 0; l < sizeof lines / sizeof *lines; l++) {
        char text[64];
        snprintf(text, sizeof text, "1,0\n%s", lines[l]);
        check_refused(text, "2: column 1 is \"");
    }
}

TEST(csv, refuses_empty_cells) {
    check_refused("1,2,0\n1,,0\n", "2: column 2 is empty");
    check_refused("1,2,0\n,2,0\n", "2: column 1 is empty");
    check_refused("1,2,0\n1,2,\n", "2: column 3 is empty");
    check_refused("1,2,0\n1,\"\",0\n", "2: column 2 is empty");
    check_refused("1,2,0\n1,  ,0\n", "2: column 2 is empty");
    check_refused("1,2,0\n,,\n", "2: column 1 is empty");
}

TEST(csv, refuses_labels_that_are_no_class) {
    check_refused("1,0\n1,0.5\n", "2: column 2 is 0.5; the last column must be a class");
    check_refused("1,0\n1,-1\n", "2: column 2 is -1; the last column must be a class");
    check_refused(
        "1,0\n1,999999999\n",
        "2: column 2 is 999999999; the last column must be a class, a whole number from 0 to "
        "999999 (or set [data] target = values)");
    check_refused("1,0\n1,3e9\n", "2: column 2 is");
    pt_config config = make_config(save("x.csv", "1,0\n1,3\n"), "");
    config.data.classes = 3;
    check_load_fails(&config, PT_ERR_DATA,
                     "/x.csv:2: column 2 is class 3, not one of 0..2 ([data] classes = 3)");
    config = make_config(save("a", "1,0\n1,3\n"), save("x.csv", "1,0\n1,4\n"));
    check_load_fails(&config, PT_ERR_DATA,
                     "/x.csv:2: column 2 is class 4, larger than every training label (3)");
    config.data.classes = 5;
    pt_dataset *dataset = load(&config);
    CHECK_INT(dataset->classes, 5);
    pt_dataset_free(dataset);
}

TEST(csv, refuses_too_few_rows_or_columns) {
    check_refused("0\n1\n", "1: 1 column and a target of 1 leave no feature");
    check_refused("\n\n\n", "3: no rows of numbers");
    check_refused("  ", "1: no rows of numbers");
    check_refused("\xEF\xBB\xBF", "1: no rows of numbers");
    check_refused("", " offset 0: the file is empty");
    pt_config config = make_config(save("x.csv", "a,b\n"), "");
    config.data.header = true;
    check_load_fails(&config, PT_ERR_DATA, "/x.csv:1: no rows of numbers after the header line");
    config = make_config(save("x.csv", "1,2,3\n"), "");
    config.data.target = PT_CSV_VALUES;
    config.data.target_columns = 3;
    check_load_fails(&config, PT_ERR_DATA,
                     "/x.csv:1: 3 columns and a target of 3 leave no feature");
    config.data.target_columns = 0;
    check_load_fails(&config, PT_ERR_CONFIG, "test.ini: [data] target = values needs");
}

TEST(csv, refuses_broken_quotes) {
    check_refused("1,0\n1\"2,0\n", "2: broken quotes");
    check_refused("1,0\n\"12\"3,0\n", "2: broken quotes");
    check_refused("1,0\n\"12,0\n3,1\n4,1\n", "2: broken quotes");
    check_refused("1,0\n2,0\n1,\"0", "3: broken quotes");
    check_refused("1,0\n2,0\n1,\"0\n", "3: "); /* "0\n" is no number */
}

TEST(csv, refuses_nul_bytes) {
    const char *path = pt_path_in(pt_temp_folder(), "x.csv");
    pt_write_file(path, "1,0\n1\0002,0\n", 10);
    const pt_config config = make_config(path, "");
    check_load_fails(&config, PT_ERR_DATA, "/x.csv:2: holds a NUL byte");
    pt_write_file(path, "\377\3761\0,\0000\0\n\0", 10);
    check_load_fails(&config, PT_ERR_DATA, "/x.csv:1: holds a NUL byte");
}

TEST(csv, train_and_test_have_equal_width) {
    pt_config config = make_config(save("a", "1,2,0\n"), save("x.csv", "1,2,3,0\n"));
    check_load_fails(&config, PT_ERR_DATA, "/x.csv:1: 3 feature columns where ");
    config = make_config(save("a", "1,2,0\n"), "no/such.csv");
    check_load_fails(&config, PT_ERR_IO,
                     "no/such.csv: No such file or directory ([data] test_file");
    config = make_config("", "");
    check_load_fails(&config, PT_ERR_CONFIG, "test.ini: [data] train_file is missing");
    config = make_config(pt_temp_folder(), "");
    check_load_fails(&config, PT_ERR_IO, "is a folder; name a file in [data] train_file");
}

TEST(csv, survives_every_failing_allocation) {
    for (int values = 0; values < 2; values++) {
        const char *path = save("a", "x,y,z\n1,2,0\n3,4,1\n5,6,2\n1,1,1\n");
        pt_config config = make_config(path, path);
        config.data.header = true;
        config.data.target = values ? PT_CSV_VALUES : PT_CSV_LABEL;
        long n = 1;
        for (bool loaded = false; !loaded && n < 1000; n++) {
            pt_error err = {0};
            pt_dataset *dataset = NULL;
            pt_memory_fail_at(n, 0);
            pt_status status = pt_dataset_load(&config, &dataset, &err);
            const long asked = pt_memory_count();
            pt_memory_fail_at(0, 0);
            loaded = asked < n;
            /* libcsv asks for less when it is refused, so it may get by. */
            CHECK_MSG(status == PT_ERR_MEMORY || status == PT_OK, "allocation %ld: %d: %s", n,
                      status, err.message);
            CHECK((dataset != NULL) == (status == PT_OK));
            pt_dataset_free(dataset);

            pt_memory_fail_at(n, 1);
            status = pt_dataset_load(&config, &dataset, &err);
            pt_memory_fail_at(0, 0);
            CHECK_MSG(status == (loaded ? PT_OK : PT_ERR_MEMORY), "from allocation %ld on: %d: %s",
                      n, status, err.message);
            pt_dataset_free(dataset);
        }
        CHECK_MSG(n > 10, "only %ld allocations", n);
    }
}
