"""Texts and tokens as they are given to layers with a vocabulary, and the ids that come of them.

Letters: N rows of tokens, L tokens in a row.
"""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import numpy as np

__all__ = [
    "Found", "batches_of", "encoded", "is_ragged", "lines_of", "listed", "rows_of", "texts_of",
]


# -- what comes in ---------------------------------------------------------------------------------


def encoded(layer, text):
    """A str or bytes as bytes in the layer's encoding."""
    try:
        if isinstance(text, str):
            return text.encode(layer.encoding)
        if isinstance(text, bytes):
            text.decode(layer.encoding)
            return text
    except UnicodeError as error:
        raise layer.mistake(
            f"encoding={layer.encoding!r} does not fit {text!r:.60}: {error}."
        ) from None
    raise TypeError(
        f"{layer.where}: expected str; got {text!r:.60} ({type(text).__name__})."
    )


def texts_of(layer, x):
    """Texts as an array of objects, str or bytes, of the shape that they have.

    Lists of different lengths stay lists.
    """
    if isinstance(x, (str, bytes)):
        texts = np.empty((), object)
        texts[()] = x
        return texts
    if isinstance(x, (list, tuple)):
        return np.array(x, object)
    if hasattr(x, "__array__"):
        return np.asarray(x).astype(object)
    raise TypeError(
        f"{layer.where}: expected a str, or a list or array of them; got {x!r:.60} "
        f"({type(x).__name__})."
    )


def is_ragged(tokens):
    """Whether the rows of an array of objects are lists, of different lengths."""
    return tokens.dtype == object and tokens.ndim == 1 and any(
        isinstance(row, (list, tuple, np.ndarray)) for row in tokens
    )


def rows_of(tokens):
    """An array with a row for each along the last axis of another; of one token, one row."""
    if not tokens.ndim:
        return tokens.reshape(1, 1)
    return tokens.reshape(math.prod(tokens.shape[:-1]), tokens.shape[-1])


def lines_of(text):
    """The lines of a text, which may have been written on Windows."""
    lines = text.split("\n")
    if len(lines) > 1 and all(line.endswith("\r") for line in lines[:-1]):
        return [line.removesuffix("\r") for line in lines]
    return lines


def listed(vocabulary):
    return vocabulary.tolist() if isinstance(vocabulary, np.ndarray) else list(vocabulary)


def batches_of(data, steps):
    """The batches of ``data``, and whether each is all that there is."""
    if isinstance(data, (str, bytes)):
        data = [data]
    if isinstance(data, (list, tuple)) or hasattr(data, "__array__"):
        yield data, True
        return
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        data = map(data.__getitem__, range(len(data)))
    for batch in itertools.islice(data, steps):
        pair = isinstance(batch, tuple) and len(batch) in (2, 3)
        yield batch[0] if pair and isinstance(batch[0], (list, np.ndarray)) else batch, False


# -- what comes out --------------------------------------------------------------------------------


class Found(NamedTuple):
    """The ids of rows of tokens.

    Attributes
    ----------
    flat : int64 array
        One row behind the other.
    lengths : int64 array of shape (N,)
    shape : tuple or None
        That of the tokens, rows along the last axis; None for rows of different lengths.
    """

    flat: np.ndarray
    lengths: np.ndarray
    shape: tuple | None

    @property
    def longest(self):
        """The length of the longest row."""
        return int(self.lengths.max(initial=0))

    def divided(self, values):
        """The part of each row of what there is for each id, a list."""
        ends = np.cumsum(self.lengths).tolist()
        return [values[e - n : e] for e, n in zip(ends, self.lengths.tolist(), strict=True)]

    def places(self):
        """The row of each id, and its place there."""
        starts = np.cumsum(self.lengths) - self.lengths
        rows = np.repeat(np.arange(len(self.lengths)), self.lengths)
        return rows, np.arange(len(self.flat)) - starts[rows]

    def padded(self, length):
        """The ids (N, length), cut off behind, or filled up with zeros."""
        rows, places = self.places()
        there = places < length
        ids = np.zeros((len(self.lengths), length), np.int64)
        ids[rows[there], places[there]] = self.flat[there]
        return ids
