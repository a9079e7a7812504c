"""Random numbers that are drawn on the device, also by work that is recorded and done again.

The numbers of a call follow from a seed and the number of the call (`fastrnn.random`). A recording
cannot be told that number each time; so it lies on the device, and the recording counts it on.
"""

from __future__ import annotations

import weakref

import numpy as np

from fastrnn.cuda import launches, stream

__all__ = ["next_call"]

_on_device = weakref.WeakKeyDictionary()


class _Calls:
    """How many calls have drawn from a `fastrnn.random.Stream`, on the device.

    Made before anything is recorded: recordings overwrite memory of their own, and cannot load the
    kernel that counts.
    """

    def __init__(self):
        from fastrnn.cuda.device_array import empty

        self.there = empty((1,), np.int64)
        self.known = None  # what lies there; None: nobody knows
        self.advance(0)

    def advance(self, count):
        from fastrnn.cuda.kernels.random import advance

        launches.launch(advance(), 1, 1, (self.there, count))

    def bring(self, calls):
        if self.known != calls:
            stream.send(self.there, np.array([calls], np.int64))


class _Drawn:
    """What a recording draws from a stream each time."""

    def __init__(self, source):
        self.source, self.before, self.count = source, source.calls, 0
        self.calls = _on_device[source]

    def end(self):
        """The last of what is recorded."""
        self.count = self.source.calls - self.before
        self.calls.advance(self.count)

    def undo(self):
        """Recording draws nothing yet."""
        self.source.calls = self.before

    def begin_again(self):
        self.calls.bring(self.source.calls)
        self.calls.known = None  # until it is done: somebody may interrupt it

    def ended_again(self):
        self.source.calls += self.count
        self.calls.known = self.source.calls


def next_call(source):
    """What tells a kernel the next call of a `fastrnn.random.Stream`.

    Returns
    -------
    calls : int64 `DeviceArray` of one element, or None
    call : int
        The call, counted from there on, if there is one.
    """
    recording = stream.under_way()
    if source not in _on_device:
        if recording is not None:
            raise stream.NotRecordable("nobody has drawn from this stream before")
        _on_device[source] = _Calls()
    if recording is not None and source not in recording.repeats:
        recording.repeats[source] = _Drawn(source)
    source.calls += 1
    if recording is None:
        return None, source.calls
    drawn = recording.repeats[source]
    return drawn.calls.there, source.calls - drawn.before
