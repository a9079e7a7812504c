"""Layers, cells and models that are written as a `call`: gradients, training, files, mistakes."""

import copy

import numpy as np
import pytest
from engine_cases import assert_gradient

import fastrnn
from fastrnn import Input, Model, Sequential, engines, layers, ops
from fastrnn.models import clone_model, load_model, model_from_json

RNG = np.random.default_rng(5)
X = RNG.normal(size=(3, 4, 5))
IDS = RNG.integers(0, 7, (6, 4))
LABELS = RNG.normal(size=(6, 1)).astype(np.float32)


class Attention(layers.Layer):
    """Weights that are products, sums and factors; one used twice."""

    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 1), "glorot_uniform", name="kernel")
        self.bias = self.add_weight((input_shape[1], 1), "random_normal", name="bias")
        self.scale = self.add_weight((input_shape[-1],), "random_uniform", name="scale")

    def call(self, x):
        scores = ops.tanh(ops.dot(x, self.kernel) + self.bias)
        weighted = ops.softmax(scores, axis=1) * (x * self.scale - 0.5 * self.scale)
        return ops.sum(weighted, axis=1) / (1 + ops.square(self.scale))


class Block(layers.Layer):
    """Layers inside, in a list too, and the mask of what it is given."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.first = layers.GRU(units, return_sequences=True, dtype=self.dtype)
        self.rest = [layers.Dense(units, "tanh", dtype=self.dtype) for _ in range(2)]

    def call(self, x):
        h = self.first(x)
        for layer in self.rest:
            h = layer(h) + h
        return h[:, -1]


class Bilinear(layers.Layer):
    """Two arrays, by their places, and a number by its name."""

    def build(self, input_shape):
        (_, left), (_, right) = input_shape
        self.kernel = self.add_weight((left, right), "glorot_uniform", name="kernel")
        self.tables = [self.add_weight((left,), "random_normal", name=f"table{i}") for i in (0, 1)]

    def call(self, a, b, power=1):
        first, second = self.tables
        table = ops.stack(self.tables, axis=1) @ ops.stack([second[:2], first[-2:]], axis=0)
        a = a**power + first * second + ops.sum(table, axis=-1)
        return ops.matmul(a, self.kernel) * b


class Cell(layers.Layer):
    """As Keras's documentation writes one: a layer with a state_size."""

    def __init__(self, units=3, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, input_shape):
        width = input_shape[-1]
        self.kernel = self.add_weight((width, self.units), "glorot_uniform", name="kernel")
        self.recurrent = self.add_weight((self.units, self.units), "orthogonal", name="recurrent")

    def call(self, inputs, states):
        h = ops.tanh(ops.matmul(inputs, self.kernel) + states[0] @ self.recurrent)
        return h, [h]


class TwoStates(layers.RecurrentCell):
    """A slow state and a fast one, of different widths; the output is neither."""

    state_size = [3, 2]
    output_size = 4

    def build(self, input_shape):
        self.fast = self.add_weight((input_shape[-1], 2), "glorot_uniform", name="fast")
        self.slow = self.add_weight((2, 3), "glorot_uniform", name="slow")
        self.out = layers.Dense(4, dtype=self.dtype)

    def call(self, inputs, states, training=False):
        slow, fast = states
        fast = ops.sigmoid(inputs @ self.fast + fast)
        new = 0.9 * slow + 0.1 * (fast @ self.slow)
        return self.out(ops.concatenate([new, slow * 0.5], axis=-1)), [new, fast]


class Stepped(layers.Layer):
    """Cells that it goes through the steps with; their outputs, of all steps."""

    def __init__(self, cell, first=None, **kwargs):
        super().__init__(**kwargs)
        self.cell, self.first = cell, first

    def call(self, x, training=None):
        states = self.first and self.first(x[:, 0])
        found = []
        for t in range(x.shape[1]):
            y, states = self.cell(x[:, t], states, training=training)
            found.append(y)
        return ops.stack(found, axis=1)


class Residual(layers.Layer):
    """A cell with another in it."""

    def __init__(self, units=5, cell=layers.LSTMCell, **kwargs):
        super().__init__(**kwargs)
        self.cell = cell(units, dtype=self.dtype)
        self.state_size, self.output_size = self.cell.state_size, units

    def call(self, inputs, states):
        y, states = self.cell(inputs, states)
        return y + inputs, states


