"""Models made from configurations that somebody else wrote.

A configuration in a file may be of another program, of another version, or made to do harm.  The
weights of its layers start from zeros, no more of them than the file has numbers: the values come
from the file anyway, and a configuration that asks for terabytes is refused before they are
allocated.
"""

from __future__ import annotations

import contextlib
import json
import math

import numpy as np

from fastrnn import initializers
from fastrnn.layers.serialization import registry

__all__ = ["broken", "compile_from_config", "model_from_config", "parsed"]

# All that a mistaken configuration can raise on its way through constructors.
ERRORS = (
    ArithmeticError, AttributeError, LookupError, MemoryError, NotImplementedError, RecursionError,
    TypeError, ValueError,
)


@contextlib.contextmanager
def broken(source):
    """Whatever does not fit together in ``source`` becomes a ValueError that names it."""
    try:
        yield
    except ERRORS as error:
        text = f"there is no {error}" if isinstance(error, KeyError) else str(error)
        text = text or type(error).__name__
        if text.startswith(str(source)):
            raise
        (where, *_) = [*getattr(error, "__notes__", ()), None]
        if where and not text.lower().startswith("layer '"):  # it says which
            text = f"{where}: {text}"
        raise ValueError(f"{source} does not fit together: {text}") from error


def as_json(config, **options):
    """A configuration as JSON.

    Raises
    ------
    ValueError
        If there is a function in it, as in that of a `Lambda`.
    """
    def refuse(value):
        raise ValueError(
            f"a file has no place for a function, such as {value!r:.60} of a Lambda layer; write "
            "it as a class that has a call. Of a TextVectorization it needs a name."
        )

    return json.dumps(config, default=refuse, **options)


def parsed(text, what):
    """JSON as a dict.

    Raises
    ------
    ValueError
        If it is no JSON, or no dict.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what} is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{what}: expected a JSON object; got {type(value).__name__}.")
    return value


def model_from_config(entry, numbers=None):
    """A new model.

    Parameters
    ----------
    entry : dict
        ``class_name``, ``config``, of a class that is registered ``registered_name``, and
        ``build_config`` for a model that does not say its shapes in ``config``.
    numbers : int, optional
        The weights are zero, and this is the most that all of them together may hold; else they
        start as the configuration says.

    Raises
    ------
    ValueError
        If it is no model, a layer is unknown or cannot be made, or the weights are too large.
    """
    from fastrnn.models import Model

    cls = registry.find(str(entry.get("class_name")), entry.get("registered_name"))
    if not (isinstance(cls, type) and issubclass(cls, Model)):
        raise ValueError(f"expected the configuration of a model; got that of {cls.__name__!r}.")
    zeros = contextlib.nullcontext() if numbers is None else initializers.instead(
        Budget(numbers).zeros
    )
    with zeros:
        model = cls.from_config(entry["config"])
        model.build_from_config(entry.get("build_config"))
        return model


def compile_from_config(model, config):
    """Compile a model as it was.

    Raises
    ------
    ValueError
        If something of that is not known here, or cannot be made; the message says how to load the
        model without it.
    """
    try:
        model.compile_from_config(config)
    except ERRORS as error:
        raise ValueError(f"{error} Load it with compile=False to leave that out.") from error


class Budget:
    """Zeros for new weights, no more of them than the file has numbers."""

    def __init__(self, numbers):
        self.left = numbers

    def zeros(self, shape, dtype):
        self.left -= math.prod(shape)
        if self.left < 0:
            raise ValueError(
                f"its configuration asks for a weight of shape {tuple(shape)}, more than the file "
                "has numbers."
            )
        return np.zeros(shape, dtype)
