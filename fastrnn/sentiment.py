"""Raw text to label and probability: the whole pipeline, kept together in one file.

A `SentimentClassifier` is a word index and a model. Text becomes words, words become ids as in
`fastrnn.datasets.imdb`, and ids go through a recurrent net. A preset says which: "simple" is
Embedding -> SimpleRNN -> Dense(sigmoid), "best" reads in both directions, and frequent pairs of
words as one token. Word index and model are saved in one file, which loads again in a new process.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastrnn import layers, saving
from fastrnn.callbacks import EarlyStopping
from fastrnn.datasets import imdb, reviews
from fastrnn.layers import Dense, Embedding, Input
from fastrnn.models import Sequential
from fastrnn.optimizers import Adam
from fastrnn.optimizers.schedules import CosineDecay
from fastrnn.preprocessing.phrases import Phrases
from fastrnn.preprocessing.sequence import pad_sequences
from fastrnn.preprocessing.text import encode

__all__ = [
    "DATASETS", "LABELS", "PRESETS", "Dataset", "Prediction", "Preset", "SentimentClassifier",
    "load_dataset",
]  # fmt: skip

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


class Preset(NamedTuple):
    """How a classifier reads texts, and how it is trained unless told otherwise.

    Attributes
    ----------
    num_words, num_pairs : int
        The size of the vocabulary, and how many frequent pairs of words are tokens besides.
    maxlen : int
        Of a longer text the last so many words are read; with pairs only in training, as there it
        is but a matter of time.
    units : int
        Width of the recurrent layer.
    epochs, batch_size : int
    validation_split : float
    """

    num_words: int
    num_pairs: int
    maxlen: int
    units: int
    epochs: int
    batch_size: int
    validation_split: float


PRESETS = {
    "simple": Preset(10000, 0, 500, 32, 10, 128, 0.2),
    "best": Preset(20000, 60000, 300, 16, 7, 64, 0.0),
}


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
    num_words, maxlen, units : int, optional
        As in `Preset`; default: those of the preset.
    dataset : str, optional
        What it is trained on, kept for the record: a name in `DATASETS`.
    model : fastrnn.Sequential, optional
        Compiled, from rows of ids to one probability. Default: that of the preset.
    preset : {"simple", "best"}, default "simple"
        "simple": Embedding, SimpleRNN, Dense, trained with RMSprop. "best": the most accurate
        that trains in less than a minute; its model is made in `fit`, as it learns from the texts
        which pairs of words are frequent.
    pairs : int array of shape (n, 2), optional
        The pairs of a trained "best" model.

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

    def __init__(self, word_index, num_words=None, maxlen=None, units=None, dataset=None,
                 model=None, preset="simple", pairs=None):
        own = _preset(preset)
        self.preset = preset
        self.word_index = dict(word_index)
        most = max(self.word_index.values()) + _RESERVED_IDS
        self.num_words = min(_or(num_words, own.num_words), most)
        self.maxlen = _or(maxlen, own.maxlen)
        self.units = _or(units, own.units)
        self.dataset = dataset
        self.phrases = None if pairs is None else Phrases(pairs, self.num_words)
        self.model = model
        if model is not None and own.num_pairs and pairs is None:
            raise ValueError(f"model: one of the preset {preset!r} goes with the pairs it reads.")
        if model is None and not own.num_pairs:
            self.model = _simple_model(self.num_words, self.maxlen, self.units)

    @classmethod
    def train(cls, dataset="imdb", data=None, num_words=None, maxlen=None, units=None,
              preset="simple", **fit_options):
        """A classifier trained on a data set; ``fit_options`` as in `fit`.

        See `load_dataset` for ``dataset``, ``data`` and ``num_words``.
        """
        loaded = load_dataset(dataset, data, _or(num_words, _preset(preset).num_words))
        classifier = cls(loaded.word_index, num_words, maxlen, units, dataset, preset=preset)
        classifier.fit(*loaded.train, **fit_options)
        return classifier

    def fit(self, x, y, epochs=None, batch_size=None, validation_split=None, callbacks=(),
            **options):
        """Train on texts, or on lists of ids.

        Where a part is held out, the weights of the epoch with the least loss on it are kept. A
        plain recurrent net goes on to learn its reviews by heart, and its last epoch is seldom the
        best.

        Parameters
        ----------
        x : sequence of N texts, or of N lists of ids
        y : array of shape (N,)
            0 for negative, 1 for positive.
        epochs, batch_size : int, optional
            Default: those of the preset.
        validation_split : float, optional
            The part held out, the last of the rows; with 0 the last epoch's weights stay.
            Default: that of the preset.
        callbacks : sequence of fastrnn.callbacks.Callback
        **options
            As in ``Sequential.fit``.

        Returns
        -------
        fastrnn.callbacks.History
        """
        own = PRESETS[self.preset]
        epochs, batch_size = _or(epochs, own.epochs), _or(batch_size, own.batch_size)
        split = _or(validation_split, own.validation_split)
        if own.num_pairs:
            rows = int(len(x) * (1 - split))
            if not (0 <= split < 1 and rows > 0 and batch_size > 0):
                raise ValueError(
                    f"fit: expected a validation_split from 0 up to 1 that leaves reviews to train "
                    f"on, and a batch_size above 0; got {split!r} of {len(x)} reviews, "
                    f"{batch_size!r}."
                )
            self._begin(x, epochs * -(-rows // batch_size))
        keep_best = EarlyStopping(patience=epochs, restore_best_weights=True)
        return self.model.fit(
            self._rows(x, training=True),
            y,
            epochs=epochs,
            batch_size=batch_size,
            validation_split=split,
            callbacks=[*callbacks, *([keep_best] if split else [])],
            **options,
        )

    def _begin(self, x, steps):
        """Make the "best" model, if there is none yet, and an optimizer for so many steps."""
        if self.phrases is None:
            pairs = PRESETS[self.preset].num_pairs
            self.phrases = Phrases.learn(self._ids(x), self.num_words, pairs)
        if self.model is None:
            self.model = _best_model(self.phrases, self.units)
        up = steps // 10
        rate = CosineDecay(0.0, max(1, steps - up), warmup_target=4e-3, warmup_steps=up)
        self.model.compile(Adam(rate), "binary_crossentropy", metrics=["accuracy"])

    def evaluate(self, x, y, batch_size=128):
        """Loss and accuracy on texts, or on lists of ids, as a dict of floats."""
        self._need_model("evaluate")
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
        self._need_model("predict")
        rows = self._rows(self._encode(texts))
        if not len(rows):
            return []
        positive = self.model.predict(rows, batch_size=batch_size, verbose=0)[:, 0].tolist()
        return [Prediction(LABELS[p > 0.5], max(p, 1 - p)) for p in positive]

    def save(self, path):
        """Save word index and model in one file."""
        self._need_model("save")
        own = ("word_index", "num_words", "maxlen", "units", "dataset", "preset")
        extra = {name: getattr(self, name) for name in own}
        if self.phrases is not None:
            extra["pairs"] = self.phrases.pairs.tolist()
        saving.save_model(self.model, path, extra={"sentiment": extra})

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

    def _need_model(self, method):
        if self.model is None:
            raise RuntimeError(f"{method}: the classifier is not trained yet; call fit first.")

    def _ids(self, x):
        """Texts or lists of ids as lists of ids."""
        return self._encode(x) if len(x) and isinstance(x[0], str) else x

    def _rows(self, x, training=False):
        """Texts or lists of ids as the model takes them: padded rows, or lists of tokens."""
        ids = self._ids(x)
        if self.phrases is None:
            return pad_sequences(ids, maxlen=self.maxlen)
        return self.phrases([row[-self.maxlen :] for row in ids] if training else ids)


def _or(value, default):
    return default if value is None else value


def _preset(name):
    if name not in PRESETS:
        raise ValueError(f"preset: expected one of {sorted(PRESETS)}; got {name!r}.")
    return PRESETS[name]


def _simple_model(num_words, maxlen, units):
    model = Sequential(
        [
            Input((maxlen,), dtype="int32"),
            Embedding(num_words, units),
            layers.SimpleRNN(units),
            Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["accuracy"])
    return model


def _best_model(phrases, units):
    """A small net with much noise: 25,000 reviews are few for 80,000 tokens.

    In training half of the pairs are seen as single words and a part of all tokens as unknown, so
    that the net does not rely on any one of them.
    """
    return Sequential(
        [
            Input((None,), dtype="int32"),
            layers.TokenDropout(0.5, phrases.last_words),
            layers.TokenDropout(0.3),
            Embedding(phrases.num_tokens, 3 * units, dropout=0.7),
            layers.Bidirectional(layers.GRU(units, return_sequences=True)),
            layers.GlobalMaxPooling1D(),
            layers.Activation("relu"),  # what no word speaks for is zero, not against it
            layers.Dropout(0.5),
            Dense(1, activation="sigmoid"),
        ]
    )


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
