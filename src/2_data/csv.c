/* csv.c: a table of numbers as a dataset.
 *
 * Cells by RFC 4180 through libcsv in strict mode: commas, optional double quotes (that end on
 * their line), blanks around a cell ignored, blank lines skipped, any kind of line end. Every cell
 * but those of the header line is a finite number. libcsv knows no lines, so the text is handed to
 * it line by line and counted here.
 */
#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "2_data/dataset.h"

#include <csv.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is known while one file is read. */
typedef struct reader {
    const char *path;
    pt_csv_target target;
    size_t target_columns; /* 0 for a label */
    size_t limit;          /* keep at most this many rows, check them all; 0: keep all */
    size_t classes;        /* labels must be below; 0: anything goes */
    bool classes_inferred; /* from the training file, not from the config */
    bool in_header;        /* the header line is still to come */

    size_t line;    /* of the line being read, from 1 */
    size_t width;   /* cells of a row, 0 until the first row ended */
    size_t cell;    /* of the cell to come, from 0 */
    bool row_ended; /* on this line */
    size_t rows;    /* read so far, the header not counted */

    double *row; /* the cells of the row being read: row_room of them */
    size_t row_room;
    char **names; /* from the header line: name_count of them, name_room places */
    size_t name_count, name_room;
    float *features;   /* kept rows x feature columns */
    float *targets;    /* kept rows x target_columns */
    int32_t *labels;   /* kept rows */
    size_t kept, room; /* rows in these three */
    int32_t largest;   /* label of all rows */

    pt_status status; /* once it is not PT_OK the callbacks do nothing more */
    pt_error *err;
} reader;

enum { SHOWN_CELL = 40 };

/* A cell for a message: short, and without control characters. */
static const char *show(const char *cell, char shown[SHOWN_CELL + 4]) {
    size_t n = 0;
    for (; n < SHOWN_CELL && cell[n]; n++)
        shown[n] = (unsigned char)cell[n] < ' ' || cell[n] == 0x7f ? '?' : cell[n];
    snprintf(shown + n, 4, "%s", cell[n] ? "..." : "");
    return shown;
}

/* "column 3 (name)" */
static const char *column_name(const reader *in, size_t column, char *text, size_t size) {
    char shown[SHOWN_CELL + 4];
    if (column < in->name_count && *in->names[column])
        snprintf(text, size, "column %zu (%s)", column + 1, show(in->names[column], shown));
    else
        snprintf(text, size, "column %zu", column + 1);
    return text;
}

static void fail_cell(reader *in, size_t column, const char *what) {
    char name[SHOWN_CELL + 48];
    in->status = pt_fail(in->err, PT_ERR_DATA, "%s:%zu: %s %s", in->path, in->line,
                         column_name(in, column, name, sizeof name), what);
}

/* Grows *block to hold `needed` elements, doubling. */
static bool grow(reader *in, void **block, size_t *room, size_t needed, size_t bytes_each) {
    if (needed <= *room)
        return true;
    size_t new_room = *room < 16 ? 16 : *room, bytes = 0;
    bool overflow = false;
    while (new_room < needed && !overflow)
        overflow = __builtin_mul_overflow(new_room, 2, &new_room);
    void *grown = overflow || __builtin_mul_overflow(new_room, bytes_each, &bytes)
                      ? NULL
                      : pt_realloc(*block, bytes);
    if (!grown) {
        in->status = pt_fail_memory(in->err, in->path, bytes);
        return false;
    }
    *block = grown;
    *room = new_room;
    return true;
}

static void header_cell(reader *in, const char *text) {
    void *names = in->names;
    if (!grow(in, &names, &in->name_room, in->cell + 1, sizeof *in->names))
        return;
    in->names = names;
    in->names[in->cell] = pt_strdup(text);
    if (!in->names[in->cell]) {
        in->status = pt_fail_memory(in->err, in->path, strlen(text) + 1);
        return;
    }
    in->name_count = ++in->cell;
}

static void number_cell(reader *in, const char *text) {
    char shown[SHOWN_CELL + 4], what[SHOWN_CELL + 128];
    if (!*text) {
        fail_cell(in, in->cell, "is empty; every cell must be a number");
        return;
    }
    double value;
    if (!pt_parse_double(text, &value) || !isfinite((float)value)) {
        const bool first = in->rows == 0 && in->name_count == 0;
        const char *advice = first && in->cell == 0 && strpbrk(text, ";\t")
                                 ? "; cells are separated by commas"
                             : first && !strchr("+-.0123456789", *text)
                                 ? "; if this line names the columns, set [data] header = true"
                                 : "";
        snprintf(what, sizeof what, "is \"%s\", not a finite number%s", show(text, shown), advice);
        fail_cell(in, in->cell, what);
        return;
    }
    void *row = in->row;
    if (!grow(in, &row, &in->row_room, in->cell + 1, sizeof *in->row))
        return;
    in->row = row;
    in->row[in->cell++] = value;
}

