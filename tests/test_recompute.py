"""Sweeps piece by piece: the numbers of a whole sweep, in little memory."""

import subprocess
import sys

import numpy as np
import pytest
from engine_cases import assert_gradient, dense_gradient, mask_of

import fastrnn
from fastrnn import engines, recompute
from fastrnn.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Embedding,
    GRUCell,
    LSTMCell,
    SimpleRNNCell,
    StackedRNNCells,
)
from fastrnn.layers.cells import RecurrentCell
from fastrnn.layers.core import dropout_mask
from fastrnn.random import Stream
from fastrnn.values import Lookup

B, T, D, H = 4, 11, 3, 2


@pytest.fixture(params=["reference", "cpu"])
def engine(request):
    """Run the test on each engine."""
    with engines.using(request.param) as engine:
        yield engine


class Noisy(RecurrentCell):
    """h' = h / 2 + x W, of which some units are dropped, others at each step."""

    state_size = H

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stream = Stream(3)

    def create(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], H), "glorot_uniform", name="kernel")

    def forward(self, x, states, training=False):
        noise = dropout_mask(self.stream, (len(x), H), 0.5, self.dtype) if training else 1
        h = states[0] / 2 + noise * (x @ self.kernel.value)
        return 3 * h, [h], (x, noise)

    def backward(self, tape, dy, dstates):
        x, noise = tape
        dh = 3 * dy + dstates[0]
        self.kernel.grad += x.T @ (noise * dh)
        return (noise * dh) @ self.kernel.value.T, [dh / 2]


CELLS = {
    "simple_rnn": lambda: SimpleRNNCell(H, dtype="float64"),
    "lstm": lambda: LSTMCell(H, dropout=0.3, seed=1, dtype="float64"),
    "gru": lambda: GRUCell(H, dropout=0.3, recurrent_dropout=0.4, seed=1, dtype="float64"),
    "own": lambda: Noisy(dtype="float64"),
    "stack": lambda: StackedRNNCells(
        [LSTMCell(3, dropout=0.2, seed=2, dtype="float64"), Noisy(dtype="float64")],
        dtype="float64",
    ),
}


def sweeps(cell, piece, mask, sequences, zero_output, lookup=False, training=True, twice=False):
    """Outputs and gradients of a sweep as a dict; ``piece`` None: of the cell's own."""
    rng = np.random.default_rng(0)
    normal = rng.normal
    x = Lookup(rng.integers(0, 6, (B, T)).astype(np.int32), normal(size=(6, D))) if lookup else (
        normal(size=(B, T, D)))
    states = [normal(size=(B, n)) for n in cell.state_sizes]
    for p in cell.parameters:
        p.grad[...] = 0
    options = states, mask, sequences, zero_output, training
    if piece is None:
        y, last, tape = cell.sweep(x, *options)
    else:
        y, last, tape = recompute.sweep(cell, x, *options, piece=piece)
    if mask is not None and not sequences:
        y = np.where(mask.any[:, None], y, 0)  # undefined where nothing counts
    dy = normal(size=y.shape)
    if mask is not None and not sequences:
        dy *= mask.any[:, None]
    dlast = [normal(size=s.shape) for s in last]
    back = cell.sweep_backward if piece is None else (
        lambda tape, *rest: recompute.sweep_backward(tape, *rest))
    dx, dstates = back(tape, dy, dlast)
    return {
        "y": y, "dx": dense_gradient(dx, (6, D)),
        **{f"last {i}": s for i, s in enumerate(last)},
        **{f"dstate {i}": s for i, s in enumerate(dstates)},
        **{f"d{i} {p.name}": p.grad.copy() for i, p in enumerate(cell.parameters)},
    }


@pytest.mark.parametrize("zero_output", [False, True])
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mask", ["none", "pre", "post", "runs"])
@pytest.mark.parametrize("kind", CELLS)
def test_the_numbers_are_those_of_a_whole_sweep(kind, mask, sequences, zero_output, engine):
    mask = mask_of(mask, np.random.default_rng(5), B, T)
    for piece in (1, 4, T, 2 * T):
        whole, pieces = CELLS[kind](), CELLS[kind]()
        for cell in (whole, pieces):
            cell.build((None, D))
        pieces.set_weights(whole.get_weights())
        expected = sweeps(whole, None, mask, sequences, zero_output)
        found = sweeps(pieces, piece, mask, sequences, zero_output)
        assert expected.keys() == found.keys()
        for name in expected:
            np.testing.assert_allclose(
                found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=f"{name}, {piece}"
            )
        assert [s.calls for s in recompute.random.streams_of(pieces)] == [
            s.calls for s in recompute.random.streams_of(whole)
        ]


