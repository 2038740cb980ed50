/* test_safetensors.c: what is written reads back; what is damaged or hostile is refused. */
#include "harness.h"

#include "0_base/memory.h"
#include "5_results/atomic_file.h"
#include "5_results/io.h"
#include "5_results/safetensors.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define NAME(text) ((char *)(uintptr_t)(text))

static const float WEIGHTS[] = {1, 2, 3, -99, 4, 5, 6, -99}; /* 2 x 3 with a stride of 4 */
static const float BIAS[] = {0.5f, -0.25f, -0.0f};
static const float SCALAR[] = {42};

static const pt_tensor TENSORS[] = {
    {.name = NAME("fc1.weight"), .shape = {2, 3}, .rank = 2, .data = WEIGHTS, .stride = 4},
    {.name = NAME("empty"), .shape = {0, 7}, .rank = 2},
    {.name = NAME("a scalar"), .rank = 0, .data = SCALAR},
    {.name = NAME("fc1.bias"), .shape = {3}, .rank = 1, .data = BIAS},
};
enum { TENSOR_COUNT = sizeof TENSORS / sizeof *TENSORS };
static const pt_metadata METADATA[] = {
    {"zeta", "last"},
    {"config", "[data]\n\tpath = \"a\\b\"\nname = \xC3\xA9\xF0\x9F\x98\x80\x01"},
    {"alpha", ""}};
enum { METADATA_COUNT = sizeof METADATA / sizeof *METADATA };

static const char *write_sample(char sha256[65]) {
    const char *path = pt_path_in(pt_temp_folder(), "sample.safetensors");
    pt_error err;
    REQUIRE_OK(
        pt_safetensors_write(path, TENSORS, TENSOR_COUNT, METADATA, METADATA_COUNT, sha256, &err),
        err);
    return path;
}

static bool is_text(const char *text, const char *expected) {
    return text && strcmp(text, expected) == 0;
}

TEST(safetensors, reads_back_what_was_written) {
    char written[65], seen[65];
    const char *path = write_sample(written);
    pt_error err;
    pt_safetensors *file = NULL;
    REQUIRE_OK(pt_safetensors_read(path, &file, &err), err);
    REQUIRE_OK(pt_sha256_file(path, seen, &err), err);
    CHECK_STR(written, seen);
    CHECK_STR(file->sha256, seen);
    CHECK(file->has_checksum);
    CHECK_INT(file->tensor_count, TENSOR_COUNT);
    CHECK_INT(file->metadata_count, METADATA_COUNT + 2);
    static const char *const sorted[] = {"a scalar", "empty", "fc1.bias", "fc1.weight"};
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        CHECK_STR(file->tensors[i].name, sorted[i]);

    const pt_tensor *weight = pt_safetensors_find(file, "fc1.weight");
    REQUIRE(weight);
    CHECK_INT(weight->rank, 2);
    CHECK_INT(weight->shape[0], 2);
    CHECK_INT(weight->shape[1], 3);
    static const float packed[] = {1, 2, 3, 4, 5, 6};
    CHECK(memcmp(weight->data, packed, sizeof packed) == 0);
    const pt_tensor *bias = pt_safetensors_find(file, "fc1.bias");
    REQUIRE(bias);
    CHECK(memcmp(bias->data, BIAS, sizeof BIAS) == 0); /* the sign of -0 too */
    const pt_tensor *scalar = pt_safetensors_find(file, "a scalar");
    REQUIRE(scalar);
    CHECK_INT(scalar->rank, 0);
    CHECK(*scalar->data == 42.0f);
    CHECK(pt_safetensors_find(file, "empty") != NULL);
    CHECK(pt_safetensors_find(file, "fc1") == NULL);
    CHECK(pt_safetensors_find(file, "zzz") == NULL);
    for (size_t i = 0; i < METADATA_COUNT; i++)
        CHECK_STR(pt_safetensors_metadata(file, METADATA[i].key), METADATA[i].value);
    CHECK(pt_safetensors_metadata(file, "none") == NULL);
    pt_safetensors_free(file);
    pt_safetensors_free(NULL);
}

