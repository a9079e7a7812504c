/* Programs: a cell's step as instructions on registers, carried through all steps for a few rows at a time.
 *
 * A register has a row of whole vectors for each row of the task, so that all of it is one run of memory, and all
 * registers of a task stay in a core's own caches.  What the ends of rows hold beyond their width is never used. */

/* Where the registers lie; returns the elements that all of them have for each row. */
static int64_t place_registers(const program_t *p) {
    int64_t end = 0;
    for (int64_t i = 0; i < p->registers; i++) {
        p->place[i] = end;
        end += padded(p->width[i]);
    }
    return end;
}

static int64_t program_work_size(const program_t *p) { return place_registers(p) * p->rows; }

/* What a task has at hand. */
typedef struct {
    const program_t *p;
    REAL *file;
    int64_t first, rows; /* of the batch */
    int counted[PROGRAM_ROWS];
} task_t;

INLINE REAL *reg_of(const task_t *t, int64_t i) { return t->file + t->p->place[i] * t->p->rows; }
INLINE int64_t pitch_of(const task_t *t, int64_t i) { return padded(t->p->width[i]); }

/* -- entry by entry -------------------------------------------------------------------------------- */

#define ENTRIES(value)                             \
    for (int64_t i = 0; i < n; i += VL) {          \
        const vec x = vload(a + i);                \
        vstore(dst + i, value);                    \
    }                                              \
    break
#define PAIRS(value)                                              \
    for (int64_t i = 0; i < n; i += VL) {                         \
        const vec x = vload(a + i), y = vload(b + i);             \
        vstore(dst + i, value);                                   \
    }                                                             \
    break
#define TRUTH(condition) vselect(MASK(condition), vset(1), vset(0))

/* Functions of the C library, number by number. */
#define EACH_NUMBER(name, function)                                            \
    INLINE vec name(vec x) {                                                   \
        REAL numbers[VL];                                                      \
        vstore(numbers, x);                                                    \
        for (int i = 0; i < VL; i++) numbers[i] = function(numbers[i]);        \
        return vload(numbers);                                                 \
    }
EACH_NUMBER(vlog, LOG)
EACH_NUMBER(vsine, SINE)
EACH_NUMBER(vcosine, COSINE)
#undef EACH_NUMBER

static void run_pairs(int32_t op, REAL *dst, const REAL *a, const REAL *b, int64_t n) {
    switch (op) {
        case OP_ADD: PAIRS(x + y);
        case OP_SUBTRACT: PAIRS(x - y);
        case OP_MULTIPLY: PAIRS(x * y);
        case OP_DIVIDE: PAIRS(x / y);
        case OP_MAXIMUM: PAIRS(vmax(x, y));
        case OP_MINIMUM: PAIRS(vmin(x, y));
        case OP_EQUAL: PAIRS(TRUTH(x == y));
        case OP_NOT_EQUAL: PAIRS(TRUTH(x != y));
        case OP_LESS: PAIRS(TRUTH(x < y));
        case OP_LESS_EQUAL: PAIRS(TRUTH(x <= y));
        case OP_GREATER: PAIRS(TRUTH(x > y));
        default: PAIRS(TRUTH(x >= y)); /* OP_GREATER_EQUAL */
    }
}

static void run_entries(int32_t op, REAL *dst, const REAL *a, int64_t n) {
    switch (op) {
        case OP_NEGATIVE: ENTRIES(-x);
        case OP_ABSOLUTE: ENTRIES(vabs(x));
        case OP_SIGN: ENTRIES(TRUTH(x > vset(0)) - TRUTH(x < vset(0)));
        case OP_SQRT: ENTRIES(vsqrt(x));
        case OP_SINE: ENTRIES(vsine(x));
        case OP_COSINE: ENTRIES(vcosine(x));
        default: ENTRIES(vlog(x)); /* OP_LOG */
    }
}

static void run_activation(int32_t activation, REAL *dst, const REAL *a, int64_t n) {
#define BODY(A) for (int64_t i = 0; i < n; i += VL) vstore(dst + i, apply(A, vload(a + i)))
    EACH_ACTIVATION(activation, BODY)
#undef BODY
}

static void run_where(REAL *dst, const REAL *c, const REAL *a, const REAL *b, int64_t n) {
    for (int64_t i = 0; i < n; i += VL)
        vstore(dst + i, vselect(MASK(vload(c + i) != vset(0)), vload(a + i), vload(b + i)));
}

#undef ENTRIES
#undef PAIRS
#undef TRUTH

/* -- across rows ------------------------------------------------------------------------------------- */

