"""Counts of positives and negatives, true and false, and scores made of them.

Letters: K thresholds, P precision, R recall.
"""

from __future__ import annotations

from numbers import Real

import numpy as np

from fastrnn.checks import whole
from fastrnn.config import epsilon
from fastrnn.metrics.base import Metric, floats, registry, two_axes, weights_like
from fastrnn.metrics.thresholds import LOWEST, all_but_largest, confusion, divided

__all__ = [
    "F1Score", "FBetaScore", "FalseNegatives", "FalsePositives", "Precision", "Recall",
    "TrueNegatives", "TruePositives",
]

COUNTS = "true_positives", "false_positives", "true_negatives", "false_negatives"


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
        given = between_0_and_1(kind, thresholds)
        self.init_thresholds = given[0] if isinstance(thresholds, Real) else given
        self.thresholds = given or [0.5 if top_k is None else LOWEST]
        self.top_k = top_k
        self.class_id = class_id
        super().__init__(dtype, name)
        Confusion.reset_state(self)

    def get_config(self):
        config = super().get_config()
        return config | {"thresholds": self.init_thresholds}

    def reset_state(self):
        super().reset_state()
        for name in COUNTS:
            setattr(self, name, np.zeros(len(self.thresholds)))

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = floats(self, y_true, y_pred)
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


def between_0_and_1(kind, thresholds):
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


@registry.add("precision")
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


@registry.add("recall")
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


@registry.add("true_positives")
class TruePositives(Count, joins_batches=True):
    """How many predictions above the threshold have label 1.

    >>> TruePositives()([0, 1, 1, 1], [0.7, 0.1, 0.9, 0.8])
    2.0
    """

    direction = "up"
    counts = "true_positives"


@registry.add("true_negatives")
class TrueNegatives(Count, joins_batches=True):
    """How many predictions that are not above the threshold have label 0.

    >>> TrueNegatives()([0, 1, 0, 0], [0.7, 0.1, 0.2, 0.3])
    2.0
    """

    direction = "up"
    counts = "true_negatives"


@registry.add("false_positives")
class FalsePositives(Count, joins_batches=True):
    """How many predictions above the threshold have label 0.

    >>> FalsePositives()([0, 1, 0, 0], [0.7, 0.1, 0.9, 0.3])
    2.0
    """

    direction = "down"
    counts = "false_positives"


@registry.add("false_negatives")
class FalseNegatives(Count, joins_batches=True):
    """How many predictions that are not above the threshold have label 1.

    >>> FalseNegatives()([0, 1, 1, 1], [0.7, 0.1, 0.2, 0.8])
    2.0
    """

    direction = "down"
    counts = "false_negatives"


@registry.add("f_beta_score")
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
        FBetaScore.reset_state(self)

    def reset_state(self):
        super().reset_state()
        self.true_positives = self.false_positives = self.false_negatives = 0.0
        self.intermediate_weights = 0.0

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = two_axes(self, y_true, y_pred)
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


@registry.add("f1_score")
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
