"""Kernels that take one thread an element: filling, copying, looking up, activations, arithmetic.

Arrays are flat. A thread computes the element of its number; grids cover ``target`` (the array that
is written) with blocks of `THREADS`.
"""

from __future__ import annotations

import functools

from numba import cuda

from fastrnn.cuda.kernels import activations, functions
from fastrnn.cuda.kernels.target import SIMULATED, kernel

__all__ = [
    "THREADS", "activate", "activate_backward", "add_rows", "arithmetic", "copy_axis", "fill",
    "gather", "pad", "put_rows", "unary",
]

THREADS = 4 if SIMULATED else 256  # threads of Python are dear


@functools.cache
def fill(dtype):
    """``(target, value)``: target[...] = value."""

    @kernel(THREADS, writes="target")
    def fill(target, value):
        i = cuda.grid(1)
        if i < target.size:
            target[i] = value

    return fill


@functools.cache
def copy_axis(dtype):
    """``(source, target, outer, count, inner, n, start, step, own_n, own_start, own_step)``.

    Copies ``count`` places of an axis, from ``start`` on, ``step`` apart, to those of the target
    from ``own_start`` on, ``own_step`` apart: (outer, n, inner) -> (outer, own_n, inner).
    """

    @kernel(THREADS, writes="target")
    def copy_axis(source, target, outer, count, inner, n, start, step, own_n, own_start, own_step):
        i = cuda.grid(1)
        if i < outer * count * inner:
            within, place = i % inner, i // inner
            o, k = place // count, place % count
            value = source[(o * n + start + k * step) * inner + within]
            target[(o * own_n + own_start + k * own_step) * inner + within] = value

    return copy_axis


@functools.cache
def gather(dtype):
    """``(ids, table, target, width)``: rows of a table (V, width), by ids in [0, V)."""

    @kernel(THREADS, writes="target")
    def gather(ids, table, target, width):
        i = cuda.grid(1)
        if i < target.size:
            target[i] = table[ids[i // width] * width + i % width]

    return gather


@functools.cache
def add_rows(dtype):
    """``(rows, values, target, width)``: target[rows] += values; each row is there once."""

    @kernel(THREADS, writes="target")
    def add_rows(rows, values, target, width):
        i = cuda.grid(1)
        if i < values.size:
            target[rows[i // width] * width + i % width] += values[i]

    return add_rows


@functools.cache
def pad(dtype):
    """``(flat, starts, lengths, target, steps, width)``: sequences to rows of ``steps`` steps.

    Row b has flat[starts[b]:][:lengths[b]], then zeros.
    """

    @kernel(THREADS, writes="target")
    def pad(flat, starts, lengths, target, steps, width):
        i = cuda.grid(1)
        if i < target.size:
            within, place = i % width, i // width
            row, t = place // steps, place % steps
            target[i] = 0
            if t < lengths[row]:
                target[i] = flat[(starts[row] + t) * width + within]

    return pad


@functools.cache
def put_rows(dtype):
    """``(rows, values, target, width)``: target[rows] = values; each row is there once."""

    @kernel(THREADS, writes="target")
    def put_rows(rows, values, target, width):
        i = cuda.grid(1)
        if i < values.size:
            target[rows[i // width] * width + i % width] = values[i]

    return put_rows


@functools.cache
def arithmetic(operation, dtype):
    """``(a, b, number, b_is_array, swapped, target)``: one of `ARITHMETIC`.

    Of a and b, or a and a number; ``swapped``: the other one first. The target may be a or b.
    """
    f = functions.binary(operation)

    @kernel(THREADS, writes="target")
    def arithmetic(a, b, number, b_is_array, swapped, target):
        i = cuda.grid(1)
        if i < target.size:
            other = b[i] if b_is_array else number
            target[i] = f(other, a[i]) if swapped else f(a[i], other)

    return arithmetic


@functools.cache
def unary(name, dtype):
    """``(a, target)``: one of `UNARY`. The target may be a."""
    f = functions.unary(name, dtype)

    @kernel(THREADS, writes="target")
    def unary(a, target):
        i = cuda.grid(1)
        if i < target.size:
            target[i] = f(a[i])

    return unary


@functools.cache
def activate(name, dtype):
    """``(z, target)``: y = f(z)."""
    f = activations.forward(name, dtype)

    @kernel(THREADS, writes="target")
    def activate(z, target):
        i = cuda.grid(1)
        if i < target.size:
            target[i] = f(z[i])

    return activate


@functools.cache
def activate_backward(name, dtype):
    """``(z, y, dy, target)``: dz = dy f'(z)."""
    slope = activations.slope_at(name, dtype)

    @kernel(THREADS, writes="target")
    def activate_backward(z, y, dy, target):
        i = cuda.grid(1)
        if i < target.size:
            target[i] = dy[i] * slope(z[i], y[i])

    return activate_backward
