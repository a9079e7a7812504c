"""Activations by name: y = f(z), and dz from dy.

Each is a function of arrays, ``fastrnn.activations.relu(z)``, and an entry of one table that
the engines read.  Softmax works over the last axis, all others element by element.  Further
arguments, as Keras has them, are for calls; a layer takes the function with its defaults.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastrnn.names import unknown

__all__ = [
    "Activation",
    "elu",
    "exponential",
    "gelu",
    "get",
    "hard_sigmoid",
    "leaky_relu",
    "linear",
    "name_of",
    "named",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "softsign",
    "tanh",
]

LEAK = 0.2
SELU_SCALE = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


class Activation(NamedTuple):
    """``forward(z) -> y`` and ``backward(z, y, dy) -> dz``."""

    name: str
    forward: Callable
    backward: Callable


def linear(z):
    """y = z."""
    return z


def relu(z, negative_slope=0.0, max_value=None, threshold=0.0):
    """y = z from ``threshold`` on, ``max_value`` at most; below ``negative_slope (z - threshold)``.

    >>> relu(np.array([-4.0, 0.5, 9.0]), negative_slope=0.5, max_value=6.0, threshold=1.0)
    array([-2.5 , -0.25,  6.  ])
    """
    if negative_slope == 0 and max_value is None and threshold == 0:
        return np.maximum(z, 0)
    y = z if max_value is None else np.minimum(z, max_value)
    return np.where(z >= threshold, y, negative_slope * (z - threshold))


def tanh(z):
    """y = tanh z."""
    return np.tanh(z)


def sigmoid(z):
    """y = 1 / (1 + exp(-z)).

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    e = np.exp(-np.abs(z))  # never overflows
    return np.where(z >= 0, 1, e) / (1 + e)


def softmax(z, axis=-1):
    """y_c = exp(z_c) / sum_k exp(z_k), over the last axis or another."""
    e = np.exp(z - np.max(z, axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _softmax_backward(z, y, dy):
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def relu6(z):
    """y = min(max(z, 0), 6)."""
    return np.clip(z, 0, 6)


def leaky_relu(z, negative_slope=LEAK):
    """y = z where z > 0, else ``negative_slope`` z, which is 0.2 z."""
    return np.where(z > 0, z, negative_slope * z)


def elu(z, alpha=1.0):
    """y = z where z > 0, else ``alpha`` (exp(z) - 1)."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


def selu(z):
    """y = 1.0507 z where z > 0, else 1.0507 * 1.6733 (exp(z) - 1) (Klambauer et al., 2017)."""
    return SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0)))


def _selu_backward(z, y, dy):
    return dy * np.where(z > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA)


def exponential(z):
    """y = exp z."""
    with np.errstate(over="ignore"):  # infinity is the answer
        return np.exp(z)


def softplus(z):
    """y = log(1 + exp z)."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def softsign(z):
    """y = z / (1 + |z|)."""
    return z / (1 + np.abs(z))


def hard_sigmoid(z):
    """y = z / 6 + 1/2, cut off at 0 and 1."""
    return np.clip(z / 6 + 0.5, 0, 1)


def silu(z):
    """y = z sigmoid(z); also known as swish."""
    return z * sigmoid(z)


def _silu_backward(z, y, dy):
    s = sigmoid(z)
    return dy * s * (1 + z * (1 - s))


def _normal_below(z):
    """The probability that a standard normal lies below z."""
    erf = np.frompyfunc(math.erf, 1, 1)
    return 0.5 * (1 + np.asarray(erf(z / math.sqrt(2))).astype(z.dtype))


def gelu(z, approximate=False):
    """y = z times the probability that a standard normal lies below z.

    ``approximate``: that probability by way of tanh (Hendrycks and Gimpel, 2016).
    """
    z = np.asarray(z)
    if not approximate:
        return z * _normal_below(z)
    return z * (0.5 + 0.5 * np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def _gelu_backward(z, y, dy):
    density = np.exp(-0.5 * np.square(z)) / math.sqrt(2 * math.pi)
    return dy * (_normal_below(z) + z * density)


_TABLE = {
    a.name: a
    for a in (
        Activation("linear", linear, lambda z, y, dy: dy),
        Activation("relu", relu, lambda z, y, dy: dy * (y > 0)),
        Activation("tanh", tanh, lambda z, y, dy: dy * (1 - y * y)),
        Activation("sigmoid", sigmoid, lambda z, y, dy: dy * y * (1 - y)),
        Activation("softmax", softmax, _softmax_backward),
        Activation("relu6", relu6, lambda z, y, dy: dy * ((y > 0) & (y < 6))),
        Activation("leaky_relu", leaky_relu, lambda z, y, dy: np.where(z > 0, dy, LEAK * dy)),
        Activation("elu", elu, lambda z, y, dy: dy * np.where(z > 0, 1, y + 1)),
        Activation("selu", selu, _selu_backward),
        Activation("exponential", exponential, lambda z, y, dy: dy * y),
        Activation("softplus", softplus, lambda z, y, dy: dy * sigmoid(z)),
        Activation("softsign", softsign, lambda z, y, dy: dy / np.square(1 + np.abs(z))),
        Activation("hard_sigmoid", hard_sigmoid, lambda z, y, dy: dy * (np.abs(z) < 3) / 6),
        Activation("silu", silu, _silu_backward),
        Activation("gelu", gelu, _gelu_backward),
    )
}
# Keras has a second name for one of them.
_ALIASES = {"swish": "silu"}


def named(name):
    """The `Activation` of that name."""
    return _TABLE[name]


def name_of(identifier):
    """The name of an activation given as a name, None (linear) or one of this module's functions.

    Raises
    ------
    ValueError
        If it is unknown; the message names the nearest.
    """
    if identifier is None:
        return "linear"
    if isinstance(identifier, str):
        identifier = _ALIASES.get(identifier, identifier)
    for name, activation in _TABLE.items():
        if identifier in (name, activation.forward):
            return name
    raise ValueError(unknown("activation", identifier, _TABLE))


def get(identifier):
    """The function that a name stands for; None is `linear`, a function stands for itself.

    >>> get("relu") is relu
    True

    Raises
    ------
    ValueError
        If the name is unknown; the message names the nearest.
    """
    return named(name_of(identifier)).forward
