"""Sequential: putting together, looking at, copying; and what the batch methods return."""

import copy

import numpy as np
import pytest

import fastrnn
from fastrnn import engines, losses, metrics, optimizers
from fastrnn.layers import (
    Activation,
    Dense,
    Dropout,
    Embedding,
    Input,
    InputLayer,
    Layer,
    Masking,
    SimpleRNN,
)
from fastrnn.models import Sequential, load_model

IDS = np.random.default_rng(0).integers(0, 9, (6, 5))
LABELS = np.array([0, 1, 1, 0, 1, 0])


def sentiment(**kwargs):
    layers = [Embedding(9, 3), SimpleRNN(4), Dense(1, activation="sigmoid")]
    return Sequential(layers, **kwargs)


def compiled(**kwargs):
    model = sentiment()
    model.compile("sgd", "binary_crossentropy", **kwargs)
    return model


# -- putting together ------------------------------------------------------------------------------


def test_weights_are_made_when_the_shape_is_known():
    for model in (
        Sequential([Input((5,)), Embedding(9, 3), Dense(2)]),
        Sequential([InputLayer(batch_shape=(None, 5)), Embedding(9, 3), Dense(2)]),
        Sequential([Embedding(9, 3, input_length=5), Dense(2)]),
        Sequential([Dense(2, input_shape=(5, 3))]),
    ):
        assert model.built and model.output_shape == (None, 5, 2)
    assert Sequential([Dense(2, input_dim=8)]).input_shape == (None, 8)
    model = sentiment()
    assert not model.built and model.get_weights() == []
    model.build((None, 5))
    assert [w.shape for w in model.get_weights()] == [(9, 3), (3, 4), (4, 4), (4,), (4, 1), (1,)]
    assert model.input_shape == (None, 5) and model.output_shape == (None, 1)
    assert model.count_params() == 27 + 12 + 16 + 4 + 4 + 1
    late = sentiment()
    late(IDS)
    assert late.built


def test_add_and_pop_after_building():
    model = Sequential([Input((3,)), Dense(4)])
    model.add(Dense(2))
    assert model.layers[1].built and model.output_shape == (None, 2)
    last = model.pop()
    assert last is not None and model.output_shape == (None, 4)
    model.add(Activation("relu"))
    assert (model(-np.ones((2, 3))) >= 0).all()


