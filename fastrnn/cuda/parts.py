"""What an index takes of an array: some places of one axis, evenly spaced, or rows by number."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["Part", "are_rows", "part_of", "without_new_axes"]


class Part:
    """What a key of whole numbers and slices takes of one axis; all of every other.

    As (outer, n, inner): places first, first + step, ... of the axis of n.
    """

    __slots__ = ("count", "first", "inner", "n", "outer", "shape", "step")

    @property
    def together(self):
        """Whether it lies in one piece."""
        return self.outer == 1 and (self.step == 1 or self.count <= 1)

    @property
    def sizes(self):
        return self.outer, self.count, self.inner

    @property
    def place(self):
        """(n, first, step) in the array."""
        return self.n, self.first, self.step

    @property
    def whole(self):
        """(n, first, step) in an array that has nothing else."""
        return self.count, 0, 1


def part_of(key, shape):
    """The `Part` of an array of this shape that a key takes; None for other keys.

    Raises
    ------
    IndexError
        For a number that is no place on its axis, or more keys than axes.
    """
    keys = key if isinstance(key, tuple) else (key,)
    if not all(
        k is Ellipsis or isinstance(k, (slice, int, np.integer)) and not isinstance(k, bool)
        for k in keys
    ) or sum(k is Ellipsis for k in keys) > 1:
        return None
    if Ellipsis in keys:
        place = keys.index(Ellipsis)
        missing = len(shape) - len(keys) + 1
        keys = (*keys[:place], *[slice(None)] * missing, *keys[place + 1 :])
    if len(keys) > len(shape):
        raise IndexError(f"{len(keys)} keys for an array of shape {shape}")
    axis, part = None, Part()
    for a, k in enumerate(keys):
        if isinstance(k, slice) and k.indices(shape[a]) == (0, shape[a], 1):
            continue
        if axis is not None:
            return None
        axis = a
    if axis is None:
        axis, chosen, kept = 0, slice(None), True
        if not shape:
            part.outer = part.n = part.count = part.inner = part.step = 1
            part.first, part.shape = 0, ()
            return part
    else:
        chosen, kept = keys[axis], isinstance(keys[axis], slice)
    n = shape[axis]
    if kept:
        start, stop, part.step = chosen.indices(n)
        part.count = len(range(start, stop, part.step))
        part.first = start if part.count else 0
    else:
        if not -n <= chosen < n:
            raise IndexError(f"index {chosen} for axis {axis} of an array of shape {shape}")
        part.first, part.count, part.step = int(chosen) % n, 1, 1
    part.n = n
    part.outer, part.inner = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
    part.shape = (*shape[:axis], *[part.count] * kept, *shape[axis + 1 :])
    return part


def are_rows(key, ndim):
    """Whether a key is the numbers of some rows, in any order."""
    return (
        isinstance(key, (np.ndarray, list)) and ndim > 0
        and np.ndim(key) == 1 and np.asarray(key).dtype.kind in "iu"
    )


def without_new_axes(key, ndim):
    """A key without its ``None``, and a function that then gives what was found its new axes.

    (None, None) if there are none, or other keys than numbers, slices and ``...`` beside them.
    """
    keys = key if isinstance(key, tuple) else (key,)
    plain = tuple(k for k in keys if k is not None)
    if len(plain) == len(keys) or not all(
        k is Ellipsis or isinstance(k, (slice, int, np.integer)) for k in plain
    ):
        return None, None
    behind = ndim - sum(k is not Ellipsis for k in plain)  # axes that no key names
    if Ellipsis not in plain:
        keys = (*keys, Ellipsis)

    def shape(found):
        own, sizes = iter(found.shape), []
        for k in keys:
            if k is None:
                sizes.append(1)
            elif k is Ellipsis:
                sizes += [next(own) for _ in range(behind)]
            elif isinstance(k, slice):
                sizes.append(next(own))
        return found.reshape(tuple(sizes))

    return plain, shape
