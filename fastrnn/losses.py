"""Losses: what training makes small.

``BinaryCrossentropy()(y_true, y_pred)`` is a float; ``binary_crossentropy(y_true, y_pred)`` keeps
one value for each row (and step).  The arithmetic, gradients included, is the engine's: outputs are
taken as n rows of C columns, where the rows of a sequence output (B, T, C) are its B * T steps.

Letters: B rows in a batch, T steps, C columns of the output (classes), n rows after flattening.
"""

from __future__ import annotations

import math

import numpy as np

from fastrnn import engines
from fastrnn.checks import check_finite, fits, numbers, shown
from fastrnn.config import floatx
from fastrnn.masks import counts_of
from fastrnn.registry import Configurable, Registry

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "serialize",
    "sparse_categorical_crossentropy",
]

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)

_registry = Registry("loss", "keras.losses")
serialize, deserialize = _registry.serialize, _registry.deserialize


def get(identifier):
    """The loss that a name, a config, a function of this module or an object stands for.

    Raises
    ------
    ValueError
        If the name is not known; the message names the nearest.
    TypeError
        For a function of one's own: training needs its gradient too.

    Examples
    --------
    >>> get("mse")
    <MeanSquaredError(reduction='sum_over_batch_size', name='mean_squared_error')>
    """
    loss = _registry.get(identifier)
    if loss is not None and not isinstance(loss, Loss):
        raise TypeError(
            f"loss: expected a name, or a Loss, which knows its gradient; got {identifier!r}. "
            "Derive from fastrnn.losses.Loss and write `rows`."
        )
    return loss


# -- shapes and weights ---------------------------------------------------------------------------


def sample_weights(weight, rows, steps=()):
    """``weight`` of shape (B,), (B, 1) or (B, T) as an array that fits (B, \\*steps)."""
    weight = numbers("sample_weight", weight)
    shape = (rows, *steps)
    if weight.shape != shape and weight.ndim > 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    if weight.shape not in (shape, (rows,)):
        raise ValueError(
            f"sample_weight: expected one weight for each row, shape {(rows,)}"
            + (f", or each step, shape {shape}" if steps else "")
            + f"; got shape {weight.shape}."
        )
    return weight


