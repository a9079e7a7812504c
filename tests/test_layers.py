"""Layers by themselves: gradients by finite differences, masks, weights, configs, bad input."""

import json

import numpy as np
import pytest
from engine_cases import assert_gradient, dense_gradient

from fastrnn import engines, layers, random
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Dense,
    Dropout,
    Embedding,
    GRUCell,
    LSTMCell,
    Masking,
    RecurrentCell,
    SimpleRNN,
    SimpleRNNCell,
)
from fastrnn.masks import StepMask

ENGINES = ("reference", "cpu")


def built(layer, shape, seed=0):
    """The layer with random weights, biases too."""
    layer.build(shape)
    rng = np.random.default_rng(seed)
    layer.set_weights([0.5 * rng.normal(size=w.shape) for w in layer.get_weights()])
    return layer


def outputs_of(y):
    """Outputs, states and gradients as a flat list, however they are nested."""
    return [leaf for part in y for leaf in outputs_of(part)] if isinstance(y, list) else [y]


def rewind(layer):
    """Let the layer draw the same dropout masks again."""
    for stream in random.streams_of(layer):
        stream.calls = 0


def check_gradients(layer, x, mask=None, initial_state=None, training=False):
    """Every gradient of sum(y * dy) of a float64 layer against finite differences."""
    rng = np.random.default_rng(1)
    kwargs = {} if initial_state is None else {"initial_state": initial_state}

    def forward():
        rewind(layer)
        y, tape = layer.forward(layer.convert_input(x), StepMask.of(mask), training, **kwargs)
        return outputs_of(y), tape

    y, tape = forward()
    dy = [rng.normal(size=part.shape) for part in y]

    def loss():
        parts = [layer._to_host(part) for part in forward()[0]]
        return sum(float((part * d).sum()) for part, d in zip(parts, dy, strict=True))

    for parameter in layer.parameters:
        parameter.grad[...] = 0
    dx = layer.backward(tape, dy if len(dy) > 1 else dy[0])
    for parameter in layer.parameters:
        assert_gradient(parameter.grad, loss, parameter.value)
    dx, *dstate = outputs_of(dx)
    if x.dtype.kind == "f":
        assert_gradient(dx, loss, x)
    for d, state in zip(dstate, initial_state or [], strict=True):
        assert_gradient(d, loss, state)


def holes(rng, rows, steps):
    mask = rng.random((rows, steps)) < 0.5
    mask[0] = False  # a row without any step
    return mask


CELLS = {
    "simple_rnn": lambda units, **options: SimpleRNN(units, **options),
    "lstm": lambda units, **options: LSTM(units, **options),
    "gru": lambda units, **options: GRU(units, **options),
    "gru_reset_before": lambda units, **options: GRU(units, reset_after=False, **options),
}


def masks(rng, rows, steps):
    """Masks of all patterns; in all but the first, one row has no step."""
    lengths = np.array([2, 0, steps])
    return {
        "none": None,
        "pre": np.arange(steps) >= steps - lengths[:, None],
        "post": np.arange(steps) < lengths[:, None],
        "holes": holes(rng, rows, steps),
    }


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("mask", ["none", "pre", "post", "holes"])
@pytest.mark.parametrize("options", [
    {}, {"return_sequences": True}, {"return_state": True}, {"go_backwards": True},
    {"return_sequences": True, "return_state": True, "go_backwards": True},
    {"return_sequences": True, "zero_output_for_mask": True}, {"use_bias": False}, {"dropout": 0.4},
    {"return_state": True, "zero_output_for_mask": True}, {"recurrent_dropout": 0.4},
    {"dropout": 0.3, "recurrent_dropout": 0.3, "return_sequences": True},
], ids=lambda options: ",".join(options) or "plain")  # fmt: skip
def test_recurrent_gradients(engine, cell, mask, options):
    rng = np.random.default_rng(2)
    rows, steps, width, units = 3, 4, 2, 2
    pattern, mask = mask, masks(rng, rows, steps)[mask]
    training = "dropout" in options or "recurrent_dropout" in options
    with engines.using(engine):
        layer = built(CELLS[cell](units, dtype="float64", **options), (None, steps, width))
        x = rng.normal(size=(rows, steps, width))
        states = [rng.normal(size=(rows, units)) for _ in range(layer.states_count)]
        check_gradients(layer, x, mask, states if pattern != "none" else None, training=training)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cell", ["lstm", "gru", "gru_reset_before"])
