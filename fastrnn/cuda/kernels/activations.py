"""Activations and their slopes, as device functions."""

from __future__ import annotations

import functools
import math

import numpy as np

from fastrnn.cuda.kernels.target import device_function

__all__ = ["ACTIVATIONS", "by_number", "forward", "slope"]

# Those of `batched_matmul`, by number.
ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")
RELU, SIGMOID, TANH = map(ACTIVATIONS.index, ("relu", "sigmoid", "tanh"))


@functools.cache
def forward(name, dtype):
    """The device function z -> y for a float type.

    Numbers in it are of that type: with a bare 0.5 all that follows would be double.
    """
    number = np.dtype(dtype).type
    zero, half, one, sixth = map(number, (0, 0.5, 1, 1 / 6))

    def linear(z):
        return z

    def relu(z):
        return zero if z < zero else z  # NaN stays

    def tanh(z):
        return math.tanh(z)

    def sigmoid(z):
        return half + half * math.tanh(half * z)  # never overflows, as exp(-z) would

    def hard_sigmoid(z):
        y = z * sixth + half
        return zero if y < zero else one if y > one else y

    functions = linear, relu, tanh, sigmoid, hard_sigmoid
    return device_function({function.__name__: function for function in functions}[name])


@functools.cache
def slope(name, dtype):
    """The device function y -> dy/dz: each of them can be told from y alone."""
    number = np.dtype(dtype).type
    zero, one, sixth = map(number, (0, 1, 1 / 6))

    def linear(y):
        return one

    def relu(y):
        return one if y > zero else zero

    def tanh(y):
        return one - y * y

    def sigmoid(y):
        return y * (one - y)

    def hard_sigmoid(y):
        return sixth if zero < y and y < one else zero

    functions = linear, relu, tanh, sigmoid, hard_sigmoid
    return device_function({function.__name__: function for function in functions}[name])


@functools.cache
def by_number(dtype):
    """The device function (number, z) -> y; number: the activation's place in `ACTIVATIONS`."""
    relu, sigmoid, tanh = (forward(name, dtype) for name in ("relu", "sigmoid", "tanh"))

    @device_function
    def activate(number, z):
        if number == RELU:
            return relu(z)
        if number == TANH:
            return tanh(z)
        if number == SIGMOID:
            return sigmoid(z)
        return z

    return activate
