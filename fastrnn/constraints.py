"""What weights must satisfy after every update: ``constraints.get("max_norm")(w)``."""

from __future__ import annotations

import numpy as np

from fastrnn.config import epsilon
from fastrnn.registry import Configurable, Registry

__all__ = [
    "Constraint",
    "MaxNorm",
    "MinMaxNorm",
    "NonNeg",
    "UnitNorm",
    "deserialize",
    "get",
    "max_norm",
    "min_max_norm",
    "non_neg",
    "serialize",
    "unit_norm",
]

_registry = Registry("constraint", "keras.constraints")
get, serialize, deserialize = _registry.get, _registry.serialize, _registry.deserialize


class Constraint(Configurable):
    """What every constraint has: ``constraint(w)`` gives the nearest weights that are allowed."""

    def __call__(self, w):
        raise self.missing("__call__(self, w)", "gives the weights that take the place of w")


def _norms(w, axis):
    return np.sqrt(np.sum(np.square(w), axis=axis, keepdims=True))


@_registry.add("max_norm")
class MaxNorm(Constraint):
    """Norms along ``axis`` of at most ``max_value``.

    >>> MaxNorm(1.0)(np.array([[3.0], [4.0]])).round(3)
    array([[0.6],
           [0.8]])
    """

    def __init__(self, max_value=2, axis=0):
        self.max_value = max_value
        self.axis = axis

    def __call__(self, w):
        norms = _norms(w, self.axis)
        return w * (np.clip(norms, 0, self.max_value) / (epsilon() + norms))


@_registry.add("non_neg")
class NonNeg(Constraint):
    """No negative weights."""

    def __call__(self, w):
        return np.maximum(w, 0)


@_registry.add("unit_norm")
class UnitNorm(Constraint):
    """Norms along ``axis`` of one."""

    def __init__(self, axis=0):
        self.axis = axis

    def __call__(self, w):
        return w / (epsilon() + _norms(w, self.axis))


@_registry.add("min_max_norm")
class MinMaxNorm(Constraint):
    """Norms along ``axis`` between ``min_value`` and ``max_value``.

    ``rate`` below 1 moves them there little by little: the new norm is
    ``(1 - rate) * norm + rate * clipped``.
    """

    def __init__(self, min_value=0.0, max_value=1.0, rate=1.0, axis=0):
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate
        self.axis = axis

    def __call__(self, w):
        norms = _norms(w, self.axis)
        clipped = np.clip(norms, self.min_value, self.max_value)
        wanted = self.rate * clipped + (1 - self.rate) * norms
        return w * (wanted / (epsilon() + norms))


# -- the names in snake case that Keras has beside the classes ------------------------------------

max_norm = MaxNorm
min_max_norm = MinMaxNorm
non_neg = NonNeg
unit_norm = UnitNorm
