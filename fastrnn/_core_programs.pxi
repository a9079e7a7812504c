# Part of _core.pyx: programs, the steps of cells for which there is no kernel.

cdef dict _OPERATIONS = {
    "add": OP_ADD, "subtract": OP_SUBTRACT, "multiply": OP_MULTIPLY, "divide": OP_DIVIDE,
    "maximum": OP_MAXIMUM, "minimum": OP_MINIMUM, "equal": OP_EQUAL, "not_equal": OP_NOT_EQUAL,
    "less": OP_LESS, "less_equal": OP_LESS_EQUAL, "greater": OP_GREATER,
    "greater_equal": OP_GREATER_EQUAL, "negative": OP_NEGATIVE, "absolute": OP_ABSOLUTE,
    "sign": OP_SIGN, "sqrt": OP_SQRT, "log": OP_LOG, "sin": OP_SINE, "cos": OP_COSINE,
    "activate": OP_ACTIVATE, "slope": OP_SLOPE, "where": OP_WHERE, "zero": OP_ZERO,
    "copy": OP_COPY, "add_copy": OP_ADD_COPY, "sum": OP_SUM, "largest": OP_LARGEST,
    "spread": OP_SPREAD, "product": OP_PRODUCT,
}

cdef enum:
    MOST_REGISTERS = 1 << 16
    MOST_COLUMNS = 1 << 24  # of a register: so no size that follows overflows


