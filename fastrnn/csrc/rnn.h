/* The contract between _core.pyx and the C kernels.
 *
 * Letters: B rows in a batch, T steps, D input width, H units, G gates, M columns of a projection,
 * V rows of a table, S steps of all rows together.  Arrays are C-contiguous.  The caller has checked every shape and
 * index and owns all memory; nothing here allocates or fails.  Nothing aliases unless said so.
 *
 * Work is cut into tasks by the shapes alone, never by the number of threads, and whatever tasks sum is
 * summed in the order of the tasks; a team that shares the steps of one walk splits no sum.  So results are the same,
 * bit for bit, on any number of threads.
 */
#ifndef FASTRNN_RNN_H
#define FASTRNN_RNN_H

#include <stddef.h>
#include <stdint.h>

#include "pool.h"

#ifdef FASTRNN_DEBUG
#include <assert.h>
#define CHECK(condition) assert(condition)
#else
#define CHECK(condition) ((void)0)
#endif

/* Activations that the kernels know, y = f(z), with f' as a function of y; of the last two, which sweeps have not, as
 * one of z. */
enum {
    ACT_LINEAR, ACT_RELU, ACT_TANH, ACT_SIGMOID, ACT_HARD_SIGMOID, ACT_RELU6, ACT_LEAKY_RELU, ACT_ELU, ACT_SELU,
    ACT_EXPONENTIAL, ACT_SOFTPLUS, ACT_SOFTSIGN, ACT_SILU, ACT_GELU
};

/* A run of consecutive rows of a matrix: [first, first + count). */
typedef struct {
    int64_t first, count;
} run_t;

/* C[m, n] = sum_k A(m, k) B(k, n) (+ bias[n]).
 * A(m, k) = a[a_row[m] * a_m + k];  B(k, n) = b[k * b_k + n * b_n]. */
typedef struct {
    const void *a, *b, *bias; /* bias: (N,) or NULL */
    void *c;                  /* rows of length N, c_m apart */
    const int32_t *a_row;     /* NULL: row m is row m */
    ptrdiff_t a_m, b_k, b_n, c_m;
    int64_t N, K;
    const run_t *runs; /* the rows m to compute; others are left alone */
    int64_t n_runs;
    void *packed; /* scratch: gemm_packed_size(N, K) elements */
    int32_t slots; /* threads to use at most */
} gemm_t;

/* C[m, n] += sum over the rows s of all runs of X[x_row[s], m] Y[s, n], and sum[n] += Y[s, n]. */
typedef struct {
    const void *x, *y;    /* (.., M), (S, N) */
    const int32_t *x_row; /* (S,), or NULL: row s is row s */
    void *c, *sum;        /* (M, N); (N,) or NULL; added into */
    int64_t M, N;
    const run_t *runs;
    int64_t n_runs;
    int32_t groups; /* of runs; fixed by the shapes */
    void *partial;  /* scratch: groups * (M + 1) * padded(N) elements */
    void *work;     /* scratch: slots * outer_work_size(M, N) elements */
    int32_t slots;
} outer_t;

/* Recurrent cells; equations: fastrnn/cells.py.  Gates stand in Keras's order, LSTM i f c o, GRU z r h. */
enum { CELL_SIMPLE_RNN, CELL_LSTM, CELL_GRU, CELL_GRU_RESET_BEFORE };

/* Gates, arrays of state, and vectors of Hp that a step keeps for the way back (see cells.h). */
typedef struct {
    int64_t gates, states, kept;
} cell_t;

static inline cell_t fastrnn_cell(int32_t kind) {
    switch (kind) {
        case CELL_LSTM: return (cell_t){4, 2, 4};
        case CELL_GRU: return (cell_t){3, 1, 4};
        case CELL_GRU_RESET_BEFORE: return (cell_t){3, 1, 3};
        default: return (cell_t){1, 1, 0};
    }
}

/* One sweep of a recurrent cell over the steps of all rows.
 *
 * Rows come in the order of the sweep: `row[i]` is the batch row that stands at place i.  Places are cut
 * into shards of at most `shard_rows` consecutive places, within which `length` does not increase.  Row i
 * takes the steps t = start[i] .. start[i] + length[i] - 1.
 *
 * Shared prefix: `prefix_length` > 0 steps, those of batch row `prefix_row`, are run once, ahead of all
 * shards, and the rows of a shard start from the prefix's state after `start` steps. */
