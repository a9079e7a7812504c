"""Texts into words, and words into numbers without a vocabulary."""

from __future__ import annotations

import hashlib

from fastrnn.checks import whole

__all__ = ["FILTERS", "hashing_trick", "one_hot", "text_to_word_sequence"]

# Keras's: all of ASCII's punctuation except the apostrophe, and tab and newline.
FILTERS = '!"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n'


def text_to_word_sequence(text, filters=FILTERS, lower=True, split=" "):
    """Split a text into words by Keras's rule.

    Parameters
    ----------
    text : str
    filters : str, default ASCII's punctuation without "'", tab and newline
        Characters to take for ``split``.
    lower : bool, default True
        Whether to make the text lower case.
    split : str, default " "
        What separates the words.

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        If ``text`` is not a str.

    Examples
    --------
    >>> text_to_word_sequence("Great acting -- but it's far too long!")
    ['great', 'acting', 'but', "it's", 'far', 'too', 'long']
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {type(text).__name__}")
    if lower:
        text = text.lower()
    text = text.translate(str.maketrans(dict.fromkeys(filters, split)))
    return [word for word in text.split(split) if word]


def hashing_trick(text, n, hash_function=None, filters=FILTERS, lower=True, split=" ",
                  analyzer=None):
    """Each word of a text as a number that depends on the word alone; different words may share it.

    Parameters
    ----------
    text : str
    n : int
        Numbers are from 1 to n - 1.
    hash_function : {None, "md5"} or callable, optional
        From a word to an int.  Default: Python's ``hash``, which is another in each process
        (unless PYTHONHASHSEED is set): for models that are kept, "md5".
    filters, lower, split
        See `text_to_word_sequence`.
    analyzer : callable, optional
        From a text to its words, in place of these three.

    Returns
    -------
    list of int

    Raises
    ------
    ValueError
        If n is no whole number from 2 on.

    Examples
    --------
    >>> hashing_trick("The cat, the dog", 100, "md5")
    [51, 3, 51, 33]
    """
    if not whole(n, least=2):
        raise ValueError(f"hashing_trick: n must be a whole number from 2 on; got {n!r}.")
    number = {None: hash, "md5": _md5}.get(hash_function, hash_function)
    words = analyzer(text) if analyzer else text_to_word_sequence(text, filters, lower, split)
    return [number(word) % (n - 1) + 1 for word in words]


def one_hot(text, n, filters=FILTERS, lower=True, split=" ", analyzer=None):
    """`hashing_trick` with Python's ``hash``; in spite of its name, as in Keras, a list of int."""
    return hashing_trick(text, n, None, filters, lower, split, analyzer)


def _md5(word):
    return int(hashlib.md5(word.encode(), usedforsecurity=False).hexdigest(), 16)
