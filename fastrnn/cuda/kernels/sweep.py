"""The sweep of a recurrent layer whose weights stay on chip: all steps of a row in one launch.

A thread takes one unit of one row through all steps. U stays where it is for the whole sequence:
each thread has the weights that it multiplies by, as many as there is room for in registers, the
rest in shared memory. A step is: every thread writes its part of h to shared memory, the block
waits for itself, every thread reads what it needs of h, 16 bytes at a time, and multiplies. What
some steps read from device memory, a pass, is asked for together, a pass before.

Up to 32 units a block is one warp and has one row; of a wider layer it may have several rows, which
share the weights. Where reading would bind, neighbours multiply for each other, in any layer
(`fastrnn.cuda.sweep_tiles`, `fastrnn.cuda.kernels.dots`).

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

A kernel is put together of device functions: one for each step of a pass (`_step_there`,
`_step_back`), which differ by constants; one that asks for what the next pass reads, and then calls
these (`_pass`). All are inlined. What a thread has on its way, `There` or `Back`, is handed on as
one and lies in registers.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from numba import cuda

from fastrnn.cuda import sweep_tiles
from fastrnn.cuda.kernels.cells import INNER, Steps, steps_of
from fastrnn.cuda.kernels.dots import Product, multiplication, thread_places
from fastrnn.cuda.kernels.target import ALIGNMENT, barrier, device_function, kernel

__all__ = ["Sweep", "Way", "bounds", "sweep_backward", "sweep_forward"]

# Steps of a pass: what they read was asked for a pass before. So many of the fastest cell take some
# 450 cycles, an answer from the second cache some 300. An even number: buffers take turns.
PASS = 4


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


class Thread(NamedTuple):
    """Which part of the work is a thread's."""

    lane: Any  # its number among the neighbours that multiply for each other
    first_unit: Any  # of those that they multiply for
    unit: Any  # the one that it takes through all steps,
    row: Any  # of this row
    block_row: Any  # which one of the block's rows that is
    begin: Any  # from where to where its steps count, in 32 bits
    end: Any


class There(NamedTuple):
    """What a thread has on the way there: of arrays in device memory, the part of its own row."""

    T: Any  # how many steps there are
    thread: Thread
    shared: Any  # the block's shared memory
    xz: Any
    ids: Any
    before: Any
    kept: Any
    sequence: Any
    bias: Any
    weights: Any  # of U, those in registers
    ring: Any  # inputs that were asked for: of the next pass
    later_ids: Any  # rows of the table: of the pass after it
    sums: Any
    state: Any
    saved: Any  # of the step under way, what is kept
    output: Any


class Back(NamedTuple):
    """What a thread has on the way back, as `There`."""

    thread: Thread
    shared: Any
    before: Any
    kept: Any
    dsequence: Any
    dxz: Any
    dsums: Any
    weights: Any
    ring: Any
    later: Any  # the states after the step under way
    dsum: Any
    dstate: Any
    dh: Any  # what comes through a product
    carried: Any  # the gradient of outputs that repeat this one at steps that do not count
    magnitude: Any


@device_function
def bounds(row, rows, T, start, stop, masked):
    """From where to where the steps of a row count; nowhere for a row that there is not."""
    if row >= rows:
        return 0, 0
    if masked:
        return start[row], stop[row]
    return 0, T


# -- the way there ----------------------------------------------------------------


