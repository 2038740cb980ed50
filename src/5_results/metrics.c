/* metrics.c: metrics.csv and losses.csv, appended to in whole rows. */
#include "5_results/metrics.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "5_results/atomic_file.h"
#include "5_results/io.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ROW_MAX = 160, BUFFER_SIZE = 1 << 16 };

static const char METRICS_HEAD[] = "epoch,iteration,loss,train_accuracy,test_accuracy\n";
static const char LOSSES_HEAD[] = "iteration,loss\n";

/* One of the two files. Rows gather in `buffer` and leave it whole. */
typedef struct table {
    bool losses;   /* losses.csv, else metrics.csv */
    bool any;      /* it has a row, */
    uint64_t last; /* the newest being of this iteration */
    char *path;
    int fd;
    size_t length; /* of the file: what is known to be written */
    bool torn;     /* half a row may stand behind that */
    char *buffer;
    size_t used, room;
} table;

struct pt_metrics {
    table metrics, losses;
};

static pt_status flush(table *t, pt_error *err) {
    if (t->used == 0)
        return PT_OK;
    /* Half a row must not stay before others; the rows wait in the buffer for a better time. */
    int reason = t->torn ? pt_io_truncate(t->fd, t->length) : 0;
    t->torn = reason != 0;
    if (!reason && (reason = pt_io_write(t->fd, t->buffer, t->used)))
        t->torn = pt_io_truncate(t->fd, t->length) != 0;
    if (reason) {
        return pt_fail(err, PT_ERR_IO, "%s: cannot write: %s", t->path, strerror(reason));
    }
    t->length += t->used;
    t->used = 0;
    return PT_OK;
}

/* Adds one row. On failure to write, it and all before it stay buffered, so that a run which goes
 * on leaves no gap; only a failed allocation loses the row. */
static pt_status add(table *t, const char *row, size_t size, pt_error *err) {
    pt_status status = t->used + size > t->room ? flush(t, err) : PT_OK;
    if (t->used + size > t->room) {
        char *larger = pt_realloc(t->buffer, 2 * t->room);
        if (!larger)
            return pt_fail_memory(err, t->path, 2 * t->room);
        t->buffer = larger;
        t->room *= 2;
    }
    memcpy(t->buffer + t->used, row, size);
    t->used += size;
    return status;
}

static void close_table(table *t) {
    if (t->fd >= 0)
        close(t->fd);
    pt_free(t->path);
    pt_free(t->buffer);
}

/* One decimal number up to `end_mark`; NULL when there is none. */
static const char *parse_number(const char *text, char end_mark, uint64_t *value) {
    char digits[24];
    const char *mark = strchr(text, end_mark);
    if (!mark || (size_t)(mark - text) >= sizeof digits)
        return NULL;
    memcpy(digits, text, (size_t)(mark - text));
    digits[mark - text] = '\0';
    return pt_parse_u64(digits, value) ? mark + 1 : NULL;
}

/* The iteration of a row of the file; false when the row is damaged. */
static bool row_iteration(const char *row, bool losses, uint64_t *iteration) {
    size_t commas = 0;
    for (const char *c = row; *c; c++)
        commas += *c == ',';
    uint64_t epoch;
    const char *rest = losses ? row : parse_number(row, ',', &epoch);
    return commas == (losses ? 1U : 4U) && rest && parse_number(rest, ',', iteration);
}

static pt_status damaged(const table *t, unsigned long line, const char *reason, pt_error *err) {
    return pt_fail(err, PT_ERR_DATA, "%s:%lu: %s", t->path, line, reason);
}

/* Copies the rows up to iteration `keep`. What a killed run, or a power failure, has left behind them
 * is dropped, whatever it is. */
static pt_status copy_rows(table *t, uint64_t keep, FILE *from, FILE *to, pt_error *err) {
    const char *head = t->losses ? LOSSES_HEAD : METRICS_HEAD;
    char row[ROW_MAX + 2];
    uint64_t iteration;
    unsigned long line = 1;
    if (!fgets(row, sizeof row, from) || strcmp(row, head) != 0)
        return damaged(t, line, "not the heading of this file", err);
    fputs(head, to);
    while (t->last < keep && fgets(row, sizeof row, from)) {
        line++;
        size_t length = strlen(row);
        if (length == 0 || row[length - 1] != '\n' || !row_iteration(row, t->losses, &iteration))
            return damaged(t, line, "damaged row", err);
        if (iteration > keep)
            break;
        if (t->losses ? iteration != t->last + 1 : t->any && iteration <= t->last)
            return damaged(t, line, "the iterations are out of order", err);
        t->last = iteration;
        t->any = true;
        fputs(row, to);
    }
    if (ferror(from))
        return pt_fail(err, PT_ERR_IO, "%s: cannot read: %s", t->path, strerror(errno));
    if (t->last != keep)
        return pt_fail(err, PT_ERR_DATA, "%s:%lu: ends at iteration %llu, wanted are %llu", t->path,
                       line, (unsigned long long)t->last, (unsigned long long)keep);
    return PT_OK;
}

