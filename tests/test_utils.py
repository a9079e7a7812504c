"""Helpers by the names that they have in Keras."""

import numpy as np
import pytest

import fastrnn
from fastrnn import layers, saving, utils
from fastrnn.utils import normalize, split_dataset, to_categorical


def test_bases_of_classes_of_ones_own_are_at_the_top():
    for name, home in {
        "Initializer": "initializers", "Loss": "losses", "Metric": "metrics",
        "Optimizer": "optimizers", "Regularizer": "regularizers",
    }.items():
        assert getattr(fastrnn, name) is getattr(getattr(fastrnn, home), name)
    assert fastrnn.backend.backend() == fastrnn.config.backend() == "fastrnn"


def test_class_numbers_that_came_as_text():
    for x in (["1", "2"], [["1"], ["2"]], np.array(["1", "2"])):
        np.testing.assert_array_equal(to_categorical(x), [[0, 1, 0], [0, 0, 1]])
    with pytest.raises(ValueError, match=r"to_categorical: .*text .*'a'.*np.unique"):
        to_categorical(["1", "a"])


def test_norms():
    x = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(  # as keras.utils.normalize gives it
        normalize(x), [[0, 0.4472135954999579, 0.8944271909999159],
                       [0.4242640687119285, 0.565685424949238, 0.7071067811865475]],
    )
    np.testing.assert_allclose(normalize(x, axis=0), x / np.sqrt((x**2).sum(axis=0)))
    np.testing.assert_allclose(normalize(x, order=1), x / x.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(normalize([-3, 1], order=np.inf), [-1, 1 / 3])
    assert normalize(x.astype(np.float32)).dtype == np.float32
    np.testing.assert_array_equal(normalize(np.zeros((2, 2))), np.zeros((2, 2)))


@pytest.mark.parametrize(
    ("left", "right", "sizes"),
    [
        (0.8, None, (8, 2)), (None, 3, (7, 3)), (4, 5, (4, 5)), (0.5, 0.25, (5, 2)),
        (0.26, None, (3, 7)), (1, None, (1, 9)),
    ],
)
def test_rows_in_two_parts(left, right, sizes):
    x, y = np.arange(20).reshape(10, 2), np.arange(10)
    a, b = split_dataset((x, y), left, right)
    assert type(a) is tuple and (len(a[0]), len(b[0])) == sizes
    np.testing.assert_array_equal(a[0], x[: sizes[0]])
    np.testing.assert_array_equal(b[1], y[10 - sizes[1] :])


def test_parts_that_are_drawn():
    x = {"a": np.arange(10), "b": np.arange(10) * 2}
    parts = split_dataset(x, 0.5, shuffle=True, seed=4)
    again = split_dataset(x, 0.5, shuffle=True, seed=4)
    for part, same in zip(parts, again, strict=True):
        np.testing.assert_array_equal(part["a"], same["a"])
        np.testing.assert_array_equal(part["a"] * 2, part["b"])
    rows = np.concatenate([part["a"] for part in parts])
    assert sorted(rows) == list(range(10)) != rows.tolist()
    left, _ = split_dataset([x["a"]], 3)
    assert type(left) is list and left[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1, 2], 1), TypeError, r"dataset: expected an array, .* got \[1, 2\]"),
        ((np.ones(4),), ValueError, "expected left_size or right_size"),
        ((np.ones(4), 1.0), ValueError, "left_size: expected a share between 0 and 1"),
        ((np.ones(4), 4), ValueError, "got 4 and None, 4 and 0 rows"),
        ((np.ones(4), 3, 0.5), ValueError, "got 3 and 0.5, 3 and 2 rows"),
        ((np.ones(4), None, "2"), TypeError, "right_size: expected a share or a number"),
        (((np.ones(4), np.ones(5)), 2), ValueError, r"one number of rows; got \[4, 5\]"),
    ],
)
def test_parts_that_cannot_be(arguments, error, message):
    with pytest.raises(error, match=f"split_dataset: .*{message}"):
        split_dataset(*arguments)


def test_what_is_known_in_the_whole_process():
    class Thrice(layers.Dense):
        pass

    config = {"class_name": "Thrice", "config": {"units": 3}, "registered_name": "Mine>Thrice"}
    known = utils.get_custom_objects()
    assert known is saving.get_custom_objects()
    with pytest.raises(ValueError, match="Thrice"):
        layers.deserialize(config)
    with saving.CustomObjectScope({"Thrice": Thrice}):
        assert type(layers.deserialize(config)) is Thrice
    known["Thrice"] = Thrice
    try:
        assert type(layers.deserialize(config)) is Thrice
    finally:
        del known["Thrice"]
    assert utils.is_keras_tensor(fastrnn.Input((2,))) and not utils.is_keras_tensor(np.ones(2))
