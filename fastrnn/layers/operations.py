"""Functions of arrays as layers of a graph: what `fastrnn.ops` makes of symbolic tensors.

Each is an entry of a table: what it computes, its gradient, the shape of what comes out, and along
which axes it mixes entries.  All are formulas in NumPy's functions, which take an engine's arrays
as they are, and give floats of the layer's type: 1 where a comparison is true, else 0.  As in Keras
they pass no mask on; what sequences of different lengths are filled up
with stays filling where a function leaves steps apart, and else is refused.

Letters: x is what goes in, y what comes out, dx and dy the gradients of the loss by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastrnn import activations, engines
from fastrnn.graph import Node, SymbolicTensor
from fastrnn.layers.base import Layer
from fastrnn.layers.core import check_given
from fastrnn.layers.merging import filled
from fastrnn.names import unique_name, unknown
from fastrnn.operands import drawn_owner, weights_drawn
from fastrnn.parameters import Parameter

__all__ = ["FUNCTIONS", "Counted", "Operation", "Weight", "applied", "operand"]


# -- what a graph begins from besides its inputs ---------------------------------------------------


class Weight(Layer):
    """Gives the value of a weight, which another layer has; its gradient goes there."""

    def __init__(self, parameter):
        super().__init__(name=unique_name("weight"), dtype=str(parameter.dtype))
        self.parameter = parameter
        self.built = True

    def compute_output_shape(self, input_shape):
        return self.parameter.shape

    def forward(self, x, mask=None, training=False):
        return self.parameter.value, None

    def backward(self, tape, dy):
        if self.parameter.trainable:
            self.parameter.grad += dy
        return []


def _weight_of(array):
    """The weight whose value an array is, in the call of its layer; else the array."""
    owner = drawn_owner()
    for p in [] if owner is None else owner.parameters:
        if array is p.value:
            return p
        if isinstance(p.value, np.ndarray) and np.may_share_memory(array, p.value):
            raise TypeError(
                f"weight '{p.path}': parts of its value would be constants in a call, without a "
                "gradient; take them of the weight itself."
            )
    return array


def operand(x):
    """What stands for ``x`` where a graph is drawn: for a weight a tensor, else itself."""
    drawn = weights_drawn()
    if drawn is not None and isinstance(x, np.ndarray):
        x = _weight_of(x)
    if drawn is None or not isinstance(x, Parameter):
        return x
    if x not in drawn:
        layer = Weight(x)
        drawn[x] = Node(layer, [], x.shape, layer.dtype).structure
    return drawn[x]


class Constant:
    """A number, or an array that is brought to an engine once."""

    def __init__(self, value, dtype):
        value = np.asarray(value)
        self.shape = value.shape
        if not self.shape:
            self.value = value.item()
        else:
            self.value = value if value.dtype == bool else value.astype(dtype)
        self._copies = {}

    def here(self):
        """The number, or the array where the current engine has its own."""
        if not self.shape:
            return self.value
        engine = engines.current()
        if engine.name not in self._copies:
            self._copies[engine.name] = engine.asarray(self.value)
        return self._copies[engine.name]

    def __deepcopy__(self, memo):
        return self  # nobody changes it

    def plain(self):
        """The value, fit for JSON."""
        return self.value.tolist() if self.shape else self.value


class Counted(Layer):
    """The mask of its input as an array (B, T): 1 where a step counts, 0 where it is masked."""

    def __init__(self, **kwargs):
        super().__init__(name=unique_name("counted"), **kwargs)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[:2])

    def forward(self, x, mask=None, training=False):
        engine = engines.current()
        counts = np.ones(x.shape[:2], self.dtype) if mask is None else np.asarray(mask, self.dtype)
        return engine.asarray(counts), None

    def output_mask(self, x, mask, y):
        given = getattr(mask, "given", None)
        return None if given is None else given.all_given()

    def backward(self, tape, dy):
        return None


# -- shapes, with None where any length may be -----------------------------------------------------


def same(shape, *_, **__):
    """The shape of what is computed entry by entry."""
    return tuple(shape)


def stretched(*shapes, **_):
    """The shape that arrays have in common once they are stretched, as NumPy does it."""
    ndim = max(map(len, shapes))
    common = []
    for sizes in zip(*((1,) * (ndim - len(shape)) + tuple(shape) for shape in shapes), strict=True):
        known = {n for n in sizes if n not in (None, 1)}
        if len(known) > 1:
            raise ValueError("shapes whose axes, counted from the last, are equal, or 1")
        common.append(None if None in sizes else max(known, default=1))
    return tuple(common)


def axes_of(axis, ndim):
    """Axes, counted from 0, ascending; None stands for all."""
    if axis is None:
        return tuple(range(ndim))
    axes = axis if isinstance(axis, (list, tuple)) else (axis,)
    for a in axes:
        if not isinstance(a, (int, np.integer)) or not -ndim <= a < ndim:
            raise ValueError(f"an axis from {-ndim} to {ndim - 1}, not {a!r}")
    return tuple(sorted(int(a) % ndim for a in axes))


def _reduced(shape, axis=None, keepdims=False):
    axes = axes_of(axis, len(shape))
    return tuple(1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes)


def _product(a, b):
    if len(a) < 2 or not b:
        raise ValueError("arrays of two axes or more (that on the right may have one)")
    if len(b) == 2 and b[0] is None:
        raise ValueError("on the right a matrix that all rows share, or three axes, one for each")
    left, right = a[-1], b[-2] if len(b) > 1 else b[0]
    if None not in (left, right) and left != right:
        raise ValueError("as many columns on the left as there are rows on the right")
    if len(b) < 3:
        return (*a[:-1], *b[1:])
    return (*stretched(a[:-2], b[:-2]), a[-2], b[-1])


def _reshaped(shape, newshape):
    n = None if None in shape[1:] else math.prod(shape[1:])
    wanted = list(newshape)
    if wanted[:1] != [-1] and (not wanted or wanted[0] != shape[0]):
        raise ValueError(f"a shape that begins with -1, for the batch, not {tuple(newshape)}")
    rest = math.prod(size for size in wanted[1:] if size != -1)
    fits = n is None or n == rest or -1 in wanted[1:] and n % rest == 0
    if wanted[1:].count(-1) > 1 or not fits:
        raise ValueError(f"a shape of as many entries in a row, not {tuple(newshape)}")
    return (shape[0], *((n and n // rest) if size == -1 else size for size in wanted[1:]))


def _transposed(shape, axes=None):
    order = tuple(axes or reversed(range(len(shape))))
    if sorted(order) != [*range(len(shape))] or shape[0] is None and order[0] != 0:
        raise ValueError(f"all axes in another order, the batch first, not {order}")
    return tuple(shape[a] for a in order)


def _squeezed(shape, axis):
    axes = axes_of(axis, len(shape))
    if any(shape[a] != 1 for a in axes):
        raise ValueError(f"an axis of length 1, not axis={axis}")
    return tuple(n for a, n in enumerate(shape) if a not in axes)


def _concatenated(*shapes, axis):
    ndim = len(shapes[0])
    [along] = axes_of(axis, ndim)
    joined = []
    for a, sizes in enumerate(zip(*shapes, strict=True)):
        if a == along:
            joined.append(None if None in sizes else sum(sizes))
        elif len({n for n in sizes if n is not None}) > 1:
            raise ValueError("shapes that differ in no axis but that along which they are joined")
        else:
            joined.append(sizes[0])
    return tuple(joined)


# -- gradients -------------------------------------------------------------------------------------


def _shape(x):
    """The shape of an array of whatever engine, or of a number."""
    return getattr(x, "shape", ())


def summed_to(d, shape):
    """The gradient of an array of ``shape``, which was stretched to that of ``d``."""
    extra = d.ndim - len(shape)
    own = (1,) * extra + tuple(shape)
    axes = tuple(a for a, n in enumerate(own) if n == 1 and (a < extra or d.shape[a] != 1))
    return (d.sum(axis=axes) if axes else d).reshape(shape)


def _with_axes(a, axes):
    """An array with axes of length 1 at these places."""
    shape = list(a.shape)
    for place in axes:
        shape.insert(place, 1)
    return a.reshape(shape)


def _opened(a, x, axis, keepdims):
    """What was reduced, with axes of length 1 in the place of those of ``x``."""
    return a if keepdims else _with_axes(a, axes_of(axis, x.ndim))


def _over(function):
    """A function along axes, which files have as a list; NumPy's takes tuples alone."""
    def over(x, axis=None, keepdims=False):
        axis = tuple(axis) if isinstance(axis, list) else axis
        return function(x, axis=axis, keepdims=keepdims)

    return over


