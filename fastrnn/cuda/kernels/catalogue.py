"""Every kernel in every variant, for those who look at all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn.cells import CellSpec
from fastrnn.cuda.kernels import elementwise, losses, reductions, updates
from fastrnn.cuda.kernels.matmul import Bias, Operand, matmul_kernel
from fastrnn.cuda.kernels.sweep import WARP, sweep_backward, sweep_forward
from fastrnn.cuda.tiles import TILES

__all__ = ["Variant", "variants"]

PLACES = np.empty(1, np.int64)


class Variant(NamedTuple):
    """One kernel, compiled for one float type and one way to cut up the work."""

    name: str
    kernel: Any
    arguments: tuple  # of the types that it is called with
    threads: int  # of a block


def variants():
    """All of them; sweeps with the default activations and as many units as they take."""
    yield from _products()
    yield from _sweeps()
    for dtype in TILES:
        yield from _elementwise(dtype)
        yield from _losses(dtype)
        yield from _reductions(dtype)
        yield from _updates(dtype)


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
    side = flat, number, yes
    kernels = {
        "fill": (elementwise.fill(dtype), (flat, number)),
        "copy_axis": (elementwise.copy_axis(dtype), (flat, flat, *places)),
        "gather": (elementwise.gather(dtype), (ids, flat, flat, 1)),
        "add_rows": (elementwise.add_rows(dtype), (ids, flat, flat, 1)),
        "pad": (elementwise.pad(dtype), (flat, PLACES, PLACES, flat, 1, 1)),
        "select": (elementwise.select(dtype), (ids, 1, *side, *side, flat)),
    }
    for name in elementwise.OPERATIONS:
        kernel = elementwise.arithmetic(name, dtype)
        kernels[name] = kernel, (flat, flat, number, yes, yes, flat)
    for name in ("relu", "tanh", "sigmoid", "hard_sigmoid"):
        kernels[name] = elementwise.activate(name, dtype), (flat, flat)
        kernels[f"{name}, back"] = elementwise.activate_backward(name, dtype), (flat, flat, flat)
    for name, (kernel, arguments) in kernels.items():
        yield Variant(f"{name} {dtype}", kernel, arguments, elementwise.THREADS)


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
    kernel, threads = reductions.column_sums(dtype), reductions.ACROSS * reductions.DOWN
    yield Variant(f"column_sums {dtype}", kernel, (flat, 1, 1, 1, flat, True), threads)
    for name, arguments in {
        "scatter": (ids, flat, 1, one, 1, PLACES), "scattered": (PLACES, one, 1, flat),
    }.items():
        kernel = getattr(reductions, name)(dtype)
        yield Variant(f"{name} {dtype}", kernel, arguments, elementwise.THREADS)


def _updates(dtype):
    flat, number = np.empty(1, dtype), np.dtype(dtype).type(0)
    for rule, count in {"sgd": 2, "rmsprop": 4, "adam": 4}.items():
        arguments = *[flat] * 5, *[number] * count, True
        kernel = updates.update(rule, dtype)
        yield Variant(f"{rule} {dtype}", kernel, arguments, elementwise.THREADS)


def _sweeps():
    yes, runs = True, np.empty(1, np.int64)
    for dtype in TILES:
        vector, matrix, cube = (np.empty((1,) * axes, dtype) for axes in (1, 2, 3))
        there = cube, matrix, vector, runs, runs, cube, cube, cube, yes, yes, yes
        back = matrix, runs, runs, cube, cube, cube, yes, yes, matrix, cube, cube
        for kind in ("simple_rnn", "lstm", "gru"):
            cell = CellSpec(kind)
            name = f"{kind} {dtype} {WARP} units"
            yield Variant(f"{name}, there", sweep_forward(cell, WARP, dtype), there, WARP)
            yield Variant(f"{name}, back", sweep_backward(cell, WARP, dtype), back, WARP)
