"""The order in which the GPU works: one stream, into which all work goes, and copies.

It is the device's default stream, so that whatever was asked for first is done first. While a
`fastrnn.cuda.recording.Recording` is made in a thread, that thread's work goes into a stream of the
recording's own, and is not done.

Kernels are launched by `fastrnn.cuda.launches`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import threading

import numpy as np

from fastrnn.cuda import discovery, memory
from fastrnn.cuda.errors import OUT_OF_MEMORY, failure, reported
from fastrnn.cuda.hazards import Access, access_of

__all__ = [
    "NotRecordable", "check", "check_again", "copy", "current", "device", "fetch", "into",
    "make_ready", "send", "sent", "stay", "under_way", "watched",
]


class NotRecordable(Exception):
    """Work that brings numbers to the device or back is not recorded: they would stay the same."""


class _State(threading.local):
    """What is on in a thread."""

    recording = None  # the `Recording` under way
    trips = None  # under `watched`: a list of what travelled
    ready = False  # whether the thread has the device's context


_state = _State()
_at_home = None  # the number of the GPU to `stay` on


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


def make_ready():
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


@contextlib.contextmanager
def into(recording):
    """Inside, this thread's work goes into a `Recording`."""
    _state.recording = recording
    try:
        yield
    finally:
        _state.recording = None


def current():
    """The stream to work in: the default one, unless a recording is under way."""
    from cuda.bindings import driver

    recording = _state.recording
    return driver.CUstream(0) if recording is None else recording.stream


def check(found, what):
    """The results of a call of the driver, without its status; a bad one raises `failure`."""
    status, *results = found
    if status:
        raise failure(what, status)
    return results[0] if len(results) == 1 else results


def check_again(found, what, call, *arguments):
    """As `check`; a driver that has no memory left gets what lies here unused, and is asked again.
    """
    if found[0] == OUT_OF_MEMORY:
        gc.collect()
        memory.release()
        found = call(*arguments)
    return check(found, what)


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

    make_ready()
    places = target.pointer, host.ctypes.data, host.nbytes
    if _is_numpys(host):  # pageable: the driver has read it when it returns, and waits for nobody
        found = driver.cuMemcpyHtoDAsync(*places, current())
    else:  # others pin memory, which would be read some time later
        found = driver.cuMemcpyHtoD(*places)
    check(found, "a copy")


def _is_numpys(host):
    """Whether NumPy allocated an array's memory."""
    while isinstance(host.base, np.ndarray):
        host = host.base
    return host.base is None


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
            accesses = access_of(source, False), access_of(target, True)
            recording.add(lambda: target.copy_to_device(source), accesses)
        return
    from cuda.bindings import driver

    make_ready()
    to, begin, size, recording = target.pointer, source.pointer, source.nbytes, _state.recording
    if recording is not None:
        recording.branch((Access(begin, begin + size, False), Access(to, to + size, True)))
    found = driver.cuMemcpyDtoDAsync(to, begin, size, current())
    if found[0]:
        check(found, "a copy")
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


