"""Random problems for the tests of engines, and a finite-difference check of any gradient."""

import copy

import numpy as np

from fastrnn import engines
from fastrnn.cells import CellSpec
from fastrnn.masks import StepMask
from fastrnn.values import Lookup, RowGradient

ACTIVATIONS = (
    "tanh", "relu", "sigmoid", "linear", "hard_sigmoid", "relu6", "leaky_relu", "elu", "selu",
    "softplus", "softsign",
)  # fmt: skip
BOUNDED = frozenset({"tanh", "sigmoid", "hard_sigmoid", "relu6", "softsign"})
KINKED = frozenset({"relu", "hard_sigmoid", "relu6", "leaky_relu", "selu"})  # slopes that jump
CELLS = {
    "simple_rnn": CellSpec("simple_rnn"),
    "lstm": CellSpec("lstm"),
    "gru": CellSpec("gru"),
    "gru_reset_before": CellSpec("gru", reset_after=False),
}


def differences(f, x, h=1e-6):
    """The gradient of the scalar ``f()`` by the float64 array x, which it reads, by differences."""
    gradient = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        before = x[place]
        x[place] = before + h
        above = f()
        x[place] = before - h
        below = f()
        x[place] = before
        gradient[place] = (above - below) / (2 * h)
    return gradient


def assert_gradient(analytic, f, x, tolerance=1e-6):
    """``analytic`` agrees with the differences of ``f()`` by x, relative to their size."""
    numeric = differences(f, x)
    error = np.linalg.norm(analytic - numeric) / max(np.linalg.norm(numeric), 1e-3)
    assert error <= tolerance, f"relative error {error:.2e}"


def dense_gradient(gradient, shape):
    """A `RowGradient` as the array that it stands for."""
    if not isinstance(gradient, RowGradient):
        return gradient
    dense = np.zeros(shape, gradient.values.dtype)
    dense[gradient.rows] = gradient.values
    return dense


def mask_of(kind, rng, rows, steps):
    """A `StepMask` of that kind: "none", "pre", "post", "runs" (both ends, some rows empty)."""
    if kind == "none":
        return None
    start, stop = np.zeros(rows, np.int64), np.full(rows, steps)
    if kind in ("pre", "runs"):
        start = rng.integers(0, steps + 1, rows)
    if kind == "post":
        stop = rng.integers(0, steps + 1, rows)
    if kind == "runs":
        stop = start + np.array([rng.integers(0, steps - s + 1) for s in start], np.int64)
    return StepMask(start, stop, steps)


class Problem:
    """A projection and a sweep with all their inputs, and a loss linear in their outputs.

    ``run(engine)`` returns outputs and gradients as a dict of arrays.
    """

    def __init__(self, seed, rows, steps, width, units, activation="tanh", lookup=False,
                 padded=False, state=False, mask="none", sequences=False, zero_output=False,
                 dtype=np.float64, cell="simple_rnn", recurrent_activation="sigmoid", noise=0):
        rng = np.random.default_rng(seed)
        self.cell = CELLS[cell]._replace(
            activation=activation, recurrent_activation=recurrent_activation
        )
        columns = self.cell.gates * units

        def normal(*shape, scale=1.0):
            return (scale * rng.normal(size=shape)).astype(dtype)

        self.sequences, self.zero_output = sequences, zero_output
        self.W = normal(width, columns, scale=max(width, 1) ** -0.5)
        self.U = normal(units, columns, scale=0.8 * units**-0.5)
        self.b = normal(columns, scale=0.3)
        inner = self.cell.kind == "gru" and self.cell.reset_after
        self.bias = normal(units, scale=0.3) if inner else None
        self.states = [normal(rows, units) for _ in range(self.cell.states)] if state else None
        self.noise = None
        if noise:
            drawn = rng.random((min(noise, self.cell.gates), rows, units)) < 0.6
            self.noise = (drawn / 0.6).astype(dtype)
        self.mask = mask_of(mask, rng, rows, steps)
        self.ids = None
        if lookup:
            vocabulary = 7
            self.x = normal(vocabulary, width)
            self.ids = rng.integers(0, vocabulary, (rows, steps)).astype(np.int32)
            if padded:
                for row, start in zip(self.ids, rng.integers(0, steps + 1, rows), strict=True):
                    row[:start] = 0
        else:
            self.x = normal(rows, steps, width)
        self.dy = normal(rows, steps, units) if sequences else None
        self.dlast = [normal(rows, units) for _ in range(self.cell.states)]

    def nudged(self, delta):
        """The same in double precision, with all sums that go into activations moved so far."""
        found = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray) and value.dtype == np.float32:
                setattr(found, name, value.astype(np.float64))
            elif isinstance(value, list):
                setattr(found, name, [part.astype(np.float64) for part in value])
        found.b = found.b + delta
        return found

    def is_decided_by_rounding(self, delta=1e-6):
        """Whether some activation is so near to a kink that its slope may be either.

        Then the exact gradients are others a millionth to the left and to the right.
        """
        with engines.using("reference") as reference:
            left, right = (self.nudged(d).run(reference) for d in (-delta, delta))
        return any(
            np.abs(left[name] - right[name]).max(initial=0)
            > 10 * delta * max(1.0, np.abs(left[name]).max(initial=0))
            for name in left
        )

    def forward(self, engine):
        x = self.x if self.ids is None else Lookup(self.ids, self.x)
        xz = engine.project(x, self.W, self.b, self.mask, for_sweep=True)
        return x, engine.recurrent(
            self.cell, xz, self.U, self.states, self.mask, self.sequences, self.zero_output,
            bias=self.bias, noise=self.noise,
        )

    def loss(self, engine):
        """The scalar whose gradients `run` takes."""
        _, (sequence, last, _) = self.forward(engine)
        pairs = [*zip(last, self.dlast, strict=True)]
        if self.sequences:
            pairs.append((sequence, self.dy))
        return sum(float((a * d).sum(dtype=np.float64)) for a, d in pairs)

    def variables(self):
        """What `run` gives gradients of, by name."""
        named = {name: getattr(self, name) for name in ("x", "W", "b", "U", "bias")}
        named |= {f"state{k}": state for k, state in enumerate(self.states or ())}
        return {name: a for name, a in named.items() if a is not None}

    def run(self, engine):
        x, (sequence, last, tape) = self.forward(engine)
        out = {f"last{k}": a for k, a in enumerate(last)}
        if self.sequences:
            out["sequence"] = sequence
        for name in ("W", "b", "U", "bias"):
            if getattr(self, name) is not None:
                out["d" + name] = np.zeros_like(getattr(self, name))
        dxz, dstates = engine.recurrent_backward(
            tape, self.U, self.dy, self.dlast, out["dU"], dbias=out.get("dbias"),
            projection=(x, self.W, out["dW"], out["db"]),
        )
        dx = engine.project_backward(x, self.W, dxz, out["dW"], out["db"])
        out["dx"] = dense_gradient(dx, self.x.shape)
        if self.states is not None:
            out |= {f"dstate{k}": a for k, a in enumerate(dstates)}
        return {name: np.array(a) for name, a in out.items()}
