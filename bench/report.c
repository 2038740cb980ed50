/* report.c: the table, the JSON, and a chart of dots written as SVG without a plotting program. */
#include "bench/report.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "0_base/text.h"
#include "5_results/atomic_file.h"
#include "5_results/json.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static bool same_group(const bench_row *a, const bench_row *b) {
    return strcmp(a->isa, b->isa) == 0 && a->threads == b->threads &&
           strcmp(a->buffers, b->buffers) == 0 && strcmp(a->family, b->family) == 0;
}

static bool is_gflops(const bench_row *row) {
    return strcmp(row->unit, "GFLOP/s") == 0;
}

void bench_print_row(const bench_row *row, const bench_row *last) {
    const bool gflops = is_gflops(row);
    const int width = gflops ? 20 : 30;
    if (!last || !same_group(row, last)) {
        printf("\n%s, %s, %zu thread%s, %s buffers: %s and share of %s\n%-*s %7s", row->family,
               row->isa, row->threads, row->threads == 1 ? "" : "s", row->buffers, row->unit,
               gflops ? "the FMA peak" : "a plain load/store loop; largest error in ulp", width,
               gflops ? "shape" : "kernel", gflops ? "peak" : "plain");
        for (size_t i = 0; i < row->cells; i++)
            printf(gflops ? " %13s" : " %21s", row->cell[i].name);
        printf("%s\n", row->cells > 1 ? "  ours/best" : "");
    }
    printf("%-*s %7.1f", width, row->shape, row->peak);
    for (size_t i = 0; i < row->cells; i++) {
        const bench_cell *cell = &row->cell[i];
        if (cell->value > 0)
            printf(" %7.1f %4.0f%%", cell->value, 100 * cell->share);
        else
            printf(" %13s", "-");
        if (!gflops && cell->error > 0)
            printf(" %7.3g", cell->error);
        else if (!gflops)
            printf(" %7s", "");
    }
    if (row->ratio > 0)
        printf(" %10.2f", row->ratio);
    printf("\n");
    fflush(stdout);
}

void bench_print_summary(const bench_row *row, size_t count) {
    for (size_t i = 0; i < count; i++) {
        bool first = row[i].ratio > 0;
        for (size_t j = 0; j < i && first; j++)
            first = !same_group(&row[i], &row[j]);
        if (!first)
            continue;
        double sum = 0;
        size_t rows = 0, below = 0;
        for (size_t j = i; j < count; j++) {
            if (!same_group(&row[i], &row[j]) || row[j].ratio <= 0)
                continue;
            sum += log(row[j].ratio);
            rows++;
            below += row[j].ratio < 1;
        }
        printf("\n%s, %s, %zu thread%s, %s: geometric mean of ours over the best peer %.2f; %zu of "
               "%zu rows below 1\n",
               row[i].family, row[i].isa, row[i].threads, row[i].threads == 1 ? "" : "s",
               row[i].buffers, exp(sum / (double)rows), below, rows);
        for (size_t j = i; j < count; j++)
            if (same_group(&row[i], &row[j]) && row[j].ratio > 0 && row[j].ratio < 1)
                printf("  %-20s %.2f\n", row[j].shape, row[j].ratio);
    }
}

static void write_json(pt_string *out, const char *cpu, const bench_row *row, size_t count) {
    pt_string_add(out, "{\n  \"cpu\": ");
    pt_json_quote(out, pt_utf8_valid(cpu, strlen(cpu)) ? cpu : "unknown");
    pt_string_add(out, ",\n  \"rows\": [");
    for (size_t i = 0; i < count; i++) {
        const bench_row *r = &row[i];
        pt_string_add(out,
                      "%s\n    {\"family\": \"%s\", \"shape\": \"%s\", \"isa\": \"%s\", "
                      "\"threads\": %zu, \"buffers\": \"%s\", \"unit\": \"%s\", \"peak\": ",
                      i ? "," : "", r->family, r->shape, r->isa, r->threads, r->buffers, r->unit);
        pt_json_number(out, r->peak);
        for (size_t c = 0; c < r->cells; c++) {
            pt_string_add(out, "%s{\"name\": \"%s\", \"value\": ", c ? ", " : ", \"results\": [",
                          r->cell[c].name);
            pt_json_number(out, r->cell[c].value);
            pt_string_add(out, ", \"share\": ");
            pt_json_number(out, r->cell[c].share);
            pt_string_add(out, ", \"ulp\": ");
            pt_json_number(out, r->cell[c].error > 0 ? r->cell[c].error : (double)NAN);
            pt_string_add(out, "}");
        }
        pt_string_add(out, "], \"ours_over_best_peer\": ");
        pt_json_number(out, r->ratio > 0 ? r->ratio : (double)NAN);
        pt_string_add(out, "}");
    }
    pt_string_add(out, "\n  ]\n}\n");
}

/* ---- the chart: a panel for each group, a line for each shape, a dot for each library ---- */

enum { LABELS = 205, PANEL = 230, GAP = 20, LINE = 15, ACROSS = 4, MAX_GROUPS = 128 };

