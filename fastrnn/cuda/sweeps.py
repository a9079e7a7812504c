"""The sweeps of recurrent layers on the GPU: chooses the kernels, makes room, and calls them.

`sweep_forward` and `sweep_backward` compute what `fastrnn.engines.base.Engine.recurrent` and
`recurrent_backward` ask for, on arrays of Numba that lie on the device. There are two ways, and the
size of U decides:

- Where it fits a multiprocessor's shared memory, the whole sequence is one launch
  (`fastrnn.cuda.kernels.sweep`).
- Otherwise each step is a product and a kernel (`fastrnn.cuda.kernels.stepwise`).

The gradient of U is a product over all steps afterwards. Every sum has a fixed order: the same call
gives the same bits.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from fastrnn.activations import KERNELS_BY_OUTPUT
from fastrnn.cells import CellSpec
from fastrnn.cuda import arrays, discovery, launches, matmul, memory, stream
from fastrnn.cuda.sweep_tiles import cycles, plan, products_back, products_there, tiles_of
from fastrnn.cuda.tiles import length_of_parts
from fastrnn.values import RowGradient

__all__ = ["LookedUp", "Tape", "look_up", "sweep_backward", "sweep_forward"]

# Bytes of shared memory that a block may have, in the simulator: as on an H200.
SIMULATED_SHARED = 227 * 1024
GROUPS = 1, 2, 4  # rows in a block, for more than a warp's units
# Terms that one thread adds up; longer sums are put together of such parts.
RUN = 64
# Blocks that the product over all steps is to have, and steps that a part of it has at least.
GRADIENT_BLOCKS, GRADIENT_STEPS = 1024, 32
# Steps of which a thread sums magnitudes: then rounding leaves out less than there is room for.
MEASURED = 1 << 22


class LookedUp(NamedTuple):
    """Which row of a table each step takes, and the steps of each row.

    Attributes
    ----------
    ids : int32 array of shape (B, T), on the device
    rows : int32 array of shape (n,), on the host, or None
        The rows that occur, ascending. None, like all below: nobody looked, and the way back gives
        the gradients of the steps, not of the rows.
    order : int32 array of shape (B * T,), on the device
        The steps, flat, by their rows, those of one row in ascending order.
    ends : int32 array of shape (p + 1,), on the device
        Where in it runs of steps begin and end: of one row each, and at most `RUN` long.
    row_ends : int32 array of shape (n + 1,), on the device
        Where among the runs those of each row begin and end.
    """

    ids: Any
    rows: Any = None
    order: Any = None
    ends: Any = None
    row_ends: Any = None


class Tape(NamedTuple):
    """What `sweep_backward` needs of a `sweep_forward`."""

    cell: CellSpec
    steps: int
    looked_up: LookedUp | None
    start: Any
    stop: Any
    noise: Any
    biased: bool
    zeroes: bool
    before: Any  # (B, T, S * H), the states before each step
    last: Any  # (S, B, H)
    kept: Any  # (B, T, K * H)


def look_up(ids, rows):
    """The `LookedUp` of ids on the host, checked; made once for a batch.

    Parameters
    ----------
    ids : int array of shape (B, T), on the host
    rows : int
        How many rows the table has.

    Raises
    ------
    IndexError
        If an id is negative or not below ``rows``.

    Examples
    --------
    >>> import numpy as np
    >>> found = look_up(np.array([[3, 1], [1, 3]]), rows=5)
    >>> found.rows, found.order.copy_to_host()
    (array([1, 3], dtype=int32), array([1, 2, 0, 3], dtype=int32))
    """
    ids = np.asarray(ids)
    bad = (ids < 0) | (ids >= rows)
    if bad.any():
        raise IndexError(
            f"token id {ids[bad][0]} is outside the table: expected ids from 0 to {rows - 1}."
        )
    # One sort of (id, step) pairs as numbers, which are all different: faster than a stable sort.
    shift = max(ids.size - 1, 0).bit_length()
    pairs = (ids.astype(np.int64).ravel() << shift) | np.arange(ids.size)
    pairs.sort()
    sorted_ids, order = pairs >> shift, pairs & ((1 << shift) - 1)
    first = np.flatnonzero(np.diff(sorted_ids, prepend=-1))
    runs = -(-np.diff(first, append=ids.size) // RUN)
    row_ends = np.concatenate([[0], np.cumsum(runs)])
    within = np.arange(row_ends[-1]) - np.repeat(row_ends[:-1], runs)
    ends = np.append(np.repeat(first, runs) + RUN * within, ids.size)
    parts = [ids.ravel(), order, ends, row_ends]
    on_device = stream.sent(np.concatenate(parts).astype(np.int32))  # one copy for all
    ids_there, order, ends, row_ends = (
        on_device[end - len(part) : end]
        for part, end in zip(parts, np.cumsum([len(part) for part in parts]), strict=True)
    )
    return LookedUp(
        ids_there.reshape(ids.shape), sorted_ids[first].astype(np.int32), order, ends, row_ends
    )


def sweep_forward(cell, xz, U, states=None, start=None, stop=None, bias=None, noise=None,
                  looked_up=None, returns=False, keeps=True, zeroes=False, new=None):
    """Carry the state of a cell through all steps of all rows.

    All arrays lie on the device, C-contiguous, and have the float type of ``U``; the call returns
    before anything is computed.

    Parameters
    ----------
    cell : `fastrnn.cells.CellSpec`
        With activations of `fastrnn.activations.KERNELS_BY_OUTPUT`.
    xz : array of shape (B, T, G * H), or with ``looked_up`` a table (n, G * H)
    U : array of shape (H, G * H)
    states : list of arrays of shape (B, H), or None for zeros
    start, stop : int64 arrays of shape (B,), or None where every step counts
        The steps of each row that count: start <= t < stop.
    bias : array of shape (H,), optional
        Of a GRU with ``reset_after``, inside the reset.
    noise : array of shape (1, B, H) or (G, B, H), optional
        Factors of the state on its way into U.
    looked_up : `LookedUp`, optional
        Which row of the table each step takes.
    returns : bool
        Whether the output of every step is wanted.
    keeps : bool
        Keep what the way back needs.
    zeroes : bool
        Zeros as output of steps that do not count, instead of the output before them.
    new : callable, optional
        ``new(shape, dtype)`` makes an array on the device, with undefined contents.

    Returns
    -------
    sequence : array of shape (B, T, H), or None
    states : list of arrays of shape (B, H)
    tape : `Tape`, or None unless ``keeps``

    Raises
    ------
    ValueError
        If an array has another shape or type than expected, or an activation is not known.

    Examples
    --------
    >>> import numpy as np
    >>> from numba import cuda
    >>> from fastrnn.cells import CellSpec
    >>> xz, U = (cuda.to_device(a) for a in (np.ones((1, 3, 1)), np.ones((1, 1))))
    >>> sequence, states, tape = sweep_forward(
    ...     CellSpec("simple_rnn", activation="linear"), xz, U, returns=True)
    >>> sequence.copy_to_host().ravel()
    array([1., 2., 3.])
    """
    problem = _Problem(cell, U, xz, looked_up, start, stop, noise, new)
    _check_forward(problem, xz, states, bias, noise)
    way = problem.way(
        looks_up=looked_up is not None, keeps=bool(keeps), returns=bool(returns),
        zeroes=bool(zeroes),
    )
    T, H, tiles = problem.steps, problem.units, problem.on_chip()
    ids = problem.absent(2, np.int32) if looked_up is None else looked_up.ids
    inner = problem.optional(bias, axes=1)
    first = problem.first_states(states)
    written = _written(problem, way)
    if tiles is not None:
        from fastrnn.cuda.kernels import sweep

        _launch(
            problem, sweep.sweep_forward(cell, H, problem.dtype.name, tiles.there, way), T,
            flat(xz), flat(ids), U, *inner, problem.noise.array, problem.mask.start,
            problem.mask.stop, *first, flat(written.before), written.last, flat(written.kept),
            flat(written.sequence),
        )
    else:
        inputs = xz if way.looks_up else xz.reshape(problem.rows * T, xz.shape[2])
        _forward_by_steps(problem, way, inputs, ids, U, inner, first, written)
    tape = Tape(
        cell, T, looked_up, start, stop, noise, inner.given, bool(zeroes), written.before,
        written.last, written.kept,
    )
    sequence = written.sequence if way.returns else None
    return sequence, _each(problem, written.last), tape if way.keeps else None


def sweep_backward(tape, U, dsequence=None, dstates=None, dU=None, dbias=None, need_dxz=True,
                   measures=False, new=None):
    """Backpropagation through time.

    Parameters
    ----------
    tape : `Tape`
        Of a `sweep_forward` with the same U.
    dsequence : array of shape (B, T, H), or None
    dstates : list of arrays of shape (B, H), or None, also in each place
    dU : array of shape (H, G * H), or None
        Added to.
    dbias : array of shape (H,), or None
        Added to, where there was a bias.
    need_dxz : bool
    measures : bool
        Sum the absolute values of dxz on the way.
    new : as in `sweep_forward`

    Returns
    -------
    dxz : array of shape (B, T, G * H), 0 at steps that do not count; or None unless ``need_dxz``
        Of a table whose `LookedUp` has rows, the `fastrnn.values.RowGradient` (n, G * H), with its
        rows on the host.
    dstates : list of arrays of shape (B, H)
        Gradients of the initial states.
    magnitudes : array of shape (B, H), or None
        Numbers whose sum is that of the absolute values of dxz. None unless the sweep ``measures``,
        or where it cannot: of steps that are launches of their own, or of more than `MEASURED`.
    """
    cell = tape.cell
    problem = _Problem(
        cell, U, tape.before, tape.looked_up, tape.start, tape.stop, tape.noise, new
    )
    _check_backward(problem, dsequence, dstates, dU, dbias)
    B, T, H, dtype = problem.rows, problem.steps, problem.units, problem.dtype
    make, tiles = problem.new, problem.on_chip()
    measures = bool(measures) and tiles is not None and T <= MEASURED
    way = problem.way(returns=dsequence is not None, zeroes=tape.zeroes, measures=measures)
    dxz = make((B, T, cell.gates * H), dtype)
    dsums = make(dxz.shape, dtype) if problem.separate else dxz
    dfirst = make((cell.states, B, H), dtype)
    magnitudes = make((B, H), dtype) if way.measures else None
    dlast = problem.last_gradients(dstates)
    dy = problem.optional(dsequence, axes=3)
    if tiles is not None:
        from fastrnn.cuda.kernels import sweep

        _launch(
            problem, sweep.sweep_backward(cell, H, dtype.name, tiles.back, way), T, U,
            problem.noise.array, problem.mask.start, problem.mask.stop, flat(tape.before),
            tape.last, flat(tape.kept), flat(dy.array), *dlast, dfirst, flat(dxz), flat(dsums),
            problem.optional(magnitudes, axes=2).array,
        )
    else:
        _backward_by_steps(problem, way, tape, U, dy, dlast, dfirst, dxz, dsums)
    if dU is not None:
        _add_dU(problem, tape, dsums, dU)
    if dbias is not None and tape.biased:
        by_step = dsums.reshape(B * T, cell.gates * H)
        _add_total(problem, by_step, 2 * H, dbias.reshape(1, H))
    if need_dxz and tape.looked_up is not None and tape.looked_up.rows is not None:
        dxz = _by_rows(problem, tape.looked_up, dxz)
    return (dxz if need_dxz else None), _each(problem, dfirst), magnitudes


# -- what both ways share ---------------------------------------------------------


class Optional(NamedTuple):
    """An array that need not be given, as kernels take it."""

    array: Any  # or what stands for it
    given: bool


class States(NamedTuple):
    """An array (B, H) for each state, as kernels take them."""

    arrays: tuple  # or what stands for them
    given: Any  # whether they are; of gradients, for each of them


class Mask(NamedTuple):
    """Which steps of each row count, as kernels take it."""

    start: Any
    stop: Any
    given: bool  # otherwise all of them do


class Noise(NamedTuple):
    """Factors of the state on its way into U, as kernels take them."""

    array: Any
    count: int  # none, one for all gates, or more: one for each


class Tiles(NamedTuple):
    """How a sweep is dealt out to threads."""

    there: Any
    back: Any


class _Problem:
    """The sizes of a sweep, and what it is given, as kernels take it."""

    def __init__(self, cell, U, stepped, looked_up, start, stop, noise, new):
        from fastrnn.cuda.kernels.cells import steps_of

        _check_layer(cell, U, stepped if looked_up is None else None)
        self.cell, self.dtype = cell, np.dtype(U.dtype)
        self.new = new or memory.allocated
        self.units = U.shape[0]
        leading = stepped if looked_up is None else looked_up.ids
        self.rows, self.steps = leading.shape[:2]
        self.step = steps_of(cell, self.dtype.name)
        self.kept, self.separate = self.step.kept, self.step.separate
        if start is None:
            self.mask = Mask(*(self.absent(1, np.int64),) * 2, False)
        else:
            self.mask = Mask(start, stop, True)
        self.noise = Noise(self.optional(noise, 3).array, 0 if noise is None else noise.shape[0])
        _check("U", U, (self.units, cell.gates * self.units), self.dtype)
        if self.mask.given:
            _check("start", start, (self.rows,), np.int64)
            _check("stop", stop, (self.rows,), np.int64)

    def absent(self, axes, dtype=None):
        """An array to stand for one that there is not."""
        return launches.nothing(axes, np.dtype(dtype or self.dtype).name)

    def optional(self, array, axes):
        """The `Optional` of an array or None."""
        return Optional(self.absent(axes) if array is None else array, array is not None)

    def first_states(self, states):
        """The `States` before the first step: all of them are given, or None."""
        if states is None:
            return States((self.absent(2),) * self.cell.states, False)
        return States(tuple(states), True)

    def last_gradients(self, dstates):
        """The `States` of gradients of the last ones: each of them may be None, or all."""
        each = [self.optional(d, axes=2) for d in dstates or [None] * self.cell.states]
        return States(tuple(d.array for d in each), tuple(d.given for d in each))

    def way(self, looks_up=False, keeps=False, returns=False, zeroes=False, measures=False):
        """The `fastrnn.cuda.kernels.sweep.Way` with what is asked for; what makes no difference is
        none."""
        from fastrnn.cuda.kernels.sweep import Way

        masked = self.mask.given
        zeroes = zeroes and masked and returns
        return Way(looks_up, masked, self.noise.count, keeps, returns, zeroes, measures)

    def on_chip(self):
        """The `Tiles` with which U fits on chip; None if it does not.

        Of those that there are, the ones that take the least by count.
        """
        found = _tiles(
            self.units, self.dtype.name, self.cell.gates, self.step.direct, self.rows,
            (1,) if self.noise.count else GROUPS, arrays.multiprocessors(), shared_limit(),
        )
        return None if None in found else found


class Written(NamedTuple):
    """What a sweep there writes to, as kernels take it."""

    before: Any
    last: Any
    kept: Any
    sequence: Any


def _written(problem, way):
    """The `Written` for a sweep: what nobody asks for has none."""
    B, T, H, S, K = problem.rows, problem.steps, problem.units, problem.cell.states, problem.kept
    make, absent, dtype = problem.new, problem.absent, problem.dtype
    return Written(
        last=make((S, B, H), dtype),
        before=make((B, T, S * H), dtype) if way.keeps else absent(3),
        kept=make((B, T, K * H), dtype) if way.keeps and K else absent(3),
        sequence=make((B, T, H), dtype) if way.returns else absent(3),
    )


def shared_limit():
    """Bytes of shared memory that a block may have on the current device, if it asks for them."""
    if discovery.simulated():
        return SIMULATED_SHARED
    from numba import cuda

    return cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN


@functools.lru_cache(maxsize=256)
def _tiles(units, dtype, gates, direct, rows, groups, multiprocessors, limit):
    """The best `Tiles`, each a `fastrnn.cuda.sweep_tiles.Tile`; None where none fits."""
    best = []
    for products in products_there(units, gates, direct), products_back(units, gates, direct):
        taken = {}
        for tile in tiles_of(units, groups, max(outputs for _, outputs in products)):
            planned = plan(units, dtype, tile, products)
            taken[tile] = cycles(planned, dtype, products, gates, rows, multiprocessors, limit)
        fitting = [tile for tile, cost in taken.items() if cost is not None]
        best.append(min(fitting, key=taken.get, default=None))
    return Tiles(*best)


def _each(problem, states):
    """The parts (B, H) of an array (S, B, H)."""
    S, *shape = states.shape
    if not states.size:  # Numba takes no part of such
        return [problem.new(tuple(shape), problem.dtype) for _ in range(S)]
    return [states[s] for s in range(S)]


def flat(array):
    """An array of Numba as one of one axis; made once, for it takes some microseconds."""
    if array.ndim == 1:
        return array
    found = None if discovery.simulated() else getattr(array, "_fastrnn_flat", None)
    if found is None:
        found = array.reshape(array.size)
        if not discovery.simulated():
            array._fastrnn_flat = found
    return found


# -- checks -----------------------------------------------------------------------


def _check_layer(cell, U, xz):
    """Check what a sweep's sizes are found by, and the activations."""
    if len(U.shape) != 2:
        raise ValueError(f"U: expected shape (units, gates * units); got {tuple(U.shape)}.")
    if xz is not None and len(xz.shape) != 3:
        raise ValueError(
            f"xz: expected shape (batch, steps, gates * units); got {tuple(xz.shape)}."
        )
    for name in ("activation", "recurrent_activation"):
        if getattr(cell, name) not in KERNELS_BY_OUTPUT:
            raise ValueError(
                f"{name}: expected one of {', '.join(sorted(KERNELS_BY_OUTPUT))}; got "
                f"{getattr(cell, name)!r}."
            )


