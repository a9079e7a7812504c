"""Token dropout, dropout of an Embedding's table, and pairs of words as tokens."""

import numpy as np
import pytest

from fastrnn import Input, Sequential, engines
from fastrnn.layers import (
    GRU,
    LSTM,
    Dense,
    Embedding,
    GlobalMaxPooling1D,
    SimpleRNN,
    TokenDropout,
    deserialize,
    serialize,
)
from fastrnn.models import load_model
from fastrnn.preprocessing.phrases import Phrases
from fastrnn.utils import set_random_seed
from fastrnn.values import RowGradient

IDS = np.random.default_rng(0).integers(0, 50, (40, 30)).astype(np.int32)


# -- TokenDropout ------------------------------------------------------------------------------


def test_replaces_the_part_asked_for_and_only_in_training():
    layer = TokenDropout(0.3, replacement=60, seed=1)
    assert (layer(IDS) == IDS).all()
    dropped = layer(IDS, training=True)
    replaced = dropped == 60
    assert (dropped[~replaced] == IDS[~replaced]).all()
    assert abs(replaced[IDS > 0].mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / IDS.size)
    assert (layer(IDS, training=True) != dropped).any()  # drawn anew for each call


def test_a_token_of_its_own_for_each():
    other = np.arange(50)[::-1]
    assert (TokenDropout(1, other)(IDS, training=True) == np.where(IDS, other[IDS], 0)).all()


