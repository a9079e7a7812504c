"""Functions of arrays and of symbolic tensors: values, gradients, shapes, what they refuse."""

import inspect
import json

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
    and len(inspect.signature(getattr(ops, name)).parameters) == 1
} | {
    "log": lambda x: ops.log(ops.abs(x) + 1), "log1p": lambda x: ops.log1p(ops.square(x)),
    "sqrt": lambda x: ops.sqrt(ops.square(x) + 1), "rsqrt": lambda x: ops.rsqrt(x * x + 1),
    "reciprocal": lambda x: ops.reciprocal(x * x + 1), "negative": ops.negative,
    "arithmetic": lambda x: ops.subtract(ops.multiply(x, 2.0), ops.divide(ops.add(x, 1), 4)),
    "abs": lambda x: abs(x) * (x > 0.25),
    "comparisons": lambda x: x * (x <= 0) + (x >= 0.5) * (x < 1) * x**2,
    "power": lambda x: ops.power(x, 3), "true_divide": lambda x: ops.true_divide(1.0, x * x + 1),
    "clip": lambda x: ops.clip(x, -0.5, 0.25), "from above": lambda x: ops.clip(x, None, 0.25),
    "from below": lambda x: ops.clip(x, -0.5, None),
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
    "elu": ops.elu, "celu": ops.celu, "leaky_relu": ops.leaky_relu, "gelu": ops.gelu,
    "steep elu": lambda x: ops.elu(x, 2.5), "soft celu": lambda x: ops.celu(x, alpha=0.5),
    "leakier": lambda x: ops.leaky_relu(x, negative_slope=0.75),
    "glu": lambda x: ops.glu(x[..., :4]), "glu of steps": lambda x: ops.glu(x[:, :2], axis=1),
    "round": lambda x: x * ops.round(x), "digits": lambda x: x * ops.round(x, 1),
    "floor": lambda x: x - ops.floor(x), "ceil": lambda x: x * ops.ceil(x),
    "any": lambda x: x * ops.any(x > 1, axis=-1, keepdims=True),
    "all": lambda x: x * ops.cast(ops.all(x > -1, axis=-1, keepdims=True), "float64"),
    "argmax": lambda x: ops.argmax(x, axis=-1) * ops.sum(x, axis=-1),
    "argmin": lambda x: ops.argmin(x, axis=1, keepdims=True) * x,
    "cumsum": lambda x: ops.cumsum(x, axis=1), "cumsum, last": lambda x: ops.cumsum(x * x, -1),
    "diff": ops.diff, "diff of steps": lambda x: ops.diff(x, n=2, axis=1),
    "logsumexp": lambda x: ops.logsumexp(x, axis=-1),
    "logsumexp, kept": lambda x: x - ops.logsumexp(x, axis=(1, 2), keepdims=True),
    "norm": lambda x: ops.norm(x, axis=-1), "norms": lambda x: ops.norm(x, axis=(1, 2)),
    "norm 1": lambda x: ops.norm(x, 1, axis=-1, keepdims=True),
    "greatest": lambda x: ops.norm(x, np.inf, axis=1),
    "normalize": ops.normalize, "normalize 1": lambda x: ops.normalize(x, axis=1, order=1),
    "einsum of one": lambda x: ops.einsum("btd->bd", x),
    "einsum, turned": lambda x: ops.einsum("btd->bdt", x),
    "einsum, matrix": lambda x: ops.einsum("btd,dk->btk", x, MATRIX),
    "einsum, without an arrow": lambda x: ops.einsum("btd,d", x, VECTOR),
    "split": lambda x: ops.concatenate(ops.split(x, 5, axis=-1)[::-1], axis=1),
    "split at": lambda x: ops.split(x, [1, 3], axis=2)[1] * 2, "unstack": lambda x:
    ops.unstack(x, axis=1)[2] * ops.unstack(x, 3, axis=-2)[0],
    "take": lambda x: ops.take(x, [2, 0, 2], axis=1), "take one": lambda x: ops.take(x, -1, axis=2),
    "take two axes": lambda x: ops.take(x, [[0, 4], [1, 1]], axis=-1),
    "repeat": lambda x: ops.repeat(x, 2, axis=1) * 3, "repeat, last": lambda x:
    ops.repeat(x, 3, axis=-1),
    "tile": lambda x: ops.tile(x, (1, 2, 1)), "tile, last": lambda x: ops.tile(x, 2),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=2.0) * 3,
    "pad with zeros": lambda x: ops.pad(x, [(0, 0), (0, 1), (0, 0)]),
    "roll": lambda x: ops.roll(x, 1, axis=1), "roll back": lambda x: ops.roll(x, -2, axis=-1),
    "roll none": lambda x: ops.roll(x, 3, axis=1) * 2,
    "moveaxis": lambda x: ops.moveaxis(x, 1, -1), "moveaxis of two": lambda x:
    ops.moveaxis(x, (1, 2), (2, 1)),
    "tril": ops.tril, "tril, k": lambda x: ops.tril(x, 1), "triu": lambda x: ops.triu(x, k=-1),
    "full_like": lambda x: x * ops.full_like(x, 3.0), "broadcast": lambda x:
    ops.broadcast_to(x[:, :1], (len(A), 3, 5)) if isinstance(x, np.ndarray)
    else x[:, :1] + ops.zeros((3, 5)),
    "one_hot": lambda x: ops.one_hot(ops.argmax(x, axis=-1), 5) * x,
    "one_hot in front": lambda x: ops.one_hot(ops.argmax(x, axis=-1), 5, axis=1)
    * ops.transpose(x, (0, 2, 1)),
    "2 ** x": lambda x: 2.0**x, "power of a constant": lambda x: ops.power(3, x),
    "constants' powers": lambda x: np.array([0.5, 1, 2, 3, 0.25]) ** x,
    "lookup": lambda x: ops.take(MATRIX, ops.argmax(x, axis=-1), axis=0)
    * ops.sum(x, axis=-1, keepdims=True),
    "linspace": lambda x: x * ops.linspace(0, 1, 5), "arange": lambda x: x + ops.arange(5),
    "eye": lambda x: ops.matmul(x, ops.eye(5, 4, k=-1)),
    "stack": lambda x: ops.stack([x, 2 * x], axis=1),
    "stack at the end": lambda x: ops.stack([x, x * x], axis=-1),
}  # fmt: skip
TWO = {
    "maximum": ops.maximum, "minimum": ops.minimum,
    "stretched": lambda a, b: ops.maximum(a[:, :1], b[..., :1]),
    "product of matrices": lambda a, b: ops.matmul(a, ops.transpose(b, (0, 2, 1))),
    "logaddexp": ops.logaddexp, "powers": lambda a, b: ops.power(ops.abs(a) + 0.1, b),
    "**": lambda a, b: (a * a) ** b,
    "einsum": lambda a, b: ops.einsum("btd,bsd->bts", a, b),
    "einsum of all": lambda a, b: ops.einsum("btd,bsd->b", a, b),
    "einsum, entries": lambda a, b: ops.einsum("btd,btd->bdt", a, b),
    "einsum of three": lambda a, b: ops.einsum("btd,dk,bsd->bkst", a, MATRIX, b),
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


@pytest.mark.parametrize(("f", "name", "inputs"), CASES, ids=[name for _, name, _ in CASES])
def test_as_text(f, name, inputs):
    """What a model's configuration says of them, when it was JSON in between."""
    tensors = [Input((3, 5), dtype="float64") for _ in range(inputs)]
    model = Model(tensors, f(*tensors))
    made = Model.from_config(json.loads(json.dumps(model.get_config())))
    x = [A, B] if inputs == 2 else A
    np.testing.assert_array_equal(made(x), model(x))


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
    for equation, x in (
        ("btd,bsd->bts", (A, B)), ("btd,bsd->b", (A, B)), ("btd->tdb", (A,)), ("btd->", (A,)),
        ("btd,dk,bsd->skt", (A, MATRIX, B)), ("i,j->ji", (VECTOR, VECTOR)), ("ij, jk", (MATRIX.T,
        MATRIX)), ("i,i", (VECTOR, VECTOR)), ("i,ij->i", (VECTOR, MATRIX)),
    ):  # fmt: skip
        found = FUNCTIONS["einsum"].forward(*x, equation=equation)
        np.testing.assert_allclose(found, np.einsum(equation, *x))
    np.testing.assert_allclose(ops.logaddexp(A, B), np.logaddexp(A, B))
    np.testing.assert_allclose(ops.logsumexp(A * 1e4, 1), A.max(1) * 1e4)
    np.testing.assert_allclose(ops.norm(A, axis=2), np.linalg.norm(A, axis=2))
    np.testing.assert_allclose(ops.norm(A, 1, 2, True), np.linalg.norm(A, 1, 2, True))
    np.testing.assert_array_equal(ops.diff(A, 2, 1), np.diff(A, 2, 1))
    np.testing.assert_array_equal(ops.roll(A, -1, 1), np.roll(A, -1, 1))
    np.testing.assert_array_equal(ops.moveaxis(A, (0, 1), (2, 0)), np.moveaxis(A, (0, 1), (2, 0)))
    np.testing.assert_array_equal(ops.triu(A, 1), np.triu(A, 1))
    np.testing.assert_array_equal(ops.tril(A, -1), np.tril(A, -1))
    np.testing.assert_array_equal(ops.any(A > 1, axis=1), (A > 1).any(axis=1))
    np.testing.assert_array_equal(ops.all(A > -1), (A > -1).all())
    np.testing.assert_array_equal(ops.split(A, [1, 3], 2)[1], A[..., 1:3])
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
    (lambda x: ops.split(x, 2, axis=1), "cannot be divided into 2 equal parts"),
    (lambda x: ops.split(Input((None, 5)), 3, axis=1), r"split: expected an axis of known length"),
    (lambda x: ops.unstack(x), r"unstack: expected an axis of known length; axis 0 of \(None, 3"),
    (lambda x: ops.unstack(x, 4, axis=1), r"has 3 parts; got num=4"),
    (lambda x: ops.take(x, [3], axis=1), r"expected places that axis 1 has; got shape"),
    (lambda x: ops.take(x, [0], axis=0), "axes behind the batch"),
    (lambda x: ops.take(x, [0]), "take: axis must be given"),
    (lambda x: ops.take(MATRIX, x, axis=1), "symbolic indices are places in axis 0 of a table"),
    (lambda x: ops.take(x, x[..., 0], axis=0), "a table .* that all rows share"),
    (lambda x: ops.repeat(x, 2, axis=0), "axes behind the batch"),
    (lambda x: ops.repeat(x, 0, axis=1), "repeats must be a whole number from 1 on; got 0"),
    (lambda x: ops.pad(x, 1), "axes behind the batch"),
    (lambda x: ops.pad(x, ((0, 0), (0, -1), (0, 0))), "pad_width: expected numbers from 0 on"),
    (lambda x: ops.pad(x, 0, mode="reflect"), "Unknown mode for symbolic tensors: 'reflect'"),
    (lambda x: ops.cumsum(x, axis=0), "axes behind the batch"),
    (lambda x: ops.cumsum(x), "cumsum: axis must be given"),
    (lambda x: ops.einsum("btd->tbd", x), "the batch first in the output"),
    (lambda x: ops.einsum("btd->td", x), "the batch first in the output"),
    (lambda x: ops.einsum("btt->bt", x), "none twice for an array; not 'btt->bt'"),
    (lambda x: ops.einsum("b...->b", x), "a letter for each axis"),
    (lambda x: ops.einsum("bt->b", x), "a letter for each axis, not 'bt->b'"),
    (lambda x: ops.einsum("btd,dk->btk", x, MATRIX.T), "axes of one length where"),
    (lambda x: ops.norm(x, 3, axis=1), "ord must be None, 1, 2 or np.inf; got 3"),
    (lambda x: ops.zeros((None, 3)), "or in a call None for the rows"),
    (lambda x: ops.zeros((3, None)), "expected a shape of whole numbers"),
    (lambda x: ops.maximum(x, np.ones(4)), "counted from the last, are equal, or 1"),
])  # fmt: skip
def test_what_does_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make(Input((3, 5)))


