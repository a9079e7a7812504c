"""Streams: as predict on the steps so far, states in the caller's hand, no arrays made a step."""

import gc
import tracemalloc

import numpy as np
import pytest

from fastrnn import Sequential, engines
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Activation,
    Add,
    BatchNormalization,
    Bidirectional,
    Concatenate,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GaussianDropout,
    GaussianNoise,
    GlobalAveragePooling1D,
    GRUCell,
    Identity,
    Input,
    LayerNormalization,
    LSTMCell,
    Masking,
    RecurrentCell,
    RepeatVector,
    SimpleRNN,
    SpatialDropout1D,
    TimeDistributed,
)
from fastrnn.models import Model

ENGINES = ("reference", "cpu")
ROWS, STEPS, WIDTH = 3, 6, 2


class Leaky(RecurrentCell):
    """A cell of one's own whose output is not its state."""

    state_size = 3

    def create(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 3), "glorot_uniform", name="kernel")

    def forward(self, x, states, training=False):
        h = states[0] + 0.25 * (x @ self.kernel.value - states[0])
        return 2 * h + 1, [h], x


def randomised(*layers, shape=(None, WIDTH), dtype="float64"):
    """A model with random weights, biases too."""
    model = Sequential([Input(shape), *layers], dtype=dtype)
    rng = np.random.default_rng(1)
    model.set_weights([rng.random(w.shape) - 0.4 for w in model.get_weights()])
    return model


def steps(seed=0):
    return np.random.default_rng(seed).normal(size=(ROWS, STEPS, WIDTH))


def assert_like_predict(model, x, atol=1e-12):
    """After each step what `predict` gives for all steps so far: of sequences the last."""
    stream = model.stream(len(x))
    sequences = len(model.output_shape) == 3 and model.output_shape[1] is None
    for t in range(x.shape[1]):
        y = stream(x[:, t])
        expected = model(x[:, : t + 1])
        np.testing.assert_allclose(y, expected[:, -1] if sequences else expected, atol=atol)
    return stream


LAYERS = {
    "simple_rnn": lambda **options: SimpleRNN(3, **options),
    "relu": lambda **options: SimpleRNN(3, activation="relu", **options),
    "gelu": lambda **options: SimpleRNN(3, activation="gelu", **options),
    "lstm": lambda **options: LSTM(3, **options),
    "gru": lambda **options: GRU(3, **options),
    "gru_reset_before": lambda **options: GRU(3, reset_after=False, **options),
    "gru_without_bias": lambda **options: GRU(3, use_bias=False, **options),
    "stack": lambda **options: RNN([LSTMCell(4, dtype="float64"), GRUCell(3, dtype="float64")],
                                   **options),
    "leaky": lambda **options: RNN(Leaky(dtype="float64"), **options),
}  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("options", [
    {}, {"return_sequences": True}, {"return_sequences": True, "zero_output_for_mask": True},
    {"zero_output_for_mask": True}, {"dropout": 0.5, "stateful": True},
], ids=lambda options: ",".join(options) or "plain")  # fmt: skip
@pytest.mark.parametrize("kind", LAYERS)
def test_recurrent_layers(engine, kind, options, masked):
    if kind in ("stack", "leaky") and "dropout" in options:
        options = {"stateful": True}
    x = steps()
    before = []
    if masked:
        x[[0, 0, 1, 2, 2], [0, 3, 5, 1, 2]] = 0
        before = [Masking(dtype="float64")]
    with engines.using(engine):
        layer = LAYERS[kind](dtype="float64", **options)
        model = randomised(*before, layer)
        layer.stateful = False  # so that predict starts from zeros, as a stream does
        assert_like_predict(model, x)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("layers", [
    lambda: [SimpleRNN(3, return_sequences=True), LSTM(4), Dense(2, activation="softmax")],
    lambda: [GRU(3, return_sequences=True), Dropout(0.5), GRU(3, return_sequences=True),
             SpatialDropout1D(0.5), Dense(2, activation="sigmoid")],
    lambda: [GaussianNoise(0.5), GRU(3, return_sequences=True), GaussianDropout(0.5), Identity(),
             GRU(3), GaussianNoise(0.5)],
    lambda: [Dense(4, activation="relu"), LayerNormalization(), GRU(3), Dropout(0.5), Dense(1)],
    lambda: [BatchNormalization(), Activation("tanh"), LSTM(3, return_sequences=True),
             TimeDistributed(Dense(2)), Activation("softmax")],
    lambda: [Sequential([GRU(3, return_sequences=True)]), Sequential([LSTM(2), Dense(2)])],
    lambda: [LSTM(3), RepeatVector(4), GRU(2, return_sequences=True), Dense(2)],
    lambda: [Masking(), Dense(3), GRU(3, return_sequences=True), LSTM(3), LayerNormalization()],
    lambda: [Masking(), TimeDistributed(Dense(3)), Dropout(0.5), LayerNormalization(), GRU(3)],
    lambda: [Masking(mask_value=0.5), Dense(2)],
])  # fmt: skip
def test_chains(engine, layers):
    x = steps()
    x[0, 2] = x[1, 0] = 0
    x[2, 3] = 0.5
    with engines.using(engine):
        assert_like_predict(randomised(*layers(), dtype="float32"), x, atol=1e-6)