class Reader(Model):
    """Layers of the library, one of one's own, and a branch that asks for `training`."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.words = layers.Embedding(7, 3)
        self.rnn = layers.GRU(units, return_sequences=True, return_state=True)
        self.attention = Attention()
        self.drop = layers.Dropout(0.5)
        self.heads = {"last": layers.Dense(1)}

    def call(self, ids, training=False):
        sequence, state = self.rnn(self.words(ids))
        x = self.attention(sequence) + state
        if training:
            x = self.drop(x, training=True)
        return self.heads["last"](x)


# -- gradients -------------------------------------------------------------------------------------


def double(layer, *arrays):
    """The layer in double precision as a model of arrays, and these."""
    tensors = [Input(a.shape[1:], dtype="float64") for a in arrays]
    return Model(tensors, layer(*tensors)), [np.array(a, np.float64) for a in arrays]


def stack():
    cells = layers.LSTMCell(3, dtype="float64"), Cell(2, dtype="float64")
    return layers.StackedRNNCells(cells, dtype="float64")


CASES = {
    "attention": lambda: double(Attention(dtype="float64"), X),
    "block": lambda: double(Block(dtype="float64"), X),
    "in steps": lambda: double(
        layers.TimeDistributed(Attention(dtype="float64"), dtype="float64"), X[:, :, :, None]
    ),
    "two arrays": lambda: double(Bilinear(dtype="float64"), X[:, 0], X[:, 1, :2]),
    "cell": lambda: double(layers.RNN(Cell(dtype="float64"), dtype="float64"), X),
    "cells": lambda: double(
        layers.RNN([Cell(dtype="float64"), TwoStates(dtype="float64")], return_sequences=True,
                   dtype="float64"), X,
    ),
    "cells for each step": lambda: double(Stepped(stack(), dtype="float64"), X),
    "a cell from a state": lambda: double(
        Stepped(layers.GRUCell(3, dtype="float64"), layers.Dense(3, "tanh", dtype="float64"),
                dtype="float64"), X,
    ),
    "a cell in a cell": lambda: double(
        layers.RNN(Residual(dtype="float64"), return_sequences=True, dtype="float64"), X,
    ),
    "backwards": lambda: double(
        layers.Bidirectional(layers.RNN(TwoStates(dtype="float64"), dtype="float64"),
                             dtype="float64"), X,
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("name", CASES)
def test_gradients(name, engine):
    """Of the inputs and of every weight, by finite differences."""
    with engines.using(engine):
        fastrnn.utils.set_random_seed(1)
        model, arrays = CASES[name]()

        def run():
            outputs, _, tape = model.run_outputs([*arrays], [None] * len(arrays))
            return outputs, tape

        outputs, tape = run()
        dy = [RNG.normal(size=y.shape) for y in outputs]

        def loss():
            return sum(float((y * d).sum()) for y, d in zip(run()[0], dy, strict=True))

        for parameter in model.parameters:
            parameter.grad[...] = 0
        dx = model.backward_outputs(tape, dy)
        for x, d in zip(arrays, dx, strict=True):
            assert_gradient(d, loss, x)
        assert model.parameters
        for parameter in model.parameters:
            assert_gradient(parameter.grad, loss, parameter.value)


def test_a_frozen_weight_gets_no_gradient():
    layer = Attention()
    model = Sequential([Input((4, 5)), layer])
    layer.scale.trainable = False
    _, _, tape = model.run_outputs(X.astype(np.float32))
    model.backward_outputs(tape, [np.ones((3, 5), np.float32)])
    assert not layer.scale.grad.any() and layer.kernel.grad.any()


# -- as what Keras has -----------------------------------------------------------------------------


def test_a_layer_of_ones_own_is_a_layer():
    layer = Block(3, name="block")
    assert not layer.built and layer.sublayers == [layer.first, *layer.rest]
    y = layer(X)
    assert y.shape == (3, 3) and y.dtype == np.float32
    assert len(layer.weights) == 7
    assert layer.count_params() == sum(part.count_params() for part in layer.sublayers[:3])
    assert layer.compute_output_shape((None, None, 5)) == (None, 3)
    np.testing.assert_array_equal(Sequential([Input((4, 5)), layer]).predict(X, verbose=0), y)
    np.testing.assert_array_equal(copy.deepcopy(layer)(X), y)
    assert layer.get_config()["units"] == 3
    layer.trainable = False
    assert not layer.trainable_weights and not layer.first.trainable


def test_arguments_of_a_call():
    layer = Bilinear()
    a, b = X[:, 0], X[:, 1, :2]
    y = layer(a, b=b, power=2)
    np.testing.assert_array_equal(layer(a, b=b, power=2), y)
    with pytest.raises(ValueError, match=r"'bilinear.*\(Bilinear\).*it was called first"):
        layer(a, b=b, power=3)
    with pytest.raises(ValueError, match="as many arrays in the same places"):
        layer([a, b])
    assert Attention()(X.tolist()).shape == (3, 5)  # lists of numbers are an array


def test_a_dict_comes_out_as_one():
    class Two(layers.Layer):
        def call(self, x):
            return {"b": x * 2, "a": x + 1}

    layer, x = Two(), np.ones((2, 3), np.float32)
    found = layer(x)
    assert [*found] == ["b", "a"]
    np.testing.assert_array_equal(found["b"], 2 * x)
    np.testing.assert_array_equal(found["a"], x + 1)
    inputs = Input((3,))
    made = layer(inputs)
    model = Model(inputs, made["b"] - made["a"])
    np.testing.assert_array_equal(model.predict(x, verbose=0), x - 1)


@pytest.mark.parametrize("call", [
    lambda layer, q, v: layer(q, v), lambda layer, q, v: layer(q, value=v),
    lambda layer, q, v: layer(value=v, query=q),
])  # fmt: skip
def test_a_build_asks_for_the_shapes_of_arguments(call):
    class Between(layers.Layer):
        def build(self, value_shape, query_shape):
            self.kernel = self.add_weight((query_shape[-1], value_shape[-1]), name="kernel")

        def call(self, query, value):
            return ops.matmul(query, self.kernel) * value

    layer = Between()
    assert call(layer, np.ones((2, 3)), np.ones((2, 4))).shape == (2, 4)
    assert layer.kernel.shape == (3, 4)
    tensors = Input((3,)), Input((4,))
    model = Model(tensors, call(Between(), *tensors))
    assert model.count_params() == 12


def test_a_build_with_several_shapes_may_be_called():
    class Between(layers.Layer):
        def build(self, query_shape, value_shape):
            self.kernel = self.add_weight((query_shape[-1], value_shape[-1]), name="kernel")

        def call(self, query, value):
            return ops.matmul(query, self.kernel) * value

    layer = Between()
    layer.build((None, 3), value_shape=(None, 4))
    assert layer.built and layer(np.ones((2, 3)), np.ones((2, 4))).shape == (2, 4)


def test_a_list_of_inputs():
    class Sum(layers.Layer):
        def call(self, inputs):
            a, b = inputs
            return a + 2 * b

    np.testing.assert_allclose(Sum()([X, X]), 3 * X, rtol=1e-6)
    tensors = [Input((4, 5)), Input((4, 5))]
    found = Model(tensors, Sum()(tensors)).predict([X, X], verbose=0)
    np.testing.assert_allclose(found, 3 * X, rtol=1e-6)


class Masked(layers.Layer):
    def call(self, x, mask=None):
        if mask is not None:
            mask = ops.expand_dims(ops.cast(mask, "float32"), -1)
            return ops.sum(x * mask, axis=1) / ops.sum(mask, axis=1)
        return ops.mean(x, axis=1)


def test_a_call_may_ask_for_the_mask():
    given = np.concatenate([X[:, :1] * 0, X[:, 1:]], axis=1)
    model = Sequential([Input((4, 5)), layers.Masking(), Masked()])
    np.testing.assert_allclose(model.predict(given, verbose=0), X[:, 1:].mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(Masked()(X), X.mean(axis=1), rtol=1e-5, atol=1e-7)
    counts = [[0, 1, 1, 0]] * 3
    np.testing.assert_allclose(Masked()(X, mask=np.array(counts, bool)), X[:, 1:3].mean(axis=1),
                               rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("passes", [False, True])
def test_masks_pass_where_a_layer_says_so(passes):
    class Twice(layers.Layer):
        supports_masking = passes

        def call(self, x):
            return 2 * x

    given = np.concatenate([X[:, :1] * 0, X[:, 1:]], axis=1)
    model = Sequential([Input((4, 5)), layers.Masking(), Twice(), layers.GlobalAveragePooling1D()])
    mean = X[:, 1:].sum(axis=1) * 2 / (3 if passes else 4)
    np.testing.assert_allclose(model.predict(given, verbose=0), mean, rtol=1e-5)


# -- models ----------------------------------------------------------------------------------------


def compiled(model):
    model.compile("rmsprop", "mse", metrics=["mae"])
    return model


def test_a_model_trains_as_that_of_symbolic_tensors():
    """Bit for bit, weights and scores, for the same layers put together either way."""
    fastrnn.utils.set_random_seed(2)
    reader = compiled(Reader())
    reader.build((None, 4))
    reader.drop.rate = 0.0
    x = Input((4,))
    sequence, state = (rnn := layers.GRU(4, return_sequences=True, return_state=True))(
        (words := layers.Embedding(7, 3))(x)
    )
    attention, head = Attention(), layers.Dense(1)
    other = compiled(Model(x, head(attention(sequence) + state)))
    for own, same in zip(
        (words, rnn, attention, head), (reader.words, reader.rnn, reader.attention,
                                        reader.heads["last"]), strict=True
    ):  # fmt: skip
        own.set_weights(same.get_weights())
    fits = [
        model.fit(IDS, LABELS, batch_size=2, epochs=3, validation_split=0.3, shuffle=False,
                  verbose=0).history
        for model in (reader, other)
    ]  # fmt: skip
    assert fits[0] == fits[1]
    np.testing.assert_array_equal(reader.predict(IDS, verbose=0), other.predict(IDS, verbose=0))
    assert reader.evaluate(IDS, LABELS, verbose=0) == other.evaluate(IDS, LABELS, verbose=0)


def test_a_branch_for_training():
    fastrnn.utils.set_random_seed(2)
    model = Reader()
    kept, dropped = model(IDS), model(IDS, training=True)
    np.testing.assert_array_equal(kept, model.predict(IDS, verbose=0))
    assert np.abs(kept - dropped).max() > 1e-3
    assert model.training_graph is not model.graph


def test_layers_and_weights_in_the_order_of_attributes(capsys):
    model = Reader()
    names = ["words", "rnn", "attention", "drop"]
    assert model.layers == [*(getattr(model, n) for n in names), model.heads["last"]]
    assert not model.built and not model.weights
    model(IDS)
    assert [w.name for w in model.weights] == [
        "embeddings", "kernel", "recurrent_kernel", "bias", "kernel", "bias", "scale", "kernel",
        "bias",
    ]
    assert model.name.startswith("reader") and model.get_layer(index=1) is model.rnn
    model.summary()
    text = capsys.readouterr().out
    assert "attention" in text and "Connected to" not in text and "weight_" not in text


@pytest.mark.parametrize("form", ["dict", "tuple", "list"])
def test_several_inputs_and_outputs(form):
    class Pair(Model):
        def __init__(self):
            super().__init__()
            self.words, self.rnn = layers.Embedding(7, 3), layers.GRU(2)
            self.dense = layers.Dense(2)

        def call(self, inputs):
            a, b = (inputs["a"], inputs["b"]) if form == "dict" else inputs
            y = self.dense(ops.concatenate([self.rnn(self.words(a)), b], axis=-1))
            return {"sum": ops.sum(y, axis=-1, keepdims=True), "both": y} if form == "dict" else y

    x = {"a": IDS, "b": RNG.normal(size=(6, 5))}
    y = {"sum": LABELS, "both": np.repeat(LABELS, 2, axis=1)}
    if form != "dict":
        x, y = (tuple if form == "tuple" else list)(x.values()), y["both"]
    model = Pair()
    model.compile("adam", "mse")
    history = model.fit(x, y, epochs=2, batch_size=4, verbose=0).history
    assert ("sum_loss" in history) == (form == "dict")
    found = model.predict(x, verbose=0)
    direct = model(x)
    if form == "dict":
        assert sorted(found) == ["both", "sum"] and found["sum"].shape == (6, 1)
        found, direct = found["both"], direct["both"]
    np.testing.assert_array_equal(found, direct)
    np.testing.assert_allclose(model.predict_on_batch(x)["both"] if form == "dict"
                               else model.predict_on_batch(x), found)  # fmt: skip


def test_an_encoder_and_a_decoder():
    """Models that call each other, with a state handed over by its place."""
    class Encoder(Model):
        def __init__(self):
            super().__init__()
            self.rnn = layers.GRU(3, return_state=True)

        def call(self, x):
            return self.rnn(x)

    class Decoder(Model):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = layers.GRU(3, return_sequences=True), layers.Dense(2)

        def call(self, x, state):
            return self.out(self.rnn(x, initial_state=state))

    class Translator(Model):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = Encoder(), Decoder()

        def call(self, inputs):
            source, target = inputs
            _, state = self.encoder(source)
            return self.decoder(target, state)

    model = Translator()
    model.compile("sgd", "mse")
    y = RNG.normal(size=(3, 4, 2))
    losses = model.fit((X, X[..., :2]), y, epochs=3, verbose=0).history["loss"]
    assert losses[2] < losses[0] and len(model.weights) == 8
    encoded, state = model.encoder(X.astype(np.float32))
    np.testing.assert_array_equal(encoded, state)
    np.testing.assert_allclose(
        model.decoder(X[..., :2], state), model.predict((X, X[..., :2]), verbose=0), rtol=1e-5
    )


def test_sequences_of_different_lengths():
    class Last(Model):
        def __init__(self):
            super().__init__()
            self.words, self.rnn = layers.Embedding(7, 3), layers.GRU(2, return_sequences=True)

        def call(self, ids):
            return self.rnn(self.words(ids))[:, -1] * 2

    model = Last()
    model.compile("sgd", "mse")
    rows = [[1, 2, 3], [4], [5, 6]]
    model.fit(rows, np.zeros((3, 2)), verbose=0)
    alone = [model.predict([row], verbose=0)[0] for row in rows]
    np.testing.assert_allclose(model.predict(rows, verbose=0), alone, rtol=1e-6)


def test_generators_and_single_batches():
    model = compiled(Reader())
    model.fit(((IDS, LABELS) for _ in range(2)), steps_per_epoch=2, verbose=0)
    assert len(model.train_on_batch(IDS, LABELS)) == len(model.test_on_batch(IDS, LABELS)) == 2


def test_a_copy_trains_on_its_own():
    model = compiled(Reader())
    model.fit(IDS, LABELS, verbose=0)
    before = model.get_weights()
    other = copy.deepcopy(model)
    other.fit(IDS, LABELS, verbose=0)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert not all(map(np.array_equal, before, other.get_weights()))


# -- files -----------------------------------------------------------------------------------------

OWN = {"Reader": Reader, "Attention": Attention, "Block": Block, "Cell": Cell}


@pytest.mark.parametrize("suffix", [".fastrnn", ".keras"])
def test_a_saved_model_goes_on(tmp_path, suffix):
    """Weights, scores and the optimizer's state; in Keras's files too."""
    pytest.importorskip("h5py") if suffix == ".keras" else None
    model = compiled(Reader(5))
    model.fit(IDS, LABELS, batch_size=2, verbose=0)
    model.save(tmp_path / f"model{suffix}")
    again = load_model(tmp_path / f"model{suffix}", custom_objects=OWN)
    assert again.units == 5 and again.name == model.name
    np.testing.assert_array_equal(again.predict(IDS, verbose=0), model.predict(IDS, verbose=0))
    for own in (model, again):
        own.drop.rate = 0.0
    first = [own.train_on_batch(IDS, LABELS) for own in (model, again)]
    second = [own.train_on_batch(IDS, LABELS) for own in (model, again)]
    assert first[0] == first[1] and second[0] == second[1] and first != second
    with pytest.raises(ValueError, match="Unknown layer: 'Reader'"):
        load_model(tmp_path / f"model{suffix}")


@pytest.mark.parametrize("suffix", [".fastrnn", ".weights.h5"])
def test_weights_alone(tmp_path, suffix):
    pytest.importorskip("h5py") if suffix == ".weights.h5" else None
    model, other = Reader(), Reader()
    for own in (model, other):
        own.build((None, 4))
    model.save_weights(tmp_path / f"w{suffix}")
    other.load_weights(tmp_path / f"w{suffix}")
    np.testing.assert_array_equal(other(IDS), model(IDS))


def test_layers_of_ones_own_in_a_file(tmp_path):
    model = Sequential([
        Input((4, 5)), layers.RNN(Cell(2), return_sequences=True), Block(3), layers.Dense(1),
    ])  # fmt: skip
    model.save(tmp_path / "model.fastrnn")
    again = load_model(tmp_path / "model.fastrnn", custom_objects=OWN)
    np.testing.assert_array_equal(again(X), model(X))
    clone = clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(X), model(X))
    assert model_from_json(model.to_json(), OWN).count_params() == model.count_params()


def test_legacy_files_have_no_place_for_it(tmp_path):
    pytest.importorskip("h5py")
    model = Reader()
    model(IDS)
    with pytest.raises(ValueError, match=r"'reader.*\(Reader\): legacy HDF5 has no place"):
        model.save(tmp_path / "model.h5")


def test_a_class_says_what_it_is_made_of():
    class Own(layers.Layer):
        def __init__(self, function, **kwargs):
            super().__init__(**kwargs)
            self.other = function

        def call(self, x):
            return x

    with pytest.raises(TypeError) as error:
        Own.from_config(Own(np.tanh).get_config())
    assert error.value.__notes__ == ["class Own: get_config should give the arguments of __init__"]


# -- mistakes --------------------------------------------------------------------------------------


def calling(function):
    class Own(layers.Layer):
        def call(self, x):
            return function(x)

    return Own()


@pytest.mark.parametrize(("function", "message"), [
    (np.tanh, "has no values.*fastrnn.ops"),
    (lambda x: np.zeros(3), r"'own.*': call: expected symbolic tensors.*got array"),
    (lambda x: None, "call: expected symbolic tensors.*got None"),
    (lambda x: x if x > 0 else -x, r"nothing can be decided by it in Python: write ops\.where"),
])  # fmt: skip
def test_what_a_call_cannot_do(function, message):
    with pytest.raises(TypeError, match=message):
        calling(function)(X)


@pytest.mark.parametrize("name", [
    "train_step", "test_step", "predict_step", "compute_loss", "compute_metrics",
    "make_train_function", "make_test_function", "make_predict_function",
])  # fmt: skip
@pytest.mark.parametrize("base", [Model, Sequential, Reader])
def test_steps_of_ones_own_would_not_be_called(name, base):
    message = rf"class Own: {name}: .*nothing calls it .* loss or metrics .* train_on_batch"
    with pytest.raises(TypeError, match=message):
        type("Own", (base,), {name: lambda self, data: {}})
    with pytest.raises(TypeError, match=message):
        type("Own", (type("Mixin", (), {name: lambda self, data: {}}), base), {})


def test_names_that_mean_something_else():
    class Own(Model):
        def __init__(self, name):
            super().__init__()
            setattr(self, name, layers.Dense(2))

        def call(self, x):
            return x

    for name in ("dense", "logits", "encoder", "body", "embedding", "states", "cell"):
        model = Own(name)
        assert model.layers == [getattr(model, name)]
    with pytest.raises(AttributeError, match=r"\(Own\): forward = <Dense.*'forward_layer'"):
        Own("forward")


@pytest.mark.parametrize("base", [layers.Dense, layers.LSTM, layers.Bidirectional])
def test_a_call_beside_what_a_layer_does(base):
    with pytest.raises(TypeError, match="class Own: .* Derive from Layer, and use a"):
        class Own(base):
            def call(self, x):
                return x


def test_a_call_beside_a_forward_is_for_others():
    class Twice(layers.Layer):
        def call(self, x):
            return 2 * x

        def forward(self, x, mask=None, training=False):
            return self.call(x), None

    assert Twice()(np.ones((1, 2))).tolist() == [[2, 2]]
    with pytest.raises(NotImplementedError, match=r"'twice.*\(Twice\).* no backward\("):
        Twice().backward(None, np.ones((1, 2)))


def test_a_cell_gives_its_states():
    class Forgetful(Cell):
        def call(self, inputs, states):
            return ops.matmul(inputs, self.kernel), []

    with pytest.raises(ValueError, match=r"\(Forgetful\): expected call to give.*states"):
        layers.RNN(Forgetful(3))(X)


def test_weights_outside_of_a_call_are_arrays():
    layer = Attention()
    layer(X)
    kernel = layer.kernel.numpy()
    np.testing.assert_array_equal(layer.kernel * 2 + 1, kernel * 2 + 1)
    np.testing.assert_array_equal(np.ones((1, 5)) @ layer.kernel, np.ones((1, 5)) @ kernel)
    np.testing.assert_array_equal(-layer.kernel[1:], -kernel[1:])
    np.testing.assert_array_equal(np.exp(layer.kernel), np.exp(kernel))
    np.testing.assert_array_equal(ops.square(layer.kernel), kernel**2)


# -- where the steps of a layer matter -------------------------------------------------------------


class EachStep(layers.Layer):
    def build(self, input_shape):
        self.kernel = self.add_weight((input_shape[-1], 2), "glorot_uniform", name="kernel")

    def call(self, x):
        return ops.tanh(x @ self.kernel)


class AcrossSteps(EachStep):
    def call(self, x):
        return x * ops.softmax(x, axis=1)


def test_training_in_pieces():
    model = Sequential([Input((None, 5)), layers.GRU(2, return_sequences=True), EachStep()])
    model.compile("sgd", "mse")
    model.fit(X, X[..., :2], truncate=2, verbose=0)
    other = Sequential([Input((None, 5)), layers.GRU(2, return_sequences=True), AcrossSteps()])
    other.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"truncate: layer 'across.*\(AcrossSteps\) cannot be"):
        other.fit(X, X[..., :2], truncate=2, verbose=0)
    reader = compiled(Reader())
    with pytest.raises(ValueError, match="has another form: layer 'gru.*' branches"):
        reader.fit(IDS, LABELS, truncate=2, verbose=0)


def test_one_step_at_a_time():
    """A cell of one's own goes on from its state; layers that are graphs with branches cannot."""
    model = Sequential([Input((None, 5)), layers.RNN(Cell(2), return_sequences=True)])
    stream = model.stream(3)
    for t in range(4):
        y = stream(X[:, t])
    np.testing.assert_allclose(y, model(X)[:, -1], rtol=1e-5)
    with pytest.raises(ValueError, match="stream: .* is no chain"):
        Sequential([Input((None, 5)), Block()]).stream()


