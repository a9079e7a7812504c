"""StringLookup and IntegerLookup: tokens that come as they are, to ids of a vocabulary and back.

Letters: V ids of the vocabulary.
"""

from __future__ import annotations

import numpy as np

from fastrnn import graph
from fastrnn.checks import whole
from fastrnn.layers.core import not_there_yet
from fastrnn.layers.vocabulary import IndexLookup, Special
from fastrnn.layers.words import is_ragged, rows_of

__all__ = ["IntegerLookup", "StringLookup"]


class Lookup(IndexLookup):
    """What `StringLookup` and `IntegerLookup` have in common: tokens come as they are."""

    def __init__(self, special, salt=None, **kwargs):
        super().__init__(special, **kwargs)
        not_there_yet(self, salt=salt)

    def rows_in(self, x):
        tokens = self.array_of(x)
        if is_ragged(tokens):
            return map(self.keys_of, tokens), None
        return map(self.keys_of, rows_of(tokens)), tokens.shape

    def keys_of(self, row):
        """The keys of a list or array of tokens."""
        return [self.key(token) for token in row]

    def __call__(self, x, mask=None, training=None):
        if self.invert and not graph.is_symbolic(x, mask):
            return self._inverted(whole_numbers(self, x))
        return super().__call__(x, mask, training)

    def _inverted(self, ids):
        """The tokens of an array of ids."""
        self.need_vocabulary()
        tokens = np.array([*self.get_vocabulary(), self.oov_token])
        known = (ids >= 0) & (ids < self.vocabulary_size())
        return tokens[np.where(known, ids, -1)]

    def get_config(self):
        return super().get_config() | {
            "invert": self.invert, "num_oov_indices": self.num_oov_indices,
            "oov_token": self.oov_token, "mask_token": self.mask_token, "salt": None,
        }


class StringLookup(Lookup):
    """Words, or other short texts, to ids of a vocabulary, as they are; or ids to words.

    `TextVectorization` is for texts, which it splits into words.

    Parameters
    ----------
    max_tokens : int, optional
        The most that the vocabulary may have, special tokens included; default: any number.
    num_oov_indices : {1, 0}, default 1
        Whether unknown tokens have an id, the one before the vocabulary's; with 0 they are errors.
        More of them, which Keras tells apart by a hash of its own, are not supported.
    mask_token : str, optional
        Gets the id 0, and unknown tokens 1; where tokens are counted, it is not.
    oov_token : str, default "[UNK]"
        What stands for unknown tokens in the vocabulary.
    vocabulary : list or array of str, or path, optional
        See `set_vocabulary`; else call `adapt`.
    idf_weights : sequence of float, optional
        With ``output_mode="tf_idf"``, one for each token of the vocabulary.
    invert : bool, default False
        From ids to words.
    output_mode : {"int", "one_hot", "multi_hot", "count", "tf_idf"}, default "int"
        An id in the place of each token; or a row of V entries, of each token; or of all tokens
        along the last axis: whether each word is there, how often, or that times its weight.
    pad_to_max_tokens : bool, default False
        Make rows ``max_tokens`` wide.
    sparse, salt
        Not supported.
    encoding : str, default "utf-8"
        Of tokens that are bytes.
    oov_method
        Accepted for Keras's sake.

    Returns
    -------
    int64 array of the shape of the tokens, or with V behind it; floats for "tf_idf"
        Inverted, an array of str.  Of rows of different lengths a list of arrays, one for each.

    Raises
    ------
    ValueError
        For arguments that cannot be, without a vocabulary, or for unknown tokens without an id.
    TypeError
        For tokens that are no str.

    Examples
    --------
    >>> layer = StringLookup()
    >>> layer.adapt(["noun", "verb", "noun"])
    >>> layer.get_vocabulary()
    ['[UNK]', 'noun', 'verb']
    >>> layer([["verb", "noun", "adverb"]])
    array([[2, 1, 0]])
    >>> StringLookup(vocabulary=layer.get_vocabulary(), invert=True)([1, 2])
    array(['noun', 'verb'], dtype='<U5')
    """

    input_dtype = "string"

    def __init__(self, max_tokens=None, num_oov_indices=1, mask_token=None, oov_token="[UNK]",
                 vocabulary=None, idf_weights=None, invert=False, output_mode="int",
                 pad_to_max_tokens=False, sparse=False, encoding="utf-8", name=None, salt=None,
                 oov_method=None, **kwargs):
        self.encoding = encoding
        super().__init__(
            Special(num_oov_indices, mask_token, oov_token, invert), salt=salt,
            max_tokens=max_tokens, vocabulary=vocabulary, idf_weights=idf_weights,
            output_mode=output_mode, pad_to_max_tokens=pad_to_max_tokens, sparse=sparse, name=name,
            **kwargs,
        )
        if num_oov_indices > 1:
            raise NotImplementedError(
                f"{self.where}: several ids for unknown words are not there, as Keras chooses one "
                f"by a hash of its own; expected num_oov_indices 0 or 1, got {num_oov_indices}."
            )

    def get_config(self):
        return super().get_config() | {"encoding": self.encoding, "oov_method": "floormod"}


