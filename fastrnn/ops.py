"""Functions of arrays with Keras's names, for a `call` of one's own and for symbolic tensors.

Of arrays each gives an array of NumPy.  Of symbolic tensors, and of weights in a `call`, it gives a
symbolic tensor, and its gradient is known.  What is there is what recurrent nets are written with:
arithmetic, functions of entries, products, sums along axes, and arrays in other shapes.

Examples
--------
Attention over the steps of a sequence, as a layer:

>>> import numpy as np
>>> from fastrnn import Input, Sequential, ops
>>> from fastrnn.layers import GRU, Dense, Layer
>>> class Attention(Layer):
...     def build(self, input_shape):
...         self.kernel = self.add_weight((input_shape[-1], 1), "glorot_uniform", name="kernel")
...
...     def call(self, x):
...         scores = ops.softmax(ops.tanh(ops.matmul(x, self.kernel)), axis=1)
...         return ops.sum(scores * x, axis=1)
>>> model = Sequential([Input((9, 3)), GRU(4, return_sequences=True), Attention(), Dense(1)])
>>> model.compile("adam", "mse")
>>> history = model.fit(np.ones((8, 9, 3)), np.ones((8, 1)), verbose=0)
>>> [layer.count_params() for layer in model.layers]
[108, 4, 5]
"""

from __future__ import annotations

import numpy as np

from fastrnn.config import floatx
from fastrnn.graph import SymbolicTensor
from fastrnn.layers.operations import applied, operand
from fastrnn.operands import OPERATORS

__all__ = [
    "abs", "absolute", "add", "cast", "celu", "clip", "concatenate", "convert_to_tensor", "cos",
    "divide", "dot", "elu", "equal", "exp", "expand_dims", "expm1", "flip", "gelu", "greater",
    "greater_equal", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "less",
    "less_equal", "log", "log1p", "log_sigmoid", "log_softmax", "logical_and", "logical_not",
    "logical_or", "matmul", "max", "maximum", "mean", "min", "minimum", "mish", "multiply",
    "negative", "not_equal", "ones_like", "power", "reciprocal", "relu", "relu6", "reshape",
    "rsqrt", "selu", "shape", "sigmoid", "sign", "silu", "sin", "softmax", "softplus",
    "softsign", "sqrt", "square", "squareplus", "squeeze", "stack", "std", "stop_gradient",
    "subtract", "sum", "swapaxes", "tanh", "transpose", "true_divide", "var", "where",
    "zeros_like",
]


# -- entry by entry --------------------------------------------------------------------------------


def _function(name, doc, function):
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


def _of_one(name):
    return _function(name, f"``{name}`` of each entry.", lambda x: applied(name, x))


def _of_two(name):
    doc = f"``{name}`` of two arrays, entry by entry; axes of length 1 are stretched."
    return _function(name, doc, lambda x1, x2: applied(name, x1, x2))


def _operator(name):
    doc = f"``{name}`` of two arrays, entry by entry; axes of length 1 are stretched."
    return _function(name, doc, lambda x1, x2: OPERATORS[name](x1, x2))


abs = absolute = _of_one("absolute")
celu = _of_one("celu")
cos = _of_one("cos")
elu = _of_one("elu")
exp = _of_one("exp")
expm1 = _of_one("expm1")
hard_sigmoid = _of_one("hard_sigmoid")
hard_silu = _of_one("hard_silu")
hard_tanh = _of_one("hard_tanh")
leaky_relu = _of_one("leaky_relu")
log = _of_one("log")
log1p = _of_one("log1p")
log_sigmoid = _of_one("log_sigmoid")
logical_not = _of_one("logical_not")
mish = _of_one("mish")
ones_like = _of_one("ones_like")
relu = _of_one("relu")
relu6 = _of_one("relu6")
selu = _of_one("selu")
sigmoid = _of_one("sigmoid")
sign = _of_one("sign")
silu = _of_one("silu")
sin = _of_one("sin")
softplus = _of_one("softplus")
softsign = _of_one("softsign")
sqrt = _of_one("sqrt")
square = _of_one("square")
squareplus = _of_one("squareplus")
tanh = _of_one("tanh")
zeros_like = _of_one("zeros_like")

add = _operator("add")
subtract = _operator("subtract")
multiply = _operator("multiply")
divide = true_divide = _operator("divide")
power = _operator("power")
equal = _of_two("equal")
greater = _of_two("greater")
greater_equal = _of_two("greater_equal")
less = _of_two("less")
less_equal = _of_two("less_equal")
logical_and = _of_two("logical_and")
logical_or = _of_two("logical_or")
maximum = _of_two("maximum")
minimum = _of_two("minimum")
not_equal = _of_two("not_equal")


