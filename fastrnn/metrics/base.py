"""What all metrics share: the classes that they derive from, shapes and weights.

Letters: B rows in a batch.
"""

from __future__ import annotations

import numpy as np

from fastrnn import initializers, losses
from fastrnn.config import floatx
from fastrnn.metrics.variables import MetricVariable
from fastrnn.names import snake_case, unused
from fastrnn.registry import Configurable, Registry
from fastrnn.values import plain

__all__ = ["Mean", "MeanMetricWrapper", "Metric", "Sum", "registry"]

# Filled here and by the modules beside this one, each with its own classes.
registry = Registry("metric", "keras.metrics")


class Metric(Configurable):
    """What every metric has.

    One of one's own writes `update_state` and `result`; what it sums up in is `add_variable`'s, or
    attributes of its own, which its `reset_state` sets back.

    Parameters
    ----------
    name : str, optional
        Default: the class's name in snake case.
    dtype : str, optional
        That of variables, `fastrnn.config.floatx` by default; all else is summed up in double
        precision.

    Attributes
    ----------
    direction : {"up", "down", None}
        Which way is better, where that is known.
    joins_batches : bool
        Whether several batches may be taken in as one: not where a function or a class of a user
        may look at a batch as a whole.
    works_anywhere : bool
        Whether it computes with an engine's arrays where they are.
    takes_mask : bool
        Whether steps that are masked in the model are left out.

    Examples
    --------
    >>> class Largest(Metric):
    ...     def __init__(self, name="largest", **kwargs):
    ...         super().__init__(name=name, **kwargs)
    ...         self.found = self.add_variable((), "zeros", name="found")
    ...
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.found.assign(np.maximum(self.found, np.max(y_pred)))
    ...
    ...     def result(self):
    ...         return self.found
    >>> float(Largest()([0, 1], [3.0, 7.0]))
    7.0
    """

    direction = None
    takes_mask = True

    def __init_subclass__(cls, joins_batches=False, works_anywhere=False, **keywords):
        # Keywords of a class, for these are not inherited: one that a user derives from it promises
        # nothing.
        super().__init_subclass__(**keywords)
        cls._joins_batches, cls._works_anywhere = joins_batches, works_anywhere

    @property
    def joins_batches(self):
        return self._joins_batches

    @property
    def works_anywhere(self):
        return self._works_anywhere

    def __init__(self, dtype=None, name=None):
        self.name = name or snake_case(type(self).__name__)
        self.dtype = dtype
        self._variables = []

    # -- to be written by each metric ------------------------------------------------------------

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Take in a batch."""
        raise self.missing(
            "update_state(self, y_true, y_pred, sample_weight=None)", "takes in a batch"
        )

    def result(self):
        """The figure over all batches since the last reset: a float, of some an array of them."""
        raise self.missing("result(self)", "gives the figure over all batches")

    def reset_state(self):
        """Forget all batches: variables, and those of metrics in this one, begin at zero.

        It is called when an epoch begins.  A class that keeps something else writes its own.
        """
        for variable in self._variables:
            variable.assign(np.zeros(variable.shape))
        for metric in self._inner():
            metric.reset_state()

    # -- variables -------------------------------------------------------------------------------

    def add_variable(self, shape=(), initializer="zeros", dtype=None, aggregation=None, name=None):
        """Something to sum up in: it is zero again after `reset_state`, and is kept in backups.

        Parameters
        ----------
        shape : tuple of int, default ()
        initializer : default "zeros"
            Of what it is at first; a reset sets it to zero, as in Keras.
        dtype : str, optional
            Default: the metric's.
        aggregation
            Accepted for Keras's sake.
        name : str, optional
            Default: "variable", numbered.

        Returns
        -------
        MetricVariable
            ``assign``, ``assign_add`` and ``assign_sub`` change it; in arithmetic it is an array.

        Raises
        ------
        TypeError
            If the shape is none.
        RuntimeError
            Before ``super().__init__()``.
        """
        kind = type(self).__name__
        if "_variables" not in vars(self):
            raise RuntimeError(f"Metric {kind}: call super().__init__() before add_variable.")
        if isinstance(shape, str):
            raise TypeError(
                f"Metric '{self.name}' ({kind}): add_variable: shape must be a tuple; got "
                f"{shape!r}. Write name={shape!r} for its name."
            )
        if name is None:
            name = unused("variable", {v.name for v in self._variables})
        make = initializers.get("zeros" if initializer is None else initializer)
        variable = MetricVariable(make(tuple(shape), dtype=dtype or self.dtype or floatx()), name)
        self._variables.append(variable)
        return variable

    def add_weight(self, shape=(), initializer="zeros", dtype=None, name=None):
        """`add_variable`, by its older name."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def variables(self):
        """What `add_variable` made, here and in metrics that are attributes of this one."""
        return [*self._variables, *(v for metric in self._inner() for v in metric.variables)]

    def _inner(self):
        return [value for value in vars(self).values() if isinstance(value, Metric)]

    def _number(self, a):
        """An array of one figure as a float; any other, of several, as it is."""
        return float(a.reshape(())) if a.size == 1 else a

    def __call__(self, *args, **kwargs):
        """Take in a batch, and return the figure so far."""
        self.update_state(*args, **kwargs)
        return self.result()