@pytest.mark.parametrize("by_name", [True, False])
def test_losses_by_output_before_the_outputs_are_known(by_name):
    class Two(Model):
        def __init__(self):
            super().__init__()
            self.rnn, self.a, self.b = layers.GRU(3), layers.Dense(1), layers.Dense(1)

        def call(self, x):
            h = self.rnn(x)
            a, b = self.a(h), self.b(h)
            return {"high": a, "low": b} if by_name else [a, b]

    model = Two()
    y = np.ones((3, 1))
    if by_name:
        model.compile("sgd", {"low": "mae", "high": "mse"}, metrics={"low": ["mse"]})
        y = {"low": y, "high": y}
    else:
        model.compile("sgd", ["mse", "mae"])
        y = [y, y]
    history = model.fit(X, y, verbose=0).history
    assert len(history) == (4 if by_name else 3) and ("low_mse" in history) == by_name
    with pytest.raises(ValueError, match="Unknown loss: 'msee'"):
        Two().compile("sgd", {"low": "msee", "high": "mse"})


# -- what would be silently wrong ------------------------------------------------------------------


def test_lengths_that_a_call_looked_at():
    """Another length is drawn anew: in a layer, a model, and one layer at two places."""
    def mean(x):
        total = x[:, 0]
        for t in range(1, x.shape[1]):
            total = total + x[:, t]
        return total / ops.shape(x)[1]

    layer = calling(mean)
    for steps in (6, 3, 4, 6):
        np.testing.assert_allclose(layer(np.ones((2, steps, 3))), 1, rtol=1e-6)
    a, b = Input((5, 3)), Input((2, 3))
    both = Model([a, b], [layer(a), layer(b)]).predict([np.ones((2, 5, 3)), np.ones((2, 2, 3))])
    np.testing.assert_allclose(both, np.ones((2, 2, 3)), rtol=1e-6)

    class Own(Model):
        def call(self, x, training=False):
            return mean(x) * (2 if training else 1)

    model = Own()
    for steps in (6, 3, 6):
        np.testing.assert_allclose(model.predict(np.ones((2, steps, 3)), verbose=0), 1, rtol=1e-6)
        np.testing.assert_allclose(model(np.ones((2, steps, 3)), training=True), 2, rtol=1e-6)


