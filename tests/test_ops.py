"""Functions of arrays and of symbolic tensors: values, gradients, shapes, what they refuse."""

import numpy as np
import pytest
from engine_cases import assert_gradient

from fastrnn import Input, Model, activations, engines, ops
from fastrnn.differentiable import FUNCTIONS
from fastrnn.layers import LSTM, Dense, GlobalAveragePooling1D, Masking
from fastrnn.layers.operations import Operation
from fastrnn.models import clone_model, load_model

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(2, 4, 3, 5))
MATRIX, VECTOR = RNG.normal(size=(5, 2)), RNG.normal(size=5)

ONE = {
    name: getattr(ops, name)
    for name in ops.__all__ if name in FUNCTIONS and FUNCTIONS[name].backward is not None
    and name not in ("clip", "concatenate", "expand_dims", "flip", "log", "log1p", "matmul", "max",
                     "maximum", "mean", "min", "minimum", "reshape", "softmax", "sqrt", "squeeze",
                     "sum", "transpose", "where")
} | {
    "log": lambda x: ops.log(ops.abs(x) + 1), "log1p": lambda x: ops.log1p(ops.square(x)),
    "sqrt": lambda x: ops.sqrt(ops.square(x) + 1), "rsqrt": lambda x: ops.rsqrt(x * x + 1),
    "reciprocal": lambda x: ops.reciprocal(x * x + 1), "negative": ops.negative,
    "arithmetic": lambda x: ops.subtract(ops.multiply(x, 2.0), ops.divide(ops.add(x, 1), 4)),
    "abs": lambda x: abs(x) * (x > 0.25),
    "comparisons": lambda x: x * (x <= 0) + (x >= 0.5) * (x < 1) * x**2,
    "power": lambda x: ops.power(x, 3), "true_divide": lambda x: ops.true_divide(1.0, x * x + 1),
    "clip": lambda x: ops.clip(x, -0.5, 0.25),
    "softmax": ops.softmax, "softmax over steps": lambda x: ops.softmax(x, axis=1),
    "log_softmax": lambda x: ops.log_softmax(x, axis=1),
    "sum": lambda x: ops.sum(x, axis=1), "sums": lambda x: ops.sum(x, axis=(1, -1)),
    "sum, kept": lambda x: ops.sum(x, axis=1, keepdims=True) * x,
    "mean": lambda x: ops.mean(x, axis=-1), "mean, kept": lambda x: x - ops.mean(x, 1, True),
    "max": lambda x: ops.max(x, axis=1), "max, kept": lambda x: ops.max(x, (1, 2), True) * x,
    "min": lambda x: ops.min(x, axis=-1), "var": lambda x: ops.var(x, axis=1),
    "std": lambda x: ops.std(x, axis=2, keepdims=True),
    "a constant": lambda x: ops.maximum(x, 0.25), "a constant first": lambda x: ops.minimum(0.5, x),
    "where": lambda x: ops.where(x > 0, x, x * x) if isinstance(x, np.ndarray)
    else ops.where(ops.greater(x, 0), x, x * x),
    "matrix": lambda x: ops.matmul(x, MATRIX), "@": lambda x: x @ MATRIX,
    "vector": lambda x: ops.dot(x, VECTOR),
    "expand_dims": lambda x: ops.expand_dims(x, 1), "at the end": lambda x: ops.expand_dims(x, -1),
    "squeeze": lambda x: ops.squeeze(x[:, :1], 1), "squeeze all": lambda x: ops.squeeze(x[:, :1]),
    "reshape": lambda x: ops.reshape(x, (-1, 15)),
    "reshape too": lambda x: ops.reshape(x, (-1, 5, 3)),
    "any left": lambda x: ops.reshape(x, (-1, 1, 5, 3, 1)),
    "transpose": lambda x: ops.transpose(x, (0, 2, 1)),
    "swapaxes": lambda x: ops.swapaxes(x, 1, -1),
    "flip": lambda x: ops.flip(x, axis=1), "cast": lambda x: ops.cast(x, "float64"),
    "convert_to_tensor": lambda x: ops.convert_to_tensor(x, "float64") + 1,
    "stack": lambda x: ops.stack([x, 2 * x], axis=1),
    "stack at the end": lambda x: ops.stack([x, x * x], axis=-1),
}  # fmt: skip
TWO = {
    "maximum": ops.maximum, "minimum": ops.minimum,
    "stretched": lambda a, b: ops.maximum(a[:, :1], b[..., :1]),
    "product of matrices": lambda a, b: ops.matmul(a, ops.transpose(b, (0, 2, 1))),
    "concatenate": lambda a, b: ops.concatenate([a, b], axis=-1),
    "of steps": lambda a, b: ops.concatenate([a, b[:, :1]], axis=1),
}  # fmt: skip
CASES = [(f, name, 1) for name, f in ONE.items()] + [(f, name, 2) for name, f in TWO.items()]


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize(("f", "name", "inputs"), CASES, ids=[name for _, name, _ in CASES])
def test_values_and_gradients(f, name, inputs, engine):
    """As the same function of arrays; gradients by differences; the shape, known before."""
    arrays = [A.copy(), B.copy()][:inputs]
    with engines.using(engine):
        tensors = [Input((3, 5), dtype="float64") for _ in arrays]
        y = f(*tensors)
        model = Model(tensors, y)
        expected = f(*arrays)
        assert y.shape == (None, *expected.shape[1:])

        def run():
            outputs, _, tape = model.run_outputs([*arrays], [None] * inputs)
            return outputs[0], tape

        found, tape = run()
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        dy = RNG.normal(size=expected.shape)
        for x, dx in zip(arrays, model.backward_outputs(tape, [dy]), strict=True):
            assert dx.shape == x.shape
            assert_gradient(dx, lambda: float((run()[0] * dy).sum()), x)


