"""Parameters, and the one buffer that holds all of a model's.

All trainable parameters of a model of one float type live in one contiguous buffer, their gradients
in another of the same layout, and so do an optimizer's slots.  A layer holds named views.
Clipping, updating, averaging and saving are then one pass over one buffer each.
"""

from __future__ import annotations

import numpy as np

from fastrnn import engines
from fastrnn.operands import Operand, weights_drawn

__all__ = ["Parameter", "ParameterStore"]

# Every parameter starts on a cache line, so that no two threads write to the same one.
ALIGNMENT = 64


class Parameter(Operand):
    """A named array that training may change, with its gradient.

    Its operators, and functions of NumPy, work on a copy of the value.  In a `call` that is drawn
    they give symbolic tensors: see `fastrnn.layers.composite`.

    Attributes
    ----------
    name : str
        As in Keras: ``"kernel"``, ``"recurrent_kernel"``, ``"bias"``, ``"embeddings"``.
    value, grad : arrays of the engine, of the same shape
        ``grad`` is added into by ``backward`` and zeroed by `ParameterStore.zero_grad`.
    resting : RowGradient or None
        What `add_rows` was given, and nobody has asked for yet.
    trainable : bool
    regularizer, constraint : callable or None
    """

    def __init__(self, name, value, trainable=True, regularizer=None, constraint=None):
        self.name = name
        self.value = value
        self.grad = engines.current().zeros(value.shape, value.dtype)
        self.trainable = trainable
        self.regularizer = regularizer
        self.constraint = constraint
        self.path = name

    @property
    def grad(self):
        self.settle()
        return self._grad

    @grad.setter
    def grad(self, value):
        self._grad, self.resting, self._untouched = value, None, False

    def add_rows(self, gradient):
        """Add a `RowGradient` into that of a table.

        It rests until somebody asks for ``grad``.  Mostly nobody does: an optimizer takes the rows
        as they are, and the other rows, which are most of the table, need not be read.
        """
        if self._untouched and self.resting is None:
            self.resting = gradient
        else:
            engines.current().add_rows(gradient, self.grad)

    def settle(self):
        """Bring what rests into the array, which somebody is about to read or change."""
        if self.resting is not None:
            resting, self.resting = self.resting, None
            engines.current().add_rows(resting, self._grad)
        self._untouched = False

    def begin(self):
        """Say that the array is all zeros."""
        self.resting, self._untouched = None, True

    @property
    def shape(self):
        return self.value.shape

    @property
    def dtype(self):
        return self.value.dtype

    @property
    def size(self):
        return int(np.prod(self.shape))

    def numpy(self):
        """A copy of the value on the host."""
        return np.array(self.value)

    def move(self):
        """Bring value and gradient to where the current engine has its arrays."""
        engine = engines.current()
        if not engine.holds(self.value):
            self.value = engine.asarray(np.array(self.value))
            self.grad = engine.asarray(np.array(self.grad))

    def assign(self, value):
        """Overwrite the value in place.

        Raises
        ------
        ValueError
            If the shape differs.
        """
        value = np.asarray(value)
        if value.shape != self.shape:
            raise ValueError(
                f"weight '{self.path}': expected an array of shape {self.shape}; "
                f"got shape {value.shape}."
            )
        self.value[...] = value

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.numpy(), dtype=dtype)

    def no_operator(self, ufunc, method, *inputs, **kwargs):
        """A function of NumPy, of the values."""
        if weights_drawn() is not None:
            raise TypeError(
                f"weight '{self.path}': {ufunc.__name__} of NumPy, in a call, would take it for a "
                "constant; use functions of fastrnn.ops."
            )
        inputs = [part.numpy() if isinstance(part, Parameter) else part for part in inputs]
        return getattr(ufunc, method)(*inputs, **kwargs)

    def __repr__(self):
        return f"<Parameter {self.path} shape={self.shape} dtype={self.dtype}>"


class ParameterStore:
    """Moves parameters into one contiguous buffer, and their gradients into another.

    Parameters
    ----------
    parameters : list of Parameter
        All of one float type.  Their ``value`` and ``grad`` become views; values are kept.

    Attributes
    ----------
    value, grad : arrays of shape (n,)
        The buffers.  Gaps between parameters (they are aligned to 64 bytes) stay zero.
    parameters : list of Parameter
    slices : list of slice
        Where each parameter lies in the buffers.
    clean : bool
        Whether all gradients are known to be zero: an update leaves them so.
    """

    def __init__(self, parameters):
        self.parameters = list(parameters)
        dtypes = {np.dtype(p.dtype) for p in self.parameters}
        if len(dtypes) > 1:
            raise ValueError(
                "A model's trainable weights must have one float type; got "
                f"{sorted(map(str, dtypes))}."
            )
        dtype = dtypes.pop() if dtypes else np.dtype(np.float32)
        engine = engines.current()
        step = ALIGNMENT // dtype.itemsize
        self.slices, end = [], 0
        for p in self.parameters:
            self.slices.append(slice(end, end + p.size))
            end += -(-p.size // step) * step
        self.value = engine.zeros((end,), dtype)
        self._grad = engine.zeros((end,), dtype)
        self.clean = False
        for p, where in zip(self.parameters, self.slices, strict=True):
            self.value[where] = p.value.reshape(-1)
            self._grad[where] = p.grad.reshape(-1)
            p.value = self.value[where].reshape(p.shape)
            p.grad = self._grad[where].reshape(p.shape)

    @property
    def grad(self):
        self.settle()
        return self._grad

    def settle(self):
        """Bring all that rests into the gradients: see `Parameter.settle`."""
        for p in self.parameters:
            p.settle()

    def take_table(self):
        """The slice of a table and its resting `RowGradient`, no longer in ``grad``; or None."""
        for p, where in zip(self.parameters, self.slices, strict=True):
            if p.resting is not None:
                gradient, p.resting = p.resting, None
                return where, gradient
        return None

    def zero_grad(self):
        """Set every gradient to zero, for `backward` to add into."""
        if not self.clean:
            self._grad[...] = 0
        self.clean = False
        for p in self.parameters:
            p.begin()