TEST(safetensors, same_bytes_whatever_the_order_given) {
    size_t size, again_size;
    const char *bytes = pt_read_file(write_sample(NULL), &size);
    pt_tensor tensors[TENSOR_COUNT];
    pt_metadata metadata[METADATA_COUNT];
    for (size_t i = 0; i < TENSOR_COUNT; i++)
        tensors[i] = TENSORS[TENSOR_COUNT - 1 - i];
    for (size_t i = 0; i < METADATA_COUNT; i++)
        metadata[i] = METADATA[METADATA_COUNT - 1 - i];
    const char *path = pt_path_in(pt_temp_folder(), "again");
    pt_error err;
    REQUIRE_OK(
        pt_safetensors_write(path, tensors, TENSOR_COUNT, metadata, METADATA_COUNT, NULL, &err),
        err);
    const char *again = pt_read_file(path, &again_size);
    CHECK(size == again_size && memcmp(bytes, again, size) == 0);
    /* The layout by hand: length, JSON, spaces, then data at a multiple of 64. */
    size_t header = (unsigned char)bytes[0] + 256U * (unsigned char)bytes[1];
    CHECK_INT((8 + header) % 64, 0);
    CHECK_INT(size, 8 + header + (6 + 3 + 1) * 4);
    CHECK(strncmp(bytes + 8, "{\"__metadata__\":{\"alpha\":\"\",\"checksum\":\"", 40) == 0);
    CHECK_CONTAINS(bytes + 8,
                   "\"fc1.bias\":{\"data_offsets\":[4,16],\"dtype\":\"F32\",\"shape\":[3]}");
    CHECK(memcmp(bytes + 8 + header, SCALAR, sizeof SCALAR) == 0);
}

TEST(safetensors, nothing_at_all_is_a_file) {
    const char *path = pt_path_in(pt_temp_folder(), "nothing");
    pt_error err;
    pt_safetensors *file = NULL;
    REQUIRE_OK(pt_safetensors_write(path, NULL, 0, NULL, 0, NULL, &err), err);
    REQUIRE_OK(pt_safetensors_read(path, &file, &err), err);
    CHECK_INT(file->tensor_count, 0);
    CHECK(file->has_checksum);
    pt_safetensors_free(file);
}

TEST(safetensors, python_reads_it) {
    if (system("python3 -c pass 2>/dev/null") != 0) {
        CHECK_MSG(true, "skipped");
        fprintf(stderr, "skipped: no python3 to read safetensors with\n");
        return;
    }
    const char *path = write_sample(NULL);
    char command[1024];
    const char *out = pt_path_in(pt_temp_folder(), "out");
    snprintf(command, sizeof command, "python3 tests/check_safetensors.py '%s' >'%s' 2>&1", path,
             out);
    int status = system(command);
    const char *said = pt_read_file(out, NULL);
    CHECK_MSG(status == 0, "python says: %s", said);
    CHECK_CONTAINS(said, "fc1.weight [2, 3] 21.0\n");
    CHECK_CONTAINS(said, "a scalar [] 42.0\n");
    /* And it can tell a damaged file. */
    size_t size;
    char *bytes = pt_read_file(path, &size);
    bytes[size - 1] ^= 1;
    pt_write_file(path, bytes, size);
    CHECK(system(command) != 0);
    CHECK_CONTAINS(pt_read_file(out, NULL), "wrong checksum");
}

TEST(safetensors, every_flipped_bit_and_every_cut_is_found) {
    size_t size;
    char *bytes = pt_read_file(write_sample(NULL), &size);
    pt_error err;
    pt_safetensors *file = NULL;
    long accepted = 0, nameless = 0;
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
        err.message[0] = '\0';
        pt_status status = pt_safetensors_parse(bytes, size, "file", &file, &err);
        accepted += status != PT_ERR_DATA || file != NULL;
        nameless += strncmp(err.message, "file: byte ", 11) != 0;
        pt_safetensors_free(file);
        bytes[bit / 8] = (char)(bytes[bit / 8] ^ (1 << bit % 8));
    }
    CHECK_INT(accepted, 0);
    CHECK_INT(nameless, 0);
    for (size_t cut = 0; cut < size; cut++) {
        /* A block of its own, so that AddressSanitizer sees a read beyond it. */
        char *shorter = malloc(cut + !cut);
        REQUIRE(shorter);
        memcpy(shorter, bytes, cut);
        accepted += pt_safetensors_parse(shorter, cut, "file", &file, &err) != PT_ERR_DATA;
        free(shorter);
    }
    CHECK_INT(accepted, 0);
    REQUIRE_OK(pt_safetensors_parse(bytes, size, "file", &file, &err), err);
    pt_safetensors_free(file);
}

