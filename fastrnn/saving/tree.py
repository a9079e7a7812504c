"""Where each weight of a model stands, and which stored array belongs to it.

A model is a tree of layers.  A `Holder` is one layer of it with its weights and its two addresses:
``name`` is the one in fastrnn's own files, made of the names that people gave to their layers;
``path`` is the one in Keras's, made of classes and attributes.  Loading first finds an array for
every weight with `matched` and changes nothing before all are known to fit.
"""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any, NamedTuple

from fastrnn.layers import Layer
from fastrnn.layers.composite import Drawn
from fastrnn.names import snake_case

__all__ = ["Holder", "class_name", "holders", "is_drawn", "matched"]

_SHOWN = 3  # so many layers that do not fit are described in full


class Holder(NamedTuple):
    """A layer and where it stands in a model.

    Attributes
    ----------
    layer : Layer
    name : str
        ``"encoder/forward_layer"``; empty for the model itself.
    path : str
        ``"layers/bidirectional/forward_layer/cell"``; empty for the model itself.
    """

    layer: Any
    name: str
    path: str

    @property
    def parameters(self):
        """The layer's own weights, in Keras's order: those that training changes come first."""
        own = list(self.layer.parameters)
        inner = {id(p) for part in self.layer.sublayers for p in part.parameters}
        return sorted((p for p in own if id(p) not in inner), key=lambda p: not p.trainable)

    def __str__(self):
        return f"layer '{self.name or self.layer.name}' ({class_name(self.layer)})"


def class_name(layer):
    """What Keras calls the class of a layer: a graph of layers is a ``Functional``."""
    from fastrnn.models import Model

    return "Functional" if type(layer) is Model else type(layer).__name__


def is_drawn(layer):
    """Whether a layer or model is written as a `call`: its parts are its attributes."""
    from fastrnn.models import DrawnModel

    return isinstance(layer, (Drawn, DrawnModel))


def holders(model):
    """All layers of a model and those inside them, each once, as a list of `Holder`.

    Examples
    --------
    >>> from fastrnn.layers import LSTM, Dense, Input
    >>> from fastrnn.models import Sequential
    >>> for holder in holders(Sequential([Input((5, 3)), LSTM(2, name="a"), Dense(1, name="b")])):
    ...     print(holder.name or "-", holder.path or "-", len(holder.parameters))
    - - 0
    a layers/lstm 0
    a layers/lstm/cell 3
    b layers/dense 2
    """
    found, seen = [], set()

    def visit(layer, name, path):
        if id(layer) in seen:
            return
        seen.add(id(layer))
        found.append(Holder(layer, name, path))
        for part, own_name, own_path in _parts(layer):
            visit(part, _joined(name, own_name), _joined(path, own_path))

    visit(model, "", "")
    return found


def _joined(*parts):
    return "/".join(part for part in parts if part)


def _parts(layer):
    """The layers inside one, each with its name and its path from there."""
    from fastrnn.models import Model

    if isinstance(layer, Model) and not is_drawn(layer):
        numbered = _numbered(layer.layers)
        return [(part, part.name, f"layers/{n}") for part, n in numbered if hasattr(part, "build")]
    inner = {id(part) for part in layer.sublayers}
    attributes = dict(vars(layer))
    if isinstance(layer, Model):
        attributes["layers"] = layer.layers  # of which Keras takes those that come after "layers"
    parts = []
    # As Keras goes: attributes in alphabetical order, private ones last.
    for attribute, value in sorted(attributes.items(), key=lambda a: (a[0][0] == "_", a[0])):
        if isinstance(value, Layer) and id(value) in inner:
            # A layer with one cell has the cell's weights, and calls them its own.
            parts.append((value, "" if attribute == "cell" else attribute, attribute))
        elif isinstance(value, (list, tuple, dict)):
            parts += _members(value, attribute, attribute, inner)
    if isinstance(layer, Model):
        return [(part, part.name, path) for part, _, path in parts]
    return parts


def _members(container, name, path, inner):
    """The layers in a list, tuple or dict, and in those inside, with their names and paths."""
    found, values = [], container.values() if isinstance(container, dict) else container
    kept = [
        v for v in values
        if isinstance(v, (list, tuple, dict)) or isinstance(v, Layer) and id(v) in inner
    ]
    for i, (part, n) in enumerate(_numbered(kept)):
        if isinstance(part, Layer):
            found.append((part, f"{name}/{i}", f"{path}/{n}"))
        else:
            found += _members(part, f"{name}/{i}", f"{path}/{n}", inner)
    return found


def _numbered(layers):
    """Pairs of each layer and its class in snake case, numbered where it came before; lists are
    a "container"."""
    count = Counter()
    for layer in layers:
        name = snake_case(class_name(layer)) if isinstance(layer, Layer) else "container"
        yield layer, f"{name}_{count[name]}" if count[name] else name
        count[name] += 1


def matched(source, found, left=(), skip_mismatch=False):
    """Pairs of each weight and the values that it is to take, all of them known to fit.

    Parameters
    ----------
    source : str
        What to call the file in messages.
    found : list of (Holder, list of arrays)
        What is stored for each layer: arrays, or anything with ``shape`` that ``[()]`` reads; None
        in place of an array that is missing.
    left : list of str
        Layers that the file has and the model has not.
    skip_mismatch : bool, default False
        Leave layers that do not fit as they are, with a warning.

    Raises
    ------
    ValueError
        If anything does not fit; the message names the layers, what they expected, and what came.
    """
    fitting, misfits = [], []
    for holder, arrays in found:
        expected = [p.shape for p in holder.parameters]
        got = [None if a is None else tuple(a.shape) for a in arrays]
        if got == expected:
            fitting += zip(holder.parameters, arrays, strict=True)
        else:
            misfits.append(f"{holder}: {_difference(holder.parameters, got)}")
    if left:
        misfits.append("the model has no place for " + ", ".join(f"'{name}'" for name in left))
    if misfits and not skip_mismatch:
        more = len(misfits) - _SHOWN
        raise ValueError(
            f"{source} holds the weights of another model: {'; '.join(misfits[:_SHOWN])}"
            + (f"; and {more} more." if more > 0 else ".")
        )
    for misfit in misfits:
        warnings.warn(f"{source}: {misfit}; skipped.", stacklevel=4)
    return [(parameter, array[()]) for parameter, array in fitting]


def _difference(parameters, got):
    """In words, what a layer's weights are and what came."""
    if len(got) != len(parameters):
        expected = ", ".join(f"'{p.name}' {p.shape}" for p in parameters) or "none"
        came = ", ".join(map(str, got)) or "none"
        return f"expected {len(parameters)} weights, {expected}; got {len(got)}: {came}"
    return ", ".join(
        f"weight '{p.name}': expected shape {p.shape}; got " + ("nothing" if g is None else str(g))
        for p, g in zip(parameters, got, strict=True) if p.shape != g
    )
