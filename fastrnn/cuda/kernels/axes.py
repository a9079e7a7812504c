"""Kernels that sum along an axis, or find what is largest or smallest: (outer, n, inner).

The n places of the axis are cut into shares, and a block takes one share of some columns; a second
launch takes what the shares gave. The order depends on shapes alone, so results repeat bit for bit.
"""

from __future__ import annotations

import functools

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.target import ALIGNMENT, SIMULATED, device_function, kernel

__all__ = ["ACROSS", "DOWN", "KINDS", "LANES", "argmax_rows", "fold_columns", "fold_rows"]

KINDS = ("sum", "max", "min")
LANES = 4 if SIMULATED else 32  # threads that share a row
# Columns and places of the axis that a block of `fold_columns` takes at a time.
ACROSS, DOWN = (2, 2) if SIMULATED else (32, 8)


@functools.cache
def _ways(kind, dtype):
    """The device functions with which a thread begins, takes one more, and ends.

    ``begin(a, i)``; ``take(total, x)``; ``end(total, divisor)``. NaN is the largest and smallest.
    """
    number = np.dtype(dtype).type
    zero = number(0)

    def nothing(a, i):
        return zero

    def first(a, i):
        return number(a[i])  # it will be taken again, which changes nothing

    def plus(total, x):
        return total + x

    def larger(total, x):
        return x if x > total or x != x else total

    def smaller(total, x):
        return x if x < total or x != x else total

    def over(total, divisor):
        return total / divisor

    def whole(total, divisor):
        return total

    return tuple(map(device_function, (
        nothing if kind == "sum" else first,
        {"sum": plus, "max": larger, "min": smaller}[kind],
        over if np.dtype(dtype).kind == "f" else whole,
    )))  # fmt: skip


@functools.cache
def fold_rows(kind, dtype):
    """``(a, n, share, shares, divisor, target)``: a (outer, n), target (outer, shares).

    ``kernel[outer * shares, LANES]``; totals are of ``dtype``, and come out over the divisor.
    """
    number = np.dtype(dtype).type
    begin, take, end = _ways(kind, dtype)

    @kernel(LANES, writes="target")
    def fold_rows(a, n, share, shares, divisor, target):
        shared = cuda.shared.array(LANES, number, ALIGNMENT)
        lane, block = cuda.threadIdx.x, cuda.blockIdx.x
        before = block % shares * share
        start, length = block // shares * n + before, min(share, n - before)
        total = begin(a, start)
        for i in range(lane, length, LANES):
            total = take(total, number(a[start + i]))
        shared[lane] = total
        cuda.syncthreads()
        half = LANES // 2
        while half > 0:
            if lane < half:
                shared[lane] = take(shared[lane], shared[lane + half])
            cuda.syncthreads()
            half //= 2
        if lane == 0:
            target[block] = end(shared[0], divisor)

    return fold_rows


@device_function
def _leads(x, i, y, j):
    """Whether x at i is what NumPy's argmax takes, not y at j: NaN first, the larger, the first."""
    if x != x or y != y:
        return x != x and (y == y or i < j)
    return x > y or x == y and i < j


@functools.cache
def argmax_rows(dtype):
    """``(a, n, target)``: where in each row of a (rows, n) its largest is, as np.argmax says.

    ``kernel[rows, LANES]``; target (rows,) int64.
    """
    number = np.dtype(dtype).type

    @kernel(LANES, writes="target")
    def argmax_rows(a, n, target):
        values = cuda.shared.array(LANES, number, ALIGNMENT)
        places = cuda.shared.array(LANES, np.int64, ALIGNMENT)
        lane, row = cuda.threadIdx.x, cuda.blockIdx.x
        start = row * n
        best, place = a[start], 0
        for i in range(lane, n, LANES):
            if _leads(a[start + i], i, best, place):
                best, place = a[start + i], i
        values[lane], places[lane] = best, place
        cuda.syncthreads()
        half = LANES // 2
        while half > 0:
            if lane < half:
                other = lane + half
                if _leads(values[other], places[other], values[lane], places[lane]):
                    values[lane], places[lane] = values[other], places[other]
            cuda.syncthreads()
            half //= 2
        if lane == 0:
            target[row] = places[0]

    return argmax_rows


@functools.cache
def fold_columns(kind, dtype):
    """``(a, n, inner, share, shares, divisor, target, adds)``: a (outer, n, inner).

    ``kernel[outer * shares * column blocks, (ACROSS, DOWN)]`` writes target (outer, shares, inner)
    or adds to it; totals are of ``dtype``, and come out over the divisor. The grid has one axis: a
    GPU has no more than 65,535 blocks along another.
    """
    number = np.dtype(dtype).type
    count = ACROSS * DOWN
    begin, take, end = _ways(kind, dtype)

    @kernel(count, writes="target")
    def fold_columns(a, n, inner, share, shares, divisor, target, adds):
        shared = cuda.shared.array(count, number, ALIGNMENT)
        x, y, across = cuda.threadIdx.x, cuda.threadIdx.y, (inner + ACROSS - 1) // ACROSS
        block = cuda.blockIdx.x // across
        column = cuda.blockIdx.x % across * ACROSS + x
        first = block % shares * share
        last = min(first + share, n)
        at = block // shares * n * inner + column
        total = number(0)
        if column < inner:
            total = begin(a, at + first * inner)
            for k in range(first + y, last, DOWN):
                total = take(total, number(a[at + k * inner]))
        shared[y * ACROSS + x] = total
        cuda.syncthreads()
        if y == 0 and column < inner:
            for other in range(1, DOWN):
                total = take(total, shared[other * ACROSS + x])
            total = end(total, divisor)
            to = block * inner + column
            target[to] = target[to] + total if adds else total

    return fold_columns
