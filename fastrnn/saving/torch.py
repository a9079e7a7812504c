"""The weights of PyTorch's recurrent layers, in both directions, without PyTorch.

====================  =====================================  =====================================
                      PyTorch                                here
====================  =====================================  =====================================
kernels               ``weight_ih_l0`` (G H, D),             ``kernel`` (D, G H),
                      ``weight_hh_l0`` (G H, H)              ``recurrent_kernel`` (H, G H)
biases                ``bias_ih_l0`` and ``bias_hh_l0``      one, their sum; a GRU keeps both
gates of an LSTM      i, f, g, o                             i, f, c, o
gates of a GRU        r, z, n                                z, r, h
further layers        ``…_l1``                               a further layer, or cell of a stack
the way back          ``…_l0_reverse``                       ``backward_layer`` of `Bidirectional`
====================  =====================================  =====================================

PyTorch's GRU applies the reset gate after the product with the state: it is a GRU with
``reset_after=True``.

Letters: D input width, H units, G gates.
"""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple

import numpy as np

from fastrnn.layers import (
    RNN,
    Bidirectional,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
)

__all__ = ["from_torch", "to_torch"]

_GATES = {SimpleRNNCell: (0,), LSTMCell: (0, 1, 2, 3), GRUCell: (1, 0, 2)}  # its own inverse
_PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_NAME = re.compile(rf"({'|'.join(_PARTS)})(?:_l(\d+)(_reverse)?)?")


def from_torch(layer, state_dict, prefix=""):
    """Load the weights of a ``torch.nn.RNN``, ``LSTM`` or ``GRU`` into the layers that match it.

    Parameters
    ----------
    layer : layer, cell or model
        A `SimpleRNN`, `LSTM` or `GRU`, one in a `Bidirectional`, or an `RNN` of a stack of cells;
        of a model, all its recurrent layers in their order, one for each layer in PyTorch.  A
        layer that is not built yet is built.
    state_dict : dict of str to array or tensor, or path
        What ``module.state_dict()`` gives, or a safetensors file of it.  A ``.pt`` file is a
        pickle, which can run code when it is read; it is refused.
    prefix : str, default ""
        What the names begin with: ``"encoder."`` where the module is ``model.encoder``.

    Raises
    ------
    ValueError
        If names or shapes do not match, or the layer computes something else than PyTorch's does;
        nothing is changed then.

    Examples
    --------
    >>> from fastrnn.layers import LSTM
    >>> arrays = {"weight_ih_l0": np.ones((8, 3)), "weight_hh_l0": np.zeros((8, 2))}
    >>> layer = LSTM(2)
    >>> from_torch(layer, arrays)
    >>> layer.kernel.shape
    (3, 8)
    """
    arrays = _own(_arrays(state_dict), prefix)
    stages = _stages(layer)
    _check_names(layer, stages, arrays, prefix)
    if not layer.built:
        _build(layer, arrays[0, False]["weight_ih"].shape[-1])
    pairs = []
    for (n, reverse), given in arrays.items():
        pairs += _to_weights(stages[n][reverse], given)
    for weight, values in pairs:
        weight.assign(values)


def to_torch(layer, prefix=""):
    """The weights of recurrent layers under PyTorch's names, for ``module.load_state_dict``.

    Parameters
    ----------
    layer : layer, cell or model
        As for `from_torch`, and built.
    prefix : str, default ""
        What the names are to begin with.

    Returns
    -------
    dict of str to array
        ``safetensors.numpy.save_file`` keeps it in a file; ``torch.from_numpy`` makes tensors.

    Raises
    ------
    ValueError
        If the layer is not built, or PyTorch has nothing that computes the same.

    Examples
    --------
    >>> from fastrnn.layers import GRU
    >>> layer = GRU(2)
    >>> layer.build((None, 5, 3))
    >>> {name: array.shape for name, array in to_torch(layer).items()}
    {'weight_ih_l0': (6, 3), 'weight_hh_l0': (6, 2), 'bias_ih_l0': (6,), 'bias_hh_l0': (6,)}
    """
    if not layer.built:
        raise ValueError(f"to_torch: {_named(layer)} has no weights yet: build it first.")
    arrays = {}
    for n, directions in enumerate(_stages(layer)):
        for place, ending in zip(directions, ("", "_reverse"), strict=False):
            for part, array in _from_weights(place).items():
                arrays[f"{prefix}{part}_l{n}{ending}"] = array
    return arrays


