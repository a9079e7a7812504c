"""Functions of arrays with what a graph must know of them: gradients, shapes, and what they mix.

`FUNCTIONS` has them by name.  All are formulas in NumPy's functions, which take an engine's arrays
as they are.

Letters: x is what goes in, y what comes out, dx and dy the gradients of the loss by them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastrnn import activations, engines

__all__ = ["FUNCTIONS", "Function", "stretched", "summed_to"]


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


def _longer(shape, repeats, axis):
    [along] = axes_of(axis, len(shape))
    return tuple(n and n * repeats if a == along else n for a, n in enumerate(shape))


def _padded(shape, pad_width, value):
    if len(pad_width) != len(shape):
        raise ValueError(f"a pair of numbers for each axis, not {pad_width}")
    return tuple(n and n + sum(pair) for n, pair in zip(shape, pad_width, strict=True))


def _taken(shape, indices, axis):
    [along] = axes_of(axis, len(shape))
    n, indices = shape[along], np.asarray(indices)
    if n is not None and not ((-n <= indices) & (indices < n)).all():
        raise ValueError(f"places that axis {axis} has")
    return (*shape[:along], *indices.shape, *shape[along + 1 :])


def _looked_up(table, ids):
    if len(table) != 2 or None in table:
        raise ValueError("a table (rows, columns) that all rows share, and places in it")
    return (*ids, table[1])


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
    table, engine = _as_table(b), engines.current()
    if engine.holds(a) and a.dtype == table.dtype and a.dtype.name in ("float32", "float64"):
        y = engine.project(engine.asarray(a), engine.asarray(table))
    else:
        y = a.reshape(-1, a.shape[-1]) @ table
    return y.reshape(*a.shape[:-1], *b.shape[1:])


def _as_table(b):
    return b if b.ndim == 2 else b[:, None]


def _matmul_backward(dy, y, a, b):
    if b.ndim > 2:
        da, db = np.matmul(dy, b.swapaxes(-1, -2)), np.matmul(a.swapaxes(-1, -2), dy)
        return summed_to(da, a.shape), summed_to(db, b.shape)
    table, engine = _as_table(b), engines.current()
    dtable = engine.zeros(table.shape, dy.dtype)
    dy = dy.reshape(*a.shape[:-1], table.shape[1])
    da = engine.project_backward(*map(engine.asarray, (a, table, dy)), dtable)
    return da, dtable.reshape(b.shape)


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


def _clip_backward(dy, x, x_min, x_max):
    dx = dy if x_min is None else dy * (x >= x_min)
    return dx if x_max is None else dx * (x <= x_max)


def _part_backward(dy, y, x, key):
    dx = engines.current().zeros(x.shape, dy.dtype)
    dx[key] = dy
    return dx


def _along_axis(x, axis, part):
    """A key that takes this part of one axis."""
    [along] = axes_of(axis, x.ndim)
    return (slice(None),) * along + (part,)


def _cumsum_backward(dy, y, x, axis):
    return _flipped(np.cumsum(_flipped(dy, axis), axis), axis)


def _repeat_backward(dy, y, x, repeats, axis):
    [along] = axes_of(axis, x.ndim)
    each = *x.shape[: along + 1], repeats, *x.shape[along + 1 :]
    return dy.reshape(each).sum(axis=along + 1)


def _inner(x, pad_width):
    """Where, in what was padded, x is."""
    pairs = zip(x.shape, pad_width, strict=True)
    return tuple(slice(before, before + n) for n, (before, _) in pairs)


def _pad(x, pad_width, value):
    y = engines.current().zeros(_padded(x.shape, pad_width, value), x.dtype)
    if value:
        y[...] = value
    y[_inner(x, pad_width)] = x
    return y


def _take_backward(dy, y, x, indices, axis):
    dx = engines.current().zeros(x.shape, dy.dtype)
    np.add.at(dx, _along_axis(x, axis, np.asarray(indices)), dy)
    return dx


def _lookup(table, ids):
    return engines.current().lookup(_as_ids(ids), table)


def _lookup_backward(dy, y, table, ids):
    engine = engines.current()
    dtable = engine.zeros(table.shape, dy.dtype)
    engine.lookup_backward(_as_ids(ids), engine.asarray(dy), dtable)
    return dtable, None


def _as_ids(ids):
    return engines.current().asarray(ids, np.int32)


def _where_backward(dy, y, condition, a, b):
    of_a, of_b = np.where(condition != 0, dy, 0), np.where(condition != 0, 0, dy)
    return None, summed_to(of_a, _shape(a)), summed_to(of_b, _shape(b))


# -- sums of products, as Einstein wrote them ------------------------------------------------------


def _terms(equation):
    """The letters of the axes of each array, and those of what comes out.

    >>> _terms("btd, bsd -> bts")
    (['btd', 'bsd'], 'bts')
    """
    inputs, arrow, output = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    letters = "".join(terms)
    if not arrow:
        output = "".join(sorted(a for a in letters if letters.count(a) == 1))
    repeated = any(len({*term}) < len(term) for term in (*terms, output))
    if repeated or not {*output} <= {*letters} or not (letters + output).isalpha():
        raise ValueError(
            "an equation such as 'btd,bsd->bts': a letter for each axis, none twice for an array; "
            f"not {equation!r}"
        )
    return terms, output


def _einsum_shape(*shapes, equation):
    terms, output = _terms(equation)
    if [*map(len, terms)] != [*map(len, shapes)]:
        raise ValueError(f"a letter for each axis, not {equation!r}")
    sizes = {}
    for term, shape in zip(terms, shapes, strict=True):
        if shape[:1] == (None,) and output[:1] != term[0]:
            raise ValueError(f"the batch first in the output, as in the inputs, not {equation!r}")
        for letter, n in zip(term, shape, strict=True):
            if sizes.setdefault(letter, n) not in (n, None) and n is not None:
                raise ValueError(f"axes of one length where {equation!r} has one letter")
            sizes[letter] = n if sizes[letter] is None else sizes[letter]
    batches = {term[0] for term, shape in zip(terms, shapes, strict=True) if shape[:1] == (None,)}
    return tuple(None if letter in batches else sizes[letter] for letter in output)


def _einsum_mixes(*ndims, equation):
    """Those axes that are not in their place in the output, of arrays that have its batch."""
    terms, output = _terms(equation)
    own = [term for term in terms if output[:1] in term]
    return {a for term in own for a, letter in enumerate(term) if output[a : a + 1] != letter}


def _einsum(*x, equation):
    terms, output = _terms(equation)
    a, left = x[0], terms[0]
    for i, (b, right) in enumerate(zip(x[1:], terms[1:], strict=True), 2):
        a, left = _sum_of_products(a, left, b, right, {*output, *"".join(terms[i:])})
    a, left = _summed_out(a, left, output)
    return _in_order(a, left, output)


def _einsum_backward(dy, y, *x, equation):
    terms, output = _terms(equation)
    gradients = []
    for i, own in enumerate(terms):
        others = [(output, dy), *((t, a) for j, (t, a) in enumerate(zip(terms, x, strict=True))
                                  if j != i)]  # fmt: skip
        found = "".join(letter for letter in own if any(letter in term for term, _ in others))
        letters = ",".join(term for term, _ in others) + "->" + found
        d = _einsum(*(a for _, a in others), equation=letters)
        d = _with_axes(d, [a for a, letter in enumerate(own) if letter not in found])
        gradients.append(np.broadcast_to(d, x[i].shape))
    return gradients if len(x) > 1 else gradients[0]


def _sum_of_products(a, left, b, right, wanted):
    """Two arrays, of axes with these letters, as one, and its letters: a product of matrices."""
    a, left = _summed_out(a, left, {*right, *wanted})
    b, right = _summed_out(b, right, {*left, *wanted})
    both = "".join(letter for letter in left if letter in right)
    batch = "".join(letter for letter in both if letter in wanted)
    inner = "".join(letter for letter in both if letter not in wanted)
    rows = "".join(letter for letter in left if letter not in both)
    columns = "".join(letter for letter in right if letter not in both)
    a, b = _in_order(a, left, batch + rows + inner), _in_order(b, right, batch + inner + columns)
    of_batch, of_rows = a.shape[: len(batch)], a.shape[len(batch) : len(batch + rows)]
    of_columns = b.shape[len(batch + inner) :]
    matrices = [math.prod(of_batch)] if batch else []
    n, k, m = math.prod(of_rows), math.prod(a.shape[len(batch + rows) :]), math.prod(of_columns)
    multiply = np.matmul if inner else np.multiply
    product = multiply(a.reshape(*matrices, n, k), b.reshape(*matrices, k, m))
    return product.reshape((*of_batch, *of_rows, *of_columns)), batch + rows + columns


def _summed_out(a, letters, wanted):
    """The array without the axes whose letters nobody wants, and the letters of the others."""
    axes = tuple(i for i, letter in enumerate(letters) if letter not in wanted)
    left = "".join(letter for letter in letters if letter in wanted)
    return (a.sum(axis=axes) if axes else a), left


def _in_order(a, letters, wanted):
    if letters == wanted:
        return a
    return engines.current().asarray(np.transpose(a, [letters.index(letter) for letter in wanted]))


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
    "tan": Function(np.tan, lambda dy, y, x: dy * (1 + y * y)),
    "arctan": Function(np.arctan, lambda dy, y, x: dy / (1 + x * x)),
    "sinh": Function(np.sinh, lambda dy, y, x: dy * np.cosh(x)),
    "cosh": Function(np.cosh, lambda dy, y, x: dy * np.sinh(x)),
    "sign": Function(np.sign, None),
    "ceil": Function(np.ceil, None),
    "floor": Function(np.floor, None),
    "round": Function(np.round, None),
    "trunc": Function(np.trunc, None),
    "logical_not": Function(lambda x: x == 0, None),
    "stop_gradient": Function(lambda x: x, None),
    "zeros_like": Function(np.zeros_like, None),
    "ones_like": Function(np.ones_like, None),
    "clip": Function(
        lambda x, x_min, x_max: np.clip(x, x_min, x_max),
        lambda dy, y, x, x_min, x_max: _clip_backward(dy, x, x_min, x_max),
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
    "argmax": Function(_over(np.argmax), None, _reduced, _along),
    "argmin": Function(_over(np.argmin), None, _reduced, _along),
    "cumsum": Function(
        lambda x, axis: np.cumsum(x, axis), _cumsum_backward, mixes=_along,
    ),
    "einsum": Function(_einsum, _einsum_backward, _einsum_shape, _einsum_mixes),
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
    "repeat": Function(
        lambda x, repeats, axis: np.repeat(x, repeats, axis), _repeat_backward, _longer, _along,
    ),
    "pad": Function(
        _pad, lambda dy, y, x, pad_width, value: dy[_inner(x, pad_width)], _padded,
        lambda ndim, pad_width, value: [a for a, pair in enumerate(pad_width) if any(pair)],
    ),
    "take": Function(
        lambda x, indices, axis: np.take(x, indices, axis), _take_backward, _taken,
        lambda ndim, indices, axis: axes_of(axis, ndim),
    ),
    "lookup": Function(_lookup, _lookup_backward, _looked_up),
    "full": Function(
        lambda x, shape, value: _full(x, shape, value), None,
        lambda own, shape, value: (own[0], *shape), _rows,
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


def _full(x, shape, value):
    """An array of one value with as many rows as x has."""
    y = engines.current().zeros((len(x), *shape), x.dtype)
    if value:
        y[...] = value
    return y


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
