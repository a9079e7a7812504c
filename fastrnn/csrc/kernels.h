/* All kernels, for one ISA and one float type: isa/ has a file for each pair, which defines
 * ISA (a word), VBYTES (width of a vector, 0 for plain C), MAX_TILE (8 or 6, the rows of a register
 * tile) and REAL_BITS, and includes this once.  See rnn.h for the contract. */
#include "system.h"

#include "real.h"
#include "vector.h"

/* With 32 registers a tile applies the activation before it is stored: 3 % of a step.  With 16 its
 * coefficients would push the sums out of them. */
enum { TILES_ACTIVATE = MAX_TILE == 8 };

/* -- register tiles ------------------------------------------------------------------------------ */

/* Terms of a sum that are written out one after the other.  Counting and addresses take a fifth of a term's
 * instructions, which shows where another thread shares the core's front end. */
enum { TILE_DEPTH = 4 };

#define TILE_VECTORS 2
#include "tiles.h"
#undef TILE_VECTORS
#define TILE_VECTORS 1
#include "tiles.h"
#undef TILE_VECTORS

enum { NR = 2 * VL }; /* columns of a full panel */

#define TILE_ARGUMENTS a, a_m, a_k, panel, panel_k, K, init, column, out, out_m, activation
#define TILE_CALL(by, n)                                                      \
    do {                                                                      \
        if (vectors == 2)                                                     \
            JOIN(tile_by_, JOIN(by, JOIN(_, JOIN(n, x2))))(TILE_ARGUMENTS);   \
        else                                                                  \
            JOIN(tile_by_, JOIN(by, JOIN(_, JOIN(n, x1))))(TILE_ARGUMENTS);   \
    } while (0)
#define TILE_WHILE(condition, n)                                              \
    while (condition) {                                                       \
        if (a_m == 1)                                                         \
            TILE_CALL(columns, n);                                            \
        else                                                                  \
            TILE_CALL(rows, n);                                               \
        rows -= n, a += n * a_m, init += n, out += n * out_m;                 \
    }

/* Any number of rows times one panel of one or two vectors: a has rows side by side (a_k = 1), the panel then nothing
 * between its own, or columns (a_m = 1). */
static void rows_times_panel(int64_t rows, int vectors, const REAL *a, ptrdiff_t a_m, ptrdiff_t a_k,
                             const REAL *panel, ptrdiff_t panel_k, int64_t K,
                             const REAL *const *init, ptrdiff_t column, REAL *out, ptrdiff_t out_m,
                             int32_t activation) {
    if (K == 0) { /* tiles multiply at least once */
        for (int64_t r = 0; r < rows; r++)
            for (int v = 0; v < vectors; v++)
                vstore(out + r * out_m + v * VL, vload(init[r] + column + v * VL));
        return;
    }
#if MAX_TILE == 8
    TILE_WHILE(rows >= 8, 8)
#else
    TILE_WHILE(rows >= 6 && rows != 8, 6) /* 4 and 4 rather than 6 and 2, whose loads take as long as its sums */
#endif
    TILE_WHILE(rows >= 4, 4)
    TILE_WHILE(rows >= 2, 2)
    TILE_WHILE(rows >= 1, 1)
}

#define ROW_VECTORS 8
#include "row.h"
#define ROW_VECTORS 4
#include "row.h"
#define ROW_VECTORS 2
#include "row.h"
#define ROW_VECTORS 1
#include "row.h"

/* Panels of one row that go together: at most, and where there are many.  How a sum is split depends on how many do. */
enum { ROW_MOST = 4, ROW_TOGETHER = VBYTES == 64 ? 2 : 4 };

/* One row times at most ROW_MOST panels that lie `stride` apart, N columns in all, the last panel perhaps of one
 * vector. */
INLINE void row_times_few_panels(const REAL *a, const REAL *panel, ptrdiff_t stride, int64_t N, int64_t K,
                                 const REAL *init, REAL *out, int32_t activation) {
    int64_t n = 0;
    if (N > 3 * NR + VL) {
        row_times_8(a, panel, stride, K, init, out, activation);
        return;
    }
    for (; N - n > NR + VL; n += 2 * NR, panel += 2 * stride)
        row_times_4(a, panel, stride, K, init + n, out + n, activation);
    for (; N - n > VL; n += NR, panel += stride) row_times_2(a, panel, stride, K, init + n, out + n, activation);
    if (n < N) row_times_1(a, panel, stride, K, init + n, out + n, activation);
}

