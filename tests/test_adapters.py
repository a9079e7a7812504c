"""Batches out of arrays and lists of sequences, against plain indexing and padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrnn import random
from fastrnn.adapters import (
    WINDOW,
    ArrayRows,
    Data,
    Outputs,
    RaggedRows,
    batches_of,
    is_ragged,
    rows_of,
    split,
    weights_of_classes,
)
from fastrnn.checks import numbers


def int32(x):
    """What an Embedding makes of ids."""
    return np.ascontiguousarray(x, np.int32)


def float32(x):
    """What other layers make of numbers."""
    return np.ascontiguousarray(x, np.float32)


SEQUENCES = [[3, 1], [], [7], [4, 5, 6, 9]]


def padded(sequences, steps=None):
    steps = max(map(len, sequences), default=1) if steps is None else steps
    return np.array([[*s, *[0] * (steps - len(s))] for s in sequences])


def objects(rows):
    array = np.empty(len(rows), object)
    array[:] = rows
    return array


@pytest.mark.parametrize(
    "x",
    [SEQUENCES, tuple(SEQUENCES), objects(SEQUENCES), [np.array(s, np.int64) for s in SEQUENCES],
     objects([np.array(s, np.uint8) for s in SEQUENCES])],
    ids=["list", "tuple", "object array", "arrays", "object array of arrays"],
)
def test_sequences_of_different_lengths(x):
    rows = rows_of(x, int32)
    assert isinstance(rows, RaggedRows)
    assert (len(rows), rows.shape, rows.build_shape) == (4, (4, 4), (None, None))
    batch, mask = rows.batch(slice(None))
    assert batch.dtype == np.int32
    np.testing.assert_array_equal(batch, padded(SEQUENCES))
    np.testing.assert_array_equal(np.asarray(mask), padded(SEQUENCES) > 0)
    batch, mask = rows.batch(np.array([2, 0]))
    np.testing.assert_array_equal(batch, [[7, 0], [3, 1]])
    np.testing.assert_array_equal(mask.stop, [1, 2])
    part = rows.part(2, 4)
    np.testing.assert_array_equal(part.batch(slice(0, 1))[0], [[7]])
    np.testing.assert_array_equal(part.batch(slice(None))[0], padded(SEQUENCES[2:]))


def test_sequences_of_features():
    x = [np.ones((2, 3)), np.zeros((0, 3)), [[1, 2, 3]]]
    rows = rows_of(x, float32)
    assert rows.shape == (3, 2, 3)
    batch, mask = rows.batch(slice(None))
    assert batch.dtype == np.float32 and batch.shape == (3, 2, 3)
    np.testing.assert_array_equal(batch[2], [[1, 2, 3], [0, 0, 0]])
    np.testing.assert_array_equal(mask.stop, [2, 0, 1])


def test_lists_are_taken_in_chunks(monkeypatch):
    monkeypatch.setattr("fastrnn.adapters.CHUNK", 2)
    x = [*SEQUENCES, [], [], *SEQUENCES]
    batch, mask = rows_of(x, int32).batch(slice(None))
    np.testing.assert_array_equal(batch, padded(x))
    np.testing.assert_array_equal(mask.stop, [len(s) for s in x])
    features = [np.ones((2, 3)), np.ones((1, 3)), [], [], np.ones((4, 3))]
    assert rows_of(features, float32).shape == (5, 4, 3)
    with pytest.raises(ValueError, match="row 5 should be"):
        rows_of([*SEQUENCES, [], "text"], int32)


def test_rows_that_are_all_empty_have_one_step_that_does_not_count():
    batch, mask = rows_of([[], []], int32).batch(slice(None))
    assert batch.shape == (2, 1) and not np.asarray(mask).any()


@given(st.lists(st.lists(st.integers(1, 50), max_size=7), min_size=1, max_size=9), st.data())
def test_any_batch_of_any_sequences(sequences, data):
    rows = rows_of([*sequences, []], int32)
    index = data.draw(st.lists(st.integers(0, len(sequences) - 1), min_size=1, max_size=9))
    batch, mask = rows.batch(np.array(index))
    chosen = [sequences[i] for i in index]
    steps = max(1, *map(len, chosen), 1)
    np.testing.assert_array_equal(batch, padded(chosen, steps))
    np.testing.assert_array_equal(mask.stop, [len(s) for s in chosen])


def big_endian(x):
    return x.astype(">i4")


def fortran(x):
    return np.asfortranarray(x)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "made",
    [np.ndarray.tolist, big_endian, fortran, read_only, lambda x: x.astype(np.float64),
     lambda x: x.astype(object), lambda x: np.repeat(x, 2, axis=0)[::2], lambda x: list(x)],
)
def test_arrays_of_any_plain_kind(made):
    x = np.arange(12, dtype=np.int32).reshape(4, 3)
    rows = rows_of(made(x), int32)
    assert isinstance(rows, ArrayRows) and rows.shape == (4, 3)
    assert rows.build_shape == (None, 3)
    np.testing.assert_array_equal(rows.batch(np.array([2, 0]))[0], x[[2, 0]])
    np.testing.assert_array_equal(rows.batch(slice(1, 3))[0], x[1:3])
    assert rows.batch(slice(None))[1] is None


def test_an_array_is_not_copied():
    x = np.arange(12, dtype=np.int32).reshape(4, 3)
    rows = rows_of(x, int32)
    assert np.shares_memory(rows.x, x)
    assert np.shares_memory(rows.part(1, 3).batch(slice(0, 2))[0], x)
    first = rows.batch(np.array([0, 1]))[0]
    assert np.shares_memory(first, rows.batch(np.array([3, 2]))[0])  # one buffer for all batches


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (None, TypeError, "x: expected an array, or a list of rows; got None"),
        (3, TypeError, "got 3"),
        (np.float32(3), TypeError, "expected an array"),
        ((i for i in range(3)), TypeError, "got <generator"),
        ("text", TypeError, "expected numbers"),
        ([], ValueError, r"there are no rows; got shape \(0,\)"),
        (np.zeros((0, 5)), ValueError, r"there are no rows; got shape \(0, 5\)"),
        (np.zeros((3, 0)), ValueError, r"at least one step in a row; got shape \(3, 0\)"),
        ([[1, 2], 3], ValueError, "row 1 should be a sequence of numbers; it is nothing"),
        ([[1], ["a", "b"]], ValueError, "row 1 .* it is a sequence of <U1"),
        ([[1], "ab"], ValueError, "row 1 .* 'ab'"),
        ([[1], [[1], [2, 3]]], ValueError, "row 1 .* lists of different lengths"),
        ([[1], None], ValueError, "row 1 .*None"),
        ([[1], [[1, 2], [3, 4]]], ValueError, r"same kind.*\[\(\), \(2,\)\]"),
        ([np.ones((2, 3)), np.ones((1, 4))], ValueError, r"\[\(3,\), \(4,\)\]"),
        ([[[1], [2, 3]], [[4], [5, 6]]], ValueError, "different lengths"),
        (np.array(["a", "b"]), TypeError, "expected numbers; got an array of dtype <U1"),
    ],
)
def test_what_is_no_data(x, error, message):
    with pytest.raises(error, match=message):
        rows_of(x, float32)


def test_batches_cover_all_rows_once():
    rows = rows_of(np.arange(10).reshape(10, 1), int32)
    assert list(batches_of(rows, 4)) == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert list(batches_of(rows, 100)) == [slice(0, 10)]
    order = rows.shuffled(4, random.generator(1))
    pieces = list(batches_of(rows, 4, order))
    assert [len(p) for p in pieces] == [4, 4, 2]
    assert sorted(np.concatenate(pieces)) == list(range(10))
    assert rows.sorted() is None


def test_batches_of_sequences_have_similar_lengths():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 100, 50 * WINDOW)
    rows = RaggedRows(np.zeros(lengths.sum(), np.int32), lengths)
    order = rows.shuffled(10, random.generator(1))
    assert sorted(order) == list(range(len(rows)))
    spread = [np.ptp(lengths[piece]) for piece in batches_of(rows, 10, order)]
    assert np.median(spread) < 10  # of rows taken at random it is about 90
    # ... but batches of any length come at any time,
    means = [lengths[piece].mean() for piece in batches_of(rows, 10, order)]
    assert abs(np.corrcoef(np.arange(len(means)), means)[0, 1]) < 0.3
    # and another time rows come in another order.
    assert (rows.shuffled(10, random.generator(2)) != order).any()
    assert (np.diff(lengths[rows.sorted()]) >= 0).all()


class Table:
    """Columns with names, of any length; iterating gives the names, as of pandas's DataFrame."""

    def __init__(self, columns):
        self.columns = list(columns)
        self._values = [np.asarray(values) for values in columns.values()]

    @property
    def dtypes(self):
        return [values.dtype for values in self._values]

    def __len__(self):
        return len(self._values[0])

    def __iter__(self):
        return iter(self.columns)

    def to_numpy(self):
        types = set(self.dtypes)
        dtype = types.pop() if len(types) == 1 else object
        return np.stack([values.astype(dtype) for values in self._values], axis=1)

    def __array__(self, dtype=None, copy=None):
        return self.to_numpy() if dtype is None else self.to_numpy().astype(dtype)


