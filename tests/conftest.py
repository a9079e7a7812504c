"""What all tests share."""

import json

import numpy as np
import pytest


@pytest.fixture(scope="session")
def tiny_imdb(tmp_path_factory):
    """A folder with files like IMDB's, of 60 short reviews: "good" decides, "bad" does too."""
    folder = tmp_path_factory.mktemp("tiny_imdb")
    index = {"the": 1, "film": 2, "is": 3, "good": 4, "bad": 5, "and": 6}
    random = np.random.default_rng(0)

    def half(n):
        labels = np.arange(n) % 2
        reviews = np.empty(n, dtype=object)
        for i, label in enumerate(labels):
            filling = random.choice([1, 2, 3, 6], size=random.integers(2, 9)).tolist()
            reviews[i] = [*filling, 4 if label else 5, *filling[:2]]
        return reviews, labels

    (x_train, y_train), (x_test, y_test) = half(60), half(20)
    np.savez(folder / "imdb.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    (folder / "imdb_word_index.json").write_text(json.dumps(index))
    return folder
