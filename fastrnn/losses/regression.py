"""Losses of numbers: how far predictions are from labels.

Letters: n rows, C columns of the output, y labels, p predictions.
"""

from __future__ import annotations

import math

import numpy as np

from fastrnn.config import epsilon
from fastrnn.losses.base import EngineLoss, FormulaLoss, last_axis, mean_over_columns, registry

__all__ = [
    "CosineSimilarity", "Huber", "LogCosh", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson", "cosine_similarity", "huber",
    "log_cosh", "mean_absolute_error", "mean_absolute_percentage_error", "mean_squared_error",
    "mean_squared_logarithmic_error", "poisson",
]


def mean_squared_error(y_true, y_pred):
    """``(y - p)**2`` of each row, the mean over its columns.

    >>> mean_squared_error([[1.0, 2.0]], [[1.0, 4.0]])
    array([2.])
    """
    return MeanSquaredError("none")(y_true, y_pred)


@registry.add("mean_squared_error", "mse", mean_squared_error)
class MeanSquaredError(EngineLoss):
    """The mean of ``(y - p)**2``.

    >>> MeanSquaredError()([[0.0], [1.0]], [[1.0], [1.0]])
    0.5
    """

    kind = "mean_squared_error"

    def __init__(self, reduction="sum_over_batch_size", name="mean_squared_error", dtype=None):
        super().__init__(name, reduction, dtype)


def mean_absolute_error(y_true, y_pred):
    """``|y - p|`` of each row, the mean over its columns.

    >>> mean_absolute_error([[1.0, 2.0]], [[1.0, 4.0]])
    array([1.])
    """
    return MeanAbsoluteError("none")(y_true, y_pred)


@registry.add("mean_absolute_error", "mae", mean_absolute_error)
class MeanAbsoluteError(EngineLoss):
    """The mean of ``|y - p|``.

    >>> MeanAbsoluteError()([[0.0], [1.0]], [[3.0], [1.0]])
    1.5
    """

    kind = "mean_absolute_error"

    def __init__(self, reduction="sum_over_batch_size", name="mean_absolute_error", dtype=None):
        super().__init__(name, reduction, dtype)


def mean_absolute_percentage_error(y_true, y_pred):
    """``100 |y - p| / |y|`` of each row, the mean over its columns.

    >>> mean_absolute_percentage_error([[1.0, 2.0]], [[1.5, 2.0]])
    array([25.])
    """
    return MeanAbsolutePercentageError("none")(y_true, y_pred)