/* libcsv's call for a cell: NUL-terminated by CSV_APPEND_NULL. */
static void on_cell(void *text, size_t size, void *context) {
    (void)size;
    reader *in = context;
    if (in->status != PT_OK)
        return;
    if (in->in_header)
        header_cell(in, text);
    else
        number_cell(in, text);
}

static void take_label(reader *in, double value, bool keep) {
    char number[32], what[160];
    const size_t column = in->width - 1;
    if (value != floor(value) || value < 0 || value >= PT_MAX_CLASSES) {
        snprintf(what, sizeof what,
                 "is %s; the last column must be a class, a whole number from 0 to %d "
                 "(or set [data] target = values)",
                 pt_print_double(value, number), PT_MAX_CLASSES - 1);
        fail_cell(in, column, what);
        return;
    }
    const int32_t label = (int32_t)value;
    if (in->classes && (size_t)label >= in->classes) {
        if (in->classes_inferred)
            snprintf(what, sizeof what,
                     "is class %d, larger than every training label (%zu); set [data] classes if "
                     "that is right",
                     label, in->classes - 1);
        else
            snprintf(what, sizeof what, "is class %d, not one of 0..%zu ([data] classes = %zu)",
                     label, in->classes - 1, in->classes);
        fail_cell(in, column, what);
        return;
    }
    in->largest = label > in->largest ? label : in->largest;
    if (keep)
        in->labels[in->kept] = label;
}

/* Makes room for one more row in whichever of the arrays there are. */
static bool grow_rows(reader *in, size_t columns) {
    void *features = in->features, *targets = in->targets, *labels = in->labels;
    size_t room[3] = {in->room, in->room, in->room};
    const size_t needed = in->kept + 1;
    bool ok = grow(in, &features, &room[0], needed, columns * sizeof(float));
    in->features = features;
    if (ok && in->target == PT_CSV_VALUES) {
        ok = grow(in, &targets, &room[1], needed, in->target_columns * sizeof(float));
        in->targets = targets;
    } else if (ok) {
        ok = grow(in, &labels, &room[1], needed, sizeof *in->labels);
        in->labels = labels;
    }
    if (ok)
        in->room = room[0];
    return ok;
}

static void end_of_row(reader *in) {
    const size_t target_width = in->target == PT_CSV_VALUES ? in->target_columns : 1;
    if (in->width == 0) {
        in->width = in->cell;
        if (in->width <= target_width) {
            in->status = pt_fail(
                in->err, PT_ERR_DATA, "%s:%zu: %zu column%s and a target of %zu leave no feature",
                in->path, in->line, in->width, in->width == 1 ? "" : "s", target_width);
            return;
        }
    }
    if (in->cell != in->width) {
        in->status = pt_fail(in->err, PT_ERR_DATA, "%s:%zu: %zu cell%s where the %s has %zu",
                             in->path, in->line, in->cell, in->cell == 1 ? "" : "s",
                             in->name_count ? "header line" : "first row", in->width);
        return;
    }
    if (in->in_header) {
        in->in_header = false;
        return;
    }
    const size_t columns = in->width - target_width;
    const bool keep = in->limit == 0 || in->kept < in->limit;
    if (keep && !grow_rows(in, columns))
        return;
    if (in->target == PT_CSV_LABEL)
        take_label(in, in->row[columns], keep);
    if (in->status != PT_OK)
        return;
    in->rows++;
    if (!keep)
        return;
    for (size_t c = 0; c < columns; c++)
        in->features[in->kept * columns + c] = (float)in->row[c];
    for (size_t c = 0; c < in->target_columns; c++)
        in->targets[in->kept * in->target_columns + c] = (float)in->row[columns + c];
    in->kept++;
}

/* libcsv's call for the end of a row. */
static void on_row(int terminator, void *context) {
    (void)terminator;
    reader *in = context;
    if (in->status == PT_OK)
        end_of_row(in);
    in->cell = 0;
    in->row_ended = true;
}

/* The length of the line at the start of `text`, its end (\n, \r\n or \r) included. */
static size_t line_length(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n')
            return i + 1;
        if (text[i] == '\r')
            return i + 1 < size && text[i + 1] == '\n' ? i + 2 : i + 1;
    }
    return size;
}

static pt_status fail_quotes(const reader *in) {
    return pt_fail(
        in->err, PT_ERR_DATA,
        "%s:%zu: broken quotes: a quoted cell starts and ends with \" on one line, and only "
        "a comma may follow it",
        in->path, in->line);
}

static pt_status fail_parser(const reader *in, struct csv_parser *parser) {
    if (csv_error(parser) == CSV_EPARSE)
        return fail_quotes(in);
    return pt_fail(in->err, PT_ERR_MEMORY, "%s:%zu: out of memory for a long cell", in->path,
                   in->line);
}