/* Writes the file's beginning atomically and opens it for appending. */
static pt_status open_table(table *t, const char *folder, uint64_t keep, pt_error *err) {
    t->path = pt_format("%s/%s", folder, t->losses ? "losses.csv" : "metrics.csv");
    t->buffer = pt_malloc(BUFFER_SIZE);
    t->room = BUFFER_SIZE;
    if (!t->path || !t->buffer)
        return pt_fail_memory(err, "the record of the run", BUFFER_SIZE);

    FILE *old = keep > 0 ? fopen(t->path, "rbe") : NULL;
    if (keep > 0 && !old)
        return pt_fail(err, PT_ERR_IO, "%s: cannot read: %s", t->path, strerror(errno));
    pt_atomic_file *file = NULL;
    pt_status status = pt_atomic_open(t->path, &file, err);
    if (status == PT_OK && old)
        status = copy_rows(t, keep, old, pt_atomic_stream(file), err);
    else if (status == PT_OK)
        fputs(t->losses ? LOSSES_HEAD : METRICS_HEAD, pt_atomic_stream(file));
    if (old)
        fclose(old);
    if (status != PT_OK) {
        pt_atomic_abort(file);
        return status;
    }
    status = pt_atomic_commit(file, err);
    if (status != PT_OK)
        return status;
    int reason = pt_io_open_append(t->path, &t->fd);
    off_t end = reason ? -1 : lseek(t->fd, 0, SEEK_END);
    if (end < 0)
        return pt_fail(err, PT_ERR_IO, "%s: cannot write: %s", t->path,
                       strerror(reason ? reason : errno));
    t->length = (size_t)end;
    return PT_OK;
}

pt_status pt_metrics_open(const char *folder, uint64_t keep_iterations, uint64_t keep_row,
                          pt_metrics **result, pt_error *err) {
    *result = NULL;
    pt_metrics *m = pt_calloc(1, sizeof *m);
    if (!m)
        return pt_fail_memory(err, "the record of the run", sizeof *m);
    m->metrics.fd = m->losses.fd = -1;
    m->losses.losses = true;
    pt_status status = open_table(&m->metrics, folder, keep_row, err);
    if (status == PT_OK)
        status = open_table(&m->losses, folder, keep_iterations, err);
    if (status == PT_OK) {
        *result = m;
        return PT_OK;
    }
    close_table(&m->metrics);
    close_table(&m->losses);
    pt_free(m);
    return status;
}

pt_status pt_metrics_losses(pt_metrics *m, uint64_t first, const double *losses, size_t count,
                            pt_error *err) {
    pt_status status = PT_OK;
    if (first != m->losses.last + 1)
        return pt_fail(err, PT_ERR_USAGE, "%s: losses of iteration %llu do not follow %llu",
                       m->losses.path, (unsigned long long)first,
                       (unsigned long long)m->losses.last);
    for (size_t i = 0; i < count; i++) {
        char row[ROW_MAX], text[32];
        int size = snprintf(row, sizeof row, "%llu,%s\n", (unsigned long long)(first + i),
                            pt_print_double(losses[i], text));
        pt_status added = add(&m->losses, row, (size_t)size, status == PT_OK ? err : NULL);
        if (status == PT_OK)
            status = added;
        if (added == PT_ERR_MEMORY)
            break;
        m->losses.last = first + i;
    }
    return status;
}

pt_status pt_metrics_epoch(pt_metrics *m, const pt_metrics_row *row, pt_error *err) {
    if (m->metrics.any && row->iteration <= m->metrics.last)
        return pt_fail(err, PT_ERR_USAGE, "%s: a row of iteration %llu does not follow %llu",
                       m->metrics.path, (unsigned long long)row->iteration,
                       (unsigned long long)m->metrics.last);
    m->metrics.any = true;
    char text[ROW_MAX], loss[32], train[32], test[32];
    int size = snprintf(text, sizeof text, "%llu,%llu,%s,%s,%s\n", (unsigned long long)row->epoch,
                        (unsigned long long)row->iteration, pt_print_double(row->loss, loss),
                        row->has_train ? pt_print_double(row->train_accuracy, train) : "",
                        row->has_test ? pt_print_double(row->test_accuracy, test) : "");
    m->metrics.last = row->iteration;
    return add(&m->metrics, text, (size_t)size, err);
}

pt_status pt_metrics_flush(pt_metrics *m, pt_error *err) {
    pt_status losses = flush(&m->losses, err);
    pt_status metrics = flush(&m->metrics, losses == PT_OK ? err : NULL);
    return losses == PT_OK ? metrics : losses;
}

pt_status pt_metrics_sync(pt_metrics *m, pt_error *err) {
    const table *const both[] = {&m->losses, &m->metrics};
    for (size_t i = 0; i < 2; i++) {
        int reason = pt_io_sync(both[i]->fd);
        if (reason)
            return pt_fail(err, PT_ERR_IO, "%s: cannot save: %s", both[i]->path, strerror(reason));
    }
    return PT_OK;
}

pt_status pt_metrics_close(pt_metrics *m, pt_error *err) {
    if (!m)
        return PT_OK;
    pt_status status = pt_metrics_flush(m, err);
    if (status == PT_OK)
        status = pt_metrics_sync(m, err);
    close_table(&m->metrics);
    close_table(&m->losses);
    pt_free(m);
    return status;
}
