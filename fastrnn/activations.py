"""Activations by name: y = f(z), and dz from dy.

Each is a function of arrays, ``fastrnn.activations.relu(z)``, and an entry of one table that
the engines read.  Those with max in their names work over the last axis, all others element by
element.  Further arguments, as Keras has them, are for calls; a layer takes the function with its
defaults.  One of one's own is a function of operators and `fastrnn.ops`, or an `Activation`, which
has its gradient with it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastrnn.config import floatx
from fastrnn.constants import LEAK, SELU_ALPHA, SELU_SCALE
from fastrnn.names import unique_name, unknown
from fastrnn.operands import OPERATORS, Operand
from fastrnn.registry import custom_object_scope, own

__all__ = [
    "Activation",
    "celu",
    "deserialize",
    "elu",
    "exponential",
    "gelu",
    "get",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "named",
    "relu",
    "relu6",
    "resolve",
    "selu",
    "serialize",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "sparse_plus",
    "sparse_sigmoid",
    "sparsemax",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
    "threshold",
]


# Those that all kernels have: sweeps too, where the slope is known by what they give, and others.
KERNELS_BY_OUTPUT = frozenset({
    "linear", "relu", "tanh", "sigmoid", "hard_sigmoid", "relu6", "leaky_relu", "elu", "selu",
    "exponential", "softplus", "softsign",
})  # fmt: skip
KERNELS_BY_INPUT = frozenset({"silu", "gelu"})


def _of_tensors(function):
    """The function, of symbolic tensors too: of these it takes no arguments but an axis."""
    @functools.wraps(function)
    def called(z, *arguments, **options):
        if not isinstance(z, Operand):
            return function(z, *arguments, **options)
        if arguments or options.keys() - {"axis"}:
            raise TypeError(
                f"{function.__name__}: of symbolic tensors it takes no further arguments; write it "
                "with functions of fastrnn.ops."
            )
        return OPERATORS["function"](function.__name__, z, **options)

    return called


class Activation(NamedTuple):
    """A function with its gradient: layers take one of one's own in the place of a name.

    Attributes
    ----------
    name : str
        What it is called in files.  Who loads them knows it by that name once a layer was made
        with it, or from ``custom_objects``.
    forward : callable
        ``forward(z) -> y``, an array of the shape of z.
    backward : callable
        ``backward(z, y, dy) -> dz``: dy times the slope, where that is one element by element.

    Examples
    --------
    >>> from fastrnn.layers import Dense
    >>> sine = Activation("sine", np.sin, lambda z, y, dy: dy * np.cos(z))
    >>> Dense(2, activation=sine)(np.zeros((1, 3)))
    array([[0., 0.]], dtype=float32)
    """

    name: str
    forward: Callable
    backward: Callable


@_of_tensors
def linear(z):
    """y = z."""
    return z


@_of_tensors
def relu(z, negative_slope=0.0, max_value=None, threshold=0.0):
    """y = z from ``threshold`` on, ``max_value`` at most; below ``negative_slope (z - threshold)``.

    >>> relu(np.array([-4.0, 0.5, 9.0]), negative_slope=0.5, max_value=6.0, threshold=1.0)
    array([-2.5 , -0.25,  6.  ])
    """
    if negative_slope == 0 and max_value is None and threshold == 0:
        return np.maximum(z, 0)
    y = z if max_value is None else np.minimum(z, max_value)
    return np.where(z >= threshold, y, negative_slope * (z - threshold))


@_of_tensors
def tanh(z):
    """y = tanh z."""
    return np.tanh(z)


@_of_tensors
def sigmoid(z):
    """y = 1 / (1 + exp(-z)).

    >>> sigmoid(np.array([-1000.0, 0.0, 1000.0]))
    array([0. , 0.5, 1. ])
    """
    e = np.exp(-np.abs(z))  # never overflows
    return np.where(z >= 0, 1, e) / (1 + e)


@_of_tensors
def softmax(z, axis=-1):
    """y_c = exp(z_c) / sum_k exp(z_k), over the last axis or another."""
    e = np.exp(z - np.max(z, axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _softmax_backward(z, y, dy):
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


@_of_tensors
def relu6(z):
    """y = min(max(z, 0), 6)."""
    return np.clip(z, 0, 6)


@_of_tensors
def leaky_relu(z, negative_slope=LEAK):
    """y = z where z > 0, else ``negative_slope`` z, which is 0.2 z."""
    return np.where(z > 0, z, negative_slope * z)


@_of_tensors
def elu(z, alpha=1.0):
    """y = z where z > 0, else ``alpha`` (exp(z) - 1)."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