def _check_forward(problem, xz, states, bias, noise):
    B, T, H, G = problem.rows, problem.steps, problem.units, problem.cell.gates
    whole = (B, T) if len(xz.shape) == 3 else xz.shape[:1]
    _check("xz", xz, (*whole, G * H), problem.dtype)
    for s, state in enumerate(_listed("states", states, problem.cell.states)):
        _check(f"states[{s}]", state, (B, H), problem.dtype)
    if bias is not None:
        _check("bias", bias, (H,), problem.dtype)
    if noise is not None:
        count = 1 if problem.noise.count == 1 else G
        _check("noise", noise, (count, B, H), problem.dtype)


def _check_backward(problem, dsequence, dstates, dU, dbias):
    B, T, H, G = problem.rows, problem.steps, problem.units, problem.cell.gates
    if dsequence is not None:
        _check("dsequence", dsequence, (B, T, H), problem.dtype)
    for s, state in enumerate(_listed("dstates", dstates, problem.cell.states)):
        if state is not None:
            _check(f"dstates[{s}]", state, (B, H), problem.dtype)
    if dU is not None:
        _check("dU", dU, (H, G * H), problem.dtype)
    if dbias is not None:
        _check("dbias", dbias, (H,), problem.dtype)


def _check(name, array, shape, dtype):
    """Raise ValueError unless a kernel can take an array."""
    if tuple(array.shape) != tuple(shape) or array.dtype != dtype or not array.is_c_contiguous():
        kind = "" if array.is_c_contiguous() else ", not C-contiguous"
        raise ValueError(
            f"{name}: expected a C-contiguous {np.dtype(dtype)} array of shape {tuple(shape)}; got "
            f"{array.dtype} of shape {tuple(array.shape)}{kind}."
        )


