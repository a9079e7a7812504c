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
#define EACH_UNIT(n, first, end) \
    EACH_ROW(n)                  \
        TWICE for (int64_t j = first; j < (end); j += VL)
#define EACH_ELEMENT(n, Hp) EACH_UNIT(n, 0, Hp)

/* y = f(y) for whole vectors of n rows, `pitch` apart; for gates see `apply_gate`, of which several may stand
 * one behind the other.  Loops of one activation each: their coefficients stay in registers, and a step of an LSTM is
 * 4 % shorter than with all of them in one. */
INLINE void apply_rows(int32_t activation, REAL *y, int64_t pitch, int64_t n, int64_t width) {
    EACH_UNIT(n, 0, width) vstore(y + i * pitch + j, apply(activation, vload(y + i * pitch + j)));
}

INLINE void apply_gates(int32_t activation, REAL *y, int64_t pitch, int64_t n, int64_t width, int64_t Hp,
                        int64_t gates) {
    if (width == Hp) width *= gates, gates = 1; /* all units: one long row */
    for (int64_t gate = 0; gate < gates; gate++, y += Hp)
        EACH_UNIT(n, 0, width) vstore(y + i * pitch + j, apply_gate(activation, vload(y + i * pitch + j)));
}

/* The states of n rows, before and after a step; on the way back what it kept.  On the way there the projected inputs
 * of each row, room for its gates, n K Hp, and what is fetched meanwhile: the inputs of the `n_fetched` rows that take
 * the next step, and where the outputs will go, or NULL.  Steps are passed by value, or every store in their loops
 * might have changed them. */
typedef struct {
    int64_t n, n_fetched;
    int from_zeros; /* whether the states before are zeros that nothing need be multiplied by */
    int goes_on;    /* whether another step follows */
    const REAL *h, *c, *kept;
    REAL *new_h, *new_c, *gates;
    const REAL *const *init, *const *next;
    REAL *const *y;
} step_t;

/* Their gradients.  Before: by the states after the step.  After: dh and dc by the states before the step but for
 * what comes through U; rows of dz, `pitch` apart, by the products with U, G Hp, which are those by the projected
 * inputs too, but for the last gate of a GRU, whose input's gradient follows behind. */
typedef struct {
    REAL *dh, *dc, *dz;
    int64_t pitch;
} step_gradient_t;

/* -- products with the state -------------------------------------------------------------------------- */

/* The state as the products of the gates see it: itself, or with their dropout.  `drop_units` makes that for the units
 * [first, end) of the gates from .. to - 1, or of all of them if they share it; `drop` for all units ahead of a product
 * with panels. */
static void drop_units(const sweep_t *s, const walk_t *w, int64_t n, const REAL *h, int64_t from, int64_t to,
                       int64_t first, int64_t end) {
    const int64_t Hp = padded(s->H), block = w->rows * Hp;
    for (int64_t gate = from; gate < to && gate < from + s->noises; gate++) {
        const int64_t at = gate % s->noises * block;
        EACH_UNIT(n, first, end)
            vstore(w->dropped + at + i * Hp + j, vload(h + i * Hp + j) * vload(w->noise + at + i * Hp + j));
    }
}

INLINE void drop(const sweep_t *s, const walk_t *w, int64_t n, const REAL *h, int64_t from, int64_t to) {
    if (!s->as_it_stands) drop_units(s, w, n, h, from, to, 0, padded(s->H));
}

INLINE const REAL *dropped(const sweep_t *s, const walk_t *w, const REAL *h, int64_t gate) {
    return s->noise ? w->dropped + gate % s->noises * w->rows * padded(s->H) : h;
}

