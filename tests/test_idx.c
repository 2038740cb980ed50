/* test_idx.c: IDX files, raw and gzip: what is read, and what is refused with which words. */
#include "0_base/memory.h"
#include "2_data/dataset.h"
#include "2_data/idx_file.h"
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

/* A file under construction. */
typedef struct blob {
    uint8_t bytes[1 << 16];
    size_t size;
} blob;

static void put(blob *to, const void *bytes, size_t size) {
    if (to->size + size > sizeof to->bytes)
        abort();
    memcpy(to->bytes + to->size, bytes, size);
    to->size += size;
}

static void put_u32(blob *to, uint32_t value) {
    const uint8_t bytes[4] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                              (uint8_t)value};
    put(to, bytes, 4);
}

/* An IDX file whose data bytes are 0, 1, 2, ... modulo `modulus`. */
static blob make_idx(const uint32_t *dims, uint8_t dim_count, int modulus) {
    blob file = {.size = 0};
    const uint8_t magic[4] = {0, 0, 8, dim_count};
    put(&file, magic, 4);
    size_t count = 1;
    for (size_t d = 0; d < dim_count; d++) {
        put_u32(&file, dims[d]);
        count *= dims[d];
    }
    for (size_t i = 0; i < count; i++) {
        const uint8_t value = (uint8_t)(i % (size_t)modulus);
        put(&file, &value, 1);
    }
    return file;
}

static blob make_images(uint32_t rows, uint32_t height, uint32_t width) {
    return make_idx((uint32_t[]){rows, height, width}, 3, 251);
}

static blob make_labels(uint32_t rows, int classes) {
    return make_idx((uint32_t[]){rows}, 1, classes);
}

