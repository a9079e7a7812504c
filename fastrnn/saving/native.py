"""fastrnn's own model file: weights, optimizer state and configuration in one safetensors file.

Nothing in such a file can run: the arrays are plain bytes and the rest is JSON, in the file's
metadata. The arrays are named ``<layer>/<weight>``, those of the optimizer ``optimizer/<name>``,
and any program that reads safetensors finds them there.

==================  ==============================================================================
metadata            what it holds
==================  ==============================================================================
``format``          ``"fastrnn"``
``format_version``  `VERSION`
``config``          ``model.get_config()``
``compile_config``  ``model.get_compile_config()``, null for a model that was not compiled
``extra``           what `save_model` was given to keep with the model
==================  ==============================================================================
"""

from __future__ import annotations

import contextlib
import json
import os
import threading

import numpy as np

__all__ = ["VERSION", "load_model", "read_extra", "save_model"]

FORMAT = "fastrnn"
VERSION = 1  # one more for each change that an older fastrnn cannot read

_OPTIMIZER = "optimizer/"
# What a file begins with that somebody may well take for one of ours.
_FOREIGN = {b"PK": "a zip archive, such as a .keras file", b"\x89HDF": "an HDF5 file"}


def save_model(model, path, overwrite=True, extra=None):
    """Save a model to one file: weights, configuration, and the optimizer's state if compiled.

    The file appears all at once: where saving breaks off, what stood there before still stands.

    Parameters
    ----------
    model : fastrnn.Sequential
        Built, so that there are weights to save.
    path : str or path
    overwrite : bool, default True
        Whether a file that is there already may be replaced.
    extra : dict, optional
        Kept with the model, for `read_extra`; anything that JSON holds.

    Raises
    ------
    ValueError
        If the model is not built, or two weights have the same name.
    FileExistsError
        If the file is there and ``overwrite`` is False.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import fastrnn
    >>> model = fastrnn.Sequential([fastrnn.Input((3,)), fastrnn.layers.Dense(1)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_model(model, folder + "/model.fastrnn", extra={"labels": ["no", "yes"]})
    ...     same = load_model(folder + "/model.fastrnn")
    ...     read_extra(folder + "/model.fastrnn")
    {'labels': ['no', 'yes']}
    >>> x = np.ones((1, 3), np.float32)
    >>> bool((same(x) == model(x)).all())
    True
    """
    import safetensors.numpy

    if not model.built:
        raise ValueError(
            f"Model '{model.name}' has no weights to save yet: build it, with an Input or "
            "model.build(input_shape), or train it first."
        )
    path = os.path.realpath(path)
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{path} is there already; save with overwrite=True to replace it.")
    compiled = model.get_compile_config()
    metadata = {
        "format": FORMAT,
        "format_version": str(VERSION),
        "config": json.dumps(model.get_config()),
        "compile_config": json.dumps(compiled),
        "extra": json.dumps(extra or {}, ensure_ascii=False),
    }
    arrays = [(p.path, p.numpy()) for p in model.weights]
    if compiled is not None:
        arrays += [(_OPTIMIZER + name, a) for name, a in model.optimizer.state().items()]
    content = safetensors.numpy.save(_by_name(arrays), metadata)
    with _replacing(path) as file:
        file.write(content)


def load_model(path, compile=True):
    """Load a model that `save_model` saved.

    Parameters
    ----------
    path : str or path
    compile : bool, default True
        Whether to compile it as it was, with the optimizer's state, so that training goes on.

    Returns
    -------
    fastrnn.Sequential

    Raises
    ------
    ValueError
        If the file is something else, is cut off, or comes from a newer fastrnn.
    OSError
        If it cannot be read.
    """
    from fastrnn.models import Sequential

    metadata, arrays = _read(path)
    compiled = json.loads(metadata["compile_config"])
    try:
        model = Sequential.from_config(json.loads(metadata["config"]))
        for weight in model.weights:
            weight.assign(arrays[weight.path])
        if compile and compiled is not None:
            model.compile_from_config(compiled)
            model.optimizer.load_state(
                {
                    name.removeprefix(_OPTIMIZER): array
                    for name, array in arrays.items()
                    if name.startswith(_OPTIMIZER)
                }
            )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not fit together: {error}") from error
    return model


def read_extra(path):
    """What `save_model` was given as ``extra``, without loading the model.

    Raises
    ------
    ValueError, OSError
        As `load_model`.
    """
    metadata, _ = _read(path, with_arrays=False)
    return json.loads(metadata["extra"])


def _read(path, with_arrays=True):
    """The metadata, and the arrays by name."""
    import safetensors

    with open(path, "rb") as file:  # the clearest errors for what is no readable file at all
        start = file.read(4)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {n: file.get_tensor(n) for n in file.keys()} if with_arrays else {}
    except safetensors.SafetensorError as error:
        kinds = [kind for magic, kind in _FOREIGN.items() if start.startswith(magic)]
        reason = f"it is {kinds[0]}" if kinds else f"it is cut off or something else ({error})"
        raise ValueError(f"{path} is not a fastrnn model file: {reason}.") from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a fastrnn model file: it is a safetensors file of another program."
        )
    version = metadata["format_version"]
    if version != str(VERSION):
        raise ValueError(
            f"{path} has format version {version}; this fastrnn reads version {VERSION}. "
            "Load it with the fastrnn that saved it, or a newer one."
        )
    return metadata, arrays


def _by_name(arrays):
    """The arrays as a dict, contiguous, as safetensors wants them."""
    by_name = {}
    for name, array in arrays:
        if name in by_name:
            raise ValueError(
                f"Two weights are named '{name}'; give the layers different names to save them."
            )
        by_name[name] = np.array(array, order="C", copy=None)
    return by_name


@contextlib.contextmanager
def _replacing(path):
    """A new file to write, which takes the place of ``path`` once it is safely on disk."""
    temporary = f"{path}.{os.getpid()}-{threading.get_ident()}.part"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
