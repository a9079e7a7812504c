"""Losses: what training makes small.

``BinaryCrossentropy()(y_true, y_pred)`` is a float; ``binary_crossentropy(y_true, y_pred)`` keeps
one value for each row (and step).  Outputs are taken as n rows of C columns, where the rows of a
sequence output (B, T, C) are its B * T steps.  The arithmetic of the commonest, gradients included,
is the engine's (`EngineLoss`); the others are formulas in NumPy's functions (`FormulaLoss`), which
take an engine's arrays as they are.

Letters: B rows in a batch, T steps, C columns of the output (classes), n rows after flattening.
"""

from __future__ import annotations

import math

import numpy as np

from fastrnn import engines
from fastrnn.checks import check_finite, fits, numbers, shown
from fastrnn.config import epsilon, floatx
from fastrnn.masks import counts_of
from fastrnn.registry import Configurable, Registry
from fastrnn.values import plain

__all__ = [
    "BinaryCrossentropy",
    "BinaryFocalCrossentropy",
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "CategoricalHinge",
    "CosineSimilarity",
    "Hinge",
    "Huber",
    "KLDivergence",
    "LogCosh",
    "Loss",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Poisson",
    "SparseCategoricalCrossentropy",
    "SquaredHinge",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "cosine_similarity",
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
    "serialize",
    "sparse_categorical_crossentropy",
    "squared_hinge",
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
    joins_batches : bool
        Whether the loss of a row does not depend on the other rows of its batch.
    takes_rows : bool
        Whether a prediction of one axis, (C,), is the C columns of one row; else it is n rows of
        one column, which for a mean over columns comes to the same.
    """

    activation = None
    from_logits = False
    joins_batches = True
    takes_rows = False

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
        if output.ndim == 1 and self.takes_rows:
            y_true, output = numbers("y_true", y_true)[None], output[None]
        elif output.ndim == 1:
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


class FormulaLoss(Loss):
    """A loss written in NumPy's functions, for the arrays of any engine."""

    def formula(self, target, output, from_logits):
        """Losses of n rows, (n,), and the gradient of each by its row, (n, C).

        ``target`` and ``output`` are (n, C), of an engine or of NumPy.
        """
        raise NotImplementedError

    def rows(self, target, output, weight, from_logits):
        losses, gradient = self.formula(plain(target), plain(output), from_logits)
        return losses, gradient * weight[:, None]


def _mean(values, slopes):
    """What a formula returns for a mean over C columns: of values (n, C) and their derivatives."""
    return values.mean(axis=1), slopes / values.shape[1]


def _last_axis(loss, axis):
    if axis != -1:
        kind = type(loss).__name__
        raise ValueError(f"{kind}: only axis=-1, the last, is supported; got axis={axis!r}.")
    return axis


def _smoothing(loss, label_smoothing):
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"{type(loss).__name__}: label_smoothing must lie in [0, 1]; got {label_smoothing!r}."
        )
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


def mean_absolute_percentage_error(y_true, y_pred):
    """``100 |y - p| / |y|`` of each row, the mean over its columns.

    >>> mean_absolute_percentage_error([[1.0, 2.0]], [[1.5, 2.0]])
    array([25.])
    """
    return MeanAbsolutePercentageError("none")(y_true, y_pred)


def mean_squared_logarithmic_error(y_true, y_pred):
    """``(log(1 + y) - log(1 + p))**2`` of each row, the mean over its columns.

    >>> mean_squared_logarithmic_error([[1.0]], [[3.0]]).round(4)
    array([0.4805])
    """
    return MeanSquaredLogarithmicError("none")(y_true, y_pred)


def huber(y_true, y_pred, delta=1.0):
    """The loss of `Huber` of each row, the mean over its columns.

    >>> huber([[0.0, 0.0]], [[0.5, 2.0]])
    array([0.8125])
    """
    return Huber(delta, "none")(y_true, y_pred)