static const char *const colour[BENCH_CELLS] = {"#c0392b", "#2471a3", "#1e8449", "#b7950b",
                                                "#7d3c98", "#566573", "#a04000", "#000000"};

static void write_panel(pt_string *out, const bench_row *row, size_t count, const bench_row *group,
                        int left, int top) {
    int line = 0;
    pt_string_add(out, "<text x='%d' y='%d' font-weight='bold'>%s, %zu thread%s, %s</text>\n", left,
                  top - 10, group->isa, group->threads, group->threads == 1 ? "" : "s",
                  group->buffers);
    for (size_t i = 0; i < count; i++) {
        if (!same_group(&row[i], group))
            continue;
        const int y = top + LINE * line++ + LINE / 2;
        pt_string_add(out,
                      "<line x1='%d' x2='%d' y1='%d' y2='%d' stroke='#dddddd'/>"
                      "<text x='%d' y='%d' text-anchor='end'>%s</text>\n",
                      left, left + PANEL, y, y, left - 6, y + 4, row[i].shape);
        for (size_t c = row[i].cells; c-- > 0;) /* ours last, on top */
            if (row[i].cell[c].value > 0)
                pt_string_add(out, "<circle cx='%.1f' cy='%d' r='%s' fill='%s'/>\n",
                              left + PANEL * fmin(row[i].cell[c].share, 1.05), y, c ? "3" : "4.5",
                              colour[c]);
    }
    for (int share = 0; share <= 100; share += 25)
        pt_string_add(out,
                      "<line x1='%d' x2='%d' y1='%d' y2='%d' stroke='#bbbbbb'/>"
                      "<text x='%d' y='%d' text-anchor='middle'>%d%%</text>\n",
                      left + PANEL * share / 100, left + PANEL * share / 100, top,
                      top + LINE * line, left + PANEL * share / 100, top + LINE * line + 14, share);
}

/* A family's title and the key to its colours. */
static void write_title(pt_string *out, const bench_row *group, int top) {
    pt_string_add(out, "<text x='%d' y='%d' font-size='15'>%s: share of %s</text>\n", LABELS, top,
                  group->family, is_gflops(group) ? "the FMA peak" : "a plain load/store loop");
    for (size_t c = 0; c < group->cells; c++)
        pt_string_add(out,
                      "<circle cx='%d' cy='%d' r='4.5' fill='%s'/><text x='%d' y='%d'>%s</text>\n",
                      LABELS + (int)c * 110, top + 20, colour[c], LABELS + (int)c * 110 + 9,
                      top + 24, group->cell[c].name);
}

static void write_svg(pt_string *out, const bench_row *row, size_t count) {
    const bench_row *group[MAX_GROUPS];
    pt_string body = {0};
    size_t groups = 0;
    int lines[MAX_GROUPS] = {0}, column = 0, tallest = 0, y = 0, widest = 1;
    for (size_t i = 0; i < count; i++) {
        size_t g = 0;
        while (g < groups && !same_group(group[g], &row[i]))
            g++;
        if (g == MAX_GROUPS)
            continue;
        if (g == groups)
            group[groups++] = &row[i];
        lines[g]++;
    }
    for (size_t g = 0; g < groups; g++) {
        const bool first = g == 0 || strcmp(group[g]->family, group[g - 1]->family) != 0;
        if (first || column == ACROSS) {
            y += g ? tallest * LINE + 60 : 25;
            column = tallest = 0;
        }
        if (first) {
            write_title(&body, group[g], y);
            y += 55;
        }
        write_panel(&body, row, count, group[g], LABELS + column * (LABELS + PANEL + GAP), y);
        tallest = lines[g] > tallest ? lines[g] : tallest;
        widest = ++column > widest ? column : widest;
    }
    y += tallest * LINE + 30;
    const int width = widest * (LABELS + PANEL + GAP) + GAP, least = LABELS + BENCH_CELLS * 110;
    const int across = width > least ? width : least;
    pt_string_add(out,
                  "<svg xmlns='http://www.w3.org/2000/svg' width='%d' height='%d' "
                  "font-family='sans-serif' font-size='11'>\n"
                  "<rect width='%d' height='%d' fill='#ffffff'/>\n%s</svg>\n",
                  across, y, across, y, body.text ? body.text : "");
    out->failed = out->failed || body.failed;
    pt_string_free(&body);
}

pt_status bench_write(const char *folder, const char *cpu, const bench_row *row, size_t count,
                      pt_error *err) {
    pt_string json = {0}, svg = {0};
    char *json_path = pt_format("%s/bench.json", folder);
    char *svg_path = pt_format("%s/bench.svg", folder);
    write_json(&json, cpu, row, count);
    write_svg(&svg, row, count);
    const bool ok = json_path && svg_path && !json.failed && !svg.failed;
    pt_status status = ok ? pt_make_folder(folder, err) : pt_fail_memory(err, "the report", 0);
    if (status == PT_OK)
        status = pt_atomic_write(json_path, json.text, err);
    if (status == PT_OK)
        status = pt_atomic_write(svg_path, svg.text, err);
    pt_string_free(&json);
    pt_string_free(&svg);
    pt_free(json_path);
    pt_free(svg_path);
    return status;
}
