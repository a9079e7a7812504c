"""What users pass as ``x`` (and ``y``, and weights), cut into batches.

Two kinds of rows: an array, of which a batch is some rows; and sequences of different lengths, kept
one behind the other in one flat array, of which a batch is some runs, brought to the length of the
longest and marked by a `StepMask`.  Either is made once for each ``fit``; the data are copied only
where they are not yet what the first layer takes.  Of a model with several inputs a row is one of
each: `JointRows`.

Letters: N rows in all, B rows in a batch, T steps, D features.
"""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from fastrnn.checks import TEXTS, is_table, numbers, row_count
from fastrnn.masks import StepMask
from fastrnn.names import unknown

__all__ = [
    "ArrayRows",
    "Data",
    "JointRows",
    "Outputs",
    "RaggedRows",
    "TextRows",
    "batches_of",
    "entries",
    "filled_up",
    "is_ragged",
    "of_rank",
    "rows_of",
    "split",
    "texts_of",
    "weights_of_classes",
]

# Rows are sorted by length within windows of so many batches: enough that the rows of a batch have
# nearly one length, few enough that batches stay random.
WINDOW = 32

# Lists are turned into arrays so many rows at a time, so that never all are there in both forms.
CHUNK = 1024


def rows_of(x, convert, name="x", like=None):
    """``x`` as `ArrayRows` or `RaggedRows`.

    Parameters
    ----------
    x : array (N, ...), or a list or object array of N sequences
        Sequences are (L,) or (L, D), each with its own L, which may be 0.
    convert : callable
        Turns an array into what the first layer takes: `Layer.convert_input`.
    name : str
        What to call it in messages.
    like : shape, optional
        That of the input, with None for any number: see `of_rank`.

    Raises
    ------
    ValueError
        If there are no rows or no steps, or rows that do not go together.
    TypeError
        If it is neither an array nor a list.
    """
    if row_count(name, x) == 0:
        raise ValueError(f"{name}: there are no rows; got shape {np.shape(x)}.")
    if is_ragged(x):
        step = like and like[1:]  # rows and steps are one axis there
        return RaggedRows(*_flattened(x, lambda flat: convert(of_rank(flat, step)), name))
    array = numbers(name, x)
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one step in a row; got shape {array.shape}.")
    return ArrayRows(convert(of_rank(array, like)))


def texts_of(x, convert, name="x", like=None):
    """Texts as `TextRows`; the arguments are those of `rows_of`.

    Raises
    ------
    ValueError
        If there are none, or only one.
    """
    if isinstance(x, (str, bytes)):
        raise ValueError(f"{name}: expected a list or array of texts; got one: put it into a list.")
    if row_count(name, x) == 0:
        raise ValueError(f"{name}: there are no rows; got shape {np.shape(x)}.")
    return TextRows(of_rank(convert(x), like))


def of_rank(x, like):
    """An array with a last axis of 1 more or less, where a shape ``like`` it has that.

    As Keras's models have it; what differs in another way comes back as it is, and so does all
    for None.  Nothing is copied.

    >>> of_rank(np.ones((5, 3)), (None, 3, 1)).shape, of_rank(np.ones((5, 1)), (None,)).shape
    ((5, 3, 1), (5,))
    """
    if not like:
        return x
    if x.ndim == len(like) - 1 and like[-1] == 1:
        return x[..., None]
    return x[..., 0] if x.ndim == len(like) + 1 and x.shape[-1] == 1 else x


def filled_up(name, given, lengths):
    """Labels or weights for each step, as an array (N, T, ...) with zeros behind the ends of rows.

    Parameters
    ----------
    name : str
        What to call them in messages.
    given : list or object array of N sequences, or an array (N, T, ...)
    lengths : array (N,), or None
        How many steps the rows of x have whose steps the output has; None if it has those of none
        whose rows have different lengths.

    Raises
    ------
    ValueError
        If they have other steps than the rows of x.

    Examples
    --------
    >>> filled_up("y", [[1], [2, 3]], np.array([1, 2]))
    array([[1, 0],
           [2, 3]])
    """
    if not is_ragged(given):
        shape = np.shape(given)
        longest = None if lengths is None else max(1, *lengths)
        if longest is not None and len(shape) > 1 and shape[1] != longest:
            raise ValueError(
                f"{name}: expected {longest} steps, those of the longest row of x; got shape "
                f"{shape}. Give a list with as many steps for each row as x has there, or pad all "
                f"to {longest} with pad_sequences(..., padding='post', maxlen={longest})."
            )
        return given
    if lengths is None:
        raise ValueError(
            f"{name}: got rows of different lengths, but the output has equally many steps in each "
            "row. Pad them as x was padded, with pad_sequences; behind lists of sequences that "
            "were never padded they may have different lengths too."
        )
    flat, own = _flattened(given, np.asarray, name)
    if (wrong := np.flatnonzero(own != lengths)).size:
        i = wrong[0]
        raise ValueError(
            f"{name}: expected as many steps in each row as x has there; row {i} has {own[i]}, "
            f"that of x {lengths[i]}."
        )
    return RaggedRows(flat, own).batch(slice(None))[0]


