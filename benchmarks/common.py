"""The base of all suites, and the data that they share."""

import abc
import importlib

import numpy as np

import fastrnn

STEPS, WORDS, BATCH = 500, 10000, 128


class Suite(abc.ABC):  # abstract, so that asv does not run the base itself
    """Something prepared once, on which each method measures one thing; equal numbers in every run.

    asv asks for `setup` ahead of every single call that it times.  What is made then would be met
    with cold caches and with sleeping threads; so it is made at the first time only.

    Attributes
    ----------
    needs : tuple of str
        What of fastrnn must be there, such as ``"layers.GRU"`` or ``"models.Model.stream"``: on
        commits that lack it the suite is skipped.  Import it where it is used, not above.
    """

    timeout = 300
    repeat = 10, 200, 2.0  # calls to time: at least, at most, and seconds after which it is enough
    needs = ()
    _prepared = None

    def setup(self, *arguments):
        if self._prepared == arguments:
            return
        require("utils.set_random_seed", *self.needs)
        fastrnn.utils.set_random_seed(1)
        self.random = np.random.default_rng(1)
        self.prepare(*arguments)
        self._prepared = arguments

    @abc.abstractmethod
    def prepare(self, *arguments):
        """All that is not measured; the arguments are asv's parameters."""


class LayerSuite(Suite):
    """One of the three recurrent layers is the first parameter."""

    params = [["SimpleRNN", "LSTM", "GRU"]]
    param_names = ["layer"]

    def setup(self, layer, *arguments):
        self.needs = (*type(self).needs, f"layers.{layer}")
        super().setup(layer, *arguments)


def require(*names):
    """Raise NotImplementedError, on which asv skips, unless fastrnn `has` all of these."""
    for name in names:
        if not has(name):
            raise NotImplementedError(f"fastrnn.{name} is not there yet")


def has(name):
    """Whether fastrnn has a module, or a name in a module, of this dotted name."""
    found, path = fastrnn, "fastrnn"
    for part in name.split("."):
        path = f"{path}.{part}"
        try:
            found = getattr(found, part, None) or importlib.import_module(path)
        except ModuleNotFoundError:
            return False
    return True


def reviews(random, n):
    """`n` lists of ids, of which half have fewer than 178 words and one in twelve 500 or more."""
    lengths = np.clip(random.lognormal(np.log(178), 0.75, n), 10, STEPS).astype(int)
    # As in any text, the word of rank r comes about 1/r as often as the first.
    chances = 1 / np.arange(1, WORDS - 3)
    words = 4 + random.choice(WORDS - 4, size=lengths.sum(), p=chances / chances.sum())
    return [row.tolist() for row in np.split(words, lengths.cumsum()[:-1])]
