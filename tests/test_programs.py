"""Steps of cells that are compiled to programs: as step by step, on every instruction set."""

import copy
import pickle

import numpy as np
import pytest
from engine_cases import assert_gradient

import fastrnn
from fastrnn import Input, Sequential, _core, engines, layers, ops
from fastrnn.cells import CellSpec
from fastrnn.engines.rare import RareTape
from fastrnn.layers.compiled import Tape
from fastrnn.layers.composite import DrawnCell
from fastrnn.masks import StepMask
from fastrnn.values import Lookup

RNG = np.random.default_rng(11)


class Base(layers.Layer):
    """A cell with weights of each kind, whose step is given."""

    def __init__(self, step, units=3, states=1, output_size=None, **kwargs):
        super().__init__(**kwargs)
        self.step, self.units = step, units
        self.state_size = [units] * states if states > 1 else units
        self.output_size = output_size or units

    def build(self, input_shape):
        width, units = input_shape[-1], self.units
        self.kernel = self.add_weight((width, units), "glorot_uniform", name="kernel")
        self.recurrent = self.add_weight((units, units), "orthogonal", name="recurrent")
        self.wide = self.add_weight((units, 3 * units), "random_normal", name="wide")
        self.bias = self.add_weight((units,), "random_normal", name="bias")
        self.scale = self.add_weight((), "ones", name="scale")
        self.row = self.add_weight((1, units), "random_uniform", name="row")
        self.dense = layers.Dense(units, "tanh", dtype=self.dtype)
        self.lstm, self.gru, self.rnn = (
            cell(units, dtype=self.dtype, bias_initializer="random_normal")
            for cell in (layers.LSTMCell, layers.GRUCell, layers.SimpleRNNCell)
        )
        self.old_gru = layers.GRUCell(units, reset_after=False, dtype=self.dtype)
        self.norm = layers.LayerNormalization(dtype=self.dtype)
        self.thin = layers.Dense(1, "sigmoid", use_bias=False, dtype=self.dtype)

    def call(self, inputs, states):
        return self.step(self, inputs, *states)


def one(f):
    """A step from what gives the new state, which is the output too."""
    def step(cell, x, h):
        h = f(cell, x, h)
        return h, [h]

    return step


def lstm(cell, x, h, c):
    z = ops.concatenate([x @ cell.kernel] * 3, axis=-1) + h @ cell.wide
    i, f, o = ops.split(ops.sigmoid(z), 3, axis=-1)
    c = f * c + i * ops.tanh(z[:, : cell.units])
    h = o * ops.tanh(c)
    return h, [h, c]


def swapped(cell, x, h, c):
    """States that change places, an output that is an old one."""
    return h, [c, ops.tanh(x @ cell.kernel + h * cell.row + cell.scale)]


def of_the_input(cell, x, h):
    """An output and a state without recurrence."""
    y = ops.relu(x @ cell.kernel)
    return y, [ops.sigmoid(y) + 0.0 * h]


def of_one_weight(cell, x, h):
    """A number in arrays of several widths, and a bias behind two products."""
    gate = ops.sigmoid(x[:, :1] * cell.scale)
    u = x @ cell.kernel + cell.bias
    return ops.concatenate([u * cell.scale, gate], axis=-1), [h @ cell.recurrent + cell.bias + u]


def of_weights(cell, x, h):
    """An output that is a weight in each row, a state that stays."""
    return 0.0 * h + cell.bias * cell.scale, [h]


def selu_gates(cell, x, h):
    u = ops.selu(x @ cell.kernel + h @ cell.recurrent)
    gate = cell.thin(h)  # one column, spread
    h = gate * u + (1 - gate) * h
    return ops.concatenate([h, h[:, 1:], gate], axis=-1), [h]


def normalized(cell, x, h):
    h = x @ cell.kernel + h @ cell.recurrent
    h = h - ops.mean(h, axis=-1, keepdims=True)
    h = h / ops.sqrt(ops.sum(ops.square(h), axis=1, keepdims=True) + 0.5)
    return h * cell.row, [h * cell.scale]


def piecewise(cell, x, h):
    u = h + x @ cell.kernel
    h = ops.where(u > 0.1, ops.maximum(u, cell.bias), ops.minimum(0.5 * u, h)) + (u <= h) * 0.1
    return ops.clip(h, -1.0, 0.8), [ops.abs(h) - ops.sign(u) * ops.stop_gradient(u)]


