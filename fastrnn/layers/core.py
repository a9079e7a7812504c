"""Embedding, Dense, Activation, Dropout, Masking and their like.

Letters: B rows in a batch, T steps, D input width, V vocabulary.
"""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple

import numpy as np

from fastrnn import activations, constraints, engines, initializers, random, regularizers
from fastrnn.checks import whole
from fastrnn.layers.base import Layer
from fastrnn.masks import NestedMask, StepMask
from fastrnn.values import Lookup, RowGradient, gradient_parts, plain

__all__ = [
    "Activation",
    "ActivityRegularization",
    "Dense",
    "Dropout",
    "Embedding",
    "GaussianDropout",
    "GaussianNoise",
    "Identity",
    "Masking",
    "SpatialDropout1D",
]


class ActivityRegularized(Layer):
    """A layer that may have a penalty on its output, ``activity_regularizer(y) / B``.

    The layer adds the penalty's gradient to that of its output by itself; who computes the loss
    sets ``activity_penalty`` to zero before a batch and adds it to the loss after.

    Attributes
    ----------
    activity_regularizer : Regularizer or None
    activity_penalty : float
        The sum of the penalties of all calls since it was set to zero.  On an engine that
        `runs_ahead` it is what ``float()`` makes one of.
    """

    def __init__(self, activity_regularizer=None, **kwargs):
        super().__init__(**kwargs)
        self.activity_regularizer = regularizers.get(activity_regularizer)
        self.activity_penalty = 0.0

    def penalise(self, y):
        """Take in the output of a call."""
        if self.activity_regularizer is not None and len(y):
            self.activity_penalty += self.activity_regularizer(y) / len(y)

    def penalised(self, dy, y):
        """``dy`` with the gradient of the penalty on ``y``."""
        if self.activity_regularizer is None or not len(y):
            return dy
        gradient = np.zeros_like(y)
        self.activity_regularizer.add_gradient(y, gradient)
        gradient /= len(y)
        return gradient if dy is None else dy + gradient

    def get_config(self):
        return super().get_config() | {
            "activity_regularizer": regularizers.serialize(self.activity_regularizer),
        }


class DroppedTable(NamedTuple):
    """What an `Embedding` with dropout looks up in a batch.

    Attributes
    ----------
    lookup : Lookup
        In the rows that occur, with their entries dropped.
    rows : int array of shape (n,)
        Which rows of the whole table these are, ascending.
    noise : array of shape (n, output_dim)
        The factor of each entry.
    """

    lookup: Lookup
    rows: np.ndarray
    noise: np.ndarray


