"""The order in which the GPU works: kernels are launched, arrays copied, and work done again.

All goes into one stream, the device's default one, so that whatever was asked for first is done
first. Numba's own launches find out anew at each call what kind of arguments they got, which takes
some hundred microseconds on the host. Here that is found out once for each kind, and a launch is a
few numbers packed into a buffer and one call of the driver.

`Recording` keeps what some work launched, as a graph of the driver: to do it again is one call.

In Numba's simulator kernels are called, and a recording is a list of calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import struct
import threading

import numpy as np

from fastrnn.cuda import discovery, memory

__all__ = ["NotRecordable", "Recording", "copy", "fetch", "launch", "prepared", "send", "watched"]

# How numbers are packed, each at a multiple of 8 bytes.
FORMATS = {
    bool: "?7x", np.bool_: "?7x", int: "q", np.int64: "q", np.int32: "i4x", float: "d",
    np.float64: "d", np.float32: "f4x",
}  # fmt: skip
FREE_SHARED = 48 * 1024  # bytes of shared memory that a block has without asking


class NotRecordable(Exception):
    """Work that brings numbers to the device or back is not recorded: they would stay the same."""


class _State(threading.local):
    """What is on in a thread."""

    recording = None  # the `Recording` under way
    trips = None  # under `watched`: a list of what travelled
    ready = False  # whether the thread has the device's context


_state = _State()
_lock = threading.Lock()
_packings = {}


# -- launches -------------------------------------------------------------------


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
    key = id(kernel), tuple(kinds)
    packing = _packings.get(key)
    if packing is None:
        packing = _packings[key] = _Packing(kernel, arguments, kinds)
    packing.allow(shared)
    if once:
        return lambda: packing.launch_once(grid, block, shared, values)
    buffer = _Buffer(packing.struct)
    buffer.pack(values)
    return lambda: _launch(packing, grid, block, shared, buffer)


class _Simulated:
    """A launch in the simulator."""

    def __init__(self, kernel, grid, block, arguments, shared):
        self.kernel, self.arguments = kernel, arguments
        self.configuration = grid, block, 0, shared

    def __call__(self):
        recording = _state.recording
        if recording is None:
            self.run()
        else:
            recording.calls.append(self.run)

    def run(self):
        from numba.cuda.core import config

        before, config.CUDA_LOW_OCCUPANCY_WARNINGS = config.CUDA_LOW_OCCUPANCY_WARNINGS, 0
        try:  # a small grid is no mistake
            self.kernel[self.configuration](*self.arguments)
        finally:
            config.CUDA_LOW_OCCUPANCY_WARNINGS = before


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

    def __init__(self, kernel, arguments, kinds):
        from cuda.bindings import driver

        _make_ready()
        types = (kernel.typeof_pyval(_of_numba(argument)) for argument in arguments)
        compiled = kernel.compile(tuple(types))
        self._kernel = kernel  # so that no other gets its number
        self._compiled = compiled._codelibrary.get_cufunc()
        self.name = self._compiled.name
        self.function = driver.CUfunction(int(self._compiled.handle))
        self.struct = struct.Struct("=" + "".join(map(self._format, kinds)))
        self._buffer = _Buffer(self.struct)
        self._allowed = FREE_SHARED

    @staticmethod
    def _format(kind):
        if kind in FORMATS:
            return FORMATS[kind]
        if isinstance(kind[0], type):  # a tuple, whose parts follow
            return ""
        axes = kind[0]
        return "q" * (5 + 2 * axes)

    def allow(self, shared):
        """Let blocks take so much shared memory: for what a GPU has beyond 48 KB, one must ask."""
        if shared <= self._allowed:
            return
        from cuda.bindings import driver

        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        kernel = driver.CUkernel(int(self._compiled.handle))
        device = self._compiled.device.id
        _check(driver.cuKernelSetAttribute(attribute, shared, kernel, device), self.name)
        self._allowed = shared

    def launch_once(self, grid, block, shared, values):
        with _lock:  # one buffer for all
            self._buffer.pack(values)
            _launch(self, grid, block, shared, self._buffer)


def _launch(packing, grid, block, shared, buffer):
    from cuda.bindings import driver

    _make_ready()
    found = driver.cuLaunchKernel(
        packing.function, *grid, *block, shared, _stream(), buffer.address, 0
    )
    if found[0]:
        _check(found, packing.name)


def _make_ready():
    """Give this thread the device's context."""
    if not _state.ready:
        from numba import cuda

        cuda.current_context()
        _state.ready = True


def _stream():
    """The stream to work in: the default one, unless a recording is under way."""
    from cuda.bindings import driver

    recording = _state.recording
    return driver.CUstream(0) if recording is None else recording.stream


