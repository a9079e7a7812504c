# Part of _core.pyx: checks at the door, and what a call holds until it is over.

cdef enum:
    MAX_ARRAYS = 20  # that one object holds; more are held by another
    MAX_BLOCKS = 8
    ANY = -1  # number of axes


cdef class _Arguments:
    """What one call holds until it is over: arrays, all floats of one type, and scratch memory."""

    cdef Py_buffer views[MAX_ARRAYS]
    cdef void *blocks[MAX_BLOCKS]
    cdef shelf_t *shelves[MAX_BLOCKS]
    cdef int count, blocks_count
    cdef _Arguments more
    cdef char real  # 'f' or 'd', b'\0' while no float array was seen

    def __cinit__(self):
        self.count = self.blocks_count = 0
        self.real = 0

    def __dealloc__(self):
        cdef int i
        for i in range(self.count):
            PyBuffer_Release(&self.views[i])
        for i in range(self.blocks_count):
            _give_back(self.blocks[i], self.shelves[i])

    cdef Py_buffer *take(self, array, str name, int ndim, str kind, bint write=False) except NULL:
        """The buffer of ``array``; ``kind`` is "real", "int32" or "int64"."""
        cdef Py_buffer *view = &self.views[self.count]
        cdef char code
        if self.count == MAX_ARRAYS:
            if self.more is None:
                self.more = _Arguments()
                self.more.real = self.real
            return self.more.take(array, name, ndim, kind, write)
        PyObject_GetBuffer(
            array, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (PyBUF_WRITABLE if write else 0)
        )
        self.count += 1
        code = view.format[0] if view.format != NULL and view.format[1] == 0 else 0
        if kind == "real":
            ok = code == b"f" or code == b"d"
            if ok and self.real == 0:
                self.real = code
            ok = ok and self.real == code
        elif kind == "int32":
            ok = code == b"i"
        else:
            ok = (code == b"l" or code == b"q") and view.itemsize == 8
        if not ok:
            raise TypeError(self.other_type(name, kind, view))
        if <uintptr_t>view.buf % view.itemsize:
            raise ValueError(f"{name}: expected an aligned array.")
        if view.ndim != ndim and ndim != ANY:
            raise ValueError(f"{name}: expected {ndim} axes; got {view.ndim}.")
        return view

    cdef str other_type(self, str name, str kind, Py_buffer *view):
        """What to say of an array of another type."""
        words = {"f": "float32", "d": "float64", "i": "int32", "l": "int64", "q": "int64"}
        found = view.format.decode() if view.format != NULL else "bytes"
        found = words.get(found, found)
        expected = kind
        if kind == "real":
            expected = "float32 or float64"
            if self.real:
                expected = ("float32" if self.real == b"f" else "float64") + ", as those before it"
        return f"{name}: expected an array of {expected}; got one of {found}."

    cdef void *maybe(self, array, str name, tuple shape, bint write=False) except? NULL:
        """The data of a float array of that shape, or NULL for None."""
        if array is None:
            return NULL
        return self.real_array(array, name, shape, write)

    cdef const int64_t *labels(self, array, int64_t n, int64_t C) except? NULL:
        """Class numbers of n rows, each in [0, C)."""
        cdef Py_buffer *view = self.take(array, "target", 1, "int64")
        cdef const int64_t *found = <const int64_t *>view.buf
        cdef int64_t i
        if view.shape[0] != n:
            raise ValueError(f"target: expected {n} elements; got {view.shape[0]}.")
        for i in range(n):
            if found[i] < 0 or found[i] >= C:
                raise IndexError(f"target: expected classes in [0, {C}); got {found[i]}.")
        return found

    cdef void *real_array(self, array, str name, tuple shape, bint write=False) except NULL:
        """The data of a float array of that shape."""
        cdef Py_buffer *view = self.take(array, name, len(shape), "real", write)
        self.expect(view, name, shape)
        return view.buf if view.buf != NULL else <void *>1  # NULL only where there are no elements

    cdef void *matrix(self, array, str name, int64_t *S, int64_t *M, bint write=False) except NULL:
        """The data of a float array as S rows of its last axis, M wide.

        Both numbers are set where they are negative, and else expected.
        """
        cdef Py_buffer *view = self.take(array, name, ANY, "real", write)
        cdef int64_t rows = 1, i
        if view.ndim == 0:
            raise ValueError(f"{name}: expected at least one axis; got none.")
        for i in range(view.ndim - 1):
            rows *= view.shape[i]
        if M[0] < 0:
            M[0] = view.shape[view.ndim - 1]
        if S[0] < 0:
            S[0] = rows
        if rows != S[0] or view.shape[view.ndim - 1] != M[0]:
            found = tuple([view.shape[j] for j in range(view.ndim)])
            raise ValueError(f"{name}: expected {S[0]} rows, {M[0]} wide; got shape {found}.")
        return view.buf if view.buf != NULL else <void *>1

    cdef void *flat(self, array, str name, int64_t *n, bint write=False) except NULL:
        """The data of a float array of n elements; n is set where negative, and else expected."""
        cdef Py_buffer *view = self.take(array, name, ANY, "real", write)
        cdef int64_t size = view.len // view.itemsize
        if n[0] < 0:
            n[0] = size
        if size != n[0]:
            raise ValueError(f"{name}: expected {n[0]} elements; got {size}.")
        return view.buf if view.buf != NULL else <void *>1

    cdef int expect(self, Py_buffer *view, str name, tuple shape) except -1:
        cdef int i
        for i in range(view.ndim):
            if view.shape[i] != <Py_ssize_t>shape[i]:
                found = tuple([view.shape[j] for j in range(view.ndim)])
                raise ValueError(f"{name}: expected shape {shape}; got {found}.")
        return 0

    cdef void *scratch(self, int64_t elements) except NULL:
        """Room for that many numbers of the call's float type, given back after the call."""
        return self.bytes(elements * (4 if self.real == b"f" else 8))

    cdef void *bytes(self, int64_t size) except NULL:
        cdef int i = self.blocks_count
        if i == MAX_BLOCKS:
            raise RuntimeError("too many blocks")
        self.blocks[i] = _take_block(size, &self.shelves[i])
        self.blocks_count += 1
        return self.blocks[i]

    cdef const kernels_t *kernels(self):
        return _isa.f32 if self.real == b"f" else _isa.f64

    cdef const int32_t *rows(self, given, int64_t V, int64_t *count) except NULL:
        """The row numbers, int32 of any shape, each in [0, V), and how many there are."""
        cdef Py_buffer *view = self.take(given, "rows", ANY, "int32")
        cdef const int32_t *rows = <const int32_t *>view.buf
        cdef int64_t i
        count[0] = view.len // 4
        for i in range(count[0]):
            if rows[i] < 0 or rows[i] >= V:
                raise IndexError(f"rows: {rows[i]} is outside [0, {V}).")
        return rows if rows != NULL else <const int32_t *>1

    cdef const run_t *runs(self, given, int64_t rows, int64_t most, int64_t *count) except NULL:
        """The runs (n, 2) of row numbers and counts, or all rows, in pieces of at most ``most``."""
        cdef run_t whole
        cdef const run_t *runs = &whole
        cdef int64_t n = 1, i
        cdef run_t *pieces
        cdef Py_buffer *view
        whole.first = 0
        whole.count = rows
        if given is not None:
            view = self.take(given, "runs", 2, "int64")
            self.expect(view, "runs", (view.shape[0], 2))
            runs = <const run_t *>view.buf
            n = view.shape[0]
            for i in range(n):
                if runs[i].first < 0 or runs[i].count < 0 or runs[i].first > rows - runs[i].count:
                    raise IndexError(
                        f"runs: rows {runs[i].first} to {runs[i].first + runs[i].count} do not all "
                        f"lie in [0, {rows})."
                    )
        count[0] = fastrnn_cut_runs(runs, n, most, NULL)
        pieces = <run_t *>self.bytes(count[0] * sizeof(run_t) + 1)
        fastrnn_cut_runs(runs, n, most, pieces)
        return pieces


