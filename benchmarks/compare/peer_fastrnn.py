"""fastrnn: the model as the script of the README uses it, and a layer by itself."""

import numpy as np
from protocol import BATCH, LayerPeer, ModelPeer, serve

import fastrnn
from fastrnn import engines, layers


class Model(ModelPeer):
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

    def batch_predictors(self):
        return {"predict_on_batch": lambda x: self.model.predict_on_batch(x)}

    def predictors(self):
        predict = {"predict": lambda x: self.model.predict(x, batch_size=BATCH, verbose=0)}
        return predict | super().predictors()

    def fit(self, x, y, shuffle):
        history = self.model.fit(x, y, batch_size=BATCH, shuffle=shuffle, verbose=0)
        return history.history["loss"][0]


class Layer(LayerPeer):
    def start(self, layer, weights, x, dy):
        self.layer = getattr(layers, layer)(len(weights[1]), return_sequences=True)
        self.layer.build(x.shape)
        self.layer.set_weights(weights)
        self.x, self.dy = x, dy

    def forwards(self):
        return {"call": self.call, "call without tapes": self.call_without_tapes}

    def backwards(self):
        return {"forward, backward": self.backward}

    def call(self):
        return (self.layer(self.x),)

    def call_without_tapes(self):
        with engines.without_tapes():
            return self.call()

    def backward(self):
        parameters = self.layer.parameters
        for parameter in parameters:
            parameter.grad[...] = 0
        y, tape = self.layer.forward(self.x, training=True)
        return y, self.layer.backward(tape, self.dy), *(p.grad for p in parameters)


if __name__ == "__main__":
    serve({"fastrnn": fastrnn.__version__, "numpy": np.__version__}, Model, Layer)
