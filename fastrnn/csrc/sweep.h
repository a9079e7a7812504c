/* SimpleRNN through time: h' = f(x W + b + h U), forward and backward.  Included by kernels.h.
 *
 * A task is a shard: a few rows that walk through all their steps together, so that their states stay in
 * cache and a product of a step is rows x H x H.  Rows stand longest first; those that have reached their
 * end drop out at the back. */

/* What one walk works on: a shard, or the shared prefix as a shard of one row. */
typedef struct {
    int64_t rows;
    const int64_t *row, *start, *length;
    REAL *tape;          /* (longest + 1, rows, Hp): tape[s] holds the states before step s; or
                          * (2, rows, Hp) of which they take turns */
    const REAL *inject;  /* prefix, backward: gradients that reach its states, (longest + 1, Hp) */
    REAL *dU;            /* backward: (H, Hp) */
    /* Backward with ids: the rows of the table met so far. */
    REAL *met;
    int32_t *met_slot, *place;
    int64_t *met_count;
} walk_t;


static int64_t sweep_work_size(int64_t H, int64_t shard_rows) {
    return (STEP_BLOCK + 2) * shard_rows * padded(H);
}

/* What walk number `walk` sums: its recurrent kernel's gradient, and rows of the table. */
INLINE void give_sums(const sweep_t *s, walk_t *w, int64_t walk, int slot) {
    const int64_t Hp = padded(s->H);
    w->dU = (REAL *)s->partial + walk * s->H * Hp;
    if (!s->ids) return;
    w->met = (REAL *)s->met + s->met_offset[walk] * Hp;
    w->met_slot = s->met_slot + s->met_offset[walk];
    w->met_count = s->met_count + walk;
    w->place = s->place + slot * s->n_rows;
}

INLINE walk_t walk_of(const sweep_t *s, int64_t shard) {
    const int64_t first = shard * s->shard_rows, left = s->B - first;
    return (walk_t){
        .rows = left < s->shard_rows ? left : s->shard_rows,
        .row = s->row + first,
        .start = s->start + first,
        .length = s->length + first,
        .tape = (REAL *)s->tape + s->tape_offset[shard] * padded(s->H),
    };
}

static const int64_t zero = 0;

INLINE walk_t prefix_walk(const sweep_t *s) {
    return (walk_t){
        .rows = 1,
        .row = &s->prefix_row,
        .start = &zero,
        .length = &s->prefix_length,
        .tape = s->tape,
        .inject = s->inject,
    };
}

/* Where the projected input of (row b, step t) stands. */
INLINE const REAL *input_row(const sweep_t *s, int64_t b, int64_t t) {
    const int64_t place = b * s->T + t;
    return (const REAL *)s->xz + (s->ids ? (int64_t)s->ids[place] : place) * s->H;
}

/* Steps to fetch states ahead: a batch's do not fit a core's own caches between the way there and back. */
enum { AHEAD = 8 };

/* -- forward --------------------------------------------------------------------------------------- */

/* out = f(init + h U), all panels. */
INLINE void times_U(const sweep_t *s, int64_t rows, const REAL *h, const REAL *const *init, REAL *out,
                    int32_t activation) {
    const int64_t H = s->H, Hp = padded(H);
    for (int64_t n = 0; n < H; n += NR) {
        const int vectors = panel_vectors(n, H);
        rows_times_panel(rows, vectors, h, Hp, 1, (const REAL *)s->packed + n * H, vectors * VL, H, init,
                         n, out + n, Hp, activation);
    }
    if (!TILES_ACTIVATE) activate_block(activation, out, rows * Hp);
}

static void first_states(const sweep_t *s, const walk_t *w, int is_prefix) {
    const int64_t H = s->H, Hp = padded(H);
    for (int64_t i = 0; i < w->rows; i++) {
        REAL *h = w->tape + i * Hp;
        if (s->prefix_length && !is_prefix)
            memcpy(h, (REAL *)s->tape + w->start[i] * Hp, (size_t)Hp * sizeof *h);
        else if (s->h0)
            copy_padded(h, (const REAL *)s->h0 + w->row[i] * H, H);
        else
            memset(h, 0, (size_t)Hp * sizeof *h);
    }
}