# -- the names ---------------------------------------------------------------------------------


def _arrays(state_dict):
    """A dict of names and NumPy arrays."""
    if isinstance(state_dict, (str, os.PathLike)):
        state_dict = _read(state_dict)
    if not hasattr(state_dict, "items"):
        raise TypeError(
            "from_torch: expected a dict of arrays, as module.state_dict() gives it, or the path "
            f"of a safetensors file; got {type(state_dict).__name__}."
        )
    return {name: _array(name, value) for name, value in state_dict.items()}


def _array(name, value):
    if hasattr(value, "detach"):  # a tensor, on whatever device
        value = value.detach().cpu()
        value = value.float() if str(value.dtype) == "torch.bfloat16" else value
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"from_torch: expected numbers under '{name}'; got {array.dtype}.")
    return array


def _read(path):
    import safetensors
    import safetensors.numpy

    with open(path, "rb") as file:
        start = file.read(2)
    if start == b"PK" or start[:1] == b"\x80":
        raise ValueError(
            f"{path} is a pickle, which can run code when it is read. Where it is trusted, turn it "
            "into a safetensors file: safetensors.torch.save_file(torch.load(path, "
            "weights_only=True), 'weights.safetensors')."
        )
    try:
        return safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no safetensors file of NumPy's types: {error}.") from error


def _own(arrays, prefix):
    """Of the names that begin with ``prefix`` the arrays: ``{(layer, reverse): {part: array}}``."""
    own, others = {}, []
    for name, array in arrays.items():
        if not name.startswith(prefix):
            continue
        match = _NAME.fullmatch(name[len(prefix):])
        if match is None:
            others.append(name)
        else:
            part, n, reverse = match.groups()
            if array.ndim != (2 if part.startswith("weight") else 1):
                raise ValueError(f"from_torch: '{name}' has the shape {array.shape}.")
            own.setdefault((int(n or 0), reverse is not None), {})[part] = array
    if not own:
        ends = (_NAME.search(name) for name in arrays)
        found = sorted({m.string[: m.start()] for m in ends if m and m.end() == len(m.string)})
        hint = f" There are such with the prefix {' or '.join(map(repr, found))}." if found else ""
        raise ValueError(
            f"from_torch: there is nothing like '{prefix}weight_ih_l0'; the names are "
            f"{', '.join(list(arrays)[:6]) or 'none'}.{hint}"
        )
    projections = [name for name in others if "weight_hr" in name]
    if projections:
        raise ValueError(
            f"from_torch: '{projections[0]}' belongs to an LSTM with proj_size, which has no match "
            "here."
        )
    return dict(sorted(own.items()))


def _check_names(layer, stages, arrays, prefix):
    """ValueError unless there are weights for each direction of each layer, and no others."""
    expected = {(n, bool(d)) for n, directions in enumerate(stages) for d in range(len(directions))}
    if set(arrays) != expected:
        raise ValueError(
            f"from_torch: {_named(layer)} matches {_kind(expected)}; the names with the prefix "
            f"{prefix!r} are those of {_kind(arrays)}."
        )
    for (n, reverse), given in arrays.items():
        missing = [part for part in _PARTS[:2] if part not in given]
        missing += [part for part in _PARTS[2:] if part not in given] if len(given) == 3 else []
        if missing:
            ending = f"_l{n}{'_reverse' * reverse}"
            raise ValueError(f"from_torch: there is no '{prefix}{missing[0]}{ending}'.")


def _kind(places):
    layers = 1 + max(n for n, _ in places)
    ways = "bidirectional" if any(reverse for _, reverse in places) else "in one direction"
    return f"{layers} layer{'s' * (layers > 1)}, {ways}"


# -- the layers ----------------------------------------------------------------------------------


class Place(NamedTuple):
    """A cell, and the layer that users know it by."""

    cell: Any
    layer: Any