/* `times_U` for a state of zeros: out = init.  It spares 1/T of all products. */
static NOINLINE void zeros_times_U(const sweep_t *s, int64_t n, int64_t from, int64_t to, int64_t first, int64_t end,
                                   const REAL *const *init, REAL *out, int64_t out_m, int32_t activation) {
    const int64_t Hp = padded(s->H);
    for (int64_t i = 0; i < n; i++)
        for (int64_t gate = from; gate < to; gate++) {
            REAL *y = out + i * out_m + gate * Hp;
            for (int64_t j = first; j < end; j += VL) vstore(y + j, vload(init[i] + gate * Hp + j));
            if (n == 1 || TILES_ACTIVATE) activate_block(activation, y + first, end - first);
        }
}

#include "parts.h"

/* `times_U` for one row.  Where H is a few whole panels (too few to share), the units of all gates are one row. */
static NOINLINE void row_times_U(const sweep_t *s, const walk_t *w, const REAL *h, int64_t from, int64_t to,
                                 int64_t first, int64_t end, const REAL *init, REAL *out, const REAL *next,
                                 int32_t activation) {
    const int64_t H = s->H, Hp = padded(H);
    const REAL *packed = s->packed;
    if (H < ROW_TOGETHER * NR && H % NR == 0 && s->noises < 2) {
        const int64_t all = (to - from) * H;
        if (next) PREFETCH(next + from * H, (size_t)all * sizeof(REAL));
        row_times_panels(dropped(s, w, h, from), packed + from * H * H, H * NR, all, H, init + from * H, out + from * H,
                         activation, ROW_MOST, w->back);
        return;
    }
    for (int64_t i = from; i < to; i++) {
        const int64_t gate = w->back ? from + to - 1 - i : i, at = gate * Hp + first;
        if (next) PREFETCH(next + gate * H + first, (size_t)(end - first) * sizeof(REAL));
        row_times_panels(dropped(s, w, h, gate), packed + gate * H * Hp + first * H, H * NR, end - first, H, init + at,
                         out + at, activation, ROW_TOGETHER, w->back);
    }
}

/* out = init + h U for the units [first, end), whole panels, of the gates from .. to - 1; `init` and `out` are rows of
 * gates.  What the next step starts from is fetched meanwhile, a line with each panel: all of it at once would be more
 * misses than a core has under way. */
INLINE void times_U(const sweep_t *s, const walk_t *w, step_t t, const REAL *h, int64_t from, int64_t to,
                    int64_t first, int64_t end, const REAL *const *init, REAL *out, int64_t out_m,
                    int32_t activation) {
    const int64_t H = s->H, Hp = padded(H);
    if (t.from_zeros) {
        zeros_times_U(s, t.n, from, to, first, end, init, out, out_m, activation);
        return;
    }
    if (s->as_it_stands) {
        add_parts(s, w, from, to, first, end, init[0], out, activation);
        return;
    }
    if (t.n == 1) {
        row_times_U(s, w, h, from, to, first, end, init[0], out, t.n_fetched ? t.next[0] : NULL, activation);
        return;
    }
    for (int64_t gate = from; gate < to; gate++) {
        const REAL *packed = (const REAL *)s->packed + gate * H * Hp, *a = dropped(s, w, h, gate);
        for (int64_t j = first; j < end; j += NR) {
            const int vectors = panel_vectors(j, H);
            EACH_ROW(t.n_fetched) PREFETCH(t.next[i] + gate * H + j, NR * sizeof(REAL));
            if (t.y && gate == 0) EACH_ROW(t.n) PREFETCH(t.y[i] + j, NR * sizeof(REAL));
            rows_times_panel(t.n, vectors, a, Hp, 1, packed + j * H, vectors * VL, H, init, gate * Hp + j,
                             out + gate * Hp + j, out_m, activation);
        }
    }
}

/* What a phase of a step does with the units [first, end): their products, and what follows from these alone. */
typedef void (*units_fn)(const sweep_t *s, const walk_t *w, step_t t, int64_t first, int64_t end);

typedef struct {
    const sweep_t *s;
    const walk_t *w;
    step_t t;
    units_fn units;
} phase_t;

