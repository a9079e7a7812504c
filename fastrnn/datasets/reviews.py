"""Built-in reviews in which the order of the words decides, for machines without IMDB.

"I expected it to be dull, yet it was brilliant." and "I expected it to be brilliant, yet it was
dull." are made of the same words and mean opposite things. All that these reviews say is of that
kind: a sentence is drawn from `_VERDICTS`, its label by the toss of a coin, and the label then
decides only which of its adjectives, good or bad, goes where. So both labels use every word
equally often, alone or in a sum, and a classifier that counts words can but guess. A recurrent
network reads what a "not", a "but" or an "I expected" does to what follows.
"""

import operator
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain
from random import Random
from typing import TypeVar

import numpy as np

from fastrnn.preprocessing.text import encode, text_to_word_sequence

_T = TypeVar("_T")
_Random = Callable[[], float]  # a number from 0 to 1, another at each call

# In a verdict, {good} stands for an adjective of the review's own opinion, {bad} for one of the
# opposite, {a} and {b} for what is judged. Each of the last two groups holds one adjective only;
# they are as large as each other, so that an adjective is as often denied as affirmed.
_CONTRASTS = (
    "I expected {a} to be {bad}, yet it was {good}.",
    "Here {a} was {good}, where I expected it to be {bad}.",
    "{a} looks {bad}, but {b} is {good}.",
    "{a} is {good}, even if {b} looks {bad}.",
    "{a} was not {bad} but {good}.",
    "{a} was {good} and not {bad}.",
    "My friends called it {bad}, and they were wrong, for {a} was {good}.",
    "Far from {bad}, {a} turned out to be {good}.",
    "The trailer promised something {bad}, and what we got was {good}.",
    "What we got was {good}, where the trailer promised something {bad}.",
    "The critics say that {a} is {bad}, but do not believe them, it is {good}.",
    "It seemed {bad} at first, but {a} proved to be {good} in the end.",
)
_DENIALS = (
    "{a} was not {bad} at all.",
    "There is nothing {bad} about {a}.",
    "Nobody could call {a} {bad}.",
    "{a} was anything but {bad}.",
)
_AFFIRMATIONS = (
    "{a} was {good} through and through.",
    "There is something {good} about {a}.",
    "Everybody should call {a} {good}.",
    "{a} was nothing but {good}.",
)
_VERDICTS = _CONTRASTS + _DENIALS + _AFFIRMATIONS

# What else people write, which says nothing of their opinion.
_REMARKS = (
    "We saw it on {day} with {company}.",
    "It runs for about {count} hours.",
    "I had read the book {count} years ago.",
    "Most of it takes place in {place}.",
    "The director has made {count} films before this one.",
    "It is the story of a {person} who comes back to {place}.",
    "A {person} meets a {person} in {place}, and they travel on together.",
    "It was shown in {place} last {season}.",
    "I watched it {count} times, once with {company}.",
    "The hero is a {person} from {place}.",
)

_GOOD = (
    "brilliant", "wonderful", "moving", "funny", "clever", "gripping", "charming", "superb",
    "delightful", "fresh", "great", "good", "lovely", "touching", "thrilling", "sharp",
)  # fmt: skip
_BAD = (
    "dull", "boring", "awful", "clumsy", "tedious", "weak", "silly", "stale",
    "terrible", "bad", "poor", "flat", "dreadful", "lifeless", "predictable", "shallow",
)  # fmt: skip
_FILLINGS = {
    "a": (
        "the acting", "the plot", "the story", "the ending", "the script", "the music",
        "the dialogue", "the cast", "the camera work", "the pace", "this film", "this movie",
        "the first half", "the second half", "the humour", "the last scene",
    ),
    "b": ("the rest", "everything else", "the film as a whole", "what it has to say", "the idea"),
    "day": ("a rainy Tuesday", "Sunday", "a Friday night", "a quiet Monday", "Saturday"),
    "company": ("my sister", "friends from work", "the children", "my father", "an old friend"),
    "count": ("two", "three", "four", "five", "six"),
    "place": (
        "a small town", "the mountains", "a harbour by the sea", "London", "a village in Spain",
        "an old hotel", "the desert", "the north",
    ),
    "person": (
        "doctor", "teacher", "soldier", "painter", "sailor", "nurse", "farmer", "singer",
        "detective", "student",
    ),
    "season": ("spring", "summer", "autumn", "winter"),
}  # fmt: skip

_SLOT = re.compile(r"\{(\w+)\}")
_MOST_WORDS = 60


