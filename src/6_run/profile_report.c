/* profile_report.c: from ticks to a report, and its JSON. */
#include "6_run/profile_report.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "4_train/trainer.h"
#include "5_results/atomic_file.h"
#include "5_results/json.h"
#include "6_run/machine.h"

#include <string.h>

const char *pt_phase_name(pt_phase phase) {
    static const char *const names[PT_PHASE_COUNT] = {
        [PT_PHASE_DATA] = "data",         [PT_PHASE_FORWARD] = "forward",
        [PT_PHASE_LOSS] = "loss",         [PT_PHASE_BACKWARD] = "backward",
        [PT_PHASE_GRADIENT] = "gradient", [PT_PHASE_REDUCE] = "reduction",
        [PT_PHASE_UPDATE] = "update",     [PT_PHASE_BARRIER] = "barrier"};
    return names[phase];
}

/* Operations of one row in a phase of a node. */
static double phase_flops(const pt_graph *graph, pt_phase phase, size_t index) {
    const pt_node *node = &graph->nodes[index];
    bool counted = phase == PT_PHASE_FORWARD;
    if (index == 0)
        return 0;
    if (phase == PT_PHASE_GRADIENT)
        counted = node->param_count > 0;
    pt_shape inputs[PT_MAX_INPUTS];
    for (size_t k = 0; k < node->input_count; k++) {
        inputs[k] = graph->nodes[node->input[k]].shape;
        counted =
            counted || (phase == PT_PHASE_BACKWARD && graph->nodes[node->input[k]].needs_gradient);
    }
    return counted ? node->ops->flops(node, inputs) : 0;
}

static void finish_row(pt_profile_row *row, const pt_profile_report *report) {
    const double all = report->wall_seconds * (double)report->threads;
    row->share = all > 0 ? row->seconds / all : 0;
    row->gflops = row->seconds > 0 ? row->flops / row->seconds * 1e-9 : 0;
    row->peak_share = report->fma_peak > 0 ? row->gflops * 1e9 / report->fma_peak : 0;
}

/* One row of the layer table, added to its phase; nothing where no time was booked. */
static void add_node(pt_profile_report *report, const pt_trainer *t, pt_phase phase, size_t node,
                     double ticks_per_second) {
    const size_t at = (size_t)phase * t->graph->node_count + node;
    uint64_t ticks = 0;
    for (size_t w = 0; w < t->threads; w++) {
        const uint64_t own = t->workers[w].profile.ticks[at];
        ticks += own;
        report->thread[w].seconds[phase] += (double)own / ticks_per_second;
    }
    if (ticks == 0)
        return;
    pt_profile_row row = {.phase = phase,
                          .layer = node ? t->graph->nodes[node].name : NULL,
                          .seconds = (double)ticks / ticks_per_second,
                          .flops = phase_flops(t->graph, phase, node) * (double)report->batch_size *
                                   (double)report->iterations};
    finish_row(&row, report);
    report->phase[phase].seconds += row.seconds;
    report->phase[phase].flops += row.flops;
    report->layer[report->layer_rows++] = row;
}

static void fill(pt_profile_report *report, const pt_trainer *t) {
    const double ticks_per_second = pt_ticks_per_second();
    const pt_graph *graph = t->graph;
    pt_isa isa = PT_ISA_AUTO;
    (void)pt_isa_parse(t->kernels->isa, &isa);
    pt_cpu_name(report->cpu);
    report->isa = t->kernels->isa;
    report->batch_size = t->config->train.batch_size;
    report->threads = t->threads;
    const double peak = pt_machine_fma_peak(isa, t->threads, 30e-3);
    report->fma_peak = peak / (double)t->threads;
    for (int phase = 0; phase < PT_PHASE_COUNT; phase++) {
        report->phase[phase].phase = (pt_phase)phase;
        for (size_t node = 0; node < graph->node_count; node++)
            add_node(report, t, (pt_phase)phase, node, ticks_per_second);
        finish_row(&report->phase[phase], report);
    }
    for (size_t w = 0; w < t->threads; w++) {
        double busy = 0;
        for (int phase = 0; phase < PT_PHASE_COUNT; phase++)
            busy += report->thread[w].seconds[phase];
        report->thread[w].idle = report->wall_seconds > busy ? report->wall_seconds - busy : 0;
    }
    const double flops =
        pt_graph_flops_training(graph) * (double)report->batch_size * (double)report->iterations;
    report->gflops = report->wall_seconds > 0 ? flops / report->wall_seconds * 1e-9 : 0;
    report->peak_share = peak > 0 ? report->gflops * 1e9 / peak : 0;
}