/* The units that go together when n rows are left: some panels, and no sum is split otherwise than on one thread. */
INLINE int64_t units_together(const sweep_t *s, int64_t n) {
    return s->as_it_stands ? rows_of_part(s) : n == 1 ? ROW_TOGETHER * NR : NR;
}

/* How many such groups there are, and so pieces at most. */
INLINE int64_t unit_groups(const sweep_t *s, int64_t n) {
    const int64_t width = units_together(s, n);
    return (s->H + width - 1) / width;
}

INLINE int pieces_for_each(const sweep_t *s, const walk_t *w, int64_t n) {
    return fastrnn_each(w->team, unit_groups(s, n));
}

/* Of `many` groups those in a team's piece, the pieces of a member in the order of this step. */
INLINE range_t range_of(const walk_t *w, int64_t many, int64_t piece) {
    const int64_t each = fastrnn_each(w->team, many), pieces = each * w->team->phase.members, own = piece % each;
    if (w->back) piece += each - 1 - 2 * own;
    return (range_t){many * piece / pieces, many * (piece + 1) / pieces};
}

/* The units of a piece. */
INLINE range_t units_of(const sweep_t *s, const walk_t *w, int64_t n, int64_t piece) {
    const int64_t width = units_together(s, n);
    const range_t groups = range_of(w, unit_groups(s, n), piece);
    const int64_t end = groups.end * width;
    return (range_t){groups.first * width, end < s->H ? end : padded(s->H)};
}

/* The pieces of a phase for a team. */
static void phase_piece(const void *context, int64_t piece, int member) {
    const phase_t *p = context;
    const range_t u = units_of(p->s, p->w, p->t.n, piece);
    (void)member;
    if (u.first < u.end) p->units(p->s, p->w, p->t, u.first, u.end);
}

/* With a team: by its members; with U as it stands: some units, and the product that follows. */
static NOINLINE void phase_in_parts(const sweep_t *s, const walk_t *w, step_t t, units_fn units, times_t next) {
    if (w->team) {
        fastrnn_together(w->team, pieces_for_each(s, w, t.n), 1, phase_piece, &(phase_t){s, w, t, units});
        return;
    }
    units(s, w, t, w->units.first, w->units.end);
    if (next.h) multiply_parts(s, w, next, w->units.first, w->units.end);
}

INLINE void phase(const sweep_t *s, const walk_t *w, step_t t, units_fn units, times_t next) {
    if (w->team || s->as_it_stands)
        phase_in_parts(s, w, t, units, next);
    else
        units(s, w, t, 0, padded(s->H));
}

/* What U multiplies next once a step is done. */
INLINE times_t next_times(const walk_t *w, step_t t, int64_t gates) {
    return (times_t){t.goes_on ? t.new_h : NULL, 0, gates, !w->back};
}

/* out = init + a U^T over some gates: what a panel of it takes. */
typedef struct {
    const sweep_t *s;
    const walk_t *w;
    int64_t n; /* rows */
    const REAL *a;
    int64_t from, to; /* gates */
    const REAL *const *init;
    REAL *out;
} product_t;

/* `times_panels_transposed` for one row and U as it stands: the units' gradients are products with rows of U. */
static NOINLINE void row_times_U_transposed(const sweep_t *s, const walk_t *w, const REAL *dz, int64_t gate, int64_t gates,
                                      int64_t first, int64_t end, const REAL *init, REAL *out) {
    enum { MOST_GATES = 4 };
    const int64_t H = s->H, Hp = padded(H), G = w->cell.gates;
    const REAL *U = (const REAL *)s->U + gate * H;
    REAL tails[MOST_GATES * VL];
    if (Hp == H) {
        dots(&(dots_t){.a = dz, .b = U, .b_k = G * H, .blocks = 1, .N = gates * H}, H, first, end, init, out, w->back);
        return;
    }
    for (int64_t g = 0; g < gates; g++)
        for (int64_t j = 0; j < VL; j++) tails[g * VL + j] = j < Hp - H ? 0 : dz[g * Hp + H - VL + j];
    dots(&(dots_t){dz, tails, U, Hp, G * H, gates, H}, H, first, end, init, out, w->back);
}

