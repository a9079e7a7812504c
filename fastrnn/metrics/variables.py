"""What a metric of one's own sums up in, with the methods that Keras's variables have."""

from __future__ import annotations

import numpy as np

__all__ = ["MetricVariable"]


class MetricVariable(np.lib.mixins.NDArrayOperatorsMixin):
    """A number or an array that can be assigned to: see `Metric.add_variable`.

    Operators and functions of NumPy take it as the array it holds, and give arrays; ``+=`` and its
    like assign.

    Parameters
    ----------
    value : array
        Copied; its shape and type stay.
    name : str

    Examples
    --------
    >>> total = MetricVariable(np.zeros((), np.float32), "total")
    >>> total.assign_add(3)
    >>> float(total), total / 2
    (3.0, np.float32(1.5))
    """

    def __init__(self, value, name):
        self.name = name
        self._value = np.array(value)

    @property
    def path(self):
        return self.name

    @property
    def value(self):
        return self.numpy()

    @property
    def shape(self):
        return self._value.shape

    @property
    def ndim(self):
        return self._value.ndim

    @property
    def size(self):
        return self._value.size

    @property
    def dtype(self):
        return self._value.dtype

    def numpy(self):
        """A copy of the array."""
        return self._value.copy()

    def assign(self, value):
        """Set all of it.

        Raises
        ------
        ValueError
            For an array of another shape.
        """
        value = np.asarray(value)
        if value.shape != self.shape:
            raise ValueError(
                f"variable '{self.name}' of a metric: expected an array of shape {self.shape}; got "
                f"shape {value.shape}. Give add_variable the shape that is assigned."
            )
        self._value[...] = value

    def assign_add(self, value):
        """Add to it; see `assign`."""
        self.assign(self._value + value)

    def assign_sub(self, value):
        """Subtract from it; see `assign`."""
        self.assign(self._value - value)

    def __array__(self, dtype=None, copy=None):
        return np.array(self._value, dtype=dtype)

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        inputs = [part._value if isinstance(part, MetricVariable) else part for part in inputs]
        result = getattr(ufunc, method)(*inputs, **kwargs)
        if out is None:
            return result
        out[0][...] = result
        return out[0]

    def __getitem__(self, key):
        return self._value[key].copy()

    def __setitem__(self, key, value):
        self._value[key] = value

    def __len__(self):
        return len(self._value)

    def __float__(self):
        return float(self._value)

    def __int__(self):
        return int(self._value)

    def __bool__(self):
        return bool(self._value)

    def __repr__(self):
        return f"<MetricVariable {self.name} shape={self.shape} dtype={self.dtype}>"
