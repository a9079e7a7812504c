"""Random problems for the tests of engines, and a finite-difference check of any gradient."""

import numpy as np

from fastrnn.masks import StepMask
from fastrnn.values import Lookup, RowGradient

ACTIVATIONS = ("tanh", "relu", "sigmoid", "linear")


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
                 dtype=np.float64):
        rng = np.random.default_rng(seed)

        def normal(*shape, scale=1.0):
            return (scale * rng.normal(size=shape)).astype(dtype)

        self.cell_activation, self.sequences, self.zero_output = activation, sequences, zero_output
        self.W = normal(width, units, scale=width**-0.5)
        self.U = normal(units, units, scale=0.8 * units**-0.5)
        self.b = normal(units, scale=0.3)
        self.h0 = normal(rows, units) if state else None
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
        self.dlast = normal(rows, units)

    def forward(self, engine):
        from fastrnn.cells import CellSpec

        x = self.x if self.ids is None else Lookup(self.ids, self.x)
        xz = engine.project(x, self.W, self.b, self.mask)
        states = None if self.h0 is None else [self.h0]
        spec = CellSpec("simple_rnn", self.cell_activation)
        return x, engine.recurrent(
            spec, xz, self.U, states, self.mask, self.sequences, self.zero_output
        )

    def loss(self, engine):
        """The scalar whose gradients `run` takes."""
        _, (sequence, last, _) = self.forward(engine)
        value = float((last[0] * self.dlast).sum(dtype=np.float64))
        return value + (float((sequence * self.dy).sum(dtype=np.float64)) if self.sequences else 0)

    def run(self, engine):
        x, (sequence, last, tape) = self.forward(engine)
        out = {"last": last[0]} | ({"sequence": sequence} if self.sequences else {})
        for name in ("W", "b", "U"):
            out["d" + name] = np.zeros_like(getattr(self, name))
        dxz, dstates = engine.recurrent_backward(tape, self.U, self.dy, [self.dlast], out["dU"])
        dx = engine.project_backward(x, self.W, dxz, out["dW"], out["db"])
        out["dx"] = dense_gradient(dx, self.x.shape)
        if self.h0 is not None:
            out["dh0"] = dstates[0]
        return {name: np.array(a) for name, a in out.items()}