@cython.auto_pickle(False)  # what is made without __init__ was not checked
cdef class Program:
    """Instructions on registers for one step, with what comes in and goes out.

    Parameters
    ----------
    widths : list of int
        Of the registers; what lies in them is a row so wide for each row of the batch.
    statics : int
        So many registers, the first, are the same for all rows and steps.
    code : list of tuple
        ``(name, dst, a, b, c, to, from, width)``, see ``csrc/rnn.h``; what is not used is -1 or 0.
        Of "activate" and "slope" c is the name of an activation.
    loads : list of (register, adds, counted)
    stores : list of (register, counted, after)
    carries : list of (register, from)
    matrices : list of (K, N, transposed)
        What products multiply with, (K, N) once it is transposed.

    Raises
    ------
    ValueError
        For a register, a matrix or columns that are not there, or widths that do not fit.
    """

    cdef bytearray _widths, _code
    cdef int64_t registers, statics, instructions
    cdef list loads, stores, carries, matrices
    cdef readonly int64_t static_size

    def __cinit__(self, widths, statics, code, loads, stores, carries, matrices):
        cdef int64_t *width
        cdef int64_t i
        self.registers, self.statics = len(widths), statics
        if not (0 <= statics <= self.registers <= MOST_REGISTERS and widths
                and 1 <= min(widths) and max(widths) <= MOST_COLUMNS):
            raise ValueError(f"program: widths of registers: {widths}, {statics} of them static.")
        self._widths = bytearray(self.registers * sizeof(int64_t))
        width = <int64_t *>(<char *>self._widths)
        for i in range(self.registers):
            width[i] = widths[i]
        self.static_size = sum(widths[:statics])
        # Tuples of numbers, which nobody changes once they were looked at.
        self.loads = [(int(r), bool(adds), bool(counted)) for r, adds, counted in loads]
        self.stores = [(int(r), bool(counted), bool(after)) for r, counted, after in stores]
        self.carries = [(int(r), int(other)) for r, other in carries]
        self.matrices = [(int(K), int(N), bool(turned)) for K, N, turned in matrices]
        if any([K < 1 or N < 1 for K, N, _ in self.matrices]):
            raise ValueError(f"program: matrices without rows or columns: {self.matrices}.")
        for reg, *_ in [*self.loads, *self.stores]:
            self._known(reg)
        for reg, other in self.carries:
            self._one_width(reg, other)
        self.instructions = len(code)
        self._code = bytearray((self.instructions + 1) * sizeof(instruction_t))
        for i, (name, *numbers) in enumerate(code):
            self._write(<instruction_t *>(<char *>self._code) + i, name, numbers)

    cdef int64_t _width(self, int64_t reg):
        return (<int64_t *>(<char *>self._widths))[reg]

    cdef int _known(self, reg) except -1:
        if not 0 <= reg < self.registers:
            raise ValueError(f"program: there is no register {reg}.")
        return 0

    cdef int _one_width(self, a, b) except -1:
        self._known(a)
        self._known(b)
        if self._width(a) != self._width(b):
            raise ValueError(
                f"program: registers {a} and {b} are {self._width(a)} and {self._width(b)} wide."
            )
        return 0

    cdef int _write(self, instruction_t *i, str name, list numbers) except -1:
        """An instruction, checked."""
        op = _OPERATIONS.get(name)
        if op is None:
            raise ValueError(f"program: there is no instruction {name!r}.")
        dst, a, b, c, to, from_, width = numbers
        self._known(dst)
        if dst < self.statics:
            raise ValueError(f"program: register {dst} is static, and not to be written.")
        i.op, i.dst, i.a, i.b, i.to, i.from_, i.width = op, dst, a, b, to, from_, width
        i.c = _activation(c, _ACTIVATIONS_BY_INPUT) if isinstance(c, str) else c
        if name == "zero":
            i.a = -1
            return 0
        self._known(a)
        if name in ("copy", "add_copy"):
            if not (0 <= to <= to + width <= self._width(dst)
                    and 0 <= from_ <= from_ + width <= self._width(a)):
                raise ValueError(f"program: {name}: columns {numbers} are not all there.")
        elif name in ("sum", "largest", "spread"):
            if self._width(a if name == "spread" else dst) != 1:
                raise ValueError(f"program: {name}: expected a register of one column.")
        elif name == "product":
            self._check_product(dst, a, b, c)
        else:
            self._one_width(dst, a)
            if op <= OP_GREATER_EQUAL or name in ("slope", "where"):
                self._one_width(dst, b)
            if name == "where":
                self._one_width(dst, c)
            if (name in ("activate", "slope")) != isinstance(c, str):
                raise ValueError(f"program: {name}: an activation, or none; got {c!r}.")
        return 0

    cdef int _check_product(self, dst, a, b, c) except -1:
        if not 0 <= b < len(self.matrices):
            raise ValueError(f"program: there is no matrix {b}.")
        K, N, _ = self.matrices[b]
        if (self._width(a), self._width(dst)) != (K, N) or dst == a or dst == c:
            raise ValueError(f"program: product of register {a} and matrix {b} into {dst}.")
        if c != -1:
            self._one_width(c, dst)
        return 0

    def run(self, int64_t B, int64_t T, statics, matrices, loads, stores, first, last, start=None,
            stop=None, bint reverse=False):
        """Carry the registers through all steps of all rows.

        Parameters
        ----------
        B, T : int
        statics : array (static_size,)
        matrices : list of arrays
        loads, stores : list of arrays (B, T, width)
            The latter are written.
        first, last : list of arrays (B, width), or None
            Of carries; the latter are written.
        start, stop : int64 arrays (B,), optional
        reverse : bool
            From the last step to the first.
        """
        cdef _Arguments arguments = _Arguments()
        cdef program_t p
        cdef Py_buffer *view
        cdef int64_t i, elements
        cdef stream_t *streams
        cdef carry_t *carries
        memset(&p, 0, sizeof(p))
        matrices, loads, stores, first, last = map(list, (matrices, loads, stores, first, last))
        for given, own in ((matrices, self.matrices), (loads, self.loads), (stores, self.stores),
                           (first, self.carries), (last, self.carries)):
            if len(given) != len(own):
                raise ValueError(f"program: expected {len(own)} arrays; got {len(given)}.")
        if B < 0 or T < 0 or (start is None) != (stop is None):
            raise ValueError(f"program: {B} rows, {T} steps; start and stop: both or none.")
        p.B, p.T, p.reverse = B, T, reverse
        p.rows = PROGRAM_ROWS if B > PROGRAM_ROWS * 2 else PROGRAM_ROWS // 2
        p.registers, p.n_statics = self.registers, self.statics
        p.width = <const int64_t *>(<char *>self._widths)
        p.statics = arguments.real_array(statics, "statics", (self.static_size,))
        cdef const kernels_t *kernels = arguments.kernels()
        if start is not None:
            view = arguments.take(start, "start", 1, "int64")
            arguments.expect(view, "start", (B,))
            p.start = <const int64_t *>view.buf
            view = arguments.take(stop, "stop", 1, "int64")
            arguments.expect(view, "stop", (B,))
            p.stop = <const int64_t *>view.buf
        p.code, p.n_code = <instruction_t *>(<char *>self._code), self.instructions
        streams = <stream_t *>arguments.bytes((len(loads) + len(stores)) * sizeof(stream_t) + 1)
        p.loads, p.n_loads = streams, len(loads)
        p.stores, p.n_stores = streams + len(loads), len(stores)
        for i, (array, (reg, adds, counted)) in enumerate(zip(loads, self.loads)):
            streams[i].data = arguments.real_array(array, "load", (B, T, self._width(reg)))
            streams[i].reg = reg
            streams[i].flags = STREAM_ADDS * bool(adds) | STREAM_COUNTED * bool(counted)
        streams += len(loads)
        for i, (array, (reg, counted, after)) in enumerate(zip(stores, self.stores)):
            streams[i].data = arguments.real_array(array, "store", (B, T, self._width(reg)), True)
            streams[i].reg = reg
            streams[i].flags = STREAM_COUNTED * bool(counted) | STREAM_AFTER * bool(after)
        carries = <carry_t *>arguments.bytes(len(first) * sizeof(carry_t) + 1)
        p.carries, p.n_carries = carries, len(first)
        for i, (reg, other) in enumerate(self.carries):
            carries[i].reg, carries[i].from_ = reg, other
            carries[i].first = arguments.maybe(first[i], "first", (B, self._width(reg)))
            carries[i].last = arguments.maybe(last[i], "last", (B, self._width(reg)), True)
        self._take_matrices(arguments, &p, matrices)
        p.place = <int64_t *>arguments.bytes(self.registers * sizeof(int64_t))
        p.slots = fastrnn_pool_threads()
        p.work = arguments.scratch(p.slots * kernels.program_work_size(&p))
        if B and T:
            with nogil:
                kernels.run_program(&p)
        else:
            for array, begin in zip(last, first):
                if array is not None:
                    array[...] = 0 if begin is None else begin

    cdef int _take_matrices(self, _Arguments arguments, program_t *p, list given) except -1:
        cdef const kernels_t *kernels = arguments.kernels()
        cdef int64_t elements = 0, i = 0, K, N
        cdef char *room
        p.matrices = <matrix_t *>arguments.bytes(len(given) * sizeof(matrix_t) + 1)
        p.n_matrices = len(given)
        for array, (K, N, transposed) in zip(given, self.matrices):
            shape = (N, K) if transposed else (K, N)
            p.matrices[i].b = arguments.real_array(array, "matrix", shape)
            p.matrices[i].b_k = 1 if transposed else N
            p.matrices[i].b_n = K if transposed else 1
            p.matrices[i].K, p.matrices[i].N = K, N
            elements += kernels.gemm_packed_size(N, K)
            i += 1
        room = <char *>arguments.scratch(elements + 1)
        for i in range(p.n_matrices):
            p.matrices[i].packed = room
            room += kernels.gemm_packed_size(p.matrices[i].N, p.matrices[i].K) * (
                4 if arguments.real == b"f" else 8)
        return 0
