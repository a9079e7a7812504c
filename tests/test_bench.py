"""What `fastrnn bench` measures with."""

import numpy as np

from fastrnn import bench


def test_made_up_reviews_have_imdb_s_lengths(monkeypatch):
    monkeypatch.delenv("FASTRNN_DATA_HOME", raising=False)
    kind, texts, labels = bench.reviews(2000, np.random.default_rng(0))
    lengths = np.array([len(text) for text in texts])
    assert "made up" in kind and len(texts) == len(labels) == 2000
    assert 160 < np.median(lengths) < 195 and 0.05 < (lengths == bench.MAXLEN).mean() < 0.12
    words = np.concatenate(texts)
    assert words.min() >= 4 and words.max() < bench.VOCABULARY
    assert set(labels) == {0, 1}


def test_reviews_are_imdb_s_where_they_are(tiny_imdb, monkeypatch):
    monkeypatch.setenv("FASTRNN_DATA_HOME", str(tiny_imdb))
    kind, texts, labels = bench.reviews(10, np.random.default_rng(0))
    assert kind == "IMDB" and len(texts) == len(labels) == 10
    good, bad = 7, 8  # 4 and 5, and the three ids that are reserved
    assert all((good if label else bad) in text for text, label in zip(texts, labels, strict=True))


def test_each_is_measured_once_at_least():
    times = bench.measure("SimpleRNN", seconds=0)
    assert all(len(ms) == 1 and ms[0] > 0 for ms in times.values())
