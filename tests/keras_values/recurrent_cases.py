"""Recurrent layers and cells: outputs, gradients, dropout with known masks, kept states."""

import contextlib
from unittest import mock

import keras
import numpy as np
from common import (
    all_pairs,
    as_numpy,
    built_layer,
    fill,
    generator,
    gradient_case,
    normal,
    time_masks,
)
from fact_cases import arguments_of
from recipes import flat, make

B, T, D, H = 4, 5, 3, 4

KINDS = {
    "simple_rnn": ["SimpleRNN", {}],
    "lstm": ["LSTM", {}],
    "gru": ["GRU", {}],
    "gru_reset_before": ["GRU", {"reset_after": False}],
}
CELLS = {
    "simple_rnn": ["SimpleRNNCell", {"units": H}],
    "lstm": ["LSTMCell", {"units": H}],
    "gru": ["GRUCell", {"units": H}],
    "gru_reset_before": ["GRUCell", {"units": H, "reset_after": False}],
}
STACKS = {
    "lstm+gru": [["LSTMCell", {"units": 3}], ["GRUCell", {"units": 4}]],
    "simple_rnn+lstm+lstm": [
        ["SimpleRNNCell", {"units": 4}],
        ["LSTMCell", {"units": 3}],
        ["LSTMCell", {"units": 2}],
    ],
    "one_lstm": [["LSTMCell", {"units": 3}]],  # with a mask, Keras fails on a stack of one LSTM
}
SWITCHES = ["return_sequences", "return_state", "go_backwards", "zero_output_for_mask"]


def inputs():
    """Return x and the masks that go with it."""
    return normal(generator("recurrent/x"), B, T, D), {"none": None, **time_masks(B, T)}


def named(row):
    """Return a name that says which options a case has."""
    return "+".join(
        key if value is True else f"{key}_{value}"
        for key, value in row.items()
        if value is not False
    )


def initial_states(layer):
    """Draw the states to start from as a layer returns them: of stacked cells, a list for each."""

    def draw(size, place):
        return normal(generator(f"state/{place}/{size}"), B, size)

    stacked = isinstance(getattr(layer, "cell", layer), keras.layers.StackedRNNCells)
    sizes = layer.state_size
    if not stacked:
        return [draw(size, i) for i, size in enumerate(flat([sizes]))]
    return [
        [draw(size, f"{i}/{j}") for j, size in enumerate(flat([own]))]
        for i, own in enumerate(sizes)
    ]


def call_arguments(layer, row, masks):
    """Return the arguments of the call that a dict of options asks for."""
    call = {} if row["mask"] == "none" else {"mask": masks[row["mask"]]}
    if row["initial_state"]:
        call["initial_state"] = initial_states(layer)
    return call


def layer_cases():
    """SimpleRNN, LSTM, GRU: every value of an option beside every value of each other one."""
    x, masks = inputs()
    cases = {}
    for kind, (class_name, config) in KINDS.items():
        options = {
            **dict.fromkeys(SWITCHES, [False, True]),
            "mask": list(masks),
            "initial_state": [False, True],
            "use_bias": [True, False],
            "activation": "tanh relu sigmoid hard_sigmoid linear softsign elu".split(),
        }
        if kind != "simple_rnn":
            options["recurrent_activation"] = ["sigmoid", "hard_sigmoid", "tanh"]
        for row in all_pairs(options):
            given = {k: v for k, v in row.items() if k not in ("mask", "initial_state")}
            layer = [class_name, {"units": H, **config, **given}]
            call = call_arguments(make(keras.layers, layer), row, masks)
            cases[f"{kind}/{named(row)}"] = gradient_case(f"recurrent/{kind}", layer, x, **call)
        # The defaults, and unroll, which says how to loop and not what to compute.
        for name, option in {"default": {}, "unroll": {"unroll": True}}.items():
            layer = [class_name, {"units": H, **config, **option}]
            cases[f"{kind}/{name}"] = gradient_case(
                f"recurrent/{kind}", layer, x, mask=masks["holes"]
            )
        # Sizes that are no multiple of any register tile, and the smallest there are.
        for sizes in ((1, 1, 1, 1), (1, 9, 2, 5), (9, 7, 5, 17)):
            *shape, units = sizes
            name = "{}/B{}_T{}_D{}_H{}".format(kind, *sizes)
            layer = [class_name, {"units": units, **config}]
            cases[name] = gradient_case(name, layer, normal(generator(f"sizes/{sizes}"), *shape))
    return cases


