"""Layers on token ids, ahead of an `Embedding`.

Letters: B rows in a batch, T steps, V vocabulary.
"""

from __future__ import annotations

import numpy as np

from fastrnn import random
from fastrnn.layers.base import Layer
from fastrnn.layers.core import fraction, token_ids

__all__ = ["TokenDropout"]


class TokenDropout(Layer):
    """Puts other tokens in place of some, drawn at random for each step, in training only.

    A net that must do without some of the words learns to read all of them (word dropout: Iyyer et
    al., "Deep Unordered Composition Rivals Syntactic Methods for Text Classification", 2015).
    Id 0, padding, stays what it is.  Keras has no such layer.

    Parameters
    ----------
    rate : float in [0, 1]
        The part of the tokens that is replaced.
    replacement : int, or sequence of V ints
        The id that takes their place: one for all, as that of unknown words; or one for each
        token, as the last word of a phrase.
    seed : int, optional

    Raises
    ------
    ValueError
        For a rate or ids that cannot be.
    IndexError
        For an id that ``replacement`` does not reach.

    Examples
    --------
    >>> layer = TokenDropout(1.0, replacement=2)
    >>> layer(np.array([[5, 6]])), layer(np.array([[5, 6]]), training=True)
    (array([[5, 6]], dtype=int32), array([[2, 2]], dtype=int32))
    >>> TokenDropout(1.0, replacement=[0, 1, 1, 0])(np.array([[2, 3]]), training=True)
    array([[1, 0]], dtype=int32)
    """

    supports_masking = True

    def __init__(self, rate, replacement=2, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.rate = fraction(self, "rate", rate)
        self.replacement = np.array(replacement)
        if self.replacement.ndim > 1 or self.replacement.dtype.kind not in "iu":
            raise ValueError(
                f"Layer '{self.name}' (TokenDropout): replacement must be a token id or a list "
                f"with one for each token; got {replacement!r:.60}."
            )
        if self.replacement.size and not 0 <= self.replacement.min() < 2**31:
            raise ValueError(
                f"Layer '{self.name}' (TokenDropout): replacement holds "
                f"{self.replacement.min()}; token ids are from 0 on."
            )
        self.replacement = self.replacement.astype(np.int32)
        self.seed = seed
        self.stream = random.Stream(seed)

    def convert_input(self, x):
        x = token_ids(self, x)
        self.check_input(x)
        return x

    def check_input(self, x):
        most = len(self.replacement) if self.replacement.ndim else 2**31
        if x.size and not (x.min() >= 0 and x.max() < most):
            raise IndexError(
                f"Layer '{self.name}' (TokenDropout): expected token ids from 0 to {most - 1}; "
                f"got {x.min() if x.min() < 0 else x.max()}."
            )

    def ids_after(self, x):
        both = [part for part in (x, self.replacement) if part.size]
        return np.array([f(part) for part in both for f in (np.min, np.max)])

    def forward(self, x, mask=None, training=False):
        if x.dtype != np.int32:  # ids that another layer has had in its hands
            x = token_ids(self, x)
        if training and self.rate:
            other = self.replacement[x] if self.replacement.ndim else self.replacement
            x = np.where((self.stream.uniform(x.shape) < self.rate) & (x != 0), other, x)
        return x, None

    def backward(self, tape, dy):
        return None  # nothing is learned about ids

    def get_config(self):
        return super().get_config() | {
            "rate": self.rate, "replacement": self.replacement.tolist(), "seed": self.seed,
        }