INLINE void times_panels_transposed(const sweep_t *s, const walk_t *w, int64_t n, const REAL *dz, int64_t gate,
                                    int64_t gates, int64_t first, int64_t end, const REAL *const *init, REAL *out) {
    const int64_t H = s->H, Hp = padded(H), G = fastrnn_cell(s->cell).gates;
    if (s->as_it_stands) {
        row_times_U_transposed(s, w, dz + gate * Hp, gate, gates, first, end, init[0], out);
        return;
    }
    if (n == 1 && H % NR == 0) {
        row_times_panels(dz + gate * Hp, (const REAL *)s->packed + first * G * Hp + gate * Hp * NR, G * Hp * NR,
                         end - first, gates * Hp, init[0] + first, out + first, ACT_LINEAR, ROW_TOGETHER, w->back);
        return;
    }
    for (int64_t j = first; j < end; j += NR) {
        const int vectors = panel_vectors(j, H);
        const REAL *packed = (const REAL *)s->packed + j * G * Hp + gate * Hp * vectors * VL;
        rows_times_panel(n, vectors, dz + gate * Hp, w->pitch, 1, packed, vectors * VL, gates * Hp, init, j, out + j,
                         Hp, ACT_LINEAR);
    }
}

/* Pieces of it for a team. */
static void times_U_transposed_piece(const void *context, int64_t piece, int member) {
    const product_t *p = context;
    const range_t u = units_of(p->s, p->w, p->n, piece);
    (void)member;
    if (u.first < u.end)
        times_panels_transposed(p->s, p->w, p->n, p->a, p->from, p->to - p->from, u.first, u.end, p->init, p->out);
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
            fastrnn_together(w->team, pieces_for_each(s, w, n), 1, times_U_transposed_piece,
                             &(product_t){s, w, n, dz, gate, gate + many, init, out});
        else
            times_panels_transposed(s, w, n, dz, gate, many, 0, Hp, init, out);
        if (!s->noise) continue;
        const REAL *noise = w->noise + gate % s->noises * w->rows * Hp;
        for (int64_t k = 0; k < n * Hp; k += VL)
            vstore(dh + k, vload(dh + k) + vload(out + k) * vload(noise + k));
    }
}

/* Whether the products of a sweep with U read it as it stands: one row's.  A step takes about as long so as with panels
 * where U is too large for the first cache, some per cent longer where threads share it; so it is packed for many steps
 * only.  Where U is small panels are better, but for a few steps they come too dear.  (For H see `row_times_matrix` and
 * `sums_of_parts`.)  Not behind a prefix, which may be kept for other rows: those would have packed U. */
static int reads_U_as_it_stands(const sweep_t *s) {
    enum { LARGE_U = 1 << 15, STEPS_OF_LARGE = 128, STEPS = 4, LEAST_H = VL < 2 ? 2 : VL };
    const int large = s->H * s->H * fastrnn_cell(s->cell).gates >= LARGE_U;
    return s->B == 1 && !s->prefix_length && s->H >= LEAST_H && s->T <= (large ? STEPS_OF_LARGE : STEPS);
}

/* U for `times_U`: the panels of each gate. */
static void pack_U(const sweep_t *s) {
    const int64_t H = s->H, G = fastrnn_cell(s->cell).gates;
    for (int64_t gate = 0; gate < G; gate++)
        pack((const REAL *)s->U + gate * H, G * H, 1, H, H, (REAL *)s->packed + gate * H * padded(H), s->slots);
}

/* A matrix (N, G H) to be transposed: U, or the weights of the input. */
typedef struct {
    const REAL *weights;
    int64_t N, G, H;
    REAL *packed;
} transposed_t;

