"""Activations by name: y = f(z), and dz from dy.

Each is a function of arrays, ``fastrnn.activations.relu(z)``, and an entry of one table that
the engines read.  Softmax works over the last axis, all others element by element.
"""

from __future__ import annotations

from typing import Callable, NamedTuple

import numpy as np

from fastrnn.names import unknown

__all__ = ["Activation", "get", "linear", "named", "relu", "sigmoid", "softmax", "tanh"]


class Activation(NamedTuple):
    """``forward(z) -> y`` and ``backward(z, y, dy) -> dz``."""

    name: str
    forward: Callable
    backward: Callable


def linear(z):
    """y = z."""
    return z


def relu(z):
    """y = max(z, 0)."""
    return np.maximum(z, 0)


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


def softmax(z):
    """y_c = exp(z_c) / sum_k exp(z_k), over the last axis."""
    e = np.exp(z - np.max(z, axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _softmax_backward(z, y, dy):
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


_TABLE = {
    a.name: a
    for a in (
        Activation("linear", linear, lambda z, y, dy: dy),
        Activation("relu", relu, lambda z, y, dy: dy * (y > 0)),
        Activation("tanh", tanh, lambda z, y, dy: dy * (1 - y * y)),
        Activation("sigmoid", sigmoid, lambda z, y, dy: dy * y * (1 - y)),
        Activation("softmax", softmax, _softmax_backward),
    )
}


def named(name):
    """The `Activation` of that name."""
    return _TABLE[name]


def get(identifier):
    """The name of an activation given as a name, None (linear) or one of this module's functions.

    Raises
    ------
    ValueError
        If it is unknown; the message names the nearest.
    """
    if identifier is None:
        return "linear"
    for name, activation in _TABLE.items():
        if identifier in (name, activation.forward):
            return name
    raise ValueError(unknown("activation", identifier, _TABLE))
