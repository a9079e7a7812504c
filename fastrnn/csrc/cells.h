/* One step of each recurrent cell, forward and backward, for the rows of a walk.  Included by sweep.h.
 *
 * G gates, S states (h, and c of an LSTM) and K vectors that a step keeps for the way back:
 *
 *                      G  S  K
 *   simple RNN         1  1  0                   h' = f(z)
 *   LSTM               4  2  4: i f g o          c' = f c + i g, h' = o f(c')
 *   GRU                3  1  4: z r g q          g = f(x_h + r q), q = h U_h + b, h' = z h + (1 - z) g
 *   GRU, reset before  3  1  3: z r g            g = f(x_h + (r h) U_h)
 *
 * Rows of gates are G Hp wide, those of their gradients lie `pitch` apart, those of what is kept are K Hp
 * wide, those of states Hp. */

/* The loops of most nets, tanh and sigmoid, know their activations; those of others ask. */
#define EACH_PAIR(s, BODY)                                                                   \
    if ((s)->activation == ACT_TANH && (s)->recurrent_activation == ACT_SIGMOID) {           \
        BODY(ACT_TANH, ACT_SIGMOID)                                                          \
    } else {                                                                                 \
        BODY((s)->activation, (s)->recurrent_activation)                                     \
    }

#define EACH_ROW(n) for (int64_t i = 0; i < (n); i++)
#define EACH_ELEMENT(n, Hp) \
    EACH_ROW(n)             \
        TWICE for (int64_t j = 0; j < (Hp); j += VL)

/* y = f(y) for whole vectors; for gates see `apply_gate`.  Loops of one activation each: their coefficients stay
 * in registers, and a step of an LSTM is 4 % shorter than with all of them in one. */
INLINE void apply_row(int32_t activation, REAL *y, int64_t n) {
    TWICE for (int64_t j = 0; j < n; j += VL) vstore(y + j, apply(activation, vload(y + j)));
}

INLINE void apply_gates(int32_t activation, REAL *y, int64_t n) {
    TWICE for (int64_t j = 0; j < n; j += VL) vstore(y + j, apply_gate(activation, vload(y + j)));
}

/* The states of n rows, before and after a step; on the way there room for its gates, n K Hp; on the way back what
 * it kept.  Steps are passed by value, or every store in their loops might have changed them. */
typedef struct {
    int64_t n;
    const REAL *h, *c, *kept;
    REAL *new_h, *new_c, *gates;
} step_t;

/* Their gradients.  Before: by the states after the step.  After: dh and dc by the states before the step but for
 * what comes through U; rows of dz, `pitch` apart, by the products with U, G Hp, which are those by the projected
 * inputs too, but for the last gate of a GRU, whose input's gradient follows behind. */
typedef struct {
    REAL *dh, *dc, *dz;
    int64_t pitch;
} step_gradient_t;

/* -- products with the state -------------------------------------------------------------------------- */

/* The state as the product of a gate sees it: itself, or with its dropout. */
INLINE const REAL *dropped(const sweep_t *s, const walk_t *w, int64_t n, const REAL *h, int64_t gate) {
    const int64_t Hp = padded(s->H);
    if (!s->noise) return h;
    const REAL *noise = w->noise + gate % s->noises * w->rows * Hp;
    for (int64_t k = 0; k < n * Hp; k += VL) vstore(w->dropped + k, vload(h + k) * vload(noise + k));
    return w->dropped;
}

/* out = f(init + a U) for some gates, or out = init + a U^T over some: what a panel of either takes. */
typedef struct {
    const sweep_t *s;
    int64_t n; /* rows */
    const REAL *a;
    int64_t from, to; /* gates */
    const REAL *const *init;
    REAL *out;
    int64_t pitch; /* of `out`, or of `a` U^T */
    int32_t activation;
    int64_t pieces;
} product_t;

/* Columns [first, end) of one gate, whole panels. */
INLINE void times_panels(const sweep_t *s, int64_t n, const REAL *a, int64_t gate, int64_t first, int64_t end,
                         const REAL *const *init, REAL *out, int64_t out_m, int32_t activation) {
    const int64_t H = s->H, Hp = padded(H);
    const REAL *packed = (const REAL *)s->packed + gate * H * Hp;
    for (int64_t j = first; j < end; j += NR) {
        const int vectors = panel_vectors(j, H);
        rows_times_panel(n, vectors, a, Hp, 1, packed + j * H, vectors * VL, H, init, gate * Hp + j,
                         out + gate * Hp + j, out_m, activation);
    }
}

