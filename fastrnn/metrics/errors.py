"""Errors: the losses as metrics, and what is made of errors besides.

The functions of `fastrnn.losses` are here as well, all but the cosine similarity, which as a metric
has the other sign.
"""

from __future__ import annotations

import warnings

import numpy as np

from fastrnn.checks import whole
from fastrnn.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    cosine_similarity,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    poisson,
    sparse_categorical_crossentropy,
    squared_hinge,
)
from fastrnn.metrics.base import (
    Mean,
    MeanMetricWrapper,
    Metric,
    floats,
    registry,
    two_axes,
    weights_like,
)

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "CategoricalHinge", "CosineSimilarity",
    "Hinge", "KLDivergence", "LogCoshError", "MeanAbsoluteError", "MeanAbsolutePercentageError",
    "MeanSquaredError", "MeanSquaredLogarithmicError", "Poisson", "R2Score", "RootMeanSquaredError",
    "SparseCategoricalCrossentropy", "SquaredHinge", "binary_crossentropy",
    "binary_focal_crossentropy", "categorical_crossentropy", "categorical_focal_crossentropy",
    "categorical_hinge", "hinge", "huber", "kl_divergence", "log_cosh", "mean_absolute_error",
    "mean_absolute_percentage_error", "mean_squared_error", "mean_squared_logarithmic_error",
    "poisson", "sparse_categorical_crossentropy", "squared_hinge",
]


# -- losses as metrics ----------------------------------------------------------------------------


@registry.add("mean_squared_error", "mse", mean_squared_error)
class MeanSquaredError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``(y - p)**2``."""

    direction = "down"

    def __init__(self, name="mean_squared_error", dtype=None):
        super().__init__(mean_squared_error, name, dtype)


@registry.add("mean_absolute_error", "mae", mean_absolute_error)
class MeanAbsoluteError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``|y - p|``."""

    direction = "down"

    def __init__(self, name="mean_absolute_error", dtype=None):
        super().__init__(mean_absolute_error, name, dtype)


@registry.add("mean_absolute_percentage_error", "mape", mean_absolute_percentage_error)
class MeanAbsolutePercentageError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``100 |y - p| / |y|``; see `fastrnn.losses.MeanAbsolutePercentageError`."""

    direction = "down"

    def __init__(self, name="mean_absolute_percentage_error", dtype=None):
        super().__init__(mean_absolute_percentage_error, name, dtype)


@registry.add("mean_squared_logarithmic_error", "msle", mean_squared_logarithmic_error)
class MeanSquaredLogarithmicError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``(log(1 + y) - log(1 + p))**2``; see
    `fastrnn.losses.MeanSquaredLogarithmicError`."""

    direction = "down"

    def __init__(self, name="mean_squared_logarithmic_error", dtype=None):
        super().__init__(mean_squared_logarithmic_error, name, dtype)