typedef struct {
    int64_t B, T, H, V;
    int32_t cell, activation, recurrent_activation;
    /* The projected input of (row b, step t), a row of G H: xz + (b T + t) G H, or with ids:
     * xz + ids[b T + t] G H. */
    const void *xz;
    const int32_t *ids; /* (B, T), each in [0, V), or NULL */
    /* Or, with input.a (B T, D), the product that xz would be, c left open: a walk makes the rows of a few steps at a
     * time, which then lie in its core's own cache. */
    gemm_t input;
    const void *U;      /* (H, G H) */
    const void *bias;   /* (H,) or NULL: of a GRU's last gate, inside the reset */
    const void *noise;  /* (noises, B, H) or NULL: dropout of the state, noises being 1 or G */
    int64_t noises;     /* 0 without */
    /* (B, H) each, an LSTM's h and c; or NULL for zeros, by which U is not multiplied.  NULL with a prefix. */
    const void *first[2];
    const int64_t *row, *start, *length; /* (B,) each */
    int32_t shard_rows;
    int64_t prefix_row, prefix_length;
    int32_t prefix_known; /* its states stand on the tape already, those that rows begin from or show */
    int32_t keep;   /* keep all states for the way back; else two steps' worth at a time */
    int32_t stream; /* forward, of a long tape: write gates past the caches, see STREAM_BYTES */
    int32_t repeat; /* masked steps of a sequence repeat the output before them (else zeros) */

    /* Forward writes: */
    /* Everything that is kept, for each state of a row (states + kept) Hp elements: the prefix's, then
     * each shard's, from tape_offset[shard] such states on.  See `give_tape`. */
    void *tape;
    const int64_t *tape_offset; /* (shards,) */
    void *y;             /* (B, T, H) or NULL */
    void *last[2];       /* (B, H) each */
    /* with ids and `keep`, for the way back: what each walk (the prefix is walk 0, shard i walk i + 1) meets */
    int32_t *met_row;          /* the rows of xz, ascending, a walk's from met_offset[walk] on */
    const int64_t *met_offset; /* room for as many as the walk has steps, at most V, and one more */
    int64_t *met_count;        /* how many there are */
    int32_t *met_at; /* of each step's row the place in that list or its complement; steps lie as on the tape */

    /* Backward reads the tape, and: */
    const void *dy;       /* (B, T, H) or NULL */
    const void *dlast[2]; /* (B, H) each, or NULL */
    /* and writes: */
    void *dxz;   /* without ids and a dx, (B, T, G H): the steps that a row takes, no others */
    /* Or, without ids: x (B, T, D) W (D, G H) was projected, and each walk takes the gradients of that, a few
     * steps at a time. */
    const void *x, *W;
    int64_t D;
    void *dx;       /* (B, T, D): the steps that a row takes, no others; or NULL */
    void *dW, *db;  /* (D, G H), and (G H,) or NULL; added into */
    void *dP;    /* with ids, (V, G H): the gradients of the rows of xz */
    void *dfirst[2];     /* (B, H) each */
    void *dU;            /* (H, G H), added into */
    void *dbias;         /* (H,) or NULL, added into */

    /* Scratch: */
    void *packed;  /* G Hp Hp */
    void *packed_W; /* with a dx: G Hp Dp */
    void *partial; /* backward without `after`: (shards + 1, (G H + 1) Hp), with a dx (shards + 1, .. + (D + 1) G Hp) */
    void *after;   /* backward: sweep_after_size bytes, or NULL for none */
    void *inject;  /* backward with a prefix: (states, prefix_length + 1, Hp) */
    void *work;    /* slots * sweep_work_size */
    void *met;       /* backward with ids: a walk's sums of the rows that it met, from met_offset[walk] G Hp on */
    int32_t *number; /* forward, where rows are listed: slots * V */
    int64_t *prefix_done;      /* forward: how many of the prefix's states stand, the first among them */
    int32_t slots;
    int32_t team; /* of threads; see `team_size`, which tells it */
    int32_t as_it_stands; /* whether U is read so, not packed; see `reads_U_as_it_stands`, which tells it */
} sweep_t;

/* One optimizer step over n elements; slots unused by the rule are NULL.  The gradient is zero afterwards.
 * sgd: a momentum.  rmsprop: a velocity, b momentum, c average gradient.  adam: a momentum, b velocity,
 * c velocity_hat.  `p` holds the rule's numbers in the order of the kernel's comment.
 * With `rows`, V rows of M elements from element `table` on have no gradient in `grad`, where they are zero:
 * that of row rows[k] is values[k], and the others have none. */
typedef struct {
    void *value, *grad, *a, *b, *c;
    int64_t n;
    const int32_t *rows; /* (n_rows,), ascending, each once; or NULL */
    const void *values;  /* (n_rows, M) */
    int64_t n_rows, table, V, M;
    double p[5];
    int32_t flag; /* nesterov, centered or amsgrad */
    int32_t slots;
} update_t;