INLINE void times_panels_transposed(const sweep_t *s, int64_t n, const REAL *dz, int64_t pitch, int64_t gate,
                                    int64_t gates, int64_t first, int64_t end, const REAL *const *init, REAL *out) {
    const int64_t H = s->H, Hp = padded(H), G = fastrnn_cell(s->cell).gates;
    for (int64_t j = first; j < end; j += NR) {
        const int vectors = panel_vectors(j, H);
        const REAL *packed = (const REAL *)s->packed + j * G * Hp + gate * Hp * vectors * VL;
        rows_times_panel(n, vectors, dz + gate * Hp, pitch, 1, packed, vectors * VL, gates * Hp, init, j, out + j, Hp,
                         ACT_LINEAR);
    }
}

/* Pieces of them for a team: of the panels of all gates, one after the other, or of those of U^T. */
static void times_U_piece(const void *context, int64_t piece, int member) {
    const product_t *p = context;
    const int64_t width = (p->s->H + NR - 1) / NR * NR, panels = (p->to - p->from) * width / NR;
    const int64_t first = panels * piece / p->pieces * NR, end = panels * (piece + 1) / p->pieces * NR;
    (void)member;
    for (int64_t i = first; i < end;) {
        const int64_t gate = i / width, stop = (gate + 1) * width < end ? (gate + 1) * width : end;
        times_panels(p->s, p->n, p->a, p->from + gate, i - gate * width, stop - gate * width, p->init, p->out, p->pitch,
                     p->activation);
        i = stop;
    }
}

static void times_U_transposed_piece(const void *context, int64_t piece, int member) {
    const product_t *p = context;
    const int64_t panels = (p->s->H + NR - 1) / NR;
    (void)member;
    times_panels_transposed(p->s, p->n, p->a, p->pitch, p->from, p->to - p->from, panels * piece / p->pieces * NR,
                            panels * (piece + 1) / p->pieces * NR, p->init, p->out);
}

static NOINLINE void together(team_t *team, task_fn run, product_t p) {
    p.pieces = fastrnn_pieces(team);
    fastrnn_together(team, run, &p);
}

static NOINLINE void times_U_together(const sweep_t *s, const walk_t *w, int64_t n, const REAL *h, int64_t from,
                                      int64_t to, const REAL *const *init, REAL *out, int64_t out_m,
                                      int32_t activation) {
    const int64_t many = s->noise ? 1 : to - from; /* gates whose product sees the same */
    for (int64_t gate = from; gate < to; gate += many)
        together(w->team, times_U_piece, (product_t){s, n, dropped(s, w, n, h, gate), gate, gate + many, init, out,
                                                     out_m, activation, 0});
}

/* out = f(init + h U) for the gates from .. to - 1, `out` and `init` being rows of gates. */
INLINE void times_U(const sweep_t *s, const walk_t *w, int64_t n, const REAL *h, int64_t from, int64_t to,
                    const REAL *const *init, REAL *out, int64_t out_m, int32_t activation) {
    if (w->team) {
        times_U_together(s, w, n, h, from, to, init, out, out_m, activation);
        return;
    }
    for (int64_t gate = from; gate < to; gate++)
        times_panels(s, n, dropped(s, w, n, h, gate), gate, 0, s->H, init, out, out_m, activation);
}

/* dh += dz U^T for the gates from .. to - 1; or, without `add`, dh = dz U^T. */
INLINE void times_U_transposed(const sweep_t *s, const walk_t *w, int64_t n, const REAL *dz, int64_t from,
                               int64_t to, int add, REAL *dh) {
    const int64_t Hp = padded(s->H);
    const REAL *init[MAX_SHARD];
    if (s->noise) { /* each gate's gradient through its own noise */
        if (!add) memset(dh, 0, (size_t)(n * Hp) * sizeof *dh);
        for (int64_t i = 0; i < n; i++) init[i] = w->zeros;
    } else {
        for (int64_t i = 0; i < n; i++) init[i] = add ? dh + i * Hp : w->zeros;
    }
    const int64_t many = s->noise ? 1 : to - from;
    for (int64_t gate = from; gate < to; gate += many) {
        REAL *out = s->noise ? w->dropped : dh;
        if (w->team)
            together(w->team, times_U_transposed_piece,
                     (product_t){s, n, dz, gate, gate + many, init, out, w->pitch, ACT_LINEAR, 0});
        else
            times_panels_transposed(s, n, dz, w->pitch, gate, many, 0, s->H, init, out);
        if (!s->noise) continue;
        const REAL *noise = w->noise + gate % s->noises * w->rows * Hp;
        for (int64_t k = 0; k < n * Hp; k += VL)
            vstore(dh + k, vload(dh + k) + vload(out + k) * vload(noise + k));
    }
}

