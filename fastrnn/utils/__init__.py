"""Small helpers, by the names that they have in ``keras.utils``."""

from __future__ import annotations

import gc

from fastrnn.graph import SymbolicTensor
from fastrnn.names import forget_names
from fastrnn.random import set_random_seed
from fastrnn.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    register_keras_serializable,
)
from fastrnn.sources import PyDataset
from fastrnn.utils.arrays import normalize, split_dataset, to_categorical

__all__ = [
    "CustomObjectScope",
    "PyDataset",
    "Sequence",
    "clear_session",
    "custom_object_scope",
    "get_custom_objects",
    "is_keras_tensor",
    "normalize",
    "pad_sequences",
    "register_keras_serializable",
    "set_random_seed",
    "split_dataset",
    "timeseries_dataset_from_array",
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


def is_keras_tensor(x):
    """Whether ``x`` is a symbolic tensor: what an `Input` is, or a layer gives for one.

    Examples
    --------
    >>> from fastrnn import Input
    >>> is_keras_tensor(Input((3,))), is_keras_tensor([1.0])
    (True, False)
    """
    return isinstance(x, SymbolicTensor)


def __getattr__(name):
    if name in ("pad_sequences", "timeseries_dataset_from_array"):
        from fastrnn.preprocessing import sequence, timeseries

        return getattr(sequence if name == "pad_sequences" else timeseries, name)
    raise AttributeError(f"module 'fastrnn.utils' has no attribute {name!r}")
