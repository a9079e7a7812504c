"""Hinges: zero for answers that are right by a margin.

Letters: n rows, C columns of the output, y labels, p predictions.
"""

from __future__ import annotations

import numpy as np

from fastrnn.losses.base import FormulaLoss, mean_over_columns, registry

__all__ = [
    "CategoricalHinge", "Hinge", "SquaredHinge", "categorical_hinge", "hinge", "squared_hinge",
]


def hinge(y_true, y_pred):
    """``max(1 - y p, 0)`` of each row, the mean over its columns; labels -1 and 1, or 0 and 1.

    >>> hinge([[1.0], [-1.0]], [[0.25], [0.5]])
    array([0.75, 1.5 ])
    """
    return Hinge("none")(y_true, y_pred)


@registry.add("hinge", hinge)
class Hinge(FormulaLoss):
    """The mean of ``max(1 - y p, 0)`` for labels -1 and 1.

    Where all labels of a batch are 0 or 1, a 0 counts as -1.

    >>> Hinge()([[0], [1]], [[-0.5], [2.0]])
    0.25
    """

    joins_batches = False

    def __init__(self, reduction="sum_over_batch_size", name="hinge", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        y = _as_signs(target)
        margin = 1 - y * output
        return mean_over_columns(np.maximum(margin, 0), np.where(margin > 0, -y, 0))


def squared_hinge(y_true, y_pred):
    """``max(1 - y p, 0)**2`` of each row, the mean over its columns; labels as for `hinge`.

    >>> squared_hinge([[1.0], [-1.0]], [[0.5], [0.5]])
    array([0.25, 2.25])
    """
    return SquaredHinge("none")(y_true, y_pred)


@registry.add("squared_hinge", squared_hinge)
class SquaredHinge(FormulaLoss):
    """The mean of ``max(1 - y p, 0)**2``; labels as for `Hinge`.

    >>> SquaredHinge()([[0], [1]], [[-0.5], [2.0]])
    0.125
    """

    joins_batches = False

    def __init__(self, reduction="sum_over_batch_size", name="squared_hinge", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        y = _as_signs(target)
        margin = np.maximum(1 - y * output, 0)
        return mean_over_columns(np.square(margin), -2 * y * margin)


def categorical_hinge(y_true, y_pred):
    """``max(neg - pos + 1, 0)`` of each row: pos is the prediction for the class of the one-hot
    label, neg the largest for another.

    >>> categorical_hinge([[0.0, 1.0]], [[0.5, 0.25]])
    array([1.25])
    """
    return CategoricalHinge("none")(y_true, y_pred)


@registry.add("categorical_hinge", categorical_hinge)
class CategoricalHinge(FormulaLoss):
    """``max(neg - pos + 1, 0)``: pos is the prediction for the class of the one-hot label, neg the
    largest for another (or zero, if all are negative).

    >>> CategoricalHinge()([[0, 1], [1, 0]], [[0.5, 0.25], [2.0, 0.5]])
    0.625
    """

    takes_rows = True

    def __init__(self, reduction="sum_over_batch_size", name="categorical_hinge", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        others = (1 - target) * output
        largest = others.max(axis=1, keepdims=True)
        margin = largest - (target * output).sum(axis=1, keepdims=True) + 1
        # Where several are largest, the gradient is shared among them.
        share = np.where(others == largest, target * 0 + 1, 0)
        share = share / share.sum(axis=1, keepdims=True)
        gradient = np.where(margin > 0, (1 - target) * share - target, 0)
        return np.maximum(margin, 0)[:, 0], gradient


def _as_signs(target):
    """Labels 0 and 1 as -1 and 1; others stay as they are, and so do all beside others.

    It is decided by all labels of the batch together, as in Keras.
    """
    if not target.size:
        return target
    # t (t - 1) is zero for 0 and 1 alone. A number that stays on the device: nobody waits for it.
    others = np.abs(target * (target - 1)).max()
    return np.where(others == 0, 2 * target - 1, target)