@pytest.mark.parametrize("f", [
    ops.normalize, lambda x: ops.elu(x, 2.0), lambda x: ops.round(x, 1), lambda x: 2.0 + ops.exp(x),
    lambda x: ops.maximum(0.5, x), lambda x: ops.power(2.0, x), lambda x: ops.where(x > 0, x, 0.0),
])
def test_numbers_take_the_type_of_arrays(f):
    assert f(A.astype(np.float32)).dtype == np.float32


def test_functions_of_numpy_want_values():
    with pytest.raises(TypeError, match=r"has no values.*fastrnn\.ops"):
        np.tanh(Input((3,)))
    with pytest.raises(ValueError, match="Operation: Unknown function: 'sigmoyd'.*'sigmoid'"):
        Operation("sigmoyd")


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
    lambda x: ops.maximum(x, VECTOR), lambda x: ops.one_hot(ops.argmax(x, axis=-1), 5),
    lambda x: ops.take(MATRIX, ops.argmax(x, axis=-1), axis=0),
    lambda x: ops.exp(ops.matmul(x, VECTOR))[..., None],
], ids=range(9))  # fmt: skip
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
    lambda x: ops.sum(ops.exp(x[..., 0]), axis=1), lambda x: ops.sum(ops.cos(ops.mean(x, -1)), 1),
    lambda x: ops.max(ops.argmax(x, axis=-1) - 9.0, axis=1), lambda x: ops.one_hot(
        ops.argmax(x, axis=-1), 5, axis=1),
], ids=range(11))  # fmt: skip
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