@pytest.mark.parametrize(("f", "name", "inputs"), CASES, ids=[name for _, name, _ in CASES])
def test_between_layers_with_kernels(f, name, inputs):
    """Which take arrays that lie in one piece: of views there are copies, there and back."""
    tensors = [Input((3, 5)) for _ in range(inputs)]
    parts = [LSTM(5, return_sequences=True)(x) for x in tensors]
    y = f(*parts)
    model = Model(tensors, Dense(2)(y if len(y.shape) > 1 else y[:, None]))
    model.compile("sgd", "mse")
    x = [a.astype(np.float32) for a in (A, B)[:inputs]]
    expected = f(*(Model(tensors, part).predict(x, verbose=0) for part in parts))
    found = Model(tensors, y).predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    model.train_on_batch(x, np.ones(model.predict(x, verbose=0).shape))


def test_every_function_with_a_gradient_is_tried():
    """By its own name, or in one of the cases above."""
    tried = set()
    for f, _, inputs in CASES:
        model = Model(tensors := [Input((3, 5)) for _ in range(inputs)], f(*tensors))
        tried |= {layer.function for layer in model.layers if isinstance(layer, Operation)}
    tried.add("get_item")  # of weights alone: in the tests of calls
    tried |= {*activations._TABLE}  # in their tests
    assert tried >= {name for name, f in FUNCTIONS.items() if f.backward is not None}


def test_values_are_those_of_numpy():
    """A few by other means: the cases above hold functions against themselves."""
    np.testing.assert_allclose(ops.softmax(A, 1), np.exp(A) / np.exp(A).sum(1, keepdims=True))
    np.testing.assert_allclose(ops.log_softmax(A), np.log(ops.softmax(A)))
    np.testing.assert_allclose(ops.std(A, axis=(1, 2)), A.std(axis=(1, 2)))
    np.testing.assert_allclose(ops.matmul(A, MATRIX), A @ MATRIX)
    np.testing.assert_allclose(ops.dot(A, VECTOR), A @ VECTOR)
    np.testing.assert_array_equal(ops.where([1, 0, 1], 2, 3), [2, 3, 2])
    np.testing.assert_array_equal(ops.logical_not(np.array([1, 0])), [False, True])
    np.testing.assert_array_equal(ops.stack([A, B], -1), np.stack([A, B], -1))
    assert ops.shape(A) == (4, 3, 5) and ops.shape(Input((None, 2))) == (None, None, 2)
    assert ops.convert_to_tensor([1.0]).dtype == np.float32 and ops.cast([1.5], "int32")[0] == 1