/* Task: one panel of it: Hp rows of each gate, gate after gate. */
static void pack_gates_transposed_task(const void *context, int64_t panel, int slot) {
    const transposed_t *t = context;
    const int64_t N = t->N, G = t->G, H = t->H, Hp = padded(H), n = panel * NR;
    const int64_t width = panel_vectors(n, N) * VL, columns = N - n < width ? N - n : width;
    (void)slot;
    for (int64_t gate = 0; gate < G; gate++) {
        REAL *packed = t->packed + n * G * Hp + gate * Hp * width;
        pack_panel(t->weights + (n * G + gate) * H, 1, G * H, columns, width, H, packed);
        memset(packed + H * width, 0, (size_t)((Hp - H) * width) * sizeof *packed);
    }
}

static void pack_gates_transposed(const sweep_t *s, const void *weights, int64_t N, void *packed) {
    const transposed_t t = {weights, N, fastrnn_cell(s->cell).gates, s->H, packed};
    fastrnn_parallel((N + NR - 1) / NR, N * t.G * t.H < LITTLE_PACKING ? 1 : s->slots, pack_gates_transposed_task, &t);
}

/* -- simple RNN ----------------------------------------------------------------------------------------- */

INLINE void simple_rnn_units(const sweep_t *s, const walk_t *w, step_t t, int64_t first, int64_t end) {
    const int64_t Hp = padded(s->H);
    times_U(s, w, t, t.h, 0, 1, first, end, t.init, t.new_h, Hp, s->activation);
    if (TILES_ACTIVATE || t.n == 1) return; /* they have */
    const int64_t whole = end - first == Hp, rows = whole ? 1 : t.n, width = whole ? t.n * Hp : end - first;
    EACH_ROW(rows) activate_block(s->activation, t.new_h + first + i * Hp, width);
}

