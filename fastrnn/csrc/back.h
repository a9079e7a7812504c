/* Backpropagation through time: the walks from the last step to the first, and the sums of what they found for the
 * weights.  Included by sweep.h. */

/* What a walk sums: dU (H, G Hp), then dbias (Hp); with a dx, dW (D, G Hp) and db (G Hp). */
INLINE int64_t state_sums(const sweep_t *s, int64_t gates) { return (s->H * gates + 1) * padded(s->H); }

INLINE int64_t partial_size(const sweep_t *s, int64_t gates) {
    return state_sums(s, gates) + (s->dx ? (s->D + 1) * gates * padded(s->H) : 0);
}

/* Whether a walk adds straight to dU and dbias: the only one, with nothing else to sum, to rows of whole vectors. */
INLINE int sums_in_place(const sweep_t *s) {
    return s->B <= s->shard_rows && !s->prefix_length && !s->dx && s->H % VL == 0;
}

/* Place the sums of walk number `walk`: its weights' gradients, cleared, and those of the rows that it will meet,
 * as they are. */
INLINE void give_sums(const sweep_t *s, walk_t *w, int64_t walk) {
    const int64_t Hp = padded(s->H), G = w->cell.gates;
    if (s->after) return;
    w->dU = (REAL *)s->partial + walk * partial_size(s, G);
    w->dbias = w->dU + s->H * G * Hp;
    w->dW = w->dU + state_sums(s, G);
    w->db = w->dW + s->D * G * Hp;
    if (sums_in_place(s)) {
        w->dU = s->dU;
        if (s->dbias)
            w->dbias = s->dbias;
        else
            memset(w->dbias, 0, (size_t)Hp * sizeof(REAL));
    } else {
        memset(w->dU, 0, (size_t)partial_size(s, G) * sizeof(REAL));
    }
    if (s->ids) w->met = (REAL *)s->met + s->met_offset[walk] * G * Hp;
}

/* The gradient of row i's last k-th state: from outside, and from the outputs that repeat it. */
static void last_gradient(const sweep_t *s, const walk_t *w, int64_t i, int64_t k, REAL *dh) {
    const int64_t H = s->H, Hp = padded(H), b = w->row[i];
    memset(dh, 0, (size_t)Hp * sizeof *dh);
    if (w->inject[0]) {
        add_row(dh, w->inject[k] + w->length[i] * Hp, H);
        return;
    }
    if (s->dlast[k]) add_row(dh, (const REAL *)s->dlast[k] + b * H, H);
    if (k == 0 && s->dy && s->repeat && w->length[i])
        for (int64_t t = w->start[i] + w->length[i]; t < s->T; t++)
            add_row(dh, (const REAL *)s->dy + (b * s->T + t) * H, H);
}

INLINE int32_t place_of(int32_t met_at) { return met_at < 0 ? ~met_at : met_at; }

/* Add one row's gradient to that of its row of the table; the first to a row of zeros, in place of what is there. */
INLINE void meet(const sweep_t *s, const walk_t *w, int32_t met_at, const REAL *dz) {
    const int64_t Hp = padded(s->H), G = w->cell.gates, beside = s->cell == CELL_GRU ? G - 1 : G;
    REAL *met = w->met + place_of(met_at) * G * Hp;
    const REAL *before = met_at < 0 ? w->zeros : met;
    sum_rows(met, before, dz, beside * Hp);
    if (beside < G) sum_rows(met + beside * Hp, before + beside * Hp, dz + G * Hp, Hp);
}

/* Hand on the gradients of the projected inputs of steps [from, to), last step first; their rows stand in the order
 * of the steps up to `dz_end`.  Returns the number of rows. */
