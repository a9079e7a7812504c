"""Sums over rows of a matrix in a fixed order, and rows with noise."""

from __future__ import annotations

import functools

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.target import THREADS, kernel

__all__ = ["drop_kernel", "sum_kernel"]


@functools.cache
def sum_kernel(dtype):
    """The kernel that sums runs of rows.

    ``kernel[runs * across, THREADS](across, values, column, order, ordered, ends, ragged, length,
    target, adds)``: ``target[s] = sum of values[i, column:]`` over the i of run s, in their order,
    each column in a thread; ``across`` blocks cover the columns. Run s is ``ends[s] <= i <
    ends[s + 1]`` if ``ragged``, else ``length`` long from ``s * length``. ``ordered``: row
    ``order[i]`` in place of i. ``adds``: to what is there.
    """
    number = np.dtype(dtype).type
    zero = number(0)

    @kernel(THREADS, writes="target")
    def sum_rows(across, values, column, order, ordered, ends, ragged, length, target, adds):
        run = cuda.blockIdx.x // across
        at = cuda.blockIdx.x % across * THREADS + cuda.threadIdx.x
        if at >= target.shape[1]:
            return
        rows = order.shape[0] if ordered else values.shape[0]
        begin = ends[run] if ragged else run * length
        end = ends[run + 1] if ragged else min(begin + length, rows)
        total = zero
        for i in range(begin, end):
            total += values[order[i] if ordered else i, column + at]
        target[run, at] = target[run, at] + total if adds else total

    return sum_rows


@functools.cache
def drop_kernel(dtype):
    """The kernel that multiplies rows by noise.

    ``kernel[blocks, THREADS](values, column, noise, steps, target)``: ``target[p, i] = values[i,
    column:] noise[p, i // steps]``, with values (B * steps, ...), noise (P, B, H) and target (P,
    B * steps, H).
    """

    @kernel(THREADS, writes="target")
    def drop(values, column, noise, steps, target):
        units = noise.shape[2]
        place = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
        i, unit = place // units, place % units
        if i < target.shape[1]:
            for p in range(noise.shape[0]):
                target[p, i, unit] = values[i, column + unit] * noise[p, i // steps, unit]

    return drop