cdef dict _ACTIVATIONS = {
    "linear": ACT_LINEAR, "relu": ACT_RELU, "tanh": ACT_TANH, "sigmoid": ACT_SIGMOID,
    "hard_sigmoid": ACT_HARD_SIGMOID, "relu6": ACT_RELU6, "leaky_relu": ACT_LEAKY_RELU,
    "elu": ACT_ELU, "selu": ACT_SELU, "exponential": ACT_EXPONENTIAL, "softplus": ACT_SOFTPLUS,
    "softsign": ACT_SOFTSIGN,
}
# Those whose slope is a function of z, which sweeps do not keep.
cdef dict _ACTIVATIONS_BY_INPUT = {"silu": ACT_SILU, "gelu": ACT_GELU}


cdef int _activation(str name, dict others={}) except -1:
    which = _ACTIVATIONS.get(name, others.get(name))
    if which is None:
        raise ValueError(f"activation: the kernels have none called {name!r}.")
    return which


cdef int _cell(str kind, bint reset_after) except -1:
    if kind == "simple_rnn":
        return CELL_SIMPLE_RNN
    if kind == "lstm":
        return CELL_LSTM
    if kind == "gru":
        return CELL_GRU if reset_after else CELL_GRU_RESET_BEFORE
    raise ValueError(f"cell: the kernels have none called {kind!r}.")
