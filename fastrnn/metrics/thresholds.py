"""Predictions held against thresholds: how many positives are true, how many false.

Letters: n predictions, L labels that are counted apart (columns), K thresholds.
"""

from __future__ import annotations

import functools

import numpy as np

from fastrnn.config import epsilon

__all__ = ["LOWEST", "all_but_largest", "confusion", "divided"]

LOWEST = -1e10  # what Keras takes for predictions that are none of the k largest


def confusion(labels, predictions, thresholds, weights):
    """True positives, false positives, true negatives and false negatives at each threshold.

    A prediction is positive where it is above the threshold; NaN never is.

    Parameters
    ----------
    labels : bool array of shape (n, L)
    predictions : float array of shape (n, L)
    thresholds : list of K floats
    weights : float array of shape (n, L)
        What each prediction counts.

    Returns
    -------
    list of four float64 arrays of shape (K, L)

    Examples
    --------
    >>> y, p = np.array([[True], [True], [False]]), np.array([[0.9], [0.4], [0.6]])
    >>> [counts[:, 0].tolist() for counts in confusion(y, p, [0.5, 0.8], np.ones((3, 1)))]
    [[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    """
    order, ascending, even = _in_order(tuple(thresholds), predictions.dtype)
    below = _thresholds_below(predictions, ascending, even)
    counts = []
    for weights_of_kind in (weights * labels, weights * ~labels):
        # Of predictions by the number of thresholds below them; above the i-th are those of more.
        by_number = _sums_by_number(below, weights_of_kind, len(thresholds) + 1)
        positive = np.empty((len(thresholds), labels.shape[1]))
        positive[order] = by_number[::-1].cumsum(axis=0)[::-1][1:]
        counts.append((positive, by_number.sum(axis=0) - positive))
    (true_positive, false_negative), (false_positive, true_negative) = counts
    return [true_positive, false_positive, true_negative, false_negative]


@functools.lru_cache(maxsize=64)  # the same ones, batch after batch
def _in_order(thresholds, dtype):
    """What sorts thresholds; they themselves, sorted; whether they go from 0 to 1, or a little
    beyond, in at least two equal steps."""
    order = np.argsort(thresholds, kind="stable")
    ascending = np.asarray(thresholds, dtype)[order]
    even = np.linspace(0, 1, len(order), dtype=np.float32)
    apart = np.clip(ascending, 0, 1)
    return order, ascending, len(order) > 2 and np.allclose(apart, even, atol=epsilon())


def _thresholds_below(predictions, thresholds, even):
    """How many of K ascending thresholds are below each prediction, int64."""
    predictions = np.where(np.isnan(predictions), -np.inf, predictions)
    if not even:
        return np.searchsorted(thresholds, predictions, side="left")
    # As Keras has it, which rounds otherwise than a comparison does, and takes all predictions as
    # lying in [0, 1]; a threshold that was put a little below zero is below all of them.
    steps = predictions.dtype.type(len(thresholds) - 1)
    below = np.ceil(np.clip(predictions, 0, 1) * steps).astype(np.int64)
    return np.maximum(below, 1) if thresholds[0] < 0 else below


def _sums_by_number(numbers, weights, count):
    """The sums of weights (n, L) for each number below ``count``, (count, L)."""
    columns = numbers.shape[1]
    places = numbers * columns + np.arange(columns)
    sums = np.bincount(places.ravel(), weights.ravel(), minlength=count * columns)
    return sums.reshape(count, columns)


def all_but_largest(predictions, k):
    """Predictions (..., C) with `LOWEST` in the place of all but the k largest of each row.

    >>> all_but_largest(np.array([[0.5, 0.25, 0.75]]), 2)
    array([[ 5.0e-01, -1.0e+10,  7.5e-01]])
    """
    # Of equal ones the first, as in Keras.
    order = np.argsort(-predictions, axis=-1, kind="stable")
    found = np.full_like(predictions, LOWEST)
    largest = order[..., :k]
    np.put_along_axis(found, largest, np.take_along_axis(predictions, largest, -1), -1)
    return found


def divided(a, b):
    """``a / b``, and 0 where b is.

    >>> divided(np.array([1.0, 1.0]), np.array([2.0, 0.0]))
    array([0.5, 0. ])
    """
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=np.asarray(b) != 0)
