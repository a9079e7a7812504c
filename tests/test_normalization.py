"""LayerNormalization and BatchNormalization."""

import json

import numpy as np
import pytest
from test_layers import ENGINES, built, check_gradients

from fastrnn import engines
from fastrnn.layers import BatchNormalization, Dense, LayerNormalization
from fastrnn.models import Sequential

ROWS, STEPS, WIDTH = 3, 4, 2
MASK = np.array([[False, True, True, True], [True, False, True, False], [False] * 4])


def sequences(*shape):
    return 3 * np.random.default_rng(0).normal(size=shape or (ROWS, STEPS, WIDTH)) + 1


def positive_variance(layer):
    """The layer with a moving variance that is one."""
    weights = layer.get_weights()
    layer.set_weights([*weights[:-1], np.abs(weights[-1]) + 0.5])
    return layer


# -- gradients ----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", [
    {}, {"center": False}, {"scale": False}, {"center": False, "scale": False}, {"epsilon": 0.5},
], ids=str)  # fmt: skip
@pytest.mark.parametrize(("shape", "axis"), [
    ((3, 4), -1), ((3, 4, 2), -1), ((3, 4, 2), 1), ((3, 4, 2), [1, 2]), ((3, 4, 2), [1, -1]),
    ((2, 3, 2, 4), [-1, -3]),
])  # fmt: skip
def test_layer_normalization_gradients(engine, options, shape, axis):
    with engines.using(engine):
        layer = built(LayerNormalization(axis, dtype="float64", **options), (None, *shape[1:]))
        check_gradients(layer, sequences(*shape))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("options", [
    {}, {"center": False}, {"scale": False}, {"center": False, "scale": False}, {"epsilon": 0.5},
], ids=str)  # fmt: skip
@pytest.mark.parametrize(("shape", "axis", "mask"), [
    ((5, 4), -1, None), ((3, 4, 2), -1, None), ((3, 4, 2), -1, MASK), ((3, 4, 2), 1, None),
    ((3, 4, 2), 1, MASK), ((2, 3, 2, 4), -2, None),
])  # fmt: skip
def test_batch_normalization_gradients(engine, training, options, shape, axis, mask):
    with engines.using(engine):
        layer = BatchNormalization(axis, dtype="float64", **options)
        positive_variance(built(layer, (None, *shape[1:])))
        x, weights = sequences(*shape), layer.get_weights()
        trained = layer.trainable_parameters

        def gradients(parameters):
            # The moving averages move in training; they have no gradients.
            parts = [p for p in layer._parameters if not p.trainable]
            layer._parameters = parameters
            try:
                check_gradients(layer, x, mask, training=training)
            finally:
                layer._parameters = [*parameters, *parts]

        gradients(trained)
        assert not any(p.grad.any() for p in layer.non_trainable_weights)
        layer.set_weights(weights)


# -- what Keras users expect ------------------------------------------------------------


def test_layer_normalization_normalises_each_step():
    y = LayerNormalization(epsilon=0)(sequences(2, 3, 8))
    np.testing.assert_allclose(y.mean(axis=-1), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=-1), 1, atol=1e-4)


def test_a_batch_has_its_own_statistics_in_training():
    layer, x = BatchNormalization(epsilon=0), sequences(50, 4, 3)
    y = layer(x, training=True)
    np.testing.assert_allclose(y.mean(axis=(0, 1)), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axis=(0, 1)), 1, atol=1e-4)


