"""fastrnn's own file: weights, optimizer state and configuration in one safetensors file.

Nothing in such a file can run: the arrays are plain bytes and the rest is JSON, in the file's
metadata. The arrays are named ``<layer>/<weight>``, ``<layer>/<part>/<weight>`` where a layer has
layers inside, those of the optimizer ``optimizer/<name>``, and any program that reads safetensors
finds them there.

===================  =============================================================================
metadata             what it holds
===================  =============================================================================
``format``           ``"fastrnn"``
``format_version``   `VERSION`
``weights``          the names of the weights in the model's order
``config``           ``model.get_config()``; absent where only weights were saved, as are the rest
``class_name``       the class of the model; absent for a ``Sequential``
``registered_name``  what it is called if it is of one's own (`register_keras_serializable`)
``compile_config``   ``model.get_compile_config()``, null for a model that was not compiled
``vocabularies``     what layers with a vocabulary have learned, by their names
``random``           seed and number of calls of each stream of random numbers
``extra``            what `save_model` was given to keep with the model
===================  =============================================================================
"""

from __future__ import annotations

import json

import numpy as np

from fastrnn import random
from fastrnn.registry import registered_name
from fastrnn.saving.loading import (
    as_json,
    broken,
    compile_from_config,
    model_from_config,
    parsed,
)
from fastrnn.saving.tree import class_name, holders, matched
from fastrnn.saving.vocabularies import with_them

__all__ = ["VERSION", "load_model", "load_weights", "read_extra", "save_model", "save_weights"]

FORMAT = "fastrnn"
VERSION = 1  # one more for each change that an older fastrnn cannot read

_OPTIMIZER = "optimizer/"


def save_model(model, file, extra=None, include_optimizer=True):
    """Write a model to an open file."""
    compiled = model.get_compile_config() if include_optimizer else None
    metadata = {
        "config": as_json(model.get_config()),
        "class_name": class_name(model),
        "registered_name": registered_name(type(model)),
        "build_config": json.dumps(model.get_build_config()),
        "compile_config": json.dumps(compiled),
        "vocabularies": json.dumps({h.name: h.layer.learned() for h in with_them(model)}),
        "random": json.dumps([[s.seed, s.calls] for s in random.streams_of(model)]),
        "extra": json.dumps(extra or {}, ensure_ascii=False),
    }
    state = {} if compiled is None else model.optimizer.state()
    _write(model, file, metadata, state)


def save_weights(model, file):
    """Write the weights of a model, and its optimizer's state if compiled, to an open file."""
    _write(model, file, {}, model.optimizer.state() if model.compiled else {})


def load_model(path, compile=True):
    """The model that `save_model` wrote."""
    metadata, arrays = _read(path)
    if "config" not in metadata:
        raise ValueError(
            f"{path} holds weights only, no model: make the model, then model.load_weights(path)."
        )
    with broken(path):
        entry = {
            "class_name": metadata.get("class_name", "Sequential"),
            "registered_name": metadata.get("registered_name"),
            "config": parsed(metadata["config"], "the configuration of the model"),
            "build_config": json.loads(metadata.get("build_config", "null")),
        }
        numbers = sum(array.size for array in arrays.values())
        model = model_from_config(entry, numbers)
        for weight, values in _matched(model, metadata, arrays, path):
            weight.assign(values)
        vocabularies = json.loads(metadata.get("vocabularies", "{}"))
        for holder in with_them(model):
            if learned := vocabularies.get(holder.name):
                holder.layer.restore(**learned)
        _restore_streams(model, json.loads(metadata.get("random", "null")))
        compiled = json.loads(metadata["compile_config"])
        if compile and compiled is not None:
            compile_from_config(model, compiled)
            model.optimizer.load_state(_optimizer_arrays(arrays))
    return model


