/* Bookkeeping of batches: which ids occur, which steps are shared, which rows go together. */
#include <string.h>

#include "rnn.h"

/* Half of a padded batch is padding, and long stretches of one id are dealt with at a time. */
enum { STRETCH = 16 };

/* Whether STRETCH ids are the same.  Their number being fixed, this takes a few instructions on vectors. */
static inline int all_same(const int32_t *ids) {
    int32_t differs = 0;
    for (int j = 0; j < STRETCH; j++) differs |= ids[0] ^ ids[j];
    return !differs;
}

/* Mark the ids that occur. */
static void mark(const int32_t *ids, int64_t n, uint8_t *seen) {
    int64_t i = 0;
    for (; i + STRETCH <= n; i += STRETCH) {
        const int marks = all_same(ids + i) ? 1 : STRETCH;
        for (int j = 0; j < marks; j++) seen[ids[i + j]] = 1;
    }
    for (; i < n; i++) seen[ids[i]] = 1;
}

/* Copy ids, and mark them unless `seen` is NULL; returns -1, or the place of the first outside [0, V). */
static int64_t take_ids(const int32_t *ids, int64_t n, int64_t V, uint8_t *seen, int32_t *copy) {
    enum { BLOCK = 1024 }; /* stays in the first cache */
    if (seen) memset(seen, 0, (size_t)V);
    for (int64_t first = 0; first < n; first += BLOCK) {
        const int64_t count = n - first < BLOCK ? n - first : BLOCK;
        int32_t *own = copy + first;
        memcpy(own, ids + first, (size_t)count * sizeof *own);
        uint32_t outside = 0;
        for (int64_t i = 0; i < count; i++) outside |= (uint32_t)own[i] >= (uint32_t)V; /* or negative */
        if (outside) {
            int64_t i = 0;
            while ((uint32_t)own[i] < (uint32_t)V) i++;
            return first + i;
        }
        if (seen) mark(own, count, seen);
    }
    return -1;
}

typedef struct {
    const int32_t *ids;
    int32_t *copy;
    uint8_t *seen;
    const int32_t *slot;
    int64_t n, V, parts, *bad;
} count_t;

/* Task: one part of the ids, with marks of its own. */
static void count_task(const void *context, int64_t part, int slot) {
    const count_t *c = context;
    const int64_t first = c->n * part / c->parts, end = c->n * (part + 1) / c->parts;
    uint8_t *seen = c->seen ? c->seen + part * c->V : NULL;
    const int64_t bad = take_ids(c->ids + first, end - first, c->V, seen, c->copy + first);
    (void)slot;
    c->bad[part] = bad < 0 ? -1 : first + bad;
}

/* Task: turn one part of the ids into their slots. */
static void place_task(const void *context, int64_t part, int slot) {
    const count_t *c = context;
    const int64_t first = c->n * part / c->parts, end = c->n * (part + 1) / c->parts;
    const int32_t *slots = c->slot;
    int32_t *own = c->copy;
    int64_t i = first;
    (void)slot;
    for (; i + STRETCH <= end; i += STRETCH) {
        const int same = all_same(own + i);
        const int32_t common = slots[own[i]];
        if (same)
            for (int j = 0; j < STRETCH; j++) own[i + j] = common;
        else
            for (int j = 0; j < STRETCH; j++) own[i + j] = slots[own[i + j]];
    }
    for (; i < end; i++) own[i] = slots[own[i]];
}

/* Number the ids from `first` to `end` - 1 that were seen, from `occurring` on; returns the next number. */
static inline int64_t number_seen(const uint8_t *seen, int64_t first, int64_t end, int64_t occurring, int32_t *rows,
                                  int32_t *slot) {
    for (int64_t id = first; id < end; id++) {
        rows[occurring] = (int32_t)id; /* overwritten unless it was seen */
        slot[id] = (int32_t)occurring;
        occurring += seen[id];
    }
    return occurring;
}

/* The same for all, where few were seen: most stretches are empty. */
static int64_t number_few(const uint8_t *seen, int64_t V, int32_t *rows, int32_t *slot) {
    const int64_t whole = V / 8 * 8;
    int64_t occurring = 0;
    for (int64_t id = 0; id < whole; id += 8) {
        uint64_t any;
        memcpy(&any, seen + id, sizeof any);
        if (any) occurring = number_seen(seen, id, id + 8, occurring, rows, slot);
    }
    return number_seen(seen, whole, V, occurring, rows, slot);
}

