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

import builtins
import operator

import numpy as np

from fastrnn.config import epsilon as _epsilon
from fastrnn.config import floatx
from fastrnn.constants import LEAK
from fastrnn.graph import SymbolicTensor
from fastrnn.layers.operations import applied, operand
from fastrnn.names import unknown
from fastrnn.operands import OPERATORS, drawn_inputs

__all__ = [
    "abs", "absolute", "add", "all", "any", "arange", "arctan", "argmax", "argmin", "broadcast_to",
    "cast", "ceil", "celu", "clip", "concatenate", "convert_to_tensor", "cos", "cosh", "cumsum",
    "diff", "divide", "dot", "einsum", "elu", "equal", "exp", "expand_dims", "expm1", "eye", "flip",
    "floor", "full", "full_like", "gelu", "glu", "greater", "greater_equal", "hard_sigmoid",
    "hard_silu", "hard_tanh", "leaky_relu", "less", "less_equal", "linspace", "log", "log1p",
    "log_sigmoid", "log_softmax", "logaddexp", "logical_and", "logical_not", "logical_or",
    "logsumexp", "matmul", "max", "maximum", "mean", "min", "minimum", "mish", "moveaxis",
    "multiply", "ndim", "negative", "norm", "normalize", "not_equal", "one_hot", "ones",
    "ones_like", "pad", "power", "reciprocal", "relu", "relu6", "repeat", "reshape", "roll",
    "round", "rsqrt", "selu", "shape", "sigmoid", "sign", "silu", "sin", "sinh", "softmax",
    "softplus", "softsign", "split", "sqrt", "square", "squareplus", "squeeze", "stack", "std",
    "stop_gradient", "subtract", "sum", "swapaxes", "take", "tan", "tanh", "tile", "transpose",
    "tril", "triu", "true_divide", "unstack", "var", "where", "zeros", "zeros_like",
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
arctan = _of_one("arctan")
ceil = _of_one("ceil")
cos = _of_one("cos")
cosh = _of_one("cosh")
exp = _of_one("exp")
expm1 = _of_one("expm1")
floor = _of_one("floor")
hard_sigmoid = _of_one("hard_sigmoid")
hard_silu = _of_one("hard_silu")
hard_tanh = _of_one("hard_tanh")
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
sinh = _of_one("sinh")
softplus = _of_one("softplus")
softsign = _of_one("softsign")
sqrt = _of_one("sqrt")
square = _of_one("square")
squareplus = _of_one("squareplus")
tan = _of_one("tan")
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


def elu(x, alpha=1.0):
    """x where it is positive, else ``alpha (exp(x) - 1)``."""
    if alpha == 1:
        return applied("elu", x)
    return relu(x) + alpha * expm1(minimum(x, 0))


def celu(x, alpha=1.0):
    """x where it is positive, else ``alpha (exp(x / alpha) - 1)``.

    >>> celu(np.array([-1e9, 2.0]), alpha=0.5)
    array([-0.5,  2. ])
    """
    if alpha == 1:
        return applied("celu", x)
    return relu(x) + alpha * expm1(divide(minimum(x, 0), alpha))


def leaky_relu(x, negative_slope=LEAK):
    """x where it is positive, else ``negative_slope x``, which is 0.2 x."""
    if negative_slope == LEAK:
        return applied("leaky_relu", x)
    return relu(x) - negative_slope * relu(negative(x))


def glu(x, axis=-1):
    """One half along an axis, times the sigmoid of the other.

    >>> glu(np.array([[4.0, 0.0]]))
    array([[2.]])
    """
    left, right = split(x, 2, axis)
    return left * sigmoid(right)


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
    """Each entry, ``x_min`` at least and ``x_max`` at most; None is no bound."""
    return applied("clip", x, x_min=x_min, x_max=x_max)


def where(condition, x1, x2):
    """Entries of ``x1`` where the condition is not zero, else of ``x2``.

    >>> where(np.array([1, 0]), 2.0, 3.0)
    array([2., 3.])
    """
    return applied("where", condition, x1, x2)


def round(x, decimals=0):
    """To the next number of so many digits behind the point; a half goes to the even one."""
    if decimals == 0:
        return applied("round", x)
    return divide(applied("round", multiply(x, 10.0**decimals)), 10.0**decimals)


def logaddexp(x1, x2):
    """``log(exp(x1) + exp(x2))``."""
    return maximum(x1, x2) + log1p(exp(negative(abs(subtract(x1, x2)))))


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


def any(x, axis=None, keepdims=False):
    """Whether one along an axis is not 0; of symbolic tensors 1 or 0."""
    return max(cast(x, "bool"), axis, keepdims)


def all(x, axis=None, keepdims=False):
    """Whether none along an axis is 0; of symbolic tensors 1 or 0."""
    return min(cast(x, "bool"), axis, keepdims)


def argmax(x, axis=None, keepdims=False):
    """The place of the largest along an axis, the first of several; it has no gradient.

    >>> argmax(np.array([[1.0, 5.0, 2.0]]), axis=-1)
    array([1])
    """
    return applied("argmax", x, axis=axis, keepdims=keepdims)


def argmin(x, axis=None, keepdims=False):
    """The place of the least along an axis, the first of several; it has no gradient."""
    return applied("argmin", x, axis=axis, keepdims=keepdims)


def cumsum(x, axis=None):
    """The sums of all entries up to each, along an axis; of symbolic tensors it must be given.

    >>> cumsum(np.ones((1, 3)), axis=1)
    array([[1., 2., 3.]])
    """
    x = operand(x)
    if isinstance(x, SymbolicTensor):
        _check_axis("cumsum", axis)
    return applied("cumsum", x, axis=axis)


def diff(a, n=1, axis=-1):
    """The differences between each entry along an axis and the one before; ``n`` times."""
    for _ in range(n):
        a = subtract(_part(a, axis, slice(1, None)), _part(a, axis, slice(None, -1)))
    return a


def logsumexp(x, axis=None, keepdims=False):
    """The logarithm of the sum of ``exp(x)``, where that itself may be too large."""
    largest = stop_gradient(max(x, axis, True))
    found = log(sum(exp(subtract(x, largest)), axis, True)) + largest
    return found if keepdims else squeeze(found, _axes(x, axis))


def norm(x, ord=None, axis=None, keepdims=False):
    """The norm of vectors along an axis, or several.

    Parameters
    ----------
    ord : {None, 1, 2, np.inf}
        None and 2: the root of the sum of squares; 1: the sum of magnitudes; infinity: the largest.

    Raises
    ------
    ValueError
        For another one, as NumPy has them for matrices.
    """
    magnitudes = {1: sum, np.inf: max}
    if ord in (None, 2, "euclidean", "fro"):
        return sqrt(sum(square(x), axis, keepdims))
    if ord not in magnitudes:
        raise ValueError(f"ops.norm: ord must be None, 1, 2 or np.inf; got {ord!r}.")
    return magnitudes[ord](abs(x), axis, keepdims)


def normalize(x, axis=-1, order=2, epsilon=None):
    """Vectors along an axis, divided by their `norm`, which counts as ``epsilon`` at least.

    >>> normalize(np.array([[3.0, 4.0], [0.0, 0.0]]))
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    least = _epsilon() if epsilon is None else epsilon
    if order == 2:  # no root of 0, whose slope would be infinite
        return x * rsqrt(maximum(sum(square(x), axis, True), least**2))
    return divide(x, maximum(norm(x, order, axis, True), least))


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


def einsum(subscripts, *operands):
    """The sum of products that an equation says: a letter for each axis, those left out summed.

    The batch has the same letter, the first, in all that has one, and in what comes out.

    >>> einsum("btd,bsd->bts", np.ones((1, 2, 3)), np.ones((1, 4, 3))).shape
    (1, 2, 4)
    """
    if not builtins.any(isinstance(operand(x), SymbolicTensor) for x in operands):
        return np.einsum(subscripts, *operands)
    return applied("einsum", *operands, equation=subscripts)


# -- other shapes ----------------------------------------------------------------------------------


def shape(x):
    """The shape, a tuple, with None where a symbolic tensor may have any length."""
    return x.shape if hasattr(x, "shape") else np.shape(x)


def ndim(x):
    """The number of axes."""
    return len(shape(x))


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


def split(x, indices_or_sections, axis=0):
    """Parts along an axis, a list: so many equal ones, or those between these places.

    >>> [part.shape for part in split(np.ones((2, 6)), 3, axis=1)]
    [(2, 2), (2, 2), (2, 2)]

    Raises
    ------
    ValueError
        If the axis has no known length, or one that cannot be divided so.
    """
    n = _length("split", x, axis)
    if isinstance(indices_or_sections, (int, np.integer)):
        sections = int(indices_or_sections)
        if sections < 1 or n % sections:
            raise ValueError(
                f"ops.split: axis {axis} of shape {shape(x)} cannot be divided into {sections} "
                "equal parts."
            )
        ends = range(n // sections, n, n // sections)
    else:
        ends = map(int, indices_or_sections)
    bounds = [0, *ends, n]
    return [
        _part(x, axis, slice(a, b)) for a, b in zip(bounds[:-1], bounds[1:], strict=True)
    ]


def unstack(x, num=None, axis=0):
    """All parts along an axis, without it, a list."""
    n = _length("unstack", x, axis)
    if num not in (None, n):
        raise ValueError(
            f"ops.unstack: axis {axis} of shape {shape(x)} has {n} parts; got num={num!r}."
        )
    return [_part(x, axis, i) for i in range(n)]


def take(x, indices, axis=None):
    """The parts at these places along an axis.

    Parameters
    ----------
    x : array, weight or SymbolicTensor
    indices : int, array of int, or SymbolicTensor
        Symbolic ones (B, ...) are places in the first axis of a table (V, D): a lookup.
    axis : int, optional
        None: of all entries in a row; of symbolic tensors it must be given.

    Examples
    --------
    >>> take(np.array([[5.0, 6.0, 7.0]]), [2, 0], axis=1)
    array([[7., 5.]])
    """
    x, indices = operand(x), operand(indices)
    if isinstance(indices, SymbolicTensor):
        if axis not in (0, -2):
            raise ValueError(
                f"ops.take: symbolic indices are places in axis 0 of a table; got axis={axis!r}."
            )
        return applied("lookup", x, indices)
    if not isinstance(x, SymbolicTensor):
        return np.take(x, indices, axis)
    _check_axis("take", axis)
    indices = np.asarray(indices)
    if indices.dtype.kind not in "iu":
        raise TypeError(f"ops.take: expected indices that are whole numbers; got {indices!r:.60}.")
    return applied("take", x, indices=indices.tolist(), axis=axis)


def repeat(x, repeats, axis=None):
    """Each part along an axis so many times, one after the other.

    >>> repeat(np.array([[1.0, 2.0]]), 2, axis=1)
    array([[1., 1., 2., 2.]])
    """
    x = operand(x)
    if not isinstance(x, SymbolicTensor):
        return np.repeat(x, repeats, axis)
    _check_axis("repeat", axis)
    if not isinstance(repeats, (int, np.integer)) or repeats < 1:
        raise ValueError(
            "ops.repeat: of a symbolic tensor, repeats must be a whole number from 1 on; got "
            f"{repeats!r}."
        )
    return applied("repeat", x, repeats=int(repeats), axis=axis)


def tile(x, repeats):
    """The whole so many times along each axis.

    >>> tile(np.array([[1.0, 2.0]]), (1, 2))
    array([[1., 2., 1., 2.]])
    """
    x = operand(x)
    if not isinstance(x, SymbolicTensor):
        return np.tile(x, repeats)
    counts = [repeats] if isinstance(repeats, (int, np.integer)) else [*repeats]
    missing = len(counts) - x.ndim
    if missing > 0:
        x = reshape(x, (1,) * missing + x.shape)
    counts = [1] * -missing + counts
    if counts[:1] == [None]:  # so many rows as there are
        x, counts = broadcast_to(x, (None, *x.shape[1:])), [1, *counts[1:]]
    for axis, count in enumerate(counts):
        x = x if count == 1 else concatenate([x] * count, axis)
    return x


def pad(x, pad_width, mode="constant", constant_values=None):
    """More entries at the ends of axes, all of one value.

    Parameters
    ----------
    pad_width : int, pair of int, or a pair for each axis
        How many before the first and behind the last; none for the batch of symbolic tensors.
    mode : {"constant"}
        Of arrays, whatever ``numpy.pad`` takes.
    constant_values : number, default 0

    Examples
    --------
    >>> pad(np.ones((1, 2)), ((0, 0), (1, 2)))
    array([[0., 1., 1., 0., 0.]])
    """
    x = operand(x)
    options = {} if constant_values is None else {"constant_values": constant_values}
    if not isinstance(x, SymbolicTensor):
        return np.pad(x, pad_width, mode=mode, **options)
    if mode != "constant":
        raise ValueError(f"ops.pad: {unknown('mode for symbolic tensors', mode, ['constant'])}")
    pairs = np.broadcast_to(np.asarray(pad_width), (x.ndim, 2))
    if pairs.dtype.kind not in "iu" or (pairs < 0).any():
        raise ValueError(f"ops.pad: pad_width: expected numbers from 0 on; got {pad_width!r}.")
    return applied("pad", x, pad_width=pairs.tolist(), value=float(constant_values or 0))


def roll(x, shift, axis=None):
    """Each part along an axis so many places further on; the last ones come first."""
    x = operand(x)
    if not isinstance(x, SymbolicTensor):
        return np.roll(x, shift, axis)
    _check_axis("roll", axis)
    n = _length("roll", x, axis)
    cut = (-shift) % n
    parts = slice(cut, None), slice(None, cut)
    return concatenate([_part(x, axis, own) for own in parts], axis) if cut else x


def moveaxis(x, source, destination):
    """Axes in other places, the others in their order."""
    n = len(shape(x))
    sources, places = (
        [a % n for a in np.atleast_1d(given).tolist()] for given in (source, destination)
    )
    order = [a for a in range(n) if a not in sources]
    for place, a in sorted(zip(places, sources, strict=True)):
        order.insert(place, a)
    return transpose(x, order)


def broadcast_to(x, shape):
    """Axes of length 1 stretched; None, in a `call`, for as many rows as there are.

    >>> broadcast_to(np.ones((1, 2)), (3, 2)).shape
    (3, 2)
    """
    x = operand(x)
    if not isinstance(x, SymbolicTensor) and None not in shape:
        return np.broadcast_to(x, shape)
    return add(x, zeros(shape))


def tril(x, k=0):
    """The same with zeros where the last axis is further on than the one before it, by over k."""
    return _triangle("tril", x, k, np.less_equal)


def triu(x, k=0):
    """The same with zeros where the last axis is less far on than the one before it, by k."""
    return _triangle("triu", x, k, np.greater_equal)


def _triangle(name, x, k, kept):
    rows, columns = (_length(name, x, axis) for axis in (-2, -1))
    where_kept = kept(np.arange(columns) - np.arange(rows)[:, None], k)
    return where(where_kept, x, np.zeros((), getattr(x, "dtype", None)))


def flip(x, axis):
    """Backwards along an axis."""
    return applied("flip", x, axis=axis)


# -- places, for the functions above ---------------------------------------------------------------


def _part(x, axis, key):
    """A slice of an axis, or one of its places without the axis."""
    return OPERATORS["get_item"](x, (slice(None),) * _axes(x, axis)[0] + (key,))


def _axes(x, axis):
    """Axes counted from 0; None stands for all."""
    n = len(shape(x))
    given = range(n) if axis is None else axis if isinstance(axis, (list, tuple)) else (axis,)
    return tuple(operator.index(a) % n for a in given)


def _check_axis(name, axis):
    if axis is None:
        raise ValueError(f"ops.{name}: axis must be given for a symbolic tensor; got None.")


def _length(name, x, axis):
    """The length of an axis, which must be known."""
    own = shape(x)
    if not -len(own) <= axis < len(own) or own[axis] is None:
        raise ValueError(f"ops.{name}: expected an axis of known length; axis {axis} of {own} is "
                         "not.")  # fmt: skip
    return own[axis]


# -- new arrays ------------------------------------------------------------------------------------


def full(shape, fill_value, dtype=None):
    """An array of one value.

    Parameters
    ----------
    shape : tuple of int
        In a `call` the first may be None, as `shape` has it: as many rows as its first input has.
    fill_value : number
    dtype : default `fastrnn.config.floatx`

    Examples
    --------
    >>> full((1, 2), 3.0)
    array([[3., 3.]], dtype=float32)
    """
    shape = (shape,) if shape is None or isinstance(shape, (int, np.integer)) else tuple(shape)
    if None not in shape:
        return np.full(shape, fill_value, dtype or floatx())
    if None in shape[1:] or not drawn_inputs():
        raise ValueError(
            f"ops.full: expected a shape of whole numbers, or in a call None for the rows; got "
            f"{shape}."
        )
    return applied("full", drawn_inputs()[0], shape=list(shape[1:]), value=float(fill_value))


def zeros(shape, dtype=None):
    """`full` of 0."""
    return full(shape, 0.0, dtype)


def ones(shape, dtype=None):
    """`full` of 1."""
    return full(shape, 1.0, dtype)


def full_like(x, fill_value, dtype=None):
    """An array of one value, in the shape of another.

    >>> full_like(np.zeros(2), 3.0)
    array([3., 3.])
    """
    x = operand(x)
    if isinstance(x, SymbolicTensor):
        return ones_like(x) * fill_value
    return np.full_like(x, fill_value, dtype)


def eye(N, M=None, k=0, dtype=None):
    """Ones on a diagonal, else zeros: a matrix (N, M)."""
    return np.eye(N, M, k, dtype or floatx())


def arange(start, stop=None, step=1, dtype=None):
    """Numbers from ``start`` up to, without, ``stop``; of one number, from 0 up to that.

    >>> arange(3)
    array([0, 1, 2], dtype=int32)
    """
    given = (0, start) if stop is None else (start, stop)
    whole = builtins.all(isinstance(n, (int, np.integer)) for n in (*given, step))
    return np.arange(*given, step, dtype or ("int32" if whole else floatx()))


def linspace(start, stop, num=50, endpoint=True, dtype=None):
    """So many numbers at equal distances."""
    return np.linspace(start, stop, num, endpoint, dtype=dtype or floatx())


def one_hot(x, num_classes, axis=-1, dtype=None):
    """1 at the place that a whole number says, along a new axis, else 0.

    >>> one_hot(np.array([2, 0]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    n = len(shape(x)) + 1
    place = axis % n
    classes = np.arange(num_classes).reshape(-1, *[1] * (n - 1 - place))
    return cast(equal(expand_dims(x, place), classes), dtype or floatx())


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