def is_ragged(x):
    """Whether the rows of a list or object array are sequences of different lengths, or empty."""
    if is_table(x) or hasattr(x, "__array__") and np.asarray(x).dtype.kind != "O":
        return False
    lengths = {len(row) if hasattr(row, "__len__") else None for row in x}
    return lengths != {None} and (len(lengths) > 1 or 0 in lengths)


def _flattened(x, convert, name):
    """The sequences one behind the other, as the first layer takes them, and their lengths."""
    lengths, shapes, pieces = [], set(), []
    for start in range(0, len(x), CHUNK):
        rows = [_row(i, row, name) for i, row in enumerate(x[start : start + CHUNK], start)]
        lengths += map(len, rows)
        filled = [row for row in rows if len(row)]
        shapes |= {row.shape[1:] for row in filled}
        if len(shapes) > 1:
            raise ValueError(
                f"{name}: expected sequences of the same kind, (steps,) or (steps, features); got "
                f"rows whose shapes after the steps are {sorted(shapes)}."
            )
        pieces.append(convert(np.concatenate(filled or rows[:1])))
    if shapes:  # what has no step has no features either
        pieces = [piece for piece in pieces if len(piece)]
    flat = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    return flat, np.array(lengths, np.int64)


def _row(i, row, name):
    kind = "nothing that has a length"
    if hasattr(row, "__len__") and not isinstance(row, (str, bytes, dict)):
        try:
            array = np.asarray(row)
            if array.dtype.kind in "biuf":
                return array
            kind = f"a sequence of {array.dtype}"
        except ValueError:
            kind = "lists of different lengths"
    raise ValueError(
        f"{name}: row {i} should be a sequence of numbers; it is {kind}: {row!r:.60}."
        + TEXTS * isinstance(row, (str, bytes))
    )


class ArrayRows:
    """The rows of an array (N, ...), of NumPy or of an engine."""

    go_together = True  # whether a row is the same with whatever others

    def __init__(self, x):
        self.x = x
        self._buffer = None
        self._on_host = isinstance(x, np.ndarray)

    def __len__(self):
        return len(self.x)

    @property
    def values(self):
        """Every number there is."""
        return self.x

    @property
    def shape(self):
        """(N, ...)."""
        return self.x.shape

    @property
    def build_shape(self):
        """The shape to build a model for."""
        return None, *self.x.shape[1:]

    def part(self, start, stop):
        """The rows from ``start`` up to ``stop``, without copying."""
        return ArrayRows(self.x[start:stop])

    def batch(self, index):
        """``(x, mask)`` for a slice, or an array of row numbers.

        The array is valid until the next call.
        """
        if isinstance(index, slice) or not self._on_host:
            return self.x[index], None
        if self._buffer is None or len(self._buffer) < len(index):
            self._buffer = np.empty((len(index), *self.x.shape[1:]), self.x.dtype)
        # Row numbers are ours, so nothing is clipped; mode="raise" would need a buffer of its own.
        return self.x.take(index, axis=0, out=self._buffer[: len(index)], mode="clip"), None

    def shuffled(self, batch_size, generator):
        """The row numbers in a random order."""
        return generator.permutation(len(self))

    def sorted(self):
        """The order in which all rows cost least: None, as they are."""
        return None


class TextRows(ArrayRows):
    """The rows of an array of texts: how many steps they have shows later."""

    go_together = False

    def part(self, start, stop):
        return TextRows(self.x[start:stop])


