/* Recurrent cells through time, forward and backward.  Included by kernels.h.
 *
 * A task is a shard: a few rows that walk through all their steps together, so that their states stay in
 * cache and a product of a step is rows x H x H.  Rows stand longest first; those that have reached their
 * end drop out at the back.  What happens at a step is in cells.h. */

enum { MAX_STATES = 2 };

/* What one walk works on: a shard, or the shared prefix as a shard of one row. */
typedef struct {
    cell_t cell;
    int64_t rows, pitch; /* see dz_pitch */
    const int64_t *row, *start, *length;
    /* state[k] + step * rows * Hp: the k-th states before that step; kept: what that step left.  Without
     * `s->keep` two blocks of states take turns. */
    REAL *state[MAX_STATES], *kept;
    /* Of the cells: noise (noises, rows, Hp), bias and zeros (G Hp each), and room for blocks (rows, Hp): `dropped`
     * has one, or one a noise, `reset` one. */
    REAL *noise, *bias, *zeros, *dropped, *reset;
    /* Backward: */
    const REAL *inject[MAX_STATES]; /* prefix: gradients that reach its states, (longest + 1, Hp) each */
    REAL *dU, *dbias;               /* (H, G Hp) and (Hp) */
    REAL *dW, *db;                  /* with a dx: (D, G Hp) and (G Hp) */
    REAL *met;                      /* with ids, the sums of the rows that were met */
    /* With ids, see `lay_out_ids`: (steps, rows) each, the rows that were met, their number. */
    int32_t *id_at, *met_at, *met_row;
    int64_t *met_count;
    team_t *team; /* those who share its products, or NULL */
    /* Whether a single row goes through the panels of U from the last to the first, as it does at every other step:
     * those that it multiplied last are the ones that a cache still holds, where it does not hold all of them.  (More
     * rows have more to do with a panel than to fetch it, and their inputs are better read in order.) */
    int back;
} walk_t;

/* Which of the first n rows of a walk take a step. */
INLINE int64_t rows_left(const walk_t *w, int64_t n, int64_t step) {
    while (n && w->length[n - 1] <= step) n--;
    return n;
}

INLINE int64_t rows_at(const walk_t *w, int64_t step) { return rows_left(w, w->rows, step); }

#include "cells.h"

/* Steps whose gradients of gates are kept before their weight gradient is taken: enough for a long sum, few
 * enough for its operands to stay in the first cache, where they are read as they stand. */
INLINE int64_t step_block(int64_t H, int64_t rows) {
    enum { LEAST = 4, MOST = 32, ROWS = (1 << 14) / sizeof(REAL) };
    const int64_t steps = (H > FEW_COLUMNS ? OUTER_DEPTH : ROWS / padded(H)) / rows;
    return steps < LEAST ? LEAST : steps > MOST ? MOST : steps;
}

/* How far the gradients of neighbouring rows lie apart (see step_gradient_t).  A walk down a column must not meet
 * the same few sets of the first cache again and again. */
INLINE int64_t dz_pitch(const sweep_t *s) {
    const int64_t n = (fastrnn_cell(s->cell).gates + (s->cell == CELL_GRU)) * padded(s->H);
    return n % (4 * LINE) ? n : n + LINE;
}

/* Room for ids in `work`, in elements. */
INLINE int64_t id_room(const sweep_t *s) {
    enum { FEWEST = sizeof(REAL) / sizeof(int32_t) };
    return s->ids ? (s->T * s->shard_rows + FEWEST - 1) / FEWEST : 0;
}

/* Rows of inputs that are projected together. */
INLINE int64_t input_rows(const sweep_t *s) {
    enum { ELEMENTS = 1 << 16 };
    const int64_t fit = ELEMENTS / s->input.N;
    return fit < GEMM_ROWS ? fit : GEMM_ROWS;
}

/* Steps of so many rows whose inputs are projected together; they are read once a step, so they need not stay in the
 * first cache. */
INLINE int64_t input_steps(const sweep_t *s, int64_t rows) {
    const int64_t most = input_rows(s);
    return most < rows ? 1 : most / rows;
}

/* Room for them, and for the inputs themselves, in elements; a walk may have fewer rows than others, and more steps. */
INLINE int64_t input_room(const sweep_t *s) {
    if (!s->input.a) return 0;
    const int64_t most = input_rows(s), rows = most < s->shard_rows ? s->shard_rows : most;
    return rows * (s->input.N + s->input.K);
}

/* Blocks of states with dropout; the way back needs one. */
INLINE int64_t dropped_blocks(const sweep_t *s) { return s->noises > 1 ? s->noises : 1; }

/* Room to take the gradients of the weights in, those of U and of what was projected one after the other. */
INLINE int64_t gradient_room(const sweep_t *s) {
    const int64_t rows = step_block(s->H, s->shard_rows) * s->shard_rows;
    const int64_t weights = rows * padded(s->H) + add_outer_room(s->H);
    const int64_t inputs = s->dx ? rows * (s->D + padded(s->D)) + add_outer_room(s->D) : 0;
    return weights > inputs ? weights : inputs;
}