/* Any number of panels, `together` at a time, from the last to the first if `back`. */
static NOINLINE void row_times_panels(const REAL *a, const REAL *panel, ptrdiff_t stride, int64_t N, int64_t K,
                                      const REAL *init, REAL *out, int32_t activation, int together, int back) {
    const int64_t width = together * NR;
    if (N <= width) {
        row_times_few_panels(a, panel, stride, N, K, init, out, activation);
        return;
    }
    for (int64_t i = 0; i < N; i += width) {
        const int64_t n = back ? (N - 1 - i) / width * width : i;
        row_times_few_panels(a, panel + n / NR * stride, stride, N - n < width ? N - n : width, K, init + n, out + n,
                             activation);
    }
}

/* Vectors of columns of a matrix that is read as it stands.  Its rows lie in as many pages of memory, so strips are
 * wide: with half as many vectors two thirds as much comes from the third cache in a second, where rows lie 8 KB apart.
 * Sums are not split, so none depends on what stands beside it. */
enum { STRIP_VECTORS = 8, STRIP = STRIP_VECTORS * VL };

/* out = init + a b for so many vectors, a constant, of K rows that lie b_k apart; K > 0. */
INLINE void row_times_strip(int vectors, const REAL *a, const REAL *b, ptrdiff_t b_k, int64_t K, const REAL *init,
                            REAL *out) {
    vec sum[STRIP_VECTORS];
    if (K < 1) UNREACHABLE();
    UNROLL for (int v = 0; v < vectors; v++) sum[v] = vload(init + v * VL);
    for (int64_t k = 0; k < K; k++, b += b_k) {
        const vec x = vset(a[k]);
        UNROLL for (int v = 0; v < vectors; v++) sum[v] += x * vload(b + v * VL);
    }
    UNROLL for (int v = 0; v < vectors; v++) vstore(out + v * VL, sum[v]);
}

/* The same for N columns, of which the last few are the end of a whole vector: where N is less than that, VL - N
 * columns in front of `b` and `init` are read too. */
static NOINLINE void row_times_matrix(const REAL *a, const REAL *b, ptrdiff_t b_k, int64_t N, int64_t K,
                                      const REAL *init, REAL *out) {
    int64_t n = 0;
    REAL last[VL];
    for (; N - n >= STRIP; n += STRIP) row_times_strip(STRIP_VECTORS, a, b + n, b_k, K, init + n, out + n);
    for (; N - n >= 2 * VL; n += 2 * VL) row_times_strip(2, a, b + n, b_k, K, init + n, out + n);
    for (; N - n >= VL; n += VL) row_times_strip(1, a, b + n, b_k, K, init + n, out + n);
    if (n == N) return;
    row_times_strip(1, a, b + N - VL, b_k, K, init + N - VL, last);
    for (; n < N; n++) out[n] = last[n - (N - VL)];
}

/* Rows of a matrix that are multiplied side by side, and sums of each that do not wait for one another. */
enum { DOT_ROWS = 2, DOT_SUMS = 4 };

/* A matrix of `blocks` blocks of N columns, as they stand: row k begins at b + k b_k.  What multiplies it, a, has its
 * blocks a_pitch apart.  Where N is no whole number of vectors, `tails` has for each block a vector for the last VL
 * columns, with zeros where those ahead of it have counted them; N >= VL. */
typedef struct {
    const REAL *a, *tails, *b;
    ptrdiff_t a_pitch, b_k;
    int64_t blocks, N;
} dots_t;

/* sums[r] = what b's row k + r comes to, vector by vector, for so many rows, a constant. */
INLINE void dot_rows(int rows, const dots_t *d, int64_t k, REAL (*sums)[VL]) {
    vec sum[DOT_ROWS][DOT_SUMS];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int u = 0; u < DOT_SUMS; u++) sum[r][u] = vset(0);
    for (int64_t block = 0; block < d->blocks; block++) {
        const REAL *a = d->a + block * d->a_pitch, *b = d->b + k * d->b_k + block * d->N;
        int64_t j = 0;
        for (; j + DOT_SUMS * VL <= d->N; j += DOT_SUMS * VL)
            UNROLL for (int u = 0; u < DOT_SUMS; u++) {
                const vec x = vload(a + j + u * VL);
                UNROLL for (int r = 0; r < rows; r++) sum[r][u] += x * vload(b + r * d->b_k + j + u * VL);
            }
        for (; j + VL <= d->N; j += VL)
            UNROLL for (int r = 0; r < rows; r++) sum[r][0] += vload(a + j) * vload(b + r * d->b_k + j);
        if (j == d->N) continue;
        const vec x = vload(d->tails + block * VL);
        UNROLL for (int r = 0; r < rows; r++) sum[r][1] += x * vload(b + r * d->b_k + d->N - VL);
    }
    UNROLL for (int r = 0; r < rows; r++)
        vstore(sums[r], (sum[r][0] + sum[r][1]) + (sum[r][2] + sum[r][3]));
}