static void walk_forward(const sweep_t *s, const walk_t *w, int is_prefix, REAL *work) {
    const int64_t H = s->H, Hp = padded(H), block = w->rows * Hp;
    const REAL *init[MAX_SHARD];
    REAL *h = w->tape, *next;
    int64_t n = w->rows;
    first_states(s, w, is_prefix);
    for (int64_t step = 0;; step++, h = next) {
        for (; n && w->length[n - 1] <= step; n--)
            if (!is_prefix) copy_row((REAL *)s->last + w->row[n - 1] * H, h + (n - 1) * Hp, H);
        if (!n) return;
        next = s->keep || is_prefix ? h + block : w->tape + (step + 1) % 2 * block;
        for (int64_t i = 0; i < n; i++) {
            const int64_t t = w->start[i] + step;
            init[i] = input_row(s, w->row[i], t);
            if (step + 1 < w->length[i]) PREFETCH(input_row(s, w->row[i], t + 1), H * sizeof(REAL));
            if (Hp != H) { /* whole vectors must be readable */
                copy_padded(work + i * Hp, init[i], H);
                init[i] = work + i * Hp;
            }
        }
        if (s->keep && step + AHEAD < w->length[0])
            PREFETCH(next + AHEAD * block, n * Hp * sizeof(REAL));
        times_U(s, n, h, init, next, s->activation);
        if (is_prefix) fastrnn_report(s->prefix_done, step + 1);
        if (s->y && !is_prefix)
            for (int64_t i = 0; i < n; i++)
                copy_row((REAL *)s->y + (w->row[i] * s->T + w->start[i] + step) * H,
                         next + i * Hp, H);
    }
}

/* The steps of a returned sequence that the row did not take. */
static void fill_sequence(const sweep_t *s, const walk_t *w, int64_t i, const REAL *last) {
    const int64_t H = s->H, Hp = padded(H), stop = w->start[i] + w->length[i];
    REAL *y = (REAL *)s->y + w->row[i] * s->T * H;
    for (int64_t t = 0; t < w->start[i]; t++)
        if (s->prefix_length)
            copy_row(y + t * H, (const REAL *)s->tape + (t + 1) * Hp, H);
        else
            clear_row(y + t * H, H);
    for (int64_t t = stop; t < s->T; t++)
        if (s->repeat && w->length[i])
            copy_row(y + t * H, last, H);
        else
            clear_row(y + t * H, H);
}

/* Task 0 is the prefix where there is one, the others are shards.  Tasks are begun in order, so whoever
 * waits for the prefix waits for a thread at work on it. */
static void forward_task(const void *context, int64_t task, int slot) {
    const sweep_t *s = context;
    const int64_t H = s->H, Hp = padded(H), shard = task - (s->prefix_length > 0);
    REAL *work = (REAL *)s->work + slot * sweep_work_size(H, s->shard_rows);
    if (shard < 0) {
        const walk_t prefix = prefix_walk(s);
        walk_forward(s, &prefix, 1, work);
        return;
    }
    walk_t w = walk_of(s, shard);
    if (!s->keep) w.tape = work + w.rows * Hp;
    if (s->prefix_length) fastrnn_wait_for(s->prefix_done, w.start[w.rows - 1]);
    walk_forward(s, &w, 0, work);
    for (int64_t i = 0; s->y && i < w.rows; i++)
        fill_sequence(s, &w, i, (const REAL *)s->last + w.row[i] * H);
}

static void simple_rnn_forward(const sweep_t *s) {
    pack(s->U, s->H, 1, s->H, s->H, s->packed);
    const int64_t shards = (s->B + s->shard_rows - 1) / s->shard_rows;
    if (s->prefix_length) fastrnn_report(s->prefix_done, 0);
    fastrnn_parallel(shards + (s->prefix_length > 0), s->slots, forward_task, s);
}

/* -- backward -------------------------------------------------------------------------------------- */