class Embedding(ActivityRegularized):
    """Turns token ids into rows of a trained table: (B, T) -> (B, T, output_dim).

    Parameters
    ----------
    input_dim : int
        V, the number of rows; ids are from 0 to V - 1.
    output_dim : int
        Width of a row.
    embeddings_initializer : default "uniform"
        U(-0.05, 0.05).
    embeddings_regularizer, activity_regularizer, embeddings_constraint : default None
    mask_zero : bool, default False
        Id 0 is padding: the layers that follow pass over such steps.
    weights : array of shape (input_dim, output_dim), optional
        Initial table.
    dropout : float in [0, 1], default 0
        In training, entries of the table that are zero, drawn anew for each batch; the others are
        scaled up.  All places of a token see the same, so that the layer which follows multiplies
        each token once and not each place (Gal and Ghahramani, "A Theoretically Grounded
        Application of Dropout in Recurrent Neural Networks", 2016).  Keras does not have it.
    seed : int, optional
        Of the dropout.

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
                 weights=None, input_length=None, dropout=0.0, seed=None, **kwargs):
        if input_length is not None and kwargs.get("input_shape") is None:
            kwargs["input_shape"] = (input_length,)
        foreign = {name: kwargs.pop(name, None) for name in FOREIGN}
        super().__init__(**kwargs)
        not_there_yet(self, **foreign)
        self.input_dim = positive(self, "input_dim", input_dim)
        self.output_dim = positive(self, "output_dim", output_dim)
        self.embeddings_initializer = initializers.get(embeddings_initializer)
        self.embeddings_regularizer = regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = constraints.get(embeddings_constraint)
        self.mask_zero = mask_zero
        self.initial_table = weights
        self._dropout = fraction(self, "dropout", dropout)
        self.seed = seed
        self.stream = random.Stream(seed) if dropout else None

    @property
    def dropout(self):
        """The part of the table that is dropped in training."""
        return self._dropout

    def create(self, input_shape):
        self.embeddings = self.add_weight(
            (self.input_dim, self.output_dim), self.embeddings_initializer,
            regularizer=self.embeddings_regularizer, constraint=self.embeddings_constraint,
            name="embeddings",
        )
        if self.initial_table is not None:
            table = np.asarray(self.initial_table)
            self.set_weights([table[0] if table.ndim == 3 else table])

    def compute_output_shape(self, input_shape):
        return *input_shape, self.output_dim

    def convert_input(self, x):
        return token_ids(self, x)

    def check_input(self, x):
        if x.size and not (x.min() >= 0 and x.max() < self.input_dim):
            outside = x[(x < 0) | (x >= self.input_dim)]
            raise IndexError(self._outside(outside.flat[0]))

    def _outside(self, token):
        return (
            f"Layer '{self.name}' (Embedding): token id {int(token)} is outside the table; "
            f"expected ids from 0 to {self.input_dim - 1} (input_dim={self.input_dim}). Raise "
            f"input_dim, or load the data with num_words={self.input_dim}."
        )

    def forward(self, x, mask=None, training=False):
        if x.dtype != np.int32:  # ids that another layer has had in its hands
            x = token_ids(self, x)
        dropped = self._drop(x) if training and self.dropout else None
        y = Lookup(x, self.embeddings.value) if dropped is None else dropped.lookup
        if self.activity_regularizer is None:
            return y, (x, None, dropped)
        y = engines.dense(y)
        self.penalise(y)
        return y, (x, y, dropped)

    def _drop(self, x):
        """The tokens that occur as a table of their own, with entries dropped."""
        rows, places = np.unique(engines.current().to_host(x), return_inverse=True)
        self.check_input(rows)
        noise = dropout_mask(self.stream, (len(rows), self.output_dim), self.dropout, self.dtype)
        ids = places.reshape(x.shape).astype(np.int32)
        return DroppedTable(Lookup(ids, self.embeddings.value[rows] * noise), rows, noise)

    def backward(self, tape, dy):
        ids, y, dropped = tape
        if y is not None:
            dy = self.penalised(dy, y)
        engine = engines.current()
        steps, rows = gradient_parts(dy)
        if dropped is None:
            if steps is not None:
                engine.lookup_backward(ids, steps, self.embeddings.grad)
            if rows is not None:
                self.embeddings.add_rows(rows)
            return
        gradient = np.zeros_like(dropped.noise)
        if steps is not None:
            engine.lookup_backward(dropped.lookup.ids, steps, gradient)
        if rows is not None:
            engine.add_rows(rows, gradient)
        self.embeddings.add_rows(
            RowGradient(dropped.rows.astype(np.int32), gradient * dropped.noise)
        )

    def compute_mask(self, x, mask=None):
        mask = StepMask.of(mask)
        if not self.mask_zero or mask is not None and mask.given is None:
            return mask
        x = plain(x) if hasattr(x, "ndim") else np.asarray(x)
        if x.ndim == 2:
            return engines.current().padding_mask(x).within(mask)
        if x.ndim == 3:
            rows, sequences, steps = x.shape
            inner = engines.current().padding_mask(x.reshape(rows * sequences, steps))
            return NestedMask(inner, rows, sequences, mask)
        raise ValueError(
            f"Layer '{self.name}' (Embedding): mask_zero=True takes ids of shape (batch, steps) "
            f"or, before TimeDistributed, (batch, sequences, steps); got shape {x.shape}."
        )

    def get_config(self):
        return super().get_config() | {
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": regularizers.serialize(self.embeddings_regularizer),
            "embeddings_constraint": constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
        } | ({"dropout": self.dropout, "seed": self.seed} if self.dropout else {})


class Dense(ActivityRegularized):
    """``activation(x @ kernel + bias)`` over the last axis: (..., D) -> (..., units).

    Parameters
    ----------
    units : int
    activation : str, callable of `fastrnn.activations`, `Activation` or None, default None
    use_bias : bool, default True
    kernel_initializer, bias_initializer : default "glorot_uniform", "zeros"
    kernel_regularizer, bias_regularizer, activity_regularizer : default None
    kernel_constraint, bias_constraint : default None

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
        foreign = {name: kwargs.pop(name, None) for name in FOREIGN}
        super().__init__(activity_regularizer, **kwargs)
        not_there_yet(self, **foreign)
        self.units = positive(self, "units", units)
        self.activation = activation_of(self, "activation", activation)
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
            (input_shape[-1], self.units), self.kernel_initializer,
            regularizer=self.kernel_regularizer, constraint=self.kernel_constraint, name="kernel",
        )
        self.bias = self.use_bias and self.add_weight(
            (self.units,), self.bias_initializer,
            regularizer=self.bias_regularizer, constraint=self.bias_constraint, name="bias",
        ) or None

    def compute_output_shape(self, input_shape):
        return *input_shape[:-1], self.units

    def forward(self, x, mask=None, training=False):
        engine = engines.current()
        x = engines.dense(x)
        self.check_width(x.shape)
        z = engine.project(x, self.kernel.value, self.bias and self.bias.value)
        y = engine.activate(self.activation, z)
        self.penalise(y)
        return y, (x, z, y)

    def backward(self, tape, dy):
        dy = self.penalised(dy, tape[2])
        return self._project_backward(tape, self._activate_backward(tape, dy))

    def last_activation(self, tape):
        return self.activation, tape[1]

    def backward_logits(self, tape, dz):
        if self.activity_regularizer is not None:
            dz = dz + self._activate_backward(tape, self.penalised(None, tape[2]))
        return self._project_backward(tape, dz)

    def _activate_backward(self, tape, dy):
        _, z, y = tape
        return engines.current().activate_backward(self.activation, z, y, dy)

    def _project_backward(self, tape, dz):
        return engines.current().project_backward(
            tape[0], self.kernel.value, dz, self.kernel.grad, self.bias and self.bias.grad
        )

    def get_config(self):
        return super().get_config() | {
            "units": self.units,
            "activation": activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
            "bias_initializer": initializers.serialize(self.bias_initializer),
            "kernel_regularizer": regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": regularizers.serialize(self.bias_regularizer),
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
        self.activation = activation_of(self, "activation", activation)

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        y = engines.current().activate(self.activation, x)
        return y, (x, y)

    def backward(self, tape, dy):
        return engines.current().activate_backward(self.activation, *tape, dy)

    def last_activation(self, tape):
        return self.activation, tape[0]

    def backward_logits(self, tape, dz):
        return dz

    def get_config(self):
        return super().get_config() | {"activation": activations.serialize(self.activation)}


class ActivityRegularization(ActivityRegularized):
    """Passes its input on, and adds a penalty on it to the loss.

    Parameters
    ----------
    l1, l2 : float, default 0
        The penalty is ``(l1 * sum |x| + l2 * sum x**2) / B``.

    Examples
    --------
    >>> layer = ActivityRegularization(l2=0.5)
    >>> layer(np.array([[1.0, 2.0]]))
    array([[1., 2.]], dtype=float32)
    >>> layer.activity_penalty
    2.5
    """

    supports_masking = True

    def __init__(self, l1=0.0, l2=0.0, **kwargs):
        super().__init__(regularizers.L1L2(l1, l2), **kwargs)

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        self.penalise(x)
        return x, x

    def backward(self, tape, dy):
        return self.penalised(dy, tape)

    def get_config(self):
        config = super().get_config()
        penalty = config.pop("activity_regularizer")["config"]
        return config | {"l1": penalty["l1"], "l2": penalty["l2"]}


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
        x = engines.dense(x)
        factors = self.factors(x)
        return x * factors, factors

    def factors(self, x):
        """What the entries of x are multiplied by in training."""
        return dropout_mask(self.stream, self._mask_shape(x), self.rate, self.dtype)

    def _mask_shape(self, x):
        """The shape of the mask for this input."""
        if self.noise_shape is None:
            return x.shape
        fitting = len(self.noise_shape) == x.ndim and all(
            n in (None, 1, own) for own, n in zip(x.shape, self.noise_shape, strict=True)
        )
        if not fitting:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): noise_shape={self.noise_shape} does "
                f"not fit an input of shape {tuple(x.shape)}: each entry is 1, None or the input's."
            )
        return tuple(
            own if n is None else n for own, n in zip(x.shape, self.noise_shape, strict=True)
        )

    def backward(self, tape, dy):
        return dy if tape is None else dy * tape

    def get_config(self):
        return super().get_config() | {
            "rate": self.rate, "seed": self.seed, "noise_shape": self.noise_shape,
        }


