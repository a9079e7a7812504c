"""The file of a training state: nested dicts and lists of numbers, strings and arrays.

It is a safetensors file; what is no array stands as JSON in its metadata, where an array is named
by its number.  Floats keep all their bits, and nothing in such a file can run.
"""

from __future__ import annotations

import json

import numpy as np

from fastrnn.atomic import new_file

__all__ = ["read", "write"]

FORMAT = "fastrnn training state"
VERSION = 1
ARRAY = "$array"


def write(path, state):
    """Write a state, all at once.

    Raises
    ------
    TypeError
        If there is something in it that is no dict, list, number, string, None or array.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "state")
    ...     write(path, {"epoch": 3, "weights": [np.ones(2)]})
    ...     read(path)
    {'epoch': 3, 'weights': [array([1., 1.])]}
    """
    import safetensors.numpy

    arrays = {}
    metadata = {
        "format": FORMAT, "format_version": str(VERSION),
        "state": json.dumps(_flattened(state, arrays)),
    }
    content = safetensors.numpy.save(arrays, metadata)
    with new_file(path) as file:
        file.write(content)


def read(path):
    """The state that `write` wrote.

    Raises
    ------
    ValueError
        If the file is cut off, or something else.
    OSError
        If it cannot be read.
    """
    import safetensors

    with open(path, "rb"):  # the clearest error for a file that cannot be read
        pass
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path} is cut off or something else: {error}.") from error
    if (metadata.get("format"), metadata.get("format_version")) != (FORMAT, str(VERSION)):
        raise ValueError(f"{path} is not the file of a training state of this fastrnn.")
    return _restored(json.loads(metadata["state"]), arrays)


def _flattened(value, arrays):
    """``value`` as JSON takes it; its arrays go into ``arrays``."""
    if isinstance(value, np.ndarray):
        name = str(len(arrays))
        arrays[name] = np.array(value, order="C")
        return {ARRAY: name}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _flattened(part, arrays) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_flattened(part, arrays) for part in value]
    return value


def _restored(value, arrays):
    if isinstance(value, dict):
        if value.keys() == {ARRAY}:
            return arrays[value[ARRAY]]
        return {key: _restored(part, arrays) for key, part in value.items()}
    if isinstance(value, list):
        return [_restored(part, arrays) for part in value]
    return value
