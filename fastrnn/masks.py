"""Which steps of a batch count.

A mask is made once, where the batch enters a model (padding, ragged lists, ``mask_zero``,
`Masking`), and then travels from layer to layer as a `StepMask`: for every row the run of steps
``start <= t < stop`` that counts.  Recurrent sweeps only ever visit that run, which is what makes
padding free.  A mask with holes keeps its full pattern beside it; `pack` closes the holes, so that
the sweeps need not know about them.

Sequences of different lengths are filled up to the longest of their batch. Such steps are not
masked, they are not there: a mask that knows of them (``given``) keeps them out of what looks at
masked steps too, so that no row's result depends on those that it came with.

Letters: B rows in a batch, T steps, D features.
"""

from __future__ import annotations

import numpy as np

from fastrnn.values import plain

__all__ = ["NestedMask", "StepMask", "counts_of", "mask_where"]


class StepMask:
    """The steps of B rows that count, each row's from ``start`` up to ``stop``.

    Parameters
    ----------
    start, stop : int64 array of shape (B,)
        The first step that counts and the one after the last; equal where no step counts. Arrays
        of an engine, if it makes masks where its arrays lie.
    steps : int
        T, the width of the batch.
    pattern : bool array of shape (B, T), optional
        The full mask, kept only where some row has a hole between its first and last step.
    given : StepMask, optional
        The steps that rows of different lengths have; all others are filling. None: all are given.

    Examples
    --------
    >>> mask = StepMask.from_array(np.array([[False, True, True], [True, False, False]]))
    >>> mask.start, mask.stop, mask.has_holes
    (array([1, 0]), array([3, 1]), False)
    >>> np.asarray(StepMask.from_lengths([2, 0], steps=3)).astype(int)
    array([[1, 1, 0],
           [0, 0, 0]])
    """

    def __init__(self, start, stop, steps, pattern=None, given=None):
        self.start = start
        self.stop = stop
        self.steps = steps
        self.pattern = pattern
        self.given = given

    @classmethod
    def from_lengths(cls, lengths, steps):
        """The mask of rows that start at step 0 and have ``lengths`` steps each."""
        stop = np.asarray(lengths, np.int64)
        return cls(np.zeros_like(stop), stop, steps)

    @classmethod
    def from_ragged(cls, lengths, steps):
        """As `from_lengths`, of rows that have no more steps: the others are filling."""
        return cls.from_lengths(lengths, steps).all_given()

    @classmethod
    def from_array(cls, mask):
        """The mask that a (B, T) array of booleans (or 0 and 1) stands for."""
        mask = np.ascontiguousarray(mask, dtype=bool)
        if mask.ndim != 2:
            raise ValueError(
                f"mask: expected one flag for each row and step, shape (batch, steps); "
                f"got shape {mask.shape}."
            )
        rows, steps = mask.shape
        if steps == 0:
            return cls.from_lengths(np.zeros(rows), 0)
        count = mask.sum(axis=1)
        start = np.where(count > 0, mask.argmax(axis=1), 0)
        stop = np.where(count > 0, steps - mask[:, ::-1].argmax(axis=1), 0)
        return cls(start, stop, steps, mask if (stop - start != count).any() else None)

    @classmethod
    def of(cls, mask):
        """``mask`` itself if it is a `StepMask` or None, else `from_array`."""
        return mask if mask is None or isinstance(mask, cls) else cls.from_array(mask)

    @property
    def shape(self):
        """(B, T)."""
        return len(self.start), self.steps

    @property
    def has_holes(self):
        return self.pattern is not None

    @property
    def any(self):
        """Whether any step of a row counts, bool (B,)."""
        return self.start < self.stop

    @property
    def last(self):
        """Whether the last of the T steps counts, bool (B,)."""
        return self.any & (self.stop == self.steps)

    @property
    def counts(self):
        """Whether each step counts, bool (B, T); an array of an engine, if the bounds are."""
        if self.pattern is not None:
            return self.pattern
        t = np.arange(self.steps, like=self.start)
        return (t >= self.start[:, None]) & (t < self.stop[:, None])

    def __array__(self, dtype=None, copy=None):
        if self.pattern is not None:
            return self.pattern.astype(dtype or bool)
        bounds = map(np.asarray, (self.start, self.stop))
        return StepMask(*bounds, self.steps).counts.astype(dtype or bool, copy=False)

    def flip(self):
        """The mask of the same rows read from their last step to their first."""
        pattern = None if self.pattern is None else np.ascontiguousarray(self.pattern[:, ::-1])
        given = self.given and self.given.flip()
        return StepMask(self.steps - self.stop, self.steps - self.start, self.steps, pattern, given)

    def bare(self):
        """This mask without what it knows of filling."""
        return self if self.given is None else self._with(None)

    def all_given(self):
        """The mask of rows whose steps that count are all that there are."""
        return self._with(self.bare())

    def _with(self, given):
        return StepMask(self.start, self.stop, self.steps, self.pattern, given)

    def within(self, other):
        """This mask, less what is filling in another one (a `StepMask` or None).

        >>> mask = StepMask.from_lengths([3, 2], steps=3)
        >>> np.asarray(mask.within(StepMask.from_ragged([1, 3], steps=3))).astype(int)
        array([[1, 0, 0],
               [1, 1, 0]])
        """
        given = other and other.given
        if given is None:
            return self
        if self.has_holes or given.has_holes:
            return StepMask.from_array(np.asarray(self) & np.asarray(given))._with(given)
        start, stop = np.asarray(self.start), np.asarray(self.stop)
        start = np.maximum(start, given.start)
        stop = np.maximum(start, np.minimum(stop, given.stop))
        return StepMask(start, stop, self.steps, None, given)

    def packing(self):
        """How to close the holes: ``order`` (B, T), which brings the steps that count to the front
        of their row without changing their order, and the mask of the packed rows."""
        order = np.argsort(~self.pattern, axis=1, kind="stable")
        return order, StepMask.from_lengths(self.pattern.sum(axis=1), self.steps)

    def unpacking(self):
        """For each step (B, T) the number of steps that count up to and with it, less one: where
        in its packed row the output stands that it shows (-1: none yet)."""
        return np.cumsum(self.pattern, axis=1) - 1


