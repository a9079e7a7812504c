"""Metrics: figures that training reports and does not train on.

A metric sums up over batches: ``update_state(y_true, y_pred)`` for each, then ``result()``.

Letters: B rows in a batch, T steps, C columns of the output (classes).
"""

from __future__ import annotations

import warnings
from numbers import Real

import numpy as np

from fastrnn import activations, losses
from fastrnn.checks import whole
from fastrnn.config import epsilon, floatx
from fastrnn.losses import (
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
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
from fastrnn.names import snake_case
from fastrnn.registry import Configurable, Registry, own
from fastrnn.thresholds import LOWEST, all_but_largest, confusion, divided, weights_like
from fastrnn.values import plain

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "Poisson",
    "Precision",
    "R2Score",
    "Recall",
    "RootMeanSquaredError",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "accuracy",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "poisson",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]

_registry = Registry("metric", "keras.metrics")
serialize, deserialize = _registry.serialize, _registry.deserialize


def get(identifier):
    """The metric that a name, a config, a function or an object stands for.

    A function ``f(y_true, y_pred)`` that gives a value for each row becomes the mean of its values.

    Raises
    ------
    ValueError
        If the name is not known; the message names the nearest.

    Examples
    --------
    >>> get("binary_accuracy").name
    'binary_accuracy'
    """
    identifier = _loss_function(identifier)
    metric = _registry.get(identifier)
    if metric is None:
        return None
    if not isinstance(metric, Metric):
        name = getattr(metric, "__name__", type(metric).__name__).strip("<>")  # as Keras: "lambda"
        return MeanMetricWrapper(metric, getattr(metric, "name", None) or snake_case(name))
    if metric is not identifier and callable(identifier) and not isinstance(identifier, type):
        metric.name = identifier.__name__  # a function: so the metric is called
    return metric


def _loss_function(identifier):
    """The function of `fastrnn.losses` that a config names; anything else as it is.

    It is not what the name alone stands for: the cosine similarity of that module is a loss.
    """
    if not isinstance(identifier, dict) or identifier.get("class_name") != "function":
        return identifier
    name = identifier.get("config")
    known = isinstance(name, str) and name in losses.__all__ and own(name) is None
    return getattr(losses, name) if known else identifier


def resolve(identifier, target_ndim, output_shape):
    """The metric for an output of ``output_shape`` and labels of ``target_ndim`` axes.

    What ``"acc"`` and ``"accuracy"`` stand for depends on them: yes or no for one column, class
    numbers for labels with an axis less than the output, else one-hot labels.  A metric given by
    name keeps the name as it was given.
    """
    if identifier in ("acc", "accuracy"):
        if output_shape[-1] == 1:
            metric = BinaryAccuracy()
        elif target_ndim < len(output_shape):
            metric = SparseCategoricalAccuracy()
        else:
            metric = CategoricalAccuracy()
    else:
        metric = get(identifier)
    if metric is None:
        raise ValueError("metrics: expected names or metrics; got None.")
    if isinstance(identifier, str):
        metric.name = identifier
    return metric