static void run_product(const task_t *t, const instruction_t *i) {
    const matrix_t *m = &t->p->matrices[i->b];
    const int64_t pitch = pitch_of(t, i->dst);
    REAL *dst = reg_of(t, i->dst);
    const REAL *init[PROGRAM_ROWS];
    if (i->c < 0) memset(dst, 0, (size_t)(t->rows * pitch) * sizeof *dst);
    for (int64_t r = 0; r < t->rows; r++)
        init[r] = i->c < 0 ? dst + r * pitch : reg_of(t, i->c) + r * pitch_of(t, i->c);
    for (int64_t n = 0; n < m->N; n += NR) {
        const int vectors = panel_vectors(n, m->N);
        rows_times_panel(t->rows, vectors, reg_of(t, i->a), pitch_of(t, i->a), 1, (const REAL *)m->packed + n * m->K,
                         vectors * VL, m->K, init, n, dst + n, pitch, ACT_LINEAR);
    }
}

static void run_columns(const task_t *t, const instruction_t *i) {
    REAL *dst = reg_of(t, i->dst) + i->to;
    const REAL *a = reg_of(t, i->a) + i->from;
    for (int64_t r = 0; r < t->rows; r++, dst += pitch_of(t, i->dst), a += pitch_of(t, i->a)) {
        if (i->op == OP_COPY)
            copy_row(dst, a, i->width);
        else
            add_row(dst, a, i->width);
    }
}

static void run_sum(const task_t *t, const instruction_t *i) {
    const int64_t width = t->p->width[i->a], pitch = pitch_of(t, i->a), to = pitch_of(t, i->dst);
    const REAL *a = reg_of(t, i->a);
    REAL *dst = reg_of(t, i->dst);
    for (int64_t r = 0; r < t->rows; r++, a += pitch, dst += to) {
        REAL lanes[VL];
        vec sum = vset(0);
        int64_t j = 0;
        for (; j + VL <= width; j += VL) sum += vload(a + j);
        if (j < width) sum += vload_n(a + j, width - j);
        vstore(lanes, sum);
        for (int n = VL / 2; n; n /= 2)
            for (int k = 0; k < n; k++) lanes[k] += lanes[k + n];
        *dst = lanes[0];
    }
}

static void run_largest(const task_t *t, const instruction_t *i) {
    const int64_t width = t->p->width[i->a];
    for (int64_t r = 0; r < t->rows; r++) {
        const REAL *a = reg_of(t, i->a) + r * pitch_of(t, i->a);
        REAL largest = a[0];
        for (int64_t j = 1; j < width; j++) largest = a[j] > largest ? a[j] : largest;
        reg_of(t, i->dst)[r * pitch_of(t, i->dst)] = largest;
    }
}

static void run_spread(const task_t *t, const instruction_t *i) {
    const int64_t pitch = pitch_of(t, i->dst);
    for (int64_t r = 0; r < t->rows; r++) {
        const vec x = vset(reg_of(t, i->a)[r * pitch_of(t, i->a)]);
        for (int64_t j = 0; j < pitch; j += VL) vstore(reg_of(t, i->dst) + r * pitch + j, x);
    }
}

/* -- a step -------------------------------------------------------------------------------------------- */

static void run_instruction(const task_t *t, const instruction_t *i) {
    REAL *dst = reg_of(t, i->dst);
    const REAL *a = i->a < 0 ? NULL : reg_of(t, i->a);
    const int64_t n = t->rows * pitch_of(t, i->dst);
    switch (i->op) {
        case OP_ACTIVATE: run_activation(i->c, dst, a, n); break;
        case OP_SLOPE: slope_block(i->c, a, reg_of(t, i->b), dst, n); break;
        case OP_WHERE: run_where(dst, reg_of(t, i->c), a, reg_of(t, i->b), n); break;
        case OP_ZERO: memset(dst, 0, (size_t)n * sizeof *dst); break;
        case OP_COPY:
        case OP_ADD_COPY: run_columns(t, i); break;
        case OP_SUM: run_sum(t, i); break;
        case OP_LARGEST: run_largest(t, i); break;
        case OP_SPREAD: run_spread(t, i); break;
        case OP_PRODUCT: run_product(t, i); break;
        case OP_NEGATIVE:
        case OP_ABSOLUTE:
        case OP_SIGN:
        case OP_SQRT:
        case OP_LOG:
        case OP_SINE:
        case OP_COSINE: run_entries(i->op, dst, a, n); break;
        default: run_pairs(i->op, dst, a, reg_of(t, i->b), n);
    }
}

/* The row of a stream that belongs to row r of the task. */
INLINE REAL *stream_row(const task_t *t, const stream_t *s, int64_t r, int64_t step) {
    return (REAL *)s->data + ((t->first + r) * t->p->T + step) * t->p->width[s->reg];
}

/* Steps ahead that lines of streams are fetched: each row is a run of memory of its own, and those are too many for a
 * processor to foresee. */
enum { STEPS_AHEAD = 6 };
INLINE void fetch_ahead(const task_t *t, const stream_t *s, int64_t r, int64_t step) {
    const int64_t ahead = t->p->reverse ? step - STEPS_AHEAD : step + STEPS_AHEAD;
    if (ahead >= 0 && ahead < t->p->T) PREFETCH(stream_row(t, s, r, ahead), t->p->width[s->reg] * sizeof(REAL));
}

