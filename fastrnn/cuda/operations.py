"""What the kernels compute, as functions of `DeviceArray`: each finds its grid, and launches.

Who calls them has made the arrays and knows their sizes; what could reach beyond an array (ids,
shapes) is checked in `fastrnn.engines.cuda` and `fastrnn.cuda.device_array`. All return at once:
the work is done in the order of the calls. Kernels are given the flat arrays of Numba only where
they are launched, for memory is used again as soon as nobody holds the `DeviceArray`.

Letters: N rows, V vocabulary, C columns.
"""

from __future__ import annotations

import math

import numpy as np

from fastrnn.cuda.launches import launch, nothing
from fastrnn.cuda.memory import Memory
from fastrnn.rules import RULES

__all__ = [
    "CLASS_LOSSES", "COLUMN_LOSSES", "activate", "activate_backward", "add_columns", "add_rows",
    "argmax", "arithmetic", "choose", "combine", "copy", "copy_axis", "dropout_mask", "fill",
    "fold", "gather", "loss", "pad", "put_rows", "reduce", "scatter_add", "shrink", "softmax",
    "softmax_backward", "unary", "update",
]

# Blocks of a reduction: as many as fill a GPU, and always as many, for they fix the order of sums.
REDUCING = 256
# Places of an axis that one block of `fold` takes at least, where there are few blocks.
FOLD_SHARE = 64
# Rows that one thread of `scatter_add` takes. Fixed for the same reason.
NEIGHBOURS = 16

COLUMN_LOSSES = ("binary_crossentropy", "mean_squared_error", "mean_absolute_error")
CLASS_LOSSES = ("categorical_crossentropy", "sparse_categorical_crossentropy")


class _Scratch:
    """A flat array on the device for a while."""

    def __init__(self, size, dtype):
        self.size, self.dtype = size, np.dtype(dtype)
        self.memory = Memory(size * self.dtype.itemsize)
        self.pointer = self.memory.pointer

    @property
    def flat(self):
        return self.memory.view(self.dtype, 0, (self.size,))


