"""A recurrent layer step by step, where its weights do not fit on chip.

A step is a product by U, which `fastrnn.cuda.kernels.matmul` computes on the whole GPU, and a
kernel here, with a thread for each unit of each row; a GRU that resets before its product takes two
of each. What goes from one launch to the next lies in device memory, dense, so that all steps have
the same arguments but for t:

==========  ====================  ==================================================================
state       (S, B, H)             the states; at the end the last ones
shown       (P, B, H)             h as U gets it: with each noise, or one without
sums        (B, G * H)            its products by U
dstate      (S, B, H)             gradients of the states; at the end of the first ones
carried     (B, H)                that of outputs which repeat an earlier one
dnow        (B, G * H)            gradients of the sums of one step
dshown      (P, B, H)             its products by U^T
==========  ====================  ==================================================================

All else is as in `fastrnn.cuda.kernels.sweep`.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastrnn.cuda.kernels.cells import INNER, steps_of
from fastrnn.cuda.kernels.sweep import bounds
from fastrnn.cuda.kernels.target import ALIGNMENT, THREADS, device_function, kernel

__all__ = ["StepKernels", "backward_kernels", "forward_kernels"]


class StepKernels(NamedTuple):
    """The kernels of a step, ``kernel[blocks, THREADS](t, ...)``.

    ``reset`` is that between the two products of a cell that has two, else None.
    """

    step: Any
    reset: Any


@device_function
def _own_place(states):
    """Row and unit of a thread, and how many there are: the last threads may have no such row."""
    rows, units = states.shape[1], states.shape[2]
    i = cuda.blockIdx.x * THREADS + cuda.threadIdx.x
    return i // units, i % units, rows, units


@functools.cache
def forward_kernels(cell, dtype):
    """The `StepKernels` of the way there.

    ``step(t, T, xz, ids, looked_up, sums, bias, biased, noise, noises, start, stop, masked, first,
    given, state, before, kept, sequence, shown, keeps, returns, zeroes)`` carries out step t, and
    shows the states after it; t = -1 shows the first ones.

    ``reset(t, T, xz, ids, looked_up, sums, noise, noises, state, shown)`` shows r h.
    """
    number = np.dtype(dtype).type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves = steps.gates, steps.states, steps.kept
    saved_count = max(saves, 1)
    two = steps.two_products
    finish, middle = steps.forward, steps.reset_forward
    has_bias = steps.separate

    @device_function
    def inputs(t, T, row, unit, units, xz, ids, looked_up, sums, x, own_sums):
        at = ids[row, t] if looked_up else row * T + t
        for g in range(gates):
            x[g] = xz[at, g * units + unit]
            own_sums[g] = sums[row, g * units + unit]

    @kernel(THREADS, writes="state before kept sequence shown")
    def step(t, T, xz, ids, looked_up, sums, bias, biased, noise, noises, start, stop, masked,
             first, given, state, before, kept, sequence, shown, keeps, returns, zeroes):
        x = cuda.local.array(gates, number, ALIGNMENT)
        own_sums = cuda.local.array(gates, number, ALIGNMENT)
        own = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        row, unit, rows, units = _own_place(state)
        if row >= rows:
            return
        for s in range(states):
            if t >= 0:
                own[s] = state[s, row, unit]
            else:
                own[s] = first[s][row, unit] if given else zero
        if t >= 0:
            begin, end = bounds(row, rows, T, start, stop, masked)
            for s in range(saved_count):
                saved[s] = zero
            if keeps:
                for s in range(states):
                    before[row, t, s * units + unit] = own[s]
            output = zero
            if begin <= t and t < end:
                inputs(t, T, row, unit, units, xz, ids, looked_up, sums, x, own_sums)
                if two:
                    middle(x, own_sums, own, saved)
                finish(x, own_sums, bias[unit] if has_bias and biased else zero, own, saved)
                output = own[0]
            elif returns and not zeroes and t > 0:
                output = sequence[row, t - 1, unit]
            if returns:
                sequence[row, t, unit] = output
            for s in range(saves):
                if keeps:
                    kept[row, t, s * units + unit] = saved[s]
        for s in range(states):
            state[s, row, unit] = own[s]
        for p in range(shown.shape[0]):
            shown[p, row, unit] = own[0] * noise[p, row, unit] if noises > 0 else own[0]

    @kernel(THREADS, writes="shown")
    def reset(t, T, xz, ids, looked_up, sums, noise, noises, state, shown):
        x = cuda.local.array(gates, number, ALIGNMENT)
        own_sums = cuda.local.array(gates, number, ALIGNMENT)
        own = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        row, unit, rows, units = _own_place(state)
        if row >= rows:
            return
        own[0] = state[0, row, unit]
        inputs(t, T, row, unit, units, xz, ids, looked_up, sums, x, own_sums)
        middle(x, own_sums, own, saved)
        last = shown.shape[0] - 1
        factor = noise[last, row, unit] if noises > 0 else number(1)
        shown[last, row, unit] = saved[INNER] * factor

    return StepKernels(step, reset if two else None)


@functools.cache
def backward_kernels(cell, dtype):
    """The `StepKernels` of the way back.

    ``step(t, T, noise, noises, start, stop, masked, before, last, kept, dsequence, given, zeroes,
    dlast, has, dstate, carried, dshown, dnow, dxz, dsums)`` takes up the product of step t + 1 and
    carries out step t; t = -1 only takes up the product.

    ``reset(t, T, noise, noises, start, stop, masked, before, kept, dinner, dstate, dnow, dxz)``
    goes on with dinner (B, H), the gradient of r h.
    """
    number = np.dtype(dtype).type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves, direct = steps.gates, steps.states, steps.kept, steps.direct
    saved_count = max(saves, 1)
    two, separate = steps.two_products, steps.separate
    go_back, middle = steps.backward, steps.reset_backward

    @kernel(THREADS, writes="dstate carried dnow dxz dsums")
    def step(t, T, noise, noises, start, stop, masked, before, last, kept, dsequence, given,
             zeroes, dlast, has, dstate, carried, dshown, dnow, dxz, dsums):
        own = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        earlier = cuda.local.array(states, number, ALIGNMENT)
        later = cuda.local.array(states, number, ALIGNMENT)
        dx = cuda.local.array(gates, number, ALIGNMENT)
        dsum = cuda.local.array(gates, number, ALIGNMENT)
        row, unit, rows, units = _own_place(dstate)
        if row >= rows:
            return
        output = zero
        if t == T - 1:
            for s in range(states):
                own[s] = dlast[s][row, unit] if has[s] else zero
        else:
            output = carried[row, unit]
            for s in range(states):
                own[s] = dstate[s, row, unit]
            # Of a cell with two products, `reset` took up the last noise.
            for p in range(direct if noises > 1 else 1):
                own[0] += dshown[p, row, unit] * (noise[p, row, unit] if noises > 0 else number(1))
        if t >= 0:
            begin, end = bounds(row, rows, T, start, stop, masked)
            for s in range(saves):
                saved[s] = kept[row, t, s * units + unit]
            for s in range(states):
                at = s * units + unit
                earlier[s] = before[row, t, at]
                later[s] = before[row, t + 1, at] if t < T - 1 else last[s, row, unit]
            for g in range(gates):
                dx[g] = zero
                dsum[g] = zero
            if given:
                output += dsequence[row, t, unit]
            if begin <= t and t < end:
                own[0] += output
                output = zero
                go_back(saved, earlier, later, own, dx, dsum)
            elif zeroes:
                output = zero
            carried[row, unit] = output
            for g in range(gates):
                dnow[row, g * units + unit] = dsum[g]
                dxz[row, t, g * units + unit] = dx[g]
                if separate:
                    dsums[row, t, g * units + unit] = dsum[g]
        for s in range(states):
            dstate[s, row, unit] = own[s]

    @kernel(THREADS, writes="dstate dnow dxz")
    def reset(t, T, noise, noises, start, stop, masked, before, kept, dinner, dstate, dnow, dxz):
        own = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        earlier = cuda.local.array(states, number, ALIGNMENT)
        dx = cuda.local.array(gates, number, ALIGNMENT)
        dsum = cuda.local.array(gates, number, ALIGNMENT)
        row, unit, rows, units = _own_place(dstate)
        begin, end = bounds(row, rows, T, start, stop, masked)
        if t < begin or t >= end:  # as with a row that there is not
            return
        for s in range(saves):
            saved[s] = kept[row, t, s * units + unit]
        earlier[0], own[0] = before[row, t, unit], dstate[0, row, unit]
        factor = noise[noises - 1, row, unit] if noises > 0 else number(1)
        middle(saved, earlier, dinner[row, unit] * factor, own, dx, dsum)
        dnow[row, units + unit] = dsum[1]
        dxz[row, t, units + unit] = dx[1]
        dstate[0, row, unit] = own[0]

    return StepKernels(step, reset if two else None)