@pytest.mark.parametrize("mask_zero", [False, True])
def test_ids(mask_zero):
    ids = np.random.default_rng(0).integers(0, 4, (ROWS, STEPS))
    model = randomised(
        Embedding(4, 3, mask_zero=mask_zero), GRU(3, return_sequences=True), LSTM(2), Dense(1),
        shape=(None,), dtype="float32",
    )
    stream = assert_like_predict(model, ids, atol=1e-6)
    with pytest.raises(IndexError, match="token id 4"):
        stream(np.array([0, 4, 1], np.int32))


def test_states_can_be_taken_out_and_put_back():
    x = steps()
    model = randomised(LSTM(3, return_sequences=True, name="low"), GRU(2, name="high"))
    stream = model.stream(ROWS)
    for t in range(3):
        stream(x[:, t])
    kept = stream.state
    assert {name: [a.shape for a in s] for name, s in kept.items()} == {
        "low": [(ROWS, 3), (ROWS, 3)], "high": [(ROWS, 2)]
    }
    copies = {name: [a.copy() for a in s] for name, s in kept.items()}
    expected = [stream(x[:, t]) for t in range(3, STEPS)]
    for name, arrays in kept.items():  # what was handed out is the caller's own
        for a, b in zip(arrays, copies[name], strict=True):
            np.testing.assert_array_equal(a, b)
    other = model.stream(ROWS)
    other.state = kept
    for t, y in zip(range(3, STEPS), expected, strict=True):
        np.testing.assert_array_equal(other(x[:, t]), y)
    for a, b in zip(kept["low"], copies["low"], strict=True):  # and stays it when put back
        np.testing.assert_array_equal(a, b)
    for wrong in ({}, {"low": kept["low"]}, kept | {"high": [np.zeros((1, 2))]}):
        before = other.state
        with pytest.raises(ValueError, match="expected arrays of shapes .*'low'"):
            other.state = wrong
        np.testing.assert_array_equal(other.state["low"][0], before["low"][0])


@pytest.mark.parametrize("rows", [None, 1, [0, 2], np.array([True, False, True])])
def test_rows_start_anew(rows):
    x = steps()
    model = randomised(SimpleRNN(3, return_sequences=True), LSTM(2))
    stream, untouched = model.stream(ROWS), model.stream(ROWS)
    for t in range(3):
        stream(x[:, t])
        untouched(x[:, t])
    stream.reset(rows)
    chosen = np.zeros(ROWS, bool)
    chosen[slice(None) if rows is None else rows] = True
    fresh = model.stream(ROWS)
    y = stream(x[:, 3])
    expected = np.where(chosen[:, None], fresh(x[:, 3]), untouched(x[:, 3]))
    np.testing.assert_allclose(y, expected, atol=1e-14)


