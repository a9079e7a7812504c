"""Batches that users make themselves: generators, Sequences (PyDataset), loaders of batches.

Arrays and lists of rows are cut into batches by `fastrnn.adapters`; here each batch comes whole, as
``(x,)``, ``(x, y)`` or ``(x, y, sample_weight)``, and is checked when it comes.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np

from fastrnn import random

__all__ = [
    "JoinedOutputs", "PyDataset", "Source", "Streamed", "is_source", "no_batches", "warn_of_end",
]


class PyDataset:
    """The base of a data set that makes its batches itself; any class with its methods will do.

    A class of one's own writes ``__len__``, the number of batches, and ``__getitem__``, which gives
    that of a number: ``(x, y)`` or ``(x, y, sample_weight)``.

    Parameters
    ----------
    workers, use_multiprocessing, max_queue_size
        Accepted for Keras's sake: a batch is made when it is needed.

    Examples
    --------
    >>> from fastrnn import Input, Sequential
    >>> from fastrnn.layers import Dense
    >>> class Squares(PyDataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, i):
    ...         x = np.linspace(i, i + 1, 8)[:, None]
    ...         return x, x**2
    >>> model = Sequential([Input((1,)), Dense(1)])
    >>> model.compile("sgd", "mse")
    >>> len(model.fit(Squares(), epochs=3, verbose=0).history["loss"])
    3
    """

    def __init__(self, workers=1, use_multiprocessing=False, max_queue_size=10):
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __len__(self):
        raise self._missing()

    def __getitem__(self, index):
        raise self._missing()

    def _missing(self):
        return NotImplementedError(
            f"{type(self).__name__}: write __len__(self), the number of batches, and "
            "__getitem__(self, index), which gives one: (x, y) or (x, y, sample_weight)."
        )

    def on_epoch_begin(self):
        """Called before each epoch of ``fit``."""

    def on_epoch_end(self):
        """Called after each epoch of ``fit``."""


def is_source(x):
    """Whether ``x`` makes batches: it is no array, list, tuple or dict of rows, but iterable.

    >>> is_source(iter([(1, 2)])), is_source([1, 2]), is_source(np.ones(2)), is_source("text")
    (True, False, False, False)
    """
    if isinstance(x, (list, tuple, dict, str, bytes, np.ndarray)) or hasattr(x, "__array__"):
        return False
    return hasattr(x, "__iter__") or hasattr(x, "__next__") or _has_places(x)


def _has_places(x):
    return hasattr(x, "__getitem__") and hasattr(x, "__len__")


class Source:
    """The batches of ``x``, pass after pass, as long as there are any: an iterator.

    Parameters
    ----------
    x : iterator, iterable, or object with ``__len__`` and ``__getitem__``
        The last, and those with ``__len__``, say how many batches a pass has.
    shuffle : bool, default False
        Take the batches of what has ``__getitem__`` in a new order in each pass.

    Attributes
    ----------
    steps : int or None
        How many batches a pass has, if that is known.
    once : bool
        Whether it is an iterator, which can be read once.
    exhausted : bool
        Whether an iterator has come to its end.
    """

    def __init__(self, x, shuffle=False):
        self.x = x
        self.once = hasattr(x, "__next__")
        self.exhausted = False
        self._seed = random.draw_seed() if shuffle and _has_places(x) else None
        self._passes = self._done = 0
        self._batches = iter(x) if self.once else None
        try:
            self.steps = len(x)
        except TypeError:  # of what has a length, not all know it
            self.steps = None

    def begin(self):
        """Let the next batch be the first of a pass; an iterator goes on where it is."""
        if not self.once:
            self._batches = None

    def first(self):
        """The first batch, which will come again."""
        batch = next(self, None)
        if batch is None:
            raise no_batches()
        if self.once:
            self._batches = itertools.chain([batch], self._batches)
        else:
            self._batches, self._passes = None, 0
        self._done = 0
        return batch

    @property
    def at_end(self):
        """Whether the next batch is known to be the first of another pass."""
        return self._batches is None or self._done == self.steps

    def __iter__(self):
        return self

    def __next__(self):
        if self.at_end:
            self._batches = self._pass()
            self._done = 0
        try:
            batch = next(self._batches)
        except StopIteration:
            self._batches = None
            if self.once:
                self._batches, self.exhausted = iter(()), True
            raise
        self._done += 1
        return batch

    def _pass(self):
        """The batches of another pass."""
        self._passes += 1
        if not _has_places(self.x):
            return iter(self.x)
        order = range(len(self.x))
        if self._seed is not None:
            order = random.generator(self._seed, self._passes).permutation(len(self.x)).tolist()
        return map(self.x.__getitem__, order)

    def tell(self, event):
        """Call a method of a `PyDataset`: "on_epoch_begin" or "on_epoch_end"."""
        getattr(self.x, event, lambda: None)()

    def about(self):
        """What `training.run.Batches.about` tells of arrays."""
        raise ValueError(
            "a fit on batches that x makes cannot be taken up where it was broken off, as nobody "
            "knows which batches come next. Give arrays, or leave BackupAndRestore out."
        )


class Streamed:
    """The batches of a `Source` as a model takes them; it stands in the place of `adapters.Data`.

    Parameters
    ----------
    model : Trainer
    source : Source
    class_weight : dict, optional
    """

    def __init__(self, model, source, class_weight=None):
        self.model = model
        self.source = source
        self.class_weight = class_weight
        if not model.built:
            model.inputs_of(_inputs(source.first()))

    def steps(self, given):
        """How many batches there are to be: those given, else those of a pass; None if nobody
        knows, and they are gone through to their end.

        Raises
        ------
        ValueError
            If there are none.
        """
        known = self.source.steps
        if known == 0:
            raise no_batches()
        if given is None and known is None and self.source.once:
            self.source.first()  # raises if there is none
        if None not in (given, known) and given > known:
            warn_of_end(known, given)
        return min((n for n in (given, known) if n is not None), default=None)

    def one_pass(self, steps):
        """``steps`` batches, as they come, from the first on; None: all."""
        self.source.begin()
        for done in itertools.count() if steps is None else range(steps):
            batch = next(self.source, None)
            if batch is None:
                if steps is not None:
                    warn_of_end(done, steps)
                elif not done:
                    raise no_batches()
                return
            yield batch

    def rows(self, batch):
        """``(x, mask)`` of a batch."""
        return self.model.inputs_of(_inputs(batch))

    def batch(self, batch):
        """``(x, mask, target, weight)`` of a batch."""
        return self.model.batch_of(*_unpacked(batch), self.class_weight)


def no_batches():
    """The error where there is not even one."""
    return ValueError("x: there are no batches in it.")


def warn_of_end(done, steps):
    """Say that there were only so many batches."""
    warnings.warn(
        f"x: there are {done} batches where {steps} were asked for; what was begun ends with "
        "them.", stacklevel=3,
    )


def _inputs(batch):
    """The x of a batch, which an array is by itself where nothing else is asked for."""
    return batch if isinstance(batch, np.ndarray) else _unpacked(batch)[0]


def _unpacked(batch):
    """``(x, y, sample_weight)``, those that are missing None."""
    if not isinstance(batch, (list, tuple)) or not 1 <= len(batch) <= 3:
        shape = f" of shape {batch.shape}" if hasattr(batch, "shape") else ""
        raise ValueError(
            "x: expected its batches to be tuples (x,), (x, y) or (x, y, sample_weight); got "
            f"{type(batch).__name__}{shape}."
        )
    return (*batch, *[None] * (3 - len(batch)))


class JoinedOutputs:
    """Collects the outputs of batches whose number of rows nobody knows; as `adapters.Outputs`."""

    def __init__(self):
        self._batches = []

    def put(self, index, batch):
        """The outputs of the next rows."""
        self._batches.append(batch)

    @property
    def value(self):
        if not self._batches:
            raise no_batches()
        if isinstance(self._batches[0], list):
            return [_joined(parts) for parts in zip(*self._batches, strict=True)]
        return _joined(self._batches)


def _joined(parts):
    """Arrays one behind the other, with zeros behind the ends of shorter sequences."""
    longest = np.max([part.shape[1:] for part in parts], axis=0, initial=0).astype(int)
    if all(part.shape[1:] == tuple(longest) for part in parts):
        return np.concatenate(parts)
    whole = np.zeros((sum(map(len, parts)), *longest), parts[0].dtype)
    ends = np.cumsum([len(part) for part in parts])
    for end, part in zip(ends, parts, strict=True):
        whole[end - len(part) : end, : part.shape[1]] = part
    return whole
