"""The sweep of a recurrent layer whose weights stay on chip: all steps of a row in one launch.

A thread takes one unit of one row through all steps. U stays where it is for the whole sequence:
each thread has the column (on the way back the row) of U that its unit needs, as much of it as
there is room for in registers, the rest in shared memory. A step is: every thread writes its part
of h to shared memory, the block waits for itself, every thread reads all of h, 16 bytes at a time,
and multiplies. What a step reads from device memory was asked for some steps before.

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

There is no branch in a step: one that does not count is computed like all others, and its results
are not taken. The longest row decides how long a batch takes, and branches would take as long as
half of a step.

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
from fastrnn.cuda.kernels.target import (
    ALIGNMENT,
    barrier,
    copy_wide,
    device_function,
    kernel,
)

__all__ = ["WARP", "Sweep", "bounds", "sweep_backward", "sweep_forward"]

WARP = 32
# Bytes of U that a thread keeps in registers; more of it lies in shared memory. A thread has 255
# registers only where its block has few others.
REGISTER_BYTES, REGISTER_THREADS = 512, 256
OTHER_REGISTERS = 112  # that a thread has for all else, about
# Steps between asking for a number in device memory and using it. A step takes some hundred cycles
# and more, an answer some hundreds. An even number: buffers take turns.
AHEAD = 4
# Multiplications in a loop that every compiler unrolls. Registers have no index: if a loop over the
# weights is not unrolled, they lie in device memory. Longer loops are put together of such parts.
# Likewise weights that are brought, each with its noise.
UNROLLED, UNROLLED_LOADS = 32, 8


class Sweep(NamedTuple):
    """A kernel, ``kernel[blocks, block, 0, shared](...)``, with ``group`` rows in a block."""

    kernel: Any
    block: tuple  # (threads for the units of a row, group)
    shared: int  # bytes of shared memory of a block
    registers: int  # of a block, about

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


def _in_turn(make):
    """The device function that calls those of ``make(0)``, ..., ``make(AHEAD - 1)``, all with the
    arguments of `forward_steps` or `backward_steps` below.

    What was asked for `AHEAD` steps before lies in registers that have no index, and if it moved
    from one to the next each step would wait for what the step before has asked for. So as many
    steps are written one after the other, each with registers of its own.
    """

    def from_(j):
        this = make(j)
        if j + 1 == AHEAD:
            return this
        rest = from_(j + 1)

        @device_function
        def both(first, arrays, numbers, own, ring, later_ids, sums, state, saved, more):
            this(first, arrays, numbers, own, ring, later_ids, sums, state, saved, more)
            rest(first, arrays, numbers, own, ring, later_ids, sums, state, saved, more)

        return both

    return from_(0)


@functools.cache
def sweep_forward(cell, units, dtype, group=1):
    """The `Sweep` of the way there, for a cell as `steps_of` takes it.

    Its kernel's arguments are ``(T, xz, ids, looked_up, U, bias, biased, noise, noises, start,
    stop, masked, first, given, before, last, kept, sequence, keeps, returns, zeroes)``, of which
    xz, ids, before, kept and sequence are flat. It writes last; ``keeps``: before and kept as well;
    ``returns``: sequence as well; ``zeroes``: with zeros at steps that do not count, not the output
    before them.
    """
    in_memory = np.dtype(dtype)
    number = in_memory.type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves, direct = steps.gates, steps.states, steps.kept, steps.direct
    step, reset, two = steps.forward, steps.reset_forward or _no_reset, direct < gates

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
    depth, own_count = plan.depths[0], plan.own
    second_depth, exchange = plan.depths[1], plan.exchange
    shown_from, shown_count = plan.shown, plan.exchange - plan.shown
    second_from = shown_from + 2 * group * depth
    ring_count, saved_count = AHEAD * gates, max(saves, 1)
    has_bias = steps.separate
    threads, wait = plan.threads, barrier(plan.threads * group)
    # Numbers without a sign: as a place in an array it need not be asked whether they are negative.
    H, width, state_width, kept_width = map(
        np.uint32, (units, gates * units, states * units, saves * units)
    )

    @device_function
    def ask(id, unit, xz, ring, at):
        place = np.uint64(id) * np.uint64(width) + np.uint64(unit)
        for g in range(gates):
            ring[at + g] = xz[place + np.uint64(g * units)]

    def make(j):
        buffer, own_from = shown_from + j % 2 * (group * depth), j * gates

        @device_function
        def one(first, arrays, numbers, own, ring, later_ids, sums, state, saved, more):
            shared, xz, ids, before, kept, sequence = arrays
            T, place, unit, begin, end, bias, flags = numbers
            looked_up, keeps, returns, zeroes = flags
            x = cuda.local.array(gates, number, ALIGNMENT)
            after = cuda.local.array(states, number, ALIGNMENT)
            t = first + j
            inside = t < T
            step_of_row = np.uint32(t)
            for g in range(gates):
                x[g] = ring[own_from + g]
            if keeps and inside:
                at = step_of_row * state_width + unit
                for s in range(states):
                    before[at + np.uint32(s * units)] = state[s]
            for s in range(states):
                after[s] = state[s]
            shared[buffer + place * depth + unit] = state[0]
            wait()
            dot(shared, buffer, own, place, unit, exchange, sums)
            if two:
                reset(x, sums, after, saved)
                shared[second_from + place * second_depth + unit] = saved[INNER]
                wait()
                dot_second(shared, second_from, own, place, unit, exchange, sums)
            step(x, sums, bias, after, saved)
            counts = begin <= t and t < end
            for s in range(states):
                state[s] = after[s] if counts else state[s]
            more[0] = after[0] if counts else (zero if zeroes else more[0])
            later = min(t + AHEAD, T - 1)
            ask(later_ids[j] if looked_up else later, unit, xz, ring, own_from)
            later_ids[j] = ids[np.uint32(min(t + 2 * AHEAD, T - 1) if looked_up else 0)]
            if keeps and inside:
                at = step_of_row * kept_width + unit
                for s in range(saves):
                    kept[at + np.uint32(s * units)] = saved[s]
            if returns and inside:
                sequence[step_of_row * H + unit] = more[0]

        return one

    forward_steps = _in_turn(make)

    @kernel(threads * group)
    def forward(T, xz, ids, looked_up, U, bias, biased, noise, noises, start, stop, masked, first,
                given, before, last, kept, sequence, keeps, returns, zeroes):
        shared = cuda.shared.array(0, in_memory, ALIGNMENT)
        own = cuda.local.array(own_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        later_ids = cuda.local.array(AHEAD, np.int32)
        sums = cuda.local.array(gates, number, ALIGNMENT)
        state = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        output = cuda.local.array(1, number, ALIGNMENT)
        rows = last.shape[1]
        place = cuda.threadIdx.y
        # Threads beyond the last unit, or the last row, do the same as those that have it.
        unit = min(np.uint32(cuda.threadIdx.x), np.uint32(units - 1))
        row = min(cuda.blockIdx.x * group + place, rows - 1)
        begin, end = bounds(row, rows, T, start, stop, masked)

        load(U, noise, noises, row, place, unit, own, shared)
        load_second(U, noise, noises, row, place, unit, own, shared)
        for i in range(cuda.threadIdx.x + place * threads, shown_count, threads * group):
            shared[shown_from + i] = zero
        for s in range(states):
            state[s] = first[s][row, unit] if given else zero
        for s in range(saved_count):
            saved[s] = zero
        for g in range(gates):
            sums[g] = zero
        output[0] = zero
        inner_bias = bias[unit] if has_bias and biased else zero
        from_step = row * T
        own_ids = ids[from_step if looked_up else 0 :]
        own_xz = xz[0 if looked_up else from_step * gates * units :]
        for i in range(AHEAD):
            later_ids[i] = 0
            for g in range(gates):
                ring[i * gates + g] = zero
            if i < T:
                ask(own_ids[i] if looked_up else i, unit, own_xz, ring, i * gates)
            if looked_up and i + AHEAD < T:
                later_ids[i] = own_ids[i + AHEAD]
        cuda.syncthreads()

        arrays = (
            shared, own_xz, own_ids, before[from_step * states * units :],
            kept[from_step * saves * units :], sequence[from_step * units :],
        )
        numbers = (
            T, place, unit, begin, end, inner_bias, (looked_up, keeps, returns, zeroes),
        )
        for t in range(0, T, AHEAD):
            forward_steps(
                t, arrays, numbers, own, ring, later_ids, sums, state, saved, output
            )
        for s in range(states):
            last[s, row, unit] = state[s]

    return Sweep(forward, (threads, group), plan.bytes, plan.registers)


@functools.cache
def sweep_backward(cell, units, dtype, group=1):
    """The `Sweep` of the way back, for a cell as `steps_of` takes it.

    Its kernel's arguments are ``(T, U, noise, noises, start, stop, masked, before, last, kept,
    dsequence, given, zeroes, dlast, has, dfirst, dxz, dsums)``, of which before, kept, dsequence,
    dxz and dsums are flat. It writes dfirst, dxz and dsums; ``given``: there is a dsequence;
    ``zeroes`` as on the way there.
    """
    in_memory = np.dtype(dtype)
    number = in_memory.type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves, direct = steps.gates, steps.states, steps.kept, steps.direct
    step, reset, two = steps.backward, steps.reset_backward or _no_reset_back, direct < gates
    separate = steps.separate

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
    depth, own_count = plan.depths[0], plan.own
    second_depth, exchange = plan.depths[1], plan.exchange
    shown_from, shown_count = plan.shown, plan.exchange - plan.shown
    second_from = shown_from + 2 * group * depth
    streams = saves + states + 1  # kept, the states before, dsequence
    ring_count, kept_count = AHEAD * streams, max(saves, 1)
    threads, wait = plan.threads, barrier(plan.threads * group)
    H, width, state_width, kept_width = map(
        np.uint32, (units, gates * units, states * units, saves * units)
    )

    @device_function
    def ask(t, unit, before, kept, dsequence, given, ring, at):
        step_of_row = np.uint32(t)
        place = step_of_row * kept_width + unit
        for s in range(saves):
            ring[at + s] = kept[place + np.uint32(s * units)]
        place = step_of_row * state_width + unit
        for s in range(states):
            ring[at + saves + s] = before[place + np.uint32(s * units)]
        dy = dsequence[step_of_row * H + unit if given else np.uint32(0)]
        ring[at + saves + states] = dy if given else zero

    def make(j):
        buffer, own_from = shown_from + j % 2 * (group * depth), j * streams

        @device_function
        def one(first, arrays, numbers, own, ring, later, dsum, dstate, dh, carried):
            shared, before, kept, dsequence, dxz, dsums = arrays
            T, place, unit, begin, end, flags = numbers
            given, zeroes = flags
            keeps = cuda.local.array(kept_count, number, ALIGNMENT)
            earlier = cuda.local.array(states, number, ALIGNMENT)
            dearlier = cuda.local.array(states, number, ALIGNMENT)
            dx = cuda.local.array(gates, number, ALIGNMENT)
            t = first - j
            counts = begin <= t and t < end
            for s in range(saves):
                keeps[s] = ring[own_from + s]
            for s in range(states):
                earlier[s] = ring[own_from + saves + s]
                dearlier[s] = dstate[s]
            total = carried[0] + ring[own_from + saves + states]
            dearlier[0] += total
            carried[0] = zero if counts or zeroes else total
            step(keeps, earlier, later, dearlier, dx, dsum)
            if two:
                shared[second_from + place * second_depth + unit] = dsum[direct] if counts else zero
                wait()
                dot_second(shared, second_from, own, place, unit, exchange, dh)
                reset(keeps, earlier, dh[0], dearlier, dx, dsum)
            for g in range(gates):
                dx[g] = dx[g] if counts else zero
                dsum[g] = dsum[g] if counts else zero
            for g in range(direct):
                shared[buffer + place * depth + g * units + unit] = dsum[g]
            wait()
            dot(shared, buffer, own, place, unit, exchange, dh)
            dearlier[0] += dh[0]
            for s in range(states):
                dstate[s] = dearlier[s] if counts else dstate[s]
                later[s] = earlier[s]
            ask(max(t - AHEAD, 0), unit, before, kept, dsequence, given, ring, own_from)
            if t >= 0:
                at = np.uint32(t) * width + unit
                for g in range(gates):
                    dxz[at + np.uint32(g * units)] = dx[g]
                    if separate:
                        dsums[at + np.uint32(g * units)] = dsum[g]

        return one

    backward_steps = _in_turn(make)

    @kernel(threads * group)
    def backward(T, U, noise, noises, start, stop, masked, before, last, kept, dsequence, given,
                 zeroes, dlast, has, dfirst, dxz, dsums):
        shared = cuda.shared.array(0, in_memory, ALIGNMENT)
        own = cuda.local.array(own_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        later = cuda.local.array(states, number, ALIGNMENT)
        dstate = cuda.local.array(states, number, ALIGNMENT)
        dsum = cuda.local.array(gates, number, ALIGNMENT)
        dh = cuda.local.array(1, number, ALIGNMENT)
        # The gradient of outputs that repeat this one at steps that do not count.
        carried = cuda.local.array(1, number, ALIGNMENT)
        rows = last.shape[1]
        place = cuda.threadIdx.y
        # As on the way there.
        unit = min(np.uint32(cuda.threadIdx.x), np.uint32(units - 1))
        row = min(cuda.blockIdx.x * group + place, rows - 1)
        begin, end = bounds(row, rows, T, start, stop, masked)

        load(U, noise, noises, row, place, unit, own, shared)
        load_second(U, noise, noises, row, place, unit, own, shared)
        for i in range(cuda.threadIdx.x + place * threads, shown_count, threads * group):
            shared[shown_from + i] = zero
        for s in range(states):
            dstate[s] = dlast[s][row, unit] if has[s] else zero
            later[s] = last[s, row, unit]
        carried[0] = zero
        dh[0] = zero
        from_step = row * T
        own_before = before[from_step * states * units :]
        own_kept = kept[from_step * saves * units :]
        own_dsequence = dsequence[from_step * units if given else 0 :]
        for i in range(AHEAD):
            for s in range(streams):
                ring[i * streams + s] = zero
            if i < T:
                ask(T - 1 - i, unit, own_before, own_kept, own_dsequence, given, ring, i * streams)
        cuda.syncthreads()

        arrays = (
            shared, own_before, own_kept, own_dsequence, dxz[from_step * gates * units :],
            dsums[from_step * gates * units :],
        )
        numbers = T, place, unit, begin, end, (given, zeroes)
        for i in range(0, T, AHEAD):
            backward_steps(
                T - 1 - i, arrays, numbers, own, ring, later, dsum, dstate, dh, carried
            )
        for s in range(states):
            dfirst[s, row, unit] = dstate[s]

    return Sweep(backward, (threads, group), plan.bytes, plan.registers)


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

    Shared memory holds, in this order: the weights that do not lie in registers; the vectors of
    the first product, twice; those of the second; and the slices' sums that change hands.
    """

    threads: int  # for one row
    products: list  # for each: device functions that bring the weights, and that multiply
    depths: list  # for each: the length of a vector in memory; it must be zero beyond its own
    own: int  # weights to make room for in a thread's registers
    shown: int  # where the vectors begin in shared memory
    exchange: int  # where the sums begin
    bytes: int  # of shared memory
    registers: int  # of all threads, about


