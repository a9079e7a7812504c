"""GlobalAveragePooling1D and GlobalMaxPooling1D."""

import json

import numpy as np
import pytest
from test_layers import ENGINES, check_gradients

from fastrnn import engines, layers
from fastrnn.layers import GlobalAveragePooling1D, GlobalMaxPooling1D
from fastrnn.masks import StepMask

ROWS, STEPS, WIDTH = 3, 4, 2
MASK = np.array([[False, True, True, True], [True, False, True, False], [False] * 4])
FORMATS = ("channels_last", "channels_first")


def sequences(data_format):
    x = np.random.default_rng(0).normal(size=(ROWS, STEPS, WIDTH))
    return np.ascontiguousarray(x if data_format == "channels_last" else x.swapaxes(1, 2))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("pooling", [GlobalAveragePooling1D, GlobalMaxPooling1D])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("mask", [None, MASK])
def test_gradients_and_shapes(engine, pooling, data_format, keepdims, mask):
    x = sequences(data_format)
    with engines.using(engine):
        layer = pooling(data_format, keepdims, dtype="float64")
        check_gradients(layer, x, mask)
        y = layer(x, mask=mask)
        assert y.shape == layer.compute_output_shape(x.shape)
        y, tape = layer.forward(x, StepMask.of(mask))
        dx = layer.backward(tape, np.ones_like(y))
        assert dx.flags.writeable and dx.flags.c_contiguous and dx.shape == x.shape
        assert layer.compute_mask(x, StepMask.of(MASK)) is None


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("keepdims", [False, True])
def test_means_and_maxima(data_format, keepdims):
    x = sequences(data_format)
    axis = 1 if data_format == "channels_last" else 2
    mean = GlobalAveragePooling1D(data_format, keepdims, dtype="float64")
    largest = GlobalMaxPooling1D(data_format, keepdims, dtype="float64")
    np.testing.assert_allclose(mean(x), x.mean(axis=axis, keepdims=keepdims))
    np.testing.assert_array_equal(largest(x), x.max(axis=axis, keepdims=keepdims))
    # As in Keras, a mask makes no difference to the maximum.
    np.testing.assert_array_equal(largest(x, mask=MASK), largest(x))
    steps = x.swapaxes(1, 2) if axis == 2 else x
    expected = [row[m].mean(axis=0) if m.any() else 0 * row[0]
                for row, m in zip(steps, MASK, strict=True)]  # fmt: skip
    np.testing.assert_allclose(mean(x, mask=MASK).reshape(ROWS, WIDTH), expected, atol=1e-12)


def test_whatever_stands_at_masked_steps_is_left_out():
    x = np.array([[[1.0], [np.nan], [3.0]], [[np.inf], [2.0], [4.0]]])
    mask = np.array([[True, False, True], [False, True, True]])
    np.testing.assert_array_equal(GlobalAveragePooling1D()(x, mask=mask), [[2], [3]])
    assert np.isnan(GlobalAveragePooling1D()(x)[0, 0])


def test_equal_maxima_share_the_gradient():
    layer = GlobalMaxPooling1D(dtype="float64")
    _, tape = layer.forward(np.array([[[2.0], [1.0], [2.0]]]))
    np.testing.assert_array_equal(layer.backward(tape, np.ones((1, 1)))[0, :, 0], [0.5, 0, 0.5])


def test_keras_has_two_names_for_each():
    assert layers.GlobalAvgPool1D is GlobalAveragePooling1D
    assert layers.GlobalMaxPool1D is GlobalMaxPooling1D


@pytest.mark.parametrize("layer", [
    GlobalAveragePooling1D(keepdims=True), GlobalMaxPooling1D("channels_first"),
])  # fmt: skip
def test_config_round_trip(layer):
    config = json.loads(json.dumps(layer.get_config()))
    assert type(layer).from_config(config).get_config() == layer.get_config()


def test_bad_input():
    with pytest.raises(ValueError, match="data_format must be.*got 'first'"):
        GlobalMaxPooling1D("first")
    with pytest.raises(ValueError, match=r"3 axes.*got shape \(None, 4\)"):
        GlobalAveragePooling1D().build((None, 4))
    layer = GlobalAveragePooling1D()
    with pytest.raises(ValueError, match=r"mask of shape \(2, 3\).*got shape \(2, 5\)"):
        layer(np.ones((2, 3, 4)), mask=np.ones((2, 5), bool))
