"""What the tests of CUDA kernels share: arrays on a device, with or without one.

Whoever imports it is skipped where numba-cuda is missing.
"""

import math
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (make test-cuda)")

from numba import cuda  # noqa: E402
from numba.cuda import types  # noqa: E402

from fastrnn.cuda import discovery, launches, matmul, tiles  # noqa: E402

DTYPES = ("float32", "float64")
# A tile like the others, so small that the simulator runs many blocks in a blink.
SMALL = {"float32": tiles.Tile(8, 8, 4, 4, 4, 2, 1), "float64": tiles.Tile(8, 4, 4, 4, 2, 2, 1)}


def choose_small_tiles(monkeypatch):
    """Let the simulator compute all products by the tiles of `SMALL`; a GPU chooses as it does."""
    if discovery.simulated():
        monkeypatch.setattr(matmul, "choose_tile", lambda dtype, *_: SMALL[dtype])


class Tensor:
    """A view of an array, on a device, known by ``__cuda_array_interface__`` alone.

    In the simulator the memory of a device is the host's.
    """

    def __init__(self, array, view=lambda a: a):
        array = np.asarray(array)
        seen = view(array)
        self.memory = cuda.to_device(np.ascontiguousarray(array))
        offset = seen.__array_interface__["data"][0] - array.__array_interface__["data"][0]
        self.view = view
        self.shape = seen.shape
        self.__cuda_array_interface__ = {
            "data": (address(self.memory) + offset, False), "shape": seen.shape,
            "strides": seen.strides, "typestr": seen.dtype.str, "version": 3,
        }

    def numpy(self):
        """The view's elements."""
        return self.view(self.memory.copy_to_host())


def address(array):
    """Where an array of Numba begins."""
    if discovery.simulated():
        return array.__array_interface__["data"][0]
    return array.__cuda_array_interface__["data"][0]


def make_simulator_safe(monkeypatch):
    """Mend what the simulator's blocks get wrong, or take too long for; a GPU needs none of it."""
    if discovery.simulated():
        make_shared_arrays_safe(monkeypatch)
        let_threads_sleep(monkeypatch)
        refuse_arrays_of_the_host(monkeypatch)
        hold_kernels_to_what_they_say(monkeypatch)


def hold_kernels_to_what_they_say(monkeypatch):
    """Let a write raise to an argument that a kernel does not name in ``writes``, and a launch with
    more threads than it is bound to.

    Recordings go by these names: what is not among them would be overwritten while it is read.
    """
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    def only_read(argument):
        if isinstance(argument, tuple):
            parts = map(only_read, argument)
            return type(argument)(*parts) if hasattr(argument, "_fields") else tuple(parts)
        if isinstance(argument, FakeCUDAArray):
            return FakeCUDAArray(only_read(argument._ary))
        if isinstance(argument, np.ndarray):
            argument = argument.view()
            argument.flags.writeable = False
        return argument

    def init(self, kernel, grid, block, *rest):
        assert math.prod(block) <= kernel.threads, "more threads than a block of this kernel has"
        before(self, kernel, grid, block, *rest)
        self.arguments = tuple(
            argument if place in self.kernel.writes else only_read(argument)
            for place, argument in enumerate(self.arguments)
        )

    before = launches._Simulated.__init__
    monkeypatch.setattr(launches._Simulated, "__init__", init)


def refuse_arrays_of_the_host(monkeypatch):
    """Let no kernel get an array of the host: the simulator would bring it over, and back."""

    def of_numba(argument):
        assert not isinstance(argument, np.ndarray), "an array of the host for a kernel"
        return own(argument)

    own = launches._of_numba
    monkeypatch.setattr(launches, "_of_numba", of_numba)


def let_threads_sleep(monkeypatch):
    """Let the threads of a simulated block sleep at a barrier until the last one comes.

    The simulator asks all of them, again and again, who has come, and so takes time from those that
    work. As there, a thread that has ended is not waited for.
    """
    from numba.cuda.simulator import kernel

    def run_block(self, grid_point, *args):
        threads = [
            kernel.BlockThread(lambda: self._f(*args), self, grid_point, place, self._debug)
            for place in np.ndindex(*self._block_dim)
        ]
        self.turn, self.alive, self.waiting, self.passed = (
            threading.Condition(), len(threads), 0, 0
        )
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for thread in threads:
            if thread.exception:
                raise thread.exception[0].with_traceback(thread.exception[1])

    def run_thread(self):
        run(self)  # keeps an exception
        with self._manager.turn:
            self._manager.alive -= 1
            pass_together(self._manager)

    def syncthreads(self):
        block = self._manager
        with block.turn:
            block.waiting, before = block.waiting + 1, block.passed
            pass_together(block)
            block.turn.wait_for(lambda: block.passed > before)

    def pass_together(block):
        if block.waiting == block.alive:
            block.waiting, block.passed = 0, block.passed + 1
            block.turn.notify_all()

    run = kernel.BlockThread.run
    monkeypatch.setattr(kernel.BlockManager, "run", run_block)
    monkeypatch.setattr(kernel.BlockThread, "run", run_thread)
    monkeypatch.setattr(kernel.BlockThread, "syncthreads", syncthreads)


def make_shared_arrays_safe(monkeypatch):
    """Let the threads of a simulated block agree on their shared arrays.

    The simulator makes an array of shared memory when the first thread asks for it, and two that
    ask at a time get one each. And let all arrays of a kernel begin as NaN: on a device they are
    undefined, and so it is seen where that reaches a result.
    """
    from numba.cuda.np import numpy_support
    from numba.cuda.simulator import kernelapi

    lock = threading.Lock()

    def array(self, shape, dtype, alignment=None):
        assert alignment is None
        if shape == 0:  # all that the launch asked for
            return dynamic(self, shape, dtype)
        if isinstance(dtype, types.Type):
            dtype = numpy_support.as_dtype(dtype)
        caller = sys._getframe(1)
        line = caller.f_code.co_filename, caller.f_lineno
        with lock:
            if line not in self._allocations:
                self._allocations[line] = undefined(np.empty(shape, dtype))
            return self._allocations[line]

    def undefined(array):
        array.fill(np.nan if array.dtype.kind == "f" else np.iinfo(array.dtype).min)
        return array

    def init(self, size):
        before(self, size)
        self._dynshared[...] = -1  # all bits set: NaN in either float type

    def local(self, shape, dtype, alignment=None):
        array = own(self, shape, dtype, alignment)
        return undefined(array)

    own = kernelapi.FakeCUDALocal.array
    monkeypatch.setattr(kernelapi.FakeCUDALocal, "array", local)
    dynamic, before = kernelapi.FakeCUDAShared.array, kernelapi.FakeCUDAShared.__init__
    monkeypatch.setattr(kernelapi.FakeCUDAShared, "array", array)
    monkeypatch.setattr(kernelapi.FakeCUDAShared, "__init__", init)