@_of_tensors
def selu(z):
    """y = 1.0507 z where z > 0, else 1.0507 * 1.6733 (exp(z) - 1) (Klambauer et al., 2017)."""
    return SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0)))


def _selu_backward(z, y, dy):
    return dy * np.where(z > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA)


@_of_tensors
def exponential(z):
    """y = exp z."""
    with np.errstate(over="ignore"):  # infinity is the answer
        return np.exp(z)


@_of_tensors
def softplus(z):
    """y = log(1 + exp z)."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


@_of_tensors
def softsign(z):
    """y = z / (1 + |z|)."""
    return z / (1 + np.abs(z))


@_of_tensors
def hard_sigmoid(z):
    """y = z / 6 + 1/2, cut off at 0 and 1."""
    return np.clip(z / 6 + 0.5, 0, 1)


@_of_tensors
def silu(z):
    """y = z sigmoid(z); also known as swish."""
    return z * sigmoid(z)


def _silu_backward(z, y, dy):
    s = sigmoid(z)
    return dy * s * (1 + z * (1 - s))


swish = silu  # Keras has this name too


@_of_tensors
def hard_silu(z):
    """y = z hard_sigmoid(z); also known as hard_swish."""
    return z * hard_sigmoid(z)


hard_swish = hard_silu


def _hard_silu_backward(z, y, dy):
    return dy * (hard_sigmoid(z) + z * (np.abs(z) < 3) / 6)


@_of_tensors
def hard_tanh(z):
    """y = z, cut off at -1 and 1."""
    return np.clip(z, -1, 1)


@_of_tensors
def hard_shrink(z, threshold=0.5):
    """y = z where \\|z| > ``threshold``, else 0."""
    return z * (np.abs(z) > threshold)


@_of_tensors
def soft_shrink(z, threshold=0.5):
    """y = z less ``threshold`` in the direction of 0, and 0 where that would go beyond."""
    return z - np.clip(z, -threshold, threshold)


def _shrink_backward(z, y, dy):
    return dy * (np.abs(z) > 0.5)


@_of_tensors
def tanh_shrink(z):
    """y = z - tanh z."""
    return z - np.tanh(z)


@_of_tensors
def celu(z, alpha=1.0):
    """y = z where z > 0, else ``alpha`` (exp(z / alpha) - 1): smooth at 0 (Barron, 2017)."""
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0) / alpha))


@_of_tensors
def log_sigmoid(z):
    """y = log sigmoid(z)."""
    return -softplus(-z)


@_of_tensors
def log_softmax(z, axis=-1):
    """y = log softmax(z), over the last axis or another."""
    shifted = z - np.max(z, axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def _log_softmax_backward(z, y, dy):
    return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)


@_of_tensors
def mish(z):
    """y = z tanh(softplus z) (Misra, 2019)."""
    return z * np.tanh(softplus(z))


def _mish_backward(z, y, dy):
    t = np.tanh(softplus(z))
    return dy * (t + z * (1 - t * t) * sigmoid(z))


@_of_tensors
def sparse_plus(z):
    """y = 0 up to -1, z from 1 on, (z + 1)**2 / 4 between."""
    return np.where(z >= 1, z, np.square(np.maximum(z + 1, 0)) / 4)


@_of_tensors
def sparse_sigmoid(z):
    """y = (z + 1) / 2, cut off at 0 and 1: the slope of `sparse_plus`."""
    return np.clip((z + 1) / 2, 0, 1)


def sparsemax(z, axis=-1):
    """y = max(z - t, 0), with the t for which the sum is 1, over the last axis or another.

    Martins and Astudillo, "From Softmax to Sparsemax", 2016.

    >>> sparsemax(np.array([1.0, 0.5, -1.0]))
    array([0.75, 0.25, 0.  ])
    """
    z = np.moveaxis(z, axis, -1)
    ordered = np.sort(z, axis=-1)[..., ::-1]
    excess = np.cumsum(ordered, axis=-1) - 1
    count = np.arange(1, z.shape[-1] + 1)
    kept = (count * ordered > excess).sum(axis=-1, keepdims=True)
    kept = np.maximum(kept, 1)  # of what is no number, none is
    t = np.take_along_axis(excess, kept - 1, axis=-1) / kept.astype(z.dtype)
    return np.moveaxis(np.maximum(z - t, 0), -1, axis)


def _sparsemax_backward(z, y, dy):
    kept = y > 0
    count = np.maximum(kept.sum(axis=-1, keepdims=True), 1).astype(dy.dtype)
    return kept * (dy - (dy * kept).sum(axis=-1, keepdims=True) / count)


@_of_tensors
def squareplus(z, b=4):
    """y = (z + sqrt(z**2 + ``b``)) / 2."""
    return (z + np.sqrt(np.square(z) + b)) / 2


def glu(z, axis=-1):
    """y = a sigmoid(b), with a and b the halves of z along an axis (Dauphin et al., 2016)."""
    if np.shape(z)[axis] % 2:
        raise ValueError(
            f"glu: expected an axis {axis} of even length, to cut in halves; got shape "
            f"{np.shape(z)}."
        )
    a, b = np.split(z, 2, axis=axis)
    return a * sigmoid(b)


def threshold(z, threshold, default_value):
    """y = z where z > ``threshold``, else ``default_value``."""
    return np.where(z > threshold, z, np.asarray(z).dtype.type(default_value))


def _normal_below(z):
    """The probability that a standard normal lies below z."""
    erfc = np.frompyfunc(math.erfc, 1, 1)
    return 0.5 * np.asarray(erfc(-z / math.sqrt(2))).astype(z.dtype)


@_of_tensors
def gelu(z, approximate=False):
    """y = z times the probability that a standard normal lies below z.

    ``approximate``: that probability by way of tanh (Hendrycks and Gimpel, 2016).
    """
    z = np.asarray(z)
    if not approximate:
        return z * _normal_below(z)
    return z * (0.5 + 0.5 * np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


def _gelu_backward(z, y, dy):
    density = np.exp(-0.5 * np.square(z)) / math.sqrt(2 * math.pi)
    return dy * (_normal_below(z) + z * density)


_TABLE = {
    a.name: a
    for a in (
        Activation("linear", linear, lambda z, y, dy: dy),
        Activation("relu", relu, lambda z, y, dy: dy * (y > 0)),
        Activation("tanh", tanh, lambda z, y, dy: dy * (1 - y * y)),
        Activation("sigmoid", sigmoid, lambda z, y, dy: dy * y * (1 - y)),
        Activation("softmax", softmax, _softmax_backward),
        Activation("relu6", relu6, lambda z, y, dy: dy * ((y > 0) & (y < 6))),
        Activation("leaky_relu", leaky_relu, lambda z, y, dy: np.where(z > 0, dy, LEAK * dy)),
        Activation("elu", elu, lambda z, y, dy: dy * np.where(z > 0, 1, y + 1)),
        Activation("selu", selu, _selu_backward),
        Activation("exponential", exponential, lambda z, y, dy: dy * y),
        Activation("softplus", softplus, lambda z, y, dy: dy * sigmoid(z)),
        Activation("softsign", softsign, lambda z, y, dy: dy / np.square(1 + np.abs(z))),
        Activation("hard_sigmoid", hard_sigmoid, lambda z, y, dy: dy * (np.abs(z) < 3) / 6),
        Activation("silu", silu, _silu_backward),
        Activation("gelu", gelu, _gelu_backward),
        Activation("celu", celu, lambda z, y, dy: dy * np.where(z > 0, 1, y + 1)),
        Activation("hard_shrink", hard_shrink, _shrink_backward),
        Activation("hard_silu", hard_silu, _hard_silu_backward),
        Activation("hard_tanh", hard_tanh, lambda z, y, dy: dy * (np.abs(z) < 1)),
        Activation("log_sigmoid", log_sigmoid, lambda z, y, dy: dy * sigmoid(-z)),
        Activation("log_softmax", log_softmax, _log_softmax_backward),
        Activation("mish", mish, _mish_backward),
        Activation("soft_shrink", soft_shrink, _shrink_backward),
        Activation("sparse_plus", sparse_plus, lambda z, y, dy: dy * sparse_sigmoid(z)),
        Activation("sparse_sigmoid", sparse_sigmoid, lambda z, y, dy: dy * (np.abs(z) < 1) / 2),
        Activation("sparsemax", sparsemax, _sparsemax_backward),
        Activation("squareplus", squareplus,
                   lambda z, y, dy: dy * (1 + z / np.sqrt(np.square(z) + 4)) / 2),
        Activation("tanh_shrink", tanh_shrink, lambda z, y, dy: dy * np.square(np.tanh(z))),
    )
}  # fmt: skip
# Keras has a second name for some of them,
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
# and takes functions that no layer can use as they are.
_FOR_CALLS = {
    "glu": (glu, "it makes half as many columns"),
    "threshold": (threshold, "its arguments have no defaults"),
}
# Those of one's own that layers were made with, by name; of two the later one.
_own = {}


def named(activation):
    """The `Activation` of a name, or what a layer can use in the place of one of one's own."""
    return _TABLE[activation] if isinstance(activation, str) else _checked(activation)


