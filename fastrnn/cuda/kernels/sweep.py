"""The sweep of a recurrent layer whose weights stay on chip: all steps of a row in one launch.

A thread takes one unit of one row through all steps. U stays where it is for the whole sequence:
each thread has the column (on the way back the row) of U that its unit needs, in registers, or in
shared memory. A step is: every thread writes its part of h to shared memory, the block waits for
itself, every thread reads all of h, 16 bytes at a time, and multiplies. What a step reads from
device memory was asked for some steps before.

Up to 32 units a block is one warp and has one row. A wider layer takes a warp for every 32 units,
and may have a group of rows: then a thread has a slice of its column only, which it multiplies for
all rows of the group; the slices' sums change hands through shared memory. So a weight is read
once for the whole group.

Memory, all C-contiguous, in one float type:

==========  ====================  ==================================================================
xz          (n, G * H)            projected inputs; of row b, step t: [ids[b, t]], or [b * T + t]
ids         (B, T) int32          only read if ``looked_up``
U           (H, G * H)
bias        (H,)                  inside a reset that comes after; only read if ``biased``
noise       (``noises``, B, H)    factors of h on its way into U: for each gate, or one for all
start stop  (B,) int64            the steps of each row that count: start <= t < stop; only read if
                                  ``masked``
first       (B, H) for each state before the first step; zeros unless ``given``
before      (B, T, S * H)         the states before every step
last        (S, B, H)             those after the last one
kept        (B, T, K * H)         what the way back needs besides: `fastrnn.cuda.kernels.cells`
sequence    (B, T, H)             the output of every step, as the layer gives it
dlast       (B, H) for each state gradients of the last states; zeros unless ``has`` says so
dfirst      (S, B, H)             those of the first ones
dxz         (B, T, G * H)         0 at steps that do not count
dsums       (B, T, G * H)         likewise, by h U; not written unless it differs from dxz
==========  ====================  ==================================================================

The gradient of U is left to a product over all steps, sum over rows of h(before)^T dsums: there all
of the GPU can work on it, and here it would stand in the chain of steps.

Noise is the same at all steps: (h n) U = h (diag(n) U). So a block of one row takes it into the
weights that it keeps, and pays nothing in a step. Groups of rows cannot.

One warp a block makes `syncthreads` a barrier of the warp, and that one the simulator has too.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastrnn.cuda.arrays import WIDE
from fastrnn.cuda.kernels.cells import INNER, steps_of
from fastrnn.cuda.kernels.target import ALIGNMENT, copy_wide, device_function, kernel

__all__ = ["WARP", "Sweep", "bounds", "sweep_backward", "sweep_forward"]

WARP = 32
# Bytes of U that a thread keeps in registers; more of it lies in shared memory. A thread has 255
# registers only where its block has few others.
REGISTER_BYTES, REGISTER_THREADS = 512, 256
# Steps between asking for a number in device memory and using it. A step takes some hundred cycles
# and more, an answer some hundreds.
AHEAD = {1: 8, 3: 4, 4: 4}  # by gates
# Multiplications in a loop that every compiler unrolls. Registers have no index: if a loop over the
# weights is not unrolled, they lie in device memory. Longer loops are put together of such parts.
# Likewise weights that are brought, each with its noise.
UNROLLED, UNROLLED_LOADS = 32, 16


class Sweep(NamedTuple):
    """A kernel, ``kernel[blocks, block, 0, shared](...)``, with ``group`` rows in a block."""

    kernel: Any
    block: tuple  # (threads for the units of a row, group)
    shared: int  # bytes of shared memory of a block

    @property
    def group(self):
        return self.block[1]


@device_function
def bounds(row, rows, T, start, stop, masked):
    """From where to where the steps of a row count; nowhere for a row that there is not."""
    if row >= rows:
        return 0, 0
    if masked:
        return start[row], stop[row]
    return 0, T


def _group_bounds(group):
    """The device function like `bounds` for the rows from ``row0`` on: from the first to the last
    step that counts in any of them."""

    @device_function
    def of_group(row0, rows, T, start, stop, masked):
        begin, end = bounds(row0, rows, T, start, stop, masked)
        for r in range(1, group):
            other_begin, other_end = bounds(row0 + r, rows, T, start, stop, masked)
            if other_begin < other_end:
                begin = min(begin, other_begin) if begin < end else other_begin
                end = max(end, other_end)
        return begin, end

    return of_group


@functools.cache
def sweep_forward(cell, units, dtype, group=1):
    """The `Sweep` of the way there, for a cell as `steps_of` takes it.

    Its kernel's arguments are ``(T, xz, ids, looked_up, U, bias, biased, noise, noises, start,
    stop, masked, first, given, before, last, kept, sequence, keeps, returns, zeroes)``. It writes
    last; ``keeps``: before and kept as well; ``returns``: sequence as well; ``zeroes``: with zeros
    at steps that do not count, not the output before them.
    """
    in_memory = np.dtype(dtype)
    number = in_memory.type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves, direct = steps.gates, steps.states, steps.kept, steps.direct
    step, reset, two = steps.forward, steps.reset_forward or _no_reset, direct < gates
    distance = AHEAD[gates]

    def column(into):
        @device_function
        def element(U, noise, noises, row, q, o, unit):
            w = U[q, (into + o) * units + unit]
            if noises > 0:
                w *= noise[into + o if noises > 1 else 0, row, q]
            return w

        return element

    plan = _plan(units, dtype, group, (
        _Product(units, direct, column(0), 0),
        _Product(units if two else 0, gates - direct, column(direct), direct),
    ))
    (load, dot), (load_second, dot_second) = plan.products
    depth, in_registers, own_count = plan.depths[0], plan.in_registers, plan.own
    second_depth, exchange = plan.depths[1], plan.exchange
    shown_from, shown_count = plan.shown, plan.exchange - plan.shown
    second_from = shown_from + 2 * group * depth
    ring_count, saved_count = distance * gates, max(saves, 1)
    has_bias = steps.separate
    of_group = _group_bounds(group)
    threads = plan.threads

    @kernel(threads * group)
    def forward(T, xz, ids, looked_up, U, bias, biased, noise, noises, start, stop, masked, first,
                given, before, last, kept, sequence, keeps, returns, zeroes):
        shared = cuda.shared.array(0, in_memory, ALIGNMENT)
        own = cuda.local.array(own_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        sums = cuda.local.array(gates, number, ALIGNMENT)
        state = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        weights = own if in_registers else shared
        place, unit = cuda.threadIdx.y, cuda.threadIdx.x
        row, rows = cuda.blockIdx.x * group + place, last.shape[1]
        live = unit < units and row < rows
        begin, end = bounds(row, rows, T, start, stop, masked)
        busy_from, busy_to = of_group(cuda.blockIdx.x * group, rows, T, start, stop, masked)

        load(U, noise, noises, row, place, unit, weights)
        load_second(U, noise, noises, row, place, unit, weights)
        for i in range(unit + place * threads, shown_count, threads * group):
            shared[shown_from + i] = zero
        for s in range(states):
            state[s] = first[s][row, unit] if given and live else zero
        for s in range(saved_count):
            saved[s] = zero
        inner_bias = bias[unit] if has_bias and biased and live else zero
        for i in range(distance):
            for g in range(gates):
                ring[i * gates + g] = zero
            if live and i < T:
                at = ids[row, i] if looked_up else row * T + i
                for g in range(gates):
                    ring[i * gates + g] = xz[at, g * units + unit]
        next_id = ids[row, distance] if looked_up and live and distance < T else 0
        cuda.syncthreads()

        output = zero
        for t in range(T):
            if keeps and live:
                for s in range(states):
                    before[row, t, s * units + unit] = state[s]
            counts = begin <= t and t < end
            if busy_from <= t and t < busy_to:
                buffer = shown_from + t % 2 * (group * depth)
                if unit < units:
                    shared[buffer + place * depth + unit] = state[0]
                cuda.syncthreads()
                dot(shared, buffer, weights, place, unit, exchange, sums)
                if two:
                    if counts:
                        reset(ring, sums, state, saved)
                    if unit < units:
                        shared[second_from + place * second_depth + unit] = saved[INNER]
                    cuda.syncthreads()
                    dot_second(shared, second_from, weights, place, unit, exchange, sums)
            if counts:
                step(ring, sums, inner_bias, state, saved)
                output = state[0]
            elif zeroes:
                output = zero
            for i in range(ring_count - gates):
                ring[i] = ring[i + gates]
            if live:
                if t + distance < T:
                    at = next_id if looked_up else row * T + t + distance
                    for g in range(gates):
                        ring[ring_count - gates + g] = xz[at, g * units + unit]
                    if looked_up and t + distance + 1 < T:
                        next_id = ids[row, t + distance + 1]
                for s in range(saves):
                    if keeps:
                        kept[row, t, s * units + unit] = saved[s]
                if returns:
                    sequence[row, t, unit] = output
        if live:
            for s in range(states):
                last[s, row, unit] = state[s]

    return Sweep(forward, (threads, group), plan.bytes)


@functools.cache
def sweep_backward(cell, units, dtype, group=1):
    """The `Sweep` of the way back, for a cell as `steps_of` takes it.

    Its kernel's arguments are ``(T, U, noise, noises, start, stop, masked, before, last, kept,
    dsequence, given, zeroes, dlast, has, dfirst, dxz, dsums)``. It writes dfirst, dxz and dsums;
    ``given``: there is a dsequence; ``zeroes`` as on the way there.
    """
    in_memory = np.dtype(dtype)
    number = in_memory.type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves, direct = steps.gates, steps.states, steps.kept, steps.direct
    step, reset, two = steps.backward, steps.reset_backward or _no_reset_back, direct < gates
    separate, distance = steps.separate, AHEAD[gates]

    def row_of(into):
        @device_function
        def element(U, noise, noises, row, q, o, unit):
            w = U[unit, into * units + q]
            if noises > 0:
                w *= noise[into + q // units if noises > 1 else 0, row, unit]
            return w

        return element

    plan = _plan(units, dtype, group, (
        _Product(direct * units, 1, row_of(0), 0),
        _Product((gates - direct) * units, 1, row_of(direct), 0),
    ))
    (load, dot), (load_second, dot_second) = plan.products
    depth, in_registers, own_count = plan.depths[0], plan.in_registers, plan.own
    second_depth, exchange = plan.depths[1], plan.exchange
    shown_from, shown_count = plan.shown, plan.exchange - plan.shown
    second_from = shown_from + 2 * group * depth
    streams = saves + states + 1  # kept, the states before, dsequence
    ring_count = distance * streams
    newest = ring_count - streams
    of_group = _group_bounds(group)
    threads = plan.threads

    @device_function
    def fetch(t, row, unit, live, kept, before, dsequence, given, ring, at):
        if live and t >= 0:
            for s in range(saves):
                ring[at + s] = kept[row, t, s * units + unit]
            for s in range(states):
                ring[at + saves + s] = before[row, t, s * units + unit]
            ring[at + saves + states] = dsequence[row, t, unit] if given else zero
        else:
            for s in range(streams):
                ring[at + s] = zero

    @kernel(threads * group)
    def backward(T, U, noise, noises, start, stop, masked, before, last, kept, dsequence, given,
                 zeroes, dlast, has, dfirst, dxz, dsums):
        shared = cuda.shared.array(0, in_memory, ALIGNMENT)
        own = cuda.local.array(own_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        earlier = cuda.local.array(states, number, ALIGNMENT)
        later = cuda.local.array(states, number, ALIGNMENT)
        dstate = cuda.local.array(states, number, ALIGNMENT)
        dx = cuda.local.array(gates, number, ALIGNMENT)
        dsum = cuda.local.array(gates, number, ALIGNMENT)
        dh = cuda.local.array(1, number, ALIGNMENT)
        weights = own if in_registers else shared
        place, unit = cuda.threadIdx.y, cuda.threadIdx.x
        row, rows = cuda.blockIdx.x * group + place, last.shape[1]
        live = unit < units and row < rows
        begin, end = bounds(row, rows, T, start, stop, masked)
        busy_from, busy_to = of_group(cuda.blockIdx.x * group, rows, T, start, stop, masked)

        load(U, noise, noises, row, place, unit, weights)
        load_second(U, noise, noises, row, place, unit, weights)
        for i in range(unit + place * threads, shown_count, threads * group):
            shared[shown_from + i] = zero
        for s in range(states):
            dstate[s] = dlast[s][row, unit] if has[s] and live else zero
            later[s] = last[s, row, unit] if live else zero
        for i in range(distance):
            fetch(T - 1 - i, row, unit, live, kept, before, dsequence, given, ring, i * streams)
        cuda.syncthreads()

        carried = zero  # the gradient of outputs that repeat this one at steps that do not count
        for i in range(T):
            t = T - 1 - i
            for s in range(states):
                earlier[s] = ring[saves + s]
            carried += ring[saves + states]
            counts = begin <= t and t < end
            if counts:
                dstate[0] += carried
                carried = zero
                step(ring, earlier, later, dstate, dx, dsum)
            else:
                if zeroes:
                    carried = zero
                for g in range(gates):
                    dx[g] = zero
                    dsum[g] = zero
            if busy_from <= t and t < busy_to:
                if two:
                    if unit < units:
                        shared[second_from + place * second_depth + unit] = dsum[direct]
                    cuda.syncthreads()
                    dot_second(shared, second_from, weights, place, unit, exchange, dh)
                    if counts:
                        reset(ring, earlier, dh[0], dstate, dx, dsum)
                buffer = shown_from + t % 2 * (group * depth)
                if unit < units:
                    for g in range(direct):
                        shared[buffer + place * depth + g * units + unit] = dsum[g]
                cuda.syncthreads()
                dot(shared, buffer, weights, place, unit, exchange, dh)
                if counts:
                    dstate[0] += dh[0]
            for s in range(states):
                later[s] = earlier[s]
            for s in range(newest):
                ring[s] = ring[s + streams]
            fetch(t - distance, row, unit, live, kept, before, dsequence, given, ring, newest)
            if live:
                for g in range(gates):
                    dxz[row, t, g * units + unit] = dx[g]
                    if separate:
                        dsums[row, t, g * units + unit] = dsum[g]
        if live:
            for s in range(states):
                dfirst[s, row, unit] = dstate[s]

    return Sweep(backward, (threads, group), plan.bytes)


@device_function
def _no_reset(x, sums, state, kept):
    pass


@device_function
def _no_reset_back(kept, before, dinner, dstate, dx, dsums):
    pass


class _Product(NamedTuple):
    """A product of vectors that all threads see by U, and how a thread finds its weights."""

    length: int  # of a vector; 0: there is no such product
    outputs: int  # how many weights, and sums, a unit has for each place of the vector
    element: Any  # device function (U, noise, noises, row, q, o, unit): a weight
    into: int  # where its sums begin


class _Plan(NamedTuple):
    """What the threads of a block have, and where it lies.

    Shared memory holds, in this order: the weights, unless they lie in registers; the vectors of
    the first product, twice; those of the second; and the slices' sums that change hands.
    """

    threads: int  # for one row
    products: list  # for each: device functions that bring the weights, and that multiply
    depths: list  # for each: the length of a vector in memory; it must be zero beyond its own
    in_registers: bool
    own: int  # weights to make room for in a thread's registers
    shown: int  # where the vectors begin in shared memory
    exchange: int  # where the sums begin
    bytes: int  # of shared memory


def _plan(units, dtype, group, products):
    """The `_Plan` of one or two `_Product`."""
    size = np.dtype(dtype).itemsize
    width = WIDE // size
    threads = -(-units // WARP) * WARP
    # Slices of a vector, one for each row of the group, in whole wide loads.
    slices = [-(-p.length // (group * width)) * width for p in products]
    counts = [s * p.outputs for s, p in zip(slices, products, strict=True)]
    own = sum(counts)
    in_registers = own * size <= REGISTER_BYTES and threads * group <= REGISTER_THREADS
    spread = 1 if in_registers else threads
    depths = [s * group for s in slices]
    shown = 0 if in_registers else own * threads * group
    exchange = shown + group * (2 * depths[0] + depths[1])
    most = max(p.outputs for p in products)
    end = exchange + (group * group * most * threads if group > 1 else 0)
    bases = 0, counts[0] if in_registers else counts[0] * threads * group
    made = [
        _multiplication(p, units, s, group, spread, base, threads, dtype)
        for p, s, base in zip(products, slices, bases, strict=True)
    ]
    return _Plan(threads, made, depths, in_registers, own if in_registers else 1, shown, exchange,
                 end * size)


def _multiplication(product, units, extent, group, spread, base, threads, dtype):
    """Two device functions for slices of ``extent``, for a `_Product` with weights from ``base``.

    ``load(U, noise, noises, row, place, unit, weights)`` brings a thread's weights: for so many
    places of its slice as one wide load has numbers, those of output 0, then of output 1, and so
    on. In shared memory such pieces of 16 bytes lie side by side with those of the other units.

    ``dot(shared, start, weights, place, unit, exchange, sums)`` multiplies the vectors at
    ``shared[start:]``, one for each row of the group, and leaves in ``sums`` those of the thread's
    row, number ``place``.
    """
    length, outputs, element, into = product
    if not length:
        return _load_nothing, _dot_nothing
    number = np.dtype(dtype).type
    zero = number(0)
    width = WIDE // np.dtype(dtype).itemsize
    in_shared = int(spread > 1)
    to_next, to_unit = extent * outputs * threads * in_shared, width * in_shared  # in memory
    # As many sums at a time as a load brings numbers: additions need not wait for one another.
    # With several rows they do not anyway.
    chains = width if group == 1 else 1
    partial_count = group * chains * outputs
    numbers_count, column_count = group * width, outputs * width
    # Of the slice, at a time. In shared memory weights do have an index.
    part = extent if in_shared else max(UNROLLED // (outputs * group) // width, 1) * width
    load_part = extent if in_shared else max(UNROLLED_LOADS // (outputs * min(group, 2)), 1)

    def load_from(first):
        last = min(first + load_part, extent)
        rest = load_from(last) if last < extent else _load_nothing

        @device_function
        def load(U, noise, noises, row, place, unit, weights):
            at = base + place * to_next + unit * to_unit
            for q in range(first, last):
                k = place * extent + q
                for o in range(outputs):
                    w = zero
                    if k < length and unit < units:
                        w = element(U, noise, noises, row, k, o, unit)
                    piece = q // width * outputs + o
                    weights[at + piece * width * spread + q % width] = w
            rest(U, noise, noises, row, place, unit, weights)

        return load

    def add_from(first):
        last = min(first + part, extent)
        rest = add_from(last) if last < extent else _add_nothing

        @device_function
        def add(shared, start, weights, at, partial):
            numbers = cuda.local.array(numbers_count, number, ALIGNMENT)
            column = cuda.local.array(column_count, number, ALIGNMENT)
            for q in range(first, last, width):
                for r in range(group):
                    copy_wide(numbers, r * width, shared, start + r * (group * extent) + q)
                for o in range(outputs):
                    piece = at + (q * outputs + o * width) * spread
                    if in_shared:
                        copy_wide(column, o * width, weights, piece)
                    else:
                        for v in range(width):
                            column[o * width + v] = weights[piece + v]
                for v in range(width):
                    for o in range(outputs):
                        for r in range(group):
                            i = (r * chains + v % chains) * outputs + o
                            partial[i] += numbers[r * width + v] * column[o * width + v]
            rest(shared, start, weights, at, partial)

        return add

    add = add_from(0)

    @device_function
    def dot(shared, start, weights, place, unit, exchange, sums):
        partial = cuda.local.array(partial_count, number, ALIGNMENT)
        for i in range(partial_count):
            partial[i] = zero
        at = base + place * to_next + unit * to_unit
        add(shared, start + place * extent, weights, at, partial)
        if group == 1:
            for o in range(outputs):
                total = partial[o]
                for v in range(1, chains):
                    total += partial[v * outputs + o]
                sums[into + o] = total
        else:
            for i in range(group * outputs):
                shared[exchange + (place * group * outputs + i) * threads + unit] = partial[i]
            cuda.syncthreads()
            for o in range(outputs):
                total = zero
                for s in range(group):
                    i = (s * group + place) * outputs + o
                    total += shared[exchange + i * threads + unit]
                sums[into + o] = total

    return load_from(0), dot


@device_function
def _load_nothing(U, noise, noises, row, place, unit, weights):
    pass


@device_function
def _dot_nothing(shared, start, weights, place, unit, exchange, sums):
    pass


@device_function
def _add_nothing(shared, start, weights, at, partial):
    pass
