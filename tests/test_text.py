"""Texts coded as IMDB's reviews were."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastrnn.datasets import imdb
from fastrnn.preprocessing.text import decode, encode, text_to_word_sequence

WORD_INDEX = {"the": 1, "film": 2, "was": 3, "br": 4, "it's": 5, "great": 6}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The film was GREAT!", ["the", "film", "was", "great"]),
        ("it's great--or so I'm told...", ["it's", "great", "or", "so", "i'm", "told"]),
        ("one<br /><br />two\tthree\nfour", ["one", "br", "br", "two", "three", "four"]),
        ('"#$%&()*+,-./:;<=>?@[\\]^_`{|}~', []),
        ("  \n ", []),
        ("", []),
        ("über naïve", ["über", "naïve"]),
    ],
)
def test_splits_by_the_rule_of_keras(text, words):
    assert text_to_word_sequence(text) == words


def test_splits_as_it_is_told():
    assert text_to_word_sequence("A b;C", filters=";", lower=False) == ["A", "b", "C"]
    assert text_to_word_sequence("a-b_c", filters="-", split="_") == ["a", "b", "c"]


@pytest.mark.parametrize("bad", [None, 3, b"text", ["text"]])
def test_refuses_what_is_not_a_text(bad):
    with pytest.raises(TypeError, match="text must be a str, got"):
        text_to_word_sequence(bad)
    with pytest.raises(TypeError, match="text must be a str, got"):
        encode([bad], WORD_INDEX)


def test_codes_texts():
    texts = ["The film was great.<br />Great!", "nothing known", ""]
    assert encode(texts, WORD_INDEX) == [[1, 4, 5, 6, 9, 7, 9], [1], [1]]
    assert encode(texts[:1], WORD_INDEX, num_words=7) == [[1, 4, 5, 6, 2, 2, 2]]
    assert encode(texts[:1], WORD_INDEX, num_words=7, oov_char=None) == [[1, 4, 5, 6]]
    assert encode(texts[:1], WORD_INDEX, start_char=None, index_from=0) == [[1, 2, 3, 6, 4, 6]]


def test_refuses_a_single_text():
    with pytest.raises(TypeError, match="put it into a list"):
        encode("The film", WORD_INDEX)


@given(
    reviews=st.lists(
        st.lists(st.sampled_from(sorted(WORD_INDEX)), max_size=9), min_size=1, max_size=4
    ),
    options=st.fixed_dictionaries(
        {
            "num_words": st.integers(1, 12),
            "start_char": st.none() | st.just(0),
            "oov_char": st.none() | st.integers(0, 3),
            "index_from": st.integers(0, 4),
        }
    ),
)
def test_codes_as_load_data_does(tmp_path_factory, reviews, options):
    x = np.fromiter(([WORD_INDEX[word] for word in review] for review in reviews), dtype=object)
    y = np.arange(len(x))
    file = tmp_path_factory.mktemp("text") / "imdb.npz"
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    (x, order), _ = imdb.load_data(file, **options)
    texts = [" ".join(reviews[i]) for i in order]
    assert encode(texts, WORD_INDEX, **options) == x.tolist()


def test_decodes_what_it_coded():
    (ids,) = encode(["The film, it's GREAT"], WORD_INDEX)
    assert decode(ids, WORD_INDEX) == "the film it's great"
    assert decode(np.array([0, 0, *ids, 2], np.int32), WORD_INDEX) == "the film it's great [OOV]"
    options = {"start_char": None, "oov_char": None, "index_from": 0}
    (ids,) = encode(["The film, it's GREAT"], WORD_INDEX, **options)
    assert decode(ids, WORD_INDEX, **options) == "the film it's great"


@pytest.mark.parametrize("bad", [3, 10, -1])
def test_says_which_id_is_no_word(bad):
    with pytest.raises(ValueError, match=f"ids holds {bad}, which stands for no word"):
        decode([1, 4, bad], WORD_INDEX)
