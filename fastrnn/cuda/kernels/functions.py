"""NumPy's functions of one number or two as device functions, by name: `fastrnn.cuda.functions`."""

from __future__ import annotations

import functools
import math

import numpy as np

from fastrnn.cuda.kernels.target import device_function

__all__ = ["binary", "unary"]


@functools.cache
def unary(name, dtype):
    """The device function x -> f(x) of `UNARY` for a float type; "logical_not" for "bool"."""
    number = np.dtype(dtype).type
    zero, one = number(0), number(1)

    def negative(x):
        return -x

    def absolute(x):
        return abs(x)

    def sign(x):
        return one if x > zero else -one if x < zero else x  # NaN stays

    def sqrt(x):
        return math.sqrt(x)

    def square(x):
        return x * x

    def exp(x):
        return math.exp(x)

    def expm1(x):
        return math.expm1(x)

    def log(x):
        return math.log(x)

    def log1p(x):
        return math.log1p(x)

    def tanh(x):
        return math.tanh(x)

    def reciprocal(x):
        return one / x

    def logical_not(x):
        return not x

    functions = (
        negative, absolute, sign, sqrt, square, exp, expm1, log, log1p, tanh, reciprocal,
        logical_not,
    )
    return device_function({function.__name__: function for function in functions}[name])


@functools.cache
def binary(name):
    """The device function (x, y) -> f(x, y) of `ARITHMETIC`, `COMPARISONS` or `LOGICAL`."""

    def add(x, y):
        return x + y

    def subtract(x, y):
        return x - y

    def multiply(x, y):
        return x * y

    def divide(x, y):
        return x / y

    def power(x, y):
        return x**y

    def maximum(x, y):
        return x if x > y or x != x else y  # NaN stays, whichever it is

    def minimum(x, y):
        return x if x < y or x != x else y

    def equal(x, y):
        return x == y

    def not_equal(x, y):
        return x != y

    def less(x, y):
        return x < y

    def less_equal(x, y):
        return x <= y

    def greater(x, y):
        return x > y

    def greater_equal(x, y):
        return x >= y

    def logical_and(x, y):
        return x and y

    def logical_or(x, y):
        return x or y

    functions = (
        add, subtract, multiply, divide, power, maximum, minimum, equal, not_equal, less,
        less_equal, greater, greater_equal, logical_and, logical_or,
    )
    return device_function({function.__name__: function for function in functions}[name])
