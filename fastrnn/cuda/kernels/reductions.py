"""Kernels that sum: of all elements, of columns, of the rows that share an id.

Every sum is taken in an order that depends on shapes alone, or is one of whole numbers, which no
order can change: results repeat bit for bit. No float is ever added atomically.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.elementwise import THREADS
from fastrnn.cuda.kernels.target import ALIGNMENT, SIMULATED, device_function, kernel

__all__ = [
    "ACROSS", "DOWN", "REDUCTIONS", "column_sums", "reduce", "scatter", "scattered",
]

REDUCTIONS = ("sum", "sum of squares", "largest")
# Columns and rows that a block of `column_sums` takes at a time.
ACROSS, DOWN = (2, 2) if SIMULATED else (32, 8)


@functools.cache
def reduce(kind, dtype):
    """``(a, target)``: a float64 for each block, of one of `REDUCTIONS`, over its share of a.

    "largest" is that of the absolute values; NaN where there is one.
    """

    def plus(total, x):
        return total + x

    def plus_square(total, x):
        return total + x * x

    def larger(total, x):
        x = abs(x)
        return x if x > total or x != x else total

    take = device_function({
        "sum": plus, "sum of squares": plus_square, "largest": larger,
    }[kind])  # fmt: skip
    join = device_function(larger if kind == "largest" else plus)

    @kernel(THREADS)
    def reduce(a, target):
        shared = cuda.shared.array(THREADS, np.float64, ALIGNMENT)
        thread = cuda.threadIdx.x
        total = 0.0
        for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
            total = take(total, np.float64(a[i]))
        shared[thread] = total
        cuda.syncthreads()
        half = THREADS // 2
        while half > 0:
            if thread < half:
                shared[thread] = join(shared[thread], shared[thread + half])
            cuda.syncthreads()
            half //= 2
        if thread == 0:
            target[cuda.blockIdx.x] = shared[0]

    return reduce


@functools.cache
def column_sums(dtype):
    """``(a, rows, columns, share, target, adds)``: of each ``share`` rows of a (rows, columns).

    ``kernel[(shares, column blocks), (ACROSS, DOWN)]`` writes target (shares, columns), or adds.
    """
    number = np.dtype(dtype).type
    count = ACROSS * DOWN

    @kernel(count)
    def column_sums(a, rows, columns, share, target, adds):
        shared = cuda.shared.array(count, number, ALIGNMENT)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        column = cuda.blockIdx.y * ACROSS + x
        first = cuda.blockIdx.x * share
        last = min(first + share, rows)
        total = number(0)
        if column < columns:
            for row in range(first + y, last, DOWN):
                total += a[row * columns + column]
        shared[y * ACROSS + x] = total
        cuda.syncthreads()
        if y == 0 and column < columns:
            for other in range(1, DOWN):
                total += shared[other * ACROSS + x]
            at = cuda.blockIdx.x * columns + column
            target[at] = target[at] + total if adds else total

    return column_sums


# -- rows by their ids ----------------------------------------------------------
#
# Many threads add to one row of the table, in whatever order they come. Floats would give another
# sum each time; so entries are turned into whole numbers of 64 bits, by a factor that is a power of
# two and leaves room for the sum of all. Of 2^b rows, entries of single precision lose nothing
# unless they are 2^(38 - b) times smaller than the largest.


@functools.cache
def _exponent():
    @device_function
    def exponent(largest, bits):
        """The power of two by which entries are multiplied, if there are at most 2^bits."""
        _, e = math.frexp(largest)
        return min(62 - bits - e, 1022)

    return exponent


@functools.cache
def scatter(dtype):
    """``(ids, dy, width, length, largest, bits, sums)``: adds rows of dy to those of sums, by id.

    A thread takes ``length`` rows, of one column: those of neighbours with one id, as the steps of
    padding are, are first added up, in double precision. ``largest``, of one element: the largest
    absolute value in dy, which has up to 2^bits rows. sums are int64.
    """
    exponent = _exponent()

    @device_function
    def add(sums, at, total, largest, factor):
        if total != 0:  # or NaN
            if largest < math.inf:
                cuda.atomic.add(sums, at, np.int64(total * factor))
            else:
                cuda.atomic.add(sums, at, np.int64(1))

    @kernel(THREADS)
    def scatter(ids, dy, width, length, largest, bits, sums):
        i = cuda.grid(1)
        column, first = i % width, i // width * length
        if first < ids.size:
            most = largest[0]
            factor = math.ldexp(1.0, exponent(most, bits)) if most < math.inf else 0.0
            row, total = ids[first], 0.0
            for k in range(first, min(first + length, ids.size)):
                if ids[k] != row:
                    add(sums, row * width + column, total, most, factor)
                    row, total = ids[k], 0.0
                total += np.float64(dy[k * width + column])
            add(sums, row * width + column, total, most, factor)

    return scatter


@functools.cache
def scattered(dtype):
    """``(sums, largest, bits, target, adds)``: writes what `scatter` has summed, or adds it.

    Where dy held an infinity or NaN, all rows that occur become NaN.
    """
    number = np.dtype(dtype).type
    zero = number(0)
    exponent = _exponent()

    @kernel(THREADS)
    def scattered(sums, largest, bits, target, adds):
        i = cuda.grid(1)
        if i < target.size:
            found = zero
            if sums[i] != 0:
                if largest[0] < math.inf:
                    factor = math.ldexp(1.0, -exponent(largest[0], bits))
                    found = number(np.float64(sums[i]) * factor)
                else:
                    found = number(math.nan)
            if adds:
                found += target[i]
            target[i] = found

    return scattered