def log_cosh(y_true, y_pred):
    """``log(cosh(p - y))`` of each row, the mean over its columns.

    >>> log_cosh([[0.0, 0.0]], [[0.0, 1.0]]).round(4)
    array([0.2169])
    """
    return LogCosh("none")(y_true, y_pred)


def hinge(y_true, y_pred):
    """``max(1 - y p, 0)`` of each row, the mean over its columns; labels -1 and 1, or 0 and 1.

    >>> hinge([[1.0], [-1.0]], [[0.25], [0.5]])
    array([0.75, 1.5 ])
    """
    return Hinge("none")(y_true, y_pred)


def squared_hinge(y_true, y_pred):
    """``max(1 - y p, 0)**2`` of each row, the mean over its columns; labels as for `hinge`.

    >>> squared_hinge([[1.0], [-1.0]], [[0.5], [0.5]])
    array([0.25, 2.25])
    """
    return SquaredHinge("none")(y_true, y_pred)


def categorical_hinge(y_true, y_pred):
    """``max(neg - pos + 1, 0)`` of each row: pos is the prediction for the class of the one-hot
    label, neg the largest for another.

    >>> categorical_hinge([[0.0, 1.0]], [[0.5, 0.25]])
    array([1.25])
    """
    return CategoricalHinge("none")(y_true, y_pred)


def kl_divergence(y_true, y_pred):
    """``sum_c y_c log(y_c / p_c)`` of each row.

    >>> kl_divergence([[0.5, 0.5]], [[0.25, 0.75]]).round(4)
    array([0.1438])
    """
    return KLDivergence("none")(y_true, y_pred)


def poisson(y_true, y_pred):
    """``p - y log p`` of each row, the mean over its columns.

    >>> poisson([[1.0]], [[2.0]]).round(4)
    array([1.3069])
    """
    return Poisson("none")(y_true, y_pred)


def cosine_similarity(y_true, y_pred, axis=-1):
    """Less the cosine of the angle between each row and its label: -1 where they agree.

    >>> cosine_similarity([[0.0, 2.0], [1.0, 0.0]], [[0.0, 3.0], [0.0, 1.0]])
    array([-1., -0.])
    """
    return CosineSimilarity(axis, "none")(y_true, y_pred)


def binary_focal_crossentropy(y_true, y_pred, apply_class_balancing=False, alpha=0.25, gamma=2.0,
                              from_logits=False, label_smoothing=0.0, axis=-1):
    """The loss of `BinaryFocalCrossentropy` of each row, the mean over its columns.

    >>> binary_focal_crossentropy([[1.0]], [[0.5]]).round(4)
    array([0.1733])
    """
    return BinaryFocalCrossentropy(
        apply_class_balancing, alpha, gamma, from_logits, label_smoothing, axis, "none"
    )(y_true, y_pred)


def categorical_focal_crossentropy(y_true, y_pred, alpha=0.25, gamma=2.0, from_logits=False,
                                   label_smoothing=0.0, axis=-1):
    """The loss of `CategoricalFocalCrossentropy` of each row.

    >>> categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]]).round(4)
    array([0.0433])
    """
    return CategoricalFocalCrossentropy(
        alpha, gamma, from_logits, label_smoothing, axis, "none"
    )(y_true, y_pred)


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
        self.label_smoothing = _smoothing(self, label_smoothing)
        self.axis = _last_axis(self, axis)

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
        self.label_smoothing = _smoothing(self, label_smoothing)
        self.axis = _last_axis(self, axis)

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
        self.axis = _last_axis(self, axis)

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


@_registry.add(
    "mean_absolute_percentage_error", "mape", mean_absolute_percentage_error
)
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
        return _mean(np.abs(error) * scale, np.sign(error) * scale)


@_registry.add(
    "mean_squared_logarithmic_error", "msle", mean_squared_logarithmic_error
)
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
        return _mean(np.square(error), np.where(output > epsilon(), 2 * error / p, 0))


@_registry.add("huber", huber)
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
        return _mean(slope * error - np.square(slope) / 2, slope)


