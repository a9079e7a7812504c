"""Work that is done again: what some function launched, as a graph of the driver.

To do it again is one call. In it only that waits which has to: kernels name the arguments that they
write to, and so it is known what would be seen of another order (`fastrnn.cuda.hazards`). In
Numba's simulator a recording is a list of calls.
"""

from __future__ import annotations

import contextlib

from fastrnn.cuda import discovery, memory, stream
from fastrnn.cuda.hazards import Hazards

__all__ = ["Recording"]

# Bytes that a recording takes anew before it uses memory again: until then nothing waits only for
# memory.
FRESH = 256 << 20


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
    >>> import numpy as np
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
        if stream.under_way() is not None:
            raise stream.NotRecordable("inside another recording")
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

        stream.make_ready()
        arguments = self._graph, driver.CUstream(0)
        found = driver.cuGraphLaunch(*arguments)
        if found[0]:
            stream.check_again(found, "a recorded graph", driver.cuGraphLaunch, *arguments)

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
        with stream.into(self):
            if discovery.simulated():
                yield
            else:
                with self._captured_by_the_driver():
                    yield

    @contextlib.contextmanager
    def _captured_by_the_driver(self):
        from cuda.bindings import driver

        stream.make_ready()
        # Work elsewhere goes on meanwhile: the stream does not wait for the default one, nor may
        # memory that is asked for end the capture.
        kind = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
        self.stream = stream.check(driver.cuStreamCreate(kind), "a stream")
        try:
            stream.check(driver.cuStreamBeginCapture(self.stream, mode), "a recording")
            try:
                yield
                self._branches.next_waits_for(self.stream, self._hazards.last())
            except BaseException:
                status, graph = driver.cuStreamEndCapture(self.stream)
                if not status:
                    driver.cuGraphDestroy(graph)
                raise
            graph = stream.check(driver.cuStreamEndCapture(self.stream), "a recording")
            try:
                arguments = "a recording", driver.cuGraphInstantiate, graph, 0
                self._graph = stream.check_again(driver.cuGraphInstantiate(graph, 0), *arguments)
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

    def next_waits_for(self, queue, numbers):
        """The next node waits for those with these numbers; at least for the first."""
        from cuda.bindings import driver

        if not self._can or not self._nodes:
            return
        nodes = [self._nodes[number] for number in numbers or [0]]
        how = driver.CUstreamUpdateCaptureDependencies_flags.CU_STREAM_SET_CAPTURE_DEPENDENCIES
        # Those that know edges have names of their own before CUDA 13.
        tell = getattr(driver, "cuStreamUpdateCaptureDependencies_v2",
                       driver.cuStreamUpdateCaptureDependencies)
        self._done(lambda: tell(queue, nodes, None, len(nodes), int(how)))

    def note(self, queue):
        """A node has been recorded."""
        from cuda.bindings import driver

        if self._can:
            ask = getattr(driver, "cuStreamGetCaptureInfo_v3", driver.cuStreamGetCaptureInfo)
            found = self._done(lambda: ask(queue))
            if self._can:
                self._nodes.append(found[3][0])

    def _done(self, call):
        """The results of a call of the driver. One that it does not know raises RuntimeError."""
        try:
            return stream.check(call(), "a recording")
        except RuntimeError:
            if len(self._nodes) > 1:
                raise
            self._can = False
            return None
