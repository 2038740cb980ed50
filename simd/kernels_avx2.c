/* kernels_avx2.c: every kernel of kernel_list.h for AVX2 and FMA.
 *
 * The bodies are written once for both vector instruction sets, on the 16 lanes of vector_avx2.h.
 */
#include "simd/kernels_internal.h"

#include "simd/vector_avx2.h"

#define KERNEL(name) pt_##name##_avx2

/* clang-format off: in this order */
#include "simd/elementwise_body.h"
#include "simd/optimizers_body.h"
#include "simd/rows_body.h"
/* clang-format on */
