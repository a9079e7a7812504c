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

/* EACH_VECTOR(u, task): i runs over the vectors of a chunk; LOAD and STORE respect the end. */
#define EACH_VECTOR(u, task, BODY)                                                        \
    const int64_t from = task * CHUNK, to = u->n - from < CHUNK ? u->n : from + CHUNK;    \
    int64_t i = from;                                                                     \
    for (; i + VL <= to; i += VL) { BODY(vload, vstore) }                                 \
    for (; i < to; i = to) { BODY(LOAD_REST, STORE_REST) }
#define LOAD_REST(p) vload_n(p, to - i)
#define STORE_REST(p, v) vstore_n(p, v, to - i)

/* p: learning_rate, momentum; flag: nesterov. */
static void sgd_task(const void *context, int64_t task, int slot) {
    const update_t *u = context;
    REAL *value = u->value, *grad = u->grad, *m = u->a;
    const vec rate = vset((REAL)-u->p[0]), momentum = vset((REAL)u->p[1]);
    (void)slot;
#define BODY(LOAD, STORE)                                   \
    vec step = rate * LOAD(grad + i);                       \
    STORE(grad + i, vset(0));                               \
    if (m) {                                                \
        const vec now = momentum * LOAD(m + i) + step;      \
        STORE(m + i, now);                                  \
        step = u->flag ? momentum * now + step : now;       \
    }                                                       \
    STORE(value + i, LOAD(value + i) + step);
    EACH_VECTOR(u, task, BODY)
#undef BODY
}

/* p: learning_rate, rho, momentum, epsilon; flag: centered. */
static void rmsprop_task(const void *context, int64_t task, int slot) {
    const update_t *u = context;
    REAL *value = u->value, *grad = u->grad, *v = u->a, *m = u->b, *mean = u->c;
    const vec rate = vset((REAL)u->p[0]), rho = vset((REAL)u->p[1]), rest = vset((REAL)(1 - u->p[1]));
    const vec momentum = vset((REAL)u->p[2]), epsilon = vset((REAL)u->p[3]);
    (void)slot;
#define BODY(LOAD, STORE)                                                   \
    const vec g = LOAD(grad + i), now = rho * LOAD(v + i) + rest * (g * g); \
    vec square = now + epsilon;                                             \
    STORE(v + i, now);                                                      \
    /* A table's rows that did not occur only forget. */                    \
    if (!u->flag && !m && vzero(g)) continue;                               \
    STORE(grad + i, vset(0));                                               \
    if (u->flag) {                                                          \
        const vec average = rho * LOAD(mean + i) + rest * g;                \
        STORE(mean + i, average);                                           \
        square -= average * average;                                        \
    }                                                                       \
    vec step = rate * g / vsqrt(square);                                    \
    if (m) {                                                                \
        step = momentum * LOAD(m + i) + step;                               \
        STORE(m + i, step);                                                 \
    }                                                                       \
    STORE(value + i, LOAD(value + i) - step);
    EACH_VECTOR(u, task, BODY)
#undef BODY
}

/* p: learning_rate with its bias correction, beta_1, beta_2, epsilon; flag: amsgrad. */
static void adam_task(const void *context, int64_t task, int slot) {
    const update_t *u = context;
    REAL *value = u->value, *grad = u->grad, *m = u->a, *v = u->b, *highest = u->c;
    const vec rate = vset((REAL)u->p[0]), epsilon = vset((REAL)u->p[3]);
    const vec rest_1 = vset((REAL)(1 - u->p[1])), rest_2 = vset((REAL)(1 - u->p[2]));
    (void)slot;
#define BODY(LOAD, STORE)                                              \
    const vec g = LOAD(grad + i), m0 = LOAD(m + i), v0 = LOAD(v + i);  \
    const vec m1 = m0 + rest_1 * (g - m0);                             \
    vec v1 = v0 + rest_2 * (g * g - v0);                               \
    STORE(grad + i, vset(0));                                          \
    STORE(m + i, m1);                                                  \
    STORE(v + i, v1);                                                  \
    if (u->flag) {                                                     \
        v1 = vmax(LOAD(highest + i), v1);                              \
        STORE(highest + i, v1);                                        \
    }                                                                  \
    STORE(value + i, LOAD(value + i) - rate * m1 / (vsqrt(v1) + epsilon));
    EACH_VECTOR(u, task, BODY)
#undef BODY
}

#define CHUNKS(n) (((n) + CHUNK - 1) / CHUNK)
static void sgd(const update_t *u) { fastrnn_parallel(CHUNKS(u->n), u->slots, sgd_task, u); }
static void rmsprop(const update_t *u) { fastrnn_parallel(CHUNKS(u->n), u->slots, rmsprop_task, u); }
static void adam(const update_t *u) { fastrnn_parallel(CHUNKS(u->n), u->slots, adam_task, u); }

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

static void loss(const loss_t *l) {
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
