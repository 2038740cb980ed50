/* layer.c: the list of layers, shapes, and the row loops that elementwise layers share. */
#include "3_graph/layer.h"

#include <stdio.h>
#include <string.h>

#define PT_LIST_LAYER(name) &pt_layer_##name,
const pt_layer_ops *const pt_layer_list[] = {PT_LAYERS(PT_LIST_LAYER) NULL};

const pt_layer_ops *pt_layer_find(const char *type) {
    for (size_t i = 0; pt_layer_list[i]; i++)
        if (strcmp(pt_layer_list[i]->type, type) == 0)
            return pt_layer_list[i];
    return NULL;
}

size_t pt_shape_count(const pt_shape *shape) {
    size_t count = 1;
    for (size_t i = 0; i < shape->rank; i++)
        count *= shape->dim[i];
    return count;
}

bool pt_shape_equal(const pt_shape *a, const pt_shape *b) {
    return a->rank == b->rank && memcmp(a->dim, b->dim, a->rank * sizeof *a->dim) == 0;
}

const char *pt_shape_text(const pt_shape *shape, char buffer[96]) {
    int used = 0;
    buffer[0] = '\0';
    for (size_t i = 0; i < shape->rank; i++)
        used += snprintf(buffer + used, 96 - (size_t)used, i ? " x %zu" : "%zu", shape->dim[i]);
    return buffer;
}

void pt_rows_unary(void (*kernel)(size_t, const float *, float *), const pt_call *call,
                   const float *a, size_t lda, float *y, size_t ldy) {
    const size_t begin = call->col_begin, cols = call->col_end - begin;
    if (lda == cols && ldy == cols) {
        kernel(call->rows * cols, a, y);
        return;
    }
    for (size_t r = 0; r < call->rows; r++)
        kernel(cols, a + r * lda + begin, y + r * ldy + begin);
}

void pt_rows_binary(void (*kernel)(size_t, const float *, const float *, float *),
                    const pt_call *call, const float *a, size_t lda, const float *b, size_t ldb,
                    float *y, size_t ldy) {
    const size_t begin = call->col_begin, cols = call->col_end - begin;
    if (lda == cols && ldb == cols && ldy == cols) {
        kernel(call->rows * cols, a, b, y);
        return;
    }
    for (size_t r = 0; r < call->rows; r++)
        kernel(cols, a + r * lda + begin, b + r * ldb + begin, y + r * ldy + begin);
}

void pt_rows_copy(const pt_call *call, const float *a, size_t lda, float *y, size_t ldy) {
    const size_t begin = call->col_begin, bytes = (call->col_end - begin) * sizeof *y;
    for (size_t r = 0; r < call->rows; r++)
        memcpy(y + r * ldy + begin, a + r * lda + begin, bytes);
}
