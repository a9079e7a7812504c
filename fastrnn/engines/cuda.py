"""The CUDA engine: all arithmetic of a training step on an NVIDIA GPU.

Its arrays are `fastrnn.cuda.device_array.DeviceArray`. Every method takes arrays of the host as
well, brings them over, and gives arrays on the device; what is to be added to an array of the host
is brought back to it. What has no kernel (rare activations, recurrent layers that no sweep on the
GPU fits) is computed on the host, by the reference engine.

Ids are checked by the least and largest that came to the device with them, so that no check waits
for the GPU.

Letters: B rows in a batch, T steps, D input width, H units, G gates, V vocabulary, M columns of a
projection.
"""

from __future__ import annotations

import contextlib
import math
from typing import Any, NamedTuple

import numpy as np

from fastrnn.config import epsilon
from fastrnn.cuda import discovery, operations
from fastrnn.cuda.arrays import WIDE
from fastrnn.cuda.device_array import DTYPES, DeviceArray, empty, on_device, to_host
from fastrnn.cuda.matmul import Matrices, launch
from fastrnn.engines.reference import ReferenceEngine, check_ids
from fastrnn.values import Lookup, RowGradient

__all__ = ["CUDAEngine"]

KERNEL_ACTIVATIONS = frozenset({"relu", "tanh", "sigmoid", "hard_sigmoid"})
FLOATS = frozenset({"float32", "float64"})
MOST_UNITS = 32  # of the sweeps in `fastrnn.cuda.kernels.sweep`
# Rows of x whose products with dz one block sums, for the gradient of W.
SHARE = 512


class Sweep(NamedTuple):
    """The tape of a sweep on the GPU."""

    cell: Any
    states: DeviceArray  # (B, T + 1, S * H), before and after each step
    kept: DeviceArray
    bounds: tuple  # start and stop of the steps of each row that count
    zeroes: bool
    has_bias: bool
    ids: Any = None  # of a Lookup, with the number of rows of its table
    rows: int = 0


class WeightedSum(NamedTuple):
    """A number that is computed, on the host, when it is asked for."""

    values: Any
    weights: Any

    def __float__(self):
        values, weights = map(to_host, self)
        return float((values * weights).sum(dtype=np.float64))