class Metric(Configurable):
    """What every metric has.

    Parameters
    ----------
    name : str, optional
        Default: the class's name in snake case.
    dtype : str, optional
        Kept for the config; sums are in double precision always.

    Attributes
    ----------
    direction : {"up", "down", None}
        Which way is better, where that is known.
    joins_batches : bool
        Whether several batches may be taken in as one: not where a function or a class of a user
        may look at a batch as a whole.
    works_anywhere : bool
        Whether it computes with an engine's arrays where they are.
    takes_mask : bool
        Whether steps that are masked in the model are left out.
    """

    direction = None
    takes_mask = True

    def __init_subclass__(cls, joins_batches=False, works_anywhere=False, **keywords):
        # Keywords of a class, for these are not inherited: one that a user derives from it promises
        # nothing.
        super().__init_subclass__(**keywords)
        cls._joins_batches, cls._works_anywhere = joins_batches, works_anywhere

    @property
    def joins_batches(self):
        return self._joins_batches

    @property
    def works_anywhere(self):
        return self._works_anywhere

    def __init__(self, dtype=None, name=None):
        self.name = name or snake_case(type(self).__name__)
        self.dtype = dtype
        self.reset_state()

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take in a batch."""
        raise NotImplementedError

    def reset_state(self):
        """Forget all batches."""
        raise NotImplementedError

    def result(self):
        """The figure over all batches since the last reset: a float, of some an array of them."""
        raise NotImplementedError

    def _number(self, a):
        """An array of one figure as a float; any other, of several, as it is."""
        return float(a.reshape(())) if a.size == 1 else a

    def __call__(self, *args, **kwargs):
        """Take in a batch, and return the figure so far."""
        self.update_state(*args, **kwargs)
        return self.result()


@_registry.add("mean")
class Mean(Metric):
    """The weighted mean of all values.

    >>> mean = Mean()
    >>> mean.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> mean.result()
    2.0
    """

    def __init__(self, name="mean", dtype=None):
        super().__init__(dtype, name)

    def reset_state(self):
        self.total = 0.0
        self.count = 0.0

    def update_state(self, values, sample_weight=None):
        """Take in values of shape (B, ...); weights are (B,), or have more of the values' axes."""
        values = np.asarray(values)
        if sample_weight is None:
            return self.add(self.sums(values))
        rows = values.shape[0] if values.ndim else 1
        weight = np.asarray(sample_weight, np.float64)
        if weight.ndim == values.ndim + 1 and weight.shape[-1] == 1:
            weight = weight[..., 0]
        if values.ndim > weight.ndim:
            values = values.mean(axis=tuple(range(weight.ndim, values.ndim)), dtype=np.float64)
        weight = np.broadcast_to(weight, values.shape)
        scale = rows / max(1, values.size)
        self.total += float((values * weight).sum()) * scale
        self.count += float(weight.sum()) * scale

    @staticmethod
    def sums(values):
        """What `add` takes for values: their total, wherever they lie, and how it counts.

        Each row counts once, whatever the number of its steps.
        """
        rows = values.shape[0] if values.ndim else 1
        return values.sum(dtype=np.float64), max(1, values.size), rows

    def add(self, sums):
        """Take in what `sums` gave."""
        total, size, rows = sums
        self.total += float(total) * rows / size
        self.count += rows

    def result(self):
        return self.total / self.count if self.count else 0.0


@_registry.add("sum")
class Sum(Metric):
    """The weighted sum of all values.

    >>> total = Sum()
    >>> total.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> total.result()
    4.0
    """

    def __init__(self, name="sum", dtype=None):
        super().__init__(dtype, name)

    def reset_state(self):
        self.total = 0.0

    def update_state(self, values, sample_weight=None):
        """Take in values of shape (B, ...); weights are (B,), or have more of the values' axes."""
        values = np.asarray(values)
        self.total += float((values * weights_like(sample_weight, values)).sum())

    def result(self):
        return self.total


class MeanMetricWrapper(Mean):
    """The mean of a function of labels and predictions.

    Less is better, if it is a loss.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred, **kwargs)``, an array with a value for each row (or row and step).
    name : str, optional
        Default: the function's.
    kwargs
        Handed on to ``fn``.
    """

    def __init__(self, fn, name=None, dtype=None, **kwargs):
        super().__init__(name or fn.__name__, dtype)
        self.fn = fn
        self.kwargs = kwargs
        named = getattr(losses, getattr(fn, "__name__", ""), None)
        if self.direction is None and (isinstance(fn, losses.Loss) or named is fn):
            self.direction = "down"

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(self.fn(y_true, y_pred, **self.kwargs), sample_weight)

    def sums_of(self, y_true, y_pred):
        """`sums` of labels and predictions, where those lie if the metric `works_anywhere`."""
        return self.sums(self.fn(y_true, y_pred, **self.kwargs))


# -- accuracies -----------------------------------------------------------------------------------


def _pair(y_true, y_pred):
    """Both as arrays; a last axis of one is dropped, or added, where only one of them has it.

    Those of an engine stay what they are.
    """
    y_true, y_pred = plain(y_true), plain(y_pred)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    elif y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"metric: expected labels and predictions of one shape; got {y_true.shape} and "
            f"{y_pred.shape}."
        )
    return y_true, y_pred


def accuracy(y_true, y_pred):
    """Where labels and predictions are equal.

    >>> accuracy([1, 2, 3], [1, 2, 4])
    array([ True,  True, False])
    """
    y_true, y_pred = _pair(y_true, y_pred)
    return y_true == y_pred


def binary_accuracy(y_true, y_pred, threshold=0.5):
    """Where a prediction above ``threshold`` meets label 1, and any other label 0.

    >>> binary_accuracy([1, 0], [0.7, 0.5])
    array([ True,  True])
    """
    y_true, y_pred = _pair(y_true, y_pred)
    return (y_pred > threshold) == y_true


