"""A function of row numbers that is recorded and done again: a training step, batch after batch.

`Repeated` finds out whether it can be recorded, and calls it either way. `Results` are what a
recording gives, in arrays that outlive the next time.
"""

from __future__ import annotations

import collections

import numpy as np

from fastrnn.cuda import stream
from fastrnn.cuda.device_array import DeviceArray, empty, on_device
from fastrnn.cuda.recording import Recording
from fastrnn.masks import StepMask

__all__ = ["Repeated", "Results"]


class RowNumbers:
    """Row numbers on the device, checked.

    Those of a part of a longer array, as the order of an epoch is, go there with all of it.

    Parameters
    ----------
    rows : int
        How many rows there are.
    """

    def __init__(self, rows):
        self.limits = 0, rows - 1
        self._whole = self._whole_there = None

    def __call__(self, index):
        whole = index.base
        if not (type(whole) is np.ndarray and whole.ndim == 1 and whole.dtype == index.dtype
                and whole.flags.c_contiguous and index.flags.c_contiguous):
            return self._sent(index)
        if whole is not self._whole:
            self._whole, self._whole_there = whole, self._sent(whole)
        start = (index.ctypes.data - whole.ctypes.data) // index.itemsize
        return self._whole_there.view(start, index.shape)

    def _sent(self, index):
        least, largest = self.limits
        if index.size and not (least <= index.min() and index.max() <= largest):
            raise IndexError(
                f"row numbers from {index.min()} to {index.max()} for {largest + 1} rows"
            )
        return on_device(index.astype(np.int32)).with_twin(None)


class Repeated:
    """A function of row numbers that is recorded and done again: `Engine.repeated`.

    For each number of rows the first calls show whether anything but row numbers travels between
    host and device each time; the very first may bring what stays there. If nothing does, the next
    call is recorded, and it and those that follow are each one launch of a graph.
    """

    def __init__(self, function, rows):
        self._function, self._numbers = function, RowNumbers(rows)
        # By the number of rows: how it is called, or what is known so far.
        self._ways = collections.defaultdict(lambda: "unknown")

    def __call__(self, index):
        index = np.asarray(index)
        way = self._ways[len(index)]
        if way in ("unknown", "travels"):
            numbers = self._numbers(index)
            with stream.watched() as trips:
                result = self._function(numbers)
            if not trips:
                way = "stays"
            else:  # the first time what stays the same is brought as well
                way = "travels" if way == "unknown" else self._function
            self._ways[len(index)] = way
            return result
        if way == "stays":
            way = self._ways[len(index)] = recorded(self._function, self._numbers, index.shape)
        return way(index)


def recorded(function, row_numbers, shape):
    """A function that does what ``function`` does with row numbers of a shape, as a recording.

    What it holds does not hold it: the device's memory is free again when nobody has it any more.
    Where the step cannot be recorded, or there is no memory to do so, the function itself.
    """
    numbers = empty(shape, np.int32, limits=row_numbers.limits)
    try:
        again = Recording(lambda: function(numbers))
    except (stream.NotRecordable, MemoryError):
        return function
    results = Results(again.result)

    def step(index):
        stream.copy(numbers, row_numbers(index))
        again()
        return results.now()

    return step


class Results:
    """What a recording gives each time, in arrays that the next time does not write to.

    Those of many times lie together, and go to the host together when somebody asks for one: as
    many as have `MOST` bytes, or those of one time.
    """

    TIMES, MOST = 128, 1 << 26

    def __init__(self, result):
        self._result, self._rolls, self._time = result, {}, 0
        self._times = min(max(self.MOST // max(self._bytes(result), 1), 1), self.TIMES)

    def now(self):
        """The results, after the work was done again."""
        place = self._time % self._times
        if place == 0:
            self._rolls = {}  # whoever holds parts of them keeps them
        self._time += 1
        return self._kept(self._result, place)

    def _bytes(self, result):
        """Of the arrays in a result; bounds of masks are small."""
        if isinstance(result, (tuple, list)):
            return sum(map(self._bytes, result))
        return result.nbytes if type(result) is DeviceArray else 0

    def _kept(self, result, place):
        if type(result) is DeviceArray and result.twin is None and result.size:
            roll = self._rolls.get(id(result))
            if roll is None:
                roll = self._rolls[id(result)] = Roll(self._times, result)
            return roll.put(place, result)
        if isinstance(result, StepMask):
            bounds = (self._kept(bound, place) for bound in (result.start, result.stop))
            return StepMask(*bounds, result.steps, result.pattern)
        if isinstance(result, (tuple, list)):
            parts = [self._kept(part, place) for part in result]
            return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
        return result


class Roll:
    """Arrays of one shape side by side, put there one after the other."""

    def __init__(self, count, like):
        self._there, self._here, self._filled, self._fetched = (
            empty((count, *like.shape), like.dtype), None, 0, 0
        )

    def put(self, place, array):
        """A copy of an array on the device."""
        shape, self._filled = array.shape, place + 1
        part = self._there.view(place * array.size, shape, lambda: self._host(place))
        stream.copy(part, array)
        return part

    def _host(self, place):
        if place >= self._fetched:
            self._here, self._fetched = self._there[: self._filled].host(), self._filled
        return self._here[place]
