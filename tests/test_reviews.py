"""The built-in reviews: what they are, and that only the order of their words tells the label."""

import numpy as np
import pytest

import fastrnn
from fastrnn.datasets import reviews
from fastrnn.layers import Dense, Embedding, SimpleRNN
from fastrnn.models import Sequential
from fastrnn.optimizers import RMSprop
from fastrnn.preprocessing.sequence import pad_sequences
from fastrnn.preprocessing.text import encode, text_to_word_sequence


def test_texts_are_as_described():
    (train, y_train), (test, y_test) = reviews.load_texts(n_train=3001, n_test=1000)
    assert len(train) == len(y_train) == 3001 and len(test) == len(y_test) == 1000
    assert np.bincount(y_train).tolist() == [1501, 1500]
    assert np.bincount(y_test).tolist() == [500, 500]
    assert len({*train, *test}) == 4001
    lengths = np.array([len(text_to_word_sequence(text)) for text in train])
    assert lengths.min() >= 5 and lengths.max() <= 60
    assert np.percentile(lengths, 10) < 15 and np.percentile(lengths, 90) > 45
    assert all(text[0].isupper() and text.endswith(".") for text in train)
    assert not any("{" in text for text in train)


def test_the_seed_decides():
    def load(seed):
        (train, labels), (test, _) = reviews.load_texts(20, 20, seed)
        return train, test, labels.tolist()

    assert load(1) == load(1)
    assert load(1) != load(2)


def test_data_is_coded_like_imdb():
    (x, y), (x_test, y_test) = reviews.load_data(50, 20, seed=3)
    (texts, labels), _ = reviews.load_texts(50, 20, seed=3)
    word_index = reviews.get_word_index()
    assert x.dtype == object and x.shape == (50,) and x_test.shape == (20,)
    assert y.dtype == y_test.dtype == np.int64
    assert y.tolist() == labels.tolist()
    assert x.tolist() == encode(texts, word_index)
    # Not a word is left out.
    assert [len(ids) - 1 for ids in x] == [len(text_to_word_sequence(text)) for text in texts]

    (few, _), _ = reviews.load_data(50, 20, seed=3, num_words=30)
    assert few.tolist() == [[word if word < 30 else 2 for word in ids] for ids in x]


def test_word_index_ranks_every_word():
    word_index = reviews.get_word_index()
    assert sorted(word_index.values()) == list(range(1, len(word_index) + 1))
    assert {"not", "brilliant", "dull", "tuesday"} < set(word_index)
    assert all(text_to_word_sequence(word) == [word] for word in word_index)


@pytest.mark.parametrize("name", ["n_train", "n_test"])
def test_refuses_bad_numbers(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        reviews.load_data(**{name: 0})
    with pytest.raises(TypeError):
        reviews.load_data(**{name: 1.5})


# ---------------------------------------------------------------- word order decides


@pytest.fixture(scope="module")
def data():
    return reviews.load_data()


def bags_of_words(x):
    """How often each word is in each review, shape (N, V); padding's column is a one for all."""
    bags = np.zeros((len(x), len(reviews.get_word_index()) + 4))
    for bag, ids in zip(bags, x, strict=True):
        np.add.at(bag, ids, 1)
    bags[:, 0] = 1
    return bags


def accuracy_of_logistic_regression(x, y, x_test, y_test, penalty=1):
    """Fit by Newton's method, to the optimum."""
    weights = np.zeros(x.shape[1])
    for _ in range(20):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient = x.T @ (p - y) + penalty * weights
        hessian = (x * (p * (1 - p))[:, None]).T @ x + penalty * np.eye(len(weights))
        step = np.linalg.solve(hessian, gradient)
        weights -= step
        if abs(step).max() < 1e-6:
            return np.mean((x_test @ weights > 0) == y_test)
    raise AssertionError("did not converge")


@pytest.mark.parametrize(("what", "most"), [("counts", np.inf), ("presence", 1)])
def test_a_bag_of_words_is_not_enough(data, what, most):
    (x, y), (x_test, y_test) = data
    x, x_test = (np.minimum(bags_of_words(half), most) for half in (x, x_test))
    accuracy = accuracy_of_logistic_regression(x, y, x_test, y_test)
    print(f"bag of words ({what}): test accuracy {accuracy:.3f}")
    assert accuracy < 0.75

    # It does see what one word tells.
    x[y == 1, 2] = x_test[y_test == 1, 2] = 1
    assert accuracy_of_logistic_regression(x, y, x_test, y_test) > 0.99


def test_a_recurrent_net_is_enough(data):
    (x, y), (x_test, y_test) = data
    fastrnn.utils.set_random_seed(1)
    model = Sequential()
    model.add(Embedding(len(reviews.get_word_index()) + 4, 32))
    model.add(SimpleRNN(32))
    model.add(Dense(1, activation="sigmoid"))
    # Clipped, because a plain recurrent net's gradient leaps now and then.
    optimizer = RMSprop(global_clipnorm=1.0)
    model.compile(optimizer=optimizer, loss="binary_crossentropy", metrics=["acc"])
    model.fit(pad_sequences(x), y, epochs=15, batch_size=128, verbose=0)
    _, accuracy = model.evaluate(pad_sequences(x_test, maxlen=61), y_test, verbose=0)
    print(f"SimpleRNN: test accuracy {accuracy:.3f}")
    assert accuracy > 0.95
