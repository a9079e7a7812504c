/* The walk of a single row with U as it stands (parts.h), which a team goes along without its leader's word.
 * Included by sweep.h. */

/* Such a walk, with room for the inputs and gates of a step. */
typedef struct {
    const sweep_t *s;
    const walk_t *w;
    REAL *inputs, *gates;
    int from_zeros, keep;
} row_walk_t;

/* Its phases, each of which needs all units of the one before: the product with the first state, unless that is
 * zeros; then the steps, or halves of them. */
INLINE int halves_of_step(const sweep_t *s) { return s->cell == CELL_GRU_RESET_BEFORE ? 2 : 1; }

INLINE int phases_of(const row_walk_t *r) { return !r->from_zeros + (int)r->w->length[0] * halves_of_step(r->s); }

/* The step of a phase, -1 ahead of all, and the walk as a thread sees it then. */
INLINE walk_t walk_in_phase(const row_walk_t *r, int64_t phase, int64_t *step) {
    const int64_t halves = halves_of_step(r->s), n = phase - !r->from_zeros;
    walk_t w = *r->w;
    *step = n < 0 ? -1 : n / halves;
    w.half = halves == 1 ? BOTH : n % 2 ? SECOND : FIRST;
    w.back = *step > 0 && *step % 2;
    return w;
}

INLINE REAL *state_before(const row_walk_t *r, int64_t k, int64_t step) {
    return r->w->state[k] + (r->keep ? step : step % 2) * padded(r->s->H);
}

/* A step, or half of one, for the units of walk w. */
static void row_step(const row_walk_t *r, const walk_t *w, int64_t step) {
    const sweep_t *s = r->s;
    const int64_t H = s->H, Hp = padded(H), G = w->cell.gates, K = w->cell.kept, S = w->cell.states;
    const int64_t first = w->units.first, width = w->units.end - first, own = w->units.end < H ? width : H - first;
    const int64_t row = s->ids ? (int64_t)w->id_at[step] : w->row[0] * s->T + w->start[0] + step;
    const REAL *input = (const REAL *)s->xz + row * G * H;
    if (Hp != H) {
        for (int64_t gate = 0; gate < G; gate++)
            copy_padded(r->inputs + gate * Hp + first, input + gate * H + first, own);
        input = r->inputs;
    }
    const step_t t = {
        .n = 1,
        .from_zeros = r->from_zeros && step == 0,
        .goes_on = step + 1 < w->length[0],
        .h = state_before(r, 0, step),
        .new_h = state_before(r, 0, step + 1),
        .c = S > 1 ? state_before(r, 1, step) : NULL,
        .new_c = S > 1 ? state_before(r, 1, step + 1) : NULL,
        .gates = r->gates,
        .init = &input,
    };
    step_forward(s, w, t);
    if (w->half == FIRST) return;
    for (int64_t k = 0; k < K && s->keep; k++)
        keep_gates(s, r->gates + k * Hp + first, w->kept + (step * K + k) * Hp + first, width);
    if (s->stream) stream_fence();
    if (s->y) copy_row((REAL *)s->y + (w->row[0] * s->T + w->start[0] + step) * H + first, t.new_h + first, own);
}

static void row_phase(const row_walk_t *r, const walk_t *w, int64_t step) {
    const int64_t gates = halves_of_step(r->s) == 2 ? 2 : w->cell.gates; /* of a step's first product */
    if (step < 0)
        multiply_parts(r->s, w, (times_t){w->state[0], 0, gates, 0}, w->units.first, w->units.end);
    else
        row_step(r, w, step);
}

/* A team's task: some units in a phase. */
static void row_piece(const void *context, int64_t task, int member) {
    const row_walk_t *r = context;
    const int64_t pieces = pieces_for_each(r->s, r->w, 1) * r->w->team->phase.members;
    int64_t step;
    walk_t w = walk_in_phase(r, task / pieces, &step);
    (void)member;
    w.units = units_of(r->s, &w, 1, task % pieces);
    w.team = NULL; /* this is its work */
    if (w.units.first < w.units.end) row_phase(r, &w, step);
}

/* All steps from the first state on. */
static void row_forward(const row_walk_t *r) {
    const sweep_t *s = r->s;
    const int phases = phases_of(r);
    CHECK(phases <= MOST_PHASES);
    if (r->w->team) {
        fastrnn_together(r->w->team, pieces_for_each(s, r->w, 1), phases, row_piece, r);
    } else {
        for (int64_t phase = 0, step; phase < phases; phase++) {
            walk_t w = walk_in_phase(r, phase, &step);
            w.units = (range_t){0, padded(s->H)};
            row_phase(r, &w, step);
        }
    }
    for (int64_t k = 0; k < r->w->cell.states; k++)
        copy_row((REAL *)s->last[k] + r->w->row[0] * s->H, state_before(r, k, r->w->length[0]), s->H);
}
