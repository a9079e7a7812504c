/* Recurrent cells through time, forward and backward.  Included by kernels.h.
 *
 * A task is a shard: a few rows that walk through all their steps together, so that their states stay in
 * cache and a product of a step is rows x H x H.  Rows stand longest first; those that have reached their
 * end drop out at the back.  What happens at a step is in cells.h, the walks themselves in there.h and back.h, that of
 * a single row of wide layers in row_walk.h. */

enum { MAX_STATES = 2 };

typedef struct {
    int64_t first, end;
} range_t;

/* The part of a step that is meant, of those that have two: each ends when all units are there. */
enum { BOTH, FIRST, SECOND };

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
    /* With U as it stands, what a team's member does at a time: */
    range_t units;
    int half;
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

#include "row_walk.h"
#include "there.h"
#include "back.h"
