"""The sentiment model of the README on batches with the lengths of IMDB's reviews."""

import numpy as np

from .common import BATCH, STEPS, LayerSuite, reviews
from .kernels import text_model


class TextSuite(LayerSuite):
    """Embedding(10000, 32) -> 32 units -> Dense(1), and `BATCHES` batches of reviews.

    A review is padded in front to 500 steps, or a list that was never padded.
    """

    needs = ("models.Sequential", "preprocessing.sequence.pad_sequences")
    BATCHES = 1
    params = [*LayerSuite.params, ["padded", "ragged"]]
    param_names = [*LayerSuite.param_names, "input"]

    def prepare(self, layer, form):
        from fastrnn.preprocessing.sequence import pad_sequences

        rows = reviews(self.random, self.BATCHES * BATCH)
        self.x = pad_sequences(rows, maxlen=STEPS) if form == "padded" else rows
        self.y = self.random.integers(0, 2, len(rows))
        self.model = text_model(layer)
        # What only the first step does.
        self.model.train_on_batch(self.x[:BATCH], self.y[:BATCH])


class Step(TextSuite):
    """One batch of 128."""

    def time_train(self, layer, form):
        self.model.train_on_batch(self.x, self.y)

    def time_predict(self, layer, form):
        self.model.predict_on_batch(self.x)

    def time_predict_row(self, layer, form):
        self.model.predict_on_batch(self.x[:1])

    def peakmem_train(self, layer, form):
        self.model.train_on_batch(self.x, self.y)


class Epoch(TextSuite):
    """20 batches through the loop, with its shuffling, metrics and bookkeeping."""

    BATCHES = 20

    def time_fit(self, layer, form):
        self.model.fit(self.x, self.y, batch_size=BATCH, epochs=1, verbose=0)

    def time_predict(self, layer, form):
        self.model.predict(self.x, batch_size=BATCH, verbose=0)


class Stream(LayerSuite):
    """One step at a time."""

    units = 32
    needs = ("models.Model.stream",)
    params = [*LayerSuite.params, [1, 32]]
    param_names = [*LayerSuite.param_names, "B"]

    def prepare(self, layer, B):
        model = text_model(layer, units=self.units)
        self.ids = self.random.integers(1, 10000, B).astype(np.int32)
        model.predict_on_batch(self.ids[:, None])  # builds it
        self.stream = model.stream(B)
        self.stream(self.ids)

    def time_step(self, layer, B):
        self.stream(self.ids)


class WideStream(Stream):
    """The same with weights that no core has in its own cache."""

    units = 512
    params = [*LayerSuite.params, [1]]
