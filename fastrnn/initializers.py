"""First values of weights, by name: ``initializers.get("glorot_uniform")(shape)``.

As in Keras, an initializer without a seed draws one when it is made, and gives the same values
each time it is called with the same shape.
"""

from __future__ import annotations

import contextlib
import contextvars
import math

import numpy as np

from fastrnn import random
from fastrnn.config import floatx
from fastrnn.registry import Configurable, Registry

__all__ = [
    "Constant",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "Identity",
    "Initializer",
    "LecunNormal",
    "LecunUniform",
    "Ones",
    "Orthogonal",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
    "Zeros",
    "constant",
    "deserialize",
    "get",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "identity",
    "initial",
    "instead",
    "lecun_normal",
    "lecun_uniform",
    "ones",
    "orthogonal",
    "random_normal",
    "random_uniform",
    "serialize",
    "truncated_normal",
    "variance_scaling",
    "zeros",
]

_registry = Registry("initializer", "keras.initializers")
get, serialize, deserialize = _registry.get, _registry.serialize, _registry.deserialize


_instead = contextvars.ContextVar("instead", default=None)


@contextlib.contextmanager
def instead(make):
    """Inside, new weights are ``make(shape, dtype=…)``, whatever their initializers."""
    before = _instead.set(make)
    try:
        yield
    finally:
        _instead.reset(before)


def initial(initializer, shape, dtype):
    """The first values of a new weight: those of ``initializer``, or what is taken `instead`."""
    return (_instead.get() or get(initializer))(shape, dtype=dtype)


class Initializer(Configurable):
    """What every initializer has: ``initializer(shape, dtype=None)`` gives a new array.

    ``dtype`` is ``"float32"`` or ``"float64"``; default `fastrnn.config.floatx`.
    """

    def __call__(self, shape, dtype=None):
        raise self.missing("__call__(self, shape, dtype=None)", "gives an array of that shape")


@_registry.add("zeros", "zero")
class Zeros(Initializer):
    """All zeros."""

    def __call__(self, shape, dtype=None):
        return np.zeros(shape, dtype or floatx())


@_registry.add("ones", "one")
class Ones(Initializer):
    """All ones."""

    def __call__(self, shape, dtype=None):
        return np.ones(shape, dtype or floatx())


@_registry.add("constant")
class Constant(Initializer):
    """One number everywhere.

    >>> Constant(3)((2,))
    array([3., 3.], dtype=float32)
    """

    def __init__(self, value=0.0):
        self.value = value

    def __call__(self, shape, dtype=None):
        return np.full(shape, self.value, dtype or floatx())


@_registry.add("identity", "IdentityInitializer")
class Identity(Initializer):
    """``gain`` on the diagonal of a matrix, zeros elsewhere."""

    def __init__(self, gain=1.0):
        self.gain = gain

    def __call__(self, shape, dtype=None):
        if len(shape) != 2:
            raise ValueError(f"Identity: expected the shape of a matrix; got {tuple(shape)}.")
        return np.multiply(self.gain, np.eye(*shape), dtype=dtype or floatx())


class RandomInitializer(Initializer):
    """An initializer with a seed.

    Parameters
    ----------
    seed : int, optional
        Default: drawn once, when the initializer is made.
    """

    def __init__(self, seed=None):
        self.seed = seed
        self._drawn_seed = random.draw_seed() if seed is None else random.check_seed(seed)

    def generator(self):
        """NumPy's generator, at the start of this initializer's numbers."""
        return random.generator(self._drawn_seed)


def _uniform(rng, shape, low, high, dtype):
    values = rng.random(shape, dtype)
    values *= high - low
    values += low
    return values


def _normal(rng, shape, mean, stddev, dtype):
    values = rng.standard_normal(shape, dtype)
    values *= stddev
    values += mean
    return values


def _truncated_normal(rng, shape, mean, stddev, dtype):
    """Normal, with what lies beyond two standard deviations drawn again."""
    values = rng.standard_normal(shape, dtype)
    while (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.standard_normal(np.count_nonzero(beyond), dtype)
    values *= stddev
    values += mean
    return values


@_registry.add("random_uniform", "uniform")
class RandomUniform(RandomInitializer):
    """Uniform on [minval, maxval)."""

    def __init__(self, minval=-0.05, maxval=0.05, seed=None):
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape, dtype=None):
        dtype = np.dtype(dtype or floatx())
        return _uniform(self.generator(), shape, self.minval, self.maxval, dtype)


@_registry.add("random_normal", "normal")
class RandomNormal(RandomInitializer):
    """Normal with this mean and standard deviation."""

    def __init__(self, mean=0.0, stddev=0.05, seed=None):
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape, dtype=None):
        dtype = np.dtype(dtype or floatx())
        return _normal(self.generator(), shape, self.mean, self.stddev, dtype)


@_registry.add("truncated_normal")
class TruncatedNormal(RandomInitializer):
    """Normal, with what lies beyond two standard deviations drawn again."""

    def __init__(self, mean=0.0, stddev=0.05, seed=None):
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape, dtype=None):
        dtype = np.dtype(dtype or floatx())
        return _truncated_normal(self.generator(), shape, self.mean, self.stddev, dtype)


