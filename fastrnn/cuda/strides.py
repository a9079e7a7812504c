"""How a kernel walks over arrays that are stretched or whose axes are turned: axes with steps."""

from __future__ import annotations

import functools

__all__ = ["AXES", "collapsed", "steps_of"]

AXES = 4  # that kernels have


@functools.lru_cache(4096)
def steps_of(shape, whole):
    """From each entry to the next along the axes of ``whole``, to which ``shape`` can be stretched.

    In elements of a C-contiguous array; 0 along axes that it is stretched along.

    >>> steps_of((3, 1), (2, 3, 4)), steps_of((2, 3, 4), (2, 3, 4))
    ((0, 1, 0), (12, 4, 1))
    """
    steps, step = [], 1
    for n in reversed(shape):
        steps.append(step if n != 1 else 0)
        step *= n
    return (0,) * (len(whole) - len(shape)) + tuple(reversed(steps))


@functools.lru_cache(4096)
def collapsed(shape, *steps):
    """Sizes of the last `AXES` - 1 of `AXES` axes, and for each array its steps along all of them.

    Neighbouring axes that all arrays walk along as along one are one. None if there are too many.

    >>> collapsed((5, 3, 4), (12, 4, 1), (0, 0, 1))
    ((1, 15, 4), (0, 0, 4, 1), (0, 0, 0, 1))
    """
    axes = []
    for n, *own in zip(shape, *steps, strict=True):
        if n == 1:
            continue
        if axes and all(a == b * n for a, b in zip(axes[-1][1:], own, strict=True)):
            axes[-1] = [axes[-1][0] * n, *own]
        else:
            axes.append([n, *own])
    if len(axes) > AXES:
        return None
    first = [[1] + [0] * len(steps)] * (AXES - len(axes))
    sizes, *walks = zip(*first, *axes, strict=True)
    return sizes[1:], *walks