def frame(columns):
    return pytest.importorskip("pandas").DataFrame(columns)


COLUMNS = {"temperature": [0.5, 1.5, 2.5], "n": [1, 2, 3], "wet": [True, False, True]}


@pytest.mark.parametrize("table", [Table, frame])
@pytest.mark.parametrize("names", [
    ["n"], ["n", "wet"], ["wet"], ["temperature", "n", "wet"], ["wet", "n", "wet"]
])  # fmt: skip
def test_tables_are_arrays_of_numbers(table, names):
    if len(set(names)) < len(names):  # two columns of one name
        x = table({i: COLUMNS[name] for i, name in enumerate(names)})
        x.columns = names
    else:
        x = table({name: COLUMNS[name] for name in names})
    expected = np.array([COLUMNS[name] for name in names], float).T
    rows = rows_of(x, float32)
    assert isinstance(rows, ArrayRows) and not is_ragged(x)
    assert (rows.x == expected).all() and rows.x.dtype == np.float32
    assert (numbers("y", x) == expected).all()


@pytest.mark.parametrize("table", [Table, frame])
@pytest.mark.parametrize(("values", "shown"), [
    (["mild", "hot", "mild"], "'mild'"), (["1", "2", "3"], "'1'"), ([1.5, "hot", 2], "'hot'"),
    (np.array(["2020-01-01"] * 3, "M8[s]"), "2020"), ([1, [2, 3], 3], r"\[2, 3\]"),
])  # fmt: skip
def test_a_column_that_holds_no_numbers_is_named(table, values, shown):
    values = values if isinstance(values, np.ndarray) else np.array(values, object)
    x = table(COLUMNS | {"weather": values})
    with pytest.raises(TypeError, match=f"x: expected numbers .* column 'weather' .*{shown}"):
        rows_of(x, float32)


