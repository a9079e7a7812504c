/* The walks of a sweep from the first step to the last, the shared prefix ahead of them.  Included by sweep.h. */

static void first_states(const sweep_t *s, const walk_t *w, const walk_t *prefix) {
    const int64_t H = s->H, Hp = padded(H);
    for (int64_t k = 0; k < w->cell.states; k++)
        for (int64_t i = 0; i < w->rows; i++) {
            REAL *h = w->state[k] + i * Hp;
            if (prefix)
                memcpy(h, prefix->state[k] + w->start[i] * Hp, (size_t)Hp * sizeof *h);
            else if (s->first[k])
                copy_padded(h, (const REAL *)s->first[k] + w->row[i] * H, H);
            else
                memset(h, 0, (size_t)Hp * sizeof *h);
        }
}

/* Put the ids of a walk in the order of its steps.  For the way back also list the rows of xz that it meets,
 * ascending, and for each step the place in that list, or its complement where the way back meets the row for the
 * first time: the walk's own sums of their gradients need no agreement with other threads, and no zeros to begin
 * with.  All of it ahead of the steps, where no look-up waits for another. */
static void lay_out_ids(const sweep_t *s, walk_t *w, int slot, REAL **work) {
    if (!s->ids) return;
    const int listed = w->met_at != NULL;
    int32_t *number = listed ? s->number + slot * s->V : NULL, count = 0;
    w->id_at = (int32_t *)take(work, id_room(s));
    if (listed) memset(number, 0, (size_t)s->V * sizeof *number);
    for (int64_t i = 0; i < w->rows; i++) {
        const int32_t *ids = s->ids + w->row[i] * s->T + w->start[i];
        for (int64_t step = 0; step < w->length[i]; step++) {
            w->id_at[step * w->rows + i] = ids[step];
            if (listed) number[ids[step]] = 1;
        }
    }
    if (!listed) return;
    for (int32_t row = 0; row < s->V; row++) {
        w->met_row[count] = row; /* stays if it was met */
        const int32_t met = number[row];
        number[row] = count;
        count += met;
    }
    *w->met_count = count;
    int64_t n = 0;
    for (int64_t step = w->length[0] - 1; step >= 0; step--) { /* as `give_input_gradients` will */
        while (n < w->rows && w->length[n] > step) n++;
        for (int64_t k = step * w->rows; k < step * w->rows + n; k++) {
            int32_t *place = number + w->id_at[k];
            w->met_at[k] = ~*place; /* negative at the first meeting, */
            if (*place >= 0) *place = ~*place; /* and not again */
        }
    }
}

/* Rows of inputs of so few bytes are fetched as soon as they are found, others with each panel, see `times_U`. */
enum { FETCHED_AT_ONCE = 512 };

/* Find the rows of projected inputs, G H wide, that n rows take at a step, and fetch so much of each. */
INLINE void find_inputs(const sweep_t *s, const walk_t *w, int64_t n, int64_t step, size_t bytes,
                        const REAL **inputs) {
    const int64_t width = w->cell.gates * s->H;
    for (int64_t i = 0; i < n; i++) {
        const int64_t row = s->ids ? (int64_t)w->id_at[step * w->rows + i]
                                   : w->row[i] * s->T + w->start[i] + step;
        inputs[i] = (const REAL *)s->xz + row * width;
        PREFETCH(inputs[i], bytes);
    }
}

/* Project the inputs of the steps from `from` to `to` - 1 into z, step after step, n rows at the first. */
static void project_steps(const sweep_t *s, const walk_t *w, int64_t n, int64_t from, int64_t to, REAL *x, REAL *z) {
    gemm_t product = s->input;
    const int64_t D = product.K;
    run_t rows = {0, 0};
    for (int64_t step = from; step < to; step++) {
        n = rows_left(w, n, step);
        for (int64_t i = 0; i < n; i++, rows.count++)
            copy_row(x + rows.count * D, (const REAL *)s->input.a + (w->row[i] * s->T + w->start[i] + step) * D, D);
    }
    product.a = x, product.c = z;
    multiply_run(&product, rows, 0, product.N, product.packed, 0);
}

/* Copy rows of inputs to where whole vectors of each gate can be read. */
INLINE void pad_inputs(const sweep_t *s, const walk_t *w, int64_t n, const REAL **inputs, REAL *room) {
    const int64_t H = s->H, Hp = padded(H), G = w->cell.gates;
    for (int64_t i = 0; i < n; i++, room += G * Hp) {
        for (int64_t gate = 0; gate < G; gate++) copy_padded(room + gate * Hp, inputs[i] + gate * H, H);
        inputs[i] = room;
    }
}