@registry.add("log_cosh_error", log_cosh)
class LogCoshError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``log(cosh(p - y))``; see `fastrnn.losses.LogCosh`."""

    direction = "down"

    def __init__(self, name="logcosh", dtype=None):
        super().__init__(log_cosh, name, dtype)


@registry.add("poisson", poisson)
class Poisson(MeanMetricWrapper, joins_batches=True):
    """The mean of ``p - y log p``; see `fastrnn.losses.Poisson`."""

    def __init__(self, name="poisson", dtype=None):
        super().__init__(poisson, name, dtype)


def _cosine(y_true, y_pred, axis=-1):
    return -cosine_similarity(y_true, y_pred, axis)


@registry.add("cosine_similarity")
class CosineSimilarity(MeanMetricWrapper, joins_batches=True):
    """The mean cosine of the angle between predictions and labels: 1 where they agree.

    The loss of that name is the same with the other sign.

    >>> CosineSimilarity()([[0.0, 2.0], [1.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]])
    0.5
    """

    direction = "up"

    def __init__(self, name="cosine_similarity", dtype=None, axis=-1):
        super().__init__(_cosine, name, dtype, axis=axis)
        self.axis = axis


@registry.add("binary_crossentropy", "bce", binary_crossentropy)
class BinaryCrossentropy(MeanMetricWrapper, joins_batches=True):
    """The mean binary cross-entropy; see `fastrnn.losses.BinaryCrossentropy`."""

    direction = "down"

    def __init__(self, name="binary_crossentropy", dtype=None, from_logits=False,
                 label_smoothing=0):
        super().__init__(
            binary_crossentropy, name, dtype,
            from_logits=from_logits, label_smoothing=label_smoothing,
        )
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing


@registry.add("categorical_crossentropy", categorical_crossentropy)
class CategoricalCrossentropy(MeanMetricWrapper, joins_batches=True):
    """The mean cross-entropy of one-hot labels; see `fastrnn.losses.CategoricalCrossentropy`."""

    direction = "down"

    def __init__(self, name="categorical_crossentropy", dtype=None, from_logits=False,
                 label_smoothing=0, axis=-1):
        super().__init__(
            categorical_crossentropy, name, dtype,
            from_logits=from_logits, label_smoothing=label_smoothing, axis=axis,
        )
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


@registry.add("sparse_categorical_crossentropy", sparse_categorical_crossentropy)
class SparseCategoricalCrossentropy(MeanMetricWrapper, joins_batches=True):
    """The mean cross-entropy of class numbers; see
    `fastrnn.losses.SparseCategoricalCrossentropy`.

    With ``ignore_class`` rows of that label add nothing. As in Keras they are still counted as
    rows, except where there are sample weights or a mask.

    >>> metric = SparseCategoricalCrossentropy(ignore_class=-1)
    >>> y, p = [1, -1], [[0.5, 0.5], [0.5, 0.5]]
    >>> round(metric(y, p), 4)
    0.3466
    >>> metric.reset_state()
    >>> round(metric(y, p, sample_weight=[1, 1]), 4)
    0.6931
    """

    direction = "down"

    def __init__(self, name="sparse_categorical_crossentropy", dtype=None, from_logits=False,
                 ignore_class=None, axis=-1):
        super().__init__(
            sparse_categorical_crossentropy, name, dtype,
            from_logits=from_logits, ignore_class=ignore_class, axis=axis,
        )
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.ignore_class is not None and sample_weight is not None:
            y_true = np.asarray(y_true)
            labels = y_true[..., 0] if y_true.ndim == np.ndim(y_pred) else y_true
            counts = labels != self.ignore_class
            sample_weight = weights_like(sample_weight, counts) * counts
        super().update_state(y_true, y_pred, sample_weight)


@registry.add("kl_divergence", kl_divergence)
class KLDivergence(MeanMetricWrapper, joins_batches=True):
    """The mean of ``sum_c y_c log(y_c / p_c)``; see `fastrnn.losses.KLDivergence`."""

    def __init__(self, name="kl_divergence", dtype=None):
        super().__init__(kl_divergence, name, dtype)


# This one and the next do not join batches: all labels of one together say what a 0 stands for.
@registry.add("hinge", hinge)
class Hinge(MeanMetricWrapper):
    """The mean of ``max(1 - y p, 0)``; see `fastrnn.losses.Hinge`."""

    direction = "down"

    def __init__(self, name="hinge", dtype=None):
        super().__init__(hinge, name, dtype)


@registry.add("squared_hinge", squared_hinge)
class SquaredHinge(MeanMetricWrapper):
    """The mean of ``max(1 - y p, 0)**2``; see `fastrnn.losses.SquaredHinge`."""

    direction = "down"

    def __init__(self, name="squared_hinge", dtype=None):
        super().__init__(squared_hinge, name, dtype)


@registry.add("categorical_hinge", categorical_hinge)
class CategoricalHinge(MeanMetricWrapper, joins_batches=True):
    """The mean of ``max(neg - pos + 1, 0)``; see `fastrnn.losses.CategoricalHinge`."""

    direction = "down"

    def __init__(self, name="categorical_hinge", dtype=None):
        super().__init__(categorical_hinge, name, dtype)


# -- other errors ---------------------------------------------------------------------------------


@registry.add("root_mean_squared_error")
class RootMeanSquaredError(Mean, joins_batches=True):
    """The root of the mean of ``(y - p)**2``.

    As in Keras, masked steps count.

    >>> RootMeanSquaredError()([[0.0], [1.0]], [[2.0], [1.0]])
    1.4142135623730951
    """

    direction = "down"
    takes_mask = False

    def __init__(self, name="root_mean_squared_error", dtype=None):
        super().__init__(name, dtype)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take in a batch."""
        y_true, y_pred = floats(self, y_true, y_pred)
        super().update_state(np.square(y_pred - y_true), sample_weight)

    def result(self):
        return float(np.sqrt(super().result()))