def _sum_backward(dy, y, x, axis=None, keepdims=False):
    return np.broadcast_to(_opened(dy, x, axis, keepdims), x.shape)


def _mean_backward(dy, y, x, axis=None, keepdims=False):
    n = math.prod(x.shape[a] for a in axes_of(axis, x.ndim))
    return _sum_backward(dy / n, y, x, axis, keepdims)


def _extreme_backward(dy, y, x, axis=None, keepdims=False):
    """Entries that are equally large share the gradient."""
    found = (x == _opened(y, x, axis, keepdims)).astype(x.dtype)
    share = found.sum(axis=axes_of(axis, x.ndim), keepdims=True)
    return found * (_opened(dy, x, axis, keepdims) / share)


def _matmul(a, b):
    if b.ndim > 2:
        return np.matmul(a, b)
    y = a.reshape(-1, a.shape[-1]) @ (b if b.ndim == 2 else b[:, None])
    return y.reshape(*a.shape[:-1], *b.shape[1:])


def _matmul_backward(dy, y, a, b):
    if b.ndim > 2:
        da, db = np.matmul(dy, b.swapaxes(-1, -2)), np.matmul(a.swapaxes(-1, -2), dy)
        return summed_to(da, a.shape), summed_to(db, b.shape)
    table = b if b.ndim == 2 else b[:, None]
    rows, dy = a.reshape(-1, a.shape[-1]), dy.reshape(-1, table.shape[1])
    return (dy @ table.T).reshape(a.shape), (rows.T @ dy).reshape(b.shape)


