"""What Python's operators make of symbolic tensors: ``x[:, -1]``, ``2 * a + b``.

Each use is a small layer in the graph, which is saved and loaded like any other.  As in Keras,
operators pass no mask on; the layers `Add`, `Subtract` and `Multiply` do.  What sequences of
different lengths are filled up with stays filling.

Letters: B rows in a batch, T steps, D features.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastrnn import engines
from fastrnn.checks import numbers
from fastrnn.config import floatx
from fastrnn.differentiable import stretched, summed_to
from fastrnn.graph import SymbolicTensor
from fastrnn.layers.base import Layer
from fastrnn.layers.core import check_given
from fastrnn.layers.merging import filled
from fastrnn.layers.operations import Constant, applied, as_arrays, operand
from fastrnn.masks import StepMask
from fastrnn.names import unique_name, unknown
from fastrnn.operands import OPERATORS

__all__ = ["Arithmetic", "GetItem"]


# -- square brackets -------------------------------------------------------------------------------


class GetItem(Layer):
    """``x[key]``: some entries of each row, as NumPy has it.

    Parameters
    ----------
    key : int, slice, None, Ellipsis, or a tuple of them
        The first is for the batch, of which all is taken.

    Notes
    -----
    Of sequences of different lengths each is taken by itself: ``x[:, -1]`` is its last step.

    Raises
    ------
    ValueError
        If the key does not take the whole batch, or asks for entries that are not there.

    Examples
    --------
    >>> GetItem((slice(None), -1))(np.arange(12.0).reshape(1, 4, 3))
    array([[ 9., 10., 11.]], dtype=float32)
    """

    def __init__(self, key, **kwargs):
        super().__init__(**kwargs)
        self.key = key if isinstance(key, tuple) else (key,)
        for k in self.key:
            is_number = isinstance(k, (int, np.integer)) and not isinstance(k, bool)
            if not (k is None or k is Ellipsis or is_number or isinstance(k, slice)):
                raise self._misfit(f"whole numbers, slices, None and ..., not {k!r:.60}")
        if sum(k is Ellipsis for k in self.key) > 1:
            raise self._misfit("one ... at most")

    def _misfit(self, expected):
        return ValueError(
            f"Layer '{self.name}' (GetItem): [{_shown(self.key)}]: expected {expected}."
        )

    # -- shapes ------------------------------------------------------------------------------

    def _keys(self, ndim):
        """The key with an entry for each of the input's axes, and None for each new one."""
        taking = sum(k is not None and k is not Ellipsis for k in self.key)
        if taking > ndim:
            raise self._misfit(f"at most {ndim} entries, for an input of {ndim} axes")
        place = self.key.index(Ellipsis) if Ellipsis in self.key else len(self.key)
        rest = [slice(None)] * (ndim - taking)
        keys = (*self.key[:place], *rest, *self.key[place + 1 :])
        if not _takes_all(keys[0]):
            raise self._misfit("all of the batch, the first axis, as in x[:, -1] or x[..., 0]")
        return keys

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        shape, sizes = [], iter(input_shape)
        for k in self._keys(len(input_shape)):
            n = None if k is None else next(sizes)
            # Steps that are less than zero stand for any number of them.
            known = n is not None and n >= 0
            if k is None:
                shape.append(1)
            elif isinstance(k, slice):
                shape.append(n if _takes_all(k) else len(range(n)[k]) if known else None)
            elif known and not -n <= k < n:
                raise self._misfit(f"places that inputs of shape {tuple(input_shape)} have")
        if 0 in shape[1:]:
            raise self._misfit(f"something to be left of inputs of shape {tuple(input_shape)}")
        return tuple(shape)

    def keeps_steps(self, ndim):
        keys = self._keys(ndim)
        return len(keys) > 1 and _takes_all(keys[1])

    # -- the layer's work ----------------------------------------------------------------------

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        keys = self._keys(x.ndim)
        if mask is not None and mask.given is not None and not self.keeps_steps(x.ndim):
            if keys[1] is None:
                check_given(self, mask)
            return self._forward_ragged(x, keys, mask.given)
        shape = self.compute_output_shape(x.shape)
        plain = tuple(k for k in keys if k is not None)
        return engines.current().asarray(x[plain]).reshape(shape), (x.shape, plain, None)

    def _forward_ragged(self, x, keys, given):
        """Take steps of each row by itself, and from those what the rest of the key says."""
        engine = engines.current()
        places, counts = self._places(given, keys[1])
        rest = (slice(None),) * places.ndim + keys[2:]
        x = engine.to_host(x)
        taken = np.zeros((*places.shape, *x.shape[2:]), x.dtype)
        where = np.nonzero(counts)
        source = where[0], places[where]
        taken[where] = x[source]
        y = engine.asarray(np.ascontiguousarray(taken[rest]))
        return y, (x.shape, rest, (where, source, taken.shape))

    def _places(self, given, key):
        """Which steps of each row are taken, (B,) or (B, T), and which of these there are."""
        if given.has_holes:
            raise ValueError(
                f"Layer '{self.name}' (GetItem): [{_shown(self.key)}]: cannot take steps of "
                "sequences of different lengths that were concatenated step by step. Pad them all "
                "to one length (preprocessing.sequence.pad_sequences)."
            )
        start, stop = np.asarray(given.start), np.asarray(given.stop)
        if not isinstance(key, slice):
            places = start + key if key >= 0 else stop + key
            outside = (places < start) | (places >= stop)
            if outside.any():
                raise ValueError(
                    f"Layer '{self.name}' (GetItem): [{_shown(self.key)}]: a sequence of "
                    f"{(stop - start)[outside][0]} steps has no such step."
                )
            return places, np.ones(len(places), bool)
        taken = [np.arange(a, b)[key] for a, b in zip(start, stop, strict=True)]
        counts = np.asarray(_ragged([len(row) for row in taken]))
        places = np.zeros(counts.shape, np.int64)
        places[counts] = np.concatenate(taken)
        return places, counts

    def output_mask(self, x, mask, y):
        given = getattr(mask, "given", None)
        if given is None:
            return None
        if self.keeps_steps(x.ndim):
            return given.all_given()
        _, counts = self._places(given, self._keys(x.ndim)[1])
        return _ragged(counts.sum(axis=1)) if counts.ndim > 1 else None

    def backward(self, tape, dy):
        engine = engines.current()
        shape, key, ragged = tape
        if ragged is None:
            dx = engine.zeros(shape, dy.dtype)
            dx[key] = dy.reshape([len(range(n)[k]) for n, k in zip(shape, key, strict=True)
                                  if isinstance(k, slice)])  # fmt: skip
            return dx
        where, source, taken = ragged
        dx, dtaken = np.zeros(shape, dy.dtype), np.zeros(taken, dy.dtype)
        dtaken[key] = engine.to_host(dy)
        dx[source] = dtaken[where]
        return engine.asarray(dx)

    # -- configuration -------------------------------------------------------------------------

    def get_config(self):
        return super().get_config() | {"key": [_plain(k) for k in self.key]}

    @classmethod
    def from_config(cls, config):
        key = tuple(
            slice(*k) if isinstance(k, list) else Ellipsis if k == "..." else k
            for k in config["key"]
        )
        return cls(**config | {"key": key})


