/* model_file.h: a graph's parameters as tensors of a file, and back. */
#ifndef PT_RESULTS_MODEL_FILE_H
#define PT_RESULTS_MODEL_FILE_H

#include "3_graph/graph.h"
#include "5_results/safetensors.h"

/* The tensor of a parameter that lies in `block` (as pt_param says); it reads both where they are. */
pt_tensor pt_param_tensor(const pt_param *param, char *name, const float *block);
/* Whether a tensor that was read (contiguous) has the parameter's shape. */
bool pt_param_fits(const pt_param *param, const pt_tensor *tensor);
/* Copies such a tensor into `block`; denormals count as zero. */
void pt_param_read(const pt_param *param, const pt_tensor *tensor, float *block);

#endif