def _check(found, what):
    """The results of a call of the driver, without its status; RuntimeError for a bad one."""
    status, *results = found
    if status:
        raise RuntimeError(f"fastrnn.cuda: {what}: the NVIDIA driver says {status.name}.")
    return results[0] if len(results) == 1 else results


# -- copies ---------------------------------------------------------------------


def send(target, host):
    """Copy a flat array of the host to a `DeviceArray` of the same size."""
    _travels("to the device", host.size)
    if discovery.simulated():
        target.flat.copy_to_device(host)
        return
    from cuda.bindings import driver

    _make_ready()
    found = driver.cuMemcpyHtoDAsync(target.pointer, host.ctypes.data, host.nbytes, _stream())
    _check(found, "a copy")


def fetch(source):
    """The elements of an array of Numba, on the host. Waits for all that was asked for before."""
    _travels("to the host", source.size)
    return source.copy_to_host()


def copy(target, source):
    """Copy one `DeviceArray` to another of the same size and type."""
    if discovery.simulated():
        recording, (target, source) = _state.recording, (target.flat, source.flat)
        if recording is None:
            target.copy_to_device(source)
        else:
            recording.calls.append(lambda: target.copy_to_device(source))
        return
    from cuda.bindings import driver

    _make_ready()
    found = driver.cuMemcpyDtoDAsync(target.pointer, source.pointer, source.nbytes, _stream())
    if found[0]:
        _check(found, "a copy")


def _travels(where, size):
    if _state.recording is not None:
        raise NotRecordable(f"{size} numbers go {where}")
    if _state.trips is not None:
        _state.trips.append((where, size))


@contextlib.contextmanager
def watched():
    """Inside, a list that grows: where each copy between host and device went, and how many numbers
    it had."""
    before, _state.trips = _state.trips, []
    try:
        yield _state.trips
    finally:
        _state.trips = before


# -- work that is done again ----------------------------------------------------


class Recording:
    """What a function launched and copied on the device, to be done again; so far it is not done.

    Arrays that it made have memory of their own, which each run writes anew. All kernels must have
    been launched before: the driver would load them in the middle.

    Parameters
    ----------
    function : callable, without arguments

    Attributes
    ----------
    result
        What the function returned. Arrays in it have their values after each call.

    Raises
    ------
    NotRecordable
        If the function brings numbers to the device or back.

    Examples
    --------
    >>> from fastrnn import cuda
    >>> from fastrnn.cuda.device_array import on_device
    >>> if cuda.is_available():
    ...     a = on_device(np.array([1.0, 2.0]))
    ...     again = Recording(lambda: a + a)
    ...     again()
    ...     a[...] = np.array([5.0, 6.0])
    ...     again()
    ...     found = np.asarray(again.result)
    ... else:
    ...     found = np.array([10.0, 12.0])
    >>> found
    array([10., 12.])
    """

    def __init__(self, function):
        self.calls, self.stream, self._graph = [], None, None
        self._pool, self._kept = memory.Pool(), {}
        if _state.recording is not None:
            raise NotRecordable("inside another recording")
        with self._capturing(), memory.using(self._pool, self.keep):
            self.result = function()

    def __call__(self):
        """Do it again."""
        if self._graph is None:
            for call in self.calls:
                call()
            return
        from cuda.bindings import driver

        _make_ready()
        _check(driver.cuGraphLaunch(self._graph, driver.CUstream(0)), "a recorded graph")

    def __del__(self):
        if memory is None or not hasattr(self, "_kept"):  # Python is on its way out
            return
        if self._graph is not None:
            from cuda.bindings import driver

            driver.cuGraphExecDestroy(self._graph)
        self._pool.close()

    def keep(self, owner):
        """Keep memory that recorded work uses, for as long as this lives."""
        if getattr(owner, "pool", None) is not self._pool:
            self._kept[id(owner)] = owner

    @contextlib.contextmanager
    def _capturing(self):
        _state.recording = self
        try:
            if discovery.simulated():
                yield
            else:
                with self._captured_by_the_driver():
                    yield
        finally:
            _state.recording = None

    @contextlib.contextmanager
    def _captured_by_the_driver(self):
        from cuda.bindings import driver

        _make_ready()
        # Work elsewhere goes on meanwhile: the stream does not wait for the default one, nor may
        # memory that is asked for end the capture.
        kind = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self.stream = _check(driver.cuStreamCreate(kind), "a stream")
        try:
            _check(driver.cuStreamBeginCapture(self.stream, mode), "a recording")
            try:
                yield
            finally:
                found = driver.cuStreamEndCapture(self.stream)
            graph = _check(found, "a recording")
            try:
                self._graph = _check(driver.cuGraphInstantiate(graph, 0), "a recording")
            finally:
                driver.cuGraphDestroy(graph)
        finally:
            driver.cuStreamDestroy(self.stream)
            self.stream = None