class CUDAEngine(ReferenceEngine):
    """Kernels in Python, compiled by Numba.

    Raises
    ------
    RuntimeError
        If there is no GPU, or something else is missing; it says what.
    """

    name = "cuda"
    runs_ahead = True

    def __init__(self):
        discovery.require()

    # -- arrays ------------------------------------------------------------------------------------

    def asarray(self, x, dtype=None):
        if type(x) is DeviceArray and (dtype is None or x.dtype == dtype):
            return x
        x = super().asarray(to_host(x), dtype)
        return on_device(x) if x.dtype.name in DTYPES and x.ndim else x

    def zeros(self, shape, dtype):
        a = empty(shape, dtype)
        a[...] = 0
        return a

    def small_zeros(self, size, dtype):
        return self.zeros((size,), dtype)

    def to_host(self, a):
        return to_host(a)

    def staged(self, x):
        return on_device(x).with_twin(x) if x.dtype.name in DTYPES else x

    def holds(self, a):
        return type(a) is DeviceArray

    # -- lookups and projections -------------------------------------------------------------------

    def lookup(self, ids, table):
        ids, table = self._ids(ids, len(table)), self.asarray(table)
        y = empty((*ids.shape, table.shape[1]), table.dtype)
        if y.size:
            operations.gather(ids, table, y, table.shape[1])
        return y

    def lookup_backward(self, ids, dy, dtable):
        ids, dy = self._ids(ids, len(dtable)), self.asarray(dy, dtable.dtype)
        expect("dy", dy, (*ids.shape, dtable.shape[1]))
        with added_to(dtable) as target:
            operations.scatter_add(ids, dy, target, dtable.shape[1])

    def add_rows(self, gradient, dtable):
        rows, values = gradient.rows, self.asarray(gradient.values, dtable.dtype)
        expect("values", values, (len(rows), dtable.shape[1]))
        with added_to(dtable) as target:
            if len(rows) == len(dtable):  # all of them
                target += values
            elif len(rows):
                rows = self._ids(rows, len(dtable))
                operations.add_rows(rows, values, target, dtable.shape[1])

    def _ids(self, ids, rows):
        """Ids on the device, checked to be from 0 to ``rows`` - 1."""
        ids = self.asarray(ids, np.int32)
        if ids.limits is None or not (0 <= ids.limits[0] and ids.limits[1] < rows):
            check_ids(ids.host(), rows)  # the limits may be those of more ids than these
        return ids

    def project(self, x, W, b=None, mask=None):
        if isinstance(x, Lookup):
            return Lookup(x.ids, self.project(x.table, W, b))
        x, W = self.asarray(x, W.dtype), self.asarray(W)
        (D, M), N = W.shape, x.size // max(len(W), 1)
        expect("x", x, (*x.shape[:-1], D))
        z = empty((*x.shape[:-1], M), W.dtype)
        bias = None
        if b is not None:
            b = self.asarray(b, W.dtype)
            expect("b", b, (M,))
            bias = b.flat, 0
        launch(matrices(x, D), matrices(W, M), matrices(z, M), 1, N, M, D, bias=bias)
        return z

    def project_backward(self, x, W, dz, dW, db=None, need_dx=True):
        if isinstance(x, Lookup):
            rows, table = dz.rows, self.asarray(x.table)
            part = table if len(rows) == len(table) else self.lookup(rows, table)
            values = self.project_backward(part, W, dz.values, dW, db, need_dx)
            return None if values is None else RowGradient(rows, values)
        x, W, dz = self.asarray(x, W.dtype), self.asarray(W), self.asarray(dz, W.dtype)
        D, M = W.shape
        expect("x", x, (*dz.shape[:-1], D))
        expect("dz", dz, (*dz.shape[:-1], M))
        N = math.prod(dz.shape[:-1])
        self._add_product(x, D, dz, M, N, dW)
        if db is not None:
            with added_to(db) as target:
                operations.add_columns(dz, N, M, target)
        if not need_dx:
            return None
        dx = empty((*dz.shape[:-1], D), W.dtype)
        launch(matrices(dz, M), matrices(W, M), matrices(dx, D), 1, N, D, M, trans_b=True)
        return dx

    def _add_product(self, x, D, dz, M, N, dW):
        """dW += x^T dz, for x (N, D) and dz (N, M): shares of the rows by themselves, then all."""
        shares = N // SHARE
        rest = N - shares * SHARE
        parts = empty((shares + (rest > 0), D, M), dz.dtype)
        if shares:
            launch(
                matrices(x, D, SHARE * D), matrices(dz, M, SHARE * M), matrices(parts, M, D * M),
                shares, D, M, SHARE, trans_a=True,
            )
        if rest:
            launch(
                matrices(x.view(shares * SHARE * D, (rest * D,)), D),
                matrices(dz.view(shares * SHARE * M, (rest * M,)), M),
                matrices(parts.view(shares * D * M, (D * M,)), M), 1, D, M, rest, trans_a=True,
            )
        with added_to(dW) as target:
            operations.add_columns(parts, len(parts), D * M, target)

    # -- activations -------------------------------------------------------------------------------

    def activate(self, activation, z):
        z = self.asarray(z)
        if activation == "linear":
            return z
        if activation not in KERNEL_ACTIVATIONS | {"softmax"} or z.dtype.name not in FLOATS:
            return self.asarray(super().activate(activation, to_host(z)))
        y = empty(z.shape, z.dtype)
        if activation != "softmax":
            operations.activate(activation, z, y)
        elif y.size:
            operations.softmax(z, z.size // z.shape[-1], y)
        return y

    def activate_backward(self, activation, z, y, dy):
        if activation == "linear":
            return self.asarray(dy)
        if activation not in KERNEL_ACTIVATIONS | {"softmax"} or y.dtype.name not in FLOATS:
            return self.asarray(
                super().activate_backward(activation, *map(to_host, (z, y, dy)))
            )
        y, dy = self.asarray(y), self.asarray(dy, y.dtype)
        expect("dy", dy, y.shape)
        dz = empty(y.shape, y.dtype)
        if activation != "softmax":
            operations.activate_backward(activation, y, dy, dz)
        elif y.size:
            operations.softmax_backward(y, dy, y.size // y.shape[-1], dz)
        return dz

    # -- recurrence --------------------------------------------------------------------------------

    def recurrent(self, cell, xz, U, states=None, mask=None, return_sequences=False,
                  zero_output_for_mask=False, keep=True, bias=None, noise=None):
        ids, V = None, 0
        if isinstance(xz, Lookup):
            ids, V = self._ids(xz.ids, len(xz.table)), len(xz.table)
            xz = self.lookup(ids, xz.table)
        xz, U = self.asarray(xz, U.dtype), self.asarray(U)
        expect("xz", xz, (*xz.shape[:2], U.shape[1]))
        expect("U", U, (len(U), cell.gates * len(U)))
        if noise is not None or not sweeps(cell, len(U)):
            sequence, last, tape = super().recurrent(
                cell, xz.host(), U.host(), to_host(states), mask, return_sequences,
                zero_output_for_mask, keep, to_host(bias), to_host(noise),
            )
            last = [self.asarray(s) for s in last]
            sequence = None if sequence is None else self.asarray(sequence)
            return sequence, last, (ids, V, tape)
        sequence, last, tape = self._sweep_forward(
            cell, xz, U, states, mask, bool(return_sequences), bool(zero_output_for_mask),
            bool(keep), bias,
        )
        return sequence, last, tape._replace(ids=ids, rows=V)

    def _sweep_forward(self, cell, xz, U, states, mask, returns, zeroes, keep, bias):
        """`recurrent` for what the kernels have a sweep for."""
        (B, T, _), H, S = xz.shape, len(U), cell.states
        bounds = None if mask is None else (mask.start, mask.stop)
        if bounds is None:
            bounds = np.zeros(B, np.int64), np.full(B, T, np.int64)
        bounds = tuple(self.asarray(bound, np.int64) for bound in bounds)
        for bound in bounds:
            expect("mask", bound, (B,))
        history = empty((B, T + 1, S * H), U.dtype)
        for s in range(S):
            state = self.zeros((B, H), U.dtype) if states is None else states[s]
            state = self.asarray(state, U.dtype)
            expect("states", state, (B, H))
            place = (T + 1) * S * H, s * H, 1
            operations.copy_axis(state, history, B, H, 1, (H, 0, 1), place)
        if bias is not None:
            bias = self.asarray(bias, U.dtype)
            expect("bias", bias, (H,))
        inner = self.zeros((H,), U.dtype) if bias is None else bias
        K = KEPT[cell.kind] * keep
        kept = empty((B, T, K * H) if K else (1, 1, 1), U.dtype)
        sequence = empty((B, T, H) if returns else (1, 1, 1), U.dtype)
        if B:
            from fastrnn.cuda.kernels.sweep import WARP, sweep_forward
            from fastrnn.cuda.kernels.target import launcher

            launcher(sweep_forward(cell, H, U.dtype.name), B, WARP)(
                xz.shaped, U.shaped, inner.shaped, bounds[0].shaped, bounds[1].shaped,
                history.shaped, kept.shaped, sequence.shaped, keep, returns, zeroes,
            )
        last = [self._state(history, B, (T + 1) * S * H, (T * S + s) * H, H)
                for s in range(S)]
        tape = Sweep(cell, history, kept, bounds, zeroes, bias is not None)
        return (sequence if returns else None), last, tape

    def _state(self, a, B, row, start, H):
        """A new array (B, H): H numbers of each of B rows of ``row``, from ``start`` on."""
        state = empty((B, H), a.dtype)
        operations.copy_axis(a, state, B, H, 1, (row, start, 1), (H, 0, 1))
        return state

    def recurrent_backward(self, tape, U, dsequence, dstates, dU, need_dxz=True, dbias=None):
        back = self._sweep_backward if isinstance(tape, Sweep) else self._backward_on_host
        ids, V, dxz, dfirst = back(tape, self.asarray(U), dsequence, dstates, dU, dbias)
        if not need_dxz:
            return None, dfirst
        if ids is None:
            return dxz, dfirst
        values = self.zeros((V, dxz.shape[-1]), dxz.dtype)
        operations.scatter_add(ids, dxz, values, values.shape[1])
        return RowGradient(np.arange(V, dtype=np.int32), values), dfirst

    def _backward_on_host(self, tape, U, dsequence, dstates, dU, dbias):
        ids, V, tape = tape
        own, own_bias = np.zeros(dU.shape, dU.dtype), None
        if dbias is not None:
            own_bias = np.zeros(dbias.shape, dbias.dtype)
        dxz, dfirst = super().recurrent_backward(
            tape, U.host(), to_host(dsequence), to_host(dstates), own, dbias=own_bias
        )
        dU += own
        if dbias is not None:
            dbias += own_bias
        return ids, V, self.asarray(dxz), [self.asarray(d) for d in dfirst]

    def _sweep_backward(self, tape, U, dsequence, dstates, dU, dbias):
        from fastrnn.cuda.kernels.sweep import WARP, sweep_backward
        from fastrnn.cuda.kernels.target import launcher

        cell, (B, after, width), H = tape.cell, tape.states.shape, len(U)
        T, S, G = after - 1, cell.states, cell.gates
        given = dsequence is not None
        if given:
            dsequence = self.asarray(dsequence, U.dtype)
            expect("dsequence", dsequence, (B, T, H))
        dlast = self.zeros((B, width), U.dtype)
        for s, d in enumerate(dstates or ()):
            if d is not None:
                d = self.asarray(d, U.dtype)
                expect("dstates", d, (B, H))
                operations.copy_axis(d, dlast, B, H, 1, (H, 0, 1), (width, s * H, 1))
        none = empty((1, 1, 1), U.dtype)
        dxz = empty((B, T, G * H), U.dtype)
        dsums = empty((B, T, G * H), U.dtype) if cell.kind == "gru" else none
        if B:
            launcher(sweep_backward(cell, H, U.dtype.name), B, WARP)(
                U.shaped, tape.bounds[0].shaped, tape.bounds[1].shaped, tape.states.shaped,
                tape.kept.shaped, dsequence.shaped if given else none.shaped, given, tape.zeroes,
                dlast.shaped, dxz.shaped, dsums.shaped,
            )
        dsums = dsums if cell.kind == "gru" else dxz
        # dU = sum over rows of h(before)^T dsums: a product for each row, then their sum.
        parts = empty((B, H, G * H), U.dtype)
        launch(
            matrices(tape.states, width, after * width), matrices(dsums, G * H, T * G * H),
            matrices(parts, G * H, H * G * H), B, H, G * H, T, trans_a=True,
        )
        with added_to(dU) as target:
            expect("dU", target, U.shape)
            operations.add_columns(parts, B, H * G * H, target)
        if dbias is not None and tape.has_bias:
            sums = self.zeros((G * H,), U.dtype)
            operations.add_columns(dsums, B * T, G * H, sums)
            dbias += sums[(G - 1) * H :]
        dfirst = [self._state(dlast, B, width, s * H, H) for s in range(S)]
        return tape.ids, tape.rows, dxz, dfirst

    def columns(self, dxz, where):
        return self.asarray(dxz[..., where])

    # -- losses ------------------------------------------------------------------------------------

    def loss(self, kind, target, output, weight, from_logits=False):
        output = self.asarray(output)
        if output.dtype.name not in FLOATS or not output.size:
            return super().loss(kind, *map(to_host, (target, output, weight)), from_logits)
        (n, C), sparse = output.shape, kind == "sparse_categorical_crossentropy"
        target = self.asarray(target, np.int64 if sparse else output.dtype)
        weight = self.asarray(weight, output.dtype)
        expect("target", target, (n,) if sparse else (n, C))
        expect("weight", weight, (n,))
        values, doutput = empty((n,), output.dtype), empty((n, C), output.dtype)
        operations.loss(
            kind, bool(from_logits), epsilon(), target, output, weight, C,
            values, doutput,
        )
        return values, doutput

    def weighted_sum(self, values, weights):
        return WeightedSum(values, weights)

    # -- updates -----------------------------------------------------------------------------------

    def sum_squares(self, a):
        found = operations.reduce("sum of squares", self.asarray(a))
        return float(found.flat.copy_to_host()[0])

    def update(self, rule, value, grad, slots, table=None, **hyper):
        self.bring_in(table, grad)
        arrays = {"value": value, "grad": grad} | {n: a for n, a in slots.items() if a is not None}
        with contextlib.ExitStack() as stack:
            own = {n: stack.enter_context(added_to(a)) for n, a in arrays.items()}
            for name, array in own.items():
                expect(name, array, value.shape)
            value, grad = own.pop("value"), own.pop("grad")
            operations.update(rule, value, grad, own, hyper)


# How many numbers a unit keeps at each step: `fastrnn.cuda.kernels.cells`.
KEPT = {"simple_rnn": 0, "lstm": 4, "gru": 4}


def sweeps(cell, units):
    """Whether the kernels have a sweep for this cell."""
    return (
        units <= MOST_UNITS and (cell.kind != "gru" or cell.reset_after)
        and {cell.activation, cell.recurrent_activation} <= KERNEL_ACTIVATIONS | {"linear"}
    )


@contextlib.contextmanager
def added_to(array):
    """``array`` on the device, to be changed there; one of the host gets the changes afterwards."""
    own = on_device(array)
    yield own
    if own is not array:
        array[...] = own.host()


def matrices(a, ld, step=0):
    """A `DeviceArray` as `Matrices` for a product."""
    places = a.start, ld, step
    wide = all(place * a.dtype.itemsize % WIDE == 0 for place in places)
    return Matrices(a.flat, step, ld, wide)


def expect(name, array, shape):
    """Raise ValueError unless an array has this shape: kernels look at none."""
    if tuple(array.shape) != tuple(shape):
        raise ValueError(f"{name}: expected shape {tuple(shape)}; got {tuple(array.shape)}.")
