"""Frequent pairs of words as tokens of their own.

"not good" says something else than "not" and "good": a net that reads such a pair as one token need
not find that out (Wang and Manning, "Baselines and Bigrams", 2012).

Letters: N texts, V words.
"""

from __future__ import annotations

import numpy as np

__all__ = ["Phrases"]

UNKNOWN = 2  # the id of words outside the vocabulary, as `fastrnn.preprocessing.text.encode` has it


class Phrases:
    """Puts the tokens of frequent pairs of words into rows of word ids.

    A pair stands where its second word stood, so rows keep their lengths.  Words have the ids below
    ``num_words``, pairs those from there on.

    Parameters
    ----------
    pairs : int array of shape (n, 2)
        The ids of the two words of each pair.
    num_words : int
        V; an id from there on becomes that of unknown words, 2.

    Attributes
    ----------
    num_tokens : int
        Words and pairs together: what ``input_dim`` of an `Embedding` must be.
    last_words : int32 array of shape (num_tokens,)
        For each token the word that stood in its place: itself, or the second one of a pair.

    Examples
    --------
    >>> phrases = Phrases.learn([[1, 5, 6], [1, 7, 5, 6]], num_words=8, num_pairs=1)
    >>> phrases.pairs
    array([[5, 6]])
    >>> phrases([[5, 6, 5], [7, 9]])
    [array([5, 8, 5], dtype=int32), array([7, 2], dtype=int32)]
    >>> int(phrases.last_words[8])
    6
    """

    def __init__(self, pairs, num_words):
        pairs = np.asarray(pairs, np.int64).reshape(-1, 2)
        if pairs.size and not 0 <= pairs.min() <= pairs.max() < num_words:
            raise ValueError(
                f"pairs: expected pairs of word ids from 0 to {num_words - 1}; got ids from "
                f"{pairs.min()} to {pairs.max()}."
            )
        self.num_words = num_words
        self._keys = np.unique(pairs[:, 0] * num_words + pairs[:, 1])

    @classmethod
    def learn(cls, rows, num_words, num_pairs):
        """The ``num_pairs`` most frequent pairs in rows of word ids; of equals the first by id."""
        phrases = cls([], num_words)
        keys = [phrases._pair_keys(np.asarray(row, np.int64)) for row in rows]
        keys = np.concatenate(keys) if keys else np.zeros(0, np.int64)
        found, counts = np.unique(keys[keys >= 0], return_counts=True)
        phrases._keys = np.sort(found[np.argsort(-counts, kind="stable")[:num_pairs]])
        return phrases

    @property
    def pairs(self):
        return np.stack(np.divmod(self._keys, self.num_words), axis=1)

    @property
    def num_tokens(self):
        return self.num_words + len(self._keys)

    @property
    def last_words(self):
        words = np.arange(self.num_words)
        return np.concatenate([words, self._keys % self.num_words]).astype(np.int32)

    def __call__(self, rows):
        """A list with the tokens of each row, int32."""
        return [self._tokens(np.asarray(row, np.int64)) for row in rows]

    def _tokens(self, row):
        words = np.where(row < self.num_words, row, UNKNOWN)
        if not len(self._keys):
            return words.astype(np.int32)
        keys = self._pair_keys(row)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        is_pair = self._keys[places] == keys
        return np.where(is_pair, self.num_words + places, words).astype(np.int32)

    def _pair_keys(self, row):
        """For each word a number for the pair that ends in it, -1 for none.

        Padding, id 0, is no word.
        """
        keys = np.full(len(row), -1)
        first, second = row[:-1], row[1:]
        known = (0 < first) & (first < self.num_words) & (0 < second) & (second < self.num_words)
        keys[1:][known] = (first * self.num_words + second)[known]
        return keys