pt_status pt_profile_report_make(const pt_trainer *trainer, uint64_t iterations,
                                 double wall_seconds, pt_profile_report **report, pt_error *err) {
    const size_t rows = PT_PHASE_COUNT * trainer->graph->node_count;
    *report = NULL;
    if (!trainer->workers[0].profile.ticks)
        return pt_fail(err, PT_ERR_USAGE, "this trainer was not profiled");
    pt_profile_report *r = pt_calloc(1, sizeof *r);
    if (r) {
        r->thread = pt_calloc(trainer->threads, sizeof *r->thread);
        r->layer = pt_calloc(rows, sizeof *r->layer);
    }
    if (!r || !r->thread || !r->layer) {
        pt_profile_report_free(r);
        return pt_fail_memory(err, "the profile's report", rows * sizeof *r->layer);
    }
    r->iterations = iterations;
    r->wall_seconds = wall_seconds;
    fill(r, trainer);
    *report = r;
    return PT_OK;
}

void pt_profile_report_free(pt_profile_report *report) {
    if (!report)
        return;
    pt_free(report->thread);
    pt_free(report->layer);
    pt_free(report);
}

/* ---- JSON ---- */

static void write_row(pt_string *out, const pt_profile_row *row, bool with_layer) {
    pt_string_add(out, "\n    {\"phase\": \"%s\"", pt_phase_name(row->phase));
    if (with_layer) {
        pt_string_add(out, ", \"layer\": ");
        if (row->layer)
            pt_json_quote(out, row->layer);
        else
            pt_string_add(out, "null");
    }
    pt_json_member(out, "thread_seconds", row->seconds);
    pt_json_member(out, "share", row->share);
    if (row->flops > 0) {
        pt_json_member(out, "flops", row->flops);
        pt_json_member(out, "gflops_per_thread", row->gflops);
        pt_json_member(out, "peak_share", row->peak_share);
    }
    pt_string_add(out, "}");
}

static void write_json(pt_string *out, const pt_profile_report *r) {
    pt_string_add(out, "{\n  \"cpu\": ");
    pt_json_quote(out, pt_utf8_valid(r->cpu, strlen(r->cpu)) ? r->cpu : "unknown");
    pt_string_add(out, ",\n  \"isa\": \"%s\",\n  \"threads\": %zu,\n  \"iterations\": %llu,\n",
                  r->isa, r->threads, (unsigned long long)r->iterations);
    pt_string_add(out, "  \"batch_size\": %zu", r->batch_size);
    pt_json_member(out, "wall_seconds", r->wall_seconds);
    pt_json_member(out, "fma_peak_gflops_per_thread", r->fma_peak * 1e-9);
    pt_json_member(out, "gflops", r->gflops);
    pt_json_member(out, "peak_share", r->peak_share);
    pt_string_add(out, ",\n  \"phases\": [");
    for (int phase = 0; phase < PT_PHASE_COUNT; phase++) {
        pt_string_add(out, "%s", phase ? "," : "");
        write_row(out, &r->phase[phase], false);
    }
    pt_string_add(out, "\n  ],\n  \"layers\": [");
    for (size_t i = 0; i < r->layer_rows; i++) {
        pt_string_add(out, "%s", i ? "," : "");
        write_row(out, &r->layer[i], true);
    }
    pt_string_add(out, "\n  ],\n  \"per_thread\": [");
    for (size_t w = 0; w < r->threads; w++) {
        pt_string_add(out, "%s\n    {\"thread\": %zu", w ? "," : "", w);
        for (int phase = 0; phase < PT_PHASE_COUNT; phase++)
            pt_json_member(out, pt_phase_name((pt_phase)phase), r->thread[w].seconds[phase]);
        pt_json_member(out, "idle", r->thread[w].idle);
        pt_string_add(out, "}");
    }
    pt_string_add(out, "\n  ]\n}\n");
}

pt_status pt_profile_report_write(const pt_profile_report *report, const char *folder,
                                  pt_error *err) {
    pt_string text = {0};
    char *path = pt_format("%s/profile.json", folder);
    write_json(&text, report);
    pt_status status = !path || text.failed ? pt_fail_memory(err, "profile.json", text.length)
                                            : pt_atomic_write(path, text.text, err);
    pt_string_free(&text);
    pt_free(path);
    return status;
}
