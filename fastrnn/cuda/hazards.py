"""What of some work on shared memory has to wait for what: found from where each reads and writes.

Work that is listed in one order may go on side by side as far as nothing can tell the difference:
a reader waits for who wrote before it, a writer for who read or wrote before it. Nothing else
waits. So of a training step the gradients of the weights are computed while the chain of
sweeps goes on, and two directions are swept at once.
"""

from __future__ import annotations

from typing import NamedTuple

from fastrnn.cuda.memory import address

__all__ = ["Access", "Hazards", "access", "access_of"]


class Access(NamedTuple):
    """Bytes that some work reads, or writes as well."""

    begin: int
    end: int
    writes: bool


def access(begin, shape, strides, itemsize, writes):
    """The `Access` of an array that begins at an address, with strides in bytes.

    >>> access(1000, (2, 3), (100, 4), 4, writes=True)
    Access(begin=1000, end=1112, writes=True)
    """
    if 0 in shape:
        return Access(begin, begin, writes)
    last = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    return Access(begin, begin + last + itemsize, writes)


def access_of(array, writes):
    """The `Access` of an array of Numba."""
    return access(address(array), array.shape, array.strides, array.dtype.itemsize, writes)


class _Part:
    """Bytes, who wrote them, and who has read them since."""

    def __init__(self, begin, end):
        self.begin, self.end = begin, end
        self.writers, self.readers = [], []


class Hazards:
    """Takes pieces of work in their order, and says for each what it has to wait for.

    Examples
    --------
    >>> found = Hazards()
    >>> found.add([Access(0, 8, True)]), found.add([Access(8, 16, True)])
    ([], [])
    >>> found.add([Access(0, 4, False), Access(16, 20, True)])
    [0]
    >>> found.add([Access(0, 16, True)])
    [1, 2]
    """

    def __init__(self):
        self._parts = {}  # by (begin, end), as somebody named them; they may overlap
        self._before = []  # for each: a bit for each that it comes after

    def add(self, accesses):
        """The numbers of the earlier pieces that the next one has to wait for.

        Those that one of these waits for anyway are left out.
        """
        number, waits = len(self._before), set()
        for access in accesses:
            if access.begin < access.end:
                waits.update(self._waits(access))
        for access in accesses:
            if access.begin < access.end:
                self._note(access, number)
        direct, before = [], 0
        for other in sorted(waits, reverse=True):
            if not before >> other & 1:
                direct.append(other)
                before |= self._before[other] | 1 << other
        self._before.append(before)
        return direct[::-1]

    def last(self):
        """The numbers of those that nobody waits for."""
        waited = 0
        for before in self._before:
            waited |= before
        return [i for i in range(len(self._before)) if not waited >> i & 1]

    def _overlapping(self, access):
        return [
            part for part in self._parts.values()
            if part.begin < access.end and access.begin < part.end
        ]

    def _waits(self, access):
        for part in self._overlapping(access):
            yield from part.writers
            if access.writes:
                yield from part.readers

    def _note(self, access, number):
        own = self._parts.get(access[:2])
        if own is None:
            own = self._parts[access[:2]] = _Part(access.begin, access.end)
            self._seen(own, access, number)
        for part in self._overlapping(access):
            if access.writes and access.begin <= part.begin and part.end <= access.end:
                part.writers, part.readers = [number], []  # all of it: what was there is over
            elif part is not own or not access.writes:
                self._seen(part, access, number)

    @staticmethod
    def _seen(part, access, number):
        who = part.writers if access.writes else part.readers
        if not who or who[-1] != number:
            who.append(number)