class Weighted(layers.Layer):
    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def build(self, input_shape):
        self.w = self.add_weight((input_shape[-1], 3), "glorot_uniform", name="w")
        self.s = self.add_weight((), "ones", name="s")

    def call(self, x):
        return self.function(x, self.w, self.s)


@pytest.mark.parametrize("f", [
    lambda x, w, s: ops.matmul(x, w.value),
    lambda x, w, s: ops.sigmoid(s) * (x @ w) + (1 - s) * 2 + s * 2 - (-s),
    lambda x, w, s: x @ (w * np.tri(5, 3) - ops.sum(w) * 2),
    lambda x, w, s: ops.where(x[:, :, :3] == 0.0, s, x @ w),
    lambda x, w, s: (x @ w) ** 0 + x @ w,
    lambda x, w, s: (x @ w) ** np.array([0.0, 1.0, 2.0]),
], ids=range(6))  # fmt: skip
def test_gradients_of_what_is_written_so(f):
    x = X.copy()
    x[0, 0] = 0.0
    model, (x,) = double(Weighted(f, dtype="float64"), x)
    dy = RNG.normal(size=(3, 4, 3))

    def loss():
        outputs, _, tape = model.run_outputs([x], [None])
        return float((outputs[0] * dy).sum()), tape

    for p in model.parameters:
        p.grad[...] = 0
    (dx,) = model.backward_outputs(loss()[1], [dy])
    for p in model.parameters:
        assert_gradient(p.grad, lambda: loss()[0], p.value)
    assert np.isfinite(dx).all()


