# cython: language_level=3
"""The door between Python and the C kernels.

Every function here takes arrays through the buffer protocol, checks their types, shapes and
indices, finds scratch memory, lets go of the GIL and makes one call.  Below this file nothing
checks anything.

Letters: B rows in a batch, T steps, D input width, H units, G gates, M columns of a
projection, V vocabulary, S rows of a matrix.
"""

import os

cimport cython
from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS,
    PyBUF_FORMAT,
    PyBUF_WRITABLE,
    PyBuffer_FillInfo,
    PyBuffer_Release,
    PyObject_GetBuffer,
)
from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset


cdef extern from *:
    """
    #include <stdlib.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    /* A tape of many megabytes is walked through from end to end, there and back: in large pages,
     * where the system grants them, that is 500 times fewer look-ups of addresses. */
    static void *aligned_block(size_t bytes) {
        const size_t large_page = (size_t)2 << 20;
        const int large = bytes >= 2 * large_page;
        void *p = NULL;
        if (posix_memalign(&p, large ? large_page : 64, bytes)) return NULL;
    #if defined(MADV_HUGEPAGE)
        if (large) madvise(p, bytes, MADV_HUGEPAGE);
    #endif
        return p;
    }
    #if defined(__VERSION__)
    #define COMPILER __VERSION__
    #else
    #define COMPILER "unknown"
    #endif
    #ifdef FASTRNN_DEBUG
    #define DEBUG_BUILD 1
    #else
    #define DEBUG_BUILD 0
    #endif
    """
    void *aligned_block(size_t size) nogil
    const char *COMPILER
    int DEBUG_BUILD
    const unsigned int CYTHON_HEX_VERSION