def test_equal_entries_share_the_gradient_of_the_largest():
    x = Input((3,), dtype="float64")
    model = Model(x, ops.max(x, axis=1))
    _, _, tape = model.run_outputs(np.array([[1.0, 4.0, 4.0]]))
    np.testing.assert_array_equal(model.backward_outputs(tape, [np.ones(1)]), [[[0, 0.5, 0.5]]])


def test_no_gradient_passes():
    """Through comparisons, signs and what is held."""
    x = Input((3,), dtype="float64")
    held = ops.sign(x) + ops.cast(ops.less(x, 1.0), "float64")
    held = (held + ops.zeros_like(x) + ops.ones_like(x)) * ops.stop_gradient(x)
    model = Model(x, held + x)
    _, _, tape = model.run_outputs(A[0])
    ones = np.ones((3, 5))
    np.testing.assert_array_equal(model.backward_outputs(tape, [ones])[0], ones)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min"])
def test_several_axes_as_a_list_and_in_files(name, tmp_path):
    function = getattr(ops, name)
    expected = getattr(np, name)(A, axis=(1, 2))
    np.testing.assert_allclose(function(A, axis=[1, 2]), expected)
    x = Input(A.shape[1:], dtype="float64")
    model = Model(x, function(x, axis=(1, 2)))
    model.save(tmp_path / "model.fastrnn")
    for made in (model, load_model(tmp_path / "model.fastrnn"), Model(x, function(x, [1, 2]))):
        np.testing.assert_allclose(made(A), expected)


@pytest.mark.parametrize(("steps", "expected"), [(None, None), (3, 3)])
def test_lengths_that_are_not_known(steps, expected):
    x = Input((steps, 5))
    assert ops.sum(x, axis=-1).shape == (None, expected)
    assert ops.transpose(x, (0, 2, 1)).shape == (None, 5, expected)
    assert ops.reshape(x, (-1, steps or -1, 5, 1)).shape == (None, expected, 5, 1)
    assert ops.maximum(x, x[:, :1]).shape == (None, expected, 5)
    assert ops.concatenate([x, x], axis=1).shape == (None, steps and 6, 5)


@pytest.mark.parametrize(("make", "message"), [
    (lambda x: ops.sum(x), "axes behind the batch: .* depend on the rows beside it"),
    (lambda x: ops.mean(x, axis=0), r"'mean.*\(Operation: mean\): expected axes behind the batch"),
    (lambda x: ops.sum(x, axis=3), r"expected an axis from -3 to 2, not 3; got shape \(None, 3, 5"),
    (lambda x: ops.matmul(x, MATRIX.T), r"as many columns.*got shapes \(None, 3, 5\), \(2, 5\)"),
    (lambda x: ops.matmul(x, x[:, 0]), "a matrix that all rows share, or three axes"),
    (lambda x: ops.dot(x, A), r"at most two axes on the right; got shape \(4, 3, 5\)"),
    (lambda x: ops.reshape(x, (-1, 7)), r"as many entries in a row, not \(-1, 7\)"),
    (lambda x: ops.reshape(x, (15, -1)), "begins with -1, for the batch"),
    (lambda x: ops.transpose(x), r"the batch first, not \(2, 1, 0\)"),
    (lambda x: ops.squeeze(x, 1), "an axis of length 1, not axis=1"),
    (lambda x: ops.expand_dims(x, 0), "an axis behind the batch"),
    (lambda x: ops.softmax(x, axis=0), "axes behind the batch"),
    (lambda x: ops.concatenate([x, x]), "axes behind the batch"),
    (lambda x: ops.flip(x, axis=0), "axes behind the batch"),
    (lambda x: ops.concatenate([x, x[:, :1]], -1), "differ in no axis but that along which"),
    (lambda x: ops.maximum(x, np.ones(4)), "counted from the last, are equal, or 1"),
])  # fmt: skip
def test_what_does_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make(Input((3, 5)))


