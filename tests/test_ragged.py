"""Sequences of different lengths: each row's result, and gradient, is that of the row alone."""

import numpy as np
import pytest

import fastrnn
from fastrnn import Input, Model, Sequential
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Add,
    Bidirectional,
    Concatenate,
    Dense,
    Dot,
    Embedding,
    Flatten,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Layer,
    LSTMCell,
    Masking,
    Permute,
    Reshape,
    SimpleRNN,
    TimeDistributed,
)
from fastrnn.masks import StepMask

ROWS = [[1, 2], [3] * 8, [4, 5, 0, 6], [0, 0], [7], []]


class Twice(Layer):
    """One's own, which says nothing of masks."""

    def forward(self, x, mask=None, training=False):
        return self.dense(x) * 2, None

    def backward(self, tape, dy):
        return dy * 2

    def compute_output_shape(self, input_shape):
        return input_shape


def backwards(layer, **options):
    return layer(3, return_sequences=True, go_backwards=True, **options)


CHAINS = {
    "maximum": lambda: [Embedding(9, 4), GlobalMaxPooling1D()],
    "maximum, an axis kept": lambda: [
        GRU(3, return_sequences=True), GlobalMaxPooling1D(keepdims=True), SimpleRNN(2),
    ],
    "mean": lambda: [LSTM(3, return_sequences=True), GlobalAveragePooling1D()],
    "both ways": lambda: [Bidirectional(GRU(3, return_sequences=True)), GlobalMaxPooling1D()],
    "both ways, twice": lambda: [
        Bidirectional(LSTM(3, return_sequences=True), merge_mode="mul"), Bidirectional(GRU(2)),
    ],
    "masking of other steps": lambda: [Masking(-1.0), GRU(3)],
    "ids that mask": lambda: [Embedding(9, 4, mask_zero=True), GRU(3)],
    "ids that mask, maximum": lambda: [
        Embedding(9, 4, mask_zero=True), GRU(3, return_sequences=True), GlobalMaxPooling1D(),
    ],
    "backwards": lambda: [backwards(SimpleRNN), GRU(2)],
    "backwards, zeros": lambda: [
        backwards(LSTM, zero_output_for_mask=True), GlobalMaxPooling1D(),
    ],
    "backwards with holes": lambda: [Embedding(9, 4, mask_zero=True), backwards(GRU), GRU(2)],
    "backwards, in pieces": lambda: [backwards(GRU, recompute=True), GRU(2)],
    "backwards, a cell": lambda: [
        RNN(LSTMCell(2), return_sequences=True, go_backwards=True), GlobalMaxPooling1D(),
    ],
    "a layer of one's own": lambda: [Twice(), GRU(3)],
    "step by step": lambda: [TimeDistributed(Dense(3)), GRU(3)],
}  # fmt: skip
GRAPHS = {
    "sum": lambda x: GRU(3)(Add()([x, Dense(4)(x)])),
    "sum with what has no steps": lambda x: GRU(3)(
        Add()([x, Reshape((1, 4))(Dense(4)(GlobalMaxPooling1D()(x)))])
    ),
    "side by side": lambda x: GRU(3)(Concatenate()([x, LSTM(2, return_sequences=True)(x)])),
    "one behind the other": lambda x: GlobalMaxPooling1D()(Concatenate(axis=1)([x, Dense(4)(x)])),
}


def chain(name):
    layers = CHAINS[name]()
    first = [] if isinstance(layers[0], Embedding) else [Embedding(9, 4)]
    return Sequential([Input((None,)), *first, *layers, Dense(1)])


def graph(name):
    ids = Input((None,))
    return Model(ids, Dense(1)(GRAPHS[name](Embedding(9, 4)(ids))))


MODELS = [(chain, name) for name in CHAINS] + [(graph, name) for name in GRAPHS]


@pytest.mark.parametrize("make, name", MODELS, ids=[name for _, name in MODELS])
def test_a_row_does_not_depend_on_those_beside_it(make, name):
    fastrnn.utils.set_random_seed(1)
    model = make(name)
    model.compile(fastrnn.optimizers.SGD(1.0), "mse")
    first, y = model.get_weights(), np.arange(len(ROWS)) / 3.0
    outputs, updates = [], []
    for row, label in zip(ROWS, y, strict=True):
        outputs.append(model.predict([row], verbose=0)[0])
        model.train_on_batch([row], label[None])
        updates.append([a - b for a, b in zip(model.get_weights(), first, strict=True)])
        model.set_weights(first)
    np.testing.assert_allclose(model.predict(ROWS, verbose=0), outputs, atol=1e-6)
    model.train_on_batch(ROWS, y)
    for a, b, *own in zip(model.get_weights(), first, *updates, strict=True):
        np.testing.assert_allclose(a - b, np.mean(own, axis=0), atol=1e-6)


@pytest.mark.parametrize("layer", [Flatten(), Permute((2, 1)), Reshape((-1, 2))])
def test_what_would_take_filling_for_data_says_so(layer):
    layer.build((None, None, 4))
    mask = StepMask.from_ragged([3, 1], 3)
    with pytest.raises(ValueError, match=rf"{layer.name}.*different lengths.*pad_sequences"):
        layer.forward(np.zeros((2, 3, 4)), mask)


def test_products_of_sequences_of_different_lengths():
    ids = Input((None,))
    x = Embedding(9, 4)(ids)
    model = Model(ids, GlobalMaxPooling1D()(Dot(axes=(2, 2))([x, x])))
    with pytest.raises(ValueError, match=r"\(Dot\): cannot take sequences of different lengths"):
        model.predict(ROWS, verbose=0)


def test_concatenated_sequences_are_not_read_backwards():
    ids = Input((None,))
    x = Embedding(9, 4)(ids)
    model = Model(ids, backwards(GRU)(Concatenate(axis=1)([x, x])))
    with pytest.raises(ValueError, match="cannot read sequences .* concatenated step by step"):
        model.predict(ROWS, verbose=0)