static int64_t give_input_gradients(const sweep_t *s, const walk_t *w, int64_t from, int64_t to,
                                    const REAL *dz_end) {
    const int64_t H = s->H, Hp = padded(H), G = w->cell.gates;
    int64_t rows = 0;
    for (int64_t step = to - 1; step >= from; step--) {
        const int64_t n = rows_at(w, step);
        rows += n;
        const REAL *dz = dz_end - rows * w->pitch;
        for (int64_t i = 0; i < n; i++, dz += w->pitch) {
            if (s->ids) {
                const int32_t *met_at = w->met_at + step * w->rows + i;
                if (step > from)
                    PREFETCH(w->met + place_of(met_at[-w->rows]) * G * Hp, (size_t)(G * Hp) * sizeof(REAL));
                meet(s, w, *met_at, dz);
                continue;
            }
            REAL *dxz = (REAL *)s->dxz + (w->row[i] * s->T + w->start[i] + step) * G * H;
            for (int64_t gate = 0; gate < G; gate++)
                copy_row(dxz + gate * H, dz + (gate + (s->cell == CELL_GRU && gate == G - 1)) * Hp, H);
        }
    }
    return rows;
}

/* The gates of a projected input whose gradients stand together, from `place` of dz on: of a GRU's the last follows
 * behind that of the product with U. */
typedef struct {
    int64_t gate, gates, place;
} input_part_t;

INLINE int input_parts(const sweep_t *s, input_part_t *parts) {
    const int64_t G = fastrnn_cell(s->cell).gates, apart = s->cell == CELL_GRU;
    parts[0] = (input_part_t){0, G - apart, 0};
    parts[1] = (input_part_t){G - 1, 1, G};
    return 1 + (int)apart;
}

/* dx = dz W^T for so many rows of dz; those of dx are Dp wide. */
static void inputs_through_W(const sweep_t *s, const walk_t *w, const REAL *dz, int64_t rows, REAL *dx) {
    const int64_t Hp = padded(s->H), Dp = padded(s->D), G = w->cell.gates;
    const REAL zeros[NR] = {0}, *init[GEMM_ROWS];
    input_part_t parts[2];
    const int n_parts = input_parts(s, parts);
    for (int64_t j = 0; j < s->D; j += NR) {
        const int vectors = panel_vectors(j, s->D);
        const int64_t width = vectors * VL;
        for (int64_t first = 0; first < rows; first += GEMM_ROWS) {
            const int64_t n = rows - first < GEMM_ROWS ? rows - first : GEMM_ROWS;
            REAL *out = dx + first * Dp + j;
            for (int64_t r = 0; r < n; r++) init[r] = zeros;
            for (const input_part_t *p = parts; p < parts + n_parts; p++) {
                rows_times_panel(n, vectors, dz + first * w->pitch + p->place * Hp, w->pitch, 1,
                                 (const REAL *)s->packed_W + j * G * Hp + p->gate * Hp * width, width, p->gates * Hp,
                                 init, 0, out, Dp, ACT_LINEAR);
                for (int64_t r = 0; r < n; r++) init[r] = out + r * Dp;
            }
        }
    }
}

/* The gradients of what was projected for the steps [from, to), whose rows stand in the order of the steps from dz on:
 * dx, dW and db.  Returns the number of rows. */
static int64_t project_steps_backward(const sweep_t *s, const walk_t *w, int64_t from, int64_t to, const REAL *dz,
                                      REAL *room) {
    const int64_t D = s->D, Dp = padded(D), Hp = padded(s->H), columns = w->cell.gates * Hp;
    REAL *const outer_room = take(&room, add_outer_room(D)), *const x = room;
    int64_t rows = 0;
    input_part_t parts[2];
#define EACH_INPUT_ROW(BODY)                                                             \
    for (int64_t step = from, k = 0; step < to; step++) {                                \
        const int64_t n = rows_at(w, step);                                              \
        for (int64_t i = 0; i < n; i++, k++) {                                           \
            const int64_t at = (w->row[i] * s->T + w->start[i] + step) * D;              \
            BODY;                                                                        \
        }                                                                                \
    }
    EACH_INPUT_ROW(copy_row(x + k * D, (const REAL *)s->x + at, D); rows++)
    const int n_parts = input_parts(s, parts);
    for (const input_part_t *p = parts; p < parts + n_parts; p++) {
        const REAL *own = dz + p->place * Hp;
        add_outer(x, D, NULL, own, w->pitch, D, p->gates * Hp, rows, w->dW + p->gate * Hp, columns, outer_room);
        for (int64_t k = 0; k < rows; k++)
            sum_rows(w->db + p->gate * Hp, w->db + p->gate * Hp, own + k * w->pitch, p->gates * Hp);
    }
    REAL *const dx = x + rows * D;
    inputs_through_W(s, w, dz, rows, dx);
    EACH_INPUT_ROW(copy_row((REAL *)s->dx + at, dx + k * Dp, D))
#undef EACH_INPUT_ROW
    return rows;
}

