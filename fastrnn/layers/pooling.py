"""A sequence as one vector: its mean or its maximum over the steps.

Letters: B rows in a batch, T steps, D features.
"""

from __future__ import annotations

import numpy as np

from fastrnn import engines
from fastrnn.layers.base import Layer
from fastrnn.layers.core import check_mask
from fastrnn.masks import counts_of

__all__ = [
    "GlobalAveragePooling1D",
    "GlobalAvgPool1D",
    "GlobalMaxPool1D",
    "GlobalMaxPooling1D",
]


class GlobalPooling1D(Layer):
    """What the two have in common.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, default "channels_last"
        Whether inputs are (B, T, D) or (B, D, T).
    keepdims : bool, default False
        Keep the axis of the steps, with length 1.
    """

    def __init__(self, data_format=None, keepdims=False, **kwargs):
        super().__init__(**kwargs)
        self.data_format = check_data_format(self, data_format)
        self.keepdims = keepdims

    @property
    def steps_axis(self):
        return 1 if self.data_format == "channels_last" else 2

    def create(self, input_shape):
        self.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        if len(input_shape) != 3:
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected inputs of 3 axes, (batch, "
                f"steps, features); got shape {tuple(input_shape)}."
            )
        shape = list(input_shape)
        shape[self.steps_axis : self.steps_axis + 1] = [1] if self.keepdims else []
        return tuple(shape)

    def pooled(self, y):
        """``y``, (B, 1, D) or (B, D, 1), in the shape of the output."""
        return y if self.keepdims else y.squeeze(self.steps_axis)

    def spread(self, dy):
        """The way back from `pooled`."""
        return dy if self.keepdims else np.expand_dims(dy, self.steps_axis)

    def output_mask(self, x, mask, y):
        return None  # there are no steps any more, though there may be an axis for them

    def get_config(self):
        return super().get_config() | {
            "data_format": self.data_format, "keepdims": self.keepdims,
        }


class GlobalAveragePooling1D(GlobalPooling1D):
    """The mean over the steps that count: (B, T, D) -> (B, D).

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, default "channels_last"
        Whether inputs are (B, T, D) or (B, D, T).
    keepdims : bool, default False
        Keep the axis of the steps, with length 1.

    Notes
    -----
    A row without any step that counts gives zeros (in Keras NaN).

    Examples
    --------
    >>> x = np.array([[[1.0], [3.0], [8.0]]])
    >>> GlobalAveragePooling1D()(x, mask=np.array([[True, True, False]]))
    array([[2.]], dtype=float32)
    """

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        self.check_rank(x.shape, 3, "(batch, steps, features)")
        check_mask(self, mask, (x.shape[0], x.shape[self.steps_axis]))
        weights = self._weights(x, mask)
        if mask is not None and engines.current().runs_ahead:  # to look at y would mean to wait
            return self.pooled(self._mean(np.where(weights, x, 0), weights)), weights
        with np.errstate(invalid="ignore"):
            y = self._mean(x, weights)
        if mask is not None and not np.isfinite(y).all():
            y = self._mean(np.where(weights, x, 0), weights)  # whatever stands at masked steps
        return self.pooled(y), weights

    def backward(self, tape, dy):
        return self.spread(dy) * tape

    def _mean(self, x, weights):
        """One product of a batch of matrices: several times as fast as a sum along an axis."""
        weights = weights.swapaxes(1, 2)
        first, second = (weights, x) if self.steps_axis == 1 else (x, weights)
        return np.matmul(first, second)

    def _weights(self, x, mask):
        """The share of each step in the mean: (B or 1, T, 1), or (B or 1, 1, T)."""
        steps = x.shape[self.steps_axis]
        if mask is None:
            shares = engines.current().zeros((1, steps), x.dtype)
            shares += 1 / max(steps, 1)
        else:
            counts = counts_of(mask).astype(x.dtype)
            shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
            shares = engines.current().asarray(shares)
        return np.expand_dims(shares, 3 - self.steps_axis)


class GlobalMaxPooling1D(GlobalPooling1D):
    """The largest entry over all steps of each feature: (B, T, D) -> (B, D).

    As in Keras, masks make no difference here: a masked step takes part like any other. But what
    sequences of different lengths are filled up with does not; one without a step gives zeros.

    Parameters
    ----------
    data_format : {"channels_last", "channels_first"}, default "channels_last"
        Whether inputs are (B, T, D) or (B, D, T).
    keepdims : bool, default False
        Keep the axis of the steps, with length 1.

    Examples
    --------
    >>> GlobalMaxPooling1D()(np.array([[[1.0, 5.0], [3.0, 4.0]]]))
    array([[3., 5.]], dtype=float32)
    """

    def forward(self, x, mask=None, training=False):
        x = engines.dense(x)
        self.check_rank(x.shape, 3, "(batch, steps, features)")
        given = None if mask is None else mask.given
        if given is None:
            y = x.max(axis=self.steps_axis, keepdims=True)
        else:
            y = self._largest_given(x, given)
        return self.pooled(y), (x, y, given)

    def _largest_given(self, x, given):
        """The largest over the steps that each row has: of none, 0."""
        if isinstance(x, np.ndarray) and self.steps_axis == 1 and not given.has_holes:
            y = np.zeros((len(x), 1, x.shape[2]), x.dtype)
            # Row by row: a third of the time, for nothing is copied, nor filling looked at.
            for row, into, start, stop in zip(x, y, given.start, given.stop, strict=True):
                if start < stop:
                    row[start:stop].max(axis=0, out=into[0])
            return y
        y = np.where(self._counts(given), x, -np.inf).max(axis=self.steps_axis, keepdims=True)
        return np.where(engines.current().asarray(given.any[:, None, None]), y, 0)

    def _counts(self, given):
        """Whether each step is given, (B, T, 1) or (B, 1, T)."""
        return engines.current().asarray(np.expand_dims(given.counts, 3 - self.steps_axis))

    def backward(self, tape, dy):
        x, y, given = tape
        largest = x == y
        if given is not None:
            largest &= self._counts(given)
        # Steps that are equally large share the gradient.
        ties = largest.sum(axis=self.steps_axis, keepdims=True)
        if given is not None:  # a row may have no step at all
            ties = np.maximum(ties, 1)
        return largest * (self.spread(dy) / ties.astype(x.dtype))


GlobalAvgPool1D = GlobalAveragePooling1D  # Keras has these names too
GlobalMaxPool1D = GlobalMaxPooling1D


def check_data_format(layer, data_format):
    """"channels_last" for None; ValueError for what is neither of the two."""
    if data_format is None:
        return "channels_last"
    if data_format not in ("channels_last", "channels_first"):
        raise ValueError(
            f"Layer '{layer.name}' ({type(layer).__name__}): data_format must be 'channels_last' "
            f"or 'channels_first'; got {data_format!r}."
        )
    return data_format