@functools.cache
def sweep_forward(cell, units, dtype, tile, way):
    """The `Sweep` of the way there, for a cell as `steps_of` takes it.

    Its kernel's arguments are ``(T, xz, ids, U, bias, biased, noise, start, stop, first, given,
    before, last, kept, sequence)``, of which xz, ids, before, kept and sequence are flat. It writes
    last; if the `Way` keeps, before and kept; if it returns, sequence.
    """
    steps = steps_of(cell, dtype)
    gates, states, saves, has_bias = steps.gates, steps.states, steps.kept, steps.separate
    looks_up, keeps, returns = way.looks_up, way.keeps, way.returns
    layout = _layout(steps, units, dtype, tile, _products_there(steps, units, way.noises))
    in_memory, number, zero = layout.dtype, layout.number, layout.number(0)
    threads, weight_count, depth = layout.plan.threads, layout.plan.own, layout.plan.depths[0]
    ring_count, saved_count, shown_from = PASS * gates, max(saves, 1), layout.buffer(0)
    find, bring = _finding(layout, way.masked), _bringing(layout)
    begin = _begin_there(layout, looks_up)
    whole_pass, last_pass = (
        _pass(number, gates, _ask_there(layout, looks_up, guarded),
              functools.partial(_step_there, layout, way, guarded))
        for guarded in (False, True)
    )
    reach = (3 if looks_up else 2) * PASS  # of what a whole pass carries out and asks for

    @kernel(threads, writes="before last kept sequence")
    def forward(T, xz, ids, U, bias, biased, noise, start, stop, first, given, before, last, kept,
                sequence):
        shared = cuda.shared.array(0, in_memory, ALIGNMENT)
        weights = cuda.local.array(weight_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        later_ids = cuda.local.array(PASS, np.int32)
        sums = cuda.local.array(gates, number, ALIGNMENT)
        state = cuda.local.array(states, number, ALIGNMENT)
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        output = cuda.local.array(1, number, ALIGNMENT)
        thread = find(T, start, stop, last.shape[1])
        row, unit = thread.row, thread.unit
        bring(U, noise, thread, weights, shared)
        for s in range(states):
            state[s] = first[s][row, unit] if given else zero
        cuda.syncthreads()  # zeros come first
        shared[shown_from + thread.block_row * depth + unit] = state[0]
        for s in range(saved_count):
            saved[s] = zero
        for g in range(gates):
            sums[g] = zero
        output[0] = zero
        inner_bias = bias[unit] if has_bias and biased else zero
        from_step = row * T
        own_ids = ids[from_step if looks_up else 0 :]
        own_xz = xz[0 if looks_up else from_step * gates * units :]
        begin(T, unit, own_xz, own_ids, ring, later_ids)
        cuda.syncthreads()
        there = There(
            T, thread, shared, own_xz, own_ids,
            before[from_step * states * units if keeps else 0 :],
            kept[from_step * saves * units if keeps else 0 :],
            sequence[from_step * units if returns else 0 :],
            inner_bias, weights, ring, later_ids, sums, state, saved, output,
        )
        t = 0
        while t + reach <= T:
            whole_pass(t, there)
            t += PASS
        while t < T:
            last_pass(t, there)
            t += PASS
        for s in range(states):
            last[s, row, unit] = state[s]

    return Sweep(forward, threads, tile.rows, layout.plan.bytes)


def _products_there(steps, units, noises):
    """The two `Product` of a step, of h and of r h."""
    sizes = sweep_tiles.products_there(units, steps.gates, steps.direct)
    return [
        Product(*of, _weight_there(units, noises, gate), gate)
        for of, gate in zip(sizes, (0, steps.direct), strict=True)
    ]


def _weight_there(units, noises, gate):
    """The device function of such a product that finds a weight, for gates from ``gate`` on."""

    @device_function
    def element(U, noise, row, q, o, unit):
        w = U[q, (gate + o) * units + unit]
        if noises:
            w *= noise[gate + o if noises > 1 else 0, row, q]
        return w

    return element


def _begin_there(layout, looks_up):
    """The device function ``(T, unit, xz, ids, ring, later_ids)`` that asks for the inputs of the
    first pass, and for the rows of the table that the second one takes."""
    gates, zero, units = layout.steps.gates, layout.number(0), layout.units
    place_of = _place(units, gates)

    @device_function
    def begin(T, unit, xz, ids, ring, later_ids):
        for i in range(PASS):
            later_ids[i] = 0
            for g in range(gates):
                ring[i * gates + g] = zero
            if i < T:
                place = place_of(np.uint32(ids[i]) if looks_up else i, unit)
                for g in range(gates):
                    ring[i * gates + g] = xz[place + np.uint64(g * units)]
            if looks_up and i + PASS < T:
                later_ids[i] = ids[i + PASS]

    return begin


def _ask_there(layout, looks_up, guarded):
    """The device function ``(first, there)`` that asks for the inputs of the pass after the one
    that begins at step ``first``; and for the rows of the table that the next one takes.

    ``guarded``: not all of these steps need be there; then the last one stands for them.
    """
    gates, units = layout.steps.gates, layout.units
    place_of = _place(units, gates)

    @device_function
    def ask(first, there):
        T, ids, later_ids = there.T, there.ids, there.later_ids
        for j in range(PASS):
            later = first + PASS + j
            later = min(later, T - 1) if guarded else later
            place = place_of(np.uint32(later_ids[j]) if looks_up else later, there.thread.unit)
            for g in range(gates):
                there.ring[j * gates + g] = there.xz[place + np.uint64(g * units)]
        if looks_up:
            for j in range(PASS):
                later = first + 2 * PASS + j
                later_ids[j] = ids[np.uint64(min(later, T - 1) if guarded else later)]

    return ask


def _step_there(layout, way, guarded, j):
    """The device function ``(first, now, there)`` of step j of a pass, which begins at ``first``.

    ``now`` has the inputs of the pass. ``guarded``: there need not be such a step.
    """
    steps, number, zero, units = layout.steps, layout.number, layout.number(0), layout.units
    gates, states, saves, two = steps.gates, steps.states, steps.kept, steps.two_products
    step, reset = steps.forward, steps.reset_forward
    (dot, dot_second), wait = layout.dots, barrier(layout.plan.threads)
    buffer, next_buffer, second = layout.buffer(j), layout.buffer(j + 1), layout.second
    (depth, second_depth), now_from = layout.plan.depths, j * gates
    masked, keeps, returns, zeroes = way.masked, way.keeps, way.returns, way.zeroes
    place_of_states, place_of_saved, place_of_output = (
        _place(units, count) for count in (states, saves, 1)
    )

    @device_function
    def one(first, now, there):
        thread, shared, weights = there.thread, there.shared, there.weights
        sums, state, saved, output = there.sums, there.state, there.saved, there.output
        lane, unit, block_row = thread.lane, thread.unit, thread.block_row
        x = cuda.local.array(gates, number, ALIGNMENT)
        after = cuda.local.array(states, number, ALIGNMENT)
        t = first + j
        inside = not guarded or t < there.T
        for g in range(gates):
            x[g] = now[now_from + g]
        for s in range(states):
            after[s] = state[s]
        wait()
        if keeps and inside:
            at = place_of_states(t, unit)
            for s in range(states):
                there.before[at + np.uint64(s * units)] = state[s]
        dot(shared, buffer, weights, lane, sums)
        if two:
            reset(x, sums, after, saved)
            shared[second + block_row * second_depth + unit] = saved[INNER]
            wait()
            dot_second(shared, second, weights, lane, sums)
        step(x, sums, there.bias, after, saved)
        counts = inside
        if masked:
            counts = thread.begin <= np.int32(t) and np.int32(t) < thread.end
        for s in range(states):
            state[s] = after[s] if counts else state[s]
        output[0] = after[0] if counts else (zero if zeroes else output[0])
        shared[next_buffer + block_row * depth + unit] = state[0]
        if keeps and inside:
            at = place_of_saved(t, unit)
            for s in range(saves):
                there.kept[at + np.uint64(s * units)] = saved[s]
        if returns and inside:
            there.sequence[place_of_output(t, unit)] = output[0]

    return one


# -- the way back -----------------------------------------------------------------


@functools.cache
def sweep_backward(cell, units, dtype, tile, way):
    """The `Sweep` of the way back, for a cell as `steps_of` takes it.

    Its kernel's arguments are ``(T, U, noise, start, stop, before, last, kept, dsequence, dlast,
    has, dfirst, dxz, dsums, magnitudes)``, of which before, kept, dsequence, dxz and dsums are
    flat. It writes dfirst, dxz and dsums, and if the `Way` measures, magnitudes.
    """
    steps = steps_of(cell, dtype)
    gates, states, saves = steps.gates, steps.states, steps.kept
    given, measures = way.returns, way.measures
    layout = _layout(steps, units, dtype, tile, _products_back(steps, units, way.noises))
    in_memory, number, zero = layout.dtype, layout.number, layout.number(0)
    threads, weight_count = layout.plan.threads, layout.plan.own
    streams = saves + states + given  # kept, the states before, dsequence
    ring_count, read = PASS * streams, _reading_back(layout, given)
    find, bring = _finding(layout, way.masked), _bringing(layout)
    whole_pass, last_pass = (
        _pass(number, streams, _ask_back(read, streams, guarded),
              functools.partial(_step_back, layout, way, guarded))
        for guarded in (False, True)
    )

    @kernel(threads, writes="dfirst dxz dsums magnitudes")
    def backward(T, U, noise, start, stop, before, last, kept, dsequence, dlast, has, dfirst, dxz,
                 dsums, magnitudes):
        shared = cuda.shared.array(0, in_memory, ALIGNMENT)
        weights = cuda.local.array(weight_count, number, ALIGNMENT)
        ring = cuda.local.array(ring_count, number, ALIGNMENT)
        later = cuda.local.array(states, number, ALIGNMENT)
        dstate = cuda.local.array(states, number, ALIGNMENT)
        dsum = cuda.local.array(gates, number, ALIGNMENT)
        dh = cuda.local.array(1, number, ALIGNMENT)
        carried = cuda.local.array(1, number, ALIGNMENT)
        magnitude = cuda.local.array(1, number, ALIGNMENT)
        thread = find(T, start, stop, last.shape[1])
        row, unit = thread.row, thread.unit
        bring(U, noise, thread, weights, shared)
        for s in range(states):
            dstate[s] = dlast[s][row, unit] if has[s] else zero
            later[s] = last[s, row, unit]
        for g in range(gates):
            dsum[g] = zero
        carried[0] = magnitude[0] = dh[0] = zero
        from_step = row * T
        own_before = before[from_step * states * units :]
        own_kept = kept[from_step * saves * units :]
        own_dsequence = dsequence[from_step * units if given else 0 :]
        for i in range(PASS):
            for s in range(streams):
                ring[i * streams + s] = zero
            if i < T:
                read(T - 1 - i, unit, own_before, own_kept, own_dsequence, ring, i * streams)
        cuda.syncthreads()
        back = Back(
            thread, shared, own_before, own_kept, own_dsequence,
            dxz[from_step * gates * units :], dsums[from_step * gates * units :],
            weights, ring, later, dsum, dstate, dh, carried, magnitude,
        )
        t = T - 1
        while t + 1 >= 2 * PASS:
            whole_pass(t, back)
            t -= PASS
        while t >= 0:
            last_pass(t, back)
            t -= PASS
        for s in range(states):
            dfirst[s, row, unit] = dstate[s]
        if measures:
            magnitudes[row, unit] = magnitude[0]

    return Sweep(backward, threads, tile.rows, layout.plan.bytes)


def _products_back(steps, units, noises):
    """As `_products_there`, of the gradients of the sums that are made of h and of r h."""
    sizes = sweep_tiles.products_back(units, steps.gates, steps.direct)
    return [
        Product(*of, _weight_back(units, noises, gate), 0)
        for of, gate in zip(sizes, (0, steps.direct), strict=True)
    ]


def _weight_back(units, noises, gate):
    """As `_weight_there`; the vectors have the gates from ``gate`` on, one after the other."""

    @device_function
    def element(U, noise, row, q, o, unit):
        w = U[unit, gate * units + q]
        if noises:
            w *= noise[gate + q // units if noises > 1 else 0, row, unit]
        return w

    return element


def _reading_back(layout, given):
    """The device function ``(t, unit, before, kept, dsequence, ring, at)`` that asks for what step
    t reads: ``ring[at:]`` gets what was kept, the states before it, and the gradient of its output
    if it is ``given``."""
    units, states, saves = layout.units, layout.steps.states, layout.steps.kept
    place_of_saved, place_of_states, place_of_output = (
        _place(units, count) for count in (saves, states, 1)
    )

    @device_function
    def read(t, unit, before, kept, dsequence, ring, at):
        place = place_of_saved(t, unit)
        for s in range(saves):
            ring[at + s] = kept[place + np.uint64(s * units)]
        place = place_of_states(t, unit)
        for s in range(states):
            ring[at + saves + s] = before[place + np.uint64(s * units)]
        if given:
            ring[at + saves + states] = dsequence[place_of_output(t, unit)]

    return read


def _ask_back(read, streams, guarded):
    """As `_ask_there`, on the way back; ``read`` asks for the ``streams`` numbers of a step."""

    @device_function
    def ask(first, back):
        for j in range(PASS):
            later = first - PASS - j
            later = max(later, 0) if guarded else later
            read(later, back.thread.unit, back.before, back.kept, back.dsequence, back.ring,
                 j * streams)

    return ask


def _step_back(layout, way, guarded, j):
    """As `_step_there`, on the way back: step j of a pass is ``first - j``."""
    steps, number, zero, units = layout.steps, layout.number, layout.number(0), layout.units
    gates, states, saves, direct = steps.gates, steps.states, steps.kept, steps.direct
    step, reset, separate = steps.backward, steps.reset_backward, steps.separate
    two, (dot, dot_second), wait = steps.two_products, layout.dots, barrier(layout.plan.threads)
    buffer, second, (depth, second_depth) = layout.buffer(j), layout.second, layout.plan.depths
    masked, given, measures = way.masked, way.returns, way.measures
    repeats = masked and given and not way.zeroes
    now_from, saved_count = j * (saves + states + given), max(saves, 1)
    place_of = _place(units, gates)

    @device_function
    def one(first, now, back):
        thread, shared, weights = back.thread, back.shared, back.weights
        later, dsum, dstate, dh = back.later, back.dsum, back.dstate, back.dh
        lane, unit, block_row = thread.lane, thread.unit, thread.block_row
        saved = cuda.local.array(saved_count, number, ALIGNMENT)
        earlier = cuda.local.array(states, number, ALIGNMENT)
        dearlier = cuda.local.array(states, number, ALIGNMENT)
        dx = cuda.local.array(gates, number, ALIGNMENT)
        t = first - j
        inside = not guarded or t >= 0
        counts = inside
        if masked:
            counts = thread.begin <= np.int32(t) and np.int32(t) < thread.end
        for s in range(saves):
            saved[s] = now[now_from + s]
        for s in range(states):
            earlier[s] = now[now_from + saves + s]
            dearlier[s] = dstate[s]
        if given:
            total = now[now_from + saves + states]
            if repeats:
                total += back.carried[0]
                back.carried[0] = zero if counts else total
            dearlier[0] += total
        step(saved, earlier, later, dearlier, dx, dsum)
        if two:
            shared[second + block_row * second_depth + unit] = dsum[direct] if counts else zero
            wait()
            dot_second(shared, second, weights, lane, dh)
            reset(saved, earlier, dh[0], dearlier, dx, dsum)
        for g in range(gates):
            dx[g] = dx[g] if counts else zero
            dsum[g] = dsum[g] if counts else zero
            if measures:
                back.magnitude[0] += abs(dx[g])
        for g in range(direct):
            shared[buffer + block_row * depth + g * units + unit] = dsum[g]
        wait()
        dot(shared, buffer, weights, lane, dh)
        dearlier[0] += dh[0]
        for s in range(states):
            dstate[s] = dearlier[s] if counts else dstate[s]
            later[s] = earlier[s]
        if inside:
            at = place_of(t, unit)
            for g in range(gates):
                back.dxz[at + np.uint64(g * units)] = dx[g]
                if separate:
                    back.dsums[at + np.uint64(g * units)] = dsum[g]

    return one


# -- what both share --------------------------------------------------------------


class Layout(NamedTuple):
    """What a kernel is made from, and where the vectors of its block lie in shared memory."""

    units: int
    dtype: np.dtype
    steps: Steps
    plan: sweep_tiles.Plan
    loads: tuple  # for each product, as `multiplication` has it
    dots: tuple

    @property
    def number(self):
        """The type of a number in a kernel."""
        return self.dtype.type

    def buffer(self, step):
        """Where the vectors of a step's first product begin: two buffers take turns."""
        return self.plan.shown + step % 2 * self.plan.tile.rows * self.plan.depths[0]

    @property
    def second(self):
        """Where those of the second product begin."""
        return self.plan.shown + 2 * self.plan.tile.rows * self.plan.depths[0]

    @property
    def end(self):
        """Where they end."""
        return self.second + self.plan.tile.rows * self.plan.depths[1]


def _layout(steps, units, dtype, tile, products):
    """The `Layout` of two `Product`."""
    plan = sweep_tiles.plan(units, dtype, tile, [(p.length, p.outputs) for p in products])
    loads, dots = zip(*(
        multiplication(product, units, plan, part, depth, dtype)
        for product, part, depth in zip(products, plan.slices, plan.depths, strict=True)
    ), strict=True)
    return Layout(units, np.dtype(dtype), steps, plan, loads, dots)


def _finding(layout, masked):
    """The device function ``(T, start, stop, rows)`` that finds out which `Thread` this is."""
    tile = layout.plan.tile
    places, rows_of_block = thread_places(tile, layout.units), tile.rows

    @device_function
    def find(T, start, stop, rows):
        lane, first_unit, unit, block_row = places()
        # Threads beyond the last row do the same as those that have it.
        row = min(cuda.blockIdx.x * rows_of_block + block_row, rows - 1)
        begin, end = bounds(row, rows, T, start, stop, masked)
        return Thread(lane, first_unit, unit, row, block_row, np.int32(begin), np.int32(end))

    return find


def _bringing(layout):
    """The device function ``(U, noise, thread, weights, shared)`` that brings a thread's weights,
    and makes all vectors zero, as they must be beyond their ends."""
    (load, load_second), zero, threads = layout.loads, layout.number(0), layout.plan.threads
    vectors_from, vectors_end = layout.plan.shown, layout.end

    @device_function
    def bring(U, noise, thread, weights, shared):
        row, lane, first_unit = thread.row, thread.lane, thread.first_unit
        load(U, noise, row, lane, first_unit, weights, shared)
        load_second(U, noise, row, lane, first_unit, weights, shared)
        for i in range(vectors_from + cuda.threadIdx.x, vectors_end, threads):
            shared[i] = zero

    return bring


def _pass(number, count, ask, step):
    """The device function ``(first, has)`` of a pass that begins at step ``first``; ``has`` is
    `There` or `Back`.

    It takes what its steps read, ``count`` numbers for each, out of the ring, has ``ask`` ask for
    that of the next pass, and carries out the steps, whose device functions ``step(j)`` makes.
    """
    ring_count, steps_in_turn = PASS * count, _in_turn(step, PASS)

    @device_function
    def go(first, has):
        now = cuda.local.array(ring_count, number, ALIGNMENT)
        for i in range(ring_count):
            now[i] = has.ring[i]
        ask(first, has)
        steps_in_turn(first, now, has)

    return go


def _in_turn(make, count):
    """The device function that calls those of ``make(0)``, ..., ``make(count - 1)``, all with the
    arguments of the steps below: a loop, unrolled, for registers have no index."""

    def from_(j):
        this = make(j)
        if j + 1 == count:
            return this
        rest = from_(j + 1)

        @device_function
        def both(first, now, has):
            this(first, now, has)
            rest(first, now, has)

        return both

    return from_(0)


def _place(units, count):
    """The device function ``(step, unit)``: where the first of ``count`` numbers lies that a unit
    has at each step of a row; the next one is ``units`` further on.

    Of 64 bits without a sign: then each of these places is a constant beyond the first.
    """
    width = np.uint64(count * units)

    @device_function
    def place(step, unit):
        return np.uint64(step) * width + np.uint64(unit)

    return place
