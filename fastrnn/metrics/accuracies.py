"""Accuracies: how often predictions are right."""

from __future__ import annotations

from numbers import Real

import numpy as np

from fastrnn.metrics.base import MeanMetricWrapper, pair, registry

__all__ = [
    "Accuracy", "BinaryAccuracy", "CategoricalAccuracy", "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy", "TopKCategoricalAccuracy", "accuracy", "binary_accuracy",
    "categorical_accuracy", "sparse_categorical_accuracy", "sparse_top_k_categorical_accuracy",
    "top_k_categorical_accuracy",
]


def accuracy(y_true, y_pred):
    """Where labels and predictions are equal.

    >>> accuracy([1, 2, 3], [1, 2, 4])
    array([ True,  True, False])
    """
    y_true, y_pred = pair(y_true, y_pred)
    return y_true == y_pred


@registry.add("accuracy", accuracy)
class Accuracy(MeanMetricWrapper, joins_batches=True, works_anywhere=True):
    """How often predictions equal labels.

    >>> Accuracy()([1, 2, 3, 4], [0, 2, 3, 4])
    0.75
    """

    direction = "up"

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(accuracy, name, dtype)


def binary_accuracy(y_true, y_pred, threshold=0.5):
    """Where a prediction above ``threshold`` meets label 1, and any other label 0.

    >>> binary_accuracy([1, 0], [0.7, 0.5])
    array([ True,  True])
    """
    y_true, y_pred = pair(y_true, y_pred)
    return (y_pred > threshold) == y_true


@registry.add("binary_accuracy", binary_accuracy)
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


def categorical_accuracy(y_true, y_pred):
    """Where the largest prediction is the class of the one-hot label.

    >>> categorical_accuracy([[0, 1], [1, 0]], [[0.2, 0.8], [0.4, 0.6]])
    array([ True, False])
    """
    y_true, y_pred = pair(y_true, y_pred)
    return np.argmax(y_true, axis=-1) == np.argmax(y_pred, axis=-1)


@registry.add("categorical_accuracy", categorical_accuracy)
class CategoricalAccuracy(MeanMetricWrapper, joins_batches=True, works_anywhere=True):
    """How often the largest prediction is the class of a one-hot label."""

    direction = "up"

    def __init__(self, name="categorical_accuracy", dtype=None):
        super().__init__(categorical_accuracy, name, dtype)


def sparse_categorical_accuracy(y_true, y_pred):
    """Where the largest prediction is the class of the label, a class number.

    >>> sparse_categorical_accuracy([1, 0], [[0.2, 0.8], [0.4, 0.6]])
    array([ True, False])
    """
    return accuracy(y_true, np.argmax(y_pred, axis=-1))


@registry.add("sparse_categorical_accuracy", sparse_categorical_accuracy)
class SparseCategoricalAccuracy(MeanMetricWrapper, joins_batches=True, works_anywhere=True):
    """How often the largest prediction is the class of a class number."""

    direction = "up"

    def __init__(self, name="sparse_categorical_accuracy", dtype=None):
        super().__init__(sparse_categorical_accuracy, name, dtype)


def top_k_categorical_accuracy(y_true, y_pred, k=5):
    """Where the class of the one-hot label has one of the k largest predictions.

    >>> top_k_categorical_accuracy([[0, 0, 1], [0, 1, 0]], [[0.2, 0.5, 0.3], [0.5, 0.1, 0.4]], k=2)
    array([ True, False])
    """
    return sparse_top_k_categorical_accuracy(np.argmax(y_true, axis=-1), y_pred, k)


@registry.add("top_k_categorical_accuracy", top_k_categorical_accuracy)
class TopKCategoricalAccuracy(MeanMetricWrapper, joins_batches=True):
    """How often the class of a one-hot label has one of the k largest predictions.

    >>> TopKCategoricalAccuracy(k=2)([[0, 0, 1], [0, 1, 0]], [[0.2, 0.5, 0.3], [0.5, 0.1, 0.4]])
    0.5
    """

    direction = "up"

    def __init__(self, k=5, name="top_k_categorical_accuracy", dtype=None):
        super().__init__(top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


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


@registry.add("sparse_top_k_categorical_accuracy", sparse_top_k_categorical_accuracy)
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


def accuracy_for(target_ndim, output_shape):
    """The metric that the word "accuracy" stands for; see `fastrnn.metrics.resolve`."""
    if output_shape[-1] == 1:
        return BinaryAccuracy()
    if target_ndim < len(output_shape):
        return SparseCategoricalAccuracy()
    return CategoricalAccuracy()