@_registry.add("log_cosh", log_cosh)
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
        return _mean(size + np.log1p(np.exp(-2 * size)) - math.log(2), np.tanh(error))


def _as_signs(target):
    """Labels 0 and 1 as -1 and 1; others stay as they are, and so do all beside others.

    It is decided by all labels of the batch together, as in Keras.
    """
    if not target.size:
        return target
    # t (t - 1) is zero for 0 and 1 alone. A number that stays on the device: nobody waits for it.
    others = np.abs(target * (target - 1)).max()
    return np.where(others == 0, 2 * target - 1, target)


@_registry.add("hinge", hinge)
class Hinge(FormulaLoss):
    """The mean of ``max(1 - y p, 0)`` for labels -1 and 1.

    Where all labels of a batch are 0 or 1, a 0 counts as -1.

    >>> Hinge()([[0], [1]], [[-0.5], [2.0]])
    0.25
    """

    joins_batches = False

    def __init__(self, reduction="sum_over_batch_size", name="hinge", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        y = _as_signs(target)
        margin = 1 - y * output
        return _mean(np.maximum(margin, 0), np.where(margin > 0, -y, 0))


@_registry.add("squared_hinge", squared_hinge)
class SquaredHinge(FormulaLoss):
    """The mean of ``max(1 - y p, 0)**2``; labels as for `Hinge`.

    >>> SquaredHinge()([[0], [1]], [[-0.5], [2.0]])
    0.125
    """

    joins_batches = False

    def __init__(self, reduction="sum_over_batch_size", name="squared_hinge", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        y = _as_signs(target)
        margin = np.maximum(1 - y * output, 0)
        return _mean(np.square(margin), -2 * y * margin)


@_registry.add("categorical_hinge", categorical_hinge)
class CategoricalHinge(FormulaLoss):
    """``max(neg - pos + 1, 0)``: pos is the prediction for the class of the one-hot label, neg the
    largest for another (or zero, if all are negative).

    >>> CategoricalHinge()([[0, 1], [1, 0]], [[0.5, 0.25], [2.0, 0.5]])
    0.625
    """

    takes_rows = True

    def __init__(self, reduction="sum_over_batch_size", name="categorical_hinge", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        others = (1 - target) * output
        largest = others.max(axis=1, keepdims=True)
        margin = largest - (target * output).sum(axis=1, keepdims=True) + 1
        # Where several are largest, the gradient is shared among them.
        share = np.where(others == largest, target * 0 + 1, 0)
        share = share / share.sum(axis=1, keepdims=True)
        gradient = np.where(margin > 0, (1 - target) * share - target, 0)
        return np.maximum(margin, 0)[:, 0], gradient


@_registry.add("kl_divergence", "kld", kl_divergence)
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


@_registry.add("poisson", poisson)
class Poisson(FormulaLoss):
    """The mean of ``p - y log p``: the likelihood of counts y whose mean is p, which is positive.

    >>> round(Poisson()([[1.0], [0.0]], [[2.0], [0.5]]), 4)
    0.9034
    """

    def __init__(self, reduction="sum_over_batch_size", name="poisson", dtype=None):
        super().__init__(name, reduction, dtype)

    def formula(self, target, output, from_logits):
        p = output + epsilon()
        return _mean(output - target * np.log(p), 1 - target / p)


@_registry.add("cosine_similarity", cosine_similarity)
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
        self.axis = _last_axis(self, axis)

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


def _power(base, exponent):
    """``base**exponent`` and its derivative by the base."""
    slope = base * 0 if exponent == 0 else exponent * base ** (exponent - 1)
    return base**exponent, slope


@_registry.add("binary_focal_crossentropy", binary_focal_crossentropy)
class BinaryFocalCrossentropy(BinaryCrossentropy):
    """`BinaryCrossentropy` in which answers that are sure and right count less.

    With q = y p + (1 - y) (1 - p), the probability given to the label, the mean of
    ``(1 - q)**gamma (-y log p - (1 - y) log(1 - p))``.

    Parameters
    ----------
    apply_class_balancing : bool, default False
        Multiply by ``alpha`` for label 1, and by ``1 - alpha`` for label 0.
    alpha : float, default 0.25
    gamma : float, default 2
    from_logits, label_smoothing, axis
        See `BinaryCrossentropy`.
    reduction, name, dtype
        See `Loss`.

    Examples
    --------
    >>> round(BinaryFocalCrossentropy()([[1], [0]], [[0.5], [0.25]]), 4)
    0.0956
    """

    activation = None  # it is one of probabilities, which Keras clips even where it has logits

    def __init__(self, apply_class_balancing=False, alpha=0.25, gamma=2.0, from_logits=False,
                 label_smoothing=0.0, axis=-1, reduction="sum_over_batch_size",
                 name="binary_focal_crossentropy", dtype=None):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma

    def rows(self, target, output, weight, from_logits):
        y, p = self.smoothed(plain(target)), plain(output)
        if from_logits:
            p = engines.current().activate("sigmoid", p)
        low, high = _probabilities(output.dtype)
        clipped = np.clip(p, low, high)
        entropy = -(y * np.log(clipped) + (1 - y) * np.log(1 - clipped))
        inside = (p >= low) & (p <= high)
        slope = np.where(inside, (clipped - y) / (clipped * (1 - clipped)), 0)
        factor, dfactor = _power(1 - (y * p + (1 - y) * (1 - p)), self.gamma)
        gradient = factor * slope + dfactor * (1 - 2 * y) * entropy
        if from_logits:
            gradient = gradient * p * (1 - p)
        balance = y * self.alpha + (1 - y) * (1 - self.alpha) if self.apply_class_balancing else 1
        losses, gradient = _mean(balance * factor * entropy, balance * gradient)
        return losses, gradient * weight[:, None]


@_registry.add("categorical_focal_crossentropy", categorical_focal_crossentropy)
class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """`CategoricalCrossentropy` in which answers that are sure and right count less:
    ``-sum_c alpha (1 - p_c)**gamma y_c log p_c``.

    Parameters
    ----------
    alpha : float, or list of float with one for each class, default 0.25
    gamma : float, default 2
    from_logits, label_smoothing, axis
        See `CategoricalCrossentropy`.
    reduction, name, dtype
        See `Loss`.

    Examples
    --------
    >>> round(CategoricalFocalCrossentropy()([[0, 1], [1, 0]], [[0.5, 0.5], [0.25, 0.75]]), 4)
    0.1191
    """

    activation = None  # as `BinaryFocalCrossentropy`

    def __init__(self, alpha=0.25, gamma=2.0, from_logits=False, label_smoothing=0.0, axis=-1,
                 reduction="sum_over_batch_size", name="categorical_focal_crossentropy",
                 dtype=None):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = alpha
        self.gamma = gamma

    def rows(self, target, output, weight, from_logits):
        y, p = self.smoothed(plain(target)), plain(output)
        if from_logits:
            p = engines.current().activate("softmax", p)
        # A number stays one: an array would go to a device in each step.
        y = y * (np.asarray(self.alpha, output.dtype) if np.ndim(self.alpha) else self.alpha)
        total = p.sum(axis=1, keepdims=True)
        q = p / total
        low, high = _probabilities(output.dtype)
        clipped = np.clip(q, low, high)
        factor, dfactor = _power(1 - clipped, self.gamma)
        log = np.log(clipped)
        dq = np.where((q >= low) & (q <= high), y * (dfactor * log - factor / clipped), 0)
        gradient = (dq - (dq * q).sum(axis=1, keepdims=True)) / total
        if from_logits:
            gradient = p * (gradient - (gradient * p).sum(axis=1, keepdims=True))
        return -(y * factor * log).sum(axis=1), gradient * weight[:, None]


def _probabilities(dtype):
    """The least and the largest probability that logarithms are taken of, of a float type."""
    low = np.dtype(dtype).type(epsilon())
    return low, 1 - low