def _listed(name, states, count):
    if states is None:
        return []
    if len(states) != count:
        raise ValueError(f"{name}: expected {count} arrays; got {len(states)}.")
    return states


# -- launches ---------------------------------------------------------------------


def _launch(problem, sweep, *arguments):
    """Run a kernel of `fastrnn.cuda.kernels.sweep` over all rows."""
    blocks = math.ceil(problem.rows / sweep.rows)
    if blocks:
        launches.launch(sweep.kernel, blocks, sweep.threads, arguments, sweep.shared)


def _each_unit(problem, kernel, *arguments):
    """Run a kernel of `fastrnn.cuda.kernels.stepwise` over all units of all rows."""
    from fastrnn.cuda.kernels.target import THREADS

    launches.launch(kernel, math.ceil(problem.rows * problem.units / THREADS), THREADS, arguments)


def _product(a, b, c, trans_a=False, trans_b=False):
    """As `matmul.prepared`, of windows (array, shape, strides, offset) in elements."""
    return matmul.prepared(_window(*a), _window(*b), _window(*c), trans_a, trans_b)


def _window(array, shape, strides, offset=0):
    """The `arrays.View` of a part of an array's memory; strides and offset in elements."""
    whole = arrays.checked("array", array, on_device=True)
    size = whole.dtype.itemsize
    pointer, read_only = whole.interface["data"]
    interface = whole.interface | {
        "data": (pointer + offset * size, read_only), "shape": shape,
        "strides": tuple(stride * size for stride in strides),
    }
    return arrays.View(interface, array, shape, strides, whole.dtype)


