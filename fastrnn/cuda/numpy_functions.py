"""The functions of NumPy that have kernels; importing this makes them known to `DeviceArray`.

- Functions of one number or two, of arrays that may be stretched (`UFUNCS`), and `where`.
- Sums, means, least and largest along axes, and where the largest is; products of matrices.
- Axes in another order, stretched, put together; entries along an axis by their numbers.

Each takes what NumPy's does and gives `NotImplemented` for what it has no kernel for: other types,
unusual arguments, too many axes. Then NumPy does it, on the host.
"""

from __future__ import annotations

import functools
import math
import operator

import numpy as np

from fastrnn.cuda import operations
from fastrnn.cuda.device_array import (
    DTYPES,
    FLOATS,
    FUNCTIONS,
    UFUNCS,
    DeviceArray,
    alike,
    apart,
    empty,
    is_number,
    laid_out,
    on_device,
)
from fastrnn.cuda.functions import ARITHMETIC, COMPARISONS, UNARY
from fastrnn.cuda.matmul import Matrices, multiply
from fastrnn.cuda.strides import collapsed, steps_of
from fastrnn.cuda.tiles import WIDE

__all__ = ["FUNCTIONS", "UFUNCS", "matrices"]


def _is_on_device(x):
    return type(x) is DeviceArray


def _as(x, dtype):
    """A number as it is; an array on the device, of that type."""
    return x if is_number(x) else on_device(x, dtype)


def _common(*inputs):
    """The shape and type of arrays (one of them on the device) and numbers together, or None."""
    arrays = [x for x in inputs if not is_number(x)]
    if not any(map(_is_on_device, arrays)) or not all(hasattr(x, "dtype") for x in arrays):
        return None
    shapes = {x.shape for x in arrays}
    shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*(x.shape for x in arrays))
    return shape, np.result_type(*(getattr(x, "dtype", x) for x in inputs))


def _walk(shape, *inputs):
    """`collapsed` for arrays and numbers that are stretched to a shape."""
    return collapsed(shape, *(steps_of(getattr(x, "shape", ()), shape) for x in inputs))


# -- functions of one number or two, and choices --------------------------------


def _unary(name, a, out=None, dtypes=FLOATS):
    if (
        not _is_on_device(a) or a.dtype.name not in dtypes
        or not (out is None or alike(out, a.shape, a.dtype))
    ):
        return NotImplemented
    target = empty(a.shape, a.dtype) if out is None else out
    target.changes()
    operations.unary(name, apart(a, target), target)
    return target


def _binary(name, a, b, out=None, takes=FLOATS, gives=None):
    """``a op b`` for types that are ``takes`` together; ``gives``: the type, if it is another."""
    together = _common(a, b)
    if together is None or together[1].name not in takes:
        return NotImplemented
    shape, dtype = together
    made = dtype if gives is None else np.dtype(gives)
    walk = _walk(shape, a, b)
    if walk is None or not (out is None or alike(out, shape, made)):
        return NotImplemented
    target = empty(shape, made) if out is None else out
    target.changes()
    sides = [apart(_as(x, dtype), target) for x in (a, b)]
    plain = all(is_number(x) or x.shape == shape for x in sides)  # none is stretched
    if plain and gives is None and dtype.name in FLOATS:
        swapped = is_number(a)
        operations.arithmetic(name, *(sides[::-1] if swapped else sides), swapped, target)
    else:
        operations.combine(name, dtype, sides, walk[0], walk[1:], target)
    return target


def _where(choice, *sides):
    together = _common(choice, *sides) if len(sides) == 2 and hasattr(choice, "dtype") else None
    if together is None:
        return NotImplemented
    dtype = np.result_type(*(getattr(x, "dtype", x) for x in sides))
    walk = _walk(together[0], choice, *sides)
    if walk is None or dtype.name not in FLOATS:
        return NotImplemented
    if not _is_on_device(choice):
        choice = on_device(choice, bool)
    elif choice.dtype != bool:
        choice = choice != 0
        if not _is_on_device(choice):
            return NotImplemented
    found = empty(together[0], dtype)
    operations.choose(choice, [_as(x, dtype) for x in sides], walk[0], walk[1:], found)
    return found


def _clip(a, a_min=None, a_max=None, out=None, **kwargs):
    if kwargs or not _is_on_device(a) or a_min is None or a_max is None:
        return NotImplemented
    return np.minimum(np.maximum(a, a_min), a_max, out=out)


# -- along axes -----------------------------------------------------------------


