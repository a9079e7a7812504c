"""Keras's files, read and written without Keras: ``.keras``, ``.weights.h5`` and legacy ``.h5``.

==================  ==============================================================================
``.keras``          a zip of ``metadata.json``, ``config.json`` and ``model.weights.h5``; and
                    ``assets``, texts with vocabularies
``.weights.h5``     HDF5: each layer's weights under the path of classes and attributes that leads
                    to it, ``layers/bidirectional/forward_layer/cell/vars/0``; the optimizer's
                    under ``optimizer/vars``
legacy ``.h5``      HDF5: JSON in the attributes ``model_config`` and ``training_config``; groups
                    ``model_weights``, by the names of layers, and ``optimizer_weights``
==================  ==============================================================================

As in Keras, weights are taken by order, not by name.  What is written is what Keras 3.15.1 writes.
"""

from __future__ import annotations

import datetime
import io
import json
import re
import warnings
import zipfile
import zlib

import numpy as np

from fastrnn import losses, metrics
from fastrnn.saving import vocabularies
from fastrnn.saving.configs import described, from_keras, shortest, to_keras
from fastrnn.saving.hdf5 import Reader, check_expansion, h5py, write_names
from fastrnn.saving.loading import (
    as_json,
    broken,
    compile_from_config,
    model_from_config,
    parsed,
)
from fastrnn.saving.tree import holders, is_drawn, matched

__all__ = [
    "load_legacy_model",
    "load_model",
    "load_weights",
    "save_legacy_model",
    "save_model",
    "save_weights",
]

KERAS_VERSION = "3.15.1"  # whose files these are like
WEIGHTS = "model.weights.h5"
VOCABULARY = "vocabulary.txt"

# Metrics that become others, as the model's output is.
_BY_OUTPUT = ("acc", "accuracy", "ce", "crossentropy")


# -- writing ---------------------------------------------------------------------------------------


def save_model(model, file):
    """Write a model to an open file, as a ``.keras`` archive."""
    now = datetime.datetime.now().strftime("%Y-%m-%d@%H:%M:%S")
    learned = [h for h in vocabularies.with_them(model) if h.layer.input_vocabulary is None]
    in_config = [h.layer for h in learned if not vocabularies.is_read_by_keras(h.layer)]
    with vocabularies.in_config(in_config):
        config = described(model)
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(
            "metadata.json", json.dumps({"keras_version": KERAS_VERSION, "date_saved": now})
        )
        archive.writestr("config.json", as_json(config))
        archive.writestr(WEIGHTS, _weights_file(model))
        for holder in learned:
            if holder.layer not in in_config:
                for place in vocabularies.places(holder):
                    text = vocabularies.as_text(holder.layer)
                    archive.writestr(f"assets/{place}/{VOCABULARY}", text)


def save_weights(model, file):
    """Write the weights of a model to an open file, as ``.weights.h5``."""
    file.write(_weights_file(model))


def save_legacy_model(model, file, include_optimizer=True):
    """Write a model to an open file, as legacy HDF5."""
    file.write(_hdf5_file(lambda root: _write_legacy(model, root, include_optimizer)))


def _hdf5_file(write):
    """The bytes of an HDF5 file that ``write`` fills."""
    content = io.BytesIO()
    with h5py().File(content, "w") as root:
        write(root)
    return content.getvalue()


def _weights_file(model):
    def write(root):
        for holder in holders(model):
            variables = root.create_group(f"{holder.path}/vars" if holder.path else "vars")
            variables.attrs["name"] = holder.layer.name
            for i, p in enumerate(holder.parameters):
                variables[str(i)] = p.numpy()
        for holder in vocabularies.with_them(model):
            for place in vocabularies.places(holder):
                variables = root.require_group(f"{place}/vars")
                if holder.layer.idf_weights is not None:
                    variables[vocabularies.WEIGHTS] = holder.layer.idf_weights
        if model.compiled:
            variables = root.create_group("optimizer/vars")
            variables.attrs["name"] = model.optimizer.name
            for i, (_, value) in enumerate(_optimizer_variables(model)):
                variables[str(i)] = value

    return _hdf5_file(write)