class IntegerLookup(Lookup):
    """Whole numbers, as those of customers or places, to ids of a vocabulary; or ids to numbers.

    Parameters
    ----------
    max_tokens : int, optional
        The most that the vocabulary may have, special tokens included; default: any number.
    num_oov_indices : int, default 1
        How many ids unknown numbers have, before those of the vocabulary: a number's remainder
        tells which.  With 0 they are errors.
    mask_token : int, optional
        Gets the id 0; where numbers are counted, it is not.
    oov_token : int, default -1
        What stands for unknown numbers in the vocabulary.
    vocabulary : list or array of int, or path, optional
        See `set_vocabulary`; else call `adapt`.
    vocabulary_dtype : {"int64"}
    idf_weights, invert, output_mode, pad_to_max_tokens
        As of `StringLookup`.
    sparse, salt, oov_method="farmhash"
        Not supported.

    Returns
    -------
    int64 array of the shape of the numbers, or with V behind it; floats for "tf_idf"
        Of rows of different lengths a list of arrays, one for each.

    Raises
    ------
    ValueError
        For arguments that cannot be, what are no whole numbers, or without a vocabulary.

    Examples
    --------
    >>> layer = IntegerLookup()
    >>> layer.adapt([42, 1138, 42])
    >>> layer.get_vocabulary(), layer([1138, 42, 7])
    ([-1, 42, 1138], array([2, 1, 0]))
    >>> IntegerLookup(vocabulary=[42, 1138], output_mode="count")([[42, 42, 5]])
    array([[1, 2, 0]])
    """

    input_dtype = "int64"

    def __init__(self, max_tokens=None, num_oov_indices=1, mask_token=None, oov_token=-1,
                 vocabulary=None, vocabulary_dtype="int64", idf_weights=None, invert=False,
                 output_mode="int", sparse=False, pad_to_max_tokens=False, oov_method="floormod",
                 salt=None, name=None, **kwargs):
        super().__init__(
            Special(num_oov_indices, mask_token, oov_token, invert), salt=salt,
            max_tokens=max_tokens, vocabulary=vocabulary, idf_weights=idf_weights,
            output_mode=output_mode, pad_to_max_tokens=pad_to_max_tokens, sparse=sparse, name=name,
            **kwargs,
        )
        self.one_of("vocabulary_dtype", vocabulary_dtype, ["int64"])
        if oov_method != "floormod":
            not_there_yet(self, oov_method=oov_method)

    def key(self, token):
        return whole_number(self, token)

    def key_of_line(self, line):
        try:
            return int(line)
        except ValueError:
            raise self.mistake(
                f"vocabulary: expected a whole number in each line; got {line!r:.60}."
            ) from None

    def shown(self, key):
        return key

    def _missing_id(self, token):
        if self.num_oov_indices > 1:
            return self.first_oov + token % self.num_oov_indices
        return super()._missing_id(token)

    def array_of(self, x):
        rows = x if isinstance(x, (list, tuple)) else ()
        lengths = {np.shape(row)[:1] for row in rows if isinstance(row, (list, tuple, np.ndarray))}
        if len(lengths) > 1:
            ragged = np.empty(len(x), object)
            ragged[:] = [whole_numbers(self, row) for row in x]
            return ragged
        return whole_numbers(self, x)

    def keys_of(self, row):
        return row.tolist()

    def get_config(self):
        return super().get_config() | {"vocabulary_dtype": "int64", "oov_method": "floormod"}


# -- whole numbers ---------------------------------------------------------------------------------


def whole_numbers(layer, x):
    """``x`` as an int64 array; ValueError for what are no whole numbers."""
    try:
        numbers = np.asarray(x)
    except ValueError:
        raise layer.mistake(
            f"expected rows of one length; got lists of different lengths, {x!r:.60}."
        ) from None
    if numbers.dtype.kind not in "iub":
        made = [whole_number(layer, number) for number in numbers.ravel().tolist()]
        return np.array(made, np.int64).reshape(numbers.shape)
    return numbers.astype(np.int64)


def whole_number(layer, token):
    """A token as an int; ValueError for what is none."""
    if isinstance(token, (int, np.integer)) or whole(token, least=-np.inf):
        return int(token)
    raise layer.mistake(f"expected whole numbers; got {token!r:.60} ({type(token).__name__}).")
