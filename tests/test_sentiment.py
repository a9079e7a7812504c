"""Raw text to label and probability, through a file and a new process."""

import json
import subprocess
import sys

import numpy as np
import pytest

from fastrnn.datasets import reviews
from fastrnn.saving import save_model
from fastrnn.sentiment import LABELS, Prediction, SentimentClassifier, load_dataset
from fastrnn.utils import set_random_seed

INDEX = {"the": 1, "film": 2, "is": 3, "good": 4, "bad": 5}
TEXTS = ["The film is good!", "the film is bad", "good film", "bad film"] * 8
TARGETS = np.array([1, 0, 1, 0] * 8)


@pytest.fixture(scope="module")
def classifier():
    set_random_seed(3)
    classifier = SentimentClassifier(INDEX, maxlen=5, units=8)
    classifier.fit(TEXTS, TARGETS, epochs=100, batch_size=8, verbose=0)
    return classifier


def test_learns_and_names_its_labels(classifier):
    good, bad = classifier.predict(["Good film", "Bad film"])
    assert good.label == "positive" and bad.label == "negative"
    assert good.probability > 0.7 and bad.probability > 0.7
    assert isinstance(good, Prediction) and isinstance(good.probability, float)


def test_probability_is_that_of_the_label(classifier):
    texts = ["good", "bad", "the", "is the", ""]
    positive = classifier.model.predict(classifier._rows(texts), verbose=0)[:, 0]
    for (label, probability), p in zip(classifier.predict(texts), positive, strict=True):
        assert label == LABELS[int(p > 0.5)]
        assert probability == pytest.approx(max(p, 1 - p))


def test_keeps_the_best_epoch():
    """Labels turned round in the part held out: the more is learnt, the worse it does there."""
    classifier = SentimentClassifier(INDEX, maxlen=5, units=8)
    targets = np.concatenate([TARGETS[:24], 1 - TARGETS[24:]])
    history = classifier.fit(
        TEXTS, targets, epochs=30, batch_size=8, validation_split=0.25, verbose=0
    ).history
    assert history["val_loss"][-1] > min(history["val_loss"])
    held_out = classifier.evaluate(TEXTS[24:], targets[24:])
    assert held_out["loss"] == pytest.approx(min(history["val_loss"]), rel=1e-5)


def test_best_preset_learns_and_comes_back_from_its_file(tmp_path):
    set_random_seed(0)
    classifier = SentimentClassifier(INDEX, units=8, preset="best")
    for use in (
        lambda: classifier.predict(["good"]),
        lambda: classifier.evaluate(TEXTS, TARGETS),
        lambda: classifier.save(tmp_path / "none"),
    ):
        with pytest.raises(RuntimeError, match="call fit first"):
            use()
    with pytest.raises(ValueError, match=r"validation_split.*got 1.5"):
        classifier.fit(TEXTS, TARGETS, validation_split=1.5)
    classifier.fit(TEXTS * 4, np.tile(TARGETS, 4), epochs=60, batch_size=8, verbose=0)
    assert [p.label for p in classifier.predict(TEXTS[:4])] == ["positive", "negative"] * 2
    classifier.save(tmp_path / "m.fastrnn")
    again = SentimentClassifier.load(tmp_path / "m.fastrnn")
    assert again.preset == "best" and again.units == 8
    assert (again.phrases.pairs == classifier.phrases.pairs).all()
    assert again.predict(["not a good film at all", ""]) == classifier.predict(
        ["not a good film at all", ""]
    )


def test_zero_is_not_taken_for_nothing():
    classifier = SentimentClassifier(INDEX, maxlen=5, units=2)
    assert classifier.fit(TEXTS, TARGETS, epochs=0, verbose=0).history == {}
    with pytest.raises(ValueError, match="got 0"):
        SentimentClassifier(INDEX, units=0)


def test_unknown_preset():
    with pytest.raises(ValueError, match="preset: expected one of .*got 'fast'"):
        SentimentClassifier(INDEX, preset="fast")


