"""Activations: values at the edges, and gradients by differences."""

import warnings

import numpy as np
import pytest
from engine_cases import assert_gradient

import fastrnn
from fastrnn import Input, Model, _core, activations, engines, layers, ops
from fastrnn.engines.cpu import KERNEL_ACTIVATIONS

NAMES = [
    "celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
    "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "sparsemax", "squareplus", "tanh", "tanh_shrink",
]
SINE = activations.Activation("sine", np.sin, lambda z, y, dy: dy * np.cos(z))


def test_all_are_tested():
    assert sorted(activations._TABLE) == NAMES


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("name", [*NAMES, SINE])
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


@pytest.mark.parametrize("name", [n for n in NAMES if "max" not in n])
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
    "silu": (np.inf, np.nan), "gelu": (np.inf, np.nan),  # minus infinity times 0
}


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", sorted(KERNEL_ACTIVATIONS - {"linear"}))
def test_kernels_of_every_isa(name, dtype, isa):
    """Large and small numbers, by their own size; the slopes, which kernels take from y or z."""
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=300, scale=s) for s in (30, 4, 1, 1e-4)])
    z = z.clip(-80, 80).astype(dtype)  # where exp is a number in single precision
    y, dz, ends = np.empty_like(z), np.empty_like(z), np.array([np.inf, -np.inf, np.nan], dtype)
    before = _core.isa()
    _core.use_isa(isa)
    try:
        _core.activate(name, z, y)
        _core.activate_backward(name, z, y, np.ones_like(z), dz)
        _core.activate(name, ends, ends)
    finally:
        _core.use_isa(before)
    z = z.astype(np.float64)
    wanted = activations.named(name).forward(z)
    slope = activations.named(name).backward(z, wanted, np.ones_like(z))
    rounding = 8 * np.finfo(dtype).eps
    # Of hard_sigmoid only the error beside 1 is small, for it adds 1/2, and of gelu: far below 0
    # that of its argument is multiplied by the square of z.
    least = 1 if name in ("hard_sigmoid", "gelu") else np.finfo(dtype).tiny / rounding
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
    z = np.array([-4.0, -1.0, -0.75, -0.25, 0.0, 0.3, 0.875, 1.0, 5.75, 9.0])
    for name, expected in {
        "celu": [-0.9816844, -0.6321205, -0.5276334, -0.2211992, 0.0, 0.3, 0.875, 1.0, 5.75, 9.0],
        "hard_shrink": [-4.0, -1.0, -0.75, 0.0, 0.0, 0.0, 0.875, 1.0, 5.75, 9.0],
        "hard_silu": [0.0, -0.3333333, -0.28125, -0.1145833, 0.0, 0.165, 0.5651042, 0.6666667,
                      5.75, 9.0],
        "hard_tanh": [-1.0, -1.0, -0.75, -0.25, 0.0, 0.3, 0.875, 1.0, 1.0, 1.0],
        "log_sigmoid": [-4.01815, -1.313262, -1.136871, -0.8259394, -0.6931472, -0.5543553,
                        -0.3484446, -0.3132617, -0.003177727, -0.0001234022],
        "log_softmax": [-13.03912, -10.03912, -9.789123, -9.289123, -9.039123, -8.739122,
                        -8.164123, -8.039123, -3.289122, -0.03912244],
        "mish": [-0.07259174, -0.3034014, -0.2764947, -0.129927, 0.0, 0.2080014, 0.735584,
                 0.8650985, 5.749884, 9.0],
        "soft_shrink": [-3.5, -0.5, -0.25, 0.0, 0.0, 0.0, 0.375, 0.5, 5.25, 8.5],
        "sparse_plus": [0.0, 0.0, 0.015625, 0.140625, 0.25, 0.4225, 0.8789062, 1.0, 5.75, 9.0],
        "sparse_sigmoid": [0.0, 0.0, 0.125, 0.375, 0.5, 0.65, 0.9375, 1.0, 1.0, 1.0],
        "sparsemax": [0.0] * 9 + [1.0],
        "squareplus": [0.236068, 0.618034, 0.6930004, 0.8827822, 1.0, 1.161187, 1.529016, 1.618034,
                       5.918949, 9.109772],
        "tanh_shrink": [-3.000671, -0.2384058, -0.114851, -0.005081341, 0.0, 0.008687407,
                        0.1710944, 0.2384058, 4.75002, 8.0],
        "glu": [-2.29777, -0.705785, -0.5482939, -0.2492068, 0.0],
    }.items():
        np.testing.assert_allclose(getattr(activations, name)(z), expected, rtol=1e-6, atol=3e-7)
    for y, expected in [
        (activations.threshold(z, 0.5, -1), [-1] * 6 + [0.875, 1, 5.75, 9]),
        (activations.hard_shrink(z, threshold=0.8), [-4, -1, 0, 0, 0, 0, 0.875, 1, 5.75, 9]),
        (activations.soft_shrink(z[-3:], threshold=0.8), [0.2, 4.95, 8.2]),
        (activations.celu(z[:2], alpha=0.5), [-0.49983227, -0.43233237]),
        (activations.squareplus(z[:2], b=1), [0.06155276, 0.20710677]),
    ]:
        np.testing.assert_allclose(y, expected, rtol=1e-5)
    z = z[:5]
    columns = activations.softmax(z.reshape(5, 1), axis=0)
    np.testing.assert_allclose(columns.sum(axis=0), 1)