# -- step by step -----------------------------------------------------------------


def _forward_by_steps(problem, way, xz, ids, U, bias, first, written):
    """As the kernel of `sweep.sweep_forward`, with ``written.last`` for the states under way."""
    from fastrnn.cuda.kernels.stepwise import forward_kernels

    B, T, H, G = problem.rows, problem.steps, problem.units, problem.cell.gates
    if B == 0:
        return
    direct = problem.step.direct
    kernels = forward_kernels(problem.cell, problem.dtype.name)
    P = max(problem.noise.count, 1)
    shown, sums = problem.new((P, B, H), problem.dtype), problem.new((B, G * H), problem.dtype)

    def times_U(gate, gates, slot, slots):
        """Products of shown[slot : slot + slots], which have the gates from ``gate`` on."""
        columns = gates * H // slots
        return _product(
            (shown, (slots, B, H), (B * H, H, 1), slot * B * H),
            (U, (slots, H, columns), (columns, G * H, 1), gate * H),
            (sums, (slots, B, columns), (columns, G * H, 1), gate * H),
        )

    product = times_U(0, direct, 0, min(P, direct))
    second = times_U(direct, 1, P - 1, 1) if problem.step.two_products else None

    def step(t):
        _each_unit(
            problem, kernels.step, t, T, xz, ids, way.looks_up, sums, *bias, *problem.noise,
            *problem.mask, *first, written.last, written.before, written.kept, written.sequence,
            shown, way.keeps, way.returns, way.zeroes,
        )

    step(-1)
    for t in range(T):
        product()
        if second is not None:
            _each_unit(
                problem, kernels.reset, t, T, xz, ids, way.looks_up, sums, *problem.noise,
                written.last, shown,
            )
            second()
        step(t)