/* The sum of each of VL vectors. */
INLINE vec sums_across(REAL (*sums)[VL]) {
    REAL columns[VL][VL];
#ifdef HAS_TRANSPOSE
    transpose(sums[0], VL, columns[0], VL);
#else
    for (int i = 0; i < VL; i++)
        for (int j = 0; j < VL; j++) columns[j][i] = sums[i][j];
#endif
    vec sum = vload(columns[0]);
    for (int i = 1; i < VL; i++) sum += vload(columns[i]);
    return sum;
}

/* out[k] = init[k] + a . b[k, :] for the rows [first, end), whole vectors of them but for zeros beyond `rows`; from the
 * last to the first if `back`. */
static NOINLINE void dots(const dots_t *d, int64_t rows, int64_t first, int64_t end, const REAL *init, REAL *out,
                          int back) {
    for (int64_t i = first; i < end; i += VL) {
        const int64_t k = back ? first + end - VL - i : i, many = rows - k < VL ? rows - k : VL;
        REAL sums[VL][VL];
        int64_t r = 0;
        for (; r + DOT_ROWS <= many; r += DOT_ROWS) dot_rows(DOT_ROWS, d, k + r, sums + r);
        for (; r < many; r++) dot_rows(1, d, k + r, sums + r);
        for (; r < VL; r++) vstore(sums[r], vset(0));
        vstore(out + k, vload(init + k) + sums_across(sums));
    }
}

/* -- products ------------------------------------------------------------------------------------ */

static int64_t padded(int64_t n) { return (n + VL - 1) / VL * VL; }

/* Vectors in the panel that begins at column n of N. */
INLINE int panel_vectors(int64_t n, int64_t N) { return N - n > VL ? 2 : 1; }

static int64_t gemm_packed_size(int64_t N, int64_t K) { return padded(N) * K; }

/* Lines ahead that rows to be transposed are fetched: each is a stream, and those are too many for a processor. */
enum { ROWS_AHEAD = 2 };

/* `columns` rows of K elements, b_n apart, as the columns of a panel `width` wide, zeros beyond. */
static void pack_transposed(const REAL *b, ptrdiff_t b_n, int64_t columns, int64_t width, int64_t K, REAL *packed) {
    int64_t k = 0;
    if (columns < width) memset(packed, 0, (size_t)(K * width) * sizeof *packed);
#ifdef HAS_TRANSPOSE
    for (; k + VL <= K; k += VL) {
        int64_t j = 0;
        for (int64_t i = 0; i < columns && k % LINE == 0; i++) PREFETCH(b + i * b_n + k + ROWS_AHEAD * LINE, 1);
        for (; j + VL <= columns; j += VL) transpose(b + j * b_n + k, b_n, packed + k * width + j, width);
        for (; j < columns; j++)
            for (int64_t i = k; i < k + VL; i++) packed[i * width + j] = b[j * b_n + i];
    }
#endif
    for (; k < K; k += LINE) { /* square blocks: what is read along lines is written while it is near */
        const int64_t to = k + LINE < K ? k + LINE : K;
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = k; i < to; i++) packed[i * width + j] = b[j * b_n + i];
    }
}

/* K rows of `columns` columns, b_k and b_n apart, one of which is 1, as a panel `width` wide, zeros beyond. */
static void pack_panel(const REAL *b, ptrdiff_t b_k, ptrdiff_t b_n, int64_t columns, int64_t width, int64_t K,
                       REAL *packed) {
    CHECK(b_k == 1 || b_n == 1);
    if (b_n != 1) {
        pack_transposed(b, b_n, columns, width, K, packed);
        return;
    }
    for (int64_t k = 0; k < K; k++, b += b_k, packed += width)
        for (int64_t v = 0; v < width; v += VL) {
            const int64_t left = columns - v;
            vstore(packed + v, left < VL ? vload_n(b + v, left) : vload(b + v));
        }
}

/* A matrix (K, N) as panels of two vectors (the last perhaps of one), one behind the other. */
typedef struct {
    const REAL *b;
    ptrdiff_t b_k, b_n;
    int64_t N, K;
    REAL *packed;
} pack_t;

