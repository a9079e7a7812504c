"""How fast this build is on this machine: the sentiment model of the README, measured.

Letters: N reviews, V vocabulary.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from fastrnn import layers
from fastrnn.datasets import imdb
from fastrnn.models import Sequential
from fastrnn.preprocessing.sequence import pad_sequences

__all__ = ["measure", "reviews", "table"]

VOCABULARY, UNITS, MAXLEN, BATCH = 10000, 32, 500, 128
LAYERS = ("SimpleRNN", "LSTM", "GRU")


def measure(layer, seconds=1.0):
    """Time a training step and a prediction on a batch of 128 reviews, and one on a single row.

    Parameters
    ----------
    layer : {"SimpleRNN", "LSTM", "GRU"}
        What reads the reviews, with 32 units, after an embedding of 10,000 words and before one
        sigmoid; 500 steps.
    seconds : float, default 1
        How long each is repeated at least.

    Returns
    -------
    dict from str to list of float
        Milliseconds of each call, by what was timed.

    Examples
    --------
    >>> list(measure("GRU", seconds=0))
    ['training step', 'predict a batch', 'predict one row']
    """
    _, texts, labels = reviews(BATCH, np.random.default_rng(1))
    x = pad_sequences(texts, maxlen=MAXLEN)
    model = Sequential()
    model.add(layers.Embedding(VOCABULARY, UNITS))
    model.add(getattr(layers, layer)(UNITS))
    model.add(layers.Dense(1, activation="sigmoid"))
    model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])
    return {
        "training step": _repeated(lambda: model.train_on_batch(x, labels), seconds),
        "predict a batch": _repeated(lambda: model.predict_on_batch(x), seconds),
        "predict one row": _repeated(lambda: model.predict_on_batch(x[:1]), seconds),
    }


def table(figures):
    """Lay out what `measure` returned for several layers: medians, and the least and the most.

    Parameters
    ----------
    figures : dict from str to dict
        By layer.

    Examples
    --------
    >>> print(table({"LSTM": {"training step": [2.0, 1.0, 9.0], "predict a batch": [0.25]}}))
    layer   training step, ms     predict a batch, ms
    LSTM    2.000 (1.000-9.000)   0.250 (0.250-0.250)
    """
    tasks = next(iter(figures.values()))
    rows = [("layer", *(f"{task}, ms" for task in tasks))]
    for layer, times in figures.items():
        spreads = ((np.median(ms), min(ms), max(ms)) for ms in times.values())
        rows.append((layer, *(f"{middle:.3f} ({a:.3f}-{b:.3f})" for middle, a, b in spreads)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("   ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def reviews(n, random):
    """Return reviews to measure with.

    They are IMDB's where the environment variable ``FASTRNN_DATA_HOME`` names a folder that holds
    them. Otherwise they are made up, with lengths and word frequencies like IMDB's.

    Parameters
    ----------
    n : int
        N, at most 25,000.
    random : numpy.random.Generator

    Returns
    -------
    kind : str
        Which they are.
    texts : list of N sequences of int
        Word ids below 10,000.
    labels : int array, shape (N,)
    """
    file = Path(os.environ.get("FASTRNN_DATA_HOME", ""), "imdb.npz")
    if not file.is_file():
        return "made up, with the lengths of IMDB's", *_made_up(n, random)
    (texts, labels), _ = imdb.load_data(file, num_words=VOCABULARY)
    rows = random.permutation(len(texts))[:n]
    return "IMDB", [texts[i] for i in rows], labels[rows]


def _made_up(n, random):
    """Reviews of which half have fewer than 178 words and one in twelve 500 or more."""
    lengths = np.clip(random.lognormal(np.log(178), 0.75, n), 10, MAXLEN).astype(int)
    # As in any text, the word of rank r comes about 1/r as often as the first.
    chances = 1 / np.arange(1, VOCABULARY - 3)
    words = 4 + random.choice(VOCABULARY - 4, size=lengths.sum(), p=chances / chances.sum())
    return np.split(words, lengths.cumsum()[:-1]), random.integers(0, 2, n)


def _repeated(function, seconds):
    """Milliseconds of each call, after one that does all that only the first has to."""
    function()
    times, end = [], time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        function()
        times.append(1e3 * (time.perf_counter() - began))
    return times
