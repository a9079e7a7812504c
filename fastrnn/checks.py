"""Checks of arrays that users pass in, with errors in their words."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

__all__ = ["check_finite", "fits", "is_table", "numbers", "row_count", "shown", "whole"]


TEXTS = " Texts become ids in layers.TextVectorization, words in layers.StringLookup."


def numbers(name, values):
    """``values`` as an array of numbers.

    Raises
    ------
    ValueError
        For lists of different lengths.
    TypeError
        For anything but numbers.
    """
    if is_table(values):
        values = _by_column(name, values)
    try:
        array = np.asarray(values)
        if array.dtype == object:
            array = array.astype(np.float64)
    except ValueError as error:
        raise ValueError(
            f"{name}: expected an array of numbers; got lists of different lengths, or something "
            f"else inside them ({error})."
        ) from None
    except TypeError:
        pass
    if array.dtype.kind not in "biuf":
        raise TypeError(
            f"{name}: expected numbers; got an array of dtype {array.dtype}, shape {array.shape}."
            + TEXTS * (array.dtype.kind in "USO")
        )
    return array


def is_table(values):
    """Whether it has columns with names, as pandas's DataFrame; iterating it may give these."""
    return all(hasattr(values, name) for name in ("columns", "dtypes", "to_numpy"))


def _by_column(name, table):
    """A table as an array: of floats where its columns have different types."""
    array = np.asarray(table)
    if array.dtype.kind in "biuf":
        return array
    found = np.empty(array.shape, np.float64)
    for i, (column, dtype) in enumerate(zip(table.columns, table.dtypes, strict=True)):
        values, kind = array[:, i], getattr(dtype, "kind", "O")
        try:
            if kind not in "biuf" and any(isinstance(v, str) for v in values):
                raise TypeError  # though it may look like a number
            found[:, i] = values.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name}: expected numbers in every column; column {column!r} is of dtype {dtype}, "
                f"and of its values one is {_no_number(values)!r:.60}. Leave it out, or give codes "
                "or dummies in its place."
            ) from None
    return found


def _no_number(values):
    """The first of the values that is no number."""
    return next((v for v in values if not isinstance(v, Real)), values[0])


def row_count(name, values):
    """How many rows an array or list has; TypeError for what has none."""
    try:
        return len(values)
    except TypeError:
        raise TypeError(
            f"{name}: expected an array, or a list of rows; got {values!r:.60}."
        ) from None


def check_finite(name, values):
    """Raise ValueError if a number is NaN or infinite."""
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    place = np.argwhere(~np.isfinite(values))[0]
    raise ValueError(
        f"{name}: expected finite numbers; got {values[tuple(place)]} in row {place[0]} of an "
        f"array of shape {values.shape}."
    )


def fits(shape, expected):
    """Whether a shape is the expected one, in which None stands for any number.

    >>> fits((2, 3), (None, 3)), fits((2, 3), (2,))
    (True, False)
    """
    return len(shape) == len(expected) and all(
        e is None or s == e for s, e in zip(shape, expected, strict=True)
    )


def shown(shape):
    """A shape as text, None as "any".

    >>> shown((None, 3)), shown((4,))
    ('(any, 3)', '(4,)')
    """
    return str(tuple(shape)).replace("None", "any")


def whole(value, least=1):
    """Whether a value is a whole number from ``least`` on; True and False are none.

    >>> whole(3), whole(2.0), whole(2.5), whole(0), whole("3"), whole(True)
    (True, True, False, False, False, False)
    """
    return (
        isinstance(value, Real) and not isinstance(value, (bool, np.bool_))
        and math.isfinite(value) and int(value) == value and value >= least
    )