cdef extern from "csrc/rnn.h" nogil:
    enum:
        ACT_LINEAR, ACT_RELU, ACT_TANH, ACT_SIGMOID, ACT_HARD_SIGMOID, ACT_RELU6, ACT_LEAKY_RELU
        ACT_ELU, ACT_SELU, ACT_EXPONENTIAL, ACT_SOFTPLUS, ACT_SOFTSIGN, ACT_SILU, ACT_GELU
        CELL_SIMPLE_RNN, CELL_LSTM, CELL_GRU, CELL_GRU_RESET_BEFORE
        LOSS_BINARY_CROSSENTROPY, LOSS_MEAN_SQUARED_ERROR, LOSS_MEAN_ABSOLUTE_ERROR
        LOSS_CATEGORICAL_CROSSENTROPY, LOSS_SPARSE_CATEGORICAL_CROSSENTROPY
        CHUNK, COUNT_PARTS, GEMM_ROWS, OUTER_BLOCK, POOL_MAX_THREADS, STREAM_BYTES
    ctypedef struct run_t:
        int64_t first, count
    ctypedef struct gemm_t:
        const void *a
        const void *b
        const void *bias
        void *c
        const int32_t *a_row
        Py_ssize_t a_m, b_k, b_n, c_m
        int64_t N, K
        const run_t *runs
        int64_t n_runs
        void *packed
        int32_t slots
    ctypedef struct outer_t:
        const void *x
        const void *y
        const int32_t *x_row
        void *c
        void *sum
        int64_t M, N
        const run_t *runs
        int64_t n_runs
        int32_t groups
        void *partial
        void *work
        int32_t slots
    ctypedef struct cell_t:
        int64_t gates, states, kept
    cell_t fastrnn_cell(int32_t) noexcept
    ctypedef struct sweep_t:
        int64_t B, T, H, V
        int32_t cell, activation, recurrent_activation
        const void *xz
        const int32_t *ids
        gemm_t input
        const void *U
        const void *bias
        const void *noise
        int64_t noises
        const void *first[2]
        const int64_t *row
        const int64_t *start
        const int64_t *length
        int32_t shard_rows
        int64_t prefix_row, prefix_length
        int32_t prefix_known
        int32_t keep, stream
        int32_t repeat
        void *tape
        const int64_t *tape_offset
        void *y
        void *last[2]
        const void *dy
        const void *dlast[2]
        void *dxz
        const void *x
        const void *W
        int64_t D
        void *dx
        void *dW
        void *db
        void *dP
        void *dfirst[2]
        void *dU
        void *dbias
        void *packed
        void *packed_W
        void *partial
        void *after
        void *inject
        void *work
        int32_t *met_at
        int32_t *met_row
        const int64_t *met_offset
        int64_t *met_count
        void *met
        int32_t *number
        int64_t *prefix_done
        int32_t slots
    ctypedef struct update_t:
        void *value
        void *grad
        void *a
        void *b
        void *c
        int64_t n
        const int32_t *rows
        const void *values
        int64_t n_rows
        int64_t table
        int64_t V
        int64_t M
        double p[5]
        int32_t flag
        int32_t slots
    ctypedef struct loss_t:
        const void *target
        const void *output
        const void *weight
        const int64_t *labels
        void *losses
        void *doutput
        int64_t n, C
        int32_t kind, from_logits
        double epsilon
        int32_t slots
    enum:
        OP_ADD, OP_SUBTRACT, OP_MULTIPLY, OP_DIVIDE, OP_MAXIMUM, OP_MINIMUM, OP_EQUAL, OP_NOT_EQUAL
        OP_LESS, OP_LESS_EQUAL, OP_GREATER, OP_GREATER_EQUAL, OP_NEGATIVE, OP_ABSOLUTE, OP_SIGN
        OP_SQRT, OP_LOG, OP_SINE, OP_COSINE, OP_ACTIVATE, OP_SLOPE, OP_WHERE, OP_ZERO, OP_COPY
        OP_ADD_COPY, OP_SUM, OP_LARGEST, OP_SPREAD, OP_PRODUCT
        STREAM_ADDS, STREAM_COUNTED, STREAM_AFTER, PROGRAM_ROWS
    ctypedef struct instruction_t:
        int32_t op, dst, a, b, c, to
        int32_t from_ "from"
        int32_t width
    ctypedef struct stream_t:
        void *data
        int64_t reg, flags
    ctypedef struct carry_t:
        const void *first
        void *last
        int64_t reg
        int64_t from_ "from"
    ctypedef struct matrix_t:
        const void *b
        void *packed
        Py_ssize_t b_k, b_n
        int64_t K, N
    ctypedef struct program_t:
        int64_t B, T
        const int64_t *start
        const int64_t *stop
        int32_t reverse, rows
        int64_t registers
        const int64_t *width
        int64_t *place
        int64_t n_statics
        const void *statics
        const instruction_t *code
        const stream_t *loads
        const stream_t *stores
        const carry_t *carries
        matrix_t *matrices
        int64_t n_code, n_loads, n_stores, n_carries, n_matrices
        void *work
        int32_t slots
    ctypedef struct kernels_t:
        int64_t vector_length
        int64_t (*gemm_packed_size)(int64_t, int64_t) noexcept nogil
        void (*gemm)(const gemm_t *) noexcept nogil
        void (*outer)(const outer_t *) noexcept nogil
        int64_t (*outer_work_size)(int64_t, int64_t) noexcept nogil
        int64_t (*padded)(int64_t) noexcept nogil
        int64_t (*sweep_work_size)(const sweep_t *) noexcept nogil
        int64_t (*sweep_after_size)(const sweep_t *) noexcept nogil
        void (*sweep_forward)(const sweep_t *) noexcept nogil
        void (*sweep_backward)(const sweep_t *) noexcept nogil
        void (*activate)(int32_t, const void *, void *, int64_t, int) noexcept nogil
        void (*softmax)(const void *, void *, int64_t, int64_t, int) noexcept nogil
        void (*softmax_backward)(const void *, const void *, void *, int64_t, int64_t,
                                 int) noexcept nogil
        void (*activate_backward)(int32_t, const void *, const void *, void *, int64_t,
                                  int) noexcept nogil
        void (*scatter_rows)(const int32_t *, const void *, int64_t, void *, int64_t, int64_t,
                             int) noexcept nogil
        void (*gather_rows)(const int32_t *, const void *, void *, int64_t, int64_t) noexcept nogil
        void (*add_rows)(const int32_t *, const void *, void *, int64_t, int64_t) noexcept nogil
        void (*sgd)(const update_t *) noexcept nogil
        void (*rmsprop)(const update_t *) noexcept nogil
        void (*adam)(const update_t *) noexcept nogil
        double (*sum_squares)(const void *, int64_t, double *, int) noexcept nogil
        void (*loss)(const loss_t *) noexcept nogil
        int64_t (*program_work_size)(const program_t *) noexcept nogil
        void (*run_program)(const program_t *) noexcept nogil
    ctypedef struct isa_t:
        const char *name
        int (*supported)() noexcept nogil
        const kernels_t *f32
        const kernels_t *f64
    const isa_t *fastrnn_isas
    void fastrnn_pool_set_threads(int) noexcept
    int fastrnn_pool_threads() noexcept
    int64_t fastrnn_count_ids(const int32_t *, int64_t, int64_t, int32_t *, int32_t *, int32_t *,
                              uint8_t *, int) noexcept
    int64_t fastrnn_cut_runs(const run_t *, int64_t, int64_t, run_t *) noexcept
    void fastrnn_shared_prefix(const int32_t *, int64_t, int64_t, int64_t *) noexcept
    int64_t fastrnn_plan(int64_t, int64_t, const int64_t *, const int64_t *, const int64_t *,
                         int32_t, int64_t *, int64_t *, int64_t *, int64_t *, int64_t *, int64_t *,
                         int64_t *) noexcept


# -- instruction sets and threads -----------------------------------------------

cdef const isa_t *_isa = NULL


def available_isas():
    """Names of the instruction sets compiled in that this processor has, best last."""
    cdef const isa_t *isa = fastrnn_isas
    names = []
    while isa.name != NULL:
        if isa.supported():
            names.append(isa.name.decode())
        isa += 1
    return names


def isa():
    """The name of the instruction set in use."""
    return _isa.name.decode()


def use_isa(name):
    """Use the instruction set ``name`` from now on.

    Raises
    ------
    ValueError
        If it was not compiled in or the processor lacks it.
    """
    global _isa
    cdef const isa_t *found = fastrnn_isas
    while found.name != NULL:
        if found.name.decode() == name and found.supported():
            _isa = found
            return
        found += 1
    raise ValueError(
        f"instruction set: expected one of {', '.join(available_isas())}; got {name!r}."
    )


def get_num_threads():
    """The number of threads that share the work of a batch."""
    return fastrnn_pool_threads()