@pytest.mark.parametrize("activations", [
    ("relu", "sigmoid"), ("sigmoid", "tanh"), ("linear", "hard_sigmoid"), ("softsign", "sigmoid"),
    ("tanh", "elu"), ("hard_sigmoid", "relu"),
], ids="-".join)  # fmt: skip
def test_gate_activation_gradients(engine, cell, activations):
    rng = np.random.default_rng(3)
    activation, recurrent_activation = activations
    with engines.using(engine):
        layer = CELLS[cell](2, activation=activation, recurrent_activation=recurrent_activation,
                            dtype="float64")
        check_gradients(built(layer, (None, 3, 2)), rng.normal(size=(2, 3, 2)))


class PlainCell(RecurrentCell):
    """A cell in Python whose two states feed each other: h' = tanh(x W + c U), c' = h' + c / 2."""

    state_size = (3, 3)

    def create(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 3), "normal", name="kernel")
        self.recurrent = self.add_weight((3, 3), "normal", name="recurrent")

    def forward(self, x, states, training=False):
        _, c = states
        h = np.tanh(x @ self.kernel.value + c @ self.recurrent.value)
        return 2 * h, [h, h + 0.5 * c], (x, c, h)

    def backward(self, tape, dy, dstates):
        x, c, h = tape
        dh, dc = dstates
        dz = (2 * dy + dh + dc) * (1 - h * h)
        self.kernel.grad += x.T @ dz
        self.recurrent.grad += c.T @ dz
        return dz @ self.kernel.value.T, [np.zeros_like(dh), 0.5 * dc + dz @ self.recurrent.value.T]


@pytest.mark.parametrize("mask", ["none", "pre", "post", "holes"])
@pytest.mark.parametrize("options", [
    {}, {"return_sequences": True, "return_state": True}, {"return_state": True},
    {"return_sequences": True, "zero_output_for_mask": True, "go_backwards": True},
], ids=lambda options: ",".join(options) or "plain")  # fmt: skip
@pytest.mark.parametrize("stacked", [False, True])
def test_own_and_stacked_cells(mask, options, stacked):
    rng = np.random.default_rng(4)
    rows, steps, width = 3, 4, 2
    cells = [LSTMCell(2, dtype="float64"), PlainCell(dtype="float64"),
             GRUCell(3, dtype="float64", recurrent_dropout=0.3)]
    cell = cells if stacked else cells[1]
    layer = built(RNN(cell, dtype="float64", **options), (None, steps, width))
    x = rng.normal(size=(rows, steps, width))
    states = [rng.normal(size=(rows, n)) for n in layer.cell.state_sizes]
    mask = masks(rng, rows, steps)[mask]
    check_gradients(layer, x, mask, training=True)
    check_gradients(layer, x, mask, states, training=True)


@pytest.mark.parametrize("layer", [SimpleRNN, LSTM, GRU])
def test_an_activation_set_after_a_call_counts(layer):
    x = np.ones((2, 3, 4), "float32")
    changed, made = layer(5), layer(5, activation="relu")
    changed(x), made(x)
    made.set_weights(changed.get_weights())
    before = changed(x)
    changed.cell.activation = "relu"
    np.testing.assert_array_equal(changed(x), made(x))
    assert np.abs(changed(x) - before).max() > 1e-3


def test_a_stack_of_cells_is_a_stack_of_layers():
    rng = np.random.default_rng(5)
    x, mask = rng.normal(size=(3, 5, 2)), holes(rng, 3, 5)
    stack = RNN([LSTMCell(3), GRUCell(4)], return_state=True)
    y, (h, c), (last,) = stack(x, mask=mask)
    lower, upper = LSTM(3, return_sequences=True, return_state=True), GRU(4)
    middle, h_alone, c_alone = lower(x[:1])  # builds it
    upper(middle)
    lower.set_weights(stack.cell.cells[0].get_weights())
    upper.set_weights(stack.cell.cells[1].get_weights())
    middle, h_alone, c_alone = lower(x, mask=mask)
    np.testing.assert_array_equal(h, h_alone)
    np.testing.assert_array_equal(c, c_alone)
    np.testing.assert_array_equal(y, upper(middle, mask=mask))
    np.testing.assert_array_equal(last[1:], y[1:])


