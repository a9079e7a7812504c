"""Penalties on outputs, Dense and dropout on sequences, and what Masking makes of any value."""

import json

import numpy as np
import pytest
from engine_cases import assert_gradient
from test_layers import ENGINES, built, check_gradients

from fastrnn import engines, regularizers
from fastrnn.layers import (
    ActivityRegularization,
    Dense,
    Dropout,
    Embedding,
    GaussianDropout,
    GaussianNoise,
    Identity,
    Masking,
    SpatialDropout1D,
)
from fastrnn.masks import StepMask

PENALTY = regularizers.L1L2(l1=0.3, l2=0.2)


def sequences(rows=3, steps=4, width=2):
    return np.random.default_rng(0).normal(size=(rows, steps, width))


# -- activity regularizers ----------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("make", [
    lambda: Dense(3, "tanh", activity_regularizer=PENALTY, dtype="float64"),
    lambda: ActivityRegularization(0.3, 0.2, dtype="float64"),
    lambda: Embedding(5, 2, activity_regularizer=PENALTY, dtype="float64"),
])  # fmt: skip
def test_gradients_are_those_of_the_penalty_too(engine, make):
    rng = np.random.default_rng(1)
    with engines.using(engine):
        layer = make()
        x = np.array([[1, 4, 1], [0, 0, 2]]) if isinstance(layer, Embedding) else sequences()
        built(layer, x.shape)
        x = layer.convert_input(x)
        y, tape = layer.forward(x)
        dy = rng.normal(size=y.shape)

        def loss():
            layer.activity_penalty = 0.0
            return float((layer.forward(x)[0] * dy).sum()) + layer.activity_penalty

        dx = layer.backward(tape, dy)
        for parameter in layer.parameters:
            assert_gradient(parameter.grad, loss, parameter.value)
        if dx is not None:
            assert_gradient(dx, loss, x)


def test_gradients_from_the_logits_have_the_penalty_too():
    layer = built(Dense(3, "softmax", activity_regularizer="l2", dtype="float64"), (None, 2))
    x = sequences()[0]
    y, tape = layer.forward(x)
    dz = np.random.default_rng(1).normal(size=y.shape)

    def loss():
        layer.activity_penalty = 0.0
        z = layer.last_activation(layer.forward(x)[1])[1]
        return float((z * dz).sum()) + layer.activity_penalty

    dx = layer.backward_logits(tape, dz)
    assert_gradient(dx, loss, x)
    assert_gradient(layer.kernel.grad, loss, layer.kernel.value)


def test_penalties_of_calls_add_up_and_are_means_over_rows():
    layer = ActivityRegularization(l1=2.0)
    x = np.array([[1.0, -2.0], [3.0, 0.0]])
    layer(x), layer(x[:1])
    assert layer.activity_penalty == pytest.approx(2 * 6 / 2 + 2 * 3)


