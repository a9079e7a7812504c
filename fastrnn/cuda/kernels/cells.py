"""One step of each recurrent cell, for one unit of one row, there and back.

A step gets ``x``, the projected input of its G gates, and ``sums``, what h U gives for each; it
changes ``state`` and leaves in ``kept`` what the way back needs. Its way back gets that, the states
before and after, and the gradients of the states after it; it leaves in ``dx`` the gradients of x,
in ``dsums`` those of the sums, and in ``dstate`` those of the states before it, so far as they do
not come through the sums. Equations: `fastrnn.cells.CellSpec`.

State: h, for an LSTM h and c. Kept: nothing; for an LSTM its gates i, f, g, o; for a GRU z, r, the
candidate g, and the inner value: h U_h + c where the reset comes after the product, r h where it
comes before. That last cell has two products in a step: z and r are made of h, and then the
candidate of r h.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from fastrnn.cuda.kernels.activations import forward, slope
from fastrnn.cuda.kernels.target import device_function

__all__ = ["INNER", "Steps", "steps_of"]


INNER = 3  # where in what a GRU keeps the inner value stands


@device_function
def _no_reset(x, sums, state, kept):
    pass


@device_function
def _no_reset_back(kept, before, dinner, dstate, dx, dsums):
    pass


class Steps(NamedTuple):
    """The device functions of a cell, and how many numbers a unit has of each kind."""

    gates: int
    states: int
    kept: int
    separate: bool  # whether the gradients of the sums differ from those of x
    forward: Any  # (x, sums, bias, state, kept)
    backward: Any  # (kept, before, after, dstate, dx, dsums)
    # Of a cell with two products. There, between them: with the first sums it leaves r h in kept.
    # Back, between the gradient of r h, which is given, and that of h.
    reset_forward: Any = _no_reset  # (x, sums, state, kept)
    reset_backward: Any = _no_reset_back  # (kept, before, dinner, dstate, dx, dsums)

    @property
    def two_products(self):
        """Whether a step multiplies twice: r h by U, after h."""
        return self.reset_forward is not _no_reset

    @property
    def direct(self):
        """How many gates are made of h itself; the others of r h."""
        return self.gates - self.two_products


@functools.cache
def steps_of(cell, dtype):
    """The `Steps` of a cell: a `fastrnn.cells.CellSpec`, or what has its four attributes."""
    gru = _gru if cell.reset_after else _gru_reset_before
    build = {"simple_rnn": _simple_rnn, "lstm": _lstm, "gru": gru}[cell.kind]
    f, s = cell.activation, cell.recurrent_activation
    return build(forward(f, dtype), slope(f, dtype), forward(s, dtype), slope(s, dtype), dtype)


def _simple_rnn(f, f_slope, s, s_slope, dtype):
    @device_function
    def there(x, sums, bias, state, kept):
        state[0] = f(x[0] + sums[0])

    @device_function
    def back(kept, before, after, dstate, dx, dsums):
        dx[0] = dstate[0] * f_slope(after[0])
        dsums[0] = dx[0]
        dstate[0] = 0

    return Steps(1, 1, 0, False, there, back)


def _lstm(f, f_slope, s, s_slope, dtype):
    @device_function
    def there(x, sums, bias, state, kept):
        i, forget = s(x[0] + sums[0]), s(x[1] + sums[1])
        g, o = f(x[2] + sums[2]), s(x[3] + sums[3])
        kept[0], kept[1], kept[2], kept[3] = i, forget, g, o
        state[1] = forget * state[1] + i * g
        state[0] = o * f(state[1])

    @device_function
    def back(kept, before, after, dstate, dx, dsums):
        i, forget, g, o = kept[0], kept[1], kept[2], kept[3]
        shown = f(after[1])
        dc = dstate[1] + dstate[0] * o * f_slope(shown)
        dx[0] = dc * g * s_slope(i)
        dx[1] = dc * before[1] * s_slope(forget)
        dx[2] = dc * i * f_slope(g)
        dx[3] = dstate[0] * shown * s_slope(o)
        for k in range(4):
            dsums[k] = dx[k]
        dstate[0] = 0
        dstate[1] = dc * forget

    return Steps(4, 2, 4, False, there, back)


def _gru(f, f_slope, s, s_slope, dtype):
    one = np.dtype(dtype).type(1)

    @device_function
    def there(x, sums, bias, state, kept):
        z, r = s(x[0] + sums[0]), s(x[1] + sums[1])
        inner = sums[2] + bias
        g = f(x[2] + r * inner)
        kept[0], kept[1], kept[2], kept[3] = z, r, g, inner
        state[0] = z * state[0] + (one - z) * g

    @device_function
    def back(kept, before, after, dstate, dx, dsums):
        z, r, g, inner = kept[0], kept[1], kept[2], kept[3]
        dh = dstate[0]
        dx[2] = dh * (one - z) * f_slope(g)
        dx[0] = dh * (before[0] - g) * s_slope(z)
        dx[1] = dx[2] * inner * s_slope(r)
        dsums[0], dsums[1], dsums[2] = dx[0], dx[1], dx[2] * r
        dstate[0] = dh * z

    return Steps(3, 1, 4, True, there, back)


def _gru_reset_before(f, f_slope, s, s_slope, dtype):
    one = np.dtype(dtype).type(1)

    @device_function
    def reset(x, sums, state, kept):
        kept[0], kept[1] = s(x[0] + sums[0]), s(x[1] + sums[1])
        kept[INNER] = kept[1] * state[0]

    @device_function
    def there(x, sums, bias, state, kept):
        z, g = kept[0], f(x[2] + sums[2])
        kept[2] = g
        state[0] = z * state[0] + (one - z) * g

    @device_function
    def back(kept, before, after, dstate, dx, dsums):
        z, g, dh = kept[0], kept[2], dstate[0]
        dx[2] = dh * (one - z) * f_slope(g)
        dx[0] = dh * (before[0] - g) * s_slope(z)
        dsums[0], dsums[2] = dx[0], dx[2]
        dstate[0] = dh * z

    @device_function
    def reset_back(kept, before, dinner, dstate, dx, dsums):
        r = kept[1]
        dx[1] = dinner * before[0] * s_slope(r)
        dsums[1] = dx[1]
        dstate[0] += dinner * r

    return Steps(3, 1, 4, False, there, back, reset, reset_back)
