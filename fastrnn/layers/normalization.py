"""LayerNormalization and BatchNormalization.

Both are y = gamma xhat + beta with xhat = (x - mean) inverse, inverse = 1 / sqrt(variance +
epsilon).  They differ in which entries share a mean and a variance: the features of each step, or
all rows and steps of each feature.

Letters: B rows in a batch, T steps, D features.
"""

from __future__ import annotations

import math

import numpy as np

from fastrnn import constraints, engines, initializers, regularizers
from fastrnn.checks import shown
from fastrnn.config import epsilon as tiny
from fastrnn.layers.base import Layer
from fastrnn.layers.core import check_mask, fraction, not_there_yet
from fastrnn.masks import counts_of

__all__ = ["BatchNormalization", "LayerNormalization"]


class Normalization(Layer):
    """What the two have in common: gamma and beta, and the axes along which they have entries."""

    supports_masking = True

    def __init__(self, axis, epsilon, center, scale, beta_initializer, gamma_initializer,
                 beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint, **kwargs):
        super().__init__(**kwargs)
        if not 0 <= epsilon < math.inf:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): epsilon must be a number from 0 on; "
                f"got {epsilon!r}."
            )
        self.axis = axis
        self.epsilon = float(epsilon)
        self.center = center
        self.scale = scale
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)
        self.beta_regularizer = regularizers.get(beta_regularizer)
        self.gamma_regularizer = regularizers.get(gamma_regularizer)
        self.beta_constraint = constraints.get(beta_constraint)
        self.gamma_constraint = constraints.get(gamma_constraint)

    # -- axes ------------------------------------------------------------------------------------

    def feature_axes(self, ndim):
        """The axes along which gamma and beta have entries, in the order of their own."""
        given = self.axis if isinstance(self.axis, list) else [self.axis]
        axes = [a + ndim if a < 0 else a for a in given]
        if not axes or len(set(axes)) < len(axes) or not all(0 <= a < ndim for a in axes):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): axis={self.axis} does not fit "
                f"inputs of {ndim} axes."
            )
        return axes

    def feature_shape(self, x):
        """The shape in which gamma and beta meet ``x``.

        Raises
        ------
        ValueError
            If ``x`` has not the axes that the layer was built for.
        """
        axes, built = self.feature_axes(x.ndim), self.input_shape
        if x.ndim != len(built) or any(x.shape[a] != built[a] for a in axes):
            expected = [n if a in axes else None for a, n in enumerate(built)]
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected inputs of shape "
                f"{shown(expected)}, as when it was built; got shape {tuple(x.shape)}."
            )
        return [n if a in axes else 1 for a, n in enumerate(x.shape)]

    def create(self, input_shape):
        shape = tuple(input_shape[a] for a in self.feature_axes(len(input_shape)))
        if None in shape:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): axis={self.axis} must have a known "
                f"size; got inputs of shape {tuple(input_shape)}."
            )
        self.gamma = self.scale and self.add_weight(
            shape, self.gamma_initializer, regularizer=self.gamma_regularizer,
            constraint=self.gamma_constraint, name="gamma",
        ) or None
        self.beta = self.center and self.add_weight(
            shape, self.beta_initializer, regularizer=self.beta_regularizer,
            constraint=self.beta_constraint, name="beta",
        ) or None

    # -- scale and offset --------------------------------------------------------------------------

    def affine(self, xhat, shape):
        """gamma xhat + beta, a new array."""
        y = xhat.copy() if self.gamma is None else xhat * self.gamma.value.reshape(shape)
        if self.beta is not None:
            y += self.beta.value.reshape(shape)
        return y

    def affine_backward(self, xhat, dy, shape):
        """The gradient of xhat; adds into those of gamma and beta."""
        features = self.feature_axes(dy.ndim)
        others = tuple(a for a in range(dy.ndim) if a not in features)
        count = math.prod(dy.shape[a] for a in others)
        if self.beta is not None:
            self.beta.grad += count * mean_over(dy, others).reshape(self.beta.shape)
        if self.gamma is None:
            return dy
        self.gamma.grad += count * mean_over(dy * xhat, others).reshape(self.gamma.shape)
        return dy * self.gamma.value.reshape(shape)

    def get_config(self):
        return super().get_config() | {
            "axis": self.axis,
            "epsilon": self.epsilon,
            "center": self.center,
            "scale": self.scale,
            "beta_initializer": initializers.serialize(self.beta_initializer),
            "gamma_initializer": initializers.serialize(self.gamma_initializer),
            "beta_regularizer": regularizers.serialize(self.beta_regularizer),
            "gamma_regularizer": regularizers.serialize(self.gamma_regularizer),
            "beta_constraint": constraints.serialize(self.beta_constraint),
            "gamma_constraint": constraints.serialize(self.gamma_constraint),
        }