@pytest.mark.parametrize("layer", [
    Dense(2, activity_regularizer=regularizers.L1(0.1)), ActivityRegularization(0.1, 0.2),
    Embedding(4, 2, activity_regularizer="l2"), SpatialDropout1D(0.2, seed=3),
    GaussianDropout(0.2, seed=3), GaussianNoise(0.2), Identity(),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_config_round_trip(layer):
    config = json.loads(json.dumps(layer.get_config()))
    assert type(layer).from_config(config).get_config() == layer.get_config()


def test_arguments_of_keras_that_fine_tune_or_pack():
    for make in (Dense, lambda n, **k: Embedding(4, n, **k)):
        make(2, quantization_config=None, lora_rank=None)
        with pytest.raises(NotImplementedError, match="lora_rank is not there yet; got 4"):
            make(2, lora_rank=4)


# -- sequences and masks ----------------------------------------------------------------


@pytest.mark.parametrize("mask", [None, np.array([[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1]])])
def test_dense_treats_every_step_alike(mask):
    layer, x = built(Dense(3, "tanh", dtype="float64"), (None, 4, 2)), sequences()
    y, passed, _ = layer.run(x, StepMask.of(mask))
    expected = np.tanh(x @ layer.kernel.value + layer.bias.value)
    np.testing.assert_allclose(y, expected, atol=1e-12)
    assert (passed is None) == (mask is None)


@pytest.mark.parametrize("engine", ENGINES)
def test_spatial_dropout(engine):
    with engines.using(engine):
        layer = SpatialDropout1D(0.4, seed=1, dtype="float64")
        x = sequences(20, 4, 5)
        check_gradients(layer, x, training=True)
        factor = layer(x, training=True) / x
        np.testing.assert_allclose(factor, np.broadcast_to(factor[:, :1], x.shape))
        assert set(np.unique(factor[:, 0].round(6))) == {0, round(1 / 0.6, 6)}
        np.testing.assert_array_equal(layer(x), x)
    mask = StepMask.from_lengths([2], 4)
    assert layer.compute_mask(x, mask) is mask
    with pytest.raises(ValueError, match=r"\(batch, steps, features\).*got shape \(2, 3\)"):
        layer(np.ones((2, 3)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("make", "deviation"), [
    # sqrt(0.2 / 0.8) is the deviation of the factors.
    (lambda **k: GaussianDropout(0.2, seed=3, **k), 3 * 0.5),
    (lambda **k: GaussianNoise(0.5, seed=3, **k), 0.5),
], ids=["factors", "sums"])  # fmt: skip
def test_noise(engine, make, deviation):
    x = np.full((100, 2000), 3, np.float32)
    with engines.using(engine):
        layer = make()
        check_gradients(make(dtype="float64"), sequences(), training=True)
        np.testing.assert_array_equal(layer(x), x)
        first, second = layer(x, training=True), layer(x, training=True)
        assert first.dtype == np.float32
        for y in (first, second):
            np.testing.assert_allclose([y.mean(), y.std()], [3, deviation], rtol=0.01)
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.01
    np.testing.assert_array_equal(make()(x, training=True), first)
    mask = StepMask.from_lengths([2], 4)
    assert layer.compute_mask(x, mask) is mask


def test_identity_hands_on_what_it_is_given():
    table, layer = Embedding(5, 3), Identity()
    check_gradients(Identity(dtype="float64"), sequences())
    table.build((None, 2))
    lookup, mask = table.forward(np.array([[1, 2]], np.int32))[0], StepMask.from_lengths([1], 2)
    y, passed, tape = layer.run(lookup, mask)
    assert y is lookup and passed is mask and layer.backward(tape, y) is y


def test_noise_that_cannot_be():
    with pytest.raises(ValueError, match=r"\(GaussianNoise\): stddev must lie in \[0, 1\]; got -1"):
        GaussianNoise(-1)
    with pytest.raises(ValueError, match=r"\(GaussianDropout\): rate must be below 1"):
        GaussianDropout(1.0)
    x = sequences()
    np.testing.assert_array_equal(GaussianNoise(0.0, dtype="float64")(x, training=True), x)


@pytest.mark.parametrize("noise_shape", [(None, 1), (None, 2, None), (1, 1, 1, 1)])
def test_a_noise_shape_that_does_not_fit(noise_shape):
    with pytest.raises(ValueError, match=r"'drop'.*noise_shape.*input of shape \(3, 4, 2\)"):
        Dropout(0.5, noise_shape, name="drop")(sequences(), training=True)


@pytest.mark.parametrize("value", [0.0, -1.0, np.inf, -np.inf])
def test_masking_zeroes_steps_of_any_value(value):
    x = sequences()
    x[0, :2] = x[2] = value
    x[1, 0, 0] = value  # one entry of it is not yet a masked step
    layer = Masking(value)
    y, mask, tape = layer.run(layer.convert_input(x))
    expected = np.ones((3, 4), bool)
    expected[0, :2] = expected[2] = False
    np.testing.assert_array_equal(mask, expected)
    assert not y[~expected].any()
    np.testing.assert_array_equal(y[expected], x[expected].astype(np.float32))
    dx = layer.backward(tape, np.ones_like(y))
    np.testing.assert_array_equal(dx[..., 0], expected)
