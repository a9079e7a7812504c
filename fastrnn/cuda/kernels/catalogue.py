"""Every kernel in every variant, for those who look at all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastrnn.cuda.kernels.matmul import Bias, Operand, matmul_kernel
from fastrnn.cuda.tiles import TILES

__all__ = ["Variant", "variants"]


class Variant(NamedTuple):
    """One kernel, compiled for one float type and one way to cut up the work."""

    name: str
    kernel: Any
    arguments: tuple  # of the types that it is called with
    threads: int  # of a block


def variants():
    """All of them."""
    for dtype, tiles in TILES.items():
        flat = np.empty(1, dtype)
        matrix = Operand(flat, 0, 0, True, True)
        arguments = matrix, matrix, Bias(flat, 0, True), matrix, 0, 0, 0, 0, 0
        for tile in tiles:
            name = f"matmul {dtype} {tile.rows}x{tile.columns}"
            kernel = matmul_kernel(tile, dtype)
            yield Variant(name, kernel, arguments, tile.threads * tile.products)
