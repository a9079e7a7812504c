/* One row times ROW_VECTORS vectors of columns, in panels of two that lie `stride` apart, or in one of a single vector;
 * included once a number.
 *
 * out = f(init + sum_k a[k] panel[k, :])
 *
 * As many sums side by side as hide that each waits for its own last addition, and no more loads than it takes: one
 * for each product, and one for every few a[k]. */
#define ROW_SPLIT (ROW_VECTORS < 4 ? 4 : 8 / ROW_VECTORS)
#define ROW_PANELS ((ROW_VECTORS + 1) / 2)
#define ROW_WIDTH ((ROW_VECTORS < 2 ? 1 : 2) * VL)
#define row_body JOIN(row_body_, ROW_VECTORS)
#define row_sums JOIN(row_sums_, ROW_VECTORS)
#define row_activated JOIN(row_activated_, ROW_VECTORS)
#define row_times JOIN(row_times_, ROW_VECTORS)

INLINE void row_body(const REAL *a, const REAL *panel, ptrdiff_t stride, int64_t K, const REAL *init, REAL *out,
                     int32_t activation) {
    vec sum[ROW_SPLIT][ROW_VECTORS];
    const REAL *own[ROW_PANELS]; /* an address each: with offsets to one of them there were not enough registers */
    UNROLL for (int v = 0; v < ROW_VECTORS; v++) {
        sum[0][v] = vload(init + v * VL);
        UNROLL for (int u = 1; u < ROW_SPLIT; u++) sum[u][v] = vset(0);
    }
    UNROLL for (int p = 0; p < ROW_PANELS; p++) {
        own[p] = panel + p * stride;
        OPAQUE(own[p]);
    }
    if (K < 1) UNREACHABLE();
    int64_t k = 0;
    _Static_assert(TILE_DEPTH == 4, "as many terms as are written out below");
#define TERM(u)                                                                              \
    do {                                                                                     \
        if ((u) % REPEATED == 0) few = vrepeat(a + k + (u));                                 \
        const vec x = vpick(few, (u) % REPEATED);                                            \
        UNROLL for (int v = 0; v < ROW_VECTORS; v++)                                         \
            sum[(u) % ROW_SPLIT][v] += x * vload(own[v / 2] + (u) * ROW_WIDTH + v % 2 * VL); \
        IN_ORDER();                                                                          \
    } while (0)
    for (; k + TILE_DEPTH <= K; k += TILE_DEPTH) {
        vec few;
        TERM(0);
        TERM(1);
        TERM(2);
        TERM(3);
        UNROLL for (int p = 0; p < ROW_PANELS; p++) own[p] += TILE_DEPTH * ROW_WIDTH;
    }
#undef TERM
    for (; k < K; k++)
        UNROLL for (int v = 0; v < ROW_VECTORS; v++) {
            sum[0][v] += vset(a[k]) * vload(own[v / 2] + v % 2 * VL);
            if (v % 2 || v + 1 == ROW_VECTORS) own[v / 2] += ROW_WIDTH;
        }
    UNROLL for (int v = 0; v < ROW_VECTORS; v++)
        UNROLL for (int u = 1; u < ROW_SPLIT; u++) sum[0][v] += sum[u][v];
#define BODY(A) UNROLL for (int v = 0; v < ROW_VECTORS; v++) vstore(out + v * VL, apply(A, sum[0][v]))
    EACH_ACTIVATION(activation, BODY)
#undef BODY
}

/* Two functions: sums alone take fewer registers. */
static void row_sums(const REAL *a, const REAL *panel, ptrdiff_t stride, int64_t K, const REAL *init, REAL *out) {
    row_body(a, panel, stride, K, init, out, ACT_LINEAR);
}

static void row_activated(const REAL *a, const REAL *panel, ptrdiff_t stride, int64_t K, const REAL *init, REAL *out,
                          int32_t activation) {
    row_body(a, panel, stride, K, init, out, activation);
}

INLINE void row_times(const REAL *a, const REAL *panel, ptrdiff_t stride, int64_t K, const REAL *init, REAL *out,
                      int32_t activation) {
    if (activation == ACT_LINEAR)
        row_sums(a, panel, stride, K, init, out);
    else
        row_activated(a, panel, stride, K, init, out, activation);
}

#undef row_times
#undef row_activated
#undef row_sums
#undef row_body
#undef ROW_WIDTH
#undef ROW_PANELS
#undef ROW_SPLIT
#undef ROW_VECTORS