/* Elements of scratch for one walk: see `give_room` and the two walks. */
static int64_t sweep_work_size(const sweep_t *s) {
    const cell_t cell = fastrnn_cell(s->cell);
    const int64_t Hp = padded(s->H), block = s->shard_rows * Hp, G = cell.gates;
    const int64_t shared = (s->noises + dropped_blocks(s) + 1) * block + 2 * G * Hp;
    const int64_t forward = (G + 2 * cell.states + cell.kept) * block + id_room(s) + input_room(s);
    const int64_t steps = step_block(s->H, s->shard_rows);
    const int64_t backward = cell.states * block + steps * s->shard_rows * dz_pitch(s) + gradient_room(s);
    const int64_t after = s->after ? outer_work_size(s->H, G * s->H) : 0;
    const int64_t walk = shared + (forward > backward ? forward : backward);
    return walk > after ? walk : after;
}

INLINE REAL *take(REAL **room, int64_t n) {
    REAL *mine = *room;
    *room += n;
    return mine;
}

/* Room for the cells' needs, from the front of `work`; returns what follows. */
static REAL *give_room(const sweep_t *s, walk_t *w, REAL *work) {
    const int64_t H = s->H, Hp = padded(H), block = w->rows * Hp, G = w->cell.gates;
    w->dropped = take(&work, dropped_blocks(s) * block);
    w->reset = take(&work, block);
    w->zeros = take(&work, G * Hp);
    w->bias = take(&work, G * Hp);
    w->noise = take(&work, s->noises * block);
    memset(w->zeros, 0, (size_t)(G * Hp) * sizeof(REAL));
    memset(w->bias, 0, (size_t)(G * Hp) * sizeof(REAL));
    if (s->bias) copy_row(w->bias + (G - 1) * Hp, s->bias, H);
    for (int64_t k = 0; k < s->noises; k++)
        for (int64_t i = 0; i < w->rows; i++)
            copy_padded(w->noise + k * block + i * Hp,
                        (const REAL *)s->noise + (k * s->B + w->row[i]) * H, H);
    return work;
}

/* Point walk number `walk` at its part of the tape, from `offset` on, which is in rows of states. */
INLINE void give_tape(const sweep_t *s, walk_t *w, int64_t walk, int64_t offset) {
    const int64_t Hp = padded(s->H), states = (w->length[0] + 1) * w->rows * Hp;
    if (s->met_at) {
        w->met_at = s->met_at + offset;
        w->met_row = s->met_row + s->met_offset[walk];
        w->met_count = s->met_count + walk;
    }
    REAL *tape = (REAL *)s->tape + offset * (w->cell.states + w->cell.kept) * Hp;
    for (int64_t k = 0; k < w->cell.states; k++) w->state[k] = take(&tape, states);
    w->kept = tape;
}

INLINE walk_t walk_of(const sweep_t *s, int64_t shard) {
    const int64_t first = shard * s->shard_rows, left = s->B - first;
    walk_t w = {
        .cell = fastrnn_cell(s->cell),
        .rows = left < s->shard_rows ? left : s->shard_rows,
        .pitch = dz_pitch(s),
        .row = s->row + first,
        .start = s->start + first,
        .length = s->length + first,
    };
    give_tape(s, &w, shard + 1, s->tape_offset[shard]);
    return w;
}

static const int64_t zero = 0;

INLINE walk_t prefix_walk(const sweep_t *s) {
    walk_t w = {
        .cell = fastrnn_cell(s->cell),
        .rows = 1,
        .pitch = dz_pitch(s),
        .row = &s->prefix_row,
        .start = &zero,
        .length = &s->prefix_length,
    };
    give_tape(s, &w, 0, 0);
    return w;
}

/* Steps to fetch states ahead: a batch's do not fit a core's own caches between the way there and back. */
enum { AHEAD = 8 };

static int64_t shards_of(const sweep_t *s) { return (s->B + s->shard_rows - 1) / s->shard_rows; }

/* -- teams ------------------------------------------------------------------------------------------- */

/* Few rows make one walk, and where U is large its steps are long enough for other threads to share their products: by
 * panels, so that each sum is still one thread's and no result depends on how many there are.
 * SHARED_WORK: elements of U that are worth another thread at a step, which takes half a microsecond to share; to fetch
 * one takes as long as to multiply four rows by it.  FEW_STEPS are worth less, for it takes longer to call a thread. */
enum { SHARED_WORK = 1 << 14, FEW_STEPS = 32 };

/* The threads of a team for so many walks at a time. */
static int32_t team_size(const sweep_t *s, int64_t walks) {
    const int64_t work = (s->B + 3) / 4 * s->H * s->H * fastrnn_cell(s->cell).gates;
    const int64_t worth = (s->T < FEW_STEPS ? s->T : FEW_STEPS) * work / (FEW_STEPS * SHARED_WORK);
    const int64_t groups = unit_groups(s, s->B), most = worth < groups ? worth : groups; /* more have nothing to do */
    return walks == 1 ? fastrnn_team_size(most < s->slots ? most : s->slots) : 1;
}