/* Panels that are packed together, by blocks of rows: whole runs of memory are read, not a line here and there.  Fewer
 * of a narrow matrix, for that is a task, and there should be some for every thread. */
enum { ROWS_TOGETHER = 16 };
INLINE int64_t panels_together(int64_t N) { return N < 16 * NR ? 2 : 4; }

/* The panels from column `first` up to column `end`. */
static void pack_panels(const pack_t *p, int64_t first, int64_t end, REAL *packed) {
    const int64_t N = p->N, K = p->K, block = p->b_n == 1 ? ROWS_TOGETHER : K;
    for (int64_t k = 0; k < K; k += block)
        for (int64_t n = first; n < end; n += NR) {
            const int64_t left = N - n, width = panel_vectors(n, N) * VL, rows = K - k < block ? K - k : block;
            pack_panel(p->b + n * p->b_n + k * p->b_k, p->b_k, p->b_n, left < width ? left : width, width, rows,
                       packed + (n - first) * K + k * width);
        }
}

/* Tasks to pack N columns. */
INLINE int64_t pack_tasks(int64_t N) {
    const int64_t width = panels_together(N) * NR;
    return (N + width - 1) / width;
}

static void pack_task(const void *context, int64_t task, int slot) {
    const pack_t *p = context;
    const int64_t width = panels_together(p->N) * NR, n = task * width, end = n + width;
    (void)slot;
    pack_panels(p, n, end < p->N ? end : p->N, p->packed + n * p->K);
}

/* Elements that are packed sooner than another thread is called. */
enum { LITTLE_PACKING = 1 << 15 };

static void pack(const REAL *b, ptrdiff_t b_k, ptrdiff_t b_n, int64_t N, int64_t K, REAL *packed, int slots) {
    const pack_t p = {b, b_k, b_n, N, K, packed};
    fastrnn_parallel(pack_tasks(N), N * K < LITTLE_PACKING ? 1 : slots, pack_task, &p);
}

/* GEMM_DEPTH: a panel of so many rows stays in the first cache, or with the widest vectors in the second (see
 * OUTER_DEPTH).  LITTLE_WORK: multiplications that take no longer than to call another thread. */
enum { GEMM_DEPTH = VBYTES == 64 ? 2048 / (int)sizeof(REAL) : 256, LITTLE_WORK = 1 << 19 };

/* The rows of one run, at most GEMM_ROWS, in the columns [from, to), whose panels stand at `packed`; or, with `fresh`,
 * whole panels that are packed on the way, by the first MAX_TILE rows. */
INLINE void multiply_run(const gemm_t *g, run_t run, int64_t from, int64_t to, REAL *packed, int fresh) {
    const int64_t N = g->N, K = g->K;
    const REAL *a = (const REAL *)g->a + (g->a_row ? 0 : run.first * g->a_m);
    REAL *c = (REAL *)g->c + run.first * g->c_m;
    REAL block[GEMM_ROWS * NR], start[NR], gathered[GEMM_ROWS * GEMM_DEPTH];
    const REAL *init[GEMM_ROWS];
    CHECK(run.count <= GEMM_ROWS);
    for (int64_t n = from; n < to; n += NR) {
        const int vectors = panel_vectors(n, N);
        const int64_t width = N - n < NR ? N - n : NR, panel_k = vectors * VL;
        REAL *panel = packed + (n - from) * K;
        for (int64_t j = 0; j < NR; j++)
            start[j] = g->bias && j < width ? ((const REAL *)g->bias)[n + j] : 0;
        for (int64_t r = 0; r < run.count; r++) init[r] = start;
        for (int64_t k = 0; k < K || k == 0; k += GEMM_DEPTH) {
            const int64_t depth = K - k < GEMM_DEPTH ? K - k : GEMM_DEPTH;
            const int direct = width == NR && k + depth == K; /* else whole vectors, or sums, need a place */
            REAL *out = direct ? c + n : block;
            const ptrdiff_t out_m = direct ? g->c_m : NR;
            const REAL *part = a + k;
            ptrdiff_t part_m = g->a_m;
            if (g->a_row) { /* a walk over scattered rows would miss the cache at every step */
                for (int64_t r = 0; r < run.count && (n == from || K > GEMM_DEPTH); r++)
                    copy_row(gathered + r * depth, a + g->a_row[run.first + r] * g->a_m + k, depth);
                part = gathered, part_m = depth;
            }
            if (fresh)
                tile_packing(part, part_m, (const REAL *)g->b + k * g->b_k + n, g->b_k, depth, init, out, out_m,
                             panel + k * panel_k);
            const int64_t first = fresh ? MAX_TILE : 0;
            rows_times_panel(run.count - first, vectors, part + first * part_m, part_m, 1, panel + k * panel_k, panel_k,
                             depth, init + first, 0, out + first * out_m, out_m, ACT_LINEAR);
            for (int64_t r = 0; r < run.count; r++) init[r] = out + r * out_m;
        }
        for (int64_t r = 0; r < run.count && width < NR; r++)
            copy_row(c + r * g->c_m + n, block + r * NR, width);
    }
}

