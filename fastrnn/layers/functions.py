"""Layers that apply a function: one of one's own, an activation with its arguments, a scale.

They are written as a `call`: see `fastrnn.layers.composite`.  An activation without arguments is
an `Activation`, which has kernels.
"""

from __future__ import annotations

import functools

import numpy as np

from fastrnn import constraints, initializers, ops, regularizers
from fastrnn.layers.base import Layer
from fastrnn.layers.composite import Drawn

__all__ = [
    "ELU", "Lambda", "LeakyReLU", "PReLU", "ReLU", "Rescaling", "Softmax", "UnitNormalization",
]

LEAST_NORM = 1e-12  # to divide by, as in Keras


class Lambda(Drawn):
    """A function of tensors, with operators and `fastrnn.ops`.

    Parameters
    ----------
    function : callable
        Of the input, or a list of inputs.
    output_shape
        Accepted for Keras's sake: the shape follows from the function.
    mask : None
        Only None is supported: no mask passes on.
    arguments : dict, optional
        Further arguments of the function.

    Notes
    -----
    Files have no place for functions: a model that is to be saved has a class with a `call`.

    Examples
    --------
    >>> Lambda(lambda x: x[:, -1] - x[:, 0])(np.array([[1.0, 5.0, 4.0]])[..., None])
    array([[3.]], dtype=float32)
    """

    def __init__(self, function, output_shape=None, mask=None, arguments=None, **kwargs):
        super().__init__(**kwargs)
        if not callable(function):
            raise TypeError(
                f"Layer '{self.name}' (Lambda): function: expected a function; got "
                f"{function!r:.60}. Code in files is not run: make the model anew, and load its "
                "weights."
            )
        if mask is not None:
            raise ValueError(f"Layer '{self.name}' (Lambda): mask is not supported; got {mask!r}.")
        self.function = function
        self.arguments = dict(arguments or {})

    @property
    def call(self):
        return functools.partial(self.function, **self.arguments)

    def get_config(self):
        return Layer.get_config(self) | {"function": self.function, "arguments": self.arguments}


class Softmax(Layer):
    """``exp(x)`` over its sum along an axis.

    Parameters
    ----------
    axis : int, default -1

    Examples
    --------
    >>> Softmax(axis=1)(np.zeros((1, 4, 1)))[0, :, 0]
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """

    supports_masking = True

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs):
        return ops.softmax(inputs, axis=self.axis)


