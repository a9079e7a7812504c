"""Gradient flow: by finite differences, without side effects; the monitor's warnings; the plot."""

import warnings

import numpy as np
import pytest
from engine_cases import differences

from fastrnn import Sequential, diagnostics, engines, random
from fastrnn.diagnostics import GradientMonitor, GradientWarning, LayerFlow, gradient_flow
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Embedding,
    Flatten,
    GRUCell,
    Input,
    LayerNormalization,
    LSTMCell,
    Masking,
    RecurrentCell,
    SimpleRNN,
)
from fastrnn.models import Model

LAYERS = {"simple_rnn": SimpleRNN, "lstm": LSTM, "gru": GRU}
ROWS, STEPS, WIDTH, UNITS = 3, 5, 2, 3


class Leaky(RecurrentCell):
    """A cell of one's own, written for one step."""

    state_size = UNITS

    def create(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], UNITS), "glorot_uniform", name="kernel")

    def forward(self, x, states, training=False):
        h = states[0] + 0.25 * (x @ self.kernel.value - states[0])
        return h, [h], x

    def backward(self, tape, dy, dstates):
        dh = dy + dstates[0]
        self.kernel.grad += 0.25 * tape.T @ dh
        return 0.25 * dh @ self.kernel.value.T, [0.75 * dh]


def problem(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(ROWS, STEPS, WIDTH)), rng.normal(size=(ROWS, 1))


def compiled(*layers, shape=(None, WIDTH), loss="mse", optimizer="sgd", seed=1):
    """A float64 model with random weights."""
    model = Sequential([Input(shape), *layers], dtype="float64")
    rng = np.random.default_rng(seed)
    model.set_weights([0.5 * rng.normal(size=w.shape) for w in model.get_weights()])
    model.compile(optimizer, loss)
    return model


class Nudged:
    """A layer run step by step, with a little added to one state after each step."""

    def __init__(self, layer, x):
        self.cell, self.x = layer.cell, x
        self.nudges = [np.zeros((*x.shape[:2], size)) for size in self.cell.state_sizes]

    def outputs(self):
        states = self.cell.get_initial_state(len(self.x))
        outputs = []
        for t in range(self.x.shape[1]):
            _, states, _ = self.cell.forward(np.ascontiguousarray(self.x[:, t]), states)
            states = [s + nudge[:, t] for s, nudge in zip(states, self.nudges, strict=True)]
            outputs.append(states[0])
        return np.stack(outputs, axis=1)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("kind", [*LAYERS, "leaky"])
def test_is_the_total_derivative_by_each_state(engine, kind, sequences):
    x, y = problem()
    if sequences:
        y = np.random.default_rng(2).normal(size=(ROWS, STEPS, 1))
    own = {"return_sequences": sequences, "dtype": "float64"}
    cell = Leaky(dtype="float64") if kind == "leaky" else None
    layer = RNN(cell, **own) if cell else LAYERS[kind](UNITS, **own)
    with engines.using(engine):
        model = compiled(layer, Dense(1, dtype="float64"))
        flow = gradient_flow(model, x, y)
        nudged = Nudged(layer, x)
        W, b = model.layers[1].get_weights()

        def loss():
            h = nudged.outputs()
            return np.square((h if sequences else h[:, -1]) @ W + b - y).mean()

        found = flow[layer.name]
        assert abs(flow.loss - loss()) < 1e-12
        for rows, norms, nudge in zip(found.rows, found.state_norms, nudged.nudges, strict=True):
            gradient = differences(loss, nudge)
            np.testing.assert_allclose(rows, np.linalg.norm(gradient, axis=2), atol=1e-8)
            np.testing.assert_allclose(norms, np.linalg.norm(gradient, axis=(0, 2)), atol=1e-8)


@pytest.mark.parametrize("options", [
    {}, {"return_sequences": True}, {"return_sequences": True, "zero_output_for_mask": True},
    {"go_backwards": True}, {"go_backwards": True, "return_sequences": True},
], ids=lambda options: ",".join(options) or "plain")  # fmt: skip
@pytest.mark.parametrize("kind", LAYERS)
def test_steps_that_do_not_count_are_passed_over(kind, options):
    """Each row gives what it gives alone, without its masked steps."""
    x, y = problem()
    if options.get("return_sequences"):
        y = np.random.default_rng(2).normal(size=(ROWS, STEPS, 1))
    counts = np.array([[0, 1, 1, 0, 1], [1, 1, 1, 0, 0], [0, 0, 1, 1, 1]], bool)
    x[~counts] = 0
    layer = LAYERS[kind](UNITS, dtype="float64", **options)
    model = compiled(Masking(dtype="float64"), layer, Dense(1, dtype="float64"), loss="mse")
    flow = gradient_flow(model, x, y)[layer.name]
    assert (flow.counts == counts).all()
    for row, own in enumerate(counts):
        weights = np.zeros(ROWS)
        weights[row] = 1
        whole = gradient_flow(model, x, y, sample_weight=weights)[layer.name]
        if not options.get("return_sequences"):
            # The mean over one row, not ROWS: a gradient so many times as large.
            alone = gradient_flow(model, x[row : row + 1, own], y[row : row + 1])[layer.name]
            np.testing.assert_allclose(alone.rows[0][0] / ROWS, flow.rows[0][row, own], atol=1e-12)
        np.testing.assert_allclose(whole.rows[0][row], flow.rows[0][row], atol=1e-12)
        assert (flow.rows[0][row, ~own] == 0).all()
        if len(options) < 2:  # a sequence read backwards stays so, and meets the mask as it was
            assert (flow.rows[0][row, own] > 0).all()