def test_no_texts(classifier):
    assert classifier.predict([]) == []


def test_single_text_is_not_a_list(classifier):
    with pytest.raises(TypeError, match="put it into a list"):
        classifier.predict("good")


def test_texts_and_their_ids_are_the_same(classifier):
    ids = [[1, 4, 5, 6, 7], [1, 4, 5, 6, 8], [1, 7, 5], [1, 8, 5]] * 8
    scores = classifier.evaluate(TEXTS, TARGETS)
    assert scores == classifier.evaluate(ids, TARGETS)
    assert scores.keys() == {"loss", "accuracy"}
    assert scores["accuracy"] == 1


def test_last_words_of_a_long_text_count(classifier):
    long = "bad bad bad bad bad the film is good"
    assert classifier.predict([long]) == classifier.predict(["bad the film is good"])


def test_vocabulary_is_no_larger_than_the_index():
    assert SentimentClassifier(INDEX, num_words=10000, units=2).num_words == 9
    small = SentimentClassifier(INDEX, num_words=6, units=2)
    assert small.num_words == 6
    assert small.predict(["good bad"]) == small.predict(["bad good"])  # both unknown by now


def test_loads_in_a_new_process(classifier, tmp_path):
    file = tmp_path / "model.fastrnn"
    classifier.save(file)
    program = (
        "import json, sys; from fastrnn.sentiment import SentimentClassifier as C;"
        "c = C.load(sys.argv[1]); print(json.dumps([c.predict(sys.argv[2:]), c.word_index]))"
    )
    texts = ["Good film", "the film is bad"]
    done = subprocess.run(
        [sys.executable, "-c", program, file, *texts], capture_output=True, text=True, check=True
    )
    predictions, index = json.loads(done.stdout)
    assert index == INDEX
    assert [Prediction(*p) for p in predictions] == classifier.predict(texts)


def test_training_goes_on_after_loading(classifier, tmp_path):
    classifier.save(tmp_path / "m")
    same = SentimentClassifier.load(tmp_path / "m")
    assert (same.maxlen, same.num_words, same.dataset) == (5, 9, None)
    same.fit(TEXTS, TARGETS, epochs=1, verbose=0)
    assert same.evaluate(TEXTS, TARGETS)["accuracy"] == 1


def test_model_without_a_word_index(classifier, tmp_path):
    save_model(classifier.model, tmp_path / "m")
    with pytest.raises(ValueError, match="no word index to read text with"):
        SentimentClassifier.load(tmp_path / "m")


def test_train_on_a_data_set_by_name(tiny_imdb):
    classifier = SentimentClassifier.train(
        "imdb", tiny_imdb, maxlen=12, units=8, epochs=2, verbose=0
    )
    assert classifier.dataset == "imdb"
    assert len(classifier.model.history.history["loss"]) == 2


@pytest.mark.parametrize("name", ["", "imdb.npz"])
def test_imdb_by_folder_or_file(name, tiny_imdb):
    data = load_dataset("imdb", tiny_imdb / name, num_words=8)
    assert len(data.train[0]) == 60 and len(data.test[0]) == 20
    assert data.word_index["film"] == 2
    assert max(map(max, data.train[0])) < 8


def test_built_in_reviews():
    data = load_dataset("reviews")
    (x_train, y_train), _ = reviews.load_data()
    assert [list(x) for x in data.train[0][:50]] == [list(x) for x in x_train[:50]]
    np.testing.assert_array_equal(data.train[1], y_train)
    few = load_dataset("reviews", num_words=30)
    assert max(map(max, few.train[0])) < 30


def test_built_in_reviews_take_no_file(tmp_path):
    with pytest.raises(ValueError, match="take no data file"):
        load_dataset("reviews", tmp_path)


def test_unknown_data_set():
    with pytest.raises(ValueError, match=r"\['imdb', 'reviews'\]; got 'imbd'"):
        load_dataset("imbd")