@pytest.mark.parametrize("cell", [SimpleRNNCell(3), LSTMCell(3), GRUCell(3), PlainCell()])
def test_a_cell_called_step_by_step_is_its_layer(cell):
    x = np.random.default_rng(6).normal(size=(2, 4, 3)).astype(np.float32)
    layer = RNN(cell, return_sequences=True)
    sequence, states = layer(x), None
    for t in range(4):
        y, states = cell(x[:, t], states)
        np.testing.assert_allclose(y, sequence[:, t], atol=1e-6)


def test_weights_of_a_layer_by_itself_begin_on_a_cache_line():
    """Vectors of them would lie on two lines each: a single row took half as long again."""
    for units in (16, 33, 64):
        layer = LSTM(units)
        layer(np.zeros((1, 2, units), np.float32))
        for parameter in layer.parameters:
            if parameter.value.nbytes >= 1024:  # smaller ones lie where NumPy has them
                assert parameter.value.ctypes.data % 64 == 0, parameter.path


def test_stateful_layers_go_on_where_they_ended():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(2, 6, 3)).astype(np.float32)
    mask = np.array([[1, 0, 1, 1, 0, 1], [0, 0, 0, 1, 1, 1]], bool)
    for cell in CELLS.values():
        layer = cell(4, stateful=True, return_sequences=True)
        layer.build((2, None, 3))
        whole = layer(x, mask=mask)
        layer.reset_state()
        parts = [layer(x[:, t : t + 2], mask=mask[:, t : t + 2]) for t in (0, 2, 4)]
        shown = np.concatenate(parts, axis=1)
        # A masked first step shows zeros, in Keras as well, though the state is carried.
        np.testing.assert_allclose(shown[mask], whole[mask], atol=1e-6)
        assert not np.allclose(layer(x), whole)
        with pytest.raises(ValueError, match="batches of 2 rows, as before; got 1"):
            layer(x[:1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("activation", ["linear", "relu", "tanh", "sigmoid", "softmax"])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4)])
def test_dense_and_activation_gradients(engine, activation, shape):
    rng = np.random.default_rng(3)
    with engines.using(engine):
        x = rng.normal(size=shape)
        check_gradients(built(Dense(3, activation, dtype="float64"), (None, *shape[1:])), x)
        check_gradients(built(Dense(2, activation, use_bias=False, dtype="float64"), shape), x)
        check_gradients(Activation(activation, dtype="float64"), x)


@pytest.mark.parametrize("engine", ENGINES)
def test_masking_and_dropout_gradients(engine):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 4, 3))
    with engines.using(engine):
        masking = Masking(9.0)
        x[0, 1] = 9.0
        _, tape = masking.forward(x)
        dx = masking.backward(tape, np.ones_like(x))
        np.testing.assert_array_equal(dx[0, :, 0], [1, 0, 1, 1])
        x[0, 1] = 0.5
        check_gradients(Masking(9.0, dtype="float64"), x)
        check_gradients(Dropout(0.5, seed=1, dtype="float64"), x, training=True)
        check_gradients(Dropout(0.5, (None, 1, None), seed=1, dtype="float64"), x, training=True)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mask_zero", [False, True])
