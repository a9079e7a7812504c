"""Cross-entropies in which answers that are sure and right count less (Lin et al., 2017).

Letters: n rows, C columns of the output, y labels, p predictions.
"""

from __future__ import annotations

import numpy as np

from fastrnn import engines
from fastrnn.config import epsilon
from fastrnn.losses.base import mean_over_columns, registry
from fastrnn.losses.crossentropies import BinaryCrossentropy, CategoricalCrossentropy
from fastrnn.values import plain

__all__ = [
    "BinaryFocalCrossentropy", "CategoricalFocalCrossentropy", "binary_focal_crossentropy",
    "categorical_focal_crossentropy",
]


def binary_focal_crossentropy(y_true, y_pred, apply_class_balancing=False, alpha=0.25, gamma=2.0,
                              from_logits=False, label_smoothing=0.0, axis=-1):
    """The loss of `BinaryFocalCrossentropy` of each row, the mean over its columns.

    >>> binary_focal_crossentropy([[1.0]], [[0.5]]).round(4)
    array([0.1733])
    """
    return BinaryFocalCrossentropy(
        apply_class_balancing, alpha, gamma, from_logits, label_smoothing, axis, "none"
    )(y_true, y_pred)


@registry.add("binary_focal_crossentropy", binary_focal_crossentropy)
class BinaryFocalCrossentropy(BinaryCrossentropy):
    """`BinaryCrossentropy` in which answers that are sure and right count less.

    With q = y p + (1 - y) (1 - p), the probability given to the label, the mean of
    ``(1 - q)**gamma (-y log p - (1 - y) log(1 - p))``.

    Parameters
    ----------
    apply_class_balancing : bool, default False
        Multiply by ``alpha`` for label 1, and by ``1 - alpha`` for label 0.
    alpha : float, default 0.25
    gamma : float, default 2
    from_logits, label_smoothing, axis
        See `BinaryCrossentropy`.
    reduction, name, dtype
        See `Loss`.

    Examples
    --------
    >>> round(BinaryFocalCrossentropy()([[1], [0]], [[0.5], [0.25]]), 4)
    0.0956
    """

    activation = None  # it is one of probabilities, which Keras clips even where it has logits

    def __init__(self, apply_class_balancing=False, alpha=0.25, gamma=2.0, from_logits=False,
                 label_smoothing=0.0, axis=-1, reduction="sum_over_batch_size",
                 name="binary_focal_crossentropy", dtype=None):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma

    def rows(self, target, output, weight, from_logits):
        y, p = self.smoothed(plain(target)), plain(output)
        if from_logits:
            p = engines.current().activate("sigmoid", p)
        low, high = _probabilities(output.dtype)
        clipped = np.clip(p, low, high)
        entropy = -(y * np.log(clipped) + (1 - y) * np.log(1 - clipped))
        inside = (p >= low) & (p <= high)
        slope = np.where(inside, (clipped - y) / (clipped * (1 - clipped)), 0)
        factor, dfactor = _power(1 - (y * p + (1 - y) * (1 - p)), self.gamma)
        gradient = factor * slope + dfactor * (1 - 2 * y) * entropy
        if from_logits:
            gradient = gradient * p * (1 - p)
        balance = y * self.alpha + (1 - y) * (1 - self.alpha) if self.apply_class_balancing else 1
        losses, gradient = mean_over_columns(balance * factor * entropy, balance * gradient)
        return losses, gradient * weight[:, None]


def categorical_focal_crossentropy(y_true, y_pred, alpha=0.25, gamma=2.0, from_logits=False,
                                   label_smoothing=0.0, axis=-1):
    """The loss of `CategoricalFocalCrossentropy` of each row.

    >>> categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.0433])
    """
    return CategoricalFocalCrossentropy(
        alpha, gamma, from_logits, label_smoothing, axis, "none"
    )(y_true, y_pred)


@registry.add("categorical_focal_crossentropy", categorical_focal_crossentropy)
class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """`CategoricalCrossentropy` in which answers that are sure and right count less:
    ``-sum_c alpha (1 - p_c)**gamma y_c log p_c``.

    Parameters
    ----------
    alpha : float, or list of float with one for each class, default 0.25
    gamma : float, default 2
    from_logits, label_smoothing, axis
        See `CategoricalCrossentropy`.
    reduction, name, dtype
        See `Loss`.

    Examples
    --------
    >>> round(CategoricalFocalCrossentropy()([[0, 1], [1, 0]], [[0.5, 0.5], [0.25, 0.75]]), 4)
    0.1191
    """

    activation = None  # as `BinaryFocalCrossentropy`

    def __init__(self, alpha=0.25, gamma=2.0, from_logits=False, label_smoothing=0.0, axis=-1,
                 reduction="sum_over_batch_size", name="categorical_focal_crossentropy",
                 dtype=None):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = alpha
        self.gamma = gamma

    def rows(self, target, output, weight, from_logits):
        y, p = self.smoothed(plain(target)), plain(output)
        if from_logits:
            p = engines.current().activate("softmax", p)
        # A number stays one: an array would go to a device in each step.
        y = y * (np.asarray(self.alpha, output.dtype) if np.ndim(self.alpha) else self.alpha)
        total = p.sum(axis=1, keepdims=True)
        q = p / total
        low, high = _probabilities(output.dtype)
        clipped = np.clip(q, low, high)
        factor, dfactor = _power(1 - clipped, self.gamma)
        log = np.log(clipped)
        dq = np.where((q >= low) & (q <= high), y * (dfactor * log - factor / clipped), 0)
        gradient = (dq - (dq * q).sum(axis=1, keepdims=True)) / total
        if from_logits:
            gradient = p * (gradient - (gradient * p).sum(axis=1, keepdims=True))
        return -(y * factor * log).sum(axis=1), gradient * weight[:, None]


def _power(base, exponent):
    """``base**exponent`` and its derivative by the base."""
    slope = base * 0 if exponent == 0 else exponent * base ** (exponent - 1)
    return base**exponent, slope


def _probabilities(dtype):
    """The least and the largest probability that logarithms are taken of, of a float type."""
    low = np.dtype(dtype).type(epsilon())
    return low, 1 - low
