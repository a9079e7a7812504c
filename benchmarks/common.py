"""The base of all suites."""

import abc

import numpy as np

import fastrnn


class Suite(abc.ABC):  # abstract, so that asv does not run the base itself
    """A model and one batch to run it on; equal numbers in every run."""

    timeout = 120

    @abc.abstractmethod
    def new_model(self):
        """A compiled model."""

    @abc.abstractmethod
    def new_batch(self):
        """x and y of one batch, drawn from ``self.random``."""

    def setup(self):
        fastrnn.utils.set_random_seed(1)
        self.random = np.random.default_rng(1)
        self.model = self.new_model()
        self.x, self.y = self.new_batch()
        self.model.train_on_batch(self.x, self.y)  # all that only the first step does

    def time_train_step(self):
        self.model.train_on_batch(self.x, self.y)

    def time_predict_batch(self):
        self.model.predict_on_batch(self.x)

    def time_predict_row(self):
        self.model.predict_on_batch(self.x[:1])

    def peakmem_train_step(self):
        self.model.train_on_batch(self.x, self.y)
