"""Layers that only arrange their input anew: RepeatVector, Flatten, Reshape and Permute; and those
that add steps or take some away: ZeroPadding1D, Cropping1D and UpSampling1D.

As in Keras, none of them passes a mask on: the steps that it speaks of are gone. Sequences of
different lengths cannot be arranged anew: what they are filled up with would be data.
"""

from __future__ import annotations

import math
import operator

import numpy as np

from fastrnn import engines
from fastrnn.checks import whole
from fastrnn.differentiable import FUNCTIONS
from fastrnn.layers.base import Layer
from fastrnn.layers.core import check_given, positive
from fastrnn.layers.pooling import check_data_format

__all__ = [
    "Cropping1D", "Flatten", "Permute", "RepeatVector", "Reshape", "UpSampling1D", "ZeroPadding1D",
]


class RepeatVector(Layer):
    """The same vector at n steps: (B, D) -> (B, n, D).

    What stands between an encoder and a decoder that shall see the code at every step.

    Parameters
    ----------
    n : int

    Examples
    --------
    >>> RepeatVector(3)(np.ones((2, 4))).shape
    (2, 3, 4)
    """

    def __init__(self, n, **kwargs):
        super().__init__(**kwargs)
        self.n = positive(self, "n", n)

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        if len(input_shape) != 2:
            raise ValueError(
                f"Layer '{self.name}' (RepeatVector): expected inputs of shape (batch, features), "
                f"2 axes; got shape {tuple(input_shape)}."
            )
        return input_shape[0], self.n, input_shape[1]

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        self.check_rank(x.shape, 2, "(batch, features)")
        return np.repeat(x[:, None], self.n, axis=1), None

    def backward(self, tape, dy):
        return dy.sum(axis=1)

    def get_config(self):
        return super().get_config() | {"n": self.n}