def test_an_axis_of_one_costs_no_copy():
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    assert np.shares_memory(rows_of(x, float32, like=(None, 3, 1)).x, x)
    assert np.shares_memory(rows_of(x[..., None], float32, like=(None, 3)).x, x)
    assert rows_of(x, float32, like=(None, 3, 2)).shape == (4, 3)


def test_data_batches():
    data = Data(rows_of(np.arange(8).reshape(4, 2), int32), np.arange(4), np.arange(4) * 0.5)
    x, mask, target, weight = data.part(1, 4).batch(np.array([2, 0]))
    np.testing.assert_array_equal(x, [[6, 7], [2, 3]])
    assert (mask, target.tolist(), weight.tolist()) == (None, [3, 1], [1.5, 0.5])


def test_labels_of_steps_are_cut_to_the_batch():
    rows = rows_of(SEQUENCES, int32)
    data = Data(rows, np.arange(16).reshape(4, 4), np.ones((4, 4)), by_step=0)
    x, _, target, weight = data.batch(np.array([0, 2]))
    assert x.shape == target.shape == weight.shape == (2, 2)
    np.testing.assert_array_equal(target, [[0, 1], [8, 9]])


@pytest.mark.parametrize(("n", "fraction", "kept"), [(10, 0.2, 8), (25, 0.1, 22), (3, 0.5, 1)])
def test_split_keeps_the_last_rows(n, fraction, kept):
    data = Data(rows_of(np.arange(n).reshape(n, 1), int32), np.arange(n))
    train, validation = split(data, fraction)
    assert len(train.rows) == kept and len(validation.rows) == n - kept
    assert validation.target.tolist() == list(range(kept, n))


@pytest.mark.parametrize(("n", "fraction"), [(1, 0.5), (4, 1.0), (4, -0.5), (4, 1e-17)])
def test_split_leaves_rows_on_both_sides(n, fraction):
    data = Data(rows_of(np.arange(n).reshape(n, 1), int32), np.arange(n))
    with pytest.raises(ValueError, match="validation_split"):
        split(data, fraction)


def test_weights_of_classes():
    weight = {0: 0.5, 2: 3.0}
    expected = [3.0, 1.0, 0.5]
    assert weights_of_classes(np.array([2, 1, 0]), weight).tolist() == expected
    assert weights_of_classes(np.array([[2.0], [1], [0]]), weight).tolist() == expected
    assert weights_of_classes(np.eye(3)[[2, 1, 0]], weight).tolist() == expected
    with pytest.raises(TypeError, match="expected a dict"):
        weights_of_classes(np.array([1]), [1, 2])
    with pytest.raises(ValueError, match="axis of steps"):
        weights_of_classes(np.zeros((2, 3, 1)), weight)


def test_outputs_come_back_in_order():
    outputs = Outputs(4, (4, 3, 2))
    outputs.put(np.array([3, 1]), np.full((2, 2, 2), 7.0))
    outputs.put(np.array([0, 2]), np.full((2, 3, 2), 5.0))
    assert outputs.value[:, :, 0].tolist() == [[5, 5, 5], [7, 7, 0], [5, 5, 5], [7, 7, 0]]
    several = Outputs(2, [(2, 1), (2, 3)])
    several.put(slice(0, 1), [np.ones((1, 1)), np.ones((1, 3))])
    several.put(slice(1, 2), [np.zeros((1, 1)), np.zeros((1, 3))])
    assert [v.tolist() for v in several.value] == [[[1], [0]], [[1, 1, 1], [0, 0, 0]]]