/* A part of dU += a^T dz: `columns` of it. */
typedef struct {
    const sweep_t *s;
    const walk_t *w;
    const REAL *a, *dz;
    int64_t columns, rows;
    int each; /* pieces for a member */
    REAL *dU, *room; /* that of a team's members lie sweep_work_size apart */
} weight_gradient_t;

static void weight_gradient_piece(const void *context, int64_t piece, int member) {
    const weight_gradient_t *g = context;
    const int64_t H = g->s->H, Hp = padded(H), panels = (g->columns + NR - 1) / NR;
    const int64_t pieces = g->each * g->w->team->phase.members;
    const int64_t from = panels * piece / pieces * NR, end = panels * (piece + 1) / pieces * NR;
    const int64_t to = end < g->columns ? end : g->columns;
    if (from < to)
        add_outer(g->a, Hp, NULL, g->dz + from, g->w->pitch, H, to - from, g->rows, g->dU + from, g->w->cell.gates * Hp,
                  g->room + member * sweep_work_size(g->s));
}

/* dU += a^T dz over steps [from, to), whose `rows` rows stand in dz one after the other; a is what U multiplied. */
static void add_weight_gradient(const sweep_t *s, const walk_t *w, int64_t from, int64_t to, const REAL *dz,
                                int64_t rows, REAL *room) {
    const int64_t H = s->H, Hp = padded(H), G = w->cell.gates;
    const int64_t many = s->noise || s->cell == CELL_GRU_RESET_BEFORE ? 1 : G; /* gates that multiplied the same */
    REAL *outer_room = take(&room, add_outer_room(H));
    for (int64_t gate = 0; gate < G; gate += many) {
        const REAL *a = left_operand(s, w, gate, from, to, room);
        if (w->team) {
            const int each = fastrnn_each(w->team, (many * Hp + OUTER_COLUMNS - 1) / OUTER_COLUMNS);
            fastrnn_together(w->team, each, 1, weight_gradient_piece,
                             &(weight_gradient_t){s, w, a, dz + gate * Hp, many * Hp, rows, each, w->dU + gate * Hp,
                                                  outer_room});
        } else {
            add_outer(a, Hp, NULL, dz + gate * Hp, w->pitch, H, many * Hp, rows, w->dU + gate * Hp, G * Hp, outer_room);
        }
    }
}

/* Sums of so many elements are not held for each walk, where all rows take all steps: to clear them, to keep them near
 * and to add them up takes longer than to read the gradients of all steps once more.  What U multiplied is on the tape,
 * what came of it are the gradients of the projected inputs, if nothing lies in between. */
enum { LARGE_WEIGHTS = 1 << 19 };

INLINE int64_t cut_all_steps(const sweep_t *s, run_t *pieces) {
    return fastrnn_cut_runs(&(run_t){0, s->B * s->T}, 1, OUTER_BLOCK, pieces);
}

/* Bytes of `after`, 0 if each walk takes its own part of the weights' gradient. */
static int64_t sweep_after_size(const sweep_t *s) {
    const cell_t cell = fastrnn_cell(s->cell);
    const int64_t rows = s->B * (s->T + 1) * (cell.states + cell.kept);
    if (shards_of(s) < 2 || s->ids || s->dx || s->noise || s->H % VL) return 0;
    if (s->H * s->H * cell.gates < LARGE_WEIGHTS) return 0;
    if ((s->cell != CELL_SIMPLE_RNN && s->cell != CELL_LSTM) || rows > INT32_MAX) return 0;
    for (int64_t i = 0; i < s->B; i++)
        if (s->length[i] < s->T) return 0;
    return cut_all_steps(s, NULL) * (int64_t)sizeof(run_t) + s->B * s->T * (int64_t)sizeof(int32_t);
}