def _write_legacy(model, root, include_optimizer):
    if is_drawn(model):
        raise ValueError(
            f"Model '{model.name}' ({type(model).__name__}): legacy HDF5 has no place for a model "
            "that is written as a call; save it as .keras, or its weights as .weights.h5."
        )
    root.attrs["keras_version"], root.attrs["backend"] = KERAS_VERSION, "tensorflow"
    with vocabularies.in_config([h.layer for h in vocabularies.with_them(model)]):
        root.attrs["model_config"] = as_json(to_keras(model))
    weights = root.create_group("model_weights")
    weights.attrs["keras_version"], weights.attrs["backend"] = KERAS_VERSION, "tensorflow"
    write_names(weights, "layer_names", [layer.name for layer in model.layers])
    paths = {
        id(p): f"{holder.name or model.name}/{p.name}"
        for holder in holders(model) for p in holder.parameters
    }
    for layer in model.layers:
        _write_arrays(
            weights.create_group(layer.name),
            [(paths[id(p)], p.numpy()) for p in _legacy_weights(layer)],
        )
    _write_arrays(weights.create_group("top_level_model_weights"), [])
    if model.compiled and include_optimizer:
        training = dict(model.get_compile_config())
        optimizer = training.pop("optimizer")
        training["optimizer_config"] = {k: optimizer[k] for k in ("class_name", "config")}
        for name, kind in (("loss", losses), ("metrics", metrics), ("weighted_metrics", metrics)):
            training[name] = _spelled_out(kind, training[name])
        root.attrs["training_config"] = json.dumps(training)
        name = model.optimizer.name
        _write_arrays(
            root.create_group("optimizer_weights"),
            [(f"{name}/{n.replace('/', '_')}", value) for n, value in _optimizer_variables(model)],
        )


def _spelled_out(kind, given):
    """Names of losses and metrics as configurations: short names Keras cannot load from there."""
    if isinstance(given, (list, tuple)):
        return [_spelled_out(kind, part) for part in given]
    if isinstance(given, dict) and "class_name" not in given:
        return {name: _spelled_out(kind, part) for name, part in given.items()}
    if not isinstance(given, str) or given in _BY_OUTPUT:
        return given
    entry = kind.serialize(kind.get(given))
    if kind is metrics:
        entry["config"]["name"] = given  # what its values are called
    return entry


def _write_arrays(group, arrays):
    write_names(group, "weight_names", [name for name, _ in arrays])
    for name, array in arrays:
        group[name] = array


def _legacy_weights(layer):
    """The weights of a layer and those inside it, in the order of legacy files."""
    if not hasattr(layer, "parameters"):  # an input
        return []
    trained = {id(p) for p in layer.trainable_parameters}
    return sorted(layer.parameters, key=lambda p: id(p) not in trained)


# -- reading ---------------------------------------------------------------------------------------


def load_model(path, compile=True):
    """The model in a ``.keras`` archive."""
    with _Archive(path) as archive:
        entry = parsed(archive.read("config.json"), f"{path}: config.json")
        with Reader(archive.read(WEIGHTS), f"{path}: {WEIGHTS}") as reader, broken(path):
            compiled = entry.get("compile_config") if compile else None
            model = _model(path, entry, reader, compiled, _tree_found, _tree_optimizer)
            for holder in vocabularies.with_them(model):
                _take_vocabulary(holder, archive, reader)
            return model


def _take_vocabulary(holder, archive, reader):
    """Give a layer the vocabulary that it had, if that is not in its configuration."""
    name = f"assets/{holder.path}/{VOCABULARY}"
    if holder.layer.input_vocabulary is None and name in archive.file.namelist():
        weights = reader.find(f"{holder.path}/vars/{vocabularies.WEIGHTS}")
        text = archive.read(name).decode()
        vocabularies.from_text(holder.layer, text, None if weights is None else reader.array(
            f"{holder.path}/vars/{vocabularies.WEIGHTS}"
        )[()])


def load_legacy_model(path, compile=True):
    """The model in a legacy HDF5 file."""
    with Reader(path, str(path)) as reader:
        config = reader.text("model_config")
        if config is None:
            raise ValueError(
                f"{path} holds no model: it has no 'model_config'. If it holds weights, make the "
                "model, then model.load_weights(path)."
            )
        with broken(path):
            compiled = None
            training = reader.text("training_config") if compile else None
            if training is not None:
                compiled = parsed(training, f"{path}: training_config")
                compiled["optimizer"] = compiled.pop("optimizer_config")
            return _model(
                path, parsed(config, f"{path}: model_config"), reader, compiled,
                _legacy_found, _legacy_optimizer,
            )