class NestedMask:
    """Which steps count of B rows of S sequences of T steps each.

    An Embedding makes it of ids (B, S, T).  It passes through layers that look at no mask, to a
    `TimeDistributed`, whose layer is given the masks of the sequences.

    Parameters
    ----------
    inner : StepMask
        Of the B * S sequences.
    rows, sequences : int
        B and S.
    outer : StepMask, optional
        What was known of the S sequences of each row before.

    Examples
    --------
    >>> mask = NestedMask(StepMask.from_lengths([2, 0, 1, 3], steps=3), 2, 2)
    >>> mask.shape
    (2, 2, 3)
    >>> np.asarray(mask.after(None)).astype(int)
    array([[1, 0],
           [1, 1]])
    """

    def __init__(self, inner, rows, sequences, outer=None):
        self.inner = inner
        self.shape = rows, sequences, inner.steps
        self.outer = outer

    @property
    def given(self):
        """The sequences that rows of different lengths have; see `StepMask`."""
        return self.outer and self.outer.given

    @property
    def counts(self):
        """Whether each step counts, bool (B, S, T)."""
        return self.inner.counts.reshape(self.shape)

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.inner, dtype).reshape(self.shape)

    def after(self, inner):
        """The mask where each sequence has become something with the mask ``inner``.

        Where that is None, as of a last output, sequences count that had a step that counts.
        """
        rows, sequences, _ = self.shape
        if inner is not None:
            return NestedMask(inner, rows, sequences, self.outer)
        some = np.asarray(plain(self.inner.any)).reshape(rows, sequences)
        return StepMask.from_array(some).within(self.outer)


def counts_of(mask):
    """The ``counts`` of a mask; of what else was given, the array.

    >>> counts_of(StepMask.from_lengths([1, 0], steps=2)).tolist()
    [[True, False], [False, False]]
    """
    return mask.counts if isinstance(mask, (StepMask, NestedMask)) else plain(mask)


def mask_where(x, value=None):
    """The `StepMask` of the ids (B, T) that are not 0.

    With a ``value``: of the steps of x (B, T, D) of which some feature differs from it.

    >>> np.asarray(mask_where(np.array([[0, 3, 0]])))
    array([[False,  True, False]])
    """
    return StepMask.from_array(x != 0 if value is None else (x != value).any(axis=-1))
