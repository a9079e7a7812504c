"""A long series cut into sequences of one length, in batches.

Letters: N rows of data, B sequences in a batch, T steps of a sequence, n sequences in all.
"""

from __future__ import annotations

import operator

import numpy as np

from fastrnn import random
from fastrnn.checks import numbers, whole
from fastrnn.sources import PyDataset

__all__ = ["TimeseriesDataset", "timeseries_dataset_from_array"]


def timeseries_dataset_from_array(
    data, targets, sequence_length, sequence_stride=1, sampling_rate=1, batch_size=128,
    shuffle=False, seed=None, start_index=None, end_index=None, format=None,
):
    """Sequences of rows that follow one another, and a target for each.

    Parameters
    ----------
    data : array of shape (N, ...)
        A row for each moment.
    targets : array of shape (n, ...), or None
        ``targets[i]`` belongs to the sequence that begins at row i: where it is the value that
        follows, give ``data[sequence_length:]``.  None: there are inputs alone.
    sequence_length : int
        T.
    sequence_stride : int, default 1
        So many rows lie between the beginnings of two sequences.
    sampling_rate : int, default 1
        So many rows lie between two steps of a sequence.
    batch_size : int or None, default 128
        B; the last batch may be smaller.  None: every sequence comes alone, without that axis.
    shuffle : bool, default False
        Draw the order of the sequences, once.
    seed : int, optional
        What to draw it with.
    start_index, end_index : int, optional
        Use only these rows, of data and targets, from the first up to, without, the second.
    format
        Accepted for Keras's sake.

    Returns
    -------
    TimeseriesDataset
        Batches ``(inputs, targets)``, of shapes (B, T, ...) and (B, ...); or inputs alone.

    Raises
    ------
    ValueError
        For numbers that cannot be, or rows that are fewer than one sequence needs.

    Examples
    --------
    >>> series = np.arange(10)
    >>> batches = timeseries_dataset_from_array(series, series[3:], 3, batch_size=2)
    >>> len(batches)
    4
    >>> batches[0]
    (array([[0, 1, 2],
           [1, 2, 3]]), array([3, 4]))
    """
    data = _rows("data", data)
    targets = None if targets is None else _rows("targets", targets)
    if batch_size is not None:
        batch_size = _whole("batch_size", batch_size)
    sequence_length = _whole("sequence_length", sequence_length)
    sequence_stride = _whole("sequence_stride", sequence_stride, len(data) - 1)
    sampling_rate = _whole("sampling_rate", sampling_rate, len(data) - 1)
    start, end = _bounds(start_index, end_index, len(data))
    data = data[start:end]
    count = len(data) - (sequence_length - 1) * sampling_rate
    if targets is not None:
        targets = targets[start:end]
        count = min(count, len(targets))
    if count < 1:
        also = "" if targets is None else f" and {len(targets)} targets"
        raise _error(
            f"a sequence of {sequence_length} steps needs "
            f"{(sequence_length - 1) * sampling_rate + 1} rows; there are {len(data)}{also}."
        )
    starts = np.arange(0, count, sequence_stride)
    if shuffle:
        seed = random.draw_seed() if seed is None else random.check_seed(seed)
        starts = random.generator(seed).permutation(starts)
    steps = np.arange(sequence_length) * sampling_rate
    return TimeseriesDataset(data, targets, starts, steps, batch_size)


class TimeseriesDataset(PyDataset):
    """What `timeseries_dataset_from_array` gives: batches by number, made when they are asked for.

    Parameters
    ----------
    data : array of shape (N, ...)
    targets : array of shape (N, ...) or None
    starts : int array of shape (n,)
        Where each sequence begins.
    steps : int array of shape (T,)
        Where its steps are, from there.
    batch_size : int or None
    """

    def __init__(self, data, targets, starts, steps, batch_size):
        super().__init__()
        self.data = data
        self.targets = targets
        self.starts = starts
        self.steps = steps
        self.batch_size = batch_size

    def __len__(self):
        return -(-len(self.starts) // (self.batch_size or 1))

    def __getitem__(self, index):
        """The batch of that number: ``(inputs, targets)``, or inputs."""
        index = range(len(self))[operator.index(index)]  # an IndexError behind the last
        if self.batch_size is None:
            begin = self.starts[index]
        else:
            begin = self.starts[index * self.batch_size : (index + 1) * self.batch_size]
        inputs = self.data[np.add.outer(begin, self.steps)]
        return inputs if self.targets is None else (inputs, self.targets[begin])


def _rows(argument, values):
    array = numbers(argument, values)
    if not array.ndim or not len(array):
        raise _error(f"{argument}: expected rows; got an array of shape {array.shape}.")
    return array


def _whole(argument, value, most=None):
    if not whole(value) or (most is not None and value > most):
        below = "" if most is None else f", below the {most + 1} rows of data"
        raise _error(f"{argument} must be a whole number from 1 on{below}; got {value!r}.")
    return int(value)


def _bounds(start, end, rows):
    """The first row, and the one behind the last."""
    start, end = 0 if start is None else start, rows if end is None else end
    if not (whole(start, least=0) and whole(end) and start < end <= rows):
        raise _error(
            f"expected 0 <= start_index < end_index <= {rows}, the number of rows; got "
            f"start_index={start!r} and end_index={end!r}."
        )
    return int(start), int(end)


def _error(message):
    return ValueError(f"timeseries_dataset_from_array: {message}")
