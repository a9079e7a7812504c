"""The sentiment model of the README, on a batch with the lengths of IMDB's reviews."""

import numpy as np

from fastrnn.layers import Dense, Embedding, SimpleRNN
from fastrnn.models import Sequential
from fastrnn.preprocessing.sequence import pad_sequences

from .common import Suite

ROWS, STEPS, WORDS = 128, 500, 10000


class SimpleRNN32(Suite):
    """Embedding(10000, 32) -> SimpleRNN(32) -> Dense(1), 500 steps, batch 128."""

    def new_model(self):
        model = Sequential([Embedding(WORDS, 32), SimpleRNN(32), Dense(1, activation="sigmoid")])
        model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])
        return model

    def new_batch(self):
        # Half of IMDB's reviews have fewer than 178 words, one in twelve has 500 or more.
        lengths = np.clip(self.random.lognormal(np.log(178), 0.75, ROWS), 10, STEPS).astype(int)
        # As in any text, the word of rank r comes about 1/r as often as the first.
        chances = 1 / np.arange(1, WORDS - 3)
        words = 4 + self.random.choice(WORDS - 4, size=(ROWS, STEPS), p=chances / chances.sum())
        rows = [row[:length] for row, length in zip(words, lengths, strict=True)]
        return pad_sequences(rows, maxlen=STEPS), self.random.integers(0, 2, ROWS)


class SimpleRNN32Unpadded(SimpleRNN32):
    """The same reviews as lists that were never padded."""

    def new_batch(self):
        x, y = super().new_batch()
        return [row[row > 0] for row in x], y