@registry.add("mean")
class Mean(Metric):
    """The weighted mean of all values.

    >>> mean = Mean()
    >>> mean.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> mean.result()
    2.0
    """

    def __init__(self, name="mean", dtype=None):
        super().__init__(dtype, name)
        Mean.reset_state(self)  # not that of a class derived from it, which has no fields yet

    def reset_state(self):
        super().reset_state()
        self.total = 0.0
        self.count = 0.0

    def update_state(self, values, sample_weight=None):
        """Take in values of shape (B, ...); weights are (B,), or have more of the values' axes."""
        values = np.asarray(values)
        if sample_weight is None:
            return self.add(self.sums(values))
        rows = values.shape[0] if values.ndim else 1
        weight = np.asarray(sample_weight, np.float64)
        if weight.ndim == values.ndim + 1 and weight.shape[-1] == 1:
            weight = weight[..., 0]
        if values.ndim > weight.ndim:
            values = values.mean(axis=tuple(range(weight.ndim, values.ndim)), dtype=np.float64)
        weight = np.broadcast_to(weight, values.shape)
        scale = rows / max(1, values.size)
        self.total += float((values * weight).sum()) * scale
        self.count += float(weight.sum()) * scale

    @staticmethod
    def sums(values):
        """What `add` takes for values: their total, wherever they lie, and how it counts.

        Each row counts once, whatever the number of its steps.
        """
        rows = values.shape[0] if values.ndim else 1
        return values.sum(dtype=np.float64), max(1, values.size), rows

    def add(self, sums):
        """Take in what `sums` gave."""
        total, size, rows = sums
        self.total += float(total) * rows / size
        self.count += rows

    def result(self):
        return self.total / self.count if self.count else 0.0


@registry.add("sum")
class Sum(Metric):
    """The weighted sum of all values.

    >>> total = Sum()
    >>> total.update_state([1, 3, 5, 7], sample_weight=[1, 1, 0, 0])
    >>> total.result()
    4.0
    """

    def __init__(self, name="sum", dtype=None):
        super().__init__(dtype, name)
        Sum.reset_state(self)

    def reset_state(self):
        super().reset_state()
        self.total = 0.0

    def update_state(self, values, sample_weight=None):
        """Take in values of shape (B, ...); weights are (B,), or have more of the values' axes."""
        values = np.asarray(values)
        self.total += float((values * weights_like(sample_weight, values)).sum())

    def result(self):
        return self.total


class MeanMetricWrapper(Mean):
    """The mean of a function of labels and predictions.

    Less is better, if it is a loss.

    Parameters
    ----------
    fn : callable
        ``fn(y_true, y_pred, **kwargs)``, an array with a value for each row (or row and step).
    name : str, optional
        Default: the function's.
    kwargs
        Handed on to ``fn``.
    """

    def __init__(self, fn, name=None, dtype=None, **kwargs):
        super().__init__(name or fn.__name__, dtype)
        self.fn = fn
        self.kwargs = kwargs
        named = getattr(losses, getattr(fn, "__name__", ""), None)
        if self.direction is None and (isinstance(fn, losses.Loss) or named is fn):
            self.direction = "down"

    def update_state(self, y_true, y_pred, sample_weight=None):
        super().update_state(self.fn(y_true, y_pred, **self.kwargs), sample_weight)

    def sums_of(self, y_true, y_pred):
        """`sums` of labels and predictions, where those lie if the metric `works_anywhere`."""
        return self.sums(self.fn(y_true, y_pred, **self.kwargs))


# -- shapes and weights ---------------------------------------------------------------------------


def pair(y_true, y_pred):
    """Both as arrays; a last axis of one is dropped, or added, where only one of them has it.

    Those of an engine stay what they are.
    """
    y_true, y_pred = plain(y_true), plain(y_pred)
    if y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_true = y_true[..., 0]
    elif y_pred.ndim == y_true.ndim + 1 and y_pred.shape[-1] == 1:
        y_true = y_true[..., None]
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"metric: expected labels and predictions of one shape; got {y_true.shape} and "
            f"{y_pred.shape}."
        )
    return y_true, y_pred


def floats(metric, y_true, y_pred):
    """Labels and predictions of one shape, of the metric's float type."""
    dtype = metric.dtype or floatx()
    return pair(np.asarray(y_true, dtype), np.asarray(y_pred, dtype))


def two_axes(metric, y_true, y_pred):
    """`floats`, of rows and columns."""
    y_true, y_pred = floats(metric, y_true, y_pred)
    if y_pred.ndim != 2:
        raise ValueError(
            f"{type(metric).__name__}: expected labels and predictions of shape (rows, columns); "
            f"got shape {y_pred.shape}."
        )
    return y_true, y_pred


def weights_like(sample_weight, values):
    """Weights of rows, rows and steps, or entries as float64 for each of the values; None is 1.

    >>> weights_like([1, 2], np.zeros((2, 2))).tolist()
    [[1.0, 1.0], [2.0, 2.0]]
    """
    if sample_weight is None:
        return np.ones(values.shape)
    weight = np.asarray(sample_weight, np.float64)
    if weight.ndim == values.ndim + 1 and weight.shape[-1] == 1:
        weight = weight[..., 0]
    weight = weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))
    return np.broadcast_to(weight, values.shape)
