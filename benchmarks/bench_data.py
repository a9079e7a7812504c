"""What comes before a model: importing, loading, padding."""

import atexit
import tempfile
from pathlib import Path

import numpy as np

from .common import STEPS, WORDS, Suite, require, reviews


def timeraw_import():
    return "import fastrnn"


def timeraw_import_models():
    return "import fastrnn.models, fastrnn.layers"


timeraw_import_models.setup = lambda: require("models", "layers")


def timeraw_import_numpy():
    """What the two above cost at the least."""
    return "import numpy"


class Padding(Suite):
    needs = ("preprocessing.sequence.pad_sequences",)

    def prepare(self):
        from fastrnn.preprocessing.sequence import pad_sequences

        self.pad = pad_sequences
        self.reviews = reviews(self.random, 2000)

    def time_pad_sequences(self):
        self.pad(self.reviews, maxlen=STEPS)


class Loading(Suite):
    """A file like IMDB's, of 4,000 reviews."""

    needs = ("datasets.imdb",)

    def prepare(self):
        from fastrnn.datasets import imdb

        self.load_data = imdb.load_data
        self.folder = tempfile.TemporaryDirectory()
        atexit.register(self.folder.cleanup)
        self.file = Path(self.folder.name, "imdb.npz")
        arrays = {}
        for half in ("train", "test"):
            x = np.empty(2000, object)
            x[:] = reviews(self.random, len(x))
            arrays |= {f"x_{half}": x, f"y_{half}": np.arange(len(x)) % 2}
        np.savez(self.file, **arrays)

    def time_load_imdb(self):
        self.load_data(self.file, num_words=WORDS)