@pytest.mark.parametrize(("f", "error", "message"), [
    (lambda x, w, s: x @ np.exp(w), TypeError, "exp of NumPy, in a call.*functions of fastrnn.ops"),
    (lambda x, w, s: x[..., 0] * w.value[0, 0:1], TypeError, "parts of its value would be const"),
    (lambda x, w, s: x @ w[[0, 0, 2, 1, 3]], TypeError, "only whole numbers and slices"),
    (lambda x, w, s: x if ops.greater(x, 0) else w, TypeError, "nothing can be decided by it"),
])  # fmt: skip
def test_what_would_lose_a_gradient(f, error, message):
    with pytest.raises(error, match=message):
        Weighted(f)(X)


def test_masks_of_ones_own_and_from_inside():
    class Positions(layers.Layer):
        def __init__(self, says, **kwargs):
            super().__init__(**kwargs)
            self.supports_masking = not says
            self.words = layers.Embedding(7, 3, mask_zero=True)

        def call(self, ids):
            return self.words(ids) * 1.0 if self.supports_masking is False else self.words(ids)

    class Saying(Positions):
        def compute_mask(self, ids, mask=None):
            return self.words.compute_mask(ids)

    ids = np.array([[0, 0, 1, 2], [3, 0, 1, 0]])
    for layer in (Positions(False), Saying(True)):
        model = Sequential([Input((4,)), layer, layers.GRU(2)])
        plain = Sequential([Input((4,)), layers.Embedding(7, 3, mask_zero=True), layers.GRU(2)])
        plain.set_weights(model.get_weights())
        np.testing.assert_allclose(model.predict(ids, verbose=0), plain.predict(ids, verbose=0))


