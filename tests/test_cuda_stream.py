"""How the driver is told what of a recorded step waits for what; the driver is played."""

import ctypes
import struct
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed (make test-cuda)")
driver = pytest.importorskip("cuda.bindings.driver")

from fastrnn.cuda import launches, memory, stream  # noqa: E402
from fastrnn.cuda.hazards import Access  # noqa: E402
from fastrnn.cuda.recording import Recording, _Branches  # noqa: E402

ADDED, REFUSED = driver.CUresult.CUDA_SUCCESS, driver.CUresult.CUDA_ERROR_NOT_SUPPORTED


class Capture:
    """A stream that is being recorded: a node depends on those that were set, or on the last."""

    def __init__(self, monkeypatch, refuses=()):
        self.edges, self.next = [], []
        self.refuses = refuses
        # Both names that a function had, by the version of CUDA.
        for names, function in (
            (("cuStreamUpdateCaptureDependencies", "cuStreamUpdateCaptureDependencies_v2"),
             self.set),
            (("cuStreamGetCaptureInfo", "cuStreamGetCaptureInfo_v3"), self.ask),
        ):
            monkeypatch.setattr(driver, names[0], function)
            if hasattr(driver, names[1]):
                monkeypatch.setattr(driver, names[1], function)

    def add(self):
        self.edges.append(list(self.next))
        self.next = [len(self.edges) - 1]

    def set(self, stream, nodes, edges, count, how):
        if "set" in self.refuses:
            return (REFUSED,)
        if "no set" in self.refuses:
            raise RuntimeError('Function "cuStreamUpdateCaptureDependencies_v2" not found')
        assert stream == "stream" and edges is None and count == len(nodes) > 0 and how == 1
        self.next = list(nodes)
        return (ADDED,)

    def ask(self, stream):
        if "no ask" in self.refuses:
            raise RuntimeError('Function "cuStreamGetCaptureInfo_v3" not found')
        if "ask" in self.refuses:
            return REFUSED, None, None, None, None, None, None
        return ADDED, "active", 1, "graph", list(self.next), None, len(self.next)


def recorded(capture, waits):
    branches = _Branches()
    for numbers in waits:
        branches.next_waits_for("stream", numbers)
        capture.add()
        branches.note("stream")
    return capture.edges


def test_each_waits_for_what_it_must(monkeypatch):
    """What need not wait at all comes after the first."""
    found = recorded(Capture(monkeypatch), [[], [], [0, 1], [1], [], [2, 3]])
    assert found == [[], [0], [0, 1], [1], [0], [2, 3]]


@pytest.mark.parametrize("refuses", ["ask", "set", "no ask", "no set"])
def test_a_driver_that_cannot_be_told_keeps_the_order(monkeypatch, refuses):
    found = recorded(Capture(monkeypatch, {refuses}), [[], [], [0], []])
    assert found == [[], [0], [1], [2]]


def test_a_driver_that_refuses_later_is_heard(monkeypatch):
    capture = Capture(monkeypatch)
    branches = _Branches()
    for numbers in ([], []):
        branches.next_waits_for("stream", numbers)
        capture.add()
        branches.note("stream")
    capture.refuses = {"set"}
    with pytest.raises(RuntimeError, match="a recording: the NVIDIA driver says .*NOT_SUPPORTED"):
        branches.next_waits_for("stream", [0])


# -- where a kernel reads and writes ----------------------------------------------


class OfNumba:
    """An array of Numba on a device, at an address."""

    def __init__(self, address, shape, strides, dtype=np.float32):
        self.shape, self.strides, self.dtype = shape, strides, np.dtype(dtype)
        self.ndim, self.size = len(shape), int(np.prod(shape))
        self.__cuda_array_interface__ = {"data": (address, False)}

    def is_c_contiguous(self):
        return True