class ReLU(Layer):
    """y = x from ``threshold`` on, ``max_value`` at most; else ``negative_slope (x - threshold)``.

    Parameters
    ----------
    max_value : float from 0 on, optional
    negative_slope : float from 0 on, default 0
    threshold : float from 0 on, default 0

    Examples
    --------
    >>> ReLU(max_value=6.0, negative_slope=0.5)(np.array([[-4.0, 3.0, 9.0]]))
    array([[-2.,  3.,  6.]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, max_value=None, negative_slope=0.0, threshold=0.0, **kwargs):
        super().__init__(**kwargs)
        self.max_value = _from_zero(self, "max_value", max_value)
        self.negative_slope = _from_zero(self, "negative_slope", negative_slope)
        self.threshold = _from_zero(self, "threshold", threshold)

    def call(self, inputs):
        above = inputs if self.max_value is None else ops.minimum(inputs, self.max_value)
        below = self.negative_slope * (inputs - self.threshold)
        return ops.where(ops.greater_equal(inputs, self.threshold), above, below)


class LeakyReLU(Layer):
    """y = x where x > 0, else ``negative_slope x``.

    Parameters
    ----------
    negative_slope : float from 0 on, default 0.3

    Examples
    --------
    >>> LeakyReLU(0.5)(np.array([[-4.0, 3.0]]))
    array([[-2.,  3.]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, negative_slope=0.3, **kwargs):
        negative_slope = kwargs.pop("alpha", negative_slope)  # as older versions of Keras have it
        super().__init__(**kwargs)
        self.negative_slope = _from_zero(self, "negative_slope", negative_slope)

    def call(self, inputs):
        return ops.where(ops.greater(inputs, 0.0), inputs, self.negative_slope * inputs)


class ELU(Layer):
    """y = x where x > 0, else ``alpha (exp(x) - 1)``.

    Parameters
    ----------
    alpha : float, default 1

    Examples
    --------
    >>> ELU(2.0)(np.array([[-100.0, 3.0]]))
    array([[-2.,  3.]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, alpha=1.0, **kwargs):
        super().__init__(**kwargs)
        self.alpha = alpha

    def call(self, inputs):
        below = self.alpha * ops.expm1(ops.minimum(inputs, 0.0))
        return ops.where(ops.greater(inputs, 0.0), inputs, below)


class PReLU(Layer):
    """y = x where x > 0, else ``alpha x``, with an alpha for each entry that is learned.

    Parameters
    ----------
    alpha_initializer : default "zeros"
    alpha_regularizer, alpha_constraint : default None
    shared_axes : list of int, optional
        Axes, counted from the batch's 0, along which one alpha serves all.

    Examples
    --------
    >>> PReLU("ones", shared_axes=[1])(np.array([[[-4.0, 3.0]]]))
    array([[[-4.,  3.]]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, alpha_initializer="zeros", alpha_regularizer=None, alpha_constraint=None,
                 shared_axes=None, **kwargs):
        super().__init__(**kwargs)
        self.alpha_initializer = initializers.get(alpha_initializer)
        self.alpha_regularizer = regularizers.get(alpha_regularizer)
        self.alpha_constraint = constraints.get(alpha_constraint)
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes

    def build(self, input_shape):
        shape = [1 if a in (self.shared_axes or ()) else n for a, n in enumerate(input_shape)][1:]
        if None in shape:
            raise ValueError(
                f"Layer '{self.name}' (PReLU): expected known lengths of all axes but those of "
                f"shared_axes={self.shared_axes}; got inputs of shape {tuple(input_shape)}."
            )
        self.alpha = self.add_weight(
            tuple(shape), self.alpha_initializer, regularizer=self.alpha_regularizer,
            constraint=self.alpha_constraint, name="alpha",
        )

    def call(self, inputs):
        return ops.maximum(inputs, 0.0) + self.alpha * ops.minimum(inputs, 0.0)

    def get_config(self):
        return Layer.get_config(self) | {
            "alpha_initializer": initializers.serialize(self.alpha_initializer),
            "alpha_regularizer": regularizers.serialize(self.alpha_regularizer),
            "alpha_constraint": constraints.serialize(self.alpha_constraint),
            "shared_axes": self.shared_axes,
        }


class Rescaling(Layer):
    """y = ``scale x + offset``.

    Parameters
    ----------
    scale : float or array
    offset : float or array, default 0
        Arrays have a number for each feature, or a shape that fits the input.

    Examples
    --------
    >>> Rescaling(1 / 4, offset=-1)(np.array([[0.0, 4.0, 8.0]]))
    array([[-1.,  0.,  1.]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, scale, offset=0.0, **kwargs):
        super().__init__(**kwargs)
        self.scale = _plain(self, "scale", scale)
        self.offset = _plain(self, "offset", offset)

    def call(self, inputs):
        scaled = inputs * np.asarray(self.scale)
        return scaled + np.asarray(self.offset) if np.any(self.offset) else scaled


class UnitNormalization(Layer):
    """Vectors along an axis, divided by their norm; zeros stay zeros.

    Parameters
    ----------
    axis : int or tuple of int, default -1
        Several: all entries along them make one vector.  The batch's is none of them.

    Examples
    --------
    >>> UnitNormalization()(np.array([[3.0, 4.0], [0.0, 0.0]])).round(4)
    array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, axis=-1, **kwargs):
        super().__init__(**kwargs)
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis
        axes = self.axis if isinstance(self.axis, list) else [axis]
        if not axes or any(isinstance(a, bool) or not isinstance(a, int) for a in axes):
            raise TypeError(
                f"Layer '{self.name}' (UnitNormalization): axis must be a whole number, or a tuple "
                f"of them; got {axis!r}."
            )

    def call(self, inputs):
        axis = tuple(self.axis) if isinstance(self.axis, list) else self.axis
        return ops.normalize(inputs, axis=axis, epsilon=LEAST_NORM)


def _plain(layer, argument, value):
    """A number, or numbers, as configs can have them."""
    try:
        return np.asarray(value, np.float64).tolist()
    except (TypeError, ValueError):
        raise TypeError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {argument} must be a number or an "
            f"array of numbers; got {value!r:.60}."
        ) from None


def _from_zero(layer, argument, value):
    if value is not None and not value >= 0:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {argument} must be 0 or more; got "
            f"{value!r}."
        )
    return value