def residual(cell, x, h, c):
    y, states = cell.lstm(x, [h, c])
    return y + x[:, : cell.units], states


def several(cell, x, h, c):
    """Cells of three kinds, one upon another, and norms."""
    y, h = cell.gru(cell.norm(h * cell.row), h)
    y, c = cell.rnn(y + x @ cell.kernel, c)
    return cell.norm(y), [h, c]


def _activated(name):
    return one(lambda cell, x, h: getattr(ops, name)(x @ cell.kernel + 0.5 * h @ cell.recurrent))


STEPS = {
    "plain": (one(lambda cell, x, h: ops.tanh(x @ cell.kernel + h @ cell.recurrent)), {}),
    "leaky": (one(lambda cell, x, h: h + ops.sigmoid(cell.bias)
                  * (ops.tanh(x @ cell.kernel + h @ cell.recurrent) - h)), {}),
    "lstm": (lstm, {"states": 2}), "swapped": (swapped, {"states": 2}),
    "residual": (residual, {"states": 2}), "several": (several, {"states": 2}),
    "gru": (one(lambda cell, x, h: cell.gru(x, h)[0]), {}),
    "old gru": (one(lambda cell, x, h: cell.old_gru(x, h)[0] * cell.row), {}),
    "input": (of_the_input, {}), "passed on": (lambda cell, x, h: (x[:, :3], [x[:, 1:4]]), {}),
    "whole": (lambda cell, x, h: (x @ cell.kernel, [x @ cell.kernel]), {}),
    "turned round": (lambda cell, x, a, b, c: (a, [b, c, a]), {"states": 3}),
    "weights": (of_weights, {}), "one weight": (of_one_weight, {"output_size": 4}),
    "spread": (selu_gates, {"output_size": 6}), "normalized": (normalized, {}),
    "piecewise": (piecewise, {}),
    "dense": (one(lambda cell, x, h: cell.dense(x[:, :3] * h) + cell.dense(h)), {}),
    "products": (one(lambda cell, x, h: (h * cell.row) @ cell.recurrent @ ops.tanh(cell.recurrent)
                     / (2 + ops.square(x @ cell.kernel))), {}),
    "logarithms": (one(lambda cell, x, h: ops.log(1.5 + ops.square(h) + ops.exp(x @ cell.kernel))),
                   {}),
    "divided": (one(lambda cell, x, h: (x @ cell.kernel - h) / (1.5 + cell.bias * cell.bias)
                    / (3 - ops.tanh(h)) ** 2 + ops.zeros_like(h) + 0.5 * ops.ones_like(h)), {}),
    "everything at once": (one(lambda cell, x, h: x[:, 1:4] * h + x[:, :1] - h[:, ::1]), {}),
    "softmax": (one(lambda cell, x, h: ops.softmax(200 * h + x @ cell.kernel)
                    + ops.softmax(x[:, :3]) * ops.softmax(h * cell.row, axis=1)), {}),
    "waves": (one(lambda cell, x, h: ops.sin(3 * h) * ops.cos(x @ cell.kernel - h)), {}),
    "comparisons": (one(lambda cell, x, h: h * (h < 0) + (h >= x[:, :3]) * 0.3 * x[:, 1:4]
                        + ops.cast(ops.equal(h, h), "float32") * x[:, :3]
                        - ops.not_equal(h, x[:, :3]) * 0.1 * h), {}),
} | {
    name: (_activated(name), {}) for name in (
        "relu", "sigmoid", "hard_sigmoid", "relu6", "leaky_relu", "elu", "selu", "softplus",
        "softsign", "silu", "exp",
    )
}  # fmt: skip


def made(name, dtype="float64", units=3, width=5):
    fastrnn.utils.set_random_seed(2)
    step, options = STEPS[name]
    cell = Base(step, **{"units": units} | options, dtype=dtype)
    cell.build((None, width))
    return cell


def masks_of(rows, steps):
    start = RNG.integers(0, steps, rows)
    stop = np.minimum(start + RNG.integers(0, steps + 1, rows), steps)
    return StepMask(start.astype(np.int64), stop.astype(np.int64), steps)


