"""Models and weights in files: fastrnn's own, Keras's, and PyTorch's recurrent weights.

`files` is the door, and tells formats apart; `native` is fastrnn's own format, `keras` reads and
writes Keras's with `configs` and `hdf5`, and `torch` converts the state dicts of PyTorch's
recurrent layers.  `tree` says which array belongs to which weight, `loading` makes models from
configurations that are not to be trusted.
"""

from fastrnn.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    register_keras_serializable,
)
from fastrnn.saving.files import load_model, load_weights, read_extra, save_model, save_weights
from fastrnn.saving.torch import from_torch, to_torch

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "from_torch",
    "get_custom_objects",
    "load_model",
    "load_weights",
    "read_extra",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "to_torch",
]
