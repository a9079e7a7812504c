"""What Python's operators make of symbolic tensors, as Keras writes it into its files.

There each is an operation with its arguments in their order, tensors and others; here a layer that
has the others in its configuration (`fastrnn.layers.operators`).
"""

from __future__ import annotations

import numpy as np

__all__ = ["OURS", "from_keras", "is_ours", "to_keras"]

MODULE = "keras.src.ops.numpy"
OURS = ("Arithmetic", "GetItem")
_ARITHMETIC = {
    "Add": "add", "Subtract": "subtract", "Multiply": "multiply", "TrueDivide": "divide",
    "Power": "power",
}
_KNOWN = {*_ARITHMETIC, "Divide", "GetItem", "Negative"}


def is_ours(entry):
    """Whether the configuration of a layer is that of an operation that fastrnn has."""
    return str(entry.get("module")).startswith("keras.src.ops") and entry["class_name"] in _KNOWN


# -- reading ---------------------------------------------------------------------------------------


def from_keras(entry):
    """The configuration of an operation as that of a layer.

    Raises
    ------
    ValueError
        If it has other arguments than an operator has.
    """
    name, kind = entry["name"], entry["class_name"]
    nodes = [[*node["args"], *node["kwargs"].values()] for node in entry["inbound_nodes"]]
    if kind == "Negative":
        nodes = [[*arguments, -1] for arguments in nodes]
    if len(nodes) != 1 or len(nodes[0]) != 2:
        raise ValueError(
            f"layer '{name}' is the operation {kind} of keras.ops, with other arguments than an "
            "operator of Python has."
        )
    [arguments] = nodes
    if kind == "GetItem":
        tensors, key = arguments[:1], arguments[1]
        own = {"key": [_key(k) for k in (key if isinstance(key, list) else [key])]}
    else:
        tensors = [part for part in arguments if _is_tensor(part)]
        own = {"operation": _ARITHMETIC.get(kind, "multiply" if kind == "Negative" else "divide")}
        for place, part in zip(("left", "right"), arguments, strict=True):
            if not _is_tensor(part):
                own[place] = part["config"]["value"] if isinstance(part, dict) else part
    return {
        "class_name": "GetItem" if kind == "GetItem" else "Arithmetic", "name": name,
        "config": {"name": name} | own,
        "inbound_nodes": [{"args": [tensors[0] if len(tensors) == 1 else tensors], "kwargs": {}}],
    }


def _is_tensor(part):
    return isinstance(part, dict) and part.get("class_name") == "__keras_tensor__"


def _key(k):
    """An entry between square brackets."""
    if not isinstance(k, dict):
        return k
    if k["class_name"] == "__ellipsis__":
        return "..."
    return [k["config"][part] for part in ("start", "stop", "step")]


# -- writing ---------------------------------------------------------------------------------------


def to_keras(entry):
    """The configuration of a layer, with its one use, as that of an operation."""
    config = entry["config"]
    [node] = entry["inbound_nodes"]
    [given] = node["args"]
    if entry["class_name"] == "GetItem":
        kind = "GetItem"
        arguments = [given, _exported_key(config["key"], len(given["config"]["shape"]))]
    else:
        kind = next(k for k, name in _ARITHMETIC.items() if name == config["operation"])
        arguments = [*(given if isinstance(given, list) else [given])]
        for place, side in enumerate(("left", "right")):
            if config[side] is not None:
                arguments.insert(place, _exported_constant(config[side], config["dtype"]))
    return {
        "module": MODULE, "class_name": kind, "config": {"name": entry["name"]},
        "registered_name": kind, "name": entry["name"],
        "inbound_nodes": [{"args": arguments, "kwargs": {}}],
    }


def _exported_key(key, ndim):
    """A key for a tensor of so many axes; Keras 3.15.1 cannot always read an ellipsis."""
    if "..." in key:
        place = key.index("...")
        missing = ndim - sum(k is not None for k in key) + 1
        key = [*key[:place], *[[None, None, None]] * missing, *key[place + 1 :]]
    return [
        {"class_name": "__slice__", "config": dict(zip(("start", "stop", "step"), k, strict=True))}
        if isinstance(k, list) else k for k in key
    ]


def _exported_constant(value, dtype):
    if not np.ndim(value):
        return value
    return {"class_name": "__numpy__", "config": {"value": value, "dtype": dtype}}