def set_num_threads(n):
    """Share the work of a batch between ``n`` threads.

    Results do not depend on it.  The default is the number of processors that the process may use,
    or the environment variable ``FASTRNN_NUM_THREADS``.

    Raises
    ------
    ValueError
        Unless ``n`` is a whole number from 1 to 256.
    """
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= POOL_MAX_THREADS:
        raise ValueError(
            f"number of threads: expected a whole number from 1 to {POOL_MAX_THREADS}; got {n!r}."
        )
    fastrnn_pool_set_threads(n)


def build_info():
    """What the extension was built with, a dict of strings."""
    return {
        "compiler": COMPILER.decode(),
        "Cython": ".".join(str(CYTHON_HEX_VERSION >> shift & 0xFF) for shift in (24, 16, 8)),
        "build": "debug" if DEBUG_BUILD else "release",
    }


def _configure():
    """Take instruction set and number of threads from the environment, or the best there is."""
    chosen = os.environ.get("FASTRNN_ISA")
    try:
        use_isa(chosen or available_isas().pop())  # the best stands last
    except ValueError as error:
        raise ImportError(f"FASTRNN_ISA: {error}") from None
    threads = os.environ.get("FASTRNN_NUM_THREADS")
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:
        processors = os.cpu_count() or 1
    try:
        set_num_threads(int(threads) if threads else min(processors, POOL_MAX_THREADS))
    except ValueError:
        raise ImportError(
            f"FASTRNN_NUM_THREADS: expected a whole number from 1 to {POOL_MAX_THREADS}; "
            f"got {threads!r}."
        ) from None


_configure()


# -- memory, and checks at the door --------------------------------------------

include "_core_memory.pxi"
include "_core_arguments.pxi"


# -- products -------------------------------------------------------------------

def project(x, W, bias, z, runs=None, Ids ids=None):
    """z = x W + bias: x (S, D), W (D, M), bias (M,) or None, z (S, M).

    S may be several axes.  ``runs``, int64 (n, 2): only these rows (first, count).  ``ids``, Ids
    below S: z (n, M) is that of the rows of x that occur.
    """
    cdef _Arguments a = _Arguments()
    cdef gemm_t g
    cdef int64_t S = -1, D = -1, M = -1
    memset(&g, 0, sizeof(g))
    _take_product(a, &g, &S, &D, &M, x, W, bias)
    if ids is not None:
        if ids.V > S:
            raise IndexError(f"ids: expected ids below {S}; got ids below {ids.V}.")
        g.a_row = <const int32_t *>ids.occurring.data
        S = ids.n
    g.c = a.matrix(z, "z", &S, &M, True)
    _gemm(a, &g, M, D, S, runs)


cdef int _take_product(_Arguments a, gemm_t *g, int64_t *S, int64_t *D, int64_t *M, x, W,
                       bias) except -1:
    """The factors of x W + bias; the numbers are set where they are negative, else expected."""
    g.a = a.matrix(x, "x", S, D)
    g.b = a.matrix(W, "W", D, M)
    g.bias = a.maybe(bias, "bias", (M[0],))
    g.a_m, g.b_k, g.b_n, g.c_m = D[0], M[0], 1, M[0]
    g.N, g.K = M[0], D[0]
    return 0


def project_dx(dz, W, dx, runs=None):
    """dx = dz W^T: dz (S, M), W (D, M), dx (S, D); S may be several axes.

    ``runs``: only these rows.
    """
    cdef _Arguments a = _Arguments()
    cdef gemm_t g
    cdef int64_t S = -1, M = -1, D = -1
    memset(&g, 0, sizeof(g))
    g.a = a.matrix(dz, "dz", &S, &M)
    g.b = a.matrix(W, "W", &D, &M)
    g.c = a.matrix(dx, "dx", &S, &D, True)
    g.a_m, g.b_k, g.b_n, g.c_m = M, 1, M, D
    _gemm(a, &g, D, M, S, runs)


cdef int _gemm(_Arguments a, gemm_t *g, int64_t N, int64_t K, int64_t S, runs) except -1:
    cdef const kernels_t *kernels = a.kernels()
    g.N, g.K = N, K
    g.runs = a.runs(runs, S, GEMM_ROWS, &g.n_runs)
    g.packed = a.scratch(kernels.gemm_packed_size(N, K))
    g.slots = fastrnn_pool_threads()
    with nogil:
        kernels.gemm(g)
    return 0


cdef enum:
    LARGE_SUMS = 1 << 19  # elements