/* Task: one run, all columns. */
static void gemm_task(const void *context, int64_t task, int slot) {
    const gemm_t *g = context;
    (void)slot;
    multiply_run(g, g->runs[task], 0, g->N, g->packed, 0);
}

/* Task: a few panels, all runs; they are packed where their thread packed those before, in a core's own cache. */
static void gemm_panels_task(const void *context, int64_t task, int slot) {
    const gemm_t *g = context;
    const int64_t width = panels_together(g->N) * NR, n = task * width, end = n + width < g->N ? n + width : g->N;
    const pack_t p = {g->b, g->b_k, g->b_n, g->N, g->K, (REAL *)g->packed + slot * width * g->K};
    const int fresh = g->n_runs && g->runs[0].count >= MAX_TILE && g->b_n == 1 && end % NR == 0 && g->K > 0;
    if (fresh)
        multiply_run(g, g->runs[0], n, end, p.packed, 1);
    else
        pack_panels(&p, n, end, p.packed);
    for (int64_t i = fresh; i < g->n_runs; i++) multiply_run(g, g->runs[i], n, end, p.packed, 0);
}

/* Whether there is one row, which multiplies a matrix as it stands: to pack that would take longer.  (A vector of
 * columns at least, see `row_times_matrix`.) */
INLINE int is_row(const gemm_t *g) {
    return g->n_runs == 1 && g->runs[0].count == 1 && g->b_n == 1 && g->N >= VL && g->K > 0;
}

/* Task: some columns of it. */
enum { ROW_COLUMNS = 2 * STRIP };
static void gemm_row_task(const void *context, int64_t task, int slot) {
    const gemm_t *g = context;
    const int64_t n = task * ROW_COLUMNS, N = g->N - n < ROW_COLUMNS ? g->N - n : ROW_COLUMNS, m = g->runs[0].first;
    const REAL *a = (const REAL *)g->a + (g->a_row ? g->a_row[m] : m) * g->a_m;
    const REAL zeros[VL + ROW_COLUMNS] = {0}; /* with some in front */
    (void)slot;
    row_times_matrix(a, (const REAL *)g->b + n, g->b_k, N, g->K, g->bias ? (const REAL *)g->bias + n : zeros + VL,
                     (REAL *)g->c + m * g->c_m + n);
}

/* FEW_RUNS are no work for all threads, and a large matrix takes as long to pack for them as to multiply. */
enum { FEW_RUNS = 4 };

static void gemm(const gemm_t *g) {
    const int64_t room = g->N / (panels_together(g->N) * NR); /* threads that have a place to pack */
    if (is_row(g)) {
        const int64_t tasks = (g->N + ROW_COLUMNS - 1) / ROW_COLUMNS;
        fastrnn_parallel(tasks, g->N * g->K < LITTLE_WORK ? 1 : g->slots, gemm_row_task, g);
        return;
    }
    if (g->n_runs <= FEW_RUNS && !g->a_row && g->N * g->K >= LITTLE_PACKING) {
        fastrnn_parallel(pack_tasks(g->N), room < g->slots ? (int)room : g->slots, gemm_panels_task, g);
        return;
    }
    pack(g->b, g->b_k, g->b_n, g->N, g->K, g->packed, g->slots);
    const int little = g->N * g->K * g->n_runs * GEMM_ROWS < LITTLE_WORK;
    fastrnn_parallel(g->n_runs, little ? 1 : g->slots, gemm_task, g);
}