def _stages(layer):
    """For each of PyTorch's layers the cell that matches it, or two: forward and backward."""
    from fastrnn.models import Model

    if isinstance(layer, Model):
        recurrent = [part for part in layer.layers if isinstance(part, (RNN, Bidirectional))]
        if not recurrent:
            raise ValueError(f"from_torch: model '{layer.name}' has no recurrent layer.")
        return [stage for part in recurrent for stage in _stages(part)]
    if isinstance(layer, Bidirectional):
        directions = [_stages(part) for part in (layer.forward_layer, layer.backward_layer)]
        if any(len(stages) > 1 for stages in directions):
            raise ValueError(
                f"{_named(layer)}: PyTorch has no stack of cells that is read in each direction "
                "by itself; use a Bidirectional for each cell."
            )
        return [[stages[0][0] for stages in directions]]
    cell = layer.cell if isinstance(layer, RNN) else layer
    cells = cell.cells if isinstance(cell, StackedRNNCells) else [cell]
    return [[_checked(Place(cell, layer))] for cell in cells]


def _checked(place):
    """``place``, or ValueError if PyTorch's layer computes something else."""
    cell, layer = place
    if type(cell) not in _GATES:
        raise ValueError(
            f"{_named(layer)} has no match in PyTorch; expected SimpleRNN, LSTM or GRU, a "
            "Bidirectional or a stack of them, or a model that has some."
        )
    activations = [cell.activation]
    if isinstance(cell, SimpleRNNCell):
        fits = activations[0] in ("tanh", "relu")
    else:
        activations.append(cell.recurrent_activation)
        fits = activations == ["tanh", "sigmoid"]
    if not fits:
        raise ValueError(
            f"{_named(layer)} has the activations {activations}; PyTorch's layer has others."
        )
    if isinstance(cell, GRUCell) and not cell.reset_after:
        raise ValueError(f"{_named(layer)}: PyTorch's GRU is one with reset_after=True.")
    return place


def _named(layer):
    return f"layer '{layer.name}' ({type(layer).__name__})"


def _build(layer, width):
    if not isinstance(layer, (RNN, Bidirectional, *_GATES, StackedRNNCells)):
        raise ValueError(f"from_torch: build model '{layer.name}' first: model.build(input_shape).")
    cell = not isinstance(layer, (RNN, Bidirectional))
    layer.build((None, width) if cell else (None, None, width))


# -- one cell ------------------------------------------------------------------------------------


def _reordered(cell, array):
    """The gates of one library in the order of the other; they follow one another in axis 0."""
    gates = np.split(array, len(_GATES[type(cell)]))
    return np.concatenate([gates[i] for i in _GATES[type(cell)]])


def _to_weights(place, given):
    """Pairs of each weight of a cell and its values."""
    cell, layer = place
    rows = cell.recurrent_kernel.shape[1]
    shapes = {
        "weight_ih": (rows, cell.kernel.shape[0]), "weight_hh": (rows, cell.units),
        "bias_ih": (rows,), "bias_hh": (rows,),
    }
    for part, array in given.items():
        if array.shape != shapes[part]:
            raise ValueError(
                f"from_torch: {_named(layer)} needs '{part}' of shape {shapes[part]}; got shape "
                f"{array.shape}."
            )
    given = {part: _reordered(cell, array) for part, array in given.items()}
    zeros = np.zeros(rows, given["weight_ih"].dtype)
    outer, inner = given.get("bias_ih", zeros), given.get("bias_hh", zeros)
    pairs = [(cell.kernel, given["weight_ih"].T), (cell.recurrent_kernel, given["weight_hh"].T)]
    if cell.use_bias:
        both = isinstance(cell, GRUCell)
        return [*pairs, (cell.bias, np.stack([outer, inner]) if both else outer + inner)]
    if outer.any() or inner.any():
        raise ValueError(
            f"from_torch: {_named(layer)} has use_bias=False, and the weights have biases."
        )
    return pairs


def _from_weights(place):
    """The parts of a cell under PyTorch's names."""
    cell, _ = place
    parts = {"weight_ih": cell.kernel.numpy().T, "weight_hh": cell.recurrent_kernel.numpy().T}
    if cell.use_bias:
        bias = cell.bias.numpy()
        outer, inner = bias if bias.ndim == 2 else (bias, np.zeros_like(bias))
        parts |= {"bias_ih": outer, "bias_hh": inner}
    return {part: np.ascontiguousarray(_reordered(cell, array)) for part, array in parts.items()}
