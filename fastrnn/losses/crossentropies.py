"""Cross-entropies of labels and the probabilities given to them, and their divergence.

Letters: n rows, C columns of the output (classes), y labels, p predictions.
"""

from __future__ import annotations

import numpy as np

from fastrnn.checks import check_finite, fits, numbers, shown
from fastrnn.config import epsilon
from fastrnn.losses.base import EngineLoss, FormulaLoss, last_axis, registry
from fastrnn.masks import counts_of

__all__ = [
    "BinaryCrossentropy", "CategoricalCrossentropy", "KLDivergence",
    "SparseCategoricalCrossentropy", "binary_crossentropy", "categorical_crossentropy",
    "kl_divergence", "sparse_categorical_crossentropy",
]


def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """``-y log p - (1 - y) log(1 - p)`` of each row, the mean over its columns.

    >>> binary_crossentropy([[1.0], [0.0]], [[0.5], [0.75]]).round(4)
    array([0.6931, 1.3863])
    """
    return BinaryCrossentropy(from_logits, label_smoothing, axis, "none")(y_true, y_pred)


@registry.add("binary_crossentropy", "bce", binary_crossentropy)
class BinaryCrossentropy(EngineLoss):
    """Cross-entropy of yes-or-no labels; soft labels between 0 and 1 are allowed.

    Parameters
    ----------
    from_logits : bool, default False
        The predictions are logits, not probabilities.
    label_smoothing : float in [0, 1], default 0
        Labels become ``y * (1 - s) + s / 2``.
    axis : int, default -1
        Only the last is supported.
    reduction, name, dtype
        See `Loss`.

    Examples
    --------
    >>> loss = BinaryCrossentropy()
    >>> round(loss([0, 1], [0.5, 0.75]), 4)
    0.4904
    """

    kind = "binary_crossentropy"
    activation = "sigmoid"

    def __init__(self, from_logits=False, label_smoothing=0.0, axis=-1,
                 reduction="sum_over_batch_size", name="binary_crossentropy", dtype=None):
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.label_smoothing = _smoothing(self, label_smoothing)
        self.axis = last_axis(self, axis)

    def check(self, y):
        super().check(y)
        if y.size and not (y.min() >= 0 and y.max() <= 1):
            bad = y[(y < 0) | (y > 1)].flat[0]
            raise ValueError(
                f"{self.name}: expected labels 0 or 1 (or between them); got {bad} in an array of "
                f"shape {y.shape}. For more than two classes use sparse_categorical_crossentropy."
            )

    def shape_hint(self, y, output_shape):
        return (" For one class of several, use sparse_categorical_crossentropy."
                if output_shape[-1] != 1 else "")

    def smoothed(self, target):
        """Labels, y (1 - s) + s / 2."""
        if not self.label_smoothing:
            return target
        return target * (1 - self.label_smoothing) + 0.5 * self.label_smoothing

    def rows(self, target, output, weight, from_logits):
        return super().rows(self.smoothed(target), output, weight, from_logits)


def categorical_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """``-sum_c y_c log p_c`` of each row.

    >>> categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.6931])
    """
    return CategoricalCrossentropy(from_logits, label_smoothing, axis, "none")(y_true, y_pred)


@registry.add("categorical_crossentropy", categorical_crossentropy)
class CategoricalCrossentropy(EngineLoss):
    """Cross-entropy of one-hot labels (or probabilities of the classes).

    Parameters
    ----------
    from_logits : bool, default False
        The predictions are logits, not probabilities.
    label_smoothing : float in [0, 1], default 0
        Labels become ``y * (1 - s) + s / C``.
    axis : int, default -1
        Only the last is supported.
    reduction, name, dtype
        See `Loss`.

    Examples
    --------
    >>> loss = CategoricalCrossentropy()
    >>> round(loss([[0, 1], [1, 0]], [[0.5, 0.5], [0.25, 0.75]]), 4)
    1.0397
    """

    kind = "categorical_crossentropy"
    activation = "softmax"

    def __init__(self, from_logits=False, label_smoothing=0.0, axis=-1,
                 reduction="sum_over_batch_size", name="categorical_crossentropy", dtype=None):
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.label_smoothing = _smoothing(self, label_smoothing)
        self.axis = last_axis(self, axis)

    def target(self, y, output_shape, dtype):
        if output_shape[-1] == 1:
            raise ValueError(
                f"{self.name}: expected an output with a column for each class; got an output of "
                f"shape {shown(output_shape)}. For one column use binary_crossentropy."
            )
        return super().target(y, output_shape, dtype)

    def shape_hint(self, y, output_shape):
        return (" For class numbers, use sparse_categorical_crossentropy; to_categorical makes "
                "one-hot labels of them.")

    def smoothed(self, target):
        """Labels (n, C), y (1 - s) + s / C."""
        if not self.label_smoothing:
            return target
        return target * (1 - self.label_smoothing) + self.label_smoothing / target.shape[1]

    def rows(self, target, output, weight, from_logits):
        return super().rows(self.smoothed(target), output, weight, from_logits)


