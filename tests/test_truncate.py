"""Truncated backpropagation through time: ``fit(..., truncate=k)``."""

import numpy as np
import pytest

import fastrnn
from fastrnn.callbacks import Callback, LambdaCallback
from fastrnn.layers import (
    LSTM,
    RNN,
    Bidirectional,
    Dense,
    Embedding,
    GlobalMaxPooling1D,
    LSTMCell,
    Masking,
    RepeatVector,
    SimpleRNN,
    TimeDistributed,
)
from fastrnn.optimizers import SGD, Adam

N, T, D = 6, 7, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, D))
BY_STEP = RNG.normal(size=(N, T, 2))
LAST = RNG.normal(size=(N, 2))
LENGTHS = [7, 3, 4, 1, 6, 2]


@pytest.fixture(autouse=True)
def double_precision():
    """Compute in float64."""
    before = fastrnn.config.floatx()
    fastrnn.config.set_floatx("float64")
    yield
    fastrnn.config.set_floatx(before)


def chain(layers, rate=None, **kwargs):
    """A compiled model of ``layers()``, with the same weights each time."""
    fastrnn.utils.set_random_seed(1)
    model = fastrnn.Sequential(layers())
    model.compile(Adam(0.1) if rate is None else SGD(rate), "mse", **kwargs)
    return model


def by_step(stateful=False, **kwargs):
    return chain(lambda: [
        SimpleRNN(4, return_sequences=True, stateful=stateful),
        LSTM(3, return_sequences=True, stateful=stateful), Dense(2),
    ], **kwargs)


def to_one(stateful=False, **kwargs):
    return chain(lambda: [
        LSTM(4, return_sequences=True, stateful=stateful), SimpleRNN(3, stateful=stateful),
        Dense(2),
    ], **kwargs)


def fit(model, x, y, truncate=None, **options):
    options = {"batch_size": 3, "epochs": 2, "shuffle": False, "verbose": 0} | options
    return model.fit(x, y, truncate=truncate, **options)


def same(a, b, rtol=1e-9):
    for one, other in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-12)


def ragged(x=X):
    return [row[:n] for row, n in zip(x, LENGTHS, strict=True)]


