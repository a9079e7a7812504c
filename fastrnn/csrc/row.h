/* One row times ROW_PANELS panels of two vectors, that lie `stride` apart; included once a number.
 *
 * out = init + sum_k a[k] panel[k, :]
 *
 * As many sums side by side as hide that each waits for its own last addition, and no more loads than it takes: one
 * for each product, where a tile of one row also loads a[k] for every two. */
#define ROW_SPLIT (4 / ROW_PANELS)
#define row_times JOIN(row_times_, ROW_PANELS)

static void row_times(const REAL *a, const REAL *panel, ptrdiff_t stride, int64_t K, const REAL *init, REAL *out) {
    vec sum[ROW_SPLIT][2 * ROW_PANELS];
    UNROLL for (int v = 0; v < 2 * ROW_PANELS; v++) {
        sum[0][v] = vload(init + v * VL);
        UNROLL for (int u = 1; u < ROW_SPLIT; u++) sum[u][v] = vset(0);
    }
    if (K < 1) UNREACHABLE();
    int64_t k = 0;
    for (; k + TILE_DEPTH <= K; k += TILE_DEPTH, panel += TILE_DEPTH * 2 * VL)
        UNROLL for (int u = 0; u < TILE_DEPTH; u++) {
            const vec x = vset(a[k + u]);
            UNROLL for (int v = 0; v < 2 * ROW_PANELS; v++)
                sum[u % ROW_SPLIT][v] += x * vload(panel + v / 2 * stride + (2 * u + v % 2) * VL);
            IN_ORDER();
        }
    for (; k < K; k++, panel += 2 * VL)
        UNROLL for (int v = 0; v < 2 * ROW_PANELS; v++)
            sum[0][v] += vset(a[k]) * vload(panel + v / 2 * stride + v % 2 * VL);
    UNROLL for (int v = 0; v < 2 * ROW_PANELS; v++) {
        UNROLL for (int u = 1; u < ROW_SPLIT; u++) sum[0][v] += sum[u][v];
        vstore(out + v * VL, sum[0][v]);
    }
}

#undef row_times
#undef ROW_SPLIT
#undef ROW_PANELS
