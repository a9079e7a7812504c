"""The CPU engine: allocates, and calls the C kernels, which cut up the batch and use the threads.

A batch is cut into shards of rows by its shape alone, so no result depends on the number of
threads.
What the kernels do not have goes to a program (`rare`), or to the reference engine.

Letters: B rows in a batch, T steps, D input width, H units, M columns of a projection,
V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from fastrnn import _core
from fastrnn.activations import KERNELS_BY_INPUT, KERNELS_BY_OUTPUT
from fastrnn.config import epsilon
from fastrnn.engines import rare
from fastrnn.engines.reference import ReferenceEngine
from fastrnn.rules import RULES
from fastrnn.values import Lookup, RowGradient

__all__ = ["CPUEngine"]

KERNEL_ACTIVATIONS = KERNELS_BY_OUTPUT | KERNELS_BY_INPUT
# Multiplications that take as long as to find out whether an id occurs, and where.
COUNTED = 64
# Weights beyond so many elements do not stay in a core's own cache, and are better read once.
# Processors with AVX-512 have larger caches, and their tiles read a weight for eight rows.
NEAR_WEIGHTS, NEAR_WEIGHTS_AVX512 = 1 << 19, 1 << 20
# Weights of at most so many elements are summed by each walk for itself.
NEAR_SUMS = 1 << 16
# An array of fewer bytes leaves its memory with NumPy for the next. Not in debug builds, whose own
# memory shows what is read before it is written.
SMALL = 0 if _core.build_info()["build"] == "debug" else 1024
KERNEL_LOSSES = frozenset({"binary_crossentropy", "mean_squared_error", "mean_absolute_error"})
# From logits: of probabilities they are not met where they would take time.
CLASS_LOSSES = frozenset({"categorical_crossentropy", "sparse_categorical_crossentropy"})


class StepGradient(NamedTuple):
    """dxz of a masked batch: only the steps of ``runs`` are written, all others count as zero.

    Attributes
    ----------
    values : array of shape (B, T, M)
    runs : int64 array of shape (n, 2)
        (first, count) of steps, flat over (B, T).
    """

    values: Any
    runs: Any


class Projection(NamedTuple):
    """``x @ W + b`` that a sweep makes on its way, a few steps at a time.

    Then it need not go to memory and back, which takes up to a tenth of a layer's time.

    Attributes
    ----------
    x : array of shape (B, T, D)
    W : array of shape (D, M)
    b : array of shape (M,) or None
    """

    x: Any
    W: Any
    b: Any

    @property
    def shape(self):
        return *self.x.shape[:-1], self.W.shape[1]


class ProjectedGradient(NamedTuple):
    """What `CPUEngine.recurrent_backward` returns as dxz where it went on to the projection's
    gradients: that of x."""

    dx: Any


class CPUEngine(ReferenceEngine):
    """The C kernels, over shards of rows on a pool of threads."""

    name = "cpu"

    # -- arrays ------------------------------------------------------------------------------

    def empty(self, shape, dtype):
        """An array of an np.dtype, contents undefined, in memory that is used again and again."""
        size = dtype.itemsize * math.prod(shape)
        if size < SMALL:  # for which NumPy has a store of its own, without a buffer to ask for
            return np.empty(shape, dtype)
        return np.ndarray(shape, dtype, _core.Block(size))

    def zeros(self, shape, dtype):
        a = self.empty(shape, np.dtype(dtype))
        a[...] = 0
        return a

    # -- programs ------------------------------------------------------------------------------

    runs_programs = True

    def program(self, widths, statics, code, loads, stores, carries, matrices):
        return _core.Program(widths, statics, code, loads, stores, carries, matrices)

    # -- lookups and projections ---------------------------------------------------------------

    def lookup(self, ids, table):
        count_ids(ids, len(table))  # for its check
        y = self.empty((*ids.shape, table.shape[1]), table.dtype)
        _core.gather_rows(ids, table, y)
        return y

    def lookup_backward(self, ids, dy, dtable):
        counted = count_ids(ids, len(dtable))
        values = self.empty((counted.n, dtable.shape[1]), dy.dtype)
        _core.scatter_rows(counted, dy, values)
        self.add_rows(RowGradient(rows_of(counted), values), dtable)

    def add_rows(self, gradient, dtable):
        _core.add_rows(gradient.rows, gradient.values, dtable)

    def project(self, x, W, b=None, mask=None, keep=True, for_sweep=False):
        if isinstance(x, Lookup):
            # To count many ids takes longer than to multiply all rows of a small table. Not for a
            # way back: what a row that does not occur holds, as NaN, must not reach dW.
            every = not keep and len(x.table) * W.size <= COUNTED * x.ids.size
            count = x.count or count_ids(x.ids, len(x.table), every)
            table = self.empty((count.n, W.shape[1]), W.dtype)
            _core.project(x.table, W, b, table, None, count)
            return Lookup(x.ids, table, count)
        if for_sweep and mask is None and made_on_the_way(x.shape, W.shape):
            return Projection(x, W, b)
        z = self.empty((*x.shape[:-1], W.shape[1]), W.dtype)
        _core.project(x, W, b, z, mask_runs(mask))
        return z

    def project_backward(self, x, W, dz, dW, db=None, need_dx=True):
        if isinstance(x, Lookup):
            # dz is that of the projected table's rows.
            _core.project_dW(x.table, dz.values, dW, db, None, dz.rows)
            if not need_dx:
                return None
            values = self.empty((len(dz.rows), W.shape[0]), W.dtype)
            _core.project_dx(dz.values, W, values)
            return RowGradient(dz.rows, values)
        if isinstance(dz, ProjectedGradient):
            return dz.dx if need_dx else None
        dz, runs = dz if isinstance(dz, StepGradient) else (dz, None)
        _core.project_dW(x, dz, dW, db, runs)
        if not need_dx:
            return None
        shape = (*dz.shape[:-1], W.shape[0])
        dx = self.empty(shape, W.dtype) if runs is None else self.zeros(shape, W.dtype)
        _core.project_dx(dz, W, dx, runs)
        return dx

    # -- activations ---------------------------------------------------------------------------

    def activate(self, activation, z):
        if activation == "linear":
            return z
        if activation == "softmax" and z.ndim and z.shape[-1]:
            y, columns = self.empty(z.shape, z.dtype), z.shape[-1]
            _core.softmax(z.reshape(-1, columns), y.reshape(-1, columns))
            return y
        if activation not in KERNEL_ACTIVATIONS:
            return super().activate(activation, z)
        y = self.empty(z.shape, z.dtype)
        _core.activate(activation, z, y)
        return y

    def activate_backward(self, activation, z, y, dy):
        if activation == "linear":
            return dy
        if activation == "softmax" and y.ndim and y.shape[-1]:
            dz, columns = self.empty(y.shape, y.dtype), y.shape[-1]
            _core.softmax_backward(*(a.reshape(-1, columns) for a in (y, dy, dz)))
            return dz
        if activation not in KERNEL_ACTIVATIONS:
            return super().activate_backward(activation, z, y, dy)
        dz = self.empty(y.shape, y.dtype)
        _core.activate_backward(activation, z, y, dy, dz)
        return dz

    # -- recurrence ----------------------------------------------------------------------------

    def recurrent(self, cell, xz, U, states=None, mask=None, return_sequences=False,
                  zero_output_for_mask=False, keep=True, bias=None, noise=None):
        if not KERNELS_BY_OUTPUT.issuperset(cell[1:3]):  # activation, recurrent_activation
            return self._rare(
                cell, self._carried_out(xz), U, states, mask, return_sequences,
                zero_output_for_mask, keep, bias, noise,
            )
        rows, steps, _ = xz.shape
        units = len(U)
        ids, values = None, xz
        if isinstance(xz, Lookup):
            ids, values = xz.count, xz.table
            if ids is None:
                ids = count_ids(xz.ids, len(xz.table))
                values = xz.table[rows_of(ids)]
        y = self.empty((rows, steps, units), U.dtype) if return_sequences else None
        last = [self.empty((rows, units), U.dtype) for _ in range(cell.states)]
        start, stop = (None, None) if mask is None else (mask.start, mask.stop)
        sweep = _core.sweep_forward(
            *cell, rows, steps, values, ids, U, states, start, stop, True, y, last,
            not zero_output_for_mask, keep, bias, noise,
        )
        return y, last, sweep

    def _rare(self, cell, xz, U, states, mask, sequences, zeroes, keep, bias, noise):
        """Sweeps with activations for which there are no kernels."""
        sweep = rare.sweep_of(cell, len(U), bias is not None) if noise is None else None
        if sweep is None:
            return super().recurrent(
                cell, xz, U, states, mask, sequences, zeroes, keep, bias, noise
            )
        ids = None
        if isinstance(xz, Lookup):
            ids, xz = xz.ids, self.lookup(xz.ids, xz.table)
        return rare.forward(
            self, sweep, cell, xz, ids, U, states, mask, sequences, zeroes, keep, bias
        )

    def _carried_out(self, xz):
        """What `project` made for a sweep, as the reference engine takes it."""
        return self.project(*xz) if isinstance(xz, Projection) else whole_lookup(xz)

    def recurrent_backward(self, tape, U, dsequence, dstates, dU, need_dxz=True, dbias=None,
                           projection=None):
        if isinstance(tape, rare.RareTape):
            return rare.backward(self, tape, dsequence, dstates, dU, need_dxz, dbias)
        if not isinstance(tape, _core.Sweep):
            return super().recurrent_backward(tape, U, dsequence, dstates, dU, need_dxz, dbias)
        ids = tape.ids
        dfirst = [self.empty((tape.B, tape.H), U.dtype) for _ in range(tape.states)]
        if dstates is not None:
            dstates = [None if d is None else self.asarray(d) for d in dstates]
        if dsequence is not None:
            dsequence = self.asarray(dsequence)
        if projection is not None and ids is None and made_on_the_way_back(*projection[:2], U):
            x, W, dW, db = projection
            skipped = tape.steps < tape.B * tape.T
            dx = self.zeros(x.shape, x.dtype) if skipped else self.empty(x.shape, x.dtype)
            _core.sweep_backward(
                tape, U, dsequence, dstates, None, dfirst, dU, dbias, (x, W, dx, dW, db)
            )
            return ProjectedGradient(dx), dfirst
        steps = (tape.B, tape.T) if ids is None else (ids.n,)
        dxz = self.empty((*steps, tape.gates * tape.H), U.dtype)
        _core.sweep_backward(tape, U, dsequence, dstates, dxz, dfirst, dU, dbias)
        if ids is not None:
            return RowGradient(rows_of(ids), dxz), dfirst
        return StepGradient(dxz, np.frombuffer(tape.runs, np.int64).reshape(-1, 2)), dfirst

    def columns(self, dxz, where):
        if isinstance(dxz, StepGradient):
            return dxz._replace(values=super().columns(dxz.values, where))
        return super().columns(dxz, where)

    # -- losses ----------------------------------------------------------------------------------

    def loss(self, kind, target, output, weight, from_logits=False):
        if kind not in KERNEL_LOSSES and not (from_logits and kind in CLASS_LOSSES):
            return super().loss(kind, target, output, weight, from_logits)
        losses = self.empty((len(output),), output.dtype)
        doutput = self.empty(output.shape, output.dtype)
        _core.loss(kind, target, output, weight, losses, doutput, from_logits, epsilon())
        return losses, doutput

    # -- updates ---------------------------------------------------------------------------------

    def sum_squares(self, a):
        return _core.sum_squares(a)

    def update(self, rule, value, grad, slots, table=None, **hyper):
        if rule not in RULES:
            super().update(rule, value, grad, slots, table, **hyper)
            return
        slot_names, numbers, flag = RULES[rule]
        of_table = ()
        if table is not None:
            where, (rows, values) = table
            of_table = rows, values, where.start, (where.stop - where.start) // values.shape[1]
        _core.update(
            rule, value, grad, *map(slots.get, slot_names),
            tuple([hyper[name] for name in numbers]), bool(hyper[flag]), *of_table,
        )


def made_on_the_way(x_shape, W_shape):
    """Whether a sweep over (B, T, D) should make x W, W (D, M), by itself.

    With a walk for each thread, weights that stay near, and sums that come out the same bit by
    bit: tiles of four rows and more, and of two vectors, add the terms in one order.
    """
    (B, _, D), M = x_shape, W_shape[1]
    near = NEAR_WEIGHTS_AVX512 if _core.isa() == "avx512" else NEAR_WEIGHTS
    return (
        B % 8 == 0 and M % 32 == 0 and D * M <= near
        and _core.walks(B) >= _core.get_num_threads()
    )


def made_on_the_way_back(x, W, U):
    """Whether a sweep's way back over x (B, T, D) should take the gradients of x W by itself.

    By the shapes alone, for its sums are others: with walks for four threads at least, and weights
    of which each walk's own sums stay near.
    """
    near = 0 < W.size <= NEAR_SUMS and U.size <= NEAR_SUMS
    return x.ndim == 3 and near and _core.walks(len(x)) >= 4


def mask_runs(mask):
    """The steps that a `StepMask` keeps as runs, flat over (B, T); None for no mask."""
    if mask is None:
        return None
    first = mask.start + mask.steps * np.arange(len(mask.start))
    return np.stack([first, mask.stop - mask.start], axis=1)


def count_ids(ids, V, every=False):
    """The checked `_core.Ids` of ids of any shape; ``every``: all V as if they occurred.

    Raises
    ------
    IndexError
        If one is negative or not below V.
    """
    try:
        return _core.Ids(ids, V, every)
    except IndexError as error:
        place = np.unravel_index(error.args[1], ids.shape)
        raise IndexError(
            f"token id {ids[place]} at {tuple(map(int, place))} is outside the table: expected ids "
            f"from 0 to {V - 1} (input_dim={V})."
        ) from None


def whole_lookup(xz):
    """What `CPUEngine.project` made of a lookup, with all rows that its ids may name."""
    if not isinstance(xz, Lookup) or xz.count is None:
        return xz
    rows = rows_of(xz.count)
    table = np.zeros((rows[-1] + 1 if len(rows) else 0, xz.table.shape[1]), xz.table.dtype)
    table[rows] = xz.table
    return Lookup(xz.ids, table)


def rows_of(ids):
    """The ids that occur, ascending, int32 (n,)."""
    return np.asarray(ids.rows)
