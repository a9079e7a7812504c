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

import collections
import contextlib
import functools
import math
from typing import Any, NamedTuple

import numpy as np

from fastrnn.config import epsilon
from fastrnn.cuda import discovery, draws, operations, stream, sweeps
from fastrnn.cuda.device_array import (
    DTYPES,
    FLOATS,
    DeviceArray,
    borrowed,
    empty,
    on_device,
    to_host,
)
from fastrnn.cuda.matmul import launch
from fastrnn.cuda.numpy_functions import matrices
from fastrnn.cuda.tiles import length_of_parts
from fastrnn.engines.reference import ReferenceEngine, check_ids
from fastrnn.masks import StepMask
from fastrnn.values import Lookup, RowGradient

__all__ = ["CUDAEngine"]

# Rows of x, at least, whose products with dz one block sums, for the gradient of W.
SHARE = 64
# Up to so many rows of a table for each step that takes one, all rows get a gradient: their sums
# need no sorting. Of larger tables most rows would be zeros.
DENSE = 4


class Room:
    """What a sweep computes with: it lives as long as what was made of it.

    `fastrnn.cuda.sweeps` takes and makes arrays of Numba; their memory is that of arrays here.
    """

    def __init__(self, engine, dtype):
        self.engine, self.dtype, self._held = engine, dtype, []

    def new(self, shape, dtype):
        """A new array of Numba with undefined contents."""
        return self._shaped(empty(shape, dtype))

    def array(self, a, dtype=None):
        """An array as one of Numba on the device; None is none."""
        return None if a is None else self._shaped(self.engine.asarray(a, dtype or self.dtype))

    def _shaped(self, a):
        self._held.append(a)
        return a.shaped


class Sweep(NamedTuple):
    """The tape of a sweep on the GPU, and where it lies."""

    tape: sweeps.Tape
    room: Room
    ids: Any = None  # of a table all of whose rows get a gradient
    vocabulary: int = 0


class Repeated:
    """A function of row numbers that is recorded and done again: `Engine.repeated`.

    For each number of rows the first two calls show whether anything but row numbers travels
    between host and device each time. If not, the next one is recorded, and it and those that
    follow are each one launch of a graph.
    """

    def __init__(self, function, rows):
        self._function, self._rows = function, rows
        self._whole = self._whole_there = None
        # By the number of rows: how it is called, or what is known so far.
        self._ways = collections.defaultdict(lambda: "unknown")

    def __call__(self, index):
        index = np.asarray(index)
        way = self._ways[len(index)]
        if way in ("unknown", "travels"):
            numbers = self._numbers(index)
            with stream.watched() as trips:
                result = self._function(numbers)
            if not trips:
                way = "stays"
            else:  # the first time what stays the same is brought as well
                way = "travels" if way == "unknown" else self._function
            self._ways[len(index)] = way
            return result
        if way == "stays":
            way = self._ways[len(index)] = self._recorded(index)
        return way(index)

    def _numbers(self, index):
        """Row numbers on the device, checked.

        Those of a part of a longer array, as the order of an epoch is, go there with all of it.
        """
        whole = index.base
        if not (type(whole) is np.ndarray and whole.ndim == 1 and whole.dtype == index.dtype
                and whole.flags.c_contiguous and index.flags.c_contiguous):
            return self._sent(index)
        if whole is not self._whole:
            self._whole, self._whole_there = whole, self._sent(whole)
        start = (index.ctypes.data - whole.ctypes.data) // index.itemsize
        return self._whole_there.view(start, index.shape)

    def _sent(self, index):
        if index.size and not (0 <= index.min() and index.max() < self._rows):
            raise IndexError(
                f"row numbers from {index.min()} to {index.max()} for {self._rows} rows"
            )
        numbers = on_device(index.astype(np.int32)).with_twin(None)
        numbers.limits = 0, self._rows - 1
        return numbers

    def _recorded(self, index):
        numbers = empty(index.shape, np.int32, limits=(0, self._rows - 1))
        try:
            recording = stream.Recording(lambda: self._function(numbers))
        except stream.NotRecordable:
            return self._function
        results = Results(recording.result)

        def again(index):
            stream.copy(numbers, self._numbers(index))
            recording()
            return results.now()

        return again