def test_the_model_is_as_before():
    x = steps()
    model = randomised(GRU(3, stateful=True, dropout=0.5, seed=1), Dense(1))
    before = model.get_weights()
    stream = model.stream(ROWS)
    first = stream(x[:, 0])
    second = first.copy()
    stream(x[:, 1])
    np.testing.assert_array_equal(first, second)  # an output is the caller's own
    assert model.layers[0].states is None
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_in_between_has_its_effect():
    x, y = steps(), np.ones((ROWS, 1))
    model = randomised(GRU(3), Dense(1))
    model.compile("sgd", "mse")
    stream = model.stream(ROWS)
    before = stream(x[:, 0])
    model.fit(x, y, verbose=0)
    stream.reset()
    after = stream(x[:, 0])
    assert np.abs(after - before).max() > 1e-4
    np.testing.assert_allclose(after, model(x[:, :1]), atol=1e-6)


@pytest.mark.parametrize("kind", ["simple_rnn", "lstm", "gru"])
def test_no_arrays_are_made_in_a_step(kind):
    rows, units = 64, 64  # an array of states has 16 KB
    first = {"simple_rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}[kind]
    model = Sequential([
        Input((None,)), Embedding(10, units, mask_zero=True), first(units, return_sequences=True),
        first(units), Dense(units, activation="softmax"),
    ])  # fmt: skip
    stream = model.stream(rows)
    ids = np.arange(rows, dtype=np.int32) % 10
    out = np.empty((rows, units), np.float32)
    gc.collect()
    gc.disable()  # a collection gives up what Python keeps of freed objects, which is then new
    tracemalloc.start()
    try:
        for _ in range(60):  # and it keeps something of code that runs for the first time
            stream(ids, out=out)
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(20):
            assert stream(ids, out=out) is out
        after, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
        gc.enable()
    assert peak - before < 8192 and after - before < 2048


def test_functional_chains_and_layers_used_twice():
    x = steps()
    layer = GRU(WIDTH, return_sequences=True, name="twice", dtype="float64")
    source = Input((None, WIDTH), dtype="float64")
    inner = Sequential([Input((None, WIDTH)), LSTM(3, dtype="float64")], dtype="float64")
    model = Model(source, Dense(2, dtype="float64")(inner(layer(layer(source)))))
    stream = assert_like_predict(model, x)
    assert list(stream.state)[:2] == ["twice", "twice_1"]


def test_graphs_that_are_no_chain_are_refused():
    a, b = Input((None, WIDTH)), Input((None, WIDTH))
    layer, state_layer = GRU(3, name="read", return_sequences=True), GRU(3, return_state=True)
    y = layer(a)
    graphs = [
        (Model([a, b], Add(name="sum")([a, b])), "'sum' has other or more inputs"),
        (Model(a, Concatenate(name="both")([a, y])), "'both' has other or more inputs"),
        (Model(a, [y, Dense(2)(y)]), "expected one output"),
        (Model(a, state_layer(a)), "more outputs"),
    ]
    for model, match in graphs:
        with pytest.raises(ValueError, match=f"is no chain.*{match}"):
            model.stream()


def test_layers_that_cannot_stream_are_named():
    def refused(*layers, match, shape=(4, WIDTH)):
        model = randomised(*layers, shape=shape)
        with pytest.raises(ValueError, match=match):
            model.stream()

    both = Bidirectional(GRU(3, return_sequences=True), name="both")
    refused(both, match=r"'both' \(Bidirectional\) cannot take one step.*both ends")
    refused(GRU(3, go_backwards=True, name="back"), match="'back' .GRU.*last to the first")
    for layer in (GlobalAveragePooling1D(name="it"), Flatten(name="it")):
        refused(GRU(3, return_sequences=True), layer, match="'it'.*all steps together")
    refused(LayerNormalization(axis=[1, 2], name="it"), match="'it'.*that of the steps")
    refused(Dense(3, name="it"), match=r"'it'.*no axis of steps", shape=(WIDTH,))


def test_bad_input():
    model = randomised(GRU(3), Dense(1))
    for wrong in (0, 1.5, True, -2):
        with pytest.raises(ValueError, match="batch_size"):
            model.stream(wrong)
    with pytest.raises(ValueError, match="build"):
        Sequential([GRU(3)]).stream()
    stream = model.stream(2)
    for wrong in ((2, 1, WIDTH), (1, WIDTH), (2, WIDTH + 1), ()):
        with pytest.raises(ValueError, match=r"one step of each row, shape \(2, 2\)"):
            stream(np.zeros(wrong))
    with pytest.raises(ValueError, match="out"):
        stream(np.zeros((2, WIDTH)), out=np.zeros((2, 2)))
