"""Small helpers, by the names that they have in ``keras.utils``."""

from __future__ import annotations

import gc

import numpy as np

from fastrnn.checks import numbers
from fastrnn.config import floatx
from fastrnn.names import forget_names
from fastrnn.random import set_random_seed
from fastrnn.registry import custom_object_scope, register_keras_serializable
from fastrnn.sources import PyDataset

__all__ = [
    "PyDataset",
    "Sequence",
    "clear_session",
    "custom_object_scope",
    "pad_sequences",
    "register_keras_serializable",
    "set_random_seed",
    "to_categorical",
]

Sequence = PyDataset  # Keras has this name too


def clear_session(free_memory=True):
    """Number the names of layers from the start again; models that nobody holds are gone anyway.

    Parameters
    ----------
    free_memory : bool, default True
        Look for memory that can be given back now.

    Examples
    --------
    >>> from fastrnn.layers import Dense
    >>> clear_session()
    >>> Dense(2).name, Dense(2).name
    ('dense', 'dense_1')
    """
    forget_names()
    if free_memory:
        gc.collect()


def to_categorical(x, num_classes=None):
    """Class numbers as one-hot rows.

    Parameters
    ----------
    x : array of whole numbers from 0 on
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
    x = numbers("to_categorical", x)
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


def __getattr__(name):
    if name == "pad_sequences":
        from fastrnn.preprocessing.sequence import pad_sequences

        return pad_sequences
    raise AttributeError(f"module 'fastrnn.utils' has no attribute {name!r}")