def categorical_accuracy(y_true, y_pred):
    """Where the largest prediction is the class of the one-hot label.

    >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])
    array([ True, False])
    """
    y_true, y_pred = _pair(y_true, y_pred)
    return np.argmax(y_true, axis=-1) == np.argmax(y_pred, axis=-1)


def sparse_categorical_accuracy(y_true, y_pred):
    """Where the largest prediction is the class of the label, a class number.

    >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.4, 0.6]])
    array([ True, False])
    """
    return accuracy(y_true, np.argmax(y_pred, axis=-1))


def top_k_categorical_accuracy(y_true, y_pred, k=5):
    """Where the class of the one-hot label has one of the k largest predictions.

    >>> top_k_categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.2, 0.5, 0.3], [0.5, 0.1, 0.4]], k=2)
    array([ True, False])
    """
    return sparse_top_k_categorical_accuracy(np.argmax(y_true, axis=-1), y_pred, k)


def sparse_top_k_categorical_accuracy(y_true, y_pred, k=5, from_sorted_ids=False):
    """Where the class of the label, a class number, has one of the k largest predictions.

    All that are as large as the k-th count as such.  With ``from_sorted_ids`` predictions are
    class numbers, the likeliest first.

    >>> sparse_top_k_categorical_accuracy([2, 1], [[0.2, 0.5, 0.3], [0.5, 0.1, 0.4]], k=2)
    array([ True, False])
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.ndim < y_pred.ndim:
        y_true = y_true[..., None]
    if from_sorted_ids:
        return (y_pred[..., :k] == y_true).any(axis=-1)
    of_label = np.take_along_axis(y_pred, y_true.astype(np.int64), axis=-1)
    return ((y_pred > of_label).sum(axis=-1) < k) & ~np.isnan(of_label[..., 0])


@_registry.add("accuracy", accuracy)
class Accuracy(MeanMetricWrapper, joins_batches=True, works_anywhere=True):
    """How often predictions equal labels.

    >>> Accuracy()([1, 2, 3, 4], [0, 2, 3, 4])
    0.75
    """

    direction = "up"

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(accuracy, name, dtype)


@_registry.add("binary_accuracy", binary_accuracy)
class BinaryAccuracy(MeanMetricWrapper, joins_batches=True, works_anywhere=True):
    """How often predictions above ``threshold`` meet label 1, and others label 0.

    For outputs that are logits the threshold is 0.

    >>> BinaryAccuracy()([1, 1, 0, 0], [0.98, 1, 0, 0.6])
    0.75
    """

    direction = "up"

    def __init__(self, name="binary_accuracy", dtype=None, threshold=0.5):
        if not isinstance(threshold, Real):
            raise TypeError(f"BinaryAccuracy: threshold: expected a number; got {threshold!r}.")
        super().__init__(binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold


@_registry.add("categorical_accuracy", categorical_accuracy)
class CategoricalAccuracy(MeanMetricWrapper, joins_batches=True, works_anywhere=True):
    """How often the largest prediction is the class of a one-hot label."""

    direction = "up"

    def __init__(self, name="categorical_accuracy", dtype=None):
        super().__init__(categorical_accuracy, name, dtype)


@_registry.add("sparse_categorical_accuracy", sparse_categorical_accuracy)
class SparseCategoricalAccuracy(MeanMetricWrapper, joins_batches=True, works_anywhere=True):
    """How often the largest prediction is the class of a class number."""

    direction = "up"

    def __init__(self, name="sparse_categorical_accuracy", dtype=None):
        super().__init__(sparse_categorical_accuracy, name, dtype)


@_registry.add("top_k_categorical_accuracy", top_k_categorical_accuracy)
class TopKCategoricalAccuracy(MeanMetricWrapper, joins_batches=True):
    """How often the class of a one-hot label has one of the k largest predictions.

    >>> TopKCategoricalAccuracy(k=2)([[0, 0, 1], [0, 1, 0]], [[0.2, 0.5, 0.3], [0.5, 0.1, 0.4]])
    0.5
    """

    direction = "up"

    def __init__(self, k=5, name="top_k_categorical_accuracy", dtype=None):
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


@_registry.add("sparse_top_k_categorical_accuracy", sparse_top_k_categorical_accuracy)
class SparseTopKCategoricalAccuracy(MeanMetricWrapper, joins_batches=True):
    """How often the class of a class number has one of the k largest predictions.

    Parameters
    ----------
    k : int, default 5
    from_sorted_ids : bool, default False
        Predictions are class numbers, the likeliest first.
    name, dtype
        See `Metric`.

    Examples
    --------
    >>> SparseTopKCategoricalAccuracy(k=2)([2, 1], [[0.2, 0.5, 0.3], [0.5, 0.1, 0.4]])
    0.5
    """

    direction = "up"

    def __init__(self, k=5, name="sparse_top_k_categorical_accuracy", dtype=None,
                 from_sorted_ids=False):
        super().__init__(
            sparse_top_k_categorical_accuracy, name, dtype, k=k, from_sorted_ids=from_sorted_ids
        )
        self.k = k
        self.from_sorted_ids = from_sorted_ids


# -- losses as metrics ----------------------------------------------------------------------------


@_registry.add("mean_squared_error", "mse", losses.mean_squared_error)
class MeanSquaredError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``(y - p)**2``."""

    direction = "down"

    def __init__(self, name="mean_squared_error", dtype=None):
        super().__init__(losses.mean_squared_error, name, dtype)


