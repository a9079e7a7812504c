"""What Python's operators stand for between symbolic tensors and weights.

Below the layers there are no operators to be had: `fastrnn.layers.operators` brings them.
"""

from __future__ import annotations

import contextlib
import contextvars

import numpy as np

__all__ = ["OPERATORS", "Operand", "drawing", "drawn_inputs", "drawn_owner", "weights_drawn"]

_weights = contextvars.ContextVar("weights", default=None)
_owner = contextvars.ContextVar("owner", default=None)
_inputs = contextvars.ContextVar("inputs", default=())


@contextlib.contextmanager
def drawing(owner=None, inputs=()):
    """Inside, a graph is drawn, of the `call` of ``owner``: weights stand for symbolic tensors.

    ``inputs`` are the symbolic tensors that it begins from.
    """
    before = [(var, var.set(value)) for var, value in (
        (_weights, {}), (_owner, owner), (_inputs, inputs),
    )]  # fmt: skip
    try:
        yield
    finally:
        for var, token in before:
            var.reset(token)


def drawn_owner():
    """The layer whose `call` is drawn, if it is one's."""
    return _owner.get()


def drawn_inputs():
    """The symbolic tensors from which the graph begins that is drawn."""
    return _inputs.get()


def weights_drawn():
    """The symbolic tensors of the weights that the graph has so far; None if none is drawn."""
    return _weights.get()


# By name: functions of one or two operands.
OPERATORS = {}
_UFUNCS = {
    np.add: "add", np.subtract: "subtract", np.multiply: "multiply", np.divide: "divide",
    np.power: "power", np.negative: "negative", np.matmul: "matmul",
}


class Operand:
    """A symbolic tensor, or a weight in a `call` that is drawn: it has Python's operators."""

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """Operators with an array of NumPy on the left come here."""
        if ufunc in _UFUNCS and method == "__call__" and not kwargs:
            return OPERATORS[_UFUNCS[ufunc]](*inputs)
        return self.no_operator(ufunc, method, *inputs, **kwargs)

    __iter__ = None  # else Python would ask for x[0], x[1], ...

    def __getitem__(self, key):
        return OPERATORS["get_item"](self, key)

    def __abs__(self):
        return OPERATORS["function"]("absolute", self)

    # Of two operands == and != say whether they are one and the same.

    __hash__ = object.__hash__

    def __eq__(self, other):
        if other is None or isinstance(other, (Operand, str)) or not hasattr(other, "__abs__"):
            return self is other
        return OPERATORS["function"]("equal", self, other)

    def __ne__(self, other):
        if other is None or isinstance(other, (Operand, str)) or not hasattr(other, "__abs__"):
            return self is not other
        return OPERATORS["function"]("not_equal", self, other)

    def __lt__(self, other):
        return OPERATORS["function"]("less", self, other)

    def __le__(self, other):
        return OPERATORS["function"]("less_equal", self, other)

    def __gt__(self, other):
        return OPERATORS["function"]("greater", self, other)

    def __ge__(self, other):
        return OPERATORS["function"]("greater_equal", self, other)

    def __neg__(self):
        return OPERATORS["negative"](self)

    def __add__(self, other):
        return OPERATORS["add"](self, other)

    def __radd__(self, other):
        return OPERATORS["add"](other, self)

    def __sub__(self, other):
        return OPERATORS["subtract"](self, other)

    def __rsub__(self, other):
        return OPERATORS["subtract"](other, self)

    def __mul__(self, other):
        return OPERATORS["multiply"](self, other)

    def __rmul__(self, other):
        return OPERATORS["multiply"](other, self)

    def __truediv__(self, other):
        return OPERATORS["divide"](self, other)

    def __rtruediv__(self, other):
        return OPERATORS["divide"](other, self)

    def __pow__(self, exponent):
        return OPERATORS["power"](self, exponent)

    def __rpow__(self, base):
        return OPERATORS["power"](base, self)

    def __matmul__(self, other):
        return OPERATORS["matmul"](self, other)

    def __rmatmul__(self, other):
        return OPERATORS["matmul"](other, self)