/* A walk that may be led: the shard that `prefix` leads to, or the prefix itself (`is_prefix`), or a shard without. */
typedef struct {
    const sweep_t *s;
    walk_t *w;
    const walk_t *prefix;
    int is_prefix;
    REAL *work;
} route_t;

/* Go along it, with a team if the sweep has one. */
static void take_route(route_t route, void (*lead)(const void *route)) {
    team_t team;
    if (route.s->team < 2) {
        lead(&route);
        return;
    }
    memset(&team, 0, sizeof team);
    route.w->team = &team;
    fastrnn_lead(&team, route.s->team, lead, &route);
}

/* -- forward --------------------------------------------------------------------------------------- */

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
    multiply_run(&product, rows, 0, product.N, product.packed);
}

/* Copy rows of inputs to where whole vectors of each gate can be read. */
INLINE void pad_inputs(const sweep_t *s, const walk_t *w, int64_t n, const REAL **inputs, REAL *room) {
    const int64_t H = s->H, Hp = padded(H), G = w->cell.gates;
    for (int64_t i = 0; i < n; i++, room += G * Hp) {
        for (int64_t gate = 0; gate < G; gate++) copy_padded(room + gate * Hp, inputs[i] + gate * H, H);
        inputs[i] = room;
    }
}

/* Put the gates of a step on the tape; on a long one past the caches, which would first read what is there. */
INLINE void keep_gates(const sweep_t *s, const REAL *gates, REAL *kept, int64_t n) {
    if (s->stream)
        for (int64_t j = 0; j < n; j += VL) vstream(kept + j, vload(gates + j));
    else
        for (int64_t j = 0; j < n; j += VL) vstore(kept + j, vload(gates + j));
}

/* Whether a walk is a mere chain: one row of a simple RNN, of whole vectors, by itself. */
INLINE int is_chain(const sweep_t *s, const walk_t *w) {
    return s->cell == CELL_SIMPLE_RNN && w->rows == 1 && !w->team && !s->noise && !s->input.a && s->H % VL == 0;
}

/* The steps of such a walk, from its first state on.  A step is the latency of its sums and of an activation, one after
 * the other: what any walk does around that, for rows that leave, noise and gates, took a quarter of it. */
static void chain_forward(const sweep_t *s, const walk_t *w, int keep, int is_prefix) {
    const int64_t H = s->H, steps = w->length[0], first = w->row[0] * s->T + w->start[0];
    const REAL *h = w->state[0];
    REAL *y = s->y && !is_prefix ? (REAL *)s->y + first * H : NULL;
#define INPUT(step) ((const REAL *)s->xz + (s->ids ? (int64_t)w->id_at[step] : first + (step)) * H)
    for (int64_t step = 0; step < steps; step++) {
        REAL *new_h = w->state[0] + (keep ? step + 1 : (step + 1) % 2) * H;
        if (step + 1 < steps) PREFETCH(INPUT(step + 1), (size_t)H * sizeof(REAL));
        row_times_panels(h, s->packed, H * NR, H, H, INPUT(step), new_h, s->activation, ROW_TOGETHER, step % 2);
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
    if (is_chain(s, w)) {
        chain_forward(s, w, keep, is_prefix);
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
    pack_U(s);
    if (s->prefix_length) fastrnn_report(s->prefix_done, 0);
    own.team = team_size(s, shards + (shards > 1 && prefix_ahead(s)));
    if (shards == 1 && prefix_ahead(s)) { /* which could only wait for it: all threads go through one, then the other */
        fastrnn_parallel(1, 1, forward_task, &own);
        own.prefix_known = 1;
    }
    fastrnn_parallel(shards + prefix_ahead(&own), s->slots, forward_task, &own);
}

/* -- backward -------------------------------------------------------------------------------------- */

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
            fastrnn_together(w->team, each, weight_gradient_piece,
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
    if (shards_of(s) < 2 || s->ids || s->dx || s->noise || s->H % VL || s->H * s->H * cell.gates < LARGE_WEIGHTS) return 0;
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
    own.team = team_size(s, shards);
    pack_gates_transposed(s, s->U, s->H, s->packed);
    if (s->dx) pack_gates_transposed(s, s->W, s->D, s->packed_W);
    fastrnn_parallel(shards, s->slots, backward_task, &own);
    if (s->after) add_weight_gradient_after(s);
    if (s->ids) fastrnn_parallel(prefix + parts, s->slots, after_shards_task, s);
    const uint64_t setting = fastrnn_flush_denormals();
    if (prefix) add_met(s, 0, 0, (int32_t)s->V);
    if (!s->after && !sums_in_place(s)) add_partial_sums(s);
    fastrnn_restore_denormals(setting);
}
