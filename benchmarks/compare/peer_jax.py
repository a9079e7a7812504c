"""The model and the layers written out in JAX, compiled: one function for a whole training step."""

from functools import partial

import jax
import jax.numpy as jnp
from jax.nn import sigmoid
from protocol import LayerPeer, ModelPeer, batches, serve

RATE, RHO, EPSILON = 1e-3, 0.9, 1e-7


# A step: the next states from the input's projection x, the state's s, and the states themselves.


def simple_rnn(x, s, h):
    return (jnp.tanh(x + s),)


def lstm(x, s, h, c):
    i, f, g, o = jnp.split(x + s, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
    return sigmoid(o) * jnp.tanh(c), c


def gru(x, s, h):
    (x_z, x_r, x_h), (s_z, s_r, s_h) = jnp.split(x, 3, axis=-1), jnp.split(s, 3, axis=-1)
    z, r = sigmoid(x_z + s_z), sigmoid(x_r + s_r)
    return (z * h + (1 - z) * jnp.tanh(x_h + r * s_h),)


# Layer: (step, how many states)
STEPS = {"SimpleRNN": (simple_rnn, 1), "LSTM": (lstm, 2), "GRU": (gru, 1)}


def scan(layer, project, inputs, U, b, rows, sequences):
    """Return the last states and, if asked for, every step's output, (T, B, H).

    ``project`` makes a step's x W + b of a part of the inputs.
    """
    step, n_states = STEPS[layer]

    def body(states, part):
        states = step(project(part), states[0] @ U + b, *states)
        return states, states[0] if sequences else None

    start = (jnp.zeros((rows, len(U))),) * n_states
    return jax.lax.scan(body, start, inputs)


def two_biases(b):
    """Return the input's bias and the state's."""
    return b if b.ndim == 2 else (b, 0)


# A way of the model: what is scanned, and the input's projection from a step's part of it.


def project_then_scan(ids, E, W, b):
    """Carry the projection out before the loop."""
    return E[ids.T] @ W + b, lambda x: x


def look_up_in_scan(ids, E, W, b):
    """Look up and project in each step, where both stay in the cache."""
    return ids.T, lambda i: E[i] @ W + b


def project_table_then_look_up_in_scan(ids, E, W, b):
    """Project the whole table once, and look up in it in each step."""
    table = E @ W + b
    return ids.T, lambda i: table[i]


WAYS = {
    "project, then scan": project_then_scan,
    "look up in the scan": look_up_in_scan,
    "project the table, then look up in the scan": project_table_then_look_up_in_scan,
}


def logits(model, weights, ids):
    """Return the logits of a model, which is a layer and a way."""
    layer, way = model
    E, W, U, b, K, c = weights
    b, b_state = two_biases(b)
    inputs, project = WAYS[way](ids, E, W, b)
    (h, *_), _ = scan(layer, project, inputs, U, b_state, len(ids), False)
    return h @ K + c


@partial(jax.jit, static_argnums=0)
def predict(model, weights, ids):
    return sigmoid(logits(model, weights, ids))


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def train_step(model, weights, squares, ids, y):
    """Return (weights, squares, loss) after one step of RMSprop."""

    def loss_of(weights):
        z = logits(model, weights, ids)[:, 0]
        return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))

    loss, gradients = jax.value_and_grad(loss_of)(weights)
    squares = [RHO * v + (1 - RHO) * g * g for v, g in zip(squares, gradients, strict=True)]
    weights = [
        w - RATE * g / jnp.sqrt(v + EPSILON)
        for w, g, v in zip(weights, gradients, squares, strict=True)
    ]
    return weights, squares, loss


# A way of a layer, like those of the model. Unrolled loops gain nothing and compile for seconds.
LAYER_WAYS = {
    "project, then scan": lambda x, W, b: (x @ W + b, lambda z: z),
    "project in the scan": lambda x, W, b: (x, lambda part: part @ W + b),
}


@partial(jax.jit, static_argnums=0)
def forward(layer, x, W, U, b):
    """Return the output (T, B, H) of a layer, which is its name and a way, for x (T, B, D)."""
    name, way = layer
    b, b_state = two_biases(b)
    inputs, project = LAYER_WAYS[way](x, W, b)
    return scan(name, project, inputs, U, b_state, x.shape[1], True)[1]


@partial(jax.jit, static_argnums=0)
def backward(layer, dy, *inputs):
    y, gradients = jax.vjp(partial(forward, layer), *inputs)
    return y, *gradients(dy)


class Model(ModelPeer):
    def start(self, layer, weights):
        self.layer = layer
        self.parameters = [jnp.array(w) for w in weights]
        self.squares = [jnp.zeros_like(w) for w in self.parameters]

    def weights(self):
        return self.parameters

    def trainers(self):
        return {way: partial(self.train, way) for way in WAYS}

    def batch_predictors(self):
        return {way: partial(self.predict, way) for way in WAYS}

    def train(self, way, x, y, shuffle):
        losses = []
        for rows in batches(len(x), shuffle):
            self.parameters, self.squares, loss = train_step(
                (self.layer, way), self.parameters, self.squares, x[rows], y[rows]
            )
            losses.append(loss)
        return float(sum(losses)) / len(losses)  # waits for the last step

    def predict(self, way, x):
        return jax.device_get(predict((self.layer, way), self.parameters, x))


class Layer(LayerPeer):
    def start(self, layer, weights, x, dy):
        jax.clear_caches()  # what was compiled for other shapes is not needed again
        self.layer = layer
        self.dy = jnp.array(dy.swapaxes(0, 1))
        self.inputs = [jnp.array(a) for a in (x.swapaxes(0, 1), *weights)]

    def forwards(self):
        return {way: partial(self.forward, way) for way in LAYER_WAYS}

    def backwards(self):
        return {way: partial(self.backward, way) for way in LAYER_WAYS}

    def forward(self, way):
        return (forward((self.layer, way), *self.inputs).block_until_ready(),)

    def backward(self, way):
        return jax.block_until_ready(backward((self.layer, way), self.dy, *self.inputs))

    def in_keras_layout(self, values):
        values = super().in_keras_layout(values)
        return [a.swapaxes(0, 1) if a.ndim == 3 else a for a in values]


if __name__ == "__main__":
    serve({"jax": jax.__version__}, Model, Layer)