def _axes(axis, ndim):
    """Axes, one or some, as a tuple of numbers from 0 on; None if they are not different axes.

    >>> _axes(-1, 3), _axes((2, -3), 3), _axes((0, -3), 3), _axes(3, 3)
    ((2,), (2, 0), None, None)
    """
    given = axis if isinstance(axis, tuple) else (axis,)
    axes = tuple(i + ndim if i < 0 else i for i in map(operator.index, given))
    fit = len(set(axes)) == len(axes) and all(0 <= i < ndim for i in axes)
    return axes if fit else None


def _fold(kind, a, axis=None, dtype=None, out=None, keepdims=False, **kwargs):
    """Sums and the like over axes: neighbouring axes at a time, the last ones first."""
    counts = kind == "sum" and _is_on_device(a) and a.dtype == bool
    if not _is_on_device(a) or out is not None or kwargs or not a.size or not (
        a.dtype.name in FLOATS or counts
    ):
        return NotImplemented
    axes = tuple(range(a.ndim)) if axis is None else _axes(axis, a.ndim)
    if axes is None:
        return NotImplemented
    axes = tuple(sorted(axes))
    made = np.dtype(np.int64) if counts else a.dtype
    if dtype is not None and dtype != made:
        if not (kind == "sum" and dtype == np.float64 and len(axes) == a.ndim):
            return NotImplemented
        if counts:
            return _fold(kind, a, keepdims=keepdims).astype(dtype)
        return operations.reduce("sum", a, empty((1,) * a.ndim if keepdims else (), np.float64))
    count, found = math.prod(a.shape[i] for i in axes), a
    for first, last in reversed(_runs(axes)):
        shape = found.shape
        outer, inner = math.prod(shape[:first]), math.prod(shape[last:])
        target = empty((*shape[:first], *[1] * (last - first), *shape[last:]), made)
        divisor = count if kind == "mean" and first == axes[0] else 1
        name = "sum" if kind == "mean" else kind
        operations.fold(name, found, outer, math.prod(shape[first:last]), inner, target, divisor)
        found = target
    found = found if axes else found.copy()
    if keepdims:
        return found
    return found.reshape(tuple(n for i, n in enumerate(a.shape) if i not in axes))


def _argmax(a, axis=None, out=None, *, keepdims=False):
    """Along the last axis."""
    if (
        not _is_on_device(a) or a.dtype.name not in FLOATS or not a.ndim or not a.shape[-1]
        or out is not None or keepdims or not isinstance(axis, int) or _axes(axis, a.ndim) is None
        or axis % a.ndim != a.ndim - 1
    ):
        return NotImplemented
    found = empty(a.shape[:-1], np.int64)
    operations.argmax(a, found.size, a.shape[-1], found)
    return found


def _any(a, axis=None, out=None, keepdims=False, **kwargs):
    """Whether there is a True along axes, of booleans."""
    if not _is_on_device(a) or a.dtype != bool or out is not None or kwargs:
        return NotImplemented
    found = _fold("sum", a, axis, keepdims=keepdims)
    return found if found is NotImplemented else found > 0


def _runs(axes):
    """Sorted numbers as runs of neighbours, (first, one after the last).

    >>> _runs((0, 1, 3))
    [(0, 2), (3, 4)]
    """
    runs = []
    for axis in axes:
        if runs and runs[-1][1] == axis:
            runs[-1] = runs[-1][0], axis + 1
        else:
            runs.append((axis, axis + 1))
    return runs


# -- products -------------------------------------------------------------------


def matrices(a, ld, step=0):
    """A `DeviceArray` as `Matrices` for a product."""
    size = a.dtype.itemsize
    wide = all(place % WIDE == 0 for place in (a.pointer, ld * size, step * size))
    return Matrices(a.flat, step, ld, wide)


def _matmul(a, b, out=None):
    """Matrices, of which there is one for all or one for each of the same batch."""
    if out is not None or not all(hasattr(x, "ndim") and x.ndim > 1 for x in (a, b)):
        return NotImplemented
    together, (M, K), (inner, N) = _kind(a, b), a.shape[-2:], b.shape[-2:]
    batches = [x.shape[:-2] for x in (a, b)]
    counts = [math.prod(batch) for batch in batches]
    if (
        together is None or inner != K or 0 in (K, *counts)
        or 1 not in counts and batches[0] != batches[1]
    ):
        return NotImplemented
    batch = np.broadcast_shapes(*batches)
    found = empty((*batch, M, N), together)
    a, b = (_as(x, together) for x in (a, b))
    steps = [size if count > 1 else 0 for size, count in zip((M * K, K * N), counts, strict=True)]
    multiply(
        matrices(a, K, steps[0]), matrices(b, N, steps[1]), matrices(found, N, M * N),
        math.prod(batch), M, N, K,
    )
    return found


def _kind(a, b):
    """The float type of two arrays, one of them on the device; None for other types."""
    dtype = np.result_type(a.dtype, b.dtype)
    return dtype if dtype.name in FLOATS and any(map(_is_on_device, (a, b))) else None