class SpatialDropout1D(Dropout):
    """In training, drops whole features: each is zero at all steps of a row, or at none.

    Parameters
    ----------
    rate : float in [0, 1]
    seed : int, optional
        Default: drawn from the global generator (`fastrnn.utils.set_random_seed`).

    Examples
    --------
    >>> y = SpatialDropout1D(0.5, seed=1)(np.ones((1, 3, 8)), training=True)
    >>> bool((y == y[:, :1]).all())
    True
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(rate, (None, 1, None), seed, **kwargs)

    def forward(self, x, mask=None, training=False):
        self.check_rank(x.shape, 3, "(batch, steps, features)")
        return super().forward(x, mask, training)

    def get_config(self):
        config = super().get_config()
        del config["noise_shape"]
        return config


class GaussianDropout(Dropout):
    """In training, multiplies each entry by a number of mean 1 and variance ``rate / (1 - rate)``.

    These are the mean and the variance that `Dropout` has with that rate.

    Parameters
    ----------
    rate : float in [0, 1)
    seed : int, optional
        Default: drawn from the global generator (`fastrnn.utils.set_random_seed`).

    Examples
    --------
    >>> y = GaussianDropout(0.5, seed=1)(np.ones((1, 10000)), training=True)
    >>> round(float(y.mean()), 1), round(float(y.std()), 1)
    (1.0, 1.0)
    """

    def __init__(self, rate, seed=None, **kwargs):
        super().__init__(rate, seed=seed, **kwargs)
        if rate == 1:
            raise ValueError(
                f"Layer '{self.name}' (GaussianDropout): rate must be below 1, where its noise "
                "becomes infinite; got 1."
            )

    def factors(self, x):
        return 1 + _normal(self, x.shape, (self.rate / (1 - self.rate)) ** 0.5)

    def get_config(self):
        config = super().get_config()
        del config["noise_shape"]
        return config


class GaussianNoise(Layer):
    """In training, adds to each entry a number of mean 0 and deviation ``stddev``.

    Parameters
    ----------
    stddev : float in [0, 1]
    seed : int, optional
        Default: drawn from the global generator (`fastrnn.utils.set_random_seed`).

    Examples
    --------
    >>> y = GaussianNoise(0.5, seed=1)(np.ones((1, 10000)), training=True)
    >>> round(float(y.mean()), 1), round(float(y.std()), 1)
    (1.0, 0.5)
    """

    supports_masking = True

    def __init__(self, stddev, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.stddev = fraction(self, "stddev", stddev)
        self.seed = seed
        self.stream = random.Stream(seed)

    def forward(self, x, mask=None, training=False):
        if not training or self.stddev == 0:
            return x, None
        x = engines.dense(x)
        return x + _normal(self, x.shape, self.stddev), None

    def backward(self, tape, dy):
        return dy

    def get_config(self):
        return super().get_config() | {"stddev": self.stddev, "seed": self.seed}


class Identity(Layer):
    """Gives what it is given.

    Examples
    --------
    >>> Identity()(np.ones((1, 2)))
    array([[1., 1.]], dtype=float32)
    """

    supports_masking = True

    def forward(self, x, mask=None, training=False):
        return x, None

    def backward(self, tape, dy):
        return dy


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

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        keep = (x != self.mask_value).any(axis=-1, keepdims=True)
        return np.where(keep, x, 0), keep  # 0 * x would not do for an infinite mask_value

    def backward(self, tape, dy):
        return np.where(tape, dy, 0)

    def compute_mask(self, x, mask=None):
        x = plain(engines.dense(x))
        return engines.current().padding_mask(x, self.mask_value).within(StepMask.of(mask))

    def get_config(self):
        return super().get_config() | {"mask_value": self.mask_value}


# -- what layers share ----------------------------------------------------------

# Arguments of Keras's layers that fine-tune or pack weights.
FOREIGN = ("lora_rank", "lora_alpha", "quantization_config")


def positive(layer, argument, value):
    """``value`` as an int, or ValueError unless it is a positive whole number."""
    if not whole(value):
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


def activation_of(layer, argument, given):
    """`activations.resolve`, with errors that name the layer."""
    try:
        return activations.resolve(given)
    except (TypeError, ValueError) as error:
        where = f"Layer '{layer.name}' ({type(layer).__name__})"
        raise type(error)(f"{where}: {argument}: {error}") from None


def check_mask(layer, mask, shape):
    """Raise ValueError unless ``mask`` (None is right) has a flag for each row and step."""
    if mask is not None and mask.shape != tuple(shape):
        hint = " Put it, and the Embedding whose ids have steps of steps, in a TimeDistributed."
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): expected a mask of shape "
            f"{tuple(shape)}, one flag for each row and step; got shape {mask.shape}."
            + hint * isinstance(mask, NestedMask)
        )


def check_given(layer, mask):
    """Raise ValueError where sequences of different lengths would be taken for whole arrays."""
    if mask is not None and mask.given is not None:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): cannot take sequences of different "
            "lengths, as its output would depend on the longest of a batch. Pad them all to one "
            "length (preprocessing.sequence.pad_sequences)."
        )


def fraction(layer, argument, value):
    """``value``, or ValueError unless it lies in [0, 1]."""
    if not isinstance(value, Real) or not 0 <= value <= 1:
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): {argument} must lie in [0, 1]; "
            f"got {value!r}."
        )
    return value


def token_ids(layer, x):
    """``x`` as int32 ids; ValueError for what are no whole numbers."""
    x = np.asarray(x)
    if x.dtype != np.int32:
        _check_ids(layer, x)
    return engines.current().asarray(x, np.int32)


def _check_ids(layer, x):
    """Raise unless int32 ids can be made of ``x``."""
    where = f"Layer '{layer.name}' ({type(layer).__name__})"
    if x.dtype.kind == "f" and not np.array_equal(x, np.trunc(x)):
        wrong = x[x != np.trunc(x)].flat[0]
        raise ValueError(
            f"{where}: expected whole numbers, the ids of tokens; got {wrong} in an array of "
            f"{x.dtype} of shape {x.shape}."
        )
    if x.dtype.kind not in "iufb":
        raise ValueError(
            f"{where}: expected an array of ids; got dtype {x.dtype}, shape {x.shape}. Pad lists "
            "of different lengths with pad_sequences."
        )
    if x.dtype.itemsize > 4 or x.dtype.kind in "uf":
        layer.check_input(x)  # before the conversion to int32 could wrap them round


def _normal(layer, shape, deviation):
    """Numbers of mean 0 by the next call of the layer's stream, an array of the engine."""
    drawn = layer.stream.normal(shape) * np.float32(deviation)
    return engines.current().asarray(drawn, layer.dtype)


def dropout_mask(stream, shape, rate, dtype):
    """Zeros with probability ``rate``, else 1/(1 - rate), as an array of the engine."""
    if rate == 1:
        return engines.current().zeros(shape, dtype)
    return engines.current().dropout_mask(stream, shape, rate, dtype)