int64_t fastrnn_count_ids(const int32_t *ids, int64_t n, int64_t V, int32_t *copy, int32_t *rows,
                          int32_t *slot, uint8_t *seen, int slots) {
    int64_t bad[COUNT_PARTS];
    const int64_t parts = n < 1 << 14 ? 1 : COUNT_PARTS; /* few are counted before another thread is there */
    const count_t c = {ids, copy, seen, slot, n, V, parts, bad};
    fastrnn_parallel(parts, slots, count_task, &c);
    for (int64_t part = 0; part < parts; part++)
        if (bad[part] >= 0) return -1 - bad[part];
    if (!seen) {
        for (int64_t id = 0; id < V; id++) rows[id] = (int32_t)id;
        return V;
    }
    for (int64_t part = 1; part < parts; part++)
        for (int64_t id = 0; id < V; id++) seen[id] |= seen[part * V + id];
    const int64_t occurring =
        n < V / 4 ? number_few(seen, V, rows, slot) : number_seen(seen, 0, V, 0, rows, slot);
    fastrnn_parallel(parts, slots, place_task, &c);
    return occurring;
}

int64_t fastrnn_cut_runs(const run_t *runs, int64_t n_runs, int64_t most, run_t *pieces) {
    enum { WHOLE_TILES = 12 }; /* rows that register tiles of every ISA divide */
    int64_t n = 0;
    for (int64_t i = 0; i < n_runs;) {
        const int64_t first = runs[i].first;
        int64_t count = runs[i].count;
        for (i++; i < n_runs && runs[i].first == first + count; i++) count += runs[i].count;
        const int64_t least = (count + most - 1) / most, even = least ? (count + least - 1) / least : 0;
        const int64_t rounded = (even + WHOLE_TILES - 1) / WHOLE_TILES * WHOLE_TILES;
        const int64_t size = rounded < most ? rounded : most;
        for (int64_t s = 0; s < count; s += size, n++)
            if (pieces) pieces[n] = (run_t){first + s, count - s < size ? count - s : size};
    }
    return n;
}

void fastrnn_shared_prefix(const int32_t *ids, int64_t B, int64_t T, int64_t *shared) {
    /* Boyer and Moore's vote finds the first id that most rows have, if there is a majority. */
    int32_t common = ids[0];
    int64_t votes = 0;
    for (int64_t b = 0; b < B; b++) {
        if (votes == 0) common = ids[b * T];
        votes += ids[b * T] == common ? 1 : -1;
    }
    for (int64_t b = 0; b < B; b++) {
        const int32_t *own = ids + b * T;
        int64_t t = 0;
        while (t + STRETCH <= T && own[t] == common && all_same(own + t)) t += STRETCH;
        while (t < T && own[t] == common) t++;
        shared[b] = t;
    }
}

int64_t fastrnn_plan(int64_t B, int64_t T, const int64_t *start, const int64_t *stop,
                     const int64_t *shared, int32_t shard_rows, int64_t *row, int64_t *first,
                     int64_t *length, int64_t *tape_offset, int64_t *prefix_row,
                     int64_t *prefix_length, int64_t *bucket) {
    /* A counting sort, longest first; rows of equal length keep their order. */
#define LENGTH(b) (shared ? T - shared[b] : stop ? stop[b] - start[b] : T)
    memset(bucket, 0, (size_t)(T + 2) * sizeof *bucket);
    for (int64_t b = 0; b < B; b++) bucket[T - LENGTH(b) + 1]++;
    for (int64_t t = 0; t <= T; t++) bucket[t + 1] += bucket[t];
    for (int64_t b = 0; b < B; b++) {
        const int64_t place = bucket[T - LENGTH(b)]++;
        row[place] = b;
        first[place] = shared ? shared[b] : start ? start[b] : 0;
        length[place] = LENGTH(b);
    }
#undef LENGTH
    *prefix_row = *prefix_length = 0;
    if (shared && B > 0) {
        /* A few neighbours leave the prefix together, where the first of them must: products of whole
         * tiles are worth the few steps that some take twice. */
        for (int64_t i = 0; i < B; i++) {
            const int64_t leader = i - i % shard_rows % LEAVE_TOGETHER;
            first[i] = first[leader];
            length[i] = length[leader];
        }
        *prefix_row = row[B - 1];
        *prefix_length = first[B - 1];
    }
    int64_t states = *prefix_length ? *prefix_length + 1 : 0;
    for (int64_t i = 0; i < B; i += shard_rows) {
        const int64_t rows = B - i < shard_rows ? B - i : shard_rows;
        tape_offset[i / shard_rows] = states;
        states += (length[i] + 1) * rows;
    }
    return states;
}
