/* Rows of tables, optimizer updates and losses: one pass over memory each.  Included by kernels.h. */

/* -- rows of tables ---------------------------------------------------------------------------------- */

typedef struct {
    const int32_t *places;
    const REAL *dz;
    int64_t S, n, M;
    REAL *dP;
} scatter_t;

/* Task: one cache line of columns, so that a sum is one thread's and in the order of the steps. */
static void scatter_task(const void *context, int64_t task, int slot) {
    const scatter_t *s = context;
    const int64_t M = s->M, first = task * LINE, width = M - first < LINE ? M - first : LINE;
    (void)slot;
    for (int64_t i = 0; i < s->n; i++) clear_row(s->dP + i * M + first, width);
    for (int64_t k = 0; k < s->S; k++) {
        REAL *total = s->dP + s->places[k] * M + first;
        const REAL *dz = s->dz + k * M + first;
        if (width == LINE)
            for (int j = 0; j < LINE; j += VL) vstore(total + j, vload(total + j) + vload(dz + j));
        else
            for (int64_t j = 0; j < width; j++) total[j] += dz[j];
    }
}

static void scatter_rows(const int32_t *places, const void *dz, int64_t S, void *dP, int64_t n, int64_t M,
                         int slots) {
    const scatter_t s = {places, dz, S, n, M, dP};
    fastrnn_parallel((M + LINE - 1) / LINE, slots, scatter_task, &s);
}

static void gather_rows(const int32_t *rows, const void *table, void *out, int64_t n, int64_t M) {
    for (int64_t i = 0; i < n; i++)
        copy_row((REAL *)out + i * M, (const REAL *)table + rows[i] * M, M);
}

static void add_rows(const int32_t *rows, const void *values, void *table, int64_t n, int64_t M) {
    for (int64_t i = 0; i < n; i++)
        add_row((REAL *)table + rows[i] * M, (const REAL *)values + i * M, M);
}

/* -- updates ------------------------------------------------------------------------------------------- */

/* Some elements whose gradients come from one place: `grad` itself, rows of a table, or nowhere (NULL). */
typedef struct {
    int64_t end;
    const REAL *g; /* of the first of them */
} stretch_t;

/* The first of u->rows that reaches beyond element i. */
static int64_t row_after(const update_t *u, int64_t i) {
    int64_t low = 0, high = u->n_rows;
    while (low < high) {
        const int64_t k = (low + high) / 2;
        if (u->table + (u->rows[k] + 1) * u->M > i) high = k;
        else low = k + 1;
    }
    return low;
}

/* The stretch from element i on, up to `to` at most; *k is what `row_after` says, and moves on. */
INLINE stretch_t next_stretch(const update_t *u, int64_t i, int64_t to, int64_t *k) {
    const int64_t M = u->M, end = u->table + u->V * M;
    const REAL *own = (const REAL *)u->grad + i;
    if (!u->rows || i >= end) return (stretch_t){to, own};
    if (i < u->table) return (stretch_t){to < u->table ? to : u->table, own};
    const int64_t start = *k < u->n_rows ? u->table + u->rows[*k] * M : end;
    if (i < start) return (stretch_t){to < start ? to : start, NULL};
    const REAL *g = (const REAL *)u->values + *k * M + (i - start);
    int64_t stop = start + M;
    while (stop <= to && ++*k < u->n_rows && u->table + u->rows[*k] * M == stop) stop += M;
    return (stretch_t){to < stop ? to : stop, g};
}

/* RULE_TASK(rule): a task of the rule, whose INLINE `rule`_stretch(u, from, n, g, clear) takes n elements with
 * the gradients g (NULL: zeros), and with `clear` leaves `grad` zero there. */
