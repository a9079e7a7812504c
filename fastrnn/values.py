"""Values that travel between layers beside plain arrays.

Letters: B rows in a batch, T steps, D features, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

__all__ = ["GradientSum", "Lookup", "RowGradient", "add_gradients", "gradient_parts", "plain"]


class Lookup(NamedTuple):
    """``table[ids]`` that nobody has carried out yet.

    A linear map commutes with a lookup, ``E[ids] @ W + b == (E @ W + b)[ids]``, and a batch holds
    far fewer different ids than steps.  So a layer that multiplies its input may take the lookup
    as it is, multiply the rows of the table that occur, and hand on a `Lookup` in turn.

    Attributes
    ----------
    ids : int32 array of shape (B, T) or (B,)
        Row numbers, each in [0, V).
    table : float array of shape (V, D)
    count : opaque, optional
        What an engine found out about which ids occur, so as not to look again.  The table of a
        lookup that `Engine.project` made may have the rows of these alone; such a one is for
        `Engine.recurrent` alone.
    """

    ids: Any
    table: Any
    count: Any = None

    @property
    def shape(self):
        """The shape that ``table[ids]`` has."""
        return *self.ids.shape, self.table.shape[1]

    @property
    def ndim(self):
        return self.ids.ndim + 1

    @property
    def dtype(self):
        return self.table.dtype


class RowGradient(NamedTuple):
    """The gradient of a table of which only some rows were used.

    Attributes
    ----------
    rows : int32 array of shape (n,)
        Row numbers, ascending, each once.
    values : float array of shape (n, D)
        Their gradients; those of all other rows are zero.
    """

    rows: Any
    values: Any


class GradientSum(NamedTuple):
    """The gradient of a `Lookup` that some took as it was and others carried out first.

    The two parts have no shape in common; who owns the table adds one after the other.

    Attributes
    ----------
    steps : float array of shape (B, T, D)
        By the values at each step.
    rows : RowGradient
        By the rows of the table.
    """

    steps: Any
    rows: RowGradient


def add_gradients(a, b):
    """The gradient of a value that went two ways, from the gradients that came back.

    Parameters
    ----------
    a, b : float array, RowGradient, GradientSum or None
        Gradients of one and the same value; None is zero.  Neither is changed.

    Returns
    -------
    float array, RowGradient, GradientSum or None
        As simple as it can be: a `GradientSum` only where the kinds differ.

    Examples
    --------
    >>> a = RowGradient(np.array([1, 4]), np.array([[1.0], [2.0]]))
    >>> b = RowGradient(np.array([0, 4]), np.array([[3.0], [4.0]]))
    >>> rows, values = add_gradients(a, b)
    >>> rows, values[:, 0]
    (array([0, 1, 4]), array([3., 1., 6.]))
    >>> add_gradients(np.ones(2), None)
    array([1., 1.])
    """
    (a_steps, a_rows), (b_steps, b_rows) = gradient_parts(a), gradient_parts(b)
    steps = _sum(a_steps, b_steps, lambda x, y: x + y)
    rows = _sum(a_rows, b_rows, _add_rows)
    if steps is None or rows is None:
        return rows if steps is None else steps
    return GradientSum(steps, rows)


def gradient_parts(gradient):
    """A gradient as (of the steps, of the rows), None for what it does not have."""
    if isinstance(gradient, GradientSum):
        return gradient
    return (None, gradient) if isinstance(gradient, RowGradient) else (gradient, None)


def _sum(a, b, add):
    if a is None or b is None:
        return b if a is None else a
    return add(a, b)


def _add_rows(a, b):
    """The sum of two `RowGradient` of one table."""
    if np.array_equal(a.rows, b.rows):  # the same ids, read in two directions
        return RowGradient(a.rows, a.values + b.values)
    rows = np.union1d(a.rows, b.rows)
    values = np.zeros_like(a.values, shape=(len(rows), a.values.shape[1]))
    for part in (a, b):
        values[np.searchsorted(rows, part.rows)] += part.values
    return RowGradient(rows, values)


def plain(x):
    """``x`` as an array of NumPy, and of no class of it; an engine's own array as it is.

    >>> plain([1, 2])
    array([1, 2])
    """
    is_an_engines = hasattr(x, "__array_function__") and not isinstance(x, np.ndarray)
    return x if is_an_engines else np.asarray(x)