/* U for `times_U`: the panels of each gate. */
static void pack_U(const sweep_t *s) {
    const int64_t H = s->H, G = fastrnn_cell(s->cell).gates;
    for (int64_t gate = 0; gate < G; gate++)
        pack((const REAL *)s->U + gate * H, G * H, 1, H, H, (REAL *)s->packed + gate * H * padded(H), s->slots);
}

/* Task: one panel of U^T for `times_U_transposed`: Hp rows of each gate, gate after gate. */
static void pack_U_transposed_task(const void *context, int64_t panel, int slot) {
    const sweep_t *s = context;
    const int64_t H = s->H, Hp = padded(H), G = fastrnn_cell(s->cell).gates, n = panel * NR;
    const int64_t width = panel_vectors(n, H) * VL, columns = H - n < width ? H - n : width;
    (void)slot;
    for (int64_t gate = 0; gate < G; gate++) {
        REAL *packed = (REAL *)s->packed + n * G * Hp + gate * Hp * width;
        pack_panel((const REAL *)s->U + (n * G + gate) * H, 1, G * H, columns, width, H, packed);
        memset(packed + H * width, 0, (size_t)((Hp - H) * width) * sizeof *packed);
    }
}

static void pack_U_transposed(const sweep_t *s) {
    const int64_t panels = (s->H + NR - 1) / NR, elements = s->H * s->H * fastrnn_cell(s->cell).gates;
    fastrnn_parallel(panels, elements < LITTLE_PACKING ? 1 : s->slots, pack_U_transposed_task, s);
}

/* -- simple RNN ----------------------------------------------------------------------------------------- */

static void simple_rnn_step(const sweep_t *s, const walk_t *w, step_t t, const REAL *const *init) {
    const int64_t Hp = padded(s->H);
    times_U(s, w, t.n, t.h, 0, 1, init, t.new_h, Hp, s->activation);
    if (!TILES_ACTIVATE) activate_block(s->activation, t.new_h, t.n * Hp);
}

static void simple_rnn_step_backward(const sweep_t *s, step_t t, step_gradient_t d) {
    const int64_t Hp = padded(s->H);
#define BODY(A)                                                                                   \
    EACH_ELEMENT(t.n, Hp) {                                                                       \
        const int64_t at = i * Hp + j;                                                            \
        vstore(d.dz + i * d.pitch + j, vload(d.dh + at) * slope(A, vload(t.new_h + at)));         \
    }
    EACH_ACTIVATION(s->activation, BODY)
#undef BODY
}

/* -- LSTM ----------------------------------------------------------------------------------------------- */

