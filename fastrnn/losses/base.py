"""What all losses share: shapes and weights, and the classes that they derive from.

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
from fastrnn.values import plain

__all__ = ["EngineLoss", "FormulaLoss", "Loss", "registry", "sample_weights"]

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None)

# Filled by the modules beside this one, each with its own classes.
registry = Registry("loss", "keras.losses")


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

    A loss of one's own derives from this class and writes ``call(self, y_true, y_pred)`` with
    operators and `fastrnn.ops`; or, where that is too slow, `rows`, and `target` too, where the
    labels do not have the output's shape.

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
    drawn_by = None  # the base of classes with a `call`: see `fastrnn.losses.drawn`

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        if "call" in vars(cls) and cls.drawn_by is not None:
            bases = (base for base in cls.__bases__ if not issubclass(cls.drawn_by, base))
            cls.__bases__ = *bases, cls.drawn_by

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
        raise self.missing(
            "rows(self, target, output, weight, from_logits)",
            "gives the losses of n rows, (n,), and the gradient of their weighted sum, (n, C); "
            "FormulaLoss (fastrnn.losses.base) asks for the gradient of each row alone",
        )

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
        raise self.missing(
            "formula(self, target, output, from_logits)",
            "gives the losses of n rows, (n,), and the gradient of each, (n, C)",
        )

    def rows(self, target, output, weight, from_logits):
        losses, gradient = self.formula(plain(target), plain(output), from_logits)
        return losses, gradient * weight[:, None]


def mean_over_columns(values, slopes):
    """What a formula returns for a mean over C columns: of values (n, C) and their derivatives."""
    return values.mean(axis=1), slopes / values.shape[1]


def last_axis(loss, axis):
    if axis != -1:
        kind = type(loss).__name__
        raise ValueError(f"{kind}: only axis=-1, the last, is supported; got axis={axis!r}.")
    return axis