@functools.lru_cache
def _checked(activation):
    """An `Activation` whose results are of the type of z, or raise."""
    def checked(part, function):
        def call(z, *others):
            found = np.ascontiguousarray(function(z, *others), z.dtype)
            if found.shape != z.shape:
                raise ValueError(
                    f"activation '{activation.name}': {part}: expected an array of the shape of z, "
                    f"{z.shape}; got shape {found.shape}."
                )
            return found

        return call

    return Activation(
        activation.name, checked("forward", activation.forward),
        checked("backward", activation.backward),
    )


def resolve(identifier):
    """What a layer keeps: the name of an activation, or an `Activation` of one's own.

    Parameters
    ----------
    identifier : str, function, `Activation`, or None
        None is "linear".  A function of one's own is one of operators and `fastrnn.ops`.

    Raises
    ------
    ValueError
        If it is unknown; the message names the nearest.
    TypeError
        For a function of something else: training needs its gradient too.
    """
    if identifier is None:
        return "linear"
    if isinstance(identifier, dict) and identifier.get("class_name") == "function":
        identifier = identifier["config"]  # as Keras writes functions
    if isinstance(identifier, str):
        if own(identifier) is not None:
            return resolve(own(identifier))
        identifier = _ALIASES.get(identifier, identifier)
        if identifier in _own:
            return _own[identifier]
    if isinstance(identifier, Activation):
        return _taken_in(identifier)
    for name, activation in _TABLE.items():
        if identifier in (name, activation.forward):
            return name
    for name, (function, reason) in _FOR_CALLS.items():
        if identifier in (name, function):
            raise ValueError(f"'{name}' can be called, but is no layer's activation: {reason}.")
    if callable(identifier):
        return _taken_in(_drawn(identifier))
    raise ValueError(unknown("activation", identifier, [*_TABLE, *_own]))


