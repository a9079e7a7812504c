"""The recurrent layers that are compared: how a library keeps their weights, and first ones.

All peers start from Keras's layout: W (D, G H), U (H, G H) and b (G H,), or (2, G H) where the
input and the state have a bias each. What another library keeps differs in the order of the gates
and in the number of biases alone.

Needs nothing but NumPy, since peers import it.

Letters: D input width, H units, G gates.
"""

from typing import NamedTuple

import numpy as np


class Cell(NamedTuple):
    """One letter a gate, in the order of each library; how many biases Keras keeps.

    i, f and o are an LSTM's gates, c its candidate; z and r are a GRU's, h its candidate.
    """

    keras: str
    torch: str
    onnx: str
    biases: int


CELLS = {
    "SimpleRNN": Cell(keras="h", torch="h", onnx="h", biases=1),
    "LSTM": Cell(keras="ifco", torch="ifco", onnx="iofc", biases=1),
    "GRU": Cell(keras="zrh", torch="rzh", onnx="zrh", biases=2),
}


def in_order(values, old, new):
    """Return values whose last axis holds a block a gate, with the gates in another order."""
    blocks = dict(zip(old, np.split(values, len(old), axis=-1), strict=True))
    return np.concatenate([blocks[gate] for gate in new], axis=-1)


def two_biases(b):
    """Return the input's bias and the state's, which is zero where Keras has but one."""
    return b if b.ndim == 2 else np.stack([b, np.zeros_like(b)])


def uniform(rng, limit, *shape):
    """Return numbers between -limit and limit."""
    return rng.uniform(-limit, limit, shape).astype("float32")


def glorot(rng, *shape):
    """Return a kernel as Keras starts it."""
    return uniform(rng, (6 / sum(shape)) ** 0.5, *shape)


def first_weights(layer, D, H, rng):
    """Return W, U and b as Keras starts them.

    The biases alone are a little off: were they all zero, a peer could mix them up unnoticed.
    """
    cell = CELLS[layer]
    G = len(cell.keras)
    orthogonal, _ = np.linalg.qr(rng.standard_normal((G * H, H)))
    b = uniform(rng, 0.05, cell.biases, G * H)
    b += np.repeat([gate == "f" for gate in cell.keras], H)  # a forget gate starts open
    return [glorot(rng, D, G * H), orthogonal.T.astype("float32"), b.squeeze()]