def test_layers_and_names():
    model = Sequential(name="mine")
    model.add(Dense(2, name="first"))
    model.add(Dense(2, name="second"))
    assert model.name == "mine" and [layer.name for layer in model.layers] == ["first", "second"]
    assert model.get_layer("second") is model.get_layer(index=1) is model.layers[1]
    with pytest.raises(ValueError, match="no layer 'third'.*'first', 'second'"):
        model.get_layer("third")
    with pytest.raises(ValueError, match="either a name or an index"):
        model.get_layer()


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Sequential([Dense]), TypeError, r"expected a layer; .*Write Dense\(...\)"),
        (lambda: Sequential(["dense"]), TypeError, "expected a layer; got 'dense'"),
        (lambda: Sequential([Dense(1, name="a"), Dense(1, name="a")]), ValueError, "names must"),
        (lambda: Sequential([Dense(1), Input((3,))]), ValueError, "must be its first entry"),
        (lambda: Sequential([Input((3,)), Input((3,))]), ValueError, "must be its first entry"),
        (lambda: Sequential().build((None, 3)), ValueError, "has no layers"),
        (lambda: Sequential([Dense(1)]).build(), ValueError, "build needs the shape"),
        (lambda: Sequential()(np.ones((1, 2))), ValueError, "has no layers"),
        (lambda: Sequential().pop(), ValueError, "no layer to take off"),
        (lambda: Input(), ValueError, "either shape or batch_shape"),
        (lambda: Input(5), ValueError, r"must be a tuple, such as \(500,\); got 5"),
    ],
)
def test_errors_in_putting_together(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_model_in_a_model():
    inner = Sequential([Dense(3, activation="tanh"), Dropout(0.5)])
    model = Sequential([SimpleRNN(4), inner, Dense(1, activation="sigmoid")])
    model.compile(optimizers.SGD(1.0), "binary_crossentropy")
    x = np.random.default_rng(1).normal(size=(6, 5, 2))
    before = model.evaluate(x, LABELS, verbose=0)
    model.fit(x, LABELS, epochs=20, verbose=0)
    assert model.evaluate(x, LABELS, verbose=0) < before
    assert len(model.weights) == 3 + 2 + 2
    again = Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
    ends_in_a_model = Sequential([SimpleRNN(4), Sequential([Dense(1, activation="sigmoid")])])
    ends_in_a_model.compile("sgd", "binary_crossentropy")
    ends_in_a_model.fit(x, LABELS, verbose=0)


def test_masks_pass_through_a_model_in_a_model():
    inner = Sequential([Embedding(9, 3, mask_zero=True)])
    plain = Sequential([Embedding(9, 3, mask_zero=True), SimpleRNN(4)])
    nested = Sequential([inner, SimpleRNN(4)])
    plain.build((None, 5))
    nested.build((None, 5))
    nested.set_weights(plain.get_weights())
    x = IDS.copy()
    x[:, 3:] = 0
    np.testing.assert_array_equal(nested(x), plain(x))
    assert (plain(x) == plain(x[:, :3])).all()


# -- calling ---------------------------------------------------------------------------------------


def test_call_predict_and_predict_on_batch_agree():
    model = sentiment()
    y = model(IDS)
    assert y.shape == (6, 1) and y.dtype == np.float32
    np.testing.assert_array_equal(model.predict_on_batch(IDS), y)
    np.testing.assert_allclose(model.predict(IDS, batch_size=4, verbose=0), y, rtol=1e-6)
    ragged = [[1, 2, 3], [4], [], [5, 6, 7, 8, 1]]
    alone = np.array([model([s] if s else [s])[0] for s in ragged])
    np.testing.assert_allclose(model(ragged), alone, rtol=1e-5)
    np.testing.assert_allclose(model.predict(ragged, batch_size=2, verbose=0), alone, rtol=1e-5)


def test_a_mask_can_be_given():
    model = Sequential([SimpleRNN(4)])
    x = np.random.default_rng(1).normal(size=(2, 5, 3))
    mask = np.ones((2, 5), bool)
    mask[:, 3:] = False
    np.testing.assert_allclose(model(x, mask=mask), model(x[:, :3]), rtol=1e-6)


def test_several_outputs():
    model = Sequential([SimpleRNN(4, return_sequences=True, return_state=True)])
    x = np.random.default_rng(1).normal(size=(5, 3, 2))
    sequence, state = model.predict(x, batch_size=2, verbose=0)
    assert sequence.shape == (5, 3, 4) and state.shape == (5, 4)
    np.testing.assert_array_equal(sequence[:, -1], state)
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="y: expected a list of 2, or a dict, for .*simple_rnn"):
        model.fit(x, state, verbose=0)


def test_sequence_outputs_of_lists_are_zero_behind_their_ends():
    model = Sequential([Embedding(9, 3), SimpleRNN(4, return_sequences=True)])
    sequences = [[1, 2, 3], [4], [5, 6]]
    y = model.predict(sequences, batch_size=1, verbose=0)
    assert y.shape == (3, 3, 4)
    assert (y[1, 1:] == 0).all()
    for row, s in zip(y, sequences, strict=True):
        np.testing.assert_allclose(row[: len(s)], model(np.array([s]))[0], rtol=1e-5)


def test_embedding_alone_gives_its_rows():
    model = Sequential([Embedding(9, 3)])
    np.testing.assert_array_equal(model.predict(IDS, verbose=0), model.get_weights()[0][IDS])


def test_predict_some_batches_only():
    model = sentiment()
    y = model(IDS)
    np.testing.assert_allclose(model.predict(IDS, batch_size=2, steps=2, verbose=0), y[:4])


# -- compile ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"optimizer": "rmsprob"}, ValueError, "Did you mean 'rmsprop'"),
        ({"loss": "binary_crossentropi"}, ValueError, "Did you mean 'binary_crossentropy'"),
        ({"metrics": ["accurasy"]}, ValueError, "Did you mean 'accuracy'"),
        ({"weighted_metrics": ["maee"]}, ValueError, "Unknown metric: 'maee'"),
        ({"metrics": "acc"}, ValueError, r"metrics must be a list; got 'acc'. Write \['acc'\]"),
        ({"optimizer": None}, TypeError, "expected an optimizer"),
        ({"optimizer": lambda: 0}, TypeError, "expected an optimizer"),
        ({"loss": losses.MeanSquaredError("none")}, ValueError, "reduction 'none'"),
        ({"loss": ["mse", "mae"]}, ValueError, "one loss, for one output"),
    ],
)
def test_compile_refuses_and_keeps_what_was(arguments, error, message):
    model = compiled(metrics=["acc"])
    before = model.optimizer
    with pytest.raises(error, match=message):
        model.compile(**{"optimizer": "sgd", "loss": "mse"} | arguments)
    assert model.optimizer is before and model.loss == "binary_crossentropy"
    model.fit(IDS, LABELS, verbose=0)


