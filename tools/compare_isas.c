/* Runs every instruction set against plain C on random sweeps, without Python: `make check-isas`, and for
 * processors at hand only through an emulator.  Prints the largest relative differences; exits with 1 beyond the bound.
 *
 *   aarch64-linux-gnu-gcc -static -std=gnu11 -O2 -DFASTRNN_DEBUG -Ifastrnn/csrc tools/compare_isas.c \
 *       $(find fastrnn/csrc -name '*.c') -lm -lpthread -o compare_isas && qemu-aarch64 compare_isas
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rnn.h"

enum { MAX_B = 29, MAX_T = 23, V = 11, SHARD = 12, MAX_SHARDS = (MAX_B + SHARD - 1) / SHARD, MAX_H = 105 };
enum { MAX_G = 4, PARTS = 7 };
enum { OUTPUTS = 4 * MAX_B * MAX_H + V * MAX_G * MAX_H + MAX_H * MAX_G * MAX_H + MAX_H };

/* Rows and steps: many, and those of one row, which read a wide U as it stands, and few of them any. */
static const int64_t sizes_of_batches[][2] = {{MAX_B, MAX_T}, {1, MAX_T}, {1, 4}};

static double uniform(void) { return rand() / (double)RAND_MAX * 2 - 1; }

static void *room(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(p, 0, bytes);
    return p;
}

/* All outputs of one forward and backward sweep over a lookup with a shared prefix, as doubles. */
static void run(const kernels_t *k, size_t real, int32_t cell, int64_t B, int64_t T, int64_t H, double *out) {
    const int64_t SHARDS = (B + SHARD - 1) / SHARD;
    const int64_t Hp = k->padded(H), G = fastrnn_cell(cell).gates, S = fastrnn_cell(cell).states;
    int64_t row[MAX_B], start[MAX_B], length[MAX_B], offset[MAX_SHARDS], shared[MAX_B], bucket[MAX_T + 2];
    int64_t met_offset[MAX_SHARDS + 1], met_count[MAX_SHARDS + 1], prefix_done;
    int32_t ids[MAX_B * MAX_T], copy[MAX_B * MAX_T], rows[V + 1], slot[V];
    uint8_t seen[COUNT_PARTS * V];
    srand(1);
    for (int b = 0; b < B; b++) {
        const int zeros = rand() % (T + 1);
        for (int t = 0; t < T; t++) ids[b * T + t] = t < zeros ? 0 : rand() % V;
    }
    sweep_t s = {.B = B, .T = T, .H = H, .cell = cell, .activation = ACT_TANH,
                 .recurrent_activation = ACT_SIGMOID, .ids = copy, .row = row,
                 .start = start, .length = length, .shard_rows = SHARD, .tape_offset = offset,
                 .met_offset = met_offset, .met_count = met_count, .slots = 2};
#define FILL(name, n, scale)                                                                          \
    void *name = room((size_t)(n) * real);                                                     \
    for (int64_t i = 0; i < (n); i++) {                                                        \
        const double x = uniform() * (scale);                                                          \
        if (real == 4) ((float *)name)[i] = (float)x; else ((double *)name)[i] = x;            \
    }
    FILL(xz, V * G * H, 1)
    FILL(U, H * G * H, 1 / sqrt(H)) /* larger ones make chaos, which magnifies every rounding */
    FILL(dlast, B * H, 1)
    FILL(bias, H, 1)
    s.V = fastrnn_count_ids(ids, B * T, V, copy, rows, slot, seen, 2);
    fastrnn_shared_prefix(copy, B, T, shared);
    const int64_t states = fastrnn_plan(B, T, NULL, NULL, shared, SHARD, row, start, length, offset,
                                        &s.prefix_row, &s.prefix_length, bucket);
    s.xz = xz, s.U = U, s.dlast[0] = dlast;
    if (cell == CELL_GRU) s.bias = bias;
    s.tape = room((size_t)(states * (S + fastrnn_cell(cell).kept) * Hp) * real);
    s.keep = 1;
    s.prefix_done = &prefix_done;
    const int64_t sizes[PARTS] = {B * H, B * H, B * H, B * H, s.V * G * H, H * G * H, H};
    void *parts[PARTS];
    for (int p = 0; p < PARTS; p++) parts[p] = room((size_t)sizes[p] * real);
    s.last[0] = parts[0], s.last[1] = parts[1], s.dfirst[0] = parts[2], s.dfirst[1] = parts[3];
    s.dP = parts[4], s.dU = parts[5], s.dbias = parts[6];
    s.packed = room((size_t)(G * Hp * Hp) * real);
    s.work = room((size_t)(2 * k->sweep_work_size(&s)) * real);
    s.partial = room((size_t)((SHARDS + 1) * (G * H + 1) * Hp) * real);
    s.inject = room((size_t)(S * (T + 1) * Hp) * real);
    s.met = room((size_t)((SHARDS + 1) * (V + 1) * G * Hp) * real);
    s.met_row = room((SHARDS + 1) * (V + 1) * sizeof(int32_t));
    s.met_at = room((size_t)states * sizeof(int32_t));
    s.number = room(2 * V * sizeof(int32_t));
    for (int i = 0; i <= SHARDS; i++) met_offset[i] = i * (V + 1);
    k->sweep_forward(&s);
    k->sweep_backward(&s);
    for (int p = 0; p < PARTS; p++)
        for (int64_t i = 0; i < sizes[p]; i++)
            *out++ = real == 4 ? ((float *)parts[p])[i] : ((double *)parts[p])[i];
}

int main(void) {
    static double expected[OUTPUTS], found[OUTPUTS];
    int failed = 0;
    fastrnn_pool_set_threads(2);
    for (const isa_t *isa = fastrnn_isas; isa->name; isa++) {
        if (!isa->supported()) continue;
        for (int real = 4; real <= 8; real += 4) {
            double worst = 0;
            for (int64_t H = 1, cell = 0; H <= MAX_H; cell = (cell + 1) % 4, H += cell ? 0 : 13) {
                const kernels_t *plain = real == 4 ? fastrnn_isas[0].f32 : fastrnn_isas[0].f64;
                for (int size = 0; size < (int)(sizeof sizes_of_batches / sizeof *sizes_of_batches); size++) {
                    const int64_t B = sizes_of_batches[size][0], T = sizes_of_batches[size][1];
                    memset(expected, 0, sizeof expected);
                    memset(found, 0, sizeof found);
                    run(plain, (size_t)real, (int32_t)cell, B, T, H, expected);
                    run(real == 4 ? isa->f32 : isa->f64, (size_t)real, (int32_t)cell, B, T, H, found);
                    for (int i = 0; i < OUTPUTS; i++) {
                        const double e = fabs(found[i] - expected[i]) / fmax(1, fabs(expected[i]));
                        if (!(e <= worst)) worst = e; /* NaN too */
                    }
                }
            }
            const double bound = real == 4 ? 1e-4 : 1e-12;
            failed |= !(worst <= bound);
            printf("%-8s %s: %.2g (at most %.0e)\n", isa->name, real == 4 ? "float " : "double", worst, bound);
        }
    }
    return failed;
}
