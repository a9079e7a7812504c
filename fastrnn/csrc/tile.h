/* TILE_ROWS x TILE_VECTORS vectors of C held in registers; included once a size.
 *
 * out[r, :] = f(init[r][column, ...] + sum_k a[r * a_m + k * a_k] panel[k * panel_k, :])
 *
 * Few rows leave few accumulators, and a sum then waits for its own last addition; so it is split
 * into TILE_SPLIT sums that run side by side. */
#define TILE_SPLIT (TILE_ROWS * TILE_VECTORS <= 2 ? 4 : TILE_ROWS * TILE_VECTORS <= 4 ? 2 : 1)
#define tile_body JOIN(tile_body_, JOIN(TILE_ROWS, JOIN(x, TILE_VECTORS)))
#define tile_by_rows JOIN(tile_by_rows_, JOIN(TILE_ROWS, JOIN(x, TILE_VECTORS)))
#define tile_by_columns JOIN(tile_by_columns_, JOIN(TILE_ROWS, JOIN(x, TILE_VECTORS)))

INLINE void tile_body(const REAL *a, ptrdiff_t a_m, ptrdiff_t a_k, const REAL *panel,
                      ptrdiff_t panel_k, int64_t K, const REAL *const *init, ptrdiff_t column,
                      REAL *out, ptrdiff_t out_m, int32_t activation, REAL *packed) {
    vec sum[TILE_SPLIT][TILE_ROWS][TILE_VECTORS];
    UNROLL for (int r = 0; r < TILE_ROWS; r++) {
        UNROLL for (int v = 0; v < TILE_VECTORS; v++) {
            sum[0][r][v] = vload(init[r] + column + v * VL);
            UNROLL for (int u = 1; u < TILE_SPLIT; u++) sum[u][r][v] = vset(0);
        }
    }
    if (K < 1) UNREACHABLE(); /* else the compiler makes room for sums that skip the loop: 4 % */
    int64_t k = 0;
    for (; k + TILE_DEPTH <= K; k += TILE_DEPTH) {
        UNROLL for (int u = 0; u < TILE_DEPTH; u++) {
            vec b[TILE_VECTORS];
            UNROLL for (int v = 0; v < TILE_VECTORS; v++) {
                b[v] = vload(panel + v * VL);
                if (packed) vstore(packed + v * VL, b[v]);
            }
            UNROLL for (int r = 0; r < TILE_ROWS; r++) {
                const vec x = vset(a[r * a_m]);
                UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[u % TILE_SPLIT][r][v] += x * b[v];
            }
            a += a_k;
            panel += panel_k;
            if (packed) packed += TILE_VECTORS * VL;
            IN_ORDER();
        }
    }
    for (; k < K; k++) {
        UNROLL for (int r = 0; r < TILE_ROWS; r++) {
            const vec x = vset(a[r * a_m]);
            UNROLL for (int v = 0; v < TILE_VECTORS; v++)
                sum[0][r][v] += x * vload(panel + v * VL);
        }
        UNROLL for (int v = 0; v < TILE_VECTORS && packed; v++) vstore(packed + v * VL, vload(panel + v * VL));
        a += a_k;
        panel += panel_k;
        if (packed) packed += TILE_VECTORS * VL;
    }
    UNROLL for (int u = 1; u < TILE_SPLIT; u++)
        UNROLL for (int r = 0; r < TILE_ROWS; r++)
            UNROLL for (int v = 0; v < TILE_VECTORS; v++) sum[0][r][v] += sum[u][r][v];
#define BODY(A)                                           \
    UNROLL for (int r = 0; r < TILE_ROWS; r++)            \
        UNROLL for (int v = 0; v < TILE_VECTORS; v++)     \
            vstore(out + r * out_m + v * VL, apply(A, sum[0][r][v]))
    EACH_ACTIVATION(activation, BODY)
#undef BODY
}

/* See `rows_times_panel`; constants fold into the addresses.  Two functions, or the registers of both would have to
 * agree where they meet. */
static void tile_by_rows(const REAL *a, ptrdiff_t a_m, ptrdiff_t a_k, const REAL *panel,
                         ptrdiff_t panel_k, int64_t K, const REAL *const *init, ptrdiff_t column,
                         REAL *out, ptrdiff_t out_m, int32_t activation) {
    CHECK(a_k == 1 && panel_k == TILE_VECTORS * VL);
    (void)a_k, (void)panel_k, (void)activation;
    tile_body(a, a_m, 1, panel, TILE_VECTORS * VL, K, init, column, out, out_m,
              TILES_ACTIVATE ? activation : ACT_LINEAR, NULL);
}

static void tile_by_columns(const REAL *a, ptrdiff_t a_m, ptrdiff_t a_k, const REAL *panel,
                            ptrdiff_t panel_k, int64_t K, const REAL *const *init,
                            ptrdiff_t column, REAL *out, ptrdiff_t out_m, int32_t activation) {
    (void)a_m, (void)activation; /* only products with a state end in one */
    tile_body(a, 1, a_k, panel, panel_k, K, init, column, out, out_m, ACT_LINEAR, NULL);
}

#if TILE_ROWS == MAX_TILE && TILE_VECTORS == 2
/* Rows times a panel as it stands, which is packed for the rows that follow: its lines come while others are
 * multiplied. */
static void tile_packing(const REAL *a, ptrdiff_t a_m, const REAL *panel, ptrdiff_t panel_k, int64_t K,
                         const REAL *const *init, REAL *out, ptrdiff_t out_m, REAL *packed) {
    tile_body(a, a_m, 1, panel, panel_k, K, init, 0, out, out_m, ACT_LINEAR, packed);
}
#endif

#undef tile_by_rows
#undef tile_by_columns
#undef tile_body
#undef TILE_SPLIT
#undef TILE_ROWS
