"""What layers with a vocabulary have in common: learning it, and from tokens to ids.

They are called on lists and arrays, outside of a model, or are the first layer of one.

Letters: N rows of tokens, L tokens in a row, V ids of the vocabulary.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from fastrnn import engines, graph
from fastrnn.checks import whole
from fastrnn.layers.base import Layer
from fastrnn.layers.core import check_given, not_there_yet, positive
from fastrnn.layers.words import (
    Found,
    batches_of,
    encoded,
    is_ragged,
    lines_of,
    listed,
    texts_of,
)
from fastrnn.names import unknown

__all__ = ["IndexLookup", "Special"]

OLD_MODES = {"binary": "multi_hot", "tf-idf": "tf_idf"}
NOT_COUNTED = -1  # the id of masked tokens, where ids are counted


class Special(NamedTuple):
    """What a vocabulary begins with, and its direction."""

    num_oov_indices: int
    mask_token: Any
    oov_token: Any
    invert: bool = False


class Ids(dict):
    """From tokens to ids; ``missing`` says those of tokens that are not known."""

    def __init__(self, known, missing):
        super().__init__(known)
        self.missing = missing

    def __missing__(self, token):
        return self.missing(token)


class IndexLookup(Layer):
    """The base of layers with a vocabulary.

    A class says what are tokens (`key`, `shown`), and where they stand (`rows_in`).
    """

    supports_masking = True
    encoding = "utf-8"
    modes = "int", "one_hot", "multi_hot", "count", "tf_idf"

    def __init__(self, special, max_tokens=None, vocabulary=None, idf_weights=None,
                 output_mode="int", pad_to_max_tokens=False, sparse=False, vocabulary_size=None,
                 **kwargs):
        if kwargs.get("dtype") in ("string", "int64", "int32"):  # Keras 2 had the tokens' there
            del kwargs["dtype"]
        super().__init__(**kwargs)
        not_there_yet(self, sparse=sparse)
        self.num_oov_indices, self.mask_token, self.oov_token, self.invert = special
        self.output_mode = self.one_of("output_mode", OLD_MODES.get(output_mode, output_mode),
                                       self.modes)
        self.pad_to_max_tokens = pad_to_max_tokens
        if not whole(self.num_oov_indices, least=0):
            raise self.mistake(
                f"num_oov_indices must be a whole number from 0 on; got {self.num_oov_indices!r}."
            )
        self.max_tokens = None if max_tokens is None else positive(self, "max_tokens", max_tokens)
        if self.max_tokens is not None and self.max_tokens <= max(1, self.first_token):
            raise self.mistake(
                f"max_tokens must leave a place behind the {self.first_token} for padding and "
                f"unknown tokens; got {max_tokens}."
            )
        if pad_to_max_tokens and max_tokens is None:
            raise self.mistake("pad_to_max_tokens=True: how far? Give max_tokens.")
        if self.invert and self.output_mode != "int":
            raise self.mistake(
                f"invert=True makes tokens of ids: expected output_mode 'int'; got {output_mode!r}."
            )
        self.expected_size = vocabulary_size
        self.tokens = self.idf_weights = self.input_vocabulary = self.input_idf_weights = None
        self.ids = None
        if isinstance(vocabulary, (str, os.PathLike)):
            self.set_vocabulary(vocabulary, idf_weights)
        elif vocabulary is not None:
            self.input_vocabulary = ()
            self.set_vocabulary(vocabulary, idf_weights)
        elif idf_weights is not None:
            raise self.mistake("idf_weights belong to a vocabulary; there is none beside them.")
        self._is_fixed = vocabulary is not None

    # -- what tokens are: str, unless a class says otherwise --------------------------------------

    def key(self, token):
        """A token as it is kept; TypeError or ValueError for what is none."""
        return encoded(self, token)

    def key_of_line(self, line):
        """`key` of a token as it stands in a file."""
        return self.key(line)

    def shown(self, key):
        """A token as users see it."""
        return key.decode(self.encoding)

    def array_of(self, x):
        """Tokens, or texts of them, as an array."""
        return texts_of(self, x)

    def rows_in(self, x):
        """The rows of ``x``, an iterable of lists of keys, and the shape (see `Found`)."""
        raise NotImplementedError

    def documents(self, x, alone):
        """The rows that `adapt` counts; ``alone``: of a list of tokens each is one."""
        rows, shape = self.rows_in(x)
        if alone and shape is not None and len(shape) == 1:
            return ([token] for row in rows for token in row)
        return rows

    # -- the vocabulary --------------------------------------------------------------------------

    @property
    def first_oov(self):
        """The first id of unknown tokens: 0 is that of the mask, if ids come out."""
        return int(self.mask_token is not None and self.output_mode == "int")

    @property
    def first_token(self):
        """The first id of a token that is known."""
        return self.first_oov + self.num_oov_indices

    @property
    def special(self):
        """What stands before the tokens, a list."""
        return [self.mask_token] * self.first_oov + [self.oov_token] * self.num_oov_indices

    def adapt(self, data, steps=None):
        """Learn the vocabulary of data; what was learned before is forgotten.

        The most frequent token comes first; of tokens equally frequent, the greater (in the order
        of their characters' numbers), as in Keras.

        Parameters
        ----------
        data : list or array of tokens, or an iterable of such batches
            A generator or a `fastrnn.utils.PyDataset` gives batches; of ``(x, y)`` x is taken.
        steps : int, optional
            So many batches only.

        Raises
        ------
        ValueError
            If the vocabulary was given with the layer, or there is no token in the data.
        """
        if self._is_fixed:
            raise self.mistake(
                "adapt: the layer was made with a vocabulary. Make it without one, or call "
                "set_vocabulary."
            )
        counts, documents, rows = Counter(), Counter(), 0
        for batch, alone in batches_of(data, steps):
            for tokens in self.documents(batch, alone):
                counts.update(tokens)
                rows += 1
                if self.output_mode == "tf_idf":
                    documents.update(set(tokens))
        for token in (self.mask_token, self.oov_token):
            if token is not None:
                counts.pop(self.key(token), None)
        if not counts:
            raise self.mistake("adapt: expected data with tokens; got none in them.")
        tokens = sorted(counts, key=lambda token: (counts[token], token), reverse=True)
        if self.max_tokens is not None:
            tokens = tokens[: self.max_tokens - self.first_token]
        weights = None
        if self.output_mode == "tf_idf":
            weights = np.log(1 + rows / (1 + np.array([documents[token] for token in tokens])))
        self._take(tokens, weights)

    def set_vocabulary(self, vocabulary, idf_weights=None):
        """Take a vocabulary as it is.

        Parameters
        ----------
        vocabulary : list or array of tokens, or path
            In the order of their ids; what `get_vocabulary` begins with may be there or not.  A
            path is that of a text file with a token in each line.
        idf_weights : sequence of floats, one for each of them, optional
            With ``output_mode="tf_idf"``, and only there.

        Raises
        ------
        ValueError
            If a token is there twice, or is a mask or, of an inverted layer, the unknown one, but
            not at its place; if there are more than ``max_tokens``, or the weights do not fit.
        """
        if isinstance(vocabulary, (str, os.PathLike)):
            keys = [self.key_of_line(line) for line in self._lines(vocabulary)]
        else:
            keys = [self.key(token) for token in listed(vocabulary)]
        if not keys:
            raise self.mistake("vocabulary: expected at least one token; got none.")
        start = self.first_token
        begins = keys[:start] == [None if t is None else self.key(t) for t in self.special]
        tokens = keys[start:] if begins else keys
        self._check_tokens(tokens)
        weights = self._weights_given(keys, idf_weights)
        if weights is not None and begins:
            self._take(tokens, weights[start:], weights[:start])
        else:
            self._take(tokens, weights)
        if self.input_vocabulary is not None:
            self.input_vocabulary = [self.shown(key) for key in keys]
            self.input_idf_weights = None if weights is None else weights.tolist()

    def _lines(self, path):
        """The lines of a file; an empty one at the end is none."""
        try:
            with open(path, encoding=self.encoding, newline="") as file:
                lines = lines_of(file.read())
        except (OSError, UnicodeError) as error:
            raise self.mistake(
                f"vocabulary: {os.fspath(path)!r} cannot be read: {error}."
            ) from None
        return lines[:-1] if lines[-1] == "" else lines

    def _check_tokens(self, tokens):
        """Raise ValueError for tokens that cannot be, behind the special ones."""
        counts = Counter(tokens)
        twice = [self.shown(token) for token, n in counts.items() if n > 1]
        if twice:
            raise self.mistake(f"vocabulary: expected each token once; got {twice[:5]} again.")
        misplaced = [self.mask_token] + [self.oov_token] * self.invert
        for token in misplaced:
            if token is not None and self.key(token) in counts:
                raise self.mistake(
                    f"vocabulary: {token!r} has a place of its own: expected {self.special} at "
                    "the beginning, or none of these."
                )
        if self.max_tokens is not None and len(tokens) + self.first_token > self.max_tokens:
            raise self.mistake(
                f"vocabulary: expected max_tokens={self.max_tokens} at most, "
                f"{self.first_token} special ones among them; got {len(tokens)} tokens beside "
                "those."
            )

    def _weights_given(self, keys, idf_weights):
        """``idf_weights`` as an array; None if they have no place."""
        if self.output_mode != "tf_idf":
            if idf_weights is not None:
                raise self.mistake(
                    "idf_weights belong to output_mode 'tf_idf'; it is "
                    f"{self.output_mode!r}."
                )
            return None
        if idf_weights is None:
            raise self.mistake(
                "output_mode 'tf_idf' needs idf_weights beside the vocabulary, or adapt."
            )
        weights = np.asarray(idf_weights, self.dtype)
        if weights.shape != (len(keys),):
            raise self.mistake(
                f"idf_weights: expected one for each of the {len(keys)} tokens; got shape "
                f"{weights.shape}."
            )
        return weights

    def _take(self, tokens, weights, special=None):
        """Make these the tokens behind the special ones, with the weights of all."""
        start = self.first_token
        self.tokens = tokens
        ids = Ids(zip(tokens, range(start, start + len(tokens)), strict=True), self._missing_id)
        if self.mask_token is not None:
            ids[self.key(self.mask_token)] = 0 if self.output_mode == "int" else NOT_COUNTED
        self.ids = ids
        if weights is None:
            return
        weights = np.asarray(weights, self.dtype)
        if special is None:  # nobody knows those of unknown tokens
            special = np.full(start, weights.mean(), self.dtype)
        whole = np.concatenate([special, weights])
        self.idf_weights = np.pad(whole, (0, self.depth - len(whole)))

    def _missing_id(self, token):
        """The id of a token that is not known."""
        if self.num_oov_indices == 0:
            raise self.mistake(
                f"num_oov_indices=0: expected tokens of the vocabulary only; got "
                f"{self.shown(token)!r}. Give num_oov_indices=1."
            )
        return self.first_oov

    def get_vocabulary(self, include_special_tokens=True):
        """All tokens, a list: the token of id i at place i.

        Parameters
        ----------
        include_special_tokens : bool, default True
            Whether those of the mask and of unknown tokens come first.
        """
        tokens = [self.shown(token) for token in self.tokens or ()]
        return self.special + tokens if include_special_tokens else tokens

    def vocabulary_size(self):
        """V, those of the mask and of unknown tokens among them."""
        return len(self.tokens or ()) + self.first_token

    @property
    def depth(self):
        """The width of what is counted."""
        if self.pad_to_max_tokens:
            return self.max_tokens
        return self.expected_size if self.tokens is None else self.vocabulary_size()

    # -- from tokens to outputs ------------------------------------------------------------------

    def __call__(self, x, mask=None, training=None):
        """Look up tokens, in lists or arrays; or a symbolic tensor (see `Layer`)."""
        if graph.is_symbolic(x, mask):
            return super().__call__(x, mask, training)
        return self.outputs(self.found(x))

    def found(self, x):
        """The `Found` of tokens."""
        self.need_vocabulary()
        rows, shape = self.rows_in(x)
        flat, lengths, find = array("q"), array("q"), self.ids.__getitem__
        for tokens in rows:
            before = len(flat)
            flat.extend(map(find, tokens))
            lengths.append(len(flat) - before)
        return Found(np.array(flat, np.int64), np.array(lengths, np.int64), shape)

    def need_vocabulary(self):
        if self.tokens is None:
            raise self.mistake("there is no vocabulary yet; call adapt, or set_vocabulary.")

    def outputs(self, found):
        """What comes out: see ``output_mode``."""
        if self.output_mode == "int":
            if found.shape is None:
                return found.divided(found.flat)
            return found.flat.reshape(found.shape)
        if self.output_mode == "one_hot":
            return self._one_hot(found)
        counts = self.counts(found)
        return counts if found.shape is None else counts.reshape(*found.shape[:-1], self.depth)

    def counts(self, found):
        """What each row has of each token, (N, V)."""
        kept = found.flat != NOT_COUNTED
        places = found.places()[0][kept] * self.depth + found.flat[kept]
        shape = len(found.lengths), self.depth
        counts = np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)
        if self.output_mode == "multi_hot":
            return np.minimum(counts, 1)
        if self.output_mode == "tf_idf":
            return counts.astype(self.dtype) * self.idf_weights
        return counts

    def _one_hot(self, found):
        hot = (found.flat[:, None] == np.arange(self.depth)).astype(np.int64)
        if found.shape is None:
            return found.divided(hot)
        return hot.reshape(self._one_hot_shape(found.shape))

    def _one_hot_shape(self, shape):
        if not shape:
            return 1, self.depth
        return (*(shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape), self.depth)

    # -- in a model ------------------------------------------------------------------------------

    @property
    def output_dtype(self):
        return "int64" if self.output_mode == "int" else self.dtype

    def create(self, input_shape):
        if self.invert:
            raise self.mistake(
                "invert=True gives tokens, which no layer takes; call it on the outputs of the "
                "model."
            )
        if self.output_mode != "int" and self.depth is None:
            raise self.mistake(
                f"output_mode {self.output_mode!r}: the width of the output is not known yet; "
                "call adapt, or set_vocabulary, before the layer goes into a model."
            )
        if self.output_mode not in ("int", "one_hot") and len(input_shape) < 2:
            raise self.mistake(
                f"output_mode {self.output_mode!r} counts the tokens of a row: expected input of "
                f"shape (batch, tokens); got {tuple(input_shape)}."
            )

    def compute_output_shape(self, input_shape):
        if self.output_mode == "int":
            return tuple(input_shape)
        if self.output_mode == "one_hot":
            return self._one_hot_shape(tuple(input_shape))
        return *input_shape[:-1], self.depth

    def convert_input(self, x):
        """Tokens, as an array."""
        self.check_device()
        tokens = self.array_of(x)
        if is_ragged(tokens):
            raise self.mistake(
                "in a model rows of words need one length. Call the layer on them ahead of it: "
                "fit takes the lists of ids that it gives."
            )
        return tokens

    def check_device(self):
        """Raise RuntimeError where a model computes elsewhere than its tokens lie."""
        if engines.get_device() != "cpu":
            raise RuntimeError(
                f"{self.where}: tokens are looked up on the CPU. Call the layer ahead of the "
                "model, which then begins behind it."
            )

    def forward(self, x, mask=None, training=False):
        self.check_device()
        found = self.found(np.asarray(engines.dense(x)))
        return self.as_input(self.outputs(found)), None

    def as_input(self, y):
        """An output as the next layer takes it: ids, or floats."""
        return y if self.output_mode == "int" else y.astype(self.dtype)

    def backward(self, tape, dy):
        return None  # nothing is learned about tokens

    def compute_mask(self, x, mask=None):
        if self.output_mode == "int":
            return mask
        check_given(self, mask)
        return None

    def ids_after(self, x):
        return np.array([0, max(0, self.vocabulary_size() - 1)])

    # -- configuration and files -----------------------------------------------------------------

    def get_config(self):
        """The arguments that make an equal layer; a vocabulary that was learned is not in it."""
        return super().get_config() | {
            "max_tokens": self.max_tokens, "output_mode": self.output_mode,
            "pad_to_max_tokens": self.pad_to_max_tokens, "sparse": False,
            "vocabulary": self.input_vocabulary, "idf_weights": self.input_idf_weights,
            "vocabulary_size": self.expected_size if self.tokens is None else
            self.vocabulary_size(),
        }

    @classmethod
    def from_config(cls, config):
        """A new layer from `get_config`'s dict; a path to a vocabulary in it is not followed."""
        if isinstance(config.get("vocabulary"), str):
            raise ValueError(
                f"{cls.__name__}: vocabulary: expected a list in a configuration; got the path "
                f"{config['vocabulary']!r}, which is not read from there. Call "
                "set_vocabulary(path) on the layer."
            )
        return cls(**config)

    def learned(self):
        """What a file of a model keeps beside the configuration, as plain values, or None."""
        if self.tokens is None or self.input_vocabulary is not None:
            return None
        weights = None if self.idf_weights is None else self.idf_weights.tolist()
        return {"tokens": self.get_vocabulary(False), "idf_weights": weights}

    def restore(self, tokens, idf_weights=None):
        """Take what `learned` gave.

        Raises
        ------
        ValueError
            If it does not fit the layer.
        """
        tokens = [self.key(token) for token in tokens]
        self._check_tokens(tokens)
        size = len(tokens) + self.first_token
        if self.expected_size not in (None, size):
            raise self.mistake(f"expected a vocabulary of {self.expected_size}; got {size}.")
        self._take(tokens, None)
        if self.output_mode == "tf_idf":
            self.set_weights_of_tokens(idf_weights)

    def set_weights_of_tokens(self, idf_weights):
        """Take ``idf_weights`` of all ids, those that are padding too."""
        weights = np.asarray(() if idf_weights is None else idf_weights, self.dtype)
        if weights.shape != (self.depth,):
            raise self.mistake(
                f"idf_weights: expected shape ({self.depth},); got {weights.shape}."
            )
        self.idf_weights = weights

    # -- what is said of mistakes ----------------------------------------------------------------

    @property
    def where(self):
        return f"Layer '{self.name}' ({type(self).__name__})"

    def mistake(self, text):
        return ValueError(f"{self.where}: {text}")

    def one_of(self, argument, given, known):
        """``given``, if it is one of those known."""
        if given not in known:
            raise self.mistake(unknown(argument, given, known))
        return given