@registry.add("r2_score")
class R2Score(Metric, joins_batches=True):
    """The share of the labels' variance that is explained, ``1 - sum (y - p)^2 / sum (y - m)^2``,
    m the mean of y: for each column, then one for all.

    As in Keras, a column whose labels are all alike scores 0 (NaN where they are met), and the
    number of samples that ``num_regressors`` is held against is that of entries.

    Parameters
    ----------
    class_aggregation : {"uniform_average", "variance_weighted_average", None}
        The mean of the columns' scores, their mean weighted by variance, or all of them.
    num_regressors : int, default 0
        Adjust the score for so many independent variables.
    name, dtype
        See `Metric`.

    Examples
    --------
    >>> round(R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]]), 4)
    0.5714
    """

    direction = "up"
    takes_mask = False

    def __init__(self, class_aggregation="uniform_average", num_regressors=0, name="r2_score",
                 dtype=None):
        known = (None, "uniform_average", "variance_weighted_average")
        if class_aggregation not in known:
            raise ValueError(
                f"R2Score: class_aggregation must be one of {known}; got {class_aggregation!r}."
            )
        if not whole(num_regressors, least=0):
            raise ValueError(
                "R2Score: num_regressors must be a whole number from 0 on; got "
                f"{num_regressors!r}."
            )
        super().__init__(dtype, name)
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        R2Score.reset_state(self)

    def reset_state(self):
        super().reset_state()
        self.sum = self.squared_sum = self.total_mse = self.count = 0.0
        self.num_samples = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = (
            a.astype(np.float64) for a in two_axes(self, y_true, y_pred)
        )
        weight = weights_like(sample_weight, y_true)
        self.sum = self.sum + (weight * y_true).sum(axis=0)
        self.squared_sum = self.squared_sum + (weight * y_true**2).sum(axis=0)
        self.total_mse = self.total_mse + (weight * (y_true - y_pred) ** 2).sum(axis=0)
        self.count = self.count + weight.sum(axis=0)
        self.num_samples += y_true.size

    def result(self):
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = self.squared_sum - self.sum * np.divide(self.sum, self.count)
            scores = 1 - np.divide(self.total_mse, variance)
            scores = np.where(np.isinf(scores), 0.0, scores)
            if self.class_aggregation == "uniform_average":
                scores = scores.mean()
            elif self.class_aggregation is not None:
                scores = (variance * scores).sum() / np.sum(variance)
        return self._number(self._adjusted(np.asarray(scores)))

    def _adjusted(self, score):
        """The score for so many samples n and regressors p: 1 - (1 - R^2) (n - 1) / (n - p - 1)."""
        free = self.num_samples - self.num_regressors - 1
        if not self.num_regressors:
            return score
        if free <= 0:
            warnings.warn(
                f"R2Score: {self.num_regressors} regressors for {self.num_samples} samples leave "
                "nothing to adjust by; the score is not adjusted.", stacklevel=3,
            )
            return score
        return 1 - (1 - score) * (self.num_samples - 1) / free