@_registry.add("mean_absolute_error", "mae", losses.mean_absolute_error)
class MeanAbsoluteError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``|y - p|``."""

    direction = "down"

    def __init__(self, name="mean_absolute_error", dtype=None):
        super().__init__(losses.mean_absolute_error, name, dtype)


@_registry.add("binary_crossentropy", "bce", losses.binary_crossentropy)
class BinaryCrossentropy(MeanMetricWrapper, joins_batches=True):
    """The mean binary cross-entropy; see `fastrnn.losses.BinaryCrossentropy`."""

    direction = "down"

    def __init__(self, name="binary_crossentropy", dtype=None, from_logits=False,
                 label_smoothing=0):
        super().__init__(
            losses.binary_crossentropy, name, dtype,
            from_logits=from_logits, label_smoothing=label_smoothing,
        )
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing


@_registry.add("categorical_crossentropy", losses.categorical_crossentropy)
class CategoricalCrossentropy(MeanMetricWrapper, joins_batches=True):
    """The mean cross-entropy of one-hot labels; see `fastrnn.losses.CategoricalCrossentropy`."""

    direction = "down"

    def __init__(self, name="categorical_crossentropy", dtype=None, from_logits=False,
                 label_smoothing=0, axis=-1):
        super().__init__(
            losses.categorical_crossentropy, name, dtype,
            from_logits=from_logits, label_smoothing=label_smoothing, axis=axis,
        )
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


@_registry.add("sparse_categorical_crossentropy", losses.sparse_categorical_crossentropy)
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
            losses.sparse_categorical_crossentropy, name, dtype,
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


@_registry.add(
    "mean_absolute_percentage_error", "mape", losses.mean_absolute_percentage_error
)
class MeanAbsolutePercentageError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``100 |y - p| / |y|``; see `fastrnn.losses.MeanAbsolutePercentageError`."""

    direction = "down"

    def __init__(self, name="mean_absolute_percentage_error", dtype=None):
        super().__init__(losses.mean_absolute_percentage_error, name, dtype)


@_registry.add(
    "mean_squared_logarithmic_error", "msle", losses.mean_squared_logarithmic_error
)
class MeanSquaredLogarithmicError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``(log(1 + y) - log(1 + p))**2``; see
    `fastrnn.losses.MeanSquaredLogarithmicError`."""

    direction = "down"

    def __init__(self, name="mean_squared_logarithmic_error", dtype=None):
        super().__init__(losses.mean_squared_logarithmic_error, name, dtype)


@_registry.add("log_cosh_error", losses.log_cosh)
class LogCoshError(MeanMetricWrapper, joins_batches=True):
    """The mean of ``log(cosh(p - y))``; see `fastrnn.losses.LogCosh`."""

    direction = "down"

    def __init__(self, name="logcosh", dtype=None):
        super().__init__(losses.log_cosh, name, dtype)


@_registry.add("kl_divergence", losses.kl_divergence)
class KLDivergence(MeanMetricWrapper, joins_batches=True):
    """The mean of ``sum_c y_c log(y_c / p_c)``; see `fastrnn.losses.KLDivergence`."""

    def __init__(self, name="kl_divergence", dtype=None):
        super().__init__(losses.kl_divergence, name, dtype)


@_registry.add("poisson", losses.poisson)
class Poisson(MeanMetricWrapper, joins_batches=True):
    """The mean of ``p - y log p``; see `fastrnn.losses.Poisson`."""

    def __init__(self, name="poisson", dtype=None):
        super().__init__(losses.poisson, name, dtype)


# This one and the next do not join batches: all labels of one together say what a 0 stands for.
@_registry.add("hinge", losses.hinge)
class Hinge(MeanMetricWrapper):
    """The mean of ``max(1 - y p, 0)``; see `fastrnn.losses.Hinge`."""

    direction = "down"

    def __init__(self, name="hinge", dtype=None):
        super().__init__(losses.hinge, name, dtype)


@_registry.add("squared_hinge", losses.squared_hinge)
class SquaredHinge(MeanMetricWrapper):
    """The mean of ``max(1 - y p, 0)**2``; see `fastrnn.losses.SquaredHinge`."""

    direction = "down"

    def __init__(self, name="squared_hinge", dtype=None):
        super().__init__(losses.squared_hinge, name, dtype)


@_registry.add("categorical_hinge", losses.categorical_hinge)
class CategoricalHinge(MeanMetricWrapper, joins_batches=True):
    """The mean of ``max(neg - pos + 1, 0)``; see `fastrnn.losses.CategoricalHinge`."""

    direction = "down"

    def __init__(self, name="categorical_hinge", dtype=None):
        super().__init__(losses.categorical_hinge, name, dtype)


def _cosine(y_true, y_pred, axis=-1):
    return -losses.cosine_similarity(y_true, y_pred, axis)


@_registry.add("cosine_similarity")
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


# -- other errors ---------------------------------------------------------------------------------


def _floats(metric, y_true, y_pred):
    """Labels and predictions of one shape, of the metric's float type."""
    dtype = metric.dtype or floatx()
    return _pair(np.asarray(y_true, dtype), np.asarray(y_pred, dtype))