def _softmax_backward(dy, y, x, axis=-1):
    return y * (dy - (dy * y).sum(axis=axis, keepdims=True))


def _log_softmax_backward(dy, y, x, axis=-1):
    return dy - np.exp(y) * dy.sum(axis=axis, keepdims=True)


def _concatenate_backward(dy, y, *x, axis):
    ends = np.cumsum([part.shape[axis] for part in x])
    pieces, index = [], [slice(None)] * dy.ndim
    for part, end in zip(x, ends.tolist(), strict=True):
        index[axis] = slice(end - part.shape[axis], end)
        pieces.append(dy[tuple(index)])
    return pieces


def _chosen(select):
    """The gradients of two arrays of which each entry of y is one: the first where ``select``."""
    def backward(dy, y, a, b):
        first = select(a, b)
        return (
            summed_to(np.where(first, dy, 0), _shape(a)),
            summed_to(np.where(first, 0, dy), _shape(b)),
        )

    return backward


def _plain_key(key):
    """A key of whole numbers and slices; of a list the same entry might come twice."""
    for k in key if isinstance(key, tuple) else (key,):
        if not (k is None or k is Ellipsis or isinstance(k, (int, np.integer, slice))):
            raise TypeError(f"[{key!r:.60}]: of weights only whole numbers and slices are taken.")
    return key


def _part_backward(dy, y, x, key):
    dx = engines.current().zeros(x.shape, dy.dtype)
    dx[key] = dy
    return dx


def _where_backward(dy, y, condition, a, b):
    of_a, of_b = np.where(condition != 0, dy, 0), np.where(condition != 0, 0, dy)
    return None, summed_to(of_a, _shape(a)), summed_to(of_b, _shape(b))


# -- the table -------------------------------------------------------------------------------------


# Along which axes entries are mixed, by the numbers of axes of what goes in.


def _nothing(*_, **__):
    return ()


def _along(*ndims, axis=None, **_):
    return axes_of(axis, max(ndims))


def _along_one(ndim, axis=-1):
    return axes_of(axis, ndim)


def _rows(*ndims, **_):
    """All that lies in a row."""
    return range(1, max(ndims))


def _of_product(left, right):
    n = max(left, right)
    return (n - 1,) if right < 3 else (n - 2, n - 1)


class Function(NamedTuple):
    """A function of arrays.

    Attributes
    ----------
    forward : callable
        ``forward(*x, **options) -> y``.
    backward : callable or None
        ``backward(dy, y, *x, **options)``: dx, for several x each of them, None where there is
        none; where it is None, for all.
    shape : callable
        ``shape(*shapes, **options)``, or ValueError with what it expects.
    mixes : callable
        ``mixes(*ndims, **options)``: the axes along which an entry of y depends on others of x.
    """

    forward: Callable
    backward: Callable | None
    shape: Callable = same
    mixes: Callable = _nothing


def _activation(name):
    found = activations.named(name)
    return Function(found.forward, lambda dy, y, x: found.backward(x, y, dy))


