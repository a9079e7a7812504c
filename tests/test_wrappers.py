"""Bidirectional and TimeDistributed: gradients, masks, states, lookups, configs, bad input."""

import json

import numpy as np
import pytest
from engine_cases import assert_gradient, dense_gradient
from test_layers import ENGINES, built, check_gradients

from fastrnn import engines, regularizers
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Add,
    BatchNormalization,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    GlobalAveragePooling1D,
    GRUCell,
    Input,
    LSTMCell,
    SimpleRNN,
    SpatialDropout1D,
    TimeDistributed,
)
from fastrnn.masks import StepMask
from fastrnn.models import Model, Sequential, load_model
from fastrnn.values import GradientSum, Lookup, RowGradient, add_gradients

MODES = ("concat", "sum", "mul", "ave", None)
ROWS, STEPS, WIDTH = 3, 4, 2
MASKS = {
    "none": None,
    "pre": np.arange(STEPS) >= np.array([[2], [4], [0]]),
    "holes": np.array([[True, False, True, False], [False] * 4, [False, True, True, True]]),
}


def sequences(seed=0, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(ROWS, STEPS, WIDTH)).astype(dtype)


def in_pieces(layer, x, mask, **kwargs):
    """What the two layers of a Bidirectional give by themselves."""
    return [inner(x, mask=mask, **kwargs) for inner in layer.sublayers]


# -- Bidirectional: gradients -----------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("options", [
    {}, {"return_sequences": True}, {"return_state": True},
    {"return_sequences": True, "return_state": True},
], ids=lambda options: ",".join(options) or "plain")  # fmt: skip
def test_bidirectional_gradients(engine, mask, mode, options):
    with engines.using(engine):
        inner = SimpleRNN(2, dtype="float64", **options)
        layer = built(Bidirectional(inner, merge_mode=mode), (None, STEPS, WIDTH))
        check_gradients(layer, sequences(), MASKS[mask])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("make", [LSTM, GRU])
@pytest.mark.parametrize("mask", MASKS)
def test_gradients_of_initial_states(engine, make, mask):
    rng = np.random.default_rng(3)
    with engines.using(engine):
        inner = make(2, dtype="float64", return_sequences=True, return_state=True, dropout=0.3)
        layer = built(Bidirectional(inner), (None, STEPS, WIDTH))
        states = [rng.normal(size=(ROWS, 2)) for _ in range(2 * inner.states_count)]
        check_gradients(layer, sequences(), MASKS[mask], states, training=True)


@pytest.mark.parametrize("mode", ["concat", None])
@pytest.mark.parametrize("return_state", [False, True])
def test_gradients_of_layers_that_differ(mode, return_state):
    options = {"return_sequences": True, "return_state": return_state, "dtype": "float64"}
    layer = Bidirectional(
        GRU(2, **options), mode, backward_layer=LSTM(3, go_backwards=True, **options)
    )
    check_gradients(built(layer, (None, STEPS, WIDTH)), sequences(), MASKS["pre"])


def test_gradients_of_stacked_cells():
    cells = [LSTMCell(3, dtype="float64"), GRUCell(2, dtype="float64")]
    layer = Bidirectional(RNN(cells, return_sequences=True, dtype="float64"))
    check_gradients(built(layer, (None, STEPS, WIDTH)), sequences(), MASKS["holes"])


def test_a_direction_that_nobody_uses_costs_nothing(monkeypatch):
    layer = built(
        Bidirectional(SimpleRNN(2, dtype="float64"), merge_mode=None), (None, STEPS, WIDTH)
    )
    monkeypatch.setattr(layer.backward_layer, "backward", None)
    (y, _), tape = layer.forward(sequences(), initial_state=[np.zeros((ROWS, 2))] * 2)
    dy = np.ones_like(y)
    dx, dstate, unused = layer.backward(tape, [dy, None])
    assert dstate.shape == (ROWS, 2) and unused is None
    _, own = layer.forward_layer.forward(sequences())
    np.testing.assert_array_equal(dx, layer.forward_layer.backward(own, dy))