@pytest.mark.parametrize(("make", "y"), [(by_step, BY_STEP), (to_one, LAST)])
@pytest.mark.parametrize("x", [X, ragged()], ids=["whole", "ragged"])
@pytest.mark.parametrize("truncate", [T, 100])
def test_uncut_it_is_an_ordinary_fit(make, y, x, truncate):
    cut, whole = make(), make()
    fit(cut, x, y, truncate)
    fit(whole, x, y)
    for a, b in zip(cut.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert cut.history.history == whole.history.history


def reset(model):
    for layer in model.layers:
        if hasattr(layer, "reset_state"):
            layer.reset_state()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_labels_by_step_by_hand(k):
    cut, by_hand = by_step(), by_step(stateful=True)
    fit(cut, X, BY_STEP, k)
    for _epoch in range(2):
        for rows in (slice(0, 3), slice(3, 6)):
            reset(by_hand)
            for start in range(0, T, k):
                piece = slice(start, start + k)
                by_hand.train_on_batch(X[rows, piece], BY_STEP[rows, piece])
    same(cut, by_hand)
    assert cut.optimizer.iterations == 4 * -(-T // k)


@pytest.mark.parametrize("k", [1, 3])
def test_one_label_by_hand(k):
    cut, by_hand = to_one(), to_one(stateful=True)
    fit(cut, X, LAST, k)
    for _epoch in range(2):
        for rows in (slice(0, 3), slice(3, 6)):
            reset(by_hand)
            starts = range(0, T, k)
            for start in starts[:-1]:
                by_hand.predict_on_batch(X[rows, start : start + k])
            by_hand.train_on_batch(X[rows, starts[-1] :], LAST[rows])
    same(cut, by_hand)
    assert cut.optimizer.iterations == 4


def test_weights_of_steps_and_metrics():
    weight = np.abs(RNG.normal(size=(N, T)))
    kwargs = {"metrics": ["mae"], "weighted_metrics": ["mse"], "rate": 0.0}
    cut, whole = by_step(**kwargs), by_step(**kwargs)
    found = fit(cut, X[:, :6], BY_STEP[:, :6], 2, sample_weight=weight[:, :6]).history
    expected = fit(whole, X[:, :6], BY_STEP[:, :6], sample_weight=weight[:, :6]).history
    # Without updates, pieces of one length have the mean loss of the whole.
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)


def changes(x, y, truncate, start, **options):
    """How small steps from the weights ``start`` change them, per step size."""
    model = to_one(rate=1e-7)
    model.build((None, None, D))
    model.set_weights(start)
    fit(model, x, y, truncate, epochs=1, **options)
    return [(a - b) / 1e-7 for a, b in zip(model.get_weights(), start, strict=True)]


@pytest.mark.parametrize("weights", [None, np.array([1.0, 2.0, 0.5, 3.0, 0.0, 1.0])])
def test_a_row_counts_in_the_piece_in_which_it_ends(weights):
    k, x = 3, ragged()
    model = to_one()
    model.build((None, None, D))
    start = model.get_weights()
    given = {} if weights is None else {"sample_weight": weights}
    found = changes(x, LAST, k, start, batch_size=N, **given)
    alone = [
        changes([row], label[None], k, start, batch_size=1,
                **({} if weights is None else {"sample_weight": weights[i : i + 1]}))
        for i, (row, label) in enumerate(zip(x, LAST, strict=True))
    ]
    ends = [(n - 1) // k for n in LENGTHS]
    for i, change in enumerate(found):
        expected = sum(
            np.mean([alone[r][i] for r in range(N) if ends[r] == piece], axis=0)
            for piece in set(ends)
        )
        np.testing.assert_allclose(change, expected, rtol=1e-3, atol=1e-6)


def test_metrics_of_rows_that_end_in_different_pieces():
    kwargs = {"metrics": ["mae"], "rate": 0.0}
    cut, whole = to_one(**kwargs), to_one(**kwargs)
    found, expected = fit(cut, ragged(), LAST, 3).history, fit(whole, ragged(), LAST).history
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9)


def test_padding_is_seen_where_the_first_layer_sees_it():
    ids = RNG.integers(1, 5, (N, T))
    padded = np.array([np.pad(row[:n], (0, T - n)) for row, n in zip(ids, LENGTHS, strict=True)])
    rows = [row[:n] for row, n in zip(ids, LENGTHS, strict=True)]

    def model(mask_zero):
        return chain(lambda: [Embedding(5, 3, mask_zero=mask_zero), SimpleRNN(4), Dense(2)])

    one, other = model(True), model(False)
    fit(one, padded, LAST, 2)
    fit(other, rows, LAST, 2)
    same(one, other)
    # The same with values that stand for padding.
    x = np.array([np.pad(row, ((0, T - len(row)), (0, 0))) for row in ragged()])
    one = chain(lambda: [Masking(), LSTM(4), Dense(2)])
    other = chain(lambda: [LSTM(4), Dense(2)])
    fit(one, x, LAST, 2)
    fit(other, ragged(), LAST, 2)
    same(one, other)


def test_masks_with_holes_and_padding_before():
    x = X.copy()
    x[0, 2] = x[1, :3] = x[2, 5] = 0
    def model(stateful):
        return chain(
            lambda: [Masking(), LSTM(4, return_sequences=True, stateful=stateful), Dense(2)]
        )

    cut, by_hand = model(False), model(True)
    fit(cut, x, BY_STEP, 2, batch_size=N, epochs=1)
    for start in range(0, T, 2):
        by_hand.train_on_batch(x[:, start : start + 2], BY_STEP[:, start : start + 2])
    same(cut, by_hand)


def test_a_decoder_behind_the_end_is_not_carried():
    def model():
        return chain(
            lambda: [LSTM(3), RepeatVector(2), SimpleRNN(2, return_sequences=True), Dense(2)]
        )

    y = RNG.normal(size=(N, 2, 2))
    cut = model()
    fit(cut, X, y, T)
    whole = model()
    fit(whole, X, y)
    same(cut, whole)
    fit(cut, X, y, 3)
    assert cut.layers[2].states is None


def test_stateful_layers_carry_on_over_batches():
    cut = by_step(stateful=True)
    fit(cut, X, BY_STEP, 3, epochs=1)
    by_hand = by_step(stateful=True)
    for rows in (slice(0, 3), slice(3, 6)):
        for start in range(0, T, 3):
            piece = slice(start, start + 3)
            by_hand.train_on_batch(X[rows, piece], BY_STEP[rows, piece])
    same(cut, by_hand)
    assert all(layer.states is not None for layer in cut.layers[:2])


def test_layers_are_left_as_they_were():
    model = to_one()
    seen = []

    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append([layer.stateful for layer in model.layers[:2]])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fit(model, X, LAST, 2, callbacks=[Stop()])
    assert seen == [[False, False]]
    assert all(layer.states is None for layer in model.layers[:2])
    # Batches of another size, and ordinary fits, come after it.
    fit(model, X[:2], LAST[:2], 2)
    fit(model, X, LAST)
    counted = []
    fit(model, X, LAST, 2, epochs=1, callbacks=[
        LambdaCallback(on_train_batch_end=lambda batch, logs: counted.append(batch))])
    assert counted == [0, 1]  # a batch, not a piece


def test_models_inside_models_and_cells_in_a_layer():
    def stack(stateful):
        return RNN([LSTMCell(3), LSTMCell(2)], return_sequences=True, stateful=stateful)

    cut = chain(lambda: [fastrnn.Sequential([stack(False)]), TimeDistributed(Dense(2))])
    fit(cut, X, BY_STEP, 3, epochs=1, batch_size=N)
    by_hand = chain(lambda: [stack(True), TimeDistributed(Dense(2))])
    for start in range(0, T, 3):
        by_hand.train_on_batch(X[:, start : start + 3], BY_STEP[:, start : start + 3])
    same(cut, by_hand)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Dense(2)], "has no recurrent layer to carry a state"),
        ([SimpleRNN(2, go_backwards=True)], "reads the steps from the last to the first"),
        ([Bidirectional(SimpleRNN(1))], "layer 'bidirectional.*its output depends on the steps"),
        ([Bidirectional(SimpleRNN(3, return_sequences=True)), SimpleRNN(2)], "in an order of its"),
        ([SimpleRNN(2, return_sequences=True), GlobalMaxPooling1D()], "the steps of all pieces"),
    ],
)
def test_what_cannot_be_cut(layers, message):
    model = chain(lambda: layers)
    model.build((None, T, D))
    before = model.get_weights()
    y = BY_STEP if len(model.output_shape) == 3 else LAST
    with pytest.raises(ValueError, match=f"truncate: .*{message}"):
        fit(model, X, y, 3)
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("truncate", [0, -1, 2.5, True])
def test_lengths_that_cannot_be(truncate):
    with pytest.raises(ValueError, match="truncate: expected a number of steps from 1 on"):
        fit(to_one(), X, LAST, truncate)


def test_x_without_steps():
    with pytest.raises(ValueError, match="truncate: layer .dense.* cannot be trained in pieces"):
        fit(chain(lambda: [Dense(2)]), X[:, 0], LAST, 2)