static void lstm_step(const sweep_t *s, const walk_t *w, step_t t, const REAL *const *init) {
    const int64_t Hp = padded(s->H);
    times_U(s, w, t.n, t.h, 0, 4, init, t.gates, 4 * Hp, ACT_LINEAR);
#define BODY(F, R)                                                                                \
    EACH_ROW(t.n) {                                                                               \
        REAL *y = t.gates + i * 4 * Hp;                                                           \
        apply_gates(R, y, 2 * Hp);                                                                \
        apply_row(F, y + 2 * Hp, Hp);                                                             \
        apply_gates(R, y + 3 * Hp, Hp);                                                           \
    }                                                                                             \
    EACH_ELEMENT(t.n, Hp) {                                                                       \
        const REAL *y = t.gates + i * 4 * Hp + j;                                                 \
        const int64_t at = i * Hp + j;                                                            \
        const vec c = vload(y + Hp) * vload(t.c + at) + vload(y) * vload(y + 2 * Hp);             \
        vstore(t.new_c + at, c);                                                                  \
        vstore(t.new_h + at, vload(y + 3 * Hp) * apply(F, c));                                    \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

static void lstm_step_backward(const sweep_t *s, step_t t, step_gradient_t d) {
    const int64_t Hp = padded(s->H);
#define BODY(F, R)                                                                                \
    EACH_ELEMENT(t.n, Hp) {                                                                       \
        const REAL *y = t.kept + i * 4 * Hp + j;                                                  \
        REAL *dz = d.dz + i * d.pitch + j;                                                        \
        const int64_t at = i * Hp + j;                                                            \
        const vec in = vload(y), forget = vload(y + Hp), g = vload(y + 2 * Hp);                   \
        const vec out = vload(y + 3 * Hp), shown = apply(F, vload(t.new_c + at));                 \
        const vec dh = vload(d.dh + at), dc = vload(d.dc + at) + dh * out * slope(F, shown);      \
        vstore(dz, dc * g * slope(R, in));                                                        \
        vstore(dz + Hp, dc * vload(t.c + at) * slope(R, forget));                                 \
        vstore(dz + 2 * Hp, dc * in * slope(F, g));                                               \
        vstore(dz + 3 * Hp, dh * shown * slope(R, out));                                          \
        vstore(d.dc + at, dc * forget);                                                           \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

/* -- GRU ------------------------------------------------------------------------------------------------ */

static void gru_step(const sweep_t *s, const walk_t *w, step_t t, const REAL *const *init) {
    const int64_t Hp = padded(s->H);
    const REAL *inner[MAX_SHARD];
    times_U(s, w, t.n, t.h, 0, 2, init, t.gates, 4 * Hp, ACT_LINEAR);
    EACH_ROW(t.n) inner[i] = w->bias;
    times_U(s, w, t.n, t.h, 2, 3, inner, t.gates + Hp, 4 * Hp, ACT_LINEAR); /* q stands behind g */
#define BODY(F, R)                                                                                \
    EACH_ROW(t.n) apply_gates(R, t.gates + i * 4 * Hp, 2 * Hp);                                   \
    EACH_ELEMENT(t.n, Hp) {                                                                       \
        REAL *y = t.gates + i * 4 * Hp + j;                                                       \
        const int64_t at = i * Hp + j;                                                            \
        const vec z = vload(y), r = vload(y + Hp), q = vload(y + 3 * Hp);                         \
        const vec g = apply(F, vload(init[i] + 2 * Hp + j) + r * q);                              \
        vstore(y + 2 * Hp, g);                                                                    \
        vstore(t.new_h + at, g + z * (vload(t.h + at) - g));                                      \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

static void gru_step_backward(const sweep_t *s, const walk_t *w, step_t t, step_gradient_t d) {
    const int64_t Hp = padded(s->H);
    REAL *const dbias = w->dbias;
#define BODY(F, R)                                                                                \
    EACH_ELEMENT(t.n, Hp) {                                                                       \
        const REAL *y = t.kept + i * 4 * Hp + j;                                                  \
        REAL *dz = d.dz + i * d.pitch + j;                                                        \
        const int64_t at = i * Hp + j;                                                            \
        const vec z = vload(y), r = vload(y + Hp), g = vload(y + 2 * Hp), q = vload(y + 3 * Hp);  \
        const vec dh = vload(d.dh + at), dx_h = dh * (vset(1) - z) * slope(F, g);                 \
        const vec dq = dx_h * r;                                                                  \
        vstore(dz, dh * (vload(t.h + at) - g) * slope(R, z));                                     \
        vstore(dz + Hp, dx_h * q * slope(R, r));                                                  \
        vstore(dz + 2 * Hp, dq);                                                                  \
        vstore(dz + 3 * Hp, dx_h);                                                                \
        vstore(d.dh + at, dh * z);                                                                \
        vstore(dbias + j, vload(dbias + j) + dq);                                                 \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

/* -- GRU, reset before the product ------------------------------------------------------------------------ */

static void gru_before_step(const sweep_t *s, const walk_t *w, step_t t, const REAL *const *init) {
    const int64_t Hp = padded(s->H);
    REAL *const reset = w->reset;
    times_U(s, w, t.n, t.h, 0, 2, init, t.gates, 3 * Hp, ACT_LINEAR);
#define BODY(F, R)                                                                                \
    EACH_ROW(t.n) apply_gates(R, t.gates + i * 3 * Hp, 2 * Hp);                                   \
    EACH_ELEMENT(t.n, Hp)                                                                         \
        vstore(reset + i * Hp + j, vload(t.gates + (i * 3 + 1) * Hp + j) * vload(t.h + i * Hp + j));
    EACH_PAIR(s, BODY)
#undef BODY
    times_U(s, w, t.n, reset, 2, 3, init, t.gates, 3 * Hp, ACT_LINEAR);
#define BODY(F, R)                                                                                \
    EACH_ELEMENT(t.n, Hp) {                                                                       \
        REAL *y = t.gates + i * 3 * Hp + j;                                                       \
        const int64_t at = i * Hp + j;                                                            \
        const vec z = vload(y), g = apply(F, vload(y + 2 * Hp));                                  \
        vstore(y + 2 * Hp, g);                                                                    \
        vstore(t.new_h + at, g + z * (vload(t.h + at) - g));                                      \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

static void gru_before_step_backward(const sweep_t *s, const walk_t *w, step_t t, step_gradient_t d) {
    const int64_t Hp = padded(s->H);
    REAL *const reset = w->reset;
#define BODY(F, R)                                                                                \
    EACH_ELEMENT(t.n, Hp) {                                                                       \
        const REAL *y = t.kept + i * 3 * Hp + j;                                                  \
        REAL *dz = d.dz + i * d.pitch + j;                                                        \
        const int64_t at = i * Hp + j;                                                            \
        const vec z = vload(y), g = vload(y + 2 * Hp), dh = vload(d.dh + at);                     \
        vstore(dz, dh * (vload(t.h + at) - g) * slope(R, z));                                     \
        vstore(dz + 2 * Hp, dh * (vset(1) - z) * slope(F, g));                                    \
        vstore(d.dh + at, dh * z);                                                                \
    }
    EACH_PAIR(s, BODY)
#undef BODY
    times_U_transposed(s, w, t.n, d.dz, 2, 3, 0, reset); /* by r h */
#define BODY(F, R)                                                                                \
    EACH_ELEMENT(t.n, Hp) {                                                                       \
        const vec r = vload(t.kept + i * 3 * Hp + Hp + j);                                        \
        const int64_t at = i * Hp + j;                                                            \
        const vec dreset = vload(reset + at);                                                     \
        vstore(d.dz + i * d.pitch + Hp + j, dreset * vload(t.h + at) * slope(R, r));              \
        vstore(d.dh + at, vload(d.dh + at) + dreset * r);                                         \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

/* -- all of them ------------------------------------------------------------------------------------------ */

static void step_forward(const sweep_t *s, const walk_t *w, step_t t, const REAL *const *init) {
    switch (s->cell) {
        case CELL_LSTM: lstm_step(s, w, t, init); break;
        case CELL_GRU: gru_step(s, w, t, init); break;
        case CELL_GRU_RESET_BEFORE: gru_before_step(s, w, t, init); break;
        default: simple_rnn_step(s, w, t, init);
    }
}

static void step_backward(const sweep_t *s, const walk_t *w, step_t t, step_gradient_t d) {
    switch (s->cell) {
        case CELL_LSTM: lstm_step_backward(s, t, d); break;
        case CELL_GRU: gru_step_backward(s, w, t, d); break;
        case CELL_GRU_RESET_BEFORE: gru_before_step_backward(s, w, t, d); break;
        default: simple_rnn_step_backward(s, t, d);
    }
}

/* dh through U, after `step_backward`. */
static void states_through_U(const sweep_t *s, const walk_t *w, int64_t n, step_gradient_t d) {
    const int64_t gates = s->cell == CELL_GRU_RESET_BEFORE ? 2 : w->cell.gates;
    const int direct = s->cell == CELL_GRU || s->cell == CELL_GRU_RESET_BEFORE;
    times_U_transposed(s, w, n, d.dz, 0, gates, direct, d.dh);
}

/* What a gate's product multiplied U by at the steps [from, to), row after row: the states themselves, or a copy
 * in `room` where rows are missing or are not what was multiplied. */
static const REAL *left_operand(const sweep_t *s, const walk_t *w, int64_t gate, int64_t from, int64_t to,
                                REAL *room) {
    const int64_t Hp = padded(s->H), block = w->rows * Hp, K = w->cell.kept;
    const int reset = s->cell == CELL_GRU_RESET_BEFORE && gate == 2;
    const REAL *noise = s->noise ? w->noise + gate % s->noises * block : NULL;
    if (!noise && !reset && rows_at(w, to - 1) == w->rows) return w->state[0] + from * block;
    REAL *out = room;
    for (int64_t step = from; step < to; step++) {
        const REAL *h = w->state[0] + step * block, *kept = w->kept + step * K * block;
        const int64_t n = rows_at(w, step);
        EACH_ELEMENT(n, Hp) {
            vec x = vload(h + i * Hp + j);
            if (reset) x *= vload(kept + i * K * Hp + Hp + j);
            if (noise) x *= vload(noise + i * Hp + j);
            vstore(out, x);
            out += VL;
        }
    }
    return room;
}
