/* reader.c: an INI file into a config.
 *
 * inih splits the lines into key and value and cuts inline comments. It is fed line by line through
 * ini_parse_stream, for what it would get wrong in silence happens here first: lines over its
 * buffer (it would split them), section lines (it would cut long names and drop what follows the
 * bracket), lines that start with blanks (it would take them for continuations of the value
 * before), and line numbers, which its handler is not told. None of its global settings is touched,
 * so that any number of threads may read configs.
 */
#include "1_config/config.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "1_config/schema.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct reader {
    pt_config *config;
    const char *next, *end; /* the text not read yet */
    int line;               /* the number of the line just given to inih */
    bool wants_key;         /* that line must turn out to be key = value */
    const char *section;    /* NULL before the first section line; "layer" in a layer's */
    bool in_layer;          /* then the layer is the last one */
    int section_line[PT_SECTION_COUNT]; /* where each plain section is; 0: not seen */
    pt_status status;
    pt_error *err;
} reader;

static pt_place here(const reader *r) {
    return (pt_place){r->config->path, r->line};
}

static void fail_here(reader *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail_here(reader *r, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    r->status = pt_fail(r->err, PT_ERR_CONFIG, "%s:%d: %s", r->config->path, r->line, text);
}

/* [name], with nothing but a comment behind it. */
static void open_section(reader *r, char *line) {
    char *name = line + 1, *close = strchr(line, ']');
    if (!close) {
        fail_here(r, "a section line without ']'; write [section]");
        return;
    }
    *close = '\0';
    const char *rest = close + 1 + strspn(close + 1, " \t");
    if (*rest && *rest != ';' && *rest != '#') {
        fail_here(r, "'%.60s' stands behind a section name; write it on a line of its own", rest);
        return;
    }
    r->in_layer = strncmp(name, "layer.", 6) == 0;
    if (r->in_layer) {
        r->section = "layer";
        r->status = pt_config_add_layer(r->config, name + 6, here(r), r->err);
        return;
    }
    size_t i = 0;
    while (i < PT_SECTION_COUNT && strcmp(pt_sections[i].name, name) != 0)
        i++;
    if (i == PT_SECTION_COUNT || strcmp(name, "layer") == 0) {
        r->status = pt_unknown_section(name, here(r), r->err);
    } else if (r->section_line[i]) {
        fail_here(r, "[%s] is already on line %d; write its keys there", name, r->section_line[i]);
    } else {
        r->section = pt_sections[i].name;
        r->section_line[i] = r->line;
    }
}

/* Copies the next line, checked, without its end and the blanks before it. False at the end of the
 * text or after an error. */
static bool take_line(reader *r, char line[PT_CONFIG_LINE_MAX + 1]) {
    if (r->status || r->next == r->end)
        return false;
    const char *start = r->next;
    const char *newline = memchr(start, '\n', (size_t)(r->end - start));
    size_t size = (size_t)((newline ? newline : r->end) - start);
    r->next = newline ? newline + 1 : r->end;
    r->line++;
    if (size && start[size - 1] == '\r')
        size--;
    size_t at;
    if (!pt_is_text(start, size, &at)) {
        fail_here(r, "byte %zu (0x%02x) is no text; write UTF-8 without control characters", at + 1,
                  (unsigned)(unsigned char)start[at]);
        return false;
    }
    if (size > PT_CONFIG_LINE_MAX) {
        fail_here(r, "a line of %zu bytes is too long; write at most %d", size, PT_CONFIG_LINE_MAX);
        return false;
    }
    while (size && (*start == ' ' || *start == '\t')) {
        start++;
        size--;
    }
    memcpy(line, start, size);
    line[size] = '\0';
    return true;
}

static void check_key_came(reader *r) {
    if (r->wants_key && !r->status)
        fail_here(r, "there is no '=' on this line; write key = value, or ; before a comment");
    r->wants_key = false;
}

/* The ini_reader: gives inih the next line, or an empty one for what is done with here. */
static char *give_line(char *buffer, int size, void *stream) {
    reader *r = stream;
    char line[PT_CONFIG_LINE_MAX + 1];
    check_key_came(r);
    if (!take_line(r, line))
        return NULL;
    if (*line == '[') {
        open_section(r, line);
        *line = '\0';
    }
    bool text = *line && *line != ';' && *line != '#';
    if (text && !r->section)
        fail_here(r, "text before the first section; write a line such as [train] above it");
    else if (strlen(line) >= (size_t)size) /* an inih built with a smaller buffer */
        fail_here(r, "a line of %zu bytes is too long; write at most %d", strlen(line), size - 1);
    if (r->status)
        return NULL;
    r->wants_key = text;
    return strcpy(buffer, line);
}

/* The ini_handler. inih's section is always "": this file's sections count. */
static int take_key(void *user, const char *inih_section, const char *name, const char *value) {
    (void)inih_section;
    reader *r = user;
    r->wants_key = false;
    if (r->status)
        return 1;
    pt_config *c = r->config;
    pt_layer_config *layer = r->in_layer ? &c->layers[c->layer_count - 1] : NULL;
    r->status = pt_config_set(c, r->section, layer, name, value, here(r), r->err);
    return 1;
}

pt_status pt_config_read_text(pt_config *config, const char *text, size_t size, pt_error *err) {
    _Static_assert(PT_CONFIG_FILE_MAX < 1 << 30, "line numbers and sizes fit an int");
    if (size > PT_CONFIG_FILE_MAX)
        return pt_fail(err, PT_ERR_CONFIG, "%s: larger than %d bytes: this is no config file",
                       config->path, PT_CONFIG_FILE_MAX);
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) { /* a UTF-8 byte order mark */
        text += 3;
        size -= 3;
    }
    reader r = {.config = config, .next = text, .end = text + size, .err = err};
    int result = ini_parse_stream(give_line, &r, take_key, &r);
    check_key_came(&r);
    if (!r.status && result < 0)
        return pt_fail_memory(err, "reading lines", PT_CONFIG_LINE_MAX);
    return r.status;
}