FUNCTIONS = {
    "exp": Function(np.exp, lambda dy, y, x: dy * y),
    "expm1": Function(np.expm1, lambda dy, y, x: dy * (y + 1)),
    "log": Function(np.log, lambda dy, y, x: dy / x),
    "log1p": Function(np.log1p, lambda dy, y, x: dy / (1 + x)),
    "sqrt": Function(np.sqrt, lambda dy, y, x: dy / (2 * y)),
    "square": Function(np.square, lambda dy, y, x: 2 * dy * x),
    "absolute": Function(np.absolute, lambda dy, y, x: dy * np.sign(x)),
    "sin": Function(np.sin, lambda dy, y, x: dy * np.cos(x)),
    "cos": Function(np.cos, lambda dy, y, x: -dy * np.sin(x)),
    "sign": Function(np.sign, None),
    "trunc": Function(np.trunc, None),
    "logical_not": Function(lambda x: x == 0, None),
    "stop_gradient": Function(lambda x: x, None),
    "zeros_like": Function(np.zeros_like, None),
    "ones_like": Function(np.ones_like, None),
    "clip": Function(
        lambda x, x_min, x_max: np.clip(x, x_min, x_max),
        lambda dy, y, x, x_min, x_max: dy * ((x >= x_min) & (x <= x_max)),
    ),
    "softmax": Function(activations.softmax, _softmax_backward, mixes=_along_one),
    "log_softmax": Function(activations.log_softmax, _log_softmax_backward, mixes=_along_one),
    "maximum": Function(np.maximum, _chosen(lambda a, b: a >= b), stretched),
    "minimum": Function(np.minimum, _chosen(lambda a, b: a <= b), stretched),
    "where": Function(lambda c, a, b: np.where(c != 0, a, b), _where_backward, stretched),
    "sum": Function(_over(np.sum), _sum_backward, _reduced, _along),
    "mean": Function(_over(np.mean), _mean_backward, _reduced, _along),
    "max": Function(_over(np.max), _extreme_backward, _reduced, _along),
    "min": Function(_over(np.min), _extreme_backward, _reduced, _along),
    "matmul": Function(_matmul, _matmul_backward, _product, _of_product),
    "expand_dims": Function(
        np.expand_dims, lambda dy, y, x, axis: dy.reshape(x.shape),
        lambda shape, axis: _expanded(shape, axis),
        lambda ndim, axis: axes_of(axis, ndim + 1),
    ),
    "squeeze": Function(
        lambda x, axis: x.reshape(_squeezed(x.shape, axis)),
        lambda dy, y, x, axis: dy.reshape(x.shape), _squeezed, _along,
    ),
    "reshape": Function(
        lambda x, newshape: x.reshape(_reshaped(x.shape, (-1, *newshape[1:]))),
        lambda dy, y, x, newshape: dy.reshape(x.shape), _reshaped, _rows,
    ),
    "transpose": Function(
        np.transpose, lambda dy, y, x, axes=None: np.transpose(dy, np.argsort(_order(x, axes))),
        _transposed, _rows,
    ),
    "concatenate": Function(
        lambda *x, axis: np.concatenate(x, axis), _concatenate_backward, _concatenated, _along,
    ),
    "not_before": Function(lambda x: _not_before(x), None),
    "get_item": Function(
        lambda x, key: x[_plain_key(key)], _part_backward,
        lambda shape, key: np.broadcast_to(0.0, shape)[_plain_key(key)].shape, _rows,
    ),
    "flip": Function(
        lambda x, axis: _flipped(x, axis), lambda dy, y, x, axis: _flipped(dy, axis), same, _along,
    ),
} | {
    name: _activation(name)
    for name in (
        "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu",
        "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "mish", "relu", "relu6", "selu",
        "sigmoid", "silu", "soft_shrink", "softplus", "softsign", "sparse_plus", "sparse_sigmoid",
        "squareplus", "tanh", "tanh_shrink",
    )
} | {
    name: Function(getattr(np, name), None, stretched)
    for name in (
        "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and",
        "logical_or",
    )
}  # fmt: skip


def _not_before(x):
    """1 where the last axis is at most as far on as the one before it, else 0."""
    engine = engines.current()
    return engine.asarray(np.broadcast_to(np.tri(*x.shape[-2:], dtype=x.dtype), x.shape))


def _flipped(x, axis):
    axes = axes_of(axis, x.ndim)
    return x[tuple(slice(None, None, -1 if a in axes else None) for a in range(x.ndim))]


def _expanded(shape, axis):
    [place] = axes_of(axis, len(shape) + 1)
    if place == 0 and shape[:1] == (None,):
        raise ValueError("an axis behind the batch, not axis=0")
    return (*shape[:place], 1, *shape[place:])


def _order(x, axes):
    return axes or tuple(reversed(range(x.ndim)))


# -- the layer -------------------------------------------------------------------------------------


