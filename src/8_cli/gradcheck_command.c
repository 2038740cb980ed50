/* gradcheck_command.c: `ptrain gradcheck CONFIG`: one line per tensor and instruction set. */
#include "7_check/gradcheck.h"
#include "8_cli/options.h"

#include <stdio.h>

static void print_row(void *context, const pt_gradcheck_row *row) {
    bool *header_printed = context;
    if (!*header_printed)
        printf("%-8s %-24s %10s %10s %12s %12s %12s\n", "kernels", "tensor", "elements", "checked",
               "mean diff", "max diff", "bound");
    *header_printed = true;
    printf("%-8s %-24s %10zu %10zu %12.4e %12.4e %12.4e  %s\n", row->isa, row->tensor,
           row->elements, row->checked, row->mean_difference, row->largest_difference, row->bound,
           row->ok ? "ok" : "WRONG");
}

int pt_gradcheck_command(const pt_options *options) {
    /* The book's size: the first three rows. --set train.batch_size=N takes more. */
    static const char *const extra[] = {"train.batch_size=3", "train.sampling=sequential"};
    pt_error err;
    pt_config *config = NULL;
    pt_dataset *dataset = NULL;
    bool header_printed = false;
    pt_status status = pt_load_config(options, extra, 2, &config, &err);
    if (status == PT_OK)
        status = pt_dataset_load(config, &dataset, &err);
    if (status == PT_OK && config->train.batch_size > pt_dataset_train_rows(dataset))
        config->train.batch_size = pt_dataset_train_rows(dataset);
    if (status == PT_OK)
        status = pt_gradcheck(config, dataset, print_row, &header_printed, &err);
    pt_dataset_free(dataset);
    pt_config_free(config);
    return status == PT_OK ? 0 : pt_report(&err);
}
