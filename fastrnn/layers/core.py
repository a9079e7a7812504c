"""Embedding, Dense, Activation, Dropout and Masking.

Letters: B rows in a batch, T steps, D input width, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from fastrnn import activations, constraints, engines, initializers, random, regularizers
from fastrnn.layers.base import Layer
from fastrnn.masks import StepMask
from fastrnn.values import Lookup, RowGradient

__all__ = ["Activation", "Dense", "Dropout", "Embedding", "Masking"]


class Embedding(Layer):
    """Turns token ids into rows of a trained table: (B, T) -> (B, T, output_dim).

    Parameters
    ----------
    input_dim : int
        V, the number of rows; ids are from 0 to V - 1.
    output_dim : int
        Width of a row.
    embeddings_initializer : default "uniform"
        U(-0.05, 0.05).
    embeddings_regularizer, embeddings_constraint : default None
    mask_zero : bool, default False
        Id 0 is padding: the layers that follow pass over such steps.
    weights : array of shape (input_dim, output_dim), optional
        Initial table.

    Raises
    ------
    IndexError
        If an id is negative or not below ``input_dim``.

    Examples
    --------
    >>> layer = Embedding(10, 4)
    >>> layer(np.array([[1, 2, 3]])).shape
    (1, 3, 4)
    """

    def __init__(self, input_dim, output_dim, embeddings_initializer="uniform",
                 embeddings_regularizer=None, embeddings_constraint=None, mask_zero=False,
                 weights=None, input_length=None, **kwargs):
        if input_length is not None and kwargs.get("input_shape") is None:
            kwargs["input_shape"] = (input_length,)
        super().__init__(**kwargs)
        self.input_dim = positive(self, "input_dim", input_dim)
        self.output_dim = positive(self, "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.initial_table = weights

    def create(self, input_shape):
        self.embeddings = self.add_weight(
            "embeddings", (self.input_dim, self.output_dim), self.embeddings_initializer,
            self.embeddings_regularizer, self.embeddings_constraint,
        )
        if self.initial_table is not None:
            table = np.asarray(self.initial_table)
            self.set_weights([table[0] if table.ndim == 3 else table])

    def compute_output_shape(self, input_shape):
        return *input_shape, self.output_dim

    def convert_input(self, x):
        x = np.asarray(x)
        if x.dtype.kind == "f" and not np.array_equal(x, np.trunc(x)):
            raise ValueError(
                f"Layer '{self.name}' (Embedding): expected whole numbers, the ids of tokens; "
                f"got fractions in an array of {x.dtype} of shape {x.shape}."
            )
        if x.dtype.kind not in "iufb":
            raise ValueError(
                f"Layer '{self.name}' (Embedding): expected an array of ids; got dtype {x.dtype}, "
                f"shape {x.shape}. Pad lists of different lengths with pad_sequences."
            )
        if x.dtype.itemsize > 4 or x.dtype.kind in "uf":
            self.check_input(x)  # before the conversion to int32 could wrap them round
        return engines.current().asarray(x, np.int32)

    def check_input(self, x):
        if x.size and not (x.min() >= 0 and x.max() < self.input_dim):
            outside = x[(x < 0) | (x >= self.input_dim)]
            raise IndexError(self._outside(outside.flat[0]))

    def _outside(self, token):
        return (
            f"Layer '{self.name}' (Embedding): token id {token} is outside the table; expected "
            f"ids from 0 to {self.input_dim - 1} (input_dim={self.input_dim}). Raise input_dim, "
            f"or load the data with num_words={self.input_dim}."
        )

    def forward(self, x, mask=None, training=False):
        return Lookup(x, self.embeddings.value), x

    def backward(self, tape, dy):
        engine = engines.current()
        if isinstance(dy, RowGradient):
            engine.add_rows(dy, self.embeddings.grad)
        else:
            engine.lookup_backward(tape, dy, self.embeddings.grad)

    def compute_mask(self, x, mask):
        if mask is None and self.mask_zero:
            return StepMask.from_array(engines.current().to_host(x) != 0)
        return mask

    def get_config(self):
        return super().get_config() | {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "activity_regularizer": None,
            "embeddings_constraint": constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**{k: v for k, v in config.items() if k != "activity_regularizer"})


class Dense(Layer):
    """``activation(x @ kernel + bias)`` over the last axis: (..., D) -> (..., units).

    Parameters
    ----------
    units : int
    activation : str, callable of `fastrnn.activations` or None, default None
    use_bias : bool, default True
    kernel_initializer, bias_initializer : default "glorot_uniform", "zeros"
    kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint : default None
    activity_regularizer : None
        Not there yet.

    Examples
    --------
    >>> Dense(3, activation="relu")(np.ones((2, 5))).shape
    (2, 3)
    """

    supports_masking = True

    def __init__(self, units, activation=None, use_bias=True,
                 kernel_initializer="glorot_uniform", bias_initializer="zeros",
                 kernel_regularizer=None, bias_regularizer=None, activity_regularizer=None,
                 kernel_constraint=None, bias_constraint=None, **kwargs):
        super().__init__(**kwargs)
        not_there_yet(self, activity_regularizer=activity_regularizer)
        self.units = positive(self, "units", units)
        self.activation = activations.name_of(activation)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self.kernel_constraint = constraints.get(kernel_constraint)
        self.bias_constraint = constraints.get(bias_constraint)

    def create(self, input_shape):
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(
                f"Layer '{self.name}' (Dense): expected inputs of shape (batch, …, width) with a "
                f"known width; got {tuple(input_shape)}."
            )
        self.kernel = self.add_weight(
            "kernel", (input_shape[-1], self.units), self.kernel_initializer,
            self.kernel_regularizer, self.kernel_constraint,
        )
        self.bias = self.use_bias and self.add_weight(
            "bias", (self.units,), self.bias_initializer,
            self.bias_regularizer, self.bias_constraint,
        ) or None

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], self.units

    def forward(self, x, mask=None, training=False):
        engine = engines.current()
        x = self.dense(x)
        self.check_width(x)
        z = engine.project(x, self.kernel.value, self.bias and self.bias.value)
        y = engine.activate(self.activation, z)
        return y, (x, z, y)

    def backward(self, tape, dy):
        _, z, y = tape
        return self.backward_logits(
            tape, engines.current().activate_backward(self.activation, z, y, dy)
        )

    def logits(self, tape):
        return self.activation, tape[1]

    def backward_logits(self, tape, dz):
        return engines.current().project_backward(
            tape[0], self.kernel.value, dz, self.kernel.grad, self.bias and self.bias.grad
        )

    def get_config(self):
        return super().get_config() | {
            "units": self.units,
            "activation": self.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
            "activity_regularizer": None,
            "kernel_constraint": constraints.serialize(self.kernel_constraint),
            "bias_constraint": constraints.serialize(self.bias_constraint),
        }


class Activation(Layer):
    """Applies an activation to its input.

    Examples
    --------
    >>> Activation("relu")(np.array([[-1.0, 2.0]]))
    array([[0., 2.]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, activation, **kwargs):
        super().__init__(**kwargs)
        self.activation = activations.name_of(activation)

    def forward(self, x, mask=None, training=False):
        x = self.dense(x)
        y = engines.current().activate(self.activation, x)
        return y, (x, y)

    def backward(self, tape, dy):
        return engines.current().activate_backward(self.activation, *tape, dy)

    def logits(self, tape):
        return self.activation, tape[0]

    def backward_logits(self, tape, dz):
        return dz

    def get_config(self):
        return super().get_config() | {"activation": self.activation}


class Dropout(Layer):
    """In training, zeroes each entry with probability ``rate`` and scales the rest by 1/(1 - rate).

    Parameters
    ----------
    rate : float in [0, 1]
    noise_shape : tuple, optional
        Shape of the mask where it differs from the input's: 1 for axes that share it, None for
        the input's own.
    seed : int, optional
        Default: drawn from the global generator (`fastrnn.utils.set_random_seed`).

    Examples
    --------
    >>> Dropout(0.5)(np.ones((1, 4)))  # nothing happens outside training
    array([[1., 1., 1., 1.]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, rate, noise_shape=None, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = fraction(self, "rate", rate)
        self.noise_shape = noise_shape
        self.seed = seed
        self.stream = random.Stream(seed)

    def forward(self, x, mask=None, training=False):
        if not training or self.rate == 0:
            return x, None
        x = self.dense(x)
        noise_shape = x.shape
        if self.noise_shape is not None:
            noise_shape = tuple(
                own if n is None else n for own, n in zip(x.shape, self.noise_shape, strict=True)
            )
        keep = dropout_mask(self.stream, noise_shape, self.rate, self.dtype)
        return x * keep, keep

    def backward(self, tape, dy):
        return dy if tape is None else dy * tape

    def get_config(self):
        return super().get_config() | {
            "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape,
        }


class Masking(Layer):
    """Masks, and zeroes, the steps whose every feature equals ``mask_value``.

    Examples
    --------
    >>> layer = Masking()
    >>> layer(np.array([[[0.0, 0.0], [1.0, 0.0]]]))
    array([[[0., 0.],
            [1., 0.]]], dtype=float32)
    """

    supports_masking = True

    def __init__(self, mask_value=0.0, **kwargs):
        super().__init__(**kwargs)
        self.mask_value = mask_value

    def _keep(self, x):
        return (x != self.mask_value).any(axis=-1)

    def forward(self, x, mask=None, training=False):
        x = self.dense(x)
        keep = self._keep(x)[..., None]
        return x * keep, keep

    def backward(self, tape, dy):
        return dy * tape

    def compute_mask(self, x, mask):
        return StepMask.from_array(self._keep(self.dense(x)))

    def get_config(self):
        return super().get_config() | {"mask_value": self.mask_value}


# -- what layers share ----------------------------------------------------------


def positive(layer, argument, value):
    """``value`` as an int, or ValueError unless it is a positive whole number."""
    if isinstance(value, bool) or int(value) != value or value <= 0:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {argument} must be a positive whole "
            f"number; got {value!r}."
        )
    return int(value)


def not_there_yet(layer, **arguments):
    """Raise NotImplementedError for an argument that is known but set in vain."""
    for argument, value in arguments.items():
        if value:
            raise NotImplementedError(
                f"Layer '{layer.name}' ({type(layer).__name__}): {argument} is not there yet; "
                f"got {value!r}."
            )


def fraction(layer, argument, value):
    """``value``, or ValueError unless it lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {argument} must lie in [0, 1]; "
            f"got {value!r}."
        )
    return value


def dropout_mask(stream, shape, rate, dtype):
    """Zeros with probability ``rate``, else 1/(1 - rate)."""
    if rate == 1:
        return np.zeros(shape, dtype)
    keep = stream.uniform(shape) >= rate
    return keep * np.dtype(dtype).type(1 / (1 - rate))