def test_moving_statistics_follow():
    layer, x = BatchNormalization(momentum=0.9), sequences(50, 4, 3)
    layer.build(x.shape)
    for _ in range(2):
        layer(x, training=True)
    mean, variance = (a.astype(np.float32) for a in (x.mean(axis=(0, 1)), x.var(axis=(0, 1))))
    np.testing.assert_allclose(layer.moving_mean.numpy(), (1 - 0.81) * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance.numpy(), 0.81 + 0.19 * variance, rtol=1e-5)
    before = layer.get_weights()
    y = layer(x)
    expected = (x - before[2]) / np.sqrt(before[3] + 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_masked_steps_are_normalised_but_not_counted():
    layer, x = BatchNormalization(momentum=0.0, dtype="float64"), sequences()
    y = layer(x, mask=MASK, training=True)
    counted = x[MASK]
    np.testing.assert_allclose(layer.moving_mean.numpy(), counted.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), counted.var(axis=0), rtol=1e-6)
    expected = (x - counted.mean(axis=0)) / np.sqrt(counted.var(axis=0) + 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert np.isfinite(layer(x, mask=np.zeros_like(MASK), training=True)).all()


def test_frozen_it_uses_its_moving_statistics():
    layer, x = BatchNormalization(), sequences()
    layer.build(x.shape)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.moving_mean.numpy(), 0)


def test_weights_have_keras_order():
    layer = BatchNormalization()
    layer.build((None, 4, 3))
    names = [p.name for p in layer.parameters]
    assert names == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert len(layer.trainable_weights) == len(layer.non_trainable_weights) == 2


def test_training_moves_the_statistics_and_not_by_gradients():
    rng = np.random.default_rng(0)
    model = Sequential([Dense(4), BatchNormalization(momentum=0.5), Dense(1)])
    model.compile("sgd", "mse")
    x = rng.normal(size=(40, 3)) + 5
    model.fit(x, x[:, :1], epochs=5, verbose=0)
    layer = model.layers[1]
    hidden = model.layers[0](x)
    np.testing.assert_allclose(layer.moving_mean.numpy(), hidden.mean(axis=0), rtol=0.3, atol=0.3)
    assert len(model.trainable_weights) == 6


@pytest.mark.parametrize("layer", [
    LayerNormalization([1, 2], epsilon=0.1, beta_regularizer="l2"),
    BatchNormalization(1, momentum=0.5, gamma_constraint="non_neg"),
], ids=lambda layer: type(layer).__name__)  # fmt: skip
def test_config_round_trip(layer):
    config = json.loads(json.dumps(layer.get_config()))
    assert type(layer).from_config(config).get_config() == layer.get_config()


# -- bad input ----------------------------------------------------------------------


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda: LayerNormalization(epsilon=-1), ValueError, "epsilon must be.*got -1"),
    (lambda: BatchNormalization(momentum=2), ValueError, r"momentum must lie in \[0, 1\]"),
    (lambda: LayerNormalization(3).build((None, 4)), ValueError, "axis=3 does not fit.*2 axes"),
    (lambda: LayerNormalization([1, -1]).build((None, 4)), ValueError, r"axis=\[-1, 1\]"),
    (lambda: LayerNormalization().build((None, None)), ValueError, r"known size.*\(None, None\)"),
    (lambda: BatchNormalization(renorm=True), NotImplementedError, "renorm is not there yet"),
])  # fmt: skip
def test_bad_arguments(make, error, message):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("make", [LayerNormalization, BatchNormalization])
def test_bad_shapes(make):
    layer = make(name="norm")
    layer.build((None, 4, 3))
    with pytest.raises(ValueError, match=r"'norm'.*\(any, any, 3\).*got shape \(2, 4, 5\)"):
        layer(np.ones((2, 4, 5)))
    with pytest.raises(ValueError, match=r"got shape \(2, 3\)"):
        layer(np.ones((2, 3)))


def test_bad_masks():
    layer = BatchNormalization()
    with pytest.raises(ValueError, match=r"mask goes with inputs of shape.*got shape \(3, 4\)"):
        layer(np.ones((3, 4)), mask=np.ones((3, 4), bool), training=True)
    layer = BatchNormalization()
    with pytest.raises(ValueError, match=r"mask of shape \(3, 4\).*got shape \(3, 5\)"):
        layer(np.ones((3, 4, 2)), mask=np.ones((3, 5), bool), training=True)