/* Losses, row by row; see `Engine.loss`. */
enum {
    LOSS_BINARY_CROSSENTROPY, LOSS_MEAN_SQUARED_ERROR, LOSS_MEAN_ABSOLUTE_ERROR,
    LOSS_CATEGORICAL_CROSSENTROPY, LOSS_SPARSE_CATEGORICAL_CROSSENTROPY /* from logits alone */
};
typedef struct {
    const void *target, *output, *weight; /* (n, C), (n, C), (n,) */
    const int64_t *labels;                /* (n,), of the sparse kind in the place of target; in [0, C) */
    void *losses, *doutput;               /* (n,), (n, C) */
    int64_t n, C;
    int32_t kind, from_logits;
    double epsilon;
    int32_t slots;
} loss_t;

/* Rows of a sum over steps that are packed at a time, and elements of a flat array that make a task. */
enum { OUTER_BLOCK = 256, CHUNK = 8192 };
/* Rows that leave a shared prefix at the same step. */
enum { LEAVE_TOGETHER = 4 };
/* A tape from here on does not stay in the cores' own caches until the way back, which fetches it ahead from
 * wherever it is; so nothing is lost where it goes straight to memory, and no line of it is read only to be
 * overwritten.  LSTM(32) and GRU(32) with tapes of 8 to 16 MB take 0.94 of the time, with those of 4 MB about as
 * long as without. */
enum { STREAM_BYTES = 1 << 22 };
/* Rows of a product that make a task, and rows that a shard may have. */
enum { GEMM_ROWS = 96, MAX_SHARD = 16 };

/* -- programs: the step of a cell for which there is no kernel -------------------------------------- */

/* What an instruction does with registers, each a row of numbers for each row of the batch.  Those up to OP_WHERE work
 * entry by entry, on registers of one width: */
enum {
    OP_ADD, OP_SUBTRACT, OP_MULTIPLY, OP_DIVIDE, OP_MAXIMUM, OP_MINIMUM, /* dst = a . b */
    OP_EQUAL, OP_NOT_EQUAL, OP_LESS, OP_LESS_EQUAL, OP_GREATER, OP_GREATER_EQUAL, /* 1 or 0 */
    OP_NEGATIVE, OP_ABSOLUTE, OP_SIGN, OP_SQRT, OP_LOG, OP_SINE, OP_COSINE, /* dst = f(a) */
    OP_ACTIVATE,      /* dst = f(a), f = c, an ACT_ */
    OP_SLOPE,         /* dst = b f'(a), by what f = c gave, or for silu and gelu was given */
    OP_WHERE,         /* dst = c != 0 ? a : b */
    OP_ZERO,          /* dst = 0 */
    OP_COPY, OP_ADD_COPY, /* `width` columns of a, from `from` on: set, or added to, those of dst from `to` on */
    OP_SUM, OP_LARGEST, OP_SPREAD, /* a's columns in one: their sum, the largest; a's one column in all of dst's */
    OP_PRODUCT,       /* dst = a times matrix b, plus register c unless that is -1; dst is none of them */
    OPERATIONS
};
typedef struct {
    int32_t op, dst, a, b, c, to, from, width;
} instruction_t;

/* An array (B, T, width) of which a register gets, or gives, the part of each step. */
enum {
    STREAM_ADDS = 1,    /* a load: added to what the register has */
    STREAM_COUNTED = 2, /* only where the step counts: else a load adds nothing, and a store writes zeros */
    STREAM_AFTER = 4    /* a store: once the step is over, else before it */
};
typedef struct {
    void *data;
    int64_t reg, flags;
} stream_t;

/* A register that a step leaves to the next: (B, width) before the first, zeros if NULL, and after the last. */
typedef struct {
    const void *first;
    void *last; /* or NULL */
    int64_t reg, from; /* `from`: the register that it gets where the step counts */
} carry_t;

/* A matrix (K, N), B(k, n) = b[k * b_k + n * b_n], and room for gemm_packed_size(N, K) elements. */
typedef struct {
    const void *b;
    void *packed;
    ptrdiff_t b_k, b_n;
    int64_t K, N;
} matrix_t;

enum { PROGRAM_ROWS = 16 }; /* that one task takes through all steps, at most */

typedef struct {
    int64_t B, T;
    const int64_t *start, *stop; /* (B,), the steps that count; or NULL for all */
    int32_t reverse;             /* from the last step to the first */
    int32_t rows;                /* of a task, by B alone */
    int64_t registers;
    const int64_t *width; /* (registers,) */
    int64_t *place;       /* (registers,): where a register lies, in elements for each row; room for the program */
    int64_t n_statics;    /* the first registers, which are the same for all rows and steps: */
    const void *statics;  /* their rows, one behind the other */
    const instruction_t *code;
    const stream_t *loads, *stores;
    const carry_t *carries;
    matrix_t *matrices;
    int64_t n_code, n_loads, n_stores, n_carries, n_matrices;
    void *work; /* slots times program_work_size */
    int32_t slots;
} program_t;

