/* vector_avx512.c: the loops of vector.h on 16 lanes. */
#include <immintrin.h>

#define LANES      16
#define VECTOR     __m512
#define LOAD       _mm512_loadu_ps
#define STORE      _mm512_storeu_ps
#define SET        _mm512_set1_ps
#define ADD        _mm512_add_ps
#define SUB        _mm512_sub_ps
#define MUL        _mm512_mul_ps
#define DIV        _mm512_div_ps
#define MAX        _mm512_max_ps
#define REDUCE_ADD _mm512_reduce_add_ps
#define REDUCE_MAX _mm512_reduce_max_ps
#include "bench/vector_body.h"

const bench_vector bench_vector_avx512 = {stream, apply};
