"""Arrays in other forms, by the names that this has in ``keras.utils``.

Letters: N rows, C classes.
"""

from __future__ import annotations

import random

import numpy as np

from fastrnn.checks import numbers
from fastrnn.config import floatx

__all__ = ["normalize", "split_dataset", "to_categorical"]


def to_categorical(x, num_classes=None):
    """Class numbers as one-hot rows.

    Parameters
    ----------
    x : array of whole numbers from 0 on, or of str that say them
        A last axis of one is dropped.
    num_classes : int, optional
        C; default: the largest number plus one.

    Returns
    -------
    float array of shape (\\*x.shape, C)

    Raises
    ------
    ValueError
        If a number is none of the classes.

    Examples
    --------
    >>> to_categorical([0, 2])
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    x = numbers("to_categorical", _read(x))
    if x.ndim > 1 and x.shape[-1] == 1:
        x = x[..., 0]
    if num_classes is None:
        num_classes = int(x.max()) + 1 if x.size else 0
    classes = x.astype(np.int64)
    wrong = (classes != x) | (classes < 0) | (classes >= num_classes)
    if wrong.any():
        raise ValueError(
            f"to_categorical: expected class numbers from 0 to {num_classes - 1}; "
            f"got {x[wrong].flat[0]}."
        )
    onehot = np.zeros((classes.size, num_classes), floatx())
    onehot[np.arange(classes.size), classes.reshape(-1)] = 1
    return onehot.reshape(*classes.shape, num_classes)


def _read(x):
    """Numbers that came as text; anything else as it is."""
    array = np.asarray(x) if isinstance(x, (list, tuple)) else x
    if getattr(getattr(array, "dtype", None), "kind", "") not in "US":
        return x
    try:
        return array.astype(np.int64)
    except ValueError as error:
        raise ValueError(
            f"to_categorical: expected class numbers; got text ({error}). Number the classes "
            "first: np.unique(x, return_inverse=True)[1]."
        ) from None


def normalize(x, axis=-1, order=2):
    """Vectors along an axis, divided by their norms; zeros stay zeros.

    Parameters
    ----------
    x : array
    axis : int, default -1
    order : number, default 2
        Of the norm: 1 the sum of magnitudes, 2 Euclid's, ``np.inf`` the largest.

    Returns
    -------
    float array of the same shape

    Examples
    --------
    >>> normalize([[3.0, 4.0], [0.0, 0.0]])
    array([[0.6, 0.8],
           [0. , 0. ]])
    """
    x = np.atleast_1d(numbers("normalize", x))
    norms = np.linalg.norm(x, order, axis, keepdims=True)
    norms[norms == 0] = 1
    return x / norms


def split_dataset(dataset, left_size=None, right_size=None, shuffle=False, seed=None):
    """Rows in two parts.

    Parameters
    ----------
    dataset : array, or tuple, list or dict of arrays
        All of N rows.
    left_size, right_size : float in (0, 1) or int, optional
        A share of the rows, or their number; one of them may be missing, and is what is left.
        Rows between the two go into neither.
    shuffle : bool, default False
        Draw the rows of both parts; else the first go left, the last right.
    seed : int, optional
        What to draw with.

    Returns
    -------
    left, right
        Each as ``dataset`` is: arrays, where Keras would make data sets of them.

    Raises
    ------
    ValueError
        For arrays of different lengths, sizes that do not fit, or a part without rows.
    TypeError
        If the dataset has no rows, or a size is no number.

    Examples
    --------
    >>> split_dataset(np.arange(5), left_size=0.6)
    (array([0, 1, 2]), array([3, 4]))
    """
    parts = _parts(dataset)
    lengths = sorted({len(part) for part in parts})
    if len(lengths) != 1:
        raise ValueError(
            f"split_dataset: dataset: expected arrays of one number of rows; got {lengths}."
        )
    [rows] = lengths
    left, right = _sizes(left_size, right_size, rows)
    order = list(range(rows))
    if shuffle:
        random.Random(seed).shuffle(order)
    return _taken(dataset, parts, order[:left]), _taken(dataset, parts, order[rows - right :])


def _parts(dataset):
    if isinstance(dataset, dict):
        parts = list(dataset.values())
    else:
        parts = list(dataset) if isinstance(dataset, (tuple, list)) else [dataset]
    parts = [np.asarray(part) for part in parts]
    if not parts or any(part.ndim == 0 for part in parts):
        raise TypeError(
            "split_dataset: dataset: expected an array, or a tuple, list or dict of arrays; got "
            f"{dataset!r:.80}."
        )
    return parts


def _taken(dataset, parts, rows):
    """These rows, in the structure of the data set."""
    taken = [part[rows] for part in parts]
    if isinstance(dataset, dict):
        return dict(zip(dataset, taken, strict=True))
    if isinstance(dataset, tuple):
        return tuple(taken)
    return taken if isinstance(dataset, list) else taken[0]


def _sizes(left, right, rows):
    """The numbers of rows of both parts."""
    if left is None and right is None:
        raise ValueError("split_dataset: expected left_size or right_size; got neither.")
    given = left, right
    left, right = (
        _size(f"{side}_size", size, rows)
        for side, size in zip(("left", "right"), given, strict=True)
    )
    left = rows - right if left is None else left
    right = rows - left if right is None else right
    if left < 1 or right < 1 or left + right > rows:
        raise ValueError(
            f"split_dataset: expected left_size and right_size that leave each part a row, and "
            f"{rows} rows at most in both; got {given[0]!r} and {given[1]!r}, {left} and {right} "
            "rows."
        )
    return left, right


def _size(argument, size, rows):
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, (int, float)):
        raise TypeError(
            f"split_dataset: {argument}: expected a share or a number of rows; got {size!r}."
        )
    if isinstance(size, float) and not 0 < size < 1:
        raise ValueError(
            f"split_dataset: {argument}: expected a share between 0 and 1, or a whole number; got "
            f"{size!r}."
        )
    return round(size * rows) if isinstance(size, float) else size
