/* kernels_avx512.c: every kernel of kernel_list.h for AVX-512 F, BW, DQ and VL.
 *
 * The bodies are written once for both vector instruction sets, on the 16 lanes of vector_avx512.h.
 */
#include "simd/kernels_internal.h"

#include "simd/vector_avx512.h"

#define KERNEL(name) pt_##name##_avx512

/* clang-format off: in this order */
#include "simd/elementwise_body.h"
#include "simd/optimizers_body.h"
#include "simd/rows_body.h"
/* clang-format on */
