"""The CUDA engine: all arithmetic of a training step on an NVIDIA GPU.

Its arrays are `fastrnn.cuda.device_array.DeviceArray`. Every method takes arrays of the host as
well, brings them over, and gives arrays on the device; what is to be added to an array of the host
is brought back to it. What has no kernel (a sweep with rare activations) is computed on the host,
by the reference engine.

Ids are checked by the least and largest that came to the device with them, so that no check waits
for the GPU.

Letters: B rows in a batch, T steps, D input width, H units, G gates, V vocabulary, M columns of a
projection.
"""

from __future__ import annotations

import contextlib
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from fastrnn.activations import KERNELS_BY_INPUT, KERNELS_BY_OUTPUT
from fastrnn.config import epsilon
from fastrnn.cuda import discovery, draws, operations, stream, sweeps
from fastrnn.cuda.device_array import (
    DTYPES,
    FLOATS,
    DeviceArray,
    empty,
    on_device,
    to_host,
)
from fastrnn.cuda.matmul import multiply
from fastrnn.cuda.memory import address
from fastrnn.cuda.numpy_functions import matrices
from fastrnn.cuda.repeated import Repeated
from fastrnn.cuda.tiles import length_of_parts
from fastrnn.engines.reference import ReferenceEngine, check_ids
from fastrnn.masks import StepMask
from fastrnn.rules import RULES
from fastrnn.values import Lookup, RowGradient

__all__ = ["CUDAEngine"]

# The others are computed on the host.
KERNEL_ACTIVATIONS = KERNELS_BY_OUTPUT | KERNELS_BY_INPUT | {"softmax"}
# Rows of x, at least, whose products with dz one block sums, for the gradient of W.
ROWS_OF_PART = 64
# Up to so many rows of a table for each step that takes one, all rows get a gradient: their sums
# need no sorting. Of larger tables most rows would be zeros.
DENSE = 4


