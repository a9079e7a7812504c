"""A vocabulary of texts, their words as ids, and ids as rows of a matrix.

Letters: N texts, V words that have a column.
"""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np

from fastrnn.names import unknown
from fastrnn.preprocessing.words import FILTERS, text_to_word_sequence

__all__ = ["Tokenizer", "tokenizer_from_json"]

# The tables that a config has as JSON.
TABLES = "word_counts", "word_docs", "index_docs", "index_word", "word_index"


class Tokenizer:
    """Learns the words of texts, and turns texts into lists of their ids.

    The most frequent word has the id 1; 0 is left for padding.  Of words equally frequent, the
    one that was met first comes first.

    Parameters
    ----------
    num_words : int, optional
        Only words with ids below are used; by default, all are.
    filters : str, default ASCII's punctuation without "'", tab and newline
    lower : bool, default True
    split : str, default " "
        See `text_to_word_sequence`.
    char_level : bool, default False
        Every character is a word; nothing is filtered.
    oov_token : str, optional
        Stands, with the id 1, for all words that are not used; by default they are left out.
    analyzer : callable, optional
        From a text to its words, in place of ``filters``, ``lower`` and ``split``.
    document_count : int, default 0
        Where counting begins.

    Attributes
    ----------
    word_counts, word_docs : dict of str to int
        How often a word was met, and in how many texts.
    word_index, index_word : dict of str to int, and of int to str
        All ids, those from ``num_words`` on too.
    index_docs : dict of int to int
        In how many texts the word of an id was met.
    document_count : int
        The number of texts.

    Examples
    --------
    >>> tokenizer = Tokenizer(oov_token="<OOV>")
    >>> tokenizer.fit_on_texts(["The cat sat.", "The dog!"])
    >>> tokenizer.word_index
    {'<OOV>': 1, 'the': 2, 'cat': 3, 'sat': 4, 'dog': 5}
    >>> tokenizer.texts_to_sequences(["the bird sat"])
    [[2, 1, 4]]
    """

    def __init__(self, num_words=None, filters=FILTERS, lower=True, split=" ", char_level=False,
                 oov_token=None, analyzer=None, document_count=0):
        self.num_words = num_words
        self.filters = filters
        self.lower = lower
        self.split = split
        self.char_level = char_level
        self.oov_token = oov_token
        self.analyzer = analyzer
        self.document_count = document_count
        self.word_counts, self.word_docs, self.index_docs = Counter(), Counter(), Counter()
        self.word_index, self.index_word = {}, {}

    # -- learning --------------------------------------------------------------------------------

    def fit_on_texts(self, texts):
        """Count the words of texts, and number all words anew.

        Parameters
        ----------
        texts : iterable of str, or of lists of words
            Lists are taken as they are, but for ``lower``.

        Raises
        ------
        TypeError
            For a single str, or something in it that is neither.
        """
        for words in map(self._words, _several("fit_on_texts", texts)):
            self.document_count += 1
            self.word_counts.update(words)
            self.word_docs.update(dict.fromkeys(words, 1))  # no set: its order varies
        words = [word for word, _ in self.word_counts.most_common()]
        first = [] if self.oov_token is None else [self.oov_token]
        self.word_index = {word: i for i, word in enumerate([*first, *words], 1)}
        self.index_word = {i: word for word, i in self.word_index.items()}
        for word, n in self.word_docs.items():
            self.index_docs[self.word_index[word]] = n

    def fit_on_sequences(self, sequences):
        """Count in how many sequences each id is: for ``sequences_to_matrix`` without texts.

        Parameters
        ----------
        sequences : list of lists of int
        """
        self.document_count += len(sequences)
        for sequence in sequences:
            self.index_docs.update(set(sequence))

    def _words(self, text):
        """The words of a text as they are counted."""
        if isinstance(text, (list, tuple)):
            return [word.lower() for word in text] if self.lower else list(text)
        if not isinstance(text, str):
            raise TypeError(
                "Tokenizer: texts: expected str or lists of words; got "
                f"{text!r:.60} ({type(text).__name__}) among them."
            )
        if self.char_level:
            return list(text.lower() if self.lower else text)
        if self.analyzer is not None:
            return list(self.analyzer(text))
        return text_to_word_sequence(text, self.filters, self.lower, self.split)

    # -- ids -------------------------------------------------------------------------------------

    def texts_to_sequences(self, texts):
        """The ids of the words of each text: a list of lists.

        Parameters
        ----------
        texts : iterable of str, or of lists of words

        Raises
        ------
        ValueError
            If no words are known yet.
        TypeError
            As `fit_on_texts`.
        """
        return list(self.texts_to_sequences_generator(texts))

    def texts_to_sequences_generator(self, texts):
        """`texts_to_sequences`, one text at a time."""
        for text in _several("texts_to_sequences", texts):
            if not self.word_index:
                raise ValueError(
                    "Tokenizer: texts_to_sequences: no words are known; call fit_on_texts first."
                )
            ids = (self._used(self.word_index.get(word)) for word in self._words(text))
            yield [i for i in ids if i is not None]

    def _used(self, i):
        """An id as it is used: its own, that of ``oov_token``, or None."""
        known = i is not None and not (self.num_words and i >= self.num_words)
        return i if known else self.word_index.get(self.oov_token)

    def sequences_to_texts(self, sequences):
        """The words of ids, with spaces between them: a list of str.

        Ids that are not used are left out, or ``oov_token`` stands for them.
        """
        return list(self.sequences_to_texts_generator(sequences))

    def sequences_to_texts_generator(self, sequences):
        """`sequences_to_texts`, one sequence at a time."""
        for sequence in sequences:
            ids = (self._used(int(i) if i in self.index_word else None) for i in sequence)
            yield " ".join(self.index_word[i] for i in ids if i is not None)

    # -- matrices --------------------------------------------------------------------------------

    def texts_to_matrix(self, texts, mode="binary"):
        """`sequences_to_matrix` of texts."""
        return self.sequences_to_matrix(self.texts_to_sequences(texts), mode)

    def sequences_to_matrix(self, sequences, mode="binary"):
        """What each text has of each word, whatever their order.

        Parameters
        ----------
        sequences : list of lists of int
        mode : {"binary", "count", "freq", "tfidf"}
            Whether, how often, or in what share of the text; or ``(1 + log(count)) log(1 + N / (1
            + n))``, n the number of the N texts of `fit_on_texts` that have the word.

        Returns
        -------
        float64 array of shape (len(sequences), V)
            Columns are ids; V is ``num_words``, or one more than there are words.  Ids from V on
            have none.

        Raises
        ------
        ValueError
            For another mode, or if what it needs is not known yet.

        Examples
        --------
        >>> Tokenizer(num_words=4).sequences_to_matrix([[1, 3, 3], [2]], mode="count")
        array([[0., 1., 0., 2.],
               [0., 0., 1., 0.]])
        """
        columns = self.num_words or len(self.word_index) + 1
        if mode not in _MODES:
            raise ValueError(f"Tokenizer: {unknown('mode', mode, _MODES)}")
        if not (self.num_words or self.word_index):
            raise ValueError(
                "Tokenizer: sequences_to_matrix: the number of columns is not known; give "
                "num_words, or call fit_on_texts first."
            )
        if mode == "tfidf" and not self.document_count:
            raise ValueError(
                "Tokenizer: mode 'tfidf' needs texts to compare with; call fit_on_texts, or "
                "fit_on_sequences, first."
            )
        matrix = np.zeros((len(sequences), columns))
        for row, sequence in zip(matrix, sequences, strict=True):
            counts = Counter(i for i in sequence if i < columns)
            for i, count in counts.items():
                row[i] = _MODES[mode](self, i, count, len(sequence))
        return matrix

    def _tfidf(self, i, count):
        rare = math.log(1 + self.document_count / (1 + self.index_docs.get(i, 0)))
        return (1 + math.log(count)) * rare

    # -- files -----------------------------------------------------------------------------------

    def get_config(self):
        """All that it has learned, as a dict of plain values; an ``analyzer`` is not in it."""
        config = {
            "num_words": self.num_words, "filters": self.filters, "lower": self.lower,
            "split": self.split, "char_level": self.char_level, "oov_token": self.oov_token,
            "document_count": self.document_count,
        }
        return config | {name: json.dumps(getattr(self, name)) for name in TABLES}

    def to_json(self, **options):
        """A str from which `tokenizer_from_json`, here and in Keras, makes an equal one.

        Parameters
        ----------
        options
            For ``json.dumps``.
        """
        return json.dumps(
            {"class_name": "Tokenizer", "config": self.get_config()}, **options
        )