/* dU += h^T dz over all steps of all rows. */
static void add_weight_gradient_after(const sweep_t *s) {
    const cell_t cell = fastrnn_cell(s->cell);
    run_t *runs = s->after;
    const int64_t n_runs = cut_all_steps(s, runs);
    int32_t *tape_row = (int32_t *)(runs + n_runs); /* of each row of dz */
    for (int64_t shard = 0; shard < shards_of(s); shard++) {
        const walk_t w = walk_of(s, shard);
        const int64_t first = s->tape_offset[shard] * (cell.states + cell.kept);
        for (int64_t i = 0; i < w.rows; i++)
            for (int64_t t = 0; t < s->T; t++) tape_row[w.row[i] * s->T + t] = (int32_t)(first + t * w.rows + i);
    }
    outer(&(outer_t){.x = s->tape, .y = s->dxz, .x_row = tape_row, .c = s->dU, .M = s->H, .N = cell.gates * s->H,
                     .runs = runs, .n_runs = n_runs, .groups = 1, .work = s->work, .slots = s->slots});
}

/* Fetch what the way back will soon read.  Not all at one time: a core has only so many misses under way, and
 * those of what a step keeps can wait for its product, which reads from the first cache alone. */
INLINE void fetch_states_behind(const walk_t *w, int64_t n, int64_t step, int64_t Hp) {
    if (step < AHEAD) return;
    for (int64_t k = 0; k < w->cell.states; k++)
        PREFETCH_AHEAD(w->state[k] + (step + 1 - AHEAD) * w->rows * Hp, (size_t)(n * Hp) * sizeof(REAL));
}

/* The rows of an array (B, T, width), or NULL. */
INLINE void fetch_rows_behind(const sweep_t *s, const walk_t *w, int64_t n, int64_t step, const REAL *array,
                              int64_t width) {
    if (!array || step < AHEAD) return;
    for (int64_t i = 0; i < n; i++)
        PREFETCH_AHEAD(array + (w->row[i] * s->T + w->start[i] + step - AHEAD) * width, (size_t)width * sizeof(REAL));
}

INLINE void fetch_kept_behind(const walk_t *w, int64_t n, int64_t step, int64_t Hp) {
    const int64_t K = w->cell.kept;
    if (K && step >= AHEAD)
        PREFETCH_AHEAD(w->kept + (step - AHEAD) * w->rows * K * Hp, (size_t)(n * K * Hp) * sizeof(REAL));
}

