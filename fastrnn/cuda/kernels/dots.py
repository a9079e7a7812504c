"""The products of a step of a sweep: a vector that all threads see, by weights that stay on chip.

`fastrnn.cuda.sweep_tiles` says what each thread has of them. With a tile of V units, R rows and L
lanes a thread sums, for its part of the vectors, V * R * outputs products; then the L threads add
these up in log2(L) rounds. As long as a thread has more than it will keep, it gives the half that
its neighbour keeps and gets that of its own: V R / 2 + V R / 4 + ... numbers travel for each
output, and at the end each thread has the sums of one unit of one row. If lanes are left then, all
of them get the same sums.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.target import ALIGNMENT, copy_wide, device_function, exchanged
from fastrnn.cuda.tiles import WIDE

__all__ = ["Product", "multiplication", "thread_places"]

# Multiplications in a loop that every compiler unrolls. Registers have no index: if a loop over the
# weights is not unrolled, they lie in device memory. Longer loops are put together of such parts.
# Likewise weights that are brought, each with its noise.
UNROLLED, UNROLLED_LOADS = 32, 8


class Product(NamedTuple):
    """A product of vectors that all threads see by U, and how a thread finds its weights."""

    length: int  # of a vector; 0: there is no such product
    outputs: int  # how many weights, and sums, a unit has for each place of the vector
    element: Any  # device function (U, noise, row, q, o, unit): a weight
    into: int  # where its sums begin


@functools.cache
def thread_places(tile, units):
    """The device function () -> (lane, first unit of its neighbourhood, own unit, own row).

    The last unit stands for those that there are not: whoever has it twice finds the same.
    """
    V, _, L = tile
    last, alike = -(-units // V) - 1, tile.alike

    @device_function
    def places():
        x = cuda.threadIdx.x
        lane = x % L
        slot = lane // alike
        first = min(x // L, last) * V
        return lane, first, min(first + slot % V, units - 1), slot // V

    return places


def multiplication(product, units, plan, part, depth, dtype):
    """Two device functions for a `Product`, of which a thread has the `Slice` ``part``.

    ``load(U, noise, row, lane, first, own, shared)`` brings a thread's weights: for so many places
    of its slice as one wide load has numbers, those of output 0, then of output 1, and so on. In
    shared memory such pieces of 16 bytes lie side by side with those of the other threads.

    ``dot(shared, start, own, lane, sums)`` multiplies the vectors at ``shared[start:]``, one for
    each row of the block, and leaves in ``sums`` those of the thread's own unit and row.
    """
    length, gates, element, into = product
    if not length:
        return _load_nothing, _dot_nothing
    extent, kept, own_from, shared_from = part
    V, R, L = plan.tile
    threads, outputs = plan.threads, V * gates
    number = np.dtype(dtype).type
    zero = number(0)
    width = WIDE // np.dtype(dtype).itemsize
    # So many sums at a time that no addition waits for the one before: those of several outputs
    # or rows do not anyway.
    chains = max(width // (outputs * R), 1)
    count = R * outputs * chains
    numbers_count, column_count = R * width, outputs * width
    # Of what lies in registers, at a time. In shared memory weights do have an index.
    at_once = max(UNROLLED // (outputs * R) // width, 1) * width
    load_at_once = max(UNROLLED_LOADS // (outputs * min(R, 2)), 1)

    @device_function
    def weight(U, noise, row, lane, first, q, o):
        k = (q // width * L + lane) * width + q % width
        unit = min(first + o // gates, units - 1)
        return element(U, noise, row, k, o % gates, unit) if k < length else zero

    @device_function
    def load_shared(U, noise, row, lane, first, own, shared):
        at = shared_from + cuda.threadIdx.x * width
        for q in range(kept, extent):
            for o in range(outputs):
                piece = (q - kept) // width * outputs + o
                shared[at + piece * width * threads + q % width] = weight(
                    U, noise, row, lane, first, q, o
                )

    def load_from(begin):
        if begin >= kept:
            return load_shared if kept < extent else _load_nothing
        end = min(begin + load_at_once, kept)
        rest = load_from(end)

        @device_function
        def load(U, noise, row, lane, first, own, shared):
            for q in range(begin, end):
                for o in range(outputs):
                    piece = q // width * outputs + o
                    own[own_from + piece * width + q % width] = weight(
                        U, noise, row, lane, first, q, o
                    )
            rest(U, noise, row, lane, first, own, shared)

        return load

    @device_function
    def multiply(numbers, columns, at, partial):
        for v in range(width):
            for o in range(outputs):
                for r in range(R):
                    i = (r * outputs + o) * chains + v % chains
                    partial[i] += numbers[r * width + v] * columns[at + o * width + v]

    @device_function
    def add_shared(shared, start, own, partial):
        numbers = cuda.local.array(numbers_count, number, ALIGNMENT)
        column = cuda.local.array(column_count, number, ALIGNMENT)
        at = shared_from + cuda.threadIdx.x * width
        for q in range(kept, extent, width):
            for r in range(R):
                copy_wide(numbers, r * width, shared, start + r * depth + q * L)
            for o in range(outputs):
                copy_wide(column, o * width, shared,
                          at + ((q - kept) * outputs + o * width) * threads)
            multiply(numbers, column, 0, partial)

    def add_from(begin):
        if begin >= kept:
            return add_shared if kept < extent else _add_nothing
        end = min(begin + at_once, kept)
        rest = add_from(end)

        @device_function
        def add(shared, start, own, partial):
            numbers = cuda.local.array(numbers_count, number, ALIGNMENT)
            for q in range(begin, end, width):
                for r in range(R):
                    copy_wide(numbers, r * width, shared, start + r * depth + q * L)
                multiply(numbers, own, own_from + q * outputs, partial)
            rest(shared, start, own, partial)

        return add

    add, add_up, total_of = add_from(0), _add_up(R * outputs, plan.tile), _total_of(chains)

    @device_function
    def dot(shared, start, own, lane, sums):
        partial = cuda.local.array(count, number, ALIGNMENT)
        for i in range(count):
            partial[i] = zero
        add(shared, start + lane * width, own, partial)
        for i in range(R * outputs):
            partial[i] = total_of(partial, i * chains)
        add_up(partial, lane)
        for o in range(gates):
            sums[into + o] = partial[o]

    return load_from(0), dot


@functools.cache
def _total_of(count):
    """The device function that sums ``values[at : at + count]``, a power of two, in pairs."""
    if count == 1:

        @device_function
        def one(values, at):
            return values[at]

        return one
    half, rest = count // 2, _total_of(count // 2)

    @device_function
    def total(values, at):
        return rest(values, at) + rest(values, at + half)

    return total


def _add_up(count, tile):
    """The device function that adds up ``partial[:count]`` among the lanes of a tile.

    What a round gives and keeps lies in halves, and each round has a distance of its own: the tree
    by which a sum is made is the same whoever ends with it.
    """

    def rounds(count, slots, distance):
        if not distance:
            return _nothing_to_add
        half = count // 2 if slots > 1 else count
        rest = rounds(half, slots // 2, distance // 2)

        @device_function
        def halve(partial, lane):
            upper = lane & distance != 0
            for i in range(half):
                low, high = partial[i], partial[half + i]
                mine, other = (high, low) if upper else (low, high)
                partial[i] = mine + exchanged(other, distance)
            rest(partial, lane)

        @device_function
        def share(partial, lane):
            for i in range(half):
                partial[i] += exchanged(partial[i], distance)
            rest(partial, lane)

        return halve if slots > 1 else share

    return rounds(count, tile.units * tile.rows, tile.lanes // 2)


@device_function
def _nothing_to_add(partial, lane):
    pass


@device_function
def _load_nothing(U, noise, row, lane, first, own, shared):
    pass


@device_function
def _dot_nothing(shared, start, own, lane, sums):
    pass


@device_function
def _add_nothing(shared, start, own, partial):
    pass