/* Whether a walk is a mere chain: one row of a simple RNN, of whole vectors, and nothing else to be done. */
INLINE int is_chain(const sweep_t *s, const walk_t *w) {
    const int plain = w->rows == 1 && !w->team && !s->noise && !s->input.a && !s->as_it_stands;
    return s->cell == CELL_SIMPLE_RNN && plain && s->H % VL == 0;
}

/* The steps of such a walk, from its first state on.  A step is the latency of its sums and of an activation, one after
 * the other: what any walk does around that, for rows that leave, noise and gates, took a quarter of it. */
static void chain_forward(const sweep_t *s, const walk_t *w, int from_zeros, int keep, int is_prefix) {
    const int64_t H = s->H, steps = w->length[0], first = w->row[0] * s->T + w->start[0];
    const REAL *h = w->state[0];
    REAL *y = s->y && !is_prefix ? (REAL *)s->y + first * H : NULL;
#define INPUT(step) ((const REAL *)s->xz + (s->ids ? (int64_t)w->id_at[step] : first + (step)) * H)
    for (int64_t step = 0; step < steps; step++) {
        REAL *new_h = w->state[0] + (keep ? step + 1 : (step + 1) % 2) * H;
        if (step + 1 < steps) PREFETCH(INPUT(step + 1), (size_t)H * sizeof(REAL));
        const REAL *input = INPUT(step);
        if (from_zeros && step == 0)
            zeros_times_U(s, 1, 0, 1, 0, H, &input, new_h, H, s->activation);
        else
            row_times_panels(h, s->packed, H * NR, H, H, input, new_h, s->activation, ROW_TOGETHER, step % 2);
        if (is_prefix) fastrnn_report(s->prefix_done, step + 2);
        if (y) copy_row(y + step * H, new_h, H);
        h = new_h;
    }
#undef INPUT
    if (!is_prefix) copy_row((REAL *)s->last[0] + w->row[0] * H, h, H);
}

/* See `route_t`. */
static void walk_forward(const sweep_t *s, walk_t *w, const walk_t *prefix, int is_prefix, REAL *work) {
    const int64_t H = s->H, Hp = padded(H), block = w->rows * Hp;
    const int64_t S = w->cell.states, K = w->cell.kept;
    const int keep = s->keep || is_prefix;
    const REAL *inputs[2][MAX_SHARD]; /* of a step, and of the next */
    REAL *y[MAX_SHARD];
    const REAL *const given = work;
    (void)given; /* but for the check */
    work = give_room(s, w, work);
    REAL *padded_inputs = take(&work, w->cell.gates * block);
    REAL *gates = take(&work, K * block);
    for (int64_t k = 0; k < S && !keep; k++) w->state[k] = take(&work, 2 * block);
    const int64_t together = s->input.a ? input_steps(s, w->rows) : 0, width = w->cell.gates * H;
    REAL *const z = take(&work, together * w->rows * width), *const x = take(&work, together * w->rows * s->input.K);
    const REAL *projected = z;
    CHECK(work - given + id_room(s) <= sweep_work_size(s));
    first_states(s, w, prefix);
    if (is_prefix) fastrnn_report(s->prefix_done, 1);
    const int begins_with_zeros = !prefix && !s->first[0]; /* the h that U would multiply */
    if (is_chain(s, w)) {
        chain_forward(s, w, begins_with_zeros, keep, is_prefix);
        return;
    }
    if (s->as_it_stands) {
        row_forward(&(row_walk_t){s, w, padded_inputs, gates, begins_with_zeros, keep});
        return;
    }
    step_t t = {.n = w->rows, .h = w->state[0], .c = w->state[1], .gates = gates, .y = s->y && !is_prefix ? y : NULL};
    const size_t bytes = (size_t)(w->cell.gates * H) * sizeof(REAL), at_once = bytes <= FETCHED_AT_ONCE ? bytes : 0;
    int64_t n_next = rows_at(w, 0);
    if (!together) find_inputs(s, w, n_next, 0, bytes, inputs[0]);
    for (int64_t step = 0;; step++, t.h = t.new_h, t.c = t.new_c) {
        for (; t.n > n_next; t.n--)
            for (int64_t k = 0; k < S && !is_prefix; k++)
                copy_row((REAL *)s->last[k] + w->row[t.n - 1] * H,
                         (k ? t.c : t.h) + (t.n - 1) * Hp, H);
        if (!t.n) break;
        const int64_t to = keep ? step + 1 : (step + 1) % 2;
        const REAL **init = inputs[step % 2], **next = inputs[(step + 1) % 2];
        t.from_zeros = begins_with_zeros && step == 0;
        t.new_h = w->state[0] + to * block;
        t.new_c = S > 1 ? w->state[1] + to * block : NULL;
        n_next = rows_left(w, t.n, step + 1);
        if (together) {
            if (step % together == 0) {
                project_steps(s, w, t.n, step, step + together, x, z);
                projected = z;
            }
            for (int64_t i = 0; i < t.n; i++, projected += width) init[i] = projected;
        } else {
            find_inputs(s, w, n_next, step + 1, at_once, next);
        }
        if (Hp != H) pad_inputs(s, w, t.n, init, padded_inputs);
        t.init = init, t.next = next, t.n_fetched = at_once || together ? 0 : n_next;
        for (int64_t i = 0; t.y && i < t.n; i++)
            y[i] = (REAL *)s->y + (w->row[i] * s->T + w->start[i] + step) * H;
        w->back = t.n == 1 && step % 2;
        step_forward(s, w, t);
        if (s->keep) keep_gates(s, gates, w->kept + step * K * block, t.n * K * Hp);
        if (is_prefix) fastrnn_report(s->prefix_done, step + 2);
        for (int64_t i = 0; t.y && i < t.n; i++) copy_row(y[i], t.new_h + i * Hp, H);
    }
    stream_fence();
}