/* Leaves the gradients of the first states in `work`: S times (rows, Hp). */
static void walk_backward(const sweep_t *s, walk_t *w, REAL *work) {
    const int64_t H = s->H, Hp = padded(H), block = w->rows * Hp;
    const int64_t S = w->cell.states, K = w->cell.kept;
    const int64_t steps_kept = s->after ? 1 : step_block(H, s->shard_rows);
    const REAL *const given = work;
    (void)given; /* but for the check */
    REAL *dstate[MAX_STATES] = {NULL};
    for (int64_t k = 0; k < S; k++) dstate[k] = take(&work, block);
    work = give_room(s, w, work);
    REAL *const end = take(&work, steps_kept * w->rows * w->pitch) + steps_kept * w->rows * w->pitch;
    CHECK(work + gradient_room(s) <= given + sweep_work_size(s));
    step_gradient_t d = {.dh = dstate[0], .dc = S > 1 ? dstate[1] : NULL, .dz = end, .pitch = w->pitch};
    int64_t n = 0, kept_to = w->length[0];
    for (int64_t step = w->length[0] - 1; step >= 0; step--) {
        const int64_t joined = n;
        while (n < w->rows && w->length[n] > step) n++;
        for (int64_t k = 0; k < S; k++) {
            for (int64_t i = joined; i < n; i++) last_gradient(s, w, i, k, dstate[k] + i * Hp);
            if (w->inject[0] && n == joined) add_row(dstate[k], w->inject[k] + (step + 1) * Hp, H);
        }
        if (s->dy && !w->inject[0])
            for (int64_t i = 0; i < n; i++)
                add_row(d.dh + i * Hp,
                        (const REAL *)s->dy + (w->row[i] * s->T + w->start[i] + step) * H, H);
        fetch_states_behind(w, n, step, Hp);
        fetch_rows_behind(s, w, n, step, s->x, s->D);
        fetch_rows_behind(s, w, n, step, w->inject[0] ? NULL : s->dy, H);
        d.dz -= n * w->pitch; /* back to front: in the order of the steps, as the states are */
        const step_t t = {
            .n = n,
            .h = w->state[0] + step * block,
            .new_h = w->state[0] + (step + 1) * block,
            .c = S > 1 ? w->state[1] + step * block : NULL,
            .new_c = S > 1 ? w->state[1] + (step + 1) * block : NULL,
            .kept = w->kept + step * K * block,
        };
        w->back = n == 1 && step % 2;
        step_backward(s, w, t, d);
        fetch_kept_behind(w, n, step, Hp);
        states_through_U(s, w, n, d);
        if (step % steps_kept == 0) {
            const int64_t rows = s->dx ? project_steps_backward(s, w, step, kept_to, d.dz, work)
                                       : give_input_gradients(s, w, step, kept_to, end);
            if (!s->after) add_weight_gradient(s, w, step, kept_to, d.dz, rows, work);
            kept_to = step;
            d.dz = end;
        }
    }
    for (int64_t k = 0; k < S; k++) /* rows without steps */
        for (int64_t i = n; i < w->rows; i++) last_gradient(s, w, i, k, dstate[k] + i * Hp);
}

static void lead_backward(const void *context) {
    const route_t *route = context;
    walk_backward(route->s, route->w, route->work);
}

static void backward_task(const void *context, int64_t shard, int slot) {
    const sweep_t *s = context;
    const int64_t H = s->H, Hp = padded(H);
    walk_t w = walk_of(s, shard);
    REAL *work = (REAL *)s->work + slot * sweep_work_size(s);
    give_sums(s, &w, shard + 1);
    take_route((route_t){s, &w, NULL, 0, work}, lead_backward);
    for (int64_t k = 0; k < w.cell.states; k++)
        for (int64_t i = 0; i < w.rows; i++)
            copy_row((REAL *)s->dfirst[k] + w.row[i] * H, work + (k * w.rows + i) * Hp, H);
}

/* Backward through the shared prefix.  The Jacobians along it are those of every row, so the gradients of
 * the rows add up: each shard's where it joined, and those of the outputs that all rows show there. */
static void prefix_backward(const sweep_t *s, int slot) {
    const int64_t H = s->H, Hp = padded(H), all = (s->prefix_length + 1) * Hp;
    walk_t prefix = prefix_walk(s);
    const int64_t S = prefix.cell.states;
    REAL *inject = s->inject;
    memset(inject, 0, (size_t)(S * all) * sizeof *inject);
    for (int64_t k = 0; k < S; k++)
        for (int64_t i = 0; i < s->B; i++)
            add_row(inject + k * all + s->start[i] * Hp, (const REAL *)s->dfirst[k] + s->row[i] * H, H);
    for (int64_t i = 0; s->dy && i < s->B; i++)
        for (int64_t t = 0; t < s->start[i]; t++)
            add_row(inject + (t + 1) * Hp, (const REAL *)s->dy + (s->row[i] * s->T + t) * H, H);
    for (int64_t k = 0; k < S; k++) prefix.inject[k] = inject + k * all;
    give_sums(s, &prefix, 0);
    walk_backward(s, &prefix, (REAL *)s->work + slot * sweep_work_size(s));
}