@pytest.mark.parametrize("counts", [
    [[1, 1, 1, 0, 0], [0, 1, 0, 1, 0], [1, 1, 1, 1, 1]],
    [[1, 1, 1, 0, 0], [0, 1, 1, 1, 0], [0, 0, 0, 0, 0]],
], ids=["holes", "runs"])  # fmt: skip
@pytest.mark.parametrize("zero_output_for_mask", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_outputs_shown_again_count_at_the_step_that_made_them(kind, zero_output_for_mask, counts):
    x, y = problem()
    counts = np.array(counts, bool)
    x[~counts] = 0
    layer = LAYERS[kind](
        UNITS, return_sequences=True, zero_output_for_mask=zero_output_for_mask, dtype="float64"
    )
    model = compiled(
        Masking(dtype="float64"), layer, Flatten(dtype="float64"), Dense(1, dtype="float64"),
        shape=(STEPS, WIDTH),
    )
    flow = gradient_flow(model, x, y)[layer.name]
    W, b = model.layers[-1].get_weights()
    for row, own in enumerate(counts):
        if not own.any():
            continue
        nudged = Nudged(layer, x[row : row + 1, own])
        shown = np.cumsum(own) - 1  # the output of which step that counts

        def loss(nudged=nudged, shown=shown, own=own, row=row):
            h = nudged.outputs()[0][np.maximum(shown, 0)]
            h[~own if zero_output_for_mask else shown < 0] = 0
            return float(np.square(h.reshape(-1) @ W + b - y[row]).sum()) / ROWS

        gradient = differences(loss, nudged.nudges[0])[0]
        np.testing.assert_allclose(
            flow.rows[0][row, own], np.linalg.norm(gradient, axis=1), atol=1e-8
        )


@pytest.mark.parametrize("go_backwards", [False, True])
def test_steps_back_are_counted_from_the_end_of_each_row(go_backwards):
    norms = np.array([[0.0, 3, 0, 4, 5], [1, 2, 0, 0, 0], [0, 0, 0, 0, 0]])
    flow = LayerFlow("it", "LSTM", [norms], norms > 0, go_backwards)
    ends = [[3, 1], [4, 2], [5]] if go_backwards else [[5, 2], [4, 1], [3]]
    expected = [np.sqrt(np.mean(np.square(end))) for end in ends]
    np.testing.assert_allclose(flow.steps_back, expected)
    nothing = LayerFlow("it", "LSTM", [0 * norms], norms > 9)
    assert (len(nothing.steps_back), nothing.reach) == (0, 0)
    assert nothing.decay == nothing.growth == 1


def test_parameters_have_the_gradients_of_training():
    x, y = problem()
    layers = [
        LSTM(UNITS, return_sequences=True, dtype="float64", kernel_regularizer="l2"),
        LayerNormalization(dtype="float64"), GRU(UNITS, dtype="float64"), Dense(1, dtype="float64"),
    ]
    model = compiled(*layers)
    flow = gradient_flow(model, x, y)
    before = model.get_weights()
    model.optimizer.learning_rate = 1.0
    model.train_on_batch(x, y)
    for weight, old, (path, norm) in zip(
        model.weights, before, flow.parameters.items(), strict=True
    ):
        assert path == weight.path
        np.testing.assert_allclose(norm, np.linalg.norm(weight.numpy() - old), rtol=1e-6)
    assert flow.global_norm == pytest.approx(np.linalg.norm(list(flow.parameters.values())))


def test_nothing_is_changed():
    random.set_random_seed(1)
    x, y = problem()
    layer = GRU(UNITS, dropout=0.5, recurrent_dropout=0.5, stateful=True, dtype="float64")
    model = compiled(layer, Dense(1, dtype="float64"), optimizer="adam")
    model.fit(x, y, epochs=2, verbose=0, batch_size=ROWS)
    for parameter in model.parameters:
        parameter.grad[...] = 7
    grads = [p.grad for p in model.parameters]
    methods = set(vars(layer)), set(vars(layer.cell))

    def everything():
        streams = [(s.seed, s.calls) for s in random.streams_of(model)]
        arrays = [*model.get_weights(), *(p.grad.copy() for p in model.parameters), *layer.states]
        return streams, repr(model.optimizer.state()), np.random.get_state()[1].tolist(), arrays

    before = everything()
    gradient_flow(model, x, y)
    after = everything()
    assert before[:3] == after[:3]
    for a, b in zip(before[3], after[3], strict=True):
        np.testing.assert_array_equal(a, b)
    assert all(p.grad is g for p, g in zip(model.parameters, grads, strict=True))
    assert methods == (set(vars(layer)), set(vars(layer.cell)))


def test_all_recurrent_layers_are_found_wherever_they_are():
    ids = np.random.default_rng(0).integers(0, 7, (ROWS, STEPS))
    model = Sequential([
        Embedding(7, 4, mask_zero=True),
        Bidirectional(LSTM(UNITS, return_sequences=True), name="both"),
        Sequential([RNN([LSTMCell(4, name="low"), GRUCell(3, name="high")],
                        return_sequences=True, name="stack")]),
        SimpleRNN(2, name="top"), Dense(1),
    ])  # fmt: skip
    model.compile("sgd", "mse")
    flow = gradient_flow(model, ids, np.zeros((ROWS, 1)))
    names = list(flow.layers)
    assert names[0].startswith("forward_") and names[1].startswith("backward_")
    assert names[2:] == ["stack/low", "stack/high", "top"]
    assert not flow[names[0]].go_backwards and flow[names[1]].go_backwards
    for name in names:
        assert (flow[name].counts == (ids != 0)).all()
        assert (flow[name].norms[(ids != 0).any(axis=0)] > 0).all()


@pytest.mark.parametrize("kind", LAYERS)
def test_states_handed_over_carry_the_gradient(kind):
    """A layer that goes on from its own last states is that layer over all the steps."""
    x, y = problem()
    layer = LAYERS[kind](UNITS, return_state=True, dtype="float64", name="both")
    head = Dense(1, dtype="float64")
    whole = Input((STEPS, WIDTH), dtype="float64")
    output, *_ = layer(whole)
    model = Model(whole, head(output))
    model.compile("sgd", "mse")
    first, second = Input((2, WIDTH), dtype="float64"), Input((3, WIDTH), dtype="float64")
    _, *states = layer(first)
    output, *_ = layer(second, initial_state=states)
    parts = Model([first, second], head(output))
    parts.compile("sgd", "mse")
    expected = gradient_flow(model, x, y)
    found = gradient_flow(parts, [x[:, :2], x[:, 2:]], y)
    assert list(found.layers) == ["both", "both_1"]
    for i, rows in enumerate(expected["both"].rows):
        joined = np.concatenate([found["both"].rows[i], found["both_1"].rows[i]], axis=1)
        np.testing.assert_allclose(joined, rows, rtol=1e-9, atol=1e-14)
    assert found.parameters == pytest.approx(expected.parameters)


@pytest.mark.parametrize("kind", LAYERS)
def test_layers_that_recompute_their_states_show_the_same(kind):
    x, y = problem()
    flows = []
    for recompute in (False, 2):
        layer = LAYERS[kind](UNITS, recompute=recompute, dtype="float64", name="it")
        flows.append(gradient_flow(compiled(layer, Dense(1, dtype="float64")), x, y))
        assert layer.recompute == recompute
    np.testing.assert_allclose(flows[1]["it"].rows, flows[0]["it"].rows, rtol=1e-12)
    norms = [list(flow.parameters.values()) for flow in flows]
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-12)