def _backward_by_steps(problem, way, tape, U, dy, dlast, dfirst, dxz, dsums):
    """As the kernel of `sweep.sweep_backward`, with ``dfirst`` for the gradients under way."""
    from fastrnn.cuda.kernels.stepwise import backward_kernels

    B, T, H, G = problem.rows, problem.steps, problem.units, problem.cell.gates
    if B == 0:
        return
    direct = problem.step.direct
    kernels = backward_kernels(problem.cell, problem.dtype.name)
    slots = min(max(problem.noise.count, 1), direct)
    make, dtype = problem.new, problem.dtype
    dshown, dinner = make((slots, B, H), dtype), make((B, H), dtype)
    carried, dnow = make((B, H), dtype), make((B, G * H), dtype)

    def times_U(gate, gates, target, slots):
        columns = gates * H // slots
        return _product(
            (dnow, (slots, B, columns), (columns, G * H, 1), gate * H),
            (U, (slots, H, columns), (columns, G * H, 1), gate * H),
            (target, (slots, B, H), (B * H, H, 1)), trans_b=True,
        )

    product = times_U(0, direct, dshown, slots)
    second = times_U(direct, 1, dinner, 1) if problem.step.two_products else None

    def step(t):
        _each_unit(
            problem, kernels.step, t, T, *problem.noise, *problem.mask, tape.before, tape.last,
            tape.kept, *dy, way.zeroes, *dlast, dfirst, carried, dshown, dnow, dxz, dsums,
        )

    for t in reversed(range(T)):
        step(t)
        if second is not None:
            second()
            _each_unit(
                problem, kernels.reset, t, T, *problem.noise, *problem.mask, tape.before, tape.kept,
                dinner, dfirst, dnow, dxz,
            )
        product()
    step(-1)