def _plan(units, dtype, group, products):
    """The `_Plan` of one or two `_Product`."""
    size = np.dtype(dtype).itemsize
    width = WIDE // size
    threads = -(-units // WARP) * WARP
    # Slices of a vector, one for each row of the group, in whole wide loads.
    slices = [-(-p.length // (group * width)) * width for p in products]
    left = REGISTER_BYTES // size if threads * group <= REGISTER_THREADS else 0
    if size == 8:
        left = left * 3 // 4  # all else takes twice as many registers, too
    own = shared = 0
    made, most = [], max(p.outputs for p in products)
    for p, extent in zip(products, slices, strict=True):
        # Of the slice, as much as there are registers for; whole loads.
        kept = min(extent, left // max(p.outputs * width, 1) * width)
        places = _Slice(extent, kept, own, shared)
        made.append(_multiplication(p, units, places, group, threads, dtype))
        left -= kept * p.outputs
        own += kept * p.outputs
        shared += (extent - kept) * p.outputs * threads * group
    depths = [s * group for s in slices]
    exchange = shared + group * (2 * depths[0] + depths[1])
    end = exchange + (group * group * most * threads if group > 1 else 0)
    registers = threads * group * (own * size // 4 + OTHER_REGISTERS)
    return _Plan(threads, made, depths, max(own, 1), shared, exchange, end * size, registers)


class _Slice(NamedTuple):
    """A thread's part of a column of U: so many numbers for each output, and where they lie."""

    extent: int
    kept: int  # the first of them, in registers
    own: int  # where these begin there
    shared: int  # where all others begin in shared memory


def _multiplication(product, units, places, group, threads, dtype):
    """Two device functions for a `_Slice` of a `_Product`.

    ``load(U, noise, noises, row, place, unit, own, shared)`` brings a thread's weights: for so many
    places of its slice as one wide load has numbers, those of output 0, then of output 1, and so
    on. In shared memory such pieces of 16 bytes lie side by side with those of the other units.

    ``dot(shared, start, own, place, unit, exchange, sums)`` multiplies the vectors at
    ``shared[start:]``, one for each row of the group, and leaves in ``sums`` those of the thread's
    row, number ``place``.
    """
    length, outputs, element, into = product
    if not length:
        return _load_nothing, _dot_nothing
    extent, kept, own_from, shared_from = places
    number = np.dtype(dtype).type
    zero = number(0)
    width = WIDE // np.dtype(dtype).itemsize
    to_next = (extent - kept) * outputs * threads
    # As many sums at a time as a load brings numbers: additions need not wait for one another.
    # With several rows they do not anyway.
    chains = width if group == 1 else 1
    partial_count = group * chains * outputs
    numbers_count, column_count = group * width, outputs * width
    # Of what lies in registers, at a time. In shared memory weights do have an index.
    part = max(UNROLLED // (outputs * group) // width, 1) * width
    load_part = max(UNROLLED_LOADS // (outputs * min(group, 2)), 1)

    @device_function
    def weight(U, noise, noises, row, place, unit, q, o):
        k = place * extent + q
        return element(U, noise, noises, row, k, o, unit) if k < length else zero

    @device_function
    def load_shared(U, noise, noises, row, place, unit, own, shared):
        at = shared_from + place * to_next + unit * width
        for q in range(kept, extent):
            for o in range(outputs):
                piece = (q - kept) // width * outputs + o
                w = weight(U, noise, noises, row, place, unit, q, o)
                shared[at + piece * width * threads + q % width] = w

    def load_from(first):
        if first >= kept:
            return load_shared if kept < extent else _load_nothing
        last = min(first + load_part, kept)
        rest = load_from(last)

        @device_function
        def load(U, noise, noises, row, place, unit, own, shared):
            for q in range(first, last):
                for o in range(outputs):
                    piece = q // width * outputs + o
                    w = weight(U, noise, noises, row, place, unit, q, o)
                    own[own_from + piece * width + q % width] = w
            rest(U, noise, noises, row, place, unit, own, shared)

        return load

    @device_function
    def multiply(numbers, columns, at, partial):
        for v in range(width):
            for o in range(outputs):
                for r in range(group):
                    i = (r * chains + v % chains) * outputs + o
                    partial[i] += numbers[r * width + v] * columns[at + o * width + v]

    @device_function
    def add_shared(shared, start, own, at, partial):
        numbers = cuda.local.array(numbers_count, number, ALIGNMENT)
        column = cuda.local.array(column_count, number, ALIGNMENT)
        for q in range(kept, extent, width):
            for r in range(group):
                copy_wide(numbers, r * width, shared, start + r * (group * extent) + q)
            for o in range(outputs):
                copy_wide(column, o * width, shared,
                          at + ((q - kept) * outputs + o * width) * threads)
            multiply(numbers, column, 0, partial)

    def add_from(first):
        if first >= kept:
            return add_shared if kept < extent else _add_nothing
        last = min(first + part, kept)
        rest = add_from(last)

        @device_function
        def add(shared, start, own, at, partial):
            numbers = cuda.local.array(numbers_count, number, ALIGNMENT)
            for q in range(first, last, width):
                for r in range(group):
                    copy_wide(numbers, r * width, shared, start + r * (group * extent) + q)
                multiply(numbers, own, own_from + q * outputs, partial)
            rest(shared, start, own, at, partial)

        return add

    add = add_from(0)

    @device_function
    def dot(shared, start, own, place, unit, exchange, sums):
        partial = cuda.local.array(partial_count, number, ALIGNMENT)
        for i in range(partial_count):
            partial[i] = zero
        at = shared_from + place * to_next + unit * width
        add(shared, start + place * extent, own, at, partial)
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
def _load_nothing(U, noise, noises, row, place, unit, own, shared):
    pass


@device_function
def _dot_nothing(shared, start, own, place, unit, exchange, sums):
    pass


@device_function
def _add_nothing(shared, start, own, at, partial):
    pass
