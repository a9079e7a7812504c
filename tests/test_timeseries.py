"""Series cut into sequences, against what Keras 3.15.1 makes of them."""

import itertools

import numpy as np
import pytest

import fastrnn
from fastrnn import layers, preprocessing, utils
from fastrnn.utils import timeseries_dataset_from_array as cut

SERIES = np.arange(13)


def as_lists(batches):
    return [
        [part.tolist() for part in batch] if isinstance(batch, tuple) else batch.tolist()
        for batch in batches
    ]


@pytest.mark.parametrize(
    ("options", "expected"),  # from Keras, on TensorFlow
    [
        ({"sequence_length": 4, "sequence_stride": 5, "sampling_rate": 2, "batch_size": 4},
         [[[0, 2, 4, 6], [5, 7, 9, 11]]]),
        ({"sequence_length": 3, "sequence_stride": 5, "batch_size": 2},
         [[[0, 1, 2], [5, 6, 7]], [[10, 11, 12]]]),
        ({"sequence_length": 3, "sequence_stride": 2, "start_index": 2, "end_index": 9,
          "batch_size": 2, "targets": SERIES * 10},
         [[[[2, 3, 4], [4, 5, 6]], [20, 40]], [[[6, 7, 8]], [60]]]),
        ({"sequence_length": 3, "batch_size": None, "targets": [100, 101]},
         [[[0, 1, 2], 100], [[1, 2, 3], 101]]),
    ],
)
def test_as_keras_cuts(options, expected):
    batches = cut(SERIES, **{"targets": None} | options)
    assert as_lists(batches) == expected
    assert len(batches) == len(expected)
    assert as_lists([batches[-1]]) == expected[-1:]
    with pytest.raises(IndexError):
        batches[len(expected)]


@pytest.mark.parametrize("bounds", [(None, None), (2, 11), (0, 13)])
def test_each_sequence_is_where_it_should_be(bounds):
    data = np.arange(26.0).reshape(13, 2)
    start, end = bounds
    rows = data[start:end]
    for length, stride, rate in itertools.product((1, 2, 4), (1, 3), (1, 2)):
        found = cut(data, data[:, 0], length, stride, rate, 3, start_index=start, end_index=end)
        inputs, targets = (np.concatenate(parts) for parts in zip(*found, strict=True))
        firsts = range(0, len(rows) - (length - 1) * rate, stride)
        expected = [[rows[i + t * rate] for t in range(length)] for i in firsts]
        np.testing.assert_array_equal(inputs, expected)
        np.testing.assert_array_equal(targets, rows[list(firsts), 0])


def test_an_order_that_is_drawn():
    def order(seed):
        return np.concatenate(list(cut(SERIES, None, 1, batch_size=4, shuffle=True, seed=seed)))

    np.testing.assert_array_equal(order(3), order(3))
    assert sorted(order(3).ravel()) == SERIES.tolist() != order(3).ravel().tolist()
    assert order(3).tolist() != order(4).tolist()
    for x, y in cut(SERIES, SERIES * 2, 2, shuffle=True, batch_size=5):
        np.testing.assert_array_equal(x[:, 0] * 2, y)


def test_a_model_takes_them():
    series = np.sin(np.arange(60) / 5)[:, None]
    batches = preprocessing.timeseries_dataset_from_array(
        series[:-1], series[5:], sequence_length=5, batch_size=16
    )
    utils.set_random_seed(1)
    model = fastrnn.Sequential([layers.GRU(4), layers.Dense(1)])
    model.compile(fastrnn.optimizers.Adam(0.05), "mse")
    losses = model.fit(batches, epochs=5, validation_data=batches, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    inputs, targets = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    found = model.predict(batches, verbose=0)
    np.testing.assert_allclose(found, model.predict(inputs, verbose=0), rtol=1e-5)
    loss = ((found - targets) ** 2).mean()
    np.testing.assert_allclose(model.evaluate(batches, verbose=0), loss, rtol=1e-5)
    alone = cut(series[:-1], None, sequence_length=5, batch_size=16)
    np.testing.assert_array_equal(model.predict(alone, verbose=0), found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sequence_length": 14}, "a sequence of 14 steps needs 14 rows; there are 13"),
        ({"sequence_length": 5, "sampling_rate": 4}, "of 5 steps needs 17 rows"),
        ({"targets": np.zeros(2), "start_index": 2}, "there are 11 and 0 targets"),
        ({"sequence_length": 0}, "sequence_length must be a whole number from 1 on; got 0"),
        ({"sequence_stride": 13}, "sequence_stride must be .* below the 13 rows of data; got 13"),
        ({"sampling_rate": 0.5}, "sampling_rate must be a whole number .*; got 0.5"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"start_index": 5, "end_index": 5}, "start_index=5 and end_index=5"),
        ({"end_index": 14}, "end_index <= 13, the number of rows; got start_index=0"),
        ({"data": np.float32(3)}, r"data: expected rows; got an array of shape \(\)"),
    ],
)
def test_what_cannot_be_cut(options, message):
    options = {"data": SERIES, "targets": None, "sequence_length": 2} | options
    with pytest.raises(ValueError, match=f"timeseries_dataset_from_array: .*{message}"):
        cut(**options)