# -- after the sweep --------------------------------------------------------------


def _add_dU(problem, tape, dsums, dU):
    """Add the sum over all steps of h^T dsums to dU: of h, or r h, as U got it at each step."""
    steps, H, G = problem.rows * problem.steps, problem.units, problem.cell.gates
    if steps == 0:
        return
    length = max(_part_of_steps(problem, steps), 1)
    whole, rest = divmod(steps, length)
    parts = problem.new((whole + bool(rest), H * G * H), problem.dtype)
    for array, width, column, gate, gates in _factors(problem, tape):
        for part, count, k in ((0, whole, length), (whole, 1, rest)):
            at = part * length
            if count and k:
                _product(
                    (array, (count, k, H), (length * width, width, 1), at * width + column),
                    (dsums, (count, k, gates * H), (length * G * H, G * H, 1),
                     (at * G + gate) * H),
                    (parts, (count, H, gates * H), (H * G * H, G * H, 1),
                     part * H * G * H + gate * H),
                    trans_a=True,
                )()
    _add_total(problem, parts, 0, dU.reshape(1, H * G * H))


def _part_of_steps(problem, steps):
    """How many steps a part of the product over all of them has, by the shape alone."""
    H, G = problem.units, problem.cell.gates
    tiles = math.ceil(H / 32) * math.ceil(G * H / 32)
    least = max(math.ceil(steps * tiles / GRADIENT_BLOCKS), GRADIENT_STEPS)
    return length_of_parts(steps, least)