def test_embedding_under_recurrence_gradients(engine, mask_zero):
    """The lookup that nobody carries out: the table's gradient through the projection."""
    ids = np.array([[0, 0, 3, 1], [0, 2, 2, 4], [3, 0, 1, 0]], np.int32)
    with engines.using(engine):
        table = built(Embedding(5, 3, mask_zero=mask_zero, dtype="float64"), (None, 4))
        rnn = built(SimpleRNN(2, dtype="float64"), (None, 4, 3), seed=1)
        dy = np.random.default_rng(6).normal(size=(3, 2))

        def forward():
            x, table_tape = table.forward(ids)
            y, tape = rnn.forward(x, table.compute_mask(ids, None))
            return y, table_tape, tape

        def loss():
            return float((forward()[0] * dy).sum())

        _, table_tape, tape = forward()
        for parameter in (*table.parameters, *rnn.parameters):
            parameter.grad[...] = 0
        dx = rnn.backward(tape, dy)
        assert dense_gradient(dx, (5, 3)).shape == (5, 3)
        table.backward(table_tape, dx)
        for parameter in (*table.parameters, *rnn.parameters):
            assert_gradient(parameter.grad, loss, parameter.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_embedding_alone_gradient(engine):
    ids = np.array([[0, 1, 1], [4, 0, 2]])
    with engines.using(engine):
        check_gradients(built(Embedding(5, 3, dtype="float64"), (None, 3)), ids)


# -- what Keras users expect ----------------------------------------------------


def test_a_masked_row_is_the_same_as_a_short_one():
    rng = np.random.default_rng(0)
    layer = built(SimpleRNN(4), (None, 6, 3))
    x = rng.normal(size=(1, 6, 3)).astype(np.float32)
    mask = np.array([[False, True, False, True, True, False]])
    np.testing.assert_allclose(layer(x, mask=mask), layer(x[:, mask[0]]), atol=1e-6)


def test_integer_inputs_of_any_kind_are_accepted():
    layer = built(Embedding(7, 2), (None, 3))
    ids = np.array([[1, 2, 3], [4, 5, 6]])
    expected = layer(ids)
    for dtype in ("int8", "uint8", "int64", ">i4", "float32", "float64"):
        np.testing.assert_array_equal(layer(ids.astype(dtype)), expected)
    frozen = ids.astype(np.int32)
    frozen.flags.writeable = False
    np.testing.assert_array_equal(layer(frozen), expected)
    np.testing.assert_array_equal(layer(np.asfortranarray(ids)), expected)
    np.testing.assert_array_equal(layer(ids.tolist()), expected)


def test_float_inputs_of_any_kind_are_accepted():
    layer = built(SimpleRNN(3), (None, 4, 2))
    x = np.random.default_rng(0).normal(size=(5, 4, 2)).astype(np.float32)
    expected = layer(x)
    for given in (x.astype(float), x.astype(">f4"), np.asfortranarray(x), x.tolist()):
        np.testing.assert_allclose(layer(given), expected, atol=1e-6)
    np.testing.assert_array_equal(layer(x[::2]), layer(x[::2].copy()))


@pytest.mark.parametrize(("ids", "error", "message"), [
    ([[7]], IndexError, r"token id 7 .*0 to 6 \(input_dim=7\)"),
    ([[-1]], IndexError, "token id -1"),
    ([[2**40]], IndexError, "token id"),
    ([[0.5]], ValueError, "whole numbers"),
    ([["a"]], ValueError, "array of ids"),
    ([[float("nan")]], ValueError, "whole numbers"),
])  # fmt: skip
def test_bad_ids(ids, error, message):
    with pytest.raises(error, match=message):
        Embedding(7, 2)(np.array(ids))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: SimpleRNN(0), "units must be a positive whole number; got 0"),
    (lambda: SimpleRNN(2.5), "units"),
    (lambda: Dense(-1), "units"),
    (lambda: Embedding(0, 3), "input_dim"),
    (lambda: Dropout(1.5), r"rate must lie in \[0, 1\]; got 1.5"),
    (lambda: Dense(1, "sigmoidd"), "Did you mean 'sigmoid'"),
    (lambda: Dense(1, dtype="float16"), "dtype"),
])  # fmt: skip
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_shapes_name_the_layer_and_the_shape():
    rnn = SimpleRNN(3, name="reader")
    with pytest.raises(ValueError, match=r"'reader'.*\(batch, steps, features\)"):
        rnn(np.ones((2, 5)))
    rnn = built(SimpleRNN(3, name="reader"), (None, 5, 2))
    with pytest.raises(ValueError, match=r"'reader'.*2 entries.*\(4, 5, 3\)"):
        rnn(np.ones((4, 5, 3)))
    with pytest.raises(ValueError, match=r"mask of shape \(4, 5\).*\(4, 6\)"):
        rnn(np.ones((4, 5, 2)), mask=np.ones((4, 6), bool))
    with pytest.raises(ValueError, match=r"initial_state.*\(4, 3\).*\(4, 2\)"):
        rnn(np.ones((4, 5, 2)), initial_state=np.ones((4, 2)))
    with pytest.raises(ValueError, match="width"):
        Dense(3).build((None, None))


def test_set_weights_refuses_other_shapes_and_changes_nothing():
    layer = built(Dense(2), (None, 3))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        layer.set_weights([np.zeros((2, 3)), np.zeros(2)])
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    now = layer.get_weights()
    now[0][...] = 9  # a copy
    assert not (layer.get_weights()[0] == 9).any()