/* out[i] += the sum over parts of partial[part][i], part by part; a task takes a chunk of the i. */
typedef struct {
    const REAL *partial;
    REAL *out;
    int64_t parts, part_stride, rows, columns, partial_m;
} sum_t;
static void sum_parts_task(const void *context, int64_t task, int slot) {
    const sum_t *s = context;
    (void)slot;
    REAL *out = s->out + task * s->columns;
    const REAL *partial = s->partial + task * s->partial_m;
    int64_t j = 0;
    for (; j + VL <= s->columns; j += VL) {
        vec total = vset(0);
        for (int64_t p = 0; p < s->parts; p++) total += vload(partial + p * s->part_stride + j);
        vstore(out + j, vload(out + j) + total);
    }
    for (; j < s->columns; j++) {
        REAL total = 0;
        for (int64_t p = 0; p < s->parts; p++) total += partial[p * s->part_stride + j];
        out[j] += total;
    }
}

static void sum_parts(const REAL *partial, REAL *out, int64_t parts, int64_t part_stride,
                      int64_t rows, int64_t columns, int64_t partial_m, int slots) {
    const sum_t s = {partial, out, parts, part_stride, rows, columns, partial_m};
    /* Not worth waking anybody for little. */
    fastrnn_parallel(rows, parts * rows * columns < 65536 ? 1 : slots, sum_parts_task, &s);
}

/* -- products summed over rows -------------------------------------------------------------------- */

/* HALF_OF_L1: elements.  OUTER_DEPTH: rows that are packed together; a panel of them fills half of the first cache, or
 * with the widest vectors all of it, where a line of the second for eight products comes in time.  FEW_COLUMNS of x are
 * read where they stand: so few do not yet fall on the same sets of the first cache, row after row. */
enum { HALF_OF_L1 = (1 << 14) / (int)sizeof(REAL), OUTER_DEPTH = 256, FEW_COLUMNS = 64 };

/* How far the packed tiles of x, K rows each, lie apart: not by a multiple of much. */
INLINE int64_t tile_pitch(int64_t K) { return K * MAX_TILE + LINE; }

/* Room that `add_outer` needs for products of M columns. */
INLINE int64_t add_outer_room(int64_t M) {
    const int64_t tiles = (M + MAX_TILE - 1) / MAX_TILE;
    return M > FEW_COLUMNS ? tiles * tile_pitch(OUTER_DEPTH) + OUTER_DEPTH * NR : 0;
}

/* K rows of M columns, those of x_row or one after the other, in tiles of MAX_TILE columns, each (K, MAX_TILE). */
static void pack_tiles(const REAL *x, ptrdiff_t x_k, const int32_t *x_row, int64_t M, int64_t K, REAL *tiles) {
    const int64_t whole = M / MAX_TILE;
    for (int64_t k = 0; k < K; k++) {
        const REAL *from = x + (x_row ? x_row[k] : k) * x_k;
        REAL *to = tiles + k * MAX_TILE;
        for (int64_t m = 0; m < whole; m++)
            memcpy(to + m * tile_pitch(K), from + m * MAX_TILE, MAX_TILE * sizeof(REAL));
        for (int64_t m = whole * MAX_TILE; m < M; m++) to[whole * tile_pitch(K) + m % MAX_TILE] = from[m];
    }
}

/* One panel of c += x^T y; groups of `tile` columns of x lie x_tile apart.  Meanwhile K rows that lie next_k apart are
 * fetched, a few with each group, unless `next` is NULL. */
INLINE void add_outer_panel(const REAL *x, ptrdiff_t x_k, ptrdiff_t x_tile, int64_t tile, const REAL *panel,
                            ptrdiff_t panel_k, int vectors, int64_t M, int64_t K, REAL *c, ptrdiff_t c_m,
                            const REAL *next, ptrdiff_t next_k) {
    const int64_t fetched = (K * tile + M - 1) / M;
    for (int64_t m = 0, k = 0; m < M; m += tile, x += x_tile) {
        const int64_t rows = M - m < tile ? M - m : tile;
        if (next)
            for (const int64_t end = k + fetched < K ? k + fetched : K; k < end; k++)
                PREFETCH(next + k * next_k, NR * sizeof(REAL));
        const REAL *init[FEW_COLUMNS];
        for (int64_t r = 0; r < rows; r++) init[r] = c + (m + r) * c_m;
        rows_times_panel(rows, vectors, x, 1, x_k, panel, panel_k, K, init, 0, c + m * c_m, c_m, ACT_LINEAR);
    }
}

/* c (M, padded(N)) += x^T y over K rows that lie x_k and y_k apart, or of x those of x_row; the rows of c lie c_m
 * apart.  Up to FEW_COLUMNS of x there are no x_row, and whole vectors of y must be readable. */
