"""The areas under curves that positives and negatives make as a threshold moves."""

from __future__ import annotations

import numpy as np

from fastrnn import activations
from fastrnn.checks import whole
from fastrnn.config import epsilon
from fastrnn.metrics.base import floats, registry, weights_like
from fastrnn.metrics.counts import COUNTS, Confusion, between_0_and_1
from fastrnn.metrics.thresholds import divided

__all__ = ["AUC"]


@registry.add("auc")
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
            inner = sorted(between_0_and_1("AUC", thresholds))
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
        AUC.reset_state(self)

    def reset_state(self):
        super().reset_state()
        columns = (self.num_labels or 1,) if self.multi_label else ()
        for name in COUNTS:
            setattr(self, name, np.zeros((len(self.thresholds), *columns)))

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true, y_pred = floats(self, y_true, y_pred)
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
