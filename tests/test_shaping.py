"""RepeatVector, Flatten, Reshape and Permute; ZeroPadding1D, Cropping1D and UpSampling1D."""

import json

import numpy as np
import pytest
from test_layers import ENGINES, check_gradients

from fastrnn import engines
from fastrnn.layers import (
    Cropping1D,
    Embedding,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    ZeroPadding1D,
)
from fastrnn.masks import StepMask

# Layer, shape of the input, and what NumPy makes of it.
CASES = [
    (lambda **k: RepeatVector(3, **k), (2, 4), lambda x: np.stack([x] * 3, axis=1)),
    (lambda **k: Flatten(**k), (2, 3, 4), lambda x: x.reshape(2, 12)),
    (lambda **k: Flatten(**k), (5,), lambda x: x[:, None]),
    (lambda **k: Flatten("channels_first", **k), (2, 3, 4),
     lambda x: x.transpose(0, 2, 1).reshape(2, 12)),
    (lambda **k: Flatten("channels_first", **k), (2, 3, 4, 2),
     lambda x: x.transpose(0, 2, 3, 1).reshape(2, 24)),
    (lambda **k: Reshape((4, 3), **k), (2, 3, 4), lambda x: x.reshape(2, 4, 3)),
    (lambda **k: Reshape((-1,), **k), (2, 3, 4), lambda x: x.reshape(2, 12)),
    (lambda **k: Reshape([2, -1, 3], **k), (2, 12), lambda x: x.reshape(2, 2, 2, 3)),
    (lambda **k: Permute((2, 1), **k), (2, 3, 4), lambda x: x.transpose(0, 2, 1)),
    (lambda **k: Permute((3, 1, 2), **k), (2, 3, 4, 2), lambda x: x.transpose(0, 3, 1, 2)),
    (lambda **k: ZeroPadding1D(**k), (2, 3, 4), lambda x: np.pad(x, ((0, 0), (1, 1), (0, 0)))),
    (lambda **k: ZeroPadding1D((0, 2), **k), (2, 3, 4),
     lambda x: np.pad(x, ((0, 0), (0, 2), (0, 0)))),
    (lambda **k: ZeroPadding1D(2, "channels_first", **k), (2, 3, 4),
     lambda x: np.pad(x, ((0, 0), (0, 0), (2, 2)))),
    (lambda **k: Cropping1D(**k), (2, 3, 4), lambda x: x[:, 1:2]),
    (lambda **k: Cropping1D([2, 0], **k), (2, 5, 4), lambda x: x[:, 2:]),
    (lambda **k: Cropping1D(0, **k), (2, 5, 4), lambda x: x),
    (lambda **k: UpSampling1D(**k), (2, 3, 4), lambda x: np.repeat(x, 2, axis=1)),
    (lambda **k: UpSampling1D(3, **k), (2, 3, 1), lambda x: np.repeat(x, 3, axis=1)),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("make", "shape", "expected"), CASES)
def test_values_shapes_and_gradients(engine, make, shape, expected):
    x = np.random.default_rng(0).normal(size=shape)
    with engines.using(engine):
        layer = make(dtype="float64")
        check_gradients(layer, x)
        np.testing.assert_array_equal(layer(x), expected(x))
        assert layer.compute_output_shape(shape) == expected(x).shape
        y, tape = layer.forward(layer.convert_input(x))
        dx = layer.backward(tape, np.ones_like(y))
        assert y.flags.c_contiguous and dx.flags.c_contiguous and dx.shape == shape
        assert layer.compute_mask(x, StepMask.from_lengths([1, 2], 3)) is None


def test_unknown_sizes_stay_unknown():
    assert Flatten().compute_output_shape((None, None, 3)) == (None, None)
    assert Flatten().compute_output_shape((None, 4, 3)) == (None, 12)
    assert Reshape((-1, 2)).compute_output_shape((None, None, 6)) == (None, None, 2)
    assert Reshape((-1, 2)).compute_output_shape((None, 6)) == (None, 3, 2)
    assert Permute((2, 1)).compute_output_shape((None, None, 6)) == (None, 6, None)
    for layer in (ZeroPadding1D(), Cropping1D(), UpSampling1D()):
        assert layer.compute_output_shape((None, None, 6)) == (None, None, 6)


def test_lookups_are_carried_out():
    table = Embedding(5, 3)
    table.build((None, 4))
    ids = np.array([[1, 2, 0, 4]], np.int32)
    x, tape = table.forward(ids)
    flatten = Flatten()
    y, own = flatten.forward(x)
    np.testing.assert_array_equal(y, table.embeddings.value[ids].reshape(1, 12))
    table.backward(tape, flatten.backward(own, np.ones_like(y)))
    np.testing.assert_array_equal(table.embeddings.grad[:, 0], [1, 1, 1, 0, 1])


@pytest.mark.parametrize("make", [case[0] for case in CASES])
def test_config_round_trip(make):
    layer = make()
    config = json.loads(json.dumps(layer.get_config()))
    assert type(layer).from_config(config).get_config() == layer.get_config()


@pytest.mark.parametrize(("make", "message"), [
    (lambda: RepeatVector(0), "n must be a positive whole number; got 0"),
    (lambda: RepeatVector(2).build((None, 3, 4)), r"\(batch, features\).*\(None, 3, 4\)"),
    (lambda: RepeatVector(2)(np.ones((2, 3, 4))), r"\(batch, features\)"),
    (lambda: Flatten("last"), "data_format must be.*got 'last'"),
    (lambda: Reshape((-1, -1)), "at most one -1"),
    (lambda: Reshape((-2, 3)), "from 0 on"),
    (lambda: Reshape((5,)).build((None, 4)), r"4 entries.*\(None, 4\).*\(5,\)"),
    (lambda: Reshape((3, -1)).build((None, 4)), "do not fit"),
    (lambda: Reshape((0, -1)).build((None, 4)), "do not fit"),
    (lambda: Permute((0, 1)), r"from 1 on, each once.*\(0, 1\)"),
    (lambda: Permute((1, 1)), "each once"),
    (lambda: ZeroPadding1D(-1), r"\(ZeroPadding1D\): padding must be a whole .* two; got -1"),
    (lambda: ZeroPadding1D((1, 2, 3)), r"padding must be .* got \(1, 2, 3\)"),
    (lambda: ZeroPadding1D(1, "first"), "data_format must be"),
    (lambda: ZeroPadding1D().build((None, 4)), r"\(batch, steps, features\).*\(None, 4\)"),
    (lambda: Cropping1D("12"), "cropping must be .* got '12'"),
    (lambda: Cropping1D((2, 1)).build((None, 3, 4)), r"\(2, 1\) leaves no step.*\(None, 3, 4\)"),
    (lambda: Cropping1D((2, 1)).forward(np.ones((2, 3, 4))), "leaves no step"),
    (lambda: UpSampling1D(0), "size must be a positive whole number; got 0"),
    (lambda: Permute((2, 1)).build((None, 4)), r"3 axes for dims=\(2, 1\).*\(None, 4\)"),
])  # fmt: skip
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