class Results:
    """What a recording gives each time, in arrays that the next time does not write to.

    Those of many times lie together, and go to the host together when somebody asks for one: as
    many as have `MOST` bytes.
    """

    TIMES, MOST = 128, 1 << 26

    def __init__(self, result):
        self._result, self._rolls, self._time = result, {}, 0
        self._times = min(max(self.MOST // max(self._bytes(result), 1), 1), self.TIMES)

    def now(self):
        """The results, after the work was done again."""
        place = self._time % self._times
        if place == 0:
            self._rolls = {}  # whoever holds parts of them keeps them
        self._time += 1
        return self._kept(self._result, place)

    def _bytes(self, result):
        """Of the arrays in a result; bounds of masks are small."""
        if isinstance(result, (tuple, list)):
            return sum(map(self._bytes, result))
        return result.nbytes if type(result) is DeviceArray else 0

    def _kept(self, result, place):
        if type(result) is DeviceArray and result.twin is None and result.size:
            roll = self._rolls.get(id(result))
            if roll is None:
                roll = self._rolls[id(result)] = Roll(self._times, result)
            return roll.put(place, result)
        if isinstance(result, StepMask):
            bounds = (self._kept(bound, place) for bound in (result.start, result.stop))
            return StepMask(*bounds, result.steps, result.pattern)
        if isinstance(result, (tuple, list)):
            parts = [self._kept(part, place) for part in result]
            return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
        return result


class Roll:
    """Arrays of one shape side by side, put there one after the other."""

    def __init__(self, count, like):
        self._there, self._here, self._filled, self._fetched = (
            empty((count, *like.shape), like.dtype), None, 0, 0
        )

    def put(self, place, array):
        """A copy of an array on the device."""
        shape, self._filled = array.shape, place + 1
        part = self._there.view(place * array.size, shape, lambda: self._host(place))
        stream.copy(part, array)
        return part

    def _host(self, place):
        if place >= self._fetched:
            self._here, self._fetched = self._there[: self._filled].host(), self._filled
        return self._here[place]


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
        length = length_of_parts(N, SHARE)
        shares, rest = divmod(N, length)
        parts = empty((shares + (rest > 0), D, M), dz.dtype)
        if shares:
            launch(
                matrices(x, D, length * D), matrices(dz, M, length * M), matrices(parts, M, D * M),
                shares, D, M, length, trans_a=True,
            )
        if rest:
            done = shares * length
            launch(
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
        if z.dtype.name not in FLOATS:
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
        if y.dtype.name not in FLOATS:
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
        if not {cell.activation, cell.recurrent_activation} <= sweeps.ACTIVATIONS:
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
        if states is not None:
            states = [room.array(state) for state in states]
        bounds = (None, None) if mask is None else (mask.start, mask.stop)
        sequence, last, tape = sweeps.sweep_forward(
            cell, room.array(xz), room.array(U), states,
            *(room.array(bound, np.int64) for bound in bounds),
            room.array(bias), room.array(noise), looked_up, bool(return_sequences), bool(keep),
            bool(zero_output_for_mask), room.new,
        )
        sequence = None if sequence is None else borrowed(sequence, room)
        tape = Sweep(tape, room, ids, len(xz))
        return sequence, [borrowed(state, room) for state in last], tape

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
            dxz = dxz._replace(values=borrowed(dxz.values, room))
        elif dxz is not None:
            dxz = borrowed(dxz, room)
            if tape.ids is not None:
                magnitudes = None if magnitudes is None else borrowed(magnitudes, room)
                dxz = self._by_id(tape.ids, tape.vocabulary, dxz, magnitudes)
        return dxz, [borrowed(d, room) for d in dfirst]

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
            operations.update(rule, value, grad, own, hyper)


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
