"""Kernels over arrays that are stretched along some axes, or whose axes are turned.

A thread computes one element of ``target``, which is C-contiguous, and finds in each other array
the element that goes with it: by the sizes of the last three of four axes and the array's own steps
along all four (`fastrnn.cuda.strides`). A step of 0 stretches an axis.
"""

from __future__ import annotations

import functools

from numba import cuda

from fastrnn.cuda.kernels import functions
from fastrnn.cuda.kernels.elementwise import THREADS
from fastrnn.cuda.kernels.target import device_function, kernel

__all__ = ["choose", "combine", "copy"]


@device_function
def place(i, sizes, steps):
    """Where an array with these steps has what goes into element i."""
    at = i % sizes[2] * steps[3]
    i //= sizes[2]
    at += i % sizes[1] * steps[2]
    i //= sizes[1]
    return at + i % sizes[0] * steps[1] + i // sizes[0] * steps[0]


@functools.cache
def copy(dtype):
    """``(source, sizes, steps, target)``: of any type, into one of this type."""

    @kernel(THREADS, writes="target")
    def copy(source, sizes, steps, target):
        i = cuda.grid(1)
        if i < target.size:
            target[i] = source[place(i, sizes, steps)]

    return copy


@functools.cache
def combine(operation, dtype):
    """``(a, a_number, a_is_array, a_steps, b, ..., sizes, target)``: of `functions.binary`.

    Each of a and b is an array or a number, of type ``dtype``.
    """
    f = functions.binary(operation)

    @kernel(THREADS, writes="target")
    def combine(a, a_number, a_is_array, a_steps, b, b_number, b_is_array, b_steps, sizes, target):
        i = cuda.grid(1)
        if i < target.size:
            x = a[place(i, sizes, a_steps)] if a_is_array else a_number
            y = b[place(i, sizes, b_steps)] if b_is_array else b_number
            target[i] = f(x, y)

    return combine


@functools.cache
def choose(dtype):
    """``(choice, steps, a, a_number, a_is_array, a_steps, b, ..., sizes, target)``: a or b.

    a where the choice, of booleans, is True. Each of a and b is an array or a number.
    """

    @kernel(THREADS, writes="target")
    def choose(choice, steps, a, a_number, a_is_array, a_steps, b, b_number, b_is_array, b_steps,
               sizes, target):
        i = cuda.grid(1)
        if i < target.size:
            if choice[place(i, sizes, steps)]:
                target[i] = a[place(i, sizes, a_steps)] if a_is_array else a_number
            else:
                target[i] = b[place(i, sizes, b_steps)] if b_is_array else b_number

    return choose
