"""The sweep of a recurrent layer of at most 32 units: all steps of a row in one warp.

A warp takes one row through all its steps, lane u its unit u; the whole sequence is one launch. The
weights stay on chip: lane u holds the column (on the way back the row) of U that its unit needs. A
step is: every lane writes its part of h to shared memory, the warp waits for itself, every lane
reads all of h, 16 bytes at a time, and multiplies. What a step reads from device memory was asked
for some steps before.

Memory, all C-contiguous, in one float type:

==========  ====================  ==================================================================
xz          (B, T, G * H)         the projected input of every step
U           (H, G * H)
bias        (H,)                  of a GRU, inside the reset; others do not read it
start stop  (B,) int64            the steps of each row that count: start <= t < stop
tape        (B, T + 1, S * H)     states before and after every step; [:, 0] are the initial ones
kept        (B, T, K * H)         what the way back needs besides: `fastrnn.cuda.kernels.cells`
sequence    (B, T, H)             the output of every step, as the layer gives it
dstates     (B, S * H)            gradients of the last states, replaced by those of the first
dxz         (B, T, G * H)         0 at steps that do not count
dsums       (B, T, G * H)         likewise, by h U; not written unless it differs from dxz (GRU)
==========  ====================  ==================================================================

The gradient of U is left to a product over all steps, sum over rows of h(before)^T dsums: there all
of the GPU can work on it, and here it would stand in the chain of steps.

One warp a block makes `syncthreads` a barrier of the warp, and that one the simulator has too.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastrnn.cuda.arrays import WIDE
from fastrnn.cuda.kernels.cells import steps_of
from fastrnn.cuda.kernels.target import ALIGNMENT, copy_wide, device_function, kernel

__all__ = ["WARP", "sweep_backward", "sweep_forward"]

WARP = 32
# Bytes of U that a lane keeps in registers; more of it lies in shared memory.
REGISTER_BYTES = 512
# Steps between asking for a number in device memory and using it. A step takes some hundred cycles
# and more, an answer some hundreds.
AHEAD = {1: 8, 3: 4, 4: 4}  # by gates
# Multiplications in a loop that every compiler unrolls. Registers have no index: if a loop over the
# weights is not unrolled, they lie in device memory. Longer loops are put together of such parts.
UNROLLED = 32


@functools.cache
def sweep_forward(cell, units, dtype):
    """The kernel of the way there, for a cell as `steps_of` takes it.

    ``kernel[B, WARP](xz, U, bias, start, stop, tape, kept, sequence, keeps, returns, zeroes)``:
    writes tape, which begins with the initial states; ``keeps``: kept as well; ``returns``:
    sequence as well; ``zeroes``: with zeros at steps that do not count, not the output before them.
    """
    number = np.dtype(dtype).type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves = steps.gates, steps.states, steps.kept
    step = steps.forward
    distance = AHEAD[gates]

    @device_function
    def column(U, k, g, unit):
        return U[k, g * units + unit]

    depth, register_count, shared_count, spread, load, dot = _products(units, gates, column, dtype)
    shown_count, ring_count, saved_count = 2 * depth, distance * gates, max(saves, 1)
    is_gru = cell.kind == "gru"

    @kernel(WARP)
    def forward(xz, U, bias, start, stop, tape, kept, sequence, keeps, returns, zeroes):
        weights_in_registers = cuda.local.array(register_count, number, ALIGNMENT)
        weights_in_shared = cuda.shared.array(shared_count, number, ALIGNMENT)
        shown = cuda.shared.array(shown_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        sums = cuda.local.array(gates, number, ALIGNMENT)
        state = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        weights = weights_in_registers if spread == 1 else weights_in_shared
        row, unit = cuda.blockIdx.x, cuda.threadIdx.x
        live = unit < units
        T = xz.shape[1]
        begin, end = start[row], stop[row]

        load(U, unit, live, weights, unit % spread)
        for i in range(unit, shown_count, WARP):
            shown[i] = zero
        for s in range(states):
            state[s] = tape[row, 0, s * units + unit] if live else zero
        inner_bias = bias[unit] if is_gru and live else zero
        for i in range(distance):
            for g in range(gates):
                given = live and i < T
                ring[i * gates + g] = xz[row, i, g * units + unit] if given else zero
        cuda.syncthreads()

        output = zero
        for t in range(T):
            if begin <= t and t < end:
                buffer = t % 2 * depth
                if live:
                    shown[buffer + unit] = state[0]
                cuda.syncthreads()
                dot(shown, buffer, weights, unit % spread, sums)
                step(ring, sums, inner_bias, state, saved)
                output = state[0]
            elif zeroes:
                output = zero
            for i in range(ring_count - gates):
                ring[i] = ring[i + gates]
            if live:
                for g in range(gates):
                    if t + distance < T:
                        ring[ring_count - gates + g] = xz[row, t + distance, g * units + unit]
                for s in range(states):
                    tape[row, t + 1, s * units + unit] = state[s]
                for s in range(saves):
                    if keeps:
                        kept[row, t, s * units + unit] = saved[s]
                if returns:
                    sequence[row, t, unit] = output

    return forward


@functools.cache
def sweep_backward(cell, units, dtype):
    """The kernel of the way back, for a cell as `steps_of` takes it.

    ``kernel[B, WARP](U, start, stop, tape, kept, dsequence, given, zeroes, dstates, dxz, dsums)``:
    writes dstates, dxz and dsums; ``given``: there is a dsequence; ``zeroes`` as on the way there.
    """
    number = np.dtype(dtype).type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves = steps.gates, steps.states, steps.kept
    step = steps.backward
    distance = AHEAD[gates]
    columns = gates * units

    @device_function
    def row_of(U, q, o, unit):
        return U[unit, q]

    depth, register_count, shared_count, spread, load, dot = _products(columns, 1, row_of, dtype)
    streams = saves + states + 1  # kept, the states before, dsequence
    shown_count, ring_count = 2 * depth, distance * streams
    newest = ring_count - streams
    separate = cell.kind == "gru"

    @device_function
    def fetch(t, row, unit, live, kept, tape, dsequence, given, ring, at):
        if live and t >= 0:
            for s in range(saves):
                ring[at + s] = kept[row, t, s * units + unit]
            for s in range(states):
                ring[at + saves + s] = tape[row, t, s * units + unit]
            ring[at + saves + states] = dsequence[row, t, unit] if given else zero
        else:
            for s in range(streams):
                ring[at + s] = zero

    @kernel(WARP)
    def backward(U, start, stop, tape, kept, dsequence, given, zeroes, dstates, dxz, dsums):
        weights_in_registers = cuda.local.array(register_count, number, ALIGNMENT)
        weights_in_shared = cuda.shared.array(shared_count, number, ALIGNMENT)
        shown = cuda.shared.array(shown_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        before = cuda.local.array(states, number, ALIGNMENT)
        after = cuda.local.array(states, number, ALIGNMENT)
        dstate = cuda.local.array(states, number, ALIGNMENT)
        dx = cuda.local.array(gates, number, ALIGNMENT)
        dsum = cuda.local.array(gates, number, ALIGNMENT)
        dh = cuda.local.array(1, number, ALIGNMENT)
        weights = weights_in_registers if spread == 1 else weights_in_shared
        row, unit = cuda.blockIdx.x, cuda.threadIdx.x
        live = unit < units
        T = dxz.shape[1]
        begin, end = start[row], stop[row]

        load(U, unit, live, weights, unit % spread)
        for i in range(unit, shown_count, WARP):
            shown[i] = zero
        for s in range(states):
            dstate[s] = dstates[row, s * units + unit] if live else zero
            after[s] = tape[row, T, s * units + unit] if live else zero
        for i in range(distance):
            fetch(T - 1 - i, row, unit, live, kept, tape, dsequence, given, ring, i * streams)
        cuda.syncthreads()

        carried = zero  # the gradient of outputs that repeat this one at steps that do not count
        for i in range(T):
            t = T - 1 - i
            for s in range(states):
                before[s] = ring[saves + s]
            carried += ring[saves + states]
            if begin <= t and t < end:
                dstate[0] += carried
                carried = zero
                step(ring, before, after, dstate, dx, dsum)
                buffer = t % 2 * depth
                if live:
                    for g in range(gates):
                        shown[buffer + g * units + unit] = dsum[g]
                cuda.syncthreads()
                dot(shown, buffer, weights, unit % spread, dh)
                dstate[0] += dh[0]
            else:
                if zeroes:
                    carried = zero
                for g in range(gates):
                    dx[g] = zero
                    dsum[g] = zero
            for s in range(states):
                after[s] = before[s]
            for s in range(newest):
                ring[s] = ring[s + streams]
            fetch(t - distance, row, unit, live, kept, tape, dsequence, given, ring, newest)
            if live:
                for g in range(gates):
                    dxz[row, t, g * units + unit] = dx[g]
                    if separate:
                        dsums[row, t, g * units + unit] = dsum[g]
        if live:
            for s in range(states):
                dstates[row, s * units + unit] = dstate[s]

    return backward


class _Products(NamedTuple):
    """What multiplies a vector that all lanes see by columns of U, one or a few for each lane.

    Weight (q, o) of a lane, for the output o, stands at ``(q * outputs + o) * spread + place``.
    """

    depth: int  # the vector's length in whole wide loads; it must be zero beyond its own
    in_registers: int  # weights to make room for there, and in shared memory
    in_shared: int
    spread: int  # 1 in registers; WARP in shared memory, where the lanes' weights lie side by side
    load: Any  # device function (U, unit, live, weights, place): brings the weights
    dot: Any  # device function (shown, start, weights, place, sums): of shown[start:]


def _products(length, outputs, element, dtype):
    """The `_Products` for vectors of ``length`` and ``element(U, q, o, unit)``, a weight in U."""
    number = np.dtype(dtype).type
    zero = number(0)
    width = WIDE // np.dtype(dtype).itemsize
    depth = -(-length // width) * width
    count = depth * outputs
    spread = 1 if count * np.dtype(dtype).itemsize <= REGISTER_BYTES else WARP
    partial_count = width * outputs
    # Of the vector, at a time. In shared memory weights do have an index.
    part = UNROLLED // outputs // width * width if spread == 1 else depth

    def load_from(first):
        last = min(first + part, depth)
        rest = load_from(last) if last < depth else load_nothing

        @device_function
        def load(U, unit, live, weights, place):
            for q in range(first, last):
                for o in range(outputs):
                    given = live and q < length
                    w = element(U, q, o, unit) if given else zero
                    weights[(q * outputs + o) * spread + place] = w
            rest(U, unit, live, weights, place)

        return load

    def add_from(first):
        last = min(first + part, depth)
        rest = add_from(last) if last < depth else add_nothing

        @device_function
        def add(shown, start, weights, place, partial):
            numbers = cuda.local.array(width, number, ALIGNMENT)
            for q in range(first, last, width):
                copy_wide(numbers, 0, shown, start + q)
                for v in range(width):
                    for o in range(outputs):
                        w = weights[((q + v) * outputs + o) * spread + place]
                        partial[v * outputs + o] += numbers[v] * w
            rest(shown, start, weights, place, partial)

        return add

    @device_function
    def load_nothing(U, unit, live, weights, place):
        pass

    @device_function
    def add_nothing(shown, start, weights, place, partial):
        pass

    add = add_from(0)

    @device_function
    def dot(shown, start, weights, place, sums):
        # As many sums at a time as a load brings numbers: additions need not wait for one another.
        partial = cuda.local.array(partial_count, number, ALIGNMENT)
        for i in range(partial_count):
            partial[i] = zero
        add(shown, start, weights, place, partial)
        for o in range(outputs):
            total = partial[o]
            for v in range(1, width):
                total += partial[v * outputs + o]
            sums[o] = total

    rooms = (count, 1) if spread == 1 else (1, count * WARP)
    return _Products(depth, *rooms, spread, load_from(0), dot)