class Flatten(Layer):
    """All entries of a row in one axis: (B, T, D) -> (B, T * D); (B,) -> (B, 1).

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, default "channels_last"
        With "channels_first" the first axis of a row is read as if it were its last.

    Examples
    --------
    >>> Flatten()(np.ones((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.data_format = check_data_format(self, data_format)

    def compute_output_shape(self, input_shape):
        entries = input_shape[1:]
        return input_shape[0], None if None in entries else math.prod(entries)

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        check_given(self, mask)
        if self.data_format == "channels_first" and x.ndim > 2:
            x = np.moveaxis(x, 1, -1)
        return x.reshape(len(x), math.prod(x.shape[1:])), x.shape

    def backward(self, tape, dy):
        dx = dy.reshape(tape)
        if self.data_format == "channels_first" and dx.ndim > 2:
            dx = engines.current().asarray(np.moveaxis(dx, -1, 1))
        return dx

    def get_config(self):
        return super().get_config() | {"data_format": self.data_format}


class Reshape(Layer):
    """The entries of each row in another shape: (B, ...) -> (B, *target_shape).

    Parameters
    ----------
    target_shape : tuple of int
        Without the batch; one entry may be -1, which is what the others leave.

    Raises
    ------
    ValueError
        If the number of entries would change.

    Examples
    --------
    >>> Reshape((-1, 2))(np.ones((3, 8))).shape
    (3, 4, 2)
    """

    def __init__(self, target_shape, **kwargs):
        super().__init__(**kwargs)
        self.target_shape = tuple(operator.index(n) for n in target_shape)
        if self.target_shape.count(-1) > 1 or any(n < -1 for n in self.target_shape):
            raise ValueError(
                f"Layer '{self.name}' (Reshape): target_shape: expected whole numbers from 0 on "
                f"and at most one -1; got {self.target_shape}."
            )

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        batch, *entries = input_shape
        target = self.target_shape
        known = math.prod(n for n in target if n != -1)
        if None in entries:
            return batch, *(None if n == -1 else n for n in target)
        size = math.prod(entries)
        rest = size // known if -1 in target and known else 1
        if known * rest != size:
            raise ValueError(
                f"Layer '{self.name}' (Reshape): the {size} entries of inputs of shape "
                f"{tuple(input_shape)} do not fit into target_shape={target}."
            )
        return batch, *(rest if n == -1 else n for n in target)

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        check_given(self, mask)
        return x.reshape(self.compute_output_shape(x.shape)), x.shape

    def backward(self, tape, dy):
        return dy.reshape(tape)

    def get_config(self):
        return super().get_config() | {"target_shape": list(self.target_shape)}


class Permute(Layer):
    """The axes of each row in another order.

    Parameters
    ----------
    dims : tuple of int
        The axes in their new order; the batch, 0, is not among them.

    Raises
    ------
    ValueError
        If they are not the numbers from 1 on, each once.

    Examples
    --------
    >>> Permute((2, 1))(np.ones((5, 3, 4))).shape
    (5, 4, 3)
    """

    def __init__(self, dims, **kwargs):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ValueError(
                f"Layer '{self.name}' (Permute): dims: expected the axes from 1 on, each once, "
                f"such as (2, 1); got {self.dims}."
            )

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        if len(input_shape) != len(self.dims) + 1:
            raise ValueError(
                f"Layer '{self.name}' (Permute): expected inputs of {len(self.dims) + 1} axes for "
                f"dims={self.dims}; got shape {tuple(input_shape)}."
            )
        return input_shape[0], *(input_shape[axis] for axis in self.dims)

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        check_given(self, mask)
        self.compute_output_shape(x.shape)
        return engines.current().asarray(x.transpose(0, *self.dims)), None

    def backward(self, tape, dy):
        return engines.current().asarray(dy.transpose(np.argsort((0, *self.dims))))

    def get_config(self):
        return super().get_config() | {"dims": list(self.dims)}


class OtherSteps(Layer):
    """What layers share that have other steps than their input: (B, T, D) -> (B, n, D).

    Each applies a function of `fastrnn.differentiable.FUNCTIONS`.
    """

    function = None
    axis = 1  # that of the steps

    def options(self, shape):
        """The further arguments of the function, for an input of that shape."""
        raise NotImplementedError

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        self.check_rank(input_shape, 3, "(batch, steps, features)")
        shape = list(input_shape)
        if shape[self.axis] is not None:
            shape[self.axis] = self.steps_of(shape[self.axis], shape)
        return tuple(shape)

    def steps_of(self, steps, shape):
        """The number of steps that so many of an input become."""
        raise NotImplementedError

    def keeps_steps(self, ndim):
        return False

    def forward(self, x, mask=None, training=False):
        check_given(self, mask)
        x = engines.dense(x)
        self.compute_output_shape(x.shape)
        y = FUNCTIONS[self.function].forward(x, **self.options(x.shape))
        return engines.current().asarray(y), (x, y)

    def backward(self, tape, dy):
        x, y = tape
        dx = FUNCTIONS[self.function].backward(dy, y, x, **self.options(x.shape))
        return engines.current().asarray(dx)

    def pair(self, argument, value):
        """A whole number, or two, as what belongs to the beginning and the end."""
        numbers = [value] * 2 if whole(value, least=0) else value
        if (not isinstance(numbers, (list, tuple)) or len(numbers) != 2
                or not all(whole(n, least=0) for n in numbers)):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): {argument} must be a whole number "
                f"from 0 on, or two; got {value!r}."
            )
        return tuple(map(int, numbers))


class ZeroPadding1D(OtherSteps):
    """Steps of zeros before the first step and behind the last.

    Parameters
    ----------
    padding : int or (int, int), default 1
        How many at both ends, or at each.
    data_format : {"channels_last", "channels_first"}, default "channels_last"
        With "channels_first" the steps are the last axis: (B, D, T).

    Examples
    --------
    >>> ZeroPadding1D((0, 1))(np.ones((1, 2, 1)))[0, :, 0]
    array([1., 1., 0.], dtype=float32)
    """

    function = "pad"

    def __init__(self, padding=1, data_format=None, **kwargs):
        super().__init__(**kwargs)
        self.padding = self.pair("padding", padding)
        self.data_format = check_data_format(self, data_format)
        self.axis = 1 if self.data_format == "channels_last" else 2

    def steps_of(self, steps, shape):
        return steps + sum(self.padding)

    def options(self, shape):
        pairs = [(0, 0)] * 3
        pairs[self.axis] = self.padding
        return {"pad_width": pairs, "value": 0.0}

    def get_config(self):
        return super().get_config() | {
            "padding": list(self.padding), "data_format": self.data_format,
        }


class Cropping1D(OtherSteps):
    """Without the first and the last steps.

    Parameters
    ----------
    cropping : int or (int, int), default (1, 1)
        How many less at both ends, or at each.

    Raises
    ------
    ValueError
        If no step would be left.

    Examples
    --------
    >>> Cropping1D((2, 1))(np.arange(5.0).reshape(1, 5, 1))[0, :, 0]
    array([2., 3.], dtype=float32)
    """

    function = "get_item"

    def __init__(self, cropping=(1, 1), **kwargs):
        super().__init__(**kwargs)
        self.cropping = self.pair("cropping", cropping)

    def steps_of(self, steps, shape):
        if steps <= sum(self.cropping):
            raise ValueError(
                f"Layer '{self.name}' (Cropping1D): cropping={self.cropping} leaves no step of "
                f"inputs of shape {tuple(shape)}."
            )
        return steps - sum(self.cropping)

    def options(self, shape):
        first, last = self.cropping
        return {"key": (slice(None), slice(first, shape[1] - last))}

    def get_config(self):
        return super().get_config() | {"cropping": list(self.cropping)}


class UpSampling1D(OtherSteps):
    """Each step several times.

    Parameters
    ----------
    size : int, default 2

    Examples
    --------
    >>> UpSampling1D(2)(np.array([[[1.0], [2.0]]]))[0, :, 0]
    array([1., 1., 2., 2.], dtype=float32)
    """

    function = "repeat"

    def __init__(self, size=2, **kwargs):
        super().__init__(**kwargs)
        self.size = positive(self, "size", size)

    def steps_of(self, steps, shape):
        return steps * self.size

    def options(self, shape):
        return {"repeats": self.size, "axis": 1}

    def get_config(self):
        return super().get_config() | {"size": self.size}