def _takes_all(k):
    """Whether an entry of a key takes a whole axis."""
    return isinstance(k, slice) and k.start in (None, 0) and k.stop is None and k.step in (None, 1)


def _plain(k):
    """An entry of a key, fit for JSON."""
    if isinstance(k, slice):
        return [None if n is None else operator.index(n) for n in (k.start, k.stop, k.step)]
    return "..." if k is Ellipsis else k if k is None else int(k)


def _shown(key):
    """A key as it stands between the brackets."""
    def text(k):
        if not isinstance(k, slice):
            return "..." if k is Ellipsis else str(k)
        parts = ["" if n is None else str(n) for n in (k.start, k.stop, k.step)]
        return ":".join(parts[: 2 if k.step is None else 3])

    return ", ".join(map(text, key))


def _ragged(lengths):
    """The mask of rows that have so many steps, in an array of as many as the longest has."""
    return StepMask.from_ragged(lengths, max(1, *lengths))


# -- arithmetic ------------------------------------------------------------------------------------


class Binary(NamedTuple):
    """y = f(a, b); ``d_left`` and ``d_right`` give the gradients of a and b from (a, b, dy)."""

    name: str  # as Keras numbers its layers
    forward: Callable
    d_left: Callable
    d_right: Callable


def _power_left(a, b, dy):
    """dy b a^(b - 1): 0 where b is 0, whatever a is."""
    zero = np.asarray(b) == 0
    if not zero.any():
        return dy * b * a ** (b - 1)
    return dy * np.where(zero, 0, b * a ** np.where(zero, 0, np.asarray(b) - 1)).astype(dy.dtype)