def test_padding_stays_padding():
    ids = np.array([[0, 0, 5, 6], [0, 7, 8, 9]])
    model = Sequential([
        Input((4,), dtype="int32"), TokenDropout(1.0), Embedding(10, 3, mask_zero=True), GRU(4),
    ])  # fmt: skip
    model.build((None, 4))
    assert (TokenDropout(1.0)(ids, training=True) == np.where(ids, 2, 0)).all()
    as_unknown = model(np.where(ids, 2, 0))
    assert np.allclose(model(ids, training=True), as_unknown)
    assert not np.allclose(model(ids), as_unknown)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.5,), "rate must lie in"),
        ((0.5, [[1]]), "a list with one for each token"),
        ((0.5, 1.5), "must be a token id"),
        ((0.5, [0, -1]), "token ids are from 0 on"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        TokenDropout(*arguments)


def test_ids_that_cannot_be():
    with pytest.raises(IndexError, match="from 0 to 2; got 3"):
        TokenDropout(0.5, [0, 1, 2])(np.array([[3]]), training=True)
    with pytest.raises(IndexError, match="got -1"):
        TokenDropout(0.5)(np.array([[-1]]))
    with pytest.raises(ValueError, match="whole numbers"):
        TokenDropout(0.5)(np.array([[0.5]]))
    assert TokenDropout(0.5)(np.array([[1.0, 2.0]])).dtype == np.int32


@pytest.mark.parametrize("replacement", [1, 30])
def test_ids_without_a_row_are_found_before_the_first_step(replacement):
    x = np.ones((40, 5), int)
    x[-1, 2] = 1 if replacement == 30 else 25
    model = Sequential([
        Input((None,), dtype="int32"), TokenDropout(0.1), TokenDropout(0.3, replacement),
        Embedding(20, 4), GRU(3), Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile("sgd", "binary_crossentropy")
    before = model.get_weights()
    with pytest.raises(IndexError, match=f"token id {max(replacement, 25)} is outside"):
        model.fit(x, np.zeros(40), batch_size=4, shuffle=False, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert (old == new).all()


def test_does_nothing_where_a_model_is_used():
    plain = Sequential([Input((None,)), Embedding(20, 4), GRU(3)])
    noisy = Sequential([Input((None,), dtype="int32"), TokenDropout(0.9), *plain.layers])
    stream = noisy.stream(2)
    ids = np.array([[3, 4, 5], [6, 7, 8]])
    for step in range(3):
        last = stream(ids[:, step])
    assert np.allclose(last, plain.predict(ids, verbose=0), atol=1e-6)
    assert noisy.predict([[], [3]], verbose=0).shape == (2, 3)


def test_keras_has_no_such_layer(tmp_path):
    noisy = TokenDropout(0.5), Embedding(5, 2, dropout=0.5)
    model = Sequential([Input((None,), dtype="int32"), *noisy])
    with pytest.raises(ValueError, match="is a TokenDropout, which Keras has not"):
        model.save(tmp_path / "m.keras")
    Sequential([Input((None,)), Embedding(5, 2, dropout=0.5)]).save(tmp_path / "m.keras")
    assert load_model(tmp_path / "m.keras").layers[0].dropout == 0


def test_comes_back_from_its_configuration():
    layer = TokenDropout(0.5, [0, 1, 1], seed=4)
    again = deserialize(serialize(layer))
    ids = np.array([[0, 1, 2, 2, 2, 2]])
    assert (again(ids, training=True) == layer(ids, training=True)).all()


def test_in_a_model_that_learns():
    set_random_seed(0)
    x = np.random.default_rng(1).integers(3, 20, (300, 6))
    y = (x == 7).any(axis=1)
    model = Sequential([
        Input((None,), dtype="int32"), TokenDropout(0.1), Embedding(20, 8, dropout=0.2),
        GRU(8, return_sequences=True), GlobalMaxPooling1D(), Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile("adam", "binary_crossentropy", metrics=["acc"])
    model.fit(x, y, epochs=60, batch_size=16, verbose=0)
    assert y.mean() < 0.4 and model.evaluate(x, y, verbose=0)[1] > 0.93


# -- Embedding(dropout=) -------------------------------------------------------------------------


@pytest.fixture(params=["cpu", "reference"])
def engine(request):
    with engines.using(request.param) as engine:
        yield engine


def test_all_places_of_a_token_see_the_same_entries(engine):
    layer = Embedding(50, 16, dropout=0.4, seed=2)
    plain, dropped = layer(IDS), layer(IDS, training=True)
    kept = dropped != 0
    assert np.allclose(dropped[kept], plain[kept] / 0.6)
    assert abs(kept.mean() - 0.6) < 0.06
    for token in range(50):
        places = kept[token == IDS]
        assert (places == places[0]).all()
    assert (layer(IDS, training=True) != dropped).any()


@pytest.mark.parametrize("as_rows", [True, False])
def test_gradient_of_the_table_goes_through_the_same_mask(engine, as_rows):
    """The output is linear in the table: the gradient of its sum with weights is exact."""
    layer = Embedding(50, 4, dropout=0.5, seed=3, dtype="float64")
    layer.build((None, 30))
    y, tape = layer.forward(engine.asarray(IDS), training=True)
    weights = np.random.default_rng(5).normal(size=(*IDS.shape, 4))
    if as_rows:  # as a recurrent layer that took the lookup as it is gives it back
        dtable = np.zeros(y.table.shape)
        np.add.at(dtable, y.ids, weights)
        rows = np.arange(len(dtable), dtype=np.int32)
        layer.backward(tape, RowGradient(rows, dtable))
    else:
        layer.backward(tape, weights)
    for token, column in [(IDS[0, 0], 0), (IDS[3, 4], 2), (IDS[7, 7], 3)]:
        factor = 0.0 if engines.dense(y)[token == IDS][0, column] == 0 else 2.0
        expected = factor * weights[token == IDS][:, column].sum()
        assert layer.embeddings.grad[token, column] == pytest.approx(expected, abs=1e-12)


def test_dropout_of_the_table_is_in_the_configuration_only_where_there_is_one():
    assert "dropout" not in Embedding(5, 2).get_config()
    assert Embedding.from_config(Embedding(5, 2, dropout=0.5, seed=1).get_config()).dropout == 0.5
    with pytest.raises(IndexError, match="token id 9 is outside"):
        Embedding(5, 2, dropout=0.5)(np.array([[1, 9]]), training=True)
    with pytest.raises(IndexError, match="token id -1 is outside"):
        Embedding(5, 2, dropout=0.5)(np.array([[1, -1]], np.int32), training=True)
    with pytest.raises(AttributeError):
        Embedding(5, 2).dropout = 0.5  # it has no random numbers to draw


@pytest.mark.parametrize("layer", [SimpleRNN(5, activation="softsign"), LSTM(5), GRU(16)])
def test_behind_it_the_engines_agree(layer):
    """On the CPU the lookup stays one through the projection; softsign is left to the reference."""
    def gradients(engine):
        with engines.using(engine):
            own = type(layer).from_config(layer.get_config() | {"dtype": "float64"})
            table = Embedding(50, 4, dropout=0.5, seed=1, dtype="float64")
            model = Sequential([Input((None,)), table, own])
            model.build((None, 30))
            for i, weight in enumerate(model.weights):
                weight.assign(np.random.default_rng(i).normal(size=weight.shape) / 2)
            y, tape = model.forward(IDS // 2 * 2 + 1, training=True)  # not every id occurs
            model.backward(tape, np.cos(np.arange(y.size)).reshape(y.shape))
            return [y, *(np.array(p.grad) for p in model.parameters)]

    for ours, expected in zip(gradients("cpu"), gradients("reference"), strict=True):
        assert np.abs(expected).max() > 0
        assert np.allclose(ours, expected, atol=1e-9)


# -- Phrases ---------------------------------------------------------------------------------------


def test_the_most_frequent_pairs_become_tokens():
    rows = [[1, 4, 5, 6], [1, 4, 5], [1, 5, 6], []]
    phrases = Phrases.learn(rows, num_words=7, num_pairs=2)
    assert phrases.pairs.tolist() == [[1, 4], [4, 5]]  # twice each, as (5, 6): the first by id
    assert phrases.num_tokens == 9
    tokens = phrases(rows)
    assert [row.tolist() for row in tokens] == [[1, 7, 8, 6], [1, 7, 8], [1, 5, 6], []]
    assert [phrases.last_words[row].tolist() for row in tokens] == rows


def test_rare_words_are_unknown_and_make_no_pair():
    phrases = Phrases.learn([[9, 9, 9, 3, 3]], num_words=5, num_pairs=10)
    assert phrases.pairs.tolist() == [[3, 3]]
    assert phrases([[9, 3, 3]])[0].tolist() == [2, 3, 5]


def test_padding_is_in_no_pair():
    phrases = Phrases.learn([[0, 0, 0, 3, 4]] * 3, num_words=5, num_pairs=10)
    assert phrases.pairs.tolist() == [[3, 4]]


def test_pairs_make_equal_phrases_again():
    rows = [np.random.default_rng(s).integers(0, 30, 50) for s in range(20)]
    phrases = Phrases.learn(rows, 30, 40)
    again = Phrases(phrases.pairs.tolist(), 30)
    assert all((a == b).all() for a, b in zip(phrases(rows), again(rows), strict=True))
    with pytest.raises(ValueError, match="word ids from 0 to 9"):
        Phrases([[1, 10]], 10)
    assert Phrases([], 10)([[1, 12]])[0].tolist() == [1, 2]