def project_dW(x, dz, dW, dbias, runs=None, rows=None):
    """dW += x^T dz and dbias += the sum of dz: x (S, D), dz (S, M), dbias (M,) or None.

    S may be several axes.  ``runs``, int64 (n, 2): only these rows (first, count).  ``rows``, int32
    (S,): row s of dz belongs to row ``rows[s]`` of x, which may then have any number of rows.
    """
    cdef _Arguments a = _Arguments()
    cdef outer_t o
    cdef int64_t S = -1, D = -1, M = -1, Mp, x_rows = -1, n
    memset(&o, 0, sizeof(o))
    o.y = a.matrix(dz, "dz", &S, &M)
    if rows is None:
        o.x = a.matrix(x, "x", &S, &D)
    else:
        o.x = a.matrix(x, "x", &x_rows, &D)
        o.x_row = a.rows(rows, x_rows, &n)
        if n != S:
            raise ValueError(f"rows: expected {S} of them; got {n}.")
    cdef const kernels_t *kernels = a.kernels()
    Mp = kernels.padded(M)
    o.c = a.real_array(dW, "dW", (D, M), True)
    o.sum = a.maybe(dbias, "dbias", (M,), True)
    o.M, o.N = D, M
    o.runs = a.runs(runs, S, OUTER_BLOCK, &o.n_runs)
    # As many parts as there may be threads, but each long enough to be worth its sum, and few where
    # the sums are large: those have columns enough to share.
    o.groups = max(1, min(16, o.n_runs // 2, LARGE_SUMS // max(1, D * Mp)))
    o.slots = fastrnn_pool_threads()
    o.partial = a.scratch(o.groups * (D + 1) * Mp)
    o.work = a.scratch(o.slots * kernels.outer_work_size(D, M))
    with nogil:
        kernels.outer(&o)


# -- lookups --------------------------------------------------------------------

cdef class Ids:
    """Ids, int32 of any shape, known to lie in [0, V): which of them occur, and which is where.

    With ``every`` all V count as if they occurred, and nothing has to be found out.  Kernels trust
    these, not an array that its owner may write to.

    Attributes
    ----------
    n : int
        How many different ids occur.
    rows : int32 buffer (n,)
        The ids that occur, ascending.
    places : int32 buffer (count,)
        For each id its place in ``rows``.

    Raises
    ------
    IndexError
        If an id lies outside; its second argument is the id's place.
    """

    cdef Block occurring  # int32, the rows in its first n places
    cdef Block placed
    cdef int64_t count, V
    cdef readonly int64_t n

    def __cinit__(self, ids, V, bint every=False):
        cdef _Arguments a = _Arguments()
        cdef Py_buffer *view = a.take(ids, "ids", ANY, "int32")
        cdef int64_t vocabulary = V
        if not 0 <= vocabulary <= 0x7FFFFFFF:
            raise ValueError(f"V: expected from 0 to 2^31 - 1 rows; got {V}.")
        self.count, self.V = view.len // 4, vocabulary
        self.placed, self.occurring = Block(4 * self.count), Block(4 * (vocabulary + 1))
        cdef int32_t *slot = NULL
        cdef uint8_t *seen = NULL
        if not every:
            slot = <int32_t *>a.bytes(4 * vocabulary)
            seen = <uint8_t *>a.bytes(COUNT_PARTS * vocabulary)
        cdef const int32_t *given = <const int32_t *>view.buf
        cdef int slots = fastrnn_pool_threads()
        with nogil:
            self.n = fastrnn_count_ids(given, self.count, vocabulary, <int32_t *>self.placed.data,
                                       <int32_t *>self.occurring.data, slot, seen, slots)
        if self.n < 0:
            raise IndexError("ids", -1 - self.n)

    @property
    def rows(self):
        return memoryview(self.occurring).toreadonly().cast("i")[:self.n]

    @property
    def places(self):
        return memoryview(self.placed).toreadonly().cast("i")


def gather_rows(rows, table, out):
    """out[i] = table[rows[i]]: rows int32 of any shape, n in all, table (V, M), out (n, M)."""
    cdef _Arguments a = _Arguments()
    cdef Py_buffer *tv = a.take(table, "table", 2, "real")
    cdef int64_t n, M = tv.shape[1]
    cdef const int32_t *numbers = a.rows(rows, tv.shape[0], &n)
    cdef void *to = a.matrix(out, "out", &n, &M, True)
    cdef const kernels_t *kernels = a.kernels()
    with nogil:
        kernels.gather_rows(numbers, tv.buf, to, n, M)


def add_rows(rows, values, table):
    """table[rows[i]] += values[i]: rows (n,) int32, values (n, M), table (V, M)."""
    cdef _Arguments a = _Arguments()
    cdef Py_buffer *tv = a.take(table, "table", 2, "real", True)
    cdef int64_t n, M = tv.shape[1]
    cdef const int32_t *numbers = a.rows(rows, tv.shape[0], &n)
    cdef void *source = a.real_array(values, "values", (n, M))
    cdef const kernels_t *kernels = a.kernels()
    with nogil:
        kernels.add_rows(numbers, source, tv.buf, n, M)


def scatter_rows(Ids ids not None, dz, out):
    """out[places[s]] = the sum of dz[s] over all s: dz (S, M), out (n, M)."""
    cdef _Arguments a = _Arguments()
    cdef int64_t M = -1, S = ids.count, n = ids.n
    cdef void *source = a.matrix(dz, "dz", &S, &M)
    cdef void *to = a.matrix(out, "out", &n, &M, True)
    cdef const kernels_t *kernels = a.kernels()
    cdef int slots = fastrnn_pool_threads()
    with nogil:
        kernels.scatter_rows(<const int32_t *>ids.placed.data, source, S, to, n, M, slots)


# -- element by element ---------------------------------------------------------

def activate(str activation, z, y):
    """y = f(z) for arrays of n elements; they may be one array."""
    cdef _Arguments a = _Arguments()
    cdef int which = _activation(activation, _ACTIVATIONS_BY_INPUT)
    cdef int64_t n = -1
    cdef void *source = a.flat(z, "z", &n)
    cdef void *out = a.flat(y, "y", &n, True)
    cdef const kernels_t *kernels = a.kernels()
    cdef int slots = fastrnn_pool_threads()
    with nogil:
        kernels.activate(which, source, out, n, slots)


def activate_backward(str activation, z, y, dy, dz):
    """dz = dy f'(z), where y = f(z), for arrays of n elements."""
    cdef _Arguments a = _Arguments()
    cdef int which = _activation(activation, _ACTIVATIONS_BY_INPUT)
    cdef bint by_input = activation in _ACTIVATIONS_BY_INPUT
    cdef int64_t n = -1
    cdef void *known = a.flat(z, "z", &n) if by_input else a.flat(y, "y", &n)
    cdef void *source = a.flat(dy, "dy", &n)
    cdef void *out = a.flat(dz, "dz", &n, True)
    cdef const kernels_t *kernels = a.kernels()
    cdef int slots = fastrnn_pool_threads()
    with nogil:
        kernels.activate_backward(which, known, source, out, n, slots)


def softmax(z, y):
    """y = exp(z) over its sum, row by row, for arrays (n, C); they may be one array."""
    cdef _Arguments a = _Arguments()
    cdef int64_t n = -1, C = -1
    cdef void *source = a.matrix(z, "z", &n, &C)
    cdef void *out = a.matrix(y, "y", &n, &C, True)
    cdef const kernels_t *kernels = a.kernels()
    cdef int slots = fastrnn_pool_threads()
    if C:
        with nogil:
            kernels.softmax(source, out, n, C, slots)


def softmax_backward(y, dy, dz):
    """dz = y (dy - sum(dy y)), row by row, for arrays (n, C)."""
    cdef _Arguments a = _Arguments()
    cdef int64_t n = -1, C = -1
    cdef void *outputs = a.matrix(y, "y", &n, &C)
    cdef void *source = a.matrix(dy, "dy", &n, &C)
    cdef void *out = a.matrix(dz, "dz", &n, &C, True)
    cdef const kernels_t *kernels = a.kernels()
    cdef int slots = fastrnn_pool_threads()
    if C:
        with nogil:
            kernels.softmax_backward(outputs, source, out, n, C, slots)


def sum_squares(array):
    """The sum of squares of an array, in float64."""
    cdef _Arguments a = _Arguments()
    cdef int64_t n = -1
    cdef void *source = a.flat(array, "array", &n)
    cdef const kernels_t *kernels = a.kernels()
    cdef double *partial = <double *>a.bytes((n // CHUNK + 1) * sizeof(double))
    cdef int slots = fastrnn_pool_threads()
    cdef double total
    with nogil:
        total = kernels.sum_squares(source, n, partial, slots)
    return total


def update(
    str rule, value, grad, slot_a, slot_b, slot_c, tuple numbers, bint flag, rows=None, values=None,
    int64_t table=0, int64_t V=0,
):
    """One optimizer step in place, which leaves ``grad`` zero.

    See ``update_t`` in csrc/rnn.h for what each rule takes, and for ``rows``.
    """
    cdef _Arguments a = _Arguments()
    cdef update_t u
    cdef int64_t i
    cdef Py_buffer *view = a.take(value, "value", 1, "real", True)
    cdef tuple shape = (view.shape[0],)
    cdef const kernels_t *kernels = a.kernels()
    memset(&u, 0, sizeof(u))
    u.value = view.buf
    u.grad = a.real_array(grad, "grad", shape, True)
    u.a = a.maybe(slot_a, "slot", shape, True)
    u.b = a.maybe(slot_b, "slot", shape, True)
    u.c = a.maybe(slot_c, "slot", shape, True)
    u.n = view.shape[0]
    u.flag = flag
    u.slots = fastrnn_pool_threads()
    if rows is not None:
        u.table, u.V, u.M = table, V, -1
        u.rows = a.rows(rows, V, &u.n_rows)
        u.values = a.matrix(values, "values", &u.n_rows, &u.M)
        if table < 0 or V < 0 or u.M < 1 or table > u.n or V > (u.n - table) // u.M:
            raise ValueError(
                f"update: a table of {V} rows of {u.M} from element {table} on does not lie in "
                f"{u.n} elements."
            )
        for i in range(1, u.n_rows):
            if u.rows[i - 1] >= u.rows[i]:
                raise ValueError("rows: expected ascending numbers, each once.")
    for i in range(len(numbers)):
        if i == 5:
            raise ValueError("numbers: expected at most 5.")
        u.p[i] = numbers[i]
    if rule == "sgd":
        with nogil:
            kernels.sgd(&u)
    elif rule == "rmsprop" and u.a != NULL and (u.c != NULL or not flag):
        with nogil:
            kernels.rmsprop(&u)
    elif rule == "adam" and u.a != NULL and u.b != NULL and (u.c != NULL or not flag):
        with nogil:
            kernels.adam(&u)
    else:
        raise ValueError(f"update: no rule {rule!r} with these slots.")


def loss(str kind, target, output, weight, losses, doutput, bint from_logits, double epsilon):
    """Losses of rows and their gradients; shapes as in ``Engine.loss``."""
    cdef _Arguments a = _Arguments()
    cdef loss_t l
    cdef Py_buffer *view = a.take(output, "output", 2, "real")
    cdef int64_t n = view.shape[0], C = view.shape[1]
    cdef const kernels_t *kernels = a.kernels()
    if kind == "binary_crossentropy":
        l.kind = LOSS_BINARY_CROSSENTROPY
    elif kind == "mean_squared_error":
        l.kind = LOSS_MEAN_SQUARED_ERROR
    elif kind == "mean_absolute_error":
        l.kind = LOSS_MEAN_ABSOLUTE_ERROR
    elif kind == "categorical_crossentropy" and from_logits:
        l.kind = LOSS_CATEGORICAL_CROSSENTROPY
    elif kind == "sparse_categorical_crossentropy" and from_logits:
        l.kind = LOSS_SPARSE_CATEGORICAL_CROSSENTROPY
    else:
        after = "" if from_logits else " of probabilities"
        raise ValueError(f"loss: the kernels have none called {kind!r}{after}.")
    l.output = view.buf
    l.target = l.labels = NULL
    if l.kind == LOSS_SPARSE_CATEGORICAL_CROSSENTROPY:
        l.labels = a.labels(target, n, C)
    else:
        l.target = a.real_array(target, "target", (n, C))
    l.weight = a.real_array(weight, "weight", (n,))
    l.losses = a.real_array(losses, "losses", (n,), True)
    l.doutput = a.real_array(doutput, "doutput", (n, C), True)
    l.n, l.C, l.from_logits, l.epsilon = n, C, from_logits, epsilon
    l.slots = fastrnn_pool_threads()
    if n and not C:
        raise ValueError("output: expected at least one column; got 0.")
    with nogil:
        kernels.loss(&l)


# -- recurrence -----------------------------------------------------------------

cdef class Sweep:
    """A finished forward sweep: the order of the rows and all their states, for the way back.

    Attributes
    ----------
    B, T, H : int
    gates, states : int
        What the cell has of them.
    steps : int
        Those of all rows together that were taken, but for a shared prefix's.
    ids : Ids or None
    """

    cdef readonly int64_t B, T, H, gates, states
    cdef sweep_t s
    cdef char real
    cdef const kernels_t *kernels  # the tape is padded to their vectors
    cdef Block order  # row, start, length (B,) and tape_offset (shards,), int64
    cdef Block tape
    cdef int64_t met_room
    cdef Block met_at, met_row, met_counts  # offsets and counts, (walks,) each, int64
    cdef Block noise  # a copy, (noises, B, H)
    cdef readonly Ids ids

    @property
    def steps(self):
        cdef int64_t i, steps = 0
        for i in range(self.B):
            steps += self.s.length[i]
        return steps

    @property
    def runs(self):
        """The steps that each row takes as runs (first, count), flat over (B, T): what
        `sweep_backward` fills of dxz.  A block of int64 (B, 2)."""
        cdef int64_t i
        cdef Block block = Block(self.B * sizeof(run_t))
        cdef run_t *runs = <run_t *>block.data
        for i in range(self.B):
            runs[i].first = self.s.row[i] * self.T + self.s.start[i]
            runs[i].count = self.s.length[i]
        return block


include "_core_prefixes.pxi"


cdef int64_t _shard_rows(int64_t B):
    """Rows that walk together: by the shapes alone, so that sums do not depend on the threads.

    Sixteen divide the usual batches evenly between two, four or eight threads and fill register
    tiles, and a shard's states stay in a core's own cache; of few rows eight leave work for as
    many threads.
    """
    return 8 if B < 64 else 16


def walks(int64_t B):
    """How many walks, each by one thread, a batch of B rows takes without shared steps."""
    cdef int64_t rows = _shard_rows(B)
    return (B + rows - 1) // rows


cdef int _take_states(_Arguments a, void **to, given, str name, int64_t states, tuple shape,
                      bint write) except -1:
    """The data of a list of float arrays of that shape; None, or an entry of it, is NULL."""
    cdef int64_t k
    if given is None:
        given = [None] * states
    if len(given) != states:
        raise ValueError(f"{name}: expected {states} arrays; got {len(given)}.")
    for k in range(states):
        to[k] = a.maybe(given[k], name, shape, write)
        if write and to[k] == NULL:
            raise ValueError(f"{name}: expected an array to write to; got None.")
    return 0


def sweep_forward(str kind, str activation, str recurrent_activation, bint reset_after, int64_t B,
                  int64_t T, xz, Ids ids, U, first, start, stop, bint share, y, last, bint repeat,
                  bint keep=True, bias=None, noise=None):
    """The sweep of a cell over all steps; returns the `Sweep` that goes into the backward one.

    Parameters
    ----------
    kind : {"simple_rnn", "lstm", "gru"}
        With G gates and as many arrays of state as `fastrnn.cells.CellSpec` says.
    activation, recurrent_activation : {"linear", "relu", "tanh", "sigmoid", "hard_sigmoid"}
    reset_after : bool
        Of a GRU.
    B, T : int
    xz : (B * T, G * H), or with ids (n, G * H), the rows of those that occur
        Or a tuple x (B * T, D), W (D, G * H), b (G * H,) or None: x W + b, made on the way.
    ids : Ids of B * T, or None
    U : (H, G * H)
    first : list of (B, H) each, or None for zeros
    start, stop : int64 (B,), or None both: row b takes the steps start[b] .. stop[b] - 1
    share : bool
        Run leading steps of equal ids once for all rows, where there are ids and nothing that sets
        the rows apart: no first states, no start and stop, no noise.
    y : (B, T, H) or None
        Written: all outputs.
    last : list of (B, H)
        Written: the last states.
    repeat : bool
        Steps outside the run show the output before them, else zeros.
    keep : bool
        Keep all states for the way back; without them the `Sweep` cannot go back.
    bias : (H,) or None
        Of a GRU with ``reset_after``, inside the reset.
    noise : (1, B, H) or (G, B, H), or None
        Factors of the state before its product with U.
    """
    cdef _Arguments a = _Arguments()
    cdef Py_buffer *Uv = a.take(U, "U", 2, "real")
    cdef int64_t H = Uv.shape[0], i, states, Hp, columns, itemsize = 4 if a.real == b"f" else 8
    cdef Sweep sweep = Sweep.__new__(Sweep)
    cdef sweep_t *s = &sweep.s
    cdef const kernels_t *kernels = a.kernels()
    cdef cell_t cell
    cdef Py_buffer *view
    cdef const int64_t *begin = NULL
    cdef const int64_t *end = NULL
    cdef int64_t *shared = NULL
    cdef int64_t *order
    cdef int64_t *bucket
    cdef int64_t shard_rows, shards, tape_bytes, D = -1
    if H < 1:
        raise ValueError("U: expected at least one unit; got none.")
    if isinstance(xz, tuple) and ids is not None:
        raise ValueError("ids: only with an xz that is there.")
    if B < 0 or T < 0 or (T > 0 and B > 0x7FFFFFFFFFFF // T):
        raise ValueError(f"B and T: expected a number of rows and of steps; got {B} and {T}.")
    memset(s, 0, sizeof(sweep_t))
    s.cell = _cell(kind, reset_after)
    s.activation = _activation(activation)
    s.recurrent_activation = _activation(recurrent_activation)
    cell = fastrnn_cell(s.cell)
    Hp = kernels.padded(H)
    a.expect(Uv, "U", (H, cell.gates * H))
    sweep.B = s.B = B
    sweep.T = s.T = T
    sweep.H = s.H = H
    sweep.gates, sweep.states = cell.gates, cell.states
    sweep.real = a.real
    sweep.kernels = kernels
    columns, s.V = cell.gates * H, B * T if ids is None else ids.n
    s.U = Uv.buf
    if isinstance(xz, tuple):
        x, W, b = xz
        _take_product(a, &s.input, &s.V, &D, &columns, x, W, b)
        s.input.packed = a.scratch(kernels.gemm_packed_size(columns, D))
    else:
        s.xz = a.matrix(xz, "xz", &s.V, &columns)
    if ids is not None:
        if ids.count != B * T:
            raise ValueError(f"ids: expected {B * T} of them; got {ids.count}.")
        sweep.ids = ids
        s.ids = <int32_t *>ids.placed.data
    _take_states(a, <void **>s.first, first, "first", cell.states, (B, H), False)
    _take_states(a, s.last, last, "last", cell.states, (B, H), True)
    s.y = a.maybe(y, "y", (B, T, H), True)
    s.bias = a.maybe(bias, "bias", (H,))
    if s.bias != NULL and s.cell != CELL_GRU:
        raise ValueError("bias: only a GRU with reset_after has one inside.")
    if noise is not None:
        view = a.take(noise, "noise", 3, "real")
        s.noises = 1 if view.shape[0] == 1 else cell.gates
        a.expect(view, "noise", (s.noises, B, H))
        sweep.noise = Block(s.noises * B * H * itemsize)  # the way back needs it too
        memcpy(sweep.noise.data, view.buf, s.noises * B * H * itemsize)
        s.noise = sweep.noise.data
    s.repeat = repeat
    s.keep = keep
    if start is not None:
        view = a.take(start, "start", 1, "int64")
        a.expect(view, "start", (B,))
        begin = <const int64_t *>view.buf
        view = a.take(stop, "stop", 1, "int64")
        a.expect(view, "stop", (B,))
        end = <const int64_t *>view.buf
        for i in range(B):
            if not 0 <= begin[i] <= end[i] <= T:
                raise IndexError(
                    f"steps {begin[i]} to {end[i]} of row {i} do not lie in [0, {T}]."
                )
    elif (share and ids is not None and first is None and noise is None and T > 0
          and (B > 1 or B == 1 and not keep)):
        shared = <int64_t *>a.bytes(B * sizeof(int64_t))
    shard_rows, shards = _shard_rows(B), walks(B)
    sweep.order = Block((3 * B + shards) * sizeof(int64_t))
    order = <int64_t *>sweep.order.data
    bucket = <int64_t *>a.bytes((T + 2) * sizeof(int64_t))
    s.shard_rows = <int32_t>shard_rows
    s.row, s.start, s.length, s.tape_offset = order, order + B, order + 2 * B, order + 3 * B
    with nogil:
        if shared != NULL:
            fastrnn_shared_prefix(s.ids, B, T, shared)
            if B == 1 and shared[0] < LEAST_KNOWN:
                shared = NULL
        states = fastrnn_plan(B, T, begin, end, shared, s.shard_rows,
                              order, order + B, order + 2 * B, order + 3 * B,
                              &s.prefix_row, &s.prefix_length, bucket)
    s.slots = fastrnn_pool_threads()
    if not keep:
        states = s.prefix_length + 1
    tape_bytes = states * (cell.states + cell.kept) * Hp * itemsize
    s.stream = keep and tape_bytes >= STREAM_BYTES
    sweep.tape = Block(tape_bytes)
    s.tape = sweep.tape.data
    s.packed = a.scratch(cell.gates * Hp * Hp)
    s.work = a.scratch(s.slots * kernels.sweep_work_size(s))
    s.prefix_done = <int64_t *>a.bytes(sizeof(int64_t))
    if ids is not None and keep:
        _room_for_met(sweep, states, shards)
        s.number = <int32_t *>a.bytes(s.slots * s.V * sizeof(int32_t))
    cdef _KnownPrefix to_know = None
    if s.prefix_length >= LEAST_KNOWN and not keep:
        s.prefix_known = _recall_prefix(s, kernels, itemsize)
        if not s.prefix_known:
            to_know = _prefix_to_know(s, kernels, itemsize)
    with nogil:
        kernels.sweep_forward(s)
    if to_know is not None:
        _remember_prefix(to_know, s, kernels, itemsize)
    return sweep


cdef int _room_for_met(Sweep sweep, int64_t states, int64_t shards) except -1:
    """Room for the lists of rows that the walks of a sweep meet: see ``sweep_t``."""
    cdef sweep_t *s = &sweep.s
    cdef int64_t i, rows, room = min(s.prefix_length, s.V) + 1  # one is written past the last
    sweep.met_counts = Block(2 * (shards + 1) * sizeof(int64_t))
    cdef int64_t *offsets = <int64_t *>sweep.met_counts.data
    offsets[0] = 0
    for i in range(shards):
        offsets[i + 1] = room
        # The first row of a shard is its longest.
        rows = min(<int64_t>s.shard_rows, s.B - i * s.shard_rows)
        room += min(rows * s.length[i * s.shard_rows], s.V) + 1
    sweep.met_room = room
    sweep.met_at = Block(states * sizeof(int32_t))
    sweep.met_row = Block(room * sizeof(int32_t))
    s.met_at, s.met_row = <int32_t *>sweep.met_at.data, <int32_t *>sweep.met_row.data
    s.met_offset, s.met_count = offsets, offsets + shards + 1
    memset(s.met_count, 0, (shards + 1) * sizeof(int64_t))
    return 0


def sweep_backward(Sweep sweep not None, U, dy, dlast, dxz, dfirst, dU, dbias=None,
                   projection=None):
    """Backward through a `Sweep`.

    dy (B, T, H) or None and dlast, a list of (B, H) or None, are the gradients of the outputs and
    of the last states.  Written are dfirst, a list of (B, H), and ``dxz``: without ids
    (B * T, G * H), in the steps of ``sweep.runs`` only; with ids (n, G * H), the gradients of the
    rows of xz that occur.  dU (H, G * H) and dbias (H,) or None are added into.

    With ``projection``, without ids and a ``dxz``: xz was x W + b, and its gradients are taken at
    once.  It is a tuple x (B * T, D), W (D, G * H), dx (B * T, D), of which the steps of
    ``sweep.runs`` are written, dW (D, G * H), db (G * H,) or None; dW and db are added into.
    """
    cdef _Arguments a = _Arguments()
    cdef sweep_t s = sweep.s
    cdef int64_t B = s.B, H = s.H, Hp, shards, columns, rows, after
    cdef cell_t cell
    if sweep.kernels == NULL or not s.keep:
        raise ValueError("sweep: expected one of sweep_forward that kept its states.")
    cell = fastrnn_cell(s.cell)
    columns = cell.gates * H
    shards = (B + s.shard_rows - 1) // s.shard_rows
    s.U = a.real_array(U, "U", (H, columns))
    if a.real != sweep.real:
        raise TypeError("U: expected the float type of the forward sweep.")
    cdef const kernels_t *kernels = sweep.kernels
    Hp = kernels.padded(H)
    s.bias = NULL
    s.dy = a.maybe(dy, "dy", (B, s.T, H))
    _take_states(a, <void **>s.dlast, dlast, "dlast", cell.states, (B, H), False)
    _take_states(a, s.dfirst, dfirst, "dfirst", cell.states, (B, H), True)
    s.dU = a.real_array(dU, "dU", (H, columns), True)
    s.dbias = a.maybe(dbias, "dbias", (H,), True)
    s.slots = fastrnn_pool_threads()
    rows = B * s.T
    s.dx, s.x, s.W, s.D = NULL, NULL, NULL, -1
    if projection is not None:
        if s.ids != NULL or dxz is not None:
            raise ValueError("projection: only without ids and without a dxz.")
        x, W, dx, dW, db = projection
        s.x = a.matrix(x, "x", &rows, &s.D)
        s.W = a.real_array(W, "W", (s.D, columns))
        s.dx = a.matrix(dx, "dx", &rows, &s.D, True)
        s.dW = a.real_array(dW, "dW", (s.D, columns), True)
        s.db = a.maybe(db, "db", (columns,), True)
        s.packed_W = a.scratch(cell.gates * Hp * kernels.padded(s.D))
    elif s.ids == NULL:
        s.dxz = a.matrix(dxz, "dxz", &rows, &columns, True)
    else:
        s.dP = a.matrix(dxz, "dxz", &s.V, &columns, True)
        s.met = a.scratch(sweep.met_room * cell.gates * Hp)
    s.packed = a.scratch(cell.gates * Hp * Hp)
    s.after, after = NULL, kernels.sweep_after_size(&s)
    if after:
        s.after = a.bytes(after)
    else:
        s.partial = a.scratch((shards + 1) * ((cell.gates * H + 1) * Hp
                                              + (s.D + 1) * cell.gates * Hp))
    if s.prefix_length:
        s.inject = a.scratch(cell.states * (s.prefix_length + 1) * Hp)
    s.work = a.scratch(s.slots * kernels.sweep_work_size(&s))
    with nogil:
        kernels.sweep_backward(&s)


# -- programs -------------------------------------------------------------------

include "_core_programs.pxi"
