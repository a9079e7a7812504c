"""Losses of one's own, written as a function of labels and predictions.

Letters: B rows in a batch, C columns of the output.
"""

from __future__ import annotations

import numpy as np

from fastrnn import engines
from fastrnn.checks import check_finite, numbers
from fastrnn.layers.composite import DrawnFunction
from fastrnn.losses.base import Loss

__all__ = ["DrawnLoss", "FunctionLoss"]


class DrawnLoss(Loss):
    """A loss with a ``call(y_true, y_pred)`` of operators and `fastrnn.ops`, as in Keras.

    It gives a number for each row, (B, ...), for each entry, (B, ..., C), or one for all.  What is
    reported, and made small, is their mean.  Labels come as floats in the shape in which they were
    given, but that (B,) becomes (B, 1) beside an output of one column.
    """

    drawn_by = None
    joins_batches = False  # it may look at a batch as a whole
    _drawn = None

    def target(self, y, output_shape, dtype):
        y = numbers("y", y)
        check_finite("y", y)
        if y.ndim == len(output_shape) - 1 and output_shape[-1] == 1:
            y = y[..., None]
        elif y.ndim == len(output_shape) + 1 and y.shape[-1] == 1:
            y = y[..., 0]
        return np.ascontiguousarray(y, dtype)

    def flat(self, target, output, weight, from_logits):
        engine = engines.current()
        if self._drawn is None:
            self._drawn = DrawnFunction(self.call, self.name)
        y, tape = self._drawn.run(target, output)
        shape = output.shape
        if y.shape not in [shape[:k] for k in range(len(shape) + 1)]:
            raise ValueError(
                f"loss '{self.name}': expected call(y_true, y_pred) to give a number for each row, "
                f"for labels of shape {target.shape} and predictions of shape {shape}; got shape "
                f"{y.shape}."
            )
        weight = engine.asarray(weight).reshape(shape[:-1])
        if y.ndim == len(shape):
            dy, y = np.broadcast_to(weight[..., None] / shape[-1], shape), y.mean(axis=-1)
        else:
            dy = weight.sum(axis=tuple(range(y.ndim, weight.ndim)))
        doutput = self._drawn.backward(tape, engine.asarray(dy, output.dtype))[1]
        if doutput is None:
            doutput = engine.zeros(shape, output.dtype)
        rows = y.reshape(y.shape + (1,) * (len(shape) - 1 - y.ndim))
        return np.broadcast_to(rows, shape[:-1]).reshape(-1), doutput


Loss.drawn_by = DrawnLoss


class FunctionLoss(DrawnLoss):
    """A function ``f(y_true, y_pred)`` as a loss; see `DrawnLoss` for what it gives.

    Examples
    --------
    >>> from fastrnn import ops
    >>> FunctionLoss(lambda y, p: ops.abs(y - p))([[0.0], [2.0]], [[1.0], [5.0]])
    2.0
    """

    def __init__(self, function, name=None, reduction="sum_over_batch_size", dtype=None):
        super().__init__(name or getattr(function, "__name__", "loss"), reduction, dtype)
        self.function = function

    def call(self, y_true, y_pred):
        return self.function(y_true, y_pred)
