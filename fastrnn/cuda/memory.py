"""Memory on the device that is used again and again.

The driver takes longer to give or take memory than a kernel to run, and waits for all kernels when
it takes any. So a block that nobody holds any more goes to the next who asks for as much. As all
work is done in one order, it cannot be overwritten before it was read. Arrays of Numba, which cost
time to make too, stay with their block.

All blocks are known here until they go back to the driver. So the collector of cycles never finds
one among what it may collect: it would let Numba free the memory before `Memory.__del__` could
hand the block on.
"""

from __future__ import annotations

import contextlib
import gc
import math
import threading
from collections import defaultdict

import numpy as np

from fastrnn.cuda import discovery
from fastrnn.cuda.errors import NEEDS_LESS, OUT_OF_MEMORY, reported, status_of

__all__ = ["Memory", "Pool", "address", "allocated", "capacity_for", "release", "used", "using"]

# Blocks come in so many sizes for each power of two, so that batches of all lengths share them.
STEPS = 8
LEAST = 256  # bytes; blocks begin at multiples of it, too
MOST_VIEWS = 64  # arrays that stay with a block


class _Block:
    """Memory of the driver, with the arrays of Numba that were made of it."""

    __slots__ = ("array", "pointer", "views")

    def __init__(self, capacity):
        self.array, self.views = allocated(capacity, np.uint8), {}
        self.pointer = address(self.array)


class Pool:
    """Blocks that nobody holds at the time, by their capacity.

    As long as it has taken less than ``fresh`` bytes from the driver, blocks are new.
    """

    def __init__(self, fresh=0):
        self._free = defaultdict(list)
        self._closed, self._fresh = False, fresh

    def take(self, capacity):
        """A block, used before or new."""
        free = self._free[capacity]
        if self._fresh <= 0 and (block := _popped(free)):
            return block
        self._fresh -= capacity
        try:
            block = _Block(capacity)
        except MemoryError:
            self._fresh = 0
            if block := _popped(free):
                return block
            raise
        _blocks.add(block)
        return block

    def give(self, capacity, block):
        """Take a block back."""
        if self._closed:
            _blocks.discard(block)
        else:
            self._free[capacity].append(block)

    def release(self):
        """Give all blocks that nobody holds back to the driver."""
        free, self._free = self._free, defaultdict(list)  # others may give and take meanwhile
        for blocks in free.values():
            _blocks.difference_update(blocks)

    def close(self):
        """From now on keep no block."""
        self._closed = True
        self.release()


def _popped(blocks):
    """The last of a list, or None if another thread was faster."""
    try:
        return blocks.pop()
    except IndexError:
        return None


_blocks = set()  # all
_ordinary = Pool()


class _State(threading.local):
    """Where a thread takes its memory from, and who is told when some is used."""

    pool = _ordinary  # of all threads, unless one is `using` another
    on_use = None


_state = _State()


@contextlib.contextmanager
def using(pool, on_use):
    """Inside, this thread's memory is of ``pool``, and ``on_use`` is called with what it uses."""
    before = _state.pool, _state.on_use
    _state.pool, _state.on_use = pool, on_use
    try:
        yield
    finally:
        _state.pool, _state.on_use = before


def used(memory):
    """Say that some work uses a `Memory`."""
    if _state.on_use is not None:
        _state.on_use(memory)


class Memory:
    """A block on the device, which is given back when nobody holds this.

    Parameters
    ----------
    size : int
        In bytes; the contents are undefined.

    Examples
    --------
    >>> from fastrnn import cuda
    >>> (Memory(100).view("float32", 5, (4, 5)).shape if cuda.is_available() else (4, 5)) == (4, 5)
    True
    """

    __slots__ = ("_block", "_capacity", "pool", "writes")

    def __init__(self, size):
        self._capacity, self.pool = capacity_for(size), _state.pool
        self.writes = 0  # times that somebody wrote over what was known of it
        self._block = self.pool.take(self._capacity)

    def __del__(self):
        if _blocks is not None and hasattr(self, "_block"):  # None: Python is on its way out
            self.pool.give(self._capacity, self._block)

    @property
    def pointer(self):
        """Where it begins."""
        return self._block.pointer

    def view(self, dtype, start, shape):
        """The array of Numba that begins ``start`` elements behind the block's beginning."""
        key = dtype, start, shape
        views = self._block.views
        found = views.get(key)
        if found is None:
            if len(views) >= MOST_VIEWS:
                views.clear()
            found = views[key] = self._made(np.dtype(dtype), start, shape)
        return found

    def _made(self, dtype, start, shape):
        first, size = start * dtype.itemsize, math.prod(shape) * dtype.itemsize
        if not size:
            return allocated(shape, dtype)
        flat = self._block.array[first : first + size].view(dtype)
        return flat if len(shape) == 1 else flat.reshape(shape)


def release():
    """Give all blocks that nobody holds back to the driver.

    But those of a recording: what it will do again works in them, whether somebody holds them or
    not.
    """
    _ordinary.release()


def capacity_for(size):
    """The bytes of the block that serves ``size`` bytes: at most 1/8 more.

    >>> capacity_for(1), capacity_for(1000), capacity_for(1_100_000)
    (256, 1024, 1179648)
    """
    step = max(LEAST, (1 << max(size - 1, 1).bit_length()) // (2 * STEPS))
    return max(LEAST, -(-size // step) * step)


def address(array):
    """Where an array of Numba begins."""
    found = array.__array_interface__ if discovery.simulated() else array.__cuda_array_interface__
    return found["data"][0]


def allocated(shape, dtype):
    """An array of Numba in memory that the driver gives; MemoryError where it has no more."""
    found = _asked_for(shape, dtype)
    if found is None:  # what lies here unused may be what is missing, or hangs in a cycle
        gc.collect()
        release()
        found = _asked_for(shape, dtype)
    if found is None:
        size = np.prod(shape, dtype=np.float64) * np.dtype(dtype).itemsize / 2**20
        raise MemoryError(f"fastrnn.cuda: the GPU has no {size:,.1f} MiB left. {NEEDS_LESS}")
    return found


def _asked_for(shape, dtype):
    """As `allocated`; None where the driver says that it has no more."""
    from numba import cuda

    with reported("memory"):
        try:
            return cuda.device_array(shape, dtype)
        except Exception as error:
            if status_of(error) != OUT_OF_MEMORY:
                raise
            return None
