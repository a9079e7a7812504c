"""Attention: steps of one sequence take from those of another what fits.

Both layers are written as a `call`: see `fastrnn.layers.composite`.

Letters: B rows, Q steps that ask, V steps that are asked, D features.
"""

from __future__ import annotations

from fastrnn import ops
from fastrnn.layers.base import Layer
from fastrnn.layers.core import Dropout, fraction
from fastrnn.layers.operations import applied

__all__ = ["AdditiveAttention", "Attention"]

# What is taken off the scores of masked steps; after a softmax nothing is left of them.
_FAR = 1e9


class BaseAttention(Layer):
    """What both have: scores become weights, which are those of a mean of values.

    The output has the mask of the query.
    """

    supports_masking = True

    def __init__(self, dropout, seed, **kwargs):
        super().__init__(**kwargs)
        self.dropout = fraction(self, "dropout", dropout)
        self.seed = seed
        self.drop = Dropout(dropout, seed=seed, dtype=self.dtype)

    # -- to be written by each -------------------------------------------------------------------

    def scores(self, query, key):
        """(B, Q, V), from (B, Q, D) and (B, V, D)."""
        raise NotImplementedError

    # -- the layer's work ------------------------------------------------------------------------

    def build(self, input_shape):
        if not isinstance(input_shape, list) or len(input_shape) not in (2, 3):
            raise ValueError(
                f"Layer '{self.name}' ({type(self).__name__}): expected a list of query and value, "
                f"or of query, value and key; got inputs of shape {input_shape}."
            )
        for shape in input_shape:
            self.check_rank(shape, 3, "(batch, steps, features)")

    def call(self, inputs, mask=None, training=False, return_attention_scores=False,
             use_causal_mask=False):
        query, value = inputs[:2]
        scores = self.scores(query, inputs[-1])
        counts = ops.expand_dims(mask[1], 1)
        if use_causal_mask:
            counts = counts * applied("not_before", scores)
        weights = ops.softmax(ops.where(counts, scores, scores - _FAR), axis=-1)
        if self.dropout > 0:
            weights = self.drop(weights, training=training)
        y = ops.matmul(weights, value) * ops.expand_dims(mask[0], -1)
        return (y, weights) if return_attention_scores else y

    def compute_mask(self, x, mask=None):
        return mask[0] if isinstance(mask, (list, tuple)) else None


class Attention(BaseAttention):
    """Values, weighted by the products of queries and keys (Luong et al., 2015).

    Parameters
    ----------
    use_scale : bool, default False
        Multiply scores by a number that is learned.
    score_mode : {"dot", "concat"}, default "dot"
        Scores are products, or sums over features of ``tanh(query + key)``.
    dropout : float in [0, 1], default 0
        Of weights, in training.
    seed : int, optional

    Notes
    -----
    It is called with a list: query (B, Q, D), value (B, V, D) and perhaps key (B, V, D), which is
    else the value. Masked steps of the value are not taken from. Of the call
    ``use_causal_mask=True`` keeps step t from those after t, and ``return_attention_scores=True``
    gives the weights, (B, Q, V), beside the output, (B, Q, D).

    Raises
    ------
    ValueError
        For another score_mode, or inputs that are no such list.

    Examples
    --------
    >>> import numpy as np
    >>> query, value = np.ones((2, 3, 4)), np.ones((2, 5, 4))
    >>> y, weights = Attention()([query, value], return_attention_scores=True)
    >>> y.shape, weights[0, 0]
    ((2, 3, 4), array([0.2, 0.2, 0.2, 0.2, 0.2], dtype=float32))
    """

    def __init__(self, use_scale=False, score_mode="dot", dropout=0.0, seed=None, **kwargs):
        super().__init__(dropout, seed, **kwargs)
        if score_mode not in ("dot", "concat"):
            raise ValueError(
                f"Attention: score_mode must be 'dot' or 'concat'; got {score_mode!r}."
            )
        self.use_scale = use_scale
        self.score_mode = score_mode

    def build(self, input_shape):
        super().build(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((), "ones", name="scale")
        if self.score_mode == "concat":
            self.concat_score_weight = self.add_weight((), "ones", name="concat_score_weight")

    def scores(self, query, key):
        if self.score_mode == "dot":
            scores = ops.matmul(query, ops.swapaxes(key, -2, -1))
            return scores * self.scale if self.use_scale else scores
        both = ops.expand_dims(query, 2) + ops.expand_dims(key, 1)
        both = self.scale * both if self.use_scale else both
        return self.concat_score_weight * ops.sum(ops.tanh(both), axis=-1)


class AdditiveAttention(BaseAttention):
    """Values, weighted by sums of ``scale tanh(query + key)`` (Bahdanau et al., 2014).

    Parameters
    ----------
    use_scale : bool, default True
        Each feature has a factor that is learned.
    dropout : float in [0, 1], default 0
        Of weights, in training.
    seed : int, optional

    Notes
    -----
    It is called as `Attention` is.

    Examples
    --------
    >>> import numpy as np
    >>> AdditiveAttention()([np.ones((2, 3, 4)), np.ones((2, 5, 4))]).shape
    (2, 3, 4)
    """

    def __init__(self, use_scale=True, dropout=0.0, seed=None, **kwargs):
        super().__init__(dropout, seed, **kwargs)
        self.use_scale = use_scale

    def build(self, input_shape):
        super().build(input_shape)
        if self.use_scale:
            self.scale = self.add_weight((input_shape[0][-1],), "glorot_uniform", name="scale")

    def scores(self, query, key):
        both = ops.tanh(ops.expand_dims(query, 2) + ops.expand_dims(key, 1))
        return ops.sum(self.scale * both if self.use_scale else both, axis=-1)
