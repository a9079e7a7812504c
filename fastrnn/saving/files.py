"""The front door: which format a file has, or is to have, and files that appear all at once.

What is written is told by the name, what is read by the first bytes.

==============================  =======================================  ========================
name                            format                                   module
==============================  =======================================  ========================
``*.keras``                     Keras's zip of JSON and HDF5             `fastrnn.saving.keras`
``*.weights.h5``                Keras's weights (`save_weights`)         `fastrnn.saving.keras`
``*.h5``, ``*.hdf5``            Keras's legacy HDF5                      `fastrnn.saving.keras`
any other                       fastrnn's own                            `fastrnn.saving.native`
==============================  =======================================  ========================
"""

from __future__ import annotations

import os

from fastrnn.atomic import new_file
from fastrnn.registry import custom_object_scope

__all__ = ["load_model", "load_weights", "read_extra", "save_model", "save_weights"]

_ZIP, _HDF5 = b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"


def save_model(model, filepath, overwrite=True, extra=None, include_optimizer=True,
               save_format=None, zipped=None):
    """Save a model to one file: weights, configuration, and the optimizer's state if compiled.

    The file appears all at once: where saving breaks off, what stood there before still stands.

    Parameters
    ----------
    model : fastrnn.models.Model
        Built, so that there are weights to save.
    filepath : str or path
        A name that ends in ``.keras``, ``.h5`` or ``.hdf5`` is that of a file for Keras, which
        needs the package h5py; any other that of fastrnn's own.
    overwrite : bool, default True
        Whether a file that is there already may be replaced.
    extra : dict, optional
        Kept with the model, for `read_extra`; anything that JSON holds.  Not in Keras's files.
    include_optimizer : bool, default True
        False: not the arguments of ``compile`` and the optimizer's state.  As in Keras, ``.keras``
        files have them all the same.
    save_format, zipped
        Accepted for Keras's sake: the end of the name says what kind of file it is, and all are
        one file.

    Raises
    ------
    ValueError
        If the model is not built, two weights have the same name, or a ``save_format`` is given
        that the end of the name does not say.
    FileExistsError
        If the file is there and ``overwrite`` is False.
    OSError
        If it cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
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
    name = os.fspath(filepath)
    for_keras = name.endswith((".keras", ".h5", ".hdf5"))
    if save_format and not for_keras:
        raise ValueError(
            f"{name}: expected no save_format, as the end of the name says it; got "
            f"{save_format!r}. Give the file a name that ends in '.keras' or '.h5'."
        )
    if zipped is False:
        raise ValueError(f"{name}: zipped: expected True or None, one file; got False.")
    with _new_file(model, filepath, overwrite) as file:
        if for_keras:
            from fastrnn.saving import keras

            if extra:
                raise ValueError(
                    f"{name}: Keras's files have no place for extra; save under another name."
                )
            if name.endswith(".keras"):
                keras.save_model(model, file)
            else:
                keras.save_legacy_model(model, file, include_optimizer)
        else:
            from fastrnn.saving import native

            native.save_model(model, file, extra, include_optimizer)


def load_model(filepath, custom_objects=None, compile=True, safe_mode=True):
    """Load a model: one that `save_model` saved, or a Keras file (``.keras``, legacy ``.h5``).

    Neither Keras nor TensorFlow is needed, and nothing in a file can run.

    Parameters
    ----------
    filepath : str or path
    custom_objects : dict, optional
        Classes of layers, losses, metrics and optimizers of one's own, and functions, by name.
    compile : bool, default True
        Whether to compile it as it was, with the optimizer's state, so that training goes on.
    safe_mode : bool, default True
        Accepted for Keras's sake: there is no other.

    Returns
    -------
    fastrnn.models.Model

    Raises
    ------
    ValueError
        If the file is something else, is cut off, comes from a newer fastrnn, or has a layer that
        fastrnn has not.
    OSError
        If it cannot be read.
    ImportError
        For a Keras file without the package h5py.
    """
    with custom_object_scope(custom_objects):
        kind = _kind(filepath)
        if kind == "native":
            from fastrnn.saving import native

            return native.load_model(filepath, compile)
        from fastrnn.saving import keras

        load = keras.load_model if kind == "zip" else keras.load_legacy_model
        return load(filepath, compile)


def save_weights(model, filepath, overwrite=True):
    """Save the weights of a model, and its optimizer's state if compiled, without the model.

    Parameters
    ----------
    model : fastrnn.models.Model
        Built.
    filepath : str or path
        ``*.weights.h5`` for Keras (needs the package h5py); anything else for fastrnn.
    overwrite : bool, default True
        Whether a file that is there already may be replaced.

    Raises
    ------
    ValueError, FileExistsError, OSError
        As `save_model`.
    """
    name = os.fspath(filepath)
    if name.endswith((".keras", ".h5", ".hdf5")) and not name.endswith(".weights.h5"):
        raise ValueError(
            f"save_weights: weights for Keras are in files whose name ends in '.weights.h5'; got "
            f"{name!r}. save() writes whole models."
        )
    with _new_file(model, filepath, overwrite) as file:
        if name.endswith(".weights.h5"):
            from fastrnn.saving import keras

            keras.save_weights(model, file)
        else:
            from fastrnn.saving import native

            native.save_weights(model, file)


def load_weights(model, filepath, skip_mismatch=False):
    """Load weights into a model that is built, from any file of a model or of weights.

    They belong to the layers by name in fastrnn's own files, by order in Keras's, as there; in
    both by order where the same model was made again and only the layers' names differ.  The
    optimizer's state comes along where the optimizer has begun to train, as in Keras.

    Parameters
    ----------
    model : fastrnn.models.Model
    filepath : str or path
        A file of fastrnn, or a ``.keras``, ``.weights.h5`` or legacy ``.h5`` file of Keras.
    skip_mismatch : bool, default False
        Leave layers whose weights do not fit as they are, with a warning.

    Raises
    ------
    ValueError
        If the model is not built, the file is no such file, or holds the weights of another model;
        nothing is changed then.
    OSError
        If it cannot be read.
    """
    _need_built(model, "load_weights")
    if _kind(filepath) == "native":
        from fastrnn.saving import native

        native.load_weights(model, filepath, skip_mismatch)
    else:
        from fastrnn.saving import keras

        keras.load_weights(model, filepath, skip_mismatch)


def read_extra(path):
    """What `save_model` was given as ``extra``, without loading the model.

    Raises
    ------
    ValueError, OSError
        As `load_model`.
    """
    kind = _kind(path)
    if kind != "native":
        what = "a zip archive, such as a .keras file" if kind == "zip" else "an HDF5 file"
        raise ValueError(f"{path} is not a fastrnn model file: it is {what}.")
    from fastrnn.saving import native

    return native.read_extra(path)


def _kind(path):
    """``"zip"``, ``"hdf5"`` or ``"native"``, by the first bytes."""
    try:
        with open(path, "rb") as file:  # the clearest errors for what is no readable file at all
            start = file.read(len(_HDF5))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{os.fspath(path)}: there is no such file; expected the path of one that save, "
            f"save_weights or Keras wrote (a relative path starts at {os.getcwd()})."
        ) from None
    return "zip" if start.startswith(_ZIP) else "hdf5" if start == _HDF5 else "native"


def _need_built(model, method):
    if not model.built:
        raise ValueError(
            f"Model '{model.name}' has no weights yet: build it, with an Input or "
            f"model.build(input_shape), or train it, before {method}()."
        )


def _new_file(model, path, overwrite):
    """A new file for a model, to be written; see `fastrnn.atomic.new_file`."""
    _need_built(model, "save")
    if not overwrite and os.path.exists(path):
        raise FileExistsError(f"{path} is there already; save with overwrite=True to replace it.")
    return new_file(path)