class Room:
    """What a sweep computes with: arrays of Numba, whose memory is that of arrays here.

    It lives as long as the tape. What else a sweep gives does not need it: each array has memory of
    its own, which is used again when nobody has the array any more.
    """

    def __init__(self, engine, dtype):
        self.engine, self.dtype, self._given, self._made = engine, dtype, [], []

    def new(self, shape, dtype):
        """A new array of Numba with undefined contents."""
        self._made.append(empty(shape, dtype))
        return self._made[-1].shaped

    def array(self, a, dtype=None):
        """An array as one of Numba on the device; None is none."""
        if a is None:
            return None
        self._given.append(self.engine.asarray(a, dtype or self.dtype))
        return self._given[-1].shaped

    def taken(self, array):
        """One of those that were made here, or a part of one, as a `DeviceArray`; None is none."""
        if array is None:
            return None
        place, shape = address(array), tuple(array.shape)
        if not array.size:
            return empty(shape, array.dtype)
        for made in self._made:
            if 0 <= place - made.pointer < made.nbytes:
                return made.view((place - made.pointer) // made.dtype.itemsize, shape)
        raise ValueError("an array that was not made here")


class Sweep(NamedTuple):
    """The tape of a sweep on the GPU, and where it lies."""

    tape: sweeps.Tape
    room: Room
    ids: Any = None  # of a table all of whose rows get a gradient
    vocabulary: int = 0


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
        stream.stay()

    # -- arrays ------------------------------------------------------------------------------------

    def asarray(self, x, dtype=None):
        if type(x) is DeviceArray:
            return on_device(x, dtype)
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

    def project(self, x, W, b=None, mask=None, keep=True, for_sweep=False):
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
        multiply(matrices(x, D), matrices(W, M), matrices(z, M), 1, N, M, D, bias=bias)
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
        multiply(matrices(dz, M), matrices(W, M), matrices(dx, D), 1, N, D, M, trans_b=True)
        return dx

    def _add_product(self, x, D, dz, M, N, dW):
        """dW += x^T dz, for x (N, D) and dz (N, M): shares of the rows by themselves, then all."""
        length = length_of_parts(N, ROWS_OF_PART)
        shares, rest = divmod(N, length)
        parts = empty((shares + (rest > 0), D, M), dz.dtype)
        if shares:
            multiply(
                matrices(x, D, length * D), matrices(dz, M, length * M), matrices(parts, M, D * M),
                shares, D, M, length, trans_a=True,
            )
        if rest:
            done = shares * length
            multiply(
                matrices(x.view(done * D, (rest * D,)), D),
                matrices(dz.view(done * M, (rest * M,)), M),
                matrices(parts.view(shares * D * M, (D * M,)), M), 1, D, M, rest, trans_a=True,
            )
        with added_to(dW) as target:
            operations.add_columns(parts, len(parts), D * M, target)

    # -- activations -------------------------------------------------------------------------------

    def activate(self, activation, z):
        z = self.asarray(z)
        if activation == "linear":
            return z
        if z.dtype.name not in FLOATS or activation not in KERNEL_ACTIVATIONS:
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
        if y.dtype.name not in FLOATS or activation not in KERNEL_ACTIVATIONS:
            return self.asarray(
                super().activate_backward(activation, *map(to_host, (z, y, dy)))
            )
        y, z, dy = self.asarray(y), self.asarray(z, y.dtype), self.asarray(dy, y.dtype)
        expect("z", z, y.shape)
        expect("dy", dy, y.shape)
        dz = empty(y.shape, y.dtype)
        if activation != "softmax":
            operations.activate_backward(activation, z, y, dy, dz)
        elif y.size:
            operations.softmax_backward(y, dy, y.size // y.shape[-1], dz)
        return dz

    def mean_over(self, x, axes):
        return x.mean(axis=axes, keepdims=True)

    # -- recurrence --------------------------------------------------------------------------------

    def recurrent(self, cell, xz, U, states=None, mask=None, return_sequences=False,
                  zero_output_for_mask=False, keep=True, bias=None, noise=None):
        U = self.asarray(U)
        if not {cell.activation, cell.recurrent_activation} <= KERNELS_BY_OUTPUT:
            return self._recurrent_on_host(
                cell, xz, U, states, mask, return_sequences, zero_output_for_mask, keep, bias, noise
            )
        room = Room(self, U.dtype)
        looked_up = ids = None
        if isinstance(xz, Lookup):
            ids, xz = self._ids(xz.ids, len(xz.table)), xz.table
            if len(xz) <= DENSE * ids.size:
                looked_up = sweeps.LookedUp(room.array(ids, np.int32))
            else:
                looked_up, ids = sweeps.look_up(ids.host(), len(xz)), None
        shape = (xz if looked_up is None else looked_up.ids).shape[:2]
        if mask is not None and mask.shape != shape:
            raise ValueError(f"mask: expected shape {shape}, of rows and steps; got {mask.shape}.")
        if states is not None:
            states = [room.array(state) for state in states]
        bounds = (None, None) if mask is None else (mask.start, mask.stop)
        sequence, last, tape = sweeps.sweep_forward(
            cell, room.array(xz), room.array(U), states,
            *(room.array(bound, np.int64) for bound in bounds),
            room.array(bias), room.array(noise), looked_up, bool(return_sequences), bool(keep),
            bool(zero_output_for_mask), room.new,
        )
        tape = Sweep(tape, room, ids, len(xz))
        return room.taken(sequence), [*map(room.taken, last)], tape

    def _recurrent_on_host(self, cell, xz, U, *options):
        ids, V = None, 0
        if isinstance(xz, Lookup):
            ids, V = self._ids(xz.ids, len(xz.table)), len(xz.table)
            xz = self.lookup(ids, xz.table)
        sequence, last, tape = super().recurrent(cell, to_host(xz), U.host(), *to_host(options))
        last = [self.asarray(s) for s in last]
        return None if sequence is None else self.asarray(sequence), last, (ids, V, tape)

    def recurrent_backward(self, tape, U, dsequence, dstates, dU, need_dxz=True, dbias=None,
                           projection=None):
        if not isinstance(tape, Sweep):
            return self._backward_on_host(tape, U, dsequence, dstates, dU, need_dxz, dbias)
        room = Room(self, U.dtype)
        if dstates is not None:
            dstates = [room.array(d) for d in dstates]
        with contextlib.ExitStack() as stack:
            targets = [a if a is None else stack.enter_context(added_to(a)) for a in (dU, dbias)]
            dxz, dfirst, magnitudes = sweeps.sweep_backward(
                tape.tape, room.array(U), room.array(dsequence), dstates, *map(room.array, targets),
                need_dxz, tape.ids is not None, room.new,
            )
        if isinstance(dxz, RowGradient):
            dxz = dxz._replace(values=room.taken(dxz.values))
        elif dxz is not None:
            dxz = room.taken(dxz)
            if tape.ids is not None:
                dxz = self._by_id(tape.ids, tape.vocabulary, dxz, room.taken(magnitudes))
        return dxz, [*map(room.taken, dfirst)]

    def _by_id(self, ids, V, dxz, magnitudes=None):
        """The gradient of a table with V rows of which each step took one."""
        values = empty((V, dxz.shape[-1]), dxz.dtype)
        operations.scatter_add(
            ids, dxz, values, values.shape[1], adds=False, magnitudes=magnitudes
        )
        return RowGradient(every_row(V), values)

    def _backward_on_host(self, tape, U, dsequence, dstates, dU, need_dxz, dbias):
        ids, V, tape = tape
        own, own_bias = np.zeros(dU.shape, dU.dtype), None
        if dbias is not None:
            own_bias = np.zeros(dbias.shape, dbias.dtype)
        dxz, dfirst = super().recurrent_backward(
            tape, to_host(U), to_host(dsequence), to_host(dstates), own, dbias=own_bias
        )
        dU += own
        if dbias is not None:
            dbias += own_bias
        dfirst = [self.asarray(d) for d in dfirst]
        if not need_dxz:
            return None, dfirst
        dxz = self.asarray(dxz)
        if ids is None:
            return dxz, dfirst
        return self._by_id(ids, V, dxz), dfirst

    def columns(self, dxz, where):
        return self.asarray(dxz[..., where])

    # -- masks -------------------------------------------------------------------------------------

    def padding_mask(self, x, value=None):
        runs = x.runs(value) if type(x) is DeviceArray else None
        return super().padding_mask(x, value) if runs is None else StepMask(*runs, x.shape[1])

    def dropout_mask(self, stream, shape, rate, dtype):
        mask = empty(shape, dtype)
        operations.dropout_mask(mask, stream.seed, *draws.next_call(stream), rate)
        return mask

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

    def repeated(self, function, rows):
        return Repeated(function, rows)

    def sum_squares(self, a):
        return operations.reduce("sum of squares", on_device(a), empty((), np.float64))

    def sum_magnitudes(self, a):
        return operations.reduce("sum of magnitudes", on_device(a), empty((), np.float64))

    def limit_norm(self, gradient, parts, most, needs_direction=False):
        with added_to(gradient) as own:
            given = [own[part] for part in parts]
            squares = self.sum_squares(given[0] if len(given) == 1 else np.concatenate(given))
            operations.shrink(own, squares, most, needs_direction)

    def update(self, rule, value, grad, slots, table=None, **hyper):
        self.bring_in(table, grad)
        arrays = {"value": value, "grad": grad} | {n: a for n, a in slots.items() if a is not None}
        with contextlib.ExitStack() as stack:
            own = {
                n: a if type(a) is DeviceArray else stack.enter_context(added_to(a))
                for n, a in arrays.items()
            }
            for name, array in own.items():
                expect(name, array, value.shape)
            value, grad = own.pop("value"), own.pop("grad")
            if rule in RULES:
                operations.update(rule, value, grad, own, hyper)
            else:
                super().update(rule, value, grad, own, **hyper)


@functools.lru_cache(maxsize=8)
def every_row(rows):
    """The numbers of all rows, which nobody may write to."""
    found = np.arange(rows, dtype=np.int32)
    found.flags.writeable = False
    return found


@contextlib.contextmanager
def added_to(array):
    """``array`` on the device, to be changed there; one of the host gets the changes afterwards."""
    own = on_device(array)
    yield own
    if own is not array:
        array[...] = own.host()


def expect(name, array, shape):
    """Raise ValueError unless an array has this shape: kernels look at none."""
    if tuple(array.shape) != tuple(shape):
        raise ValueError(f"{name}: expected shape {tuple(shape)}; got {tuple(array.shape)}.")
