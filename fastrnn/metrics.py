"""Metrics: figures that training reports and does not train on.

A metric sums up over batches: ``update_state(y_true, y_pred)`` for each, then ``result()``.

Letters: B rows in a batch, T steps, C columns of the output (classes).
"""

from __future__ import annotations

from numbers import Real

import numpy as np

from fastrnn import losses
from fastrnn.names import snake_case
from fastrnn.registry import Configurable, Registry
from fastrnn.values import plain

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "Mean",
    "MeanAbsoluteError",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "accuracy",
    "binary_accuracy",
    "categorical_accuracy",
    "deserialize",
    "get",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
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
    metric = _registry.get(identifier)
    if metric is None or isinstance(metric, Metric):
        return metric
    name = getattr(metric, "name", None) or getattr(metric, "__name__", type(metric).__name__)
    return MeanMetricWrapper(metric, name)


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
    """

    direction = None

    @property
    def joins_batches(self):
        return type(self) in _OF_ROWS

    @property
    def works_anywhere(self):
        return type(self) in _ACCURACIES

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
        """The figure over all batches since the last reset, a float."""
        raise NotImplementedError

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


class MeanMetricWrapper(Mean):
    """The mean of a function of labels and predictions.

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


@_registry.add("accuracy", accuracy)
class Accuracy(MeanMetricWrapper):
    """How often predictions equal labels.

    >>> Accuracy()([1, 2, 3, 4], [0, 2, 3, 4])
    0.75
    """

    direction = "up"

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(accuracy, name, dtype)


@_registry.add("binary_accuracy", binary_accuracy)
class BinaryAccuracy(MeanMetricWrapper):
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
class CategoricalAccuracy(MeanMetricWrapper):
    """How often the largest prediction is the class of a one-hot label."""

    direction = "up"

    def __init__(self, name="categorical_accuracy", dtype=None):
        super().__init__(categorical_accuracy, name, dtype)


@_registry.add("sparse_categorical_accuracy", sparse_categorical_accuracy)
class SparseCategoricalAccuracy(MeanMetricWrapper):
    """How often the largest prediction is the class of a class number."""

    direction = "up"

    def __init__(self, name="sparse_categorical_accuracy", dtype=None):
        super().__init__(sparse_categorical_accuracy, name, dtype)


# -- losses as metrics ----------------------------------------------------------------------------


@_registry.add("mean_squared_error", "mse", losses.mean_squared_error)
class MeanSquaredError(MeanMetricWrapper):
    """The mean of ``(y - p)**2``."""

    direction = "down"

    def __init__(self, name="mean_squared_error", dtype=None):
        super().__init__(losses.mean_squared_error, name, dtype)


@_registry.add("mean_absolute_error", "mae", losses.mean_absolute_error)
class MeanAbsoluteError(MeanMetricWrapper):
    """The mean of ``|y - p|``."""

    direction = "down"

    def __init__(self, name="mean_absolute_error", dtype=None):
        super().__init__(losses.mean_absolute_error, name, dtype)


@_registry.add("binary_crossentropy", "bce", losses.binary_crossentropy)
class BinaryCrossentropy(MeanMetricWrapper):
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
class CategoricalCrossentropy(MeanMetricWrapper):
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
class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """The mean cross-entropy of class numbers; see
    `fastrnn.losses.SparseCategoricalCrossentropy`."""

    direction = "down"

    def __init__(self, name="sparse_categorical_crossentropy", dtype=None, from_logits=False,
                 axis=-1):
        super().__init__(
            losses.sparse_categorical_crossentropy, name, dtype,
            from_logits=from_logits, axis=axis,
        )
        self.from_logits = from_logits
        self.axis = axis


# Each a mean of what is computed row by row.
_ACCURACIES = frozenset({
    Accuracy, BinaryAccuracy, CategoricalAccuracy, SparseCategoricalAccuracy,
})
_OF_ROWS = _ACCURACIES | {
    BinaryCrossentropy, CategoricalCrossentropy, MeanAbsoluteError, MeanSquaredError,
    SparseCategoricalCrossentropy,
}