static void add_outer(const REAL *x, ptrdiff_t x_k, const int32_t *x_row, const REAL *y, ptrdiff_t y_k, int64_t M,
                      int64_t N, int64_t K, REAL *c, ptrdiff_t c_m, REAL *room) {
    if (M == 0) return;
    if (M <= FEW_COLUMNS) {
        CHECK(!x_row);
        const int64_t most = HALF_OF_L1 / M;
        for (int64_t k = 0; k < K; k += most)
            for (int64_t n = 0; n < N; n += NR)
                add_outer_panel(x + k * x_k, x_k, 0, FEW_COLUMNS, y + k * y_k + n, y_k, panel_vectors(n, N), M,
                                K - k < most ? K - k : most, c + n, c_m, NULL, 0);
        return;
    }
    for (int64_t k = 0; k < K; k += OUTER_DEPTH) {
        const int64_t depth = K - k < OUTER_DEPTH ? K - k : OUTER_DEPTH;
        REAL *panel = room, *tiles = room + OUTER_DEPTH * NR;
        pack_tiles(x_row ? x : x + k * x_k, x_k, x_row ? x_row + k : NULL, M, depth, tiles);
        for (int64_t n = 0; n < N; n += NR) {
            const int vectors = panel_vectors(n, N);
            const REAL *part = y + k * y_k + n;
            pack_panel(part, y_k, 1, N - n < NR ? N - n : NR, vectors * VL, depth, panel);
            add_outer_panel(tiles, MAX_TILE, tile_pitch(depth), MAX_TILE, panel, vectors * VL, vectors, M, depth,
                            c + n, c_m, n + NR < N ? part + NR : NULL, y_k);
        }
    }
}

/* Columns of a sum that make a task, and so are cheap to add to the sums of other rows. */
enum { OUTER_COLUMNS = 128 };

/* Room to put the rows of few columns one after the other. */
INLINE int64_t gathered_size(int64_t M) { return M > FEW_COLUMNS ? 0 : OUTER_BLOCK * M; }

static int64_t outer_work_size(int64_t M, int64_t N) {
    const int64_t Np = padded(N), columns = Np < OUTER_COLUMNS ? Np : OUTER_COLUMNS;
    return gathered_size(M) + OUTER_BLOCK * columns + add_outer_room(M);
}

/* Whether sums go where they belong, not by way of partial results. */
INLINE int outer_direct(const outer_t *o) { return o->groups == 1 && o->N % VL == 0; }

/* Task: some columns of one group of runs, summed into the group's partial result, row M of which is the sum of Y. */
static void outer_task(const void *context, int64_t task, int slot) {
    const outer_t *o = context;
    const int64_t M = o->M, Np = padded(o->N), blocks = (Np + OUTER_COLUMNS - 1) / OUTER_COLUMNS;
    const int64_t group = task / blocks, column = task % blocks * OUTER_COLUMNS;
    const int64_t N = o->N - column < OUTER_COLUMNS ? o->N - column : OUTER_COLUMNS;
    const int direct = outer_direct(o);
    REAL *c = (direct ? (REAL *)o->c : (REAL *)o->partial + group * (M + 1) * Np) + column;
    REAL *sum = direct ? (o->sum ? (REAL *)o->sum + column : NULL) : c + M * Np;
    REAL *gathered = (REAL *)o->work + slot * outer_work_size(M, o->N);
    REAL *packed = gathered + gathered_size(M), *room = packed + OUTER_BLOCK * padded(N);
    for (int64_t m = 0; m <= M && !direct; m++) memset(c + m * Np, 0, (size_t)padded(N) * sizeof *c);
    const int64_t from = o->n_runs * group / o->groups, to = o->n_runs * (group + 1) / o->groups;
    for (int64_t i = from; i < to; i++) {
        for (int64_t s = 0; s < o->runs[i].count; s += OUTER_BLOCK) {
            const int64_t first = o->runs[i].first + s, left = o->runs[i].count - s;
            const int64_t K = left < OUTER_BLOCK ? left : OUTER_BLOCK;
            const REAL *x = (const REAL *)o->x + (o->x_row ? 0 : first * M);
            const REAL *y = (const REAL *)o->y + first * o->N + column;
            const int32_t *x_row = o->x_row ? o->x_row + first : NULL;
            ptrdiff_t y_k = o->N;
            if (x_row && gathered_size(M)) {
                for (int64_t k = 0; k < K; k++) copy_row(gathered + k * M, x + x_row[k] * M, M);
                x = gathered, x_row = NULL;
            }
            if (N % VL) { /* whole vectors must be readable */
                for (int64_t k = 0; k < K; k++) copy_padded(packed + k * padded(N), y + k * y_k, N);
                y = packed, y_k = padded(N);
            }
            add_outer(x, M, x_row, y, y_k, M, N, K, c, Np, room);
            if (o->sum) /* row by row: down a column each would be a line, of the same few sets of a cache */
                for (int64_t k = 0; k < K; k++) sum_rows(sum, sum, y + k * y_k, padded(N));
        }
    }
}

