"""Checks of arrays that users pass in, with errors in their words."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np

__all__ = ["check_finite", "fits", "numbers", "row_count", "shown", "whole"]


def numbers(name, values):
    """``values`` as an array of numbers.

    Raises
    ------
    ValueError
        For lists of different lengths.
    TypeError
        For anything but numbers.
    """
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
        )
    return array


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
