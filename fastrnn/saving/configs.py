"""Configurations as Keras writes them into its files, and as fastrnn takes them.

They are nearly the same: dicts of ``class_name`` and ``config``.  Keras says more (policies of
float types, options of layers that do nothing unless set), and older versions of it said some
things otherwise.
"""

from __future__ import annotations

import numpy as np

from fastrnn import initializers
from fastrnn.layers.serialization import registry
from fastrnn.registry import own, registered_name
from fastrnn.saving import operators
from fastrnn.saving.tree import class_name

__all__ = ["described", "from_keras", "shortest", "to_keras"]

# Where objects are kept in configurations: one, or a list.
_LAYERS = ("layer", "layers", "cell", "cells", "forward_layer", "backward_layer")
_MODELS = ("Sequential", "Functional", "Model")

# Options that change nothing about what a layer computes, whatever their value.
_MEANINGLESS = (
    "batch_input_shape", "implementation", "renorm_clipping", "renorm_momentum", "synchronized",
    "use_cudnn",
)
# Layers whose output has the mask of their input.
_MASK_PASSES = (
    "Activation", "BatchNormalization", "Bidirectional", "Dense", "Dropout", "GRU",
    "GaussianDropout", "GaussianNoise", "Identity", "LSTM", "LayerNormalization", "RNN",
    "Rescaling", "SimpleRNN", "SpatialDropout1D", "TimeDistributed", "UnitNormalization",
)
# fastrnn's own options: how something is computed, not what.
_OURS = ("recompute",)


def from_keras(entry):
    """A configuration out of one of Keras's files as fastrnn takes it.

    What layers of one's own have (see `fastrnn.utils.custom_object_scope`) stays as it is.

    Parameters
    ----------
    entry : dict
        Of a model, or what it was compiled with.

    Raises
    ------
    ValueError
        If a layer has an option that fastrnn has not.

    Examples
    --------
    >>> policy = {"class_name": "DTypePolicy", "config": {"name": "float32"}}
    >>> from_keras({"class_name": "Dense", "config": {"units": 3, "dtype": policy}})
    {'class_name': 'Dense', 'config': {'units': 3, 'dtype': 'float32'}}
    """
    return _converted(entry, None)


def _converted(value, key):
    if key == "learning_rate" and isinstance(value, float):
        return shortest(value)
    if isinstance(value, list):
        return [_converted(part, key) for part in value]
    if not isinstance(value, dict):
        return value
    if "class_name" not in value:
        return {name: _converted(part, name) for name, part in value.items()}
    if operators.is_ours(value):
        return operators.from_keras(value)
    name, config = value["class_name"], value.get("config")
    if name == "__keras_tensor__" or not isinstance(config, dict):
        return value
    if key == "dtype":
        return _float_type(name, config)
    if name == "Sequential":
        config = _with_input(config)
    value = value | {"config": {k: _converted(part, k) for k, part in config.items()}}
    if key in _LAYERS and own(name, value.get("registered_name")) is None:
        _simplify(name, value["config"])
    if key is not None and key.endswith("_initializer"):
        _drop_unset(getattr(initializers, str(name), None), value["config"])
    if name == "MeanMetricWrapper":  # what Keras 2 made of the name of a function
        return config.get("fn")
    if "inbound_nodes" in value:
        value["inbound_nodes"] = [_node(name, node) for node in value["inbound_nodes"]]
    return value


def _float_type(name, config):
    """The name of the float type that a policy stands for."""
    if name not in ("DTypePolicy", "Policy"):
        raise ValueError(f"dtype: the policy {name} is not supported; got {config}.")
    return config.get("name")


def _arguments(cls):
    """The names of all that a class or one it derives from can be made with."""
    names = set()
    for base in cls.__mro__:
        code = getattr(base.__dict__.get("__init__"), "__code__", None)
        if code is not None:
            names.update(code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount])
    return names


def _drop_unset(cls, config):
    """Take out of ``config`` what ``cls`` does not know and is not set; the names that are."""
    known = set(config) if cls is None else _arguments(cls)
    unknown = [name for name in config if name not in known]
    for name in unknown:
        if config[name] is None or config[name] is False or name in _MEANINGLESS:
            del config[name]
    return [name for name in unknown if name in config]


def _simplify(name, config):
    """Bring the configuration of a layer into the form that fastrnn's class takes."""
    if name == "InputLayer" and "batch_input_shape" in config:  # Keras 2
        config.setdefault("batch_shape", config["batch_input_shape"])
    if name == "BatchNormalization" and isinstance(config.get("axis"), list):
        [config["axis"]] = config["axis"]
    if name in _MODELS:
        return
    try:
        cls = registry.find(name)
    except (AttributeError, ValueError):  # who makes the layers says so
        return
    unknown = _drop_unset(cls, config)
    if unknown:
        raise ValueError(
            f"layer '{config.get('name')}' ({name}): fastrnn has no {unknown[0]}, which is "
            f"{config[unknown[0]]!r}."
        )


def _with_input(config):
    """The configuration of a ``Sequential`` of Keras 2, whose first layer knew its input."""
    layers = config.get("layers")
    first = layers[0] if isinstance(layers, list) and layers else None
    own = first.get("config") if isinstance(first, dict) else None
    if not isinstance(own, dict) or first.get("class_name") == "InputLayer":
        return config
    shape = own.get("batch_input_shape")
    if shape is None:
        return config
    entry = {"class_name": "InputLayer", "config": {"batch_shape": shape}}
    return config | {"layers": [entry, *layers]}