static pt_status parse_lines(reader *in, struct csv_parser *parser, const char *text, size_t size) {
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) { /* a byte order mark */
        text += 3;
        size -= 3;
    }
    for (size_t at = 0, length = 0; at < size && in->status == PT_OK; at += length) {
        length = line_length(text + at, size - at);
        in->line++;
        in->row_ended = false;
        if (memchr(text + at, '\0', length))
            return pt_fail(in->err, PT_ERR_DATA,
                           "%s:%zu: holds a NUL byte, so this is no CSV text (compressed: "
                           "unpack it; UTF-16: save it as UTF-8)",
                           in->path, in->line);
        const size_t eaten = csv_parse(parser, text + at, length, on_cell, on_row, in);
        if (in->status != PT_OK)
            return in->status;
        if (eaten != length)
            return fail_parser(in, parser);
        if (!in->row_ended && at + length < size && memchr(text + at, '"', length))
            return fail_quotes(in); /* a quoted cell would run on into the next line */
    }
    /* The last line may lack its end. */
    if (in->status == PT_OK && csv_fini(parser, on_cell, on_row, in) != 0)
        return fail_parser(in, parser);
    return in->status;
}

static pt_status read_file(reader *in, const char *key) {
    struct pt_backing map;
    pt_status status = pt_map_file(in->path, key, &map, in->err);
    if (status != PT_OK)
        return status;
    struct csv_parser parser;
    csv_init(&parser, CSV_STRICT | CSV_STRICT_FINI | CSV_APPEND_NULL);
    csv_set_realloc_func(&parser, pt_realloc);
    csv_set_free_func(&parser, pt_free);
    status = parse_lines(in, &parser, map.block, map.mapped_bytes);
    csv_free(&parser);
    if (status == PT_OK && in->rows == 0)
        status = pt_fail(in->err, PT_ERR_DATA, "%s:%zu: no rows of numbers%s", in->path,
                         in->line ? in->line : 1, in->name_count ? " after the header line" : "");
    pt_backing_free(&map);
    return status;
}

static void reader_free(reader *in) {
    pt_free(in->row);
    for (size_t n = 0; n < in->name_count; n++)
        pt_free(in->names[n]);
    pt_free(in->names);
    pt_free(in->features);
    pt_free(in->targets);
    pt_free(in->labels);
}

/* Reads one file into a split; the training split decides the width and, where the config does not,
 * the classes. */
static pt_status load_split(const pt_config *config, const char *path, const char *key,
                            pt_dataset *dataset, pt_split *split, struct pt_backing *backing,
                            pt_error *err) {
    const bool values = config->data.target == PT_CSV_VALUES;
    reader in = {.path = path,
                 .target = config->data.target,
                 .target_columns = values ? config->data.target_columns : 0,
                 .limit = config->data.limit,
                 .classes = config->data.classes ? config->data.classes : dataset->classes,
                 .classes_inferred = config->data.classes == 0,
                 .in_header = config->data.header,
                 .err = err};
    pt_status status = read_file(&in, key);
    const size_t columns = in.width - (values ? in.target_columns : 1);
    if (status == PT_OK && dataset->columns && columns != dataset->columns)
        status = pt_fail(err, PT_ERR_DATA, "%s:1: %zu feature columns where %s has %zu", path,
                         columns, config->data.train_file, dataset->columns);
    if (status == PT_OK) {
        dataset->columns = columns;
        if (!values && dataset->classes == 0)
            dataset->classes = in.classes ? in.classes : (size_t)in.largest + 1;
        *split = (pt_split){
            .rows = in.kept, .features = in.features, .labels = in.labels, .targets = in.targets};
        *backing = (struct pt_backing){.block = in.features};
        in.features = NULL;
        in.labels = NULL;
        in.targets = NULL;
    }
    reader_free(&in);
    return status;
}

pt_status pt_dataset_load_csv(const pt_config *config, pt_dataset *dataset, pt_error *err) {
    const char *train = config->data.train_file, *test = config->data.test_file;
    const char *config_name = config->path ? config->path : "config";
    if (!train || !*train)
        return pt_fail(err, PT_ERR_CONFIG,
                       "%s: [data] train_file is missing: name the CSV file to train on",
                       config_name);
    if (config->data.target == PT_CSV_VALUES) {
        if (config->data.target_columns == 0)
            return pt_fail(err, PT_ERR_CONFIG,
                           "%s: [data] target = values needs target_columns of 1 or more",
                           config_name);
        dataset->target_columns = config->data.target_columns;
    }
    dataset->element = PT_ELEMENT_F32;
    dataset->scale = 1;
    pt_status status = load_split(config, train, "train_file", dataset, &dataset->train,
                                  &dataset->backing[0], err);
    if (status == PT_OK && test && *test)
        status = load_split(config, test, "test_file", dataset, &dataset->test,
                            &dataset->backing[1], err);
    dataset->dims[0] = dataset->columns;
    dataset->dim_count = 1;
    return status;
}