def swept(cell, engine, x, states, options, doutput, dstates):
    """All that a sweep gives there and back, by name."""
    with engines.using(engine):
        for p in cell.parameters:
            p.grad[...] = 0
        y, last, tape = cell.sweep(x, states, **options)
        assert isinstance(tape, Tape) == (engine == "cpu")
        dx, first = cell.sweep_backward(tape, doutput, dstates)
    found = {"y": y, "dx": dx} | {f"state {i}": s for i, s in enumerate(last)}
    found |= {f"dstate {i}": s for i, s in enumerate(first)}
    return found | {p.path: p.grad.copy() for p in cell.parameters}


def assert_as_step_by_step(cell, rows, steps, width, mask, sequences, zeroes, given, tolerance):
    x = RNG.normal(size=(rows, steps, width)).astype(cell.dtype)
    sizes = cell.state_sizes
    states = [RNG.normal(size=(rows, n)).astype(cell.dtype) for n in sizes] if given else None
    y_shape = (rows, steps, cell.output_size) if sequences else (rows, cell.output_size)
    doutput = RNG.normal(size=y_shape).astype(cell.dtype)
    dstates = [RNG.normal(size=(rows, n)).astype(cell.dtype) if given else None for n in sizes]
    options = {"mask": mask, "return_sequences": sequences, "zero_output_for_mask": zeroes}
    found = swept(cell, "cpu", x, states, options, doutput, dstates)
    wanted = swept(cell, "reference", x, states, options, doutput, dstates)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, **tolerance, err_msg=name)
    return found


TIGHT, LOOSE = {"rtol": 1e-10, "atol": 1e-12}, {"rtol": 2e-4, "atol": 2e-5}


@pytest.mark.parametrize("name", STEPS)
def test_as_step_by_step(name, isa):
    assert_as_step_by_step(made(name), 3, 4, 5, None, True, False, True, TIGHT)
    assert_as_step_by_step(made(name, "float32"), 3, 4, 5, None, False, False, False, LOOSE)


@pytest.mark.parametrize("name", ["lstm", "swapped", "spread", "piecewise", "input"])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("zeroes", [False, True])
def test_masks(name, sequences, zeroes):
    for rows in (1, 9, 37):
        mask = masks_of(rows, 6)
        assert_as_step_by_step(made(name), rows, 6, 5, mask, sequences, zeroes, True, TIGHT)


@pytest.mark.parametrize(("units", "width"), [(1, 4), (8, 16), (17, 40), (33, 70), (70, 5)])
def test_widths(units, width, isa):
    for name in ("plain", "lstm", "leaky", "products"):
        cell = made(name, units=units, width=width)
        assert_as_step_by_step(cell, 19, 3, width, None, True, False, True, TIGHT)


def test_no_rows_and_no_steps():
    for rows, steps in ((0, 3), (2, 0)):
        assert_as_step_by_step(made("lstm"), rows, steps, 5, None, True, False, True, TIGHT)


def test_results_do_not_depend_on_threads():
    def run():
        rng = np.random.default_rng(0)
        cell = made("lstm", "float32", units=20)
        x = rng.normal(size=(70, 9, 5)).astype(np.float32)
        doutput = rng.normal(size=(70, 20)).astype(np.float32)
        return [*swept(cell, "cpu", x, None, {}, doutput, [None, None]).values()]

    before, results = _core.get_num_threads(), []
    for threads in (1, 2, 3):
        _core.set_num_threads(threads)
        results.append(run())
    _core.set_num_threads(before)
    for other in results[1:]:
        for value, own in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(own, value)


@pytest.mark.parametrize("name", ["lstm", "spread", "normalized", "several"])
def test_gradients_by_differences(name):
    cell = made(name)
    x = RNG.normal(size=(2, 3, 5))
    dy = RNG.normal(size=(2, 3, cell.output_size))

    def loss():
        return float((cell.sweep(x, None, return_sequences=True)[0] * dy).sum())

    for p in cell.parameters:
        p.grad[...] = 0
    *_, tape = cell.sweep(x, None, return_sequences=True)
    assert isinstance(tape, Tape)
    dx, _ = cell.sweep_backward(tape, dy, [None] * len(cell.state_sizes))
    assert_gradient(dx, loss, x)
    for p in cell.parameters:
        assert_gradient(p.grad, loss, p.value)


