/* model_file.c: parameters to and from a safetensors file.
 *
 * The file depends on nothing but the parameters and the iteration: equal training, equal bytes.
 */
#include "5_results/model_file.h"

#include "0_base/fail.h"
#include "0_base/memory.h"
#include "4_train/trainer.h"

#include <stdio.h>
#include <string.h>

pt_tensor pt_param_tensor(const pt_param *param, char *name, const float *block) {
    pt_tensor tensor = {
        .name = name, .rank = param->rank, .data = block + param->offset, .stride = param->ld};
    tensor.shape[0] = param->rank == 1 ? param->cols : param->rows;
    tensor.shape[1] = param->cols;
    return tensor;
}

bool pt_param_fits(const pt_param *param, const pt_tensor *tensor) {
    return tensor->rank == param->rank && tensor->shape[param->rank - 1] == param->cols &&
           (param->rank == 1 || tensor->shape[0] == param->rows);
}

void pt_param_read(const pt_param *param, const pt_tensor *tensor, float *block) {
    for (size_t r = 0; r < param->rows; r++) {
        float *row = block + param->offset + r * param->ld;
        memcpy(row, tensor->data + r * param->cols, param->cols * sizeof *row);
        pt_flush_denormals(param->cols, row);
    }
}

pt_status pt_trainer_save(const pt_trainer *t, const char *path, char sha256[PT_SHA256_TEXT_SIZE],
                          pt_error *err) {
    const pt_graph *graph = t->graph;
    pt_tensor *tensors = pt_calloc(graph->param_count, sizeof *tensors);
    if (!tensors)
        return pt_fail_memory(err, "the list of tensors", graph->param_count * sizeof *tensors);
    for (size_t p = 0; p < graph->param_count; p++)
        tensors[p] = pt_param_tensor(&graph->params[p], graph->params[p].name, t->params);
    char iteration[32], seed[32];
    snprintf(iteration, sizeof iteration, "%llu", (unsigned long long)t->iteration);
    snprintf(seed, sizeof seed, "%llu", (unsigned long long)t->config->train.seed);
    const pt_metadata metadata[] = {
        {"format", "ptrain-model-1"}, {"iteration", iteration}, {"seed", seed}};
    pt_status status = pt_safetensors_write(path, tensors, graph->param_count, metadata,
                                            sizeof metadata / sizeof *metadata, sha256, err);
    pt_free(tensors);
    return status;
}

pt_status pt_trainer_load(pt_trainer *t, const char *path, pt_error *err) {
    pt_safetensors *file;
    pt_status status = pt_safetensors_read(path, &file, err);
    if (status != PT_OK)
        return status;
    const pt_graph *graph = t->graph;
    if (file->tensor_count != graph->param_count)
        status = pt_fail(err, PT_ERR_DATA, "%s: holds %zu tensors, but the network has %zu", path,
                         file->tensor_count, graph->param_count);
    for (size_t p = 0; p < graph->param_count && status == PT_OK; p++) {
        const pt_param *param = &graph->params[p];
        const pt_tensor *tensor = pt_safetensors_find(file, param->name);
        if (!tensor)
            status = pt_fail(err, PT_ERR_DATA, "%s: has no tensor '%s', which the network needs",
                             path, param->name);
        else if (!pt_param_fits(param, tensor))
            status = pt_fail(err, PT_ERR_DATA,
                             "%s: tensor '%s' has another shape than the network's %zu x %zu", path,
                             param->name, param->rows, param->cols);
    }
    for (size_t p = 0; p < graph->param_count && status == PT_OK; p++)
        pt_param_read(&graph->params[p], pt_safetensors_find(file, graph->params[p].name),
                      t->params);
    pt_safetensors_free(file);
    return status;
}