static void lead_forward(const void *context) {
    const route_t *route = context;
    walk_forward(route->s, route->w, route->prefix, route->is_prefix, route->work);
}

/* The steps of a returned sequence that the row did not take. */
static void fill_sequence(const sweep_t *s, const walk_t *w, const walk_t *prefix, int64_t i) {
    const int64_t H = s->H, Hp = padded(H), stop = w->start[i] + w->length[i];
    REAL *y = (REAL *)s->y + w->row[i] * s->T * H;
    for (int64_t t = 0; t < w->start[i]; t++)
        if (prefix)
            copy_row(y + t * H, prefix->state[0] + (t + 1) * Hp, H);
        else
            clear_row(y + t * H, H);
    for (int64_t t = stop; t < s->T; t++)
        if (s->repeat && w->length[i])
            copy_row(y + t * H, (const REAL *)s->last[0] + w->row[i] * H, H);
        else
            clear_row(y + t * H, H);
}

/* Whether the prefix is still to be walked. */
static int prefix_ahead(const sweep_t *s) { return s->prefix_length && !s->prefix_known; }

/* Task 0 is the prefix where it is still ahead, the others are shards.  Tasks are begun in order, so whoever
 * waits for the prefix waits for a thread at work on it. */
static void forward_task(const void *context, int64_t task, int slot) {
    const sweep_t *s = context;
    const int64_t shard = task - prefix_ahead(s);
    REAL *work = (REAL *)s->work + slot * sweep_work_size(s);
    walk_t prefix = prefix_walk(s);
    if (shard < 0) {
        lay_out_ids(s, &prefix, slot, &work);
        take_route((route_t){s, &prefix, NULL, 1, work}, lead_forward);
        return;
    }
    const walk_t *leader = s->prefix_length ? &prefix : NULL;
    walk_t w = walk_of(s, shard);
    lay_out_ids(s, &w, slot, &work);
    if (prefix_ahead(s)) fastrnn_wait_for(s->prefix_done, w.start[w.rows - 1] + 1); /* the first states count as well */
    take_route((route_t){s, &w, leader, 0, work}, lead_forward);
    for (int64_t i = 0; s->y && i < w.rows; i++) fill_sequence(s, &w, leader, i);
}

static void sweep_forward(const sweep_t *s) {
    const int64_t shards = shards_of(s);
    const gemm_t *input = &s->input;
    sweep_t own = *s;
    if (input->a) pack(input->b, input->b_k, input->b_n, input->N, input->K, input->packed, s->slots);
    own.as_it_stands = reads_U_as_it_stands(s);
    if (!own.as_it_stands) pack_U(s);
    if (s->prefix_length) fastrnn_report(s->prefix_done, 0);
    own.team = team_size(&own, shards + (shards > 1 && prefix_ahead(s)));
    if (shards == 1 && prefix_ahead(s)) { /* which could only wait for it: all threads go through one, then the other */
        fastrnn_parallel(1, 1, forward_task, &own);
        own.prefix_known = 1;
    }
    fastrnn_parallel(shards + prefix_ahead(&own), s->slots, forward_task, &own);
}