@registry.add("mean_absolute_percentage_error", "mape", mean_absolute_percentage_error)
class MeanAbsolutePercentageError(FormulaLoss):
    """The mean of ``100 |y - p| / |y|``; a y nearer to zero than `epsilon` counts as that.

    >>> MeanAbsolutePercentageError()([[2.0], [4.0]], [[1.0], [4.0]])
    25.0
    """

    def __init__(self, reduction="sum_over_batch_size", name="mean_absolute_percentage_error",
                 dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        scale = 100 / np.maximum(np.abs(target), epsilon())
        error = output - target
        return mean_over_columns(np.abs(error) * scale, np.sign(error) * scale)


def mean_squared_logarithmic_error(y_true, y_pred):
    """``(log(1 + y) - log(1 + p))**2`` of each row, the mean over its columns.

    >>> mean_squared_logarithmic_error([[1.0]], [[3.0]]).round(4)
    array([0.4805])
    """
    return MeanSquaredLogarithmicError("none")(y_true, y_pred)


@registry.add("mean_squared_logarithmic_error", "msle", mean_squared_logarithmic_error)
class MeanSquaredLogarithmicError(FormulaLoss):
    """The mean of ``(log(1 + y) - log(1 + p))**2``; numbers below `epsilon` count as that.

    >>> round(MeanSquaredLogarithmicError()([[1.0]], [[3.0]]), 4)
    0.4805
    """

    def __init__(self, reduction="sum_over_batch_size", name="mean_squared_logarithmic_error",
                 dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        y, p = (np.maximum(a, epsilon()) + 1 for a in (target, output))
        error = np.log(p) - np.log(y)
        return mean_over_columns(np.square(error), np.where(output > epsilon(), 2 * error / p, 0))


def huber(y_true, y_pred, delta=1.0):
    """The loss of `Huber` of each row, the mean over its columns.

    >>> huber([[0.0, 0.0]], [[0.5, 2.0]])
    array([0.8125])
    """
    return Huber(delta, "none")(y_true, y_pred)


@registry.add("huber", huber)
class Huber(FormulaLoss):
    """Half the squared error up to ``delta``, then a straight line: with e = p - y the mean of
    ``e**2 / 2`` where ``|e| <= delta``, else ``delta |e| - delta**2 / 2``.

    Parameters
    ----------
    delta : float, default 1
    reduction, name, dtype
        See `Loss`.

    Examples
    --------
    >>> Huber()([[0.0], [0.0]], [[0.5], [2.0]])
    0.8125
    """

    def __init__(self, delta=1.0, reduction="sum_over_batch_size", name="huber_loss", dtype=None):
        super().__init__(name, reduction, dtype)
        self.delta = delta

    def formula(self, target, output, from_logits):
        error = output - target
        slope = np.clip(error, -self.delta, self.delta)
        # With s the slope, both cases are s e - s^2 / 2.
        return mean_over_columns(slope * error - np.square(slope) / 2, slope)


def log_cosh(y_true, y_pred):
    """``log(cosh(p - y))`` of each row, the mean over its columns.

    >>> log_cosh([[0.0, 0.0]], [[0.0, 1.0]]).round(4)
    array([0.2169])
    """
    return LogCosh("none")(y_true, y_pred)


@registry.add("log_cosh", log_cosh)
class LogCosh(FormulaLoss):
    """The mean of ``log(cosh(p - y))``, which is like half the squared error, then like the
    absolute error.

    >>> round(LogCosh()([[0.0], [0.0]], [[0.0], [1.0]]), 4)
    0.2169
    """

    def __init__(self, reduction="sum_over_batch_size", name="log_cosh", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        error = output - target
        size = np.abs(error)
        # log((exp(e) + exp(-e)) / 2) = |e| + log(1 + exp(-2 |e|)) - log 2 does not overflow.
        return mean_over_columns(size + np.log1p(np.exp(-2 * size)) - math.log(2), np.tanh(error))


def poisson(y_true, y_pred):
    """``p - y log p`` of each row, the mean over its columns.

    >>> poisson([[1.0]], [[2.0]]).round(4)
    array([1.3069])
    """
    return Poisson("none")(y_true, y_pred)


@registry.add("poisson", poisson)
class Poisson(FormulaLoss):
    """The mean of ``p - y log p``: the likelihood of counts y whose mean is p, which is positive.

    >>> round(Poisson()([[1.0], [0.0]], [[2.0], [0.5]]), 4)
    0.9034
    """

    def __init__(self, reduction="sum_over_batch_size", name="poisson", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        p = output + epsilon()
        return mean_over_columns(output - target * np.log(p), 1 - target / p)


def cosine_similarity(y_true, y_pred, axis=-1):
    """Less the cosine of the angle between each row and its label: -1 where they agree.

    >>> cosine_similarity([[0.0, 2.0], [1.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]])
    array([-1., -0.])
    """
    return CosineSimilarity(axis, "none")(y_true, y_pred)


@registry.add("cosine_similarity", cosine_similarity)
class CosineSimilarity(FormulaLoss):
    """Less the cosine of the angle between predictions and labels: -1 where they agree, 1 where
    they are opposite, 0 where they have nothing in common, or one of them is zero.

    Parameters
    ----------
    axis : int, default -1
        Only the last is supported.
    reduction, name, dtype
        See `Loss`.

    Examples
    --------
    >>> CosineSimilarity()([[0.0, 2.0], [1.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]])
    -0.5
    """

    takes_rows = True

    def __init__(self, axis=-1, reduction="sum_over_batch_size", name="cosine_similarity",
                 dtype=None):
        super().__init__(name, reduction, dtype)
        self.axis = last_axis(self, axis)

    def formula(self, target, output, from_logits):
        y, _ = _direction(target)
        p, norm = _direction(output)
        cosine = (y * p).sum(axis=1, keepdims=True)
        # d(p/|p|) = (dp - p/|p| (p/|p| dp)) / |p|; a norm that is clipped does not change.
        turned = np.where(norm > epsilon(), cosine, 0)
        return -cosine[:, 0], (turned * p - y) / np.maximum(norm, epsilon())


def _direction(vectors):
    """Vectors (n, C) of length 1 (those shorter than `epsilon` are divided by that); the lengths.
    """
    norm = np.sqrt(np.square(vectors).sum(axis=1, keepdims=True))
    return vectors / np.maximum(norm, epsilon()), norm