@pytest.mark.parametrize("scale, kind", [(0.05, "vanishing"), (2.5, "exploding"), (1.0, None)])
def test_findings_say_what_is_wrong_and_what_to_try(scale, kind):
    x, y = problem()
    x = np.repeat(x, 4, axis=1)
    layer = SimpleRNN(
        UNITS, activation="linear", name="plain", recurrent_initializer="glorot_uniform"
    )
    model = Sequential([Input((None, WIDTH)), layer, Dense(1)])
    kernel, recurrent, bias = layer.get_weights()
    layer.set_weights([kernel, scale * np.eye(UNITS), bias])
    model.compile("sgd", "mse")
    flow = gradient_flow(model, x, y)
    back = flow["plain"].steps_back
    np.testing.assert_allclose(back[1:] / back[:-1], scale, rtol=1e-5)
    if kind is None:
        assert flow.findings() == []
        assert flow["plain"].reach == 20
        return
    [text] = flow.findings()
    for word in ("'plain'", kind[:6], "LSTM or GRU", "orthogonal", "shorter"):
        assert word in text
    assert ("clipnorm" in text) == ("truncate" in text) == (kind == "exploding")
    if kind == "vanishing":
        assert flow["plain"].reach == 3  # 1, 0.05, 0.0025, and then 0.000125
        assert "beyond 3 steps" in text