def _two_axes(metric, y_true, y_pred):
    """`_floats`, of rows and columns."""
    y_true, y_pred = _floats(metric, y_true, y_pred)
    if y_pred.ndim != 2:
        raise ValueError(
            f"{type(metric).__name__}: expected labels and predictions of shape (rows, columns); "
            f"got shape {y_pred.shape}."
        )
    return y_true, y_pred


@_registry.add("root_mean_squared_error")
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
        y_true, y_pred = _floats(self, y_true, y_pred)
        super().update_state(np.square(y_pred - y_true), sample_weight)

    def result(self):
        return float(np.sqrt(super().result()))


@_registry.add("r2_score")
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

    def reset_state(self):
        self.sum = self.squared_sum = self.total_mse = self.count = 0.0
        self.num_samples = 0

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = (
            a.astype(np.float64) for a in _two_axes(self, y_true, y_pred)
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


# -- positives and negatives ----------------------------------------------------------------------


class Confusion(Metric):
    """What counts positives and negatives, true and false, at some thresholds.

    Parameters
    ----------
    thresholds : float or list of float in [0, 1], optional
        Predictions above are positive.  Default: 0.5; with ``top_k`` none.  For several the
        result is an array.
    top_k : int, optional
        Only the so many largest predictions of a row may be positive.
    class_id : int, optional
        Count this column alone.
    name, dtype
        See `Metric`.

    Attributes
    ----------
    true_positives, false_positives, true_negatives, false_negatives : arrays of shape (K,)
        The counts so far, weighted.  As in Keras, masked steps count.
    """

    takes_mask = False

    def __init__(self, thresholds=None, top_k=None, class_id=None, name=None, dtype=None):
        kind = type(self).__name__
        if top_k is not None and not whole(top_k):
            raise ValueError(f"{kind}: top_k must be a whole number from 1 on; got {top_k!r}.")
        given = _between_0_and_1(kind, thresholds)
        self.init_thresholds = given[0] if isinstance(thresholds, Real) else given
        self.thresholds = given or [0.5 if top_k is None else LOWEST]
        self.top_k = top_k
        self.class_id = class_id
        super().__init__(dtype, name)

    def get_config(self):
        config = super().get_config()
        return config | {"thresholds": self.init_thresholds}

    def reset_state(self):
        for name in COUNTS:
            setattr(self, name, np.zeros(len(self.thresholds)))

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _floats(self, y_true, y_pred)
        weight = weights_like(sample_weight, y_pred)
        if self.top_k is not None:
            y_pred = all_but_largest(y_pred, self.top_k)
        if self.class_id is not None:
            y_true, y_pred, weight = (
                _column(self, a, self.class_id) for a in (y_true, y_pred, weight)
            )
        self._add(y_true, y_pred, weight, 1)

    def _add(self, y_true, y_pred, weight, columns):
        """Count entries; those of different columns apart, if there is more than one."""
        parts = y_true != 0, y_pred, weight
        y_true, y_pred, weight = (a.reshape(-1, columns) for a in parts)
        for name, counts in zip(
            COUNTS, confusion(y_true, y_pred, self.thresholds, weight), strict=True
        ):
            own = getattr(self, name)
            setattr(self, name, own + counts.reshape(len(counts), *([-1] * (own.ndim - 1))))


COUNTS = "true_positives", "false_positives", "true_negatives", "false_negatives"


def _between_0_and_1(kind, thresholds):
    """Thresholds, or one, as a list of plain floats, which configs can have; None stays None."""
    if thresholds is None:
        return None
    given = [thresholds] if isinstance(thresholds, Real) else list(thresholds)
    if not given or not all(isinstance(t, Real) and 0 <= t <= 1 for t in given):
        raise ValueError(f"{kind}: thresholds must lie in [0, 1]; got {thresholds!r}.")
    return [float(t) for t in given]


def _column(metric, a, number):
    if a.ndim < 2 or not -a.shape[-1] <= number < a.shape[-1]:
        raise ValueError(
            f"{type(metric).__name__}: class_id={number}: expected predictions with that column; "
            f"got shape {a.shape}."
        )
    return a[..., number, None]


@_registry.add("precision")
class Precision(Confusion, joins_batches=True):
    """How many of the positives are true: TP / (TP + FP), 0 where there are none.

    Parameters
    ----------
    thresholds, top_k, class_id
        See `Confusion`.
    name, dtype
        See `Metric`.

    Examples
    --------
    >>> Precision()([0, 1, 1, 1], [0.7, 0.1, 0.9, 0.8])
    0.6666666666666666
    >>> Precision(thresholds=[0.2, 0.75])([0, 1, 1, 1], [0.7, 0.1, 0.9, 0.8]).round(4)
    array([0.6667, 1.    ])
    """

    direction = "up"

    def result(self):
        found = divided(self.true_positives, self.true_positives + self.false_positives)
        return self._number(found)


@_registry.add("recall")
class Recall(Confusion, joins_batches=True):
    """How many of the labels that are 1 are found: TP / (TP + FN), 0 where there are none.

    Parameters
    ----------
    thresholds, top_k, class_id
        See `Confusion`.
    name, dtype
        See `Metric`.

    Examples
    --------
    >>> Recall()([0, 1, 1, 1], [0.7, 0.1, 0.9, 0.8])
    0.6666666666666666
    """

    direction = "up"

    def result(self):
        found = divided(self.true_positives, self.true_positives + self.false_negatives)
        return self._number(found)


class Count(Confusion):
    """One of the four counts of `Confusion`: a float, or an array for several thresholds."""

    counts = None

    def __init__(self, thresholds=None, name=None, dtype=None):
        super().__init__(thresholds, None, None, name, dtype)

    def result(self):
        return self._number(getattr(self, self.counts).copy())


@_registry.add("true_positives")
class TruePositives(Count, joins_batches=True):
    """How many predictions above the threshold have label 1.

    >>> TruePositives()([0, 1, 1, 1], [0.7, 0.1, 0.9, 0.8])
    2.0
    """

    direction = "up"
    counts = "true_positives"


@_registry.add("true_negatives")
class TrueNegatives(Count, joins_batches=True):
    """How many predictions that are not above the threshold have label 0.

    >>> TrueNegatives()([0, 1, 0, 0], [0.7, 0.1, 0.2, 0.3])
    2.0
    """

    direction = "up"
    counts = "true_negatives"


@_registry.add("false_positives")
class FalsePositives(Count, joins_batches=True):
    """How many predictions above the threshold have label 0.

    >>> FalsePositives()([0, 1, 0, 0], [0.7, 0.1, 0.9, 0.3])
    2.0
    """

    direction = "down"
    counts = "false_positives"


@_registry.add("false_negatives")
class FalseNegatives(Count, joins_batches=True):
    """How many predictions that are not above the threshold have label 1.

    >>> FalseNegatives()([0, 1, 1, 1], [0.7, 0.1, 0.2, 0.8])
    2.0
    """

    direction = "down"
    counts = "false_negatives"


@_registry.add("auc")
class AUC(Confusion, joins_batches=True):
    """The area under a curve that positives and negatives make as the threshold moves.

    It is a sum over thresholds: close to the true area where these are close to one another
    between the predictions that there are.

    Parameters
    ----------
    num_thresholds : int, default 200
        So many thresholds, from 0 to 1 in equal steps.
    curve : {"ROC", "PR", "PRGAIN"}
        True over false positive rate, precision over recall, or precision gain over recall gain.
    summation_method : {"interpolation", "minoring", "majoring"}
        What the curve is between two thresholds: a line (for "PR" what is between them, true and
        false positives), the lower or the higher of the two.
    name, dtype
        See `Metric`.
    thresholds : list of float in [0, 1], optional
        In place of ``num_thresholds``; 0 and 1 are added.
    multi_label : bool, default False
        An area for each column, and their mean; else all entries together make one.
    num_labels : int, optional
        The number of columns, for ``multi_label``.
    label_weights : list of float, optional
        What each column counts.
    from_logits : bool, default False
        Predictions go through a sigmoid first.

    Raises
    ------
    ValueError
        For fewer than two thresholds, or the name of no curve or method.

    Examples
    --------
    >>> AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9])
    0.75
    """

    direction = "up"

    def __init__(self, num_thresholds=200, curve="ROC", summation_method="interpolation",
                 name=None, dtype=None, thresholds=None, multi_label=False, num_labels=None,
                 label_weights=None, from_logits=False):
        if thresholds is not None:
            inner = sorted(_between_0_and_1("AUC", thresholds))
        elif whole(num_thresholds, least=2):
            inner = [i / (num_thresholds - 1) for i in range(1, num_thresholds - 1)]
        else:
            raise ValueError(
                "AUC: num_thresholds must be a whole number from 2 on; got "
                f"{num_thresholds!r}."
            )
        if num_labels and not multi_label:
            raise ValueError("AUC: num_labels is for multi_label=True only.")
        self.num_thresholds = len(inner) + 2
        self.curve = _one_of("curve", CURVES, curve)
        self.summation_method = _one_of("summation_method", HEIGHTS, summation_method)
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else [float(w) for w in label_weights]
        self.from_logits = from_logits
        super().__init__(inner or None, None, None, name, dtype)
        self.init_thresholds = None if thresholds is None else inner
        # A little beyond both ends, so that all predictions lie between them.
        self.thresholds = [-epsilon(), *inner, 1 + epsilon()]
        self.reset_state()

    def reset_state(self):
        columns = (self.num_labels or 1,) if self.multi_label else ()
        for name in COUNTS:
            setattr(self, name, np.zeros((len(self.thresholds), *columns)))

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _floats(self, y_true, y_pred)
        if self.from_logits:
            y_pred = activations.named("sigmoid").forward(y_pred)
        weight = weights_like(sample_weight, y_pred)
        if not self.multi_label:
            if self.label_weights is not None:
                weight = weight * np.asarray(self.label_weights)
            return self._add(y_true, y_pred, weight, 1)
        columns = y_pred.shape[-1]
        if y_pred.ndim != 2 or self.num_labels not in (None, columns):
            raise ValueError(
                "AUC: with multi_label, expected predictions of shape "
                f"(rows, {self.num_labels or 'labels'}); got shape {y_pred.shape}."
            )
        return self._add(y_true, y_pred, weight, columns)

    def result(self):
        positives = self.true_positives + self.false_positives
        if (self.curve, self.summation_method) == ("PR", "interpolation"):
            areas = self._between(positives)
        else:
            x, y = CURVES[self.curve](*(getattr(self, name) for name in COUNTS))
            areas = (x[:-1] - x[1:]) * HEIGHTS[self.summation_method](y[:-1], y[1:])
        areas = areas.sum(axis=0)
        if self.multi_label and self.label_weights is not None:
            weights = np.broadcast_to(self.label_weights, areas.shape)
            return float(divided((areas * weights).sum(), weights.sum()))
        return float(areas.mean())

    def _between(self, positives):
        """Parts of the area under precision over recall.

        Between two thresholds true positives TP are a line over all positives P, with slope s:
        TP = a + s P, so that the integral of TP / P over TP is s (dTP + a log(P / P')).
        """
        tp, more, fewer = self.true_positives, positives[:-1], positives[1:]
        dtp = tp[:-1] - tp[1:]
        slope = divided(dtp, np.maximum(more - fewer, 0))
        start = tp[1:] - slope * fewer
        both = (more > 0) & (fewer > 0)
        ratio = np.where(both, divided(more, fewer), 1)
        total = np.maximum(tp[1:] + self.false_negatives[1:], 0)
        return divided(slope * (dtp + start * np.log(ratio)), total)


def _one_of(argument, known, given):
    found = {key.lower(): key for key in known}.get(str(given).lower())
    if found is None:
        raise ValueError(f"AUC: {argument} must be one of {', '.join(known)}; got {given!r}.")
    return found


# Points of a curve, (x, y), from TP, FP, TN and FN at each threshold.


def _roc(tp, fp, tn, fn):
    return divided(fp, fp + tn), divided(tp, tp + fn)


def _precision_recall(tp, fp, tn, fn):
    return divided(tp, tp + fn), divided(tp, tp + fp)


def _gains(tp, fp, tn, fn):
    """1 - r FN / TP and 1 - r FP / TP, r the ratio of labels; where there is no TP, 0 and 1."""
    ratio = divided(tp + fn, tn + fp)
    recall = np.where(tp == 0, 0, 1 - ratio * divided(fn, tp))
    return np.maximum(recall, 0), np.where(tp == 0, 1, 1 - ratio * divided(fp, tp))


CURVES = {"ROC": _roc, "PR": _precision_recall, "PRGAIN": _gains}

HEIGHTS = {
    "interpolation": lambda a, b: (a + b) / 2, "minoring": np.minimum, "majoring": np.maximum,
}


@_registry.add("f_beta_score")
class FBetaScore(Metric, joins_batches=True):
    """Precision and recall in one: ``(1 + b^2) P R / (b^2 P + R)``, for each column.

    Parameters
    ----------
    average : {None, "micro", "macro", "weighted"}
        None: an array with the score of each column.  "micro": one over all entries.  "macro":
        the mean of the columns'.  "weighted": that weighted by how often each is right.
    beta : float, default 1
        How much more recall counts than precision.
    threshold : float in (0, 1], optional
        Predictions above are positive.  Default: the largest of each row is.
    name, dtype
        See `Metric`.

    Examples
    --------
    >>> y, p = [[1, 0], [0, 1], [0, 1]], [[0.8, 0.2], [0.6, 0.4], [0.1, 0.9]]
    >>> FBetaScore(beta=2.0)(y, p).round(4)
    array([0.8333, 0.5556])
    """

    direction = "up"
    takes_mask = False

    def __init__(self, average=None, beta=1.0, threshold=None, name="fbeta_score", dtype=None):
        kind = type(self).__name__
        averages = (None, "micro", "macro", "weighted")
        if average not in averages:
            raise ValueError(f"{kind}: average must be one of {averages}; got {average!r}.")
        if not (isinstance(beta, Real) and beta > 0):
            raise ValueError(f"{kind}: beta must be a number above 0; got {beta!r}.")
        if threshold is not None and not (isinstance(threshold, Real) and 0 < threshold <= 1):
            raise ValueError(f"{kind}: threshold must lie in (0, 1]; got {threshold!r}.")
        super().__init__(dtype, name)
        self.average = average
        self.beta = beta
        self.threshold = threshold

    def reset_state(self):
        self.true_positives = self.false_positives = self.false_negatives = 0.0
        self.intermediate_weights = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = _two_axes(self, y_true, y_pred)
        if self.threshold is None:
            largest = y_pred.max(axis=-1, keepdims=True)
            positive = (y_pred >= largest) & (np.abs(y_pred) > 1e-9)
        else:
            positive = y_pred > self.threshold
        weight = weights_like(sample_weight, y_pred)
        axis = None if self.average == "micro" else 0
        sums = [
            (weight * part).sum(axis=axis)
            for part in (positive * y_true, positive * (1 - y_true), ~positive * y_true, y_true)
        ]
        self.true_positives = self.true_positives + sums[0]
        self.false_positives = self.false_positives + sums[1]
        self.false_negatives = self.false_negatives + sums[2]
        self.intermediate_weights = self.intermediate_weights + sums[3]

    def result(self):
        tp, low = np.asarray(self.true_positives), epsilon()
        precision = tp / (tp + self.false_positives + low)
        recall = tp / (tp + self.false_negatives + low)
        square = self.beta**2
        scores = (1 + square) * precision * recall / (square * precision + recall + low)
        if self.average == "weighted":
            weights = self.intermediate_weights
            return float((scores * weights / (np.sum(weights) + low)).sum())
        return scores if self.average is None else float(scores.mean())


@_registry.add("f1_score")
class F1Score(FBetaScore, joins_batches=True):
    """The harmonic mean of precision and recall, ``2 P R / (P + R)``: `FBetaScore` with beta 1.

    Parameters
    ----------
    average, threshold
        See `FBetaScore`.
    name, dtype
        See `Metric`.

    Examples
    --------
    >>> round(F1Score(average="micro", threshold=0.5)([[1], [0], [1]], [[0.9], [0.8], [0.7]]), 4)
    0.8
    """

    def __init__(self, average=None, threshold=None, name="f1_score", dtype=None):
        super().__init__(average, 1.0, threshold, name, dtype)
