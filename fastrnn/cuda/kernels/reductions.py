"""Kernels that sum: of all elements, of the rows that share an id; and what a norm scales.

Every sum is taken in an order that depends on shapes alone, or is one of whole numbers, which no
order can change: results repeat bit for bit. No float is ever added atomically.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.elementwise import THREADS
from fastrnn.cuda.kernels.target import ALIGNMENT, device_function, kernel

__all__ = ["REDUCTIONS", "reduce", "scatter", "scattered", "shrink"]

REDUCTIONS = ("sum", "sum of squares", "sum of magnitudes", "largest")


@functools.cache
def reduce(kind, dtype):
    """``(a, target)``: a float64 for each block, of one of `REDUCTIONS`, over its share of a.

    "largest" is that of the absolute values; NaN where there is one.
    """

    def plus(total, x):
        return total + x

    def plus_square(total, x):
        return total + x * x

    def plus_magnitude(total, x):
        return total + abs(x)

    def larger(total, x):
        x = abs(x)
        return x if x > total or x != x else total

    take = device_function({
        "sum": plus, "sum of squares": plus_square, "sum of magnitudes": plus_magnitude,
        "largest": larger,
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
def shrink(dtype):
    """``(values, squares, most, needs_direction)``: values *= min(1, most / norm).

    ``squares``, of one element, float64: the norm's square. An infinite norm makes what is finite
    zero, or all NaN if ``needs_direction``; one that is NaN makes all NaN.
    """
    number = np.dtype(dtype).type

    @kernel(THREADS)
    def shrink(values, squares, most, needs_direction):
        i = cuda.grid(1)
        if i < values.size:
            norm = math.sqrt(squares[0])
            if needs_direction and norm == math.inf:
                norm = math.nan
            if not norm <= most:
                values[i] *= number(most / norm)

    return shrink


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
