"""The sweep of a recurrent layer whose weights stay on chip: all steps of a row in one launch.

A thread takes one unit of one row through all steps. U stays where it is for the whole sequence:
each thread has the weights that it multiplies by, as many as there is room for in registers, the
rest in shared memory. A step is: every thread writes its part of h to shared memory, the block
waits for itself, every thread reads what it needs of h, 16 bytes at a time, and multiplies. What
some steps read from device memory, a pass, is asked for together, a pass before.

Up to 32 units a block is one warp and has one row, and a thread multiplies for its own unit. In a
wider layer neighbours multiply for each other, and a block may have several rows, which share the
weights (`fastrnn.cuda.sweep_tiles`, `fastrnn.cuda.kernels.dots`).

Memory, all C-contiguous, in one float type:

==========  ====================  ==================================================================
xz          (n, G * H)            projected inputs; of row b, step t: [ids[b, t]], or [b * T + t]
ids         (B, T) int32          only read if ``looks_up``
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
magnitudes  (B, H)                sums over steps and gates of the absolute values of dxz
==========  ====================  ==================================================================

The gradient of U is left to a product over all steps, sum over rows of h(before)^T dsums: there all
of the GPU can work on it, and here it would stand in the chain of steps.

There is no branch in a step: one that does not count is computed like all others, and its results
are not taken. The longest row decides how long a batch takes, and branches would take as long as
half of a step. What is the same at all steps is no question either: each `Way` has a kernel of its
own. A step of 32 units has some 60 instructions; each comparison, and each place that is computed,
would be one or two more, of two cycles each. So places go on by constants, and only the last steps
ask whether there is another one.

Noise is the same at all steps: (h n) U = h (diag(n) U). So a block of one row takes it into the
weights that it keeps, and pays nothing in a step. Blocks of several rows cannot.

One warp a block makes `syncthreads` a barrier of the warp, and that one the simulator has too.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastrnn.cuda import sweep_tiles
from fastrnn.cuda.kernels.cells import INNER, steps_of
from fastrnn.cuda.kernels.dots import Product, multiplication, thread_places
from fastrnn.cuda.kernels.target import ALIGNMENT, barrier, device_function, kernel

__all__ = ["Sweep", "Way", "bounds", "sweep_backward", "sweep_forward"]

# Steps of a pass: what they read was asked for a pass before. So many of the fastest cell take some
# 450 cycles, an answer from the second cache some 300. An even number: buffers take turns.
PASS = 4
# What a thread of the way back has besides: the gradient of outputs that repeat this one at steps
# that do not count, and a sum of magnitudes.
CARRIED, MAGNITUDES = 0, 1


class Way(NamedTuple):
    """What a kernel is made for."""

    looks_up: bool = False  # xz are rows of a table
    masked: bool = False
    noises: int = 0  # none, one for all gates, or more: one for each
    keeps: bool = False  # what the way back needs
    returns: bool = False  # the output of every step; back: its gradient is given
    zeroes: bool = False  # zeros as output of steps that do not count, not the output before them
    measures: bool = False  # back: the sums of magnitudes of dxz


class Sweep(NamedTuple):
    """A kernel, ``kernel[blocks, threads, 0, shared](...)``, with ``rows`` rows in a block."""

    kernel: Any
    threads: int
    rows: int
    shared: int  # bytes of shared memory of a block


@device_function
def bounds(row, rows, T, start, stop, masked):
    """From where to where the steps of a row count; nowhere for a row that there is not."""
    if row >= rows:
        return 0, 0
    if masked:
        return start[row], stop[row]
    return 0, T


def _in_turn(make, count):
    """The device function that calls those of ``make(0)``, ..., ``make(count - 1)``, all with the
    arguments of the steps below: a loop, unrolled, for registers have no index."""

    def from_(j):
        this = make(j)
        if j + 1 == count:
            return this
        rest = from_(j + 1)

        @device_function
        def both(first, arrays, numbers, own, now, held):
            this(first, arrays, numbers, own, now, held)
            rest(first, arrays, numbers, own, now, held)

        return both

    return from_(0)


def _products(plan, units, dtype, products):
    """What `multiplication` makes of each `Product`."""
    return [
        multiplication(product, units, plan, part, depth, dtype)
        for product, part, depth in zip(products, plan.slices, plan.depths, strict=True)
    ]


@functools.cache
def sweep_forward(cell, units, dtype, tile, way):
    """The `Sweep` of the way there, for a cell as `steps_of` takes it.

    Its kernel's arguments are ``(T, xz, ids, U, bias, biased, noise, start, stop, first, given,
    before, last, kept, sequence)``, of which xz, ids, before, kept and sequence are flat. It writes
    last; if the `Way` keeps, before and kept; if it returns, sequence.
    """
    looks_up, masked, noises, keeps, returns, zeroes, _ = way
    in_memory = np.dtype(dtype)
    number = in_memory.type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves, direct = steps.gates, steps.states, steps.kept, steps.direct
    step, reset, two = steps.forward, steps.reset_forward or _no_reset, direct < gates

    def column(into):
        @device_function
        def element(U, noise, row, q, o, unit):
            w = U[q, (into + o) * units + unit]
            if noises:
                w *= noise[into + o if noises > 1 else 0, row, q]
            return w

        return element

    products = sweep_tiles.products_there(units, gates, direct)
    plan = sweep_tiles.plan(units, dtype, tile, products)
    (load, dot), (load_second, dot_second) = _products(plan, units, dtype, [
        Product(*products[0], column(0), 0), Product(*products[1], column(direct), direct),
    ])
    depth, second_depth = plan.depths
    shown_from, second_from = plan.shown, plan.shown + 2 * tile.rows * depth
    shown_end, own_count = second_from + tile.rows * second_depth, plan.own
    ring_count, saved_count = PASS * gates, max(saves, 1)
    has_bias, rows_of_block, threads = steps.separate, tile.rows, plan.threads
    places, wait = thread_places(tile, units), barrier(threads)
    # Numbers of 64 bits without a sign: a place in an array is a constant beyond the one before.
    H, width, state_width, kept_width = map(
        np.uint64, (units, gates * units, states * units, saves * units)
    )

    @device_function
    def ask(which, unit, xz, ring, at):
        place = np.uint64(which) * width + unit
        for g in range(gates):
            ring[at + g] = xz[place + np.uint64(g * units)]

    def passes_there(guarded):
        """A pass of the way there; ``guarded``: it may have fewer steps, or be among the last."""

        def make(j):
            buffers = [shown_from + k % 2 * (rows_of_block * depth) for k in (j, j + 1)]
            (buffer, next_buffer), own_from = buffers, j * gates

            @device_function
            def one(first, arrays, numbers, own, now, held):
                shared, _, _, before, kept, sequence = arrays
                sums, state, saved, more = held
                T, lane, unit, row, begin, end, bias = numbers
                place = np.uint64(unit)
                x = cuda.local.array(gates, number, ALIGNMENT)
                after = cuda.local.array(states, number, ALIGNMENT)
                t = first + j
                inside = not guarded or t < T
                step_of_row = np.uint64(t)
                for g in range(gates):
                    x[g] = now[own_from + g]
                for s in range(states):
                    after[s] = state[s]
                wait()
                if keeps and inside:
                    at = step_of_row * state_width + place
                    for s in range(states):
                        before[at + np.uint64(s * units)] = state[s]
                dot(shared, buffer, own, lane, sums)
                if two:
                    reset(x, sums, after, saved)
                    shared[second_from + row * second_depth + unit] = saved[INNER]
                    wait()
                    dot_second(shared, second_from, own, lane, sums)
                step(x, sums, bias, after, saved)
                counts = inside
                if masked:
                    counts = begin <= np.int32(t) and np.int32(t) < end
                for s in range(states):
                    state[s] = after[s] if counts else state[s]
                more[0] = after[0] if counts else (zero if zeroes else more[0])
                shared[next_buffer + row * depth + unit] = state[0]
                if keeps and inside:
                    at = step_of_row * kept_width + place
                    for s in range(saves):
                        kept[at + np.uint64(s * units)] = saved[s]
                if returns and inside:
                    sequence[step_of_row * H + place] = more[0]

            return one

        steps_in_turn = _in_turn(make, PASS)

        @device_function
        def go(first, arrays, numbers, own, ring, later_ids, held):
            _, xz, ids, _, _, _ = arrays
            T, place = numbers[0], np.uint64(numbers[2])
            now = cuda.local.array(ring_count, number, ALIGNMENT)
            for i in range(ring_count):
                now[i] = ring[i]
            for j in range(PASS):
                later = first + PASS + j
                later = min(later, T - 1) if guarded else later
                ask(np.uint32(later_ids[j]) if looks_up else later, place, xz, ring, j * gates)
            if looks_up:
                for j in range(PASS):
                    later = first + 2 * PASS + j
                    later_ids[j] = ids[np.uint64(min(later, T - 1) if guarded else later)]
            steps_in_turn(first, arrays, numbers, own, now, held)

        return go

    whole_pass, last_pass = passes_there(guarded=False), passes_there(guarded=True)
    reach = (3 if looks_up else 2) * PASS  # of what a whole pass carries out and asks for

    @kernel(threads, writes="before last kept sequence")
    def forward(T, xz, ids, U, bias, biased, noise, start, stop, first, given, before, last, kept,
                sequence):
        shared = cuda.shared.array(0, in_memory, ALIGNMENT)
        own = cuda.local.array(own_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        later_ids = cuda.local.array(PASS, np.int32)
        sums = cuda.local.array(gates, number, ALIGNMENT)
        state = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        output = cuda.local.array(1, number, ALIGNMENT)
        rows = last.shape[1]
        lane, first_unit, unit, place = places()
        # Threads beyond the last row do the same as those that have it.
        row = min(cuda.blockIdx.x * rows_of_block + place, rows - 1)
        begin, end = bounds(row, rows, T, start, stop, masked)

        load(U, noise, row, lane, first_unit, own, shared)
        load_second(U, noise, row, lane, first_unit, own, shared)
        for i in range(shown_from + cuda.threadIdx.x, shown_end, threads):
            shared[i] = zero
        for s in range(states):
            state[s] = first[s][row, unit] if given else zero
        cuda.syncthreads()  # zeros come first
        shared[shown_from + place * depth + unit] = state[0]
        for s in range(saved_count):
            saved[s] = zero
        for g in range(gates):
            sums[g] = zero
        output[0] = zero
        inner_bias = bias[unit] if has_bias and biased else zero
        from_step = row * T
        own_ids = ids[from_step if looks_up else 0 :]
        own_xz = xz[0 if looks_up else from_step * gates * units :]
        for i in range(PASS):
            later_ids[i] = 0
            for g in range(gates):
                ring[i * gates + g] = zero
            if i < T:
                ask(np.uint32(own_ids[i]) if looks_up else i, np.uint64(unit), own_xz, ring,
                    i * gates)
            if looks_up and i + PASS < T:
                later_ids[i] = own_ids[i + PASS]
        cuda.syncthreads()

        arrays = (
            shared, own_xz, own_ids, before[from_step * states * units if keeps else 0 :],
            kept[from_step * saves * units if keeps else 0 :],
            sequence[from_step * units if returns else 0 :],
        )
        numbers = T, lane, unit, place, np.int32(begin), np.int32(end), inner_bias
        held = sums, state, saved, output
        t = 0
        while t + reach <= T:
            whole_pass(t, arrays, numbers, own, ring, later_ids, held)
            t += PASS
        while t < T:
            last_pass(t, arrays, numbers, own, ring, later_ids, held)
            t += PASS
        for s in range(states):
            last[s, row, unit] = state[s]

    return Sweep(forward, threads, tile.rows, plan.bytes)


@functools.cache
def sweep_backward(cell, units, dtype, tile, way):
    """The `Sweep` of the way back, for a cell as `steps_of` takes it.

    Its kernel's arguments are ``(T, U, noise, start, stop, before, last, kept, dsequence, dlast,
    has, dfirst, dxz, dsums, magnitudes)``, of which before, kept, dsequence, dxz and dsums are
    flat. It writes dfirst, dxz and dsums, and if the `Way` measures, magnitudes.
    """
    _, masked, noises, _, given, zeroes, measures = way
    in_memory = np.dtype(dtype)
    number = in_memory.type
    zero = number(0)
    steps = steps_of(cell, dtype)
    gates, states, saves, direct = steps.gates, steps.states, steps.kept, steps.direct
    step, reset, two = steps.backward, steps.reset_backward or _no_reset_back, direct < gates
    separate, repeats = steps.separate, masked and given and not zeroes

    def row_of(into):
        @device_function
        def element(U, noise, row, q, o, unit):
            w = U[unit, into * units + q]
            if noises:
                w *= noise[into + q // units if noises > 1 else 0, row, unit]
            return w

        return element

    products = sweep_tiles.products_back(units, gates, direct)
    plan = sweep_tiles.plan(units, dtype, tile, products)
    (load, dot), (load_second, dot_second) = _products(plan, units, dtype, [
        Product(*products[0], row_of(0), 0), Product(*products[1], row_of(direct), 0),
    ])
    depth, second_depth = plan.depths
    shown_from, second_from = plan.shown, plan.shown + 2 * tile.rows * depth
    shown_end, own_count = second_from + tile.rows * second_depth, plan.own
    streams = saves + states + given  # kept, the states before, dsequence
    ring_count, kept_count = PASS * streams, max(saves, 1)
    rows_of_block, threads = tile.rows, plan.threads
    places, wait = thread_places(tile, units), barrier(threads)
    H, width, state_width, kept_width = map(
        np.uint64, (units, gates * units, states * units, saves * units)
    )

    @device_function
    def ask(t, unit, before, kept, dsequence, ring, at):
        step_of_row = np.uint64(t)
        place = step_of_row * kept_width + unit
        for s in range(saves):
            ring[at + s] = kept[place + np.uint64(s * units)]
        place = step_of_row * state_width + unit
        for s in range(states):
            ring[at + saves + s] = before[place + np.uint64(s * units)]
        if given:
            ring[at + saves + states] = dsequence[step_of_row * H + unit]

    def passes_back(guarded):
        """As on the way there."""

        def make(j):
            buffer, own_from = shown_from + j % 2 * (rows_of_block * depth), j * streams

            @device_function
            def one(first, arrays, numbers, own, now, held):
                shared, _, _, _, dxz, dsums = arrays
                later, dsum, dstate, dh, more = held
                lane, unit, row, begin, end = numbers
                place = np.uint64(unit)
                keeps = cuda.local.array(kept_count, number, ALIGNMENT)
                earlier = cuda.local.array(states, number, ALIGNMENT)
                dearlier = cuda.local.array(states, number, ALIGNMENT)
                dx = cuda.local.array(gates, number, ALIGNMENT)
                t = first - j
                counts = not guarded or t >= 0
                if masked:
                    counts = begin <= np.int32(t) and np.int32(t) < end
                for s in range(saves):
                    keeps[s] = now[own_from + s]
                for s in range(states):
                    earlier[s] = now[own_from + saves + s]
                    dearlier[s] = dstate[s]
                if given:
                    total = now[own_from + saves + states]
                    if repeats:
                        total += more[CARRIED]
                        more[CARRIED] = zero if counts else total
                    dearlier[0] += total
                step(keeps, earlier, later, dearlier, dx, dsum)
                if two:
                    shared[second_from + row * second_depth + unit] = (
                        dsum[direct] if counts else zero
                    )
                    wait()
                    dot_second(shared, second_from, own, lane, dh)
                    reset(keeps, earlier, dh[0], dearlier, dx, dsum)
                for g in range(gates):
                    dx[g] = dx[g] if counts else zero
                    dsum[g] = dsum[g] if counts else zero
                    if measures:
                        more[MAGNITUDES] += abs(dx[g])
                for g in range(direct):
                    shared[buffer + row * depth + g * units + unit] = dsum[g]
                wait()
                dot(shared, buffer, own, lane, dh)
                dearlier[0] += dh[0]
                for s in range(states):
                    dstate[s] = dearlier[s] if counts else dstate[s]
                    later[s] = earlier[s]
                if not guarded or t >= 0:
                    at = np.uint64(t) * width + place
                    for g in range(gates):
                        dxz[at + np.uint64(g * units)] = dx[g]
                        if separate:
                            dsums[at + np.uint64(g * units)] = dsum[g]

            return one

        steps_in_turn = _in_turn(make, PASS)

        @device_function
        def go(first, arrays, numbers, own, ring, held):
            _, before, kept, dsequence, _, _ = arrays
            now = cuda.local.array(ring_count, number, ALIGNMENT)
            for i in range(ring_count):
                now[i] = ring[i]
            for j in range(PASS):
                later = first - PASS - j
                ask(max(later, 0) if guarded else later, np.uint64(numbers[1]), before, kept,
                    dsequence, ring, j * streams)
            steps_in_turn(first, arrays, numbers, own, now, held)

        return go

    whole_pass, last_pass = passes_back(guarded=False), passes_back(guarded=True)

    @kernel(threads, writes="dfirst dxz dsums magnitudes")
    def backward(T, U, noise, start, stop, before, last, kept, dsequence, dlast, has, dfirst, dxz,
                 dsums, magnitudes):
        shared = cuda.shared.array(0, in_memory, ALIGNMENT)
        own = cuda.local.array(own_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        later = cuda.local.array(states, number, ALIGNMENT)
        dstate = cuda.local.array(states, number, ALIGNMENT)
        dsum = cuda.local.array(gates, number, ALIGNMENT)
        dh = cuda.local.array(1, number, ALIGNMENT)
        more = cuda.local.array(2, number, ALIGNMENT)
        rows = last.shape[1]
        lane, first_unit, unit, place = places()
        # As on the way there.
        row = min(cuda.blockIdx.x * rows_of_block + place, rows - 1)
        begin, end = bounds(row, rows, T, start, stop, masked)

        load(U, noise, row, lane, first_unit, own, shared)
        load_second(U, noise, row, lane, first_unit, own, shared)
        for i in range(shown_from + cuda.threadIdx.x, shown_end, threads):
            shared[i] = zero
        for s in range(states):
            dstate[s] = dlast[s][row, unit] if has[s] else zero
            later[s] = last[s, row, unit]
        for g in range(gates):
            dsum[g] = zero
        more[CARRIED] = more[MAGNITUDES] = zero
        dh[0] = zero
        from_step = row * T
        own_before = before[from_step * states * units :]
        own_kept = kept[from_step * saves * units :]
        own_dsequence = dsequence[from_step * units if given else 0 :]
        for i in range(PASS):
            for s in range(streams):
                ring[i * streams + s] = zero
            if i < T:
                ask(T - 1 - i, np.uint64(unit), own_before, own_kept, own_dsequence, ring,
                    i * streams)
        cuda.syncthreads()

        arrays = (
            shared, own_before, own_kept, own_dsequence, dxz[from_step * gates * units :],
            dsums[from_step * gates * units :],
        )
        numbers = lane, unit, place, np.int32(begin), np.int32(end)
        held = later, dsum, dstate, dh, more
        t = T - 1
        while t + 1 >= 2 * PASS:
            whole_pass(t, arrays, numbers, own, ring, held)
            t -= PASS
        while t >= 0:
            last_pass(t, arrays, numbers, own, ring, held)
            t -= PASS
        for s in range(states):
            dfirst[s, row, unit] = dstate[s]
        if measures:
            magnitudes[row, unit] = more[MAGNITUDES]

    return Sweep(backward, threads, tile.rows, plan.bytes)


@device_function
def _no_reset(x, sums, state, kept):
    pass


@device_function
def _no_reset_back(kept, before, dinner, dstate, dx, dsums):
    pass
