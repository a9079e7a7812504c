"""Metrics: figures that training reports and does not train on.

A metric sums up over batches: ``update_state(y_true, y_pred)`` for each, then ``result()``.

Letters: B rows in a batch, T steps, C columns of the output (classes).
"""

from fastrnn import losses
from fastrnn.metrics import accuracies, counts, curves, errors
from fastrnn.metrics.accuracies import *
from fastrnn.metrics.base import Mean, MeanMetricWrapper, Metric, Sum, registry
from fastrnn.metrics.counts import *
from fastrnn.metrics.counts import Confusion  # noqa: F401
from fastrnn.metrics.curves import *
from fastrnn.metrics.errors import *
from fastrnn.metrics.variables import MetricVariable  # noqa: F401
from fastrnn.names import snake_case
from fastrnn.registry import own

__all__ = [
    "Mean", "MeanMetricWrapper", "Metric", "Sum", "deserialize", "get", "resolve", "serialize",
    *accuracies.__all__, *counts.__all__, *curves.__all__, *errors.__all__,
]

serialize, deserialize = registry.serialize, registry.deserialize


def get(identifier):
    """The metric that a name, a config, a function or an object stands for.

    A function ``f(y_true, y_pred)`` that gives a value for each row becomes the mean of its values.

    Raises
    ------
    ValueError
        If the name is not known; the message names the nearest.

    Examples
    --------
    >>> get("binary_accuracy").name
    'binary_accuracy'
    """
    identifier = _loss_function(identifier)
    metric = registry.get(identifier)
    if metric is None:
        return None
    if not isinstance(metric, Metric):
        name = getattr(metric, "__name__", type(metric).__name__).strip("<>")  # as Keras: "lambda"
        return MeanMetricWrapper(metric, getattr(metric, "name", None) or snake_case(name))
    if metric is not identifier and callable(identifier) and not isinstance(identifier, type):
        metric.name = identifier.__name__  # a function: so the metric is called
    return metric


def _loss_function(identifier):
    """The function of `fastrnn.losses` that a config names; anything else as it is.

    It is not what the name alone stands for: the cosine similarity of that module is a loss.
    """
    if not isinstance(identifier, dict) or identifier.get("class_name") != "function":
        return identifier
    name = identifier.get("config")
    known = isinstance(name, str) and name in losses.__all__ and own(name) is None
    return getattr(losses, name) if known else identifier


def resolve(identifier, target_ndim, output_shape):
    """The metric for an output of ``output_shape`` and labels of ``target_ndim`` axes.

    What ``"acc"`` and ``"accuracy"`` stand for depends on them: yes or no for one column, class
    numbers for labels with an axis less than the output, else one-hot labels.  A metric given by
    name keeps the name as it was given.
    """
    if identifier in ("acc", "accuracy"):
        metric = accuracies.accuracy_for(target_ndim, output_shape)
    else:
        metric = get(identifier)
    if metric is None:
        raise ValueError("metrics: expected names or metrics; got None.")
    if isinstance(identifier, str):
        metric.name = identifier
    return metric