def gelu(x, approximate=True):
    """``gelu`` of each entry, by way of tanh unless ``approximate`` is False."""
    if not approximate:
        return applied("gelu", x)
    return x * (0.5 + 0.5 * tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def negative(x):
    """-x."""
    return OPERATORS["negative"](x)


def reciprocal(x):
    """1 / x."""
    return divide(1.0, x)


def rsqrt(x):
    """1 / sqrt(x)."""
    return reciprocal(sqrt(x))


def clip(x, x_min, x_max):
    """Each entry, ``x_min`` at least and ``x_max`` at most."""
    return applied("clip", x, x_min=x_min, x_max=x_max)


def where(condition, x1, x2):
    """Entries of ``x1`` where the condition is not zero, else of ``x2``.

    >>> where(np.array([1, 0]), 2.0, 3.0)
    array([2., 3.])
    """
    return applied("where", condition, x1, x2)


def softmax(x, axis=-1):
    """``exp(x)`` over its sum along an axis.

    >>> softmax(np.zeros((1, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    return applied("softmax", x, axis=axis)


def log_softmax(x, axis=-1):
    """The logarithm of `softmax`."""
    return applied("log_softmax", x, axis=axis)


# -- along axes ------------------------------------------------------------------------------------


def sum(x, axis=None, keepdims=False):
    """The sum along an axis, or several.

    >>> sum(np.ones((2, 3)), axis=1)
    array([3., 3.])
    """
    return applied("sum", x, axis=axis, keepdims=keepdims)


def mean(x, axis=None, keepdims=False):
    """The mean along an axis, or several."""
    return applied("mean", x, axis=axis, keepdims=keepdims)


def max(x, axis=None, keepdims=False):
    """The largest along an axis, or several; of equal ones each gets its share of the gradient."""
    return applied("max", x, axis=axis, keepdims=keepdims)


def min(x, axis=None, keepdims=False):
    """The least along an axis, or several; of equal ones each gets its share of the gradient."""
    return applied("min", x, axis=axis, keepdims=keepdims)


def var(x, axis=None, keepdims=False):
    """The mean square of the distance from the mean.

    >>> var(np.array([[1.0, 3.0]]), axis=1)
    array([1.])
    """
    return mean(square(x - mean(x, axis, True)), axis, keepdims)


def std(x, axis=None, keepdims=False):
    """The root of `var`."""
    return sqrt(var(x, axis, keepdims))


# -- products --------------------------------------------------------------------------------------


def matmul(x1, x2):
    """The product of matrices, the last two axes of each; those before are stretched."""
    return applied("matmul", x1, x2)


def dot(x1, x2):
    """`matmul` with a matrix or a vector on the right.

    Raises
    ------
    ValueError
        For a right one of more axes, of which NumPy's ``dot`` makes something else.
    """
    if len(shape(x2)) > 2:
        raise ValueError(
            f"ops.dot: expected at most two axes on the right; got shape {shape(x2)}. For a matrix "
            "in each row, use ops.matmul."
        )
    return applied("matmul", x1, x2)


# -- other shapes ----------------------------------------------------------------------------------


def shape(x):
    """The shape, a tuple, with None where a symbolic tensor may have any length."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def expand_dims(x, axis):
    """The same with an axis of length 1 more.

    >>> expand_dims(np.ones((2, 3)), 1).shape
    (2, 1, 3)
    """
    return applied("expand_dims", x, axis=axis)


def squeeze(x, axis=None):
    """The same without an axis of length 1; None: without all of them behind the first axis."""
    if axis is None:
        axis = tuple(a for a, n in enumerate(shape(x)) if n == 1 and a)
    return applied("squeeze", x, axis=axis)


def reshape(x, newshape):
    """The same entries in another shape; of a symbolic tensor -1 for the batch first."""
    return applied("reshape", x, newshape=tuple(newshape))


def transpose(x, axes=None):
    """The axes in another order."""
    return applied("transpose", x, axes=None if axes is None else tuple(axes))


def swapaxes(x, axis1, axis2):
    """Two axes in each other's place."""
    order = [*range(len(shape(x)))]
    order[axis1], order[axis2] = order[axis2], order[axis1]
    return transpose(x, order)


def concatenate(xs, axis=0):
    """Arrays one behind the other along an axis."""
    return applied("concatenate", *xs, axis=axis)


def stack(x, axis=0):
    """Arrays side by side along a new axis.

    >>> stack([np.zeros(3), np.ones(3)], axis=1).shape
    (3, 2)
    """
    return concatenate([expand_dims(part, axis) for part in x], axis)


def flip(x, axis):
    """Backwards along an axis."""
    return applied("flip", x, axis=axis)


# -- types -----------------------------------------------------------------------------------------


def cast(x, dtype):
    """The same in another type.  Symbolic tensors are floats of their layer's type and stay that:
    for whole numbers without what is behind the point, for booleans 1 where they are not 0.

    >>> cast(np.array([True, False]), "float32")
    array([1., 0.], dtype=float32)
    """
    x = operand(x)
    if not isinstance(x, SymbolicTensor):
        return np.asarray(x).astype(dtype)
    kind = np.dtype(dtype).kind
    return x if kind == "f" else not_equal(x, 0.0) if kind == "b" else applied("trunc", x)


def convert_to_tensor(x, dtype=None):
    """An array of floats (or of ``dtype``); a symbolic tensor as it is."""
    x = operand(x)
    if isinstance(x, SymbolicTensor):
        return x
    x = np.asarray(x, dtype)
    return x.astype(floatx()) if dtype is None and x.dtype == np.float64 else x


def stop_gradient(variable):
    """The same, through which no gradient passes."""
    return applied("stop_gradient", variable)
