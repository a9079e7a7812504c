"""Parts, sums and products of symbolic tensors: values, gradients, lengths, files."""

import json
import zipfile

import numpy as np
import pytest
from engine_cases import assert_gradient

import fastrnn
from fastrnn import Input, Model, engines
from fastrnn.layers import (
    GRU,
    LSTM,
    Add,
    Bidirectional,
    Concatenate,
    Dense,
    Embedding,
    GlobalMaxPooling1D,
    SimpleRNN,
)
from fastrnn.models import clone_model, load_model

RNG = np.random.default_rng(3)
A, B = RNG.normal(size=(2, 5, 3, 4)) + 3  # of a quotient's gradient no entry is huge
ROW = RNG.normal(size=4)

ONE = {
    "last step": lambda x: x[:, -1],
    "last step, all features": lambda x: x[:, -1, :],
    "features": lambda x: x[..., :2],
    "one feature": lambda x: x[..., 1],
    "steps": lambda x: x[:, 1:],
    "backwards": lambda x: x[:, ::-1],
    "every second": lambda x: x[:, ::2, ::-3],
    "a new axis": lambda x: x[:, None],
    "a new axis inside": lambda x: x[:, 1:, None, -1],
    "everything": lambda x: x[:],
    "numbers": lambda x: 2 * x + 1 - 3 / x - (x - 1) / 4,
    "less than": lambda x: 1 - x,
    "negative": lambda x: -x,
    "power": lambda x: x**2 + x**0.5,
    "an array": lambda x: x * ROW + ROW[None, None],
    "an array first": lambda x: ROW - x / ROW,
    "numbers of NumPy": lambda x: np.float32(2) * x + np.int64(1),
    "lists": lambda x: x + [1, 2, 3, 4],
    "all steps": lambda x: x * ROW[:3, None],
    "with itself": lambda x: x * x - x / x + (x + x),
}  # fmt: skip
TWO = {
    "sum": lambda a, b: a + b,
    "difference": lambda a, b: a - b,
    "product": lambda a, b: a * b,
    "quotient": lambda a, b: a / b,
    "stretched": lambda a, b: a[:, :1] * b + b[..., :1] / a,
    "both ways": lambda a, b: (a[:, :, None] - b[:, None]) * 0.5,
}
CASES = [(f, name, 1) for name, f in ONE.items()] + [(f, name, 2) for name, f in TWO.items()]


@pytest.mark.parametrize("engine", ["reference", "cpu"])
@pytest.mark.parametrize(("f", "name", "inputs"), CASES, ids=[name for _, name, _ in CASES])
def test_values_and_gradients(f, name, inputs, engine):
    arrays = [A.copy(), B.copy()][:inputs]
    with engines.using(engine):
        tensors = [Input((3, 4), dtype="float64") for _ in arrays]
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
            assert_gradient(dx, lambda: float((run()[0] * dy).sum()), x)


def test_float_types_and_names():
    fastrnn.utils.clear_session()
    x = Input((3, 4))
    names = [t.name for t in (x[:, 0], x[:, 1], x + x, x + 1, x - 1, 2 * x, x / 2, -x, x**2)]
    assert names == [  # as Keras calls them
        "get_item", "get_item_1", "add", "add_1", "subtract", "multiply", "true_divide", "negative",
        "power",
    ]  # fmt: skip
    assert (x + np.ones(4)).dtype == "float32"
    assert (Input((3,), dtype="float64") + 1).dtype == "float64"
    assert Model(x, 2 * x).predict(A, verbose=0).dtype == np.float32


