/* verify_command.c: `ptrain verify CONFIG`: one hash per row, and a verdict. */
#include "7_check/verify.h"
#include "8_cli/options.h"

#include <stdio.h>

static void print_row(void *context, const pt_verify_row *row) {
    bool *header_printed = context;
    char threads[24] = "auto", resumed[24] = "-";
    if (!*header_printed)
        printf("%-8s %7s  %-10s  %-6s  %7s  %s\n", "kernels", "threads", "schedule", "loader",
               "resumed", "model sha256");
    *header_printed = true;
    if (row->threads)
        snprintf(threads, sizeof threads, "%zu", row->threads);
    if (row->resumed_at)
        snprintf(resumed, sizeof resumed, "at %llu", (unsigned long long)row->resumed_at);
    printf("%-8s %7s  %-10s  %-6s  %7s  %s  %s\n", row->isa, threads, row->schedule, row->loader,
           resumed, row->sha256, row->same ? "same" : "DIFFERENT");
    fflush(stdout);
}

int pt_verify_command(const pt_options *options) {
    pt_error err;
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    pt_verify_result result;
    bool header_printed = false;
    pt_status status = pt_load_config(options, NULL, 0, &config, &err);
    if (status == PT_OK)
        status = pt_dataset_load(config, &dataset, &err);
    if (status == PT_OK)
        status = pt_verify(config, dataset, print_row, &header_printed, &result, &err);
    if (status == PT_OK)
        printf("\n%zu runs of %llu iterations, one model\n", result.rows,
               (unsigned long long)result.iterations);
    pt_dataset_free(dataset);
    pt_config_free(config);
    return status == PT_OK ? 0 : pt_report(&err);
}
