"""Keras on the backend that the second argument names, compiled as the third says.

"auto" is what a script gets that says nothing: on the processor JAX compiles with XLA, TensorFlow
does not. "xla" asks for it.
"""

import os
import sys

os.environ["KERAS_BACKEND"] = BACKEND = sys.argv[2]

import keras
from keras import layers
from protocol import BATCH, LayerPeer, ModelPeer, batches, serve

JIT_COMPILE = {"auto": "auto", "xla": True}[sys.argv[3]]


class Model(ModelPeer):
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

    def batch_predictors(self):
        return {"predict_on_batch": lambda x: self.model.predict_on_batch(x)}

    def predictors(self):
        predict = {"predict": lambda x: self.model.predict(x, batch_size=BATCH, verbose=0)}
        return predict | super().predictors()

    def fit(self, x, y, shuffle):
        history = self.model.fit(x, y, batch_size=BATCH, shuffle=shuffle, verbose=0)
        return history.history["loss"][0]

    def train_on_batch(self, x, y, shuffle):
        rows = batches(len(x), shuffle)
        losses = [self.model.train_on_batch(x[batch], y[batch])[0] for batch in rows]
        return sum(losses) / len(losses)


class Layer(LayerPeer):
    """A layer, compiled forward and backward as Keras compiles a model's step."""

    def start(self, layer, weights, x, dy):
        self.layer = getattr(layers, layer)(len(weights[1]), return_sequences=True)
        self.layer.build(x.shape)
        self.layer.set_weights(weights)
        compiled = {"jax": compiled_by_jax, "tensorflow": compiled_by_tensorflow}[BACKEND]
        self.forward, self.backward = compiled(self.layer, x, dy)

    def forwards(self):
        return {"compiled": lambda: (self.forward(),)}

    def backwards(self):
        return {"compiled": self.backward}


def compiled_by_jax(layer, x, dy):
    """Return functions (): the output; the output and all gradients."""
    import jax

    weights, states = (
        [variable.value for variable in variables]
        for variables in (layer.trainable_variables, layer.non_trainable_variables)
    )

    def call(x, *weights):
        return layer.stateless_call(weights, states, x)[0]

    def with_gradients(dy, *inputs):
        y, gradients = jax.vjp(call, *inputs)
        return y, *gradients(dy)

    x, dy = jax.device_put((x, dy))
    forward, backward = jax.jit(call), jax.jit(with_gradients)
    return (
        lambda: forward(x, *weights).block_until_ready(),
        lambda: jax.block_until_ready(backward(dy, x, *weights)),
    )


def compiled_by_tensorflow(layer, x, dy):
    """Return functions (): the output; the output and all gradients."""
    import tensorflow as tf

    compiled = tf.function(jit_compile=JIT_COMPILE is True)

    def with_gradients(x, dy):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        inputs = [x, *(variable.value for variable in layer.trainable_variables)]
        return y, *tape.gradient(y, inputs, output_gradients=dy)

    x, dy = tf.constant(x), tf.constant(dy)
    forward, backward = compiled(lambda x: layer(x)), compiled(with_gradients)
    return lambda: forward(x), lambda: backward(x, dy)


if __name__ == "__main__":
    versions = {"keras": keras.__version__, BACKEND: sys.modules[BACKEND].__version__}
    serve(versions, Model, Layer)
