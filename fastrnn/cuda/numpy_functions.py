"""The functions of NumPy that have kernels; importing this makes them known to `DeviceArray`."""

from __future__ import annotations

import functools
import math

import numpy as np

from fastrnn.cuda import operations
from fastrnn.cuda.device_array import (
    DTYPES,
    FLOATS,
    FUNCTIONS,
    UFUNCS,
    DeviceArray,
    alike,
    empty,
    is_number,
    on_device,
)

__all__ = ["FUNCTIONS", "UFUNCS"]


def _arithmetic(operation, a, b, out=None):
    """``a op b``."""
    swapped = is_number(a)
    if swapped:
        a, b = b, a
    like = next((x for x in (a, b) if type(x) is DeviceArray), None)
    if like is None:  # only the target lies on the device
        return NotImplemented
    if (
        like.dtype.name not in FLOATS
        or not all(is_number(x) or hasattr(x, "dtype") and x.shape == like.shape for x in (a, b))
        or np.result_type(*(getattr(x, "dtype", x) for x in (a, b))) != like.dtype
        or not (out is None or alike(out, like.shape, like.dtype))
    ):
        return NotImplemented
    target = empty(like.shape, like.dtype) if out is None else out
    target._twin = None
    b = b if is_number(b) else on_device(b, like.dtype)
    operations.arithmetic(operation, on_device(a, like.dtype), b, swapped, target)
    return target


def _where(choice, *sides):
    """np.where for choices on the host that are alike along all axes behind theirs."""
    arrays = [s for s in sides if not is_number(s)]
    if len(sides) != 2 or not arrays or type(choice) is DeviceArray:
        return NotImplemented
    choice, like = np.asarray(choice), next((s for s in arrays if type(s) is DeviceArray), None)
    if (
        like is None or like.dtype.name not in FLOATS
        or any(not alike(s, like.shape, like.dtype) for s in arrays)
    ):
        return NotImplemented
    given = choice.shape
    while given and given[-1] == 1:
        given = given[:-1]
    if choice.ndim != like.ndim or given != like.shape[: len(given)]:
        return NotImplemented
    found = empty(like.shape, like.dtype)
    if found.size:
        flags = on_device(choice.astype(np.int32).reshape(-1))
        repeats = math.prod(like.shape[len(given) :])
        operations.select(flags, repeats, *sides, found)
    return found


def _concatenate(arrays, axis=0, out=None, **kwargs):
    """np.concatenate where one of the arrays lies on the device and all are of its type."""
    arrays = list(arrays)
    like = next((a for a in arrays if type(a) is DeviceArray), None)
    if like is None or out is not None or kwargs or axis is None or not all(
        hasattr(a, "dtype") and a.dtype == like.dtype and a.ndim == like.ndim for a in arrays
    ):
        return NotImplemented
    axis = axis + like.ndim if axis < 0 else axis
    rest = like.shape[:axis], like.shape[axis + 1 :]
    if not axis < like.ndim or any((a.shape[:axis], a.shape[axis + 1 :]) != rest for a in arrays):
        return NotImplemented  # NumPy says what is wrong
    total = sum(a.shape[axis] for a in arrays)
    found = empty((*rest[0], total, *rest[1]), like.dtype)
    outer, inner, place = math.prod(rest[0]), math.prod(rest[1]), 0
    for a in arrays:
        n = a.shape[axis]
        source = on_device(a)
        operations.copy_axis(source, found, outer, n, inner, (n, 0, 1), (total, place, 1))
        place += n
    return found


def _split(array, ends, axis=0):
    """np.split, each part a copy unless it lies together."""
    if type(array) is not DeviceArray or isinstance(ends, int):
        return NotImplemented
    axis = axis + array.ndim if axis < 0 else axis
    ends = [0, *map(int, ends), array.shape[axis]]
    before = (slice(None),) * axis
    return [array[(*before, slice(a, b))] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _empty_like(prototype, dtype=None, order="K", subok=True, shape=None, **kwargs):
    dtype = np.dtype(prototype.dtype if dtype is None else dtype)
    if type(prototype) is not DeviceArray or dtype.name not in DTYPES:
        return NotImplemented
    return empty(prototype.shape if shape is None else shape, dtype)


def _zeros_like(prototype, dtype=None, order="K", subok=True, shape=None, **kwargs):
    found = _empty_like(prototype, dtype, shape=shape)
    if found is not NotImplemented:
        found[...] = 0
    return found


def _expand_dims(a, axis):
    if type(a) is not DeviceArray or not isinstance(axis, int):
        return NotImplemented
    place = axis + a.ndim + 1 if axis < 0 else axis
    return a.reshape((*a.shape[:place], 1, *a.shape[place:]))


UFUNCS.update({
    ufunc: functools.partial(_arithmetic, name)
    for ufunc, name in {
        np.add: "add", np.subtract: "subtract", np.multiply: "multiply", np.divide: "divide",
    }.items()
})  # fmt: skip
FUNCTIONS.update({
    np.where: _where, np.concatenate: _concatenate, np.split: _split, np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim, np.size: lambda a, axis=None: (
        a.size if axis is None else a.shape[axis]
    ),
    np.empty_like: _empty_like, np.zeros_like: _zeros_like, np.expand_dims: _expand_dims,
})  # fmt: skip