def load_weights(model, path, skip_mismatch=False):
    """Load the weights in a file of any of the three kinds."""
    if zipfile.is_zipfile(path):
        with _Archive(path) as archive:
            reader = Reader(archive.read(WEIGHTS), f"{path}: {WEIGHTS}")
    else:
        reader = Reader(path, str(path))
    with reader:
        legacy = reader.group("model_weights") is not None or "layer_names" in reader.file.attrs
        if not legacy and reader.find("layers") is None and not is_drawn(model):
            raise ValueError(f"{path} holds no weights of a Keras model.")
        found, left = (_legacy_found if legacy else _tree_found)(model, reader)
        pairs = matched(path, found, left, skip_mismatch)
        trains = model.compiled and model.optimizer.store is not None
        if trains and not legacy and not skip_mismatch:
            _load_optimizer(model, path, _tree_optimizer(reader))
    for weight, values in pairs:
        weight.assign(values)


def _model(path, entry, reader, compiled, found_in, optimizer_in):
    """The model of a configuration, with the weights and the training that stand in a file."""
    entry = from_keras(entry)
    model = model_from_config(entry, reader.numbers)
    if not model.built:
        raise ValueError("the model was saved before it had weights.")
    found, left = found_in(model, reader)
    for weight, values in matched(path, found, left):
        weight.assign(values)
    if compiled:
        compile_from_config(model, from_keras(compiled))
        _load_optimizer(model, path, optimizer_in(reader))
    return model


def _tree_found(model, reader):
    """What the tree of a ``.weights.h5`` file has for each layer, and the layers left over."""
    # Files of Keras 2.13 have the layers elsewhere.
    old = "_layer_checkpoint_dependencies"
    root = old if reader.find("layers") is None and reader.find(old) is not None else "layers"
    groups, found = _with_arrays(reader), []
    for holder in holders(model):
        path = re.sub(r"(^|/)layers/", rf"\g<1>{root}/", holder.path)
        path = f"{path}/vars" if path else "vars"
        count = groups.pop(path, 0)
        found.append((holder, [reader.array(f"{path}/{i}") for i in range(count)]))
    # Older versions of Keras kept the state of its random numbers beside the weights.
    left = [p for p in groups if p.startswith(f"{root}/") or is_drawn(model)]
    left = [p for p in left if not {"seed_generator", "optimizer"} & {*p.split("/")}]
    return found, sorted(path.removesuffix("/vars") for path in left)


def _with_arrays(reader):
    """How many arrays there are in each group that has some, by its path."""
    counts = {}

    def visit(name, thing):
        group, _, own = name.rpartition("/")
        if isinstance(thing, reader.h5py.Dataset) and own != vocabularies.WEIGHTS:
            counts[group] = counts.get(group, 0) + 1

    with reader.damage():
        reader.file.visititems(visit)
    return counts


def _legacy_found(model, reader):
    """What a legacy file has for each layer, by order, and the layers left over."""
    root = reader.group("model_weights") or reader.file
    names = []
    for name in reader.names("layer_names", root):
        group = reader.group(name, root)
        if group is None:
            raise ValueError(f"{reader.what}: there is no group for layer '{name}'.")
        weights = reader.names("weight_names", group)
        if weights:
            names.append((name, [reader.array(weight, group) for weight in weights]))
    layers = [layer for layer in model.layers if _legacy_weights(layer)]
    if len(names) != len(layers):
        raise ValueError(
            f"{reader.what} holds the weights of another model: expected those of {len(layers)} "
            f"layers, {[layer.name for layer in layers]}; got {len(names)}, "
            f"{[name for name, _ in names]}."
        )
    found = [
        (_Whole(layer), arrays) for layer, (_, arrays) in zip(layers, names, strict=True)
    ]
    return found, []


class _Whole:
    """A layer with all inside it, as legacy files have it."""

    def __init__(self, layer):
        self.layer = layer
        self.parameters = _legacy_weights(layer)

    def __str__(self):
        return f"layer '{self.layer.name}' ({type(self.layer).__name__})"


