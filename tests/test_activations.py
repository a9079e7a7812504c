"""Activations: values at the edges, and gradients by differences."""

import warnings

import numpy as np
import pytest
from engine_cases import assert_gradient

from fastrnn import activations, engines

NAMES = [
    "elu", "exponential", "gelu", "hard_sigmoid", "leaky_relu", "linear", "relu", "relu6", "selu",
    "sigmoid", "silu", "softmax", "softplus", "softsign", "tanh",
]


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("name", NAMES)
def test_gradient_by_differences(name, engine):
    rng = np.random.default_rng(2)
    z, dy = 3 * rng.normal(size=(6, 5)), rng.normal(size=(6, 5))
    with engines.using(engine) as chosen:
        y = chosen.activate(name, z)
        dz = chosen.activate_backward(name, z, y, dy)
        assert_gradient(dz, lambda: float((chosen.activate(name, z) * dy).sum()), z)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_type_is_kept_and_far_values_are_finite(name, dtype):
    z = np.array([[-200.0, -80, -1, 0, 1, 80]], dtype)
    activation = activations.named(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        y = activation.forward(z)
        dz = activation.backward(z, y, np.ones_like(y))
    assert y.dtype == dz.dtype == dtype
    assert np.isfinite(y).all() and np.isfinite(dz).all()


@pytest.mark.parametrize("name", [n for n in NAMES if n != "softmax"])
def test_nan_is_passed_on(name):
    z = np.array([[np.nan, 1.0]], np.float32)
    y = activations.named(name).forward(z)
    assert np.isnan(y[0, 0]) and np.isfinite(y[0, 1])


def test_values():
    z = np.array([-4.0, -1.0, 0.0, 2.0, 7.0])
    expected = {
        "relu6": [0, 0, 0, 2, 6],
        "leaky_relu": [-0.8, -0.2, 0, 2, 7],
        "hard_sigmoid": [0, 1 / 3, 0.5, 5 / 6, 1],
        "softsign": [-0.8, -0.5, 0, 2 / 3, 7 / 8],
    }
    for name, y in expected.items():
        np.testing.assert_allclose(activations.named(name).forward(z), y)
    # The standard normal lies below 1 with probability 0.8413447.
    assert activations.gelu(np.array([1.0]))[0] == pytest.approx(0.8413447461)


def test_second_name_and_unknown_names():
    assert activations.named("silu").forward is activations.silu
    layer_name = activations.get("swish")
    assert layer_name == activations.get("silu") == activations.get(activations.silu)
    assert activations.get(None) == activations.get("linear")
    with pytest.raises(ValueError, match="Did you mean 'softmax'"):
        activations.get("sofmax")