@pytest.mark.parametrize(("make", "error", "message"), [
    (lambda x: x[0], ValueError, r"'get_item.* \(GetItem\): \[0\]: expected all of the batch"),
    (lambda x: x[:2], ValueError, r"\[:2\]: expected all of the batch"),
    (lambda x: x[:, 3], ValueError, r"\[:, 3\]: expected places that inputs of .*\(None, 3, 4\)"),
    (lambda x: x[..., -5], ValueError, r"\[..., -5\]: expected places"),
    (lambda x: x[:, 3:], ValueError, r"\[:, 3:\]: expected something to be left"),
    (lambda x: x[:, 0, 0, 0], ValueError, "expected at most 3 entries"),
    (lambda x: x[:, [0, 1]], ValueError, r"whole numbers, slices, None and ..., not \[0, 1\]"),
    (lambda x: x[:, True], ValueError, "not True"),
    (lambda x: x[..., ...], ValueError, "one ... at most"),
    (lambda x: x + Input((4,)), ValueError, r"equally many axes, .* v\[:, None\]; got shapes"),
    (lambda x: x + Input((3, 5)), ValueError, r"'add.* shapes that are equal, or 1; got shapes"),
    (lambda x: x * np.ones(3), ValueError, r"equal, or 1; got .*\(None, 3, 4\), \(1, 1, 3\)"),
    (lambda x: x * np.ones((5, 3, 4)), ValueError, "with more axes than the constant's"),
    (lambda x: x + "one", TypeError, "unsupported operand"),
    (lambda x: x + None, TypeError, "unsupported operand"),
    (lambda x: np.tanh(x), TypeError, "stands for the output of a layer and has no values"),
    (lambda x: list(x), TypeError, "not iterable"),
])
def test_errors(make, error, message):
    with pytest.raises(error, match=message):
        make(Input((3, 4)))


# -- sequences of different lengths ----------------------------------------------------------------

ROWS = [[1, 2], [3] * 8, [4, 5, 6, 1, 2], [7, 8, 3]]
RAGGED = {
    "last step": lambda x: x[:, -1],
    "second step": lambda x: x[:, 1],
    "one before the last": lambda x: x[..., -2, 1:],
    "from the second": lambda x: GRU(3)(x[:, 1:]),
    "without the last": lambda x: GlobalMaxPooling1D()(x[:, :-1]),
    "the last three": lambda x: SimpleRNN(3)(x[:, -3:, 1:3]),
    "backwards": lambda x: GRU(3)(x[:, ::-1]),
    "every second": lambda x: GRU(3)(x[:, ::2]),
    "read backwards": lambda x: LSTM(3, return_sequences=True, go_backwards=True)(x)[:, -1],
    "features": lambda x: GlobalMaxPooling1D()(x[..., 1:] - 3),
    "an axis for the features": lambda x: GlobalMaxPooling1D()((x[:, :, None] + 1)[:, :, 0]),
    "sums": lambda x: GRU(3)(2 * x - Dense(4)(x) / 3),
    "with what is no sequence": lambda x: GRU(3)(x - GlobalMaxPooling1D()(x)[:, None]),
    "of both directions": lambda x: Bidirectional(GRU(2, return_sequences=True))(x)[:, -1],
}


def ragged_model(f):
    ids = Input((None,))
    return Model(ids, Dense(1)(f(Embedding(9, 4)(ids))))


@pytest.mark.parametrize("name", RAGGED)
def test_a_row_does_not_depend_on_those_beside_it(name):
    fastrnn.utils.set_random_seed(1)
    model = ragged_model(RAGGED[name])
    model.compile(fastrnn.optimizers.SGD(1.0), "mse")
    first, y = model.get_weights(), np.arange(len(ROWS)) / 3.0
    outputs, updates = [], []
    for row, label in zip(ROWS, y, strict=True):
        outputs.append(model.predict(np.array([row]), verbose=0)[0])
        model.train_on_batch(np.array([row]), label[None])
        updates.append([a - b for a, b in zip(model.get_weights(), first, strict=True)])
        model.set_weights(first)
    np.testing.assert_allclose(model.predict(ROWS, verbose=0), outputs, atol=1e-6)
    model.train_on_batch(ROWS, y)
    for a, b, *own in zip(model.get_weights(), first, *updates, strict=True):
        np.testing.assert_allclose(a - b, np.mean(own, axis=0), atol=1e-6)


@pytest.mark.parametrize(("f", "message"), [
    (lambda x: x[:, 2], r"\[:, 2\]: a sequence of 2 steps has no such step"),
    (lambda x: x[:, -3], r"\[:, -3\]: a sequence of 2 steps has no such step"),
    (lambda x: GlobalMaxPooling1D()(x[:, None, 0]), "cannot take sequences of different"),
    (lambda x: GRU(2)(x + np.ones((8, 1)) * np.arange(4)), "cannot take sequences of different"),
    (lambda x: Concatenate(axis=1)([x, x])[:, -1], "concatenated step by step"),
])  # fmt: skip
def test_what_would_take_filling_for_steps_says_so(f, message):
    with pytest.raises(ValueError, match=message):
        ragged_model(f).predict(ROWS, verbose=0)


