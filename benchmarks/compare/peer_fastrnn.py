"""fastrnn, as the script of the README uses it."""

import numpy as np
from protocol import BATCH, Peer, by_batches, serve

import fastrnn
from fastrnn import layers


class FastRNN(Peer):
    def start(self, layer, weights):
        (vocabulary, width), units = weights[0].shape, len(weights[2])
        self.model = fastrnn.Sequential()
        self.model.add(layers.Embedding(vocabulary, width))
        self.model.add(getattr(layers, layer)(units))
        self.model.add(layers.Dense(1, activation="sigmoid"))
        self.model.build((None, None))
        self.model.set_weights(weights)
        self.model.compile(optimizer="rmsprop", loss="binary_crossentropy", metrics=["acc"])

    def weights(self):
        return self.model.get_weights()

    def trainers(self):
        return {"fit": self.fit}

    def predictors(self):
        return {
            "predict": lambda x: self.model.predict(x, batch_size=BATCH, verbose=0),
            "predict_on_batch": by_batches(lambda x: self.model.predict_on_batch(x)),
        }

    def fit(self, x, y, shuffle):
        history = self.model.fit(x, y, batch_size=BATCH, shuffle=shuffle, verbose=0)
        return history.history["loss"][0]

    def versions(self):
        return {"fastrnn": fastrnn.__version__, "numpy": np.__version__}


if __name__ == "__main__":
    serve(FastRNN)