def random_step(seed):
    """A step of up to twenty operations that a generator draws."""
    def step(cell, x, h, c):
        rng = np.random.default_rng(seed)
        units = cell.units
        found = [h, c, x[:, :units], x @ cell.kernel, cell.bias, cell.row, x[:, 2 : 2 + units]]
        one = [ops.tanh, ops.sigmoid, ops.relu, ops.silu, ops.softplus, ops.square, ops.negative,
               lambda a: a @ cell.recurrent if len(a.shape) == 2 and a.shape[0] is None else a,
               lambda a: ops.sqrt(ops.square(a) + 0.1), lambda a: 0.5 * a,
               lambda a: ops.mean(a, axis=-1, keepdims=True) + h, ops.stop_gradient,
               lambda a: ops.concatenate([a[:, 1:], a[:, :1]], axis=-1)
               if len(a.shape) == 2 and a.shape[0] is None else a]
        two = [ops.add, ops.subtract, ops.multiply, ops.maximum, ops.minimum,
               lambda a, b: a / (1.5 + ops.square(b)), lambda a, b: ops.where(a > b, a, b * 0.5)]
        for _ in range(rng.integers(3, 20)):
            a, b = (found[i] for i in rng.integers(0, len(found), 2))
            if rng.random() < 0.5:
                found.append(one[rng.integers(len(one))](a))
            else:
                found.append(two[rng.integers(len(two))](a, b))
        y, *states = (ops.tanh(a) + 0.0 * h for a in found[-3:])
        return y, states

    return step


@pytest.mark.parametrize("seed", range(40))
def test_steps_that_are_drawn(seed):
    fastrnn.utils.set_random_seed(4)
    cell = Base(random_step(seed), states=2, units=3, dtype="float64")
    cell.build((None, 5))
    mask = masks_of(10, 4) if seed % 2 else None
    assert_as_step_by_step(cell, 10, 4, 5, mask, bool(seed % 3), False, True, TIGHT)


class Batched(Base):
    """A cell that looks at the rows beside a row."""

    def call(self, inputs, states):
        h = layers.BatchNormalization(dtype=self.dtype)(inputs[:, :3])
        return h, [h + 0.0 * states[0]]


def call_another(cell, x, h):
    """A step that calls a cell of one's own with the input alone."""
    return Batched(None)(x, x[:, :3])[0] + ops.tanh(h), [h]


class Dropped(Base):
    """Draws anew at each step, which no program does."""

    def call(self, inputs, states):
        return super().call(layers.Dropout(0.5, dtype=self.dtype)(inputs), states)


@pytest.mark.parametrize("cell", [
    Dropped(STEPS["plain"][0]), Base(call_another),
    Base(lambda cell, x, h: (layers.GRUCell(3, dropout=0.1)(x)[0] + h, [h])),
    Base(one(lambda cell, x, h: layers.GRUCell(3, dropout=0.1)(x, h)[0])),
    Base(one(lambda cell, x, h: h + layers.SimpleRNNCell(3, dropout=0.1)(x)[0])),
    Base(one(lambda cell, x, h: h * ops.logical_and(h > 0, x[:, :3] > 0))),
    Base(one(lambda cell, x, h: ops.einsum("bh,bh->bh", h, x[:, :3]))),
    Base(one(lambda cell, x, h: ops.clip(h + x[:, :3], np.array([-0.1, -0.2, -0.3]), 0.5))),
    Base(one(lambda cell, x, h: 0.1 * (h * h + 1) ** np.array([2.0, 2, 2]) + x[:, :3])),
    Base(one(lambda cell, x, h: (1 + h * h) ** cell.scale + x[:, :3])),
    Base(one(lambda cell, x, h: layers.Activation("tanh")(h + x[:, :3], mask=x[:, :1]))),
    Base(one(lambda cell, x, h: ops.log_softmax(h + x @ cell.kernel))),
    Base(one(lambda cell, x, h: ops.tan(h) + x @ cell.kernel)),
    Base(one(lambda cell, x, h: layers.Softmax()(h) + x @ cell.kernel)),
    Base(one(lambda cell, x, h: h[:, ::-1] + x @ cell.kernel)),
    Base(one(lambda cell, x, h: layers.Dense(3, activity_regularizer="l2")(h) + x @ cell.kernel)),
    Base(one(lambda cell, x, h: h + layers.BatchNormalization()(x @ cell.kernel))),
    Base(one(lambda cell, x, h: h + ops.squeeze(ops.matmul(
        ops.expand_dims(h, 1), ops.expand_dims(x, -1)[:, :3]), 1))),
])  # fmt: skip
def test_what_goes_step_by_step(cell):
    """There are no instructions for it, and none are needed."""
    cell.build((None, 5))
    assert isinstance(cell, DrawnCell)
    y, _, tape = cell.sweep(RNG.normal(size=(2, 4, 5)).astype(np.float32), None)
    assert not isinstance(tape, Tape) and y.shape == (2, 3)