def test_where_a_launch_reads_and_writes_is_known_from_what_is_packed():
    own = SimpleNamespace(
        memory=None, size=6, dtype=np.dtype(np.float64), pointer=1000
    )  # as a `DeviceArray`
    nothing = OfNumba(77, (1,), (4,))
    launches._nothing[77] = nothing
    arguments = (
        3, own, (OfNumba(2000, (4, 3), (40, 4)), 5, (OfNumba(3000, (0, 3), (12, 4)),)), True,
        nothing, OfNumba(4000, (2,), (4,), np.int32), np.float32(1),
    )
    kinds, values = [], []
    for argument in arguments:
        launches._flatten(argument, kinds, values)
    packing = object.__new__(launches._Packing)
    packing._kernel = SimpleNamespace(writes={1, 2})
    packing._places = packing._places_of_arrays(arguments)
    try:
        assert packing.accesses(values) == [
            Access(1000, 1048, True),
            Access(2000, 2000 + 3 * 40 + 2 * 4 + 4, True), Access(3000, 3000, True),
            Access(4000, 4008, False),
        ]
    finally:
        del launches._nothing[77]


@pytest.mark.parametrize("numbas, same", [
    ([ctypes.c_int64(5), 0, 0, 3, 8, 1000, 3, 8], True), ([5, 0, 3, 8, 1000, 3, 8], False),
    ([ctypes.c_int64(5), 0, 0, 3, 8, 1000, 8, 3], False), (None, False),
])  # fmt: skip
def test_arguments_are_packed_as_numba_would(numbas, same):
    packing = object.__new__(launches._Packing)
    packing.struct = struct.Struct("=8q")
    compiled = SimpleNamespace()
    if numbas is not None:
        compiled._prepare_args = lambda kind, argument, queue, back, found: found.extend(argument)
    given = compiled, ("of array",), (numbas,), [5, 0, 0, 3, 8, 1000, 3, 8]
    if same:
        packing._check_packing(*given)
        return
    with pytest.raises(RuntimeError, match=r"numba-cuda \S+ hands arguments .*pip install"):
        packing._check_packing(*given)


def test_launches_stay_on_the_gpu_where_models_lie(monkeypatch):
    monkeypatch.setattr(stream, "_are_several", lambda: True)
    monkeypatch.setattr(stream._state, "ready", True)
    monkeypatch.setattr(stream, "device", lambda: 1)
    monkeypatch.setattr(stream, "_at_home", None)
    assert stream.make_ready() == 1
    stream.stay()
    monkeypatch.setattr(stream, "device", lambda: 0)
    with pytest.raises(RuntimeError, match=r"expected GPU 1, .*; got GPU 0\. Make it current"):
        stream.make_ready()


def test_a_driver_without_memory_gets_back_what_lies_unused(monkeypatch):
    released, full = [], driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY
    monkeypatch.setattr(memory, "release", lambda: released.append(1))

    def again(answer):
        return stream.check_again((full,), "a graph", lambda *given: (answer, *given), "given")

    assert again(ADDED) == "given"
    with pytest.raises(MemoryError, match=r"no memory left for a graph\. Fewer rows .*batch_size"):
        again(full)
    assert len(released) == 2


@pytest.mark.parametrize("status, destroyed", [(ADDED, ["graph"]), (REFUSED, [])])
def test_a_recording_that_is_given_up_leaves_no_graph(monkeypatch, status, destroyed):
    gone = []
    for name, answer in {
        "cuStreamCreate": (ADDED, "stream"), "cuStreamBeginCapture": (ADDED,),
        "cuStreamEndCapture": (status, "graph"), "cuStreamDestroy": (ADDED,),
    }.items():
        monkeypatch.setattr(driver, name, lambda *_, answer=answer: answer)
    monkeypatch.setattr(driver, "cuGraphDestroy", gone.append)
    monkeypatch.setattr(stream.discovery, "simulated", lambda: False)
    monkeypatch.setattr(stream, "make_ready", lambda: 0)
    with pytest.raises(stream.NotRecordable):
        Recording(lambda: stream._travels("to the host", 1))
    assert gone == destroyed


def test_memory_that_numpy_did_not_allocate_is_not_taken_for_pageable():
    own = np.zeros((2, 3))
    for array in (own, own[1:].reshape(-1), np.ascontiguousarray(own.T)):
        assert stream._is_numpys(array)
    others = np.frombuffer(bytearray(8), np.int32)
    for array in (others, others[1:], others.reshape(2, 1)):
        assert not stream._is_numpys(array)
