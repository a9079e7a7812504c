/* The product of a single row's state with U as it stands, see `reads_U_as_it_stands`.  Included by cells.h. */

/* h U is cut by rows of U, whose parts lie in memory one after the other: so they fall on all sets of a cache alike,
 * as columns would not, and each thread of a team meets its own again.  Whoever computes units of a state goes on to
 * multiply them by their rows of U: so a phase makes a step.  What each part comes to is kept in `packed`, which
 * has nothing else to hold, and added up in the order of the parts, whoever multiplied them.
 *
 * ROWS_OF_U are multiplied at a time, by strips of columns: as many pages as a core finds at once.  A part has one or
 * two such blocks: of more parts each thread would have to fetch more sums that others made. */
enum { ROWS_OF_U = 64 };

INLINE int64_t rows_of_part(const sweep_t *s) { return s->H < 4 * ROWS_OF_U ? ROWS_OF_U : 2 * ROWS_OF_U; }

INLINE int64_t parts_of_U(const sweep_t *s) { return (s->H + rows_of_part(s) - 1) / rows_of_part(s); }

/* The parts' sums, (parts, G H), for odd steps and for even ones, as some begin the next while others are at this. */
INLINE REAL *sums_of_parts(const sweep_t *s, int odd) {
    CHECK(2 * parts_of_U(s) <= padded(s->H));
    return (REAL *)s->packed + odd * parts_of_U(s) * fastrnn_cell(s->cell).gates * s->H;
}

/* A product that follows: of a state, or NULL, by U, for the gates from .. to - 1, at an odd step or an even one. */
typedef struct {
    const REAL *h;
    int64_t from, to;
    int odd;
} times_t;

/* One part of it, at every other step from the last block to the first, as the parts are, see `back`. */
INLINE void multiply_part(const sweep_t *s, const walk_t *w, times_t p, int64_t part) {
    const int64_t H = s->H, width = w->cell.gates * H, each = rows_of_part(s), begin = part * each;
    const int64_t rows = H - begin < each ? H - begin : each, blocks = (rows + ROWS_OF_U - 1) / ROWS_OF_U;
    const int64_t many = s->noises > 1 ? 1 : p.to - p.from; /* gates that multiply the same */
    REAL *const sums = sums_of_parts(s, p.odd) + part * width;
    const REAL *before = w->zeros;
    for (int64_t i = 0; i < blocks; i++, before = sums) {
        const int64_t at = (w->back ? blocks - 1 - i : i) * ROWS_OF_U;
        const int64_t k = begin + at, left = rows - at, K = left < ROWS_OF_U ? left : ROWS_OF_U;
        for (int64_t gate = p.from; gate < p.to; gate += many)
            row_times_matrix(dropped(s, w, p.h, gate) + k, (const REAL *)s->U + k * width + gate * H, width, many * H,
                             K, before + gate * H, sums + gate * H);
    }
}

/* Those that belong to the units [first, end). */
static NOINLINE void multiply_parts(const sweep_t *s, const walk_t *w, times_t p, int64_t first, int64_t end) {
    const int64_t each = rows_of_part(s), from = first / each, to = (end + each - 1) / each;
    if (s->noise) drop_units(s, w, 1, p.h, p.from, p.to, first, end);
    for (int64_t i = from; i < to; i++) multiply_part(s, w, p, w->back ? from + to - 1 - i : i);
}

/* `times_U` once the parts are there. */
static NOINLINE void add_parts(const sweep_t *s, const walk_t *w, int64_t from, int64_t to, int64_t first, int64_t end,
                               const REAL *init, REAL *out, int32_t activation) {
    const int64_t H = s->H, Hp = padded(H), width = w->cell.gates * H, parts = parts_of_U(s);
    const int64_t whole = (end < H ? end : H - H % VL) - first;
    for (int64_t gate = from; gate < to; gate++) {
        const REAL *own = init + gate * Hp + first, *part = sums_of_parts(s, w->back) + gate * H + first;
        REAL *sum = out + gate * Hp + first;
        for (int64_t j = 0; j < end - first; j += VL) {
            vec y = vload(own + j);
            for (int64_t p = 0; p < parts; p++)
                y += j < whole ? vload(part + p * width + j) : vload_n(part + p * width + j, H - first - j);
            vstore(sum + j, y);
        }
        if (activation != ACT_LINEAR) activate_block(activation, sum, end - first);
    }
}