def test_a_model_is_copied_and_trained():
    fastrnn.utils.set_random_seed(3)
    x, y = RNG.normal(size=(40, 6, 5)), RNG.normal(size=(40, 1))
    cells = [Base(lstm, states=2, units=4), Base(STEPS["leaky"][0], units=2)]
    model = Sequential([Input((6, 5)), layers.RNN(cells), layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, y, verbose=0)
    twin = copy.deepcopy(model)
    for engine, own in (("cpu", model), ("reference", twin)):
        with engines.using(engine):
            own.fit(x, y, epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(
        model.predict(x, verbose=0), twin.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )


def test_the_way_back_twice():
    """From one tape: the same gradients again."""
    cell = made("one weight")
    *_, tape = cell.sweep(RNG.normal(size=(2, 3, 5)), None)
    found = []
    for _ in range(2):
        for p in cell.parameters:
            p.grad[...] = 0
        cell.sweep_backward(tape, np.ones((2, 4)), [None])
        found.append([p.grad.copy() for p in cell.parameters])
    for first, second in zip(*found, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_frozen_weight_and_one_that_moves():
    cell = made("plain")
    x = RNG.normal(size=(2, 3, 5))
    cell.recurrent.trainable = False
    *_, tape = cell.sweep(x, None)
    cell.sweep_backward(tape, np.ones((2, 3)), [None])
    assert (cell.recurrent.grad == 0).all() and (cell.kernel.grad != 0).any()
    before = cell.sweep(x, None)[0]
    cell.recurrent.assign(cell.recurrent.numpy() * 2)
    assert (before != cell.sweep(x, None)[0]).any()


# -- the library's own cells, with activations that have no kernel ---------------------------------


RARE = [
    "silu", "gelu", "mish", "softmax", "hard_silu", "log_sigmoid", "tanh_shrink", "soft_shrink",
    "squareplus", "celu", "hard_tanh",
]  # fmt: skip
CELLS = [("simple_rnn", True), ("lstm", True), ("gru", True), ("gru", False)]


def rare_sweep(engine_name, cell, dtype, masked, sequences, zeroes, looked_up, biased):
    """All that a sweep of an engine gives there and back, a list of arrays."""
    rng = np.random.default_rng(8)
    rows, steps, units, columns = 11, 5, 4, 4 * cell.gates
    xz, U = rng.normal(size=(rows, steps, columns)), rng.normal(size=(units, columns)) / 2
    ids = rng.integers(0, 7, (rows, steps)).astype(np.int32)
    table, bias = rng.normal(size=(7, columns)), rng.normal(size=units)
    states = [rng.normal(size=(rows, units)) for _ in range(cell.states)]
    dy = rng.normal(size=(rows, steps, units))
    dstates = [rng.normal(size=(rows, units)), *[None] * (cell.states - 1)]
    xz, U, table, bias, dy = (a.astype(dtype) for a in (xz, U, table, bias, dy))
    states, dstates = ([a if a is None else a.astype(dtype) for a in own]
                       for own in (states, dstates))  # fmt: skip
    start = rng.integers(0, 3, rows)
    mask = StepMask(start, start + rng.integers(0, 3, rows), steps) if masked else None
    bias = bias if biased else None
    dU, dbias = np.ones_like(U), None if bias is None else np.ones_like(bias)
    with engines.using(engine_name) as engine:
        given = Lookup(ids, table) if looked_up else xz
        y, last, tape = engine.recurrent(
            cell, given, U, states, mask, sequences, zeroes, True, bias
        )
        assert isinstance(tape, RareTape) == (engine_name == "cpu")
        dxz, first = engine.recurrent_backward(
            tape, U, dy if sequences else None, dstates, dU, dbias=dbias
        )
    found = [y, *last, *first, dU, dbias, *(dxz if looked_up else [dxz])]
    return [a for a in found if a is not None]


@pytest.mark.parametrize("activation", RARE)
@pytest.mark.parametrize(("kind", "reset_after"), CELLS)
def test_rare_activations(kind, reset_after, activation):
    cell = CellSpec(kind, activation, "sigmoid", reset_after)
    biased = kind == "gru" and reset_after
    for options in ((False, True, False, False), (True, True, True, True), (True, False, False,
                    False), (True, True, False, False)):  # fmt: skip
        wanted = rare_sweep("reference", cell, "float64", *options, biased)
        found = rare_sweep("cpu", cell, "float64", *options, biased)
        for own, other in zip(found, wanted, strict=True):
            np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["SimpleRNN", "LSTM", "GRU"])
def test_layers_with_rare_activations(kind):
    """They train as on the reference engine, with padding, and with dropout go there."""
    ids, y = RNG.integers(0, 9, (12, 6)), RNG.normal(size=(12, 1))

    def run(engine):
        with engines.using(engine):
            fastrnn.utils.set_random_seed(6)
            layer = getattr(layers, kind)(3, "gelu", recurrent_dropout=0.2)
            model = Sequential([
                layers.Embedding(9, 4, mask_zero=True),
                getattr(layers, kind)(5, "mish", return_sequences=True), layer, layers.Dense(1),
            ])  # fmt: skip
            model.compile("adam", "mse")
            return model.fit(ids, y, batch_size=5, epochs=3, verbose=0).history["loss"]

    np.testing.assert_allclose(run("cpu"), run("reference"), rtol=1e-4)


def test_activations_without_instructions_go_to_the_reference_engine():
    cell = CellSpec("lstm", "sparse_plus")
    U, xz = np.ones((2, 8)), np.ones((1, 3, 8))
    with engines.using("cpu") as engine:
        *_, tape = engine.recurrent(cell, xz, U)
    assert not isinstance(tape, RareTape)


# -- the door --------------------------------------------------------------------------------------


def program(widths=(3, 3, 1), statics=1, code=(), loads=(), stores=(), carries=(), matrices=()):
    rest = code, loads, stores, carries, matrices
    return _core.Program(list(widths), statics, *map(list, rest))


def instruction(name, dst=1, a=1, b=-1, c=-1, to=0, start=0, columns=0):
    return (name, dst, a, b, c, to, start, columns)


@pytest.mark.parametrize("options", [
    {"widths": ()}, {"widths": (0,)}, {"widths": (1 << 25,)}, {"widths": (1,) * 70000},
    {"statics": 4}, {"statics": -1},
    {"loads": [(3, False, False)]}, {"stores": [(-1, False, False)]}, {"carries": [(1, 2)]},
    {"carries": [(1, 7)]},
    {"code": [instruction("sing")]}, {"code": [instruction("add", dst=0, b=1)]},
    {"code": [instruction("add", dst=5, b=1)]}, {"code": [instruction("add", b=2)]},
    {"code": [instruction("add")]}, {"code": [instruction("negative", a=2)]},
    {"code": [instruction("where", b=1, c=2)]}, {"code": [instruction("where", b=1)]},
    {"code": [instruction("activate", c="sing")]}, {"code": [instruction("activate", c=1)]},
    {"code": [instruction("slope", c="tanh")]},
    {"code": [instruction("copy", columns=4)]}, {"code": [instruction("copy", to=-1, columns=1)]},
    {"code": [instruction("copy", start=3, columns=1)]},
    {"code": [instruction("add_copy", to=2, columns=2)]},
    {"code": [instruction("copy", columns=-1)]},
    {"code": [instruction("sum")]}, {"code": [instruction("spread")]},
    {"code": [instruction("product", b=0)]}, {"matrices": [(-1, 0, False)]},
    {"code": [instruction("product", a=2, b=0)], "matrices": [(3, 3, False)]},
    {"code": [instruction("product", b=0)], "matrices": [(3, 3, False)]},
    {"code": [instruction("product", a=0, b=0, c=1)], "matrices": [(3, 3, False)]},
    {"code": [instruction("product", a=0, b=0, c=2)], "matrices": [(3, 3, False)]},
])  # fmt: skip
def test_programs_that_are_refused(options):
    with pytest.raises(ValueError, match="program|activation"):
        program(**options)


def test_many_arrays():
    """More than a call holds without further ado."""
    registers = range(1, 31)
    own = program([2] * 31, 1, loads=[(r, False, False) for r in registers],
                  stores=[(r, False, False) for r in registers])
    loads = [np.full((1, 1, 2), float(r)) for r in registers]
    stores = [np.zeros((1, 1, 2)) for _ in registers]
    own.run(1, 1, np.zeros(2), [], loads, stores, [], [])
    for given, found in zip(loads, stores, strict=True):
        np.testing.assert_array_equal(given, found)
    loads[-1] = loads[-1].astype(np.float32)
    with pytest.raises(TypeError, match="load: expected an array of float64, as those before it"):
        own.run(1, 1, np.zeros(2), [], loads, stores, [], [])


def test_nothing_changes_behind_the_checks():
    """Neither what was given nor the program."""
    load, matrix = [1, False, False], [3, 3, False]
    own = program(loads=[load], matrices=[matrix], stores=[(1, False, True)])
    load[0], matrix[0] = 10**7, 10**4
    y = np.zeros((1, 1, 3))
    own.run(1, 1, np.zeros(3), [np.eye(3)], [np.ones((1, 1, 3))], [y], [], [])
    assert (y == 1).all()
    with pytest.raises(TypeError):
        _core.Program.__new__(_core.Program)

    class Empty(list):
        def __iter__(self):
            return iter(())

    with pytest.raises(ValueError, match="expected 1 arrays; got 0"):
        own.run(1, 1, np.zeros(3), [np.eye(3)], Empty([1]), [y], [], [])


def test_no_instructions():
    """What comes in goes out; statics stay."""
    own = program((2, 2), 1, loads=[(1, False, False)], stores=[(1, False, True), (0, False, True)],
                  carries=[(1, 0)])
    x, y, static = np.ones((2, 3, 2)), np.zeros((2, 3, 2)), np.zeros((2, 3, 2))
    own.run(2, 3, np.full(2, 5.0), [], [x], [y, static], [None], [None])
    assert (y == 5).all() and (static == 5).all()


def test_arrays_that_are_refused():
    own = program(loads=[(1, False, False)], stores=[(1, False, True)], carries=[(1, 1)],
                  code=[instruction("product", dst=1, a=0, b=0)], matrices=[(3, 3, True)])
    x, y, eye, static = np.ones((2, 4, 3)), np.ones((2, 4, 3)), np.eye(3), np.ones(3)
    good = {
        "B": 2, "T": 4, "statics": static, "matrices": [eye], "loads": [x], "stores": [y],
        "first": [None], "last": [np.ones((2, 3))],
    }  # fmt: skip
    own.run(**good)
    np.testing.assert_array_equal(y, 1)
    for wrong in (
        {"B": 3}, {"T": 5}, {"B": -1}, {"statics": np.ones(4)}, {"matrices": []},
        {"matrices": [np.ones((3, 4))]}, {"loads": []}, {"loads": [np.ones((2, 4, 4))]},
        {"stores": [np.ones((2, 3, 3))]}, {"first": [np.ones((2, 4))]}, {"last": []},
        {"start": np.zeros(3, np.int64), "stop": np.zeros(2, np.int64)},
        {"start": np.zeros(2, np.int64)}, {"stop": np.zeros(2, np.int64)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="expected|program"):
            own.run(**good | wrong)
    for wrong in (
        {"loads": [x.astype(np.float32)]}, {"matrices": [eye.astype(np.float32)]},
        {"start": np.zeros(2), "stop": np.zeros(2)},
    ):  # fmt: skip
        with pytest.raises(TypeError, match="expected an array of"):
            own.run(**good | wrong)
    y.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        own.run(**good)


def test_programs_stay_where_they_are():
    with pytest.raises(TypeError):
        pickle.dumps(program())
