# Part of _core.pyx: what shared prefixes led to, kept from sweep to sweep.

# Padded rows begin with the same steps call after call, as long as the weights stay what they are;
# of IMDB's rows these are half of all steps.  So what the shared prefixes of the last few sweeps
# that keep no tape led to is kept, beside all that it follows from; `free_spare_memory` drops it.
cdef enum:
    LEAST_KNOWN = 16  # steps
    MOST_KNOWN = 4  # prefixes
    KNOWN_BYTES = 1 << 24  # of each
    SOURCES = 3

cdef list _known = []  # of _KnownPrefix, the last used first
cdef int64_t _known_hits = 0
cdef int64_t _known_misses = 0


cdef class _KnownPrefix:
    """The states of a cell, from zeros on, after 0 to ``steps`` steps of one input."""

    cdef const kernels_t *kernels
    cdef int32_t cell, activation, recurrent_activation
    cdef int64_t H, steps
    cdef Block source  # see `_sources`
    cdef Block states  # (states, steps + 1, Hp)


cdef struct source_t:
    const void *data
    size_t size


cdef void _sources(const sweep_t *s, size_t itemsize, source_t *sources) noexcept:
    """What the states of a sweep's prefix follow from: its row of xz, the bias and U."""
    cdef int64_t H = s.H, columns = fastrnn_cell(s.cell).gates * H
    cdef int64_t row = s.ids[s.prefix_row * s.T]
    sources[0].data = <const char *>s.xz + row * columns * itemsize
    sources[0].size = columns * itemsize
    sources[1].data = s.bias
    sources[1].size = H * itemsize if s.bias != NULL else 0
    sources[2].data = s.U
    sources[2].size = H * columns * itemsize


cdef size_t _size(const source_t *sources) noexcept:
    return sources[0].size + sources[1].size + sources[2].size


cdef bint _is_known(_KnownPrefix known, const sweep_t *s, const kernels_t *kernels,
                    const source_t *sources) noexcept:
    """Whether the prefix of a sweep is this one, but for its length."""
    cdef const char *own = <const char *>known.source.data
    cdef int i
    if (known.kernels != kernels or known.cell != s.cell or known.H != s.H
            or known.activation != s.activation
            or known.recurrent_activation != s.recurrent_activation
            or known.source.size != <Py_ssize_t>_size(sources)):  # with or without a bias
        return False
    for i in range(SOURCES):
        if sources[i].size and memcmp(own, sources[i].data, sources[i].size):
            return False
        own += sources[i].size
    return True


cdef bint _recall_prefix(const sweep_t *s, const kernels_t *kernels, size_t itemsize) except -1:
    """Put the states of a known prefix on the tape; False if it is not known."""
    global _known_hits, _known_misses
    cdef source_t[SOURCES] sources
    cdef _KnownPrefix known
    cdef size_t row = kernels.padded(s.H) * itemsize
    cdef int64_t i, first = 0 if s.y != NULL else s.start[0]  # where the longest row begins
    cdef char *to = <char *>s.tape
    cdef const char *states
    _sources(s, itemsize, sources)
    for i in range(len(_known)):
        known = _known[i]
        if known.steps < s.prefix_length or not _is_known(known, s, kernels, sources):
            continue
        states = <const char *>known.states.data
        for _ in range(fastrnn_cell(s.cell).states):
            memcpy(to + first * row, states + first * row, (s.prefix_length + 1 - first) * row)
            to += (s.prefix_length + 1) * row
            states += (known.steps + 1) * row
        if i:
            _known.insert(0, _known.pop(i))
        _known_hits += 1
        return True
    _known_misses += 1
    return False


cdef _KnownPrefix _prefix_to_know(const sweep_t *s, const kernels_t *kernels, size_t itemsize):
    """What the prefix of a sweep follows from, and room for its states; None if that is much."""
    cdef source_t[SOURCES] sources
    cdef _KnownPrefix known
    cdef size_t of_states
    cdef char *to
    cdef int i
    _sources(s, itemsize, sources)
    of_states = (fastrnn_cell(s.cell).states * (s.prefix_length + 1) * kernels.padded(s.H)
                 * itemsize)
    if _size(sources) + of_states > KNOWN_BYTES:
        return None
    known = _KnownPrefix.__new__(_KnownPrefix)
    known.kernels, known.H, known.steps = kernels, s.H, s.prefix_length
    known.cell, known.activation = s.cell, s.activation
    known.recurrent_activation = s.recurrent_activation
    known.source, known.states = Block(_size(sources)), Block(of_states)
    to = <char *>known.source.data
    for i in range(SOURCES):
        if sources[i].size:
            memcpy(to, sources[i].data, sources[i].size)
        to += sources[i].size
    return known


cdef int _remember_prefix(_KnownPrefix known, const sweep_t *s, const kernels_t *kernels,
                          size_t itemsize) except -1:
    """Keep the states of a prefix that has been walked, which the tape begins with."""
    cdef source_t[SOURCES] sources
    cdef int i
    _sources(s, itemsize, sources)
    if not _is_known(known, s, kernels, sources):
        return 0  # another thread wrote to the weights meanwhile
    memcpy(known.states.data, s.tape, known.states.size)
    for i in range(len(_known)):
        if _is_known(_known[i], s, kernels, sources):  # and most likely shorter
            del _known[i]
            break
    _known.insert(0, known)
    del _known[MOST_KNOWN:]
    return 0


def known_prefixes():
    """How often a shared prefix was known, how often not, and how many are known now."""
    return _known_hits, _known_misses, len(_known)