/* ---- the public functions ---- */

/* What only makes sense once every key is there. */
static pt_status finish(pt_config *c, pt_error *err) {
    for (size_t i = 0; i < c->layer_count; i++)
        if (c->layers[i].type[0] == '\0') {
            char prefix[512];
            return pt_fail(
                err, PT_ERR_CONFIG, "%s[layer.%s] has no type; write one, as type = affine",
                pt_place_text(c->layers[i].place, prefix, sizeof prefix), c->layers[i].name);
        }
    c->loss.type_place = pt_config_place(c, "loss", "type");
    c->loss.input_place = pt_config_place(c, "loss", "input");
    c->optimizer.type_place = pt_config_place(c, "optimizer", "type");
    return PT_OK;
}

/* runs/NAME for .../NAME.ini; whatever could not be written back becomes '_'. */
static pt_status name_folder(pt_config *c, pt_error *err) {
    enum { NAME_BYTES = 120 };
    if (c->output.dir[0])
        return PT_OK;
    const char *slash = strrchr(c->path, '/');
    const char *name = slash ? slash + 1 : c->path;
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".ini") == 0)
        length -= 4;
    if (length > NAME_BYTES)
        length = NAME_BYTES;
    if (strspn(name, ".") >= length) { /* "", "." and ".." name no folder of their own */
        name = "run";
        length = 3;
    }
    char *dir = pt_format("runs/%.*s", (int)length, name);
    if (!dir)
        return pt_fail_memory(err, "output.dir", length);
    size_t at;
    while (!pt_is_text(dir, strlen(dir), &at))
        dir[at] = '_';
    for (char *byte = dir; *byte; byte++)
        if (*byte == ';' || *byte == ' ' || *byte == '\t')
            *byte = '_';
    pt_free(c->output.dir);
    c->output.dir = dir;
    return PT_OK;
}

static pt_status make(const char *text, size_t size, const char *name, const char *const *overrides,
                      size_t count, pt_config **config, pt_error *err) {
    pt_config *c = NULL;
    *config = NULL;
    pt_status status = pt_config_new(name, &c, err);
    if (!status)
        status = pt_config_read_text(c, text, size, err);
    for (size_t i = 0; i < count && !status; i++)
        status = pt_config_override(c, overrides[i], err);
    if (!status)
        status = finish(c, err);
    if (!status)
        status = name_folder(c, err);
    if (status) {
        pt_config_free(c);
        return status;
    }
    *config = c;
    return PT_OK;
}

pt_status pt_config_parse(const char *text, const char *name, const char *const *overrides,
                          size_t count, pt_config **config, pt_error *err) {
    return make(text, strlen(text), name, overrides, count, config, err);
}

/* Reads at most one byte more than a config may have; *size starts at 0. */
static pt_status read_all(int file, const char *path, char *text, size_t *size, pt_error *err) {
    while (*size <= PT_CONFIG_FILE_MAX) {
        ssize_t got = read(file, text + *size, (size_t)PT_CONFIG_FILE_MAX + 1 - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EISDIR)
            return pt_fail(err, PT_ERR_IO, "%s: this is a folder; name a config file in it", path);
        if (got < 0)
            return pt_fail(err, PT_ERR_IO, "%s: cannot be read: %s", path, strerror(errno));
        if (got == 0)
            break;
        *size += (size_t)got;
    }
    return PT_OK;
}

pt_status pt_config_load(const char *path, const char *const *overrides, size_t count,
                         pt_config **config, pt_error *err) {
    *config = NULL;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return pt_fail(err, PT_ERR_IO, "%s: cannot be opened: %s", path, strerror(errno));
    size_t size = 0;
    char *text = pt_malloc((size_t)PT_CONFIG_FILE_MAX + 1);
    pt_status status;
    if (!text)
        status = pt_fail_memory(err, path, (size_t)PT_CONFIG_FILE_MAX + 1);
    else
        status = read_all(file, path, text, &size, err);
    close(file);
    if (!status)
        status = make(text, size, path, overrides, count, config, err);
    pt_free(text);
    return status;
}
