"""The model written out in JAX: one compiled function for a whole training step."""

from functools import partial

import jax
import jax.numpy as jnp
from protocol import Peer, batches, by_batches, serve

RATE, RHO, EPSILON = 1e-3, 0.9, 1e-7


def project_then_scan(weights, ids):
    """Return the logits, with the input's projection carried out before the loop."""
    E, W, U, b, K, c = weights
    h0 = jnp.zeros((len(ids), U.shape[0]))
    h, _ = jax.lax.scan(lambda h, z: (jnp.tanh(z + h @ U), None), h0, E[ids.T] @ W + b)
    return h @ K + c


def look_up_in_scan(weights, ids):
    """Return the logits, with lookup and projection in each step, where they stay in the cache."""
    E, W, U, b, K, c = weights
    h0 = jnp.zeros((len(ids), U.shape[0]))
    h, _ = jax.lax.scan(lambda h, i: (jnp.tanh(E[i] @ W + b + h @ U), None), h0, ids.T)
    return h @ K + c


@partial(jax.jit, static_argnums=0)
def predict(logits, weights, ids):
    return jax.nn.sigmoid(logits(weights, ids))


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def train_step(logits, weights, squares, ids, y):
    """Return (weights, squares, loss) after one step of RMSprop."""

    def loss_of(weights):
        z = logits(weights, ids)[:, 0]
        return jnp.mean(jnp.maximum(z, 0) - z * y + jnp.log1p(jnp.exp(-jnp.abs(z))))

    loss, gradients = jax.value_and_grad(loss_of)(weights)
    squares = [RHO * v + (1 - RHO) * g * g for v, g in zip(squares, gradients, strict=True)]
    weights = [
        w - RATE * g / jnp.sqrt(v + EPSILON)
        for w, g, v in zip(weights, gradients, squares, strict=True)
    ]
    return weights, squares, loss


class Scan(Peer):
    ways = {"project, then scan": project_then_scan, "look up in the scan": look_up_in_scan}

    def start(self, weights):
        self.parameters = [jnp.array(w) for w in weights]
        self.squares = [jnp.zeros_like(w) for w in self.parameters]

    def weights(self):
        return self.parameters

    def trainers(self):
        return {way: partial(self.train, logits) for way, logits in self.ways.items()}

    def predictors(self):
        ways = self.ways.items()
        return {way: by_batches(partial(self.predict, logits)) for way, logits in ways}

    def train(self, logits, x, y, shuffle):
        losses = []
        for rows in batches(len(x), shuffle):
            self.parameters, self.squares, loss = train_step(
                logits, self.parameters, self.squares, x[rows], y[rows]
            )
            losses.append(loss)
        return float(sum(losses)) / len(losses)  # waits for the last step

    def predict(self, logits, x):
        return jax.device_get(predict(logits, self.parameters, x))

    def versions(self):
        return {"jax": jax.__version__}


if __name__ == "__main__":
    serve(Scan)
