"""Keras on the backend that the second argument names, compiled as the third says.

"auto" is what a script gets that says nothing: on the processor JAX compiles with XLA, TensorFlow
does not. "xla" asks for it.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = sys.argv[2]

import keras
from keras import layers
from protocol import BATCH, Peer, batches, by_batches, serve

JIT_COMPILE = {"auto": "auto", "xla": True}[sys.argv[3]]


class Keras(Peer):
    def start(self, layer, weights):
        (vocabulary, width), units = weights[0].shape, len(weights[2])
        self.model = keras.Sequential()
        self.model.add(layers.Embedding(vocabulary, width))
        self.model.add(getattr(layers, layer)(units))
        self.model.add(layers.Dense(1, activation="sigmoid"))
        self.model.build((None, 500))
        self.model.set_weights(weights)
        self.model.compile(
            optimizer="rmsprop",
            loss="binary_crossentropy",
            metrics=["acc"],
            jit_compile=JIT_COMPILE,
        )

    def weights(self):
        return self.model.get_weights()

    def trainers(self):
        return {"fit": self.fit, "train_on_batch": self.train_on_batch}

    def predictors(self):
        return {
            "predict": lambda x: self.model.predict(x, batch_size=BATCH, verbose=0),
            "predict_on_batch": by_batches(lambda x: self.model.predict_on_batch(x)),
        }

    def fit(self, x, y, shuffle):
        history = self.model.fit(x, y, batch_size=BATCH, shuffle=shuffle, verbose=0)
        return history.history["loss"][0]

    def train_on_batch(self, x, y, shuffle):
        rows = batches(len(x), shuffle)
        losses = [self.model.train_on_batch(x[batch], y[batch])[0] for batch in rows]
        return sum(losses) / len(losses)

    def versions(self):
        backend = keras.backend.backend()
        return {"keras": keras.__version__, backend: sys.modules[backend].__version__}


if __name__ == "__main__":
    serve(Keras)