@functools.lru_cache
def _drawn(function):
    """The `Activation` of a function of operators and `fastrnn.ops`."""
    from fastrnn.layers.composite import DrawnFunction  # which knows what a graph is

    if getattr(function, "__name__", "") in _TABLE:
        raise TypeError(_no_gradient(function))
    name = getattr(function, "__name__", type(function).__name__)
    drawn = DrawnFunction(function, unique_name("lambda") if name == "<lambda>" else name)
    try:
        drawn.drawn_for([(1, 1)], floatx())
    except TypeError as error:
        raise TypeError(_no_gradient(function)) from error
    return Activation(
        drawn.name, lambda z: drawn.run(z)[0],
        lambda z, y, dy: drawn.backward(drawn.run(z)[1], dy)[0],
    )


def _taken_in(activation):
    """The same `Activation`, which is known by its name from now on."""
    if activation is _TABLE.get(activation.name):
        return activation.name
    if activation.name in (*_TABLE, *_ALIASES):
        raise ValueError(
            f"'{activation.name}' is an activation of fastrnn; give one of your own another name."
        )
    _own[activation.name] = activation
    return activation


def _no_gradient(function):
    """The message for a function whose gradient nobody knows."""
    name = getattr(function, "__name__", "")
    if name in _TABLE:
        return f"{function!r} says nothing of its gradient; write {name!r}, the name."
    return (
        f"{function!r} says nothing of its gradient, which follows from functions of fastrnn.ops "
        "and operators alone; expected a name, such as 'tanh', a function of those, or "
        "fastrnn.activations.Activation(name, forward, backward), with backward(z, y, dy) for the "
        "gradient."
    )


def get(identifier):
    """The function that a name stands for; None is `linear`, a function stands for itself.

    >>> get("relu") is relu
    True

    Raises
    ------
    ValueError
        If the name is unknown; the message names the nearest.
    """
    if callable(identifier):
        return identifier
    found = resolve(identifier)
    return found.forward if isinstance(found, Activation) else _TABLE[found].forward


def serialize(activation):
    """The name of an activation, for configurations; see `resolve` for what may be given.

    >>> serialize(relu)
    'relu'
    """
    found = resolve(activation)
    return found.name if isinstance(found, Activation) else found


def deserialize(config, custom_objects=None):
    """The function of that name; those of one's own in ``custom_objects``, by name, too."""
    with custom_object_scope(custom_objects):
        return get(config)