# -- axes in another order, stretched -------------------------------------------


def _transpose(a, axes=None):
    if not _is_on_device(a):
        return NotImplemented
    order = tuple(range(a.ndim))[::-1] if axes is None else _axes(tuple(axes), a.ndim)
    if order is None or len(order) < a.ndim:
        return NotImplemented  # NumPy says what is wrong
    steps, shape = steps_of(a.shape, a.shape), tuple(a.shape[i] for i in order)
    steps = tuple(steps[i] for i in order)
    if collapsed(shape, steps) == collapsed(shape, steps_of(shape, shape)):
        return a.reshape(shape)  # axes of length 1 were all that moved
    found = laid_out(a, shape, steps)
    return NotImplemented if found is None else found


def _swapaxes(a, axis1, axis2):
    first, second = (_axes(axis, a.ndim) for axis in (axis1, axis2))
    if first is None or second is None:
        return NotImplemented
    order = list(range(a.ndim))
    order[first[0]], order[second[0]] = second[0], first[0]
    return _transpose(a, order)


def _moveaxis(a, source, destination):
    if not _is_on_device(a) or not all(isinstance(x, int) for x in (source, destination)):
        return NotImplemented
    source, destination = (_axes(axis, a.ndim) for axis in (source, destination))
    if source is None or destination is None:
        return NotImplemented
    order = list(range(a.ndim))
    order.insert(destination[0], order.pop(source[0]))
    return _transpose(a, order)


def _broadcast_to(array, shape, subok=False):
    if not _is_on_device(array):
        return NotImplemented
    shape = tuple(shape) if hasattr(shape, "__len__") else (shape,)
    if np.broadcast_shapes(array.shape, shape) != shape:
        return NotImplemented  # NumPy says what is wrong
    found = laid_out(array, shape, steps_of(array.shape, shape))
    return NotImplemented if found is None else found


def _repeat(a, repeats, axis=None):
    axes = _axes(axis, a.ndim) if _is_on_device(a) and isinstance(axis, int) else None
    if axes is None or not isinstance(repeats, int):
        return NotImplemented
    (axis,) = axes
    before, n, behind = a.shape[:axis], a.shape[axis], a.shape[axis + 1 :]
    found = np.broadcast_to(a.reshape((*before, n, 1, *behind)), (*before, n, repeats, *behind))
    return found.reshape((*before, n * repeats, *behind))


def _squeeze(a, axis=None):
    if not _is_on_device(a):
        return NotImplemented
    axes = [i for i, n in enumerate(a.shape) if n == 1] if axis is None else _axes(axis, a.ndim)
    if axes is None or any(a.shape[i] != 1 for i in axes):
        return NotImplemented  # NumPy says what is wrong
    return a.reshape(tuple(n for i, n in enumerate(a.shape) if i not in axes))


def _expand_dims(a, axis):
    axes = _axes(axis, a.ndim + 1) if _is_on_device(a) and isinstance(axis, int) else None
    if axes is None:
        return NotImplemented
    (place,) = axes
    return a.reshape((*a.shape[:place], 1, *a.shape[place:]))


# -- put together, taken apart --------------------------------------------------


def _concatenate(arrays, axis=0, out=None, **kwargs):
    """np.concatenate where one of the arrays lies on the device and all are of its type."""
    arrays = list(arrays)
    like = next((a for a in arrays if type(a) is DeviceArray and a.twin is None), None)
    if like is None or out is not None or kwargs or axis is None or not all(
        hasattr(a, "dtype") and a.dtype == like.dtype and a.ndim == like.ndim for a in arrays
    ):
        return NotImplemented
    axes = _axes(axis, like.ndim)
    if axes is None:
        return NotImplemented  # NumPy says what is wrong
    (axis,) = axes
    rest = like.shape[:axis], like.shape[axis + 1 :]
    if any((a.shape[:axis], a.shape[axis + 1 :]) != rest for a in arrays):
        return NotImplemented
    total = sum(a.shape[axis] for a in arrays)
    found = empty((*rest[0], total, *rest[1]), like.dtype)
    outer, inner, place = math.prod(rest[0]), math.prod(rest[1]), 0
    for a in arrays:
        n = a.shape[axis]
        source = on_device(a)
        operations.copy_axis(source, found, outer, n, inner, (n, 0, 1), (total, place, 1))
        place += n
    return found


def _stack(arrays, axis=0, out=None, **kwargs):
    arrays = list(arrays)
    if out is not None or kwargs or not isinstance(axis, int) or any(
        not hasattr(a, "ndim") or a.shape != arrays[0].shape for a in arrays
    ):
        return NotImplemented
    return np.concatenate([np.expand_dims(a, axis) for a in arrays], axis=axis)