def test_the_third_argument_is_the_loss_weight():
    plain, half = compiled(), sentiment()
    half.compile("sgd", "binary_crossentropy", 0.5)
    plain.build((None, 5))
    half.build((None, 5))
    half.set_weights(plain.get_weights())
    assert half.evaluate(IDS, LABELS, verbose=0) == pytest.approx(
        plain.evaluate(IDS, LABELS, verbose=0) / 2
    )
    start = plain.get_weights()
    plain.train_on_batch(IDS, LABELS)
    half.train_on_batch(IDS, LABELS)
    for s, p, h in zip(start, plain.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_allclose(p - s, 2 * (h - s), atol=1e-6)


@pytest.mark.parametrize("method", ["fit", "evaluate", "train_on_batch", "test_on_batch"])
def test_compile_comes_first(method):
    with pytest.raises(ValueError, match=rf"call compile\(optimizer, loss\) before {method}"):
        getattr(sentiment(), method)(IDS, LABELS)
    model = sentiment()
    model.compile("sgd")
    with pytest.raises(ValueError, match="no loss to compute"):
        getattr(model, method)(IDS, LABELS)
    model.predict(IDS, verbose=0)


def test_compile_config_makes_an_equal_model():
    model = sentiment()
    model.compile(
        optimizers.RMSprop(0.25, clipnorm=1.0), losses.BinaryCrossentropy(label_smoothing=0.1),
        metrics=["acc", metrics.BinaryAccuracy(threshold=0.25)], weighted_metrics=["mse"],
    )
    again = sentiment()
    again.compile_from_config(model.get_compile_config())
    assert again.optimizer.get_config() == model.optimizer.get_config()
    again.build((None, 5))
    model.build((None, 5))
    again.set_weights(model.get_weights())
    assert again.evaluate(IDS, LABELS, verbose=0) == model.evaluate(IDS, LABELS, verbose=0)
    assert sentiment().get_compile_config() is None


def test_metric_names_and_what_evaluate_returns():
    model = compiled()
    assert isinstance(model.evaluate(IDS, LABELS, verbose=0), float)
    assert model.metrics_names == ["loss"]
    model = compiled(metrics=["acc", "mse"], weighted_metrics=["acc"])
    assert model.metrics_names == ["loss"]  # what they are the first data will tell
    scores = model.evaluate(IDS, LABELS, verbose=0)
    assert model.metrics_names == ["loss", "acc", "mse", "weighted_acc"]
    assert [m.name for m in model.metrics] == ["acc", "mse", "acc"]
    by_name = model.evaluate(IDS, LABELS, verbose=0, return_dict=True)
    assert list(by_name) == sorted(model.metrics_names)
    assert [by_name[name] for name in model.metrics_names] == scores
    assert model.test_on_batch(IDS, LABELS) == pytest.approx(scores)
    assert model.test_on_batch(IDS, LABELS, return_dict=True) == pytest.approx(by_name)
    assert model.train_on_batch(IDS, LABELS, return_dict=True) == pytest.approx(by_name)


# -- weights and copies ----------------------------------------------------------------------------


def test_weights_out_and_in():
    model, other = sentiment(), sentiment()
    model.build((None, 5))
    other.build((None, 5))
    other.set_weights(model.get_weights())
    np.testing.assert_array_equal(model(IDS), other(IDS))
    before = other.get_weights()
    with pytest.raises(ValueError, match="set_weights expected arrays of shapes"):
        other.set_weights(before[:-1])
    with pytest.raises(ValueError, match="set_weights expected"):
        other.set_weights([w.T for w in before])
    for a, b in zip(before, other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_frozen_layers_stay_as_they_are():
    model = compiled()
    model.build((None, 5))
    model.layers[0].trainable = False
    model.compile("sgd", "binary_crossentropy")
    before = model.get_weights()
    model.fit(IDS, LABELS, verbose=0)
    after = model.get_weights()
    assert (before[0] == after[0]).all() and (before[1] != after[1]).any()
    assert len(model.trainable_weights) == 5 and len(model.non_trainable_weights) == 1
    model.trainable = False
    assert model.trainable_weights == []
    model.compile("sgd", "binary_crossentropy")
    model.fit(IDS, LABELS, verbose=0)
    for a, b in zip(after, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_compiling_again_with_the_same_optimizer_keeps_its_state():
    model = sentiment()
    optimizer = optimizers.Adam()
    model.compile(optimizer, "binary_crossentropy")
    model.fit(IDS, LABELS, verbose=0)
    state = optimizer.state()
    model.compile(optimizer, "binary_crossentropy", metrics=["acc"])
    model.evaluate(IDS, LABELS, verbose=0)
    model.fit(IDS, LABELS, epochs=0, verbose=0)
    assert all((optimizer.state()[k] == state[k]).all() for k in state)
    model.layers[0].trainable = False
    model.compile(optimizer, "binary_crossentropy")
    model.fit(IDS, LABELS, verbose=0)
    assert optimizer.iterations == 2
    other = compiled()
    other.compile(optimizer, "binary_crossentropy")
    with pytest.raises(ValueError, match="has trained other weights"):
        other.fit(IDS, LABELS, verbose=0)


def test_two_models_may_train_one_layer_in_turn():
    shared = Dense(3)
    one, two = Sequential([shared, Dense(1)]), Sequential([shared, Dense(2)])
    x = np.random.default_rng(0).normal(size=(6, 4))
    for model, width in ((one, 1), (two, 2)):
        model.compile("sgd", "mse")
        model.fit(x, np.ones((6, width)), verbose=0)
    for model, width in ((one, 1), (two, 2)):
        before = shared.get_weights()[0]
        model.fit(x, np.ones((6, width)), verbose=0)
        assert (shared.get_weights()[0] != before).any()


def test_a_deep_copy_trains_on_its_own():
    model = compiled(metrics=["acc"])
    model.fit(IDS, LABELS, verbose=0)
    other = copy.deepcopy(model)
    before = model.get_weights()
    np.testing.assert_array_equal(model(IDS), other(IDS))
    other.fit(IDS, LABELS, verbose=0, shuffle=False)
    assert all((a == b).all() for a, b in zip(before, model.get_weights(), strict=True))
    assert any((a != b).any() for a, b in zip(before, other.get_weights(), strict=True))
    model.fit(IDS, LABELS, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_config_makes_an_equal_model():
    model = Sequential([Input((5,), dtype="int32"), Embedding(9, 3, mask_zero=True),
                        SimpleRNN(4, kernel_regularizer="l2"), Dropout(0.25), Dense(1)])
    config = model.get_config()
    assert [entry["class_name"] for entry in config["layers"]] == [
        "InputLayer", "Embedding", "SimpleRNN", "Dropout", "Dense"
    ]
    again = Sequential.from_config(config)
    assert again.get_config() == config and again.name == model.name
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(IDS), model(IDS))
    unbuilt = Sequential.from_config(sentiment().get_config())
    assert not unbuilt.built


def test_layers_of_ones_own():
    class Double(Layer):
        def forward(self, x, mask=None, training=False):
            return 2 * x, None

        def backward(self, tape, dy):
            return 2 * dy

    model = Sequential([Input((3,)), Double(), Dense(1)])
    config = model.get_config()
    with pytest.raises(ValueError, match="'double' is a Double, which fastrnn does not"):
        Sequential.from_config(config)
    again = Sequential.from_config(config, custom_objects={"Double": Double})
    again.set_weights(model.get_weights())
    np.testing.assert_array_equal(again(np.ones((1, 3))), model(np.ones((1, 3))))


def test_save_and_load(tmp_path):
    model = compiled(metrics=["acc"])
    model.fit(IDS, LABELS, verbose=0)
    model.save(tmp_path / "model.fastrnn")
    again = load_model(tmp_path / "model.fastrnn")
    np.testing.assert_array_equal(again(IDS), model(IDS))
    for each in (model, again):
        each.fit(IDS, LABELS, verbose=0, shuffle=False)
    for a, b in zip(model.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_weights_of_models_in_double_precision():
    model = Sequential([Dense(2, dtype="float64")])
    model.compile(optimizers.SGD(0.1), "mse")
    x = np.random.default_rng(0).normal(size=(4, 3))
    model.fit(x, np.zeros((4, 2)), verbose=0)
    assert model(x).dtype == np.float64 == model.get_weights()[0].dtype


# -- summary ---------------------------------------------------------------------------------------


def test_summary(capsys):
    model = Sequential(
        [Embedding(10000, 32, name="words"), SimpleRNN(32, name="rnn"), Dense(1, name="end")],
        name="mine",
    )
    model.summary()
    text = capsys.readouterr().out
    assert "0 (unbuilt)" in text and "Total params: 0 (0.00 B)" in text
    model.build((None, 500))
    model.layers[0].trainable = False
    model.summary(line_length=80)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'Model: "mine"'
    assert {len(line) for line in lines[1:-3]} == {80}
    assert "words (Embedding)" in lines[4] and "(None, 500, 32)" in lines[4]
    assert lines[4].endswith("320,000 │")
    assert lines[-3:] == [
        " Total params: 322,113 (1.23 MB)", " Trainable params: 2,113 (8.25 KB)",
        " Non-trainable params: 320,000 (1.22 MB)",
    ]
    lines = []
    model.summary(print_fn=lines.append)
    assert "end (Dense)" in "".join(lines)


def test_the_engine_is_taken_when_a_model_runs():
    model = sentiment()
    model.build((None, 5))
    y = model(IDS)
    with engines.using("reference"):
        np.testing.assert_allclose(model(IDS), y, rtol=1e-5)


def test_names_at_the_top():
    assert fastrnn.Sequential is Sequential and fastrnn.Input is Input
    masked = Sequential([Masking(), SimpleRNN(2)])
    assert masked(np.zeros((1, 2, 3))).tolist() == [[0, 0]]


def nested_model():
    inner = Sequential([Input((3,)), Dense(2, name="inside")], name="inner")
    return Sequential(
        [Input((3,)), Dense(3, name="first"), inner, Dense(1, name="last", trainable=False)]
    )


def names_in_summary(**options):
    lines = []
    nested_model().summary(print_fn=lines.append, **options)
    rows = [line.split("│")[1:-1] for line in lines[0].splitlines() if line.startswith("│")]
    return {row[0].split()[0]: row[-1].strip() for row in rows[1:]}


def test_summary_of_models_inside_and_of_what_is_trained():
    assert list(names_in_summary()) == ["first", "inner", "last"]
    shown = names_in_summary(expand_nested=True, show_trainable=True)
    assert shown == {"first": "Y", "inner": "Y", "inside": "Y", "last": "N"}


def test_summary_of_some_layers():
    assert list(names_in_summary(layer_range=("inner", "la.*"))) == ["inner", "last"]
    with pytest.raises(ValueError, match="no layer is named like 'second'; there are .*'first'"):
        names_in_summary(layer_range=("first", "second"))
    with pytest.raises(ValueError, match="expected two names"):
        names_in_summary(layer_range=("first",))


# -- attributes that Keras has too -----------------------------------------------------------------


def test_penalties_as_losses():
    model = Sequential([
        Input((3,)),
        Dense(2, kernel_regularizer="l2", activity_regularizer="l2", name="first"),
        Dense(1),
    ])
    assert model.losses[0] == 0
    x, weights = np.ones((2, 3), np.float32), model.get_weights()
    for _ in range(2):
        y = model.layers[0](x) * 0 + x @ weights[0]
        model(x)
        expected = [0.01 * (y * y).sum() / 2, 0.01 * (weights[0] ** 2).sum()]
        np.testing.assert_allclose(model.losses, expected, rtol=1e-5)
        np.testing.assert_allclose(model.get_layer("first").losses, expected, rtol=1e-5)


def test_results_and_resetting_of_metrics():
    model = Sequential([Input((3,)), Dense(1)])
    assert model.get_metrics_result() == {}
    model.reset_metrics()
    model.compile("sgd", "mse", metrics=["mae"])
    found = model.evaluate(np.ones((4, 3)), np.ones(4), verbose=0, return_dict=True)
    assert model.get_metrics_result() == found and found["loss"] > 0
    model.reset_metrics()
    assert model.get_metrics_result() == {"loss": 0, "mae": 0}


def test_settings_of_the_backend():
    backend = fastrnn.backend
    assert backend.floatx() == "float32" and backend.epsilon() == 1e-7
    backend.set_floatx("float64")
    try:
        assert Dense(2).dtype == "float64"
    finally:
        backend.set_floatx("float32")
    fastrnn.utils.clear_session()
    assert [Dense(2).name, Dense(2).name] == ["dense", "dense_1"]
    backend.clear_session()
    assert Dense(2).name == "dense" and Sequential([Input((1,)), Dense(1)]).name == "sequential"


def test_masks_of_layers_that_are_asked_for_them():
    ids = [[1, 2, 0], [0, 3, 0]]
    expected = np.array(ids) != 0
    table = Embedding(4, 2, mask_zero=True)
    np.testing.assert_array_equal(table.compute_mask(ids), expected)
    np.testing.assert_array_equal(table.compute_mask(np.array(ids), expected[::-1]), expected[::-1])
    assert Embedding(4, 2).compute_mask(ids) is None and Dense(2).compute_mask(ids) is None
    x = np.array(ids)[..., None]
    np.testing.assert_array_equal(Masking().compute_mask(x), expected)