def load_weights(model, path, skip_mismatch=False):
    """Load weights that `save_weights` or `save_model` wrote."""
    metadata, arrays = _read(path)
    pairs = _matched(model, metadata, arrays, path, skip_mismatch)
    state = _optimizer_arrays(arrays)
    if state and model.compiled and model.optimizer.store is not None and not skip_mismatch:
        model.optimizer.load_state(state)
    for weight, values in pairs:
        weight.assign(values)


def read_extra(path):
    """What `save_model` was given as ``extra``, without loading the model."""
    metadata, _ = _read(path, with_arrays=False)
    with broken(path):
        return json.loads(metadata.get("extra", "{}"))


def _write(model, file, metadata, state):
    import safetensors.numpy

    arrays = {}
    for holder in holders(model):
        for name, p in zip(_names(holder), holder.parameters, strict=True):
            if name in arrays:
                raise ValueError(
                    f"Two weights are named '{name}'; give the layers different names to save them."
                )
            arrays[name] = p.numpy()
    metadata = metadata | {"weights": json.dumps(list(arrays))}
    arrays |= {_OPTIMIZER + name: array for name, array in state.items()}
    arrays = {name: np.array(array, order="C", copy=None) for name, array in arrays.items()}
    about = {"format": FORMAT, "format_version": str(VERSION)}
    file.write(safetensors.numpy.save(arrays, about | metadata))


def _read(path, with_arrays=True):
    """The metadata, and the arrays by name."""
    import safetensors

    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {n: file.get_tensor(n) for n in file.keys()} if with_arrays else {}
    except (safetensors.SafetensorError, TypeError) as error:
        raise ValueError(
            f"{path} is not a fastrnn model file: it is cut off or something else ({error})."
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is not a fastrnn model file: it is a safetensors file of another program. "
            "Weights of PyTorch's recurrent layers are read by fastrnn.saving.from_torch."
        )
    version = metadata.get("format_version")
    if version != str(VERSION):
        raise ValueError(
            f"{path} has format version {version}; this fastrnn reads version {VERSION}. "
            "Load it with the fastrnn that saved it, or a newer one."
        )
    return metadata, arrays


def _names(holder):
    """The names of the weights of a `fastrnn.saving.tree.Holder`."""
    return [f"{holder.name}/{p.name}" if holder.name else p.name for p in holder.parameters]


def _matched(model, metadata, arrays, path, skip_mismatch=False):
    """The model's weights and their values: by name, or by order if only layers' names differ."""
    own = {name: p for holder in holders(model)
           for name, p in zip(_names(holder), holder.parameters, strict=True)}
    with broken(path):
        stored = json.loads(metadata.get("weights", "[]"))
        if set(stored) != set(own) and _differ_in_layers(own, stored, arrays):
            arrays = {name: arrays[other] for name, other in zip(own, stored, strict=True)}
    left = {name for name in arrays if not name.startswith(_OPTIMIZER)}
    found = []
    for holder in holders(model):
        names = _names(holder)
        found.append((holder, [arrays.get(name) for name in names]))
        left -= set(names)
    layers = {name.rpartition("/")[0] or name for name in left}
    return matched(path, found, sorted(layers), skip_mismatch)


def _differ_in_layers(own, stored, arrays):
    """Whether weights, parameters by name, and those of a file are alike in their order, but for
    the names of the layers: these count on where a model is made once more."""
    return len(own) == len(stored) and all(
        name.rpartition("/")[2] == other.rpartition("/")[2] and p.shape == arrays[other].shape
        for (name, p), other in zip(own.items(), stored, strict=True)
    )


def _optimizer_arrays(arrays):
    return {
        name.removeprefix(_OPTIMIZER): array
        for name, array in arrays.items() if name.startswith(_OPTIMIZER)
    }


def _restore_streams(model, states):
    """Let the streams of random numbers go on where they were."""
    streams = random.streams_of(model)
    for stream, (seed, calls) in zip(streams, states or (), strict=bool(states)):
        stream.seed, stream.calls = random.check_seed(seed), random.check_seed(calls)