typedef struct {
    int64_t vector_length; /* elements in a vector */
    int64_t (*gemm_packed_size)(int64_t N, int64_t K);
    void (*gemm)(const gemm_t *);
    void (*outer)(const outer_t *);
    int64_t (*outer_work_size)(int64_t M, int64_t N);
    int64_t (*padded)(int64_t H); /* Hp: H rounded up to whole vectors */
    int64_t (*sweep_after_size)(const sweep_t *); /* asks for dx and D */
    int64_t (*sweep_work_size)(const sweep_t *);  /* and for `after` */
    void (*sweep_forward)(const sweep_t *);
    void (*sweep_backward)(const sweep_t *);
    /* y = f(z) in place of or beside z; dz = dy f', dz may be dy. */
    void (*activate)(int32_t activation, const void *z, void *y, int64_t n, int slots);
    void (*activate_backward)(int32_t activation, const void *y_or_z, const void *dy, void *dz, int64_t n,
                              int slots);
    /* The same of softmax over rows of C: dz = y (dy - sum(dy y)). */
    void (*softmax)(const void *z, void *y, int64_t n, int64_t C, int slots);
    void (*softmax_backward)(const void *y, const void *dy, void *dz, int64_t n, int64_t C, int slots);
    /* dP[places[s], :] += dz[s, :] over the S rows s in their order; dP (n, M) is zeroed here. */
    void (*scatter_rows)(const int32_t *places, const void *dz, int64_t S, void *dP, int64_t n, int64_t M,
                         int slots);
    /* out[i] = table[rows[i]] and table[rows[i]] += values[i]; rows of M elements. */
    void (*gather_rows)(const int32_t *rows, const void *table, void *out, int64_t n, int64_t M);
    void (*add_rows)(const int32_t *rows, const void *values, void *table, int64_t n, int64_t M);
    void (*sgd)(const update_t *);
    void (*rmsprop)(const update_t *);
    void (*adam)(const update_t *);
    double (*sum_squares)(const void *a, int64_t n, double *partial, int slots); /* partial: one a chunk */
    void (*loss)(const loss_t *);
    int64_t (*program_work_size)(const program_t *); /* elements */
    void (*run_program)(const program_t *);
} kernels_t;

/* One table an ISA and float type; NULL where the compiler or the processor's family has no such code. */
typedef struct {
    const char *name;
    int (*supported)(void);
    const kernels_t *f32, *f64;
} isa_t;

extern const isa_t fastrnn_isas[]; /* best last; ends with a NULL name */

/* What follows does not depend on the ISA; see plan.c. */

/* Find which of n ids occur: `rows`, ascending, and slot[rows[i]] = i; `places` gets the slot of each id.  Each
 * id is read once, so that what was checked is what counts.  Returns how many occur; or, for an id outside
 * [0, V), -1 less the place of the first.  `seen`: (COUNT_PARTS, V) bytes of scratch, `slot`: (V,); without
 * them all rows count as if they occurred, and nothing is looked for. */
enum { COUNT_PARTS = 4 };
int64_t fastrnn_count_ids(const int32_t *ids, int64_t n, int64_t V, int32_t *places, int32_t *rows,
                          int32_t *slot, uint8_t *seen, int slots);

/* Cut runs into pieces of at most `most` rows, about equal ones; runs that follow on one another are one.  Returns
 * their number, and fills `pieces` unless NULL. */
int64_t fastrnn_cut_runs(const run_t *runs, int64_t n_runs, int64_t most, run_t *pieces);

/* How many leading ids of each row (T wide) are the one that most rows begin with. */
void fastrnn_shared_prefix(const int32_t *ids, int64_t B, int64_t T, int64_t *shared);

/* Order the rows of a batch into shards of one sweep.
 * Row b takes the steps start[b] .. stop[b] - 1; with `shared`, all steps, the first shared[b] of which are
 * the same in all rows.  Fills row, first and length (B,) as sweep_t has them and tape_offset (shards,),
 * in states of H' = 1 element; returns the states in the tape, the prefix's included. */
int64_t fastrnn_plan(int64_t B, int64_t T, const int64_t *start, const int64_t *stop,
                     const int64_t *shared, int32_t shard_rows, int64_t *row, int64_t *first,
                     int64_t *length, int64_t *tape_offset, int64_t *prefix_row,
                     int64_t *prefix_length, int64_t *bucket /* (T + 2,) scratch */);

#endif
