"""Sequences of different lengths: each row's result, and gradient, is that of the row alone."""

import numpy as np
import pytest

import fastrnn
from fastrnn import Input, Model, Sequential, engines
from fastrnn.layers import (
    GRU,
    LSTM,
    RNN,
    Add,
    Bidirectional,
    Concatenate,
    Cropping1D,
    Dense,
    Dot,
    Embedding,
    Flatten,
    GaussianNoise,
    GlobalAveragePooling1D,
    GlobalMaxPooling1D,
    Identity,
    Layer,
    LSTMCell,
    Masking,
    Permute,
    Rescaling,
    Reshape,
    SimpleRNN,
    TimeDistributed,
    UnitNormalization,
    UpSampling1D,
    ZeroPadding1D,
)
from fastrnn.masks import StepMask

ROWS = [[1, 2], [3] * 8, [4, 5, 0, 6], [0, 0], [7], []]


class Twice(Layer):
    """One's own, which says nothing of masks."""

    def forward(self, x, mask=None, training=False):
        return engines.dense(x) * 2, None

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
    "one formula": lambda: [
        Identity(), Rescaling(2.0, 0.5), GaussianNoise(0.0), UnitNormalization(), GRU(3),
    ],
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


@pytest.mark.parametrize("layer", [
    Flatten(), Permute((2, 1)), Reshape((-1, 2)), ZeroPadding1D(), Cropping1D((0, 1)),
    UpSampling1D(),
], ids=lambda layer: layer.name)  # fmt: skip
def test_what_would_take_filling_for_data_says_so(layer):
    layer.build((None, None, 4))
    mask = StepMask.from_ragged([3, 1], 3)
    with pytest.raises(ValueError, match=rf"{layer.name}.*different lengths.*pad_sequences"):
        layer.forward(np.zeros((2, 3, 4)), mask)


def test_steps_of_different_lengths_are_not_normalized_together():
    model = Sequential([Input((None,)), Embedding(9, 4), UnitNormalization(axis=1), GRU(2)])
    with pytest.raises(ValueError, match="cannot take sequences of different lengths"):
        model.predict(ROWS, verbose=0)


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


# -- labels of steps -------------------------------------------------------------------------------

TAGS = [[i % 3 for i in row] for row in ROWS]


def tagger():
    fastrnn.utils.set_random_seed(2)
    model = Sequential([
        Input((None,)), Embedding(9, 4), GRU(3, return_sequences=True), Dense(3, "softmax"),
    ])
    loss = "sparse_categorical_crossentropy"
    model.compile("sgd", loss, metrics=["acc"], weighted_metrics=["acc"])
    return model


def padded(rows):
    return np.array([[*row, *[0] * (8 - len(row))] for row in rows])


def as_objects(rows):
    made = np.empty(len(rows), object)
    made[:] = [np.array(row, np.int64) for row in rows]
    return made


@pytest.mark.parametrize("made", [list, as_objects])
def test_labels_and_weights_may_have_the_lengths_of_the_rows(made):
    weights = [[1.0 + t for t in range(len(row))] for row in ROWS]
    options = {"epochs": 2, "batch_size": 2, "validation_split": 0.5, "verbose": 0}
    one, two = tagger(), tagger()
    fastrnn.utils.set_random_seed(5)
    first = one.fit(ROWS, made(TAGS), sample_weight=weights, **options).history
    fastrnn.utils.set_random_seed(5)
    second = two.fit(ROWS, padded(TAGS), sample_weight=padded(weights), **options).history
    assert first == second
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert one.evaluate(ROWS, made(TAGS), verbose=0) == two.evaluate(ROWS, padded(TAGS), verbose=0)
    assert one.test_on_batch(ROWS, TAGS) == two.test_on_batch(ROWS, padded(TAGS))


def test_labels_with_features_of_one_of_two_outputs():
    ids = Input((None,))
    x = GRU(3, return_sequences=True)(Embedding(9, 4)(ids))
    model = Model(ids, {"a": Dense(2)(x), "b": Dense(1)(GlobalMaxPooling1D()(x))})
    model.compile("sgd", "mse")
    rows, y = ROWS[:5], np.arange(5)
    whole = np.ones((5, 8, 2))
    own = [np.ones((len(row), 2)) for row in rows]
    found = model.evaluate(rows, {"a": own, "b": y}, verbose=0)
    assert found == model.evaluate(rows, {"a": whole, "b": y}, verbose=0)


@pytest.mark.parametrize(("x", "y", "weight", "message"), [
    (ROWS, [*TAGS[:2], [1], *TAGS[3:]], None,
     "y: expected as many steps in each row as x has there; row 2 has 1, that of x 4"),
    (ROWS, np.zeros((6, 9), int), None,
     r"y: expected 8 steps, .* longest row of x; got shape \(6, 9\).*padding='post', maxlen=8"),
    (ROWS, np.zeros((6, 4, 1), int), None, r"y: expected 8 steps, .* got shape \(6, 4, 1\)"),
    (ROWS, TAGS, TAGS[::-1], "sample_weight: expected as many steps .* row 0 has 0, that of x 2"),
    (padded(ROWS), TAGS, None, "y: got rows of different lengths, but .* Pad them as x was padded"),
    (padded(ROWS), padded(TAGS), TAGS, "sample_weight: got rows of different lengths"),
])  # fmt: skip
def test_labels_of_other_lengths(x, y, weight, message):
    with pytest.raises(ValueError, match=message):
        tagger().fit(x, y, sample_weight=weight, verbose=0)


def test_labels_do_not_follow_steps_that_are_taken():
    ids = Input((None,))
    model = Model(ids, Dense(1)(GRU(3, return_sequences=True)(Embedding(9, 4)(ids))[:, 1:]))
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"'get_item.* \(GetItem\): .*labels .* cannot follow"):
        model.fit(ROWS[:3], np.zeros((3, 7, 1)), verbose=0)
    x = padded(ROWS)
    model.fit(x, np.zeros((6, 7, 1)), verbose=0)