/* The gradient of row i's last state: from outside, and from the outputs that repeat it. */
static void last_gradient(const sweep_t *s, const walk_t *w, int64_t i, REAL *dh) {
    const int64_t H = s->H, Hp = padded(H), b = w->row[i];
    memset(dh, 0, (size_t)Hp * sizeof *dh);
    if (w->inject) {
        add_row(dh, w->inject + w->length[i] * Hp, H);
        return;
    }
    if (s->dlast) add_row(dh, (const REAL *)s->dlast + b * H, H);
    if (s->dy && s->repeat && w->length[i])
        for (int64_t t = w->start[i] + w->length[i]; t < s->T; t++)
            add_row(dh, (const REAL *)s->dy + (b * s->T + t) * H, H);
}

/* dU += h^T dz over steps [from, to), whose dz stand in `dz` from its front. */
static void add_weight_gradient(const sweep_t *s, const walk_t *w, int64_t from, int64_t to,
                                const REAL *dz) {
    const int64_t H = s->H, Hp = padded(H), block = w->rows * Hp;
    while (from < to) {
        /* Steps that all rows take lie side by side and make one long sum. */
        int64_t steps = 1, n = w->rows;
        while (n && w->length[n - 1] <= from) n--;
        if (n == w->rows) {
            const int64_t shortest = w->length[n - 1];
            steps = (to < shortest ? to : shortest) - from;
        }
        add_outer(w->tape + from * block, Hp, dz, Hp, H, H, steps * n, w->dU);
        from += steps;
        dz += steps * block;
    }
}

/* Add a step's gradient to that of its row of the table.  A walk meets the same rows again and again; its
 * own sums of them stay in cache, and need no agreement with other threads. */
INLINE void meet(const walk_t *w, int32_t slot, const REAL *dz, int64_t Hp) {
    int32_t place = w->place[slot];
    if (place < 0) {
        place = w->place[slot] = (int32_t)(*w->met_count)++;
        w->met_slot[place] = slot;
        copy_row(w->met + place * Hp, dz, Hp);
    } else {
        add_row(w->met + place * Hp, dz, Hp);
    }
}

/* Hand on the gradients of one step's projected inputs. */
INLINE void give_input_gradients(const sweep_t *s, const walk_t *w, int64_t n, int64_t step,
                                 const REAL *dz) {
    const int64_t H = s->H, Hp = padded(H);
    for (int64_t i = 0; i < n; i++) {
        const int64_t place = w->row[i] * s->T + w->start[i] + step;
        if (s->ids)
            meet(w, s->slot[s->ids[place]], dz + i * Hp, Hp);
        else
            copy_row((REAL *)s->dxz + place * H, dz + i * Hp, H);
    }
}

/* Leaves the gradients of the first states in `dh` (rows, Hp), which is work's front. */
static void walk_backward(const sweep_t *s, const walk_t *w, REAL *work) {
    const int64_t H = s->H, Hp = padded(H), block = w->rows * Hp;
    REAL *dh = work, *zeros = work + block, *kept = work + 2 * block;
    const REAL *init[MAX_SHARD];
    int64_t n = 0;
    memset(zeros, 0, (size_t)Hp * sizeof *zeros);
    memset(w->dU, 0, (size_t)(H * Hp) * sizeof *w->dU);
    if (s->ids) {
        memset(w->place, -1, (size_t)s->n_rows * sizeof *w->place);
        *w->met_count = 0;
    }
    for (int64_t i = 0; i < w->rows; i++) init[i] = zeros;
    int64_t kept_to = w->length[0];
    for (int64_t step = w->length[0] - 1; step >= 0; step--) {
        REAL *dz = kept + step % STEP_BLOCK * block;
        const REAL *h = w->tape + (step + 1) * block;
        const int64_t joined = n;
        while (n < w->rows && w->length[n] > step) n++;
        for (int64_t i = joined; i < n; i++) last_gradient(s, w, i, dh + i * Hp);
        if (w->inject && n == joined) add_row(dh, w->inject + (step + 1) * Hp, H);
        if (s->dy && !w->inject)
            for (int64_t i = 0; i < n; i++)
                add_row(dh + i * Hp,
                        (const REAL *)s->dy + (w->row[i] * s->T + w->start[i] + step) * H, H);
        if (step >= AHEAD) PREFETCH(h - AHEAD * block, n * Hp * sizeof(REAL));
        slope_block(s->activation, h, dh, dz, n * Hp);
        give_input_gradients(s, w, n, step, dz);
        times_U(s, n, dz, init, dh, ACT_LINEAR);
        if (step % STEP_BLOCK == 0) {
            add_weight_gradient(s, w, step, kept_to, kept);
            kept_to = step;
        }
    }
    for (int64_t i = n; i < w->rows; i++) last_gradient(s, w, i, dh + i * Hp); /* rows without steps */
}

