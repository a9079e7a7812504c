"""Every kernel in every variant, for those who look at all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn.cells import CellSpec
from fastrnn.cuda.kernels.matmul import Bias, Operand, matmul_kernel
from fastrnn.cuda.kernels.sweep import WARP, sweep_backward, sweep_forward
from fastrnn.cuda.tiles import TILES

__all__ = ["Variant", "variants"]


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


def _products():
    for dtype, tiles in TILES.items():
        flat = np.empty(1, dtype)
        matrix = Operand(flat, 0, 0, True, True)
        arguments = matrix, matrix, Bias(flat, 0, True), matrix, 0, 0, 0, 0, 0
        for tile in tiles:
            name = f"matmul {dtype} {tile.rows}x{tile.columns}"
            kernel = matmul_kernel(tile, dtype)
            yield Variant(name, kernel, arguments, tile.threads * tile.products)


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