def _factors(problem, tape):
    """What U multiplied at each step: (array, its width, from which column on, gate, gates)."""
    from fastrnn.cuda.kernels.cells import INNER

    H, G, direct = problem.units, problem.cell.gates, problem.step.direct
    wholes = [(tape.before, problem.cell.states * H, 0, 0, direct)]
    if problem.step.two_products:
        wholes.append((tape.kept, problem.kept * H, INNER * H, direct, G - direct))
    if not problem.noise.count:
        return wholes
    return [part for whole in wholes for part in _dropped(problem, tape.noise, *whole)]


def _dropped(problem, noise, array, width, column, gate, gates):
    """Those factors with noise: once for all gates, or for each."""
    from fastrnn.cuda.kernels.sums import drop_kernel
    from fastrnn.cuda.kernels.target import THREADS

    steps, H = problem.rows * problem.steps, problem.units
    if problem.noise.count > 1:
        noise = noise[gate : gate + gates]
    P = noise.shape[0]
    target = problem.new((P, steps, H), problem.dtype)
    kernel, blocks = drop_kernel(problem.dtype.name), math.ceil(steps * H / THREADS)
    arguments = array.reshape(steps, width), column, noise, problem.steps, target
    launches.launch(kernel, blocks, THREADS, arguments)
    each = gates // P
    return [(target[p], H, 0, gate + p * each, each) for p in range(P)]


def _add_total(problem, values, column, target):
    """Add the sum of all rows of ``values[:, column:]`` to target (1, M), in a fixed order."""
    while values.shape[0] > RUN:
        parts = problem.new((math.ceil(values.shape[0] / RUN), target.shape[1]), problem.dtype)
        _sum_runs(problem, values, column, parts)
        values, column = parts, 0
    if values.shape[0]:
        _sum_runs(problem, values, column, target, adds=True)


def _by_rows(problem, looked_up, dxz):
    """The `RowGradient` of the table that the steps took their inputs from."""
    flat = dxz.reshape(problem.rows * problem.steps, dxz.shape[2])
    order, ends, row_ends = looked_up.order, looked_up.ends, looked_up.row_ends
    parts = problem.new((ends.shape[0] - 1, flat.shape[1]), problem.dtype)
    _sum_runs(problem, flat, 0, parts, ends, order)
    if parts.shape[0] == len(looked_up.rows):  # no row has more than one run
        return RowGradient(looked_up.rows, parts)
    values = problem.new((len(looked_up.rows), flat.shape[1]), problem.dtype)
    _sum_runs(problem, parts, 0, values, row_ends)
    return RowGradient(looked_up.rows, values)


def _sum_runs(problem, values, column, target, ends=None, order=None, adds=False):
    """Sum runs of rows of ``values[:, column:]``, of the rows' ``order``, into those of target."""
    from fastrnn.cuda.kernels.sums import sum_kernel
    from fastrnn.cuda.kernels.target import THREADS

    runs, columns = target.shape
    across = math.ceil(columns / THREADS)
    none = problem.absent(1, np.int32)
    if runs:
        launches.launch(sum_kernel(problem.dtype.name), runs * across, THREADS, (
            across, values, column, none if order is None else order, order is not None,
            none if ends is None else ends, ends is not None, RUN, target, adds,
        ))