static void backward_task(const void *context, int64_t shard, int slot) {
    const sweep_t *s = context;
    const int64_t H = s->H, Hp = padded(H);
    walk_t w = walk_of(s, shard);
    REAL *work = (REAL *)s->work + slot * sweep_work_size(H, s->shard_rows);
    give_sums(s, &w, shard + 1, slot);
    walk_backward(s, &w, work);
    for (int64_t i = 0; i < w.rows; i++) copy_row((REAL *)s->dh0 + w.row[i] * H, work + i * Hp, H);
}

/* Backward through the shared prefix.  The Jacobians along it are those of every row, so the gradients of
 * the rows add up: each shard's where it joined, and those of the outputs that all rows show there. */
static void prefix_backward(const sweep_t *s, int slot) {
    const int64_t H = s->H, Hp = padded(H);
    REAL *inject = s->inject;
    memset(inject, 0, (size_t)((s->prefix_length + 1) * Hp) * sizeof *inject);
    for (int64_t i = 0; i < s->B; i++) {
        add_row(inject + s->start[i] * Hp, (const REAL *)s->dh0 + s->row[i] * H, H);
        if (s->dy)
            for (int64_t t = 0; t < s->start[i]; t++)
                add_row(inject + (t + 1) * Hp, (const REAL *)s->dy + (s->row[i] * s->T + t) * H, H);
    }
    walk_t prefix = prefix_walk(s);
    give_sums(s, &prefix, 0, slot);
    walk_backward(s, &prefix, (REAL *)s->work + slot * sweep_work_size(H, s->shard_rows));
}

/* dP += the rows that a walk met, `width` columns from `column` on. */
static void add_met(const sweep_t *s, int64_t walk, int64_t column, int64_t width) {
    const int64_t H = s->H, Hp = padded(H);
    const REAL *met = (const REAL *)s->met + s->met_offset[walk] * Hp + column;
    const int32_t *slots = s->met_slot + s->met_offset[walk];
    REAL *dP = (REAL *)s->dP + column;
    for (int64_t i = 0; i < s->met_count[walk]; i++) add_row(dP + slots[i] * H, met + i * Hp, width);
}

/* After the shards: task 0 is the prefix where there is one, each other a cache line of columns of dP,
 * summed over the shards in their order. */
static void after_shards_task(const void *context, int64_t task, int slot) {
    const sweep_t *s = context;
    if (s->prefix_length && task == 0) {
        prefix_backward(s, slot);
        return;
    }
    const int64_t H = s->H, column = (task - (s->prefix_length > 0)) * LINE;
    const int64_t width = H - column < LINE ? H - column : LINE;
    for (int64_t i = 0; i < s->n_rows; i++) clear_row((REAL *)s->dP + i * H + column, width);
    for (int64_t first = 0, walk = 1; first < s->B; first += s->shard_rows, walk++)
        add_met(s, walk, column, width);
}

static void simple_rnn_backward(const sweep_t *s) {
    const int64_t H = s->H, Hp = padded(H), shards = (s->B + s->shard_rows - 1) / s->shard_rows;
    pack(s->U, 1, H, H, H, s->packed); /* U transposed */
    fastrnn_parallel(shards, s->slots, backward_task, s);
    if (s->ids)
        fastrnn_parallel((s->prefix_length > 0) + (H + LINE - 1) / LINE, s->slots, after_shards_task, s);
    const uint64_t setting = fastrnn_flush_denormals();
    if (s->prefix_length) add_met(s, 0, 0, H);
    const int64_t first = s->prefix_length ? 0 : 1; /* the prefix's place is the first */
    sum_parts((const REAL *)s->partial + first * H * Hp, s->dU, shards + 1 - first, H * Hp, H, H, Hp,
              s->slots);
    fastrnn_restore_denormals(setting);
}