def sparse_categorical_crossentropy(y_true, y_pred, from_logits=False, ignore_class=None, axis=-1):
    """``-log p_y`` of each row, for class numbers y.

    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]]).round(4)
    array([0.6931])
    """
    return SparseCategoricalCrossentropy(from_logits, ignore_class, "none", axis)(y_true, y_pred)


@registry.add("sparse_categorical_crossentropy", sparse_categorical_crossentropy)
class SparseCategoricalCrossentropy(EngineLoss):
    """Cross-entropy of class numbers, 0 to C - 1.

    Parameters
    ----------
    from_logits : bool, default False
        The predictions are logits, not probabilities.
    ignore_class : int, optional
        Rows (and steps) with this label do not count, such as -1 for padding.  It may be one of the
        classes or none.
    reduction, name, dtype
        See `Loss`.
    axis : int, default -1
        Only the last is supported.

    Examples
    --------
    >>> loss = SparseCategoricalCrossentropy()
    >>> round(loss([1, 0], [[0.5, 0.5], [0.25, 0.75]]), 4)
    1.0397
    >>> round(SparseCategoricalCrossentropy(ignore_class=-1)([1, -1], [[0.5, 0.5]] * 2), 4)
    0.6931
    """

    kind = "sparse_categorical_crossentropy"
    activation = "softmax"

    def __init__(self, from_logits=False, ignore_class=None, reduction="sum_over_batch_size",
                 axis=-1, name="sparse_categorical_crossentropy", dtype=None):
        super().__init__(name, reduction, dtype)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = last_axis(self, axis)

    def target(self, y, output_shape, dtype):
        y = numbers("y", y)
        *rows, classes = output_shape
        if y.ndim == len(output_shape) and y.shape[-1] == 1:
            y = y[..., 0]
        if not fits(y.shape, rows):
            hint = (" For one-hot labels, use categorical_crossentropy."
                    if fits(y.shape, output_shape) else "")
            raise ValueError(
                f"{self.name}: expected class numbers of shape {shown(rows)} for a model whose "
                f"output has shape {shown(output_shape)}; got shape {y.shape}.{hint}"
            )
        check_finite("y", y)
        whole = y.astype(np.int64)
        wrong = (whole != y) | (whole < 0) | (whole >= classes)
        if self.ignore_class is not None:
            wrong &= y != self.ignore_class
        if wrong.any():
            raise ValueError(
                f"{self.name}: expected class numbers from 0 to {classes - 1}, as the model's "
                f"output has {classes} columns; got {y[wrong].flat[0]} in an array of shape "
                f"{y.shape}."
            )
        return np.ascontiguousarray(whole)

    def counted(self, target, mask):
        if self.ignore_class is None:
            return mask
        counts = target != self.ignore_class
        return counts if mask is None else counts & counts_of(mask)

    def flat(self, target, output, weight, from_logits):
        if self.ignore_class is not None:
            # Any class will do: the row weighs nothing.
            target = np.where(target == self.ignore_class, 0, target)
        losses, doutput = self.rows(
            target.reshape(-1), output.reshape(-1, output.shape[-1]), weight, from_logits
        )
        return losses, doutput.reshape(output.shape)


def kl_divergence(y_true, y_pred):
    """``sum_c y_c log(y_c / p_c)`` of each row.

    >>> kl_divergence([[0.5, 0.5]], [[0.25, 0.75]]).round(4)
    array([0.1438])
    """
    return KLDivergence("none")(y_true, y_pred)


@registry.add("kl_divergence", "kld", kl_divergence)
class KLDivergence(FormulaLoss):
    """The Kullback-Leibler divergence ``sum_c y_c log(y_c / p_c)``, labels and predictions clipped
    to [`epsilon`, 1].

    >>> round(KLDivergence()([[0.5, 0.5]], [[0.25, 0.75]]), 4)
    0.1438
    """

    takes_rows = True

    def __init__(self, reduction="sum_over_batch_size", name="kl_divergence", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        low = epsilon()
        y, p = np.clip(target, low, 1), np.clip(output, low, 1)
        inside = (output >= low) & (output <= 1)
        return (y * np.log(y / p)).sum(axis=1), np.where(inside, -y / p, 0)


def _smoothing(loss, label_smoothing):
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"{type(loss).__name__}: label_smoothing must lie in [0, 1]; got {label_smoothing!r}."
        )
    return label_smoothing
