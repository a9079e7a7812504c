"""Penalties on weights, added to the loss: their value and their gradient.

``regularizers.get("l2")(w)`` is the penalty; ``add_gradient(w, dw)`` adds its gradient into dw.
"""

from __future__ import annotations

import math

import numpy as np

from fastrnn import engines
from fastrnn.registry import Configurable, Registry

__all__ = [
    "L1",
    "L1L2",
    "L2",
    "OrthogonalRegularizer",
    "Regularizer",
    "deserialize",
    "get",
    "l1",
    "l1_l2",
    "l2",
    "orthogonal_regularizer",
    "serialize",
]

_registry = Registry("regularizer", "keras.regularizers")
serialize, deserialize = _registry.serialize, _registry.deserialize


def get(identifier):
    """The regularizer that a name, a config or an object stands for; None gives None.

    Raises
    ------
    ValueError
        If the name is not known; the message names the nearest.
    TypeError
        For a bare function: training needs its gradient too.
    """
    regularizer = _registry.get(identifier)
    if regularizer is not None and not hasattr(regularizer, "add_gradient"):
        raise TypeError(
            f"regularizer: expected a Regularizer, with __call__(w) and add_gradient(w, dw); "
            f"got {identifier!r}, which says nothing of its gradient."
        )
    return regularizer


def _factor(owner, name, value):
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value < math.inf:
        raise ValueError(f"{owner}: {name} must be a number from 0 on; got {value!r}.")
    return float(value)


class Regularizer(Configurable):
    """What every regularizer has."""

    def __call__(self, w):
        """The penalty, a float; on an engine that `runs_ahead` what ``float()`` makes one of."""
        raise self.missing("__call__(self, w)", "gives the penalty on a weight, a number")

    def add_gradient(self, w, dw):
        """Add the penalty's gradient at ``w`` into ``dw``."""
        raise self.missing(
            "add_gradient(self, w, dw)", "adds the gradient of __call__(w) into the array dw"
        )


@_registry.add("l1_l2")
class L1L2(Regularizer):
    """``l1 * sum |w| + l2 * sum w**2``.

    >>> L1L2(l1=1.0, l2=0.5)(np.array([2.0, -2.0]))
    8.0
    """

    def __init__(self, l1=0.0, l2=0.0):
        self.l1 = _factor("L1L2", "l1", l1)
        self.l2 = _factor("L1L2", "l2", l2)

    def __call__(self, w):
        return _l1(self.l1, w) + _l2(self.l2, w)

    def add_gradient(self, w, dw):
        _add_l1(self.l1, w, dw)
        _add_l2(self.l2, w, dw)


@_registry.add("l1")
class L1(Regularizer):
    """``l1 * sum |w|``."""

    def __init__(self, l1=0.01):
        self.l1 = _factor("L1", "l1", l1)

    def __call__(self, w):
        return _l1(self.l1, w)

    def add_gradient(self, w, dw):
        _add_l1(self.l1, w, dw)


@_registry.add("l2")
class L2(Regularizer):
    """``l2 * sum w**2``."""

    def __init__(self, l2=0.01):
        self.l2 = _factor("L2", "l2", l2)

    def __call__(self, w):
        return _l2(self.l2, w)

    def add_gradient(self, w, dw):
        _add_l2(self.l2, w, dw)


def _l1(factor, w):
    return factor * engines.current().sum_magnitudes(w) if factor else 0.0


def _l2(factor, w):
    return factor * engines.current().sum_squares(w) if factor else 0.0


def _add_l1(factor, w, dw):
    if factor:
        dw += factor * np.sign(w)


def _add_l2(factor, w, dw):
    if factor:
        dw += (2 * factor) * w


@_registry.add("orthogonal_regularizer")
class OrthogonalRegularizer(Regularizer):
    """``factor`` times the mean |cosine| between two different rows (or columns) of a matrix.

    Parameters
    ----------
    factor : float, default 0.01
    mode : {"rows", "columns"}
    """

    def __init__(self, factor=0.01, mode="rows"):
        self.factor = _factor("OrthogonalRegularizer", "factor", factor)
        if mode not in ("rows", "columns"):
            raise ValueError(
                f"OrthogonalRegularizer: mode must be 'rows' or 'columns'; got {mode!r}."
            )
        self.mode = mode

    def _cosines(self, w):
        """Unit rows u (n, d), the norms they had (n, 1), their cosines without the diagonal, and
        the factor of each."""
        if w.ndim != 2:
            raise ValueError(
                f"OrthogonalRegularizer: expected a matrix; got an array of shape {w.shape}."
            )
        rows = w if self.mode == "rows" else w.T
        norms = np.maximum(np.sqrt(np.sum(np.square(rows), axis=1, keepdims=True)), 1e-12)
        units = rows / norms
        cosines = units @ units.T
        n = len(rows)
        cosines = np.where(np.eye(n, dtype=bool), 0, cosines)
        return units, norms, cosines, self.factor / max(1, n * (n - 1))

    def __call__(self, w):
        _, _, cosines, each = self._cosines(w)
        return each * engines.current().sum_magnitudes(cosines)

    def add_gradient(self, w, dw):
        units, norms, cosines, each = self._cosines(w)
        du = (2 * each) * (np.sign(cosines) @ units)
        # u = r / |r|: only what is at right angles to u counts.
        dr = (du - (du * units).sum(axis=1, keepdims=True) * units) / norms
        dw += dr if self.mode == "rows" else dr.T


# -- the names in snake case that Keras has beside the classes ------------------------------------

l1 = L1
l1_l2 = L1L2
l2 = L2
orthogonal_regularizer = OrthogonalRegularizer
