"""Settings that hold for the whole process, as in ``keras.config``."""

from __future__ import annotations

__all__ = ["backend", "epsilon", "floatx", "set_floatx"]

_FLOATS = ("float32", "float64")
_floatx = "float32"


def backend():
    """What computes: always ``"fastrnn"``, which is none of Keras's backends.

    >>> backend()
    'fastrnn'
    """
    return "fastrnn"


def floatx():
    """The float type that layers use when none is named: ``"float32"`` unless set.

    >>> floatx()
    'float32'
    """
    return _floatx


def set_floatx(value):
    """Set the default float type, ``"float32"`` or ``"float64"``, for layers made from now on.

    Raises
    ------
    ValueError
        For any other type.
    """
    global _floatx
    if value not in _FLOATS:
        raise ValueError(f"set_floatx: expected one of {_FLOATS}; got {value!r}.")
    _floatx = value


def epsilon():
    """The small number that keeps divisions and logarithms finite, 1e-7."""
    return 1e-7