def test_sparsemax_over_another_axis_and_with_ties():
    z = np.array([[1.0, 1.0, 0.5], [-2.0, 0.9, 0.5]])
    y = activations.sparsemax(z)
    np.testing.assert_allclose(y, [[0.5, 0.5, 0], [0, 0.7, 0.3]])
    np.testing.assert_allclose(activations.sparsemax(z.T, axis=0), y.T)


def test_names_in_configurations():
    assert activations.serialize(activations.hard_swish) == "hard_silu"
    assert activations.deserialize("mish") is activations.mish
    assert layers.Dense(2, activation="hard_swish").get_config()["activation"] == "hard_silu"
    for name in ("glu", activations.threshold):
        with pytest.raises(ValueError, match=r"'dense.* \(Dense\): activation: .* can be called"):
            layers.Dense(2, activation=name)
    with pytest.raises(ValueError, match="glu: expected an axis -1 of even length"):
        activations.glu(np.ones((2, 3)))


# -- of one's own ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("function", "message"), [
    (np.tanh, r"Dense\): activation: <ufunc 'tanh'> says nothing of its gradient; write 'tanh'"),
    (lambda z: np.sin(z), r"functions of fastrnn\.ops and operators alone; .*Activation\(name, fo"),
])
def test_functions_that_say_nothing_of_their_gradient(function, message):
    with pytest.raises(TypeError, match=message):
        layers.Dense(2, activation=function)
    with pytest.raises(TypeError, match=r"\(LSTMCell\): recurrent_activation: "):
        layers.LSTM(2, recurrent_activation=function)
    assert activations.get(function) is function


def cubed(z):
    return z**3 - ops.tanh(z)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize("make", [
    lambda: layers.Dense(3, activation=cubed, dtype="float64"),
    lambda: layers.SimpleRNN(3, activation=lambda z: ops.sin(z) * 0.5, dtype="float64"),
    lambda: layers.LSTM(3, recurrent_activation=lambda z: activations.sigmoid(2 * z),
                        return_sequences=True, dtype="float64"),
], ids=["Dense", "SimpleRNN", "LSTM"])  # fmt: skip
def test_functions_of_ones_own(engine, make):
    """Their gradients follow, in layers and at every step of a sweep."""
    with engines.using(engine):
        rng = np.random.default_rng(0)
        layer, x = make(), rng.normal(size=(2, 4, 3))
        layer.build(x.shape)
        y, tape = layer.forward(x)
        dy = rng.normal(size=y.shape)
        dx = layer.backward(tape, dy)

        def loss():
            return float((layer.forward(x)[0] * dy).sum())

        assert_gradient(dx, loss, x)
        for p in layer.parameters:
            assert_gradient(p.grad, loss, p.value)
        again = type(layer).from_config(layer.get_config())
        again.build(x.shape)
        again.set_weights(layer.get_weights())
        np.testing.assert_array_equal(again.forward(x)[0], y)


