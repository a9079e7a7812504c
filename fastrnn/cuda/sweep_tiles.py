"""How the sweep of a recurrent layer is dealt out to the threads of a block, and which way is
chosen.

A step multiplies a vector that all threads see, h on the way there and the gradients of the sums on
the way back, by the layer's weights. With a thread for each unit, each of them would read the whole
vector, and a multiprocessor reads one number a cycle for the 32 threads of a warp, but multiplies
128: where a number that was read is used once, reading takes four times as long. So ``lanes``
neighbouring threads share ``units`` units of ``rows`` rows. Each has a part of the vectors, and
the weights of all of these units for that part; what they found is added up among them, and each
goes on with one unit of one row. A weight serves all rows, a number read all units and gates.

What a thread multiplies by lies in its registers, as far as there is room, the rest in shared
memory. Nothing here is measured: costs are counted, in cycles.
"""

from __future__ import annotations

import itertools
from math import ceil
from typing import NamedTuple

import numpy as np

from fastrnn.cuda.tiles import WARP, WIDE

__all__ = ["Plan", "Slice", "Tile", "cycles", "plan", "products_back", "products_there", "tiles_of"]

# Registers of a multiprocessor, of a thread at most, and those that a thread has for all else than
# weights, about; numbers of 32 bits.
REGISTERS, OTHER_REGISTERS = 1 << 16, 112
# Weights of 32 bits that a thread keeps at most; and the share of these if there are more, for then
# it has more to find its way with.
WEIGHTS, KEPT_SHARE = 128, 7 / 8
BLOCK_THREADS = 512  # at most
# What a multiprocessor takes at most; its schedulers each have a share of the warps.
BLOCKS, THREADS, SCHEDULERS = 32, 2048, 4
# Sums that a thread has under way at most: they and a vector's numbers lie in registers, too.
SUMS = 16
# Cycles, by count: of an exchange of vectors within a warp, and between warps besides; of a round
# in which numbers go from thread to thread; of a cell's own chain; instructions of a gate.
EXCHANGE, BETWEEN_WARPS, ROUND, CELL, GATE = 70, 25, 35, 120, 20
# The share of its reading that a block alone waits for: it multiplies what came first meanwhile.
WAITED = 0.75


class Tile(NamedTuple):
    """What ``lanes`` neighbouring threads do together: powers of two, units * rows <= lanes."""

    units: int
    rows: int  # of a block
    lanes: int

    @property
    def alike(self):
        """How many threads end with the same unit of the same row."""
        return self.lanes // (self.units * self.rows)


class Slice(NamedTuple):
    """A thread's part of a product: how many numbers of the vector, and where its weights lie."""

    extent: int
    kept: int  # the first of them, whose weights lie in registers
    own: int  # where these begin there
    shared: int  # where all others begin in shared memory


class Plan(NamedTuple):
    """What the threads of a block have, and where it lies.

    Shared memory holds, in this order: the weights that do not lie in registers; the vectors of
    the first product, twice; those of the second.
    """

    tile: Tile
    threads: int
    slices: list  # for each product
    depths: list  # for each: the length of a vector in memory; it must be zero beyond its own
    own: int  # weights to make room for in a thread's registers
    shown: int  # where the vectors begin in shared memory
    bytes: int  # of shared memory
    registers: int  # of all threads, about


def products_there(units, gates, direct):
    """(length of the vector, sums for each unit) of the one or two products of a step."""
    return (units, direct), (units if direct < gates else 0, gates - direct)


def products_back(units, gates, direct):
    """As `products_there`: by U^T, of all gradients to one for each unit."""
    return (direct * units, 1), ((gates - direct) * units, 1)


def plan(units, dtype, tile, products):
    """The `Plan` of one or two products.

    >>> found = plan(64, "float32", Tile(1, 1, 2), products_there(64, 4, 4))
    >>> found.threads, found.slices[0].extent, found.own
    (128, 32, 128)
    """
    size = np.dtype(dtype).itemsize
    width = WIDE // size
    threads = ceil(ceil(units / tile.units) * tile.lanes / WARP) * WARP
    # Of each product: how much of a vector a thread takes, in whole wide loads, and sums for it.
    parts = [
        (ceil(length / (tile.lanes * width)) * width, outputs * tile.units)
        for length, outputs in products
    ]
    left = min(WEIGHTS, REGISTERS // threads // 8 * 8 - OTHER_REGISTERS) * 4 // size
    if size == 8:
        left = left * 5 // 8  # all else takes twice as many registers, too
    if sum(extent * sums for extent, sums in parts) > left:
        left = int(left * KEPT_SHARE)
    own = shared = 0
    slices = []
    for extent, sums in parts:
        kept = min(extent, max(left, 0) // max(sums * width, 1) * width)
        slices.append(Slice(extent, kept, own, shared))
        left -= kept * sums
        own += kept * sums
        shared += (extent - kept) * sums * threads
    depths = [s.extent * tile.lanes for s in slices]
    end = shared + tile.rows * (2 * depths[0] + depths[1])
    registers = threads * (own * size // 4 + OTHER_REGISTERS)
    return Plan(tile, threads, slices, depths, max(own, 1), shared, end * size, registers)


def tiles_of(units, rows, outputs):
    """The `Tile` that there are for a layer, of up to ``rows`` rows.

    >>> tiles_of(32, (1, 2, 4), 1)[:2]
    [Tile(units=1, rows=1, lanes=1), Tile(units=2, rows=1, lanes=2)]
    """
    powers = [1 << i for i in range(WARP.bit_length())]
    found = [
        Tile(some, r, lanes)
        for some, r, lanes in itertools.product(powers[:4], rows, powers)
        if some * r <= lanes <= min(4 * some * r, WARP) and some * r * outputs <= SUMS
        and ceil(units / some) * lanes <= BLOCK_THREADS
    ]
    if units <= WARP:  # a warp a row: nobody waits for another warp
        return [t for t in found if t.rows == 1 and ceil(units / t.units) * t.lanes <= WARP]
    return found


def cycles(plan, dtype, products, gates, rows, multiprocessors, shared_limit):
    """What a step of all rows takes by count, or None if a block does not fit.

    A block waits for its own chain: reading, multiplying, adding up, and the cell. Blocks beside
    each other fill what another one waits, until what all of them read or multiply binds.
    """
    tile, words = plan.tile, np.dtype(dtype).itemsize // 4
    resident = min(
        shared_limit // plan.bytes, REGISTERS // plan.registers, BLOCKS, THREADS // plan.threads
    )
    if not resident:
        return None
    warps = plan.threads // WARP
    in_turn = ceil(warps / SCHEDULERS)
    reads, work, chain = 0, in_turn * gates * GATE, CELL
    for (length, outputs), part in zip(products, plan.slices, strict=True):
        if length:
            sums, owners = outputs * tile.units, tile.units * tile.rows
            travels = sums * tile.rows * (1 - 1 / owners) + outputs * (tile.alike.bit_length() - 1)
            weights = (part.extent - part.kept) * sums
            reads += warps * words * (tile.rows * part.extent + weights + 2 * travels)
            work += in_turn * words * (part.extent * sums * tile.rows + 2 * travels)
            chain += EXCHANGE + BETWEEN_WARPS * (warps > 1) + ROUND * (tile.lanes.bit_length() - 1)
    alone = chain + work + WAITED * reads

    def step(blocks):
        return max(alone, blocks * max(reads, work)) if blocks else 0

    whole, rest = divmod(ceil(ceil(rows / tile.rows) / multiprocessors), resident)
    return whole * step(resident) + step(rest)
