# Part of _core.pyx: memory that is used again and again.

# A training step asks for the same sizes again and again; memory fresh from the system would cost a
# page fault every 4 KiB, more than the arithmetic on it.  So blocks that nobody uses any more wait
# on shelves, one for each size, and shelves in a queue, those first that have been there longest.
cdef struct shelf_t:
    size_t capacity  # of each block
    void *first      # of the spare blocks, each of which begins with the address of the next
    bint queued
    shelf_t *behind  # the next in the queue

cdef shelf_t[256] _shelves
cdef shelf_t *_oldest = NULL
cdef shelf_t *_newest = NULL
cdef size_t _spare_bytes = 0
cdef size_t SPARE_LIMIT = 256 << 20


cdef shelf_t *_shelf_for(size_t size) noexcept:
    """The shelf of the least size that is enough: sizes have three leading bits, so few occur."""
    cdef size_t step = 64, steps
    cdef int before = 0
    while step * 8 < size:
        step *= 2
        before += 4
    steps = (size + step - 1) // step if size else 1
    cdef shelf_t *shelf = &_shelves[before + steps - 1]
    shelf.capacity = steps * step
    return shelf


cdef void *_take_block(size_t size, shelf_t **shelf) except NULL:
    """At least ``size`` bytes, aligned to 64, to be given back to the shelf that is set."""
    global _spare_bytes
    shelf[0] = _shelf_for(size)
    cdef void *block = shelf[0].first
    if block != NULL:
        shelf[0].first = (<void **>block)[0]
        _spare_bytes -= shelf[0].capacity
    else:
        block = aligned_block(shelf[0].capacity)
    if block == NULL:
        raise MemoryError(f"{size} bytes could not be had.")
    if DEBUG_BUILD:  # NaN, which shows whether anything is read that nobody wrote
        memset(block, 0xFF, shelf[0].capacity)
    return block


cdef void _give_back(void *block, shelf_t *shelf) noexcept:
    """Keep a block for later use."""
    global _oldest, _newest, _spare_bytes
    if shelf.capacity > SPARE_LIMIT:
        free(block)
        return
    if not shelf.queued:
        shelf.queued, shelf.behind = True, NULL
        if _oldest == NULL:
            _oldest = shelf
        else:
            _newest.behind = shelf
        _newest = shelf
    (<void **>block)[0] = shelf.first
    shelf.first = block
    _spare_bytes += shelf.capacity
    while _spare_bytes > SPARE_LIMIT:  # sizes that nobody asks for any more make way
        _free_oldest()


cdef void _free_oldest() noexcept:
    """Free a block of the first shelf, which goes to the end if it is in use and comes back."""
    global _oldest, _spare_bytes
    cdef shelf_t *shelf = _oldest
    cdef void *block = shelf.first
    if block != NULL:
        shelf.first = (<void **>block)[0]
        free(block)
        _spare_bytes -= shelf.capacity
    if shelf.first == NULL:
        shelf.queued, _oldest = False, shelf.behind


def free_spare_memory():
    """Give memory that is kept for later use back to the system."""
    _known.clear()
    while _oldest != NULL:
        _free_oldest()


cdef class Block:
    """``size`` bytes, aligned to 64, with undefined contents; a buffer for ``numpy.frombuffer``.

    The memory returns to a store of spare blocks when the last array on it is gone.
    """

    cdef void *data
    cdef shelf_t *shelf
    cdef Py_ssize_t size

    def __cinit__(self, Py_ssize_t size):
        if size < 0:
            raise ValueError(f"size: expected a number of bytes; got {size}.")
        self.size = size
        self.data = _take_block(size, &self.shelf)

    def __dealloc__(self):
        if self.data != NULL:
            _give_back(self.data, self.shelf)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.data, self.size, 0, flags)

    def __releasebuffer__(self, Py_buffer *view):
        pass