def load_data(n_train=20000, n_test=5000, seed=113, num_words=None):
    """Return the reviews as lists of word ids, coded like IMDB's, with their labels.

    Id 1 begins a review, 2 stands for an unknown word, and a word's id is its rank from
    `get_word_index` plus 3. 0 is left for padding.

    Parameters
    ----------
    n_train, n_test : int, default 20000 and 5000
        How many reviews to make for each half.
    seed : int, default 113
        The same seed gives the same reviews, everywhere.
    num_words : int, optional
        Ids from this one on become 2. By default all words are kept.

    Returns
    -------
    (x_train, y_train), (x_test, y_test)
        x: object array, shape (N,), of lists of int; y: int64 array, shape (N,), of 0 and 1,
        as many of each.

    Raises
    ------
    ValueError
        If a number is below 1.
    TypeError
        If a number is not a whole one.

    Examples
    --------
    >>> (x_train, y_train), (x_test, y_test) = load_data(n_train=100, n_test=10)
    >>> x_train.shape, x_train[0][0]
    ((100,), 1)
    >>> y_test.tolist().count(1)
    5
    """
    word_index = get_word_index()
    train, test = (
        (np.fromiter(encode(texts, word_index, num_words), dtype=object), labels)
        for texts, labels in load_texts(n_train, n_test, seed)
    )
    return train, test


def load_texts(n_train=20000, n_test=5000, seed=113):
    """Return the reviews of `load_data` as texts, with their labels.

    Parameters
    ----------
    n_train, n_test, seed : int
        As for `load_data`.

    Returns
    -------
    (texts_train, y_train), (texts_test, y_test)
        texts: list of str, of 5 to 60 words, no two the same; y: int64 array of 0 and 1, 1 where
        the opinion is good.

    Raises
    ------
    ValueError, TypeError
        As `load_data`.

    Examples
    --------
    >>> (texts, labels), _ = load_texts(n_train=2, n_test=1, seed=156)
    >>> for text, label in zip(texts, labels):
    ...     print(label, text)
    0 The pace was anything but wonderful.
    1 The cast was anything but shallow.
    """
    for name, n in (("n_train", n_train), ("n_test", n_test)):
        if operator.index(n) < 1:
            raise ValueError(f"{name} must be at least 1, got {n}")
    # Of Python's generator only random() is promised to be the same in every version, so that
    # is all that is used of it.
    random = Random(operator.index(seed)).random
    seen: set[str] = set()
    return _make_half(n_train, seen, random), _make_half(n_test, seen, random)


def get_word_index():
    """Return the dictionary from the reviews' words to their ranks.

    Returns
    -------
    dict
        From words (str) to ranks (int, from 1). It holds every word there can be, and does not
        depend on the seed.

    Examples
    --------
    >>> word_index = get_word_index()
    >>> sorted(word_index.values()) == list(range(1, len(word_index) + 1))
    True
    """
    phrases = [*_VERDICTS, *_REMARKS, *_GOOD, *_BAD, *chain(*_FILLINGS.values())]
    counts = Counter(chain(*(text_to_word_sequence(_SLOT.sub("", text)) for text in phrases)))
    words = sorted(counts, key=lambda word: (-counts[word], word))
    return {word: rank for rank, word in enumerate(words, 1)}


def _make_half(n: int, seen: set[str], random: _Random) -> tuple[list[str], np.ndarray]:
    labels = np.array(_shuffled([i % 2 for i in range(n)], random))
    return [_make_new_review(label, seen, random) for label in labels], labels


def _make_new_review(label: int, seen: set[str], random: _Random) -> str:
    while True:
        review = _make_review(label, random)
        if review not in seen and len(review.split()) <= _MOST_WORDS:
            seen.add(review)
            return review


def _make_review(label: int, random: _Random) -> str:
    verdicts = _shuffled(_VERDICTS, random)[: _draw((1, 2, 3), random)]
    remarks = _shuffled(_REMARKS, random)[: _draw((0, 1, 2, 3), random)]
    good, bad = (_GOOD, _BAD) if label else (_BAD, _GOOD)
    fillings = _FILLINGS | {"good": good, "bad": bad}

    def fill(template: str) -> str:
        sentence = _SLOT.sub(lambda slot: _draw(fillings[slot[1]], random), template)
        return sentence[0].upper() + sentence[1:]

    return " ".join(fill(template) for template in _shuffled(verdicts + remarks, random))


def _draw(choices: Sequence[_T], random: _Random) -> _T:
    return choices[int(random() * len(choices))]


def _shuffled(items: Sequence[_T], random: _Random) -> list[_T]:
    return sorted(items, key=lambda _: random())