class LayerNormalization(Normalization):
    """Brings the features of each step to mean 0 and variance 1, then scales and shifts them.

    Parameters
    ----------
    axis : int or list of int, default -1
        The axes over which mean and variance are taken; gamma and beta have entries along them.
    epsilon : float, default 1e-3
        Added to the variance.
    center, scale : bool, default True
        Whether there is a beta and a gamma.
    beta_initializer, gamma_initializer : default "zeros", "ones"
    beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint : default None

    Examples
    --------
    >>> LayerNormalization()(np.array([[1.0, 3.0]])).round(3)
    array([[-1.,  1.]], dtype=float32)
    """

    def __init__(self, axis=-1, epsilon=1e-3, center=True, scale=True, beta_initializer="zeros",
                 gamma_initializer="ones", beta_regularizer=None, gamma_regularizer=None,
                 beta_constraint=None, gamma_constraint=None, rms_scaling=False, **kwargs):
        # Keras sorts the axes as they are given, and so orders those of gamma and beta.
        axis = sorted(axis) if isinstance(axis, (list, tuple)) else int(axis)
        super().__init__(
            axis, epsilon, center, scale, beta_initializer, gamma_initializer, beta_regularizer,
            gamma_regularizer, beta_constraint, gamma_constraint, **kwargs,
        )
        not_there_yet(self, rms_scaling=rms_scaling)

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        shape = self.feature_shape(x)
        axes = tuple(self.feature_axes(x.ndim))
        xhat = x - mean_over(x, axes)
        inverse = 1 / np.sqrt(mean_over(xhat * xhat, axes) + self.epsilon)
        xhat *= inverse
        return self.affine(xhat, shape), (xhat, inverse, axes, shape)

    def backward(self, tape, dy):
        xhat, inverse, axes, shape = tape
        return normalize_backward(xhat, inverse, self.affine_backward(xhat, dy, shape), axes)

    def get_config(self):
        return super().get_config() | {"rms_scaling": False}


