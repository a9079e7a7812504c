"""Launches of kernels on the GPU.

Numba's own find out anew at each call what kind of arguments they got, which takes some hundred
microseconds on the host. Here that is found out once for each kind, and a launch is a few numbers
packed into a buffer and one call of the driver. In Numba's simulator kernels are called.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import struct
import threading

import numpy as np

from fastrnn.cuda import discovery, memory, stream
from fastrnn.cuda.errors import reported
from fastrnn.cuda.hazards import access, access_of

__all__ = ["launch", "nothing", "prepared"]

# How numbers are packed, each at a multiple of 8 bytes.
FORMATS = {
    bool: "?7x", np.bool_: "?7x", int: "q", np.int64: "q", np.int32: "i4x", np.uint64: "Q",
    float: "d", np.float64: "d", np.float32: "f4x",
}  # fmt: skip
FREE_SHARED = 48 * 1024  # bytes of shared memory that a block has without asking

_lock = threading.Lock()
_packings = {}
_nothing = {}  # by address


@functools.cache  # for all GPUs: nobody reads it
def nothing(axes, dtype):
    """An array of Numba on the device for an argument that a kernel does not look at."""
    array = memory.allocated((1,) * axes, dtype)
    _nothing[memory.address(array)] = array
    return array


def launch(kernel, blocks, threads, arguments, shared=0):
    """Run a kernel on the device, some time after this returns.

    Parameters
    ----------
    kernel : kernel of Numba
    blocks, threads : int or tuple of int
    arguments : sequence
        Arrays of Numba on the device, numbers, and tuples of these. A `DeviceArray` stands for the
        flat array of its elements.
    shared : int
        Bytes of shared memory that a block is given at the launch.
    """
    prepared(kernel, blocks, threads, arguments, shared, once=True)()


def prepared(kernel, blocks, threads, arguments, shared=0, once=False):
    """A function that does a `launch` each time it is called, with no more to find out.

    It does not keep the arrays. ``once``: it is called now, and never again.
    """
    grid, block = _three(blocks), _three(threads)
    if discovery.simulated():
        return _Simulated(kernel, grid, block, tuple(map(_of_numba, arguments)), shared)
    kinds, values = [], []
    for argument in arguments:
        _flatten(argument, kinds, values)
    key = id(kernel), stream.make_ready(), tuple(kinds)
    packing = _packings.get(key)
    if packing is None:
        packing = _packings[key] = _Packing(kernel, arguments, kinds, values)
    packing.allow(shared)
    if once:
        return lambda: packing.launch_once(grid, block, shared, values)
    buffer = _Buffer(packing.struct)
    buffer.pack(values)
    return lambda: _launch(packing, grid, block, shared, buffer, values)


class _Simulated:
    """A launch in the simulator."""

    def __init__(self, kernel, grid, block, arguments, shared):
        self.kernel, self.arguments = kernel, arguments
        self.configuration = grid, block, 0, shared

    def __call__(self):
        recording = stream.under_way()
        if recording is None:
            self.run()
        else:
            recording.add(self.run, self.accesses())

    def accesses(self):
        """The `Access` of each array among the arguments."""
        return [
            access_of(array, place in self.kernel.writes)
            for place, argument in enumerate(self.arguments)
            for array in _arrays_in(argument) if memory.address(array) not in _nothing
        ]

    def run(self):
        from numba.cuda.core import config

        before, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:  # a small grid is no mistake
            self.kernel[self.configuration](*self.arguments)
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = before


def _arrays_in(argument):
    """The arrays of Numba in an argument: it, or parts of a tuple."""
    if isinstance(argument, tuple):
        for part in argument:
            yield from _arrays_in(part)
    elif isinstance(argument, np.ndarray) or hasattr(argument, "copy_to_host"):
        yield argument


def _three(sizes):
    sizes = sizes if isinstance(sizes, tuple) else (sizes,)
    return *map(int, sizes), *(1,) * (3 - len(sizes))


def _of_numba(argument):
    """The array of Numba that a `DeviceArray` stands for; all else as it is."""
    return argument.flat if hasattr(argument, "memory") else argument


def _flatten(argument, kinds, values):
    """Append what a kernel gets for an argument, and of what kind that is."""
    kind = type(argument)
    if kind in FORMATS:
        kinds.append(kind)
        values.append(argument)
    elif hasattr(argument, "memory"):
        size, itemsize = argument.size, argument.dtype.itemsize
        kinds.append((1, argument.dtype.char, True))
        values += 0, 0, size, itemsize, argument.pointer, size, itemsize
    elif isinstance(argument, tuple):
        kinds.append((kind, len(argument)))
        for part in argument:
            _flatten(part, kinds, values)
    else:
        own = getattr(argument, "_fastrnn_packed", None)
        if own is None:
            own = argument._fastrnn_packed = _packed(argument)
        kinds.append(own[0])
        values += own[1]


def _packed(array):
    """The kind of an array of Numba, and the numbers that stand for it.

    As Numba's kernels take one: two pointers for its own use, the number of elements, their size,
    the address, the shape, and the strides in bytes.
    """
    pointer = array.__cuda_array_interface__["data"][0]
    numbers = 0, 0, array.size, array.dtype.itemsize, pointer, *array.shape, *array.strides
    return (array.ndim, array.dtype.char, array.is_c_contiguous()), numbers


class _Buffer:
    """Memory for the arguments of a launch, and the addresses of each."""

    def __init__(self, layout):
        self._layout = layout
        self._bytes = ctypes.create_string_buffer(max(layout.size, 8))
        begin, count = ctypes.addressof(self._bytes), layout.size // 8
        self._places = (ctypes.c_void_p * max(count, 1))(*(begin + 8 * i for i in range(count)))
        self.address = ctypes.addressof(self._places)

    def pack(self, values):
        self._layout.pack_into(self._bytes, 0, *values)


class _Packing:
    """A kernel, compiled for arguments of some kinds, and how these are packed."""

    def __init__(self, kernel, arguments, kinds, values):
        from cuda.bindings import driver

        function = kernel.py_func
        self.name = f"the kernel {function.__module__.rpartition('.')[2]}.{function.__name__}"
        arrays = [*map(_of_numba, arguments)]
        types = tuple(map(kernel.typeof_pyval, arrays))
        with reported(self.name):
            compiled = kernel.compile(types)
            self._compiled = compiled._codelibrary.get_cufunc()
        self._kernel = kernel  # so that no other gets its number
        self.function = driver.CUfunction(int(self._compiled.handle))
        self.struct = struct.Struct("=" + "".join(map(self._format, kinds)))
        self._check_packing(compiled, types, arrays, values)
        self._places = self._places_of_arrays(arguments)
        self._buffer = _Buffer(self.struct)
        self._allowed = FREE_SHARED

    def _check_packing(self, compiled, types, arguments, values):
        """Raise RuntimeError unless Numba itself would hand these values to the kernel.

        How it does is its own affair, and may change; a kernel would take any number for an
        address.
        """
        numbas = []
        try:
            for kind, argument in zip(types, arguments, strict=True):
                compiled._prepare_args(kind, argument, 0, [], numbas)
            numbers = [getattr(number, "value", number) for number in numbas]
            same = self.struct.pack(*numbers) == self.struct.pack(*values)
        except (AttributeError, TypeError, struct.error):
            same = False
        if not same:
            version = importlib.metadata.version("numba-cuda")
            raise RuntimeError(
                f"fastrnn.cuda: numba-cuda {version} hands arguments to kernels in a way that is "
                'not known here; pip install "numba-cuda==0.30.*"'
            )

    @staticmethod
    def _format(kind):
        if kind in FORMATS:
            return FORMATS[kind]
        if isinstance(kind[0], type):  # a tuple, whose parts follow
            return ""
        axes = kind[0]
        return "q" * (5 + 2 * axes)

    def _places_of_arrays(self, arguments):
        """(where its numbers begin, its axes, whether the kernel writes to it) of each array."""
        places, at = [], 0
        for number, argument in enumerate(arguments):
            kinds = []
            _flatten(argument, kinds, [])
            for kind in kinds:
                if kind in FORMATS:
                    at += 1
                elif not isinstance(kind[0], type):
                    places.append((at, kind[0], number in self._kernel.writes))
                    at += 5 + 2 * kind[0]
        return places

    def accesses(self, values):
        """The `Access` of each array among the numbers that are packed."""
        found = []
        for at, axes, writes in self._places:
            itemsize, begin = values[at + 3 : at + 5]
            shape, strides = (values[at + 5 + i * axes :][:axes] for i in (0, 1))
            if begin not in _nothing:
                found.append(access(begin, shape, strides, itemsize, writes))
        return found

    def allow(self, shared):
        """Let blocks take so much shared memory: for what a GPU has beyond 48 KB, one must ask."""
        if shared <= self._allowed:
            return
        from cuda.bindings import driver

        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        kernel = driver.CUkernel(int(self._compiled.handle))
        device = self._compiled.device.id
        stream.check(driver.cuKernelSetAttribute(attribute, shared, kernel, device), self.name)
        self._allowed = shared

    def launch_once(self, grid, block, shared, values):
        with _lock:  # one buffer for all
            self._buffer.pack(values)
            _launch(self, grid, block, shared, self._buffer, values)


def _launch(packing, grid, block, shared, buffer, values):
    from cuda.bindings import driver

    stream.make_ready()  # for it may have been prepared in another thread
    recording = stream.under_way()
    if recording is not None:
        recording.branch(packing.accesses(values))
    arguments = packing.function, *grid, *block, shared, stream.current(), buffer.address, 0
    found = driver.cuLaunchKernel(*arguments)
    if found[0]:
        stream.check_again(found, packing.name, driver.cuLaunchKernel, *arguments)
    if recording is not None:
        recording.branched()