INLINE void simple_rnn_step(const sweep_t *s, const walk_t *w, step_t t) {
    drop(s, w, t.n, t.h, 0, 1);
    phase(s, w, t, simple_rnn_units, next_times(w, t, 1));
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

INLINE void lstm_units(const sweep_t *s, const walk_t *w, step_t t, int64_t first, int64_t end) {
    const int64_t Hp = padded(s->H), pitch = 4 * Hp, width = end - first;
    REAL *const gates = t.gates + first;
    times_U(s, w, t, t.h, 0, 4, first, end, t.init, t.gates, pitch, ACT_LINEAR);
#define BODY(F, R)                                                                                \
    apply_gates(R, gates, pitch, t.n, width, Hp, 2);                                              \
    apply_rows(F, gates + 2 * Hp, pitch, t.n, width);                                             \
    apply_gates(R, gates + 3 * Hp, pitch, t.n, width, Hp, 1);                                     \
    EACH_UNIT(t.n, first, end) {                                                                  \
        const REAL *y = t.gates + i * pitch + j;                                                  \
        const int64_t at = i * Hp + j;                                                            \
        const vec c = vload(y + Hp) * vload(t.c + at) + vload(y) * vload(y + 2 * Hp);             \
        vstore(t.new_c + at, c);                                                                  \
        vstore(t.new_h + at, vload(y + 3 * Hp) * apply(F, c));                                    \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

INLINE void lstm_step(const sweep_t *s, const walk_t *w, step_t t) {
    drop(s, w, t.n, t.h, 0, 4);
    phase(s, w, t, lstm_units, next_times(w, t, 4));
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

INLINE void gru_units(const sweep_t *s, const walk_t *w, step_t t, int64_t first, int64_t end) {
    const int64_t Hp = padded(s->H), pitch = 4 * Hp, width = end - first;
    const REAL *inner[MAX_SHARD];
    EACH_ROW(t.n) inner[i] = w->bias;
    times_U(s, w, t, t.h, 0, 2, first, end, t.init, t.gates, pitch, ACT_LINEAR);
    times_U(s, w, t, t.h, 2, 3, first, end, inner, t.gates + Hp, pitch, ACT_LINEAR); /* q stands behind g */
#define BODY(F, R)                                                                                \
    apply_gates(R, t.gates + first, pitch, t.n, width, Hp, 2);                                    \
    EACH_UNIT(t.n, first, end) {                                                                  \
        REAL *y = t.gates + i * pitch + j;                                                        \
        const int64_t at = i * Hp + j;                                                            \
        const vec z = vload(y), r = vload(y + Hp), q = vload(y + 3 * Hp);                         \
        const vec g = apply(F, vload(t.init[i] + 2 * Hp + j) + r * q);                            \
        vstore(y + 2 * Hp, g);                                                                    \
        vstore(t.new_h + at, g + z * (vload(t.h + at) - g));                                      \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

INLINE void gru_step(const sweep_t *s, const walk_t *w, step_t t) {
    drop(s, w, t.n, t.h, 0, 3);
    phase(s, w, t, gru_units, next_times(w, t, 3));
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

/* z, r and r h. */
INLINE void gru_before_gates(const sweep_t *s, const walk_t *w, step_t t, int64_t first, int64_t end) {
    const int64_t Hp = padded(s->H), pitch = 3 * Hp, width = end - first;
    times_U(s, w, t, t.h, 0, 2, first, end, t.init, t.gates, pitch, ACT_LINEAR);
#define BODY(F, R)                                                                                \
    apply_gates(R, t.gates + first, pitch, t.n, width, Hp, 2);                                    \
    EACH_UNIT(t.n, first, end)                                                                    \
        vstore(w->reset + i * Hp + j, vload(t.gates + i * pitch + Hp + j) * vload(t.h + i * Hp + j));
    EACH_PAIR(s, BODY)
#undef BODY
}

INLINE void gru_before_units(const sweep_t *s, const walk_t *w, step_t t, int64_t first, int64_t end) {
    const int64_t Hp = padded(s->H), pitch = 3 * Hp;
    times_U(s, w, t, w->reset, 2, 3, first, end, t.init, t.gates, pitch, ACT_LINEAR);
#define BODY(F, R)                                                                                \
    EACH_UNIT(t.n, first, end) {                                                                  \
        REAL *y = t.gates + i * pitch + j;                                                        \
        const int64_t at = i * Hp + j;                                                            \
        const vec z = vload(y), g = apply(F, vload(y + 2 * Hp));                                  \
        vstore(y + 2 * Hp, g);                                                                    \
        vstore(t.new_h + at, g + z * (vload(t.h + at) - g));                                      \
    }
    EACH_PAIR(s, BODY)
#undef BODY
}

INLINE void gru_before_step(const sweep_t *s, const walk_t *w, step_t t) {
    drop(s, w, t.n, t.h, 0, 2);
    if (w->half != SECOND) phase(s, w, t, gru_before_gates, (times_t){t.from_zeros ? NULL : w->reset, 2, 3, w->back});
    if (w->half == FIRST) return;
    drop(s, w, t.n, w->reset, 2, 3);
    phase(s, w, t, gru_before_units, next_times(w, t, 2));
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

INLINE void step_forward(const sweep_t *s, const walk_t *w, step_t t) {
    switch (s->cell) {
        case CELL_LSTM: lstm_step(s, w, t); break;
        case CELL_GRU: gru_step(s, w, t); break;
        case CELL_GRU_RESET_BEFORE: gru_before_step(s, w, t); break;
        default: simple_rnn_step(s, w, t);
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

/* Put the gates of a step on the tape; on a long one past the caches, which would first read what is there. */
INLINE void keep_gates(const sweep_t *s, const REAL *gates, REAL *kept, int64_t n) {
    if (s->stream)
        for (int64_t j = 0; j < n; j += VL) vstream(kept + j, vload(gates + j));
    else
        for (int64_t j = 0; j < n; j += VL) vstore(kept + j, vload(gates + j));
}