class BatchNormalization(Normalization):
    """Brings each feature to mean 0 and variance 1, then scales and shifts it.

    In training, mean and variance are those of the batch, of all steps that count; otherwise, and
    where ``trainable`` is False, they are moving averages, which training keeps up.

    Parameters
    ----------
    axis : int, default -1
        That of the features.
    momentum : float, default 0.99
        How much of the moving averages stays at each batch.
    epsilon : float, default 1e-3
        Added to the variance.
    center, scale : bool, default True
        Whether there is a beta and a gamma.
    beta_initializer, gamma_initializer : default "zeros", "ones"
    moving_mean_initializer, moving_variance_initializer : default "zeros", "ones"
    beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint : default None

    Attributes
    ----------
    moving_mean, moving_variance : Parameter of shape (D,)
        Not trained by gradients; among the weights after gamma and beta.

    Examples
    --------
    >>> layer = BatchNormalization()
    >>> layer(np.array([[1.0], [3.0]]), training=True).round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> layer.moving_mean.numpy().round(3)
    array([0.02], dtype=float32)
    """

    def __init__(self, axis=-1, momentum=0.99, epsilon=1e-3, center=True, scale=True,
                 beta_initializer="zeros", gamma_initializer="ones",
                 moving_mean_initializer="zeros", moving_variance_initializer="ones",
                 beta_regularizer=None, gamma_regularizer=None, beta_constraint=None,
                 gamma_constraint=None, renorm=False, renorm_clipping=None, renorm_momentum=0.99,
                 synchronized=False, **kwargs):
        super().__init__(
            int(axis), epsilon, center, scale, beta_initializer, gamma_initializer,
            beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint, **kwargs,
        )
        not_there_yet(self, renorm=renorm, renorm_clipping=renorm_clipping)
        self.momentum = float(fraction(self, "momentum", momentum))
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)
        self.renorm_momentum = renorm_momentum
        self.synchronized = synchronized  # there is one process

    def create(self, input_shape):
        super().create(input_shape)
        shape = (input_shape[self.axis],)
        self.moving_mean = self.add_weight(
            shape, self.moving_mean_initializer, trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            shape, self.moving_variance_initializer, trainable=False, name="moving_variance"
        )

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        shape = self.feature_shape(x)
        if mask is not None and x.ndim != 3:
            raise ValueError(
                f"Layer '{self.name}' (BatchNormalization): a mask goes with inputs of shape "
                f"(batch, steps, features); got shape {tuple(x.shape)}."
            )
        check_mask(self, mask, x.shape[:2])
        if training and self.trainable:
            xhat, inverse, batch = self._by_batch(x, mask)
        else:
            mean, variance = (
                p.value.reshape(shape) for p in (self.moving_mean, self.moving_variance)
            )
            inverse, batch = 1 / np.sqrt(variance + self.epsilon), None
            xhat = (x - mean) * inverse
        return self.affine(xhat, shape), (xhat, inverse, batch, shape)

    def _by_batch(self, x, mask):
        """xhat and inverse by the batch's own mean and variance, which the moving ones follow;
        and what the way back needs to know of them."""
        features = self.feature_axes(x.ndim)
        axes = tuple(a for a in range(x.ndim) if a not in features)
        counts, factor = None, 1
        if mask is not None:
            asarray, counts = engines.current().asarray, counts_of(mask)[..., None]
            # Makes a mean over all entries one over those that count.
            share = counts.astype(x.dtype).mean(axis=axes, keepdims=True)
            factor = asarray(1 / (share + tiny() / math.prod(x.shape[a] for a in axes)))
            counts = asarray(counts)
        mean = factor * mean_over(where(counts, x), axes)
        xhat = x - mean
        variance = factor * mean_over(np.square(where(counts, xhat)), axes)
        for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.value[...] = (
                self.momentum * moving.value + (1 - self.momentum) * now.reshape(-1)
            )
        inverse = 1 / np.sqrt(variance + self.epsilon)
        xhat *= inverse
        return xhat, inverse, (axes, counts, factor)

    def backward(self, tape, dy):
        xhat, inverse, batch, shape = tape
        dxhat = self.affine_backward(xhat, dy, shape)
        return dxhat * inverse if batch is None else normalize_backward(
            xhat, inverse, dxhat, *batch
        )

    def get_config(self):
        return super().get_config() | {
            "momentum": self.momentum,
            "moving_mean_initializer": initializers.serialize(self.moving_mean_initializer),
            "moving_variance_initializer": initializers.serialize(self.moving_variance_initializer),
            "synchronized": self.synchronized,
            "renorm": False,
            "renorm_clipping": None,
            "renorm_momentum": self.renorm_momentum,
        }


# -- what they share ------------------------------------------------------------


def normalize_backward(xhat, inverse, dxhat, axes, counts=None, factor=1):
    """The gradient of x, where mean and variance are x's own over ``axes``.

    With dm and dv the means of dxhat and of dxhat xhat: dx = inverse (dxhat - dm - xhat dv).  Where
    only the entries in ``counts`` have made mean and variance, the others have the first term only.
    """
    dmean = factor * mean_over(dxhat, axes)
    dvariance = factor * mean_over(dxhat * xhat, axes)
    return inverse * (dxhat - where(counts, dmean + xhat * dvariance))


def where(counts, x):
    """``x``, with zeros where ``counts`` (None: all) is False."""
    return x if counts is None else np.where(counts, x, 0)


def mean_over(x, axes):
    """The mean over ``axes``, which stay with length 1."""
    return engines.current().mean_over(x, axes)
