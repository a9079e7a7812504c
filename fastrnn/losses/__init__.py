"""Losses: what training makes small.

``BinaryCrossentropy()(y_true, y_pred)`` is a float; ``binary_crossentropy(y_true, y_pred)`` keeps
one value for each row (and step).  Outputs are taken as n rows of C columns, where the rows of a
sequence output (B, T, C) are its B * T steps.  The arithmetic of the commonest, gradients included,
is the engine's (`EngineLoss`); the others are formulas in NumPy's functions (`FormulaLoss`), which
take an engine's arrays as they are.

Letters: B rows in a batch, T steps, C columns of the output (classes), n rows after flattening.
"""

from fastrnn.losses import crossentropies, focal, hinges, regression
from fastrnn.losses.base import (  # noqa: F401
    EngineLoss,
    FormulaLoss,
    Loss,
    registry,
    sample_weights,
)
from fastrnn.losses.crossentropies import *
from fastrnn.losses.drawn import FunctionLoss
from fastrnn.losses.focal import *
from fastrnn.losses.hinges import *
from fastrnn.losses.regression import *

__all__ = [
    "Loss", "deserialize", "get", "serialize",
    *crossentropies.__all__, *focal.__all__, *hinges.__all__, *regression.__all__,
]

serialize, deserialize = registry.serialize, registry.deserialize


def get(identifier):
    """The loss that a name, a config, a function of this module or an object stands for.

    A function ``f(y_true, y_pred)`` of operators and `fastrnn.ops` becomes a `FunctionLoss`.

    Raises
    ------
    ValueError
        If the name is not known; the message names the nearest.

    Examples
    --------
    >>> get("mse")
    <MeanSquaredError(reduction='sum_over_batch_size', name='mean_squared_error')>
    """
    loss = registry.get(identifier)
    return loss if loss is None or isinstance(loss, Loss) else FunctionLoss(loss)