/* A file around the given header, with `data_size` bytes of zeros. */
static pt_status parse_header(const char *header, size_t header_size, size_t data_size,
                              pt_safetensors **file, pt_error *err) {
    size_t size = 8 + header_size + data_size;
    unsigned char *bytes = calloc(size, 1);
    REQUIRE(bytes);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (unsigned char)((uint64_t)header_size >> (8 * i));
    memcpy(bytes + 8, header, header_size);
    pt_status status = pt_safetensors_parse(bytes, size, "file", file, err);
    free(bytes);
    return status;
}

#define T(name, begin, end, shape)                                                                 \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

TEST(safetensors, files_of_others_are_read) {
    static const struct {
        const char *header;
        size_t data_size;
    } good[] = {
        {"{}", 0},
        {"{}   \n\t\r ", 0},
        {"{\"__metadata__\":{}}", 0},
        {"{\"__metadata__\":{\"checksum\":\"of another kind\",\"writer\":\"someone\"}}", 0},
        /* neither sorted nor aligned */
        {"{" T("b", "4", "12", "[2]") ",\n " T("a", "0", "4", "[1,1,1,1,1,1,1,1]") " }", 12},
        {"{" T("", "0", "0", "[0]") "}", 0},
        {"{ \"a\" : { \"shape\" : [ 1 ] , \"data_offsets\" : [ 0 , 4 ] , \"dtype\" : \"F32\" } }",
         4},
        {"{\"__metadata\\u005f_\":{\"k\\u00e9\":\"\\ud83d\\ude00\\n\"}}", 0},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        pt_error err;
        pt_safetensors *file = NULL;
        if (CHECK_MSG(parse_header(good[i].header, strlen(good[i].header), good[i].data_size, &file,
                                   &err) == PT_OK,
                      "%s: %s", good[i].header, err.message)) {
            CHECK(!file->has_checksum);
            for (size_t t = 0; t < file->tensor_count; t++)
                CHECK_INT((uintptr_t)file->tensors[t].data % sizeof(float), 0);
            const char *smile = pt_safetensors_metadata(file, "k\xC3\xA9");
            CHECK(i + 1 < sizeof good / sizeof *good || is_text(smile, "\xF0\x9F\x98\x80\n"));
        }
        pt_safetensors_free(file);
    }
}