def cell_layer_cases():
    """RNN with one cell, a list of cells, and StackedRNNCells."""
    x, masks = inputs()
    options = {
        "cell": [*CELLS, "lstm+gru", "simple_rnn+lstm+lstm"],
        **dict.fromkeys(SWITCHES, [False, True]),
        "mask": list(masks),
        "initial_state": [False, True],
    }
    cases = {}
    for row in all_pairs(options):
        switches = {key: True for key in SWITCHES if row[key]}
        layer = ["RNN", {"cell": (CELLS | STACKS)[row["cell"]], **switches}]
        call = call_arguments(make(keras.layers, layer), row, masks)
        name = named({k: v for k, v in row.items() if k != "cell"})
        cases[f"rnn/{row['cell']}/{name}"] = gradient_case(f"rnn/{row['cell']}", layer, x, **call)
    stacked = ["StackedRNNCells", {"cells": STACKS["lstm+gru"]}]
    layer = ["RNN", {"cell": stacked, "return_state": True}]
    cases["rnn/stacked_rnn_cells"] = gradient_case("rnn/lstm+gru", layer, x)
    layer = ["RNN", {"cell": STACKS["one_lstm"], "return_state": True}]
    cases["rnn/one_lstm"] = gradient_case("rnn/one_lstm", layer, x)
    return cases


# --- dropout ------------------------------------------------------------------------------------


@contextlib.contextmanager
def drawn_masks():
    """Give Keras dropout masks of our own; return the list that collects them, in its order."""
    masks = []

    def dropout(x, rate, noise_shape=None, seed=None):
        shape = x.shape if noise_shape is None else noise_shape
        rng = generator(f"noise/{len(masks)}")
        keep = rng.random(tuple(shape)) >= rate
        masks.append((keep / (1 - rate)).astype("float32"))
        return x * masks[-1]

    with mock.patch.object(keras.src.backend.random, "dropout", dropout):
        yield masks


def dropout_cases():
    """Training with known dropout masks: how many there are, of which shapes, and what they do."""
    x, masks = inputs()
    rates = {
        "dropout": {"dropout": 0.4},
        "recurrent_dropout": {"recurrent_dropout": 0.4},
        "both": {"dropout": 0.3, "recurrent_dropout": 0.5},
    }
    plans = {}
    for kind, (class_name, config) in KINDS.items():
        for word, rate in rates.items():
            layer = [class_name, {"units": H, "return_sequences": True, **config, **rate}]
            plans[f"{kind}/{word}"] = f"recurrent/{kind}", layer, {}
            plans[f"{kind}/{word}+mask"] = f"recurrent/{kind}", layer, {"mask": masks["holes"]}
        backwards = [class_name, {"units": H, "go_backwards": True, **config, **rates["both"]}]
        plans[f"{kind}/both+go_backwards"] = f"recurrent/{kind}", backwards, {}
    cells = [
        ["LSTMCell", {"units": 3, **rates["dropout"]}],
        ["GRUCell", {"units": 4, **rates["both"]}],
    ]
    plans["rnn/cells"] = "rnn/lstm+gru", ["RNN", {"cell": cells}], {}
    inner = ["LSTM", {"units": H, **rates["both"]}]
    plans["bidirectional"] = "dropout/bidirectional", ["Bidirectional", {"layer": inner}], {}
    plans["dropout"] = "-", ["Dropout", {"rate": 0.4}], {}
    plans["dropout/noise_shape"] = "-", ["Dropout", {"rate": 0.4, "noise_shape": [B, 1, D]}], {}
    plans["spatial_dropout_1d"] = "-", ["SpatialDropout1D", {"rate": 0.4}], {}
    cases = {}
    for name, (data, layer, call) in plans.items():
        with drawn_masks() as noise:
            case = gradient_case(data, layer, x, training=True, **call)
        cases[name] = {**case, "noise": noise}
    return cases


def noise_cases():
    """Along which axes the dropout of a layer differs: rows, steps, features."""
    x = np.ones((3, 40, 5), "float32")
    layers = {
        "dropout": ["Dropout", {"rate": 0.5}],
        "spatial_dropout_1d": ["SpatialDropout1D", {"rate": 0.5}],
        "time_distributed": ["TimeDistributed", {"layer": ["Dropout", {"rate": 0.5}]}],
    }
    cases = {}
    for name, layer in layers.items():
        y = as_numpy(make(keras.layers, layer)(x, training=True))
        differs = [bool((y != y.take([0], axis)).any()) for axis in range(3)]
        cases[name] = {"layer": layer, "x": x, "differs": differs}
    return cases


# --- states that stay -----------------------------------------------------------------------------