def test_two_functions_without_a_name_are_two():
    first, second = (layers.Dense(1, activation=f) for f in (lambda z: z + 1, lambda z: z + 2))
    for layer, plus in ((first, 1), (second, 2)):
        again = layers.Dense.from_config(layer.get_config())
        assert again(np.zeros((1, 2)))[0, 0] == plus


@pytest.mark.parametrize("name", sorted({*activations._TABLE} - {"sparsemax"}))
def test_activations_of_symbolic_tensors(name):
    """In a `call` they are what a layer with them is, gradients too."""
    z = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32) * 2
    x = Input((3,))
    models = [Model(x, y) for y in (activations.get(name)(x), layers.Activation(name)(x))]
    found = []
    for model in models:
        (y,), _, tape = model.run_outputs(z)
        found.append((y, *model.backward_outputs(tape, [np.ones_like(y)])))
    for own, other in zip(*found, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-5, atol=1e-6)
    with pytest.raises(TypeError, match="no further arguments; write it with functions of fastrnn"):
        activations.relu(x, max_value=6.0)


@pytest.mark.parametrize("engine", ["reference", "cpu"])
def test_layers_with_an_activation_of_ones_own(engine, tmp_path):
    bent = activations.Activation(  # in double precision, whatever it is given
        "bent", lambda z: np.tanh(z).astype(np.float64), lambda z, y, dy: dy * (1 - y * y)
    )
    with engines.using(engine):
        def made(f):
            fastrnn.utils.set_random_seed(3)
            model = fastrnn.Sequential([
                fastrnn.Input((4, 3)),
                layers.Bidirectional(layers.LSTM(2, activation=f, return_sequences=True)),
                layers.TimeDistributed(layers.Dense(3, activation=f)),
                layers.GRU(2, activation=f),
                layers.Activation(f),
            ])
            model.compile("sgd", "mse")
            model.fit(np.ones((6, 4, 3)), np.zeros((6, 2)), epochs=2, verbose=0)
            return model

        model = made(bent)
        for a, b in zip(model.get_weights(), made("tanh").get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
        model.save(tmp_path / "model.fastrnn")
        x = np.ones((1, 4, 3))
        for same in (
            fastrnn.models.load_model(tmp_path / "model.fastrnn"),
            fastrnn.models.clone_model(model),
        ):
            same.set_weights(model.get_weights())
            np.testing.assert_allclose(same.predict(x, verbose=0), model.predict(x, verbose=0))
    activations._own.pop("bent")
    with pytest.raises(ValueError, match="Unknown activation: 'bent'"):
        fastrnn.models.load_model(tmp_path / "model.fastrnn")
    again = fastrnn.models.load_model(tmp_path / "model.fastrnn", custom_objects={"bent": bent})
    assert again.layers[-1].activation is bent


def test_names_that_are_taken():
    with pytest.raises(ValueError, match="'relu' is an activation of fastrnn; .* another name"):
        layers.Dense(2, activation=activations.Activation("relu", np.abs, None))
    assert layers.Dense(2, activation=activations.named("relu")).activation == "relu"


def test_results_of_another_shape():
    summed = activations.Activation("summed", lambda z: z.sum(axis=1), lambda z, y, dy: dy)
    with pytest.raises(ValueError, match=r"'summed': forward: .* z, \(5, 2\); got shape \(5,\)"):
        layers.Dense(2, activation=summed)(np.ones((5, 3)))


def test_second_name_and_unknown_names():
    assert activations.named("silu").forward is activations.silu
    layer_name = activations.get("swish")
    assert layer_name == activations.get("silu") == activations.get(activations.silu)
    assert activations.get(None) == activations.get("linear")
    with pytest.raises(ValueError, match="Did you mean 'softmax'"):
        activations.get("sofmax")


@pytest.mark.parametrize("name, wrong", [("gelu", "z"), ("tanh", "y")])
def test_kernels_refuse_arrays_of_another_size(name, wrong):
    arrays = {part: np.zeros(4) for part in ("z", "y", "dy", "dz")} | {wrong: np.zeros(3)}
    with pytest.raises(ValueError, match="dy: expected 3 elements; got 4"):
        _core.activate_backward(name, *arrays.values())
