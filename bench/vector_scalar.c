/* vector_scalar.c: loads and stores of 16 bytes, which every x86-64 has; no libraries. */
#define LANES 4
#include "bench/vector_body.h"

const bench_vector bench_vector_scalar = {stream, NULL};