# -- Bidirectional: what Keras users expect --------------------------------------------


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("mode", MODES)
def test_modes_merge_what_both_directions_give(mode, mask):
    layer = built(
        Bidirectional(LSTM(3, return_sequences=True, return_state=True), merge_mode=mode),
        (None, STEPS, WIDTH),
    )
    x, mask = sequences(dtype=np.float32), MASKS[mask]
    (first, *states), (second, *others) = in_pieces(layer, x, mask)
    second = second[:, ::-1]
    expected = {
        "concat": lambda: [np.concatenate([first, second], axis=-1)],
        "sum": lambda: [first + second], "ave": lambda: [(first + second) / 2],
        "mul": lambda: [first * second], None: lambda: [first, second],
    }[mode]()
    found = layer(x, mask=mask)
    assert len(found) == len(expected) + 4
    for a, b in zip(found, [*expected, *states, *others], strict=True):
        np.testing.assert_array_equal(a, b)
    if mask is not None:
        assert not found[0][~mask].any()


@pytest.mark.parametrize("sequences_", [False, True])
def test_backward_reads_the_steps_that_count_from_the_last(sequences_):
    layer = built(
        Bidirectional(GRU(3, return_sequences=sequences_), merge_mode=None), (None, 5, WIDTH)
    )
    x = np.random.default_rng(0).normal(size=(1, 5, WIDTH)).astype(np.float32)
    mask = np.array([[False, True, False, True, True]])
    whole, short = layer(x, mask=mask), layer(x[:, mask[0]])
    for a, b in zip(whole, short, strict=True):
        np.testing.assert_allclose(a[:, mask[0]] if sequences_ else a, b, atol=1e-6)


def test_the_mask_passes_where_sequences_are_returned():
    mask = StepMask.of(MASKS["pre"])
    x = sequences(dtype=np.float32)

    def masks(mode, **options):
        layer = Bidirectional(LSTM(2, **options), merge_mode=mode)
        layer.build((None, STEPS, WIDTH))
        return layer.compute_mask(x, mask)

    assert masks("sum") is None
    assert masks(None) == [None, None]
    assert masks("concat", return_sequences=True) is mask
    assert masks(None, return_sequences=True) == [mask, mask]
    assert masks("ave", return_sequences=True, return_state=True) == [mask] + [None] * 4


def test_zero_output_for_mask_goes_with_sequences():
    assert Bidirectional(GRU(2, return_sequences=True)).backward_layer.zero_output_for_mask
    layer = Bidirectional(GRU(2, zero_output_for_mask=True))
    assert not layer.forward_layer.zero_output_for_mask


def test_shapes():
    shape = (None, 7, 3)
    assert Bidirectional(GRU(4)).compute_output_shape(shape) == (None, 8)
    sequence = Bidirectional(GRU(4, return_sequences=True), merge_mode=None)
    assert sequence.compute_output_shape(shape) == [(None, 7, 4)] * 2
    states = Bidirectional(LSTM(4, return_state=True), merge_mode="sum")
    assert states.compute_output_shape(shape) == [(None, 4)] * 5


def test_states_stay_from_batch_to_batch():
    inner = GRU(3, stateful=True, return_sequences=True)
    layer = built(Bidirectional(inner), (ROWS, STEPS, WIDTH))
    assert layer.stateful
    x = sequences(dtype=np.float32)
    first, second = layer(x), layer(x)
    assert np.abs(first - second).max() > 1e-3
    assert [state.shape for state in layer.states] == [(ROWS, 3)] * 2
    layer.reset_state()
    np.testing.assert_array_equal(layer(x), first)


def test_layers_are_made_anew():
    inner = LSTM(3, name="reader")
    layer = Bidirectional(inner)
    names = [part.name for part in layer.sublayers]
    assert names == ["forward_reader", "backward_reader"]
    assert not layer.forward_layer.go_backwards and layer.backward_layer.go_backwards
    layer.build((None, STEPS, WIDTH))
    assert not inner.built
    assert len({p.path for p in layer.parameters}) == 6
    assert all(p.path.startswith(f"{layer.name}/") for p in layer.parameters)
    own = SimpleRNN(2, go_backwards=True)
    assert Bidirectional(SimpleRNN(2), backward_layer=own).backward_layer is own


