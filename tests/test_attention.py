"""Attention, and layers that apply a function: values of Keras 3.15.1, gradients, files."""

import json

import numpy as np
import pytest
from engine_cases import assert_gradient
from test_layers import check_gradients

from fastrnn import Input, Model, Sequential, engines, layers, ops
from fastrnn.masks import StepMask
from fastrnn.models import clone_model, load_model


def wave(*shape, by=1.0):
    return np.sin(by * np.arange(np.prod(shape))).reshape(shape)


QUERY, VALUE, KEY = wave(2, 2, 3), wave(2, 4, 3, by=1.7), wave(2, 4, 3, by=0.6)
MASKS = [np.array([[1, 1], [1, 0]], bool), np.array([[1, 1, 0, 1], [0, 1, 1, 1]], bool)]
# The layer, its weights, whether it gets a key, masks, or looks at no later step; what Keras gives.
CASES = {
    "products": (lambda: layers.Attention(), [], {}, [
        -0.549910, 0.328351, 0.465298, 0.073676, -0.515163, 0.059076,
        -0.602288, 0.349189, 0.512306, 0.689358, 0.132199, -0.723424,
    ]),
    "key": (lambda: layers.Attention(), [], {"key": True}, [
        -0.225272, 0.511846, 0.093375, -0.551400, -0.490883, 0.677895,
        0.005845, -0.099529, 0.019802, -0.067451, 0.709108, -0.115278,
    ]),
    "masked": (lambda: layers.Attention(), [], {"mask": True}, [
        -0.513499, 0.558158, 0.369668, 0.217643, -0.495998, -0.089830,
        -0.662542, 0.366408, 0.568123, 0, 0, 0,
    ]),
    "sums": (
        lambda: layers.Attention(use_scale=True, score_mode="concat"), [0.7, 1.3],
        {"mask": True, "use_causal_mask": True}, [
            0, 0.991665, -0.255541, -0.355404, 0.800664, 0.149081,
            -0.069794, 0.312323, -0.010688, 0, 0, 0,
        ],
    ),
    "additive": (lambda: layers.AdditiveAttention(), [[0.5, -1, 2]], {"mask": True}, [
        0.024246, -0.320843, 0.058431, -0.246405, -0.091617, 0.270014,
        -0.659765, 0.202850, 0.607493, 0, 0, 0,
    ]),
    "not scaled": (lambda: layers.AdditiveAttention(use_scale=False), [], {}, [
        -0.253085, 0.218358, 0.196816, -0.244077, 0.253297, 0.178806,
        0.087574, 0.421111, -0.196090, 0.073574, 0.497626, -0.201807,
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_of_keras(name):
    make, weights, options, expected = CASES[name]
    options = dict(options)
    given = [QUERY, VALUE, KEY][: 2 + options.pop("key", False)]
    mask = MASKS if options.pop("mask", False) else None
    layer = make()
    layer(given, mask=mask, **options)
    layer.set_weights([np.float32(w) for w in weights])
    found = layer(given, mask=mask, **options)
    np.testing.assert_allclose(found.ravel(), expected, atol=2e-6)


def test_weights_of_keras():
    """Step t takes from no later one, of masked steps nothing; each row's weights sum up to 1."""
    layer = layers.Attention(use_scale=True)
    layer.build([(None, 2, 3), (None, 4, 3)])
    layer.set_weights([np.float32(0.7)])
    _, weights = layer([QUERY, VALUE], use_causal_mask=True, return_attention_scores=True)
    np.testing.assert_allclose(weights.ravel(), [
        1, 0, 0, 0, 0.630738, 0.369262, 0, 0, 1, 0, 0, 0, 0.696643, 0.303357, 0, 0,
    ], atol=2e-6)  # fmt: skip
    masked = layers.Attention()
    _, weights = masked([QUERY, VALUE], mask=MASKS, return_attention_scores=True)
    np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-6)
    assert not weights[0, :, 2].any() and not weights[1, :, 0].any()


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("make", [
    lambda: layers.Attention(use_scale=True, dtype="float64"),
    lambda: layers.Attention(use_scale=True, score_mode="concat", dtype="float64"),
    lambda: layers.AdditiveAttention(dtype="float64"),
], ids=["products", "sums", "additive"])  # fmt: skip
def test_gradients(make, engine):
    with engines.using(engine):
        tensors = [Input(a.shape[1:], dtype="float64") for a in (QUERY, VALUE, KEY)]
        model = Model(tensors, make()(tensors))
        arrays = [QUERY.copy(), VALUE.copy(), KEY.copy()]
        dy = wave(2, 2, 3, by=0.3)

        def run():
            outputs, _, tape = model.run_outputs([*arrays], [None] * 3)
            return float((outputs[0] * dy).sum()), tape

        for parameter in model.parameters:
            parameter.value[...] = 0.8
            parameter.grad[...] = 0
        for x, dx in zip(arrays, model.backward_outputs(run()[1], [dy]), strict=True):
            assert_gradient(dx, lambda: run()[0], x)
        for parameter in model.parameters:
            assert_gradient(parameter.grad, lambda: run()[0], parameter.value)


def translator():
    """An encoder whose steps the decoder looks at; both with padding."""
    source, target = Input((None,)), Input((None,))
    words = layers.Embedding(9, 3, mask_zero=True)
    encoded, state = layers.GRU(4, return_sequences=True, return_state=True)(words(source))
    decoded = layers.GRU(4, return_sequences=True)(words(target), initial_state=state)
    context = layers.AdditiveAttention(dropout=0.2)([decoded, encoded])
    joined = layers.Concatenate()([decoded, context])
    return Model([source, target], layers.TimeDistributed(layers.Dense(9, "softmax"))(joined))


def test_an_encoder_and_a_decoder_with_attention(tmp_path):
    rng = np.random.default_rng(0)
    x = [rng.integers(1, 9, (8, 5)), rng.integers(1, 9, (8, 4))]
    x[0][:4, 3:] = 0
    model = translator()
    model.compile("adam", "sparse_categorical_crossentropy")
    losses = model.fit(x, x[1], epochs=20, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    y = model.predict(x, verbose=0)
    # What stands in padding is of no account, and more padding neither.
    padded = [np.pad(x[0][:4], ((0, 0), (0, 2))), x[1][:4]]
    np.testing.assert_allclose(model.predict(padded, verbose=0), y[:4], rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "model.fastrnn")
    np.testing.assert_array_equal(load_model(tmp_path / "model.fastrnn").predict(x, verbose=0), y)


@pytest.mark.parametrize(("make", "message"), [
    (lambda: layers.Attention(score_mode="sum"), "score_mode must be 'dot' or 'concat'; got 'sum'"),
    (lambda: layers.Attention(dropout=2), r"\(Attention\): dropout must lie in \[0, 1\]"),
    (lambda: layers.Attention()(QUERY), r"\(Attention\): expected a list of query and value"),
    (lambda: layers.AdditiveAttention()([QUERY[0], VALUE]), r"expected input of shape \(batch"),
    (lambda: layers.ReLU(max_value=-1), r"\(ReLU\): max_value must be 0 or more; got -1"),
    (lambda: layers.PReLU()(Input((None, 3))), "known lengths of all axes but those of shared_"),
    (lambda: layers.Lambda(lambda x: x, mask=True), r"\(Lambda\): mask is not supported"),
    (lambda: layers.Rescaling("half"), r"\(Rescaling\): scale must be a number .* got 'half'"),
    (lambda: layers.UnitNormalization("last"), r"axis must be a whole number, .* got 'last'"),
    (lambda: layers.UnitNormalization(0)(QUERY), "may not depend on the rows beside it"),
])  # fmt: skip
def test_what_is_refused(make, message):
    with pytest.raises((TypeError, ValueError), match=message):
        make()


# -- functions -------------------------------------------------------------------------------------

X = np.array([[-4, -0.75, 0.25, 5.75, 9]])
FUNCTIONS = {
    "relu": (lambda: layers.ReLU(6.0, 0.5, 1.0), [-2.5, -0.875, -0.375, 5.75, 6]),
    "leaky": (lambda: layers.LeakyReLU(), [-1.2, -0.225, 0.25, 5.75, 9]),
    "alpha": (lambda: layers.LeakyReLU(alpha=0.5), [-2, -0.375, 0.25, 5.75, 9]),
    "elu": (lambda: layers.ELU(0.5), [-0.490842, -0.263817, 0.25, 5.75, 9]),
    "softmax": (lambda: layers.Softmax(), [2e-6, 5.6e-5, 0.000153, 0.037319, 0.96247]),
    "prelu": (lambda: layers.PReLU(), [-0.4, -0.15, 0.25, 5.75, 9]),
    "lambda": (
        lambda: layers.Lambda(lambda x, n: x * n, arguments={"n": 2}), [-8, -1.5, 0.5, 11.5, 18],
    ),
    "scale": (lambda: layers.Rescaling(2.0, 0.5), [-7.5, -1, 1, 12, 18.5]),
    "scales": (
        lambda: layers.Rescaling(np.arange(5), offset=[1, 1, 1, 0, 0]),
        [1, 0.25, 1.5, 17.25, 36],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_as_in_keras(name):
    make, expected = FUNCTIONS[name]
    layer = make()
    layer(X)
    if name == "prelu":
        layer.set_weights([np.float32([0.1, 0.2, 0.3, 0.4, 0.5])])
    np.testing.assert_allclose(layer(X)[0], expected, atol=1e-6)
    again = type(layer).from_config(layer.get_config())
    again(X)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(X), layer(X))


UNITS = {
    -1: [0, 1, 0.988170, 0.153361, -0.619522, -0.784979],
    1: [0, 0.655576, 0.768614, 0.109944, -0.639713, -0.747082],
    (1, 2): [0, 0.482054, 0.520910, 0.080844, -0.433550, -0.549340],
}


@pytest.mark.parametrize("axis", UNITS)
def test_norms_as_in_keras(axis):
    layer = layers.UnitNormalization(axis)
    np.testing.assert_allclose(layer(wave(2, 3, 2))[0].ravel(), UNITS[axis], atol=1e-6)
    again = layers.UnitNormalization.from_config(json.loads(json.dumps(layer.get_config())))
    np.testing.assert_array_equal(again(wave(2, 3, 2)), layer(wave(2, 3, 2)))
    tiny = layers.UnitNormalization()(np.array([[1e-8, 0], [0, 0], [1e-6, 1e-6]]))
    np.testing.assert_allclose(tiny, [[1, 0], [0, 0], [0.5**0.5, 0.5**0.5]], rtol=1e-6)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("make", [
    lambda: layers.Rescaling([2.0, -1.0], 0.5, dtype="float64"),
    lambda: layers.UnitNormalization(dtype="float64"),
    lambda: layers.UnitNormalization((1, 2), dtype="float64"),
], ids=["scales", "norms", "norms of rows"])  # fmt: skip
def test_gradients_of_formulas(make, engine):
    with engines.using(engine):
        layer = make()
        layer.build((None, 3, 2))
        check_gradients(layer, wave(2, 3, 2) + 0.1)
        mask = StepMask.from_lengths([2, 3], 3)
        assert layer.run(wave(2, 3, 2), mask)[1] is mask


def test_a_function_in_a_model(tmp_path):
    """It trains and is cloned; a file it does not get into, and code in one is not run."""
    model = Sequential([
        Input((4, 2)), layers.GRU(3, return_sequences=True),
        layers.Lambda(lambda x: ops.mean(x, axis=1)), layers.Dense(1),
    ])  # fmt: skip
    model.compile("sgd", "mse")
    x = wave(3, 4, 2)
    model.fit(x, np.ones((3, 1)), verbose=0)
    clone = clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(x), model(x))
    for name in ("model.fastrnn", "model.keras"):
        with pytest.raises(ValueError, match="no place for a function, such as <function.* call"):
            model.save(tmp_path / name)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError, match="Code in files is not run"):
        layers.Lambda.from_config({"function": {"class_name": "__lambda__", "config": {}}})