def test_lookups_keep_a_gradient_of_rows(engine):
    cell = LSTMCell(H, dtype="float64")
    cell.build((None, D))
    mask = mask_of("post", np.random.default_rng(5), B, T)
    expected = sweeps(cell, None, mask, True, False, lookup=True)
    found = sweeps(cell, 3, mask, True, False, lookup=True)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12)


def test_gradients_by_differences(engine):
    cell = GRUCell(H, dtype="float64")
    cell.build((None, D))
    rng = np.random.default_rng(1)
    x, dy = rng.normal(size=(2, 7, D)), rng.normal(size=(2, 7, H))
    mask = mask_of("post", rng, 2, 7)

    def loss():
        return float((recompute.sweep(cell, x, None, mask, True, piece=3)[0] * dy).sum())

    _, _, tape = recompute.sweep(cell, x, None, mask, True, piece=3)
    dx, _ = recompute.sweep_backward(tape, dy, [None])
    assert_gradient(dx, loss, x)
    assert_gradient(cell.recurrent_kernel.grad, loss, cell.recurrent_kernel.value)


def test_without_a_gradient_of_the_output():
    cell = SimpleRNNCell(H, dtype="float64")
    cell.build((None, D))
    x, d = np.ones((B, T, D)), np.ones((B, H))
    whole = cell.sweep_backward(cell.sweep(x, None)[2], None, [d])
    pieces = recompute.sweep_backward(recompute.sweep(cell, x, None, piece=4)[2], None, [d])
    np.testing.assert_allclose(pieces[0], whole[0])


@pytest.mark.parametrize(
    ("option", "steps", "expected"),
    [(False, 9000, None), (None, 9000, None), (True, 100, 10), (True, 101, 11),
     ("auto", 1000, None), ("auto", 10_000, 100), (7, 100, 7), (np.int64(7), 100, 7)],
)
def test_the_length_of_a_piece(option, steps, expected):
    assert recompute.piece_length(option, steps) == expected


@pytest.mark.parametrize("option", [0, -3, 2.5, "often"])
def test_lengths_that_cannot_be(option):
    with pytest.raises(ValueError, match=r"recompute: expected True, False, 'auto', or a number"):
        recompute.piece_length(option, 10)


MEASURE = """
import numpy as np
from fastrnn import recompute
from fastrnn.layers import SimpleRNNCell
cell = SimpleRNNCell(64)
cell.build((None, 1))
x = np.ones((8, {steps}, 1), np.float32)
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024
recompute.sweep(cell, x[:, :50], None)
before = peak()
if {piece}:
    y, _, tape = recompute.sweep(cell, x, None)
    recompute.sweep_backward(tape, np.ones_like(y), [None])
else:
    y, _, tape = cell.sweep(x, None)
    cell.sweep_backward(tape, np.ones_like(y), [None])
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells the peak of memory")
def test_memory_does_not_grow_with_the_steps():
    def grown(piece, steps=8000):
        code = MEASURE.format(piece=piece, steps=steps)
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    # 8 rows x 8,000 steps x 64 units of 4 bytes are 16 MB for each array of all steps.
    assert grown(True) < 8 < 30 < grown(False)
@pytest.mark.parametrize("recompute", [True, 4])
def test_layers_train_alike(recompute):
    def trained(option):
        fastrnn.utils.set_random_seed(1)
        options = {"recompute": option, "dtype": "float64"}
        model = fastrnn.Sequential([
            Embedding(9, 4, mask_zero=True, dtype="float64"),
            Bidirectional(LSTM(3, return_sequences=True, dropout=0.2, **options)),
            GRU(3, go_backwards=True, recurrent_dropout=0.3, **options), Dense(1, dtype="float64"),
        ])
        model.compile("adam", "mse")
        rng = np.random.default_rng(0)
        model.fit(rng.integers(0, 9, (6, T)), rng.normal(size=(6, 1)), batch_size=3, epochs=2,
                  verbose=0)
        return model.get_weights()

    for found, expected in zip(trained(recompute), trained(False), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