def test_functions_of_numpy_want_values():
    with pytest.raises(TypeError, match=r"has no values.*fastrnn\.ops"):
        np.tanh(Input((3,)))
    with pytest.raises(ValueError, match="Operation: Unknown function: 'tahn'.*'tanh'"):
        Operation("tahn")


def test_files_and_clones(tmp_path):
    x = Input((3, 5))
    weights = ops.softmax(Dense(1)(x), axis=1)
    parts = [ops.sum(weights * x, axis=1), ops.maximum(x[:, 0], VECTOR)]
    model = Model(x, ops.concatenate(parts, axis=1))
    model.save(tmp_path / "model.fastrnn")
    given = A.astype(np.float32)
    again = load_model(tmp_path / "model.fastrnn")
    np.testing.assert_array_equal(again(given), model(given))
    clone = clone_model(model)
    clone.set_weights(model.get_weights())
    np.testing.assert_array_equal(clone(given), model(given))
    with pytest.raises(ValueError, match=r"is ops\.softmax, used between layers.*call of a layer"):
        model.to_json()


# -- sequences of different lengths ----------------------------------------------------------------

RAGGED = [A[0], A[1, :1], A[2, :2]]


@pytest.mark.parametrize("f", [
    lambda x: ops.tanh(x) * 2, lambda x: ops.softmax(x), lambda x: ops.matmul(x, MATRIX),
    lambda x: ops.sum(x, axis=-1, keepdims=True), lambda x: ops.concatenate([x, x], axis=-1),
    lambda x: ops.maximum(x, VECTOR),
], ids=range(6))  # fmt: skip
def test_filling_stays_filling(f):
    """Where steps stay apart, each row's result is that of the row alone."""
    x = Input((None, 5))
    model = Model(x, GlobalAveragePooling1D()(f(x)))
    together = model.predict(RAGGED, verbose=0)
    for row, found in zip(RAGGED, together, strict=True):
        np.testing.assert_allclose(found, model.predict(row[None], verbose=0)[0], rtol=1e-6)


@pytest.mark.parametrize("f", [
    lambda x: ops.softmax(x, axis=1), lambda x: ops.sum(x, axis=1), lambda x: ops.flip(x, axis=1),
    lambda x: ops.transpose(x, (0, 2, 1)), lambda x: ops.matmul(x, ops.transpose(x, (0, 2, 1))),
    lambda x: ops.expand_dims(x, 1), lambda x: ops.reshape(x, (-1, 5, 3)),
], ids=range(7))  # fmt: skip
def test_filling_is_not_taken_for_steps(f):
    x = Input((None, 5))
    with pytest.raises(ValueError, match="cannot take sequences of different lengths"):
        Model(x, f(x)).predict(RAGGED, verbose=0)


def test_no_mask_is_passed_on():
    x = Input((3, 5))
    pooled = GlobalAveragePooling1D()(ops.tanh(Masking()(x)))
    given = np.concatenate([A[:, :1] * 0, A[:, 1:]], axis=1)
    np.testing.assert_allclose(
        Model(x, pooled).predict(given, verbose=0), np.tanh(given).mean(axis=1), rtol=1e-5
    )


def test_types_of_tensors():
    """Whole numbers lose what is behind the point, booleans are 0 and 1; gelu is by way of tanh."""
    x = Input((5,))
    given = np.array([[-1.7, -0.2, 0.0, 0.4, 2.9]], np.float32)
    for y, expected in (
        (ops.cast(ops.cast(x, "int32"), "float32"), [-1, 0, 0, 0, 2]),
        (ops.cast(x, "bool"), [1, 1, 0, 1, 1]), (ops.cast(x, "float32"), given[0]),
        (ops.gelu(x), activations.gelu(given[0], approximate=True)),
        (ops.gelu(x, approximate=False), activations.gelu(given[0])),
    ):
        np.testing.assert_allclose(Model(x, y)(given)[0], expected, atol=2e-5)