def test_masks_by_the_name_of_an_argument():
    class Look(layers.Layer):
        def call(self, query, values, values_mask=None, mask=None):
            assert mask is None and values_mask is not None
            counts = ops.expand_dims(values_mask, -1)
            return query + ops.sum(values * counts, axis=1) / ops.sum(counts, axis=1)

    values = np.concatenate([X[:, :1] * 0, X[:, 1:]], axis=1)
    x = Input((4, 5))
    model = Model(x, Look()(x[:, 0], layers.Masking()(x)))
    expected = values[:, 0] + values[:, 1:].mean(axis=1)
    np.testing.assert_allclose(model.predict(values, verbose=0), expected, rtol=1e-5, atol=1e-6)


def test_behind_an_embedding_that_is_read_twice():
    class Residual(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.rnn = layers.GRU(3, return_sequences=True)

        def call(self, x):
            return x + self.rnn(x)

    model = Sequential([Input((4,)), layers.Embedding(7, 3), Residual(), layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(IDS, np.zeros((6, 4, 1)), verbose=0)
    first = Sequential([Residual(), layers.Dense(1)])
    first.compile("sgd", "mse")
    first.fit(X[..., :3], np.zeros((3, 4, 1)), verbose=0)
    assert first.predict(X[..., :3], verbose=0).shape == (3, 4, 1)


def test_a_cell_of_layers():
    class Layered(layers.Layer):
        def __init__(self, units, **kwargs):
            super().__init__(**kwargs)
            self.state_size = self.output_size = units
            self.inward, self.onward = layers.Dense(units), layers.Dense(units, use_bias=False)

        def call(self, inputs, states):
            h = ops.tanh(self.inward(inputs) + self.onward(states[0]))
            return h, [h]

    model = Sequential([Input((4, 5)), layers.RNN(Layered(3)), layers.Dense(1)])
    plain = Sequential([Input((4, 5)), layers.SimpleRNN(3), layers.Dense(1)])
    kernel, bias, recurrent, *rest = model.get_weights()
    plain.set_weights([kernel, recurrent, bias, *rest])
    np.testing.assert_allclose(model.predict(X, verbose=0), plain.predict(X, verbose=0), rtol=1e-5)
    model.compile("sgd", "mse")
    model.fit(X, np.ones((3, 1)), verbose=0)


@pytest.mark.parametrize("name", ["SimpleRNN", "LSTM", "GRU"])
def test_a_cell_step_by_step_is_its_layer(name):
    stepped = Sequential([Input((4, 5)), Stepped(getattr(layers, f"{name}Cell")(3))])
    whole = Sequential([Input((4, 5)), getattr(layers, name)(3, return_sequences=True)])
    assert [w.shape for w in stepped.get_weights()] == [w.shape for w in whole.get_weights()]
    stepped.set_weights(whole.get_weights())
    x, y = X.astype(np.float32), RNG.normal(size=(3, 4, 3))
    for model in (stepped, whole):
        model.compile("sgd", "mse")
        model.fit(x, y, epochs=3, verbose=0)
    np.testing.assert_allclose(
        stepped.predict(x, verbose=0), whole.predict(x, verbose=0), rtol=1e-5, atol=1e-6
    )


def test_a_class_that_derives_from_ones_own():
    """Whose `build` calls the other's: the call is drawn when all weights are there."""
    class Leaky(Cell):
        def build(self, input_shape):
            super().build(input_shape)
            self.leak = self.add_weight((self.units,), "zeros", name="leak")

        def call(self, inputs, states):
            y, _ = super().call(inputs, states)
            h = states[0] + ops.sigmoid(self.leak) * (y - states[0])
            return h, [h]

    class Scaled(Attention):
        def build(self, input_shape):
            super().build(input_shape)
            self.factor = self.add_weight((), "ones", name="factor")

        def call(self, x):
            return super().call(x) * self.factor

    for layer in (layers.RNN(Leaky(3)), Scaled()):
        model = Sequential([Input((4, 5)), layer, layers.Dense(1)])
        model.compile("sgd", "mse")
        before = model.get_weights()
        model.fit(X, np.ones((3, 1)), verbose=0)
        assert all((a != b).any() for a, b in zip(before, model.get_weights(), strict=True))


def test_states_that_cells_begin_with():
    """Zeros for as many rows as come, whatever the layer was built for."""
    class Four(Stepped):
        def call(self, x):
            given = [
                self.cell.get_initial_state(batch_size=ops.shape(x)[0]), None, ops.zeros((None, 3)),
                self.cell.get_initial_state(),
            ]
            return ops.stack([self.cell(x[:, 0], states)[0] for states in given], axis=1)

    layer = Four(layers.GRUCell(3))
    layer.build((7, 4, 5))
    found = layer(X)
    assert found.shape == (3, 4, 3) and layer(X[:2]).shape == (2, 4, 3)
    zeros = np.zeros((3, 3), np.float32)
    for part in found.swapaxes(0, 1):
        np.testing.assert_array_equal(part, layer.cell(X[:, 0], zeros)[0])


def test_dropout_of_a_cell_in_a_call():
    """As the call says, or else as the layer trains."""
    layer = Stepped(layers.SimpleRNNCell(3, dropout=0.5))
    np.testing.assert_array_equal(layer(X), layer(X))
    assert not np.array_equal(layer(X, training=True), layer(X, training=True))


def test_cells_between_symbolic_tensors(tmp_path):
    """Two steps with one cell; what is made has its weights once, in files too."""
    x, h, c = Input((2, 5)), Input((3,)), Input((3,))
    cell = layers.LSTMCell(3)
    _, states = cell(x[:, 0], [h, c])
    y, states = cell(x[:, 1], states)
    model = Model([x, h, c], [y, *states])
    assert model.count_params() == cell.count_params() and len(model.trainable_weights) == 3
    given = [X[:, :2], X[:, 0, :3], X[:, 1, :3]]
    found = model.predict(given, verbose=0)
    whole, expected = layers.LSTM(3, return_state=True), [Input((2, 5)), Input((3,)), Input((3,))]
    other = Model(expected, whole(expected[0], initial_state=expected[1:]))
    other.set_weights(model.get_weights())
    for a, b in zip(found, other.predict(given, verbose=0), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    model.save(tmp_path / "model.fastrnn")
    made = load_model(tmp_path / "model.fastrnn")
    for a, b in zip(found, made.predict(given, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("call", "message"), [
    (lambda x: layers.LSTMCell(3)(x), r"'lstm_cell.* \(LSTMCell\): expected a step's input"),
    (lambda x: layers.LSTMCell(3)(x[:, 0], x[:, 1]), r"\[\(None, 3\), \(None, 3\)\]; got"),
    (lambda x: layers.GRUCell(3)(x[:, 0], x[:, 1]), r"\[\(None, 3\)\]; got shapes \(None, 5"),
])  # fmt: skip
def test_what_cells_do_not_take(call, message):
    with pytest.raises(ValueError, match=message):
        call(Input((4, 5)))


def test_nested_lists_of_layers_are_saved(tmp_path):
    class Nested(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.blocks = [[layers.Dense(3), layers.LayerNormalization()], [layers.Dense(3)]]
            self.named = {"a": [layers.Dense(2)]}

        def call(self, x):
            for block in self.blocks:
                for layer in block:
                    x = layer(x)
            return self.named["a"][0](x)

    model, other = (Sequential([Input((4, 5)), Nested()]) for _ in range(2))
    for suffix in (".fastrnn", *[".weights.h5"] * bool(pytest.importorskip("h5py"))):
        other.set_weights([w * 0 for w in other.get_weights()])
        model.save_weights(tmp_path / f"w{suffix}")
        other.load_weights(tmp_path / f"w{suffix}")
        np.testing.assert_array_equal(other(X), model(X))


def test_weights_come_in_the_order_of_keras():
    """Trained ones first; a weight that two sublayers have, once."""
    class Scaled(layers.Layer):
        def build(self, input_shape):
            self.mean = self.add_weight((5,), "zeros", trainable=False, name="mean")
            self.scale = self.add_weight((5,), "ones", name="scale")
            self.first = layers.Dense(5)
            self.again = [self.first]

        def call(self, x):
            return self.again[0](self.first((x - self.mean) * self.scale))

    layer = Scaled()
    layer(X)
    assert [w.name for w in layer.weights] == ["scale", "mean", "kernel", "bias"]