def _split(ary, indices_or_sections, axis=0):
    """np.split, each part a copy unless it lies together."""
    axes = _axes(axis, ary.ndim) if _is_on_device(ary) else None
    if axes is None or not np.ndim(indices_or_sections):
        return NotImplemented
    (axis,) = axes
    ends = [0, *map(int, indices_or_sections), ary.shape[axis]]
    before = (slice(None),) * axis
    return [ary[(*before, slice(a, b))] for a, b in zip(ends[:-1], ends[1:], strict=True)]


def _take_along_axis(arr, indices, axis=-1):
    """Where the numbers, of the host, are the same for all entries behind the axis."""
    axes = _axes(axis, arr.ndim) if _is_on_device(arr) and isinstance(axis, int) else None
    if axes is None or not isinstance(indices, np.ndarray):
        return NotImplemented
    (axis,) = axes
    before, n, behind = arr.shape[:axis], arr.shape[axis], arr.shape[axis + 1 :]
    m = indices.shape[axis] if indices.ndim == arr.ndim else 0
    if (
        indices.shape != (*before, m, *[1] * len(behind)) or not indices.size or not arr.size
        or not (-n <= indices.min() and indices.max() < n)
    ):
        return NotImplemented
    outer = math.prod(before)
    places = indices.reshape(outer, m) % n + n * np.arange(outer)[:, None]
    rows = arr.reshape((outer * n, math.prod(behind)))[places.reshape(-1)]
    return rows.reshape((*before, m, *behind))


# -- new arrays -----------------------------------------------------------------


def _empty_like(prototype, dtype=None, order="K", subok=True, shape=None, **kwargs):
    dtype = np.dtype(prototype.dtype if dtype is None else dtype)
    if not _is_on_device(prototype) or dtype.name not in DTYPES:
        return NotImplemented
    return empty(prototype.shape if shape is None else shape, dtype)


def _arange(stop, *args, **kwargs):
    """np.arange(stop, like=...), which is the caller's own."""
    if args or kwargs or not isinstance(stop, int):
        return NotImplemented
    return _counting(stop).copy()


@functools.lru_cache(maxsize=64)
def _counting(stop):
    """The numbers below ``stop``: sent once, so that a step that wants them can be recorded."""
    return on_device(np.arange(stop))


def _full_like(value, prototype, dtype=None, order="K", subok=True, shape=None, **kwargs):
    found = _empty_like(prototype, dtype, shape=shape)
    if found is not NotImplemented:
        found[...] = value
    return found


# -- what NumPy calls -------------------------------------------------------------


UFUNCS |= {
    getattr(np, name): functools.partial(_unary, name) for name in UNARY
} | {
    getattr(np, name): functools.partial(_binary, name) for name in ARITHMETIC
} | {  # of places, too: bounds of masks are flipped and compared
    getattr(np, name): functools.partial(_binary, name, takes=FLOATS | {"int64"})
    for name in ("add", "subtract")
} | {
    getattr(np, name): functools.partial(_binary, name, takes=FLOATS | {"int64"}, gives=bool)
    for name in COMPARISONS
} | {
    ufunc: functools.partial(_binary, name, takes={"bool"}) for ufunc, name in (
        (np.logical_and, "logical_and"), (np.bitwise_and, "logical_and"),
        (np.logical_or, "logical_or"), (np.bitwise_or, "logical_or"),
    )
} | {
    ufunc: functools.partial(_unary, "logical_not", dtypes={"bool"})
    for ufunc in (np.logical_not, np.invert)
} | {np.matmul: _matmul}  # fmt: skip
FUNCTIONS |= {
    np.where: _where, np.clip: _clip, np.any: _any, np.argmax: _argmax,
    np.sum: functools.partial(_fold, "sum"), np.mean: functools.partial(_fold, "mean"),
    np.max: functools.partial(_fold, "max"), np.min: functools.partial(_fold, "min"),
    np.amax: functools.partial(_fold, "max"), np.amin: functools.partial(_fold, "min"),
    np.transpose: _transpose, np.swapaxes: _swapaxes, np.moveaxis: _moveaxis,
    np.broadcast_to: _broadcast_to, np.repeat: _repeat,
    np.squeeze: _squeeze, np.expand_dims: _expand_dims,
    np.concatenate: _concatenate, np.stack: _stack, np.split: _split,
    np.take_along_axis: _take_along_axis,
    np.arange: _arange, np.empty_like: _empty_like, np.zeros_like: functools.partial(_full_like, 0),
    np.ones_like: functools.partial(_full_like, 1), np.shape: lambda a: a.shape,
    np.ndim: lambda a: a.ndim,
    np.size: lambda a, axis=None: a.size if axis is None else a.shape[axis],
}  # fmt: skip