class Operation(Layer):
    """A function of arrays as a layer.

    Parameters
    ----------
    function : str
        An entry of `FUNCTIONS`.
    options : dict, optional
        Its further arguments.
    constants : dict of int to array, optional
        What stands in the place of x, by its place among several.

    Raises
    ------
    ValueError
        If the function is not known, or the shapes do not fit it.

    Examples
    --------
    >>> Operation("mean", {"axis": 1})(np.array([[1.0, 2.0, 6.0]]))
    array([3.], dtype=float32)
    """

    def __init__(self, function, options=None, constants=None, name=None, **kwargs):
        if function not in FUNCTIONS:
            raise ValueError(f"Operation: {unknown('function', function, FUNCTIONS)}")
        super().__init__(name=name or unique_name(function), **kwargs)
        self.function = function
        self.options = dict(options or {})
        self.constants = {
            int(place): Constant(value, self.dtype) for place, value in (constants or {}).items()
        }

    # -- shapes ------------------------------------------------------------------------------

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        shapes = [*map(tuple, input_shape)] if several else [tuple(input_shape)]
        full = self._filled_in(shapes, _shape)
        try:
            found = FUNCTIONS[self.function].shape(*full, **self.options)
            self._check_rows_apart(full)
            return found
        except ValueError as error:
            raise ValueError(
                f"Layer '{self.name}' (Operation: {self.function}): expected {error}; got "
                f"{'shape' if len(full) == 1 else 'shapes'} {', '.join(map(str, full))}."
            ) from None

    def keeps_steps(self, ndim):
        given = self.input_shape if isinstance(self.input_shape, list) else [self.input_shape]
        return 1 not in self._mixed(map(len, self._filled_in(given, _shape)))

    def _check_rows_apart(self, shapes):
        """Raise where a row's result would depend on the rows beside it."""
        if 0 in self._mixed(map(len, shapes)) and any(shape[:1] == (None,) for shape in shapes):
            raise ValueError(
                "axes behind the batch: a row's result may not depend on the rows beside it"
            )

    def _mixed(self, ndims):
        """The axes along which the function mixes entries."""
        return FUNCTIONS[self.function].mixes(*ndims, **self.options)

    def _filled_in(self, inputs, made):
        """The inputs and, between them, what ``made`` makes of the constants."""
        places = range(len(self.constants) + len(inputs))
        inputs = iter(inputs)
        return [
            made(self.constants[i]) if i in self.constants else next(inputs) for i in places
        ]

    # -- the layer's work ----------------------------------------------------------------------

    def convert_input(self, x):
        if not isinstance(x, (list, tuple)):
            return super().convert_input(x)
        return [super(Operation, self).convert_input(part) for part in x]

    def forward(self, x, mask=None, training=False):
        inputs = [engines.dense(part) for part in (x if isinstance(x, list) else [x])]
        full = self._filled_in(inputs, Constant.here)
        ragged = filled(mask if isinstance(mask, list) else [mask])
        mixed = () if ragged is None else self._mixed(len(_shape(part)) for part in full)
        if min(mixed, default=2) < 2:
            check_given(self, ragged)
        y = FUNCTIONS[self.function].forward(*full, **self.options)
        # Of what may be a view that goes on in large steps, or booleans, which are 0 and 1 here.
        y = engines.current().asarray(y, self.dtype)
        return y, (full, y)

    def output_mask(self, x, mask, y):
        ragged = filled(mask if isinstance(mask, list) else [mask])
        return ragged and ragged.given.all_given() if y.ndim > 2 else None

    def backward(self, tape, dy):
        full, y = tape
        backward = FUNCTIONS[self.function].backward
        if backward is None:
            gradients = [None] * len(full)
        else:
            gradients = backward(dy, y, *full, **self.options)
            gradients = [gradients] if len(full) == 1 else [*gradients]
        asarray = engines.current().asarray
        own = [
            None if d is None else asarray(d)
            for place, d in enumerate(gradients) if place not in self.constants
        ]
        return own if len(own) > 1 else own[0]

    def get_config(self):
        return super().get_config() | {
            "function": self.function, "options": self.options,
            "constants": {str(place): c.plain() for place, c in self.constants.items()},
        }


def applied(function, *x, **options):
    """The function of arrays, of NumPy's; or, where there is a symbolic tensor, a tensor."""
    x = [operand(part) for part in x]
    tensors = [part for part in x if isinstance(part, SymbolicTensor)]
    if not tensors:
        arrays = [np.asarray(part) for part in x]
        return FUNCTIONS[function].forward(*arrays, **options)
    floats = [t.dtype for t in tensors if t.dtype in ("float32", "float64")]
    constants = {i: part for i, part in enumerate(x) if not isinstance(part, SymbolicTensor)}
    layer = Operation(function, options, constants, **({"dtype": floats[0]} if floats else {}))
    return layer(tensors if len(tensors) > 1 else tensors[0])
