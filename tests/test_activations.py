"""Activations: values at the edges, and gradients by differences."""

import warnings

import numpy as np
import pytest
from engine_cases import assert_gradient

from fastrnn import _core, activations, engines
from fastrnn.engines.cpu import KERNEL_ACTIVATIONS

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


# At infinity and minus infinity; of all others infinity and 0.
ENDS = {
    "tanh": (1, -1), "sigmoid": (1, 0), "hard_sigmoid": (1, 0), "relu6": (6, 0),
    "leaky_relu": (np.inf, -np.inf), "elu": (np.inf, -1), "selu": (np.inf, -1.7580993408473766),
    "softsign": (np.nan, np.nan),  # infinity by infinity, as NumPy has it
}


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(KERNEL_ACTIVATIONS - {"linear"}))
def test_kernels_of_every_isa(name, dtype, isa):
    """Large and small numbers, by their own size; the slopes, which kernels take from y."""
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=300, scale=s) for s in (30, 4, 1, 1e-4)])
    z = z.clip(-80, 80).astype(dtype)  # where exp is a number in single precision
    y, dz, ends = np.empty_like(z), np.empty_like(z), np.array([np.inf, -np.inf, np.nan], dtype)
    before = _core.isa()
    _core.use_isa(isa)
    try:
        _core.activate(name, z, y)
        _core.activate_backward(name, y, np.ones_like(z), dz)
        _core.activate(name, ends, ends)
    finally:
        _core.use_isa(before)
    z = z.astype(np.float64)
    wanted = activations.named(name).forward(z)
    slope = activations.named(name).backward(z, wanted, np.ones_like(z))
    rounding = 8 * np.finfo(dtype).eps
    # Of hard_sigmoid and tanh only the error beside 1 is small: the one adds 1/2.
    least = 1 if name == "hard_sigmoid" else np.finfo(dtype).tiny / rounding
    np.testing.assert_allclose(y, wanted, rtol=rounding, atol=least * rounding)
    np.testing.assert_allclose(dz, slope, rtol=rounding, atol=rounding)
    np.testing.assert_allclose(ends, [*ENDS.get(name, (np.inf, 0)), np.nan], rtol=rounding)


def test_arguments_of_keras():
    """Values that Keras 3.15.1 gives."""
    z = np.array([-4.0, -0.75, 0.875, 5.75, 9.0])
    for y, expected in [
        (activations.relu(z, 0.5, 6.0, 1.0), [-2.5, -0.875, -0.0625, 5.75, 6]),
        (activations.relu(z, negative_slope=0.25), [-1, -0.1875, 0.875, 5.75, 9]),
        (activations.relu(z, max_value=3.0), [0, 0, 0.875, 3, 3]),
        (activations.relu(z, threshold=2.0), [0, 0, 0, 5.75, 9]),
        (activations.elu(z, alpha=0.5), [-0.4908422, -0.26381672, 0.875, 5.75, 9]),
        (activations.leaky_relu(z, negative_slope=0.1), [-0.4, -0.075, 0.875, 5.75, 9]),
        (activations.gelu(z, approximate=True), [-7.0e-05, -0.17003945, 0.7079527, 5.75, 9]),
    ]:
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=3e-7)
    columns = activations.softmax(z.reshape(5, 1), axis=0)
    np.testing.assert_allclose(columns.sum(axis=0), 1)


def test_second_name_and_unknown_names():
    assert activations.named("silu").forward is activations.silu
    layer_name = activations.get("swish")
    assert layer_name == activations.get("silu") == activations.get(activations.silu)
    assert activations.get(None) == activations.get("linear")
    with pytest.raises(ValueError, match="Did you mean 'softmax'"):
        activations.get("sofmax")