class RaggedRows:
    """N sequences of different lengths.

    Parameters
    ----------
    flat : array of shape (sum of lengths, ...)
        One sequence behind the other; of NumPy, or of an engine, which then makes the batches.
    lengths : int64 array of shape (N,)
    starts : int64 array of shape (N,), optional
        Where each sequence begins in ``flat``; default: right behind the one before.
    """

    go_together = True

    def __init__(self, flat, lengths, starts=None):
        self.flat = flat
        self.lengths = lengths
        self.starts = np.cumsum(lengths) - lengths if starts is None else starts

    def __len__(self):
        return len(self.lengths)

    @property
    def values(self):
        """Every number there is, and perhaps those of rows that are not among these."""
        return self.flat

    @property
    def shape(self):
        """(N, T, ...) with T the longest length."""
        return len(self), max(1, int(self.lengths.max())), *self.flat.shape[1:]

    @property
    def build_shape(self):
        """The shape to build a model for: any number of steps."""
        return None, None, *self.flat.shape[1:]

    def part(self, start, stop):
        """The rows from ``start`` up to ``stop``, without copying the sequences."""
        return RaggedRows(self.flat, self.lengths[start:stop], self.starts[start:stop])

    def batch(self, index):
        """``(x, mask)`` for a slice, or an array of row numbers: x (B, T, ...), zeros behind."""
        lengths = self.lengths[index]
        steps = max(1, int(lengths.max()))
        mask = StepMask.from_ragged(lengths, steps)
        if not isinstance(self.flat, np.ndarray):
            return self.flat.padded(self.starts[index], lengths, steps), mask
        x = np.zeros((len(lengths), steps, *self.flat.shape[1:]), self.flat.dtype)
        # A loop of copies: faster than any one indexing operation over all steps.
        for row, start, length in zip(
            x, self.starts[index].tolist(), lengths.tolist(), strict=True
        ):
            row[:length] = self.flat[start : start + length]
        return x, mask

    def shuffled(self, batch_size, generator):
        """The row numbers in a random order in which the rows of a batch have similar lengths."""
        order = generator.permutation(len(self))
        window = WINDOW * batch_size
        for start in range(0, len(order), window):
            part = order[start : start + window]
            part[:] = part[np.argsort(self.lengths[part], kind="stable")]
            whole = part[: len(part) // batch_size * batch_size].reshape(-1, batch_size)
            whole[:] = whole[generator.permutation(len(whole))]
        return order

    def sorted(self):
        """The row numbers by length: the order in which all rows cost least."""
        return np.argsort(self.lengths, kind="stable")


class JointRows:
    """The rows of several inputs, side by side.

    Parameters
    ----------
    parts : list of `ArrayRows` and `RaggedRows`
        All of the same length.  Their shapes, batches and masks come as lists.
    """

    def __init__(self, parts):
        self.parts = parts
        # Whose lengths decide which rows go together.
        self._leader = next((p for p in parts if isinstance(p, RaggedRows)), parts[0])

    def __len__(self):
        return len(self.parts[0])

    @property
    def go_together(self):
        """Whether a row is the same with whatever others."""
        return all(part.go_together for part in self.parts)

    @property
    def values(self):
        """Every number there is, for each input."""
        return [part.values for part in self.parts]

    @property
    def shape(self):
        """(N, ...) of each input."""
        return [part.shape for part in self.parts]

    @property
    def build_shape(self):
        """The shapes to build a model for."""
        return [part.build_shape for part in self.parts]

    def part(self, start, stop):
        """The rows from ``start`` up to ``stop``, without copying."""
        return JointRows([part.part(start, stop) for part in self.parts])

    def batch(self, index):
        """``(x, mask)``, a list each, for a slice or an array of row numbers."""
        x, mask = zip(*(part.batch(index) for part in self.parts), strict=True)
        return list(x), list(mask)

    def shuffled(self, batch_size, generator):
        """The row numbers in a random order; rows of a batch have similar lengths."""
        return self._leader.shuffled(batch_size, generator)

    def sorted(self):
        """The order in which all rows cost least."""
        return self._leader.sorted()


def entries(argument, given, names, missing=False, more=False):
    """What ``given`` has for each of several inputs or outputs, as a list.

    Parameters
    ----------
    argument : str
        What to call it in messages.
    given : list, tuple or dict
        An entry for each name, in their order or by name.
    names : list of str
    missing : bool, default False
        Whether a dict may leave names out; their entry is then None.
    more : bool, default False
        Whether a dict may have other names, which are passed over.

    Raises
    ------
    ValueError
        If there are too many or too few, or names that are not known.

    Examples
    --------
    >>> entries("x", {"b": 2, "a": 1}, ["a", "b"])
    [1, 2]
    """
    wanted = ", ".join(map(repr, names))
    if isinstance(given, dict):
        others = [name for name in given if name not in names]
        lacking = [name for name in names if name not in given]
        if others and (lacking or not more):
            raise ValueError(f"{argument}: {unknown('name', others[0], names)}")
        if lacking and not missing:
            raise ValueError(
                f"{argument}: expected an entry for each of {wanted}; there is none for "
                f"{', '.join(map(repr, lacking))}."
            )
        return [given.get(name) for name in names]
    if isinstance(given, (list, tuple)) and len(given) == len(names):
        return list(given)
    got = f"a list of {len(given)}" if isinstance(given, (list, tuple)) else (
        f"an array of shape {given.shape}" if hasattr(given, "shape") else repr(given)
    )
    raise ValueError(
        f"{argument}: expected a list of {len(names)}, or a dict, for {wanted}; got {got:.80}."
    )


class Data(NamedTuple):
    """Rows with their labels and weights, checked and ready to be cut into batches.

    Attributes
    ----------
    rows : `ArrayRows`, `RaggedRows` or `JointRows`
    target : array (N, ...), or None
    weight : array (N,) or (N, T), or None
    by_step : int, or None
        The number of the input whose ragged steps the labels (and perhaps weights) follow, so that
        those of a batch are cut to its length.

    For a model with several outputs target, weight and by_step are lists, with one for each.
    """

    rows: Any
    target: Any = None
    weight: Any = None
    by_step: Any = None

    def part(self, start, stop):
        """The rows from ``start`` up to ``stop``."""
        own = slice(start, stop)
        return Data(
            self.rows.part(start, stop), _taken(self.target, own), _taken(self.weight, own),
            self.by_step,
        )

    def labels(self, index):
        """``(target, weight)`` of the rows ``index``, a slice or row numbers, uncut."""
        return _taken(self.target, index), _taken(self.weight, index)

    def batch(self, index):
        """``(x, mask, target, weight)`` of the rows ``index``, a slice or row numbers."""
        x, mask = self.rows.batch(index)
        target, weight = self.labels(index)
        if isinstance(self.by_step, list):
            cut = [_cut(*own, x) for own in zip(target, weight, self.by_step, strict=True)]
            target, weight = map(list, zip(*cut, strict=True))
        elif self.by_step is not None:
            target, weight = _cut(target, weight, self.by_step, x)
        return x, mask, target, weight


def _taken(arrays, index):
    """The rows ``index`` of an array, of each of a list, or of None."""
    if isinstance(arrays, list):
        return [_taken(a, index) for a in arrays]
    return None if arrays is None else arrays[index]


def _cut(target, weight, by_step, x):
    """Labels and weights, cut to the steps of the input ``by_step`` of a batch."""
    if by_step is None:
        return target, weight
    steps = (x[by_step] if isinstance(x, list) else x).shape[1]
    if target is not None:
        target = np.ascontiguousarray(target[:, :steps])
    return target, weight if weight is None or weight.ndim == 1 else weight[:, :steps]


def batches_of(rows, batch_size, order=None):
    """The rows of each batch: slices, or pieces of ``order``."""
    for start in range(0, len(rows), batch_size):
        piece = slice(start, min(start + batch_size, len(rows)))
        yield piece if order is None else order[piece]


def split(data, fraction):
    """The first rows of `Data`, and the last ``fraction`` of them, without copying.

    Raises
    ------
    ValueError
        If the fraction is not between 0 and 1, or leaves one of the two without rows.
    """
    if not isinstance(fraction, Real) or not 0 < fraction < 1:
        raise ValueError(f"validation_split: expected a number in [0, 1); got {fraction!r}.")
    rows = len(data.rows)
    kept = math.floor(rows * (1 - fraction))
    if kept in (0, rows):
        raise ValueError(
            f"validation_split={fraction} of {rows} rows leaves {kept} for training and "
            f"{rows - kept} for validation; give more rows, or validation_data."
        )
    return data.part(0, kept), data.part(kept, rows)


def weights_of_classes(target, class_weight, by_step=False):
    """A weight for each row, by its class; ``by_step`` says that labels are those of steps.

    Raises
    ------
    TypeError
        If ``class_weight`` is not a dict.
    ValueError
        If there are labels for each step.
    """
    if not isinstance(class_weight, dict):
        raise TypeError(f"class_weight: expected a dict of class to weight; got {class_weight!r}.")
    if by_step or target.ndim > 2:
        raise ValueError(
            "class_weight: labels have an axis of steps; give sample_weight, for rows and steps."
        )
    if target.ndim == 2:
        target = target[:, 0].round() if target.shape[1] == 1 else target.argmax(axis=1)
    weights = np.ones(len(target))
    for label, weight in class_weight.items():
        weights[target == label] = weight
    return weights


class Outputs:
    """Collects the outputs of batches whose rows come in any order.

    Parameters
    ----------
    rows : int
    shape : tuple, or list of tuple where there are several outputs
    """

    def __init__(self, rows, shape):
        self.rows = rows
        self.shape = shape
        self.value = None

    def put(self, index, batch):
        """The outputs of the rows ``index``."""
        if isinstance(batch, list):
            if self.value is None:
                self._parts = [Outputs(self.rows, shape) for shape in self.shape]
            for part, own in zip(self._parts, batch, strict=True):
                part.put(index, own)
            self.value = [part.value for part in self._parts]
            return
        if self.value is None:
            self.value = np.zeros((self.rows, *self.shape[1:]), batch.dtype)
        if batch.shape[1:] == self.value.shape[1:]:
            self.value[index] = batch
        else:  # a batch of shorter sequences
            self.value[index, : batch.shape[1]] = batch