def _over(kernel, size, *arguments):
    """Run a kernel with a thread for each of ``size`` elements."""
    from fastrnn.cuda.kernels.elementwise import THREADS

    if size:
        launch(kernel, -(-size // THREADS), THREADS, arguments)


# -- elements -------------------------------------------------------------------


def fill(target, value):
    """target[...] = value."""
    from fastrnn.cuda.kernels import elementwise

    kernel = elementwise.fill(target.dtype.name)
    _over(kernel, target.size, target, target.dtype.type(value))


def copy_axis(source, target, outer, count, inner, place, own):
    """Copy ``count`` places of the middle axis of (outer, n, inner).

    ``place`` and ``own``: (n, start, step) of the source and of the target.
    """
    from fastrnn.cuda.kernels import elementwise

    kernel = elementwise.copy_axis(target.dtype.name)
    _over(kernel, outer * count * inner, source, target, outer, count, inner, *place, *own)


def gather(ids, table, target, width):
    """target (N, width) = table (V, width)[ids (N,)]; ids are in [0, V)."""
    from fastrnn.cuda.kernels import elementwise

    _over(elementwise.gather(table.dtype.name), target.size, ids, table, target, width)


def add_rows(rows, values, target, width):
    """target (V, width)[rows (n,)] += values (n, width); no row is there twice."""
    from fastrnn.cuda.kernels import elementwise

    _over(elementwise.add_rows(target.dtype.name), values.size, rows, values, target, width)


def pad(flat, starts, lengths, target, steps, width):
    """target (B, steps, width): row b has flat[starts[b]:][:lengths[b]], then zeros."""
    from fastrnn.cuda.kernels import elementwise

    kernel = elementwise.pad(flat.dtype.name)
    _over(kernel, target.size, flat, starts, lengths, target, steps, width)


def put_rows(rows, values, target, width):
    """target (V, width)[rows (n,)] = values (n, width); no row is there twice."""
    from fastrnn.cuda.kernels import elementwise

    _over(elementwise.put_rows(target.dtype.name), values.size, rows, values, target, width)


def arithmetic(operation, a, b, swapped, target):
    """target = a op b, or b op a if ``swapped``; b is an array or a number."""
    from fastrnn.cuda.kernels import elementwise

    is_array = hasattr(b, "memory")
    number = target.dtype.type(0 if is_array else b)
    kernel = elementwise.arithmetic(operation, target.dtype.name)
    _over(kernel, target.size, a, b if is_array else a, number, is_array, swapped, target)


def unary(name, a, target):
    """target = f(a), for the functions of `fastrnn.cuda.functions`."""
    from fastrnn.cuda.kernels import elementwise

    _over(elementwise.unary(name, a.dtype.name), a.size, a, target)


def activate(name, z, target):
    """y = f(z), for the activations of `fastrnn.cuda.kernels.activations`."""
    from fastrnn.cuda.kernels import elementwise

    _over(elementwise.activate(name, z.dtype.name), z.size, z, target)


def activate_backward(name, z, y, dy, target):
    """dz = dy f'(z)."""
    from fastrnn.cuda.kernels import elementwise

    _over(elementwise.activate_backward(name, y.dtype.name), y.size, z, y, dy, target)


def update(rule, value, grad, slots, hyper):
    """A step of an optimizer; see `Engine.update`. ``slots`` has arrays like value, by name."""
    from fastrnn.cuda.kernels import updates

    names, numbers, flag = RULES[rule]
    arrays = [value if slots.get(name) is None else slots[name] for name in names]
    numbers = [value.dtype.type(hyper[name]) for name in numbers]
    kernel = updates.update(rule, value.dtype.name)
    _over(kernel, value.size, value, grad, *arrays, *numbers, bool(hyper[flag]))


def dropout_mask(target, seed, calls, call, rate):
    """target = 0 with probability ``rate``, else 1/(1 - rate), as `fastrnn.random` draws it.

    ``calls``, ``call``: see `fastrnn.cuda.draws.next_call`.
    """
    from fastrnn.cuda.kernels import random

    words = (np.uint64(seed >> shift & (1 << 64) - 1) for shift in (0, 64))
    kernel, counted = random.dropout(target.dtype.name), calls is not None
    arguments = (
        *words, calls if counted else nothing(1, "int64"), counted, call,
        np.float32(rate), target.dtype.type(1 / (1 - rate)), target,
    )
    _over(kernel, -(-target.size // random.BLOCK), *arguments)


# -- arrays that are stretched --------------------------------------------------
#
# ``sizes`` and the steps of each array: see `fastrnn.cuda.strides.collapsed`.


def copy(source, sizes, steps, target):
    """target = source, with other axes or of another type."""
    from fastrnn.cuda.kernels import broadcasting

    kernel = broadcasting.copy(target.dtype.name)
    _over(kernel, target.size, source, sizes, steps, target)


def combine(operation, dtype, sides, sizes, steps, target):
    """target = a op b, of two ``sides``, arrays or numbers of that type."""
    from fastrnn.cuda.kernels import broadcasting

    kernel = broadcasting.combine(operation, dtype.name)
    some = next(side for side in sides if hasattr(side, "memory"))
    sides = _sides(sides, steps, dtype, some)
    _over(kernel, target.size, *sides[0], *sides[1], sizes, target)


def choose(choice, sides, sizes, steps, target):
    """target = a where choice, of booleans, else b; ``sides``: a and b, arrays or numbers."""
    from fastrnn.cuda.kernels import broadcasting

    kernel = broadcasting.choose(target.dtype.name)
    sides = _sides(sides, steps[1:], target.dtype, target)
    _over(kernel, target.size, choice, steps[0], *sides[0], *sides[1], sizes, target)


def _sides(sides, steps, dtype, some):
    """(array, number, whether it is the array, its steps) of arrays or numbers.

    The array ``some`` stands where there is a number, so that a kernel has one signature.
    """
    return [
        (side, dtype.type(0), True, own) if hasattr(side, "memory")
        else (some, dtype.type(side), False, own)
        for side, own in zip(sides, steps, strict=True)
    ]


# -- rows -----------------------------------------------------------------------


def softmax(z, rows, target):
    """Over the last axis of (rows, C)."""
    from fastrnn.cuda.kernels import losses

    arguments = z, z.size // rows, target
    launch(losses.softmax(z.dtype.name), rows, losses.LANES, arguments)


def softmax_backward(y, dy, rows, target):
    """Gradient of `softmax`."""
    from fastrnn.cuda.kernels import losses

    arguments = y, dy, y.size // rows, target
    launch(losses.softmax_backward(y.dtype.name), rows, losses.LANES, arguments)


def loss(kind, from_logits, low, target, output, weight, columns, values, doutput):
    """Losses of the rows of output (n, C), and their gradients; see `Engine.loss`."""
    from fastrnn.cuda.kernels import losses

    name, rows = output.dtype.name, values.size
    arguments = target, output, weight, columns, output.dtype.type(low), values, doutput
    if kind in COLUMN_LOSSES:
        _over(losses.column_loss(kind, from_logits, name), rows, *arguments)
    else:
        sparse = kind == "sparse_categorical_crossentropy"
        kernel = losses.class_loss(sparse, from_logits, name)
        launch(kernel, rows, losses.LANES, arguments)


# -- sums -----------------------------------------------------------------------


def reduce(kind, a, found=None):
    """The "sum" and so on (`REDUCTIONS`) of all elements of a, an array of one element, float64."""
    from fastrnn.cuda.kernels import reductions
    from fastrnn.cuda.kernels.elementwise import THREADS

    parts = _parts_of(kind, a)
    found = _Scratch(1, np.float64) if found is None else found
    launch(reductions.reduce("sum", "float64"), 1, THREADS, (parts, found))
    return found


def _parts_of(kind, a):
    """What one more sum makes a `reduce` of."""
    from fastrnn.cuda.kernels import reductions
    from fastrnn.cuda.kernels.elementwise import THREADS

    blocks = max(1, min(REDUCING, -(-a.size // THREADS)))
    parts = _Scratch(blocks, np.float64)
    launch(reductions.reduce(kind, a.dtype.name), blocks, THREADS, (a, parts))
    return parts


def shrink(values, squares, most, needs_direction):
    """values *= min(1, most / norm), the norm being the root of ``squares``, of one element."""
    from fastrnn.cuda.kernels import reductions

    kernel = reductions.shrink(values.dtype.name)
    _over(kernel, values.size, values, squares, float(most), bool(needs_direction))


def add_columns(a, rows, columns, target, adds=True):
    """target (columns,) += the sum of the rows of a (rows, columns); or = without ``adds``."""
    fold("sum", a, 1, rows, columns, target, adds=adds)


def fold(kind, a, outer, n, inner, target, divisor=1, adds=False):
    """target (outer, inner) = the "sum", "max" or "min" of the n of a (outer, n, inner).

    Over ``divisor``; or that is added to it.
    """
    from fastrnn.cuda.kernels.axes import ACROSS, DOWN, LANES, fold_columns, fold_rows

    if not outer * inner:
        return
    across = -(-inner // ACROSS)
    # Where there would be few blocks, shares of which there are as many as each has places: then
    # those of both launches have the least to go through one after the other.
    share = max(FOLD_SHARE, math.ceil(math.sqrt(n))) if outer * across < REDUCING else n
    shares = max(1, -(-n // max(share, 1)))
    to, over = target, divisor
    if shares > 1:
        to, over = _Scratch(outer * shares * inner, target.dtype), 1
    name, number = target.dtype.name, target.dtype.type(over)
    if inner == 1 and not adds:
        arguments = a, n, share, shares, number, to
        launch(fold_rows(kind, name), outer * shares, LANES, arguments)
    else:
        arguments = a, n, inner, share, shares, number, to, adds and shares == 1
        launch(fold_columns(kind, name), outer * shares * across, (ACROSS, DOWN), arguments)
    if shares > 1:
        fold(kind, to, outer, shares, inner, target, divisor, adds)


def argmax(a, rows, n, target):
    """target (rows,) = where in each row of a (rows, n) its largest is, the first of those."""
    from fastrnn.cuda.kernels.axes import LANES, argmax_rows

    if rows:
        launch(argmax_rows(a.dtype.name), rows, LANES, (a, n, target))


def scatter_add(ids, dy, target, width, adds=True, magnitudes=None):
    """target (V, width)[ids (N,)] += dy (N, width); ids may repeat, and are in [0, V).

    Without ``adds`` target begins as zeros. ``magnitudes``: numbers whose sum is that of the
    absolute values of dy, where somebody has them.
    """
    from fastrnn.cuda.kernels import reductions
    from fastrnn.cuda.kernels.elementwise import THREADS

    if not dy.size:
        if not adds:
            fill(target, 0)
        return
    if magnitudes is None:
        magnitudes = _parts_of("sum of magnitudes", dy)
    scale = _Scratch(2, np.float64)
    launch(reductions.scale(magnitudes.dtype.name), 1, THREADS, (magnitudes, scale))
    rows = target.size // width
    frequent = min(reductions.FREQUENT, rows)
    sums = _Scratch((rows + reductions.COPIES * frequent) * width, np.int64)
    fill(sums, 0)
    name = dy.dtype.name
    threads = -(-ids.size // NEIGHBOURS) * width
    arguments = ids, dy, width, NEIGHBOURS, scale, rows, frequent, sums
    _over(reductions.scatter(name), threads, *arguments)
    arguments = sums, scale, frequent * width, target, adds
    _over(reductions.scattered(name), target.size, *arguments)
