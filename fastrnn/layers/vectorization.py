"""TextVectorization: texts to ids of their words, or to what they have of each word.

Letters: N texts, T words in a text, V ids of the vocabulary.
"""

from __future__ import annotations

import itertools
import string

import numpy as np

from fastrnn.checks import whole
from fastrnn.layers.core import check_given, positive
from fastrnn.layers.vocabulary import IndexLookup, Special
from fastrnn.layers.words import Found, encoded, is_ragged, rows_of, texts_of
from fastrnn.masks import StepMask
from fastrnn.names import unknown
from fastrnn.registry import registered_name, with_own

__all__ = ["TextVectorization"]

# As Keras has it, of ASCII alone: what bytes become, and those that are left out.
_LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
_PUNCTUATION = string.punctuation.encode()
STANDARDS = {
    "lower_and_strip_punctuation": (_LOWER, _PUNCTUATION), "lower": (_LOWER, b""),
    "strip_punctuation": (None, _PUNCTUATION),
}
SPLITS = "whitespace", "character"


class TextVectorization(IndexLookup):
    """Texts to the ids of their words, by a vocabulary that it learns.

    Parameters
    ----------
    max_tokens : int, optional
        The most that the vocabulary may have, special tokens included; default: any number.
    standardize : {"lower_and_strip_punctuation", "lower", "strip_punctuation"}, callable or None
        What is done to a text first; the first by default.  Letters and punctuation are those of
        ASCII, "'" among them, as in Keras.  A callable takes one str, and gives one.
    split : {"whitespace", "character"}, callable or None, default "whitespace"
        Into what a text falls.  Spaces are those of ASCII.  A callable takes one str, and gives a
        list of str.  None: each str is a word, and those along the last axis are one text.
    ngrams : int or tuple of int, optional
        Words in a row as tokens: so many, each of these numbers or, of an int, each up to it; in
        this order.
    output_mode : {"int", "multi_hot", "count", "tf_idf"}, default "int"
        Ids; or of each text whether each word is there, how often, or that times its weight,
        ``log(1 + N / (1 + n))`` of a word that n of the N texts have.
    output_sequence_length : int, optional
        T of all texts: with "int" they are cut off, or filled up with zeros, behind.  Default: that
        of the longest text.
    pad_to_max_tokens : bool, default False
        With the other modes, make rows ``max_tokens`` wide.
    vocabulary : list or array of str, or path, optional
        See `set_vocabulary`; else call `adapt`.
    idf_weights : sequence of float, optional
        With ``output_mode="tf_idf"``, one for each word of the vocabulary.
    sparse : bool, default False
        Only False is supported.
    ragged : bool, default False
        With "int", a list of arrays, each as long as its text: ``fit`` takes it as it is, and
        passes over no more than real words.
    encoding : str, default "utf-8"
        Of texts that are bytes; one that has ASCII as it is.

    Returns
    -------
    int64 array (N, T), or list of N arrays (T,)
        Of texts (N,) or (N, 1); of one str (T,).  0 is padding, 1 an unknown word.
    int64 array (N, V), for "multi_hot" and "count"; floats for "tf_idf"
        0 is an unknown word.

    Raises
    ------
    ValueError
        For arguments that cannot be, arrays of other shapes, or without a vocabulary.
    TypeError
        For texts that are no str.

    Notes
    -----
    As the first layer of a model it is given texts by ``fit`` and ``predict``; the `Input` is then
    ``Input((1,), dtype="string")``, and padding is as long as the longest text of a batch.  Models
    on a GPU begin behind it.

    A model's file has the vocabulary, one of weights alone has not, and `get_config` only one that
    was given with the layer.  In Keras's legacy files it becomes one that was given, and so it does
    in ``.keras`` files where a word has a character that Keras takes for the end of a line.

    In Keras a callable is given tensors, or arrays of NumPy, of all texts at once.

    Examples
    --------
    >>> layer = TextVectorization(output_sequence_length=4)
    >>> layer.adapt(["The cat sat.", "The dog sat, too!"])
    >>> layer.get_vocabulary()
    ['', '[UNK]', 'the', 'sat', 'too', 'dog', 'cat']
    >>> x = layer(["The dog sat.", "A cat!"])
    >>> x
    array([[2, 5, 3, 0],
           [1, 6, 0, 0]])
    >>> from fastrnn import Sequential
    >>> from fastrnn.layers import LSTM, Dense, Embedding
    >>> size = layer.vocabulary_size()
    >>> model = Sequential([Embedding(size, 8, mask_zero=True), LSTM(8), Dense(1, "sigmoid")])
    >>> model.compile("adam", "binary_crossentropy")
    >>> history = model.fit(x, np.array([1, 0]), verbose=0)

    The same as one model, that takes texts:

    >>> whole = Sequential([layer, *model.layers])
    >>> whole.predict(["The dog sat.", "A cat!"], verbose=0).shape
    (2, 1)
    """

    modes = "int", "multi_hot", "count", "tf_idf"
    input_dtype = "string"

    def __init__(self, max_tokens=None, standardize="lower_and_strip_punctuation",
                 split="whitespace", ngrams=None, output_mode="int", output_sequence_length=None,
                 pad_to_max_tokens=False, vocabulary=None, idf_weights=None, sparse=False,
                 ragged=False, encoding="utf-8", name=None, **kwargs):
        self.encoding = encoding
        super().__init__(
            Special(1, "", "[UNK]"), max_tokens=max_tokens, vocabulary=vocabulary,
            idf_weights=idf_weights, output_mode=output_mode, pad_to_max_tokens=pad_to_max_tokens,
            sparse=sparse, name=name, **kwargs,
        )
        if "A,".encode(encoding) != b"A,":
            raise self.mistake(f"encoding must have ASCII as it is; got {encoding!r}.")
        self.standardize = self._function("standardize", standardize, STANDARDS)
        self.split = self._function("split", split, SPLITS)
        self.ngrams = ngrams
        self._widths = self._widths_of(ngrams)
        if self.output_mode != "int" and (output_sequence_length is not None or ragged):
            raise self.mistake(
                f"output_sequence_length and ragged belong to output_mode 'int'; it is "
                f"{output_mode!r}."
            )
        self.output_sequence_length = None if output_sequence_length is None else positive(
            self, "output_sequence_length", output_sequence_length
        )
        self.ragged = ragged

    def _function(self, argument, given, known):
        """One of those known, None, or a function: of a name or config, one that is registered."""
        if given is None or isinstance(given, str) and given in known:
            return given
        found = given.function if isinstance(given, Written) else with_own(given)
        if callable(found):
            return found
        name = given.get("config") if isinstance(given, dict) else given
        raise self.mistake(
            unknown(argument, name, known) + " A function of one's own is given as it is; in "
            "files it has its name, see saving.register_keras_serializable."
        )

    def _widths_of(self, ngrams):
        """How many words are a token, a tuple; None for one."""
        if ngrams is None:
            return None
        if whole(ngrams):
            return tuple(range(1, int(ngrams) + 1))
        if isinstance(ngrams, (list, tuple)) and ngrams and all(map(whole, ngrams)):
            return tuple(map(int, ngrams))
        raise self.mistake(
            f"ngrams must be a whole number from 1 on, or a tuple of them; got {ngrams!r}."
        )

    def adapt(self, data, batch_size=None, steps=None):
        """Learn the vocabulary of texts; what was learned before is forgotten.

        The most frequent word comes first; of words equally frequent, the greater (in the order of
        their characters' numbers), as in Keras.

        Parameters
        ----------
        data : str, list or array of texts, (N,) or (N, 1), or an iterable of such batches
            A generator or a `fastrnn.utils.PyDataset` gives batches; of ``(x, y)`` x is taken.
        batch_size
            Accepted for Keras's sake.
        steps : int, optional
            So many batches only.

        Raises
        ------
        ValueError
            If the vocabulary was given with the layer, or there is no word in the texts.
        """
        super().adapt(data, steps)

    # -- from texts to tokens --------------------------------------------------------------------

    def rows_in(self, x):
        texts = texts_of(self, x)
        if self.split is None:
            return self._whole_texts(texts)
        if texts.ndim > 2 or texts.ndim == 2 and texts.shape[1] != 1 or is_ragged(texts):
            raise self.mistake(
                "expected texts, a str or an array of shape (N,) or (N, 1); got shape "
                f"{texts.shape}{' of lists' * is_ragged(texts)}. With split=None words may be "
                "given, (N, T)."
            )
        rows = map(self.tokens_of, texts.ravel())
        if texts.ndim:
            return rows, None
        [row] = rows
        return [row], (len(row),)

    def _whole_texts(self, texts):
        """`rows_in` of words that are not to be split."""
        ragged = is_ragged(texts)
        rows = [
            self._joined([self._standardized(self.key(word)) for word in row])
            for row in (texts if ragged else rows_of(texts))
        ]
        if ragged or not texts.ndim or not rows:
            return rows, None if ragged else texts.shape
        return rows, (*texts.shape[:-1], len(rows[0]))

    def documents(self, x, alone):
        return super().documents(x, alone and self.split is None)

    def tokens_of(self, text):
        """The tokens of a text, a list of bytes."""
        text = self._standardized(self.key(text))
        if self.split == "whitespace":
            return self._joined(text.split())
        text = text.decode(self.encoding)
        words = list(text) if self.split == "character" else self.split(text)
        if isinstance(words, np.ndarray):
            words = words.tolist()
        if not isinstance(words, (list, tuple)):
            raise TypeError(
                f"{self.where}: split should give a list of str for a str; it gave {words!r:.60}."
            )
        return self._joined([encoded(self, word) for word in words])

    def _standardized(self, text):
        if self.standardize is None:
            return text
        if isinstance(self.standardize, str):
            return text.translate(*STANDARDS[self.standardize])
        made = self.standardize(text.decode(self.encoding))
        if isinstance(made, np.ndarray) and not made.ndim:  # of functions of numpy.char
            made = made.item()
        if not isinstance(made, str):
            raise TypeError(
                f"{self.where}: standardize should give a str for a str; it gave {made!r:.60}."
            )
        return encoded(self, made)

    def _joined(self, words):
        """The tokens of words: these, or so many of them in a row."""
        if self._widths is None:
            return words
        rows = (zip(*(words[i:] for i in range(width)), strict=False) for width in self._widths)
        return list(map(b" ".join, itertools.chain.from_iterable(rows)))

    # -- what comes out --------------------------------------------------------------------------

    def outputs(self, found):
        if self.output_mode != "int":
            return super().outputs(found)
        length = self.output_sequence_length
        if found.shape is None:
            if self.ragged:
                return [row[:length] for row in found.divided(found.flat)]
            return found.padded(found.longest if length is None else length)
        if length is None or not found.shape:
            return found.flat.reshape(found.shape)
        if self.ragged:
            return found.flat.reshape(found.shape)[..., :length]
        return found.padded(length).reshape(*found.shape[:-1], length)

    # -- in a model ------------------------------------------------------------------------------

    def create(self, input_shape):
        if self.split is not None and (len(input_shape) > 2 or input_shape[1:] not in ((), (1,))):
            raise self.mistake(
                "expected texts of shape (batch,) or (batch, 1), as of Input((1,), "
                f"dtype='string'); got {tuple(input_shape)}."
            )
        if self.split is None or self.output_mode == "int":
            super().create(input_shape)
        else:
            super().create((None, None))

    def compute_output_shape(self, input_shape):
        if self.output_mode != "int":
            before = input_shape[:1] if self.split is not None else input_shape[:-1]
            return *before, self.depth
        if self.split is not None:
            return input_shape[0], self.output_sequence_length
        if len(input_shape) < 2 or self.output_sequence_length is None and self._widths is None:
            return tuple(input_shape)
        return *input_shape[:-1], self.output_sequence_length

    def convert_input(self, x):
        """Texts with the ids of their words in their places, an array of arrays.

        Once for all epochs, that is.
        """
        texts = super().convert_input(x)
        if self.split is None:
            return texts
        found = self.found(texts)
        ids = np.empty(len(found.lengths), object)
        for i, row in enumerate(found.divided(found.flat)):
            ids[i] = row
        return ids.reshape(texts.shape)

    def _found_in(self, x):
        """The `Found` of what `convert_input` gave, or of texts, of which others read too."""
        if self.split is None or not x.size or not isinstance(x.flat[0], np.ndarray):
            return self.found(x)
        rows = list(x.ravel())
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return Found(np.concatenate(rows), lengths, None)

    def forward(self, x, mask=None, training=False):
        y, _, tape = self.run(x, mask, training)
        return y, tape

    def run(self, x, mask=None, training=False):
        check_given(self, mask)
        self.check_device()
        found = self._found_in(x)
        if self.output_mode != "int" or found.shape is not None:
            return self.as_input(self.outputs(found)), None, None
        longest = max(1, found.longest)  # no layer does without a step
        if not self.ragged:
            return found.padded(self.output_sequence_length or longest), None, None
        steps = min(longest, self.output_sequence_length or longest)
        lengths = np.minimum(found.lengths, steps)
        return found.padded(steps), StepMask.from_ragged(lengths, steps), None

    # -- configuration ---------------------------------------------------------------------------

    def get_config(self):
        return super().get_config() | {
            "standardize": _named(self.standardize), "split": _named(self.split),
            "ngrams": self.ngrams, "output_sequence_length": self.output_sequence_length,
            "ragged": self.ragged, "encoding": self.encoding,
        }


class Written(dict):
    """A function as files have it; in this process it is known still."""

    def __init__(self, function):
        super().__init__({
            "module": "builtins", "class_name": "function", "config": registered_name(function),
            "registered_name": "function",
        })
        self.function = function


def _named(function):
    """A function with a name as files have it, all else as it is."""
    name = getattr(function, "__name__", "<lambda>")
    return function if name == "<lambda>" else Written(function)
