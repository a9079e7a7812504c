"""The tokenizer against what that of Keras 3.15.1 (its legacy one, of Keras 2) gave."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from fastrnn.preprocessing.text import Tokenizer, hashing_trick, one_hot, tokenizer_from_json

TEXTS = ["The cat sat.", "A cat! THE dog, the cat"]
KERAS_JSON = json.dumps({"class_name": "Tokenizer", "config": {
    "num_words": 5, "filters": "!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\t\n", "lower": True,
    "split": " ", "char_level": False, "oov_token": "?", "document_count": 2,
    "word_counts": '{"the": 3, "cat": 3, "sat": 1, "a": 1, "dog": 1}',
    "word_docs": '{"the": 2, "sat": 1, "cat": 2, "dog": 1, "a": 1}',
    "index_docs": '{"2": 2, "4": 1, "3": 2, "6": 1, "5": 1}',
    "index_word": '{"1": "?", "2": "the", "3": "cat", "4": "sat", "5": "a", "6": "dog"}',
    "word_index": '{"?": 1, "the": 2, "cat": 3, "sat": 4, "a": 5, "dog": 6}',
}})


def fitted(texts=TEXTS, **options):
    tokenizer = Tokenizer(**options)
    tokenizer.fit_on_texts(texts)
    return tokenizer


def test_words_are_numbered_by_how_often_they_are():
    tokenizer = fitted()
    assert tokenizer.word_index == {"the": 1, "cat": 2, "sat": 3, "a": 4, "dog": 5}
    assert tokenizer.index_word == {1: "the", 2: "cat", 3: "sat", 4: "a", 5: "dog"}
    assert tokenizer.word_counts == {"the": 3, "cat": 3, "sat": 1, "a": 1, "dog": 1}
    assert tokenizer.word_docs == {"the": 2, "cat": 2, "sat": 1, "a": 1, "dog": 1}
    assert tokenizer.document_count == 2
    tokenizer.fit_on_texts(text for text in ["dog dog dog"])  # goes on counting
    assert tokenizer.word_index == {"dog": 1, "the": 2, "cat": 3, "sat": 4, "a": 5}
    assert tokenizer.index_docs == {1: 2, 2: 2, 3: 2, 4: 1, 5: 1}


@pytest.mark.parametrize(
    ("options", "ids", "text"),
    [
        ({}, [[1, 2, 1], []], "the cat the"),
        ({"num_words": 2}, [[1, 1], []], "the the"),
        ({"oov_token": "?"}, [[2, 3, 2, 1], [1]], "the cat the ?"),
        ({"oov_token": "?", "num_words": 3}, [[2, 1, 2, 1], [1]], "the ? the ?"),
        ({"lower": False}, [[7, 1, 7], []], "the cat the"),
        ({"analyzer": lambda text: text.lower().split(" ")}, [[1, 2, 1], []], "the cat the"),
    ],
)
def test_texts_as_ids_and_back(options, ids, text):
    tokenizer = fitted(**options)
    found = tokenizer.texts_to_sequences(["the cat the end", "zebra"])
    assert found == ids
    assert tokenizer.sequences_to_texts(found)[0] == text
    assert list(tokenizer.texts_to_sequences_generator(["zebra"])) == ids[1:]


def test_words_that_are_given_and_characters():
    tokenizer = fitted([["New York", "is"], ("new york",)])
    assert tokenizer.word_index == {"new york": 1, "is": 2}
    tokenizer = fitted(["Ab.", "b"], char_level=True)
    assert tokenizer.word_index == {"b": 1, "a": 2, ".": 3}
    assert tokenizer.sequences_to_texts([[2, 1, 9]]) == ["a b"]


def test_matrices():
    tokenizer = fitted(num_words=5, oov_token="?")
    text = ["the cat the end"]
    for mode, expected in {
        "binary": [0, 1, 1, 1, 0], "count": [0, 1, 2, 1, 0], "freq": [0, 0.25, 0.5, 0.25, 0],
        "tfidf": [0, 1.0986122886681098, 0.8649029646371624, 0.5108256237659906, 0],
    }.items():
        np.testing.assert_allclose(tokenizer.texts_to_matrix(text, mode), [expected])
    assert fitted().texts_to_matrix(["", "a"]).tolist() == [[0] * 6, [0, 0, 0, 0, 1, 0]]
    tokenizer = Tokenizer(num_words=4)
    tokenizer.fit_on_sequences([[1, 2, 2], [3, 1]])
    found = tokenizer.sequences_to_matrix([[1, 1, 5], [2]], "tfidf")
    one, two = (1 + np.log(2)) * np.log(1 + 2 / 3), np.log(1 + 2 / 2)
    np.testing.assert_allclose(found, [[0, one, 0, 0], [0, 0, two, 0]])


def test_files_go_both_ways_between_keras_and_us():
    assert json.loads(KERAS_JSON)["config"].keys() == fitted().get_config().keys()
    tokenizer = tokenizer_from_json(KERAS_JSON)
    ours = fitted(num_words=5, oov_token="?")
    assert vars(tokenizer) == vars(ours)
    assert vars(tokenizer_from_json(ours.to_json(indent=1))) == vars(ours)
    tokenizer.fit_on_texts(["dog dog dog"])
    assert tokenizer.texts_to_sequences(["dog"]) == [[2]]


def test_files_are_the_same_in_each_process():
    code = (
        "from fastrnn.preprocessing.text import Tokenizer; t = Tokenizer();"
        f"t.fit_on_texts({TEXTS!r}); print(t.to_json())"
    )
    made = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in "123"
    }
    assert len(made) == 1


def test_numbers_without_a_vocabulary():
    assert hashing_trick("The cat, the dog", 100, "md5") == [51, 3, 51, 33]
    assert hashing_trick("The cat, the dog", 10, len) == [4, 4, 4, 4]
    assert hashing_trick("a|b", 10, ord, analyzer=lambda text: text.split("|")) == [8, 9]
    ids = one_hot("one two one", 50)
    assert ids[0] == ids[2] and all(1 <= i < 50 for i in ids)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: fitted("a text"), TypeError, "fit_on_texts: expected a list .* a single str"),
        (lambda: fitted().texts_to_sequences("text"), TypeError, "texts_to_sequences: .*into a"),
        (lambda: fitted(["a", 3.5]), TypeError, r"expected str .* got 3.5 \(float\)"),
        (lambda: Tokenizer().texts_to_sequences(["a"]), ValueError, "call fit_on_texts first"),
        (lambda: Tokenizer().sequences_to_matrix([[1]]), ValueError, "give num_words, or call fit"),
        (lambda: fitted().texts_to_matrix(["a"], "counts"), ValueError, "mean 'count'"),
        (lambda: Tokenizer(9).sequences_to_matrix([[1]], "tfidf"), ValueError, "'tfidf' needs"),
        (lambda: hashing_trick("a", 1), ValueError, "n must be a whole number from 2 on; got 1"),
        (lambda: tokenizer_from_json("{}"), ValueError, "expected what Tokenizer.to_json gives"),
        (lambda: tokenizer_from_json("x"), ValueError, "expected what Tokenizer.to_json gives"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