class Loss(Configurable):
    """What every loss has: it checks labels, weighs rows and sums up.

    A loss of one's own derives from this class and writes `rows`; `target` too, where the labels
    do not have the output's shape.

    Parameters
    ----------
    name : str
    reduction : {"sum_over_batch_size", "sum", "mean", "mean_with_sample_weight", "none", None}
        "sum_over_batch_size" and "mean": the weighted sum over the number of rows.
        "mean_with_sample_weight": over the sum of the weights.  "none": no sum at all.
    dtype : {"float32", "float64"}, optional
        What to compute in; default: `fastrnn.config.floatx`, in training the output's type.

    Attributes
    ----------
    activation : str or None
        The activation that, at the end of a model, this loss is computed through: from its logits,
        so that nothing overflows and the gradient does not vanish.
    from_logits : bool
    """

    activation = None
    from_logits = False

    def __init__(self, name=None, reduction="sum_over_batch_size", dtype=None):
        if reduction not in REDUCTIONS:
            raise ValueError(
                f"{type(self).__name__}: reduction must be one of {REDUCTIONS}; got {reduction!r}."
            )
        self.name = name or type(self).__name__
        self.reduction = reduction
        self.dtype = dtype

    def get_config(self):
        config = super().get_config()
        config.pop("dtype")
        return config

    # -- to be written by each loss --------------------------------------------------------------

    def rows(self, target, output, weight, from_logits):
        """Losses of n rows and the gradient of their weighted sum; see `Engine.loss`."""
        raise NotImplementedError

    def target(self, y, output_shape, dtype):
        """The labels as this loss takes them, checked: ``output_shape`` and float ``dtype``.

        ``output_shape`` is that of the whole data set or of a batch, (N, ..., C), with None for
        steps whose number varies.

        Raises
        ------
        ValueError
            For labels of another shape, or labels that cannot be.
        """
        y = numbers("y", y)
        if y.ndim == len(output_shape) - 1 and output_shape[-1] == 1:
            y = y[..., None]
        elif y.ndim == len(output_shape) + 1 and y.shape[-1] == 1:
            y = y[..., 0]
        if not fits(y.shape, output_shape):
            raise ValueError(
                f"{self.name}: expected labels of the shape of the model's output, "
                f"{shown(output_shape)}; got shape {y.shape}.{self.shape_hint(y, output_shape)}"
            )
        self.check(y)
        return np.ascontiguousarray(y, dtype)

    def check(self, y):
        """Raise ValueError for labels that cannot be."""
        check_finite("y", y)

    def shape_hint(self, y, output_shape):
        """What to do about labels of the wrong shape: a sentence, or nothing."""
        return ""

    # -- weights ---------------------------------------------------------------------------------

    def counted(self, target, mask):
        """The mask of the rows (and steps) that count: ``mask``, less those left out by label.

        Parameters
        ----------
        target : array
            Labels as `target` gives them.
        mask : array of shape (B, T) or None
            What reaches the loss.
        """
        return mask

    def row_weights(self, shape, dtype, weight=None, mask=None):
        """The factor of each row in the sum, (n,), for rows and steps of ``shape``.

        A row's factor is its sample weight over the number of rows; where a mask (B, T) reaches
        the loss, over the number of steps that count.
        """
        if mask is None:
            factors, total = np.ones(shape, dtype), np.float64(math.prod(shape))
        else:
            counts = np.broadcast_to(counts_of(mask), shape)
            factors, total = counts.astype(dtype), counts.sum(dtype=np.float64)
        if weight is not None:
            weight = weight.astype(dtype, copy=False)
            factors = factors * weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim))
        if self.reduction in ("sum", "none", None):
            return factors.reshape(-1)
        if self.reduction == "mean_with_sample_weight":
            total = factors.sum(dtype=np.float64)
        # Where nothing counts the factors are 0 already.
        return (factors / np.where(total == 0, 1.0, total).astype(dtype)).reshape(-1)

    def __call__(self, y_true, y_pred, sample_weight=None):
        """The loss: a float, or an array of shape (B, ...) for the reduction "none".

        Parameters
        ----------
        y_true : array
            Labels.
        y_pred : array of shape (B, ..., C)
        sample_weight : array of shape (B,) or (B, T), optional
        """
        output = numbers("y_pred", y_pred)
        dtype = np.dtype(self.dtype or floatx())
        output = np.ascontiguousarray(output, dtype)
        if output.ndim == 1:
            output = output[:, None]
        shape = output.shape[:-1]
        target = self.target(y_true, output.shape, dtype)
        if sample_weight is not None:
            sample_weight = sample_weights(sample_weight, shape[0], shape[1:])
        weight = self.row_weights(shape, dtype, sample_weight, self.counted(target, None))
        losses, _ = self.flat(target, output, weight, self.from_logits)
        losses = losses.astype(np.float64) * weight
        return losses.reshape(shape) if self.reduction in ("none", None) else float(losses.sum())

    def flat(self, target, output, weight, from_logits):
        """`rows` for a target and output of any number of axes; doutput has the output's shape."""
        columns = output.shape[-1]
        losses, doutput = self.rows(
            target.reshape(-1, columns), output.reshape(-1, columns), weight, from_logits
        )
        return losses, doutput.reshape(output.shape)


class EngineLoss(Loss):
    """A loss that the engine knows by the name ``kind``."""

    kind = None

    def rows(self, target, output, weight, from_logits):
        return engines.current().loss(self.kind, target, output, weight, from_logits)