def _power_right(a, b, dy):
    """dy a^b log a: 0 where a is not positive."""
    return dy * a**b * np.log(np.where(a > 0, a, 1)).astype(dy.dtype)


_OPERATIONS = {
    "add": Binary("add", operator.add, lambda a, b, dy: dy, lambda a, b, dy: dy),
    "subtract": Binary(
        "subtract", operator.sub, lambda a, b, dy: dy, lambda a, b, dy: -dy
    ),
    "multiply": Binary(
        "multiply", operator.mul, lambda a, b, dy: dy * b, lambda a, b, dy: dy * a
    ),
    "divide": Binary(
        "true_divide", operator.truediv, lambda a, b, dy: dy / b,
        lambda a, b, dy: -dy * a / (b * b),
    ),
    "power": Binary("power", operator.pow, _power_left, _power_right),
}  # fmt: skip


class Arithmetic(Layer):
    """Two tensors, or a tensor and numbers, entry by entry: a + b, a - b, a * b, a / b or a ** b.

    Axes of length 1 are stretched, as NumPy does it; the batch is not.

    Parameters
    ----------
    operation : {"add", "subtract", "multiply", "divide", "power"}
    left, right : number or array, optional
        Stands in the place of a or b; without either the layer takes a list of two inputs.

    Raises
    ------
    ValueError
        If the shapes do not fit.

    Examples
    --------
    >>> Arithmetic("subtract", left=1.0)(np.array([[0.25, 2.0]]))
    array([[ 0.75, -1.  ]], dtype=float32)
    """

    def __init__(self, operation, left=None, right=None, name=None, **kwargs):
        if operation not in _OPERATIONS:
            raise ValueError(f"Arithmetic: {unknown('operation', operation, _OPERATIONS)}")
        super().__init__(name=name or unique_name(_OPERATIONS[operation].name), **kwargs)
        self.operation = operation
        self.left, self.right = self._constant("left", left), self._constant("right", right)
        if left is not None and right is not None:
            raise ValueError(
                f"Layer '{self.name}' (Arithmetic): expected left or right, or none of them; got "
                f"left={left!r}, right={right!r}."
            )

    def _constant(self, argument, value):
        if value is None:
            return None
        array = numbers(f"Layer '{self.name}' (Arithmetic): {argument}", value)
        return Constant(array, self.dtype)

    @property
    def constant(self):
        """The `Constant` that stands in the place of an input, or None."""
        return self.right if self.left is None else self.left

    # -- shapes ------------------------------------------------------------------------------

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        several = bool(input_shape) and isinstance(input_shape[0], (list, tuple))
        shapes = [tuple(s) for s in input_shape] if several else [tuple(input_shape)]
        if len(shapes) != (2 if self.constant is None else 1):
            raise self._misfit("a list of two inputs" if self.constant is None else "one input",
                               shapes)  # fmt: skip
        if self.constant is not None:
            own = self.constant.shape
            of_rows, fewer = shapes[0][:1] == (None,), len(shapes[0]) - len(own)  # or a weight's
            if of_rows and (fewer < 0 or fewer == 0 and own[0] != 1):
                raise self._misfit(f"an input with more axes than the constant's {own}", shapes)
            shapes.append((1,) * (len(shapes[0]) - len(own)) + tuple(own))
        shapes = [self._with_all_axes(shape, shapes) for shape in shapes]
        try:
            return stretched(*shapes)
        except ValueError:
            raise self._misfit("shapes that are equal, or 1", shapes) from None

    def _with_all_axes(self, shape, shapes):
        """A weight's shape with axes of length 1 before it, as many as the other's."""
        missing = max(map(len, shapes)) - len(shape)
        if missing and shape[:1] == (None,):
            raise self._misfit("inputs of equally many axes, such as x and v[:, None]", shapes)
        return (1,) * missing + shape

    def _misfit(self, expected, shapes):
        return ValueError(
            f"Layer '{self.name}' (Arithmetic: {self.operation}): expected {expected}; got shapes "
            f"{', '.join(map(str, shapes))}."
        )

    # -- the layer's work ----------------------------------------------------------------------

    def convert_input(self, x):
        if not isinstance(x, (list, tuple)):
            return super().convert_input(x)
        return [super(Arithmetic, self).convert_input(part) for part in x]

    def forward(self, x, mask=None, training=False):
        inputs = [engines.dense(part) for part in (x if isinstance(x, list) else [x])]
        self._check_ragged(inputs, mask)
        a, b = self._operands(inputs)
        try:
            y = _OPERATIONS[self.operation].forward(a, b)
        except ValueError:
            self.compute_output_shape([part.shape for part in inputs])  # says what does not fit
            raise
        return y, (a, b)

    def _operands(self, inputs):
        if self.constant is None:
            return inputs
        constant = self.constant.here()
        return [*inputs, constant] if self.left is None else [constant, *inputs]

    def _check_ragged(self, inputs, mask):
        """Raise where filling would meet what is no filling."""
        masks = mask if isinstance(mask, list) else [mask]
        ragged = filled(masks)
        if ragged is None:
            return
        constant = () if self.constant is None else self.constant.shape
        behind = max(part.ndim for part in inputs) - 1  # so many axes, the steps and those behind
        own = [part.shape for part in inputs if part.ndim < inputs[0].ndim]  # of weights
        if any(len(shape) >= behind and shape[-behind] > 1 for shape in (constant, *own)) or any(
            part.ndim > behind and part.shape[1] > 1 and not _alike(m, ragged)
            for part, m in zip(inputs, masks, strict=True)
        ):
            check_given(self, ragged)

    def output_mask(self, x, mask, y):
        ragged = filled(mask if isinstance(mask, list) else [mask])
        return ragged and ragged.given.all_given()

    def backward(self, tape, dy):
        a, b = tape
        operation = _OPERATIONS[self.operation]
        gradients = [
            summed_to(derivative(a, b, dy), part.shape)
            for part, own, derivative in (
                (a, self.left, operation.d_left), (b, self.right, operation.d_right),
            )
            if own is None
        ]
        return gradients if self.constant is None else gradients[0]

    def get_config(self):
        sides = {"left": self.left, "right": self.right}
        return super().get_config() | {"operation": self.operation} | {
            side: None if c is None else c.plain() for side, c in sides.items()
        }


