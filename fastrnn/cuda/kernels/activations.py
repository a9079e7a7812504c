"""The activations that kernels apply, by number: one kernel then serves all of them."""

from __future__ import annotations

import functools
import math

import numpy as np

from fastrnn.cuda.kernels.target import device_function

__all__ = ["ACTIVATIONS", "activation"]

ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")

RELU, SIGMOID, TANH = map(ACTIVATIONS.index, ("relu", "sigmoid", "tanh"))


@functools.cache
def activation(dtype):
    """The device function ``activate(kind, z)`` for a float type; kind: place in `ACTIVATIONS`."""
    number = np.dtype(dtype).type
    zero, half = number(0), number(0.5)  # a bare 0.5 would be double, and all after it

    @device_function
    def activate(kind, z):
        if kind == RELU:
            return zero if z < zero else z  # NaN stays
        if kind == TANH:
            return math.tanh(z)
        if kind == SIGMOID:
            return half + half * math.tanh(half * z)  # never overflows, as exp(-z) would
        return z

    return activate
