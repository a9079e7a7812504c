"""Words into ids and back, as IMDB's reviews were coded.

IMDB's ranks were made with Keras's tokenising rule (`text_to_word_sequence`): lower case,
punctuation to spaces, split. HTML gets no rule of its own, so the ``<br />`` between a review's
paragraphs became the word "br", one of IMDB's most frequent. `encode` therefore treats markup the
same way: "br" is coded where the word index holds it, as in IMDB's, and left out where not.
"""

import operator
from collections.abc import Iterable

from fastrnn.preprocessing.tokenizer import Tokenizer, tokenizer_from_json
from fastrnn.preprocessing.words import hashing_trick, one_hot, text_to_word_sequence

__all__ = [
    "Tokenizer", "decode", "encode", "hashing_trick", "one_hot", "text_to_word_sequence",
    "tokenizer_from_json",
]

_PADDING = 0


def encode(texts, word_index, num_words=None, start_char=1, oov_char=2, index_from=3):
    """Code texts as `fastrnn.datasets.imdb.load_data` codes reviews.

    Parameters
    ----------
    texts : iterable of str
    word_index : mapping from str to int
        The rank of each word, as `fastrnn.datasets.imdb.get_word_index` returns it.
    num_words : int, optional
        Ids from this one on become ``oov_char``; by default none does.
    start_char : int or None, default 1
        The id before each text; None puts none there.
    oov_char : int or None, default 2
        The id in place of a word whose own is ``num_words`` or above; None leaves it out.
    index_from : int, default 3
        Added to each rank.

    Returns
    -------
    list of lists of int
        One for each text. Words that the index does not hold are left out, as they were when
        IMDB's test reviews were coded by the ranks of the training reviews.

    Raises
    ------
    TypeError
        If ``texts`` is a single str, or holds something other than str.

    Examples
    --------
    >>> encode(["What a film!", "film"], {"a": 1, "film": 2, "what": 90}, num_words=50)
    [[1, 2, 4, 5], [1, 5]]
    """
    if isinstance(texts, str):
        raise TypeError("texts must be a list of texts, got a single str: put it into a list")
    start = [] if start_char is None else [start_char]
    limit = num_words or float("inf")

    def ids(text: str) -> Iterable[int]:
        for word in text_to_word_sequence(text):
            rank = word_index.get(word)
            if rank is None:
                continue
            if rank + index_from < limit:
                yield rank + index_from
            elif oov_char is not None:
                yield oov_char

    return [[*start, *ids(text)] for text in texts]


def decode(ids, word_index, start_char=1, oov_char=2, index_from=3):
    """Turn the ids of one text back into words.

    Parameters
    ----------
    ids : iterable of int
        As `encode` or `fastrnn.datasets.imdb.load_data` return them, or a padded row of them.
    word_index : mapping from str to int
        The rank of each word.
    start_char, oov_char : int or None, default 1 and 2
        What those of `encode` were. The first is left out, the second becomes "[OOV]".
    index_from : int, default 3
        What that of `encode` was.

    Returns
    -------
    str
        The words, separated by spaces. Padding (0) is left out.

    Raises
    ------
    ValueError
        If an id stands for no word.

    Examples
    --------
    >>> decode([0, 0, 1, 9, 4, 2, 5], {"a": 1, "film": 2, "what": 6})
    'what a [OOV] film'
    """
    words = {rank + index_from: word for word, rank in word_index.items()}
    words |= {_PADDING: "", start_char: "", oov_char: "[OOV]"}
    ids = [operator.index(i) for i in ids]
    unknown = next((i for i in ids if i not in words), None)
    if unknown is not None:
        raise ValueError(
            f"ids holds {unknown}, which stands for no word: it is neither in the word index (with "
            f"index_from={index_from}) nor padding, start_char or oov_char"
        )
    return " ".join(words[i] for i in ids if words[i])