def _last_axis(loss, axis):
    if axis != -1:
        raise ValueError(f"{loss}: only axis=-1, the last, is supported; got axis={axis!r}.")
    return axis


def _smoothing(loss, label_smoothing):
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{loss}: label_smoothing must lie in [0, 1]; got {label_smoothing!r}.")
    return label_smoothing


# -- the losses -----------------------------------------------------------------------------------


def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """``-y log p - (1 - y) log(1 - p)`` of each row, the mean over its columns.

    >>> binary_crossentropy([[1.0], [0.0]], [[0.5], [0.75]]).round(4)
    array([0.6931, 1.3863])
    """
    return BinaryCrossentropy(from_logits, label_smoothing, axis, "none")(y_true, y_pred)


def categorical_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, axis=-1):
    """``-sum_c y_c log p_c`` of each row.

    >>> categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.6931])
    """
    return CategoricalCrossentropy(from_logits, label_smoothing, axis, "none")(y_true, y_pred)


def sparse_categorical_crossentropy(y_true, y_pred, from_logits=False, ignore_class=None, axis=-1):
    """``-log p_y`` of each row, for class numbers y.

    >>> sparse_categorical_crossentropy([1], [[0.5, 0.5]]).round(4)
    array([0.6931])
    """
    return SparseCategoricalCrossentropy(from_logits, ignore_class, "none", axis)(y_true, y_pred)


def mean_squared_error(y_true, y_pred):
    """``(y - p)**2`` of each row, the mean over its columns.

    >>> mean_squared_error([[1.0, 2.0]], [[1.0, 4.0]])
    array([2.])
    """
    return MeanSquaredError("none")(y_true, y_pred)


def mean_absolute_error(y_true, y_pred):
    """``|y - p|`` of each row, the mean over its columns.

    >>> mean_absolute_error([[1.0, 2.0]], [[1.0, 4.0]])
    array([1.])
    """
    return MeanAbsoluteError("none")(y_true, y_pred)


@_registry.add("binary_crossentropy", "bce", binary_crossentropy)
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
        self.label_smoothing = _smoothing("BinaryCrossentropy", label_smoothing)
        self.axis = _last_axis("BinaryCrossentropy", axis)

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

    def rows(self, target, output, weight, from_logits):
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + 0.5 * self.label_smoothing
        return super().rows(target, output, weight, from_logits)


@_registry.add("categorical_crossentropy", categorical_crossentropy)
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
        self.label_smoothing = _smoothing("CategoricalCrossentropy", label_smoothing)
        self.axis = _last_axis("CategoricalCrossentropy", axis)

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

    def rows(self, target, output, weight, from_logits):
        if self.label_smoothing:
            columns = output.shape[1]
            target = target * (1 - self.label_smoothing) + self.label_smoothing / columns
        return super().rows(target, output, weight, from_logits)


@_registry.add("sparse_categorical_crossentropy", sparse_categorical_crossentropy)
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
        self.axis = _last_axis("SparseCategoricalCrossentropy", axis)

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


@_registry.add("mean_squared_error", "mse", mean_squared_error)
class MeanSquaredError(EngineLoss):
    """The mean of ``(y - p)**2``.

    >>> MeanSquaredError()([[0.0], [1.0]], [[1.0], [1.0]])
    0.5
    """

    kind = "mean_squared_error"

    def __init__(self, reduction="sum_over_batch_size", name="mean_squared_error", dtype=None):
        super().__init__(name, reduction, dtype)


@_registry.add("mean_absolute_error", "mae", mean_absolute_error)
class MeanAbsoluteError(EngineLoss):
    """The mean of ``|y - p|``.

    >>> MeanAbsoluteError()([[0.0], [1.0]], [[3.0], [1.0]])
    1.5
    """

    kind = "mean_absolute_error"

    def __init__(self, reduction="sum_over_batch_size", name="mean_absolute_error", dtype=None):
        super().__init__(name, reduction, dtype)