def test_initial_weights():
    layer = built(Bidirectional(SimpleRNN(2)), (None, STEPS, WIDTH))
    other = Bidirectional(SimpleRNN(2), weights=layer.get_weights())
    x = sequences(dtype=np.float32)
    np.testing.assert_array_equal(other(x), layer(x))


def test_trainable_is_that_of_both():
    layer = built(Bidirectional(SimpleRNN(2)), (None, STEPS, WIDTH))
    layer.trainable = False
    assert not layer.trainable_parameters and len(layer.non_trainable_weights) == 6
    assert not layer.forward_layer.trainable


# -- lookups -----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mask_zero", [False, True])
def test_both_directions_take_a_lookup(engine, mask_zero):
    ids = np.array([[0, 0, 3, 1], [0, 2, 2, 4], [0, 0, 0, 0]], np.int32)
    with engines.using(engine):
        table = built(Embedding(6, 3, mask_zero=mask_zero, dtype="float64"), (None, 4))
        layer = built(Bidirectional(LSTM(2, dtype="float64")), (None, 4, 3), seed=1)
        dy = np.random.default_rng(6).normal(size=(3, 4))

        def forward():
            x, mask, table_tape = table.run(ids)
            assert isinstance(x, Lookup)
            y, tape = layer.forward(x, mask)
            return y, table_tape, tape

        def loss():
            return float((forward()[0] * dy).sum())

        _, table_tape, tape = forward()
        for parameter in (*table.parameters, *layer.parameters):
            parameter.grad[...] = 0
        dx = layer.backward(tape, dy)
        assert isinstance(dx, RowGradient)
        assert dense_gradient(dx, (6, 3)).shape == (6, 3)
        table.backward(table_tape, dx)
        for parameter in (*table.parameters, *layer.parameters):
            assert_gradient(parameter.grad, loss, parameter.value)


def test_a_table_read_in_two_ways_gets_both_gradients():
    """One layer takes the lookup, another its values: the sum of two kinds of gradient."""
    ids = np.array([[0, 3, 1], [2, 2, 4]], np.int32)
    table = built(Embedding(5, 3, dtype="float64"), (None, 3))
    rnn = built(Bidirectional(SimpleRNN(2, dtype="float64")), (None, 3, 3), seed=1)
    dense = built(Dense(2, "tanh", dtype="float64"), (None, 3, 3), seed=2)
    rng = np.random.default_rng(0)
    dy, dz = rng.normal(size=(2, 4)), rng.normal(size=(2, 3, 2))

    def forward():
        x, own = table.forward(ids)
        return own, rnn.forward(x), dense.forward(x)

    def loss():
        _, (y, _), (z, _) = forward()
        return float((y * dy).sum() + (z * dz).sum())

    own, (_, rnn_tape), (_, dense_tape) = forward()
    by_rows, by_steps = rnn.backward(rnn_tape, dy), dense.backward(dense_tape, dz)
    for total in (add_gradients(by_rows, by_steps), add_gradients(by_steps, by_rows)):
        assert isinstance(total, GradientSum)
        table.embeddings.grad[...] = 0
        table.backward(own, total)
        assert_gradient(table.embeddings.grad, loss, table.embeddings.value)


def test_sums_of_gradients():
    rng = np.random.default_rng(0)
    rows = [RowGradient(np.array(r, np.int32), rng.normal(size=(len(r), 2)))
            for r in ([1, 3], [0, 1, 4], [1, 3])]  # fmt: skip
    steps = [rng.normal(size=(2, 3, 2)) for _ in range(2)]
    total = None
    for part in (rows[0], steps[0], rows[1], None, rows[2], steps[1]):
        before = total
        total = add_gradients(total, part)
        assert before is None or total is not None
    np.testing.assert_allclose(total.steps, steps[0] + steps[1])
    expected = sum(dense_gradient(part, (5, 2)) for part in rows)
    np.testing.assert_allclose(dense_gradient(total.rows, (5, 2)), expected)
    assert total.rows.rows.dtype == np.int32
    assert add_gradients(None, None) is None
    assert add_gradients(rows[0], None) is rows[0]