@_registry.add("orthogonal", "OrthogonalInitializer")
class Orthogonal(RandomInitializer):
    """Orthogonal rows or columns, whichever are fewer, times ``gain``.

    Q of the QR decomposition of a normal matrix, its columns multiplied by the signs of R's
    diagonal, which makes it uniform over the orthogonal matrices (Saxe et al., 2014).

    >>> q = Orthogonal(seed=1)((3, 3), "float64")
    >>> bool(np.allclose(q @ q.T, np.eye(3)))
    True
    """

    def __init__(self, gain=1.0, seed=None):
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape, dtype=None):
        if len(shape) < 2:
            raise ValueError(
                f"Orthogonal: expected a shape of at least two axes; got {tuple(shape)}."
            )
        rows, columns = math.prod(shape[:-1]), shape[-1]
        tall = max(rows, columns), min(rows, columns)
        q, r = np.linalg.qr(self.generator().standard_normal(tall, np.dtype(dtype or floatx())))
        q *= np.sign(np.diagonal(r)) * q.dtype.type(self.gain)
        return np.ascontiguousarray(q.T if rows < columns else q).reshape(shape)


def fans(shape, input_axes=None, output_axes=None):
    """How many inputs and outputs each unit of a weight of ``shape`` has: ``(fan_in, fan_out)``."""
    if input_axes is not None and output_axes is not None:
        return math.prod(shape[a] for a in input_axes), math.prod(shape[a] for a in output_axes)
    if len(shape) < 2:
        return math.prod(shape), math.prod(shape)
    rest = math.prod(shape[:-2])
    return shape[-2] * rest, shape[-1] * rest


@_registry.add("variance_scaling")
class VarianceScaling(RandomInitializer):
    """Values whose variance is ``scale / n``.

    Parameters
    ----------
    scale : float, default 1
    mode : {"fan_in", "fan_out", "fan_avg"}
        What n is: the inputs of a unit, its outputs, or the mean of the two.
    distribution : {"truncated_normal", "untruncated_normal", "uniform"}
    seed : int, optional
    input_axes, output_axes : list of int, optional
        The axes to count, where they are not the last but one and the last.

    Raises
    ------
    ValueError
        For a scale that is not positive, or an unknown mode or distribution.
    """

    modes = ("fan_in", "fan_out", "fan_avg")
    distributions = ("truncated_normal", "untruncated_normal", "uniform")

    def __init__(self, scale=1.0, mode="fan_in", distribution="truncated_normal", seed=None,
                 input_axes=None, output_axes=None):
        super().__init__(seed)
        distribution = "truncated_normal" if distribution == "normal" else distribution
        if not scale > 0:
            raise ValueError(f"VarianceScaling: scale must be positive; got {scale}.")
        if mode not in self.modes:
            raise ValueError(f"VarianceScaling: mode must be one of {self.modes}; got {mode!r}.")
        if distribution not in self.distributions:
            raise ValueError(
                f"VarianceScaling: distribution must be one of {self.distributions}; "
                f"got {distribution!r}."
            )
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape, dtype=None):
        dtype = np.dtype(dtype or floatx())
        fan_in, fan_out = fans(shape, self.input_axes, self.output_axes)
        n = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, n))
        if self.distribution == "uniform":
            limit = math.sqrt(3) * stddev
            return _uniform(self.generator(), shape, -limit, limit, dtype)
        if self.distribution == "untruncated_normal":
            return _normal(self.generator(), shape, 0.0, stddev, dtype)
        # The standard deviation of a standard normal cut off at two.
        return _truncated_normal(self.generator(), shape, 0.0, stddev / 0.87962566103423978, dtype)


def _scaled(name, alias, scale, mode, distribution, description):
    """One of the well-known settings of `VarianceScaling`, as a class of its own."""

    def __init__(self, seed=None, input_axes=None, output_axes=None):
        VarianceScaling.__init__(self, scale, mode, distribution, seed, input_axes, output_axes)

    body = {"__init__": __init__, "__doc__": description, "__module__": __name__}
    return _registry.add(alias)(type(name, (VarianceScaling,), body))


GlorotUniform = _scaled(
    "GlorotUniform", "glorot_uniform", 1.0, "fan_avg", "uniform",
    "Uniform within +-sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010).",
)
GlorotNormal = _scaled(
    "GlorotNormal", "glorot_normal", 1.0, "fan_avg", "truncated_normal",
    "Truncated normal of variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).",
)
HeUniform = _scaled(
    "HeUniform", "he_uniform", 2.0, "fan_in", "uniform",
    "Uniform within +-sqrt(6 / fan_in) (He et al., 2015).",
)
HeNormal = _scaled(
    "HeNormal", "he_normal", 2.0, "fan_in", "truncated_normal",
    "Truncated normal of variance 2 / fan_in (He et al., 2015).",
)
LecunUniform = _scaled(
    "LecunUniform", "lecun_uniform", 1.0, "fan_in", "uniform",
    "Uniform within +-sqrt(3 / fan_in) (LeCun et al., 1998).",
)
LecunNormal = _scaled(
    "LecunNormal", "lecun_normal", 1.0, "fan_in", "truncated_normal",
    "Truncated normal of variance 1 / fan_in (LeCun et al., 1998).",
)


# -- the names in snake case that Keras has beside the classes ------------------------------------

constant = Constant
glorot_normal = GlorotNormal
glorot_uniform = GlorotUniform
he_normal = HeNormal
he_uniform = HeUniform
identity = Identity
lecun_normal = LecunNormal
lecun_uniform = LecunUniform
ones = Ones
orthogonal = Orthogonal
random_normal = RandomNormal
random_uniform = RandomUniform
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
zeros = Zeros