TEST(safetensors, hostile_headers_are_refused) {
    static const struct {
        const char *header;
        size_t data_size;
        const char *reason;
    } bad[] = {
        {"", 0, "byte 8: the header does not start with '{'"},
        {" {}", 0, "byte 8: the header does not start with '{'"},
        {"[]", 0, "does not start with '{'"},
        {"{", 0, "byte 9: the header ends in the middle"},
        {"{\"a", 0, "byte 11: a string does not end"},
        {"{\"a\"", 0, "ends in the middle"},
        {"{}x", 0, "byte 10: something follows"},
        {"{}{}", 0, "byte 10: something follows"},
        {"{,}", 0, "byte 9: expected a string"},
        {"{" T("a", "0", "4", "[1]") ",}", 4, "expected a string"},
        {"{" T("a", "0", "4", "[1]") T("b", "4", "8", "[1]") "}", 8, "expected '}'"},
        {"{\"a\":1}", 0, "byte 13: expected '{'"},
        {"{\"a\":[[[[]]]]}", 0, "byte 13: expected '{'"},
        {"{\"a\":{}}", 0, "byte 14: expected a string"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "byte 13: a tensor without data_offsets"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "without dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "without shape"},
        {"{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}}", 0, "duplicate key dtype"},
        {"{\"a\":{\"dtype\":\"F32\",\"stride\":1}}", 0, "keys dtype, shape, data_offsets"},
        {"{\"a\":{\"dtype\":\"F32\",\"a key that is longer than any known\":1}}", 0, "keys dtype"},
        {"{\"a\":{\"dtype\":32}}", 0, "byte 22: expected a string"},
        {"{\"a\":{\"dtype\":\"F64\"}}", 0, "byte 22: dtype is F64, only F32 is read"},
        {"{\"a\":{\"dtype\":\"f32\"}}", 0, "dtype is f32"},
        {"{\"a\":{\"dtype\":\"F\\n32\"}}", 0, "dtype is F?32"}, /* found by fuzzing */
        {"{\"a\":{\"dtype\":\"a type of a very long name, indeed\"}}", 0, "dtype is unknown"},
        {"{\"a\":{\"shape\":1}}", 0, "expected '['"},
        {"{\"a\":{\"shape\":[1 2]}}", 0, "expected ']'"},
        {"{\"a\":{\"shape\":[1,]}}", 0, "expected a whole number"},
        {"{\"a\":{\"shape\":[-1]}}", 0, "byte 23: negative number"},
        {"{\"a\":{\"shape\":[1.0]}}", 0, "expected a whole number"},
        {"{\"a\":{\"shape\":[1e3]}}", 0, "expected a whole number"},
        {"{\"a\":{\"shape\":[01]}}", 0, "byte 23: number with a leading zero"},
        {"{\"a\":{\"shape\":[\"1\"]}}", 0, "expected a whole number"},
        {"{\"a\":{\"shape\":[null]}}", 0, "expected a whole number"},
        {"{\"a\":{\"shape\":[18446744073709551616]}}", 0, "byte 23: number too large"},
        {"{\"a\":{\"shape\":[1,1,1,1,1,1,1,1,1]}}", 0, "shape has more than 8 numbers"},
        {"{" T("a", "0", "0", "[18446744073709551615]") "}", 0, "shape overflows"},
        {"{" T("a", "0", "0", "[4294967296,4294967296]") "}", 0, "shape overflows"},
        {"{" T("a", "0", "0", "[4611686018427387904]") "}", 0, "shape overflows"},
        {"{" T("a", "0", "0", "[4294967296,4294967296,0]") "}", 0, "shape overflows"},
        {"{" T("a", "0", "4", "[2]") "}", 4, "the shape wants 8 bytes, data_offsets give 4"},
        {"{" T("a", "4", "0", "[1]") "}", 4, "end before they begin"},
        {"{" T("a", "0", "8", "[2]") "}", 4, "end at 8, but the file has 4 bytes of data"},
        {"{" T("a", "18446744073709551612", "18446744073709551615", "[0]") "}", 4, "end at 184467"},
        {"{" T("a", "0", "4", "[1]") "}", 8, "4 bytes follow the last tensor"},
        {"{}", 1, "byte 10: 1 bytes follow the last tensor"},
        {"{" T("a", "0", "4", "[1]") "," T("b", "8", "12", "[1]") "}", 12,
         "a hole before tensor b"},
        {"{" T("a", "4", "8", "[1]") "}", 8, "a hole before tensor a"},
        {"{" T("a", "1", "5", "[1]") "}", 8, "no multiple of 4"},
        {"{" T("a", "0", "8", "[2]") "," T("b", "4", "12", "[2]") "}", 12,
         "overlapping data before"},
        {"{" T("a", "0", "4", "[1]") "," T("b", "0", "4", "[1]") "}", 4, "overlapping data before"},
        {"{" T("a", "0", "4", "[1]") "," T("a", "4", "8", "[1]") "}", 8, "two tensors are named a"},
        {"{" T("a", "0", "4", "[1]") "," T("\\u0061", "4", "8", "[1]") "}", 8, "are named a"},
        {"{\"a\":{\"data_offsets\":[0]}}", 0, "data_offsets has 1 numbers, not 2"},
        {"{\"a\":{\"data_offsets\":[0,1,2]}}", 0, "data_offsets has more than 2 numbers"},
        {"{\"__metadata__\":[]}", 0, "expected '{'"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "expected a string"},
        {"{\"__metadata__\":{\"k\":null}}", 0, "expected a string"},
        {"{\"__metadata__\":{\"k\":{}}}", 0, "expected a string"},
        {"{\"__metadata__\":{\"k\":\"v\",}}", 0, "expected a string"},
        {"{\"__metadata__\":{\"k\":\"v\" \"l\":\"w\"}}", 0, "expected '}'"},
        {"{\"__metadata__\":{\"k\":\"v\",\"k\":\"v\"}}", 0, "duplicate metadata key k"},
        {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "duplicate key __metadata__"},
        {"{\"__metadata__\":{\"writer\":\"ptrain\"}}", 0, "checksum is missing"},
        {"{\"__metadata__\":{\"checksum\":\"0\",\"writer\":\"ptrain\"}}", 0, "checksum is missing"},
        {"{\"__metadata__\":{\"k\":\"\\x\"}}", 0, "unknown escape"},
        {"{\"__metadata__\":{\"k\":\"\\u12g4\"}}", 0, "four hexadecimal digits"},
        {"{\"__metadata__\":{\"k\":\"\\u0000\"}}", 0, "NUL in a string"},
        {"{\"__metadata__\":{\"k\":\"\\ud800\"}}", 0, "surrogate"},
        {"{\"__metadata__\":{\"k\":\"\\udc00\\ud800\"}}", 0, "surrogate"},
        {"{\"__metadata__\":{\"k\":\"\\ud800\\u0041\"}}", 0, "surrogate"},
        {"{\"__metadata__\":{\"k\":\"a\nb\"}}", 0, "control character"},
        {"{\"__metadata__\":{\"k\":\"\xFF\"}}", 0, "byte 30: not UTF-8"},
        {"{\"__metadata__\":{\"k\":\"\xC0\x80\"}}", 0, "not UTF-8"},
        {"{\"__metadata__\":{\"k\":\"\xED\xA0\x80\"}}", 0, "not UTF-8"},
        {"{\"__metadata__\":{\"k\":\"\xF4\x90\x80\x80\"}}", 0, "not UTF-8"},
        {"{\"__metadata__\":{\"k\":\"\xE2\x82\"}}", 0, "not UTF-8"},
        {"{\"\xC3(\":{}}", 0, "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pt_error err = {0};
        pt_safetensors *file = NULL;
        pt_status status =
            parse_header(bad[i].header, strlen(bad[i].header), bad[i].data_size, &file, &err);
        CHECK_MSG(status == PT_ERR_DATA && !file && strstr(err.message, bad[i].reason) &&
                      strncmp(err.message, "file: byte ", 11) == 0,
                  "%s\n  gives \"%s\"\n  lacks \"%s\"", bad[i].header, err.message, bad[i].reason);
    }
    pt_error err;
    pt_safetensors *file = NULL;
    static const char nul[] = "{\"a\0b\":{}}", after[] = "{}\0";
    CHECK(parse_header(nul, sizeof nul - 1, 0, &file, &err) == PT_ERR_DATA);
    CHECK_CONTAINS(err.message, "byte 11: control character");
    CHECK(parse_header(after, sizeof after - 1, 0, &file, &err) == PT_ERR_DATA);
    CHECK_CONTAINS(err.message, "byte 10: something follows");
    /* A name that would break the message's line, or fill it. */
    static const char spoof[] =
        "{" T("\\n\\u001b[2J0123456789012345678901234567890123456789", "4", "8", "[1]") "}";
    CHECK(parse_header(spoof, sizeof spoof - 1, 8, &file, &err) == PT_ERR_DATA);
    CHECK_CONTAINS(err.message, "tensor ??[2J01234567890123456789012345678901234...");
}

TEST(safetensors, hostile_lengths_are_refused) {
    static const struct {
        unsigned char bytes[12];
        size_t size;
        const char *reason;
    } bad[] = {
        {{0}, 0, "byte 0: the file ends before"},
        {{2, 0, 0}, 3, "byte 3: the file ends before"},
        {{2}, 8, "byte 0: a header of 2 bytes in a file of 8 bytes"},
        {{3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, 10, "byte 0: a header of 3 bytes"},
        {{255, 255, 255, 255, 255, 255, 255, 255, '{', '}'}, 10, "18446744073709551615 bytes"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pt_error err;
        pt_safetensors *file = NULL;
        const char *path = pt_path_in(pt_temp_folder(), "bad");
        pt_write_file(path, bad[i].bytes, bad[i].size);
        CHECK(pt_safetensors_read(path, &file, &err) == PT_ERR_DATA);
        CHECK(strncmp(err.message, path, strlen(path)) == 0);
        CHECK_CONTAINS(err.message, bad[i].reason);
    }
}

/* Peak of the resident memory in KiB, which these tests raise only by what they read. */
static long peak(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

TEST(safetensors, more_than_100_MB_of_header_are_refused_unread) {
    /* A sparse file whose header fits it, at 100 MB and one byte. */
    const char *path = pt_path_in(pt_temp_folder(), "huge");
    FILE *stream = fopen(path, "wb");
    REQUIRE(stream);
    static const unsigned char length[8] = {0x01, 0xE1, 0xF5, 0x05};
    fwrite(length, 1, sizeof length, stream);
    fseek(stream, 8 + 100000001 - 1, SEEK_SET);
    fputc('}', stream);
    fclose(stream);
    pt_error err;
    pt_safetensors *file = NULL;
    long before = peak();
    CHECK(pt_safetensors_read(path, &file, &err) == PT_ERR_DATA);
    CHECK_CONTAINS(err.message, "a header of 100000001 bytes, at most 100000000 are read");
    CHECK_MSG(peak() - before < 1024, "took %ld KiB", peak() - before);
}

/* `start`, then `piece` as often as it goes, `end`, and spaces. */
static char *repeated(const char *start, const char *piece, const char *end, size_t size) {
    char *text = malloc(size);
    REQUIRE(text);
    memset(text, ' ', size);
    size_t used = strlen(start), length = strlen(piece);
    memcpy(text, start, used);
    for (; used + length + strlen(end) <= size; used += length)
        memcpy(text + used, piece, length);
    memcpy(text + used, end, strlen(end));
    return text;
}

TEST(safetensors, hostile_headers_take_little_memory_and_no_stack) {
    enum { SIZE = 4000000 };
    static const struct {
        const char *start, *piece, *end, *reason;
    } cases[] = {
        {"", "[", "", "byte 8: the header does not start with '{'"}, /* 4 million levels deep */
        {"{\"a\":", "[", "", "byte 13: expected '{'"},
        {"{\"a\":", "{\"a\":", "", "byte 14: a tensor has the keys"},
        {"{\"a\":{\"shape\":[", "[", "", "expected a whole number"},
        {"{\"a\":[{}", ",{}", "]}", "byte 13: expected '{'"}, /* costs a tree 78 times its text */
        /* The densest metadata and the densest tensors, well-formed to the end. */
        {"{\"__metadata__\":{\"\":\"\"", ",\"\":\"\"", "}}", "duplicate metadata key"},
        {"{" T("", "0", "0", "[]"), "," T("", "0", "0", "[0]"), "}", "the shape wants 4 bytes"},
        {"{" T("", "0", "0", "[0]"), "," T("", "0", "0", "[0]"), "}", "two tensors are named"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *header = repeated(cases[i].start, cases[i].piece, cases[i].end, SIZE);
        pt_error err = {0};
        pt_safetensors *file = NULL;
        pt_memory_fail_at(0, 0);
        long before = peak();
        CHECK(parse_header(header, SIZE, 0, &file, &err) == PT_ERR_DATA);
        CHECK_CONTAINS(err.message, cases[i].reason);
        CHECK(pt_memory_count() <= 5);
        long most = (2 + 6) * (SIZE / 1024) + 1024; /* the test's copies, and ours */
        if (!pt_test_quick())                       /* sanitizers take memory of their own */
            CHECK_MSG(peak() - before < most, "case %zu took %ld KiB", i, peak() - before);
        free(header);
    }
}

TEST(safetensors, what_cannot_be_read) {
    pt_error err;
    pt_safetensors *file = NULL;
    const char *folder = pt_temp_folder();
    CHECK(pt_safetensors_read(pt_path_in(folder, "none"), &file, &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "/none: cannot read: No such file or directory");
    CHECK(pt_safetensors_read(folder, &file, &err) == PT_ERR_IO);
    CHECK_CONTAINS(err.message, "not a regular file");
    CHECK(pt_safetensors_read("/dev/zero", &file, &err) == PT_ERR_IO);
    const char *pipe = pt_path_in(folder, "pipe");
    REQUIRE(mkfifo(pipe, 0600) == 0);
    CHECK(pt_safetensors_read(pipe, &file, &err) == PT_ERR_IO);
    CHECK(pt_safetensors_read(pipe, &file, NULL) == PT_ERR_IO);
}

TEST(safetensors, the_writer_refuses_nonsense) {
    const char *path = pt_path_in(pt_temp_folder(), "refused");
    float one = 1;
    static const struct {
        pt_tensor tensors[2];
        size_t count;
        pt_metadata metadata[2];
        size_t metadata_count;
        const char *reason;
    } bad[] = {
        {{{.name = NAME("a")}, {.name = NAME("a")}}, 2, {{0}}, 0, "two tensors are named a"},
        {{{.name = NAME("__metadata__")}}, 1, {{0}}, 0, "cannot be named __metadata__"},
        {{{.name = NAME("\xFF")}}, 1, {{0}}, 0, "not UTF-8"},
        {{{.name = NAME("a"), .rank = 9}}, 1, {{0}}, 0, "9 dimensions"},
        {{{.name = NAME("a"), .rank = 2, .shape = {SIZE_MAX, 2}}}, 1, {{0}}, 0, "overflows"},
        {{{.name = NAME("a"), .rank = 1, .shape = {4}, .stride = 3}}, 1, {{0}}, 0, "stride"},
        {{{0}}, 0, {{"k", "v"}, {"k", "w"}}, 2, "metadata key k is given twice"},
        {{{0}}, 0, {{"checksum", ""}}, 1, "reserved"},
        {{{0}}, 0, {{"writer", "me"}}, 1, "reserved"},
        {{{0}}, 0, {{"k", "\xC3"}}, 1, "entry k is not UTF-8"},
        {{{0}}, 0, {{"\xC3", ""}}, 1, "key is not UTF-8"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pt_tensor tensors[2] = {bad[i].tensors[0], bad[i].tensors[1]};
        tensors[0].data = tensors[1].data = &one;
        pt_error err;
        CHECK(pt_safetensors_write(path, tensors, bad[i].count, bad[i].metadata,
                                   bad[i].metadata_count, NULL, &err) == PT_ERR_USAGE);
        CHECK_CONTAINS(err.message, bad[i].reason);
        CHECK(!pt_file_exists(path));
    }
}

TEST(safetensors, every_failing_allocation_is_told) {
    char sha256[65], seen[65];
    const char *path = write_sample(sha256);
    pt_error err;
    pt_safetensors *file = NULL;
    for (int reading = 0; reading < 2; reading++) {
        pt_status status = PT_ERR_MEMORY;
        long n = 0;
        while (status == PT_ERR_MEMORY && n < 10000) {
            pt_memory_fail_at(++n, 0);
            status = reading ? pt_safetensors_read(path, &file, &err)
                             : pt_safetensors_write(path, TENSORS, TENSOR_COUNT, METADATA,
                                                    METADATA_COUNT, NULL, &err);
            pt_memory_fail_at(0, 0);
            CHECK(status == PT_OK || (status == PT_ERR_MEMORY && !file));
            REQUIRE_OK(pt_sha256_file(path, seen, &err), err);
            CHECK_STR(seen, sha256); /* the old file is whole */
        }
        CHECK_INT(status, PT_OK);
        CHECK_MSG(n > (reading ? 5 : 8), "only %ld allocations", n);
        pt_safetensors_free(file);
        file = NULL;
    }
}

TEST(safetensors, every_failing_write_keeps_the_old_file) {
    char sha256[65], seen[65];
    const char *path = write_sample(sha256);
    static const pt_tensor other = {.name = NAME("x"), .rank = 0, .data = SCALAR};
    static const int faults[] = {ENOSPC, EIO};
    for (size_t f = 0; f < 2; f++)
        for (int sticky = 0; sticky < 2; sticky++) {
            pt_error err;
            /* create, write, fsync, close, rename: a failure of any keeps the old file. */
            for (long n = 1; n <= 5; n++) {
                pt_io_fail_at(n, faults[f], sticky);
                CHECK(pt_safetensors_write(path, &other, 1, NULL, 0, NULL, &err) == PT_ERR_IO);
                pt_io_fail_at(0, 0, false);
                CHECK_CONTAINS(err.message, path);
                CHECK_CONTAINS(err.message, strerror(faults[f]));
                REQUIRE_OK(pt_sha256_file(path, seen, &err), err);
                CHECK_STR(seen, sha256);
            }
        }
}
