"""Raw text to label and probability: the whole pipeline, kept together in one file.

A `SentimentClassifier` is a word index and a model. Text becomes words, words become ids as in
`fastrnn.datasets.imdb`, ids go through Embedding -> SimpleRNN -> Dense(sigmoid). Word index and
model are saved in one file, which loads again in a new process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastrnn import saving
from fastrnn.callbacks import EarlyStopping
from fastrnn.datasets import imdb, reviews
from fastrnn.layers import Dense, Embedding, Input, SimpleRNN
from fastrnn.models import Sequential
from fastrnn.preprocessing.sequence import pad_sequences
from fastrnn.preprocessing.text import encode

__all__ = ["DATASETS", "LABELS", "Dataset", "Prediction", "SentimentClassifier", "load_dataset"]

LABELS = ("negative", "positive")
_RESERVED_IDS = 4  # padding, start, unknown, and one that nobody uses: rank 1 has id 4


class Prediction(NamedTuple):
    """What `SentimentClassifier.predict` says of a text.

    Attributes
    ----------
    label : str
        "negative" or "positive".
    probability : float
        That of the label, from 0.5 to 1.
    """

    label: str
    probability: float


class Dataset(NamedTuple):
    """Coded reviews with their labels, and the word index that they were coded by."""

    train: tuple[Any, np.ndarray]
    test: tuple[Any, np.ndarray]
    word_index: dict[str, int]


class SentimentClassifier:
    """A word index and the model that reads texts coded by it.

    Parameters
    ----------
    word_index : dict from str to int
        The rank of each word, 1 for the most frequent.
    num_words : int, default 10000
        The size of the model's vocabulary; rarer words all look the same to it.
    maxlen : int, default 500
        Of a longer text the last ``maxlen`` words are read.
    units : int, default 32
        Width of the embedding and of the SimpleRNN.
    dataset : str, optional
        What it is trained on, kept for the record: a name in `DATASETS`.
    model : fastrnn.Sequential, optional
        Compiled, from rows of ``maxlen`` ids to one probability. Default: Embedding, SimpleRNN,
        Dense, trained with RMSprop.

    Examples
    --------
    >>> index = {"good": 1, "bad": 2, "not": 3}
    >>> classifier = SentimentClassifier(index, maxlen=4, units=3)
    >>> texts = ["good", "not bad", "bad", "not good"]
    >>> history = classifier.fit(texts, np.array([1, 1, 0, 0]), epochs=1, verbose=0)
    >>> [prediction] = classifier.predict(["Not bad!"])
    >>> prediction.label in LABELS, 0.5 <= prediction.probability <= 1
    (True, True)
    """

    def __init__(self, word_index, num_words=10000, maxlen=500, units=32, dataset=None, model=None):
        self.word_index = dict(word_index)
        self.num_words = min(num_words, max(self.word_index.values()) + _RESERVED_IDS)
        self.maxlen = maxlen
        self.dataset = dataset
        self.model = model or _new_model(self.num_words, maxlen, units)

    @classmethod
    def train(cls, dataset="imdb", data=None, num_words=10000, maxlen=500, units=32, **fit_options):
        """A classifier trained on a data set; ``fit_options`` as in `fit`.

        See `load_dataset` for ``dataset``, ``data`` and ``num_words``.
        """
        loaded = load_dataset(dataset, data, num_words)
        classifier = cls(loaded.word_index, num_words, maxlen, units, dataset)
        classifier.fit(*loaded.train, **fit_options)
        return classifier

    def fit(self, x, y, epochs=10, batch_size=128, validation_split=0.2, callbacks=(), **options):
        """Train on texts, or on lists of ids, and keep the weights of the best epoch.

        The best is the one of the least loss on the part held out. A plain recurrent net goes on
        to learn its reviews by heart, and its last epoch is seldom the best.

        Parameters
        ----------
        x : sequence of N texts, or of N lists of ids
        y : array of shape (N,)
            0 for negative, 1 for positive.
        epochs : int, default 10
        batch_size : int, default 128
        validation_split : float, default 0.2
            The part held out, the last of the rows; with 0 the last epoch's weights stay.
        callbacks : sequence of fastrnn.callbacks.Callback
        **options
            As in ``Sequential.fit``.

        Returns
        -------
        fastrnn.callbacks.History
        """
        keep_best = EarlyStopping(patience=epochs, restore_best_weights=True)
        return self.model.fit(
            self._rows(x),
            y,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=validation_split,
            callbacks=[*callbacks, *([keep_best] if validation_split else [])],
            **options,
        )

    def evaluate(self, x, y, batch_size=128):
        """Loss and accuracy on texts, or on lists of ids, as a dict of floats."""
        return self.model.evaluate(
            self._rows(x), y, batch_size=batch_size, verbose=0, return_dict=True
        )

    def predict(self, texts, batch_size=128):
        """The label of each text and its probability, a list of `Prediction`.

        Raises
        ------
        TypeError
            If ``texts`` is a single str.
        """
        rows = pad_sequences(self._encode(texts), maxlen=self.maxlen)
        if not len(rows):
            return []
        positive = self.model.predict(rows, batch_size=batch_size, verbose=0)[:, 0].tolist()
        return [Prediction(LABELS[p > 0.5], max(p, 1 - p)) for p in positive]

    def save(self, path):
        """Save word index and model in one file."""
        own = ("word_index", "num_words", "maxlen", "dataset")
        extra = {"sentiment": {name: getattr(self, name) for name in own}}
        saving.save_model(self.model, path, extra=extra)

    @classmethod
    def load(cls, path):
        """Load what `save` saved.

        Raises
        ------
        ValueError
            If the file is something else, is cut off, or holds a model without a word index.
        OSError
            If it cannot be read.
        """
        own = saving.read_extra(path).get("sentiment")
        if own is None:
            raise ValueError(
                f"{path} holds a model, but no word index to read text with; "
                "save it with SentimentClassifier.save, or `fastrnn train`."
            )
        return cls(**own, model=saving.load_model(path))

    def _encode(self, texts):
        return encode(texts, self.word_index, num_words=self.num_words)

    def _rows(self, x):
        """Texts or lists of ids as padded rows of shape (N, maxlen)."""
        is_text = len(x) and isinstance(x[0], str)
        return pad_sequences(self._encode(x) if is_text else x, maxlen=self.maxlen)


def _new_model(num_words, maxlen, units):
    model = Sequential(
        [
            Input((maxlen,), dtype="int32"),
            Embedding(num_words, units),
            SimpleRNN(units),
            Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def load_dataset(name, data=None, num_words=10000):
    """The reviews of a `Dataset` by its name.

    Parameters
    ----------
    name : {"imdb", "reviews"}
    data : str or path, optional
        For IMDB: its file ``imdb.npz``, or a folder that holds it, with ``imdb_word_index.json``
        beside it. Default: where `fastrnn.datasets.imdb.load_data` looks.
    num_words : int, default 10000
        Rarer words than so many become one unknown word.

    Raises
    ------
    ValueError
        For an unknown name, a damaged file, or ``data`` for a data set that is built in.
    OSError
        If the data cannot be had.
    """
    if name not in DATASETS:
        raise ValueError(f"dataset: expected one of {sorted(DATASETS)}; got {name!r}.")
    return DATASETS[name](data, num_words)


def _load_imdb(data, num_words):
    places = {}, {}
    if data is not None:
        file = Path(data, "imdb.npz") if Path(data).is_dir() else Path(data)
        index = file.with_name("imdb_word_index.json")
        places = {"path": file}, {"path": index} if index.exists() else {}
    train, test = imdb.load_data(num_words=num_words, **places[0])
    return Dataset(train, test, imdb.get_word_index(**places[1]))


def _load_reviews(data, num_words):
    if data is not None:
        raise ValueError(f"The reviews are built in and take no data file; got {data}.")
    index = reviews.get_word_index()
    train, test = (
        (encode(texts, index, num_words), labels) for texts, labels in reviews.load_texts()
    )
    return Dataset(train, test, index)


DATASETS: dict[str, Callable[[Any, int], Dataset]] = {
    "imdb": _load_imdb,
    "reviews": _load_reviews,
}
