"""Activations and their slopes, as device functions."""

from __future__ import annotations

import functools
import math

import numpy as np

from fastrnn.constants import LEAK, SELU_ALPHA, SELU_SCALE
from fastrnn.cuda.kernels.target import device_function, logistic

__all__ = ["ACTIVATIONS", "NAMES", "by_number", "forward", "slope", "slope_at"]

# Those of `fastrnn.activations` that kernels compute, element by element, but for "linear".
NAMES = (
    "relu", "tanh", "sigmoid", "relu6", "leaky_relu", "elu", "selu", "exponential", "softplus",
    "softsign", "hard_sigmoid", "silu", "gelu",
)

# Those of `batched_matmul`, by number.
ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh")
RELU, SIGMOID, TANH = map(ACTIVATIONS.index, ("relu", "sigmoid", "tanh"))


@functools.cache
def forward(name, dtype):
    """The device function z -> y for a float type.

    Numbers in it are of that type: with a bare 0.5 all that follows would be double.
    """
    number = np.dtype(dtype).type
    zero, half, one, sixth, six = map(number, (0, 0.5, 1, 1 / 6, 6))
    leak, scale, scaled_alpha = map(number, (LEAK, SELU_SCALE, SELU_SCALE * SELU_ALPHA))
    below, single = _normal_below(dtype), np.dtype(dtype) == np.float32

    def linear(z):
        return z

    def relu(z):
        return zero if z < zero else z  # NaN stays

    def tanh(z):
        return math.tanh(z)

    def sigmoid(z):
        return logistic(z) if single else half + half * math.tanh(half * z)

    def hard_sigmoid(z):
        y = z * sixth + half
        return zero if y < zero else one if y > one else y

    def relu6(z):
        return zero if z < zero else six if z > six else z

    def leaky_relu(z):
        return z if z > zero else leak * z

    def elu(z):
        return z if z > zero else math.expm1(z)

    def selu(z):
        return scale * z if z > zero else scaled_alpha * math.expm1(z)

    def exponential(z):
        return math.exp(z)

    def softplus(z):
        return (zero if z < zero else z) + math.log1p(math.exp(-abs(z)))

    def softsign(z):
        return z / (one + abs(z))

    def silu(z):
        return z * (logistic(z) if single else half + half * math.tanh(half * z))

    def gelu(z):
        return z * below(z)

    functions = (
        linear, relu, tanh, sigmoid, hard_sigmoid, relu6, leaky_relu, elu, selu, exponential,
        softplus, softsign, silu, gelu,
    )
    return device_function({function.__name__: function for function in functions}[name])


@functools.cache
def _normal_below(dtype):
    """The device function z -> the probability that a standard normal lies below z."""
    number = np.dtype(dtype).type
    half, root = number(0.5), number(math.sqrt(0.5))

    @device_function
    def below(z):
        return half * math.erfc(-root * z)

    return below


@functools.cache
def slope(name, dtype):
    """The device function y -> dy/dz, for those of which it can be told from y alone."""
    number = np.dtype(dtype).type
    zero, one, sixth, six = map(number, (0, 1, 1 / 6, 6))
    leak, scale, scaled_alpha = map(number, (LEAK, SELU_SCALE, SELU_SCALE * SELU_ALPHA))

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

    def relu6(y):
        return one if zero < y and y < six else zero

    def leaky_relu(y):
        return one if y > zero else leak

    def elu(y):
        return one if y > zero else y + one

    def selu(y):
        return scale if y > zero else y + scaled_alpha

    def exponential(y):
        return y

    def softplus(y):
        return -math.expm1(-y)

    def softsign(y):
        return (one - abs(y)) * (one - abs(y))

    functions = (
        linear, relu, tanh, sigmoid, hard_sigmoid, relu6, leaky_relu, elu, selu, exponential,
        softplus, softsign,
    )
    return device_function({function.__name__: function for function in functions}[name])


@functools.cache
def slope_at(name, dtype):
    """The device function (z, y) -> dy/dz, for all of them."""
    number = np.dtype(dtype).type
    half, one, density = map(number, (0.5, 1, 1 / math.sqrt(2 * math.pi)))
    below = _normal_below(dtype)

    def silu(z, y):
        s = half + half * math.tanh(half * z)
        return s * (one + z * (one - s))

    def gelu(z, y):
        return below(z) + z * density * math.exp(-half * z * z)

    if name in ("silu", "gelu"):
        return device_function({"silu": silu, "gelu": gelu}[name])
    of_y = slope(name, dtype)

    @device_function
    def slope_of_y(z, y):
        return of_y(y)

    return slope_of_y


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