class _Archive:
    """A zip archive of which members are read, never extracted.

    Raises
    ------
    ValueError
        If it is no such archive, or made to do harm.
    """

    def __init__(self, path):
        self.path = path
        try:
            self.file = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise ValueError(f"{path} is no .keras file, or cut off: {error}.") from error
        names = self.file.namelist()
        outside = [n for n in names if n.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", n)]
        twice = [name for name in ("config.json", WEIGHTS) if names.count(name) > 1]
        if outside or twice:
            self.file.close()
            what = "leads out of the archive" if outside else "is there twice"
            raise ValueError(f"{path} is no .keras file: '{(outside or twice)[0]}' {what}.")

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def read(self, name):
        """The bytes of a member."""
        try:
            info = self.file.getinfo(name)
        except KeyError:
            raise ValueError(
                f"{self.path} is no .keras file: there is no {name}; it has "
                f"{', '.join(self.file.namelist()[:5]) or 'nothing'}."
            ) from None
        check_expansion(f"{self.path}: {name}", info.file_size, info.compress_size)
        try:
            with self.file.open(info) as member:
                return member.read(info.file_size + 1)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error,
                OSError, ValueError) as error:
            raise ValueError(f"{self.path}: {name} cannot be read: {error}.") from error


# -- the optimizer's state -------------------------------------------------------------------------


def _layout(model):
    """The names of the optimizer's variables in Keras's order, each with its shape."""
    optimizer = model.optimizer
    shapes = [p.shape for p in model.trainable_parameters]
    slots = list(optimizer.slot_names())
    groups = [["average"]] * optimizer.use_ema
    groups += [["gradient_accumulator"]] * bool(optimizer.gradient_accumulation_steps)
    groups += [slots[: optimizer.by_weight]]
    groups += [[slot] for slot in slots[optimizer.by_weight :]]
    layout = {"iteration": ()}
    if isinstance(optimizer.get_config()["learning_rate"], float):  # else a schedule
        layout["learning_rate"] = ()
    return layout | {
        f"{name}/{i}": shape
        for group in groups for i, shape in enumerate(shapes) for name in group
    } | dict.fromkeys(optimizer.derived(), ())


def _optimizer_variables(model):
    """Pairs of name and value, in Keras's order; of what has not trained yet what it starts from.
    """
    state = model.optimizer.state() | model.optimizer.derived()
    starts = model.optimizer.slot_starts()
    for name, shape in _layout(model).items():
        value = state.get(name)
        if name == "learning_rate" or isinstance(value, float):
            value = np.float32(value)
        elif value is None or np.shape(value) != shape:
            value = np.full(shape, starts.get(name.partition("/")[0], 0), model.dtype)
        yield name, value


def _tree_optimizer(reader):
    group = reader.group("optimizer/vars")
    return None if group is None else [
        reader.array(f"optimizer/vars/{i}") for i in range(len(group))
    ]


def _legacy_optimizer(reader):
    group = reader.group("optimizer_weights")
    return None if group is None else [
        reader.array(name, group) for name in reader.names("weight_names", group)
    ]


def _load_optimizer(model, path, arrays):
    """Give the optimizer the state in a file, if it is one of its kind."""
    if not arrays:
        return
    layout = _layout(model)
    numbers = [name for name in ("iteration", "learning_rate") if name in layout]
    if [a.shape for a in arrays] == [()] * len(numbers) and not arrays[0][()]:
        # Of a model that was not trained yet Keras writes these alone.
        layout, derived = numbers, ()
    elif [a.shape for a in arrays] == list(layout.values()):
        derived = model.optimizer.derived()
    else:
        warnings.warn(
            f"{path}: the optimizer's state does not fit '{model.optimizer.name}' (expected "
            f"{len(layout)} arrays; got {len(arrays)}, or other shapes); it starts afresh.",
            stacklevel=4,
        )
        return
    state = {name: array[()] for name, array in zip(layout, arrays, strict=True)}
    for name in derived:
        del state[name]
    if "learning_rate" in state:
        state["learning_rate"] = shortest(state["learning_rate"])
    model.optimizer.load_state(state)