# -- TimeDistributed -----------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("mask", MASKS)
def test_time_distributed_dense(engine, mask):
    with engines.using(engine):
        inner = Dense(3, "tanh", dtype="float64")
        layer = built(TimeDistributed(inner), (None, STEPS, WIDTH))
        x = sequences()
        check_gradients(layer, x, MASKS[mask])
        steps = np.stack([inner(x[:, t]) for t in range(STEPS)], axis=1)
        np.testing.assert_allclose(layer(x, mask=MASKS[mask]), steps, atol=1e-12)
        mask = StepMask.of(MASKS[mask])
        assert layer.compute_mask(x, mask) is mask


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("inner", [
    lambda: LSTM(2, dtype="float64"), lambda: TimeDistributed(Dense(2, dtype="float64")),
    lambda: Dropout(0.4, seed=1, dtype="float64"), lambda: SpatialDropout1D(0.4, seed=1,
                                                                            dtype="float64"),
])  # fmt: skip
def test_time_distributed_gradients(engine, inner):
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 2))
    with engines.using(engine):
        layer = built(TimeDistributed(inner()), x.shape)
        check_gradients(layer, x, training=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_time_distributed_model_gradients(engine):
    rng = np.random.default_rng(0)
    x, dy = rng.normal(size=(2, 3, 4, 2)), rng.normal(size=(2, 3, 2))
    with engines.using(engine):
        inner = [LSTM(3, return_sequences=True, dtype="float64"), GRU(2, dtype="float64")]
        layer = built(TimeDistributed(Sequential(inner, dtype="float64")), x.shape)

        def loss():
            return float((layer.forward(x)[0] * dy).sum())

        dx = layer.backward(layer.forward(x)[1], dy)
        assert_gradient(dx, loss, x)
        for parameter in layer.parameters:
            assert_gradient(parameter.grad, loss, parameter.value)


@pytest.mark.parametrize("engine", ENGINES)
def test_time_distributed_takes_a_lookup(engine):
    ids = np.array([[0, 3, 1], [2, 2, 4]], np.int32)
    with engines.using(engine):
        table = built(Embedding(5, 3, dtype="float64"), (None, 3))
        layer = built(TimeDistributed(Dropout(0.5)), (None, 3, 3))
        x, own = table.forward(ids)
        y, tape = layer.forward(x)
        assert isinstance(y, Lookup) and y.shape == (2, 3, 3)
        np.testing.assert_array_equal(engines.dense(y), table.embeddings.value[ids])
        dy = np.random.default_rng(0).normal(size=(2, 3, 3))
        row = np.array([2], np.int32)
        np.testing.assert_array_equal(layer.backward(tape, dy), dy)
        table.backward(own, layer.backward(tape, RowGradient(row, np.ones((1, 3)))))
        np.testing.assert_array_equal(table.embeddings.grad[2], 1)


SENTENCES = np.array([
    [[1, 2, 0], [0, 0, 0], [3, 0, 4]], [[1, 1, 1], [0, 2, 0], [1, 2, 0]],
    [[0, 0, 0], [0, 0, 0], [4, 4, 4]],
])  # fmt: skip


def reads_sentences(*layers):
    """A model of sentences of words, and the weights that it begins with."""
    words = Embedding(5, 3, mask_zero=True, dtype="float64")
    model = Sequential([Input((3, 3)), words, *layers])
    model.set_weights([np.sin(np.arange(w.size)).reshape(w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("make", [
    lambda: LSTM(2, dtype="float64"), lambda: Bidirectional(GRU(2, dtype="float64")),
    lambda: Sequential([SimpleRNN(2, return_sequences=True, dtype="float64"),
                        SimpleRNN(2, dtype="float64")]),
    lambda: GlobalAveragePooling1D(dtype="float64"),
])  # fmt: skip
def test_each_sentence_has_a_mask_of_its_own(engine, make):
    with engines.using(engine):
        model = reads_sentences(Dropout(0.5), TimeDistributed(make()))
        table, inner = model.layers[0], model.layers[-1].layer
        found = model.predict(SENTENCES, verbose=0)
        for i, words in enumerate(SENTENCES):
            x, mask = table.embeddings.numpy()[words], StepMask.from_array(words != 0)
            np.testing.assert_allclose(found[i], inner.run(x, mask)[0], rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_training_with_masks_of_sentences(engine):
    with engines.using(engine):
        def outside():
            return reads_sentences(
                TimeDistributed(SimpleRNN(2, return_sequences=True, dtype="float64")),
                TimeDistributed(SimpleRNN(2, dtype="float64")), SimpleRNN(2, dtype="float64"),
            )

        model, other = outside(), outside()
        table, first, second, last = other.layers
        words, told = Input((3, 3)), Input((3,), dtype="bool")
        inside = Sequential([table, first.layer, second.layer])
        other = Model([words, told], last(TimeDistributed(inside)(words), mask=told))
        some, y = (SENTENCES != 0).any(axis=-1), np.array([[1.0, 0], [0, 1], [1, 1]])
        for one in (model, other):
            one.compile("sgd", "mse")
        history = model.fit(SENTENCES, y, epochs=3, shuffle=False, verbose=0).history["loss"]
        np.testing.assert_allclose(
            history, other.fit([SENTENCES, some], y, epochs=3, shuffle=False, verbose=0)
            .history["loss"], rtol=1e-12,
        )  # fmt: skip


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loss_counts_the_words_of_sentences(engine):
    with engines.using(engine):
        model = reads_sentences(TimeDistributed(Dense(1, dtype="float64")))
        model.compile("sgd", "mse", metrics=["mae"])
        y, counts = model.predict(SENTENCES, verbose=0)[..., 0], SENTENCES != 0
        found = model.evaluate(SENTENCES, np.zeros((3, 3, 3, 1)), verbose=0)
    np.testing.assert_allclose(found, [(y**2)[counts].mean(), abs(y)[counts].mean()], rtol=1e-6)


def test_documents_of_different_lengths():
    model = reads_sentences(TimeDistributed(SimpleRNN(2, dtype="float64")),
                            GRU(2, dtype="float64"))  # fmt: skip
    documents = [SENTENCES[0], SENTENCES[1, :2], SENTENCES[2, 2:]]
    alone = [model.predict(document[None], verbose=0) for document in documents]
    np.testing.assert_allclose(
        model.predict(documents, verbose=0), np.concatenate(alone), rtol=1e-12
    )


@pytest.mark.parametrize(("layer", "message"), [
    (lambda x: Add()([x, x]), r"\(Add\).* shape \(3, 3\).* got shape \(3, 3, 3\).* in a Time"),
    (lambda x: BatchNormalization()(x), r"\(BatchNormalization\): a mask goes with inputs of"),
])  # fmt: skip
def test_masks_of_sentences_are_not_for_all_layers(layer, message):
    x = Input((3, 3))
    model = Model(x, layer(Embedding(5, 3, mask_zero=True)(x)))
    with pytest.raises(ValueError, match=message):
        model.predict(SENTENCES, verbose=0)
    deeper = Embedding(5, 3, mask_zero=True)
    with pytest.raises(ValueError, match=r"\(Embedding\): mask_zero=True takes .* \(1, 3, 3, 3\)"):
        Sequential([Input((3, 3, 3)), deeper]).predict(SENTENCES[None], verbose=0)


def test_time_distributed_words_of_sentences():
    """A model of words, mask and all, within a model of sentences."""
    ids = np.array([[[0, 3, 1], [2, 2, 4]], [[0, 0, 0], [0, 0, 3]]])
    words = Sequential([Embedding(5, 4, mask_zero=True), LSTM(3)])
    layer = TimeDistributed(words)
    y = layer(ids)
    assert y.shape == (2, 2, 3) == layer.compute_output_shape(ids.shape)
    for row in range(2):
        np.testing.assert_allclose(y[row], words(ids[row]), atol=1e-6)
    with pytest.raises(IndexError, match="token id 7"):
        layer(np.full((1, 2, 3), 7))


def test_time_distributed_ends_in_its_activation():
    """A loss may start from the logits of the layer inside."""
    layer = built(TimeDistributed(Dense(3, "softmax", dtype="float64")), (None, STEPS, WIDTH))
    x = sequences()
    y, tape = layer.forward(x)
    activation, z = layer.last_activation(tape)
    assert activation == "softmax" and z.shape == y.shape
    dz = np.random.default_rng(0).normal(size=z.shape)
    np.testing.assert_allclose(
        layer.backward_logits(tape, dz), dz @ layer.layer.kernel.value.T, atol=1e-12
    )
    plain = built(TimeDistributed(Dropout(0.1)), (None, STEPS, WIDTH))
    assert plain.last_activation(plain.forward(x)[1]) == (None, None)


def test_time_distributed_normalises_over_all_steps():
    layer = TimeDistributed(BatchNormalization())
    y = layer(sequences(dtype=np.float32), training=True)
    np.testing.assert_allclose(y.reshape(-1, WIDTH).mean(axis=0), 0, atol=1e-6)


# -- in models, configs ---------------------------------------------------------------


def test_a_model_of_wrappers_learns():
    rng = np.random.default_rng(0)
    x = rng.integers(1, 5, (64, 6))
    y = (x == 3).astype(float)[..., None]
    model = Sequential([
        Embedding(5, 4), Bidirectional(GRU(4, return_sequences=True)),
        TimeDistributed(Dense(1, "sigmoid")),
    ])  # fmt: skip
    model.compile("adam", "binary_crossentropy")
    model.optimizer.learning_rate = 0.05
    history = model.fit(x, y, epochs=8, verbose=0).history["loss"]
    assert history[-1] < 0.3 * history[0]


@pytest.mark.parametrize("layer", [
    Bidirectional(LSTM(3, return_sequences=True), merge_mode="ave"),
    Bidirectional(GRU(2, dropout=0.1, seed=3), backward_layer=SimpleRNN(2, go_backwards=True)),
    Bidirectional(RNN([GRUCell(2), LSTMCell(3)])),
    TimeDistributed(Dense(3, "relu")), TimeDistributed(Bidirectional(GRU(2))),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_config_round_trip(layer):
    config = json.loads(json.dumps(layer.get_config()))
    other = type(layer).from_config(config)
    assert other.get_config() == layer.get_config()
    assert config == json.loads(json.dumps(layer.get_config()))  # nothing was taken out of it


@pytest.mark.parametrize("make", [
    lambda: Bidirectional(OwnGRU()), lambda: TimeDistributed(OwnLayer()),
])  # fmt: skip
def test_layers_of_ones_own_come_back_from_a_config(make):
    layer = make()
    own = {"OwnGRU": OwnGRU, "OwnLayer": OwnLayer}
    other = type(layer).from_config(layer.get_config(), custom_objects=own)
    assert other.get_config() == layer.get_config()


class OwnGRU(GRU):
    def __init__(self, units=3, **kwargs):
        super().__init__(units, **kwargs)


class OwnLayer(Dense):
    def __init__(self, units=3, **kwargs):
        super().__init__(units, **kwargs)


# -- penalties on the output --------------------------------------------------------

PENALTY = regularizers.L1L2(l1=0.3, l2=0.2)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("make", [
    lambda: Bidirectional(SimpleRNN(2, dtype="float64"), activity_regularizer=PENALTY),
    lambda: Bidirectional(SimpleRNN(2, dtype="float64", return_sequences=True), "mul",
                          activity_regularizer=PENALTY),
    lambda: Bidirectional(LSTM(2, dtype="float64", return_state=True), None,
                          activity_regularizer=PENALTY),
    lambda: TimeDistributed(Dense(3, "tanh", dtype="float64"), activity_regularizer=PENALTY),
    lambda: TimeDistributed(Dropout(0.5, dtype="float64"), activity_regularizer=PENALTY),
])  # fmt: skip
def test_gradients_of_penalties(engine, make):
    rng = np.random.default_rng(5)
    with engines.using(engine):
        layer = built(make(), (None, STEPS, WIDTH))
        x = sequences()
        y, tape = layer.forward(x)
        dy = [rng.normal(size=part.shape) for part in (y if isinstance(y, list) else [y])]

        def outputs():
            found = layer.forward(x)[0]
            return found if isinstance(found, list) else [found]

        def loss():
            layer.activity_penalty = 0.0
            total = sum(float((a * b).sum()) for a, b in zip(outputs(), dy, strict=True))
            return total + layer.activity_penalty

        dx = layer.backward(tape, dy if isinstance(y, list) else dy[0])
        for parameter in layer.parameters:
            assert_gradient(parameter.grad, loss, parameter.value)
        assert_gradient(dx, loss, x)
        layer.activity_penalty = 0.0
        expected = sum(0.3 * abs(part).sum() + 0.2 * (part**2).sum() for part in outputs()) / ROWS
        assert layer.activity_penalty == pytest.approx(expected)  # so it is in Keras


@pytest.mark.parametrize("wrapper", [Bidirectional, TimeDistributed])
def test_penalties_in_training_and_in_files(wrapper, tmp_path):
    def model(penalty):
        inner = SimpleRNN(2) if wrapper is Bidirectional else Dense(1, "sigmoid")
        return Sequential([Input((STEPS, WIDTH)), wrapper(inner, activity_regularizer=penalty)])

    free, bound = model(None), model("l2")
    bound.set_weights(free.get_weights())
    x = sequences(dtype=np.float32)
    y = free.predict(x, verbose=0)
    target = np.zeros_like(y)
    for one in (free, bound):
        one.compile("sgd", "mse")
    losses = [one.evaluate(x, target, verbose=0) for one in (free, bound)]
    assert losses[1] - losses[0] == pytest.approx(0.01 * (y**2).sum() / ROWS, rel=1e-5)
    assert bound.losses == pytest.approx([losses[1] - losses[0]], rel=1e-5)
    before = bound.get_weights()
    bound.fit(x, target, verbose=0)
    assert any((a != b).any() for a, b in zip(before, bound.get_weights(), strict=True))
    assert "activity_regularizer" not in free.layers[0].get_config()
    bound.save(tmp_path / "bound.fastrnn")
    again = load_model(tmp_path / "bound.fastrnn")
    assert again.layers[0].activity_regularizer.l2 == pytest.approx(0.01)
    assert again.evaluate(x, target, verbose=0) == bound.evaluate(x, target, verbose=0)


# -- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Bidirectional(Dense(2)), "recurrent layer.*has no go_backwards"),
    (lambda: Bidirectional(LSTM), r"expected a layer.*Write LSTM\(\.\.\.\)"),
    (lambda: Bidirectional("lstm"), "expected a layer; got 'lstm'"),
    (lambda: Bidirectional(GRU(2), merge_mode="cat"), "merge_mode must be one of.*got 'cat'"),
    (lambda: Bidirectional(GRU(2), backward_layer=GRU(2)), "both have go_backwards=False"),
    (lambda: Bidirectional(GRU(2), backward_layer=GRU(2, go_backwards=True, return_state=True)),
     "return_state must be the same.*False forwards and True backwards"),
    (lambda: TimeDistributed(3), "expected a layer; got 3"),
])  # fmt: skip
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_shapes():
    uneven = Bidirectional(GRU(2), "sum", backward_layer=GRU(3, go_backwards=True))
    with pytest.raises(ValueError, match=r"'sum' needs outputs of one shape.*2\).*3\)"):
        uneven.build((None, 4, 2))
    assert not uneven.forward_layer.built
    layer = Bidirectional(LSTM(2), name="reader")
    x = sequences(dtype=np.float32)
    with pytest.raises(ValueError, match="'reader'.*initial_state.*as many.*got 3 arrays"):
        layer(x, initial_state=[np.ones((ROWS, 2))] * 3)
    with pytest.raises(ValueError, match="initial_state.*got 1 array"):
        layer(x, initial_state=np.ones((ROWS, 2)))
    with pytest.raises(ValueError, match=r"initial_state.*\(3, 5\)"):
        layer(x, initial_state=[np.ones((ROWS, 5))] * 4)
    with pytest.raises(ValueError, match=r"3 axes or more; got shape \(None, 2\)"):
        TimeDistributed(Dense(2)).build((None, 2))
    with pytest.raises(ValueError, match=r"mask of shape \(3, 4\).*\(3, 9\)"):
        TimeDistributed(Dense(2))(x, mask=np.ones((ROWS, 9), bool))
    with pytest.raises(ValueError, match="one output; 'many' has 2"):
        TimeDistributed(GRU(2, return_state=True, name="many")).build((None, 3, 4, 2))