@pytest.mark.parametrize("layer", [
    Embedding(5, 3, mask_zero=True), Dense(2, "relu", kernel_regularizer="l2"),
    Dropout(0.25, seed=3),
    SimpleRNN(4, "relu", go_backwards=True, dropout=0.1, recurrent_initializer="glorot_normal"),
    Masking(2.0), Activation("softmax"),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_config_round_trip(layer):
    config = json.loads(json.dumps(layer.get_config()))
    assert type(layer).from_config(config).get_config() == layer.get_config()


def test_dropout_drops_in_training_only_and_keeps_the_mean():
    layer = Dropout(0.3, seed=1)
    x = np.ones((100, 100), np.float32)
    np.testing.assert_array_equal(layer(x), x)
    y = layer(x, training=True)
    assert 0.68 < (y > 0).mean() < 0.72
    assert y.mean() == pytest.approx(1, abs=0.03)
    assert not (layer(x, training=True) == y).all()


def test_weights_are_added_in_the_words_of_keras():
    layer = Dense(2)
    first = layer.add_weight((2, 3), "ones")
    layer.add_weight(shape=(4,), initializer="zeros", trainable=False, name="offset")
    layer.add_weight(dtype="float32")
    assert [p.name for p in layer.weights] == ["variable", "offset", "variable_1"]
    assert [p.shape for p in layer.weights] == [(2, 3), (4,), ()]
    assert [p.name for p in layer.trainable_weights] == ["variable", "variable_1"]
    assert first.value.tolist() == [[1] * 3] * 2
    with pytest.raises(ValueError, match="'float32'; got 'float64'"):
        layer.add_weight((2,), dtype="float64")


def test_names_count_up():
    first, second = SimpleRNN(1), SimpleRNN(1)
    assert first.name.startswith("simple_rnn")
    assert first.name != second.name
    assert layers.Dense(1, name="mine").name == "mine"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mask", [None, "post"])
def test_without_tapes_the_output_is_the_same(engine, sequences, mask):
    rng = np.random.default_rng(0)
    layer = built(SimpleRNN(5, return_sequences=sequences), (None, 9, 3))
    x = rng.normal(size=(20, 9, 3)).astype(np.float32)
    if mask:
        mask = np.arange(9) < rng.integers(0, 10, (20, 1))
    with engines.using(engine):
        expected = layer(x, mask=mask)
        with engines.without_tapes():
            assert not engines.recording()
            np.testing.assert_array_equal(layer(x, mask=mask), expected)
    assert engines.recording()


def test_without_tapes_there_is_no_way_back():
    layer = built(SimpleRNN(5), (None, 9, 3))
    with engines.without_tapes():
        y, tape = layer.forward(np.ones((2, 9, 3), np.float32))
    with pytest.raises(ValueError, match="kept its states"):
        layer.backward(tape, y)


@pytest.mark.parametrize("make, message", [
    (lambda: LSTM(3, return_sequence=True), "LSTM: .*'return_sequence'.*mean 'return_sequences'"),
    (lambda: GRUCell(3, reset_before=True), "GRUCell: .*'reset_before'.*mean 'reset_after'"),
    (lambda: Dense(3, activaton="relu"), "Dense: .*'activaton'.*mean 'activation'"),
    (lambda: Dense(3, init="zeros"), "Dense: there is no argument 'init'[.]$"),
    (lambda: layers.Bidirectional(LSTM(3), mergemode="sum"), "Bidirectional: .*'merge_mode'"),
])
def test_an_argument_that_there_is_not(make, message):
    with pytest.raises(TypeError, match=message):
        make()


@pytest.mark.parametrize("value", [0, -2, 2.5, "3", None, True, float("nan")])
def test_units_that_are_no_count(value):
    with pytest.raises(ValueError, match="units must be a positive whole number"):
        LSTM(value)


@pytest.mark.parametrize("value", [-0.1, 1.5, "a half", None])
def test_fractions_that_are_none(value):
    with pytest.raises(ValueError, match=r"recurrent_dropout must lie in \[0, 1\]"):
        GRU(3, recurrent_dropout=value)


def test_weights_by_keras_names():
    layer = built(layers.BatchNormalization(), (2, 3))
    assert layer.variables == layer.weights
    assert layer.trainable_variables == layer.trainable_weights == layer.weights[:2]
    assert layer.non_trainable_variables == layer.non_trainable_weights == layer.weights[2:]


# -- layers of one's own ---------------------------------------------------------------------------


def test_a_layer_without_a_forward_says_so():
    with pytest.raises(NotImplementedError, match=r"'layer.*\(Layer\): the class has no forward\("):
        layers.Layer()(np.ones((1, 2)))