/* dP += the sums of a walk for its rows from `from` to `to` - 1. */
static void add_met(const sweep_t *s, int64_t walk, int32_t from, int32_t to) {
    const int64_t H = s->H, Hp = padded(H), G = fastrnn_cell(s->cell).gates, count = s->met_count[walk];
    const int32_t *rows = s->met_row + s->met_offset[walk];
    int64_t i = 0, end = count; /* the first with rows[i] >= from: they ascend */
    while (i < end) {
        const int64_t middle = (i + end) / 2;
        if (rows[middle] < from)
            i = middle + 1;
        else
            end = middle;
    }
    for (; i < count && rows[i] < to; i++) {
        const REAL *met = (const REAL *)s->met + (s->met_offset[walk] + i) * G * Hp;
        for (int64_t gate = 0; gate < G; gate++)
            add_row((REAL *)s->dP + (rows[i] * G + gate) * H, met + gate * Hp, H);
    }
}

/* Rows of dP that are summed at a time: so many that they stay in the first cache. */
INLINE int64_t rows_together(const sweep_t *s) {
    enum { BYTES = 1 << 14, LEAST = 16 };
    const int64_t rows = BYTES / (fastrnn_cell(s->cell).gates * s->H * (int64_t)sizeof(REAL));
    return rows < LEAST ? LEAST : rows;
}

/* After the shards: task 0 is the prefix where there is one, each other some rows of dP, summed over the
 * shards in their order. */
static void after_shards_task(const void *context, int64_t task, int slot) {
    const sweep_t *s = context;
    if (s->prefix_length && task == 0) {
        prefix_backward(s, slot);
        return;
    }
    const int64_t columns = fastrnn_cell(s->cell).gates * s->H, many = rows_together(s);
    const int64_t from = (task - (s->prefix_length > 0)) * many;
    const int64_t to = from + many < s->V ? from + many : s->V;
    memset((REAL *)s->dP + from * columns, 0, (size_t)((to - from) * columns) * sizeof(REAL));
    for (int64_t walk = 1; walk <= shards_of(s); walk++) add_met(s, walk, (int32_t)from, (int32_t)to);
}

/* Add what the walks summed, in their order, to where it belongs; the prefix's place is the first. */
static void add_partial_sums(const sweep_t *s) {
    const int64_t H = s->H, Hp = padded(H), G = fastrnn_cell(s->cell).gates, size = partial_size(s, G);
    const int64_t first = s->prefix_length ? 0 : 1, parts = shards_of(s) + 1 - first;
    const REAL *partial = (const REAL *)s->partial + first * size;
    sum_parts(partial, s->dU, parts, size, H * G, H, Hp, s->slots);
    if (s->dbias) sum_parts(partial + H * G * Hp, s->dbias, parts, size, 1, H, Hp, 1);
    if (!s->dx) return;
    const REAL *dW = partial + state_sums(s, G), *db = dW + s->D * G * Hp;
    sum_parts(dW, s->dW, parts, size, s->D * G, H, Hp, s->slots);
    if (s->db) sum_parts(db, s->db, parts, size, G, H, Hp, 1);
}

static void sweep_backward(const sweep_t *s) {
    const int64_t shards = shards_of(s), prefix = s->prefix_length > 0;
    const int64_t parts = (s->V + rows_together(s) - 1) / rows_together(s);
    sweep_t own = *s;
    own.as_it_stands = reads_U_as_it_stands(s);
    own.team = team_size(&own, shards);
    if (!own.as_it_stands) pack_gates_transposed(s, s->U, s->H, s->packed);
    if (s->dx) pack_gates_transposed(s, s->W, s->D, s->packed_W);
    fastrnn_parallel(shards, s->slots, backward_task, &own);
    if (s->after) add_weight_gradient_after(s);
    if (s->ids) fastrnn_parallel(prefix + parts, s->slots, after_shards_task, &own);
    const uint64_t setting = fastrnn_flush_denormals();
    if (prefix) add_met(s, 0, 0, (int32_t)s->V);
    if (!s->after && !sums_in_place(s)) add_partial_sums(s);
    fastrnn_restore_denormals(setting);
}
