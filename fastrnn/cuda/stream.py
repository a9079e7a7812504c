"""The order in which the GPU works: kernels are launched, arrays copied, and work done again.

All goes into one stream, the device's default one, so that whatever was asked for first is done
first. Numba's own launches find out anew at each call what kind of arguments they got, which takes
some hundred microseconds on the host. Here that is found out once for each kind, and a launch is a
few numbers packed into a buffer and one call of the driver.

`Recording` keeps what some work launched, as a graph of the driver: to do it again is one call. In
it only that waits which has to: kernels name the arguments that they write to, and so it is known
what would be seen of another order (`fastrnn.cuda.hazards`).

In Numba's simulator kernels are called, and a recording is a list of calls.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import importlib.metadata
import struct
import threading

import numpy as np

from fastrnn.cuda import discovery, memory
from fastrnn.cuda.errors import OUT_OF_MEMORY, failure, reported
from fastrnn.cuda.hazards import Access, Hazards

__all__ = ["NotRecordable", "Recording", "copy", "device", "fetch", "launch", "nothing", "prepared",
           "send", "sent", "stay", "under_way", "watched"]

# How numbers are packed, each at a multiple of 8 bytes.
FORMATS = {
    bool: "?7x", np.bool_: "?7x", int: "q", np.int64: "q", np.int32: "i4x", np.uint64: "Q",
    float: "d", np.float64: "d", np.float32: "f4x",
}  # fmt: skip
FREE_SHARED = 48 * 1024  # bytes of shared memory that a block has without asking
# Bytes that a recording takes anew before it uses memory again: until then nothing waits only for
# memory.
FRESH = 256 << 20


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
_nothing = {}  # by address
_at_home = None  # the number of the GPU to `stay` on


@functools.cache  # for all GPUs: nobody reads it
def nothing(axes, dtype):
    """An array of Numba on the device for an argument that a kernel does not look at."""
    array = memory.allocated((1,) * axes, dtype)
    _nothing[_bytes_of(array)[0]] = array
    return array


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
    key = id(kernel), _make_ready(), tuple(kinds)
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
        recording = _state.recording
        if recording is None:
            self.run()
        else:
            recording.add(self.run, self.accesses())

    def accesses(self):
        """The `Access` of each array among the arguments."""
        return [
            Access(*_bytes_of(array), place in self.kernel.writes)
            for place, argument in enumerate(self.arguments)
            for array in _arrays_in(argument) if _bytes_of(array)[0] not in _nothing
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


def _bytes_of(array):
    """From which address on, and up to which, the elements of an array of Numba lie."""
    if discovery.simulated():
        begin = array.__array_interface__["data"][0]
    else:
        begin = array.__cuda_array_interface__["data"][0]
    return begin, begin + _reach(array.shape, array.strides, array.dtype.itemsize)


def _reach(shape, strides, itemsize):
    """Bytes from the first to behind the last element."""
    if 0 in shape:
        return 0
    return itemsize + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))


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
                end = begin + _reach(shape, strides, itemsize)
                found.append(Access(begin, end, writes))
        return found

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
            _launch(self, grid, block, shared, self._buffer, values)


def _launch(packing, grid, block, shared, buffer, values):
    from cuda.bindings import driver

    _make_ready()  # for it may have been prepared in another thread
    recording = _state.recording
    if recording is not None:
        recording.branch(packing.accesses(values))
    arguments = packing.function, *grid, *block, shared, _stream(), buffer.address, 0
    found = driver.cuLaunchKernel(*arguments)
    if found[0]:
        _check_again(found, packing.name, driver.cuLaunchKernel, *arguments)
    if recording is not None:
        recording.branched()


def stay():
    """From now on work on the GPU that is current now alone: what is kept lies there."""
    global _at_home
    _at_home = device()


def device():
    """The number of the current GPU."""
    if not _are_several():
        return 0
    from numba import cuda

    with reported("a context"):
        return cuda.get_current_device().id


@functools.cache
def _are_several():
    return not discovery.simulated() and len(discovery.ask_driver().capabilities) > 1


def _make_ready():
    """Give this thread the device's context; RuntimeError if it is not the one to `stay` on.

    Returns
    -------
    int
        The number of the current GPU.
    """
    if not _state.ready:
        from numba import cuda

        with reported("a context"):
            cuda.current_context() if _at_home is None else cuda.select_device(_at_home)
        _state.ready = True
    current = device()
    if _at_home not in (None, current):
        raise RuntimeError(
            f"fastrnn.cuda: expected GPU {_at_home}, where models lie, to be the current one; got "
            f"GPU {current}. Make it current again, or choose one for the whole process "
            "(CUDA_VISIBLE_DEVICES)."
        )
    return current


def under_way():
    """The `Recording` that is being made in this thread, or None."""
    return _state.recording


def _stream():
    """The stream to work in: the default one, unless a recording is under way."""
    from cuda.bindings import driver

    recording = _state.recording
    return driver.CUstream(0) if recording is None else recording.stream


def _check(found, what):
    """The results of a call of the driver, without its status; a bad one raises `failure`."""
    status, *results = found
    if status:
        raise failure(what, status)
    return results[0] if len(results) == 1 else results


def _check_again(found, what, call, *arguments):
    """As `_check`; a driver that has no memory left gets what lies here unused, and is asked again.
    """
    if found[0] == OUT_OF_MEMORY:
        gc.collect()
        memory.release()
        found = call(*arguments)
    return _check(found, what)


# -- copies ---------------------------------------------------------------------


def sent(host):
    """An array of Numba on the device with the elements of one of the host, C-contiguous."""
    _travels("to the device", host.size)
    found = memory.allocated(host.shape, host.dtype)
    if host.size:
        with reported("a copy"):
            found.copy_to_device(host)
    return found


def send(target, host):
    """Copy a flat array of the host to a `DeviceArray` of the same size."""
    _travels("to the device", host.size)
    if discovery.simulated():
        target.flat.copy_to_device(host)
        return
    from cuda.bindings import driver

    _make_ready()
    # Returns when the host's memory may be written to again, also where it is pinned.
    _check(driver.cuMemcpyHtoD(target.pointer, host.ctypes.data, host.nbytes), "a copy")


def fetch(source):
    """The elements of an array of Numba, on the host. Waits for all that was asked for before."""
    _travels("to the host", source.size)
    with reported("a copy"):
        return source.copy_to_host()


def copy(target, source):
    """Copy one `DeviceArray` to another of the same size and type."""
    if discovery.simulated():
        recording, (target, source) = _state.recording, (target.flat, source.flat)
        if recording is None:
            target.copy_to_device(source)
        else:
            accesses = Access(*_bytes_of(source), False), Access(*_bytes_of(target), True)
            recording.add(lambda: target.copy_to_device(source), accesses)
        return
    from cuda.bindings import driver

    _make_ready()
    to, begin, size, recording = target.pointer, source.pointer, source.nbytes, _state.recording
    if recording is not None:
        recording.branch((Access(begin, begin + size, False), Access(to, to + size, True)))
    found = driver.cuMemcpyDtoDAsync(to, begin, size, _stream())
    if found[0]:
        _check(found, "a copy")
    if recording is not None:
        recording.branched()


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
    been launched before: the driver would load them in the middle. What does not need what was
    launched before it does not wait for it.

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
        self.calls, self.waits, self.stream, self._graph = [], [], None, None
        self._hazards, self._branches = Hazards(), _Branches()
        self._pool, self._kept = memory.Pool(FRESH), {}
        # What else is to be done each time, by what it belongs to (`fastrnn.cuda.draws`).
        self.repeats = {}
        if _state.recording is not None:
            raise NotRecordable("inside another recording")
        try:
            with self._capturing(), memory.using(self._pool, self.keep):
                self.result = function()
                for repeat in self.repeats.values():
                    repeat.end()
        finally:
            for repeat in self.repeats.values():
                repeat.undo()

    def __call__(self):
        """Do it again."""
        for repeat in self.repeats.values():
            repeat.begin_again()
        self._launch()
        for repeat in self.repeats.values():
            repeat.ended_again()

    def _launch(self):
        if self._graph is None:
            for call in self.calls:
                call()
            return
        from cuda.bindings import driver

        _make_ready()
        arguments = self._graph, driver.CUstream(0)
        found = driver.cuGraphLaunch(*arguments)
        if found[0]:
            _check_again(found, "a recorded graph", driver.cuGraphLaunch, *arguments)

    def __del__(self):
        if memory is None or not hasattr(self, "_kept"):  # Python is on its way out
            return
        if self._graph is not None:
            from cuda.bindings import driver

            driver.cuGraphExecDestroy(self._graph)
        self._pool.close()

    def keep(self, owner):
        """Keep memory that recorded work uses, for as long as this lives."""
        if owner.pool is not self._pool:
            self._kept[id(owner)] = owner

    def add(self, call, accesses):
        """In the simulator: ``call`` is part of this, and waits for ``waits[...]``."""
        self.calls.append(call)
        self.waits.append(self._hazards.add(accesses))

    def branch(self, accesses):
        """What the driver records next waits for no more than it must."""
        self._branches.next_waits_for(self.stream, self._hazards.add(accesses))

    def branched(self):
        """The driver has recorded it."""
        self._branches.note(self.stream)

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
                self._branches.next_waits_for(self.stream, self._hazards.last())
            except BaseException:
                status, graph = driver.cuStreamEndCapture(self.stream)
                if not status:
                    driver.cuGraphDestroy(graph)
                raise
            graph = _check(driver.cuStreamEndCapture(self.stream), "a recording")
            try:
                arguments = "a recording", driver.cuGraphInstantiate, graph, 0
                self._graph = _check_again(driver.cuGraphInstantiate(graph, 0), *arguments)
            finally:
                driver.cuGraphDestroy(graph)
        finally:
            driver.cuStreamDestroy(self.stream)
            self.stream = None


class _Branches:
    """The nodes of a graph of the driver that is being recorded, and what the next one waits for.

    Left to itself each waits for the one before. A driver that cannot be told otherwise when it
    is asked for the first time is not asked again.
    """

    def __init__(self):
        self._nodes, self._can = [], True

    def next_waits_for(self, stream, numbers):
        """The next node waits for those with these numbers; at least for the first."""
        from cuda.bindings import driver

        if not self._can or not self._nodes:
            return
        nodes = [self._nodes[number] for number in numbers or [0]]
        how = driver.CUstreamUpdateCaptureDependencies_flags.CU_STREAM_SET_CAPTURE_DEPENDENCIES
        # Those that know edges have names of their own before CUDA 13.
        tell = getattr(driver, "cuStreamUpdateCaptureDependencies_v2",
                       driver.cuStreamUpdateCaptureDependencies)
        self._done(lambda: tell(stream, nodes, None, len(nodes), int(how)))

    def note(self, stream):
        """A node has been recorded."""
        from cuda.bindings import driver

        if self._can:
            ask = getattr(driver, "cuStreamGetCaptureInfo_v3", driver.cuStreamGetCaptureInfo)
            found = self._done(lambda: ask(stream))
            if self._can:
                self._nodes.append(found[3][0])

    def _done(self, call):
        """The results of a call of the driver. One that it does not know raises RuntimeError."""
        try:
            return _check(call(), "a recording")
        except RuntimeError:
            if len(self._nodes) > 1:
                raise
            self._can = False
            return None
