"""Weights of PyTorch's recurrent layers: what its modules computed comes out here too."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Embedding,
    GRUCell,
    Input,
    LSTMCell,
    SimpleRNN,
    SimpleRNNCell,
)
from fastrnn.models import Sequential
from fastrnn.saving import from_torch, to_torch

HERE = Path(__file__).parent / "exchange"
UNITS = 4
MAKE = {
    "rnn": lambda **k: SimpleRNN(UNITS, **k),
    "rnn_relu": lambda **k: SimpleRNN(UNITS, "relu", **k),
    "lstm": lambda **k: LSTM(UNITS, **k),
    "lstm_without_bias": lambda **k: LSTM(UNITS, use_bias=False, **k),
    "gru": lambda **k: GRU(UNITS, **k),
    "gru_bidirectional": lambda **k: Bidirectional(GRU(UNITS, **k)),
    "rnn_stack": lambda **k: RNN([SimpleRNNCell(UNITS), SimpleRNNCell(UNITS)], **k),
    "gru_stack": lambda **k: RNN([GRUCell(UNITS) for _ in range(3)], **k),
}


@pytest.fixture(scope="module")
def cases():
    """``{case: {"x": …, "y": …, "h": …, "state": {name: array}}}``, as PyTorch computed them."""
    cases = {}
    with np.load(HERE / "torch_values.npz") as file:
        for name in file.files:
            case, key, *rest = name.split("/")
            of_case = cases.setdefault(case, {"state": {}})
            if rest:
                of_case["state"][rest[0]] = file[name]
            else:
                of_case[key] = file[name]
    return cases


@pytest.mark.parametrize("case", MAKE)
def test_outputs_and_states(case, cases):
    expected = cases[case]
    layer = MAKE[case](return_sequences=True, return_state=True)
    from_torch(layer, expected["state"])
    output, *states = layer(expected["x"])
    np.testing.assert_allclose(output, expected["y"], atol=1e-5)
    parts = [state if isinstance(state, list) else [state] for state in states]
    if "c" in expected:
        parts = [[part] for state in parts for part in state]
    for ours, theirs in zip(
        [part for state in parts for part in state],
        [*expected["h"], *expected.get("c", ())], strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("case", MAKE)
def test_there_and_back(case, cases):
    layer = MAKE[case]()
    from_torch(layer, cases[case]["state"])
    back = to_torch(layer, "encoder.")
    other = MAKE[case]()
    from_torch(other, back, "encoder.")
    assert {name.removeprefix("encoder.") for name in back} == set(cases[case]["state"])
    for ours, again in zip(layer.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, again)
    for name, array in cases[case]["state"].items():
        assert back["encoder." + name].shape == array.shape
        if "gru" in case or "weight" in name:  # the others' two biases become one
            np.testing.assert_array_equal(back["encoder." + name], array)


def stacked_model():
    return Sequential([
        Input((5, 3)),
        Bidirectional(LSTM(UNITS, return_sequences=True)),
        Bidirectional(LSTM(UNITS, return_sequences=True)),
    ])


def test_layers_of_a_model(cases):
    model, expected = stacked_model(), cases["lstm_stack"]
    from_torch(model, expected["state"])
    np.testing.assert_allclose(model(expected["x"]), expected["y"], atol=1e-5)
    assert set(to_torch(model)) == set(expected["state"])


def torch_python():
    """A Python that has PyTorch: this one, or the one that FASTRNN_TORCH_PYTHON names."""
    if named := os.environ.get("FASTRNN_TORCH_PYTHON"):
        return named
    return sys.executable if importlib.util.find_spec("torch") else None


@pytest.mark.timeout(400)
@pytest.mark.skipif(
    torch_python() is None, reason="PyTorch is not installed, and FASTRNN_TORCH_PYTHON names none"
)
def test_torch_computes_the_same_with_our_weights(tmp_path):
    random, arrays = np.random.default_rng(0), {}
    for case, make in (MAKE | {"lstm_stack": lambda **_: stacked_model()}).items():
        layer = make(return_sequences=True)
        layer.build((None, 5, 3))
        layer.set_weights([random.normal(size=w.shape) / 2 for w in layer.get_weights()])
        x = random.normal(size=(2, 5, 3)).astype(np.float32)
        arrays |= {f"{case}/x": x, f"{case}/y": layer(x)}
        arrays |= {f"{case}/state/{name}": array for name, array in to_torch(layer).items()}
    np.savez(tmp_path / "ours.npz", **arrays)
    done = subprocess.run(
        [torch_python(), str(HERE / "check_in_torch.py"), str(tmp_path / "ours.npz")],
        capture_output=True, text=True, timeout=380,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert done.stdout.count(" ok") == len(MAKE) + 1


def test_recurrent_layers_among_others(cases):
    model = Sequential([Input((5,)), Embedding(7, 3), GRU(UNITS), Dense(2)])
    kept = [model.layers[0].get_weights(), model.layers[2].get_weights()]
    from_torch(model, cases["gru"]["state"])
    alone = GRU(UNITS)
    from_torch(alone, cases["gru"]["state"])
    np.testing.assert_array_equal(model.layers[1].kernel, alone.kernel)
    for layer, before in zip((model.layers[0], model.layers[2]), kept, strict=True):
        for now, then in zip(layer.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)


def test_one_cell(cases):
    state = {name.removesuffix("_l0"): a for name, a in cases["lstm"]["state"].items()}
    cell, x = LSTMCell(UNITS), cases["lstm"]["x"]
    from_torch(cell, state)  # of a torch.nn.LSTMCell
    output, _ = cell(x[:, 0])
    np.testing.assert_allclose(output, cases["lstm"]["y"][:, 0], atol=1e-5)


def test_other_names_beside_it(cases):
    state = {f"model.rnn.{n}": a for n, a in cases["gru"]["state"].items()}
    state["model.head.weight"] = np.zeros((2, 4))
    layer = GRU(UNITS)
    with pytest.raises(ValueError, match="names are .*There are such with the prefix 'model.rnn.'"):
        from_torch(layer, state)
    from_torch(layer, state, prefix="model.rnn.")
    assert layer.built


def test_safetensors_file(cases, tmp_path):
    path = tmp_path / "gru.safetensors"
    safetensors.numpy.save_file(cases["gru"]["state"], path)
    one, other = GRU(UNITS), GRU(UNITS)
    from_torch(one, path)
    from_torch(other, cases["gru"]["state"])
    np.testing.assert_array_equal(one.kernel, other.kernel)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ValueError, match="no safetensors file"):
        from_torch(one, path)


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x80\x02}q\x00"])
def test_pickles_are_refused(start, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(start + bytes(20))
    with pytest.raises(ValueError, match="pickle, which can run code.*safetensors.torch.save_file"):
        from_torch(GRU(UNITS), path)


class Tensor:
    """What is used of a tensor."""

    def __init__(self, array):
        self.array = array
        self.dtype = "torch.float32"

    def detach(self):
        return self

    cpu = detach

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_tensors(cases):
    one, other = GRU(UNITS), GRU(UNITS)
    from_torch(one, {n: Tensor(a) for n, a in cases["gru"]["state"].items()})
    from_torch(other, cases["gru"]["state"])
    np.testing.assert_array_equal(one.bias, other.bias)


def without(name, state):
    return {n: a for n, a in state.items() if n != name}


@pytest.mark.parametrize(("make", "case", "change", "message"), [
    (lambda: GRU(5), "gru", None, r"layer '\w+' \(GRU\) needs 'weight_ih' of shape \(15, 3\)"),
    (lambda: LSTM(UNITS), "gru", None, r"needs 'weight_ih' of shape \(16, 3\); got shape \(12, 3"),
    (lambda: GRU(UNITS), "gru_stack", None, "matches 1 layer, in one .* those of 3 layers"),
    (lambda: GRU(UNITS), "gru_bidirectional", None, "1 layer, in one direction.*bidirectional"),
    (stacked_model, "gru", None, "matches 2 layers, bidirectional"),
    (lambda: GRU(UNITS, reset_after=False), "gru", None, "reset_after=True"),
    (lambda: GRU(UNITS, "relu"), "gru", None, r"activations \['relu', 'sigmoid'\]"),
    (lambda: SimpleRNN(UNITS, "elu"), "rnn", None, r"activations \['elu'\]"),
    (lambda: LSTM(UNITS, use_bias=False), "lstm", None, "use_bias=False, and the weights have"),
    (lambda: Dense(2), "lstm", None, r"\(Dense\) has no match in PyTorch"),
    (lambda: Sequential([Input((3,)), Dense(2)]), "lstm", None, "has no recurrent layer"),
    (lambda: Sequential([GRU(UNITS)]), "gru", None, "build model"),
    (lambda: Bidirectional(RNN([GRUCell(2), GRUCell(2)])), "gru", None, "stack of cells"),
    (lambda: GRU(UNITS), "gru", lambda s: without("bias_hh_l0", s), "there is no 'bias_hh_l0'"),
    (lambda: GRU(UNITS), "gru", lambda s: without("weight_hh_l0", s), "there is no 'weight_hh_l0'"),
    (lambda: GRU(UNITS), "gru", lambda s: {}, "nothing like 'weight_ih_l0'; the names are none"),
    (lambda: LSTM(UNITS), "lstm", lambda s: s | {"weight_hr_l0": np.zeros((2, 4))}, "proj_size"),
    (lambda: GRU(UNITS), "gru", lambda s: s | {"bias_hh_l0": np.array(["a"])}, "expected numbers"),
    (lambda: GRU(UNITS), "gru", lambda s: s | {"bias_hh_l0": np.zeros((1, 12))}, r"\(1, 12\)"),
])
def test_what_does_not_match(make, case, change, message, cases):
    layer = make()
    before = [w.copy() for w in layer.get_weights()]
    state = cases[case]["state"]
    with pytest.raises(ValueError, match=message):
        from_torch(layer, change(state) if change else state)
    for now, then in zip(layer.get_weights(), before, strict=bool(before)):
        np.testing.assert_array_equal(now, then)


def test_nothing_is_changed_by_a_mistake_in_the_last_layer(cases):
    model, state = stacked_model(), dict(cases["lstm_stack"]["state"])
    state["bias_hh_l1_reverse"] = np.zeros(3, np.float32)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"'bias_hh' of shape \(16,\); got shape \(3,\)"):
        from_torch(model, state)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_what_is_no_state_dict():
    with pytest.raises(TypeError, match="expected a dict of arrays.*got list"):
        from_torch(GRU(UNITS), [1])


def test_to_torch_needs_weights():
    with pytest.raises(ValueError, match="has no weights yet: build it first"):
        to_torch(GRU(UNITS))