def _node(name, node):
    """Where a layer's input comes from; Keras 2 wrote lists of names and numbers."""
    if isinstance(node, dict):
        return node
    tensors = [
        {"class_name": "__keras_tensor__",
         "config": {"shape": None, "dtype": "float32", "keras_history": list(entry[:3])}}
        for entry in node
    ]
    options = dict(node[0][3]) if len(node[0]) > 3 else {}
    if len(tensors) > 1 and name in ("RNN", "SimpleRNN", "LSTM", "GRU", "Bidirectional"):
        return {"args": tensors[:1], "kwargs": options | {"initial_state": tensors[1:]}}
    return {"args": [tensors] if len(tensors) > 1 else tensors, "kwargs": options}


def shortest(number):
    """A number that was kept as a float32, with the fewest digits that give it.

    >>> shortest(0.0010000000474974513)
    0.001
    """
    single = np.float32(number)
    return float(str(single)) if single == number else float(number)


def to_keras(model):
    """The configuration of a model as Keras writes it.

    Examples
    --------
    >>> from fastrnn.layers import Dense, Input
    >>> from fastrnn.models import Sequential
    >>> entry = to_keras(Sequential([Input((2,)), Dense(3)]))
    >>> entry["module"], entry["class_name"], len(entry["config"]["layers"])
    ('keras', 'Sequential', 2)
    """
    return _exported({
        "module": type(model).__module__, "class_name": class_name(model),
        "config": model.get_config(), "registered_name": registered_name(type(model)),
    })


def described(model):
    """`to_keras`, with the shape that the model was built for and how it was compiled."""
    compiled = model.get_compile_config()
    return to_keras(model) | {
        "build_config": model.get_build_config(),
        **({} if compiled is None else {"compile_config": compiled}),
    }


def _exported(value):
    if isinstance(value, (list, tuple)):
        return [_exported(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") in operators.OURS:
        value = operators.to_keras(value) if "inbound_nodes" in value else value
    if value.get("class_name") == "TokenDropout":
        raise ValueError(
            f"layer '{value['config']['name']}' is a TokenDropout, which Keras has not; fastrnn's "
            "own files (.fastrnn) have. Outside training it does nothing: a model of the layers "
            "behind it can be saved for Keras."
        )
    if value.get("class_name") == "Operation":
        function = value["config"]["function"]
        raise ValueError(
            f"layer '{value['config']['name']}' is ops.{function}, used between layers, which "
            "fastrnn's own files (.fastrnn) have; for Keras's write it in the call of a layer."
        )
    if value.get("class_name") == "Embedding":  # its dropout acts in training only
        own = value["config"]
        config = {k: own[k] for k in own if k not in ("dropout", "seed")}
        value = value | {"config": config}
    value = {name: _exported(part) for name, part in value.items() if name not in _OURS}
    if "input_layers" in value and "layers" in value:
        value["layers"] = _with_mask_operations(value["layers"])
    if value.get("class_name") == "Sequential":
        value |= {"module": "keras", "registered_name": None}
    if value.get("class_name") in ("Functional", "Model"):
        value |= {
            "module": "keras.src.models.functional", "class_name": "Functional",
            "registered_name": "Functional",
        }
    return value


def _with_mask_operations(layers):
    """The layers of a graph, and the comparisons from which Keras gets masks that are handed on.

    Where fastrnn says that a layer takes the mask of a tensor, Keras writes out how the mask comes
    from ids: it is where they are not equal to zero.
    """
    entries = {entry["name"]: entry for entry in layers}
    operations = {}

    def mask_of(layer, tensor):
        ids = _ids_behind(entries, tensor)
        if ids is None:
            raise ValueError(
                f"layer '{layer}' is given the mask of '{tensor['config']['keras_history'][0]}', "
                "which does not come of an Embedding with mask_zero=True: Keras's files have no "
                "form for that. fastrnn's own have."
            )
        key = tuple(ids["config"]["keras_history"])
        name = operations.setdefault(key, (f"not_equal_{len(operations)}", ids))[0]
        return {"class_name": "__keras_tensor__", "config": {
            "shape": ids["config"]["shape"], "dtype": "bool", "keras_history": [name, 0, 0]}}

    for entry in layers:
        for node in entry["inbound_nodes"]:
            mask = node["kwargs"].get("mask")
            if isinstance(mask, dict) and mask["class_name"] == "__mask_of__":
                node["kwargs"]["mask"] = mask_of(entry["name"], mask["config"])
    return layers + [
        {"module": "keras.src.ops.numpy", "class_name": "NotEqual", "config": {"name": name},
         "registered_name": "NotEqual", "name": name,
         "inbound_nodes": [{"args": [ids, 0], "kwargs": {}}]}
        for name, ids in operations.values()
    ]


def _ids_behind(entries, tensor):
    """The ids whose mask travels with a tensor, or None."""
    while True:
        name, use, _ = tensor["config"]["keras_history"]
        entry = entries[name]
        if entry["class_name"] not in (*_MASK_PASSES, "Embedding"):
            return None
        [given] = entry["inbound_nodes"][use]["args"]
        if entry["class_name"] == "Embedding":
            return given if entry["config"]["mask_zero"] else None
        tensor = given