_MODES = {
    "binary": lambda tokenizer, i, count, length: 1,
    "count": lambda tokenizer, i, count, length: count,
    "freq": lambda tokenizer, i, count, length: count / length,
    "tfidf": lambda tokenizer, i, count, length: tokenizer._tfidf(i, count),
}


def tokenizer_from_json(json_string):
    """The `Tokenizer` of a str that ``to_json`` made, here or in Keras.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> tokenizer = Tokenizer()
    >>> tokenizer.fit_on_texts(["one two"])
    >>> tokenizer_from_json(tokenizer.to_json()).texts_to_sequences(["two"])
    [[2]]
    """
    try:
        config = dict(json.loads(json_string)["config"])
        tables = {name: json.loads(config.pop(name)) for name in TABLES}
        tokenizer = Tokenizer(**config)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"tokenizer_from_json: expected what Tokenizer.to_json gives; got {json_string!r:.60} "
            f"({error})."
        ) from None
    tokenizer.word_counts.update(tables["word_counts"])
    tokenizer.word_docs.update(tables["word_docs"])
    tokenizer.index_docs.update({int(i): n for i, n in tables["index_docs"].items()})
    tokenizer.index_word = {int(i): word for i, word in tables["index_word"].items()}
    tokenizer.word_index = tables["word_index"]
    return tokenizer


def _several(method, texts):
    """Texts, and not one of them: its characters would be taken for texts."""
    if isinstance(texts, str):
        raise TypeError(
            f"Tokenizer: {method}: expected a list of texts; got a single str: put it into a list."
        )
    return texts
