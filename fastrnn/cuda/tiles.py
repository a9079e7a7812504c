"""How products are cut up into blocks, and which way is chosen for a size."""

from __future__ import annotations

from math import ceil
from typing import NamedTuple

__all__ = ["TILES", "WARP", "WIDE", "Tile", "choose_tile", "length_of_parts"]

WARP = 32  # threads that a multiprocessor runs together
WIDE = 16  # bytes: the most that one load of a thread fetches


class Tile(NamedTuple):
    """How a block cuts up its work: rows x columns of C, for each product of the block."""

    rows: int
    columns: int
    depth: int  # how many k lie in shared memory at a time
    m: int  # rows of C that one thread sums
    n: int  # columns
    products: int  # that one block computes
    resident: int  # blocks that are to fit a multiprocessor, which bounds the registers of a thread

    @property
    def threads(self):
        """Threads for one product."""
        return self.rows // self.m * (self.columns // self.n)

    def blocks(self, batch, M, N):
        """Blocks for a batch of products of M x N."""
        return ceil(batch / self.products) * self.pieces(M, N)

    def pieces(self, M, N):
        """Tiles that cover one product."""
        return ceil(M / self.rows) * ceil(N / self.columns)


# By float type, small to large. Doubles have no 8 x 8 sums: they would take 128 registers alone.
TILES = {
    "float32": (
        Tile(16, 16, 16, 4, 4, products=8, resident=4),
        Tile(32, 32, 8, 4, 4, products=2, resident=6),
        Tile(64, 32, 16, 4, 4, products=1, resident=4),
        Tile(64, 64, 8, 8, 8, products=1, resident=6),
        Tile(128, 64, 8, 8, 8, products=1, resident=3),
    ),
    "float64": (
        Tile(16, 16, 8, 4, 4, products=4, resident=4),
        Tile(32, 32, 8, 4, 4, products=1, resident=6),
        Tile(64, 64, 8, 8, 4, products=1, resident=3),
    ),
}

# What a number from device memory costs, in reads from shared memory: the ratio of the bandwidths
# of an H200 by its datasheet. Not measured.
DEVICE_READ = 6


def choose_tile(dtype, batch, M, N, multiprocessors):
    """The tile with which a batch of products of M x N should take the least time.

    Arithmetic, not measured: the multiprocessors take blocks in turns; a block takes as long as
    its multiplications, each with its share of the numbers read from shared and device memory.

    >>> choose_tile("float32", 1000, 32, 32, multiprocessors=132).rows
    32
    >>> choose_tile("float32", 1000, 128, 128, multiprocessors=132).rows
    128
    """

    def time(tile):
        share = 1 / tile.m + 1 / tile.n + DEVICE_READ * (1 / tile.rows + 1 / tile.columns)
        block = tile.products * tile.rows * tile.columns * (1 + share)  # places may stay empty
        return ceil(tile.blocks(batch, M, N) / multiprocessors) * block

    return min(TILES[dtype], key=time)


def length_of_parts(total, least):
    """How long the parts of a long sum are: ``least``, or a little more if nothing is left then.

    >>> length_of_parts(64000, 63), length_of_parts(10007, 64)
    (64, 64)
    """
    return next((n for n in range(least, 2 * least) if total % n == 0), least)
