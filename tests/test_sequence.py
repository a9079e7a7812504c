"""pad_sequences against Keras's rule, written out row by row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.preprocessing.sequence import pad_sequences


def naive_pad_sequences(sequences, maxlen, dtype, padding, truncating, value):
    if maxlen is None:
        maxlen = max(len(s) for s in sequences)
    step_shape = next((np.shape(s[0]) for s in sequences if len(s)), ())
    rows = []
    for sequence in sequences:
        steps = list(sequence)
        while len(steps) > maxlen:
            del steps[0 if truncating == "pre" else -1]
        fill = [np.full(step_shape, value)] * (maxlen - len(steps))
        rows.append(fill + steps if padding == "pre" else steps + fill)
    return np.array(rows).reshape(len(rows), maxlen, *step_shape).astype(dtype)


@given(
    data=st.data(),
    step_shape=st.sampled_from([(), (1,), (2,), (2, 3)]),
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=5),
    maxlen=st.none() | st.integers(1, 7),
    dtype=st.sampled_from(["int32", "int64", "float32", np.float64]),
    padding=st.sampled_from(["pre", "post"]),
    truncating=st.sampled_from(["pre", "post"]),
    value=st.sampled_from([0.0, -1, 2.5]),
)
def test_pads_as_keras_does(data, step_shape, lengths, dtype, **options):
    random = np.random.default_rng(len(lengths))
    sequences = [random.integers(-9, 9, (length, *step_shape)) for length in lengths]
    form = data.draw(st.sampled_from(["arrays", "lists", "object array", "tuples"]))
    if form != "arrays":
        sequences = [s.tolist() for s in sequences]
    if form == "object array":
        sequences = np.fromiter(sequences, dtype=object)
    elif form == "tuples":
        sequences = tuple(tuple(s) for s in sequences)
    padded = pad_sequences(sequences, dtype=dtype, **options)
    expected = naive_pad_sequences(sequences, dtype=dtype, **options)
    assert padded.dtype == dtype
    np.testing.assert_array_equal(padded, expected)


def test_defaults_are_those_of_keras():
    padded = pad_sequences([[1, 2, 3, 4], [5], []], 3)
    assert padded.tolist() == [[2, 3, 4], [0, 0, 5], [0, 0, 0]]
    assert padded.dtype == np.int32
    assert pad_sequences([[], []]).shape == (2, 0)


def test_pads_rows_of_a_matrix():
    assert pad_sequences(np.arange(6).reshape(2, 3), 4).tolist() == [[0, 0, 1, 2], [0, 3, 4, 5]]


def test_pads_words():
    padded = pad_sequences([["a"], ["long", "one"]], dtype=object, value="-", padding="post")
    assert padded.tolist() == [["a", "-"], ["long", "one"]]
    padded = pad_sequences([["a"], ["long", "one"]], dtype="U4", value="-")
    assert padded.tolist() == [["-", "a"], ["long", "one"]]


@pytest.mark.parametrize("bad", [5, None, (s for s in [[1]]), np.array(5)])
def test_refuses_what_is_not_a_sequence(bad):
    with pytest.raises(ValueError, match="sequences must be a list of sequences, got"):
        pad_sequences(bad)


@pytest.mark.parametrize("bad", [3, None, "text", b"text", iter([1])])
def test_names_the_element_that_is_not_a_sequence(bad):
    with pytest.raises(ValueError, match="list of sequences of numbers, got .* at position 1"):
        pad_sequences([[1], bad])


@pytest.mark.parametrize(
    ("sequences", "position"),
    [
        ([[1, 2], [[3], [4]]], 1),
        ([[1, 2], [[3]]], 1),
        ([[[1, 2]], [3, 4]], 1),
        ([[[1, 2]], [[3]]], 1),
        ([[[1], [2]], [[3, 4]]], 1),
        ([[1], [2, [3]]], 1),
        ([[[1], [2, 3]]], 0),
        ([[1], [2], ["word"]], 2),
        ([[1], [2**70]], 1),
        ([[1], [None]], 1),
        ([np.ones((2, 3)), np.ones((2, 1))], 1),
    ],
)
@pytest.mark.parametrize("maxlen", [None, 1])
def test_names_the_sequence_that_does_not_fit(sequences, position, maxlen):
    with pytest.raises(ValueError, match=rf"sequences\[{position}\] "):
        pad_sequences(sequences, maxlen)


def test_does_not_take_a_list_for_an_object():
    with pytest.raises(ValueError, match=r"sequences\[1\] does not fit: expected the shape \(2,\)"):
        pad_sequences([[1, 2], [[3], [4]]], dtype=object)


@pytest.mark.parametrize("name", ["padding", "truncating"])
@pytest.mark.parametrize("bad", ["before", None, "PRE"])
def test_names_a_side_that_is_none(name, bad):
    with pytest.raises(ValueError, match=f'{name} must be "pre" or "post", got {bad!r}'):
        pad_sequences([[1]], **{name: bad})


def test_refuses_other_bad_arguments():
    with pytest.raises(ValueError, match="maxlen must be at least 1, got 0"):
        pad_sequences([[1]], maxlen=0)
    with pytest.raises(TypeError):
        pad_sequences([[1]], maxlen=1.5)
    with pytest.raises(ValueError, match="value='-' is a str, which dtype int32 cannot hold"):
        pad_sequences([[1]], value="-")
    with pytest.raises(ValueError, match="sequences is empty"):
        pad_sequences([])
    assert pad_sequences([], maxlen=3).shape == (0, 3)