def _alike(mask, other):
    """Whether two masks know of the same filling."""
    if mask is None or mask.given is None:
        return False
    return mask.given is other.given or np.array_equal(
        np.asarray(mask.given), np.asarray(other.given)
    )


# -- what symbolic tensors do ----------------------------------------------------------------------


def _float_type(tensor):
    return tensor.dtype if tensor.dtype in ("float32", "float64") else floatx()


def _get_item(x, key):
    x = operand(x)
    if not isinstance(x, SymbolicTensor):
        return np.asarray(x)[key]
    if x.shape and x.shape[0] is not None:  # of weights, which have no batch
        return applied("get_item", x, key=key)
    return GetItem(key, dtype=_float_type(x))(x)


def _negative(x):
    x = operand(x)
    if not isinstance(x, SymbolicTensor):
        return -np.asarray(x)
    return Arithmetic("multiply", right=-1, name=unique_name("negative"), dtype=_float_type(x))(x)


def _arithmetic(operation):
    """The function that applies an `Arithmetic` to two things, one of them symbolic at least."""
    def apply(a, b):
        a, b = operand(a), operand(b)
        symbolic = [isinstance(part, SymbolicTensor) for part in (a, b)]
        if not any(symbolic):
            return _OPERATIONS[operation].forward(*as_arrays([a, b]))
        dtype = _float_type(a if symbolic[0] else b)
        if all(symbolic):
            return Arithmetic(operation, dtype=dtype)([a, b])
        constant = b if symbolic[0] else a
        if constant is None or np.asarray(constant).dtype.kind not in "biuf":
            return NotImplemented
        if symbolic[0]:
            return Arithmetic(operation, right=constant, dtype=dtype)(a)
        return Arithmetic(operation, left=constant, dtype=dtype)(b)

    return apply


OPERATORS.update({name: _arithmetic(name) for name in _OPERATIONS})
OPERATORS.update(
    function=applied, get_item=_get_item, negative=_negative,
    matmul=lambda a, b: applied("matmul", a, b),
)
