"""Every kernel in every variant, for those who look at all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn.cells import CellSpec
from fastrnn.cuda.functions import ARITHMETIC, COMPARISONS, LOGICAL, UNARY
from fastrnn.cuda.kernels import (
    activations,
    axes,
    broadcasting,
    elementwise,
    losses,
    random,
    reductions,
    stepwise,
    sums,
    updates,
)
from fastrnn.cuda.kernels.matmul import Bias, Operand, matmul_kernel
from fastrnn.cuda.kernels.sweep import Way, sweep_backward, sweep_forward
from fastrnn.cuda.kernels.target import THREADS
from fastrnn.cuda.sweep_tiles import Tile
from fastrnn.cuda.tiles import TILES, WARP

__all__ = ["Variant", "variants"]

PLACES = np.empty(1, np.int64)


class Variant(NamedTuple):
    """One kernel, compiled for one float type and one way to cut up the work."""

    name: str
    kernel: Any
    arguments: tuple  # of the types that it is called with
    threads: int  # of a block
    shared: int = 0  # bytes of shared memory that a launch asks for, beside the kernel's own


CELLS = {
    "simple_rnn": CellSpec("simple_rnn"),
    "lstm": CellSpec("lstm"),
    "gru": CellSpec("gru"),
    "gru, reset before": CellSpec("gru", reset_after=False),
}
# Units of layers, and how these are dealt out there and back: a warp's, and more, of which the
# weights lie in registers or do not, of one row or several. An H200 chooses these, for 128 or 512
# rows, if not for each cell.
BLOCKS = {
    "float32": (
        (WARP, Tile(1, 1, 1), Tile(1, 1, 1)),
        (2 * WARP, Tile(1, 1, 2), Tile(4, 1, 8)),
        (2 * WARP, Tile(1, 2, 2), Tile(4, 2, 8)),
        (4 * WARP, Tile(2, 1, 4), Tile(4, 1, 8)),
    ),
    "float64": ((WARP, Tile(1, 1, 1), Tile(1, 1, 1)),),
}
# Of some cells it chooses others.
OTHER_BLOCKS = {
    ("simple_rnn", 2 * WARP): (Tile(2, 1, 2), Tile(2, 1, 2)),
    ("simple_rnn", 4 * WARP): (Tile(4, 1, 4), Tile(4, 1, 4)),
    ("lstm", WARP): (Tile(1, 1, 1), Tile(2, 1, 2)),
    ("lstm", 4 * WARP): (Tile(1, 1, 2), Tile(4, 1, 8)),
}
# As in a fit of ids without a mask, and of numbers, with all that there is.
WAYS = {
    "": (Way(looks_up=True, keeps=True), Way(measures=True)),
    ", masked": (Way(masked=True, noises=2, keeps=True, returns=True),
                 Way(masked=True, noises=2, returns=True)),
}


def variants():
    """All of them; sweeps with the default activations, for some numbers of units."""
    yield from _products()
    for dtype in TILES:
        yield from _sweeps(dtype)
        yield from _steps(dtype)
        yield from _sums(dtype)
        yield from _elementwise(dtype)
        yield from _broadcasting(dtype)
        yield from _losses(dtype)
        yield from _reductions(dtype)
        yield from _random(dtype)
        yield from _updates(dtype)
    yield from _booleans()
    yield from _places()


def _products():
    for dtype, tiles in TILES.items():
        flat = np.empty(1, dtype)
        matrix = Operand(flat, 0, 0, True, True)
        arguments = matrix, matrix, Bias(flat, 0, True), matrix, 0, 0, 0, 0, 0
        for tile in tiles:
            name = f"matmul {dtype} {tile.rows}x{tile.columns}"
            kernel = matmul_kernel(tile, dtype)
            yield Variant(name, kernel, arguments, tile.threads * tile.products)


def _elementwise(dtype):
    flat, ids, yes = np.empty(1, dtype), np.empty(1, np.int32), True
    number = np.dtype(dtype).type(0)
    places = 1, 1, 1, 1, 0, 1, 1, 0, 1
    kernels = {
        "fill": (elementwise.fill(dtype), (flat, number)),
        "copy_axis": (elementwise.copy_axis(dtype), (flat, flat, *places)),
        "gather": (elementwise.gather(dtype), (ids, flat, flat, 1)),
        "add_rows": (elementwise.add_rows(dtype), (ids, flat, flat, 1)),
        "pad": (elementwise.pad(dtype), (flat, PLACES, PLACES, flat, 1, 1)),
        "put_rows": (elementwise.put_rows(dtype), (ids, flat, flat, 1)),
    }
    for name in ARITHMETIC:
        kernel = elementwise.arithmetic(name, dtype)
        kernels[name] = kernel, (flat, flat, number, yes, yes, flat)
    for name in UNARY:
        kernels[f"np.{name}"] = elementwise.unary(name, dtype), (flat, flat)
    for name in activations.NAMES:
        kernels[name] = elementwise.activate(name, dtype), (flat, flat)
        kernels[f"{name}, back"] = elementwise.activate_backward(name, dtype), (flat,) * 4
    for name, (kernel, arguments) in kernels.items():
        yield Variant(f"{name} {dtype}", kernel, arguments, elementwise.THREADS)


def _broadcasting(dtype):
    """Those of arrays that are stretched, and folds along an axis."""
    flat, yes, flags = np.empty(1, dtype), True, np.empty(1, np.bool_)
    number, sizes, steps = np.dtype(dtype).type(0), (1, 1, 1), (1, 1, 1, 1)
    side = flat, number, yes, steps
    kernels = {
        "copy": (broadcasting.copy(dtype), (flat, sizes, steps, flat)),
        "copy of bool,": (broadcasting.copy(dtype), (flags, sizes, steps, flat)),
        "choose": (broadcasting.choose(dtype), (flags, steps, *side, *side, sizes, flat)),
    }
    for name in ARITHMETIC + COMPARISONS:
        target = flat if name in ARITHMETIC else flags
        kernels[f"stretched {name}"] = (
            broadcasting.combine(name, dtype), (*side, *side, sizes, target)
        )
    for name, (kernel, arguments) in kernels.items():
        yield Variant(f"{name} {dtype}", kernel, arguments, elementwise.THREADS)
    yield Variant(f"argmax of rows {dtype}", axes.argmax_rows(dtype), (flat, 1, PLACES), axes.LANES)
    for kind in axes.KINDS:
        arguments = flat, 1, 1, 1, number, flat
        yield Variant(f"{kind} of rows {dtype}", axes.fold_rows(kind, dtype), arguments, axes.LANES)
        arguments = flat, 1, 1, 1, 1, number, flat, yes
        yield Variant(f"{kind} of columns {dtype}", axes.fold_columns(kind, dtype), arguments,
                      axes.ACROSS * axes.DOWN)


def _booleans():
    """What there is for booleans, and counts of them."""
    flags, yes, sizes, steps = np.empty(1, np.bool_), True, (1, 1, 1), (1, 1, 1, 1)
    side, one = (flags, np.bool_(0), yes, steps), np.int64(1)
    kernels = {
        "fill": (elementwise.fill("bool"), (flags, np.bool_(0))),
        "logical_not": (elementwise.unary("logical_not", "bool"), (flags, flags)),
        "copy": (broadcasting.copy("bool"), (flags, sizes, steps, flags)),
    }
    for name in LOGICAL:
        kernels[name] = broadcasting.combine(name, "bool"), (*side, *side, sizes, flags)
    for name, (kernel, arguments) in kernels.items():
        yield Variant(f"{name} bool", kernel, arguments, elementwise.THREADS)
    yield Variant("count of rows", axes.fold_rows("sum", "int64"), (flags, 1, 1, 1, one, PLACES),
                  axes.LANES)
    yield Variant("count of columns", axes.fold_columns("sum", "int64"),
                  (flags, 1, 1, 1, 1, one, PLACES, yes), axes.ACROSS * axes.DOWN)


def _places():
    """What there is for places, bounds and counts."""
    sizes, steps, ids, flags = (1, 1, 1), (1, 1, 1, 1), np.empty(1, np.int32), np.empty(1, np.bool_)
    side = PLACES, np.int64(0), True, steps
    kernels = {
        "copy": (broadcasting.copy("int64"), (PLACES, sizes, steps, PLACES)),
        "copy of int32,": (broadcasting.copy("int64"), (ids, sizes, steps, PLACES)),
        "as floats,": (broadcasting.copy("float64"), (PLACES, sizes, steps, np.empty(1))),
        "gather": (elementwise.gather("int64"), (ids, PLACES, PLACES, 1)),
    }
    for name in ("add", "subtract", *COMPARISONS):
        target = PLACES if name in ARITHMETIC else flags
        kernels[f"stretched {name}"] = (
            broadcasting.combine(name, "int64"), (*side, *side, sizes, target)
        )
    for name, (kernel, arguments) in kernels.items():
        yield Variant(f"{name} int64", kernel, arguments, elementwise.THREADS)
    yield Variant("advance", random.advance(), (PLACES, 1), 1)


def _losses(dtype):
    flat, number = np.empty(1, dtype), np.dtype(dtype).type(0)
    for logits in (False, True):
        after = ", logits" if logits else ""
        for kind in ("binary_crossentropy", "mean_squared_error", "mean_absolute_error"):
            if kind == "binary_crossentropy" or not logits:
                kernel = losses.column_loss(kind, logits, dtype)
                arguments = flat, flat, flat, 1, number, flat, flat
                yield Variant(f"{kind} {dtype}{after}", kernel, arguments, elementwise.THREADS)
        for sparse in (False, True):
            kernel = losses.class_loss(sparse, logits, dtype)
            name = f"{'sparse_' * sparse}categorical_crossentropy {dtype}{after}"
            arguments = PLACES if sparse else flat, flat, flat, 1, number, flat, flat
            yield Variant(name, kernel, arguments, losses.LANES)
    yield Variant(f"softmax {dtype}", losses.softmax(dtype), (flat, 1, flat), losses.LANES)
    kernel = losses.softmax_backward(dtype)
    yield Variant(f"softmax {dtype}, back", kernel, (flat, flat, 1, flat), losses.LANES)


def _reductions(dtype):
    flat, ids, one = np.empty(1, dtype), np.empty(1, np.int32), np.empty(1, np.float64)
    for kind in reductions.REDUCTIONS:
        kernel = reductions.reduce(kind, dtype)
        yield Variant(f"{kind} {dtype}", kernel, (flat, one), elementwise.THREADS)
    yield Variant(f"shrink {dtype}", reductions.shrink(dtype), (flat, one, 1.0, True),
                  elementwise.THREADS)
    for name, arguments in {
        "scale": (flat, one),
        "scatter": (ids, flat, 1, 1, one, 1, 1, PLACES),
        "scattered": (PLACES, one, 1, flat, True),
    }.items():
        kernel = getattr(reductions, name)(dtype)
        yield Variant(f"{name} {dtype}", kernel, arguments, elementwise.THREADS)


def _random(dtype):
    flat, key = np.empty(1, dtype), np.uint64(0)
    arguments = key, key, PLACES, True, 1, np.float32(0), np.dtype(dtype).type(0), flat
    yield Variant(f"dropout {dtype}", random.dropout(dtype), arguments, elementwise.THREADS)


def _updates(dtype):
    flat, number = np.empty(1, dtype), np.dtype(dtype).type(0)
    for rule, count in {"sgd": 2, "rmsprop": 4, "adam": 4}.items():
        arguments = *[flat] * 5, *[number] * count, True
        kernel = updates.update(rule, dtype)
        yield Variant(f"{rule} {dtype}", kernel, arguments, elementwise.THREADS)


def _some(dtype):
    """A vector, a matrix and a cube of that type; ids, and the steps of a mask."""
    vector, matrix, cube = (np.empty((1,) * axes, dtype) for axes in (1, 2, 3))
    runs = np.empty(1, np.int64)
    return vector, matrix, cube, np.empty((1, 1), np.int32), (runs, runs, True)


def _sweeps(dtype):
    vector, matrix, cube, ids, mask = _some(dtype)
    for name, cell in CELLS.items():
        states, has = (matrix,) * cell.states, (True,) * cell.states
        there = (0, vector, ids.ravel(), matrix, vector, True, cube, *mask[:2], states, True,
                 vector, cube, vector, vector)
        back = (0, matrix, cube, *mask[:2], vector, cube, vector, vector, states, has, cube, vector,
                vector, matrix)
        for units, *tiles in BLOCKS[dtype]:
            if dtype == "float32" and tiles[0].rows == 1:
                tiles = OTHER_BLOCKS.get((name, units), tiles)
            for kind, ways in WAYS.items():
                if kind and units > WARP:
                    continue
                for direction, make, arguments, tile, way in zip(
                    ("there", "back"), (sweep_forward, sweep_backward), (there, back), tiles, ways,
                    strict=True,
                ):
                    sweep = make(cell, units, dtype, tile, way)
                    size = f"{units} units" + f" x {tile.rows} rows" * (tile.rows > 1)
                    yield Variant(f"{name} {dtype} {size}{kind}, {direction}", sweep.kernel,
                                  arguments, sweep.threads, sweep.shared)


def _steps(dtype):
    vector, matrix, cube, ids, mask = _some(dtype)
    for name, cell in CELLS.items():
        states, has = (matrix,) * cell.states, (True,) * cell.states
        inputs = 0, 0, matrix, ids, True, matrix
        there = (*inputs, vector, True, cube, 0, *mask, states, True, cube, cube, cube, cube, cube,
                 True, True, True)
        back = (0, 0, cube, 0, *mask, cube, cube, cube, cube, True, True, states, has, cube, matrix,
                cube, matrix, cube, cube)
        kernels = stepwise.forward_kernels(cell, dtype), stepwise.backward_kernels(cell, dtype)
        made = {
            "step there": (kernels[0].step, there),
            "reset there": (kernels[0].reset, (*inputs, cube, 0, cube, cube)),
            "step back": (kernels[1].step, back),
            "reset back": (kernels[1].reset, (0, 0, cube, 0, *mask, cube, cube, matrix, cube,
                                              matrix, cube)),
        }
        for way, (kernel, arguments) in made.items():
            if kernel is not None:
                yield Variant(f"{name} {dtype} {way}", kernel, arguments, THREADS)


def _sums(dtype):
    _, matrix, cube, ids, _ = _some(dtype)
    order = ids.ravel()
    arguments = 0, matrix, 0, order, True, order, True, 0, matrix, True
    yield Variant(f"sum of runs {dtype}", sums.sum_kernel(dtype), arguments, THREADS)
    yield Variant(f"drop {dtype}", sums.drop_kernel(dtype), (matrix, 0, cube, 0, cube), THREADS)