#define RULE_TASK(rule)                                                                   \
    static void rule##_task(const void *context, int64_t task, int slot) {                \
        const update_t *u = context;                                                      \
        const int64_t to = u->n - task * CHUNK < CHUNK ? u->n : (task + 1) * CHUNK;       \
        int64_t i = task * CHUNK, k = row_after(u, i);                                    \
        (void)slot;                                                                       \
        while (i < to) {                                                                  \
            const stretch_t s = next_stretch(u, i, to, &k);                               \
            if (!s.g) rule##_stretch(u, i, s.end - i, NULL, 0);                           \
            else if (s.g == (REAL *)u->grad + i) rule##_stretch(u, i, s.end - i, s.g, 1); \
            else rule##_stretch(u, i, s.end - i, s.g, 0);                                 \
            i = s.end;                                                                    \
        }                                                                                 \
    }                                                                                     \
    static void rule(const update_t *u) { fastrnn_parallel(CHUNKS(u->n), u->slots, rule##_task, u); }

/* EACH_VECTOR(n, BODY): i runs over the vectors of n elements; LOAD and STORE respect the end. */
#define EACH_VECTOR(n, BODY)                                     \
    int64_t i = 0;                                               \
    for (; i + VL <= n; i += VL) { BODY(vload, vstore) }         \
    for (; i < n; i = n) { BODY(LOAD_REST, STORE_REST) }
#define LOAD_REST(p) vload_n(p, n - i)
#define STORE_REST(p, v) vstore_n(p, v, n - i)
#define PART(array) ((array) ? (REAL *)(array) + from : NULL)
#define CHUNKS(n) (((n) + CHUNK - 1) / CHUNK)

/* p: learning_rate, momentum; flag: nesterov. */
INLINE void sgd_stretch(const update_t *u, int64_t from, int64_t n, const REAL *g, int clear) {
    REAL *value = PART(u->value), *grad = PART(u->grad), *m = PART(u->a);
    const vec rate = vset((REAL)-u->p[0]), momentum = vset((REAL)u->p[1]);
    if (!g && !m) return;
#define BODY(LOAD, STORE)                                   \
    vec step = g ? rate * LOAD(g + i) : vset(0);            \
    if (clear) STORE(grad + i, vset(0));                    \
    if (m) {                                                \
        const vec now = momentum * LOAD(m + i) + step;      \
        STORE(m + i, now);                                  \
        step = u->flag ? momentum * now + step : now;       \
    }                                                       \
    STORE(value + i, LOAD(value + i) + step);
    EACH_VECTOR(n, BODY)
#undef BODY
}
RULE_TASK(sgd)

/* p: learning_rate, rho, momentum, epsilon; flag: centered. */
INLINE void rmsprop_stretch(const update_t *u, int64_t from, int64_t n, const REAL *g, int clear) {
    REAL *value = PART(u->value), *grad = PART(u->grad);
    REAL *v = PART(u->a), *m = PART(u->b), *mean = PART(u->c);
    const vec rate = vset((REAL)u->p[0]), rho = vset((REAL)u->p[1]), rest = vset((REAL)(1 - u->p[1]));
    const vec momentum = vset((REAL)u->p[2]), epsilon = vset((REAL)u->p[3]);
    const int plain = !u->flag && !m;
#define BODY(LOAD, STORE)                                            \
    const vec dx = g ? LOAD(g + i) : vset(0);                        \
    const vec now = rho * LOAD(v + i) + rest * (dx * dx);            \
    vec square = now + epsilon;                                      \
    STORE(v + i, now);                                               \
    /* A table's rows that did not occur only forget. */             \
    if (plain && (!g || (clear && vzero(dx)))) continue;             \
    if (clear) STORE(grad + i, vset(0));                             \
    if (u->flag) {                                                   \
        const vec average = rho * LOAD(mean + i) + rest * dx;        \
        STORE(mean + i, average);                                    \
        square -= average * average;                                 \
    }                                                                \
    vec step = rate * dx / vsqrt(square);                            \
    if (m) {                                                         \
        step = momentum * LOAD(m + i) + step;                        \
        STORE(m + i, step);                                          \
    }                                                                \
    STORE(value + i, LOAD(value + i) - step);
    EACH_VECTOR(n, BODY)
#undef BODY
}
RULE_TASK(rmsprop)

/* p: learning_rate with its bias correction, beta_1, beta_2, epsilon; flag: amsgrad. */
INLINE void adam_stretch(const update_t *u, int64_t from, int64_t n, const REAL *g, int clear) {
    REAL *value = PART(u->value), *grad = PART(u->grad);
    REAL *m = PART(u->a), *v = PART(u->b), *highest = PART(u->c);
    const vec rate = vset((REAL)u->p[0]), epsilon = vset((REAL)u->p[3]);
    const vec rest_1 = vset((REAL)(1 - u->p[1])), rest_2 = vset((REAL)(1 - u->p[2]));
#define BODY(LOAD, STORE)                                              \
    const vec dx = g ? LOAD(g + i) : vset(0);                          \
    const vec m0 = LOAD(m + i), v0 = LOAD(v + i);                      \
    const vec m1 = m0 + rest_1 * (dx - m0);                            \
    vec v1 = v0 + rest_2 * (dx * dx - v0);                             \
    if (clear) STORE(grad + i, vset(0));                               \
    STORE(m + i, m1);                                                  \
    STORE(v + i, v1);                                                  \
    if (u->flag) {                                                     \
        v1 = vmax(LOAD(highest + i), v1);                              \
        STORE(highest + i, v1);                                        \
    }                                                                  \
    STORE(value + i, LOAD(value + i) - rate * m1 / (vsqrt(v1) + epsilon));
    EACH_VECTOR(n, BODY)
#undef BODY
}
RULE_TASK(adam)

typedef struct {
    const REAL *a;
    int64_t n;
    double *partial;
} squares_t;

static void squares_task(const void *context, int64_t task, int slot) {
    const squares_t *s = context;
    const int64_t from = task * CHUNK, to = s->n - from < CHUNK ? s->n : from + CHUNK;
    double sum[4] = {0, 0, 0, 0}; /* four chains, for speed */
    (void)slot;
    for (int64_t i = from; i < to; i++) sum[i % 4] += (double)s->a[i] * (double)s->a[i];
    s->partial[task] = sum[0] + sum[1] + sum[2] + sum[3];
}

static double sum_squares(const void *a, int64_t n, double *partial, int slots) {
    const squares_t s = {a, n, partial};
    double sum = 0;
    fastrnn_parallel(CHUNKS(n), slots, squares_task, &s);
    for (int64_t i = 0; i < CHUNKS(n); i++) sum += partial[i];
    return sum;
}

/* -- losses ------------------------------------------------------------------------------------------- */

/* One entry: its loss, and the derivative by its output. */
INLINE REAL entry_loss(const loss_t *l, REAL y, REAL x, REAL *dx) {
    switch (l->kind) {
        case LOSS_MEAN_SQUARED_ERROR:
            *dx = 2 * (x - y);
            return (x - y) * (x - y);
        case LOSS_MEAN_ABSOLUTE_ERROR:
            *dx = (REAL)((x > y) - (x < y));
            if (x != x || y != y) *dx = x - y; /* NaN stays NaN */
            return FABS(x - y);
        default: break;
    }
    if (l->from_logits) {
        const REAL e = EXP(-FABS(x)), p = (x >= 0 ? 1 : e) / (1 + e);
        *dx = p - y;
        return (x > 0 ? x : 0) - x * y + LOG1P(e) + (x != x ? x : 0);
    }
    const REAL low = (REAL)l->epsilon, high = 1 - low;
    const REAL p = x < low ? low : x > high ? high : x;
    *dx = p == x ? (p - y) / (p * (1 - p)) : x != x ? x : 0;
    return -(y * LOG(p) + (1 - y) * LOG(1 - p));
}

/* -- over classes ------------------------------------------------------------------------------------- */

INLINE REAL sum_of_lanes(vec v) {
    REAL lanes[VL], sum = 0;
    vstore(lanes, v);
    for (int i = 0; i < VL; i++) sum += lanes[i];
    return sum;
}

/* A NaN need not come out: of the exponentials it makes a NaN. */
static REAL largest_of(const REAL *x, int64_t n) {
    REAL largest = x[0];
    int64_t j = 0;
    if (n >= VL) {
        REAL lanes[VL];
        vec most = vload(x);
        for (j = VL; j + VL <= n; j += VL) most = vmax(most, vload(x + j));
        vstore(lanes, most);
        for (int i = 0; i < VL; i++)
            if (lanes[i] > largest) largest = lanes[i];
    }
    for (; j < n; j++)
        if (x[j] > largest) largest = x[j];
    return largest;
}

/* e = exp(x - shift), and their sum; e may be x. */
static REAL exponentials(const REAL *x, REAL shift, REAL *e, int64_t n) {
    vec sum = vset(0);
    int64_t j = 0;
    for (; j + VL <= n; j += VL) {
        const vec some = vexp(vload(x + j) - vset(shift));
        vstore(e + j, some);
        sum = sum + some;
    }
    REAL total = sum_of_lanes(sum);
    if (j < n) vstore_n(e + j, vexp(vload_n(x + j, n - j) - vset(shift)), n - j);
    for (; j < n; j++) total += e[j];
    return total;
}

INLINE REAL dot_of(const REAL *a, const REAL *b, REAL shift, int64_t n) { /* sum a (b - shift) */
    vec sum = vset(0);
    int64_t j = 0;
    for (; j + VL <= n; j += VL) sum = sum + vload(a + j) * (vload(b + j) - vset(shift));
    REAL total = sum_of_lanes(sum);
    for (; j < n; j++) total += a[j] * (b[j] - shift);
    return total;
}

/* -sum_c y_c log p_c with p = softmax(x), and its gradient p sum(y) - y, by way of exp(x - largest). */
static void class_loss(const loss_t *l, int64_t i) {
    const int64_t C = l->C;
    const REAL *x = (const REAL *)l->output + i * C, weight = ((const REAL *)l->weight)[i];
    REAL *losses = (REAL *)l->losses + i, *dx = (REAL *)l->doutput + i * C;
    const REAL largest = largest_of(x, C), sum = exponentials(x, largest, dx, C);
    if (l->labels) {
        const int64_t label = l->labels[i];
        *losses = LOG(sum) - (x[label] - largest);
        for (int64_t j = 0; j < C; j++) dx[j] *= weight / sum;
        dx[label] -= weight;
        return;
    }
    const REAL *y = (const REAL *)l->target + i * C;
    REAL total = 0;
    for (int64_t j = 0; j < C; j++) total += y[j];
    *losses = total * LOG(sum) - dot_of(y, x, largest, C);
    for (int64_t j = 0; j < C; j++) dx[j] = (dx[j] * (total / sum) - y[j]) * weight;
}

/* So many rows of C make a task. */
INLINE int64_t rows_of_task(int64_t C) { return C < CHUNK ? CHUNK / C : 1; }

static void class_loss_task(const void *context, int64_t task, int slot) {
    const loss_t *l = context;
    const int64_t each = rows_of_task(l->C), first = task * each;
    (void)slot;
    for (int64_t i = first; i < first + each && i < l->n; i++) class_loss(l, i);
}

typedef struct {
    const REAL *y, *dy; /* dy: NULL on the way there */
    REAL *out;
    int64_t n, C;
} softmax_t;

static void softmax_task(const void *context, int64_t task, int slot) {
    const softmax_t *s = context;
    const int64_t C = s->C, each = rows_of_task(C), first = task * each;
    (void)slot;
    for (int64_t i = first; i < first + each && i < s->n; i++) {
        const REAL *y = s->y + i * C;
        REAL *out = s->out + i * C;
        if (s->dy) {
            const REAL *dy = s->dy + i * C, along = dot_of(y, dy, 0, C);
            for (int64_t j = 0; j < C; j++) out[j] = y[j] * (dy[j] - along);
        } else {
            const REAL scale = 1 / exponentials(y, largest_of(y, C), out, C);
            for (int64_t j = 0; j < C; j++) out[j] *= scale;
        }
    }
}

static void softmax(const void *z, void *y, int64_t n, int64_t C, int slots) {
    const softmax_t s = {z, NULL, y, n, C};
    const int64_t each = rows_of_task(C);
    fastrnn_parallel((n + each - 1) / each, slots, softmax_task, &s);
}

static void softmax_backward(const void *y, const void *dy, void *dz, int64_t n, int64_t C, int slots) {
    const softmax_t s = {y, dy, dz, n, C};
    const int64_t each = rows_of_task(C);
    fastrnn_parallel((n + each - 1) / each, slots, softmax_task, &s);
}

static void loss(const loss_t *l) {
    if (l->kind >= LOSS_CATEGORICAL_CROSSENTROPY) {
        const int64_t each = rows_of_task(l->C);
        fastrnn_parallel((l->n + each - 1) / each, l->slots, class_loss_task, l);
        return;
    }
    const REAL *target = l->target, *output = l->output, *weight = l->weight;
    REAL *losses = l->losses, *doutput = l->doutput;
    for (int64_t i = 0; i < l->n; i++) {
        REAL total = 0;
        for (int64_t c = 0; c < l->C; c++) {
            REAL dx;
            total += entry_loss(l, target[i * l->C + c], output[i * l->C + c], &dx);
            doutput[i * l->C + c] = dx / (REAL)l->C * weight[i];
        }
        losses[i] = total / (REAL)l->C;
    }
}