def test_ids_may_be_shifted():
    """What a decoder is given: all but the last word, and each id moved by one."""
    ids = Input((None,), name="ids")
    table = Embedding(9, 4, mask_zero=True)
    y = GRU(3, return_sequences=True)(table(ids[:, :-1] + 1))
    model = Model(ids, y)
    padded = np.array([[1, 2, 3, 4], [5, 6, 7, 0]])
    direct = Model(ids, GRU(3, return_sequences=True)(table(ids)))
    direct.set_weights(model.get_weights())
    expected = direct.predict(padded[:, :-1] + 1, verbose=0)
    np.testing.assert_allclose(model.predict(padded, verbose=0), expected, atol=1e-6)
    with pytest.raises(IndexError, match="token id 9 is outside the table"):
        model.predict(np.array([[8, 1]]), verbose=0)


def test_masks_end_at_operators_as_in_keras():
    ids = Input((3,))
    x, read = Embedding(9, 4, mask_zero=True)(ids), SimpleRNN(2)
    plain, doubled, added = (
        Model(ids, read(y)).predict([[1, 2, 0]], verbose=0)
        for y in (x, x + 0, Add()([x, 0 * x + 0]))
    )
    everything = Model(ids, read(x[:, :2])).predict([[1, 2, 0]], verbose=0)
    np.testing.assert_allclose(plain, everything, atol=1e-7)
    assert abs(plain - doubled).max() > 1e-3
    np.testing.assert_allclose(added, doubled, atol=1e-7)  # it has the mask of one input only


def test_training_in_pieces_refuses_steps_that_move():
    x = Input((6, 2))
    model = Model(x, GRU(2)(x[:, ::-1]))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"truncate: layer 'get_item.*\(GetItem\) cannot be"):
        model.fit(np.ones((2, 6, 2)), np.ones((2, 2)), truncate=3, verbose=0)


# -- files -----------------------------------------------------------------------------------------


def everything():
    x, z = Input((3, 4), name="x"), Input((None, 4), name="z")
    return Model([x, z], {
        "a": x[:, -1, 1:3] * np.array([1.0, 2.0]) + x[:, None, 0, 0],
        "b": -(2 / (z[..., ::2] ** 2 + 1)) - 1,
        "c": (x[:, 1:2] - z) / (z * x[:, -1:]),
    })  # fmt: skip


@pytest.mark.parametrize("ending", ["fastrnn", "keras", "h5"])
def test_saving(ending, tmp_path):
    if ending != "fastrnn":
        pytest.importorskip("h5py")
    model = everything()
    x = [A, B]
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / f"model.{ending}")
    for same in (load_model(tmp_path / f"model.{ending}"), clone_model(model)):
        for name, y in same.predict(x, verbose=0).items():
            np.testing.assert_allclose(y, expected[name], rtol=1e-6)
        assert [la.name for la in same.layers] == [la.name for la in model.layers]


def test_the_form_of_keras(tmp_path):
    pytest.importorskip("h5py")
    x = Input((3, 4), name="x")
    Model(x, (x[:, -1, ..., :2] - 1) * np.ones(2)).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        item, less, times = json.loads(archive.read("config.json"))["config"]["layers"][1:]
    assert {e["module"] for e in (item, less, times)} == {"keras.src.ops.numpy"}
    assert [e["class_name"] for e in (item, less, times)] == ["GetItem", "Subtract", "Multiply"]
    assert item["config"] == {"name": item["name"]} and item["registered_name"] == "GetItem"
    every = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
    first = every | {"config": every["config"] | {"stop": 2}}
    assert item["inbound_nodes"][0]["args"][1] == [every, -1, first]
    assert less["inbound_nodes"][0]["args"][1] == 1
    assert times["inbound_nodes"][0]["args"][1]["config"] == {"value": [1, 1], "dtype": "float32"}


def test_operations_of_keras_that_there_are_not(tmp_path):
    pytest.importorskip("h5py")
    x = Input((3,), name="x")
    Model(x, Dense(1, name="end")(x + 1)).save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    entry = config["config"]["layers"][1]
    entry |= {"module": "keras.src.ops.math", "class_name": "Logsumexp", "name": "sum_up"}
    end = config["config"]["layers"][2]["inbound_nodes"][0]["args"][0]["config"]
    end["keras_history"][0] = "sum_up"
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        for name, content in (members | {"config.json": json.dumps(config)}).items():
            archive.writestr(name, content)
    with pytest.raises(ValueError, match=r"'sum_up' is the operation Logsumexp .*keras.src.ops"):
        load_model(tmp_path / "other.keras")
