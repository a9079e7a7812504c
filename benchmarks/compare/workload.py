"""Write what every peer works on: padded reviews, labels and first weights.

usage: workload.py FILE BATCHES LAYER, with the Python that has fastrnn

The reviews are IMDB's where the environment variable ``FASTRNN_DATA_HOME`` names a folder that
holds them. Otherwise they are made up, with lengths and word frequencies like IMDB's.

Letters: V vocabulary, H units, G gates.
"""

import os
import sys
from pathlib import Path

import numpy as np
from cells import CELLS
from protocol import BATCH

from fastrnn.datasets import imdb
from fastrnn.preprocessing.sequence import pad_sequences

V, H, STEPS = 10000, 32, 500


def imdb_reviews(n, rng):
    """Return `n` reviews of IMDB's training half, or None where there is no such file."""
    file = Path(os.environ.get("FASTRNN_DATA_HOME", ""), "imdb.npz")
    if not file.is_file():
        return None
    (reviews, labels), _ = imdb.load_data(file, num_words=V)
    rows = rng.permutation(len(reviews))[:n]
    return [reviews[i] for i in rows], labels[rows]


def made_up_reviews(n, rng):
    """Return `n` reviews of which half have fewer than 178 words and one in twelve 500 or more."""
    lengths = np.clip(rng.lognormal(np.log(178), 0.75, n), 10, STEPS).astype(int)
    # As in any text, the word of rank r comes about 1/r as often as the first.
    chances = 1 / np.arange(1, V - 3)
    words = 4 + rng.choice(V - 4, size=lengths.sum(), p=chances / chances.sum())
    return np.split(words, lengths.cumsum()[:-1]), rng.integers(0, 2, n)


def weights(layer, rng):
    """Return weights as Keras starts them: table, W, U, b, and the output's K and c.

    The biases alone are a little off: were they all zero, a peer could mix them up unnoticed.
    """
    cell = CELLS[layer]
    G = len(cell.keras)

    def uniform(limit, *shape):
        return rng.uniform(-limit, limit, shape)

    def glorot(*shape):
        return uniform((6 / sum(shape)) ** 0.5, *shape)

    orthogonal, _ = np.linalg.qr(rng.standard_normal((G * H, H)))
    table, W, K = uniform(0.05, V, H), glorot(H, G * H), glorot(H, 1)
    b = uniform(0.05, cell.biases, G * H)
    b += np.repeat([gate == "f" for gate in cell.keras], H)  # a forget gate starts open
    return [table, W, orthogonal.T, b.squeeze(), K, np.zeros(1)]


def main():
    """Write the file, and print which reviews it holds."""
    file, n, layer = sys.argv[1], int(sys.argv[2]) * BATCH, sys.argv[3]
    rng = np.random.default_rng(1)
    data = imdb_reviews(n, rng)
    print("IMDB" if data else "made up, with the lengths of IMDB's")
    reviews, labels = data or made_up_reviews(n, rng)
    np.savez(
        file,
        x=pad_sequences(reviews, maxlen=STEPS),
        y=labels.astype("float32"),
        layer=layer,
        **{f"w{i}": w.astype("float32") for i, w in enumerate(weights(layer, rng))},
    )


if __name__ == "__main__":
    main()
