"""Write what every peer's model works on: padded reviews, labels and first weights.

usage: workload.py FILE LAYER BATCHES [ROWS], with the Python that has fastrnn

A training step and a prediction are measured on the first batches, an epoch on all rows; without
their number there are no others. The reviews are IMDB's where the environment variable
``FASTRNN_DATA_HOME`` names a folder that holds them. Otherwise they are made up, with lengths and
word frequencies like IMDB's.

Letters: V vocabulary, H units.
"""

import sys

import numpy as np
from cells import first_weights, glorot, uniform
from protocol import BATCH

from fastrnn.bench import MAXLEN, UNITS, VOCABULARY, reviews
from fastrnn.preprocessing.sequence import pad_sequences


def main():
    """Write the file, and print which reviews it holds."""
    file, layer, batches, *rows = sys.argv[1:]
    rng = np.random.default_rng(1)
    kind, texts, labels = reviews(int(rows[0]) if rows else int(batches) * BATCH, rng)
    V, H = VOCABULARY, UNITS
    weights = [
        uniform(rng, 0.05, V, H),
        *first_weights(layer, H, H, rng),
        glorot(rng, H, 1),
        np.zeros(1, "float32"),
    ]
    np.savez(
        file,
        x=pad_sequences(texts, maxlen=MAXLEN),
        y=labels.astype("float32"),
        layer=layer,
        batches=int(batches),
        **{f"w{i}": weight for i, weight in enumerate(weights)},
    )
    print(kind)


if __name__ == "__main__":
    main()