static void load(const task_t *t, const stream_t *s, int64_t step) {
    const int64_t width = t->p->width[s->reg], pitch = pitch_of(t, s->reg);
    for (int64_t r = 0; r < t->rows; r++) {
        REAL *to = reg_of(t, s->reg) + r * pitch;
        fetch_ahead(t, s, r, step);
        if (s->flags & STREAM_COUNTED && !t->counted[r]) continue;
        if (s->flags & STREAM_ADDS)
            add_row(to, stream_row(t, s, r, step), width);
        else
            copy_row(to, stream_row(t, s, r, step), width);
    }
}

static void store(const task_t *t, const stream_t *s, int64_t step) {
    const int64_t width = t->p->width[s->reg], pitch = pitch_of(t, s->reg);
    for (int64_t r = 0; r < t->rows; r++) {
        REAL *to = stream_row(t, s, r, step);
        fetch_ahead(t, s, r, step);
        if (s->flags & STREAM_COUNTED && !t->counted[r])
            clear_row(to, width);
        else
            copy_row(to, reg_of(t, s->reg) + r * pitch, width);
    }
}

static void carry(const task_t *t, const carry_t *c, int all) {
    const int64_t pitch = pitch_of(t, c->reg);
    REAL *to = reg_of(t, c->reg);
    const REAL *from = reg_of(t, c->from);
    if (all)
        copy_row(to, from, t->rows * pitch);
    else
        for (int64_t r = 0; r < t->rows; r++)
            if (t->counted[r]) copy_row(to + r * pitch, from + r * pitch, pitch);
}

static void run_step(task_t *t, int64_t step) {
    const program_t *p = t->p;
    int any = 0, all = 1;
    for (int64_t r = 0; r < t->rows; r++) {
        t->counted[r] = !p->start || (p->start[t->first + r] <= step && step < p->stop[t->first + r]);
        any |= t->counted[r];
        all &= t->counted[r];
    }
    for (int64_t i = 0; i < p->n_loads; i++) load(t, &p->loads[i], step);
    for (int64_t i = 0; i < p->n_code && any; i++) run_instruction(t, &p->code[i]);
    for (int64_t i = 0; i < p->n_stores; i++)
        if (!(p->stores[i].flags & STREAM_AFTER)) store(t, &p->stores[i], step);
    for (int64_t i = 0; i < p->n_carries; i++) carry(t, &p->carries[i], all);
    for (int64_t i = 0; i < p->n_stores; i++)
        if (p->stores[i].flags & STREAM_AFTER) store(t, &p->stores[i], step);
}

/* -- all steps ----------------------------------------------------------------------------------------- */

/* Task: `rows` rows, from the first step to the last. */
static void program_task(const void *context, int64_t task, int slot) {
    const program_t *p = context;
    const int64_t size = (p->place[p->registers - 1] + padded(p->width[p->registers - 1])) * p->rows;
    task_t t = {.p = p, .file = (REAL *)p->work + slot * size, .first = task * p->rows};
    const REAL *statics = p->statics;
    t.rows = p->B - t.first < p->rows ? p->B - t.first : p->rows;
    memset(t.file, 0, (size_t)size * sizeof(REAL));
    for (int64_t i = 0; i < p->n_statics; statics += p->width[i++])
        for (int64_t r = 0; r < t.rows; r++) copy_row(reg_of(&t, i) + r * pitch_of(&t, i), statics, p->width[i]);
    for (int64_t i = 0; i < p->n_carries; i++) {
        const carry_t *c = &p->carries[i];
        const int64_t width = p->width[c->reg];
        for (int64_t r = 0; r < t.rows && c->first; r++)
            copy_row(reg_of(&t, c->reg) + r * pitch_of(&t, c->reg), (const REAL *)c->first + (t.first + r) * width,
                     width);
    }
    for (int64_t i = 0; i < p->T; i++) run_step(&t, p->reverse ? p->T - 1 - i : i);
    for (int64_t i = 0; i < p->n_carries; i++) {
        const carry_t *c = &p->carries[i];
        const int64_t width = p->width[c->reg];
        for (int64_t r = 0; r < t.rows && c->last; r++)
            copy_row((REAL *)c->last + (t.first + r) * width, reg_of(&t, c->reg) + r * pitch_of(&t, c->reg), width);
    }
}

static void run_program(const program_t *p) {
    for (int64_t i = 0; i < p->n_matrices; i++) {
        const matrix_t *m = &p->matrices[i];
        pack(m->b, m->b_k, m->b_n, m->N, m->K, m->packed, p->slots);
    }
    fastrnn_parallel((p->B + p->rows - 1) / p->rows, p->slots, program_task, p);
}
