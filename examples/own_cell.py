"""A cell of one's own: what happens at one step, forward and back, in NumPy.

Each unit of this cell follows its input slowly, and learns how slowly: with a leak a between 0 and
1, a parameter of the unit,

    u = tanh(x W + h U + b),    h' = h + a (u - h),    a = 1 / (1 + exp(-leak)).

`RNN` does the rest: sequences, masks, states. The gradient is first held against finite
differences, as a network with a wrong one may well learn, only worse, and nobody notices. Then the
cell is put to use: it follows something that drifts slowly, from measurements full of noise.

    python examples/own_cell.py [--quick]
"""

import sys

import numpy as np

from fastrnn import Input, Sequential
from fastrnn.layers import RNN, Dense, RecurrentCell
from fastrnn.optimizers import Adam
from fastrnn.utils import set_random_seed

QUICK = "--quick" in sys.argv
STEPS = 100


class LeakyCell(RecurrentCell):
    """B rows, D inputs, H units: x (B, D) and h (B, H) become h' (B, H)."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def get_config(self):
        return super().get_config() | {"units": self.units}  # so that it can be saved

    def create(self, input_shape):
        width, units = input_shape[-1], self.units
        self.kernel = self.add_weight((width, units), "glorot_uniform", name="kernel")
        self.recurrent = self.add_weight((units, units), "orthogonal", name="recurrent")
        self.bias = self.add_weight((units,), "zeros", name="bias")
        self.leak = self.add_weight((units,), "zeros", name="leak")

    @property
    def a(self):
        return 1 / (1 + np.exp(-self.leak.value))

    def forward(self, x, states, training=False):
        (h,) = states
        u = np.tanh(x @ self.kernel.value + h @ self.recurrent.value + self.bias.value)
        new = h + self.a * (u - h)
        return new, [new], (x, h, u)  # the output, the states, and the tape for the way back

    def backward(self, tape, dy, dstates):
        x, h, u = tape
        a, dnew = self.a, dy + dstates[0]
        dz = dnew * a * (1 - u * u)
        self.kernel.grad += x.T @ dz  # added: each step has its part in the gradient
        self.recurrent.grad += h.T @ dz
        self.bias.grad += dz.sum(axis=0)
        self.leak.grad += (dnew * (u - h)).sum(axis=0) * a * (1 - a)
        return dz @ self.kernel.value.T, [dnew * (1 - a) + dz @ self.recurrent.value.T]


def largest_error(cell, rng, tiny=1e-6):
    """The largest difference between an entry of a gradient and its finite difference.

    For a cell in float64: in float32 the differences would drown in rounding.
    """
    layer = RNN(cell, return_sequences=True, dtype="float64")
    layer.build((None, 5, 2))
    x, dy = rng.normal(size=(3, 5, 2)), rng.normal(size=(3, 5, cell.units))
    _, tape = layer.forward(x)
    dx = layer.backward(tape, dy)

    def loss():  # dy is its gradient by the output
        return np.sum(layer.forward(x)[0] * dy)

    errors = []
    for array, gradient in [(x, dx), *((p.value, p.grad) for p in layer.parameters)]:
        for place in np.ndindex(array.shape):
            kept = array[place]
            array[place] = kept + tiny
            above = loss()
            array[place] = kept - tiny
            slope = (above - loss()) / (2 * tiny)
            array[place] = kept
            errors.append(abs(gradient[place] - slope))
    return max(errors)


def drifts(rows, rng):
    """Measurements (rows, STEPS, 1) of something that drifts, and what they would be exactly."""
    exact = np.cumsum(rng.normal(scale=0.1, size=(rows, STEPS, 1)), axis=1)
    return exact + rng.normal(size=exact.shape), exact


def averaged(x, a):
    """The running average h' = h + a (x - h) of sequences (rows, STEPS, 1)."""
    h, y = np.zeros_like(x[:, 0]), np.empty_like(x)
    for t in range(STEPS):
        y[:, t] = h = h + a * (x[:, t] - h)
    return y


def main():
    set_random_seed(0)
    rng = np.random.default_rng(0)
    error = largest_error(LeakyCell(4, dtype="float64"), rng)
    print(f"the gradient differs from finite differences by no more than {error:.0e}\n")

    (x, y), (x_test, y_test) = drifts(500 if QUICK else 2000, rng), drifts(500, rng)
    model = Sequential([Input((None, 1)), RNN(LeakyCell(16), return_sequences=True), Dense(1)])
    model.compile(Adam(0.01), "mse")
    before = model.evaluate(x_test, y_test, verbose=0)
    model.fit(x, y, batch_size=32, epochs=8, verbose=0)
    averages = [np.mean((averaged(x_test, a) - y_test) ** 2) for a in np.arange(0.01, 1, 0.01)]
    print("the mean squared error")
    print(f"  of the measurements          {np.mean((x_test - y_test) ** 2):.3f}")
    print(f"  of the best running average  {min(averages):.3f}")
    print(f"  before training              {before:.3f}")
    print(f"  after training               {model.evaluate(x_test, y_test, verbose=0):.3f}")
    memories = np.sort(1 / model.layers[0].cell.a)
    print("\nover about how many steps each unit averages (1/a), 2 at first:")
    print(" ".join(f"{steps:.1f}" for steps in memories))


if __name__ == "__main__":
    main()