def stateful_cases():
    """Layers with stateful=True, called several times; None stands for a reset of the states."""
    x, masks = inputs()
    other = normal(generator("recurrent/other"), B, T, D)
    plans = {
        kind: [class_name, {"units": H, "stateful": True, "return_state": True, **config}]
        for kind, (class_name, config) in KINDS.items()
    }
    plans |= {f"{k}+go_backwards": [n, {**c, "go_backwards": True}] for k, (n, c) in plans.items()}
    plans["sequences"] = ["GRU", {"units": H, "stateful": True, "return_sequences": True}]
    plans["cells"] = ["RNN", {"cell": STACKS["lstm+gru"], "stateful": True}]
    for units, inner in (("lstm", "LSTM"), ("simple_rnn", "SimpleRNN")):
        inner = [inner, {"units": H, "stateful": True, "return_sequences": True}]
        plans[f"bidirectional/{units}"] = ["Bidirectional", {"layer": inner}]
    cases = {}
    for name, specification in plans.items():
        layer, weights = built_layer(f"stateful/{name}", specification, x)
        calls = [{"x": x}, {"x": other}, None, {"x": other}, {"x": x, "mask": masks["post"]}]
        calls += [{"x": x, "mask": masks["empty"]}, {"x": other, "mask": masks["holes"]}]
        if specification[0] == "RNN":
            calls.remove(None)  # Keras cannot reset nested states
        elif specification[0] != "Bidirectional":
            calls += [{"x": x, "initial_state": initial_states(layer)}, {"x": other}]
        outputs = []
        for call in calls:
            if call is None:
                layer.reset_state()
                outputs.append(None)
            else:
                outputs.append(as_numpy(layer(call["x"], **{k: call[k] for k in call if k != "x"})))
        cases[name] = {
            "layer": specification,
            "weights": weights,
            "calls": calls,
            "outputs": outputs,
            "states": [as_numpy(state.value) for state in flat(layer.states)],
        }
    return cases


# --- cells ----------------------------------------------------------------------------------------


def cell_cases():
    """Cells called for one step: with states as a list, and a single one by itself."""
    x = normal(generator("cell/x"), B, D)
    cases = {}
    for name, specification in {
        **CELLS,
        "stacked": ["StackedRNNCells", {"cells": STACKS["simple_rnn+lstm+lstm"]}],
        "lstm/relu": ["LSTMCell", {"units": H, "activation": "relu", "use_bias": False}],
    }.items():
        cell = make(keras.layers, specification)
        cell.build(x.shape)
        weights = fill(cell, f"cell/{name}/weights")
        given = {"": initial_states(cell)}
        if isinstance(cell.state_size, int):
            given["+bare_state"] = given[""][0]
        for word, states in given.items():
            output, after = cell(x, states)
            cases[name + word] = {
                "layer": specification,
                "weights": weights,
                "x": x,
                "states": states,
                "output": as_numpy(output),
                "after": as_numpy(after),
            }
    return cases


# --- facts ----------------------------------------------------------------------------------------


def fact_cases():
    """How layers are called and biases start, and the shapes of outputs and weights."""
    names = (
        "LSTM GRU RNN SimpleRNNCell LSTMCell GRUCell StackedRNNCells Bidirectional TimeDistributed "
        "RepeatVector Flatten Reshape GlobalAveragePooling1D GlobalMaxPooling1D SpatialDropout1D "
        "LayerNormalization BatchNormalization Concatenate Add Subtract Multiply Average Maximum "
        "Minimum Dot"
    ).split()
    return {
        "signatures": {name: arguments_of(getattr(keras.layers, name)) for name in names},
        "biases": bias_facts(),
        "shapes": shape_facts(),
    }


def bias_facts():
    """The bias of a new layer."""
    facts = {}
    for name, config in (
        ("SimpleRNN", {}),
        ("GRU", {}),
        ("LSTM", {}),
        ("LSTM", {"unit_forget_bias": True}),
        ("LSTM", {"unit_forget_bias": False}),
    ):
        for initializer in ("zeros", "ones"):
            specification = [name, {"units": 2, "bias_initializer": initializer, **config}]
            layer = make(keras.layers, specification)
            layer.build((None, 3, 3))
            words = f"{name}/{initializer}", *map(named, [config] if config else [])
            bias = as_numpy(layer.weights[2].value)
            facts["+".join(words)] = {"layer": specification, "bias": bias}
    return facts


def shape_facts():
    """Shapes of outputs for inputs of shape (None, 6, 2), names and shapes of weights."""
    sequence = {"return_sequences": True, "return_state": True}

    def both(inner, **config):
        return ["Bidirectional", {"layer": inner, **config}]

    layers = {
        "lstm": ["LSTM", {"units": 3}],
        "lstm+state": ["LSTM", {"units": 3, "return_state": True}],
        "gru+sequences+state": ["GRU", {"units": 3, **sequence}],
        "bidirectional": both(["LSTM", {"units": 3}]),
        "bidirectional+state": both(["LSTM", {"units": 3, **sequence}]),
        "bidirectional+none": both(
            ["GRU", {"units": 3, "return_sequences": True}], merge_mode=None
        ),
        "bidirectional+none+state": both(["GRU", {"units": 3, **sequence}], merge_mode=None),
        "bidirectional+sum": both(["GRU", {"units": 3}], merge_mode="sum"),
    }
    facts = {}
    for name, specification in layers.items():
        layer = make(keras.layers, specification)
        layer.build((None, 6, 2))
        facts[name] = {
            "layer": specification,
            "output_shape": layer.compute_output_shape((None, 6, 2)),
            "weights": [[w.name, list(w.shape)] for w in layer.weights],
        }
    return facts
