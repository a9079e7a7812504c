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

__all__ = ["COPIES", "FREQUENT", "REDUCTIONS", "reduce", "scale", "scatter", "scattered", "shrink"]

REDUCTIONS = ("sum", "sum of squares", "sum of magnitudes")


@device_function
def add_up(shared, thread, mine):
    """Leave in ``shared[0]`` the sum of what the `THREADS` of a block have, always in one order."""
    shared[thread] = mine
    cuda.syncthreads()
    half = THREADS // 2
    while half > 0:
        if thread < half:
            shared[thread] += shared[thread + half]
        cuda.syncthreads()
        half //= 2


@functools.cache
def reduce(kind, dtype):
    """``(a, target)``: a float64 for each block, of one of `REDUCTIONS`, over its share of a."""

    def plus(total, x):
        return total + x

    def plus_square(total, x):
        return total + x * x

    def plus_magnitude(total, x):
        return total + abs(x)

    take = device_function({
        "sum": plus, "sum of squares": plus_square, "sum of magnitudes": plus_magnitude,
    }[kind])  # fmt: skip

    @kernel(THREADS, writes="target")
    def reduce(a, target):
        shared = cuda.shared.array(THREADS, np.float64, ALIGNMENT)
        thread = cuda.threadIdx.x
        total = 0.0
        for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
            total = take(total, np.float64(a[i]))
        add_up(shared, thread, total)
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

    @kernel(THREADS, writes="values")
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
# two and leaves room for the sum of all magnitudes. Entries of single precision lose nothing unless
# they are 2^36 times smaller than that sum.

# Bits for the sum of all magnitudes: one less than there are, and one more for what rounding left
# out of it.
BITS = 61
# Vocabularies begin with what is frequent. Who adds to one of so many first rows takes one of so
# many copies of it, by the number of its block: else all would wait for each other at a few places.
FREQUENT, COPIES = 64, 16


@functools.cache
def scale(dtype):
    """``(magnitudes, target)``: the factor that makes whole numbers of entries, and its inverse.

    ``kernel[1, THREADS]``; ``magnitudes`` add up to the sum of those of all entries. target, of two
    float64, is (0, NaN) where that is no number.
    """

    @kernel(THREADS, writes="target")
    def scale(magnitudes, target):
        shared = cuda.shared.array(THREADS, np.float64, ALIGNMENT)
        thread = cuda.threadIdx.x
        total = 0.0
        for i in range(thread, magnitudes.size, THREADS):
            total += np.float64(magnitudes[i])
        add_up(shared, thread, total)
        if thread == 0:
            total = shared[0]
            if total < math.inf:
                _, e = math.frexp(total)
                e = min(BITS - e, 1022)
                target[0], target[1] = math.ldexp(1.0, e), math.ldexp(1.0, -e)
            else:
                target[0], target[1] = 0.0, math.nan

    return scale


@functools.cache
def scatter(dtype):
    """``(ids, dy, width, length, scale, rows, frequent, sums)``: adds rows of dy to sums, by id.

    A thread takes ``length`` rows, of one column: those of neighbours with one id, as the steps of
    padding are, are first added up, in double precision. ``scale``: as `scale` gives it. sums,
    int64, have ``rows`` rows, and then `COPIES` times the first ``frequent``, at most `FREQUENT`.
    """

    @device_function
    def add(sums, row, rows, frequent, width, column, total, factor):
        if total != 0:  # or NaN
            if row < frequent:
                row += rows + cuda.blockIdx.x % COPIES * frequent
            number = np.int64(total * factor) if factor > 0 else np.int64(1)
            cuda.atomic.add(sums, row * width + column, number)

    @kernel(THREADS, writes="sums")
    def scatter(ids, dy, width, length, scale, rows, frequent, sums):
        i = cuda.grid(1)
        column, first = i % width, i // width * length
        if first < ids.size:
            factor = scale[0]
            row, total = ids[first], 0.0
            for k in range(first, min(first + length, ids.size)):
                if ids[k] != row:
                    add(sums, row, rows, frequent, width, column, total, factor)
                    row, total = ids[k], 0.0
                total += np.float64(dy[k * width + column])
            add(sums, row, rows, frequent, width, column, total, factor)

    return scatter


@functools.cache
def scattered(dtype):
    """``(sums, scale, frequent, target, adds)``: writes what `scatter` has summed, or adds it.

    ``frequent`` is the number of elements that have copies. Where dy held an infinity or NaN, all
    rows that occur become NaN.
    """
    number = np.dtype(dtype).type
    zero = number(0)

    @kernel(THREADS, writes="target")
    def scattered(sums, scale, frequent, target, adds):
        i = cuda.grid(1)
        if i < target.size:
            total = sums[i]
            if i < frequent:
                for c in range(COPIES):
                    total += sums[target.size + c * frequent + i]
            found = number(np.float64(total) * scale[1]) if total != 0 else zero
            target[i] = target[i] + found if adds else found

    return scattered
