"""Many to one: what does it bring to read the words of a review in their order?

Four networks that read against one that counts: its input is how often each word occurs.

The data are IMDB's reviews where FASTRNN_DATA_HOME is set, to the folder of imdb.npz. There most
reviews give themselves away by single words, and counting does about as well as reading. Otherwise
they are the built-in ones, in which no word says anything by itself: a network that counts can find
out that "nothing" turns "dull" round, but not which of "dull" and "brilliant" was only expected.

    python examples/sentiment.py [--quick]
"""

import os
import sys

import numpy as np

from fastrnn import Input, Sequential
from fastrnn.callbacks import EarlyStopping
from fastrnn.datasets import imdb, reviews
from fastrnn.layers import GRU, LSTM, Bidirectional, Dense, Embedding, SimpleRNN
from fastrnn.optimizers import Adam
from fastrnn.utils import set_random_seed

QUICK = "--quick" in sys.argv
WORDS, LONGEST = 5000, 150


def main():
    if os.environ.get("FASTRNN_DATA_HOME") and not QUICK:
        name, ((x_train, y_train), (x_test, y_test)) = "IMDB", imdb.load_data(num_words=WORDS)
        x_train, x_test = ([row[-LONGEST:] for row in x] for x in (x_train, x_test))
    else:
        sizes = (4000, 500) if QUICK else (15000, 3000)
        name, ((x_train, y_train), (x_test, y_test)) = "built-in", reviews.load_data(*sizes)
        x_train, x_test = list(x_train), list(x_test)
    print(f"{len(x_train)} {name} reviews to learn from, {len(x_test)} to be tested on\n")

    readers = {
        "SimpleRNN": lambda: SimpleRNN(32),
        "LSTM": lambda: LSTM(32),
        "GRU": lambda: GRU(32),
        "Bidirectional(GRU)": lambda: Bidirectional(GRU(16)),
    }

    set_random_seed(1)
    counter = Sequential([Input((WORDS,)), Dense(16, activation="relu"), Dense(1, "sigmoid")])
    report("counting words", counter, counts(x_train), y_train, counts(x_test), y_test)
    for label, layer in readers.items():
        set_random_seed(1)
        reader = Sequential([Embedding(WORDS, 32), layer(), Dense(1, activation="sigmoid")])
        report(label, reader, x_train, y_train, x_test, y_test)


def counts(rows):
    """Each review as a vector: the square root of how often each word occurs in it."""
    each = np.zeros((len(rows), WORDS), np.float32)
    for vector, row in zip(each, rows, strict=True):
        np.add.at(vector, row, 1)
    return np.sqrt(each, out=each)


def report(label, model, x_train, y_train, x_test, y_test):
    """Train until it gets no better on a part held out, and print the accuracy on the test set."""
    model.compile(Adam(5e-3), "binary_crossentropy", metrics=["acc"])
    stop = EarlyStopping(patience=3, restore_best_weights=True)
    history = model.fit(
        x_train, y_train, batch_size=64, epochs=8, validation_split=0.1,
        callbacks=[stop], verbose=0,
    )
    _, accuracy = model.evaluate(x_test, y_test, verbose=0)
    epochs = len(history.epoch)
    print(f"{label:20} {accuracy:.3f} of the test reviews right, after {epochs} epochs")


if __name__ == "__main__":
    main()
