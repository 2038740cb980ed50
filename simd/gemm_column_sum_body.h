/* gemm_column_sum_body.h: sums of columns in a shard tree, written once for every vector width.
 *
 * Included by gemm_avx2.c and gemm_avx512.c after gemm_tile_body.h.
 */
enum { SUM_VECTORS = 8 }; /* independent chains, to hide the latency of the additions */

static ALWAYS_INLINE void sum_columns(size_t vectors, size_t columns, const pt_shards *shards,
                                      const float *x, size_t ldx, const float *rate, float *out) {
    const vec_mask last = vec_first(columns - (vectors - 1) * LANES);
    vec stack[PT_MAX_SHARD_DEPTH][SUM_VECTORS];
    size_t depth = 0;
    vec acc[SUM_VECTORS];
    for (size_t s = 0;; s++) {
        UNROLL for (size_t v = 0; v < vectors; v++) {
            acc[v] = vec_zero();
        }
        for (size_t row = shards->row[s]; row < shards->row[s + 1]; row++) {
            vec xv[SUM_VECTORS];
            load_row(vectors, last, x + row * ldx, xv);
            UNROLL for (size_t v = 0; v < vectors; v++) {
                acc[v] = vec_add(acc[v], xv[v]);
            }
        }
        assert(depth >= shards->merges[s]);
        for (size_t t = 0; t < shards->merges[s]; t++) {
            depth--;
            add_sums(vectors, stack[depth], acc);
        }
        if (s + 1 == shards->count)
            break;
        assert(depth + 1 < PT_MAX_SHARD_DEPTH);
        UNROLL for (size_t v = 0; v < vectors; v++) {
            stack[depth][v] = acc[v];
        }
        depth++;
    }
    assert(depth == 0);
    apply_row(rate, vectors, last, acc, out);
}

static void sum_all_columns(size_t n, const pt_shards *shards, const float *x, size_t ldx,
                            const float *rate, float *out) {
    while (n > 0) {
        size_t columns = n < SUM_VECTORS * LANES ? n : SUM_VECTORS * LANES;
        if (columns > 4 * LANES && columns <= 7 * LANES)
            columns = 4 * LANES; /* then a narrower rest */
        switch ((columns + LANES - 1) / LANES) {
        case 1:
            sum_columns(1, columns, shards, x, ldx, rate, out);
            break;
        case 2:
            sum_columns(2, columns, shards, x, ldx, rate, out);
            break;
        case 3:
            sum_columns(3, columns, shards, x, ldx, rate, out);
            break;
        case 4:
            sum_columns(4, columns, shards, x, ldx, rate, out);
            break;
        default:
            sum_columns(8, columns, shards, x, ldx, rate, out);
            break;
        }
        n -= columns;
        x += columns;
        out += columns;
    }
}