def test_a_gradient_that_is_no_number_is_found():
    x, y = problem()
    x = np.repeat(x, 60, axis=1)
    layer = SimpleRNN(UNITS, activation="linear")
    model = Sequential([Input((None, WIDTH)), layer, Dense(1)])
    kernel, recurrent, bias = layer.get_weights()
    layer.set_weights([kernel, 1e3 * recurrent, bias])
    model.compile("sgd", "mse")
    flow = gradient_flow(model, x.astype("float32"), y)
    assert not flow[layer.name].finite
    assert "no finite number" in flow.findings()[0]


def test_advice_for_gated_layers_is_another():
    x, y = problem()
    layer = LSTM(UNITS)
    model = Sequential([Input((None, WIDTH)), layer, Dense(1)])
    layer.set_weights([np.zeros_like(w) for w in layer.get_weights()])  # forgets half a step
    model.compile("sgd", "mse")
    [text] = gradient_flow(model, np.repeat(x, 8, axis=1), y).findings()
    assert "bias" in text and "LSTM or GRU" not in text and "orthogonal" not in text


def test_the_monitor_looks_now_and_then_and_warns_once():
    x, y = problem()
    x = np.repeat(x, 4, axis=1)
    layer = SimpleRNN(UNITS, name="plain")
    model = Sequential([Input((None, WIDTH)), layer, Dense(1)])
    kernel, recurrent, bias = layer.get_weights()
    layer.set_weights([kernel, 0.01 * recurrent, bias])
    model.compile("sgd", "mse")
    monitor = GradientMonitor(x, y, every=2)
    with pytest.warns(GradientWarning, match="After 1 batches: Layer 'plain'.*vanishes") as caught:
        model.fit(x, y, batch_size=1, epochs=2, verbose=0, callbacks=[monitor])
    assert len(caught) == 1
    assert [batches for batches, _ in monitor.history] == [1, 3, 5]
    with pytest.warns(GradientWarning):  # a new fit, a new warning
        model.fit(x, y, batch_size=3, verbose=0, callbacks=[monitor])
    assert len(monitor.history) == 1


def test_the_monitor_changes_nothing_of_the_training():
    x, y = problem()

    def trained(**options):
        random.set_random_seed(4)
        layer = GRU(UNITS, dropout=0.3, recurrent_dropout=0.3)
        model = Sequential([Input((None, WIDTH)), layer, Dense(1)])
        model.compile("adam", "mse", metrics=["mae"])
        history = model.fit(x, y, batch_size=2, epochs=3, verbose=0, **options)
        return model.get_weights(), history.history

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights, history = trained(callbacks=[GradientMonitor(x[:2], y[:2], every=1)])
    plain_weights, plain_history = trained()
    assert history == plain_history
    for a, b in zip(weights, plain_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_summary_and_plot(tmp_path, capsys):
    from matplotlib.figure import Figure

    x, y = problem()
    model = Sequential([
        Input((None, WIDTH)), LSTM(UNITS, return_sequences=True, name="low"),
        GRU(UNITS, name="high"), Dense(1, name="out"),
    ])  # fmt: skip
    model.compile("sgd", "mse")
    flow = gradient_flow(model, x, y)
    flow.summary()
    text = capsys.readouterr().out
    for word in ("low (LSTM)", "high (GRU)", "low/recurrent_kernel", "out/bias", "reach"):
        assert word in text
    flow.plot(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").read_bytes().startswith(b"\x89PNG")
    axes = Figure().subplots()
    flow.plot(axes)
    assert [line.get_label() for line in axes.lines] == ["low", "high"]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), flow["high"].norms)
    assert axes.get_yscale() == "log"
    with pytest.raises(ValueError, match="flow.abc"):
        flow.plot(tmp_path / "flow.abc")


def test_bad_input():
    x, y = problem()
    model = Sequential([Input((WIDTH,)), Dense(1)])
    with pytest.raises(ValueError, match="compile"):
        gradient_flow(model, x[:, 0], y)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no recurrent layer"):
        gradient_flow(model, x[:, 0], y)
    with pytest.raises(ValueError, match="every"):
        GradientMonitor(x, y, every=0)
    assert set(diagnostics.__all__) >= {"gradient_flow", "GradientMonitor"}
