/* vector_avx2.c: the loops of vector.h on 8 lanes. */
#include <immintrin.h>

static inline float reduce_add(__m256 v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline float reduce_max(__m256 v) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

#define LANES      8
#define VECTOR     __m256
#define LOAD       _mm256_loadu_ps
#define STORE      _mm256_storeu_ps
#define SET        _mm256_set1_ps
#define ADD        _mm256_add_ps
#define SUB        _mm256_sub_ps
#define MUL        _mm256_mul_ps
#define DIV        _mm256_div_ps
#define MAX        _mm256_max_ps
#define REDUCE_ADD reduce_add
#define REDUCE_MAX reduce_max
#include "bench/vector_body.h"

const bench_vector bench_vector_avx2 = {stream, apply};