static void outer(const outer_t *o) {
    const int64_t Np = padded(o->N), stride = (o->M + 1) * Np, blocks = (Np + OUTER_COLUMNS - 1) / OUTER_COLUMNS;
    const REAL *partial = o->partial;
    fastrnn_parallel(o->groups * blocks, o->slots, outer_task, o);
    if (outer_direct(o)) return;
    sum_parts(partial, o->c, o->groups, stride, o->M, o->N, Np, o->slots);
    if (o->sum) sum_parts(partial + o->M * Np, o->sum, o->groups, stride, 1, o->N, Np, 1);
}

/* -- element by element ---------------------------------------------------------------------------- */

/* n whole vectors' worth of elements, in place. */
static void activate_block(int32_t activation, REAL *z, int64_t n) {
#define BODY(A) TWICE for (int64_t i = 0; i < n; i += VL) vstore(z + i, apply(A, vload(z + i)))
    EACH_ACTIVATION(activation, BODY)
#undef BODY
}

/* dz = dy f'(y). */
static void slope_block(int32_t activation, const REAL *y, const REAL *dy, REAL *dz, int64_t n) {
#define BODY(A) \
    for (int64_t i = 0; i < n; i += VL) vstore(dz + i, vload(dy + i) * slope(A, vload(y + i)))
    EACH_ACTIVATION(activation, BODY)
#undef BODY
}

typedef struct {
    int32_t activation;
    const REAL *y, *dy;
    REAL *out;
    int64_t n;
} elements_t;

static void elements_task(const void *context, int64_t task, int slot) {
    const elements_t *e = context;
    const int64_t from = task * CHUNK, to = e->n - from < CHUNK ? e->n : from + CHUNK;
    const int64_t whole = from + (to - from) / VL * VL;
    (void)slot;
    if (e->dy) {
        slope_block(e->activation, e->y + from, e->dy + from, e->out + from, whole - from);
    } else {
        if (e->out != e->y) memcpy(e->out + from, e->y + from, (size_t)(to - from) * sizeof(REAL));
        activate_block(e->activation, e->out + from, whole - from);
    }
    if (whole < to) {
        const int64_t left = to - whole;
        const vec y = vload_n(e->y + whole, left);
        vstore_n(e->out + whole,
                 e->dy ? vload_n(e->dy + whole, left) * slope(e->activation, y)
                       : apply(e->activation, y),
                 left);
    }
}

static void activate(int32_t activation, const void *z, void *y, int64_t n, int slots) {
    const elements_t e = {activation, z, NULL, y, n};
    fastrnn_parallel((n + CHUNK - 1) / CHUNK, slots, elements_task, &e);
}

static void activate_backward(int32_t activation, const void *y, const void *dy, void *dz, int64_t n,
                              int slots) {
    const elements_t e = {activation, y, dy, dz, n};
    fastrnn_parallel((n + CHUNK - 1) / CHUNK, slots, elements_task, &e);
}

#include "sweep.h"
#include "rows.h"
#include "program.h"

const kernels_t JOIN(fastrnn_kernels_, JOIN(REAL_NAME, JOIN(_, ISA))) = {
    .vector_length = VL,
    .gemm_packed_size = gemm_packed_size,
    .gemm = gemm,
    .outer = outer,
    .outer_work_size = outer_work_size,
    .padded = padded,
    .sweep_after_size = sweep_after_size,
    .sweep_work_size = sweep_work_size,
    .sweep_forward = sweep_forward,
    .sweep_backward = sweep_backward,
    .activate = activate,
    .activate_backward = activate_backward,
    .softmax = softmax,
    .softmax_backward = softmax_backward,
    .scatter_rows = scatter_rows,
    .gather_rows = gather_rows,
    .add_rows = add_rows,
    .sgd = sgd,
    .rmsprop = rmsprop,
    .adam = adam,
    .sum_squares = sum_squares,
    .loss = loss,
    .program_work_size = program_work_size,
    .run_program = run_program,
};

