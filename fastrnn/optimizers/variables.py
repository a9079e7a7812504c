"""What an optimizer shows of its state, with the methods that Keras's variables have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["LearningRate", "OptimizerVariable"]


class LearningRate(float):
    """The learning rate of an optimizer: a float that can be assigned to.

    Examples
    --------
    >>> from fastrnn.optimizers import SGD
    >>> optimizer = SGD(0.5)
    >>> optimizer.learning_rate.assign(0.25)
    >>> optimizer.learning_rate, optimizer.learning_rate.numpy()
    (0.25, np.float32(0.25))
    """

    def __new__(cls, value, optimizer=None):
        rate = super().__new__(cls, value)
        rate._optimizer = optimizer
        return rate

    def assign(self, value):
        """Set the optimizer's learning rate; this number stays what it is."""
        self._optimizer.learning_rate = value

    def numpy(self):
        """The rate as a number of NumPy."""
        return np.float32(self)


class OptimizerVariable(NamedTuple):
    """A part of an optimizer's state: a copy, which `Optimizer.load_state` changes alone.

    Attributes
    ----------
    path : str
        ``"iteration"``, ``"learning_rate"``, or the slot and the number of the weight.
    value : array
    """

    path: str
    value: np.ndarray

    @property
    def name(self):
        return self.path

    @property
    def shape(self):
        return self.value.shape

    @property
    def dtype(self):
        return self.value.dtype

    def numpy(self):
        """The array."""
        return self.value

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype=dtype, copy=copy)