static blob gzipped(const blob *plain) {
    blob packed = {.size = 0};
    z_stream stream = {0};
    if (deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    stream.next_in = (Bytef *)(uintptr_t)plain->bytes;
    stream.avail_in = (uInt)plain->size;
    stream.next_out = packed.bytes;
    stream.avail_out = sizeof packed.bytes;
    if (deflate(&stream, Z_FINISH) != Z_STREAM_END)
        abort();
    packed.size = stream.total_out;
    deflateEnd(&stream);
    return packed;
}

static const char *save(const char *name, const blob *file) {
    const char *path = pt_path_in(pt_temp_folder(), name);
    pt_write_file(path, file->bytes, file->size);
    return path;
}

/* Reads `file` under `name` as images (or labels) and gives the status; the message in *err. */
static pt_status read_blob(const char *name, const blob *file, bool labels, pt_error *err) {
    pt_idx_file read;
    *err = (pt_error){0};
    pt_status status = pt_idx_read(save(name, file), "train_images", labels ? 1 : 2,
                                   labels ? 1 : PT_IDX_MAX_DIMS, &read, err);
    pt_idx_free(&read);
    return status;
}

/* `file` is refused, with its path, with "offset `offset`", and with `words`. */
static void check_refused(const char *name, const blob *file, const char *offset,
                          const char *words) {
    pt_error err;
    CHECK_INT(read_blob(name, file, false, &err), PT_ERR_DATA);
    CHECK_INT(err.status, PT_ERR_DATA);
    char start[512];
    snprintf(start, sizeof start, "%s: offset %s", pt_path_in(pt_temp_folder(), name), offset);
    CHECK_CONTAINS(err.message, start);
    CHECK_CONTAINS(err.message, words);
    CHECK_MSG(!strchr(err.message, '\n'), "one line: %s", err.message);
}

/* A config by hand: the four files, everything else as the defaults. */
static pt_config make_config(const char *train_images, const char *train_labels,
                             const char *test_images, const char *test_labels) {
    pt_config config = {.path = (char *)(uintptr_t) "test.ini"};
    config.data.dataset = PT_DATASET_IDX;
    config.data.train_images = (char *)(uintptr_t)train_images;
    config.data.train_labels = (char *)(uintptr_t)train_labels;
    config.data.test_images = (char *)(uintptr_t)test_images;
    config.data.test_labels = (char *)(uintptr_t)test_labels;
    config.data.normalize = true;
    config.data.flatten = true;
    return config;
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

/* ---- what is read ---- */

TEST(idx, reads_raw_and_gzip_alike) {
    const blob images = make_images(7, 3, 5), labels = make_labels(7, 4);
    const blob test_images = make_images(2, 3, 5), test_labels = make_labels(2, 4);
    const blob packed_images = gzipped(&images), packed_labels = gzipped(&labels);
    for (int gzip = 0; gzip < 2; gzip++) {
        const pt_config config =
            make_config(gzip ? save("i.gz", &packed_images) : save("i", &images),
                        gzip ? save("l.gz", &packed_labels) : save("l", &labels),
                        save("ti", &test_images), save("tl", &test_labels));
        pt_error err = {0};
        pt_dataset *dataset;
        REQUIRE_OK(pt_dataset_load(&config, &dataset, &err), err);
        CHECK_INT(pt_dataset_train_rows(dataset), 7);
        CHECK_INT(pt_dataset_test_rows(dataset), 2);
        CHECK_INT(pt_dataset_columns(dataset), 15);
        CHECK_INT(pt_dataset_classes(dataset), 4);
        CHECK_INT(dataset->element, PT_ELEMENT_U8);
        CHECK_INT(dataset->dim_count, 1);
        CHECK_INT(dataset->dims[0], 15);
        CHECK_INT(dataset->target_columns, 0);
        CHECK(dataset->scale == 1.0f / 255);
        CHECK(dataset->offset == 0);
        CHECK(memcmp(dataset->train.features, images.bytes + 16, 7 * 15) == 0);
        CHECK(memcmp(dataset->test.features, test_images.bytes + 16, 2 * 15) == 0);
        CHECK(dataset->train.targets == NULL);
        for (int r = 0; r < 7; r++)
            CHECK_INT(dataset->train.labels[r], r % 4);
        CHECK_INT(dataset->test.labels[1], 1);
        CHECK_INT(dataset->backing[0].mapped_bytes, gzip ? 0 : images.size);
        pt_dataset_free(dataset);
    }
}

TEST(idx, keeps_dimensions_unless_flattened) {
    const blob labels = make_labels(4, 2);
    for (uint8_t dim_count = 2; dim_count <= 4; dim_count++) {
        const blob images = make_idx((uint32_t[]){4, 3, 5, 2}, dim_count, 256);
        pt_config config = make_config(save("i", &images), save("l", &labels), "", "");
        const size_t columns = dim_count == 2 ? 3 : dim_count == 3 ? 15 : 30;
        for (int flatten = 0; flatten < 2; flatten++) {
            config.data.flatten = flatten;
            config.data.normalize = false;
            pt_error err = {0};
            pt_dataset *dataset;
            REQUIRE_OK(pt_dataset_load(&config, &dataset, &err), err);
            CHECK_INT(dataset->columns, columns);
            CHECK_INT(dataset->dim_count, flatten ? 1 : dim_count - 1);
            CHECK_INT(dataset->dims[0], flatten ? columns : 3);
            if (!flatten && dim_count >= 3)
                CHECK_INT(dataset->dims[1], 5);
            if (!flatten && dim_count == 4)
                CHECK_INT(dataset->dims[2], 2);
            CHECK(dataset->scale == 1);
            CHECK_INT(dataset->test.rows, 0);
            CHECK(dataset->test.features == NULL);
            pt_dataset_free(dataset);
        }
    }
}

TEST(idx, limit_uses_the_first_rows_and_keeps_the_classes) {
    const blob images = make_images(9, 2, 2), labels = make_labels(9, 6);
    const char *i = save("i", &images), *l = save("l", &labels);
    pt_config config = make_config(i, l, i, l);
    for (size_t limit = 0; limit <= 12; limit += 3) {
        config.data.limit = limit;
        pt_error err = {0};
        pt_dataset *dataset;
        REQUIRE_OK(pt_dataset_load(&config, &dataset, &err), err);
        CHECK_INT(dataset->train.rows, limit == 0 || limit > 9 ? 9 : limit);
        CHECK_INT(dataset->test.rows, dataset->train.rows);
        CHECK_INT(dataset->classes, 6);
        CHECK_INT(dataset->train.labels[dataset->train.rows - 1], (dataset->train.rows - 1) % 6);
        pt_dataset_free(dataset);
    }
}

TEST(idx, classes_come_from_the_config_when_it_says) {
    const blob images = make_images(4, 2, 2), labels = make_labels(4, 3);
    pt_config config = make_config(save("i", &images), save("l", &labels), "", "");
    config.data.classes = 10;
    pt_error err = {0};
    pt_dataset *dataset;
    REQUIRE_OK(pt_dataset_load(&config, &dataset, &err), err);
    CHECK_INT(dataset->classes, 10);
    pt_dataset_free(dataset);
}

TEST(idx, none_is_one_row_without_features) {
    pt_config config = make_config("", "", "", "");
    config.data.dataset = PT_DATASET_NONE;
    pt_error err = {0};
    pt_dataset *dataset;
    REQUIRE_OK(pt_dataset_load(&config, &dataset, &err), err);
    CHECK_INT(pt_dataset_train_rows(dataset), 1);
    CHECK_INT(pt_dataset_test_rows(dataset), 0);
    CHECK_INT(pt_dataset_columns(dataset), 0);
    CHECK_INT(pt_dataset_classes(dataset), 0);
    CHECK_INT(dataset->dim_count, 0);
    CHECK(dataset->train.labels == NULL && dataset->train.targets == NULL);
    pt_dataset_free(dataset);
    pt_dataset_free(NULL);
}

/* ---- what is refused ---- */

TEST(idx, refuses_other_kinds_of_file) {
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } cases[] = {
        {"PK\3\4....", 8, "a zip file"},
        {"\3757zXZ\0", 6, "an xz file"},
        {"BZh91AY", 7, "a bzip2 file"},
        {"\x28\xb5\x2f\xfd....", 8, "a zstd file"},
        {"\x89PNG....", 8, "a PNG image"},
        {"\x93NUMPY..", 8, "a NumPy file"},
        {"<html>403", 9, "an HTML or XML page"},
        {"1,2,3\n", 6, "a text file"},
        {"hi\n", 3, "a text file"},
        {"\1\2\3\4\5\6\7\x80", 8, "it must start with two zero bytes"},
        {"\0\1\x08\1\0\0\0\1", 8, "it must start with two zero bytes"},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        blob file = {.size = 0};
        put(&file, cases[c].bytes, cases[c].size);
        check_refused("x", &file, "0: not an IDX file", cases[c].words);
    }
    blob file = make_images(2, 2, 2);
    for (uint8_t code = 0; code < 16; code++) {
        if (code == 8)
            continue;
        file.bytes[2] = code;
        char words[32];
        snprintf(words, sizeof words, "type code 0x%02X", code);
        check_refused("x", &file, "2: ", words);
    }
    file = make_labels(4, 2);
    check_refused("x", &file, "3: 1 dimension where", "is this the file of labels?");
    file.bytes[3] = 5;
    check_refused("x", &file, "3: 5 dimensions where", "2 to 4");
    file.bytes[3] = 0;
    check_refused("x", &file, "3: 0 dimensions where", "2 to 4");
    file = make_images(2, 2, 2);
    pt_error err;
    CHECK_INT(read_blob("x", &file, true, &err), PT_ERR_DATA);
    CHECK_CONTAINS(err.message, "offset 3: 3 dimensions where labels have 1; is this the file of");
}

TEST(idx, refuses_every_truncation_and_extension) {
    const blob whole = make_images(3, 2, 2);
    for (size_t size = 1; size < whole.size; size++) {
        blob file = whole;
        file.size = size;
        char offset[64];
        snprintf(offset, sizeof offset, "%zu: the file ends %s", size,
                 size < 16 ? "inside the IDX header" : "after");
        check_refused("x", &file, offset, "");
    }
    blob file = whole;
    put(&file, "ab", 2);
    check_refused("x", &file, "28: 2 bytes too many", "after the last row");
    file.size = 0;
    check_refused("x", &file, "0: the file is empty", "");
}

TEST(idx, refuses_impossible_dimensions) {
    /* 2^32 - 1 in every dimension: the product overflows 64 bits; then a product that does not. */
    static const uint32_t shapes[][4] = {{UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX},
                                         {UINT32_MAX, UINT32_MAX, 1, 1},
                                         {1u << 31, 1u << 31, 4, 1},
                                         {1u << 16, 1u << 16, 1u << 16, 1u << 16},
                                         {60000, 28, 28, 1}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int gzip = 0; gzip < 2; gzip++) {
            blob file = {.size = 0};
            put(&file, "\0\0\x08\4", 4);
            for (size_t d = 0; d < 4; d++)
                put_u32(&file, shapes[s][d]);
            put(&file, "0123456789", 10);
            if (gzip)
                file = gzipped(&file);
            pt_error err;
            CHECK_INT(read_blob(gzip ? "x.gz" : "x", &file, false, &err), PT_ERR_DATA);
            CHECK_CONTAINS(err.message, "promise");
        }
    blob file = make_images(2, 2, 2);
    memset(file.bytes + 4, 0, 4);
    check_refused("x", &file, "4: ", "0 rows");
    file = make_images(2, 2, 2);
    memset(file.bytes + 8, 0, 4);
    check_refused("x", &file, "8: ", "a dimension is 0");
}

TEST(idx, tells_gzip_by_its_bytes_and_name) {
    const blob plain = make_images(3, 4, 4), packed = gzipped(&plain);
    check_refused("x", &packed, "0: a gzip file named as a raw one", "add .gz");
    check_refused("x.gz", &plain, "0: named .gz but not gzip data", "a raw IDX file");
    blob text = {.size = 0};
    put(&text, "Not found", 9);
    check_refused("x.gz", &text, "0: named .gz but not gzip data", "a text file");
    text.size = 1;
    check_refused("x.gz", &text, "0: named .gz but not gzip data", "a text file");
    text = (blob){.size = 0};
    put(&text, "Not found", 9);
    text = gzipped(&text);
    check_refused("x.gz", &text, "0: not an IDX file", "a text file");
}

TEST(idx, refuses_damaged_gzip) {
    const blob plain = make_images(20, 4, 5), packed = gzipped(&plain);
    pt_error err;
    CHECK_INT(read_blob("x.gz", &packed, false, &err), PT_OK);
    for (size_t size = 2; size < packed.size; size++) {
        blob cut = packed;
        cut.size = size;
        char offset[64];
        snprintf(offset, sizeof offset, "%zu: the gzip file is cut short", size);
        check_refused("x.gz", &cut, offset, "fetch it again");
    }
    blob bad = packed;
    bad.bytes[bad.size - 8] ^= 1;
    check_refused("x.gz", &bad, "", "damaged gzip data (incorrect data check)");
    bad = packed;
    bad.bytes[bad.size - 1] ^= 1;
    check_refused("x.gz", &bad, "", "damaged gzip data (incorrect length check)");
    bad = packed;
    bad.bytes[2] = 7; /* no such method */
    check_refused("x.gz", &bad, "", "damaged gzip data (unknown compression method)");
    /* Any single flipped bit of the deflate data or the trailer is found, but for the bits that pad
     * the last byte of the deflate data. */
    for (size_t bit = 8 * 10; bit < 8 * packed.size; bit++) {
        bad = packed;
        bad.bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        const pt_status status = read_blob("x.gz", &bad, false, &err);
        CHECK_MSG(status == PT_ERR_DATA || (status == PT_OK && bit / 8 == packed.size - 9),
                  "bit %zu: status %d", bit, status);
    }
    bad = packed;
    put(&bad, "xyz", 3);
    char offset[64];
    snprintf(offset, sizeof offset, "%zu: 3 bytes after the end of the gzip data", packed.size);
    check_refused("x.gz", &bad, offset, "");
    bad = packed;
    put(&bad, packed.bytes, packed.size); /* a second gzip member */
    check_refused("x.gz", &bad, "", "after the end of the gzip data");
}

TEST(idx, stops_at_gzip_bombs) {
    /* More zeros than the header promises: read up to the promise and not inflated further. */
    blob plain = make_images(2, 2, 2);
    memset(plain.bytes + plain.size, 0, 60000);
    plain.size += 60000;
    const blob packed = gzipped(&plain);
    check_refused("x.gz", &packed, "24 (uncompressed): data goes on", "");
    blob shorter = make_images(3, 4, 4);
    shorter.size -= 5;
    const blob packed_shorter = gzipped(&shorter);
    check_refused("x.gz", &packed_shorter, "59 (uncompressed): the data ends after 43 bytes",
                  "promises 48");
    /* A header that promises 4 GB in a file of 40 bytes asks for no memory. */
    blob huge = {.size = 0};
    put(&huge, "\0\0\x08\2", 4);
    put_u32(&huge, UINT32_MAX);
    put_u32(&huge, 1);
    const blob packed_huge = gzipped(&huge);
    check_refused("x.gz", &packed_huge, "4 (uncompressed): the header promises 4294967295",
                  "can hold");
}

TEST(idx, refuses_what_is_no_file) {
    const blob labels = make_labels(4, 2);
    const char *l = save("l", &labels), *folder = pt_temp_folder();
    pt_config config = make_config(folder, l, "", "");
    check_load_fails(&config, PT_ERR_IO, "is a folder; name a file in [data] train_images");
    const char *pipe = pt_path_in(folder, "pipe");
    REQUIRE(mkfifo(pipe, 0600) == 0);
    config = make_config(pipe, l, "", "");
    check_load_fails(&config, PT_ERR_IO, "not a regular file");
    config = make_config("/dev/zero", l, "", "");
    check_load_fails(&config, PT_ERR_IO, "/dev/zero: not a regular file");
    config = make_config("no/such/file", l, "", "");
    check_load_fails(&config, PT_ERR_IO,
                     "no/such/file: No such file or directory ([data] train_im");
    config = make_config("data/none/train-images-idx3-ubyte", l, "", "");
    check_load_fails(&config, PT_ERR_IO, "train-images-idx3-ubyte: no such file; `make mnist`");
    config = make_config("/no/fashion-mnist/train-images-idx3-ubyte.gz", l, "", "");
    check_load_fails(&config, PT_ERR_IO, "apt-get install dataset-fashion-mnist");
    config = make_config(pt_path_in(folder, "l/x"), l, "", "");
    check_load_fails(&config, PT_ERR_IO, "Not a directory");
}

TEST(idx, names_missing_keys) {
    const blob images = make_images(4, 2, 2), labels = make_labels(4, 2);
    const char *i = save("i", &images), *l = save("l", &labels);
    pt_config config = make_config("", "", "", "");
    check_load_fails(&config, PT_ERR_CONFIG, "test.ini: [data] train_images is missing");
    config = make_config(NULL, l, NULL, NULL);
    check_load_fails(&config, PT_ERR_CONFIG, "[data] train_images is missing");
    config = make_config(i, "", "", "");
    check_load_fails(&config, PT_ERR_CONFIG, "[data] train_labels is missing");
    config = make_config(i, l, i, "");
    check_load_fails(&config, PT_ERR_CONFIG, "[data] test_labels is missing");
    config = make_config(i, l, "", l);
    check_load_fails(&config, PT_ERR_CONFIG, "[data] test_images is missing");
}

TEST(idx, refuses_files_that_do_not_belong_together) {
    const blob images = make_images(4, 2, 3), labels = make_labels(4, 3);
    const blob more_labels = make_labels(5, 3), other_images = make_images(4, 3, 2);
    const char *i = save("i", &images), *l = save("l", &labels);
    const char *m = save("m", &more_labels), *o = save("o", &other_images);
    pt_config config = make_config(i, m, "", "");
    check_load_fails(&config, PT_ERR_DATA, "/m: offset 4: 5 labels, but ");
    check_load_fails(&config, PT_ERR_DATA, "/i holds 4 images");
    config = make_config(i, l, i, m);
    check_load_fails(&config, PT_ERR_DATA, "/m: offset 4: 5 labels");
    config = make_config(i, l, o, l);
    pt_error err = {0};
    pt_dataset *dataset;
    REQUIRE_OK(pt_dataset_load(&config, &dataset, &err), err); /* flattened: both 6 bytes */
    pt_dataset_free(dataset);
    config.data.flatten = false;
    check_load_fails(&config, PT_ERR_DATA, "/o: offset 8: images of 6 bytes of another shape");
    const blob larger = make_images(4, 3, 3);
    config = make_config(i, l, save("g", &larger), l);
    check_load_fails(&config, PT_ERR_DATA, "/g: offset 8: images of 9 bytes of another shape");
}

TEST(idx, refuses_labels_out_of_range) {
    const blob images = make_images(4, 2, 3), labels = make_labels(4, 3);
    blob larger = labels;
    larger.bytes[8 + 2] = 7;
    const char *i = save("i", &images), *l = save("l", &labels), *g = save("g", &larger);
    pt_config config = make_config(i, g, "", "");
    config.data.classes = 7;
    check_load_fails(&config, PT_ERR_DATA, "/g: offset 10: label 7 of row 2 is not one of 0..6");
    config = make_config(i, l, i, g);
    check_load_fails(&config, PT_ERR_DATA,
                     "/g: offset 10: label 7 of row 2 is larger than every training label (2)");
    config.data.classes = 7;
    check_load_fails(&config, PT_ERR_DATA, "/g: offset 10: label 7 of row 2 is not one of 0..6");
    config.data.classes = 8;
    pt_error err = {0};
    pt_dataset *dataset;
    REQUIRE_OK(pt_dataset_load(&config, &dataset, &err), err);
    pt_dataset_free(dataset);
}

TEST(idx, survives_every_failing_allocation) {
    const blob images = make_images(20, 4, 5), labels = make_labels(20, 3);
    const blob packed_images = gzipped(&images), packed_labels = gzipped(&labels);
    const char *i = save("i.gz", &packed_images), *l = save("l.gz", &packed_labels);
    const pt_config config = make_config(i, l, i, l);
    long n = 1;
    for (bool loaded = false; !loaded && n < 1000; n++) {
        pt_error err = {0};
        pt_dataset *dataset = NULL;
        pt_memory_fail_at(n, 0);
        pt_status status = pt_dataset_load(&config, &dataset, &err);
        const long asked = pt_memory_count();
        pt_memory_fail_at(0, 0);
        loaded = asked < n;
        CHECK_MSG(status == (loaded ? PT_OK : PT_ERR_MEMORY), "allocation %ld: status %d: %s", n,
                  status, err.message);
        CHECK((dataset != NULL) == (status == PT_OK));
        pt_dataset_free(dataset);
    }
    CHECK_MSG(n > 10, "only %ld allocations", n);
}
